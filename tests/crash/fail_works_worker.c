/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker takes in orders. The clerk counts each in the store's own table,
 * emits an event, sets a timer, which counts as well, and sets and cancels
 * another; it wants to try one order again, and rejects one. The porter is
 * called outside of transactions. If the worker stops, a new one is opened. In
 * the end each order and each timer has been counted once, and one order is a
 * dead letter.
 */
#include <stdlib.h>

#include "lib/base/assert.h"
#include "tests/crash/crash_points.h"
#include "tests/crash/fail_points.h"
#include "tests/saga/services.h"
#include "tests/support/place.h"
#include "tests/support/testing.h"

enum {
	WORKER_TURNS = 1000,
	WORKER_TURN_US = 10000,
	WORKER_IDLE = 20,
	WORKER_ORDERS = 5,
	WORKER_AGAIN = 2,    /* this order is tried again */
	WORKER_REJECTED = 4, /* and this one is a dead letter */
	WORKER_LATER_US = 50000
};

/* ---- handlers ------------------------------------------------------------ */

/* What comes once must be counted once: a repeat shows as "2". */
static wb_code count_one(wb_call *call, const char *what, wb_str id,
			 wb_error *err)
{
	char key[80], text[2] = "1";
	MDB_val k = {.mv_data = key}, v = {1, text};
	int rc;

	k.mv_size = (size_t)snprintf(key, sizeof(key), "%s %.*s", what,
				     (int)id.len, id.ptr);
	rc = mdb_put(wb_call_txn(call), state_of(call), &k, &v,
		     MDB_NOOVERWRITE);
	if (rc == MDB_KEYEXIST) {
		v = (MDB_val){1, (void *)(uintptr_t) "2"};
		rc = mdb_put(wb_call_txn(call), state_of(call), &k, &v, 0);
	}
	return wb_store_error(rc, err, "count");
}

static bool is_order(const wb_event *event, int number)
{
	return event->id.len == 2 && event->id.ptr[1] == '0' + number;
}

static wb_code clerk_timers(wb_call *call, const wb_event *event, wb_error *err)
{
	int64_t at = wb_call_now_us(call) + WORKER_LATER_US;
	wb_code code = wb_timer_set(call, event->id, at, S("remind"), err);

	if (code == WB_OK)
		code = wb_timer_set(call, S("never"), at, WB_STR_NULL, err);
	return code == WB_OK ? wb_timer_cancel(call, S("never"), err) : code;
}

static wb_code clerk_call(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_event told = {.type = S("noted"), .data = event->id};
	wb_code code = count_one(call, "placed", event->id, err);

	if (code == WB_OK)
		code = wb_emit(call, &told, err);
	if (code == WB_OK)
		code = clerk_timers(call, event, err);
	if (code != WB_OK)
		return code;
	if (is_order(event, WORKER_AGAIN) && wb_call_attempt(call) == 1)
		return wb_retry(err, "not yet");
	if (is_order(event, WORKER_REJECTED))
		return wb_reject(err, "out of stock");
	return WB_OK;
}

static wb_code clerk_timer(wb_call *call, const wb_timer *timer, wb_error *err)
{
	return count_one(call, "timer", timer->name, err);
}

static wb_code porter_call(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_event told = {.type = S("carried"), .data = event->id};

	return wb_emit(call, &told, err);
}

static const char *const placed[] = {"placed", NULL};
static const wb_handler clerk = {.size = sizeof(wb_handler),
				 .name = "clerk",
				 .types = placed,
				 .backoff_min_ms = 20,
				 .handle = clerk_call,
				 .timer = clerk_timer,
				 .open = state_open,
				 .close = free};
static const wb_handler porter = {.size = sizeof(wb_handler),
				  .name = "porter",
				  .types = placed,
				  .kind = WB_EXTERNAL,
				  .backoff_min_ms = 20,
				  .handle = porter_call};
static const wb_handler *const handlers[] = {&clerk, &porter};

static void worker_handlers(service *s)
{
	s->handlers[0] = &clerk;
	s->handlers[1] = &porter;
	s->handler_count = 2;
}

static void worker_no_part(service *s)
{
	(void)s;
}

static const service_kind kinds[] = {
	{"store", worker_handlers, worker_no_part}};

/* ---- the work ------------------------------------------------------------ */

static void worker_put(services *r, int n)
{
	wb_message message = {.exchange = S("events"),
			      .routing_key = S("placed"),
			      .type = S("placed"),
			      .app_id = S("stranger"),
			      .body = S("x")};
	char id[16];

	snprintf(id, sizeof(id), "o%d", n);
	message.message_id = wb_str_from(id);
	assert_int_equal(wb_memory_put(r->memory, &message, NULL), WB_OK);
}

/* All that is asked of the broker is there, and the orders are. */
static void worker_begin(services *r, const char *dir)
{
	fail_hold(true);
	services_init(r, dir, 1, kinds, 1, NULL);
	services_rest(r);
	for (int i = 1; i <= WORKER_ORDERS; i++)
		worker_put(r, i);
	fail_hold(false);
}

static bool worker_is_done(const services *r, int *idle)
{
	wb_worker_stat stat = wb_worker_get_stat(r->all[0].worker);

	*idle = stat.idle && stat.timers == 0 && stat.waiting == 0 ? *idle + 1
								   : 0;
	return *idle > WORKER_IDLE;
}

static void worker_steps(services *r)
{
	for (int i = 0, idle = 0; i < WORKER_TURNS; i++) {
		wb_error why = WB_ERROR_INIT;
		wb_code code = wb_worker_step(r->all[0].worker, true, &why);

		if (!fail_goes_on(code, &why)) {
			service_kill(&r->all[0]);
			service_start(r, 0);
		}
		fake_clock_advance_us(&r->clock, WORKER_TURN_US);
		if (worker_is_done(r, &idle))
			break;
	}
}

static void worker_end(services *r)
{
	char key[32];

	fail_hold(true);
	if (fail_may_stop_one()) {
		service_kill(&r->all[0]);
		service_start(r, 0);
		worker_steps(r);
	}
	services_rest(r);
	for (int i = 1; i <= WORKER_ORDERS; i++) {
		const char *want = i == WORKER_REJECTED ? "" : "1";

		snprintf(key, sizeof(key), "placed o%d", i);
		assert_state(&r->all[0], key, want);
		snprintf(key, sizeof(key), "timer o%d", i);
		assert_state(&r->all[0], key, want);
	}
	services_fini(r);
}

static wb_code worker_run(const char *dir, wb_error *err)
{
	services r;

	(void)err;
	worker_begin(&r, dir);
	worker_steps(&r);
	worker_end(&r);
	return WB_OK;
}

static void worker_check(const char *dir, wb_code code)
{
	(void)code;
	crash_assert_sound(test_path(dir, "store"));
}

const fail_work fail_worker = {"worker", NULL, worker_run, worker_check};

/* ---- in a host's event loop ---------------------------------------------- */

/* As service_start(), where opening may fail as well. */
static wb_code loop_open(services *r, wb_error *err)
{
	service *s = &r->all[0];

	return wb_worker_open(s->store, s->consumer, s->publisher, handlers,
			      WBI_COUNT(handlers), &r->worker, &s->worker, err);
}

static void loop_open_again(services *r)
{
	service *s = &r->all[0];
	wb_error why = WB_ERROR_INIT;

	wb_worker_close(s->worker);
	s->worker = NULL;
	if (!fail_goes_on(loop_open(r, &why), &why)) {
		why = (wb_error)WB_ERROR_INIT;
		assert_ok(loop_open(r, &why), why);
	}
}

/* Its clock is ours, so nothing is waited for. */
static void loop_turns(services *r)
{
	for (int i = 0, idle = 0; i < WORKER_TURNS; i++) {
		wb_worker *worker = r->all[0].worker;
		wb_error why = WB_ERROR_INIT;
		int fd;

		if (!fail_goes_on(wb_worker_fd(worker, &fd, &why), &why) ||
		    !fail_goes_on(wb_worker_dispatch(worker, &why), &why)) {
			service_kill(&r->all[0]);
			service_start(r, 0);
		}
		fake_clock_advance_us(&r->clock, WORKER_TURN_US);
		if (worker_is_done(r, &idle))
			break;
	}
}

static wb_code loop_run(const char *dir, wb_error *err)
{
	services r;
	wb_code code;

	worker_begin(&r, dir);
	loop_open_again(&r);
	loop_turns(&r);
	wb_worker_stop(r.all[0].worker);
	code = wb_worker_run(r.all[0].worker, false, err);
	fail_hold(true);
	service_kill(&r.all[0]);
	service_start(&r, 0);
	worker_steps(&r);
	worker_end(&r);
	return code;
}

const fail_work fail_worker_loop = {"worker-loop", NULL, loop_run,
				    worker_check};
