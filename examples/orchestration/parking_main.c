/* SPDX-License-Identifier: BSD-2-Clause */
/* parking's command line: its slots. */
#include <stdio.h>

#include "examples/orchestration/command.h"
#include "examples/orchestration/contract.h"
#include "examples/orchestration/parking.h"
#include "examples/orchestration/rows.h"

static wb_code create_slot(service *s, char **args)
{
	wb_str name = wb_str_from(args[0]);
	char row[ROW_MAX];
	wb_code code;

	if (!is_name(name))
		return wb_error_set(&s->err, WB_EINVAL, 0, __func__,
				    "a slot is named by 1 to %d letters, "
				    "digits and '-'",
				    NAME_LEN_MAX);
	code = row_get(s->txn, s->tables[0], name, row, &s->err);
	if (code == WB_OK && row[0] != '\0')
		return wb_error_set(&s->err, WB_EEXISTS, 0, __func__,
				    "there is a slot %s already", args[0]);
	if (code != WB_OK)
		return code;
	return row_put(s->txn, s->tables[0], name, &s->err, "available - open");
}

/* Who has it keeps it; nobody gets it while it is closed. */
static wb_code set_door(service *s, const char *name, const char *door)
{
	char row[ROW_MAX], state[16], ref[REF_LEN_MAX + 1];
	wb_code code =
		row_get(s->txn, s->tables[0], wb_str_from(name), row, &s->err);

	if (code != WB_OK)
		return code;
	if (sscanf(row, "%15s %100s", state, ref) != 2)
		return wb_error_set(&s->err, WB_ENOTFOUND, 0, __func__,
				    "there is no such slot");
	return row_put(s->txn, s->tables[0], wb_str_from(name), &s->err,
		       "%s %s %s", state, ref, door);
}

static wb_code close_slot(service *s, char **args)
{
	return set_door(s, args[0], "closed");
}

static wb_code open_slot(service *s, char **args)
{
	return set_door(s, args[0], "open");
}

static wb_code slots(service *s, char **args)
{
	(void)args;
	return print_rows(s, 0);
}

static wb_code one_slot(service *s, char **args)
{
	return print_row(s, 0, args[0], "slot");
}

int main(int argc, char **argv)
{
	static const command commands[] = {
		{"create-slot", "NAME", 1, true, create_slot},
		{"close-slot", "NAME", 1, true, close_slot},
		{"open-slot", "NAME", 1, true, open_slot},
		{"slots", "", 0, false, slots},
		{"slot", "NAME", 1, false, one_slot},
	};
	static const program p = {
		.name = "parking",
		.store_env = "PARKING_STORE",
		.tables = {SLOTS_TABLE},
		.commands = commands,
		.count = sizeof(commands) / sizeof(commands[0]),
	};

	return program_main(&p, argc, argv);
}
