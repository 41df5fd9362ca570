/* SPDX-License-Identifier: BSD-2-Clause */
/* A model of a stream queue: each event once, however often it was published;
 * and a stream that was trimmed, re-created or cut off is named, never passed
 * over. On the memory broker, whose streams behave as RabbitMQ's
 * (tests/conformance/streams.c). */
#include "tests/projections/rig.h"

#include <inttypes.h>

#include <sys/stat.h>
#include <waybill/memory.h>

#include "lib/event/envelope.h"
#include "projections/projector.h"
#include "tests/support/fake_clock.h"

static const char origin[] = "0199a000-0000-7000-8000-00000000000a";

typedef struct scene {
	rig rig;
	fake_clock clock;
	wb_memory *memory;
	wb_broker *admin, *live, *rebuild;
	int64_t max_length;
} scene;

static void scene_declare(scene *s)
{
	const wb_argument arguments[] = {
		{.name = S("x-queue-type"), .text = S("stream")},
		{.name = S("x-max-length"),
		 .is_number = true,
		 .number = s->max_length}};
	const wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE,
				      .name = S("history"),
				      .arguments = arguments,
				      .argument_count = s->max_length ? 2 : 1};
	wb_error err = WB_ERROR_INIT;
	wb_broker_event event = {.kind = WB_BROKER_NONE};

	assert_ok(wb_broker_declare(s->admin, &queue, 1, &err), err);
	while (event.kind != WB_BROKER_DECLARED) {
		wb_broker_step(s->admin);
		(void)wb_broker_next(s->admin, &event);
	}
}

static void scene_init(scene *s, test_place *place, wb_on_error on_error)
{
	wb_broker_event event = {.kind = WB_BROKER_NONE};
	wb_error err = WB_ERROR_INIT;

	memset(s, 0, sizeof(*s));
	rig_init(&s->rig, place, on_error);
	fake_clock_init(&s->clock);
	assert_ok(wb_memory_new(&s->clock.clock, NULL, &s->memory, &err), err);
	assert_ok(wb_memory_connect(s->memory, &s->admin, &err), err);
	assert_ok(wb_memory_connect(s->memory, &s->live, &err), err);
	assert_ok(wb_memory_connect(s->memory, &s->rebuild, &err), err);
	assert_ok(wb_broker_connect(s->admin, &err), err);
	while (event.kind != WB_BROKER_UP) {
		wb_broker_step(s->admin);
		(void)wb_broker_next(s->admin, &event);
	}
	s->rig.projection.source = WB_PROJECTION_STREAM;
	s->rig.options.queue = "history";
	s->rig.options.broker = s->live;
	s->rig.options.rebuild_broker = s->rebuild;
	s->rig.options.prefetch = 100;
	s->rig.options.clock = &s->clock.clock;
	s->rig.options.dir = place->store;
}

static void scene_fini(scene *s)
{
	rig_close(&s->rig);
	wb_broker_free(s->admin);
	wb_broker_free(s->live);
	wb_broker_free(s->rebuild);
	wb_memory_free(s->memory);
	rig_fini(&s->rig);
}

/* As a relay publishes position `at` of its journal. */
static void publish(scene *s, uint64_t at, const char *key, const char *data)
{
	char id[64], names[64], scratch[WBI_ENVELOPE_SCRATCH];
	wb_header headers[WBI_ENVELOPE_HEADERS];
	wbi_envelope_context context = {S("test"), wb_str_from(origin), at};
	wb_error err = WB_ERROR_INIT;
	wb_message message;
	wb_event event = {.type = S("thing.seen"),
			  .source = S("/test"),
			  .key = wb_str_from(key),
			  .time_us = 1767225600000000,
			  .data = wb_str_from(data)};

	snprintf(id, sizeof(id), "id-%" PRIu64, at);
	event.id = wb_str_from(id);
	wbi_envelope_binary(&event, &context, headers, names, scratch,
			    &message);
	message.routing_key = S("history");
	assert_ok(wb_memory_put(s->memory, &message, &err), err);
}

static void publish_many(scene *s, uint64_t from, uint64_t to)
{
	char key[24], data[32];

	for (uint64_t i = from; i <= to; i++) {
		snprintf(key, sizeof(key), "k%" PRIu64, i % 7);
		snprintf(data, sizeof(data), "w%" PRIu64 " x", i % 3);
		publish(s, i, key, data);
	}
}

/* Steps of 10 ms, until it is idle, or in this state. */
static void go(scene *s, int wanted)
{
	wb_error err = WB_ERROR_INIT;
	wb_projector_stat stat;

	for (int i = 0; i < 20000; i++) {
		assert_ok(wb_projector_step(s->rig.projector, false, &err),
			  err);
		fake_clock_advance_us(&s->clock, 10000);
		stat = wb_projector_get_stat(s->rig.projector);
		if (wanted < 0 ? stat.idle : (int)stat.state == wanted)
			return;
	}
	stat = wb_projector_get_stat(s->rig.projector);
	fail_msg("%s at %" PRIu64 ": %s", wb_projector_state_name(stat.state),
		 stat.position, stat.error.text);
}

static void settle(scene *s)
{
	go(s, -1);
}

static wb_projector_stat stat_of(const scene *s)
{
	return wb_projector_get_stat(s->rig.projector);
}

static void assert_stuck(scene *s, const char *word)
{
	go(s, WB_PROJECTOR_STUCK);
	assert_int_equal(stat_of(s).error.code, WB_EMISMATCH);
	if (!strstr(stat_of(s).error.text, word))
		fail_msg("%s", stat_of(s).error.text);
}

static void a_stream_is_projected_and_gone_on_with(void **state)
{
	scene s;

	scene_init(&s, *state, WB_ON_ERROR_STOP);
	scene_declare(&s);
	publish_many(&s, 1, 1000);
	rig_open(&s.rig);
	settle(&s);
	assert_true(stat_of(&s).position == 1000);
	assert_int_equal(rig_count(&s.rig, "k3"), 143);
	rig_close(&s.rig);
	publish_many(&s, 1001, 1500);
	rig_open(&s.rig);
	settle(&s);
	assert_true(stat_of(&s).position == 1500);
	assert_int_equal(s.rig.calls, 1500);
	scene_fini(&s);
}

static void what_a_relay_repeats_counts_once(void **state)
{
	scene s;

	scene_init(&s, *state, WB_ON_ERROR_STOP);
	scene_declare(&s);
	publish_many(&s, 1, 100);
	publish_many(&s, 51, 150);
	publish_many(&s, 30000, 30000); /* far ahead; and a gap */
	publish_many(&s, 140, 160);
	rig_open(&s.rig);
	settle(&s);
	assert_true(stat_of(&s).position == 222);
	assert_int_equal(s.rig.calls, 161);
	assert_true(stat_of(&s).missing == 30000 - 161);
	/* One that was parked comes long after; then again. */
	publish_many(&s, 200, 200);
	publish_many(&s, 200, 200);
	settle(&s);
	assert_int_equal(s.rig.calls, 162);
	scene_fini(&s);
}

static void a_lost_connection_loses_and_doubles_nothing(void **state)
{
	scene s;

	scene_init(&s, *state, WB_ON_ERROR_STOP);
	scene_declare(&s);
	rig_open(&s.rig);
	for (uint64_t i = 0; i < 20; i++) {
		wb_memory_cut_options cut = WB_MEMORY_CUT_INIT;
		wb_error err = WB_ERROR_INIT;

		publish_many(&s, i * 50 + 1, i * 50 + 50);
		cut.connection = s.live;
		cut.after_us = 15000;
		assert_ok(wb_memory_cut(s.memory, &cut, &err), err);
		for (int step = 0; step < 7; step++) {
			(void)wb_projector_step(s.rig.projector, false, NULL);
			fake_clock_advance_us(&s.clock, 10000);
		}
	}
	settle(&s);
	assert_int_equal(s.rig.calls, 1000);
	assert_true(stat_of(&s).position == 1000);
	scene_fini(&s);
}

static void a_recreated_stream_is_named(void **state)
{
	wb_error err = WB_ERROR_INIT;
	scene s;

	scene_init(&s, *state, WB_ON_ERROR_STOP);
	scene_declare(&s);
	publish_many(&s, 1, 200);
	rig_open(&s.rig);
	settle(&s);
	rig_close(&s.rig);
	assert_ok(wb_memory_delete_queue(s.memory, "history", &err), err);
	scene_declare(&s);
	/* Longer than before: something stands at the offset. */
	publish_many(&s, 1001, 1300);
	rig_open(&s.rig);
	assert_stuck(&s, "was re-created: another event stands at offset 199");
	rig_close(&s.rig);
	/* Shorter: nothing comes at all. */
	assert_ok(wb_memory_delete_queue(s.memory, "history", &err), err);
	scene_declare(&s);
	publish_many(&s, 1001, 1100);
	rig_open(&s.rig);
	assert_stuck(&s, "ends before offset 199");
	rig_close(&s.rig);
	/* Empty. */
	assert_ok(wb_memory_delete_queue(s.memory, "history", &err), err);
	scene_declare(&s);
	rig_open(&s.rig);
	assert_stuck(&s, "is empty");
	/* The old model is read meanwhile; a rebuild mends it. */
	assert_int_equal(rig_count(&s.rig, "k3"), 29);
	publish_many(&s, 1001, 1007);
	rig_rebuild(&s.rig, true);
	settle(&s);
	assert_true(stat_of(&s).position == 7);
	assert_int_equal(rig_count(&s.rig, "k3"), 1);
	scene_fini(&s);
}

static void a_trimmed_stream_is_named(void **state)
{
	scene s;

	scene_init(&s, *state, WB_ON_ERROR_STOP);
	s.max_length = 100;
	scene_declare(&s);
	publish_many(&s, 1, 50);
	rig_open(&s.rig);
	settle(&s);
	rig_close(&s.rig);
	publish_many(&s, 51, 400);
	rig_open(&s.rig);
	assert_stuck(&s, "was trimmed");
	rig_close(&s.rig);
	/* One that begins late needs a snapshot, as a pruned journal. */
	s.rig.projection.name = "late";
	rig_open(&s.rig);
	assert_stuck(&s, "the journal begins at 301");
	scene_fini(&s);
}

static void a_rebuild_of_a_stream_equals_the_live_model(void **state)
{
	char live[33], built[33];
	scene s;

	scene_init(&s, *state, WB_ON_ERROR_QUARANTINE_KEY);
	scene_declare(&s);
	publish_many(&s, 1, 500);
	publish(&s, 501, "k1", "poison");
	rig_open(&s.rig);
	settle(&s);
	rig_rebuild(&s.rig, false);
	publish_many(&s, 490, 900); /* again, in part */
	settle(&s);
	assert_true(stat_of(&s).ready);
	rig_digest(&s.rig, 1, live);
	rig_digest(&s.rig, 2, built);
	assert_string_equal(live, built);
	assert_true(stat_of(&s).quarantined_keys == 1);
	s.rig.mended = true;
	rig_ask(&s.rig, WB_PROJECTION_HEAL);
	rig_ask(&s.rig, WB_PROJECTION_PROMOTE);
	settle(&s);
	publish_many(&s, 901, 950);
	settle(&s);
	assert_int_equal(stat_of(&s).generation, 2);
	assert_true(stat_of(&s).position == 500 + 1 + 411 + 50);
	assert_true(stat_of(&s).quarantined_keys == 0);
	scene_fini(&s);
}

static void a_message_that_is_no_event_does_as_the_policy_says(void **state)
{
	const wb_message junk = {.routing_key = S("history"),
				 .body = S("no id, no type")};
	wb_error err = WB_ERROR_INIT;
	scene s;

	scene_init(&s, *state, WB_ON_ERROR_SKIP);
	scene_declare(&s);
	publish_many(&s, 1, 10);
	assert_ok(wb_memory_put(s.memory, &junk, &err), err);
	publish_many(&s, 11, 20);
	rig_open(&s.rig);
	settle(&s);
	assert_true(stat_of(&s).position == 21);
	assert_true(stat_of(&s).skipped == 1);
	rig_close(&s.rig);
	s.rig.projection.name = "strict";
	s.rig.projection.on_error = WB_ON_ERROR_STOP;
	rig_open(&s.rig);
	go(&s, WB_PROJECTOR_STUCK);
	assert_true(stat_of(&s).position == 10);
	scene_fini(&s);
}

static void a_pause_leaves_nothing_unacked(void **state)
{
	scene s;

	scene_init(&s, *state, WB_ON_ERROR_STOP);
	scene_declare(&s);
	publish_many(&s, 1, 100);
	rig_open(&s.rig);
	settle(&s);
	rig_ask(&s.rig, WB_PROJECTION_PAUSE);
	go(&s, WB_PROJECTOR_PAUSED);
	publish_many(&s, 101, 200);
	for (int i = 0; i < 100; i++) {
		(void)wb_projector_step(s.rig.projector, false, NULL);
		fake_clock_advance_us(&s.clock, 10000);
	}
	assert_true(wb_memory_get_queue_stat(s.memory, "history").unacked == 0);
	assert_true(stat_of(&s).position == 100);
	rig_ask(&s.rig, WB_PROJECTION_RESUME);
	settle(&s);
	assert_true(stat_of(&s).position == 200);
	scene_fini(&s);
}

int main(void)
{
#define T(name)                                                               \
	cmocka_unit_test_setup_teardown(name, test_place_setup,               \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_stream_is_projected_and_gone_on_with),
		T(what_a_relay_repeats_counts_once),
		T(a_lost_connection_loses_and_doubles_nothing),
		T(a_recreated_stream_is_named),
		T(a_trimmed_stream_is_named),
		T(a_rebuild_of_a_stream_equals_the_live_model),
		T(a_message_that_is_no_event_does_as_the_policy_says),
		T(a_pause_leaves_nothing_unacked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
