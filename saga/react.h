/* SPDX-License-Identifier: BSD-2-Clause */
/* A service's part in a flow, from the inside. */
#ifndef WBI_REACT_H
#define WBI_REACT_H

#include <waybill/outbox.h>

#include "saga/barrier.h"
#include "saga/extra.h"
#include "saga/flow.h"

enum {
	WBI_FLOW_KEEP_MAX = 64 * 1024,
	WBI_FLOW_LOG_MAX = 1000, /* entries of one saga */
	WBI_FLOW_PRUNE = 2       /* rows per call */
};

#define WBI_FLOW_KEEP_S UINT64_C(2592000) /* 30 days */

struct wb_choreography {
	wb_store *store;
	const wbi_store_tables *tables;
	const wb_flow_part *part;
	wbi_flow *flow;
	wb_outbox *outbox;
	wb_clock clock;
	int64_t keep_us;
	wb_handler handler; /* ours, for the worker */
	wb_handler facade;  /* what a binding sees as its handler */
	char handler_name[WBI_CONSUMER_NAME_MAX + 1];
	char **types; /* NULL behind the last */
	const wb_flow_binding *bindings[WBI_FLOW_ROWS_MAX]; /* by row */
	bool own[WBI_FLOW_ROWS_MAX];
};

/* What wb_choreography_open() has to say, but for the store. */
wb_code wbi_flow_part_check(const wb_flow_part *part, wb_error *err);

/* Texts of a log entry, gathered while a step runs. */
typedef struct wbi_flow_words {
	char text[512];
	size_t len;
	wb_str why; /* of a refusal; borrowed */
} wbi_flow_words;

void wbi_flow_words_add(wbi_flow_words *words, wb_str word);

/* What wb_call.extra is in a call of a binding. */
typedef struct wbi_flow_call {
	wbi_extra kind;
	wb_choreography *choreography;
	int row;
	wb_str saga;
	wb_step_state undoing;
	wb_str kept; /* copy of what the step kept, in an undoing row */
	bool pending;
	char *keep; /* what this step keeps; own memory */
	size_t keep_len;
	uint8_t *refusal; /* content type, then data */
	size_t refusal_type_len, refusal_len;
	wbi_flow_words out;
} wbi_flow_call;

/* Where things of one saga are written. */
typedef struct wbi_flow_scope {
	wb_choreography *choreography;
	wbi_barrier_scope barrier;
	wb_str saga;
} wbi_flow_scope;

/* "FLOW:STEP" in `text`, which must live as long as the id. */
wbi_barrier_id wbi_flow_barrier_id(const wbi_flow_scope *scope, int row,
				   uint8_t op,
				   char text[WBI_BARRIER_STEP_MAX + 1]);

/* The barrier row of what a step of this service did in the saga; get:
 * WB_ENOTFOUND. */
wb_code wbi_flow_step_get(const wbi_flow_scope *scope, int row,
			  wbi_barrier *ret, wb_error *err);
wb_code wbi_flow_step_put(const wbi_flow_scope *scope, int row,
			  const wbi_barrier *barrier, wb_error *err);

/* An event of the flow: the saga's id in its headers, key and correlation
 * filled in. `headers` has room for event->header_count + 1. */
wb_event wbi_flow_event(const wb_event *event, wb_str saga, wb_header *headers);
enum { WBI_FLOW_HEADERS = 1024 + 1 };

/* May this row emit it? WB_EINVAL names both. */
wb_code wbi_flow_check_emit(const wb_choreography *choreography, int row,
			    wb_str type, wb_error *err);

/* What the saga is at here, after something changed; with a log entry (NULL:
 * none). One whose `after` is ABANDONED ends it as it stands; it stays so. */
wb_code wbi_flow_note(const wbi_flow_scope *scope, const wbi_saga_entry *entry,
		      wb_error *err);

/* In the call's transaction. */
void wbi_flow_scope_of(wb_call *call, wb_str saga, wbi_flow_scope *ret);

/* The timer of a waiting step, from when its barrier was last written. */
char *wbi_flow_timer_name(wb_str saga, const char *step, char ret[256]);

/* "none", "pending", ... of a wb_step_state. */
const char *wbi_step_state_name(uint8_t state);

/* For the handler. */
wb_code wbi_flow_handle(wb_call *call, const wb_event *event, wb_error *err);
wb_code wbi_flow_timer(wb_call *call, const wb_timer *timer, wb_error *err);

/* flow_order.c: an operator's order, which comes as a timer (operator.h). */
bool wbi_flow_is_order(const wb_timer *timer);
wb_code wbi_flow_order(wb_call *call, const wb_timer *timer, wb_error *err);

#endif
