/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Building and tearing down a world. Its store lies in a directory of its own,
 * removed at the end; a simulator that is killed leaves that directory.
 */
#include "tests/sim/world.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include "lib/journal/maintain.h"
#include "lib/store/store.h"
#include "tests/kit/commits.h"
#include "tests/kit/scratch.h"

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

/* What the code under test says, when the whole story is wanted. */
static void world_write_log(void *ctx, wb_log_level level, const char *text)
{
	(void)level;
	sim_log(ctx, "%s", text);
}

/* ---- store ------------------------------------------------------------- */

char *sim_world_path(const sim_world *w, const char *name, unsigned number,
		     char ret[PATH_MAX])
{
	if (snprintf(ret, PATH_MAX, "%s/%s%u", w->dir, name, number) >=
	    PATH_MAX)
		ret[0] = '\0';
	return ret;
}

static void world_open_store(sim_world *w, bool create)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	char path[PATH_MAX];

	options.service = "sim";
	options.map_bytes = 64 << 20;
	options.quota_bytes = w->quota_bytes;
	options.keep_bytes = w->streams || w->keeps_all ? UINT64_MAX : 0;
	options.clock = &w->clock.clock;
	options.random = &w->relay_random.random;
	sim_world_path(w, "store", w->store_number, path);
	if ((create && wb_store_create(path, &options, &w->err) != WB_OK) ||
	    wb_store_open(path, &options, &w->store, &w->err) != WB_OK ||
	    wb_outbox_open(w->store, NULL, &w->outbox, &w->err) != WB_OK)
		sim_fail(w, "store: %s", w->err.text);
}

static void world_make_broker(sim_world *w)
{
	if (wb_memory_new(&w->clock.clock, &w->broker_random.random, &w->memory,
			  &w->err) != WB_OK ||
	    wb_memory_connect(w->memory, &w->admin, &w->err) != WB_OK)
		sim_fail(w, "broker: %s", w->err.text);
	else
		sim_topology_make(w);
}

/* In the second routing everything goes to one exchange: what an exchange is
 * held for must then go elsewhere. */
static void world_make_routes(sim_world *w)
{
	static const wb_route routes[] = {
		{.type = "order.#", .exchange = "orders"},
		{.type = "doc.#",
		 .exchange = "orders",
		 .routing_key = "{type}.{key}",
		 .mode = WB_MODE_STRUCTURED},
		{.type = "metric.#", .order = WB_ORDER_NONE},
		{.type = "audit.#", .unroutable = WB_UNROUTABLE_ACCEPT},
	};

	if (wb_routes_new(routes, 4, &w->routes[0], &w->err) != WB_OK ||
	    wb_routes_new(routes + 2, 2, &w->routes[1], &w->err) != WB_OK)
		sim_fail(w, "routes: %s", w->err.text);
}

/* ---- the seed's choices ------------------------------------------------ */

static uint16_t world_some(sim_world *w, uint64_t most)
{
	return seeded_random_chance(&w->random, 500)
		       ? 0
		       : (uint16_t)seeded_random_below(&w->random, most + 1);
}

static void world_choose_relay(sim_world *w)
{
	static const uint32_t windows[] = {1, 2, 3, 8, 64, 2000};

	w->options = (wb_relay_options)WB_RELAY_OPTIONS_INIT;
	w->options.routes = w->routes[0];
	w->relay_log = (wb_log){world_write_log, w, WB_LOG_DEBUG};
	w->options.log = w->log ? &w->relay_log : NULL;
	w->options.window = windows[seeded_random_below(&w->random, 6)];
	w->options.probe_ms = 200;
	w->options.backoff_min_ms = 5;
	w->options.backoff_max_ms = 300;
	w->options.confirm_timeout_ms = 5000;
	w->options.clock = &w->clock.clock;
	w->options.random = &w->relay_random.random;
	if (seeded_random_chance(&w->random, 250))
		w->options.limits.body_bytes = 250;
	if (seeded_random_chance(&w->random, 250))
		w->options.parked_max_bytes =
			4096 * (1 + seeded_random_below(&w->random, 6));
}

static void world_choose_troubles(sim_world *w)
{
	bool any_room = w->options.parked_max_bytes == 0;

	w->commit_trouble = world_some(w, 150);
	w->delete_exchange = world_some(w, 10);
	w->reroutes = seeded_random_chance(&w->random, 250);
	w->restores = seeded_random_chance(&w->random, 150);
	w->leave_parked = any_room && seeded_random_chance(&w->random, 250);
	w->leave_missing = any_room && seeded_random_chance(&w->random, 250);
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
	chaos.return_ = world_some(w, 40);
	chaos.cut = world_some(w, 40);
	chaos.channel_close = world_some(w, 30);
	chaos.hide_exchange = world_some(w, 10);
	chaos.freeze = world_some(w, 5);
	chaos.block = world_some(w, 5);
	chaos.refuse = world_some(w, 300);
	chaos.outage_max_us = 400000;
	chaos.read_max = (uint32_t)seeded_random_below(&w->random, 40);
	sim_service_chaos(&w->service, &chaos);
	if (wb_memory_set(w->memory, &s, &w->err) != WB_OK ||
	    wb_memory_set_chaos(w->memory, &chaos, &w->err) != WB_OK)
		sim_fail(w, "chaos: %s", w->err.text);
}

/* ---- commits ----------------------------------------------------------- */

/* Two thirds of the unlucky ones are deaths, just before or just after the
 * commit was durable; the others find no room. */
static kit_commit_fate world_unlucky(sim_world *w, sim_relay *relay)
{
	uint64_t luck = seeded_random_below(&w->random, 3);
	bool dies = luck < 2;

	w->tally.commit_failures += !dies;
	w->tally.commit_deaths += dies;
	if (dies && relay)
		kit_mortal_kill(relay->mortal);
	else if (dies)
		w->dying = true;
	sim_log(w, "a commit %s", !dies       ? "finds no room"
				  : luck == 0 ? "was the last call"
					      : "was durable, and the last");
	return (kit_commit_fate){.durable = luck == 1, .rc = ENOSPC};
}

static kit_commit_fate world_judge_commit(void *ctx, MDB_env *env)
{
	const kit_commit_fate good = {true, 0}, dead = {false, ENOSPC};
	sim_world *w = ctx;
	bool relays = w->stepping && env == wbi_store_relay_env(w->store);
	bool appends = w->appending && env == wb_store_env(w->store);
	kit_commit_fate fate = good;

	if (w->models.stepping)
		return sim_models_judge_commit(&w->models);
	if (sim_service_owns(&w->service, env))
		return sim_service_judge_commit(&w->service, env);
	if (relays && kit_mortal_is_dead(w->stepping->mortal))
		return dead; /* it died in this step: it does nothing more */
	if ((relays || appends) && !w->calm &&
	    seeded_random_chance(&w->random, w->commit_trouble))
		fate = world_unlucky(w, relays ? w->stepping : NULL);
	if (appends)
		w->durable = fate.durable;
	return fate;
}

/* ---- relays ------------------------------------------------------------ */

static void world_open_relay(sim_world *w, sim_relay *r)
{
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	w->stepping = r;
	code = wb_relay_open(w->store, kit_mortal_broker(r->mortal),
			     &w->options, &r->relay, &err);
	w->stepping = NULL;
	if (code != WB_OK && code != WB_ENOSPC)
		sim_fail(w, "relay: %s", err.text);
	w->tally.deaths += kit_mortal_is_dead(r->mortal);
	if (code != WB_OK || kit_mortal_is_dead(r->mortal))
		sim_relay_kill(w, r);
}

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
	r->mortal = kit_mortal_new(connection, life);
	if (!r->mortal) {
		wb_broker_free(connection);
		sim_fail(w, "out of memory");
		return;
	}
	sim_log(w, "a relay starts");
	world_open_relay(w, r);
}

void sim_relay_step(sim_world *w, sim_relay *r)
{
	bool wake = seeded_random_chance(&w->random, w->calm ? 50 : 700);
	wb_code code;

	if (!r->mortal)
		return;
	w->stepping = r;
	code = wb_relay_step(r->relay, wake, &w->err);
	w->stepping = NULL;
	if (code != WB_OK)
		sim_fail(w, "relay: %s", w->err.text);
	if (!kit_mortal_is_dead(r->mortal))
		return;
	w->tally.deaths++;
	sim_relay_kill(w, r);
}

void sim_relay_kill(sim_world *w, sim_relay *r)
{
	if (!r->mortal)
		return;
	sim_log(w, "a relay dies");
	wb_relay_close(r->relay);
	wb_broker_free(kit_mortal_broker(r->mortal));
	*r = (sim_relay){NULL, NULL};
}

/* ---- starting anew ----------------------------------------------------- */

static void world_backup(sim_world *w)
{
	char from[PATH_MAX], to[PATH_MAX];

	sim_world_path(w, "store", w->store_number, from);
	sim_world_path(w, "backup", 0, to);
	if (wbi_store_backup(from, to, NULL, &w->err) != WB_OK)
		sim_fail(w, "backup: %s", w->err.text);
	w->has_backup = true;
	w->backup_head = w->head;
	w->tally.backups++;
	sim_log(w, "backup of %llu events", (unsigned long long)w->head);
}

/* What was appended since is gone, by design; its positions come again. */
static void world_restore(sim_world *w)
{
	char from[PATH_MAX], to[PATH_MAX];

	sim_world_path(w, "backup", 0, from);
	sim_world_path(w, "store", ++w->store_number, to);
	if (wbi_store_restore(from, to, NULL, &w->err) != WB_OK)
		sim_fail(w, "restore: %s", w->err.text);
	checker_forget_from(w->checker, w->era + w->backup_head + 1);
	w->repeats_max += w->head;
	w->head = w->backup_head;
	sim_models_restored(&w->models, w->head);
	w->era += SIM_ERA;
	w->restores = false;
	w->tally.restores++;
	sim_log(w, "restored");
}

static void world_reroute(sim_world *w)
{
	bool second = w->options.routes == w->routes[0];

	w->options.routes = w->routes[second];
	w->tally.reroutes++;
	sim_log(w, "other routes");
}

void sim_world_reopen(sim_world *w)
{
	for (size_t i = 0; i < SIM_RELAYS; i++)
		sim_relay_kill(w, &w->relays[i]);
	sim_models_bury(&w->models);
	wb_outbox_close(w->outbox);
	wb_store_close(w->store);
	w->outbox = NULL;
	w->store = NULL;
	w->dying = false;
	w->tally.restarts++;
	if (w->restores && !w->has_backup)
		world_backup(w);
	else if (w->restores)
		world_restore(w);
	if (w->reroutes && seeded_random_chance(&w->random, 500))
		world_reroute(w);
	if (!w->failed)
		world_open_store(w, false);
}

/* ---- the whole --------------------------------------------------------- */

bool sim_world_init(sim_world *w, uint64_t seed, const char *base, FILE *log)
{
	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->streams = seed % 3 == 0;
	w->keeps_all = seed % 2 == 0;
	if (!w->keeps_all && !w->streams && seed % 10 < 5)
		w->quota_bytes = 32768 * (1 + seed % 4);
	w->log = log;
	fake_clock_init(&w->clock);
	seeded_random_init(&w->random, seed);
	seeded_random_init(&w->broker_random, seed ^ 0x62726f6b6572u);
	seeded_random_init(&w->relay_random, seed ^ 0x72656c6179u);
	w->checker = checker_new();
	if (!kit_scratch_make(base, w->dir) || !w->checker) {
		sim_fail(w, "cannot make a directory in %s", base);
		return false;
	}
	world_make_routes(w);
	world_open_store(w, true);
	world_make_broker(w);
	if (w->failed)
		return false;
	world_choose_relay(w);
	world_choose_troubles(w);
	if (!sim_service_init(&w->service, w) ||
	    !sim_models_init(&w->models, w))
		return false;
	sim_topology_bind(w);
	world_choose_broker(w);
	kit_commits_judge(world_judge_commit, w);
	return !w->failed;
}

void sim_world_fini(sim_world *w)
{
	kit_commits_judge(NULL, NULL);
	for (size_t i = 0; i < SIM_RELAYS; i++)
		sim_relay_kill(w, &w->relays[i]);
	sim_models_fini(&w->models);
	sim_service_fini(&w->service);
	wb_broker_free(w->admin);
	wb_memory_free(w->memory);
	wb_outbox_close(w->outbox);
	wb_store_close(w->store);
	for (size_t i = 0; i < SIM_ROUTINGS; i++)
		wb_routes_free(w->routes[i]);
	checker_free(w->checker);
	kit_scratch_remove(w->dir);
}
