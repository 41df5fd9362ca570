/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The checker keeps one entry per id that it ever heard of, in order of first
 * mention, found by a hash table that only grows. Counting is one pass over
 * the entries in order of first arrival, with the highest position seen so far
 * per key. It knows nothing of waybill's own code but the hash: what is under
 * test must not judge itself.
 */
#include "tests/support/checker.h"

#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/hash.h"

typedef struct checker_text {
	char *bytes;
	size_t len;
} checker_text;

typedef struct checker_entry {
	checker_text id;
	size_t key; /* index of its key; 0: unordered */
	uint64_t position;
	uint64_t arrivals;
	checker_fate fate;
	bool appended, parked, discarded, held, reordered;
} checker_entry;

typedef struct checker_key {
	checker_text text;
	uint64_t highest; /* position among the first arrivals so far */
} checker_key;

/* Open addressing; slots hold index + 1, 0: empty. At most half full. */
typedef struct checker_table {
	size_t *slots;
	size_t size;
} checker_table;

struct checker {
	checker_entry *entries;
	size_t entry_count, entry_capacity;
	checker_table by_id;
	checker_key *keys; /* keys[0] is the empty one */
	size_t key_count, key_capacity;
	checker_table by_key;
	size_t *firsts; /* entries in order of first arrival */
	size_t first_count, first_capacity;
};

/* ---- storage ----------------------------------------------------------- */

static bool checker_grow(void **array, size_t *capacity, size_t count,
			 size_t size)
{
	size_t more = *capacity ? *capacity * 2 : 64;
	void *grown;

	if (count < *capacity)
		return true;
	grown = realloc(*array, more * size);
	if (!grown)
		return false;
	*array = grown;
	*capacity = more;
	return true;
}

static bool checker_text_copy(checker_text *to, wb_str from)
{
	to->len = from.len;
	to->bytes = malloc(from.len + 1);
	if (!to->bytes)
		return false;
	if (from.len > 0)
		memcpy(to->bytes, from.ptr, from.len);
	to->bytes[from.len] = '\0';
	return true;
}

static wb_str checker_text_str(const checker_text *text)
{
	return wb_str_n(text->bytes, text->len);
}

static const checker_text *checker_nth(const checker *c, bool key, size_t i)
{
	return key ? &c->keys[i].text : &c->entries[i].id;
}

/* The slot that holds `text`, or the empty one where it belongs. */
static size_t *checker_slot(const checker *c, const checker_table *table,
			    bool key, wb_str text)
{
	size_t at = (size_t)wbi_hash(0, text.ptr, text.len) % table->size;

	while (table->slots[at] != 0 &&
	       !wb_str_eq(checker_text_str(
				  checker_nth(c, key, table->slots[at] - 1)),
			  text))
		at = (at + 1) % table->size;
	return &table->slots[at];
}

static bool checker_make_room(checker *c, checker_table *table, bool key,
			      size_t count)
{
	checker_table larger = {NULL, table->size ? table->size * 2 : 128};

	if ((count + 1) * 2 <= table->size)
		return true;
	larger.slots = calloc(larger.size, sizeof(*larger.slots));
	if (!larger.slots)
		return false;
	for (size_t i = 0; i < count; i++)
		*checker_slot(c, &larger, key,
			      checker_text_str(checker_nth(c, key, i))) = i + 1;
	free(table->slots);
	*table = larger;
	return true;
}

/* The index of the entry with this id, made if it is new; SIZE_MAX: no
 * memory. */
static size_t checker_entry_of(checker *c, wb_str id)
{
	size_t *slot;

	if (!checker_make_room(c, &c->by_id, false, c->entry_count) ||
	    !checker_grow((void **)&c->entries, &c->entry_capacity,
			  c->entry_count, sizeof(*c->entries)))
		return SIZE_MAX;
	slot = checker_slot(c, &c->by_id, false, id);
	if (*slot != 0)
		return *slot - 1;
	c->entries[c->entry_count] = (checker_entry){0};
	if (!checker_text_copy(&c->entries[c->entry_count].id, id))
		return SIZE_MAX;
	*slot = ++c->entry_count;
	return *slot - 1;
}

static size_t checker_key_of(checker *c, wb_str key)
{
	size_t *slot;

	if (!checker_make_room(c, &c->by_key, true, c->key_count) ||
	    !checker_grow((void **)&c->keys, &c->key_capacity, c->key_count,
			  sizeof(*c->keys)))
		return SIZE_MAX;
	slot = checker_slot(c, &c->by_key, true, key);
	if (*slot != 0)
		return *slot - 1;
	c->keys[c->key_count] = (checker_key){0};
	if (!checker_text_copy(&c->keys[c->key_count].text, key))
		return SIZE_MAX;
	*slot = ++c->key_count;
	return *slot - 1;
}

checker *checker_new(void)
{
	checker *c = calloc(1, sizeof(*c));

	if (c && checker_key_of(c, WB_STR_NULL) != 0) {
		checker_free(c);
		return NULL;
	}
	return c;
}

void checker_free(checker *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->entry_count; i++)
		free(c->entries[i].id.bytes);
	for (size_t i = 0; i < c->key_count; i++)
		free(c->keys[i].text.bytes);
	free(c->entries);
	free(c->keys);
	free(c->firsts);
	free(c->by_id.slots);
	free(c->by_key.slots);
	free(c);
}

/* ---- what happened ----------------------------------------------------- */

bool checker_appended(checker *c, wb_str id, wb_str key, uint64_t position,
		      checker_fate fate)
{
	size_t at = checker_entry_of(c, id);
	size_t key_at = checker_key_of(c, key);

	if (at == SIZE_MAX || key_at == SIZE_MAX || c->entries[at].appended)
		return false;
	c->entries[at].appended = true;
	c->entries[at].key = key_at;
	c->entries[at].position = position;
	c->entries[at].fate = fate;
	return true;
}

bool checker_arrived(checker *c, wb_str id)
{
	size_t at = checker_entry_of(c, id);

	if (at == SIZE_MAX ||
	    !checker_grow((void **)&c->firsts, &c->first_capacity,
			  c->first_count, sizeof(*c->firsts)))
		return false;
	if (c->entries[at].arrivals++ == 0)
		c->firsts[c->first_count++] = at;
	return true;
}

bool checker_parked(checker *c, wb_str id)
{
	size_t at = checker_entry_of(c, id);

	if (at == SIZE_MAX)
		return false;
	c->entries[at].parked = true;
	return true;
}

bool checker_discarded(checker *c, wb_str id)
{
	size_t at = checker_entry_of(c, id);

	if (at == SIZE_MAX)
		return false;
	c->entries[at].discarded = true;
	return true;
}

bool checker_held(checker *c, wb_str id)
{
	size_t at = checker_entry_of(c, id);

	if (at == SIZE_MAX)
		return false;
	c->entries[at].held = true;
	return true;
}

void checker_forget_from(checker *c, uint64_t position)
{
	for (size_t i = 0; i < c->entry_count; i++) {
		checker_entry *e = &c->entries[i];

		if (e->appended && e->fate != CHECKER_ABORTED &&
		    e->position >= position)
			e->fate = CHECKER_FORGOTTEN;
	}
}

bool checker_has_arrived(checker *c, wb_str id)
{
	size_t at = checker_entry_of(c, id);

	return at != SIZE_MAX && c->entries[at].arrivals > 0;
}

void checker_add(checker_counts *sum, const checker_counts *one)
{
	sum->attempted += one->attempted;
	sum->committed += one->committed;
	sum->delivered += one->delivered;
	sum->parked += one->parked;
	sum->lost += one->lost;
	sum->phantom += one->phantom;
	sum->duplicate += one->duplicate;
	sum->reordered += one->reordered;
	sum->discarded += one->discarded;
	sum->held += one->held;
	sum->unseen += one->unseen;
}

/* ---- counting ---------------------------------------------------------- */

static bool checker_is_seen(const checker_entry *e)
{
	return e->arrivals > 0 || e->parked || e->discarded || e->held;
}

static bool checker_is_phantom(const checker_entry *e)
{
	return checker_is_seen(e) &&
	       (!e->appended || e->fate == CHECKER_ABORTED);
}

/* An event that may or may not be committed counts as what it shows to be. */
static bool checker_is_committed(const checker_entry *e)
{
	if (!e->appended || e->fate == CHECKER_ABORTED ||
	    e->fate == CHECKER_FORGOTTEN)
		return false;
	return e->fate == CHECKER_COMMITTED || checker_is_seen(e);
}

static bool checker_is_lost(const checker_entry *e)
{
	return checker_is_committed(e) && !checker_is_seen(e);
}

static void checker_order(checker *c)
{
	for (size_t i = 0; i < c->key_count; i++)
		c->keys[i].highest = 0;
	for (size_t i = 0; i < c->first_count; i++) {
		checker_entry *e = &c->entries[c->firsts[i]];
		checker_key *key = &c->keys[e->key];

		e->reordered = false;
		if (e->key == 0 || e->discarded || !checker_is_committed(e))
			continue;
		e->reordered = e->position < key->highest;
		if (e->position > key->highest)
			key->highest = e->position;
	}
}

/* Of a committed event: its one end. */
static void checker_count_end(const checker_entry *e, checker_counts *n)
{
	if (e->arrivals > 0)
		n->delivered++;
	else if (e->parked)
		n->parked++;
	else if (e->discarded)
		n->discarded++;
	else if (e->held)
		n->held++;
	else
		n->lost++;
}

checker_counts checker_count(checker *c)
{
	checker_counts n = {0};

	checker_order(c);
	for (size_t i = 0; i < c->entry_count; i++) {
		const checker_entry *e = &c->entries[i];

		n.attempted += e->appended;
		if (checker_is_committed(e)) {
			n.committed++;
			checker_count_end(e, &n);
		}
		n.unseen += e->appended && e->fate == CHECKER_UNKNOWN &&
			    !checker_is_seen(e);
		n.phantom += checker_is_phantom(e);
		n.duplicate += e->arrivals > 1 ? e->arrivals - 1 : 0;
		n.reordered += e->reordered;
	}
	return n;
}

bool checker_is_clean(const checker_counts *counts)
{
	return counts->lost == 0 && counts->phantom == 0 &&
	       counts->reordered == 0;
}

void checker_print(const checker_counts *n, FILE *out)
{
	fprintf(out,
		"attempted=%" PRIu64 " committed=%" PRIu64 " delivered=%" PRIu64
		" parked=%" PRIu64 " lost=%" PRIu64 " phantom=%" PRIu64
		" duplicate=%" PRIu64 " reordered=%" PRIu64,
		n->attempted, n->committed, n->delivered, n->parked, n->lost,
		n->phantom, n->duplicate, n->reordered);
	if (n->discarded > 0 || n->held > 0)
		fprintf(out,
			" discarded=%" PRIu64 " held=%" PRIu64
			" unseen=%" PRIu64,
			n->discarded, n->held, n->unseen);
	fputc('\n', out);
}

static void checker_explain_one(const checker *c, const checker_entry *e,
				const char *what, FILE *out, size_t *left)
{
	if (*left == 0)
		return;
	--*left;
	fprintf(out, "  %s: %s position %" PRIu64 " key '%s'\n", what,
		e->id.bytes, e->position, c->keys[e->key].text.bytes);
}

void checker_explain(checker *c, FILE *out, size_t max)
{
	size_t lost = max, phantom = max, reordered = max;

	checker_order(c);
	for (size_t i = 0; i < c->entry_count; i++) {
		const checker_entry *e = &c->entries[i];

		if (checker_is_lost(e))
			checker_explain_one(c, e, "lost", out, &lost);
		if (checker_is_phantom(e))
			checker_explain_one(c, e, "phantom", out, &phantom);
		if (e->reordered)
			checker_explain_one(c, e, "reordered", out, &reordered);
	}
}
