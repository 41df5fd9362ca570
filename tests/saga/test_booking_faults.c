/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The example of orchestration, in one process: whoever dies wherever, is away,
 * fails or comes twice, the counts at the end are exact.
 */
#include "tests/support/testing.h"

#include <stdlib.h>

#include "saga/machine.h"
#include "tests/kit/scratch.h"
#include "tests/sim/town.h"

/* WAYBILL_FAULTS=long: every point, not each so-many-th. */
static bool is_long(void)
{
	const char *length = getenv("WAYBILL_FAULTS");

	return length && !strcmp(length, "long");
}

/* ---- a day in town ------------------------------------------------------- */

enum { RICH, POOR, ASKED, ACCOUNTS };
enum { DAY_SLOTS = 4, DAY_SAGAS = 5 };

static town *town_new(uint64_t seed)
{
	char dir[PATH_MAX];
	town *t = malloc(sizeof(*t));

	assert_non_null(t);
	assert_true(kit_scratch_make(kit_scratch_base(), dir));
	assert_true(town_init(t, dir, seed));
	if (getenv("WAYBILL_VERBOSE"))
		t->log = stderr;
	return t;
}

static void town_delete(town *t)
{
	town_close(t);
	kit_scratch_remove(t->dir);
	free(t);
}

static void furnish(town *t)
{
	for (int i = 0; i < DAY_SLOTS; i++)
		town_slot(t, "open");
	town_account(t, 100000, "at-once");
	town_account(t, 5000, "at-once");
	town_account(t, 100000, "ask");
}

/* Five bookings, of which one finds its slot taken, one has no money, one is
 * declined, one loses its slot at the last moment; and one is had. */
static void day(town *t)
{
	furnish(t);
	town_book(t, 0, RICH);
	town_book(t, 0, RICH);
	town_book(t, 1, POOR);
	town_book(t, 2, ASKED);
	town_book(t, 3, ASKED);
	town_rest(t);
	town_door(t, 2, "closed");
	town_answer(t, 3, true);
	town_answer(t, 4, false);
	town_rest(t);
}

static void assert_day(town *t, const char *what, uint64_t n)
{
	town_counts c = {0};

	if (!t->failed)
		town_judge(t, &c);
	if (t->failed)
		fail_msg("%s %llu: %s", what, (unsigned long long)n, t->why);
	if (c.started != DAY_SAGAS || c.completed != 1 || c.compensated != 4 ||
	    c.bookings_completed != 1 || c.bookings_failed != 4 ||
	    c.reserved != 1 || c.available != DAY_SLOTS - 1 || c.paid != 1 ||
	    c.refunded != 1 || c.declined != 1 || c.cancelled != 0 ||
	    c.pending != 0)
		fail_msg("%s %llu: completed %llu, compensated %llu, reserved "
			 "%llu, available %llu, paid %llu, refunded %llu",
			 what, (unsigned long long)n,
			 (unsigned long long)c.completed,
			 (unsigned long long)c.compensated,
			 (unsigned long long)c.reserved,
			 (unsigned long long)c.available,
			 (unsigned long long)c.paid,
			 (unsigned long long)c.refunded);
}

static void a_day_ends_as_it_should(void **state)
{
	town *t = town_new(1);

	(void)state;
	assert_true(town_open(t));
	day(t);
	assert_day(t, "a day", 0);
	town_delete(t);
}

/* ---- killed at every point ----------------------------------------------- */

enum { AT_COMMIT_LOST, AT_COMMIT_MADE, AT_CALL, WAYS };

static const char *const ways[WAYS] = {
	"a commit that is lost", "a commit that is made", "a broker call"};

/* One day, on which a service dies at the nth point; false: it had none. */
static bool day_of_death(int which, int way, uint64_t n)
{
	town *t = town_new(n);
	town_service *s = &t->all[which];
	char what[64];
	bool died;

	if (way == AT_CALL)
		s->die_at_call = n;
	else
		s->die_at_commit = n;
	s->die_durable = way == AT_COMMIT_MADE;
	town_open(t);
	day(t);
	died = s->deaths > 0;
	snprintf(what, sizeof(what), "%s dies at %s,", s->name, ways[way]);
	assert_day(t, what, n);
	town_delete(t);
	return died;
}

/* At every commit; at every call to the broker, or in the short round every
 * seventh. */
static void dies_everywhere(int which)
{
	for (int way = 0; way < WAYS; way++) {
		uint64_t step = is_long() || way != AT_CALL ? 1 : 7;
		uint64_t n = 1;

		while (day_of_death(which, way, n))
			n += step;
		print_message("%s: %llu points\n", ways[way],
			      (unsigned long long)n);
		assert_true(n > 10);
	}
}

static void the_orchestrator_may_die_anywhere(void **state)
{
	(void)state;
	dies_everywhere(TOWN_BOOKING);
}

static void billing_may_die_anywhere(void **state)
{
	(void)state;
	dies_everywhere(TOWN_BILLING);
}

static void parking_may_die_anywhere(void **state)
{
	(void)state;
	dies_everywhere(TOWN_PARKING);
}

/* ---- one thing goes wrong ------------------------------------------------ */

#define US_PER_S INT64_C(1000000)

static void assert_saga(town *t, size_t saga, uint8_t status, const char *why)
{
	char reason[256] = "";
	uint8_t is = t->failed ? 0 : town_status(t, saga, reason);

	if (t->failed)
		fail_msg("%s", t->why);
	if (is != status || !strstr(reason, why))
		fail_msg("%s is %u (\"%s\"), not %u (\"%s\")",
			 t->started[saga].ref, is, reason, status, why);
}

static town_counts judged(town *t)
{
	town_counts c = {0};

	if (!t->failed)
		town_judge(t, &c);
	if (t->failed)
		fail_msg("%s", t->why);
	return c;
}

static void away(town *t, int which, int64_t seconds)
{
	town_kill(&t->all[which]);
	t->all[which].down_until_us = t->clock.mono_us + seconds * US_PER_S;
}

static town *open_town(uint64_t seed)
{
	town *t = town_new(seed);

	assert_true(town_open(t));
	furnish(t);
	return t;
}

/* Its commands and answers are lost for as long as it may take, and come all at
 * once, too late. */
static void who_is_away_past_the_deadline_has_done_nothing(void **state)
{
	(void)state;
	for (int which = TOWN_BILLING; which <= TOWN_PARKING; which++) {
		town *t = open_town(11);
		town_counts c;

		away(t, which, 120);
		town_book(t, 0, RICH);
		town_rest(t);
		assert_saga(t, 0, WB_SAGA_COMPENSATED, "no answer in time");
		c = judged(t);
		assert_int_equal(c.paid + c.blocked + c.reserved, 0);
		town_delete(t);
	}
}

/* It dies at its nth durable commit from now on, and is away for so long. */
static void dies_and_is_away(town *t, int which, uint64_t n, int64_t seconds)
{
	town_service *s = &t->all[which];

	s->die_durable = true;
	s->die_at_commit = n;
	for (int i = 0; i < 500 && !t->failed && !s->deaths; i++)
		town_step(t);
	s->down_until_us = t->clock.mono_us + seconds * US_PER_S;
}

/* At one of these commits billing has taken the money, and nobody hears of it
 * before it is too late. */
static void an_answer_that_is_lost_is_a_payment_that_is_refunded(void **state)
{
	uint64_t refunded = 0;

	(void)state;
	for (uint64_t n = 1; n <= 4; n++) {
		town *t = open_town(12);
		town_counts c;

		town_book(t, 0, RICH);
		dies_and_is_away(t, TOWN_BILLING, n, 60);
		town_rest(t);
		c = judged(t);
		assert_int_equal(c.parked + c.unended, 0);
		if (c.compensated)
			assert_saga(t, 0, WB_SAGA_COMPENSATED,
				    "no answer in time");
		refunded += c.refunded;
		town_delete(t);
	}
	assert_true(refunded > 0);
}

/* The pivot: its slot is reserved, its answer late: it is asked, not undone. */
static void a_lost_answer_of_the_pivot_is_asked_for(void **state)
{
	(void)state;
	for (uint64_t n = 1; n <= 4; n++) {
		town *t = town_new(13);
		town_counts c;

		for (int i = 0; i < BOOKING_STEPS; i++)
			t->steps[i].attempts_max = 1;
		assert_true(town_open(t));
		furnish(t);
		town_book(t, 0, ASKED);
		town_rest(t);
		town_answer(t, 0, true);
		dies_and_is_away(t, TOWN_PARKING, n, 10);
		town_rest(t);
		c = judged(t);
		assert_int_equal(c.parked + c.unended, 0);
		assert_int_equal(c.completed, c.reserved);
		assert_int_equal(c.completed, c.paid);
		town_delete(t);
	}
}

static void who_has_no_time_for_an_hour_has_done_nothing(void **state)
{
	(void)state;
	for (int which = TOWN_BILLING; which <= TOWN_PARKING; which++) {
		town *t = open_town(14);
		town_counts c;

		t->all[which].mood.retry_until_us =
			t->clock.real_us + 3600 * US_PER_S;
		for (int i = 0; i < DAY_SLOTS; i++)
			town_book(t, i, RICH);
		town_rest(t);
		for (size_t i = 0; i < DAY_SLOTS; i++)
			assert_saga(t, i, WB_SAGA_COMPENSATED, "");
		c = judged(t);
		assert_int_equal(c.available, DAY_SLOTS);
		assert_int_equal(c.paid + c.pending, 0);
		town_delete(t);
	}
}

/* Nobody answers for the bill until the saga's day is over; then it is too
 * late to. */
static void a_bill_that_nobody_answers_for_is_cancelled(void **state)
{
	town *t = open_town(15);
	town_counts c;

	(void)state;
	town_book(t, 0, ASKED);
	town_rest(t);
	assert_saga(t, 0, WB_SAGA_RUNNING, "");
	fake_clock_advance_us(&t->clock, 24 * 3600 * US_PER_S);
	town_rest(t);
	assert_saga(t, 0, WB_SAGA_COMPENSATED, "time was over");
	assert_false(town_answer(t, 0, true));
	c = judged(t);
	assert_int_equal(c.cancelled, 1);
	assert_int_equal(c.available, DAY_SLOTS);
	town_delete(t);
}

/* It parks, says so, and is brought to its end by an order. */
static void an_undo_that_says_no_parks_until_it_is_mended(void **state)
{
	town *t = town_new(16);
	town_counts c;

	(void)state;
	for (int i = 0; i < BOOKING_STEPS; i++)
		t->steps[i].undo_attempts_max = 5;
	assert_true(town_open(t));
	furnish(t);
	t->all[TOWN_PARKING].mood.refuse_undo_until_us =
		t->clock.real_us + 24 * 3600 * US_PER_S;
	town_book(t, 0, POOR);
	town_rest(t);
	assert_saga(t, 0, WB_SAGA_PARKED,
		    "block: its undo keeps failing: parking will not take it "
		    "back");
	c = judged(t);
	assert_int_equal(c.parked, 1);
	assert_int_equal(c.blocked, 1);
	t->all[TOWN_PARKING].mood.refuse_undo_until_us = 0;
	assert_true(town_order(t, 0, WBI_VERB_RETRY));
	town_rest(t);
	assert_saga(t, 0, WB_SAGA_COMPENSATED, "");
	c = judged(t);
	assert_int_equal(c.available, DAY_SLOTS);
	town_delete(t);
}

/* ---- everything comes again ---------------------------------------------- */

/* Each message of the day so often, under other ids, in any order, during it
 * and long after it. */
static void what_comes_again_and_too_late_changes_nothing(void **state)
{
	unsigned rounds = is_long() ? 100 : 5;

	(void)state;
	for (unsigned round = 0; round < rounds; round++) {
		town *t = town_new(100 + round);

		town_open(t);
		furnish(t);
		town_book(t, 0, RICH);
		town_book(t, 0, RICH);
		town_book(t, 1, POOR);
		town_book(t, 2, ASKED);
		town_book(t, 3, ASKED);
		for (int i = 0; i < 60; i++) {
			town_resend(t);
			town_step(t);
		}
		town_rest(t);
		town_door(t, 2, "closed");
		town_answer(t, 3, true);
		town_answer(t, 4, false);
		for (int i = 0; i < 60; i++) {
			town_resend(t);
			town_step(t);
		}
		town_rest(t);
		for (int i = 0; i < 200; i++) {
			town_resend(t);
			fake_clock_advance_us(&t->clock, 100000);
			town_step(t);
		}
		town_rest(t);
		assert_day(t, "a day again", round);
		town_delete(t);
	}
}

/* ---- a new definition ---------------------------------------------------- */

enum { OLD_SAGAS = 1000, NEW_SAGAS = 10 };

static void restart_booking(town *t, const wb_saga *first,
			    const wb_saga *second)
{
	town_kill(&t->all[TOWN_BOOKING]);
	t->sagas[0] = first;
	t->sagas[1] = second;
	t->saga_count = second ? 2 : 1;
	for (int i = 0; i < 20; i++)
		town_step(t);
}

static uint64_t count_definition(town *t, const char *hash)
{
	uint64_t n = 0;

	for (size_t i = 0; i < t->count; i++)
		n += !strcmp(town_definition(t, i), hash);
	return n;
}

static void who_runs_stays_with_the_definition_it_began_with(void **state)
{
	wb_saga newer;
	wb_step steps[BOOKING_STEPS];
	char old_hash[65], new_hash[65];
	town *t = town_new(17);
	town_counts c;

	(void)state;
	assert_true(town_open(t));
	town_account(t, 100000000, "ask");
	for (int i = 0; i < OLD_SAGAS + NEW_SAGAS; i++)
		town_slot(t, "open");
	for (int i = 0; i < OLD_SAGAS; i++)
		town_book(t, i, 0);
	town_rest(t);
	snprintf(old_hash, sizeof(old_hash), "%s", town_definition(t, 0));
	assert_int_equal(count_definition(t, old_hash), OLD_SAGAS);

	/* The new one is there, the old one gone. */
	memcpy(steps, t->steps, sizeof(steps));
	steps[1].deadline_ms = 9000;
	newer = t->saga;
	newer.steps = steps;
	restart_booking(t, &newer, NULL);
	for (int i = 0; i < NEW_SAGAS; i++)
		town_book(t, OLD_SAGAS + i, 0);
	town_rest(t);
	snprintf(new_hash, sizeof(new_hash), "%s",
		 town_definition(t, OLD_SAGAS));
	for (size_t i = 0; i < t->count; i++)
		assert_true(town_answer(t, i, true));
	town_rest(t);
	assert_int_equal(count_definition(t, old_hash), OLD_SAGAS);
	assert_int_equal(count_definition(t, new_hash), NEW_SAGAS);
	c = judged(t);
	assert_int_equal(c.parked, OLD_SAGAS);
	assert_int_equal(c.completed, NEW_SAGAS);
	assert_saga(t, 0, WB_SAGA_PARKED, "no module brings the definition");

	/* Both. */
	restart_booking(t, &newer, &t->saga);
	for (size_t i = 0; i < OLD_SAGAS; i++)
		assert_true(town_order(t, i, WBI_VERB_RESUME));
	town_rest(t);
	assert_int_equal(count_definition(t, old_hash), OLD_SAGAS);
	c = judged(t);
	assert_int_equal(c.completed, OLD_SAGAS + NEW_SAGAS);
	assert_int_equal(c.paid, OLD_SAGAS + NEW_SAGAS);
	assert_int_equal(c.reserved, OLD_SAGAS + NEW_SAGAS);
	town_delete(t);
}

int main(void)
{
#define T(name) cmocka_unit_test(name)
	const struct CMUnitTest tests[] = {
		T(a_day_ends_as_it_should),
		T(the_orchestrator_may_die_anywhere),
		T(billing_may_die_anywhere),
		T(parking_may_die_anywhere),
		T(who_is_away_past_the_deadline_has_done_nothing),
		T(an_answer_that_is_lost_is_a_payment_that_is_refunded),
		T(a_lost_answer_of_the_pivot_is_asked_for),
		T(who_has_no_time_for_an_hour_has_done_nothing),
		T(a_bill_that_nobody_answers_for_is_cancelled),
		T(an_undo_that_says_no_parks_until_it_is_mended),
		T(what_comes_again_and_too_late_changes_nothing),
		T(who_runs_stays_with_the_definition_it_began_with),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
