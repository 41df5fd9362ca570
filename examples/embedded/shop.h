/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A shop with an LMDB environment of its own. Its data are two tables: orders
 * ("placed", then "confirmed" or "refused") and what is in stock. All of it
 * runs on one thread.
 */
#ifndef EXAMPLES_EMBEDDED_SHOP_H
#define EXAMPLES_EMBEDDED_SHOP_H

#include <waybill/outbox.h>
#include <waybill/worker.h>

enum { SHOP_NAME_MAX = 200 };

typedef struct shop {
	MDB_env *env;    /* the shop's own, opened before waybill sees it */
	MDB_dbi orders;  /* order -> "STATE ITEM COUNT" */
	MDB_dbi stock;   /* item -> how many, as text */
	wb_store *store; /* waybill's tables in the same environment */
	wb_outbox *outbox;
} shop;

/* orders.c */

/* Open the environment in `dir` and both tables, and attach waybill to it. */
wb_code shop_open(shop *s, const char *dir, wb_error *err);
void shop_close(shop *s);

wb_code shop_stock(shop *s, const char *item, long count, wb_error *err);

/* The order and the event that says so: one transaction. */
wb_code shop_order(shop *s, const char *order, const char *item, long count,
		   wb_error *err);

/* How many orders are in this state. */
size_t shop_count(shop *s, const char *state);

/* How many pieces of all items there are. */
long shop_left(shop *s);

/* handler.c: takes "order.placed"; its ctx is the shop. */
extern wb_handler shop_reserve;

#endif
