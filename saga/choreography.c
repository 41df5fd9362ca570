/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A service's part in a flow: its handler for the worker, and what the service
 * itself begins and completes in its own transactions. What reacts to events
 * is in react.c; what a saga is at, and its log, in flow_note.c.
 *
 * All state is rows, written in the caller's transaction: a crash leaves the
 * step, its barrier, its timer and its events together, or none of them. The
 * object belongs to one thread.
 */
#include <waybill/choreography.h>

#include <stdio.h>
#include <stdlib.h>

#include "inbox/timer.h"
#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "saga/react.h"

/* ---- open ---------------------------------------------------------------- */

static wb_code choreography_open_state(const wb_handler *self, wb_store *store,
				       MDB_txn *txn, void **ret_state,
				       wb_error *err)
{
	const wb_choreography *c = self->ctx;

	return c->part->open(&c->facade, store, txn, ret_state, err);
}

static wb_code choreography_bind(wb_choreography *c, wb_error *err)
{
	const wb_flow_part *part = c->part;

	for (size_t i = 0; i < part->count; i++) {
		const wb_flow_binding *b = &part->bindings[i];
		int row =
			b->step ? wbi_flow_row_of(c->flow, wb_str_from(b->step))
				: WBI_FLOW_EVENT_NONE;

		if (row < 0 || !c->own[row])
			return WBI_FAIL(
				err, WB_EINVAL,
				"flow %s: binding %zu: \"%s\" is no step "
				"of service %s",
				part->flow->name, i + 1, b->step ? b->step : "",
				part->service);
		if (c->bindings[row])
			return WBI_FAIL(err, WB_EINVAL,
					"flow %s: step %s is bound twice",
					part->flow->name, b->step);
		c->bindings[row] = b;
	}
	for (int i = 0; i < c->flow->row_count; i++)
		if (c->own[i] && c->flow->rows[i].on >= 0 &&
		    (!c->bindings[i] || !c->bindings[i]->run))
			return WBI_FAIL(err, WB_EINVAL,
					"flow %s: step %s of service %s has no "
					"function to run: bind one",
					part->flow->name,
					c->flow->rows[i].reaction->step,
					part->service);
	return WB_OK;
}

/* All that this service must hear. */
static wb_code choreography_types(wb_choreography *c, wb_error *err)
{
	size_t count = 0;

	c->types = calloc((size_t)c->flow->event_count + 1, sizeof(*c->types));
	if (!c->types)
		return WBI_FAIL(err, WB_ENOMEM, "flow: out of memory");
	for (int e = 0; e < c->flow->event_count; e++) {
		wb_str type = c->flow->events[e];
		bool heard = false;

		for (int i = 0; i < c->flow->row_count && !heard; i++)
			heard = c->own[i] && (c->flow->rows[i].on == e ||
					      c->flow->rows[i].awaits[e]);
		if (!heard)
			continue;
		c->types[count] = strndup(type.ptr, type.len);
		if (!c->types[count++])
			return WBI_FAIL(err, WB_ENOMEM, "flow: out of memory");
	}
	return WB_OK;
}

static void choreography_handler(wb_choreography *c)
{
	const wb_handler init = WB_HANDLER_INIT;

	snprintf(c->handler_name, sizeof(c->handler_name), "flow.%s",
		 c->part->flow->name);
	c->handler = init;
	c->handler.name = c->handler_name;
	c->handler.kind = WB_TRANSACTIONAL;
	c->handler.followers = WB_FOLLOWERS_WAIT;
	c->handler.handle = wbi_flow_handle;
	c->handler.timer = wbi_flow_timer;
	c->handler.open = c->part->open ? choreography_open_state : NULL;
	c->handler.close = c->part->close;
	c->handler.ctx = c;
	if (c->types[0])
		c->handler.types = (const char *const *)c->types;
	c->facade = c->handler;
	c->facade.ctx = c->part->ctx;
}

/* `service`: of the store; NULL: there is none yet. */
static wb_code choreography_check(const char *service, const wb_flow_part *part,
				  wb_error *err)
{
	bool known = false;
	wb_code code;

	if (!part || part->size != sizeof(*part) || !part->service ||
	    (part->count > 0 && !part->bindings))
		return WBI_FAIL(err, WB_EINVAL,
				"flow: start a part from WB_FLOW_PART_INIT and "
				"give it a flow, a service and bindings");
	code = wb_flow_check(part->flow, NULL, NULL, err);
	if (code != WB_OK)
		return code;
	for (size_t i = 0; i < part->flow->count && !known; i++)
		known = !strcmp(part->flow->reactions[i].service,
				part->service);
	if (!known)
		return WBI_FAIL(err, WB_EINVAL,
				"flow %s: no row is of service \"%.255s\"",
				part->flow->name, part->service);
	if (service && strcmp(service, part->service) != 0)
		return WBI_FAIL(err, WB_EMISMATCH,
				"flow %s: this is the part of service "
				"\"%.200s\", the store is of \"%.200s\"",
				part->flow->name, part->service, service);
	return WB_OK;
}

/* All but the store. */
static wb_code choreography_new(const char *service, const wb_flow_part *part,
				wb_choreography **ret, wb_error *err)
{
	wb_choreography *c;
	wb_code code = choreography_check(service, part, err);

	if (code != WB_OK)
		return code;
	c = calloc(1, sizeof(*c));
	if (!c)
		return WBI_FAIL(err, WB_ENOMEM, "flow: out of memory");
	c->part = part;
	c->keep_us = (int64_t)((part->flow->keep_s ? part->flow->keep_s
						   : WBI_FLOW_KEEP_S) *
			       1000000);
	code = wbi_flow_new(part->flow, &c->flow, err);
	for (int i = 0; code == WB_OK && i < c->flow->row_count; i++)
		c->own[i] = !strcmp(c->flow->rows[i].reaction->service,
				    part->service);
	if (code == WB_OK)
		code = choreography_bind(c, err);
	if (code == WB_OK)
		code = choreography_types(c, err);
	if (code != WB_OK) {
		wb_choreography_close(c);
		return code;
	}
	choreography_handler(c);
	*ret = c;
	return WB_OK;
}

wb_code wbi_flow_part_check(const wb_flow_part *part, wb_error *err)
{
	wb_choreography *c;
	wb_code code = choreography_new(NULL, part, &c, err);

	if (code == WB_OK)
		wb_choreography_close(c);
	return code;
}

wb_code wb_choreography_open(wb_store *store, const wb_flow_part *part,
			     wb_choreography **ret, wb_error *err)
{
	wb_choreography *c;
	wb_code code;

	if (!store)
		return WBI_FAIL(err, WB_EINVAL, "flow: the store is NULL");
	code = choreography_new(wb_store_service(store), part, &c, err);
	if (code != WB_OK)
		return code;
	c->store = store;
	c->tables = wbi_store_get_tables(store);
	c->clock = *wbi_store_clock(store);
	code = wb_outbox_open(store, NULL, &c->outbox, err);
	if (code != WB_OK) {
		wb_choreography_close(c);
		return code;
	}
	*ret = c;
	return WB_OK;
}

void wb_choreography_close(wb_choreography *choreography)
{
	wb_choreography *c = choreography;

	if (!c)
		return;
	for (size_t i = 0; c->types && c->types[i]; i++)
		free(c->types[i]);
	free(c->types);
	wb_outbox_close(c->outbox);
	wbi_flow_free(c->flow);
	free(c);
}

const wb_handler *wb_choreography_handler(const wb_choreography *choreography)
{
	return &choreography->handler;
}

/* ---- in the service's own transactions ----------------------------------- */

static wb_code flow_scope(wb_choreography *c, MDB_txn *txn, wb_str saga,
			  wbi_flow_scope *ret, wb_error *err)
{
	if (!c || !txn)
		return WBI_FAIL(err, WB_EINVAL, "flow: %s is NULL",
				c ? "the transaction" : "choreography");
	if (saga.len == 0 || saga.len > WBI_SAGA_ID_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"flow %s: a saga's id has 1 to %d bytes, this "
				"one %zu",
				c->part->flow->name, WBI_SAGA_ID_MAX, saga.len);
	*ret = (wbi_flow_scope){
		.choreography = c,
		.saga = saga,
		.barrier = {.txn = txn,
			    .tables = c->tables,
			    .now_us = c->clock.real_us(c->clock.ctx),
			    .keep_us = c->keep_us}};
	return WB_OK;
}

static wb_code flow_own_row(const wb_choreography *c, const char *step,
			    int *ret, wb_error *err)
{
	int row = step ? wbi_flow_row_of(c->flow, wb_str_from(step))
		       : WBI_FLOW_EVENT_NONE;

	if (row < 0 || !c->own[row])
		return WBI_FAIL(err, WB_EINVAL,
				"flow %s: \"%.64s\" is no step of service %s",
				c->part->flow->name, step ? step : "",
				c->part->service);
	*ret = row;
	return WB_OK;
}

static wb_code flow_append(const wbi_flow_scope *scope, int row,
			   const wb_event *event, wb_error *err)
{
	wb_choreography *c = scope->choreography;
	wb_header *headers;
	wb_event filled;
	wb_code code = wbi_flow_check_emit(c, row, event->type, err);

	if (code != WB_OK)
		return code;
	if (event->header_count >= WBI_FLOW_HEADERS)
		return WBI_FAIL(err, WB_ELIMIT, "flow: %zu headers",
				event->header_count);
	headers = calloc(event->header_count + 1, sizeof(*headers));
	if (!headers)
		return WBI_FAIL(err, WB_ENOMEM, "flow: out of memory");
	filled = wbi_flow_event(event, scope->saga, headers);
	code = wb_outbox_append(c->outbox, scope->barrier.txn, &filled, NULL,
				err);
	free(headers);
	return code;
}

/* A step is DONE: its barrier, its wait, its place in the saga. */
static wb_code flow_done(const wbi_flow_scope *scope, int row, wb_str undo,
			 const wb_event *event, const char *what, wb_error *err)
{
	const wb_reaction *r = scope->choreography->flow->rows[row].reaction;
	char name[256];
	wbi_barrier b = {.state = WB_STEP_DONE, .undo = undo};
	wbi_saga_entry entry = {.time_us = scope->barrier.now_us,
				.step = wb_str_from(r->step),
				.in = wb_str_from("call"),
				.what = wb_str_from(what)};
	wb_str consumer = wb_str_from(scope->choreography->handler_name);
	uint8_t since[8];
	wb_code code;

	if (event)
		entry.out = event->type;
	if (r->awaits)
		b.reply_to = wb_str_from(r->awaits);
	code = wbi_flow_step_put(scope, row, &b, err);
	if (code == WB_OK && r->awaits) {
		wbi_put_be64(since, (uint64_t)scope->barrier.now_us);
		wbi_flow_timer_name(scope->saga, r->step, name);
		code = wbi_timer_set(
			scope->barrier.txn, scope->barrier.tables, consumer,
			wb_str_from(name),
			scope->barrier.now_us + (int64_t)r->within_ms * 1000,
			wb_str_n(since, sizeof(since)), NULL, NULL, err);
	}
	if (code == WB_OK)
		code = wbi_flow_note(scope, &entry, err);
	return code;
}

wb_code wb_flow_begin(wb_choreography *choreography, MDB_txn *txn,
		      const char *step, wb_str saga, const wb_event *event,
		      wb_str undo, wb_error *err)
{
	wbi_flow_scope scope;
	wbi_barrier old;
	int row = 0;
	wb_code code = flow_scope(choreography, txn, saga, &scope, err);

	if (code == WB_OK)
		code = flow_own_row(choreography, step, &row, err);
	if (code != WB_OK)
		return code;
	if (choreography->flow->rows[row].on >= 0 || !event ||
	    undo.len > WBI_FLOW_KEEP_MAX)
		return WBI_FAIL(err, WB_EINVAL, "flow %s: %s: %s",
				choreography->part->flow->name, step,
				!event ? "the event is NULL"
				: undo.len > WBI_FLOW_KEEP_MAX
					? "undo holds more than 64 KiB"
					: "it listens to an event and cannot "
					  "begin a saga");
	code = wbi_flow_step_get(&scope, row, &old, err);
	if (code == WB_OK)
		return WBI_FAIL(err, WB_EEXISTS,
				"flow %s: saga %.*s has begun already",
				choreography->part->flow->name, (int)saga.len,
				saga.ptr);
	if (code != WB_ENOTFOUND)
		return code;
	/* The append first: it alone may be refused. */
	code = flow_append(&scope, row, event, err);
	if (code == WB_OK)
		code = flow_done(&scope, row, undo, event, "none -> done", err);
	return code;
}

wb_code wb_flow_complete(wb_choreography *choreography, MDB_txn *txn,
			 const char *step, wb_str saga, const wb_event *event,
			 wb_str undo, wb_error *err)
{
	char name[256];
	wbi_flow_scope scope;
	wbi_barrier old;
	int row = 0;
	wb_code code = flow_scope(choreography, txn, saga, &scope, err);

	if (code == WB_OK)
		code = flow_own_row(choreography, step, &row, err);
	if (code == WB_OK && undo.len > WBI_FLOW_KEEP_MAX)
		code = WBI_FAIL(err, WB_ELIMIT,
				"flow: undo holds more than 64 KiB");
	if (code != WB_OK)
		return code;
	code = wbi_flow_step_get(&scope, row, &old, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ENOTFOUND,
				"flow %s: saga %.*s has no step %s here",
				choreography->part->flow->name, (int)saga.len,
				saga.ptr, step);
	if (code == WB_OK && old.state != WB_STEP_PENDING)
		return WBI_FAIL(err, WB_ESTATE,
				"flow %s: step %s of saga %.*s is %s, not "
				"pending",
				choreography->part->flow->name, step,
				(int)saga.len, saga.ptr,
				wbi_step_state_name(old.state));
	if (code == WB_OK && event)
		code = flow_append(&scope, row, event, err);
	if (code == WB_OK)
		code = wbi_timer_cancel(
			txn, choreography->tables,
			wb_str_from(choreography->handler_name),
			wb_str_from(wbi_flow_timer_name(saga, step, name)),
			NULL, scope.barrier.now_us, err);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	return flow_done(&scope, row, undo, event, "pending -> done", err);
}

wb_code wb_flow_state(wb_choreography *choreography, MDB_txn *txn,
		      const char *step, wb_str saga, wb_step_state *ret,
		      wb_str *ret_undo, wb_error *err)
{
	wbi_flow_scope scope;
	wbi_barrier row;
	int at = 0;
	wb_code code = flow_scope(choreography, txn, saga, &scope, err);

	if (code == WB_OK)
		code = flow_own_row(choreography, step, &at, err);
	if (code != WB_OK)
		return code;
	code = wbi_flow_step_get(&scope, at, &row, err);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	*ret = code == WB_OK ? (wb_step_state)row.state : WB_STEP_NONE;
	if (ret_undo)
		*ret_undo = code == WB_OK ? row.undo : WB_STR_NULL;
	return WB_OK;
}
