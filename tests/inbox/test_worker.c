/* SPDX-License-Identifier: BSD-2-Clause */
/* The worker as a whole, between two connections of a memory broker: from a
 * queue through handlers to an exchange; who works, how it ends, what wakes it. */
#include "tests/support/testing.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <waybill/memory.h>
#include <waybill/worker.h>

#include "inbox/worker_internal.h"
#include "lib/journal/journal.h"
#include "tests/support/fake_clock.h"
#include "tests/support/place.h"
#include "tests/support/seeded_random.h"

enum { EVENTS = 400, PATIENCE_MS = 10000 };

typedef struct rig {
	fake_clock clock;
	seeded_random random;
	wb_store *store;
	wb_memory *memory;
	wb_broker *consumer, *publisher;
	wb_worker_options options;
	wb_relay_options relay;
	wb_worker *worker;
	unsigned called; /* by the handler below */
	int gate[2];     /* an external call waits until this is closed */
} rig;

/* ---- handlers ------------------------------------------------------------ */

/* Its effects are what it emits. */
static wb_code count_call(wb_call *call, const wb_event *event, wb_error *err)
{
	rig *r = wb_call_handler(call)->ctx;
	wb_event seen = {.type = S("order.seen"), .key = event->key};

	r->called++;
	return wb_emit(call, &seen, err);
}

static wb_code wait_call(wb_call *call, const wb_event *event, wb_error *err)
{
	rig *r = wb_call_handler(call)->ctx;
	char byte;

	(void)event;
	(void)err;
	r->called++;
	return read(r->gate[0], &byte, 1) < 0 ? WB_EIO : WB_OK;
}

static const char *const placed[] = {"order.placed", NULL};

static wb_handler handler_of(rig *r, const char *name)
{
	wb_handler h = WB_HANDLER_INIT;

	h.name = name;
	h.types = placed;
	h.handle = count_call;
	h.ctx = r;
	return h;
}

/* ---- the rig ------------------------------------------------------------- */

static void rig_declare(rig *r, const wb_declaration *what, size_t count)
{
	wb_error err = WB_ERROR_INIT;
	wb_broker_event event;
	wb_broker *admin;
	size_t done = 0;

	assert_ok(wb_memory_connect(r->memory, &admin, &err), err);
	assert_ok(wb_broker_connect(admin, &err), err);
	for (int i = 0; i < 1000 && done < count; i++) {
		wb_broker_step(admin);
		while (wb_broker_next(admin, &event)) {
			if (event.kind == WB_BROKER_UP)
				for (size_t d = 0; d < count; d++)
					assert_ok(wb_broker_declare(
							  admin, &what[d], 0,
							  &err),
						  err);
			done += event.kind == WB_BROKER_DECLARED;
		}
	}
	assert_int_equal(done, count);
	wb_broker_free(admin);
}

static void rig_topology(rig *r)
{
	const wb_declaration what[] = {
		{.kind = WB_TOPOLOGY_EXCHANGE,
		 .name = S("events"),
		 .exchange_type = S("topic")},
		{.kind = WB_TOPOLOGY_QUEUE, .name = S("seen")},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = S("seen"),
		 .exchange = S("events"),
		 .binding_key = S("order.seen")},
	};

	rig_declare(r, what, 3);
}

static void rig_init(rig *r, const char *dir, bool fake)
{
	wb_store_options options = test_store_options();
	const wb_clock *clock = fake ? &r->clock.clock : NULL;
	wb_error err = WB_ERROR_INIT;

	memset(r, 0, sizeof(*r));
	fake_clock_init(&r->clock);
	seeded_random_init(&r->random, 7);
	options.clock = clock;
	assert_ok(wb_store_create(dir, &options, &err), err);
	assert_ok(wb_store_open(dir, &options, &r->store, &err), err);
	assert_ok(wb_memory_new(clock, &r->random.random, &r->memory, &err),
		  err);
	assert_ok(wb_memory_connect(r->memory, &r->consumer, &err), err);
	assert_ok(wb_memory_connect(r->memory, &r->publisher, &err), err);
	rig_topology(r);
	r->options = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	r->relay = (wb_relay_options)WB_RELAY_OPTIONS_INIT;
	r->options.queue = "q";
	r->options.relay = &r->relay;
}

static void rig_fini(rig *r)
{
	wb_worker_close(r->worker);
	wb_broker_free(r->consumer);
	wb_broker_free(r->publisher);
	wb_memory_free(r->memory);
	wb_store_close(r->store);
}

static void rig_start(rig *r, const wb_handler *handler)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_worker_open(r->store, r->consumer, r->publisher, &handler,
				 1, &r->options, &r->worker, &err),
		  err);
}

static void rig_step(rig *r)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_worker_step(r->worker, false, &err), err);
	fake_clock_advance_us(&r->clock, 100);
}

static void rig_until_state(rig *r, wb_worker_state state)
{
	for (int i = 0; i < 100000; i++) {
		if (wb_worker_get_stat(r->worker).state == state)
			return;
		rig_step(r);
	}
	fail_msg("it never is %s, but %s: %s", wbi_worker_state_name(state),
		 wbi_worker_state_name(wb_worker_get_stat(r->worker).state),
		 wb_worker_get_stat(r->worker).error.text);
}

static wb_memory_queue_stat rig_queue(const rig *r, const char *name)
{
	return wb_memory_get_queue_stat(r->memory, name);
}

static void rig_until_idle(rig *r)
{
	for (int i = 0; i < 100000; i++) {
		wb_memory_queue_stat queue = rig_queue(r, "q");

		if (wb_worker_get_stat(r->worker).idle && queue.ready == 0 &&
		    queue.unacked == 0)
			return;
		rig_step(r);
	}
	fail_msg("it does not come to rest");
}

static wb_code rig_put(rig *r, wb_str type, unsigned number, wb_error *err)
{
	char id[32];
	const wb_header headers[] = {
		{S("ce-specversion"), S("1.0")}, {S("ce-id"), S("")},
		{S("ce-source"), S("/shop")},    {S("ce-type"), type},
		{S("ce-partitionkey"), S("order/42")},
	};
	wb_header own[5];
	wb_message message = {.exchange = S("events"),
			      .routing_key = type,
			      .persistent = true,
			      .headers = own,
			      .header_count = 5};

	snprintf(id, sizeof(id), "id-%u", number);
	memcpy(own, headers, sizeof(own));
	own[1].value = message.message_id = wb_str_from(id);
	return wb_memory_put(r->memory, &message, err);
}

static void rig_fill(rig *r, unsigned first, unsigned count)
{
	wb_error err = WB_ERROR_INIT;

	for (unsigned i = first; i < first + count; i++)
		assert_ok(rig_put(r, S("order.placed"), i, &err), err);
}

/* Each event had its effect once: as many are seen, all of another cause. */
static void rig_assert_seen(rig *r, unsigned count)
{
	unsigned char *causes = calloc(count + 1, 1);

	assert_non_null(causes);
	assert_int_equal(rig_queue(r, "seen").arrived, count);
	for (unsigned i = 0; i < count; i++) {
		const wb_message *m = wb_memory_arrival(r->memory, "seen", i);
		wb_str cause = wb_memory_header(m, "ce-causationid");
		unsigned long number;

		assert_true(cause.len > 3);
		number = strtoul(cause.ptr + 3, NULL, 10);
		assert_in_range(number, 1, count);
		assert_int_equal(causes[number]++, 0);
	}
	free(causes);
}

/* ---- from end to end ----------------------------------------------------- */

static void what_is_taken_in_is_handled_emitted_and_relayed(void **state)
{
	test_place *place = *state;
	wb_worker_stat stat;
	wb_handler h;
	rig r;

	rig_init(&r, place->store, true);
	h = handler_of(&r, "count");
	rig_start(&r, &h);
	rig_until_state(&r, WB_WORKER_RUNNING);
	rig_until_idle(&r);
	rig_fill(&r, 1, EVENTS);
	assert_int_equal(rig_queue(&r, "q").ready, EVENTS);
	rig_until_idle(&r);
	stat = wb_worker_get_stat(r.worker);
	assert_int_equal(stat.received, EVENTS);
	assert_int_equal(stat.handled, EVENTS);
	assert_int_equal(stat.emitted, EVENTS);
	assert_int_equal(stat.head, EVENTS);
	assert_int_equal(stat.duplicates + stat.refused + stat.dead, 0);
	assert_int_equal(r.called, EVENTS);
	rig_assert_seen(&r, EVENTS);
	rig_fini(&r);
}

static void a_step_commits_once_at_most(void **state)
{
	test_place *place = *state;
	MDB_env *env;
	wb_handler h;
	rig r;

	rig_init(&r, place->store, true);
	r.options.batch_max = 10;
	h = handler_of(&r, "count");
	rig_start(&r, &h);
	rig_until_state(&r, WB_WORKER_RUNNING);
	rig_fill(&r, 1, EVENTS);
	env = wb_store_env(r.store);
	for (int i = 0; i < 100000; i++) {
		uint64_t before = wbi_env_last_txn(env);

		if (wb_worker_get_stat(r.worker).idle && r.called == EVENTS)
			break;
		rig_step(&r);
		assert_in_range(wbi_env_last_txn(env) - before, 0, 1);
	}
	rig_assert_seen(&r, EVENTS);
	rig_fini(&r);
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
	rig r;

	rig_init(&r, place->store, true);
	one = handler_of(&r, "one");
	one.types = a;
	two = handler_of(&r, "two");
	two.types = b;
	r.options.queue = NULL; /* the service's name */
	assert_ok(wb_worker_open(r.store, r.consumer, r.publisher, handlers, 2,
				 &r.options, &r.worker, &err),
		  err);
	rig_until_state(&r, WB_WORKER_RUNNING);
	for (unsigned i = 0; i < 4; i++)
		assert_ok(rig_put(&r, wb_str_from(taken[i]), i, &err), err);
	assert_int_equal(rig_queue(&r, "test").arrived, 4);
	assert_true(rig_put(&r, S("d"), 9, &err) != WB_OK);
	rig_until_idle(&r);
	assert_int_equal(r.called, 5); /* b is of both */
	rig_fini(&r);
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
	rig r;

	rig_init(&r, place->store, true);
	r.options.relay = NULL;
	h = handler_of(&r, "count");
	rig_start(&r, &h);
	rig_until_state(&r, WB_WORKER_RUNNING);
	first = r.worker;
	assert_ok(wb_memory_connect(r.memory, &other, &err), err);
	assert_ok(wb_worker_open(r.store, other, NULL,
				 (const wb_handler *const[]){&h}, 1, &r.options,
				 &r.worker, &err),
		  err);
	for (int i = 0; i < 10000; i++)
		rig_step(&r);
	stat = wb_worker_get_stat(r.worker);
	assert_int_equal(stat.state, WB_WORKER_WAITING);
	snprintf(who, sizeof(who), "process %d works on ", (int)getpid());
	assert_non_null(strstr(stat.error.text, who));
	assert_false(stat.idle);
	rig_fill(&r, 1, 10);
	wb_worker_close(first);
	wb_broker_free(r.consumer);
	r.consumer = other;
	rig_until_state(&r, WB_WORKER_RUNNING);
	rig_until_idle(&r);
	assert_int_equal(r.called, 10);
	rig_fini(&r);
}

static void a_waiting_worker_stops_at_once(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_worker *first;
	wb_handler h;
	rig r;

	rig_init(&r, place->store, true);
	r.options.relay = NULL;
	h = handler_of(&r, "count");
	rig_start(&r, &h);
	first = r.worker;
	assert_ok(wb_worker_open(r.store, NULL, NULL,
				 (const wb_handler *const[]){&h}, 1, &r.options,
				 &r.worker, &err),
		  err);
	wb_worker_stop(r.worker);
	rig_step(&r);
	assert_int_equal(wb_worker_get_stat(r.worker).state, WB_WORKER_STOPPED);
	wb_worker_close(first);
	rig_fini(&r);
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
	rig r;

	rig_init(&r, place->store, true);
	r.options.relay = NULL;
	h = handler_of(&r, "count");
	rig_start(&r, &h);
	rig_until_state(&r, WB_WORKER_RUNNING);
	first = r.worker;
	store = r.store;
	options.clock = &r.clock.clock;
	assert_ok(wb_store_create(test_path(place->dir, "other"), &options,
				  &err),
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
	rig_fini(&r);
}

/* ---- the end ------------------------------------------------------------- */

static void stopping_under_load_leaves_nothing_half_done(void **state)
{
	test_place *place = *state;
	wb_worker_stat stat;
	wb_handler h;
	rig r;

	rig_init(&r, place->store, true);
	r.options.batch_max = 7;
	h = handler_of(&r, "count");
	rig_start(&r, &h);
	rig_until_state(&r, WB_WORKER_RUNNING);
	rig_fill(&r, 1, EVENTS);
	while (r.called < EVENTS / 4)
		rig_step(&r);
	wb_worker_stop(r.worker);
	rig_until_state(&r, WB_WORKER_STOPPED);
	stat = wb_worker_get_stat(r.worker);
	assert_in_range(stat.head, EVENTS / 4, EVENTS - 1);
	assert_int_equal(rig_queue(&r, "q").acked, stat.head);
	assert_int_equal(rig_queue(&r, "q").unacked, 0);
	wb_worker_close(r.worker);
	rig_start(&r, &h);
	rig_until_state(&r, WB_WORKER_RUNNING);
	rig_until_idle(&r);
	assert_int_equal(wb_worker_get_stat(r.worker).duplicates, 0);
	assert_int_equal(r.called, EVENTS);
	rig_assert_seen(&r, EVENTS);
	rig_fini(&r);
}

static void killed_anywhere_each_event_has_its_effect_once(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_handler h;
	rig r;

	rig_init(&r, place->store, true);
	r.options.batch_max = 5;
	h = handler_of(&r, "count");
	rig_start(&r, &h);
	rig_until_state(&r, WB_WORKER_RUNNING);
	rig_fill(&r, 1, EVENTS);
	for (int life = 1; life < 60; life++) {
		for (int i = 0; i < life; i++)
			rig_step(&r);
		wb_worker_close(r.worker);
		wb_broker_free(r.consumer);
		wb_broker_free(r.publisher);
		assert_ok(wb_memory_connect(r.memory, &r.consumer, &err), err);
		assert_ok(wb_memory_connect(r.memory, &r.publisher, &err), err);
		rig_start(&r, &h);
	}
	rig_until_state(&r, WB_WORKER_RUNNING);
	rig_until_idle(&r);
	assert_int_equal(r.called, EVENTS);
	rig_fini(&r);
}

static void a_second_stop_waits_for_no_call(void **state)
{
	test_place *place = *state;
	wb_handler h;
	rig r;

	rig_init(&r, place->store, true);
	assert_int_equal(pipe(r.gate), 0);
	r.options.threads = 1;
	r.options.drain_ms = 1000000;
	h = handler_of(&r, "wait");
	h.kind = WB_EXTERNAL;
	h.handle = wait_call;
	rig_start(&r, &h);
	rig_until_state(&r, WB_WORKER_RUNNING);
	rig_fill(&r, 1, 1);
	while (wbi_dispatch_get_stat(r.worker->dispatch).running == 0)
		rig_step(&r);
	wb_worker_stop(r.worker);
	for (int i = 0; i < 1000; i++)
		rig_step(&r);
	assert_int_equal(wb_worker_get_stat(r.worker).state,
			 WB_WORKER_DRAINING);
	wb_worker_stop(r.worker);
	for (int i = 0; i < 3; i++)
		rig_step(&r);
	assert_int_equal(wb_worker_get_stat(r.worker).state, WB_WORKER_STOPPED);
	close(r.gate[1]);
	rig_fini(&r);
	close(r.gate[0]);
}

static void a_call_that_outlasts_the_drain_is_left(void **state)
{
	test_place *place = *state;
	wb_handler h;
	rig r;

	rig_init(&r, place->store, true);
	assert_int_equal(pipe(r.gate), 0);
	r.options.threads = 1;
	r.options.drain_ms = 50;
	h = handler_of(&r, "wait");
	h.kind = WB_EXTERNAL;
	h.handle = wait_call;
	rig_start(&r, &h);
	rig_until_state(&r, WB_WORKER_RUNNING);
	rig_fill(&r, 1, 1);
	while (wbi_dispatch_get_stat(r.worker->dispatch).running == 0)
		rig_step(&r);
	wb_worker_stop(r.worker);
	for (int i = 0; i < 400; i++)
		rig_step(&r);
	assert_int_equal(wb_worker_get_stat(r.worker).state,
			 WB_WORKER_DRAINING);
	rig_until_state(&r, WB_WORKER_STOPPED);
	close(r.gate[1]);
	rig_fini(&r);
	close(r.gate[0]);
}

/* ---- loops --------------------------------------------------------------- */

static int64_t now_ms(void)
{
	const wb_clock *clock = wb_system_clock();

	return clock->mono_us(clock->ctx) / 1000;
}

static void a_host_loop_drives_it_by_one_descriptor(void **state)
{
	test_place *place = *state;
	int64_t end_ms = now_ms() + PATIENCE_MS;
	wb_error err = WB_ERROR_INIT;
	struct pollfd fds[1];
	unsigned filled = 0;
	wb_handler h;
	rig r;

	rig_init(&r, place->store, false);
	h = handler_of(&r, "count");
	rig_start(&r, &h);
	assert_ok(wb_worker_fd(r.worker, &fds[0].fd, &err), err);
	fds[0].events = POLLIN;
	while (rig_queue(&r, "seen").arrived < EVENTS) {
		assert_true(now_ms() < end_ms);
		if (filled < EVENTS &&
		    wb_worker_get_stat(r.worker).state == WB_WORKER_RUNNING) {
			rig_fill(&r, filled + 1, 20);
			filled += 20;
		}
		if (poll(fds, 1, 20) > 0)
			assert_ok(wb_worker_dispatch(r.worker, &err), err);
	}
	rig_assert_seen(&r, EVENTS);
	rig_fini(&r);
}

static void it_runs_until_it_is_idle(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_handler h;
	rig r;

	rig_init(&r, place->store, false);
	h = handler_of(&r, "count");
	rig_start(&r, &h);
	assert_ok(wb_worker_run(r.worker, true, &err), err);
	assert_int_equal(wb_worker_get_stat(r.worker).state, WB_WORKER_STOPPED);
	wb_worker_close(r.worker);
	rig_fill(&r, 1, EVENTS);
	rig_start(&r, &h);
	assert_ok(wb_worker_run(r.worker, true, &err), err);
	assert_int_equal(r.called, EVENTS);
	rig_assert_seen(&r, EVENTS);
	rig_fini(&r);
}

static void put_into_inbox(wb_store *store)
{
	wbi_journal inbox = wbi_journal_of(store, WBI_INBOX);
	wb_event event = {.id = S("id-1"),
			  .source = S("/test"),
			  .type = S("order.placed"),
			  .key = S("a")};
	wb_error err = WB_ERROR_INIT;
	uint64_t position;
	MDB_txn *txn;

	assert_ok(wb_store_begin(store, &txn, &err), err);
	assert_ok(wbi_journal_append(&inbox, txn, &event, 1, WB_STR_NULL,
				     &position, &err),
		  err);
	assert_ok(wb_store_commit(store, txn, &err), err);
}

/* Nobody tells it, and it polls far less often than the test has patience. */
static void a_commit_of_others_wakes_it(void **state)
{
	test_place *place = *state;
	int64_t end_ms;
	wb_error err = WB_ERROR_INIT;
	struct pollfd fds[1];
	wb_handler h;
	rig r;

	rig_init(&r, place->store, false);
	wb_broker_free(r.consumer);
	r.consumer = NULL;
	r.options.relay = NULL;
	r.options.poll_ms = 3600000;
	h = handler_of(&r, "count");
	rig_start(&r, &h);
	assert_ok(wb_worker_fd(r.worker, &fds[0].fd, &err), err);
	fds[0].events = POLLIN;
	while (poll(fds, 1, 100) > 0)
		assert_ok(wb_worker_dispatch(r.worker, &err), err);
	assert_true(wb_worker_get_stat(r.worker).idle);
	put_into_inbox(r.store);
	assert_false(wb_worker_get_stat(r.worker).idle);
	end_ms = now_ms() + PATIENCE_MS;
	while (r.called == 0) {
		assert_true(now_ms() < end_ms);
		if (poll(fds, 1, 1000) > 0)
			assert_ok(wb_worker_dispatch(r.worker, &err), err);
	}
	rig_fini(&r);
}

/* ---- room ---------------------------------------------------------------- */

/* Waiting for it to be idle would be waiting for ever. */
static wb_code no_room(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)call;
	(void)event;
	return wb_error_set(err, WB_ENOSPC, 0, __func__, "the disk is full");
}

static void without_room_it_runs_until_it_says_so(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_handler h;
	rig r;

	rig_init(&r, place->store, false);
	h = handler_of(&r, "count");
	h.handle = no_room;
	rig_start(&r, &h);
	put_into_inbox(r.store);
	assert_int_equal(wb_worker_run(r.worker, true, &err), WB_ENOSPC);
	assert_non_null(strstr(err.text, "the disk is full"));
	assert_int_equal(wb_worker_get_stat(r.worker).dead, 0);
	rig_fini(&r);
}

/* A clock at which something happens when it is looked at. */
typedef struct busy_clock {
	wb_clock clock;
	fake_clock *fake;
	const char *dir;
	int looks; /* so many more until it happens; 0: it has */
} busy_clock;

/* Another process enlarges the map and fills it. */
static void enlarge(const char *dir)
{
	static char large[3 << 20];
	MDB_val key = {1, (void *)(uintptr_t) "k"};
	MDB_val value = {sizeof(large), large};
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	int status = 1;
	pid_t child = fork();

	if (child == 0)
		_exit(mdb_env_create(&env) || mdb_env_set_maxdbs(env, 4) ||
		      mdb_env_set_mapsize(env, 64 << 20) ||
		      mdb_env_open(env, dir, MDB_NOTLS, 0600) ||
		      mdb_txn_begin(env, NULL, 0, &txn) ||
		      mdb_dbi_open(txn, "own", MDB_CREATE, &dbi) ||
		      mdb_put(txn, dbi, &key, &value, 0) ||
		      mdb_txn_commit(txn));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static int64_t busy_mono(void *ctx)
{
	busy_clock *busy = ctx;

	if (busy->looks > 0 && --busy->looks == 0)
		enlarge(busy->dir);
	return busy->fake->clock.mono_us(busy->fake->clock.ctx);
}

static int64_t busy_real(void *ctx)
{
	busy_clock *busy = ctx;

	return busy->fake->clock.real_us(busy->fake->clock.ctx);
}

/* Between its look at the store and its write, too. */
static void check_enlarged(test_place *place, int looks)
{
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	busy_clock busy = {.dir = place->store};
	wb_handler h;
	rig r;

	rig_init(&r, place->store, true);
	wb_store_close(r.store);
	test_remove_tree(place->store);
	options.map_bytes = 2 << 20;
	assert_ok(wb_store_create(place->store, &options, &err), err);
	assert_ok(wb_store_open(place->store, &options, &r.store, &err), err);
	wb_broker_free(r.consumer);
	r.consumer = NULL;
	r.options.relay = NULL;
	r.options.sole_user = true;
	busy.fake = &r.clock;
	busy.clock = (wb_clock){busy_real, busy_mono, &busy};
	r.options.clock = &busy.clock;
	h = handler_of(&r, "count");
	rig_start(&r, &h);
	put_into_inbox(r.store);
	busy.looks = looks;
	for (int i = 0; i < 1000 && r.called == 0; i++)
		rig_step(&r);
	assert_int_equal(busy.looks, 0);
	assert_int_equal(r.called, 1);
	assert_int_equal(wb_worker_get_stat(r.worker).error.code, WB_OK);
	rig_fini(&r);
	test_remove_tree(place->store);
}

static void a_map_enlarged_at_any_moment_is_taken_over(void **state)
{
	for (int looks = 1; looks <= 2; looks++)
		check_enlarged(*state, looks);
}

/* ---- what it is told ----------------------------------------------------- */

static void expect_refusal(rig *r, const char *text)
{
	wb_handler h = handler_of(r, "count");
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
	rig r;

	rig_init(&r, place->store, true);
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
	rig_fini(&r);
}

#define T(test)                                                               \
	cmocka_unit_test_setup_teardown(test, test_place_setup,               \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_taken_in_is_handled_emitted_and_relayed),
		T(a_step_commits_once_at_most),
		T(it_is_bound_by_what_the_handlers_name),
		T(a_second_worker_waits_and_takes_over),
		T(a_waiting_worker_stops_at_once),
		T(the_queue_of_another_store_is_refused),
		T(stopping_under_load_leaves_nothing_half_done),
		T(killed_anywhere_each_event_has_its_effect_once),
		T(a_second_stop_waits_for_no_call),
		T(a_call_that_outlasts_the_drain_is_left),
		T(a_host_loop_drives_it_by_one_descriptor),
		T(it_runs_until_it_is_idle),
		T(a_commit_of_others_wakes_it),
		T(without_room_it_runs_until_it_says_so),
		T(a_map_enlarged_at_any_moment_is_taken_over),
		T(a_mistake_in_what_it_is_told_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
