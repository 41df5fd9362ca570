/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading the inbox. Consumers are few, so in one transaction; rows and events
 * in slices of a few hundred, each taken up behind the last one seen, whatever
 * was removed meanwhile. One thread.
 */
#include "cli/inbox.h"

#include <stdlib.h>

#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/record.h"

enum { SLICE = 256 };

/* ---- consumers ---------------------------------------------------------- */

static wb_code consumer_add(cli_consumers *list, wb_str name,
			    const wbi_consumer *row, wb_error *err)
{
	cli_consumer *to;

	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 16;
		void *grown = realloc(list->items,
				      capacity * sizeof(*list->items));

		if (!grown)
			return WBI_FAIL(err, WB_ENOMEM, "out of memory");
		list->items = grown;
		list->capacity = capacity;
	}
	to = &list->items[list->count++];
	wbi_text_show(name, to->name, sizeof(to->name));
	to->row = *row;
	to->row.error = WB_STR_NULL;
	wbi_text_show(row->error, to->error, sizeof(to->error));
	return WB_OK;
}

static wb_code consumers_walk(wbi_cursor *cursor, cli_consumers *list,
			      wb_error *err)
{
	wb_str key = WB_STR_NULL, bytes, name;
	wbi_move move = WBI_FIRST;
	wbi_consumer row;
	char journal;
	wb_code rc;

	for (;; move = WBI_NEXT) {
		rc = wbi_cursor_move(cursor, move, &key, &bytes, err);
		if (rc == WB_OK)
			rc = wbi_consumer_decode(key, bytes, &journal, &name,
						 &row, err);
		if (rc == WB_OK && journal == 'i')
			rc = consumer_add(list, name, &row, err);
		if (rc != WB_OK)
			return rc == WB_ENOTFOUND ? WB_OK : rc;
	}
}

wb_code cli_consumers_read(wb_store *store, cli_consumers *ret, wb_error *err)
{
	wbi_cursor *cursor;
	MDB_txn *txn;
	wb_code rc = wbi_txn_begin(wb_store_env(store), false, &txn, err);

	if (rc != WB_OK)
		return rc;
	rc = wbi_cursor_open(txn, wbi_store_get_tables(store)->consumers,
			     &cursor, err);
	if (rc == WB_OK) {
		rc = consumers_walk(cursor, ret, err);
		wbi_cursor_close(cursor);
	}
	wbi_txn_abort(txn);
	return rc;
}

void cli_consumers_fini(cli_consumers *list)
{
	free(list->items);
}

/* ---- rows of work ------------------------------------------------------- */

typedef struct work_scan {
	wb_str consumer;
	wbi_row_key last; /* the row seen last */
	cli_see_work see;
	void *ctx;
} work_scan;

static wb_code work_slice(work_scan *s, wbi_cursor *cursor, wb_error *err)
{
	wb_str start = wbi_row_key_str(&s->last), at = start, bytes;
	wbi_move move = WBI_SEEK;
	wbi_work_id id;
	wbi_work row;
	wb_code rc;

	for (int i = 0; i < SLICE; i++, move = WBI_NEXT) {
		rc = wbi_cursor_move(cursor, move, &at, &bytes, err);
		if (rc == WB_OK)
			rc = wbi_work_key_parse(at, &id, err);
		if (rc == WB_OK && !wb_str_eq(id.consumer, s->consumer))
			rc = WB_ENOTFOUND;
		if (rc == WB_OK && move == WBI_SEEK && wb_str_eq(at, start))
			continue;
		if (rc == WB_OK)
			rc = wbi_work_decode(at, bytes, &row, err);
		if (rc == WB_OK)
			rc = s->see(s->ctx, &id, &row, err);
		if (rc != WB_OK)
			return rc;
		s->last = wbi_work_key(&id);
	}
	return WB_OK;
}

wb_code cli_work_scan(wb_store *store, const char *consumer, cli_see_work see,
		      void *ctx, wb_error *err)
{
	work_scan s = {
		.consumer = wb_str_from(consumer), .see = see, .ctx = ctx};
	wbi_table table = wbi_store_get_tables(store)->work;
	wbi_cursor *cursor;
	MDB_txn *txn;
	wb_code rc = WB_OK;

	s.last = wbi_work_lane_prefix(s.consumer, WBI_LANE_CRASHED);
	s.last.len--; /* any lane */
	while (rc == WB_OK) {
		rc = wbi_txn_begin(wb_store_env(store), false, &txn, err);
		if (rc != WB_OK)
			return rc;
		rc = wbi_cursor_open(txn, table, &cursor, err);
		if (rc == WB_OK) {
			rc = work_slice(&s, cursor, err);
			wbi_cursor_close(cursor);
		}
		wbi_txn_abort(txn);
	}
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

/* ---- events ------------------------------------------------------------- */

typedef struct event_scan {
	wbi_journal journal;
	uint64_t after;
	cli_see_event see;
	void *ctx;
	wb_header headers[WBI_RECORD_HEADERS_MAX];
} event_scan;

static wb_code event_next(event_scan *s, wbi_reader *reader, wb_error *err)
{
	wb_event event;
	wb_str record;
	wb_code rc = wbi_reader_next(reader, &event, &record, err);

	if (rc == WB_OK)
		rc = wbi_record_headers(record.ptr, record.len, &event,
					s->headers, err);
	if (rc != WB_OK)
		return rc;
	s->after = reader->position;
	return s->see(s->ctx, reader->position, &event, record, err);
}

static wb_code event_slice(event_scan *s, MDB_txn *txn, wb_error *err)
{
	uint64_t first, head;
	wbi_reader reader;
	wb_code rc = wbi_journal_range(&s->journal, txn, &first, &head, err);

	if (rc == WB_OK && first > 0 && s->after + 1 < first)
		s->after = first - 1; /* pruned meanwhile */
	if (rc == WB_OK && s->after >= head)
		rc = WB_ENOTFOUND;
	if (rc == WB_OK)
		rc = wbi_reader_open(&reader, &s->journal, txn, s->after, err);
	if (rc != WB_OK)
		return rc;
	for (int i = 0; i < SLICE && rc == WB_OK; i++)
		rc = event_next(s, &reader, err);
	wbi_reader_close(&reader);
	return rc;
}

wb_code cli_inbox_scan(wb_store *store, uint64_t after, cli_see_event see,
		       void *ctx, wb_error *err)
{
	event_scan *s = calloc(1, sizeof(*s));
	MDB_txn *txn;
	wb_code rc = WB_OK;

	if (!s)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	s->journal = wbi_journal_of(store, WBI_INBOX);
	s->after = after;
	s->see = see;
	s->ctx = ctx;
	while (rc == WB_OK) {
		rc = wbi_txn_begin(wb_store_env(store), false, &txn, err);
		if (rc != WB_OK)
			break;
		rc = event_slice(s, txn, err);
		wbi_txn_abort(txn);
	}
	free(s);
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

typedef struct find_run {
	wb_str id;
	uint64_t position;
} find_run;

static wb_code find_see(void *ctx, uint64_t position, const wb_event *event,
			wb_str record, wb_error *err)
{
	find_run *run = ctx;

	(void)record;
	(void)err;
	if (!wb_str_eq(event->id, run->id))
		return WB_OK;
	run->position = position;
	return WB_ENOTFOUND;
}

wb_code cli_inbox_find(wb_store *store, wb_str id, uint64_t *ret, wb_error *err)
{
	find_run run = {.id = id};
	wb_code rc = cli_inbox_scan(store, 0, find_see, &run, err);

	*ret = run.position;
	return rc;
}
