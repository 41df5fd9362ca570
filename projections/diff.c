/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What two generations of a model differ in, table by table, by walking both in
 * order of their keys. It compares them at one position: the projector takes
 * both along, so they are at one again and again.
 *
 * Two read transactions, open for as long as the walk takes. Any thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "lib/base/error.h"
#include "projections/inspect.h"

enum { DIFF_NAP_MS = 5 };

typedef struct diff_side {
	wbi_generation *gen;
	MDB_txn *txn;
	wbi_cursor *cursor;
	wb_str key, value;
	bool end;
} diff_side;

typedef struct diff {
	wbi_home *home;
	diff_side a, b;
	wb_code (*see)(void *ctx, const wbi_difference *difference,
		       wb_error *err);
	void *ctx;
	wbi_diff_result result;
} diff;

static wb_code diff_position(diff_side *side, uint64_t *ret, wb_error *err)
{
	wbi_checkpoint at;
	wb_code code;

	wbi_txn_abort(side->txn);
	side->txn = NULL;
	code = wbi_txn_begin(side->gen->env, false, &side->txn, err);
	if (code == WB_OK)
		code = wbi_checkpoint_get(side->txn, side->gen->meta, &at, err);
	if (code == WB_OK)
		*ret = at.position;
	return code;
}

static wb_code diff_meet(diff *d, uint32_t timeout_ms, wb_error *err)
{
	const struct timespec nap = {0, DIFF_NAP_MS * 1000000L};
	const wb_clock *clock = wb_system_clock();
	int64_t until_us = clock->mono_us(clock->ctx) +
			   (int64_t)timeout_ms * 1000;
	uint64_t a = 0, b = 0;
	wb_code code;

	for (;;) {
		code = diff_position(&d->a, &a, err);
		if (code == WB_OK)
			code = diff_position(&d->b, &b, err);
		if (code != WB_OK || a == b)
			break;
		if (clock->mono_us(clock->ctx) >= until_us)
			return WBI_FAIL(err, WB_ETIMEOUT,
					"generation %u is at %" PRIu64
					", generation %u at %" PRIu64
					": they can be compared at one position "
					"only; is the projector running?",
					d->a.gen->number, a, d->b.gen->number,
					b);
		nanosleep(&nap, NULL);
	}
	d->result.position = a;
	return code;
}

static wb_code diff_move(diff_side *side, wbi_move move, wb_error *err)
{
	wb_code code = wbi_cursor_move(side->cursor, move, &side->key,
				       &side->value, err);

	side->end = code == WB_ENOTFOUND;
	return side->end ? WB_OK : code;
}

static int diff_order(const diff *d)
{
	size_t common = d->a.key.len < d->b.key.len ? d->a.key.len
						    : d->b.key.len;
	int order;

	if (d->a.end || d->b.end)
		return d->a.end - d->b.end;
	order = memcmp(d->a.key.ptr, d->b.key.ptr, common);
	if (order != 0)
		return order;
	return (d->a.key.len > d->b.key.len) - (d->a.key.len < d->b.key.len);
}

static wb_code diff_tell(diff *d, const char *table, int order, wb_error *err)
{
	wbi_difference difference = {.table = table,
				     .key = order <= 0 ? d->a.key : d->b.key};

	d->result.differences++;
	difference.kind = order < 0   ? WBI_ONLY_IN_A
			  : order > 0 ? WBI_ONLY_IN_B
				      : WBI_DIFFERS;
	if (order <= 0)
		difference.a = d->a.value;
	if (order >= 0)
		difference.b = d->b.value;
	return d->see ? d->see(d->ctx, &difference, err) : WB_OK;
}

static wb_code diff_walk(diff *d, const char *table, wb_error *err)
{
	wb_code code = diff_move(&d->a, WBI_FIRST, err);

	if (code == WB_OK)
		code = diff_move(&d->b, WBI_FIRST, err);
	while (code == WB_OK && !(d->a.end && d->b.end)) {
		int order = diff_order(d);

		d->result.rows++;
		if (order != 0 || !wb_str_eq(d->a.value, d->b.value))
			code = diff_tell(d, table, order, err);
		if (code == WB_OK && order <= 0)
			code = diff_move(&d->a, WBI_NEXT, err);
		if (code == WB_OK && order >= 0)
			code = diff_move(&d->b, WBI_NEXT, err);
	}
	return code;
}

static wb_code diff_table(diff *d, const wbi_generation_table *a,
			  const wbi_generation_table *b, wb_error *err)
{
	wb_code code = wbi_cursor_open(d->a.txn, a->table, &d->a.cursor, err);

	if (code == WB_OK)
		code = wbi_cursor_open(d->b.txn, b->table, &d->b.cursor, err);
	if (code == WB_OK)
		code = diff_walk(d, a->name, err);
	wbi_cursor_close(d->a.cursor);
	wbi_cursor_close(d->b.cursor);
	d->a.cursor = d->b.cursor = NULL;
	return code;
}

/* Of another version there may be other tables: those that both have; but for
 * what they say of themselves. */
static wb_code diff_tables(diff *d, wb_error *err)
{
	wbi_generation_table a, b;
	wb_code code = WB_OK;

	for (size_t i = 0;
	     code == WB_OK && wbi_generation_table_at(d->a.gen, i, &a); i++) {
		for (size_t j = 0; wbi_generation_table_at(d->b.gen, j, &b);
		     j++) {
			if (strcmp(a.name, b.name) != 0 ||
			    !strcmp(a.name, "meta"))
				continue;
			code = diff_table(d, &a, &b, err);
			break;
		}
	}
	return code;
}

wb_code wbi_generations_diff(wbi_home *home, uint32_t a, uint32_t b,
			     uint32_t timeout_ms,
			     wb_code (*see)(void *ctx,
					    const wbi_difference *difference,
					    wb_error *err),
			     void *ctx, wbi_diff_result *ret, wb_error *err)
{
	diff d = {.home = home, .see = see, .ctx = ctx};
	wb_code code = wbi_home_take(home, a, NULL, &d.a.gen, err);

	if (code == WB_OK)
		code = wbi_home_take(home, b, NULL, &d.b.gen, err);
	if (code == WB_OK)
		code = diff_meet(&d, timeout_ms, err);
	if (code == WB_OK)
		code = diff_tables(&d, err);
	wbi_txn_abort(d.a.txn);
	wbi_txn_abort(d.b.txn);
	wbi_home_give(home, d.a.gen);
	wbi_home_give(home, d.b.gen);
	if (code == WB_OK)
		*ret = d.result;
	return code;
}
