/* SPDX-License-Identifier: BSD-2-Clause */
/* Conformance: what becomes of a declaration. */
#include "tests/conformance/conformance.h"

static void an_exchange_is_created_checked_and_held_to_its_type(void **state)
{
	stage *s = *state;
	wb_declaration what = {
		.kind = WB_TOPOLOGY_EXCHANGE,
		.name = wb_str_from(s->exchange),
		.exchange_type = S("topic"),
	};

	assert_int_equal(stage_declare(s, &what), 0);
	what.check_only = true;
	assert_int_equal(stage_declare(s, &what), 0);
	what.name = S("wb-no-such-exchange");
	assert_int_equal(stage_declare(s, &what), 404);
	what.name = wb_str_from(s->exchange);
	what.check_only = false;
	what.exchange_type = S("fanout");
	assert_int_equal(stage_declare(s, &what), 406);
	what.exchange_type = S("topic");
	assert_int_equal(stage_declare(s, &what), 0);
}

/* By this a queue is known to belong to one store: inbox/ingest_topology.c. */
static void an_exchange_is_held_to_its_alternate_exchange(void **state)
{
	stage *s = *state;
	wb_argument argument = {.name = S("alternate-exchange"),
				.text = S("0192aaaa-1111")};
	char name[64];
	wb_declaration what = {
		.kind = WB_TOPOLOGY_EXCHANGE,
		.exchange_type = S("fanout"),
		.arguments = &argument,
		.argument_count = 1,
	};

	snprintf(name, sizeof(name), "%s-owned", s->exchange);
	what.name = wb_str_from(name);
	assert_int_equal(stage_declare(s, &what), 0);
	assert_int_equal(stage_declare(s, &what), 0);
	argument.text = S("0192bbbb-2222");
	assert_int_equal(stage_declare(s, &what), 406);
	assert_non_null(strstr(s->publisher.refusal,
			       "inequivalent arg 'alternate-exchange'"));
	assert_non_null(strstr(s->publisher.refusal,
			       "received '0192bbbb-2222' but current is "
			       "'0192aaaa-1111'"));
	what.argument_count = 0;
	assert_int_equal(stage_declare(s, &what), 406);
	what.check_only = true;
	assert_int_equal(stage_declare(s, &what), 0);
	assert_true(s->fixture->delete_exchange(s->fixture->ctx, name));
}

static void a_queue_is_created_checked_and_held_to_its_arguments(void **state)
{
	stage *s = *state;
	const wb_argument arguments[] = {
		{.name = S("x-max-length"), .is_number = true, .number = 3},
		{.name = S("x-single-active-consumer"),
		 .is_bool = true,
		 .number = 1},
	};
	char name[64];
	wb_declaration what = {
		.kind = WB_TOPOLOGY_QUEUE,
		.name = wb_str_from(s->queue),
	};

	assert_int_equal(stage_declare(s, &what), 0);
	what.arguments = arguments;
	what.argument_count = 1;
	assert_int_equal(stage_declare(s, &what), 406);
	assert_non_null(strstr(s->publisher.refusal,
			       "inequivalent arg 'x-max-length' for queue"));
	assert_non_null(strstr(s->publisher.refusal,
			       "received the value '3' of type 'long' but "
			       "current is none"));
	what.check_only = true;
	assert_int_equal(stage_declare(s, &what), 0);
	snprintf(name, sizeof(name), "%s-second", s->queue);
	what.name = wb_str_from(name);
	assert_int_equal(stage_declare(s, &what), 404);
	what.check_only = false;
	what.argument_count = 2;
	assert_int_equal(stage_declare(s, &what), 0);
	assert_int_equal(stage_declare(s, &what), 0);
	assert_true(s->fixture->delete_queue(s->fixture->ctx, name));
}

static void a_binding_needs_both_its_ends(void **state)
{
	stage *s = *state;
	wb_declaration what = {
		.kind = WB_TOPOLOGY_BINDING,
		.name = wb_str_from(s->queue),
		.exchange = wb_str_from(s->exchange),
		.binding_key = S("a.*"),
	};

	assert_int_equal(stage_declare(s, &what), 0);
	assert_int_equal(stage_declare(s, &what), 0);
	what.exchange = S("wb-no-such-exchange");
	assert_int_equal(stage_declare(s, &what), 404);
	what.exchange = wb_str_from(s->exchange);
	what.name = S("wb-no-such-queue");
	assert_int_equal(stage_declare(s, &what), 404);
}

static void a_binding_cannot_be_checked(void **state)
{
	stage *s = *state;
	const wb_declaration what = {
		.kind = WB_TOPOLOGY_BINDING,
		.name = wb_str_from(s->queue),
		.exchange = wb_str_from(s->exchange),
		.check_only = true,
	};

	assert_code(wb_broker_declare(s->publisher.broker, &what, 1, &s->err),
		    WB_EINVAL, s->err);
}

static void declarations_are_answered_in_order(void **state)
{
	stage *s = *state;
	witness *w = &s->publisher;
	wb_declaration what = {
		.kind = WB_TOPOLOGY_EXCHANGE,
		.check_only = true,
	};
	size_t seen = 0;

	for (uint64_t i = 0; i < 9; i++) {
		what.name = i % 3 == 1 ? S("wb-no-such-exchange")
				       : wb_str_from(s->exchange);
		assert_ok(wb_broker_declare(w->broker, &what, i, &s->err),
			  s->err);
	}
	stage_await(s, w, WB_BROKER_DECLARED, 6);
	stage_await(s, w, WB_BROKER_DECLARE_FAILED, 3);
	for (size_t i = 0; i < w->count; i++, seen++) {
		assert_int_equal(w->events[i].token, i);
		assert_int_equal(w->events[i].kind,
				 i % 3 == 1 ? WB_BROKER_DECLARE_FAILED
					    : WB_BROKER_DECLARED);
	}
	assert_int_equal(seen, 9);
}

static void a_refused_declaration_disturbs_no_publish(void **state)
{
	stage *s = *state;
	witness *w = &s->publisher;
	const wb_declaration what = {
		.kind = WB_TOPOLOGY_EXCHANGE,
		.name = S("wb-no-such-exchange"),
		.check_only = true,
	};

	for (uint64_t i = 1; i <= 50; i++) {
		assert_ok(stage_publish(s, s->exchange, "a", i), s->err);
		if (i == 25)
			assert_ok(wb_broker_declare(w->broker, &what, 99,
						    &s->err),
				  s->err);
	}
	wb_broker_flush(w->broker);
	stage_await(s, w, WB_BROKER_DECLARE_FAILED, 1);
	stage_await(s, w, WB_BROKER_ACKED, 50);
	assert_int_equal(witness_count(w, WB_BROKER_CHANNEL_CLOSED), 0);
}

#define CASE(name)                                                             \
	{                                                                      \
#name, name                                                    \
	}

const conformance_case conformance_declaring[] = {
	CASE(an_exchange_is_created_checked_and_held_to_its_type),
	CASE(an_exchange_is_held_to_its_alternate_exchange),
	CASE(a_queue_is_created_checked_and_held_to_its_arguments),
	CASE(a_binding_needs_both_its_ends),
	CASE(a_binding_cannot_be_checked),
	CASE(declarations_are_answered_in_order),
	CASE(a_refused_declaration_disturbs_no_publish),
	{NULL, NULL},
};
