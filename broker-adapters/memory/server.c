/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The broker's half of a connection, run by `step`: first what time has made
 * due for the whole broker, then what this connection has sent, in order, then
 * what it is to be told. Nothing in here calls back into the client.
 *
 * A message is read exactly once, from the wire or as a straggler, and from
 * then on is an outcome in the heap until that is told or the channel or the
 * connection ends.
 */
#include <stdio.h>
#include <stdlib.h>

#include "broker-adapters/memory/model.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"

enum { SERVER_REQUESTS_MAX = 1024 }; /* read per step */

/* ---- outcomes still to be told: a binary heap -------------------------- */

static bool server_before(const wbi_mem_item *a, const wbi_mem_item *b)
{
	if (a->due_us != b->due_us)
		return a->due_us < b->due_us;
	return a->rank < b->rank;
}

void wbi_mem_put_settle(wbi_mem_link *link, wbi_mem_item *item)
{
	size_t at = link->settle_count++;

	WB_ASSERT(link->settle_count <= link->settle_capacity);
	while (at > 0 && server_before(item, link->settles[(at - 1) / 2])) {
		link->settles[at] = link->settles[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	link->settles[at] = item;
}

wbi_mem_item *wbi_mem_take_settle(wbi_mem_link *link)
{
	wbi_mem_item **heap = link->settles;
	wbi_mem_item *top, *last;
	size_t at = 0, child;

	if (link->settle_count == 0)
		return NULL;
	top = heap[0];
	last = heap[--link->settle_count];
	for (child = 1; child < link->settle_count; child = 2 * at + 1) {
		if (child + 1 < link->settle_count &&
		    server_before(heap[child + 1], heap[child]))
			child++;
		if (!server_before(heap[child], last))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = last;
	return top;
}

static void server_tell_settle(wbi_mem_link *link)
{
	wbi_mem_item *item = wbi_mem_take_settle(link);
	wbi_mem_event *event;

	WB_ASSERT(item);
	event = wbi_mem_tell(link, item->outcome, false);
	event->token = item->token;
	if (item->outcome == WB_BROKER_RETURNED) {
		event->reply_code = 312;
		snprintf(event->text, sizeof(event->text), "NO_ROUTE");
	}
	link->memory->stat.confirms_told++;
	wbi_mem_item_free(item);
}

/* When, and in which place, the outcome of a message read now is told. */
static void server_schedule(wbi_mem_link *link, wbi_mem_item *item,
			    int64_t now_us, int64_t *batch_due_us)
{
	wb_memory *memory = link->memory;
	const wb_memory_settings *s = &memory->settings;
	int64_t due_us = now_us + s->confirm_min_us;

	due_us += (int64_t)wbi_mem_draw(memory, (uint64_t)s->confirm_max_us -
							s->confirm_min_us + 1);
	item->rank = ++link->reads;
	if (s->confirm_order == WB_MEMORY_RANDOM) {
		item->rank = wbi_mem_draw(memory, UINT64_MAX);
	} else if (due_us < link->last_due_us) {
		due_us = link->last_due_us;
	}
	if (s->confirm_order == WB_MEMORY_REVERSED) {
		item->rank = UINT64_MAX - link->reads;
		if (*batch_due_us == 0)
			*batch_due_us = due_us;
		due_us = *batch_due_us;
	}
	link->last_due_us = due_us;
	item->due_us = due_us;
	wbi_mem_put_settle(link, item);
}

/* ---- ends: of the channel, of the connection --------------------------- */

void wbi_mem_drop_outstanding(wbi_mem_link *link)
{
	wbi_mem_item *item;

	while ((item = wbi_mem_items_pop(&link->buffer)) != NULL)
		wbi_mem_item_free(item);
	while ((item = wbi_mem_items_pop(&link->wire)) != NULL)
		wbi_mem_item_free(item);
	while ((item = wbi_mem_take_settle(link)) != NULL)
		wbi_mem_item_free(item);
	while (link->requests) {
		wbi_mem_request *request = link->requests;

		link->requests = request->next;
		free(request);
	}
	link->requests_end = &link->requests;
	link->request_count = 0;
}

static void server_insert_straggler(wbi_mem_items *list, wbi_mem_item *item)
{
	wbi_mem_item **at = &list->first;

	if (!list->last || list->last->due_us <= item->due_us) {
		wbi_mem_items_push(list, item);
		return;
	}
	while ((*at)->due_us <= item->due_us)
		at = &(*at)->next;
	item->next = *at;
	*at = item;
	list->count++;
	list->bytes += item->message->charge;
}

void wbi_mem_strand(wbi_mem_link *link, size_t take, int64_t due_us)
{
	for (; take > 0 && link->wire.first; take--) {
		wbi_mem_item *item = wbi_mem_items_pop(&link->wire);

		item->due_us = due_us;
		server_insert_straggler(&link->memory->stragglers, item);
	}
}

/* The connection is over: everything outstanding is forgotten, DOWN is told. */
static void server_down(wbi_mem_link *link, wb_code code, const char *why)
{
	wbi_mem_event *event;

	wbi_mem_drop_outstanding(link);
	wbi_mem_queue_leave(link);
	link->state = WBI_MEM_DOWN;
	link->blocked = link->cancelled = false;
	link->prefetch = 0;
	wbi_mem_queue_forget_orphans(link);
	link->close_code = 0;
	link->cut.set = false;
	link->memory->stat.downs++;
	event = wbi_mem_tell(link, WB_BROKER_DOWN, false);
	event->code = code;
	snprintf(event->text, sizeof(event->text), "%s", why);
}

static void server_cut(wbi_mem_link *link, const wbi_mem_cut *cut,
		       int64_t now_us)
{
	if (link->state == WBI_MEM_DOWN)
		return;
	if (!link->memory->frozen)
		for (uint32_t i = 0;
		     i < cut->confirm_max && link->settle_count > 0; i++)
			server_tell_settle(link);
	wbi_mem_strand(link, cut->take_max, now_us + cut->take_late_us);
	server_down(link, WB_ECLOSED, "the connection was cut");
}

/* Only declarations stay, which go over a channel of their own. */
static void server_drop_requests(wbi_mem_link *link)
{
	wbi_mem_request *kept = NULL, **kept_end = &kept;
	size_t kept_count = 0;

	while (link->requests) {
		wbi_mem_request *request = link->requests;

		link->requests = request->next;
		if (request->kind == WBI_MEM_CONSUME)
			link->consumer = request->token;
		if (request->kind != WBI_MEM_DECLARE) {
			free(request);
			continue;
		}
		request->next = NULL;
		*kept_end = request;
		kept_end = &request->next;
		kept_count++;
	}
	wbi_mem_drop_outstanding(link);
	link->requests = kept;
	link->requests_end = kept ? kept_end : &link->requests;
	link->request_count = kept_count;
}

static void server_tell_closed(wbi_mem_link *link, wb_broker_event_kind kind,
			       uint16_t reply_code, wb_code code,
			       const char *why)
{
	wbi_mem_event *event = wbi_mem_tell(link, kind, false);

	event->code = code;
	event->reply_code = reply_code;
	snprintf(event->text, sizeof(event->text), "%s", why);
	if (kind == WB_BROKER_CANCELLED)
		event->token = link->consumer;
}

/* A consumer ends with it, one that is only asked for, too. */
static void server_close_channel(wbi_mem_link *link, uint16_t reply_code,
				 wb_code code, const char *why)
{
	server_drop_requests(link);
	wbi_mem_queue_leave(link);
	wbi_mem_queue_forget_orphans(link);
	link->channel = WBI_MEM_SHUT;
	link->close_code = 0;
	link->memory->stat.channel_closes++;
	if (link->prefetch > 0)
		server_tell_closed(link, WB_BROKER_CANCELLED, reply_code, code,
				   why);
	server_tell_closed(link, WB_BROKER_CHANNEL_CLOSED, reply_code, code,
			   why);
	link->cancelled = false;
	link->prefetch = 0;
}

/* ---- reading messages -------------------------------------------------- */

/* Chaos for one message; true: the connection or the channel is gone, or the
 * broker hangs: read no more now. */
static bool server_chaos(wbi_mem_link *link, int64_t now_us)
{
	wb_memory *memory = link->memory;
	const wb_memory_chaos *chaos = &memory->chaos;
	wbi_mem_cut cut = {0};

	if (wbi_mem_chance(memory, chaos->freeze)) {
		memory->frozen = true;
		memory->frozen_since_us = now_us;
		memory->thaw_us = now_us + wbi_mem_outage_us(memory);
	}
	if (!memory->blocked && wbi_mem_chance(memory, chaos->block)) {
		memory->blocked = true;
		memory->unblock_us = now_us + wbi_mem_outage_us(memory);
	}
	if (wbi_mem_chance(memory, chaos->cut)) {
		cut.take_max =
			(uint32_t)wbi_mem_draw(memory, link->wire.count + 1);
		cut.confirm_max =
			(uint32_t)wbi_mem_draw(memory, link->settle_count + 1);
		if (wbi_mem_chance(memory, 500))
			cut.take_late_us = (uint32_t)wbi_mem_outage_us(memory);
		server_cut(link, &cut, now_us);
		return true;
	}
	if (wbi_mem_chance(memory, chaos->channel_close)) {
		server_close_channel(link,
				     wbi_mem_chance(memory, 500) ? 504 : 506,
				     WB_ECLOSED, "CHANNEL_ERROR - by chaos");
		return true;
	}
	return memory->frozen || memory->blocked;
}

/* Cuts that wait for a number of messages; true: this connection is gone. */
static bool server_count_cuts(wbi_mem_link *link, int64_t now_us)
{
	bool gone = false;

	for (size_t i = 0; i < WB_MEMORY_CUTS_MAX; i++) {
		wbi_mem_cut *cut = &link->memory->cuts[i];

		if (!cut->set || cut->publishes == 0 ||
		    (cut->link && cut->link != link) || --cut->publishes > 0)
			continue;
		cut->set = false;
		gone = true;
		server_cut(link, cut, now_us);
	}
	return gone;
}

static wb_broker_event_kind server_route(wb_memory *memory,
					 const wbi_mem_exchange *exchange,
					 wbi_mem_message *message,
					 int64_t now_us)
{
	bool refused;

	if (wbi_mem_route(memory, exchange, message, now_us, &refused) == 0)
		return WB_BROKER_RETURNED;
	return refused ? WB_BROKER_NACKED : WB_BROKER_ACKED;
}

/* What becomes of a message, with what the script and chaos have to say. */
static wb_broker_event_kind server_decide(wb_memory *memory,
					  const wbi_mem_exchange *exchange,
					  wbi_mem_message *message,
					  int64_t now_us)
{
	if (memory->nack_next > 0) {
		memory->nack_next--;
		return WB_BROKER_NACKED;
	}
	if (memory->return_next > 0) {
		memory->return_next--;
		return WB_BROKER_RETURNED;
	}
	if (wbi_mem_chance(memory, memory->chaos.return_))
		return WB_BROKER_RETURNED;
	if (!wbi_mem_chance(memory, memory->chaos.nack))
		return server_route(memory, exchange, message, now_us);
	if (wbi_mem_chance(memory, 500) &&
	    server_route(memory, exchange, message, now_us) == WB_BROKER_RETURNED)
		return WB_BROKER_RETURNED;
	return WB_BROKER_NACKED;
}

static void server_count_outcome(wb_memory *memory, wb_broker_event_kind kind)
{
	if (kind == WB_BROKER_ACKED)
		memory->stat.routed++;
	else if (kind == WB_BROKER_NACKED)
		memory->stat.nacked++;
	else
		memory->stat.returned++;
}

/* One message off the wire; false: no further one now. */
static bool server_read_one(wbi_mem_link *link, int64_t now_us,
			    int64_t *batch_due_us)
{
	wbi_mem_item *item = wbi_mem_items_pop(&link->wire);
	wb_memory *memory = link->memory;
	wb_str name = item->message->view.exchange;
	wbi_mem_exchange *exchange;
	char why[WBI_MEM_TEXT_MAX];

	memory->stat.read++;
	exchange = wbi_mem_find_exchange(memory, name, now_us);
	if (exchange && name.len > 0 &&
	    wbi_mem_chance(memory, memory->chaos.hide_exchange)) {
		exchange->hidden_until_us = now_us + wbi_mem_outage_us(memory);
		exchange = NULL;
	}
	if (!exchange ||
	    item->message->view.body.len > memory->settings.body_max_bytes) {
		snprintf(why, sizeof(why),
			 exchange ? "PRECONDITION_FAILED - message too large"
				  : "NOT_FOUND - no exchange '%.*s'",
			 (int)name.len, name.ptr);
		wbi_mem_item_free(item);
		server_close_channel(link, exchange ? 406 : 404,
				     exchange ? WB_ELIMIT : WB_ENOTFOUND, why);
		return false;
	}
	item->outcome = server_decide(memory, exchange, item->message, now_us);
	server_count_outcome(memory, item->outcome);
	server_schedule(link, item, now_us, batch_due_us);
	if (server_count_cuts(link, now_us))
		return false;
	return !server_chaos(link, now_us);
}

static void server_read_wire(wbi_mem_link *link, int64_t now_us)
{
	wb_memory *memory = link->memory;
	uint64_t count = memory->settings.read_max;
	int64_t batch_due_us = 0;

	if (memory->chaos.read_max > 0 && link->wire.first)
		count = 1 + wbi_mem_draw(memory, memory->chaos.read_max);
	for (; count > 0 && link->wire.first; count--) {
		if (memory->blocked) {
			wbi_mem_event *event =
				wbi_mem_tell(link, WB_BROKER_BLOCKED, true);

			if (event)
				snprintf(event->text, sizeof(event->text),
					 "low on memory");
			link->blocked = event != NULL;
			memory->stat.blocks += event != NULL;
			return;
		}
		if (!server_read_one(link, now_us, &batch_due_us))
			return;
	}
}

/* ---- reading requests -------------------------------------------------- */

static void server_declare(wbi_mem_link *link, const wbi_mem_request *request,
			   int64_t now_us)
{
	wb_error err = WB_ERROR_INIT;
	uint16_t reply_code = wbi_mem_declare(
		link->memory, &request->declaration, now_us, &err);
	wbi_mem_event *event = wbi_mem_tell(
		link,
		reply_code ? WB_BROKER_DECLARE_FAILED : WB_BROKER_DECLARED,
		false);

	event->token = request->token;
	event->reply_code = reply_code;
	event->code = err.code;
	snprintf(event->text, sizeof(event->text), "%.*s", WBI_MEM_TEXT_MAX - 1,
		 err.text);
}

/* What cannot be consumed closes the channel, as RabbitMQ does it. */
static void server_consume(wbi_mem_link *link, const wbi_mem_request *request)
{
	wb_str name = request->declaration.name;
	wbi_mem_queue *queue = wbi_mem_find_queue(link->memory, name);
	bool found = queue && queue->exists;
	char why[WBI_MEM_TEXT_MAX];

	link->consumer = request->token;
	link->cancelled = false;
	if (found && wbi_mem_stream_begin(queue, &request->declaration,
					  &link->stream_next)) {
		wbi_mem_tell(link, WB_BROKER_CONSUMING, false)->token =
			request->token;
		wbi_mem_queue_join(queue, link);
		return;
	}
	snprintf(why, sizeof(why),
		 found ? "PRECONDITION_FAILED - invalid " WB_STREAM_OFFSET
		       : "NOT_FOUND - no queue '%.*s'",
		 (int)name.len, name.ptr);
	server_close_channel(link, found ? 406 : 404,
			     found ? WB_EPROTO : WB_ENOTFOUND, why);
}

static void server_settle(wbi_mem_link *link, const wbi_mem_request *request)
{
	if (request->kind == WBI_MEM_ACK)
		wbi_mem_queue_ack(link, request->delivery, request->flag);
	else if (link->queue && link->queue->stream)
		server_down(link, WB_EPROTO,
			    "NOT_IMPLEMENTED - basic.reject not supported by "
			    "stream queues");
	else
		wbi_mem_queue_reject(link, request->delivery, request->flag);
}

static void server_reopen(wbi_mem_link *link)
{
	link->channel = WBI_MEM_OPEN;
	link->prefetch = 0;
	wbi_mem_tell(link, WB_BROKER_CHANNEL_OPEN, false);
}

static void server_read_requests(wbi_mem_link *link, int64_t now_us)
{
	for (int i = 0; i < SERVER_REQUESTS_MAX; i++) {
		wbi_mem_request *request = link->requests;

		if (!request)
			return;
		link->requests = request->next;
		if (!link->requests)
			link->requests_end = &link->requests;
		link->request_count--;
		if (request->kind == WBI_MEM_DECLARE)
			server_declare(link, request, now_us);
		else if (request->kind == WBI_MEM_CONSUME)
			server_consume(link, request);
		else if (request->kind == WBI_MEM_REOPEN)
			server_reopen(link);
		else
			server_settle(link, request);
		free(request);
	}
}

/* ---- one step ---------------------------------------------------------- */

static void server_read_stragglers(wb_memory *memory, int64_t now_us)
{
	while (memory->stragglers.first &&
	       memory->stragglers.first->due_us <= now_us) {
		wbi_mem_item *item = wbi_mem_items_pop(&memory->stragglers);
		const wbi_mem_exchange *exchange = wbi_mem_find_exchange(
			memory, item->message->view.exchange, now_us);

		memory->stat.read++;
		memory->stat.stragglers++;
		if (exchange && item->message->view.body.len <=
					memory->settings.body_max_bytes)
			server_route(memory, exchange, item->message,
				     now_us);
		wbi_mem_item_free(item);
	}
}

static void server_mark_cut(wbi_mem_link *link, const wbi_mem_cut *cut)
{
	if (link->state == WBI_MEM_DOWN || (cut->link && cut->link != link))
		return;
	link->cut = *cut;
	link->cut.set = true;
}

/* What time does to the whole broker. */
static void server_tick(wb_memory *memory, int64_t now_us)
{
	if (memory->frozen && memory->thaw_us <= now_us)
		memory->frozen = false;
	if (memory->blocked && memory->unblock_us <= now_us)
		memory->blocked = false;
	if (!memory->frozen)
		server_read_stragglers(memory, now_us);
	for (size_t i = 0; i < WB_MEMORY_CUTS_MAX; i++) {
		wbi_mem_cut *cut = &memory->cuts[i];

		if (!cut->set || cut->publishes > 0 || cut->due_us > now_us)
			continue;
		cut->set = false;
		for (size_t j = 0; j < memory->link_count; j++)
			server_mark_cut(memory->links[j], cut);
	}
}

static void server_admit(wbi_mem_link *link)
{
	wb_memory *memory = link->memory;

	if (memory->refuse_next > 0 ||
	    wbi_mem_chance(memory, memory->chaos.refuse)) {
		memory->refuse_next -= memory->refuse_next > 0;
		memory->stat.refused++;
		server_down(link, WB_EUNREACHABLE, "connection refused");
		return;
	}
	link->state = WBI_MEM_UP;
	link->channel = WBI_MEM_OPEN;
	link->last_due_us = 0;
	memory->stat.connects++;
	wbi_mem_tell(link, WB_BROKER_UP, false);
}

/* A hanging broker: only the client's own clocks run. */
static int64_t server_patience_us(const wbi_mem_link *link)
{
	const wb_memory *memory = link->memory;
	int64_t since_us = link->since_us;

	if (link->state == WBI_MEM_CLOSING)
		return since_us +
		       (int64_t)memory->settings.close_timeout_ms * 1000;
	if (since_us < memory->frozen_since_us)
		since_us = memory->frozen_since_us;
	return since_us + (int64_t)memory->settings.heartbeat_ms * 1000;
}

static void server_give_up(wbi_mem_link *link, int64_t now_us)
{
	wbi_mem_strand(link, link->wire.count, now_us);
	server_down(link, WB_ETIMEOUT, "no answer from the broker");
}

static void server_tell_changes(wbi_mem_link *link)
{
	wbi_mem_event *event;

	if (link->blocked && !link->memory->blocked &&
	    wbi_mem_tell(link, WB_BROKER_UNBLOCKED, true))
		link->blocked = false;
	if (link->cancelled &&
	    (event = wbi_mem_tell(link, WB_BROKER_CANCELLED, true)) != NULL) {
		event->token = link->consumer;
		event->code = WB_ECLOSED;
		snprintf(event->text, sizeof(event->text),
			 "the consumer was cancelled by the broker");
		link->cancelled = false;
		link->prefetch = 0;
	}
}

static void server_serve(wbi_mem_link *link, int64_t now_us)
{
	if (link->close_code != 0 && link->channel == WBI_MEM_OPEN)
		server_close_channel(link, link->close_code, WB_ECLOSED,
				     "closed by the broker");
	link->close_code = 0;
	server_tell_changes(link);
	if (!link->blocked)
		server_read_requests(link, now_us);
	if (!link->blocked)
		server_read_wire(link, now_us);
	if (link->state == WBI_MEM_DOWN || link->memory->frozen)
		return;
	while (link->settle_count > 0 && link->settles[0]->due_us <= now_us)
		server_tell_settle(link);
	if (link->state == WBI_MEM_UP) {
		wbi_mem_queue_deliver(link);
		return;
	}
	if ((!link->wire.first && !link->requests) ||
	    server_patience_us(link) <= now_us)
		server_down(link, WB_ECLOSED, "closed as asked");
}

void wbi_mem_step(wbi_mem_link *link)
{
	wb_memory *memory = link->memory;
	int64_t now_us = wbi_mem_now_us(memory);

	server_tick(memory, now_us);
	if (link->state == WBI_MEM_DOWN) {
		link->cut.set = false;
		return;
	}
	if (link->cut.set) {
		wbi_mem_cut cut = link->cut;

		server_cut(link, &cut, now_us);
		return;
	}
	if (memory->frozen) {
		if (server_patience_us(link) <= now_us)
			server_give_up(link, now_us);
		return;
	}
	if (link->state == WBI_MEM_CONNECTING)
		server_admit(link);
	if (link->state != WBI_MEM_DOWN)
		server_serve(link, now_us);
}

/* ---- when to step ------------------------------------------------------ */

static int64_t server_min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static bool server_has_work(const wbi_mem_link *link)
{
	if (link->state == WBI_MEM_CONNECTING || link->close_code != 0 ||
	    link->cancelled)
		return true;
	if (link->blocked)
		return !link->memory->blocked;
	return link->state == WBI_MEM_CLOSING || link->requests ||
	       link->wire.first || wbi_mem_queue_has_work(link);
}

int64_t wbi_mem_deadline_us(const wbi_mem_link *link)
{
	const wb_memory *memory = link->memory;
	int64_t due_us = INT64_MAX;

	if (link->state == WBI_MEM_DOWN)
		return INT64_MAX;
	if (link->cut.set)
		return 0;
	for (size_t i = 0; i < WB_MEMORY_CUTS_MAX; i++) {
		const wbi_mem_cut *cut = &memory->cuts[i];

		if (cut->set && cut->publishes == 0 &&
		    (!cut->link || cut->link == link))
			due_us = server_min(due_us, cut->due_us);
	}
	if (memory->frozen) {
		due_us = server_min(due_us, server_patience_us(link));
		return server_min(due_us, memory->thaw_us);
	}
	if (server_has_work(link))
		return 0;
	if (memory->blocked)
		due_us = server_min(due_us, memory->unblock_us);
	if (link->state == WBI_MEM_CLOSING)
		due_us = server_min(due_us, server_patience_us(link));
	if (link->settle_count > 0)
		due_us = server_min(due_us, link->settles[0]->due_us);
	if (memory->stragglers.first)
		due_us = server_min(due_us, memory->stragglers.first->due_us);
	return due_us;
}
