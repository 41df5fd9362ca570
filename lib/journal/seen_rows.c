/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows of `seen` and `seen_age`: how they look. Sealed like every row
 * (lib/store/row.h); a chunk's row is as large as fits into one page.
 *
 *   seen      0                   →  the state: secret, floor, counts, marks
 *             level, greatest key →  a chunk: sorted entries
 *   seen_age  position            →  the age at which it was added
 *
 * No state; what a crash leaves is what the last commit left.
 */
#include "lib/journal/seen_internal.h"

#include <inttypes.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/store/row.h"

enum {
	SEEN_VERSION = 1,
	SEEN_ROW_MAX = WBI_ROW_EXTRA + 4 + SEEN_CHUNK * sizeof(seen_entry)
};

_Static_assert(SEEN_ROW_MAX <= 4096 - 16, "one page, behind its header");

static wb_str seen_bytes(const void *bytes, size_t len)
{
	return wb_str_n(bytes, len);
}

/* ---- state -------------------------------------------------------------- */

enum {
	SEEN_STATE_SIZE = WBI_ROW_EXTRA + 4 + WBI_SIPHASH_KEY + 8 +
			  (WBI_SEEN_LEVELS - 1) * (8 + 4 + SEEN_KEY) + 4 +
			  (int)sizeof(seen_row_key)
};

wb_str seen_state_key(void)
{
	return wb_str_n("", 1);
}

wb_code seen_state_write(MDB_txn *txn, wbi_table table, const seen_state *state,
			 wb_error *err)
{
	uint8_t bytes[SEEN_STATE_SIZE];
	wbi_row_out out;

	wbi_row_begin(&out, bytes, sizeof(bytes), WBI_ROW_SEEN_STATE,
		      SEEN_VERSION);
	wbi_row_put_str(&out, seen_bytes(state->secret, WBI_SIPHASH_KEY));
	wbi_row_put_u64(&out, state->floor);
	for (unsigned i = 1; i < WBI_SEEN_LEVELS; i++) {
		wbi_row_put_u64(&out, state->counts[i]);
		wbi_row_put_str(&out, seen_bytes(state->taken[i], SEEN_KEY));
	}
	wbi_row_put_str(&out, seen_row_key_str(&state->swept));
	wbi_row_seal(&out, seen_state_key());
	return wbi_put(txn, table, seen_state_key(),
		       seen_bytes(bytes, sizeof(bytes)), err);
}

/* A str of one size only; else the row is torn. */
static void seen_get_bytes(wbi_row_in *in, void *ret, size_t size)
{
	wb_str s = wbi_row_get_str(in);

	if (s.len == size)
		memcpy(ret, s.ptr, size);
	else
		in->torn = true;
}

static wb_code seen_state_decode(wb_str row, seen_state *ret, wb_error *err)
{
	seen_state state = {.floor = 0};
	wbi_row_in in;
	wb_code code =
		wbi_row_open(&in, seen_state_key(), row, WBI_ROW_SEEN_STATE,
			     SEEN_VERSION, "the state of known ids", err);

	if (code != WB_OK)
		return code;
	seen_get_bytes(&in, state.secret, sizeof(state.secret));
	state.floor = wbi_row_get_u64(&in);
	for (unsigned i = 1; i < WBI_SEEN_LEVELS; i++) {
		state.counts[i] = wbi_row_get_u64(&in);
		seen_get_bytes(&in, state.taken[i], SEEN_KEY);
	}
	seen_get_bytes(&in, &state.swept, sizeof(state.swept));
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = state;
	return code;
}

wb_code seen_state_read(MDB_txn *txn, wbi_table table, seen_state *ret,
			wb_error *err)
{
	wb_str row;
	wb_code code = wbi_get(txn, table, seen_state_key(), &row, err);

	return code == WB_OK ? seen_state_decode(row, ret, err) : code;
}

/* ---- chunks ------------------------------------------------------------- */

seen_row_key seen_row_key_of(unsigned level, const uint8_t key[SEEN_KEY])
{
	seen_row_key ret;

	WB_ASSERT(level > 0 && level < WBI_SEEN_LEVELS);
	ret.bytes[0] = (uint8_t)level;
	memcpy(ret.bytes + 1, key, SEEN_KEY);
	return ret;
}

enum { SEEN_CHUNK_FRONT = 2 + 4 /* kind, version, length */ };

wb_code seen_chunk_peek(wb_str row, const seen_entry **ret, size_t *ret_count,
			wb_error *err)
{
	size_t len = row.len - (WBI_ROW_EXTRA + 4);

	if (row.len <= WBI_ROW_EXTRA + 4 || len % sizeof(seen_entry) != 0 ||
	    len > SEEN_CHUNK * sizeof(seen_entry))
		return WBI_FAIL(err, WB_ECORRUPT,
				"known ids: a chunk of %zu bytes; run waybill "
				"fsck",
				row.len);
	*ret = (const seen_entry *)(const void *)(row.ptr + SEEN_CHUNK_FRONT);
	*ret_count = len / sizeof(seen_entry);
	return WB_OK;
}

wb_code seen_chunk_check(wb_str row_key, wb_str row, const seen_entry **ret,
			 size_t *ret_count, wb_error *err)
{
	const seen_entry *entries = NULL;
	size_t count = 0;
	wbi_row_in in;
	wb_code code = wbi_row_open(&in, row_key, row, WBI_ROW_SEEN,
				    SEEN_VERSION, "known ids", err);

	if (code == WB_OK) {
		wbi_row_get_str(&in);
		code = wbi_row_done(&in, err);
	}
	if (code == WB_OK)
		code = seen_chunk_peek(row, &entries, &count, err);
	if (code != WB_OK)
		return code;
	for (size_t i = 1; i < count; i++)
		if (seen_compare(entries[i - 1].key, entries[i].key) >= 0)
			return WBI_FAIL(err, WB_ECORRUPT,
					"known ids: a chunk is out of order; "
					"run waybill fsck");
	if (row_key.len != sizeof(seen_row_key) ||
	    seen_compare(row_key.ptr + 1, entries[count - 1].key))
		return WBI_FAIL(err, WB_ECORRUPT,
				"known ids: a chunk stands in the wrong "
				"place; run waybill fsck");
	*ret = entries;
	*ret_count = count;
	return WB_OK;
}

wb_code seen_chunk_put(MDB_txn *txn, wbi_table table, unsigned level,
		       const seen_entry *entries, size_t count, wb_error *err)
{
	size_t len = count * sizeof(seen_entry);
	size_t size = WBI_ROW_EXTRA + 4 + len;
	seen_row_key key = seen_row_key_of(level, entries[count - 1].key);
	wbi_row_out out;
	uint8_t *bytes;
	wb_code code;

	WB_ASSERT(count > 0 && count <= SEEN_CHUNK);
	code = wbi_reserve(txn, table, seen_row_key_str(&key), size, &bytes,
			   err);
	if (code != WB_OK)
		return code;
	wbi_row_begin(&out, bytes, size, WBI_ROW_SEEN, SEEN_VERSION);
	wbi_row_put_str(&out, seen_bytes(entries, len));
	wbi_row_seal(&out, seen_row_key_str(&key));
	return WB_OK;
}

size_t seen_search(const seen_entry *entries, size_t count,
		   const uint8_t key[SEEN_KEY])
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (seen_compare(entries[middle].key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

size_t seen_search_from(const seen_entry *entries, size_t count, size_t guess,
			const uint8_t key[SEEN_KEY])
{
	size_t low = 0, high = count, step = 1;

	WB_ASSERT(guess < count);
	if (seen_compare(entries[guess].key, key) < 0) {
		for (low = guess + 1; step < high - guess; step *= 2) {
			if (seen_compare(entries[guess + step].key, key) >= 0) {
				high = guess + step;
				break;
			}
			low = guess + step + 1;
		}
	} else {
		for (high = guess; step <= guess; step *= 2) {
			if (seen_compare(entries[guess - step].key, key) < 0) {
				low = guess - step + 1;
				break;
			}
			high = guess - step;
		}
	}
	return low + seen_search(entries + low, high - low, key);
}

/* ---- ages --------------------------------------------------------------- */

wb_code seen_age_put(MDB_txn *txn, wbi_table ages, uint64_t position,
		     uint64_t age_us, wb_error *err)
{
	uint8_t bytes[WBI_ROW_EXTRA + 8];
	wbi_row_out out;

	wbi_row_begin(&out, bytes, sizeof(bytes), WBI_ROW_SEEN_AGE,
		      SEEN_VERSION);
	wbi_row_put_u64(&out, age_us);
	wbi_row_seal(&out, seen_bytes(&position, sizeof(position)));
	return wbi_put_at(txn, ages, position, seen_bytes(bytes, sizeof(bytes)),
			  err);
}

wb_code seen_age_decode(uint64_t position, wb_str row, uint64_t *ret_age_us,
			wb_error *err)
{
	wbi_row_in in;
	uint64_t age_us;
	wb_code code = wbi_row_open(
		&in, seen_bytes(&position, sizeof(position)), row,
		WBI_ROW_SEEN_AGE, SEEN_VERSION, "the age of known ids", err);

	if (code != WB_OK)
		return code;
	age_us = wbi_row_get_u64(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret_age_us = age_us;
	return code;
}

/* ---- fsck --------------------------------------------------------------- */

wb_code wbi_seen_check(wb_str before, wb_str row_key, wb_str row,
		       wbi_seen_sum *sum, wb_error *err)
{
	const seen_entry *entries = NULL;
	seen_state state;
	unsigned level;
	size_t count = 0;
	wb_code code;

	if (wb_str_eq(row_key, seen_state_key()))
		return seen_state_decode(row, &state, err);
	code = seen_chunk_check(row_key, row, &entries, &count, err);
	if (code != WB_OK)
		return code;
	level = (uint8_t)row_key.ptr[0];
	if (level == 0 || level >= WBI_SEEN_LEVELS)
		return WBI_FAIL(err, WB_ECORRUPT, "known ids: no level is %u",
				level);
	if (before.len == sizeof(seen_row_key) &&
	    before.ptr[0] == row_key.ptr[0] &&
	    seen_compare(before.ptr + 1, entries[0].key) >= 0)
		return WBI_FAIL(err, WB_ECORRUPT,
				"known ids: two chunks of level %u overlap",
				level);
	sum->counts[level] += count;
	for (size_t i = 0; i < count; i++) {
		uint64_t position = wbi_get_le64(entries[i].position);

		if (position > sum->highest)
			sum->highest = position;
	}
	return WB_OK;
}

wb_code wbi_seen_check_sum(MDB_txn *txn, const wbi_store_tables *tables,
			   const wbi_seen_sum *sum, wb_error *err)
{
	seen_state state = {.floor = 0};
	wb_code code = seen_state_read(txn, tables->seen, &state, err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	for (unsigned i = 1; i < WBI_SEEN_LEVELS; i++)
		if (state.counts[i] != sum->counts[i])
			return WBI_FAIL(err, WB_ECORRUPT,
					"level %u of the known ids has %" PRIu64
					", and says %" PRIu64,
					i, sum->counts[i], state.counts[i]);
	return WB_OK;
}

wb_code wbi_seen_age_check(uint64_t number, wb_str row, wb_error *err)
{
	uint64_t age_us;

	return seen_age_decode(number, row, &age_us, err);
}
