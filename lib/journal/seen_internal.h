/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of `seen` share: rows (seen_rows.c), levels (seen_level.c),
 * the visit (seen.c). */
#ifndef WBI_SEEN_INTERNAL_H
#define WBI_SEEN_INTERNAL_H

#include "lib/base/bytes.h"
#include "lib/base/siphash.h"
#include "lib/journal/seen.h"

enum {
	SEEN_KEY = 16,
	SEEN_CHUNK = 169,  /* entries whose row fills one page */
	SEEN_BATCH = 1024, /* entries that a visit holds */
	SEEN_FIRST = 4096, /* entries of the first level ... */
	SEEN_GROWTH = 14   /* ... and how many times that the next has */
};

/* As they lie in a chunk. */
typedef struct seen_entry {
	uint8_t key[SEEN_KEY];
	uint8_t position[8]; /* little-endian */
} seen_entry;

_Static_assert(sizeof(seen_entry) == 24, "no padding");

typedef struct seen_row_key {
	uint8_t bytes[1 + SEEN_KEY]; /* level, the greatest key of the chunk */
} seen_row_key;

/* The row that goes with the levels. */
typedef struct seen_state {
	uint8_t secret[WBI_SIPHASH_KEY];
	uint64_t floor;                   /* positions below are forgotten */
	uint64_t counts[WBI_SEEN_LEVELS]; /* [0] is not used */
	uint8_t taken[WBI_SEEN_LEVELS][SEEN_KEY]; /* moved on up to here */
	seen_row_key swept;                       /* looked at up to here */
} seen_state;

/* One id that is looked for, with many others at a time: so that what they have
 * to wait for, memory that is in no cache, is waited for together. */
typedef struct seen_slot {
	uint8_t key[SEEN_KEY];
	uint64_t position;         /* as which it was found; 0: not, so far */
	const seen_entry *entries; /* of the chunk that may have it, for now */
	size_t count, guess;
} seen_slot;

struct wbi_seen {
	wb_store *store;
	MDB_txn *txn;
	wbi_table table, ages;
	wbi_cursor *cursor; /* for looking; NULL: not open */
	seen_state state;
	bool changed;   /* the state, though nothing was added */
	uint64_t added; /* since open */
	uint64_t first; /* position of the first of them */
	size_t count;
	seen_entry batch[SEEN_BATCH]; /* sorted; not written yet */
	/* What was said to come: looked up in one go when the first of them is
	 * asked for, and good until the levels change. */
	size_t expected, answered;
	bool looked;
	seen_slot slots[SEEN_BATCH];
};

/* ---- rows ---------------------------------------------------------------- */

wb_str seen_state_key(void);
/* WB_ENOTFOUND: none yet. */
wb_code seen_state_read(MDB_txn *txn, wbi_table table, seen_state *ret,
			wb_error *err);
wb_code seen_state_write(MDB_txn *txn, wbi_table table, const seen_state *state,
			 wb_error *err);

seen_row_key seen_row_key_of(unsigned level, const uint8_t key[SEEN_KEY]);
static inline wb_str seen_row_key_str(const seen_row_key *key)
{
	return wb_str_n(key->bytes, sizeof(key->bytes));
}

/* The entries of a chunk, in the row. Looking believes what it finds, as long
 * as it stays inside of it, and touches none of it yet; whoever rewrites a
 * chunk checks it. */
wb_code seen_chunk_peek(wb_str row, const seen_entry **ret, size_t *ret_count,
			wb_error *err);
wb_code seen_chunk_check(wb_str row_key, wb_str row, const seen_entry **ret,
			 size_t *ret_count, wb_error *err);
wb_code seen_chunk_put(MDB_txn *txn, wbi_table table, unsigned level,
		       const seen_entry *entries, size_t count, wb_error *err);

/* memcmp() of two keys, without a call: it is most of what a search does. */
static inline int seen_compare(const void *a_key, const void *b_key)
{
	const uint8_t *a = a_key, *b = b_key;
	uint64_t x = wbi_get_be64(a), y = wbi_get_be64(b);

	if (x == y) {
		x = wbi_get_be64(a + 8);
		y = wbi_get_be64(b + 8);
	}
	return (x > y) - (x < y);
}

/* Where `key` is in sorted entries, or would be. */
size_t seen_search(const seen_entry *entries, size_t count,
		   const uint8_t key[SEEN_KEY]);
/* The same, looking around `guess` first. */
size_t seen_search_from(const seen_entry *entries, size_t count, size_t guess,
			const uint8_t key[SEEN_KEY]);

wb_code seen_age_put(MDB_txn *txn, wbi_table ages, uint64_t position,
		     uint64_t age_us, wb_error *err);
wb_code seen_age_decode(uint64_t position, wb_str row, uint64_t *ret_age_us,
			wb_error *err);

/* ---- levels -------------------------------------------------------------- */

/* Look for all of `slots`, sorted by key, in a level: those that are found get
 * their position. */
wb_code seen_level_look(wbi_seen *seen, unsigned level, seen_slot *const *slots,
			size_t count, wb_error *err);
/* Put sorted entries into a level; they win over what it has. */
wb_code seen_level_merge(wbi_seen *seen, unsigned level,
			 const seen_entry *entries, size_t count,
			 wb_error *err);
/* Move on what is too much for a level, a bounded part of it. */
wb_code seen_level_spill(wbi_seen *seen, unsigned level, wb_error *err);
/* Take away forgotten entries from chunks with `most` entries or so, where the
 * last call ended. */
wb_code seen_level_sweep(wbi_seen *seen, uint64_t most, wb_error *err);

#endif
