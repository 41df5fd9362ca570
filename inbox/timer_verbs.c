/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timers as the operator has them: listed, moved, cancelled. A timer that fires
 * in this moment is the worker's and is left alone; one that was set behind it
 * can be moved and cancelled like any other. A crash leaves what was committed.
 */
#include "inbox/timer.h"

#include <stdlib.h>

#include "lib/base/error.h"

/* ---- looking ------------------------------------------------------------ */

static wb_code timer_see(wb_str key, wb_str bytes, const wbi_work_id *id,
			 wbi_timer_visitor *each, void *ctx, bool *ret_go_on,
			 wb_error *err)
{
	wbi_timer_seen seen = {.handler = id->consumer};
	wbi_work row;
	wb_code code = wbi_work_decode(key, bytes, &row, err);

	if (code == WB_OK)
		code = wbi_timer_unpack(id, row.record, &seen.timer, err);
	if (code != WB_OK)
		return code;
	seen.next_us = row.due_us;
	seen.attempts = row.attempts;
	seen.firing = row.state == WBI_WORK_RUNNING;
	seen.queued = row.state == WBI_WORK_QUEUED;
	seen.text = row.text;
	*ret_go_on = each(ctx, &seen);
	return WB_OK;
}

static wb_code timer_walk(wbi_cursor *cursor, wb_str handler,
			  wbi_row_key *after, size_t most,
			  wbi_timer_visitor *each, void *ctx, wb_error *err)
{
	wb_str last = wbi_row_key_str(after), at = last, row;
	wbi_move move = WBI_SEEK;
	bool go_on = true;
	wbi_work_id id;
	wb_code code;

	for (size_t i = 0; i < most && go_on; move = WBI_NEXT) {
		code = wbi_cursor_move(cursor, move, &at, &row, err);
		if (code == WB_OK)
			code = wbi_work_key_parse(at, &id, err);
		if (code != WB_OK)
			return code;
		if (id.lane != WBI_LANE_TIMER ||
		    !wb_str_eq(id.consumer, handler))
			return WB_ENOTFOUND;
		if (move == WBI_SEEK && wb_str_eq(at, last))
			continue; /* the one that the last visit ended with */
		code = timer_see(at, row, &id, each, ctx, &go_on, err);
		if (code != WB_OK)
			return code;
		*after = wbi_work_key(&id);
		i++;
	}
	return WB_OK;
}

wb_code wbi_timer_visit(wb_store *store, wb_str handler, wbi_row_key *after,
			size_t most, wbi_timer_visitor *each, void *ctx,
			wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	wbi_cursor *cursor;
	MDB_txn *txn;
	wb_code code;

	if (handler.len == 0 || handler.len > WBI_CONSUMER_NAME_MAX)
		return WB_ENOTFOUND;
	if (after->len == 0)
		*after = wbi_work_lane_prefix(handler, WBI_LANE_TIMER);
	code = wbi_txn_begin(wb_store_env(store), false, &txn, err);
	if (code != WB_OK)
		return code;
	code = wbi_cursor_open(txn, tables->work, &cursor, err);
	if (code == WB_OK) {
		code = timer_walk(cursor, handler, after, most, each, ctx, err);
		wbi_cursor_close(cursor);
	}
	wbi_txn_abort(txn);
	return code;
}

/* ---- acting ------------------------------------------------------------- */

static wb_code timer_find_data(MDB_txn *txn, const wbi_store_tables *tables,
			       wb_str handler, wb_str name, char **ret_data,
			       size_t *ret_len, wb_error *err)
{
	const wbi_work_id id = {handler, WBI_LANE_TIMER, name, 0};
	wbi_work_id found;
	wb_timer timer;
	wbi_work row;
	wb_code code = wbi_work_first(txn, tables, &id, &found, &row, err);

	if (code == WB_OK && row.state == WBI_WORK_RUNNING) {
		found.consumer = handler;
		found.key = name;
		found.position++;
		code = wbi_work_get(txn, tables->work, &found, &row, err);
	}
	if (code == WB_OK)
		code = wbi_timer_unpack(&id, row.record, &timer, err);
	if (code != WB_OK)
		return code;
	*ret_data = malloc(timer.data.len + 1);
	if (!*ret_data)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a timer");
	memcpy(*ret_data, timer.data.ptr, timer.data.len);
	*ret_len = timer.data.len;
	return WB_OK;
}

static wb_code timer_audit(wb_store *store, MDB_txn *txn, const char *what,
			   wb_str handler, wb_str name, const wbi_actor *actor,
			   wb_error *err)
{
	const wb_clock *clock = wbi_store_clock(store);
	const wbi_audit audit = {.time_us = clock->real_us(clock->ctx),
				 .who = actor->who,
				 .what = wb_str_from(what),
				 .why = actor->why,
				 .key = name,
				 .handler = handler};

	return wbi_audit_add(txn, wbi_store_get_tables(store)->audit, &audit,
			     NULL, err);
}

static wb_code timer_absent(wb_str handler, wb_str name, wb_error *err)
{
	return WBI_FAIL(err, WB_ENOTFOUND,
			"handler '%.*s' has no timer '%.*s', or it is firing "
			"now: see `waybill timer ls`",
			(int)handler.len, handler.ptr, (int)name.len, name.ptr);
}

static bool timer_could_be(wb_str handler, wb_str name)
{
	return handler.len > 0 && handler.len <= WBI_CONSUMER_NAME_MAX &&
	       name.len > 0 && name.len <= WBI_TIMER_NAME_MAX;
}

static wb_code timer_finish(MDB_txn *txn, wb_code code, wb_str handler,
			    wb_str name, wb_error *err)
{
	if (code == WB_OK)
		return wbi_txn_commit(txn, err);
	wbi_txn_abort(txn);
	return code == WB_ENOTFOUND ? timer_absent(handler, name, err) : code;
}

wb_code wbi_timer_operator_move(wb_store *store, wb_str handler, wb_str name,
				int64_t due_us, const wbi_actor *actor,
				wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	char *data = NULL;
	size_t len = 0;
	MDB_txn *txn;
	wb_code code;

	if (!timer_could_be(handler, name))
		return timer_absent(handler, name, err);
	code = wbi_txn_begin(wb_store_env(store), true, &txn, err);
	if (code != WB_OK)
		return code;
	code = timer_find_data(txn, tables, handler, name, &data, &len, err);
	if (code == WB_OK)
		code = wbi_timer_set(txn, tables, handler, name, due_us,
				     wb_str_n(data, len), NULL, NULL, err);
	free(data);
	if (code == WB_OK)
		code = timer_audit(store, txn, "timer move", handler, name,
				   actor, err);
	return timer_finish(txn, code, handler, name, err);
}

wb_code wbi_timer_operator_cancel(wb_store *store, wb_str handler, wb_str name,
				  const wbi_actor *actor, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	const wb_clock *clock = wbi_store_clock(store);
	MDB_txn *txn;
	wb_code code;

	if (!timer_could_be(handler, name))
		return timer_absent(handler, name, err);
	code = wbi_txn_begin(wb_store_env(store), true, &txn, err);
	if (code != WB_OK)
		return code;
	code = wbi_timer_cancel(txn, tables, handler, name, NULL,
				clock->real_us(clock->ctx), err);
	if (code == WB_OK)
		code = timer_audit(store, txn, "timer cancel", handler, name,
				   actor, err);
	return timer_finish(txn, code, handler, name, err);
}
