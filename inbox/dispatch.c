/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dispatch: a step does one kind of work in one write transaction, in turn:
 *
 *   outcomes of external calls      dispatch_external.c
 *   rows that are due               dispatch_due.c
 *   a batch of new events           dispatch_batch.c
 *
 * New events may be handled without a step, in the transaction that takes them
 * in: dispatch_join.c.
 *
 * What handlers changed, what they emitted, rows that came or went and the
 * cursors that say so are one commit. In memory nothing is taken for true
 * before that commit: `next` of each consumer holds what the open transaction
 * would make of it. So an abort costs nothing but time, and a crash leaves what
 * the last commit left, plus a note of the call in progress (calls.h), which
 * the next start reads (dispatch_recover.c).
 *
 * Calls are made optimistically in the outer transaction; dispatch_call.c says
 * how a failed one is taken back by doing the transaction again. That ends:
 * each time one consumer more is careful or held, or the limit goes to one.
 *
 * A full disk, map or quota, or lack of memory, is no event's fault and counts
 * no attempt. If a call met it, its handler is held for a second and the
 * transaction is done again without it, so that others, who may want less, go
 * on; if the commit met it, all wait.
 *
 * One thread; external calls have the pool's. Handlers and options' clock,
 * randomness and log must outlive it.
 */
#include "inbox/dispatch_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

enum {
	DISPATCH_TROUBLE_US = 1000 * 1000,
	DISPATCH_SAY_US = 1000 * 1000 /* dead letters of one handler */
};

enum { KIND_OUTCOMES, KIND_DUE, KIND_BATCH, KIND_COUNT };

int64_t wbi_dispatch_now_us(const wbi_dispatch *d)
{
	return d->begun_real_us + (d->mono_us - d->begun_mono_us);
}

bool wbi_dispatch_is_full(const wbi_dispatch *d)
{
	return d->enough || d->calls_made >= d->limit ||
	       d->mono_us >= d->full_us;
}

bool wbi_dispatch_is_held(const wbi_dispatch *d)
{
	return d->stopping || (d->one_at_a_time > 0 && d->running.count > 0);
}

bool wbi_dispatch_can(const wbi_dispatch *d, const wbi_consumer_run *c)
{
	return !c->halted && c->held_us <= d->mono_us;
}

/* Somebody waits for room: say so when it begins, and when it ends. */
static void dispatch_set_paused(wbi_dispatch *d, const wb_error *why,
				const wbi_consumer_run *c)
{
	if (!d->paused || d->trouble.code != why->code)
		wbi_log(d->log, WB_LOG_ERROR,
			"%s%s%s for room, and is called again each second: %s",
			c ? "handler '" : "every handler",
			c ? c->handler->name : "", c ? "' waits" : " waits",
			why->text);
	d->paused = true;
	d->trouble = *why;
}

static uint32_t dispatch_half(uint32_t n)
{
	return n > 1 ? n / 2 : 1;
}

static uint32_t dispatch_double(const wbi_dispatch *d, uint32_t n)
{
	return n < d->options.batch_max / 2 ? n * 2 : d->options.batch_max;
}

void wbi_dispatch_hold(wbi_dispatch *d, wbi_consumer_run *c,
		       const wb_error *why)
{
	c->held_us = d->mono_us + DISPATCH_TROUBLE_US;
	c->limit = dispatch_half(c->next.calls < c->limit ? c->next.calls
							  : c->limit);
	d->again = true;
	dispatch_set_paused(d, why, c);
}

wbi_consumer_run *wbi_dispatch_find(wbi_dispatch *d, wb_str name)
{
	for (size_t i = 0; i < d->count; i++)
		if (wb_str_eq(d->consumers[i].name, name))
			return &d->consumers[i];
	return NULL;
}

/* ---- looking ----------------------------------------------------------- */

static wb_code look_consumer(wbi_dispatch *d, MDB_txn *txn, wbi_consumer_run *c,
			     wb_error *err)
{
	wbi_row_key key;
	wbi_consumer row;
	wbi_work_id id;
	wbi_work work;
	wb_code code = wbi_consumer_get(txn, d->tables->consumers, 'i', c->name,
					&row, err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	c->waiting = code == WB_OK ? row.waiting : 0;
	c->timers = code == WB_OK ? row.timers : 0;
	if (c->waiting + c->timers == 0) {
		c->due_us = INT64_MAX;
		return WB_OK;
	}
	code = wbi_work_first_due(txn, d->tables, c->name, INT64_MAX - 1, &key,
				  &id, &work, &c->due_us, err);
	if (code == WB_OK)
		c->due_us = work.due_us;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* What others have committed since: new events, rows that operators revived. */
static wb_code dispatch_look(wbi_dispatch *d, wb_error *err)
{
	uint64_t last = wbi_env_last_txn(wb_store_env(d->store)), first;
	MDB_txn *txn;
	wb_code code;

	if (!d->look && last == d->seen_txn)
		return WB_OK;
	code = wbi_txn_begin(wb_store_env(d->store), false, &txn, err);
	if (code != WB_OK)
		return code;
	code = wbi_journal_range(&d->inbox, txn, &first, &d->head, err);
	for (size_t i = 0; i < d->count && code == WB_OK; i++)
		code = look_consumer(d, txn, &d->consumers[i], err);
	if (code == WB_OK) {
		d->seen_txn = wbi_txn_id(txn);
		d->look = false;
	}
	wbi_txn_abort(txn);
	return code;
}

/* ---- a transaction ------------------------------------------------------- */

void wbi_dispatch_begin_in(wbi_dispatch *d, MDB_txn *txn, uint32_t share_us)
{
	d->txn = txn;
	d->mono_us = d->begun_mono_us = d->clock->mono_us(d->clock->ctx);
	d->begun_real_us = d->clock->real_us(d->clock->ctx);
	d->full_us = d->mono_us + share_us;
	d->calls_made = 0;
	d->again = d->enough = false;
	for (size_t i = 0; i < d->count; i++) {
		wbi_consumer_run *c = &d->consumers[i];
		wbi_consumer_next *n = &c->next;

		n->position = c->position;
		n->handled = n->retries = n->dead = n->emitted = 0;
		n->calls = 0;
		n->changed = n->halted = n->moved = n->met = false;
		n->due_us = c->due_us;
		n->crashed = c->crashed;
		n->died[0] = '\0';
		c->member = false;
	}
}

wb_code wbi_dispatch_begin(wbi_dispatch *d, wb_error *err)
{
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wb_store_env(d->store), true, &txn, err);

	/* Its time begins only now: one may have waited for the lock. */
	if (code == WB_OK)
		wbi_dispatch_begin_in(d, txn, d->share_us);
	return code;
}

static wb_code dispatch_put_row(wbi_dispatch *d, wbi_consumer_run *c,
				wb_error *err)
{
	const wbi_consumer_next *n = &c->next;
	wbi_consumer row;
	wb_code code = wbi_consumer_get(d->txn, d->tables->consumers, 'i',
					c->name, &row, err);

	/* Read again, since work.c counts in it. */
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(
			err, WB_EMISMATCH,
			"handler '%s': its cursor was removed while the "
			"worker runs; start it again",
			c->handler->name);
	if (code != WB_OK)
		return code;
	row.position = n->position;
	row.updated_us = wbi_dispatch_now_us(d);
	row.handled += n->handled;
	row.retries += n->retries;
	row.dead += n->dead;
	row.emitted += n->emitted;
	if (n->halted)
		row.error = wb_str_from(n->error);
	return wbi_consumer_put(d->txn, d->tables->consumers, 'i', c->name,
				&row, err);
}

static void dispatch_say(wbi_dispatch *d, wbi_consumer_run *c)
{
	const wbi_consumer_next *n = &c->next;

	if (n->halted)
		wbi_log(d->log, WB_LOG_ERROR,
			"handler '%s': %s; it goes on when the worker is "
			"started anew",
			c->handler->name, n->error);
	if (n->died[0] == '\0')
		return;
	if (c->died_said_us != 0 &&
	    d->mono_us - c->died_said_us < DISPATCH_SAY_US) {
		c->died_unsaid += n->dead;
		return;
	}
	c->died_said_us = d->mono_us;
	wbi_log(d->log, WB_LOG_WARN, "handler '%s': %s (%" PRIu64 " more)",
		c->handler->name, n->died, c->died_unsaid + n->dead - 1);
	c->died_unsaid = 0;
}

void wbi_dispatch_apply(wbi_dispatch *d)
{
	d->apart -= d->calls_made < d->apart ? d->calls_made : d->apart;
	for (size_t i = 0; i < d->count; i++) {
		wbi_consumer_run *c = &d->consumers[i];
		const wbi_consumer_next *n = &c->next;

		if (c->member)
			c->turn = d->turns + 1;
		c->position = n->position;
		c->handled += n->handled;
		c->retries += n->retries;
		c->dead += n->dead;
		c->emitted += n->emitted;
		c->due_us = n->due_us;
		c->crashed = n->crashed;
		c->careful -= n->calls < c->careful ? n->calls : c->careful;
		if (n->calls > 0 || (c->member && n->moved))
			c->held_us = 0; /* there was room */
		if (n->calls > 0)
			c->limit = dispatch_double(d, c->limit);
		dispatch_say(d, c);
		c->halted |= n->halted;
		if (n->met || d->apart == 0)
			c->suspect = 0;
	}
}

wb_code wbi_dispatch_put_rows(wbi_dispatch *d, wb_error *err)
{
	wb_code code = WB_OK;

	for (size_t i = 0; i < d->count && code == WB_OK; i++) {
		wbi_consumer_run *c = &d->consumers[i];

		if (c->next.changed || c->next.moved)
			code = dispatch_put_row(d, c, err);
	}
	return code;
}

wb_code wbi_dispatch_commit(wbi_dispatch *d, wb_error *err)
{
	MDB_txn *txn = d->txn;
	wb_code code = wbi_dispatch_put_rows(d, err);

	if (code != WB_OK)
		return code;
	d->txn = NULL;
	code = wbi_txn_commit(txn, err);
	if (code != WB_OK)
		return code;
	wbi_dispatch_apply(d);
	return WB_OK;
}

static wb_code dispatch_do(wbi_dispatch *d, unsigned kind, wb_error *err)
{
	switch (kind) {
	case KIND_OUTCOMES:
		return wbi_dispatch_outcomes(d, err);
	case KIND_DUE:
		return wbi_dispatch_due(d, err);
	default:
		return wbi_dispatch_batch(d, err);
	}
}

/* One transaction, as often as it takes. */
static wb_code dispatch_transact(wbi_dispatch *d, unsigned kind, wb_error *err)
{
	wb_code code;

	do {
		code = wbi_dispatch_begin(d, err);
		if (code != WB_OK)
			return code;
		code = dispatch_do(d, kind, err);
		if (code == WB_OK && !d->again)
			code = wbi_dispatch_commit(d, err);
		wbi_txn_abort(d->txn);
		d->txn = NULL;
		if (code != WB_OK || d->again)
			wbi_dispatch_started(d, false);
	} while (code == WB_OK && d->again);
	if (code == WB_OK)
		wbi_dispatch_started(d, true);
	if (code == WB_OK && kind == KIND_OUTCOMES)
		wbi_dispatch_outcomes_done(d);
	return code;
}

static void dispatch_unpause(wbi_dispatch *d)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->consumers[i].held_us != 0)
			return;
	if (d->paused)
		wbi_log(d->log, WB_LOG_INFO, "there is room again");
	d->paused = false;
}

static wb_code dispatch_work(wbi_dispatch *d, unsigned kind, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code = dispatch_transact(d, kind, &why);

	d->turns++;
	d->mono_us = d->clock->mono_us(d->clock->ctx);
	if (wbi_wants_room(code)) {
		dispatch_set_paused(d, &why, NULL);
		d->limit = dispatch_half(d->limit);
		d->look = true;
		d->next_us = d->mono_us + DISPATCH_TROUBLE_US;
		return WB_OK;
	}
	if (code != WB_OK) {
		wbi_error_pass(err, &why);
		return code;
	}
	dispatch_unpause(d);
	d->look = true; /* at what is due next */
	d->limit = dispatch_double(d, d->limit);
	d->next_us = d->mono_us + d->options.pause_us;
	return WB_OK;
}

/* ---- stepping ------------------------------------------------------------ */

static bool dispatch_has(const wbi_dispatch *d, unsigned kind, int64_t real_us)
{
	switch (kind) {
	case KIND_OUTCOMES:
		return wbi_dispatch_has_outcomes(d);
	case KIND_DUE:
		return wbi_dispatch_has_due(d, real_us);
	default:
		return wbi_dispatch_has_batch(d);
	}
}

/* The next kind in turn that has something to do; KIND_COUNT: none. */
static unsigned dispatch_next(const wbi_dispatch *d, int64_t real_us)
{
	for (unsigned i = 1; i <= KIND_COUNT; i++) {
		unsigned kind = (d->last_kind + i) % KIND_COUNT;

		if (dispatch_has(d, kind, real_us))
			return kind;
	}
	return KIND_COUNT;
}

wb_code wbi_dispatch_step(wbi_dispatch *d, bool wake, wb_error *err)
{
	unsigned kind;
	wb_code code;

	d->look |= wake;
	d->mono_us = d->clock->mono_us(d->clock->ctx);
	wbi_dispatch_external(d);
	if (d->mono_us < d->next_us)
		return WB_OK;
	code = dispatch_look(d, err);
	if (code != WB_OK)
		return code;
	kind = dispatch_next(d, d->clock->real_us(d->clock->ctx));
	if (kind == KIND_COUNT) {
		dispatch_unpause(d);
		return WB_OK;
	}
	d->last_kind = kind;
	return dispatch_work(d, kind, err);
}

/* The first row that could be called then, by the monotonic clock. */
static int64_t dispatch_due_at(const wbi_dispatch *d, int64_t real_us)
{
	int64_t at = INT64_MAX;

	for (size_t i = 0; i < d->count && !wbi_dispatch_is_held(d); i++) {
		const wbi_consumer_run *c = &d->consumers[i];

		if (!wbi_dispatch_can(d, c) || c->due_us >= at ||
		    (c->handler->kind == WB_EXTERNAL &&
		     !wbi_dispatch_can_start(d)))
			continue;
		at = c->due_us;
	}
	if (at == INT64_MAX || at <= real_us)
		return at == INT64_MAX ? at : 0;
	at -= real_us;
	return at > INT64_MAX - d->mono_us ? INT64_MAX : d->mono_us + at;
}

/* When one that is held may be called again. */
static int64_t dispatch_held_at(const wbi_dispatch *d)
{
	int64_t at = INT64_MAX;

	for (size_t i = 0; i < d->count; i++) {
		const wbi_consumer_run *c = &d->consumers[i];

		if (c->held_us > d->mono_us && c->held_us < at)
			at = c->held_us;
	}
	return at;
}

static int64_t dispatch_late_at(const wbi_dispatch *d)
{
	int64_t at = INT64_MAX;

	for (const wbi_job *job = d->running.first; job; job = job->next) {
		int64_t end = job->begun_us +
			      (int64_t)job->consumer->deadline_ms * 1000;

		if (!job->late && end < at)
			at = end;
	}
	return at;
}

int64_t wbi_dispatch_deadline_us(const wbi_dispatch *d)
{
	int64_t real_us = d->clock->real_us(d->clock->ctx);
	int64_t at = dispatch_due_at(d, real_us), late = dispatch_late_at(d);
	int64_t held = dispatch_held_at(d);

	if (d->waiting.count > 0)
		return 0;
	if (d->look || wbi_dispatch_has_outcomes(d) ||
	    wbi_dispatch_has_batch(d))
		at = 0;
	at = at < held ? at : held;
	if (at < d->next_us)
		at = d->next_us;
	return at < late ? at : late;
}

int wbi_dispatch_fd(const wbi_dispatch *d)
{
	return d->pool ? wbi_pool_fd(d->pool) : -1;
}

void wbi_dispatch_set_share(wbi_dispatch *d, uint32_t txn_us)
{
	d->share_us = txn_us;
}

void wbi_dispatch_stop(wbi_dispatch *d)
{
	d->stopping = true;
}

bool wbi_dispatch_stopped(const wbi_dispatch *d)
{
	return d->stopping && wbi_dispatch_running(d) == 0;
}

wbi_dispatch_stat wbi_dispatch_get_stat(const wbi_dispatch *d)
{
	int64_t real_us = d->clock->real_us(d->clock->ctx);
	wbi_dispatch_stat stat = {.head = d->head,
				  .running = wbi_dispatch_running(d),
				  .paused = d->paused,
				  .error = d->trouble};

	for (size_t i = 0; i < d->count; i++) {
		const wbi_consumer_run *c = &d->consumers[i];

		stat.positions += c->position;
		stat.handled += c->handled;
		stat.retries += c->retries;
		stat.dead += c->dead;
		stat.emitted += c->emitted;
		stat.waiting += c->waiting;
		stat.timers += c->timers;
	}
	if (!d->paused)
		wb_error_clear(&stat.error);
	stat.idle = !d->paused && !d->look &&
		    wbi_env_last_txn(wb_store_env(d->store)) == d->seen_txn &&
		    stat.running == 0 && !wbi_dispatch_has_batch(d) &&
		    !wbi_dispatch_has_due(d, real_us);
	return stat;
}

/* ---- opening ------------------------------------------------------------- */

static void dispatch_set(uint32_t *value, uint32_t standard)
{
	if (*value == 0)
		*value = standard;
}

static wb_code dispatch_init(wbi_dispatch *d, wb_store *store,
			     const wb_worker_options *options, wbi_calls *calls,
			     wb_error *err)
{
	d->store = store;
	d->tables = wbi_store_get_tables(store);
	d->inbox = wbi_journal_of(store, WBI_INBOX);
	d->options = *options;
	d->calls = calls;
	d->clock = options->clock ? options->clock : wbi_store_clock(store);
	d->random = options->random ? options->random : wbi_store_random(store);
	d->log = options->log ? options->log : wbi_store_log(store);
	dispatch_set(&d->options.batch_max, 1000);
	dispatch_set(&d->options.prefetch, 3000);
	dispatch_set(&d->options.txn_us, 1000);
	dispatch_set(&d->options.pause_us, 50);
	if (d->options.threads > WBI_POOL_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"worker: threads is %" PRIu32 ", at most %d",
				d->options.threads, (int)WBI_POOL_MAX);
	d->limit = d->options.batch_max;
	d->share_us = d->options.txn_us;
	d->look = true;
	wbi_buffer_init(&d->record, SIZE_MAX / 4);
	d->mono_us = d->begun_mono_us = d->clock->mono_us(d->clock->ctx);
	d->begun_real_us = d->clock->real_us(d->clock->ctx);
	return wb_outbox_open(store, NULL, &d->outbox, err);
}

wb_code wbi_dispatch_open(wb_store *store, const wb_handler *const *handlers,
			  size_t count, const wb_worker_options *options,
			  wbi_calls *calls, wbi_dispatch **ret, wb_error *err)
{
	wbi_dispatch *d = calloc(1, sizeof(*d));
	wb_code code;

	if (!d)
		return WBI_FAIL(err, WB_ENOMEM, "dispatch: out of memory");
	code = dispatch_init(d, store, options, calls, err);
	if (code == WB_OK)
		code = wbi_dispatch_declare(d, handlers, count, err);
	if (code == WB_OK && d->has_external && d->options.threads > 0)
		code = wbi_pool_open(d->options.threads, &d->pool, err);
	if (code == WB_OK)
		code = wbi_dispatch_start(d, err);
	if (code == WB_OK)
		code = dispatch_look(d, err);
	if (code == WB_OK)
		*ret = d;
	else
		wbi_dispatch_close(d);
	return code;
}

void wbi_dispatch_close(wbi_dispatch *d)
{
	if (!d)
		return;
	wbi_pool_close(d->pool); /* first: its calls use the rest */
	wbi_dispatch_drop_jobs(d);
	wbi_dispatch_end(d);
	wb_outbox_close(d->outbox);
	wbi_buffer_fini(&d->record);
	free(d);
}
