/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The books of a worker that is killed: what was published and confirmed, what
 * its store holds (read afresh), what its external handler did (a file), and
 * what another process received of what it emitted. Nothing is told by the
 * worker about itself. For the events: see stream.h and work_of.h.
 */
#ifndef TESTS_HANDLED_H
#define TESTS_HANDLED_H

#include <limits.h>

#include <waybill/store.h>

#include "tests/support/checker.h"

enum { HANDLED_KEYS = 16 };

typedef struct handled {
	char store[PATH_MAX], effects[PATH_MAX], arrivals[PATH_MAX];
	long effects_at, arrivals_at; /* read up to here */
	uint64_t inbox_head, outbox_head, applied_head; /* likewise */
	uint64_t published; /* events 1 .. published are confirmed */
	uint64_t taken;     /* of them, in the inbox */
	checker *count, *call; /* inbox -> applied by that handler */
	checker *done;	       /* outbox -> arrived elsewhere */
	struct {
		char key[16];
		uint64_t highest; /* number taken in */
		uint64_t applied;
	} keys[HANDLED_KEYS];
	size_t key_count;
	uint64_t strange; /* in the inbox, and not published, or twice */
	uint64_t foreign; /* in the inbox, from other producers */
	uint64_t late;	  /* taken in behind a later event of its key: the
			     broker's doing */
	uint64_t torn;	  /* own tables, inbox and outbox contradict each other,
			     or one event has two follow-ups */
	uint64_t unstable; /* a call without its idempotency key */
} handled;

/* Makes the store, of `map_bytes` (0: 1 GiB); nothing in it is ever pruned.
 * Calls return false with a remark on standard error. */
bool handled_init(handled *h, const char *dir, uint64_t map_bytes);
void handled_fini(handled *h);

/* Read on; *ret_all: is everything that was published taken in, handled by
 * both, and has every follow-up arrived? */
bool handled_look(handled *h, bool *ret_all);

/* Look until follow-ups have arrived; false also if something is missing. */
bool handled_await_arrivals(handled *h, int timeout_ms);

/* Rows of dead letters. */
bool handled_dead(const handled *h, uint64_t *ret);

/* Prints all counts; are those that must be 0? `kills` bounds how often the
 * external handler may have repeated itself. */
bool handled_close_books(handled *h, uint64_t kills);

#endif
