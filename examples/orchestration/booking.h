/* SPDX-License-Identifier: BSD-2-Clause */
/* booking: has the bookings, and knows what one takes. */
#ifndef ORCHESTRATION_BOOKING_H
#define ORCHESTRATION_BOOKING_H

#include <waybill/saga.h>

/* Table "bookings": REF → "STATUS SLOT ACCOUNT AMOUNT RECEIPT REASON", where
 * STATUS is pending, completed or failed, and RECEIPT and REASON "-" if there
 * is none. REF, SLOT:UUID, is also the saga's id. */
#define BOOKINGS_TABLE "bookings"

enum { BOOKING_STEPS = 5, BOOKING_PRICE = 10000 };

extern const wb_step booking_steps[BOOKING_STEPS];
extern const wb_saga booking_saga;

#endif
