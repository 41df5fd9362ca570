/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows are written in the caller's transaction and nowhere else, so they are
 * there together with the event that tells of them, or not at all.
 */
#include "examples/choreography/rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

wb_code rows_open(MDB_txn *txn, const char *table, MDB_dbi *ret, wb_error *err)
{
	return wb_store_error(mdb_dbi_open(txn, table, MDB_CREATE, ret), err,
			      table);
}

static wb_code rows_copy(wb_str key, const MDB_val *value, void *row,
			 size_t size, wb_error *err)
{
	if (value->mv_size != size)
		return wb_error_set(err, WB_ECORRUPT, 0, __func__,
				    "the row of \"%.*s\" has %zu bytes, not "
				    "%zu",
				    (int)key.len, key.ptr, value->mv_size,
				    size);
	memcpy(row, value->mv_data, size);
	return WB_OK;
}

wb_code rows_get(MDB_txn *txn, MDB_dbi table, wb_str key, void *row,
		 size_t size, wb_error *err)
{
	MDB_val k = {key.len, (void *)(uintptr_t)key.ptr}, v;
	int rc;

	/* LMDB refuses keys of these lengths; a row can have none of them. */
	if (key.len == 0 || key.len > 511)
		return WB_ENOTFOUND;
	rc = mdb_get(txn, table, &k, &v);
	if (rc == MDB_NOTFOUND)
		return WB_ENOTFOUND;
	if (rc != 0)
		return wb_store_error(rc, err, "reading a row");
	return rows_copy(key, &v, row, size, err);
}

wb_code rows_put(MDB_txn *txn, MDB_dbi table, wb_str key, const void *row,
		 size_t size, wb_error *err)
{
	MDB_val k = {key.len, (void *)(uintptr_t)key.ptr};
	MDB_val v = {size, (void *)(uintptr_t)row};

	return wb_store_error(mdb_put(txn, table, &k, &v, 0), err,
			      "writing a row");
}

wb_code rows_each(MDB_txn *txn, MDB_dbi table, wb_str prefix, size_t size,
		  rows_fn *fn, void *ctx, wb_error *err)
{
	MDB_val k = {prefix.len, (void *)(uintptr_t)prefix.ptr}, v;
	_Alignas(16) uint8_t row[512];
	wb_code code = WB_OK;
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(txn, table, &cursor);

	if (rc != 0 || size > sizeof(row))
		return wb_store_error(rc ? rc : MDB_BAD_VALSIZE, err,
				      "reading rows");
	rc = mdb_cursor_get(cursor, &k, &v,
			    prefix.len > 0 ? MDB_SET_RANGE : MDB_FIRST);
	while (rc == 0 && code == WB_OK && k.mv_size >= prefix.len &&
	       (prefix.len == 0 ||
		memcmp(k.mv_data, prefix.ptr, prefix.len) == 0)) {
		wb_str key = wb_str_n(k.mv_data, k.mv_size);

		code = rows_copy(key, &v, row, size, err);
		if (code == WB_OK)
			code = fn(ctx, key, row, err);
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	if (code == WB_OK && rc != 0 && rc != MDB_NOTFOUND)
		code = wb_store_error(rc, err, "reading rows");
	return code;
}

void rows_text(char *field, size_t size, wb_str text)
{
	size_t len = text.len < size ? text.len : size - 1;

	memset(field, 0, size);
	if (len > 0)
		memcpy(field, text.ptr, len);
}

bool money_read(wb_str text, int64_t *ret)
{
	int64_t minor = 0;
	int point = -1; /* digits behind it */

	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (c == '.' && point < 0 && i > 0) {
			point = 0;
			continue;
		}
		if (c < '0' || c > '9' || point == 2 ||
		    minor > INT64_C(10000000000000))
			return false;
		minor = minor * 10 + (c - '0');
		point += point >= 0;
	}
	if (point == 0 || minor == 0)
		return false;
	*ret = minor * (point < 0 ? 100 : point == 1 ? 10 : 1);
	return true;
}

const char *money_text(int64_t minor, char ret[MONEY_TEXT_MAX])
{
	snprintf(ret, MONEY_TEXT_MAX, "%s%" PRId64 ".%02d",
		 minor < 0 ? "-" : "", (minor < 0 ? -minor : minor) / 100,
		 (int)((minor < 0 ? -minor : minor) % 100));
	return ret;
}
