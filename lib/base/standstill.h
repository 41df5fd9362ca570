/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Does what is waited for still get further? Who waits for the end of something
 * that another process, a broker or a disk can hold up counts what gets done,
 * and gives up when that number has stood still for too long.
 */
#ifndef WBI_STANDSTILL_H
#define WBI_STANDSTILL_H

#include <stdbool.h>
#include <stdint.h>

enum { WBI_STANDSTILL_US = 60000000 }; /* unless something else is said */

typedef struct wbi_standstill {
	uint64_t done;    /* as last seen ... */
	int64_t since_us; /* ... and since when; 0: not yet */
} wbi_standstill;

/* Has `done` been the same for `most_us`? */
static inline bool wbi_stands_still(wbi_standstill *s, uint64_t done,
				    int64_t now_us, int64_t most_us)
{
	if (s->since_us == 0 || s->done != done)
		*s = (wbi_standstill){done, now_us};
	return now_us - s->since_us >= most_us;
}

#endif
