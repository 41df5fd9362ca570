/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client's half of a connection: the slots of wb_broker_ops. They check,
 * copy and hand over; what comes of it is server.c's, inside step.
 *
 * A call that is accepted has room reserved for all it can lead to: one event
 * per publish and request, one place in the heap of outcomes per publish. The
 * object is freed by its `free` slot only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker-adapters/memory/model.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"

/* ---- items and events -------------------------------------------------- */

void wbi_mem_items_push(wbi_mem_items *items, wbi_mem_item *item)
{
	item->next = NULL;
	*(items->last ? &items->last->next : &items->first) = item;
	items->last = item;
	items->count++;
	items->bytes += item->message->charge;
}

wbi_mem_item *wbi_mem_items_pop(wbi_mem_items *items)
{
	wbi_mem_item *item = items->first;

	if (!item)
		return NULL;
	items->first = item->next;
	if (!items->first)
		items->last = NULL;
	items->count--;
	items->bytes -= item->message->charge;
	return item;
}

void wbi_mem_item_free(wbi_mem_item *item)
{
	if (!item)
		return;
	wbi_mem_message_unref(item->message);
	free(item);
}

static size_t connection_unsettled(const wbi_mem_link *link)
{
	return link->buffer.count + link->wire.count + link->settle_count;
}

/* Room for `more` events beyond everything that is promised already. */
static bool connection_reserve(wbi_mem_link *link, size_t more)
{
	size_t need = link->event_count + connection_unsettled(link) +
		      link->request_count + WBI_MEM_SPARE_EVENTS + more;
	size_t capacity = link->event_capacity ? link->event_capacity : 64;
	wbi_mem_event *ring;

	if (need <= link->event_capacity)
		return true;
	while (capacity < need)
		capacity *= 2;
	ring = malloc(capacity * sizeof(*ring));
	if (!ring)
		return false;
	WB_ASSERT(link->event_count <= link->event_capacity);
	for (size_t i = 0; i < link->event_count; i++)
		ring[i] = link->events[(link->event_first + i) %
				       link->event_capacity];
	free(link->events);
	link->events = ring;
	link->event_first = 0;
	link->event_capacity = capacity;
	return true;
}

wbi_mem_event *wbi_mem_tell(wbi_mem_link *link, wb_broker_event_kind kind,
			    bool spare)
{
	wbi_mem_event *event;

	if (spare && !connection_reserve(link, 1))
		return NULL;
	WB_ASSERT(link->event_count < link->event_capacity);
	event = &link->events[(link->event_first + link->event_count) %
			      link->event_capacity];
	link->event_count++;
	memset(event, 0, sizeof(*event));
	event->kind = kind;
	return event;
}

/* ---- readiness --------------------------------------------------------- */

static void connection_signal(wbi_mem_link *link, int64_t now_us)
{
	uint64_t count = 1;
	bool ready;
	ssize_t n;

	if (link->event_fd < 0)
		return;
	ready = link->event_count > 0 || wbi_mem_deadline_us(link) <= now_us;
	if (ready == link->signalled)
		return;
	if (ready)
		n = write(link->event_fd, &count, sizeof(count));
	else
		n = read(link->event_fd, &count, sizeof(count));
	WB_ASSERT(n == sizeof(count));
	link->signalled = ready;
}

void wbi_mem_signal(wb_memory *memory)
{
	int64_t now_us = wbi_mem_now_us(memory);

	for (size_t i = 0; i < memory->link_count; i++)
		connection_signal(memory->links[i], now_us);
}

static int connection_fd(void *self)
{
	wbi_mem_link *link = self;

	if (link->event_fd == -1) {
		link->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (link->event_fd < 0)
			link->event_fd = -2;
		connection_signal(link, wbi_mem_now_us(link->memory));
	}
	return link->event_fd < 0 ? -1 : link->event_fd;
}

static int64_t connection_deadline_us(void *self)
{
	wbi_mem_link *link = self;

	return wbi_mem_deadline_us(link);
}

/* ---- connecting, stepping, telling ------------------------------------- */

static const char *connection_vhost(void *self)
{
	(void)self;
	return "/";
}

static wb_code connection_connect(void *self, wb_error *err)
{
	wbi_mem_link *link = self;

	if (link->state != WBI_MEM_DOWN)
		return WBI_FAIL(err, WB_ESTATE,
				"connect: the connection is not down");
	if (!connection_reserve(link, 0))
		return WBI_FAIL(err, WB_ENOMEM, "connect: out of memory");
	link->state = WBI_MEM_CONNECTING;
	link->since_us = wbi_mem_now_us(link->memory);
	wbi_mem_signal(link->memory);
	return WB_OK;
}

static void connection_step(void *self)
{
	wbi_mem_link *link = self;

	wbi_mem_step(link);
	wbi_mem_signal(link->memory);
}

/* A delivery of a stream says where it was; without memory for that it says
 * nothing, as any that somebody else has put there. */
static void connection_fill_offset(wbi_mem_link *link,
				   const wbi_mem_event *from, wb_message *ret)
{
	size_t count = ret->header_count;
	wb_header *headers = realloc(link->told_headers,
				     (count + 1) * sizeof(*headers));

	if (!headers)
		return;
	link->told_headers = headers;
	if (count > 0)
		memcpy(headers, ret->headers, count * sizeof(*headers));
	snprintf(link->told_offset, sizeof(link->told_offset), "%llu",
		 (unsigned long long)from->offset);
	headers[count].name = wb_str_from(WB_STREAM_OFFSET);
	headers[count].value = wb_str_from(link->told_offset);
	ret->headers = headers;
	ret->header_count = count + 1;
}

static void connection_fill(wbi_mem_link *link, const wbi_mem_event *from,
			    wb_broker_event *ret)
{
	*ret = (wb_broker_event){
		.kind = from->kind,
		.token = from->token,
		.reply_code = from->reply_code,
		.text = wb_str_from(link->told_text),
		.error = WB_ERROR_INIT,
		.delivery = from->delivery,
		.redelivered = from->redelivered,
	};
	if (from->code != WB_OK)
		wb_error_set(&ret->error, from->code, from->reply_code,
			     "memory broker", "%s", link->told_text);
	if (from->kind == WB_BROKER_DELIVERY)
		ret->message = from->message->view;
	if (from->of_stream)
		connection_fill_offset(link, from, &ret->message);
}

static bool connection_next(void *self, wb_broker_event *ret)
{
	wbi_mem_link *link = self;
	wbi_mem_event *event;

	wbi_mem_message_unref(link->told);
	link->told = NULL;
	if (link->event_count == 0) {
		*ret = (wb_broker_event){.kind = WB_BROKER_NONE};
		return false;
	}
	event = &link->events[link->event_first];
	link->event_first = (link->event_first + 1) % link->event_capacity;
	link->event_count--;
	link->told = event->message;
	memcpy(link->told_text, event->text, sizeof(link->told_text));
	connection_fill(link, event, ret);
	if (link->event_count == 0)
		connection_signal(link, wbi_mem_now_us(link->memory));
	return true;
}

/* ---- publishing -------------------------------------------------------- */

static void connection_flush_buffer(wbi_mem_link *link)
{
	wbi_mem_item *item;

	while ((item = wbi_mem_items_pop(&link->buffer)) != NULL)
		wbi_mem_items_push(&link->wire, item);
}

static void connection_flush(void *self)
{
	wbi_mem_link *link = self;

	connection_flush_buffer(link);
	wbi_mem_signal(link->memory);
}

static wb_code connection_room(wbi_mem_link *link, const wb_message *message,
			       wb_error *err)
{
	const wb_memory_settings *s = &link->memory->settings;
	size_t bytes = link->buffer.bytes + link->wire.bytes;
	size_t capacity =
		link->settle_capacity ? link->settle_capacity * 2 : 64;
	wbi_mem_item **grown;

	if (connection_unsettled(link) >= s->unsettled_max ||
	    (bytes > 0 && bytes + message->body.len > s->buffer_max_bytes)) {
		connection_flush(link);
		return WBI_FAIL(err, WB_EAGAIN,
				"publish: %zu messages are unsettled and %zu "
				"bytes unsent; step, then try again",
				connection_unsettled(link), bytes);
	}
	if (!connection_reserve(link, 1))
		return WBI_FAIL(err, WB_ENOMEM, "publish: out of memory");
	if (connection_unsettled(link) < link->settle_capacity)
		return WB_OK;
	grown = realloc(link->settles, capacity * sizeof(wbi_mem_item *));
	if (!grown)
		return WBI_FAIL(err, WB_ENOMEM, "publish: out of memory");
	link->settles = grown;
	link->settle_capacity = capacity;
	return WB_OK;
}

static wb_code connection_usable(const wbi_mem_link *link, const char *what,
				 wb_error *err)
{
	if (link->state != WBI_MEM_UP)
		return WBI_FAIL(err, WB_ESTATE, "%s: the connection is not up",
				what);
	if (link->channel != WBI_MEM_OPEN)
		return WBI_FAIL(err, WB_ESTATE,
				"%s: the channel is closed; reopen it and wait "
				"until it is open",
				what);
	return WB_OK;
}

static wb_code connection_publish(void *self, const wb_message *message,
				  uint64_t token, wb_error *err)
{
	wbi_mem_link *link = self;
	wbi_mem_item *item;
	wb_code code = connection_usable(link, "publish", err);

	if (code == WB_OK && link->blocked)
		code = WBI_FAIL(err, WB_ESTATE,
				"publish: the broker has blocked publishers");
	if (code == WB_OK)
		code = wbi_mem_message_check(message, err);
	if (code == WB_OK)
		code = connection_room(link, message, err);
	if (code != WB_OK)
		return code;
	item = calloc(1, sizeof(*item));
	if (item)
		item->message = wbi_mem_message_copy(message);
	if (!item || !item->message) {
		free(item);
		return WBI_FAIL(err, WB_ENOMEM, "publish: out of memory");
	}
	item->token = token;
	wbi_mem_items_push(&link->buffer, item);
	link->memory->stat.published++;
	return WB_OK;
}

/* ---- requests ---------------------------------------------------------- */

static wb_code connection_ask(wbi_mem_link *link, wbi_mem_request_kind kind,
			      wbi_mem_request **ret, const wb_declaration *d,
			      wb_error *err)
{
	static const wb_declaration none;
	wbi_mem_request *request;

	if (link->request_count >= WBI_MEM_REQUESTS_MAX)
		return WBI_FAIL(err, WB_EAGAIN,
				"%d requests are outstanding; step, then try "
				"again",
				WBI_MEM_REQUESTS_MAX);
	/* One event answers it; a reopened channel may be closed again. */
	request = connection_reserve(link, 2)
			  ? wbi_mem_request_copy(d ? d : &none)
			  : NULL;
	if (!request)
		return WBI_FAIL(err, WB_ENOMEM, "request: out of memory");
	request->kind = kind;
	*link->requests_end = request;
	link->requests_end = &request->next;
	link->request_count++;
	wbi_mem_signal(link->memory);
	*ret = request;
	return WB_OK;
}

static wb_code connection_reopen(void *self, wb_error *err)
{
	wbi_mem_link *link = self;
	wbi_mem_request *request;
	wb_code code;

	if (link->state != WBI_MEM_UP || link->channel != WBI_MEM_SHUT)
		return WBI_FAIL(err, WB_ESTATE,
				"reopen: the channel is not closed");
	code = connection_ask(link, WBI_MEM_REOPEN, &request, NULL, err);
	if (code == WB_OK)
		link->channel = WBI_MEM_OPENING;
	return code;
}

static wb_code connection_declare(void *self, const wb_declaration *declaration,
				  uint64_t token, wb_error *err)
{
	wbi_mem_link *link = self;
	wbi_mem_request *request;
	wb_code code;

	if (link->state != WBI_MEM_UP)
		return WBI_FAIL(err, WB_ESTATE,
				"declare: the connection is not up");
	if (declaration->kind == WB_TOPOLOGY_BINDING && declaration->check_only)
		return WBI_FAIL(err, WB_EINVAL,
				"declare: AMQP cannot check a binding");
	if (declaration->name.len == 0 ||
	    declaration->name.len > WBI_MEM_NAME_MAX ||
	    declaration->exchange.len > WBI_MEM_NAME_MAX ||
	    declaration->binding_key.len > WBI_MEM_NAME_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"declare: a name needs 1 to 255 bytes");
	code = connection_ask(link, WBI_MEM_DECLARE, &request, declaration,
			      err);
	if (code == WB_OK)
		request->token = token;
	return code;
}

static wb_code connection_consume(void *self, const wb_consumption *what,
				  uint64_t token, wb_error *err)
{
	const wb_declaration named = {.name = what->queue,
				      .arguments = what->arguments,
				      .argument_count = what->argument_count};
	wbi_mem_link *link = self;
	wbi_mem_request *request;
	wb_code code = connection_usable(link, "consume", err);

	if (code != WB_OK)
		return code;
	if (what->prefetch == 0 || what->queue.len == 0 ||
	    what->queue.len > WBI_MEM_NAME_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"consume: a queue's name of 1 to 255 bytes and "
				"a prefetch of 1 to 65535 are needed");
	if (link->prefetch > 0)
		return WBI_FAIL(err, WB_ESTATE,
				"consume: this connection has a consumer; open "
				"another connection");
	code = connection_ask(link, WBI_MEM_CONSUME, &request, &named, err);
	if (code != WB_OK)
		return code;
	request->token = token;
	request->prefetch = what->prefetch;
	link->prefetch = what->prefetch;
	return WB_OK;
}

static wb_code connection_settle(wbi_mem_link *link, wbi_mem_request_kind kind,
				 uint64_t delivery, bool flag, wb_error *err)
{
	wbi_mem_request *request;
	wb_code code = connection_usable(link, "ack or reject", err);

	if (code == WB_OK)
		code = connection_ask(link, kind, &request, NULL, err);
	if (code != WB_OK)
		return code;
	request->delivery = delivery;
	request->flag = flag;
	/* The room comes first, so that what is noted is also sent. */
	if (!wbi_mem_queue_ask(link, delivery, kind == WBI_MEM_ACK && flag)) {
		request->delivery = 0;
		return WBI_FAIL(err, WB_EINVAL,
				"delivery %llu is not outstanding",
				(unsigned long long)delivery);
	}
	return WB_OK;
}

static wb_code connection_ack(void *self, uint64_t delivery, bool multiple,
			      wb_error *err)
{
	return connection_settle(self, WBI_MEM_ACK, delivery, multiple, err);
}

static wb_code connection_reject(void *self, uint64_t delivery, bool requeue,
				 wb_error *err)
{
	return connection_settle(self, WBI_MEM_REJECT, delivery, requeue, err);
}

/* ---- the end ----------------------------------------------------------- */

static void connection_close(void *self)
{
	wbi_mem_link *link = self;

	if (link->state == WBI_MEM_DOWN || link->state == WBI_MEM_CLOSING)
		return;
	connection_flush_buffer(link);
	link->state = WBI_MEM_CLOSING;
	link->since_us = wbi_mem_now_us(link->memory);
	wbi_mem_signal(link->memory);
}

static void connection_forget(wb_memory *memory, const wbi_mem_link *link)
{
	size_t i = 0;

	while (memory->links[i] != link)
		i++;
	memory->link_count--;
	memmove(&memory->links[i], &memory->links[i + 1],
		(memory->link_count - i) * sizeof(memory->links[0]));
	for (i = 0; i < WB_MEMORY_CUTS_MAX; i++)
		if (memory->cuts[i].set && memory->cuts[i].link == link)
			memory->cuts[i].set = false;
}

static void connection_free(void *self)
{
	wbi_mem_link *link = self;
	wb_memory *memory = link->memory;
	size_t take = link->wire.count;

	/* What was handed to the kernel still reaches the broker; a host that
	 * dies may take part of it along. */
	if (memory->chaos.size != 0)
		take = (size_t)wbi_mem_draw(memory, take + 1);
	wbi_mem_strand(link, take, wbi_mem_now_us(memory));
	wbi_mem_drop_outstanding(link);
	wbi_mem_queue_leave(link);
	wbi_mem_queue_forget_orphans(link);
	while (link->event_count > 0) {
		wb_broker_event event;

		connection_next(link, &event);
	}
	wbi_mem_message_unref(link->told);
	if (link->event_fd >= 0)
		close(link->event_fd);
	connection_forget(memory, link);
	free(link->settles);
	free(link->events);
	free(link->told_headers);
	free(link);
	wbi_mem_signal(memory);
}

static const wb_broker_ops connection_ops = {
	.name = "memory",
	.vhost = connection_vhost,
	.connect = connection_connect,
	.fd = connection_fd,
	.deadline_us = connection_deadline_us,
	.step = connection_step,
	.next = connection_next,
	.publish = connection_publish,
	.flush = connection_flush,
	.reopen = connection_reopen,
	.declare = connection_declare,
	.consume = connection_consume,
	.ack = connection_ack,
	.reject = connection_reject,
	.close = connection_close,
	.free = connection_free,
};

wb_code wb_memory_connect(wb_memory *memory, wb_broker **ret, wb_error *err)
{
	wbi_mem_link *link;

	if (memory->link_count == WB_MEMORY_CONNECTIONS_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"memory broker: at most %d connections",
				WB_MEMORY_CONNECTIONS_MAX);
	link = calloc(1, sizeof(*link));
	if (!link)
		return WBI_FAIL(err, WB_ENOMEM, "memory broker: out of memory");
	link->broker.ops = &connection_ops;
	link->broker.self = link;
	link->memory = memory;
	link->event_fd = -1;
	link->requests_end = &link->requests;
	memory->links[memory->link_count++] = link;
	*ret = &link->broker;
	return WB_OK;
}
