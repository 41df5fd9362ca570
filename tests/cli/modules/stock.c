/* SPDX-License-Identifier: BSD-2-Clause */
/* The stock: its part in orders, and what it does for others' trips. What is
 * for a saga whose id begins with 'x' is refused. */
#include "tests/cli/modules/order.h"

static wb_code on_take(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_event taken = {.type = wb_str_from("stock.taken")};

	(void)event;
	if (wb_flow_saga(call).ptr[0] == 'x')
		return wb_reject(err, "nothing left");
	return wb_flow_emit(call, &taken, err);
}

static const wb_flow_binding bindings[] = {{.step = "take", .run = on_take}};
static const wb_flow_part part = {.size = sizeof(wb_flow_part),
				  .flow = &order_flow,
				  .service = "stock",
				  .bindings = bindings,
				  .count = 1};

static wb_code on_book(wb_call *call, const wb_event *command, wb_error *err)
{
	(void)command;
	return leave(call, "seen.booked", wb_command_saga(call), err);
}

static wb_code on_unbook(wb_call *call, const wb_event *command, wb_error *err)
{
	(void)command;
	return leave(call, "seen.unbooked", wb_command_saga(call), err);
}

static wb_code on_charge(wb_call *call, const wb_event *command, wb_error *err)
{
	(void)command;
	if (wb_command_saga(call).ptr[0] == 'x')
		return wb_reject(err, "the card is refused");
	return leave(call, "seen.charged", wb_command_saga(call), err);
}

static const wb_command hotel_commands[] = {
	{"hotel.book", "hotel.cancel", NULL, on_book, on_unbook}};
static const wb_command card_commands[] = {
	{"card.charge", NULL, NULL, on_charge, NULL}};
static const wb_participant hotel = {.size = sizeof(wb_participant),
				     .name = "hotel",
				     .commands = hotel_commands,
				     .count = 1};
static const wb_participant card = {.size = sizeof(wb_participant),
				    .name = "card",
				    .commands = card_commands,
				    .count = 1};

static const wb_flow_part *const parts[] = {&part};
static const wb_participant *const participants[] = {&hotel, &card};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "stock",
	.flow_parts = parts,
	.flow_part_count = 1,
	.participants = participants,
	.participant_count = 2};
