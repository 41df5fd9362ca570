/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sagas under measurement: booking orchestrates, billing and parking take part,
 * each with a store and the shipped worker, which relays too. A saga is three
 * commands and their answers (block, pay, reserve) and a local end; each
 * service writes a row of its own per call. Every commit is synced.
 *
 *   --broker memory     one broker in memory, all on one thread
 *   --broker amqp       a thread per service and a broker at --uri
 *   --count N           that many sagas; --window W of them at a time
 *   --store D           below it the stores are made, or were by an earlier run
 *   --timers N          memory only: before that, so many sagas that wait for a
 *                       timer, made by a process of its own
 *
 * open_ms: from nothing to three workers at rest, their queues made.
 *
 * At the end each service must have a row for each saga.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <waybill/amqp.h>
#include <waybill/memory.h>
#include <waybill/saga.h>
#include <waybill/worker.h>

#include "bench/common.h"
#include "lib/store/store.h"

enum { BOOKING, BILLING, PARKING, SERVICES };
enum { START_BATCH = 250, ROW_BYTES = 40 };

typedef struct service {
	const char *name;
	char dir[512], queue[64];
	wb_store *store;
	wb_orchestrator *orchestrator;
	const wb_handler *handler;
	wb_routes *routes;
	wb_broker *consumer, *publisher;
	wb_relay_options relay;
	wb_worker_options options;
	wb_worker *worker;
	pthread_t thread;
} service;

typedef struct run {
	service all[SERVICES];
	wb_memory *memory; /* NULL: amqp */
	wb_orchestrator *starter;
	const char *uri;
	bool is_new; /* the stores were made by this run */
	uint64_t count, window, started;
	uint64_t rows[SERVICES]; /* before */
	atomic_ullong done;
} run;

/* ---- the services -------------------------------------------------------- */

typedef struct rows {
	MDB_dbi dbi;
	run *run;
} rows;

static wb_code rows_open(const wb_handler *self, wb_store *store, MDB_txn *txn,
			 void **ret_state, wb_error *err)
{
	rows *r = calloc(1, sizeof(*r));

	(void)store;
	if (!r)
		return wb_error_set(err, WB_ENOMEM, 0, __func__, "no memory");
	r->run = self->ctx;
	*ret_state = r;
	return wb_store_error(mdb_dbi_open(txn, "rows", MDB_CREATE, &r->dbi),
			      err, "rows");
}

static wb_code rows_put(wb_call *call, wb_str id, char what, wb_error *err)
{
	const rows *r = wb_call_state(call);
	char key[64], value[ROW_BYTES] = {what};
	MDB_val k = {(size_t)snprintf(key, sizeof(key), "%.*s/%c", (int)id.len,
				      id.ptr, what),
		     key};
	MDB_val v = {sizeof(value), value};

	return wb_store_error(mdb_put(wb_call_txn(call), r->dbi, &k, &v, 0),
			      err, "a row");
}

static wb_code run_command(wb_call *call, const wb_event *command,
			   wb_error *err)
{
	return rows_put(call, wb_command_saga(call),
			command->type.ptr[command->type.len - 1], err);
}

static wb_code run_end(wb_call *call, wb_error *err)
{
	rows *r = wb_call_state(call);

	atomic_fetch_add(&r->run->done, 1);
	return rows_put(call, wb_saga_id(call), 'e', err);
}

static const wb_step steps[] = {
	{"block", .command = "parking.block", .undo = "parking.unblock"},
	{"pay", .command = "billing.pay", .undo = "billing.refund"},
	{"reserve", WB_PIVOT, .command = "parking.reserve"},
	{"end", WB_RETRIABLE, .run = run_end},
};

/* Waits for a timer, for an hour. */
static wb_code run_wait(wb_call *call, wb_error *err)
{
	(void)call;
	return wb_retry(err, "not yet");
}

static const wb_step waiting_steps[] = {
	{"wait", .run = run_wait, .keeps = true, .attempts_max = 1000,
	 .backoff_min_ms = 7200000, .backoff_max_ms = 7200000},
};
static const wb_command billing_commands[] = {
	{"billing.pay", "billing.refund", NULL, run_command, run_command}};
static const wb_command parking_commands[] = {
	{"parking.block", "parking.unblock", NULL, run_command, run_command},
	{"parking.reserve", NULL, NULL, run_command, NULL}};

/* What they are in, which tells them of the run by ctx. */
static wb_saga booking = {
	.size = sizeof(wb_saga),
	.name = "booking",
	.steps = steps,
	.count = sizeof(steps) / sizeof(steps[0]),
	.open = rows_open,
	.close = free,
};
static const wb_saga waiting = {
	.size = sizeof(wb_saga),
	.name = "waiting",
	.steps = waiting_steps,
	.count = 1,
	.deadline_ms = 1000ull * 24 * 3600 * 1000,
};
static const wb_saga *const sagas[] = {&booking, &waiting};
static wb_participant participants[SERVICES] = {
	[BILLING] = {.size = sizeof(wb_participant),
		     .name = "billing",
		     .commands = billing_commands,
		     .count = 1,
		     .open = rows_open,
		     .close = free},
	[PARKING] = {.size = sizeof(wb_participant),
		     .name = "parking",
		     .commands = parking_commands,
		     .count = 2,
		     .open = rows_open,
		     .close = free},
};

/* ---- open ---------------------------------------------------------------- */

static void must(wb_code code, const char *what, const wb_error *err)
{
	if (code != WB_OK)
		bench_die(what, err->text);
}

static wb_broker *run_connect(run *r)
{
	wb_amqp_options amqp = WB_AMQP_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_broker *broker = NULL;

	amqp.uri = r->uri;
	must(r->memory ? wb_memory_connect(r->memory, &broker, &err)
		       : wb_amqp_new(&amqp, &broker, &err),
	     "broker", &err);
	return broker;
}

static void service_open(run *r, int i)
{
	const wb_participant *const p[] = {&participants[i]};
	wb_saga_routing routing = WB_SAGA_ROUTING_INIT;
	wb_error err = WB_ERROR_INIT;
	service *s = &r->all[i];

	must(wb_store_open(s->dir, NULL, &s->store, &err), s->dir, &err);
	routing.sagas = sagas;
	routing.saga_count = i == BOOKING ? 2 : 0;
	routing.participants = p;
	routing.participant_count = i != BOOKING;
	must(wb_saga_routes_new(&routing, &s->routes, &err), "routes", &err);
	if (i == BOOKING) {
		must(wb_orchestrator_open(s->store, sagas, 2, s->queue,
					  &s->orchestrator, &err),
		     "sagas", &err);
		must(wb_orchestrator_open(s->store, sagas, 2, s->queue,
					  &r->starter, &err),
		     "sagas", &err);
		s->handler = wb_orchestrator_handler(s->orchestrator);
	} else {
		must(wb_participant_handler(p[0], &s->handler, &err),
		     "participant", &err);
	}
	s->consumer = run_connect(r);
	s->publisher = run_connect(r);
	s->relay = (wb_relay_options)WB_RELAY_OPTIONS_INIT;
	s->relay.routes = s->routes;
	s->options = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	s->options.queue = s->queue;
	s->options.relay = &s->relay;
	must(wb_worker_open(s->store, s->consumer, s->publisher, &s->handler, 1,
			    &s->options, &s->worker, &err),
	     "worker", &err);
}

static void service_close(run *r, int i)
{
	service *s = &r->all[i];

	wb_worker_close(s->worker);
	wb_broker_free(s->consumer);
	wb_broker_free(s->publisher);
	if (i == BOOKING) {
		wb_orchestrator_close(s->orchestrator);
		wb_orchestrator_close(r->starter);
	} else {
		wb_participant_handler_free(s->handler);
	}
	wb_routes_free(s->routes);
	wb_store_close(s->store);
}

static void run_init(run *r, int argc, char **argv)
{
	static const char *const names[] = {"booking", "billing", "parking"};
	const char *dir = bench_text(argc, argv, "--store", "store");
	wb_memory_settings settings = WB_MEMORY_SETTINGS_INIT;
	wb_error err = WB_ERROR_INIT;

	if (!strcmp(bench_text(argc, argv, "--broker", "memory"), "memory")) {
		must(wb_memory_new(NULL, NULL, &r->memory, &err), "broker",
		     &err);
		settings.no_log = true;
		must(wb_memory_set(r->memory, &settings, &err), "broker", &err);
	}
	r->uri = bench_text(argc, argv, "--uri", getenv("WAYBILL_TEST_AMQP"));
	if (!r->memory && !r->uri)
		bench_die("--uri", "which broker?");
	r->count = bench_number(argc, argv, "--count", 20000);
	r->window = bench_number(argc, argv, "--window", 2000);
	booking.ctx = r;
	r->is_new = mkdir(dir, 0700) == 0;
	for (int i = 0; i < SERVICES; i++) {
		wb_store_options so = WB_STORE_OPTIONS_INIT;
		service *s = &r->all[i];

		s->name = names[i];
		participants[i].ctx = r;
		so.service = names[i];
		snprintf(s->dir, sizeof(s->dir), "%s/%s", dir, names[i]);
		/* A broker that others use keeps the queues of other runs. */
		snprintf(s->queue, sizeof(s->queue), "%s-%d", names[i],
			 r->memory ? 0 : (int)getpid());
		if (r->is_new)
			must(wb_store_create(s->dir, &so, &err), s->dir, &err);
	}
}

/* ---- the run ------------------------------------------------------------- */

static void run_start(run *r, const char *kind, uint64_t *number, uint64_t n)
{
	service *s = &r->all[BOOKING];
	wb_error err = WB_ERROR_INIT;
	char id[32];
	MDB_txn *txn;

	must(wb_store_begin(s->store, &txn, &err), "begin", &err);
	for (; n > 0; n--) {
		snprintf(id, sizeof(id), "%c-%d-%" PRIu64, kind[0],
			 (int)getpid(), (*number)++);
		must(wb_saga_start(r->starter, txn, kind, wb_str_from(id),
				   wb_str_from("application/json"),
				   wb_str_from("{\"slot\":\"A1\",\"account\":"
					       "\"alice\",\"amount\":"
					       "\"100.00\"}"),
				   &err),
		     "start", &err);
	}
	must(wb_store_commit(s->store, txn, &err), "commit", &err);
}

/* As many as the window has room for, in commits of 250 at most. */
static void run_fill(run *r)
{
	uint64_t open = r->started - atomic_load(&r->done), n = START_BATCH;

	if (r->started >= r->count || r->window - open < START_BATCH)
		return;
	if (n > r->count - r->started)
		n = r->count - r->started;
	run_start(r, "booking", &r->started, n);
}

static void run_steps(run *r)
{
	wb_error err = WB_ERROR_INIT;

	for (int i = 0; i < SERVICES; i++)
		must(wb_worker_step(r->all[i].worker, true, &err), "worker",
		     &err);
}

/* Every queue is there, and nothing is left to do. */
static bool run_is_idle(run *r)
{
	for (int i = 0; i < SERVICES; i++) {
		wb_worker_stat stat = wb_worker_get_stat(r->all[i].worker);

		if (stat.state != WB_WORKER_RUNNING || !stat.idle)
			return false;
	}
	return true;
}

static void run_settle(run *r)
{
	while (!run_is_idle(r))
		run_steps(r);
}

static void *thread_main(void *arg)
{
	wb_error err = WB_ERROR_INIT;
	service *s = arg;

	must(wb_worker_run(s->worker, false, &err), s->name, &err);
	return NULL;
}

static void run_all(run *r)
{
	if (r->memory) {
		while (atomic_load(&r->done) < r->count) {
			run_fill(r);
			run_steps(r);
		}
		return;
	}
	for (int i = 0; i < SERVICES; i++)
		if (pthread_create(&r->all[i].thread, NULL, thread_main,
				   &r->all[i]))
			bench_die("thread", "cannot be started");
	while (atomic_load(&r->done) < r->count) {
		run_fill(r);
		usleep(1000);
	}
}

static void run_stop(run *r)
{
	for (int i = 0; i < SERVICES && !r->memory; i++)
		wb_worker_stop(r->all[i].worker);
	for (int i = 0; i < SERVICES && !r->memory; i++)
		pthread_join(r->all[i].thread, NULL);
	if (r->memory)
		run_settle(r);
}

/* ---- sagas that wait ----------------------------------------------------- */

/* In a process of its own, so that nothing of it is left in this one's memory.
 */
static void fill_waiting(run *r, uint64_t timers)
{
	uint64_t number = 0;
	pid_t pid = fork();
	int status = 0;

	if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
		return;
	if (pid != 0)
		bench_die("--timers", "filling failed");
	for (int i = 0; i < SERVICES; i++)
		service_open(r, i);
	while (number < timers) {
		run_start(r, "waiting", &number,
			  timers - number < 1000 ? timers - number : 1000);
		run_settle(r);
	}
	for (int i = 0; i < SERVICES; i++)
		service_close(r, i);
	_exit(0);
}

/* ---- what came of it ----------------------------------------------------- */

static uint64_t run_commits(const run *r)
{
	uint64_t sum = 0;

	for (int i = 0; i < SERVICES; i++) {
		MDB_env *envs[] = {wb_store_env(r->all[i].store),
				   wbi_store_relay_env(r->all[i].store)};
		MDB_envinfo info;

		for (int e = 0; e < 2; e++)
			if (envs[e] && !mdb_env_info(envs[e], &info))
				sum += info.me_last_txnid;
	}
	return sum;
}

static uint64_t run_rows(const service *s)
{
	MDB_stat stat = {.ms_entries = 0};
	MDB_txn *txn;
	MDB_dbi dbi;

	if (mdb_txn_begin(wb_store_env(s->store), NULL, MDB_RDONLY, &txn))
		bench_die(s->name, "cannot be read");
	if (mdb_dbi_open(txn, "rows", 0, &dbi) == 0)
		mdb_stat(txn, dbi, &stat);
	mdb_txn_abort(txn);
	return stat.ms_entries;
}

static void run_check(const run *r)
{
	for (int i = 0; i < SERVICES; i++)
		if (run_rows(&r->all[i]) - r->rows[i] !=
		    r->count * (i == PARKING ? 2 : 1))
			bench_die(r->all[i].name,
				  "has not a row for each command");
}

int main(int argc, char **argv)
{
	uint64_t start, cpu, ns, open_ns, commits, timers;
	static run r;

	run_init(&r, argc, argv);
	timers = bench_number(argc, argv, "--timers", 0);
	if (timers && r.is_new)
		fill_waiting(&r, timers);
	start = bench_now_ns();
	for (int i = 0; i < SERVICES; i++)
		service_open(&r, i);
	run_settle(&r);
	open_ns = bench_now_ns() - start;
	for (int i = 0; i < SERVICES; i++)
		r.rows[i] = run_rows(&r.all[i]);
	commits = run_commits(&r);
	start = bench_now_ns();
	cpu = bench_cpu_us();
	run_all(&r);
	ns = bench_now_ns() - start;
	cpu = bench_cpu_us() - cpu;
	commits = run_commits(&r) - commits;
	run_stop(&r);
	run_check(&r);
	printf("sagas=%" PRIu64 " seconds=%.3f rate=%.0f cpu_us=%.1f "
	       "commits=%" PRIu64 " open_ms=%.1f rss_kb=%" PRIu64 "\n",
	       r.count, (double)ns / 1e9, (double)r.count * 1e9 / (double)ns,
	       (double)cpu / (double)r.count, commits, (double)open_ns / 1e6,
	       bench_rss_anon_kb());
	for (int i = 0; i < SERVICES; i++)
		service_close(&r, i);
	wb_memory_free(r.memory);
	return 0;
}
