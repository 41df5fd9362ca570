/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * booking begins the flow and hears how it ends. Each reaction below changes a
 * row in the transaction that waybill has open for it: the row, the note that
 * the step was done, and that its event was handled are one commit. So none of
 * them asks whether it has been here before; they are not called then.
 */
#include "examples/choreography/booking.h"

#include <stdlib.h>
#include <string.h>

#include "examples/choreography/rows.h"

const char *booking_state_name(uint32_t state)
{
	static const char *const names[] = {"none", "pending", "done",
					    "failed"};

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

wb_code booking_open(MDB_txn *txn, booking_tables *ret, wb_error *err)
{
	return rows_open(txn, "bookings", &ret->bookings, err);
}

/* ---- the rules ----------------------------------------------------------- */

wb_code booking_add(const booking_tables *t, MDB_txn *txn, wb_str ref,
		    wb_error *err)
{
	booking b;

	memset(&b, 0, sizeof(b));
	b.state = BOOKING_PENDING;
	return rows_put(txn, t->bookings, ref, &b, sizeof(b), err);
}

wb_code booking_get(const booking_tables *t, MDB_txn *txn, wb_str ref,
		    booking *ret, wb_error *err)
{
	wb_code code = rows_get(txn, t->bookings, ref, ret, sizeof(*ret), err);

	if (code == WB_ENOTFOUND)
		return wb_error_set(err, code, 0, __func__,
				    "there is no booking \"%.*s\"",
				    (int)ref.len, ref.ptr);
	return code;
}

wb_code booking_end(const booking_tables *t, MDB_txn *txn, wb_str ref,
		    booking_state state, wb_str why, wb_error *err)
{
	booking b;
	wb_code code = booking_get(t, txn, ref, &b, err);

	if (code != WB_OK)
		return code;
	b.state = state;
	rows_text(b.why, sizeof(b.why), why);
	return rows_put(txn, t->bookings, ref, &b, sizeof(b), err);
}

/* ---- what it does when it hears of it ------------------------------------ */

static wb_code on_finish(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)event;
	return booking_end(wb_call_state(call), wb_call_txn(call),
			   wb_flow_saga(call), BOOKING_DONE, WB_STR_NULL, err);
}

static wb_code on_fail(wb_call *call, const wb_event *event, wb_error *err)
{
	return booking_end(wb_call_state(call), wb_call_txn(call),
			   wb_flow_saga(call), BOOKING_FAILED, event->data,
			   err);
}

static wb_code on_lapse(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)event;
	return booking_end(wb_call_state(call), wb_call_txn(call),
			   wb_flow_saga(call), BOOKING_FAILED,
			   wb_str_from("the bill was not paid in time"), err);
}

static const wb_flow_binding bindings[] = {
	{"finish", .run = on_finish},
	{"fail", .run = on_fail},
	{"lapse", .run = on_lapse},
};

static wb_code part_open(const wb_handler *self, wb_store *store, MDB_txn *txn,
			 void **ret_state, wb_error *err)
{
	booking_tables *t = calloc(1, sizeof(*t));
	wb_code code;

	(void)self;
	(void)store;
	if (!t)
		return wb_error_set(err, WB_ENOMEM, 0, __func__,
				    "out of memory");
	code = booking_open(txn, t, err);
	if (code == WB_OK)
		*ret_state = t;
	else
		free(t);
	return code;
}

const wb_flow_part booking_part = {
	.size = sizeof(wb_flow_part),
	.flow = &flow,
	.service = "booking",
	.bindings = bindings,
	.count = sizeof(bindings) / sizeof(bindings[0]),
	.open = part_open,
	.close = free,
};

wb_code booking_create(const booking_tables *t, wb_choreography *c,
		       MDB_txn *txn, wb_str ref, wb_error *err)
{
	wb_event created = {.type = wb_str_from("booking.created"),
			    .subject = ref};
	wb_code code = booking_add(t, txn, ref, err);

	if (code != WB_OK)
		return code;
	return wb_flow_begin(c, txn, "create", ref, &created, WB_STR_NULL, err);
}
