/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay's cursor: one sealed row. It is written in the same commit as the
 * rest of what the relay did up to there, so a crash leaves the old or the new
 * cursor with all that belongs to it. Caller's transaction, caller's memory.
 */
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/journal/journal.h"
#include "lib/store/row.h"

enum { CURSOR_VERSION = 1 };

static wb_str cursor_key(void)
{
	return wb_str_from("outbox");
}

wb_code wbi_relay_cursor_decode(wb_str row, wbi_relay_cursor *ret,
				wb_error *err)
{
	wbi_relay_cursor c = {0};
	wbi_row_in in;
	wb_code code;

	code = wbi_row_open(&in, cursor_key(), row, WBI_ROW_CURSOR,
			    CURSOR_VERSION, "the relay's cursor", err);
	if (code != WB_OK)
		return code;
	wbi_row_get_text(&in, c.origin, sizeof(c.origin));
	c.position = wbi_row_get_u64(&in);
	c.floor = wbi_row_get_u64(&in);
	wbi_row_get_text(&in, c.event_id, sizeof(c.event_id));
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = c;
	return code;
}

wb_code wbi_relay_cursor_read(wb_store *store, MDB_txn *relay_txn,
			      wbi_relay_cursor *ret, wb_error *err)
{
	wb_str row;
	wb_code code = wbi_get(relay_txn, wbi_store_relay_tables(store)->cursor,
			       cursor_key(), &row, err);

	return code == WB_OK ? wbi_relay_cursor_decode(row, ret, err) : code;
}

wb_code wbi_relay_cursor_write(wb_store *store, MDB_txn *relay_txn,
			       const wbi_relay_cursor *cursor, wb_error *err)
{
	wb_str origin = wb_str_from(cursor->origin);
	wb_str event_id = wb_str_from(cursor->event_id);
	uint8_t bytes[WBI_ROW_EXTRA + 8 + 8 + 4 + 4 + sizeof(cursor->origin) +
		      sizeof(cursor->event_id)];
	size_t size = WBI_ROW_EXTRA + 8 + 8 + wbi_row_str_size(origin) +
		      wbi_row_str_size(event_id);
	wbi_row_out out;

	WB_ASSERT(cursor->floor <= cursor->position);
	WB_ASSERT(size <= sizeof(bytes));
	wbi_row_begin(&out, bytes, size, WBI_ROW_CURSOR, CURSOR_VERSION);
	wbi_row_put_str(&out, origin);
	wbi_row_put_u64(&out, cursor->position);
	wbi_row_put_u64(&out, cursor->floor);
	wbi_row_put_str(&out, event_id);
	wbi_row_seal(&out, cursor_key());
	return wbi_put(relay_txn, wbi_store_relay_tables(store)->cursor,
		       cursor_key(), wb_str_n(bytes, size), err);
}
