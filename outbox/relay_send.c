/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sending: from records in the journal to messages in the adapter's buffer.
 *
 * A pump opens one read transaction, hands over what may go, up to
 * batch_bytes, closes the transaction and only then lets the adapter write:
 * no read transaction is ever open across the network. First come positions
 * that were sent before or waited for their key, then new ones. Whatever
 * cannot be sent, ever, parks; whatever cannot be sent now stays where it is.
 */
#include "outbox/relay_internal.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/hash.h"

/* An adapter's own bytes per message, roughly: frames and property flags. */
enum { SEND_OVERHEAD = 64 };

uint32_t wbi_relay_sent(const wb_relay *relay)
{
	return wbi_window_sent(relay->lanes[RELAY_MAIN].window) +
	       wbi_window_sent(relay->lanes[RELAY_DRAIN].window) +
	       relay->release_sent;
}

static uint32_t send_exposed(const wb_relay *relay)
{
	return wbi_window_exposed(relay->lanes[RELAY_MAIN].window) +
	       wbi_window_exposed(relay->lanes[RELAY_DRAIN].window) +
	       relay->release_exposed;
}

bool wbi_relay_may_send(const wb_relay *relay)
{
	if (!relay->up || !relay->channel_open || relay->blocked ||
	    relay->suspects > 0)
		return false;
	return relay->careful == 0 || wbi_relay_sent(relay) == 0;
}

/*
 * What was sent and is not yet behind a durable cursor may be sent again after
 * a crash: never more than `window` events. A share of that is kept for the
 * lowest position of each lane and the first release, because only those can
 * move a cursor or make room for parked events: else the lanes could fill the
 * window with positions that none may commit.
 */
bool wbi_relay_room(const wb_relay *relay, bool lowest)
{
	uint32_t window = relay->options.window;
	uint32_t kept = window > 3 ? 3 + window / 64 : window - 1;

	if (lowest)
		kept = 0;
	return wbi_relay_may_send(relay) &&
	       send_exposed(relay) < window - kept;
}

uint16_t wbi_relay_exchange_of(const wb_relay *relay, const wb_route *route)
{
	return relay->route_exchange[wb_routes_index_of(relay->routes, route)];
}

uint64_t wbi_relay_hash(const wb_relay *relay, const wb_route *route,
			wb_str key)
{
	uint64_t hash;

	if (key.len == 0 || route->order == WB_ORDER_NONE)
		return 0;
	hash = wbi_hash(relay->hash_seed, key.ptr, key.len);
	return hash > 1 ? hash : 2; /* 0 and 1 mean other things */
}

/* ---- one message --------------------------------------------------------- */

static wb_code send_headers(wb_relay *relay, wb_event *event, wb_str record,
			    wb_error *err)
{
	size_t need = 0;
	wb_code code;
	char *names;

	if (event->header_count == 0)
		return WB_OK;
	if (event->header_count > WBI_RECORD_HEADERS_MAX)
		return WBI_FAIL(err, WB_ELIMIT, "%zu headers",
				event->header_count);
	code = wbi_record_headers(record.ptr, record.len, event,
				  relay->headers, err);
	if (code != WB_OK)
		return code;
	for (size_t i = 0; i < event->header_count; i++)
		need += event->headers[i].name.len + 3;
	if (need <= relay->names_size)
		return WB_OK;
	names = realloc(relay->names, need);
	if (!names)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for header names");
	relay->names = names;
	relay->names_size = need;
	return WB_OK;
}

static wb_code send_publish(wb_relay *relay, const wb_route *route,
			    const wb_event *event, wb_str routing_key,
			    uint64_t position, uint64_t token, wb_error *err)
{
	wbi_envelope_context context = {
		wb_str_from(wb_store_service(relay->store)),
		wb_str_n(relay->journal.origin, WBI_ORIGIN_LEN), position};
	wb_message message;
	char *body = NULL;
	wb_code code;

	if (route->mode == WB_MODE_STRUCTURED) {
		code = wbi_envelope_structured(event, &context, &message,
					       &body, err);
		if (code != WB_OK)
			return code;
	} else {
		wbi_envelope_binary(event, &context, relay->message_headers,
				    relay->names, relay->scratch, &message);
	}
	message.exchange = wb_str_from(route->exchange);
	message.routing_key = routing_key;
	code = wb_broker_publish(relay->broker, &message, token, err);
	free(body);
	return code;
}

/*
 * Hand one event over. WB_OK: sent. WB_EAGAIN: not now. Others of class REJECT
 * mean never: *err says why.
 */
wb_code wbi_relay_send(wb_relay *relay, uint64_t token, uint64_t position,
		       wb_event *event, wb_str record, wb_error *err)
{
	const wb_route *route = wb_routes_match(relay->routes, event->type);
	char routing_key[WB_ROUTING_KEY_MAX + 1];
	size_t len, cost = record.len + SEND_OVERHEAD;
	wb_code code;

	if (event->data.len > relay->options.limits.body_bytes)
		return WBI_FAIL(err, WB_ELIMIT,
				"data has %zu bytes; the relay's limit is %zu",
				event->data.len,
				relay->options.limits.body_bytes);
	code = wb_route_key(route, event, routing_key, &len, err);
	if (code == WB_OK)
		code = send_headers(relay, event, record, err);
	if (code != WB_OK)
		return code;
	code = send_publish(relay, route, event, wb_str_n(routing_key, len),
			    position, token, err);
	if (code == WB_ESTATE || code == WB_ENOMEM)
		return WB_EAGAIN; /* an event tells why, or it passes */
	if (code != WB_OK)
		return code;
	if (wbi_relay_sent(relay) == 0)
		relay->progress_us = relay->now_us;
	relay->last_token = token;
	relay->batch_left -= relay->batch_left < cost ? relay->batch_left
						      : (uint32_t)cost;
	return WB_OK;
}

/* ---- one position of a lane ---------------------------------------------- */

/* Send the READY position, or park it, or put it back: then WB_EAGAIN. */
static wb_code lane_send(wb_relay *relay, relay_lane *lane, uint64_t position,
			 wb_event *event, wb_str record, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	bool repeat = false;
	wb_code code = wbi_relay_send(relay, RELAY_TOKEN(lane->id, position),
				      position, event, record, &why);

	if (code == WB_OK) {
		wbi_window_mark_sent(lane->window, position, &repeat);
		relay->stat.repeats += repeat;
		return WB_OK;
	}
	if (wb_code_class(code) == WB_CLASS_RETRY) {
		wbi_window_requeue(lane->window, position);
		return WB_EAGAIN;
	}
	if (wb_code_class(code) != WB_CLASS_REJECT)
		return WBI_FAIL(err, code, "%s", why.text);
	wbi_window_mark_park(lane->window, position,
			     code == WB_ELIMIT ? WBI_PARK_OVERSIZE
					       : WBI_PARK_ENCODING,
			     0, WBI_PARK_FOLLOWER);
	return WB_OK;
}

/* A position that was queued in the window: read its record again. */
static wb_code lane_resend(wb_relay *relay, relay_lane *lane, MDB_txn *txn,
			   uint64_t position, wb_error *err)
{
	const wbi_slot *slot = wbi_window_slot(lane->window, position);
	uint64_t stored = 0;
	wb_event event;
	wb_str record;
	wb_code code;

	if (slot->exchange == WBI_WINDOW_HELD) {
		wbi_window_mark_done(lane->window, position);
		return WB_OK;
	}
	code = wbi_journal_get(&relay->journal, txn, position, &record, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"position %llu has gone from the journal "
				"before it was delivered: run `waybill fsck`",
				(unsigned long long)position);
	if (code == WB_OK)
		code = wbi_record_decode(record.ptr, record.len, &event,
					 &stored, err);
	if (code != WB_OK)
		return code;
	WB_ASSERT(stored == position);
	return lane_send(relay, lane, position, &event, record, err);
}

static bool lane_may_send(const wb_relay *relay, const relay_lane *lane,
			  uint64_t position)
{
	if (wbi_window_slot(lane->window, position)->exposed)
		return wbi_relay_may_send(relay);
	return wbi_relay_room(relay,
			      position == wbi_window_low(lane->window) + 1);
}

/* The next queued position that may go; 0: none. */
static uint64_t lane_next(const wb_relay *relay, relay_lane *lane)
{
	uint64_t position = wbi_window_pop(lane->window);
	uint64_t lowest = wbi_window_low(lane->window) + 1;

	if (position == 0 || lane_may_send(relay, lane, position))
		return position;
	wbi_window_requeue(lane->window, position);
	if (lane_may_send(relay, lane, lowest) &&
	    wbi_window_take(lane->window, lowest))
		return lowest;
	return 0;
}

static wb_code lane_drain_queue(wb_relay *relay, relay_lane *lane,
				MDB_txn *txn, wb_error *err)
{
	while (relay->batch_left > 0) {
		uint64_t position = lane_next(relay, lane);
		wb_code code;

		if (position == 0)
			return WB_OK;
		code = lane_resend(relay, lane, txn, position, err);
		if (code != WB_OK)
			return code;
	}
	return WB_OK;
}

/* ---- new positions ------------------------------------------------------- */

static wb_code send_key_is_parked(wb_relay *relay, MDB_txn *env_txn,
				  wb_str key, bool *ret, wb_error *err)
{
	wbi_parked_key row;
	wb_code code;

	*ret = false;
	if (relay->parked_keys == 0)
		return WB_OK;
	code = wbi_parked_key_get(env_txn,
				  wbi_store_relay_tables(relay->store)->keys,
				  key, &row, err);
	if (code == WB_OK)
		*ret = true;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* Was this event without order parked before the relay was started again, or
 * its exchange held? Then that row answers for it. */
static wb_code send_is_stored(wb_relay *relay, MDB_txn *env_txn,
			      uint64_t position, bool *ret, wb_error *err)
{
	wbi_parked row;
	wb_code code;

	*ret = false;
	if (relay->parked_keys == 0)
		return WB_OK;
	code = wbi_parked_get(env_txn,
			      wbi_store_relay_tables(relay->store)->parked,
			      WB_STR_NULL, position, &row, err);
	*ret = code == WB_OK;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* Position high + 1, just read: into the window, and out if it may go. */
static wb_code lane_take(wb_relay *relay, relay_lane *lane, MDB_txn *env_txn,
			 wb_event *event, wb_str record, wb_error *err)
{
	const wb_route *route = wb_routes_match(relay->routes, event->type);
	uint16_t exchange = wbi_relay_exchange_of(relay, route);
	uint64_t hash = wbi_relay_hash(relay, route, event->key);
	bool parked = false;
	wb_code code;

	/* Truncated, so it was settled: by a relay whose state is lost. */
	if (wbi_record_flags(record) & WBI_RECORD_STUB) {
		wbi_window_add_done(lane->window);
		return WB_OK;
	}
	if (lane->id == RELAY_DRAIN
		    ? exchange != lane->only
		    : relay->exchanges[exchange].state >= RELAY_HELD) {
		wbi_window_add_done(lane->window);
		return WB_OK;
	}
	code = hash != 0 ? send_key_is_parked(relay, env_txn, event->key,
					      &parked, err)
			 : send_is_stored(relay, env_txn,
					  wbi_window_high(lane->window) + 1,
					  &parked, err);
	if (code != WB_OK)
		return code;
	if (parked && hash == 0) {
		wbi_window_add_done(lane->window);
		return WB_OK;
	}
	if (parked) {
		(void)wbi_window_add_park(lane->window, hash, exchange,
					  WBI_PARK_FOLLOWER);
		return WB_OK;
	}
	if (wbi_window_add(lane->window, hash, exchange) != WBI_SLOT_READY)
		return WB_OK;
	return lane_send(relay, lane, wbi_window_high(lane->window), event,
			 record, err);
}

/* A drain that has nearly caught up would never meet a main lane that runs on:
 * let that one look at nothing new for the round trip it takes. Not when the
 * drain is held up itself. */
static bool lane_waits_for_drain(const wb_relay *relay)
{
	const wbi_window *main = relay->lanes[RELAY_MAIN].window;
	const relay_lane *drain = &relay->lanes[RELAY_DRAIN];

	return drain->active && wbi_window_parking(drain->window) == 0 &&
	       wbi_window_due_us(drain->window) == INT64_MAX &&
	       wbi_window_high(main) - wbi_window_low(drain->window) <=
		       relay->options.window / 2;
}

static bool lane_has_more(const wb_relay *relay, const relay_lane *lane)
{
	uint64_t high = wbi_window_high(lane->window);

	if (wbi_window_full(lane->window))
		return false;
	if (lane->id == RELAY_MAIN)
		return (relay->look || high < relay->head) &&
		       !lane_waits_for_drain(relay);
	return high < wbi_window_high(relay->lanes[RELAY_MAIN].window);
}

static bool lane_has_room(const wb_relay *relay, const relay_lane *lane)
{
	return wbi_relay_room(relay, wbi_window_high(lane->window) ==
					     wbi_window_low(lane->window));
}

static wb_code lane_scan(wb_relay *relay, relay_lane *lane, MDB_txn *txn,
			 MDB_txn *env_txn, wb_error *err)
{
	wbi_reader reader;
	wb_code code;

	if (!lane_has_more(relay, lane))
		return WB_OK;
	code = wbi_reader_open(&reader, &relay->journal, txn,
			       wbi_window_high(lane->window), err);
	while (code == WB_OK && relay->batch_left > 0 &&
	       lane_has_room(relay, lane) && lane_has_more(relay, lane)) {
		wb_event event;
		wb_str record;

		code = wbi_reader_next(&reader, &event, &record, err);
		if (code == WB_OK)
			code = lane_take(relay, lane, env_txn, &event, record,
					 err);
		if (code == WB_ENOTFOUND) {
			WB_ASSERT(lane->id == RELAY_MAIN);
			relay->look = false;
		}
	}
	wbi_reader_close(&reader);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code lane_pump(wb_relay *relay, relay_lane *lane, MDB_txn *txn,
			 MDB_txn *env_txn, wb_error *err)
{
	wb_code code;

	if (!lane->active)
		return WB_OK;
	code = lane_drain_queue(relay, lane, txn, err);
	if (code == WB_OK)
		code = lane_scan(relay, lane, txn, env_txn, err);
	return code;
}

/* ---- the pump ------------------------------------------------------------ */

/*
 * A commit that waits for the disk has its number before a reader sees it: then
 * look soon, and half as often each time, since its process may have died there.
 */
static void pump_look_again(wb_relay *relay, MDB_txn *txn)
{
	uint64_t last = wbi_env_last_txn(wb_store_env(relay->store));
	int64_t at_us = relay->now_us + relay->look_pause_us;

	if (last == wbi_txn_id(txn) ||
	    relay->look_pause_us >= RELAY_LOOK_MAX_US)
		return;
	if (at_us < relay->look_at_us[0])
		relay->look_at_us[0] = at_us;
	relay->look_pause_us *= 2;
}

static wb_code pump_head(wb_relay *relay, MDB_txn *txn, wb_error *err)
{
	uint64_t first, head, was = relay->head;
	wb_code code;

	if (!relay->look)
		return WB_OK;
	code = wbi_journal_range(&relay->journal, txn, &first, &head, err);
	if (code != WB_OK)
		return code;
	relay->head = head;
	if (head > was) /* an answered wake needs no second look */
		relay->look_at_us[0] = relay->look_at_us[1] = INT64_MAX;
	pump_look_again(relay, txn);
	if (wbi_window_high(relay->lanes[RELAY_MAIN].window) >= head)
		relay->look = false;
	return WB_OK;
}

static wb_code pump_lanes(wb_relay *relay, MDB_txn *txn, MDB_txn *env_txn,
			  wb_error *err)
{
	wb_code code = pump_head(relay, txn, err);

	if (code == WB_OK)
		code = wbi_relay_release_refill(relay, env_txn, err);
	if (code != WB_OK || !wbi_relay_may_send(relay))
		return code;
	code = wbi_relay_release_pump(relay, env_txn, err);
	if (code == WB_OK)
		code = lane_pump(relay, &relay->lanes[RELAY_DRAIN], txn,
				 env_txn, err);
	if (code == WB_OK)
		code = lane_pump(relay, &relay->lanes[RELAY_MAIN], txn,
				 env_txn, err);
	return code;
}

static bool pump_wanted(const wb_relay *relay)
{
	const relay_lane *lane = relay->lanes;

	if (relay->look || relay->release_more)
		return true;
	if (!wbi_relay_may_send(relay))
		return false;
	for (size_t i = 0; i < WBI_COUNT(relay->lanes); i++)
		if (lane[i].active &&
		    (wbi_window_queued(lane[i].window) > 0 ||
		     lane_has_more(relay, &lane[i])))
			return true;
	return wbi_relay_release_can_go(relay);
}

/*
 * The store's map was enlarged by another process, or its reader slots are all
 * taken: the second passes, the first only if this process has no other user
 * of the store, whose pages would move under it. No transaction is open here.
 */
static wb_code pump_no_txn(wb_relay *relay, const wb_error *why, wb_error *err)
{
	if (why->code != WB_EAGAIN)
		return WBI_FAIL(err, why->code, "%s", why->text);
	if (!wbi_lmdb_is_resized(why->foreign)) {
		wbi_relay_trouble(relay, WB_LOG_WARN, "%s", why->text);
		return WB_OK;
	}
	if (!relay->options.sole_user)
		return WBI_FAIL(err, WB_EMISMATCH,
				"another process has enlarged the map of %s: "
				"close the store and open it again",
				wb_store_dir(relay->store));
	return wbi_store_adopt_map(relay->store, err);
}

wb_code wbi_relay_pump(wb_relay *relay, wb_error *err)
{
	MDB_txn *txn, *env_txn = NULL;
	wb_error why = WB_ERROR_INIT;
	wb_code code;

	if (!pump_wanted(relay))
		return WB_OK;
	relay->batch_left = relay->options.batch_bytes;
	if (wbi_txn_begin(wb_store_env(relay->store), false, &txn, &why))
		return pump_no_txn(relay, &why, err);
	code = wbi_txn_begin(relay->env, false, &env_txn, err);
	if (code == WB_OK)
		code = pump_lanes(relay, txn, env_txn, err);
	wbi_txn_abort(env_txn);
	wbi_txn_abort(txn);
	wb_broker_flush(relay->broker);
	relay->again = code == WB_OK && relay->batch_left == 0;
	relay->choked = code == WB_EAGAIN;
	return code == WB_EAGAIN ? WB_OK : code;
}
