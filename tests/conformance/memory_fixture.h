/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory broker as a fixture of the conformance tests, on a clock that
 * jumps from one thing that is due to the next. */
#ifndef TESTS_MEMORY_FIXTURE_H
#define TESTS_MEMORY_FIXTURE_H

#include <waybill/memory.h>

#include "tests/conformance/conformance.h"
#include "tests/support/fake_clock.h"
#include "tests/support/seeded_random.h"

typedef struct memory_fixture {
	fake_clock clock;
	seeded_random random;
	wb_memory *memory;
} memory_fixture;

/* Must not be moved afterwards; `ret` points to it. */
bool memory_fixture_init(memory_fixture *m, uint64_t seed,
			 conformance_fixture *ret);
/* Its connections must be gone. */
void memory_fixture_fini(memory_fixture *m);

#endif
