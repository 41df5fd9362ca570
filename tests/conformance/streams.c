/* SPDX-License-Identifier: BSD-2-Clause */
/* Conformance: stream queues, which are read from an offset, by as many as
 * like, and again and again. */
#include "tests/conformance/conformance.h"

enum { STREAM_COUNT = 120 };

/* Bound like the stage's queue. */
static void stream_make(stage *s)
{
	const wb_argument arguments[] = {
		{.name = S("x-queue-type"), .text = S("stream")}};

	snprintf(s->stream, sizeof(s->stream), "%s-st", s->queue);
	stage_queue(s, s->stream, arguments, 1);
	stage_bind(s, s->stream, s->exchange, "#");
}

static void stream_consume(stage *s, wb_argument offset)
{
	const wb_consumption what = {.queue = wb_str_from(s->stream),
				     .prefetch = 50,
				     .arguments = &offset,
				     .argument_count = 1};
	witness *w = &s->consumer;

	wb_broker_free(w->broker);
	w->broker = NULL;
	witness_clear(w);
	stage_connect(s, w);
	assert_ok(wb_broker_consume_as(w->broker, &what, 5, &s->err), s->err);
	stage_await(s, w, WB_BROKER_CONSUMING, 1);
}

static wb_argument stream_first(void)
{
	return (wb_argument){.name = S(WB_STREAM_OFFSET), .text = S("first")};
}

static wb_argument stream_at(int64_t offset)
{
	return (wb_argument){.name = S(WB_STREAM_OFFSET),
			     .is_number = true,
			     .number = offset};
}

/* All that comes, acking all the while: from message `first` on. */
static void stream_expect(stage *s, uint64_t first)
{
	size_t count = STREAM_COUNT - first + 1;
	witness *w = &s->consumer;
	const witness_event *e;

	for (size_t have = 1; have <= count; have++) {
		stage_await(s, w, WB_BROKER_DELIVERY, have);
		e = witness_get(w, WB_BROKER_DELIVERY, have - 1);
		stage_assert_delivery(w, have - 1, first + have - 1, false);
		assert_true(e->offset == (int64_t)(first + have - 2));
		if (have % 25 == 0)
			assert_ok(wb_broker_ack(w->broker, e->delivery, true,
						&s->err),
				  s->err);
	}
}

static void a_stream_is_read_again_and_again(void **state)
{
	stage *s = *state;

	stream_make(s);
	stage_fill(s, 1, STREAM_COUNT);
	for (int i = 0; i < 2; i++) {
		stream_consume(s, stream_first());
		stream_expect(s, 1);
	}
}

static void a_stream_is_read_from_an_offset(void **state)
{
	stage *s = *state;

	stream_make(s);
	stage_fill(s, 1, STREAM_COUNT);
	stream_consume(s, stream_at(100));
	stream_expect(s, 101);
	/* Behind its end it begins with what comes next. */
	stream_consume(s, stream_at(STREAM_COUNT));
	stage_quiet(s, &s->consumer);
	assert_int_equal(witness_count(&s->consumer, WB_BROKER_DELIVERY), 0);
	stage_fill(s, STREAM_COUNT + 1, STREAM_COUNT + 1);
	stage_await(s, &s->consumer, WB_BROKER_DELIVERY, 1);
	stage_assert_delivery(&s->consumer, 0, STREAM_COUNT + 1, false);
}

static void a_stream_has_no_offset_of_that_name(void **state)
{
	const wb_argument junk = {.name = S(WB_STREAM_OFFSET),
				  .text = S("500")};
	const wb_consumption what = {.prefetch = 50,
				     .arguments = &junk,
				     .argument_count = 1};
	wb_consumption wish = what;
	stage *s = *state;

	stream_make(s);
	wish.queue = wb_str_from(s->stream);
	stage_connect(s, &s->consumer);
	assert_ok(wb_broker_consume_as(s->consumer.broker, &wish, 5, &s->err),
		  s->err);
	/* RabbitMQ closes the channel, or the connection: gone it is. */
	for (int i = 0; i < 1000; i++) {
		witness_step(&s->consumer);
		if (witness_count(&s->consumer, WB_BROKER_CANCELLED) +
		    witness_count(&s->consumer, WB_BROKER_DOWN))
			return;
		s->fixture->wait(s->fixture->ctx, s->consumer.broker);
	}
	fail_msg("the consumer lives");
}

#define CASE(name) {#name, name}

const conformance_case conformance_streams[] = {
	CASE(a_stream_is_read_again_and_again),
	CASE(a_stream_is_read_from_an_offset),
	CASE(a_stream_has_no_offset_of_that_name),
	{NULL, NULL},
};
