/* SPDX-License-Identifier: BSD-2-Clause */
/* A clock that stands still until a test moves it: no state but the caller's,
 * nothing to free, one thread. */
#include "tests/support/fake_clock.h"

#include "lib/base/assert.h"

static int64_t fake_clock_real(void *ctx)
{
	return ((const fake_clock *)ctx)->real_us;
}

static int64_t fake_clock_mono(void *ctx)
{
	return ((const fake_clock *)ctx)->mono_us;
}

void fake_clock_init(fake_clock *fake)
{
	fake->clock = (wb_clock){fake_clock_real, fake_clock_mono, fake};
	fake->real_us = INT64_C(1767225600) * 1000000;
	fake->mono_us = 1000000;
}

void fake_clock_advance_us(fake_clock *fake, int64_t us)
{
	WB_ASSERT(us >= 0);
	fake->real_us += us;
	fake->mono_us += us;
}

void fake_clock_advance_to_us(fake_clock *fake, int64_t mono_us)
{
	if (mono_us > fake->mono_us)
		fake_clock_advance_us(fake, mono_us - fake->mono_us);
}

void fake_clock_jump_us(fake_clock *fake, int64_t us)
{
	fake->real_us += us;
}
