/* SPDX-License-Identifier: BSD-2-Clause */
/* A store, a worker between two connections of a memory broker with exchange
 * "events" and queue "seen" for what is emitted, and a handler that counts.
 * Everything fails the test by itself. */
#ifndef TESTS_WORKER_RIG_H
#define TESTS_WORKER_RIG_H

#include <waybill/memory.h>
#include <waybill/worker.h>

#include "inbox/worker_internal.h"
#include "tests/support/fake_clock.h"
#include "tests/support/seeded_random.h"

typedef struct worker_rig {
	fake_clock clock;
	seeded_random random;
	wb_store *store;
	wb_memory *memory;
	wb_broker *consumer, *publisher;
	wb_worker_options options;
	wb_relay_options relay;
	wb_worker *worker;
	unsigned called; /* by a handler */
	int gate[2];     /* of a test whose external call waits for it */
} worker_rig;

/* `fake`: the clock is the rig's, else the system's. */
void worker_rig_init(worker_rig *r, const char *dir, bool fake);
void worker_rig_fini(worker_rig *r);

/* It counts calls of order.placed and emits order.seen: its effects. */
wb_handler worker_rig_handler(worker_rig *r, const char *name);
void worker_rig_start(worker_rig *r, const wb_handler *handler);
/* A worker with the handler "count", put into *h, which must outlive it, until
 * it runs. */
void worker_rig_run(worker_rig *r, wb_handler *h);

/* One step, and 100 us pass. */
void worker_rig_step(worker_rig *r);
void worker_rig_until_state(worker_rig *r, wb_worker_state state);
/* Idle, with nothing left in its queue "q". */
void worker_rig_until_idle(worker_rig *r);

wb_memory_queue_stat worker_rig_queue(const worker_rig *r, const char *name);
wb_code worker_rig_put(worker_rig *r, wb_str type, unsigned number,
		       wb_error *err);
/* order.placed, numbered from `first` on. */
void worker_rig_fill(worker_rig *r, unsigned first, unsigned count);
/* Each event had its effect once: as many are seen, all of another cause. */
void worker_rig_assert_seen(worker_rig *r, unsigned count);

/* One event into the inbox, as if somebody else had taken it in. */
void worker_rig_append(worker_rig *r);

#endif
