/* SPDX-License-Identifier: BSD-2-Clause */
/* One kind of process that dies at a call of it: which call is next, where it
 * died, and in the middle of what. See killpoint.c. */
#ifndef TESTS_DOOM_H
#define TESTS_DOOM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* The first that fits. */
typedef enum doom_moment {
	DOOM_HANDLING,	 /* a handler was being called */
	DOOM_COMMITTING, /* within a commit, or at its edge */
	DOOM_IN_TXN,	 /* a write transaction was open */
	DOOM_UNACKED,	 /* deliveries were not acked */
	DOOM_ELSEWHERE,
	DOOM_MOMENTS
} doom_moment;

enum { DOOM_FUNCTIONS = 40 };

typedef struct doom {
	const char *name; /* of the victim; borrowed */
	char log[PATH_MAX + 32], preload[PATH_MAX + 64];
	char number[40], when[40], log_env[PATH_MAX + 64];
	const char *env[5];
	unsigned long calls; /* in a run that was left alone */
	unsigned turn, kills, missed;
	unsigned moments[DOOM_MOMENTS];
	struct {
		char name[40];
		unsigned kills, moments[DOOM_MOMENTS];
	} rows[DOOM_FUNCTIONS];
	size_t row_count;
	char (*points)[96]; /* distinct ones */
	size_t point_count, point_max;
} doom;

/* The library is beside the program in `bin`; a file is made in `dir`. All
 * return false with a remark on standard error. */
bool doom_init(doom *d, const char *name, const char *bin, const char *dir);
void doom_fini(doom *d);

/* The environment of a run that is only counted, and its end. */
const char *const *doom_counted(doom *d);
bool doom_measure(doom *d, int status);

/* The environment of the next one to die: over all calls, before, after and
 * half way through, sooner or later. */
const char *const *doom_next(doom *d);
/* It has died: note where. */
bool doom_note(doom *d);

void doom_print(const doom *d);

#endif
