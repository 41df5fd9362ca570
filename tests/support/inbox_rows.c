/* SPDX-License-Identifier: BSD-2-Clause */
/* One of everything that the inbox keeps; see inbox_rows.h. */
#include "tests/support/inbox_rows.h"

#include "lib/event/raw.h"
#include "lib/journal/inbox_rows.h"
#include "lib/journal/journal.h"
#include "lib/journal/parked.h"
#include "lib/journal/seen.h"
#include "tests/support/testing.h"

typedef struct fill {
	wb_store *store;
	const wbi_store_tables *tables;
	MDB_txn *txn;
	wb_error err;
} fill;

/* Positions 2 and 3 have the key "k", 6 and 7 "d", the others none. */
static wb_str key_at(uint64_t position)
{
	if (position == TEST_INBOX_HEAD_OF_KEY ||
	    position == TEST_INBOX_HEAD_OF_KEY + 1)
		return S("k");
	return position == TEST_INBOX_DEAD_AT ||
			       position == TEST_INBOX_DEAD_AT + 1
		       ? S("d")
		       : WB_STR_NULL;
}

static void fill_events(fill *f)
{
	wbi_journal inbox = wbi_journal_of(f->store, WBI_INBOX);
	char id[WB_UUID_TEXT_LEN + 1];
	wbi_seen *seen = NULL;
	uint64_t at, known;

	assert_ok(wbi_seen_open(f->store, f->txn, &seen, &f->err), f->err);
	for (uint64_t i = 1; i <= TEST_INBOX_HEAD; i++) {
		wb_event event = {.source = S("/a"),
				  .type = S("thing.done"),
				  .key = key_at(i),
				  .time_us = 1};

		snprintf(id, sizeof(id), "018f0000-0000-7000-8000-%012u",
			 (unsigned)i);
		event.id = wb_str_from(i % 2 ? id : id + 20);
		assert_ok(wbi_journal_append(&inbox, f->txn, &event, 1,
					     WB_STR_NULL, &at, &f->err),
			  f->err);
		assert_int_equal(at, i);
		assert_ok(wbi_seen_add(seen, event.source, event.id, at, &known,
				       &f->err),
			  f->err);
	}
	assert_ok(wbi_seen_finish(seen, 1, &f->err), f->err);
	wbi_seen_close(seen);
}

static void put_consumer(fill *f, char journal, wb_str name, uint64_t position)
{
	const wbi_store_info *info = wbi_store_get_info(f->store);
	wbi_consumer row = {.kind = journal == 'i' ? WBI_CONSUMER_HANDLER
						   : WBI_CONSUMER_PROJECTION,
			    .position = position,
			    .created_us = 1,
			    .updated_us = 2,
			    .handled = 3,
			    .error = S("none")};

	if (wb_str_eq(name, S("billing"))) {
		row.waiting = 5;
		row.timers = 1;
	} else if (journal == 'i') {
		row.waiting = 1;
	}

	memcpy(row.origin,
	       journal == 'i' ? info->inbox_origin : info->outbox_origin,
	       sizeof(row.origin));
	assert_ok(wbi_consumer_put(f->txn, f->tables->consumers, journal, name,
				   &row, &f->err),
		  f->err);
}

static void put_work(fill *f, const wbi_work_id *id, wbi_work row)
{
	wbi_journal inbox = wbi_journal_of(f->store, WBI_INBOX);

	if (id->lane != WBI_LANE_TIMER && id->lane != WBI_LANE_CRASHED &&
	    row.state != WBI_WORK_DEAD)
		assert_ok(wbi_journal_get(&inbox, f->txn, id->position,
					  &row.record, &f->err),
			  f->err);
	assert_ok(wbi_work_put(f->txn, f->tables->work, id, &row, &f->err),
		  f->err);
	if (row.state == WBI_WORK_WAITING || row.state == WBI_WORK_RUNNING)
		assert_ok(wbi_due_put(f->txn, f->tables->due, row.due_us, id,
				      &f->err),
			  f->err);
}

static void fill_work(fill *f)
{
	const wbi_work waiting = {.state = WBI_WORK_WAITING,
				  .attempts = 1,
				  .due_us = 1000,
				  .first_us = 1,
				  .last_us = 2,
				  .code = WB_EFAILED,
				  .text = S("no answer")};
	const wbi_work queued = {.state = WBI_WORK_QUEUED};
	wbi_work timer = waiting, running = waiting, crashed = queued;
	wbi_work_id id = {S("billing"), WBI_LANE_KEYED, S("k"), 0};

	id.position = TEST_INBOX_HEAD_OF_KEY;
	put_work(f, &id, waiting);
	id.position++;
	put_work(f, &id, queued);
	running.state = WBI_WORK_RUNNING;
	running.due_us = 0;
	id = (wbi_work_id){S("mail"), WBI_LANE_UNKEYED, S(""), 4};
	put_work(f, &id, running);
	timer.record = S("remind them");
	id = (wbi_work_id){S("billing"), WBI_LANE_TIMER, S("remind"), 0};
	put_work(f, &id, timer);
	id = (wbi_work_id){S("billing"), WBI_LANE_CRASHED, S(""), 11};
	crashed.attempts = 2;
	put_work(f, &id, crashed);
}

static void fill_refused(fill *f)
{
	const wb_header header = {S("ce_id"), S("1")};
	wb_message message = {.exchange = S("events"),
			      .routing_key = S("x"),
			      .headers = &header,
			      .header_count = 1,
			      .body = S("not an event")};
	wbi_dead dead = {.reason = WBI_DEAD_MALFORMED,
			 .text = S("it has no id")};
	uint8_t bytes[512];
	size_t size = wbi_raw_size(&message);

	assert_true(size <= sizeof(bytes));
	wbi_raw_encode(&message, bytes, size);
	dead.bytes = wb_str_n(bytes, size);
	assert_ok(wbi_dead_add(f->txn, f->tables, &dead, NULL, &f->err),
		  f->err);
}

static void fill_dead(fill *f)
{
	wbi_journal inbox = wbi_journal_of(f->store, WBI_INBOX);
	wbi_dead dead = {.reason = WBI_DEAD_EXHAUSTED,
			 .lane = WBI_LANE_KEYED,
			 .blocks = true,
			 .attempts = 10,
			 .position = TEST_INBOX_DEAD_AT,
			 .consumer = S("billing"),
			 .key = S("d"),
			 .source = S("/a"),
			 .id = S("000000000006"),
			 .type = S("thing.done"),
			 .text = S("no answer")};
	wbi_work_id id = {dead.consumer, dead.lane, dead.key, dead.position};
	uint64_t number;

	assert_ok(wbi_journal_get(&inbox, f->txn, dead.position, &dead.bytes,
				  &f->err),
		  f->err);
	assert_ok(wbi_dead_add(f->txn, f->tables, &dead, &number, &f->err),
		  f->err);
	assert_int_equal(number, TEST_INBOX_DEAD);
	put_work(f, &id, (wbi_work){.state = WBI_WORK_DEAD, .dead = number});
	id.position++;
	put_work(f, &id, (wbi_work){.state = WBI_WORK_QUEUED});
}

static void fill_status(fill *f)
{
	wbi_ingest_status status = {.pid = 1,
				    .owner = TEST_INBOX_OWNER,
				    .queue = S("orders"),
				    .vhost = S("/")};
	wbi_audit audit = {.who = S("me"), .what = S("retry"), .why = S("x")};

	assert_ok(wbi_ingest_status_put(f->txn, f->tables->status, &status,
					&f->err),
		  f->err);
	assert_ok(
		wbi_audit_add(f->txn, f->tables->audit, &audit, NULL, &f->err),
		f->err);
}

void test_inbox_fill(wb_store *store)
{
	fill f = {.store = store,
		  .tables = wbi_store_get_tables(store),
		  .err = WB_ERROR_INIT};

	assert_ok(wb_store_begin(store, &f.txn, &f.err), f.err);
	fill_events(&f);
	put_consumer(&f, 'i', S("billing"), 10);
	put_consumer(&f, 'i', S("mail"), TEST_INBOX_HEAD);
	put_consumer(&f, 'o', S("model"), 0);
	fill_work(&f);
	fill_refused(&f);
	fill_dead(&f);
	fill_status(&f);
	assert_ok(wb_store_commit(store, f.txn, &f.err), f.err);
}
