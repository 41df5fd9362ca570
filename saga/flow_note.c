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

#include "inbox/work.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "saga/react.h"

/* ---- shared -------------------------------------------------------------- */

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

wb_code wbi_flow_step_get(const wbi_flow_scope *scope, int row,
			  wbi_barrier *ret, wb_error *err)
{
	char text[WBI_BARRIER_STEP_MAX + 1];
	wbi_barrier_id id =
		wbi_flow_barrier_id(scope, row, WBI_BARRIER_DO, text);

	return wbi_barrier_get(scope->barrier.txn, scope->barrier.tables, &id,
			       ret, err);
}

wb_code wbi_flow_step_put(const wbi_flow_scope *scope, int row,
			  const wbi_barrier *barrier, wb_error *err)
{
	char text[WBI_BARRIER_STEP_MAX + 1];
	wbi_barrier_id id =
		wbi_flow_barrier_id(scope, row, WBI_BARRIER_DO, text);

	return wbi_barrier_acted(&scope->barrier, &id, barrier, err);
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

char *wbi_flow_timer_name(wb_str saga, const char *step, char ret[256])
{
	int len = snprintf(ret, 256, "%.*s/%s", (int)saga.len, saga.ptr, step);

	_Static_assert(WBI_SAGA_ID_MAX + 1 + WBI_SAGA_STEP_MAX <= 255,
		       "a timer's name");
	WB_ASSERT(len > 0 && len < 256);
	return ret;
}

const char *wbi_step_state_name(uint8_t state)
{
	static const char *const names[] = {"none", "pending", "done",
					    "refused", "undone"};

	WB_ASSERT(state < WBI_COUNT(names));
	return names[state];
}

/* ---- what it is at ------------------------------------------------------- */

typedef struct note {
	wbi_saga_row row;
	bool waits, undone, overdue, abandoned;
	char from[300];
	char reason[WB_ERROR_TEXT_MAX];
} note;

/* Services that may emit one of `awaits`, with ", " between them. */
static void note_from(const wbi_flow *flow, const char *awaits, note *n)
{
	const char *said[WBI_FLOW_ROWS_MAX];
	const char *rest = awaits;
	size_t count = 0, len = 0;
	wb_str type;

	n->from[0] = '\0';
	while (wbi_flow_next_type(&rest, &type)) {
		int event = wbi_flow_event_of(flow, type);

		for (int i = 0; event >= 0 && i < flow->row_count; i++) {
			const char *service = flow->rows[i].reaction->service;
			size_t at = 0;

			if (!wbi_flow_may_emit(&flow->rows[i], event))
				continue;
			while (at < count && strcmp(said[at], service) != 0)
				at++;
			if (at < count || len >= sizeof(n->from))
				continue;
			len += (size_t)snprintf(n->from + len,
						sizeof(n->from) - len, "%s%s",
						count ? ", " : "", service);
			said[count++] = service;
		}
	}
}

/*
 * When its time is up: what its timer says, which an operator may have moved.
 * One that has no timer any more has had its time, as far as it was said before
 * that it had (`old`, NULL: it is new).
 */
static wb_code note_deadline(const wbi_flow_scope *scope, const wb_reaction *r,
			     const wbi_barrier *barrier,
			     const wbi_saga_row *old, int64_t *ret,
			     wb_error *err)
{
	const wb_choreography *c = scope->choreography;
	wbi_work_id id = {wb_str_from(c->handler_name), WBI_LANE_TIMER,
			  WB_STR_NULL, 0},
		    found;
	bool was_over = old && old->status == WB_SAGA_PARKED &&
			old->since_us == barrier->last_us &&
			wb_str_eq(old->step, wb_str_from(r->step));
	char name[256];
	wbi_work row;
	wb_code code;

	*ret = was_over ? old->deadline_us
			: barrier->last_us + (int64_t)r->within_ms * 1000;
	id.key = wb_str_from(wbi_flow_timer_name(scope->saga, r->step, name));
	code = wbi_work_first(scope->barrier.txn, c->tables, &id, &found, &row,
			      err);
	if (code == WB_OK)
		*ret = row.due_us;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* One step of ours, as its barrier has it. */
static wb_code note_step(const wbi_flow_scope *scope, int at,
			 const wbi_barrier *barrier, const wbi_saga_row *old,
			 note *n, wb_error *err)
{
	const wbi_flow *flow = scope->choreography->flow;
	const wb_reaction *r = flow->rows[at].reaction;
	bool pending = barrier->state == WB_STEP_PENDING;
	bool awaits =
		barrier->state == WB_STEP_DONE && barrier->reply_to.len > 0;
	int64_t deadline_us = 0;
	wb_code code;

	if (barrier->state == WB_STEP_UNDONE)
		n->undone = true;
	if (!pending && !awaits)
		return WB_OK;
	code = note_deadline(scope, r, barrier, old, &deadline_us, err);
	if (code != WB_OK || (n->waits && n->row.deadline_us <= deadline_us))
		return code; /* the one whose time runs out first is shown */
	n->waits = true;
	n->row.step = wb_str_from(r->step);
	n->row.since_us = barrier->last_us;
	n->row.deadline_us = deadline_us;
	n->row.awaits = pending ? wb_str_from("wb_flow_complete")
				: wb_str_from(r->awaits);
	if (pending)
		snprintf(n->from, sizeof(n->from), "%s", r->service);
	else
		note_from(flow, r->awaits, n);
	n->overdue = scope->barrier.now_us >= deadline_us && !r->silence;
	n->reason[0] = '\0';
	if (n->overdue && pending)
		snprintf(n->reason, sizeof(n->reason),
			 "%s was not completed by service %s", r->step,
			 r->service);
	else if (n->overdue)
		snprintf(n->reason, sizeof(n->reason),
			 "%.64s waits for %.250s from service %.150s", r->step,
			 r->awaits, n->from);
	return WB_OK;
}

static wb_code note_steps(const wbi_flow_scope *scope, const wbi_saga_row *old,
			  note *n, wb_error *err)
{
	const wb_choreography *c = scope->choreography;
	wb_code code = WB_OK;

	for (int i = 0; i < c->flow->row_count && code == WB_OK; i++) {
		wbi_barrier barrier;

		if (!c->own[i] || c->flow->rows[i].undoes >= 0)
			continue;
		code = wbi_flow_step_get(scope, i, &barrier, err);
		if (code == WB_OK)
			code = note_step(scope, i, &barrier, old, n, err);
		else if (code == WB_ENOTFOUND)
			code = WB_OK;
	}
	return code;
}

/* What an operator has ended stays so, whatever comes behind it. */
static void note_abandoned(const wbi_saga_row *old, const wbi_saga_entry *entry,
			   note *n)
{
	wb_str reason = entry && entry->after == WB_SAGA_ABANDONED
				? entry->text
				: old->reason;

	snprintf(n->reason, sizeof(n->reason), "%.*s", (int)reason.len,
		 reason.ptr);
	n->waits = false;
	n->row.step = n->row.awaits = WB_STR_NULL;
	n->row.deadline_us = 0;
}

static uint8_t note_status(const note *n)
{
	if (n->abandoned)
		return WB_SAGA_ABANDONED;
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

	n->abandoned = (old && old->status == WB_SAGA_ABANDONED) ||
		       (entry && entry->after == WB_SAGA_ABANDONED);
	if (n->abandoned)
		note_abandoned(old, entry, n);
	n->row.status = note_status(n);
	n->row.name = wb_str_from(scope->choreography->part->flow->name);
	n->row.started_us = old ? old->started_us : b->now_us;
	n->row.changed_us = b->now_us;
	n->row.entries = old ? old->entries : 0;
	n->row.from = n->waits ? wb_str_from(n->from) : WB_STR_NULL;
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
	wb_code code = wbi_saga_get(scope->barrier.txn, scope->barrier.tables,
				    &id, &old, err);
	bool is_new = code == WB_ENOTFOUND;

	if (code == WB_OK || is_new)
		code = note_steps(scope, is_new ? NULL : &old, &n, err);
	if (code != WB_OK)
		return code;
	/* Of the old row only numbers are used behind the first write. */
	return note_write(scope, &id, is_new ? NULL : &old, &n, entry, err);
}
