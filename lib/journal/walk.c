/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walk of a check. Per environment: the meta pages, then every page
 * (lib/store/pages.c), and only if all is well the rows, through LMDB: each is
 * decoded, must be found again by its key, and must fit its neighbours. A
 * finding does not end the walk unless going on makes no sense.
 *
 * It reads two snapshots that a live service moves on between: the relay's
 * environment is pinned first, the store's next, so a cursor that is past the
 * head is one that is wrong. It writes nothing but its slot in the reader
 * table.
 */
#include "lib/journal/walk_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/event/record.h"
#include "lib/journal/journal.h"
#include "lib/journal/parked.h"
#include "lib/store/copy.h"
#include "lib/store/meta.h"
#include "lib/store/pages.h"
#include "lib/store/place.h"

enum { WALK_PROGRESS_US = 100000, WALK_TRIES = 20 };

void wbi_walk_tick(void *ctx)
{
	const wb_clock *clock = wb_system_clock();
	wbi_walk *w = ctx;
	int64_t now = clock->mono_us(clock->ctx);

	if (now - w->told_us < WALK_PROGRESS_US)
		return;
	w->told_us = now;
	w->output->progress(w->output->ctx, w->result.records, w->total);
}

void wbi_walk_finding(wbi_walk *w, wb_code code, uint64_t position,
		      const char *format, ...)
{
	char text[WB_ERROR_TEXT_MAX];
	wbi_finding finding = {.code = code,
			       .file = w->file,
			       .table = w->table,
			       .position = position,
			       .text = text};
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	w->result.findings++;
	w->output->finding(w->output->ctx, &finding);
}

/* An error becomes a finding if it is about the data. */
wb_code wbi_walk_found(wbi_walk *w, wb_code code, uint64_t position,
		       const wb_error *cause, wb_error *err)
{
	if (code == WB_OK)
		return WB_OK;
	if (code == WB_ECORRUPT || code == WB_EVERSION ||
	    code == WB_ENOTFOUND) {
		wbi_walk_finding(
			w, code == WB_ENOTFOUND ? WB_ECORRUPT : code, position,
			"%s", cause->code ? cause->text : "a row is missing");
		return WB_OK;
	}
	wbi_error_pass(err, cause);
	return code;
}

/* ---- environments ------------------------------------------------------- */

/* Every page, as of the transaction that is handed back. */
static wb_code walk_pages(wbi_walk *w, MDB_env *env, const char *path,
			  MDB_txn **ret, wb_error *err)
{
	wbi_pages_tick tick = {wbi_walk_tick, w};
	wbi_pages_result pages;
	wb_code code = WB_EAGAIN;

	for (int i = 0; i < WALK_TRIES && code == WB_EAGAIN; i++) {
		MDB_txn *txn = NULL;

		wb_error_clear(err);
		code = wbi_txn_begin(env, false, &txn, err);
		if (code != WB_OK)
			return code;
		code = wbi_pages_check(path, txn, &tick, &pages, err);
		if (code == WB_OK)
			*ret = txn;
		else
			wbi_txn_abort(txn);
	}
	return code;
}

/*
 * Open one environment: its file's header before it is mapped, its pages
 * before its rows. *ret_txn stays NULL if there was a finding.
 */
static wb_code walk_open(wbi_walk *w, const char *dir, const char *file,
			 MDB_env **ret_env, MDB_txn **ret_txn, wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	wbi_pages_header header;
	char path[PATH_MAX];
	wb_code code;

	w->file = file;
	w->table = "";
	code = wbi_place_join(dir, "data.mdb", path, sizeof(path), err);
	if (code != WB_OK)
		return code;
	code = wbi_pages_header_read(path, &header, &cause);
	if (code == WB_OK)
		code = wbi_env_open_readonly(dir, ret_env, &cause);
	if (code == WB_OK)
		code = walk_pages(w, *ret_env, path, ret_txn, &cause);
	if (code == WB_OK)
		w->result.bytes += header.file_bytes;
	return wbi_walk_found(w, code, 0, &cause, err);
}

/* ---- journals ----------------------------------------------------------- */

wb_code wbi_walk_record(wb_str record, wb_event *ret, uint64_t *ret_position,
			wb_error *err)
{
	wb_header headers[WBI_RECORD_HEADERS_MAX];
	wb_code code = wbi_record_decode(record.ptr, record.len, ret,
					 ret_position, err);

	if (code == WB_OK)
		code = wbi_record_headers(record.ptr, record.len, ret, headers,
					  err);
	ret->headers = NULL;
	return code;
}

/* A record must be whole, be where it says, and be found by its position. */
static wb_code walk_record(wbi_walk *w, const wbi_walk_journal *j, uint64_t at,
			   wb_str record, wb_error *err)
{
	uint64_t inside = 0;
	wb_event event;
	wb_str again = WB_STR_NULL;
	wb_code code;

	code = wbi_walk_record(record, &event, &inside, err);
	if (code != WB_OK)
		return code;
	if (inside != at)
		return WBI_FAIL(err, WB_ECORRUPT,
				"holds the record of position %" PRIu64,
				inside);
	if (j == &w->outbox && wbi_record_flags(record) & WBI_RECORD_STREAM)
		w->stream_records++;
	code = wbi_get_at(w->txn, j->table, at, &again, err);
	if (code == WB_ENOTFOUND || (code == WB_OK && again.ptr != record.ptr))
		return WBI_FAIL(err, WB_ECORRUPT,
				"is not found by its position");
	return code;
}

static wb_code walk_rows(wbi_walk *w, wbi_walk_journal *j, wbi_cursor *cursor,
			 wb_error *err)
{
	uint64_t at = 0, before = 0;
	wbi_move move = WBI_FIRST;
	wb_str record;

	for (;; move = WBI_NEXT, before = at) {
		wb_error cause = WB_ERROR_INIT;
		wb_code code;

		code = wbi_cursor_move_at(cursor, move, &at, &record, &cause);
		if (code == WB_ENOTFOUND)
			return WB_OK;
		if (code != WB_OK)
			return wbi_walk_found(w, code, before, &cause, err);
		if (move == WBI_FIRST)
			j->first = at;
		else if (at != before + 1)
			wbi_walk_finding(w, WB_ECORRUPT, before + 1,
					 "a gap: position %" PRIu64
					 " is followed by %" PRIu64,
					 before, at);
		if (at <= before)
			return WB_OK; /* out of order: it might go round */
		j->head = at;
		j->rows++;
		w->result.records++;
		code = walk_record(w, j, at, record, &cause);
		code = wbi_walk_found(w, code, at, &cause, err);
		if (code != WB_OK)
			return code;
		if ((j->rows & 255) == 0)
			wbi_walk_tick(w);
	}
}

static wb_code walk_journal_all(wbi_walk *w, wbi_walk_journal *j, wb_error *err)
{
	uint64_t bytes, rows;
	wbi_cursor *cursor;
	wb_code code;

	w->file = WBI_WALK_MAIN;
	w->table = j->name;
	code = wbi_cursor_open(w->txn, j->table, &cursor, err);
	if (code != WB_OK)
		return code;
	code = walk_rows(w, j, cursor, err);
	wbi_cursor_close(cursor);
	if (code == WB_OK)
		code = wbi_table_size(w->txn, j->table, &bytes, &rows, err);
	if (code == WB_OK && rows != j->rows)
		wbi_walk_finding(w, WB_ECORRUPT, 0,
				 "%" PRIu64 " rows where %" PRIu64 " should be",
				 j->rows, rows);
	return code;
}

/* ---- tables of rows ----------------------------------------------------- */

wb_code wbi_walk_number(wb_str key, uint64_t *ret, wb_error *err)
{
	if (key.len != sizeof(*ret))
		return WBI_FAIL(err, WB_ECORRUPT, "a number of %zu bytes",
				key.len);
	memcpy(ret, key.ptr, sizeof(*ret));
	return WB_OK;
}

wb_code wbi_walk_audit(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	wbi_audit audit;
	uint64_t number = 0;
	wb_code code = wbi_walk_number(key, &number, err);

	(void)w;
	return code == WB_OK ? wbi_audit_decode(number, row, &audit, err)
			     : code;
}

/* Any row must be found again by its key. */
static wb_code walk_row_found(MDB_txn *txn, wbi_table table, wb_str key,
			      wb_str row, wb_error *err)
{
	wb_str again = WB_STR_NULL;
	wb_code code = wbi_get(txn, table, key, &again, err);

	if (code == WB_ENOTFOUND || (code == WB_OK && again.ptr != row.ptr))
		return WBI_FAIL(err, WB_ECORRUPT,
				"a row is not found by its "
				"key");
	return code;
}

/* A row's finding says which row it is about. */
static wb_code walk_row_result(wbi_walk *w, const wbi_walk_rows *rows,
			       wb_str key, wb_code code, const wb_error *cause,
			       wb_error *err)
{
	uint64_t position = 0;
	wb_error named = WB_ERROR_INIT;
	char name[200];

	if (code == WB_OK)
		return WB_OK;
	if (rows->numbered && key.len == sizeof(position))
		memcpy(&position, key.ptr, sizeof(position));
	if (!rows->describe)
		return wbi_walk_found(w, code, position, cause, err);
	rows->describe(key, name, sizeof(name));
	WBI_FAIL_FOREIGN(&named, code, cause->foreign, "%s: %.300s", name,
			 cause->text);
	return wbi_walk_found(w, code, position, &named, err);
}

static wb_code walk_table_rows(wbi_walk *w, MDB_txn *txn,
			       const wbi_walk_rows *rows, wbi_cursor *cursor,
			       wb_error *err)
{
	wb_str key = WB_STR_NULL, row;
	wbi_move move = WBI_FIRST;

	w->before = WB_STR_NULL;
	for (uint64_t n = 0;; n++, move = WBI_NEXT, w->before = key) {
		wb_error cause = WB_ERROR_INIT;
		wb_code code =
			wbi_cursor_move(cursor, move, &key, &row, &cause);

		if (code == WB_ENOTFOUND)
			return WB_OK;
		if (code != WB_OK)
			return wbi_walk_found(w, code, 0, &cause, err);
		code = rows->check(w, key, row, &cause);
		if (code == WB_OK)
			code = walk_row_found(txn, rows->table, key, row,
					      &cause);
		code = walk_row_result(w, rows, key, code, &cause, err);
		if (code != WB_OK)
			return code;
		if ((n & 255) == 0)
			wbi_walk_tick(w);
	}
}

wb_code wbi_walk_table(wbi_walk *w, MDB_txn *txn, const wbi_walk_rows *rows,
		       wb_error *err)
{
	wbi_cursor *cursor;
	wb_code code;

	w->table = rows->name;
	code = wbi_cursor_open(txn, rows->table, &cursor, err);
	if (code != WB_OK)
		return code;
	code = walk_table_rows(w, txn, rows, cursor, err);
	wbi_cursor_close(cursor);
	w->table = "";
	return code;
}

/* ---- all of it ---------------------------------------------------------- */

/* Tables and meta row. *ret_going: they are good enough to go on. */
static wb_code walk_tables(wbi_walk *w, bool *ret_main, bool *ret_relay,
			   wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	wb_code code = WB_OK;

	*ret_main = *ret_relay = false;
	if (w->txn) {
		w->file = WBI_WALK_MAIN;
		code = wbi_meta_open_present(w->txn, &w->tables, &w->present,
					     &cause);
		if (code == WB_OK)
			code = wbi_meta_read(w->txn, w->tables.meta, &w->info,
					     &cause);
		*ret_main = code == WB_OK;
		code = wbi_walk_found(w, code, 0, &cause, err);
	}
	if (code == WB_OK && w->relay_txn) {
		wb_error_clear(&cause);
		w->file = WBI_WALK_RELAY;
		code = wbi_meta_open_relay_tables(w->relay_txn, false,
						  &w->relay_tables, &cause);
		*ret_relay = code == WB_OK;
		code = wbi_walk_found(w, code, 0, &cause, err);
	}
	return code;
}

static wb_code walk_meta(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	(void)w;
	return wbi_meta_check(key, row, err);
}

static wb_code walk_journals(wbi_walk *w, wb_error *err)
{
	const wbi_walk_rows meta = {"meta", w->tables.meta, false, walk_meta,
				    NULL};
	uint64_t bytes, rows, more;
	wb_code code;

	w->file = WBI_WALK_MAIN;
	code = wbi_walk_table(w, w->txn, &meta, err);
	if (code != WB_OK)
		return code;
	w->outbox.name = "outbox";
	w->outbox.table = w->tables.outbox;
	w->inbox.name = "inbox";
	w->inbox.table = w->tables.inbox;
	code = wbi_table_size(w->txn, w->outbox.table, &bytes, &rows, err);
	if (code == WB_OK)
		code = wbi_table_size(w->txn, w->inbox.table, &bytes, &more,
				      err);
	if (code != WB_OK)
		return code;
	w->total = rows + more;
	code = walk_journal_all(w, &w->outbox, err);
	if (code == WB_OK)
		code = walk_journal_all(w, &w->inbox, err);
	memcpy(w->result.origin, w->info.outbox_origin,
	       sizeof(w->result.origin));
	w->result.first = w->outbox.first;
	w->result.head = w->outbox.head;
	return code;
}

static wb_code walk_all(wbi_walk *w, wb_error *err)
{
	bool has_main, has_relay;
	wb_code code = walk_tables(w, &has_main, &has_relay, err);

	if (code == WB_OK && has_main)
		code = walk_journals(w, err);
	if (code == WB_OK && has_main && w->present >= WBI_TABLES_INBOX)
		code = wbi_walk_inbox(w, err);
	if (code == WB_OK && has_main && w->present >= WBI_TABLES_STREAMS)
		code = wbi_walk_streams(w, err);
	if (code == WB_OK && has_main && w->present >= WBI_TABLES_ALL)
		code = wbi_walk_sagas(w, err);
	if (code == WB_OK && has_relay)
		code = wbi_walk_relay(w, err);
	if (code == WB_OK && has_main && has_relay)
		code = wbi_walk_relay_cursor(w, err);
	return code;
}

wb_code wbi_walk_store(const char *dir, const wbi_walk_output *output,
		       wbi_check_result *ret, wb_error *err)
{
	wbi_walk w = {.output = output, .dir = dir};
	char relay[PATH_MAX];
	wb_code code = wbi_place_join(dir, "relay", relay, sizeof(relay), err);

	if (code != WB_OK)
		return code;
	code = walk_open(&w, relay, WBI_WALK_RELAY, &w.relay_env, &w.relay_txn,
			 err);
	if (code == WB_OK)
		code = walk_open(&w, dir, WBI_WALK_MAIN, &w.env, &w.txn, err);
	if (code == WB_OK)
		code = walk_all(&w, err);
	wbi_txn_abort(w.txn);
	wbi_txn_abort(w.relay_txn);
	wbi_env_close(w.env);
	wbi_env_close(w.relay_env);
	if (code == WB_OK)
		*ret = w.result;
	return code;
}
