/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The service that appends. It knows of each event whether it was committed,
 * even where the service itself dies before it hears of it.
 */
#include "tests/sim/content.h"
#include "tests/sim/world.h"

enum { APPEND_KEYS = 6, APPEND_BATCH_MAX = 4, APPEND_DATA_MAX = 300 };

/* What is appended. A key stays with one exchange, named by the first letter
 * of its keys: while an exchange is held, a key's events for another one go
 * on. */
static const struct {
	const char *type;
	char key;
	bool ordered;  /* false: on a route without order */
	bool accepted; /* it may end unrouted, and is counted then. A repeat of
			  it after a crash may yet be routed: out of order */
} append_types[] = {
	{"order.placed", 'o', true, false}, {"order.paid", 'o', true, false},
	{"stock.moved", 's', true, false},  {"doc.filed", 'o', true, false},
	{"metric.read", 's', false, false}, {"audit.noted", 's', false, true},
};

typedef struct append_event {
	size_t type;
	char id[32], key[16];
	size_t size; /* of its data */
	uint64_t position;
} append_event;

/* False: there is no room for it, by the store's quota. */
static bool append_one(sim_world *w, MDB_txn *txn, append_event *e)
{
	uint64_t key = seeded_random_below(&w->random, APPEND_KEYS + 1);
	sim_content content;
	wb_event event;
	wb_code code;
	size_t size;

	e->type = seeded_random_below(&w->random, sizeof(append_types) /
							  sizeof(append_types[0]));
	event = (wb_event){
		.type = wb_str_from(append_types[e->type].type),
	};
	size = seeded_random_below(&w->random, APPEND_DATA_MAX);
	snprintf(e->id, sizeof(e->id), "e%llu",
		 (unsigned long long)++w->next_event);
	if (key)
		snprintf(e->key, sizeof(e->key), "%c%d",
			 append_types[e->type].key, (int)key);
	else
		e->key[0] = '\0';
	e->size = size;
	event.id = wb_str_from(e->id);
	event.key = wb_str_from(e->key);
	sim_content_fill(&event, size, &content);
	if (w->streams && key && seeded_random_chance(&w->random, 500)) {
		if (!sim_stream_append(w, txn, &event, &e->position))
			sim_fail(w, "append: %s", w->err.text);
		return true;
	}
	code = wb_outbox_append(w->outbox, txn, &event, &e->position, &w->err);
	if (code != WB_OK && (code != WB_EQUOTA || w->quota_bytes == 0))
		sim_fail(w, "append: %s", w->err.text);
	return code == WB_OK;
}

static bool append_note(sim_world *w, const append_event *e, bool committed)
{
	bool ordered = append_types[e->type].ordered;
	checker_fate fate = CHECKER_ABORTED;

	if (committed && append_types[e->type].accepted)
		fate = CHECKER_UNKNOWN;
	else if (committed)
		fate = CHECKER_COMMITTED;
	if (committed) {
		w->head = e->position;
		sim_models_note(&w->models, e->id,
				wb_str_from(append_types[e->type].type), e->key,
				e->size);
	}
	return checker_appended(w->checker, wb_str_from(e->id),
				ordered ? wb_str_from(e->key) : WB_STR_NULL,
				w->era + e->position, fate);
}

void sim_append_commit(sim_world *w, MDB_txn *txn)
{
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	w->appending = w->durable = true;
	code = wb_store_commit(w->store, txn, &err);
	w->appending = false;
	if (code == WB_OK || w->dying || code == WB_ENOSPC)
		return;
	sim_fail(w, "commit: %s", err.text);
}

void sim_append(sim_world *w)
{
	size_t count = 1 + seeded_random_below(&w->random, APPEND_BATCH_MAX);
	bool abort = seeded_random_chance(&w->random, 60);
	append_event events[APPEND_BATCH_MAX];
	MDB_txn *txn;

	if (wb_store_begin(w->store, &txn, &w->err) != WB_OK) {
		sim_fail(w, "begin: %s", w->err.text);
		return;
	}
	for (size_t i = 0; i < count; i++)
		if (!append_one(w, txn, &events[i])) {
			w->tally.over_quota++;
			count = i + 1;
			abort = true;
		}
	if (abort)
		wb_store_abort(txn);
	else
		sim_append_commit(w, txn);
	for (size_t i = 0; i < count; i++)
		if (!append_note(w, &events[i], !abort && w->durable))
			sim_fail(w, "out of memory");
}
