/* SPDX-License-Identifier: BSD-2-Clause */
/* What tests of models of a stream queue share; see queue_rig.h. */
#include "tests/projections/queue_rig.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "lib/event/envelope.h"
#include "projections/projector.h"

static const char origin[] = "0199a000-0000-7000-8000-00000000000a";

void queue_rig_declare(queue_rig *s)
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

void queue_rig_connect(queue_rig *s, const char *dir)
{
	wb_broker_event event = {.kind = WB_BROKER_NONE};
	wb_error err = WB_ERROR_INIT;

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
	s->rig.options.dir = dir;
}

void queue_rig_init(queue_rig *s, test_place *place, wb_on_error on_error)
{
	memset(s, 0, sizeof(*s));
	rig_init(&s->rig, place, on_error);
	queue_rig_connect(s, place->store);
}

void queue_rig_fini(queue_rig *s)
{
	rig_close(&s->rig);
	wb_broker_free(s->admin);
	wb_broker_free(s->live);
	wb_broker_free(s->rebuild);
	wb_memory_free(s->memory);
	rig_fini(&s->rig);
}

void queue_rig_publish(queue_rig *s, uint64_t at, const char *key,
		       const char *data)
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

void queue_rig_publish_many(queue_rig *s, uint64_t from, uint64_t to)
{
	char key[24], data[32];

	for (uint64_t i = from; i <= to; i++) {
		snprintf(key, sizeof(key), "k%" PRIu64, i % 7);
		snprintf(data, sizeof(data), "w%" PRIu64 " x", i % 3);
		queue_rig_publish(s, i, key, data);
	}
}

void queue_rig_go(queue_rig *s, int wanted)
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
	fail_msg("%s at %" PRIu64 "%s, building %u at %" PRIu64 "%s: %s",
		 wb_projector_state_name(stat.state), stat.position,
		 stat.idle ? ", idle" : "", stat.building,
		 stat.building_position, stat.ready ? ", ready" : "",
		 stat.error.text);
}

void queue_rig_settle(queue_rig *s)
{
	queue_rig_go(s, -1);
}

void queue_rig_follow(queue_rig *s, uint64_t count)
{
	queue_rig_declare(s);
	queue_rig_publish_many(s, 1, count);
	rig_open(&s->rig);
	queue_rig_settle(s);
}

wb_projector_stat queue_rig_stat(const queue_rig *s)
{
	return wb_projector_get_stat(s->rig.projector);
}

void queue_rig_assert_stuck(queue_rig *s, const char *word)
{
	queue_rig_go(s, WB_PROJECTOR_STUCK);
	assert_int_equal(queue_rig_stat(s).error.code, WB_EMISMATCH);
	if (!strstr(queue_rig_stat(s).error.text, word))
		fail_msg("%s", queue_rig_stat(s).error.text);
}

void queue_rig_fresh_digest(queue_rig *s, char ret[33])
{
	const char *dir = test_path(s->rig.place->dir, "fresh");
	rig mine;

	test_remove_tree(dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	rig_close(&s->rig);
	mine = s->rig;
	s->rig.options.dir = dir;
	rig_open(&s->rig);
	queue_rig_settle(s);
	rig_digest(&s->rig, 0, ret);
	rig_close(&s->rig);
	s->rig = mine;
}
