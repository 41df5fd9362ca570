/* SPDX-License-Identifier: BSD-2-Clause */
/* Groups: who goes next, what waits behind a dead letter, what a revived one
 * may overtake; and timers. test_work_model.c tries all of it at random. */
#include "tests/inbox/work_rig.h"

#include <time.h>

#include "inbox/call.h"
#include "inbox/timer.h"
#include "tests/support/seeded_random.h"

/* ---- groups ------------------------------------------------------------- */

static void followers_go_one_by_one_in_order(void **state)
{
	fixture f = begin(state);
	wbi_work_id id = keyed("k", 9);
	bool has;

	assert_ok(wbi_work_has_group(f.txn, f.tables, &id, &has, &f.err),
		  f.err);
	assert_false(has);
	add(&f, keyed("k", 1), 1000);
	add(&f, keyed("k", 2), 0);
	add(&f, keyed("k", 3), 0);
	add(&f, keyed("kk", 4), 2000);
	assert_ok(wbi_work_has_group(f.txn, f.tables, &id, &has, &f.err),
		  f.err);
	assert_true(has);
	assert_int_equal(consumer(&f).waiting, 4);
	assert_int_equal(due(&f, 999), 0);
	assert_int_equal(next_us(&f, 999), 1000);
	assert_int_equal(due(&f, 5000), 1);
	assert_state(&f, keyed("k", 2), WBI_WORK_QUEUED);
	done(&f, keyed("k", 1), 1500);
	assert_gone(&f, keyed("k", 1));
	assert_int_equal(due(&f, 1500), 2);
	assert_int_equal(get(&f, keyed("k", 2)).due_us, 1500);
	done(&f, keyed("k", 2), 1600);
	done(&f, keyed("k", 3), 1700);
	assert_int_equal(next_us(&f, 1700), 2000);
	done(&f, keyed("kk", 4), 2000);
	assert_int_equal(next_us(&f, 9000), INT64_MAX);
	assert_int_equal(consumer(&f).waiting, 0);
	end(&f);
}

static void rows_without_a_key_stand_for_themselves(void **state)
{
	fixture f = begin(state);
	wbi_work_id a = {H, WBI_LANE_UNKEYED, S(""), 1};
	wbi_work_id b = {H, WBI_LANE_UNKEYED, S(""), 2};
	bool has;

	add(&f, a, 1000);
	assert_ok(wbi_work_has_group(f.txn, f.tables, &b, &has, &f.err), f.err);
	assert_false(has);
	add(&f, b, 500);
	assert_int_equal(due(&f, 700), 2);
	die(&f, b, true, 700);
	assert_gone(&f, b);
	assert_int_equal(due(&f, 1000), 1);
	end(&f);
}

static void an_interrupted_call_is_found_first(void **state)
{
	fixture f = begin(state);
	wbi_row_key buf;
	wbi_work_id id;
	wbi_work row;

	add(&f, keyed("a", 1), 0);
	add(&f, keyed("b", 2), 0);
	assert_int_equal(wbi_work_first_running(f.txn, f.tables, H, &buf, &id,
						&row, &f.err),
			 WB_ENOTFOUND);
	change(&f, keyed("b", 2), WBI_WORK_RUNNING, 77, 100);
	assert_int_equal(due(&f, 100), 1);
	assert_ok(wbi_work_first_running(f.txn, f.tables, H, &buf, &id, &row,
					 &f.err),
		  f.err);
	assert_int_equal(id.position, 2);
	change(&f, id, WBI_WORK_WAITING, 300, 100);
	assert_int_equal(wbi_work_first_running(f.txn, f.tables, H, &buf, &id,
						&row, &f.err),
			 WB_ENOTFOUND);
	assert_int_equal(get(&f, keyed("b", 2)).attempts, 1);
	end(&f);
}

static void another_consumers_rows_are_in_nobodys_way(void **state)
{
	fixture f = begin(state);
	wbi_work_id other = {S("bill"), WBI_LANE_KEYED, S("k"), 1};

	for (; other.position <= 50; other.position++) {
		char key[8];

		snprintf(key, sizeof(key), "%d", (int)other.position);
		other.key = wb_str_from(key);
		add(&f, other, 1);
	}
	assert_int_equal(due(&f, 1000), 0);
	add(&f, keyed("k", 60), 500);
	assert_int_equal(due(&f, 1000), 60);
	end(&f);
}

/* ---- dead letters ------------------------------------------------------- */

static void a_dead_letter_holds_up_its_key_until_it_is_buried(void **state)
{
	fixture f = begin(state);
	uint64_t number;

	add(&f, keyed("k", 1), 0);
	add(&f, keyed("k", 2), 0);
	number = die(&f, keyed("k", 1), true, 100);
	assert_state(&f, keyed("k", 1), WBI_WORK_DEAD);
	assert_int_equal(due(&f, 1000), 0);
	add(&f, keyed("k", 3), 0);
	assert_state(&f, keyed("k", 3), WBI_WORK_QUEUED);
	assert_ok(wbi_work_bury(f.txn, f.tables, number, 200, &f.err), f.err);
	assert_gone(&f, keyed("k", 1));
	assert_int_equal(due(&f, 200), 2);
	assert_state(&f, keyed("k", 3), WBI_WORK_QUEUED);
	assert_int_equal(wbi_work_bury(f.txn, f.tables, number, 200, &f.err),
			 WB_ENOTFOUND);
	assert_int_equal(consumer(&f).waiting, 2);
	end(&f);
}

static void a_revived_one_goes_before_its_followers(void **state)
{
	fixture f = begin(state);
	uint64_t number = die(&f, keyed("k", 1), true, 100);
	wbi_work row;

	add(&f, keyed("k", 2), 0);
	assert_int_equal(due(&f, 1000), 0);
	assert_ok(wbi_work_revive(f.txn, f.tables, number, 300, &f.err), f.err);
	assert_int_equal(due(&f, 300), 1);
	row = get(&f, keyed("k", 1));
	assert_int_equal(row.attempts, 0);
	assert_int_equal(row.first_us, 5);
	assert_true(wb_str_eq(row.record, S("the record")));
	assert_state(&f, keyed("k", 2), WBI_WORK_QUEUED);
	done(&f, keyed("k", 1), 400);
	assert_int_equal(due(&f, 400), 2);
	end(&f);
}

static void a_revived_one_makes_a_waiting_head_step_back(void **state)
{
	fixture f = begin(state);
	uint64_t number;

	add(&f, keyed("k", 1), 0);
	add(&f, keyed("k", 2), 0);
	number = die(&f, keyed("k", 1), false, 100);
	assert_gone(&f, keyed("k", 1));
	assert_int_equal(due(&f, 100), 2);
	change(&f, keyed("k", 2), WBI_WORK_WAITING, 9000, 100);
	assert_ok(wbi_work_revive(f.txn, f.tables, number, 200, &f.err), f.err);
	assert_state(&f, keyed("k", 2), WBI_WORK_QUEUED);
	assert_int_equal(due(&f, 200), 1);
	done(&f, keyed("k", 1), 300);
	/* Its attempts and its delay are what they were. */
	assert_int_equal(get(&f, keyed("k", 2)).attempts, 1);
	assert_int_equal(next_us(&f, 300), 9000);
	end(&f);
}

static void a_revived_one_lets_a_running_call_end(void **state)
{
	static const char *const ways[] = {"done", "retry", "die", "wait"};

	for (int way = 0; way < 4; way++) {
		fixture f = begin(state);
		test_place *place = *state;
		uint64_t number;

		print_message("the call ends by: %s\n", ways[way]);
		add(&f, keyed("k", 1), 0);
		add(&f, keyed("k", 2), 0);
		number = die(&f, keyed("k", 1), false, 100);
		change(&f, keyed("k", 2), WBI_WORK_RUNNING, 0, 100);
		assert_ok(wbi_work_revive(f.txn, f.tables, number, 200, &f.err),
			  f.err);
		assert_state(&f, keyed("k", 1), WBI_WORK_QUEUED);
		assert_state(&f, keyed("k", 2), WBI_WORK_RUNNING);
		assert_int_equal(due(&f, 9999), 0);
		if (way == 0)
			done(&f, keyed("k", 2), 300);
		else if (way == 1)
			change(&f, keyed("k", 2), WBI_WORK_WAITING, 800, 300);
		else
			die(&f, keyed("k", 2), way == 3, 300);
		assert_state(&f, keyed("k", 1), WBI_WORK_WAITING);
		assert_int_equal(due(&f, 9999), 1);
		done(&f, keyed("k", 1), 400);
		assert_int_equal(due(&f, 9999), way == 1 ? 2 : 0);
		end(&f);
		test_remove_tree(place->store);
	}
}

static void two_dead_letters_of_a_key_are_revived_in_any_order(void **state)
{
	fixture f = begin(state);
	uint64_t first, second;

	add(&f, keyed("k", 1), 0);
	add(&f, keyed("k", 2), 0);
	add(&f, keyed("k", 3), 0);
	first = die(&f, keyed("k", 1), false, 100);
	second = die(&f, keyed("k", 2), true, 100);
	assert_int_equal(due(&f, 1000), 0);
	assert_ok(wbi_work_revive(f.txn, f.tables, second, 200, &f.err), f.err);
	assert_int_equal(due(&f, 200), 2);
	assert_ok(wbi_work_revive(f.txn, f.tables, first, 200, &f.err), f.err);
	assert_int_equal(due(&f, 200), 1);
	done(&f, keyed("k", 1), 300);
	done(&f, keyed("k", 2), 300);
	assert_int_equal(due(&f, 300), 3);
	end(&f);
}

static void burying_one_behind_a_running_call_starts_no_other(void **state)
{
	fixture f = begin(state);
	uint64_t numbers[3];

	for (uint64_t i = 0; i < 3; i++)
		numbers[i] = die(&f, keyed("k", i + 1), i == 2, 100);
	assert_ok(wbi_work_revive(f.txn, f.tables, numbers[1], 200, &f.err),
		  f.err);
	change(&f, keyed("k", 2), WBI_WORK_RUNNING, 0, 200);
	assert_ok(wbi_work_revive(f.txn, f.tables, numbers[0], 200, &f.err),
		  f.err);
	assert_ok(wbi_work_bury(f.txn, f.tables, numbers[2], 200, &f.err),
		  f.err);
	assert_state(&f, keyed("k", 1), WBI_WORK_QUEUED);
	assert_int_equal(due(&f, 900), 0);
	done(&f, keyed("k", 2), 300);
	assert_int_equal(due(&f, 300), 1);
	end(&f);
}

static void what_cannot_be_revived_says_why(void **state)
{
	fixture f = begin(state);
	const wbi_dead refused = {.reason = WBI_DEAD_MALFORMED,
				  .last_us = 1,
				  .bytes = S("raw")};
	wbi_work_id gone = {S("gone"), WBI_LANE_KEYED, S("k"), 1};
	uint64_t number;

	assert_ok(wbi_dead_add(f.txn, f.tables, &refused, &number, &f.err),
		  f.err);
	assert_code(wbi_work_revive(f.txn, f.tables, number, 1, &f.err),
		    WB_EINVAL, f.err);
	assert_ok(wbi_work_bury(f.txn, f.tables, number, 1, &f.err), f.err);
	assert_int_equal(wbi_work_revive(f.txn, f.tables, number, 1, &f.err),
			 WB_ENOTFOUND);
	assert_int_equal(f.err.code, WB_OK);
	number = die(&f, gone, true, 1);
	assert_int_equal(wbi_work_revive(f.txn, f.tables, number, 1, &f.err),
			 WB_ESTATE);
	assert_non_null(strstr(f.err.text, "'gone' is not known"));
	wb_error_clear(&f.err);
	end(&f);
}

static void attempts_of_what_the_cursor_has_not_reached_are_kept(void **state)
{
	fixture f = begin(state);
	wbi_work_id id = {H, WBI_LANE_CRASHED, S(""), 7};
	wbi_work row = {.attempts = 1};

	assert_ok(wbi_work_add(f.txn, f.tables, &id, &row, &f.err), f.err);
	assert_int_equal(next_us(&f, 9000), INT64_MAX);
	row.attempts = 2;
	row.state = WBI_WORK_WAITING;
	assert_ok(wbi_work_change(f.txn, f.tables, &id, &row, 1, &f.err),
		  f.err);
	assert_int_equal(get(&f, id).attempts, 2);
	assert_int_equal(next_us(&f, 9000), INT64_MAX);
	assert_int_equal(
		wbi_work_add(f.txn, f.tables, &id, &row, NULL), WB_EEXISTS);
	done(&f, id, 1);
	assert_int_equal(wbi_work_done(f.txn, f.tables, &id, 1, &f.err),
			 WB_ENOTFOUND);
	end(&f);
}

static void delays_double_up_to_the_most(void **state)
{
	seeded_random random;

	(void)state;
	seeded_random_init(&random, 1);
	for (uint32_t n = 1; n < 70; n++) {
		int64_t most = n < 10 ? 1000000ll << (n - 1) : 300000000;
		int64_t us = wbi_work_backoff_us(&random.random, 1000, 300000,
						 n);

		if (most > 300000000)
			most = 300000000;
		assert_in_range(us, most / 2, most);
	}
}

/* ---- timers ------------------------------------------------------------- */

static wbi_work_id timer_id(uint64_t position)
{
	return (wbi_work_id){H, WBI_LANE_TIMER, S("remind"), position};
}

static bool set(fixture *f, int64_t due_us, const wbi_work_id *firing)
{
	bool replaced = false;

	assert_ok(wbi_timer_set(f->txn, f->tables, H, S("remind"), due_us,
				S("data"), firing, &replaced, &f->err),
		  f->err);
	return replaced;
}

static void a_timer_comes_due_as_it_was_set(void **state)
{
	fixture f = begin(state);
	wb_timer timer;
	wbi_work row;

	assert_false(set(&f, 5000, NULL));
	assert_int_equal(consumer(&f).timers, 1);
	assert_int_equal(consumer(&f).waiting, 0);
	assert_int_equal(next_us(&f, 4999), 5000);
	change(&f, timer_id(0), WBI_WORK_WAITING, 8000, 5000);
	row = get(&f, timer_id(0));
	assert_int_equal(row.due_us, 8000);
	wbi_work_id id = timer_id(0);
	assert_ok(wbi_timer_unpack(&id, row.record, &timer, &f.err), f.err);
	assert_int_equal(timer.due_us, 5000);
	assert_true(wb_str_eq(timer.data, S("data")));
	assert_true(wb_str_eq(timer.name, S("remind")));
	assert_true(set(&f, 6000, NULL));
	assert_int_equal(get(&f, timer_id(0)).attempts, 0);
	assert_int_equal(next_us(&f, 1), 6000);
	assert_ok(wbi_timer_cancel(f.txn, f.tables, H, S("remind"), NULL, 1,
				   &f.err),
		  f.err);
	assert_int_equal(wbi_timer_cancel(f.txn, f.tables, H, S("remind"), NULL,
					  1, &f.err),
			 WB_ENOTFOUND);
	assert_int_equal(next_us(&f, 9000), INT64_MAX);
	assert_int_equal(consumer(&f).timers, 0);
	end(&f);
}

/* `firing`: a call in a transaction says so, an external one is RUNNING. */
static void a_timer_set_while_it_fires_is_another_one(void **state)
{
	for (int external = 0; external < 2; external++) {
		fixture f = begin(state);
		test_place *place = *state;
		wbi_work_id old = timer_id(0);
		const wbi_work_id *firing = external ? NULL : &old;

		set(&f, 100, NULL);
		if (external)
			change(&f, old, WBI_WORK_RUNNING, 0, 100);
		assert_int_equal(wbi_timer_cancel(f.txn, f.tables, H,
						  S("remind"), firing, 100,
						  &f.err),
				 WB_ENOTFOUND);
		assert_false(set(&f, 7000, firing));
		assert_true(set(&f, 8000, firing));
		assert_state(&f, timer_id(1), WBI_WORK_QUEUED);
		assert_int_equal(consumer(&f).timers, 2);
		done(&f, old, 110);
		assert_int_equal(next_us(&f, 110), 8000);
		assert_int_equal(consumer(&f).timers, 1);
		assert_true(set(&f, 9000, NULL));
		assert_int_equal(next_us(&f, 110), 9000);
		end(&f);
		test_remove_tree(place->store);
	}
}

static void a_failed_timer_gives_way_to_one_set_anew(void **state)
{
	fixture f = begin(state);

	set(&f, 100, NULL);
	change(&f, timer_id(0), WBI_WORK_RUNNING, 0, 100);
	set(&f, 7000, NULL);
	change(&f, timer_id(0), WBI_WORK_WAITING, 500, 110);
	assert_gone(&f, timer_id(0));
	assert_int_equal(next_us(&f, 600), 7000);
	assert_int_equal(consumer(&f).timers, 1);
	end(&f);
}

static void a_dead_timer_is_revived_unless_it_was_set_anew(void **state)
{
	fixture f = begin(state);
	uint64_t number;

	set(&f, 100, NULL);
	number = die(&f, timer_id(0), true, 100);
	assert_gone(&f, timer_id(0));
	set(&f, 900, NULL);
	assert_code(wbi_work_revive(f.txn, f.tables, number, 1, &f.err),
		    WB_EEXISTS, f.err);
	assert_ok(wbi_timer_cancel(f.txn, f.tables, H, S("remind"), NULL, 1,
				   &f.err),
		  f.err);
	assert_ok(wbi_work_revive(f.txn, f.tables, number, 300, &f.err), f.err);
	assert_int_equal(get(&f, timer_id(0)).due_us, 300);
	end(&f);
}

static wb_code on_timer(wb_call *call, const wb_timer *timer, wb_error *err)
{
	(void)call;
	(void)timer;
	(void)err;
	return WB_OK;
}

static void a_call_sets_and_cancels_timers(void **state)
{
	fixture f = begin(state);
	wb_handler handler = WB_HANDLER_INIT;
	wb_call call = {.store = f.store,
			.tables = f.tables,
			.handler = &handler,
			.txn = f.txn,
			.id = keyed("k", 3),
			.now_us = 50};
	char long_name[256];

	memset(long_name, 'x', sizeof(long_name));
	handler.name = "billing";
	assert_code(wb_timer_set(&call, S("t"), 100, S(""), &f.err), WB_EINVAL,
		    f.err);
	handler.timer = on_timer;
	assert_ok(wb_timer_set(&call, S("t"), 100, S(""), &f.err), f.err);
	assert_ok(wb_timer_set(&call, S("t"), 200, S("x"), &f.err), f.err);
	assert_int_equal(call.timers_set, 2);
	assert_int_equal(call.timers_gone, 1);
	assert_int_equal(next_us(&f, 50), 200);
	assert_code(wb_timer_set(&call, S(""), 100, S(""), &f.err), WB_EINVAL,
		    f.err);
	assert_code(wb_timer_set(&call, wb_str_n(long_name, 256), 100, S(""),
				 &f.err),
		    WB_EINVAL, f.err);
	assert_code(wb_timer_set(&call, S("t"), -1, S(""), &f.err), WB_EINVAL,
		    f.err);
	assert_code(wb_timer_set(&call, S("t"), 1,
				 wb_str_n(long_name, WBI_TIMER_DATA_MAX + 1),
				 &f.err),
		    WB_ELIMIT, f.err);
	assert_int_equal(call.trouble, WB_OK);
	assert_int_equal(wb_timer_cancel(&call, S("u"), &f.err), WB_ENOTFOUND);
	assert_int_equal(f.err.code, WB_OK);
	assert_ok(wb_timer_cancel(&call, S("t"), &f.err), f.err);
	assert_int_equal(call.timers_gone, 2);
	assert_int_equal(next_us(&f, 9000), INT64_MAX);
	end(&f);
}

/* ---- many --------------------------------------------------------------- */

/* Of this thread alone: the machine may be busy with something else. */
static int64_t cpu_us(void)
{
	struct timespec now;

	assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), 0);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static int64_t done_us(fixture *f, const char *key, uint64_t from, uint64_t to)
{
	int64_t start = cpu_us();

	for (uint64_t i = from; i < to; i++)
		done(f, keyed(key, i), 10);
	return cpu_us() - start;
}

static void a_hundred_thousand_followers_cost_no_walk(void **state)
{
	enum { MANY = 100000, SOME = 500 };
	fixture f = begin(state);
	int64_t few_us, many_us;

	for (uint64_t i = 1; i <= SOME; i++)
		add(&f, keyed("few", i), 1);
	for (uint64_t i = 1; i <= MANY; i++)
		add(&f, keyed("many", i), 1);
	few_us = done_us(&f, "few", 1, SOME);
	many_us = done_us(&f, "many", 1, SOME);
	print_message("%d done of %d: %d us, of %d: %d us\n", (int)SOME,
		      (int)SOME, (int)few_us, (int)MANY, (int)many_us);
	/* A walk over the group would be a hundred times as much. */
	assert_true(many_us < 20 * few_us + 20000);
	end(&f);
}

#define TEST(f)                                                               \
	cmocka_unit_test_setup_teardown(f, test_place_setup,                  \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(followers_go_one_by_one_in_order),
		TEST(rows_without_a_key_stand_for_themselves),
		TEST(an_interrupted_call_is_found_first),
		TEST(another_consumers_rows_are_in_nobodys_way),
		TEST(a_dead_letter_holds_up_its_key_until_it_is_buried),
		TEST(a_revived_one_goes_before_its_followers),
		TEST(a_revived_one_makes_a_waiting_head_step_back),
		TEST(a_revived_one_lets_a_running_call_end),
		TEST(two_dead_letters_of_a_key_are_revived_in_any_order),
		TEST(burying_one_behind_a_running_call_starts_no_other),
		TEST(what_cannot_be_revived_says_why),
		TEST(attempts_of_what_the_cursor_has_not_reached_are_kept),
		cmocka_unit_test(delays_double_up_to_the_most),
		TEST(a_timer_comes_due_as_it_was_set),
		TEST(a_timer_set_while_it_fires_is_another_one),
		TEST(a_failed_timer_gives_way_to_one_set_anew),
		TEST(a_dead_timer_is_revived_unless_it_was_set_anew),
		TEST(a_call_sets_and_cancels_timers),
		TEST(a_hundred_thousand_followers_cost_no_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
