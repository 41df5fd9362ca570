/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rules of groups are in work.c; here is what an operator does with them.
 * Each letter is one nested transaction with its audit row, so that one that
 * cannot be done takes nothing back of those before it, and their commit is
 * one. No state. A crash leaves the letters of whole commits done.
 */
#include "inbox/dead.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "inbox/ingest.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/event/raw.h"

enum { DEAD_TXN_US = 1000, DEAD_HEADERS_MAX = 1024 };

/* ---- looking ------------------------------------------------------------ */

static bool dead_is(wb_str wanted, wb_str found)
{
	return wanted.len == 0 || wb_str_eq(wanted, found);
}

bool wbi_dead_matches(const wbi_dead_filter *filter, const wbi_dead *row)
{
	bool none = wb_str_eq(filter->handler, wb_str_n("-", 1));

	if (filter->reason != 0 && filter->reason != row->reason)
		return false;
	if (none ? row->consumer.len > 0
		 : !dead_is(filter->handler, row->consumer))
		return false;
	if (filter->after_us != 0 && row->last_us < filter->after_us)
		return false;
	if (filter->before_us != 0 && row->last_us >= filter->before_us)
		return false;
	return dead_is(filter->key, row->key) && dead_is(filter->id, row->id);
}

static wb_code dead_walk(wbi_cursor *cursor, const wbi_dead_filter *filter,
			 uint64_t *number, size_t most, wbi_dead_visitor *each,
			 void *ctx, wb_error *err)
{
	uint64_t at = *number + 1;
	wbi_move move = WBI_SEEK;
	wb_code code = WB_OK;
	wbi_dead dead;
	wb_str row;

	for (size_t i = 0; i < most; i++, move = WBI_NEXT) {
		code = wbi_cursor_move_at(cursor, move, &at, &row, err);
		if (code == WB_OK)
			code = wbi_dead_decode(at, row, &dead, err);
		if (code != WB_OK)
			return code;
		*number = at;
		if (wbi_dead_matches(filter, &dead) && !each(ctx, at, &dead))
			return WB_OK;
	}
	return WB_OK;
}

wb_code wbi_dead_visit(wb_store *store, const wbi_dead_filter *filter,
		       uint64_t *number, size_t most, wbi_dead_visitor *each,
		       void *ctx, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	wbi_cursor *cursor;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wb_store_env(store), false, &txn, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_open(txn, tables->dead, &cursor, err);
	if (code == WB_OK) {
		code = dead_walk(cursor, filter, number, most, each, ctx, err);
		wbi_cursor_close(cursor);
	}
	wbi_txn_abort(txn);
	return code;
}

/* ---- acting ------------------------------------------------------------- */

static int64_t dead_now_us(const wb_store *store)
{
	const wb_clock *clock = wbi_store_clock(store);

	return clock->real_us(clock->ctx);
}

/* What the worker's own time is: ids are remembered by it. */
static wb_code dead_age(const wbi_store_tables *tables, MDB_txn *txn,
			uint64_t *ret, wb_error *err)
{
	wbi_ingest_status status = {.age_us = 0};
	wb_code code = wbi_ingest_status_get(txn, tables->status, &status, err);

	*ret = status.age_us;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* A message as it came, taken in now; `bytes` is not in the map. */
static wb_code dead_take_in(wb_store *store, MDB_txn *txn,
			    const wbi_dead_how *how, wb_str bytes,
			    wb_error *err)
{
	static const wb_limits defaults = {0};
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	wb_header *headers = calloc(DEAD_HEADERS_MAX, sizeof(*headers));
	uint64_t age_us = 0, position;
	wb_message message;
	wb_code code;

	if (!headers)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a message");
	code = wbi_raw_decode(bytes, headers, DEAD_HEADERS_MAX, &message, err);
	if (code == WB_OK)
		code = dead_age(tables, txn, &age_us, err);
	if (code == WB_OK)
		code = wbi_ingest_message(store, txn, &message,
					  how->id_from_body,
					  how->limits ? how->limits : &defaults,
					  age_us, &position, err);
	free(headers);
	return code;
}

/* The texts of a letter that its audit row, or its way back, needs. */
typedef struct dead_kept {
	wb_str consumer, key, id, bytes;
	uint64_t position;
	uint8_t lane;
	char *block;
} dead_kept;

static wb_code dead_keep(const wbi_dead *dead, dead_kept *ret, wb_error *err)
{
	const dead_kept from = {dead->consumer, dead->key,
				dead->id,       dead->lane ? WB_STR_NULL
							   : dead->bytes,
				dead->position, dead->lane,
				NULL};
	wb_str *strings[] = {&ret->consumer, &ret->key, &ret->id, &ret->bytes};
	char *at;

	*ret = from;
	at = malloc(from.consumer.len + from.key.len + from.id.len +
		    from.bytes.len + 1);
	if (!at)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a dead letter");
	ret->block = at;
	for (size_t i = 0; i < WBI_COUNT(strings); i++) {
		if (strings[i]->len > 0)
			memcpy(at, strings[i]->ptr, strings[i]->len);
		strings[i]->ptr = at;
		at += strings[i]->len;
	}
	return WB_OK;
}

static wb_code dead_verb(wb_store *store, MDB_txn *txn,
			 const wbi_dead_how *how, uint64_t number,
			 const dead_kept *kept, int64_t now_us, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	wb_code code;

	if (how->verb == WBI_DEAD_DISCARD)
		return wbi_work_bury(txn, tables, number, now_us, err);
	if (kept->lane != 0)
		return wbi_work_revive(txn, tables, number, now_us, err);
	code = dead_take_in(store, txn, how, kept->bytes, err);
	return code == WB_OK ? wbi_dead_del(txn, tables->dead, number, err)
			     : code;
}

static wb_code dead_one(wb_store *store, MDB_txn *txn, const wbi_dead_how *how,
			uint64_t number, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	bool discard = how->verb == WBI_DEAD_DISCARD;
	wbi_audit audit = {.time_us = dead_now_us(store),
			   .who = how->actor.who,
			   .what = wb_str_from(discard ? "dead discard"
						       : "dead retry"),
			   .why = how->actor.why,
			   .number = number};
	dead_kept kept;
	wbi_dead dead;
	wb_code code = wbi_dead_get(txn, tables->dead, number, &dead, err);

	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ENOTFOUND,
				"there is no such dead letter (any more)");
	if (code == WB_OK)
		code = dead_keep(&dead, &kept, err);
	if (code != WB_OK)
		return code;
	code = dead_verb(store, txn, how, number, &kept, audit.time_us, err);
	audit.position = kept.position;
	audit.handler = kept.consumer;
	audit.key = kept.key;
	audit.id = kept.id;
	if (code == WB_OK)
		code = wbi_audit_add(txn, tables->audit, &audit, NULL, err);
	free(kept.block);
	return code;
}

/* One letter, all or nothing. An error is fatal to the whole transaction. */
static wb_code dead_try(wb_store *store, MDB_txn *txn, const wbi_dead_how *how,
			wbi_dead_item *item, wb_error *err)
{
	wb_error own = WB_ERROR_INIT;
	MDB_txn *nested;
	wb_code code = wbi_txn_nest(txn, &nested, err);

	if (code != WB_OK)
		return code;
	code = dead_one(store, nested, how, item->number, &own);
	if (code == WB_OK)
		code = wbi_txn_commit(nested, &own);
	else
		wbi_txn_abort(nested);
	item->done = code == WB_OK;
	item->code = code;
	if (code == WB_OK)
		return WB_OK;
	snprintf(item->text, sizeof(item->text), "%.255s",
		 own.text[0] ? own.text : wb_code_text(code));
	if (own.class_ == WB_CLASS_REJECT)
		return WB_OK;
	wbi_error_pass(err, &own);
	return code;
}

wb_code wbi_dead_act(wb_store *store, const wbi_dead_how *how,
		     wbi_dead_item *items, size_t count, size_t *ret_count,
		     wb_error *err)
{
	const wb_clock *clock = wbi_store_clock(store);
	int64_t most_us = how->txn_us > 0 ? how->txn_us : DEAD_TXN_US;
	int64_t start_us;
	size_t i = 0;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wb_store_env(store), true, &txn, err);

	WB_ASSERT(count > 0);
	if (code != WB_OK)
		return code;
	start_us = clock->mono_us(clock->ctx); /* now it has the lock */
	while (code == WB_OK && i < count) {
		code = dead_try(store, txn, how, &items[i++], err);
		if (clock->mono_us(clock->ctx) - start_us >= most_us)
			break;
	}
	if (code == WB_OK)
		code = wbi_txn_commit(txn, err);
	else
		wbi_txn_abort(txn);
	for (size_t j = 0; code != WB_OK && j < i; j++)
		items[j].done = false;
	if (code == WB_OK)
		*ret_count = i;
	return code;
}
