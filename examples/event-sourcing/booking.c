/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rules. A command looks at the booking and says which event comes next,
 * or why not; an event says only what changed. Nothing here knows a store, a
 * file or a clock, so it can be tested by itself, and folding the same events
 * gives the same booking for ever.
 */
#include "examples/event-sourcing/booking.h"

#include <string.h>

static const char *const status_names[] = {"none", "pending", "reserved",
					   "completed", "rejected"};

enum { STATUSES = sizeof(status_names) / sizeof(status_names[0]) };

const char *booking_status_name(uint32_t status)
{
	return status < STATUSES ? status_names[status] : "unknown";
}

/* ---- events: what they change ------------------------------------------- */

static wb_code take_text(char *to, size_t max, wb_str from, wb_error *err)
{
	if (from.len > max)
		return wb_error_set(err, WB_ECORRUPT, 0, __func__,
				    "a text of %zu bytes", from.len);
	memset(to, 0, max + 1);
	if (from.len > 0)
		memcpy(to, from.ptr, from.len);
	return WB_OK;
}

wb_code booking_change(booking *b, const wb_event *event, wb_error *err)
{
	if (wb_str_eq(event->type, wb_str_from("BookingCreated"))) {
		b->status = BOOKING_PENDING;
		return take_text(b->slot, BOOKING_SLOT_MAX, event->data, err);
	}
	if (wb_str_eq(event->type, wb_str_from("BookingReserved")))
		b->status = BOOKING_RESERVED;
	if (wb_str_eq(event->type, wb_str_from("BookingCompleted")))
		b->status = BOOKING_COMPLETED;
	if (wb_str_eq(event->type, wb_str_from("BookingRejected"))) {
		b->status = BOOKING_REJECTED;
		return take_text(b->reason, BOOKING_REASON_MAX, event->data,
				 err);
	}
	return WB_OK; /* an event of a later version of this program */
}

static wb_code booking_apply(void *state, const wb_stream_event *event,
			     void *ctx, wb_error *err)
{
	(void)ctx;
	return booking_change(state, &event->event, err);
}

const wb_aggregate_def booking_aggregate = {
	.size = sizeof(wb_aggregate_def),
	.category = "booking",
	.state_bytes = sizeof(booking),
	.apply = booking_apply,
	/* A booking is plain bytes: its snapshot is a copy of them. */
	.tag = "booking.1",
	.snapshot_every = 2,
};

/* ---- commands: what comes next ------------------------------------------ */

static wb_code decide(wb_decision *d, const char *type, const char *text,
		      wb_error *err)
{
	wb_event event = {.type = wb_str_from(type), .data = wb_str_from(text)};

	if (text)
		event.content_type = wb_str_from("text/plain");
	return wb_decide(d, &event, err);
}

static wb_code refuse(const booking *b, const char *wanted, wb_error *err)
{
	if (b->status == BOOKING_NONE)
		return wb_error_set(err, WB_EREJECTED, 0, __func__,
				    "there is no such booking");
	return wb_error_set(err, WB_EREJECTED, 0, __func__,
			    "the booking is %s, not %s",
			    booking_status_name(b->status), wanted);
}

wb_code booking_create(wb_decision *d, const void *state, void *arg,
		       wb_error *err)
{
	const booking *b = state;
	const char *slot = arg;

	if (b->status != BOOKING_NONE)
		return refuse(b, "new", err);
	if (!slot[0] || strlen(slot) > BOOKING_SLOT_MAX ||
	    strpbrk(slot, " \t:/"))
		return wb_error_set(err, WB_EREJECTED, 0, __func__,
				    "a slot is named by 1 to %d characters "
				    "without spaces, ':' and '/'",
				    (int)BOOKING_SLOT_MAX);
	return decide(d, "BookingCreated", slot, err);
}

wb_code booking_reserve(wb_decision *d, const void *state, void *arg,
			wb_error *err)
{
	const booking *b = state;

	(void)arg;
	if (b->status != BOOKING_PENDING)
		return refuse(b, "pending", err);
	return decide(d, "BookingReserved", NULL, err);
}

wb_code booking_complete(wb_decision *d, const void *state, void *arg,
			 wb_error *err)
{
	const booking *b = state;

	(void)arg;
	if (b->status != BOOKING_RESERVED)
		return refuse(b, "reserved", err);
	return decide(d, "BookingCompleted", NULL, err);
}

wb_code booking_reject(wb_decision *d, const void *state, void *arg,
		       wb_error *err)
{
	const booking *b = state;
	const char *reason = arg;

	if (b->status != BOOKING_PENDING && b->status != BOOKING_RESERVED)
		return refuse(b, "open", err);
	if (strlen(reason) > BOOKING_REASON_MAX)
		return wb_error_set(err, WB_EREJECTED, 0, __func__,
				    "a reason has at most %d bytes",
				    (int)BOOKING_REASON_MAX);
	return decide(d, "BookingRejected", reason, err);
}
