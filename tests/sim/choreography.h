/* SPDX-License-Identifier: BSD-2-Clause */
/* The choreography example in a world of its own, from one seed. */
#ifndef TESTS_SIM_CHOREOGRAPHY_H
#define TESTS_SIM_CHOREOGRAPHY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { SIM_CHOREOGRAPHY_EVERY = 2 }; /* seeds */

typedef struct sim_choreography_tally {
	uint64_t towns, bookings, done, refunded, expired, deaths, deliveries;
} sim_choreography_tally;

/* False: `why` says what did not hold. What happened goes into *digest. */
bool sim_choreography_run(uint64_t seed, const char *base, FILE *log,
			  sim_choreography_tally *tally, uint64_t *digest,
			  char *why, size_t size);

#endif
