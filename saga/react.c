/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The handler of a service's part in a flow: an event comes in, each row that
 * listens to it is asked of its barrier, run, and written down, all in the one
 * transaction that dispatch has open. So whatever happens between, a step and
 * its row are both there or neither.
 *
 * A row that may refuse runs in a nested transaction: what it wrote is taken
 * back, that it refused is not. On the worker's thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "inbox/timer.h"
#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "saga/react.h"

void wbi_flow_scope_of(wb_call *call, wb_str saga, wbi_flow_scope *ret)
{
	wb_choreography *c = call->handler->ctx;

	*ret = (wbi_flow_scope){.choreography = c,
				.saga = saga,
				.barrier = {.txn = wb_call_txn(call),
					    .tables = c->tables,
					    .now_us = call->now_us,
					    .keep_us = c->keep_us}};
}

/* ---- one log entry ------------------------------------------------------- */

static wb_code react_log(wb_call *call, const wbi_flow_scope *scope, int row,
			 const char *before, const char *after,
			 const wbi_flow_words *out, wb_error *err)
{
	char what[128];
	wbi_saga_entry entry = {
		.time_us = call->now_us,
		.step = wb_str_from(
			scope->choreography->flow->rows[row].reaction->step),
		.in = call->event ? call->event->type : wb_str_from("timer"),
		.in_id = call->event ? call->event->id : WB_STR_NULL,
		.out = wb_str_n(out->text, out->len),
		.text = out->why};

	snprintf(what, sizeof(what), "%s -> %s", before, after);
	entry.what = wb_str_from(what);
	return wbi_flow_note(scope, &entry, err);
}

/* ---- waiting ------------------------------------------------------------- */

static wb_code react_wait(wb_call *call, const wbi_flow_scope *scope, int row,
			  wb_error *err)
{
	const wb_reaction *r = scope->choreography->flow->rows[row].reaction;
	char name[256];
	uint8_t since[8];

	wbi_put_be64(since, (uint64_t)call->now_us);
	wbi_flow_timer_name(scope->saga, r->step, name);
	return wb_timer_set(call, wb_str_from(name),
			    call->now_us + (int64_t)r->within_ms * 1000,
			    wb_str_n(since, sizeof(since)), err);
}

static wb_code react_wait_no_more(wb_call *call, const wbi_flow_scope *scope,
				  int row, wb_error *err)
{
	char name[256];
	const wb_reaction *r = scope->choreography->flow->rows[row].reaction;
	wb_code code;

	wbi_flow_timer_name(scope->saga, r->step, name);
	code = wb_timer_cancel(call, wb_str_from(name), err);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* Steps of ours that have waited for this event need not any more. */
static wb_code react_heard(wb_call *call, const wbi_flow_scope *scope,
			   int event, wb_error *err)
{
	const wb_choreography *c = scope->choreography;
	static const wbi_flow_words nothing = {.len = 0};
	wb_code code = WB_OK;

	for (int i = 0; i < c->flow->row_count && code == WB_OK; i++) {
		wbi_barrier row;

		if (!c->own[i] || !c->flow->rows[i].awaits[event])
			continue;
		code = wbi_flow_step_get(scope, i, &row, err);
		if (code == WB_ENOTFOUND) {
			code = WB_OK;
			continue;
		}
		if (code != WB_OK || row.state != WB_STEP_DONE ||
		    row.reply_to.len == 0)
			continue;
		row.reply_to = WB_STR_NULL;
		code = wbi_flow_step_put(scope, i, &row, err);
		if (code == WB_OK)
			code = react_wait_no_more(call, scope, i, err);
		if (code == WB_OK)
			code = react_log(call, scope, i, "waiting", "heard",
					 &nothing, err);
	}
	return code;
}

/* ---- running a binding --------------------------------------------------- */

static wbi_flow_call react_call(const wbi_flow_scope *scope, int row)
{
	return (wbi_flow_call){.kind = WBI_EXTRA_FLOW,
			       .choreography = scope->choreography,
			       .row = row,
			       .saga = scope->saga};
}

/* It takes `action` back: with what that kept. */
static wb_code react_call_undoes(wbi_flow_call *f, const wbi_barrier *action,
				 wb_error *err)
{
	char *kept = wbi_text_dup(action->undo);

	if (!kept)
		return WBI_FAIL(err, WB_ENOMEM, "flow: out of memory");
	f->kept = wb_str_n(kept, action->undo.len);
	f->undoing = (wb_step_state)action->state;
	return WB_OK;
}

static void react_call_fini(wbi_flow_call *f)
{
	free(f->keep);
	free(f->refusal);
	free((void *)(uintptr_t)f->kept.ptr);
}

/* With what a binding sees: its service's handler, its flow call. */
static wb_code react_bound(wb_call *call, wbi_flow_call *f,
			   wb_code (*run)(wb_call *, const wb_event *,
					  wb_error *),
			   const wb_event *event, wb_error *err)
{
	const wb_handler *handler = call->handler;
	void *extra = call->extra;
	wb_code code;

	call->handler = &f->choreography->facade;
	call->extra = f;
	code = run(call, event, err);
	call->extra = extra;
	call->handler = handler;
	return code;
}

/* In a nested transaction, so that a refusal takes back what was written. */
static wb_code react_nested(wb_call *call, wbi_flow_call *f,
			    const wb_flow_binding *binding, wb_error *why)
{
	wbi_call_nest nest;
	wb_code code = wbi_call_nest_begin(call, &nest, why);

	if (code != WB_OK)
		return code;
	code = react_bound(call, f, binding->run, call->event, why);
	code = wbi_call_nest_end(call, &nest, code, why);
	if (code != WB_OK)
		f->out.len = 0;
	return code;
}

/* `refuses` or `silence`: said for the service, with what data it gave. */
static wb_code react_say(wb_call *call, wbi_flow_call *f, wb_str type,
			 wb_error *err)
{
	wb_header headers[1];
	wb_event e = {.type = type};

	if (f->refusal) {
		e.content_type = wb_str_n(f->refusal, f->refusal_type_len);
		e.data = wb_str_n(f->refusal + f->refusal_type_len,
				  f->refusal_len);
	}
	e = wbi_flow_event(&e, f->saga, headers);
	wbi_flow_words_add(&f->out, type);
	return wb_emit(call, &e, err);
}

/* ---- an action ----------------------------------------------------------- */

static wb_code react_refused(wb_call *call, const wbi_flow_scope *scope,
			     wbi_flow_call *f, const wbi_barrier_id *id,
			     const wb_error *why, wb_error *err)
{
	const wb_reaction *r = scope->choreography->flow->rows[f->row].reaction;
	wbi_barrier row = {.state = WB_STEP_REFUSED,
			   .text = wb_str_from(why->text)};
	const char *rest = r->refuses;
	wb_str type;
	wb_code code = WB_OK;

	while (code == WB_OK && wbi_flow_next_type(&rest, &type))
		code = react_say(call, f, type, err);
	if (code == WB_OK)
		code = wbi_barrier_acted(&scope->barrier, id, &row, err);
	f->out.why = row.text;
	if (code == WB_OK)
		code = react_log(call, scope, f->row, "none", "refused",
				 &f->out, err);
	return code;
}

static wb_code react_acted(wb_call *call, const wbi_flow_scope *scope,
			   wbi_flow_call *f, const wbi_barrier_id *id,
			   wb_error *err)
{
	const wb_reaction *r = scope->choreography->flow->rows[f->row].reaction;
	wbi_barrier row = {.state = f->pending ? WB_STEP_PENDING : WB_STEP_DONE,
			   .undo = wb_str_n(f->keep, f->keep_len)};
	wb_code code;

	if (!f->pending && r->awaits)
		row.reply_to = wb_str_from(r->awaits);
	code = wbi_barrier_acted(&scope->barrier, id, &row, err);
	if (code == WB_OK && (f->pending || r->awaits))
		code = react_wait(call, scope, f->row, err);
	if (code == WB_OK)
		code = react_log(call, scope, f->row, "none",
				 wbi_step_state_name(row.state), &f->out, err);
	return code;
}

static wb_code react_do(wb_call *call, const wbi_flow_scope *scope, int at,
			wb_error *err)
{
	static const wbi_flow_words nothing = {.len = 0};
	wb_choreography *c = scope->choreography;
	char text[WBI_BARRIER_STEP_MAX + 1];
	wbi_barrier_id id =
		wbi_flow_barrier_id(scope, at, WBI_BARRIER_DO, text);
	wbi_flow_call f = react_call(scope, at);
	wbi_barrier_answer answer = WBI_BARRIER_GO;
	wb_error why = WB_ERROR_INIT;
	wbi_barrier old;
	wb_code code =
		wbi_barrier_ask(&scope->barrier, &id, 0, &answer, &old, err);

	if (code != WB_OK)
		return code;
	if (answer != WBI_BARRIER_GO)
		return react_log(call, scope, at,
				 old.tombstone ? "undone before it came"
					       : wbi_step_state_name(old.state),
				 old.tombstone ? "refused" : "the same",
				 &nothing, err);
	if (c->flow->rows[at].reaction->refuses)
		code = react_nested(call, &f, c->bindings[at], &why);
	else
		code = react_bound(call, &f, c->bindings[at]->run, call->event,
				   &why);
	if (code == WB_OK)
		code = react_acted(call, scope, &f, &id, err);
	else if (c->flow->rows[at].reaction->refuses &&
		 call->trouble == WB_OK &&
		 wbi_error_class(code, &why) == WB_CLASS_REJECT)
		code = react_refused(call, scope, &f, &id, &why, err);
	else
		wbi_error_pass(err, &why);
	react_call_fini(&f);
	return code;
}

/* ---- an undo ------------------------------------------------------------- */

static wb_code react_undo(wb_call *call, const wbi_flow_scope *scope, int at,
			  wb_error *err)
{
	wb_choreography *c = scope->choreography;
	int undone = c->flow->rows[at].undoes;
	char text[WBI_BARRIER_STEP_MAX + 1];
	wbi_barrier_id id =
		wbi_flow_barrier_id(scope, undone, WBI_BARRIER_UNDO, text);
	wbi_flow_call f = react_call(scope, at);
	wbi_barrier_answer answer = WBI_BARRIER_GO;
	wbi_barrier row = {.state = WB_STEP_DONE}, action;
	wb_code code =
		wbi_barrier_ask(&scope->barrier, &id, 0, &answer, &action, err);

	if (code == WB_OK && answer != WBI_BARRIER_GO)
		return react_log(call, scope, at, "nothing to undo",
				 answer == WBI_BARRIER_NOTHING
					 ? "its action is forbidden"
					 : "the same",
				 &f.out, err);
	if (code == WB_OK)
		code = react_call_undoes(&f, &action, err);
	if (code == WB_OK)
		code = react_bound(call, &f, c->bindings[at]->run, call->event,
				   err);
	if (code == WB_OK)
		code = wbi_barrier_undone(&scope->barrier, &id, &row, err);
	if (code == WB_OK)
		code = react_wait_no_more(call, scope, undone, err);
	if (code == WB_OK)
		code = react_log(call, scope, undone,
				 wbi_step_state_name((uint8_t)f.undoing),
				 "undone", &f.out, err);
	react_call_fini(&f);
	return code;
}

/* ---- the handler --------------------------------------------------------- */

static wb_str react_saga(const wb_event *event)
{
	wb_str saga = wb_event_header(event, "wbsaga");

	return saga.len > 0 ? saga : event->correlation_id;
}

wb_code wbi_flow_handle(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_choreography *c = call->handler->ctx;
	wb_str saga = react_saga(event);
	int type = wbi_flow_event_of(c->flow, event->type);
	wbi_flow_scope scope;
	wb_code code;

	if (saga.len == 0 || saga.len > WBI_SAGA_ID_MAX)
		return wb_reject(
			err,
			"flow %s: the event names no saga: its "
			"attribute wbsaga, or else its correlation id, "
			"must have 1 to %d bytes, it has %zu",
			c->part->flow->name, WBI_SAGA_ID_MAX, saga.len);
	/* It waited, or was a dead letter, from before the flow was changed. */
	if (type < 0)
		return WB_OK;
	wbi_flow_scope_of(call, saga, &scope);
	code = wbi_barrier_prune(&scope.barrier, WBI_FLOW_PRUNE, err);
	if (code == WB_OK)
		code = react_heard(call, &scope, type, err);
	for (int i = 0; i < c->flow->row_count && code == WB_OK; i++) {
		if (!c->own[i] || c->flow->rows[i].on != type)
			continue;
		code = c->flow->rows[i].undoes >= 0
			       ? react_undo(call, &scope, i, err)
			       : react_do(call, &scope, i, err);
	}
	return code;
}

/* ---- silence ------------------------------------------------------------- */

/* Time is up: take the step back, and say so to the others. */
static wb_code react_silence(wb_call *call, const wbi_flow_scope *scope, int at,
			     const wbi_barrier *action, wb_error *err)
{
	wb_choreography *c = scope->choreography;
	const wb_reaction *r = c->flow->rows[at].reaction;
	char text[WBI_BARRIER_STEP_MAX + 1];
	wbi_barrier_id id =
		wbi_flow_barrier_id(scope, at, WBI_BARRIER_UNDO, text);
	wbi_flow_call f = react_call(scope, at);
	wbi_barrier row = {.state = WB_STEP_DONE};
	wb_code code = react_call_undoes(&f, action, err);

	if (code == WB_OK && c->bindings[at] && c->bindings[at]->expire)
		code = react_bound(call, &f, c->bindings[at]->expire, NULL,
				   err);
	if (code == WB_OK)
		code = wbi_barrier_undone(&scope->barrier, &id, &row, err);
	if (code == WB_OK)
		code = react_say(call, &f, wb_str_from(r->silence), err);
	if (code == WB_OK)
		code = react_log(call, scope, at,
				 wbi_step_state_name((uint8_t)f.undoing),
				 "undone", &f.out, err);
	react_call_fini(&f);
	return code;
}

/* "SAGA/STEP" */
static int react_timer_row(const wb_choreography *c, wb_str name,
			   wb_str *ret_saga)
{
	size_t slash = name.len;

	while (slash > 0 && name.ptr[slash - 1] != '/')
		slash--;
	if (slash < 2)
		return WBI_FLOW_EVENT_NONE;
	*ret_saga = wb_str_n(name.ptr, slash - 1);
	return wbi_flow_row_of(c->flow,
			       wb_str_n(name.ptr + slash, name.len - slash));
}

wb_code wbi_flow_timer(wb_call *call, const wb_timer *timer, wb_error *err)
{
	static const wbi_flow_words nothing = {.len = 0};
	wb_choreography *c = call->handler->ctx;
	wb_str saga = WB_STR_NULL;
	int at = react_timer_row(c, timer->name, &saga);
	wbi_flow_scope scope;
	wbi_barrier row;
	bool waits;
	wb_code code;

	if (at < 0 && wbi_flow_is_order(timer))
		return wbi_flow_order(call, timer, err);
	if (at < 0 || !c->own[at] || timer->data.len != 8)
		return WB_OK; /* of a step that the flow no longer has */
	wbi_flow_scope_of(call, saga, &scope);
	code = wbi_flow_step_get(&scope, at, &row, err);
	if (code != WB_OK)
		return code == WB_ENOTFOUND ? WB_OK : code;
	waits = row.state == WB_STEP_PENDING ||
		(row.state == WB_STEP_DONE && row.reply_to.len > 0);
	/* Set for another wait than the present one: stale. */
	if (!waits || (uint64_t)row.last_us !=
			      wbi_get_be64((const uint8_t *)timer->data.ptr))
		return WB_OK;
	if (c->flow->rows[at].reaction->silence)
		return react_silence(call, &scope, at, &row, err);
	return react_log(call, &scope, at, "waiting", "overdue", &nothing, err);
}
