/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A flow as a graph: its rows, the events between them as numbers, and who
 * emits and hears which. Built once, never changed; any thread.
 */
#ifndef WBI_FLOW_H
#define WBI_FLOW_H

#include <waybill/choreography.h>

enum {
	WBI_FLOW_ROWS_MAX = 256,
	WBI_FLOW_EVENTS_MAX = 512,
	WBI_FLOW_NAME_MAX = 48,
	WBI_FLOW_STEP_MAX = 64,
	WBI_FLOW_EVENT_NONE = -1
};

typedef struct wbi_flow_row {
	const wb_reaction *reaction;
	int on;     /* event, or NONE: it begins the flow */
	int undoes; /* row, or NONE */
	int silence;
	/* by event */
	bool emits[WBI_FLOW_EVENTS_MAX];   /* on success */
	bool refuses[WBI_FLOW_EVENTS_MAX]; /* when it had no effect */
	bool awaits[WBI_FLOW_EVENTS_MAX];
} wbi_flow_row;

typedef struct wbi_flow {
	const wb_flow *flow;
	wbi_flow_row *rows;
	int row_count;
	wb_str events[WBI_FLOW_EVENTS_MAX]; /* borrowed from the flow */
	int event_count;
} wbi_flow;

/* WB_EINVAL: not even a graph: a NULL or a wrong name, too much of something;
 * says which row (from 1). Free with wbi_flow_free(). */
wb_code wbi_flow_new(const wb_flow *flow, wbi_flow **ret, wb_error *err);
void wbi_flow_free(wbi_flow *flow);

/* A row by its step's name, an event by its type; NONE if there is none. */
int wbi_flow_row_of(const wbi_flow *flow, wb_str step);
int wbi_flow_event_of(const wbi_flow *flow, wb_str type);

/* Can this row, in any of its endings, emit the event? */
static inline bool wbi_flow_may_emit(const wbi_flow_row *row, int event)
{
	return row->emits[event] || row->refuses[event] ||
	       row->silence == event;
}

/* The next of the types in a list with '|' between them; false at the end.
 * *rest is the list at first. */
bool wbi_flow_next_type(const char **rest, wb_str *ret);

#endif
