/* SPDX-License-Identifier: BSD-2-Clause */
/* Conformance: connecting, publishing, and what becomes of a message. */
#include <stdlib.h>

#include "tests/conformance/conformance.h"

static void a_connection_comes_up_goes_down_and_comes_up_again(void **state)
{
	stage *s = *state;
	witness *w = &s->publisher;

	assert_code(wb_broker_connect(w->broker, &s->err), WB_ESTATE, s->err);
	wb_broker_close(w->broker);
	stage_await(s, w, WB_BROKER_DOWN, 1);
	assert_code(stage_publish(s, s->exchange, "a", 1), WB_ESTATE, s->err);
	assert_ok(wb_broker_connect(w->broker, &s->err), s->err);
	stage_await(s, w, WB_BROKER_UP, 1);
	stage_fill(s, 1, 1);
}

static void nothing_is_possible_before_it_is_up(void **state)
{
	stage *s = *state;
	const wb_message message = {
		.exchange = S("amq.topic"),
		.routing_key = S("a"),
		.message_id = S("m"),
	};
	const wb_declaration what = {
		.kind = WB_TOPOLOGY_QUEUE,
		.name = S("never"),
	};
	wb_broker *b;

	assert_ok(s->fixture->make(s->fixture->ctx, &b, &s->err), s->err);
	assert_code(wb_broker_publish(b, &message, 1, &s->err), WB_ESTATE,
		    s->err);
	assert_code(wb_broker_declare(b, &what, 1, &s->err), WB_ESTATE, s->err);
	assert_code(wb_broker_consume(b, S("q"), 1, 1, &s->err), WB_ESTATE,
		    s->err);
	assert_code(wb_broker_ack(b, 1, false, &s->err), WB_ESTATE, s->err);
	assert_code(wb_broker_reject(b, 1, false, &s->err), WB_ESTATE, s->err);
	assert_code(wb_broker_reopen(b, &s->err), WB_ESTATE, s->err);
	wb_broker_close(b);
	wb_broker_free(b);
}

static void every_routed_message_is_acked_once(void **state)
{
	stage *s = *state;

	stage_fill(s, 1, 1000);
	stage_quiet(s, &s->publisher);
	assert_int_equal(s->publisher.count, 1000);
	for (uint64_t i = 1; i <= 1000; i++)
		assert_int_equal(stage_outcomes(&s->publisher, i), 1);
}

static void an_unroutable_message_is_returned_and_so_settled(void **state)
{
	stage *s = *state;
	witness *w = &s->publisher;

	for (uint64_t i = 1; i <= 30; i++)
		assert_ok(stage_publish(s,
					i % 3 == 0 ? "amq.direct" : s->exchange,
					"nobody.listens", i),
			  s->err);
	wb_broker_flush(w->broker);
	stage_await(s, w, WB_BROKER_ACKED, 20);
	stage_await(s, w, WB_BROKER_RETURNED, 10);
	stage_quiet(s, w);
	assert_int_equal(w->count, 30);
	for (size_t i = 0; i < 10; i++) {
		const witness_event *e = witness_get(w, WB_BROKER_RETURNED, i);

		assert_int_equal(e->token % 3, 0);
		assert_int_equal(e->reply_code, 312);
	}
	for (uint64_t i = 1; i <= 30; i++)
		assert_int_equal(stage_outcomes(w, i), 1);
}

static void a_full_queue_nacks(void **state)
{
	stage *s = *state;
	witness *w = &s->publisher;
	const wb_argument arguments[] = {
		{.name = S("x-max-length"), .is_number = true, .number = 3},
		{.name = S("x-overflow"), .text = S("reject-publish")},
	};
	char queue[64];

	snprintf(queue, sizeof(queue), "%s-full", s->queue);
	stage_queue(s, queue, arguments, 2);
	witness_clear(w);
	for (uint64_t i = 1; i <= 10; i++)
		assert_ok(stage_publish(s, "", queue, i), s->err);
	wb_broker_flush(w->broker);
	stage_await(s, w, WB_BROKER_NACKED, 7);
	stage_await(s, w, WB_BROKER_ACKED, 3);
	stage_quiet(s, w);
	assert_int_equal(w->count, 10);
	for (uint64_t i = 1; i <= 10; i++)
		assert_int_equal(stage_outcomes(w, i), 1);
	s->fixture->delete_queue(s->fixture->ctx, queue);
}

static void a_missing_exchange_closes_only_the_channel(void **state)
{
	stage *s = *state;
	witness *w = &s->publisher;
	const witness_event *e;

	assert_code(wb_broker_reopen(w->broker, &s->err), WB_ESTATE, s->err);
	assert_ok(stage_publish(s, "wb-no-such-exchange", "a", 1), s->err);
	wb_broker_flush(w->broker);
	stage_await(s, w, WB_BROKER_CHANNEL_CLOSED, 1);
	e = witness_get(w, WB_BROKER_CHANNEL_CLOSED, 0);
	assert_int_equal(e->reply_code, 404);
	assert_int_not_equal(e->code, WB_OK);
	assert_code(stage_publish(s, s->exchange, "a", 2), WB_ESTATE, s->err);
	assert_ok(wb_broker_reopen(w->broker, &s->err), s->err);
	assert_code(stage_publish(s, s->exchange, "a", 3), WB_ESTATE, s->err);
	stage_await(s, w, WB_BROKER_CHANNEL_OPEN, 1);
	stage_fill(s, 4, 6);
	assert_int_equal(stage_settled(w), 3);
	assert_int_equal(witness_count(w, WB_BROKER_DOWN), 0);
}

static void what_stands_before_the_fatal_message_is_routed(void **state)
{
	stage *s = *state;
	witness *w = &s->publisher;

	for (uint64_t i = 1; i <= 6; i++)
		assert_ok(stage_publish(s, i == 4 ? "wb-no-such" : s->exchange,
					"a", i),
			  s->err);
	wb_broker_flush(w->broker);
	stage_await(s, w, WB_BROKER_CHANNEL_CLOSED, 1);
	stage_quiet(s, w);
	for (uint64_t i = 4; i <= 6; i++)
		assert_int_equal(stage_outcomes(w, i), 0);
	stage_consume(s, 100);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 3);
	stage_quiet(s, &s->consumer);
	assert_int_equal(witness_count(&s->consumer, WB_BROKER_DELIVERY), 3);
	for (size_t i = 0; i < 3; i++)
		stage_assert_delivery(&s->consumer, i, i + 1, false);
}

static void an_oversized_body_closes_only_the_channel(void **state)
{
	stage *s = *state;
	const conformance_fixture *f = s->fixture;
	char *body = calloc(1, 70000);
	witness w = {0};
	const wb_message message = {
		.exchange = wb_str_from(s->exchange),
		.routing_key = S("a"),
		.message_id = S("large"),
		.body = wb_str_n(body, 70000),
	};

	assert_non_null(body);
	if (!f->limit_body(f->ctx, 60000)) {
		free(body);
		skip();
	}
	stage_connect(s, &w);
	assert_ok(wb_broker_publish(w.broker, &message, 1, &s->err), s->err);
	free(body);
	wb_broker_flush(w.broker);
	stage_await(s, &w, WB_BROKER_CHANNEL_CLOSED, 1);
	assert_int_equal(
		witness_get(&w, WB_BROKER_CHANNEL_CLOSED, 0)->reply_code, 406);
	assert_ok(wb_broker_reopen(w.broker, &s->err), s->err);
	stage_await(s, &w, WB_BROKER_CHANNEL_OPEN, 1);
	assert_int_equal(stage_settled(&w), 0);
	wb_broker_free(w.broker);
	assert_true(f->limit_body(f->ctx, 0));
}

static void what_cannot_be_encoded_is_refused_at_once(void **state)
{
	stage *s = *state;
	witness *w = &s->publisher;
	char key[257];
	wb_message message = {
		.exchange = wb_str_from(s->exchange),
		.routing_key = wb_str_n(key, 256),
		.message_id = S("long"),
	};

	memset(key, 'k', sizeof(key));
	assert_code(wb_broker_publish(w->broker, &message, 1, &s->err),
		    WB_ELIMIT, s->err);
	message.routing_key.len = 255;
	message.message_id = WB_STR_NULL;
	assert_code(wb_broker_publish(w->broker, &message, 1, &s->err),
		    WB_EINVAL, s->err);
	message.message_id = S("fits");
	assert_ok(wb_broker_publish(w->broker, &message, 1, &s->err), s->err);
	wb_broker_flush(w->broker);
	stage_await(s, w, WB_BROKER_ACKED, 1);
	assert_int_equal(w->count, 1);
}

static void a_blocked_broker_says_so_and_loses_nothing(void **state)
{
	stage *s = *state;
	const conformance_fixture *f = s->fixture;
	witness *w = &s->publisher;

	if (!f->block(f->ctx, true))
		skip();
	assert_ok(stage_publish(s, s->exchange, "a", 1), s->err);
	wb_broker_flush(w->broker);
	stage_await(s, w, WB_BROKER_BLOCKED, 1);
	assert_code(stage_publish(s, s->exchange, "a", 2), WB_ESTATE, s->err);
	stage_quiet(s, w);
	assert_int_equal(stage_settled(w), 0);
	stage_consume(s, 10);
	assert_true(f->block(f->ctx, false));
	stage_await(s, w, WB_BROKER_UNBLOCKED, 1);
	stage_await(s, w, WB_BROKER_ACKED, 1);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 1);
	stage_fill(s, 2, 3);
}

/* ---- routing ----------------------------------------------------------- */

/* Is a message with this key routed by a queue bound with this pattern? */
static void assert_routed(stage *s, const char *type, const char *pattern,
			  const char *const *keys, const char *routed)
{
	const conformance_fixture *f = s->fixture;
	witness *w = &s->publisher;
	char exchange[64];
	size_t count = strlen(routed);

	snprintf(exchange, sizeof(exchange), "%s-%s", s->exchange, type);
	stage_exchange(s, exchange, type);
	stage_bind(s, s->queue, exchange, pattern);
	witness_clear(w);
	for (size_t i = 0; i < count; i++)
		assert_ok(stage_publish(s, exchange, keys[i], i), s->err);
	wb_broker_flush(w->broker);
	for (int turns = 0; stage_settled(w) < count; turns++) {
		assert_true(turns < 10000);
		f->wait(f->ctx, w->broker);
		witness_step(w);
	}
	for (size_t i = 0; i < count; i++) {
		bool acked = w->events[i].kind == WB_BROKER_ACKED;

		if (acked != (routed[w->events[i].token] == '+'))
			fail_msg("%s '%s': key '%s' was%s routed", type,
				 pattern, keys[w->events[i].token],
				 acked ? "" : " not");
	}
	assert_true(f->delete_exchange(f->ctx, exchange));
}

static void patterns_route_as_the_manual_of_the_broker_says(void **state)
{
	static const char *const keys[] = {"",        "a",  "b",     "a.b",
					   "b.a",     "a.", "a.b.c", "a..c",
					   "a.b.b.c", "c",  "ab",    "a.c"};

	assert_routed(*state, "topic", "#", keys, "++++++++++++");
	assert_routed(*state, "topic", "*", keys, "-++------++-");
	assert_routed(*state, "topic", "a.*", keys, "---+-+-----+");
	assert_routed(*state, "topic", "a.#", keys, "-+-+-++++--+");
	assert_routed(*state, "topic", "#.c", keys, "------++++-+");
	assert_routed(*state, "topic", "a.#.c", keys, "------+++--+");
	assert_routed(*state, "topic", "*.*", keys, "---+++-----+");
	assert_routed(*state, "topic", "#.b.#", keys, "--+++-+-+---");
	assert_routed(*state, "topic", "a.b", keys, "---+--------");
	assert_routed(*state, "topic", "", keys, "+-----------");
	assert_routed(*state, "direct", "a.b", keys, "---+--------");
	assert_routed(*state, "direct", "a.*", keys, "------------");
	assert_routed(*state, "fanout", "a.b", keys, "++++++++++++");
}

static void two_bindings_of_one_queue_are_one_copy(void **state)
{
	stage *s = *state;

	stage_bind(s, s->queue, s->exchange, "any.*");
	stage_fill(s, 1, 1);
	stage_consume(s, 10);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 1);
	stage_quiet(s, &s->consumer);
	assert_int_equal(witness_count(&s->consumer, WB_BROKER_DELIVERY), 1);
}

#define CASE(name)                                                             \
	{                                                                      \
#name, name                                                    \
	}

const conformance_case conformance_publishing[] = {
	CASE(a_connection_comes_up_goes_down_and_comes_up_again),
	CASE(nothing_is_possible_before_it_is_up),
	CASE(every_routed_message_is_acked_once),
	CASE(an_unroutable_message_is_returned_and_so_settled),
	CASE(a_full_queue_nacks),
	CASE(a_missing_exchange_closes_only_the_channel),
	CASE(what_stands_before_the_fatal_message_is_routed),
	CASE(an_oversized_body_closes_only_the_channel),
	CASE(what_cannot_be_encoded_is_refused_at_once),
	CASE(a_blocked_broker_says_so_and_loses_nothing),
	CASE(patterns_route_as_the_manual_of_the_broker_says),
	CASE(two_bindings_of_one_queue_are_one_copy),
	{NULL, NULL},
};
