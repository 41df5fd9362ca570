/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of a generation that are waybill's. Pure but for the one put or get
 * each: the caller's transaction, the caller's memory, any thread.
 */
#include "projections/rows.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/journal/parked.h"
#include "lib/store/row.h"

enum {
	ROWS_VERSION = 1,
	ROWS_STATUS_MAX = WBI_ROW_EXTRA + 4 + 1 + 10 * 8 + 4 +
			  WB_ERROR_TEXT_MAX,
	ROWS_SHAPE_MAX = 16 * 1024
};

static wb_str shape_key(void)
{
	return wb_str_from("shape");
}

static wb_str checkpoint_key(void)
{
	return wb_str_from("checkpoint");
}

static wb_str status_key(void)
{
	return wb_str_from("status");
}

bool wbi_is_projector_row(wb_str key)
{
	return wb_str_eq(key, status_key());
}

/* ---- shape --------------------------------------------------------------- */

static size_t shape_size(const wbi_shape *shape)
{
	size_t size = WBI_ROW_EXTRA + 4 + 1 + 2 +
		      wbi_row_str_size(wb_str_from(shape->name));

	for (size_t i = 0; i < shape->table_count; i++) {
		const wbi_shape_table *t = &shape->tables[i];

		size += wbi_row_str_size(wb_str_from(t->name)) +
			wbi_row_str_size(wb_str_from(t->content_type)) + 2;
		for (size_t j = 0; j < t->index_count; j++)
			size += wbi_row_str_size(wb_str_from(t->indexes[j]));
	}
	return size;
}

wb_code wbi_shape_put(MDB_txn *txn, wbi_table meta, const wbi_shape *shape,
		      wb_error *err)
{
	uint8_t bytes[ROWS_SHAPE_MAX];
	size_t size = shape_size(shape);
	wbi_row_out out;

	WB_ASSERT(size <= sizeof(bytes));
	wbi_row_begin(&out, bytes, size, WBI_ROW_SHAPE,
		      ROWS_VERSION);
	wbi_row_put_str(&out, wb_str_from(shape->name));
	wbi_row_put_u32(&out, shape->version);
	wbi_row_put_u8(&out, shape->source);
	wbi_row_put_u16(&out, (uint16_t)shape->table_count);
	for (size_t i = 0; i < shape->table_count; i++) {
		const wbi_shape_table *t = &shape->tables[i];

		wbi_row_put_str(&out, wb_str_from(t->name));
		wbi_row_put_str(&out, wb_str_from(t->content_type));
		wbi_row_put_u16(&out, (uint16_t)t->index_count);
		for (size_t j = 0; j < t->index_count; j++)
			wbi_row_put_str(&out, wb_str_from(t->indexes[j]));
	}
	wbi_row_seal(&out, shape_key());
	return wbi_put(txn, meta, shape_key(), wb_str_n(bytes, size), err);
}

static bool shape_read_table(wbi_row_in *in, wbi_shape_table *t)
{
	wbi_row_get_text(in, t->name, sizeof(t->name));
	wbi_row_get_text(in, t->content_type, sizeof(t->content_type));
	t->index_count = wbi_row_get_u16(in);
	if (t->index_count > WB_MODEL_INDEXES_MAX)
		return false;
	for (size_t j = 0; j < t->index_count; j++)
		wbi_row_get_text(in, t->indexes[j], sizeof(t->indexes[j]));
	return true;
}

static wb_code shape_read(wb_str row, wbi_shape *shape, wb_error *err)
{
	wbi_row_in in;
	bool sane = true;
	wb_code code;

	code = wbi_row_open(&in, shape_key(), row,
			    WBI_ROW_SHAPE, ROWS_VERSION,
			    "a read model's shape", err);
	if (code != WB_OK)
		return code;
	wbi_row_get_text(&in, shape->name, sizeof(shape->name));
	shape->version = wbi_row_get_u32(&in);
	shape->source = wbi_row_get_u8(&in);
	shape->table_count = wbi_row_get_u16(&in);
	sane = shape->table_count <= WB_MODEL_TABLES_MAX;
	for (size_t i = 0; sane && i < shape->table_count; i++)
		sane = shape_read_table(&in, &shape->tables[i]);
	if (!sane)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a read model's shape has too many tables or "
				"indexes: rebuild it");
	return wbi_row_done(&in, err);
}

wb_code wbi_shape_get(MDB_txn *txn, wbi_table meta, wbi_shape *ret,
		      wb_error *err)
{
	wbi_shape *shape;
	wb_str row;
	wb_code code = wbi_get(txn, meta, shape_key(), &row, err);

	if (code != WB_OK)
		return code;
	shape = calloc(1, sizeof(*shape));
	if (!shape)
		return WBI_FAIL(err, WB_ENOMEM, "a read model's shape");
	code = shape_read(row, shape, err);
	if (code == WB_OK)
		*ret = *shape;
	free(shape);
	return code;
}

/* ---- checkpoint ---------------------------------------------------------- */

wb_code wbi_checkpoint_put(MDB_txn *txn, wbi_table meta,
			   const wbi_checkpoint *row, wb_error *err)
{
	wb_str origin = wb_str_from(row->origin);
	wb_str event_id = wb_str_from(row->event_id);
	uint8_t bytes[WBI_ROW_EXTRA + 8 + 4 + 4 + 4 + sizeof(row->origin) +
		      sizeof(row->event_id)];
	size_t size = WBI_ROW_EXTRA + 8 + 4 + wbi_row_str_size(origin) +
		      wbi_row_str_size(event_id);
	wbi_row_out out;

	WB_ASSERT(size <= sizeof(bytes));
	wbi_row_begin(&out, bytes, size, WBI_ROW_CHECKPOINT,
		      ROWS_VERSION);
	wbi_row_put_str(&out, origin);
	wbi_row_put_u64(&out, row->position);
	wbi_row_put_str(&out, event_id);
	wbi_row_put_u32(&out, row->print);
	wbi_row_seal(&out, checkpoint_key());
	return wbi_put(txn, meta, checkpoint_key(), wb_str_n(bytes, size), err);
}

wb_code wbi_checkpoint_get(MDB_txn *txn, wbi_table meta, wbi_checkpoint *ret,
			   wb_error *err)
{
	wbi_checkpoint c = {.position = 0};
	wbi_row_in in;
	wb_str row;
	wb_code code = wbi_get(txn, meta, checkpoint_key(), &row, err);

	if (code == WB_OK)
		code = wbi_row_open(&in, checkpoint_key(), row,
				    WBI_ROW_CHECKPOINT,
				    ROWS_VERSION, "a read model's checkpoint",
				    err);
	if (code != WB_OK)
		return code;
	wbi_row_get_text(&in, c.origin, sizeof(c.origin));
	c.position = wbi_row_get_u64(&in);
	wbi_row_get_text(&in, c.event_id, sizeof(c.event_id));
	c.print = wbi_row_get_u32(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = c;
	return code;
}

/* ---- status -------------------------------------------------------------- */

wb_code wbi_projector_row_put(MDB_txn *txn, wbi_table meta,
			      const wbi_projector_row *row, wb_error *err)
{
	wb_str text = wb_str_from(row->error);
	uint8_t bytes[ROWS_STATUS_MAX];
	size_t size = WBI_ROW_EXTRA + 4 + 1 + 10 * 8 + wbi_row_str_size(text);
	wbi_row_out out;

	WB_ASSERT(size <= sizeof(bytes));
	wbi_row_begin(&out, bytes, size, WBI_ROW_PROJECTOR,
		      ROWS_VERSION);
	wbi_row_put_u32(&out, row->pid);
	wbi_row_put_u8(&out, row->state);
	wbi_row_put_u64(&out, (uint64_t)row->since_us);
	wbi_row_put_u64(&out, (uint64_t)row->updated_us);
	wbi_row_put_u64(&out, row->head);
	wbi_row_put_u64(&out, (uint64_t)row->lag_us);
	wbi_row_put_u64(&out, row->applied);
	wbi_row_put_u64(&out, row->passed);
	wbi_row_put_u64(&out, row->skipped);
	wbi_row_put_u64(&out, row->rate_milli);
	wbi_row_put_u64(&out, row->target);
	wbi_row_put_u64(&out, row->missing);
	wbi_row_put_str(&out, text);
	wbi_row_seal(&out, status_key());
	return wbi_put(txn, meta, status_key(), wb_str_n(bytes, size), err);
}

wb_code wbi_projector_row_get(MDB_txn *txn, wbi_table meta,
			      wbi_projector_row *ret, wb_error *err)
{
	wbi_projector_row r = {.pid = 0};
	wbi_row_in in;
	wb_str row;
	wb_code code = wbi_get(txn, meta, status_key(), &row, err);

	if (code == WB_OK)
		code = wbi_row_open(&in, status_key(), row,
				    WBI_ROW_PROJECTOR,
				    ROWS_VERSION, "a projector's status", err);
	if (code != WB_OK)
		return code;
	r.pid = wbi_row_get_u32(&in);
	r.state = wbi_row_get_u8(&in);
	r.since_us = (int64_t)wbi_row_get_u64(&in);
	r.updated_us = (int64_t)wbi_row_get_u64(&in);
	r.head = wbi_row_get_u64(&in);
	r.lag_us = (int64_t)wbi_row_get_u64(&in);
	r.applied = wbi_row_get_u64(&in);
	r.passed = wbi_row_get_u64(&in);
	r.skipped = wbi_row_get_u64(&in);
	r.rate_milli = wbi_row_get_u64(&in);
	r.target = wbi_row_get_u64(&in);
	r.missing = wbi_row_get_u64(&in);
	wbi_row_get_text(&in, r.error, sizeof(r.error));
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = r;
	return code;
}

/* ---- aside --------------------------------------------------------------- */

wb_code wbi_aside_put(MDB_txn *txn, wbi_table aside, wb_str unit,
		      uint64_t position, const wbi_aside *row, wb_error *err)
{
	wbi_parked_row_key at = wbi_parked_row_key_of(unit, position);
	wb_str key = wb_str_n(at.bytes, at.len);
	size_t size = WBI_ROW_EXTRA + 4 + wbi_row_str_size(row->text) +
		      wbi_row_str_size(row->record);
	uint8_t *bytes = malloc(size);
	wbi_row_out out;
	wb_code code;

	if (!bytes)
		return WBI_FAIL(err, WB_ENOMEM, "set an event aside");
	wbi_row_begin(&out, bytes, size, WBI_ROW_ASIDE,
		      ROWS_VERSION);
	wbi_row_put_u32(&out, row->code);
	wbi_row_put_str(&out, row->text);
	wbi_row_put_str(&out, row->record);
	wbi_row_seal(&out, key);
	code = wbi_put(txn, aside, key, wb_str_n(bytes, size), err);
	free(bytes);
	return code;
}

wb_code wbi_aside_decode(wb_str row_key, wb_str row, wb_str *ret_unit,
			 uint64_t *ret_position, wbi_aside *ret, wb_error *err)
{
	wbi_aside a = {.code = 0};
	uint64_t position;
	wbi_row_in in;
	wb_str unit;
	wb_code code;

	code = wbi_row_open(&in, row_key, row, WBI_ROW_ASIDE,
			    ROWS_VERSION, "an event kept aside", err);
	if (code == WB_OK)
		code = wbi_parked_row_key_parse(row_key, &unit, &position, err);
	if (code != WB_OK)
		return code;
	a.code = wbi_row_get_u32(&in);
	a.text = wbi_row_get_str(&in);
	a.record = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK) {
		*ret_unit = unit;
		*ret_position = position;
		*ret = a;
	}
	return code;
}

/* ---- aside_keys ---------------------------------------------------------- */

wb_code wbi_aside_key_put(MDB_txn *txn, wbi_table keys, wb_str unit,
			  const wbi_aside_key *row, wb_error *err)
{
	uint8_t bytes[WBI_ROW_EXTRA + 3 * 8 + 4 + 4 + WB_ERROR_TEXT_MAX];
	size_t size = WBI_ROW_EXTRA + 3 * 8 + 4 + wbi_row_str_size(row->text);
	wbi_row_out out;

	WB_ASSERT(size <= sizeof(bytes) && unit.len > 0);
	wbi_row_begin(&out, bytes, size, WBI_ROW_ASIDE_KEY,
		      ROWS_VERSION);
	wbi_row_put_u64(&out, row->first);
	wbi_row_put_u64(&out, row->count);
	wbi_row_put_u64(&out, row->bytes);
	wbi_row_put_u32(&out, row->code);
	wbi_row_put_str(&out, row->text);
	wbi_row_seal(&out, unit);
	return wbi_put(txn, keys, unit, wb_str_n(bytes, size), err);
}

wb_code wbi_aside_key_decode(wb_str unit, wb_str row, wbi_aside_key *ret,
			     wb_error *err)
{
	wbi_aside_key k = {.first = 0};
	wbi_row_in in;
	wb_code code;

	code = wbi_row_open(&in, unit, row,
			    WBI_ROW_ASIDE_KEY, ROWS_VERSION,
			    "a key kept aside", err);
	if (code != WB_OK)
		return code;
	k.first = wbi_row_get_u64(&in);
	k.count = wbi_row_get_u64(&in);
	k.bytes = wbi_row_get_u64(&in);
	k.code = wbi_row_get_u32(&in);
	k.text = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = k;
	return code;
}

wb_code wbi_aside_key_get(MDB_txn *txn, wbi_table keys, wb_str unit,
			  wbi_aside_key *ret, wb_error *err)
{
	wb_str row;
	wb_code code = wbi_get(txn, keys, unit, &row, err);

	return code == WB_OK ? wbi_aside_key_decode(unit, row, ret, err) : code;
}
