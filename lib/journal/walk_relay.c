/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay's tables in a check, and its cursor against the outbox. The
 * relay's snapshot is the older of the two (walk.c). Reads only; state is the
 * walk's.
 */
#include "lib/journal/walk_internal.h"

#include <inttypes.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/record.h"
#include "lib/journal/journal.h"
#include "lib/journal/parked.h"

/* ---- the relay's tables ------------------------------------------------- */

/* The row of a key all of whose parked events were seen: without it, later
 * events of the key would be sent before them. */
static wb_code walk_parked_key(wbi_walk *w, wb_error *err)
{
	const wbi_walk_parked *seen = &w->parked;
	wbi_parked_key row = {.count = 0};
	wb_error cause = WB_ERROR_INIT;
	char shown[300];
	wb_code code;

	if (seen->count == 0)
		return WB_OK;
	code = wbi_parked_key_get(w->relay_txn, w->relay_tables.keys, seen->key,
				  &row, &cause);
	if (code == WB_ECORRUPT || code == WB_EVERSION)
		return WB_OK; /* found with the keys */
	if (code != WB_OK && code != WB_ENOTFOUND) {
		wbi_error_pass(err, &cause);
		return code;
	}
	if (row.count == seen->count && row.bytes == seen->bytes &&
	    row.first_position == seen->first)
		return WB_OK;
	wbi_walk_finding(w, WB_ECORRUPT, seen->first,
			 "key '%s': %" PRIu64 " parked events of %" PRIu64
			 " bytes from position %" PRIu64
			 " on, but relay.keys says %" PRIu64 " of %" PRIu64
			 " bytes from %" PRIu64 " on",
			 wbi_text_show(seen->key, shown, sizeof(shown)),
			 seen->count, seen->bytes, seen->first, row.count,
			 row.bytes, row.first_position);
	return WB_OK;
}

/* One more parked event: of the same key as the last, or the first of its. */
static wb_code walk_parked_count(wbi_walk *w, wb_str key, uint64_t position,
				 size_t bytes, wb_error *err)
{
	wb_code code = WB_OK;

	if (w->parked.count == 0 || !wb_str_eq(w->parked.key, key)) {
		code = walk_parked_key(w, err);
		w->parked = (wbi_walk_parked){.key = key, .first = position};
	}
	w->parked.count++;
	w->parked.bytes += bytes;
	return code;
}

static wb_code walk_parked(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
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
	code = walk_parked_count(w, ordering, position, parked.record.len, err);
	if (code != WB_OK)
		return code;
	if (parked.reason == WBI_PARK_CORRUPT)
		return WB_OK; /* kept as it was found */
	code = wbi_walk_record(parked.record, &event, &inside, err);
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

static wb_code walk_key(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	wbi_parked_key parked;
	uint64_t first;
	wb_str ordering;
	char shown[300];
	wb_code code = wbi_parked_key_decode(key, row, &ordering, &parked, err);

	if (code == WB_OK)
		code = wbi_parked_first(w->relay_txn, w->relay_tables.parked,
					ordering, &first, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"key '%s' has no parked event",
				wbi_text_show(ordering, shown, sizeof(shown)));
	return code;
}

static wb_code walk_held(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	wbi_held held;
	wb_str exchange;

	(void)w;
	return wbi_held_decode(key, row, &exchange, &held, err);
}

static wb_code walk_status(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	(void)w;
	return wbi_status_row_check(key, row, err);
}

static wb_code walk_cursor_row(wbi_walk *w, wb_str key, wb_str row,
			       wb_error *err)
{
	wbi_relay_cursor cursor;

	(void)w;
	if (!wb_str_eq(key, wb_str_from("outbox")))
		return WBI_FAIL(err, WB_ECORRUPT, "a row of unknown name");
	return wbi_relay_cursor_decode(row, &cursor, err);
}

wb_code wbi_walk_relay(wbi_walk *w, wb_error *err)
{
	const wbi_relay_tables *t = &w->relay_tables;
	const wbi_walk_rows tables[] = {
		{"relay.cursor", t->cursor, false, walk_cursor_row, NULL},
		{"relay.parked", t->parked, false, walk_parked, NULL},
		{"relay.keys", t->keys, false, walk_key, NULL},
		{"relay.held", t->held, false, walk_held, NULL},
		{"relay.audit", t->audit, true, wbi_walk_audit, NULL},
		{"relay.status", t->status, false, walk_status, NULL},
	};
	wb_code code = WB_OK;

	w->file = WBI_WALK_RELAY;
	for (size_t i = 0; i < WBI_COUNT(tables) && code == WB_OK; i++)
		code = wbi_walk_table(w, w->relay_txn, &tables[i], err);
	w->table = "relay.parked";
	return code == WB_OK ? walk_parked_key(w, err) : code; /* the last */
}

/* ---- the cursor against the journal ------------------------------------- */

static void walk_cursor_event(wbi_walk *w, const wbi_walk_journal *outbox,
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
		wbi_walk_finding(
			w, WB_ECORRUPT, cursor->position,
			"the cursor's event is %s, the journal's %.*s: "
			"they are of different histories",
			cursor->event_id, (int)event.id.len, event.id.ptr);
}

/* `cursor` was read before the journal was pinned, so it cannot be ahead. */
static void walk_cursor_old(wbi_walk *w, const wbi_walk_journal *outbox,
			    const wbi_relay_cursor *cursor)
{
	w->result.cursor = cursor->position;
	if (strcmp(cursor->origin, w->info.outbox_origin) != 0)
		wbi_walk_finding(
			w, WB_ECORRUPT, cursor->position,
			"the cursor is of origin %s, the journal of %s",
			cursor->origin, w->info.outbox_origin);
	else if (cursor->position > outbox->head)
		wbi_walk_finding(
			w, WB_ECORRUPT, cursor->position,
			"the cursor is past the journal's head %" PRIu64,
			outbox->head);
	else if (cursor->floor > cursor->position)
		wbi_walk_finding(w, WB_ECORRUPT, cursor->position,
				 "the cursor's floor %" PRIu64 " is past it",
				 cursor->floor);
	else if (cursor->position > 0)
		walk_cursor_event(w, outbox, cursor);
}

/* Read again, after the journal was pinned: what was pruned must have been
 * settled. */
static wb_code walk_cursor_new(wbi_walk *w, const wbi_walk_journal *outbox,
			       wb_error *err)
{
	wbi_relay_cursor cursor = {.floor = 0};
	MDB_txn *txn = NULL;
	wb_str row;
	wb_code code = wbi_txn_begin(w->relay_env, false, &txn, err);

	if (code != WB_OK)
		return code;
	code = wbi_get(txn, w->relay_tables.cursor, wb_str_from("outbox"), &row,
		       err);
	if (code == WB_OK)
		code = wbi_relay_cursor_decode(row, &cursor, NULL);
	wbi_txn_abort(txn);
	if (code == WB_ENOTFOUND)
		cursor.floor = 0;
	else if (code != WB_OK)
		return WB_OK; /* found already */
	if (outbox->first > cursor.floor + 1)
		wbi_walk_finding(w, WB_ECORRUPT, outbox->first,
				 "the journal begins at %" PRIu64
				 " and the relay "
				 "has settled up to %" PRIu64 " only",
				 outbox->first, cursor.floor);
	return WB_OK;
}

wb_code wbi_walk_relay_cursor(wbi_walk *w, wb_error *err)
{
	const wbi_walk_journal *outbox = &w->outbox;
	wbi_relay_cursor cursor;
	wb_str row;
	wb_code code;

	w->file = WBI_WALK_RELAY;
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
