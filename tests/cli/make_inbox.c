/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * make_inbox DIR [LETTERS | --events]: put into the store DIR what a worker
 * leaves there on a bad night: six events, handlers billing (behind) and mail
 * (stopped), a retry with a follower, dead letters of both and of ingest, a
 * timer. LETTERS more events, each a dead letter of mail. --events: the six
 * events alone.
 */
#include <stdio.h>
#include <stdlib.h>

#include <waybill/worker.h>

#include "inbox/timer.h"
#include "lib/event/raw.h"
#include "lib/journal/journal.h"

#define S(literal) wb_str_n("" literal, sizeof(literal) - 1)

typedef struct maker {
	wb_store *store;
	const wbi_store_tables *tables;
	MDB_txn *txn;
	wb_error err;
	int64_t now_us;
} maker;

static void must(const maker *m, wb_code code)
{
	if (code == WB_OK)
		return;
	fprintf(stderr, "make_inbox: %s: %s\n", wb_code_name(code),
		m->err.text);
	exit(1);
}

static void consumer(maker *m, wb_str name, uint64_t position, wb_str error)
{
	const wbi_store_info *info = wbi_store_get_info(m->store);
	wbi_consumer row = {.kind = WBI_CONSUMER_HANDLER,
			    .position = position,
			    .created_us = m->now_us,
			    .updated_us = m->now_us,
			    .handled = 2,
			    .error = error};

	memcpy(row.origin, info->inbox_origin, sizeof(row.origin));
	must(m, wbi_consumer_put(m->txn, m->tables->consumers, 'i', name, &row,
				 &m->err));
}

/* "1".."6": key a, a, b, none, a, b, an hour old; then `more` without key. */
static void events(maker *m, unsigned more)
{
	static const char *const keys[] = {"a", "a", "b", "", "a", "b"};
	wbi_journal inbox = wbi_journal_of(m->store, WBI_INBOX);
	uint64_t first;

	for (unsigned i = 0; i < 6 + more; i++) {
		char id[16];
		wb_event event = {.type = S("order.placed"),
				  .source = S("/shop"),
				  .content_type = S("application/json"),
				  .data = S("{\"n\":1}"),
				  .key = wb_str_from(i < 6 ? keys[i] : ""),
				  .time_us = m->now_us - 3600000000};

		snprintf(id, sizeof(id), "e-%u", i + 1);
		event.id = wb_str_from(id);
		must(m, wbi_journal_append(&inbox, m->txn, &event, 1, S(""),
					   &first, &m->err));
	}
}

static wb_str record(maker *m, uint64_t position)
{
	wbi_journal inbox = wbi_journal_of(m->store, WBI_INBOX);
	wb_str ret = WB_STR_NULL;

	must(m, wbi_journal_get(&inbox, m->txn, position, &ret, &m->err));
	return ret;
}

static void row(maker *m, uint64_t position, uint32_t attempts, wb_str text)
{
	const wbi_work_id id = {S("billing"), WBI_LANE_KEYED, S("a"), position};
	const wbi_work work = {.due_us = m->now_us + 60000000,
			       .attempts = attempts,
			       .first_us = m->now_us,
			       .last_us = m->now_us,
			       .text = text,
			       .record = record(m, position)};

	must(m, wbi_work_add(m->txn, m->tables, &id, &work, &m->err));
}

static void letter(maker *m, wb_str handler, wb_str key, uint64_t position,
		   uint8_t reason, wb_str event_id, wb_str text)
{
	const wbi_work_id id = {handler,
				key.len > 0 ? WBI_LANE_KEYED : WBI_LANE_UNKEYED,
				key, position};
	const wbi_dead dead = {.reason = reason,
			       .blocks = true,
			       .attempts = 10,
			       .code = WB_EFAILED,
			       .first_us = m->now_us - 7200000000,
			       .last_us = m->now_us - 3600000000,
			       .source = S("/shop"),
			       .id = event_id,
			       .type = S("order.placed"),
			       .text = text,
			       .bytes = record(m, position)};

	must(m, wbi_work_die(m->txn, m->tables, &id, &dead, m->now_us, NULL,
			     &m->err));
}

/* Bytes that are no text, and no id anywhere. */
static void refusal(maker *m)
{
	const wb_header header = {S("x-tried"), S("often")};
	const wb_message message = {.exchange = S("events"),
				    .routing_key = S("order.placed"),
				    .type = S("order.placed"),
				    .app_id = S("/old"),
				    .headers = &header,
				    .header_count = 1,
				    .body = S("\377\376\0raw")};
	size_t size = wbi_raw_size(&message);
	uint8_t *bytes = malloc(size);
	wbi_dead dead = {.reason = WBI_DEAD_MALFORMED,
			 .last_us = m->now_us,
			 .text = S("it has no id")};

	if (!bytes)
		exit(1);
	wbi_raw_encode(&message, bytes, size);
	dead.bytes = wb_str_n(bytes, size);
	must(m, wbi_dead_add(m->txn, m->tables, &dead, NULL, &m->err));
	free(bytes);
}

static void status(maker *m)
{
	const wbi_ingest_status said = {
		.pid = 1,
		.state = WB_WORKER_RUNNING,
		.since_us = m->now_us,
		.updated_us = m->now_us,
		.received = 9,
		.duplicates = 2,
		.refused = 1,
		.owner = "018f0000-0000-7000-8000-000000000001",
		.queue = S("shop"),
		.vhost = S("/")};

	must(m, wbi_ingest_status_put(m->txn, m->tables->status, &said,
				      &m->err));
}

static void fill(maker *m, unsigned letters)
{
	events(m, letters); /* first: an append removes what all have passed */
	consumer(m, S("billing"), 3, S(""));
	consumer(m, S("mail"), 6 + letters,
		 S("no smarthost"));
	row(m, 1, 2, S("bank is down"));
	row(m, 2, 0, S(""));
	letter(m, S("mail"), S("b"), 3, WBI_DEAD_EXHAUSTED, S("e-3"),
	       S("no such address"));
	letter(m, S("billing"), S("c"), 1, WBI_DEAD_REJECTED, S("e-1"),
	       S("no amount"));
	refusal(m);
	must(m, wbi_timer_set(m->txn, m->tables, S("billing"), S("remind-1"),
			      m->now_us + 3600000000, S("order 1"), NULL, NULL,
			      &m->err));
	status(m);
	for (unsigned i = 0; i < letters; i++)
		letter(m, S("mail"), S(""), 7 + i, WBI_DEAD_HUNG, S("many"),
		       S("over its deadline"));
}

int main(int argc, char **argv)
{
	const wb_clock *clock = wb_system_clock();
	maker m = {.err = WB_ERROR_INIT, .now_us = clock->real_us(clock->ctx)};

	if (argc < 2)
		return 2;
	must(&m, wb_store_open(argv[1], NULL, &m.store, &m.err));
	m.tables = wbi_store_get_tables(m.store);
	must(&m, wb_store_begin(m.store, &m.txn, &m.err));
	if (argc > 2 && !strcmp(argv[2], "--events"))
		events(&m, 0);
	else
		fill(&m, argc > 2 ? (unsigned)atoi(argv[2]) : 0);
	must(&m, wb_store_commit(m.store, m.txn, &m.err));
	wb_store_close(m.store);
	return 0;
}
