/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The audit as the commands read it: its last rows, in order, each read
 * transaction over a few hundred of them. Numbers have no gaps, so the last N
 * are found without reading those before. One thread.
 */
#include <stdlib.h>

#include "cli/view.h"
#include "lib/base/error.h"

enum { SLICE = 256 };

typedef struct audit_scan {
	wbi_table table;
	cli_see_audit see;
	void *ctx;
	uint64_t next, last; /* numbers */
} audit_scan;

static wb_code audit_slice(audit_scan *s, MDB_txn *txn, wb_error *err)
{
	wbi_audit audit;
	wb_code rc = WB_OK;
	wb_str row;

	for (int i = 0; i < SLICE && rc == WB_OK; i++) {
		if (s->next > s->last)
			return WB_ENOTFOUND;
		rc = wbi_get_at(txn, s->table, s->next, &row, err);
		if (rc == WB_OK)
			rc = wbi_audit_decode(s->next, row, &audit, err);
		if (rc == WB_OK)
			rc = s->see(s->ctx, s->next, &audit, err);
		s->next++;
	}
	return rc;
}

static wb_code audit_last(MDB_env *env, wbi_table table, uint64_t *ret,
			  wb_error *err)
{
	MDB_txn *txn;
	wb_code rc = wbi_txn_begin(env, false, &txn, err);

	if (rc != WB_OK)
		return rc;
	rc = wbi_last_at(txn, table, ret, err);
	wbi_txn_abort(txn);
	return rc;
}

wb_code cli_audit_scan(MDB_env *env, wbi_table table, uint64_t after,
		       uint64_t limit, cli_see_audit see, void *ctx,
		       uint64_t *ret_last, wb_error *err)
{
	audit_scan s = {.table = table, .see = see, .ctx = ctx};
	MDB_txn *txn;
	wb_code rc;

	rc = audit_last(env, table, &s.last, err);
	s.next = s.last > limit ? s.last - limit + 1 : 1;
	if (s.next <= after)
		s.next = after + 1;
	while (rc == WB_OK && s.next <= s.last) {
		rc = wbi_txn_begin(env, false, &txn, err);
		if (rc != WB_OK)
			return rc;
		rc = audit_slice(&s, txn, err);
		wbi_txn_abort(txn);
	}
	if (rc != WB_OK && rc != WB_ENOTFOUND)
		return rc;
	*ret_last = s.last;
	return WB_OK;
}

wb_code cli_view_scan_audit(cli_view *view, uint64_t after, uint64_t limit,
			    cli_see_audit see, void *ctx, uint64_t *ret_last,
			    wb_error *err)
{
	return cli_audit_scan(wbi_store_relay_env(view->store),
			      wbi_store_relay_tables(view->store)->audit, after,
			      limit, see, ctx, ret_last, err);
}

/* ---- what was discarded ------------------------------------------------- */

static int discard_order(const void *a, const void *b)
{
	const cli_discard *x = a, *y = b;

	if (x->position != y->position)
		return x->position < y->position ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

static wb_code see_discard(void *ctx, uint64_t number, const wbi_audit *audit,
			   wb_error *err)
{
	cli_view *view = ctx;
	size_t count = view->discard_count;
	cli_discard *grown;

	if (!wb_str_eq(audit->what, wb_str_from("discard")))
		return WB_OK;
	if (count == view->discard_room) {
		view->discard_room = count > 0 ? count * 2 : 64;
		grown = realloc(view->discards,
				view->discard_room * sizeof(*grown));
		if (!grown)
			return WBI_FAIL(err, WB_ENOMEM, "out of memory");
		view->discards = grown;
	}
	view->discards[view->discard_count++] =
		(cli_discard){audit->position, number};
	return WB_OK;
}

wb_code cli_view_read_discards(cli_view *view, wb_error *err)
{
	size_t before = view->discard_count;
	wb_code rc;

	if (before >= CLI_AUDIT_MAX)
		return WB_OK;
	rc = cli_view_scan_audit(view, view->audit_seen, CLI_AUDIT_MAX,
				 see_discard, view, &view->audit_seen, err);
	if (view->discard_count > before)
		qsort(view->discards, view->discard_count,
		      sizeof(*view->discards), discard_order);
	return rc;
}

wb_code cli_view_discard_of(const cli_view *view, MDB_txn *relay_txn,
			    uint64_t position, wb_str id, wbi_audit *ret,
			    wb_error *err)
{
	wbi_table table = wbi_store_relay_tables(view->store)->audit;
	size_t low = 0, high = view->discard_count;
	wbi_audit audit;
	wb_str row;
	wb_code rc;

	while (low < high) { /* the first one behind this position */
		size_t mid = low + (high - low) / 2;

		if (view->discards[mid].position <= position)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == 0 || view->discards[low - 1].position != position)
		return WB_ENOTFOUND;
	rc = wbi_get_at(relay_txn, table, view->discards[low - 1].number, &row,
			err);
	if (rc == WB_OK)
		rc = wbi_audit_decode(view->discards[low - 1].number, row,
				      &audit, err);
	if (rc != WB_OK)
		return rc;
	/* After a restore a position may be used again, an id never. */
	if (audit.id.len > 0 && !wb_str_eq(audit.id, id))
		return WB_ENOTFOUND;
	*ret = audit;
	return WB_OK;
}
