/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The second half of a backup and of a restore. A backup's relay state is
 * younger than its journal: what it knows of positions past the copied head is
 * forgotten, so that the copy is sound. A restore makes a store of its own. Positions
 * behind its head were perhaps used in the old life, so its journals get new
 * origins, its handlers' positions with them, and nothing that the relay knew of such positions may stay: the
 * transactions that made those events are not in the copy.
 *
 * Two commits, relay first; a crash between them leaves a directory that has
 * not got its name yet, and that the next attempt does not look at.
 */
#include "lib/journal/restore.h"

#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/event/record.h"
#include "lib/journal/inbox_rows.h"
#include "lib/journal/journal.h"
#include "lib/journal/parked.h"
#include "lib/store/meta.h"

typedef struct restore {
	wb_store *store;
	wbi_store_info info; /* with new origins */
	MDB_txn *txn;        /* reads the journals */
	MDB_txn *relay_txn;  /* writes the relay's state */
	uint64_t head;
	bool new_origin;
} restore;

/* The id of the event at the cursor, if the journal still has it. */
static wb_code restore_event_id(restore *r, wbi_relay_cursor *cursor,
				wb_error *err)
{
	wbi_journal outbox = wbi_journal_of(r->store, WBI_OUTBOX);
	wb_event event;
	uint64_t position;
	wb_str record;
	wb_code code;

	cursor->event_id[0] = '\0';
	if (cursor->position == 0)
		return WB_OK;
	code = wbi_journal_get(&outbox, r->txn, cursor->position, &record, err);
	if (code == WB_ENOTFOUND)
		return WB_OK;
	if (code == WB_OK)
		code = wbi_record_decode(record.ptr, record.len, &event,
					 &position, err);
	if (code != WB_OK)
		return code;
	WB_ASSERT(event.id.len < sizeof(cursor->event_id));
	memcpy(cursor->event_id, event.id.ptr, event.id.len);
	cursor->event_id[event.id.len] = '\0';
	return WB_OK;
}

static wb_code restore_cursor(restore *r, wb_error *err)
{
	wbi_relay_cursor cursor;
	wb_code code;

	code = wbi_relay_cursor_read(r->store, r->relay_txn, &cursor, err);
	if (code == WB_ENOTFOUND)
		return WB_OK;
	if (code != WB_OK)
		return code;
	memcpy(cursor.origin, r->info.outbox_origin, sizeof(cursor.origin));
	if (cursor.position > r->head)
		cursor.position = r->head;
	if (cursor.floor > cursor.position)
		cursor.floor = cursor.position;
	code = restore_event_id(r, &cursor, err);
	if (code == WB_OK)
		code = wbi_relay_cursor_write(r->store, r->relay_txn, &cursor,
					      err);
	return code;
}

/* Take one event off its key's row, and the row away with the last. */
static wb_code restore_forget(restore *r, wb_str key, size_t bytes,
			      wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(r->store);
	wbi_parked_key row;
	wb_code code = wbi_parked_key_get(r->relay_txn, tables->keys, key, &row,
					  err);

	if (code == WB_ENOTFOUND)
		return WB_OK;
	if (code != WB_OK)
		return code;
	if (row.count <= 1)
		return wbi_parked_key_del(r->relay_txn, tables->keys, key, err);
	row.count--;
	row.bytes -= row.bytes < bytes ? row.bytes : bytes;
	return wbi_parked_key_put(r->relay_txn, tables->keys, key, &row, err);
}

/* The first parked event past the head at or behind *row_key; its key goes
 * into `buf`, since the next write moves what the map holds. */
static wb_code restore_next(restore *r, char buf[WBI_PARKED_ROW_KEY_MAX],
			    wb_str *row_key, wb_str *ret_key,
			    uint64_t *ret_position, size_t *ret_bytes,
			    wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(r->store);
	wbi_move move = WBI_SEEK;
	wbi_cursor *cursor;
	wbi_parked parked;
	wb_str row;
	wb_code code = wbi_cursor_open(r->relay_txn, tables->parked, &cursor,
				       err);

	if (code != WB_OK)
		return code;
	do {
		code = wbi_cursor_move(cursor, move, row_key, &row, err);
		move = WBI_NEXT;
		if (code == WB_OK)
			code = wbi_parked_row_key_parse(*row_key, ret_key,
							ret_position, err);
	} while (code == WB_OK && *ret_position <= r->head);
	if (code == WB_OK)
		code = wbi_parked_decode(*row_key, row, &parked, err);
	if (code == WB_OK) {
		*ret_bytes = parked.record.len;
		memcpy(buf, row_key->ptr, row_key->len);
		*row_key = wb_str_n(buf, row_key->len);
		code = wbi_parked_row_key_parse(*row_key, ret_key,
						ret_position, err);
	}
	wbi_cursor_close(cursor);
	return code;
}

static wb_code restore_parked(restore *r, wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(r->store);
	char buf[WBI_PARKED_ROW_KEY_MAX];
	wb_str row_key = WB_STR_NULL, key;
	uint64_t position;
	size_t bytes;
	wb_code code;

	for (;;) {
		code = restore_next(r, buf, &row_key, &key, &position, &bytes,
				    err);
		if (code != WB_OK)
			return code == WB_ENOTFOUND ? WB_OK : code;
		code = restore_forget(r, key, bytes, err);
		if (code == WB_OK)
			code = wbi_parked_del(r->relay_txn, tables->parked, key,
					      position, err);
		if (code != WB_OK)
			return code;
	}
}

/* An exchange that was found missing by an event past the head is not held
 * any more: the next event for it will tell. */
static wb_code restore_held(restore *r, wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(r->store);
	wb_str row_key = WB_STR_NULL, exchange, row;
	wbi_move move = WBI_FIRST;
	wbi_cursor *cursor;
	wbi_held held;
	wb_code code = wbi_cursor_open(r->relay_txn, tables->held, &cursor,
				       err);

	if (code != WB_OK)
		return code;
	for (;;) {
		code = wbi_cursor_move(cursor, move, &row_key, &row, err);
		if (code == WB_OK)
			code = wbi_held_decode(row_key, row, &exchange, &held,
					       err);
		if (code != WB_OK)
			break;
		move = WBI_NEXT;
		if (held.first_position <= r->head)
			continue;
		code = wbi_cursor_del(cursor, err);
		if (code != WB_OK)
			break;
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code restore_audit(restore *r, const char *old_origin, wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(r->store);
	const wb_clock *clock = wbi_store_clock(r->store);
	char why[160];
	wbi_audit row = {.time_us = clock->real_us(clock->ctx)};

	snprintf(why, sizeof(why), "origin %s, head %llu, is now %s", old_origin,
		 (unsigned long long)r->head, r->info.outbox_origin);
	row.who = wb_str_from("waybill");
	row.what = wb_str_from("restore");
	row.why = wb_str_from(why);
	return wbi_audit_add(r->relay_txn, tables->audit, &row, NULL, err);
}

static wb_code restore_relay(restore *r, wb_error *err)
{
	wbi_journal outbox = wbi_journal_of(r->store, WBI_OUTBOX);
	uint64_t first;
	wb_code code;

	code = wbi_txn_begin(wb_store_env(r->store), false, &r->txn, err);
	if (code != WB_OK)
		return code;
	code = wbi_journal_range(&outbox, r->txn, &first, &r->head, err);
	if (code == WB_OK)
		code = wbi_txn_begin(wbi_store_relay_env(r->store), true,
				     &r->relay_txn, err);
	if (code == WB_OK)
		code = restore_cursor(r, err);
	if (code == WB_OK)
		code = restore_parked(r, err);
	if (code == WB_OK)
		code = restore_held(r, err);
	if (code == WB_OK && r->new_origin)
		code = restore_audit(r, outbox.origin, err);
	if (code == WB_OK)
		code = wbi_txn_commit(r->relay_txn, err);
	else
		wbi_txn_abort(r->relay_txn);
	wbi_txn_abort(r->txn);
	return code;
}

/* ---- the store's own environment ---------------------------------------- */

/* What handlers did is in this very copy, so they go on where it says. What a
 * projection did is elsewhere and may be ahead: its row keeps the old origin,
 * by which it finds out. */
static wb_code restore_consumer(restore *r, MDB_txn *txn, char journal,
				wb_str name, wbi_consumer *row, wb_error *err)
{
	bool outbox = journal == 'o';
	wbi_journal old = wbi_journal_of(r->store,
					 outbox ? WBI_OUTBOX : WBI_INBOX);
	uint64_t first, head;
	wb_code code;

	if (row->kind != WBI_CONSUMER_HANDLER ||
	    strcmp(row->origin, old.origin) != 0)
		return WB_OK;
	code = wbi_journal_range(&old, txn, &first, &head, err);
	if (code != WB_OK)
		return code;
	memcpy(row->origin,
	       outbox ? r->info.outbox_origin : r->info.inbox_origin,
	       sizeof(row->origin));
	if (row->position > head)
		row->position = head;
	return wbi_consumer_put(txn, wbi_store_get_tables(r->store)->consumers,
				journal, name, row, err);
}

/* The first consumer at or behind *key; behind it is where to look next. */
static wb_code restore_next_consumer(restore *r, MDB_txn *txn, wbi_row_key *key,
				     wb_error *err)
{
	wbi_table table = wbi_store_get_tables(r->store)->consumers;
	wb_str at = wbi_row_key_str(key), row, name;
	wbi_cursor *cursor;
	wbi_consumer c;
	char journal;
	wb_code code = wbi_cursor_open(txn, table, &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move(cursor, WBI_SEEK, &at, &row, err);
	wbi_cursor_close(cursor);
	if (code == WB_OK)
		code = wbi_consumer_decode(at, row, &journal, &name, &c, err);
	if (code != WB_OK)
		return code;
	memcpy(key->bytes, at.ptr, at.len);
	key->bytes[at.len] = 0;
	key->len = (uint16_t)(at.len + 1);
	name = wb_str_n(key->bytes + 1, at.len - 1);
	return restore_consumer(r, txn, journal, name, &c, err);
}

static wb_code restore_consumers(restore *r, MDB_txn *txn, wb_error *err)
{
	wbi_row_key key = {.len = 0};
	wb_code code;

	do {
		code = restore_next_consumer(r, txn, &key, err);
	} while (code == WB_OK);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code restore_main(restore *r, wb_error *err)
{
	wbi_table meta = wbi_store_get_tables(r->store)->meta;
	MDB_txn *txn;
	wb_code code = wb_store_begin(r->store, &txn, err);

	if (code != WB_OK)
		return code;
	code = restore_consumers(r, txn, err);
	if (code == WB_OK)
		code = wbi_meta_write(txn, meta, &r->info, err);
	if (code == WB_OK)
		return wb_store_commit(r->store, txn, err);
	wb_store_abort(txn);
	return code;
}

wb_code wbi_restore_rewrite(const char *dir, bool new_origin, wb_error *err)
{
	restore r = {.new_origin = new_origin};
	wb_code code = wb_store_open(dir, NULL, &r.store, err);

	if (code != WB_OK)
		return code;
	r.info = *wbi_store_get_info(r.store);
	if (new_origin) {
		wb_uuid7(wbi_store_clock(r.store), wbi_store_random(r.store),
			 r.info.outbox_origin);
		wb_uuid7(wbi_store_clock(r.store), wbi_store_random(r.store),
			 r.info.inbox_origin);
	}
	code = restore_relay(&r, err);
	if (code == WB_OK && new_origin)
		code = restore_main(&r, err);
	wb_store_close(r.store);
	return code;
}
