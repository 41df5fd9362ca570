/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading sagas. Those that have not ended stand in an index by status and
 * since when, which is what an operator asks for: parked ones and old ones are
 * found without looking at the others. A transaction looks at SLICE rows, and
 * a list goes on behind the last key, whatever has changed meanwhile. One
 * thread; nothing is kept.
 */
#include "cli/saga.h"

#include <stdlib.h>

#include <waybill/saga.h>

#include "cli/print.h"
#include "cli/when.h"
#include "inbox/work.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "saga/machine.h"
#include "saga/orchestrator.h"

enum { SLICE = 256, LATE_US = 5000000 };

#define BIT(status) (1u << (status))
#define OPEN                                                                  \
	(BIT(WB_SAGA_RUNNING) | BIT(WB_SAGA_COMPENSATING) | BIT(WB_SAGA_PARKED))

const char *const cli_saga_states[] = {
	"open",      "running",     "compensating", "parked",
	"completed", "compensated", "abandoned",    "all", NULL};

const char *const cli_saga_ways[] = {"any", "orchestration", "choreography",
				     NULL};

const char *cli_saga_way(uint8_t kind)
{
	return cli_saga_ways[kind == WBI_SAGA_ORCHESTRATED ? 1 : 2];
}

/* ---- which are meant ---------------------------------------------------- */

int cli_saga_filter_of(cli_context *ctx, const cli_saga_options *o,
		       cli_saga_filter *ret)
{
	/* In the order of cli_saga_states. */
	static const uint32_t statuses[] = {
		OPEN,
		BIT(WB_SAGA_RUNNING),
		BIT(WB_SAGA_COMPENSATING),
		BIT(WB_SAGA_PARKED),
		BIT(WB_SAGA_COMPLETED),
		BIT(WB_SAGA_COMPENSATED),
		BIT(WB_SAGA_ABANDONED),
		UINT32_MAX};
	static const uint8_t ways[] = {0, WBI_SAGA_ORCHESTRATED, WBI_SAGA_FLOW};

	*ret = (cli_saga_filter){.statuses = statuses[o->state],
				 .by = ways[o->by],
				 .kind = wb_str_from(o->kind),
				 .step = wb_str_from(o->step),
				 .stuck = o->stuck,
				 .now_us = cli_real_us()};
	if (o->stuck && !(ret->statuses & OPEN))
		return cli_usage(ctx, "--stuck: a saga that has ended is not");
	return cli_when_flag(ctx, "age", o->age, &ret->since_us);
}

bool cli_saga_is_filtered(const cli_saga_options *o)
{
	return o->state != 0 || o->by != 0 || o->kind || o->step || o->age ||
	       o->stuck;
}

static bool filter_matches(const cli_saga_filter *f, const wbi_saga_id *id,
			   const wbi_saga_row *row)
{
	if (!(f->statuses & BIT(row->status)) || (f->by && id->kind != f->by))
		return false;
	if (f->kind.len > 0 && !wb_str_eq(f->kind, row->name))
		return false;
	if (f->step.len > 0 && !wb_str_eq(f->step, row->step))
		return false;
	return f->since_us == 0 || row->since_us <= f->since_us;
}

/* ---- where a list goes on ----------------------------------------------- */

char *cli_saga_place_text(const cli_saga_place *place, char ret[1024])
{
	static const char digits[] = "0123456789abcdef";
	const wbi_row_key *key = &place->key;

	for (size_t i = 0; i < key->len; i++) {
		ret[2 * i] = digits[key->bytes[i] >> 4];
		ret[2 * i + 1] = digits[key->bytes[i] & 15];
	}
	ret[2 * (size_t)key->len] = '\0';
	return ret;
}

bool cli_saga_place_parse(const char *text, cli_saga_place *ret)
{
	size_t len = strlen(text);

	if (len < 2 || len % 2 != 0 || len / 2 > sizeof(ret->key.bytes))
		return false;
	for (size_t i = 0; i < len; i += 2) {
		int high = cli_hex_digit(text[i]);
		int low = cli_hex_digit(text[i + 1]);

		if (high < 0 || low < 0)
			return false;
		ret->key.bytes[i / 2] = (uint8_t)(high << 4 | low);
	}
	ret->key.len = (uint16_t)(len / 2);
	ret->begun = true;
	return true;
}

/* ---- its time ----------------------------------------------------------- */

static wb_str deadline_timer(const wbi_saga_id *id, const wbi_saga_row *row,
			     char name[256])
{
	if (id->kind == WBI_SAGA_ORCHESTRATED)
		return wb_str_from(wbi_saga_timer_name('s', id->id, name));
	snprintf(name, 256, "%.*s/%.*s", (int)id->id.len, id->id.ptr,
		 (int)row->step.len, row->step.ptr);
	return wb_str_from(name);
}

wb_code cli_saga_deadline(MDB_txn *txn, const wbi_store_tables *tables,
			  const wbi_saga_id *id, const wbi_saga_row *row,
			  int64_t now_us, int64_t *ret_us, bool *ret_late,
			  wb_error *err)
{
	char handler[128], name[256];
	wbi_work_id at = {wbi_order_handler(id, handler), WBI_LANE_TIMER,
			  deadline_timer(id, row, name), 0},
		    found;
	wbi_work work;
	wb_code code;

	*ret_us = row->deadline_us;
	*ret_late = false;
	if (row->deadline_us == 0 || wbi_saga_status_is_final(row->status))
		return WB_OK;
	code = wbi_work_first(txn, tables, &at, &found, &work, err);
	if (code == WB_OK && work.due_us > 0)
		*ret_us = work.due_us;
	*ret_late = *ret_us + LATE_US <= now_us;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* ---- visiting ----------------------------------------------------------- */

typedef struct visit {
	const wbi_store_tables *tables;
	const cli_saga_filter *filter;
	cli_saga_place *place;
	cli_see_saga *each;
	void *ctx;
	MDB_txn *txn;
	wbi_cursor *cursor;
	size_t looked;
	bool stopped;
} visit;

static wb_code visit_see(visit *v, const wbi_saga_id *id,
			 const wbi_saga_row *row, wb_error *err)
{
	const cli_saga_filter *f = v->filter;
	cli_saga_seen seen = {.id = *id, .row = row, .place = v->place};
	wb_code code;

	if (!filter_matches(f, id, row))
		return WB_OK;
	/* Most are not near it: their timers need not be looked at. */
	if (f->stuck && row->status != WB_SAGA_PARKED &&
	    (row->deadline_us == 0 || row->deadline_us > f->now_us))
		return WB_OK;
	code = cli_saga_deadline(v->txn, v->tables, id, row, f->now_us,
				 &seen.deadline_us, &seen.late, err);
	if (code != WB_OK ||
	    (f->stuck && row->status != WB_SAGA_PARKED && !seen.late))
		return code;
	v->stopped = !v->each(v->ctx, &seen);
	return WB_OK;
}

static void visit_keep(visit *v, wb_str key)
{
	WB_ASSERT(key.len <= sizeof(v->place->key.bytes));
	memcpy(v->place->key.bytes, key.ptr, key.len);
	v->place->key.len = (uint16_t)key.len;
	v->place->begun = true;
}

/* The next row behind the place, or the first one from `from` on. */
static wb_code visit_next(visit *v, wb_str from, bool first, wb_str *ret_key,
			  wb_str *ret_row, wb_error *err)
{
	wbi_move move = first ? WBI_SEEK : WBI_NEXT;
	wb_code code;

	*ret_key = from;
	code = wbi_cursor_move(v->cursor, move, ret_key, ret_row, err);
	if (code == WB_OK && first && v->place->begun &&
	    wb_str_eq(*ret_key, wbi_row_key_str(&v->place->key)))
		code = wbi_cursor_move(v->cursor, WBI_NEXT, ret_key, ret_row,
				       err);
	return code;
}

static wb_code visit_indexed(visit *v, wb_str key, wb_str bytes,
			     bool *ret_done, wb_error *err)
{
	int64_t since_us;
	uint8_t status;
	wbi_saga_row row;
	wbi_saga_id id;
	wb_code code = wbi_saga_index_decode(key, bytes, &status, &since_us,
					     &id, err);

	if (code != WB_OK)
		return code;
	*ret_done = v->filter->since_us > 0 && since_us > v->filter->since_us;
	if (*ret_done || (v->filter->by && id.kind != v->filter->by))
		return WB_OK;
	code = wbi_saga_get(v->txn, v->tables, &id, &row, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"saga %.*s is in the index and not there; run "
				"waybill fsck",
				(int)id.id.len, id.id.ptr);
	return code == WB_OK ? visit_see(v, &id, &row, err) : code;
}

/* Of one status, in order of since when. WB_ENOTFOUND: there are no more. */
static wb_code visit_status(visit *v, uint8_t status, wb_error *err)
{
	wb_str start = wb_str_n(&status, 1), key, bytes;
	bool first = true, done = false;
	wb_code code = WB_OK;

	if (v->place->begun && v->place->key.bytes[0] == status)
		start = wbi_row_key_str(&v->place->key);
	while (code == WB_OK && !v->stopped && v->looked < SLICE) {
		code = visit_next(v, start, first, &key, &bytes, err);
		first = false;
		if (code != WB_OK || (uint8_t)key.ptr[0] != status)
			return code == WB_OK ? WB_ENOTFOUND : code;
		v->looked++;
		visit_keep(v, key);
		code = visit_indexed(v, key, bytes, &done, err);
		if (done)
			return WB_ENOTFOUND;
	}
	return code;
}

static wb_code visit_index(visit *v, wb_error *err)
{
	static const uint8_t order[] = {WB_SAGA_PARKED, WB_SAGA_COMPENSATING,
					WB_SAGA_RUNNING};
	bool reached = !v->place->begun;
	wb_code code = WB_ENOTFOUND;

	for (size_t i = 0; i < WBI_COUNT(order) && code == WB_ENOTFOUND; i++) {
		if (!reached && v->place->key.bytes[0] != order[i])
			continue;
		reached = true;
		if (v->filter->statuses & BIT(order[i]))
			code = visit_status(v, order[i], err);
	}
	return code;
}

static wb_code visit_all(visit *v, wb_error *err)
{
	wb_str start = wb_str_n("", 0), key, bytes;
	wb_code code = WB_OK;
	bool first = true;

	if (v->place->begun)
		start = wbi_row_key_str(&v->place->key);
	while (code == WB_OK && !v->stopped && v->looked++ < SLICE) {
		wbi_saga_row row;
		wbi_saga_id id;

		if (first && !v->place->begun) {
			code = wbi_cursor_move(v->cursor, WBI_FIRST, &key,
					       &bytes, err);
		} else {
			code = visit_next(v, start, first, &key, &bytes, err);
		}
		first = false;
		if (code == WB_OK)
			code = wbi_saga_key_parse(key, &id, err);
		if (code == WB_OK)
			code = wbi_saga_decode(key, bytes, &row, err);
		if (code != WB_OK)
			return code;
		visit_keep(v, key);
		code = visit_see(v, &id, &row, err);
	}
	return code;
}

wb_code cli_saga_visit(wb_store *store, const cli_saga_filter *filter,
		       cli_saga_place *place, cli_see_saga *each, void *ctx,
		       wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	bool open = (filter->statuses & ~OPEN) == 0;
	visit v = {.tables = tables,
		   .filter = filter,
		   .place = place,
		   .each = each,
		   .ctx = ctx};
	wb_code code =
		wbi_txn_begin(wb_store_env(store), false, &v.txn, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_open(v.txn, open ? tables->saga_index : tables->sagas,
			       &v.cursor, err);
	if (code == WB_OK)
		code = open ? visit_index(&v, err) : visit_all(&v, err);
	wbi_cursor_close(v.cursor);
	wbi_txn_abort(v.txn);
	return code;
}

/* ---- by id -------------------------------------------------------------- */

static wb_code find_prefix(MDB_txn *txn, const wbi_store_tables *tables,
			   wb_str id, uint8_t kind,
			   const cli_saga_filter *filter, cli_saga_found *found,
			   wb_error *err)
{
	wbi_row_key prefix = wbi_saga_id_prefix(kind, id);
	wb_str key = wbi_row_key_str(&prefix), bytes;
	wbi_move move = WBI_SEEK;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(txn, tables->sagas, &cursor, err);

	for (; code == WB_OK && found->count < CLI_SAGA_SAME_MAX;
	     move = WBI_NEXT) {
		wbi_saga_row row;
		wbi_saga_id at;

		code = wbi_cursor_move(cursor, move, &key, &bytes, err);
		if (code != WB_OK || key.len < prefix.len ||
		    memcmp(key.ptr, prefix.bytes, prefix.len) != 0)
			break;
		code = wbi_saga_key_parse(key, &at, err);
		if (code == WB_OK)
			code = wbi_saga_decode(key, bytes, &row, err);
		if (code == WB_OK && filter_matches(filter, &at, &row))
			found->keys[found->count++] = wbi_saga_key(&at);
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

wb_code cli_saga_find(wb_store *store, wb_str id, const cli_saga_filter *filter,
		      cli_saga_found *ret, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	MDB_txn *txn;
	wb_code code;

	ret->count = 0;
	if (id.len == 0 || id.len > WBI_SAGA_ID_MAX)
		return WB_OK;
	code = wbi_txn_begin(wb_store_env(store), false, &txn, err);
	if (code != WB_OK)
		return code;
	code = find_prefix(txn, tables, id, WBI_SAGA_ORCHESTRATED, filter, ret,
			   err);
	if (code == WB_OK)
		code = find_prefix(txn, tables, id, WBI_SAGA_FLOW, filter, ret,
				   err);
	wbi_txn_abort(txn);
	return code;
}

/* ---- as rows ------------------------------------------------------------ */

char *cli_saga_from(const wbi_saga_id *id, const wbi_saga_row *row, char *ret,
		    size_t size)
{
	static const char reply[] = ".reply";
	size_t len = row->awaits.len, tail = sizeof(reply) - 1;

	ret[0] = '\0';
	if (row->from.len > 0)
		wbi_text_show(row->from, ret, size);
	else if (id->kind == WBI_SAGA_ORCHESTRATED && len > tail &&
		 !memcmp(row->awaits.ptr + len - tail, reply, tail))
		snprintf(ret, size, "who answers %.*s", (int)(len - tail),
			 row->awaits.ptr);
	return ret;
}

cli_table *cli_saga_table(bool outcome, bool json)
{
	static const cli_column columns[] = {
		{.name = "id", .trunc = true},
		{.name = "kind"},
		{.name = "by"},
		{.name = "state"},
		{.name = "step"},
		{.name = "since"},
		{.name = "awaits", .trunc = true},
		{.name = "from", .trunc = true},
		{.name = "until"},
		{.name = "reason", .trunc = true},
		{.name = "outcome"}};

	return cli_table_new("sagas", columns,
			     WBI_COUNT(columns) - (outcome ? 0 : 1), json);
}

static const char *or_null(wb_str text, char *buf, size_t size)
{
	return text.len > 0 ? wbi_text_show(text, buf, size) : NULL;
}

bool cli_saga_table_row(cli_table *table, const cli_saga_seen *seen,
			const char *outcome)
{
	const wbi_saga_row *row = seen->row;
	char id[800], name[200], step[300], since[WBI_TIME_TEXT_MAX];
	char awaits[1100], from[700], until[WBI_TIME_TEXT_MAX], reason[1100];
	const char *cells[] = {
		or_null(seen->id.id, id, sizeof(id)),
		or_null(row->name, name, sizeof(name)),
		cli_saga_way(seen->id.kind),
		wbi_saga_status_name(row->status),
		or_null(row->step, step, sizeof(step)),
		since,
		or_null(row->awaits, awaits, sizeof(awaits)),
		cli_saga_from(&seen->id, row, from, sizeof(from)),
		seen->deadline_us ? until : NULL,
		or_null(row->reason, reason, sizeof(reason)),
		outcome};

	if (from[0] == '\0')
		cells[7] = NULL;
	if (row->reason.len == 0 && seen->late)
		cells[9] = "its time is up and its timer has not fired: does "
			   "a worker run?";
	wbi_time_format(row->since_us, since);
	wbi_time_format(seen->deadline_us, until);
	return cli_table_row(table, cells);
}
