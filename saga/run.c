/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One input to a saga and all that follows from it: the machine says what to
 * do (machine.h), here it is done, in the transaction of the call. Commands are
 * events of the outbox, waits are timers; a local step runs at once, in a
 * nested transaction, and its outcome is the next input. At the end the row is
 * written once.
 *
 * So a crash leaves the saga before the input or behind all of it. On the
 * worker's thread; the copy of what the row says lives as long as the run.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "inbox/work.h"
#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "saga/orchestrator.h"

enum { RUN_ROUNDS_MAX = 4 * WBI_SAGA_STEPS_MAX };

typedef struct run {
	wb_call *call;
	wb_orchestrator *o;
	wbi_saga_id id;
	wbi_saga_row old;             /* numbers only: its strings go stale */
	const wbi_orchestrated *kind; /* NULL: no module brings it */
	wbi_machine machine;
	wbi_saga_call extra;
	char name[WBI_SAGA_NAME_MAX + 1];
	char definition[WBI_SAGA_HASH_LEN + 1];
	char content_type[256];
	char reason[WBI_SAGA_TEXT_MAX + 1];
	char step[WBI_SAGA_STEP_MAX + 1]; /* as it was */
	char out[512];
	size_t out_len;
	int64_t deadline_us;
	const char *refusal; /* of a verb: why not; static */
	/* a local step that is to run */
	bool local;
	uint32_t local_step;
	wbi_op local_op;
	char local_why[WBI_SAGA_TEXT_MAX + 1]; /* it was not done */
} run;

static const wb_step *run_step(const run *r, uint32_t i)
{
	return &r->kind->saga->steps[i];
}

static void run_text(char *ret, size_t size, wb_str text)
{
	size_t len = text.len < size - 1 ? text.len : size - 1;

	if (len > 0)
		memcpy(ret, text.ptr, len);
	ret[len] = '\0';
}

/* ---- load and store ------------------------------------------------------ */

static wb_code run_load(run *r, wb_error *err)
{
	wb_code code = wbi_saga_get(wb_call_txn(r->call), r->o->tables, &r->id,
				    &r->old, err);

	if (code != WB_OK)
		return code;
	code = wbi_machine_decode(r->old.machine, &r->machine, err);
	if (code != WB_OK)
		return code;
	run_text(r->name, sizeof(r->name), r->old.name);
	run_text(r->definition, sizeof(r->definition), r->old.definition);
	run_text(r->content_type, sizeof(r->content_type), r->old.content_type);
	run_text(r->reason, sizeof(r->reason), r->old.reason);
	run_text(r->step, sizeof(r->step), r->old.step);
	r->deadline_us = r->old.deadline_us;
	for (size_t i = 0; i < r->o->count && !r->kind; i++)
		if (!strcmp(r->o->kinds[i].hash, r->definition))
			r->kind = &r->o->kinds[i];
	r->extra.kind = WBI_EXTRA_SAGA;
	r->extra.id = r->id.id;
	r->extra.reason = r->reason;
	r->extra.data_len = r->old.data.len;
	r->extra.data = wbi_text_dup(r->old.data);
	return r->extra.data ? WB_OK
			     : WBI_FAIL(err, WB_ENOMEM, "saga: out of memory");
}

static wbi_barrier_scope run_scope(const run *r)
{
	uint64_t keep_s = r->kind && r->kind->saga->keep_s
				  ? r->kind->saga->keep_s
				  : WBI_SAGA_KEEP_S;

	return (wbi_barrier_scope){.txn = r->call->txn,
				   .tables = r->o->tables,
				   .now_us = r->call->now_us,
				   .keep_us = (int64_t)(keep_s * 1000000)};
}

static void run_awaits(const run *r, wbi_saga_row *row,
		       char text[WBI_REPLY_TYPE_MAX + 1])
{
	const wbi_machine *m = &r->machine;
	const wb_step *step;

	if (m->count == 0 || wbi_saga_status_is_final(m->status))
		return;
	if (m->status == WB_SAGA_PARKED)
		row->awaits = wb_str_from("operator");
	row->step = wb_str_from(r->step);
	if (!r->kind)
		return;
	step = run_step(r, m->current);
	row->step = wb_str_from(step->name);
	if (m->status == WB_SAGA_RUNNING && step->command) {
		wbi_reply_type(m->steps[m->current].at == WBI_AT_PROBING
				       ? step->probe
				       : step->command,
			       text);
		row->awaits = wb_str_from(text);
	} else if (m->status == WB_SAGA_COMPENSATING && step->undo) {
		wbi_reply_type(step->undo, text);
		row->awaits = wb_str_from(text);
	}
}

static wb_code run_store(run *r, wb_error *err)
{
	uint8_t bytes[WBI_MACHINE_BYTES_MAX];
	wbi_barrier_scope scope = run_scope(r);
	wbi_saga_row row = r->old;
	char awaits[WBI_REPLY_TYPE_MAX + 1];
	wb_code code;

	row.status = r->machine.status;
	row.changed_us = row.since_us = r->call->now_us;
	row.deadline_us = r->deadline_us;
	row.name = wb_str_from(r->name);
	row.step = row.awaits = WB_STR_NULL;
	row.reason = wb_str_from(r->reason);
	row.definition = wb_str_from(r->definition);
	row.machine = wb_str_n(bytes, wbi_machine_encode(&r->machine, bytes));
	row.content_type = wb_str_from(r->content_type);
	row.data = wb_str_n(r->extra.data, r->extra.data_len);
	run_awaits(r, &row, awaits);
	code = wbi_saga_put(r->call->txn, r->o->tables, &r->id, &r->old, &row,
			    err);
	if (code == WB_OK && wbi_saga_status_is_final(row.status))
		code = wbi_barrier_saga_ended(&scope, &r->id, err);
	return code;
}

static wb_code run_log(run *r, const wbi_saga_input *in,
		       const wbi_machine *before, wb_error *err)
{
	uint32_t at = before->count ? before->current : 0;
	wbi_saga_entry entry = {.time_us = r->call->now_us,
				.before = before->status,
				.after = r->machine.status,
				.in = in->in,
				.in_id = in->in_id,
				.out = wb_str_n(r->out, r->out_len),
				.text = in->reason};
	char what[96];

	r->out_len = 0;
	if (r->old.entries >= WBI_SAGA_LOG_MAX)
		return WB_OK;
	if (in->order) {
		entry.who = in->order->who;
		entry.why = in->order->why;
	}
	snprintf(what, sizeof(what), "%s -> %s",
		 wbi_at_name(before->steps[at].at),
		 wbi_at_name(r->machine.steps[at].at));
	if (r->kind && r->machine.count)
		entry.step = wb_str_from(run_step(r, at)->name);
	entry.what = wb_str_from(what);
	return wbi_saga_log_add(r->call->txn, r->o->tables, &r->id,
				++r->old.entries, &entry, err);
}

/* ---- actions ------------------------------------------------------------- */

static void run_say(run *r, const char *type)
{
	int len = snprintf(r->out + r->out_len, sizeof(r->out) - r->out_len,
			   "%s%s", r->out_len ? ", " : "", type);

	if (len > 0 && r->out_len + (size_t)len < sizeof(r->out))
		r->out_len += (size_t)len;
}

static wb_code run_send(run *r, const wbi_action *action, wb_error *err)
{
	static const char *const ops[] = {"", "do", "undo", "probe"};
	const wb_step *step = run_step(r, action->step);
	const char *type = action->op == WBI_OP_DO     ? step->command
			   : action->op == WBI_OP_UNDO ? step->undo
						       : step->probe;
	uint32_t wait_ms = step->deadline_ms ? step->deadline_ms : 30000;
	char epoch[16], deadline[WBI_TIME_TEXT_MAX];
	size_t len = wbi_time_format(r->call->now_us + (int64_t)wait_ms * 1000,
				     deadline);
	wb_header headers[5] = {
		{wb_str_from("wbsaga"), r->id.id},
		{wb_str_from("wbstep"), wb_str_from(step->name)},
		{wb_str_from("wbop"), wb_str_from(ops[action->op])},
		{wb_str_from("wbepoch"), WB_STR_NULL},
		{wb_str_from("wbdeadline"), wb_str_n(deadline, len)}};
	wb_event command = {.type = wb_str_from(type),
			    .key = r->id.id,
			    .correlation_id = r->id.id,
			    .content_type = wb_str_from(r->content_type),
			    .reply_to = wb_str_from(r->o->reply_to),
			    .headers = headers,
			    .header_count = 5,
			    .data = wb_str_n(r->extra.data, r->extra.data_len)};

	snprintf(epoch, sizeof(epoch), "%" PRIu32, r->machine.epoch);
	headers[3].value = wb_str_from(epoch);
	run_say(r, type);
	return wb_emit(r->call, &command, err);
}

static wb_code run_timer(run *r, char which, int64_t delay_us, uint32_t serial,
			 wb_error *err)
{
	char name[256];
	uint8_t data[4];
	int64_t due_us = r->call->now_us + delay_us;

	wbi_put_le32(data, serial);
	if (which == 's')
		r->deadline_us = due_us;
	return wb_timer_set(
		r->call,
		wb_str_from(wbi_saga_timer_name(which, r->id.id, name)), due_us,
		wb_str_n(data, sizeof(data)), err);
}

static wb_code run_no_timer(run *r, char which, wb_error *err)
{
	char name[256];
	wb_code code = wb_timer_cancel(
		r->call,
		wb_str_from(wbi_saga_timer_name(which, r->id.id, name)), err);

	if (which == 's')
		r->deadline_us = 0;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code run_action(run *r, const wbi_action *action, wb_error *err)
{
	const wb_step *step;
	uint64_t ms;
	wb_code code;

	switch (action->kind) {
	case WBI_ACTION_TELL:
		step = run_step(r, action->step);
		r->local = wbi_step_is_local(step, action->op);
		r->local_step = action->step;
		r->local_op = action->op;
		return r->local ? WB_OK : run_send(r, action, err);
	case WBI_ACTION_DEADLINE:
		step = run_step(r, action->step);
		if (r->local)
			return WB_OK; /* it is done before this commit */
		return run_timer(r, 's',
				 (int64_t)(step->deadline_ms ? step->deadline_ms
							     : 30000) *
					 1000,
				 r->machine.serial, err);
	case WBI_ACTION_BACKOFF:
		step = run_step(r, action->step);
		return run_timer(
			r, 's',
			wbi_work_backoff_us(
				r->o->random,
				step->backoff_min_ms ? step->backoff_min_ms
						     : 1000,
				step->backoff_max_ms ? step->backoff_max_ms
						     : 60000,
				action->attempts),
			r->machine.serial, err);
	case WBI_ACTION_NO_TIMER:
		return run_no_timer(r, 's', err);
	case WBI_ACTION_SAGA_DEADLINE:
		ms = r->kind->saga->deadline_ms ? r->kind->saga->deadline_ms
						: WBI_SAGA_DEADLINE_MS;
		return run_timer(r, 'd', (int64_t)ms * 1000, 0, err);
	case WBI_ACTION_END:
		code = run_no_timer(r, 's', err);
		return code == WB_OK ? run_no_timer(r, 'd', err) : code;
	}
	return WB_OK;
}

/* ---- functions of the definition ----------------------------------------- */

typedef struct seen_as {
	const wb_handler *handler;
	void *state, *extra;
} seen_as;

/* For the time of a function of the definition, the call is its own. */
static seen_as run_enter(run *r)
{
	wb_call *call = r->call;
	seen_as before = {call->handler, call->state, call->extra};
	void **states = call->state;

	call->handler = &r->kind->facade;
	call->state = states ? states[1 + (r->kind - r->o->kinds)] : NULL;
	call->extra = &r->extra;
	return before;
}

static void run_leave(run *r, seen_as before)
{
	r->call->handler = before.handler;
	r->call->state = before.state;
	r->call->extra = before.extra;
}

/* *ret: how it ended; an error: it is not the step's, but the store's. */
static wb_code run_local(run *r, wbi_outcome *ret, wb_error *err)
{
	const wb_step *step = run_step(r, r->local_step);
	wb_step_fn fn = r->local_op == WBI_OP_UNDO ? step->run_undo : step->run;
	wb_call *call = r->call;
	wb_error why = WB_ERROR_INIT;
	wbi_call_nest nest;
	wb_class class;
	seen_as before;
	wb_code ended, code = wbi_call_nest_begin(call, &nest, err);

	if (code != WB_OK)
		return code;
	before = run_enter(r);
	code = fn(call, &why);
	run_leave(r, before);
	ended = wbi_call_nest_end(call, &nest, code,
				  code == WB_OK ? err : &why);
	if (code == WB_OK) {
		*ret = WBI_OUTCOME_DONE;
		return ended;
	}
	if (call->trouble != WB_OK)
		return call->trouble;
	class = wbi_error_class(code, &why);
	if (class == WB_CLASS_STOP || wbi_wants_room(code)) {
		wbi_error_pass(err, &why);
		return code;
	}
	run_text(r->local_why, sizeof(r->local_why), wb_str_from(why.text));
	*ret = class == WB_CLASS_REJECT ? WBI_OUTCOME_REJECTED
					: WBI_OUTCOME_RETRY;
	return WB_OK;
}

static wb_code run_reply(run *r, const wbi_saga_input *in, uint32_t step,
			 wb_error *err)
{
	seen_as before;
	wb_code code;

	if (!in->reply || !r->kind || !run_step(r, step)->reply)
		return WB_OK;
	before = run_enter(r);
	code = run_step(r, step)->reply(r->call, in->reply, err);
	run_leave(r, before);
	return code;
}

/* ---- all of it ----------------------------------------------------------- */

static void run_parked(run *r, const wbi_saga_input *in)
{
	static const char *const texts[] = {
		"", "keeps failing", "its undo keeps failing",
		"may have taken effect and cannot be asked",
		"no module brings the definition that it began with"};
	const wbi_machine *m = &r->machine;
	char last[WBI_SAGA_TEXT_MAX + 1];

	if (m->status != WB_SAGA_PARKED || m->parking >= WBI_COUNT(texts))
		return;
	run_text(last, sizeof(last),
		 in->reason.len > 0 ? in->reason : wb_str_from(r->reason));
	snprintf(r->reason, sizeof(r->reason), "%s%s%s%s%.100s",
		 r->kind ? run_step(r, m->current)->name : "",
		 r->kind ? ": " : "", texts[m->parking], last[0] ? ": " : "",
		 last);
}

/* What is said of a saga that an operator has moved. */
static void run_ordered(run *r, const wbi_saga_input *in)
{
	const wbi_order *order = in->order;

	if (!order)
		return;
	r->reason[0] = '\0';
	if (order->verb == WBI_VERB_COMPENSATE ||
	    order->verb == WBI_VERB_ABANDON)
		snprintf(r->reason, sizeof(r->reason), "%s by %.*s: %.*s",
			 order->verb == WBI_VERB_ABANDON ? "abandoned"
							 : "undone",
			 (int)(order->who.len < 60 ? order->who.len : 60),
			 order->who.ptr,
			 (int)(order->why.len < 100 ? order->why.len : 100),
			 order->why.ptr);
}

/* Nobody gave a reason: say what turned it back. */
static void run_turned_back(run *r, const wbi_saga_input *in,
			    const wbi_machine *before)
{
	const wbi_machine *m = &r->machine;

	if (before->status != WB_SAGA_RUNNING ||
	    m->status != WB_SAGA_COMPENSATING || !r->kind)
		return;
	if (in->input.kind == WBI_INPUT_ANSWER && r->reason[0] == '\0')
		snprintf(r->reason, sizeof(r->reason), "%s: refused",
			 run_step(r, before->current)->name);
	else if (in->input.kind == WBI_INPUT_TIMER)
		snprintf(r->reason, sizeof(r->reason), "%s: no answer in time",
			 run_step(r, before->current)->name);
	else if (in->input.kind == WBI_INPUT_DEADLINE)
		snprintf(r->reason, sizeof(r->reason),
			 "%s: the saga's time was over",
			 run_step(r, before->current)->name);
}

/* One turn of the machine. *ret_moved: it changed. */
static wb_code run_turn(run *r, const wbi_saga_input *in, bool *ret_moved,
			wb_error *err)
{
	wbi_machine before = r->machine;
	wbi_actions actions = {.count = 0};
	wb_code code = WB_OK;

	*ret_moved = wbi_machine_step_by(r->kind ? r->kind->saga : NULL,
					 &r->machine, &in->input, &actions,
					 &r->refusal) == WBI_VERDICT_MOVED;
	if (!*ret_moved)
		return WB_OK;
	run_ordered(r, in);
	/* What is said while it goes back is not why it does. */
	if (in->reason.len > 0 && before.status != WB_SAGA_COMPENSATING)
		run_text(r->reason, sizeof(r->reason), in->reason);
	if (in->input.kind == WBI_INPUT_ANSWER &&
	    in->input.outcome == WBI_OUTCOME_DONE)
		code = run_reply(r, in, in->input.step, err);
	r->local = false;
	run_turned_back(r, in, &before);
	run_parked(r, in);
	for (size_t i = 0; i < actions.count && code == WB_OK; i++)
		code = run_action(r, &actions.items[i], err);
	if (code == WB_OK)
		code = run_log(r, in, &before, err);
	return code;
}

static wb_code run_rounds(run *r, const wbi_saga_input *first, bool *ret_moved,
			  wb_error *err)
{
	wbi_saga_input in = *first;
	wb_code code = WB_OK;
	bool moved = true;

	for (int round = 0; code == WB_OK && moved; round++) {
		WB_ASSERT(round < RUN_ROUNDS_MAX);
		code = run_turn(r, &in, &moved, err);
		*ret_moved |= moved;
		if (code != WB_OK || !moved || !r->local)
			break;
		in = (wbi_saga_input){.id = first->id,
				      .in = wb_str_from("local")};
		in.input = (wbi_input){.kind = WBI_INPUT_ANSWER,
				       .step = r->local_step,
				       .op = r->local_op,
				       .epoch = r->machine.epoch};
		code = run_local(r, &in.input.outcome, err);
		if (in.input.outcome == WBI_OUTCOME_DONE)
			continue;
		in.reason = wb_str_from(r->local_why);
	}
	return code;
}

/* An answer names its step; which one is that? */
static bool run_find_step(const run *r, const wbi_saga_input *in,
			  wbi_saga_input *ret)
{
	*ret = *in;
	if (in->input.kind != WBI_INPUT_ANSWER)
		return true;
	for (uint32_t i = 0; r->kind && i < r->kind->saga->count; i++) {
		if (!wb_str_eq(wb_str_from(run_step(r, i)->name), in->step))
			continue;
		ret->input.step = i;
		return true;
	}
	return false;
}

/* What an order came to, for the audit, in the same commit. */
static wb_code run_answer(run *r, const wbi_order *order, uint8_t before,
			  bool moved, wb_error *err)
{
	char text[WBI_ORDER_TEXT_MAX];

	if (moved)
		snprintf(text, sizeof(text), "%s -> %s",
			 wbi_saga_status_name(before),
			 wbi_saga_status_name(r->machine.status));
	else
		snprintf(text, sizeof(text), "it is %s: %s",
			 wbi_saga_status_name(before),
			 !r->kind     ? "no module of the worker brings its "
					"definition"
			 : r->refusal ? r->refusal
				      : "it has not begun");
	return wbi_order_audit(r->call, &r->id, order, moved, text, err);
}

/* Without its definition a saga can only be parked, or abandoned. */
static void run_no_definition(wbi_saga_input *in)
{
	if (in->order && in->order->verb == WBI_VERB_ABANDON)
		return;
	in->input = (wbi_input){.kind = WBI_INPUT_NO_DEFINITION};
	if (in->order)
		in->in = wb_str_from("timer");
	in->order = NULL;
}

static wb_code run_all(run *r, const wbi_saga_input *input, wb_error *err)
{
	wbi_saga_input in;
	wbi_barrier_scope scope = run_scope(r);
	uint8_t before = r->machine.status;
	bool known = run_find_step(r, input, &in), moved = false;
	wb_code code = wbi_barrier_prune(&scope, WBI_SAGA_PRUNE, err);

	if (!r->kind)
		run_no_definition(&in);
	if (code == WB_OK && (known || !r->kind))
		code = run_rounds(r, &in, &moved, err);
	if (code == WB_OK && moved)
		code = run_store(r, err);
	if (code == WB_OK && input->order)
		code = run_answer(r, input->order, before,
				  moved && in.order != NULL, err);
	return code;
}

wb_code wbi_saga_run(wb_call *call, const wbi_saga_input *input, wb_error *err)
{
	run r = {.call = call,
		 .o = call->handler->ctx,
		 .id = {.kind = WBI_SAGA_ORCHESTRATED, .id = input->id}};
	wb_code code = run_load(&r, err);

	if (code == WB_OK)
		code = run_all(&r, input, err);
	else if (code == WB_ENOTFOUND) /* forgotten, or never ours */
		code = input->order ? wbi_order_audit(call, &r.id, input->order,
						      false, "it is gone", err)
				    : WB_OK;
	free(r.extra.data);
	return code;
}
