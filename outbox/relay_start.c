/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Becoming the store's relay: the lock, then what the last one left behind.
 *
 * One relay per store is active, by a lock on DIR/relay/owner
 * (lib/base/owner.h). Everything that a relay knows is loaded only after the
 * lock is held.
 */
#include "outbox/relay_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/owner.h"
#include "outbox/parked.h"

/* ---- the lock ------------------------------------------------------------ */

static wb_code start_lock(wb_relay *relay, wb_error *err)
{
	char path[PATH_MAX];
	int64_t pid;
	wb_code code;

	wbi_store_relay_path(relay->store, "owner", path, sizeof(path));
	code = wbi_owner_take(path, &relay->owner_fd, &pid, err);
	relay->pid = (int64_t)getpid();
	if (code != WB_EBUSY)
		return code;
	relay->own_at_us = relay->now_us + (int64_t)RELAY_OWN_RETRY_MS * 1000;
	if (!relay->told_waiting)
		wbi_log(relay->log, WB_LOG_INFO,
			"relay: process %" PRId64 " relays %s already: waiting "
			"for it to end",
			pid, wb_store_dir(relay->store));
	relay->told_waiting = true;
	return WB_EBUSY;
}

/* ---- the cursor ---------------------------------------------------------- */

static wb_code start_cursor_mismatch(const wb_relay *relay, wb_error *err,
				     const char *what)
{
	return WBI_FAIL(err, WB_EMISMATCH,
			"the relay's cursor does not belong to the journal in "
			"%s: %s. One of the two was copied or put back without "
			"the other: use `waybill backup` and `waybill restore`, "
			"which keep them together",
			wb_store_dir(relay->store), what);
}

static wb_code start_check_event(wb_relay *relay, MDB_txn *txn,
				 const wbi_relay_cursor *cursor, wb_error *err)
{
	uint64_t stored;
	wb_event event;
	wb_str record;
	wb_code code = wbi_journal_get(&relay->journal, txn, cursor->position,
				       &record, err);

	if (code == WB_ENOTFOUND)
		return WB_OK; /* pruned: nothing to compare with */
	if (code == WB_OK)
		code = wbi_record_decode(record.ptr, record.len, &event,
					 &stored, err);
	if (code != WB_OK)
		return code;
	if (wb_str_eq(event.id, wb_str_from(cursor->event_id)))
		return WB_OK;
	return start_cursor_mismatch(relay, err,
				     "another event stands at its position");
}

static wb_code start_check_cursor(wb_relay *relay, MDB_txn *txn,
				  const wbi_relay_cursor *cursor,
				  wb_error *err)
{
	uint64_t first, head;
	char what[160];
	wb_code code;

	code = wbi_journal_range(&relay->journal, txn, &first, &head, err);
	if (code != WB_OK)
		return code;
	relay->head = head;
	if (cursor->position > 0 &&
	    strcmp(cursor->origin, relay->journal.origin) != 0) {
		snprintf(what, sizeof(what),
			 "its origin is %s, the journal's is %s",
			 cursor->origin, relay->journal.origin);
		return start_cursor_mismatch(relay, err, what);
	}
	if (cursor->position > head) {
		snprintf(what, sizeof(what),
			 "it is at %" PRIu64 ", the journal ends at %" PRIu64,
			 cursor->position, head);
		return start_cursor_mismatch(relay, err, what);
	}
	if (first > 0 && cursor->floor + 1 < first) {
		snprintf(what, sizeof(what),
			 "it needs position %" PRIu64
			 ", the journal begins at %" PRIu64,
			 cursor->floor + 1, first);
		return start_cursor_mismatch(relay, err, what);
	}
	return cursor->position > 0
		       ? start_check_event(relay, txn, cursor, err)
		       : WB_OK;
}

static wb_code start_load_cursor(wb_relay *relay, MDB_txn *txn,
				 MDB_txn *env_txn, wb_error *err)
{
	wbi_relay_cursor cursor = {.position = 0};
	wb_code code = wbi_relay_cursor_read(relay->store, env_txn, &cursor,
					     err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	code = start_check_cursor(relay, txn, &cursor, err);
	if (code != WB_OK)
		return code;
	for (size_t i = 0; i < WBI_COUNT(relay->lanes); i++)
		wbi_window_reset(relay->lanes[i].window, cursor.position);
	relay->floor = cursor.floor;
	return WB_OK;
}

/* ---- exchanges and holds ------------------------------------------------- */

static uint16_t start_add_exchange(wb_relay *relay, const char *name)
{
	for (size_t i = 0; i < relay->exchange_count; i++)
		if (!strcmp(relay->exchanges[i].name, name))
			return (uint16_t)i;
	WB_ASSERT(relay->exchange_count < RELAY_EXCHANGES_MAX);
	snprintf(relay->exchanges[relay->exchange_count].name,
		 sizeof(relay->exchanges[0].name), "%s", name);
	return (uint16_t)relay->exchange_count++;
}

static void start_add_exchanges(wb_relay *relay)
{
	relay->exchange_count = 0;
	memset(relay->exchanges, 0,
	       RELAY_EXCHANGES_MAX * sizeof(*relay->exchanges));
	for (size_t i = 0; i < wb_routes_count(relay->routes); i++)
		relay->route_exchange[i] = start_add_exchange(
			relay, wb_routes_at(relay->routes, i)->exchange);
}

static void start_hold(wb_relay *relay, wb_str name, const wbi_held *row)
{
	relay_exchange *exchange = relay->exchanges;

	while (!wb_str_eq(wb_str_from(exchange->name), name))
		exchange++; /* the routes are the same: it is there */
	exchange->state = RELAY_HELD;
	exchange->first = row->first_position;
	exchange->since_us = row->since_us;
	exchange->probe_at_us = relay->now_us;
	snprintf(exchange->text, sizeof(exchange->text), "%.*s",
		 (int)(row->text.len < 255 ? row->text.len : 255),
		 row->text.ptr ? row->text.ptr : "");
}

/* One hold after `*name`: taken over if the routes are still those under which
 * it was made; else *ret_changed, and `*row` is it. */
static wb_code start_next_hold(wb_relay *relay, wbi_cursor *cursor,
			       wbi_move move, bool *ret_changed, wb_str *name,
			       wbi_held *row, wb_error *err)
{
	wb_str routes = wb_str_n(relay->routes_text, relay->routes_len);
	wb_str at = WB_STR_NULL, value;
	wb_code code = wbi_cursor_move(cursor, move, &at, &value, err);

	if (code == WB_OK)
		code = wbi_held_decode(at, value, name, row, err);
	if (code != WB_OK)
		return code;
	*ret_changed = !wb_str_eq(row->routes, routes);
	if (!*ret_changed)
		start_hold(relay, *name, row);
	return WB_OK;
}

/* Until every hold is taken over: one that must be rerouted is, and then we
 * look again from the start (*ret_again). */
static wb_code start_load_holds(wb_relay *relay, bool *ret_again,
				wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(relay->store);
	wbi_move move = WBI_FIRST;
	bool changed = false;
	wbi_cursor *cursor = NULL;
	MDB_txn *txn;
	wbi_held row;
	wb_str name;
	wb_code code = wbi_txn_begin(relay->env, false, &txn, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_open(txn, tables->held, &cursor, err);
	while (code == WB_OK && !changed) {
		code = start_next_hold(relay, cursor, move, &changed, &name,
				       &row, err);
		move = WBI_NEXT;
	}
	if (code == WB_OK)
		code = wbi_relay_reroute(relay, name, &row, err);
	*ret_again = changed;
	wbi_cursor_close(cursor);
	wbi_txn_abort(txn);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* ---- all of it ----------------------------------------------------------- */

static wb_code start_load_status(wb_relay *relay, MDB_txn *env_txn,
				 wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(relay->store);
	wbi_relay_status status;
	wb_code code = wbi_relay_status_get(env_txn, tables->status, &status,
					    err);

	if (code == WB_OK)
		memcpy(relay->totals, status.counters, sizeof(relay->totals));
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code start_load(wb_relay *relay, wb_error *err)
{
	MDB_txn *txn, *env_txn = NULL;
	bool again = true;
	wb_code code = wbi_txn_begin(wb_store_env(relay->store), false, &txn,
				     err);

	if (code != WB_OK)
		return code;
	code = wbi_txn_begin(relay->env, false, &env_txn, err);
	if (code == WB_OK)
		code = start_load_cursor(relay, txn, env_txn, err);
	if (code == WB_OK)
		code = start_load_status(relay, env_txn, err);
	wbi_txn_abort(env_txn);
	wbi_txn_abort(txn);
	start_add_exchanges(relay);
	while (code == WB_OK && again)
		code = start_load_holds(relay, &again, err);
	return code;
}

/* WB_EBUSY, and own_at_us set: another relay has the store. */
wb_code wbi_relay_own(wb_relay *relay, wb_error *err)
{
	wb_code code = start_lock(relay, err);

	if (code == WB_EBUSY)
		return code;
	if (code == WB_OK)
		code = start_load(relay, err);
	if (code != WB_OK) {
		wbi_relay_disown(relay);
		relay->own_at_us =
			relay->now_us + (int64_t)RELAY_OWN_RETRY_MS * 1000;
		return code;
	}
	relay->owner = true;
	relay->state = WB_RELAY_DOWN;
	relay->since_us = relay->clock->real_us(relay->clock->ctx);
	relay->env_txn = 0; /* so that the first step looks what is parked */
	relay->look = relay->release_more = relay->status_dirty = true;
	relay->connect_at_us = relay->readers_at_us = relay->now_us;
	return WB_OK;
}

void wbi_relay_disown(wb_relay *relay)
{
	relay->owner = false;
	if (relay->owner_fd >= 0)
		close(relay->owner_fd);
	relay->owner_fd = -1;
}
