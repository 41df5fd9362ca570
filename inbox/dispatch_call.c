/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One call and what comes of it.
 *
 * A transaction of its own for each call would cost as much as all the rest of
 * dispatch, so a call is made straight in the transaction of the batch. Only
 * when one fails that may have written there is the whole transaction aborted
 * and done again, that handler's calls now each in a nested one (`careful`),
 * which takes back what the failed one wrote. Handlers that are called inside
 * a transaction have no effects outside it, so nobody sees the first time. A
 * handler that fails before it asks for its transaction costs nothing.
 *
 * Whatever is written here is part of the open transaction: a crash leaves the
 * event as it was before the call.
 */
#include <inttypes.h>
#include <stdio.h>

#include "inbox/dispatch_internal.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

enum {
	CALL_SLOW_US = 10 * 1000,
	CALL_SAY_US = 10 * 1000 * 1000 /* of one handler so often at most */
};

/* ---- making it --------------------------------------------------------- */

/* wb_error_clear() without the half KiB of zeros, which would cost as much as
 * a small handler. */
static void call_clear(wb_error *err)
{
	err->code = WB_OK;
	err->class_ = WB_CLASS_NONE;
	err->foreign = 0;
	err->where = "";
	err->text[0] = '\0';
}

static void call_fill(wbi_dispatch *d, wbi_consumer_run *c,
		      const wbi_subject *subject, MDB_txn *txn)
{
	struct wb_call *call = &d->call;

	call->store = d->store;
	call->tables = d->tables;
	call->handler = c->handler;
	call->state = c->state;
	call->outbox = d->outbox;
	call->txn = txn;
	call->later = NULL;
	call->id = subject->id;
	call->event = subject->event;
	call->timer = subject->timer;
	call->attempt = subject->row.attempts + 1;
	call->now_us = wbi_dispatch_now_us(d);
	call->alone = d->limit == 1;
	call->touched = false;
	call->trouble = WB_OK;
	call->trouble_error = &d->call_trouble;
	call->emitted = call->timers_set = call->timers_gone = 0;
	call->key[0] = '\0';
	call_clear(&d->call_error);
	call_clear(&d->call_trouble);
}

static void call_say_slow(wbi_dispatch *d, wbi_consumer_run *c, int64_t took_us)
{
	if (c->slow_said_us != 0 && d->mono_us - c->slow_said_us < CALL_SAY_US)
		return;
	c->slow_said_us = d->mono_us;
	wbi_log(d->log, WB_LOG_WARN,
		"handler '%s': a call inside a transaction took %" PRId64
		" ms: every other writer of the store waits for it (over %d "
		"ms; said every %d s at most)",
		c->handler->name, took_us / 1000, CALL_SLOW_US / 1000,
		CALL_SAY_US / 1000000);
}

static wb_code call_make(wbi_dispatch *d, wbi_consumer_run *c, bool due)
{
	struct wb_call *call = &d->call;
	int64_t begun_us = d->mono_us;
	wb_code code;

	if (d->calls && d->joined)
		wbi_calls_identify(d->calls, 0,
				   wbi_dispatch_identity(call->event));
	if (d->calls)
		wbi_calls_enter(d->calls, 0, &call->id, due, c->deadline_ms,
				begun_us);
	if (call->event)
		code = c->handler->handle
			       ? c->handler->handle(call, call->event,
						    &d->call_error)
			       : wb_reject(&d->call_error,
					   "the handler takes no events any "
					   "more");
	else
		code = c->handler->timer
			       ? c->handler->timer(call, call->timer,
						   &d->call_error)
			       : wb_reject(&d->call_error,
					   "the handler takes no timers any "
					   "more");
	if (d->calls)
		wbi_calls_leave(d->calls, 0);
	d->mono_us = d->clock->mono_us(d->clock->ctx);
	if (d->mono_us - begun_us > CALL_SLOW_US)
		call_say_slow(d, c, d->mono_us - begun_us);
	if (call->trouble != WB_OK &&
	    (code == WB_OK || d->call_error.code == WB_OK)) {
		/* It did not say, but what it has written is lost. */
		d->call_error = d->call_trouble;
		code = call->trouble;
	}
	return code;
}

wbi_end wbi_dispatch_judge(const wbi_dispatch *d, wb_code code, wb_error *err)
{
	(void)d;
	if (code == WB_OK)
		return WBI_END_OK;
	if (err->code == WB_OK && code > WB_OK && code < WB_CODE_END)
		WBI_FAIL(err, code, "%s", wb_code_text(code));
	else if (err->code == WB_OK)
		WBI_FAIL(err, WB_EFAILED,
			 "the handler returned %d, which is "
			 "no code of waybill",
			 (int)code);
	if (wbi_wants_room(err->code))
		return WBI_END_TROUBLE;
	switch (err->class_) {
	case WB_CLASS_REJECT:
		return WBI_END_REJECT;
	case WB_CLASS_STOP:
		return WBI_END_STOP;
	default:
		return WBI_END_RETRY;
	}
}

static wbi_end call_again(wbi_dispatch *d, wbi_consumer_run *c)
{
	c->careful = WBI_DISPATCH_CAREFUL;
	d->again = true;
	return WBI_END_AGAIN;
}

/*
 * Judge what the handler has left. An error that it kept to itself spoils the
 * transaction. One that says so (WB_ESTATE) may come of many calls in one
 * transaction, so that is tried with one before the event is blamed.
 */
static wbi_end call_end(wbi_dispatch *d, wbi_consumer_run *c, wb_code code,
			bool apart)
{
	struct wb_call *call = &d->call;
	wbi_end end;

	if (code == WB_OK && call->touched &&
	    !wbi_txn_is_sound(call->txn, d->tables->meta))
		code = wb_retry(&d->call_error,
				"it ended well, but its transaction had failed "
				"by an error that it did not return");
	end = wbi_dispatch_judge(d, code, &d->call_error);
	if (end == WBI_END_OK)
		return end;
	if (d->call_error.code == WB_ESTATE && call->touched && d->limit > 1) {
		d->limit = 1;
		d->again = true;
		return WBI_END_AGAIN;
	}
	if (end != WBI_END_TROUBLE && !apart && call->touched)
		return call_again(d, c);
	return end;
}

static void call_count(wbi_dispatch *d, wbi_consumer_run *c)
{
	c->next.changed = true;
	c->next.handled++;
	c->next.emitted += d->call.emitted;
	/* What it has set or cancelled may be what is due first. */
	if (d->call.timers_set + d->call.timers_gone > 0)
		c->next.due_us = 0;
}

wb_code wbi_dispatch_call(wbi_dispatch *d, wbi_consumer_run *c,
			  const wbi_subject *subject, bool apart, wbi_end *ret,
			  wb_error *err)
{
	MDB_txn *txn = d->txn;
	wb_code code = WB_OK;

	if (apart)
		code = wbi_txn_nest(d->txn, &txn, err);
	if (code != WB_OK)
		return code;
	call_fill(d, c, subject, txn);
	*ret = call_end(d, c, call_make(d, c, subject->due), apart);
	d->calls_made++;
	c->next.calls++;
	if (*ret == WBI_END_OK && subject->due)
		code = wbi_work_done(txn, d->tables, &subject->id,
				     d->call.now_us, err);
	if (*ret == WBI_END_OK && code == WB_OK)
		call_count(d, c);
	if (!apart)
		return code;
	if (*ret == WBI_END_OK && code == WB_OK)
		return wbi_txn_commit(txn, err);
	wbi_txn_abort(txn);
	return code;
}

/* ---- what comes of it -------------------------------------------------- */

static void outcome_name(const wbi_subject *subject, char *ret, size_t size)
{
	const wb_event *e = subject->event;

	if (e)
		snprintf(ret, size, "event '%.*s' (%.*s, position %" PRIu64 ")",
			 (int)e->id.len, e->id.ptr, (int)e->type.len,
			 e->type.ptr, subject->id.position);
	else
		snprintf(ret, size, "timer '%.*s'", (int)subject->id.key.len,
			 subject->id.key.ptr);
}

/* `made`: attempts so far, this one with them. */
static wb_code outcome_bury(wbi_dispatch *d, wbi_consumer_run *c,
			    const wbi_subject *subject, uint8_t reason,
			    uint32_t made, const wb_error *why, wb_error *err)
{
	int64_t now_us = wbi_dispatch_now_us(d);
	const wb_event *e = subject->event;
	char name[WB_ERROR_TEXT_MAX];
	wbi_dead dead = {
		.reason = reason,
		.lane = subject->id.lane,
		.blocks = subject->id.lane == WBI_LANE_KEYED &&
			  c->handler->followers == WB_FOLLOWERS_WAIT,
		.attempts = made,
		.code = why->code,
		.first_us =
			subject->row.first_us ? subject->row.first_us : now_us,
		.last_us = now_us,
		.position = subject->id.position,
		.consumer = c->name,
		.key = subject->id.key,
		.text = wb_str_from(why->text),
		.bytes = subject->record,
	};
	uint64_t number = 0;
	wb_code code;

	if (e) {
		dead.source = e->source;
		dead.id = e->id;
		dead.type = e->type;
	}
	code = wbi_work_die(d->txn, d->tables, &subject->id, &dead, now_us,
			    &number, err);
	if (code != WB_OK)
		return code;
	c->next.changed = true;
	c->next.dead++;
	c->next.due_us = 0;
	if (dead.blocks)
		c->has_group = true;
	c->gap.known = false;
	outcome_name(subject, name, sizeof(name));
	snprintf(c->next.died, sizeof(c->next.died),
		 "%.300s is dead letter %" PRIu64 ", %s: %.150s", name, number,
		 wbi_dead_reason_name(reason), why->text);
	return WB_OK;
}

wb_code wbi_dispatch_die(wbi_dispatch *d, wbi_consumer_run *c,
			 const wbi_subject *subject, uint8_t reason,
			 const wb_error *why, wb_error *err)
{
	return outcome_bury(d, c, subject, reason, subject->row.attempts, why,
			    err);
}

static wb_code outcome_retry(wbi_dispatch *d, wbi_consumer_run *c,
			     const wbi_subject *subject, const wb_error *why,
			     wb_error *err)
{
	int64_t now_us = wbi_dispatch_now_us(d);
	uint32_t made = subject->row.attempts + 1;
	wbi_work row = {
		.state = WBI_WORK_WAITING,
		.attempts = made,
		.due_us = now_us + wbi_work_backoff_us(d->random,
						       c->backoff_min_ms,
						       c->backoff_max_ms, made),
		.first_us =
			subject->row.first_us ? subject->row.first_us : now_us,
		.last_us = now_us,
		.code = why->code,
		.text = wb_str_from(why->text),
		.record = subject->record,
	};
	wb_code code;

	if (made >= c->attempts_max)
		return outcome_bury(d, c, subject, WBI_DEAD_EXHAUSTED, made,
				    why, err);
	code = subject->due ? wbi_work_change(d->txn, d->tables, &subject->id,
					      &row, now_us, err)
			    : wbi_work_add(d->txn, d->tables, &subject->id,
					   &row, err);
	if (code != WB_OK)
		return code;
	c->next.changed = true;
	c->next.retries++;
	c->next.due_us = 0; /* look when */
	c->has_group = true;
	c->gap.known = false;
	return WB_OK;
}

static void outcome_stop(wbi_consumer_run *c, const wbi_subject *subject,
			 const wb_error *why)
{
	char name[WB_ERROR_TEXT_MAX];

	outcome_name(subject, name, sizeof(name));
	c->next.changed = true;
	c->next.halted = true;
	snprintf(c->next.error, sizeof(c->next.error),
		 "stopped at %.300s: %.180s", name, why->text);
}

wb_code wbi_dispatch_outcome(wbi_dispatch *d, wbi_consumer_run *c,
			     const wbi_subject *subject, wbi_end end,
			     const wb_error *why, wb_error *err)
{
	switch (end) {
	case WBI_END_RETRY:
		return outcome_retry(d, c, subject, why, err);
	case WBI_END_REJECT:
		return outcome_bury(d, c, subject, WBI_DEAD_REJECTED,
				    subject->row.attempts + 1, why, err);
	case WBI_END_STOP:
		outcome_stop(c, subject, why);
		return WB_OK;
	case WBI_END_TROUBLE:
		wbi_dispatch_hold(d, c, why);
		return WB_OK;
	case WBI_END_OK:
	case WBI_END_AGAIN:
		break;
	}
	WB_ASSERT(end == WBI_END_AGAIN);
	return WB_OK;
}
