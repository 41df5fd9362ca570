/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a read model lives: DIR/projections/NAME/ with
 *
 *   gen-N/     a generation each
 *   current    which of them is live: replaced by a rename
 *   building   which one is being filled, and for what; while it is
 *   paused     an operator has paused the projector; empty
 *   request.*  what an operator asks for (request.h)
 *   owner      locked by the projector; its process's number
 *   open.lock  locked by whoever has it open: once per process
 *
 * One of it per process, counted, shared by the projector and the readers,
 * which may be on other threads: LMDB must not open a file twice. All calls are
 * for any thread.
 */
#ifndef WBI_HOME_H
#define WBI_HOME_H

#include "projections/generation.h"

typedef struct wbi_home wbi_home;

enum { WBI_HOME_FILE_MAX = 1024, WBI_HOME_GENERATIONS_MAX = 64 };

/* With `make` directories that are missing are made (not DIR itself). */
wb_code wbi_home_open(const char *dir, const char *name, bool make,
		      wbi_home **ret, wb_error *err);
wbi_home *wbi_home_ref(wbi_home *home);
void wbi_home_unref(wbi_home *home); /* NULL allowed */

const char *wbi_home_dir(const wbi_home *home);
const char *wbi_home_name(const wbi_home *home);

/* ---- small files, replaced as a whole ------------------------------------ */

/* Terminated; WB_ENOTFOUND (err untouched): it is not there. */
wb_code wbi_home_read(const wbi_home *home, const char *file,
		      char ret[WBI_HOME_FILE_MAX], wb_error *err);
/* Durable when it returns. */
wb_code wbi_home_write(const wbi_home *home, const char *file, const char *text,
		       wb_error *err);
wb_code wbi_home_unlink(const wbi_home *home, const char *file, wb_error *err);
bool wbi_home_has(const wbi_home *home, const char *file);

/* ---- which generation is live -------------------------------------------- */

typedef struct wbi_pointer {
	uint32_t live, former; /* 0: none */
	uint32_t next;         /* the number of the next one that is made */
	bool rolled_back;      /* an operator went back to `live` */
} wbi_pointer;

/* No file is a pointer, too: {0, 0, 1, false}. */
wb_code wbi_home_pointer(const wbi_home *home, wbi_pointer *ret, wb_error *err);
/* Flip: the old file or the new one, whatever happens. */
wb_code wbi_home_flip(const wbi_home *home, const wbi_pointer *pointer,
		      wb_error *err);

/* What tells one `current` from another without reading it. */
typedef struct wbi_stamp {
	uint64_t inode, time_ns;
} wbi_stamp;
wbi_stamp wbi_home_stamp(const wbi_home *home);

/* ---- generations --------------------------------------------------------- */

/* Opened if it is not yet; give it back. */
wb_code wbi_home_take(wbi_home *home, uint32_t number,
		      const wbi_generation_options *options,
		      wbi_generation **ret, wb_error *err);
/* Make gen-NUMBER, in place of what an interrupted making has left. */
wb_code wbi_home_make(wbi_home *home, uint32_t number, const wbi_shape *shape,
		      const char *origin, const wbi_generation_options *options,
		      wbi_generation **ret, wb_error *err);
void wbi_home_give(wbi_home *home, wbi_generation *gen); /* NULL allowed */

/* Those that are there, ascending; at most `max`. */
wb_code wbi_home_list(const wbi_home *home, uint32_t *ret, size_t max,
		      size_t *ret_count, wb_error *err);
/* Remove its files. Whoever has it open may read on. */
wb_code wbi_home_remove(wbi_home *home, uint32_t number, wb_error *err);

#endif
