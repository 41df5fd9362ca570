/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events wait in a ring until the owner takes them. Confirms are counted, not
 * queued: one event stands for a run of settled publishes, which the ring of
 * publishes chains, so that an ack of thousands allocates nothing. DOWN has
 * its place outside the ring and comes last.
 *
 * The ring's bound follows from what may be outstanding; only a broker that
 * makes up events (blocked, unblocked, blocked, ...) faster than the owner
 * takes them can meet it, and that ends the session.
 */
#include <stdlib.h>

#include "broker-adapters/amqp/session_internal.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"

static uint32_t events_max(const wbi_session *s)
{
	uint64_t most = (uint64_t)s->options.unsettled_max +
			s->consumer.unacked_max + SESSION_DECLARES_MAX +
			SESSION_EVENTS_EXTRA;

	return most * 2 < UINT32_MAX / 2 ? (uint32_t)most * 2 : UINT32_MAX / 2;
}

static session_event *events_at(session_events *e, uint32_t i)
{
	return &e->ring[(e->head + i) & (e->capacity - 1)];
}

static bool events_grow(session_events *e)
{
	uint32_t capacity = e->capacity ? e->capacity * 2 : 64;
	session_event *ring = malloc(capacity * sizeof(*ring));

	if (!ring)
		return false;
	for (uint32_t i = 0; i < e->count; i++)
		ring[i] = *events_at(e, i);
	free(e->ring);
	e->ring = ring;
	e->capacity = capacity;
	e->head = 0;
	return true;
}

void wbi_session_push(wbi_session *session, const session_event *event)
{
	session_events *e = &session->events;

	if (session->stage == SESSION_OVER) {
		free(event->memory);
		return;
	}
	if (e->count >= events_max(session)) {
		free(event->memory);
		wbi_session_violation(session, "more events than it was asked "
					       "for");
		return;
	}
	if (e->count == e->capacity && !events_grow(e)) {
		free(event->memory);
		wbi_session_no_memory(session);
		return;
	}
	*events_at(e, e->count++) = *event;
}

void wbi_session_push_kind(wbi_session *session, wb_broker_event_kind kind,
			   uint64_t token)
{
	session_event event = {.kind = kind, .token = token};

	wbi_session_push(session, &event);
}

void wbi_session_push_reason(wbi_session *session, session_event *event,
			     wb_str text, const wb_error *error)
{
	char *memory = malloc(sizeof(wb_error) + text.len + 1);

	if (!memory) {
		wbi_session_no_memory(session);
		return;
	}
	if (error && error->code != WB_OK) {
		memcpy(memory, error, sizeof(*error));
		event->error = (const wb_error *)(void *)memory;
	}
	if (text.len > 0)
		memcpy(memory + sizeof(wb_error), text.ptr, text.len);
	event->text = wb_str_n(memory + sizeof(wb_error), text.len);
	event->memory = memory;
	wbi_session_push(session, event);
}

void wbi_session_push_settled(wbi_session *session)
{
	session_events *e = &session->events;

	if (e->count > 0 && events_at(e, e->count - 1)->kind == WB_BROKER_ACKED)
		events_at(e, e->count - 1)->token++;
	else
		wbi_session_push_kind(session, WB_BROKER_ACKED, 1);
}

/* All of *ret but the error's text, which is long and would be cleared for
 * every ack. */
static void event_clear(wb_broker_event *ret)
{
	ret->kind = WB_BROKER_NONE;
	ret->token = 0;
	ret->reply_code = 0;
	ret->text = WB_STR_NULL;
	ret->error.code = WB_OK;
	ret->error.class_ = WB_CLASS_NONE;
	ret->error.foreign = 0;
	ret->error.where = "";
	ret->error.text[0] = '\0';
	ret->delivery = 0;
	ret->redelivered = false;
	memset(&ret->message, 0, sizeof(ret->message));
}

static void event_copy(const session_event *from, wb_broker_event *ret)
{
	ret->kind = from->kind;
	ret->token = from->token;
	ret->reply_code = from->reply_code;
	ret->redelivered = from->redelivered;
	ret->delivery = from->delivery;
	ret->text = from->text;
	if (from->error)
		ret->error = *from->error;
	if (from->message)
		ret->message = *from->message;
}

static bool event_take_down(session_events *e, wb_broker_event *ret)
{
	if (!e->has_down)
		return false;
	e->has_down = false;
	ret->kind = WB_BROKER_DOWN;
	ret->error = e->down;
	ret->reply_code = e->down.foreign > 0 ? (uint16_t)e->down.foreign : 0;
	return true;
}

bool wbi_session_next(wbi_session *session, wb_broker_event *ret)
{
	session_events *e = &session->events;
	session_event *first;

	event_clear(ret);
	free(e->taken);
	e->taken = NULL;
	if (e->count == 0)
		return event_take_down(e, ret);
	first = events_at(e, 0);
	if (first->kind == WB_BROKER_ACKED) {
		ret->kind = wbi_confirms_take(&session->confirms,
					      &ret->token) == CONFIRM_NACKED
				    ? WB_BROKER_NACKED
				    : WB_BROKER_ACKED;
		if (--first->token > 0)
			return true;
	} else {
		event_copy(first, ret);
		e->taken = first->memory;
	}
	e->head = (e->head + 1) & (e->capacity - 1);
	e->count--;
	return true;
}

void wbi_session_events_fini(wbi_session *session)
{
	session_events *e = &session->events;

	for (uint32_t i = 0; i < e->count; i++)
		free(events_at(e, i)->memory);
	free(e->taken);
	free(e->ring);
	*e = (session_events){0};
}
