/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * New events. All consumers that stand at one position go on together: an event
 * is read and decoded once. Those that stand elsewhere are another group; the
 * one that was served longest ago is next, so that neither one far behind
 * starves the others nor they it. A batch ends where the next group ahead
 * stands, which it then joins.
 *
 * Per consumer an event is passed by (not of its types), put behind others of
 * its key that wait, copied for an external call, or handled here and now. Its
 * position and what was done are one commit.
 */
#include "inbox/dispatch_internal.h"
#include "lib/base/error.h"

enum { BATCH_PASS = 64 /* events passed by between two looks at the clock */ };

/* ---- who is next ------------------------------------------------------- */

static bool batch_can(const wbi_dispatch *d, const wbi_consumer_run *c)
{
	return wbi_dispatch_can(d, c) && c->position < d->head;
}

static const wbi_consumer_run *batch_first(const wbi_dispatch *d)
{
	const wbi_consumer_run *first = NULL;

	for (size_t i = 0; i < d->count; i++) {
		const wbi_consumer_run *c = &d->consumers[i];

		if (batch_can(d, c) && (!first || c->turn < first->turn))
			first = c;
	}
	return first;
}

bool wbi_dispatch_has_batch(const wbi_dispatch *d)
{
	return !wbi_dispatch_is_held(d) && batch_first(d);
}

/* Mark its members; returns where the batch must end. */
static uint64_t batch_gather(wbi_dispatch *d, uint64_t position)
{
	uint64_t until = UINT64_MAX;

	for (size_t i = 0; i < d->count; i++) {
		wbi_consumer_run *c = &d->consumers[i];

		c->member = wbi_dispatch_can(d, c) && c->position == position;
		if (!c->halted && c->position > position && c->position < until)
			until = c->position;
	}
	return until;
}

/* Does it have rows that a new event may have to stand behind? */
static wb_code batch_prepare(wbi_dispatch *d, wb_error *err)
{
	wb_code code = WB_OK;

	for (size_t i = 0; i < d->count && code == WB_OK; i++) {
		wbi_consumer_run *c = &d->consumers[i];
		wbi_consumer row;

		if (!c->member)
			continue;
		c->gap.known = false;
		code = wbi_consumer_get(d->txn, d->tables->consumers, 'i',
					c->name, &row, err);
		if (code == WB_OK)
			c->has_group = row.waiting > 0;
		else if (code == WB_ENOTFOUND)
			c->has_group = true;
		if (code == WB_ENOTFOUND)
			code = WB_OK;
	}
	return code;
}

/* ---- one event --------------------------------------------------------- */

static bool batch_takes(const wbi_consumer_run *c, wb_str type)
{
	for (size_t i = 0; i < c->topic_count; i++)
		if (wbi_topic_takes(&c->topics[i], type))
			return true;
	return false;
}

/* Copied to its due row: behind others of its key, or for an external call. */
static wb_code batch_copy(wbi_dispatch *d, wbi_consumer_run *c,
			  const wbi_subject *subject, wb_error *err)
{
	wbi_work row = {.state = WBI_WORK_WAITING,
			.due_us = wbi_dispatch_now_us(d),
			.record = subject->record};

	d->calls_made++; /* it costs as much */
	c->next.changed = true;
	c->next.due_us = 0;
	c->has_group = true;
	c->gap.known = false;
	return wbi_work_add(d->txn, d->tables, &subject->id, &row, err);
}

static wb_code batch_call(wbi_dispatch *d, wbi_consumer_run *c,
			  const wbi_subject *subject, wb_error *err)
{
	wbi_end end = WBI_END_AGAIN;
	wb_code code =
		wbi_dispatch_call(d, c, subject, c->careful > 0, &end, err);

	d->enough |= c->next.calls >= c->limit;
	if (code != WB_OK || end == WBI_END_OK)
		return code;
	return wbi_dispatch_outcome(d, c, subject, end, &d->call_error, err);
}

/* An event whose call has crashed or hung before, row.attempts times: that
 * counts, it is not called again right here. */
static wb_code batch_charge(wbi_dispatch *d, wbi_consumer_run *c,
			    wbi_subject *subject, const wb_error *why,
			    wb_error *err)
{
	if (subject->row.attempts >= c->attempts_max)
		return wbi_dispatch_die(d, c, subject,
					why->code == WB_ETIMEOUT
						? WBI_DEAD_HUNG
						: WBI_DEAD_CRASHED,
					why, err);
	subject->row.attempts--; /* the outcome counts it again */
	return wbi_dispatch_outcome(d, c, subject, WBI_END_RETRY, why, err);
}

static wb_code batch_crashed(wbi_dispatch *d, wbi_consumer_run *c,
			     wbi_subject *subject, bool taken, bool *ret_done,
			     wb_error *err)
{
	char text[WB_ERROR_TEXT_MAX];
	wb_error why = WB_ERROR_INIT;
	wb_code code = wbi_dispatch_crashes(d, c, subject->id.position,
					    &subject->row, text, err);

	*ret_done = code == WB_OK && subject->row.attempts > 0 && taken;
	if (!*ret_done) {
		subject->row.attempts = 0;
		return code;
	}
	WBI_FAIL(&why, (wb_code)subject->row.code, "%s", text);
	return batch_charge(d, c, subject, &why, err);
}

/* The same of one that had no position when it crashed. */
static wb_code batch_suspect(wbi_dispatch *d, wbi_consumer_run *c,
			     wbi_subject *subject, bool *ret_done,
			     wb_error *err)
{
	*ret_done = wbi_dispatch_identity(subject->event) == c->suspect;
	if (!*ret_done)
		return WB_OK;
	c->next.met = true;
	subject->row.attempts = 1;
	return batch_charge(d, c, subject, &c->suspect_why, err);
}

static wb_code batch_event(wbi_dispatch *d, wbi_consumer_run *c,
			   const wb_event *event, wb_str record,
			   uint64_t position, wb_error *err)
{
	bool keyed = event->key.len > 0, taken, done = false;
	wbi_subject subject = {
		.id = {.consumer = c->name,
		       .lane = keyed ? WBI_LANE_KEYED : WBI_LANE_UNKEYED,
		       .key = event->key,
		       .position = position},
		.event = event,
		.record = record,
	};
	bool behind = false;
	wb_code code = WB_OK;

	taken = batch_takes(c, event->type);
	if (c->next.crashed > 0)
		code = batch_crashed(d, c, &subject, taken, &done, err);
	if (code == WB_OK && !done && taken && c->suspect != 0)
		code = batch_suspect(d, c, &subject, &done, err);
	if (code != WB_OK || done || !taken)
		return code;
	if (c->handler->kind == WB_EXTERNAL)
		return batch_copy(d, c, &subject, err);
	if (keyed && c->has_group)
		code = wbi_gap_has_group(d->txn, d->tables, &subject.id,
					 &c->gap, &behind, err);
	if (code != WB_OK)
		return code;
	return behind ? batch_copy(d, c, &subject, err)
		      : batch_call(d, c, &subject, err);
}

/* ---- a batch ----------------------------------------------------------- */

/* *ret_left: members that go on. */
static wb_code batch_members(wbi_dispatch *d, wb_event *event, wb_str record,
			     uint64_t position, size_t *ret_left, wb_error *err)
{
	wb_code code = WB_OK;

	*ret_left = 0;
	/* Handlers may look at them; most events have none. */
	if (event->header_count > 0)
		code = wbi_record_headers(record.ptr, record.len, event,
					  d->headers, err);
	for (size_t i = 0; i < d->count && code == WB_OK && !d->again; i++) {
		wbi_consumer_run *c = &d->consumers[i];

		if (!c->member || c->next.halted)
			continue;
		code = batch_event(d, c, event, record, position, err);
		if (code != WB_OK || c->next.halted)
			continue;
		c->next.position = position;
		c->next.moved = true;
		(*ret_left)++;
	}
	return code;
}

static wb_code batch_run(wbi_dispatch *d, wbi_reader *reader, uint64_t until,
			 wb_error *err)
{
	uint64_t passed = 0;
	size_t left = 1;
	wb_code code = WB_OK;

	while (left > 0 && reader->position < until && !d->again &&
	       !wbi_dispatch_is_full(d)) {
		uint32_t made = d->calls_made;
		wb_event event;
		wb_str record;

		code = wbi_reader_next(reader, &event, &record, err);
		if (code == WB_OK)
			code = batch_members(d, &event, record,
					     reader->position, &left, err);
		if (code != WB_OK)
			break;
		if (reader->position > d->head)
			d->head = reader->position;
		if (d->calls_made != made)
			continue;
		if (++passed % BATCH_PASS == 0)
			d->mono_us = d->clock->mono_us(d->clock->ctx);
		if (passed >= (uint64_t)BATCH_PASS * d->limit)
			break;
	}
	return code == WB_ENOTFOUND ? WB_OK : code;
}

wb_code wbi_dispatch_batch(wbi_dispatch *d, wb_error *err)
{
	const wbi_consumer_run *first = batch_first(d);
	wbi_reader reader;
	uint64_t until;
	wb_code code;

	if (!first)
		return WB_OK; /* the last one was held just now */
	until = batch_gather(d, first->position);
	code = batch_prepare(d, err);
	if (code == WB_OK)
		code = wbi_reader_open(&reader, &d->inbox, d->txn,
				       first->position, err);
	if (code != WB_OK)
		return code;
	code = batch_run(d, &reader, until, err);
	wbi_reader_close(&reader);
	return code;
}
