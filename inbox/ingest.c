/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ingest's step: hear the broker, commit what came, ack it, keep the
 * connection.
 *
 *   DOWN ─▶ CONNECTING ─▶ DECLARING ─▶ ASKING ─▶ TAKING
 *     ▲ backoff                                    │ whatever goes wrong
 *     └────────────────── CLOSING ◀────────────────┘
 *
 * A refusal, a channel that was closed, a consumer that was cancelled: all are
 * met by closing the connection and beginning again, so there is one way up.
 *
 * An ack covers all that was delivered before it, so a delivery that cannot be
 * copied ends the intake of that connection. A crash at any point leaves what
 * ingest_batch.c says; in memory there is nothing that matters.
 *
 * One thread. The broker, the options and the store belong to the worker.
 */
#include <stdio.h>
#include <stdlib.h>

#include "inbox/ingest_internal.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

/* ---- open and close --------------------------------------------------- */

static wb_code ingest_check(const wb_worker_options *options, wb_error *err)
{
	size_t len = options->queue ? strlen(options->queue) : 0;

	if (len == 0 || len > INGEST_QUEUE_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"queue: a name of 1 to %d bytes is needed, "
				"since others are made from it",
				(int)INGEST_QUEUE_MAX);
	if (options->prefetch == 0 || options->prefetch > 65535)
		return WBI_FAIL(err, WB_EINVAL,
				"prefetch is %u: 1 to 65535 deliveries",
				options->prefetch);
	if (options->batch_max == 0)
		return WBI_FAIL(err, WB_EINVAL, "batch_max is 0");
	return WB_OK;
}

static void ingest_names(wbi_ingest *ingest)
{
	const char *queue = ingest->options->queue;

	snprintf(ingest->vhost, sizeof(ingest->vhost), "%s",
		 wb_broker_vhost(ingest->broker));
	snprintf(ingest->dead, sizeof(ingest->dead), "%.249s.dead", queue);
	snprintf(ingest->owner_exchange, sizeof(ingest->owner_exchange),
		 "%.249s.owner", queue);
}

wb_code wbi_ingest_open(wb_store *store, wb_broker *broker,
			const wb_worker_options *options, wbi_ingest **ret,
			wb_error *err)
{
	wbi_ingest *ingest;
	wb_code code = ingest_check(options, err);

	if (code != WB_OK)
		return code;
	ingest = calloc(1, sizeof(*ingest));
	if (!ingest)
		return WBI_FAIL(err, WB_ENOMEM, "no memory to take in events");
	ingest->store = store;
	ingest->broker = broker;
	ingest->options = options;
	ingest->clock =
		options->clock ? options->clock : wbi_store_clock(store);
	ingest->random =
		options->random ? options->random : wbi_store_random(store);
	ingest->log = options->log ? options->log : wbi_store_log(store);
	ingest->journal = wbi_journal_of(store, WBI_INBOX);
	ingest->state = WB_WORKER_DOWN;
	ingest->take = options->batch_max;
	ingest->share_us = options->txn_us;
	ingest->backoff = (wbi_backoff){options->backoff_min_ms,
					options->backoff_max_ms, 0};
	ingest->now_us = ingest->clock->mono_us(ingest->clock->ctx);
	ingest->connect_at_us = ingest->now_us;
	ingest_names(ingest);
	code = wbi_ingest_status_load(ingest, err);
	if (code != WB_OK) {
		wbi_ingest_close(ingest);
		return code;
	}
	*ret = ingest;
	return WB_OK;
}

void wbi_ingest_close(wbi_ingest *ingest)
{
	if (!ingest)
		return;
	wbi_ingest_batch_free(&ingest->batch);
	free(ingest);
}

void wbi_ingest_set_join(wbi_ingest *ingest, const wbi_ingest_join *join)
{
	ingest->join = join;
}

void wbi_ingest_set_share(wbi_ingest *ingest, uint32_t txn_us)
{
	ingest->share_us = txn_us;
}

/* ---- what there is to say --------------------------------------------- */

static void ingest_set_state(wbi_ingest *ingest, wb_worker_state state)
{
	if (ingest->state == state)
		return;
	ingest->state = state;
	ingest->status_dirty = true;
}

void wbi_ingest_trouble(wbi_ingest *ingest, wb_log_level level,
			const wb_error *why, const char *doing)
{
	char text[WB_ERROR_TEXT_MAX];

	snprintf(text, sizeof(text), "%s%s%.480s", doing, *doing ? ": " : "",
		 why->text);
	/* What goes on is said once. */
	if (strcmp(text, ingest->stat.error.text) != 0) {
		wbi_log(ingest->log, level, "ingest: %s", text);
		ingest->status_dirty = true;
	}
	ingest->stat.error = *why;
	memcpy(ingest->stat.error.text, text, sizeof(text));
}

static void ingest_trouble_over(wbi_ingest *ingest)
{
	ingest->status_dirty |= ingest->stat.error.code != WB_OK;
	wb_error_clear(&ingest->stat.error);
}

/* ---- the connection --------------------------------------------------- */

static void ingest_lost(wbi_ingest *ingest)
{
	ingest->stage = INGEST_DOWN;
	ingest->ack_due = 0;
	/* A connection that has served for a while was a good one. */
	if (ingest->taking_since_us > 0 &&
	    ingest->now_us - ingest->taking_since_us >=
		    (int64_t)ingest->options->backoff_max_ms * 1000)
		ingest->backoff.count = 0;
	ingest->taking_since_us = 0;
	ingest->connect_at_us =
		ingest->now_us +
		wbi_backoff_next_us(&ingest->backoff, ingest->random);
}

/* Begin again: what is on the way no longer counts. */
static void ingest_drop(wbi_ingest *ingest)
{
	if (ingest->stage == INGEST_DOWN || ingest->stage == INGEST_CLOSING)
		return;
	ingest->stage = INGEST_CLOSING;
	ingest->ack_due = 0;
	wb_broker_close(ingest->broker);
}

static void ingest_give_up(wbi_ingest *ingest, const wb_error *why,
			   const char *doing)
{
	wbi_ingest_trouble(ingest, WB_LOG_WARN, why, doing);
	ingest_drop(ingest);
}

static void ingest_connect(wbi_ingest *ingest)
{
	wb_error err = WB_ERROR_INIT;
	wb_code code = wb_broker_connect(ingest->broker, &err);

	ingest->stage = INGEST_CONNECTING;
	if (code == WB_OK)
		return;
	/* It is up already, by somebody else's doing: not with our consumer. */
	if (code == WB_ESTATE) {
		ingest_drop(ingest);
		return;
	}
	wbi_ingest_trouble(ingest, WB_LOG_WARN, &err, "no connection");
	ingest_lost(ingest);
}

static void ingest_consume(wbi_ingest *ingest)
{
	const wb_worker_options *o = ingest->options;
	wb_error err = WB_ERROR_INIT;

	ingest->stage = INGEST_ASKING;
	if (wb_broker_consume(ingest->broker, wb_str_from(o->queue),
			      (uint16_t)o->prefetch, 1, &err) != WB_OK)
		ingest_give_up(ingest, &err, "cannot consume");
}

/* The next thing, one at a time; behind the last one it consumes. */
static void ingest_declare(wbi_ingest *ingest)
{
	wb_argument arguments[INGEST_ARGUMENTS_MAX];
	wb_error err = WB_ERROR_INIT;
	wb_declaration what;

	ingest->stage = INGEST_DECLARING;
	if (!wbi_ingest_declaration(ingest, ingest->declared, arguments, &what))
		ingest_consume(ingest);
	else if (wb_broker_declare(ingest->broker, &what, ingest->declared,
				   &err) != WB_OK)
		ingest_give_up(ingest, &err, "cannot declare");
	wb_broker_flush(ingest->broker);
}

static wb_code ingest_refused(wbi_ingest *ingest, const wb_broker_event *event,
			      wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code =
		wbi_ingest_explain(ingest, ingest->declared, event, &why);

	ingest_give_up(ingest, &why, "");
	if (code != WB_EMISMATCH)
		return WB_OK;
	return WBI_FAIL(err, code, "%s", why.text);
}

static void ingest_taking(wbi_ingest *ingest)
{
	ingest->stage = INGEST_TAKING;
	ingest->taking_since_us = ingest->now_us;
	ingest->stat.connects++;
	if (!ingest->paused)
		ingest_trouble_over(ingest);
	wbi_ingest_status_taking(ingest);
	wbi_log(ingest->log, WB_LOG_INFO,
		"ingest: takes from queue '%s' of vhost '%s'",
		ingest->options->queue, ingest->vhost);
}

/* ---- what the broker says --------------------------------------------- */

static void ingest_take(wbi_ingest *ingest, const wb_broker_event *event)
{
	wb_error err = WB_ERROR_INIT;

	if (ingest->stage == INGEST_TAKING && !ingest->stopping &&
	    wbi_ingest_batch_add(ingest, event, &err) != WB_OK)
		ingest_give_up(ingest, &err, "a delivery");
}

static void ingest_down(wbi_ingest *ingest, const wb_broker_event *event)
{
	if (ingest->stage != INGEST_CLOSING && !ingest->paused)
		wbi_ingest_trouble(ingest, WB_LOG_WARN, &event->error,
				   "no connection");
	ingest_lost(ingest);
}

static wb_code ingest_handle(wbi_ingest *ingest, const wb_broker_event *event,
			     wb_error *err)
{
	ingest_stage stage = ingest->stage;

	if (event->kind == WB_BROKER_DOWN) {
		if (stage != INGEST_DOWN)
			ingest_down(ingest, event);
		return WB_OK;
	}
	/* Left over from an earlier user of it, or from before it closed. */
	if (stage == INGEST_DOWN || stage == INGEST_CLOSING)
		return WB_OK;
	switch (event->kind) {
	case WB_BROKER_DELIVERY:
		ingest_take(ingest, event);
		break;
	case WB_BROKER_UP:
		ingest->declared = 0;
		ingest_declare(ingest);
		break;
	case WB_BROKER_DECLARED:
		ingest->declared++;
		ingest_declare(ingest);
		break;
	case WB_BROKER_DECLARE_FAILED:
		return ingest_refused(ingest, event, err);
	case WB_BROKER_CONSUMING:
		ingest_taking(ingest);
		break;
	case WB_BROKER_CANCELLED:
		ingest_give_up(ingest, &event->error, "no consumer any more");
		break;
	case WB_BROKER_CHANNEL_CLOSED:
		ingest_give_up(ingest, &event->error, "");
		break;
	default:
		break; /* nothing is published here */
	}
	return WB_OK;
}

/* What the broker has handed over; *ret_full: the batch was full before. */
static wb_code ingest_drain(wbi_ingest *ingest, bool *ret_full, wb_error *err)
{
	wb_broker_event event;
	wb_code code = WB_OK;

	*ret_full = false;
	while (code == WB_OK) {
		*ret_full = !ingest->paused && wbi_ingest_batch_full(ingest);
		if (*ret_full || !wb_broker_next(ingest->broker, &event))
			break;
		code = ingest_handle(ingest, &event, err);
	}
	return code;
}

/*
 * Until there is nothing more, or a batch is full. A step of the broker reads
 * only so much, and when it brought many, more of them are most likely there
 * already: they cost less in one commit. With no room in the store all of it is
 * taken, `prefetch` at most, so that the broker's descriptor comes to rest and
 * the end of the connection is heard.
 */
static wb_code ingest_hear(wbi_ingest *ingest, wb_error *err)
{
	bool full = false;
	wb_code code = WB_OK;

	for (int i = 0; i < INGEST_HEAR_STEPS && code == WB_OK; i++) {
		uint32_t before = ingest->batch.count;

		wb_broker_step(ingest->broker);
		code = ingest_drain(ingest, &full, err);
		if (full || ingest->batch.count - before < INGEST_MANY)
			break;
	}
	ingest->again |= full;
	return code;
}

/* ---- committing ------------------------------------------------------- */

/* A commit that found no room, or another passing trouble of the store. */
static void ingest_no_room(wbi_ingest *ingest, const wb_error *why)
{
	bool room = why->code == WB_EQUOTA || why->code == WB_EMAPFULL ||
		    why->code == WB_ENOSPC || why->code == WB_ESTATE;

	if (room && ingest->take > 1) {
		ingest->take /= 2; /* a part of it may fit */
		ingest->again = true;
		return;
	}
	if (!ingest->paused)
		ingest->paused_us = ingest->now_us;
	ingest->paused = true;
	ingest->room_at_us = ingest->now_us + INGEST_NO_ROOM_US;
	wbi_ingest_trouble(ingest, WB_LOG_ERROR, why, "taking nothing in");
}

static void ingest_room(wbi_ingest *ingest)
{
	uint32_t most = ingest->options->batch_max;

	ingest->take = ingest->take < most / 2 ? ingest->take * 2 : most;
	if (!ingest->paused)
		return;
	ingest->paused = false;
	ingest_trouble_over(ingest);
	wbi_log(ingest->log, WB_LOG_INFO, "ingest: there is room again");
}

/*
 * One ack for all that is committed within INGEST_ACK_US: a quorum queue syncs
 * its log for each, and the next message waits for that. At once where it may
 * matter: on a young connection, so that a worker that keeps dying gets on; when
 * the broker could come to wait for it; and when no more is taken.
 */
static bool ingest_must_ack(const wbi_ingest *ingest)
{
	uint32_t most = ingest->options->prefetch / 4;

	if (most > INGEST_ACK_MANY)
		most = INGEST_ACK_MANY;
	return ingest->ack_count >= most || ingest->stopping ||
	       ingest->paused || ingest->now_us >= ingest->ack_at_us;
}

void wbi_ingest_owe_ack(wbi_ingest *ingest, uint64_t delivery, uint32_t count)
{
	bool young = ingest->now_us - ingest->taking_since_us < INGEST_YOUNG_US;

	if (ingest->ack_due == 0) {
		ingest->ack_count = 0;
		ingest->ack_at_us =
			ingest->now_us + (young ? 0 : INGEST_ACK_US);
	}
	ingest->ack_due = delivery;
	ingest->ack_count += count;
}

static void ingest_ack(wbi_ingest *ingest)
{
	wb_code code;

	if (ingest->ack_due == 0)
		return;
	if (ingest->stage != INGEST_TAKING) {
		ingest->ack_due = 0; /* it will come again, and be known */
		return;
	}
	if (!ingest_must_ack(ingest))
		return;
	code = wb_broker_ack(ingest->broker, ingest->ack_due, true, NULL);
	if (wb_code_class(code) == WB_CLASS_RETRY)
		return; /* no room for it just now */
	if (code == WB_OK)
		ingest->stat.acked = ingest->stat.received;
	ingest->ack_due = 0;
	wb_broker_flush(ingest->broker);
}

static bool ingest_has_batch(const wbi_ingest *ingest)
{
	return ingest->batch.count > ingest->batch.done;
}

/* What is to be written: the batch; before anything is declared, who we are;
 * now and then, how we are. */
static wb_code ingest_write_what(wbi_ingest *ingest, bool *ret_committed,
				 wb_error *err)
{
	bool due =
		ingest->status_dirty && ingest->now_us >= ingest->status_at_us;
	wb_code code;

	if (ingest_has_batch(ingest)) {
		code = wbi_ingest_batch_write(ingest, ret_committed, err);
		if (code == WB_OK)
			ingest_room(ingest);
		return code;
	}
	if (ingest->status_there && !due && !ingest->paused)
		return WB_OK;
	code = wbi_ingest_status_write(ingest, err);
	if (code == WB_OK)
		ingest_room(ingest);
	return code;
}

static wb_code ingest_write(wbi_ingest *ingest, bool *ret_committed,
			    wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code;

	if (ingest->paused && ingest->now_us < ingest->room_at_us)
		return WB_OK;
	code = ingest_write_what(ingest, ret_committed, &why);
	if (code == WB_OK) {
		ingest->again |= ingest_has_batch(ingest);
		return WB_OK;
	}
	if (wbi_lmdb_is_resized(why.foreign) && ingest->options->sole_user &&
	    wbi_store_adopt_map(ingest->store, &why) == WB_OK) {
		ingest->again = true;
		return WB_OK;
	}
	/* A transaction that had too much (WB_ESTATE) is made smaller, too. */
	if (why.class_ != WB_CLASS_RETRY && why.code != WB_ESTATE)
		return WBI_FAIL(err, why.code, "%s", why.text);
	ingest_no_room(ingest, &why);
	return WB_OK;
}

/* ---- stopping --------------------------------------------------------- */

void wbi_ingest_stop(wbi_ingest *ingest)
{
	ingest->stopping = true;
}

bool wbi_ingest_stopped(const wbi_ingest *ingest)
{
	return ingest->state == WB_WORKER_STOPPED;
}

/* What has come is committed and acked, if there is room; then goodbye. */
static void ingest_stopping(wbi_ingest *ingest)
{
	if (ingest->state != WB_WORKER_DRAINING)
		ingest->stop_at_us = ingest->now_us + INGEST_CLOSE_US;
	ingest_set_state(ingest, WB_WORKER_DRAINING);
	if (!ingest->closed_for_stop) {
		if (ingest_has_batch(ingest) && !ingest->paused)
			return;
		if (ingest->ack_due > 0 && ingest->now_us < ingest->stop_at_us)
			return;
		ingest->closed_for_stop = true;
		ingest->stop_at_us = ingest->now_us + INGEST_CLOSE_US;
		ingest_drop(ingest);
		wb_broker_step(ingest->broker);
		ingest->again = true;
		return;
	}
	if (ingest->stage != INGEST_DOWN && ingest->now_us < ingest->stop_at_us)
		return;
	ingest_set_state(ingest, WB_WORKER_STOPPED);
	wb_error_clear(&ingest->stat.error);
	(void)wbi_ingest_status_write(ingest, NULL);
}

/* ---- the step --------------------------------------------------------- */

static void ingest_link(wbi_ingest *ingest)
{
	if (ingest->paused) {
		if (ingest->now_us - ingest->paused_us >= INGEST_PAUSE_MAX_US)
			ingest_drop(ingest);
		return;
	}
	if (ingest->stage == INGEST_DOWN && ingest->status_there &&
	    !ingest_has_batch(ingest) &&
	    ingest->now_us >= ingest->connect_at_us)
		ingest_connect(ingest);
}

static void ingest_judge(wbi_ingest *ingest)
{
	if (ingest->paused)
		ingest_set_state(ingest, WB_WORKER_PAUSED);
	else
		ingest_set_state(ingest, ingest->stage == INGEST_TAKING
						 ? WB_WORKER_RUNNING
						 : WB_WORKER_DOWN);
}

static int64_t ingest_min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t ingest_deadline(const wbi_ingest *ingest)
{
	int64_t at = wb_broker_deadline_us(ingest->broker);

	if (ingest->state == WB_WORKER_STOPPED)
		return INT64_MAX;
	if (ingest->again)
		return ingest->now_us + ingest->options->pause_us;
	if (ingest->ack_due > 0)
		at = ingest_min(at,
				ingest->now_us < ingest->ack_at_us
					? ingest->ack_at_us
					: ingest->now_us + INGEST_ACK_AGAIN_US);
	if (ingest->stopping)
		return ingest_min(at, ingest->stop_at_us);
	if (ingest->paused)
		return ingest_min(at, ingest->room_at_us);
	if (ingest->stage == INGEST_DOWN)
		at = ingest_min(at, ingest->connect_at_us);
	if (ingest->status_dirty)
		at = ingest_min(at, ingest->status_at_us);
	return at;
}

static wb_code ingest_work(wbi_ingest *ingest, bool *ret_committed,
			   wb_error *err)
{
	wb_code code;

	ingest->again = false;
	code = ingest_hear(ingest, err);
	if (code == WB_OK && !ingest->closed_for_stop)
		code = ingest_write(ingest, ret_committed, err);
	if (code != WB_OK)
		return code;
	ingest_ack(ingest);
	if (ingest->stopping) {
		ingest_stopping(ingest);
		return WB_OK;
	}
	ingest_link(ingest);
	ingest_judge(ingest);
	return WB_OK;
}

wb_code wbi_ingest_step(wbi_ingest *ingest, bool *ret_committed, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code;

	*ret_committed = false;
	if (ingest->state == WB_WORKER_STOPPED)
		return WB_OK;
	if (ingest->state == WB_WORKER_FAILED)
		return WBI_FAIL(err, WB_ESTATE,
				"the ingest has failed: close it");
	ingest->now_us = ingest->clock->mono_us(ingest->clock->ctx);
	code = ingest_work(ingest, ret_committed, &why);
	if (code == WB_OK) {
		ingest->deadline_us = ingest_deadline(ingest);
		return WB_OK;
	}
	wbi_ingest_trouble(ingest, WB_LOG_ERROR, &why, "");
	ingest_drop(ingest);
	ingest_set_state(ingest, WB_WORKER_FAILED);
	(void)wbi_ingest_status_write(ingest, NULL);
	ingest->deadline_us = INT64_MAX;
	code = WBI_FAIL(err, code, "%s", why.text);
	if (err)
		err->class_ = WB_CLASS_STOP; /* it does not go on by itself */
	return code;
}

int64_t wbi_ingest_deadline_us(const wbi_ingest *ingest)
{
	return ingest->deadline_us;
}

wbi_ingest_stat wbi_ingest_get_stat(const wbi_ingest *ingest)
{
	wbi_ingest_stat stat = ingest->stat;

	stat.state = ingest->state;
	stat.idle = !ingest_has_batch(ingest) && ingest->ack_due == 0 &&
		    !ingest->again;
	return stat;
}
