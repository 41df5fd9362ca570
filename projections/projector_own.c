/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Becoming the projector of a model: the lock, then what is there.
 *
 * One projector per model is active, by flock(2) on DIR/projections/NAME/owner.
 * Only it writes the pointer, the note of what is being filled and the
 * generations, so it needs no further agreement with anyone. What a crash left
 * half made is known by being named nowhere: neither by the pointer nor by that
 * note; it is removed.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/owner.h"
#include "lib/store/place.h"
#include "projections/projector.h"

/* ---- tracks -------------------------------------------------------------- */

void wbi_projector_close_track(wb_projector *p, wbi_track *track)
{
	wbi_generation *gen = track->gen;

	if (gen && track->feed)
		wbi_feed_stop(track->feed);
	wbi_track_fini(track);
	wbi_home_give(p->home, gen);
}

wb_code wbi_projector_open_track(wb_projector *p, wbi_track *track,
				wbi_generation *gen, wb_error *err)
{
	wb_code code;

	track->projection = p->projection;
	track->types = &p->types;
	track->journal = p->journal;
	track->feed = track == &p->live ? p->live_feed : p->fill_feed;
	track->clock = p->clock;
	track->aside_max = p->options.aside_max_bytes;
	code = wbi_track_init(track, gen, err);
	if (code != WB_OK)
		wbi_home_give(p->home, gen);
	else if (track->feed)
		wbi_feed_start(track->feed, &track->at);
	return code;
}

/* ---- the live generation ------------------------------------------------- */

static wb_code own_make_first(wb_projector *p, wbi_generation **ret,
			      wb_error *err)
{
	wbi_generation_options o = {.map_bytes = p->options.map_bytes};
	wbi_pointer pointer = p->pointer;
	wb_code code;

	/* Its number is used up before it is made, and named live after. */
	pointer.next++;
	code = wbi_home_flip(p->home, &pointer, err);
	if (code == WB_OK)
		code = wbi_home_make(p->home, p->pointer.next, &p->shape,
				     p->origin, &o, ret, err);
	if (code != WB_OK)
		return code;
	pointer.live = p->pointer.next;
	code = wbi_home_flip(p->home, &pointer, err);
	if (code != WB_OK) {
		wbi_home_give(p->home, *ret);
		return code;
	}
	p->pointer = pointer;
	return WB_OK;
}

static void own_load_status(wb_projector *p)
{
	wbi_projector_row row = {.pid = 0};
	MDB_txn *txn;

	if (wbi_txn_begin(p->live.gen->env, false, &txn, NULL) != WB_OK)
		return;
	(void)wbi_projector_row_get(txn, p->live.gen->meta, &row, NULL);
	wbi_txn_abort(txn);
	p->applied_ever = row.applied;
	p->passed_ever = row.passed;
	p->skipped_ever = row.skipped;
}

/* Events that were aside under older code may be healed by this one. */
static void own_heal(wb_projector *p)
{
	p->heal = (wbi_heal){.active = p->live.aside_events > 0};
}

static void own_differs(wb_projector *p, const char *what)
{
	wb_error why = WB_ERROR_INIT;

	WBI_FAIL(&why, WB_EVERSION,
		 "the live generation %u (version %u) differs from the "
		 "declaration (version %u) in %s: %s",
		 p->live.gen->number, p->live.gen->shape.version,
		 p->shape.version, what,
		 p->pointer.rolled_back
			 ? "it was rolled back to; run the code that belongs "
			   "to it, or waybill projection rebuild --promote"
			 : "raise the version with each change");
	wbi_projector_set_state(p, WB_PROJECTOR_STUCK, &why);
}

/* Did an operator go back from what this code would build again? */
static bool own_was_rejected(wb_projector *p)
{
	wbi_generation *former = NULL;
	bool rejected;

	if (!p->pointer.rolled_back || p->pointer.former == 0 ||
	    wbi_home_take(p->home, p->pointer.former, NULL, &former, NULL) !=
		    WB_OK)
		return false;
	rejected = former->shape.version == p->shape.version;
	wbi_home_give(p->home, former);
	return rejected;
}

/* A checkpoint of another history is an operator's; want of memory is not. */
static wb_code own_verify(wb_projector *p, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code = wbi_track_verify(&p->live, &why);

	if (wbi_wants_room(code)) {
		wbi_projector_close_track(p, &p->live);
		return WBI_FAIL_FOREIGN(err, code, why.foreign, "%s", why.text);
	}
	if (code != WB_OK)
		wbi_projector_set_state(p, WB_PROJECTOR_STUCK, &why);
	return WB_OK;
}

wb_code wbi_projector_open_live(wb_projector *p, wb_error *err)
{
	wbi_generation *gen = NULL;
	const char *differs;
	wb_code code;

	if (p->pointer.live == 0)
		code = own_make_first(p, &gen, err);
	else
		code = wbi_home_take(p->home, p->pointer.live, NULL, &gen, err);
	if (code == WB_OK)
		code = wbi_projector_open_track(p, &p->live, gen, err);
	if (code != WB_OK)
		return code;
	own_load_status(p);
	own_heal(p);
	p->live_rate = (projector_rate){.since_position = p->live.at.position};
	wbi_projector_set_state(p, WB_PROJECTOR_RUNNING, NULL);
	differs = wbi_shape_differs(&gen->shape, &p->shape);
	p->live_fits = !differs;
	if (!differs)
		return own_verify(p, err);
	if (gen->shape.version != p->shape.version && !own_was_rejected(p))
		p->promote = true;
	else
		own_differs(p, differs);
	return WB_OK;
}

/* ---- what is left of an earlier process ---------------------------------- */

wb_code wbi_projector_clean(wb_projector *p, wb_error *err)
{
	uint32_t numbers[WBI_HOME_GENERATIONS_MAX];
	size_t count = 0, former = 0;
	wb_code code = wbi_home_list(p->home, numbers, WBI_COUNT(numbers),
				     &count, err);

	/* From the newest: those that were live once count, `former` first. */
	for (size_t i = count; code == WB_OK && i-- > 0;) {
		uint32_t n = numbers[i];

		if (n == p->pointer.live || n == p->building.generation)
			continue;
		if (n == p->pointer.former ||
		    (n < p->pointer.live &&
		     former + 2 < p->options.keep_generations)) {
			former += n != p->pointer.former;
			continue;
		}
		wbi_log(p->log, WB_LOG_INFO,
			"projection %s: removing generation %u",
			p->projection->name, n);
		code = wbi_home_remove(p->home, n, err);
	}
	return code;
}

static wb_code own_load(wb_projector *p, wb_error *err)
{
	wb_code code = wbi_home_pointer(p->home, &p->pointer, err);

	p->promote = false;
	if (code == WB_OK)
		code = wbi_building_read(p->home, &p->building, err);
	if (code == WB_OK && p->building.generation == p->pointer.live) {
		/* It was promoted; the note was not taken away any more. */
		p->building = (wbi_building){0};
		code = wbi_building_write(p->home, &p->building, err);
	}
	if (code == WB_OK)
		code = wbi_projector_clean(p, err);
	if (code == WB_OK)
		code = wbi_projector_open_live(p, err);
	if (code == WB_OK)
		code = wbi_projector_hold(p, true, err);
	if (code == WB_OK && p->building.generation > 0)
		code = wbi_projector_fill_resume(p, err);
	else if (code == WB_OK && p->promote)
		code = wbi_projector_fill_begin(p, true, 0, err);
	return code;
}

wb_code wbi_projector_own(wb_projector *p, wb_error *err)
{
	char path[PATH_MAX];
	int64_t pid = 0;
	wb_code code = wbi_place_join(wbi_home_dir(p->home), "owner", path,
				      sizeof(path), err);

	if (code == WB_OK)
		code = wbi_owner_take(path, &p->owner_fd, &pid, err);
	if (code != WB_OK)
		p->own_at_us = p->now_us + PROJECTOR_OWN_RETRY_MS * 1000L;
	if (code == WB_EBUSY) {
		if (!p->told_waiting)
			wbi_log(p->log, WB_LOG_INFO,
				"projection %s: process %" PRId64
				" projects it already: waiting for it to end",
				p->projection->name, pid);
		p->told_waiting = true;
	}
	if (code != WB_OK)
		return code;
	code = own_load(p, err);
	if (code != WB_OK) {
		wbi_projector_disown(p);
		p->own_at_us = p->now_us + PROJECTOR_OWN_RETRY_MS * 1000L;
		return code;
	}
	p->paused = wbi_home_has(p->home, "paused");
	p->look = p->status_dirty = true;
	return WB_OK;
}

void wbi_projector_disown(wb_projector *p)
{
	wbi_projector_close_track(p, &p->live);
	wbi_projector_close_track(p, &p->fill);
	p->building = (wbi_building){0};
	p->ready = false;
	if (p->owner_fd >= 0)
		close(p->owner_fd);
	p->owner_fd = -1;
}
