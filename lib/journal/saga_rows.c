/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows of sagas, their index, log and definitions (saga_rows.h); those of
 * barriers and expiries are in barrier_rows.c. No state. A saga's row, its
 * entry in the index and those of its log change in the caller's transaction,
 * so a crash leaves them as one commit left them. Any thread.
 */
#include "lib/journal/saga_rows.h"

#include <waybill/saga.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/store/row.h"

enum { SAGA_VERSION = 1 };

bool wbi_saga_status_is_final(uint8_t status)
{
	return status == WB_SAGA_COMPLETED || status == WB_SAGA_COMPENSATED ||
	       status == WB_SAGA_ABANDONED;
}

/* ---- keys ---------------------------------------------------------------- */

static void key_add(wbi_row_key *key, wb_str text)
{
	WB_ASSERT(key->len + text.len <= sizeof(key->bytes));
	if (text.len > 0)
		memcpy(key->bytes + key->len, text.ptr, text.len);
	key->len = (uint16_t)(key->len + text.len);
}

static void key_add_u8(wbi_row_key *key, uint8_t byte)
{
	key_add(key, wb_str_n(&byte, 1));
}

static void key_add_be64(wbi_row_key *key, uint64_t number)
{
	uint8_t bytes[8];

	wbi_put_be64(bytes, number);
	key_add(key, wb_str_n(bytes, sizeof(bytes)));
}

wbi_row_key wbi_saga_id_prefix(uint8_t kind, wb_str id)
{
	wbi_row_key key = {.len = 0};

	WB_ASSERT(kind == WBI_SAGA_ORCHESTRATED || kind == WBI_SAGA_FLOW);
	WB_ASSERT(id.len > 0 && id.len <= WBI_SAGA_ID_MAX);
	key_add_u8(&key, kind);
	key_add_u8(&key, (uint8_t)id.len);
	key_add(&key, id);
	return key;
}

wbi_row_key wbi_saga_key(const wbi_saga_id *id)
{
	wbi_row_key key = wbi_saga_id_prefix(id->kind, id->id);

	WB_ASSERT(id->name.len <= WBI_SAGA_NAME_MAX);
	WB_ASSERT((id->kind == WBI_SAGA_FLOW) == (id->name.len > 0));
	key_add(&key, id->name);
	return key;
}

wb_code wbi_saga_key_parse(wb_str row_key, wbi_saga_id *ret, wb_error *err)
{
	wbi_saga_id id = {0};
	size_t len;

	if (row_key.len >= 3) {
		id.kind = (uint8_t)row_key.ptr[0];
		len = (uint8_t)row_key.ptr[1];
		if (len > 0 && len <= WBI_SAGA_ID_MAX &&
		    row_key.len >= 2 + len) {
			id.id = wb_str_n(row_key.ptr + 2, len);
			id.name = wb_str_n(row_key.ptr + 2 + len,
					   row_key.len - 2 - len);
		}
	}
	if (id.id.len == 0 || id.name.len > WBI_SAGA_NAME_MAX ||
	    (id.kind != WBI_SAGA_ORCHESTRATED && id.kind != WBI_SAGA_FLOW) ||
	    (id.kind == WBI_SAGA_FLOW) != (id.name.len > 0))
		return WBI_FAIL(err, WB_ECORRUPT,
				"a saga's key of %zu bytes is not one",
				row_key.len);
	*ret = id;
	return WB_OK;
}

/* ---- sagas --------------------------------------------------------------- */

static wbi_row_key index_key(const wbi_saga_id *id, uint8_t status,
			     int64_t since_us)
{
	wbi_row_key key = {.len = 0}, saga = wbi_saga_key(id);

	key_add_u8(&key, status);
	key_add_be64(&key, since_us > 0 ? (uint64_t)since_us : 0);
	key_add(&key, wbi_row_key_str(&saga));
	return key;
}

static wb_code index_put(MDB_txn *txn, wbi_table index, wbi_row_key *key,
			 wb_error *err)
{
	uint8_t bytes[WBI_ROW_EXTRA];
	wbi_row_out out;

	wbi_row_begin(&out, bytes, sizeof(bytes), WBI_ROW_SAGA_INDEX,
		      SAGA_VERSION);
	wbi_row_seal(&out, wbi_row_key_str(key));
	return wbi_put(txn, index, wbi_row_key_str(key),
		       wb_str_n(bytes, sizeof(bytes)), err);
}

/* Where it stood, and where it is to stand. */
static wb_code index_move(MDB_txn *txn, const wbi_store_tables *tables,
			  const wbi_saga_id *id, const wbi_saga_row *old,
			  const wbi_saga_row *row, wb_error *err)
{
	bool had = old && !wbi_saga_status_is_final(old->status);
	bool has = row && !wbi_saga_status_is_final(row->status);
	wbi_row_key key;
	wb_code code = WB_OK;

	if (had && has && old->status == row->status &&
	    old->since_us == row->since_us)
		return WB_OK;
	if (had) {
		key = index_key(id, old->status, old->since_us);
		code = wbi_del(txn, tables->saga_index, wbi_row_key_str(&key),
			       err);
		if (code == WB_ENOTFOUND)
			return WBI_FAIL(err, WB_ECORRUPT,
					"saga %.*s is not in its index; run "
					"waybill fsck",
					(int)id->id.len, id->id.ptr);
	}
	if (code == WB_OK && has) {
		key = index_key(id, row->status, row->since_us);
		code = index_put(txn, tables->saga_index, &key, err);
	}
	return code;
}

static void saga_encode(const wbi_saga_row *row, wb_str key, wbi_row_room *room)
{
	wbi_row_out out;

	wbi_row_begin(&out, room->bytes, room->size, WBI_ROW_SAGA,
		      SAGA_VERSION);
	wbi_row_put_u8(&out, row->status);
	wbi_row_put_u64(&out, (uint64_t)row->started_us);
	wbi_row_put_u64(&out, (uint64_t)row->changed_us);
	wbi_row_put_u64(&out, (uint64_t)row->since_us);
	wbi_row_put_u64(&out, (uint64_t)row->deadline_us);
	wbi_row_put_u64(&out, row->entries);
	wbi_row_put_str(&out, row->name);
	wbi_row_put_str(&out, row->step);
	wbi_row_put_str(&out, row->awaits);
	wbi_row_put_str(&out, row->from);
	wbi_row_put_str(&out, row->reason);
	wbi_row_put_str(&out, row->definition);
	wbi_row_put_str(&out, row->machine);
	wbi_row_put_str(&out, row->content_type);
	wbi_row_put_str(&out, row->data);
	wbi_row_seal(&out, key);
}

static size_t saga_size(const wbi_saga_row *row)
{
	return WBI_ROW_EXTRA + 1 + 5 * 8 + wbi_row_str_size(row->name) +
	       wbi_row_str_size(row->step) + wbi_row_str_size(row->awaits) +
	       wbi_row_str_size(row->from) + wbi_row_str_size(row->reason) +
	       wbi_row_str_size(row->definition) +
	       wbi_row_str_size(row->machine) +
	       wbi_row_str_size(row->content_type) +
	       wbi_row_str_size(row->data);
}

wb_code wbi_saga_put(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_saga_id *id, const wbi_saga_row *old,
		     const wbi_saga_row *row, wb_error *err)
{
	wbi_row_key key = wbi_saga_key(id);
	wbi_row_room room;
	wb_code code = wbi_row_room_init(&room, saga_size(row), err);

	if (code != WB_OK)
		return code;
	WB_ASSERT(row->status != 0 && row->name.len > 0);
	/* Before the index moves: strings may point into the old row. */
	saga_encode(row, wbi_row_key_str(&key), &room);
	code = index_move(txn, tables, id, old, row, err);
	if (code == WB_OK)
		code = wbi_put(txn, tables->sagas, wbi_row_key_str(&key),
			       wbi_row_room_str(&room), err);
	wbi_row_room_fini(&room);
	return code;
}

wb_code wbi_saga_decode(wb_str row_key, wb_str row, wbi_saga_row *ret,
			wb_error *err)
{
	wbi_saga_row s = {0};
	wbi_row_in in;
	wb_code code = wbi_row_open(&in, row_key, row, WBI_ROW_SAGA,
				    SAGA_VERSION, "a saga", err);

	if (code != WB_OK)
		return code;
	s.status = wbi_row_get_u8(&in);
	s.started_us = (int64_t)wbi_row_get_u64(&in);
	s.changed_us = (int64_t)wbi_row_get_u64(&in);
	s.since_us = (int64_t)wbi_row_get_u64(&in);
	s.deadline_us = (int64_t)wbi_row_get_u64(&in);
	s.entries = wbi_row_get_u64(&in);
	s.name = wbi_row_get_str(&in);
	s.step = wbi_row_get_str(&in);
	s.awaits = wbi_row_get_str(&in);
	s.from = wbi_row_get_str(&in);
	s.reason = wbi_row_get_str(&in);
	s.definition = wbi_row_get_str(&in);
	s.machine = wbi_row_get_str(&in);
	s.content_type = wbi_row_get_str(&in);
	s.data = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code != WB_OK)
		return code;
	if (s.status == 0 || s.status > WB_SAGA_ABANDONED || s.name.len == 0)
		return WBI_FAIL(err, WB_ECORRUPT, "a saga of status %u",
				s.status);
	*ret = s;
	return WB_OK;
}

wb_code wbi_saga_get(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_saga_id *id, wbi_saga_row *ret, wb_error *err)
{
	wbi_row_key key = wbi_saga_key(id);
	wb_str row;
	wb_code code =
		wbi_get(txn, tables->sagas, wbi_row_key_str(&key), &row, err);

	if (code != WB_OK)
		return code;
	return wbi_saga_decode(wbi_row_key_str(&key), row, ret, err);
}

/* ---- its end ------------------------------------------------------------- */

static wb_code log_del(MDB_txn *txn, wbi_table log, const wbi_saga_id *id,
		       wb_error *err)
{
	wbi_row_key prefix = wbi_saga_log_prefix(id);
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(txn, log, &cursor, err);

	while (code == WB_OK) {
		wb_str key = wbi_row_key_str(&prefix), row;

		code = wbi_cursor_move(cursor, WBI_SEEK, &key, &row, err);
		if (code == WB_OK &&
		    (key.len != prefix.len + 8u ||
		     memcmp(key.ptr, prefix.bytes, prefix.len) != 0))
			code = WB_ENOTFOUND;
		if (code == WB_OK)
			code = wbi_cursor_del(cursor, err);
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

wb_code wbi_saga_del(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_saga_id *id, wb_error *err)
{
	wbi_row_key key = wbi_saga_key(id);
	wbi_saga_row row;
	wb_code code = wbi_saga_get(txn, tables, id, &row, err);

	if (code == WB_OK)
		code = index_move(txn, tables, id, &row, NULL, err);
	if (code == WB_OK)
		code = wbi_del(txn, tables->sagas, wbi_row_key_str(&key), err);
	if (code == WB_OK)
		code = log_del(txn, tables->saga_log, id, err);
	return code;
}

wb_code wbi_saga_index_decode(wb_str row_key, wb_str row, uint8_t *ret_status,
			      int64_t *ret_since_us, wbi_saga_id *ret,
			      wb_error *err)
{
	wbi_row_in in;
	wb_code code =
		wbi_row_open(&in, row_key, row, WBI_ROW_SAGA_INDEX,
			     SAGA_VERSION, "a saga's place in the index", err);

	if (code == WB_OK)
		code = wbi_row_done(&in, err);
	if (code == WB_OK && row_key.len < 9)
		code = WBI_FAIL(err, WB_ECORRUPT,
				"a saga's place in the index: %zu bytes",
				row_key.len);
	if (code == WB_OK)
		code = wbi_saga_key_parse(
			wb_str_n(row_key.ptr + 9, row_key.len - 9), ret, err);
	if (code != WB_OK)
		return code;
	*ret_status = (uint8_t)row_key.ptr[0];
	*ret_since_us = (int64_t)wbi_get_be64((const uint8_t *)row_key.ptr + 1);
	return WB_OK;
}

/* ---- log ----------------------------------------------------------------- */

wbi_row_key wbi_saga_log_prefix(const wbi_saga_id *id)
{
	wbi_row_key key = {.len = 0}, saga = wbi_saga_key(id);

	/* The length first, so that no saga's key begins another's. */
	key_add_u8(&key, (uint8_t)saga.len);
	key_add(&key, wbi_row_key_str(&saga));
	return key;
}

wb_code wbi_saga_log_add(MDB_txn *txn, const wbi_store_tables *tables,
			 const wbi_saga_id *id, uint64_t number,
			 const wbi_saga_entry *entry, wb_error *err)
{
	wbi_row_key key = wbi_saga_log_prefix(id);
	size_t size =
		WBI_ROW_EXTRA + 8 + 2 + wbi_row_str_size(entry->step) +
		wbi_row_str_size(entry->in) + wbi_row_str_size(entry->in_id) +
		wbi_row_str_size(entry->what) + wbi_row_str_size(entry->out) +
		wbi_row_str_size(entry->who) + wbi_row_str_size(entry->why) +
		wbi_row_str_size(entry->text);
	wbi_row_room room;
	wbi_row_out out;
	wb_code code = wbi_row_room_init(&room, size, err);

	if (code != WB_OK)
		return code;
	key_add_be64(&key, number);
	wbi_row_begin(&out, room.bytes, size, WBI_ROW_SAGA_ENTRY, SAGA_VERSION);
	wbi_row_put_u64(&out, (uint64_t)entry->time_us);
	wbi_row_put_u8(&out, entry->before);
	wbi_row_put_u8(&out, entry->after);
	wbi_row_put_str(&out, entry->step);
	wbi_row_put_str(&out, entry->in);
	wbi_row_put_str(&out, entry->in_id);
	wbi_row_put_str(&out, entry->what);
	wbi_row_put_str(&out, entry->out);
	wbi_row_put_str(&out, entry->who);
	wbi_row_put_str(&out, entry->why);
	wbi_row_put_str(&out, entry->text);
	wbi_row_seal(&out, wbi_row_key_str(&key));
	code = wbi_put(txn, tables->saga_log, wbi_row_key_str(&key),
		       wbi_row_room_str(&room), err);
	wbi_row_room_fini(&room);
	return code;
}

wb_code wbi_saga_log_decode(wb_str row_key, wb_str row, uint64_t *ret_number,
			    wbi_saga_entry *ret, wb_error *err)
{
	wbi_saga_entry e = {0};
	wbi_row_in in;
	wb_code code =
		wbi_row_open(&in, row_key, row, WBI_ROW_SAGA_ENTRY,
			     SAGA_VERSION, "an entry of a saga's log", err);

	if (code != WB_OK)
		return code;
	e.time_us = (int64_t)wbi_row_get_u64(&in);
	e.before = wbi_row_get_u8(&in);
	e.after = wbi_row_get_u8(&in);
	e.step = wbi_row_get_str(&in);
	e.in = wbi_row_get_str(&in);
	e.in_id = wbi_row_get_str(&in);
	e.what = wbi_row_get_str(&in);
	e.out = wbi_row_get_str(&in);
	e.who = wbi_row_get_str(&in);
	e.why = wbi_row_get_str(&in);
	e.text = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK && row_key.len < 9)
		code = WBI_FAIL(err, WB_ECORRUPT,
				"an entry of a saga's log: a key of %zu bytes",
				row_key.len);
	if (code != WB_OK)
		return code;
	*ret_number =
		wbi_get_be64((const uint8_t *)row_key.ptr + row_key.len - 8);
	*ret = e;
	return WB_OK;
}

/* ---- definitions --------------------------------------------------------- */

wb_code wbi_saga_def_put(MDB_txn *txn, const wbi_store_tables *tables,
			 wb_str hash, wb_str definition, wb_error *err)
{
	size_t size = WBI_ROW_EXTRA + wbi_row_str_size(definition);
	wbi_row_room room;
	wbi_row_out out;
	wb_code code = wbi_row_room_init(&room, size, err);

	if (code != WB_OK)
		return code;
	WB_ASSERT(hash.len == WBI_SAGA_HASH_LEN);
	wbi_row_begin(&out, room.bytes, size, WBI_ROW_SAGA_DEF, SAGA_VERSION);
	wbi_row_put_str(&out, definition);
	wbi_row_seal(&out, hash);
	code = wbi_put(txn, tables->saga_defs, hash, wbi_row_room_str(&room),
		       err);
	wbi_row_room_fini(&room);
	return code;
}

wb_code wbi_saga_def_decode(wb_str row_key, wb_str row, wb_str *ret,
			    wb_error *err)
{
	wbi_row_in in;
	wb_str definition;
	wb_code code = wbi_row_open(&in, row_key, row, WBI_ROW_SAGA_DEF,
				    SAGA_VERSION, "a saga's definition", err);

	if (code != WB_OK)
		return code;
	definition = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = definition;
	return code;
}

wb_code wbi_saga_def_get(MDB_txn *txn, const wbi_store_tables *tables,
			 wb_str hash, wb_str *ret, wb_error *err)
{
	wb_str row;
	wb_code code = wbi_get(txn, tables->saga_defs, hash, &row, err);

	return code == WB_OK ? wbi_saga_def_decode(hash, row, ret, err) : code;
}
