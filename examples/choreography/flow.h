/* SPDX-License-Identifier: BSD-2-Clause */
/* The whole of the business in one table; each service is compiled with it and
 * runs its own rows. */
#ifndef FLOW_H
#define FLOW_H

#include <waybill/choreography.h>

enum { FLOW_SLOT_MAX = 63, FLOW_REF_MAX = 100 }; /* SLOT:UUID */

/* How long a bill may be paid; a booking hears of its end an hour later at
 * the latest, or it shows as stuck. */
enum { FLOW_BILL_MS = 24 * 3600 * 1000, FLOW_BOOKING_MS = 25 * 3600 * 1000 };

extern const wb_flow flow;

#endif
