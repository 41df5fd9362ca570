/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An operator abandons a service's part in a choreographed saga: what waits
 * here waits no more, nothing is emitted, nothing undone. A step that is
 * pending may still be completed by its service, and an event that comes after
 * all is reacted to; the saga stays abandoned.
 *
 * All of it in the call of the order's timer, with its row in the audit: a
 * crash leaves the order, or what came of it. On the worker's thread.
 */
#include <stdio.h>

#include "lib/base/error.h"
#include "saga/operator.h"
#include "saga/react.h"

static const char order_suffix[] = "/!";

enum { ORDER_SUFFIX = sizeof(order_suffix) - 1 };

bool wbi_flow_is_order(const wb_timer *timer)
{
	return timer->name.len > ORDER_SUFFIX &&
	       !memcmp(timer->name.ptr + timer->name.len - ORDER_SUFFIX,
		       order_suffix, ORDER_SUFFIX);
}

/* A step of ours: its wait is over. */
static wb_code order_end_wait(wb_call *call, const wbi_flow_scope *scope,
			      int at, wb_error *err)
{
	const wb_choreography *c = scope->choreography;
	char name[256];
	wbi_barrier row;
	wb_code code = wbi_flow_step_get(scope, at, &row, err);

	if (code != WB_OK)
		return code == WB_ENOTFOUND ? WB_OK : code;
	if (row.state == WB_STEP_DONE && row.reply_to.len > 0) {
		row.reply_to = WB_STR_NULL;
		code = wbi_flow_step_put(scope, at, &row, err);
	} else if (row.state != WB_STEP_PENDING) {
		return WB_OK;
	}
	wbi_flow_timer_name(scope->saga, c->flow->rows[at].reaction->step,
			    name);
	if (code == WB_OK)
		code = wb_timer_cancel(call, wb_str_from(name), err);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code order_abandon(wb_call *call, const wbi_flow_scope *scope,
			     const wbi_order *order, wb_error *err)
{
	const wb_choreography *c = scope->choreography;
	char text[WBI_ORDER_TEXT_MAX];
	wbi_saga_entry entry = {.time_us = call->now_us,
				.after = WB_SAGA_ABANDONED,
				.in = wb_str_from("operator"),
				.what = wb_str_from("abandoned"),
				.who = order->who,
				.why = order->why};
	wb_code code = WB_OK;

	snprintf(text, sizeof(text), "abandoned by %.*s: %.*s",
		 (int)(order->who.len < 60 ? order->who.len : 60),
		 order->who.ptr,
		 (int)(order->why.len < 100 ? order->why.len : 100),
		 order->why.ptr);
	entry.text = wb_str_from(text);
	for (int i = 0; i < c->flow->row_count && code == WB_OK; i++)
		if (c->own[i] && c->flow->rows[i].undoes < 0)
			code = order_end_wait(call, scope, i, err);
	return code == WB_OK ? wbi_flow_note(scope, &entry, err) : code;
}

wb_code wbi_flow_order(wb_call *call, const wb_timer *timer, wb_error *err)
{
	const wb_choreography *c = call->handler->ctx;
	wbi_saga_id id = {
		.kind = WBI_SAGA_FLOW,
		.id = wb_str_n(timer->name.ptr, timer->name.len - ORDER_SUFFIX),
		.name = wb_str_from(c->part->flow->name)};
	const char *refusal = NULL;
	wbi_flow_scope scope;
	wbi_order order;
	wbi_saga_row row;
	wb_code code;

	if (wbi_order_decode(timer->data, &order, NULL) != WB_OK ||
	    id.id.len > WBI_SAGA_ID_MAX)
		return wb_reject(err, "timer '%.*s' is no operator's order",
				 (int)timer->name.len, timer->name.ptr);
	wbi_flow_scope_of(call, id.id, &scope);
	code = wbi_saga_get(scope.barrier.txn, c->tables, &id, &row, err);
	if (code == WB_ENOTFOUND)
		refusal = "it is gone";
	else if (code != WB_OK)
		return code;
	else if (wbi_saga_status_is_final(row.status))
		refusal = "it has ended";
	else if (order.verb != WBI_VERB_ABANDON)
		refusal = "a choreographed saga can only be abandoned";
	if (refusal)
		return wbi_order_audit(call, &id, &order, false, refusal, err);
	code = order_abandon(call, &scope, &order, err);
	return code == WB_OK ? wbi_order_audit(call, &id, &order, true,
					       "abandoned", err)
			     : code;
}
