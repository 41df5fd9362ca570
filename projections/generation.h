/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One generation of a read model: an LMDB environment with
 *
 *   meta         shape, checkpoint, status (rows.h)
 *   aside        events kept aside, by unit of quarantine and position
 *   aside_keys   the units of those, but for events without one
 *   skipped      events that were skipped, likewise by unit and position
 *   origins      which events of which journals, if they come by a stream
 *                (origins.h); else there is no such table
 *   t.TABLE      rows of a declared table: its keys and values, as they are
 *   i.TABLE.INDEX  entries of an index (index.h), without values
 */
#ifndef WBI_GENERATION_H
#define WBI_GENERATION_H

#include "lib/store/env.h"
#include "projections/rows.h"

typedef struct wbi_generation {
	uint32_t number;
	MDB_env *env;
	wbi_shape shape;
	wbi_table meta, aside, aside_keys, skipped;
	wbi_table origins; /* of a stream's model only */
	wbi_table tables[WB_MODEL_TABLES_MAX];
	wbi_table indexes[WB_MODEL_TABLES_MAX][WB_MODEL_INDEXES_MAX];
} wbi_generation;

typedef struct wbi_generation_options {
	uint64_t map_bytes; /* when it is made; 0: 16 GiB */
	bool no_sync;       /* while it is filled: see wbi_env_options */
} wbi_generation_options;

/* Make a new one in the empty directory `dir`, of this shape, to follow the
 * journal of `origin` from its beginning. */
wb_code wbi_generation_make(const char *dir, uint32_t number,
			    const wbi_shape *shape, const char *origin,
			    const wbi_generation_options *options,
			    wbi_generation **ret, wb_error *err);
/* Open what is there. WB_ENOTFOUND: nothing is, or its making was
 * interrupted. */
wb_code wbi_generation_open(const char *dir, uint32_t number,
			    const wbi_generation_options *options,
			    wbi_generation **ret, wb_error *err);
void wbi_generation_close(wbi_generation *gen); /* NULL allowed */

/* Tables of a generation, for those who walk all of it: NULL behind the last.
 * `name` has room for WBI_GENERATION_TABLE_NAME. */
enum { WBI_GENERATION_TABLE_NAME = 2 + 2 * (WBI_MODEL_NAME_MAX + 1) };

typedef struct wbi_generation_table {
	char name[WBI_GENERATION_TABLE_NAME];
	wbi_table table;
} wbi_generation_table;

/* The `at`-th table, from 0, in the order in which they are compared and
 * digested; false behind the last. */
bool wbi_generation_table_at(const wbi_generation *gen, size_t at,
			     wbi_generation_table *ret);

/*
 * A digest of all that the model is: every row of every table but the status.
 * Equal models have equal ones. *ret_rows may be NULL.
 */
enum { WBI_DIGEST_LEN = 32 };
wb_code wbi_projection_digest(const wbi_generation *gen, MDB_txn *txn,
			      char ret[WBI_DIGEST_LEN + 1], uint64_t *ret_rows,
			      wb_error *err);

#endif
