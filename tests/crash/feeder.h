/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Feeds a worker's queue: the events of stream.h under CloudEvents headers,
 * each confirmed; and does to the queue what other consumers do. All calls
 * return false with a remark on standard error.
 */
#ifndef TESTS_FEEDER_H
#define TESTS_FEEDER_H

#include <waybill/broker.h>

#include "tests/support/seeded_random.h"

typedef struct feeder {
	wb_broker *broker;
	char exchange[64];
	uint64_t sent, confirmed;
} feeder;

bool feeder_open(feeder *f, const char *uri, const char *exchange);
void feeder_close(feeder *f);

/* Publish the event of this number, perhaps once more. */
bool feeder_send(feeder *f, uint64_t number);
/* New events from `first` on, in order, each once or twice more a little later;
 * all of it confirmed. */
bool feeder_feed(feeder *f, uint64_t first, unsigned count,
		 seeded_random *random);
/* Until all that was sent is confirmed. */
bool feeder_settle(feeder *f);

/* As a consumer of `queue`, take up to `most` deliveries and give them back in
 * an order that follows from `seed`. */
bool feeder_shuffle(const char *uri, const char *queue, unsigned most,
		    uint64_t seed);

#endif
