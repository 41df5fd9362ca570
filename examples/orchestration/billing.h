/* SPDX-License-Identifier: BSD-2-Clause */
/* billing: has accounts and bills; takes money and gives it back. */
#ifndef ORCHESTRATION_BILLING_H
#define ORCHESTRATION_BILLING_H

#include <waybill/participant.h>

/*
 * Table "accounts": NAME → "BALANCE at-once" or "BALANCE ask", where a person
 * has to approve each payment.
 * Table "bills": REF → "STATUS AMOUNT ACCOUNT TOKEN", where STATUS is pending
 * (somebody is asked), paid, refunded, declined or cancelled, and TOKEN that of
 * the answer to come, or "-".
 */
#define ACCOUNTS_TABLE "accounts"
#define BILLS_TABLE "bills"

typedef struct billing_tables {
	MDB_dbi accounts, bills;
} billing_tables;

wb_code billing_tables_open(MDB_txn *txn, billing_tables *ret, wb_error *err);

/* A person answers for a pending bill: it is paid, or declined, and whoever
 * asked is told. Class REJECT: why that cannot be. */
wb_code billing_answer(wb_store *store, MDB_txn *txn, const billing_tables *t,
		       wb_str ref, bool approve, wb_error *err);

extern const wb_participant billing_participant;

#endif
