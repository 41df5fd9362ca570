/* SPDX-License-Identifier: BSD-2-Clause */
/* The service billing: a bill for each booking, paid in parts or at once. */
#ifndef BILLING_H
#define BILLING_H

#include "examples/choreography/flow.h"

enum { BILLING_TOTAL = 10000 }; /* 100.00 */

typedef enum bill_state {
	BILL_PENDING = 1,
	BILL_PAID,
	BILL_REFUNDED,
	BILL_EXPIRED
} bill_state;

typedef struct bill {
	uint32_t state;
	uint32_t payments;         /* records there are */
	int64_t total, paid, back; /* minor units */
	int64_t made_us;
} bill;

/* One row per movement of money; what is paid back is below 0. */
typedef struct payment {
	int64_t amount, time_us;
} payment;

typedef struct billing_tables {
	MDB_dbi bills;    /* reference -> bill */
	MDB_dbi payments; /* reference#number -> payment */
} billing_tables;

const char *bill_state_name(uint32_t state);

wb_code billing_open(MDB_txn *txn, billing_tables *ret, wb_error *err);

/* ---- the rules: in the caller's transaction, and of nothing but rows ----- */

wb_code billing_add(const billing_tables *t, MDB_txn *txn, wb_str ref,
		    int64_t now_us, wb_error *err);
/* WB_ENOTFOUND: there is no such bill. */
wb_code billing_get(const billing_tables *t, MDB_txn *txn, wb_str ref,
		    bill *ret, wb_error *err);
/* WB_ESTATE: it is not pending. WB_EINVAL: that is more than is left.
 * *ret_full: nothing is left, the bill is paid. */
wb_code billing_take(const billing_tables *t, MDB_txn *txn, wb_str ref,
		     int64_t amount, int64_t now_us, bool *ret_full,
		     wb_error *err);
/* Pay back all that was paid; the bill is REFUNDED or EXPIRED then. */
wb_code billing_give_back(const billing_tables *t, MDB_txn *txn, wb_str ref,
			  bill_state state, int64_t now_us, wb_error *err);

/* ---- its part in the flow ------------------------------------------------ */

extern const wb_flow_part billing_part;

/* A payment, and the event when it was the last. */
wb_code billing_pay(const billing_tables *t, wb_choreography *c, MDB_txn *txn,
		    wb_str ref, int64_t amount, int64_t now_us, wb_error *err);

#endif
