/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What was received before (inbox_rows.h): millions of rows, one or two of
 * them per event, so they carry nothing that is not needed. Both are sealed by
 * a CRC32C like every row, but have no kind and version of their own: they
 * change with the store's format.
 *
 *   seen      source, 0 and the id | 1 and the 16 bytes of an id that is a
 *             UUID in lower case  →  position, crc
 *   seen_age  number  →  age, the key of the row of `seen`, crc
 *
 * Neither source nor id has control characters, so where one ends and the
 * other begins is plain, and the longest of both fit into LMDB's 511 bytes.
 *
 * Both rows are written and removed in one transaction: a crash leaves both or
 * none. No state; any thread, inside the caller's transaction.
 */
#include "lib/journal/inbox_rows.h"

#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/store/row.h"

enum {
	SEEN_TEXT_MAX = 255, /* of a source and of an id */
	SEEN_IS_TEXT = 0,
	SEEN_IS_UUID = 1,
	SEEN_UUID = 16,
	SEEN_CRC = 4,
	SEEN_ROW = 8 + SEEN_CRC,
	SEEN_AGE_FIXED = 8 + SEEN_CRC,
	SEEN_AGE_MAX = SEEN_AGE_FIXED + 511
};

_Static_assert(SEEN_TEXT_MAX + 1 + SEEN_TEXT_MAX == 511, "LMDB's longest key");

/* ---- keys --------------------------------------------------------------- */

/* The value of a digit, and one more; 0: it is none. Digits are as good as
 * random, so a look into a table is several times faster than a comparison. */
static const uint8_t seen_digit[256] = {
	['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,
	['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
	['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12,
	['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

/* Only what is written back the same: other texts keep their bytes. */
static bool seen_uuid(wb_str id, uint8_t ret[SEEN_UUID])
{
	const uint8_t *p = (const uint8_t *)id.ptr;

	if (id.len != WB_UUID_TEXT_LEN)
		return false;
	for (size_t i = 0; i < SEEN_UUID; i++, p += 2) {
		uint8_t high, low;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && *p++ != '-')
			return false;
		high = seen_digit[p[0]];
		low = seen_digit[p[1]];
		if (high == 0 || low == 0)
			return false;
		ret[i] = (uint8_t)((high - 1) << 4 | (low - 1));
	}
	WB_ASSERT((const char *)p == id.ptr + WB_UUID_TEXT_LEN);
	return true;
}

static bool seen_is_plain(wb_str text)
{
	if (text.len == 0 || text.len > SEEN_TEXT_MAX)
		return false;
	for (size_t i = 0; i < text.len; i++)
		if ((uint8_t)text.ptr[i] <= SEEN_IS_UUID)
			return false;
	return true;
}

static wb_code seen_key(wb_str source, wb_str id, wbi_row_key *ret,
			wb_error *err)
{
	uint8_t *at = ret->bytes;

	if (!seen_is_plain(source) || !seen_is_plain(id))
		return WBI_FAIL(err, WB_EINVAL,
				"a source of %zu and an id of %zu bytes: each "
				"must be 1 to %d bytes without control "
				"characters",
				source.len, id.len, (int)SEEN_TEXT_MAX);
	memcpy(at, source.ptr, source.len);
	at += source.len;
	*at = SEEN_IS_UUID;
	if (seen_uuid(id, at + 1)) {
		at += 1 + SEEN_UUID;
	} else {
		*at++ = SEEN_IS_TEXT;
		memcpy(at, id.ptr, id.len);
		at += id.len;
	}
	ret->len = (uint16_t)(at - ret->bytes);
	return WB_OK;
}

/* Could seen_key() have made it? */
static wb_code seen_key_check(wb_str key, wb_error *err)
{
	uint8_t uuid[SEEN_UUID];
	size_t source = 0;
	wb_str id;
	bool good;

	while (source < key.len && (uint8_t)key.ptr[source] > SEEN_IS_UUID)
		source++;
	good = source > 0 && source <= SEEN_TEXT_MAX && source + 1 < key.len;
	if (good) {
		id = wb_str_n(key.ptr + source + 1, key.len - source - 1);
		if (key.ptr[source] == SEEN_IS_UUID)
			good = id.len == SEEN_UUID;
		else
			good = seen_is_plain(id) && !seen_uuid(id, uuid);
	}
	if (!good)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a row's key of %zu bytes is no source and id",
				key.len);
	return WB_OK;
}

/* ---- rows --------------------------------------------------------------- */

static uint32_t seen_crc(enum wbi_row_kind kind, wb_str key, const uint8_t *row,
			 size_t len)
{
	uint8_t first = (uint8_t)kind;
	uint32_t crc = wbi_crc32c(0, &first, 1);

	return wbi_crc32c(wbi_crc32c(crc, key.ptr, key.len), row, len);
}

static wb_code seen_decode(wb_str key, wb_str row, uint64_t *ret_position,
			   wb_error *err)
{
	const uint8_t *p = (const uint8_t *)row.ptr;

	if (row.len != SEEN_ROW ||
	    wbi_get_le32(p + 8) != seen_crc(WBI_ROW_SEEN, key, p, 8))
		return WBI_FAIL(err, WB_ECORRUPT,
				"a known id: the checksum is wrong");
	*ret_position = wbi_get_le64(p);
	return WB_OK;
}

static wb_code seen_age_decode(uint64_t number, wb_str row, uint64_t *ret_age,
			       wb_str *ret_key, wb_error *err)
{
	const uint8_t *p = (const uint8_t *)row.ptr;
	size_t len = row.len - SEEN_CRC;

	if (row.len <= SEEN_AGE_FIXED || row.len > SEEN_AGE_MAX ||
	    wbi_get_le32(p + len) != seen_crc(WBI_ROW_SEEN_AGE,
					      wb_str_n(&number, sizeof(number)),
					      p, len))
		return WBI_FAIL(err, WB_ECORRUPT,
				"the age of a known id: the checksum is wrong");
	*ret_age = wbi_get_le64(p);
	*ret_key = wb_str_n(p + 8, len - 8);
	return WB_OK;
}

wb_code wbi_seen_decode(wb_str row_key, wb_str row, uint64_t *ret_position,
			wb_error *err)
{
	uint64_t position;
	wb_code code = seen_decode(row_key, row, &position, err);

	if (code == WB_OK)
		code = seen_key_check(row_key, err);
	if (code == WB_OK)
		*ret_position = position;
	return code;
}

wb_code wbi_seen_age_decode(uint64_t number, wb_str row, uint64_t *ret_age_us,
			    wb_str *ret_key, wb_error *err)
{
	uint64_t age;
	wb_str key;
	wb_code code = seen_age_decode(number, row, &age, &key, err);

	if (code == WB_OK)
		code = seen_key_check(key, err);
	if (code != WB_OK)
		return code;
	*ret_age_us = age;
	*ret_key = key;
	return WB_OK;
}

void wbi_seen_describe(wb_str row_key, char *ret, size_t size)
{
	char source[128], id[128];
	size_t at = 0, len = 0;

	while (at < row_key.len && (uint8_t)row_key.ptr[at] > SEEN_IS_UUID)
		at++;
	wbi_text_show(wb_str_n(row_key.ptr, at), source, sizeof(source));
	id[0] = '\0';
	if (row_key.len == at + 1 + SEEN_UUID && row_key.ptr[at] != 0)
		for (at++; at < row_key.len; at++)
			len += (size_t)snprintf(id + len, sizeof(id) - len,
						"%02x",
						(uint8_t)row_key.ptr[at]);
	else if (at < row_key.len)
		wbi_text_show(
			wb_str_n(row_key.ptr + at + 1, row_key.len - at - 1),
			id, sizeof(id));
	snprintf(ret, size, "source %s, id %s", source, id);
}

/* ---- use ---------------------------------------------------------------- */

wb_code wbi_seen_get(MDB_txn *txn, const wbi_store_tables *tables,
		     wb_str source, wb_str id, uint64_t *ret_position,
		     wb_error *err)
{
	wbi_row_key key;
	wb_str row;
	wb_code code = seen_key(source, id, &key, err);

	if (code == WB_OK)
		code = wbi_get(txn, tables->seen, wbi_row_key_str(&key), &row,
			       err);
	if (code != WB_OK)
		return code;
	return seen_decode(wbi_row_key_str(&key), row, ret_position, err);
}

/* Behind the last row of `seen_age`, where its cursor is left by looking for
 * the number. */
static wb_code seen_add_age(MDB_txn *txn, wbi_table seen_age, wb_str key,
			    uint64_t age_us, wb_error *err)
{
	size_t len = 8 + key.len;
	uint64_t number = 0;
	wbi_cursor *cursor;
	uint8_t *bytes;
	wb_str row;
	wb_code code = wbi_cursor_open(txn, seen_age, &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move_at(cursor, WBI_LAST, &number, &row, err);
	if (code == WB_OK || code == WB_ENOTFOUND) {
		number++;
		code = wbi_cursor_append(cursor, number, len + SEEN_CRC, &bytes,
					 err);
	}
	wbi_cursor_close(cursor);
	if (code != WB_OK)
		return code;
	wbi_put_le64(bytes, age_us);
	memcpy(bytes + 8, key.ptr, key.len);
	wbi_put_le32(bytes + len,
		     seen_crc(WBI_ROW_SEEN_AGE,
			      wb_str_n(&number, sizeof(number)), bytes, len));
	return WB_OK;
}

wb_code wbi_seen_add(MDB_txn *txn, const wbi_store_tables *tables,
		     wb_str source, wb_str id, uint64_t position,
		     uint64_t age_us, uint64_t *ret_position, wb_error *err)
{
	uint8_t bytes[SEEN_ROW];
	wbi_row_key key;
	wb_str k, old;
	wb_code code = seen_key(source, id, &key, err);

	if (code != WB_OK)
		return code;
	k = wbi_row_key_str(&key);
	wbi_put_le64(bytes, position);
	wbi_put_le32(bytes + 8, seen_crc(WBI_ROW_SEEN, k, bytes, 8));
	code = wbi_put_new(txn, tables->seen, k, wb_str_n(bytes, sizeof(bytes)),
			   &old, err);
	if (code == WB_EEXISTS) {
		wb_code bad = seen_decode(k, old, ret_position, err);

		return bad == WB_OK ? WB_EEXISTS : bad;
	}
	if (code == WB_OK)
		code = seen_add_age(txn, tables->seen_age, k, age_us, err);
	if (code == WB_OK)
		*ret_position = position;
	return code;
}

/* The oldest, if it is old enough; WB_ENOTFOUND if not. */
static wb_code seen_prune_one(MDB_txn *txn, const wbi_store_tables *tables,
			      wbi_cursor *cursor, uint64_t before_us,
			      wb_error *err)
{
	uint64_t number = 0, age;
	wb_str row, key;
	wb_code code;

	code = wbi_cursor_move_at(cursor, WBI_FIRST, &number, &row, err);
	if (code == WB_OK)
		code = seen_age_decode(number, row, &age, &key, err);
	if (code == WB_OK && age >= before_us)
		code = WB_ENOTFOUND;
	if (code != WB_OK)
		return code;
	code = wbi_del(txn, tables->seen, key, err);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	return wbi_cursor_del(cursor, err);
}

wb_code wbi_seen_prune(MDB_txn *txn, const wbi_store_tables *tables,
		       uint64_t before_us, uint64_t most, uint64_t *ret_count,
		       wb_error *err)
{
	wbi_cursor *cursor;
	uint64_t count = 0;
	wb_code code = wbi_cursor_open(txn, tables->seen_age, &cursor, err);

	if (code != WB_OK)
		return code;
	while (count < most) {
		code = seen_prune_one(txn, tables, cursor, before_us, err);
		if (code != WB_OK)
			break;
		count++;
	}
	wbi_cursor_close(cursor);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	*ret_count = count;
	return WB_OK;
}
