/* SPDX-License-Identifier: BSD-2-Clause */
/* Where two things meet at a bad moment: verbs of an operator between two
 * commits, two lanes with one key, limits that are reached, small windows. */
#include "tests/support/testing.h"

#include "lib/base/assert.h"
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

/* Steps for `ms` as a loop would make them: at the relay's own deadline, or
 * each millisecond if that is later. Returns how many. */
static unsigned steps_in(relay_rig *rig, int64_t ms)
{
	int64_t end_us = rig->clock.mono_us + ms * 1000;
	wb_error err = WB_ERROR_INIT;
	unsigned steps = 0;

	while (rig->clock.mono_us < end_us) {
		assert_ok(wb_relay_step(rig->relay, false, &err), err);
		if (wb_relay_deadline_us(rig->relay) > rig->clock.mono_us)
			fake_clock_advance_us(&rig->clock, 1000);
		else /* a step takes some time, too */
			fake_clock_advance_us(&rig->clock, 20);
		steps++;
	}
	return steps;
}

/* ---- order and loss ------------------------------------------------------ */

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

static void the_cursor_does_not_pass_what_is_not_confirmed(void **state)
{
	relay_rig *rig = rig_of(state);

	rig->options.commit_ms = 1;
	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_nack_next(rig->memory, 1);
	wb_memory_return_next(rig->memory, 1);
	relay_rig_append(rig, "a", "");
	relay_rig_append(rig, "a", "");
	while (wb_relay_get_stat(rig->relay).parked == 0)
		relay_rig_run(rig, 1);
	relay_rig_kill(rig); /* 2 is parked, 1 was not sent again */
	assert_string_equal(relay_rig_arrived(rig), "");
	relay_rig_start(rig);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "1");
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

static void what_a_hold_still_answers_for_cannot_be_discarded(void **state)
{
	const wb_route route = {.type = "other.#", .exchange = "other"};
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	relay_rig_routes(rig, &route, 1);
	relay_rig_start(rig);
	wb_memory_nack_next(rig->memory, 3);
	relay_rig_append(rig, "a", "k");
	relay_rig_append(rig, "other.a", "k"); /* waits behind it */
	relay_rig_append(rig, "other.a", "j"); /* finds no exchange */
	relay_rig_run(rig, 5);
	wb_memory_return_next(rig->memory, 1);
	relay_rig_settle(rig);
	assert_int_equal(wb_relay_get_stat(rig->relay).parked, 2);
	discard(rig, S("k"), 1);
	assert_code(wbi_parked_discard(rig->store, S("k"), 2, &operator, &err),
		    WB_EAGAIN, err);
	create_exchange(rig, "other");
	relay_rig_run(rig, 6000);
	relay_rig_settle(rig);
	discard(rig, S("k"), 2);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "3");
	relay_rig_fini(rig);
}

/* ---- limits that are reached --------------------------------------------- */

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

	rig->options.parked_max_bytes = 12288;
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

static void full_parked_events_can_be_released_with_a_full_window(void **state)
{
	relay_rig *rig = rig_of(state);

	rig->options.window = 2;
	rig->options.parked_max_bytes = 12288;
	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 4);
	relay_rig_append_size(rig, "a", "k", 2500);
	relay_rig_append_size(rig, "a", "j", 2500);
	relay_rig_append(rig, "a", "l");
	relay_rig_append(rig, "a", "m");
	relay_rig_run(rig, 3000);
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 2);
	retry(rig, S("k"), 0);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "1");
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 4);
	relay_rig_fini(rig);
}

static void a_relay_without_room_to_park_comes_to_rest(void **state)
{
	relay_rig *rig = rig_of(state);

	rig->options.window = 8;
	rig->options.parked_max_bytes = 12288;
	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 3);
	relay_rig_append_size(rig, "a", "k", 2500);
	relay_rig_append_size(rig, "a", "j", 2500);
	for (int i = 0; i < 20; i++)
		relay_rig_append(rig, "a", i ? "" : "l");
	relay_rig_settle(rig);
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 2);
	assert_in_range(wb_relay_get_stat(rig->relay).delivered, 5, 7);
	retry(rig, S("k"), 0);
	relay_rig_settle(rig);
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 22);
	relay_rig_fini(rig);
}

static void parking_asks_for_room_anew_when_none_waited_for_it(void **state)
{
	relay_rig *rig = rig_of(state);

	rig->options.parked_max_bytes = 12288;
	rig->options.commit_ms = 1;
	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 3);
	relay_rig_append(rig, "a", "j");
	relay_rig_append_size(rig, "a", "k", 2500);
	relay_rig_append_size(rig, "a", "l", 2500);
	relay_rig_settle(rig);
	relay_rig_append(rig, "a", "j"); /* finds no room, and then no key */
	relay_rig_settle(rig);
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 3);
	retry(rig, S("k"), 0);
	retry(rig, S("l"), 0);
	wb_memory_nack_next(rig->memory, 6); /* j is faster */
	relay_rig_run(rig, 10);
	wb_memory_nack_next(rig->memory, 0);
	retry(rig, S("j"), 0);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived_of(rig, "j"), "1 4");
	wb_memory_return_next(rig->memory, 1);
	relay_rig_append(rig, "a", "m");
	relay_rig_run(rig, 1000);
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 5);
	relay_rig_fini(rig);
}

static void what_is_parked_stays_under_its_limit(void **state)
{
	relay_rig *rig = rig_of(state);
	uint64_t bytes, rows;
	MDB_txn *txn;

	rig->options.parked_max_bytes = 65536;
	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 1);
	for (int i = 0; i < 500; i++)
		relay_rig_append_size(rig, "a", "k", 1000);
	relay_rig_run(rig, 3000);
	assert_int_equal(mdb_txn_begin(rig->relay->env, NULL, MDB_RDONLY, &txn),
			 0);
	assert_int_equal(
		wbi_table_size(txn,
			       wbi_store_relay_tables(rig->store)->parked,
			       &bytes, &rows, NULL),
		WB_OK);
	mdb_txn_abort(txn);
	assert_in_range(bytes, 40000, 65536 + 8192);
	retry(rig, S("k"), 0);
	relay_rig_settle(rig);
	assert_int_equal(wb_memory_get_queue_stat(rig->memory, "all").arrived,
			 500);
	relay_rig_fini(rig);
}

static void releases_to_a_missing_exchange_stand_in_nobodys_way(void **state)
{
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;
	wb_route route = {.type = "other.#", .exchange = "other"};
	char key[16];

	relay_rig_routes(rig, &route, 1);
	create_exchange(rig, "other");
	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 101);
	for (int i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		relay_rig_append(rig, "other.a", key);
	}
	relay_rig_append(rig, "a", "z");
	relay_rig_settle(rig);
	assert_ok(wb_memory_delete_exchange(rig->memory, "other", &err), err);
	relay_rig_append(rig, "other.a", "");
	relay_rig_settle(rig);
	for (int i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		retry(rig, wb_str_from(key), 0);
	}
	retry(rig, S("z"), 0);
	relay_rig_settle(rig); /* what can be done is done */
	assert_string_equal(relay_rig_arrived(rig), "101");
	assert_int_equal(wb_relay_get_stat(rig->relay).held, 1);
	create_exchange(rig, "other");
	relay_rig_run(rig, 6000);
	relay_rig_settle(rig);
	assert_int_equal(wb_memory_get_queue_stat(rig->memory, "all").arrived,
			 102);
	relay_rig_fini(rig);
}

/* ---- nothing loops hot --------------------------------------------------- */

static void a_lost_connection_forgets_to_reopen_its_channel(void **state)
{
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;
	wb_memory_cut_options cut = WB_MEMORY_CUT_INIT;

	rig->options.backoff_min_ms = rig->options.backoff_max_ms = 1000;
	relay_rig_start(rig);
	relay_rig_run(rig, 5);
	for (int i = 0; i < 2; i++) {
		wb_memory_close_channel(rig->memory, rig->broker, 504);
		relay_rig_run(rig, 3);
	}
	wb_memory_refuse_next(rig->memory, 1000);
	assert_ok(wb_memory_cut(rig->memory, &cut, &err), err);
	relay_rig_run(rig, 3);
	assert_int_equal(wb_relay_get_stat(rig->relay).state, WB_RELAY_DOWN);
	assert_in_range(steps_in(rig, 4000), 1, 4100);
	relay_rig_fini(rig);
}

static void draining_waits_without_spinning(void **state)
{
	wb_memory_settings settings = WB_MEMORY_SETTINGS_INIT;
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	settings.confirm_min_us = settings.confirm_max_us = 5000000;
	assert_ok(wb_memory_set(rig->memory, &settings, &err), err);
	relay_rig_start(rig);
	relay_rig_run(rig, 5);
	for (int i = 0; i < 5; i++)
		relay_rig_append(rig, "a", "");
	wb_memory_nack_next(rig->memory, 1);
	relay_rig_run(rig, 3);
	wb_relay_stop(rig->relay);
	assert_in_range(steps_in(rig, 700), 1, 800);
	assert_int_equal(wb_relay_get_stat(rig->relay).state,
			 WB_RELAY_DRAINING);
	steps_in(rig, 1300);
	assert_int_equal(wb_relay_get_stat(rig->relay).state,
			 WB_RELAY_STOPPED);
	assert_in_range(steps_in(rig, 100), 1, 110);
	relay_rig_fini(rig);
}

/* From here on nothing more can be committed in the relay's environment: its
 * map is as small as it can be and a reader keeps old pages from reuse. */
static MDB_txn *fill_relay_env(relay_rig *rig)
{
	MDB_env *env = wbi_store_relay_env(rig->store);
	MDB_txn *reader;

	assert_int_equal(mdb_env_set_mapsize(env, 1), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY, &reader), 0);
	for (int i = 0; i < 100 && !rig->relay->commit_refused; i++) {
		relay_rig_append(rig, "a", "");
		relay_rig_run(rig, 50);
	}
	assert_true(rig->relay->commit_refused);
	return reader;
}

static void a_full_relay_environment_is_tried_again_now_and_then(void **state)
{
	relay_rig *rig = rig_of(state);
	MDB_txn *reader;

	relay_rig_start(rig);
	relay_rig_run(rig, 5);
	reader = fill_relay_env(rig);
	assert_in_range(steps_in(rig, 5000), 1, 5100);
	wb_memory_block(rig->memory, true);
	relay_rig_append(rig, "a", "");
	assert_in_range(steps_in(rig, 5000), 1, 5100);
	wb_memory_block(rig->memory, false);
	/* With no more to write than its own state. */
	relay_rig_kill(rig);
	wb_memory_refuse_next(rig->memory, 1000);
	relay_rig_start(rig);
	assert_in_range(steps_in(rig, 5000), 1, 5100);
	wb_memory_refuse_next(rig->memory, 0);
	mdb_txn_abort(reader);
	assert_int_equal(mdb_env_set_mapsize(wbi_store_relay_env(rig->store),
					     1 << 24),
			 0);
	relay_rig_settle(rig);
	assert_false(rig->relay->commit_refused);
	assert_string_equal(rig->relay->why, "");
	relay_rig_fini(rig);
}

/* ---- a commit that cannot be seen yet ------------------------------------ */

/* Its process may have died in it: the relay does not look ever more often. */
static void a_commit_on_its_way_is_looked_for_soon_then_rarely(void **state)
{
	static const int64_t pauses_us[] = {50, 100, 200, 400, 800};
	relay_rig *rig = rig_of(state);
	const char *dir = wb_store_dir(rig->store);
	wb_error err = WB_ERROR_INIT;
	bool wake = true;

	relay_rig_start(rig);
	relay_rig_append(rig, "a", "");
	relay_rig_settle(rig);
	test_store_commit_pending(dir, true);
	for (size_t i = 0; i < WBI_COUNT(pauses_us); i++) {
		assert_ok(wb_relay_step(rig->relay, wake, &err), err);
		wake = false;
		assert_int_equal(wb_relay_deadline_us(rig->relay) -
					 rig->relay->now_us,
				 pauses_us[i]);
		fake_clock_advance_us(&rig->clock, pauses_us[i]);
	}
	assert_ok(wb_relay_step(rig->relay, false, &err), err);
	assert_true(wb_relay_deadline_us(rig->relay) - rig->relay->now_us >
		    3000);
	test_store_commit_pending(dir, false);
	/* Nothing of it is left to look for. */
	assert_ok(wb_relay_step(rig->relay, true, &err), err);
	assert_int_equal(wb_relay_deadline_us(rig->relay) - rig->relay->now_us,
			 1000);
	relay_rig_fini(rig);
}

/* ---- whoever waits for its end ------------------------------------------- */

static void that_nothing_is_delivered_is_said_with_the_reason(void **state)
{
	relay_rig *rig = rig_of(state);
	wbi_standstill still = {.done = 0};
	wb_error err = WB_ERROR_INIT;

	wb_memory_refuse_next(rig->memory, 1000);
	relay_rig_start(rig);
	relay_rig_append(rig, "a", "");
	relay_rig_run(rig, 500);
	assert_ok(wbi_relay_gets_on(rig->relay, &still, 2000000, &err), err);
	relay_rig_run(rig, 1999);
	assert_ok(wbi_relay_gets_on(rig->relay, &still, 2000000, &err), err);
	relay_rig_run(rig, 1);
	assert_int_equal(wbi_relay_gets_on(rig->relay, &still, 2000000, &err),
			 WB_ETIMEOUT);
	assert_non_null(strstr(err.text, "for 2 s, down: no connection: "));
	wb_error_clear(&err);
	wb_memory_refuse_next(rig->memory, 0);
	relay_rig_settle(rig);
	assert_ok(wbi_relay_gets_on(rig->relay, &still, 2000000, &err), err);
	relay_rig_fini(rig);
}

/* ---- a broker that is not as it should be -------------------------------- */

static void a_broker_that_is_up_already_is_made_our_own(void **state)
{
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	relay_rig_start(rig);
	relay_rig_run(rig, 5);
	relay_rig_append(rig, "a", "k");
	relay_rig_run(rig, 1);
	wb_relay_close(rig->relay); /* its confirm is still to come */
	assert_ok(wb_relay_open(rig->store, rig->broker, &rig->options,
				&rig->relay, &err),
		  err);
	relay_rig_append(rig, "a", "j");
	relay_rig_settle(rig);
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 2);
	relay_rig_fini(rig);
}

#define T(test)                                                               \
	cmocka_unit_test_setup_teardown(test, test_place_setup,               \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_cursor_does_not_pass_what_is_not_confirmed),
		T(what_a_hold_still_answers_for_cannot_be_discarded),
		T(a_window_of_one_survives_a_release_that_is_returned),
		T(parking_goes_on_when_a_release_has_made_room),
		T(full_parked_events_can_be_released_with_a_full_window),
		T(a_relay_without_room_to_park_comes_to_rest),
		T(parking_asks_for_room_anew_when_none_waited_for_it),
		T(what_is_parked_stays_under_its_limit),
		T(releases_to_a_missing_exchange_stand_in_nobodys_way),
		T(a_lost_connection_forgets_to_reopen_its_channel),
		T(a_commit_on_its_way_is_looked_for_soon_then_rarely),
		T(that_nothing_is_delivered_is_said_with_the_reason),
		T(a_broker_that_is_up_already_is_made_our_own),
		T(draining_waits_without_spinning),
		T(a_full_relay_environment_is_tried_again_now_and_then),
		T(a_released_key_loses_nothing_that_another_lane_parks),
		T(a_key_discarded_between_commits_keeps_its_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
