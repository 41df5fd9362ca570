/* SPDX-License-Identifier: BSD-2-Clause */
/* A model of a stream queue: each event once, however often it was published.
 * What a stream may lose is in test_stream_loss.c. */
#include "tests/projections/queue_rig.h"

#include <fcntl.h>
#include <unistd.h>

#include "projections/projector.h"

static void a_stream_is_projected_and_gone_on_with(void **state)
{
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	queue_rig_follow(&s, 1000);
	assert_true(queue_rig_stat(&s).position == 1000);
	assert_int_equal(rig_count(&s.rig, "k3"), 143);
	rig_close(&s.rig);
	queue_rig_publish_many(&s, 1001, 1500);
	rig_open(&s.rig);
	queue_rig_settle(&s);
	assert_true(queue_rig_stat(&s).position == 1500);
	assert_int_equal(s.rig.calls, 1500);
	queue_rig_fini(&s);
}

static void what_a_relay_repeats_counts_once(void **state)
{
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	queue_rig_declare(&s);
	queue_rig_publish_many(&s, 1, 100);
	queue_rig_publish_many(&s, 51, 150);
	queue_rig_publish_many(&s, 30000, 30000); /* far ahead; and a gap */
	queue_rig_publish_many(&s, 140, 160);
	rig_open(&s.rig);
	queue_rig_settle(&s);
	assert_true(queue_rig_stat(&s).position == 222);
	assert_int_equal(s.rig.calls, 161);
	assert_true(queue_rig_stat(&s).missing == 30000 - 161);
	/* One that was parked comes long after; then again. */
	queue_rig_publish_many(&s, 200, 200);
	queue_rig_publish_many(&s, 200, 200);
	queue_rig_settle(&s);
	assert_int_equal(s.rig.calls, 162);
	queue_rig_fini(&s);
}

static void a_lost_connection_loses_and_doubles_nothing(void **state)
{
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	queue_rig_declare(&s);
	rig_open(&s.rig);
	for (uint64_t i = 0; i < 20; i++) {
		wb_memory_cut_options cut = WB_MEMORY_CUT_INIT;
		wb_error err = WB_ERROR_INIT;

		queue_rig_publish_many(&s, i * 50 + 1, i * 50 + 50);
		cut.connection = s.live;
		cut.after_us = 15000;
		assert_ok(wb_memory_cut(s.memory, &cut, &err), err);
		for (int step = 0; step < 7; step++) {
			(void)wb_projector_step(s.rig.projector, false, NULL);
			fake_clock_advance_us(&s.clock, 10000);
		}
	}
	queue_rig_settle(&s);
	assert_int_equal(s.rig.calls, 1000);
	assert_true(queue_rig_stat(&s).position == 1000);
	queue_rig_fini(&s);
}

static void a_rebuild_of_a_stream_equals_the_live_model(void **state)
{
	char live[33], built[33];
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_QUARANTINE_KEY);
	queue_rig_declare(&s);
	queue_rig_publish_many(&s, 1, 500);
	queue_rig_publish(&s, 501, "k1", "poison");
	rig_open(&s.rig);
	queue_rig_settle(&s);
	rig_rebuild(&s.rig, false);
	queue_rig_publish_many(&s, 490, 900); /* again, in part */
	queue_rig_settle(&s);
	assert_true(queue_rig_stat(&s).ready);
	rig_digest(&s.rig, 1, live);
	rig_digest(&s.rig, 2, built);
	assert_string_equal(live, built);
	assert_true(queue_rig_stat(&s).quarantined_keys == 1);
	s.rig.mended = true;
	rig_ask(&s.rig, WB_PROJECTION_HEAL);
	rig_ask(&s.rig, WB_PROJECTION_PROMOTE);
	queue_rig_settle(&s);
	queue_rig_publish_many(&s, 901, 950);
	queue_rig_settle(&s);
	assert_int_equal(queue_rig_stat(&s).generation, 2);
	assert_true(queue_rig_stat(&s).position == 500 + 1 + 411 + 50);
	assert_true(queue_rig_stat(&s).quarantined_keys == 0);
	queue_rig_fini(&s);
}

/* A connection that nothing is heard of for a while. */
typedef struct slow {
	wb_broker broker;
	wb_broker_ops ops;
	const wb_broker *inner;
} slow;

static void slow_step(void *self)
{
	(void)self;
}

static bool slow_next(void *self, wb_broker_event *ret)
{
	(void)self;
	*ret = (wb_broker_event){.kind = WB_BROKER_NONE};
	return false;
}

static void slow_set(slow *s, bool stands_still)
{
	s->ops.step = stands_still ? slow_step : s->inner->ops->step;
	s->ops.next = stands_still ? slow_next : s->inner->ops->next;
}

static void go_for(queue_rig *s, int steps)
{
	wb_error err = WB_ERROR_INIT;

	for (int i = 0; i < steps; i++) {
		assert_ok(wb_projector_step(s->rig.projector, false, &err),
			  err);
		fake_clock_advance_us(&s->clock, 10000);
	}
}

/* Who has read an event would miss it after the flip. */
static void a_rebuild_that_is_behind_does_not_go_live(void **state)
{
	queue_rig s;
	slow rebuild;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	rebuild.inner = s.rebuild;
	rebuild.ops = *s.rebuild->ops;
	rebuild.broker = (wb_broker){&rebuild.ops, s.rebuild->self};
	s.rig.options.rebuild_broker = &rebuild.broker;
	queue_rig_declare(&s);
	queue_rig_publish_many(&s, 1, 100);
	rig_open(&s.rig);
	queue_rig_settle(&s);
	rig_rebuild(&s.rig, false);
	queue_rig_settle(&s);
	assert_true(queue_rig_stat(&s).ready);
	slow_set(&rebuild, true);
	queue_rig_publish_many(&s, 101, 110);
	go_for(&s, 100);
	assert_true(queue_rig_stat(&s).position == 110);
	assert_true(queue_rig_stat(&s).building_position == 100);
	rig_ask(&s.rig, WB_PROJECTION_PROMOTE);
	go_for(&s, 100);
	assert_int_equal(queue_rig_stat(&s).generation, 1);
	assert_true(queue_rig_stat(&s).position == 110);
	slow_set(&rebuild, false);
	go_for(&s, 100);
	assert_int_equal(queue_rig_stat(&s).generation, 2);
	assert_true(queue_rig_stat(&s).position == 110);
	queue_rig_fini(&s);
}

static void a_message_that_is_no_event_does_as_the_policy_says(void **state)
{
	const wb_message junk = {.routing_key = S("history"),
				 .body = S("no id, no type")};
	wb_error err = WB_ERROR_INIT;
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_SKIP);
	queue_rig_declare(&s);
	queue_rig_publish_many(&s, 1, 10);
	assert_ok(wb_memory_put(s.memory, &junk, &err), err);
	queue_rig_publish_many(&s, 11, 20);
	rig_open(&s.rig);
	queue_rig_settle(&s);
	assert_true(queue_rig_stat(&s).position == 21);
	assert_true(queue_rig_stat(&s).skipped == 1);
	rig_close(&s.rig);
	s.rig.projection.name = "strict";
	s.rig.projection.on_error = WB_ON_ERROR_STOP;
	rig_open(&s.rig);
	queue_rig_go(&s, WB_PROJECTOR_STUCK);
	assert_true(queue_rig_stat(&s).position == 10);
	queue_rig_fini(&s);
}

static void a_pause_leaves_nothing_unacked(void **state)
{
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	queue_rig_follow(&s, 100);
	rig_ask(&s.rig, WB_PROJECTION_PAUSE);
	queue_rig_go(&s, WB_PROJECTOR_PAUSED);
	queue_rig_publish_many(&s, 101, 200);
	for (int i = 0; i < 100; i++) {
		(void)wb_projector_step(s.rig.projector, false, NULL);
		fake_clock_advance_us(&s.clock, 10000);
	}
	assert_true(wb_memory_get_queue_stat(s.memory, "history").unacked == 0);
	assert_true(queue_rig_stat(&s).position == 100);
	rig_ask(&s.rig, WB_PROJECTION_RESUME);
	queue_rig_settle(&s);
	assert_true(queue_rig_stat(&s).position == 200);
	queue_rig_fini(&s);
}

/* Until there is a broker again it waits, and does not ask all the time. */
static void without_a_broker_it_sleeps(void **state)
{
	wb_error err = WB_ERROR_INIT;
	unsigned at_once = 0;
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	queue_rig_follow(&s, 100);
	wb_memory_refuse_next(s.memory, 1000000);
	assert_ok(wb_memory_cut(s.memory,
				&(wb_memory_cut_options){
					.size = sizeof(wb_memory_cut_options),
					.connection = s.live},
				&err),
		  err);
	queue_rig_go(&s, WB_PROJECTOR_BLOCKED);
	for (int i = 0; i < 1000; i++) {
		assert_ok(wb_projector_step(s.rig.projector, false, &err), err);
		if (wb_projector_deadline_us(s.rig.projector) <=
		    s.clock.mono_us)
			at_once++;
		fake_clock_advance_to_us(
			&s.clock, wb_projector_deadline_us(s.rig.projector));
	}
	assert_in_range(at_once, 0, 10);
	queue_rig_fini(&s);
}

/* And what was never opened is not closed: 0 is somebody's descriptor. */
static void without_a_broker_it_is_refused(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wb_projector *p = NULL;
	int fds[2];
	queue_rig s;

	assert_int_equal(pipe(fds), 0);
	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	s.rig.options.broker = NULL;
	if (fcntl(0, F_GETFD) < 0)
		assert_int_equal(dup2(fds[0], 0), 0);
	assert_code(wb_projector_open(s.rig.store, &s.rig.projection,
				      &s.rig.options, &p, &err),
		    WB_EINVAL, err);
	assert_null(p);
	assert_true(fcntl(0, F_GETFD) >= 0);
	s.rig.options.broker = s.live;
	s.rig.options.prefetch = 1;
	assert_code(wb_projector_open(s.rig.store, &s.rig.projection,
				      &s.rig.options, &p, &err),
		    WB_EINVAL, err);
	queue_rig_fini(&s);
	close(fds[0]);
	close(fds[1]);
}

static void what_is_no_stream_to_read_is_refused(void **state)
{
	char over[300];
	const char *const queues[] = {NULL, "", over, "history"};
	wb_error err = WB_ERROR_INIT;
	wb_projector *p;
	queue_rig s;

	memset(over, 'q', sizeof(over) - 1);
	over[sizeof(over) - 1] = '\0';
	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++) {
		s.rig.options.queue = queues[i];
		s.rig.options.prefetch = queues[i] == queues[3] ? 65536 : 100;
		assert_code(wb_projector_open(s.rig.store, &s.rig.projection,
					      &s.rig.options, &p, &err),
			    WB_EINVAL, err);
	}
	/* One connection is enough as long as nothing is rebuilt. */
	s.rig.options.prefetch = 100;
	s.rig.options.rebuild_broker = NULL;
	queue_rig_follow(&s, 10);
	assert_true(queue_rig_stat(&s).position == 10);
	queue_rig_fini(&s);
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
		T(a_rebuild_of_a_stream_equals_the_live_model),
		T(a_rebuild_that_is_behind_does_not_go_live),
		T(a_message_that_is_no_event_does_as_the_policy_says),
		T(a_pause_leaves_nothing_unacked),
		T(without_a_broker_it_sleeps),
		T(without_a_broker_it_is_refused),
		T(what_is_no_stream_to_read_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
