/* SPDX-License-Identifier: BSD-2-Clause */
/* A store, a memory broker with exchange "events" and queue "all", a relay and
 * a clock that the test moves. Everything fails the test by itself. */
#ifndef TESTS_RELAY_RIG_H
#define TESTS_RELAY_RIG_H

#include <waybill/memory.h>
#include <waybill/outbox.h>
#include <waybill/relay.h>

#include "tests/support/fake_clock.h"
#include "tests/support/place.h"
#include "tests/support/seeded_random.h"

typedef struct relay_rig {
	fake_clock clock;
	seeded_random random;
	wb_store *store;
	wb_outbox *outbox;
	wb_memory *memory;
	wb_broker *broker; /* the relay's connection */
	wb_broker *admin;  /* declares */
	wb_routes *routes;
	wb_relay_options options;
	wb_relay *relay;
} relay_rig;

void relay_rig_init(relay_rig *rig, const char *dir, uint64_t seed);
void relay_rig_fini(relay_rig *rig);

void relay_rig_routes(relay_rig *rig, const wb_route *routes, size_t count);
void relay_rig_start(relay_rig *rig); /* opens the relay */
void relay_rig_kill(relay_rig *rig);  /* as if its process had died */

/* One event in a transaction of its own; returns its position. */
uint64_t relay_rig_append(relay_rig *rig, const char *type, const char *key);
/* One with this data size. */
uint64_t relay_rig_append_size(relay_rig *rig, const char *type,
			       const char *key, size_t size);

void relay_rig_declare(relay_rig *rig, const wb_declaration *what);
void relay_rig_bind(relay_rig *rig, const char *exchange, const char *key);

/* Step the relay for so much time, 1 ms at a time. */
void relay_rig_run(relay_rig *rig, int64_t ms);
/* Until it is idle; fails after 60 s of the fake clock. */
void relay_rig_settle(relay_rig *rig);

/* The positions that queue "all" received, as "1 2 3"; static. */
const char *relay_rig_arrived(relay_rig *rig);
/* Only those of this key. */
const char *relay_rig_arrived_of(relay_rig *rig, const char *key);

#endif
