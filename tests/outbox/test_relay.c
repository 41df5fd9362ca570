/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/support/testing.h"

#include "lib/base/assert.h"
#include "lib/journal/parked.h"
#include "outbox/parked.h"
#include "outbox/relay_report.h"
#include "tests/outbox/relay_rig.h"

static const wbi_actor operator = {{"tester", 6}, {"because", 7}};

static relay_rig *rig_of(void **state)
{
	static relay_rig rig;
	test_place *place = *state;

	relay_rig_init(&rig, place->store, 1);
	return &rig;
}

static void committed_events_arrive_in_order(void **state)
{
	relay_rig *rig = rig_of(state);
	wb_relay_stat stat;

	relay_rig_start(rig);
	for (int i = 0; i < 5; i++)
		relay_rig_append(rig, "order.placed", "k");
	relay_rig_append(rig, "order.placed", "");
	relay_rig_settle(rig);
	stat = wb_relay_get_stat(rig->relay);
	assert_int_equal(stat.delivered, 6);
	assert_int_equal(stat.cursor, 6);
	assert_int_equal(wb_memory_get_queue_stat(rig->memory, "all").arrived,
			 6);
	relay_rig_fini(rig);
}

static void a_restarted_relay_goes_on_behind_its_cursor(void **state)
{
	relay_rig *rig = rig_of(state);

	relay_rig_start(rig);
	relay_rig_append(rig, "a", "k");
	relay_rig_settle(rig);
	relay_rig_kill(rig);
	relay_rig_append(rig, "a", "k");
	relay_rig_start(rig);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "1 2");
	relay_rig_fini(rig);
}

static void a_killed_relay_repeats_at_most_its_window(void **state)
{
	relay_rig *rig = rig_of(state);
	uint64_t arrived;

	rig->options.window = 8;
	rig->options.commit_ms = 60000;
	for (int i = 0; i < 50; i++)
		relay_rig_append(rig, "a", "");
	relay_rig_start(rig);
	relay_rig_run(rig, 3);
	relay_rig_kill(rig);
	relay_rig_start(rig);
	relay_rig_run(rig, 3);
	relay_rig_kill(rig);
	rig->options.commit_ms = 10;
	relay_rig_start(rig);
	relay_rig_settle(rig);
	arrived = wb_memory_get_queue_stat(rig->memory, "all").arrived;
	assert_in_range(arrived, 50, 50 + 2 * 8);
	relay_rig_fini(rig);
}

/* However small it is, and with released events beside the new ones. */
static void no_more_is_on_its_way_than_the_window(void **state)
{
	static const uint32_t windows[] = {1, 2, 3, 4, 8, 64, 200};
	wb_memory_settings slow = WB_MEMORY_SETTINGS_INIT;
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;
	uint64_t before = 0, now;

	relay_rig_start(rig);
	wb_memory_return_next(rig->memory, 1);
	relay_rig_append(rig, "a", "");
	relay_rig_settle(rig);
	relay_rig_kill(rig);
	assert_ok(wbi_parked_retry(rig->store, S(""), 1, &operator, & err),
		  err);
	slow.confirm_min_us = slow.confirm_max_us = 1000000;
	assert_ok(wb_memory_set(rig->memory, &slow, &err), err);
	for (int i = 0; i < 400; i++)
		relay_rig_append(rig, "a", "");
	for (size_t i = 0; i < WBI_COUNT(windows); i++) {
		rig->options.window = windows[i];
		relay_rig_start(rig);
		relay_rig_run(rig, 100);
		relay_rig_kill(rig);
		now = wb_memory_get_queue_stat(rig->memory, "all").arrived;
		assert_in_range(now - before, 1, windows[i]);
		before = now;
	}
	relay_rig_fini(rig);
}

static void a_nack_is_sent_again_before_its_followers(void **state)
{
	relay_rig *rig = rig_of(state);

	relay_rig_start(rig);
	wb_memory_nack_next(rig->memory, 3);
	relay_rig_append(rig, "a", "k");
	relay_rig_append(rig, "a", "k");
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "1 2");
	assert_int_equal(wb_relay_get_stat(rig->relay).nacks, 3);
	relay_rig_fini(rig);
}

/* A queue that is full for long: nothing moves, and the row of the status is
 * all that an operator can see of it. */
static void a_relay_that_is_only_refused_says_so(void **state)
{
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;
	wbi_relay_status status;
	MDB_txn *txn;

	relay_rig_start(rig);
	relay_rig_run(rig, 3000); /* what there was to say is said */
	wb_memory_nack_next(rig->memory, UINT32_MAX);
	relay_rig_append(rig, "a", "k");
	relay_rig_run(rig, 3000);
	assert_ok(wbi_txn_begin(wbi_store_relay_env(rig->store), false, &txn,
				&err),
		  err);
	assert_ok(wbi_relay_status_get(
			  txn, wbi_store_relay_tables(rig->store)->status,
			  &status, &err),
		  err);
	assert_true(status.counters[WBI_RELAY_NACKS] > 3);
	wbi_txn_abort(txn);
	wb_memory_nack_next(rig->memory, 0);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "1");
	relay_rig_fini(rig);
}

static void a_return_parks_its_key_and_no_other(void **state)
{
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 1);
	relay_rig_append(rig, "a", "bad");
	relay_rig_append(rig, "a", "good");
	relay_rig_append(rig, "a", "bad");
	relay_rig_settle(rig);
	relay_rig_append(rig, "a", "bad");
	relay_rig_append(rig, "a", "good");
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "2 5");
	assert_int_equal(wb_relay_get_stat(rig->relay).parked, 3);
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 5);
	/* Released while new ones come: still in order. */
	assert_ok(wbi_parked_retry(rig->store, S("bad"), 0, &operator, & err),
		  err);
	relay_rig_append(rig, "a", "bad");
	relay_rig_run(rig, 1);
	relay_rig_append(rig, "a", "bad");
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "2 5 1 3 4 6 7");
	relay_rig_append(rig, "a", "bad");
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "2 5 1 3 4 6 7 8");
	relay_rig_fini(rig);
}

static void parked_events_survive_the_relay(void **state)
{
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 2);
	relay_rig_append(rig, "a", "bad");
	relay_rig_append(rig, "a", "");
	relay_rig_settle(rig);
	relay_rig_kill(rig);
	relay_rig_append(rig, "a", "bad");
	relay_rig_start(rig);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "");
	assert_ok(wbi_parked_retry(rig->store, S(""), 2, &operator, & err),
		  err);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "2");
	assert_ok(wbi_parked_discard(rig->store, S("bad"), 1, &operator,
				     & err),
		  err);
	assert_ok(wbi_parked_retry(rig->store, S("bad"), 0, &operator, & err),
		  err);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "2 3");
	assert_code(wbi_parked_retry(rig->store, S("bad"), 0, &operator,
				     & err),
		    WB_ENOTFOUND, err);
	relay_rig_fini(rig);
}

static void a_released_event_that_is_returned_parks_again(void **state)
{
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 2);
	relay_rig_append(rig, "a", "bad");
	relay_rig_append(rig, "a", "bad");
	relay_rig_settle(rig);
	assert_ok(wbi_parked_retry(rig->store, S("bad"), 0, &operator, & err),
		  err);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "");
	assert_ok(wbi_parked_retry(rig->store, S("bad"), 0, &operator, & err),
		  err);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "1 2");
	relay_rig_fini(rig);
}

static void an_accepting_route_counts_what_is_not_routed(void **state)
{
	const wb_route route = {.type = "audit.#",
				.unroutable = WB_UNROUTABLE_ACCEPT};
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;
	char name[WBI_COUNT_NAME_MAX];
	uint64_t count = 0;
	MDB_txn *txn;

	relay_rig_routes(rig, &route, 1);
	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 2);
	relay_rig_append(rig, "audit.seen", "k");
	relay_rig_append(rig, "audit.seen", "k");
	relay_rig_append(rig, "audit.seen", "k");
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "3");
	assert_int_equal(wb_relay_get_stat(rig->relay).unrouted, 2);
	assert_ok(wbi_txn_begin(wbi_store_relay_env(rig->store), false, &txn,
				&err),
		  err);
	assert_ok(wbi_count_get(txn,
				wbi_store_relay_tables(rig->store)->status,
				wbi_relay_unrouted_name(S("audit.seen"), name),
				&count, &err),
		  err);
	wbi_txn_abort(txn);
	assert_int_equal(count, 2);
	relay_rig_fini(rig);
}

static void what_was_held_is_accepted_unrouted_too(void **state)
{
	const wb_route route = {.type = "other.#",
				.exchange = "other",
				.unroutable = WB_UNROUTABLE_ACCEPT};
	wb_declaration other = {.kind = WB_TOPOLOGY_EXCHANGE,
				.name = wb_str_from("other"),
				.exchange_type = wb_str_from("topic")};
	relay_rig *rig = rig_of(state);

	relay_rig_routes(rig, &route, 1);
	relay_rig_start(rig);
	relay_rig_append(rig, "other.a", "y");
	relay_rig_append(rig, "other.a", "y");
	relay_rig_settle(rig);
	assert_true(wb_relay_get_stat(rig->relay).held > 0);
	relay_rig_declare(rig, &other); /* and nothing is bound to it */
	relay_rig_run(rig, 6000);
	relay_rig_settle(rig);
	assert_int_equal(wb_relay_get_stat(rig->relay).held, 0);
	assert_int_equal(wb_relay_get_stat(rig->relay).parked, 0);
	assert_int_equal(wb_relay_get_stat(rig->relay).unrouted, 2);
	relay_rig_fini(rig);
}

/* Set aside under another route, and given back under this one. */
static void what_is_released_is_accepted_unrouted_too(void **state)
{
	const wb_route route = {.type = "audit.#",
				.unroutable = WB_UNROUTABLE_ACCEPT};
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 1);
	relay_rig_append(rig, "audit.seen", "k");
	relay_rig_settle(rig);
	assert_int_equal(wb_relay_get_stat(rig->relay).parked, 1);
	relay_rig_kill(rig);
	relay_rig_routes(rig, &route, 1);
	relay_rig_start(rig);
	relay_rig_run(rig, 2);
	wb_memory_return_next(rig->memory, 1);
	assert_ok(wbi_parked_retry(rig->store, S("k"), 0, &operator, & err),
		  err);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "");
	assert_int_equal(wb_relay_get_stat(rig->relay).unrouted, 1);
	assert_int_equal(wbi_parked_retry(rig->store, S("k"), 0, &operator,
					  NULL),
			 WB_ENOTFOUND);
	relay_rig_fini(rig);
}

static void a_missing_exchange_holds_its_events_only(void **state)
{
	const wb_route route = {.type = "other.#", .exchange = "other"};
	wb_declaration other = {.kind = WB_TOPOLOGY_EXCHANGE,
				.name = wb_str_from("other"),
				.exchange_type = wb_str_from("topic")};
	relay_rig *rig = rig_of(state);

	relay_rig_routes(rig, &route, 1);
	relay_rig_start(rig);
	relay_rig_append(rig, "a", "x");
	relay_rig_append(rig, "other.a", "y");
	relay_rig_append(rig, "a", "z");
	relay_rig_append(rig, "other.a", "y");
	relay_rig_settle(rig);
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 4);
	relay_rig_append(rig, "a", "z");
	relay_rig_append(rig, "other.b", "y");
	relay_rig_settle(rig);
	relay_rig_kill(rig);
	relay_rig_start(rig);
	relay_rig_append(rig, "other.c", "y");
	relay_rig_settle(rig);
	relay_rig_declare(rig, &other);
	relay_rig_bind(rig, "other", "#");
	relay_rig_run(rig, 6000);
	relay_rig_append(rig, "other.d", "y");
	relay_rig_settle(rig);
	assert_non_null(strstr(relay_rig_arrived(rig), "2 4 6 7 8"));
	/* What was in flight beside it when the channel closed came twice. */
	assert_in_range(wb_memory_get_queue_stat(rig->memory, "all").arrived,
			8, 10);
	relay_rig_fini(rig);
}

/* Appends go on at full speed beside the drain: the hold ends all the same. */
static void a_hold_ends_under_a_steady_backlog(void **state)
{
	const wb_route route = {.type = "other.#", .exchange = "other"};
	wb_declaration other = {.kind = WB_TOPOLOGY_EXCHANGE,
				.name = wb_str_from("other"),
				.exchange_type = wb_str_from("topic")};
	wb_memory_settings settings = WB_MEMORY_SETTINGS_INIT;
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;
	int ms = 0;

	settings.confirm_min_us = settings.confirm_max_us = 3000;
	assert_ok(wb_memory_set(rig->memory, &settings, &err), err);
	rig->options.window = 32;
	rig->options.probe_ms = 20;
	relay_rig_routes(rig, &route, 1);
	relay_rig_start(rig);
	relay_rig_append(rig, "other.a", "y");
	relay_rig_settle(rig);
	relay_rig_declare(rig, &other);
	relay_rig_bind(rig, "other", "#");
	for (; ms < 500; ms++) {
		for (int i = 0; i < 4; i++)
			relay_rig_append(rig, i ? "a" : "other.a", "");
		relay_rig_run(rig, 1);
		if (ms > 50 && wb_relay_get_stat(rig->relay).held == 0)
			break;
	}
	assert_true(ms < 500);
	relay_rig_fini(rig);
}

static void held_events_follow_routes_that_are_mended(void **state)
{
	const wb_route wrong = {.type = "other.#", .exchange = "othr"};
	relay_rig *rig = rig_of(state);

	relay_rig_routes(rig, &wrong, 1);
	relay_rig_start(rig);
	for (int i = 0; i < 3; i++) {
		relay_rig_append(rig, "other.a", "y");
		relay_rig_append(rig, "a", "z");
		relay_rig_append(rig, "other.a", "");
	}
	relay_rig_settle(rig);
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 9);
	relay_rig_kill(rig);
	relay_rig_append(rig, "other.b", "y");
	relay_rig_routes(rig, NULL, 0); /* all to "events" */
	relay_rig_start(rig);
	relay_rig_append(rig, "other.c", "y");
	relay_rig_settle(rig);
	assert_int_equal(wb_memory_get_queue_stat(rig->memory, "all").arrived,
			 11 + wb_relay_get_stat(rig->relay).repeats);
	assert_string_equal(relay_rig_arrived_of(rig, "y"), "1 4 7 10 11");
	relay_rig_fini(rig);
}

static void an_event_the_broker_cannot_take_parks_alone(void **state)
{
	wb_memory_settings settings = WB_MEMORY_SETTINGS_INIT;
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	settings.body_max_bytes = 1000;
	assert_ok(wb_memory_set(rig->memory, &settings, &err), err);
	relay_rig_start(rig);
	relay_rig_append(rig, "a", "x");
	relay_rig_append_size(rig, "a", "big", 2000);
	relay_rig_append(rig, "a", "big");
	relay_rig_append(rig, "a", "y");
	relay_rig_settle(rig);
	assert_non_null(strstr(relay_rig_arrived(rig), "1"));
	assert_non_null(strstr(relay_rig_arrived(rig), "4"));
	assert_int_equal(wb_relay_get_stat(rig->relay).parked, 2);
	relay_rig_fini(rig);
}

static void a_block_stops_sending_and_nothing_else(void **state)
{
	relay_rig *rig = rig_of(state);

	relay_rig_start(rig);
	relay_rig_append(rig, "a", "k");
	relay_rig_settle(rig);
	wb_memory_block(rig->memory, true);
	for (int i = 0; i < 5; i++)
		relay_rig_append(rig, "a", "k");
	relay_rig_run(rig, 200);
	assert_int_equal(wb_relay_get_stat(rig->relay).state,
			 WB_RELAY_BLOCKED);
	wb_memory_block(rig->memory, false);
	relay_rig_settle(rig);
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 6);
	relay_rig_fini(rig);
}

static void a_second_relay_waits_and_takes_over(void **state)
{
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;
	wb_broker *broker;
	wb_relay *second;

	relay_rig_start(rig);
	assert_ok(wb_memory_connect(rig->memory, &broker, &err), err);
	assert_ok(wb_relay_open(rig->store, broker, &rig->options, &second,
				&err),
		  err);
	relay_rig_append(rig, "a", "k");
	for (int i = 0; i < 1000; i++) {
		assert_ok(wb_relay_step(second, true, &err), err);
		fake_clock_advance_us(&rig->clock, 1000);
	}
	assert_int_equal(wb_relay_get_stat(second).state, WB_RELAY_WAITING);
	relay_rig_settle(rig);
	relay_rig_kill(rig);
	rig->relay = second;
	rig->broker = broker;
	relay_rig_append(rig, "a", "k");
	relay_rig_run(rig, 300);
	relay_rig_settle(rig);
	assert_string_equal(relay_rig_arrived(rig), "1 2");
	relay_rig_fini(rig);
}

static void stopping_drains_and_commits(void **state)
{
	wb_memory_settings settings = WB_MEMORY_SETTINGS_INIT;
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	settings.confirm_min_us = settings.confirm_max_us = 20000;
	assert_ok(wb_memory_set(rig->memory, &settings, &err), err);
	relay_rig_start(rig);
	for (int i = 0; i < 5; i++)
		relay_rig_append(rig, "a", "");
	relay_rig_run(rig, 4);
	assert_int_equal(wb_relay_get_stat(rig->relay).unconfirmed, 5);
	wb_relay_stop(rig->relay);
	relay_rig_run(rig, 100);
	assert_int_equal(wb_relay_get_stat(rig->relay).state,
			 WB_RELAY_STOPPED);
	assert_int_equal(wb_relay_get_stat(rig->relay).cursor, 5);
	relay_rig_fini(rig);
}

static void a_cursor_of_another_history_is_refused(void **state)
{
	static const struct {
		uint64_t position;
		const char *why;
	} wrong[] = {{7, "the journal ends at 1"},
		     {1, "another event stands at its position"}};
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;
	wb_relay *relay = NULL;

	relay_rig_start(rig);
	relay_rig_append(rig, "a", "k");
	relay_rig_settle(rig);
	relay_rig_kill(rig);
	assert_ok(wb_memory_connect(rig->memory, &rig->broker, &err), err);
	for (size_t i = 0; i < WBI_COUNT(wrong); i++) {
		test_set_cursor(rig->store, wrong[i].position,
				wrong[i].position);
		assert_int_equal(wb_relay_open(rig->store, rig->broker, NULL,
					       &relay, &err),
				 WB_EMISMATCH);
		assert_non_null(strstr(err.text, wrong[i].why));
		assert_null(relay);
		wb_error_clear(&err);
	}
	relay_rig_fini(rig);
}

#define T(test)                                                               \
	cmocka_unit_test_setup_teardown(test, test_place_setup,               \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(committed_events_arrive_in_order),
		T(a_restarted_relay_goes_on_behind_its_cursor),
		T(a_killed_relay_repeats_at_most_its_window),
		T(no_more_is_on_its_way_than_the_window),
		T(a_nack_is_sent_again_before_its_followers),
		T(a_relay_that_is_only_refused_says_so),
		T(a_return_parks_its_key_and_no_other),
		T(parked_events_survive_the_relay),
		T(a_released_event_that_is_returned_parks_again),
		T(an_accepting_route_counts_what_is_not_routed),
		T(what_was_held_is_accepted_unrouted_too),
		T(what_is_released_is_accepted_unrouted_too),
		T(a_missing_exchange_holds_its_events_only),
		T(a_hold_ends_under_a_steady_backlog),
		T(held_events_follow_routes_that_are_mended),
		T(an_event_the_broker_cannot_take_parks_alone),
		T(a_block_stops_sending_and_nothing_else),
		T(a_second_relay_waits_and_takes_over),
		T(stopping_drains_and_commits),
		T(a_cursor_of_another_history_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
