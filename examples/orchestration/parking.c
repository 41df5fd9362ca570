/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * parking takes part: it blocks a slot, and then reserves it or makes it
 * available again.
 *
 * Who is refused a slot never asks to unblock it: a step that was rejected had
 * no effect and is not undone. An orchestrator that undid whatever it had asked
 * for would free the slot of the one who has it.
 */
#include "examples/orchestration/parking.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/orchestration/contract.h"
#include "examples/orchestration/rows.h"

typedef struct slot {
	char name[NAME_LEN_MAX + 1];
	char state[16], ref[REF_LEN_MAX + 1], door[16];
} slot;

static MDB_dbi table_of(wb_call *call)
{
	return *(MDB_dbi *)wb_call_state(call);
}

/* The slot that a command is about. */
static wb_code slot_get(wb_call *call, const wb_event *command, slot *ret,
			wb_error *err)
{
	char row[ROW_MAX];
	request r;
	wb_code code = request_read(command->data, &r, err);

	if (code != WB_OK)
		return code;
	memcpy(ret->name, r.slot, sizeof(ret->name));
	code = row_get(wb_call_txn(call), table_of(call), wb_str_from(r.slot),
		       row, err);
	if (code == WB_OK && row[0] == '\0')
		return wb_reject(err, "there is no slot %s", r.slot);
	if (code == WB_OK && sscanf(row, "%15s %100s %15s", ret->state,
				    ret->ref, ret->door) != 3)
		return wb_stop(err, "a slot that is none: \"%s\"", row);
	return code;
}

static wb_code slot_put(wb_call *call, const slot *s, const char *state,
			wb_str ref, wb_error *err)
{
	return row_put(wb_call_txn(call), table_of(call), wb_str_from(s->name),
		       err, "%s %.*s %s", state, (int)ref.len, ref.ptr,
		       s->door);
}

static bool is_reference(wb_str ref)
{
	for (size_t i = 0; i < ref.len; i++)
		if (ref.ptr[i] <= ' ' || ref.ptr[i] > '~')
			return false;
	return ref.len > 0 && ref.len <= REF_LEN_MAX;
}

static bool is_held_by(const slot *s, wb_str ref)
{
	return wb_str_eq(wb_str_from(s->ref), ref);
}

/* ---- commands ------------------------------------------------------------ */

static wb_code block(wb_call *call, const wb_event *command, wb_error *err)
{
	wb_str ref = wb_command_saga(call);
	slot s;
	wb_code code = slot_get(call, command, &s, err);

	if (code != WB_OK)
		return code;
	if (!is_reference(ref))
		return wb_reject(err,
				 "a reference is one word of at most %d "
				 "bytes",
				 REF_LEN_MAX);
	if (strcmp(s.door, "open") != 0)
		return wb_reject(err, "slot %s is closed", s.name);
	if (strcmp(s.state, "available") != 0)
		return wb_reject(err, "slot %s is %s for %s", s.name, s.state,
				 s.ref);
	return slot_put(call, &s, "blocked", ref, err);
}

static wb_code unblock(wb_call *call, const wb_event *command, wb_error *err)
{
	slot s;
	wb_code code = slot_get(call, command, &s, err);

	if (code != WB_OK)
		return code;
	if (!is_held_by(&s, wb_command_saga(call)))
		return wb_stop(err, "slot %s is %s for %s: who undoes that?",
			       s.name, s.state, s.ref);
	return slot_put(call, &s, "available", wb_str_from("-"), err);
}

static wb_code reserve(wb_call *call, const wb_event *command, wb_error *err)
{
	slot s;
	wb_code code = slot_get(call, command, &s, err);

	if (code != WB_OK)
		return code;
	if (strcmp(s.door, "open") != 0)
		return wb_reject(err, "slot %s is closed", s.name);
	if (!is_held_by(&s, wb_command_saga(call)))
		return wb_reject(err, "slot %s is not blocked for it", s.name);
	return slot_put(call, &s, "reserved", wb_command_saga(call), err);
}

/* ---- what it takes part in ----------------------------------------------- */

static const wb_command commands[] = {
	{PARKING_BLOCK, PARKING_UNBLOCK, NULL, block, unblock},
	{PARKING_RESERVE, NULL, PARKING_RESERVATION, reserve, NULL},
};

static wb_code parking_open(const wb_handler *self, wb_store *store,
			    MDB_txn *txn, void **ret_state, wb_error *err)
{
	MDB_dbi *table = calloc(1, sizeof(*table));

	(void)self;
	(void)store;
	if (!table)
		return wb_error_set(err, WB_ENOMEM, 0, __func__,
				    "out of memory");
	*ret_state = table;
	return wb_store_error(mdb_dbi_open(txn, SLOTS_TABLE, MDB_CREATE, table),
			      err, SLOTS_TABLE);
}

const wb_participant parking_participant = {
	.size = sizeof(wb_participant),
	.name = "parking",
	.commands = commands,
	.count = sizeof(commands) / sizeof(commands[0]),
	.open = parking_open,
	.close = free,
};
