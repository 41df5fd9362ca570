/* SPDX-License-Identifier: BSD-2-Clause */
/* See mortal.h. Every slot counts one call, frees included; a call that finds
 * no life left drops the connection and answers for a dead one. One thread. */
#include "tests/kit/mortal.h"

#include <stdlib.h>

struct kit_mortal {
	wb_broker broker;
	wb_broker *inner; /* NULL: dead */
	uint64_t calls;   /* left; UINT64_MAX: no end */
	kit_mortal *other; /* of the same process; NULL: there is none */
};

static void mortal_drop(kit_mortal *m)
{
	wb_broker_free(m->inner);
	m->inner = NULL;
}

void kit_mortal_kill(kit_mortal *mortal)
{
	mortal_drop(mortal);
	if (mortal->other)
		mortal_drop(mortal->other);
}

void kit_mortal_pair(kit_mortal *a, kit_mortal *b)
{
	a->other = b;
	b->other = a;
}

/* The connection, if this call is still made. */
static wb_broker *mortal_alive(kit_mortal *m)
{
	if (m->calls == 0)
		kit_mortal_kill(m);
	if (m->inner && m->calls != UINT64_MAX)
		m->calls--;
	return m->inner;
}

static const char *mortal_vhost(void *self)
{
	const kit_mortal *m = self;

	return m->inner ? wb_broker_vhost(m->inner) : "";
}

static wb_code mortal_connect(void *self, wb_error *err)
{
	wb_broker *b = mortal_alive(self);

	return b ? wb_broker_connect(b, err) : WB_OK;
}

static int mortal_fd(void *self)
{
	(void)self;
	return -1;
}

static int64_t mortal_deadline_us(void *self)
{
	const kit_mortal *m = self;

	return m->inner ? wb_broker_deadline_us(m->inner) : INT64_MAX;
}

static void mortal_step(void *self)
{
	wb_broker *b = mortal_alive(self);

	if (b)
		wb_broker_step(b);
}

static bool mortal_next(void *self, wb_broker_event *ret)
{
	wb_broker *b = mortal_alive(self);

	if (b)
		return wb_broker_next(b, ret);
	*ret = (wb_broker_event){.kind = WB_BROKER_NONE};
	return false;
}

static wb_code mortal_refuse(wb_error *err)
{
	return wb_error_set(err, WB_EAGAIN, 0, __func__, "the owner is dead");
}

static wb_code mortal_publish(void *self, const wb_message *message,
			      uint64_t token, wb_error *err)
{
	wb_broker *b = mortal_alive(self);

	return b ? wb_broker_publish(b, message, token, err)
		 : mortal_refuse(err);
}

static void mortal_flush(void *self)
{
	wb_broker *b = mortal_alive(self);

	if (b)
		wb_broker_flush(b);
}

static wb_code mortal_reopen(void *self, wb_error *err)
{
	wb_broker *b = mortal_alive(self);

	return b ? wb_broker_reopen(b, err) : WB_OK;
}

static wb_code mortal_declare(void *self, const wb_declaration *what,
			      uint64_t token, wb_error *err)
{
	wb_broker *b = mortal_alive(self);

	return b ? wb_broker_declare(b, what, token, err) : mortal_refuse(err);
}

static wb_code mortal_consume(void *self, const wb_consumption *what,
			      uint64_t token, wb_error *err)
{
	wb_broker *b = mortal_alive(self);

	return b ? wb_broker_consume_as(b, what, token, err)
		 : mortal_refuse(err);
}

static wb_code mortal_ack(void *self, uint64_t delivery, bool multiple,
			  wb_error *err)
{
	wb_broker *b = mortal_alive(self);

	return b ? wb_broker_ack(b, delivery, multiple, err)
		 : mortal_refuse(err);
}

static wb_code mortal_reject(void *self, uint64_t delivery, bool requeue,
			     wb_error *err)
{
	wb_broker *b = mortal_alive(self);

	return b ? wb_broker_reject(b, delivery, requeue, err)
		 : mortal_refuse(err);
}

static void mortal_close(void *self)
{
	wb_broker *b = mortal_alive(self);

	if (b)
		wb_broker_close(b);
}

static void mortal_free(void *self)
{
	kit_mortal *m = self;

	if (m->other)
		m->other->other = NULL;
	wb_broker_free(m->inner);
	free(m);
}

static const wb_broker_ops mortal_ops = {
	.name = "mortal",
	.vhost = mortal_vhost,
	.connect = mortal_connect,
	.fd = mortal_fd,
	.deadline_us = mortal_deadline_us,
	.step = mortal_step,
	.next = mortal_next,
	.publish = mortal_publish,
	.flush = mortal_flush,
	.reopen = mortal_reopen,
	.declare = mortal_declare,
	.consume = mortal_consume,
	.ack = mortal_ack,
	.reject = mortal_reject,
	.close = mortal_close,
	.free = mortal_free,
};

kit_mortal *kit_mortal_new(wb_broker *inner, uint64_t calls)
{
	kit_mortal *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->broker.ops = &mortal_ops;
	m->broker.self = m;
	m->inner = inner;
	m->calls = calls ? calls : UINT64_MAX;
	return m;
}

wb_broker *kit_mortal_broker(kit_mortal *mortal)
{
	return &mortal->broker;
}

bool kit_mortal_is_dead(const kit_mortal *mortal)
{
	return mortal->inner == NULL;
}
