/* SPDX-License-Identifier: BSD-2-Clause */
/* A reader's insides, shared by reading, scanning and waiting. */
#ifndef WBI_READ_H
#define WBI_READ_H

#include <waybill/read.h>

#include "projections/home.h"
#include "projections/index.h"

enum { WBI_READ_BOUND_MAX = WBI_INDEX_ENTRY_MAX + 1 };

typedef struct wbi_read_bound {
	uint8_t bytes[WBI_READ_BOUND_MAX];
	size_t len; /* 0: none */
} wbi_read_bound;

/* A scan: keys from `low` on, before `high`. */
typedef struct wbi_scan {
	wbi_cursor *cursor; /* NULL: none is open */
	size_t table, index; /* index: SIZE_MAX, none */
	bool reverse, started, done;
	bool low_open; /* `low` itself was seen already */
	wbi_read_bound low, high;
	wbi_read_bound last; /* the key returned last */
	uint8_t unescaped[WBI_INDEX_ENTRY_MAX];
} wbi_scan;

struct wb_read {
	wbi_home *home;
	wb_read_options options;
	const wb_clock *clock;
	wbi_generation *gen; /* NULL: none yet */
	MDB_txn *txn;        /* of it; reset while there is no snapshot */
	bool active;         /* there is a snapshot */
	int64_t until_us;    /* its deadline */
	wbi_stamp stamp;     /* of the pointer, when it was looked at: */
	int64_t stamp_at_us;
	bool at_known;
	wbi_checkpoint at; /* of the snapshot, once it was asked for */
	wbi_scan scan;
	int inotify_fd; /* read_wait.c; -1: none */
	int watch;
};

/* Is there a snapshot, and within its time? */
wb_code wbi_read_check(wb_read *read, wb_error *err);
wb_code wbi_read_table(const wb_read *read, const char *name, size_t *ret,
		       wb_error *err);
void wbi_scan_end(wb_read *read);
/* wb_read_open() where the home is open: takes a reference of its own. */
wb_code wbi_read_open_home(wbi_home *home, const wb_read_options *options,
			   wb_read **ret, wb_error *err);
void wbi_read_wait_end(wb_read *read);

#endif
