/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sagas' tables in a check: each row is whole, and rows that speak of each
 * other agree. A saga that has not ended is in the index, and has what moves it
 * on: the timer of what it waits for, unless an operator took that away or its
 * participant said "later". Its log has no gap, its definition is there. An
 * action and its undo do not both stand. What is to be forgotten will be.
 *
 * All of it is of one snapshot. Reads only; state is the walk's.
 */
#include "lib/journal/walk_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include <waybill/saga.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "lib/base/text.h"
#include "lib/journal/parked.h"
#include "lib/journal/saga_rows.h"

enum {
	WALK_SEED = 0x7361,
	WALK_TIMER_SINCE = 16 /* a flow's timer: when it was set for, since */
};

#define WALK_ORCHESTRATOR "sagas"
#define WALK_FLOW "flow."

/* ---- names of rows ------------------------------------------------------- */

static void describe_id(const wbi_saga_id *id, char *ret, size_t size)
{
	char saga[100], name[60];

	wbi_text_show(id->id, saga, sizeof(saga));
	wbi_text_show(id->name, name, sizeof(name));
	snprintf(ret, size, "saga %s%s%s", saga, name[0] ? " of flow " : "",
		 name);
}

static void describe_saga(wb_str key, char *ret, size_t size)
{
	wbi_saga_id id;

	if (wbi_saga_key_parse(key, &id, NULL) == WB_OK)
		describe_id(&id, ret, size);
	else
		snprintf(ret, size, "a saga with %zu bytes of key", key.len);
}

static void describe_index(wb_str key, char *ret, size_t size)
{
	describe_saga(key.len > 9 ? wb_str_n(key.ptr + 9, key.len - 9)
				  : WB_STR_NULL,
		      ret, size);
}

/* The saga's key inside a key of its log. */
static wb_str log_saga(wb_str key)
{
	size_t len = key.len > 0 ? (uint8_t)key.ptr[0] : 0;

	return key.len == 1 + len + 8 ? wb_str_n(key.ptr + 1, len)
				      : WB_STR_NULL;
}

static void describe_log(wb_str key, char *ret, size_t size)
{
	describe_saga(log_saga(key), ret, size);
}

static void describe_barrier(wb_str key, char *ret, size_t size)
{
	char saga[100], step[100];
	wbi_barrier_id id;

	if (wbi_barrier_key_parse(key, &id, NULL) != WB_OK) {
		snprintf(ret, size, "a barrier with %zu bytes of key", key.len);
		return;
	}
	wbi_text_show(id.saga, saga, sizeof(saga));
	wbi_text_show(id.step, step, sizeof(step));
	snprintf(ret, size, "%s of step %s of saga %s",
		 id.op == WBI_BARRIER_DO ? "action" : "undo", step, saga);
}

/* ---- what moves a saga on ------------------------------------------------ */

/* Is there a timer of this name, whatever state it is in? */
static wb_code timer_is_there(const wbi_walk *w, wb_str handler, wb_str name,
			      bool *ret, wb_error *err)
{
	const wbi_work_id id = {handler, WBI_LANE_TIMER, name, 0};
	wbi_row_key prefix = wbi_work_group_prefix(&id);
	wb_str key = wbi_row_key_str(&prefix), row;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(w->txn, w->tables.work, &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move(cursor, WBI_SEEK, &key, &row, err);
	*ret = code == WB_OK && key.len >= prefix.len &&
	       !memcmp(key.ptr, prefix.bytes, prefix.len);
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* Only a finding asks: has an operator taken this timer away, or all that its
 * handler had? */
static wb_code timer_was_taken(const wbi_walk *w, wb_str handler, wb_str name,
			       bool *ret, wb_error *err)
{
	wbi_move move = WBI_FIRST;
	uint64_t number = 0;
	wbi_cursor *cursor;
	wbi_audit audit;
	wb_str row;
	wb_code code = wbi_cursor_open(w->txn, w->tables.audit, &cursor, err);

	*ret = false;
	for (; code == WB_OK && !*ret; move = WBI_NEXT) {
		code = wbi_cursor_move_at(cursor, move, &number, &row, err);
		if (code != WB_OK)
			break;
		if (wbi_audit_decode(number, row, &audit, NULL) == WB_OK)
			*ret = wb_str_eq(audit.handler, handler) &&
			       (audit.key.len == 0 ||
				wb_str_eq(audit.key, name));
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code saga_check_timer(const wbi_walk *w, wb_str handler, wb_str name,
				wb_error *err)
{
	bool found = false;
	wb_code code = timer_is_there(w, handler, name, &found, err);

	if (code == WB_OK && !found)
		code = timer_was_taken(w, handler, name, &found, err);
	if (code != WB_OK || found)
		return code;
	return WBI_FAIL(err, WB_ECORRUPT,
			"nothing moves it on: timer %.*s of handler %.*s is "
			"not there",
			(int)name.len, name.ptr, (int)handler.len, handler.ptr);
}

static wb_code saga_check_moved(const wbi_walk *w, const wbi_saga_id *id,
				const wbi_saga_row *s, wb_error *err)
{
	char handler[80], name[300];
	bool begun = s->step.len > 0;

	if (id->kind == WBI_SAGA_FLOW) {
		if (s->status != WB_SAGA_RUNNING)
			return WB_OK; /* it waits for what may never come */
		snprintf(handler, sizeof(handler), WALK_FLOW "%.*s",
			 (int)id->name.len, id->name.ptr);
		snprintf(name, sizeof(name), "%.*s/%.*s", (int)id->id.len,
			 id->id.ptr, (int)s->step.len, s->step.ptr);
		return saga_check_timer(w, wb_str_from(handler),
					wb_str_from(name), err);
	}
	/* One whose participant said "later" has no time of its own. */
	if (s->status == WB_SAGA_PARKED ||
	    (s->status == WB_SAGA_RUNNING && begun && s->deadline_us == 0))
		return WB_OK;
	snprintf(name, sizeof(name), "s/%.*s", (int)id->id.len, id->id.ptr);
	return saga_check_timer(w, wb_str_from(WALK_ORCHESTRATOR),
				wb_str_from(name), err);
}

/* ---- sagas --------------------------------------------------------------- */

static wb_code saga_check_index(const wbi_walk *w, wb_str key,
				const wbi_saga_row *s, wb_error *err)
{
	wbi_row_key at = {.len = 9};
	wb_code code;
	wb_str row;

	WB_ASSERT(9 + key.len <= sizeof(at.bytes));
	at.bytes[0] = s->status;
	wbi_put_be64(at.bytes + 1,
		     s->since_us > 0 ? (uint64_t)s->since_us : 0);
	memcpy(at.bytes + 9, key.ptr, key.len);
	at.len = (uint16_t)(9 + key.len);
	code = wbi_get(w->txn, w->tables.saga_index, wbi_row_key_str(&at),
		       &row, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it has not ended and is not in the index");
	return code;
}

/* What was counted last is there; that nothing before it is missing, the walk
 * of the log shows. */
static wb_code saga_check_log(const wbi_walk *w, const wbi_saga_id *id,
			      const wbi_saga_row *s, wb_error *err)
{
	wbi_row_key key = wbi_saga_log_prefix(id);
	wb_code code;
	wb_str row;

	if (s->entries == 0)
		return WB_OK;
	wbi_put_be64(key.bytes + key.len, s->entries);
	key.len = (uint16_t)(key.len + 8);
	code = wbi_get(w->txn, w->tables.saga_log, wbi_row_key_str(&key), &row,
		       err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it says that its log has %" PRIu64
				" entries, of which the last is not there",
				s->entries);
	return code;
}

static wb_code saga_check_orchestrated(const wbi_walk *w, const wbi_saga_row *s,
				       wb_error *err)
{
	wb_code code;
	wb_str row;

	if (s->machine.len == 0 || s->definition.len != WBI_SAGA_HASH_LEN)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it has no machine, or no definition's hash");
	code = wbi_get(w->txn, w->tables.saga_defs, s->definition, &row, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"its definition %.12s... is not there",
				s->definition.ptr);
	return code;
}

static wb_code walk_saga(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	bool final;
	wbi_saga_row s;
	wbi_saga_id id;
	wb_code code = wbi_saga_key_parse(key, &id, err);

	if (code == WB_OK)
		code = wbi_saga_decode(key, row, &s, err);
	if (code != WB_OK)
		return code;
	final = wbi_saga_status_is_final(s.status);
	w->sagas.open += !final;
	w->sagas.ended += final;
	if (id.kind == WBI_SAGA_FLOW && !wb_str_eq(id.name, s.name))
		return WBI_FAIL(err, WB_ECORRUPT, "its row is of flow %.*s",
				(int)s.name.len, s.name.ptr);
	if (id.kind == WBI_SAGA_ORCHESTRATED)
		code = saga_check_orchestrated(w, &s, err);
	if (code == WB_OK)
		code = saga_check_log(w, &id, &s, err);
	if (code == WB_OK && !final)
		code = saga_check_index(w, key, &s, err);
	if (code == WB_OK && !final)
		code = saga_check_moved(w, &id, &s, err);
	return code;
}

static wb_code walk_index(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	wbi_saga_row s;
	wbi_saga_id id;
	uint8_t status;
	int64_t since_us;
	wb_code code =
		wbi_saga_index_decode(key, row, &status, &since_us, &id, err);

	w->sagas.indexed++;
	if (code == WB_OK)
		code = wbi_saga_get(w->txn, &w->tables, &id, &s, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"the index has a saga that is not there");
	if (code == WB_OK && (s.status != status || s.since_us != since_us))
		return WBI_FAIL(err, WB_ECORRUPT,
				"the index has it in status %u since %" PRId64
				", its row in status %u since %" PRId64,
				status, since_us, s.status, s.since_us);
	return code;
}

static wb_code walk_log(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	wb_str saga = log_saga(key);
	bool same = saga.len > 0 && w->before.len == key.len &&
		    !memcmp(w->before.ptr, key.ptr, key.len - 8);
	uint64_t number = 0, before = 0;
	wbi_saga_entry entry;
	wbi_saga_row s;
	wbi_saga_id id;
	wb_code code = wbi_saga_log_decode(key, row, &number, &entry, err);

	if (code == WB_OK)
		code = wbi_saga_key_parse(saga, &id, err);
	if (code == WB_OK)
		code = wbi_saga_get(w->txn, &w->tables, &id, &s, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"its log is there, and it is not");
	if (code != WB_OK)
		return code;
	if (same)
		before = wbi_get_be64((const uint8_t *)w->before.ptr +
				      key.len - 8);
	if (number != before + 1)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a gap in its log: entry %" PRIu64
				" comes behind %" PRIu64,
				number, before);
	if (number > s.entries)
		return WBI_FAIL(err, WB_ECORRUPT,
				"its log has entry %" PRIu64 ", it says only "
				"%" PRIu64,
				number, s.entries);
	return WB_OK;
}

static wb_code walk_def(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	wb_str definition;
	wb_code code = wbi_saga_def_decode(key, row, &definition, err);

	(void)w;
	if (code == WB_OK &&
	    (key.len != WBI_SAGA_HASH_LEN || definition.len == 0))
		return WBI_FAIL(err, WB_ECORRUPT,
				"a definition of %zu bytes under a key of %zu",
				definition.len, key.len);
	return code;
}

/* ---- barriers and their end ---------------------------------------------- */

static wb_code barrier_check_undo(const wbi_walk *w, const wbi_barrier_id *id,
				  const wbi_barrier *undo, wb_error *err)
{
	wbi_barrier_id other = *id;
	wbi_barrier action;
	wb_code code;

	if (undo->state != WB_STEP_DONE || undo->tombstone)
		return WBI_FAIL(err, WB_ECORRUPT,
				"an undo of state %u, that only can be done",
				undo->state);
	other.op = WBI_BARRIER_DO;
	code = wbi_barrier_get(w->txn, &w->tables, &other, &action, err);
	if (code == WB_ENOTFOUND)
		return WB_OK; /* forgotten already */
	if (code == WB_OK && (action.state == WB_STEP_DONE ||
			      action.state == WB_STEP_PENDING))
		return WBI_FAIL(err, WB_ECORRUPT,
				"it is done, and what it undoes is %s still",
				action.state == WB_STEP_DONE ? "done"
							     : "pending");
	return code;
}

static wb_code walk_barrier(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	wbi_barrier_id id;
	wbi_barrier b;
	wb_code code = wbi_barrier_key_parse(key, &id, err);

	if (code == WB_OK)
		code = wbi_barrier_decode(key, row, &b, err);
	if (code != WB_OK)
		return code;
	w->sagas.barriers++;
	w->sagas.barrier_sum += wbi_hash(WALK_SEED, key.ptr, key.len);
	if (b.tombstone && b.state != WB_STEP_REFUSED)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it is a tombstone and in state %u", b.state);
	if (b.first_us > b.last_us)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it was last used before it was made");
	return id.op == WBI_BARRIER_UNDO ? barrier_check_undo(w, &id, &b, err)
					 : WB_OK;
}

static wb_code walk_expiry(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	wbi_expiry expiry;
	wb_code code = wbi_expiry_decode(key, row, &expiry, err);
	wb_str of;

	if (code != WB_OK)
		return code;
	if (expiry.what == 's') {
		w->sagas.expiries++;
		return WB_OK;
	}
	w->sagas.barrier_expiries++;
	w->sagas.barrier_sum -=
		wbi_hash(WALK_SEED, expiry.key.ptr, expiry.key.len);
	code = wbi_get(w->txn, w->tables.barriers, expiry.key, &of, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it is for a barrier that is not there");
	return code;
}

/* What only shows when all was seen. */
static void walk_sums(wbi_walk *w)
{
	w->table = "saga_index";
	if (w->sagas.indexed != w->sagas.open)
		wbi_walk_finding(w, WB_ECORRUPT, 0,
				 "%" PRIu64 " sagas have not ended, %" PRIu64
				 " are in the index",
				 w->sagas.open, w->sagas.indexed);
	w->table = "saga_expiry";
	if (w->sagas.barriers != w->sagas.barrier_expiries ||
	    w->sagas.barrier_sum != 0)
		wbi_walk_finding(w, WB_ECORRUPT, 0,
				 "%" PRIu64 " barriers, and times to forget "
				 "%" PRIu64 " of them: some would be kept for "
				 "ever",
				 w->sagas.barriers, w->sagas.barrier_expiries);
	if (w->sagas.expiries < w->sagas.ended)
		wbi_walk_finding(w, WB_ECORRUPT, 0,
				 "%" PRIu64 " sagas have ended, and there are "
				 "times to forget %" PRIu64 " of them: some "
				 "would be kept for ever",
				 w->sagas.ended, w->sagas.expiries);
	w->table = "";
}

/* ---- timers -------------------------------------------------------------- */

/* The saga that a timer is for; false: it is none of a saga's. A flow's binding
 * may set timers of its own: a flow's own one says since when it waits. */
static bool timer_saga(const wbi_work_id *id, const wbi_work *work,
		       wbi_saga_id *ret)
{
	static const char flow[] = WALK_FLOW;
	wb_str name = id->key;
	size_t slash = name.len;

	if (wb_str_eq(id->consumer, wb_str_from(WALK_ORCHESTRATOR))) {
		if (name.len < 3 || name.ptr[1] != '/' ||
		    (name.ptr[0] != 's' && name.ptr[0] != 'd'))
			return false;
		*ret = (wbi_saga_id){.kind = WBI_SAGA_ORCHESTRATED,
				     .id = wb_str_n(name.ptr + 2,
						    name.len - 2)};
		return ret->id.len <= WBI_SAGA_ID_MAX;
	}
	if (id->consumer.len < sizeof(flow) ||
	    memcmp(id->consumer.ptr, flow, sizeof(flow) - 1) != 0 ||
	    work->record.len != WALK_TIMER_SINCE)
		return false;
	while (slash > 0 && name.ptr[slash - 1] != '/')
		slash--;
	if (slash < 2 || slash - 1 > WBI_SAGA_ID_MAX)
		return false;
	ret->kind = WBI_SAGA_FLOW;
	ret->id = wb_str_n(name.ptr, slash - 1);
	ret->name = wb_str_n(id->consumer.ptr + sizeof(flow) - 1,
			     id->consumer.len - (sizeof(flow) - 1));
	return ret->name.len <= WBI_SAGA_NAME_MAX;
}

wb_code wbi_walk_saga_timer(const wbi_walk *w, const wbi_work_id *id,
			    const wbi_work *work, wb_error *err)
{
	wbi_row_key key;
	wbi_saga_id saga;
	wb_code code;
	wb_str row;

	if (w->present < WBI_TABLES_ALL || !timer_saga(id, work, &saga))
		return WB_OK;
	key = wbi_saga_key(&saga);
	code = wbi_get(w->txn, w->tables.sagas, wbi_row_key_str(&key), &row,
		       err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a timer of a saga that is not there");
	return code;
}

/* ---- all of them --------------------------------------------------------- */

wb_code wbi_walk_sagas(wbi_walk *w, wb_error *err)
{
	const wbi_store_tables *t = &w->tables;
	const wbi_walk_rows tables[] = {
		{"sagas", t->sagas, false, walk_saga, describe_saga},
		{"saga_index", t->saga_index, false, walk_index,
		 describe_index},
		{"saga_log", t->saga_log, false, walk_log, describe_log},
		{"saga_defs", t->saga_defs, false, walk_def, NULL},
		{"barriers", t->barriers, false, walk_barrier,
		 describe_barrier},
		{"saga_expiry", t->saga_expiry, false, walk_expiry, NULL},
	};
	wb_code code = WB_OK;

	w->file = WBI_WALK_MAIN;
	for (size_t i = 0; i < WBI_COUNT(tables) && code == WB_OK; i++)
		code = wbi_walk_table(w, w->txn, &tables[i], err);
	if (code == WB_OK)
		walk_sums(w);
	return code;
}
