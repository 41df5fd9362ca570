/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The yardstick of sagas: three programs (threads) that move the same messages
 * through rabbitmq-c as its examples do, with blocking calls, and know nothing:
 * the first sends three commands in a row for each saga, each when the last was
 * answered; the others answer. What a thread takes in it puts into an LMDB of
 * its own, synced, so many messages per commit that all together commit as
 * often as waybill has (--commits). It acknowledges a message when what it sent
 * for it is confirmed.
 *
 *   --ring                 a choreography instead: one message goes round, from
 *                          the first to the second to the third and back
 *   --count N --window W   sagas, and how many of them at a time
 *   --commits C            about that many, over all three
 *   --store D --uri U
 */
#include "config.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "bench/common.h"
#include "bench/plain_amqp.h"
#include "bench/plain_lmdb.h"

enum { BOOKING, BILLING, PARKING, SERVICES };
enum {
	STEPS = 3,
	HEADERS = 14,
	RING_HEADERS = 12,
	RING = 65536,
	RECORD = 500,
	BATCH_MAX = 1000
};

typedef struct message {
	uint64_t saga;
	uint32_t step, tag; /* tag: within its connection */
} message;

typedef struct service {
	struct bench *b;
	int which;
	char queue[64];
	amqp_connection_state_t in, out;
	plain_lmdb store;
	uint64_t published, confirmed; /* all up to it are */
	uint64_t commits;
	bool settled[RING];     /* by what was published */
	uint64_t for_tag[RING]; /* the message that it was published for */
	uint64_t acked;
	pthread_t thread;
} service;

typedef struct bench {
	service all[SERVICES];
	const char *uri;
	uint64_t count, window, per_commit, started;
	bool ring;
	atomic_ullong done;
} bench;

static const int step_service[STEPS] = {PARKING, BILLING, PARKING};

/* ---- one message out ----------------------------------------------------- */

static amqp_table_entry_t header(const char *name, const char *value)
{
	return (amqp_table_entry_t){
		.key = amqp_cstring_bytes(name),
		.value = {.kind = AMQP_FIELD_KIND_UTF8,
			  .value.bytes = amqp_cstring_bytes(value)}};
}

/* With the properties and headers that a command, or an answer, has. */
static void publish(service *s, const char *queue, uint64_t saga, uint32_t step,
		    uint64_t for_tag)
{
	static const char body[] = "{\"slot\":\"A1\",\"account\":\"alice\","
				   "\"amount\":\"100.00\"}";
	bool ring = s->b->ring;
	char id[48], key[32], type[32];
	amqp_basic_properties_t p = {0};
	amqp_table_entry_t h[HEADERS];

	snprintf(id, sizeof(id), "01890000-0000-7000-%04d-%012" PRIx64,
		 s->which, s->published);
	snprintf(key, sizeof(key), "saga-%" PRIu64, saga);
	snprintf(type, sizeof(type), "command.%" PRIu32, step);
	h[0] = header("ce-specversion", "1.0");
	h[1] = header("ce-id", id);
	h[2] = header("ce-type", type);
	h[3] = header("ce-source", "/bench");
	h[4] = header("ce-time", "2026-01-01T00:00:00.000000Z");
	h[5] = header("ce-partitionkey", key);
	h[6] = header("ce-wborigin", "01890000-0000-7000-8000-000000000000");
	h[7] = header("ce-wbposition", "123456");
	h[8] = header("ce-correlationid", key);
	h[9] = header("ce-wbsaga", key);
	h[10] = header("ce-wbstep", type);
	h[11] = header("ce-wbop", "do");
	h[12] = header("ce-wbepoch", "0");
	h[13] = header("ce-wbdeadline", "2026-01-01T00:00:00.000000Z");
	if (ring) { /* what an event of a flow has */
		h[10] = header("ce-subject", key);
		h[11] = header("ce-causationid", id);
	}
	p._flags = AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TYPE_FLAG |
		   AMQP_BASIC_APP_ID_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG |
		   AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
		   AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG |
		   AMQP_BASIC_REPLY_TO_FLAG;
	p.message_id = amqp_cstring_bytes(id);
	p.type = amqp_cstring_bytes(type);
	p.app_id = amqp_cstring_bytes("bench");
	p.content_type = amqp_cstring_bytes("application/json");
	p.timestamp = (uint64_t)time(NULL);
	p.delivery_mode = AMQP_DELIVERY_PERSISTENT;
	p.correlation_id = amqp_cstring_bytes(key);
	p.reply_to = amqp_cstring_bytes(s->b->all[BOOKING].queue);
	p.headers.num_entries = ring ? RING_HEADERS : HEADERS;
	p.headers.entries = h;
	s->published++;
	s->settled[s->published % RING] = false;
	s->for_tag[s->published % RING] = for_tag;
	if (amqp_basic_publish(s->out, 1, amqp_empty_bytes,
			       amqp_cstring_bytes(queue), 1, 0, &p,
			       ring ? amqp_empty_bytes
				    : amqp_cstring_bytes(body)) !=
	    AMQP_STATUS_OK)
		bench_die("publish", queue);
}

/* The confirms that are there; with `wait`, at least one. */
static void take_confirms(service *s, bool wait)
{
	while (s->confirmed < s->published) {
		struct timeval none = {0, 0};
		amqp_frame_t f;
		int status = amqp_simple_wait_frame_noblock(
			s->out, &f, wait ? NULL : &none);
		const amqp_basic_ack_t *ack;

		if (status == AMQP_STATUS_TIMEOUT)
			break;
		if (status != AMQP_STATUS_OK ||
		    f.frame_type != AMQP_FRAME_METHOD ||
		    f.payload.method.id != AMQP_BASIC_ACK_METHOD)
			bench_die("confirms", "the broker said something else");
		ack = f.payload.method.decoded;
		for (uint64_t t = ack->multiple ? s->confirmed + 1
						: ack->delivery_tag;
		     t <= ack->delivery_tag; t++)
			s->settled[t % RING] = true;
		while (s->confirmed < s->published &&
		       s->settled[(s->confirmed + 1) % RING])
			s->confirmed++;
		amqp_maybe_release_buffers_on_channel(s->out, 1);
		wait = false;
	}
}

/* What is confirmed may be forgotten by the broker. */
static void acknowledge(service *s, uint64_t idle_tag)
{
	uint64_t tag = s->confirmed ? s->for_tag[s->confirmed % RING] : 0;

	if (s->confirmed == s->published && idle_tag > tag)
		tag = idle_tag;
	if (tag <= s->acked)
		return;
	if (amqp_basic_ack(s->in, 1, tag, 1))
		bench_die("ack", "not sent");
	s->acked = tag;
}

/* ---- a batch in ---------------------------------------------------------- */

static bool take(service *s, message *ret)
{
	struct timeval moment = {0, 1000};
	amqp_envelope_t e;
	amqp_rpc_reply_t reply;
	char text[64];
	size_t n;

	amqp_maybe_release_buffers(s->in);
	reply = amqp_consume_message(s->in, &e, &moment, 0);
	if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION &&
	    reply.library_error == AMQP_STATUS_TIMEOUT)
		return false;
	if (reply.reply_type != AMQP_RESPONSE_NORMAL)
		bench_die("consume", "the broker said something else");
	n = e.message.properties.correlation_id.len;
	n = n < sizeof(text) - 1 ? n : sizeof(text) - 1;
	memcpy(text, e.message.properties.correlation_id.bytes, n);
	text[n] = '\0';
	ret->saga = strtoull(text + 5, NULL, 10);
	n = e.message.properties.type.len;
	ret->step =
		(uint32_t)(((char *)e.message.properties.type.bytes)[n - 1] -
			   '0');
	ret->tag = (uint32_t)e.delivery_tag;
	amqp_destroy_envelope(&e);
	return true;
}

/* booking: the next command, or the end. The others: the answer. */
static void answer(service *s, const message *m)
{
	bench *b = s->b;

	if (b->ring && s->which != BOOKING)
		publish(s, b->all[(s->which + 1) % SERVICES].queue, m->saga,
			m->step + 1, m->tag);
	else if (b->ring)
		atomic_fetch_add(&b->done, 1);
	else if (s->which != BOOKING)
		publish(s, b->all[BOOKING].queue, m->saga, m->step, m->tag);
	else if (m->step + 1 < STEPS)
		publish(s, b->all[step_service[m->step + 1]].queue, m->saga,
			m->step + 1, m->tag);
	else
		atomic_fetch_add(&b->done, 1);
}

static void begin_sagas(service *s)
{
	bench *b = s->b;
	int first = b->ring ? BILLING : step_service[0];
	uint64_t open = b->started - atomic_load(&b->done), n = 250;

	if (b->started >= b->count || b->window - open < n)
		return;
	for (; n > 0 && b->started < b->count; n--)
		publish(s, b->all[first].queue, b->started++, 0, s->acked);
}

static void *service_main(void *arg)
{
	static const uint8_t records[RECORD * BATCH_MAX];
	message batch[BATCH_MAX];
	service *s = arg;
	bench *b = s->b;
	uint64_t last = 0;

	while (atomic_load(&b->done) < b->count) {
		uint64_t n = 0;

		if (s->which == BOOKING)
			begin_sagas(s);
		while (n < b->per_commit && take(s, &batch[n]))
			last = batch[n++].tag;
		if (n > 0) {
			plain_lmdb_commit(&s->store, records, RECORD, n);
			s->commits++;
		}
		for (uint64_t i = 0; i < n; i++)
			answer(s, &batch[i]);
		take_confirms(s, s->published - s->confirmed > 2000);
		acknowledge(s, last);
	}
	return NULL;
}

/* ---- all of it ----------------------------------------------------------- */

static void service_open(bench *b, int which, const char *dir)
{
	static const char *const names[] = {"booking", "billing", "parking"};
	amqp_table_entry_t type = header("x-queue-type", "quorum");
	amqp_table_t arguments = {1, &type};
	service *s = &b->all[which];
	char path[512];

	s->b = b;
	s->which = which;
	snprintf(s->queue, sizeof(s->queue), "plain-%s-%d", names[which],
		 (int)getpid());
	snprintf(path, sizeof(path), "%s/%s", dir, names[which]);
	plain_lmdb_open(&s->store, path, (size_t)4 << 30);
	s->in = plain_connect(b->uri);
	s->out = plain_connect(b->uri);
	amqp_queue_declare(s->in, 1, amqp_cstring_bytes(s->queue), 0, 1, 0, 0,
			   arguments);
	plain_must(s->in, "declare queue");
	amqp_basic_qos(s->in, 1, 0, 3000, 0);
	plain_must(s->in, "prefetch");
	amqp_basic_consume(s->in, 1, amqp_cstring_bytes(s->queue),
			   amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
	plain_must(s->in, "consume");
	amqp_confirm_select(s->out, 1);
	plain_must(s->out, "confirm mode");
}

static void service_close(service *s)
{
	amqp_queue_delete(s->out, 1, amqp_cstring_bytes(s->queue), 0, 0);
	amqp_destroy_connection(s->in);
	amqp_destroy_connection(s->out);
	plain_lmdb_close(&s->store);
}

int main(int argc, char **argv)
{
	const char *dir = bench_text(argc, argv, "--store", "store");
	uint64_t commits, start, ns, cpu;
	static bench b;

	b.uri = bench_text(argc, argv, "--uri", getenv("WAYBILL_TEST_AMQP"));
	b.count = bench_number(argc, argv, "--count", 20000);
	b.window = bench_number(argc, argv, "--window", 2000);
	commits = bench_number(argc, argv, "--commits", b.count);
	b.ring = bench_flag(argc, argv, "--ring");
	b.per_commit = commits ? ((b.ring ? 1 : 2) * STEPS * b.count + commits -
				  1) / commits
			       : 1;
	if (b.per_commit > BATCH_MAX)
		b.per_commit = BATCH_MAX;
	if (!b.uri)
		bench_die("--uri", "which broker?");
	mkdir(dir, 0700);
	for (int i = 0; i < SERVICES; i++)
		service_open(&b, i, dir);
	start = bench_now_ns();
	cpu = bench_cpu_us();
	for (int i = 0; i < SERVICES; i++)
		if (pthread_create(&b.all[i].thread, NULL, service_main,
				   &b.all[i]))
			bench_die("thread", "cannot be started");
	for (int i = 0; i < SERVICES; i++)
		pthread_join(b.all[i].thread, NULL);
	ns = bench_now_ns() - start;
	cpu = bench_cpu_us() - cpu;
	commits = 0;
	for (int i = 0; i < SERVICES; i++)
		commits += b.all[i].commits;
	printf("sagas=%" PRIu64 " seconds=%.3f rate=%.0f cpu_us=%.1f "
	       "commits=%" PRIu64 "\n",
	       b.count, (double)ns / 1e9, (double)b.count * 1e9 / (double)ns,
	       (double)cpu / (double)b.count, commits);
	for (int i = 0; i < SERVICES; i++)
		service_close(&b.all[i]);
	return 0;
}
