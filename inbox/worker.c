/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The worker's step joins the parts: ingest, dispatch, and the relay of what
 * the handlers emit. It knows nothing of rows: each part commits for itself,
 * and whatever is committed when a crash comes is known to the next one.
 *
 * One write transaction a step, then a pause, so that other writers of the
 * store get LMDB's lock; ingest and dispatch take turns. Whether anything was
 * committed, by whomever, is seen by the number of the last transaction.
 *
 * A worker belongs to the thread that steps it; wb_worker_stop() alone may come
 * from elsewhere.
 */
#include "inbox/worker_internal.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

/* ---- open and close ------------------------------------------------------ */

static wb_code worker_take(wb_worker *worker,
			   const wb_handler *const *handlers, size_t count,
			   const wb_worker_options *options, wb_error *err)
{
	wb_code code = wbi_worker_take_handlers(worker, handlers, count, err);

	if (code == WB_OK)
		code = wbi_worker_take_options(worker, options, err);
	if (code != WB_OK)
		return code;
	worker->clock = worker->options.clock;
	worker->log = worker->options.log;
	worker->now_us = worker->clock->mono_us(worker->clock->ctx);
	/* From the start: wb_worker_stop() rings it in another thread. */
	code = wbi_loop_hang_bell(&worker->loop, err);
	if (code == WB_OK)
		code = wbi_worker_own(worker, err);
	return code == WB_EBUSY ? WB_OK : code;
}

wb_code wb_worker_open(wb_store *store, wb_broker *consumer,
		       wb_broker *publisher, const wb_handler *const *handlers,
		       size_t count, const wb_worker_options *options,
		       wb_worker **ret, wb_error *err)
{
	wb_worker *worker;
	wb_code code;

	if (!store || !ret)
		return WBI_FAIL(err, WB_EINVAL, "a worker needs a store");
	worker = calloc(1, sizeof(*worker));
	if (!worker)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a worker");
	worker->store = store;
	worker->consumer = consumer;
	worker->publisher = publisher;
	worker->owner_fd = worker->relay_fd = worker->store_watch = -1;
	worker->look_at_us = INT64_MAX;
	worker->look_pause_us = WORKER_LOOK_MIN_US;
	wbi_loop_init(&worker->loop);
	code = worker_take(worker, handlers, count, options, err);
	if (code != WB_OK) {
		wb_worker_close(worker);
		return code;
	}
	*ret = worker;
	return WB_OK;
}

void wb_worker_close(wb_worker *worker)
{
	if (!worker)
		return;
	wbi_loop_fini(&worker->loop); /* it waits for what the parts close */
	wbi_worker_disown(worker);
	wbi_worker_free_options(worker);
	free(worker);
}

/* ---- small things -------------------------------------------------------- */

const char *wbi_worker_state_name(wb_worker_state state)
{
	static const char *const names[] = {"waiting", "down", "running",
					    "paused",  "draining", "stopped",
					    "failed"};

	WB_ASSERT((size_t)state < WBI_COUNT(names));
	return names[state];
}

static void worker_set_state(wb_worker *worker, wb_worker_state state)
{
	if (worker->state != state)
		wbi_log(worker->log, WB_LOG_DEBUG, "worker: %s",
			wbi_worker_state_name(state));
	worker->state = state;
}

static int64_t worker_min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* The map was enlarged by another process. No transaction is open here, and
 * with sole_user nowhere else in this process. */
static wb_code worker_adopt_map(wb_worker *worker, wb_error *err)
{
	if (!worker->options.sole_user)
		return WBI_FAIL(err, WB_EMISMATCH,
				"another process has enlarged the map of %s: "
				"close the store and open it again",
				wb_store_dir(worker->store));
	return wbi_store_adopt_map(worker->store, err);
}

/*
 * Has anything been committed since we looked? A commit that waits for the
 * disk has its number already, but is not to be read yet: then look again.
 */
static wb_code worker_look(wb_worker *worker, wb_error *err)
{
	MDB_env *env = wb_store_env(worker->store);
	uint64_t last = wbi_env_last_txn(env), seen;
	wb_error why = WB_ERROR_INIT;
	MDB_txn *txn;
	wb_code code;

	worker->look_at_us = INT64_MAX;
	if (last == worker->seen_txn) {
		worker->look_pause_us = WORKER_LOOK_MIN_US;
		return WB_OK;
	}
	code = wbi_txn_begin(env, false, &txn, &why);
	if (code != WB_OK && wbi_lmdb_is_resized(why.foreign)) {
		code = worker_adopt_map(worker, err);
		if (code == WB_OK)
			code = wbi_txn_begin(env, false, &txn, err);
	} else if (code != WB_OK) {
		return WBI_FAIL(err, code, "%s", why.text);
	}
	if (code != WB_OK)
		return code;
	seen = wbi_txn_id(txn);
	wbi_txn_abort(txn);
	if (seen != worker->seen_txn)
		worker->wake_dispatch = worker->wake_relay = true;
	worker->seen_txn = seen;
	if (seen == last) {
		worker->look_pause_us = WORKER_LOOK_MIN_US;
		return WB_OK;
	}
	worker->look_at_us = worker->now_us + worker->look_pause_us;
	worker->look_pause_us = worker_min(2 * worker->look_pause_us,
					   WORKER_LOOK_MAX_US);
	return WB_OK;
}

static void worker_check_readers(wb_worker *worker)
{
	if (worker->now_us < worker->readers_at_us)
		return;
	worker->readers_at_us =
		worker->now_us + (int64_t)WORKER_READERS_MS * 1000;
	(void)wb_store_check_readers(worker->store, NULL, NULL);
}

/* ---- taking turns -------------------------------------------------------- */

static wb_code worker_ingest(wb_worker *worker, wb_error *err)
{
	bool committed; /* worker_look() sees that, and what others commit */

	if (!worker->ingest)
		return WB_OK;
	return wbi_ingest_step(worker->ingest, &committed, err);
}

static wb_code worker_dispatch(wb_worker *worker, wb_error *err)
{
	bool wake = worker->wake_dispatch;

	worker->wake_dispatch = false;
	return wbi_dispatch_step(worker->dispatch, wake, err);
}

/*
 * How long may a transaction be? Longer while nobody else writes to the store:
 * a commit costs the same for many events as for few. Another writer is known
 * by transactions that are not ours.
 */
static void worker_share(wb_worker *worker, uint64_t last_txn)
{
	uint32_t share_us = worker->options.txn_us;

	if (worker->own_txn != 0 && last_txn != worker->own_txn)
		worker->alone_at_us = worker->now_us + WORKER_ALONE_US;
	worker->own_txn = last_txn;
	if (worker->now_us >= worker->alone_at_us)
		share_us = worker->options.txn_alone_us;
	wbi_dispatch_set_share(worker->dispatch, share_us);
	if (worker->ingest)
		wbi_ingest_set_share(worker->ingest, share_us);
}

/* Each part in turn, until one of them has committed: what comes next waits
 * for the pause behind it. */
static wb_code worker_turns(wb_worker *worker, wb_error *err)
{
	MDB_env *env = wb_store_env(worker->store);
	uint64_t before = wbi_env_last_txn(env);
	wb_code code = WB_OK;

	if (worker->now_us < worker->pause_until_us)
		return WB_OK;
	worker_share(worker, before);
	for (int i = 0; i < 2 && code == WB_OK; i++) {
		if (worker->turn == WORKER_INGEST)
			code = worker_ingest(worker, err);
		else
			code = worker_dispatch(worker, err);
		worker->turn = worker->turn == WORKER_INGEST ? WORKER_DISPATCH
							     : WORKER_INGEST;
		worker->own_txn = wbi_env_last_txn(env);
		if (worker->own_txn == before)
			continue;
		worker->pause_until_us =
			worker->clock->mono_us(worker->clock->ctx) +
			worker->options.pause_us;
		break;
	}
	return code;
}

wb_code wbi_worker_step_relay(wb_worker *worker, wb_error *err)
{
	bool wake = worker->wake_relay;

	worker->wake_relay = false;
	return worker->relay ? wb_relay_step(worker->relay, wake, err) : WB_OK;
}

/* ---- stopping ------------------------------------------------------------ */

static void worker_begin_stop(wb_worker *worker)
{
	worker->parts_stopping = true;
	worker->stop_deadline_us =
		worker->now_us + (int64_t)worker->options.drain_ms * 1000;
	if (worker->ingest)
		wbi_ingest_stop(worker->ingest);
	wbi_dispatch_stop(worker->dispatch);
	worker_set_state(worker, WB_WORKER_DRAINING);
}

/* Ingest and dispatch first, as what they still commit is for the relay. */
static bool worker_parts_stopped(const wb_worker *worker)
{
	bool ingest = !worker->ingest || wbi_ingest_stopped(worker->ingest);
	bool dispatch = wbi_dispatch_stopped(worker->dispatch);

	if (ingest && dispatch)
		return true;
	if (atomic_load(&worker->stop_asked) > 1)
		return true;
	return worker->now_us >= worker->stop_deadline_us +
					 (dispatch ? WORKER_CLOSE_US : 0);
}

static void worker_stopping(wb_worker *worker)
{
	int asked = atomic_load(&worker->stop_asked);

	if (!worker->parts_stopping)
		worker_begin_stop(worker);
	if (!worker_parts_stopped(worker))
		return;
	if (worker->relay && !worker->relay_stopping)
		wb_relay_stop(worker->relay);
	worker->relay_stopping = true;
	if (worker->relay && asked > 1)
		wb_relay_stop(worker->relay);
	if (worker->relay && asked < 2 &&
	    wb_relay_get_stat(worker->relay).state != WB_RELAY_STOPPED)
		return;
	worker_set_state(worker, WB_WORKER_STOPPED);
}

void wb_worker_stop(wb_worker *worker)
{
	atomic_fetch_add(&worker->stop_asked, 1);
	wbi_loop_ring(&worker->loop);
}

/* ---- the step ------------------------------------------------------------ */

/* What an operator sees: the state of taking in, unless there is no room. */
static void worker_tell_state(wb_worker *worker)
{
	wb_worker_state state = WB_WORKER_RUNNING;

	if (worker->ingest)
		state = wbi_ingest_get_stat(worker->ingest).state;
	if (state == WB_WORKER_STOPPED || state == WB_WORKER_DRAINING)
		state = WB_WORKER_DOWN;
	if (wbi_dispatch_get_stat(worker->dispatch).paused)
		state = WB_WORKER_PAUSED;
	worker_set_state(worker, state);
}

static wb_code worker_work(wb_worker *worker, wb_error *err)
{
	wb_code code = worker_look(worker, err);

	if (code == WB_OK && atomic_load(&worker->stop_asked) > 0)
		worker_stopping(worker);
	if (code == WB_OK && worker->state != WB_WORKER_STOPPED)
		code = worker_turns(worker, err);
	if (code == WB_OK && worker->relay_fd < 0)
		code = wbi_worker_step_relay(worker, err);
	if (code == WB_OK && worker->parts_stopping &&
	    worker->state != WB_WORKER_STOPPED)
		worker_stopping(worker);
	else if (code == WB_OK && !worker->parts_stopping)
		worker_tell_state(worker);
	worker_check_readers(worker);
	return code;
}

/* An error of a step: the end, or said once and tried again a little later. */
static wb_code worker_stumble(wb_worker *worker, const wb_error *why,
			      wb_error *err)
{
	if (why->class_ == WB_CLASS_STOP) {
		worker_set_state(worker, WB_WORKER_FAILED);
		return wb_error_set(err, why->code, why->foreign, why->where,
				    "%s", why->text);
	}
	if (strcmp(worker->why.text, why->text) != 0)
		wbi_log(worker->log, WB_LOG_ERROR, "worker: %s", why->text);
	worker->why = *why;
	worker->pause_until_us =
		worker->now_us + (int64_t)worker->options.poll_ms * 1000;
	return WB_OK;
}

wb_code wb_worker_step(wb_worker *worker, bool wake, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code = WB_OK;

	if (worker->state == WB_WORKER_STOPPED)
		return WB_OK;
	if (worker->state == WB_WORKER_FAILED)
		return WBI_FAIL(err, WB_ESTATE,
				"the worker has failed: close it");
	worker->now_us = worker->clock->mono_us(worker->clock->ctx);
	if (worker->owner_fd < 0 && atomic_load(&worker->stop_asked) > 0) {
		worker_set_state(worker, WB_WORKER_STOPPED);
		return WB_OK;
	}
	worker->wake_dispatch = worker->wake_dispatch || wake;
	if (worker->owner_fd < 0 && worker->now_us >= worker->own_at_us)
		code = wbi_worker_own(worker, &why);
	if (worker->owner_fd >= 0 && code == WB_OK)
		code = worker_work(worker, &why);
	if (code != WB_OK && wbi_lmdb_is_resized(why.foreign)) {
		wb_error_clear(&why);
		code = worker_adopt_map(worker, &why);
		worker->wake_dispatch = true; /* what was begun, once more */
	}
	if (code != WB_OK && code != WB_EBUSY)
		return worker_stumble(worker, &why, err);
	return WB_OK;
}

int64_t wb_worker_deadline_us(const wb_worker *worker)
{
	int64_t at = worker->now_us + (int64_t)worker->options.poll_ms * 1000;

	if (worker->state == WB_WORKER_STOPPED ||
	    worker->state == WB_WORKER_FAILED)
		return INT64_MAX;
	if (worker->owner_fd < 0)
		return worker->own_at_us;
	if (worker->parts_stopping && worker->now_us < worker->stop_deadline_us)
		at = worker_min(at, worker->stop_deadline_us);
	at = worker_min(at, worker->look_at_us);
	at = worker_min(at, wbi_dispatch_deadline_us(worker->dispatch));
	if (worker->ingest)
		at = worker_min(at, wbi_ingest_deadline_us(worker->ingest));
	if (worker->wake_dispatch)
		at = worker->now_us;
	if (at < worker->pause_until_us)
		at = worker->pause_until_us;
	if (worker->relay && worker->relay_fd < 0)
		at = worker_min(at, worker->wake_relay
					    ? worker->now_us
					    : wb_relay_deadline_us(
						      worker->relay));
	return at;
}

/* ---- what it says of itself ---------------------------------------------- */

static bool worker_is_idle(const wb_worker *worker,
			   const wbi_ingest_stat *ingest,
			   const wbi_dispatch_stat *dispatch)
{
	uint64_t last = wbi_env_last_txn(wb_store_env(worker->store));

	return dispatch->idle && !dispatch->paused && !worker->wake_dispatch &&
	       !worker->wake_relay && last == worker->seen_txn &&
	       (!worker->ingest ||
		(ingest->idle && ingest->state == WB_WORKER_RUNNING)) &&
	       (!worker->relay || wb_relay_get_stat(worker->relay).idle);
}

static void stat_ingest(wb_worker_stat *stat, const wbi_ingest_stat *from)
{
	stat->received = from->received;
	stat->duplicates = from->duplicates;
	stat->refused = from->refused;
	stat->connects = from->connects;
	if (from->error.code != WB_OK && stat->error.code == WB_OK)
		stat->error = from->error;
}

static void stat_dispatch(wb_worker_stat *stat, const wbi_dispatch_stat *from)
{
	stat->head = from->head;
	stat->handled = from->handled;
	stat->retries = from->retries;
	stat->dead = from->dead;
	stat->emitted = from->emitted;
	stat->waiting = from->waiting;
	stat->timers = from->timers;
	if (from->paused && from->error.code != WB_OK)
		stat->error = from->error;
}

wb_worker_stat wb_worker_get_stat(const wb_worker *worker)
{
	wb_worker_stat stat = {.state = worker->state};
	wbi_ingest_stat ingest = {.state = WB_WORKER_DOWN};
	wbi_dispatch_stat dispatch;

	stat.error = worker->why;
	if (!worker->dispatch)
		return stat;
	dispatch = wbi_dispatch_get_stat(worker->dispatch);
	if (worker->ingest)
		ingest = wbi_ingest_get_stat(worker->ingest);
	stat_ingest(&stat, &ingest);
	stat_dispatch(&stat, &dispatch);
	stat.idle = worker_is_idle(worker, &ingest, &dispatch);
	return stat;
}
