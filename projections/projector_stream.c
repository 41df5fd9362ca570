/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A projector whose events come by a stream queue: one connection for the live
 * generation, one for a rebuild, which reads from the beginning. What is wrong
 * with the stream becomes a state with its reason, as anything else.
 */
#include <inttypes.h>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "projections/projector.h"

static wb_code stream_feed(wb_projector *p, wb_broker *broker, wbi_feed **ret,
			   wb_error *err)
{
	const wbi_feed_options o = {
		.broker = broker,
		.queue = p->options.queue,
		.prefetch = (uint16_t)p->options.prefetch,
		.limits = p->options.limits,
		.clock = p->clock,
		.random = p->store ? wbi_store_random(p->store)
				   : wb_system_random(),
		.log = p->log,
	};

	return wbi_feed_new(&o, ret, err);
}

wb_code wbi_projector_open_feeds(wb_projector *p, wb_error *err)
{
	wb_code code;

	if (!p->options.broker || p->options.prefetch > UINT16_MAX ||
	    p->options.prefetch < 2)
		return WBI_FAIL(err, WB_EINVAL,
				"projection %s reads a stream: options.broker "
				"must be one, and prefetch 2 to 65535",
				p->projection->name);
	p->origin = "";
	code = stream_feed(p, p->options.broker, &p->live_feed, err);
	if (code == WB_OK && p->options.rebuild_broker)
		code = stream_feed(p, p->options.rebuild_broker, &p->fill_feed,
				   err);
	return code;
}

void wbi_projector_close_feeds(wb_projector *p)
{
	wbi_feed_free(p->live_feed);
	wbi_feed_free(p->fill_feed);
}

/* A mismatch is an operator's; a broker that is away comes back. */
static void stream_trouble(wb_projector *p)
{
	const wb_error *trouble = wbi_feed_trouble(p->live_feed);

	if (trouble->code == WB_EMISMATCH) {
		if (p->state != WB_PROJECTOR_STUCK)
			wbi_projector_set_state(p, WB_PROJECTOR_STUCK, trouble);
	} else if (trouble->code != WB_OK) {
		if (p->state == WB_PROJECTOR_RUNNING ||
		    p->state == WB_PROJECTOR_BLOCKED)
			wbi_projector_set_state(p, WB_PROJECTOR_BLOCKED,
						trouble);
	} else if (p->state == WB_PROJECTOR_BLOCKED &&
		   p->error.code == WB_EUNREACHABLE) {
		wbi_projector_set_state(p, WB_PROJECTOR_RUNNING, NULL);
		p->look = true;
	}
}

/* Nobody applies: then nothing is to be delivered, either. */
static bool stream_rests(const wb_projector *p)
{
	return p->paused || p->state == WB_PROJECTOR_STUCK;
}

static void stream_live(wb_projector *p)
{
	wbi_feed *feed = p->live_feed;

	if (!p->live.gen || !p->live_fits)
		return;
	if (stream_rests(p)) {
		wbi_feed_stop(feed);
		return;
	}
	if (!wbi_feed_started(feed) &&
	    wbi_feed_trouble(feed)->code != WB_EMISMATCH)
		wbi_feed_start(feed, &p->live.at);
	wbi_feed_step(feed);
	stream_trouble(p);
	if (wbi_projector_news(p, &p->live))
		p->look = true;
}

void wbi_projector_hear(wb_projector *p)
{
	if (!p->live_feed)
		return;
	stream_live(p);
	if (!p->fill.gen)
		return;
	wbi_feed_step(p->fill_feed);
	if (wbi_feed_trouble(p->fill_feed)->code == WB_EMISMATCH)
		p->fill.stuck = *wbi_feed_trouble(p->fill_feed);
}

void wbi_projector_count_missing(wb_projector *p)
{
	uint64_t before = p->missing;
	MDB_txn *txn;

	if (!p->live_feed || !p->live.gen ||
	    p->missing_at == p->live.at.position ||
	    (!p->live.at_head && p->now_us < p->missing_at_us) ||
	    wbi_txn_begin(p->live.gen->env, false, &txn, NULL) != WB_OK)
		return;
	p->missing_at = p->live.at.position;
	p->missing_at_us = p->now_us + (int64_t)PROJECTOR_MISSING_MS * 1000;
	(void)wbi_origins_missing(txn, p->live.gen, &p->missing, NULL);
	wbi_txn_abort(txn);
	if (p->missing == before)
		return;
	p->status_dirty = true;
	if (before == 0)
		wbi_log(p->log, WB_LOG_WARN,
			"projection %s: %" PRIu64 " events below the highest of "
			"their journal have not come: on their way, of types "
			"that are not in the stream, or lost: waybill "
			"projection status %s",
			p->projection->name, p->missing, p->projection->name);
}
