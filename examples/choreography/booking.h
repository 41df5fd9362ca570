/* SPDX-License-Identifier: BSD-2-Clause */
/* The service booking: what customers have asked for, and what came of it. */
#ifndef BOOKING_H
#define BOOKING_H

#include "examples/choreography/flow.h"

typedef enum booking_state {
	BOOKING_PENDING = 1,
	BOOKING_DONE,
	BOOKING_FAILED
} booking_state;

typedef struct booking {
	uint32_t state;
	char why[124]; /* it failed */
} booking;

typedef struct booking_tables {
	MDB_dbi bookings; /* reference -> booking */
} booking_tables;

const char *booking_state_name(uint32_t state);

wb_code booking_open(MDB_txn *txn, booking_tables *ret, wb_error *err);

/* ---- the rules: in the caller's transaction, and of nothing but rows ----- */

wb_code booking_add(const booking_tables *t, MDB_txn *txn, wb_str ref,
		    wb_error *err);
/* WB_ENOTFOUND: there is no such booking. */
wb_code booking_get(const booking_tables *t, MDB_txn *txn, wb_str ref,
		    booking *ret, wb_error *err);
wb_code booking_end(const booking_tables *t, MDB_txn *txn, wb_str ref,
		    booking_state state, wb_str why, wb_error *err);

/* ---- its part in the flow ------------------------------------------------ */

extern const wb_flow_part booking_part;

/* A booking and the event that tells of it. */
wb_code booking_create(const booking_tables *t, wb_choreography *c,
		       MDB_txn *txn, wb_str ref, wb_error *err);

#endif
