/* SPDX-License-Identifier: BSD-2-Clause */
/* See memory_fixture.h. One thread; the broker belongs to the fixture. */
#include "tests/conformance/memory_fixture.h"

static wb_code fixture_make(void *ctx, wb_broker **ret, wb_error *err)
{
	return wb_memory_connect(((memory_fixture *)ctx)->memory, ret, err);
}

static void fixture_wait(void *ctx, wb_broker *broker)
{
	memory_fixture *m = ctx;
	int64_t due_us = wb_broker_deadline_us(broker);
	int64_t most_us = m->clock.mono_us + 1000;

	/* A little at least: or a wait for nothing would never end. */
	fake_clock_advance_us(&m->clock, 1);
	fake_clock_advance_to_us(&m->clock,
				 due_us < most_us ? due_us : most_us);
}

static int64_t fixture_now_us(void *ctx)
{
	return ((memory_fixture *)ctx)->clock.mono_us;
}

static bool fixture_delete_exchange(void *ctx, const char *name)
{
	memory_fixture *m = ctx;

	return wb_memory_delete_exchange(m->memory, name, NULL) == WB_OK;
}

static bool fixture_delete_queue(void *ctx, const char *name)
{
	memory_fixture *m = ctx;

	return wb_memory_delete_queue(m->memory, name, NULL) == WB_OK;
}

static bool fixture_block(void *ctx, bool blocked)
{
	wb_memory_block(((memory_fixture *)ctx)->memory, blocked);
	return true;
}

static wb_memory_settings fixture_settings(size_t body_max_bytes)
{
	wb_memory_settings s = WB_MEMORY_SETTINGS_INIT;

	s.confirm_min_us = 100;
	s.confirm_max_us = 2000;
	s.confirm_order = WB_MEMORY_RANDOM;
	s.body_max_bytes = body_max_bytes;
	return s;
}

static bool fixture_limit_body(void *ctx, size_t bytes)
{
	const wb_memory_settings s = fixture_settings(bytes);

	return wb_memory_set(((memory_fixture *)ctx)->memory, &s, NULL) ==
	       WB_OK;
}

bool memory_fixture_init(memory_fixture *m, uint64_t seed,
			 conformance_fixture *ret)
{
	*ret = (conformance_fixture){
		.name = "conformance: memory",
		.ctx = m,
		.make = fixture_make,
		.wait = fixture_wait,
		.now_us = fixture_now_us,
		.delete_exchange = fixture_delete_exchange,
		.delete_queue = fixture_delete_queue,
		.block = fixture_block,
		.limit_body = fixture_limit_body,
	};
	fake_clock_init(&m->clock);
	seeded_random_init(&m->random, seed);
	return wb_memory_new(&m->clock.clock, &m->random.random, &m->memory,
			     NULL) == WB_OK &&
	       fixture_limit_body(m, 0);
}

void memory_fixture_fini(memory_fixture *m)
{
	wb_memory_free(m->memory);
}
