/* SPDX-License-Identifier: BSD-2-Clause */
/* Preloaded: the real-time clock of this process goes back by an hour every
 * hundred times that it is read. The monotonic clock is left alone. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SETBACK_EVERY = 100, SETBACK_S = 3600 };

__attribute__((visibility("default"))) int clock_gettime(clockid_t id,
							 struct timespec *ts)
{
	static atomic_long reads;
	int rc = (int)syscall(SYS_clock_gettime, id, ts);

	if (rc == 0 && id == CLOCK_REALTIME)
		ts->tv_sec -= atomic_fetch_add(&reads, 1) / SETBACK_EVERY *
			      SETBACK_S;
	return rc;
}
