/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * After a crash: who is to blame. The page of calls (calls.h) says which were
 * in progress; their transaction is gone, so the attempt is counted here.
 *
 *   an event from the cursor   a CRASHED row keeps the count; when dispatch
 *                              reaches the event, that is an attempt that has
 *                              failed (wbi_dispatch_crashes). Neighbours of its
 *                              batch are simply called again, for the first
 *                              time as far as anybody knows.
 *   a row that was due         one attempt more, and it waits
 *   an external call           its attempt was counted before it was begun; it
 *                              is given back to all that are not to blame
 *   an event that is not in    its commit was that of its call (see
 *   the inbox                  dispatch_join.c), and its position may be
 *                              another's next time: it is known by its id when
 *                              it comes again, and that attempt counts then; if
 *                              this process ends before, it does not
 *
 * To blame is a call that is marked as crashed or hung, or the only one there
 * was. Of several, none of them marked (killed from outside, out of memory), no
 * one is: all get their attempts back, and those that were in progress go one
 * at a time, so that the next crash tells.
 *
 * All in one transaction, and only then is the page cleared: a crash in between
 * counts an attempt twice, which ends a loop of crashes sooner and not later.
 */
#include <inttypes.h>
#include <stdio.h>

#include "inbox/dispatch_internal.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

enum { RECOVER_BACKOFF_MIN_MS = 1000, RECOVER_BACKOFF_MAX_MS = 300 * 1000 };

static void recover_why(const wbi_call_noted *noted, wb_error *ret)
{
	if (noted->end == WBI_CALL_HUNG)
		WBI_FAIL(ret, WB_ETIMEOUT,
			 "hung: not back after its deadline of %" PRIu32
			 " ms, and was ended with its process",
			 noted->deadline_ms);
	else if (noted->end == WBI_CALL_CRASHED)
		WBI_FAIL(ret, WB_EFAILED,
			 "crashed: a fatal signal in the call");
	else
		WBI_FAIL(ret, WB_EFAILED, "the process ended in the call");
}

static int64_t recover_backoff_us(const wbi_dispatch *d,
				  const wbi_consumer_run *c, uint32_t attempts)
{
	return wbi_work_backoff_us(
		d->random, c ? c->backoff_min_ms : RECOVER_BACKOFF_MIN_MS,
		c ? c->backoff_max_ms : RECOVER_BACKOFF_MAX_MS, attempts);
}

/* One attempt of an event that the cursor has not passed. */
static wb_code recover_event(wbi_dispatch *d, const wbi_call_noted *noted,
			     const wb_error *why, wb_error *err)
{
	int64_t now_us = d->begun_real_us;
	wbi_work_id id = {noted->id.consumer, WBI_LANE_CRASHED, WB_STR_NULL,
			  noted->id.position};
	wbi_consumer consumer;
	wbi_work row;
	bool known;
	wb_code code = wbi_consumer_get(d->txn, d->tables->consumers, 'i',
					id.consumer, &consumer, err);

	/* Its commit was made, or its consumer is gone: nothing was lost. */
	if (code == WB_ENOTFOUND ||
	    (code == WB_OK && id.position <= consumer.position))
		return WB_OK;
	if (code == WB_OK)
		code = wbi_work_get(d->txn, d->tables->work, &id, &row, err);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	known = code == WB_OK;
	if (!known)
		row = (wbi_work){.first_us = now_us};
	row.state = WBI_WORK_QUEUED;
	row.attempts++;
	row.last_us = now_us;
	row.code = why->code;
	row.text = wb_str_from(why->text);
	return known ? wbi_work_change(d->txn, d->tables, &id, &row, now_us,
				       err)
		     : wbi_work_add(d->txn, d->tables, &id, &row, err);
}

/* A row whose call was in progress. One of an external call has its attempt
 * already. */
static wb_code recover_row(wbi_dispatch *d, const wbi_call_noted *noted,
			   const wb_error *why, wb_error *err)
{
	wbi_consumer_run *c = wbi_dispatch_find(d, noted->id.consumer);
	int64_t now_us = d->begun_real_us;
	wbi_work row;
	wb_code code =
		wbi_work_get(d->txn, d->tables->work, &noted->id, &row, err);

	if (code == WB_ENOTFOUND ||
	    (code == WB_OK && row.state != WBI_WORK_WAITING &&
	     row.state != WBI_WORK_RUNNING))
		return WB_OK; /* its end was committed */
	if (code != WB_OK)
		return code;
	if (row.state == WBI_WORK_WAITING)
		row.attempts++;
	row.state = WBI_WORK_WAITING;
	row.due_us = now_us + recover_backoff_us(d, c, row.attempts);
	row.first_us = row.first_us ? row.first_us : now_us;
	row.last_us = now_us;
	row.code = why->code;
	row.text = wb_str_from(why->text);
	return wbi_work_change(d->txn, d->tables, &noted->id, &row, now_us,
			       err);
}

/* Too often? Then it is a dead letter, and not called again. */
static wb_code recover_die(wbi_dispatch *d, const wbi_call_noted *noted,
			   const wb_error *why, wb_error *err)
{
	wbi_consumer_run *c = wbi_dispatch_find(d, noted->id.consumer);
	wbi_subject subject = {.id = noted->id, .due = true};
	uint64_t position;
	wb_event event;
	wb_code code;

	if (!c)
		return WB_OK;
	code = wbi_work_get(d->txn, d->tables->work, &noted->id, &subject.row,
			    err);
	if (code != WB_OK || subject.row.attempts < c->attempts_max ||
	    subject.row.state == WBI_WORK_DEAD) /* by one who died right then */
		return code == WB_ENOTFOUND ? WB_OK : code;
	subject.record = subject.row.record;
	if (noted->id.lane != WBI_LANE_TIMER) {
		code = wbi_record_decode(subject.record.ptr, subject.record.len,
					 &event, &position, err);
		subject.event = &event;
	}
	if (code != WB_OK)
		return code;
	return wbi_dispatch_die(d, c, &subject,
				noted->end == WBI_CALL_HUNG ? WBI_DEAD_HUNG
							    : WBI_DEAD_CRASHED,
				why, err);
}

/* Was its event to be taken in by the commit that its call was part of? */
static wb_code recover_is_joined(wbi_dispatch *d, const wbi_call_noted *noted,
				 bool *ret, wb_error *err)
{
	uint64_t first, head;
	wb_code code;

	*ret = false;
	if (noted->due)
		return WB_OK;
	code = wbi_journal_range(&d->inbox, d->txn, &first, &head, err);
	*ret = code == WB_OK && noted->id.position > head;
	return code;
}

/* All that was not acked comes again, that one among it. */
static void recover_suspect(wbi_dispatch *d, const wbi_call_noted *noted,
			    const wb_error *why)
{
	wbi_consumer_run *c = wbi_dispatch_find(d, noted->id.consumer);

	d->apart = 2 * d->options.prefetch;
	if (!c)
		return;
	c->suspect = noted->identity;
	c->suspect_why = *why;
}

static wb_code recover_blame(wbi_dispatch *d, const wbi_call_noted *noted,
			     wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	bool joined;
	wb_code code = recover_is_joined(d, noted, &joined, err);

	if (code != WB_OK)
		return code;
	recover_why(noted, &why);
	wbi_log(d->log, WB_LOG_WARN,
		"handler '%.*s': the last call, of position %" PRIu64
		", %s: it counts as an attempt%s",
		(int)noted->id.consumer.len, noted->id.consumer.ptr,
		noted->id.position, why.text,
		joined ? " of that event when it comes again" : "");
	if (joined) {
		recover_suspect(d, noted, &why);
		return WB_OK;
	}
	if (!noted->due)
		return recover_event(d, noted, &why, err);
	code = recover_row(d, noted, &why, err);
	return code == WB_OK ? recover_die(d, noted, &why, err) : code;
}

/* Calls that were begun, or about to be, and are nobody's fault. */
static wb_code recover_give_back(wbi_dispatch *d, wbi_consumer_run *c,
				 wb_error *err)
{
	int64_t now_us = d->begun_real_us;
	wbi_row_key key;
	wbi_work_id id;
	wbi_work row;
	wb_code code;

	for (;;) {
		code = wbi_work_first_running(d->txn, d->tables, c->name, &key,
					      &id, &row, err);
		if (code != WB_OK)
			return code == WB_ENOTFOUND ? WB_OK : code;
		row.state = WBI_WORK_WAITING;
		row.due_us = now_us;
		if (row.attempts > 0)
			row.attempts--;
		code = wbi_work_change(d->txn, d->tables, &id, &row, now_us,
				       err);
		if (code != WB_OK)
			return code;
	}
}

/* How many calls were in progress, and how many of them are marked. */
static unsigned recover_count(const wbi_dispatch *d, unsigned *ret_marked)
{
	wbi_call_noted noted;
	unsigned count = 0;

	*ret_marked = 0;
	for (unsigned i = 0; d->calls && i < WBI_CALLS_MAX; i++) {
		if (!wbi_calls_get(d->calls, i, &noted))
			continue;
		count++;
		*ret_marked += noted.end != WBI_CALL_UNKNOWN;
	}
	return count;
}

static wb_code recover_all(wbi_dispatch *d, wb_error *err)
{
	unsigned marked, count = recover_count(d, &marked);
	wbi_call_noted noted;
	wb_code code = WB_OK;

	if (count > 1 && marked == 0) {
		wbi_log(d->log, WB_LOG_WARN,
			"the last process ended with %u calls in progress: "
			"they are made again one at a time",
			count);
		d->one_at_a_time = count;
	}
	for (unsigned i = 0; count > 0 && i < WBI_CALLS_MAX && code == WB_OK;
	     i++)
		if (wbi_calls_get(d->calls, i, &noted) &&
		    (noted.end != WBI_CALL_UNKNOWN || count == 1))
			code = recover_blame(d, &noted, err);
	for (size_t i = 0; i < d->count && code == WB_OK; i++)
		code = recover_give_back(d, &d->consumers[i], err);
	return code;
}

/* ---- CRASHED rows -------------------------------------------------------- */

static wbi_work_id crashed_id(const wbi_consumer_run *c, uint64_t position)
{
	return (wbi_work_id){c->name, WBI_LANE_CRASHED, WB_STR_NULL, position};
}

/* How many there are, so that dispatch need not look for others. */
static wb_code recover_count_crashed(wbi_dispatch *d, wbi_consumer_run *c,
				     wb_error *err)
{
	wbi_row_key prefix = wbi_work_lane_prefix(c->name, WBI_LANE_CRASHED);
	wb_str at = wbi_row_key_str(&prefix), row;
	wbi_move move = WBI_SEEK;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(d->txn, d->tables->work, &cursor, err);

	if (code != WB_OK)
		return code;
	c->next.crashed = 0;
	for (;;) {
		code = wbi_cursor_move(cursor, move, &at, &row, err);
		if (code != WB_OK || at.len < prefix.len ||
		    memcmp(at.ptr, prefix.bytes, prefix.len) != 0)
			break;
		c->next.crashed++;
		move = WBI_NEXT;
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

wb_code wbi_dispatch_crashes(wbi_dispatch *d, wbi_consumer_run *c,
			     uint64_t position, wbi_work *ret,
			     char text[WB_ERROR_TEXT_MAX], wb_error *err)
{
	wbi_work_id id = crashed_id(c, position);
	wb_code code = wbi_work_get(d->txn, d->tables->work, &id, ret, err);

	if (code == WB_ENOTFOUND) {
		*ret = (wbi_work){.attempts = 0};
		return WB_OK;
	}
	if (code != WB_OK)
		return code;
	snprintf(text, WB_ERROR_TEXT_MAX, "%.*s", (int)ret->text.len,
		 ret->text.len > 0 ? ret->text.ptr : "");
	ret->text = ret->record = WB_STR_NULL;
	c->next.crashed--;
	c->next.changed = true;
	return wbi_work_done(d->txn, d->tables, &id, wbi_dispatch_now_us(d),
			     err);
}

wb_code wbi_dispatch_recover(wbi_dispatch *d, wb_error *err)
{
	wb_code code = wbi_dispatch_begin(d, err);

	if (code != WB_OK)
		return code;
	code = recover_all(d, err);
	for (size_t i = 0; i < d->count && code == WB_OK; i++)
		code = recover_count_crashed(d, &d->consumers[i], err);
	if (code == WB_OK)
		code = wbi_dispatch_commit(d, err);
	wbi_txn_abort(d->txn);
	d->txn = NULL;
	if (code == WB_OK && d->calls)
		wbi_calls_clear(d->calls);
	return code;
}
