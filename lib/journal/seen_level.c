/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Levels of known ids. One B-tree with a row per id would have to rewrite a
 * page for nearly each id that is added, once there are millions and they come
 * in no order. So ids stay in a small first level, and move on from there into
 * larger ones, SEEN_GROWTH times as large each, always many that are neighbours
 * at a time: then they share the pages that are rewritten.
 *
 * A level is a row of chunks of sorted entries, by their greatest key; chunks
 * of a level do not overlap. An id may stand in two levels after it was
 * forgotten and came again: that of the level before is the newer one.
 *
 * Each call moves a bounded number of entries. All of it is inside the caller's
 * transaction: a crash leaves the last commit.
 */
#include "lib/journal/seen_internal.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"

enum {
	LEVEL_RUN = 32, /* neighbouring chunks that are rewritten together */
	LEVEL_TAKE = SEEN_BATCH + SEEN_CHUNK /* moved on at once */
};

/* ---- looking ------------------------------------------------------------ */

/* The first chunk of the level at or behind `key`: the only one that can have
 * it. WB_ENOTFOUND: all it has is below. */
static wb_code level_seek(wbi_cursor *cursor, unsigned level,
			  const uint8_t key[SEEN_KEY], wb_str *ret_key,
			  wb_str *ret_row, wb_error *err)
{
	seen_row_key want = seen_row_key_of(level, key);
	wb_str at = seen_row_key_str(&want);
	wb_code code = wbi_cursor_move(cursor, WBI_SEEK, &at, ret_row, err);

	if (code != WB_OK)
		return code;
	if (at.len != sizeof(want) || (uint8_t)at.ptr[0] != level)
		return WB_ENOTFOUND;
	*ret_key = at;
	return WB_OK;
}

/* Where in its chunk a key would be if all keys of the level were evenly
 * spread, as hashes are: counted from the chunk's greatest one, so that nothing
 * of the chunk is touched. */
static size_t look_guess(size_t count, const uint8_t high[SEEN_KEY],
			 const uint8_t key[SEEN_KEY], uint64_t gap)
{
	uint64_t behind = (wbi_get_be64(high) - wbi_get_be64(key)) / gap;

	return behind < count ? count - 1 - (size_t)behind : 0;
}

/* The chunk of each slot; the one before may have this one's, too. */
static wb_code look_seek(wbi_seen *seen, unsigned level, seen_slot *slot,
			 const seen_slot *before, uint8_t high[SEEN_KEY],
			 wb_error *err)
{
	wb_str row_key, row;
	wb_code code;

	if (before && seen_compare(slot->key, high) <= 0) {
		slot->entries = before->entries;
		slot->count = before->count;
		return WB_OK;
	}
	code = level_seek(seen->cursor, level, slot->key, &row_key, &row, err);
	if (code == WB_ENOTFOUND) {
		memset(high, 0xff, SEEN_KEY);
		slot->entries = NULL;
		slot->count = 0;
		return WB_OK;
	}
	if (code != WB_OK)
		return code;
	memcpy(high, row_key.ptr + 1, SEEN_KEY);
	return seen_chunk_peek(row, &slot->entries, &slot->count, err);
}

static void look_search(seen_slot *slot)
{
	size_t at;

	if (slot->count == 0 || slot->position > 0)
		return;
	at = seen_search_from(slot->entries, slot->count, slot->guess,
			      slot->key);
	if (at < slot->count && !seen_compare(slot->entries[at].key, slot->key))
		slot->position = wbi_get_le64(slot->entries[at].position);
}

wb_code seen_level_look(wbi_seen *seen, unsigned level, seen_slot *const *slots,
			size_t count, wb_error *err)
{
	uint64_t gap = UINT64_MAX / seen->state.counts[level];
	seen_slot *before = NULL;
	uint8_t high[SEEN_KEY];
	wb_code code = WB_OK;

	if (!seen->cursor)
		code = wbi_cursor_open(seen->txn, seen->table, &seen->cursor,
				       err);
	for (size_t i = 0; code == WB_OK && i < count; i++) {
		seen_slot *slot = slots[i];

		code = look_seek(seen, level, slot, before, high, err);
		before = slot;
		if (code != WB_OK || slot->count == 0)
			continue;
		slot->guess = look_guess(slot->count, high, slot->key, gap);
		__builtin_prefetch(&slot->entries[slot->guess]);
	}
	for (size_t i = 0; code == WB_OK && i < count; i++)
		look_search(slots[i]);
	return code;
}

/* What was found is old after a write. */
static void level_forget_looks(wbi_seen *seen)
{
	wbi_cursor_close(seen->cursor);
	seen->cursor = NULL;
	seen->expected = 0;
}

/* ---- rewriting ---------------------------------------------------------- */

/* Chunks of one level that follow on each other, copied out. */
typedef struct level_run {
	unsigned level;
	size_t chunks, count;
	bool last; /* nothing of the level is behind them */
	seen_row_key keys[LEVEL_RUN];
	seen_entry entries[LEVEL_RUN * SEEN_CHUNK];
	seen_entry merged[LEVEL_RUN * SEEN_CHUNK + LEVEL_TAKE];
} level_run;

static wb_code run_new(unsigned level, level_run **ret, wb_error *err)
{
	level_run *run = malloc(sizeof(*run));

	if (!run)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for known ids");
	run->level = level;
	run->chunks = run->count = 0;
	run->last = false;
	*ret = run;
	return WB_OK;
}

static wb_code run_add(level_run *run, wb_str row_key, wb_str row,
		       wb_error *err)
{
	const seen_entry *entries;
	size_t count;
	wb_code code = seen_chunk_check(row_key, row, &entries, &count, err);

	if (code != WB_OK)
		return code;
	WB_ASSERT(run->chunks < LEVEL_RUN);
	memcpy(&run->keys[run->chunks++], row_key.ptr, sizeof(seen_row_key));
	memcpy(run->entries + run->count, entries, count * sizeof(*entries));
	run->count += count;
	return WB_OK;
}

static bool run_is_of(const level_run *run, wb_str row_key)
{
	return row_key.len == sizeof(seen_row_key) &&
	       (uint8_t)row_key.ptr[0] == run->level;
}

/* The last chunk of the level. WB_ENOTFOUND: it is empty. */
static wb_code run_seek_last(const level_run *run, wbi_cursor *cursor,
			     wb_str *ret_key, wb_str *ret_row, wb_error *err)
{
	uint8_t behind = (uint8_t)(run->level + 1);
	wb_str at = wb_str_n(&behind, 1);
	wb_code code = wbi_cursor_move(cursor, WBI_SEEK, &at, ret_row, err);

	if (code == WB_OK || code == WB_ENOTFOUND)
		code = wbi_cursor_move(cursor,
				       code == WB_OK ? WBI_PREV : WBI_LAST, &at,
				       ret_row, err);
	if (code != WB_OK)
		return code;
	*ret_key = at;
	return run_is_of(run, at) ? WB_OK : WB_ENOTFOUND;
}

/* Of sorted entries, those that belong to the run's chunks or before them. */
static size_t run_share(const level_run *run, const seen_entry *entries,
			size_t count)
{
	const uint8_t *high = run->keys[run->chunks - 1].bytes + 1;
	size_t share = seen_search(entries, count, high);

	if (share < count && !seen_compare(entries[share].key, high))
		share++;
	return share;
}

/*
 * Copy out the chunk that the first of `entries` belongs to, and those behind
 * it for as long as each has its share of the others. What is behind the last
 * chunk belongs to that. *ret_share: how many of `entries` belong to the run.
 */
static wb_code run_read(level_run *run, wbi_cursor *cursor,
			const seen_entry *entries, size_t count,
			size_t *ret_share, wb_error *err)
{
	wb_str key, row;
	wb_code code =
		level_seek(cursor, run->level, entries[0].key, &key, &row, err);

	run->chunks = run->count = 0;
	run->last = true;
	*ret_share = count;
	if (code == WB_ENOTFOUND)
		code = run_seek_last(run, cursor, &key, &row, err);
	while (code == WB_OK) {
		code = run_add(run, key, row, err);
		if (code == WB_OK)
			code = wbi_cursor_move(cursor, WBI_NEXT, &key, &row,
					       err);
		if (code != WB_OK || !run_is_of(run, key))
			break;
		*ret_share = run_share(run, entries, count);
		run->last = false;
		if (*ret_share == count || run->chunks == LEVEL_RUN ||
		    seen_compare(entries[*ret_share].key, key.ptr + 1) > 0)
			return WB_OK;
		run->last = true; /* unless there is one behind that, too */
		*ret_share = count;
	}
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static bool entry_lives(const wbi_seen *seen, const seen_entry *entry)
{
	return wbi_get_le64(entry->position) >= seen->state.floor;
}

/* Both into `merged`, without what is forgotten; `entries` win. */
static size_t run_merge(const wbi_seen *seen, level_run *run,
			const seen_entry *entries, size_t count)
{
	size_t i = 0, j = 0, n = 0;

	while (i < run->count || j < count) {
		const seen_entry *a = i < run->count ? &run->entries[i] : NULL;
		const seen_entry *b = j < count ? &entries[j] : NULL;
		int order = !a ? 1 : !b ? -1 : seen_compare(a->key, b->key);
		const seen_entry *e = order < 0 ? a : b;

		i += order <= 0;
		j += order >= 0;
		if (entry_lives(seen, e))
			run->merged[n++] = *e;
	}
	return n;
}

static wb_code run_remove(wbi_seen *seen, const level_run *run, wb_error *err)
{
	wb_code code = WB_OK;

	for (size_t i = 0; code == WB_OK && i < run->chunks; i++)
		code = wbi_del(seen->txn, seen->table,
			       seen_row_key_str(&run->keys[i]), err);
	WB_ASSERT(seen->state.counts[run->level] >= run->count);
	seen->state.counts[run->level] -= run->count;
	return code;
}

/* Instead of the run's chunks, `count` entries in as few as they fill: evenly,
 * or at the level's end, where what comes next will go behind, full ones. */
static wb_code run_write(wbi_seen *seen, const level_run *run,
			 const seen_entry *entries, size_t count, wb_error *err)
{
	size_t chunks = (count + SEEN_CHUNK - 1) / SEEN_CHUNK, at = 0;
	wb_code code = run_remove(seen, run, err);

	for (size_t i = 0; code == WB_OK && i < chunks; i++) {
		size_t end =
			run->last ? at + SEEN_CHUNK : count * (i + 1) / chunks;

		if (end > count)
			end = count;
		code = seen_chunk_put(seen->txn, seen->table, run->level,
				      entries + at, end - at, err);
		at = end;
	}
	seen->state.counts[run->level] += count;
	return code;
}

wb_code seen_level_merge(wbi_seen *seen, unsigned level,
			 const seen_entry *entries, size_t count, wb_error *err)
{
	wbi_cursor *cursor;
	level_run *run = NULL;
	wb_code code = run_new(level, &run, err);

	WB_ASSERT(count <= LEVEL_TAKE);
	if (code != WB_OK)
		return code;
	level_forget_looks(seen);
	while (code == WB_OK && count > 0) {
		size_t share, n;

		code = wbi_cursor_open(seen->txn, seen->table, &cursor, err);
		if (code != WB_OK)
			break;
		code = run_read(run, cursor, entries, count, &share, err);
		wbi_cursor_close(cursor);
		if (code != WB_OK)
			break;
		n = run_merge(seen, run, entries, share);
		code = run_write(seen, run, run->merged, n, err);
		entries += share;
		count -= share;
	}
	free(run);
	return code;
}

/* ---- moving on ---------------------------------------------------------- */

/*
 * What is taken is taken in turn around the level: there it has been growing
 * for longest, so many entries of it go into the same chunks of the next level.
 * That is why it is cut out exactly: a chunk at the cut begins far back, where
 * the level is nearly empty.
 */
typedef struct level_cut {
	level_run *run;
	size_t from, to; /* of its entries */
} level_cut;

/* Chunks with `need` entries behind the mark, or with all there are. */
static wb_code cut_read(const uint8_t mark[SEEN_KEY], size_t need,
			wbi_cursor *cursor, level_cut *cut, wb_error *err)
{
	level_run *run = cut->run;
	wb_str key, row;
	wb_code code = level_seek(cursor, run->level, mark, &key, &row, err);

	run->chunks = run->count = cut->from = cut->to = 0;
	while (code == WB_OK && run_is_of(run, key) &&
	       cut->to - cut->from < need && run->chunks < LEVEL_RUN) {
		code = run_add(run, key, row, err);
		if (code == WB_OK)
			code = wbi_cursor_move(cursor, WBI_NEXT, &key, &row,
					       err);
		if (run->chunks == 1) {
			cut->from = seen_search(run->entries, run->count, mark);
			if (cut->from < run->count &&
			    !seen_compare(run->entries[cut->from].key, mark))
				cut->from++;
		}
		cut->to = run->count;
	}
	if (cut->to - cut->from > need)
		cut->to = cut->from + need;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* The next in turn: at the end of the level, its beginning. */
static wb_code cut_next(wbi_seen *seen, size_t need, level_cut *cut,
			wb_error *err)
{
	uint8_t *mark = seen->state.taken[cut->run->level];
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(seen->txn, seen->table, &cursor, err);

	if (code != WB_OK)
		return code;
	code = cut_read(mark, need, cursor, cut, err);
	if (code == WB_OK && cut->from == cut->to) {
		memset(mark, 0, SEEN_KEY);
		code = cut_read(mark, need, cursor, cut, err);
	}
	wbi_cursor_close(cursor);
	if (code == WB_OK && cut->from < cut->to)
		memcpy(mark, cut->run->entries[cut->to - 1].key, SEEN_KEY);
	return code;
}

/* Write back what is before and behind the cut, and move on what is in it. */
static wb_code cut_move(wbi_seen *seen, const level_cut *cut, wb_error *err)
{
	level_run *run = cut->run;
	size_t behind = run->count - cut->to;
	wb_code code;

	memcpy(run->merged, run->entries, cut->from * sizeof(seen_entry));
	memcpy(run->merged + cut->from, run->entries + cut->to,
	       behind * sizeof(seen_entry));
	code = run_write(seen, run, run->merged, cut->from + behind, err);
	if (code == WB_OK && cut->from < cut->to)
		code = seen_level_merge(seen, run->level + 1,
					run->entries + cut->from,
					cut->to - cut->from, err);
	return code;
}

wb_code seen_level_spill(wbi_seen *seen, unsigned level, wb_error *err)
{
	uint64_t room = SEEN_FIRST, count = seen->state.counts[level];
	level_cut cut = {.from = 0};
	size_t need;
	wb_code code;

	for (unsigned i = 1; i < level; i++)
		room *= SEEN_GROWTH;
	if (count <= room || level + 1 == WBI_SEEN_LEVELS)
		return WB_OK;
	need = count - room < LEVEL_TAKE ? (size_t)(count - room) : LEVEL_TAKE;
	code = run_new(level, &cut.run, err);
	if (code != WB_OK)
		return code;
	level_forget_looks(seen);
	code = cut_next(seen, need, &cut, err);
	if (code == WB_OK)
		code = cut_move(seen, &cut, err);
	free(cut.run);
	return code;
}

/* ---- forgetting --------------------------------------------------------- */

/* The next chunk of any level. WB_ENOTFOUND: it was the last. */
static wb_code sweep_read(wbi_seen *seen, level_run *run, wb_error *err)
{
	wb_str key = seen_row_key_str(&seen->state.swept), row;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(seen->txn, seen->table, &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move(cursor, WBI_SEEK, &key, &row, err);
	if (code == WB_OK &&
	    (key.len != sizeof(seen_row_key) ||
	     wb_str_eq(key, seen_row_key_str(&seen->state.swept))))
		code = wbi_cursor_move(cursor, WBI_NEXT, &key, &row, err);
	run->chunks = run->count = 0;
	if (code == WB_OK) {
		run->level = (uint8_t)key.ptr[0];
		code = run_add(run, key, row, err);
	}
	if (code == WB_OK)
		memcpy(&seen->state.swept, key.ptr, key.len);
	wbi_cursor_close(cursor);
	return code;
}

wb_code seen_level_sweep(wbi_seen *seen, uint64_t most, wb_error *err)
{
	uint64_t looked = 0;
	level_run *run = NULL;
	wb_code code = run_new(1, &run, err);

	if (code != WB_OK)
		return code;
	level_forget_looks(seen);
	while (looked < most) {
		size_t n;

		code = sweep_read(seen, run, err);
		if (code != WB_OK)
			break;
		looked += run->count;
		n = run_merge(seen, run, NULL, 0);
		if (n > run->count / 2)
			continue; /* not worth a page yet */
		code = run_write(seen, run, run->merged, n, err);
		if (code != WB_OK)
			break;
	}
	if (code == WB_ENOTFOUND) {
		memset(&seen->state.swept, 0, sizeof(seen->state.swept));
		code = WB_OK;
	}
	free(run);
	return code;
}
