/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows of barriers and of when they may be forgotten (saga_rows.h). No state.
 * Any thread, inside the caller's transaction.
 */
#include <waybill/choreography.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/journal/saga_rows.h"
#include "lib/store/row.h"

enum { BARRIER_VERSION = 1 };

static void key_text(wbi_row_key *key, wb_str text)
{
	WB_ASSERT(text.len <= 255 &&
		  key->len + 1 + text.len <= sizeof(key->bytes));
	key->bytes[key->len++] = (uint8_t)text.len;
	if (text.len > 0)
		memcpy(key->bytes + key->len, text.ptr, text.len);
	key->len = (uint16_t)(key->len + text.len);
}

wbi_row_key wbi_barrier_saga_prefix(wb_str saga)
{
	wbi_row_key key = {.len = 0};

	WB_ASSERT(saga.len > 0 && saga.len <= WBI_SAGA_ID_MAX);
	key_text(&key, saga);
	return key;
}

wbi_row_key wbi_barrier_key(const wbi_barrier_id *id)
{
	wbi_row_key key = wbi_barrier_saga_prefix(id->saga);

	WB_ASSERT(id->step.len > 0 && id->step.len <= WBI_BARRIER_STEP_MAX);
	WB_ASSERT(id->op == WBI_BARRIER_DO || id->op == WBI_BARRIER_UNDO);
	key_text(&key, id->step);
	key.bytes[key.len++] = id->op;
	return key;
}

/* A text behind its length; false if it is not all there. */
static bool key_take(wb_str *rest, wb_str *ret)
{
	size_t len;

	if (rest->len == 0)
		return false;
	len = (uint8_t)rest->ptr[0];
	if (len == 0 || rest->len < 1 + len)
		return false;
	*ret = wb_str_n(rest->ptr + 1, len);
	*rest = wb_str_n(rest->ptr + 1 + len, rest->len - 1 - len);
	return true;
}

wb_code wbi_barrier_key_parse(wb_str row_key, wbi_barrier_id *ret,
			      wb_error *err)
{
	wb_str rest = row_key;
	wbi_barrier_id id = {0};

	if (key_take(&rest, &id.saga) && key_take(&rest, &id.step) &&
	    rest.len == 1)
		id.op = (uint8_t)rest.ptr[0];
	if ((id.op != WBI_BARRIER_DO && id.op != WBI_BARRIER_UNDO) ||
	    id.saga.len > WBI_SAGA_ID_MAX || id.step.len > WBI_BARRIER_STEP_MAX)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a barrier's key of %zu bytes is not one",
				row_key.len);
	*ret = id;
	return WB_OK;
}

wb_code wbi_barrier_put(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_barrier_id *id, const wbi_barrier *row,
			wb_error *err)
{
	wbi_row_key key = wbi_barrier_key(id);
	size_t size =
		WBI_ROW_EXTRA + 2 + 4 + 8 + 8 + wbi_row_str_size(row->undo) +
		wbi_row_str_size(row->reply_type) +
		wbi_row_str_size(row->reply_content_type) +
		wbi_row_str_size(row->reply) + wbi_row_str_size(row->reply_to) +
		wbi_row_str_size(row->text);
	wbi_row_room room;
	wbi_row_out out;
	wb_code code = wbi_row_room_init(&room, size, err);

	if (code != WB_OK)
		return code;
	WB_ASSERT(row->state > WB_STEP_NONE && row->state <= WB_STEP_UNDONE);
	wbi_row_begin(&out, room.bytes, size, WBI_ROW_BARRIER, BARRIER_VERSION);
	wbi_row_put_u8(&out, row->state);
	wbi_row_put_u8(&out, row->tombstone);
	wbi_row_put_u32(&out, row->epoch);
	wbi_row_put_u64(&out, (uint64_t)row->first_us);
	wbi_row_put_u64(&out, (uint64_t)row->last_us);
	wbi_row_put_str(&out, row->undo);
	wbi_row_put_str(&out, row->reply_type);
	wbi_row_put_str(&out, row->reply_content_type);
	wbi_row_put_str(&out, row->reply);
	wbi_row_put_str(&out, row->reply_to);
	wbi_row_put_str(&out, row->text);
	wbi_row_seal(&out, wbi_row_key_str(&key));
	code = wbi_put(txn, tables->barriers, wbi_row_key_str(&key),
		       wbi_row_room_str(&room), err);
	wbi_row_room_fini(&room);
	return code;
}

wb_code wbi_barrier_decode(wb_str row_key, wb_str row, wbi_barrier *ret,
			   wb_error *err)
{
	wbi_barrier b = {0};
	wbi_row_in in;
	wb_code code = wbi_row_open(&in, row_key, row, WBI_ROW_BARRIER,
				    BARRIER_VERSION, "a barrier", err);

	if (code != WB_OK)
		return code;
	b.state = wbi_row_get_u8(&in);
	b.tombstone = wbi_row_get_u8(&in) != 0;
	b.epoch = wbi_row_get_u32(&in);
	b.first_us = (int64_t)wbi_row_get_u64(&in);
	b.last_us = (int64_t)wbi_row_get_u64(&in);
	b.undo = wbi_row_get_str(&in);
	b.reply_type = wbi_row_get_str(&in);
	b.reply_content_type = wbi_row_get_str(&in);
	b.reply = wbi_row_get_str(&in);
	b.reply_to = wbi_row_get_str(&in);
	b.text = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code != WB_OK)
		return code;
	if (b.state == WB_STEP_NONE || b.state > WB_STEP_UNDONE)
		return WBI_FAIL(err, WB_ECORRUPT, "a barrier of state %u",
				b.state);
	*ret = b;
	return WB_OK;
}

wb_code wbi_barrier_get(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_barrier_id *id, wbi_barrier *ret,
			wb_error *err)
{
	wbi_row_key key = wbi_barrier_key(id);
	wb_str row;
	wb_code code = wbi_get(txn, tables->barriers, wbi_row_key_str(&key),
			       &row, err);

	if (code != WB_OK)
		return code;
	return wbi_barrier_decode(wbi_row_key_str(&key), row, ret, err);
}

wb_code wbi_barrier_del(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_barrier_id *id, wb_error *err)
{
	wbi_row_key key = wbi_barrier_key(id);

	return wbi_del(txn, tables->barriers, wbi_row_key_str(&key), err);
}

/* ---- expiry -------------------------------------------------------------- */

static wbi_row_key expiry_key(const wbi_expiry *expiry)
{
	wbi_row_key key = {.len = 9};

	WB_ASSERT(expiry->what == 'b' || expiry->what == 's');
	WB_ASSERT(expiry->key.len > 0 &&
		  9 + expiry->key.len <= sizeof(key.bytes));
	wbi_put_be64(key.bytes,
		     expiry->at_us > 0 ? (uint64_t)expiry->at_us : 0);
	key.bytes[8] = expiry->what;
	memcpy(key.bytes + 9, expiry->key.ptr, expiry->key.len);
	key.len = (uint16_t)(9 + expiry->key.len);
	return key;
}

wb_code wbi_expiry_put(MDB_txn *txn, const wbi_store_tables *tables,
		       const wbi_expiry *expiry, wb_error *err)
{
	wbi_row_key key = expiry_key(expiry);
	uint8_t bytes[WBI_ROW_EXTRA];
	wbi_row_out out;

	wbi_row_begin(&out, bytes, sizeof(bytes), WBI_ROW_EXPIRY,
		      BARRIER_VERSION);
	wbi_row_seal(&out, wbi_row_key_str(&key));
	return wbi_put(txn, tables->saga_expiry, wbi_row_key_str(&key),
		       wb_str_n(bytes, sizeof(bytes)), err);
}

wb_code wbi_expiry_del(MDB_txn *txn, const wbi_store_tables *tables,
		       const wbi_expiry *expiry, wb_error *err)
{
	wbi_row_key key = expiry_key(expiry);

	return wbi_del(txn, tables->saga_expiry, wbi_row_key_str(&key), err);
}

wb_code wbi_expiry_decode(wb_str row_key, wb_str row, wbi_expiry *ret,
			  wb_error *err)
{
	wbi_row_in in;
	wb_code code = wbi_row_open(&in, row_key, row, WBI_ROW_EXPIRY,
				    BARRIER_VERSION, "an expiry", err);

	if (code == WB_OK)
		code = wbi_row_done(&in, err);
	if (code != WB_OK)
		return code;
	if (row_key.len < 10 ||
	    (row_key.ptr[8] != 'b' && row_key.ptr[8] != 's'))
		return WBI_FAIL(err, WB_ECORRUPT,
				"an expiry's key of %zu bytes is not one",
				row_key.len);
	ret->at_us = (int64_t)wbi_get_be64((const uint8_t *)row_key.ptr);
	ret->what = (uint8_t)row_key.ptr[8];
	ret->key = wb_str_n(row_key.ptr + 9, row_key.len - 9);
	return WB_OK;
}

wb_code wbi_expiry_first(MDB_txn *txn, const wbi_store_tables *tables,
			 int64_t now_us, wbi_row_key *ret_key, wbi_expiry *ret,
			 wb_error *err)
{
	wb_str key = WB_STR_NULL, row;
	wbi_expiry expiry;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(txn, tables->saga_expiry, &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move(cursor, WBI_FIRST, &key, &row, err);
	if (code == WB_OK)
		code = wbi_expiry_decode(key, row, &expiry, err);
	if (code == WB_OK && expiry.at_us > now_us)
		code = WB_ENOTFOUND;
	if (code == WB_OK) {
		ret_key->len = (uint16_t)expiry.key.len;
		memcpy(ret_key->bytes, expiry.key.ptr, expiry.key.len);
		expiry.key = wbi_row_key_str(ret_key);
		*ret = expiry;
	}
	wbi_cursor_close(cursor);
	return code;
}
