/* SPDX-License-Identifier: BSD-2-Clause */
/* Ingest: each event once, whatever is cut, killed or sent again. */
#include "tests/inbox/ingest_rig.h"
#include "tests/support/testing.h"

static void events_are_committed_then_acked(void **state)
{
	test_place *place = *state;
	wbi_ingest_stat stat;
	ingest_rig rig;
	char where[128];

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 1000);
	ingest_rig_settle(&rig);
	ingest_rig_assert_each_once(&rig, 1000);
	stat = ingest_rig_stat(&rig);
	assert_int_equal(stat.received, 1000);
	assert_int_equal(stat.appended, 1000);
	assert_int_equal(stat.acked, 1000);
	assert_int_equal(stat.duplicates, 0);
	assert_int_equal(stat.refused, 0);
	assert_int_equal(stat.connects, 1);
	assert_int_equal(stat.error.code, WB_OK);
	assert_true(rig.committed);
	assert_int_equal(ingest_rig_queue(&rig).acked, 1000);
	assert_int_equal(ingest_rig_status(&rig, where, 128).received, 1000);
	assert_string_equal(where, "/ q");
	ingest_rig_fini(&rig);
}

static void what_waits_is_taken_in_by_batches_of_the_limit(void **state)
{
	test_place *place = *state;
	uint64_t before = 0;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	rig.options.batch_max = 10;
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 200);
	for (int step = 0; before < 200; step++) {
		uint64_t now;

		ingest_rig_run(&rig, 1);
		now = ingest_rig_count(&rig);
		if (now != before)
			assert_int_equal(now - before, 10);
		before = now;
		assert_in_range(step, 0, 100);
	}
	ingest_rig_fini(&rig);
}

enum { CALM_MS = 1000, ACK_MS = 10 };

static void acks_of_a_connection_that_lasts_go_together(void **state)
{
	test_place *place = *state;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 1); /* a young one does not wait */
	ingest_rig_run(&rig, 2);
	assert_int_equal(ingest_rig_queue(&rig).acked, 1);
	ingest_rig_run(&rig, CALM_MS);
	for (unsigned i = 2; i <= ACK_MS; i++) {
		ingest_rig_fill(&rig, i, i);
		ingest_rig_run(&rig, 1);
		assert_int_equal(ingest_rig_count(&rig), i);
		assert_int_equal(ingest_rig_queue(&rig).acked, 1);
		assert_false(ingest_rig_stat(&rig).idle);
	}
	assert_in_range(wbi_ingest_deadline_us(rig.ingest), rig.clock.mono_us,
			rig.clock.mono_us + 1000);
	ingest_rig_run(&rig, 3);
	assert_int_equal(ingest_rig_queue(&rig).acked, ACK_MS);
	assert_true(ingest_rig_stat(&rig).idle);
	ingest_rig_fini(&rig);
}

static void acks_do_not_wait_while_the_broker_may(void **state)
{
	test_place *place = *state;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	rig.options.prefetch = 8;
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_run(&rig, CALM_MS);
	ingest_rig_fill(&rig, 1, 1);
	ingest_rig_run(&rig, 2);
	assert_int_equal(ingest_rig_count(&rig), 1);
	assert_int_equal(ingest_rig_queue(&rig).acked, 0);
	ingest_rig_fill(&rig, 2, 2); /* a quarter of the prefetch */
	ingest_rig_run(&rig, 2);
	assert_int_equal(ingest_rig_queue(&rig).acked, 2);
	/* Nor when it is told to stop. */
	ingest_rig_fill(&rig, 3, 3);
	ingest_rig_run(&rig, 1);
	assert_int_equal(ingest_rig_count(&rig), 3);
	wbi_ingest_stop(rig.ingest);
	ingest_rig_run(&rig, 2);
	assert_int_equal(ingest_rig_queue(&rig).acked, 3);
	ingest_rig_fini(&rig);
}

static void what_the_event_says_is_in_the_inbox(void **state)
{
	test_place *place = *state;
	const wb_header headers[] = {
		{S("ce-specversion"), S("1.0")},
		{S("ce-id"), S("e-1")},
		{S("ce-source"), S("/bank")},
		{S("ce-type"), S("charge.requested")},
		{S("ce-subject"), S("order/42")},
		{S("ce-partitionkey"), S("42")},
		{S("ce-wbsaga"), S("saga-1")},
		{S("ce-wbstep"), S("charge")},
		{S("ce-wbop"), S("do")},
		{S("ce-wbepoch"), S("3")},
		{S("ce-wbdeadline"), S("2026-01-01T00:00:00Z")},
		{S("ce-wborigin"), S("01900000-0000-7000-8000-000000000000")},
		{S("ce-wbposition"), S("77")},
		{S("ce-tenant"), S("t1")},
		{S("traceparent"), S("00-1-2-01")},
		{S("x-death"), S("many")},
	};
	const wb_message message = {
		.exchange = S("events"),
		.routing_key = S("charge.requested"),
		.message_id = S("e-1"),
		.correlation_id = S("c-1"),
		.reply_to = S("replies"),
		.content_type = S("application/json"),
		.headers = headers,
		.header_count = 16,
		.body = S("{\"a\": 0.1}"),
	};
	const wb_event *e;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_publish(&rig, &message);
	ingest_rig_settle(&rig);
	e = ingest_rig_event(&rig, 1);
	assert_true(wb_str_eq(e->id, S("e-1")));
	assert_true(wb_str_eq(e->source, S("/bank")));
	assert_true(wb_str_eq(e->key, S("42")));
	assert_true(wb_str_eq(e->subject, S("order/42")));
	assert_true(wb_str_eq(e->correlation_id, S("c-1")));
	assert_true(wb_str_eq(e->reply_to, S("replies")));
	assert_true(wb_str_eq(e->traceparent, S("00-1-2-01")));
	assert_true(wb_str_eq(e->data, S("{\"a\": 0.1}")));
	assert_int_equal(e->header_count, 8);
	assert_true(wb_str_eq(ingest_rig_header(e, "wbsaga"), S("saga-1")));
	assert_true(wb_str_eq(ingest_rig_header(e, "wbstep"), S("charge")));
	assert_true(wb_str_eq(ingest_rig_header(e, "wbop"), S("do")));
	assert_true(wb_str_eq(ingest_rig_header(e, "wbepoch"), S("3")));
	assert_true(wb_str_eq(ingest_rig_header(e, "wbdeadline"),
			      S("2026-01-01T00:00:00Z")));
	assert_true(wb_str_eq(ingest_rig_header(e, "tenant"), S("t1")));
	assert_true(wb_str_eq(ingest_rig_header(e, "wborigin"),
			      S("01900000-0000-7000-8000-000000000000")));
	assert_true(wb_str_eq(ingest_rig_header(e, "wbposition"), S("77")));
	ingest_rig_fini(&rig);
}

static void what_comes_twice_is_counted_and_kept_once(void **state)
{
	test_place *place = *state;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	wb_memory_duplicate_next(rig.memory, 150);
	ingest_rig_fill(&rig, 1, 300);
	ingest_rig_settle(&rig);
	ingest_rig_fill(&rig, 100, 400);
	ingest_rig_settle(&rig);
	ingest_rig_assert_each_once(&rig, 400);
	assert_int_equal(ingest_rig_stat(&rig).duplicates, 150 + 201);
	assert_int_equal(ingest_rig_stat(&rig).appended, 400);
	ingest_rig_fini(&rig);
}

/* The process dies after any number of steps, again and again. */
static void a_crash_at_any_step_loses_and_doubles_nothing(void **state)
{
	test_place *place = *state;
	uint64_t known;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 3);
	rig.options.batch_max = 7;
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 500);
	for (int steps = 1; ingest_rig_queue(&rig).acked < 500; steps++) {
		ingest_rig_kill(&rig);
		ingest_rig_start(&rig);
		ingest_rig_run(&rig, 9 + steps % 10);
		assert_in_range(steps, 1, 1000);
	}
	ingest_rig_settle(&rig);
	ingest_rig_assert_each_once(&rig, 500);
	/* Some of them died between commit and ack. */
	known = ingest_rig_status(&rig, (char[64]){0}, 64).duplicates;
	assert_true(known > 0);
	ingest_rig_fini(&rig);
}

static void a_cut_at_any_time_loses_and_doubles_nothing(void **state)
{
	test_place *place = *state;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 4);
	rig.options.batch_max = 20;
	rig.options.backoff_max_ms = 200;
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 1000);
	for (int i = 0; i < 60; i++) {
		wb_memory_cut_options cut = WB_MEMORY_CUT_INIT;

		cut.connection = rig.broker;
		cut.after_us = seeded_random_below(&rig.random, 30000);
		assert_int_equal(wb_memory_cut(rig.memory, &cut, NULL), WB_OK);
		ingest_rig_run(&rig, 40);
	}
	ingest_rig_settle(&rig);
	ingest_rig_assert_each_once(&rig, 1000);
	assert_true(ingest_rig_stat(&rig).connects > 10);
	ingest_rig_fini(&rig);
}

static void chaos_loses_and_doubles_nothing(void **state)
{
	test_place *place = *state;
	wb_memory_chaos chaos = WB_MEMORY_CHAOS_INIT;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 5);
	rig.options.prefetch = 30;
	rig.options.backoff_max_ms = 500;
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 2000);
	chaos.refuse = 300;
	chaos.duplicate = 100;
	assert_int_equal(wb_memory_set_chaos(rig.memory, &chaos, NULL), WB_OK);
	for (int i = 0; i < 50; i++) {
		wb_memory_cut_options cut = WB_MEMORY_CUT_INIT;

		if (i % 10 == 9)
			wb_memory_freeze(rig.memory, true);
		ingest_rig_run(&rig, 20);
		wb_memory_freeze(rig.memory, false);
		if (i % 3 == 0)
			wb_memory_close_channel(rig.memory, rig.broker, 406);
		cut.connection = rig.broker;
		if (i % 3 == 1)
			assert_int_equal(wb_memory_cut(rig.memory, &cut, NULL),
					 WB_OK);
		ingest_rig_run(&rig, 20);
	}
	wb_memory_set_chaos(rig.memory, NULL, NULL);
	ingest_rig_settle(&rig);
	ingest_rig_assert_each_once(&rig, 2000);
	assert_true(ingest_rig_stat(&rig).duplicates > 0);
	ingest_rig_fini(&rig);
}

static void a_deleted_queue_is_declared_again(void **state)
{
	test_place *place = *state;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 10);
	ingest_rig_settle(&rig);
	assert_int_equal(wb_memory_delete_queue(rig.memory, "q", NULL), WB_OK);
	ingest_rig_run(&rig, 5);
	assert_int_equal(ingest_rig_stat(&rig).state, WB_WORKER_DOWN);
	assert_non_null(strstr(ingest_rig_stat(&rig).error.text, "cancelled"));
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 11, 20);
	ingest_rig_settle(&rig);
	ingest_rig_assert_each_once(&rig, 20);
	assert_int_equal(ingest_rig_stat(&rig).error.code, WB_OK);
	ingest_rig_fini(&rig);
}

static void a_broker_that_is_away_is_asked_ever_more_rarely(void **state)
{
	test_place *place = *state;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	wb_memory_refuse_next(rig.memory, 1000000);
	ingest_rig_start(&rig);
	ingest_rig_run(&rig, 60000);
	assert_in_range(wb_memory_get_stat(rig.memory).refused, 8, 25);
	assert_int_equal(ingest_rig_stat(&rig).state, WB_WORKER_DOWN);
	assert_non_null(strstr(ingest_rig_stat(&rig).error.text,
			       "no connection: connection refused"));
	wb_memory_refuse_next(rig.memory, 0);
	ingest_rig_ready(&rig);
	ingest_rig_fini(&rig);
}

/* ---- stopping --------------------------------------------------------- */

static void stopping_acks_what_is_committed_and_leaves_the_rest(void **state)
{
	test_place *place = *state;
	wb_memory_queue_stat queue;
	ingest_rig rig;
	int turns = 0;

	ingest_rig_init(&rig, place->store, 1);
	rig.options.batch_max = 20;
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 1000);
	ingest_rig_run(&rig, 10);
	wbi_ingest_stop(rig.ingest);
	while (!wbi_ingest_stopped(rig.ingest)) {
		ingest_rig_run(&rig, 1);
		assert_in_range(turns++, 0, 100);
	}
	queue = ingest_rig_queue(&rig);
	assert_int_equal(queue.unacked, 0);
	assert_in_range(queue.acked, 100, 900);
	assert_int_equal(queue.acked, ingest_rig_count(&rig));
	assert_int_equal(ingest_rig_status(&rig, (char[64]){0}, 64).pid, 0);
	ingest_rig_kill(&rig);
	ingest_rig_start(&rig);
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_stat(&rig).duplicates, 0);
	ingest_rig_assert_each_once(&rig, 1000);
	ingest_rig_fini(&rig);
}

static void stopping_waits_for_no_broker_that_hangs(void **state)
{
	test_place *place = *state;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	wb_memory_freeze(rig.memory, true);
	wbi_ingest_stop(rig.ingest);
	ingest_rig_run(&rig, 600);
	assert_true(wbi_ingest_stopped(rig.ingest));
	ingest_rig_fini(&rig);
}

#define CASE(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)

/* Where a sender says that its event stands is kept if it can be. */
static void a_place_that_cannot_be_is_not_kept(void **state)
{
	static const char longest[] =
		"0123456789012345678901234567890123456789012345678901234567890";
	wb_str id = S("id-1"), undecoded = S(WB_HEADER_UNDECODED);
	wb_header headers[] = {
		{S("ce-specversion"), S("1.0")},
		{S("ce-id"), id},
		{S("ce-source"), S("/shop")},
		{S("ce-type"), S("order.placed")},
		{S("ce-wborigin"), wb_str_from(longest)},
		{S("ce-wbposition"), S("7")},
	};
	wb_message message = {.exchange = S("events"),
			      .routing_key = S("order.placed"),
			      .persistent = true,
			      .headers = headers,
			      .header_count = 6};
	test_place *place = *state;
	char long_text[400];
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_publish(&rig, &message);
	/* What did not come whole says so with as much as there is room for. */
	memset(long_text, 'x', sizeof(long_text));
	headers[5] = (wb_header){undecoded,
				 wb_str_n(long_text, sizeof(long_text))};
	ingest_rig_publish(&rig, &message);
	headers[5].value = WB_STR_NULL;
	ingest_rig_publish(&rig, &message);
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_count(&rig), 1);
	assert_int_equal(
		ingest_rig_header(ingest_rig_event(&rig, 1), "wborigin").len,
		0);
	assert_int_equal(ingest_rig_stat(&rig).refused, 2);
	ingest_rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(events_are_committed_then_acked),
		CASE(what_waits_is_taken_in_by_batches_of_the_limit),
		CASE(acks_of_a_connection_that_lasts_go_together),
		CASE(acks_do_not_wait_while_the_broker_may),
		CASE(what_the_event_says_is_in_the_inbox),
		CASE(what_comes_twice_is_counted_and_kept_once),
		CASE(a_crash_at_any_step_loses_and_doubles_nothing),
		CASE(a_cut_at_any_time_loses_and_doubles_nothing),
		CASE(chaos_loses_and_doubles_nothing),
		CASE(a_deleted_queue_is_declared_again),
		CASE(a_broker_that_is_away_is_asked_ever_more_rarely),
		CASE(stopping_acks_what_is_committed_and_leaves_the_rest),
		CASE(stopping_waits_for_no_broker_that_hangs),
		CASE(a_place_that_cannot_be_is_not_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
