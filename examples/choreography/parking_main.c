/* SPDX-License-Identifier: BSD-2-Clause */
/* parking's command line: its slots. */
#include <stdio.h>
#include <string.h>

#include "examples/choreography/command.h"
#include "examples/choreography/parking.h"
#include "examples/choreography/rows.h"

static wb_code create_slot(service *s, char **args)
{
	char uuid[WB_UUID_TEXT_LEN + 1];
	size_t len = strlen(args[0]);

	if (len == 0 || len > FLOW_SLOT_MAX || strchr(args[0], ':'))
		return wb_error_set(&s->err, WB_EINVAL, 0, __func__,
				    "the name of a slot has 1 to %d bytes, and "
				    "no colon",
				    FLOW_SLOT_MAX);
	wb_uuid7(wb_system_clock(), wb_system_random(), uuid);
	snprintf(s->said, sizeof(s->said), "%s", uuid);
	return parking_add(s->tables, s->txn, wb_str_from(args[0]), uuid,
			   &s->err);
}

static wb_code show(void *ctx, wb_str uuid, const void *row, wb_error *err)
{
	const parking_slot *s = row;

	(void)ctx;
	(void)err;
	printf("%.*s  %s  %s%s%s\n", (int)uuid.len, uuid.ptr, s->name,
	       slot_state_name(s->state), s->holder[0] ? " for " : "",
	       s->holder);
	return WB_OK;
}

static wb_code slots(service *s, char **args)
{
	const parking_tables *t = s->tables;

	(void)args;
	return rows_each(s->txn, t->slots, WB_STR_NULL, sizeof(parking_slot),
			 show, NULL, &s->err);
}

static wb_code one_slot(service *s, char **args)
{
	char uuid[WB_UUID_TEXT_LEN + 1];
	parking_slot found;
	wb_code code = parking_get(s->tables, s->txn, wb_str_from(args[0]),
				   uuid, &found, &s->err);

	return code == WB_OK ? show(NULL, wb_str_from(uuid), &found, NULL)
			     : code;
}

static wb_code open_tables(MDB_txn *txn, void *tables, wb_error *err)
{
	return parking_open(txn, tables, err);
}

int main(int argc, char **argv)
{
	static const command commands[] = {
		{"create-slot", "NAME", 1, true, create_slot},
		{"slots", "", 0, false, slots},
		{"slot", "UUID | NAME", 1, false, one_slot},
	};
	parking_tables tables;
	program p = {.name = "parking",
		     .store_env = "PARKING_STORE",
		     .part = &parking_part,
		     .commands = commands,
		     .count = sizeof(commands) / sizeof(commands[0]),
		     .open = open_tables,
		     .tables = &tables};

	return program_main(&p, argc, argv);
}
