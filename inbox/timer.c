/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A timer's row has its name for a key. Its position is 0, unless it was set
 * while the one before fired: then it is one more than that one's, so that the
 * outcome of the call that fires is never taken for the new one's.
 *
 * What a handler sets in its transaction, or wishes for in an external call, is
 * durable with the outcome of the call; a crash before leaves nothing of it.
 */
#include "inbox/timer.h"

#include <stdlib.h>

#include "inbox/call.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

wb_code wbi_timer_check(wb_str name, int64_t due_us, size_t data_len,
			wb_error *err)
{
	size_t at;

	if (name.len == 0 || name.len > WBI_TIMER_NAME_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"a timer's name has 1 to %d bytes, not %zu",
				(int)WBI_TIMER_NAME_MAX, name.len);
	if (!wbi_text_is_clean(name, &at))
		return WBI_FAIL(err, WB_EINVAL,
				"a timer's name is UTF-8 without control "
				"characters: look at byte %zu",
				at);
	if (due_us <= 0)
		return WBI_FAIL(err, WB_EINVAL,
				"timer '%.*s': its time is before 1970: it "
				"takes microseconds since then, UTC",
				(int)name.len, name.ptr);
	if (data_len > WBI_TIMER_DATA_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"timer '%.*s': %zu bytes of data, at most %d: "
				"keep them in a table, and its key here",
				(int)name.len, name.ptr, data_len,
				(int)WBI_TIMER_DATA_MAX);
	return WB_OK;
}

/* The row of a name that would still come; WB_ENOTFOUND. *ret_at is where it
 * is, or where one would go. */
static wb_code timer_find(MDB_txn *txn, const wbi_store_tables *tables,
			  const wbi_work_id *firing, wbi_work_id *at,
			  wb_error *err)
{
	wbi_work_id first;
	wbi_work row;
	wb_code code;

	at->position = 0;
	code = wbi_work_first(txn, tables, at, &first, &row, err);
	if (code != WB_OK)
		return code;
	at->position = first.position;
	if (row.state == WBI_WORK_RUNNING ||
	    (firing && firing->position == first.position)) {
		at->position++;
		return wbi_work_get(txn, tables->work, at, &row, err);
	}
	return WB_OK;
}

wb_code wbi_timer_set(MDB_txn *txn, const wbi_store_tables *tables,
		      wb_str consumer, wb_str name, int64_t due_us, wb_str data,
		      const wbi_work_id *firing, bool *ret_replaced,
		      wb_error *err)
{
	wbi_work_id id = {consumer, WBI_LANE_TIMER, name, 0};
	wbi_work row = {.state = WBI_WORK_WAITING, .due_us = due_us};
	bool replaced;
	uint8_t *record;
	wb_code code = wbi_timer_check(name, due_us, data.len, err);

	if (code != WB_OK)
		return code;
	code = timer_find(txn, tables, firing, &id, err);
	replaced = code == WB_OK;
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	record = malloc(WBI_TIMER_HEAD + data.len);
	if (!record)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a timer");
	wbi_put_le64(record, (uint64_t)due_us);
	if (data.len > 0)
		memcpy(record + WBI_TIMER_HEAD, data.ptr, data.len);
	row.record = wb_str_n(record, WBI_TIMER_HEAD + data.len);
	code = replaced ? wbi_work_change(txn, tables, &id, &row, 0, err)
			: wbi_work_add(txn, tables, &id, &row, err);
	free(record);
	if (code == WB_OK && ret_replaced)
		*ret_replaced = replaced;
	return code;
}

wb_code wbi_timer_cancel(MDB_txn *txn, const wbi_store_tables *tables,
			 wb_str consumer, wb_str name,
			 const wbi_work_id *firing, int64_t now_us,
			 wb_error *err)
{
	wbi_work_id id = {consumer, WBI_LANE_TIMER, name, 0};
	wb_code code;

	if (name.len == 0 || name.len > WBI_TIMER_NAME_MAX)
		return WB_ENOTFOUND;
	code = timer_find(txn, tables, firing, &id, err);
	if (code != WB_OK)
		return code;
	return wbi_work_done(txn, tables, &id, now_us, err);
}

/* ---- in a call ---------------------------------------------------------- */

/* The call's own timer, if it is one of this name. */
static const wbi_work_id *timer_firing(const wb_call *call, wb_str name)
{
	bool same = call->id.lane == WBI_LANE_TIMER &&
		    wb_str_eq(call->id.key, name);

	return same ? &call->id : NULL;
}

static wb_code timer_set(wb_call *call, wb_str name, int64_t due_us,
			 wb_str data, wb_error *err)
{
	bool replaced = false;
	wb_code code;

	if (call->later) {
		code = wbi_timer_check(name, due_us, data.len, err);
		return code != WB_OK
			       ? code
			       : wbi_later_timer_set(call->later, name, due_us,
						     data, err);
	}
	code = wbi_call_wrote(
		call,
		wbi_timer_set(call->txn, call->tables, call->id.consumer, name,
			      due_us, data, timer_firing(call, name), &replaced,
			      err),
		err);
	if (code != WB_OK)
		return code;
	call->timers_set++;
	call->timers_gone += replaced;
	return WB_OK;
}

wb_code wb_timer_set(wb_call *call, wb_str name, int64_t due_us, wb_str data,
		     wb_error *err)
{
	wb_error own = WB_ERROR_INIT;
	wb_code code;

	if (!call)
		return WBI_FAIL(err, WB_EINVAL, "timer: call is NULL");
	if (!call->handler->timer)
		return WBI_FAIL(err, WB_EINVAL,
				"handler '%s' has no `timer` function: nothing "
				"would take the timer when it is due",
				call->handler->name);
	code = timer_set(call, name, due_us, data, &own);
	wbi_error_pass(err, &own);
	return code;
}

wb_code wb_timer_cancel(wb_call *call, wb_str name, wb_error *err)
{
	wb_error own = WB_ERROR_INIT;
	wb_code code;

	if (!call)
		return WBI_FAIL(err, WB_EINVAL, "timer: call is NULL");
	if (call->later) {
		code = wbi_later_timer_cancel(call->later, name, err);
		return code;
	}
	code = wbi_call_wrote(
		call,
		wbi_timer_cancel(call->txn, call->tables, call->id.consumer,
				 name, timer_firing(call, name), call->now_us,
				 &own),
		&own);
	wbi_error_pass(err, &own);
	if (code == WB_OK)
		call->timers_gone++;
	return code;
}
