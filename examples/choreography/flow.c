/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A slot is booked, billed and reserved. A saga of this flow is a booking, and
 * its id the booking's reference. Nobody directs it: read what each service
 * listens to, what it says, and which of its own steps it takes back.
 *
 * `waybill saga check` refuses this table if an event reaches nobody, if a
 * failure does not reach a step that must be undone, or if somebody could wait
 * for ever; `waybill saga graph` draws it.
 */
#include "examples/choreography/flow.h"

static const wb_reaction reactions[] = {
	/* A customer wants a slot, ... */
	{.service = "booking",
	 .step = "create",
	 .emits = "booking.created",
	 .awaits = "parking.reserved|parking.unavailable|bill.expired",
	 .within_ms = FLOW_BOOKING_MS},
	/* ... is billed, and pays later, or does not; ... */
	{.service = "billing",
	 .step = "bill",
	 .on = "booking.created",
	 .emits = "bill.paid",
	 .later = true,
	 .within_ms = FLOW_BILL_MS,
	 .silence = "bill.expired"},
	/* ... who has paid gets the slot, if nobody else was first. */
	{.service = "parking",
	 .step = "reserve",
	 .on = "bill.paid",
	 .emits = "parking.reserved",
	 .refuses = "parking.unavailable"},
	/* It went well: */
	{.service = "booking", .step = "finish", .on = "parking.reserved"},
	/* Another one was first: each takes back what is its own. */
	{.service = "booking",
	 .step = "fail",
	 .on = "parking.unavailable",
	 .undoes = "create"},
	{.service = "billing",
	 .step = "refund",
	 .on = "parking.unavailable",
	 .undoes = "bill"},
	/* Nobody paid: */
	{.service = "booking",
	 .step = "lapse",
	 .on = "bill.expired",
	 .undoes = "create"},
};

const wb_flow flow = {
	.size = sizeof(wb_flow),
	.name = "reservation",
	.reactions = reactions,
	.count = sizeof(reactions) / sizeof(reactions[0]),
};
