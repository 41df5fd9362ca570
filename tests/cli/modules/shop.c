/* SPDX-License-Identifier: BSD-2-Clause */
/* The shop: begins an order for each door.order, and a trip, which it
 * orchestrates, for each door.trip. */
#include "tests/cli/modules/order.h"

#include <stdlib.h>

static wb_code on_finish(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)event;
	return leave(call, "seen.finished", wb_flow_saga(call), err);
}

static wb_code on_cancel(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)event;
	return leave(call, "seen.cancelled", wb_flow_saga(call), err);
}

static const wb_flow_binding bindings[] = {
	{.step = "finish", .run = on_finish},
	{.step = "cancel", .run = on_cancel}};
static const wb_flow_part part = {.size = sizeof(wb_flow_part),
				  .flow = &order_flow,
				  .service = "shop",
				  .bindings = bindings,
				  .count = 2};

static wb_code note(wb_call *call, wb_error *err)
{
	return leave(call, "trip.noted", wb_saga_id(call), err);
}

static wb_code forget(wb_call *call, wb_error *err)
{
	return leave(call, "trip.forgotten", wb_saga_id(call), err);
}

static wb_code finish(wb_call *call, wb_error *err)
{
	return leave(call, "trip.finished", wb_saga_id(call), err);
}

static const wb_step steps[] = {
	{"note", .run = note, .run_undo = forget},
	{"book", .command = "hotel.book", .undo = "hotel.cancel"},
	{"pay", .kind = WB_PIVOT, .command = "card.charge"},
	{"finish", .kind = WB_RETRIABLE, .run = finish}};
static const wb_saga trip = {
	.size = sizeof(wb_saga), .name = "trip", .steps = steps, .count = 4};

/* ---- the door ----------------------------------------------------------- */

static const wb_saga *const sagas[] = {&trip};

typedef struct door {
	wb_choreography *orders;
	wb_orchestrator *trips;
} door;

static void door_close(void *state)
{
	door *d = state;

	wb_choreography_close(d->orders);
	wb_orchestrator_close(d->trips);
	free(d);
}

static wb_code door_open(const wb_handler *self, wb_store *store, MDB_txn *txn,
			 void **ret, wb_error *err)
{
	door *d = calloc(1, sizeof(*d));
	wb_code code;

	(void)self;
	(void)txn;
	if (!d)
		return WB_ENOMEM;
	code = wb_choreography_open(store, &part, &d->orders, err);
	if (code == WB_OK)
		code = wb_orchestrator_open(store, sagas, 1, NULL, &d->trips,
					    err);
	if (code != WB_OK)
		door_close(d);
	else
		*ret = d;
	return code;
}

static wb_code door_handle(wb_call *call, const wb_event *event, wb_error *err)
{
	door *d = wb_call_state(call);
	wb_event placed = {.type = wb_str_from("order.placed")};

	if (wb_str_eq(event->type, wb_str_from("door.trip")))
		return wb_saga_start(d->trips, wb_call_txn(call), "trip",
				     event->key, event->content_type,
				     event->data, err);
	return wb_flow_begin(d->orders, wb_call_txn(call), "place", event->key,
			     &placed, wb_str_from(""), err);
}

static const wb_handler front = {
	.size = sizeof(wb_handler),
	.name = "door",
	.types = (const char *const[]){"door.#", NULL},
	.handle = door_handle,
	.open = door_open,
	.close = door_close};

static const wb_handler *const handlers[] = {&front};
static const wb_flow_part *const parts[] = {&part};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "shop",
	.handlers = handlers,
	.handler_count = 1,
	.flow_parts = parts,
	.flow_part_count = 1,
	.sagas = sagas,
	.saga_count = 1};
