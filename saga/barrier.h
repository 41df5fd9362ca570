/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The barrier: one row per (saga, step, operation), written in the step's own
 * transaction. LMDB has one writer, so to look first and then write does not
 * race. It answers three questions that delivery at least once asks: is this a
 * duplicate (then: what was answered), has its undo been here before it (then
 * it must not happen), and is there anything to undo.
 *
 * The row of the action is also the compensation state of the step: what state
 * it is in and what its undo will need. Both kinds of sagas use it.
 *
 * All of it inside the caller's write transaction of the store; strings that
 * are handed out point into the map.
 */
#ifndef WBI_BARRIER_H
#define WBI_BARRIER_H

#include "lib/journal/saga_rows.h"

/* What an operation that comes now is to do. */
typedef enum wbi_barrier_answer {
	WBI_BARRIER_GO,        /* carry it out, then say so by _acted/_undone */
	WBI_BARRIER_DUPLICATE, /* it has been: *ret is its row; answer again */
	WBI_BARRIER_REFUSED,   /* an action whose undo was here before: *ret is
				  the tombstone */
	WBI_BARRIER_NOTHING,   /* an undo of nothing: there was no action, and
				  a tombstone is there now; or it was refused */
	WBI_BARRIER_STALE      /* of an older epoch than the row's */
} wbi_barrier_answer;

/* Who asks. `keep_us`: how long rows are kept after their last use. */
typedef struct wbi_barrier_scope {
	MDB_txn *txn;
	const wbi_store_tables *tables;
	int64_t now_us;
	int64_t keep_us;
} wbi_barrier_scope;

/*
 * Ask before an action or an undo. For an undo that is to go, *ret is the row
 * of its action. Writes only where the answer is NOTHING: the undo's own row,
 * and the tombstone if there was no action. `epoch` 0: has none.
 */
wb_code wbi_barrier_ask(const wbi_barrier_scope *scope,
			const wbi_barrier_id *id, uint32_t epoch,
			wbi_barrier_answer *ret_answer, wbi_barrier *ret,
			wb_error *err);

/* An action took effect (DONE, PENDING) or was refused. `row` as it is to be;
 * its times are set here. */
wb_code wbi_barrier_acted(const wbi_barrier_scope *scope,
			  const wbi_barrier_id *id, const wbi_barrier *row,
			  wb_error *err);

/* An undo took effect: its own row is `row` (DONE), the action's UNDONE. */
wb_code wbi_barrier_undone(const wbi_barrier_scope *scope,
			   const wbi_barrier_id *id, const wbi_barrier *row,
			   wb_error *err);

/* Leave a tombstone where no action was: what a probe of nothing does, so that
 * its answer stays true. WB_EEXISTS (err untouched): there is a row. */
wb_code wbi_barrier_forbid(const wbi_barrier_scope *scope,
			   const wbi_barrier_id *id, uint32_t epoch,
			   wb_error *err);

/* Forget at most `most` of what was not used for longer than it is kept:
 * barriers, and sagas that have ended. */
wb_code wbi_barrier_prune(const wbi_barrier_scope *scope, uint32_t most,
			  wb_error *err);
/* A saga has ended: forget it in `keep_us`. */
wb_code wbi_barrier_saga_ended(const wbi_barrier_scope *scope,
			       const wbi_saga_id *id, wb_error *err);

#endif
