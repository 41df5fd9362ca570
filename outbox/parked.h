/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Parked events: rows and keys kept in step, and the operator's verbs on them.
 *
 * A key has a row in relay.keys exactly while it has rows in relay.parked; its
 * count and bytes are the sums over those. Events without a key, and those of
 * a route without order, stand under the empty key, each for itself.
 *
 * The verbs write in short transactions of their own and leave an audit row
 * each. They may run in any process, beside a running relay: it sees that
 * something was committed and looks.
 */
#ifndef WBI_OUTBOX_PARKED_H
#define WBI_OUTBOX_PARKED_H

#include "lib/journal/parked.h"

/* Who does it and why, for the audit. */
typedef struct wbi_actor {
	wb_str who, why;
} wbi_actor;

/* Add a row unless it is there already; *ret_added tells. */
wb_code wbi_parked_add(MDB_txn *txn, const wbi_relay_tables *tables,
		       wb_str key, uint64_t position, const wbi_parked *row,
		       bool *ret_added, wb_error *err);

/* Remove a row; WB_ENOTFOUND leaves *err alone. */
wb_code wbi_parked_remove(MDB_txn *txn, const wbi_relay_tables *tables,
			  wb_str key, uint64_t position, wb_error *err);

/* Write a row again that was read in this transaction: its strings may point
 * into the map. */
wb_code wbi_parked_update(MDB_txn *txn, wbi_table parked, wb_str key,
			  uint64_t position, const wbi_parked *row,
			  wb_error *err);

/*
 * Release the parked events of a key, in order, or for the empty key the one
 * at `position` (else ignored). A running relay begins at once. WB_ENOTFOUND:
 * there are none.
 */
wb_code wbi_parked_retry(wb_store *store, wb_str key, uint64_t position,
			 const wbi_actor *actor, wb_error *err);

/*
 * Delete one parked event for good. What is parked behind it stays until the
 * key is retried. WB_ENOTFOUND. WB_EAGAIN: the relay's cursor, or the hold of
 * its exchange, has not passed its position yet, so that a restarted relay
 * would send it; try again.
 */
wb_code wbi_parked_discard(wb_store *store, wb_str key, uint64_t position,
			   const wbi_actor *actor, wb_error *err);

/*
 * Visit parked events, by key and then position, beginning behind *from (NULL:
 * at the first). `each` returns false to stop; its arguments live until it
 * returns. `txn` is a read transaction of the relay's environment: keep it
 * short, visit in pages.
 */
typedef bool wbi_parked_visitor(void *ctx, wb_str key, uint64_t position,
				const wbi_parked *row);
wb_code wbi_parked_each(wb_store *store, MDB_txn *txn,
			const wbi_parked_row_key *from,
			wbi_parked_visitor *each, void *ctx, wb_error *err);

#endif
