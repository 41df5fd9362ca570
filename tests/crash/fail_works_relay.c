/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A relay sends what is in the store; one event has no queue to go to, so that
 * it parks with those behind it of its key. If the relay stops, a new one is
 * opened on the same store. In the end the queue has each event that it should
 * have, in order, and no more repeats than a window.
 *
 * And an operator puts things right: discards one event that has parked,
 * releases the others, and mends a route whose exchange is not there.
 */
#include <waybill/memory.h>
#include <waybill/outbox.h>
#include <waybill/relay.h>

#include "lib/base/assert.h"
#include "lib/journal/parked.h"
#include "lib/store/store.h"
#include "outbox/parked.h"
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
	RELAY_ASTRAY = 5, /* this one has no queue */
	MEND_EVENTS = 9,
	MEND_GONE = 3 /* this one is discarded */
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

static wb_code relay_until(yard *y, const char *dir,
			   bool (*is_done)(const yard *y), wb_error *err)
{
	wb_code code = WB_OK;

	for (int i = 0; code == WB_OK && i < RELAY_TURNS; i++) {
		wb_error why = WB_ERROR_INIT;

		if (is_done(y))
			break;
		if (!fail_goes_on(wb_relay_step(y->relay, true, &why), &why))
			code = relay_again(y, dir, err);
		fake_clock_advance_us(&y->clock, RELAY_TURN_US);
	}
	return code;
}

static bool all_is_behind(const yard *y)
{
	return wb_relay_get_stat(y->relay).cursor == RELAY_EVENTS;
}

static wb_code relay_steps(yard *y, const char *dir, wb_error *err)
{
	wb_code code = relay_until(y, dir, all_is_behind, err);

	if (code == WB_OK)
		relay_judge(y);
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
	relay_judge(y);
	wb_relay_stop(y->relay);
	return wb_relay_run(y->relay, false, err);
}

static wb_code relay_do(const char *dir, const wb_route *route,
			wb_code (*how)(yard *y, const char *dir, wb_error *err),
			wb_error *err)
{
	wb_code code;
	yard y;

	memset(&y, 0, sizeof(y));
	fake_clock_init(&y.clock);
	seeded_random_init(&y.random, 1);
	code = wb_routes_new(route, 1, &y.routes, err);
	if (code == WB_OK)
		code = wb_memory_new(&y.clock.clock, &y.random.random,
				     &y.memory, err);
	if (code == WB_OK)
		relay_declare(&y);
	if (code == WB_OK)
		code = relay_open(&y, dir, err);
	if (code == WB_OK)
		code = how(&y, dir, err);
	relay_close(&y);
	wb_memory_free(y.memory);
	wb_routes_free(y.routes);
	return code;
}

static const wb_route noted = {.type = "#.noted"};

static wb_code relay_run(const char *dir, wb_error *err)
{
	return relay_do(dir, &noted, relay_steps, err);
}

static wb_code relay_loop_run(const char *dir, wb_error *err)
{
	return relay_do(dir, &noted, relay_loop, err);
}

static void relay_check(const char *dir, wb_code code)
{
	(void)code;
	crash_assert_sound(test_path(dir, "store"));
}

/* ---- what an operator puts right ----------------------------------------- */

/* Of three keys, one of them none; each third goes to an exchange that is not
 * there, three have no queue. */
static void mend_prepare(const char *dir)
{
	static const char *const types[] = {"placed", "placed", "stray",
					    "other",  "stray",  "placed",
					    "other",  "placed", "stray"};
	static const char *const keys[] = {"odd", "even", ""};
	wb_store *store = test_store_make(test_path(dir, "store"));
	wb_error err = WB_ERROR_INIT;
	wb_outbox *outbox;
	MDB_txn *txn;

	assert_ok(wb_outbox_open(store, NULL, &outbox, &err), err);
	assert_ok(wb_store_begin(store, &txn, &err), err);
	for (int i = 1; i <= MEND_EVENTS; i++) {
		char data[16];
		wb_event event = {.type = wb_str_from(types[i - 1]),
				  .key = wb_str_from(keys[i % 4 % 3])};

		snprintf(data, sizeof(data), "%d", i);
		event.data = wb_str_from(data);
		assert_ok(wb_outbox_append(outbox, txn, &event, NULL, &err),
			  err);
	}
	assert_ok(wb_store_commit(store, txn, &err), err);
	wb_outbox_close(outbox);
	wb_store_close(store);
}

static bool all_is_parked_or_held(const yard *y)
{
	return wb_relay_get_stat(y->relay).cursor == MEND_EVENTS;
}

/* But for the one that was discarded. */
static bool each_is_there(const yard *y)
{
	unsigned there = 0;
	const wb_message *m;

	for (uint64_t i = 0; (m = wb_memory_arrival(y->memory, "q", i)); i++)
		there |= 1u << (m->body.ptr[0] - '0');
	assert_false(there & 1u << MEND_GONE);
	return there == (1u << (MEND_EVENTS + 1)) - 2 - (1u << MEND_GONE);
}

typedef struct parked_rows {
	struct {
		char key[8];
		uint64_t position;
	} rows[MEND_EVENTS];
	size_t count;
} parked_rows;

static bool note_parked(void *ctx, wb_str key, uint64_t position,
			const wbi_parked *row)
{
	parked_rows *p = ctx;

	(void)row;
	assert_true(p->count < MEND_EVENTS && key.len < 8);
	snprintf(p->rows[p->count].key, 8, "%.*s", (int)key.len,
		 key.len ? key.ptr : "");
	p->rows[p->count++].position = position;
	return true;
}

static wb_code list_parked(wb_store *store, parked_rows *ret, wb_error *err)
{
	MDB_txn *txn;
	wb_code code =
		wbi_txn_begin(wbi_store_relay_env(store), false, &txn, err);

	ret->count = 0;
	if (code != WB_OK)
		return code;
	code = wbi_parked_each(store, txn, NULL, note_parked, ret, err);
	wbi_txn_abort(txn);
	return code;
}

/* One call of the operator's: refused once at most, then taken. */
static void insist(wb_store *store, bool discard, wb_str key, uint64_t position)
{
	const wbi_actor ann = {S("ann"), S("by hand")};

	for (int i = 0; i < 2; i++) {
		wb_error why = WB_ERROR_INIT;
		wb_code code =
			discard ? wbi_parked_discard(store, key, position, &ann,
						     &why)
				: wbi_parked_retry(store, key, position, &ann,
						   &why);

		if (code == WB_OK)
			return;
		fail_judge(code, &why);
	}
	fail_msg("refused twice");
}

static wb_code mend_parked(yard *y, wb_error *err)
{
	parked_rows parked;
	wb_code code = list_parked(y->store, &parked, err);

	for (size_t i = 0; code == WB_OK && i < parked.count; i++)
		insist(y->store, parked.rows[i].position == MEND_GONE,
		       wb_str_from(parked.rows[i].key),
		       parked.rows[i].position);
	return code;
}

static void bind_all(yard *y)
{
	const wb_declaration all = {.kind = WB_TOPOLOGY_BINDING,
				    .name = S("q"),
				    .exchange = S("events"),
				    .binding_key = S("#")};
	wb_error err = WB_ERROR_INIT;
	wb_broker *broker;

	fail_hold(true);
	assert_ok(wb_memory_connect(y->memory, &broker, &err), err);
	assert_ok(wb_broker_connect(broker, &err), err);
	wb_broker_step(broker);
	assert_ok(wb_broker_declare(broker, &all, 1, &err), err);
	wb_broker_step(broker);
	wb_broker_free(broker);
	fail_hold(false);
}

static wb_code mend_all(yard *y, const char *dir, wb_error *err)
{
	wb_routes *wrong = y->routes;
	wb_code code = relay_until(y, dir, all_is_parked_or_held, err);

	if (code == WB_OK)
		code = mend_parked(y, err);
	bind_all(y);
	/* The exchange was a mistake: all goes to "events" now. */
	y->routes = NULL;
	if (code == WB_OK)
		code = relay_again(y, dir, err);
	if (code == WB_OK)
		code = relay_until(y, dir, each_is_there, err);
	if (code == WB_OK)
		assert_true(each_is_there(y));
	relay_close(y);
	y->routes = wrong;
	return code;
}

static wb_code mend_run(const char *dir, wb_error *err)
{
	const wb_route route = {.type = "other", .exchange = "other"};

	return relay_do(dir, &route, mend_all, err);
}

const fail_work fail_relay = {"relay", relay_prepare, relay_run, relay_check};
const fail_work fail_mend = {"mend", mend_prepare, mend_run, relay_check};
const fail_work fail_relay_loop = {"relay-loop", relay_prepare, relay_loop_run,
				   relay_check};
