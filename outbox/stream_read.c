/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading streams: a list of positions (one stream's, one category's) or the
 * journal itself, item after item, in either direction. What is handed out
 * points into the map and is believed in nothing: the record must be whole,
 * stand where it says, and be of the stream and version that the index says.
 *
 * A reader keeps one number of where it is, so it can lose its transaction
 * between any two events: with one of its own it does so every `batch` events,
 * and never holds pages back for long. It writes nothing. One thread; it owns
 * its copies of names and its room for headers.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/record.h"
#include "lib/journal/journal.h"
#include "outbox/stream.h"

enum { READ_BATCH = 256 };

typedef enum read_source { READ_STREAM, READ_CATEGORY, READ_ALL } read_source;

struct wb_stream_reader {
	wb_store *store;
	wbi_journal journal;
	MDB_txn *txn;
	bool own; /* the transaction is the reader's; NULL: none just now */
	uint32_t batch, used;
	read_source source;
	bool backwards, stubs;
	char name[WB_STREAM_NAME_MAX + 1];
	size_t name_len;
	uint64_t after; /* READ_ALL: position of the last event */
	uint64_t index; /* in a list: how many items are before the reader, in
			   the order of the list; never less by an append */
	bool begun;     /* `index` was found */
	bool known;     /* what follows is as of this transaction */
	wbi_list list;
	uint64_t floor, first, head;
	wbi_list_view view;
	wb_header *headers;
	size_t header_room;
};

/* ---- transactions -------------------------------------------------------- */

void wb_stream_pause(wb_stream_reader *reader)
{
	if (!reader || !reader->own)
		return;
	wbi_txn_abort(reader->txn);
	reader->txn = NULL;
	reader->used = 0;
	reader->known = false;
}

static wb_code read_begin(wb_stream_reader *r, wb_error *err)
{
	if (r->own && r->used >= r->batch)
		wb_stream_pause(r);
	if (r->txn)
		return WB_OK;
	return wbi_txn_begin(wb_store_env(r->store), false, &r->txn, err);
}

/* ---- open, close --------------------------------------------------------- */

static wb_code read_check(wb_store *store, MDB_txn *txn,
			  const wb_stream_query *query, wb_error *err)
{
	if (!store || !query)
		return WBI_FAIL(err, WB_EINVAL, "stream: %s is NULL",
				store ? "query" : "store");
	if (query->size != sizeof(*query))
		return WBI_FAIL(err, WB_EINVAL,
				"stream query: size is %zu, not %zu; start "
				"from WB_STREAM_QUERY_INIT",
				query->size, sizeof(*query));
	if (query->stream.len > 0 && query->category.len > 0)
		return WBI_FAIL(err, WB_EINVAL,
				"stream query: a stream or a category, not "
				"both");
	if (query->stream.len > WB_STREAM_NAME_MAX ||
	    query->category.len > WB_STREAM_NAME_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"stream query: a name over %d bytes",
				(int)WB_STREAM_NAME_MAX);
	if (txn && !wbi_txn_is_of(txn, wb_store_env(store)))
		return WBI_FAIL(err, WB_EINVAL,
				"stream query: the transaction is of another "
				"environment than the store");
	return WB_OK;
}

wb_code wb_stream_open(wb_store *store, MDB_txn *txn,
		       const wb_stream_query *query, wb_stream_reader **ret,
		       wb_error *err)
{
	wb_stream_reader *r;
	wb_str name;
	wb_code code = read_check(store, txn, query, err);

	if (code != WB_OK)
		return code;
	r = calloc(1, sizeof(*r));
	if (!r)
		return WBI_FAIL(err, WB_ENOMEM, "stream: out of memory");
	name = query->stream.len > 0 ? query->stream : query->category;
	r->store = store;
	r->journal = wbi_journal_of(store, WBI_OUTBOX);
	r->txn = txn;
	r->own = !txn;
	r->batch = query->batch > 0 ? query->batch : READ_BATCH;
	r->source = query->stream.len > 0     ? READ_STREAM
		    : query->category.len > 0 ? READ_CATEGORY
					      : READ_ALL;
	r->backwards = query->backwards;
	r->stubs = query->stubs;
	r->after = query->after;
	r->name_len = name.len;
	if (name.len > 0)
		memcpy(r->name, name.ptr, name.len);
	*ret = r;
	return WB_OK;
}

void wb_stream_close(wb_stream_reader *reader)
{
	if (!reader)
		return;
	wb_stream_pause(reader);
	free(reader->headers);
	free(reader);
}

/* ---- one record ---------------------------------------------------------- */

static wb_code read_headers(wb_stream_reader *r, wb_str record, wb_event *event,
			    wb_error *err)
{
	if (event->header_count > r->header_room) {
		wb_header *more = realloc(r->headers,
					  event->header_count * sizeof(*more));

		if (!more)
			return WBI_FAIL(err, WB_ENOMEM,
					"stream: out of memory");
		r->headers = more;
		r->header_room = event->header_count;
	}
	if (event->header_count == 0)
		return WB_OK;
	return wbi_record_headers(record.ptr, record.len, event, r->headers,
				  err);
}

/* The record at a position, decoded; *ret_flags says what it is. */
static wb_code read_record(wb_stream_reader *r, uint64_t position,
			   wb_stream_event *ret, uint8_t *ret_flags,
			   wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	uint64_t inside = 0;
	wb_str record;
	wb_code code =
		wbi_journal_get(&r->journal, r->txn, position, &record, &cause);

	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"outbox: position %" PRIu64 " is missing; run "
				"waybill fsck",
				position);
	if (code == WB_OK)
		code = wbi_record_decode(record.ptr, record.len, &ret->event,
					 &inside, &cause);
	if (code == WB_OK)
		code = read_headers(r, record, &ret->event, &cause);
	if (code == WB_OK && inside != position)
		code = WBI_FAIL(&cause, WB_ECORRUPT,
				"holds the record of %" PRIu64, inside);
	if (code != WB_OK)
		return wb_error_set(err, code, cause.foreign, __func__,
				    "outbox: position %" PRIu64 ": %.300s%s",
				    position, cause.text,
				    code == WB_ECORRUPT ? "; run waybill fsck"
							: "");
	*ret_flags = wbi_record_flags(record);
	ret->position = position;
	ret->truncated = *ret_flags & WBI_RECORD_STUB;
	return WB_OK;
}

static wb_code read_below_floor(const wb_stream_reader *r, wb_str name,
				uint64_t version, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(r->store);
	char shown[WB_STREAM_NAME_MAX + 1];
	wbi_stream_head head;
	wb_code code = wbi_stream_head_get(r->txn, tables, name, &head, err);

	if (code != WB_OK)
		return code == WB_ENOTFOUND
			       ? WBI_FAIL(err, WB_ECORRUPT,
					  "a stub of a stream that does not "
					  "exist; run waybill fsck")
			       : code;
	wbi_text_show(name, shown, sizeof(shown));
	return WBI_FAIL(err, WB_ETRUNCATED,
			"stream \"%s\": version %" PRIu64 " was truncated, "
			"its floor is %" PRIu64 "; read from there on, or "
			"begin with a snapshot",
			shown, version, head.floor);
}

/* Is it what the list says that it is? */
static wb_code read_belongs(const wb_stream_reader *r, uint64_t version,
			    const wb_stream_event *got, uint8_t flags,
			    wb_error *err)
{
	wb_str name = wb_str_n(r->name, r->name_len);
	wb_str subject = got->event.subject;
	bool good = flags & WBI_RECORD_STREAM;

	if (good && r->source == READ_STREAM)
		good = wb_str_eq(subject, name) &&
		       got->event.sequence == version &&
		       got->truncated == (version < r->floor);
	if (good && r->source == READ_CATEGORY)
		good = wb_str_eq(wbi_category_of(subject), name);
	if (good)
		return WB_OK;
	return WBI_FAIL(err, WB_ECORRUPT,
			"%s \"%.*s\": the record at position %" PRIu64
			" is not its item %" PRIu64 "; run waybill fsck",
			r->source == READ_STREAM ? "stream" : "category",
			(int)(r->name_len < 200 ? r->name_len : 200), r->name,
			got->position, version);
}

/* ---- lists --------------------------------------------------------------- */

static wb_code read_list_head(wb_stream_reader *r, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(r->store);
	wb_str name = wb_str_n(r->name, r->name_len);
	wbi_stream_head stream;
	wbi_category_head category;
	wb_code code;

	if (r->source == READ_STREAM) {
		code = wbi_stream_head_get(r->txn, tables, name, &stream, err);
		r->list = stream.list;
		r->floor = stream.floor;
	} else {
		code = wbi_category_head_get(r->txn, tables, name, &category,
					     err);
		r->list = category.list;
	}
	r->known = code == WB_OK;
	return code;
}

/* Where `after` is in the list, in items: a version is one, a position is
 * looked for. */
static wb_code read_find(wb_stream_reader *r, wb_error *err)
{
	uint64_t wanted, count;
	wb_code code = WB_OK;

	/* How many items are before it, in the order of the list. */
	if (r->backwards)
		wanted = r->after == 0 ? UINT64_MAX : r->after;
	else
		wanted = r->after == UINT64_MAX ? r->after : r->after + 1;
	if (r->source == READ_STREAM)
		count = wanted - 1 < r->list.count ? wanted - 1 : r->list.count;
	else
		code = wbi_list_below(r->txn, wbi_store_get_tables(r->store),
				      &r->list, wanted, &r->view, &count, err);
	if (code != WB_OK)
		return code;
	r->index = count;
	r->begun = true;
	return WB_OK;
}

/* The item that comes next, from 0; WB_ENOTFOUND: none for now. */
static wb_code read_next_item(wb_stream_reader *r, uint64_t *ret_index,
			      wb_error *err)
{
	wb_code code = r->known ? WB_OK : read_list_head(r, err);

	if (code == WB_OK && !r->begun)
		code = read_find(r, err);
	if (code != WB_OK)
		return code;
	if (!r->backwards && r->index >= r->list.count)
		code = read_list_head(r, err); /* it may have grown */
	if (code != WB_OK)
		return code;
	if (r->backwards ? r->index == 0 : r->index >= r->list.count)
		return WB_ENOTFOUND;
	*ret_index = r->backwards ? r->index - 1 : r->index;
	return WB_OK;
}

static wb_code read_list(wb_stream_reader *r, wb_stream_event *ret,
			 wb_error *err)
{
	uint64_t index, position;
	uint8_t flags;
	wb_code code = read_begin(r, err);

	if (code == WB_OK)
		code = read_next_item(r, &index, err);
	if (code != WB_OK)
		return code;
	r->used++;
	if (r->source == READ_STREAM && index + 1 < r->floor && !r->stubs)
		return read_below_floor(r, wb_str_n(r->name, r->name_len),
					index + 1, err);
	code = wbi_list_at(r->txn, wbi_store_get_tables(r->store), &r->list,
			   index, &r->view, &position, err);
	if (code == WB_OK)
		code = read_record(r, position, ret, &flags, err);
	if (code == WB_OK)
		code = read_belongs(r, index + 1, ret, flags, err);
	if (code == WB_OK && ret->truncated && !r->stubs)
		code = read_below_floor(r, ret->event.subject,
					ret->event.sequence, err);
	if (code == WB_OK)
		r->index = r->backwards ? index : index + 1;
	return code;
}

/* ---- the journal --------------------------------------------------------- */

/* The next position; WB_ENOTFOUND: none for now. */
static wb_code read_next_position(wb_stream_reader *r, uint64_t *ret,
				  wb_error *err)
{
	wb_code code = WB_OK;

	if (!r->known || (!r->backwards && r->after >= r->head))
		code = wbi_journal_range(&r->journal, r->txn, &r->first,
					 &r->head, err);
	if (code != WB_OK)
		return code;
	r->known = true;
	if (r->backwards && (r->after == 0 || r->after > r->head))
		r->after = r->head + 1;
	if (r->backwards ? r->after <= r->first : r->after >= r->head)
		return WB_ENOTFOUND;
	*ret = r->backwards ? r->after - 1 : r->after + 1;
	return *ret > 0 ? WB_OK : WB_ENOTFOUND;
}

/* Events that are of no stream are passed by. */
static wb_code read_all(wb_stream_reader *r, wb_stream_event *ret,
			wb_error *err)
{
	uint64_t at;
	uint8_t flags = 0;
	wb_code code = WB_OK;

	for (; !(flags & WBI_RECORD_STREAM); r->after = at) {
		code = read_begin(r, err);
		if (code == WB_OK)
			code = read_next_position(r, &at, err);
		if (code == WB_OK)
			code = read_record(r, at, ret, &flags, err);
		if (code == WB_OK && ret->truncated && !r->stubs)
			code = read_below_floor(r, ret->event.subject,
						ret->event.sequence, err);
		if (code != WB_OK)
			return code;
		r->used++;
	}
	return WB_OK;
}

wb_code wb_stream_next(wb_stream_reader *reader, wb_stream_event *ret,
		       wb_error *err)
{
	wb_stream_event got;
	wb_code code;

	if (!reader || !ret)
		return WBI_FAIL(err, WB_EINVAL, "stream: %s is NULL",
				reader ? "ret" : "reader");
	code = reader->source == READ_ALL ? read_all(reader, &got, err)
					  : read_list(reader, &got, err);
	if (code == WB_OK)
		*ret = got;
	else
		wb_stream_pause(reader);
	return code;
}
