/* SPDX-License-Identifier: BSD-2-Clause */
/* See world.h. */
#include "tests/broker-adapters/memory/world.h"

#include <stdlib.h>

#include "tests/support/testing.h"

int world_setup(void **state)
{
	world *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	fake_clock_init(&x->clock);
	seeded_random_init(&x->random, 7);
	assert_ok(wb_memory_new(&x->clock.clock, &x->random.random, &x->memory,
				&x->err),
		  x->err);
	assert_ok(wb_memory_connect(x->memory, &x->w.broker, &x->err), x->err);
	assert_ok(wb_broker_connect(x->w.broker, &x->err), x->err);
	witness_step(&x->w);
	witness_clear(&x->w);
	*state = x;
	return 0;
}

int world_teardown(void **state)
{
	world *x = *state;

	wb_broker_free(x->w.broker);
	wb_memory_free(x->memory);
	free(x);
	return 0;
}
