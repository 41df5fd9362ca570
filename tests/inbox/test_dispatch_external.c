/* SPDX-License-Identifier: BSD-2-Clause */
/* External handlers, on the worker's own thread and on a pool; and timers. */
#include "tests/inbox/dispatch_rig.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "inbox/later.h"
#include "tests/support/testing.h"

/* ---- external calls ------------------------------------------------------ */

static wb_code send_out(rig_probe *p, wb_call *call, const wb_event *event,
			wb_error *err)
{
	wb_event out = {.type = S("sent"), .key = event->key};

	assert_null(wb_call_txn(call));
	out.data = wb_str_from(wb_call_idempotency_key(call));
	if (wb_emit(call, &out, err) != WB_OK)
		return err->code;
	if (wb_call_position(call) == (uint64_t)p->data[0] &&
	    wb_call_attempt(call) <= (uint32_t)p->data[1])
		return wb_retry(err, "no answer");
	if (wb_call_position(call) == (uint64_t)p->data[2])
		return wb_reject(err, "no such account");
	if (wb_call_position(call) == (uint64_t)p->data[3])
		return wb_stop(err, "the account is closed");
	return WB_OK;
}

static void what_external_calls_emit_comes_with_their_outcome(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_EXTERNAL);
	wbi_dead dead;
	wb_event last;

	a->behave = send_out;
	a->data[0] = 2; /* fails twice */
	a->data[1] = 2;
	a->data[2] = 3; /* is refused */
	rig_append_many(r, 100, 10);
	rig_open(r);
	rig_run(r);
	assert_int_equal(rig_consumer(r, "a").position, 100);
	/* but for the two keys of 2 and 3 */
	assert_int_equal(rig_consumer(r, "a").handled, 80);
	assert_int_equal(rig_outbox(r, NULL), 80);
	rig_run_for(r, 60 * 1000000LL);
	assert_int_equal(rig_consumer(r, "a").handled, 90);
	assert_int_equal(rig_outbox(r, &last), 90);
	assert_true(wb_str_eq(last.traceparent, S("00-trace")));
	assert_int_equal(last.causation_id.len, WB_UUID_TEXT_LEN);
	assert_true(rig_dead(r, 1, &dead));
	assert_int_equal(dead.position, 3);
	assert_int_equal(rig_consumer(r, "a").waiting, 10);
	assert_int_equal(rig_consumer(r, "a").retries, 2);
	rig_end(r);
}

static void an_external_handler_can_stop(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_EXTERNAL);

	a->behave = send_out;
	a->data[3] = 4;
	rig_append_many(r, 20, 20);
	rig_open(r);
	rig_run(r);
	assert_non_null(strstr(rig_consumer(r, "a").error.ptr, "is closed"));
	a->data[3] = 0;
	rig_reopen(r);
	rig_run(r);
	assert_int_equal(rig_consumer(r, "a").handled, 20);
	assert_int_equal(rig_outbox(r, NULL), 20);
	rig_end(r);
}

static wb_code note_the_attempt(rig_probe *p, wb_call *call,
				const wb_event *event, wb_error *err)
{
	(void)event;
	if (wb_call_position(call) != 4)
		return WB_OK;
	p->data[0] = (int)wb_call_attempt(call);
	return p->data[1] ? wb_stop(err, "the account is closed") : WB_OK;
}

/* However often it is told: it is the consumer that was stopped. */
static void a_call_that_stops_is_no_attempt(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_EXTERNAL);

	a->behave = note_the_attempt;
	a->data[1] = 1;
	rig_append_many(r, 20, 20);
	rig_open(r);
	rig_run(r);
	assert_int_equal(a->data[0], 1);
	rig_reopen(r);
	rig_run(r);
	assert_int_equal(a->data[0], 1);
	a->data[1] = 0;
	rig_reopen(r);
	rig_run(r);
	assert_int_equal(a->data[0], 1);
	assert_int_equal(rig_consumer(r, "a").handled, 20);
	rig_end(r);
}

static wb_code emit_without_end(rig_probe *p, wb_call *call,
				const wb_event *event, wb_error *err)
{
	wb_event out = {.type = S("x")};
	wb_code code = WB_OK;

	(void)event;
	for (p->data[0] = 0; code == WB_OK; p->data[0]++)
		code = wb_emit(call, &out, err);
	return code;
}

static void what_an_external_call_may_emit_is_bounded(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_EXTERNAL);
	wbi_dead dead;

	a->behave = emit_without_end;
	rig_append(r, "x", "");
	rig_open(r);
	rig_run(r);
	assert_int_equal(a->data[0], WBI_LATER_MAX + 1);
	assert_true(rig_dead(r, 1, &dead));
	assert_int_equal(dead.code, WB_ELIMIT);
	assert_int_equal(rig_outbox(r, NULL), 0);
	rig_end(r);
}

static wb_code emit_too_much(rig_probe *p, wb_call *call, const wb_event *event,
			     wb_error *err)
{
	static char bytes[700 * 1024];
	const wb_header header = {S("region"), S("north")};
	wb_event out = {
		.type = S("x"),
		.headers = &header,
		.header_count = 1,
		.tracestate = S("mine"),
		.data = wb_str_n(bytes, p->data[0] ? sizeof(bytes) : 10)};
	wb_code code = wb_timer_cancel(call, S("none"), err);

	(void)event;
	assert_ptr_equal(wb_call_idempotency_key(call),
			 wb_call_idempotency_key(call));
	assert_int_equal(wb_emit(NULL, &out, NULL), WB_EINVAL);
	assert_int_equal(wb_emit(call, NULL, NULL), WB_EINVAL);
	assert_int_equal(wb_timer_set(NULL, S("t"), 1, S(""), NULL), WB_EINVAL);
	assert_int_equal(wb_timer_cancel(NULL, S("t"), NULL), WB_EINVAL);
	if (code == WB_OK)
		code = wb_emit(call, &out, err);
	if (code == WB_OK && p->data[0])
		code = wb_emit(call, &out, err);
	return code;
}

static void how_many_bytes_it_may_emit_is_bounded(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_EXTERNAL);
	wb_event last;
	wbi_dead dead;

	a->behave = emit_too_much;
	a->data[0] = 1;
	rig_append(r, "x", "");
	rig_open(r);
	rig_run(r);
	assert_true(rig_dead(r, 1, &dead));
	assert_int_equal(dead.code, WB_ELIMIT);
	assert_int_equal(rig_outbox(r, NULL), 0);
	/* Less of it comes whole; to cancel what is not there is no error. */
	a->data[0] = 0;
	rig_append(r, "x", "");
	rig_run(r);
	assert_int_equal(rig_outbox(r, &last), 1);
	assert_int_equal(last.header_count, 1);
	assert_true(wb_str_eq(last.tracestate, S("mine")));
	rig_end(r);
}

static void what_was_begun_and_not_made_is_given_back(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_EXTERNAL);

	a->behave = send_out;
	rig_append_many(r, 8, 8);
	rig_open(r);
	for (unsigned i = 0; i < 20 && a->calls < 2; i++) {
		fake_clock_advance_us(&r->clock, 1000);
		rig_step(r);
	}
	wbi_dispatch_stop(r->dispatch);
	for (unsigned i = 0; i < 20; i++) {
		fake_clock_advance_us(&r->clock, 1000);
		rig_step(r);
	}
	assert_true(wbi_dispatch_stopped(r->dispatch));
	assert_int_equal(a->calls, 2);
	assert_int_equal(rig_consumer(r, "a").handled, 2);
	rig_reopen(r);
	rig_run(r);
	assert_int_equal(a->calls, 8);
	assert_int_equal(rig_consumer(r, "a").handled, 8);
	rig_end(r);
}

/* ---- on a pool ----------------------------------------------------------- */

enum { POOL_KEYS = 8, POOL_EVENTS = 200 };

static struct {
	atomic_int in[POOL_KEYS];
	atomic_ullong last[POOL_KEYS];
	atomic_int all, most, wrong;
} pool_seen;

static wb_code pool_call(wb_call *call, const wb_event *event, wb_error *err)
{
	unsigned key = (unsigned)(event->key.ptr[1] - '0');
	wb_event out = {.type = S("sent"), .key = event->key};
	int all = atomic_fetch_add(&pool_seen.all, 1) + 1;
	wb_code code;

	if (all > atomic_load(&pool_seen.most))
		atomic_store(&pool_seen.most, all);
	if (atomic_fetch_add(&pool_seen.in[key], 1) != 0)
		atomic_fetch_add(&pool_seen.wrong, 1);
	if (atomic_load(&pool_seen.last[key]) > wb_call_position(call))
		atomic_fetch_add(&pool_seen.wrong, 1);
	atomic_store(&pool_seen.last[key], wb_call_position(call));
	usleep(300);
	code = wb_emit(call, &out, err);
	atomic_fetch_sub(&pool_seen.in[key], 1);
	atomic_fetch_sub(&pool_seen.all, 1);
	if (code == WB_OK && wb_call_position(call) % 17 == 0 &&
	    wb_call_attempt(call) == 1)
		return wb_retry(err, "once more");
	return code;
}

static void pool_run(rig *r)
{
	for (;;) {
		struct pollfd fd = {wbi_dispatch_fd(r->dispatch), POLLIN, 0};

		rig_step(r);
		if (wbi_dispatch_get_stat(r->dispatch).idle &&
		    wbi_dispatch_get_stat(r->dispatch).waiting == 0)
			return;
		poll(&fd, 1, 1);
	}
}

static void on_a_pool_keys_run_beside_each_other_and_each_in_order(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_EXTERNAL);

	memset(&pool_seen, 0, sizeof(pool_seen));
	a->handler.handle = pool_call;
	a->handler.backoff_min_ms = a->handler.backoff_max_ms = 1;
	r->options.clock = NULL;
	r->options.threads = 4;
	rig_append_many(r, POOL_EVENTS, POOL_KEYS);
	rig_open(r);
	assert_true(wbi_dispatch_fd(r->dispatch) >= 0);
	pool_run(r);
	assert_int_equal(atomic_load(&pool_seen.wrong), 0);
	assert_true(atomic_load(&pool_seen.most) > 1);
	assert_true(atomic_load(&pool_seen.most) <= 4);
	assert_int_equal(rig_consumer(r, "a").handled, POOL_EVENTS);
	assert_int_equal(rig_outbox(r, NULL), POOL_EVENTS);
	rig_end(r);
}

static wb_code too_long(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)call;
	(void)event;
	(void)err;
	usleep(30000);
	return WB_OK;
}

static void a_call_over_its_deadline_is_named_once(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "slow-one", WB_EXTERNAL);

	a->handler.handle = too_long;
	a->handler.deadline_ms = 5;
	r->options.clock = NULL;
	r->options.threads = 1;
	rig_append(r, "x", "");
	rig_open(r);
	pool_run(r);
	assert_non_null(strstr(r->last_log, "slow-one"));
	assert_non_null(strstr(r->last_log, "deadline"));
	assert_int_equal(r->log_lines, 1);
	rig_end(r);
}

/* ---- timers -------------------------------------------------------------- */

enum { SECOND = 1000000 };

/* Three timers per event: "b" before "a" before "c", and one that is gone. */
static wb_code set_timers(rig_probe *p, wb_call *call, const wb_event *event,
			  wb_error *err)
{
	int64_t now_us = wb_call_now_us(call);

	(void)p;
	(void)event;
	assert_ok(
		wb_timer_set(call, S("a"), now_us + 2 * SECOND, S("two"), err),
		*err);
	assert_ok(
		wb_timer_set(call, S("b"), now_us + 9 * SECOND, S("nine"), err),
		*err);
	assert_ok(wb_timer_set(call, S("b"), now_us + SECOND, S("one"), err),
		  *err);
	assert_ok(wb_timer_set(call, S("c"), now_us + 3 * SECOND, S("three"),
			       err),
		  *err);
	assert_ok(wb_timer_set(call, S("gone"), now_us + SECOND, S(""), err),
		  *err);
	assert_ok(wb_timer_cancel(call, S("gone"), err), *err);
	return WB_OK;
}

static char fired[64];

static wb_code note_timer(rig_probe *p, wb_call *call, const wb_timer *timer,
			  wb_error *err)
{
	(void)p;
	assert_int_equal(wb_call_position(call), 0);
	assert_true(wb_call_now_us(call) >= timer->due_us);
	assert_true(wb_call_now_us(call) < timer->due_us + SECOND);
	if (wb_call_attempt(call) == 1 && timer->name.ptr[0] == 'c')
		return wb_retry(err, "not yet");
	strncat(fired, timer->name.ptr, timer->name.len);
	strncat(fired, timer->data.ptr, timer->data.len);
	/* One that sets itself again, three times in all. */
	if (timer->name.ptr[0] == 'a' && p->data[0]++ < 2)
		return wb_timer_set(call, S("a"), timer->due_us + 10 * SECOND,
				    S("again"), err);
	return WB_OK;
}

static void check_timers(void **state, wb_handler_kind kind)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", kind);

	fired[0] = '\0';
	a->behave = set_timers;
	a->on_timer = note_timer;
	a->handler.backoff_min_ms = a->handler.backoff_max_ms = 100;
	rig_append(r, "x", "k");
	rig_open(r);
	rig_run(r);
	assert_int_equal(rig_consumer(r, "a").timers, 3);
	assert_int_equal(a->timers, 0);
	assert_string_equal(fired, "");
	rig_run_for(r, 4 * SECOND);
	assert_string_equal(fired, "bone"
				   "atwo"
				   "cthree");
	rig_run_for(r, 60 * SECOND);
	assert_string_equal(fired, "bone"
				   "atwo"
				   "cthree"
				   "aagain"
				   "aagain");
	assert_int_equal(rig_consumer(r, "a").timers, 0);
	assert_int_equal(rig_rows(r, wbi_store_get_tables(r->store)->work), 0);
	rig_end(r);
}

static void timers_fire_in_order_of_time(void **state)
{
	check_timers(state, WB_TRANSACTIONAL);
}

static void timers_of_an_external_handler_fire_likewise(void **state)
{
	check_timers(state, WB_EXTERNAL);
}

static wb_code no_timer(rig_probe *p, wb_call *call, const wb_timer *timer,
			wb_error *err)
{
	char key[128];

	(void)p;
	snprintf(key, sizeof(key), "a:timer:%.*s:%lld", (int)timer->name.len,
		 timer->name.ptr, (long long)timer->due_us);
	assert_string_equal(wb_call_idempotency_key(call), key);
	return wb_reject(err, "nobody is there");
}

static void a_timer_can_end_as_a_dead_letter(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	wbi_dead dead;

	a->behave = set_timers;
	a->on_timer = no_timer;
	rig_append(r, "x", "k");
	rig_open(r);
	rig_run_for(r, 60 * SECOND);
	assert_true(rig_dead(r, 1, &dead));
	assert_int_equal(dead.lane, WBI_LANE_TIMER);
	assert_string_equal(dead.key.ptr, "b");
	assert_true(rig_dead(r, 3, &dead));
	assert_false(rig_dead(r, 4, &dead));
	rig_end(r);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_external_calls_emit_comes_with_their_outcome),
		TEST(an_external_handler_can_stop),
		TEST(a_call_that_stops_is_no_attempt),
		TEST(what_an_external_call_may_emit_is_bounded),
		TEST(how_many_bytes_it_may_emit_is_bounded),
		TEST(what_was_begun_and_not_made_is_given_back),
		TEST(on_a_pool_keys_run_beside_each_other_and_each_in_order),
		TEST(a_call_over_its_deadline_is_named_once),
		TEST(timers_fire_in_order_of_time),
		TEST(timers_of_an_external_handler_fire_likewise),
		TEST(a_timer_can_end_as_a_dead_letter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
