/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/outbox/relay_rig.h"

#include <stdlib.h>

#include "tests/support/testing.h"

static void rig_pump_admin(relay_rig *rig, wb_broker_event_kind want)
{
	wb_broker_event event;

	for (int i = 0; i < 100; i++) {
		wb_broker_step(rig->admin);
		while (wb_broker_next(rig->admin, &event)) {
			if (event.kind == want)
				return;
			assert_int_not_equal(event.kind,
					     WB_BROKER_DECLARE_FAILED);
		}
		fake_clock_advance_us(&rig->clock, 1000);
	}
	fail_msg("the broker does not answer");
}

void relay_rig_declare(relay_rig *rig, const wb_declaration *what)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_broker_declare(rig->admin, what, 1, &err), err);
	rig_pump_admin(rig, WB_BROKER_DECLARED);
}

void relay_rig_bind(relay_rig *rig, const char *exchange, const char *key)
{
	wb_declaration what = {.kind = WB_TOPOLOGY_BINDING,
			       .name = wb_str_from("all"),
			       .exchange = wb_str_from(exchange),
			       .binding_key = wb_str_from(key)};

	relay_rig_declare(rig, &what);
}

static void rig_exchange(relay_rig *rig, const char *name)
{
	wb_declaration what = {.kind = WB_TOPOLOGY_EXCHANGE,
			       .name = wb_str_from(name),
			       .exchange_type = wb_str_from("topic")};

	relay_rig_declare(rig, &what);
}

void relay_rig_init(relay_rig *rig, const char *dir, uint64_t seed)
{
	wb_store_options options = test_store_options();
	wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE,
				.name = wb_str_from("all")};
	wb_error err = WB_ERROR_INIT;

	memset(rig, 0, sizeof(*rig));
	fake_clock_init(&rig->clock);
	seeded_random_init(&rig->random, seed);
	options.clock = &rig->clock.clock;
	options.random = &rig->random.random;
	assert_ok(wb_store_create(dir, &options, &err), err);
	assert_ok(wb_store_open(dir, &options, &rig->store, &err), err);
	assert_ok(wb_outbox_open(rig->store, NULL, &rig->outbox, &err), err);
	assert_ok(wb_memory_new(&rig->clock.clock, &rig->random.random,
				&rig->memory, &err),
		  err);
	assert_ok(wb_memory_connect(rig->memory, &rig->admin, &err), err);
	assert_ok(wb_broker_connect(rig->admin, &err), err);
	rig_pump_admin(rig, WB_BROKER_UP);
	rig_exchange(rig, "events");
	relay_rig_declare(rig, &queue);
	relay_rig_bind(rig, "events", "#");
	rig->options = (wb_relay_options)WB_RELAY_OPTIONS_INIT;
}

void relay_rig_fini(relay_rig *rig)
{
	relay_rig_kill(rig);
	wb_broker_free(rig->admin);
	wb_memory_free(rig->memory);
	wb_routes_free(rig->routes);
	wb_outbox_close(rig->outbox);
	wb_store_close(rig->store);
}

void relay_rig_routes(relay_rig *rig, const wb_route *routes, size_t count)
{
	wb_error err = WB_ERROR_INIT;

	wb_routes_free(rig->routes);
	rig->routes = NULL;
	assert_ok(wb_routes_new(routes, count, &rig->routes, &err), err);
	rig->options.routes = rig->routes;
}

void relay_rig_start(relay_rig *rig)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_memory_connect(rig->memory, &rig->broker, &err), err);
	assert_ok(wb_relay_open(rig->store, rig->broker, &rig->options,
				&rig->relay, &err),
		  err);
}

void relay_rig_kill(relay_rig *rig)
{
	wb_relay_close(rig->relay);
	wb_broker_free(rig->broker);
	rig->relay = NULL;
	rig->broker = NULL;
}

uint64_t relay_rig_append_size(relay_rig *rig, const char *type,
			       const char *key, size_t size)
{
	wb_event event = {.type = wb_str_from(type), .key = wb_str_from(key)};
	wb_error err = WB_ERROR_INIT;
	char *data = calloc(1, size + 1);
	uint64_t position = 0;
	MDB_txn *txn;

	assert_non_null(data);
	event.data = wb_str_n(data, size);
	assert_ok(wb_store_begin(rig->store, &txn, &err), err);
	assert_ok(wb_outbox_append(rig->outbox, txn, &event, &position, &err),
		  err);
	assert_ok(wb_store_commit(rig->store, txn, &err), err);
	free(data);
	return position;
}

uint64_t relay_rig_append(relay_rig *rig, const char *type, const char *key)
{
	return relay_rig_append_size(rig, type, key, 10);
}

void relay_rig_run(relay_rig *rig, int64_t ms)
{
	wb_error err = WB_ERROR_INIT;

	for (int64_t i = 0; i < ms; i++) {
		assert_ok(wb_relay_step(rig->relay, true, &err), err);
		fake_clock_advance_us(&rig->clock, 1000);
	}
}

void relay_rig_settle(relay_rig *rig)
{
	wb_error err = WB_ERROR_INIT;

	for (int i = 0; i < 60000; i++) {
		assert_ok(wb_relay_step(rig->relay, i % 20 == 0, &err), err);
		if (wb_relay_get_stat(rig->relay).idle)
			return;
		fake_clock_advance_us(&rig->clock, 1000);
	}
	fail_msg("the relay does not come to rest");
}

const char *relay_rig_arrived_of(relay_rig *rig, const char *key)
{
	static char text[8192];
	size_t len = 0;

	text[0] = '\0';
	for (uint64_t i = 0; len < sizeof(text) - 32; i++) {
		const wb_message *m = wb_memory_arrival(rig->memory, "all", i);
		wb_str of;

		if (!m)
			break;
		of = wb_memory_header(m, "ce-partitionkey");
		if (key && !wb_str_eq(of, wb_str_from(key)))
			continue;
		of = wb_memory_header(m, "ce-wbposition");
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"%s%.*s", len ? " " : "", (int)of.len,
					of.ptr);
	}
	return text;
}

const char *relay_rig_arrived(relay_rig *rig)
{
	return relay_rig_arrived_of(rig, NULL);
}
