/* SPDX-License-Identifier: BSD-2-Clause */
/* A flow of two services, which both compile: the shop sells, the stock gives
 * what it has. An order whose name begins with 'x' is short. */
#ifndef TESTS_ORDER_H
#define TESTS_ORDER_H

#include <waybill/module.h>

static const wb_reaction order_rows[] = {
	{"shop", "place", NULL, "order.placed",
	 .awaits = "stock.taken|stock.short", .within_ms = 600000},
	{"stock", "take", "order.placed", "stock.taken",
	 .refuses = "stock.short"},
	{"shop", "finish", .on = "stock.taken"},
	{"shop", "cancel", .on = "stock.short", .undoes = "place"}};

static const wb_flow order_flow = {sizeof(wb_flow), "order", order_rows,
				   sizeof(order_rows) / sizeof(order_rows[0]),
				   0};

/* What was done leaves an event. */
static inline wb_code leave(wb_call *call, const char *type, wb_str key,
			    wb_error *err)
{
	wb_event event = {.type = wb_str_from(type), .key = key};

	return wb_emit(call, &event, err);
}

#endif
