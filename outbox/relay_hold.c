/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When the broker closes the channel: is an exchange missing, or did one
 * message offend?
 *
 * After a close the outcome of everything unconfirmed is unknown, so all of it
 * goes again. First, each exchange that was in use is asked for by a passive
 * declaration (on another channel: a refusal disturbs nothing). One that is
 * missing is held: a single row (exchange, first held position) that retention
 * may not pass, and the main lane skips its events. If all exist, events go
 * one at a time ("careful") until the close repeats itself and names the
 * culprit: it parks, or its exchange is held if we may not write to it.
 *
 * A held exchange is asked for again every probe_ms. Once it is there the
 * drain lane sends its events from the first held position up to where the
 * main lane has looked, in order; then the hold ends.
 */
#include "outbox/relay_internal.h"

#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/log.h"

enum { HOLD_NOT_FOUND = 404, HOLD_REFUSED = 403 };

static void hold_set_text(relay_exchange *exchange, wb_str text)
{
	snprintf(exchange->text, sizeof(exchange->text), "%.*s",
		 (int)(text.len < 255 ? text.len : 255),
		 text.ptr ? text.ptr : "");
}

static void hold_wait(wb_relay *relay, relay_exchange *exchange)
{
	exchange->state = RELAY_HELD;
	exchange->probe_at_us =
		relay->now_us + (int64_t)relay->options.probe_ms * 1000;
}

/* Nothing may be SENT: the channel was closed. One that is FOUND keeps its
 * first position: only a released event was on its way to it. */
static void hold_exchange(wb_relay *relay, size_t index, wb_str text)
{
	relay_exchange *exchange = &relay->exchanges[index];
	relay_lane *main = &relay->lanes[RELAY_MAIN];
	relay_lane *drain = &relay->lanes[RELAY_DRAIN];
	uint64_t first;

	hold_set_text(exchange, text);
	if (drain->active && drain->only == index) {
		/* It went while it was drained: begin again where that got
		 * to. The main lane has skipped its events all along. */
		exchange->first = wbi_window_low(drain->window) + 1;
		wbi_window_reset(drain->window, exchange->first - 1);
		drain->active = false;
	} else if (exchange->state == RELAY_OPEN) {
		first = wbi_window_hold(main->window, (uint16_t)index);
		if (first == 0)
			first = wbi_window_high(main->window) + 1;
		exchange->first = first;
		exchange->since_us = relay->clock->real_us(relay->clock->ctx);
	}
	exchange->dirty = true;
	hold_wait(relay, exchange);
	wbi_relay_trouble(relay, WB_LOG_WARN,
			  "exchange '%s' is held from position %llu: %s: "
			  "create it with `waybill setup` or set declare: "
			  "create",
			  exchange->name, (unsigned long long)exchange->first,
			  exchange->text);
}

/* ---- asking -------------------------------------------------------------- */

static bool hold_ask(wb_relay *relay, size_t index)
{
	relay_exchange *exchange = &relay->exchanges[index];
	wb_declaration what = {.kind = WB_TOPOLOGY_EXCHANGE,
			       .name = wb_str_from(exchange->name),
			       .check_only = true};

	exchange->asked = wb_broker_declare(relay->broker, &what, index,
					    NULL) == WB_OK;
	return exchange->asked;
}

/* Ask for what is suspect at once, for what is held when its time comes. A
 * question that finds no room is asked in a later step. */
static void hold_probe(wb_relay *relay, size_t index)
{
	relay_exchange *exchange = &relay->exchanges[index];

	if (exchange->asked)
		return;
	if (exchange->suspect || (exchange->state == RELAY_HELD &&
				  relay->now_us >= exchange->probe_at_us))
		hold_ask(relay, index);
}

static void hold_begin_drain(wb_relay *relay, size_t index)
{
	relay_exchange *exchange = &relay->exchanges[index];
	relay_lane *drain = &relay->lanes[RELAY_DRAIN];

	exchange->state = RELAY_DRAINING;
	drain->only = (uint16_t)index;
	drain->active = true;
	wbi_window_reset(drain->window, exchange->first - 1);
	wbi_log(relay->log, WB_LOG_INFO,
		"relay: exchange '%s' is there again: draining from position "
		"%llu",
		exchange->name, (unsigned long long)exchange->first);
}

void wbi_relay_probe(wb_relay *relay)
{
	const relay_lane *drain = &relay->lanes[RELAY_DRAIN];

	for (size_t i = 0; i < relay->exchange_count && relay->up; i++) {
		hold_probe(relay, i);
		if (relay->exchanges[i].state == RELAY_FOUND &&
		    !drain->active &&
		    wbi_window_exposed(drain->window) == 0)
			hold_begin_drain(relay, i);
	}
}

void wbi_relay_probe_answer(wb_relay *relay, const wb_broker_event *event)
{
	relay_exchange *exchange;
	bool missing = event->kind == WB_BROKER_DECLARE_FAILED &&
		       event->reply_code == HOLD_NOT_FOUND;

	WB_ASSERT(event->token < relay->exchange_count);
	exchange = &relay->exchanges[event->token];
	exchange->asked = false;
	if (exchange->suspect) {
		WB_ASSERT(relay->suspects > 0);
		relay->suspects--;
		exchange->suspect = false;
		if (missing) {
			relay->careful = 0;
			hold_exchange(relay, (size_t)event->token,
				      wb_str_from("it does not exist"));
		}
	} else if (exchange->state == RELAY_HELD) {
		if (missing)
			hold_wait(relay, exchange);
		else
			exchange->state = RELAY_FOUND;
		/* Released events may have waited for it. */
		relay->release_more |= !missing;
	}
}

/* After DOWN no answer will come: ask again on the next connection. */
void wbi_relay_holds_lost(wb_relay *relay)
{
	for (size_t i = 0; i < relay->exchange_count; i++)
		relay->exchanges[i].asked = false;
}

/* ---- a closed channel ---------------------------------------------------- */

static void hold_suspect(wb_relay *relay)
{
	for (size_t i = 0; i < relay->exchange_count; i++) {
		relay_exchange *exchange = &relay->exchanges[i];
		uint16_t index = (uint16_t)i;

		if (exchange->suspect || exchange->state == RELAY_HELD)
			continue;
		if (!wbi_window_sent_to(relay->lanes[RELAY_MAIN].window,
					index) &&
		    !wbi_window_sent_to(relay->lanes[RELAY_DRAIN].window,
					index) &&
		    !wbi_relay_release_sent_to(relay, index))
			continue;
		exchange->suspect = true;
		exchange->asked = false;
		relay->suspects++;
	}
}

/* The only message that was on its way closed the channel: it is the one. */
static void hold_culprit(wb_relay *relay, uint64_t token,
			 const wb_broker_event *event)
{
	relay_lane_id id = RELAY_TOKEN_LANE(token);
	uint64_t at = RELAY_TOKEN_AT(token);
	wbi_window *window;
	uint16_t exchange;

	if (id == RELAY_RELEASE) {
		wbi_relay_release_refused(relay, (size_t)at,
					  event->reply_code);
		return;
	}
	window = relay->lanes[id].window;
	exchange = wbi_window_slot(window, at)->exchange;
	if (event->reply_code == HOLD_REFUSED ||
	    event->reply_code == HOLD_NOT_FOUND) {
		hold_exchange(relay, exchange, event->text);
		return;
	}
	wbi_window_take(window, at);
	wbi_window_mark_park(window, at, WBI_PARK_REFUSED, event->reply_code,
			     WBI_PARK_FOLLOWER);
	wbi_relay_trouble(relay, WB_LOG_WARN,
			  "the broker refused the event at position %llu: %s",
			  (unsigned long long)at, event->error.text);
}

void wbi_relay_channel_closed(wb_relay *relay, const wb_broker_event *event)
{
	uint32_t sent = wbi_relay_sent(relay);
	bool alone = relay->careful > 0 && sent == 1;

	wbi_log(relay->log, WB_LOG_WARN, "relay: the channel was closed: %s",
		event->error.text);
	if (!alone && event->reply_code == HOLD_NOT_FOUND)
		hold_suspect(relay);
	wbi_relay_lost(relay);
	relay->careful = alone ? 0 : sent;
	if (alone)
		hold_culprit(relay, relay->last_token, event);
}

/* ---- the end of a hold --------------------------------------------------- */

/* The drain lane has caught up with the main lane: from here on the main lane
 * takes the exchange's events itself. Its row goes with the next commit. */
void wbi_relay_drain_check(wb_relay *relay)
{
	relay_lane *drain = &relay->lanes[RELAY_DRAIN];
	relay_exchange *exchange;

	if (!drain->active ||
	    wbi_window_low(drain->window) !=
		    wbi_window_high(relay->lanes[RELAY_MAIN].window))
		return;
	exchange = &relay->exchanges[drain->only];
	WB_ASSERT(exchange->state == RELAY_DRAINING);
	exchange->state = RELAY_OPEN;
	exchange->dirty = true;
	drain->active = false;
	relay->status_dirty = true;
	wbi_log(relay->log, WB_LOG_INFO,
		"relay: exchange '%s' is held no more", exchange->name);
}

bool wbi_relay_hold_undecided(const wb_relay *relay)
{
	for (size_t i = 0; i < relay->exchange_count; i++) {
		const relay_exchange *exchange = &relay->exchanges[i];

		if (exchange->state > RELAY_HELD)
			return true;
		if (exchange->state == RELAY_HELD &&
		    (exchange->asked ||
		     relay->now_us >= exchange->probe_at_us))
			return true;
	}
	return false;
}

/* What retention may delete up to, given a cursor. */
uint64_t wbi_relay_floor(const wb_relay *relay, uint64_t cursor)
{
	uint64_t floor = cursor;

	for (size_t i = 0; i < relay->exchange_count; i++) {
		const relay_exchange *exchange = &relay->exchanges[i];

		if (exchange->state >= RELAY_HELD &&
		    exchange->first - 1 < floor)
			floor = exchange->first - 1;
	}
	return floor;
}
