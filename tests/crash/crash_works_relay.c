/* SPDX-License-Identifier: BSD-2-Clause */
/* A relay delivers what a store holds. */
#include <stdlib.h>

#include <waybill/memory.h>
#include <waybill/relay.h>

#include "tests/crash/crash_points.h"
#include "tests/crash/disk_trace.h"
#include "tests/support/fake_clock.h"
#include "tests/support/place.h"
#include "tests/support/seeded_random.h"
#include "tests/support/testing.h"

enum { RELAY_EVENTS = 12, RELAY_TURNS = 20000 };

typedef struct bench {
	fake_clock clock;
	seeded_random random;
	wb_memory *memory;
	wb_broker *broker;
	wb_store *store;
	wb_relay *relay;
} bench;

static void bench_declare(bench *b, const wb_declaration *what)
{
	wb_broker_event event;

	assert_int_equal(wb_broker_declare(b->broker, what, 1, NULL), WB_OK);
	wb_broker_step(b->broker);
	while (wb_broker_next(b->broker, &event))
		assert_int_equal(event.kind, WB_BROKER_DECLARED);
}

/* A queue for everything, as somebody has made it long ago. */
static void bench_queue(bench *b)
{
	const wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE,
				      .name = S("q")};
	const wb_declaration binding = {.kind = WB_TOPOLOGY_BINDING,
					.name = S("q"),
					.exchange = S("events"),
					.binding_key = S("#")};
	wb_broker_event event;

	assert_int_equal(wb_memory_create_exchange(b->memory, "events", "topic",
						   NULL),
			 WB_OK);
	assert_int_equal(wb_memory_connect(b->memory, &b->broker, NULL), WB_OK);
	wb_broker_connect(b->broker, NULL);
	wb_broker_step(b->broker);
	while (wb_broker_next(b->broker, &event))
		;
	bench_declare(b, &queue);
	bench_declare(b, &binding);
	wb_broker_free(b->broker);
}

static void bench_begin(bench *b, const char *dir)
{
	wb_relay_options options = WB_RELAY_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	fake_clock_init(&b->clock);
	seeded_random_init(&b->random, 1);
	assert_ok(wb_memory_new(&b->clock.clock, &b->random.random, &b->memory,
				&err),
		  err);
	bench_queue(b);
	assert_ok(wb_memory_connect(b->memory, &b->broker, &err), err);
	b->store = test_store_open(test_path(dir, "store"));
	options.clock = &b->clock.clock;
	options.random = &b->random.random;
	options.window = 3;
	options.commit_ms = 1;
	assert_ok(wb_relay_open(b->store, b->broker, &options, &b->relay, &err),
		  err);
}

/* Until it has nothing to send, and its cursor says so. */
static void bench_drain(bench *b)
{
	wb_error err = WB_ERROR_INIT;

	for (int i = 0; i < RELAY_TURNS; i++) {
		wb_relay_stat stat = wb_relay_get_stat(b->relay);

		if (stat.cursor == RELAY_EVENTS)
			return;
		assert_ok(wb_relay_step(b->relay, true, &err), err);
		disk_trace_mark(wb_memory_get_queue_stat(b->memory, "q").arrived);
		fake_clock_advance_us(&b->clock, 500);
	}
	fail_msg("the relay does not come to an end");
}

static void bench_end(bench *b)
{
	wb_relay_close(b->relay);
	wb_broker_free(b->broker);
	wb_store_close(b->store);
	wb_memory_free(b->memory);
}

static void relay_prepare(const char *dir)
{
	wb_store *store = test_store_make(test_path(dir, "store"));

	test_append(store, 1, RELAY_EVENTS);
	wb_store_close(store);
}

static void relay_run(const char *dir)
{
	bench b;

	bench_begin(&b, dir);
	bench_drain(&b);
	bench_end(&b);
}

static uint64_t position_of(const bench *b, uint64_t index)
{
	const wb_message *m = wb_memory_arrival(b->memory, "q", index);

	return m ? strtoull(wb_memory_header(m, "ce-wbposition").ptr, NULL, 10)
		 : 0;
}

/* What had arrived before the crash and what comes behind it are all, in order,
 * and no more than a window came again. */
static void relay_check(const char *dir, uint64_t marked)
{
	uint64_t count, first;
	bench b;

	crash_assert_sound(test_path(dir, "store"));
	bench_begin(&b, dir);
	bench_drain(&b);
	count = wb_memory_get_queue_stat(b.memory, "q").arrived;
	first = count ? position_of(&b, 0) : RELAY_EVENTS + 1;
	/* A step delivers up to a window beyond what was marked. */
	assert_true(first <= marked + 1 + 3);
	assert_true(first + 3 >= marked + 1);
	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(position_of(&b, i), first + i);
	assert_int_equal(first + count, RELAY_EVENTS + 1);
	bench_end(&b);
	crash_assert_sound(test_path(dir, "store"));
}

const crash_work crash_relay = {"relay", relay_prepare, relay_run,
				relay_check};
