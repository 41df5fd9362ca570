/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading a journal in order. What is returned points into the map and lives
 * as long as the transaction; the reader owns one LMDB cursor. It trusts
 * neither the record nor its place: the checksum is compared, the position
 * inside must be the row's, and each must follow on the one before.
 */
#include <inttypes.h>

#include "lib/base/error.h"
#include "lib/event/record.h"
#include "lib/journal/journal.h"

wb_code wbi_reader_open(wbi_reader *reader, const wbi_journal *journal,
			MDB_txn *txn, uint64_t after, wb_error *err)
{
	/* Without a cursor, too: it is closed whatever this returns. */
	*reader = (wbi_reader){.journal = journal, .position = after};
	return wbi_cursor_open(txn, journal->table, &reader->cursor, err);
}

static const char *reader_name(const wbi_reader *reader)
{
	return reader->journal->kind == WBI_OUTBOX ? "outbox" : "inbox";
}

static wb_code reader_gap(const wbi_reader *reader, uint64_t at, wb_error *err)
{
	if (!reader->started)
		return WBI_FAIL(err, WB_ECORRUPT,
				"%s: position %" PRIu64 " is wanted and %" PRIu64
				" is the first there is; run waybill fsck",
				reader_name(reader), reader->position + 1, at);
	return WBI_FAIL(err, WB_ECORRUPT,
			"%s: a gap: position %" PRIu64 " is followed by %" PRIu64
			"; run waybill fsck",
			reader_name(reader), reader->position, at);
}

wb_code wbi_reader_next(wbi_reader *reader, wb_event *ret_event,
			wb_str *ret_record, wb_error *err)
{
	uint64_t at = reader->position + 1, inside;
	wb_error cause = WB_ERROR_INIT;
	wb_event event;
	wb_str record;
	wb_code code;

	if (reader->position == UINT64_MAX)
		return WB_ENOTFOUND;
	code = wbi_cursor_move_at(reader->cursor,
				  reader->started ? WBI_NEXT : WBI_SEEK, &at,
				  &record, err);
	if (code != WB_OK)
		return code;
	if (at != reader->position + 1)
		return reader_gap(reader, at, err);
	code = wbi_record_decode(record.ptr, record.len, &event, &inside,
				 &cause);
	if (code != WB_OK)
		return WBI_FAIL(err, code,
				"%s: position %" PRIu64 ": %.300s; run waybill "
				"fsck",
				reader_name(reader), at, cause.text);
	if (inside != at)
		return WBI_FAIL(err, WB_ECORRUPT,
				"%s: position %" PRIu64 " holds the record of "
				"%" PRIu64 "; run waybill fsck",
				reader_name(reader), at, inside);
	reader->position = at;
	reader->started = true;
	*ret_event = event;
	*ret_record = record;
	return WB_OK;
}

void wbi_reader_close(wbi_reader *reader)
{
	wbi_cursor_close(reader->cursor);
	reader->cursor = NULL;
}
