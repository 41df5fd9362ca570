/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What did not end inside its call, as one table with an order: the rules of
 * groups, in one place. Dispatch, the operator's verbs and sagas go through
 * these; nothing else writes `work` and `due`.
 *
 * A KEYED group (consumer, key) has one head, which alone may be called;
 * everything behind it is QUEUED. When the head is done the next one becomes
 * WAITING, due at once. A group whose head is DEAD waits for the operator.
 *
 * All of it inside the caller's write transaction of the store.
 */
#ifndef WBI_WORK_H
#define WBI_WORK_H

#include "lib/journal/inbox_rows.h"

/* Is anything of this (consumer, key) there? Then a new event of it goes
 * behind. */
wb_code wbi_work_has_group(MDB_txn *txn, const wbi_store_tables *tables,
			   const wbi_work_id *id, bool *ret, wb_error *err);

/* A new row: at the end of its group, QUEUED if that has a head, else WAITING
 * until `row->due_us`. `row->state` is set by it. */
wb_code wbi_work_add(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_work_id *id, const wbi_work *row, wb_error *err);

/* The first row that is due at `now_us` and WAITING; RUNNING ones are passed
 * over. WB_ENOTFOUND: none; *ret_next_us is when there will be (INT64_MAX:
 * never). The id is copied to *ret_key. */
wb_code wbi_work_first_due(MDB_txn *txn, const wbi_store_tables *tables,
			   int64_t now_us, wbi_row_key *ret_key,
			   wbi_work_id *ret_id, wbi_work *ret,
			   int64_t *ret_next_us, wb_error *err);

/* The head in `id` is done: remove it, let the next one of its group go. */
wb_code wbi_work_done(MDB_txn *txn, const wbi_store_tables *tables,
		      const wbi_work_id *id, int64_t now_us, wb_error *err);

/* Change a row (attempts, due time, text, WAITING or RUNNING), its row in
 * `due` with it. */
wb_code wbi_work_change(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_work_id *id, const wbi_work *row,
			wb_error *err);

/*
 * A dead letter: add `dead` and, with `dead->blocks`, leave a DEAD row in
 * `work` so that its group waits; else its group goes on. Whether the event
 * had a row before or not.
 */
wb_code wbi_work_die(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_work_id *id, const wbi_dead *dead,
		     int64_t now_us, uint64_t *ret_number, wb_error *err);

/* By the operator: back into its group with no attempts counted, due at once
 * if it is the head; the dead letter is removed. Not for those of ingest. */
wb_code wbi_work_revive(MDB_txn *txn, const wbi_store_tables *tables,
			uint64_t number, int64_t now_us, wb_error *err);
/* Likewise: removed for good; its group goes on. */
wb_code wbi_work_bury(MDB_txn *txn, const wbi_store_tables *tables,
		      uint64_t number, int64_t now_us, wb_error *err);

/* n-th delay of a handler: doubling from min to max, jittered in its upper
 * half (lib/base/backoff.h). */
int64_t wbi_work_backoff_us(const wb_random *random, uint32_t min_ms,
			    uint32_t max_ms, uint32_t attempts);

#endif
