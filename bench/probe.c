/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Time of confirmation per event, seen from outside the relay: every call goes
 * through to the wrapped broker; publish remembers which position a token
 * stands for (it is in the message's headers), next looks for ACKED.
 */
#include "bench/probe.h"

#include <stdlib.h>

#include "bench/common.h"

enum { PROBE_TOKENS = 65536 };

typedef struct probe {
	wb_broker outer;
	wb_broker *inner;
	uint64_t *confirmed_ns;
	uint64_t count;
	uint64_t positions[PROBE_TOKENS]; /* by token */
} probe;

static wb_broker *probe_inner(void *self)
{
	return ((probe *)self)->inner;
}

static uint64_t probe_position(const wb_message *m)
{
	for (size_t i = 0; i < m->header_count; i++)
		if (wb_str_eq(m->headers[i].name, wb_str_from("ce-wbposition")))
			return strtoull(m->headers[i].value.ptr, NULL, 10);
	return 0;
}

static const char *probe_vhost(void *self)
{
	return wb_broker_vhost(probe_inner(self));
}

static wb_code probe_connect(void *self, wb_error *err)
{
	return wb_broker_connect(probe_inner(self), err);
}

static int probe_fd(void *self)
{
	return wb_broker_fd(probe_inner(self));
}

static int64_t probe_deadline_us(void *self)
{
	return wb_broker_deadline_us(probe_inner(self));
}

static void probe_step(void *self)
{
	wb_broker_step(probe_inner(self));
}

static bool probe_next(void *self, wb_broker_event *ret)
{
	probe *p = self;
	uint64_t position;

	if (!wb_broker_next(p->inner, ret))
		return false;
	if (ret->kind != WB_BROKER_ACKED)
		return true;
	position = p->positions[ret->token % PROBE_TOKENS];
	if (position < p->count)
		p->confirmed_ns[position] = bench_now_ns();
	return true;
}

static wb_code probe_publish(void *self, const wb_message *message,
			     uint64_t token, wb_error *err)
{
	probe *p = self;

	p->positions[token % PROBE_TOKENS] = probe_position(message);
	return wb_broker_publish(p->inner, message, token, err);
}

static void probe_flush(void *self)
{
	wb_broker_flush(probe_inner(self));
}

static wb_code probe_reopen(void *self, wb_error *err)
{
	return wb_broker_reopen(probe_inner(self), err);
}

static wb_code probe_declare(void *self, const wb_declaration *declaration,
			     uint64_t token, wb_error *err)
{
	return wb_broker_declare(probe_inner(self), declaration, token, err);
}

static wb_code probe_consume(void *self, const wb_consumption *what,
			     uint64_t token, wb_error *err)
{
	return wb_broker_consume_as(probe_inner(self), what, token, err);
}

static wb_code probe_ack(void *self, uint64_t delivery, bool multiple,
			 wb_error *err)
{
	return wb_broker_ack(probe_inner(self), delivery, multiple, err);
}

static wb_code probe_reject(void *self, uint64_t delivery, bool requeue,
			    wb_error *err)
{
	return wb_broker_reject(probe_inner(self), delivery, requeue, err);
}

static void probe_close(void *self)
{
	wb_broker_close(probe_inner(self));
}

static void probe_free(void *self)
{
	wb_broker_free(probe_inner(self));
	free(self);
}

wb_broker *bench_probe(wb_broker *inner, uint64_t *confirmed_ns,
		       uint64_t count)
{
	static const wb_broker_ops ops = {
		"probe",       probe_vhost,   probe_connect, probe_fd,	    probe_deadline_us,
		probe_step,    probe_next,    probe_publish, probe_flush,
		probe_reopen,  probe_declare, probe_consume, probe_ack,
		probe_reject,  probe_close,   probe_free};
	probe *p = calloc(1, sizeof(*p));

	if (!p)
		bench_die("probe", "no memory");
	p->outer = (wb_broker){&ops, p};
	p->inner = inner;
	p->confirmed_ns = confirmed_ns;
	p->count = count;
	return &p->outer;
}
