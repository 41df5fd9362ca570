/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system's clock and randomness, as the vtables that every part takes,
 * and what is made from them: ids and backoff delays. No state; any thread.
 */
#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "lib/base/assert.h"
#include "lib/base/backoff.h"

static int64_t system_read(clockid_t id)
{
	struct timespec ts;

	WB_ASSERT(clock_gettime(id, &ts) == 0);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int64_t system_real_us(void *ctx)
{
	(void)ctx;
	return system_read(CLOCK_REALTIME);
}

static int64_t system_mono_us(void *ctx)
{
	(void)ctx;
	return system_read(CLOCK_MONOTONIC);
}

const wb_clock *wb_system_clock(void)
{
	static const wb_clock clock = {system_real_us, system_mono_us, NULL};

	return &clock;
}

static void system_fill(void *ctx, void *buf, size_t len)
{
	uint8_t *at = buf;

	(void)ctx;
	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);

		if (n < 0) {
			WB_ASSERT(errno == EINTR);
			continue;
		}
		at += n;
		len -= (size_t)n;
	}
}

const wb_random *wb_system_random(void)
{
	static const wb_random random = {system_fill, NULL};

	return &random;
}

void wb_uuid7(const wb_clock *clock, const wb_random *random,
	      char ret_text[WB_UUID_TEXT_LEN + 1])
{
	static const char hex[] = "0123456789abcdef";
	uint64_t ms = (uint64_t)(clock->real_us(clock->ctx) / 1000);
	uint8_t raw[16];
	char *out = ret_text;

	random->fill(random->ctx, raw + 6, 10);
	for (int i = 0; i < 6; i++)
		raw[i] = (uint8_t)(ms >> (40 - 8 * i));
	raw[6] = (uint8_t)(0x70 | (raw[6] & 0x0f));
	raw[8] = (uint8_t)(0x80 | (raw[8] & 0x3f));
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = hex[raw[i] >> 4];
		*out++ = hex[raw[i] & 15];
	}
	*out = '\0';
}

int64_t wbi_backoff_next_us(wbi_backoff *backoff, const wb_random *random)
{
	uint64_t delay_us = (uint64_t)backoff->min_ms * 1000;
	uint64_t max_us = (uint64_t)backoff->max_ms * 1000;
	uint32_t draw;

	for (uint32_t i = 0; i < backoff->count && delay_us < max_us; i++)
		delay_us *= 2;
	if (delay_us > max_us)
		delay_us = max_us;
	if (backoff->count < UINT32_MAX)
		backoff->count++;
	random->fill(random->ctx, &draw, sizeof(draw));
	return (int64_t)(delay_us / 2 + draw % (delay_us / 2 + 1));
}
