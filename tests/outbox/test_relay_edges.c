/* SPDX-License-Identifier: BSD-2-Clause */
/* Where two things meet at a bad moment: verbs of an operator between two
 * commits, two lanes with one key, limits that are reached, small windows. */
#include "tests/support/testing.h"

#include "lib/journal/parked.h"
#include "outbox/parked.h"
#include "outbox/relay_internal.h"
#include "tests/outbox/relay_rig.h"

static const wbi_actor operator = {{"tester", 6}, {"because", 7}};

static relay_rig *rig_of(void **state)
{
	static relay_rig rig;
	test_place *place = *state;

	relay_rig_init(&rig, place->store, 1);
	return &rig;
}

static void retry(relay_rig *rig, wb_str key, uint64_t position)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_parked_retry(rig->store, key, position, &operator, &err),
		  err);
}

static void discard(relay_rig *rig, wb_str key, uint64_t position)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_parked_discard(rig->store, key, position, &operator,
				     &err),
		  err);
}

static void create_exchange(relay_rig *rig, const char *name)
{
	wb_declaration what = {.kind = WB_TOPOLOGY_EXCHANGE,
			       .name = wb_str_from(name),
			       .exchange_type = wb_str_from("topic")};

	relay_rig_declare(rig, &what);
	relay_rig_bind(rig, name, "#");
}

/* ---- order and loss -------------------------------------------------------- */

static void a_key_discarded_between_commits_keeps_its_order(void **state)
{
	relay_rig *rig = rig_of(state);

	rig->options.commit_ms = 1000;
	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 1);
	relay_rig_append(rig, "a", "k"); /* 1 parks */
	relay_rig_append(rig, "a", "j"); /* 2 */
	relay_rig_settle(rig);
	relay_rig_append(rig, "a", "k"); /* 3 is to park behind it */
	relay_rig_run(rig, 2);
	discard(rig, S("k"), 1);
	relay_rig_append(rig, "a", "k"); /* 4 finds no parked key */
	relay_rig_run(rig, 2);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived_of(rig, "k"), "3 4");
	relay_rig_fini(rig);
}

static void a_released_key_loses_nothing_that_another_lane_parks(void **state)
{
	const wb_route route = {.type = "other.#", .exchange = "other"};
	relay_rig *rig = rig_of(state);

	relay_rig_routes(rig, &route, 1);
	relay_rig_start(rig);
	relay_rig_append(rig, "other.a", "k"); /* 1 is held */
	relay_rig_settle(rig);
	wb_memory_return_next(rig->memory, 1);
	relay_rig_append(rig, "a", "k"); /* 2 parks */
	relay_rig_settle(rig);
	assert_int_equal(wb_relay_get_stat(rig->relay).parked, 1);
	create_exchange(rig, "other");
	rig->relay->commit_at_us = rig->clock.mono_us + 10000000;
	retry(rig, S("k"), 0);
	relay_rig_run(rig, 9000); /* 2 is delivered, 1 drains, one commit */
	relay_rig_settle(rig);
	assert_non_null(strstr(relay_rig_arrived(rig), "1"));
	assert_non_null(strstr(relay_rig_arrived(rig), "2"));
	relay_rig_fini(rig);
}

/* ---- limits that are reached ------------------------------------------------ */

static void a_window_of_one_survives_a_release_that_is_returned(void **state)
{
	relay_rig *rig = rig_of(state);

	rig->options.window = 1;
	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 2);
	relay_rig_append(rig, "a", "k");
	relay_rig_settle(rig);
	retry(rig, S("k"), 0);
	relay_rig_settle(rig);
	relay_rig_append(rig, "a", "j");
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "2");
	relay_rig_fini(rig);
}

static void parking_goes_on_when_a_release_has_made_room(void **state)
{
	relay_rig *rig = rig_of(state);

	rig->options.parked_max_bytes = 4096;
	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 2);
	relay_rig_append_size(rig, "a", "k", 2500);
	relay_rig_append_size(rig, "a", "j", 2500);
	relay_rig_run(rig, 100);
	wb_memory_return_next(rig->memory, 1);
	relay_rig_append(rig, "a", "l");
	relay_rig_run(rig, 3000);
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 2);
	retry(rig, S("k"), 0);
	retry(rig, S("j"), 0);
	relay_rig_run(rig, 3000);
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 3);
	relay_rig_settle(rig);
	relay_rig_fini(rig);
}

#define T(test)                                                               \
	cmocka_unit_test_setup_teardown(test, test_place_setup,               \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_window_of_one_survives_a_release_that_is_returned),
		T(parking_goes_on_when_a_release_has_made_room),
		T(a_released_key_loses_nothing_that_another_lane_parks),
		T(a_key_discarded_between_commits_keeps_its_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
