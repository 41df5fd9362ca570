/* SPDX-License-Identifier: BSD-2-Clause */
/* What an operator may do with timers: never with one that fires, by names that
 * can be, and nothing of a row that is damaged. */
#include "tests/inbox/work_rig.h"

#include "inbox/timer.h"

static const wbi_actor kim = {{"kim", 3}, {"", 0}};

static void commit(fixture *f)
{
	assert_ok(wb_store_commit(f->store, f->txn, &f->err), f->err);
	f->txn = NULL;
}

static void begin_again(fixture *f)
{
	assert_ok(wb_store_begin(f->store, &f->txn, &f->err), f->err);
}

static void set(fixture *f, wb_str name, int64_t due_us, wb_str data)
{
	assert_ok(wbi_timer_set(f->txn, f->tables, H, name, due_us, data, NULL,
				NULL, &f->err),
		  f->err);
}

typedef struct seen {
	unsigned count, firing;
	int64_t last_us;
} seen;

static bool see(void *ctx, const wbi_timer_seen *timer)
{
	seen *s = ctx;

	s->count++;
	s->firing += timer->firing;
	s->last_us = timer->timer.due_us;
	return true;
}

static seen look(fixture *f, wb_str handler, wb_code expected)
{
	wbi_row_key after = {.len = 0};
	seen s = {0};

	assert_code(wbi_timer_visit(f->store, handler, &after, 100, see, &s,
				    &f->err),
		    expected, f->err);
	return s;
}

static void names_that_cannot_be_have_no_timers(void **state)
{
	fixture f = begin(state);
	char text[300];
	wb_str over, ok = S("x");

	memset(text, 'n', sizeof(text));
	over = wb_str_n(text, sizeof(text));
	const struct {
		wb_str handler, name;
	} wrong[] = {{WB_STR_NULL, ok}, {over, ok}, {H, WB_STR_NULL},
		     {H, over},         {H, ok},    {S("nobody"), ok}};

	commit(&f);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(
			wbi_timer_operator_move(f.store, wrong[i].handler,
						wrong[i].name, 1, &kim, &f.err),
			WB_ENOTFOUND);
		assert_non_null(strstr(f.err.text, "timer ls"));
		wb_error_clear(&f.err);
		assert_code(wbi_timer_operator_cancel(f.store, wrong[i].handler,
						      wrong[i].name, &kim,
						      &f.err),
			    WB_ENOTFOUND, f.err);
	}
	look(&f, WB_STR_NULL, WB_ENOTFOUND);
	look(&f, over, WB_ENOTFOUND);
	look(&f, H, WB_ENOTFOUND);
	begin_again(&f);
	assert_int_equal(
		wbi_timer_cancel(f.txn, f.tables, H, over, NULL, 1, &f.err),
		WB_ENOTFOUND);
	assert_int_equal(wbi_timer_cancel(f.txn, f.tables, H, WB_STR_NULL, NULL,
					  1, &f.err),
			 WB_ENOTFOUND);
	end(&f);
}

static void a_timer_that_fires_is_left_alone(void **state)
{
	wbi_work_id id = {H, WBI_LANE_TIMER, S("remind"), 0};
	fixture f = begin(state);

	set(&f, id.key, 100, S("data"));
	change(&f, id, WBI_WORK_RUNNING, 0, 100);
	commit(&f);
	assert_int_equal(look(&f, H, WB_ENOTFOUND).firing, 1);
	assert_int_equal(
		wbi_timer_operator_move(f.store, H, id.key, 200, &kim, &f.err),
		WB_ENOTFOUND);
	assert_non_null(strstr(f.err.text, "it is firing now"));
	wb_error_clear(&f.err);
	assert_code(wbi_timer_operator_cancel(f.store, H, id.key, &kim, &f.err),
		    WB_ENOTFOUND, f.err);
	/* One that is set behind it is like any other. */
	begin_again(&f);
	set(&f, id.key, 300, S(""));
	commit(&f);
	assert_ok(
		wbi_timer_operator_move(f.store, H, id.key, 400, &kim, &f.err),
		f.err);
	assert_int_equal(look(&f, H, WB_ENOTFOUND).last_us, 400);
	assert_ok(wbi_timer_operator_cancel(f.store, H, id.key, &kim, &f.err),
		  f.err);
	assert_int_equal(look(&f, H, WB_ENOTFOUND).count, 1);
	begin_again(&f);
	assert_state(&f, id, WBI_WORK_RUNNING);
	end(&f);
}

static void a_time_before_all_times_is_refused_and_moves_nothing(void **state)
{
	fixture f = begin(state);

	set(&f, S("remind"), 100, S("data"));
	commit(&f);
	assert_code(wbi_timer_operator_move(f.store, H, S("remind"), 0, &kim,
					    &f.err),
		    WB_EINVAL, f.err);
	assert_int_equal(look(&f, H, WB_ENOTFOUND).last_us, 100);
	begin_again(&f);
	assert_code(wbi_timer_set(f.txn, f.tables, H, S("a\nb"), 1, S(""), NULL,
				  NULL, &f.err),
		    WB_EINVAL, f.err);
	end(&f);
}

static void a_damaged_timer_is_named_and_not_touched(void **state)
{
	const wbi_work_id id = {H, WBI_LANE_TIMER, S("remind"), 0};
	const wbi_work row = {.due_us = 100, .record = S("short")};
	fixture f = begin(state);

	assert_ok(wbi_work_add(f.txn, f.tables, &id, &row, &f.err), f.err);
	commit(&f);
	look(&f, H, WB_ECORRUPT);
	assert_code(
		wbi_timer_operator_move(f.store, H, id.key, 200, &kim, &f.err),
		WB_ECORRUPT, f.err);
	begin_again(&f);
	assert_int_equal(get(&f, id).due_us, 100);
	end(&f);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(names_that_cannot_be_have_no_timers),
		T(a_timer_that_fires_is_left_alone),
		T(a_time_before_all_times_is_refused_and_moves_nothing),
		T(a_damaged_timer_is_named_and_not_touched),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
