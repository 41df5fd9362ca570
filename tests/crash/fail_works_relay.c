/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A relay sends what is in the store; one event has no queue to go to, so that
 * it parks with those behind it of its key. If the relay stops, a new one is
 * opened on the same store. In the end the queue has each event that it should
 * have, in order, and no more repeats than a window.
 */
#include <waybill/memory.h>
#include <waybill/outbox.h>
#include <waybill/relay.h>

#include "lib/base/assert.h"
#include "lib/store/store.h"
#include "tests/crash/crash_points.h"
#include "tests/crash/fail_points.h"
#include "tests/support/fake_clock.h"
#include "tests/support/place.h"
#include "tests/support/seeded_random.h"
#include "tests/support/testing.h"

enum {
	RELAY_TURNS = 600,
	RELAY_TURN_US = 10000,
	RELAY_EVENTS = 8,
	RELAY_WINDOW = 4,
	RELAY_ASTRAY = 5 /* this one has no queue */
};

typedef struct yard {
	fake_clock clock;
	seeded_random random;
	wb_memory *memory;
	wb_broker *broker;
	wb_routes *routes;
	wb_store *store;
	wb_relay *relay;
} yard;

static void relay_prepare(const char *dir)
{
	wb_store *store = test_store_make(test_path(dir, "store"));
	wb_error err = WB_ERROR_INIT;
	wb_outbox *outbox;
	MDB_txn *txn;

	assert_ok(wb_outbox_open(store, NULL, &outbox, &err), err);
	for (int i = 1; i <= RELAY_EVENTS; i++) {
		char data[16];
		wb_event event = {.type = i == RELAY_ASTRAY ? S("stray")
							    : S("placed"),
				  .key = i % 2 ? S("odd") : S("even")};

		snprintf(data, sizeof(data), "%d", i);
		event.data = wb_str_from(data);
		assert_ok(wb_store_begin(store, &txn, &err), err);
		assert_ok(wb_outbox_append(outbox, txn, &event, NULL, &err),
			  err);
		assert_ok(wb_store_commit(store, txn, &err), err);
	}
	wb_outbox_close(outbox);
	wb_store_close(store);
}

static void relay_declare(yard *y)
{
	const wb_declaration all[] = {
		{.kind = WB_TOPOLOGY_EXCHANGE,
		 .name = S("events"),
		 .exchange_type = S("topic")},
		{.kind = WB_TOPOLOGY_QUEUE, .name = S("q")},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = S("q"),
		 .exchange = S("events"),
		 .binding_key = S("placed")}};
	wb_error err = WB_ERROR_INIT;
	wb_broker *broker;

	fail_hold(true);
	assert_ok(wb_memory_connect(y->memory, &broker, &err), err);
	assert_ok(wb_broker_connect(broker, &err), err);
	wb_broker_step(broker);
	for (size_t i = 0; i < WBI_COUNT(all); i++)
		assert_ok(wb_broker_declare(broker, &all[i], i, &err), err);
	wb_broker_step(broker);
	wb_broker_free(broker);
	fail_hold(false);
}

static wb_code relay_open(yard *y, const char *dir, wb_error *err)
{
	wb_relay_options options = WB_RELAY_OPTIONS_INIT;
	wb_code code;

	options.clock = &y->clock.clock;
	options.random = &y->random.random;
	options.routes = y->routes;
	options.window = RELAY_WINDOW;
	code = wb_store_open(test_path(dir, "store"), NULL, &y->store, err);
	if (code == WB_OK)
		code = wb_memory_connect(y->memory, &y->broker, err);
	if (code == WB_OK)
		code = wb_relay_open(y->store, y->broker, &options, &y->relay,
				     err);
	return code;
}

static void relay_close(yard *y)
{
	wb_relay_close(y->relay);
	wb_broker_free(y->broker);
	wb_store_close(y->store);
	y->relay = NULL;
	y->broker = NULL;
	y->store = NULL;
}

/* Closed and opened anew, as whoever starts it would. */
static wb_code relay_again(yard *y, const char *dir, wb_error *err)
{
	relay_close(y);
	return relay_open(y, dir, err);
}

static wb_code relay_steps(yard *y, const char *dir, wb_error *err)
{
	wb_code code = WB_OK;

	for (int i = 0; code == WB_OK && i < RELAY_TURNS; i++) {
		wb_error why = WB_ERROR_INIT;

		if (wb_relay_get_stat(y->relay).cursor == RELAY_EVENTS)
			break;
		if (!fail_goes_on(wb_relay_step(y->relay, true, &why), &why))
			code = relay_again(y, dir, err);
		fake_clock_advance_us(&y->clock, RELAY_TURN_US);
	}
	return code;
}

/* The same inside a host's event loop, whose clock is ours; then to its end. */
static wb_code relay_loop(yard *y, const char *dir, wb_error *err)
{
	wb_code code = WB_OK;
	int fd;

	for (int i = 0; code == WB_OK && i < RELAY_TURNS; i++) {
		wb_error why = WB_ERROR_INIT;

		if (wb_relay_get_stat(y->relay).cursor == RELAY_EVENTS)
			break;
		if (!fail_goes_on(wb_relay_fd(y->relay, &fd, &why), &why) ||
		    !fail_goes_on(wb_relay_dispatch(y->relay, &why), &why))
			code = relay_again(y, dir, err);
		fake_clock_advance_us(&y->clock, RELAY_TURN_US);
	}
	if (code != WB_OK)
		return code;
	wb_relay_stop(y->relay);
	return wb_relay_run(y->relay, false, err);
}

static void relay_assert_parked(const yard *y, uint64_t count)
{
	uint64_t bytes, rows;
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;

	fail_hold(true);
	assert_ok(
		wbi_txn_begin(wbi_store_relay_env(y->store), false, &txn, &err),
		err);
	assert_ok(wbi_table_size(txn, wbi_store_relay_tables(y->store)->parked,
				 &bytes, &rows, &err),
		  err);
	wbi_txn_abort(txn);
	fail_hold(false);
	assert_int_equal(rows, count);
}

/* All but the stray one, in order per key; it is parked, and what follows it of
 * its key as well. */
static void relay_judge(const yard *y)
{
	wb_relay_stat stat = wb_relay_get_stat(y->relay);
	int last[2] = {0, 0}, repeats = 0;
	const wb_message *m;

	assert_int_equal(stat.cursor, RELAY_EVENTS);
	for (uint64_t i = 0; (m = wb_memory_arrival(y->memory, "q", i)); i++) {
		int n = m->body.ptr[0] - '0';

		if (n <= last[n % 2])
			repeats++;
		else
			assert_int_equal(n, last[n % 2] ? last[n % 2] + 2
							: 2 - n % 2);
		last[n % 2] = n > last[n % 2] ? n : last[n % 2];
	}
	assert_int_equal(last[0], RELAY_EVENTS);
	assert_int_equal(last[1], RELAY_ASTRAY - 2);
	assert_in_range(repeats, 0, RELAY_WINDOW);
	relay_assert_parked(y, (RELAY_EVENTS - RELAY_ASTRAY) / 2 + 1);
}

static wb_code relay_do(const char *dir,
			wb_code (*how)(yard *y, const char *dir, wb_error *err),
			wb_error *err)
{
	const wb_route route = {.type = "#.noted"};
	wb_code code;
	yard y;

	memset(&y, 0, sizeof(y));
	fake_clock_init(&y.clock);
	seeded_random_init(&y.random, 1);
	code = wb_routes_new(&route, 1, &y.routes, err);
	if (code == WB_OK)
		code = wb_memory_new(&y.clock.clock, &y.random.random,
				     &y.memory, err);
	if (code == WB_OK)
		relay_declare(&y);
	if (code == WB_OK)
		code = relay_open(&y, dir, err);
	if (code == WB_OK)
		code = how(&y, dir, err);
	if (code == WB_OK)
		relay_judge(&y);
	relay_close(&y);
	wb_memory_free(y.memory);
	wb_routes_free(y.routes);
	return code;
}

static wb_code relay_run(const char *dir, wb_error *err)
{
	return relay_do(dir, relay_steps, err);
}

static wb_code relay_loop_run(const char *dir, wb_error *err)
{
	return relay_do(dir, relay_loop, err);
}

static void relay_check(const char *dir, wb_code code)
{
	(void)code;
	crash_assert_sound(test_path(dir, "store"));
}

const fail_work fail_relay = {"relay", relay_prepare, relay_run, relay_check};
const fail_work fail_relay_loop = {"relay-loop", relay_prepare, relay_loop_run,
				   relay_check};
