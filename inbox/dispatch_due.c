/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows that are due: retries, what has waited behind them, timers, and the
 * external calls. One row of each consumer in turn, until the transaction's
 * share is used up, so that no consumer's rows starve another's.
 *
 * A transactional call is made in a nested transaction together with the
 * removal of its row; an external one is only begun here (dispatch_external.c).
 */
#include "inbox/dispatch_internal.h"
#include "inbox/timer.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"

static bool due_can(const wbi_dispatch *d, const wbi_consumer_run *c)
{
	if (!wbi_dispatch_can(d, c))
		return false;
	return c->handler->kind != WB_EXTERNAL || wbi_dispatch_can_start(d);
}

bool wbi_dispatch_has_due(const wbi_dispatch *d, int64_t real_us)
{
	for (size_t i = 0; i < d->count && !wbi_dispatch_is_held(d); i++) {
		const wbi_consumer_run *c = &d->consumers[i];

		if (c->due_us <= real_us && due_can(d, c))
			return true;
	}
	return false;
}

/* Point `subject` at what the row holds, a copy: the call may change `work`. */
static wb_code due_decode(wbi_dispatch *d, wbi_subject *subject,
			  wb_event *event, wb_timer *timer, wb_error *err)
{
	uint64_t position;
	wb_str record = subject->row.record;
	wb_code code;

	wbi_buffer_clear(&d->record);
	code = wbi_buffer_append(&d->record, record.ptr, record.len);
	if (code != WB_OK)
		return WBI_FAIL(err, WB_ENOMEM,
				"no memory for a record of %zu bytes",
				record.len);
	subject->record = wb_str_n(wbi_buffer_data(&d->record), record.len);
	if (subject->id.lane == WBI_LANE_TIMER) {
		subject->timer = timer;
		return wbi_timer_unpack(&subject->id, subject->record, timer,
					err);
	}
	subject->event = event;
	code = wbi_record_decode(subject->record.ptr, record.len, event,
				 &position, err);
	if (code == WB_OK && event->header_count > 0)
		code = wbi_record_headers(subject->record.ptr, record.len,
					  event, d->headers, err);
	return code;
}

static wb_code due_call(wbi_dispatch *d, wbi_consumer_run *c,
			const wbi_work_id *id, const wbi_work *row,
			wb_error *err)
{
	wbi_subject subject = {.id = *id, .due = true, .row = *row};
	wbi_end end = WBI_END_AGAIN;
	wb_event event;
	wb_timer timer;
	wb_code code = due_decode(d, &subject, &event, &timer, err);

	if (code == WB_OK)
		code = wbi_dispatch_call(d, c, &subject, true, &end, err);
	if (code != WB_OK || end == WBI_END_OK)
		return code;
	return wbi_dispatch_outcome(d, c, &subject, end, &d->call_error, err);
}

static wb_code due_one(wbi_dispatch *d, wbi_consumer_run *c, bool *ret_did,
		       wb_error *err)
{
	int64_t now_us = wbi_dispatch_now_us(d), next_us = INT64_MAX;
	wbi_row_key key;
	wbi_work_id id;
	wbi_work row;
	wb_code code;

	if (c->next.halted || c->next.due_us > now_us || !due_can(d, c) ||
	    c->next.calls >= c->limit)
		return WB_OK;
	code = wbi_work_first_due(d->txn, d->tables, c->name, now_us, &key, &id,
				  &row, &next_us, err);
	if (code == WB_ENOTFOUND) {
		c->next.due_us = next_us;
		return WB_OK;
	}
	if (code != WB_OK)
		return code;
	*ret_did = true;
	if (c->handler->kind == WB_EXTERNAL)
		return wbi_dispatch_start_call(d, c, &key, &row, err);
	return due_call(d, c, &id, &row, err);
}

wb_code wbi_dispatch_due(wbi_dispatch *d, wb_error *err)
{
	size_t from = d->turns % d->count;
	wb_code code = WB_OK;
	bool did;

	do {
		did = false;
		for (size_t i = 0; i < d->count && code == WB_OK; i++) {
			if (d->again || wbi_dispatch_is_full(d))
				return WB_OK;
			code = due_one(d, &d->consumers[(from + i) % d->count],
				       &did, err);
		}
	} while (did && code == WB_OK);
	return code;
}
