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
	wbi_journal journal = {.store = store,
			       .kind = kind,
			       .random = wbi_store_random(store)};

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

/* What an event lacks; `id` is room for one. */
static wb_event journal_fill(const wbi_journal *journal, const wb_event *event,
			     wb_str source, char id[WB_UUID_TEXT_LEN + 1])
{
	const wb_clock *clock = wbi_store_clock(journal->store);
	wb_event e = *event;

	if (e.id.len == 0) {
		wb_uuid7(clock, journal->random, id);
		e.id = wb_str_n(id, WB_UUID_TEXT_LEN);
	}
	if (e.source.len == 0)
		e.source = source;
	if (e.time_us == 0)
		e.time_us = clock->real_us(clock->ctx);
	return e;
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

wb_code wbi_journal_append(const wbi_journal *journal, MDB_txn *txn,
			   const wb_event *events, size_t count, wb_str source,
			   uint64_t *ret_first, wb_error *err)
{
	char id[WB_UUID_TEXT_LEN + 1];
	uint64_t first, head;
	wb_code code;

	WB_ASSERT(count > 0 && source.len > 0);
	code = wbi_journal_range(journal, txn, &first, &head, err);
	if (code == WB_OK)
		code = wbi_retention_refresh(journal, err);
	if (code == WB_OK)
		code = wbi_retention_admit(
			journal, txn, head,
			journal_measure(events, count, source), err);
	if (code != WB_OK)
		return code;
	if (UINT64_MAX - head < count)
		return WBI_FAIL(err, WB_ECORRUPT,
				"the journal's head is %llu; run waybill fsck",
				(unsigned long long)head);
	for (size_t i = 0; i < count; i++) {
		wb_event e = journal_fill(journal, &events[i], source, id);
		size_t size = wbi_record_size(&e);
		uint64_t position = head + 1 + i;
		uint8_t *bytes;

		code = wbi_append_at(txn, journal->table, position, size,
				     &bytes, err);
		if (code != WB_OK)
			return code;
		wbi_record_encode(&e, position, bytes, size);
	}
	code = wbi_retention_prune(journal, txn, first, head, count, err);
	if (code == WB_OK && ret_first)
		*ret_first = head + 1;
	return code;
}
