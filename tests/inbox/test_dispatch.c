/* SPDX-License-Identifier: BSD-2-Clause */
/* From the inbox to handlers: effects once, order per key, how calls end. */
#include "tests/inbox/dispatch_rig.h"

#include <stdlib.h>

#include "tests/support/testing.h"

/* ---- effects ----------------------------------------------------------- */

static void each_event_takes_effect_once(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	rig_probe *b = rig_add(r, "b", WB_TRANSACTIONAL);

	rig_append_many(r, 1000, 7);
	rig_open(r);
	rig_run(r);
	assert_int_equal(rig_effect_count(r, a), 1000);
	assert_int_equal(rig_effect_count(r, b), 1000);
	assert_int_equal(a->calls, 1000);
	assert_int_equal(rig_consumer(r, "a").position, 1000);
	assert_int_equal(rig_consumer(r, "a").handled, 1000);
	rig_reopen(r);
	rig_run(r);
	assert_int_equal(a->calls, 1000);
	rig_append(r, "x", "");
	rig_run(r);
	assert_int_equal(a->calls, 1001);
	assert_int_equal(rig_consumer(r, "b").position, 1001);
	rig_end(r);
	assert_true(true);
}

static void what_is_of_no_interest_is_passed_by(void **state)
{
	static const char *const types[] = {"order.*", "paid", NULL};
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	rig_probe *none = rig_add(r, "none", WB_TRANSACTIONAL);

	a->handler.types = types;
	none->handler.types = NULL;
	rig_append(r, "order.placed", "k");
	rig_append(r, "order.placed.late", "k");
	rig_append(r, "paid", "k");
	rig_append(r, "paid.not", "k");
	rig_append(r, "order", "k");
	rig_open(r);
	rig_run(r);
	assert_int_equal(a->calls, 2);
	assert_int_equal(rig_effects(r, a, 1), 1);
	assert_int_equal(rig_effects(r, a, 3), 1);
	assert_int_equal(rig_consumer(r, "a").position, 5);
	assert_int_equal(none->calls, 0);
	assert_int_equal(rig_consumer(r, "none").position, 5);
	rig_end(r);
}

static void a_new_handler_begins_where_it_says(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *next = rig_add(r, "next", WB_TRANSACTIONAL);

	next->handler.begin = WB_BEGIN_NEXT;
	rig_append_many(r, 5, 1);
	rig_open(r);
	rig_run(r);
	assert_int_equal(next->calls, 0);
	rig_append(r, "x", "");
	rig_run(r);
	assert_int_equal(next->calls, 1);
	rig_end(r);
}

static wb_code emit_one(rig_probe *p, wb_call *call, const wb_event *event,
			wb_error *err)
{
	static char much[4000];
	char data[64];
	wb_event out = {.type = S("done"), .key = event->key};

	if (p->data[2] > 0) { /* much */
		out.data = wb_str_n(much, (size_t)p->data[2]);
		return wb_emit(call, &out, err);
	}
	snprintf(data, sizeof(data), "%s", wb_call_idempotency_key(call));
	out.data = wb_str_from(data);
	return wb_emit(call, &out, err);
}

static void an_emitted_event_names_its_cause(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	wb_event last;

	a->behave = emit_one;
	rig_append(r, "x", "k");
	rig_open(r);
	rig_run(r);
	assert_int_equal(rig_outbox(r, &last), 1);
	assert_int_equal(last.causation_id.len, WB_UUID_TEXT_LEN);
	assert_true(wb_str_eq(last.causation_id, last.correlation_id));
	assert_true(wb_str_eq(last.traceparent, S("00-trace")));
	assert_memory_equal(last.data.ptr, "a:/there:", 9);
	assert_memory_equal(last.data.ptr + 9, last.causation_id.ptr,
			    last.causation_id.len);
	assert_int_equal(rig_consumer(r, "a").emitted, 1);
	rig_end(r);
}

/* ---- retries ------------------------------------------------------------- */

/* data[0], data[3]: positions that fail; data[1]: so many times; it emits
 * before. */
static wb_code fail_some(rig_probe *p, wb_call *call, const wb_event *event,
			 wb_error *err)
{
	uint64_t position = wb_call_position(call);

	if (position != (uint64_t)p->data[0] &&
	    position != (uint64_t)p->data[3])
		return WB_OK;
	assert_ok(emit_one(p, call, event, err), *err);
	if (wb_call_attempt(call) > (uint32_t)p->data[1])
		return WB_OK;
	return wb_retry(err, "bank answers %d", 503);
}

static void a_retry_keeps_its_key_in_order_and_others_run_on(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);

	a->behave = fail_some;
	a->data[0] = 3; /* of key k2 of three */
	a->data[1] = 4;
	rig_append_many(r, 300, 3);
	rig_open(r);
	rig_run(r);
	/* All but that key's, none of which overtook it. */
	assert_int_equal(rig_effect_count(r, a), 200);
	assert_int_equal(rig_consumer(r, "a").position, 300);
	assert_int_equal(rig_consumer(r, "a").waiting, 100);
	assert_int_equal(rig_outbox(r, NULL), 0);
	rig_append_many(r, 3, 3);
	rig_run(r);
	assert_int_equal(rig_consumer(r, "a").waiting, 101);
	rig_run_for(r, 60 * 1000000LL);
	assert_int_equal(rig_effect_count(r, a), 303);
	assert_int_equal(rig_consumer(r, "a").waiting, 0);
	assert_int_equal(rig_consumer(r, "a").retries, 4);
	assert_int_equal(rig_consumer(r, "a").handled, 303);
	assert_int_equal(rig_outbox(r, NULL), 1);
	assert_int_equal(rig_rows(r, wbi_store_get_tables(r->store)->work), 0);
	assert_int_equal(rig_rows(r, wbi_store_get_tables(r->store)->due), 0);
	rig_end(r);
}

static void a_key_that_fails_later_waits_as_well(void **state)
{
	static const char *const keys[] = {"a", "c", "b", "b"};
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);

	a->behave = fail_some;
	a->data[0] = 1;
	a->data[3] = 3;
	a->data[1] = 2;
	for (size_t i = 0; i < 4; i++)
		rig_append(r, "x", keys[i]);
	rig_open(r);
	rig_run(r);
	assert_int_equal(rig_effect_count(r, a), 1);
	assert_int_equal(rig_consumer(r, "a").waiting, 3);
	rig_run_for(r, 60 * 1000000LL);
	assert_int_equal(rig_effect_count(r, a), 4);
	rig_end(r);
}

static void a_retry_waits_longer_each_time(void **state)
{
	static const int64_t least_ms[] = {500, 1000, 2000, 2000, 2000};
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);

	a->behave = fail_some;
	a->data[0] = 1;
	a->data[1] = 5;
	a->handler.backoff_max_ms = 4000;
	rig_append(r, "x", "");
	rig_open(r);
	rig_run(r);
	for (size_t i = 0; i < 5; i++) {
		int64_t wait_us = wbi_dispatch_deadline_us(r->dispatch) -
				  r->clock.mono_us;
		unsigned calls = a->calls;

		assert_in_range(wait_us, least_ms[i] * 1000,
				2 * least_ms[i] * 1000);
		fake_clock_advance_us(&r->clock, wait_us - 1);
		rig_run(r);
		assert_int_equal(a->calls, calls);
		fake_clock_advance_us(&r->clock, 1);
		rig_run(r);
		assert_true(a->calls > calls);
	}
	assert_int_equal(rig_effects(r, a, 1), 1);
	rig_end(r);
}

/* Every third position fails, dirty, before it is content. */
static wb_code fail_thirds(rig_probe *p, wb_call *call, const wb_event *event,
			   wb_error *err)
{
	(void)p;
	assert_ok(emit_one(p, call, event, err), *err);
	if (wb_call_position(call) % 3 == 0 && wb_call_attempt(call) < 3)
		return wb_retry(err, "not now");
	return WB_OK;
}

static void failed_calls_among_good_ones_leave_nothing(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	rig_probe *b = rig_add(r, "b", WB_TRANSACTIONAL);

	a->behave = fail_thirds;
	b->behave = emit_one;
	rig_append_many(r, 900, 900);
	rig_open(r);
	rig_run(r);
	assert_int_equal(rig_effect_count(r, a), 600);
	assert_int_equal(rig_effect_count(r, b), 900);
	assert_int_equal(rig_outbox(r, NULL), 1500);
	rig_run_for(r, 60 * 1000000LL);
	assert_int_equal(rig_effect_count(r, a), 900);
	assert_int_equal(rig_outbox(r, NULL), 1800);
	assert_int_equal(rig_consumer(r, "a").emitted, 900);
	rig_end(r);
}

static void thousands_behind_one_are_done_in_order(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);

	a->behave = fail_some;
	a->data[0] = 1;
	a->data[1] = 3;
	rig_append_many(r, 5000, 1);
	rig_open(r);
	rig_run(r);
	assert_int_equal(rig_effect_count(r, a), 0);
	assert_int_equal(rig_consumer(r, "a").waiting, 5000);
	rig_run_for(r, 60 * 1000000LL);
	assert_int_equal(rig_effect_count(r, a), 5000);
	rig_end(r);
}

/* ---- dead letters -------------------------------------------------------- */

static wb_code reject_first(rig_probe *p, wb_call *call, const wb_event *event,
			    wb_error *err)
{
	(void)p;
	(void)event;
	return wb_call_position(call) == 1 ? wb_reject(err, "no such order")
					   : WB_OK;
}

static void followers_of_a_dead_letter_wait_or_go_on(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *wait = rig_add(r, "wait", WB_TRANSACTIONAL);
	rig_probe *go = rig_add(r, "go", WB_TRANSACTIONAL);
	wbi_dead dead;

	wait->behave = go->behave = reject_first;
	go->handler.followers = WB_FOLLOWERS_GO_ON;
	rig_append_many(r, 10, 2);
	rig_open(r);
	rig_run(r);
	assert_int_equal(rig_effect_count(r, wait), 5);
	assert_int_equal(rig_effect_count(r, go), 9);
	assert_true(rig_dead(r, 1, &dead));
	assert_int_equal(dead.reason, WBI_DEAD_REJECTED);
	assert_int_equal(dead.attempts, 1);
	assert_string_equal(dead.key.ptr, "k0");
	assert_string_equal(dead.text.ptr, "no such order");
	assert_true(rig_dead(r, 2, &dead));
	assert_false(rig_dead(r, 3, &dead));
	assert_int_equal(rig_consumer(r, "wait").dead, 1);
	assert_non_null(strstr(r->last_log, "dead letter"));
	rig_end(r);
}

static wb_code always_fail(rig_probe *p, wb_call *call, const wb_event *event,
			   wb_error *err)
{
	(void)p;
	(void)event;
	return wb_retry(err, "attempt %u", wb_call_attempt(call));
}

static void attempts_end_in_a_dead_letter(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	int64_t begun_us = r->clock.real_us;
	wbi_dead dead;

	a->behave = always_fail;
	a->handler.attempts_max = 4;
	rig_append(r, "x", "");
	rig_open(r);
	rig_run_for(r, 3600 * 1000000LL);
	assert_true(rig_dead(r, 1, &dead));
	assert_int_equal(dead.reason, WBI_DEAD_EXHAUSTED);
	assert_int_equal(dead.attempts, 4);
	assert_int_equal(dead.first_us, begun_us);
	assert_true(dead.last_us > begun_us);
	assert_string_equal(dead.text.ptr, "attempt 4");
	assert_int_equal(rig_effect_count(r, a), 0);
	rig_end(r);
}

/* ---- stopping ------------------------------------------------------------ */

static void one_that_stops_stops_alone(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	rig_probe *b = rig_add(r, "b", WB_TRANSACTIONAL);

	a->behave = rig_stop_at;
	a->data[0] = 40;
	rig_append_many(r, 100, 5);
	rig_open(r);
	rig_run(r);
	assert_int_equal(rig_effect_count(r, a), 39);
	assert_int_equal(rig_consumer(r, "a").position, 39);
	assert_non_null(strstr(rig_consumer(r, "a").error.ptr, "cannot go on"));
	assert_int_equal(rig_effect_count(r, b), 100);
	a->data[0] = 0;
	rig_reopen(r);
	rig_run(r);
	assert_int_equal(rig_effect_count(r, a), 100);
	assert_int_equal(rig_consumer(r, "a").error.len, 0);
	rig_end(r);
}

/* ---- fairness ------------------------------------------------------------ */

static void one_far_behind_and_the_others_share(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *fresh[3], *late;

	fresh[0] = rig_add(r, "f0", WB_TRANSACTIONAL);
	fresh[1] = rig_add(r, "f1", WB_TRANSACTIONAL);
	fresh[2] = rig_add(r, "f2", WB_TRANSACTIONAL);
	late = rig_add(r, "late", WB_TRANSACTIONAL);
	late->behave = rig_stop_at;
	late->data[0] = 1;
	r->options.batch_max = 30;
	rig_append_many(r, 3000, 10);
	rig_open(r);
	rig_run(r);
	late->data[0] = 0;
	rig_append_many(r, 3000, 10);
	rig_reopen(r);
	for (unsigned i = 0; i < 20; i++) {
		fake_clock_advance_us(&r->clock, 1000);
		rig_step(r);
	}
	/* Turn by turn; three share a batch of 30. (The first batch of all was
	 * made twice, since late failed in it.) */
	assert_int_equal(fresh[0]->calls, 3001 + 10 * 10);
	assert_int_equal(late->calls, 1 + 1 + 10 * 30);
	rig_run(r);
	assert_int_equal(rig_effect_count(r, late), 6000);
	assert_int_equal(rig_effect_count(r, fresh[2]), 6000);
	rig_end(r);
}

/* ---- time ---------------------------------------------------------------- */

static wb_code take_time(rig_probe *p, wb_call *call, const wb_event *event,
			 wb_error *err)
{
	(void)call;
	(void)event;
	(void)err;
	fake_clock_advance_us(&p->rig->clock, p->data[0]);
	return WB_OK;
}

static void a_batch_ends_when_it_has_worked_enough(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);

	a->behave = take_time;
	a->data[0] = 400;
	rig_append_many(r, 10, 10);
	rig_open(r);
	rig_step(r);
	assert_int_equal(rig_consumer(r, "a").position, 3); /* 1,200 us */
	rig_step(r); /* others may write now */
	assert_int_equal(rig_consumer(r, "a").position, 3);
	assert_int_equal(wbi_dispatch_deadline_us(r->dispatch),
			 r->clock.mono_us + 50);
	fake_clock_advance_us(&r->clock, 50);
	rig_step(r);
	assert_int_equal(rig_consumer(r, "a").position, 6);
	rig_end(r);
}

static void a_slow_call_in_a_transaction_is_named(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "sluggish", WB_TRANSACTIONAL);

	a->behave = take_time;
	a->data[0] = 10001;
	rig_append_many(r, 10, 10);
	rig_open(r);
	rig_run(r);
	assert_non_null(strstr(r->last_log, "'sluggish'"));
	assert_non_null(strstr(r->last_log, "took 10 ms"));
	assert_int_equal(r->log_lines, 1);
	rig_end(r);
}

/* ---- trouble of the store ------------------------------------------------ */

/* Writes much, and not only once. */
static wb_code write_much(rig_probe *p, wb_call *call, const wb_event *event,
			  wb_error *err)
{
	static char block[256 * 1024];
	uint64_t position = wb_call_position(call) << 32;
	MDB_val k = {sizeof(position), &position}, v = {sizeof(block), block};
	int rc = mdb_put(wb_call_txn(call), p->effects, &k, &v, 0);

	(void)event;
	if (p->data[0] != 0) /* it keeps the error to itself */
		return WB_OK;
	return rc ? wb_store_error(rc, err, "writing much") : WB_OK;
}

static void a_full_map_costs_time_and_no_attempt(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);

	a->behave = write_much;
	r->options.batch_max = 250; /* one batch fits, and a part of the next */
	rig_append_many(r, 400, 400); /* 100 MiB into a map of 64 */
	rig_open(r);
	for (unsigned i = 0; i < 200; i++) {
		rig_step(r);
		fake_clock_advance_us(&r->clock, 1000);
	}
	assert_true(wbi_dispatch_get_stat(r->dispatch).paused);
	assert_int_equal(wbi_dispatch_get_stat(r->dispatch).error.code,
			 WB_EMAPFULL);
	assert_true(rig_consumer(r, "a").position > 50);
	assert_true(rig_consumer(r, "a").position < 400);
	assert_int_equal(
		mdb_env_set_mapsize(wb_store_env(r->store), 256u << 20), 0);
	rig_run(r);
	assert_int_equal(rig_consumer(r, "a").position, 400);
	assert_int_equal(rig_consumer(r, "a").retries, 0);
	assert_int_equal(rig_effect_count(r, a), 800);
	assert_false(wbi_dispatch_get_stat(r->dispatch).paused);
	rig_end(r);
}

static wb_code spoil_at(rig_probe *p, wb_call *call, const wb_event *event,
			wb_error *err)
{
	if (wb_call_position(call) == 50 && wb_call_attempt(call) < 3)
		for (unsigned i = 0; i < 400; i++)
			(void)write_much(p, call, event, NULL);
	(void)err;
	return WB_OK;
}

static void an_error_that_a_handler_keeps_to_itself_is_its_own(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);

	a->behave = spoil_at;
	a->data[0] = 1;
	rig_append_many(r, 100, 100);
	rig_open(r);
	rig_run(r);
	assert_int_equal(rig_consumer(r, "a").position, 100);
	rig_run_for(r, 60 * 1000000LL);
	assert_int_equal(rig_consumer(r, "a").handled, 100);
	rig_end(r);
}

/* A store of its own, with a quota that these events, emitted with 4,000 bytes
 * each, use up. */
enum { QUOTA_EVENTS = 400 };

static void small_quota(rig *r)
{
	wb_store_options options = test_store_options();

	wb_store_close(r->store);
	test_remove_tree(r->dir);
	options.quota_bytes = 1 << 20;
	assert_ok(wb_store_create(r->dir, &options, &r->err), r->err);
	r->store = test_store_open(r->dir);
	rig_append_many(r, QUOTA_EVENTS, QUOTA_EVENTS);
	rig_open(r);
}

static void steps(rig *r, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		rig_step(r);
		fake_clock_advance_us(&r->clock, 10000);
	}
}

/* The relay delivers, and there is room again. */
static void deliver(rig *r)
{
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t head = rig_outbox(r, NULL);

		test_set_cursor(r->store, head, head - 1);
		rig_step(r);
		if (wbi_dispatch_get_stat(r->dispatch).idle)
			return;
		fake_clock_advance_us(&r->clock, 100000);
	}
	fail_msg("still not idle");
}

static void a_full_outbox_holds_only_the_one_that_emits(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	rig_probe *b = rig_add(r, "b", WB_TRANSACTIONAL);

	a->behave = emit_one;
	a->data[2] = 4000;
	small_quota(r);
	steps(r, 1500);
	assert_true(wbi_dispatch_get_stat(r->dispatch).paused);
	assert_int_equal(wbi_dispatch_get_stat(r->dispatch).error.code,
			 WB_EQUOTA);
	assert_non_null(strstr(r->last_log, "'a'"));
	assert_true(rig_outbox(r, NULL) > 100);
	assert_true(rig_effect_count(r, a) < QUOTA_EVENTS);
	assert_int_equal(rig_effect_count(r, b), QUOTA_EVENTS);
	deliver(r);
	assert_false(wbi_dispatch_get_stat(r->dispatch).paused);
	assert_int_equal(rig_consumer(r, "a").emitted, QUOTA_EVENTS);
	assert_int_equal(rig_consumer(r, "a").retries, 0);
	assert_int_equal(rig_consumer(r, "a").dead, 0);
	rig_end(r);
}

static void a_full_outbox_makes_no_external_call_twice(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_EXTERNAL);

	a->behave = emit_one;
	a->data[2] = 4000;
	small_quota(r);
	steps(r, 2000);
	assert_true(wbi_dispatch_get_stat(r->dispatch).paused);
	assert_true(a->calls > 100);
	assert_true(a->calls < QUOTA_EVENTS);
	deliver(r);
	assert_int_equal(rig_consumer(r, "a").emitted, QUOTA_EVENTS);
	assert_int_equal(a->calls, QUOTA_EVENTS);
	rig_end(r);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_event_takes_effect_once),
		TEST(what_is_of_no_interest_is_passed_by),
		TEST(a_new_handler_begins_where_it_says),
		TEST(an_emitted_event_names_its_cause),
		TEST(a_retry_keeps_its_key_in_order_and_others_run_on),
		TEST(a_key_that_fails_later_waits_as_well),
		TEST(a_retry_waits_longer_each_time),
		TEST(failed_calls_among_good_ones_leave_nothing),
		TEST(thousands_behind_one_are_done_in_order),
		TEST(followers_of_a_dead_letter_wait_or_go_on),
		TEST(attempts_end_in_a_dead_letter),
		TEST(one_that_stops_stops_alone),
		TEST(one_far_behind_and_the_others_share),
		TEST(a_batch_ends_when_it_has_worked_enough),
		TEST(a_slow_call_in_a_transaction_is_named),
		TEST(a_full_map_costs_time_and_no_attempt),
		TEST(an_error_that_a_handler_keeps_to_itself_is_its_own),
		TEST(a_full_outbox_holds_only_the_one_that_emits),
		TEST(a_full_outbox_makes_no_external_call_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
