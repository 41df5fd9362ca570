/* SPDX-License-Identifier: BSD-2-Clause */
/* Processes of a test: started with a few more variables, waited for with a
 * deadline, and dead with the thread that started them. */
#ifndef TESTS_CHILD_H
#define TESTS_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

enum { CHILD_ARGS_MAX = 40, CHILD_TIMEOUT = -1 };

/*
 * Run argv[0] (a path). `env` is a list of NAME=VALUE that ends with NULL, or
 * NULL; output of both kinds is added to `out`, or dropped if that is NULL.
 * Returns the pid, or -1.
 */
pid_t child_start(const char *const argv[], const char *const env[],
		  const char *out);

/* Wait for its end: its status as of waitpid(2). After timeout_ms it is killed
 * and the answer is CHILD_TIMEOUT. */
int child_wait(pid_t pid, int timeout_ms);

/* Is it still there? A status is kept for child_wait. */
bool child_alive(pid_t pid);

/* child_start and child_wait; CHILD_TIMEOUT also if it did not start. */
int child_run(const char *const argv[], const char *const env[],
	      const char *out, int timeout_ms);

/* SIGKILL, and wait; a pid of 0 or less is left alone. */
void child_kill(pid_t pid);

#endif
