/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A piece of work that a crash of the machine may end anywhere: what it is, and
 * what must hold of whatever the disk then has.
 */
#ifndef TESTS_CRASH_POINTS_H
#define TESTS_CRASH_POINTS_H

#include <stdint.h>

typedef struct crash_work {
	const char *name;
	/* What is there before; not recorded. NULL: nothing. */
	void (*prepare)(const char *dir);
	/* The work. disk_trace_mark() says what was promised to somebody. */
	void (*run)(const char *dir);
	/* In a process of its own: open, check, go on. `marked` is the last mark
	 * before the crash. Fails by assertion. */
	void (*check)(const char *dir, uint64_t marked);
} crash_work;

extern const crash_work crash_creation;
extern const crash_work crash_append;
extern const crash_work crash_relay;
extern const crash_work crash_worker;
extern const crash_work crash_projection;

/* The store in `dir` has no finding. */
void crash_assert_sound(const char *dir);

#endif
