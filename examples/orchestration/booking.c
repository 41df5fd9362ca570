/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole of a booking, on one page: five steps, and what takes each back.
 * Two are booking's own and run in its own transaction; three are commands to
 * others, of which waybill knows whether they were carried out.
 *
 *   create ─▶ block ─▶ pay ─▶ reserve ─▶ complete
 *   fail   ◀─ unblock ◀─ refund ◀┘ (refused: backwards over what took effect)
 */
#include "examples/orchestration/booking.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/orchestration/contract.h"
#include "examples/orchestration/rows.h"

typedef struct booking {
	char status[16], slot[NAME_LEN_MAX + 1], account[NAME_LEN_MAX + 1];
	char amount[MONEY_TEXT_MAX], receipt[NAME_LEN_MAX + 1];
	char reason[ROW_MAX];
} booking;

static MDB_dbi table_of(wb_call *call)
{
	return *(MDB_dbi *)wb_call_state(call);
}

static wb_code booking_get(wb_call *call, booking *ret, wb_error *err)
{
	char row[ROW_MAX];
	wb_code code = row_get(wb_call_txn(call), table_of(call),
			       wb_saga_id(call), row, err);

	if (code != WB_OK)
		return code;
	if (sscanf(row, "%15s %40s %40s %23s %40s %399[^\n]", ret->status,
		   ret->slot, ret->account, ret->amount, ret->receipt,
		   ret->reason) != 6)
		return wb_stop(err, "a booking that is none: \"%s\"", row);
	return WB_OK;
}

static wb_code booking_put(wb_call *call, const booking *b, wb_error *err)
{
	return row_put(wb_call_txn(call), table_of(call), wb_saga_id(call), err,
		       "%s %s %s %s %s %.200s", b->status, b->slot, b->account,
		       b->amount, b->receipt, b->reason);
}

/* ---- steps of its own ---------------------------------------------------- */

static wb_code create(wb_call *call, wb_error *err)
{
	booking b = {.status = "pending", .receipt = "-", .reason = "-"};
	request r;
	wb_code code = request_read(wb_saga_data(call), &r, err);

	if (code != WB_OK)
		return code;
	memcpy(b.slot, r.slot, sizeof(b.slot));
	memcpy(b.account, r.account, sizeof(b.account));
	money_text(r.amount, b.amount);
	return booking_put(call, &b, err);
}

static wb_code set_status(wb_call *call, const char *status, wb_str reason,
			  wb_error *err)
{
	booking b;
	wb_code code = booking_get(call, &b, err);

	if (code != WB_OK)
		return code;
	snprintf(b.status, sizeof(b.status), "%s", status);
	if (reason.len > 0)
		snprintf(b.reason, sizeof(b.reason), "%.*s", (int)reason.len,
			 reason.ptr);
	return booking_put(call, &b, err);
}

static wb_code fail(wb_call *call, wb_error *err)
{
	return set_status(call, "failed", wb_saga_reason(call), err);
}

static wb_code complete(wb_call *call, wb_error *err)
{
	return set_status(call, "completed", WB_STR_NULL, err);
}

/* billing has answered: keep its receipt. */
static wb_code keep_receipt(wb_call *call, const wb_event *reply, wb_error *err)
{
	booking b;
	wb_code code = booking_get(call, &b, err);

	if (code != WB_OK || !is_name(reply->data))
		return code;
	snprintf(b.receipt, sizeof(b.receipt), "%.*s", (int)reply->data.len,
		 reply->data.ptr);
	return booking_put(call, &b, err);
}

/* ---- all of it ----------------------------------------------------------- */

/* How long an answer may take, and how often one is asked. Undo is asked for
 * about a day before a human is. */
#define PATIENCE                                                               \
	.deadline_ms = 8000, .attempts_max = 2, .undo_attempts_max = 1500,     \
	.backoff_min_ms = 500

const wb_step booking_steps[BOOKING_STEPS] = {
	{"create", .run = create, .run_undo = fail},
	{"block", .command = PARKING_BLOCK, .undo = PARKING_UNBLOCK, PATIENCE},
	{"pay", .command = BILLING_AUTHORIZE, .undo = BILLING_REFUND, PATIENCE,
	 .reply = keep_receipt},
	/* From here on it goes forward only. */
	{"reserve", WB_PIVOT, .command = PARKING_RESERVE,
	 .probe = PARKING_RESERVATION, PATIENCE},
	{"complete", WB_RETRIABLE, .run = complete},
};

static wb_code booking_open(const wb_handler *self, wb_store *store,
			    MDB_txn *txn, void **ret_state, wb_error *err)
{
	MDB_dbi *table = calloc(1, sizeof(*table));

	(void)self;
	(void)store;
	if (!table)
		return wb_error_set(err, WB_ENOMEM, 0, __func__,
				    "out of memory");
	*ret_state = table;
	return wb_store_error(
		mdb_dbi_open(txn, BOOKINGS_TABLE, MDB_CREATE, table), err,
		BOOKINGS_TABLE);
}

const wb_saga booking_saga = {
	.size = sizeof(wb_saga),
	.name = "booking",
	.steps = booking_steps,
	.count = BOOKING_STEPS,
	.open = booking_open,
	.close = free,
};
