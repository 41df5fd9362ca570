/* SPDX-License-Identifier: BSD-2-Clause */
/* Sleeping is all it does; nothing is kept. */
#include "cli/pace.h"

#include <time.h>

#include "cli/command.h"

enum { PACE_PAUSE_US = 200 }; /* between two transactions at least */

size_t cli_pace_batch(uint64_t rate, size_t most, size_t left)
{
	if (rate > 0 && rate / 10 < most)
		most = rate / 10 > 0 ? rate / 10 : 1;
	return left < most ? left : most;
}

void cli_pace_wait(uint64_t rate, uint64_t done, int64_t start_us)
{
	int64_t now_us = cli_mono_us(), due_us = start_us;
	struct timespec nap;

	if (rate > 0)
		due_us += (int64_t)((double)done * 1e6 / (double)rate);
	if (due_us < now_us + PACE_PAUSE_US)
		due_us = now_us + PACE_PAUSE_US;
	nap.tv_sec = (due_us - now_us) / 1000000;
	nap.tv_nsec = (due_us - now_us) % 1000000 * 1000;
	nanosleep(&nap, NULL);
}
