/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rig's projection with a stream queue of the memory broker as its source,
 * whose streams behave as RabbitMQ's (tests/conformance/streams.c); time moves
 * by 10 ms a step.
 */
#ifndef TESTS_PROJECTIONS_QUEUE_RIG_H
#define TESTS_PROJECTIONS_QUEUE_RIG_H

#include <waybill/memory.h>

#include "tests/projections/rig.h"
#include "tests/support/fake_clock.h"

typedef struct queue_rig {
	rig rig;
	fake_clock clock;
	wb_memory *memory;
	wb_broker *admin, *live, *rebuild;
	int64_t max_length; /* of the queue; 0: unbounded */
} queue_rig;

/* Of a place whose store is to be made; without the queue. */
void queue_rig_init(queue_rig *s, test_place *place, wb_on_error on_error);
void queue_rig_fini(queue_rig *s);
/* What the broker is, beside a rig that is there already. */
void queue_rig_connect(queue_rig *s, const char *dir);
void queue_rig_declare(queue_rig *s);

/* As a relay publishes position `at` of its journal. */
void queue_rig_publish(queue_rig *s, uint64_t at, const char *key,
			const char *data);
void queue_rig_publish_many(queue_rig *s, uint64_t from, uint64_t to);

/* The queue with positions 1 to `count`, and a projector that has them all. */
void queue_rig_follow(queue_rig *s, uint64_t count);

/* Until it is idle, or with wanted >= 0 in that state. */
void queue_rig_go(queue_rig *s, int wanted);
void queue_rig_settle(queue_rig *s);
/* Until it is stuck at a mismatch whose text has this in it. */
void queue_rig_assert_stuck(queue_rig *s, const char *word);
wb_projector_stat queue_rig_stat(const queue_rig *s);
/* Of a model built anew, in another directory, from the same stream; closes the
 * projector, whose connection it takes. */
void queue_rig_fresh_digest(queue_rig *s, char ret[33]);

#endif
