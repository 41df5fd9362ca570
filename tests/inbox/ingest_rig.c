/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/inbox/ingest_rig.h"

#include <stdlib.h>

#include "lib/event/record.h"
#include "tests/support/testing.h"

static const char *const rig_bind[] = {"#", NULL};

wb_worker_options ingest_rig_options(void)
{
	wb_worker_options o = WB_WORKER_OPTIONS_INIT;
	const wb_limits limits = WB_LIMITS_DEFAULT;

	o.queue = "q";
	o.exchange = "events";
	o.bind = rig_bind;
	o.declare = WB_DECLARE_CREATE;
	o.delivery_limit = 20;
	o.prefetch = 1000;
	o.limits = limits;
	o.dedupe_s = 7 * 86400;
	o.batch_max = 250;
	o.txn_us = 1000;
	o.pause_us = 50;
	o.poll_ms = 50;
	o.backoff_min_ms = 100;
	o.backoff_max_ms = 10000;
	o.drain_ms = 5000;
	return o;
}

void ingest_rig_init(ingest_rig *rig, const char *dir, uint64_t seed)
{
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;

	memset(rig, 0, sizeof(*rig));
	fake_clock_init(&rig->clock);
	seeded_random_init(&rig->random, seed);
	options.clock = &rig->clock.clock;
	options.random = &rig->random.random;
	assert_ok(wb_store_create(dir, &options, &err), err);
	assert_ok(wb_store_open(dir, &options, &rig->store, &err), err);
	assert_ok(wb_memory_new(&rig->clock.clock, &rig->random.random,
				&rig->memory, &err),
		  err);
	rig->options = ingest_rig_options();
}

void ingest_rig_fini(ingest_rig *rig)
{
	ingest_rig_kill(rig);
	wb_memory_free(rig->memory);
	wb_store_close(rig->store);
}

static MDB_txn *rig_read(ingest_rig *rig)
{
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;

	assert_ok(wbi_txn_begin(wb_store_env(rig->store), false, &txn, &err),
		  err);
	return txn;
}

static uint64_t rig_received(ingest_rig *rig)
{
	wbi_ingest_status status = {.received = 0};
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = rig_read(rig);
	wb_code code = wbi_ingest_status_get(
		txn, wbi_store_get_tables(rig->store)->status, &status, &err);

	wbi_txn_abort(txn);
	if (code != WB_ENOTFOUND)
		assert_ok(code, err);
	return status.received;
}

/* Each delivery that is acked was counted by a commit that is durable. */
static void rig_assert_acked(ingest_rig *rig)
{
	uint64_t acked = ingest_rig_queue(rig).acked;

	if (acked > rig->foreign_acks)
		assert_in_range(acked - rig->foreign_acks, 1,
				rig_received(rig));
}

void ingest_rig_start(ingest_rig *rig)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_memory_connect(rig->memory, &rig->broker, &err), err);
	assert_ok(wbi_ingest_open(rig->store, rig->broker, &rig->options,
				  &rig->ingest, &err),
		  err);
	if (rig_received(rig) == 0)
		rig->foreign_acks = ingest_rig_queue(rig).acked;
}

void ingest_rig_kill(ingest_rig *rig)
{
	wbi_ingest_close(rig->ingest);
	wb_broker_free(rig->broker);
	rig->ingest = NULL;
	rig->broker = NULL;
}

void ingest_rig_publish(ingest_rig *rig, const wb_message *message)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_memory_put(rig->memory, message, &err), err);
}

static void rig_publish_one(ingest_rig *rig, wb_str id, wb_str position)
{
	const wb_header headers[] = {
		{S("ce-specversion"), S("1.0")},
		{S("ce-id"), id},
		{S("ce-source"), S("/shop")},
		{S("ce-type"), S("order.placed")},
		{S("ce-partitionkey"), S("order/42")},
		{S("ce-wborigin"), S("01900000-0000-7000-8000-000000000000")},
		{S("ce-wbposition"), position},
	};
	const wb_message message = {
		.exchange = S("events"),
		.routing_key = S("order.placed"),
		.message_id = id,
		.persistent = true,
		.headers = headers,
		.header_count = 7,
		.body = S("{\"amount\":7}"),
	};

	ingest_rig_publish(rig, &message);
}

void ingest_rig_fill(ingest_rig *rig, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++) {
		char text[32];

		snprintf(text, sizeof(text), "id-%u", i);
		rig_publish_one(rig, wb_str_from(text), wb_str_from(text + 3));
	}
}

static void rig_step(ingest_rig *rig)
{
	wb_error err = WB_ERROR_INIT;
	bool committed;

	assert_ok(wbi_ingest_step(rig->ingest, &committed, &err), err);
	rig->committed |= committed;
	rig_assert_acked(rig);
}

void ingest_rig_run(ingest_rig *rig, int64_t ms)
{
	for (int64_t i = 0; i < ms; i++) {
		rig_step(rig);
		fake_clock_advance_us(&rig->clock, 1000);
	}
}

void ingest_rig_settle(ingest_rig *rig)
{
	for (int i = 0; i < 120000; i++) {
		wb_memory_queue_stat queue;

		rig_step(rig);
		queue = ingest_rig_queue(rig);
		if (queue.ready == 0 && queue.unacked == 0 &&
		    ingest_rig_stat(rig).idle &&
		    ingest_rig_stat(rig).state == WB_WORKER_RUNNING)
			return;
		fake_clock_advance_us(&rig->clock, 1000);
	}
	fail_msg("the ingest does not come to rest: %s",
		 ingest_rig_stat(rig).error.text);
}

void ingest_rig_ready(ingest_rig *rig)
{
	for (int i = 0; i < 60000; i++) {
		if (ingest_rig_stat(rig).state == WB_WORKER_RUNNING)
			return;
		ingest_rig_run(rig, 1);
	}
	fail_msg("it does not consume: %s", ingest_rig_stat(rig).error.text);
}

wbi_ingest_stat ingest_rig_stat(const ingest_rig *rig)
{
	return wbi_ingest_get_stat(rig->ingest);
}

wb_memory_queue_stat ingest_rig_queue(const ingest_rig *rig)
{
	return wb_memory_get_queue_stat(rig->memory, rig->options.queue);
}

/* ---- what the store holds --------------------------------------------- */

wbi_ingest_status ingest_rig_status(ingest_rig *rig, char *room, size_t size)
{
	wb_error err = WB_ERROR_INIT;
	wbi_ingest_status status;
	MDB_txn *txn = rig_read(rig);

	assert_ok(wbi_ingest_status_get(
			  txn, wbi_store_get_tables(rig->store)->status,
			  &status, &err),
		  err);
	snprintf(room, size, "%.*s %.*s", (int)status.vhost.len,
		 status.vhost.ptr, (int)status.queue.len, status.queue.ptr);
	status.queue = status.vhost = status.error = WB_STR_NULL;
	wbi_txn_abort(txn);
	return status;
}

uint64_t ingest_rig_count(ingest_rig *rig)
{
	wbi_journal journal = wbi_journal_of(rig->store, WBI_INBOX);
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = rig_read(rig);
	uint64_t first, head;

	assert_ok(wbi_journal_range(&journal, txn, &first, &head, &err), err);
	wbi_txn_abort(txn);
	return head;
}

void ingest_rig_assert_each_once(ingest_rig *rig, unsigned count)
{
	wbi_journal journal = wbi_journal_of(rig->store, WBI_INBOX);
	unsigned char *seen = calloc(count + 1, 1);
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = rig_read(rig);
	wbi_reader reader;
	wb_event event;
	wb_str record;

	assert_non_null(seen);
	assert_ok(wbi_reader_open(&reader, &journal, txn, 0, &err), err);
	for (unsigned i = 0; i < count; i++) {
		unsigned long number;

		assert_ok(wbi_reader_next(&reader, &event, &record, &err), err);
		number = strtoul(event.id.ptr + 3, NULL, 10);
		assert_in_range(number, 1, count);
		assert_int_equal(seen[number]++, 0);
	}
	assert_code(wbi_reader_next(&reader, &event, &record, &err),
		    WB_ENOTFOUND, err);
	wbi_reader_close(&reader);
	wbi_txn_abort(txn);
	free(seen);
}

const wb_event *ingest_rig_event(ingest_rig *rig, uint64_t position)
{
	static char bytes[65536];
	static wb_header headers[128];
	static wb_event event;
	wbi_journal journal = wbi_journal_of(rig->store, WBI_INBOX);
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = rig_read(rig);
	uint64_t at;
	wb_str record;

	assert_ok(wbi_journal_get(&journal, txn, position, &record, &err), err);
	assert_in_range(record.len, 1, sizeof(bytes));
	memcpy(bytes, record.ptr, record.len);
	wbi_txn_abort(txn);
	assert_ok(wbi_record_decode(bytes, record.len, &event, &at, &err), err);
	assert_int_equal(at, position);
	assert_in_range(event.header_count, 0, 128);
	assert_ok(wbi_record_headers(bytes, record.len, &event, headers, &err),
		  err);
	return &event;
}

wb_str ingest_rig_header(const wb_event *event, const char *name)
{
	for (size_t i = 0; i < event->header_count; i++)
		if (wb_str_eq(event->headers[i].name, wb_str_from(name)))
			return event->headers[i].value;
	return S("");
}

uint64_t ingest_rig_dead(ingest_rig *rig)
{
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = rig_read(rig);
	uint64_t bytes, rows;

	assert_ok(wbi_table_size(txn, wbi_store_get_tables(rig->store)->dead,
				 &bytes, &rows, &err),
		  err);
	wbi_txn_abort(txn);
	return rows;
}
