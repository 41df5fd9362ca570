/* SPDX-License-Identifier: BSD-2-Clause */
/* What the handlers under test do with an event, and what they leave: all
 * follows from the number in its id. Key and size are those of stream.h. */
#ifndef TESTS_WORK_OF_H
#define TESTS_WORK_OF_H

#include "tests/crash/stream.h"

/* Tables of the handler "count": number of the application -> the event's id,
 * and ordering key -> how many were applied. */
#define WORK_APPLIED "applied"
#define WORK_COUNTS "counts"
/* Where its total is among them; no ordering key looks like this. */
#define WORK_TOTAL "\001total"

/* For the handlers: a file that the handler "call" adds a line to, "id attempt
 * idempotency-key"; and if it is set, nothing is refused any more. */
#define WORK_EFFECTS "WAYBILL_CRASH_EFFECTS"
#define WORK_HEALED "WAYBILL_CRASH_HEALED"
/* Likewise: while this file is there every call is to be made again; the number
 * of the event that ends the process, and how often a call is attempted. */
#define WORK_BROKEN "WAYBILL_CRASH_BROKEN"
#define WORK_POISON "WAYBILL_CRASH_POISON"
#define WORK_ATTEMPTS "WAYBILL_CRASH_ATTEMPTS"

/* How often each handler wants to be called in vain first. */
static inline unsigned work_retries(uint64_t number, bool external)
{
	if (external)
		return number % 19 == 3 ? 1 : 0;
	return number % 13 == 5 ? 2 : 0;
}

/* Refused until the handler is healed. */
static inline bool work_is_refused(uint64_t number, bool external)
{
	return external ? number % 23 == 7 : number % 17 == 9;
}

#endif
