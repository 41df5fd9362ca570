/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ingest: from a queue into the inbox journal. Connect, declare, consume; then
 * a batch of deliveries → one transaction (known? count it: else append and
 * remember) → commit → one ack of them all. Never an ack before its commit.
 *
 * What is no event, or over a limit, becomes a dead letter with its bytes in
 * that same commit and is acked like the rest.
 *
 * One thread; the broker is used, not owned.
 */
#ifndef WBI_INGEST_H
#define WBI_INGEST_H

#include <waybill/worker.h>

#include "lib/store/store.h"

typedef struct wbi_ingest wbi_ingest;

/* `options` is the worker's, every default filled in; its `bind` too. Borrowed,
 * with all its strings. WB_EINVAL: the queue's name, prefetch or batch_max.
 * WB_EMISMATCH: this store takes from another queue, which the error names. */
wb_code wbi_ingest_open(wb_store *store, wb_broker *broker,
			const wb_worker_options *options, wbi_ingest **ret,
			wb_error *err);
void wbi_ingest_close(wbi_ingest *ingest);

/*
 * Whoever works in the commit of a batch, too, so that there is one and not
 * two. `within` is called with the batch in `txn`, whose events follow on
 * position `before` up to `head`. WB_EAGAIN: nothing was done, not now. Any
 * other error: the transaction is spoilt, and the batch is written again
 * without it. `after` says of a `within` that ended well what became of it.
 */
typedef struct wbi_ingest_join {
	wb_code (*within)(void *ctx, MDB_txn *txn, uint64_t before,
			  uint64_t head, wb_error *err);
	void (*after)(void *ctx, bool committed);
	void *ctx;
} wbi_ingest_join;

/* Borrowed; NULL, as at first: nobody. */
void wbi_ingest_set_join(wbi_ingest *ingest, const wbi_ingest_join *join);

/* So much work in a transaction from now on; at first options->txn_us. */
void wbi_ingest_set_share(wbi_ingest *ingest, uint32_t txn_us);

/*
 * One bounded step. *ret_committed: events were appended, handlers have work.
 * An error is of class STOP, but for WB_EMISMATCH: the queue belongs to another
 * store, which the error names. No room (quota, disk, map) is no error: it
 * stops taking, says so in its stat, and looks again each second.
 */
wb_code wbi_ingest_step(wbi_ingest *ingest, bool *ret_committed, wb_error *err);
int64_t wbi_ingest_deadline_us(const wbi_ingest *ingest);

/* Take nothing more, ack what is committed, close the connection: done when
 * wbi_ingest_stopped(). */
void wbi_ingest_stop(wbi_ingest *ingest);
bool wbi_ingest_stopped(const wbi_ingest *ingest);

typedef struct wbi_ingest_stat {
	wb_worker_state state; /* DOWN, RUNNING, PAUSED, DRAINING, STOPPED */
	uint64_t received, duplicates, refused, appended, acked, connects;
	bool idle; /* every delivery that came is committed and acked */
	wb_error error;
} wbi_ingest_stat;

wbi_ingest_stat wbi_ingest_get_stat(const wbi_ingest *ingest);

/*
 * Append one received message as ingest does, in `txn`: the part that the
 * redrive of a refused message shares. *ret_position: 0 if it was known.
 * WB_EINVAL, WB_ELIMIT: it is still no event.
 */
wb_code wbi_ingest_message(wb_store *store, MDB_txn *txn,
			   const wb_message *message, bool id_from_body,
			   const wb_limits *limits, uint64_t age_us,
			   uint64_t *ret_position, wb_error *err);

#endif
