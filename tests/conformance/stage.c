/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the conformance tests stand on: connections, names, waiting. Every wait
 * ends: by what was awaited, or by a failed test after STAGE_TIMEOUT_US of the
 * fixture's time. A stage deletes at its end what it has declared.
 */
#include <stdlib.h>
#include <unistd.h>

#include "tests/conformance/conformance.h"

void stage_await(stage *s, witness *w, wb_broker_event_kind kind, size_t count)
{
	const conformance_fixture *f = s->fixture;
	int64_t end_us = f->now_us(f->ctx) + STAGE_TIMEOUT_US;

	for (;;) {
		witness_step(w);
		if (witness_count(w, kind) >= count)
			return;
		if (f->now_us(f->ctx) > end_us)
			break;
		f->wait(f->ctx, w->broker);
	}
	for (size_t i = 0; i < w->count && i < WITNESS_MAX; i++)
		print_error("event %zu: kind %d token %d reply %d code %s\n", i,
			    (int)w->events[i].kind, (int)w->events[i].token,
			    (int)w->events[i].reply_code,
			    wb_code_name(w->events[i].code));
	fail_msg("%zu events of kind %d were awaited, %zu came", count,
		 (int)kind, witness_count(w, kind));
}

void stage_quiet(stage *s, witness *w)
{
	const conformance_fixture *f = s->fixture;
	int64_t end_us = f->now_us(f->ctx) + STAGE_QUIET_US;

	while (f->now_us(f->ctx) < end_us) {
		witness_step(w);
		f->wait(f->ctx, w->broker);
	}
}

void stage_connect(stage *s, witness *w)
{
	const conformance_fixture *f = s->fixture;

	assert_ok(f->make(f->ctx, &w->broker, &s->err), s->err);
	assert_ok(wb_broker_connect(w->broker, &s->err), s->err);
	stage_await(s, w, WB_BROKER_UP, 1);
	witness_clear(w);
}

uint16_t stage_declare(stage *s, const wb_declaration *what)
{
	witness *w = &s->publisher;
	size_t before = witness_count(w, WB_BROKER_DECLARED);
	size_t failed = witness_count(w, WB_BROKER_DECLARE_FAILED);
	const witness_event *event;
	int turns = 0;

	assert_ok(wb_broker_declare(w->broker, what, 77, &s->err), s->err);
	while (witness_count(w, WB_BROKER_DECLARED) == before) {
		witness_step(w);
		event = witness_get(w, WB_BROKER_DECLARE_FAILED, failed);
		if (event) {
			assert_int_equal(event->token, 77);
			assert_int_not_equal(event->code, WB_OK);
			return event->reply_code;
		}
		assert_true(turns++ < 10000);
		s->fixture->wait(s->fixture->ctx, w->broker);
	}
	event = witness_get(w, WB_BROKER_DECLARED, before);
	assert_int_equal(event->token, 77);
	return 0;
}

void stage_exchange(stage *s, const char *name, const char *type)
{
	const wb_declaration what = {
		.kind = WB_TOPOLOGY_EXCHANGE,
		.name = wb_str_from(name),
		.exchange_type = wb_str_from(type),
	};

	assert_int_equal(stage_declare(s, &what), 0);
}

void stage_queue(stage *s, const char *name, const wb_argument *arguments,
		 size_t count)
{
	const wb_declaration what = {
		.kind = WB_TOPOLOGY_QUEUE,
		.name = wb_str_from(name),
		.arguments = arguments,
		.argument_count = count,
	};

	assert_int_equal(stage_declare(s, &what), 0);
}

void stage_bind(stage *s, const char *queue, const char *exchange,
		const char *key)
{
	const wb_declaration what = {
		.kind = WB_TOPOLOGY_BINDING,
		.name = wb_str_from(queue),
		.exchange = wb_str_from(exchange),
		.binding_key = wb_str_from(key),
	};

	assert_int_equal(stage_declare(s, &what), 0);
}

wb_code stage_publish(stage *s, const char *exchange, const char *key,
		      uint64_t token)
{
	char id[32];
	int len = snprintf(id, sizeof(id), "m%d", (int)token);
	const wb_message message = {
		.exchange = wb_str_from(exchange),
		.routing_key = wb_str_from(key),
		.message_id = wb_str_n(id, (size_t)len),
		.persistent = true,
		.body = S("body"),
	};

	return wb_broker_publish(s->publisher.broker, &message, token, &s->err);
}

size_t stage_settled(const witness *w)
{
	return witness_count(w, WB_BROKER_ACKED) +
	       witness_count(w, WB_BROKER_NACKED) +
	       witness_count(w, WB_BROKER_RETURNED);
}

size_t stage_outcomes(const witness *w, uint64_t token)
{
	size_t found = 0;

	for (size_t i = 0; i < w->count && i < WITNESS_MAX; i++)
		found += w->events[i].token == token &&
			 (w->events[i].kind == WB_BROKER_ACKED ||
			  w->events[i].kind == WB_BROKER_NACKED ||
			  w->events[i].kind == WB_BROKER_RETURNED);
	return found;
}

void stage_fill(stage *s, uint64_t first, uint64_t last)
{
	witness *w = &s->publisher;
	size_t acked = witness_count(w, WB_BROKER_ACKED);

	for (uint64_t i = first; i <= last; i++)
		assert_ok(stage_publish(s, s->exchange, "any.key", i), s->err);
	wb_broker_flush(w->broker);
	stage_await(s, w, WB_BROKER_ACKED, acked + (last - first + 1));
}

void stage_consume(stage *s, uint16_t prefetch)
{
	witness *w = &s->consumer;

	if (!w->broker)
		stage_connect(s, w);
	assert_ok(wb_broker_consume(w->broker, wb_str_from(s->queue), prefetch,
				    5, &s->err),
		  s->err);
	stage_await(s, w, WB_BROKER_CONSUMING, 1);
	assert_int_equal(witness_get(w, WB_BROKER_CONSUMING, 0)->token, 5);
}

void stage_assert_delivery(const witness *w, size_t index, uint64_t token,
			   bool redelivered)
{
	const witness_event *e = witness_get(w, WB_BROKER_DELIVERY, index);
	char id[32];

	snprintf(id, sizeof(id), "m%d", (int)token);
	assert_non_null(e);
	assert_string_equal(e->id, id);
	assert_int_equal(e->redelivered, redelivered);
}

/* ---- the runner -------------------------------------------------------- */

static int stage_setup(void **state)
{
	const conformance_fixture *fixture = *state;
	stage *s = calloc(1, sizeof(*s));
	int64_t now_us = fixture->now_us(fixture->ctx);

	assert_non_null(s);
	s->fixture = fixture;
	snprintf(s->exchange, sizeof(s->exchange), "wb-x-%d-%d", (int)getpid(),
		 (int)(now_us % 1000000000));
	snprintf(s->queue, sizeof(s->queue), "wb-q-%d-%d", (int)getpid(),
		 (int)(now_us % 1000000000));
	stage_connect(s, &s->publisher);
	stage_exchange(s, s->exchange, "topic");
	stage_queue(s, s->queue, NULL, 0);
	stage_bind(s, s->queue, s->exchange, "#");
	witness_clear(&s->publisher);
	*state = s;
	return 0;
}

static int stage_teardown(void **state)
{
	stage *s = *state;
	const conformance_fixture *f = s->fixture;

	wb_broker_free(s->publisher.broker);
	wb_broker_free(s->consumer.broker);
	f->delete_queue(f->ctx, s->queue);
	if (s->stream[0])
		f->delete_queue(f->ctx, s->stream);
	f->delete_exchange(f->ctx, s->exchange);
	free(s);
	return 0;
}

enum { STAGE_CASES_MAX = 128 };

static size_t stage_add(struct CMUnitTest *tests, size_t count,
			const conformance_case *cases,
			const conformance_fixture *fixture)
{
	for (; cases->name && count < STAGE_CASES_MAX; cases++)
		tests[count++] = (struct CMUnitTest){
			.name = cases->name,
			.test_func = cases->run,
			.setup_func = stage_setup,
			.teardown_func = stage_teardown,
			.initial_state = (void *)(uintptr_t)fixture,
		};
	return count;
}

int conformance_run(const conformance_fixture *fixture)
{
	struct CMUnitTest tests[STAGE_CASES_MAX];
	size_t count = 0;

	count = stage_add(tests, count, conformance_publishing, fixture);
	count = stage_add(tests, count, conformance_declaring, fixture);
	count = stage_add(tests, count, conformance_consuming, fixture);
	count = stage_add(tests, count, conformance_streams, fixture);
	return _cmocka_run_group_tests(fixture->name, tests, count, NULL, NULL);
}
