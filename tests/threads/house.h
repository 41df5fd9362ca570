/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One store in one process with all that can run on a thread of its own: a
 * relay, a worker with a pool for its external handler, a projector. Relay and
 * worker have a memory broker each, since such a broker belongs to one thread.
 * Everything fails the test by itself; house_open and house_close are for when
 * no other thread is there.
 */
#ifndef TESTS_THREADS_HOUSE_H
#define TESTS_THREADS_HOUSE_H

#include <pthread.h>
#include <stdatomic.h>
#include <waybill/memory.h>
#include <waybill/projector.h>
#include <waybill/worker.h>

#include "tests/support/place.h"
#include "tests/support/testing.h"

enum { HOUSE_PARTS = 3, HOUSE_POOL = 4 };

/* A part's loop on its thread, and how it ended. */
typedef struct house_part {
	struct house *house;
	wb_code (*run)(struct house *house, wb_error *err);
	pthread_t thread;
	wb_code code;
	wb_error err;
} house_part;

typedef struct house {
	wb_store *store;
	wb_memory *out, *in; /* the relay's broker, the worker's */
	wb_broker *publisher, *consumer;
	wb_relay *relay;
	wb_worker *worker;
	wb_projector *projector;
	wb_projection projection; /* how many events each key has had */
	wb_handler counting, calling;
	wb_log log;
	house_part parts[HOUSE_PARTS];
	/* Told by handlers, on whatever thread. */
	atomic_uint counted, called, lines;
} house;

void house_open(house *h, const char *dir);
void house_close(house *h);

/* `count` messages of type "order.placed" for the worker, keys "in-0" to
 * "in-4" in turn; each makes it emit one event. */
void house_fill(house *h, unsigned count);

/* Each part on its thread; and until all have ended, well. */
void house_start(house *h);
void house_join(house *h);
/* End all of them: any thread, any signal handler. */
void house_stop(house *h);

/* What the relay left is sent, on this thread. */
void house_send_rest(house *h);

#endif
