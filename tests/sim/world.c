/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Building and tearing down a world. Its store lies in a directory of its own,
 * removed at the end; a simulator that is killed leaves that directory.
 */
#include "tests/sim/world.h"

#include <stdarg.h>
#include <stdlib.h>

#include "tests/sim/scratch.h"

void sim_fail(sim_world *w, const char *format, ...)
{
	va_list args;

	if (w->failed)
		return;
	w->failed = true;
	va_start(args, format);
	vsnprintf(w->why, sizeof(w->why), format, args);
	va_end(args);
}

void sim_log(sim_world *w, const char *format, ...)
{
	va_list args;

	if (!w->log)
		return;
	fprintf(w->log, "%12lld  ", (long long)w->clock.mono_us);
	va_start(args, format);
	vfprintf(w->log, format, args);
	va_end(args);
	fputc('\n', w->log);
}

/* ---- store and broker -------------------------------------------------- */

static void world_open_store(sim_world *w, bool create)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	char path[PATH_MAX + 8];

	options.service = "sim";
	options.map_bytes = 64 << 20;
	options.clock = &w->clock.clock;
	options.random = &w->relay_random.random;
	snprintf(path, sizeof(path), "%s/store", w->dir);
	if ((create && wb_store_create(path, &options, &w->err) != WB_OK) ||
	    wb_store_open(path, &options, &w->store, &w->err) != WB_OK ||
	    wb_outbox_open(w->store, NULL, &w->outbox, &w->err) != WB_OK)
		sim_fail(w, "store: %s", w->err.text);
}

static void world_declare(sim_world *w, const wb_declaration *what)
{
	wb_broker_event event = {.kind = WB_BROKER_NONE};

	if (wb_broker_declare(w->admin, what, 1, &w->err) != WB_OK)
		sim_fail(w, "declare: %s", w->err.text);
	wb_broker_step(w->admin);
	if (!wb_broker_next(w->admin, &event) ||
	    event.kind != WB_BROKER_DECLARED)
		sim_fail(w, "declare: %s", event.error.text);
}

static void world_declare_exchange(sim_world *w, const char *name)
{
	const wb_declaration exchange = {
		.kind = WB_TOPOLOGY_EXCHANGE,
		.name = wb_str_from(name),
		.exchange_type = wb_str_from("topic"),
	};
	const wb_declaration binding = {
		.kind = WB_TOPOLOGY_BINDING,
		.name = wb_str_from("all"),
		.exchange = wb_str_from(name),
		.binding_key = wb_str_from("#"),
	};

	world_declare(w, &exchange);
	world_declare(w, &binding);
}

static void world_make_broker(sim_world *w)
{
	const wb_declaration queue = {
		.kind = WB_TOPOLOGY_QUEUE,
		.name = wb_str_from("all"),
	};
	wb_broker_event event = {.kind = WB_BROKER_NONE};

	if (wb_memory_new(&w->clock.clock, &w->broker_random.random, &w->memory,
			  &w->err) != WB_OK ||
	    wb_memory_connect(w->memory, &w->admin, &w->err) != WB_OK ||
	    wb_broker_connect(w->admin, &w->err) != WB_OK) {
		sim_fail(w, "broker: %s", w->err.text);
		return;
	}
	wb_broker_step(w->admin);
	wb_broker_next(w->admin, &event);
	world_declare(w, &queue);
	world_declare_exchange(w, "events");
	world_declare_exchange(w, "orders");
}

/* ---- the seed's choices ------------------------------------------------ */

static void world_choose_relay(sim_world *w)
{
	static const uint32_t windows[] = {1, 7, 50, 2000};

	w->options = (wb_relay_options)WB_RELAY_OPTIONS_INIT;
	w->options.routes = w->routes;
	w->options.window = windows[seeded_random_below(&w->random, 4)];
	w->options.probe_ms = 200;
	w->options.backoff_min_ms = 5;
	w->options.backoff_max_ms = 300;
	w->options.confirm_timeout_ms = 5000;
	w->options.clock = &w->clock.clock;
	w->options.random = &w->relay_random.random;
}

static uint16_t world_some(sim_world *w, uint64_t most)
{
	return seeded_random_chance(&w->random, 500)
		       ? 0
		       : (uint16_t)seeded_random_below(&w->random, most + 1);
}

static void world_choose_broker(sim_world *w)
{
	wb_memory_settings s = WB_MEMORY_SETTINGS_INIT;
	wb_memory_chaos chaos = WB_MEMORY_CHAOS_INIT;

	s.confirm_max_us = (uint32_t)seeded_random_below(&w->random, 20000);
	s.confirm_order = (wb_memory_order)seeded_random_below(&w->random, 3);
	s.heartbeat_ms = 50 + (uint32_t)seeded_random_below(&w->random, 1000);
	s.unsettled_max = seeded_random_chance(&w->random, 200) ? 5 : 0;
	chaos.nack = world_some(w, 80);
	chaos.return_ = world_some(w, 20);
	chaos.cut = world_some(w, 40);
	chaos.channel_close = world_some(w, 30);
	chaos.hide_exchange = world_some(w, 10);
	chaos.freeze = world_some(w, 5);
	chaos.block = world_some(w, 5);
	chaos.refuse = world_some(w, 300);
	chaos.outage_max_us = 400000;
	chaos.read_max = (uint32_t)seeded_random_below(&w->random, 40);
	if (wb_memory_set(w->memory, &s, &w->err) != WB_OK ||
	    wb_memory_set_chaos(w->memory, &chaos, &w->err) != WB_OK)
		sim_fail(w, "chaos: %s", w->err.text);
}

/* ---- relays ------------------------------------------------------------ */

void sim_relay_start(sim_world *w, sim_relay *r)
{
	uint64_t life = w->calm ? 0 : 1 + seeded_random_below(&w->random, 2000);
	wb_broker *connection;

	if (w->failed)
		return;
	if (wb_memory_connect(w->memory, &connection, &w->err) != WB_OK) {
		sim_fail(w, "connect: %s", w->err.text);
		return;
	}
	r->mortal = sim_mortal_new(connection, life);
	if (!r->mortal) {
		wb_broker_free(connection);
		sim_fail(w, "out of memory");
		return;
	}
	if (wb_relay_open(w->store, sim_mortal_broker(r->mortal), &w->options,
			  &r->relay, &w->err) != WB_OK)
		sim_fail(w, "relay: %s", w->err.text);
	sim_log(w, "a relay starts");
}

void sim_relay_kill(sim_world *w, sim_relay *r)
{
	if (!r->mortal)
		return;
	sim_log(w, "a relay dies");
	wb_relay_close(r->relay);
	wb_broker_free(sim_mortal_broker(r->mortal));
	*r = (sim_relay){NULL, NULL};
}

void sim_world_reopen(sim_world *w)
{
	for (size_t i = 0; i < SIM_RELAYS; i++)
		sim_relay_kill(w, &w->relays[i]);
	wb_outbox_close(w->outbox);
	wb_store_close(w->store);
	w->outbox = NULL;
	w->store = NULL;
	world_open_store(w, false);
	w->tally.restarts++;
}

/* ---- the whole --------------------------------------------------------- */

bool sim_world_init(sim_world *w, uint64_t seed, const char *base, FILE *log)
{
	static const wb_route routes[] = {
		{.type = "order.#", .exchange = "orders"},
		{.type = SIM_ACCEPTED_TYPE, .unroutable = WB_UNROUTABLE_ACCEPT},
	};

	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->log = log;
	fake_clock_init(&w->clock);
	seeded_random_init(&w->random, seed);
	seeded_random_init(&w->broker_random, seed ^ 0x62726f6b6572u);
	seeded_random_init(&w->relay_random, seed ^ 0x72656c6179u);
	w->checker = checker_new();
	if (!sim_scratch_make(base, w->dir) || !w->checker) {
		sim_fail(w, "cannot make a directory in %s", base);
		return false;
	}
	if (wb_routes_new(routes, 2, &w->routes, &w->err) != WB_OK)
		sim_fail(w, "routes: %s", w->err.text);
	world_open_store(w, true);
	world_make_broker(w);
	if (w->failed)
		return false;
	world_choose_relay(w);
	world_choose_broker(w);
	return !w->failed;
}

void sim_world_fini(sim_world *w)
{
	for (size_t i = 0; i < SIM_RELAYS; i++)
		sim_relay_kill(w, &w->relays[i]);
	wb_broker_free(w->admin);
	wb_memory_free(w->memory);
	wb_outbox_close(w->outbox);
	wb_store_close(w->store);
	wb_routes_free(w->routes);
	checker_free(w->checker);
	sim_scratch_remove(w->dir);
}
