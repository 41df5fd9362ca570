/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hold whose routes have changed.
 *
 * A hold is one row: the events behind it are those that the routes of its
 * time sent to its exchange. When a relay starts with other routes, perhaps
 * because they were mended to lead elsewhere, that row alone would no longer
 * tell which events are still owed. So the row remembers its routes, and here
 * its events are copied, once, to the parked events, released at once: from
 * there they go out by the new routes, in order, with the later events of
 * their keys behind them.
 *
 * In transactions of bounded size; the hold's first position moves with them,
 * so a crash goes on where it was.
 */
#include "outbox/relay_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "outbox/parked.h"

enum { REROUTE_BATCH = 500 };

/* "pattern TAB exchange LF" for each route: neither can hold a control
 * character. */
wb_code wbi_relay_describe_routes(wb_relay *relay, wb_error *err)
{
	size_t len = 0, count = wb_routes_count(relay->routes);
	char *at;

	for (size_t i = 0; i < count; i++) {
		const wb_route *route = wb_routes_at(relay->routes, i);

		len += strlen(route->type) + strlen(route->exchange) + 2;
	}
	relay->routes_text = at = malloc(len + 1);
	if (!at)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for the routes");
	for (size_t i = 0; i < count; i++) {
		const wb_route *route = wb_routes_at(relay->routes, i);

		at = stpcpy(at, route->type);
		*at++ = '\t';
		at = stpcpy(at, route->exchange);
		*at++ = '\n';
	}
	WB_ASSERT((size_t)(at - relay->routes_text) == len);
	relay->routes_len = len;
	return WB_OK;
}

/* The routes of a hold's time; the implicit one, last, is left to itself. */
static wb_code reroute_parse(char *text, wb_routes **ret, wb_error *err)
{
	wb_route routes[WB_ROUTES_MAX + 1];
	char *line, *rest = text;
	size_t count = 0;

	while ((line = strsep(&rest, "\n")) && *line) {
		char *tab = strchr(line, '\t');

		if (!tab || count > WB_ROUTES_MAX)
			return WBI_FAIL(err, WB_ECORRUPT,
					"a hold's routes cannot be read");
		*tab = '\0';
		routes[count++] = (wb_route){.type = line, .exchange = tab + 1};
	}
	return wb_routes_new(routes, count > 0 ? count - 1 : 0, ret, err);
}

typedef struct reroute {
	wb_relay *relay;
	wb_routes *old;
	wb_str exchange;
	wbi_held row;
	uint64_t last; /* the cursor: what is behind it was never held */
	uint64_t moved;
} reroute;

static wb_code reroute_event(reroute *r, MDB_txn *txn, const wb_event *event,
			     wb_str record, uint64_t position, wb_error *err)
{
	wb_relay *relay = r->relay;
	const wbi_relay_tables *tables = wbi_store_relay_tables(relay->store);
	const wb_route *route = wb_routes_match(relay->routes, event->type);
	int64_t now_us = relay->clock->real_us(relay->clock->ctx);
	wb_str key = wbi_relay_hash(relay, route, event->key) ? event->key
							      : WB_STR_NULL;
	wbi_parked row = {.state = WBI_PARKED_RELEASED,
			  .reason = WBI_PARK_REROUTED,
			  .first_us = now_us,
			  .last_us = now_us,
			  .exchange = r->exchange,
			  .text = wb_str_from("held for this exchange until "
					      "the routes were changed"),
			  .record = record};
	wbi_parked_key keyed;
	bool added;
	wb_code code = wbi_parked_add(txn, tables, key, position, &row, &added,
				      err);

	if (code != WB_OK || !added)
		return code;
	r->moved++;
	if (key.len == 0)
		return WB_OK;
	code = wbi_parked_key_get(txn, tables->keys, key, &keyed, err);
	if (code != WB_OK || keyed.count > 1)
		return code; /* a key that is parked stays parked */
	keyed.state = WBI_PARKED_RELEASED;
	return wbi_parked_key_put(txn, tables->keys, key, &keyed, err);
}

static wb_code reroute_events(reroute *r, MDB_txn *store_txn, MDB_txn *txn,
			      wb_error *err)
{
	wbi_reader reader;
	wb_code code = wbi_reader_open(&reader, &r->relay->journal, store_txn,
				       r->row.first_position - 1, err);

	for (int i = 0; i < REROUTE_BATCH && code == WB_OK; i++) {
		wb_event event;
		wb_str record;

		if (r->row.first_position > r->last)
			break;
		code = wbi_reader_next(&reader, &event, &record, err);
		if (code != WB_OK)
			break;
		if (wb_str_eq(wb_str_from(wb_routes_match(r->old, event.type)
						  ->exchange),
			      r->exchange))
			code = reroute_event(r, txn, &event, record,
					     r->row.first_position, err);
		r->row.first_position++;
	}
	wbi_reader_close(&reader);
	return code;
}

static wb_code reroute_batch(reroute *r, wb_error *err)
{
	wb_store *store = r->relay->store;
	const wbi_relay_tables *tables = wbi_store_relay_tables(store);
	MDB_txn *txn, *store_txn;
	wb_code code = wbi_txn_begin(wb_store_env(store), false, &store_txn,
				     err);

	if (code != WB_OK)
		return code;
	code = wbi_txn_begin(r->relay->env, true, &txn, err);
	if (code == WB_OK) {
		code = reroute_events(r, store_txn, txn, err);
		if (code == WB_OK && r->row.first_position > r->last)
			code = wbi_held_del(txn, tables->held, r->exchange,
					    err);
		else if (code == WB_OK)
			code = wbi_held_put(txn, tables->held, r->exchange,
					    &r->row, err);
		if (code == WB_OK)
			code = wbi_txn_commit(txn, err);
		else
			wbi_txn_abort(txn);
	}
	wbi_txn_abort(store_txn);
	return code;
}

wb_code wbi_relay_reroute(wb_relay *relay, wb_str exchange,
			  const wbi_held *row, wb_error *err)
{
	reroute r = {.relay = relay, .row = *row};
	size_t size = exchange.len + row->routes.len + row->text.len + 2;
	char *bytes = calloc(2, size), *parse = bytes ? bytes + size : NULL;
	wb_code code;

	if (!bytes)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a hold");
	/* The row's strings lie in the map that the batches change. */
	memcpy(bytes, exchange.ptr, exchange.len);
	memcpy(bytes + exchange.len, row->routes.ptr, row->routes.len);
	memcpy(bytes + exchange.len + row->routes.len, row->text.ptr,
	       row->text.len);
	r.exchange = wb_str_n(bytes, exchange.len);
	r.row.routes = wb_str_n(bytes + exchange.len, row->routes.len);
	r.row.text = wb_str_n(bytes + exchange.len + row->routes.len,
			      row->text.len);
	memcpy(parse, r.row.routes.ptr, r.row.routes.len);
	r.last = wbi_window_durable(relay->lanes[RELAY_MAIN].window);
	code = reroute_parse(parse, &r.old, err);
	while (code == WB_OK && r.row.first_position <= r.last)
		code = reroute_batch(&r, err);
	if (code == WB_OK && row->first_position > r.last)
		code = reroute_batch(&r, err); /* nothing but its row */
	if (code == WB_OK)
		wbi_log(relay->log, WB_LOG_INFO,
			"relay: %" PRIu64 " events held for exchange '%.*s' "
			"go by the new routes",
			r.moved, (int)r.exchange.len, r.exchange.ptr);
	wb_routes_free(r.old);
	free(bytes);
	return code;
}
