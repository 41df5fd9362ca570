/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * billing answers a booking with a bill and says nothing more until that is
 * paid, or its time has run out. A payment and the timer both go through the
 * one writer of the store, so a bill is either paid or expired, and whoever
 * comes second is told.
 *
 * What was paid is a row per movement, and what bill and rows say agrees after
 * every commit: total of the rows = paid - back.
 */
#include "examples/choreography/billing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/choreography/rows.h"

const char *bill_state_name(uint32_t state)
{
	static const char *const names[] = {"none", "pending", "paid",
					    "refunded", "expired"};

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

wb_code billing_open(MDB_txn *txn, billing_tables *ret, wb_error *err)
{
	wb_code code = rows_open(txn, "bills", &ret->bills, err);

	return code == WB_OK ? rows_open(txn, "payments", &ret->payments, err)
			     : code;
}

/* ---- the rules ----------------------------------------------------------- */

static wb_code bill_put(const billing_tables *t, MDB_txn *txn, wb_str ref,
			const bill *b, wb_error *err)
{
	return rows_put(txn, t->bills, ref, b, sizeof(*b), err);
}

static wb_code payment_add(const billing_tables *t, MDB_txn *txn, wb_str ref,
			   bill *b, int64_t amount, int64_t now_us,
			   wb_error *err)
{
	payment p = {.amount = amount, .time_us = now_us};
	char key[FLOW_REF_MAX + 16];

	snprintf(key, sizeof(key), "%.*s#%06" PRIu32, (int)ref.len, ref.ptr,
		 ++b->payments);
	return rows_put(txn, t->payments, wb_str_from(key), &p, sizeof(p), err);
}

wb_code billing_add(const billing_tables *t, MDB_txn *txn, wb_str ref,
		    int64_t now_us, wb_error *err)
{
	bill b;

	memset(&b, 0, sizeof(b));
	b.state = BILL_PENDING;
	b.total = BILLING_TOTAL;
	b.made_us = now_us;
	return bill_put(t, txn, ref, &b, err);
}

wb_code billing_get(const billing_tables *t, MDB_txn *txn, wb_str ref,
		    bill *ret, wb_error *err)
{
	wb_code code = rows_get(txn, t->bills, ref, ret, sizeof(*ret), err);

	if (code == WB_ENOTFOUND)
		return wb_error_set(err, code, 0, __func__,
				    "there is no bill \"%.*s\"", (int)ref.len,
				    ref.ptr);
	return code;
}

wb_code billing_take(const billing_tables *t, MDB_txn *txn, wb_str ref,
		     int64_t amount, int64_t now_us, bool *ret_full,
		     wb_error *err)
{
	char left[MONEY_TEXT_MAX], text[MONEY_TEXT_MAX];
	bill b;
	wb_code code = billing_get(t, txn, ref, &b, err);

	if (code != WB_OK)
		return code;
	if (b.state != BILL_PENDING)
		return wb_error_set(err, WB_ESTATE, 0, __func__,
				    "the bill is %s", bill_state_name(b.state));
	if (amount <= 0 || amount > b.total - b.paid)
		return wb_error_set(
			err, WB_EINVAL, 0, __func__,
			"%s is more than the %s that is left to pay",
			money_text(amount, text),
			money_text(b.total - b.paid, left));
	b.paid += amount;
	*ret_full = b.paid == b.total;
	if (*ret_full)
		b.state = BILL_PAID;
	code = payment_add(t, txn, ref, &b, amount, now_us, err);
	return code == WB_OK ? bill_put(t, txn, ref, &b, err) : code;
}

wb_code billing_give_back(const billing_tables *t, MDB_txn *txn, wb_str ref,
			  bill_state state, int64_t now_us, wb_error *err)
{
	bill b;
	wb_code code = billing_get(t, txn, ref, &b, err);

	if (code != WB_OK)
		return code;
	b.state = state;
	if (b.paid > b.back)
		code = payment_add(t, txn, ref, &b, b.back - b.paid, now_us,
				   err);
	b.back = b.paid;
	return code == WB_OK ? bill_put(t, txn, ref, &b, err) : code;
}

/* ---- what it does when it hears of it ------------------------------------ */

/* The step is not done with this: it is when the bill is paid. */
static wb_code on_bill(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_code code = wb_flow_pending(call, err);

	(void)event;
	if (code != WB_OK)
		return code;
	return billing_add(wb_call_state(call), wb_call_txn(call),
			   wb_flow_saga(call), wb_call_now_us(call), err);
}

/* Time is up. What was paid in part goes back. */
static wb_code on_bill_expired(wb_call *call, const wb_event *event,
			       wb_error *err)
{
	(void)event;
	return billing_give_back(wb_call_state(call), wb_call_txn(call),
				 wb_flow_saga(call), BILL_EXPIRED,
				 wb_call_now_us(call), err);
}

/* Called if the bill was pending or paid, and once; never for a bill that is
 * not there. */
static wb_code on_refund(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)event;
	return billing_give_back(wb_call_state(call), wb_call_txn(call),
				 wb_flow_saga(call), BILL_REFUNDED,
				 wb_call_now_us(call), err);
}

static const wb_flow_binding bindings[] = {
	{"bill", .run = on_bill, .expire = on_bill_expired},
	{"refund", .run = on_refund},
};

static wb_code part_open(const wb_handler *self, wb_store *store, MDB_txn *txn,
			 void **ret_state, wb_error *err)
{
	billing_tables *t = calloc(1, sizeof(*t));
	wb_code code;

	(void)self;
	(void)store;
	if (!t)
		return wb_error_set(err, WB_ENOMEM, 0, __func__,
				    "out of memory");
	code = billing_open(txn, t, err);
	if (code == WB_OK)
		*ret_state = t;
	else
		free(t);
	return code;
}

const wb_flow_part billing_part = {
	.size = sizeof(wb_flow_part),
	.flow = &flow,
	.service = "billing",
	.bindings = bindings,
	.count = sizeof(bindings) / sizeof(bindings[0]),
	.open = part_open,
	.close = free,
};

wb_code billing_pay(const billing_tables *t, wb_choreography *c, MDB_txn *txn,
		    wb_str ref, int64_t amount, int64_t now_us, wb_error *err)
{
	wb_event paid = {.type = wb_str_from("bill.paid"), .subject = ref};
	char text[MONEY_TEXT_MAX];
	bool full = false;
	wb_code code = billing_take(t, txn, ref, amount, now_us, &full, err);

	if (code != WB_OK || !full)
		return code;
	/* Kept with the step: what a refund will be about. */
	return wb_flow_complete(c, txn, "bill", ref, &paid,
				wb_str_from(money_text(BILLING_TOTAL, text)),
				err);
}
