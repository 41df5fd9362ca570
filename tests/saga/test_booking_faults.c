/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The example of orchestration, in one process: whoever dies wherever, is away,
 * fails or comes twice, the counts at the end are exact.
 */
#include "tests/support/testing.h"

#include <stdlib.h>

#include "tests/kit/scratch.h"
#include "tests/sim/town.h"

/* WAYBILL_FAULTS=long: every point, not each so-many-th. */
static bool is_long(void)
{
	const char *length = getenv("WAYBILL_FAULTS");

	return length && !strcmp(length, "long");
}

/* ---- a day in town ---------------------------------------------------------
 */

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

/* ---- killed at every point --------------------------------------------------
 */

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_day_ends_as_it_should),
		cmocka_unit_test(the_orchestrator_may_die_anywhere),
		cmocka_unit_test(billing_may_die_anywhere),
		cmocka_unit_test(parking_may_die_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
