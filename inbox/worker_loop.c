/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The worker in an event loop (lib/base/loop.h): the consumer's descriptor,
 * that of the threads' outcomes, the data file and the stop bell behind one
 * descriptor; the relay, which gathers its own, is one descriptor among them.
 * wb_worker_run is that loop, ready made.
 */
#include "inbox/worker_internal.h"

#include <limits.h>
#include <time.h>

#include "lib/base/error.h"
#include "lib/base/log.h"

enum { LOOP_STEPS = 16, LOOP_WAIT_MS = 1000 };

static void loop_watch(wb_worker *worker)
{
	char path[PATH_MAX];

	wbi_store_data_path(worker->store, path, sizeof(path));
	worker->store_watch = wbi_loop_watch(&worker->loop, path);
	if (worker->store_watch < 0)
		wbi_log(worker->log, WB_LOG_WARN,
			"worker: cannot watch %s: looking every %u ms", path,
			worker->options.poll_ms);
}

/* What there is only when the worker is active. */
static wb_code loop_add_parts(wb_worker *worker, wb_error *err)
{
	wb_code code = WB_OK;

	if (!worker->dispatch || worker->parts_added)
		return WB_OK;
	code = wbi_loop_add(&worker->loop,
			    wbi_dispatch_fd(worker->dispatch), err);
	if (code == WB_OK && worker->relay)
		code = wb_relay_fd(worker->relay, &worker->relay_fd, err);
	if (code == WB_OK)
		code = wbi_loop_add(&worker->loop, worker->relay_fd, err);
	worker->parts_added = code == WB_OK;
	return code;
}

wb_code wb_worker_fd(wb_worker *worker, int *ret_fd, wb_error *err)
{
	wbi_loop *loop = &worker->loop;
	int consumer_fd = worker->consumer ? wb_broker_fd(worker->consumer)
					   : -1;
	wb_code code;

	if (loop->epoll_fd < 0) {
		code = wbi_loop_open(loop, consumer_fd, err);
		if (code != WB_OK)
			return code;
		loop_watch(worker);
		wbi_loop_arm(loop, 1); /* readable at once: the first step */
	}
	*ret_fd = loop->epoll_fd;
	return WB_OK;
}

static bool loop_has(const wbi_woken *woken, int fd)
{
	for (size_t i = 0; i < woken->count; i++)
		if (woken->fds[i] == fd)
			return true;
	return false;
}

/* The relay looks at once at what was committed; its own loop does the rest. */
static wb_code loop_relay(wb_worker *worker, bool ready, wb_error *err)
{
	wb_code code = WB_OK;

	if (worker->relay_fd < 0)
		return WB_OK;
	ready = ready || worker->wake_relay || worker->relay_stopping;
	if (worker->wake_relay)
		code = wbi_worker_step_relay(worker, err);
	if (code == WB_OK && ready)
		code = wb_relay_dispatch(worker->relay, err);
	if (code != WB_OK)
		worker->state = WB_WORKER_FAILED;
	return code;
}

/* The pause between two transactions is slept here, not waited for: with more
 * to take in the consumer's descriptor stays readable all the while. Before the
 * next step, not behind the last: the host has its thread back as soon as what
 * was handled is durable. */
static void loop_nap(const wb_worker *worker)
{
	int64_t now_us = worker->clock->mono_us(worker->clock->ctx);
	int64_t nap_us = worker->pause_until_us - now_us;
	struct timespec nap;

	if (nap_us <= 0)
		return;
	if (nap_us > WORKER_NAP_US)
		nap_us = WORKER_NAP_US;
	nap = (struct timespec){.tv_nsec = nap_us * 1000};
	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
}

/* That the file was written needs no word: a step sees by itself what was
 * committed, and most of it is our own. */
static wb_code loop_steps(wb_worker *worker, wb_error *err)
{
	const wb_clock *clock = worker->clock;
	wb_code code = WB_OK;

	for (int i = 0; i < LOOP_STEPS && code == WB_OK; i++) {
		loop_nap(worker);
		code = wb_worker_step(worker, false, err);
		if (wb_worker_deadline_us(worker) > clock->mono_us(clock->ctx))
			break;
	}
	return code;
}

wb_code wb_worker_dispatch(wb_worker *worker, wb_error *err)
{
	wbi_woken woken = wbi_loop_woken(&worker->loop, worker->store_watch);
	wb_code code;

	code = loop_steps(worker, err);
	if (code == WB_OK)
		code = loop_add_parts(worker, err);
	if (code == WB_OK)
		code = loop_relay(worker, loop_has(&woken, worker->relay_fd),
				  err);
	/* It may be all that was waited for. */
	if (code == WB_OK && worker->relay_stopping)
		code = wb_worker_step(worker, false, err);
	wbi_loop_arm(&worker->loop, wb_worker_deadline_us(worker));
	return code;
}

/* What is known to one who waits until it is idle. */
typedef struct loop_quiet {
	uint64_t received;
	int64_t since_us; /* nothing was received */
	int64_t stuck_us; /* there was no room; 0 */
	wbi_standstill still;
} loop_quiet;

/* Idle, and nothing has come for a while: what the broker still has is on its
 * way otherwise. */
static bool loop_is_quiet(wb_worker *worker, const wb_worker_stat *stat,
			  loop_quiet *quiet)
{
	int64_t now_us = worker->clock->mono_us(worker->clock->ctx);

	if (!stat->idle || stat->received != quiet->received) {
		quiet->received = stat->received;
		quiet->since_us = now_us;
	}
	return stat->idle && (!worker->consumer ||
			      now_us - quiet->since_us >= WORKER_QUIET_US);
}

bool wbi_worker_is_stuck(const wb_worker_stat *stat, int64_t now_us,
			 int64_t *since_us)
{
	if (stat->state != WB_WORKER_PAUSED)
		*since_us = 0;
	else if (*since_us == 0)
		*since_us = now_us;
	return *since_us != 0 && now_us - *since_us >= WORKER_STUCK_US;
}

/* A call on a thread has a deadline of its own. */
wb_code wbi_worker_gets_on(const wb_worker *worker, wbi_standstill *still,
			   uint64_t more, int64_t most_us, wb_error *err)
{
	wb_worker_stat stat = wb_worker_get_stat(worker);
	uint64_t done = more + stat.received - stat.duplicates + stat.handled +
			stat.dead;

	if (worker->relay) {
		wb_relay_stat relay = wb_relay_get_stat(worker->relay);

		done += relay.cursor + relay.delivered + relay.unrouted +
			relay.parked;
	}
	if (worker->dispatch) {
		wbi_dispatch_stat d = wbi_dispatch_get_stat(worker->dispatch);

		done += d.positions;
		if (d.running > 0)
			still->looked_us = 0;
	}
	if (!wbi_stands_still(still, done,
			      worker->clock->mono_us(worker->clock->ctx),
			      most_us))
		return WB_OK;
	return WBI_FAIL(err, WB_ETIMEOUT,
			"nothing got further for %lld s, %s%s%.300s",
			(long long)(most_us / 1000000),
			wbi_worker_state_name(stat.state),
			*stat.error.text ? ": " : "", stat.error.text);
}

/* Stop it when it is idle; an error if it will not be. */
static wb_code loop_judge(wb_worker *worker, loop_quiet *quiet, wb_error *err)
{
	wb_worker_stat stat = wb_worker_get_stat(worker);
	int64_t now_us = worker->clock->mono_us(worker->clock->ctx);

	if (atomic_load(&worker->stop_asked) > 0)
		return WB_OK;
	if (wbi_worker_is_stuck(&stat, now_us, &quiet->stuck_us))
		return WBI_FAIL(err, stat.error.code, "not idle: %.400s",
				stat.error.text);
	if (loop_is_quiet(worker, &stat, quiet))
		wb_worker_stop(worker);
	else if (!stat.idle)
		return wbi_worker_gets_on(worker, &quiet->still, 0,
					  WBI_STANDSTILL_US, err);
	return WB_OK;
}

wb_code wb_worker_run(wb_worker *worker, bool until_idle, wb_error *err)
{
	loop_quiet quiet = {
		.since_us = worker->clock->mono_us(worker->clock->ctx)};
	wb_code code;
	int fd;

	code = wb_worker_fd(worker, &fd, err);
	while (code == WB_OK) {
		code = wb_worker_dispatch(worker, err);
		if (code != WB_OK || worker->state == WB_WORKER_STOPPED)
			break;
		if (until_idle)
			code = loop_judge(worker, &quiet, err);
		if (code == WB_OK)
			code = wbi_loop_wait(&worker->loop, LOOP_WAIT_MS, err);
	}
	return code;
}
