/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Deliveries between the broker and the store. They are copied as they come,
 * without a transaction; then some of them, from the front, become one: known?
 * count it; else remember and append; what is no event goes to the dead
 * letters; the counts with it.
 *
 * The batch is changed only after the commit, so whatever fails leaves it as it
 * was, to be tried again. A crash before the commit leaves nothing, and the
 * broker sends all of it again; after it, all, and what comes again is known.
 *
 * One thread. Copies are owned by the batch until it is empty.
 */
#include <stdlib.h>

#include "inbox/ingest_internal.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/event/body_hash.h"
#include "lib/journal/retention.h"
#include "lib/journal/seen.h"

/* ---- copies ----------------------------------------------------------- */

static wb_code batch_grow(ingest_batch *batch, wb_error *err)
{
	uint32_t capacity = batch->capacity ? batch->capacity * 2 : 64;
	wb_event *events;
	ingest_item *items;

	if (batch->count < batch->capacity)
		return WB_OK;
	events = realloc(batch->events, capacity * sizeof(*events));
	if (events)
		batch->events = events;
	items = realloc(batch->items, capacity * sizeof(*items));
	if (items)
		batch->items = items;
	if (!events || !items)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for deliveries");
	batch->capacity = capacity;
	return WB_OK;
}

/* Room that lives until the batch is empty. NULL: no memory. */
static void *batch_room(ingest_batch *batch, size_t size)
{
	size_t left = INGEST_BLOCK_BYTES - batch->block_used;
	ingest_big *big;
	void *at;

	size = (size + 15) & ~(size_t)15;
	if (!batch->block)
		batch->block = malloc(INGEST_BLOCK_BYTES);
	if (!batch->block)
		return NULL;
	batch->bytes += size;
	if (size <= left) {
		at = batch->block + batch->block_used;
		batch->block_used += size;
		return at;
	}
	big = malloc(sizeof(*big) + size);
	if (!big)
		return NULL;
	big->next = batch->big;
	batch->big = big;
	return big->bytes;
}

static void batch_clear(ingest_batch *batch)
{
	while (batch->big) {
		ingest_big *big = batch->big;

		batch->big = big->next;
		free(big);
	}
	batch->count = batch->done = 0;
	batch->bytes = batch->block_used = 0;
}

void wbi_ingest_batch_free(ingest_batch *batch)
{
	batch_clear(batch);
	free(batch->events);
	free(batch->items);
	free(batch->block);
}

static wb_code batch_add_dead(wbi_ingest *ingest, ingest_item *item,
			      const wb_message *message, const wb_error *why,
			      wb_error *err)
{
	size_t size = wbi_ingest_dead_size(message, why);
	void *block = batch_room(&ingest->batch, size);

	if (!block)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a delivery");
	item->dead = wbi_ingest_dead_copy(
		message, why, ingest->clock->real_us(ingest->clock->ctx),
		block);
	return WB_OK;
}

static wb_code batch_add_event(wbi_ingest *ingest, wbi_received *received,
			       wb_event *event, wb_error *err)
{
	void *block =
		batch_room(&ingest->batch, wbi_ingest_event_size(received));

	if (!block)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a delivery");
	wbi_ingest_event_copy(received, block, event);
	return WB_OK;
}

wb_code wbi_ingest_batch_add(wbi_ingest *ingest, const wb_broker_event *event,
			     wb_error *err)
{
	const wb_message *message = &event->message;
	ingest_batch *batch = &ingest->batch;
	char id[WBI_BODY_HASH_LEN + 1];
	wb_error why = WB_ERROR_INIT;
	wbi_received received;
	ingest_item *item;
	wb_code code = batch_grow(batch, err);

	if (code != WB_OK)
		return code;
	item = &batch->items[batch->count];
	*item = (ingest_item){.delivery = event->delivery,
			      .redelivered = event->redelivered};
	code = wbi_ingest_read(message, ingest->options->id_from_body,
			       &ingest->options->limits, id, &received, &why);
	if (code == WB_OK) {
		code = batch_add_event(ingest, &received,
				       &batch->events[batch->count], err);
		wbi_envelope_read_fini(&received);
	} else if (why.class_ == WB_CLASS_REJECT) {
		code = batch_add_dead(ingest, item, message, &why, err);
	} else {
		return WBI_FAIL(err, code, "%s", why.text);
	}
	if (code == WB_OK)
		batch->count++;
	return code;
}

bool wbi_ingest_batch_full(const wbi_ingest *ingest)
{
	const ingest_batch *batch = &ingest->batch;

	/* One that is begun is finished first: only then is its room free. */
	return batch->done > 0 || batch->count >= ingest->options->batch_max ||
	       batch->bytes >= INGEST_BATCH_BYTES;
}

/* ---- the transaction -------------------------------------------------- */

/* What one commit does; nothing of it is the ingest's before it is durable. */
typedef struct batch_write {
	wbi_ingest *ingest;
	MDB_txn *txn;
	const wbi_store_tables *tables;
	wbi_seen *seen;
	uint64_t age_us;
	const wbi_ingest_join *join; /* NULL: nobody else is in it */
	const wbi_ingest_join *joined; /* whose `within` has ended well */
	uint32_t at, end; /* of the items */
	uint32_t run;     /* events before `at` that are to be appended */
	uint64_t before, head;
	uint64_t appended, duplicates, refused;
} batch_write;

/* Events that follow on each other are appended by one call. */
static wb_code write_run(batch_write *w, wb_error *err)
{
	const wbi_ingest *ingest = w->ingest;
	const wb_event *events = ingest->batch.events + w->at - w->run;
	uint64_t first;
	wb_code code;

	if (w->run == 0)
		return WB_OK;
	code = wbi_journal_append(&ingest->journal, w->txn, events, w->run,
				  events->source, &first, err);
	if (code != WB_OK)
		return code;
	WB_ASSERT(first == w->head + 1);
	w->head += w->run;
	w->appended += w->run;
	w->run = 0;
	return WB_OK;
}

/*
 * What has no id is known by all its bytes, so that it is not set aside again
 * when only its ack was lost. Two that are equal, and no redelivery, are two.
 * In an empty inbox there is no position to remember it by.
 */
static wb_code write_knows(batch_write *w, const ingest_item *item, bool *ret,
			   wb_error *err)
{
	char id[WBI_BODY_HASH_LEN + 1];
	uint64_t known;
	wb_code code;

	*ret = false;
	if (w->head == 0)
		return WB_OK;
	code = wbi_body_hash(item->dead->bytes, id, err);
	if (code == WB_OK)
		code = wbi_seen_add(w->seen, wb_str_from("waybill:refused"),
				    wb_str_n(id, WBI_BODY_HASH_LEN), w->head,
				    &known, err);
	*ret = code == WB_EEXISTS && item->redelivered;
	return code == WB_EEXISTS ? WB_OK : code;
}

static wb_code write_dead(batch_write *w, const wbi_dead *dead, wb_error *err)
{
	const wbi_journal *journal = &w->ingest->journal;
	bool pruned;
	uint64_t number;
	wb_code code = wbi_retention_refresh(journal, err);

	if (code == WB_OK)
		code = wbi_retention_admit(journal, w->txn, dead->bytes.len,
					   &pruned, err);
	if (code == WB_OK)
		code = wbi_dead_add(w->txn, w->tables, dead, &number, err);
	w->refused += code == WB_OK;
	return code;
}

static wb_code write_refused(batch_write *w, const ingest_item *item,
			     wb_error *err)
{
	bool known = false;
	wb_code code = write_run(w, err);

	if (code == WB_OK)
		code = write_knows(w, item, &known, err);
	if (code != WB_OK)
		return code;
	if (known) {
		w->duplicates++;
		return WB_OK;
	}
	return write_dead(w, item->dead, err);
}

static wb_code write_item(batch_write *w, wb_error *err)
{
	const ingest_batch *batch = &w->ingest->batch;
	const ingest_item *item = &batch->items[w->at];
	const wb_event *event = &batch->events[w->at];
	uint64_t known;
	wb_code code;

	if (item->dead)
		return write_refused(w, item, err);
	code = wbi_seen_add(w->seen, event->source, event->id,
			    w->head + w->run + 1, &known, err);
	if (code == WB_OK)
		w->run++;
	if (code != WB_EEXISTS)
		return code;
	w->duplicates++;
	return write_run(w, err);
}

/* All of them are looked up together. */
static wb_code write_expect(const batch_write *w, wb_error *err)
{
	const ingest_batch *batch = &w->ingest->batch;
	wb_code code = WB_OK;

	for (uint32_t i = w->at; code == WB_OK && i < w->end; i++)
		if (!batch->items[i].dead)
			code = wbi_seen_expect(w->seen, batch->events[i].source,
					       batch->events[i].id, err);
	return code;
}

static wb_code write_items(batch_write *w, wb_error *err)
{
	const wbi_ingest *ingest = w->ingest;
	const wb_clock *clock = ingest->clock;
	/* Half of it is for those who join. */
	int64_t end_us = clock->mono_us(clock->ctx) +
			 (int64_t)ingest->share_us / (w->join ? 2 : 1);
	uint64_t first;
	wb_code code = wbi_journal_range(&ingest->journal, w->txn, &first,
					 &w->head, err);

	w->before = w->head;
	if (code == WB_OK)
		code = write_expect(w, err);
	/* At least one of them, however late it is. */
	while (code == WB_OK && w->at < w->end) {
		code = write_item(w, err);
		if (code == WB_OK && ++w->at % INGEST_CLOCK_EVERY == 0 &&
		    clock->mono_us(clock->ctx) >= end_us)
			break;
	}
	return code == WB_OK ? write_run(w, err) : code;
}

static wb_code write_counts(batch_write *w, wbi_ingest_status *ret,
			    wb_error *err)
{
	uint64_t horizon = w->ingest->options->dedupe_s, floor;
	wb_code code = WB_OK;

	horizon =
		horizon < UINT64_MAX / 1000000 ? horizon * 1000000 : UINT64_MAX;
	if (w->age_us > horizon && w->appended > 0)
		code = wbi_seen_forget(w->seen, w->age_us - horizon, &floor,
				       err);
	if (code == WB_OK)
		code = wbi_seen_finish(w->seen, w->age_us, err);
	if (code != WB_OK)
		return code;
	*ret = wbi_ingest_status_now(w->ingest);
	ret->received += w->appended + w->duplicates + w->refused;
	ret->duplicates += w->duplicates;
	ret->refused += w->refused;
	return wbi_ingest_status_put(w->txn, w->tables->status, ret, err);
}

static void write_is_durable(batch_write *w, const wbi_ingest_status *status)
{
	wbi_ingest *ingest = w->ingest;
	ingest_batch *batch = &ingest->batch;

	WB_ASSERT(w->at > batch->done);
	WB_ASSERT(w->at - batch->done ==
		  w->appended + w->duplicates + w->refused);
	ingest->status = *status;
	ingest->status_there = true;
	ingest->stat.received += w->at - batch->done;
	ingest->stat.appended += w->appended;
	ingest->stat.duplicates += w->duplicates;
	ingest->stat.refused += w->refused;
	wbi_ingest_owe_ack(ingest, batch->items[w->at - 1].delivery,
			   w->at - batch->done);
	batch->done = w->at;
	if (batch->done == batch->count)
		batch_clear(batch);
}

/* All that is in the transaction. */
static wb_code write_all(batch_write *w, wbi_ingest_status *ret, wb_error *err)
{
	wb_code code = wbi_seen_open(w->ingest->store, w->txn, &w->seen, err);

	if (code == WB_OK)
		code = write_items(w, err);
	if (code == WB_OK)
		code = write_counts(w, ret, err);
	wbi_seen_close(w->seen);
	w->seen = NULL;
	if (code != WB_OK || !w->join || w->appended == 0)
		return code;
	code = w->join->within(w->join->ctx, w->txn, w->before, w->head, err);
	if (code == WB_OK)
		w->joined = w->join;
	return code == WB_EAGAIN ? WB_OK : code;
}

static wb_code write_once(wbi_ingest *ingest, const wbi_ingest_join *join,
			  bool *ret_appended, wb_error *err)
{
	const ingest_batch *batch = &ingest->batch;
	uint32_t left = batch->count - batch->done;
	wbi_ingest_status status;
	batch_write w = {
		.ingest = ingest,
		.tables = wbi_store_get_tables(ingest->store),
		.join = join,
		.at = batch->done,
		.end = batch->done +
		       (left < ingest->take ? left : ingest->take),
		.age_us = wbi_ingest_status_now(ingest).age_us,
	};
	wb_code code;

	WB_ASSERT(left > 0 && ingest->take > 0);
	code = wbi_txn_begin(wb_store_env(ingest->store), true, &w.txn, err);
	if (code != WB_OK)
		return code;
	code = write_all(&w, &status, err);
	if (code == WB_OK)
		code = wbi_txn_commit(w.txn, err);
	else
		wbi_txn_abort(w.txn);
	if (code == WB_OK) {
		write_is_durable(&w, &status);
		*ret_appended = w.appended > 0;
	}
	if (w.joined)
		w.joined->after(w.joined->ctx, code == WB_OK);
	return code;
}

/* What spoilt it may have been theirs who joined: once more without them. */
wb_code wbi_ingest_batch_write(wbi_ingest *ingest, bool *ret_appended,
			       wb_error *err)
{
	wb_code code;

	if (ingest->join) {
		code = write_once(ingest, ingest->join, ret_appended, NULL);
		if (code == WB_OK)
			return code;
	}
	return write_once(ingest, NULL, ret_appended, err);
}
