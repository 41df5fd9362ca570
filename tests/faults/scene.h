/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A store whose service is the test itself, an exchange and a queue on the
 * private broker, a relay and a collector as processes, and the books. All of
 * it fails the test by itself; every wait has an end.
 */
#ifndef TESTS_SCENE_H
#define TESTS_SCENE_H

#include <sys/types.h>

#include <waybill/outbox.h>
#include <waybill/relay.h>

#include "outbox/relay_report.h"
#include "tests/crash/child.h"
#include "tests/crash/declare.h"
#include "tests/crash/ledger.h"

enum {
	SCENE_WINDOW = 50,
	SCENE_WAIT_MS = 60000,
	SCENE_TEST_S = 240 /* then the test is over, whatever it does */
};

typedef struct scene {
	char dir[PATH_MAX];
	char out[PATH_MAX + 8]; /* what the processes say */
	ledger ledger;
	wb_store *store;
	wb_outbox *outbox;
	pid_t relay, second, collector;
	char exchange[64], queue[64];
	char uri[256]; /* for relays: a test may change it */
	bool balanced; /* scene_end saw the books balance */
} scene;

/* cmocka's setup and teardown; *state is the scene. */
int scene_setup(void **state);
int scene_teardown(void **state);

/* A store, opened; `disk` (NULL: the scene's directory) is where. */
void scene_store(scene *s, const char *disk, uint64_t map_bytes,
		 const wb_clock *clock);
/* The exchange and the queue, bound by `binding`. */
void scene_broker(scene *s, const char *binding, const wb_argument *arguments,
		  size_t count);
void scene_bind(scene *s, const char *exchange, const char *key);
/* Both, and a collector. */
void scene_usual(scene *s, const char *binding);

/* Start a relay; up to eight NAME=NUMBER, then NULL (see relayer.c). `env` as
 * for child_start. */
pid_t scene_relay(scene *s, const char *const env[],
		  const char *const settings[]);
void scene_collect(scene *s);

/* Append, one event per transaction. The stream's next events: */
void scene_append(scene *s, unsigned count);
/* One of this type and key, data of this size; returns what the append or the
 * commit said. What was committed is in the books. */
wb_code scene_try(scene *s, const char *type, const char *key, size_t size,
		  wb_error *err);
void scene_append_as(scene *s, const char *type, const char *key, size_t size);

/* Everything has arrived, but for what is parked now. */
void scene_settle(scene *s);
/* Wait for this many parked rows. */
void scene_await_parked(scene *s, uint64_t rows);
void scene_retry(scene *s, const char *key);

/* What the relay last wrote about itself. */
void scene_await_state(scene *s, wb_relay_state state);
uint64_t scene_counter(scene *s, enum wbi_relay_counter counter);
/* Wait until the counter is above this. */
void scene_await_counter(scene *s, enum wbi_relay_counter counter,
			 uint64_t above);

/* tests/support/rabbitmq-node; and its rabbitmqctl. */
void scene_node(const char *command);
void scene_ctl(const char *const args[]);

/* The relay drains on SIGTERM within two seconds, and the books must balance:
 * nothing lost, nothing phantom, nothing out of order, and for each of
 * `incidents` at most a window of repeats. Prints them. */
void scene_end(scene *s, unsigned incidents);

int64_t scene_now_us(void);
void scene_sleep_ms(int ms);

#endif
