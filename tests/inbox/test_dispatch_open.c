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

static wb_code fail_once(rig_probe *p, wb_call *call, const wb_event *event,
			 wb_error *err)
{
	(void)p;
	(void)event;
	return wb_call_attempt(call) == 1 ? wb_retry(err, "later") : WB_OK;
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
		TEST(no_handlers_at_all_are_nothing_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
