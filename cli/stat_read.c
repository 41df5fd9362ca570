/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading the figures of outbox stat: short read transactions, nothing is
 * locked, so they are of about the same moment, not of exactly one. What has
 * to be counted event by event is counted up to a bound and says so.
 */
#include "cli/stat.h"

#include <limits.h>
#include <stdlib.h>

#include "lib/base/error.h"
#include "lib/base/text.h"

/* ---- reading ----------------------------------------------------------- */

static wb_code see_backlog(void *ctx, const cli_seen *seen, wb_error *err)
{
	stat_figures *f = ctx;

	(void)err;
	if (f->oldest_us == 0)
		f->oldest_us = seen->event.time_us;
	f->backlog_bytes += seen->record.len;
	if (seen->position - f->view.cursor < STAT_EXACT)
		return WB_OK;
	f->estimated = seen->position < f->view.head;
	return WB_ENOTFOUND;
}

static wb_code read_backlog(stat_figures *f, wb_error *err)
{
	wb_code rc;

	f->backlog = f->view.head - f->view.cursor;
	rc = cli_view_scan(&f->view, f->view.cursor, see_backlog, f, err);
	if (f->estimated)
		f->backlog_bytes = f->backlog_bytes / STAT_EXACT * f->backlog;
	return rc;
}

typedef struct held_count {
	stat_figures *f;
	uint64_t left; /* to look at */
} held_count;

static wb_code see_held(void *ctx, const cli_seen *seen, wb_error *err)
{
	held_count *count = ctx;
	stat_held *held;

	(void)err;
	if (count->left == 0) {
		count->f->held_at_least = true;
		return WB_ENOTFOUND;
	}
	count->left--;
	if (!seen->held)
		return WB_OK;
	held = &count->f->held[seen->held - count->f->view.held];
	held->events++;
	held->bytes += seen->record.len;
	if (held->oldest_us == 0)
		held->oldest_us = seen->event.time_us;
	return WB_OK;
}

/* Held events are in the journal, behind the first position of their exchange
 * and among those that go elsewhere. */
static wb_code read_held_events(stat_figures *f, wb_error *err)
{
	held_count count = {f, STAT_EXACT};
	uint64_t from = UINT64_MAX;

	for (size_t i = 0; i < f->view.held_count; i++)
		if (f->view.held[i].first_position < from)
			from = f->view.held[i].first_position;
	if (f->view.held_count == 0)
		return WB_OK;
	return cli_view_scan(&f->view, from > 0 ? from - 1 : 0, see_held,
			     &count, err);
}

static wb_code see_reason(void *ctx, const cli_seen *seen, wb_error *err)
{
	stat_figures *f = ctx;
	uint8_t reason = seen->parked->reason;

	(void)err;
	if (reason < STAT_REASONS)
		f->by_reason[reason]++;
	return WB_OK;
}

static void add_key(stat_figures *f, wb_str key, const wbi_parked_key *row)
{
	f->parked += row->count;
	f->parked_bytes += row->bytes;
	f->parked_keys++;
	if (f->parked_since_us == 0 || row->since_us < f->parked_since_us)
		f->parked_since_us = row->since_us;
	if (f->key_count == f->key_max)
		return;
	stat_key *to = &f->keys[f->key_count++];

	wbi_text_show(key, to->key, sizeof(to->key));
	to->count = row->count;
	to->bytes = row->bytes;
	to->first_position = row->first_position;
	to->since_us = row->since_us;
	to->released = row->state == WBI_PARKED_RELEASED;
}

static wb_code read_keys(stat_figures *f, MDB_txn *txn, wb_error *err)
{
	wbi_table table = wbi_store_relay_tables(f->view.store)->keys;
	wb_str row_key, bytes, key;
	wbi_move move = WBI_FIRST;
	wbi_parked_key row;
	wbi_cursor *cursor;
	wb_code rc;

	rc = wbi_cursor_open(txn, table, &cursor, err);
	if (rc != WB_OK)
		return rc;
	while (rc == WB_OK) {
		rc = wbi_cursor_move(cursor, move, &row_key, &bytes, err);
		if (rc == WB_OK)
			rc = wbi_parked_key_decode(row_key, bytes, &key, &row,
						   err);
		if (rc == WB_OK)
			add_key(f, key, &row);
		move = WBI_NEXT;
	}
	wbi_cursor_close(cursor);
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static wb_code read_status(stat_figures *f, MDB_txn *txn, wb_error *err)
{
	wbi_table table = wbi_store_relay_tables(f->view.store)->status;
	wb_code rc = wbi_relay_status_get(txn, table, &f->status, err);

	if (rc != WB_OK)
		return rc == WB_ENOTFOUND ? WB_OK : rc;
	f->has_status = true;
	wbi_text_show(f->status.error, f->error, sizeof(f->error));
	return WB_OK;
}

static const char unrouted_prefix[] = "unrouted/";

static void add_type(stat_figures *f, wb_str name, uint64_t count)
{
	size_t prefix = sizeof(unrouted_prefix) - 1;
	stat_type *to;

	if (name.len < prefix || memcmp(name.ptr, unrouted_prefix, prefix) != 0)
		return;
	if (f->type_count == STAT_TYPES_MAX) {
		f->types_more++;
		return;
	}
	to = &f->types[f->type_count++];
	to->count = count;
	wbi_text_show(wb_str_n(name.ptr + prefix, name.len - prefix), to->type,
		      sizeof(to->type));
}

/* The counts of types that were accepted unrouted, in order of their names. */
static wb_code read_types(stat_figures *f, MDB_txn *txn, wb_error *err)
{
	wbi_table table = wbi_store_relay_tables(f->view.store)->status;
	wb_str row_key, row, name;
	wbi_move move = WBI_FIRST;
	wbi_cursor *cursor;
	uint64_t count;
	wb_code rc;

	rc = wbi_cursor_open(txn, table, &cursor, err);
	if (rc != WB_OK)
		return rc;
	while (rc == WB_OK) {
		rc = wbi_cursor_move(cursor, move, &row_key, &row, err);
		if (rc != WB_OK)
			break;
		rc = wbi_count_decode(row_key, row, &name, &count, err);
		if (rc == WB_OK)
			add_type(f, name, count);
		if (rc == WB_ENOTFOUND)
			rc = WB_OK; /* not a count */
		move = WBI_NEXT;
	}
	wbi_cursor_close(cursor);
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

/* Is a relay alive? It writes its status only when there is news, so the age
 * of its word says nothing, but its lock does. */
static bool is_owned(const stat_figures *f)
{
	char path[PATH_MAX];

	return cli_is_owned(wbi_store_relay_path(f->view.store, "owner", path,
						 sizeof(path)));
}

/* One that has ended in good order has said so, and that stays true. */
static bool is_silent(const stat_figures *f)
{
	return f->has_status && f->status.state != WB_RELAY_STOPPED &&
	       f->status.state != WB_RELAY_FAILED && !is_owned(f);
}

wb_code cli_stat_read(stat_figures *f, wb_error *err)
{
	MDB_txn *txn;
	wb_code rc;

	f->now_us = cli_real_us();
	rc = wbi_txn_begin(wbi_store_relay_env(f->view.store), false, &txn,
			   err);
	if (rc != WB_OK)
		return rc;
	rc = read_keys(f, txn, err);
	if (rc == WB_OK)
		rc = read_status(f, txn, err);
	if (rc == WB_OK)
		rc = read_types(f, txn, err);
	wbi_txn_abort(txn);
	f->silent = is_silent(f);
	if (rc == WB_OK)
		rc = read_backlog(f, err);
	if (rc == WB_OK)
		rc = read_held_events(f, err);
	if (rc == WB_OK && f->parked > 0)
		rc = cli_view_scan_parked(&f->view, see_reason, f, err);
	return rc;
}

int64_t cli_stat_age_us(const stat_figures *f, int64_t since_us)
{
	return since_us > 0 ? f->now_us - since_us : 0;
}

int64_t cli_stat_oldest_us(const stat_figures *f)
{
	int64_t oldest = cli_stat_age_us(f, f->oldest_us);
	int64_t parked = cli_stat_age_us(f, f->parked_since_us);

	if (parked > oldest)
		oldest = parked;
	for (size_t i = 0; i < f->view.held_count; i++) {
		int64_t held = cli_stat_age_us(f, f->held[i].oldest_us);

		if (held > oldest)
			oldest = held;
	}
	return oldest;
}

int64_t cli_stat_in_state_us(const stat_figures *f)
{
	return f->now_us -
	       (f->silent ? f->status.updated_us : f->status.since_us);
}

const char *cli_stat_relay_state(const stat_figures *f)
{
	if (!f->has_status)
		return "never ran";
	if (f->silent)
		return "not running";
	return wbi_relay_state_name((wb_relay_state)f->status.state);
}
