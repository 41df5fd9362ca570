/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A multiply-and-fold hash, eight bytes at a time. It must be quick on keys of
 * ten to fifty bytes and hard to steer without the seed; no more. Pure.
 */
#include "lib/base/hash.h"

#include <string.h>

static uint64_t hash_fold(uint64_t a, uint64_t b)
{
	__extension__ typedef unsigned __int128 wide;
	wide product = (wide)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t wbi_hash(uint64_t seed, const void *bytes, size_t len)
{
	static const uint64_t odd1 = 0x9e3779b97f4a7c15u;
	static const uint64_t odd2 = 0xd6e8feb86659fd93u;
	const unsigned char *p = bytes;
	uint64_t state = seed ^ odd1 ^ (uint64_t)len;
	uint64_t word;

	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&word, p, 8);
		state = hash_fold(state ^ word, odd2 ^ seed);
	}
	word = 0;
	if (len > 0)
		memcpy(&word, p, len);
	state = hash_fold(state ^ word, odd1 ^ seed);
	return hash_fold(state, odd2);
}
