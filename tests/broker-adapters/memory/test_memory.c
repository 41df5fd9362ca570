/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory broker's own side: what its script and chaos do. What it shares
 * with every other adapter is in tests/conformance/. */
#include <poll.h>
#include <stdlib.h>

#include "tests/broker-adapters/memory/world.h"
#include "tests/support/testing.h"

#include "broker-adapters/memory/model.h"
#include "lib/base/topic.h"

/* A topic exchange "events", and a queue "q" bound to everything. */
static void declare_all(world *x)
{
	const wb_declaration all[] = {
		{.kind = WB_TOPOLOGY_EXCHANGE,
		 .name = S("events"),
		 .exchange_type = S("topic")},
		{.kind = WB_TOPOLOGY_QUEUE, .name = S("q")},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = S("q"),
		 .exchange = S("events"),
		 .binding_key = S("#")},
	};

	for (uint64_t i = 0; i < 3; i++)
		assert_ok(wb_broker_declare(x->w.broker, &all[i], i, &x->err),
			  x->err);
	witness_step(&x->w);
	assert_int_equal(witness_count(&x->w, WB_BROKER_DECLARED), 3);
	witness_clear(&x->w);
}

static int setup(void **state)
{
	(void)world_setup(state);
	declare_all(*state);
	return 0;
}

static wb_code publish(world *x, uint64_t token)
{
	char id[32];
	int len = snprintf(id, sizeof(id), "m%d", (int)token);
	wb_message message = {
		.exchange = S("events"),
		.routing_key = S("order.placed"),
		.message_id = wb_str_n(id, (size_t)len),
		.persistent = true,
		.body = S("data"),
	};

	return wb_broker_publish(x->w.broker, &message, token, &x->err);
}

/* Publish tokens first..last and flush. */
static void publish_run(world *x, uint64_t first, uint64_t last)
{
	for (uint64_t i = first; i <= last; i++)
		assert_ok(publish(x, i), x->err);
	wb_broker_flush(x->w.broker);
}

static uint64_t arrived(const world *x)
{
	return wb_memory_get_queue_stat(x->memory, "q").arrived;
}

static void a_topic_pattern_matches_by_words(void **state)
{
	static const struct {
		const char *pattern, *key;
		bool match;
	} cases[] = {
		{"#", "", true},
		{"#", "a.b.c", true},
		{"*", "a", true},
		{"*", "", false},
		{"*", "a.b", false},
		{"a.*", "a.b", true},
		{"a.*", "a", false},
		{"a.#", "a", true},
		{"a.#", "a.b.c", true},
		{"a.#", "ab", false},
		{"#.c", "a.b.c", true},
		{"#.c", "c", true},
		{"#.c", "c.d", false},
		{"a.#.c", "a.c", true},
		{"a.#.c", "a.b.b.c", true},
		{"a.#.c", "a.b.b", false},
		{"#.a.#", "x.a.y", true},
		{"#.a.#.b", "a.a.c.b", true},
		{"#.*", "", false},
		{"#.*", "a", true},
		{"*.#.*", "a", false},
		{"*.#.*", "a.b", true},
		{"a.b", "a.b", true},
		{"a.b", "a.b.", false},
		{"a.*", "a.", true},
		{"", "", true},
		{"", "a", false},
		{"a..b", "a..b", true},
		{"#.b.#.b", "a.b.a.b.a", false},
		{"#.b.#", "a.b.a.b.a", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (wbi_topic_match(wb_str_from(cases[i].pattern),
					wb_str_from(cases[i].key)) !=
		    cases[i].match)
			fail_msg("'%s' against '%s'", cases[i].pattern,
				 cases[i].key);
}

static void nothing_happens_inside_publish_or_without_flush(void **state)
{
	world *x = *state;

	assert_ok(publish(x, 1), x->err);
	witness_step(&x->w);
	assert_int_equal(arrived(x), 0);
	wb_broker_flush(x->w.broker);
	assert_int_equal(arrived(x), 0);
	witness_step(&x->w);
	assert_int_equal(arrived(x), 1);
	assert_int_equal(witness_count(&x->w, WB_BROKER_ACKED), 1);
}

static void confirms_take_the_time_they_are_given(void **state)
{
	world *x = *state;
	wb_memory_settings s = WB_MEMORY_SETTINGS_INIT;

	s.confirm_min_us = s.confirm_max_us = 5000;
	assert_ok(wb_memory_set(x->memory, &s, &x->err), x->err);
	publish_run(x, 1, 3);
	witness_step(&x->w);
	assert_int_equal(arrived(x), 3);
	assert_int_equal(x->w.count, 0);
	assert_int_equal(wb_broker_deadline_us(x->w.broker),
			 x->clock.mono_us + 5000);
	fake_clock_advance_us(&x->clock, 4999);
	witness_step(&x->w);
	assert_int_equal(x->w.count, 0);
	fake_clock_advance_us(&x->clock, 1);
	witness_step(&x->w);
	assert_int_equal(witness_count(&x->w, WB_BROKER_ACKED), 3);
	assert_int_equal(x->w.events[0].token, 1);
}

static void confirms_come_in_the_order_that_was_asked_for(void **state)
{
	world *x = *state;
	wb_memory_settings s = WB_MEMORY_SETTINGS_INIT;
	size_t late = 0;

	s.confirm_order = WB_MEMORY_REVERSED;
	assert_ok(wb_memory_set(x->memory, &s, &x->err), x->err);
	publish_run(x, 1, 100);
	witness_step(&x->w);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(x->w.events[i].token, 100 - i);
	witness_clear(&x->w);
	s.confirm_order = WB_MEMORY_RANDOM;
	assert_ok(wb_memory_set(x->memory, &s, &x->err), x->err);
	publish_run(x, 1, 100);
	witness_step(&x->w);
	assert_int_equal(x->w.count, 100);
	for (size_t i = 1; i < 100; i++)
		late += x->w.events[i].token < x->w.events[i - 1].token;
	assert_in_range(late, 25, 75);
}

static void nacks_and_returns_come_as_often_as_asked_for(void **state)
{
	world *x = *state;

	wb_memory_nack_next(x->memory, 2);
	wb_memory_return_next(x->memory, 1);
	publish_run(x, 1, 4);
	witness_step(&x->w);
	assert_int_equal(x->w.events[0].kind, WB_BROKER_NACKED);
	assert_int_equal(x->w.events[1].kind, WB_BROKER_NACKED);
	assert_int_equal(x->w.events[2].kind, WB_BROKER_RETURNED);
	assert_int_equal(x->w.events[2].reply_code, 312);
	assert_int_equal(x->w.events[3].kind, WB_BROKER_ACKED);
	assert_int_equal(x->w.count, 4);
	assert_int_equal(arrived(x), 1);
}

static void a_cut_takes_and_tells_as_much_as_it_was_told(void **state)
{
	world *x = *state;
	wb_memory_settings s = WB_MEMORY_SETTINGS_INIT;
	wb_memory_cut_options cut = WB_MEMORY_CUT_INIT;

	s.confirm_min_us = s.confirm_max_us = 1000;
	assert_ok(wb_memory_set(x->memory, &s, &x->err), x->err);
	cut.after_publishes = 4;
	cut.take_max = 3;
	cut.confirm_max = 2;
	assert_ok(wb_memory_cut(x->memory, &cut, &x->err), x->err);
	publish_run(x, 1, 10);
	witness_step(&x->w);
	/* Read: 1 to 4; told: 1 and 2; taken: 5 to 7; lost: 8 to 10. */
	assert_int_equal(x->w.count, 3);
	assert_int_equal(x->w.events[0].token, 1);
	assert_int_equal(x->w.events[1].token, 2);
	assert_int_equal(x->w.events[2].kind, WB_BROKER_DOWN);
	assert_int_equal(x->w.events[2].code, WB_ECLOSED);
	assert_code(publish(x, 11), WB_ESTATE, x->err);
	assert_ok(wb_broker_connect(x->w.broker, &x->err), x->err);
	witness_step(&x->w);
	assert_int_equal(arrived(x), 7);
	assert_int_equal(wb_memory_get_stat(x->memory).stragglers, 3);
}

static void
messages_in_flight_may_arrive_after_the_next_connection(void **state)
{
	world *x = *state;
	wb_memory_cut_options cut = WB_MEMORY_CUT_INIT;

	cut.take_max = UINT32_MAX;
	cut.take_late_us = 700;
	assert_ok(wb_memory_cut(x->memory, &cut, &x->err), x->err);
	publish_run(x, 1, 2);
	witness_step(&x->w);
	assert_ok(wb_broker_connect(x->w.broker, &x->err), x->err);
	witness_step(&x->w);
	publish_run(x, 3, 3);
	witness_step(&x->w);
	assert_int_equal(arrived(x), 1);
	assert_int_equal(wb_broker_deadline_us(x->w.broker),
			 x->clock.mono_us + 700);
	fake_clock_advance_us(&x->clock, 700);
	witness_step(&x->w);
	assert_int_equal(arrived(x), 3);
	assert_string_equal(
		wb_memory_arrival(x->memory, "q", 0)->message_id.ptr[1] == '3'
			? "m3 first"
			: "another first",
		"m3 first");
}

static void a_cut_by_time_hits_every_connection_that_is_up(void **state)
{
	world *x = *state;
	wb_memory_cut_options cut = WB_MEMORY_CUT_INIT;
	wb_broker_event event;
	wb_broker *other;

	assert_ok(wb_memory_connect(x->memory, &other, &x->err), x->err);
	assert_ok(wb_broker_connect(other, &x->err), x->err);
	wb_broker_step(other);
	assert_true(wb_broker_next(other, &event));
	cut.after_us = 10;
	assert_ok(wb_memory_cut(x->memory, &cut, &x->err), x->err);
	witness_step(&x->w);
	assert_int_equal(x->w.count, 0);
	fake_clock_advance_us(&x->clock, 10);
	witness_step(&x->w);
	assert_int_equal(witness_count(&x->w, WB_BROKER_DOWN), 1);
	assert_false(wb_broker_next(other, &event));
	wb_broker_step(other);
	assert_true(wb_broker_next(other, &event));
	assert_int_equal(event.kind, WB_BROKER_DOWN);
	wb_broker_free(other);
}

static void refused_connects_are_counted_down(void **state)
{
	world *x = *state;
	wb_memory_cut_options cut = WB_MEMORY_CUT_INIT;

	assert_ok(wb_memory_cut(x->memory, &cut, &x->err), x->err);
	wb_memory_refuse_next(x->memory, 1);
	witness_step(&x->w);
	assert_ok(wb_broker_connect(x->w.broker, &x->err), x->err);
	witness_step(&x->w);
	assert_int_equal(x->w.events[1].kind, WB_BROKER_DOWN);
	assert_int_equal(x->w.events[1].code, WB_EUNREACHABLE);
	assert_ok(wb_broker_connect(x->w.broker, &x->err), x->err);
	witness_step(&x->w);
	assert_int_equal(x->w.events[2].kind, WB_BROKER_UP);
}

static void a_frozen_broker_does_nothing_until_it_is_thawed(void **state)
{
	world *x = *state;

	wb_memory_freeze(x->memory, true);
	publish_run(x, 1, 1);
	fake_clock_advance_us(&x->clock, 29999999);
	witness_step(&x->w);
	assert_int_equal(x->w.count, 0);
	wb_memory_freeze(x->memory, false);
	witness_step(&x->w);
	assert_int_equal(witness_count(&x->w, WB_BROKER_ACKED), 1);
}

static void a_connection_gives_up_on_a_broker_that_stays_frozen(void **state)
{
	world *x = *state;

	wb_memory_freeze(x->memory, true);
	publish_run(x, 1, 1);
	assert_int_equal(wb_broker_deadline_us(x->w.broker),
			 x->clock.mono_us + 30000000);
	fake_clock_advance_us(&x->clock, 30000000);
	witness_step(&x->w);
	assert_int_equal(x->w.events[0].kind, WB_BROKER_DOWN);
	assert_int_equal(x->w.events[0].code, WB_ETIMEOUT);
	assert_int_equal(arrived(x), 0);
	wb_memory_freeze(x->memory, false);
	witness_step(&x->w);
	assert_int_equal(arrived(x), 1);
}

static void a_hidden_exchange_is_missing_for_its_time(void **state)
{
	world *x = *state;

	assert_ok(wb_memory_hide_exchange(x->memory, "events", 100, &x->err),
		  x->err);
	publish_run(x, 1, 2);
	witness_step(&x->w);
	assert_int_equal(x->w.count, 1);
	assert_int_equal(x->w.events[0].kind, WB_BROKER_CHANNEL_CLOSED);
	assert_int_equal(x->w.events[0].reply_code, 404);
	assert_ok(wb_broker_reopen(x->w.broker, &x->err), x->err);
	witness_step(&x->w);
	fake_clock_advance_us(&x->clock, 100);
	publish_run(x, 3, 3);
	witness_step(&x->w);
	assert_int_equal(witness_count(&x->w, WB_BROKER_ACKED), 1);
}

static void a_channel_closed_by_script_settles_nothing(void **state)
{
	world *x = *state;

	publish_run(x, 1, 2);
	wb_memory_close_channel(x->memory, NULL, 504);
	witness_step(&x->w);
	assert_int_equal(x->w.count, 1);
	assert_int_equal(x->w.events[0].reply_code, 504);
	assert_int_equal(arrived(x), 0);
}

static void a_duplicate_is_delivered_behind_its_first(void **state)
{
	world *x = *state;

	publish_run(x, 1, 2);
	wb_memory_duplicate_next(x->memory, 1);
	assert_ok(wb_broker_consume(x->w.broker, S("q"), 10, 9, &x->err),
		  x->err);
	witness_step(&x->w);
	assert_int_equal(witness_count(&x->w, WB_BROKER_DELIVERY), 3);
	assert_string_equal(witness_get(&x->w, WB_BROKER_DELIVERY, 1)->id,
			    "m1");
	assert_true(witness_get(&x->w, WB_BROKER_DELIVERY, 1)->redelivered);
	assert_ok(wb_broker_ack(x->w.broker, 3, true, &x->err), x->err);
	witness_step(&x->w);
	assert_int_equal(wb_memory_get_queue_stat(x->memory, "q").acked, 2);
	assert_int_equal(wb_memory_get_queue_stat(x->memory, "q").unacked, 0);
}

static bool is_readable(wb_broker *broker)
{
	struct pollfd p = {wb_broker_fd(broker), POLLIN, 0};

	return poll(&p, 1, 0) == 1;
}

static void
the_descriptor_is_readable_while_there_is_something_to_do(void **state)
{
	world *x = *state;

	assert_true(wb_broker_fd(x->w.broker) >= 0);
	assert_false(is_readable(x->w.broker));
	assert_ok(publish(x, 1), x->err);
	assert_false(is_readable(x->w.broker));
	wb_broker_flush(x->w.broker);
	assert_true(is_readable(x->w.broker));
	wb_broker_step(x->w.broker);
	assert_true(is_readable(x->w.broker));
	witness_step(&x->w);
	assert_false(is_readable(x->w.broker));
	wb_memory_close_channel(x->memory, x->w.broker, 504);
	assert_true(is_readable(x->w.broker));
}

static void too_much_unsettled_is_refused_until_a_step(void **state)
{
	world *x = *state;
	wb_memory_settings s = WB_MEMORY_SETTINGS_INIT;

	s.unsettled_max = 2;
	assert_ok(wb_memory_set(x->memory, &s, &x->err), x->err);
	publish_run(x, 1, 2);
	assert_code(publish(x, 3), WB_EAGAIN, x->err);
	witness_step(&x->w);
	assert_ok(publish(x, 3), x->err);
}

static void a_freed_connection_has_sent_what_it_had_flushed(void **state)
{
	world *x = *state;

	publish_run(x, 1, 3);
	assert_ok(publish(x, 4), x->err);
	wb_broker_free(x->w.broker);
	assert_ok(wb_memory_connect(x->memory, &x->w.broker, &x->err), x->err);
	witness_step(&x->w);
	assert_int_equal(arrived(x), 3);
}

enum { CHAOS_MESSAGES = 400 };

/* A client that never gives up: it sends each message until that is acked or
 * returned, and digests all it is told. */
typedef struct client {
	world *x;
	bool done[CHAOS_MESSAGES + 1], sent[CHAOS_MESSAGES + 1];
	size_t left;
	uint64_t digest;
} client;

static void client_send(client *c)
{
	wb_code code = WB_OK;

	for (uint64_t i = 1; i <= CHAOS_MESSAGES && code == WB_OK; i++) {
		if (c->done[i] || c->sent[i])
			continue;
		code = publish(c->x, i);
		c->sent[i] = code == WB_OK;
	}
	wb_error_clear(&c->x->err);
	wb_broker_flush(c->x->w.broker);
}

static void client_take(client *c, const witness_event *e)
{
	wb_broker *broker = c->x->w.broker;

	c->digest = c->digest * 31 + e->kind * 1000 + e->token;
	switch (e->kind) {
	case WB_BROKER_DOWN:
		memset(c->sent, 0, sizeof(c->sent));
		assert_int_equal(wb_broker_connect(broker, NULL), WB_OK);
		break;
	case WB_BROKER_CHANNEL_CLOSED:
		memset(c->sent, 0, sizeof(c->sent));
		wb_broker_reopen(broker, NULL);
		break;
	case WB_BROKER_NACKED:
		c->sent[e->token] = false;
		break;
	case WB_BROKER_ACKED:
	case WB_BROKER_RETURNED:
		c->left -= !c->done[e->token];
		c->done[e->token] = true;
		break;
	default:
		break;
	}
}

static void client_run(client *c)
{
	witness *w = &c->x->w;

	for (int turn = 0; c->left > 0 && turn < 100000; turn++) {
		client_send(c);
		witness_clear(w);
		witness_step(w);
		for (size_t i = 0; i < w->count; i++)
			client_take(c, &w->events[i]);
		fake_clock_advance_us(&c->x->clock, 500);
	}
	assert_int_equal(c->left, 0);
}

static uint64_t chaotic_run(uint64_t seed, uint64_t *ret_downs)
{
	const wb_memory_chaos chaos = {
		.size = sizeof(chaos),
		.nack = 20,
		.return_ = 5,
		.cut = 10,
		.channel_close = 10,
		.hide_exchange = 5,
		.freeze = 5,
		.block = 5,
		.refuse = 100,
		.outage_max_us = 20000,
		.read_max = 16,
	};
	client c = {.left = CHAOS_MESSAGES};
	wb_memory_settings s = WB_MEMORY_SETTINGS_INIT;

	setup((void **)&c.x);
	seeded_random_init(&c.x->random, seed);
	s.confirm_max_us = 3000;
	s.confirm_order = WB_MEMORY_RANDOM;
	assert_ok(wb_memory_set(c.x->memory, &s, &c.x->err), c.x->err);
	assert_ok(wb_memory_set_chaos(c.x->memory, &chaos, &c.x->err),
		  c.x->err);
	client_run(&c);
	*ret_downs += wb_memory_get_stat(c.x->memory).downs;
	c.digest = c.digest * 31 + arrived(c.x);
	world_teardown((void **)&c.x);
	return c.digest;
}

static void chaos_ends_and_is_repeated_by_its_seed(void **state)
{
	uint64_t downs = 0, differ = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		uint64_t first = chaotic_run(seed, &downs);

		assert_int_equal(first, chaotic_run(seed, &downs));
		differ += first != chaotic_run(seed + 1000, &downs);
	}
	assert_int_equal(differ, 20);
	assert_true(downs > 100);
}

#define WORLD_TEST(name)                                                       \
	cmocka_unit_test_setup_teardown(name, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_topic_pattern_matches_by_words),
		WORLD_TEST(nothing_happens_inside_publish_or_without_flush),
		WORLD_TEST(confirms_take_the_time_they_are_given),
		WORLD_TEST(confirms_come_in_the_order_that_was_asked_for),
		WORLD_TEST(nacks_and_returns_come_as_often_as_asked_for),
		WORLD_TEST(a_cut_takes_and_tells_as_much_as_it_was_told),
		WORLD_TEST(
			messages_in_flight_may_arrive_after_the_next_connection),
		WORLD_TEST(a_cut_by_time_hits_every_connection_that_is_up),
		WORLD_TEST(refused_connects_are_counted_down),
		WORLD_TEST(a_frozen_broker_does_nothing_until_it_is_thawed),
		WORLD_TEST(a_connection_gives_up_on_a_broker_that_stays_frozen),
		WORLD_TEST(a_hidden_exchange_is_missing_for_its_time),
		WORLD_TEST(a_channel_closed_by_script_settles_nothing),
		WORLD_TEST(a_duplicate_is_delivered_behind_its_first),
		WORLD_TEST(
			the_descriptor_is_readable_while_there_is_something_to_do),
		WORLD_TEST(too_much_unsettled_is_refused_until_a_step),
		WORLD_TEST(a_freed_connection_has_sent_what_it_had_flushed),
		cmocka_unit_test(chaos_ends_and_is_repeated_by_its_seed),
	};

	return cmocka_run_group_tests_name("memory broker", tests, NULL, NULL);
}
