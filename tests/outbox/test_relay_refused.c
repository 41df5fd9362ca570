/* SPDX-License-Identifier: BSD-2-Clause */
/* What a relay does not take, what it calls its states, and what it counts when
 * there is more than it has names for. */
#include "tests/outbox/relay_rig.h"

#include <stdlib.h>
#include <string.h>

#include "lib/journal/parked.h"
#include "outbox/relay_internal.h"
#include "outbox/relay_report.h"
#include "tests/support/testing.h"

static relay_rig *rig_of(void **state)
{
	static relay_rig rig;
	test_place *place = *state;

	relay_rig_init(&rig, place->store, 3);
	return &rig;
}

static void a_relay_needs_a_store_a_broker_and_its_options(void **state)
{
	relay_rig *rig = rig_of(state);
	wb_relay_options options = WB_RELAY_OPTIONS_INIT, bad = options;
	wb_error err = WB_ERROR_INIT;
	wb_relay *relay = NULL;

	relay_rig_start(rig); /* it has a broker now */
	assert_code(wb_relay_open(NULL, rig->broker, &options, &relay, &err),
		    WB_EINVAL, err);
	assert_code(wb_relay_open(rig->store, NULL, &options, &relay, &err),
		    WB_EINVAL, err);
	assert_code(
		wb_relay_open(rig->store, rig->broker, &options, NULL, &err),
		WB_EINVAL, err);
	bad.size = 8;
	assert_code(wb_relay_open(rig->store, rig->broker, &bad, &relay, &err),
		    WB_EINVAL, err);
	bad = options;
	bad.window = 65537;
	assert_code(wb_relay_open(rig->store, rig->broker, &bad, &relay, &err),
		    WB_EINVAL, err);
	assert_null(relay);
	/* All of it may be left to itself; this one waits. */
	assert_ok(wb_relay_open(rig->store, rig->broker, NULL, &relay, &err),
		  err);
	wb_relay_close(relay);
	wb_relay_close(NULL);
	relay_rig_fini(rig);
}

static void states_and_counters_have_names(void **state)
{
	char name[WBI_COUNT_NAME_MAX], long_type[WBI_COUNT_NAME_MAX];

	(void)state;
	assert_string_equal(wbi_relay_state_name(WB_RELAY_DRAINING),
			    "draining");
	assert_string_equal(wbi_relay_state_name((wb_relay_state)99),
			    "unknown");
	assert_string_equal(wbi_relay_counter_name(WBI_RELAY_NACKS), "nacks");
	assert_string_equal(wbi_relay_counter_name(WBI_RELAY_COUNTERS),
			    "unknown");
	memset(long_type, 'x', sizeof(long_type));
	assert_int_equal(wbi_relay_unrouted_name(
				 wb_str_n(long_type, sizeof(long_type)), name)
				 .len,
			 WBI_COUNT_NAME_MAX);
	assert_int_equal(wbi_relay_unrouted_name(WB_STR_NULL, name).len,
			 strlen("unrouted/"));
}

/* Between two commits; those that it knows already go on under their names. */
static void types_beyond_its_names_are_counted_together(void **state)
{
	relay_rig *rig = rig_of(state);
	char type[16];

	relay_rig_start(rig);
	for (int i = 0; i < RELAY_UNROUTED_MAX + 5; i++) {
		snprintf(type, sizeof(type), "t%d", i);
		wbi_relay_count_unrouted(rig->relay, wb_str_from(type));
		wbi_relay_count_unrouted(rig->relay, S("t0"));
	}
	assert_int_equal(rig->relay->unrouted_count, RELAY_UNROUTED_MAX);
	assert_int_equal(rig->relay->unrouted[0].count, RELAY_UNROUTED_MAX + 6);
	assert_string_equal(rig->relay->unrouted[RELAY_UNROUTED_MAX - 1].type,
			    "(other)");
	assert_int_equal(rig->relay->unrouted[RELAY_UNROUTED_MAX - 1].count, 6);
	relay_rig_fini(rig);
}

static void a_hold_whose_routes_cannot_be_read_stops_it(void **state)
{
	const wbi_held held = {.first_position = 1,
			       .text = S("missing"),
			       .routes = S("no tab in it\n")};
	relay_rig *rig = rig_of(state);
	wb_error err = WB_ERROR_INIT;
	wb_broker *broker = NULL;
	wb_relay *relay = NULL;
	MDB_txn *txn;

	relay_rig_append(rig, "a", "k");
	assert_ok(wbi_txn_begin(wbi_store_relay_env(rig->store), true, &txn,
				&err),
		  err);
	assert_ok(wbi_held_put(txn, wbi_store_relay_tables(rig->store)->held,
			       S("other"), &held, &err),
		  err);
	assert_ok(wbi_txn_commit(txn, &err), err);
	assert_ok(wb_memory_connect(rig->memory, &broker, &err), err);
	assert_int_equal(wb_relay_open(rig->store, broker, NULL, &relay, &err),
			 WB_ECORRUPT);
	assert_null(relay);
	assert_non_null(strstr(err.text, "routes cannot be read"));
	wb_broker_free(broker);
	relay_rig_fini(rig);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_relay_needs_a_store_a_broker_and_its_options),
		T(states_and_counters_have_names),
		T(types_beyond_its_names_are_counted_together),
		T(a_hold_whose_routes_cannot_be_read_stops_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
