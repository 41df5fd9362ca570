/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay under measurement: the shipped library, driven by its descriptor.
 *
 *   --fill             make the store and append --count events; no broker
 *   (nothing)          relay until the store is empty; rate, CPU, memory, and
 *                      the rate near the start and near the end
 *   --seconds S        the same, S seconds at most
 *   --rate R           a process beside it commits --count events, one by one
 *                      at R a second; commit -> confirm times; each body says
 *                      when its append began, for worker_run --latency
 *   --store D --uri U --window W --keys --hot --hot-permille --body
 *
 * With --rate a forked child is the service. It is forked before any store is
 * open; the times of its commits lie in shared memory.
 */
#include "config.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <waybill/amqp.h>
#include <waybill/outbox.h>
#include <waybill/relay.h>

#include "bench/common.h"
#include "bench/probe.h"

enum { RUN_FILL_BATCH = 1000, RUN_SAMPLE_NS = 200000000 };

typedef struct run {
	const char *dir, *uri;
	bench_shape shape;
	uint64_t rate, seconds, window;
	uint64_t *committed_ns, *confirmed_ns; /* by position */
	wb_store *store;
	wb_broker *broker;
	wb_relay *relay;
	/* When the cursor passed 5, 25, 75 and 95 % of the backlog. */
	uint64_t passed_ns[4], passed_at[4];
	uint64_t rss_kb, rss_first_kb;
} run;

static void run_append(wb_store *store, wb_outbox *outbox,
		       const bench_shape *shape, uint64_t from, uint64_t count)
{
	wb_error err = WB_ERROR_INIT;
	char key[BENCH_KEY_MAX], body[BENCH_BODY_MAX];
	MDB_txn *txn;

	bench_body(body, shape->body);
	bench_stamp(body);
	if (wb_store_begin(store, &txn, &err))
		bench_die("begin", err.text);
	for (uint64_t i = from; i < from + count; i++) {
		size_t len = bench_key(shape, i, key);
		wb_event event = bench_event(wb_str_n(key, len),
					     wb_str_n(body, shape->body));

		if (wb_outbox_append(outbox, txn, &event, NULL, &err))
			bench_die("append", err.text);
	}
	if (wb_store_commit(store, txn, &err))
		bench_die("commit", err.text);
}

static void run_open(run *r, bool create)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	options.service = "bench";
	if ((create && wb_store_create(r->dir, &options, &err)) ||
	    wb_store_open(r->dir, NULL, &r->store, &err))
		bench_die(r->dir, err.text);
}

static void run_fill(run *r)
{
	wb_error err = WB_ERROR_INIT;
	wb_outbox *outbox;

	run_open(r, true);
	if (wb_outbox_open(r->store, NULL, &outbox, &err))
		bench_die("outbox", err.text);
	for (uint64_t i = 0; i < r->shape.count; i += RUN_FILL_BATCH) {
		uint64_t left = r->shape.count - i;

		run_append(r->store, outbox, &r->shape, i,
			   left < RUN_FILL_BATCH ? left : RUN_FILL_BATCH);
	}
	wb_outbox_close(outbox);
	wb_store_close(r->store);
}

/* The service of --rate: a process of its own. */
static void run_service(run *r)
{
	wb_error err = WB_ERROR_INIT;
	wb_outbox *outbox;
	uint64_t next;

	run_open(r, false);
	if (wb_outbox_open(r->store, NULL, &outbox, &err))
		bench_die("outbox", err.text);
	sleep(1); /* the relay connects */
	next = bench_now_ns();
	for (uint64_t i = 0; i < r->shape.count; i++) {
		bench_sleep_until_ns(next);
		run_append(r->store, outbox, &r->shape, i, 1);
		r->committed_ns[i + 1] = bench_now_ns();
		next += 1000000000 / r->rate;
	}
	wb_outbox_close(outbox);
	wb_store_close(r->store);
	exit(0);
}

static void run_connect(run *r)
{
	wb_amqp_options amqp = WB_AMQP_OPTIONS_INIT;
	wb_relay_options relay = WB_RELAY_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	run_open(r, false);
	amqp.uri = r->uri;
	if (wb_amqp_new(&amqp, &r->broker, &err))
		bench_die("broker", err.text);
	if (r->rate)
		r->broker = bench_probe(r->broker, r->confirmed_ns,
					r->shape.count + 1);
	relay.window = (uint32_t)r->window;
	if (wb_relay_open(r->store, r->broker, &relay, &r->relay, &err))
		bench_die("relay", err.text);
}

static void run_sample(run *r, uint64_t now, const wb_relay_stat *stat)
{
	static const unsigned percent[4] = {5, 25, 75, 95};

	for (int i = 0; i < 4; i++) {
		if (r->passed_ns[i] ||
		    stat->cursor * 100 < r->shape.count * percent[i])
			continue;
		r->passed_ns[i] = now;
		r->passed_at[i] = stat->cursor;
	}
}

static bool run_over(const run *r, const wb_relay_stat *stat)
{
	return stat->idle && stat->cursor >= r->shape.count;
}

static void run_relay(run *r, uint64_t until_ns)
{
	wb_error err = WB_ERROR_INIT;
	uint64_t sampled = 0;
	struct pollfd fd = {.events = POLLIN};

	if (wb_relay_fd(r->relay, &fd.fd, &err))
		bench_die("relay", err.text);
	for (;;) {
		uint64_t now = bench_now_ns();
		wb_relay_stat stat = wb_relay_get_stat(r->relay);

		run_sample(r, now, &stat);
		if (now - sampled > RUN_SAMPLE_NS) {
			uint64_t kb = bench_rss_anon_kb();

			sampled = now;
			r->rss_kb = kb > r->rss_kb ? kb : r->rss_kb;
		}
		if (run_over(r, &stat) || (until_ns && now > until_ns))
			return;
		if (wb_relay_dispatch(r->relay, &err))
			bench_die("relay", err.text);
		poll(&fd, 1, 100);
	}
}

static double run_speed(const run *r, int from, int to)
{
	uint64_t ns = r->passed_ns[to] - r->passed_ns[from];

	if (!r->passed_ns[to] || ns == 0)
		return 0;
	return (double)(r->passed_at[to] - r->passed_at[from]) * 1e9 /
	       (double)ns;
}

static void run_print_latency(run *r)
{
	uint64_t *took = calloc(r->shape.count, sizeof(*took));

	if (!took)
		bench_die("latency", "no memory");
	for (uint64_t i = 1; i <= r->shape.count; i++) {
		uint64_t a = r->committed_ns[i], b = r->confirmed_ns[i];

		/* The relay can see a commit before its caller returns. */
		took[i - 1] = b > a ? b - a : 0;
	}
	printf(" p50_us=%.0f p99_us=%.0f",
	       (double)bench_percentile(took, r->shape.count, .5) / 1e3,
	       (double)bench_percentile(took, r->shape.count, .99) / 1e3);
	free(took);
}

static void run_print(run *r, uint64_t ns, uint64_t cpu_us)
{
	wb_relay_stat s = wb_relay_get_stat(r->relay);
	double start = run_speed(r, 0, 1), end = run_speed(r, 2, 3);

	printf("events=%" PRIu64 " seconds=%.3f rate=%.0f cpu_us=%.3f "
	       "returned=%" PRIu64 " repeats=%" PRIu64 " nacks=%" PRIu64
	       " connects=%" PRIu64 " rate_start=%.0f rate_end=%.0f "
	       "rss_anon_kb=%" PRIu64 " rss_before_kb=%" PRIu64,
	       s.delivered, (double)ns / 1e9,
	       (double)s.delivered * 1e9 / (double)ns,
	       (double)cpu_us / (double)(s.delivered ? s.delivered : 1),
	       s.returns, s.repeats, s.nacks, s.connects, start, end, r->rss_kb, r->rss_first_kb);
	if (r->rate)
		run_print_latency(r);
	printf("\n");
}

static void run_share_times(run *r)
{
	size_t bytes = (r->shape.count + 1) * sizeof(uint64_t);

	r->confirmed_ns = calloc(1, bytes);
	r->committed_ns = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r->committed_ns == MAP_FAILED || !r->confirmed_ns)
		bench_die("latency", "no memory");
}

int main(int argc, char **argv)
{
	run r = {
		.dir = bench_text(argc, argv, "--store", "store"),
		.uri = bench_text(argc, argv, "--uri",
				  getenv("WAYBILL_TEST_AMQP")),
		.shape = bench_shape_from(argc, argv),
		.rate = bench_number(argc, argv, "--rate", 0),
		.seconds = bench_number(argc, argv, "--seconds", 0),
		.window = bench_number(argc, argv, "--window", 0),
	};
	uint64_t start, cpu;
	pid_t child = 0;

	if (bench_flag(argc, argv, "--fill")) {
		run_fill(&r);
		return 0;
	}
	if (!r.uri)
		bench_die("--uri", "which broker?");
	if (r.rate) {
		run_share_times(&r);
		run_open(&r, true);
		wb_store_close(r.store);
		child = fork();
		if (child == 0)
			run_service(&r);
	}
	r.rss_first_kb = bench_rss_anon_kb();
	run_connect(&r);
	start = bench_now_ns();
	cpu = bench_cpu_us();
	run_relay(&r, r.seconds ? start + r.seconds * 1000000000 : 0);
	run_print(&r, bench_now_ns() - start, bench_cpu_us() - cpu);
	wb_relay_close(r.relay);
	wb_broker_free(r.broker);
	wb_store_close(r.store);
	if (child > 0)
		waitpid(child, NULL, 0);
	return 0;
}
