/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the memory broker does not take, from a script and over a connection:
 * with RabbitMQ's reply codes where there is such a thing, and its limits.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/broker-adapters/memory/world.h"
#include "tests/support/testing.h"

#include "broker-adapters/memory/model.h"
#include "lib/base/assert.h"

/* One byte too long. */
static const char *long_name(void)
{
	static char name[WBI_MEM_NAME_MAX + 2];

	memset(name, 'x', sizeof(name) - 1);
	return name;
}

/* The reply code that a declaration is answered with; 0: it is done. */
static uint16_t declare(world *x, const wb_declaration *what)
{
	const witness_event *refused;

	witness_clear(&x->w);
	assert_ok(wb_broker_declare(x->w.broker, what, 1, &x->err), x->err);
	witness_step(&x->w);
	refused = witness_get(&x->w, WB_BROKER_DECLARE_FAILED, 0);
	assert_true(refused || witness_count(&x->w, WB_BROKER_DECLARED) == 1);
	return refused ? refused->reply_code : 0;
}

static void make_queue(world *x, const char *name, const char *type)
{
	const wb_argument argument = {.name = S("x-queue-type"),
				      .text = wb_str_from(type)};
	const wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE,
				      .name = wb_str_from(name),
				      .arguments = &argument,
				      .argument_count = 1};

	assert_int_equal(declare(x, &queue), 0);
}

/* ---- by script ----------------------------------------------------------- */

static void settings_that_contradict_themselves_are_refused(void **state)
{
	world *x = *state;
	wb_memory_settings s = WB_MEMORY_SETTINGS_INIT;
	wb_memory_chaos chaos = WB_MEMORY_CHAOS_INIT;

	s.size = 1;
	assert_code(wb_memory_set(x->memory, &s, &x->err), WB_EINVAL, x->err);
	s = (wb_memory_settings)WB_MEMORY_SETTINGS_INIT;
	s.confirm_min_us = 2;
	s.confirm_max_us = 1;
	assert_code(wb_memory_set(x->memory, &s, &x->err), WB_EINVAL, x->err);
	chaos.size = 1;
	assert_code(wb_memory_set_chaos(x->memory, &chaos, &x->err), WB_EINVAL,
		    x->err);
	/* Zeros are the standard. */
	memset(&s, 0, sizeof(s));
	s.size = sizeof(s);
	assert_ok(wb_memory_set(x->memory, &s, &x->err), x->err);
	make_queue(x, "q", "classic");
}

static void a_cut_needs_a_connection_of_this_broker(void **state)
{
	world *x = *state;
	wb_memory_cut_options cut = WB_MEMORY_CUT_INIT;
	wb_memory *other = NULL;
	wb_broker *stranger = NULL;

	assert_ok(wb_memory_new(NULL, NULL, &other, &x->err), x->err);
	assert_ok(wb_memory_connect(other, &stranger, &x->err), x->err);
	cut.connection = stranger;
	assert_code(wb_memory_cut(x->memory, &cut, &x->err), WB_EINVAL, x->err);
	cut.connection = x->w.broker;
	cut.size = 1;
	assert_code(wb_memory_cut(x->memory, &cut, &x->err), WB_EINVAL, x->err);
	cut.size = sizeof(cut);
	cut.after_us = UINT64_MAX; /* never */
	for (int i = 0; i < WB_MEMORY_CUTS_MAX; i++)
		assert_ok(wb_memory_cut(x->memory, &cut, &x->err), x->err);
	assert_code(wb_memory_cut(x->memory, &cut, &x->err), WB_ELIMIT, x->err);
	witness_step(&x->w);
	assert_int_equal(x->w.count, 0);
	wb_broker_free(stranger);
	wb_memory_free(other);
}

static void what_is_not_there_cannot_be_changed(void **state)
{
	world *x = *state;

	make_queue(x, "gone", "stream");
	make_queue(x, "plain", "classic");
	assert_ok(wb_memory_skip_offsets(x->memory, "gone", 5, &x->err),
		  x->err);
	assert_ok(wb_memory_delete_queue(x->memory, "gone", &x->err), x->err);
	assert_code(wb_memory_delete_queue(x->memory, "gone", &x->err),
		    WB_ENOTFOUND, x->err);
	assert_code(wb_memory_delete_queue(x->memory, "never", &x->err),
		    WB_ENOTFOUND, x->err);
	assert_code(wb_memory_skip_offsets(x->memory, "gone", 1, &x->err),
		    WB_ENOTFOUND, x->err);
	assert_code(wb_memory_skip_offsets(x->memory, "never", 1, &x->err),
		    WB_ENOTFOUND, x->err);
	assert_code(wb_memory_skip_offsets(x->memory, "plain", 1, &x->err),
		    WB_ENOTFOUND, x->err);
	assert_code(wb_memory_hide_exchange(x->memory, "never", 1, &x->err),
		    WB_ENOTFOUND, x->err);
	assert_code(wb_memory_delete_exchange(x->memory, "never", &x->err),
		    WB_ENOTFOUND, x->err);
	assert_null(wb_memory_arrival(x->memory, "never", 0));
	assert_null(wb_memory_arrival(x->memory, "plain", 0));
	assert_int_equal(wb_memory_get_queue_stat(x->memory, "never").arrived,
			 0);
}

static void an_exchange_is_made_of_a_name_and_a_type(void **state)
{
	world *x = *state;
	char name[16];
	int made = 4; /* those that are given */

	assert_code(wb_memory_create_exchange(x->memory, long_name(), "topic",
					      &x->err),
		    WB_ELIMIT, x->err);
	assert_code(
		wb_memory_create_exchange(x->memory, "e", "headers", &x->err),
		WB_EINVAL, x->err);
	assert_code(wb_memory_create_exchange(x->memory, "amq.topic", "fanout",
					      &x->err),
		    WB_EMISMATCH, x->err);
	for (; made < WB_MEMORY_EXCHANGES_MAX; made++) {
		snprintf(name, sizeof(name), "e%d", made);
		assert_ok(wb_memory_create_exchange(x->memory, name, "topic",
						    &x->err),
			  x->err);
	}
	assert_code(wb_memory_create_exchange(x->memory, "e", "topic", &x->err),
		    WB_ELIMIT, x->err);
}

/* For ever: until it is shown again. */
static void an_exchange_may_be_hidden_for_ever(void **state)
{
	world *x = *state;
	const wb_message message = {.exchange = S("amq.fanout"),
				    .body = S("x")};
	const wb_declaration check = {.kind = WB_TOPOLOGY_EXCHANGE,
				      .name = S("amq.fanout"),
				      .check_only = true};

	assert_ok(wb_memory_hide_exchange(x->memory, "amq.fanout", UINT64_MAX,
					  &x->err),
		  x->err);
	fake_clock_advance_us(&x->clock, INT64_C(3600000000) * 24 * 365);
	assert_code(wb_memory_put(x->memory, &message, &x->err), WB_ENOTFOUND,
		    x->err);
	assert_int_equal(declare(x, &check), 404);
}

static void a_message_for_nobody_is_not_put(void **state)
{
	world *x = *state;
	wb_argument arguments[] = {
		{.name = S("x-max-length"), .is_number = true, .number = 1},
		{.name = S("x-overflow"), .text = S("reject-publish")}};
	const wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE,
				      .name = S("small"),
				      .arguments = arguments,
				      .argument_count = 2};
	wb_message message = {.exchange = S("never"), .body = S("x")};

	assert_code(wb_memory_put(x->memory, &message, &x->err), WB_ENOTFOUND,
		    x->err);
	message.exchange = WB_STR_NULL; /* the default exchange */
	assert_code(wb_memory_put(x->memory, &message, &x->err), WB_ENOTFOUND,
		    x->err);
	message.routing_key = S("small");
	assert_code(wb_memory_put(x->memory, &message, &x->err), WB_ENOTFOUND,
		    x->err);
	assert_int_equal(declare(x, &queue), 0);
	assert_ok(wb_memory_put(x->memory, &message, &x->err), x->err);
	assert_code(wb_memory_put(x->memory, &message, &x->err), WB_EAGAIN,
		    x->err);
	assert_null(wb_memory_header(&message, "none").ptr);
}

static void there_are_only_so_many_connections(void **state)
{
	world *x = *state;
	wb_broker *more[WB_MEMORY_CONNECTIONS_MAX];
	size_t count = 0;

	while (wb_memory_connect(x->memory, &more[count], &x->err) == WB_OK)
		count++;
	assert_code(x->err.code, WB_ELIMIT, x->err);
	assert_int_equal(count, WB_MEMORY_CONNECTIONS_MAX - 1);
	while (count > 0)
		wb_broker_free(more[--count]);
}

/* ---- over a connection --------------------------------------------------- */

static void a_declaration_is_refused_as_rabbitmq_does(void **state)
{
	const struct {
		wb_declaration what;
		uint16_t reply;
	} cases[] = {
		{{.kind = WB_TOPOLOGY_EXCHANGE,
		  .name = S("e"),
		  .exchange_type = S("headers")},
		 503},
		{{.kind = WB_TOPOLOGY_EXCHANGE,
		  .name = S("amq.topic"),
		  .exchange_type = S("direct")},
		 406},
		{{.kind = WB_TOPOLOGY_EXCHANGE,
		  .name = S("e"),
		  .check_only = true},
		 404},
		{{.kind = WB_TOPOLOGY_QUEUE,
		  .name = S("never"),
		  .check_only = true},
		 404},
		{{.kind = WB_TOPOLOGY_QUEUE,
		  .name = S("gone"),
		  .check_only = true},
		 404},
		{{.kind = WB_TOPOLOGY_BINDING, .name = S("q")}, 403},
		{{.kind = WB_TOPOLOGY_BINDING,
		  .name = S("never"),
		  .exchange = S("amq.topic")},
		 404},
		{{.kind = WB_TOPOLOGY_BINDING,
		  .name = S("gone"),
		  .exchange = S("amq.topic")},
		 404},
		{{.kind = WB_TOPOLOGY_BINDING,
		  .name = S("q"),
		  .exchange = S("never")},
		 404},
		{{.kind = WB_TOPOLOGY_BINDING,
		  .name = S("q"),
		  .exchange = S("amq.topic"),
		  .binding_key = S("a.#")},
		 0},
		{{.kind = WB_TOPOLOGY_QUEUE,
		  .name = S("q"),
		  .check_only = true},
		 0},
	};
	world *x = *state;

	make_queue(x, "q", "classic");
	make_queue(x, "gone", "classic");
	assert_ok(wb_memory_delete_queue(x->memory, "gone", &x->err), x->err);
	for (size_t i = 0; i < WBI_COUNT(cases); i++)
		assert_int_equal(declare(x, &cases[i].what), cases[i].reply);
}

/* In RabbitMQ's words, which people look for. */
static void
a_queue_with_other_arguments_names_the_first_that_differs(void **state)
{
	const wb_argument b = {.name = S("b"), .is_number = true, .number = 1},
			  b_two = {.name = S("b"),
				   .is_number = true,
				   .number = 2},
			  a = {.name = S("a"), .text = S("x")},
			  c = {.name = S("c"), .is_bool = true, .number = 1};
	const struct {
		wb_argument arguments[2];
		size_t count;
		const char *words;
	} cases[] = {
		{{b_two},
		 1,
		 "'b' for queue 'q' in vhost '/': received the value '2' of "
		 "type 'long' but current is the value '1' of type 'long'"},
		{{b, a},
		 2,
		 "'a' for queue 'q' in vhost '/': received the value 'x' of "
		 "type 'longstr' but current is none"},
		{{c, b},
		 2,
		 "'c' for queue 'q' in vhost '/': received the value 'true' of "
		 "type 'bool' but current is none"},
		{{b},
		 0,
		 "'b' for queue 'q' in vhost '/': received none but current is "
		 "the value '1' of type 'long'"},
		{{c},
		 1,
		 "'b' for queue 'q' in vhost '/': received none but current is "
		 "the value '1' of type 'long'"},
	};
	world *x = *state;
	wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE,
				.name = S("q"),
				.arguments = &b,
				.argument_count = 1};

	assert_int_equal(declare(x, &queue), 0);
	assert_int_equal(declare(x, &queue), 0);
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		queue.arguments = cases[i].arguments;
		queue.argument_count = cases[i].count;
		assert_int_equal(declare(x, &queue), 406);
		if (!strstr(x->w.refusal, cases[i].words))
			fail_msg("%s", x->w.refusal);
	}
}

static void names_that_amqp_cannot_carry_are_refused_at_once(void **state)
{
	world *x = *state;
	wb_str name = wb_str_from(long_name());
	const wb_declaration wrong[] = {
		{.kind = WB_TOPOLOGY_QUEUE},
		{.kind = WB_TOPOLOGY_QUEUE, .name = name},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = S("q"),
		 .exchange = name},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = S("q"),
		 .binding_key = name},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = S("q"),
		 .check_only = true},
	};
	const wb_consumption consumptions[] = {
		{.queue = S("q")}, {.prefetch = 1}, {name, .prefetch = 1}};
	wb_broker *broker = x->w.broker;

	for (size_t i = 0; i < WBI_COUNT(wrong); i++)
		assert_code(wb_broker_declare(broker, &wrong[i], 1, &x->err),
			    WB_EINVAL, x->err);
	for (size_t i = 0; i < WBI_COUNT(consumptions); i++)
		assert_code(wb_broker_consume_as(broker, &consumptions[i], 1,
						 &x->err),
			    WB_EINVAL, x->err);
	witness_step(&x->w);
	assert_int_equal(x->w.count, 0);
}

static void a_call_in_the_wrong_state_does_no_harm(void **state)
{
	world *x = *state;
	const wb_consumption consumption = {.queue = S("q"), .prefetch = 5};
	const wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE,
				      .name = S("q")};
	wb_broker *broker = x->w.broker;

	make_queue(x, "q", "classic");
	assert_code(wb_broker_reopen(broker, &x->err), WB_ESTATE, x->err);
	assert_code(wb_broker_ack(broker, 7, false, &x->err), WB_EINVAL,
		    x->err);
	assert_ok(wb_broker_consume_as(broker, &consumption, 1, &x->err),
		  x->err);
	assert_code(wb_broker_consume_as(broker, &consumption, 2, &x->err),
		    WB_ESTATE, x->err);
	witness_step(&x->w);
	wb_broker_close(broker);
	wb_broker_close(broker);
	assert_code(wb_broker_declare(broker, &queue, 1, &x->err), WB_ESTATE,
		    x->err);
	assert_code(wb_broker_consume_as(broker, &consumption, 1, &x->err),
		    WB_ESTATE, x->err);
	assert_code(wb_broker_reopen(broker, &x->err), WB_ESTATE, x->err);
	witness_step(&x->w);
	wb_broker_close(broker);
	assert_int_equal(witness_count(&x->w, WB_BROKER_DOWN), 1);
}

static void queues_and_bindings_have_an_end(void **state)
{
	wb_declaration what = {.kind = WB_TOPOLOGY_QUEUE};
	world *x = *state;
	char text[16];

	what.name = wb_str_n(text, 4);
	for (int i = 0; i < WB_MEMORY_QUEUES_MAX; i++) {
		snprintf(text, sizeof(text), "%04d", i);
		assert_int_equal(declare(x, &what), 0);
	}
	what.name = S("one more");
	assert_int_equal(declare(x, &what), 506);
	what.kind = WB_TOPOLOGY_BINDING;
	what.name = S("0000");
	what.exchange = S("amq.topic");
	what.binding_key = wb_str_n(text, 4);
	for (int i = 0; i < WB_MEMORY_BINDINGS_MAX; i++) {
		snprintf(text, sizeof(text), "%04d", i);
		assert_int_equal(declare(x, &what), 0);
	}
	assert_int_equal(declare(x, &what), 0); /* it is there */
	what.binding_key = S("one more");
	assert_int_equal(declare(x, &what), 506);
}

/* ---- streams ------------------------------------------------------------- */

static void put_many(world *x, int count)
{
	const wb_message message = {.routing_key = S("s"), .body = S("x")};

	for (int i = 0; i < count; i++)
		assert_ok(wb_memory_put(x->memory, &message, &x->err), x->err);
}

/* The offset of the first delivery of who asks for this one; -1: none. */
static int64_t first_offset(world *x, const wb_argument *from, size_t count)
{
	const wb_consumption consumption = {S("s"), 100, from, count};
	const witness_event *got;
	int64_t offset = -1;

	witness_clear(&x->w);
	assert_ok(wb_broker_connect(x->w.broker, &x->err), x->err);
	witness_step(&x->w);
	assert_ok(wb_broker_consume_as(x->w.broker, &consumption, 1, &x->err),
		  x->err);
	for (int i = 0; i < 3; i++)
		witness_step(&x->w);
	got = witness_get(&x->w, WB_BROKER_DELIVERY, 0);
	if (got)
		offset = got->offset;
	wb_broker_close(x->w.broker);
	for (int i = 0; i < 3; i++)
		witness_step(&x->w);
	return offset;
}

static void a_stream_is_read_from_where_it_is_asked_for(void **state)
{
#define AT(n)                                                                  \
	{                                                                      \
		.name = S(WB_STREAM_OFFSET), .is_number = true, .number = (n)  \
	}
#define FROM(word)                                                             \
	{                                                                      \
		.name = S(WB_STREAM_OFFSET), .text = S(word)                   \
	}
	const struct {
		wb_argument from;
		int64_t first;
	} cases[] = {
		{AT(0), 0},
		{AT(7), 7},
		{AT(-3), 0},
		{AT(1000), -1},
		{FROM("first"), 0},
		{FROM("last"), 9},
		{FROM("next"), -1},
		{FROM("yesterday"), -1},
		{{.name = S("x-priority"), .is_number = true}, -1},
	};
	world *x = *state;

	make_queue(x, "s", "stream");
	put_many(x, 10);
	wb_broker_close(x->w.broker);
	witness_step(&x->w);
	for (size_t i = 0; i < WBI_COUNT(cases); i++)
		if (first_offset(x, &cases[i].from, 1) != cases[i].first)
			fail_msg("case %zu", i);
	assert_int_equal(first_offset(x, NULL, 0), -1);
}

static void an_empty_stream_has_no_last_one(void **state)
{
	const wb_argument from[] = {FROM("last"), AT(5)};
	world *x = *state;

	make_queue(x, "s", "stream");
	wb_broker_close(x->w.broker);
	witness_step(&x->w);
	assert_int_equal(first_offset(x, &from[0], 1), -1);
	assert_int_equal(first_offset(x, &from[1], 1), -1);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(settings_that_contradict_themselves_are_refused),
		T(a_cut_needs_a_connection_of_this_broker),
		T(what_is_not_there_cannot_be_changed),
		T(an_exchange_is_made_of_a_name_and_a_type),
		T(an_exchange_may_be_hidden_for_ever),
		T(a_message_for_nobody_is_not_put),
		T(there_are_only_so_many_connections),
		T(a_declaration_is_refused_as_rabbitmq_does),
		T(a_queue_with_other_arguments_names_the_first_that_differs),
		T(names_that_amqp_cannot_carry_are_refused_at_once),
		T(a_call_in_the_wrong_state_does_no_harm),
		T(queues_and_bindings_have_an_end),
		T(a_stream_is_read_from_where_it_is_asked_for),
		T(an_empty_stream_has_no_last_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
