/* SPDX-License-Identifier: BSD-2-Clause */
/* What a booking is: a stream "booking/REF" of events, and what they amount to.
 * The events are the truth; everything else can be made from them again. */
#ifndef BOOKING_H
#define BOOKING_H

#include <waybill/aggregate.h>
#include <waybill/projection.h>

enum { BOOKING_SLOT_MAX = 63, BOOKING_REASON_MAX = 127, BOOKING_ROW_MAX = 300 };

typedef enum booking_status {
	BOOKING_NONE,
	BOOKING_PENDING,
	BOOKING_RESERVED,
	BOOKING_COMPLETED,
	BOOKING_REJECTED
} booking_status;

typedef struct booking {
	uint32_t status; /* booking_status */
	char slot[BOOKING_SLOT_MAX + 1];
	char reason[BOOKING_REASON_MAX + 1];
} booking;

/* Also of the number that a row says; "unknown" for any other. */
const char *booking_status_name(uint32_t status);

/* What one event does to a booking: the fold and the read model share it. */
wb_code booking_change(booking *b, const wb_event *event, wb_error *err);

/* The aggregate, and its commands; the argument of create is the slot, that of
 * reject the reason, both const char *. */
extern const wb_aggregate_def booking_aggregate;
wb_code booking_create(wb_decision *d, const void *state, void *arg,
		       wb_error *err);
wb_code booking_reserve(wb_decision *d, const void *state, void *arg,
			wb_error *err);
wb_code booking_complete(wb_decision *d, const void *state, void *arg,
			 wb_error *err);
wb_code booking_reject(wb_decision *d, const void *state, void *arg,
		       wb_error *err);

/* The read model: table "bookings", REF → "STATUS VERSION SLOT REASON", with
 * an index by status. */
extern const wb_projection booking_model;

#endif
