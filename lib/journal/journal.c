/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A journal: rows of one LMDB table, position → record. All of it happens
 * inside the caller's transaction, so a crash leaves what LMDB leaves: every
 * event of a committed transaction and none of another, hence no gap.
 *
 * The head is looked up at each append and never remembered: a transaction, or
 * a nested one, may have been aborted since. It is the last row, so pruning
 * never takes that. Records are encoded straight into the map.
 *
 * A journal is a plain value; the transaction's rules are LMDB's.
 */
#include "lib/journal/journal.h"

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/event/record.h"
#include "lib/journal/retention.h"

wbi_journal wbi_journal_of(wb_store *store, wbi_journal_kind kind)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	const wbi_store_info *info = wbi_store_get_info(store);
	wbi_journal journal = {.store = store, .kind = kind};

	if (kind == WBI_OUTBOX) {
		journal.table = tables->outbox;
		journal.origin = info->outbox_origin;
	} else {
		journal.table = tables->inbox;
		journal.origin = info->inbox_origin;
	}
	return journal;
}

wb_code wbi_journal_range(const wbi_journal *journal, MDB_txn *txn,
			  uint64_t *ret_first, uint64_t *ret_head,
			  wb_error *err)
{
	uint64_t first = 0, head = 0;
	wbi_cursor *cursor;
	wb_str row;
	wb_code code;

	code = wbi_cursor_open(txn, journal->table, &cursor, err);
	if (code != WB_OK)
		return code;
	code = wbi_cursor_move_at(cursor, WBI_LAST, &head, &row, err);
	if (code == WB_OK)
		code = wbi_cursor_move_at(cursor, WBI_FIRST, &first, &row, err);
	wbi_cursor_close(cursor);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	*ret_first = code == WB_OK ? first : 0;
	*ret_head = code == WB_OK ? head : 0;
	return WB_OK;
}

wb_code wbi_journal_get(const wbi_journal *journal, MDB_txn *txn,
			uint64_t position, wb_str *ret_record, wb_error *err)
{
	return wbi_get_at(txn, journal->table, position, ret_record, err);
}

/* Where an append's ids and times come from: one look at the clock per call,
 * the memo's randomness. Both are given on as what wb_uuid7() takes. */
typedef struct journal_stamp {
	int64_t now_us;
	wbi_store_memo *memo;
	const wb_random *source;
	wb_clock clock;
	wb_random random;
} journal_stamp;

static int64_t stamp_now(void *ctx)
{
	return ((journal_stamp *)ctx)->now_us;
}

static void stamp_fill(void *ctx, void *buf, size_t len)
{
	journal_stamp *stamp = ctx;
	wbi_store_memo *memo = stamp->memo;

	WB_ASSERT(len <= sizeof(memo->random));
	if (memo->random_left < len) {
		stamp->source->fill(stamp->source->ctx, memo->random,
				    sizeof(memo->random));
		memo->random_left = sizeof(memo->random);
	}
	memo->random_left -= len;
	memcpy(buf, memo->random + memo->random_left, len);
}

static void stamp_init(journal_stamp *stamp, const wbi_journal *journal)
{
	const wb_clock *clock = wbi_store_clock(journal->store);

	stamp->now_us = clock->real_us(clock->ctx);
	stamp->memo = wbi_store_get_memo(journal->store);
	stamp->source = wbi_store_random(journal->store);
	stamp->clock = (wb_clock){stamp_now, stamp_now, stamp};
	stamp->random = (wb_random){stamp_fill, stamp};
}

/* What an event lacks; `id` is room for one. */
static void journal_fill(wb_event *e, const journal_stamp *stamp, wb_str source,
			 char id[WB_UUID_TEXT_LEN + 1])
{
	if (e->id.len == 0) {
		wb_uuid7(&stamp->clock, &stamp->random, id);
		e->id = wb_str_n(id, WB_UUID_TEXT_LEN);
	}
	if (e->source.len == 0)
		e->source = source;
	if (e->time_us == 0)
		e->time_us = stamp->now_us;
}

/* The bytes that will be written, before any is. */
static uint64_t journal_measure(const wb_event *events, size_t count,
				wb_str source)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < count; i++) {
		bytes += wbi_record_size(&events[i]);
		if (events[i].id.len == 0)
			bytes += WB_UUID_TEXT_LEN;
		if (events[i].source.len == 0)
			bytes += source.len;
	}
	return bytes;
}

/* What one append writes: events behind a head. */
typedef struct journal_batch {
	const wb_event *events;
	size_t count;
	wb_str source;
	uint8_t flags;
} journal_batch;

static wb_code journal_write(const wbi_journal *journal, wbi_cursor *cursor,
			     uint64_t head, const journal_batch *batch,
			     wb_error *err)
{
	char id[WB_UUID_TEXT_LEN + 1];
	journal_stamp stamp;
	wb_code code = WB_OK;

	stamp_init(&stamp, journal);
	for (size_t i = 0; i < batch->count; i++) {
		wb_event e = batch->events[i];
		uint8_t *bytes;
		size_t size;

		if (journal->kind == WBI_OUTBOX)
			journal_fill(&e, &stamp, batch->source, id);
		WB_ASSERT(e.id.len > 0 && e.source.len > 0);
		size = wbi_record_size(&e);
		code = wbi_cursor_append(cursor, head + 1 + i, size, &bytes,
					 err);
		if (code != WB_OK)
			break;
		wbi_record_encode_as(&e, head + 1 + i, batch->flags, bytes,
				     size);
	}
	return code;
}

/* The cursor is left at the last row, where the next one goes. */
static wb_code journal_head(wbi_cursor *cursor, size_t count, uint64_t *ret,
			    wb_error *err)
{
	uint64_t head = 0;
	wb_str row;
	wb_code code = wbi_cursor_move_at(cursor, WBI_LAST, &head, &row, err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	if (UINT64_MAX - head < count)
		return WBI_FAIL(err, WB_ECORRUPT,
				"the journal's head is %llu; run waybill fsck",
				(unsigned long long)head);
	*ret = head;
	return WB_OK;
}

static wb_code journal_append(const wbi_journal *journal, MDB_txn *txn,
			      const journal_batch *batch, uint64_t *ret_first,
			      wb_error *err)
{
	size_t count = batch->count;
	wbi_cursor *cursor = NULL;
	uint64_t head = 0;
	bool pruned;
	wb_code code;

	WB_ASSERT(count > 0 &&
		  (journal->kind == WBI_INBOX || batch->source.len > 0));
	code = wbi_retention_refresh(journal, err);
	if (code == WB_OK)
		code = wbi_cursor_open(txn, journal->table, &cursor, err);
	if (code == WB_OK)
		code = journal_head(cursor, count, &head, err);
	if (code == WB_OK)
		code = wbi_retention_admit(
			journal, txn,
			journal_measure(batch->events, count, batch->source),
			&pruned, err);
	if (code == WB_OK && pruned) {
		wbi_cursor_close(cursor);
		cursor = NULL;
		code = wbi_cursor_open(txn, journal->table, &cursor, err);
	}
	if (code == WB_OK)
		code = journal_write(journal, cursor, head, batch, err);
	wbi_cursor_close(cursor);
	if (code == WB_OK)
		code = wbi_retention_prune(journal, txn, head, count, err);
	if (code == WB_OK && ret_first)
		*ret_first = head + 1;
	return code;
}

wb_code wbi_journal_append(const wbi_journal *journal, MDB_txn *txn,
			   const wb_event *events, size_t count, wb_str source,
			   uint64_t *ret_first, wb_error *err)
{
	journal_batch batch = {events, count, source, 0};

	return journal_append(journal, txn, &batch, ret_first, err);
}

wb_code wbi_journal_append_stream(const wbi_journal *journal, MDB_txn *txn,
				  const wb_event *events, size_t count,
				  wb_str source, uint64_t *ret_first,
				  wb_error *err)
{
	journal_batch batch = {events, count, source, WBI_RECORD_STREAM};

	return journal_append(journal, txn, &batch, ret_first, err);
}
