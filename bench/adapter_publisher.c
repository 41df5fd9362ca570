/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the RabbitMQ adapter gets by itself: the messages of plain_publisher,
 * published through wb_broker, with nothing read and nothing stored. The
 * relay cannot be faster than this.
 *
 *   --count N --window W --batch B (publishes per flush)
 *   --uri --keys --hot --hot-permille --body
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <waybill/amqp.h>

#include "bench/common.h"

enum { ADAPTER_HEADERS = 8 };

typedef struct adapter_run {
	wb_broker *broker;
	bench_shape shape;
	uint64_t window, batch;
	uint64_t sent, settled, returned, nacked;
	bool up;
	wb_header headers[ADAPTER_HEADERS];
	wb_message message;
	char id[37], when[32], key[BENCH_KEY_MAX], position[24];
	char body[BENCH_BODY_MAX];
} adapter_run;

static wb_header adapter_header(const char *name, const char *value)
{
	return (wb_header){wb_str_from(name), wb_str_from(value)};
}

static void adapter_prepare(adapter_run *r)
{
	wb_message *m = &r->message;

	wb_uuid7(wb_system_clock(), wb_system_random(), r->id);
	memcpy(r->when, "2026-01-01T00:00:00.000000Z", 28);
	bench_body(r->body, r->shape.body);
	r->headers[0] = adapter_header("ce-specversion", "1.0");
	r->headers[1] = adapter_header("ce-id", r->id);
	r->headers[2] = adapter_header("ce-type", "order.placed");
	r->headers[3] = adapter_header("ce-source", "/bench");
	r->headers[4] = adapter_header("ce-time", r->when);
	r->headers[5] = adapter_header("ce-partitionkey", "");
	r->headers[6] = adapter_header("ce-wborigin",
				       "01890000-0000-7000-8000-000000000000");
	r->headers[7] = adapter_header("ce-wbposition", "0");
	*m = (wb_message){.exchange = wb_str_from("events"),
			  .routing_key = wb_str_from("order.placed"),
			  .message_id = wb_str_from(r->id),
			  .type = wb_str_from("order.placed"),
			  .app_id = wb_str_from("bench"),
			  .content_type = wb_str_from("application/json"),
			  .timestamp_s = (int64_t)time(NULL),
			  .persistent = true,
			  .headers = r->headers,
			  .header_count = ADAPTER_HEADERS,
			  .body = {r->body, r->shape.body}};
}

/* The next message; the same work as in plain_publisher. */
static void adapter_vary(adapter_run *r)
{
	static const char hex[] = "0123456789abcdef";
	uint64_t n = r->sent + 1;
	int len;

	for (int i = 0; i < 12; i++)
		r->id[35 - i] = hex[(n >> (4 * i)) & 15];
	for (int i = 0; i < 6; i++, n /= 10)
		r->when[25 - i] = (char)('0' + n % 10);
	r->headers[5].value =
		(wb_str){r->key, bench_key(&r->shape, r->sent, r->key)};
	len = snprintf(r->position, sizeof(r->position), "%" PRIu64,
		       r->sent + 1);
	r->headers[7].value = (wb_str){r->position, (size_t)len};
}

static void adapter_take(adapter_run *r)
{
	wb_broker_event event;

	while (wb_broker_next(r->broker, &event)) {
		switch (event.kind) {
		case WB_BROKER_UP:
			r->up = true;
			break;
		case WB_BROKER_NACKED:
			r->nacked++;
			r->settled++;
			break;
		case WB_BROKER_RETURNED:
			r->returned++;
			r->settled++;
			break;
		case WB_BROKER_ACKED:
			r->settled++;
			break;
		case WB_BROKER_DOWN:
		case WB_BROKER_CHANNEL_CLOSED:
			bench_die("broker", event.error.text);
		default:
			break;
		}
	}
}

static void adapter_wait(adapter_run *r)
{
	struct pollfd fd = {wb_broker_fd(r->broker), POLLIN, 0};

	poll(&fd, 1, 1000);
	wb_broker_step(r->broker);
	adapter_take(r);
}

/* Fill the window, one flush per batch; false: the adapter's buffer is full
 * for now. */
static bool adapter_fill(adapter_run *r)
{
	for (uint64_t i = 0; i < r->batch && r->sent < r->shape.count &&
			     r->sent - r->settled < r->window;
	     i++) {
		wb_error err = WB_ERROR_INIT;
		wb_code code;

		adapter_vary(r);
		code = wb_broker_publish(r->broker, &r->message, r->sent, &err);
		if (code == WB_EAGAIN)
			return false;
		if (code != WB_OK)
			bench_die("publish", err.text);
		r->sent++;
	}
	wb_broker_flush(r->broker);
	return true;
}

/* Publishing in gulps, each when a batch's worth of the window is free. */
static void adapter_go(adapter_run *r)
{
	while (r->settled < r->shape.count) {
		if (r->sent < r->shape.count &&
		    r->sent - r->settled + r->batch <= r->window &&
		    adapter_fill(r))
			continue;
		adapter_wait(r);
	}
}

int main(int argc, char **argv)
{
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;
	adapter_run *r = calloc(1, sizeof(*r));
	wb_error err = WB_ERROR_INIT;
	uint64_t start, cpu, ns;

	options.uri =
		bench_text(argc, argv, "--uri", getenv("WAYBILL_TEST_AMQP"));
	if (!options.uri || !r)
		bench_die("--uri", "which broker?");
	r->shape = bench_shape_from(argc, argv);
	r->window = bench_number(argc, argv, "--window", 2000);
	r->batch = bench_number(argc, argv, "--batch", 100);
	if (wb_amqp_new(&options, &r->broker, &err) != WB_OK ||
	    wb_broker_connect(r->broker, &err) != WB_OK)
		bench_die("connect", err.text);
	while (!r->up)
		adapter_wait(r);
	adapter_prepare(r);
	start = bench_now_ns();
	cpu = bench_cpu_us();
	adapter_go(r);
	ns = bench_now_ns() - start;
	printf("events=%" PRIu64 " seconds=%.3f rate=%.0f cpu_us=%.3f "
	       "returned=%" PRIu64 " nacked=%" PRIu64 "\n",
	       r->settled, (double)ns / 1e9,
	       (double)r->settled * 1e9 / (double)ns,
	       (double)(bench_cpu_us() - cpu) / (double)r->settled, r->returned,
	       r->nacked);
	wb_broker_free(r->broker);
	free(r);
	return 0;
}
