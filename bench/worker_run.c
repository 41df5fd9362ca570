/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The worker under measurement: the shipped library, driven by its descriptor,
 * with a transactional handler that counts events per key in a table of its
 * own. Every commit is synced, every message acknowledged behind its commit.
 * The queue is the yardstick's: nothing is declared.
 *
 *   --count N           handle N, print rate and CPU
 *   --latency           print append -> handled times too: from what the bodies
 *                       say (relay_run --rate) to when the commit is seen
 *   --seconds S         N or not, S seconds at most; SIGTERM ends it as well
 *   --store D           made if it is not there
 *   --uri --queue --prefetch --batch --txn-us --txn-alone-us --pause-us
 *
 * At the end the counters must add up to what was handled.
 */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <waybill/amqp.h>
#include <waybill/worker.h>

#include "bench/common.h"

enum { RUN_WORKER, RUN_SIGNALS, RUN_FDS };

typedef struct run {
	uint64_t count;
	/* By position in the inbox, which is the order of handling, as no key
	 * ever waits. NULL unless they are wanted. */
	uint64_t *began_ns, *took_ns;
	uint64_t noted; /* events whose commit was seen */
	MDB_dbi counters;
	wb_store *store;
	wb_broker *broker;
	wb_worker *worker;
	wb_handler handler;
	struct pollfd fds[RUN_FDS];
} run;

/* ---- the handler --------------------------------------------------------- */

static wb_code run_handle(wb_call *call, const wb_event *event, wb_error *err)
{
	run *r = wb_call_state(call);
	uint64_t position = wb_call_position(call), n = 0;
	MDB_val key = {event->key.len, (void *)(uintptr_t)event->key.ptr}, v;
	int rc;

	if (r->began_ns && position <= r->count)
		r->began_ns[position - 1] =
			bench_stamped(event->data.ptr, event->data.len);
	if (mdb_get(wb_call_txn(call), r->counters, &key, &v) == MDB_SUCCESS)
		memcpy(&n, v.mv_data, sizeof(n));
	n++;
	v = (MDB_val){sizeof(n), &n};
	rc = mdb_put(wb_call_txn(call), r->counters, &key, &v, 0);
	return rc ? wb_store_error(rc, err, "count") : WB_OK;
}

static wb_code run_open_tables(const wb_handler *self, wb_store *store,
			       MDB_txn *txn, void **ret_state, wb_error *err)
{
	run *r = self->ctx;
	int rc = mdb_dbi_open(txn, "counters", MDB_CREATE, &r->counters);

	(void)store;
	*ret_state = r;
	return rc ? wb_store_error(rc, err, "counters") : WB_OK;
}

/* ---- open ---------------------------------------------------------------- */

static void run_open_store(run *r, const char *dir)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	options.service = "bench";
	if ((access(dir, F_OK) && wb_store_create(dir, &options, &err)) ||
	    wb_store_open(dir, NULL, &r->store, &err))
		bench_die(dir, err.text);
}

static void run_open_handler(run *r)
{
	static const char *const types[] = {"order.*", NULL};

	r->handler = (wb_handler)WB_HANDLER_INIT;
	r->handler.name = "counter";
	r->handler.types = types;
	r->handler.handle = run_handle;
	r->handler.open = run_open_tables;
	r->handler.ctx = r;
}

static void run_open_worker(run *r, int argc, char **argv)
{
	wb_worker_options o = WB_WORKER_OPTIONS_INIT;
	const wb_handler *handlers[] = {&r->handler};
	wb_error err = WB_ERROR_INIT;

	run_open_handler(r);
	o.queue = bench_text(argc, argv, "--queue", "bench");
	o.declare = WB_DECLARE_NEVER;
	o.prefetch = (uint32_t)bench_number(argc, argv, "--prefetch", 0);
	o.batch_max = (uint32_t)bench_number(argc, argv, "--batch", 0);
	o.txn_us = (uint32_t)bench_number(argc, argv, "--txn-us", 0);
	o.txn_alone_us =
		(uint32_t)bench_number(argc, argv, "--txn-alone-us", 0);
	o.pause_us = (uint32_t)bench_number(argc, argv, "--pause-us", 0);
	if (wb_worker_open(r->store, r->broker, NULL, handlers, 1, &o,
			   &r->worker, &err) ||
	    wb_worker_fd(r->worker, &r->fds[RUN_WORKER].fd, &err))
		bench_die("worker", err.text);
	r->fds[RUN_WORKER].events = POLLIN;
}

static void run_open_broker(run *r, int argc, char **argv)
{
	wb_amqp_options amqp = WB_AMQP_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	amqp.uri = bench_text(argc, argv, "--uri", getenv("WAYBILL_TEST_AMQP"));
	if (!amqp.uri)
		bench_die("--uri", "which broker?");
	if (wb_amqp_new(&amqp, &r->broker, &err))
		bench_die("broker", err.text);
}

static void run_open_signals(run *r)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r->fds[RUN_SIGNALS] =
		(struct pollfd){signalfd(-1, &set, SFD_CLOEXEC), POLLIN, 0};
}

/* ---- the run ------------------------------------------------------------- */

/* What is counted as handled is durable by now. */
static void run_note(run *r, uint64_t handled)
{
	uint64_t now = bench_now_ns();

	for (; r->noted < handled && r->noted < r->count; r->noted++) {
		if (!r->began_ns[r->noted])
			bench_die("--latency", "an event does not say when it "
					       "was appended");
		r->took_ns[r->noted] = now - r->began_ns[r->noted];
	}
}

static wb_worker_stat run_turn(run *r)
{
	wb_error err = WB_ERROR_INIT;
	wb_worker_stat stat;

	if (wb_worker_dispatch(r->worker, &err))
		bench_die("worker", err.text);
	stat = wb_worker_get_stat(r->worker);
	if (stat.dead || stat.refused || stat.retries)
		bench_die("worker", "not every event went through at once");
	if (r->began_ns)
		run_note(r, stat.handled);
	return stat;
}

static void run_work(run *r, uint64_t until_ns)
{
	while (run_turn(r).handled < r->count && bench_now_ns() < until_ns) {
		poll(r->fds, RUN_FDS, 100);
		if (r->fds[RUN_SIGNALS].revents)
			return;
	}
}

/* Everything committed is acknowledged behind this. */
static void run_drain(run *r)
{
	wb_worker_stop(r->worker);
	while (run_turn(r).state != WB_WORKER_STOPPED)
		poll(&r->fds[RUN_WORKER], 1, 100);
}

static void run_check(run *r)
{
	uint64_t handled = wb_worker_get_stat(r->worker).handled, sum = 0, n;
	MDB_val key, value;
	MDB_cursor *cursor;
	MDB_txn *txn;

	if (mdb_txn_begin(wb_store_env(r->store), NULL, MDB_RDONLY, &txn) ||
	    mdb_cursor_open(txn, r->counters, &cursor))
		bench_die("counters", "cannot read them");
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS) {
		memcpy(&n, value.mv_data, sizeof(n));
		sum += n;
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	if (sum != handled)
		bench_die("counters", "they are not what was handled");
}

static void run_print(run *r, const wb_worker_stat *s, uint64_t ns,
		      uint64_t cpu_us)
{
	printf("events=%" PRIu64 " seconds=%.3f rate=%.0f cpu_us=%.3f "
	       "received=%" PRIu64 " duplicates=%" PRIu64 " connects=%" PRIu64,
	       s->handled, (double)ns / 1e9,
	       (double)s->handled * 1e9 / (double)ns,
	       (double)cpu_us / (double)(s->handled ? s->handled : 1),
	       s->received, s->duplicates, s->connects);
	if (r->took_ns)
		printf(" p50_us=%.0f p99_us=%.0f",
		       (double)bench_percentile(r->took_ns, r->noted, .5) / 1e3,
		       (double)bench_percentile(r->took_ns, r->noted, .99) /
			       1e3);
	printf("\n");
}

int main(int argc, char **argv)
{
	run r = {.count = bench_number(argc, argv, "--count", 200000)};
	uint64_t start, cpu, ns;
	wb_worker_stat stat;

	if (bench_flag(argc, argv, "--latency")) {
		r.began_ns = calloc(r.count, sizeof(uint64_t));
		r.took_ns = calloc(r.count, sizeof(uint64_t));
		if (!r.began_ns || !r.took_ns)
			bench_die("--latency", "no memory");
	}
	run_open_signals(&r);
	run_open_store(&r, bench_text(argc, argv, "--store", "store"));
	run_open_broker(&r, argc, argv);
	run_open_worker(&r, argc, argv);
	start = bench_now_ns();
	cpu = bench_cpu_us();
	run_work(&r, start + bench_number(argc, argv, "--seconds", 300) *
				     1000000000);
	ns = bench_now_ns() - start;
	cpu = bench_cpu_us() - cpu;
	stat = wb_worker_get_stat(r.worker);
	run_drain(&r);
	run_check(&r);
	run_print(&r, &stat, ns, cpu);
	wb_worker_close(r.worker);
	wb_broker_free(r.broker);
	wb_store_close(r.store);
	free(r.began_ns);
	free(r.took_ns);
	return 0;
}
