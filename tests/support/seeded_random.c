/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xoshiro256** by Blackman and Vigna, its state filled by splitmix64, so that
 * neighbouring seeds give unrelated courses. No state but the caller's.
 */
#include "tests/support/seeded_random.h"

static uint64_t seeded_random_rotate(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

uint64_t seeded_random_next(seeded_random *seeded)
{
	uint64_t *s = seeded->state;
	uint64_t result = seeded_random_rotate(s[1] * 5, 7) * 9;
	uint64_t shifted = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= shifted;
	s[3] = seeded_random_rotate(s[3], 45);
	return result;
}

static void seeded_random_fill(void *ctx, void *buf, size_t len)
{
	uint8_t *at = buf;

	while (len > 0) {
		uint64_t word = seeded_random_next(ctx);
		size_t part = len < sizeof(word) ? len : sizeof(word);

		memcpy(at, &word, part);
		at += part;
		len -= part;
	}
}

void seeded_random_init(seeded_random *seeded, uint64_t seed)
{
	seeded->random = (wb_random){seeded_random_fill, seeded};
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15u;

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		seeded->state[i] = z ^ (z >> 31);
	}
}

/* The remainder's bias is below 2^-40 for every bound a test uses. */
uint64_t seeded_random_below(seeded_random *seeded, uint64_t below)
{
	return below ? seeded_random_next(seeded) % below : 0;
}

bool seeded_random_chance(seeded_random *seeded, unsigned permille)
{
	return seeded_random_below(seeded, 1000) < permille;
}
