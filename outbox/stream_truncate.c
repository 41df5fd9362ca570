/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Truncation: records of old versions are replaced, each where it stands, by
 * stubs, and the stream's head row says from where on there are whole ones. No
 * position and no version goes missing, so a gap is damage still, and an
 * append that is repeated is known still. Both happen in one transaction, a
 * bounded number of records at a time: a crash leaves a stream truncated up to
 * the floor that it has, and the next call goes on from there.
 *
 * Nothing is let go that somebody has yet to read: the relay must have settled
 * it, and every consumer of this journal must have passed it.
 */
#include <inttypes.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/attribute.h"
#include "lib/event/record.h"
#include "lib/journal/inbox_rows.h"
#include "lib/journal/journal.h"
#include "outbox/stream.h"

enum {
	CUT_MAX = 100,
	CUT_MOST = 100000,
	CUT_STUB_MAX = WBI_RECORD_FIXED + 3 * 255 /* id, type, subject */
};

typedef struct cut {
	wb_store *store;
	const wbi_store_tables *tables;
	wbi_journal journal;
	MDB_txn *txn;
	const wb_stream_cut *what;
	wbi_stream_head head;
	wbi_list_view view;
	char name[WB_STREAM_NAME_MAX + 1]; /* to be shown */
} cut;

static wb_code cut_position(cut *c, uint64_t version, uint64_t *ret,
			    wb_error *err)
{
	return wbi_list_at(c->txn, c->tables, &c->head.list, version - 1,
			   &c->view, ret, err);
}

/* ---- may they go? -------------------------------------------------------- */

/* Up to which position the relay is done with events. */
static wb_code cut_settled(const cut *c, uint64_t *ret, wb_error *err)
{
	wbi_relay_cursor cursor;
	MDB_txn *txn;
	wb_code code =
		wbi_txn_begin(wbi_store_relay_env(c->store), false, &txn, err);

	if (code != WB_OK)
		return code;
	*ret = 0;
	code = wbi_relay_cursor_read(c->store, txn, &cursor, err);
	if (code == WB_OK && !strcmp(cursor.origin, c->journal.origin))
		*ret = cursor.floor < cursor.position ? cursor.floor
						      : cursor.position;
	wbi_txn_abort(txn);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code cut_check_relay(const cut *c, uint64_t last, wb_error *err)
{
	uint64_t settled;
	wb_code code = cut_settled(c, &settled, err);

	if (code != WB_OK || last <= settled)
		return code;
	return WBI_FAIL(err, WB_ESTATE,
			"stream \"%s\": version %" PRIu64 " (position %" PRIu64
			") is not delivered yet, the relay has settled up to "
			"%" PRIu64 "; truncate when it has",
			c->name, c->what->before - 1, last, settled);
}

static wb_code cut_check_consumers(const cut *c, uint64_t last, wb_error *err)
{
	wbi_consumer_slowest slowest;
	wb_code code;

	code = wbi_consumer_find_slowest(c->txn, c->tables->consumers, 'o',
					 c->journal.origin, &slowest, err);
	if (code != WB_OK || slowest.count == 0 || last <= slowest.position)
		return code;
	return WBI_FAIL(err, WB_ESTATE,
			"stream \"%s\": version %" PRIu64 " (position %" PRIu64
			") is still to be read by %s, which is at %" PRIu64
			"; truncate when it has, or forget it (waybill outbox "
			"forget)",
			c->name, c->what->before - 1, last, slowest.name,
			slowest.position);
}

static wb_code cut_check_snapshot(const cut *c, wb_error *err)
{
	wbi_snapshot newest = {0};
	wb_code code;

	if (c->what->without_snapshot)
		return WB_OK;
	code = wbi_snapshot_get(c->txn, c->tables, c->head.list.number,
				UINT64_MAX, &newest, err);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	if (newest.version + 1 >= c->what->before)
		return WB_OK;
	return WBI_FAIL(err, WB_ESTATE,
			"stream \"%s\": no snapshot at version %" PRIu64
			" or later holds what the truncated events did "
			"(newest: %" PRIu64 "); make one first, or truncate "
			"without",
			c->name, c->what->before - 1, newest.version);
}

static wb_code cut_check(cut *c, wb_error *err)
{
	uint64_t before = c->what->before, last;
	wb_code code;

	if (before == 0 || before - 1 > c->head.list.count)
		return WBI_FAIL(err, WB_EINVAL,
				"stream \"%s\": truncate below %" PRIu64
				"; it is at version %" PRIu64
				", give 1 to %" PRIu64,
				c->name, before, c->head.list.count,
				c->head.list.count + 1);
	if (before <= c->head.floor)
		return WB_OK;
	code = cut_position(c, before - 1, &last, err);
	if (code == WB_OK)
		code = cut_check_relay(c, last, err);
	if (code == WB_OK)
		code = cut_check_consumers(c, last, err);
	return code == WB_OK ? cut_check_snapshot(c, err) : code;
}

/* ---- stubs --------------------------------------------------------------- */

/* Encode what is left of a record into `ret`, since the record itself goes as
 * soon as something is written. */
static wb_code cut_stub(const cut *c, uint64_t version, uint64_t position,
			uint8_t ret[CUT_STUB_MAX], size_t *ret_size,
			wb_error *err)
{
	uint64_t inside = 0;
	wb_event event, stub;
	wb_str record;
	wb_code code =
		wbi_journal_get(&c->journal, c->txn, position, &record, err);

	if (code == WB_OK)
		code = wbi_record_decode(record.ptr, record.len, &event,
					 &inside, err);
	if (code == WB_ENOTFOUND ||
	    (code == WB_OK &&
	     (inside != position || event.sequence != version ||
	      !(wbi_record_flags(record) & WBI_RECORD_STREAM) ||
	      !wb_str_eq(event.subject, c->what->stream))))
		return WBI_FAIL(err, WB_ECORRUPT,
				"stream \"%s\": position %" PRIu64 " does not "
				"hold its version %" PRIu64
				"; run waybill fsck",
				c->name, position, version);
	if (code != WB_OK)
		return code;
	stub = (wb_event){.id = event.id,
			  .type = event.type,
			  .subject = event.subject,
			  .sequence = event.sequence,
			  .time_us = event.time_us};
	*ret_size = wbi_record_size(&stub);
	WB_ASSERT(*ret_size <= CUT_STUB_MAX);
	wbi_record_encode_as(&stub, position,
			     WBI_RECORD_STREAM | WBI_RECORD_STUB, ret,
			     *ret_size);
	return WB_OK;
}

static wb_code cut_run(cut *c, wb_error *err)
{
	uint64_t most = c->what->max > 0 ? c->what->max : CUT_MAX;
	uint64_t version = c->head.floor, position;
	uint8_t stub[CUT_STUB_MAX];
	size_t size = 0;

	for (uint64_t n = 0; version < c->what->before && n < most; n++) {
		wb_code code = cut_position(c, version, &position, err);

		if (code == WB_OK)
			code = cut_stub(c, version, position, stub, &size, err);
		if (code == WB_OK)
			code = wbi_put_at(c->txn, c->journal.table, position,
					  wb_str_n(stub, size), err);
		if (code != WB_OK)
			return code;
		version++;
	}
	c->head.floor = version;
	return wbi_stream_head_put(c->txn, c->tables, c->what->stream, &c->head,
				   err);
}

wb_code wb_stream_truncate(wb_store *store, MDB_txn *txn,
			   const wb_stream_cut *what, uint64_t *ret_floor,
			   wb_error *err)
{
	cut c = {.store = store, .txn = txn, .what = what};
	wb_code code;

	if (!store || !txn || !what || what->max > CUT_MOST)
		return WBI_FAIL(err, WB_EINVAL, "stream truncate: %s",
				!store  ? "store is NULL"
				: !txn  ? "txn is NULL"
				: !what ? "cut is NULL"
					: "max is over 100000");
	if (!wbi_txn_is_of(txn, wb_store_env(store)))
		return WBI_FAIL(err, WB_EINVAL,
				"stream truncate: the transaction is of "
				"another environment than the store");
	code = wbi_stream_check_name(what->stream, err);
	if (code != WB_OK)
		return code;
	wbi_text_show(what->stream, c.name, sizeof(c.name));
	c.tables = wbi_store_get_tables(store);
	c.journal = wbi_journal_of(store, WBI_OUTBOX);
	code = wbi_stream_head_get(txn, c.tables, what->stream, &c.head, err);
	if (code == WB_ENOTFOUND)
		return wbi_stream_unknown(what->stream, err);
	if (code == WB_OK)
		code = cut_check(&c, err);
	if (code == WB_OK && what->before > c.head.floor)
		code = cut_run(&c, err);
	if (code == WB_OK && ret_floor)
		*ret_floor = c.head.floor;
	return code;
}
