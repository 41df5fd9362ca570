/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The barrier's rules (barrier.h). Two rows make them: the action's and the
 * undo's. An undo that finds no action writes both, the action's as a
 * tombstone; an action that finds its own row does nothing. Since they are
 * written in the transaction of the step, a crash leaves the step with its row
 * or neither.
 *
 * Every row has one entry in `saga_expiry`, made with it. When that comes up
 * and the row was used since, it is put off by what is left; so using a row
 * again costs nothing, and pruning a bounded amount per call.
 */
#include "saga/barrier.h"

#include <waybill/saga.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"

static wbi_barrier_id barrier_other(const wbi_barrier_id *id)
{
	wbi_barrier_id other = *id;

	other.op = id->op == WBI_BARRIER_DO ? WBI_BARRIER_UNDO : WBI_BARRIER_DO;
	return other;
}

/* Write a row; a new one gets its expiry. */
static wb_code barrier_write(const wbi_barrier_scope *scope,
			     const wbi_barrier_id *id, const wbi_barrier *row,
			     wb_error *err)
{
	wbi_row_key key = wbi_barrier_key(id);
	wbi_barrier next = *row, old;
	wbi_expiry expiry = {.at_us = scope->now_us + scope->keep_us,
			     .what = 'b',
			     .key = wbi_row_key_str(&key)};
	wb_code code =
		wbi_barrier_get(scope->txn, scope->tables, id, &old, err);
	bool is_new = code == WB_ENOTFOUND;

	if (code != WB_OK && !is_new)
		return code;
	next.first_us = is_new ? scope->now_us : old.first_us;
	next.last_us = scope->now_us;
	code = wbi_barrier_put(scope->txn, scope->tables, id, &next, err);
	if (code == WB_OK && is_new)
		code = wbi_expiry_put(scope->txn, scope->tables, &expiry, err);
	return code;
}

static wb_code barrier_ask_do(const wbi_barrier *row, uint32_t epoch,
			      wbi_barrier_answer *ret)
{
	if (row->tombstone)
		*ret = WBI_BARRIER_REFUSED;
	else if (epoch != 0 && epoch < row->epoch)
		*ret = WBI_BARRIER_STALE;
	else
		*ret = WBI_BARRIER_DUPLICATE;
	return WB_OK;
}

/* Nothing to take back. Say so for good: also to the action, should it come. */
static wb_code barrier_nothing(const wbi_barrier_scope *scope,
			       const wbi_barrier_id *id, uint32_t epoch,
			       bool no_action, wb_error *err)
{
	wbi_barrier_id action = barrier_other(id);
	wbi_barrier row = {
		.state = WB_STEP_REFUSED, .tombstone = true, .epoch = epoch};
	wb_code code = WB_OK;

	if (no_action)
		code = barrier_write(scope, &action, &row, err);
	row = (wbi_barrier){.state = WB_STEP_DONE, .epoch = epoch};
	if (code == WB_OK)
		code = barrier_write(scope, id, &row, err);
	return code;
}

static wb_code barrier_ask_undo(const wbi_barrier_scope *scope,
				const wbi_barrier_id *id, uint32_t epoch,
				wbi_barrier_answer *ret_answer,
				wbi_barrier *ret, wb_error *err)
{
	wbi_barrier_id action = barrier_other(id);
	wb_code code =
		wbi_barrier_get(scope->txn, scope->tables, &action, ret, err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	if (code == WB_OK && epoch != 0 && epoch < ret->epoch) {
		*ret_answer = WBI_BARRIER_STALE;
		return WB_OK;
	}
	if (code == WB_OK &&
	    (ret->state == WB_STEP_DONE || ret->state == WB_STEP_PENDING)) {
		*ret_answer = WBI_BARRIER_GO;
		return WB_OK;
	}
	*ret_answer = WBI_BARRIER_NOTHING;
	return barrier_nothing(scope, id, epoch, code == WB_ENOTFOUND, err);
}

wb_code wbi_barrier_ask(const wbi_barrier_scope *scope,
			const wbi_barrier_id *id, uint32_t epoch,
			wbi_barrier_answer *ret_answer, wbi_barrier *ret,
			wb_error *err)
{
	wb_code code = wbi_barrier_get(scope->txn, scope->tables, id, ret, err);

	if (code == WB_OK && id->op == WBI_BARRIER_DO)
		return barrier_ask_do(ret, epoch, ret_answer);
	if (code == WB_OK) {
		*ret_answer = epoch != 0 && epoch < ret->epoch
				      ? WBI_BARRIER_STALE
				      : WBI_BARRIER_DUPLICATE;
		return WB_OK;
	}
	if (code != WB_ENOTFOUND)
		return code;
	if (id->op == WBI_BARRIER_UNDO)
		return barrier_ask_undo(scope, id, epoch, ret_answer, ret, err);
	*ret_answer = WBI_BARRIER_GO;
	return WB_OK;
}

wb_code wbi_barrier_acted(const wbi_barrier_scope *scope,
			  const wbi_barrier_id *id, const wbi_barrier *row,
			  wb_error *err)
{
	WB_ASSERT(id->op == WBI_BARRIER_DO && !row->tombstone);
	return barrier_write(scope, id, row, err);
}

wb_code wbi_barrier_undone(const wbi_barrier_scope *scope,
			   const wbi_barrier_id *id, const wbi_barrier *row,
			   wb_error *err)
{
	wbi_barrier_id action = barrier_other(id);
	wbi_barrier old;
	wb_code code;

	WB_ASSERT(id->op == WBI_BARRIER_UNDO && row->state == WB_STEP_DONE);
	code = barrier_write(scope, id, row, err);
	if (code == WB_OK)
		code = wbi_barrier_get(scope->txn, scope->tables, &action, &old,
				       err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(
			err, WB_ECORRUPT,
			"saga %.*s: step %.*s was undone and has no row",
			(int)id->saga.len, id->saga.ptr, (int)id->step.len,
			id->step.ptr);
	if (code != WB_OK)
		return code;
	WB_ASSERT(old.state == WB_STEP_DONE || old.state == WB_STEP_PENDING);
	old.state = WB_STEP_UNDONE;
	if (row->epoch > old.epoch)
		old.epoch = row->epoch;
	return barrier_write(scope, &action, &old, err);
}

wb_code wbi_barrier_forbid(const wbi_barrier_scope *scope,
			   const wbi_barrier_id *id, uint32_t epoch,
			   wb_error *err)
{
	wbi_barrier row;
	wb_code code =
		wbi_barrier_get(scope->txn, scope->tables, id, &row, err);

	WB_ASSERT(id->op == WBI_BARRIER_DO);
	if (code == WB_OK)
		return WB_EEXISTS;
	if (code != WB_ENOTFOUND)
		return code;
	row = (wbi_barrier){
		.state = WB_STEP_REFUSED, .tombstone = true, .epoch = epoch};
	return barrier_write(scope, id, &row, err);
}

/* ---- forgetting ---------------------------------------------------------- */

/* *ret_last_us: when the row was last used; 0: it is not there any more. */
static wb_code prune_last_use(const wbi_barrier_scope *scope,
			      const wbi_expiry *expiry, int64_t *ret_last_us,
			      bool *ret_open, wb_error *err)
{
	wbi_barrier barrier;
	wbi_saga_row saga;
	wb_str row;
	wb_code code;

	*ret_last_us = 0;
	*ret_open = false;
	code = wbi_get(scope->txn,
		       expiry->what == 'b' ? scope->tables->barriers
					   : scope->tables->sagas,
		       expiry->key, &row, err);
	if (code == WB_ENOTFOUND)
		return WB_OK;
	if (code == WB_OK && expiry->what == 'b') {
		code = wbi_barrier_decode(expiry->key, row, &barrier, err);
		if (code == WB_OK) {
			*ret_last_us = barrier.last_us;
			*ret_open = barrier.state == WB_STEP_PENDING;
		}
	} else if (code == WB_OK) {
		code = wbi_saga_decode(expiry->key, row, &saga, err);
		if (code == WB_OK) {
			*ret_last_us = saga.changed_us;
			*ret_open = !wbi_saga_status_is_final(saga.status);
		}
	}
	return code;
}

static wb_code prune_remove(const wbi_barrier_scope *scope,
			    const wbi_expiry *expiry, wb_error *err)
{
	wbi_barrier_id barrier;
	wbi_saga_id saga;
	wb_code code;

	if (expiry->what == 'b') {
		code = wbi_barrier_key_parse(expiry->key, &barrier, err);
		if (code == WB_OK)
			code = wbi_barrier_del(scope->txn, scope->tables,
					       &barrier, err);
		return code;
	}
	code = wbi_saga_key_parse(expiry->key, &saga, err);
	if (code == WB_OK)
		code = wbi_saga_del(scope->txn, scope->tables, &saga, err);
	return code;
}

static wb_code prune_one(const wbi_barrier_scope *scope, wbi_expiry *expiry,
			 wb_error *err)
{
	int64_t last_us = 0;
	bool open = false;
	wb_code code = prune_last_use(scope, expiry, &last_us, &open, err);

	if (code == WB_OK)
		code = wbi_expiry_del(scope->txn, scope->tables, expiry, err);
	if (code != WB_OK || last_us == 0)
		return code;
	if (!open && scope->now_us - last_us >= scope->keep_us)
		return prune_remove(scope, expiry, err);
	expiry->at_us = (open ? scope->now_us : last_us) + scope->keep_us;
	return wbi_expiry_put(scope->txn, scope->tables, expiry, err);
}

wb_code wbi_barrier_prune(const wbi_barrier_scope *scope, uint32_t most,
			  wb_error *err)
{
	wb_code code = WB_OK;

	for (uint32_t i = 0; i < most && code == WB_OK; i++) {
		wbi_expiry expiry;
		wbi_row_key key;

		code = wbi_expiry_first(scope->txn, scope->tables,
					scope->now_us, &key, &expiry, err);
		if (code == WB_OK)
			code = prune_one(scope, &expiry, err);
	}
	return code == WB_ENOTFOUND ? WB_OK : code;
}

wb_code wbi_barrier_saga_ended(const wbi_barrier_scope *scope,
			       const wbi_saga_id *id, wb_error *err)
{
	wbi_row_key key = wbi_saga_key(id);
	wbi_expiry expiry = {.at_us = scope->now_us + scope->keep_us,
			     .what = 's',
			     .key = wbi_row_key_str(&key)};

	return wbi_expiry_put(scope->txn, scope->tables, &expiry, err);
}
