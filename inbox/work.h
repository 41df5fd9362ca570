/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What did not end inside its call, as one table with an order: the rules of
 * groups, in one place. Dispatch, the operator's verbs and sagas go through
 * these; nothing else writes `work` and `due`.
 *
 * A group is (consumer, key) in the KEYED lane, (consumer, name) in the TIMER
 * lane; rows of other lanes stand each for itself. Its rows are done in order
 * of position: the first is its head, it alone may be called, what is behind it
 * is QUEUED. When the head is done the next becomes WAITING, due at once (or
 * when its own due_us says so, if that is later). A DEAD one waits for the
 * operator, and all behind it with it.
 *
 * A dead letter whose followers went on can be revived in front of a head. If
 * that was WAITING, it is QUEUED again and keeps its attempts and due time; if
 * it was RUNNING, the revived one is QUEUED until that call has ended, however
 * it ends. So there is never a second call of a group beside the first, and
 * what is done next is always the lowest position there is.
 *
 * CRASHED rows (attempts of an event that the cursor has not reached) are in no
 * group and in nobody's way: add, change and done only keep them.
 *
 * `waiting` and `timers` in a consumer's row are kept here, with each row that
 * comes or goes: whoever writes that row must have read it in the same
 * transaction, after his last call here. A consumer without a row has no count.
 *
 * All of it inside the caller's write transaction of the store. Strings of ids
 * and rows that are passed in may point into the map. Each call seeks and looks
 * at one or two rows of a group, however many it has.
 */
#ifndef WBI_WORK_H
#define WBI_WORK_H

#include "lib/journal/inbox_rows.h"

/* Is anything of this (consumer, key) there? Then a new event of it goes
 * behind. Never for the UNKEYED lane. */
wb_code wbi_work_has_group(MDB_txn *txn, const wbi_store_tables *tables,
			   const wbi_work_id *id, bool *ret, wb_error *err);

/* A new row: QUEUED if its group has others, else WAITING until `row->due_us`.
 * `row->state` is set by it. WB_EEXISTS: there is one already. */
wb_code wbi_work_add(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_work_id *id, const wbi_work *row, wb_error *err);

/* The consumer's first row that is due at `now_us` and WAITING; RUNNING ones
 * are passed over. WB_ENOTFOUND: none; *ret_next_us is when there will be
 * (INT64_MAX: never). The id is copied to *ret_key. */
wb_code wbi_work_first_due(MDB_txn *txn, const wbi_store_tables *tables,
			   wb_str consumer, int64_t now_us,
			   wbi_row_key *ret_key, wbi_work_id *ret_id,
			   wbi_work *ret, int64_t *ret_next_us, wb_error *err);

/* The consumer's first RUNNING row: after a restart each of them is a call
 * that was interrupted; change it or let it die, then ask again. WB_ENOTFOUND:
 * none. */
wb_code wbi_work_first_running(MDB_txn *txn, const wbi_store_tables *tables,
			       wb_str consumer, wbi_row_key *ret_key,
			       wbi_work_id *ret_id, wbi_work *ret,
			       wb_error *err);

/* The row in `id` is done: remove it, let the next one of its group go.
 * WB_ENOTFOUND: it is not there. */
wb_code wbi_work_done(MDB_txn *txn, const wbi_store_tables *tables,
		      const wbi_work_id *id, int64_t now_us, wb_error *err);

/*
 * Change a row (attempts, due time, text, WAITING or RUNNING), its row in
 * `due` with it; the due_us of a RUNNING one is set to 0. From RUNNING to
 * WAITING is QUEUED if a lower position was revived meanwhile; a timer that was
 * set anew meanwhile goes instead of the one that failed. WB_ENOTFOUND.
 */
wb_code wbi_work_change(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_work_id *id, const wbi_work *row,
			int64_t now_us, wb_error *err);

/*
 * A dead letter: add `dead` and, with `dead->blocks` in the KEYED lane, leave a
 * DEAD row in `work` so that its group waits; else its group goes on. Whether
 * the event had a row before or not. Consumer, lane, key and position are taken
 * from `id`, not from `dead`.
 */
wb_code wbi_work_die(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_work_id *id, const wbi_dead *dead,
		     int64_t now_us, uint64_t *ret_number, wb_error *err);

/*
 * By the operator: back into its group with no attempts counted, due at once
 * if its turn is now; the dead letter is removed. Not for those of ingest
 * (WB_EINVAL). WB_ENOTFOUND. WB_ESTATE: its handler is not known any more.
 * WB_EEXISTS: a timer of that name was set since, which replaces it.
 */
wb_code wbi_work_revive(MDB_txn *txn, const wbi_store_tables *tables,
			uint64_t number, int64_t now_us, wb_error *err);
/* Likewise: removed for good; its group goes on. Those of ingest, too. */
wb_code wbi_work_bury(MDB_txn *txn, const wbi_store_tables *tables,
		      uint64_t number, int64_t now_us, wb_error *err);

/* The first row of id's group (its position is ignored); WB_ENOTFOUND. The
 * strings of *ret_id and *ret point into the map. */
wb_code wbi_work_first(MDB_txn *txn, const wbi_store_tables *tables,
		       const wbi_work_id *id, wbi_work_id *ret_id,
		       wbi_work *ret, wb_error *err);

/* The rows of a consumer that has no row of its own yet, which counts them:
 * a service may set timers before a worker has ever run. */
wb_code wbi_work_count_rows(MDB_txn *txn, const wbi_store_tables *tables,
			    wb_str consumer, uint64_t *ret_waiting,
			    uint64_t *ret_timers, wb_error *err);

/* The delay behind the n-th failed attempt (n from 1) of a handler: doubling
 * from min to max, jittered in its upper half (lib/base/backoff.h). */
int64_t wbi_work_backoff_us(const wb_random *random, uint32_t min_ms,
			    uint32_t max_ms, uint32_t attempts);

#endif
