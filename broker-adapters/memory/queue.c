/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queues: what is ready, what each consumer has unacked, and the log of every
 * arrival. An entry is owned by exactly one list. `place` numbers arrivals, so
 * a requeued message finds its old place again: RabbitMQ does the same if it
 * can ("Consumer Acknowledgements", requeue), and order per queue rests on it.
 * Under chaos it may go to the end.
 */
#include <stdlib.h>

#include "broker-adapters/memory/model.h"
#include "lib/base/assert.h"

enum { QUEUE_DELIVER_MAX = 256 }; /* per step */

static void queue_insert_before(wbi_mem_list *list, wbi_mem_entry *at,
				wbi_mem_entry *entry)
{
	entry->next = at;
	entry->prev = at ? at->prev : list->last;
	*(entry->prev ? &entry->prev->next : &list->first) = entry;
	*(at ? &at->prev : &list->last) = entry;
	list->count++;
}

static void queue_remove(wbi_mem_list *list, wbi_mem_entry *entry)
{
	WB_ASSERT(list->count > 0);
	WB_ASSERT(!entry->prev == (list->first == entry));
	WB_ASSERT(!entry->next == (list->last == entry));
	*(entry->prev ? &entry->prev->next : &list->first) = entry->next;
	*(entry->next ? &entry->next->prev : &list->last) = entry->prev;
	entry->next = entry->prev = NULL;
	list->count--;
}

static void queue_entry_free(wbi_mem_entry *entry)
{
	wbi_mem_message_unref(entry->message);
	free(entry);
}

static wbi_mem_entry *queue_entry_new(wbi_mem_message *message, uint64_t place)
{
	wbi_mem_entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->message = wbi_mem_message_ref(message);
	entry->place = place;
	return entry;
}

/* False when the log is full or cannot grow: then the message is refused, as
 * an arrival that no checker sees would be worse. */
static bool queue_log(const wb_memory *memory, wbi_mem_queue *queue,
		      wbi_mem_message *message)
{
	size_t capacity = queue->log_capacity ? queue->log_capacity * 2 : 64;
	wbi_mem_message **grown;

	if (memory->settings.no_log)
		return true;
	if (queue->log_count >= memory->settings.log_max)
		return false;
	if (queue->log_count == queue->log_capacity) {
		grown = realloc(queue->log, capacity * sizeof(*grown));
		if (!grown)
			return false;
		queue->log = grown;
		queue->log_capacity = capacity;
	}
	queue->log[queue->log_count++] = wbi_mem_message_ref(message);
	return true;
}

/* Over its length, one that does not reject drops from the front, whatever has
 * made it so: RabbitMQ does it behind a requeue, too. */
static void queue_drop_head(wbi_mem_queue *queue)
{
	while (queue->max_length >= 0 && !queue->reject_publish &&
	       queue->ready.count > (uint64_t)queue->max_length) {
		wbi_mem_entry *entry = queue->ready.first;

		queue_remove(&queue->ready, entry);
		queue_entry_free(entry);
		queue->stat.dropped++;
	}
}

bool wbi_mem_queue_put(wb_memory *memory, wbi_mem_queue *queue,
		       wbi_mem_message *message)
{
	bool full = queue->max_length >= 0 &&
		    queue->ready.count >= (uint64_t)queue->max_length;
	wbi_mem_entry *entry;

	if (full && queue->reject_publish)
		return false;
	entry = queue_entry_new(message, queue->next_place);
	if (!entry)
		return false;
	if (!queue_log(memory, queue, message)) {
		queue_entry_free(entry);
		return false;
	}
	queue->next_place++;
	queue->stat.arrived++;
	queue_insert_before(&queue->ready, NULL, entry);
	queue_drop_head(queue);
	return true;
}

bool wbi_mem_queue_has_work(const wbi_mem_link *link)
{
	const wbi_mem_queue *queue = link->queue;

	if (!queue || queue->ready.count == 0 ||
	    link->unacked.count >= link->prefetch)
		return false;
	if (queue->stream)
		return queue->ready.last->place >= link->stream_next;
	return !queue->single_active || queue->consumers[0] == link;
}

/* A second copy right behind the first, as a queue that has lost track of a
 * delivery would send it. Without memory there is no duplicate. */
static void queue_duplicate(wbi_mem_link *link, const wbi_mem_entry *entry)
{
	wb_memory *memory = link->memory;
	wbi_mem_entry *copy;

	if (memory->duplicate_next > 0)
		memory->duplicate_next--;
	else if (!wbi_mem_chance(memory, memory->chaos.duplicate))
		return;
	copy = queue_entry_new(entry->message, entry->place);
	if (!copy)
		return;
	copy->redelivered = copy->duplicate = true;
	queue_insert_before(&link->queue->ready, link->queue->ready.first,
			    copy);
	memory->stat.duplicates++;
}

/* ---- streams ----------------------------------------------------------- */

/* Everything stays in `ready`, for each consumer to read from where it is; what
 * it has unacked are copies, which count against its prefetch. */
static void queue_deliver_stream(wbi_mem_link *link)
{
	wbi_mem_entry *at = link->queue->ready.first, *copy;
	wbi_mem_event *event;

	while (at && at->place < link->stream_next)
		at = at->next;
	for (int i = 0; at && i < QUEUE_DELIVER_MAX; i++, at = at->next) {
		if (!wbi_mem_queue_has_work(link))
			return;
		copy = queue_entry_new(at->message, at->place);
		event = copy ? wbi_mem_tell(link, WB_BROKER_DELIVERY, true)
			     : NULL;
		if (!event) {
			if (copy)
				queue_entry_free(copy);
			return;
		}
		copy->tag = ++link->last_tag;
		queue_insert_before(&link->unacked, NULL, copy);
		link->queue->stat.unacked++;
		event->token = link->consumer;
		event->delivery = copy->tag;
		event->message = wbi_mem_message_ref(at->message);
		event->of_stream = true;
		event->offset = at->place;
		link->stream_next = at->place + 1;
		link->memory->stat.deliveries++;
	}
}

/* As RabbitMQ: beyond either end is that end, and nothing said is "next". */
static uint64_t queue_stream_clamp(const wbi_mem_queue *queue, int64_t wanted)
{
	uint64_t first = queue->ready.first ? queue->ready.first->place
					    : queue->next_place;

	if (wanted < 0 || (uint64_t)wanted < first)
		return first;
	return (uint64_t)wanted > queue->next_place ? queue->next_place
						    : (uint64_t)wanted;
}

bool wbi_mem_stream_begin(const wbi_mem_queue *queue, const wb_declaration *how,
			  uint64_t *ret)
{
	*ret = queue->next_place;
	for (size_t i = 0; i < how->argument_count; i++) {
		const wb_argument *a = &how->arguments[i];

		if (!wb_str_eq(a->name, wb_str_from(WB_STREAM_OFFSET)))
			continue;
		if (a->is_number)
			*ret = queue_stream_clamp(queue, a->number);
		else if (wb_str_eq(a->text, wb_str_from("first")))
			*ret = queue_stream_clamp(queue, 0);
		else if (wb_str_eq(a->text, wb_str_from("last")))
			*ret = queue->ready.last ? queue->ready.last->place
						 : queue->next_place;
		else if (!wb_str_eq(a->text, wb_str_from("next")))
			return false;
	}
	return true;
}

/* ---- deliveries -------------------------------------------------------- */

void wbi_mem_queue_deliver(wbi_mem_link *link)
{
	if (link->queue && link->queue->stream) {
		queue_deliver_stream(link);
		return;
	}
	for (int i = 0; i < QUEUE_DELIVER_MAX; i++) {
		wbi_mem_entry *entry;
		wbi_mem_event *event;

		if (!wbi_mem_queue_has_work(link))
			return;
		event = wbi_mem_tell(link, WB_BROKER_DELIVERY, true);
		if (!event)
			return;
		entry = link->queue->ready.first;
		queue_remove(&link->queue->ready, entry);
		entry->tag = ++link->last_tag;
		queue_insert_before(&link->unacked, NULL, entry);
		link->queue->stat.unacked++;
		event->token = link->consumer;
		event->delivery = entry->tag;
		event->redelivered = entry->redelivered;
		event->message = wbi_mem_message_ref(entry->message);
		link->memory->stat.deliveries++;
		if (!entry->duplicate)
			queue_duplicate(link, entry);
	}
}

void wbi_mem_queue_join(wbi_mem_queue *queue, wbi_mem_link *link)
{
	WB_ASSERT(queue->consumer_count < WB_MEMORY_CONNECTIONS_MAX);
	queue->consumers[queue->consumer_count++] = link;
	queue->stat.consumers++;
	link->queue = queue;
}

static void queue_requeue(wbi_mem_link *link, wbi_mem_entry *entry)
{
	wbi_mem_queue *queue = link->queue;
	wbi_mem_entry *at = queue->ready.first;

	entry->redelivered = true;
	entry->asked = false;
	if (wbi_mem_chance(link->memory, link->memory->chaos.misplace))
		entry->place = queue->next_place++;
	while (at && at->place <= entry->place)
		at = at->next;
	queue_insert_before(&queue->ready, at, entry);
}

void wbi_mem_queue_leave(wbi_mem_link *link)
{
	wbi_mem_queue *queue = link->queue;
	size_t i = 0;

	if (!queue)
		return;
	/* Last first: each then finds its place near the front at once. */
	while (link->unacked.last) {
		wbi_mem_entry *entry = link->unacked.last;

		queue_remove(&link->unacked, entry);
		queue->stat.unacked--;
		if (queue->stream)
			queue_entry_free(entry); /* a copy */
		else
			queue_requeue(link, entry);
	}
	queue_drop_head(queue);
	while (queue->consumers[i] != link)
		i++;
	queue->consumer_count--;
	queue->stat.consumers--;
	memmove(&queue->consumers[i], &queue->consumers[i + 1],
		(queue->consumer_count - i) * sizeof(queue->consumers[0]));
	link->queue = NULL;
}

static wbi_mem_entry *queue_find(const wbi_mem_list *list, uint64_t tag)
{
	wbi_mem_entry *entry = list->first;

	while (entry && entry->tag != tag)
		entry = entry->next;
	return entry;
}

static void queue_settle(wbi_mem_link *link, wbi_mem_entry *entry,
			 uint64_t *counter)
{
	queue_remove(&link->unacked, entry);
	link->queue->stat.unacked--;
	if (!entry->duplicate)
		(*counter)++;
	queue_entry_free(entry);
}

static void queue_settle_orphans(wbi_mem_link *link, uint64_t tag,
				 bool multiple)
{
	wbi_mem_entry *entry = link->orphans.first, *next;

	for (; entry; entry = next) {
		next = entry->next;
		if (entry->tag != tag && !(multiple && entry->tag < tag))
			continue;
		queue_remove(&link->orphans, entry);
		queue_entry_free(entry);
	}
}

void wbi_mem_queue_forget_orphans(wbi_mem_link *link)
{
	queue_settle_orphans(link, UINT64_MAX, true);
}

static void queue_ask_upto(const wbi_mem_list *list, uint64_t tag)
{
	for (wbi_mem_entry *e = list->first; e; e = e->next)
		e->asked = e->asked || e->tag <= tag;
}

bool wbi_mem_queue_ask(wbi_mem_link *link, uint64_t tag, bool multiple)
{
	wbi_mem_entry *entry = queue_find(&link->unacked, tag);

	if (!entry)
		entry = queue_find(&link->orphans, tag);
	if (!entry || entry->asked)
		return false;
	entry->asked = true;
	if (multiple) {
		queue_ask_upto(&link->unacked, tag);
		queue_ask_upto(&link->orphans, tag);
	}
	return true;
}

void wbi_mem_queue_ack(wbi_mem_link *link, uint64_t tag, bool multiple)
{
	queue_settle_orphans(link, tag, multiple);
	while (link->unacked.first && multiple &&
	       link->unacked.first->tag <= tag)
		queue_settle(link, link->unacked.first,
			     &link->queue->stat.acked);
	if (!multiple && queue_find(&link->unacked, tag))
		queue_settle(link, queue_find(&link->unacked, tag),
			     &link->queue->stat.acked);
}

void wbi_mem_queue_reject(wbi_mem_link *link, uint64_t tag, bool requeue)
{
	wbi_mem_entry *entry = queue_find(&link->unacked, tag);

	if (!entry) {
		queue_settle_orphans(link, tag, false);
		return;
	}
	if (!requeue) {
		queue_settle(link, entry, &link->queue->stat.rejected);
		return;
	}
	queue_remove(&link->unacked, entry);
	link->queue->stat.unacked--;
	queue_requeue(link, entry);
	queue_drop_head(link->queue);
}

/* What it has handed out may still be settled, though nothing comes of it. */
static void queue_orphan(wbi_mem_link *link)
{
	while (link->unacked.first) {
		wbi_mem_entry *entry = link->unacked.first;

		queue_remove(&link->unacked, entry);
		link->queue->stat.unacked--;
		queue_insert_before(&link->orphans, NULL, entry);
	}
}

void wbi_mem_queue_delete(wbi_mem_queue *queue)
{
	while (queue->consumer_count > 0) {
		wbi_mem_link *link = queue->consumers[0];

		queue_orphan(link);
		wbi_mem_queue_leave(link);
		link->cancelled = true;
	}
	while (queue->ready.first) {
		wbi_mem_entry *entry = queue->ready.first;

		queue_remove(&queue->ready, entry);
		queue_entry_free(entry);
	}
	queue->exists = false;
}

void wbi_mem_queue_free(wbi_mem_queue *queue)
{
	wbi_mem_queue_delete(queue);
	for (size_t i = 0; i < queue->log_count; i++)
		wbi_mem_message_unref(queue->log[i]);
	free(queue->log);
	free(queue->arguments);
	free(queue);
}
