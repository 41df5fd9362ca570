/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows behind streams (stream_rows.h, docs/format.md). Bytes in and out of
 * tables in the caller's transaction; nothing is remembered between calls, so
 * an aborted transaction, nested or not, leaves nothing wrong behind.
 *
 * A head row has room for a whole tail from the beginning: it never grows, and
 * LMDB overwrites it where it stands.
 */
#include "lib/journal/stream_rows.h"

#include <inttypes.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/store/row.h"

enum {
	ROWS_VERSION = 1,
	ROWS_KEY = 16, /* two big-endian u64 */
	ROWS_TAG_MAX = 64,
	/* number, count, one more number, a tail that is never full */
	ROWS_HEAD_MAX = WBI_ROW_EXTRA + 24 + 8 * (WBI_CHUNK_MAX - 1),
	ROWS_CHUNK_MAX = WBI_ROW_EXTRA + 8 * WBI_CHUNK_MAX
};

_Static_assert(WBI_STREAM_CHUNK <= WBI_CHUNK_MAX &&
		       WBI_CATEGORY_CHUNK <= WBI_CHUNK_MAX,
	       "a chunk fits where chunks are kept");

static const char rows_stream[] = "the head of a stream";
static const char rows_category[] = "the head of a category";
static const char rows_snapshot[] = "a snapshot";

wb_str wbi_category_of(wb_str stream)
{
	const char *slash =
		stream.len > 0 ? memchr(stream.ptr, '/', stream.len) : NULL;

	return slash ? wb_str_n(stream.ptr, (size_t)(slash - stream.ptr))
		     : stream;
}

/* Two numbers as a key that sorts as they do. */
static wb_str rows_key(uint64_t major, uint64_t minor, uint8_t ret[ROWS_KEY])
{
	wbi_put_be64(ret, major);
	wbi_put_be64(ret + 8, minor);
	return wb_str_n(ret, ROWS_KEY);
}

static wb_code rows_key_parse(wb_str key, uint64_t *ret_major,
			      uint64_t *ret_minor, wb_error *err)
{
	const uint8_t *p = (const uint8_t *)key.ptr;

	if (key.len != ROWS_KEY)
		return WBI_FAIL(err, WB_ECORRUPT, "a key of %zu bytes, not %d",
				key.len, (int)ROWS_KEY);
	*ret_major = wbi_get_be64(p);
	*ret_minor = wbi_get_be64(p + 8);
	return WB_OK;
}

/* ---- head rows ----------------------------------------------------------- */

static size_t head_size(const wbi_list *list)
{
	return WBI_ROW_EXTRA + 24 + 8 * (wbi_list_chunk(list) - 1);
}

static wb_code head_put(MDB_txn *txn, wbi_table table, wb_str name,
			const wbi_list *list, uint64_t extra, wb_error *err)
{
	size_t size = head_size(list), chunk = wbi_list_chunk(list);
	uint8_t *bytes;
	wbi_row_out out;
	wb_code code;

	WB_ASSERT(list->number > 0 && list->count > 0);
	WB_ASSERT(size <= ROWS_HEAD_MAX);
	code = wbi_reserve(txn, table, name, size, &bytes, err);
	if (code != WB_OK)
		return code;
	wbi_row_begin(&out, bytes, size,
		      list->kind == WBI_LIST_STREAM ? WBI_ROW_STREAM
						    : WBI_ROW_CATEGORY,
		      ROWS_VERSION);
	wbi_row_put_u64(&out, list->number);
	wbi_row_put_u64(&out, list->count);
	wbi_row_put_u64(&out, extra);
	for (size_t i = 0; i + 1 < chunk; i++)
		wbi_row_put_u64(&out,
				i < list->count % chunk ? list->tail[i] : 0);
	wbi_row_seal(&out, name);
	return WB_OK;
}

static wb_code head_decode(wb_str name, wb_str row, wbi_list_kind kind,
			   wbi_list *ret, uint64_t *ret_extra, wb_error *err)
{
	bool stream = kind == WBI_LIST_STREAM;
	const char *what = stream ? rows_stream : rows_category;
	wbi_row_in in;
	wb_code code = wbi_row_open(&in, name, row,
				    stream ? WBI_ROW_STREAM : WBI_ROW_CATEGORY,
				    ROWS_VERSION, what, err);

	if (code != WB_OK)
		return code;
	ret->kind = kind;
	ret->number = wbi_row_get_u64(&in);
	ret->count = wbi_row_get_u64(&in);
	*ret_extra = wbi_row_get_u64(&in);
	for (size_t i = 0; i + 1 < wbi_list_chunk(ret); i++)
		ret->tail[i] = wbi_row_get_u64(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK && (ret->number == 0 || ret->count == 0))
		return WBI_FAIL(err, WB_ECORRUPT, "%s: an empty list", what);
	return code;
}

wb_code wbi_stream_head_decode(wb_str name, wb_str row, wbi_stream_head *ret,
			       wb_error *err)
{
	wb_code code = head_decode(name, row, WBI_LIST_STREAM, &ret->list,
				   &ret->floor, err);

	if (code == WB_OK &&
	    (ret->floor == 0 || ret->floor - 1 > ret->list.count))
		return WBI_FAIL(err, WB_ECORRUPT,
				"%s: floor %" PRIu64 " of %" PRIu64 " versions",
				rows_stream, ret->floor, ret->list.count);
	return code;
}

wb_code wbi_stream_head_get(MDB_txn *txn, const wbi_store_tables *tables,
			    wb_str name, wbi_stream_head *ret, wb_error *err)
{
	wb_str row;
	wb_code code = wbi_get(txn, tables->streams, name, &row, err);

	if (code == WB_ENOTFOUND) {
		ret->list = (wbi_list){.kind = WBI_LIST_STREAM};
		ret->floor = 1;
	}
	return code == WB_OK ? wbi_stream_head_decode(name, row, ret, err)
			     : code;
}

wb_code wbi_stream_head_put(MDB_txn *txn, const wbi_store_tables *tables,
			    wb_str name, const wbi_stream_head *head,
			    wb_error *err)
{
	WB_ASSERT(name.len > 0 && name.len <= WBI_STREAM_NAME_MAX);
	WB_ASSERT(head->floor > 0 && head->floor - 1 <= head->list.count);
	return head_put(txn, tables->streams, name, &head->list, head->floor,
			err);
}

wb_code wbi_category_head_decode(wb_str name, wb_str row,
				 wbi_category_head *ret, wb_error *err)
{
	return head_decode(name, row, WBI_LIST_CATEGORY, &ret->list,
			   &ret->streams, err);
}

wb_code wbi_category_head_get(MDB_txn *txn, const wbi_store_tables *tables,
			      wb_str name, wbi_category_head *ret,
			      wb_error *err)
{
	wb_str row;
	wb_code code = wbi_get(txn, tables->categories, name, &row, err);

	if (code == WB_ENOTFOUND) {
		ret->list = (wbi_list){.kind = WBI_LIST_CATEGORY};
		ret->streams = 0;
	}
	return code == WB_OK ? wbi_category_head_decode(name, row, ret, err)
			     : code;
}

wb_code wbi_category_head_put(MDB_txn *txn, const wbi_store_tables *tables,
			      wb_str name, const wbi_category_head *head,
			      wb_error *err)
{
	return head_put(txn, tables->categories, name, &head->list,
			head->streams, err);
}

/* ---- lists --------------------------------------------------------------- */

static wbi_table list_index(const wbi_store_tables *tables, wbi_list_kind kind)
{
	return kind == WBI_LIST_STREAM ? tables->stream_index
				       : tables->category_index;
}

static enum wbi_row_kind list_row_kind(wbi_list_kind kind)
{
	return kind == WBI_LIST_STREAM ? WBI_ROW_STREAM_CHUNK
				       : WBI_ROW_CATEGORY_CHUNK;
}

static const char *list_what(wbi_list_kind kind)
{
	return kind == WBI_LIST_STREAM ? "a piece of a stream's index"
				       : "a piece of a category's index";
}

/* Lists are never deleted, so the next number is one more than there are. */
static wb_code list_number(MDB_txn *txn, const wbi_store_tables *tables,
			   wbi_list *list, wb_error *err)
{
	wbi_table table = list->kind == WBI_LIST_STREAM ? tables->streams
							: tables->categories;
	uint64_t bytes, rows;
	wb_code code = wbi_table_size(txn, table, &bytes, &rows, err);

	if (code == WB_OK)
		list->number = rows + 1;
	return code;
}

static wb_code list_spill(MDB_txn *txn, const wbi_store_tables *tables,
			  const wbi_list *list, wb_error *err)
{
	size_t chunk = wbi_list_chunk(list), size = WBI_ROW_EXTRA + 8 * chunk;
	uint8_t key_bytes[ROWS_KEY], *bytes;
	wb_str key = rows_key(list->number, list->count / chunk - 1, key_bytes);
	wbi_row_out out;
	wb_code code;

	WB_ASSERT(list->count % chunk == 0 && size <= ROWS_CHUNK_MAX);
	code = wbi_reserve(txn, list_index(tables, list->kind), key, size,
			   &bytes, err);
	if (code != WB_OK)
		return code;
	wbi_row_begin(&out, bytes, size, list_row_kind(list->kind),
		      ROWS_VERSION);
	for (size_t i = 0; i < chunk; i++)
		wbi_row_put_u64(&out, list->tail[i]);
	wbi_row_seal(&out, key);
	return WB_OK;
}

wb_code wbi_list_push(MDB_txn *txn, const wbi_store_tables *tables,
		      wbi_list *list, uint64_t position, wb_error *err)
{
	size_t chunk = wbi_list_chunk(list);
	wb_code code = WB_OK;

	if (list->number == 0)
		code = list_number(txn, tables, list, err);
	if (code != WB_OK)
		return code;
	list->tail[list->count % chunk] = position;
	list->count++;
	if (list->count % chunk == 0)
		code = list_spill(txn, tables, list, err);
	return code;
}

wb_code wbi_list_chunk_decode(wbi_list_kind kind, wb_str row_key, wb_str row,
			      uint64_t *ret_number, wbi_list_view *ret,
			      wb_error *err)
{
	wbi_list list = {.kind = kind};
	uint64_t number, ordinal;
	wbi_row_in in;
	wb_code code = rows_key_parse(row_key, &number, &ordinal, err);

	if (code == WB_OK)
		code = wbi_row_open(&in, row_key, row, list_row_kind(kind),
				    ROWS_VERSION, list_what(kind), err);
	if (code != WB_OK)
		return code;
	ret->count = 0;
	for (size_t i = 0; i < wbi_list_chunk(&list); i++)
		ret->items[i] = wbi_row_get_u64(&in);
	code = wbi_row_done(&in, err);
	if (code != WB_OK)
		return code;
	ret->ordinal = ordinal;
	ret->count = wbi_list_chunk(&list);
	*ret_number = number;
	return WB_OK;
}

static wb_code list_load(MDB_txn *txn, const wbi_store_tables *tables,
			 const wbi_list *list, uint64_t ordinal,
			 wbi_list_view *view, wb_error *err)
{
	uint8_t key_bytes[ROWS_KEY];
	wb_str key = rows_key(list->number, ordinal, key_bytes), row;
	uint64_t number;
	wb_code code;

	if (view->count > 0 && view->ordinal == ordinal)
		return WB_OK;
	code = wbi_get(txn, list_index(tables, list->kind), key, &row, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"%s: items %" PRIu64 " to %" PRIu64
				" are missing; run waybill fsck",
				list_what(list->kind),
				ordinal * wbi_list_chunk(list) + 1,
				(ordinal + 1) * wbi_list_chunk(list));
	if (code != WB_OK)
		return code;
	return wbi_list_chunk_decode(list->kind, key, row, &number, view, err);
}

wb_code wbi_list_at(MDB_txn *txn, const wbi_store_tables *tables,
		    const wbi_list *list, uint64_t index, wbi_list_view *view,
		    uint64_t *ret_position, wb_error *err)
{
	size_t chunk = wbi_list_chunk(list);
	wb_code code;

	WB_ASSERT(index < list->count);
	if (index / chunk == list->count / chunk) {
		*ret_position = list->tail[index % chunk];
		return WB_OK;
	}
	code = list_load(txn, tables, list, index / chunk, view, err);
	if (code == WB_OK)
		*ret_position = view->items[index % chunk];
	return code;
}

wb_code wbi_list_below(MDB_txn *txn, const wbi_store_tables *tables,
		       const wbi_list *list, uint64_t position,
		       wbi_list_view *view, uint64_t *ret_count, wb_error *err)
{
	uint64_t low = 0, high = list->count;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2, at;
		wb_code code =
			wbi_list_at(txn, tables, list, middle, view, &at, err);

		if (code != WB_OK)
			return code;
		if (at < position)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_count = low;
	return WB_OK;
}

wb_code wbi_streams_truncated_to(MDB_txn *txn, const wbi_store_tables *tables,
				 uint64_t *ret, wb_error *err)
{
	wb_str name = WB_STR_NULL, row;
	wbi_move move = WBI_FIRST;
	wbi_cursor *cursor = NULL;
	wb_code code = wbi_cursor_open(txn, tables->streams, &cursor, err);

	*ret = 0;
	for (; code == WB_OK; move = WBI_NEXT) {
		wbi_list_view view = {0};
		wbi_stream_head head = {.floor = 0};
		uint64_t at = 0;

		code = wbi_cursor_move(cursor, move, &name, &row, err);
		if (code == WB_OK)
			code = wbi_stream_head_decode(name, row, &head, err);
		if (code == WB_OK && head.floor > 1)
			code = wbi_list_at(txn, tables, &head.list,
					   head.floor - 2, &view, &at, err);
		if (code == WB_OK && at > *ret)
			*ret = at;
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* ---- snapshots ----------------------------------------------------------- */

wb_code wbi_snapshot_put(MDB_txn *txn, const wbi_store_tables *tables,
			 uint64_t stream, const wbi_snapshot *snapshot,
			 wb_error *err)
{
	size_t size = WBI_ROW_EXTRA + 8 + wbi_row_str_size(snapshot->tag) +
		      wbi_row_str_size(snapshot->data);
	uint8_t key_bytes[ROWS_KEY], *bytes;
	wb_str key = rows_key(stream, snapshot->version, key_bytes);
	wbi_row_out out;
	wb_code code;

	WB_ASSERT(stream > 0 && snapshot->version > 0);
	WB_ASSERT(snapshot->tag.len <= ROWS_TAG_MAX);
	code = wbi_reserve(txn, tables->snapshots, key, size, &bytes, err);
	if (code != WB_OK)
		return code;
	wbi_row_begin(&out, bytes, size, WBI_ROW_SNAPSHOT, ROWS_VERSION);
	wbi_row_put_u64(&out, (uint64_t)snapshot->time_us);
	wbi_row_put_str(&out, snapshot->tag);
	wbi_row_put_str(&out, snapshot->data);
	wbi_row_seal(&out, key);
	return WB_OK;
}

wb_code wbi_snapshot_decode(wb_str row_key, wb_str row, uint64_t *ret_stream,
			    wbi_snapshot *ret, wb_error *err)
{
	wbi_row_in in;
	wb_code code = rows_key_parse(row_key, ret_stream, &ret->version, err);

	if (code == WB_OK)
		code = wbi_row_open(&in, row_key, row, WBI_ROW_SNAPSHOT,
				    ROWS_VERSION, rows_snapshot, err);
	if (code != WB_OK)
		return code;
	ret->time_us = (int64_t)wbi_row_get_u64(&in);
	ret->tag = wbi_row_get_str(&in);
	ret->data = wbi_row_get_str(&in);
	return wbi_row_done(&in, err);
}

/* Stand on the last snapshot of `stream` at or below version `at`. */
static wb_code snapshot_seek(wbi_cursor *cursor, uint64_t stream, uint64_t at,
			     wb_str *ret_key, wb_str *ret_row, wb_error *err)
{
	uint8_t key_bytes[ROWS_KEY];
	wb_str wanted = rows_key(stream, at, key_bytes), key = wanted;
	uint64_t number, version;
	wb_code code = wbi_cursor_move(cursor, WBI_SEEK, &key, ret_row, err);

	if (code == WB_ENOTFOUND)
		code = wbi_cursor_move(cursor, WBI_LAST, &key, ret_row, err);
	else if (code == WB_OK && !wb_str_eq(key, wanted))
		code = wbi_cursor_move(cursor, WBI_PREV, &key, ret_row, err);
	if (code == WB_OK)
		code = rows_key_parse(key, &number, &version, err);
	if (code != WB_OK)
		return code;
	if (number != stream || version > at)
		return WB_ENOTFOUND;
	*ret_key = key;
	return WB_OK;
}

wb_code wbi_snapshot_get(MDB_txn *txn, const wbi_store_tables *tables,
			 uint64_t stream, uint64_t at, wbi_snapshot *ret,
			 wb_error *err)
{
	wbi_cursor *cursor;
	uint64_t number;
	wb_str key, row;
	wb_code code = wbi_cursor_open(txn, tables->snapshots, &cursor, err);

	if (code != WB_OK)
		return code;
	code = snapshot_seek(cursor, stream, at, &key, &row, err);
	if (code == WB_OK)
		code = wbi_snapshot_decode(key, row, &number, ret, err);
	wbi_cursor_close(cursor);
	return code;
}

wb_code wbi_snapshot_thin(MDB_txn *txn, const wbi_store_tables *tables,
			  uint64_t stream, uint32_t keep, wb_error *err)
{
	uint64_t at = UINT64_MAX, number;
	uint32_t kept = 0;
	wbi_cursor *cursor;
	wb_str key, row;
	wb_code code = wbi_cursor_open(txn, tables->snapshots, &cursor, err);

	if (code != WB_OK)
		return code;
	for (;;) {
		code = snapshot_seek(cursor, stream, at, &key, &row, err);
		if (code == WB_OK)
			code = rows_key_parse(key, &number, &at, err);
		if (code != WB_OK || at == 0)
			break;
		if (kept++ >= keep)
			code = wbi_cursor_del(cursor, err);
		if (code != WB_OK)
			break;
		at--;
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}
