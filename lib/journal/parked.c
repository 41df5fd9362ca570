/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of the relay's environment: encoded straight into the map
 * (MDB_RESERVE), decoded in place. No state, no allocation. What a crash
 * leaves is what the relay's last commit left: each row whole or not there.
 */
#include "lib/journal/parked.h"

#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/store/row.h"

enum { PARKED_VERSION = 1, AUDIT_VERSION = 2 /* handler and number */ };

static const char count_prefix[] = "count/";

const char *wbi_park_reason_name(uint8_t reason)
{
	static const char *const names[] = {"unknown",  "unroutable",
					    "oversize", "encoding",
					    "refused",  "follower",
					    "corrupt",  "rerouted"};

	return names[reason < WBI_COUNT(names) ? reason : 0];
}

const char *wbi_parked_state_name(uint8_t state)
{
	static const char *const names[] = {"parked", "released", "discarded",
					    "unknown"};

	return names[state < WBI_COUNT(names) ? state : WBI_COUNT(names) - 1];
}

/* ---- keys of rows ------------------------------------------------------- */

wbi_parked_row_key wbi_parked_row_prefix_of(wb_str key)
{
	wbi_parked_row_key ret;

	WB_ASSERT(key.len <= 255);
	ret.bytes[0] = (char)key.len;
	if (key.len > 0)
		memcpy(ret.bytes + 1, key.ptr, key.len);
	ret.len = 1 + key.len;
	return ret;
}

wbi_parked_row_key wbi_parked_row_key_of(wb_str key, uint64_t position)
{
	wbi_parked_row_key ret = wbi_parked_row_prefix_of(key);

	wbi_put_be64((uint8_t *)ret.bytes + ret.len, position);
	ret.len += 8;
	return ret;
}

static wb_str parked_str(const wbi_parked_row_key *key)
{
	return wb_str_n(key->bytes, key->len);
}

static wb_code parked_prefix_parse(wb_str row_key, size_t behind,
				   wb_str *ret_key, wb_error *err)
{
	size_t len = row_key.len > 0 ? (uint8_t)row_key.ptr[0] : 0;

	if (row_key.len != 1 + len + behind)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a row's key of %zu bytes has the wrong length",
				row_key.len);
	*ret_key = wb_str_n(row_key.ptr + 1, len);
	return WB_OK;
}

wb_code wbi_parked_row_key_parse(wb_str row_key, wb_str *ret_key,
				 uint64_t *ret_position, wb_error *err)
{
	wb_str key;
	wb_code code = parked_prefix_parse(row_key, 8, &key, err);

	if (code != WB_OK)
		return code;
	*ret_position = wbi_get_be64((const uint8_t *)key.ptr + key.len);
	*ret_key = key;
	return WB_OK;
}

/* ---- relay.parked ------------------------------------------------------- */

wb_code wbi_parked_put(MDB_txn *txn, wbi_table parked, wb_str key,
		       uint64_t position, const wbi_parked *row, wb_error *err)
{
	wbi_parked_row_key k = wbi_parked_row_key_of(key, position);
	size_t size = WBI_ROW_EXTRA + 1 + 1 + 2 + 4 + 8 + 8 +
		      wbi_row_str_size(row->exchange) +
		      wbi_row_str_size(row->routing_key) +
		      wbi_row_str_size(row->text) +
		      wbi_row_str_size(row->record);
	wbi_row_out out;
	uint8_t *bytes;
	wb_code code;

	code = wbi_reserve(txn, parked, parked_str(&k), size, &bytes, err);
	if (code != WB_OK)
		return code;
	wbi_row_begin(&out, bytes, size, WBI_ROW_PARKED, PARKED_VERSION);
	wbi_row_put_u8(&out, row->state);
	wbi_row_put_u8(&out, row->reason);
	wbi_row_put_u16(&out, row->reply_code);
	wbi_row_put_u32(&out, row->attempts);
	wbi_row_put_u64(&out, (uint64_t)row->first_us);
	wbi_row_put_u64(&out, (uint64_t)row->last_us);
	wbi_row_put_str(&out, row->exchange);
	wbi_row_put_str(&out, row->routing_key);
	wbi_row_put_str(&out, row->text);
	wbi_row_put_str(&out, row->record);
	wbi_row_seal(&out, parked_str(&k));
	return WB_OK;
}

wb_code wbi_parked_decode(wb_str row_key, wb_str row, wbi_parked *ret,
			  wb_error *err)
{
	wbi_parked p = {0};
	wbi_row_in in;
	wb_code code;

	code = wbi_row_open(&in, row_key, row, WBI_ROW_PARKED, PARKED_VERSION,
			    "a parked event", err);
	if (code != WB_OK)
		return code;
	p.state = wbi_row_get_u8(&in);
	p.reason = wbi_row_get_u8(&in);
	p.reply_code = wbi_row_get_u16(&in);
	p.attempts = wbi_row_get_u32(&in);
	p.first_us = (int64_t)wbi_row_get_u64(&in);
	p.last_us = (int64_t)wbi_row_get_u64(&in);
	p.exchange = wbi_row_get_str(&in);
	p.routing_key = wbi_row_get_str(&in);
	p.text = wbi_row_get_str(&in);
	p.record = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = p;
	return code;
}

wb_code wbi_parked_get(MDB_txn *txn, wbi_table parked, wb_str key,
		       uint64_t position, wbi_parked *ret, wb_error *err)
{
	wbi_parked_row_key k = wbi_parked_row_key_of(key, position);
	wb_str row;
	wb_code code = wbi_get(txn, parked, parked_str(&k), &row, err);

	if (code != WB_OK)
		return code;
	return wbi_parked_decode(parked_str(&k), row, ret, err);
}

wb_code wbi_parked_del(MDB_txn *txn, wbi_table parked, wb_str key,
		       uint64_t position, wb_error *err)
{
	wbi_parked_row_key k = wbi_parked_row_key_of(key, position);

	return wbi_del(txn, parked, parked_str(&k), err);
}

wb_code wbi_parked_first(MDB_txn *txn, wbi_table parked, wb_str key,
			 uint64_t *ret, wb_error *err)
{
	wbi_parked_row_key from = wbi_parked_row_key_of(key, 0);
	wb_str at = parked_str(&from), found, row;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(txn, parked, &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move(cursor, WBI_SEEK, &at, &row, err);
	if (code == WB_OK)
		code = wbi_parked_row_key_parse(at, &found, ret, err);
	if (code == WB_OK && !wb_str_eq(found, key))
		code = WB_ENOTFOUND;
	wbi_cursor_close(cursor);
	return code;
}

/* ---- relay.keys --------------------------------------------------------- */

wb_code wbi_parked_key_put(MDB_txn *txn, wbi_table keys, wb_str key,
			   const wbi_parked_key *row, wb_error *err)
{
	wbi_parked_row_key k = wbi_parked_row_prefix_of(key);
	uint8_t bytes[WBI_ROW_EXTRA + 1 + 4 * 8];
	wbi_row_out out;

	wbi_row_begin(&out, bytes, sizeof(bytes), WBI_ROW_PARKED_KEY,
		      PARKED_VERSION);
	wbi_row_put_u8(&out, row->state);
	wbi_row_put_u64(&out, row->count);
	wbi_row_put_u64(&out, row->bytes);
	wbi_row_put_u64(&out, row->first_position);
	wbi_row_put_u64(&out, (uint64_t)row->since_us);
	wbi_row_seal(&out, parked_str(&k));
	return wbi_put(txn, keys, parked_str(&k),
		       wb_str_n(bytes, sizeof(bytes)), err);
}

wb_code wbi_parked_key_decode(wb_str row_key, wb_str row, wb_str *ret_key,
			      wbi_parked_key *ret, wb_error *err)
{
	wbi_parked_key p = {0};
	wbi_row_in in;
	wb_str key;
	wb_code code;

	code = parked_prefix_parse(row_key, 0, &key, err);
	if (code == WB_OK)
		code = wbi_row_open(&in, row_key, row, WBI_ROW_PARKED_KEY,
				    PARKED_VERSION, "a parked key", err);
	if (code != WB_OK)
		return code;
	p.state = wbi_row_get_u8(&in);
	p.count = wbi_row_get_u64(&in);
	p.bytes = wbi_row_get_u64(&in);
	p.first_position = wbi_row_get_u64(&in);
	p.since_us = (int64_t)wbi_row_get_u64(&in);
	code = wbi_row_done(&in, err);
	if (code != WB_OK)
		return code;
	*ret = p;
	*ret_key = key;
	return WB_OK;
}

wb_code wbi_parked_key_get(MDB_txn *txn, wbi_table keys, wb_str key,
			   wbi_parked_key *ret, wb_error *err)
{
	wbi_parked_row_key k = wbi_parked_row_prefix_of(key);
	wb_str row;
	wb_code code = wbi_get(txn, keys, parked_str(&k), &row, err);

	if (code != WB_OK)
		return code;
	return wbi_parked_key_decode(parked_str(&k), row, &key, ret, err);
}

wb_code wbi_parked_key_del(MDB_txn *txn, wbi_table keys, wb_str key,
			   wb_error *err)
{
	wbi_parked_row_key k = wbi_parked_row_prefix_of(key);

	return wbi_del(txn, keys, parked_str(&k), err);
}

/* ---- relay.held --------------------------------------------------------- */

wb_code wbi_held_put(MDB_txn *txn, wbi_table held, wb_str exchange,
		     const wbi_held *row, wb_error *err)
{
	wbi_parked_row_key k = wbi_parked_row_prefix_of(exchange);
	size_t size = WBI_ROW_EXTRA + 8 + 8 + wbi_row_str_size(row->text) +
		      wbi_row_str_size(row->routes);
	wbi_row_out out;
	uint8_t *bytes;
	wb_code code;

	code = wbi_reserve(txn, held, parked_str(&k), size, &bytes, err);
	if (code != WB_OK)
		return code;
	wbi_row_begin(&out, bytes, size, WBI_ROW_HELD, PARKED_VERSION);
	wbi_row_put_u64(&out, row->first_position);
	wbi_row_put_u64(&out, (uint64_t)row->since_us);
	wbi_row_put_str(&out, row->text);
	wbi_row_put_str(&out, row->routes);
	wbi_row_seal(&out, parked_str(&k));
	return WB_OK;
}

wb_code wbi_held_decode(wb_str row_key, wb_str row, wb_str *ret_exchange,
			wbi_held *ret, wb_error *err)
{
	wbi_held h = {0};
	wbi_row_in in;
	wb_str exchange;
	wb_code code;

	code = parked_prefix_parse(row_key, 0, &exchange, err);
	if (code == WB_OK)
		code = wbi_row_open(&in, row_key, row, WBI_ROW_HELD,
				    PARKED_VERSION, "a held exchange", err);
	if (code != WB_OK)
		return code;
	h.first_position = wbi_row_get_u64(&in);
	h.since_us = (int64_t)wbi_row_get_u64(&in);
	h.text = wbi_row_get_str(&in);
	h.routes = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code != WB_OK)
		return code;
	*ret = h;
	*ret_exchange = exchange;
	return WB_OK;
}

wb_code wbi_held_get(MDB_txn *txn, wbi_table held, wb_str exchange,
		     wbi_held *ret, wb_error *err)
{
	wbi_parked_row_key k = wbi_parked_row_prefix_of(exchange);
	wb_str row;
	wb_code code = wbi_get(txn, held, parked_str(&k), &row, err);

	if (code != WB_OK)
		return code;
	return wbi_held_decode(parked_str(&k), row, &exchange, ret, err);
}

wb_code wbi_held_del(MDB_txn *txn, wbi_table held, wb_str exchange,
		     wb_error *err)
{
	wbi_parked_row_key k = wbi_parked_row_prefix_of(exchange);

	return wbi_del(txn, held, parked_str(&k), err);
}

/* ---- relay.audit -------------------------------------------------------- */

wb_code wbi_audit_add(MDB_txn *txn, wbi_table audit, const wbi_audit *row,
		      uint64_t *ret_number, wb_error *err)
{
	size_t size = WBI_ROW_EXTRA + 8 + 8 + wbi_row_str_size(row->who) +
		      wbi_row_str_size(row->what) + wbi_row_str_size(row->why) +
		      wbi_row_str_size(row->key) + wbi_row_str_size(row->id);
	bool inbox = row->handler.len > 0 || row->number > 0;
	wbi_row_out out;
	uint64_t number;
	uint8_t *bytes;
	wb_code code;

	code = wbi_last_at(txn, audit, &number, err);
	if (code != WB_OK)
		return code;
	number++;
	if (inbox)
		size += wbi_row_str_size(row->handler) + 8;
	code = wbi_append_at(txn, audit, number, size, &bytes, err);
	if (code != WB_OK)
		return code;
	wbi_row_begin(&out, bytes, size, WBI_ROW_AUDIT,
		      inbox ? AUDIT_VERSION : PARKED_VERSION);
	wbi_row_put_u64(&out, (uint64_t)row->time_us);
	wbi_row_put_u64(&out, row->position);
	wbi_row_put_str(&out, row->who);
	wbi_row_put_str(&out, row->what);
	wbi_row_put_str(&out, row->why);
	wbi_row_put_str(&out, row->key);
	wbi_row_put_str(&out, row->id);
	if (inbox) {
		wbi_row_put_str(&out, row->handler);
		wbi_row_put_u64(&out, row->number);
	}
	wbi_row_seal(&out, wb_str_n(&number, sizeof(number)));
	if (ret_number)
		*ret_number = number;
	return WB_OK;
}

wb_code wbi_audit_decode(uint64_t number, wb_str row, wbi_audit *ret,
			 wb_error *err)
{
	wbi_audit a = {0};
	wbi_row_in in;
	wb_code code;

	code = wbi_row_open(&in, wb_str_n(&number, sizeof(number)), row,
			    WBI_ROW_AUDIT, AUDIT_VERSION, "an audit row", err);
	if (code != WB_OK)
		return code;
	a.time_us = (int64_t)wbi_row_get_u64(&in);
	a.position = wbi_row_get_u64(&in);
	a.who = wbi_row_get_str(&in);
	a.what = wbi_row_get_str(&in);
	a.why = wbi_row_get_str(&in);
	a.key = wbi_row_get_str(&in);
	a.id = wbi_row_get_str(&in);
	if ((uint8_t)row.ptr[1] >= AUDIT_VERSION) {
		a.handler = wbi_row_get_str(&in);
		a.number = wbi_row_get_u64(&in);
	}
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = a;
	return code;
}

/* ---- relay.status ------------------------------------------------------- */

static wb_str parked_status_key(void)
{
	return wb_str_from("status");
}

wb_code wbi_relay_status_put(MDB_txn *txn, wbi_table status,
			     const wbi_relay_status *row, wb_error *err)
{
	size_t size = WBI_ROW_EXTRA + 4 + 1 + 8 + 8 + 8 * WBI_STATUS_COUNTERS +
		      wbi_row_str_size(row->connected) +
		      wbi_row_str_size(row->blocked) +
		      wbi_row_str_size(row->error);
	wbi_row_out out;
	uint8_t *bytes;
	wb_code code;

	code = wbi_reserve(txn, status, parked_status_key(), size, &bytes, err);
	if (code != WB_OK)
		return code;
	wbi_row_begin(&out, bytes, size, WBI_ROW_STATUS, PARKED_VERSION);
	wbi_row_put_u32(&out, row->pid);
	wbi_row_put_u8(&out, row->state);
	wbi_row_put_u64(&out, (uint64_t)row->since_us);
	wbi_row_put_u64(&out, (uint64_t)row->updated_us);
	for (size_t i = 0; i < WBI_STATUS_COUNTERS; i++)
		wbi_row_put_u64(&out, row->counters[i]);
	wbi_row_put_str(&out, row->connected);
	wbi_row_put_str(&out, row->blocked);
	wbi_row_put_str(&out, row->error);
	wbi_row_seal(&out, parked_status_key());
	return WB_OK;
}

static wb_code parked_status_decode(wb_str row, wbi_relay_status *ret,
				    wb_error *err)
{
	wbi_relay_status s = {0};
	wbi_row_in in;
	wb_code code;

	code = wbi_row_open(&in, parked_status_key(), row, WBI_ROW_STATUS,
			    PARKED_VERSION, "the relay's status", err);
	if (code != WB_OK)
		return code;
	s.pid = wbi_row_get_u32(&in);
	s.state = wbi_row_get_u8(&in);
	s.since_us = (int64_t)wbi_row_get_u64(&in);
	s.updated_us = (int64_t)wbi_row_get_u64(&in);
	for (size_t i = 0; i < WBI_STATUS_COUNTERS; i++)
		s.counters[i] = wbi_row_get_u64(&in);
	s.connected = wbi_row_get_str(&in);
	s.blocked = wbi_row_get_str(&in);
	s.error = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = s;
	return code;
}

wb_code wbi_relay_status_get(MDB_txn *txn, wbi_table status,
			     wbi_relay_status *ret, wb_error *err)
{
	wb_str row;
	wb_code code = wbi_get(txn, status, parked_status_key(), &row, err);

	return code == WB_OK ? parked_status_decode(row, ret, err) : code;
}

enum { COUNT_KEY_MAX = sizeof(count_prefix) - 1 + WBI_COUNT_NAME_MAX };

static wb_str parked_count_key(wb_str name, char buf[COUNT_KEY_MAX])
{
	size_t prefix = sizeof(count_prefix) - 1;

	WB_ASSERT(name.len > 0 && name.len <= WBI_COUNT_NAME_MAX);
	memcpy(buf, count_prefix, prefix);
	memcpy(buf + prefix, name.ptr, name.len);
	return wb_str_n(buf, prefix + name.len);
}

wb_code wbi_count_decode(wb_str row_key, wb_str row, wb_str *ret_name,
			 uint64_t *ret, wb_error *err)
{
	size_t prefix = sizeof(count_prefix) - 1;
	uint64_t count;
	wbi_row_in in;
	wb_code code;

	if (row_key.len <= prefix ||
	    memcmp(row_key.ptr, count_prefix, prefix) != 0)
		return WB_ENOTFOUND;
	code = wbi_row_open(&in, row_key, row, WBI_ROW_COUNT, PARKED_VERSION,
			    "a count", err);
	if (code != WB_OK)
		return code;
	count = wbi_row_get_u64(&in);
	code = wbi_row_done(&in, err);
	if (code != WB_OK)
		return code;
	*ret = count;
	*ret_name = wb_str_n(row_key.ptr + prefix, row_key.len - prefix);
	return WB_OK;
}

wb_code wbi_count_get(MDB_txn *txn, wbi_table status, wb_str name,
		      uint64_t *ret, wb_error *err)
{
	char buf[COUNT_KEY_MAX];
	wb_str key = parked_count_key(name, buf), row;
	wb_code code = wbi_get(txn, status, key, &row, err);

	if (code == WB_ENOTFOUND) {
		*ret = 0;
		return WB_OK;
	}
	if (code != WB_OK)
		return code;
	return wbi_count_decode(key, row, &name, ret, err);
}

wb_code wbi_count_add(MDB_txn *txn, wbi_table status, wb_str name,
		      uint64_t more, wb_error *err)
{
	uint8_t bytes[WBI_ROW_EXTRA + 8];
	char buf[COUNT_KEY_MAX];
	wb_str key = parked_count_key(name, buf);
	wbi_row_out out;
	uint64_t count;
	wb_code code = wbi_count_get(txn, status, name, &count, err);

	if (code != WB_OK)
		return code;
	wbi_row_begin(&out, bytes, sizeof(bytes), WBI_ROW_COUNT,
		      PARKED_VERSION);
	wbi_row_put_u64(&out, count + more);
	wbi_row_seal(&out, key);
	return wbi_put(txn, status, key, wb_str_n(bytes, sizeof(bytes)), err);
}

wb_code wbi_count_check(wb_str row_key, wb_str row, wb_error *err)
{
	uint64_t count;
	wb_str name;
	wb_code code = wbi_count_decode(row_key, row, &name, &count, err);

	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT, "a row of unknown name");
	return code;
}

wb_code wbi_status_row_check(wb_str row_key, wb_str row, wb_error *err)
{
	wbi_relay_status status;

	if (wb_str_eq(row_key, parked_status_key()))
		return parked_status_decode(row, &status, err);
	return wbi_count_check(row_key, row, err);
}
