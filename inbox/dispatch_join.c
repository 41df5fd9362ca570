/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Handlers in the transaction that takes their events in: one commit instead of
 * two, and no page of the inbox is written that is given up by the next one.
 * The order, the cursors and the rows are those of a batch; only what is done
 * before it (the events) and behind it (their removal) is in the same commit.
 *
 * It is for the usual case: all handlers at the head, no row and no trouble in
 * the way. Whatever else happens in a call spoils the transaction: the ingest
 * writes the events again by themselves, and the steps of dispatch do the rest
 * as ever.
 *
 * A crash leaves nothing of the events, not even their positions, so the page
 * of calls has what the one in question is known by (dispatch_recover.c): when
 * it comes again it has that attempt behind it. Until then, or until as many
 * have come as the broker can have had on the way, no call is made like this.
 */
#include "inbox/dispatch_internal.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "lib/journal/retention.h"

uint64_t wbi_dispatch_identity(const wb_event *event)
{
	uint64_t source = wbi_hash(0, event->source.ptr, event->source.len);
	uint64_t id = wbi_hash(source, event->id.ptr, event->id.len);

	return id != 0 ? id : 1;
}

static bool join_can(const wbi_dispatch *d, uint64_t before)
{
	size_t ready = 0;

	if (wbi_dispatch_is_held(d) || d->paused || d->apart > 0 ||
	    d->limit < d->options.batch_max)
		return false;
	for (size_t i = 0; i < d->count; i++) {
		const wbi_consumer_run *c = &d->consumers[i];

		if (c->halted)
			continue;
		if (c->position != before || c->held_us > 0 ||
		    c->careful > 0 || c->crashed > 0)
			return false;
		ready++;
	}
	return ready > 0;
}

wb_code wbi_dispatch_join(wbi_dispatch *d, MDB_txn *txn, uint64_t before,
			  uint64_t head, wb_error *err)
{
	uint64_t known = d->head;
	wb_code code;

	WB_ASSERT(!d->txn && before < head);
	if (!join_can(d, before))
		return WB_EAGAIN;
	wbi_dispatch_begin_in(d, txn, d->share_us / 2);
	d->head = head;
	d->joined = true;
	code = wbi_dispatch_batch(d, err);
	d->joined = false;
	if (code == WB_OK && d->again)
		code = WBI_FAIL(err, WB_ESTATE, "a call asks for more care");
	if (code == WB_OK)
		code = wbi_dispatch_put_rows(d, err);
	if (code == WB_OK)
		code = wbi_retention_prune(&d->inbox, txn, head, head - before,
					   err);
	d->txn = NULL;
	if (code != WB_OK)
		d->head = known;
	/* It says that nothing was done. */
	return code == WB_EAGAIN ? WB_EIO : code;
}

void wbi_dispatch_joined(wbi_dispatch *d, bool committed)
{
	d->look = true;
	if (!committed)
		return;
	wbi_dispatch_apply(d);
	d->turns++;
}
