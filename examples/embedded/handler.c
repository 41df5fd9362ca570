/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The handler: an order that was placed takes from the stock, or is refused.
 * Stock, order and the event that tells of it are one commit with the worker's
 * note that this event is handled: however often it is delivered, the stock
 * goes down once.
 */
#include <stdio.h>
#include <stdlib.h>

#include "examples/embedded/shop.h"

static long handler_number(const void *text, size_t len)
{
	char copy[32] = "";

	memcpy(copy, text, len < sizeof(copy) ? len : sizeof(copy) - 1);
	return strtol(copy, NULL, 10);
}

/* Take `count` from the item's stock; *ret: there was enough. */
static int handler_take(const shop *s, MDB_txn *txn, wb_str item, long count,
			bool *ret)
{
	MDB_val key = {item.len, (void *)item.ptr}, value;
	char text[32];
	long left;
	int rc = mdb_get(txn, s->stock, &key, &value);

	*ret = false;
	if (rc != 0)
		return rc == MDB_NOTFOUND ? 0 : rc;
	left = handler_number(value.mv_data, value.mv_size) - count;
	if (left < 0)
		return 0;
	*ret = true;
	snprintf(text, sizeof(text), "%ld", left);
	value = (MDB_val){strlen(text), text};
	return mdb_put(txn, s->stock, &key, &value, 0);
}

static int handler_settle(const shop *s, MDB_txn *txn, const wb_event *event,
			  long count, const char *state)
{
	char row[SHOP_NAME_MAX + 64];
	MDB_val key = {event->subject.len, (void *)event->subject.ptr};
	MDB_val value = {0, row};

	snprintf(row, sizeof(row), "%s %.*s %ld", state,
		 (int)(event->key.len < SHOP_NAME_MAX ? event->key.len
						      : SHOP_NAME_MAX),
		 event->key.ptr, count);
	value.mv_size = strlen(row);
	return mdb_put(txn, s->orders, &key, &value, 0);
}

static wb_code handler_reserve(wb_call *call, const wb_event *event,
			       wb_error *err)
{
	const shop *s = wb_call_handler(call)->ctx;
	MDB_txn *txn = wb_call_txn(call);
	long count = handler_number(event->data.ptr, event->data.len);
	wb_event told = {.subject = event->subject, .key = event->key};
	bool enough;
	int rc;

	if (count <= 0 || event->key.len == 0 || event->subject.len == 0)
		return wb_reject(err, "an order names itself, an item and a "
				      "number above 0");
	rc = handler_take(s, txn, event->key, count, &enough);
	if (rc == 0)
		rc = handler_settle(s, txn, event, count,
				    enough ? "confirmed" : "refused");
	if (rc != 0)
		return wb_store_error(rc, err, "reserving");
	told.type = wb_str_from(enough ? "order.confirmed" : "order.refused");
	return wb_emit(call, &told, err);
}

static const char *const handler_types[] = {"order.placed", NULL};

wb_handler shop_reserve = {
	.size = sizeof(wb_handler),
	.name = "reserve",
	.types = handler_types,
	.kind = WB_TRANSACTIONAL,
	.handle = handler_reserve,
};
