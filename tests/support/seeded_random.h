/* SPDX-License-Identifier: BSD-2-Clause */
/* Randomness that one seed repeats. Not for secrets. One thread. */
#ifndef TESTS_SEEDED_RANDOM_H
#define TESTS_SEEDED_RANDOM_H

#include <waybill/base.h>

typedef struct seeded_random {
	wb_random random; /* give &seeded.random away; it points back here */
	uint64_t state[4];
} seeded_random;

/* Must not be moved in memory afterwards. */
void seeded_random_init(seeded_random *seeded, uint64_t seed);

uint64_t seeded_random_next(seeded_random *seeded);

/* Evenly from 0 to below - 1; 0 if `below` is 0. */
uint64_t seeded_random_below(seeded_random *seeded, uint64_t below);

/* True `permille` times in a thousand. */
bool seeded_random_chance(seeded_random *seeded, unsigned permille);

#endif
