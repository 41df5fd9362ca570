/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Choreographies under measurement: the three services of the example
 * (examples/choreography), each with a store and the shipped worker, which
 * relays too, a thread each. A booking is made, billed, paid as soon as there
 * is a bill, its slot reserved, and the booking done: three events through the
 * broker, six changes of rows. Every commit is synced.
 *
 *   --count N --window W   bookings, and how many of them at a time
 *   --store D              below it the stores are made
 *   --uri U
 *
 * At the end every booking must be done, every bill paid, every slot reserved.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <waybill/amqp.h>
#include <waybill/worker.h>

#include "bench/common.h"
#include "examples/choreography/billing.h"
#include "examples/choreography/booking.h"
#include "examples/choreography/parking.h"
#include "examples/choreography/rows.h"
#include "lib/store/store.h"

enum { BOOKING, BILLING, PARKING, SERVICES };
enum { BATCH = 250, SLOTS_AT_ONCE = 1000, BINDINGS = 3, NAP_US = 500 };

typedef struct service {
	const char *name;
	char dir[512], queue[64];
	wb_store *store;
	wb_flow_part part;
	wb_choreography *flow;    /* the worker's */
	wb_choreography *command; /* of the thread that books and pays */
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
	char exchange[64];
	const char *uri;
	wb_flow_binding bindings[BINDINGS]; /* booking's */
	booking_tables booking;
	billing_tables billing;
	parking_tables parking;
	uint64_t count, window, booked, paid;
	atomic_ullong done;
} run;

static void must(wb_code code, const char *what, const wb_error *err)
{
	if (code != WB_OK)
		bench_die(what, err->text);
}

static void reference(char ret[64], uint64_t number)
{
	snprintf(ret, 64, "s%" PRIu64 ":b", number);
}

/* ---- the services -------------------------------------------------------- */

/* The example's own reaction, and a count of them. */
static wb_code run_finish(wb_call *call, const wb_event *event, wb_error *err)
{
	run *r = wb_call_handler(call)->ctx;

	for (size_t i = 0; i < booking_part.count; i++)
		if (!strcmp(booking_part.bindings[i].step, "finish")) {
			atomic_fetch_add(&r->done, 1);
			return booking_part.bindings[i].run(call, event, err);
		}
	return wb_stop(err, "the example has no step finish");
}

static void run_bind(run *r)
{
	service *s = &r->all[BOOKING];

	if (booking_part.count != BINDINGS)
		bench_die("booking", "the example has other steps");
	memcpy(r->bindings, booking_part.bindings, sizeof(r->bindings));
	for (size_t i = 0; i < BINDINGS; i++)
		if (!strcmp(r->bindings[i].step, "finish"))
			r->bindings[i].run = run_finish;
	s->part.bindings = r->bindings;
	s->part.ctx = r;
}

static wb_code run_tables(run *r, int i, MDB_txn *txn, wb_error *err)
{
	return i == BOOKING   ? booking_open(txn, &r->booking, err)
	       : i == BILLING ? billing_open(txn, &r->billing, err)
			      : parking_open(txn, &r->parking, err);
}

static wb_broker *run_connect(const run *r)
{
	wb_amqp_options amqp = WB_AMQP_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_broker *broker = NULL;

	amqp.uri = r->uri;
	must(wb_amqp_new(&amqp, &broker, &err), "broker", &err);
	return broker;
}

static void service_open_store(run *r, int i)
{
	wb_store_options so = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	service *s = &r->all[i];
	MDB_txn *txn;

	so.service = s->name;
	must(wb_store_create(s->dir, &so, &err), s->dir, &err);
	must(wb_store_open(s->dir, NULL, &s->store, &err), s->dir, &err);
	must(wb_store_begin(s->store, &txn, &err), s->dir, &err);
	must(run_tables(r, i, txn, &err), s->dir, &err);
	must(wb_store_commit(s->store, txn, &err), s->dir, &err);
}

static void service_open(run *r, int i)
{
	const wb_route route = {.exchange = r->exchange};
	wb_error err = WB_ERROR_INIT;
	service *s = &r->all[i];

	service_open_store(r, i);
	must(wb_routes_new(&route, 1, &s->routes, &err), "routes", &err);
	must(wb_choreography_open(s->store, &s->part, &s->flow, &err), "flow",
	     &err);
	must(wb_choreography_open(s->store, &s->part, &s->command, &err),
	     "flow", &err);
	s->handler = wb_choreography_handler(s->flow);
	s->consumer = run_connect(r);
	s->publisher = run_connect(r);
	s->relay = (wb_relay_options)WB_RELAY_OPTIONS_INIT;
	s->relay.routes = s->routes;
	s->options = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	s->options.queue = s->queue;
	s->options.exchange = r->exchange;
	s->options.relay = &s->relay;
	must(wb_worker_open(s->store, s->consumer, s->publisher, &s->handler, 1,
			    &s->options, &s->worker, &err),
	     "worker", &err);
}

static void service_close(service *s)
{
	wb_worker_close(s->worker);
	wb_broker_free(s->consumer);
	wb_broker_free(s->publisher);
	wb_choreography_close(s->flow);
	wb_choreography_close(s->command);
	wb_routes_free(s->routes);
	wb_store_close(s->store);
}

static void run_init(run *r, int argc, char **argv)
{
	static const char *const names[] = {"booking", "billing", "parking"};
	const wb_flow_part *const parts[] = {&booking_part, &billing_part,
					     &parking_part};
	const char *dir = bench_text(argc, argv, "--store", "store");

	r->uri = bench_text(argc, argv, "--uri", getenv("WAYBILL_TEST_AMQP"));
	if (!r->uri)
		bench_die("--uri", "which broker?");
	r->count = bench_number(argc, argv, "--count", 20000);
	r->window = bench_number(argc, argv, "--window", 2000);
	snprintf(r->exchange, sizeof(r->exchange), "flow-%d", (int)getpid());
	mkdir(dir, 0700);
	for (int i = 0; i < SERVICES; i++) {
		service *s = &r->all[i];

		s->name = names[i];
		s->part = *parts[i];
		snprintf(s->dir, sizeof(s->dir), "%s/%s", dir, names[i]);
		snprintf(s->queue, sizeof(s->queue), "flow-%s-%d", names[i],
			 (int)getpid());
	}
	run_bind(r);
}

/* ---- customers ----------------------------------------------------------- */

static void run_make_slots(run *r)
{
	service *s = &r->all[PARKING];
	wb_error err = WB_ERROR_INIT;
	uint64_t n = 0;

	while (n < r->count) {
		MDB_txn *txn;

		must(wb_store_begin(s->store, &txn, &err), "slots", &err);
		for (int i = 0; i < SLOTS_AT_ONCE && n < r->count; i++, n++) {
			char name[32], uuid[WB_UUID_TEXT_LEN + 1];

			snprintf(name, sizeof(name), "s%" PRIu64, n);
			wb_uuid7(wb_system_clock(), wb_system_random(), uuid);
			must(parking_add(&r->parking, txn, wb_str_from(name),
					 uuid, &err),
			     "slots", &err);
		}
		must(wb_store_commit(s->store, txn, &err), "slots", &err);
	}
}

/* As many as the window has room for, in commits of 250 at most. */
static bool run_book(run *r)
{
	uint64_t open = r->booked - atomic_load(&r->done), n = BATCH;
	service *s = &r->all[BOOKING];
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;

	if (r->booked >= r->count || r->window - open < n)
		return false;
	must(wb_store_begin(s->store, &txn, &err), "book", &err);
	for (; n > 0 && r->booked < r->count; n--, r->booked++) {
		char ref[64];

		reference(ref, r->booked);
		must(booking_create(&r->booking, s->command, txn,
				    wb_str_from(ref), &err),
		     "book", &err);
	}
	must(wb_store_commit(s->store, txn, &err), "book", &err);
	return true;
}

/* How many bills there are from the next to be paid on. */
static uint64_t run_bills(run *r)
{
	service *s = &r->all[BILLING];
	wb_error err = WB_ERROR_INIT;
	uint64_t n = 0;
	MDB_txn *txn;
	bill b;

	if (mdb_txn_begin(wb_store_env(s->store), NULL, MDB_RDONLY, &txn))
		bench_die("bills", "cannot be read");
	for (; n < BATCH && r->paid + n < r->booked; n++) {
		char ref[64];

		reference(ref, r->paid + n);
		if (billing_get(&r->billing, txn, wb_str_from(ref), &b, &err))
			break;
	}
	mdb_txn_abort(txn);
	return n;
}

static bool run_pay(run *r)
{
	const wb_clock *clock = wb_system_clock();
	service *s = &r->all[BILLING];
	wb_error err = WB_ERROR_INIT;
	uint64_t n = run_bills(r);
	MDB_txn *txn;

	/* Not one by one: as with bookings, a commit is for many. */
	if (n == 0 || (n < BATCH && r->booked - r->paid > n))
		return false;
	must(wb_store_begin(s->store, &txn, &err), "pay", &err);
	for (; n > 0; n--, r->paid++) {
		char ref[64];

		reference(ref, r->paid);
		must(billing_pay(&r->billing, s->command, txn, wb_str_from(ref),
				 BILLING_TOTAL, clock->real_us(clock->ctx),
				 &err),
		     "pay", &err);
	}
	must(wb_store_commit(s->store, txn, &err), "pay", &err);
	return true;
}

/* ---- the run ------------------------------------------------------------- */

static void *thread_main(void *arg)
{
	wb_error err = WB_ERROR_INIT;
	service *s = arg;

	must(wb_worker_run(s->worker, false, &err), s->name, &err);
	return NULL;
}

/* Every queue is there. */
static void run_settle(run *r)
{
	wb_error err = WB_ERROR_INIT;
	bool all = false;

	while (!all) {
		all = true;
		for (int i = 0; i < SERVICES; i++) {
			wb_worker *w = r->all[i].worker;

			must(wb_worker_step(w, true, &err), "worker", &err);
			all = all &&
			      wb_worker_get_stat(w).state == WB_WORKER_RUNNING;
		}
	}
}

static void run_all(run *r)
{
	const struct timespec nap = {0, NAP_US * 1000};

	for (int i = 0; i < SERVICES; i++)
		if (pthread_create(&r->all[i].thread, NULL, thread_main,
				   &r->all[i]))
			bench_die("thread", "cannot be started");
	while (atomic_load(&r->done) < r->count) {
		bool booked = run_book(r), paid = run_pay(r);

		if (!booked && !paid)
			nanosleep(&nap, NULL);
	}
}

static void run_stop(run *r)
{
	for (int i = 0; i < SERVICES; i++)
		wb_worker_stop(r->all[i].worker);
	for (int i = 0; i < SERVICES; i++)
		pthread_join(r->all[i].thread, NULL);
}

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

/* ---- what came of it ----------------------------------------------------- */

static wb_code see_booking(void *ctx, wb_str ref, const void *row,
			   wb_error *err)
{
	(void)ref;
	(void)err;
	*(uint64_t *)ctx += ((const booking *)row)->state == BOOKING_DONE;
	return WB_OK;
}

static wb_code see_bill(void *ctx, wb_str ref, const void *row, wb_error *err)
{
	(void)ref;
	(void)err;
	*(uint64_t *)ctx += ((const bill *)row)->state == BILL_PAID;
	return WB_OK;
}

static wb_code see_slot(void *ctx, wb_str ref, const void *row, wb_error *err)
{
	(void)ref;
	(void)err;
	*(uint64_t *)ctx += ((const parking_slot *)row)->state == SLOT_RESERVED;
	return WB_OK;
}

static void run_check(run *r)
{
	const struct {
		MDB_dbi table;
		size_t size;
		rows_fn *see;
	} what[SERVICES] = {
		{r->booking.bookings, sizeof(booking), see_booking},
		{r->billing.bills, sizeof(bill), see_bill},
		{r->parking.slots, sizeof(parking_slot), see_slot},
	};

	for (int i = 0; i < SERVICES; i++) {
		wb_error err = WB_ERROR_INIT;
		uint64_t n = 0;
		MDB_txn *txn;

		if (mdb_txn_begin(wb_store_env(r->all[i].store), NULL,
				  MDB_RDONLY, &txn))
			bench_die(r->all[i].name, "cannot be read");
		must(rows_each(txn, what[i].table, WB_STR_NULL, what[i].size,
			       what[i].see, &n, &err),
		     r->all[i].name, &err);
		mdb_txn_abort(txn);
		if (n != r->count)
			bench_die(r->all[i].name, "not all of it is done");
	}
}

int main(int argc, char **argv)
{
	uint64_t start, cpu, ns, commits;
	static run r;

	run_init(&r, argc, argv);
	for (int i = 0; i < SERVICES; i++)
		service_open(&r, i);
	run_make_slots(&r);
	run_settle(&r);
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
	       "commits=%" PRIu64 "\n",
	       r.count, (double)ns / 1e9, (double)r.count * 1e9 / (double)ns,
	       (double)cpu / (double)r.count, commits);
	for (int i = 0; i < SERVICES; i++)
		service_close(&r.all[i]);
	return 0;
}
