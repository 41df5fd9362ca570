/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The streams' tables in a check. Every item of every list is followed to its
 * record, which must be what the list says; each list has its own items, since
 * a record is one version of one stream. So if the lists have as many items as
 * the journal has records of streams, nothing is missing and nothing is there
 * twice. All of one snapshot. Reads only; one u64 of memory per stream.
 */
#include "lib/journal/walk_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/record.h"
#include "lib/journal/stream_rows.h"

struct wbi_walk_streams {
	uint64_t *versions; /* by number of the stream, from 1 */
	uint64_t numbers;   /* as many streams there are */
	uint64_t sum, chunks;
	uint64_t category_numbers, category_sum, category_chunks;
	uint64_t rows; /* of the index that is being walked */
};

static void describe(const char *what, wb_str key, char *ret, size_t size)
{
	char name[150];

	snprintf(ret, size, "%s \"%s\"", what,
		 wbi_text_show(key, name, sizeof(name)));
}

static void describe_stream(wb_str key, char *ret, size_t size)
{
	describe("stream", key, ret, size);
}

static void describe_category(wb_str key, char *ret, size_t size)
{
	describe("category", key, ret, size);
}

/* ---- items --------------------------------------------------------------- */

/* The record of item `index`, from 0: whole, of a stream, where it says. */
static wb_code item_record(const wbi_walk *w, const wbi_list *list,
			   uint64_t index, wbi_list_view *view,
			   uint64_t *position, wb_event *ret,
			   uint8_t *ret_flags, wb_error *err)
{
	uint64_t before = *position, inside = 0;
	wb_str record;
	wb_code code = wbi_list_at(w->txn, &w->tables, list, index, view,
				   position, err);

	if (code != WB_OK)
		return code;
	if (*position <= before)
		return WBI_FAIL(err, WB_ECORRUPT,
				"item %" PRIu64 " is position %" PRIu64
				", behind one at %" PRIu64,
				index + 1, *position, before);
	code = wbi_get_at(w->txn, w->tables.outbox, *position, &record, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"item %" PRIu64 ": position %" PRIu64
				" is not in the journal",
				index + 1, *position);
	if (code == WB_OK)
		code = wbi_record_decode(record.ptr, record.len, ret, &inside,
					 err);
	if (code != WB_OK)
		return code;
	*ret_flags = wbi_record_flags(record);
	if (!(*ret_flags & WBI_RECORD_STREAM))
		return WBI_FAIL(err, WB_ECORRUPT,
				"item %" PRIu64 ": position %" PRIu64
				" is of no stream",
				index + 1, *position);
	return WB_OK;
}

static wb_code stream_items(wbi_walk *w, wb_str name,
			    const wbi_stream_head *head, wb_error *err)
{
	wbi_list_view view = {0};
	uint64_t position = 0;
	wb_event event;
	uint8_t flags;

	for (uint64_t i = 0; i < head->list.count; i++) {
		wb_code code = item_record(w, &head->list, i, &view, &position,
					   &event, &flags, err);

		if (code != WB_OK)
			return code;
		if (event.sequence != i + 1 || !wb_str_eq(event.subject, name))
			return WBI_FAIL(
				err, WB_ECORRUPT,
				"version %" PRIu64 ": position %" PRIu64
				" holds version %" PRIu64 " of \"%.*s\"",
				i + 1, position, event.sequence,
				(int)event.subject.len, event.subject.ptr);
		if (!(flags & WBI_RECORD_STUB) != (i + 1 >= head->floor))
			return WBI_FAIL(err, WB_ECORRUPT,
					"version %" PRIu64 " is %s, its floor "
					"is %" PRIu64,
					i + 1,
					flags & WBI_RECORD_STUB ? "a stub"
								: "whole",
					head->floor);
		if ((i & 255) == 0)
			wbi_walk_tick(w);
	}
	return WB_OK;
}

static wb_code category_items(wbi_walk *w, wb_str name, const wbi_list *list,
			      wb_error *err)
{
	wbi_list_view view = {0};
	uint64_t position = 0;
	wb_event event;
	uint8_t flags;

	for (uint64_t i = 0; i < list->count; i++) {
		wb_code code = item_record(w, list, i, &view, &position, &event,
					   &flags, err);

		if (code != WB_OK)
			return code;
		if (!wb_str_eq(wbi_category_of(event.subject), name))
			return WBI_FAIL(err, WB_ECORRUPT,
					"item %" PRIu64 ": position %" PRIu64
					" is of \"%.*s\"",
					i + 1, position, (int)event.subject.len,
					event.subject.ptr);
		if ((i & 255) == 0)
			wbi_walk_tick(w);
	}
	return WB_OK;
}

/* ---- tables -------------------------------------------------------------- */

static wb_code walk_stream(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	struct wbi_walk_streams *s = w->streams;
	wbi_stream_head head;
	wb_code code = wbi_stream_head_decode(key, row, &head, err);

	if (code != WB_OK)
		return code;
	if (key.len == 0 || key.len > WBI_STREAM_NAME_MAX || key.ptr[0] == '/')
		return WBI_FAIL(err, WB_ECORRUPT, "no name of a stream");
	if (head.list.number > s->numbers || s->versions[head.list.number])
		return WBI_FAIL(err, WB_ECORRUPT,
				"number %" PRIu64 " of %" PRIu64
				" is out of range or another's",
				head.list.number, s->numbers);
	s->versions[head.list.number] = head.list.count;
	s->sum += head.list.count;
	s->chunks += head.list.count / WBI_STREAM_CHUNK;
	return stream_items(w, key, &head, err);
}

/* Streams of a category: the one of just its name, and those behind it. */
static wb_code count_streams(const wbi_walk *w, wb_str name, uint64_t *ret,
			     wb_error *err)
{
	char prefix[WBI_STREAM_NAME_MAX + 1];
	wb_str key = wb_str_n(prefix, name.len + 1), row;
	wbi_move move = WBI_SEEK;
	wbi_cursor *cursor;
	wb_code code = wbi_get(w->txn, w->tables.streams, name, &row, err);

	*ret = code == WB_OK;
	if (code == WB_OK || code == WB_ENOTFOUND)
		code = wbi_cursor_open(w->txn, w->tables.streams, &cursor, err);
	if (code != WB_OK)
		return code;
	memcpy(prefix, name.ptr, name.len);
	prefix[name.len] = '/';
	for (;; move = WBI_NEXT) {
		code = wbi_cursor_move(cursor, move, &key, &row, err);
		if (code != WB_OK || key.len <= name.len ||
		    memcmp(key.ptr, prefix, name.len + 1) != 0)
			break;
		(*ret)++;
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code walk_category(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	struct wbi_walk_streams *s = w->streams;
	wbi_category_head head;
	uint64_t streams;
	wb_code code = wbi_category_head_decode(key, row, &head, err);

	if (code != WB_OK)
		return code;
	if (key.len == 0 || key.len > WBI_STREAM_NAME_MAX)
		return WBI_FAIL(err, WB_ECORRUPT, "no name of a category");
	if (head.list.number > s->category_numbers)
		return WBI_FAIL(err, WB_ECORRUPT,
				"number %" PRIu64 " of %" PRIu64,
				head.list.number, s->category_numbers);
	s->category_sum += head.list.count;
	s->category_chunks += head.list.count / WBI_CATEGORY_CHUNK;
	code = count_streams(w, key, &streams, err);
	if (code == WB_OK && streams != head.streams)
		return WBI_FAIL(err, WB_ECORRUPT,
				"%" PRIu64 " streams, where %" PRIu64
				" are counted",
				streams, head.streams);
	return code == WB_OK ? category_items(w, key, &head.list, err) : code;
}

static wb_code walk_stream_chunk(wbi_walk *w, wb_str key, wb_str row,
				 wb_error *err)
{
	wbi_list_view view;
	uint64_t number;

	w->streams->rows++;
	return wbi_list_chunk_decode(WBI_LIST_STREAM, key, row, &number, &view,
				     err);
}

static wb_code walk_category_chunk(wbi_walk *w, wb_str key, wb_str row,
				   wb_error *err)
{
	wbi_list_view view;
	uint64_t number;

	w->streams->rows++;
	return wbi_list_chunk_decode(WBI_LIST_CATEGORY, key, row, &number,
				     &view, err);
}

static wb_code walk_snapshot(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	struct wbi_walk_streams *s = w->streams;
	wbi_snapshot snapshot;
	uint64_t number = 0;
	wb_code code = wbi_snapshot_decode(key, row, &number, &snapshot, err);

	if (code != WB_OK)
		return code;
	if (number == 0 || number > s->numbers || snapshot.version == 0 ||
	    snapshot.version > s->versions[number])
		return WBI_FAIL(err, WB_ECORRUPT,
				"a snapshot of version %" PRIu64
				" of stream number %" PRIu64
				", which has no such version",
				snapshot.version, number);
	return WB_OK;
}

/* ---- all of it ----------------------------------------------------------- */

/* An index has the chunks that heads speak of, which were all looked at, and
 * none besides. */
static wb_code walk_index(wbi_walk *w, const wbi_walk_rows *rows,
			  uint64_t chunks, wb_error *err)
{
	wb_code code;

	w->streams->rows = 0;
	code = wbi_walk_table(w, w->txn, rows, err);
	w->table = rows->name;
	if (code == WB_OK && w->streams->rows != chunks)
		wbi_walk_finding(w, WB_ECORRUPT, 0,
				 "%" PRIu64 " chunks, where %" PRIu64 " belong",
				 w->streams->rows, chunks);
	w->table = "";
	return code;
}

static wb_code walk_lists(wbi_walk *w, wb_error *err)
{
	const wbi_store_tables *t = &w->tables;
	const wbi_walk_rows streams = {"streams", t->streams, false,
				       walk_stream, describe_stream};
	const wbi_walk_rows categories = {"categories", t->categories, false,
					  walk_category, describe_category};
	const wbi_walk_rows stream_index = {"stream_index", t->stream_index,
					    false, walk_stream_chunk, NULL};
	const wbi_walk_rows category_index = {"category_index",
					      t->category_index, false,
					      walk_category_chunk, NULL};
	const wbi_walk_rows snapshots = {"snapshots", t->snapshots, false,
					 walk_snapshot, NULL};
	struct wbi_walk_streams *s = w->streams;
	wb_code code = wbi_walk_table(w, w->txn, &streams, err);

	if (code == WB_OK)
		code = wbi_walk_table(w, w->txn, &categories, err);
	if (code == WB_OK)
		code = walk_index(w, &stream_index, s->chunks, err);
	if (code == WB_OK)
		code = walk_index(w, &category_index, s->category_chunks, err);
	if (code == WB_OK)
		code = wbi_walk_table(w, w->txn, &snapshots, err);
	return code;
}

static void walk_sums(wbi_walk *w)
{
	const struct wbi_walk_streams *s = w->streams;

	if (s->sum != w->stream_records) {
		w->table = "streams";
		wbi_walk_finding(w, WB_ECORRUPT, 0,
				 "%" PRIu64 " versions, and %" PRIu64
				 " records of streams in the journal",
				 s->sum, w->stream_records);
	}
	if (s->category_sum != s->sum) {
		w->table = "categories";
		wbi_walk_finding(w, WB_ECORRUPT, 0,
				 "%" PRIu64 " events, and %" PRIu64
				 " versions of streams",
				 s->category_sum, s->sum);
	}
	w->table = "";
}

wb_code wbi_walk_streams(wbi_walk *w, wb_error *err)
{
	struct wbi_walk_streams s = {.sum = 0};
	uint64_t bytes;
	wb_code code;

	w->file = WBI_WALK_MAIN;
	code = wbi_table_size(w->txn, w->tables.streams, &bytes, &s.numbers,
			      err);
	if (code == WB_OK)
		code = wbi_table_size(w->txn, w->tables.categories, &bytes,
				      &s.category_numbers, err);
	if (code != WB_OK)
		return code;
	s.versions = calloc(s.numbers + 1, sizeof(*s.versions));
	if (!s.versions)
		return WBI_FAIL(err, WB_ENOMEM, "fsck: out of memory");
	w->streams = &s;
	code = walk_lists(w, err);
	if (code == WB_OK)
		walk_sums(w);
	w->streams = NULL;
	free(s.versions);
	return code;
}
