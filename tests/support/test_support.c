/* SPDX-License-Identifier: BSD-2-Clause */
/* The tools that the other tests trust: each kind of error is planted in a
 * clean history, and the checker must count exactly that one. */
#include "tests/support/checker.h"
#include "tests/support/fake_clock.h"
#include "tests/support/seeded_random.h"
#include "tests/support/testing.h"

enum { EVENTS = 300, KEYS = 7 };

static wb_str id_of(uint64_t i, char *buf, size_t size)
{
	int len = snprintf(buf, size, "id-%d", (int)i);

	return wb_str_n(buf, (size_t)len);
}

static void appended(checker *c, uint64_t i, const char *key, checker_fate fate)
{
	char buf[32];

	assert_true(checker_appended(c, id_of(i, buf, sizeof(buf)),
				     wb_str_from(key), i, fate));
}

static void arrived(checker *c, uint64_t i)
{
	char buf[32];

	assert_true(checker_arrived(c, id_of(i, buf, sizeof(buf))));
}

static void parked(checker *c, uint64_t i)
{
	char buf[32];

	assert_true(checker_parked(c, id_of(i, buf, sizeof(buf))));
}

/* 1..EVENTS appended, over KEYS keys; all but the last three arrived. */
static checker *history(void)
{
	checker *c = checker_new();
	char key[16];

	assert_non_null(c);
	for (uint64_t i = 1; i <= EVENTS; i++) {
		snprintf(key, sizeof(key), "k%d", (int)(i % KEYS));
		appended(c, i, key, CHECKER_COMMITTED);
	}
	for (uint64_t i = 1; i <= EVENTS - 3; i++)
		arrived(c, i);
	return c;
}

static void finish(checker *c, const char *expected)
{
	checker_counts counts = checker_count(c);
	char line[256] = "";
	FILE *out = fmemopen(line, sizeof(line), "w");

	assert_non_null(out);
	checker_print(&counts, out);
	fclose(out);
	line[strcspn(line, "\n")] = '\0';
	assert_string_equal(line, expected);
	checker_free(c);
}

static void a_clean_history_is_clean(void **state)
{
	checker *c = history();
	checker_counts counts;

	(void)state;
	arrived(c, 298);
	arrived(c, 299);
	parked(c, 300);
	counts = checker_count(c);
	assert_true(checker_is_clean(&counts));
	finish(c, "attempted=300 committed=300 delivered=299 parked=1 lost=0 "
		  "phantom=0 duplicate=0 reordered=0");
}

static void a_lost_event_is_seen(void **state)
{
	checker *c = history();
	checker_counts counts;

	(void)state;
	arrived(c, 298);
	arrived(c, 300);
	counts = checker_count(c);
	assert_false(checker_is_clean(&counts));
	finish(c, "attempted=300 committed=300 delivered=299 parked=0 lost=1 "
		  "phantom=0 duplicate=0 reordered=0");
}

static void phantoms_are_seen_aborted_or_from_nowhere(void **state)
{
	checker *c = history();
	checker_counts counts;

	(void)state;
	for (uint64_t i = 298; i <= 300; i++)
		arrived(c, i);
	appended(c, 301, "k1", CHECKER_ABORTED);
	appended(c, 302, "k1", CHECKER_ABORTED);
	arrived(c, 302);
	arrived(c, 999);
	parked(c, 1000);
	counts = checker_count(c);
	assert_false(checker_is_clean(&counts));
	finish(c, "attempted=302 committed=300 delivered=300 parked=0 lost=0 "
		  "phantom=3 duplicate=0 reordered=0");
}

static void discarded_and_held_are_ends_and_the_forgotten_owe_nothing(void **state)
{
	checker *c = history();
	checker_counts counts;

	(void)state;
	assert_true(checker_discarded(c, wb_str_from("id-298")));
	assert_true(checker_held(c, wb_str_from("id-299")));
	counts = checker_count(c);
	assert_int_equal(counts.lost, 1);
	arrived(c, 298); /* a copy of it was under way */
	checker_forget_from(c, 300);
	counts = checker_count(c);
	assert_true(checker_is_clean(&counts));
	finish(c, "attempted=300 committed=299 delivered=298 parked=0 lost=0 "
		  "phantom=0 duplicate=0 reordered=0 discarded=0 held=1 "
		  "unseen=0");
}

static void duplicates_are_counted_and_forgiven(void **state)
{
	checker *c = history();
	checker_counts counts;

	(void)state;
	for (uint64_t i = 298; i <= 300; i++)
		arrived(c, i);
	arrived(c, 1);
	arrived(c, 1);
	arrived(c, 150);
	counts = checker_count(c);
	assert_true(checker_is_clean(&counts));
	finish(c, "attempted=300 committed=300 delivered=300 parked=0 lost=0 "
		  "phantom=0 duplicate=3 reordered=0");
}

static void reordering_counts_within_a_key_and_by_first_arrivals(void **state)
{
	checker *c = history();
	checker_counts counts;

	(void)state;
	/* Of one key: 303, then 301 and 302, late; 304 is in order again. */
	for (uint64_t i = 301; i <= 304; i++)
		appended(c, i, "hot", CHECKER_COMMITTED);
	/* Other keys and no key: any order will do. */
	appended(c, 305, "", CHECKER_COMMITTED);
	appended(c, 306, "", CHECKER_COMMITTED);
	arrived(c, 306);
	arrived(c, 305);
	arrived(c, 303);
	arrived(c, 301);
	arrived(c, 303);
	arrived(c, 302);
	arrived(c, 304);
	arrived(c, 300);
	arrived(c, 299);
	arrived(c, 298);
	counts = checker_count(c);
	assert_false(checker_is_clean(&counts));
	finish(c, "attempted=306 committed=306 delivered=306 parked=0 lost=0 "
		  "phantom=0 duplicate=1 reordered=2");
}

static void a_commit_of_unknown_fate_may_go_either_way(void **state)
{
	checker *c = history();

	(void)state;
	for (uint64_t i = 298; i <= 300; i++)
		arrived(c, i);
	appended(c, 301, "k1", CHECKER_UNKNOWN);
	appended(c, 302, "k1", CHECKER_UNKNOWN);
	appended(c, 303, "k1", CHECKER_UNKNOWN);
	arrived(c, 302);
	parked(c, 303);
	finish(c, "attempted=303 committed=302 delivered=301 parked=1 lost=0 "
		  "phantom=0 duplicate=0 reordered=0");
}

static void what_is_wrong_is_named(void **state)
{
	checker *c = history();
	char text[512] = "";
	FILE *out = fmemopen(text, sizeof(text), "w");

	(void)state;
	assert_non_null(out);
	arrived(c, 999);
	checker_explain(c, out, 2);
	fclose(out);
	assert_string_equal(text, "  lost: id-298 position 298 key 'k4'\n"
				  "  lost: id-299 position 299 key 'k5'\n"
				  "  phantom: id-999 position 0 key ''\n");
	checker_free(c);
}

static void one_id_is_appended_once(void **state)
{
	checker *c = history();
	char buf[32];

	(void)state;
	assert_false(checker_appended(c, id_of(3, buf, sizeof(buf)), S("k"),
				      900, CHECKER_COMMITTED));
	checker_free(c);
}

static void the_clock_stands_still_until_it_is_moved(void **state)
{
	fake_clock f;
	int64_t real_us, mono_us;

	(void)state;
	fake_clock_init(&f);
	real_us = f.clock.real_us(f.clock.ctx);
	mono_us = f.clock.mono_us(f.clock.ctx);
	assert_int_equal(f.clock.real_us(f.clock.ctx), real_us);
	fake_clock_advance_us(&f, 10);
	fake_clock_advance_to_us(&f, mono_us + 5);
	fake_clock_jump_us(&f, -1000);
	assert_int_equal(f.clock.mono_us(f.clock.ctx), mono_us + 10);
	assert_int_equal(f.clock.real_us(f.clock.ctx), real_us + 10 - 1000);
}

static void a_seed_repeats_its_course_and_another_does_not(void **state)
{
	seeded_random a, b, other;
	size_t same = 0, below = 0;

	(void)state;
	seeded_random_init(&a, 42);
	seeded_random_init(&b, 42);
	seeded_random_init(&other, 43);
	for (int i = 0; i < 1000; i++) {
		uint64_t value = seeded_random_next(&a);

		assert_true(value == seeded_random_next(&b));
		same += value == seeded_random_next(&other);
		below += value % 1000 < 500;
	}
	assert_int_equal(same, 0);
	assert_in_range(below, 400, 600);
	assert_int_equal(seeded_random_below(&a, 0), 0);
	assert_false(seeded_random_chance(&a, 0));
	assert_true(seeded_random_chance(&a, 1000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_clean_history_is_clean),
		cmocka_unit_test(a_lost_event_is_seen),
		cmocka_unit_test(phantoms_are_seen_aborted_or_from_nowhere),
		cmocka_unit_test(
			discarded_and_held_are_ends_and_the_forgotten_owe_nothing),
		cmocka_unit_test(duplicates_are_counted_and_forgiven),
		cmocka_unit_test(
			reordering_counts_within_a_key_and_by_first_arrivals),
		cmocka_unit_test(a_commit_of_unknown_fate_may_go_either_way),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(one_id_is_appended_once),
		cmocka_unit_test(the_clock_stands_still_until_it_is_moved),
		cmocka_unit_test(
			a_seed_repeats_its_course_and_another_does_not),
	};

	return cmocka_run_group_tests_name("test support", tests, NULL, NULL);
}
