/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows of consumers, dead letters and the worker's status (inbox_rows.h); those
 * of `work` and `due` are in work_rows.c. No state.
 * What a crash leaves is what the last commit left: each row whole or not
 * there. Any thread, inside the caller's transaction.
 */
#include "lib/journal/inbox_rows.h"

#include <inttypes.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/journal/parked.h"
#include "lib/store/row.h"

enum { INBOX_VERSION = 1 };

/* ---- consumers ---------------------------------------------------------- */

static wbi_row_key consumer_key(char journal, wb_str name)
{
	wbi_row_key key;

	WB_ASSERT(journal == 'i' || journal == 'o');
	WB_ASSERT(name.len > 0 && name.len <= WBI_CONSUMER_NAME_MAX);
	key.bytes[0] = (uint8_t)journal;
	memcpy(key.bytes + 1, name.ptr, name.len);
	key.len = (uint16_t)(1 + name.len);
	return key;
}

wb_code wbi_consumer_put(MDB_txn *txn, wbi_table consumers, char journal,
			 wb_str name, const wbi_consumer *row, wb_error *err)
{
	wbi_row_key key = consumer_key(journal, name);
	wb_str k = wbi_row_key_str(&key), origin = wb_str_from(row->origin);
	size_t size = WBI_ROW_EXTRA + 1 + 9 * 8 + wbi_row_str_size(origin) +
		      wbi_row_str_size(row->error);
	wbi_row_room room;
	wbi_row_out out;
	wb_code code = wbi_row_room_init(&room, size, err);

	if (code != WB_OK)
		return code;
	WB_ASSERT(origin.len == WBI_ORIGIN_LEN);
	wbi_row_begin(&out, room.bytes, size, WBI_ROW_CONSUMER, INBOX_VERSION);
	wbi_row_put_u8(&out, row->kind);
	wbi_row_put_str(&out, origin);
	wbi_row_put_u64(&out, row->position);
	wbi_row_put_u64(&out, (uint64_t)row->created_us);
	wbi_row_put_u64(&out, (uint64_t)row->updated_us);
	wbi_row_put_u64(&out, row->handled);
	wbi_row_put_u64(&out, row->retries);
	wbi_row_put_u64(&out, row->dead);
	wbi_row_put_u64(&out, row->emitted);
	wbi_row_put_u64(&out, row->waiting);
	wbi_row_put_u64(&out, row->timers);
	wbi_row_put_str(&out, row->error);
	wbi_row_seal(&out, k);
	code = wbi_put(txn, consumers, k, wbi_row_room_str(&room), err);
	wbi_row_room_fini(&room);
	return code;
}

static wb_code consumer_read(wb_str row_key, wb_str row, wbi_consumer *ret,
			     wb_error *err)
{
	wbi_consumer c = {0};
	wbi_row_in in;
	wb_code code;

	code = wbi_row_open(&in, row_key, row, WBI_ROW_CONSUMER, INBOX_VERSION,
			    "a consumer", err);
	if (code != WB_OK)
		return code;
	c.kind = wbi_row_get_u8(&in);
	wbi_row_get_text(&in, c.origin, sizeof(c.origin));
	c.position = wbi_row_get_u64(&in);
	c.created_us = (int64_t)wbi_row_get_u64(&in);
	c.updated_us = (int64_t)wbi_row_get_u64(&in);
	c.handled = wbi_row_get_u64(&in);
	c.retries = wbi_row_get_u64(&in);
	c.dead = wbi_row_get_u64(&in);
	c.emitted = wbi_row_get_u64(&in);
	c.waiting = wbi_row_get_u64(&in);
	c.timers = wbi_row_get_u64(&in);
	c.error = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code != WB_OK)
		return code;
	if ((c.kind != WBI_CONSUMER_HANDLER &&
	     c.kind != WBI_CONSUMER_PROJECTION) ||
	    strlen(c.origin) != WBI_ORIGIN_LEN)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a consumer of kind %u and origin \"%s\"",
				c.kind, c.origin);
	*ret = c;
	return WB_OK;
}

wb_code wbi_consumer_decode(wb_str row_key, wb_str row, char *ret_journal,
			    wb_str *ret_name, wbi_consumer *ret, wb_error *err)
{
	wb_code code;

	if (row_key.len < 2 || row_key.len > 1 + WBI_CONSUMER_NAME_MAX ||
	    (row_key.ptr[0] != 'i' && row_key.ptr[0] != 'o'))
		return WBI_FAIL(err, WB_ECORRUPT,
				"a consumer's key of %zu bytes is not one",
				row_key.len);
	code = consumer_read(row_key, row, ret, err);
	if (code != WB_OK)
		return code;
	*ret_journal = row_key.ptr[0];
	*ret_name = wb_str_n(row_key.ptr + 1, row_key.len - 1);
	return WB_OK;
}

wb_code wbi_consumer_get(MDB_txn *txn, wbi_table consumers, char journal,
			 wb_str name, wbi_consumer *ret, wb_error *err)
{
	wbi_row_key key = consumer_key(journal, name);
	wb_str row;
	wb_code code =
		wbi_get(txn, consumers, wbi_row_key_str(&key), &row, err);

	if (code != WB_OK)
		return code;
	return consumer_read(wbi_row_key_str(&key), row, ret, err);
}

wb_code wbi_consumer_del(MDB_txn *txn, wbi_table consumers, char journal,
			 wb_str name, wb_error *err)
{
	wbi_row_key key = consumer_key(journal, name);

	return wbi_del(txn, consumers, wbi_row_key_str(&key), err);
}

/* The row the cursor stands on, as far as it concerns the floor. */
static wb_code consumer_lower(wb_str key, wb_str row, const char *origin,
			      wbi_consumer_slowest *slowest, wb_error *err)
{
	wbi_consumer c;
	wb_str name;
	char journal;
	wb_code code = wbi_consumer_decode(key, row, &journal, &name, &c, err);

	if (code != WB_OK)
		return code;
	if (strcmp(c.origin, origin) != 0)
		return WBI_FAIL(err, WB_EMISMATCH,
				"consumer %.*s: its position is of origin %s, "
				"the journal is %s: the store was restored or "
				"replaced; rebuild or remove that consumer",
				(int)name.len, name.ptr, c.origin, origin);
	if (slowest->count++ > 0 && c.position >= slowest->position)
		return WB_OK;
	slowest->position = c.position;
	memcpy(slowest->name, name.ptr, name.len);
	slowest->name[name.len] = '\0';
	return WB_OK;
}

wb_code wbi_consumer_find_slowest(MDB_txn *txn, wbi_table consumers,
				  char journal, const char *origin,
				  wbi_consumer_slowest *ret, wb_error *err)
{
	wbi_consumer_slowest slowest = {.count = 0};
	wb_str key = wb_str_n(&journal, 1), row;
	wbi_move move = WBI_SEEK;
	wbi_cursor *cursor = NULL;
	uint64_t bytes, rows;
	wb_code code = wbi_table_size(txn, consumers, &bytes, &rows, err);

	/* Each append asks, and most services have none. */
	if (code == WB_OK && rows == 0) {
		*ret = slowest;
		return WB_OK;
	}
	if (code == WB_OK)
		code = wbi_cursor_open(txn, consumers, &cursor, err);
	if (code != WB_OK)
		return code;
	for (;; move = WBI_NEXT) {
		code = wbi_cursor_move(cursor, move, &key, &row, err);
		if (code != WB_OK || key.len == 0 || key.ptr[0] != journal)
			break;
		code = consumer_lower(key, row, origin, &slowest, err);
		if (code != WB_OK)
			break;
	}
	wbi_cursor_close(cursor);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	*ret = slowest;
	return WB_OK;
}

wb_code wbi_consumer_floor(MDB_txn *txn, wbi_table consumers, char journal,
			   const char *origin, uint64_t *ret, wb_error *err)
{
	wbi_consumer_slowest slowest;
	wb_code code = wbi_consumer_find_slowest(txn, consumers, journal,
						 origin, &slowest, err);

	if (code == WB_OK)
		*ret = slowest.count > 0 ? slowest.position : UINT64_MAX;
	return code;
}

/* ---- dead --------------------------------------------------------------- */

static const char *const dead_reasons[] = {
	"unknown", "rejected",  "exhausted", "crashed",
	"hung",    "malformed", "too-large", "no-handler"};

const char *wbi_dead_reason_name(uint8_t reason)
{
	return dead_reasons[reason < WBI_COUNT(dead_reasons) ? reason : 0];
}

uint8_t wbi_dead_reason_of(wb_str name)
{
	for (size_t i = 1; i < WBI_COUNT(dead_reasons); i++)
		if (wb_str_eq(name, wb_str_from(dead_reasons[i])))
			return (uint8_t)i;
	return 0;
}

static size_t dead_size(const wbi_dead *row)
{
	return WBI_ROW_EXTRA + 3 + 4 + 4 + 8 + 8 + 8 +
	       wbi_row_str_size(row->consumer) + wbi_row_str_size(row->key) +
	       wbi_row_str_size(row->source) + wbi_row_str_size(row->id) +
	       wbi_row_str_size(row->type) + wbi_row_str_size(row->text) +
	       wbi_row_str_size(row->bytes);
}

static void dead_encode(const wbi_dead *row, uint64_t number,
			wbi_row_room *room)
{
	wbi_row_out out;

	wbi_row_begin(&out, room->bytes, room->size, WBI_ROW_DEAD,
		      INBOX_VERSION);
	wbi_row_put_u8(&out, row->reason);
	wbi_row_put_u8(&out, row->lane);
	wbi_row_put_u8(&out, row->blocks);
	wbi_row_put_u32(&out, row->attempts);
	wbi_row_put_u32(&out, row->code);
	wbi_row_put_u64(&out, (uint64_t)row->first_us);
	wbi_row_put_u64(&out, (uint64_t)row->last_us);
	wbi_row_put_u64(&out, row->position);
	wbi_row_put_str(&out, row->consumer);
	wbi_row_put_str(&out, row->key);
	wbi_row_put_str(&out, row->source);
	wbi_row_put_str(&out, row->id);
	wbi_row_put_str(&out, row->type);
	wbi_row_put_str(&out, row->text);
	wbi_row_put_str(&out, row->bytes);
	wbi_row_seal(&out, wb_str_n(&number, sizeof(number)));
}

/* The last number that was given, whether it is still there or not. */
static wb_code dead_last(MDB_txn *txn, const wbi_store_tables *tables,
			 uint64_t *ret, wb_error *err)
{
	uint64_t count, last = 0;
	wb_code code;

	code = wbi_count_get(txn, tables->status, wb_str_from(WBI_COUNT_DEAD),
			     &count, err);
	if (code == WB_OK)
		code = wbi_last_at(txn, tables->dead, &last, err);
	if (code != WB_OK)
		return code;
	if (last > count)
		return WBI_FAIL(err, WB_ECORRUPT,
				"dead letter %" PRIu64 ", though only %" PRIu64
				" were ever counted; run waybill fsck",
				last, count);
	*ret = count;
	return WB_OK;
}

wb_code wbi_dead_add(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_dead *row, uint64_t *ret_number, wb_error *err)
{
	uint64_t number = 0;
	wbi_row_room room;
	uint8_t *bytes;
	wb_code code = dead_last(txn, tables, &number, err);

	if (code == WB_OK)
		code = wbi_row_room_init(&room, dead_size(row), err);
	if (code != WB_OK)
		return code;
	dead_encode(row, ++number, &room);
	code = wbi_append_at(txn, tables->dead, number, room.size, &bytes, err);
	if (code == WB_OK) {
		memcpy(bytes, room.bytes, room.size);
		code = wbi_count_add(txn, tables->status,
				     wb_str_from(WBI_COUNT_DEAD), 1, err);
	}
	wbi_row_room_fini(&room);
	if (code == WB_OK && ret_number)
		*ret_number = number;
	return code;
}

wb_code wbi_dead_put(MDB_txn *txn, wbi_table dead, uint64_t number,
		     const wbi_dead *row, wb_error *err)
{
	wbi_row_room room;
	wb_code code = wbi_row_room_init(&room, dead_size(row), err);

	if (code != WB_OK)
		return code;
	dead_encode(row, number, &room);
	code = wbi_put_at(txn, dead, number, wbi_row_room_str(&room), err);
	wbi_row_room_fini(&room);
	return code;
}

wb_code wbi_dead_decode(uint64_t number, wb_str row, wbi_dead *ret,
			wb_error *err)
{
	wbi_dead d = {0};
	wbi_row_in in;
	wb_code code;

	code = wbi_row_open(&in, wb_str_n(&number, sizeof(number)), row,
			    WBI_ROW_DEAD, INBOX_VERSION, "a dead letter", err);
	if (code != WB_OK)
		return code;
	d.reason = wbi_row_get_u8(&in);
	d.lane = wbi_row_get_u8(&in);
	d.blocks = wbi_row_get_u8(&in) != 0;
	d.attempts = wbi_row_get_u32(&in);
	d.code = wbi_row_get_u32(&in);
	d.first_us = (int64_t)wbi_row_get_u64(&in);
	d.last_us = (int64_t)wbi_row_get_u64(&in);
	d.position = wbi_row_get_u64(&in);
	d.consumer = wbi_row_get_str(&in);
	d.key = wbi_row_get_str(&in);
	d.source = wbi_row_get_str(&in);
	d.id = wbi_row_get_str(&in);
	d.type = wbi_row_get_str(&in);
	d.text = wbi_row_get_str(&in);
	d.bytes = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = d;
	return code;
}

wb_code wbi_dead_get(MDB_txn *txn, wbi_table dead, uint64_t number,
		     wbi_dead *ret, wb_error *err)
{
	wb_str row;
	wb_code code = wbi_get_at(txn, dead, number, &row, err);

	return code == WB_OK ? wbi_dead_decode(number, row, ret, err) : code;
}

wb_code wbi_dead_del(MDB_txn *txn, wbi_table dead, uint64_t number,
		     wb_error *err)
{
	return wbi_del_at(txn, dead, number, err);
}

/* ---- status ------------------------------------------------------------- */

static wb_str ingest_key(void)
{
	return wb_str_from("ingest");
}

wb_code wbi_ingest_status_put(MDB_txn *txn, wbi_table status,
			      const wbi_ingest_status *row, wb_error *err)
{
	wb_str owner = wb_str_from(row->owner);
	size_t size = WBI_ROW_EXTRA + 4 + 1 + 6 * 8 + wbi_row_str_size(owner) +
		      wbi_row_str_size(row->queue) +
		      wbi_row_str_size(row->vhost) +
		      wbi_row_str_size(row->error);
	wbi_row_room room;
	wbi_row_out out;
	wb_code code = wbi_row_room_init(&room, size, err);

	if (code != WB_OK)
		return code;
	wbi_row_begin(&out, room.bytes, size, WBI_ROW_INGEST, INBOX_VERSION);
	wbi_row_put_u32(&out, row->pid);
	wbi_row_put_u8(&out, row->state);
	wbi_row_put_u64(&out, (uint64_t)row->since_us);
	wbi_row_put_u64(&out, (uint64_t)row->updated_us);
	wbi_row_put_u64(&out, row->age_us);
	wbi_row_put_u64(&out, row->received);
	wbi_row_put_u64(&out, row->duplicates);
	wbi_row_put_u64(&out, row->refused);
	wbi_row_put_str(&out, owner);
	wbi_row_put_str(&out, row->queue);
	wbi_row_put_str(&out, row->vhost);
	wbi_row_put_str(&out, row->error);
	wbi_row_seal(&out, ingest_key());
	code = wbi_put(txn, status, ingest_key(), wbi_row_room_str(&room), err);
	wbi_row_room_fini(&room);
	return code;
}

static wb_code ingest_decode(wb_str row, wbi_ingest_status *ret, wb_error *err)
{
	wbi_ingest_status s = {0};
	wbi_row_in in;
	wb_code code;

	code = wbi_row_open(&in, ingest_key(), row, WBI_ROW_INGEST,
			    INBOX_VERSION, "the worker's status", err);
	if (code != WB_OK)
		return code;
	s.pid = wbi_row_get_u32(&in);
	s.state = wbi_row_get_u8(&in);
	s.since_us = (int64_t)wbi_row_get_u64(&in);
	s.updated_us = (int64_t)wbi_row_get_u64(&in);
	s.age_us = wbi_row_get_u64(&in);
	s.received = wbi_row_get_u64(&in);
	s.duplicates = wbi_row_get_u64(&in);
	s.refused = wbi_row_get_u64(&in);
	wbi_row_get_text(&in, s.owner, sizeof(s.owner));
	s.queue = wbi_row_get_str(&in);
	s.vhost = wbi_row_get_str(&in);
	s.error = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = s;
	return code;
}

wb_code wbi_ingest_status_get(MDB_txn *txn, wbi_table status,
			      wbi_ingest_status *ret, wb_error *err)
{
	wb_str row;
	wb_code code = wbi_get(txn, status, ingest_key(), &row, err);

	return code == WB_OK ? ingest_decode(row, ret, err) : code;
}

wb_code wbi_inbox_status_check(wb_str row_key, wb_str row, wb_error *err)
{
	wbi_ingest_status status;

	if (wb_str_eq(row_key, ingest_key()))
		return ingest_decode(row, &status, err);
	return wbi_count_check(row_key, row, err);
}
