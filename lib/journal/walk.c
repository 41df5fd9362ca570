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
#include "lib/journal/walk.h"

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

static const char walk_main[] = "data.mdb";
static const char walk_relay[] = "relay/data.mdb";

typedef struct walk {
	const wbi_walk_output *output;
	const char *dir;
	MDB_env *env, *relay_env;
	MDB_txn *txn, *relay_txn;
	wbi_store_tables tables;
	wbi_relay_tables relay_tables;
	wbi_store_info info;
	wbi_check_result result;
	uint64_t total;
	int64_t told_us;
	/* Where the walk is, for findings. */
	const char *file, *table;
} walk;

static void walk_tick(void *ctx)
{
	const wb_clock *clock = wb_system_clock();
	walk *w = ctx;
	int64_t now = clock->mono_us(clock->ctx);

	if (now - w->told_us < WALK_PROGRESS_US)
		return;
	w->told_us = now;
	w->output->progress(w->output->ctx, w->result.records, w->total);
}

static void walk_finding(walk *w, wb_code code, uint64_t position,
			 const char *format, ...) WB_PRINTF(4, 5);

static void walk_finding(walk *w, wb_code code, uint64_t position,
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
static wb_code walk_found(walk *w, wb_code code, uint64_t position,
			  const wb_error *cause, wb_error *err)
{
	if (code == WB_OK)
		return WB_OK;
	if (code == WB_ECORRUPT || code == WB_EVERSION ||
	    code == WB_ENOTFOUND) {
		walk_finding(w, code == WB_ENOTFOUND ? WB_ECORRUPT : code,
			     position, "%s",
			     cause->code ? cause->text : "a row is missing");
		return WB_OK;
	}
	if (err && err->code == WB_OK)
		*err = *cause;
	return code;
}

/* ---- environments ------------------------------------------------------- */

/* Every page, as of the transaction that is handed back. */
static wb_code walk_pages(walk *w, MDB_env *env, const char *path,
			  MDB_txn **ret, wb_error *err)
{
	wbi_pages_tick tick = {walk_tick, w};
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
static wb_code walk_open(walk *w, const char *dir, const char *file,
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
	return walk_found(w, code, 0, &cause, err);
}

/* ---- journals ----------------------------------------------------------- */

typedef struct walk_journal {
	wbi_table table;
	const char *name;
	uint64_t first, head, rows;
} walk_journal;

static wb_code walk_headers(wb_str record, wb_event *event, wb_error *err)
{
	wb_header headers[WBI_RECORD_HEADERS_MAX];

	return wbi_record_headers(record.ptr, record.len, event, headers, err);
}

/* A record must be whole, be where it says, and be found by its position. */
static wb_code walk_record(walk *w, const walk_journal *j, uint64_t at,
			   wb_str record, wb_error *err)
{
	uint64_t inside = 0;
	wb_event event;
	wb_str again = WB_STR_NULL;
	wb_code code;

	code = wbi_record_decode(record.ptr, record.len, &event, &inside, err);
	if (code == WB_OK)
		code = walk_headers(record, &event, err);
	if (code != WB_OK)
		return code;
	if (inside != at)
		return WBI_FAIL(err, WB_ECORRUPT,
				"holds the record of position %" PRIu64,
				inside);
	code = wbi_get_at(w->txn, j->table, at, &again, err);
	if (code == WB_ENOTFOUND || (code == WB_OK && again.ptr != record.ptr))
		return WBI_FAIL(err, WB_ECORRUPT,
				"is not found by its position");
	return code;
}

static wb_code walk_rows(walk *w, walk_journal *j, wbi_cursor *cursor,
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
			return walk_found(w, code, before, &cause, err);
		if (move == WBI_FIRST)
			j->first = at;
		else if (at != before + 1)
			walk_finding(w, WB_ECORRUPT, before + 1,
				     "a gap: position %" PRIu64
				     " is followed by %" PRIu64,
				     before, at);
		if (at <= before)
			return WB_OK; /* out of order: it might go round */
		j->head = at;
		j->rows++;
		w->result.records++;
		code = walk_record(w, j, at, record, &cause);
		code = walk_found(w, code, at, &cause, err);
		if (code != WB_OK)
			return code;
		if ((j->rows & 255) == 0)
			walk_tick(w);
	}
}

static wb_code walk_journal_all(walk *w, walk_journal *j, wb_error *err)
{
	uint64_t bytes, rows;
	wbi_cursor *cursor;
	wb_code code;

	w->file = walk_main;
	w->table = j->name;
	code = wbi_cursor_open(w->txn, j->table, &cursor, err);
	if (code != WB_OK)
		return code;
	code = walk_rows(w, j, cursor, err);
	wbi_cursor_close(cursor);
	if (code == WB_OK)
		code = wbi_table_size(w->txn, j->table, &bytes, &rows, err);
	if (code == WB_OK && rows != j->rows)
		walk_finding(w, WB_ECORRUPT, 0,
			     "%" PRIu64 " rows where %" PRIu64 " should be",
			     j->rows, rows);
	return code;
}

/* ---- the relay's tables ------------------------------------------------- */

typedef wb_code walk_check(walk *w, wb_str key, wb_str row, wb_error *err);

static wb_code walk_parked(walk *w, wb_str key, wb_str row, wb_error *err)
{
	uint64_t position, inside;
	wbi_parked parked;
	wb_event event;
	wb_str ordering;
	wb_code code;

	code = wbi_parked_row_key_parse(key, &ordering, &position, err);
	if (code == WB_OK)
		code = wbi_parked_decode(key, row, &parked, err);
	if (code != WB_OK)
		return code;
	w->result.parked++;
	if (parked.reason == WBI_PARK_CORRUPT)
		return WB_OK; /* kept as it was found */
	code = wbi_record_decode(parked.record.ptr, parked.record.len, &event,
				 &inside, err);
	if (code == WB_OK)
		code = walk_headers(parked.record, &event, err);
	if (code != WB_OK)
		return code;
	if (inside != position)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a parked event of position %" PRIu64
				" in the row of %" PRIu64,
				inside, position);
	/* Rows without a key are also those of a route without order. */
	if (ordering.len > 0 && !wb_str_eq(event.key, ordering))
		return WBI_FAIL(err, WB_ECORRUPT,
				"the parked event of position %" PRIu64
				" stands under another key than its own",
				position);
	return WB_OK;
}

static wb_code walk_key(walk *w, wb_str key, wb_str row, wb_error *err)
{
	wbi_parked_key parked;
	wb_str ordering;

	(void)w;
	return wbi_parked_key_decode(key, row, &ordering, &parked, err);
}

static wb_code walk_held(walk *w, wb_str key, wb_str row, wb_error *err)
{
	wbi_held held;
	wb_str exchange;

	(void)w;
	return wbi_held_decode(key, row, &exchange, &held, err);
}

static wb_code walk_status(walk *w, wb_str key, wb_str row, wb_error *err)
{
	(void)w;
	return wbi_status_row_check(key, row, err);
}

static wb_code walk_audit(walk *w, wb_str key, wb_str row, wb_error *err)
{
	wbi_audit audit;
	uint64_t number;

	(void)w;
	if (key.len != sizeof(number))
		return WBI_FAIL(err, WB_ECORRUPT, "a number of %zu bytes",
				key.len);
	memcpy(&number, key.ptr, sizeof(number));
	return wbi_audit_decode(number, row, &audit, err);
}

static wb_code walk_cursor_row(walk *w, wb_str key, wb_str row, wb_error *err)
{
	wbi_relay_cursor cursor;

	(void)w;
	if (!wb_str_eq(key, wb_str_from("outbox")))
		return WBI_FAIL(err, WB_ECORRUPT, "a row of unknown name");
	return wbi_relay_cursor_decode(row, &cursor, err);
}

/* Any row must be found again by its key. */
static wb_code walk_row_found(walk *w, wbi_table table, wb_str key, wb_str row,
			      wb_error *err)
{
	wb_str again = WB_STR_NULL;
	wb_code code = wbi_get(w->relay_txn, table, key, &again, err);

	if (code == WB_ENOTFOUND || (code == WB_OK && again.ptr != row.ptr))
		return WBI_FAIL(err, WB_ECORRUPT, "a row is not found by its "
						  "key");
	return code;
}

static wb_code walk_relay_rows(walk *w, wbi_table table, walk_check *check,
			       wbi_cursor *cursor, wb_error *err)
{
	wbi_move move = WBI_FIRST;
	wb_str key = WB_STR_NULL, row;

	for (;; move = WBI_NEXT) {
		wb_error cause = WB_ERROR_INIT;
		wb_code code = wbi_cursor_move(cursor, move, &key, &row,
					       &cause);

		if (code == WB_ENOTFOUND)
			return WB_OK;
		if (code != WB_OK)
			return walk_found(w, code, 0, &cause, err);
		code = check(w, key, row, &cause);
		if (code == WB_OK)
			code = walk_row_found(w, table, key, row, &cause);
		code = walk_found(w, code, 0, &cause, err);
		if (code != WB_OK)
			return code;
		walk_tick(w);
	}
}

static wb_code walk_relay_tables(walk *w, wb_error *err)
{
	const struct {
		const char *name;
		wbi_table table;
		walk_check *check;
	} tables[] = {
		{"relay.cursor", w->relay_tables.cursor, walk_cursor_row},
		{"relay.parked", w->relay_tables.parked, walk_parked},
		{"relay.keys", w->relay_tables.keys, walk_key},
		{"relay.held", w->relay_tables.held, walk_held},
		{"relay.audit", w->relay_tables.audit, walk_audit},
		{"relay.status", w->relay_tables.status, walk_status},
	};
	wb_code code = WB_OK;

	w->file = walk_relay;
	for (size_t i = 0; i < WBI_COUNT(tables) && code == WB_OK; i++) {
		wbi_cursor *cursor;

		w->table = tables[i].name;
		code = wbi_cursor_open(w->relay_txn, tables[i].table, &cursor,
				       err);
		if (code != WB_OK)
			break;
		code = walk_relay_rows(w, tables[i].table, tables[i].check,
				       cursor, err);
		wbi_cursor_close(cursor);
	}
	w->table = "";
	return code;
}

/* ---- the cursor against the journal ------------------------------------- */

static void walk_cursor_event(walk *w, const walk_journal *outbox,
			      const wbi_relay_cursor *cursor)
{
	wb_error ignored = WB_ERROR_INIT;
	wb_event event;
	uint64_t inside;
	wb_str record;

	if (wbi_get_at(w->txn, outbox->table, cursor->position, &record,
		       &ignored) != WB_OK ||
	    wbi_record_decode(record.ptr, record.len, &event, &inside,
			      &ignored) != WB_OK)
		return; /* pruned, or found already */
	if (!wb_str_eq(event.id, wb_str_from(cursor->event_id)))
		walk_finding(w, WB_ECORRUPT, cursor->position,
			     "the cursor's event is %s, the journal's %.*s: "
			     "they are of different histories",
			     cursor->event_id, (int)event.id.len, event.id.ptr);
}

/* `cursor` was read before the journal was pinned, so it cannot be ahead. */
static void walk_cursor_old(walk *w, const walk_journal *outbox,
			    const wbi_relay_cursor *cursor)
{
	w->result.cursor = cursor->position;
	if (strcmp(cursor->origin, w->info.outbox_origin))
		walk_finding(w, WB_ECORRUPT, cursor->position,
			     "the cursor is of origin %s, the journal of %s",
			     cursor->origin, w->info.outbox_origin);
	else if (cursor->position > outbox->head)
		walk_finding(w, WB_ECORRUPT, cursor->position,
			     "the cursor is past the journal's head %" PRIu64,
			     outbox->head);
	else if (cursor->floor > cursor->position)
		walk_finding(w, WB_ECORRUPT, cursor->position,
			     "the cursor's floor %" PRIu64 " is past it",
			     cursor->floor);
	else if (cursor->position > 0)
		walk_cursor_event(w, outbox, cursor);
}

/* Read again, after the journal was pinned: what was pruned must have been
 * settled. */
static wb_code walk_cursor_new(walk *w, const walk_journal *outbox,
			       wb_error *err)
{
	wbi_relay_cursor cursor = {.floor = 0};
	MDB_txn *txn = NULL;
	wb_str row;
	wb_code code = wbi_txn_begin(w->relay_env, false, &txn, err);

	if (code != WB_OK)
		return code;
	code = wbi_get(txn, w->relay_tables.cursor, wb_str_from("outbox"),
		       &row, err);
	if (code == WB_OK)
		code = wbi_relay_cursor_decode(row, &cursor, NULL);
	wbi_txn_abort(txn);
	if (code == WB_ENOTFOUND)
		cursor.floor = 0;
	else if (code != WB_OK)
		return WB_OK; /* found already */
	if (outbox->first > cursor.floor + 1)
		walk_finding(w, WB_ECORRUPT, outbox->first,
			     "the journal begins at %" PRIu64 " and the relay "
			     "has settled up to %" PRIu64 " only",
			     outbox->first, cursor.floor);
	return WB_OK;
}

static wb_code walk_cursor(walk *w, const walk_journal *outbox, wb_error *err)
{
	wbi_relay_cursor cursor;
	wb_str row;
	wb_code code;

	w->file = walk_relay;
	w->table = "relay.cursor";
	code = wbi_get(w->relay_txn, w->relay_tables.cursor,
		       wb_str_from("outbox"), &row, err);
	if (code == WB_OK)
		code = wbi_relay_cursor_decode(row, &cursor, NULL);
	if (code == WB_OK)
		walk_cursor_old(w, outbox, &cursor);
	else if (code != WB_ENOTFOUND)
		return WB_OK; /* found already */
	return walk_cursor_new(w, outbox, err);
}

/* ---- all of it ---------------------------------------------------------- */

/* Tables and meta row. *ret_going: they are good enough to go on. */
static wb_code walk_tables(walk *w, bool *ret_main, bool *ret_relay,
			   wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	wb_code code = WB_OK;

	*ret_main = *ret_relay = false;
	if (w->txn) {
		w->file = walk_main;
		code = wbi_meta_open_tables(w->txn, false, &w->tables, &cause);
		if (code == WB_OK)
			code = wbi_meta_read(w->txn, w->tables.meta, &w->info,
					     &cause);
		*ret_main = code == WB_OK;
		code = walk_found(w, code, 0, &cause, err);
	}
	if (code == WB_OK && w->relay_txn) {
		wb_error_clear(&cause);
		w->file = walk_relay;
		code = wbi_meta_open_relay_tables(w->relay_txn, false,
						  &w->relay_tables, &cause);
		*ret_relay = code == WB_OK;
		code = walk_found(w, code, 0, &cause, err);
	}
	return code;
}

static wb_code walk_all(walk *w, wb_error *err)
{
	walk_journal outbox = {.name = "outbox"}, inbox = {.name = "inbox"};
	uint64_t bytes, rows, more;
	bool has_main, has_relay;
	wb_code code = walk_tables(w, &has_main, &has_relay, err);

	if (code == WB_OK && has_main) {
		outbox.table = w->tables.outbox;
		inbox.table = w->tables.inbox;
		memcpy(w->result.origin, w->info.outbox_origin,
		       sizeof(w->result.origin));
		code = wbi_table_size(w->txn, outbox.table, &bytes, &rows, err);
		if (code == WB_OK)
			code = wbi_table_size(w->txn, inbox.table, &bytes,
					      &more, err);
		if (code == WB_OK)
			w->total = rows + more;
		if (code == WB_OK)
			code = walk_journal_all(w, &outbox, err);
		if (code == WB_OK)
			code = walk_journal_all(w, &inbox, err);
		w->result.first = outbox.first;
		w->result.head = outbox.head;
	}
	if (code == WB_OK && has_relay)
		code = walk_relay_tables(w, err);
	if (code == WB_OK && has_main && has_relay)
		code = walk_cursor(w, &outbox, err);
	return code;
}

wb_code wbi_walk_store(const char *dir, const wbi_walk_output *output,
		       wbi_check_result *ret, wb_error *err)
{
	walk w = {.output = output, .dir = dir};
	char relay[PATH_MAX];
	wb_code code = wbi_place_join(dir, "relay", relay, sizeof(relay), err);

	if (code != WB_OK)
		return code;
	code = walk_open(&w, relay, walk_relay, &w.relay_env, &w.relay_txn,
			 err);
	if (code == WB_OK)
		code = walk_open(&w, dir, walk_main, &w.env, &w.txn, err);
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
