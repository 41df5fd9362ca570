/* SPDX-License-Identifier: BSD-2-Clause */
/* The events that the fault tests send: all follows from the number. */
#ifndef TESTS_STREAM_H
#define TESTS_STREAM_H

#include <inttypes.h>
#include <stdio.h>

#include <waybill/event.h>

#define STREAM_TABLE "service"

typedef struct stream_event {
	wb_event event;
	char id[32], data[160];
} stream_event;

/* One of eight keys, the first of them hot; some events have none. Key "astray"
 * is that of events for which no queue is bound. */
static inline const char *stream_key_of(uint64_t number)
{
	static const char *const keys[] = {"hot", "k1", "k2", "k3",
					   "k4",  "k5", "k6"};

	if (number % 29 == 13)
		return "astray";
	if (number % 11 == 10)
		return "";
	return keys[number % 3 == 0 ? 0 : number % 7];
}

static inline void stream_event_of(uint64_t number, stream_event *ret)
{
	const char *key = stream_key_of(number);

	snprintf(ret->id, sizeof(ret->id), "e-%" PRIu64, number);
	memset(ret->data, 'd', sizeof(ret->data));
	ret->event = (wb_event){
		.id = wb_str_from(ret->id),
		.type = wb_str_from(number % 29 == 13 ? "astray.made"
						      : "order.placed"),
		.key = wb_str_from(key),
		.data = wb_str_n(ret->data, 20 + number % 140)};
}

#endif
