/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Applying a journal to a generation.
 *
 * Effects, quarantine and checkpoint are in one commit, so a crash at any point
 * leaves the model as it was after some event, with the checkpoint that says
 * which: what comes after is applied again, from the same bytes.
 *
 * The store's read transaction is open only while events are applied from its
 * map, never while a commit waits for the disk.
 *
 * A track belongs to the thread of its projector. It owns the model scratch and
 * the open transaction; the generation is its home's.
 */
#include "projections/track.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/record.h"
#include "lib/journal/stream_rows.h"

enum {
	TRACK_CLOCK_EACH = 16,   /* events between two looks at the clock */
	TRACK_CAREFUL_MORE = 256, /* events behind one that failed */
	TRACK_FRESH_US = 2000000
};

wb_code wbi_track_init(wbi_track *track, wbi_generation *gen, wb_error *err)
{
	MDB_txn *txn;
	wb_code code;

	WB_ASSERT(!track->gen && !track->txn);
	track->model = calloc(1, sizeof(*track->model));
	track->headers = calloc(WBI_RECORD_HEADERS_MAX, sizeof(*track->headers));
	track->origins = track->feed ? calloc(1, sizeof(*track->origins)) : NULL;
	if (!track->model || !track->headers ||
	    (track->feed && !track->origins)) {
		wbi_track_fini(track);
		return WBI_FAIL(err, WB_ENOMEM, "a projection");
	}
	track->model->projection = track->projection;
	track->model->gen = gen;
	code = wbi_txn_begin(gen->env, false, &txn, err);
	if (code == WB_OK) {
		code = wbi_checkpoint_get(txn, gen->meta, &track->at, err);
		if (code == WB_ENOTFOUND)
			code = WBI_FAIL(err, WB_ECORRUPT,
					"generation %u has no checkpoint: "
					"rebuild",
					gen->number);
		track->gen = gen;
		if (code == WB_OK)
			code = wbi_track_count_aside(track, txn, err);
		wbi_txn_abort(txn);
	}
	if (code != WB_OK) {
		wbi_track_fini(track);
		return code;
	}
	wbi_track_abort(track);
	return WB_OK;
}

void wbi_track_fini(wbi_track *track)
{
	if (track->gen)
		wbi_track_abort(track);
	free(track->model);
	free(track->headers);
	free(track->origins);
	track->origins = NULL;
	track->model = NULL;
	track->headers = NULL;
	track->gen = NULL;
	wb_error_clear(&track->stuck);
	track->careful_until = 0;
	track->at_head = false;
}

/* ---- transactions -------------------------------------------------------- */

void wbi_track_abort(wbi_track *track)
{
	if (track->txn && track->origins)
		wbi_origins_forget(track->origins);
	wbi_txn_abort(track->txn);
	track->txn = NULL;
	track->position = track->at.position;
	snprintf(track->event_id, sizeof(track->event_id), "%s",
		 track->at.event_id);
	track->print = track->at.print;
	track->applied = track->passed = track->skipped = 0;
	track->dirty = track->commit_soon = false;
}

static wb_code track_begin(wbi_track *track, wb_error *err)
{
	if (track->txn)
		return WB_OK;
	return wbi_txn_begin(track->gen->env, true, &track->txn, err);
}

wb_code wbi_track_commit(wbi_track *track, const wbi_projector_row *status,
			wb_error *err)
{
	wbi_checkpoint at = track->at;
	wb_code code = WB_OK;

	if (!track->dirty && !status) {
		wbi_track_abort(track);
		return WB_OK;
	}
	code = track_begin(track, err);
	if (code == WB_OK && track->origins)
		code = wbi_origins_flush(track->origins, track->txn, track->gen,
					 err);
	at.position = track->position;
	snprintf(at.event_id, sizeof(at.event_id), "%s", track->event_id);
	at.print = track->print;
	if (code == WB_OK && track->dirty)
		code = wbi_checkpoint_put(track->txn, track->gen->meta, &at, err);
	if (code == WB_OK && status)
		code = wbi_projector_row_put(track->txn, track->gen->meta, status,
					     err);
	if (code == WB_OK)
		code = wbi_track_count_aside(track, track->txn, err);
	if (code == WB_OK) {
		code = wbi_txn_commit(track->txn, err);
		track->txn = NULL;
	}
	if (code == WB_OK)
		track->at = at;
	if (code == WB_OK && track->feed)
		wbi_feed_release(track->feed, at.position);
	if (code == WB_OK) {
		wbi_track_abort(track);
		return WB_OK;
	}
	/* What is in memory was counted as if it had been committed. */
	if (track->origins)
		wbi_origins_forget(track->origins);
	wbi_track_forget(track);
	return code;
}

/* ---- does it belong to the journal? -------------------------------------- */

static wb_code track_mismatch(const wbi_track *track, wb_error *err,
			     const char *what)
{
	return WBI_FAIL(err, WB_EMISMATCH,
			"generation %u of projection %s does not belong to the "
			"journal: %s. Build it anew: waybill projection "
			"rebuild %s --promote",
			track->gen->number, track->projection->name, what,
			track->projection->name);
}

static wb_code track_verify_event(wbi_track *track, MDB_txn *txn, wb_error *err)
{
	uint64_t stored;
	wb_event event;
	wb_str record;
	wb_code code;

	if (track->at.event_id[0] == '\0')
		return WB_OK; /* from a snapshot */
	code = wbi_journal_get(&track->journal, txn, track->at.position, &record,
			       err);
	if (code == WB_ENOTFOUND)
		return WB_OK; /* pruned: nothing to compare with */
	if (code == WB_OK)
		code = wbi_record_decode(record.ptr, record.len, &event,
					 &stored, err);
	if (code != WB_OK)
		return code;
	if (wb_str_eq(event.id, wb_str_from(track->at.event_id)))
		return WB_OK;
	return track_mismatch(track, err,
			     "another event stands at its position");
}

static wb_code track_verify_in(wbi_track *track, MDB_txn *txn, wb_error *err)
{
	const wbi_checkpoint *at = &track->at;
	char what[160];
	wb_code code;

	code = wbi_journal_range(&track->journal, txn, &track->first, &track->head,
				 err);
	if (code != WB_OK)
		return code;
	if (strcmp(at->origin, track->journal.origin) != 0) {
		snprintf(what, sizeof(what),
			 "its origin is %s, the journal's is %s", at->origin,
			 track->journal.origin);
		return track_mismatch(track, err, what);
	}
	if (at->position > track->head) {
		snprintf(what, sizeof(what),
			 "it is at %" PRIu64 ", the journal ends at %" PRIu64,
			 at->position, track->head);
		return track_mismatch(track, err, what);
	}
	return at->position > 0 ? track_verify_event(track, txn, err) : WB_OK;
}

wb_code wbi_track_verify(wbi_track *track, wb_error *err)
{
	MDB_txn *txn;
	wb_code code;

	if (track->feed)
		return WB_OK; /* it does so itself */
	code = wbi_txn_begin(wb_store_env(track->journal.store), false, &txn,
			     err);
	if (code != WB_OK)
		return code;
	code = track_verify_in(track, txn, err);
	wbi_txn_abort(txn);
	return code;
}

/* ---- one event ----------------------------------------------------------- */

/* What `apply` said, as an error; a put or del that broke outweighs it. */
static void track_outcome(const wbi_track *track, wb_code code, wb_error *cause)
{
	if (track->model->broken.code != WB_OK) {
		*cause = track->model->broken;
		return;
	}
	if (code == WB_OK) {
		wb_error_clear(cause);
		return;
	}
	if (cause->code != code) {
		wb_error_clear(cause);
		WBI_FAIL(cause, code, "%s", wb_code_text(code));
	}
}

static void track_call(wbi_track *track, MDB_txn *txn, const wb_event *event,
		      uint64_t position, wb_error *ret)
{
	wb_model *model = track->model;

	model->txn = txn;
	model->position = position;
	wb_error_clear(&model->broken);
	wb_error_clear(ret);
	track_outcome(track, track->projection->apply(model, event, ret), ret);
	model->txn = NULL;
}

/* With care: all or nothing of it. */
static wb_code track_call_alone(wbi_track *track, const wb_event *event,
			       uint64_t position, wb_error *ret_failed,
			       wb_error *err)
{
	MDB_txn *alone;
	wb_code code = wbi_txn_nest(track->txn, &alone, err);

	if (code != WB_OK)
		return code;
	track_call(track, alone, event, position, ret_failed);
	if (ret_failed->code == WB_OK)
		return wbi_txn_commit(alone, err);
	wbi_txn_abort(alone);
	return WB_OK;
}

wb_code wbi_track_apply_alone(wbi_track *track, wb_str record, uint64_t position,
			     wb_error *ret_failed, wb_error *err)
{
	wb_event event;
	uint64_t inside;
	wb_code code = wbi_record_decode(record.ptr, record.len, &event,
					 &inside, err);

	if (code == WB_OK && event.header_count > 0)
		code = wbi_record_headers(record.ptr, record.len, &event,
					  track->headers, err);
	if (code == WB_OK)
		code = track_call_alone(track, &event, position, ret_failed, err);
	return code;
}

/* Why this track stands: the event, and what it said. */
static void track_get_stuck(wbi_track *track, const wb_event *event,
			   uint64_t position, const wb_error *cause)
{
	char id[80], type[80];

	wb_error_clear(&track->stuck);
	WBI_FAIL_FOREIGN(&track->stuck, cause->code, cause->foreign,
			 "event %" PRIu64 " (%s, %s): %.300s", position,
			 wbi_text_show(event->type, type, sizeof(type)),
			 wbi_text_show(event->id, id, sizeof(id)), cause->text);
}

/* The event failed with care: what does the declaration say? *ret_passed: it is
 * behind us. */
static wb_code track_failed(wbi_track *track, const wb_event *event, wb_str record,
			   uint64_t position, const wb_error *cause,
			   bool *ret_passed, wb_error *err)
{
	char buf[256];
	wb_str unit;
	wb_code code;

	*ret_passed = false;
	if (cause->class_ == WB_CLASS_STOP ||
	    track->projection->on_error == WB_ON_ERROR_STOP) {
		track_get_stuck(track, event, position, cause);
		return WB_OK;
	}
	code = wbi_track_unit(track, event, buf, &unit, err);
	if (code != WB_OK)
		return code;
	if (track->projection->on_error == WB_ON_ERROR_SKIP) {
		code = wbi_track_skip(track, unit, position, record, cause, err);
		track->skipped += code == WB_OK;
	} else {
		code = wbi_track_set_aside(track, unit, position, record, cause,
					  err);
	}
	*ret_passed = code == WB_OK;
	return code;
}

/* Behind one of its unit that is aside, it goes aside, too. */
static wb_code track_follow(wbi_track *track, const wb_event *event, wb_str record,
			   uint64_t position, bool *ret_passed, wb_error *err)
{
	bool aside = false;
	char buf[256];
	wb_str unit;
	wb_code code = wbi_track_unit(track, event, buf, &unit, err);

	if (code == WB_OK && unit.len > 0)
		code = wbi_track_is_aside(track, unit, &aside, err);
	if (code == WB_OK && aside)
		code = wbi_track_set_aside(track, unit, position, record, NULL,
					  err);
	*ret_passed = aside;
	return code;
}

/* What the event said is not there any more: no policy can make up for it. */
static void track_truncated(wbi_track *track, const wb_event *event,
			   uint64_t position)
{
	wb_error_clear(&track->stuck);
	WBI_FAIL(&track->stuck, WB_ETRUNCATED,
		 "position %" PRIu64 ", version %" PRIu64 " of stream \"%.*s\", "
		 "was truncated, and the model cannot be built without it; give "
		 "the projection from_snapshot and rebuild",
		 position, event->sequence, (int)event->subject.len,
		 event->subject.ptr);
}

/* An error: all since the last commit is to be taken back. */
static wb_code track_event(wbi_track *track, wb_event *event, wb_str record,
			  uint64_t position, bool *ret_passed, wb_error *err)
{
	wb_error failed = WB_ERROR_INIT;
	wb_code code = WB_OK;

	*ret_passed = false;
	if (!wbi_types_take(track->types, event->type)) {
		track->passed++;
		*ret_passed = true;
		return WB_OK;
	}
	if (wbi_record_flags(record) & WBI_RECORD_STUB) {
		track_truncated(track, event, position);
		return WB_OK;
	}
	if (track->aside_keys > 0) {
		code = track_follow(track, event, record, position, ret_passed,
				   err);
		if (code != WB_OK || *ret_passed)
			return code;
	}
	if (event->header_count > 0)
		code = wbi_record_headers(record.ptr, record.len, event,
					  track->headers, err);
	if (code != WB_OK)
		return code;
	if (position > track->careful_until) {
		track_call(track, track->txn, event, position, &failed);
		if (failed.code != WB_OK && !wbi_wants_room(failed.code))
			track->careful_until = position + TRACK_CAREFUL_MORE;
		if (failed.code != WB_OK)
			return WBI_FAIL_FOREIGN(err, failed.code,
						failed.foreign, "%s",
						failed.text);
	} else {
		code = track_call_alone(track, event, position, &failed, err);
		if (code != WB_OK)
			return code;
		if (wbi_wants_room(failed.code))
			return WBI_FAIL_FOREIGN(err, failed.code,
						failed.foreign, "%s",
						failed.text);
		if (failed.code != WB_OK)
			return track_failed(track, event, record, position,
					   &failed, ret_passed, err);
	}
	track->applied++;
	*ret_passed = true;
	return WB_OK;
}

/* ---- many ---------------------------------------------------------------- */

/* Begin behind `gone`: up to there the journal has not all of its events. */
static wb_code track_snapshot(wbi_track *track, uint64_t gone, wb_error *err)
{
	const wb_projection *p = track->projection;
	wb_error failed = WB_ERROR_INIT;

	if (track->position > 0 || !p->from_snapshot) {
		wb_error_clear(&track->stuck);
		WBI_FAIL(&track->stuck, WB_EMISMATCH,
			 "the %s begins at %" PRIu64
			 ", and the model is at %" PRIu64
			 ": what lies between is gone. Keep events (%s), or "
			 "give the projection from_snapshot and rebuild",
			 track->feed ? "stream" : "journal", track->first,
			 track->position,
			 track->feed ? "x-max-age, x-max-length-bytes"
				     : "keep_bytes, keep_age_s");
		return WB_OK;
	}
	track->model->txn = track->txn;
	track->model->position = gone;
	wb_error_clear(&track->model->broken);
	track_outcome(track,
		     p->from_snapshot(track->model, track->journal.store,
				      gone, &failed),
		     &failed);
	track->model->txn = NULL;
	if (failed.code != WB_OK)
		return WBI_FAIL_FOREIGN(err, failed.code, failed.foreign,
					"from_snapshot: %.400s", failed.text);
	track->position = gone;
	track->event_id[0] = '\0';
	track->print = 0;
	track->dirty = true;
	return WB_OK;
}

typedef struct track_run {
	uint64_t events;
	int64_t until_us;
} track_run;

static wb_code track_read(wbi_track *track, MDB_txn *txn, track_run *run,
			 wb_error *err)
{
	wb_event event = {.time_us = 0};
	bool passed = true, any = false;
	wbi_reader reader;
	wb_str record, id = WB_STR_NULL;
	wb_code code;

	code = wbi_reader_open(&reader, &track->journal, txn, track->position,
			       err);
	if (code != WB_OK)
		return code;
	while (run->events > 0 && passed) {
		code = wbi_reader_next(&reader, &event, &record, err);
		if (code != WB_OK)
			break;
		code = track_event(track, &event, record, reader.position,
				  &passed, err);
		if (code != WB_OK || !passed)
			break;
		run->events--;
		track->position = reader.position;
		id = event.id;
		any = true;
		if (run->events % TRACK_CLOCK_EACH == 0 &&
		    track->clock->mono_us(track->clock->ctx) >= run->until_us)
			break;
	}
	wbi_reader_close(&reader);
	if (any) {
		WB_ASSERT(id.len < sizeof(track->event_id));
		memcpy(track->event_id, id.ptr, id.len);
		track->event_id[id.len] = '\0';
		track->dirty = true;
	}
	track->at_head = code == WB_ENOTFOUND;
	track->oldest_us = track->at_head ? 0 : event.time_us;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/*
 * Up to where events are gone: pruned at the front, or, which only matters to a
 * model that is empty and knows how to begin elsewhere, truncated from streams.
 */
static wb_code track_gone(const wbi_track *track, MDB_txn *txn, uint64_t *ret,
			 wb_error *err)
{
	uint64_t truncated = 0;
	wb_code code = WB_OK;

	*ret = track->first > 0 ? track->first - 1 : 0;
	if (track->position > 0 || !track->projection->from_snapshot ||
	    track->journal.kind != WBI_OUTBOX)
		return WB_OK;
	code = wbi_streams_truncated_to(
		txn, wbi_store_get_tables(track->journal.store), &truncated,
		err);
	if (truncated > *ret)
		*ret = truncated;
	return code;
}

/* ---- a stream ------------------------------------------------------------ */

/* What is no event does what one does that cannot be applied. */
static wb_code track_malformed(wbi_track *track, const wbi_feed_item *item,
			       const wb_event *event, wb_str record,
			       bool *ret_passed, wb_error *err)
{
	wb_error why = item->malformed;

	why.class_ = WB_CLASS_REJECT;
	return track_failed(track, event, record, item->position, &why,
			    ret_passed, err);
}

static wb_code track_item(wbi_track *track, const wbi_feed_item *item,
			  wb_event *event, bool *ret_passed, wb_error *err)
{
	wb_str record = wb_str_n(item->record, item->record_size);
	bool known = false, placed = item->origin[0] != '\0';
	uint64_t inside;
	wb_code code = wbi_record_decode(record.ptr, record.len, event, &inside,
					 err);

	if (code == WB_OK && placed)
		code = wbi_origins_have(track->origins, track->txn, track->gen,
					item->origin, item->origin_position,
					&known, err);
	if (code != WB_OK)
		return code;
	if (known) {
		track->passed++; /* published twice */
		*ret_passed = true;
		return WB_OK;
	}
	if (item->malformed.code != WB_OK)
		return track_malformed(track, item, event, record, ret_passed,
				       err);
	code = track_event(track, event, record, item->position, ret_passed,
			   err);
	if (code == WB_OK && *ret_passed && placed)
		code = wbi_origins_add(track->origins, track->txn, track->gen,
				       item->origin, item->origin_position,
				       err);
	return code;
}

static void track_passed(wbi_track *track, const wbi_feed_item *item,
			 const wb_event *event)
{
	track->position = item->position;
	WB_ASSERT(event->id.len < sizeof(track->event_id));
	memcpy(track->event_id, event->id.ptr, event->id.len);
	track->event_id[event->id.len] = '\0';
	track->print = item->print;
	track->oldest_us = event->time_us;
	track->dirty = true;
}

/* See `keeps_up`; `last_us` is the time of the last event applied. */
static bool track_is_near(const wbi_track *track, int64_t last_us)
{
	const wb_clock *clock = track->clock;

	if (!track->keeps_up || !wbi_feed_drained(track->feed, track->position))
		return false;
	return (track->goal > 0 && track->position >= track->goal) ||
	       last_us + TRACK_FRESH_US > clock->real_us(clock->ctx);
}

static wb_code track_work_feed(wbi_track *track, track_run *run, wb_error *err)
{
	const wbi_feed_item *item;
	bool passed = true;
	wb_event event;
	wb_code code = track_begin(track, err);

	while (code == WB_OK && passed && run->events > 0) {
		item = wbi_feed_after(track->feed, track->position);
		if (!item)
			break;
		track->first = item->position;
		if (track->position == 0 && item->position > 1)
			return track_snapshot(track, item->position - 1, err);
		passed = false;
		code = track_item(track, item, &event, &passed, err);
		if (code != WB_OK || !passed)
			break;
		track_passed(track, item, &event);
		if (--run->events % TRACK_CLOCK_EACH == 0 &&
		    track->clock->mono_us(track->clock->ctx) >= run->until_us)
			break;
	}
	track->head = wbi_feed_last(track->feed);
	if (track->head < track->position)
		track->head = track->position;
	track->at_head = code == WB_OK && passed &&
			 (wbi_feed_quiet(track->feed, track->position) ||
			  track_is_near(track, track->oldest_us));
	if (track->at_head || track->head == track->position)
		track->oldest_us = 0;
	return code;
}

static wb_code track_work(wbi_track *track, track_run *run, wb_error *err)
{
	uint64_t gone;
	MDB_txn *txn;
	wb_code code;

	if (track->feed)
		return track_work_feed(track, run, err);
	code = track_begin(track, err);
	if (code != WB_OK)
		return code;
	code = wbi_txn_begin(wb_store_env(track->journal.store), false, &txn,
			     err);
	if (code != WB_OK)
		return code;
	track->seen_txn = wbi_txn_id(txn);
	code = wbi_journal_range(&track->journal, txn, &track->first, &track->head,
				 err);
	if (code == WB_OK)
		code = track_gone(track, txn, &gone, err);
	if (code == WB_OK && gone > track->position) {
		/* It may want the store for itself. */
		wbi_txn_abort(txn);
		return track_snapshot(track, gone, err);
	}
	if (code == WB_OK)
		code = track_read(track, txn, run, err);
	wbi_txn_abort(txn);
	return code;
}

wb_code wbi_track_work(wbi_track *track, uint64_t events, int64_t until_us,
		      wb_error *err)
{
	track_run run = {events, until_us};
	wb_error cause = WB_ERROR_INIT;
	uint64_t careful = track->careful_until;
	wb_code code;

	WB_ASSERT(events > 0);
	wb_error_clear(&track->stuck);
	code = track_work(track, &run, &cause);
	if (code != WB_OK && track->careful_until > careful) {
		/* An event failed: once more, with care and not beyond it. */
		wbi_track_forget(track);
		wb_error_clear(&cause);
		run = (track_run){events, until_us};
		if (run.events > track->careful_until - track->position)
			run.events = track->careful_until - track->position;
		code = track_work(track, &run, &cause);
		track->commit_soon = true;
	}
	if (code == WB_OK)
		return WB_OK;
	wbi_track_forget(track);
	wbi_error_pass(err, &cause);
	return code;
}

void wbi_track_forget(wbi_track *track)
{
	wbi_track_abort(track);
	(void)wbi_track_count_aside(track, NULL, NULL);
}
