/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Becoming the store's worker: the lock on DIR/worker, then the parts. They
 * are opened only under the lock, since opening them reads what the last
 * worker left behind and charges the call that it died in.
 *
 * A worker that gives up half-way closes what it had opened and has changed
 * nothing that the next one would not change again.
 */
#include "inbox/worker_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/owner.h"

static wb_code start_lock(wb_worker *worker, wb_error *err)
{
	const char *dir = wb_store_dir(worker->store);
	char path[PATH_MAX];
	int64_t pid = 0;
	wb_code code;

	if ((size_t)snprintf(path, sizeof(path), "%s/worker", dir) >=
	    sizeof(path))
		return WBI_FAIL(err, WB_EINVAL, "%s: the path is too long",
				dir);
	code = wbi_owner_take(path, &worker->owner_fd, &pid, err);
	if (code != WB_EBUSY)
		return code;
	wb_error_clear(&worker->why);
	(void)WBI_FAIL(&worker->why, WB_EBUSY,
		       "process %" PRId64 " works on %s already: waiting for "
		       "it to end",
		       pid, dir);
	if (!worker->told_waiting)
		wbi_log(worker->log, WB_LOG_INFO, "worker: %s",
			worker->why.text);
	worker->told_waiting = true;
	return WB_EBUSY;
}

static wb_code start_join(void *ctx, MDB_txn *txn, uint64_t before,
			  uint64_t head, wb_error *err)
{
	wb_worker *worker = ctx;

	return wbi_dispatch_join(worker->dispatch, txn, before, head, err);
}

static void start_joined(void *ctx, bool committed)
{
	wb_worker *worker = ctx;

	wbi_dispatch_joined(worker->dispatch, committed);
}

static wb_code start_ingest(wb_worker *worker, wb_error *err)
{
	wb_code code;

	if (!worker->consumer)
		return WB_OK;
	code = wbi_ingest_open(worker->store, worker->consumer,
			       &worker->options, &worker->ingest, err);
	if (code != WB_OK)
		return code;
	worker->join = (wbi_ingest_join){start_join, start_joined, worker};
	wbi_ingest_set_join(worker->ingest, &worker->join);
	return WB_OK;
}

static wb_code start_parts(wb_worker *worker, wb_error *err)
{
	const wb_worker_options *options = &worker->options;
	wb_code code;

	code = wbi_calls_open(wb_store_dir(worker->store), &worker->calls, err);
	if (code == WB_OK)
		code = wbi_dispatch_open(worker->store, worker->handlers,
					 worker->handler_count, options,
					 worker->calls, &worker->dispatch, err);
	if (code == WB_OK)
		code = start_ingest(worker, err);
	if (code == WB_OK && options->relay)
		code = wb_relay_open(worker->store, worker->publisher,
				     options->relay, &worker->relay, err);
	return code;
}

/* WB_EBUSY, err untouched: another worker has the store. */
wb_code wbi_worker_own(wb_worker *worker, wb_error *err)
{
	wb_code code = start_lock(worker, err);

	worker->own_at_us =
		worker->now_us + (int64_t)WORKER_OWN_RETRY_MS * 1000;
	if (code == WB_EBUSY)
		return code;
	if (code == WB_OK)
		code = start_parts(worker, err);
	if (code != WB_OK) {
		wbi_worker_disown(worker);
		return code;
	}
	if (worker->told_waiting)
		wbi_log(worker->log, WB_LOG_INFO, "worker: taking over %s",
			wb_store_dir(worker->store));
	worker->state = WB_WORKER_DOWN;
	worker->told_waiting = false;
	worker->readers_at_us = worker->pause_until_us = worker->now_us;
	worker->seen_txn = worker->own_txn = 0;
	worker->alone_at_us = worker->now_us;
	worker->wake_dispatch = worker->wake_relay = true;
	wb_error_clear(&worker->why);
	return WB_OK;
}

/* The lock goes last: what the parts hold is the next worker's then. */
void wbi_worker_disown(wb_worker *worker)
{
	wb_relay_close(worker->relay);
	wbi_ingest_close(worker->ingest);
	wbi_dispatch_close(worker->dispatch);
	wbi_calls_close(worker->calls);
	worker->relay = NULL;
	worker->ingest = NULL;
	worker->dispatch = NULL;
	worker->calls = NULL;
	if (worker->owner_fd >= 0)
		close(worker->owner_fd);
	worker->owner_fd = -1;
}
