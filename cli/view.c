/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Invariant: no read transaction is open for more than SLICE events or while
 * anything is printed to a slow reader for long; a journal pruned in between
 * is taken up again at its first record. The relay's rows are looked up for
 * each event, so a state is as fresh as the moment it is shown. One thread.
 */
#include "cli/view.h"

#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/record.h"

enum { SLICE = 256 };

const char *cli_state_name(cli_state state)
{
	static const char *const names[] = {"pending",   "held",
					    "parked",    "released",
					    "discarded", "delivered"};

	WB_ASSERT((size_t)state < WBI_COUNT(names));
	return names[state];
}

static void held_copy(cli_held *to, wb_str exchange, const wbi_held *from)
{
	wbi_text_show(exchange, to->exchange, sizeof(to->exchange));
	wbi_text_show(from->text, to->text, sizeof(to->text));
	to->first_position = from->first_position;
	to->since_us = from->since_us;
}

static wb_code read_held(cli_view *view, MDB_txn *txn, wb_error *err)
{
	wbi_table table = wbi_store_relay_tables(view->store)->held;
	wbi_move move = WBI_FIRST;
	wb_str key, row, exchange;
	wbi_cursor *cursor;
	wbi_held held;
	wb_code rc;

	view->held_count = 0;
	rc = wbi_cursor_open(txn, table, &cursor, err);
	if (rc != WB_OK)
		return rc;
	while (view->held_count < CLI_HELD_MAX) {
		rc = wbi_cursor_move(cursor, move, &key, &row, err);
		if (rc == WB_OK)
			rc = wbi_held_decode(key, row, &exchange, &held, err);
		if (rc != WB_OK)
			break;
		held_copy(&view->held[view->held_count++], exchange, &held);
		move = WBI_NEXT;
	}
	wbi_cursor_close(cursor);
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static wb_code read_relay(cli_view *view, wb_error *err)
{
	MDB_env *env = wbi_store_relay_env(view->store);
	wbi_relay_cursor cursor;
	MDB_txn *txn;
	wb_code rc;

	rc = wbi_txn_begin(env, false, &txn, err);
	if (rc != WB_OK)
		return rc;
	view->cursor = 0;
	rc = wbi_relay_cursor_read(view->store, txn, &cursor, err);
	if (rc == WB_OK && !strcmp(cursor.origin, view->journal.origin))
		view->cursor = cursor.position;
	if (rc == WB_OK || rc == WB_ENOTFOUND)
		rc = read_held(view, txn, err);
	wbi_txn_abort(txn);
	return rc;
}

wb_code cli_view_refresh(cli_view *view, wb_error *err)
{
	MDB_txn *txn;
	wb_code rc;

	/* The relay first: its cursor is then never past the head we read. */
	rc = read_relay(view, err);
	if (rc == WB_OK)
		rc = wbi_txn_begin(wb_store_env(view->store), false, &txn, err);
	if (rc != WB_OK)
		return rc;
	rc = wbi_journal_range(&view->journal, txn, &view->first, &view->head,
			       err);
	if (rc == WB_OK)
		rc = wbi_journal_quota(&view->journal, txn, &view->quota, err);
	wbi_txn_abort(txn);
	/* As with a cursor of another origin: nothing here is settled. */
	if (view->cursor > view->head)
		view->cursor = 0;
	return rc == WB_OK ? cli_view_read_discards(view, err) : rc;
}

int cli_view_open(cli_context *ctx, cli_view *ret)
{
	wb_error err = WB_ERROR_INIT;
	int code;

	*ret = (cli_view){.ctx = ctx};
	code = cli_open_routes(ctx, &ret->routes);
	if (code == CLI_OK)
		code = cli_open_store(ctx, &ret->store);
	if (code != CLI_OK)
		return code;
	ret->journal = wbi_journal_of(ret->store, WBI_OUTBOX);
	ret->held = calloc(CLI_HELD_MAX, sizeof(*ret->held));
	if (!ret->held)
		return cli_fail(ctx, CLI_FAILED, "out of memory");
	if (cli_view_refresh(ret, &err) != WB_OK)
		return cli_fail_error(ctx, &err);
	return CLI_OK;
}

void cli_view_fini(cli_view *view)
{
	free(view->held);
	free(view->discards);
	wb_store_close(view->store);
	wb_routes_free(view->routes);
}

/* ---- what an event's state is ------------------------------------------ */

static const cli_held *held_of(const cli_view *view, const wb_event *event,
			       uint64_t position)
{
	const wb_route *route = wb_routes_match(view->routes, event->type);
	const char *exchange = route->exchange ? route->exchange : "events";

	for (size_t i = 0; i < view->held_count; i++)
		if (position >= view->held[i].first_position &&
		    !strcmp(view->held[i].exchange, exchange))
			return &view->held[i];
	return NULL;
}

static cli_state parked_state(const wbi_parked *row)
{
	if (row->state == WBI_PARKED_RELEASED)
		return CLI_STATE_RELEASED;
	return CLI_STATE_PARKED;
}

/* What a cli_seen points to. */
typedef struct judged {
	wbi_parked row;
	wbi_audit discard;
} judged;

/* Fills state, parked and discard (into *into) and held. */
static wb_code judge(const cli_view *view, MDB_txn *relay_txn, cli_seen *seen,
		     judged *into, wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(view->store);
	wb_code rc;

	seen->parked = NULL;
	seen->held = NULL;
	seen->discard = NULL;
	rc = wbi_parked_get(relay_txn, tables->parked, seen->event.key,
			    seen->position, &into->row, err);
	if (rc == WB_ENOTFOUND) /* of a route without order */
		rc = wbi_parked_get(relay_txn, tables->parked, WB_STR_NULL,
				    seen->position, &into->row, err);
	if (rc == WB_OK) {
		seen->parked = &into->row;
		seen->state = parked_state(&into->row);
		return WB_OK;
	}
	if (rc == WB_ENOTFOUND)
		rc = cli_view_discard_of(view, relay_txn, seen->position,
					 seen->event.id, &into->discard, err);
	if (rc == WB_OK) {
		seen->discard = &into->discard;
		seen->state = CLI_STATE_DISCARDED;
		return WB_OK;
	}
	if (rc != WB_ENOTFOUND)
		return rc;
	seen->held = held_of(view, &seen->event, seen->position);
	seen->state = seen->held                      ? CLI_STATE_HELD
		      : seen->position > view->cursor ? CLI_STATE_PENDING
						      : CLI_STATE_DELIVERED;
	return WB_OK;
}

/* ---- scanning ---------------------------------------------------------- */

typedef struct scan {
	cli_view *view;
	cli_see see;
	void *ctx;
	MDB_txn *txn, *relay_txn;
	wb_header headers[WBI_RECORD_HEADERS_MAX];
	uint64_t after; /* last position seen */
} scan;

static wb_code scan_begin(scan *s, wb_error *err)
{
	wb_store *store = s->view->store;
	wb_code rc;

	rc = wbi_txn_begin(wbi_store_relay_env(store), false, &s->relay_txn,
			   err);
	if (rc == WB_OK)
		rc = wbi_txn_begin(wb_store_env(store), false, &s->txn, err);
	return rc;
}

static void scan_end(scan *s)
{
	wbi_txn_abort(s->txn);
	wbi_txn_abort(s->relay_txn);
	s->txn = s->relay_txn = NULL;
}

static wb_code unpack(scan *s, cli_seen *seen, wb_error *err)
{
	return wbi_record_headers(seen->record.ptr, seen->record.len,
				  &seen->event, s->headers, err);
}

static wb_code see_next(scan *s, wbi_reader *reader, wb_error *err)
{
	cli_seen seen = {0};
	judged into;
	wb_code rc;

	rc = wbi_reader_next(reader, &seen.event, &seen.record, err);
	if (rc != WB_OK)
		return rc;
	seen.position = reader->position;
	if (seen.position > s->view->head)
		return WB_ENOTFOUND;
	rc = unpack(s, &seen, err);
	if (rc == WB_OK)
		rc = judge(s->view, s->relay_txn, &seen, &into, err);
	s->after = seen.position;
	return rc == WB_OK ? s->see(s->ctx, &seen, err) : rc;
}

/* What can be read of the journal, in one transaction. */
static wb_code scan_slice(scan *s, wb_error *err)
{
	wbi_reader reader = {0};
	uint64_t first, head;
	wb_code rc;

	rc = scan_begin(s, err);
	if (rc == WB_OK)
		rc = wbi_journal_range(&s->view->journal, s->txn, &first, &head,
				       err);
	if (rc == WB_OK && first > 0 && s->after + 1 < first)
		s->after = first - 1; /* pruned meanwhile */
	if (rc == WB_OK && s->after >= head)
		rc = WB_ENOTFOUND;
	if (rc == WB_OK)
		rc = wbi_reader_open(&reader, &s->view->journal, s->txn,
				     s->after, err);
	if (rc == WB_OK) {
		for (int i = 0; i < SLICE && rc == WB_OK; i++)
			rc = see_next(s, &reader, err);
		wbi_reader_close(&reader);
	}
	scan_end(s);
	return rc;
}

wb_code cli_view_scan(cli_view *view, uint64_t after, cli_see see, void *ctx,
		      wb_error *err)
{
	scan *s = calloc(1, sizeof(*s));
	wb_code rc = WB_OK;

	if (!s)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	s->view = view;
	s->see = see;
	s->ctx = ctx;
	s->after = after;
	while (rc == WB_OK)
		rc = scan_slice(s, err);
	free(s);
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static wb_code see_parked(scan *s, wb_str row_key, wb_str bytes, wb_error *err)
{
	cli_seen seen = {0};
	uint64_t position;
	wbi_parked row;
	wb_str key;
	wb_code rc;

	rc = wbi_parked_row_key_parse(row_key, &key, &seen.position, err);
	if (rc == WB_OK)
		rc = wbi_parked_decode(row_key, bytes, &row, err);
	if (rc != WB_OK)
		return rc;
	seen.record = row.record;
	rc = wbi_record_decode(row.record.ptr, row.record.len, &seen.event,
			       &position, err);
	if (rc == WB_OK)
		rc = unpack(s, &seen, err);
	if (row.reason == WBI_PARK_CORRUPT && rc != WB_OK) {
		wb_error_clear(err); /* that is why it is parked */
		seen.event = (wb_event){.key = key};
		rc = WB_OK;
	}
	if (rc != WB_OK)
		return rc;
	seen.row_key = key;
	seen.parked = &row;
	seen.state = parked_state(&row);
	return s->see(s->ctx, &seen, err);
}

/* Parked rows from *from on; a copy of the last key seen goes back to it. */
static wb_code parked_slice(scan *s, wbi_parked_row_key *from, wb_error *err)
{
	wbi_table table = wbi_store_relay_tables(s->view->store)->parked;
	wb_str key = wb_str_n(from->bytes, from->len), row;
	wbi_move move = from->len > 0 ? WBI_SEEK : WBI_FIRST;
	wbi_cursor *cursor = NULL;
	wb_code rc;

	rc = scan_begin(s, err);
	if (rc == WB_OK)
		rc = wbi_cursor_open(s->relay_txn, table, &cursor, err);
	for (int i = 0; i < SLICE && rc == WB_OK; i++) {
		rc = wbi_cursor_move(cursor, move, &key, &row, err);
		if (rc != WB_OK)
			break;
		/* the one that the last slice ended with is known */
		if (move != WBI_SEEK ||
		    !wb_str_eq(key, wb_str_n(from->bytes, from->len)))
			rc = see_parked(s, key, row, err);
		WB_ASSERT(key.len <= sizeof(from->bytes));
		memcpy(from->bytes, key.ptr, key.len);
		from->len = key.len;
		move = WBI_NEXT;
	}
	wbi_cursor_close(cursor);
	scan_end(s);
	return rc;
}

wb_code cli_view_scan_parked(cli_view *view, cli_see see, void *ctx,
			     wb_error *err)
{
	wbi_parked_row_key from = {.len = 0};
	scan *s = calloc(1, sizeof(*s));
	wb_code rc = WB_OK;

	if (!s)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	s->view = view;
	s->see = see;
	s->ctx = ctx;
	while (rc == WB_OK)
		rc = parked_slice(s, &from, err);
	free(s);
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

/* ---- in words ---------------------------------------------------------- */

static const char *cure_of(uint8_t reason)
{
	switch (reason) {
	case WBI_PARK_UNROUTABLE:
		return "bind a queue for this routing key, then retry; or let "
		       "the route accept it (unroutable: accept)";
	case WBI_PARK_OVERSIZE:
		return "raise body_max_bytes and the broker's limit, then "
		       "retry; or discard";
	case WBI_PARK_FOLLOWER:
		return "retry or discard the first parked event of its key";
	case WBI_PARK_CORRUPT:
		return "run waybill fsck; restore from a backup, or discard";
	case WBI_PARK_ENCODING:
		return "it cannot be put into a message: discard";
	default:
		return "remove the cause, then retry; or discard";
	}
}

static void why_parked(const wbi_parked *row, char *ret, size_t size)
{
	char text[256];

	wbi_text_show(row->text, text, sizeof(text));
	if (row->state == WBI_PARKED_RELEASED)
		snprintf(ret, size,
			 "released by an operator: the relay sends "
			 "it in its key's order");
	else
		snprintf(ret, size, "%s%s%s; %s",
			 wbi_park_reason_name(row->reason), text[0] ? ": " : "",
			 text, cure_of(row->reason));
}

char *cli_discard_text(const wbi_audit *discard, char *ret, size_t size)
{
	char who[256], why[512], time[WBI_TIME_TEXT_MAX];

	wbi_time_format(discard->time_us, time);
	snprintf(ret, size, "discarded by %s at %s: %s",
		 wbi_text_show(discard->who, who, sizeof(who)), time,
		 wbi_text_show(discard->why, why, sizeof(why)));
	return ret;
}

char *cli_why(const cli_seen *seen, char *ret, size_t size)
{
	switch (seen->state) {
	case CLI_STATE_PARKED:
	case CLI_STATE_RELEASED:
		why_parked(seen->parked, ret, size);
		break;
	case CLI_STATE_DISCARDED:
		cli_discard_text(seen->discard, ret, size);
		break;
	case CLI_STATE_HELD:
		snprintf(ret, size,
			 "exchange %s is missing; create it (waybill setup): "
			 "the relay then sends by itself",
			 seen->held->exchange);
		break;
	case CLI_STATE_PENDING:
		snprintf(ret, size, "not confirmed yet");
		break;
	default:
		snprintf(ret, size,
			 "settled: confirmed by the broker, or accepted "
			 "unrouted by its route");
	}
	return ret;
}
