/* SPDX-License-Identifier: BSD-2-Clause */
/* A memory broker, a clock that stands still, and one connection that is up. */
#ifndef TESTS_MEMORY_WORLD_H
#define TESTS_MEMORY_WORLD_H

#include <waybill/memory.h>

#include "tests/support/fake_clock.h"
#include "tests/support/seeded_random.h"
#include "tests/support/witness.h"

typedef struct world {
	fake_clock clock;
	seeded_random random;
	wb_memory *memory;
	witness w;
	wb_error err;
} world;

/* For cmocka: *state is the world. */
int world_setup(void **state);
int world_teardown(void **state);

#endif
