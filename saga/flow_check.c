/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What cannot work in a flow, found before it runs. Each rule is a walk over
 * the graph (flow.h) and explains what it finds: what is wrong, why it
 * matters, the cure.
 *
 * The rule that is worth the most is "not-undone": for each failure that a row
 * may emit, every step that may have taken effect by then must hear of it. Who
 * that is: the row's ancestors, and what else goes on from the events on the
 * way to it; not what would only have followed its success.
 *
 * Pure: reads static data, keeps nothing, any thread.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "saga/finding.h"
#include "saga/flow.h"

typedef struct flow_check {
	const wbi_flow *flow;
	wbi_findings findings;
	/* scratch of a walk */
	bool seen[WBI_FLOW_ROWS_MAX];
	bool path[WBI_FLOW_EVENTS_MAX];  /* events on the way to a row */
	bool reach[WBI_FLOW_EVENTS_MAX]; /* events that may follow one */
} flow_check;

static const wb_reaction *check_reaction(const flow_check *c, int row)
{
	return c->flow->rows[row].reaction;
}

/* ---- names --------------------------------------------------------------- */

static void check_names(flow_check *c)
{
	const wbi_flow *flow = c->flow;

	for (int i = 0; i < flow->row_count; i++) {
		const wb_reaction *r = check_reaction(c, i);
		int first = wbi_flow_row_of(flow, wb_str_from(r->step));

		if (first != i)
			wbi_found(
				&c->findings, "name-twice", r->step,
				"rows %d and %d are both called %s; the "
				"barrier tells steps apart by name: rename one",
				first + 1, i + 1, r->step);
	}
}

static void check_undoes(flow_check *c)
{
	const wbi_flow *flow = c->flow;

	for (int i = 0; i < flow->row_count; i++) {
		const wb_reaction *r = check_reaction(c, i), *target;
		int undone = flow->rows[i].undoes;

		if (!r->undoes)
			continue;
		if (undone == WBI_FLOW_EVENT_NONE) {
			wbi_found(&c->findings, "undoes-unknown", r->step,
				  "%s undoes %s, which is no step of this flow",
				  r->step, r->undoes);
			continue;
		}
		target = check_reaction(c, undone);
		if (strcmp(target->service, r->service) != 0)
			wbi_found(
				&c->findings, "undoes-foreign", r->step,
				"%s of %s undoes %s of %s; a service can take "
				"back only what it did: give %s a row of its "
				"own",
				r->step, r->service, r->undoes, target->service,
				target->service);
		else if (target->undoes || undone == i)
			wbi_found(&c->findings, "undoes-undo", r->step,
				  "%s undoes %s, which is itself an undo",
				  r->step, r->undoes);
		if (!r->on)
			wbi_found(
				&c->findings, "undo-begins", r->step,
				"%s undoes %s and listens to nothing: an undo "
				"cannot begin a flow",
				r->step, r->undoes);
	}
}

/* ---- who hears what ------------------------------------------------------ */

static bool check_is_heard(const wbi_flow *flow, int event)
{
	for (int i = 0; i < flow->row_count; i++)
		if (flow->rows[i].on == event || flow->rows[i].awaits[event])
			return true;
	return false;
}

static int check_emitter(const wbi_flow *flow, int event)
{
	for (int i = 0; i < flow->row_count; i++)
		if (wbi_flow_may_emit(&flow->rows[i], event))
			return i;
	return WBI_FLOW_EVENT_NONE;
}

static void check_event(flow_check *c, int event)
{
	const wbi_flow *flow = c->flow;
	wb_str type = flow->events[event];
	int emitter = check_emitter(flow, event);

	if (emitter == WBI_FLOW_EVENT_NONE) {
		for (int i = 0; i < flow->row_count; i++)
			if (flow->rows[i].on == event ||
			    flow->rows[i].awaits[event])
				wbi_found(&c->findings, "no-emitter",
					  check_reaction(c, i)->step,
					  "%s listens to %.*s, which no row "
					  "emits: add it to its row's emits, "
					  "refuses or silence",
					  check_reaction(c, i)->step,
					  (int)type.len, type.ptr);
	} else if (!check_is_heard(flow, event)) {
		wbi_found(&c->findings, "no-listener",
			  check_reaction(c, emitter)->step,
			  "%s emits %.*s, which nobody listens to: the flow "
			  "would stop there without a word",
			  check_reaction(c, emitter)->step, (int)type.len,
			  type.ptr);
	}
}

static void check_beginning(flow_check *c)
{
	for (int i = 0; i < c->flow->row_count; i++)
		if (c->flow->rows[i].on == WBI_FLOW_EVENT_NONE)
			return;
	wbi_found(
		&c->findings, "no-beginning", NULL,
		"every row listens to something: give the row that begins the "
		"flow no `on`");
}

/* ---- time ---------------------------------------------------------------- */

static void check_time(flow_check *c, int row)
{
	const wb_reaction *r = check_reaction(c, row);
	bool waits = r->later || r->awaits;

	if (waits && r->within_ms == 0)
		wbi_found(
			&c->findings, "no-deadline", r->step,
			"%s waits (%s) and has no within_ms: if what it waits "
			"for never comes, nobody would ever know",
			r->step, r->later ? "later" : r->awaits);
	if (!waits && (r->within_ms || r->silence))
		wbi_found(&c->findings, "idle-deadline", r->step,
			  "%s has %s and waits for nothing: declare `later` or "
			  "`awaits`, or take it away",
			  r->step, r->within_ms ? "within_ms" : "silence");
	if (r->later && r->within_ms && !r->silence)
		wbi_warn(
			&c->findings, "no-silence", r->step,
			"%s may never be completed, and then emits nothing: it "
			"will show as stuck, but the others are not told",
			r->step);
	if (!r->on && r->emits && !r->awaits)
		wbi_warn(&c->findings, "unwatched", r->step,
			 "%s begins the flow and awaits nothing: a flow that "
			 "goes silent behind it is not noticed by %s",
			 r->step, r->service);
}

/* ---- failures reach whoever must undo ------------------------------------ */

/* All events that may follow on `event`, itself included. */
static void check_reach(flow_check *c, int event)
{
	const wbi_flow *flow = c->flow;
	bool grew = true;

	memset(c->reach, 0, sizeof(c->reach));
	c->reach[event] = true;
	while (grew) {
		grew = false;
		for (int i = 0; i < flow->row_count; i++) {
			const wbi_flow_row *row = &flow->rows[i];

			if (row->on < 0 || !c->reach[row->on])
				continue;
			for (int e = 0; e < flow->event_count; e++) {
				if (c->reach[e] || !wbi_flow_may_emit(row, e))
					continue;
				c->reach[e] = grew = true;
			}
		}
	}
}

/* Mark the events on the way to `row`, and in `seen` the rows that emitted
 * them: those that took effect before it. */
static void check_ancestors(flow_check *c, int row)
{
	const wbi_flow *flow = c->flow;
	int at = flow->rows[row].on;

	if (at < 0 || c->path[at])
		return;
	c->path[at] = true;
	for (int i = 0; i < flow->row_count; i++) {
		if (i == row || c->seen[i] || !flow->rows[i].emits[at])
			continue;
		c->seen[i] = true;
		check_ancestors(c, i);
	}
}

/* What else goes on from those events: rows beside the one that fails, and
 * those that follow them. */
static void check_siblings(flow_check *c, int row)
{
	const wbi_flow *flow = c->flow;
	bool grew = true;

	while (grew) {
		grew = false;
		for (int i = 0; i < flow->row_count; i++) {
			const wbi_flow_row *r = &flow->rows[i];

			if (i == row || c->seen[i] || r->on < 0 ||
			    !c->path[r->on])
				continue;
			c->seen[i] = grew = true;
			for (int e = 0; e < flow->event_count; e++)
				if (r->emits[e])
					c->path[e] = true;
		}
	}
}

static bool check_is_undone(const flow_check *c, int row)
{
	const wbi_flow *flow = c->flow;

	for (int i = 0; i < flow->row_count; i++)
		if (flow->rows[i].undoes == row && flow->rows[i].on >= 0 &&
		    c->reach[flow->rows[i].on])
			return true;
	return false;
}

static void check_failure(flow_check *c, int row, int event)
{
	const wbi_flow *flow = c->flow;
	const wb_reaction *failing = check_reaction(c, row);
	wb_str type = flow->events[event];

	check_reach(c, event);
	for (int i = 0; i < flow->row_count; i++) {
		const wb_reaction *r = check_reaction(c, i);

		if (!c->seen[i] || r->keeps || r->undoes ||
		    check_is_undone(c, i))
			continue;
		wbi_found(
			&c->findings, "not-undone", r->step,
			"when %s fails with %.*s, %s of %s may have taken "
			"effect and nothing takes it back: let a row of %s "
			"listen to %.*s with undoes = \"%s\", or declare that "
			"%s keeps",
			failing->step, (int)type.len, type.ptr, r->step,
			r->service, r->service, (int)type.len, type.ptr,
			r->step, r->step);
	}
}

static void check_failures(flow_check *c, int row)
{
	const wbi_flow *flow = c->flow;
	const wbi_flow_row *r = &flow->rows[row];

	memset(c->seen, 0, sizeof(c->seen));
	memset(c->path, 0, sizeof(c->path));
	check_ancestors(c, row);
	check_siblings(c, row);
	for (int e = 0; e < flow->event_count; e++)
		if (r->refuses[e] || r->silence == e)
			check_failure(c, row, e);
}

/* ---- cycles -------------------------------------------------------------- */

/*
 * A cycle ends if some row on it can end otherwise: with an event that does not
 * lead back to it, or by not being done at all in time. Without such a row
 * every way out of it leads back in.
 */
static void check_cycle(flow_check *c, int row)
{
	const wbi_flow *flow = c->flow;
	int on = flow->rows[row].on;
	bool leaves = false, back = false;

	if (on < 0)
		return;
	for (int e = 0; e < flow->event_count; e++) {
		if (!wbi_flow_may_emit(&flow->rows[row], e))
			continue;
		check_reach(c, e);
		if (c->reach[on])
			back = true;
		else
			leaves = true;
	}
	if (back && !leaves)
		c->seen[row] = true; /* on a cycle, and no way out of it here */
	else if (back)
		c->path[on] = true; /* an event that is heard by a way out */
}

static void check_cycles(flow_check *c)
{
	const wbi_flow *flow = c->flow;
	bool ends[WBI_FLOW_EVENTS_MAX];

	memset(c->seen, 0, sizeof(c->seen));
	memset(c->path, 0, sizeof(c->path));
	for (int i = 0; i < flow->row_count; i++)
		check_cycle(c, i);
	memcpy(ends, c->path, sizeof(ends));
	for (int i = 0; i < flow->row_count; i++) {
		bool out = false;

		if (!c->seen[i])
			continue;
		check_reach(c, flow->rows[i].on);
		for (int e = 0; e < flow->event_count && !out; e++)
			out = ends[e] && c->reach[e];
		if (!out)
			wbi_found(
				&c->findings, "endless",
				check_reaction(c, i)->step,
				"%s is on a cycle of events that nothing can "
				"end: let one of its rows emit something else, "
				"or nothing, when it has been round often "
				"enough",
				check_reaction(c, i)->step);
	}
}

wb_code wb_flow_check(const wb_flow *flow, wb_finding_fn found, void *ctx,
		      wb_error *err)
{
	flow_check *c = calloc(1, sizeof(*c));
	wbi_flow *graph = NULL;
	wb_code code;

	if (!c)
		return WBI_FAIL(err, WB_ENOMEM, "flow: out of memory");
	wbi_findings_init(&c->findings, "flow", found, ctx, err);
	code = wbi_flow_new(flow, &graph, err);
	if (code != WB_OK) {
		free(c);
		return code;
	}
	c->findings.name = flow->name;
	c->flow = graph;
	check_names(c);
	check_undoes(c);
	check_beginning(c);
	for (int e = 0; e < graph->event_count; e++)
		check_event(c, e);
	for (int i = 0; i < graph->row_count; i++) {
		check_time(c, i);
		check_failures(c, i);
	}
	check_cycles(c);
	code = wbi_findings_result(&c->findings);
	wbi_flow_free(graph);
	free(c);
	return code;
}
