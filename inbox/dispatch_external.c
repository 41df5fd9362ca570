/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * External calls. Three steps, so that no transaction is open during a call and
 * none is made twice without need:
 *
 *   1. commit its row as RUNNING, with the attempt counted
 *   2. make the call, on a thread of the pool or between two steps here
 *   3. commit what came of it, and with it what it emitted and its timers
 *
 * A crash before 2 or in another call gives the attempt back (recovery); one
 * in 2 costs it; one between 2 and 3 repeats the call, which is why the other
 * side is offered the same key again. A row is the head of its group as long as
 * it is RUNNING, so there is one call per (consumer, key).
 *
 * A job belongs to this thread but between give and take, when its call has it.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "inbox/dispatch_internal.h"
#include "inbox/timer.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

enum { EXTERNAL_TROUBLE_US = 1000 * 1000 };

/* ---- lists ------------------------------------------------------------- */

static void job_add(wbi_job_list *list, wbi_job *job)
{
	wbi_job **at = &list->first;

	while (*at)
		at = &(*at)->next;
	job->next = NULL;
	*at = job;
	list->count++;
}

static wbi_job *job_take(wbi_job_list *list)
{
	wbi_job *job = list->first;

	if (!job)
		return NULL;
	list->first = job->next;
	list->count--;
	return job;
}

static void job_remove(wbi_job_list *list, const wbi_job *job)
{
	wbi_job **at = &list->first;

	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
	list->count--;
}

static void job_free(wbi_job *job)
{
	if (!job)
		return;
	wbi_later_free(job->call.later);
	free(job->record);
	free(job);
}

static void jobs_free(wbi_job_list *list)
{
	wbi_job *job;

	while ((job = job_take(list)))
		job_free(job);
}

void wbi_dispatch_drop_jobs(wbi_dispatch *d)
{
	jobs_free(&d->starting);
	jobs_free(&d->waiting);
	jobs_free(&d->running);
	jobs_free(&d->ended);
}

size_t wbi_dispatch_running(const wbi_dispatch *d)
{
	return d->starting.count + d->waiting.count + d->running.count +
	       d->ended.count;
}

bool wbi_dispatch_can_start(const wbi_dispatch *d)
{
	size_t most = d->pool ? d->options.threads : WBI_DISPATCH_INLINE;

	if (d->one_at_a_time > 0)
		most = 1;
	return wbi_dispatch_running(d) < most;
}

/* ---- 1: begin ---------------------------------------------------------- */

/* The row's bytes and what they hold, in the job's own memory. */
static wb_code job_decode(wbi_job *job, const wbi_work *row, wb_error *err)
{
	struct wb_call *call = &job->call;
	size_t len = row->record.len;
	uint64_t position;
	wb_code code;

	job->record = malloc(len > 0 ? len : 1);
	call->later = wbi_later_new();
	if (!job->record || !call->later)
		return WBI_FAIL(err, WB_ENOMEM,
				"no memory for an external call of %zu bytes",
				len);
	memcpy(job->record, row->record.ptr, len);
	job->row = *row;
	job->row.record = wb_str_n(job->record, len);
	job->row.text = WB_STR_NULL;
	code = wbi_work_key_parse(wbi_row_key_str(&job->key), &call->id, err);
	if (code != WB_OK)
		return code;
	if (call->id.lane == WBI_LANE_TIMER) {
		call->timer = &job->timer;
		return wbi_timer_unpack(&call->id, job->row.record, &job->timer,
					err);
	}
	call->event = &job->event;
	code = wbi_record_decode(job->record, len, &job->event, &position, err);
	if (code == WB_OK && job->event.header_count > 0)
		code = wbi_record_headers(job->record, len, &job->event,
					  job->headers, err);
	return code;
}

/* Headers are few, and how many is known only when the record is decoded. */
static wb_code job_new(const wbi_row_key *key, const wbi_work *row,
		       wbi_job **ret, wb_error *err)
{
	wb_event event = {.header_count = 0};
	uint64_t position;
	wbi_job *job;
	wb_code code;

	(void)wbi_record_decode(row->record.ptr, row->record.len, &event,
				&position, NULL);
	job = calloc(1, sizeof(*job) + event.header_count * sizeof(wb_header));
	if (!job)
		return WBI_FAIL(err, WB_ENOMEM,
				"no memory for an external call");
	job->key = *key;
	code = job_decode(job, row, err);
	if (code == WB_OK)
		*ret = job;
	else
		job_free(job);
	return code;
}

static void external_run(wbi_task *task, unsigned slot);

static void job_init(wbi_dispatch *d, wbi_consumer_run *c, wbi_job *job)
{
	struct wb_call *call = &job->call;

	job->task.run = external_run;
	job->dispatch = d;
	job->consumer = c;
	call->store = d->store;
	call->tables = d->tables;
	call->handler = c->handler;
	call->state = c->state;
	call->attempt = job->row.attempts;
	call->trouble_error = &job->trouble;
}

wb_code wbi_dispatch_start_call(wbi_dispatch *d, wbi_consumer_run *c,
				const wbi_row_key *key, const wbi_work *row,
				wb_error *err)
{
	wbi_work running = *row;
	wbi_job *job = NULL;
	wb_code code = job_new(key, row, &job, err);

	if (code != WB_OK)
		return code;
	job->row.attempts++;
	job_init(d, c, job);
	running.state = WBI_WORK_RUNNING;
	running.attempts = job->row.attempts;
	code = wbi_work_change(d->txn, d->tables, &job->call.id, &running,
			       wbi_dispatch_now_us(d), err);
	d->calls_made++;
	if (code == WB_OK)
		job_add(&d->starting, job);
	else
		job_free(job);
	return code;
}

void wbi_dispatch_started(wbi_dispatch *d, bool committed)
{
	wbi_job *job;

	if (!committed) {
		jobs_free(&d->starting);
		return;
	}
	while ((job = job_take(&d->starting))) {
		job->begun_us = d->mono_us;
		job->call.now_us = d->clock->real_us(d->clock->ctx);
		job_add(d->pool ? &d->running : &d->waiting, job);
		if (d->pool)
			wbi_pool_give(d->pool, &job->task);
	}
}

/* ---- 2: the call ------------------------------------------------------- */

/* On its thread: nothing of dispatch is touched that changes meanwhile, nor the
 * clock, which need not bear two threads. */
static void external_run(wbi_task *task, unsigned slot)
{
	wbi_job *job = (wbi_job *)task;
	const wbi_dispatch *d = job->dispatch;
	const wb_handler *handler = job->consumer->handler;
	struct wb_call *call = &job->call;

	job->made = true;
	if (d->calls)
		wbi_calls_enter(d->calls, slot, &call->id, true,
				job->consumer->deadline_ms, job->begun_us);
	if (call->timer && handler->timer)
		job->code = handler->timer(call, call->timer, &job->error);
	else if (call->event && handler->handle)
		job->code = handler->handle(call, call->event, &job->error);
	else
		job->code = wb_reject(&job->error,
				      "the handler takes no %s any more",
				      call->timer ? "timers" : "events");
	if (d->calls)
		wbi_calls_leave(d->calls, slot);
}

static void external_say_late(wbi_dispatch *d, int64_t now_us)
{
	for (wbi_job *job = d->running.first; job; job = job->next) {
		int64_t allowed = (int64_t)job->consumer->deadline_ms * 1000;

		if (job->late || now_us - job->begun_us < allowed)
			continue;
		job->late = true;
		wbi_log(d->log, WB_LOG_ERROR,
			"handler '%s': a call has run for %" PRId64
			" ms, its deadline is %" PRIu32
			" ms: it occupies a thread until it returns",
			job->consumer->handler->name,
			(now_us - job->begun_us) / 1000,
			job->consumer->deadline_ms);
	}
}

void wbi_dispatch_external(wbi_dispatch *d)
{
	wbi_task *task;
	wbi_job *job;

	while (d->running.count > 0 && (task = wbi_pool_take(d->pool))) {
		job = (wbi_job *)task;
		job_remove(&d->running, job);
		job_add(&d->ended, job);
	}
	external_say_late(d, d->mono_us);
	if (d->stopping) {
		while ((job = job_take(&d->waiting)))
			job_add(&d->ended, job); /* not made */
		return;
	}
	job = job_take(&d->waiting);
	if (!job)
		return;
	job->begun_us = d->mono_us;
	job->call.now_us = d->clock->real_us(d->clock->ctx);
	external_run(&job->task, 0);
	d->mono_us = d->clock->mono_us(d->clock->ctx);
	job_add(&d->ended, job);
}

/* ---- 3: what came of it -------------------------------------------------- */

/* Its row to WAITING, the attempt not counted. */
static wb_code external_give_back(wbi_dispatch *d, wbi_job *job,
				  const wbi_work *row, int64_t delay_us,
				  wb_error *err)
{
	int64_t now_us = wbi_dispatch_now_us(d);
	wbi_work back = *row;

	back.state = WBI_WORK_WAITING;
	back.due_us = now_us + delay_us;
	back.attempts = job->row.attempts - 1;
	job->consumer->next.due_us = 0;
	return wbi_work_change(d->txn, d->tables, &job->call.id, &back, now_us,
			       err);
}

/* Ended well: its wishes and the end of its row, both or none. What it wished
 * for and cannot be had (*ret_why) makes a dead letter of it. */
static wb_code external_done(wbi_dispatch *d, wbi_job *job, wb_error *ret_why,
			     wb_error *err)
{
	wbi_consumer_next *next = &job->consumer->next;
	struct wb_call call = job->call;
	wb_code code = wbi_txn_nest(d->txn, &call.txn, err), refused;

	if (code != WB_OK)
		return code;
	call.later = NULL;
	call.outbox = d->outbox;
	call.emitted = 0;
	refused = wbi_later_apply(job->call.later, &call, ret_why);
	if (refused == WB_OK)
		code = wbi_work_done(call.txn, d->tables, &call.id,
				     wbi_dispatch_now_us(d), err);
	if (code != WB_OK || refused != WB_OK) {
		wbi_txn_abort(call.txn);
		return code;
	}
	code = wbi_txn_commit(call.txn, err);
	if (code != WB_OK)
		return code;
	next->changed = true;
	next->handled++;
	next->emitted += call.emitted;
	next->due_us = 0;
	return WB_OK;
}

static wb_code external_settle(wbi_dispatch *d, wbi_job *job, wbi_work *row,
			       wb_error *err)
{
	wbi_subject subject = {.id = job->call.id,
			       .event = job->call.event,
			       .timer = job->call.timer,
			       .record = job->row.record,
			       .due = true,
			       .row = job->row};
	wb_error why = job->error;
	wbi_end end = wbi_dispatch_judge(d, job->code, &why);
	wb_code code = WB_OK;

	if (end == WBI_END_OK) {
		code = external_done(d, job, &why, err);
		if (code != WB_OK || why.code == WB_OK)
			return code;
		end = wbi_dispatch_judge(d, why.code, &why);
		if (end == WBI_END_TROUBLE) /* it has been made: keep it */
			return wbi_dispatch_outcome(d, job->consumer, &subject,
						    end, &why, err);
	}
	if (end == WBI_END_TROUBLE)
		return external_give_back(d, job, row, EXTERNAL_TROUBLE_US,
					  err);
	subject.row.attempts--; /* the outcome counts it again */
	if (end == WBI_END_STOP)
		code = external_give_back(d, job, row, 0, err);
	if (code == WB_OK)
		code = wbi_dispatch_outcome(d, job->consumer, &subject, end,
					    &why, err);
	return code;
}

static wb_code external_outcome(wbi_dispatch *d, wbi_job *job, wb_error *err)
{
	wbi_work row;
	wb_code code =
		wbi_work_get(d->txn, d->tables->work, &job->call.id, &row, err);

	if (code == WB_ENOTFOUND ||
	    (code == WB_OK && row.state != WBI_WORK_RUNNING)) {
		wbi_log(d->log, WB_LOG_WARN,
			"handler '%s': the row of a call was changed by "
			"somebody else during it: its outcome is dropped",
			job->consumer->handler->name);
		return WB_OK;
	}
	if (code != WB_OK)
		return code;
	d->calls_made++;
	job->consumer->next.calls++;
	if (!job->made)
		return external_give_back(d, job, &row, 0, err);
	return external_settle(d, job, &row, err);
}

/* One whose wishes found no room keeps them until there is. */
static bool external_can_settle(const wbi_dispatch *d, const wbi_job *job)
{
	return job->consumer->held_us <= d->mono_us;
}

bool wbi_dispatch_has_outcomes(const wbi_dispatch *d)
{
	for (const wbi_job *job = d->ended.first; job; job = job->next)
		if (external_can_settle(d, job))
			return true;
	return false;
}

wb_code wbi_dispatch_outcomes(wbi_dispatch *d, wb_error *err)
{
	wb_code code = WB_OK;

	for (wbi_job *job = d->ended.first; job; job = job->next)
		job->settled = false; /* by a transaction that was aborted */
	for (wbi_job *job = d->ended.first; job; job = job->next) {
		if (!external_can_settle(d, job) ||
		    job->consumer->next.calls >= job->consumer->limit)
			continue;
		if (d->again || wbi_dispatch_is_full(d))
			break;
		code = external_outcome(d, job, err);
		if (code != WB_OK)
			break;
		job->settled = true;
		d->mono_us = d->clock->mono_us(d->clock->ctx);
	}
	return code;
}

void wbi_dispatch_outcomes_done(wbi_dispatch *d)
{
	wbi_job *job = d->ended.first, *next;

	for (; job; job = next) {
		next = job->next;
		if (!job->settled)
			continue;
		job_remove(&d->ended, job);
		job_free(job);
		if (d->one_at_a_time > 0)
			d->one_at_a_time--;
	}
}
