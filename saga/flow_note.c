/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a saga is at in this service, worked out anew from its barriers
 * whenever something has changed, and its log. A service sees only its own
 * steps: its saga is RUNNING while one of them waits, PARKED when one has
 * waited longer than it should and nothing is said for it, else ended.
 *
 * Also the small things that the rest shares: ids, names, the flow's events.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <waybill/saga.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "saga/react.h"

/* ---- shared
 * ------------------------------------------------------------------ */

void wbi_flow_words_add(wbi_flow_words *words, wb_str word)
{
	size_t gap = words->len > 0 ? 2 : 0;

	if (words->len + gap + word.len > sizeof(words->text))
		return; /* the log is for people: what fits */
	if (gap)
		memcpy(words->text + words->len, ", ", gap);
	if (word.len > 0)
		memcpy(words->text + words->len + gap, word.ptr, word.len);
	words->len += gap + word.len;
}

wbi_barrier_id wbi_flow_barrier_id(const wbi_flow_scope *scope, int row,
				   uint8_t op,
				   char text[WBI_BARRIER_STEP_MAX + 1])
{
	const wbi_flow *flow = scope->choreography->flow;
	int len = snprintf(text, WBI_BARRIER_STEP_MAX + 1, "%s:%s",
			   flow->flow->name, flow->rows[row].reaction->step);

	WB_ASSERT(len > 0 && len <= WBI_BARRIER_STEP_MAX);
	return (wbi_barrier_id){scope->saga, wb_str_n(text, (size_t)len), op};
}

wb_event wbi_flow_event(const wb_event *event, wb_str saga, wb_header *headers)
{
	wb_event e = *event;
	size_t count = 0;

	for (size_t i = 0; i < event->header_count; i++)
		if (!wb_str_eq(event->headers[i].name, wb_str_from("wbsaga")))
			headers[count++] = event->headers[i];
	headers[count].name = wb_str_from("wbsaga");
	headers[count++].value = saga;
	e.headers = headers;
	e.header_count = count;
	if (e.key.len == 0)
		e.key = saga;
	if (e.correlation_id.len == 0)
		e.correlation_id = saga;
	return e;
}

wb_code wbi_flow_check_emit(const wb_choreography *choreography, int row,
			    wb_str type, wb_error *err)
{
	const wbi_flow *flow = choreography->flow;
	int event = wbi_flow_event_of(flow, type);

	if (event >= 0 && flow->rows[row].emits[event])
		return WB_OK;
	return WBI_FAIL(err, WB_EINVAL,
			"flow %s: step %s may not emit \"%.*s\": its row "
			"declares %s; emit that, or add it to `emits`",
			flow->flow->name, flow->rows[row].reaction->step,
			(int)(type.len < 100 ? type.len : 100), type.ptr,
			flow->rows[row].reaction->emits
				? flow->rows[row].reaction->emits
				: "nothing");
}

wb_code wbi_flow_timer_name(wb_str saga, const char *step, char ret[256],
			    wb_error *err)
{
	int len = snprintf(ret, 256, "%.*s/%s", (int)saga.len, saga.ptr, step);

	_Static_assert(WBI_SAGA_ID_MAX + 1 + WBI_SAGA_STEP_MAX <= 255,
		       "a timer's name");
	if (len < 0 || len > 255)
		return WBI_FAIL(err, WB_EINVAL,
				"flow: the id of a saga is too "
				"long");
	return WB_OK;
}

/* ---- what it is at
 * ------------------------------------------------------------- */

/* Who emits one of these: the first service that does. */
static const char *note_emitter(const wbi_flow *flow, wb_str events)
{
	char list[512];
	const char *rest = list;
	wb_str type;

	if (events.len >= sizeof(list))
		return "?";
	memcpy(list, events.ptr, events.len);
	list[events.len] = '\0';
	while (wbi_flow_next_type(&rest, &type)) {
		int event = wbi_flow_event_of(flow, type);

		for (int i = 0; event >= 0 && i < flow->row_count; i++)
			if (wbi_flow_may_emit(&flow->rows[i], event))
				return flow->rows[i].reaction->service;
	}
	return "?";
}

typedef struct note {
	wbi_saga_row row;
	bool waits, undone, overdue;
	char reason[WB_ERROR_TEXT_MAX];
} note;

/* One step of ours, as its barrier has it. */
static void note_step(const wbi_flow_scope *scope, int at,
		      const wbi_barrier *barrier, note *n)
{
	const wbi_flow *flow = scope->choreography->flow;
	const wb_reaction *r = flow->rows[at].reaction;
	int64_t deadline_us = barrier->last_us + (int64_t)r->within_ms * 1000;
	bool pending = barrier->state == WB_STEP_PENDING;
	bool awaits =
		barrier->state == WB_STEP_DONE && barrier->reply_to.len > 0;

	if (barrier->state == WB_STEP_UNDONE)
		n->undone = true;
	if (!pending && !awaits)
		return;
	if (n->waits && n->row.deadline_us <= deadline_us)
		return; /* the one whose time runs out first is shown */
	n->waits = true;
	n->row.step = wb_str_from(r->step);
	n->row.since_us = barrier->last_us;
	n->row.deadline_us = deadline_us;
	n->row.awaits = pending ? wb_str_from("wb_flow_complete")
				: wb_str_from(r->awaits);
	n->overdue = scope->barrier.now_us >= deadline_us && !r->silence;
	if (n->overdue && pending)
		snprintf(n->reason, sizeof(n->reason),
			 "%s was not completed by service %s", r->step,
			 r->service);
	else if (n->overdue)
		snprintf(n->reason, sizeof(n->reason),
			 "%s waits for %.300s from service %s", r->step,
			 r->awaits, note_emitter(flow, n->row.awaits));
}

static wb_code note_steps(const wbi_flow_scope *scope, note *n, wb_error *err)
{
	const wb_choreography *c = scope->choreography;
	wb_code code = WB_OK;

	for (int i = 0; i < c->flow->row_count && code == WB_OK; i++) {
		char text[WBI_BARRIER_STEP_MAX + 1];
		wbi_barrier_id id;
		wbi_barrier barrier;

		if (!c->own[i] || c->flow->rows[i].undoes >= 0)
			continue;
		id = wbi_flow_barrier_id(scope, i, WBI_BARRIER_DO, text);
		code = wbi_barrier_get(scope->barrier.txn, c->tables, &id,
				       &barrier, err);
		if (code == WB_OK)
			note_step(scope, i, &barrier, n);
		else if (code == WB_ENOTFOUND)
			code = WB_OK;
	}
	return code;
}

static uint8_t note_status(const note *n)
{
	if (n->waits)
		return n->overdue ? WB_SAGA_PARKED : WB_SAGA_RUNNING;
	return n->undone ? WB_SAGA_COMPENSATED : WB_SAGA_COMPLETED;
}

static wb_code note_write(const wbi_flow_scope *scope, const wbi_saga_id *id,
			  const wbi_saga_row *old, note *n,
			  const wbi_saga_entry *entry, wb_error *err)
{
	const wbi_barrier_scope *b = &scope->barrier;
	wbi_saga_entry e;
	wb_code code;

	n->row.status = note_status(n);
	n->row.name = wb_str_from(scope->choreography->part->flow->name);
	n->row.started_us = old ? old->started_us : b->now_us;
	n->row.changed_us = b->now_us;
	n->row.entries = old ? old->entries : 0;
	n->row.reason = wb_str_from(n->reason);
	if (!n->waits)
		n->row.since_us = b->now_us;
	if (entry && n->row.entries < WBI_FLOW_LOG_MAX) {
		e = *entry;
		e.before = old ? old->status : 0;
		e.after = n->row.status;
		code = wbi_saga_log_add(b->txn, b->tables, id, ++n->row.entries,
					&e, err);
		if (code != WB_OK)
			return code;
	}
	code = wbi_saga_put(b->txn, b->tables, id, old, &n->row, err);
	if (code != WB_OK || !wbi_saga_status_is_final(n->row.status) ||
	    (old && wbi_saga_status_is_final(old->status)))
		return code;
	return wbi_barrier_saga_ended(b, id, err);
}

wb_code wbi_flow_note(const wbi_flow_scope *scope, const wbi_saga_entry *entry,
		      wb_error *err)
{
	wbi_saga_id id = {
		.kind = WBI_SAGA_FLOW,
		.id = scope->saga,
		.name = wb_str_from(scope->choreography->part->flow->name)};
	note n = {.waits = false};
	wbi_saga_row old;
	wb_code code = note_steps(scope, &n, err);
	bool is_new;

	if (code != WB_OK)
		return code;
	code = wbi_saga_get(scope->barrier.txn, scope->barrier.tables, &id,
			    &old, err);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	is_new = code == WB_ENOTFOUND;
	/* Of the old row only numbers are used behind the first write. */
	return note_write(scope, &id, is_new ? NULL : &old, &n, entry, err);
}
