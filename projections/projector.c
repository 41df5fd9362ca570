/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The projector's step: what operators ask for, a batch for the live
 * generation, a share of work for the one that is filled beside it.
 *
 * A step leaves nothing half done but the open transaction of a generation that
 * is being filled; a crash loses that, and it is filled in again. What can go
 * wrong with an event, a declaration or the room on the disk becomes a state
 * with its reason, so that one projection never ends its host.
 *
 * A projector belongs to the thread that steps it; wb_projector_stop() alone
 * may come from elsewhere.
 */
#include "projections/projector.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

const char *wb_projector_state_name(wb_projector_state state)
{
	static const char *const names[] = {"waiting", "running", "paused",
					    "blocked", "stuck",	  "stopped"};

	return (size_t)state < WBI_COUNT(names) ? names[state] : "unknown";
}

void wbi_projector_set_state(wb_projector *p, wb_projector_state state,
			     const wb_error *why)
{
	bool same = p->state == state &&
		    !strcmp(p->error.text, why ? why->text : "");

	if (same)
		return;
	if (p->state != state)
		p->since_us = p->clock->real_us(p->clock->ctx);
	p->state = state;
	wb_error_clear(&p->error);
	if (why)
		p->error = *why;
	p->status_dirty = true;
	wbi_log(p->log, why ? WB_LOG_WARN : WB_LOG_DEBUG,
		"projection %s: %s%s%s", p->projection->name,
		wb_projector_state_name(state), why ? ": " : "",
		why ? why->text : "");
}

/* ---- open and close ------------------------------------------------------ */

static wb_code projector_options(const wb_projector_options *options,
				 wb_projector_options *ret, wb_error *err)
{
	wb_projector_options o = WB_PROJECTOR_OPTIONS_INIT;

	if (options && options->size != sizeof(o))
		return WBI_FAIL(err, WB_EINVAL,
				"wb_projector_options.size is %zu, not %zu: "
				"initialise it with WB_PROJECTOR_OPTIONS_INIT",
				options->size, sizeof(o));
	if (options)
		o = *options;
	if (o.batch_max == 0)
		o.batch_max = 2000;
	if (o.txn_us == 0)
		o.txn_us = 2000;
	if (o.poll_ms == 0)
		o.poll_ms = 50;
	if (o.hold_ms == 0)
		o.hold_ms = 5000;
	if (o.hold_events == 0)
		o.hold_events = 10000;
	if (o.aside_max_bytes == 0)
		o.aside_max_bytes = (uint64_t)1 << 30;
	if (o.keep_generations == 0)
		o.keep_generations = 2;
	if (o.prefetch == 0)
		o.prefetch = 2000;
	*ret = o;
	return WB_OK;
}

static wb_code projector_init(wb_projector *p, const wb_projection *projection,
			      wb_error *err)
{
	const char *dir = p->options.dir;
	wb_code code = WB_OK;

	wbi_loop_init(&p->loop); /* first: whatever fails, it is closed */
	p->projection = projection;
	wbi_boot_id(p->boot);
	p->owner_fd = -1;
	p->state = WB_PROJECTOR_WAITING;
	p->clock = p->options.clock;
	if (!p->clock)
		p->clock = p->store ? wbi_store_clock(p->store)
				    : wb_system_clock();
	p->log = p->options.log;
	if (!p->log && p->store)
		p->log = wbi_store_log(p->store);
	p->look_at_us[0] = p->look_at_us[1] = INT64_MAX;
	if (projection->source != WB_PROJECTION_STREAM) {
		p->journal = wbi_journal_of(
			p->store, projection->source == WB_PROJECTION_OUTBOX
					  ? WBI_OUTBOX
					  : WBI_INBOX);
		p->origin = p->journal.origin;
	} else {
		code = wbi_projector_open_feeds(p, err);
	}
	p->options.dir = p->options.queue = NULL; /* the caller's strings */
	wbi_shape_of(projection, &p->shape);
	p->store_watch = -1;
	if (code == WB_OK)
		code = wbi_loop_hang_bell(&p->loop, err);
	if (code == WB_OK)
		code = wbi_types_of(projection, &p->types, err);
	if (code == WB_OK)
		code = wbi_home_open(dir ? dir : wb_store_dir(p->store),
				     projection->name, true, &p->home, err);
	return code;
}

wb_code wb_projector_open(wb_store *store, const wb_projection *projection,
			  const wb_projector_options *options,
			  wb_projector **ret, wb_error *err)
{
	wb_projector_options o;
	wb_projector *p;
	wb_code code;

	if (!ret)
		return WBI_FAIL(err, WB_EINVAL, "ret: NULL");
	code = projector_options(options, &o, err);
	if (code == WB_OK)
		code = wb_projection_check(projection, err);
	if (code != WB_OK)
		return code;
	if (!store && (projection->source != WB_PROJECTION_STREAM || !o.dir))
		return WBI_FAIL(err, WB_EINVAL,
				"projection %s: store is NULL: only one of a "
				"stream does without, with options.dir",
				projection->name);
	p = calloc(1, sizeof(*p));
	if (!p)
		return WBI_FAIL(err, WB_ENOMEM, "open a projector");
	p->store = store;
	p->options = o;
	code = projector_init(p, projection, err);
	if (code != WB_OK) {
		wb_projector_close(p);
		return code;
	}
	*ret = p;
	return WB_OK;
}

void wb_projector_close(wb_projector *p)
{
	if (!p)
		return;
	if (p->owner_fd >= 0) {
		/* What can be kept of a rebuild; the rest is done again. */
		if (p->fill.gen)
			(void)wbi_track_commit(&p->fill, NULL, NULL);
		(void)wbi_projector_hold(p, true, NULL);
		wbi_projector_disown(p);
	}
	wbi_projector_close_feeds(p);
	wbi_home_unref(p->home);
	wbi_loop_fini(&p->loop);
	free(p);
}

/* ---- the status row ------------------------------------------------------ */

static int64_t projector_lag_us(const wb_projector *p)
{
	int64_t now_us = p->clock->real_us(p->clock->ctx);
	int64_t oldest_us = p->live.oldest_us;

	return oldest_us > 0 && now_us > oldest_us ? now_us - oldest_us : 0;
}

static wbi_projector_row projector_row(const wb_projector *p)
{
	wbi_projector_row row = {
		.pid = (uint32_t)getpid(),
		.state = (uint8_t)p->state,
		.since_us = p->since_us,
		.updated_us = p->clock->real_us(p->clock->ctx),
		.head = p->live.head,
		.lag_us = projector_lag_us(p),
		.applied = p->applied_ever + p->live.applied,
		.passed = p->passed_ever + p->live.passed,
		.skipped = p->skipped_ever + p->live.skipped,
		.rate_milli = (uint64_t)(p->live_rate.rate * 1000),
		.missing = p->missing,
	};

	snprintf(row.error, sizeof(row.error), "%s", p->error.text);
	return row;
}

/* Commit the live track, with the status when it is time for that. */
static wb_code projector_commit(wb_projector *p, wb_error *err)
{
	uint64_t applied = p->live.applied, passed = p->live.passed;
	uint64_t skipped = p->live.skipped;
	bool status = p->status_dirty || p->now_us >= p->status_at_us;
	wbi_projector_row row;
	wb_code code;

	if (status)
		row = projector_row(p);
	code = wbi_track_commit(&p->live, status ? &row : NULL, err);
	if (code != WB_OK)
		return code;
	p->applied += applied;
	p->passed += passed;
	p->skipped += skipped;
	p->applied_ever += applied;
	p->passed_ever += passed;
	p->skipped_ever += skipped;
	if (status) {
		p->status_dirty = false;
		p->status_at_us =
			p->now_us + (int64_t)PROJECTOR_STATUS_MS * 1000;
	}
	return WB_OK;
}

static wb_code projector_write_status(wb_projector *p, wb_error *err)
{
	if (!p->status_dirty || !p->live.gen)
		return WB_OK;
	return projector_commit(p, err);
}

static void projector_measure(projector_rate *rate, int64_t now_us,
			      uint64_t position)
{
	int64_t passed_us = now_us - rate->since_us;

	if (passed_us < (int64_t)PROJECTOR_RATE_MS * 1000)
		return;
	rate->rate = position > rate->since_position && rate->since_us > 0
			     ? (double)(position - rate->since_position) *
				       1e6 / (double)passed_us
			     : 0;
	rate->since_us = now_us;
	rate->since_position = position;
}

/* ---- the live generation ------------------------------------------------- */

/* Does it pass by itself? A map that another process has enlarged is taken
 * over, if that may be done here. */
static bool projector_passes(wb_projector *p, const wb_error *why)
{
	if (wbi_lmdb_is_resized(why->foreign) && p->options.sole_user)
		(void)wbi_store_adopt_map(p->store, NULL);
	return wbi_wants_room(why->code) || why->code == WB_EAGAIN;
}

/* Room comes back by itself; anything else is an operator's. */
static void projector_failed(wb_projector *p, wb_error *why)
{
	if (!projector_passes(p, why)) {
		wbi_projector_set_state(p, WB_PROJECTOR_STUCK, why);
		return;
	}
	wbi_projector_set_state(p, WB_PROJECTOR_BLOCKED, why);
	p->retry_at_us = p->now_us + (int64_t)PROJECTOR_RETRY_MS * 1000;
	/* The status would need room, too. */
	p->status_dirty = false;
}

/* Is there work for the live track, if there is news? */
static bool projector_live_works(const wb_projector *p)
{
	return p->live.gen && p->live_fits && !p->paused &&
	       p->state == WB_PROJECTOR_RUNNING;
}

static bool projector_may_apply(wb_projector *p)
{
	if (!p->live.gen || !p->live_fits || p->state == WB_PROJECTOR_STUCK)
		return false;
	if (p->state == WB_PROJECTOR_BLOCKED && p->now_us < p->retry_at_us)
		return false;
	if (p->paused != (p->state == WB_PROJECTOR_PAUSED))
		wbi_projector_set_state(p,
					p->paused ? WB_PROJECTOR_PAUSED
						  : WB_PROJECTOR_RUNNING,
					NULL);
	return !p->paused;
}

static void projector_heal(wb_projector *p)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code = wbi_track_heal(&p->live, &p->heal, PROJECTOR_HEAL_EVENTS,
				     &why);

	if (!p->heal.active)
		p->status_dirty = true;
	if (code == WB_OK)
		code = projector_commit(p, &why);
	if (code != WB_OK) {
		/* From the first on again: what was committed is gone. */
		p->heal.from_len = 0;
		p->heal.active = wbi_wants_room(code);
		projector_failed(p, &why);
	}
}

static void projector_apply(wb_projector *p)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code = wbi_track_work(&p->live, p->options.batch_max,
				     p->now_us + p->options.txn_us, &why);
	wb_error stuck = p->live.stuck;

	p->gathered_us = p->now_us;
	if (code == WB_OK)
		code = projector_commit(p, &why);
	if (code == WB_OK && stuck.code == WB_OK) {
		if (p->state == WB_PROJECTOR_BLOCKED)
			wbi_projector_set_state(p, WB_PROJECTOR_RUNNING, NULL);
		p->look = p->live.feed ? wbi_projector_news(p, &p->live)
				       : !p->live.at_head;
		return;
	}
	projector_failed(p, code == WB_OK ? &stuck : &why);
}

bool wbi_projector_news(const wb_projector *p, const wbi_track *track)
{
	if (track->feed && wbi_feed_after(track->feed, track->position))
		return true;
	if (track->feed)
		return track->at_head
			       ? !track->keeps_up &&
					 !wbi_feed_quiet(track->feed,
							 track->position)
			       : wbi_feed_quiet(track->feed, track->position);
	return !track->at_head ||
	       wbi_env_last_txn(wb_store_env(p->store)) != track->seen_txn;
}

/* A busy stream comes in drops: rather few commits than many. */
static bool projector_gathers(const wb_projector *p)
{
	return p->live_feed &&
	       p->now_us < p->gathered_us + PROJECTOR_GATHER_US &&
	       !wbi_feed_presses(p->live_feed);
}

static void projector_live(wb_projector *p)
{
	if (!projector_may_apply(p))
		return;
	if (p->heal.active)
		projector_heal(p);
	if (p->look && p->state == WB_PROJECTOR_BLOCKED)
		p->live.at_head = false;
	if (p->look && projector_gathers(p))
		return;
	if (p->look && wbi_projector_news(p, &p->live))
		projector_apply(p);
	else
		p->look = false;
}

/* ---- the step ------------------------------------------------------------ */

/* A hint may come before the commit can be seen: look again twice. */
static void projector_wake(wb_projector *p, bool wake)
{
	if (wake) {
		p->look = true;
		p->look_at_us[0] = p->now_us + 1000;
		p->look_at_us[1] = p->now_us + 5000;
	}
	for (size_t i = 0; i < WBI_COUNT(p->look_at_us); i++) {
		if (p->now_us < p->look_at_us[i])
			continue;
		p->look = true;
		p->look_at_us[i] = INT64_MAX;
	}
}

static void projector_fill_failed(wb_projector *p, const wb_error *why)
{
	wbi_log(p->log, WB_LOG_WARN, "projection %s: filling generation %u: %s",
		p->projection->name, p->building.generation, why->text);
	p->fill_retry_at_us = p->now_us + (int64_t)PROJECTOR_RETRY_MS * 1000;
	if (!projector_passes(p, why))
		p->fill.stuck = *why;
}

/* While the live track has work, filling gets a quarter of the time that this
 * takes; its commits come in lumps, so what it took too much it owes. */
static void projector_fill(wb_projector *p)
{
	int64_t now_us = p->clock->mono_us(p->clock->ctx);
	int64_t share_us = PROJECTOR_FILL_STEP_US;
	wb_error why = WB_ERROR_INIT;
	wb_code code;

	if (!p->fill.gen || p->now_us < p->fill_retry_at_us)
		return;
	if (p->look && projector_live_works(p)) {
		p->fill_owed_us -= (now_us - p->now_us) / 4;
		if (p->fill_owed_us > 0)
			return;
		share_us = (now_us - p->now_us) / 4;
	} else {
		p->fill_owed_us = 0;
	}
	code = wbi_projector_fill_step(p, now_us + share_us, &why);
	if (code == WB_OK && p->promote)
		code = wbi_projector_flip(p, &why);
	if (code != WB_OK)
		projector_fill_failed(p, &why);
	p->fill_owed_us += p->clock->mono_us(p->clock->ctx) - now_us;
}

static void projector_readers(wb_projector *p)
{
	int cleared;

	if (p->now_us < p->readers_at_us)
		return;
	p->readers_at_us = p->now_us + (int64_t)PROJECTOR_READERS_MS * 1000;
	if (p->live.gen)
		(void)wbi_env_check_readers(p->live.gen->env, &cleared, NULL);
}

/* Another one has it, or there is no room: later. */
static wb_code projector_own(wb_projector *p, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code = wbi_projector_own(p, &why);

	if (code == WB_OK || code == WB_EBUSY)
		return WB_OK;
	if (!projector_passes(p, &why)) {
		wbi_error_pass(err, &why);
		return code;
	}
	wbi_projector_set_state(p, WB_PROJECTOR_BLOCKED, &why);
	return WB_OK;
}

wb_code wb_projector_step(wb_projector *p, bool wake, wb_error *err)
{
	wb_code code;

	p->now_us = p->clock->mono_us(p->clock->ctx);
	if (atomic_load(&p->stop_asked) > 0) {
		wbi_projector_set_state(p, WB_PROJECTOR_STOPPED, NULL);
		return WB_OK;
	}
	if (p->owner_fd < 0) {
		if (p->now_us < p->own_at_us)
			return WB_OK;
		code = projector_own(p, err);
		if (code != WB_OK || p->owner_fd < 0)
			return code;
	}
	projector_wake(p, wake);
	wbi_projector_hear(p);
	code = wbi_projector_requests(p, err);
	if (code != WB_OK)
		return code;
	projector_live(p);
	projector_fill(p);
	if (p->live.gen)
		projector_measure(&p->live_rate, p->now_us,
				  p->live.at.position);
	if (p->fill.gen)
		projector_measure(&p->fill_rate, p->now_us, p->fill.position);
	projector_readers(p);
	wbi_projector_count_missing(p);
	(void)projector_write_status(p, NULL);
	return wbi_projector_hold(p, false, err);
}

int64_t wb_projector_deadline_us(const wb_projector *p)
{
	int64_t at_us = p->request_at_us;
	int64_t fill_us;

	if (p->state == WB_PROJECTOR_STOPPED)
		return INT64_MAX;
	if (p->owner_fd < 0)
		return p->own_at_us;
	fill_us = wbi_projector_fill_deadline_us(p);
	if (p->live_feed && wbi_feed_deadline_us(p->live_feed) < at_us)
		at_us = wbi_feed_deadline_us(p->live_feed);
	if (p->fill_feed && wbi_feed_deadline_us(p->fill_feed) < at_us)
		at_us = wbi_feed_deadline_us(p->fill_feed);
	if (fill_us < p->fill_retry_at_us)
		fill_us = p->fill_retry_at_us;
	if (fill_us < at_us)
		at_us = fill_us;
	if (p->state == WB_PROJECTOR_BLOCKED)
		/* Behind it there is only a broker to be heard. */
		return p->retry_at_us < at_us &&
				       !(p->live_feed &&
					 p->retry_at_us <= p->now_us)
			       ? p->retry_at_us
			       : at_us;
	if (!projector_live_works(p))
		return at_us;
	if (p->heal.active)
		return 0;
	if (p->look && projector_gathers(p))
		return p->gathered_us + PROJECTOR_GATHER_US < at_us
			       ? p->gathered_us + PROJECTOR_GATHER_US
			       : at_us;
	if (p->look)
		return 0;
	for (size_t i = 0; i < WBI_COUNT(p->look_at_us); i++)
		if (p->look_at_us[i] < at_us)
			at_us = p->look_at_us[i];
	return at_us;
}

static int64_t projector_eta_us(const wb_projector *p)
{
	uint64_t left;

	if (!p->fill.gen || p->ready)
		return p->fill.gen ? 0 : -1;
	left = p->fill.head > p->fill.position
		       ? p->fill.head - p->fill.position
		       : 0;
	if (p->fill_rate.rate <= 0)
		return left == 0 ? 0 : -1;
	return (int64_t)((double)left / p->fill_rate.rate * 1e6);
}

wb_projector_stat wb_projector_get_stat(const wb_projector *p)
{
	wb_projector_stat stat = {.state = p->state,
				  .generation = p->pointer.live,
				  .applied = p->applied,
				  .passed = p->passed,
				  .skipped = p->skipped,
				  .error = p->error};

	if (p->live.gen) {
		stat.position = p->live.at.position;
		stat.head = p->live.head;
		stat.lag_us = projector_lag_us(p);
		stat.rate = p->live_rate.rate;
		stat.quarantined_keys = p->live.aside_keys;
		stat.quarantined_events = p->live.aside_events;
	}
	stat.missing = p->missing;
	stat.building = p->building.generation;
	stat.ready = p->ready && p->fill.at_head && !p->fill_heal.active;
	stat.building_position = p->fill.gen ? p->fill.at.position : 0;
	stat.building_rate = p->fill_rate.rate;
	stat.building_eta_us = projector_eta_us(p);
	stat.idle = p->state == WB_PROJECTOR_RUNNING && !p->look &&
		    p->live.at_head && !p->heal.active &&
		    (p->building.generation == 0 || stat.ready) && !p->promote;
	return stat;
}
