/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the store must keep for a projection: a consumer row with the lowest
 * position that a generation of it still reads from. Written rarely, since it
 * takes the service's writer lock: it may lag behind, never run ahead.
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/journal/inbox_rows.h"
#include "projections/projector.h"

static char hold_journal(const wb_projector *p)
{
	return p->projection->source == WB_PROJECTION_OUTBOX ? 'o' : 'i';
}

static uint64_t hold_position(const wb_projector *p)
{
	uint64_t position = p->live.gen ? p->live.at.position : 0;

	/* One that is to be built anew will want all there is. */
	if (p->live.gen && (!p->live_fits || strcmp(p->live.at.origin,
						    p->origin) != 0))
		position = 0;
	if (p->building.generation > 0) {
		uint64_t fill = p->fill.gen ? p->fill.at.position : 0;

		if (fill < position)
			position = fill;
	}
	if (p->going_back && p->back_to < position)
		position = p->back_to;
	return position;
}

/* What was pruned before this one wanted it cannot be held. */
static wb_code hold_what_is_there(wb_projector *p, MDB_txn *txn,
				  uint64_t *position, wb_error *err)
{
	uint64_t first = 0, head;
	wb_code code = wbi_journal_range(&p->journal, txn, &first, &head, err);

	if (code == WB_OK && first > 0 && *position < first - 1)
		*position = first - 1;
	return code;
}

static wb_code hold_write(wb_projector *p, uint64_t position, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(p->store);
	wb_str name = wb_str_from(p->projection->name);
	int64_t now_us = p->clock->real_us(p->clock->ctx);
	wbi_consumer row = {.created_us = now_us};
	MDB_txn *txn;
	wb_code code = wb_store_begin(p->store, &txn, err);

	if (code != WB_OK)
		return code;
	code = hold_what_is_there(p, txn, &position, err);
	if (code == WB_OK)
		code = wbi_consumer_get(txn, tables->consumers,
					hold_journal(p), name, &row, err);
	if (code == WB_OK || code == WB_ENOTFOUND) {
		row.kind = WBI_CONSUMER_PROJECTION;
		memcpy(row.origin, p->journal.origin, sizeof(row.origin));
		row.position = position;
		row.updated_us = now_us;
		row.handled = p->applied_ever;
		row.error = WB_STR_NULL;
		code = wbi_consumer_put(txn, tables->consumers,
					hold_journal(p), name, &row, err);
	}
	if (code == WB_OK)
		return wb_store_commit(p->store, txn, err);
	wb_store_abort(txn);
	return code;
}

wb_code wbi_projector_hold(wb_projector *p, bool now, wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	uint64_t position = hold_position(p);
	wb_code code;

	if (p->live_feed)
		return WB_OK; /* the broker keeps what it keeps */
	if (!now && position == p->held)
		return WB_OK;
	if (!now && position - p->held < p->options.hold_events &&
	    p->now_us < p->hold_at_us)
		return WB_OK;
	p->hold_at_us = p->now_us + (int64_t)p->options.hold_ms * 1000;
	code = hold_write(p, position, &cause);
	if (code == WB_OK) {
		p->held = position;
		return WB_OK;
	}
	if (now) {
		wbi_error_pass(err, &cause);
		return code;
	}
	/* The store keeps more than it must; said, and tried again. */
	wbi_log(p->log, WB_LOG_WARN, "projection %s: %s", p->projection->name,
		cause.text);
	return WB_OK;
}
