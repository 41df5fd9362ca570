/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is known of a stream without reading it: one row. Reads only; the
 * transaction is the caller's or a short one of its own. Any thread, as LMDB's
 * transactions allow.
 */
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "outbox/stream.h"

wb_code wbi_stream_txn_begin(wb_store *store, MDB_txn *txn, wbi_stream_txn *ret,
			     wb_error *err)
{
	wb_code code = WB_OK;

	ret->txn = txn;
	ret->own = NULL;
	if (txn && !wbi_txn_is_of(txn, wb_store_env(store)))
		return WBI_FAIL(err, WB_EINVAL,
				"stream: the transaction is of another "
				"environment than the store");
	if (!txn) {
		code = wbi_txn_begin(wb_store_env(store), false, &ret->own,
				     err);
		ret->txn = ret->own;
	}
	return code;
}

void wbi_stream_txn_end(wbi_stream_txn *txn)
{
	wbi_txn_abort(txn->own);
	txn->own = NULL;
}

wb_code wbi_stream_unknown(wb_str stream, wb_error *err)
{
	char shown[WB_STREAM_NAME_MAX + 1];

	return WBI_FAIL(err, WB_ENOTFOUND, "stream \"%s\": there is none",
			wbi_text_show(stream, shown, sizeof(shown)));
}

static wb_code stat_read(const wbi_store_tables *tables, MDB_txn *txn,
			 wb_str stream, wb_stream_info *ret, wb_error *err)
{
	wbi_list_view view = {0};
	wbi_stream_head head;
	wbi_snapshot snapshot;
	wb_code code = wbi_stream_head_get(txn, tables, stream, &head, err);

	if (code == WB_ENOTFOUND)
		return wbi_stream_unknown(stream, err);
	if (code != WB_OK)
		return code;
	ret->version = head.list.count;
	ret->floor = head.floor;
	ret->snapshot = 0;
	code = wbi_list_at(txn, tables, &head.list, head.list.count - 1, &view,
			   &ret->position, err);
	if (code != WB_OK)
		return code;
	code = wbi_snapshot_get(txn, tables, head.list.number, UINT64_MAX,
				&snapshot, err);
	if (code == WB_OK)
		ret->snapshot = snapshot.version;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

wb_code wb_stream_stat(wb_store *store, MDB_txn *txn, wb_str stream,
		       wb_stream_info *ret, wb_error *err)
{
	wbi_stream_txn in;
	wb_stream_info info;
	wb_code code;

	if (!store || !ret)
		return WBI_FAIL(err, WB_EINVAL, "stream: %s is NULL",
				store ? "ret" : "store");
	code = wbi_stream_check_name(stream, err);
	if (code == WB_OK)
		code = wbi_stream_txn_begin(store, txn, &in, err);
	if (code != WB_OK)
		return code;
	code = stat_read(wbi_store_get_tables(store), in.txn, stream, &info,
			 err);
	wbi_stream_txn_end(&in);
	if (code == WB_OK)
		*ret = info;
	return code;
}

static wb_code stat_next(MDB_txn *txn, wbi_table streams, wb_str after,
			 char *ret_name, wb_error *err)
{
	wbi_cursor *cursor;
	wb_str key = after, row;
	wb_code code = wbi_cursor_open(txn, streams, &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move(cursor, WBI_SEEK, &key, &row, err);
	if (code == WB_OK && wb_str_eq(key, after))
		code = wbi_cursor_move(cursor, WBI_NEXT, &key, &row, err);
	if (code == WB_OK && key.len > WB_STREAM_NAME_MAX)
		code = WBI_FAIL(err, WB_ECORRUPT,
				"a stream's name of %zu bytes; run waybill "
				"fsck",
				key.len);
	if (code == WB_OK) {
		memcpy(ret_name, key.ptr, key.len);
		ret_name[key.len] = '\0';
	}
	wbi_cursor_close(cursor);
	return code;
}

wb_code wb_stream_next_name(wb_store *store, MDB_txn *txn, wb_str after,
			    char ret_name[WB_STREAM_NAME_MAX + 1],
			    wb_error *err)
{
	wbi_stream_txn in;
	wb_code code;

	if (!store || !ret_name || after.len > WB_STREAM_NAME_MAX)
		return WBI_FAIL(err, WB_EINVAL, "stream: %s",
				!store      ? "store is NULL"
				: !ret_name ? "ret_name is NULL"
					    : "a name that is too long");
	code = wbi_stream_txn_begin(store, txn, &in, err);
	if (code != WB_OK)
		return code;
	code = stat_next(in.txn, wbi_store_get_tables(store)->streams, after,
			 ret_name, err);
	wbi_stream_txn_end(&in);
	return code;
}
