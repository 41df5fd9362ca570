/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sending parked events again after `waybill outbox retry`: key by key, each
 * key's rows in order of position, one unconfirmed at a time.
 *
 * While a key has rows, the lanes copy its new events behind them; the last
 * row and the key's own row go in one commit, and only then does the key flow
 * through the main lane again. So the order holds while events are appended.
 * An event without a key (or of a route without order) is released alone.
 * Crash: rows are deleted after they were confirmed, so those of the last
 * moment are sent once more.
 */
#include "outbox/relay_internal.h"

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "outbox/parked.h"

static wb_str release_key(const relay_release *r)
{
	return wb_str_n(r->key, r->key_len);
}

static const wbi_relay_tables *release_tables(const wb_relay *relay)
{
	return wbi_store_relay_tables(relay->store);
}

/* ---- which keys are released --------------------------------------------- */

static bool release_known(const wb_relay *relay, wb_str key, uint64_t position)
{
	for (size_t i = 0; i < WBI_COUNT(relay->releases); i++) {
		const relay_release *r = &relay->releases[i];

		if (r->state == RELAY_RELEASE_FREE ||
		    !wb_str_eq(release_key(r), key))
			continue;
		if (key.len > 0 || r->position == position)
			return true;
	}
	return false;
}

/* The key's first row behind what is done, or the unordered event's own. */
static wb_code release_find(wb_relay *relay, const relay_release *r,
			    MDB_txn *txn, uint64_t *ret_position,
			    wbi_parked *ret, wb_error *err)
{
	uint64_t from = r->key_len ? r->done + 1 : r->position;
	wbi_parked_row_key want = wbi_parked_row_key_of(release_key(r), from);
	wb_str at = wb_str_n(want.bytes, want.len), key, row;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(txn, release_tables(relay)->parked,
				       &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move(cursor, WBI_SEEK, &at, &row, err);
	if (code == WB_OK)
		code = wbi_parked_row_key_parse(at, &key, ret_position, err);
	if (code == WB_OK && (!wb_str_eq(key, release_key(r)) ||
			      (r->key_len == 0 && *ret_position != from)))
		code = WB_ENOTFOUND;
	if (code == WB_OK)
		code = wbi_parked_decode(at, row, ret, err);
	wbi_cursor_close(cursor);
	return code;
}

/* Is the next row's exchange held? Then nothing can be done for it yet. */
static wb_code release_is_held(wb_relay *relay, const relay_release *r,
			       MDB_txn *txn, bool *ret, wb_error *err)
{
	uint64_t position;
	wb_event event;
	wbi_parked row;
	uint16_t exchange;
	wb_code code = release_find(relay, r, txn, &position, &row, err);

	*ret = code == WB_ENOTFOUND;
	if (code == WB_OK)
		code = wbi_record_decode(row.record.ptr, row.record.len,
					 &event, &position, err);
	if (code != WB_OK)
		return *ret ? WB_OK : code;
	exchange = wbi_relay_exchange_of(
		relay, wb_routes_match(relay->routes, event.type));
	*ret = relay->exchanges[exchange].state == RELAY_HELD;
	return WB_OK;
}

/* *ret_full: no room for one more; look again when there is. */
static wb_code release_start(wb_relay *relay, MDB_txn *txn, wb_str key,
			     uint64_t position, bool *ret_full, wb_error *err)
{
	relay_release r = {.state = RELAY_RELEASE_READY,
			   .key_len = key.len,
			   .position = key.len ? 0 : position};
	bool held;
	wb_code code;

	if (release_known(relay, key, position))
		return WB_OK;
	if (key.len > 0)
		memcpy(r.key, key.ptr, key.len);
	code = release_is_held(relay, &r, txn, &held, err);
	if (code != WB_OK || held)
		return code;
	for (size_t i = 0; i < WBI_COUNT(relay->releases); i++)
		if (relay->releases[i].state == RELAY_RELEASE_FREE) {
			relay->releases[i] = r;
			return WB_OK;
		}
	*ret_full = true;
	return WB_OK;
}

/* Rows without a key are released one by one. */
static wb_code release_unordered(wb_relay *relay, MDB_txn *txn, bool *ret_full,
				 wb_error *err)
{
	wbi_parked_row_key from = wbi_parked_row_key_of(WB_STR_NULL, 0);
	wb_str at = wb_str_n(from.bytes, from.len), key, row;
	uint64_t position;
	wbi_cursor *cursor;
	wbi_parked parked;
	wb_code code = wbi_cursor_open(txn, release_tables(relay)->parked,
				       &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move(cursor, WBI_SEEK, &at, &row, err);
	while (code == WB_OK && !*ret_full) {
		code = wbi_parked_row_key_parse(at, &key, &position, err);
		if (code != WB_OK || key.len > 0)
			break;
		code = wbi_parked_decode(at, row, &parked, err);
		if (code != WB_OK)
			break;
		if (parked.state == WBI_PARKED_RELEASED)
			code = release_start(relay, txn, key, position,
					     ret_full, err);
		if (code == WB_OK)
			code = wbi_cursor_move(cursor, WBI_NEXT, &at, &row,
					       err);
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code release_keys(wb_relay *relay, MDB_txn *txn, bool *ret_full,
			    wb_error *err)
{
	wb_str at = WB_STR_NULL, key, row;
	wbi_parked_key parked;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(txn, release_tables(relay)->keys,
				       &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move(cursor, WBI_FIRST, &at, &row, err);
	while (code == WB_OK && !*ret_full) {
		code = wbi_parked_key_decode(at, row, &key, &parked, err);
		if (code != WB_OK)
			break;
		if (parked.state == WBI_PARKED_RELEASED && key.len > 0)
			code = release_start(relay, txn, key, 0, ret_full,
					     err);
		if (code == WB_OK)
			code = wbi_cursor_move(cursor, WBI_NEXT, &at, &row,
					       err);
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

wb_code wbi_relay_release_refill(wb_relay *relay, MDB_txn *env_txn,
				 wb_error *err)
{
	bool full = false;
	wb_code code = WB_OK;

	if (!relay->release_more)
		return WB_OK;
	if (relay->parked_keys > 0) {
		code = release_unordered(relay, env_txn, &full, err);
		if (code == WB_OK)
			code = release_keys(relay, env_txn, &full, err);
	}
	if (code != WB_OK)
		return code; /* look again: nothing else would bring it up */
	/* With no room left, the end of any release looks again. */
	relay->release_more = false;
	relay->release_full = full;
	return WB_OK;
}

/* ---- sending ------------------------------------------------------------- */

static wb_code release_send(wb_relay *relay, size_t index, wb_str record,
			    wb_error *err)
{
	relay_release *r = &relay->releases[index];
	const wb_route *route;
	uint64_t position;
	wb_event event;
	wb_code code = wbi_record_decode(record.ptr, record.len, &event,
					 &position, err);

	if (code != WB_OK)
		return code;
	route = wb_routes_match(relay->routes, event.type);
	r->exchange = wbi_relay_exchange_of(relay, route);
	r->accept = route->unroutable == WB_UNROUTABLE_ACCEPT;
	memcpy(r->type, event.type.ptr, event.type.len & 255);
	r->type[event.type.len & 255] = '\0';
	if (relay->exchanges[r->exchange].state == RELAY_HELD) {
		/* Its repeat is owed to the channel that was closed, and must
		 * not keep the others from theirs until the exchange is back. */
		relay->release_exposed -= r->exposed;
		r->exposed = false;
		r->state = RELAY_RELEASE_HELD;
		return WB_OK;
	}
	return wbi_relay_send(relay, RELAY_TOKEN(RELAY_RELEASE, index),
			      position, &event, record, err);
}

static wb_code release_next(wb_relay *relay, size_t index, MDB_txn *txn,
			    wb_error *err)
{
	relay_release *r = &relay->releases[index];
	wb_error why = WB_ERROR_INIT;
	uint64_t position;
	wbi_parked row;
	wb_code code = release_find(relay, r, txn, &position, &row, err);

	if (code == WB_ENOTFOUND) {
		r->state = RELAY_RELEASE_PAUSED;
		return WB_OK;
	}
	if (code != WB_OK)
		return code;
	r->position = position;
	code = release_send(relay, index, row.record, &why);
	if (code == WB_OK && r->state == RELAY_RELEASE_HELD)
		return WB_OK;
	if (code == WB_OK) {
		r->state = RELAY_RELEASE_SENT;
		relay->release_sent++;
		relay->stat.repeats += r->exposed;
		relay->release_exposed += !r->exposed;
		r->exposed = true;
		return WB_OK;
	}
	if (wb_code_class(code) == WB_CLASS_REJECT) {
		r->state = RELAY_RELEASE_FAILED;
		r->reason = code == WB_ELIMIT ? WBI_PARK_OVERSIZE
					      : WBI_PARK_ENCODING;
		r->reply_code = 0;
		return WB_OK;
	}
	return code == WB_EAGAIN ? code : WBI_FAIL(err, code, "%s", why.text);
}

static bool release_may_send(const wb_relay *relay, const relay_release *r)
{
	if (r->exposed)
		return wbi_relay_may_send(relay);
	return wbi_relay_room(relay, relay->release_exposed == 0);
}

wb_code wbi_relay_release_pump(wb_relay *relay, MDB_txn *env_txn,
			       wb_error *err)
{
	for (size_t i = 0; i < WBI_COUNT(relay->releases); i++) {
		relay_release *r = &relay->releases[i];
		wb_code code;

		if (r->state != RELAY_RELEASE_READY ||
		    r->due_us > relay->now_us)
			continue;
		if (!release_may_send(relay, r))
			continue;
		code = release_next(relay, i, env_txn, err);
		if (code != WB_OK)
			return code;
	}
	return WB_OK;
}

bool wbi_relay_release_can_go(const wb_relay *relay)
{
	for (size_t i = 0; i < WBI_COUNT(relay->releases); i++) {
		const relay_release *r = &relay->releases[i];

		if (r->state == RELAY_RELEASE_READY &&
		    r->due_us <= relay->now_us && release_may_send(relay, r))
			return true;
	}
	return false;
}

/* When the next of them is due; those that are due already do not count. */
int64_t wbi_relay_release_due_us(const wb_relay *relay)
{
	int64_t due_us = INT64_MAX;

	for (size_t i = 0; i < WBI_COUNT(relay->releases); i++) {
		const relay_release *r = &relay->releases[i];

		if (r->state == RELAY_RELEASE_READY &&
		    r->due_us > relay->now_us && r->due_us < due_us)
			due_us = r->due_us;
	}
	return due_us;
}

/* ---- settling ------------------------------------------------------------ */

void wbi_relay_release_settle(wb_relay *relay, size_t index,
			      const wb_broker_event *event)
{
	relay_release *r = &relay->releases[index];

	WB_ASSERT(index < WBI_COUNT(relay->releases) &&
		  r->state == RELAY_RELEASE_SENT);
	relay->release_sent--;
	r->state = RELAY_RELEASE_READY;
	if (event->kind == WB_BROKER_NACKED) {
		r->due_us = wbi_relay_nack_due(relay, r->nacks++);
		return;
	}
	if (event->kind == WB_BROKER_RETURNED && !r->accept) {
		wbi_relay_release_refused(relay, index, event->reply_code);
		r->reason = WBI_PARK_UNROUTABLE;
		return;
	}
	if (event->kind == WB_BROKER_ACKED)
		relay->stat.delivered++;
	else
		wbi_relay_count_unrouted(relay, wb_str_from(r->type));
	r->done = r->position;
	if (r->begin == 0)
		r->begin = r->position;
	r->exposed = false;
	r->nacks = 0;
	if (r->key_len == 0)
		r->state = RELAY_RELEASE_PAUSED;
}

void wbi_relay_release_refused(wb_relay *relay, size_t index,
			       uint16_t reply_code)
{
	relay_release *r = &relay->releases[index];

	(void)relay;
	r->state = RELAY_RELEASE_FAILED;
	r->reason = WBI_PARK_REFUSED;
	r->reply_code = reply_code;
}

void wbi_relay_release_lost(wb_relay *relay)
{
	for (size_t i = 0; i < WBI_COUNT(relay->releases); i++)
		if (relay->releases[i].state == RELAY_RELEASE_SENT)
			relay->releases[i].state = RELAY_RELEASE_READY;
	relay->release_sent = 0;
}

bool wbi_relay_release_sent_to(const wb_relay *relay, uint16_t exchange)
{
	for (size_t i = 0; i < WBI_COUNT(relay->releases); i++)
		if (relay->releases[i].state == RELAY_RELEASE_SENT &&
		    relay->releases[i].exchange == exchange)
			return true;
	return false;
}

bool wbi_relay_release_active(const wb_relay *relay)
{
	for (size_t i = 0; i < WBI_COUNT(relay->releases); i++)
		if (relay->releases[i].state != RELAY_RELEASE_FREE)
			return true;
	return relay->release_more;
}

/* ---- committing ---------------------------------------------------------- */

/* Is there something for the next commit to write? */
bool wbi_relay_release_dirty(const wb_relay *relay)
{
	for (size_t i = 0; i < WBI_COUNT(relay->releases); i++) {
		const relay_release *r = &relay->releases[i];

		if (r->state >= RELAY_RELEASE_PAUSED ||
		    (r->state != RELAY_RELEASE_FREE && r->done > 0))
			return true;
	}
	return false;
}

/* Delete the rows of one release that were delivered since the last commit: an
 * unbroken run of those that stood there before this one adds any. */
static wb_code release_delete(wb_relay *relay, MDB_txn *txn,
			      const relay_release *r, wb_error *err)
{
	const wbi_relay_tables *tables = release_tables(relay);
	wb_code code = WB_OK;
	relay_release at = *r;
	uint64_t position;
	wbi_parked row;

	if (r->done == 0)
		return WB_OK;
	for (at.done = r->begin - 1; code == WB_OK;) {
		code = release_find(relay, &at, txn, &position, &row, err);
		if (code != WB_OK || position > r->done)
			break;
		code = wbi_parked_remove(txn, tables, release_key(r), position,
					 err);
	}
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code release_park_again(wb_relay *relay, MDB_txn *txn,
				  const relay_release *r, wb_error *err)
{
	const wbi_relay_tables *tables = release_tables(relay);
	wb_str key = release_key(r);
	wbi_parked_key keyed;
	wbi_parked row;
	wb_code code = wbi_parked_get(txn, tables->parked, key, r->position,
				      &row, err);

	if (code == WB_ENOTFOUND)
		return WB_OK; /* discarded meanwhile */
	if (code != WB_OK)
		return code;
	row.state = WBI_PARKED;
	row.reason = r->reason;
	row.reply_code = r->reply_code;
	row.attempts++;
	row.last_us = relay->clock->real_us(relay->clock->ctx);
	code = wbi_parked_update(txn, tables->parked, key, r->position, &row,
				 err);
	if (code != WB_OK || key.len == 0)
		return code;
	code = wbi_parked_key_get(txn, tables->keys, key, &keyed, err);
	if (code != WB_OK)
		return code;
	keyed.state = WBI_PARKED;
	return wbi_parked_key_put(txn, tables->keys, key, &keyed, err);
}

/*
 * In the commit's transaction, before new rows are added: a lane may be about
 * to park an earlier position of the key, which was not delivered. Room for
 * new rows is made, too.
 */
wb_code wbi_relay_release_delete(wb_relay *relay, MDB_txn *txn, wb_error *err)
{
	wb_code code = WB_OK;

	for (size_t i = 0; i < WBI_COUNT(relay->releases) && code == WB_OK; i++)
		if (relay->releases[i].state != RELAY_RELEASE_FREE)
			code = release_delete(relay, txn, &relay->releases[i],
					      err);
	return code;
}

/* In the same: what was refused is an ordinary parked event again. */
wb_code wbi_relay_release_park(wb_relay *relay, MDB_txn *txn, wb_error *err)
{
	wb_code code = WB_OK;

	for (size_t i = 0; i < WBI_COUNT(relay->releases) && code == WB_OK; i++)
		if (relay->releases[i].state == RELAY_RELEASE_FAILED)
			code = release_park_again(relay, txn,
						  &relay->releases[i], err);
	return code;
}

/* Is nothing left to be sent for it, now that the commit is durable? A key that
 * got new rows in it goes on. */
static wb_code release_is_over(wb_relay *relay, MDB_txn *txn,
			       const relay_release *r, bool *ret, wb_error *err)
{
	wbi_parked_key keyed;
	wb_code code;

	*ret = r->state == RELAY_RELEASE_FAILED ||
	       r->state == RELAY_RELEASE_HELD ||
	       (r->state == RELAY_RELEASE_PAUSED && r->key_len == 0);
	if (*ret || r->state == RELAY_RELEASE_SENT || r->key_len == 0)
		return WB_OK;
	code = wbi_parked_key_get(txn, release_tables(relay)->keys,
				  release_key(r), &keyed, err);
	*ret = code == WB_ENOTFOUND;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* That transaction is committed. */
wb_code wbi_relay_release_committed(wb_relay *relay, MDB_txn *env_txn,
				    wb_error *err)
{
	wb_code code = WB_OK;

	relay->release_exposed = 0;
	for (size_t i = 0; i < WBI_COUNT(relay->releases) && code == WB_OK;
	     i++) {
		relay_release *r = &relay->releases[i];
		bool over;

		if (r->state == RELAY_RELEASE_FREE)
			continue;
		code = release_is_over(relay, env_txn, r, &over, err);
		if (code != WB_OK)
			return code;
		r->begin = r->done = 0;
		if (over) {
			/* What was held may have been found meanwhile. */
			relay->release_more |=
				relay->release_full ||
				r->state == RELAY_RELEASE_HELD;
			r->state = RELAY_RELEASE_FREE;
			continue;
		}
		relay->release_exposed += r->exposed;
		if (r->state == RELAY_RELEASE_PAUSED)
			r->state = RELAY_RELEASE_READY;
	}
	return code;
}
