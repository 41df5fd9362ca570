/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The worker's yardstick: what a program gets that consumes through rabbitmq-c
 * as its examples do, with blocking calls, and does nothing with a message. It
 * has 1,000 messages unacknowledged at most and acknowledges every 250th with
 * all before it.
 *
 *   --count N           consume N, print rate and CPU
 *   --latency           print published -> received times too; the bodies say
 *                       when (plain_publisher --stamp)
 *   --stream            the queue is a stream: from its first message on
 *   --seconds S         N or not, S seconds at most
 *   --uri --queue --prefetch --ack-every
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#include "bench/common.h"
#include "bench/plain_amqp.h"

typedef struct consumer {
	amqp_connection_state_t conn;
	uint64_t count, received, ack_every, until_ns;
	uint64_t *latencies; /* NULL unless they are wanted */
} consumer;

static void consumer_begin(consumer *c, const char *queue, uint64_t prefetch,
			   bool stream)
{
	amqp_table_entry_t offset = {
		.key = amqp_cstring_bytes("x-stream-offset"),
		.value = {.kind = AMQP_FIELD_KIND_UTF8,
			  .value.bytes = amqp_cstring_bytes("first")}};
	amqp_table_t arguments = {stream ? 1 : 0, &offset};

	amqp_basic_qos(c->conn, 1, 0, (uint16_t)prefetch, 0);
	plain_must(c->conn, "prefetch");
	amqp_basic_consume(c->conn, 1, amqp_cstring_bytes(queue),
			   amqp_empty_bytes, 0, 0, 0, arguments);
	plain_must(c->conn, queue);
}

static void consumer_note(consumer *c, const amqp_envelope_t *envelope)
{
	uint64_t at = bench_stamped(envelope->message.body.bytes,
				    envelope->message.body.len);

	if (!at)
		bench_die("--latency", "a message does not say when it was "
				       "published");
	c->latencies[c->received] = bench_now_ns() - at;
}

/* One message, and the acknowledgement when it is time; false: none came. */
static bool consumer_take(consumer *c)
{
	struct timeval second = {1, 0};
	amqp_envelope_t envelope;
	amqp_rpc_reply_t reply;

	amqp_maybe_release_buffers(c->conn);
	reply = amqp_consume_message(c->conn, &envelope, &second, 0);
	if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION &&
	    reply.library_error == AMQP_STATUS_TIMEOUT)
		return false;
	if (reply.reply_type != AMQP_RESPONSE_NORMAL)
		bench_die("consume", "the broker said something else");
	if (c->latencies)
		consumer_note(c, &envelope);
	c->received++;
	if ((c->received % c->ack_every == 0 || c->received == c->count) &&
	    amqp_basic_ack(c->conn, 1, envelope.delivery_tag, 1))
		bench_die("ack", "not sent");
	amqp_destroy_envelope(&envelope);
	return true;
}

static void consumer_go(consumer *c)
{
	while (c->received < c->count) {
		bool took = consumer_take(c);

		if ((!took || c->received % 64 == 0) &&
		    bench_now_ns() > c->until_ns)
			return;
	}
}

static void consumer_print(consumer *c, uint64_t ns, uint64_t cpu_us)
{
	uint64_t n = c->received;

	printf("events=%" PRIu64 " seconds=%.3f rate=%.0f cpu_us=%.3f", n,
	       (double)ns / 1e9, (double)n * 1e9 / (double)ns,
	       (double)cpu_us / (double)(n ? n : 1));
	if (c->latencies)
		printf(" p50_us=%.0f p99_us=%.0f",
		       (double)bench_percentile(c->latencies, n, .5) / 1e3,
		       (double)bench_percentile(c->latencies, n, .99) / 1e3);
	printf("\n");
}

int main(int argc, char **argv)
{
	const char *uri =
		bench_text(argc, argv, "--uri", getenv("WAYBILL_TEST_AMQP"));
	consumer c = {
		.count = bench_number(argc, argv, "--count", 200000),
		.ack_every = bench_number(argc, argv, "--ack-every", 250),
	};
	uint64_t start, cpu;

	if (!uri || c.ack_every == 0)
		bench_die("--uri, --ack-every", "which broker? how often?");
	if (bench_flag(argc, argv, "--latency")) {
		c.latencies = calloc(c.count, sizeof(uint64_t));
		if (!c.latencies)
			bench_die("--latency", "no memory");
	}
	c.conn = plain_connect(uri);
	start = bench_now_ns();
	cpu = bench_cpu_us();
	c.until_ns =
		start + bench_number(argc, argv, "--seconds", 300) * 1000000000;
	consumer_begin(&c, bench_text(argc, argv, "--queue", "bench"),
		       bench_number(argc, argv, "--prefetch", 1000),
		       bench_flag(argc, argv, "--stream"));
	consumer_go(&c);
	consumer_print(&c, bench_now_ns() - start, bench_cpu_us() - cpu);
	amqp_connection_close(c.conn, AMQP_REPLY_SUCCESS);
	amqp_destroy_connection(c.conn);
	free(c.latencies);
	return 0;
}
