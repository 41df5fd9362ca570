/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The orchestrator: which kinds of sagas there are, how one starts, and what
 * reaches it: replies and timers. What then follows is in run.c.
 *
 * A saga starts as a row and a timer that is due at once, in the caller's
 * transaction; the worker takes it from there. Everything later happens in the
 * handler's transaction. The object belongs to one thread.
 */
#include "saga/orchestrator.h"

#include <stdio.h>
#include <stdlib.h>

#include "inbox/timer.h"
#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

char *wbi_saga_timer_name(char which, wb_str id, char ret[256])
{
	int len = snprintf(ret, 256, "%c/%.*s", which, (int)id.len, id.ptr);

	WB_ASSERT(len > 0 && len < 256);
	return ret;
}

/* ---- the handler --------------------------------------------------------- */

static void **orchestrator_states(const wb_orchestrator *o)
{
	return calloc(o->count + 1, sizeof(void *));
}

/* The states of all kinds, in one array behind a pointer to its owner. */
static wb_code orchestrator_open_state(const wb_handler *self, wb_store *store,
				       MDB_txn *txn, void **ret_state,
				       wb_error *err)
{
	wb_orchestrator *o = self->ctx;
	void **states = orchestrator_states(o);
	wb_code code = WB_OK;

	if (!states)
		return WBI_FAIL(err, WB_ENOMEM, "sagas: out of memory");
	states[0] = o;
	*ret_state = states;
	for (size_t i = 0; i < o->count && code == WB_OK; i++)
		if (o->kinds[i].saga->open)
			code = o->kinds[i].saga->open(&o->kinds[i].facade,
						      store, txn,
						      &states[i + 1], err);
	for (size_t i = 0; i < o->count && code == WB_OK; i++)
		code = wbi_saga_def_put(
			txn, o->tables,
			wb_str_n(o->kinds[i].hash, WBI_SAGA_HASH_LEN),
			wb_str_n(o->kinds[i].bytes, o->kinds[i].len), err);
	return code;
}

static void orchestrator_close_state(void *state)
{
	void **states = state;
	wb_orchestrator *o = states ? states[0] : NULL;

	for (size_t i = 0; o && i < o->count; i++)
		if (o->kinds[i].saga->close && states[i + 1])
			o->kinds[i].saga->close(states[i + 1]);
	free(states);
}

static bool reply_number(wb_str text, uint32_t *ret)
{
	uint64_t n = 0;

	if (text.len == 0 || text.len > 10)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(text.ptr[i] - '0');
	}
	*ret = (uint32_t)n;
	return n <= UINT32_MAX;
}

static bool reply_op(wb_str text, wbi_op *ret)
{
	*ret = wb_str_eq(text, wb_str_from("do"))      ? WBI_OP_DO
	       : wb_str_eq(text, wb_str_from("undo"))  ? WBI_OP_UNDO
	       : wb_str_eq(text, wb_str_from("probe")) ? WBI_OP_PROBE
						       : 0;
	return *ret != 0;
}

/* 0: "late", or one that we do not know: changes nothing. */
static wbi_outcome reply_outcome(wb_str text)
{
	return wb_str_eq(text, wb_str_from("done"))       ? WBI_OUTCOME_DONE
	       : wb_str_eq(text, wb_str_from("rejected")) ? WBI_OUTCOME_REJECTED
	       : wb_str_eq(text, wb_str_from("pending"))  ? WBI_OUTCOME_PENDING
							  : 0;
}

static wb_code orchestrator_handle(wb_call *call, const wb_event *event,
				   wb_error *err)
{
	wbi_saga_input in = {.id = wb_event_header(event, "wbsaga"),
			     .step = wb_event_header(event, "wbstep"),
			     .in = event->type,
			     .in_id = event->id,
			     .reason = wb_event_header(event, "wbreason"),
			     .reply = event};
	wb_str outcome = wb_event_header(event, "wboutcome");

	if (in.id.len == 0 && in.step.len == 0)
		return WB_OK; /* no reply to a command */
	in.input.kind = WBI_INPUT_ANSWER;
	if (in.id.len == 0 || in.id.len > WBI_SAGA_ID_MAX || in.step.len == 0 ||
	    !reply_op(wb_event_header(event, "wbop"), &in.input.op) ||
	    !reply_number(wb_event_header(event, "wbepoch"), &in.input.epoch) ||
	    outcome.len == 0)
		return wb_reject(err,
				 "a reply needs the attributes wbsaga, wbstep, "
				 "wbop, wbepoch and wboutcome of its command");
	in.input.outcome = reply_outcome(outcome);
	if (in.input.outcome == 0)
		return WB_OK;
	return wbi_saga_run(call, &in, err);
}

/* An operator's order, put there by another process. */
static wb_code orchestrator_order(wb_call *call, const wb_timer *timer,
				  wbi_saga_input *in, wb_error *err)
{
	wbi_order order;
	wb_code code;

	if (wbi_order_decode(timer->data, &order, NULL) != WB_OK)
		return wb_reject(err, "timer '%.*s' is no operator's order",
				 (int)timer->name.len, timer->name.ptr);
	in->in = wb_str_from("operator");
	in->input.kind = WBI_INPUT_VERB;
	in->input.verb = (wbi_verb)order.verb;
	/* cppcheck-suppress autoVariables ; it is taken back below */
	in->order = &order;
	code = wbi_saga_run(call, in, err);
	in->order = NULL;
	return code;
}

static wb_code orchestrator_timer(wb_call *call, const wb_timer *timer,
				  wb_error *err)
{
	wbi_saga_input in = {.in = wb_str_from("timer")};

	if (timer->name.len < 3 || timer->name.ptr[1] != '/')
		return WB_OK;
	in.id = wb_str_n(timer->name.ptr + 2, timer->name.len - 2);
	if (timer->name.ptr[0] == 'v')
		return orchestrator_order(call, timer, &in, err);
	in.input.kind = WBI_INPUT_DEADLINE;
	if (timer->name.ptr[0] == 's') {
		if (timer->data.len != 4)
			return WB_OK;
		in.input.serial =
			wbi_get_le32((const uint8_t *)timer->data.ptr);
		in.input.kind = in.input.serial == 0 ? WBI_INPUT_START
						     : WBI_INPUT_TIMER;
		if (in.input.serial == 0)
			in.in = wb_str_from("start");
	}
	return wbi_saga_run(call, &in, err);
}

/* ---- open ---------------------------------------------------------------- */

static wb_code orchestrator_kind(wb_orchestrator *o, size_t i,
				 const wb_saga *saga, wb_error *err)
{
	wbi_orchestrated *k = &o->kinds[i];
	wb_code code = wb_saga_check(saga, NULL, 0, NULL, NULL, err);

	if (code != WB_OK)
		return code;
	k->saga = saga;
	k->facade = o->handler;
	k->facade.ctx = saga->ctx;
	code = wbi_definition_encode(saga, &k->bytes, &k->len, k->hash, err);
	for (size_t n = 0; n < i && code == WB_OK; n++)
		if (!strcmp(o->kinds[n].hash, k->hash))
			code = WBI_FAIL(err, WB_EINVAL,
					"saga %s: the same definition twice",
					saga->name);
	return code;
}

wb_code wb_orchestrator_open(wb_store *store, const wb_saga *const *sagas,
			     size_t count, const char *reply_to,
			     wb_orchestrator **ret, wb_error *err)
{
	static const char *const types[] = {"#.reply", NULL};
	wb_orchestrator *o;
	wb_code code = WB_OK;

	if (!store || !sagas || count == 0 || count > WBI_SAGA_KINDS_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"sagas: a store and 1 to %d definitions are "
				"needed",
				WBI_SAGA_KINDS_MAX);
	if (!reply_to)
		reply_to = wb_store_service(store);
	o = calloc(1, sizeof(*o));
	if (o) {
		o->kinds = calloc(count, sizeof(*o->kinds));
		o->reply_to = wbi_text_dup(wb_str_from(reply_to));
	}
	if (!o || !o->kinds || !o->reply_to) {
		wb_orchestrator_close(o);
		return WBI_FAIL(err, WB_ENOMEM, "sagas: out of memory");
	}
	o->store = store;
	o->tables = wbi_store_get_tables(store);
	o->clock = *wbi_store_clock(store);
	o->random = wbi_store_random(store);
	o->handler = (wb_handler)WB_HANDLER_INIT;
	o->handler.name = WBI_SAGAS_HANDLER;
	o->handler.types = types;
	o->handler.hears = WB_HEARS_REPLIES;
	o->handler.handle = orchestrator_handle;
	o->handler.timer = orchestrator_timer;
	o->handler.open = orchestrator_open_state;
	o->handler.close = orchestrator_close_state;
	o->handler.ctx = o;
	for (; o->count < count && code == WB_OK; o->count++)
		code = orchestrator_kind(o, o->count, sagas[o->count], err);
	if (code != WB_OK) {
		wb_orchestrator_close(o);
		return code;
	}
	*ret = o;
	return WB_OK;
}

void wb_orchestrator_close(wb_orchestrator *orchestrator)
{
	if (!orchestrator)
		return;
	for (size_t i = 0; i < orchestrator->count; i++)
		free(orchestrator->kinds[i].bytes);
	free(orchestrator->kinds);
	free(orchestrator->reply_to);
	free(orchestrator);
}

const wb_handler *wb_orchestrator_handler(const wb_orchestrator *orchestrator)
{
	return &orchestrator->handler;
}

/* ---- start --------------------------------------------------------------- */

static const wbi_orchestrated *start_kind(const wb_orchestrator *o,
					  const char *name)
{
	for (size_t i = 0; name && i < o->count; i++)
		if (!strcmp(o->kinds[i].saga->name, name))
			return &o->kinds[i];
	return NULL;
}

/* What it is pinned to is in the store, whichever worker takes it up. */
static wb_code start_pin(const wb_orchestrator *o, MDB_txn *txn,
			 const wbi_orchestrated *kind, wb_error *err)
{
	wb_str hash = wb_str_n(kind->hash, WBI_SAGA_HASH_LEN), bytes;
	wb_code code = wbi_saga_def_get(txn, o->tables, hash, &bytes, err);

	if (code != WB_ENOTFOUND)
		return code;
	return wbi_saga_def_put(txn, o->tables, hash,
				wb_str_n(kind->bytes, kind->len), err);
}

wb_code wb_saga_start(wb_orchestrator *orchestrator, MDB_txn *txn,
		      const char *name, wb_str id, wb_str content_type,
		      wb_str data, wb_error *err)
{
	wb_orchestrator *o = orchestrator;
	const wbi_orchestrated *kind;
	wbi_saga_id key = {.kind = WBI_SAGA_ORCHESTRATED, .id = id};
	uint8_t bytes[WBI_MACHINE_BYTES_MAX], serial[4] = {0};
	wbi_machine machine = {0};
	wbi_saga_row row, old;
	char timer[256];
	wb_code code;

	if (!o || !txn || id.len == 0 || id.len > WBI_SAGA_ID_MAX ||
	    content_type.len > 255 || data.len > WBI_SAGA_DATA_MAX)
		return WBI_FAIL(
			err, WB_EINVAL,
			"saga: it needs a transaction, an id of 1 to %d "
			"bytes and at most %d bytes of data",
			WBI_SAGA_ID_MAX, WBI_SAGA_DATA_MAX);
	kind = start_kind(o, name);
	if (!kind)
		return WBI_FAIL(err, WB_ENOTFOUND, "no saga of kind \"%.64s\"",
				name ? name : "");
	code = wbi_saga_get(txn, o->tables, &key, &old, err);
	if (code == WB_OK)
		return WBI_FAIL(err, WB_EEXISTS, "there is a saga %.*s already",
				(int)id.len, id.ptr);
	if (code != WB_ENOTFOUND)
		return code;
	row = (wbi_saga_row){.status = WB_SAGA_RUNNING,
			     .name = wb_str_from(name),
			     .definition =
				     wb_str_n(kind->hash, WBI_SAGA_HASH_LEN),
			     .content_type = content_type,
			     .data = data};
	machine.count = (uint32_t)kind->saga->count;
	row.started_us = o->clock.real_us(o->clock.ctx);
	row.changed_us = row.since_us = row.started_us;
	row.machine = wb_str_n(bytes, wbi_machine_encode(&machine, bytes));
	code = start_pin(o, txn, kind, err);
	if (code == WB_OK)
		code = wbi_saga_put(txn, o->tables, &key, NULL, &row, err);
	if (code == WB_OK)
		code = wbi_timer_set(
			txn, o->tables, wb_str_from(WBI_SAGAS_HANDLER),
			wb_str_from(wbi_saga_timer_name('s', id, timer)),
			row.started_us, wb_str_n(serial, sizeof(serial)), NULL,
			NULL, err);
	return code;
}

/* ---- in a call ----------------------------------------------------------- */

wb_str wb_saga_id(const wb_call *call)
{
	const wbi_saga_call *s = wbi_extra_of(call, WBI_EXTRA_SAGA);

	return s ? s->id : WB_STR_NULL;
}

wb_str wb_saga_data(const wb_call *call)
{
	const wbi_saga_call *s = wbi_extra_of(call, WBI_EXTRA_SAGA);

	return s ? wb_str_n(s->data, s->data_len) : WB_STR_NULL;
}

wb_str wb_saga_reason(const wb_call *call)
{
	const wbi_saga_call *s = wbi_extra_of(call, WBI_EXTRA_SAGA);

	return s ? wb_str_from(s->reason) : WB_STR_NULL;
}

wb_code wb_saga_set(wb_call *call, wb_str data, wb_error *err)
{
	wbi_saga_call *s = wbi_extra_of(call, WBI_EXTRA_SAGA);
	char *copy;

	if (!s || data.len > WBI_SAGA_DATA_MAX)
		return WBI_FAIL(err, s ? WB_ELIMIT : WB_EINVAL, "saga: %s",
				s ? "its data holds at most 64 KiB"
				  : "not a call of a saga's step");
	copy = wbi_text_dup(data);
	if (!copy)
		return WBI_FAIL(err, WB_ENOMEM, "saga: out of memory");
	free(s->data);
	s->data = copy;
	s->data_len = data.len;
	return WB_OK;
}
