/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows of `work` and `due` (inbox_rows.h): how they look, not what they mean;
 * the rules of groups are the inbox's. No state. What a crash leaves is what
 * the last commit left. Any thread, inside the caller's transaction.
 *
 * A key of `work` is a length and the consumer, the lane, a length and the
 * ordering key, the position in big-endian order. In one of `due` the time
 * stands behind the consumer, ordered likewise with its sign bit turned.
 */
#include "lib/journal/inbox_rows.h"

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/store/row.h"

enum { WORK_VERSION = 1, WORK_KEY_TEXT_MAX = 255, DUE_TIME = 8 };

_Static_assert(DUE_TIME + 1 + WBI_CONSUMER_NAME_MAX + 1 + 1 +
			       WORK_KEY_TEXT_MAX + 8 <=
		       511,
	       "LMDB's longest key");

/* ---- keys --------------------------------------------------------------- */

static bool work_is_lane(uint8_t lane)
{
	return lane == WBI_LANE_KEYED || lane == WBI_LANE_UNKEYED ||
	       lane == WBI_LANE_TIMER || lane == WBI_LANE_CRASHED;
}

wbi_row_key wbi_work_lane_prefix(wb_str consumer, uint8_t lane)
{
	wbi_row_key key;

	WB_ASSERT(consumer.len > 0 && consumer.len <= WBI_CONSUMER_NAME_MAX);
	WB_ASSERT(work_is_lane(lane));
	key.bytes[0] = (uint8_t)consumer.len;
	memcpy(key.bytes + 1, consumer.ptr, consumer.len);
	key.bytes[1 + consumer.len] = lane;
	key.len = (uint16_t)(2 + consumer.len);
	return key;
}

wbi_row_key wbi_work_group_prefix(const wbi_work_id *id)
{
	wbi_row_key key = wbi_work_lane_prefix(id->consumer, id->lane);

	WB_ASSERT(id->key.len <= WORK_KEY_TEXT_MAX);
	key.bytes[key.len++] = (uint8_t)id->key.len;
	if (id->key.len > 0)
		memcpy(key.bytes + key.len, id->key.ptr, id->key.len);
	key.len = (uint16_t)(key.len + id->key.len);
	return key;
}

wbi_row_key wbi_work_key(const wbi_work_id *id)
{
	wbi_row_key key = wbi_work_group_prefix(id);

	wbi_put_be64(key.bytes + key.len, id->position);
	key.len = (uint16_t)(key.len + 8);
	return key;
}

static wb_code work_bad_key(wb_str row_key, wb_error *err)
{
	return WBI_FAIL(err, WB_ECORRUPT,
			"a row's key of %zu bytes is no consumer, lane, key "
			"and position",
			row_key.len);
}

wb_code wbi_work_key_parse(wb_str row_key, wbi_work_id *ret, wb_error *err)
{
	const uint8_t *p = (const uint8_t *)row_key.ptr;
	size_t consumer, key;

	if (row_key.len < 1 + 1 + 1 + 1 + 8)
		return work_bad_key(row_key, err);
	consumer = p[0];
	if (consumer == 0 || consumer > WBI_CONSUMER_NAME_MAX ||
	    row_key.len < 1 + consumer + 1 + 1 + 8)
		return work_bad_key(row_key, err);
	key = p[1 + consumer + 1];
	if (row_key.len != 1 + consumer + 1 + 1 + key + 8 ||
	    !work_is_lane(p[1 + consumer]))
		return work_bad_key(row_key, err);
	ret->consumer = wb_str_n(p + 1, consumer);
	ret->lane = p[1 + consumer];
	ret->key = wb_str_n(p + 1 + consumer + 2, key);
	ret->position = wbi_get_be64(p + row_key.len - 8);
	return WB_OK;
}

/* ---- work --------------------------------------------------------------- */

wb_code wbi_work_put(MDB_txn *txn, wbi_table work, const wbi_work_id *id,
		     const wbi_work *row, wb_error *err)
{
	wbi_row_key key = wbi_work_key(id);
	wb_str k = wbi_row_key_str(&key);
	size_t size = WBI_ROW_EXTRA + 1 + 4 + 3 * 8 + 4 + 8 +
		      wbi_row_str_size(row->text) +
		      wbi_row_str_size(row->record);
	wbi_row_room room;
	wbi_row_out out;
	wb_code code = wbi_row_room_init(&room, size, err);

	if (code != WB_OK)
		return code;
	WB_ASSERT(row->state >= WBI_WORK_WAITING &&
		  row->state <= WBI_WORK_DEAD);
	wbi_row_begin(&out, room.bytes, size, WBI_ROW_WORK, WORK_VERSION);
	wbi_row_put_u8(&out, row->state);
	wbi_row_put_u32(&out, row->attempts);
	wbi_row_put_u64(&out, (uint64_t)row->due_us);
	wbi_row_put_u64(&out, (uint64_t)row->first_us);
	wbi_row_put_u64(&out, (uint64_t)row->last_us);
	wbi_row_put_u32(&out, row->code);
	wbi_row_put_u64(&out, row->dead);
	wbi_row_put_str(&out, row->text);
	wbi_row_put_str(&out, row->record);
	wbi_row_seal(&out, k);
	code = wbi_put(txn, work, k, wbi_row_room_str(&room), err);
	wbi_row_room_fini(&room);
	return code;
}

wb_code wbi_work_decode(wb_str row_key, wb_str row, wbi_work *ret,
			wb_error *err)
{
	wbi_work w = {0};
	wbi_row_in in;
	wb_code code;

	code = wbi_row_open(&in, row_key, row, WBI_ROW_WORK, WORK_VERSION,
			    "a row of work", err);
	if (code != WB_OK)
		return code;
	w.state = wbi_row_get_u8(&in);
	w.attempts = wbi_row_get_u32(&in);
	w.due_us = (int64_t)wbi_row_get_u64(&in);
	w.first_us = (int64_t)wbi_row_get_u64(&in);
	w.last_us = (int64_t)wbi_row_get_u64(&in);
	w.code = wbi_row_get_u32(&in);
	w.dead = wbi_row_get_u64(&in);
	w.text = wbi_row_get_str(&in);
	w.record = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code != WB_OK)
		return code;
	if (w.state < WBI_WORK_WAITING || w.state > WBI_WORK_DEAD)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a row of work: no state is %u", w.state);
	*ret = w;
	return WB_OK;
}

wb_code wbi_work_get(MDB_txn *txn, wbi_table work, const wbi_work_id *id,
		     wbi_work *ret, wb_error *err)
{
	wbi_row_key key = wbi_work_key(id);
	wb_str row;
	wb_code code = wbi_get(txn, work, wbi_row_key_str(&key), &row, err);

	if (code != WB_OK)
		return code;
	return wbi_work_decode(wbi_row_key_str(&key), row, ret, err);
}

wb_code wbi_work_del(MDB_txn *txn, wbi_table work, const wbi_work_id *id,
		     wb_error *err)
{
	wbi_row_key key = wbi_work_key(id);

	return wbi_del(txn, work, wbi_row_key_str(&key), err);
}

/* ---- due ---------------------------------------------------------------- */

wbi_row_key wbi_due_from(wb_str consumer, int64_t due_us)
{
	wbi_row_key key = wbi_work_lane_prefix(consumer, WBI_LANE_KEYED);

	key.len--; /* the lane comes later */
	wbi_put_be64(key.bytes + key.len, (uint64_t)due_us ^ UINT64_C(1) << 63);
	key.len += DUE_TIME;
	return key;
}

static wbi_row_key due_key(int64_t due_us, const wbi_work_id *id)
{
	wbi_row_key work = wbi_work_key(id);
	wbi_row_key key = wbi_due_from(id->consumer, due_us);
	size_t done = 1 + id->consumer.len;

	memcpy(key.bytes + key.len, work.bytes + done, work.len - done);
	key.len = (uint16_t)(DUE_TIME + work.len);
	return key;
}

wb_code wbi_due_put(MDB_txn *txn, wbi_table due, int64_t due_us,
		    const wbi_work_id *id, wb_error *err)
{
	wbi_row_key key = due_key(due_us, id);
	uint8_t bytes[WBI_ROW_EXTRA];
	wbi_row_out out;

	wbi_row_begin(&out, bytes, sizeof(bytes), WBI_ROW_DUE, WORK_VERSION);
	wbi_row_seal(&out, wbi_row_key_str(&key));
	return wbi_put(txn, due, wbi_row_key_str(&key),
		       wb_str_n(bytes, sizeof(bytes)), err);
}

wb_code wbi_due_del(MDB_txn *txn, wbi_table due, int64_t due_us,
		    const wbi_work_id *id, wb_error *err)
{
	wbi_row_key key = due_key(due_us, id);

	return wbi_del(txn, due, wbi_row_key_str(&key), err);
}

/* The key of `work` that is in one of `due`, so that its parts are found; the
 * strings are then those of `row_key`. */
wb_code wbi_due_key_parse(wb_str row_key, int64_t *ret_due_us, wbi_work_id *ret,
			  wb_error *err)
{
	size_t consumer = row_key.len > 0 ? (uint8_t)row_key.ptr[0] : 0;
	size_t front = 1 + consumer;
	wbi_row_key work;
	wb_code code;

	if (row_key.len < front + DUE_TIME ||
	    row_key.len - DUE_TIME > sizeof(work.bytes))
		return work_bad_key(row_key, err);
	work.len = (uint16_t)(row_key.len - DUE_TIME);
	memcpy(work.bytes, row_key.ptr, front);
	memcpy(work.bytes + front, row_key.ptr + front + DUE_TIME,
	       work.len - front);
	code = wbi_work_key_parse(wbi_row_key_str(&work), ret, err);
	if (code != WB_OK)
		return code;
	ret->consumer.ptr = row_key.ptr + 1;
	ret->key.ptr = row_key.ptr + front + DUE_TIME + 2;
	*ret_due_us =
		(int64_t)(wbi_get_be64((const uint8_t *)row_key.ptr + front) ^
			  UINT64_C(1) << 63);
	return WB_OK;
}

wb_code wbi_due_check(MDB_txn *txn, wbi_table due, int64_t due_us,
		      const wbi_work_id *id, wb_error *err)
{
	wbi_row_key key = due_key(due_us, id);
	wb_str row;

	return wbi_get(txn, due, wbi_row_key_str(&key), &row, err);
}

wb_code wbi_due_decode(wb_str row_key, wb_str row, int64_t *ret_due_us,
		       wbi_work_id *ret, wb_error *err)
{
	wbi_row_in in;
	wb_code code;

	code = wbi_row_open(&in, row_key, row, WBI_ROW_DUE, WORK_VERSION,
			    "a row of due", err);
	if (code == WB_OK)
		code = wbi_row_done(&in, err);
	if (code != WB_OK)
		return code;
	return wbi_due_key_parse(row_key, ret_due_us, ret, err);
}
