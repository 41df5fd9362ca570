/* SPDX-License-Identifier: BSD-2-Clause */
/* The events that a command decides on, copied as it names them. */
#ifndef WBI_DECISION_H
#define WBI_DECISION_H

#include <waybill/aggregate.h>

struct wb_decision {
	wb_event *events;
	void **blocks; /* what each of them points into */
	size_t count, room;
	uint64_t version;
	wb_code failed; /* of the first event that could not be added */
};

/* Also of one that is all zeros. */
void wbi_decision_clear(wb_decision *decision);

#endif
