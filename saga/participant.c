/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A participant's handler: a command comes in, the barrier is asked, the
 * service's function runs, the barrier is written and the reply emitted, all in
 * the one transaction that dispatch has open. What a function writes before it
 * rejects is taken back by the nested transaction it runs in.
 *
 * A crash leaves a command carried out, with its row and its reply, or not at
 * all. On the worker's thread; pending commands are answered from any
 * transaction of the store.
 */
#include <waybill/participant.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <waybill/choreography.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "saga/barrier.h"
#include "saga/extra.h"
#include "saga/machine.h"

enum {
	PARTICIPANT_COMMANDS_MAX = 256,
	PARTICIPANT_KEEP_MAX = 64 * 1024,
	PARTICIPANT_ATTEMPTS = 100, /* of one that wants to be tried again */
	PARTICIPANT_PRUNE = 2
};

#define PARTICIPANT_KEEP_S UINT64_C(2592000) /* 30 days */

typedef struct participant {
	wb_handler handler; /* first: it is what is handed out */
	wb_handler facade;
	const wb_participant *declared;
	const char **types;
	int64_t keep_us;
} participant;

typedef enum command_op { COMMAND_DO, COMMAND_UNDO, COMMAND_PROBE } command_op;

/* What wb_call.extra is in a call of a command. */
typedef struct command_call {
	wbi_extra kind;
	participant *p;
	const wb_command *command;
	const wb_event *event;
	command_op op;
	wbi_barrier_scope scope;
	wb_str saga, step, kept;
	uint32_t epoch;
	char *reply_type, *reply, *keep; /* own memory */
	size_t reply_len, keep_len;
	bool pending;
} command_call;

/* ---- replies ------------------------------------------------------------- */

typedef struct reply {
	const char *command, *op, *outcome;
	wb_str saga, step, reason, content_type, data, reply_to;
	uint32_t epoch;
} reply;

/* The event of a reply, into *ret; borrows from `r` and the arrays. */
static void reply_event(const reply *r, wb_header headers[6], char epoch[16],
			char type[WBI_REPLY_TYPE_MAX + 1], wb_event *ret)
{
	size_t count = 0;

	snprintf(epoch, 16, "%" PRIu32, r->epoch);
	wbi_reply_type(r->command, type);
	headers[count++] = (wb_header){wb_str_from("wbsaga"), r->saga};
	headers[count++] = (wb_header){wb_str_from("wbstep"), r->step};
	headers[count++] = (wb_header){wb_str_from("wbop"), wb_str_from(r->op)};
	headers[count++] =
		(wb_header){wb_str_from("wbepoch"), wb_str_from(epoch)};
	headers[count++] =
		(wb_header){wb_str_from("wboutcome"), wb_str_from(r->outcome)};
	if (r->reason.len > 0)
		headers[count++] =
			(wb_header){wb_str_from("wbreason"), r->reason};
	*ret = (wb_event){.type = wb_str_from(type),
			  .key = r->saga,
			  .correlation_id = r->saga,
			  .content_type = r->content_type,
			  .reply_to = r->reply_to,
			  .headers = headers,
			  .header_count = count,
			  .data = r->data};
}

/* A reason goes into a header: clean, and not longer than one may be. */
static wb_str reply_reason(wb_str text, char ret[256])
{
	return wb_str_from(wbi_text_show(text, ret, 256));
}

static const char *reply_op(command_op op)
{
	return op == COMMAND_DO ? "do" : op == COMMAND_UNDO ? "undo" : "probe";
}

static const char *reply_command(const command_call *c)
{
	return c->op == COMMAND_DO     ? c->command->type
	       : c->op == COMMAND_UNDO ? c->command->undo
				       : c->command->probe;
}

static wb_code command_answer(wb_call *call, const command_call *c,
			      const char *outcome, wb_str reason,
			      wb_str content_type, wb_str data, wb_error *err)
{
	reply r = {.command = reply_command(c),
		   .op = reply_op(c->op),
		   .outcome = outcome,
		   .saga = c->saga,
		   .step = c->step,
		   .reason = reason,
		   .content_type = content_type,
		   .data = data,
		   .reply_to = c->event->reply_to,
		   .epoch = c->epoch};
	char epoch[16], type[WBI_REPLY_TYPE_MAX + 1];
	wb_header headers[6];
	wb_event event;

	if (r.reply_to.len == 0)
		return WB_OK; /* nobody wants to know */
	reply_event(&r, headers, epoch, type, &event);
	return wb_emit(call, &event, err);
}

/* Again what the barrier remembers. */
static wb_code command_again(wb_call *call, const command_call *c,
			     const wbi_barrier *row, wb_error *err)
{
	char reason[256];

	switch (row->state) {
	case WB_STEP_DONE:
		return command_answer(call, c, "done", WB_STR_NULL,
				      row->reply_content_type, row->reply, err);
	case WB_STEP_PENDING:
		return command_answer(call, c, "pending", WB_STR_NULL,
				      WB_STR_NULL, WB_STR_NULL, err);
	default:
		return command_answer(
			call, c, "rejected",
			row->tombstone ? wb_str_from("undone before it came")
			: row->state == WB_STEP_UNDONE
				? wb_str_from("undone")
				: reply_reason(row->text, reason),
			row->reply_content_type, row->reply, err);
	}
}

/* ---- running ------------------------------------------------------------- */

/* In a nested transaction. *why: how it ended. */
static wb_code command_run(wb_call *call, command_call *c, wb_error *why)
{
	wb_command_fn fn =
		c->op == COMMAND_UNDO ? c->command->run_undo : c->command->run;
	const wb_handler *handler = call->handler;
	wbi_call_nest nest;
	wb_code code = wbi_call_nest_begin(call, &nest, why);

	if (code != WB_OK)
		return code;
	call->extra = c;
	call->handler = &c->p->facade;
	code = fn(call, c->event, why);
	call->handler = handler;
	call->extra = NULL;
	code = wbi_call_nest_end(call, &nest, code, why);
	return call->trouble != WB_OK ? call->trouble : code;
}

/* It was, or has been tried often enough: that is an answer, too, and nothing
 * of the saga waits behind it then. What wants room is not its fault. */
static bool command_is_rejected(const wb_call *call, wb_code code,
				const wb_error *why)
{
	wb_class class = wbi_error_class(code, why);

	if (code == WB_OK || call->trouble != WB_OK)
		return false;
	return class == WB_CLASS_REJECT ||
	       (class == WB_CLASS_RETRY && !wbi_wants_room(code) &&
		call->attempt >= PARTICIPANT_ATTEMPTS);
}

static wb_code command_do(wb_call *call, command_call *c, wb_error *err)
{
	wbi_barrier_id id = {c->saga, c->step, WBI_BARRIER_DO};
	wb_error why = WB_ERROR_INIT;
	wbi_barrier row = {.state = WB_STEP_DONE,
			   .epoch = c->epoch,
			   .reply_type = wb_str_from(c->command->type),
			   .reply_to = c->event->reply_to};
	const char *outcome = "done";
	char reason[256] = "";
	wb_code code = command_run(call, c, &why);

	if (code != WB_OK && !command_is_rejected(call, code, &why)) {
		wbi_error_pass(err, &why);
		return code;
	}
	if (code != WB_OK) {
		row.state = WB_STEP_REFUSED;
		row.text = reply_reason(wb_str_from(why.text), reason);
		outcome = "rejected";
	} else if (c->pending) {
		row.state = WB_STEP_PENDING;
		outcome = "pending";
	}
	row.reply_content_type = wb_str_from(c->reply_type);
	row.reply = wb_str_n(c->reply, c->reply_len);
	row.undo = wb_str_n(c->keep, c->keep_len);
	code = wbi_barrier_acted(&c->scope, &id, &row, err);
	if (code == WB_OK)
		code = command_answer(
			call, c, outcome, row.text, row.reply_content_type,
			c->pending ? WB_STR_NULL : row.reply, err);
	return code;
}

static wb_code command_undo(wb_call *call, command_call *c,
			    const wbi_barrier *action, wb_error *err)
{
	wbi_barrier_id id = {c->saga, c->step, WBI_BARRIER_UNDO};
	wbi_barrier row = {.state = WB_STEP_DONE, .epoch = c->epoch};
	wb_error why = WB_ERROR_INIT;
	char reason[256];
	char *kept = wbi_text_dup(action->undo);
	wb_code code;

	if (!kept)
		return WBI_FAIL(err, WB_ENOMEM, "participant: out of memory");
	c->kept = wb_str_n(kept, action->undo.len);
	code = command_run(call, c, &why);
	free(kept);
	if (command_is_rejected(call, code, &why))
		return command_answer(
			call, c, "rejected",
			reply_reason(wb_str_from(why.text), reason),
			wb_str_from(c->reply_type),
			wb_str_n(c->reply, c->reply_len), err);
	if (code != WB_OK) {
		wbi_error_pass(err, &why);
		return code;
	}
	row.reply_content_type = wb_str_from(c->reply_type);
	row.reply = wb_str_n(c->reply, c->reply_len);
	code = wbi_barrier_undone(&c->scope, &id, &row, err);
	if (code == WB_OK)
		code = command_answer(call, c, "done", WB_STR_NULL,
				      row.reply_content_type, row.reply, err);
	return code;
}

static wb_code command_probe(wb_call *call, command_call *c, wb_error *err)
{
	wbi_barrier_id id = {c->saga, c->step, WBI_BARRIER_DO};
	wbi_barrier row;
	wb_code code = wbi_barrier_forbid(&c->scope, &id, c->epoch, err);

	if (code == WB_OK)
		return command_answer(call, c, "rejected",
				      wb_str_from("it never came"), WB_STR_NULL,
				      WB_STR_NULL, err);
	if (code != WB_EEXISTS)
		return code;
	code = wbi_barrier_get(c->scope.txn, c->scope.tables, &id, &row, err);
	return code == WB_OK ? command_again(call, c, &row, err) : code;
}

static wb_code command_ask(wb_call *call, command_call *c, wb_error *err)
{
	wbi_barrier_id id = {c->saga, c->step,
			     c->op == COMMAND_DO ? WBI_BARRIER_DO
						 : WBI_BARRIER_UNDO};
	wbi_barrier_answer answer = WBI_BARRIER_GO;
	wbi_barrier row;
	wb_code code =
		wbi_barrier_ask(&c->scope, &id, c->epoch, &answer, &row, err);

	if (code != WB_OK)
		return code;
	switch (answer) {
	case WBI_BARRIER_GO:
		return c->op == COMMAND_DO ? command_do(call, c, err)
					   : command_undo(call, c, &row, err);
	case WBI_BARRIER_STALE:
		return command_answer(call, c, "late",
				      wb_str_from("of an older epoch"),
				      WB_STR_NULL, WB_STR_NULL, err);
	case WBI_BARRIER_NOTHING:
		return command_answer(call, c, "done",
				      wb_str_from("there was nothing to undo"),
				      WB_STR_NULL, WB_STR_NULL, err);
	case WBI_BARRIER_DUPLICATE:
	case WBI_BARRIER_REFUSED:
		break;
	}
	return command_again(call, c, &row, err);
}

/* ---- the handler --------------------------------------------------------- */

static bool command_of(const participant *p, wb_str type, command_call *ret)
{
	for (size_t i = 0; i < p->declared->count; i++) {
		const wb_command *c = &p->declared->commands[i];

		ret->command = c;
		ret->op = COMMAND_DO;
		if (wb_str_eq(type, wb_str_from(c->type)))
			return true;
		ret->op = COMMAND_UNDO;
		if (c->undo && wb_str_eq(type, wb_str_from(c->undo)))
			return true;
		ret->op = COMMAND_PROBE;
		if (c->probe && wb_str_eq(type, wb_str_from(c->probe)))
			return true;
	}
	return false;
}

static uint32_t command_epoch(wb_str text)
{
	uint64_t n = 0;

	for (size_t i = 0; i < text.len && i < 10; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return 0;
		n = n * 10 + (uint64_t)(text.ptr[i] - '0');
	}
	return n <= UINT32_MAX ? (uint32_t)n : 0;
}

static wb_code participant_handle(wb_call *call, const wb_event *event,
				  wb_error *err)
{
	participant *p = call->handler->ctx;
	command_call c = {.kind = WBI_EXTRA_COMMAND, .p = p, .event = event};
	int64_t deadline_us;
	wb_code code;

	if (!command_of(p, event->type, &c))
		return WB_OK;
	c.saga = wb_event_header(event, "wbsaga");
	c.step = wb_event_header(event, "wbstep");
	c.epoch = command_epoch(wb_event_header(event, "wbepoch"));
	if (c.saga.len == 0 || c.saga.len > WBI_SAGA_ID_MAX ||
	    c.step.len == 0 || c.step.len > WBI_SAGA_STEP_MAX)
		return wb_reject(err,
				 "a command needs the attributes wbsaga (1 to "
				 "%d bytes) and wbstep (1 to %d)",
				 WBI_SAGA_ID_MAX, WBI_SAGA_STEP_MAX);
	c.scope = (wbi_barrier_scope){
		.txn = wb_call_txn(call),
		.tables = wbi_store_get_tables(wb_call_store(call)),
		.now_us = wb_call_now_us(call),
		.keep_us = p->keep_us};
	code = wbi_barrier_prune(&c.scope, PARTICIPANT_PRUNE, err);
	if (code != WB_OK)
		return code;
	if (wbi_time_parse(wb_event_header(event, "wbdeadline"),
			   &deadline_us) &&
	    c.scope.now_us > deadline_us && c.op != COMMAND_UNDO)
		return command_answer(call, &c, "late",
				      wb_str_from("past its deadline"),
				      WB_STR_NULL, WB_STR_NULL, err);
	code = c.op == COMMAND_PROBE ? command_probe(call, &c, err)
				     : command_ask(call, &c, err);
	free(c.reply_type);
	free(c.reply);
	free(c.keep);
	return code;
}

static wb_code participant_open(const wb_handler *self, wb_store *store,
				MDB_txn *txn, void **ret_state, wb_error *err)
{
	participant *p = self->ctx;

	return p->declared->open(&p->facade, store, txn, ret_state, err);
}

static wb_code participant_check(const wb_participant *p, wb_error *err)
{
	if (!p || p->size != sizeof(*p) || !p->name || !p->commands ||
	    p->count == 0 || p->count > PARTICIPANT_COMMANDS_MAX)
		return WBI_FAIL(
			err, WB_EINVAL,
			"participant: start from WB_PARTICIPANT_INIT; a "
			"name and 1 to %d commands are needed",
			PARTICIPANT_COMMANDS_MAX);
	for (size_t i = 0; i < p->count; i++) {
		const wb_command *c = &p->commands[i];

		if (!c->type || !c->run || !c->undo != !c->run_undo)
			return WBI_FAIL(
				err, WB_EINVAL,
				"participant %s: command %zu (%s) needs "
				"a type and a function, and both for "
				"its undo or neither",
				p->name, i + 1, c->type ? c->type : "");
		if (!wbi_command_fits(c->type) || !wbi_command_fits(c->undo) ||
		    !wbi_command_fits(c->probe))
			return WBI_FAIL(
				err, WB_EINVAL,
				"participant %s: command %zu (%.64s): its "
				"type, undo and probe have %d bytes at most, "
				"as the type of a reply adds \".reply\"",
				p->name, i + 1, c->type, WBI_COMMAND_TYPE_MAX);
	}
	return WB_OK;
}

wb_code wb_participant_handler(const wb_participant *declared,
			       const wb_handler **ret, wb_error *err)
{
	wb_code code = participant_check(declared, err);
	participant *p;
	size_t n = 0;

	if (code != WB_OK)
		return code;
	p = calloc(1, sizeof(*p));
	if (p)
		p->types = calloc(3 * declared->count + 1, sizeof(*p->types));
	if (!p || !p->types) {
		free(p);
		return WBI_FAIL(err, WB_ENOMEM, "participant: out of memory");
	}
	for (size_t i = 0; i < declared->count; i++) {
		const wb_command *c = &declared->commands[i];

		p->types[n++] = c->type;
		if (c->undo)
			p->types[n++] = c->undo;
		if (c->probe)
			p->types[n++] = c->probe;
	}
	p->declared = declared;
	p->keep_us = (int64_t)((declared->keep_s ? declared->keep_s
						 : PARTICIPANT_KEEP_S) *
			       1000000);
	p->handler = (wb_handler)WB_HANDLER_INIT;
	p->handler.name = declared->name;
	p->handler.types = p->types;
	p->handler.hears = WB_HEARS_COMMANDS;
	p->handler.attempts_max = PARTICIPANT_ATTEMPTS;
	p->handler.backoff_min_ms = declared->backoff_min_ms;
	p->handler.backoff_max_ms =
		declared->backoff_max_ms ? declared->backoff_max_ms : 60000;
	p->handler.handle = participant_handle;
	p->handler.open = declared->open ? participant_open : NULL;
	p->handler.close = declared->close;
	p->handler.ctx = p;
	p->facade = p->handler;
	p->facade.ctx = declared->ctx;
	*ret = &p->handler;
	return WB_OK;
}

void wb_participant_handler_free(const wb_handler *handler)
{
	participant *p = (participant *)(uintptr_t)handler;

	if (!p)
		return;
	free(p->types);
	free(p);
}

/* ---- in a call of a command ---------------------------------------------- */

static command_call *command_extra(const wb_call *call, const char *where,
				   wb_error *err)
{
	command_call *c = wbi_extra_of(call, WBI_EXTRA_COMMAND);

	if (!c)
		wb_error_set(err, WB_EINVAL, 0, where,
			     "not a call of a command");
	return c;
}

wb_str wb_command_saga(const wb_call *call)
{
	const command_call *c = command_extra(call, __func__, NULL);

	return c ? c->saga : WB_STR_NULL;
}

wb_str wb_command_step(const wb_call *call)
{
	const command_call *c = command_extra(call, __func__, NULL);

	return c ? c->step : WB_STR_NULL;
}

wb_str wb_command_kept(const wb_call *call)
{
	const command_call *c = command_extra(call, __func__, NULL);

	return c ? c->kept : WB_STR_NULL;
}

static wb_code command_copy(wb_str from, char **ret, size_t *ret_len,
			    wb_error *err)
{
	char *copy;

	if (from.len > PARTICIPANT_KEEP_MAX)
		return WBI_FAIL(err, WB_ELIMIT, "%zu bytes; 64 KiB at most",
				from.len);
	copy = wbi_text_dup(from);
	if (!copy)
		return WBI_FAIL(err, WB_ENOMEM, "participant: out of memory");
	free(*ret);
	*ret = copy;
	if (ret_len)
		*ret_len = from.len;
	return WB_OK;
}

wb_code wb_reply(wb_call *call, wb_str content_type, wb_str data, wb_error *err)
{
	command_call *c = command_extra(call, __func__, err);
	wb_code code;

	if (!c)
		return WB_EINVAL;
	if (content_type.len > 255)
		return WBI_FAIL(err, WB_ELIMIT,
				"a content type of %zu bytes; 255 at most",
				content_type.len);
	code = command_copy(content_type, &c->reply_type, NULL, err);
	return code == WB_OK ? command_copy(data, &c->reply, &c->reply_len, err)
			     : code;
}

wb_code wb_command_keep(wb_call *call, wb_str undo, wb_error *err)
{
	command_call *c = command_extra(call, __func__, err);

	return c ? command_copy(undo, &c->keep, &c->keep_len, err) : WB_EINVAL;
}

/* ---- later --------------------------------------------------------------- */

wb_code wb_reply_pending(wb_call *call, char ret_token[WB_REPLY_TOKEN_MAX + 1],
			 wb_error *err)
{
	command_call *c = command_extra(call, __func__, err);

	if (!c)
		return WB_EINVAL;
	if (c->op != COMMAND_DO)
		return WBI_FAIL(err, WB_EINVAL,
				"an undo cannot be answered "
				"later");
	c->pending = true;
	snprintf(ret_token, WB_REPLY_TOKEN_MAX + 1, "%.*s/%.*s",
		 (int)c->step.len, c->step.ptr, (int)c->saga.len, c->saga.ptr);
	return WB_OK;
}

static wb_code later_emit(wb_store *store, MDB_txn *txn,
			  const wbi_barrier_id *id, const wbi_barrier *row,
			  const char *command, wb_str content_type, wb_str data,
			  wb_error *err)
{
	bool done = row->state == WB_STEP_DONE;
	reply r = {.command = command,
		   .op = "do",
		   .outcome = done ? "done" : "rejected",
		   .saga = id->saga,
		   .step = id->step,
		   .content_type = content_type,
		   .data = data,
		   .reply_to = row->reply_to,
		   .epoch = row->epoch};
	char epoch[16], type[WBI_REPLY_TYPE_MAX + 1];
	wb_header headers[6];
	wb_event event;
	wb_outbox *outbox;
	wb_code code = wb_outbox_open(store, NULL, &outbox, err);

	if (code != WB_OK)
		return code;
	reply_event(&r, headers, epoch, type, &event);
	code = wb_outbox_append(outbox, txn, &event, NULL, err);
	wb_outbox_close(outbox);
	return code;
}

wb_code wb_reply_later(wb_store *store, MDB_txn *txn, const char *token,
		       bool done, wb_str content_type, wb_str data,
		       wb_error *err)
{
	const char *slash = token ? strchr(token, '/') : NULL;
	wbi_barrier_id id = {.op = WBI_BARRIER_DO};
	wbi_barrier_scope scope;
	char command[256], reply_to[256];
	wbi_barrier row;
	wb_code code;

	if (!store || !txn || !slash || content_type.len > 255 ||
	    data.len > PARTICIPANT_KEEP_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"reply: a store, a transaction, a token and at "
				"most 64 KiB are needed");
	id.step = wb_str_n(token, (size_t)(slash - token));
	id.saga = wb_str_from(slash + 1);
	if (id.step.len == 0 || id.step.len > WBI_SAGA_STEP_MAX ||
	    id.saga.len == 0 || id.saga.len > WBI_SAGA_ID_MAX)
		return WBI_FAIL(err, WB_ENOTFOUND, "reply: no such token");
	scope = (wbi_barrier_scope){.txn = txn,
				    .tables = wbi_store_get_tables(store),
				    .keep_us = (int64_t)PARTICIPANT_KEEP_S *
					       1000000};
	scope.now_us =
		wbi_store_clock(store)->real_us(wbi_store_clock(store)->ctx);
	code = wbi_barrier_get(txn, scope.tables, &id, &row, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ENOTFOUND, "reply: no such token");
	if (code == WB_OK && row.state != WB_STEP_PENDING)
		return WBI_FAIL(
			err, WB_ESTATE,
			"reply: step %.*s of saga %.*s is not pending: "
			"it was answered, or undone; take back what was "
			"done for it",
			(int)id.step.len, id.step.ptr, (int)id.saga.len,
			id.saga.ptr);
	if (code != WB_OK)
		return code;
	snprintf(command, sizeof(command), "%.*s", (int)row.reply_type.len,
		 row.reply_type.ptr);
	snprintf(reply_to, sizeof(reply_to), "%.*s", (int)row.reply_to.len,
		 row.reply_to.ptr);
	row.state = done ? WB_STEP_DONE : WB_STEP_REFUSED;
	row.reply_content_type = content_type;
	row.reply = data;
	code = wbi_barrier_acted(&scope, &id, &row, err);
	row.reply_to = wb_str_from(reply_to); /* the row has moved */
	if (code == WB_OK && row.reply_to.len > 0)
		code = later_emit(store, txn, &id, &row, command, content_type,
				  data, err);
	return code;
}
