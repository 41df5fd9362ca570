/* SPDX-License-Identifier: BSD-2-Clause */
/* The relay on real time: on a thread, and inside a host's own event loop
 * that polls one descriptor. */
#include "tests/support/testing.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <waybill/memory.h>
#include <waybill/outbox.h>
#include <waybill/relay.h>

#include "tests/support/place.h"

enum { EVENTS = 200, PATIENCE_MS = 10000 };

typedef struct host {
	wb_store *store;
	wb_memory *memory;
	wb_broker *broker;
	wb_relay *relay;
} host;

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void host_make_topology(host *h)
{
	wb_declaration what[] = {
		{.kind = WB_TOPOLOGY_EXCHANGE,
		 .name = S("events"),
		 .exchange_type = S("topic")},
		{.kind = WB_TOPOLOGY_QUEUE, .name = S("all")},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = S("all"),
		 .exchange = S("events"),
		 .binding_key = S("#")},
	};
	wb_error err = WB_ERROR_INIT;
	wb_broker_event event;
	wb_broker *admin;
	size_t done = 0;

	assert_ok(wb_memory_connect(h->memory, &admin, &err), err);
	assert_ok(wb_broker_connect(admin, &err), err);
	for (int i = 0; i < 1000 && done < 3; i++) {
		wb_broker_step(admin);
		while (wb_broker_next(admin, &event))
			if (event.kind == WB_BROKER_UP)
				for (int d = 0; d < 3; d++)
					assert_ok(wb_broker_declare(
							  admin, &what[d], 0,
							  &err),
						  err);
			else if (event.kind == WB_BROKER_DECLARED)
				done++;
	}
	assert_int_equal(done, 3);
	wb_broker_free(admin);
}

static void host_open(host *h, const char *dir)
{
	wb_relay_options options = WB_RELAY_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	h->store = test_store_make(dir);
	assert_ok(wb_memory_new(NULL, NULL, &h->memory, &err), err);
	host_make_topology(h);
	assert_ok(wb_memory_connect(h->memory, &h->broker, &err), err);
	assert_ok(wb_relay_open(h->store, h->broker, &options, &h->relay,
				&err),
		  err);
}

static void host_close(host *h)
{
	wb_relay_close(h->relay);
	wb_broker_free(h->broker);
	wb_memory_free(h->memory);
	wb_store_close(h->store);
}

static uint64_t host_arrived(const host *h)
{
	return wb_memory_get_queue_stat(h->memory, "all").arrived;
}

/* What a host's loop does: its own descriptors and timers beside the one of
 * the relay, and its own work, here an append, in between. */
static void a_host_loop_drives_it_by_one_descriptor(void **state)
{
	test_place *place = *state;
	int64_t end_ms = now_ms() + PATIENCE_MS;
	wb_error err = WB_ERROR_INIT;
	unsigned appended = 0;
	struct pollfd fds[1];
	host h;

	host_open(&h, place->store);
	assert_ok(wb_relay_fd(h.relay, &fds[0].fd, &err), err);
	fds[0].events = POLLIN;
	while (host_arrived(&h) < EVENTS) {
		assert_true(now_ms() < end_ms);
		if (appended < EVENTS) {
			test_append(h.store, appended, 10);
			appended += 10;
		}
		if (poll(fds, 1, 20) > 0)
			assert_ok(wb_relay_dispatch(h.relay, &err), err);
	}
	assert_int_equal(host_arrived(&h), EVENTS);
	host_close(&h);
}

typedef struct runner {
	wb_relay *relay;
	bool until_empty;
	wb_code code;
	wb_error err;
} runner;

static void *run_relay(void *arg)
{
	runner *r = arg;

	r->code = wb_relay_run(r->relay, r->until_empty, &r->err);
	return NULL;
}

static void a_thread_runs_it_until_it_is_stopped(void **state)
{
	test_place *place = *state;
	runner r = {.err = WB_ERROR_INIT};
	int64_t start_ms;
	pthread_t thread;
	host h;

	host_open(&h, place->store);
	r.relay = h.relay;
	assert_int_equal(pthread_create(&thread, NULL, run_relay, &r), 0);
	for (unsigned i = 0; i < EVENTS; i += 20) {
		test_append(h.store, i, 20);
		usleep(1000);
	}
	usleep(300 * 1000);
	start_ms = now_ms();
	wb_relay_stop(h.relay);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_ok(r.code, r.err);
	assert_true(now_ms() - start_ms < 1000);
	assert_int_equal(host_arrived(&h), EVENTS);
	host_close(&h);
}

static void until_empty_ends_by_itself(void **state)
{
	test_place *place = *state;
	runner r = {.until_empty = true, .err = WB_ERROR_INIT};
	host h;

	host_open(&h, place->store);
	test_append(h.store, 0, EVENTS);
	r.relay = h.relay;
	run_relay(&r);
	assert_ok(r.code, r.err);
	assert_int_equal(host_arrived(&h), EVENTS);
	assert_int_equal(wb_relay_get_stat(h.relay).cursor, EVENTS);
	host_close(&h);
}

/* The appender is another process and tells nobody: inotify and the poll below
 * it wake the relay. */
static void an_append_elsewhere_wakes_it(void **state)
{
	test_place *place = *state;
	int64_t end_ms = now_ms() + PATIENCE_MS;
	wb_error err = WB_ERROR_INIT;
	struct pollfd fds[1];
	int status, go[2];
	char byte = 0;
	pid_t child;
	host h;

	assert_int_equal(pipe(go), 0);
	wb_store_close(test_store_make(place->store));
	child = fork();
	if (child == 0) {
		wb_store *store;

		if (read(go[0], &byte, 1) != 1)
			_exit(1);
		store = test_store_open(place->store);
		test_append(store, 0, 1);
		wb_store_close(store);
		_exit(0);
	}
	h.store = test_store_open(place->store);
	assert_ok(wb_memory_new(NULL, NULL, &h.memory, &err), err);
	host_make_topology(&h);
	assert_ok(wb_memory_connect(h.memory, &h.broker, &err), err);
	assert_ok(wb_relay_open(h.store, h.broker, NULL, &h.relay, &err), err);
	assert_ok(wb_relay_fd(h.relay, &fds[0].fd, &err), err);
	fds[0].events = POLLIN;
	assert_int_equal(write(go[1], &byte, 1), 1);
	while (host_arrived(&h) < 1) {
		assert_true(now_ms() < end_ms);
		if (poll(fds, 1, 1000) > 0)
			assert_ok(wb_relay_dispatch(h.relay, &err), err);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(go[0]);
	close(go[1]);
	host_close(&h);
}

#define T(test)                                                               \
	cmocka_unit_test_setup_teardown(test, test_place_setup,               \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_host_loop_drives_it_by_one_descriptor),
		T(a_thread_runs_it_until_it_is_stopped),
		T(until_empty_ends_by_itself),
		T(an_append_elsewhere_wakes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
