/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See gap.h. Keys are compared as LMDB does: byte by byte, a shorter one first.
 * A group's rows begin with its prefix; if that sorts between two neighbours
 * and the second does not begin with it, no row does. Nothing here outlives the
 * transaction, so a crash has nothing to leave.
 */
#include "inbox/gap.h"

#include "lib/base/assert.h"

static int gap_compare(wb_str a, wb_str b)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int c = memcmp(a.ptr, b.ptr, len);

	if (c != 0)
		return c;
	return a.len < b.len ? -1 : a.len > b.len;
}

static bool gap_begins(wb_str key, wb_str with)
{
	return key.len >= with.len && !memcmp(key.ptr, with.ptr, with.len);
}

static bool gap_covers(const wbi_gap *gap, wb_str prefix)
{
	wb_str before = wbi_row_key_str(&gap->before);

	if (!gap->known)
		return false;
	if (!gap->first &&
	    gap_compare(wbi_row_key_str(&gap->after), prefix) >= 0)
		return false;
	return gap->last || (gap_compare(before, prefix) > 0 &&
			     !gap_begins(before, prefix));
}

static void gap_keep(wbi_row_key *to, wb_str key)
{
	WB_ASSERT(key.len <= sizeof(to->bytes));
	memcpy(to->bytes, key.ptr, key.len);
	to->len = (uint16_t)key.len;
}

/* WB_ENOTFOUND: nothing begins with `prefix`; *gap is where it would be. */
static wb_code gap_search(wbi_cursor *cursor, wb_str prefix, wbi_gap *gap,
			  wb_error *err)
{
	wb_str at = prefix, row;
	wb_code code = wbi_cursor_move(cursor, WBI_SEEK, &at, &row, err);

	if (code == WB_OK && gap_begins(at, prefix))
		return WB_OK;
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	gap->last = code == WB_ENOTFOUND;
	if (!gap->last)
		gap_keep(&gap->before, at);
	code = wbi_cursor_move(cursor, gap->last ? WBI_LAST : WBI_PREV, &at,
			       &row, err);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	gap->first = code == WB_ENOTFOUND;
	if (!gap->first)
		gap_keep(&gap->after, at);
	gap->known = true;
	return WB_ENOTFOUND;
}

wb_code wbi_gap_has_group(MDB_txn *txn, const wbi_store_tables *tables,
			  const wbi_work_id *id, wbi_gap *gap, bool *ret,
			  wb_error *err)
{
	wbi_row_key prefix = wbi_work_group_prefix(id);
	wbi_cursor *cursor;
	wb_code code;

	WB_ASSERT(id->lane == WBI_LANE_KEYED);
	*ret = false;
	if (gap_covers(gap, wbi_row_key_str(&prefix)))
		return WB_OK;
	gap->known = false;
	code = wbi_cursor_open(txn, tables->work, &cursor, err);
	if (code != WB_OK)
		return code;
	code = gap_search(cursor, wbi_row_key_str(&prefix), gap, err);
	wbi_cursor_close(cursor);
	*ret = code == WB_OK;
	return code == WB_ENOTFOUND ? WB_OK : code;
}
