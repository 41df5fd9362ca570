/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The services of a town: their lives and deaths. See town.h. A death drops the
 * connections at once and lets none of the later commits become durable; then
 * the objects are closed, which can do nothing more either.
 */
#include "tests/examples/choreography/town.h"

#include <errno.h>

#include "lib/store/store.h"

const char *const town_names[TOWN_SERVICES] = {"booking", "billing", "parking"};

static const wb_flow_part *const town_parts[TOWN_SERVICES] = {
	&booking_part, &billing_part, &parking_part};

/* ---- commits ------------------------------------------------------------- */

static bool service_is_dead(const town_service *s)
{
	return kit_mortal_is_dead(s->consumer);
}

static kit_commit_fate service_dies(town *t, town_service *s, bool durable)
{
	kit_mortal_kill(s->consumer);
	t->durable = durable;
	return (kit_commit_fate){durable, ENOSPC};
}

static kit_commit_fate service_judge(void *ctx, MDB_env *env)
{
	const kit_commit_fate good = {true, 0};
	town *t = ctx;
	town_service *s;
	const town_doom *doom = &t->plan.doom;

	if (t->running == TOWN_NOBODY)
		return good;
	s = &t->services[t->running];
	if (!s->store || (env != wb_store_env(s->store) &&
			  env != wbi_store_relay_env(s->store)))
		return good;
	if (service_is_dead(s))
		return (kit_commit_fate){false, ENOSPC};
	s->commits++;
	if (!t->doom_came && doom->service == t->running &&
	    doom->nth == s->commits &&
	    (doom->kind == TOWN_DOOM_BEFORE_COMMIT ||
	     doom->kind == TOWN_DOOM_AFTER_COMMIT)) {
		t->doom_came = true;
		return service_dies(t, s, doom->kind == TOWN_DOOM_AFTER_COMMIT);
	}
	if (!t->calm &&
	    seeded_random_chance(&t->random, t->plan.commit_trouble)) {
		uint64_t luck = seeded_random_below(&t->random, 3);

		if (luck < 2)
			return service_dies(t, s, luck == 1);
		t->durable = false;
		return (kit_commit_fate){false, ENOSPC};
	}
	t->durable = true;
	return good;
}

/* ---- lives --------------------------------------------------------------- */

void town_service_drop(town *t, int which)
{
	town_service *s = &t->services[which];

	if (!s->store)
		return;
	t->running = which; /* what it commits from here on is not */
	if (s->consumer)
		kit_mortal_kill(s->consumer);
	wb_worker_close(s->worker);
	wb_choreography_close(s->flow);
	naive_close(s->naive);
	if (s->consumer)
		wb_broker_free(kit_mortal_broker(s->consumer));
	if (s->publisher)
		wb_broker_free(kit_mortal_broker(s->publisher));
	wb_store_close(s->store);
	t->running = TOWN_NOBODY;
	s->consumer = s->publisher = NULL;
	s->worker = NULL;
	s->flow = NULL;
	s->naive = NULL;
	s->store = NULL;
}

void town_service_kill(town *t, int which)
{
	if (!t->services[which].store)
		return;
	t->count.deaths++;
	if (t->plan.log)
		fprintf(t->plan.log, "%s dies\n", town_names[which]);
	town_service_drop(t, which);
}

static kit_mortal *service_connect(town *t, int which, town_doom_kind kind)
{
	const town_doom *doom = &t->plan.doom;
	uint64_t life = 0;
	kit_mortal *mortal = NULL;
	wb_broker *broker;

	if (!t->doom_came && doom->service == which && doom->kind == kind)
		life = doom->nth;
	if (wb_memory_connect(t->memory, &broker, &t->err) != WB_OK) {
		town_fail(t, "connect: %s", t->err.text);
		return NULL;
	}
	mortal = kit_mortal_new(broker, life);
	if (!mortal) {
		wb_broker_free(broker);
		town_fail(t, "out of memory");
	}
	return mortal;
}

static wb_code service_open_tables(town *t, int which, wb_error *err)
{
	town_service *s = &t->services[which];
	MDB_txn *txn;
	wb_code code = wb_store_begin(s->store, &txn, err);

	if (code != WB_OK)
		return code;
	if (which == TOWN_BOOKING)
		code = booking_open(txn, &t->booking, err);
	else if (which == TOWN_BILLING)
		code = billing_open(txn, &t->billing, err);
	else
		code = parking_open(txn, &t->parking, err);
	if (code == WB_OK)
		return wb_store_commit(s->store, txn, err);
	wb_store_abort(txn);
	return code;
}

static wb_code service_open_naive(town *t, int which, wb_error *err)
{
	town_service *s = &t->services[which];
	naive_options o = {.service = town_names[which],
			   .store = s->store,
			   .broker = kit_mortal_broker(s->consumer),
			   .exchange = "events",
			   .to = "post",
			   .clock = &t->clock.clock,
			   .random = &t->code_random.random};

	return naive_open(&o, &s->naive, err);
}

static wb_code service_open_worker(town *t, int which, wb_error *err)
{
	town_service *s = &t->services[which];
	wb_code code = wb_choreography_open(s->store, town_parts[which],
					    &s->flow, err);

	if (code != WB_OK)
		return code;
	s->handler = wb_choreography_handler(s->flow);
	return wb_worker_open(s->store, kit_mortal_broker(s->consumer),
			      kit_mortal_broker(s->publisher), &s->handler, 1,
			      &t->worker, &s->worker, err);
}

static bool service_open_store(town *t, int which)
{
	wb_store_options o = WB_STORE_OPTIONS_INIT;
	town_service *s = &t->services[which];
	wb_code code;

	o.service = town_names[which];
	o.map_bytes = UINT64_C(512) << 20;
	o.clock = &t->clock.clock;
	o.random = &t->code_random.random;
	code = wb_store_create(s->dir, &o, &t->err);
	if (code == WB_EEXISTS)
		wb_error_clear(&t->err);
	if (code == WB_OK || code == WB_EEXISTS)
		code = wb_store_open(s->dir, &o, &s->store, &t->err);
	if (code != WB_OK && code != WB_EEXISTS)
		town_fail(t, "%s: %s", s->dir, t->err.text);
	return !t->failed;
}

void town_service_start(town *t, int which)
{
	town_service *s = &t->services[which];
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	if (t->failed || s->store || !service_open_store(t, which))
		return;
	s->consumer = service_connect(t, which, TOWN_DOOM_CONSUMER);
	s->publisher = service_connect(t, which, TOWN_DOOM_PUBLISHER);
	if (!s->consumer || !s->publisher)
		return;
	kit_mortal_pair(s->consumer, s->publisher);
	t->running = which;
	code = service_open_tables(t, which, &err);
	if (code == WB_OK)
		code = t->plan.naive ? service_open_naive(t, which, &err)
				     : service_open_worker(t, which, &err);
	t->running = TOWN_NOBODY;
	if (service_is_dead(s) || code == WB_ENOSPC)
		town_service_kill(t, which);
	else if (code != WB_OK)
		town_fail(t, "%s: %s", town_names[which], err.text);
}

static void service_see(town *t, int which)
{
	const town_doom *doom = &t->plan.doom;

	if (!service_is_dead(&t->services[which]))
		return;
	if (doom->service == which && (doom->kind == TOWN_DOOM_CONSUMER ||
				       doom->kind == TOWN_DOOM_PUBLISHER))
		t->doom_came = true;
	town_service_kill(t, which);
}

void town_service_step(town *t, int which)
{
	town_service *s = &t->services[which];
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	if (!s->store)
		town_service_start(t, which);
	if (!s->store || t->failed)
		return;
	if (!t->calm && seeded_random_chance(&t->random, t->plan.death)) {
		town_service_kill(t, which);
		return;
	}
	t->running = which;
	code = t->plan.naive ? naive_step(s->naive, &err)
			     : wb_worker_step(s->worker, true, &err);
	t->running = TOWN_NOBODY;
	if (code != WB_OK && !service_is_dead(s) && code != WB_ENOSPC)
		town_fail(t, "%s: %s", town_names[which], err.text);
	service_see(t, which);
}

bool town_service_rests(const town *t, int which)
{
	const town_service *s = &t->services[which];
	wb_memory_queue_stat queue =
		wb_memory_get_queue_stat(t->memory, town_names[which]);
	wb_worker_stat stat;

	if (!s->store || queue.ready > 0 || queue.unacked > 0)
		return false;
	if (t->plan.naive)
		return naive_is_up(s->naive);
	stat = wb_worker_get_stat(s->worker);
	return stat.idle && stat.state == WB_WORKER_RUNNING &&
	       stat.waiting == 0;
}

/* ---- commands ------------------------------------------------------------ */

bool town_service_command(town *t, int which, town_command *run, void *arg)
{
	town_service *s = &t->services[which];
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;
	wb_code code;

	if (!s->store)
		town_service_start(t, which);
	if (!s->store || t->failed)
		return false;
	t->durable = false;
	t->running = which;
	code = wb_store_begin(s->store, &txn, &err);
	if (code == WB_OK) {
		code = run(t, txn, arg, &err);
		if (code == WB_OK)
			(void)wb_store_commit(s->store, txn, &err);
		else
			wb_store_abort(txn);
	}
	t->running = TOWN_NOBODY;
	service_see(t, which);
	return t->durable;
}

/* ---- all of them --------------------------------------------------------- */

void town_services_init(town *t)
{
	static const wb_route route = {.exchange = "post"};

	if (wb_routes_new(&route, 1, &t->routes, &t->err) != WB_OK)
		town_fail(t, "routes: %s", t->err.text);
	t->relay = (wb_relay_options)WB_RELAY_OPTIONS_INIT;
	t->relay.clock = &t->clock.clock;
	t->relay.random = &t->code_random.random;
	t->relay.routes = t->routes;
	t->relay.backoff_min_ms = 5;
	t->relay.backoff_max_ms = 100;
	t->worker = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	t->worker.clock = &t->clock.clock;
	t->worker.random = &t->code_random.random;
	t->worker.relay = &t->relay;
	t->worker.batch_max = t->plan.batch;
	t->worker.backoff_min_ms = 5;
	t->worker.backoff_max_ms = 100;
	kit_commits_judge(service_judge, t);
	for (int i = 0; i < TOWN_SERVICES; i++)
		snprintf(t->services[i].dir, sizeof(t->services[i].dir),
			 "%.4000s/%s", t->dir, town_names[i]);
}
