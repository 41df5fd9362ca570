/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What was received before: (source, id) → position in the inbox journal, for
 * as long as a worker remembers, in about thirty bytes each.
 *
 * A visit lasts for one transaction: open, add what was received, finish,
 * close. Only finish writes (or add, as often as the visit has grown large), so
 * between open and finish nobody else may write `seen` in that transaction.
 */
#ifndef WBI_SEEN_H
#define WBI_SEEN_H

#include "lib/store/store.h"

typedef struct wbi_seen wbi_seen;

/* Each allocates or frees some 100 KiB; any thread, that of the transaction. */
wb_code wbi_seen_open(wb_store *store, MDB_txn *txn, wbi_seen **ret,
		      wb_error *err);
void wbi_seen_close(wbi_seen *seen); /* NULL allowed; writes nothing */

/*
 * This one will be added next, or behind others that were said to come, in this
 * order: they are looked up together, which is several times faster where there
 * are millions. As many as a batch has; forgotten with more than 1,024 added.
 */
wb_code wbi_seen_expect(wbi_seen *seen, wb_str source, wb_str id,
			wb_error *err);

/* WB_ENOTFOUND: not known. WB_EINVAL: no source or no id, or over 255 bytes. */
wb_code wbi_seen_get(wbi_seen *seen, wb_str source, wb_str id,
		     uint64_t *ret_position, wb_error *err);
/* WB_EEXISTS (err untouched): it was known, *ret_position says as what. Else it
 * is now. Positions never go down. */
wb_code wbi_seen_add(wbi_seen *seen, wb_str source, wb_str id,
		     uint64_t position, uint64_t *ret_position, wb_error *err);

/*
 * Forget what was added at an age below `before_us`, or a little less of it.
 * `age_us` is how long the store's worker has run in all, summed from the
 * monotonic clock: a wall clock that jumps forgets nothing. *ret_floor: all
 * below this position is forgotten.
 */
wb_code wbi_seen_forget(wbi_seen *seen, uint64_t before_us, uint64_t *ret_floor,
			wb_error *err);

/* Write what was added, all of it at age `age_us`. A failure leaves the
 * transaction fit for nothing but an abort. */
wb_code wbi_seen_finish(wbi_seen *seen, uint64_t age_us, wb_error *err);

/* ---- for fsck ------------------------------------------------------------ */

enum { WBI_SEEN_LEVELS = 8 };

/* What a walk over `seen` has counted. */
typedef struct wbi_seen_sum {
	uint64_t counts[WBI_SEEN_LEVELS]; /* ids by level */
	uint64_t highest;                 /* position */
} wbi_seen_sum;

/* One row of `seen`; `before` is the key of the row before it, or empty. Adds
 * to *sum. WB_ECORRUPT, WB_EVERSION. */
wb_code wbi_seen_check(wb_str before, wb_str row_key, wb_str row,
		       wbi_seen_sum *sum, wb_error *err);
/* Does the row that counts them agree? */
wb_code wbi_seen_check_sum(MDB_txn *txn, const wbi_store_tables *tables,
			   const wbi_seen_sum *sum, wb_error *err);
wb_code wbi_seen_age_check(uint64_t number, wb_str row, wb_error *err);

#endif
