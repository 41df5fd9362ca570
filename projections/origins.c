/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sets of positions as rows of bits, a few of them in memory while a transaction
 * is open, written before it commits. An abort forgets them.
 */
#include "projections/origins.h"

#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/store/row.h"

enum { ORIGINS_VERSION = 1, ORIGINS_KEY = WBI_ORIGIN_LEN + 4 };

static wb_str origins_key(const char *origin, uint32_t number,
			  uint8_t buf[ORIGINS_KEY])
{
	memcpy(buf, origin, WBI_ORIGIN_LEN);
	wbi_put_be32(buf + WBI_ORIGIN_LEN, number);
	return wb_str_n(buf, ORIGINS_KEY);
}

/* ---- sums ---------------------------------------------------------------- */

static wb_code sum_decode(wb_str key, wb_str row, wbi_origin_sum *ret,
			  wb_error *err)
{
	wbi_origin_sum sum;
	wbi_row_in in;
	wb_code code = wbi_row_open(&in, key, row, WBI_ROW_ORIGIN,
				    ORIGINS_VERSION, "an origin", err);

	if (code != WB_OK)
		return code;
	sum.high = wbi_row_get_u64(&in);
	sum.events = wbi_row_get_u64(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = sum;
	return code;
}

wb_code wbi_origin_sum_get(MDB_txn *txn, const wbi_generation *gen,
			   const char *origin, wbi_origin_sum *ret,
			   wb_error *err)
{
	wb_str key = wb_str_n(origin, WBI_ORIGIN_LEN), row;
	wb_code code = wbi_get(txn, gen->origins, key, &row, err);

	return code == WB_OK ? sum_decode(key, row, ret, err) : code;
}

static wb_code sum_add(MDB_txn *txn, const wbi_generation *gen,
		       const char *origin, uint64_t high, uint64_t added,
		       wb_error *err)
{
	wb_str key = wb_str_n(origin, WBI_ORIGIN_LEN);
	uint8_t bytes[WBI_ROW_EXTRA + 16];
	wbi_origin_sum sum = {0, 0};
	wbi_row_out out;
	wb_code code = wbi_origin_sum_get(txn, gen, origin, &sum, err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	wbi_row_begin(&out, bytes, sizeof(bytes), WBI_ROW_ORIGIN,
		      ORIGINS_VERSION);
	wbi_row_put_u64(&out, high > sum.high ? high : sum.high);
	wbi_row_put_u64(&out, sum.events + added);
	wbi_row_seal(&out, key);
	return wbi_put(txn, gen->origins, key, wb_str_n(bytes, sizeof(bytes)),
		       err);
}

wb_code wbi_origins_missing(MDB_txn *txn, const wbi_generation *gen,
			    uint64_t *ret, wb_error *err)
{
	uint8_t behind[ORIGINS_KEY];
	wb_str key = WB_STR_NULL, row;
	wbi_move move = WBI_FIRST;
	uint64_t missing = 0;
	wbi_origin_sum sum;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(txn, gen->origins, &cursor, err);

	if (code != WB_OK)
		return code;
	while (code == WB_OK) {
		code = wbi_cursor_move(cursor, move, &key, &row, err);
		move = WBI_NEXT;
		if (code != WB_OK || key.len != WBI_ORIGIN_LEN)
			continue;
		code = sum_decode(key, row, &sum, err);
		if (code == WB_OK && sum.high > sum.events)
			missing += sum.high - sum.events;
		/* Past its chunks, of which there may be many. */
		memcpy(behind, key.ptr, WBI_ORIGIN_LEN);
		memset(behind + WBI_ORIGIN_LEN, 0xff, 4);
		key = wb_str_n(behind, sizeof(behind));
		move = WBI_SEEK;
	}
	wbi_cursor_close(cursor);
	if (code == WB_ENOTFOUND)
		*ret = missing;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* ---- chunks -------------------------------------------------------------- */

static wb_code chunk_write(wbi_origin_chunk *chunk, MDB_txn *txn,
			   const wbi_generation *gen, wb_error *err)
{
	uint8_t bytes[WBI_ROW_EXTRA + 4 + WBI_ORIGIN_CHUNK_BYTES];
	uint8_t buf[ORIGINS_KEY];
	wb_str key = origins_key(chunk->origin, chunk->number, buf);
	wbi_row_out out;
	wb_code code;

	if (!chunk->dirty)
		return WB_OK;
	wbi_row_begin(&out, bytes, sizeof(bytes), WBI_ROW_ORIGIN_CHUNK,
		      ORIGINS_VERSION);
	wbi_row_put_str(&out, wb_str_n(chunk->bits, sizeof(chunk->bits)));
	wbi_row_seal(&out, key);
	code = wbi_put(txn, gen->origins, key, wb_str_n(bytes, sizeof(bytes)),
		       err);
	if (code == WB_OK)
		code = sum_add(txn, gen, chunk->origin, chunk->high,
			       chunk->added, err);
	if (code == WB_OK) {
		chunk->dirty = false;
		chunk->high = chunk->added = 0;
	}
	return code;
}

static wb_code chunk_read(wbi_origin_chunk *chunk, MDB_txn *txn,
			  const wbi_generation *gen, wb_error *err)
{
	uint8_t buf[ORIGINS_KEY];
	wb_str key = origins_key(chunk->origin, chunk->number, buf), row, bits;
	wbi_row_in in;
	wb_code code = wbi_get(txn, gen->origins, key, &row, err);

	memset(chunk->bits, 0, sizeof(chunk->bits));
	if (code == WB_ENOTFOUND)
		return WB_OK;
	if (code == WB_OK)
		code = wbi_row_open(&in, key, row, WBI_ROW_ORIGIN_CHUNK,
				    ORIGINS_VERSION, "positions of an origin",
				    err);
	if (code != WB_OK)
		return code;
	bits = wbi_row_get_str(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK && bits.len != sizeof(chunk->bits))
		return WBI_FAIL(err, WB_ECORRUPT,
				"positions of an origin: %zu bytes", bits.len);
	if (code == WB_OK)
		memcpy(chunk->bits, bits.ptr, bits.len);
	return code;
}

/* The chunk in memory; in place of the one that was used longest ago. */
static wb_code chunk_of(wbi_origins *origins, MDB_txn *txn,
			const wbi_generation *gen, const char *origin,
			uint32_t number, wbi_origin_chunk **ret, wb_error *err)
{
	wbi_origin_chunk *oldest = &origins->chunks[0];
	wb_code code;

	for (size_t i = 0; i < WBI_ORIGIN_CHUNKS; i++) {
		wbi_origin_chunk *chunk = &origins->chunks[i];

		if (chunk->number == number &&
		    !strcmp(chunk->origin, origin)) {
			*ret = chunk;
			return WB_OK;
		}
		if (chunk->used < oldest->used)
			oldest = chunk;
	}
	code = chunk_write(oldest, txn, gen, err);
	if (code != WB_OK)
		return code;
	memset(oldest, 0, sizeof(*oldest));
	snprintf(oldest->origin, sizeof(oldest->origin), "%s", origin);
	oldest->number = number;
	code = chunk_read(oldest, txn, gen, err);
	if (code != WB_OK)
		oldest->origin[0] = '\0';
	*ret = oldest;
	return code;
}

/* The first position that the chunk lacks; 0: none. */
static uint64_t chunk_gap(const wbi_origin_chunk *chunk)
{
	for (uint64_t at = 0; at < WBI_ORIGIN_CHUNK; at++)
		if (!(chunk->bits[at / 8] >> at % 8 & 1))
			return (uint64_t)chunk->number * WBI_ORIGIN_CHUNK + at +
			       1;
	return 0;
}

static wb_code origin_gap(MDB_txn *txn, const wbi_generation *gen,
			  const char *origin, uint64_t high, uint64_t *ret,
			  wb_error *err)
{
	wbi_origin_chunk chunk = {.number = 0};
	wb_code code = WB_OK;

	memcpy(chunk.origin, origin, WBI_ORIGIN_LEN);
	for (*ret = 0; code == WB_OK && *ret == 0; chunk.number++) {
		if ((uint64_t)chunk.number * WBI_ORIGIN_CHUNK >= high)
			break;
		code = chunk_read(&chunk, txn, gen, err);
		*ret = chunk_gap(&chunk);
	}
	return code;
}

wb_code wbi_origins_first_missing(MDB_txn *txn, const wbi_generation *gen,
				  char ret_origin[WBI_ORIGIN_LEN + 1],
				  uint64_t *ret, wb_error *err)
{
	wb_str key = WB_STR_NULL, row;
	wbi_move move = WBI_FIRST;
	wbi_origin_sum sum;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(txn, gen->origins, &cursor, err);

	*ret = 0;
	while (code == WB_OK && *ret == 0) {
		code = wbi_cursor_move(cursor, move, &key, &row, err);
		move = WBI_NEXT;
		if (code != WB_OK || key.len != WBI_ORIGIN_LEN)
			continue;
		code = sum_decode(key, row, &sum, err);
		memcpy(ret_origin, key.ptr, WBI_ORIGIN_LEN);
		ret_origin[WBI_ORIGIN_LEN] = '\0';
		if (code == WB_OK && sum.high > sum.events)
			code = origin_gap(txn, gen, ret_origin, sum.high, ret,
					  err);
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* Beyond what a row's key can number nobody's journal is. */
static bool origins_can(const char *origin, uint64_t position)
{
	WB_ASSERT(position > 0 && strlen(origin) == WBI_ORIGIN_LEN);
	return (position - 1) / WBI_ORIGIN_CHUNK <= UINT32_MAX;
}

static wb_code origins_find(wbi_origins *origins, MDB_txn *txn,
			    const wbi_generation *gen, const char *origin,
			    uint64_t position, wbi_origin_chunk **ret,
			    wb_error *err)
{
	uint32_t number = (uint32_t)((position - 1) / WBI_ORIGIN_CHUNK);
	wb_code code = chunk_of(origins, txn, gen, origin, number, ret, err);

	if (code == WB_OK)
		(*ret)->used = ++origins->clock;
	return code;
}

wb_code wbi_origins_have(wbi_origins *origins, MDB_txn *txn,
			 const wbi_generation *gen, const char *origin,
			 uint64_t position, bool *ret, wb_error *err)
{
	uint64_t at = (position - 1) % WBI_ORIGIN_CHUNK;
	wbi_origin_chunk *chunk;
	wb_code code;

	*ret = false;
	if (!origins_can(origin, position))
		return WB_OK;
	code = origins_find(origins, txn, gen, origin, position, &chunk, err);
	if (code == WB_OK)
		*ret = (chunk->bits[at / 8] >> at % 8 & 1) != 0;
	return code;
}

wb_code wbi_origins_add(wbi_origins *origins, MDB_txn *txn,
			const wbi_generation *gen, const char *origin,
			uint64_t position, wb_error *err)
{
	uint64_t at = (position - 1) % WBI_ORIGIN_CHUNK;
	wbi_origin_chunk *chunk;
	wb_code code;

	if (!origins_can(origin, position))
		return WB_OK;
	code = origins_find(origins, txn, gen, origin, position, &chunk, err);
	if (code != WB_OK)
		return code;
	chunk->bits[at / 8] |= (uint8_t)(1u << at % 8);
	chunk->dirty = true;
	chunk->added++;
	if (position > chunk->high)
		chunk->high = position;
	return WB_OK;
}

wb_code wbi_origins_flush(wbi_origins *origins, MDB_txn *txn,
			  const wbi_generation *gen, wb_error *err)
{
	wb_code code = WB_OK;

	for (size_t i = 0; code == WB_OK && i < WBI_ORIGIN_CHUNKS; i++)
		code = chunk_write(&origins->chunks[i], txn, gen, err);
	return code;
}

void wbi_origins_forget(wbi_origins *origins)
{
	memset(origins, 0, sizeof(*origins));
}
