/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Appending to a stream: an outbox append that also enters the positions of
 * its events into the lists of its stream and of its category
 * (lib/journal/stream_rows.h). LMDB has one writer, so the version that was
 * read is the version still when the events are written: nothing else is
 * needed to refuse the second of two writers.
 *
 * Whatever can be refused is asked before the first byte is written, so a
 * refusal leaves the caller's transaction as it was. All writing happens in
 * that transaction: a crash, or its abort, leaves none of it. Nothing is
 * remembered between calls. A handle belongs to one thread.
 */
#include "outbox/stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/record.h"
#include "outbox/outbox_internal.h"

enum {
	STREAM_STACK = 8, /* events whose copies need no memory of their own */
	STREAM_EVENTS_MAX = 100000
};

wb_code wbi_stream_check_name(wb_str name, wb_error *err)
{
	char shown[64];
	size_t at;

	if (name.len == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"stream: without a name; give one such as "
				"\"booking/42\"");
	if (name.len > WB_STREAM_NAME_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"stream: a name of %zu bytes, at most %d are "
				"accepted",
				name.len, (int)WB_STREAM_NAME_MAX);
	if (!wbi_text_is_clean(name, &at))
		return WBI_FAIL(err, WB_EINVAL,
				"stream: byte %zu of its name is not part of "
				"UTF-8 text without control characters",
				at);
	if (name.ptr[0] == '/')
		return WBI_FAIL(err, WB_EINVAL,
				"stream \"%s\": its name begins with '/'; "
				"before the first '/' stands its category",
				wbi_text_show(name, shown, sizeof(shown)));
	return WB_OK;
}

/* ---- the expected version ------------------------------------------------ */

static bool stream_is_expected(uint64_t expected, uint64_t version)
{
	if (expected == WB_STREAM_ANY)
		return true;
	if (expected == WB_STREAM_EXISTS)
		return version > 0;
	return expected == version;
}

static wb_code stream_conflict(const wb_stream_write *write, uint64_t version,
			       wb_error *err)
{
	char name[WB_STREAM_NAME_MAX + 1], is[64];

	wbi_text_show(write->stream, name, sizeof(name));
	snprintf(is, sizeof(is), "it is at version %" PRIu64, version);
	if (version == 0)
		snprintf(is, sizeof(is), "it does not exist");
	if (write->expected == WB_STREAM_NONE)
		return WBI_FAIL(err, WB_ECONFLICT,
				"stream \"%s\": expected not to exist, %s; "
				"load it and decide anew",
				name, is);
	if (write->expected == WB_STREAM_EXISTS)
		return WBI_FAIL(err, WB_ECONFLICT,
				"stream \"%s\": expected to exist, %s; begin "
				"it with WB_STREAM_NONE",
				name, is);
	return WBI_FAIL(err, WB_ECONFLICT,
			"stream \"%s\": expected at version %" PRIu64
			", %s; load it again and decide anew",
			name, write->expected, is);
}

/* Is the event of a write already what stands at its version? */
static wb_code stream_has(const wb_outbox *outbox, MDB_txn *txn,
			  const wbi_list *list, wbi_list_view *view,
			  uint64_t version, const wb_event *event,
			  uint64_t *ret_position, bool *ret_has, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(outbox->store);
	uint64_t inside;
	wb_event stored;
	wb_str record;
	wb_code code = wbi_list_at(txn, tables, list, version - 1, view,
				   ret_position, err);

	if (code == WB_OK)
		code = wbi_journal_get(&outbox->journal, txn, *ret_position,
				       &record, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"outbox: position %" PRIu64 " of a stream is "
				"missing; run waybill fsck",
				*ret_position);
	if (code == WB_OK)
		code = wbi_record_decode(record.ptr, record.len, &stored,
					 &inside, err);
	if (code == WB_OK)
		*ret_has = event->id.len > 0 && wb_str_eq(stored.id, event->id);
	return code;
}

/* The stream is past what was expected: because this very write was made
 * before? Only if every event of it is there, each at its version. */
static wb_code stream_repeated(const wb_outbox *outbox, MDB_txn *txn,
			       const wb_stream_write *write,
			       const wbi_list *list, wb_stream_written *ret,
			       wb_error *err)
{
	wbi_list_view view = {0};
	uint64_t position = 0;
	bool has = true;
	wb_code code = WB_OK;

	if (write->expected >= list->count ||
	    write->count > list->count - write->expected)
		return stream_conflict(write, list->count, err);
	for (size_t i = 0; i < write->count && code == WB_OK && has; i++)
		code = stream_has(outbox, txn, list, &view,
				  write->expected + 1 + i, &write->events[i],
				  &position, &has, err);
	if (code != WB_OK)
		return code;
	if (!has)
		return stream_conflict(write, list->count, err);
	ret->version = write->expected + write->count;
	ret->position = position;
	ret->repeated = true;
	return WB_OK;
}

/* ---- the events ---------------------------------------------------------- */

static wb_code stream_fill_one(wb_event *event, wb_str stream, uint64_t version,
			       wb_error *err)
{
	char shown[128];

	if (event->subject.len > 0 && !wb_str_eq(event->subject, stream))
		return WBI_FAIL(
			err, WB_EINVAL,
			"subject \"%s\": that of an event of a stream "
			"is the stream's name; leave it empty",
			wbi_text_show(event->subject, shown, sizeof(shown)));
	if (event->sequence != 0 && event->sequence != version)
		return WBI_FAIL(err, WB_EINVAL,
				"sequence %" PRIu64 ": the event becomes "
				"version %" PRIu64 "; leave it 0",
				event->sequence, version);
	event->subject = stream;
	event->sequence = version;
	if (event->key.len == 0)
		event->key = stream;
	return WB_OK;
}

/* The events as they will be stored, into `ret`. */
static wb_code stream_fill(const wb_outbox *outbox,
			   const wb_stream_write *write, uint64_t version,
			   wb_event *ret, wb_error *err)
{
	for (size_t i = 0; i < write->count; i++) {
		wb_error why = WB_ERROR_INIT;
		wb_code code;

		ret[i] = write->events[i];
		code = stream_fill_one(&ret[i], write->stream, version + 1 + i,
				       &why);
		if (code == WB_OK)
			continue;
		if (write->count == 1)
			return WBI_FAIL(err, code, "%s", why.text);
		return WBI_FAIL(err, code, "event %zu of %zu: %.440s", i + 1,
				write->count, why.text);
	}
	return wbi_outbox_admit(outbox, ret, write->count, NULL, err);
}

/* ---- the lists ----------------------------------------------------------- */

static wb_code stream_enter(const wb_outbox *outbox, MDB_txn *txn,
			    const wb_stream_write *write, wbi_stream_head *head,
			    uint64_t first, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(outbox->store);
	wb_str name = wbi_category_of(write->stream);
	wbi_category_head category;
	wb_code code = wbi_category_head_get(txn, tables, name, &category, err);

	if (code == WB_ENOTFOUND)
		code = WB_OK;
	if (code == WB_OK && head->list.count == 0)
		category.streams++;
	for (size_t i = 0; i < write->count && code == WB_OK; i++) {
		code = wbi_list_push(txn, tables, &head->list, first + i, err);
		if (code == WB_OK)
			code = wbi_list_push(txn, tables, &category.list,
					     first + i, err);
	}
	if (code == WB_OK)
		code = wbi_stream_head_put(txn, tables, write->stream, head,
					   err);
	if (code == WB_OK)
		code = wbi_category_head_put(txn, tables, name, &category, err);
	return code;
}

static wb_code stream_write(wb_outbox *outbox, MDB_txn *txn,
			    const wb_stream_write *write, wbi_stream_head *head,
			    wb_event *room, wb_stream_written *ret,
			    wb_error *err)
{
	uint64_t first;
	wb_code code = stream_fill(outbox, write, head->list.count, room, err);

	if (code == WB_OK)
		code = wbi_journal_append_stream(
			&outbox->journal, txn, room, write->count,
			wb_str_from(outbox->source), &first, err);
	if (code == WB_OK)
		code = stream_enter(outbox, txn, write, head, first, err);
	if (code != WB_OK)
		return code;
	ret->version = head->list.count;
	ret->position = first + write->count - 1;
	ret->repeated = false;
	return WB_OK;
}

static wb_code stream_check(const wb_outbox *outbox, MDB_txn *txn,
			    const wb_stream_write *write, wb_error *err)
{
	if (!outbox || !txn || !write || !write->events || write->count == 0)
		return WBI_FAIL(err, WB_EINVAL, "stream append: %s",
				!outbox          ? "outbox is NULL"
				: !txn           ? "the transaction is NULL"
				: !write         ? "write is NULL"
				: !write->events ? "events is NULL"
						 : "no events");
	if (write->count > STREAM_EVENTS_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"stream append: %zu events, at most %d in one "
				"call",
				write->count, STREAM_EVENTS_MAX);
	if (!wbi_txn_is_of(txn, wb_store_env(outbox->store)))
		return WBI_FAIL(err, WB_EINVAL,
				"stream append: the transaction is of another "
				"environment than the store");
	if (wbi_store_get_info(outbox->store)->keep_bytes != UINT64_MAX)
		return WBI_FAIL(err, WB_ESTATE,
				"store %s lets events go when they are "
				"delivered, and a stream is its past; make a "
				"store that keeps all (waybill init "
				"--keep-all, or keep_bytes UINT64_MAX)",
				wb_store_dir(outbox->store));
	return wbi_stream_check_name(write->stream, err);
}

wb_code wb_stream_append(wb_outbox *outbox, MDB_txn *txn,
			 const wb_stream_write *write, wb_stream_written *ret,
			 wb_error *err)
{
	wb_event few[STREAM_STACK], *room = few;
	wb_stream_written written;
	wbi_stream_head head;
	wb_code code = stream_check(outbox, txn, write, err);

	if (code != WB_OK)
		return code;
	code = wbi_stream_head_get(txn, wbi_store_get_tables(outbox->store),
				   write->stream, &head, err);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	if (!stream_is_expected(write->expected, head.list.count)) {
		if (write->expected == WB_STREAM_EXISTS)
			return stream_conflict(write, 0, err);
		code = stream_repeated(outbox, txn, write, &head.list, &written,
				       err);
		goto out;
	}
	if (write->count > STREAM_STACK)
		room = malloc(write->count * sizeof(*room));
	if (!room)
		return WBI_FAIL(err, WB_ENOMEM, "stream append: out of memory");
	code = stream_write(outbox, txn, write, &head, room, &written, err);
	if (room != few)
		free(room);
out:
	if (code == WB_OK && ret)
		*ret = written;
	return code;
}
