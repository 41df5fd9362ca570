/* SPDX-License-Identifier: BSD-2-Clause */
/* See model_side.h. Every wait has an end. One thread. */
#include "tests/conformance/model_side.h"

#include <poll.h>
#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/hash.h"

enum { SIDE_TIMEOUT_US = 5000000, SIDE_POLL_MS = 10 };

/* ---- what was told ------------------------------------------------------ */

static uint64_t side_hash(uint64_t seed, wb_str text)
{
	return wbi_hash(seed, text.len ? text.ptr : "", text.len);
}

/* Of all that a message has but its names. A table has no order (AMQP 0-9-1,
 * 4.2.5.5), and RabbitMQ 4 sorts it. */
static uint64_t side_print(const wb_message *m)
{
	const wb_str texts[] = {m->type,           m->app_id,   m->content_type,
				m->correlation_id, m->reply_to, m->body};
	uint64_t print = (uint64_t)m->timestamp_s * 2 + m->persistent;
	uint64_t headers = 0;

	for (size_t i = 0; i < WBI_COUNT(texts); i++)
		print = side_hash(print, texts[i]);
	for (size_t i = 0; i < m->header_count; i++)
		headers += side_hash(side_hash(0, m->headers[i].name),
				     m->headers[i].value);
	return print + headers;
}

static void side_note_delivery(side_connection *c, const wb_broker_event *e)
{
	side_delivery *d;

	assert_true(c->delivered < SIDE_DELIVERIES);
	d = &c->deliveries[c->delivered++];
	d->tag = e->delivery;
	d->redelivered = e->redelivered;
	snprintf(d->what, sizeof(d->what),
		 "%.*s of %.*s/%.*s: %zu bytes, %zu headers, %016llx",
		 (int)e->message.message_id.len, e->message.message_id.ptr,
		 (int)e->message.exchange.len,
		 e->message.exchange.len ? e->message.exchange.ptr : "",
		 (int)e->message.routing_key.len, e->message.routing_key.ptr,
		 e->message.body.len, e->message.header_count,
		 (unsigned long long)side_print(&e->message));
}

static void side_take(side *s, side_connection *c, const wb_broker_event *e)
{
	s->events++;
	switch (e->kind) {
	case WB_BROKER_DELIVERY:
		side_note_delivery(c, e);
		return;
	case WB_BROKER_ACKED:
	case WB_BROKER_NACKED:
	case WB_BROKER_RETURNED:
		assert_true(e->token < SIDE_TOKENS);
		assert_int_equal(s->outcomes[e->token], WB_BROKER_NONE);
		s->outcomes[e->token] = e->kind;
		return;
	default:
		break;
	}
	assert_true(c->noted < SIDE_NOTES);
	if (e->kind == WB_BROKER_DOWN)
		snprintf(c->down, sizeof(c->down), "%.200s", e->error.text);
	/* Of CANCELLED broker.h promises no code. */
	c->notes[c->noted++] = (side_note){
		e->kind, e->token,
		e->kind == WB_BROKER_CANCELLED ? 0 : e->reply_code};
}

static void side_step(side *s)
{
	wb_broker_event event;

	for (size_t i = 0; i < SIDE_CONNECTIONS; i++) {
		side_connection *c = &s->connections[i];

		if (!c->broker)
			continue;
		wb_broker_step(c->broker);
		while (wb_broker_next(c->broker, &event))
			side_take(s, c, &event);
	}
}

/* ---- connections -------------------------------------------------------- */

static void side_await(side *s, side_connection *c, wb_broker_event_kind kind,
		       size_t from)
{
	const conformance_fixture *f = s->fixture;
	int64_t end_us = f->now_us(f->ctx) + SIDE_TIMEOUT_US;

	while (f->now_us(f->ctx) < end_us) {
		side_step(s);
		for (size_t i = from; i < c->noted; i++)
			if (c->notes[i].kind == kind)
				return;
		f->wait(f->ctx, c->broker);
	}
	fail_msg("%s: no event of kind %d", f->name, (int)kind);
}

static void side_connect(side *s, side_connection *c)
{
	wb_error err = WB_ERROR_INIT;
	size_t from = c->noted;

	assert_ok(wb_broker_connect(c->broker, &err), err);
	side_await(s, c, WB_BROKER_UP, from);
}

static void side_make(side *s, side_connection *c)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(s->fixture->make(s->fixture->ctx, &c->broker, &err), err);
	side_connect(s, c);
}

void side_init(side *s, const conformance_fixture *fixture)
{
	memset(s, 0, sizeof(*s));
	s->fixture = fixture;
	for (size_t i = 0; i < SIDE_CONNECTIONS; i++)
		side_make(s, &s->connections[i]);
}

void side_fini(side *s)
{
	for (size_t i = 0; i < SIDE_CONNECTIONS; i++)
		wb_broker_free(s->connections[i].broker);
}

void side_replace(side *s, size_t connection)
{
	side_connection *c = &s->connections[connection];

	wb_broker_free(c->broker);
	c->broker = NULL;
	side_make(s, c);
}

void side_reconnect(side *s, size_t connection)
{
	side_connection *c = &s->connections[connection];
	size_t from = c->noted;

	wb_broker_close(c->broker);
	side_await(s, c, WB_BROKER_DOWN, from);
	side_connect(s, c);
}

/* ---- waiting ------------------------------------------------------------ */

void side_settle(side *s, int64_t quiet_us)
{
	const conformance_fixture *f = s->fixture;
	int64_t end_us = f->now_us(f->ctx) + quiet_us;
	size_t seen = s->events;

	while (f->now_us(f->ctx) < end_us) {
		side_step(s);
		if (s->events != seen)
			end_us = f->now_us(f->ctx) + quiet_us;
		seen = s->events;
		f->wait(f->ctx, s->connections[0].broker);
	}
}

static bool side_is_there(const side *s, const side *other,
			  const bool open[SIDE_TOKENS])
{
	for (size_t i = 0; i < SIDE_CONNECTIONS; i++)
		if (s->connections[i].delivered <
			    other->connections[i].delivered ||
		    s->connections[i].noted < other->connections[i].noted)
			return false;
	for (size_t i = 0; i < SIDE_TOKENS; i++)
		if (!open[i] && other->outcomes[i] != WB_BROKER_NONE &&
		    s->outcomes[i] == WB_BROKER_NONE)
			return false;
	return true;
}

/* Of the real broker: it has descriptors. */
bool side_reach(side *s, const side *other, const bool open[SIDE_TOKENS])
{
	const conformance_fixture *f = s->fixture;
	int64_t end_us = f->now_us(f->ctx) + SIDE_TIMEOUT_US;
	struct pollfd fds[SIDE_CONNECTIONS];

	for (;;) {
		side_step(s);
		if (side_is_there(s, other, open))
			return true;
		if (f->now_us(f->ctx) > end_us)
			return false;
		for (size_t i = 0; i < SIDE_CONNECTIONS; i++)
			fds[i] = (struct pollfd){
				wb_broker_fd(s->connections[i].broker), POLLIN,
				0};
		poll(fds, SIDE_CONNECTIONS, SIDE_POLL_MS);
	}
}

/* ---- comparing ---------------------------------------------------------- */

static bool side_same_deliveries(const side_connection *model,
				 const side_connection *real, char *why,
				 size_t size)
{
	size_t most = model->delivered > real->delivered ? model->delivered
							 : real->delivered;

	for (size_t i = 0; i < most; i++) {
		const side_delivery *a = &model->deliveries[i];
		const side_delivery *b = &real->deliveries[i];

		if (i < model->delivered && i < real->delivered &&
		    !strcmp(a->what, b->what) &&
		    a->redelivered == b->redelivered)
			continue;
		snprintf(why, size,
			 "delivery %zu: the model has '%s'%s, the broker '%s'%s",
			 i, i < model->delivered ? a->what : "none",
			 i < model->delivered && a->redelivered ? " again" : "",
			 i < real->delivered ? b->what : "none",
			 i < real->delivered && b->redelivered ? " again" : "");
		return false;
	}
	return true;
}

static size_t side_count(const side_connection *c, const side_note *note)
{
	size_t count = 0;

	for (size_t i = 0; i < c->noted; i++)
		count += c->notes[i].kind == note->kind &&
			 c->notes[i].token == note->token &&
			 c->notes[i].reply_code == note->reply_code;
	return count;
}

static bool side_same_notes(const side_connection *model,
			    const side_connection *real, char *why, size_t size)
{
	const side_connection *both[2] = {model, real};

	for (size_t k = 0; k < 2; k++)
		for (size_t i = 0; i < both[k]->noted; i++) {
			const side_note *note = &both[k]->notes[i];

			if (side_count(model, note) == side_count(real, note))
				continue;
			snprintf(why, size,
				 "event of kind %d, token %d, reply code %u: "
				 "the model has %zu, the broker %zu; last "
				 "lost: %s",
				 (int)note->kind, (int)note->token,
				 note->reply_code, side_count(model, note),
				 side_count(real, note), real->down);
			return false;
		}
	return true;
}

bool side_same(const side *model, const side *real,
	       const bool open[SIDE_TOKENS], char *ret_why, size_t size)
{
	for (size_t i = 0; i < SIDE_CONNECTIONS; i++) {
		const side_connection *a = &model->connections[i];
		const side_connection *b = &real->connections[i];

		if (!side_same_notes(a, b, ret_why, size) ||
		    !side_same_deliveries(a, b, ret_why, size))
			return false;
	}
	for (size_t i = 0; i < SIDE_TOKENS; i++) {
		wb_broker_event_kind a = model->outcomes[i];
		wb_broker_event_kind b = real->outcomes[i];

		if (a == b || (open[i] && (a == WB_BROKER_NONE ||
					   b == WB_BROKER_NONE)))
			continue;
		snprintf(ret_why, size,
			 "message m%zu: outcome %d in the model, %d of the "
			 "broker",
			 i, (int)a, (int)b);
		return false;
	}
	return true;
}
