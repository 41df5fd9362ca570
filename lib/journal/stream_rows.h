/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows behind streams, in the store's own environment.
 *
 * A stream and a category are both a list of journal positions in ascending
 * order: item v - 1 of a stream is where its version v stands, item n of a
 * category is its n-th event. A list's head row holds the last few items; as
 * often as they fill a chunk, they move into a row of the index, and never
 * change again. So an append rewrites one short row of the stream, one of the
 * category, and only now and then adds to an index: a third of the pages that
 * an index row per event dirties, and a third of its bytes.
 *
 * Every row is sealed by a checksum over its key and itself (lib/store/row.h).
 * Any thread, one transaction each.
 */
#ifndef WBI_STREAM_ROWS_H
#define WBI_STREAM_ROWS_H

#include "lib/store/store.h"

enum {
	WBI_STREAM_NAME_MAX = 255, /* it is the subject of its events */
	WBI_STREAM_CHUNK = 8,
	WBI_CATEGORY_CHUNK = 32,
	WBI_CHUNK_MAX = 32
};

typedef enum wbi_list_kind { WBI_LIST_STREAM, WBI_LIST_CATEGORY } wbi_list_kind;

typedef struct wbi_list {
	wbi_list_kind kind;
	uint64_t number; /* in its index, from 1; 0: the list is new */
	uint64_t count;  /* items */
	uint64_t tail[WBI_CHUNK_MAX]; /* the count % chunk last ones */
} wbi_list;

/* Items that one chunk of this list holds. */
static inline size_t wbi_list_chunk(const wbi_list *list)
{
	return list->kind == WBI_LIST_STREAM ? WBI_STREAM_CHUNK
					     : WBI_CATEGORY_CHUNK;
}

/* What is before the first '/'; all of a name without one. Streams whose name
 * begins with it do not exist. */
wb_str wbi_category_of(wb_str stream);

/* ---- head rows ----------------------------------------------------------- */

typedef struct wbi_stream_head {
	wbi_list list;  /* count: the version */
	uint64_t floor; /* the lowest version that is not a stub, from 1; the
			   version + 1 if all are */
} wbi_stream_head;

typedef struct wbi_category_head {
	wbi_list list;
	uint64_t streams; /* that it has */
} wbi_category_head;

/* WB_ENOTFOUND: *ret is a new one, not in the table yet; err untouched. */
wb_code wbi_stream_head_get(MDB_txn *txn, const wbi_store_tables *tables,
			    wb_str name, wbi_stream_head *ret, wb_error *err);
wb_code wbi_stream_head_put(MDB_txn *txn, const wbi_store_tables *tables,
			    wb_str name, const wbi_stream_head *head,
			    wb_error *err);
wb_code wbi_stream_head_decode(wb_str name, wb_str row, wbi_stream_head *ret,
			       wb_error *err);

wb_code wbi_category_head_get(MDB_txn *txn, const wbi_store_tables *tables,
			      wb_str name, wbi_category_head *ret,
			      wb_error *err);
wb_code wbi_category_head_put(MDB_txn *txn, const wbi_store_tables *tables,
			      wb_str name, const wbi_category_head *head,
			      wb_error *err);
wb_code wbi_category_head_decode(wb_str name, wb_str row,
				 wbi_category_head *ret, wb_error *err);

/* The highest position of an event that was truncated; 0: none was. Looks at
 * every stream. */
wb_code wbi_streams_truncated_to(MDB_txn *txn, const wbi_store_tables *tables,
				 uint64_t *ret, wb_error *err);

/* ---- lists --------------------------------------------------------------- */

/* Add an item behind the others; the caller writes the head afterwards. A list
 * that is new gets its number. */
wb_code wbi_list_push(MDB_txn *txn, const wbi_store_tables *tables,
		      wbi_list *list, uint64_t position, wb_error *err);

/* The chunk that a reader looked at last; zero it before the first use. */
typedef struct wbi_list_view {
	uint64_t ordinal, count; /* count 0: none yet */
	uint64_t items[WBI_CHUNK_MAX];
} wbi_list_view;

/* Item `index`, which must be below list->count. WB_ECORRUPT: the chunk that
 * should hold it is not there, or damaged. */
wb_code wbi_list_at(MDB_txn *txn, const wbi_store_tables *tables,
		    const wbi_list *list, uint64_t index, wbi_list_view *view,
		    uint64_t *ret_position, wb_error *err);

/* How many of the items are below `position`. */
wb_code wbi_list_below(MDB_txn *txn, const wbi_store_tables *tables,
		       const wbi_list *list, uint64_t position,
		       wbi_list_view *view, uint64_t *ret_count, wb_error *err);

/* One row of an index, for fsck. */
wb_code wbi_list_chunk_decode(wbi_list_kind kind, wb_str row_key, wb_str row,
			      uint64_t *ret_number, wbi_list_view *ret,
			      wb_error *err);

/* ---- snapshots ----------------------------------------------------------- */

typedef struct wbi_snapshot {
	uint64_t version;
	int64_t time_us;
	wb_str tag; /* what `data` is, in the aggregate's own words */
	wb_str data;
} wbi_snapshot;

wb_code wbi_snapshot_put(MDB_txn *txn, const wbi_store_tables *tables,
			 uint64_t stream, const wbi_snapshot *snapshot,
			 wb_error *err);
/* The newest one of a stream at or below version `at`. WB_ENOTFOUND. */
wb_code wbi_snapshot_get(MDB_txn *txn, const wbi_store_tables *tables,
			 uint64_t stream, uint64_t at, wbi_snapshot *ret,
			 wb_error *err);
/* Remove all but the `keep` newest ones of a stream. */
wb_code wbi_snapshot_thin(MDB_txn *txn, const wbi_store_tables *tables,
			  uint64_t stream, uint32_t keep, wb_error *err);
wb_code wbi_snapshot_decode(wb_str row_key, wb_str row, uint64_t *ret_stream,
			    wbi_snapshot *ret, wb_error *err);

#endif
