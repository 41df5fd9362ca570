/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Real events all the way: append, relay (its process killed on the way),
 * RabbitMQ, a consumer. Each once but for the repeats a kill allows, in order
 * per key, none lost.
 */
#include "tests/support/testing.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <waybill/outbox.h>
#include <waybill/relay.h>

#include "lib/base/text.h"
#include "tests/integration/event_log.h"
#include "tests/integration/peer.h"
#include "tests/support/checker.h"
#include "tests/support/place.h"

enum { WINDOW = 200, PATIENCE_MS = 60000, ROWS_PER_COMMIT = 50 };

static char exchange[40], queue[40];

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void append_log(const char *dir, const event_log *log, checker *check)
{
	wb_store *store = test_store_open(dir);
	wb_error err = WB_ERROR_INIT;
	wb_outbox *outbox;
	size_t at = 0;

	assert_ok(wb_outbox_open(store, NULL, &outbox, &err), err);
	while (at < log->count) {
		MDB_txn *txn;

		assert_ok(wb_store_begin(store, &txn, &err), err);
		for (int i = 0; i < ROWS_PER_COMMIT && at < log->count; i++) {
			const event_log_row *row = &log->rows[at++];
			wb_event event = {
				.type = wb_str_from(row->type),
				.key = wb_str_from(row->key),
				.content_type = S("text/csv"),
				.data = wb_str_from(row->line)};
			uint64_t position;
			char id[32];

			snprintf(id, sizeof(id), "row-%zu", at);
			event.id = wb_str_from(id);
			assert_ok(wb_outbox_append(outbox, txn, &event,
						   &position, &err),
				  err);
			assert_int_equal(position, at);
			checker_appended(check, event.id, event.key, position,
					 CHECKER_COMMITTED);
		}
		assert_ok(wb_store_commit(store, txn, &err), err);
	}
	wb_outbox_close(outbox);
	wb_store_close(store);
}

/* The relay, as a process of its own that can be killed. */
static pid_t start_relay(const char *dir)
{
	wb_route route = {.type = "#", .exchange = exchange};
	wb_relay_options options = WB_RELAY_OPTIONS_INIT;
	wb_amqp_options amqp = peer_options();
	wb_error err = WB_ERROR_INIT;
	wb_routes *routes;
	wb_broker *broker;
	wb_store *store;
	wb_relay *relay;
	pid_t child = fork();

	if (child != 0)
		return child;
	options.window = WINDOW;
	if (wb_routes_new(&route, 1, &routes, &err) ||
	    wb_store_open(dir, NULL, &store, &err) ||
	    wb_amqp_new(&amqp, &broker, &err))
		_exit(1);
	options.routes = routes;
	if (wb_relay_open(store, broker, &options, &relay, &err) ||
	    wb_relay_run(relay, true, &err))
		_exit(2);
	_exit(0);
}

static void must_end(pid_t child)
{
	int64_t end_ms = now_ms() + PATIENCE_MS;
	int status = 0;

	while (waitpid(child, &status, WNOHANG) == 0) {
		if (now_ms() > end_ms) {
			kill(child, SIGKILL);
			fail_msg("the relay does not end");
		}
		usleep(10000);
	}
	assert_int_equal(status, 0);
}

static void declare_topology(peer *l)
{
	wb_argument quorum = {.name = S("x-queue-type"), .text = S("quorum")};
	wb_declaration what[] = {
		{.kind = WB_TOPOLOGY_EXCHANGE,
		 .name = wb_str_from(exchange),
		 .exchange_type = S("topic")},
		{.kind = WB_TOPOLOGY_QUEUE,
		 .name = wb_str_from(queue),
		 .arguments = &quorum,
		 .argument_count = 1},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = wb_str_from(queue),
		 .exchange = wb_str_from(exchange),
		 .binding_key = S("permit.#")},
	};

	for (size_t i = 0; i < 3; i++)
		assert_int_equal(peer_declare(l, &what[i]).kind,
				 WB_BROKER_DECLARED);
}

/* Take what is in the queue until nothing comes for a second. */
static void consume_all(peer *l, checker *check)
{
	wb_error err = WB_ERROR_INIT;
	int64_t end_ms = now_ms() + 1000;
	wb_broker_event event;

	assert_ok(wb_broker_consume(l->broker, wb_str_from(queue), 500, 1,
				    &err),
		  err);
	while (now_ms() < end_ms) {
		wb_broker_step(l->broker);
		while (wb_broker_next(l->broker, &event)) {
			assert_int_not_equal(event.kind, WB_BROKER_DOWN);
			if (event.kind != WB_BROKER_DELIVERY)
				continue;
			assert_true(checker_arrived(check,
						    event.message.message_id));
			assert_ok(wb_broker_ack(l->broker, event.delivery,
						false, &err),
				  err);
			end_ms = now_ms() + 1000;
		}
		wb_broker_flush(l->broker);
		usleep(500);
	}
}

static void every_row_arrives_though_the_relay_is_killed(void **state)
{
	wb_amqp_options amqp = peer_options();
	test_place *place = *state;
	checker *check = checker_new();
	checker_counts counts;
	event_log log;
	int kills = 0;
	pid_t child;
	peer l;

	if (!amqp.uri || !event_log_load(&log)) {
		checker_free(check);
		printf("the event log is not there: nothing to do\n");
		return;
	}
	assert_int_equal(log.count, 8577);
	snprintf(exchange, sizeof(exchange), "permits-%d", (int)getpid());
	snprintf(queue, sizeof(queue), "permits-%d", (int)getpid());
	wb_store_close(test_store_make(place->store));
	peer_up(&l, &amqp);
	declare_topology(&l);
	append_log(place->store, &log, check);
	for (; kills < 3; kills++) {
		child = start_relay(place->store);
		usleep(120000 + 40000 * (unsigned)kills);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
	}
	must_end(start_relay(place->store));
	consume_all(&l, check);
	counts = checker_count(check);
	checker_print(&counts, stdout);
	if (!checker_is_clean(&counts))
		checker_explain(check, stdout, 10);
	assert_true(checker_is_clean(&counts));
	assert_int_equal(counts.delivered, 8577);
	assert_in_range(counts.duplicate, 0, (uint64_t)kills * WINDOW);
	peer_free(&l);
	checker_free(check);
	event_log_free(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			every_row_arrives_though_the_relay_is_killed,
			test_place_setup, test_place_teardown),
	};

	if (!getenv("WAYBILL_TEST_AMQP")) {
		printf("skipped: WAYBILL_TEST_AMQP names no broker\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
