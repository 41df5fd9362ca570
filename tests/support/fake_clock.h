/* SPDX-License-Identifier: BSD-2-Clause */
/* A clock that stands still until a test moves it. One thread. */
#ifndef TESTS_FAKE_CLOCK_H
#define TESTS_FAKE_CLOCK_H

#include <waybill/base.h>

typedef struct fake_clock {
	wb_clock clock; /* give &fake.clock away; it points back here */
	int64_t real_us;
	int64_t mono_us;
} fake_clock;

/* 2026-01-01 00:00:00 UTC, and one second after an arbitrary zero. Must not be
 * moved in memory afterwards. */
void fake_clock_init(fake_clock *fake);

/* Both times go on. */
void fake_clock_advance_us(fake_clock *fake, int64_t us);

/* To this monotonic time, if it is still to come. */
void fake_clock_advance_to_us(fake_clock *fake, int64_t mono_us);

/* Only the wall clock jumps, either way. */
void fake_clock_jump_us(fake_clock *fake, int64_t us);

#endif
