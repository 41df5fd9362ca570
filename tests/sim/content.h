/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an event of a world has beside its id, type and key: everything else
 * that an event can have, made from its id, so that whoever meets it anywhere
 * (at a queue, in a handler, in a model) can tell whether it is still whole.
 */
#ifndef TESTS_SIM_CONTENT_H
#define TESTS_SIM_CONTENT_H

#include <waybill/event.h>

enum { SIM_CONTENT_MAX = 512, SIM_CONTENT_HEADERS = 2 };

typedef struct sim_content {
	char about[128], cause[40], trace[56], state[40], answer[40];
	char schema[48], subject[40], values[SIM_CONTENT_HEADERS][40];
	wb_header headers[SIM_CONTENT_HEADERS];
	char data[SIM_CONTENT_MAX];
} sim_content;

/* The rest of `event`, which has id, type and key: `size` bytes of data at most
 * SIM_CONTENT_MAX. It points into `room`. */
void sim_content_fill(wb_event *event, size_t size, sim_content *room);

/* NULL: it is as it was filled, its subject perhaps that of a stream; else the
 * name of what is not. */
const char *sim_content_differs(const wb_event *event);

#endif
