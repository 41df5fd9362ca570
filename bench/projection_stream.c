/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A projection of a stream queue under measurement: the shipped projector, with
 * a counter per key, from the queue's first message to its --count-th. Every
 * commit is synced, and has the offset in it; each message's origin and position
 * are kept, so that one published twice would count once.
 *
 *   --count N           project N, print rate and CPU
 *   --dir D             the model is made there
 *   --uri --queue --prefetch --batch
 *
 * At the end the counters must add up.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <waybill/amqp.h>
#include <waybill/projector.h>
#include <waybill/read.h>

#include "bench/common.h"
#include "bench/count.h"

static const wb_projection counts = BENCH_COUNTS(WB_PROJECTION_STREAM);

static uint64_t sum_of(wb_projector *projector)
{
	wb_read_query query = WB_READ_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	uint64_t sum = 0, n;
	wb_read_row row;
	wb_read *read;

	if (wb_read_open_projector(projector, NULL, &read, &err) ||
	    wb_read_begin(read, &err) || wb_read_scan(read, &query, &err))
		bench_die("read", err.text);
	while (wb_read_next(read, &row, &err) == WB_OK) {
		memcpy(&n, row.value.ptr, sizeof(n));
		sum += n;
	}
	wb_read_close(read);
	return sum;
}

static void project(wb_projector *projector, uint64_t events)
{
	struct pollfd fd = {.events = POLLIN};
	wb_error err = WB_ERROR_INIT;
	wb_projector_stat stat;

	if (wb_projector_fd(projector, &fd.fd, &err) != WB_OK)
		bench_die("projector", err.text);
	do {
		poll(&fd, 1, 1000);
		if (wb_projector_dispatch(projector, &err) != WB_OK)
			bench_die("projector", err.text);
		stat = wb_projector_get_stat(projector);
		if (stat.state == WB_PROJECTOR_STUCK)
			bench_die("projector", stat.error.text);
	} while (stat.position < events);
}

int main(int argc, char **argv)
{
	wb_projector_options o = WB_PROJECTOR_OPTIONS_INIT;
	wb_amqp_options amqp = WB_AMQP_OPTIONS_INIT;
	uint64_t events = bench_number(argc, argv, "--count", 1000000);
	wb_error err = WB_ERROR_INIT;
	wb_projector *projector;
	uint64_t start, cpu, ns;

	amqp.uri =
		bench_text(argc, argv, "--uri", getenv("WAYBILL_TEST_AMQP"));
	if (!amqp.uri || wb_amqp_new(&amqp, &o.broker, &err) != WB_OK)
		bench_die("--uri", amqp.uri ? err.text : "which broker?");
	o.dir = bench_text(argc, argv, "--dir", ".");
	o.queue = bench_text(argc, argv, "--queue", "bench");
	o.prefetch = (uint32_t)bench_number(argc, argv, "--prefetch", 0);
	o.batch_max = (uint32_t)bench_number(argc, argv, "--batch", 0);
	start = bench_now_ns();
	cpu = bench_cpu_us();
	if (wb_projector_open(NULL, &counts, &o, &projector, &err) != WB_OK)
		bench_die("projector", err.text);
	project(projector, events);
	ns = bench_now_ns() - start;
	cpu = bench_cpu_us() - cpu;
	if (sum_of(projector) != events)
		bench_die("projector", "the counters do not add up");
	printf("events=%" PRIu64 " seconds=%.3f rate=%.0f cpu_us=%.3f\n",
	       events, (double)ns / 1e9, (double)events * 1e9 / (double)ns,
	       (double)cpu / (double)events);
	wb_projector_close(projector);
	wb_broker_free(o.broker);
	return 0;
}
