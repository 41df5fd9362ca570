/* SPDX-License-Identifier: BSD-2-Clause */
/* The three services: how they are made, live, die and come back. */
#include "tests/sim/town.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "lib/store/store.h"

enum { TOWN_TURN_US = 500, TOWN_SETTLE_TURNS = 400 };

void town_fail(town *t, const char *format, ...)
{
	va_list args;

	if (t->failed)
		return;
	t->failed = true;
	va_start(args, format);
	vsnprintf(t->why, sizeof(t->why), format, args);
	va_end(args);
	town_log(t, "FAILED: %s", t->why);
}

void town_log(town *t, const char *format, ...)
{
	va_list args;

	if (!t->log)
		return;
	fprintf(t->log, "%12.6f ", (double)t->clock.mono_us / 1e6);
	va_start(args, format);
	vfprintf(t->log, format, args);
	va_end(args);
	fputc('\n', t->log);
}

/* ---- commits ------------------------------------------------------------- */

static kit_commit_fate town_judge_commit(void *ctx, MDB_env *env)
{
	const kit_commit_fate good = {true, 0}, dead = {false, ENOSPC};
	town *t = ctx;
	town_service *s = t->stepping;
	uint64_t luck;

	(void)env;
	if (!s)
		return good;
	if (kit_mortal_is_dead(s->consumer))
		return dead;
	s->commits++;
	if (s->die_at_commit && --s->die_at_commit == 0) {
		kit_mortal_kill(s->consumer);
		return (kit_commit_fate){.durable = s->die_durable,
					 .rc = ENOSPC};
	}
	if (!seeded_random_chance(&t->random, t->commit_trouble))
		return good;
	luck = seeded_random_below(&t->random, 3);
	if (luck < 2)
		kit_mortal_kill(s->consumer);
	town_log(t, "a commit of %s %s", s->name,
		 luck == 2   ? "finds no room"
		 : luck == 0 ? "was the last call"
			     : "was durable, and the last");
	return (kit_commit_fate){.durable = luck == 1, .rc = ENOSPC};
}

/* ---- lives --------------------------------------------------------------- */

static void town_bury(town_service *s)
{
	if (!s->worker && !s->consumer)
		return;
	s->town->stepping = s; /* what it commits from here on is not */
	kit_mortal_kill(s->consumer);
	if (s->worker)
		wb_worker_close(s->worker);
	s->town->stepping = NULL;
	wb_broker_free(kit_mortal_broker(s->consumer));
	wb_broker_free(kit_mortal_broker(s->publisher));
	if (s->which == TOWN_BOOKING)
		wb_orchestrator_close(s->orchestrator);
	else
		wb_participant_handler_free(s->handler);
	s->consumer = s->publisher = NULL;
	s->worker = NULL;
	s->handler = NULL;
	s->orchestrator = NULL;
}

void town_kill(town_service *s)
{
	if (!s->worker)
		return;
	s->deaths++;
	town_log(s->town, "%s dies", s->name);
	town_bury(s);
	if (s->away_us > 0)
		s->down_until_us = s->town->clock.mono_us + s->away_us;
}

static bool town_connect(town_service *s, kit_mortal **ret)
{
	wb_broker *broker;
	town *t = s->town;

	if (wb_memory_connect(t->memory, &broker, &t->err) == WB_OK)
		*ret = kit_mortal_new(broker, s->die_at_call);
	if (!*ret)
		town_fail(t, "%s: no connection: %s", s->name, t->err.text);
	return *ret != NULL;
}

static bool town_handler(town_service *s)
{
	town *t = s->town;
	wb_code code;

	if (s->which == TOWN_BOOKING) {
		code = wb_orchestrator_open(s->store, t->sagas, t->saga_count,
					    NULL, &s->orchestrator, &t->err);
		if (code == WB_OK)
			s->handler = wb_orchestrator_handler(s->orchestrator);
	} else {
		code = wb_participant_handler(&s->participant, &s->handler,
					      &t->err);
	}
	if (code != WB_OK)
		town_fail(t, "%s: %s", s->name, t->err.text);
	return code == WB_OK;
}

void town_start(town_service *s)
{
	town *t = s->town;
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	if (t->failed || s->worker || !town_handler(s) ||
	    !town_connect(s, &s->consumer) || !town_connect(s, &s->publisher))
		return;
	s->die_at_call = 0;
	kit_mortal_pair(s->consumer, s->publisher);
	s->starts++;
	town_log(t, "%s starts", s->name);
	t->stepping = s;
	code = wb_worker_open(s->store, kit_mortal_broker(s->consumer),
			      kit_mortal_broker(s->publisher), &s->handler, 1,
			      &t->worker[s->which], &s->worker, &err);
	t->stepping = NULL;
	if (code == WB_OK && !kit_mortal_is_dead(s->consumer))
		return;
	if (code != WB_OK && code != WB_ENOSPC &&
	    !kit_mortal_is_dead(s->consumer))
		town_fail(t, "%s: %s", s->name, err.text);
	s->deaths++;
	town_bury(s);
}

static void town_step_one(town_service *s)
{
	town *t = s->town;
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	if (t->failed)
		return;
	if (!s->worker && t->clock.mono_us >= s->down_until_us)
		town_start(s);
	if (!s->worker)
		return;
	t->stepping = s;
	code = wb_worker_step(s->worker, true, &err);
	t->stepping = NULL;
	if (kit_mortal_is_dead(s->consumer))
		town_kill(s);
	else if (code != WB_OK)
		town_fail(t, "%s: %s", s->name, err.text);
}

void town_step(town *t)
{
	for (int i = 0; i < TOWN_SERVICES; i++)
		town_step_one(&t->all[i]);
	fake_clock_advance_us(&t->clock, TOWN_TURN_US);
}

static bool town_is_idle(town *t)
{
	for (int i = 0; i < TOWN_SERVICES; i++) {
		wb_worker_stat stat;

		if (!t->all[i].worker &&
		    t->clock.mono_us < t->all[i].down_until_us)
			continue;
		if (!t->all[i].worker)
			return false;
		stat = wb_worker_get_stat(t->all[i].worker);
		if (!stat.idle || stat.state != WB_WORKER_RUNNING)
			return false;
	}
	return true;
}

/* Where everybody stands. */
static void town_say(town *t)
{
	for (int i = 0; i < TOWN_SERVICES; i++) {
		wb_memory_queue_stat q =
			wb_memory_get_queue_stat(t->memory, t->all[i].name);
		wb_worker_stat stat = {.state = WB_WORKER_STOPPED};

		if (t->all[i].worker)
			stat = wb_worker_get_stat(t->all[i].worker);
		town_log(t,
			 "%s is in state %d, idle %d, head %llu, handled "
			 "%llu, waiting %llu, timers %llu; ready %llu, unacked "
			 "%llu: %s",
			 t->all[i].name, (int)stat.state, stat.idle,
			 (unsigned long long)stat.head,
			 (unsigned long long)stat.handled,
			 (unsigned long long)stat.waiting,
			 (unsigned long long)stat.timers,
			 (unsigned long long)q.ready,
			 (unsigned long long)q.unacked, stat.error.text);
	}
}

/* Time goes fast while nobody has anything to do. */
void town_rest(town *t)
{
	int idle = 0;

	for (int i = 0; i < TOWN_CALM_TURNS && !t->failed; i++) {
		town_step(t);
		idle = town_is_idle(t) ? idle + 1 : 0;
		if (idle < 8)
			continue;
		if (town_is_at_rest(t))
			return;
		fake_clock_advance_us(&t->clock, 250000);
		idle = 4;
	}
	town_say(t);
	town_fail(t, "no rest");
}

/* ---- the whole ----------------------------------------------------------- */

static void town_options(town *t, int i)
{
	t->relay[i] = (wb_relay_options)WB_RELAY_OPTIONS_INIT;
	t->relay[i].clock = &t->clock.clock;
	t->relay[i].random = &t->code_random.random;
	t->worker[i] = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	t->worker[i].clock = &t->clock.clock;
	t->worker[i].random = &t->code_random.random;
	t->worker[i].relay = &t->relay[i];
}

bool town_init(town *t, const char *dir, uint64_t seed)
{
	static const char *const names[] = {"booking", "billing", "parking"};

	memset(t, 0, sizeof(*t));
	snprintf(t->dir, sizeof(t->dir), "%s", dir);
	fake_clock_init(&t->clock);
	seeded_random_init(&t->random, seed);
	seeded_random_init(&t->code_random, seed ^ 0x746f776eu);
	seeded_random_init(&t->broker_random, seed ^ 0x62726f6bu);
	memcpy(t->steps, booking_steps, sizeof(t->steps));
	t->saga = booking_saga;
	t->saga.steps = t->steps;
	t->sagas[0] = &t->saga;
	t->saga_count = 1;
	for (int i = 0; i < TOWN_SERVICES; i++) {
		town_service *s = &t->all[i];

		s->town = t;
		s->which = i;
		s->name = names[i];
		snprintf(s->dir, sizeof(s->dir), "%.*s/%s", PATH_MAX - 16, dir,
			 names[i]);
		town_options(t, i);
	}
	town_wrap(&t->all[TOWN_BILLING], &billing_participant);
	town_wrap(&t->all[TOWN_PARKING], &parking_participant);
	if (wb_memory_new(&t->clock.clock, &t->broker_random.random, &t->memory,
			  &t->err) != WB_OK)
		town_fail(t, "broker: %s", t->err.text);
	return !t->failed;
}

static void town_make(town_service *s)
{
	wb_store_options so = WB_STORE_OPTIONS_INIT;
	town *t = s->town;

	so.service = s->name;
	so.map_bytes = 256 << 20;
	so.clock = &t->clock.clock;
	so.random = &t->code_random.random;
	if (wb_store_create(s->dir, &so, &t->err) != WB_OK ||
	    wb_store_open(s->dir, &so, &s->store, &t->err) != WB_OK)
		town_fail(t, "%s: %s", s->name, t->err.text);
}

/* As waybill-worker makes them of the modules. */
static void town_route(town *t)
{
	for (int i = 0; i < TOWN_SERVICES; i++) {
		const wb_participant *participant = &t->all[i].participant;
		wb_saga_routing routing = WB_SAGA_ROUTING_INIT;

		routing.sagas = t->sagas;
		routing.saga_count = i == TOWN_BOOKING ? t->saga_count : 0;
		routing.participants = &participant;
		routing.participant_count = i == TOWN_BOOKING ? 0 : 1;
		if (wb_saga_routes_new(&routing, &t->routes[i], &t->err) !=
		    WB_OK)
			town_fail(t, "routes: %s", t->err.text);
		t->relay[i].routes = t->routes[i];
	}
}

bool town_open(town *t)
{
	town_route(t);
	kit_commits_judge(town_judge_commit, t);
	for (int i = 0; i < TOWN_SERVICES && !t->failed; i++) {
		town_make(&t->all[i]);
		town_start(&t->all[i]);
	}
	for (int i = 0; i < TOWN_SETTLE_TURNS && !t->failed; i++) {
		town_step(t);
		if (town_is_idle(t))
			return true;
	}
	town_fail(t, "the services do not come up");
	return false;
}

void town_close(town *t)
{
	for (int i = 0; i < TOWN_SERVICES; i++) {
		town_bury(&t->all[i]);
		wb_store_close(t->all[i].store);
		wb_routes_free(t->routes[i]);
	}
	kit_commits_judge(NULL, NULL);
	wb_memory_free(t->memory);
}
