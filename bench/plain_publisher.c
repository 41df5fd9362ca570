/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay's yardstick: what a program gets that publishes through rabbitmq-c
 * as its examples do, with blocking calls. It confirms every message, sets
 * `mandatory` and sends the same properties and headers as waybill, but reads
 * its events from nowhere and stores nothing. It keeps `--window` messages
 * unconfirmed, waits for one confirm when that many are, and goes on.
 *
 *   --count N           publish N, print rate and CPU
 *   --rate R            at R a second, print publish -> confirm times
 *   --seconds S         as fast as it can for S seconds
 *   --stamp             each body says when it was published
 *   --reset             only (re-)make the exchange and an empty quorum queue,
 *                       or with --stream a stream
 *   --uri --window --keys --hot --hot-permille --body
 */
#include "config.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include "bench/common.h"
#include "bench/plain_amqp.h"

enum { PLAIN_HEADERS = 8, PLAIN_WINDOW_MAX = 65536 };

typedef struct plain {
	amqp_connection_state_t conn;
	bench_shape shape;
	uint64_t window;
	uint64_t sent, settled; /* delivery tags 1..sent; settled is a count */
	uint64_t returned;
	bool stamp;
	bool confirmed[PLAIN_WINDOW_MAX]; /* by tag */
	uint64_t lowest; /* every tag below it is settled */
	uint64_t started[PLAIN_WINDOW_MAX];
	uint64_t *latencies; /* NULL unless they are wanted */
	/* One message; only id, time, key and position change. */
	amqp_basic_properties_t properties;
	amqp_table_entry_t headers[PLAIN_HEADERS];
	char id[37], when[32], key[BENCH_KEY_MAX], position[24];
	char body[BENCH_BODY_MAX];
} plain;

static void plain_reset(amqp_connection_state_t conn, const char *kind)
{
	amqp_bytes_t queue = amqp_cstring_bytes("bench");
	amqp_bytes_t exchange = amqp_cstring_bytes("events");
	amqp_table_entry_t type = {
		.key = amqp_cstring_bytes("x-queue-type"),
		.value = {.kind = AMQP_FIELD_KIND_UTF8,
			  .value.bytes = amqp_cstring_bytes(kind)}};
	amqp_table_t arguments = {1, &type};

	amqp_queue_delete(conn, 1, queue, 0, 0);
	plain_must(conn, "delete queue");
	amqp_exchange_declare(conn, 1, exchange, amqp_cstring_bytes("topic"), 0,
			      1, 0, 0, amqp_empty_table);
	plain_must(conn, "declare exchange");
	amqp_queue_declare(conn, 1, queue, 0, 1, 0, 0, arguments);
	plain_must(conn, "declare queue");
	amqp_queue_bind(conn, 1, queue, exchange, amqp_cstring_bytes("#"),
			amqp_empty_table);
	plain_must(conn, "bind queue");
}

static amqp_table_entry_t plain_header(const char *name, const char *value)
{
	return (amqp_table_entry_t){
		.key = amqp_cstring_bytes(name),
		.value = {.kind = AMQP_FIELD_KIND_UTF8,
			  .value.bytes = amqp_cstring_bytes(value)}};
}

static void plain_prepare(plain *p)
{
	amqp_basic_properties_t *b = &p->properties;

	wb_uuid7(wb_system_clock(), wb_system_random(), p->id);
	memcpy(p->when, "2026-01-01T00:00:00.000000Z", 28);
	bench_body(p->body, p->shape.body);
	p->headers[0] = plain_header("ce-specversion", "1.0");
	p->headers[1] = plain_header("ce-id", p->id);
	p->headers[2] = plain_header("ce-type", "order.placed");
	p->headers[3] = plain_header("ce-source", "/bench");
	p->headers[4] = plain_header("ce-time", p->when);
	p->headers[5] = plain_header("ce-partitionkey", "order/000000");
	p->headers[6] = plain_header("ce-wborigin",
				     "01890000-0000-7000-8000-000000000000");
	p->headers[7] = plain_header("ce-wbposition", "0");
	b->_flags = AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TYPE_FLAG |
		    AMQP_BASIC_APP_ID_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG |
		    AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
		    AMQP_BASIC_HEADERS_FLAG;
	b->message_id = amqp_cstring_bytes(p->id);
	b->type = amqp_cstring_bytes("order.placed");
	b->app_id = amqp_cstring_bytes("bench");
	b->content_type = amqp_cstring_bytes("application/json");
	b->timestamp = (uint64_t)time(NULL);
	b->delivery_mode = AMQP_DELIVERY_PERSISTENT;
	b->headers.num_entries = PLAIN_HEADERS;
	b->headers.entries = p->headers;
}

/* Make the next message another one, as cheaply as a program can. */
static void plain_vary(plain *p)
{
	static const char hex[] = "0123456789abcdef";
	uint64_t n = p->sent + 1;

	for (int i = 0; i < 12; i++)
		p->id[35 - i] = hex[(n >> (4 * i)) & 15];
	for (int i = 0; i < 6; i++, n /= 10)
		p->when[25 - i] = (char)('0' + n % 10);
	p->headers[5].value.value.bytes =
		(amqp_bytes_t){bench_key(&p->shape, p->sent, p->key), p->key};
	p->headers[7].value.value.bytes = (amqp_bytes_t){
		(size_t)snprintf(p->position, sizeof(p->position), "%" PRIu64,
				 p->sent + 1),
		p->position};
}

static void plain_publish(plain *p)
{
	amqp_bytes_t body = {p->shape.body, p->body};
	int status;

	plain_vary(p);
	p->sent++;
	p->confirmed[p->sent % PLAIN_WINDOW_MAX] = false;
	if (p->latencies)
		p->started[p->sent % PLAIN_WINDOW_MAX] = bench_now_ns();
	if (p->stamp)
		bench_stamp(p->body);
	status = amqp_basic_publish(p->conn, 1, amqp_cstring_bytes("events"),
				    amqp_cstring_bytes("order.placed"), 1, 0,
				    &p->properties, body);
	if (status != AMQP_STATUS_OK)
		bench_die("publish", amqp_error_string2(status));
}

static void plain_settle(plain *p, uint64_t tag)
{
	if (p->confirmed[tag % PLAIN_WINDOW_MAX])
		return;
	p->confirmed[tag % PLAIN_WINDOW_MAX] = true;
	if (p->latencies)
		p->latencies[p->settled] =
			bench_now_ns() - p->started[tag % PLAIN_WINDOW_MAX];
	p->settled++;
}

static void plain_ack(plain *p, const amqp_basic_ack_t *ack)
{
	for (uint64_t t = p->lowest; ack->multiple && t < ack->delivery_tag;
	     t++)
		plain_settle(p, t);
	plain_settle(p, ack->delivery_tag);
	while (p->lowest <= p->sent &&
	       p->confirmed[p->lowest % PLAIN_WINDOW_MAX])
		p->lowest++;
}

/* Take one frame; false if none came in time. NULL: wait for it. */
static bool plain_take(plain *p, struct timeval *timeout)
{
	amqp_frame_t f;
	int status = amqp_simple_wait_frame_noblock(p->conn, &f, timeout);

	if (status == AMQP_STATUS_TIMEOUT)
		return false;
	if (status != AMQP_STATUS_OK)
		bench_die("confirms", amqp_error_string2(status));
	if (f.frame_type == AMQP_FRAME_METHOD) {
		if (f.payload.method.id == AMQP_BASIC_ACK_METHOD)
			plain_ack(p, f.payload.method.decoded);
		else if (f.payload.method.id == AMQP_BASIC_RETURN_METHOD)
			p->returned++;
		else
			bench_die("confirms", "the broker said something else");
	}
	amqp_maybe_release_buffers_on_channel(p->conn, 1);
	return true;
}

static void plain_at_full_speed(plain *p, uint64_t until_ns)
{
	while (p->sent < p->shape.count) {
		if (until_ns && p->sent % 64 == 0 && bench_now_ns() > until_ns)
			break;
		if (p->sent - p->settled >= p->window)
			plain_take(p, NULL);
		else
			plain_publish(p);
	}
	while (p->settled < p->sent)
		plain_take(p, NULL);
}

/* Sleep until the broker says something or until `ns` have passed. The
 * library's own wait counts whole milliseconds and would spin instead. */
static void plain_sleep(plain *p, uint64_t ns)
{
	struct pollfd fd = {amqp_get_sockfd(p->conn), POLLIN, 0};
	struct timespec ts = {(time_t)(ns / 1000000000),
			      (long)(ns % 1000000000)};

	ppoll(&fd, 1, &ts, NULL);
}

static void plain_at_rate(plain *p, uint64_t rate)
{
	uint64_t next = bench_now_ns();

	while (p->settled < p->shape.count) {
		uint64_t now = bench_now_ns();
		struct timeval none = {0, 0};

		if (p->sent < p->shape.count && now >= next) {
			plain_publish(p);
			next += 1000000000 / rate;
		} else if (!plain_take(p, &none)) {
			plain_sleep(p, p->sent == p->shape.count
					       ? 100000000
					       : next - now);
		}
	}
}

static void plain_print(plain *p, uint64_t ns, uint64_t cpu_us)
{
	printf("events=%" PRIu64 " seconds=%.3f rate=%.0f cpu_us=%.3f "
	       "returned=%" PRIu64,
	       p->settled, (double)ns / 1e9,
	       (double)p->settled * 1e9 / (double)ns,
	       (double)cpu_us / (double)p->settled, p->returned);
	if (p->latencies)
		printf(" p50_us=%.0f p99_us=%.0f",
		       (double)bench_percentile(p->latencies, p->settled, .5) /
			       1e3,
		       (double)bench_percentile(p->latencies, p->settled, .99) /
			       1e3);
	printf("\n");
}

int main(int argc, char **argv)
{
	const char *uri = bench_text(argc, argv, "--uri",
				     getenv("WAYBILL_TEST_AMQP"));
	uint64_t rate = bench_number(argc, argv, "--rate", 0);
	uint64_t seconds = bench_number(argc, argv, "--seconds", 0);
	plain *p = calloc(1, sizeof(*p));
	uint64_t start, cpu;

	if (!uri || !p)
		bench_die("--uri", "which broker?");
	p->conn = plain_connect(uri);
	if (bench_flag(argc, argv, "--reset")) {
		plain_reset(p->conn, bench_flag(argc, argv, "--stream")
					     ? "stream"
					     : "quorum");
		goto out;
	}
	p->shape = bench_shape_from(argc, argv);
	p->window = bench_number(argc, argv, "--window", 2000);
	p->stamp = bench_flag(argc, argv, "--stamp");
	p->lowest = 1;
	if (seconds)
		p->shape.count = UINT64_MAX;
	if (p->window >= PLAIN_WINDOW_MAX)
		bench_die("--window", "too large");
	if (rate)
		p->latencies = calloc(p->shape.count, sizeof(uint64_t));
	amqp_confirm_select(p->conn, 1);
	plain_must(p->conn, "confirm.select");
	plain_prepare(p);
	start = bench_now_ns();
	cpu = bench_cpu_us();
	if (rate)
		plain_at_rate(p, rate);
	else
		plain_at_full_speed(p, seconds ? start + seconds * 1000000000
					       : 0);
	plain_print(p, bench_now_ns() - start, bench_cpu_us() - cpu);
	free(p->latencies);
out:
	amqp_connection_close(p->conn, AMQP_REPLY_SUCCESS);
	amqp_destroy_connection(p->conn);
	free(p);
	return 0;
}
