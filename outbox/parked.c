/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every change of a parked row goes through here, together with its key's row,
 * in one transaction: after a crash both say the same. No state; any thread.
 */
#include "outbox/parked.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/record.h"
#include "lib/journal/journal.h"

enum { PARKED_ID_MAX = 255 };

/* ---- rows and keys in step ----------------------------------------------- */

static wb_code parked_key_of(MDB_txn *txn, const wbi_relay_tables *tables,
			     wb_str key, wbi_parked_key *ret, wb_error *err)
{
	wb_code code = wbi_parked_key_get(txn, tables->keys, key, ret, err);

	if (code == WB_ENOTFOUND)
		*ret = (wbi_parked_key){.state = WBI_PARKED};
	return code == WB_ENOTFOUND ? WB_OK : code;
}

wb_code wbi_parked_add(MDB_txn *txn, const wbi_relay_tables *tables,
		       wb_str key, uint64_t position, const wbi_parked *row,
		       bool *ret_added, wb_error *err)
{
	wbi_parked_key keyed;
	wbi_parked there;
	wb_code code = wbi_parked_get(txn, tables->parked, key, position,
				      &there, err);

	*ret_added = false;
	if (code != WB_ENOTFOUND)
		return code;
	code = parked_key_of(txn, tables, key, &keyed, err);
	if (code != WB_OK)
		return code;
	if (keyed.count == 0 || position < keyed.first_position)
		keyed.first_position = position;
	if (keyed.count == 0)
		keyed.since_us = row->first_us;
	keyed.count++;
	keyed.bytes += row->record.len;
	code = wbi_parked_put(txn, tables->parked, key, position, row, err);
	if (code == WB_OK)
		code = wbi_parked_key_put(txn, tables->keys, key, &keyed, err);
	*ret_added = code == WB_OK;
	return code;
}

wb_code wbi_parked_remove(MDB_txn *txn, const wbi_relay_tables *tables,
			  wb_str key, uint64_t position, wb_error *err)
{
	wbi_parked_key keyed;
	wbi_parked row;
	wb_code code = wbi_parked_get(txn, tables->parked, key, position, &row,
				      err);

	if (code != WB_OK)
		return code;
	code = parked_key_of(txn, tables, key, &keyed, err);
	if (code != WB_OK)
		return code;
	if (keyed.count == 0 || keyed.bytes < row.record.len)
		return WBI_FAIL(err, WB_ECORRUPT,
				"parked events of a key do not add up: run "
				"`waybill fsck`");
	keyed.count--;
	keyed.bytes -= row.record.len;
	code = wbi_parked_del(txn, tables->parked, key, position, err);
	if (code != WB_OK)
		return code;
	if (keyed.count == 0)
		return wbi_parked_key_del(txn, tables->keys, key, err);
	code = wbi_parked_first(txn, tables->parked, key,
				&keyed.first_position, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a key has fewer parked events than it says: "
				"run `waybill fsck`");
	if (code != WB_OK)
		return code;
	return wbi_parked_key_put(txn, tables->keys, key, &keyed, err);
}

/* One string of the row moved into *at, which moves on. */
static void parked_move(wb_str *s, char **at)
{
	if (s->len > 0)
		memcpy(*at, s->ptr, s->len);
	s->ptr = *at;
	*at += s->len;
}

wb_code wbi_parked_update(MDB_txn *txn, wbi_table parked, wb_str key,
			  uint64_t position, const wbi_parked *row,
			  wb_error *err)
{
	wbi_parked copy = *row;
	char *bytes = malloc(row->exchange.len + row->routing_key.len +
			     row->text.len + row->record.len + 1);
	char *at = bytes;
	wb_code code;

	if (!bytes)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a parked row");
	parked_move(&copy.exchange, &at);
	parked_move(&copy.routing_key, &at);
	parked_move(&copy.text, &at);
	parked_move(&copy.record, &at);
	code = wbi_parked_put(txn, parked, key, position, &copy, err);
	free(bytes);
	return code;
}

/* ---- verbs --------------------------------------------------------------- */

static wb_code parked_audit(wb_store *store, MDB_txn *txn, const char *verb,
			    wb_str key, uint64_t position, wb_str id,
			    const wbi_actor *actor, wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(store);
	const wb_clock *clock = wbi_store_clock(store);
	const wbi_audit audit = {.time_us = clock->real_us(clock->ctx),
				 .position = position,
				 .who = actor->who,
				 .what = wb_str_from(verb),
				 .why = actor->why,
				 .key = key,
				 .id = id};

	return wbi_audit_add(txn, tables->audit, &audit, NULL, err);
}

/* The id of a parked event, copied since its row is about to change; empty if
 * its record cannot be read, which may be why it is parked. */
static wb_str parked_id(MDB_txn *txn, const wbi_relay_tables *tables,
			wb_str key, uint64_t position, char buf[PARKED_ID_MAX])
{
	wbi_parked row;
	wb_event event;
	uint64_t at;

	if (wbi_parked_get(txn, tables->parked, key, position, &row, NULL) !=
		    WB_OK ||
	    wbi_record_decode(row.record.ptr, row.record.len, &event, &at,
			      NULL) != WB_OK ||
	    event.id.len > PARKED_ID_MAX)
		return WB_STR_NULL;
	memcpy(buf, event.id.ptr, event.id.len);
	return wb_str_n(buf, event.id.len);
}

static wb_code parked_release_key(MDB_txn *txn, const wbi_relay_tables *tables,
				  wb_str key, wb_error *err)
{
	wbi_parked_key keyed;
	wb_code code = wbi_parked_key_get(txn, tables->keys, key, &keyed, err);

	if (code != WB_OK)
		return code;
	keyed.state = WBI_PARKED_RELEASED;
	return wbi_parked_key_put(txn, tables->keys, key, &keyed, err);
}

static wb_code parked_release_row(MDB_txn *txn, const wbi_relay_tables *tables,
				  uint64_t position, wb_error *err)
{
	wbi_parked row;
	wb_code code = wbi_parked_get(txn, tables->parked, WB_STR_NULL,
				      position, &row, err);

	if (code != WB_OK)
		return code;
	row.state = WBI_PARKED_RELEASED;
	return wbi_parked_update(txn, tables->parked, WB_STR_NULL, position,
				 &row, err);
}

static wb_code parked_not_found(wb_str key, uint64_t position, wb_error *err)
{
	char shown[300];

	return WBI_FAIL(err, WB_ENOTFOUND,
			"no parked event of key '%s' at position %" PRIu64
			": see `waybill outbox ls --state parked`",
			wbi_text_show(key, shown, sizeof(shown)), position);
}

/* Commit what a verb did, or take it back. */
static wb_code parked_finish(MDB_txn *txn, wb_code code, wb_str key,
			     uint64_t position, wb_error *err)
{
	if (code == WB_OK)
		return wbi_txn_commit(txn, err);
	wbi_txn_abort(txn);
	return code == WB_ENOTFOUND ? parked_not_found(key, position, err)
				    : code;
}

wb_code wbi_parked_retry(wb_store *store, wb_str key, uint64_t position,
			 const wbi_actor *actor, wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(store);
	char buf[PARKED_ID_MAX];
	wb_str id = WB_STR_NULL;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wbi_store_relay_env(store), true, &txn,
				     err);

	if (code != WB_OK)
		return code;
	if (key.len == 0) /* else all events of the key are meant */
		id = parked_id(txn, tables, key, position, buf);
	code = key.len > 0 ? parked_release_key(txn, tables, key, err)
			   : parked_release_row(txn, tables, position, err);
	if (code == WB_OK)
		code = parked_audit(store, txn, "retry", key,
				    key.len > 0 ? 0 : position, id, actor, err);
	return parked_finish(txn, code, key, position, err);
}

/*
 * WB_EAGAIN while a relay that starts again would still send the event: the
 * cursor has not passed it, or its exchange's hold has not.
 */
static wb_code parked_is_settled(wb_store *store, MDB_txn *txn, wb_str key,
				 uint64_t position, wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(store);
	wbi_relay_cursor cursor = {.position = 0};
	wbi_parked row;
	wbi_held held;
	wb_code code = wbi_relay_cursor_read(store, txn, &cursor, err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	code = wbi_parked_get(txn, tables->parked, key, position, &row, err);
	if (code != WB_OK)
		return code;
	if (position > cursor.position)
		return WBI_FAIL(err, WB_EAGAIN,
				"the relay's cursor is at %" PRIu64
				" and has not passed position %" PRIu64
				" yet: a restarted relay would send it: try "
				"again when earlier events are confirmed",
				cursor.position, position);
	code = wbi_held_get(txn, tables->held, row.exchange, &held, err);
	if (code == WB_OK && position >= held.first_position)
		return WBI_FAIL(err, WB_EAGAIN,
				"exchange '%.*s' is held from position %" PRIu64
				": the relay looks at position %" PRIu64
				" again when it is there: create it first",
				(int)row.exchange.len, row.exchange.ptr,
				held.first_position, position);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

wb_code wbi_parked_discard(wb_store *store, wb_str key, uint64_t position,
			   const wbi_actor *actor, wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(store);
	char buf[PARKED_ID_MAX];
	wb_str id = WB_STR_NULL;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wbi_store_relay_env(store), true, &txn,
				     err);

	if (code != WB_OK)
		return code;
	code = parked_is_settled(store, txn, key, position, err);
	if (code == WB_OK) {
		id = parked_id(txn, tables, key, position, buf);
		code = wbi_parked_remove(txn, tables, key, position, err);
	}
	if (code == WB_OK)
		code = parked_audit(store, txn, "discard", key, position, id,
				    actor, err);
	return parked_finish(txn, code, key, position, err);
}

/* ---- looking ------------------------------------------------------------- */

wb_code wbi_parked_each(wb_store *store, MDB_txn *txn,
			const wbi_parked_row_key *from,
			wbi_parked_visitor *each, void *ctx, wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(store);
	wb_str at = from ? wb_str_n(from->bytes, from->len) : WB_STR_NULL;
	wb_str start = at, key, value;
	uint64_t position;
	wbi_cursor *cursor;
	wbi_parked row;
	wb_code code = wbi_cursor_open(txn, tables->parked, &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move(cursor, from ? WBI_SEEK : WBI_FIRST, &at, &value,
			       err);
	if (code == WB_OK && from && wb_str_eq(at, start))
		code = wbi_cursor_move(cursor, WBI_NEXT, &at, &value, err);
	while (code == WB_OK) {
		code = wbi_parked_row_key_parse(at, &key, &position, err);
		if (code == WB_OK)
			code = wbi_parked_decode(at, value, &row, err);
		if (code != WB_OK || !each(ctx, key, position, &row))
			break;
		code = wbi_cursor_move(cursor, WBI_NEXT, &at, &value, err);
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}
