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

#include <waybill/choreography.h>

#include "lib/store/store.h"

typedef enum wbi_barrier_op {
	WBI_BARRIER_DO = 'd',
	WBI_BARRIER_UNDO = 'u'
} wbi_barrier_op;

typedef struct wbi_barrier_id {
	wb_str saga; /* 1..200 */
	wb_str step; /* 1..64 */
	uint8_t op;  /* enum wbi_barrier_op */
} wbi_barrier_id;

/* A row. `state` of an action: PENDING, DONE, REFUSED (by itself, or by its
 * undo that came first: `tombstone`), UNDONE. Of an undo: DONE or PENDING (it
 * is being tried). */
typedef struct wbi_barrier {
	uint8_t state; /* wb_step_state */
	bool tombstone;
	uint32_t epoch;
	int64_t first_us, last_us;
	wb_str undo; /* what the undo will need */
	wb_str reply_type, reply_content_type, reply; /* what was answered */
	wb_str reply_to, text; /* where to; the reason of a refusal */
} wbi_barrier;

/* What an operation that comes now is to do. */
typedef enum wbi_barrier_answer {
	WBI_BARRIER_GO,        /* carry it out, then wbi_barrier_put() */
	WBI_BARRIER_DUPLICATE, /* it has been: *ret is its row; answer again */
	WBI_BARRIER_REFUSED,   /* an action whose undo was here before */
	WBI_BARRIER_NOTHING,   /* an undo of nothing: a tombstone is left */
	WBI_BARRIER_STALE      /* of an older epoch than the row's */
} wbi_barrier_answer;

/*
 * Ask before an operation. For an undo that is to go, *ret is the row of its
 * action. Writes the tombstone and the undo's own row where the answer is
 * NOTHING, nothing else.
 */
wb_code wbi_barrier_ask(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_barrier_id *id, uint32_t epoch,
			int64_t now_us, wbi_barrier_answer *ret_answer,
			wbi_barrier *ret, wb_error *err);

wb_code wbi_barrier_put(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_barrier_id *id, const wbi_barrier *row,
			wb_error *err);
wb_code wbi_barrier_get(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_barrier_id *id, wbi_barrier *ret,
			wb_error *err);

/* An undo took effect: its own row, and the action's becomes UNDONE. */
wb_code wbi_barrier_undone(MDB_txn *txn, const wbi_store_tables *tables,
			   const wbi_barrier_id *undo, const wbi_barrier *row,
			   wb_error *err);

#endif
