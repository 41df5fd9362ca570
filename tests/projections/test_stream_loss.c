/* SPDX-License-Identifier: BSD-2-Clause */
/* A stream that was trimmed, re-created or cut off, at any moment, is named and
 * never passed over; a broker that is slow, and offsets that were never used,
 * are no loss. */
#include "tests/projections/queue_rig.h"

#include "projections/inspect.h"
#include "projections/projector.h"

/* The queue is deleted and made anew, with other messages. */
static void reopen_with(queue_rig *s, uint64_t from, uint64_t to)
{
	wb_error err = WB_ERROR_INIT;

	rig_close(&s->rig);
	assert_ok(wb_memory_delete_queue(s->memory, "history", &err), err);
	queue_rig_declare(s);
	queue_rig_publish_many(s, from, to);
	rig_open(&s->rig);
}

static void a_recreated_stream_is_named(void **state)
{
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	queue_rig_follow(&s, 200);
	/* Longer than before: something stands at the offset. */
	reopen_with(&s, 1001, 1300);
	queue_rig_assert_stuck(&s, "was re-created: another event stands at offset 199");
	/* Shorter: nothing comes at all. */
	reopen_with(&s, 1001, 1100);
	queue_rig_assert_stuck(&s, "ends at offset 99, before offset 199");
	/* Empty. */
	reopen_with(&s, 1, 0);
	queue_rig_assert_stuck(&s, "is empty");
	/* The old model is read meanwhile; a rebuild mends it. */
	assert_int_equal(rig_count(&s.rig, "k3"), 29);
	queue_rig_publish_many(&s, 1001, 1007);
	rig_rebuild(&s.rig, true);
	queue_rig_settle(&s);
	assert_true(queue_rig_stat(&s).position == 7);
	assert_int_equal(rig_count(&s.rig, "k3"), 1);
	queue_rig_fini(&s);
}

static void a_trimmed_stream_is_named(void **state)
{
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	s.max_length = 100;
	queue_rig_follow(&s, 50);
	rig_close(&s.rig);
	queue_rig_publish_many(&s, 51, 400);
	rig_open(&s.rig);
	queue_rig_assert_stuck(&s, "was trimmed");
	rig_close(&s.rig);
	/* One that begins late needs a snapshot, as a pruned journal. */
	s.rig.projection.name = "late";
	rig_open(&s.rig);
	queue_rig_assert_stuck(&s, "the stream begins at 301");
	queue_rig_fini(&s);
}

/* A publisher whose ids begin anew: 1, 2, 3, ... */
static void the_same_id_with_other_content_is_another_event(void **state)
{
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	queue_rig_declare(&s);
	queue_rig_publish_many(&s, 1, 199);
	queue_rig_publish(&s, 200, "k4", "what it was");
	rig_open(&s.rig);
	queue_rig_settle(&s);
	reopen_with(&s, 1, 199);
	queue_rig_publish(&s, 200, "k4", "what it is");
	queue_rig_assert_stuck(&s, "another event stands at offset 199");
	queue_rig_fini(&s);
}

/* A stream with the same messages is the same stream. */
static void a_stream_that_was_restored_is_gone_on_with(void **state)
{
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	queue_rig_follow(&s, 200);
	reopen_with(&s, 1, 250);
	queue_rig_settle(&s);
	assert_true(queue_rig_stat(&s).position == 250);
	queue_rig_fini(&s);
}

/* Nothing is lost, but nothing shows that it is the same stream either. */
static void a_stream_trimmed_up_to_the_checkpoint_is_named(void **state)
{
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	s.max_length = 100;
	queue_rig_follow(&s, 50);
	rig_close(&s.rig);
	queue_rig_publish_many(&s, 51, 150); /* 51 is the first */
	rig_open(&s.rig);
	queue_rig_assert_stuck(&s, "was trimmed up to offset 49");
	queue_rig_fini(&s);
}

static void a_stream_trimmed_under_its_reader_is_named(void **state)
{
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	s.max_length = 100;
	s.rig.options.prefetch = 20;
	queue_rig_follow(&s, 100);
	/* More than is kept, before it takes any of it. */
	queue_rig_publish_many(&s, 101, 500);
	queue_rig_assert_stuck(&s, "was trimmed: offsets ");
	queue_rig_fini(&s);
}

static void offsets_that_were_never_used_are_no_loss(void **state)
{
	wb_error err = WB_ERROR_INIT;
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	queue_rig_declare(&s);
	queue_rig_publish_many(&s, 1, 30);
	rig_open(&s.rig);
	for (uint64_t i = 1; i <= 5; i++) {
		assert_ok(wb_memory_skip_offsets(s.memory, "history", i, &err),
			  err);
		queue_rig_publish_many(&s, i * 30 + 1, i * 30 + 30);
		if (i % 2)
			queue_rig_settle(&s);
	}
	queue_rig_settle(&s);
	assert_true(queue_rig_stat(&s).position == 180 + 15);
	assert_int_equal(s.rig.calls, 180);
	assert_true(queue_rig_stat(&s).missing == 0);
	queue_rig_fini(&s);
}

static void a_slow_broker_is_no_loss(void **state)
{
	wb_error err = WB_ERROR_INIT;
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	queue_rig_follow(&s, 100);
	rig_close(&s.rig);
	queue_rig_publish_many(&s, 101, 200);
	rig_open(&s.rig);
	/* Up and consuming, and then no word for longer than a look takes. */
	for (int i = 0; i < 3000; i++) {
		wb_memory_freeze(s.memory, i % 900 > 3);
		assert_ok(wb_projector_step(s.rig.projector, false, &err), err);
		fake_clock_advance_us(&s.clock, 10000);
		assert_int_not_equal(queue_rig_stat(&s).state,
				     WB_PROJECTOR_STUCK);
	}
	wb_memory_freeze(s.memory, false);
	queue_rig_settle(&s);
	assert_true(queue_rig_stat(&s).position == 200);
	queue_rig_fini(&s);
}

static void what_is_missing_is_counted_and_the_first_named(void **state)
{
	char missing[WBI_ORIGIN_LEN + 1];
	wb_error err = WB_ERROR_INIT;
	uint64_t first = 1;
	queue_rig s;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	queue_rig_follow(&s, 9000);
	assert_ok(wbi_missing_look(s.rig.projector->home, 1, missing, &first,
				   &err),
		  err);
	assert_true(first == 0);
	queue_rig_publish_many(&s, 9004, 9100);
	queue_rig_settle(&s);
	assert_true(queue_rig_stat(&s).missing == 3);
	assert_ok(wbi_missing_look(s.rig.projector->home, 1, missing, &first,
				   &err),
		  err);
	assert_true(first == 9001);
	queue_rig_publish_many(&s, 9001, 9003);
	queue_rig_settle(&s);
	assert_true(queue_rig_stat(&s).missing == 0);
	queue_rig_fini(&s);
}

/* Without an end in sight it would never be called ready. */
static void a_rebuild_of_a_stream_that_never_rests_is_ready(void **state)
{
	wb_error err = WB_ERROR_INIT;
	uint64_t at = 2000;
	queue_rig s;
	int steps;

	queue_rig_init(&s, *state, WB_ON_ERROR_STOP);
	queue_rig_follow(&s, at);
	rig_rebuild(&s.rig, true);
	for (steps = 0; queue_rig_stat(&s).generation == 1; steps++) {
		assert_true(steps < 2000);
		at++;
		queue_rig_publish_many(&s, at, at);
		assert_ok(wb_projector_step(s.rig.projector, false, &err), err);
		fake_clock_advance_us(&s.clock, 10000);
	}
	queue_rig_settle(&s);
	assert_true(queue_rig_stat(&s).position == at);
	queue_rig_fini(&s);
}

int main(void)
{
#define T(name)                                                               \
	cmocka_unit_test_setup_teardown(name, test_place_setup,               \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_recreated_stream_is_named),
		T(the_same_id_with_other_content_is_another_event),
		T(a_stream_that_was_restored_is_gone_on_with),
		T(a_trimmed_stream_is_named),
		T(a_stream_trimmed_up_to_the_checkpoint_is_named),
		T(a_stream_trimmed_under_its_reader_is_named),
		T(offsets_that_were_never_used_are_no_loss),
		T(a_slow_broker_is_no_loss),
		T(what_is_missing_is_counted_and_the_first_named),
		T(a_rebuild_of_a_stream_that_never_rests_is_ready),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
