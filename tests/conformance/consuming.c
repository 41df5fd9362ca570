/* SPDX-License-Identifier: BSD-2-Clause */
/* Conformance: consuming, and what becomes of a delivery. */
#include "tests/conformance/conformance.h"

static uint64_t tag_of(const witness *w, size_t index)
{
	const witness_event *e = witness_get(w, WB_BROKER_DELIVERY, index);

	assert_non_null(e);
	return e->delivery;
}

/* The consumer's process dies, another one consumes. */
static void consume_anew(stage *s, uint16_t prefetch)
{
	wb_broker_free(s->consumer.broker);
	s->consumer.broker = NULL;
	witness_clear(&s->consumer);
	stage_consume(s, prefetch);
}

static size_t deliveries(const stage *s)
{
	return witness_count(&s->consumer, WB_BROKER_DELIVERY);
}

static bool has_header(const wb_message *m, wb_str name, wb_str value)
{
	for (size_t i = 0; i < m->header_count; i++)
		if (wb_str_eq(m->headers[i].name, name) &&
		    wb_str_eq(m->headers[i].value, value))
			return true;
	return false;
}

static void assert_same(const wb_message *a, const wb_message *b)
{
	assert_true(wb_str_eq(a->exchange, b->exchange));
	assert_true(wb_str_eq(a->routing_key, b->routing_key));
	assert_true(wb_str_eq(a->message_id, b->message_id));
	assert_true(wb_str_eq(a->type, b->type));
	assert_true(wb_str_eq(a->app_id, b->app_id));
	assert_true(wb_str_eq(a->content_type, b->content_type));
	assert_true(wb_str_eq(a->correlation_id, b->correlation_id));
	assert_true(wb_str_eq(a->reply_to, b->reply_to));
	assert_true(wb_str_eq(a->body, b->body));
	assert_int_equal(a->timestamp_s, b->timestamp_s);
	assert_int_equal(a->persistent, b->persistent);
	for (size_t i = 0; i < a->header_count; i++)
		assert_true(
			has_header(b, a->headers[i].name, a->headers[i].value));
}

/* Step until a delivery comes; compare it with what was sent. */
static void await_same(stage *s, const wb_message *sent)
{
	const conformance_fixture *f = s->fixture;
	wb_broker *b = s->consumer.broker;
	wb_broker_event event;

	for (int turns = 0; turns < 10000; turns++) {
		wb_broker_step(b);
		while (wb_broker_next(b, &event)) {
			if (event.kind != WB_BROKER_DELIVERY)
				continue;
			assert_int_equal(event.token, 5);
			assert_false(event.redelivered);
			assert_same(sent, &event.message);
			return;
		}
		f->wait(f->ctx, b);
	}
	fail_msg("nothing was delivered");
}

static void a_message_arrives_as_it_was_sent(void **state)
{
	stage *s = *state;
	const wb_header headers[] = {
		{S("ce-id"), S("0192")},
		{S("ce-partitionkey"), S("order/42")},
		{S("ce-source"), S("/sch\xc3\xb6n")},
	};
	const wb_message message = {
		.exchange = wb_str_from(s->exchange),
		.routing_key = S("order.placed"),
		.message_id = S("0192"),
		.type = S("order.placed"),
		.app_id = S("shop"),
		.content_type = S("application/json"),
		.correlation_id = S("c-1"),
		.reply_to = S("replies"),
		.timestamp_s = 1767225600,
		.persistent = true,
		.headers = headers,
		.header_count = 3,
		.body = S("{\"a\":\0\xff 0.1}"),
	};
	const wb_message bare = {
		.exchange = wb_str_from(s->exchange),
		.routing_key = S("k"),
		.message_id = S("bare"),
	};
	wb_broker *b = s->publisher.broker;

	assert_ok(wb_broker_publish(b, &message, 1, &s->err), s->err);
	wb_broker_flush(b);
	stage_await(s, &s->publisher, WB_BROKER_ACKED, 1);
	stage_connect(s, &s->consumer);
	assert_ok(wb_broker_consume(s->consumer.broker, wb_str_from(s->queue),
				    10, 5, &s->err),
		  s->err);
	await_same(s, &message);
	assert_ok(wb_broker_publish(b, &bare, 2, &s->err), s->err);
	wb_broker_flush(b);
	stage_await(s, &s->publisher, WB_BROKER_ACKED, 2);
	await_same(s, &bare);
}

static void deliveries_keep_the_order_of_publishing(void **state)
{
	stage *s = *state;

	stage_fill(s, 1, 500);
	stage_consume(s, 1000);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 500);
	for (size_t i = 0; i < 500; i++)
		stage_assert_delivery(&s->consumer, i, i + 1, false);
	for (size_t i = 1; i < 500; i++)
		assert_true(tag_of(&s->consumer, i) >
			    tag_of(&s->consumer, i - 1));
}

static void what_was_acked_never_comes_again(void **state)
{
	stage *s = *state;

	stage_fill(s, 1, 5);
	stage_consume(s, 10);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 5);
	assert_ok(wb_broker_ack(s->consumer.broker, tag_of(&s->consumer, 2),
				true, &s->err),
		  s->err);
	assert_ok(wb_broker_ack(s->consumer.broker, tag_of(&s->consumer, 4),
				false, &s->err),
		  s->err);
	stage_quiet(s, &s->consumer);
	consume_anew(s, 10);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 1);
	stage_quiet(s, &s->consumer);
	assert_int_equal(deliveries(s), 1);
	stage_assert_delivery(&s->consumer, 0, 4, true);
}

static void what_was_not_acked_comes_again_in_order(void **state)
{
	stage *s = *state;

	stage_fill(s, 1, 6);
	stage_consume(s, 4);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 4);
	consume_anew(s, 10);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 6);
	for (size_t i = 0; i < 6; i++)
		stage_assert_delivery(&s->consumer, i, i + 1, i < 4);
}

static void a_rejected_delivery_is_gone(void **state)
{
	stage *s = *state;

	stage_fill(s, 1, 2);
	stage_consume(s, 1);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 1);
	assert_ok(wb_broker_reject(s->consumer.broker, tag_of(&s->consumer, 0),
				   false, &s->err),
		  s->err);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 2);
	stage_assert_delivery(&s->consumer, 1, 2, false);
}

static void a_requeued_delivery_comes_again_in_its_place(void **state)
{
	stage *s = *state;

	stage_fill(s, 1, 3);
	stage_consume(s, 1);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 1);
	assert_ok(wb_broker_reject(s->consumer.broker, tag_of(&s->consumer, 0),
				   true, &s->err),
		  s->err);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 2);
	stage_assert_delivery(&s->consumer, 1, 1, true);
}

static void the_prefetch_bounds_what_is_unacked(void **state)
{
	stage *s = *state;

	stage_fill(s, 1, 10);
	stage_consume(s, 3);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 3);
	stage_quiet(s, &s->consumer);
	assert_int_equal(deliveries(s), 3);
	assert_ok(wb_broker_ack(s->consumer.broker, tag_of(&s->consumer, 1),
				true, &s->err),
		  s->err);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 5);
	stage_quiet(s, &s->consumer);
	assert_int_equal(deliveries(s), 5);
}

static void a_second_consumer_waits_for_the_single_active_one(void **state)
{
	stage *s = *state;
	const wb_argument argument = {
		.name = S("x-single-active-consumer"),
		.is_bool = true,
		.number = 1,
	};
	witness second = {0};

	assert_true(s->fixture->delete_queue(s->fixture->ctx, s->queue));
	stage_queue(s, s->queue, &argument, 1);
	stage_bind(s, s->queue, s->exchange, "#");
	stage_consume(s, 10);
	stage_connect(s, &second);
	assert_ok(wb_broker_consume(second.broker, wb_str_from(s->queue), 10, 6,
				    &s->err),
		  s->err);
	stage_await(s, &second, WB_BROKER_CONSUMING, 1);
	stage_fill(s, 1, 5);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 5);
	stage_quiet(s, &second);
	assert_int_equal(witness_count(&second, WB_BROKER_DELIVERY), 0);
	wb_broker_free(s->consumer.broker);
	s->consumer.broker = NULL;
	stage_await(s, &second, WB_BROKER_DELIVERY, 5);
	for (size_t i = 0; i < 5; i++)
		stage_assert_delivery(&second, i, i + 1, true);
	wb_broker_free(second.broker);
}

static void a_delivery_is_settled_once_and_only_while_it_is_ours(void **state)
{
	stage *s = *state;
	witness *w = &s->consumer;
	uint64_t first, third;

	stage_fill(s, 1, 3);
	stage_consume(s, 10);
	stage_await(s, w, WB_BROKER_DELIVERY, 3);
	first = tag_of(w, 0);
	third = tag_of(w, 2);
	assert_ok(wb_broker_ack(w->broker, tag_of(w, 1), true, &s->err),
		  s->err);
	assert_code(wb_broker_ack(w->broker, first, false, &s->err), WB_EINVAL,
		    s->err);
	assert_code(wb_broker_reject(w->broker, tag_of(w, 1), true, &s->err),
		    WB_EINVAL, s->err);
	assert_code(wb_broker_ack(w->broker, third + 1, true, &s->err),
		    WB_EINVAL, s->err);
	wb_broker_close(w->broker);
	stage_await(s, w, WB_BROKER_DOWN, 1);
	witness_clear(w);
	assert_ok(wb_broker_connect(w->broker, &s->err), s->err);
	stage_await(s, w, WB_BROKER_UP, 1);
	stage_consume(s, 10);
	stage_await(s, w, WB_BROKER_DELIVERY, 1);
	stage_assert_delivery(w, 0, 3, true);
	assert_true(tag_of(w, 0) > third);
	assert_code(wb_broker_ack(w->broker, third, true, &s->err), WB_EINVAL,
		    s->err);
	assert_ok(wb_broker_ack(w->broker, tag_of(w, 0), false, &s->err),
		  s->err);
}

static void a_closed_channel_takes_its_consumer_along(void **state)
{
	stage *s = *state;
	witness *w = &s->publisher;
	uint64_t old;

	stage_fill(s, 1, 2);
	assert_ok(wb_broker_consume(w->broker, wb_str_from(s->queue), 10, 5,
				    &s->err),
		  s->err);
	stage_await(s, w, WB_BROKER_DELIVERY, 2);
	old = tag_of(w, 1);
	assert_ok(stage_publish(s, "wb-no-such-exchange", "a", 3), s->err);
	wb_broker_flush(w->broker);
	stage_await(s, w, WB_BROKER_CHANNEL_CLOSED, 1);
	stage_await(s, w, WB_BROKER_CANCELLED, 1);
	assert_code(wb_broker_ack(w->broker, old, true, &s->err), WB_ESTATE,
		    s->err);
	assert_ok(wb_broker_reopen(w->broker, &s->err), s->err);
	stage_await(s, w, WB_BROKER_CHANNEL_OPEN, 1);
	assert_code(wb_broker_ack(w->broker, old, true, &s->err), WB_EINVAL,
		    s->err);
	assert_ok(wb_broker_consume(w->broker, wb_str_from(s->queue), 10, 6,
				    &s->err),
		  s->err);
	stage_await(s, w, WB_BROKER_DELIVERY, 4);
	stage_assert_delivery(w, 2, 1, true);
	stage_assert_delivery(w, 3, 2, true);
}

static void there_is_no_consuming_a_missing_queue(void **state)
{
	stage *s = *state;

	stage_connect(s, &s->consumer);
	assert_ok(wb_broker_consume(s->consumer.broker, S("wb-no-such-queue"),
				    10, 5, &s->err),
		  s->err);
	stage_await(s, &s->consumer, WB_BROKER_CANCELLED, 1);
	assert_int_equal(
		witness_get(&s->consumer, WB_BROKER_CANCELLED, 0)->token, 5);
	assert_int_not_equal(
		witness_get(&s->consumer, WB_BROKER_CANCELLED, 0)->code, WB_OK);
}

static void deleting_the_queue_cancels_its_consumer(void **state)
{
	stage *s = *state;

	stage_consume(s, 10);
	assert_true(s->fixture->delete_queue(s->fixture->ctx, s->queue));
	stage_await(s, &s->consumer, WB_BROKER_CANCELLED, 1);
	assert_int_equal(
		witness_get(&s->consumer, WB_BROKER_CANCELLED, 0)->token, 5);
}

static void one_connection_has_one_consumer(void **state)
{
	stage *s = *state;
	wb_broker *b;

	stage_consume(s, 10);
	b = s->consumer.broker;
	assert_code(wb_broker_consume(b, wb_str_from(s->queue), 10, 6, &s->err),
		    WB_ESTATE, s->err);
	witness_clear(&s->consumer);
}

static void a_prefetch_of_nothing_is_refused(void **state)
{
	stage *s = *state;

	stage_connect(s, &s->consumer);
	assert_code(wb_broker_consume(s->consumer.broker, wb_str_from(s->queue),
				      0, 5, &s->err),
		    WB_EINVAL, s->err);
}

#define CASE(name)                                                             \
	{                                                                      \
#name, name                                                    \
	}

const conformance_case conformance_consuming[] = {
	CASE(a_message_arrives_as_it_was_sent),
	CASE(deliveries_keep_the_order_of_publishing),
	CASE(what_was_acked_never_comes_again),
	CASE(what_was_not_acked_comes_again_in_order),
	CASE(a_rejected_delivery_is_gone),
	CASE(a_requeued_delivery_comes_again_in_its_place),
	CASE(the_prefetch_bounds_what_is_unacked),
	CASE(a_second_consumer_waits_for_the_single_active_one),
	CASE(a_delivery_is_settled_once_and_only_while_it_is_ours),
	CASE(a_closed_channel_takes_its_consumer_along),
	CASE(there_is_no_consuming_a_missing_queue),
	CASE(deleting_the_queue_cancels_its_consumer),
	CASE(one_connection_has_one_consumer),
	CASE(a_prefetch_of_nothing_is_refused),
	{NULL, NULL},
};
