/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker as it is shipped, with the handlers of tests/crash, on a queue of
 * the private broker that the test feeds, a collector of what it emits, and the
 * books. All of it fails the test by itself; every wait has an end.
 */
#ifndef TESTS_YARD_H
#define TESTS_YARD_H

#include <sys/types.h>

#include "tests/crash/feeder.h"
#include "tests/crash/handled.h"
#include "tests/support/seeded_random.h"

enum { YARD_WAIT_MS = 60000, YARD_TEST_S = 240 };

typedef struct yard {
	char dir[PATH_MAX];
	char out[PATH_MAX + 16]; /* what the processes say */
	char exchange[64], after[80];
	handled books;
	feeder feeder;
	seeded_random random;
	pid_t worker, second, collector;
	unsigned ends; /* of workers that were not asked */
} yard;

/* cmocka's setup and teardown; *state is the yard. */
int yard_setup(void **state);
int yard_teardown(void **state);

/* The store, in `disk` (NULL: the yard's directory), the topology, the
 * collector and the feeder. */
void yard_open(yard *y, const char *disk, uint64_t map_bytes);

/* Start a worker; `env` as for child_start, `more` arguments, both may be NULL.
 */
pid_t yard_worker(yard *y, const char *const env[], const char *const more[]);
/* Its words are in y->out, at least this often. */
void yard_await_word(yard *y, const char *word, unsigned times);
/* It drains on SIGTERM and ends well. */
void yard_drain(pid_t *pid);
void yard_kill(yard *y, pid_t *pid);

/* Publish so many events, each two or three times, confirmed. */
void yard_feed(yard *y, unsigned count);

/* Everything published is handled by both, and what was emitted arrived. */
void yard_settle(yard *y);
/* It is in the inbox at least. */
void yard_await_taken(yard *y);
void yard_await_dead(yard *y, uint64_t rows);
void yard_redrive(yard *y);

/* The worker drains, and the books must balance. Prints them. */
void yard_end(yard *y);

/* tests/support/rabbitmq-node. */
void yard_node(const char *command);
void yard_sleep_ms(int ms);

#endif
