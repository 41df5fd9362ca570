/* SPDX-License-Identifier: BSD-2-Clause */
/* Handlers that are refused, and stores that are not theirs. */
#include "tests/inbox/dispatch_rig.h"

#include <stdlib.h>

#include "tests/support/testing.h"

static wb_code open_code(rig *r, const wb_handler *const *handlers,
			 size_t count)
{
	wb_error_clear(&r->err);
	return wbi_dispatch_open(r->store, handlers, count, &r->options, NULL,
				 &r->dispatch, &r->err);
}

/* The one handler `h`, refused with a text that has `word` in it. */
static void refused(rig *r, const wb_handler *h, const char *word)
{
	assert_int_equal(open_code(r, &h, 1), WB_EINVAL);
	if (!strstr(r->err.text, word))
		fail_msg("'%s' is not in: %s", word, r->err.text);
	wb_error_clear(&r->err);
}

static void wrong_declarations_are_refused_by_name(void **state)
{
	static const char *const empty[] = {NULL};
	static const char *const odd[] = {"a.b*", NULL};
	static const char *const blank[] = {"", NULL};
	char over[300] = "";
	rig *r = rig_begin(state);
	wb_handler good = rig_add(r, "good", WB_TRANSACTIONAL)->handler, h;

	h = good;
	h.name = NULL;
	refused(r, &h, "no name");
	h.name = "Upper";
	refused(r, &h, "Upper");
	h.name = "0123456789012345678901234567890123456789012345678901234567890"
		 "1234";
	refused(r, &h, "64");
	h = good;
	h.size = 8;
	refused(r, &h, "WB_HANDLER_INIT");
	h = good;
	h.handle = NULL;
	refused(r, &h, "good");
	h.types = NULL;
	h.timer = NULL;
	refused(r, &h, "good");
	h = good;
	h.types = empty;
	refused(r, &h, "empty");
	h.types = odd;
	refused(r, &h, "a.b*");
	h.types = blank;
	refused(r, &h, "1 to 255 bytes");
	memset(over, 'a', sizeof(over) - 1);
	h.types = (const char *const[]){over, NULL};
	refused(r, &h, "1 to 255 bytes");
	h = good;
	h.kind = (wb_handler_kind)7;
	refused(r, &h, "kind");
	h = good;
	h.backoff_min_ms = 10;
	h.backoff_max_ms = 9;
	refused(r, &h, "backoff");
	refused(r, NULL, "handler 1");
	rig_end(r);
}

static void two_of_one_name_are_refused(void **state)
{
	rig *r = rig_begin(state);
	wb_handler a = rig_add(r, "same", WB_TRANSACTIONAL)->handler, b = a;
	const wb_handler *both[] = {&a, &b};

	assert_int_equal(open_code(r, both, 2), WB_EINVAL);
	assert_non_null(strstr(r->err.text, "'same'"));
	rig_end(r);
}

static void set_cursor(rig *r, const char *origin, uint64_t position)
{
	const wbi_store_tables *tables = wbi_store_get_tables(r->store);
	wbi_consumer row = {.kind = WBI_CONSUMER_HANDLER, .position = position};
	MDB_txn *txn;

	snprintf(row.origin, sizeof(row.origin), "%s", origin);
	assert_ok(wb_store_begin(r->store, &txn, &r->err), r->err);
	assert_ok(wbi_consumer_put(txn, tables->consumers, 'i', S("a"), &row,
				   &r->err),
		  r->err);
	assert_ok(wb_store_commit(r->store, txn, &r->err), r->err);
}

static void a_cursor_of_another_inbox_is_refused_with_the_cure(void **state)
{
	rig *r = rig_begin(state);
	wb_handler a = rig_add(r, "a", WB_TRANSACTIONAL)->handler;
	const wb_handler *one = &a;

	rig_append_many(r, 3, 1);
	set_cursor(r, "00000000-0000-0000-0000-000000000000", 1);
	assert_int_equal(open_code(r, &one, 1), WB_EMISMATCH);
	assert_non_null(strstr(r->err.text, "another name"));
	set_cursor(r, wbi_store_get_info(r->store)->inbox_origin, 4);
	assert_int_equal(open_code(r, &one, 1), WB_EMISMATCH);
	assert_non_null(strstr(r->err.text, "past the inbox's head 3"));
	set_cursor(r, wbi_store_get_info(r->store)->inbox_origin, 3);
	assert_int_equal(open_code(r, &one, 1), WB_OK);
	rig_end(r);
}

static void a_name_that_is_a_projection_s_is_refused(void **state)
{
	rig *r = rig_begin(state);
	wb_handler a = rig_add(r, "a", WB_TRANSACTIONAL)->handler;
	const wbi_store_tables *tables = wbi_store_get_tables(r->store);
	wbi_consumer row = {.kind = WBI_CONSUMER_PROJECTION};
	const wb_handler *one = &a;
	MDB_txn *txn;

	memcpy(row.origin, wbi_store_get_info(r->store)->inbox_origin,
	       sizeof(row.origin));
	assert_ok(wb_store_begin(r->store, &txn, &r->err), r->err);
	assert_ok(wbi_consumer_put(txn, tables->consumers, 'i', S("a"), &row,
				   &r->err),
		  r->err);
	assert_ok(wb_store_commit(r->store, txn, &r->err), r->err);
	assert_int_equal(open_code(r, &one, 1), WB_EMISMATCH);
	assert_non_null(strstr(r->err.text, "its name is a projection's"));
	rig_end(r);
}

static wb_code fail_once(rig_probe *p, wb_call *call, const wb_event *event,
			 wb_error *err)
{
	(void)p;
	(void)event;
	return wb_call_attempt(call) == 1 ? wb_retry(err, "later") : WB_OK;
}

/* One half of the pair is given, and is beyond the other's default. */
static void half_a_pair_of_backoffs_moves_the_other(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "short", WB_TRANSACTIONAL);
	rig_probe *b = rig_add(r, "long", WB_TRANSACTIONAL);

	a->handler.backoff_max_ms = 1;
	b->handler.backoff_min_ms = 3600 * 1000;
	a->behave = b->behave = fail_once;
	rig_append(r, "x", "k");
	rig_open(r);
	rig_run(r);
	rig_run_for(r, 1100);
	assert_int_equal(rig_effect_count(r, a), 1);
	rig_run_for(r, 1700 * 1000000LL);
	assert_int_equal(rig_effect_count(r, b), 0);
	rig_run_for(r, 7200 * 1000000LL);
	assert_int_equal(rig_effect_count(r, b), 1);
	rig_end(r);
}

static wb_code open_says_nothing(const wb_handler *self, wb_store *store,
				 MDB_txn *txn, void **ret_state, wb_error *err)
{
	(void)store;
	(void)txn;
	(void)ret_state;
	(void)err;
	return *(const wb_code *)self->ctx;
}

static void open_without_an_error_is_told_by_its_number(void **state)
{
	static const int returned[] = {WB_EIO, 999, -1};
	static const wb_code told[] = {WB_EIO, WB_EFAILED, WB_EFAILED};
	rig *r = rig_begin(state);
	wb_handler a = rig_add(r, "a", WB_TRANSACTIONAL)->handler;
	const wb_handler *one = &a;

	a.open = open_says_nothing;
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
		wb_code code = (wb_code)returned[i];

		a.ctx = &code;
		assert_int_equal(open_code(r, &one, 1), told[i]);
		assert_non_null(strstr(r->err.text, "'a' cannot be opened"));
		assert_non_null(strstr(r->err.text, "and no error"));
	}
	rig_end(r);
}

static wb_code cannot_open(const wb_handler *self, wb_store *store,
			   MDB_txn *txn, void **ret_state, wb_error *err)
{
	(void)self;
	(void)store;
	(void)txn;
	(void)ret_state;
	return wb_stop(err, "no licence");
}

static void
a_handler_that_cannot_open_is_named_and_others_are_closed(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "first", WB_TRANSACTIONAL);
	rig_probe *b = rig_add(r, "second", WB_TRANSACTIONAL);
	const wb_handler *both[] = {&a->handler, &b->handler};

	b->handler.open = cannot_open;
	assert_int_equal(open_code(r, both, 2), WB_ESTOPPED);
	assert_non_null(strstr(r->err.text, "'second'"));
	assert_non_null(strstr(r->err.text, "no licence"));
	assert_true(a->closed);
	assert_false(b->closed);
	rig_end(r);
}

static void what_waits_for_a_handler_that_is_not_loaded_goes_on_waiting(
	void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	rig_probe *b = rig_add(r, "b", WB_TRANSACTIONAL);

	b->behave = fail_once;
	rig_append_many(r, 10, 5);
	rig_open(r);
	rig_run(r);
	rig_close(r);
	r->probe_count = 1; /* without b */
	rig_append_many(r, 10, 5);
	rig_open(r);
	rig_run_for(r, 3600 * 1000000LL);
	assert_int_equal(rig_effect_count(r, a), 20);
	assert_int_equal(rig_consumer(r, "b").waiting, 10);
	assert_int_equal(rig_consumer(r, "b").position, 10);
	rig_close(r);
	r->probe_count = 2;
	rig_open(r);
	rig_run_for(r, 3600 * 1000000LL);
	assert_int_equal(rig_effect_count(r, b), 20);
	assert_int_equal(rig_consumer(r, "b").waiting, 0);
	rig_end(r);
}

static wb_code set_and_fail(rig_probe *p, wb_call *call, const wb_event *event,
			    wb_error *err)
{
	if (p->data[0] == 0)
		return wb_retry(err, "later");
	return wb_timer_set(call, event->key, wb_call_now_us(call) + 1000000,
			    S("data"), err);
}

/* What waits was taken in by a handler that had a function for it. */
static void check_takes_no_more(void **state, wb_handler_kind kind)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", kind);
	const wb_handler whole = a->handler;
	wbi_dead dead;

	a->quiet = true;
	a->behave = set_and_fail;
	rig_append(r, "x", "event");
	rig_open(r);
	rig_run(r); /* it waits for its next attempt */
	rig_close(r);
	a->handler.types = NULL;
	a->handler.handle = NULL;
	rig_open(r);
	rig_run_for(r, 3600 * 1000000LL);
	assert_true(rig_dead(r, 1, &dead));
	assert_non_null(strstr(dead.text.ptr, "takes no events any more"));
	rig_close(r);
	a->handler = whole;
	a->data[0] = 1; /* now it sets a timer */
	rig_append(r, "x", "timer");
	rig_open(r);
	rig_run(r);
	rig_close(r);
	a->handler.timer = NULL;
	rig_open(r);
	rig_run_for(r, 3600 * 1000000LL);
	assert_true(rig_dead(r, 2, &dead));
	assert_non_null(strstr(dead.text.ptr, "takes no timers any more"));
	rig_end(r);
}

static void what_a_handler_takes_no_more_is_a_dead_letter(void **state)
{
	check_takes_no_more(state, WB_TRANSACTIONAL);
}

static void what_an_external_one_takes_no_more_is_a_dead_letter(void **state)
{
	check_takes_no_more(state, WB_EXTERNAL);
}

static wb_code says_nothing(rig_probe *p, wb_call *call, const wb_event *event,
			    wb_error *err)
{
	(void)event;
	(void)err;
	return (wb_code)p->data[wb_call_position(call)];
}

static void a_handler_that_only_returns_a_code_is_told_by_it(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	wbi_dead dead;

	a->handler.attempts_max = 1;
	a->behave = says_nothing;
	a->data[1] = WB_ETIMEOUT;
	a->data[2] = 999;
	a->data[3] = -1;
	rig_append_many(r, 3, 3);
	rig_open(r);
	rig_run_for(r, 3600 * 1000000LL);
	assert_true(rig_dead(r, 1, &dead));
	assert_int_equal(dead.code, WB_ETIMEOUT);
	for (uint64_t n = 2; n <= 3; n++) {
		assert_true(rig_dead(r, n, &dead));
		assert_int_equal(dead.code, WB_EFAILED);
		assert_non_null(strstr(dead.text.ptr, "no code of waybill"));
	}
	rig_end(r);
}

static void no_handlers_at_all_are_nothing_to_do(void **state)
{
	rig *r = rig_begin(state);

	rig_append_many(r, 3, 1);
	rig_open(r);
	rig_run(r);
	assert_int_equal(wbi_dispatch_deadline_us(r->dispatch), INT64_MAX);
	rig_end(r);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(wrong_declarations_are_refused_by_name),
		TEST(two_of_one_name_are_refused),
		TEST(a_cursor_of_another_inbox_is_refused_with_the_cure),
		TEST(a_handler_that_cannot_open_is_named_and_others_are_closed),
		TEST(what_waits_for_a_handler_that_is_not_loaded_goes_on_waiting),
		TEST(a_name_that_is_a_projection_s_is_refused),
		TEST(half_a_pair_of_backoffs_moves_the_other),
		TEST(open_without_an_error_is_told_by_its_number),
		TEST(what_a_handler_takes_no_more_is_a_dead_letter),
		TEST(what_an_external_one_takes_no_more_is_a_dead_letter),
		TEST(a_handler_that_only_returns_a_code_is_told_by_it),
		TEST(no_handlers_at_all_are_nothing_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
