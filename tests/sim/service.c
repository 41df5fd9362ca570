/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The second service: its store, its workers, their lives and deaths. See
 * service.h. A death drops both connections of a worker at once and lets none
 * of its later commits become durable; then the worker object is closed, which
 * can do nothing more either.
 */
#include "tests/sim/service.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/journal/seen.h"
#include "lib/journal/maintain.h"
#include "lib/store/store.h"
#include "tests/sim/operator.h"
#include "tests/sim/world.h"

enum { SERVICE_DRAIN_TURNS = 1000, SERVICE_DRAIN_TURN_US = 10000 };

/* ---- the seed's choices -------------------------------------------------- */

static uint64_t service_draw(sim_service *s, uint64_t below)
{
	return seeded_random_below(&s->random, below);
}

static uint16_t service_some(sim_service *s, uint64_t most)
{
	return seeded_random_chance(&s->random, 400)
		       ? 0
		       : (uint16_t)service_draw(s, most + 1);
}

static void service_choose_worker(sim_service *s)
{
	static const uint32_t prefetch[] = {1, 2, 7, 50, 1000};
	static const uint32_t batch[] = {1, 2, 10, 250};
	static const char *const bind[] = {"#", NULL};
	static const wb_route route = {.exchange = SIM_RESULTS};
	sim_world *w = s->world;

	s->options = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	s->options.queue = SIM_QUEUE;
	s->options.exchange = SIM_INLET;
	s->options.bind = bind;
	s->options.prefetch = prefetch[service_draw(s, 5)];
	s->options.batch_max = batch[service_draw(s, 4)];
	s->options.backoff_min_ms = 5;
	s->options.backoff_max_ms = 300;
	s->options.clock = &w->clock.clock;
	s->options.random = &s->code_random.random;
	s->options.log = w->log ? &w->relay_log : NULL;
	if (wb_routes_new(&route, 1, &s->routes, &w->err) != WB_OK)
		sim_fail(w, "routes: %s", w->err.text);
	s->relay_options = (wb_relay_options)WB_RELAY_OPTIONS_INIT;
	s->relay_options.routes = s->routes;
	s->relay_options.window = 1 + (uint32_t)service_draw(s, 64);
	s->relay_options.probe_ms = 200;
	s->relay_options.backoff_min_ms = 5;
	s->relay_options.backoff_max_ms = 300;
	s->relay_options.confirm_timeout_ms = 5000;
	s->relay_options.clock = s->options.clock;
	s->relay_options.random = s->options.random;
	s->relay_options.log = s->options.log;
	s->options.relay = &s->relay_options;
}

static void service_choose_troubles(sim_service *s)
{
	s->commit_trouble = service_some(s, 120);
	s->call_crash = service_some(s, 12);
	s->fail = service_some(s, 400);
	s->stop = service_some(s, 10);
	s->leave_dead = seeded_random_chance(&s->random, 300);
	s->restores = seeded_random_chance(&s->random, 150);
	if (seeded_random_chance(&s->random, 200))
		s->options.limits.body_bytes = 200;
	if (seeded_random_chance(&s->random, 200))
		s->quota_bytes = (256 + service_draw(s, 512)) * 1024;
}

void sim_service_chaos(sim_service *s, wb_memory_chaos *chaos)
{
	chaos->duplicate = service_some(s, 200);
	if (seeded_random_chance(&s->random, 300))
		chaos->misplace = service_some(s, 500);
	s->misplaced = chaos->misplace > 0;
}

/* ---- store --------------------------------------------------------------- */

static void service_open_store(sim_service *s, bool create)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	sim_world *w = s->world;
	char path[PATH_MAX];

	options.service = "consumer";
	options.map_bytes = 64 << 20;
	options.quota_bytes = s->quota_bytes;
	options.clock = &w->clock.clock;
	options.random = &s->code_random.random;
	sim_world_path(w, "consumer", s->store_number, path);
	if ((create && wb_store_create(path, &options, &w->err) != WB_OK) ||
	    wb_store_open(path, &options, &s->store, &w->err) != WB_OK)
		sim_fail(w, "the consumer's store: %s", w->err.text);
}

/* ---- commits ------------------------------------------------------------- */

bool sim_service_owns(const sim_service *s, MDB_env *env)
{
	return s->store && (env == wb_store_env(s->store) ||
			    env == wbi_store_relay_env(s->store));
}

kit_commit_fate sim_service_judge_commit(sim_service *s, MDB_env *env)
{
	const kit_commit_fate good = {true, 0}, dead = {false, ENOSPC};
	uint64_t luck;

	if (!s->stepping)
		return good; /* the operator's */
	if (kit_mortal_is_dead(s->stepping->consumer))
		return dead;
	if (s->world->calm ||
	    !seeded_random_chance(&s->random, s->commit_trouble))
		return good;
	luck = service_draw(s, 3);
	s->tally.worker_commit_failures += luck == 2;
	s->tally.worker_commit_deaths += luck < 2;
	if (luck < 2)
		kit_mortal_kill(s->stepping->consumer);
	sim_log(s->world, "a worker's commit to its %s %s",
		env == wb_store_env(s->store) ? "store" : "relay's state",
		luck == 2   ? "finds no room"
		: luck == 0 ? "was the last call"
			    : "was durable, and the last");
	return (kit_commit_fate){.durable = luck == 1, .rc = ENOSPC};
}

/* ---- workers ------------------------------------------------------------- */

/* The crash in a call left its page behind. */
static void service_put_page(sim_service *s)
{
	char path[PATH_MAX + 8];
	FILE *file;

	snprintf(path, sizeof(path), "%s/calls", wb_store_dir(s->store));
	file = s->page ? fopen(path, "r+b") : NULL;
	if (s->page && (!file || fwrite(s->page, 1, s->page_len, file) !=
					 s->page_len))
		sim_fail(s->world, "%s cannot be put back", path);
	if (file && fclose(file) != 0)
		sim_fail(s->world, "%s cannot be written", path);
	free(s->page);
	s->page = NULL;
	s->crashed = false;
}

static void service_drop(sim_service *s, sim_worker *worker)
{
	if (!worker->consumer)
		return;
	s->stepping = worker; /* what it commits from here on is not */
	kit_mortal_kill(worker->consumer);
	if (worker->worker)
		wb_worker_close(worker->worker);
	s->stepping = NULL;
	wb_broker_free(kit_mortal_broker(worker->consumer));
	wb_broker_free(kit_mortal_broker(worker->publisher));
	*worker = (sim_worker){NULL, NULL, NULL};
	if (s->crashed)
		service_put_page(s);
}

static void service_bury(sim_service *s, sim_worker *worker)
{
	if (!worker->consumer)
		return;
	s->tally.worker_deaths++;
	sim_log(s->world, "a worker dies");
	service_drop(s, worker);
}

static kit_mortal *service_connect(sim_service *s, uint64_t life)
{
	sim_world *w = s->world;
	kit_mortal *mortal = NULL;
	wb_broker *broker;

	if (wb_memory_connect(w->memory, &broker, &w->err) != WB_OK) {
		sim_fail(w, "connect: %s", w->err.text);
		return NULL;
	}
	mortal = kit_mortal_new(broker, life);
	if (!mortal)
		wb_broker_free(broker);
	return mortal;
}

static void service_open_worker(sim_service *s, sim_worker *worker)
{
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	s->stepping = worker;
	code = wb_worker_open(s->store, kit_mortal_broker(worker->consumer),
			      kit_mortal_broker(worker->publisher),
			      s->handler_list, SIM_HANDLERS, &s->options,
			      &worker->worker, &err);
	s->stepping = NULL;
	if (kit_mortal_is_dead(worker->consumer) || code == WB_ENOSPC)
		service_bury(s, worker);
	else if (code != WB_OK)
		sim_fail(s->world, "worker: %s", err.text);
}

/* `life`: calls to the broker; 0: no end. */
static void service_start(sim_service *s, sim_worker *worker, uint64_t life)
{
	if (s->world->failed)
		return;
	worker->consumer = service_connect(s, life);
	worker->publisher = service_connect(s, life);
	if (!worker->consumer || !worker->publisher) {
		sim_fail(s->world, "out of memory");
		return;
	}
	kit_mortal_pair(worker->consumer, worker->publisher);
	sim_log(s->world, "a worker starts");
	s->tally.worker_restarts++;
	service_open_worker(s, worker);
}

static void service_step(sim_service *s, sim_worker *worker)
{
	bool wake = s->world->calm || seeded_random_chance(&s->random, 700);
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	if (!worker->worker || s->world->failed)
		return;
	s->stepping = worker;
	code = wb_worker_step(worker->worker, wake, &err);
	s->stepping = NULL;
	if (kit_mortal_is_dead(worker->consumer))
		service_bury(s, worker);
	else if (code != WB_OK)
		sim_fail(s->world, "worker: %s", err.text);
}

static size_t service_workers(const sim_service *s)
{
	size_t count = 0;

	for (size_t i = 0; i < SIM_WORKERS; i++)
		count += s->workers[i].worker != NULL;
	return count;
}

static void service_care(sim_service *s)
{
	for (size_t i = 0; i < SIM_WORKERS; i++) {
		sim_worker *worker = &s->workers[i];
		bool spare = service_workers(s) > 0;

		if (!worker->worker && seeded_random_chance(&s->random,
							    spare ? 5 : 200))
			service_start(s, worker, 1 + service_draw(s, 4000));
		else if (worker->worker && seeded_random_chance(&s->random, 3))
			service_bury(s, worker);
	}
}

static void service_backup(sim_service *s)
{
	char from[PATH_MAX], to[PATH_MAX];
	sim_world *w = s->world;

	sim_world_path(w, "consumer", s->store_number, from);
	sim_world_path(w, "consumer-backup", 0, to);
	if (wbi_store_backup(from, to, NULL, &w->err) != WB_OK)
		sim_fail(w, "the consumer's backup: %s", w->err.text);
	s->has_backup = true;
	s->tally.service_backups++;
	sim_log(w, "backup of the consumer");
}

/* What was taken in since is gone, with its effects: the broker has been told
 * that it was safe, so it need not come again, but may. */
static void service_forget(sim_service *s)
{
	sim_world *w = s->world;
	const wb_message *m;
	wbi_seen *seen = NULL;
	MDB_txn *txn = NULL;
	uint64_t position;

	if (wbi_txn_begin(wb_store_env(s->store), false, &txn, &w->err) !=
		    WB_OK ||
	    wbi_seen_open(s->store, txn, &seen, &w->err) != WB_OK) {
		sim_fail(w, "forgetting: %s", w->err.text);
		wbi_txn_abort(txn);
		return;
	}
	s->excused = 0;
	for (uint64_t i = 0; (m = wb_memory_arrival(w->memory, SIM_QUEUE, i));
	     i++) {
		size_t number = sim_event_number(m->message_id);

		s->excused += m->message_id.len == 0;
		if (number < SIM_EVENTS_MAX)
			s->forgotten[number] =
				wbi_seen_get(seen, sim_event_source(number),
					     m->message_id, &position, NULL) ==
				WB_ENOTFOUND;
	}
	wbi_seen_close(seen);
	wbi_txn_abort(txn);
}

static void service_restore(sim_service *s)
{
	char from[PATH_MAX], to[PATH_MAX];
	sim_world *w = s->world;

	sim_world_path(w, "consumer-backup", 0, from);
	sim_world_path(w, "consumer", ++s->store_number, to);
	if (wbi_store_restore(from, to, NULL, &w->err) != WB_OK)
		sim_fail(w, "the consumer's restore: %s", w->err.text);
	s->restores = false;
	s->tally.service_restores++;
	sim_log(w, "the consumer is restored");
}

/* As at SIGTERM: it must come to its end, whatever the broker does, and may
 * die on the way. */
static void service_drain(sim_service *s, sim_worker *worker)
{
	bool stopped = false;

	if (!worker->worker)
		return;
	sim_log(s->world, "a worker drains");
	s->tally.drains++;
	wb_worker_stop(worker->worker);
	for (int i = 0; i < SERVICE_DRAIN_TURNS && !stopped; i++) {
		service_step(s, worker);
		if (!worker->worker || s->world->failed)
			return;
		stopped = wb_worker_get_stat(worker->worker).state ==
			  WB_WORKER_STOPPED;
		fake_clock_advance_us(&s->world->clock, SERVICE_DRAIN_TURN_US);
	}
	if (!stopped)
		sim_fail(s->world, "a worker does not drain in %d s",
			 SERVICE_DRAIN_TURNS * SERVICE_DRAIN_TURN_US / 1000000);
}

static void service_reopen(sim_service *s)
{
	bool restored = s->restores && s->has_backup;

	for (size_t i = 0; i < SIM_WORKERS; i++)
		if (seeded_random_chance(&s->random, 400))
			service_drain(s, &s->workers[i]);
	for (size_t i = 0; i < SIM_WORKERS; i++)
		service_bury(s, &s->workers[i]);
	wb_store_close(s->store);
	s->store = NULL;
	if (restored)
		service_restore(s);
	else if (s->restores)
		service_backup(s);
	if (!s->world->failed)
		service_open_store(s, false);
	if (!s->world->failed && restored)
		service_forget(s);
}

/* ---- the stranger -------------------------------------------------------- */

/* Another producer, without waybill: a bare id, an old id again, or none. */
static void service_strange(sim_service *s)
{
	uint64_t kind = service_draw(s, 4);
	wb_message m = {.exchange = wb_str_from(SIM_INLET),
			.routing_key = wb_str_from("stock.strange"),
			.app_id = wb_str_from("stranger")};
	char id[SIM_ID_MAX], body[SIM_ID_MAX];

	if (kind < 2)
		s->next_strange++;
	snprintf(body, sizeof(body), "strange %llu",
		 (unsigned long long)++s->strange_sent);
	m.body = wb_str_from(body);
	snprintf(id, sizeof(id), "x%llu",
		 (unsigned long long)(kind < 2 ? s->next_strange
					       : service_draw(
							 s, s->next_strange)));
	if (kind < 3)
		m.message_id = wb_str_from(id);
	if (wb_memory_put(s->world->memory, &m, &s->world->err) != WB_OK)
		sim_fail(s->world, "a stranger: %s", s->world->err.text);
}

/* ---- turns --------------------------------------------------------------- */

void sim_service_turn(sim_service *s)
{
	if (seeded_random_chance(&s->random, 4))
		service_reopen(s);
	if (s->world->failed)
		return;
	if (seeded_random_chance(&s->random, 20))
		service_strange(s);
	if (seeded_random_chance(&s->random, 20))
		sim_service_operate(s);
	if (s->world->failed)
		return;
	service_care(s);
	for (size_t i = 0; i < SIM_WORKERS; i++)
		service_step(s, &s->workers[i]);
}

void sim_service_calm(sim_service *s)
{
	for (size_t i = 0; i < SIM_WORKERS; i++)
		service_drop(s, &s->workers[i]);
	service_start(s, &s->workers[0], 0);
}

static uint64_t service_rows(sim_service *s, wbi_table table)
{
	uint64_t bytes, rows = 0;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wb_store_env(s->store), false, &txn,
				     &s->world->err);

	if (code == WB_OK) {
		code = wbi_table_size(txn, table, &bytes, &rows,
				      &s->world->err);
		wbi_txn_abort(txn);
	}
	if (code != WB_OK)
		sim_fail(s->world, "rows: %s", s->world->err.text);
	return rows;
}

/* Nothing to take in, nothing to do now, nothing that is due later. */
static bool service_is_quiet(sim_service *s)
{
	wb_memory_queue_stat queue =
		wb_memory_get_queue_stat(s->world->memory, SIM_QUEUE);
	wb_worker_stat stat = wb_worker_get_stat(s->workers[0].worker);

	return stat.idle && stat.state == WB_WORKER_RUNNING &&
	       queue.ready == 0 && queue.unacked == 0 &&
	       service_rows(s, wbi_store_get_tables(s->store)->due) == 0;
}

bool sim_service_rest(sim_service *s)
{
	uint64_t left = 0;

	service_step(s, &s->workers[0]);
	if (s->world->failed)
		return true;
	if (!service_is_quiet(s)) {
		if (s->world->tally.turns % 64 == 0 && !s->leave_dead)
			sim_service_revive_all(s, &left);
		return false;
	}
	sim_service_revive_all(s, &left);
	return left == 0;
}

void sim_service_say_restless(sim_service *s)
{
	wb_memory_queue_stat queue =
		wb_memory_get_queue_stat(s->world->memory, SIM_QUEUE);
	const wbi_store_tables *tables = wbi_store_get_tables(s->store);
	wb_worker_stat stat = wb_worker_get_stat(s->workers[0].worker);

	sim_fail(s->world,
		 "the worker does not rest: state %d idle %d ready %llu "
		 "unacked %llu waiting %llu timers %llu due %llu work %llu "
		 "dead %llu: %s",
		 (int)stat.state, stat.idle, (unsigned long long)queue.ready,
		 (unsigned long long)queue.unacked,
		 (unsigned long long)stat.waiting,
		 (unsigned long long)stat.timers,
		 (unsigned long long)service_rows(s, tables->due),
		 (unsigned long long)service_rows(s, tables->work),
		 (unsigned long long)service_rows(s, tables->dead),
		 stat.error.text);
}

/* ---- the whole ----------------------------------------------------------- */

/* Until its queue is there: then the world can bind it. */
static void service_settle_in(sim_service *s)
{
	bool there = false;

	service_start(s, &s->workers[0], 0);
	for (int i = 0; i < 100 && !s->world->failed && !there; i++) {
		service_step(s, &s->workers[0]);
		there = !s->world->failed &&
			wb_worker_get_stat(s->workers[0].worker).state ==
				WB_WORKER_RUNNING;
		fake_clock_advance_us(&s->world->clock, 1000);
	}
	if (!there)
		sim_fail(s->world, "the worker makes no queue");
	service_drop(s, &s->workers[0]);
}

bool sim_service_init(sim_service *s, struct sim_world *w)
{
	bool room = true;

	s->world = w;
	seeded_random_init(&s->random, w->seed ^ 0x73657276696365u);
	seeded_random_init(&s->code_random, w->seed ^ 0x776f726b6572u);
	for (size_t h = 0; h < SIM_HANDLERS; h++) {
		s->notes[h] = calloc(SIM_EVENTS_MAX, sizeof(sim_note));
		room = room && s->notes[h];
	}
	s->timer_notes = calloc(SIM_EVENTS_MAX, sizeof(sim_note));
	s->forgotten = calloc(SIM_EVENTS_MAX, sizeof(bool));
	if (!room || !s->timer_notes || !s->forgotten) {
		sim_fail(w, "out of memory");
		return false;
	}
	service_choose_worker(s);
	sim_handlers_init(s);
	service_open_store(s, true);
	if (!w->failed)
		service_settle_in(s); /* no trouble before it is there */
	service_choose_troubles(s);
	return !w->failed;
}

void sim_service_close(sim_service *s)
{
	for (size_t i = 0; i < SIM_WORKERS; i++)
		service_drop(s, &s->workers[i]);
	wb_store_close(s->store);
	s->store = NULL;
}

void sim_service_fini(sim_service *s)
{
	sim_service_close(s);
	wb_routes_free(s->routes);
	for (size_t h = 0; h < SIM_HANDLERS; h++)
		free(s->notes[h]);
	free(s->timer_notes);
	free(s->forgotten);
	free(s->outside);
	free(s->page);
}
