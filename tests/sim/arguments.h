/* SPDX-License-Identifier: BSD-2-Clause */
/* What every simulator of worlds from seeds is told on its command line. */
#ifndef TESTS_SIM_ARGUMENTS_H
#define TESTS_SIM_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

enum { SIM_JOBS_MAX = 16 };

typedef struct sim_arguments {
	uint64_t first, count;
	uint64_t failures; /* end after so many */
	uint64_t jobs;     /* processes */
	bool verbose;
	bool twice; /* every seed again: it must repeat itself */
	const char *dir;
} sim_arguments;

/* The same for all, to be printed behind a program's own name and purpose. */
extern const char sim_arguments_help[];

/* Into *ret, with the defaults for what is not said; false: it is wrong. */
bool sim_arguments_parse(int argc, char **argv, sim_arguments *ret);

#endif
