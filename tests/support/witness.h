/* SPDX-License-Identifier: BSD-2-Clause */
/* Drives one broker connection on a fake clock and writes down, in order, what
 * it told. For tests of the memory broker and of what runs on it. */
#ifndef TESTS_WITNESS_H
#define TESTS_WITNESS_H

#include <waybill/broker.h>

enum { WITNESS_MAX = 4096 };

typedef struct witness_event {
	wb_broker_event_kind kind;
	uint64_t token;
	uint16_t reply_code;
	wb_code code;
	uint64_t delivery;
	bool redelivered;
	char id[64]; /* message id of a delivery */
	int64_t offset; /* of one of a stream; -1: of none */
} witness_event;

typedef struct witness {
	wb_broker *broker;
	witness_event events[WITNESS_MAX];
	size_t count; /* what is beyond WITNESS_MAX is only counted */
	char refusal[256]; /* the broker's words at the last DECLARE_FAILED */
} witness;

/* Step once, then take all there is. */
void witness_step(witness *w);

/* How many events of this kind there were. */
size_t witness_count(const witness *w, wb_broker_event_kind kind);

/* The index-th of this kind; NULL if there were not so many. */
const witness_event *witness_get(const witness *w, wb_broker_event_kind kind,
				 size_t index);

void witness_clear(witness *w);

#endif
