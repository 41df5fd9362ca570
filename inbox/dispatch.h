/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dispatch: from the inbox journal to handlers. Each has its own cursor; what
 * a call changes, what it emits and the cursor that says so are one commit.
 * What does not end inside its call goes to `work` (work.h) in that commit.
 *
 * A step does one of: a batch of new events; rows that are due; outcomes of
 * external calls. Each transaction does about txn_us of work. New events may be
 * handled in the transaction that takes them in, without a step.
 */
#ifndef WBI_DISPATCH_H
#define WBI_DISPATCH_H

#include <waybill/worker.h>

#include "inbox/calls.h"
#include "lib/store/store.h"

typedef struct wbi_dispatch wbi_dispatch;

/* Are they declared as they must be? WB_EINVAL names the handler and says what
 * is wrong. Opens nothing. */
wb_code wbi_dispatch_check(const wb_handler *const *handlers, size_t count,
			   wb_error *err);

/*
 * `options` as for ingest. `calls` is the page in which calls in progress are
 * noted (borrowed; NULL: none, as under a simulator that has no crashes).
 * Opens the handlers, makes their cursors, and charges the attempt of a call
 * that a crash has interrupted.
 */
wb_code wbi_dispatch_open(wb_store *store, const wb_handler *const *handlers,
			  size_t count, const wb_worker_options *options,
			  wbi_calls *calls, wbi_dispatch **ret, wb_error *err);
/* Waits for external calls that run on threads, however long they take; what
 * they came to is lost, so that they are made again: stop first. */
void wbi_dispatch_close(wbi_dispatch *dispatch);

/* `wake`: the inbox may have grown, or rows may have changed. An error leaves
 * nothing half done and is not the events' fault: of class STOP (the store is
 * damaged, or a consumer's row was removed), or of the map that another process
 * has enlarged. */
wb_code wbi_dispatch_step(wbi_dispatch *dispatch, bool wake, wb_error *err);
int64_t wbi_dispatch_deadline_us(const wbi_dispatch *dispatch);
/* Readable when an external call has ended; -1: there are no threads. */
int wbi_dispatch_fd(const wbi_dispatch *dispatch);

/*
 * Hand events that are being taken in to the handlers, in the transaction that
 * does so: those behind `before` up to `head`. Only when all handlers stand at
 * `before` and nothing is in the way, else WB_EAGAIN, and nothing was done.
 * Another error (WB_ESTATE: a call has failed that had written) spoils the
 * transaction: the events are to be committed without this, and are handled by
 * steps. Behind WB_OK say what became of it.
 */
wb_code wbi_dispatch_join(wbi_dispatch *dispatch, MDB_txn *txn, uint64_t before,
			  uint64_t head, wb_error *err);
void wbi_dispatch_joined(wbi_dispatch *dispatch, bool committed);

/* So much work in a transaction from now on; at first options->txn_us. */
void wbi_dispatch_set_share(wbi_dispatch *dispatch, uint32_t txn_us);

/* Begin nothing more; done when wbi_dispatch_stopped(). */
void wbi_dispatch_stop(wbi_dispatch *dispatch);
bool wbi_dispatch_stopped(const wbi_dispatch *dispatch);

typedef struct wbi_dispatch_stat {
	uint64_t handled, retries, dead, emitted, waiting, timers;
	uint64_t head, running; /* running: external calls in progress */
	uint64_t positions;     /* of all consumers, added up: they get on */
	bool idle;              /* nothing new, nothing due, nothing running */
	bool paused;            /* no room in the store; error says which */
	wb_error error;
} wbi_dispatch_stat;

wbi_dispatch_stat wbi_dispatch_get_stat(const wbi_dispatch *dispatch);

#endif
