/* SPDX-License-Identifier: BSD-2-Clause */
/* The worker as a whole, between two connections of a memory broker: from a
 * queue through handlers to an exchange; who works, how it ends, what it is
 * told. In an event loop: test_worker_loop.c. */
#include "tests/support/testing.h"

#include <unistd.h>

#include "lib/base/assert.h"
#include "tests/inbox/worker_rig.h"
#include "tests/support/place.h"

enum { EVENTS = 400 };

static wb_code wait_call(wb_call *call, const wb_event *event, wb_error *err)
{
	worker_rig *r = wb_call_handler(call)->ctx;
	char byte;

	(void)event;
	(void)err;
	r->called++;
	return read(r->gate[0], &byte, 1) < 0 ? WB_EIO : WB_OK;
}

/* One call on a thread is running, until the gate is closed. */
static void wait_begin(worker_rig *r, wb_handler *h)
{
	assert_int_equal(pipe(r->gate), 0);
	r->options.threads = 1;
	*h = worker_rig_handler(r, "wait");
	h->kind = WB_EXTERNAL;
	h->handle = wait_call;
	worker_rig_start(r, h);
	worker_rig_until_state(r, WB_WORKER_RUNNING);
	worker_rig_fill(r, 1, 1);
	while (wbi_dispatch_get_stat(r->worker->dispatch).running == 0)
		worker_rig_step(r);
}

/* ---- from end to end ----------------------------------------------------- */

static void what_is_taken_in_is_handled_emitted_and_relayed(void **state)
{
	test_place *place = *state;
	wb_worker_stat stat;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	worker_rig_run(&r, &h);
	worker_rig_until_idle(&r);
	worker_rig_fill(&r, 1, EVENTS);
	assert_int_equal(worker_rig_queue(&r, "q").ready, EVENTS);
	worker_rig_until_idle(&r);
	stat = wb_worker_get_stat(r.worker);
	assert_int_equal(stat.received, EVENTS);
	assert_int_equal(stat.handled, EVENTS);
	assert_int_equal(stat.emitted, EVENTS);
	assert_int_equal(stat.head, EVENTS);
	assert_int_equal(stat.duplicates + stat.refused + stat.dead, 0);
	assert_int_equal(r.called, EVENTS);
	worker_rig_assert_seen(&r, EVENTS);
	worker_rig_fini(&r);
}

static void a_step_commits_once_at_most(void **state)
{
	test_place *place = *state;
	MDB_env *env;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	r.options.batch_max = 10;
	worker_rig_run(&r, &h);
	worker_rig_fill(&r, 1, EVENTS);
	env = wb_store_env(r.store);
	for (int i = 0; i < 100000; i++) {
		uint64_t before = wbi_env_last_txn(env);

		if (wb_worker_get_stat(r.worker).idle && r.called == EVENTS)
			break;
		worker_rig_step(&r);
		assert_in_range(wbi_env_last_txn(env) - before, 0, 1);
	}
	worker_rig_assert_seen(&r, EVENTS);
	worker_rig_fini(&r);
}

/* It can be seen a little later: soon enough, and not without a pause. */
static void a_commit_on_its_way_is_looked_for_soon(void **state)
{
	static const int64_t pauses_us[] = {50, 100, 200, 400, 800, 1000, 1000};
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	r.options.relay = NULL;
	worker_rig_run(&r, &h);
	worker_rig_until_idle(&r);
	test_store_commit_pending(place->store, true);
	for (size_t i = 0; i < WBI_COUNT(pauses_us); i++) {
		assert_ok(wb_worker_step(r.worker, false, &err), err);
		assert_int_equal(wb_worker_deadline_us(r.worker) -
					 r.worker->now_us,
				 pauses_us[i]);
		fake_clock_advance_us(&r.clock, pauses_us[i]);
	}
	test_store_commit_pending(place->store, false);
	assert_ok(wb_worker_step(r.worker, false, &err), err);
	assert_int_equal(r.worker->look_at_us, INT64_MAX);
	worker_rig_fini(&r);
}

static void it_is_bound_by_what_the_handlers_name(void **state)
{
	static const char *const a[] = {"a.*", "b", NULL};
	static const char *const b[] = {"b", "c.#", NULL};
	static const char *const taken[] = {"a.x", "b", "c", "c.d.e"};
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_handler one, two;
	const wb_handler *handlers[] = {&one, &two};
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	one = worker_rig_handler(&r, "one");
	one.types = a;
	two = worker_rig_handler(&r, "two");
	two.types = b;
	r.options.queue = NULL; /* the service's name */
	assert_ok(wb_worker_open(r.store, r.consumer, r.publisher, handlers, 2,
				 &r.options, &r.worker, &err),
		  err);
	worker_rig_until_state(&r, WB_WORKER_RUNNING);
	for (unsigned i = 0; i < 4; i++)
		assert_ok(worker_rig_put(&r, wb_str_from(taken[i]), i, &err),
			  err);
	assert_int_equal(worker_rig_queue(&r, "test").arrived, 4);
	assert_true(worker_rig_put(&r, S("d"), 9, &err) != WB_OK);
	worker_rig_until_idle(&r);
	assert_int_equal(r.called, 5); /* b is of both */
	worker_rig_fini(&r);
}

/* ---- one worker per store ------------------------------------------------ */

static void a_second_worker_waits_and_takes_over(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_worker *first;
	wb_worker_stat stat;
	wb_broker *other;
	char who[64];
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	r.options.relay = NULL;
	worker_rig_run(&r, &h);
	first = r.worker;
	assert_ok(wb_memory_connect(r.memory, &other, &err), err);
	assert_ok(wb_worker_open(r.store, other, NULL,
				 (const wb_handler *const[]){&h}, 1, &r.options,
				 &r.worker, &err),
		  err);
	for (int i = 0; i < 10000; i++)
		worker_rig_step(&r);
	stat = wb_worker_get_stat(r.worker);
	assert_int_equal(stat.state, WB_WORKER_WAITING);
	snprintf(who, sizeof(who), "process %d works on ", (int)getpid());
	assert_non_null(strstr(stat.error.text, who));
	assert_false(stat.idle);
	worker_rig_fill(&r, 1, 10);
	wb_worker_close(first);
	wb_broker_free(r.consumer);
	r.consumer = other;
	worker_rig_until_state(&r, WB_WORKER_RUNNING);
	worker_rig_until_idle(&r);
	assert_int_equal(r.called, 10);
	worker_rig_fini(&r);
}

static void a_waiting_worker_stops_at_once(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_worker *first;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	r.options.relay = NULL;
	h = worker_rig_handler(&r, "count");
	worker_rig_start(&r, &h);
	first = r.worker;
	assert_ok(wb_worker_open(r.store, NULL, NULL,
				 (const wb_handler *const[]){&h}, 1, &r.options,
				 &r.worker, &err),
		  err);
	wb_worker_stop(r.worker);
	worker_rig_step(&r);
	assert_int_equal(wb_worker_get_stat(r.worker).state, WB_WORKER_STOPPED);
	wb_worker_close(first);
	worker_rig_fini(&r);
}

static void the_queue_of_another_store_is_refused(void **state)
{
	test_place *place = *state;
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wb_store *store;
	wb_worker *first;
	wb_broker *other;
	wb_code code = WB_OK;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	r.options.relay = NULL;
	worker_rig_run(&r, &h);
	first = r.worker;
	store = r.store;
	options.clock = &r.clock.clock;
	assert_ok(
		wb_store_create(test_path(place->dir, "other"), &options, &err),
		err);
	assert_ok(wb_store_open(test_path(place->dir, "other"), &options,
				&r.store, &err),
		  err);
	assert_ok(wb_memory_connect(r.memory, &other, &err), err);
	assert_ok(wb_worker_open(r.store, other, NULL,
				 (const wb_handler *const[]){&h}, 1, &r.options,
				 &r.worker, &err),
		  err);
	for (int i = 0; i < 10000 && code == WB_OK; i++) {
		code = wb_worker_step(r.worker, false, &err);
		fake_clock_advance_us(&r.clock, 100);
	}
	assert_code(code, WB_EMISMATCH, err);
	assert_int_equal(wb_worker_get_stat(r.worker).state, WB_WORKER_FAILED);
	assert_code(wb_worker_step(r.worker, false, &err), WB_ESTATE, err);
	wb_worker_close(r.worker);
	wb_broker_free(other);
	wb_store_close(r.store);
	r.worker = first;
	r.store = store;
	worker_rig_fini(&r);
}

/* ---- the end ------------------------------------------------------------- */

static void stopping_under_load_leaves_nothing_half_done(void **state)
{
	test_place *place = *state;
	wb_worker_stat stat;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	r.options.batch_max = 7;
	worker_rig_run(&r, &h);
	worker_rig_fill(&r, 1, EVENTS);
	while (r.called < EVENTS / 4)
		worker_rig_step(&r);
	wb_worker_stop(r.worker);
	worker_rig_until_state(&r, WB_WORKER_STOPPED);
	stat = wb_worker_get_stat(r.worker);
	assert_in_range(stat.head, EVENTS / 4, EVENTS - 1);
	assert_int_equal(worker_rig_queue(&r, "q").acked, stat.head);
	assert_int_equal(worker_rig_queue(&r, "q").unacked, 0);
	wb_worker_close(r.worker);
	worker_rig_start(&r, &h);
	worker_rig_until_state(&r, WB_WORKER_RUNNING);
	worker_rig_until_idle(&r);
	assert_int_equal(wb_worker_get_stat(r.worker).duplicates, 0);
	assert_int_equal(r.called, EVENTS);
	worker_rig_assert_seen(&r, EVENTS);
	worker_rig_fini(&r);
}

static void killed_anywhere_each_event_has_its_effect_once(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	r.options.batch_max = 5;
	worker_rig_run(&r, &h);
	worker_rig_fill(&r, 1, EVENTS);
	for (int life = 1; life < 60; life++) {
		for (int i = 0; i < life; i++)
			worker_rig_step(&r);
		wb_worker_close(r.worker);
		wb_broker_free(r.consumer);
		wb_broker_free(r.publisher);
		assert_ok(wb_memory_connect(r.memory, &r.consumer, &err), err);
		assert_ok(wb_memory_connect(r.memory, &r.publisher, &err), err);
		worker_rig_start(&r, &h);
	}
	worker_rig_until_state(&r, WB_WORKER_RUNNING);
	worker_rig_until_idle(&r);
	assert_int_equal(r.called, EVENTS);
	worker_rig_fini(&r);
}

static void a_second_stop_waits_for_no_call(void **state)
{
	test_place *place = *state;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	r.options.drain_ms = 1000000;
	wait_begin(&r, &h);
	wb_worker_stop(r.worker);
	for (int i = 0; i < 1000; i++)
		worker_rig_step(&r);
	assert_int_equal(wb_worker_get_stat(r.worker).state,
			 WB_WORKER_DRAINING);
	wb_worker_stop(r.worker);
	for (int i = 0; i < 3; i++)
		worker_rig_step(&r);
	assert_int_equal(wb_worker_get_stat(r.worker).state, WB_WORKER_STOPPED);
	close(r.gate[1]);
	worker_rig_fini(&r);
	close(r.gate[0]);
}

static wb_code gets_on(worker_rig *r, wbi_standstill *still, wb_error *err)
{
	return wbi_worker_gets_on(r->worker, still, 0, 1000000, err);
}

static void that_nothing_gets_further_is_said_with_the_reason(void **state)
{
	wbi_standstill still = {.done = 0};
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	wb_memory_refuse_next(r.memory, 1000);
	h = worker_rig_handler(&r, "count");
	worker_rig_start(&r, &h);
	worker_rig_step(&r);
	assert_ok(gets_on(&r, &still, &err), err);
	for (int i = 0; i < 9999; i++)
		worker_rig_step(&r);
	assert_ok(gets_on(&r, &still, &err), err);
	worker_rig_step(&r);
	assert_int_equal(gets_on(&r, &still, &err), WB_ETIMEOUT);
	assert_non_null(strstr(err.text, "for 1 s, down: no connection: "));
	wb_error_clear(&err);
	wb_memory_refuse_next(r.memory, 0);
	worker_rig_until_state(&r, WB_WORKER_RUNNING);
	worker_rig_fill(&r, 1, 1);
	worker_rig_until_idle(&r);
	assert_ok(gets_on(&r, &still, &err), err);
	worker_rig_fini(&r);
}

/* It ends by its own deadline, or by its supervisor. */
static void a_call_on_a_thread_gets_further(void **state)
{
	wbi_standstill still = {.done = 0};
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	wait_begin(&r, &h);
	for (int i = 0; i < 3; i++) {
		assert_ok(gets_on(&r, &still, &err), err);
		fake_clock_advance_us(&r.clock, 1000000);
	}
	close(r.gate[1]);
	worker_rig_until_idle(&r);
	worker_rig_fini(&r);
	close(r.gate[0]);
}

static void a_call_that_outlasts_the_drain_is_left(void **state)
{
	test_place *place = *state;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	r.options.drain_ms = 50;
	wait_begin(&r, &h);
	wb_worker_stop(r.worker);
	for (int i = 0; i < 400; i++)
		worker_rig_step(&r);
	assert_int_equal(wb_worker_get_stat(r.worker).state,
			 WB_WORKER_DRAINING);
	worker_rig_until_state(&r, WB_WORKER_STOPPED);
	close(r.gate[1]);
	worker_rig_fini(&r);
	close(r.gate[0]);
}

/* ---- what it is told ----------------------------------------------------- */

static void expect_refusal(worker_rig *r, const char *text)
{
	wb_handler h = worker_rig_handler(r, "count");
	const wb_handler *const handlers[] = {&h, &h};
	size_t count = strstr(text, "two handlers") ? 2 : 1;
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	if (strstr(text, "no name"))
		h.name = "Count";
	code = wb_worker_open(r->store, r->consumer, NULL, handlers, count,
			      &r->options, &r->worker, &err);
	if (!strstr(err.text, text))
		fail_msg("%s is not in: %s", text, err.text);
	assert_code(code, WB_EINVAL, err);
	assert_null(r->worker);
	r->options = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
}

static void a_mistake_in_what_it_is_told_is_named(void **state)
{
	static const char *const bad_bind[] = {"a.b*", NULL};
	test_place *place = *state;
	char name[300];
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	memset(name, 'a', sizeof(name));
	name[256] = '\0';
	r.options.size = 1;
	expect_refusal(&r, "wb_worker_options.size is 1");
	r.options.prefetch = 65536;
	expect_refusal(&r, "prefetch is 65536: at most 65535");
	r.options.threads = 65;
	expect_refusal(&r, "threads is 65");
	r.options.backoff_min_ms = 20;
	r.options.backoff_max_ms = 10;
	expect_refusal(&r, "backoff_min_ms (20) is over backoff_max_ms (10)");
	r.options.queue = name;
	expect_refusal(&r, "queue has 256 bytes");
	r.options.exchange = "a\nb";
	expect_refusal(&r, "exchange has a control character");
	r.options.bind = bad_bind;
	expect_refusal(&r, "bind: \"a.b*\"");
	r.options.relay = &r.relay;
	expect_refusal(&r, "there is no publisher");
	expect_refusal(&r, "two handlers are named 'count'");
	expect_refusal(&r, "is no name for one");
	worker_rig_fini(&r);
}

#define T(test)                                                                \
	cmocka_unit_test_setup_teardown(test, test_place_setup,                \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_taken_in_is_handled_emitted_and_relayed),
		T(a_step_commits_once_at_most),
		T(a_commit_on_its_way_is_looked_for_soon),
		T(it_is_bound_by_what_the_handlers_name),
		T(a_second_worker_waits_and_takes_over),
		T(a_waiting_worker_stops_at_once),
		T(the_queue_of_another_store_is_refused),
		T(stopping_under_load_leaves_nothing_half_done),
		T(killed_anywhere_each_event_has_its_effect_once),
		T(a_second_stop_waits_for_no_call),
		T(that_nothing_gets_further_is_said_with_the_reason),
		T(a_call_on_a_thread_gets_further),
		T(a_call_that_outlasts_the_drain_is_left),
		T(a_mistake_in_what_it_is_told_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
