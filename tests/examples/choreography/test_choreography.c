/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The example's three services in a town (town.h): killed at every commit and
 * at every call of the broker, their events doubled, renamed and delayed, many
 * bookings for few slots. At the end of each run all is counted, and the count
 * is exact. The naive form of the same services goes through the same, to see
 * that the count can fail.
 *
 * Quick by default: a sample of the deaths and a tenth of the race. With
 * WAYBILL_TOWN=all: every one.
 */
#include "tests/support/testing.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/examples/choreography/town.h"
#include "tests/kit/scratch.h"

static bool everything(void)
{
	const char *what = getenv("WAYBILL_TOWN");

	return what && !strcmp(what, "all");
}

/* Two want slot 0, one slot 1, which he pays in parts; two never get there. */
static void add_five_customers(town *t)
{
	town_add_customer(t, 0, TOWN_PAYS);
	town_add_customer(t, 0, TOWN_PAYS);
	town_add_customer(t, 1, TOWN_PAYS_IN_PARTS);
	town_add_customer(t, 2, TOWN_PAYS_SOME);
	town_add_customer(t, 3, TOWN_PAYS_NOTHING);
}

/* Runs it to its end; the caller looks at it, and ends it. */
static void play(town *t, const town_plan *plan, void (*customers)(town *t))
{
	if (!town_init(t, plan, kit_scratch_base()))
		fail_msg("%s", t->why);
	customers(t);
	if (!town_run(t)) {
		town_count_print(&t->count, "when it failed", stderr);
		fail_msg("%s", t->why);
	}
}

static void add(town_count *sum, const town_count *one)
{
	const struct {
		uint64_t *to;
		uint64_t of;
	} n[] = {
		{&sum->bookings, one->bookings},
		{&sum->done, one->done},
		{&sum->failed, one->failed},
		{&sum->stuck, one->stuck},
		{&sum->unknown, one->unknown},
		{&sum->wrong, one->wrong},
		{&sum->reserved, one->reserved},
		{&sum->doubled, one->doubled},
		{&sum->refunded, one->refunded},
		{&sum->expired, one->expired},
		{&sum->open, one->open},
		{&sum->dead, one->dead},
		{&sum->deaths, one->deaths},
		{&sum->deliveries, one->deliveries},
	};

	for (size_t i = 0; i < sizeof(n) / sizeof(n[0]); i++)
		*n[i].to += n[i].of;
	sum->in += one->in;
	sum->kept += one->kept;
	sum->back += one->back;
	sum->missing += one->missing;
}

static void assert_good(const town_count *c, const char *what)
{
	if (town_count_is_good(c))
		return;
	town_count_print(c, what, stderr);
	fail_msg("%s: the count is wrong", what);
}

/* The five, under this plan. `sum` NULL: it must be good. */
static void five(const town_plan *plan, const char *what, town_count *sum,
		 town *ret)
{
	static town t;
	town *at = ret ? ret : &t;

	play(at, plan, add_five_customers);
	if (sum)
		add(sum, &at->count);
	if (!plan->naive) {
		assert_good(&at->count, what);
		assert_int_equal(at->count.done, 2);
		assert_int_equal(at->count.failed, 3);
	}
	if (!ret)
		town_fini(at);
}

static const town_plan plain = {.seed = 1, .slots = 4};

/* ---- what it is for ------------------------------------------------------ */

static void all_goes_well_and_is_counted(void **state)
{
	static town t;

	(void)state;
	five(&plain, "plain", NULL, &t);
	assert_int_equal(t.count.bookings, 5);
	assert_int_equal(t.count.refunded, 1);
	assert_int_equal(t.count.expired, 2);
	assert_int_equal(t.count.in, 33000);
	assert_int_equal(t.count.kept, 20000);
	assert_int_equal(t.count.back, 13000);
	town_fini(&t);
}

static void every_event_may_come_again_and_under_other_ids(void **state)
{
	town_plan plan = plain;

	(void)state;
	plan.copies = 2;
	five(&plan, "twice", NULL, NULL);
	plan.copies = 3;
	plan.aliases = 2;
	five(&plan, "three times and twice renamed", NULL, NULL);
}

/* ---- deaths -------------------------------------------------------------- */

/* Each nth commit or call of a service, until a run makes fewer. */
static uint64_t die_at_each(int service, town_doom_kind kind, uint64_t stride,
			    bool simple, town_count *sum)
{
	uint64_t deaths = 0;
	char what[80];
	static town t;

	for (uint64_t nth = 1;; nth += stride) {
		town_plan plan = plain;
		bool came;

		plan.naive = simple;
		plan.doom = (town_doom){service, kind, nth};
		snprintf(what, sizeof(what), "%s dies, kind %d, at %" PRIu64,
			 town_names[service], (int)kind, nth);
		five(&plan, what, sum, &t);
		came = t.doom_came;
		town_fini(&t);
		if (!came)
			return deaths;
		deaths++;
	}
}

static void a_service_dies_at_any_commit_and_all_is_right(void **state)
{
	uint64_t deaths = 0, stride = everything() ? 1 : 4;
	town_count sum = {.bookings = 0};

	(void)state;
	for (int s = 0; s < TOWN_SERVICES; s++) {
		deaths += die_at_each(s, TOWN_DOOM_BEFORE_COMMIT, stride, false,
				      &sum);
		deaths += die_at_each(s, TOWN_DOOM_AFTER_COMMIT, stride, false,
				      &sum);
	}
	printf("deaths at commits: %" PRIu64 "\n", deaths);
	town_count_print(&sum, "all of them", stdout);
}

static void a_service_dies_at_any_call_of_the_broker(void **state)
{
	uint64_t deaths = 0, stride = everything() ? 1 : 101;
	town_count sum = {.bookings = 0};

	(void)state;
	for (int s = 0; s < TOWN_SERVICES; s++) {
		deaths +=
			die_at_each(s, TOWN_DOOM_CONSUMER, stride, false, &sum);
		deaths += die_at_each(s, TOWN_DOOM_PUBLISHER, stride, false,
				      &sum);
	}
	printf("deaths at calls of the broker: %" PRIu64 "\n", deaths);
	town_count_print(&sum, "all of them", stdout);
}

/* ---- delays -------------------------------------------------------------- */

enum { DELIVERIES_MAX = 64 };

static size_t deliveries_of_a_run(town_delivery *ret)
{
	static town t;
	size_t count = 0;

	five(&plain, "plain", NULL, &t);
	while (count < DELIVERIES_MAX && town_letter_at(&t, count, &ret[count]))
		count++;
	town_fini(&t);
	return count;
}

static void hold(const town_delivery *held, const town_delivery *before,
		 town_count *sum)
{
	town_plan plan = plain;
	char what[200];
	static town t;

	plan.held = held;
	plan.before = before;
	snprintf(what, sizeof(what), "%s of %zu to %s behind %s of %zu to %s",
		 held->type, held->customer, town_names[held->to],
		 before ? before->type : "all", before ? before->customer : 0,
		 before ? town_names[before->to] : "all");
	/* Who is held up may lose his slot; the count is right all the same. */
	play(&t, &plan, add_five_customers);
	assert_good(&t.count, what);
	add(sum, &t.count);
	town_fini(&t);
}

static void any_event_may_come_behind_any_other(void **state)
{
	town_delivery all[DELIVERIES_MAX];
	size_t count = deliveries_of_a_run(all), runs = 0;
	town_count sum = {.bookings = 0};

	(void)state;
	assert_in_range(count, 10, DELIVERIES_MAX - 1);
	for (size_t a = 0; a < count; a++)
		hold(&all[a], NULL, &sum);
	for (size_t a = 0; a < count; a++)
		for (size_t b = 0; b < count; b++, runs++)
			if (a != b && (everything() || runs % 5 == 0))
				hold(&all[a], &all[b], &sum);
	town_count_print(&sum, "delayed", stdout);
}

static void add_one_customer(town *t)
{
	town_add_customer(t, 0, TOWN_PAYS);
}

/* parking says no, it seems, before billing has even heard of the booking. */
static void an_undo_before_its_action_forbids_it(void **state)
{
	const town_delivery created = {"booking.created", 0, TOWN_BILLING};
	town_plan plan = plain;
	static town t;

	(void)state;
	plan.held = &created;
	assert_true(town_init(&t, &plan, kit_scratch_base()));
	add_one_customer(&t);
	assert_true(town_book(&t, 0));
	town_rest(&t);
	town_post_forge(&t, "parking.unavailable", 0, TOWN_BILLING);
	town_post_forge(&t, "parking.unavailable", 0, TOWN_BOOKING);
	town_rest(&t);
	town_post_release(&t);
	assert_true(town_run(&t));
	assert_good(&t.count, "undo first");
	assert_int_equal(t.count.failed, 1);
	assert_int_equal(t.count.in, 0);
	town_fini(&t);
}

static void add_late_customers(town *t)
{
	for (size_t i = 0; i < 40; i++)
		town_add_customer(t, i / 2, TOWN_PAYS_LATE);
}

static void a_payment_and_an_expiry_meet_and_one_of_them_counts(void **state)
{
	town_plan plan = plain;
	static town t;

	(void)state;
	plan.slots = 20;
	plan.aliases = 1;
	play(&t, &plan, add_late_customers);
	assert_good(&t.count, "last moment");
	/* Some were in time, some were not, whichever they are. */
	assert_in_range(t.count.done, 1, 20);
	assert_in_range(t.count.expired, 1, 39);
	assert_int_equal(t.count.bookings, 40);
	town_fini(&t);
}

/* ---- many ---------------------------------------------------------------- */

static void add_a_crowd(town *t)
{
	size_t count = 100 * t->plan.slots;

	for (size_t i = 0; i < count; i++)
		town_add_customer(t, i % t->plan.slots,
				  i / t->plan.slots % 10 == 9 ? TOWN_PAYS_SOME
				  : i / t->plan.slots % 10 == 8
					  ? TOWN_PAYS_NOTHING
					  : TOWN_PAYS);
}

static void of_a_hundred_bookings_for_a_slot_one_wins(void **state)
{
	town_plan plan = plain;
	static town t;

	(void)state;
	plan.slots = everything() ? 100 : 10;
	plan.aliases = 1;
	plan.duplicate = 300;
	play(&t, &plan, add_a_crowd);
	assert_good(&t.count, "race");
	assert_int_equal(t.count.bookings, 100 * plan.slots);
	assert_int_equal(t.count.done, plan.slots);
	town_count_print(&t.count, "race", stdout);
	town_fini(&t);
}

/* ---- the naive form ------------------------------------------------------ */

static void the_naive_form_works_as_long_as_nothing_goes_wrong(void **state)
{
	town_plan plan = plain;
	town_count sum = {.bookings = 0};

	(void)state;
	plan.naive = true;
	five(&plan, "naive", &sum, NULL);
	assert_good(&sum, "naive, nothing wrong");
}

static void the_naive_form_loses_and_doubles(void **state)
{
	town_count sum = {.bookings = 0};
	town_plan plan = plain;

	(void)state;
	plan.naive = true;
	plan.copies = 2;
	five(&plan, "naive", &sum, NULL);
	town_count_print(&sum, "naive, each event twice", stdout);
	assert_true(sum.doubled > 0 && sum.wrong > 0);
	sum = (town_count){.bookings = 0};
	for (int s = 0; s < TOWN_SERVICES; s++) {
		(void)die_at_each(s, TOWN_DOOM_BEFORE_COMMIT, 1, true, &sum);
		(void)die_at_each(s, TOWN_DOOM_AFTER_COMMIT, 1, true, &sum);
	}
	town_count_print(&sum, "naive, killed at each commit", stdout);
	assert_true(sum.stuck > 0 && sum.wrong > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_goes_well_and_is_counted),
		cmocka_unit_test(
			every_event_may_come_again_and_under_other_ids),
		cmocka_unit_test(a_service_dies_at_any_commit_and_all_is_right),
		cmocka_unit_test(a_service_dies_at_any_call_of_the_broker),
		cmocka_unit_test(any_event_may_come_behind_any_other),
		cmocka_unit_test(an_undo_before_its_action_forbids_it),
		cmocka_unit_test(
			a_payment_and_an_expiry_meet_and_one_of_them_counts),
		cmocka_unit_test(of_a_hundred_bookings_for_a_slot_one_wins),
		cmocka_unit_test(
			the_naive_form_works_as_long_as_nothing_goes_wrong),
		cmocka_unit_test(the_naive_form_loses_and_doubles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
