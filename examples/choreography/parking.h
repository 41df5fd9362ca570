/* SPDX-License-Identifier: BSD-2-Clause */
/* The service parking: slots, each of them free or of one booking. */
#ifndef PARKING_H
#define PARKING_H

#include "examples/choreography/flow.h"

typedef enum slot_state { SLOT_AVAILABLE = 1, SLOT_RESERVED } slot_state;

typedef struct parking_slot {
	uint32_t state;
	char name[FLOW_SLOT_MAX + 1];
	char holder[FLOW_REF_MAX + 4]; /* a booking's reference */
} parking_slot;

typedef struct parking_tables {
	MDB_dbi slots; /* UUID -> parking_slot */
	MDB_dbi names; /* name -> UUID */
} parking_tables;

const char *slot_state_name(uint32_t state);

wb_code parking_open(MDB_txn *txn, parking_tables *ret, wb_error *err);

/* ---- the rules: in the caller's transaction, and of nothing but rows ----- */

/* WB_EEXISTS: there is a slot of this name. */
wb_code parking_add(const parking_tables *t, MDB_txn *txn, wb_str name,
		    const char uuid[WB_UUID_TEXT_LEN + 1], wb_error *err);
/* By name or UUID; WB_ENOTFOUND: there is none. `uuid` may be NULL. */
wb_code parking_get(const parking_tables *t, MDB_txn *txn, wb_str which,
		    char uuid[WB_UUID_TEXT_LEN + 1], parking_slot *ret,
		    wb_error *err);
/* For the booking `ref`, SLOT:UUID. WB_ESTATE: it is not free. */
wb_code parking_reserve(const parking_tables *t, MDB_txn *txn, wb_str ref,
			wb_error *err);

/* ---- its part in the flow ------------------------------------------------ */

extern const wb_flow_part parking_part;

#endif
