/* SPDX-License-Identifier: BSD-2-Clause */
/* A store, a memory broker, an ingest on queue "q" bound to "events" by "#",
 * and a clock that the test moves. Everything fails the test by itself. */
#ifndef TESTS_INGEST_RIG_H
#define TESTS_INGEST_RIG_H

#include <waybill/memory.h>

#include "inbox/ingest.h"
#include "lib/journal/inbox_rows.h"
#include "tests/support/fake_clock.h"
#include "tests/support/place.h"
#include "tests/support/seeded_random.h"

typedef struct ingest_rig {
	fake_clock clock;
	seeded_random random;
	wb_store *store;
	wb_memory *memory;
	wb_broker *broker;         /* the ingest's connection */
	wb_worker_options options; /* every default filled in */
	wbi_ingest *ingest;
	bool committed; /* some step said so since this was cleared */
	uint64_t foreign_acks; /* of the queue, by another store before it */
} ingest_rig;

void ingest_rig_init(ingest_rig *rig, const char *dir, uint64_t seed);
void ingest_rig_fini(ingest_rig *rig);

wb_worker_options ingest_rig_options(void);

void ingest_rig_start(ingest_rig *rig); /* opens the ingest */
void ingest_rig_kill(ingest_rig *rig);  /* as if its process had died */

/* Whatever it is; it must be routed. */
void ingest_rig_publish(ingest_rig *rig, const wb_message *message);
/* Events id-FIRST .. id-LAST, as another service's relay would send them. */
void ingest_rig_fill(ingest_rig *rig, unsigned first, unsigned last);

/* Step the ingest for so much time, 1 ms at a time. */
void ingest_rig_run(ingest_rig *rig, int64_t ms);
/* Until all that the queue holds is committed and acked; fails after 120 s of
 * the fake clock. */
void ingest_rig_settle(ingest_rig *rig);
/* Until the ingest takes from its queue. */
void ingest_rig_ready(ingest_rig *rig);

wbi_ingest_stat ingest_rig_stat(const ingest_rig *rig);
wb_memory_queue_stat ingest_rig_queue(const ingest_rig *rig);
wbi_ingest_status ingest_rig_status(ingest_rig *rig, char *room, size_t size);

/* How many events the inbox has; and are they id-1 .. id-COUNT, each once? */
uint64_t ingest_rig_count(ingest_rig *rig);
void ingest_rig_assert_each_once(ingest_rig *rig, unsigned count);
/* The event at a position, copied into static memory; and an extension
 * attribute of it, "" if it has none. */
const wb_event *ingest_rig_event(ingest_rig *rig, uint64_t position);
wb_str ingest_rig_header(const wb_event *event, const char *name);
uint64_t ingest_rig_dead(ingest_rig *rig); /* how many dead letters */

#endif
