/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A rebuild: a generation is filled from the journal's beginning beside the live
 * one, then goes along with it, then is promoted.
 *
 * While it is filled its commits are not synced, which is safe against the end
 * of this process, not against that of the machine: so the note `building`
 * carries the machine's boot, and in another one it is begun anew. When it has
 * caught up it is synced, and only then called ready. A flip needs a ready
 * generation that has all that readers may have seen in the live one; it is one
 * rename. Killed at any point there is the old live generation or the new one,
 * whole, and `building` says what to go on with.
 *
 * A full disk stops the filling, which tries again; the live one is another
 * file.
 */
#include <inttypes.h>
#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/journal/stream_rows.h"
#include "lib/store/env.h"
#include "projections/projector.h"

static wb_code fill_open(wb_projector *p, wbi_generation *gen, wb_error *err)
{
	wb_code code = wbi_projector_open_track(p, &p->fill, gen, err);

	if (code != WB_OK)
		return code;
	p->fill_rate = (projector_rate){.since_position = p->fill.at.position};
	p->fill_begun_us = p->now_us;
	p->fill_begun = p->fill.at.position;
	p->fill_commit_at_us = p->now_us;
	p->ready = p->building.ready;
	p->promote = p->promote || p->building.promote;
	/* Events that were aside under older code. */
	p->fill_heal = (wbi_heal){.active = p->fill.aside_events > 0};
	p->status_dirty = true;
	wbi_log(p->log, WB_LOG_INFO,
		"projection %s: filling generation %u from %" PRIu64,
		p->projection->name, gen->number, p->fill.at.position + 1);
	return WB_OK;
}

wb_code wbi_projector_fill_begin(wb_projector *p, bool promote, uint32_t rate,
				 wb_error *err)
{
	wbi_generation_options o = {.map_bytes = p->options.map_bytes,
				    .no_sync = true};
	wbi_building b = {.generation = p->pointer.next,
			  .version = p->shape.version,
			  .rate = rate,
			  .promote = promote};
	wbi_pointer pointer = p->pointer;
	wbi_generation *gen = NULL;
	wb_code code;

	WB_ASSERT(!p->fill.gen);
	if (p->live_feed && !p->fill_feed)
		return WBI_FAIL(err, WB_ESTATE,
				"projection %s: a rebuild from a stream needs "
				"a connection of its own (rebuild_broker)",
				p->projection->name);
	memcpy(b.boot, p->boot, sizeof(b.boot));
	pointer.next++;
	code = wbi_home_flip(p->home, &pointer, err);
	if (code != WB_OK)
		return code;
	p->pointer = pointer;
	code = wbi_building_write(p->home, &b, err);
	if (code == WB_OK) {
		p->building = b;
		/* What it needs must not be removed from the journal. */
		code = wbi_projector_hold(p, true, err);
	}
	if (code == WB_OK)
		code = wbi_home_make(p->home, b.generation, &p->shape,
				     p->origin, &o, &gen, err);
	return code == WB_OK ? fill_open(p, gen, err) : code;
}

wb_code wbi_projector_fill_discard(wb_projector *p, wb_error *err)
{
	uint32_t number = p->building.generation;
	wb_code code = WB_OK;

	wbi_projector_close_track(p, &p->fill);
	p->ready = p->promote = false;
	p->building = (wbi_building){0};
	p->status_dirty = true;
	if (number > 0)
		code = wbi_home_remove(p->home, number, err);
	if (code == WB_OK)
		code = wbi_building_write(p->home, &p->building, err);
	return code;
}

wb_code wbi_projector_fill_resume(wb_projector *p, wb_error *err)
{
	wbi_building b = p->building;
	wbi_generation_options o = {.no_sync = !b.ready};
	wbi_generation *gen = NULL;
	wb_error why = WB_ERROR_INIT;
	wb_code code = WB_ENOTFOUND;

	if (b.version == p->shape.version &&
	    (b.ready || (p->boot[0] && !strcmp(p->boot, b.boot))))
		code = wbi_home_take(p->home, b.generation, &o, &gen, &why);
	if (code == WB_OK && wbi_shape_differs(&gen->shape, &p->shape)) {
		wbi_home_give(p->home, gen);
		code = WB_ENOTFOUND;
	}
	if (code == WB_OK)
		code = fill_open(p, gen, &why);
	if (code == WB_OK && wbi_track_verify(&p->fill, &why) == WB_OK)
		return WB_OK;
	/* Not made yet, of another declaration, or perhaps torn: anew. */
	wbi_log(p->log, WB_LOG_INFO,
		"projection %s: generation %u cannot be gone on with%s%.200s: "
		"filling another",
		p->projection->name, b.generation, why.code ? ": " : "",
		why.text);
	code = wbi_projector_fill_discard(p, err);
	if (code != WB_OK)
		return code;
	return wbi_projector_fill_begin(p, b.promote, b.rate, err);
}

/* ---- a share of work ----------------------------------------------------- */

static wbi_projector_row fill_row(const wb_projector *p)
{
	const wb_clock *clock = p->clock;
	int64_t now_us = clock->real_us(clock->ctx);
	wbi_projector_row row = {
		.pid = 0,
		.state = WB_PROJECTOR_RUNNING,
		.since_us = p->since_us,
		.updated_us = now_us,
		.head = p->fill.head,
		.applied = p->fill.applied,
		.rate_milli = (uint64_t)(p->fill_rate.rate * 1000),
		.target = p->ready ? 0 : p->fill.head,
	};

	if (p->fill.oldest_us > 0 && now_us > p->fill.oldest_us)
		row.lag_us = now_us - p->fill.oldest_us;
	if (p->fill.stuck.code != WB_OK) {
		row.state = WB_PROJECTOR_STUCK;
		snprintf(row.error, sizeof(row.error), "%s",
			 p->fill.stuck.text);
	}
	return row;
}

static wb_code fill_commit(wb_projector *p, wb_error *err)
{
	wbi_projector_row row = fill_row(p);

	p->fill_commit_at_us =
		p->now_us + (int64_t)PROJECTOR_FILL_MS * 1000;
	return wbi_track_commit(&p->fill, &row, err);
}

static wb_code fill_make_ready(wb_projector *p, wb_error *err)
{
	wbi_building b = p->building;
	wb_code code = wbi_env_make_safe(p->fill.gen->env, err);

	b.ready = true;
	if (code == WB_OK)
		code = wbi_building_write(p->home, &b, err);
	if (code != WB_OK)
		return code;
	p->building = b;
	p->ready = p->status_dirty = true;
	wbi_log(p->log, WB_LOG_INFO,
		"projection %s: generation %u is filled up to %" PRIu64,
		p->projection->name, p->fill.gen->number, p->fill.at.position);
	return WB_OK;
}

/* Events that may be filled in now, by the rate that was asked for. */
static uint64_t fill_allowance(const wb_projector *p)
{
	uint32_t rate = p->building.rate ? p->building.rate
					 : p->options.rebuild_rate;
	uint64_t done = p->fill.position - p->fill_begun;
	uint64_t may;

	if (rate == 0 || p->ready)
		return p->options.batch_max;
	may = 1 + (uint64_t)(p->now_us - p->fill_begun_us) * rate / 1000000;
	if (may <= done)
		return 0;
	return may - done < p->options.batch_max ? may - done
						 : p->options.batch_max;
}

int64_t wbi_projector_fill_deadline_us(const wb_projector *p)
{
	if (!p->fill.gen || p->fill.stuck.code != WB_OK)
		return INT64_MAX;
	if (p->fill_heal.active)
		return 0;
	if (!wbi_projector_news(p, &p->fill) && (p->ready || p->fill.feed))
		return INT64_MAX; /* the store wakes it, or the broker */
	if (fill_allowance(p) == 0)
		return p->now_us + 1000;
	return 0;
}

static bool fill_wants_commit(const wb_projector *p)
{
	const wbi_track *track = &p->fill;

	return p->ready || track->at_head ||
	       (track->feed && wbi_feed_presses(track->feed)) || track->commit_soon ||
	       track->stuck.code != WB_OK ||
	       track->position - track->at.position >= PROJECTOR_FILL_EVENTS ||
	       p->now_us >= p->fill_commit_at_us;
}

wb_code wbi_projector_fill_step(wb_projector *p, int64_t until_us,
				wb_error *err)
{
	uint64_t events;
	wb_code code;

	if (!p->fill.gen || p->fill.stuck.code != WB_OK)
		return WB_OK;
	if (p->fill_heal.active) {
		code = wbi_track_heal(&p->fill, &p->fill_heal,
				      PROJECTOR_HEAL_EVENTS, err);
		if (code == WB_OK)
			code = fill_commit(p, err);
		if (code != WB_OK)
			p->fill_heal.from_len = 0; /* from the first again */
		return code;
	}
	if (p->ready && !wbi_projector_news(p, &p->fill))
		return WB_OK;
	p->fill.keeps_up = true;
	p->fill.goal = p->state == WB_PROJECTOR_RUNNING && p->live_fits
			       ? p->live.at.position
			       : 0;
	events = fill_allowance(p);
	if (events == 0)
		return WB_OK;
	code = wbi_track_work(&p->fill, events, until_us, err);
	if (code == WB_OK && fill_wants_commit(p))
		code = fill_commit(p, err);
	if (code == WB_OK && p->fill.at_head && !p->ready)
		code = fill_make_ready(p, err);
	return code;
}

/* ---- flips --------------------------------------------------------------- */

/* Rename the pointer, then go on from it. A crash in between leaves the note
 * of what was built, which the next projector finds to be live. */
static wb_code fill_point(wb_projector *p, const wbi_pointer *pointer,
			  wb_error *err)
{
	wbi_generation *gen = NULL;
	wb_code code;

	/* Kept open meanwhile, so that it is not closed and opened again. */
	code = wbi_home_take(p->home, pointer->live, NULL, &gen, err);
	if (code == WB_OK)
		code = wbi_home_flip(p->home, pointer, err);
	if (code != WB_OK) {
		wbi_home_give(p->home, gen);
		return code;
	}
	wbi_log(p->log, WB_LOG_INFO,
		"projection %s: generation %u is live, in place of %u",
		p->projection->name, pointer->live, p->pointer.live);
	p->pointer = *pointer;
	wbi_projector_close_track(p, &p->live);
	if (p->building.generation == pointer->live) {
		wbi_feed *feed = p->live_feed;

		wbi_projector_close_track(p, &p->fill);
		p->live_feed = p->fill_feed;
		p->fill_feed = feed;
		p->building = (wbi_building){0};
		p->ready = p->promote = false;
	}
	p->status_dirty = p->look = true;
	code = wbi_projector_open_live(p, err);
	wbi_home_give(p->home, gen);
	return code;
}

wb_code wbi_projector_flip(wb_projector *p, wb_error *err)
{
	wbi_pointer pointer = p->pointer;
	wb_code code;

	if (!p->ready || !p->fill.at_head || p->fill_heal.active)
		return WB_OK;
	/* Nobody who has seen an event may miss it, unless it is of a history
	 * that is no more. */
	if (!strcmp(p->live.at.origin, p->fill.at.origin) &&
	    !(p->state == WB_PROJECTOR_STUCK &&
	      p->error.code == WB_EMISMATCH) &&
	    p->fill.at.position < p->live.at.position)
		return WB_OK;
	WB_ASSERT(!p->fill.txn && p->building.ready);
	pointer.former = pointer.live;
	pointer.live = p->building.generation;
	pointer.rolled_back = false;
	code = fill_point(p, &pointer, err);
	if (code == WB_OK)
		code = wbi_building_write(p->home, &p->building, err);
	return code == WB_OK ? wbi_projector_clean(p, err) : code;
}

/* Up to where the journal lacks some of its events. */
static wb_code fill_gone(wb_projector *p, uint64_t *ret, wb_error *err)
{
	uint64_t first = 0, head, truncated = 0;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wb_store_env(p->store), false, &txn, err);

	if (code != WB_OK)
		return code;
	code = wbi_journal_range(&p->journal, txn, &first, &head, err);
	if (code == WB_OK && p->journal.kind == WBI_OUTBOX)
		code = wbi_streams_truncated_to(
			txn, wbi_store_get_tables(p->store), &truncated, err);
	wbi_txn_abort(txn);
	*ret = first > 0 ? first - 1 : 0;
	if (truncated > *ret)
		*ret = truncated;
	return code;
}

static wb_code fill_position(const wbi_generation *gen, uint64_t *ret,
			     wb_error *err)
{
	wbi_checkpoint at;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(gen->env, false, &txn, err);

	if (code != WB_OK)
		return code;
	code = wbi_checkpoint_get(txn, gen->meta, &at, err);
	wbi_txn_abort(txn);
	if (code == WB_OK)
		*ret = at.position;
	return code;
}

/* What lies behind its checkpoint must still be in the journal, and is kept
 * there from here on. */
static wb_code fill_can_go_back(wb_projector *p, const wbi_generation *gen,
				wb_error *err)
{
	uint64_t gone = 0;
	wb_code code;

	if (p->live_feed)
		return WB_OK; /* what a stream has it will say itself */
	code = fill_position(gen, &p->back_to, err);
	if (code != WB_OK)
		return code;
	p->going_back = true;
	code = wbi_projector_hold(p, true, err);
	if (code == WB_OK)
		code = fill_gone(p, &gone, err);
	if (code != WB_OK || gone <= p->back_to)
		return code;
	return WBI_FAIL(err, WB_ESTATE,
			"projection %s: generation %u is at %" PRIu64
			", and events up to %" PRIu64
			" were pruned or truncated: rebuild instead of going "
			"back",
			p->projection->name, gen->number, p->back_to, gone);
}

wb_code wbi_projector_rollback(wb_projector *p, wb_error *err)
{
	wbi_pointer pointer = p->pointer;
	wbi_generation *gen = NULL;
	wb_code code;

	if (pointer.former == 0)
		return WBI_FAIL(err, WB_ESTATE,
				"projection %s: there is no former generation "
				"to go back to",
				p->projection->name);
	pointer.live = p->pointer.former;
	pointer.former = p->pointer.live;
	pointer.rolled_back = true;
	code = wbi_home_take(p->home, pointer.live, NULL, &gen, err);
	if (code != WB_OK)
		return code;
	code = fill_can_go_back(p, gen, err);
	if (code == WB_OK)
		code = fill_point(p, &pointer, err);
	p->going_back = false;
	wbi_home_give(p->home, gen);
	return code;
}
