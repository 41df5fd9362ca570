/* SPDX-License-Identifier: BSD-2-Clause */
/* What a real broker does to a relay, and what becomes of the events. Run by
 * tests/faults/run.sh with a node that may be killed. */
#include "tests/support/testing.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>

#include "tests/faults/scene.h"
#include "tests/support/cut_proxy.h"

/* ---- killed, frozen, blocked --------------------------------------------- */

/* A broker that is killed says nothing more: what was unconfirmed comes again. */
static void kill_and_restart(scene *s)
{
	const char *const settings[] = {"confirm_timeout_ms=5000", NULL};

	scene_collect(s);
	s->relay = scene_relay(s, NULL, settings);
	scene_append(s, 300);
	scene_node("kill");
	scene_append(s, 300);
	scene_await_state(s, WB_RELAY_DOWN);
	scene_node("start");
	scene_append(s, 300);
	scene_settle(s);
	scene_end(s, 1);
}

static void a_killed_broker_with_a_classic_queue_costs_only_time(void **state)
{
	static const wb_argument classic = {.name = {"x-queue-type", 12},
					    .text = {"classic", 7}};
	scene *s = *state;

	scene_store(s, NULL, 64 << 20, NULL);
	scene_broker(s, "#", &classic, 1);
	kill_and_restart(s);
}

/*
 * RabbitMQ 3.10 writes down with delay that a quorum queue exists: killed
 * within seconds of the declaration it starts the queue as a new member that
 * waits for a leader for ever (rabbitmq-server issues 10070 and 15725), and
 * nothing a client does can help. So let it write that down first.
 */
static void a_killed_broker_with_a_quorum_queue_costs_only_time(void **state)
{
	const char *const sync[] = {"eval",
				    "[dets:sync(T) || T <- dets:all()].", NULL};
	scene *s = *state;

	scene_store(s, NULL, 64 << 20, NULL);
	scene_broker(s, "#", NULL, 0);
	scene_ctl(sync);
	kill_and_restart(s);
}

static void a_broker_restarted_in_good_order_costs_only_time(void **state)
{
	scene *s = *state;

	scene_usual(s, "#");
	s->relay = scene_relay(s, NULL, NULL);
	scene_append(s, 300);
	scene_node("stop");
	scene_append(s, 300);
	scene_node("start");
	scene_append(s, 300);
	scene_settle(s);
	scene_end(s, 1);
}

/* Heartbeats tell: the default timeout for confirms is two minutes. */
static void a_frozen_broker_is_noticed_by_its_heartbeats(void **state)
{
	const char *const settings[] = {"heartbeat_s=5",
					"connect_timeout_ms=1000", NULL};
	scene *s = *state;
	int64_t start;

	scene_usual(s, "#");
	s->relay = scene_relay(s, NULL, settings);
	scene_append(s, 300);
	scene_settle(s);
	scene_node("freeze");
	start = scene_now_us();
	scene_append(s, 300);
	scene_await_state(s, WB_RELAY_DOWN);
	printf("  noticed after %.1f s\n",
	       (double)(scene_now_us() - start) / 1e6);
	assert_true(scene_now_us() - start < 17000000);
	scene_node("thaw");
	scene_append(s, 300);
	scene_settle(s);
	scene_end(s, 1);
}

static int compare_times(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The 99th percentile of `count` appends, in microseconds. */
static int64_t append_p99_us(scene *s, unsigned count)
{
	int64_t *took = calloc(count, sizeof(*took)), p99;

	assert_non_null(took);
	for (unsigned i = 0; i < count; i++) {
		int64_t start = scene_now_us();

		scene_append(s, 1);
		took[i] = scene_now_us() - start;
	}
	qsort(took, count, sizeof(*took), compare_times);
	p99 = took[count * 99 / 100];
	free(took);
	return p99;
}

static void a_memory_alarm_blocks_the_relay_and_no_append(void **state)
{
	enum { APPENDS = 1000, SLACK_US = 5000 };
	scene *s = *state;
	int64_t before, blocked;

	scene_usual(s, "#");
	s->relay = scene_relay(s, NULL, NULL);
	before = append_p99_us(s, APPENDS);
	scene_settle(s);
	scene_node("block");
	scene_append(s, 1); /* the broker says so only after a publish */
	scene_await_state(s, WB_RELAY_BLOCKED);
	blocked = append_p99_us(s, APPENDS);
	printf("  append p99: %" PRId64 " us before, %" PRId64 " us blocked\n",
	       before, blocked);
	assert_true(blocked <= 2 * before + SLACK_US);
	scene_node("unblock");
	scene_settle(s);
	scene_end(s, 0);
}

/* ---- cuts ---------------------------------------------------------------- */

enum { CUT_EVENTS = 6, CUT_FRAMES = 400 };

/* One relay run through the proxy, until all is delivered. */
static void run_through(scene *s, cut_proxy *proxy)
{
	const char *const settings[] = {"until_empty=1", "commit_ms=1", NULL};

	snprintf(s->uri, sizeof(s->uri), "amqp://guest:guest@127.0.0.1:%u",
		 cut_proxy_port(proxy));
	scene_append(s, CUT_EVENTS);
	s->relay = scene_relay(s, NULL, settings);
	assert_int_equal(child_wait(s->relay, SCENE_WAIT_MS), 0);
	s->relay = 0;
	scene_settle(s);
}

static void cut_at_each(scene *s, cut_proxy *proxy, cut_direction direction,
			unsigned *ret_cuts)
{
	uint64_t ends[CUT_FRAMES];
	size_t count;

	run_through(s, proxy); /* to learn where frames end */
	count = cut_proxy_frame_ends(proxy, direction, ends, CUT_FRAMES);
	assert_in_range(count, 6, CUT_FRAMES);
	for (size_t i = 0; i < count * 3; i++) {
		unsigned before = cut_proxy_cuts(proxy);
		uint64_t repeats = ledger_repeats(&s->ledger);

		cut_proxy_cut_after(proxy, direction, ends[i / 3] + i % 3 - 1);
		run_through(s, proxy);
		*ret_cuts += cut_proxy_cuts(proxy) - before;
		cut_proxy_cut_after(proxy, direction, UINT64_MAX);
		assert_true(ledger_repeats(&s->ledger) - repeats <=
			    SCENE_WINDOW);
	}
	printf("  %zu frames %s\n", count,
	       direction == CUT_TO_BROKER ? "to the broker" : "to the relay");
}

static void a_connection_may_be_cut_around_every_frame(void **state)
{
	const char *port = strrchr(getenv("WAYBILL_TEST_AMQP"), ':');
	cut_proxy_options options = {
		.broker_port = (uint16_t)strtoul(port + 1, NULL, 10)};
	scene *s = *state;
	cut_proxy *proxy = cut_proxy_start(&options);
	unsigned cuts = 0;

	assert_non_null(proxy);
	scene_usual(s, "#");
	cut_at_each(s, proxy, CUT_TO_BROKER, &cuts);
	cut_at_each(s, proxy, CUT_TO_CLIENT, &cuts);
	cut_proxy_stop(proxy);
	printf("  %u cuts\n", cuts);
	assert_true(cuts > 60);
	scene_end(s, cuts);
}

/* ---- unroutable, missing, refused, oversized, full ----------------------- */

static void a_parked_key_is_retried_while_new_events_of_it_come(void **state)
{
	scene *s = *state;

	scene_usual(s, "order.#");
	s->relay = scene_relay(s, NULL, NULL);
	for (int i = 0; i < 20; i++) {
		scene_append_as(s, "order.placed", "mixed", 50);
		scene_append_as(s, "astray.made", "mixed", 50);
		scene_append_as(s, "order.placed", "mixed", 50);
		scene_append_as(s, "order.placed", "other", 50);
	}
	scene_await_parked(s, 59); /* all of its key from the first astray */
	scene_settle(s);
	scene_bind(s, s->exchange, "astray.#");
	for (int i = 0; i < 200; i++) {
		scene_append_as(s, i % 2 ? "astray.made" : "order.placed",
				"mixed", 50);
		if (i == 20)
			scene_retry(s, "mixed");
	}
	scene_await_parked(s, 0);
	scene_settle(s);
	scene_append(s, 100);
	scene_settle(s);
	scene_end(s, 0);
}

static void an_unroutable_key_stops_no_other(void **state)
{
	checker_counts counts;
	scene *s = *state;

	scene_usual(s, "order.#");
	s->relay = scene_relay(s, NULL, NULL);
	scene_append(s, 600); /* one in 29 goes astray */
	scene_settle(s);
	scene_end(s, 0);
	counts = checker_count(s->ledger.checker);
	assert_int_equal(counts.parked, 21);
	assert_int_equal(counts.delivered, 579);
}

static void a_missing_exchange_is_held_then_drained_in_order(void **state)
{
	scene *s = *state;
	wb_declaration other;
	char name[80];

	scene_usual(s, "#");
	s->relay = scene_relay(s, NULL, NULL);
	for (int i = 0; i < 200; i++) {
		scene_append_as(s, "other.made", i % 2 ? "a" : "b", 20);
		scene_append_as(s, "order.placed", i % 2 ? "c" : "d", 20);
	}
	scene_sleep_ms(500);
	child_kill(s->relay); /* the hold is durable */
	s->relay = scene_relay(s, NULL, NULL);
	scene_append(s, 100);
	scene_append_as(s, "other.made", "a", 20);
	snprintf(name, sizeof(name), "%s-other", s->exchange);
	other = declare_exchange(name);
	/* Bound before it is used: else what drains first is returned. */
	scene_node("block");
	assert_true(declare_all(getenv("WAYBILL_TEST_AMQP"), &other, 1));
	scene_bind(s, name, "#");
	scene_node("unblock");
	for (int i = 0; i < 50; i++)
		scene_append_as(s, "other.made", i % 2 ? "a" : "b", 20);
	scene_settle(s);
	/* The killed relay, and each closed channel, is an incident. */
	scene_end(s, 1 + (unsigned)scene_counter(s,
						 WBI_RELAY_CHANNEL_CLOSES));
}

static void a_refused_login_waits_until_it_is_allowed(void **state)
{
	const char *const add[] = {"add_user", "late", "secret", NULL};
	const char *const allow[] = {"set_permissions", "late", ".*", ".*",
				     ".*", NULL};
	const char *const settings[] = {"backoff_max_ms=300", NULL};
	const char *host = strrchr(getenv("WAYBILL_TEST_AMQP"), '@');
	scene *s = *state;

	scene_usual(s, "#");
	snprintf(s->uri, sizeof(s->uri), "amqp://late:secret%s", host);
	s->relay = scene_relay(s, NULL, settings);
	scene_append(s, 100);
	scene_await_state(s, WB_RELAY_DOWN);
	scene_ctl(add); /* now the login works, and the vhost is refused */
	scene_append(s, 100);
	scene_ctl(allow);
	scene_append(s, 100);
	scene_settle(s);
	scene_end(s, 0);
}

static void an_oversized_body_parks_with_its_key_alone(void **state)
{
	/* RabbitMQ 3 looks it up at each channel, 4 at its own start. */
	const char *const lower[] = {
		"eval",
		"application:set_env(rabbit, max_message_size, 65536), "
		"persistent_term:put(max_message_size, 65536).",
		NULL};
	const char *const raise[] = {
		"eval",
		"application:set_env(rabbit, max_message_size, 134217728), "
		"persistent_term:put(max_message_size, 134217728).",
		NULL};
	scene *s = *state;

	scene_usual(s, "#");
	scene_ctl(lower);
	s->relay = scene_relay(s, NULL, NULL);
	for (int i = 0; i < 30; i++) {
		scene_append_as(s, "order.placed", "small", 100);
		scene_append_as(s, "order.placed", i % 2 ? "x" : "", 100);
		if (i == 10)
			scene_append_as(s, "order.placed", "big", 100000);
		if (i > 10)
			scene_append_as(s, "order.placed", "big", 100);
	}
	scene_await_parked(s, 20);
	scene_settle(s);
	scene_ctl(raise);
	scene_retry(s, "big");
	/* A channel keeps the limit it was opened under. */
	child_kill(s->relay);
	s->relay = scene_relay(s, NULL, NULL);
	scene_sleep_ms(200);
	scene_await_state(s, WB_RELAY_RUNNING);
	{
		uint64_t rows;

		assert_true(ledger_parked_rows(&s->ledger, &rows));
		printf("  %" PRIu64 " parked after the retry\n", rows);
	}
	scene_append_as(s, "order.placed", "big", 100);
	scene_settle(s);
	scene_end(s, 1 + (unsigned)scene_counter(s,
						 WBI_RELAY_CHANNEL_CLOSES));
}

static void a_full_queue_delays_and_keeps_the_order(void **state)
{
	const wb_argument arguments[] = {
		{.name = S("x-max-length"), .is_number = true, .number = 10},
		{.name = S("x-overflow"), .text = S("reject-publish")}};
	const char *const settings[] = {"window=50", NULL};
	scene *s = *state;

	scene_store(s, NULL, 64 << 20, NULL);
	scene_broker(s, "#", arguments, 2);
	s->relay = scene_relay(s, NULL, settings);
	scene_append(s, 400);
	scene_await_counter(s, WBI_RELAY_NACKS, 20);
	scene_collect(s);
	scene_settle(s);
	printf("  %" PRIu64 " nacks\n", scene_counter(s, WBI_RELAY_NACKS));
	scene_end(s, 0);
}

#define FAULT(test)                                                           \
	cmocka_unit_test_setup_teardown(test, scene_setup, scene_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		FAULT(a_killed_broker_with_a_classic_queue_costs_only_time),
		FAULT(a_killed_broker_with_a_quorum_queue_costs_only_time),
		FAULT(a_broker_restarted_in_good_order_costs_only_time),
		FAULT(a_frozen_broker_is_noticed_by_its_heartbeats),
		FAULT(a_memory_alarm_blocks_the_relay_and_no_append),
		FAULT(a_connection_may_be_cut_around_every_frame),
		FAULT(an_unroutable_key_stops_no_other),
		FAULT(a_parked_key_is_retried_while_new_events_of_it_come),
		FAULT(a_missing_exchange_is_held_then_drained_in_order),
		FAULT(a_refused_login_waits_until_it_is_allowed),
		FAULT(an_oversized_body_parks_with_its_key_alone),
		FAULT(a_full_queue_delays_and_keeps_the_order),
	};

	if (!getenv("WAYBILL_TEST_AMQP") || !getenv("WAYBILL_TEST_NODE")) {
		fprintf(stderr, "no broker of its own: see "
				"tests/faults/run.sh\n");
		return 77;
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
