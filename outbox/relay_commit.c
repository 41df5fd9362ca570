/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay's one place of writing. A commit holds together: events that park,
 * rows that were released and delivered, holds, the cursor, the counts. Either
 * all of it is durable or none, so a crash between two commits only repeats.
 *
 * What a commit is about to make true is worked out first and applied to the
 * window only after LMDB has it on disk. A full disk or map leaves everything
 * as it was; the relay says so and tries again, and the window bounds what it
 * may send meanwhile.
 */
#include "outbox/relay_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "outbox/parked.h"

/* What becomes of a PARK slot with the commit: it stays, it is done, or it may
 * be sent after all, and with it those of its key behind it. */
enum { PARK_LATER, PARK_DONE, PARK_UNDONE };

/* ---- parking ------------------------------------------------------------- */

static void park_text(const wbi_slot *slot, const wbi_parked *row,
		      const wb_event *event, char *ret, size_t size)
{
	switch (slot->reason) {
	case WBI_PARK_UNROUTABLE:
		snprintf(ret, size,
			 "exchange '%.*s' has no queue bound that takes "
			 "routing key '%.*s' (%u): bind one, then `waybill "
			 "outbox retry`",
			 (int)row->exchange.len, row->exchange.ptr,
			 (int)row->routing_key.len, row->routing_key.ptr,
			 slot->reply_code);
		break;
	case WBI_PARK_OVERSIZE:
		snprintf(ret, size,
			 "data of %zu bytes or its routing key is over the "
			 "relay's limit: raise the limit, then `waybill outbox "
			 "retry`, or discard it",
			 event->data.len);
		break;
	case WBI_PARK_REFUSED:
		snprintf(ret, size,
			 "the broker closed the channel on it (%u): see its "
			 "log, then retry or discard",
			 slot->reply_code);
		break;
	case WBI_PARK_FOLLOWER:
		snprintf(ret, size, "an earlier event of its key is parked");
		break;
	default:
		snprintf(ret, size,
			 "it cannot be encoded as its route wants: mend the "
			 "route, then retry, or discard it");
	}
}

/* Read the record at `position` and add it to the parked rows. */
static wb_code park_row(wb_relay *relay, MDB_txn *txn, const wbi_slot *slot,
			wb_str record, const wb_event *event,
			uint64_t position, bool *ret_added, wb_error *err)
{
	const wb_route *route = wb_routes_match(relay->routes, event->type);
	wb_str key = wbi_relay_hash(relay, route, event->key) ? event->key
							      : WB_STR_NULL;
	char routing_key[WB_ROUTING_KEY_MAX + 1], text[512];
	int64_t now_us = relay->clock->real_us(relay->clock->ctx);
	wbi_parked row = {.state = WBI_PARKED,
			  .reason = slot->reason,
			  .reply_code = slot->reply_code,
			  .attempts = slot->reply_code != 0 ? 1 : 0,
			  .first_us = now_us,
			  .last_us = now_us,
			  .exchange = wb_str_from(route->exchange),
			  .record = record};
	size_t len;

	if (wb_route_key(route, event, routing_key, &len, NULL) == WB_OK)
		row.routing_key = wb_str_n(routing_key, len);
	park_text(slot, &row, event, text, sizeof(text));
	row.text = wb_str_from(text);
	return wbi_parked_add(txn, wbi_store_relay_tables(relay->store), key,
			      position, &row, ret_added, err);
}

/* May one more be parked? Said once, not at every commit. */
static wb_code park_check_room(wb_relay *relay, MDB_txn *txn, wb_error *err)
{
	uint64_t bytes, rows;
	wb_code code;

	code = wbi_table_size(txn,
			      wbi_store_relay_tables(relay->store)->parked,
			      &bytes, &rows, err);
	if (code != WB_OK || bytes < relay->options.parked_max_bytes) {
		relay->park_full = false;
		return code;
	}
	if (!relay->park_full)
		wbi_relay_trouble(relay, WB_LOG_ERROR,
				  "parked events use %" PRIu64
				  " bytes, the limit is %" PRIu64
				  ": nothing more is parked and the cursor "
				  "stays: retry or discard some, or raise "
				  "parked_max_bytes",
				  bytes, relay->options.parked_max_bytes);
	relay->park_full = true;
	return WB_OK;
}

/*
 * One PARK slot. A follower whose key has no parked events any more (they were
 * delivered or discarded meanwhile) need not park: it may be sent.
 */
static wb_code park_slot(wb_relay *relay, MDB_txn *store_txn, MDB_txn *txn,
			 const wbi_slot *slot, uint64_t position,
			 uint8_t *ret, uint64_t *parked, wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(relay->store);
	wbi_parked_key keyed;
	uint64_t stored;
	bool added = false;
	wb_event event = {.key = WB_STR_NULL};
	wb_str record;
	wb_code code = wbi_journal_get(&relay->journal, store_txn, position,
				       &record, err);

	if (code == WB_OK)
		code = wbi_record_decode(record.ptr, record.len, &event,
					 &stored, err);
	if (code == WB_OK && slot->stored) {
		code = wbi_parked_key_get(txn, tables->keys, event.key, &keyed,
					  err);
		if (code == WB_ENOTFOUND) {
			*ret = PARK_UNDONE;
			return WB_OK;
		}
	}
	*ret = PARK_LATER;
	if (code == WB_OK && !relay->park_full)
		code = park_check_room(relay, txn, err);
	if (code != WB_OK || relay->park_full)
		return code;
	code = park_row(relay, txn, slot, record, &event, position, &added,
			err);
	*parked += added;
	*ret = PARK_DONE;
	return code;
}

static wb_code park_lane(wb_relay *relay, const relay_lane *lane,
			 MDB_txn *store_txn, MDB_txn *txn, uint8_t *actions,
			 uint64_t *parked, wb_error *err)
{
	uint64_t low = wbi_window_low(lane->window);
	uint64_t high = wbi_window_high(lane->window);
	wb_code code = WB_OK;

	if (wbi_window_parking(lane->window) == 0)
		return WB_OK;
	for (uint64_t at = low + 1; at <= high && code == WB_OK; at++) {
		const wbi_slot *slot = wbi_window_slot(lane->window, at);

		if (slot->state != WBI_SLOT_PARK)
			continue;
		code = park_slot(relay, store_txn, txn, slot, at,
				 &actions[at - low - 1], parked, err);
	}
	return code;
}

/* What park_lane worked out is durable: let the window know. */
static void park_apply(relay_lane *lane, const uint8_t *actions)
{
	uint64_t low = wbi_window_low(lane->window);
	uint64_t high = wbi_window_high(lane->window);

	if (wbi_window_parking(lane->window) == 0)
		return;
	for (uint64_t at = low + 1; at <= high; at++) {
		/* Undone together with the first of its key: no more PARK. */
		if (wbi_window_slot(lane->window, at)->state != WBI_SLOT_PARK)
			continue;
		if (actions[at - low - 1] == PARK_DONE)
			wbi_window_parked(lane->window, at);
		else if (actions[at - low - 1] == PARK_UNDONE)
			wbi_window_unpark(lane->window, at);
	}
}

static wb_code commit_parks(wb_relay *relay, MDB_txn *txn, uint64_t *parked,
			    wb_error *err)
{
	relay_lane *lane = relay->lanes;
	MDB_txn *store_txn;
	wb_code code;

	if (wbi_window_parking(lane[RELAY_MAIN].window) == 0 &&
	    wbi_window_parking(lane[RELAY_DRAIN].window) == 0) {
		relay->park_full = false; /* the next one will ask */
		return WB_OK;
	}
	memset(relay->actions, 0,
	       sizeof(*relay->actions) * 2 * relay->options.window);
	code = park_check_room(relay, txn, err);
	if (code != WB_OK)
		return code;
	code = wbi_txn_begin(wb_store_env(relay->store), false, &store_txn,
			     err);
	if (code != WB_OK)
		return code;
	for (size_t i = 0; i < WBI_COUNT(relay->lanes) && code == WB_OK; i++)
		code = park_lane(relay, &lane[i], store_txn, txn,
				 relay->actions + i * relay->options.window,
				 parked, err);
	wbi_txn_abort(store_txn);
	return code;
}

/* ---- holds, cursor, status ----------------------------------------------- */

static wb_code commit_holds(wb_relay *relay, MDB_txn *txn, wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(relay->store);
	const relay_lane *drain = &relay->lanes[RELAY_DRAIN];
	wb_code code = WB_OK;

	for (size_t i = 0; i < relay->exchange_count && code == WB_OK; i++) {
		relay_exchange *exchange = &relay->exchanges[i];
		wb_str name = wb_str_from(exchange->name);
		wbi_held row;

		if (exchange->state == RELAY_DRAINING) {
			exchange->first = wbi_window_low(drain->window) + 1;
			exchange->dirty = true;
		}
		if (!exchange->dirty)
			continue;
		if (exchange->state == RELAY_OPEN) {
			code = wbi_held_del(txn, tables->held, name, err);
			if (code == WB_ENOTFOUND)
				code = WB_OK;
			continue;
		}
		row.first_position = exchange->first;
		row.since_us = exchange->since_us;
		row.text = wb_str_from(exchange->text);
		row.routes = wb_str_n(relay->routes_text, relay->routes_len);
		code = wbi_held_put(txn, tables->held, name, &row, err);
	}
	return code;
}

static wb_code commit_cursor(wb_relay *relay, MDB_txn *txn, wb_error *err)
{
	const wbi_window *window = relay->lanes[RELAY_MAIN].window;
	uint64_t low = wbi_window_low(window);
	uint64_t floor = wbi_relay_floor(relay, low);
	wbi_relay_cursor cursor = {.position = low, .floor = floor};
	uint64_t stored;
	wb_event event;
	wb_str record;
	MDB_txn *store_txn;
	wb_code code;

	if (low == wbi_window_durable(window) && floor == relay->floor)
		return WB_OK;
	memcpy(cursor.origin, relay->journal.origin, sizeof(cursor.origin));
	code = wbi_txn_begin(wb_store_env(relay->store), false, &store_txn,
			     err);
	if (code != WB_OK)
		return code;
	code = wbi_journal_get(&relay->journal, store_txn, low, &record, err);
	if (code == WB_OK)
		code = wbi_record_decode(record.ptr, record.len, &event,
					 &stored, err);
	if (code == WB_OK && event.id.len < sizeof(cursor.event_id))
		memcpy(cursor.event_id, event.id.ptr, event.id.len);
	wbi_txn_abort(store_txn);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"position %" PRIu64 " has gone from the "
				"journal: run `waybill fsck`",
				low);
	if (code == WB_OK)
		code = wbi_relay_cursor_write(relay->store, txn, &cursor, err);
	return code;
}

static wb_code commit_status(wb_relay *relay, MDB_txn *txn, uint64_t parked,
			     wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(relay->store);
	const wb_relay_stat *stat = &relay->stat;
	const uint64_t since_open[WBI_RELAY_COUNTERS] = {
		[WBI_RELAY_DELIVERED] = stat->delivered,
		[WBI_RELAY_UNROUTED] = stat->unrouted,
		[WBI_RELAY_PARKED] = stat->parked + parked,
		[WBI_RELAY_NACKS] = stat->nacks,
		[WBI_RELAY_RETURNS] = stat->returns,
		[WBI_RELAY_REPEATS] = stat->repeats,
		[WBI_RELAY_CONNECTS] = stat->connects,
		[WBI_RELAY_CHANNEL_CLOSES] = stat->channel_closes,
	};
	wbi_relay_status row = {
		.pid = relay->state == WB_RELAY_STOPPED ? 0 : relay->pid,
		.state = (uint8_t)relay->state,
		.since_us = relay->since_us,
		.updated_us = relay->clock->real_us(relay->clock->ctx),
		.error = wb_str_from(relay->why)};
	char name[WBI_COUNT_NAME_MAX];
	wb_code code = WB_OK;

	for (size_t i = 0; i < WBI_RELAY_COUNTERS; i++)
		row.counters[i] = relay->totals[i] + since_open[i];
	row.counters[WBI_RELAY_UNCONFIRMED] = wbi_relay_sent(relay);
	for (size_t i = 0; i < relay->unrouted_count && code == WB_OK; i++)
		code = wbi_count_add(
			txn, tables->status,
			wbi_relay_unrouted_name(
				wb_str_from(relay->unrouted[i].type), name),
			relay->unrouted[i].count, err);
	if (code == WB_OK)
		code = wbi_relay_status_put(txn, tables->status, &row, err);
	return code;
}

/* ---- the commit ---------------------------------------------------------- */

static void commit_applied(wb_relay *relay, uint64_t low_main,
			   uint64_t low_drain, uint64_t parked)
{
	for (size_t i = 0; i < WBI_COUNT(relay->lanes); i++)
		park_apply(&relay->lanes[i],
			   relay->actions + i * relay->options.window);
	wbi_window_commit(relay->lanes[RELAY_MAIN].window, low_main);
	wbi_window_commit(relay->lanes[RELAY_DRAIN].window, low_drain);
	relay->stat.parked += parked;
	relay->parked_keys += parked; /* at most: until it is read again */
	relay->unrouted_count = 0;
	relay->floor = wbi_relay_floor(relay, low_main);
	for (size_t i = 0; i < relay->exchange_count; i++)
		relay->exchanges[i].dirty = false;
	relay->status_dirty = false;
}

static wb_code commit_write(wb_relay *relay, uint64_t *parked, wb_error *err)
{
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(relay->env, true, &txn, err);

	if (code != WB_OK)
		return code;
	code = wbi_relay_release_delete(relay, txn, err);
	if (code == WB_OK)
		code = commit_parks(relay, txn, parked, err);
	if (code == WB_OK)
		code = wbi_relay_release_park(relay, txn, err);
	if (code == WB_OK)
		code = commit_holds(relay, txn, err);
	if (code == WB_OK)
		code = commit_cursor(relay, txn, err);
	if (code == WB_OK)
		code = commit_status(relay, txn, *parked, err);
	if (code != WB_OK) {
		wbi_txn_abort(txn);
		return code;
	}
	return wbi_txn_commit(txn, err);
}

/* Read back what the next steps need to know of the committed rows. */
static wb_code commit_reload(wb_relay *relay, wb_error *err)
{
	uint64_t bytes;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(relay->env, false, &txn, err);

	if (code != WB_OK)
		return code;
	code = wbi_table_size(txn, wbi_store_relay_tables(relay->store)->keys,
			      &bytes, &relay->parked_keys, err);
	if (code == WB_OK)
		code = wbi_relay_release_committed(relay, txn, err);
	relay->env_txn = wbi_txn_id(txn);
	wbi_txn_abort(txn);
	return code;
}

wb_code wbi_relay_commit(wb_relay *relay, wb_error *err)
{
	uint64_t low_main = wbi_window_low(relay->lanes[RELAY_MAIN].window);
	uint64_t low_drain = wbi_window_low(relay->lanes[RELAY_DRAIN].window);
	uint64_t seen = relay->env_txn, parked = 0;
	int64_t start_us = relay->clock->mono_us(relay->clock->ctx);
	int64_t pause_us = (int64_t)relay->options.commit_ms * 1000;
	wb_error why = WB_ERROR_INIT;
	wb_code code;

	code = commit_write(relay, &parked, &why);
	if (code != WB_OK) {
		relay->commit_refused = true;
		relay->park_full = false; /* of rows that are not there */
		relay->commit_at_us = relay->commit_soon_us =
			relay->now_us + (int64_t)RELAY_REFUSED_MS * 1000;
		wbi_relay_trouble(relay, WB_LOG_ERROR,
				  "cannot write its state: %s", why.text);
		return WBI_FAIL(err, code, "%s", why.text);
	}
	commit_applied(relay, low_main, low_drain, parked);
	if (relay->commit_refused)
		wbi_relay_trouble_over(relay);
	relay->commit_refused = false;
	relay->commit_cost_us =
		relay->clock->mono_us(relay->clock->ctx) - start_us;
	if (pause_us < 4 * relay->commit_cost_us)
		pause_us = 4 * relay->commit_cost_us;
	relay->commit_at_us = relay->now_us + pause_us;
	relay->commit_soon_us = relay->now_us + pause_us / 4;
	relay->status_at_us =
		relay->now_us + (int64_t)RELAY_STATUS_MS * 1000;
	code = commit_reload(relay, err);
	/* Someone else has committed since we looked: look again. */
	if (relay->env_txn != seen + 1)
		relay->release_more = true;
	return code;
}

static bool commit_has_news(const wb_relay *relay)
{
	for (size_t i = 0; i < WBI_COUNT(relay->lanes); i++) {
		const wbi_window *window = relay->lanes[i].window;

		if (wbi_window_low(window) > wbi_window_durable(window))
			return true;
		if (wbi_window_parking(window) > 0 && !relay->park_full)
			return true;
	}
	for (size_t i = 0; i < relay->exchange_count; i++)
		if (relay->exchanges[i].dirty)
			return true;
	return relay->unrouted_count > 0 || wbi_relay_release_dirty(relay);
}

/*
 * When the next commit should be, INT64_MAX if there is nothing for it. With
 * nothing more to send, sooner: whoever waits for the end waits less.
 */
int64_t wbi_relay_commit_due_us(const wb_relay *relay)
{
	const wbi_window *window = relay->lanes[RELAY_MAIN].window;

	if (!commit_has_news(relay) && !relay->status_dirty)
		return INT64_MAX;
	if (!commit_has_news(relay) && !relay->commit_refused)
		return relay->status_at_us;
	if (wbi_relay_sent(relay) == 0 && wbi_window_high(window) == relay->head)
		return relay->commit_soon_us;
	return relay->commit_at_us;
}

/* Half the window is settled and only a commit gives it back. */
static bool commit_is_pressing(const wb_relay *relay)
{
	const wbi_window *window = relay->lanes[RELAY_MAIN].window;
	uint64_t settled =
		wbi_window_low(window) - wbi_window_durable(window);

	return settled > 0 && settled >= relay->options.window / 2;
}

wb_code wbi_relay_commit_if_due(wb_relay *relay, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code;

	if (relay->now_us < wbi_relay_commit_due_us(relay) &&
	    !(commit_is_pressing(relay) && !relay->commit_refused))
		return WB_OK;
	code = wbi_relay_commit(relay, &why);
	if (code == WB_OK || wb_code_class(code) != WB_CLASS_STOP)
		return WB_OK; /* said, and tried again */
	return WBI_FAIL(err, code, "%s", why.text);
}
