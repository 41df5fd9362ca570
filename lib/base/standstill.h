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

enum {
	WBI_STANDSTILL_US = 60000000, /* unless something else is said */
	WBI_STANDSTILL_LOOK_US = 5000000
};

typedef struct wbi_standstill {
	uint64_t done;     /* as last seen ... */
	int64_t looked_us; /* ... at; 0: not yet */
	int64_t still_us;  /* so long it has been the same */
} wbi_standstill;

/*
 * Has `done` been the same for `most_us`? Time in which nobody looked (the
 * process was stopped, or busy) tells little: of it no more counts than
 * WBI_STANDSTILL_LOOK_US.
 */
static inline bool wbi_stands_still(wbi_standstill *s, uint64_t done,
				    int64_t now_us, int64_t most_us)
{
	int64_t since_us = now_us - s->looked_us;

	if (since_us > WBI_STANDSTILL_LOOK_US)
		since_us = WBI_STANDSTILL_LOOK_US;
	if (s->looked_us == 0 || s->done != done)
		*s = (wbi_standstill){.done = done};
	else
		s->still_us += since_us;
	s->looked_us = now_us;
	return s->still_us >= most_us;
}

#endif
