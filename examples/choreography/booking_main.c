/* SPDX-License-Identifier: BSD-2-Clause */
/* booking's command line: customers ask for a slot, and how it went. */
#include <stdio.h>
#include <string.h>

#include "examples/choreography/booking.h"
#include "examples/choreography/command.h"
#include "examples/choreography/rows.h"

static wb_code create_booking(service *s, char **args)
{
	char uuid[WB_UUID_TEXT_LEN + 1];

	if (strlen(args[0]) == 0 || strlen(args[0]) > FLOW_SLOT_MAX)
		return wb_error_set(&s->err, WB_EINVAL, 0, __func__,
				    "a slot has 1 to %d bytes", FLOW_SLOT_MAX);
	wb_uuid7(wb_system_clock(), wb_system_random(), uuid);
	snprintf(s->said, sizeof(s->said), "%s:%s", args[0], uuid);
	return booking_create(s->tables, s->flow, s->txn, wb_str_from(s->said),
			      &s->err);
}

static wb_code show(void *ctx, wb_str ref, const void *row, wb_error *err)
{
	const booking *b = row;

	(void)ctx;
	(void)err;
	printf("%.*s  %s%s%s\n", (int)ref.len, ref.ptr,
	       booking_state_name(b->state), b->why[0] ? ": " : "", b->why);
	return WB_OK;
}

static wb_code bookings(service *s, char **args)
{
	const booking_tables *t = s->tables;

	(void)args;
	return rows_each(s->txn, t->bookings, WB_STR_NULL, sizeof(booking),
			 show, NULL, &s->err);
}

static wb_code one_booking(service *s, char **args)
{
	booking b;
	wb_code code = booking_get(s->tables, s->txn, wb_str_from(args[0]), &b,
				   &s->err);

	return code == WB_OK ? show(NULL, wb_str_from(args[0]), &b, NULL)
			     : code;
}

static wb_code open_tables(MDB_txn *txn, void *tables, wb_error *err)
{
	return booking_open(txn, tables, err);
}

int main(int argc, char **argv)
{
	static const command commands[] = {
		{"create-booking", "SLOT", 1, true, create_booking},
		{"bookings", "", 0, false, bookings},
		{"booking", "REF", 1, false, one_booking},
	};
	booking_tables tables;
	program p = {.name = "booking",
		     .store_env = "BOOKING_STORE",
		     .part = &booking_part,
		     .commands = commands,
		     .count = sizeof(commands) / sizeof(commands[0]),
		     .open = open_tables,
		     .tables = &tables};

	return program_main(&p, argc, argv);
}
