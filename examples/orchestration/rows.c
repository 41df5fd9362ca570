/* SPDX-License-Identifier: BSD-2-Clause */
/* Text rows in LMDB; see rows.h. */
#include "examples/orchestration/rows.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

wb_code row_get(MDB_txn *txn, MDB_dbi table, wb_str key, char ret[ROW_MAX],
		wb_error *err)
{
	MDB_val k = {key.len, (void *)(uintptr_t)key.ptr}, v;
	int rc = mdb_get(txn, table, &k, &v);

	ret[0] = '\0';
	if (rc == MDB_NOTFOUND)
		return WB_OK;
	if (rc != 0)
		return wb_store_error(rc, err, "reading a row");
	if (v.mv_size >= ROW_MAX)
		return wb_error_set(err, WB_ECORRUPT, 0, __func__,
				    "a row of %zu bytes", v.mv_size);
	memcpy(ret, v.mv_data, v.mv_size);
	ret[v.mv_size] = '\0';
	return WB_OK;
}

wb_code row_put(MDB_txn *txn, MDB_dbi table, wb_str key, wb_error *err,
		const char *format, ...)
{
	MDB_val k = {key.len, (void *)(uintptr_t)key.ptr}, v;
	char text[ROW_MAX];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (len < 0 || len >= ROW_MAX)
		return wb_error_set(err, WB_ELIMIT, 0, __func__,
				    "a row has at most %d bytes", ROW_MAX - 1);
	v = (MDB_val){(size_t)len, text};
	return wb_store_error(mdb_put(txn, table, &k, &v, 0), err,
			      "writing a row");
}

wb_code rows_print(MDB_txn *txn, MDB_dbi table, wb_error *err)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc = mdb_cursor_open(txn, table, &cursor);

	if (rc != 0)
		return wb_store_error(rc, err, "reading rows");
	while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
		printf("%.*s  %.*s\n", (int)k.mv_size, (const char *)k.mv_data,
		       (int)v.mv_size, (const char *)v.mv_data);
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? WB_OK
				  : wb_store_error(rc, err, "reading rows");
}
