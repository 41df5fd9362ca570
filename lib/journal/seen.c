/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A visit to the known ids (seen.h). What is added is kept sorted in memory and
 * goes into the levels (seen_level.c) at the end, or a thousand at a time.
 *
 * A key of 16 bytes stands for source and id. A UUID keeps its first half, so
 * that ids which begin with their time are neighbours, and has its second one
 * mixed with a hash of the source; another id is hashed together with its
 * source. The hash is SipHash with a secret of the store's own, so that nobody
 * can choose two ids that it takes for one.
 *
 * Positions never go down, so one number says what is forgotten: all below the
 * floor. Such entries count as absent at once, and are taken away as their
 * chunks are rewritten or swept.
 *
 * Inside the caller's transaction: a crash leaves the last commit. One thread.
 */
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/journal/seen_internal.h"

enum {
	SEEN_TEXT_MAX = 255,         /* of a source and of an id */
	SEEN_AGE_STEP_US = 10000000, /* one row of ages for so long */
	SEEN_SWEEP = 2,       /* entries looked at for each that is added */
	SEEN_AGES_MOST = 1000 /* rows of ages removed at once */
};

/* ---- keys --------------------------------------------------------------- */

/* The value of a digit, and one more; 0: it is none. Digits are as good as
 * random, so a look into a table is several times faster than a comparison. */
static const uint8_t seen_digit[256] = {
	['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,
	['6'] = 7,  ['7'] = 8,  ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12,
	['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

/* Only lower case: an id in upper case is another one. */
static bool seen_uuid(wb_str id, uint8_t ret[SEEN_KEY])
{
	const uint8_t *p = (const uint8_t *)id.ptr;

	if (id.len != WB_UUID_TEXT_LEN)
		return false;
	for (size_t i = 0; i < SEEN_KEY; i++, p += 2) {
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

static wb_code seen_key(const wbi_seen *seen, wb_str source, wb_str id,
			uint8_t ret[SEEN_KEY], wb_error *err)
{
	uint8_t bytes[1 + SEEN_TEXT_MAX + SEEN_TEXT_MAX];
	uint8_t hash[WBI_SIPHASH_LEN];

	if (source.len == 0 || source.len > SEEN_TEXT_MAX || id.len == 0 ||
	    id.len > SEEN_TEXT_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"a source of %zu and an id of %zu bytes: each "
				"must be 1 to %d bytes",
				source.len, id.len, (int)SEEN_TEXT_MAX);
	if (seen_uuid(id, ret)) {
		wbi_siphash(seen->state.secret, source.ptr, source.len, hash);
		for (size_t i = 0; i < SEEN_KEY / 2; i++)
			ret[SEEN_KEY / 2 + i] ^= hash[i];
		return WB_OK;
	}
	bytes[0] = (uint8_t)source.len;
	memcpy(bytes + 1, source.ptr, source.len);
	memcpy(bytes + 1 + source.len, id.ptr, id.len);
	wbi_siphash(seen->state.secret, bytes, 1 + source.len + id.len, ret);
	return WB_OK;
}

/* ---- the visit ---------------------------------------------------------- */

static void seen_state_init(seen_state *state, wb_store *store)
{
	const wb_random *random = wbi_store_random(store);

	memset(state, 0, sizeof(*state));
	random->fill(random->ctx, state->secret, sizeof(state->secret));
}

wb_code wbi_seen_open(wb_store *store, MDB_txn *txn, wbi_seen **ret,
		      wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	wbi_seen *seen = malloc(sizeof(*seen));
	wb_code code;

	if (!seen)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for known ids");
	seen->store = store;
	seen->txn = txn;
	seen->table = tables->seen;
	seen->ages = tables->seen_age;
	seen->cursor = NULL;
	seen->changed = false;
	seen->added = seen->first = seen->count = 0;
	seen->expected = seen->answered = 0;
	seen->looked = false;
	code = seen_state_read(txn, seen->table, &seen->state, err);
	if (code == WB_ENOTFOUND)
		seen_state_init(&seen->state, store);
	else if (code != WB_OK) {
		free(seen);
		return code;
	}
	*ret = seen;
	return WB_OK;
}

void wbi_seen_close(wbi_seen *seen)
{
	if (!seen)
		return;
	wbi_cursor_close(seen->cursor);
	free(seen);
}

/* Sorted by key, since neighbours share pages and chunks. */
static int slot_order(const void *a, const void *b)
{
	return seen_compare((*(seen_slot *const *)a)->key,
			    (*(seen_slot *const *)b)->key);
}

/* Through all levels; what an earlier one knows is not looked for in the next:
 * it is the newer. */
static wb_code seen_look(wbi_seen *seen, seen_slot *slots, size_t count,
			 wb_error *err)
{
	seen_slot *sorted[SEEN_BATCH];
	wb_code code = WB_OK;

	for (size_t i = 0; i < count; i++) {
		slots[i].position = 0;
		sorted[i] = &slots[i];
	}
	/* cppcheck-suppress uninitvar ; as many as were filled above */
	qsort(sorted, count, sizeof(sorted[0]), slot_order);
	for (unsigned i = 1; code == WB_OK && i < WBI_SEEN_LEVELS; i++)
		if (seen->state.counts[i] > 0)
			code = seen_level_look(seen, i, sorted, count, err);
	return code;
}

wb_code wbi_seen_expect(wbi_seen *seen, wb_str source, wb_str id, wb_error *err)
{
	if (seen->looked)
		seen->expected = 0;
	if (seen->expected == SEEN_BATCH)
		return WB_OK; /* it will be looked for by itself */
	seen->looked = false;
	seen->answered = 0;
	return seen_key(seen, source, id, seen->slots[seen->expected++].key,
			err);
}

/* The answer to what was said to come, if it comes in that order; else it is
 * looked for by itself. */
static wb_code seen_answer(wbi_seen *seen, const uint8_t key[SEEN_KEY],
			   uint64_t *ret_position, wb_error *err)
{
	seen_slot one, *slot = &one;
	wb_code code = WB_OK;

	if (seen->answered < seen->expected &&
	    !seen_compare(seen->slots[seen->answered].key, key)) {
		slot = &seen->slots[seen->answered++];
		if (!seen->looked)
			code = seen_look(seen, seen->slots, seen->expected,
					 err);
		seen->looked = true;
	} else {
		memcpy(one.key, key, SEEN_KEY);
		code = seen_look(seen, &one, 1, err);
	}
	if (code != WB_OK)
		return code;
	if (slot->position == 0 || slot->position < seen->state.floor)
		return WB_ENOTFOUND;
	*ret_position = slot->position;
	return WB_OK;
}

static wb_code seen_find(wbi_seen *seen, const uint8_t key[SEEN_KEY],
			 size_t *ret_at, uint64_t *ret_position, wb_error *err)
{
	size_t at = seen_search(seen->batch, seen->count, key);
	uint64_t position = 0;
	wb_code code = seen_answer(seen, key, &position, err);

	*ret_at = at;
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	if (at < seen->count && !seen_compare(seen->batch[at].key, key))
		position = wbi_get_le64(seen->batch[at].position);
	else if (code == WB_ENOTFOUND)
		return WB_ENOTFOUND;
	*ret_position = position;
	return WB_OK;
}

wb_code wbi_seen_get(wbi_seen *seen, wb_str source, wb_str id,
		     uint64_t *ret_position, wb_error *err)
{
	uint8_t key[SEEN_KEY];
	size_t at;
	wb_code code = seen_key(seen, source, id, key, err);

	return code == WB_OK ? seen_find(seen, key, &at, ret_position, err)
			     : code;
}

/* The batch into the first level, and on from there what is too much. */
static wb_code seen_flush(wbi_seen *seen, wb_error *err)
{
	size_t count = seen->count;
	wb_code code = seen_level_merge(seen, 1, seen->batch, count, err);

	seen->count = 0;
	for (unsigned i = 1; code == WB_OK && i < WBI_SEEN_LEVELS; i++)
		code = seen_level_spill(seen, i, err);
	if (code == WB_OK && seen->state.floor > 0)
		code = seen_level_sweep(seen, SEEN_SWEEP * count, err);
	return code;
}

wb_code wbi_seen_add(wbi_seen *seen, wb_str source, wb_str id,
		     uint64_t position, uint64_t *ret_position, wb_error *err)
{
	uint8_t key[SEEN_KEY];
	seen_entry *entry;
	size_t at;
	wb_code code = seen_key(seen, source, id, key, err);

	if (code == WB_OK)
		code = seen_find(seen, key, &at, ret_position, err);
	if (code != WB_ENOTFOUND)
		return code == WB_OK ? WB_EEXISTS : code;
	entry = &seen->batch[at];
	memmove(entry + 1, entry, (seen->count - at) * sizeof(*entry));
	memcpy(entry->key, key, SEEN_KEY);
	wbi_put_le64(entry->position, position);
	if (seen->added++ == 0)
		seen->first = position;
	*ret_position = position;
	return ++seen->count == SEEN_BATCH ? seen_flush(seen, err) : WB_OK;
}

/* ---- ages --------------------------------------------------------------- */

/* The row of ages in which the first of what was added falls. */
static wb_code seen_add_age(wbi_seen *seen, uint64_t age_us, wb_error *err)
{
	uint64_t position = 0, last_us = 0;
	wbi_cursor *cursor;
	wb_str row;
	wb_code code = wbi_cursor_open(seen->txn, seen->ages, &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move_at(cursor, WBI_LAST, &position, &row, err);
	if (code == WB_OK)
		code = seen_age_decode(position, row, &last_us, err);
	wbi_cursor_close(cursor);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	if (code == WB_OK &&
	    (age_us < last_us + SEEN_AGE_STEP_US || position >= seen->first))
		return WB_OK;
	return seen_age_put(seen->txn, seen->ages, seen->first, age_us, err);
}

/* The first row's ids, all up to the second one's, were added within a step of
 * its age: later ones would have got a row of their own. */
static wb_code seen_forget_one(wbi_seen *seen, wbi_cursor *cursor,
			       uint64_t before_us, wb_error *err)
{
	uint64_t position = 0, age_us = 0;
	wb_str row;
	wb_code code;

	code = wbi_cursor_move_at(cursor, WBI_FIRST, &position, &row, err);
	if (code == WB_OK)
		code = seen_age_decode(position, row, &age_us, err);
	if (code == WB_OK && (before_us < SEEN_AGE_STEP_US ||
			      age_us > before_us - SEEN_AGE_STEP_US))
		return WB_ENOTFOUND;
	if (code == WB_OK)
		code = wbi_cursor_move_at(cursor, WBI_NEXT, &position, &row,
					  err);
	if (code != WB_OK)
		return code; /* the last one: where it ends is not known */
	if (position > seen->state.floor) {
		seen->state.floor = position;
		seen->changed = true;
	}
	code = wbi_cursor_move_at(cursor, WBI_FIRST, &position, &row, err);
	return code == WB_OK ? wbi_cursor_del(cursor, err) : code;
}

wb_code wbi_seen_forget(wbi_seen *seen, uint64_t before_us, uint64_t *ret_floor,
			wb_error *err)
{
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(seen->txn, seen->ages, &cursor, err);

	for (int i = 0; code == WB_OK && i < SEEN_AGES_MOST; i++)
		code = seen_forget_one(seen, cursor, before_us, err);
	wbi_cursor_close(cursor);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	*ret_floor = seen->state.floor;
	return WB_OK;
}

wb_code wbi_seen_finish(wbi_seen *seen, uint64_t age_us, wb_error *err)
{
	wb_code code = WB_OK;

	if (seen->count > 0)
		code = seen_flush(seen, err);
	if (code == WB_OK && seen->added > 0)
		code = seen_add_age(seen, age_us, err);
	if (code == WB_OK && (seen->changed || seen->added > 0))
		code = seen_state_write(seen->txn, seen->table, &seen->state,
					err);
	seen->added = 0;
	seen->changed = false;
	return code;
}
