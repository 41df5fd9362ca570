/* SPDX-License-Identifier: BSD-2-Clause */
/* booking's command line: customers ask for a slot, and how it went. */
#include <stdio.h>

#include "examples/orchestration/booking.h"
#include "examples/orchestration/command.h"
#include "examples/orchestration/contract.h"

/* Start a saga. The row appears with its first step, in the worker. */
static wb_code create_booking(service *s, char **args)
{
	static const wb_saga *const sagas[] = {&booking_saga};
	char uuid[WB_UUID_TEXT_LEN + 1], body[REQUEST_TEXT_MAX];
	request r = {.amount = BOOKING_PRICE};
	wb_orchestrator *orchestrator;
	wb_code code;

	if (!is_name(wb_str_from(args[0])) || !is_name(wb_str_from(args[1])))
		return wb_error_set(&s->err, WB_EINVAL, 0, __func__,
				    "slots and accounts are named by 1 to %d "
				    "letters, digits and '-'",
				    NAME_LEN_MAX);
	wb_uuid7(wb_system_clock(), wb_system_random(), uuid);
	snprintf(s->said, sizeof(s->said), "%.40s:%s", args[0], uuid);
	snprintf(r.slot, sizeof(r.slot), "%s", args[0]);
	snprintf(r.account, sizeof(r.account), "%s", args[1]);
	code = wb_orchestrator_open(s->store, sagas, 1, NULL, &orchestrator,
				    &s->err);
	if (code != WB_OK)
		return code;
	code = wb_saga_start(orchestrator, s->txn, booking_saga.name,
			     wb_str_from(s->said),
			     wb_str_from("application/json"),
			     request_text(&r, body), &s->err);
	wb_orchestrator_close(orchestrator);
	return code;
}

static wb_code bookings(service *s, char **args)
{
	(void)args;
	return print_rows(s, 0);
}

static wb_code one_booking(service *s, char **args)
{
	return print_row(s, 0, args[0], "booking");
}

int main(int argc, char **argv)
{
	static const command commands[] = {
		{"create-booking", "SLOT ACCOUNT", 2, true, create_booking},
		{"bookings", "", 0, false, bookings},
		{"booking", "REF", 1, false, one_booking},
	};
	static const program p = {
		.name = "booking",
		.store_env = "BOOKING_STORE",
		.tables = {BOOKINGS_TABLE},
		.commands = commands,
		.count = sizeof(commands) / sizeof(commands[0]),
	};

	return program_main(&p, argc, argv);
}
