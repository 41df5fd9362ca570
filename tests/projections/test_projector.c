/* SPDX-License-Identifier: BSD-2-Clause */
/* A read model follows its journal, each event exactly once, and is built anew
 * beside itself. */
#include "tests/projections/rig.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "projections/projector.h"

static void events_are_projected_once_each(void **state)
{
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append_many(&r, 1000, 10);
	rig_open(&r);
	rig_settle(&r);
	assert_int_equal(rig_count(&r, "k0"), 100);
	assert_int_equal(rig_count(&r, "k9"), 0); /* all of another type */
	assert_int_equal(r.calls, 900);
	rig_close(&r);
	rig_append(&r, "k0", "x");
	rig_open(&r);
	rig_settle(&r);
	assert_int_equal(rig_count(&r, "k0"), 101);
	assert_int_equal(r.calls, 901);
	rig_fini(&r);
}

static void a_declaration_without_an_error_policy_is_refused(void **state)
{
	wb_error err = WB_ERROR_INIT;
	rig r;

	rig_init(&r, *state, (wb_on_error)0);
	assert_int_equal(wb_projector_open(r.store, &r.projection, NULL,
					   &r.projector, &err),
			 WB_EINVAL);
	assert_non_null(strstr(err.text, "on_error"));
	rig_fini(&r);
}

static void a_rebuild_equals_the_live_model(void **state)
{
	char live[33], built[33], fresh[33];
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append_many(&r, 3000, 17);
	rig_open(&r);
	rig_settle(&r);
	rig_rebuild(&r, false);
	rig_append_many(&r, 500, 5);
	rig_settle(&r);
	assert_int_equal(wb_projector_get_stat(r.projector).generation, 1);
	assert_int_equal(wb_projector_get_stat(r.projector).building, 2);
	assert_true(wb_projector_get_stat(r.projector).ready);
	rig_digest(&r, 1, live);
	rig_digest(&r, 2, built);
	assert_string_equal(live, built);
	rig_fresh_digest(&r, fresh);
	assert_string_equal(live, fresh);
	rig_fini(&r);
}

static void a_promoted_generation_is_read_at_once_and_rolled_back(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wb_projector_stat stat;
	char before[33], after[33];
	wb_read *read;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append_many(&r, 1000, 10);
	rig_open(&r);
	rig_settle(&r);
	rig_digest(&r, 0, before);
	read = rig_read(&r);
	assert_ok(wb_read_begin(read, &err), err);
	assert_int_equal(wb_read_generation(read), 1);
	rig_rebuild(&r, true);
	rig_settle(&r);
	stat = wb_projector_get_stat(r.projector);
	assert_int_equal(stat.generation, 2);
	assert_int_equal(stat.building, 0);
	/* The snapshot stays what it is; the next one is of the new one. */
	assert_int_equal(wb_read_generation(read), 1);
	assert_ok(wb_read_wait(read, 1000, 1000, &err), err);
	assert_ok(wb_read_begin(read, &err), err);
	assert_int_equal(wb_read_generation(read), 2);
	assert_int_equal(wb_read_position(read), 1000);
	rig_digest(&r, 0, after);
	assert_string_equal(before, after);

	rig_ask(&r, WB_PROJECTION_ROLLBACK);
	rig_append(&r, "k0", "later");
	rig_settle(&r);
	assert_int_equal(wb_projector_get_stat(r.projector).generation, 1);
	assert_int_equal(rig_count(&r, "k0"), 101);
	wb_read_close(read);
	rig_fini(&r);
}

/* A generation that finds no room tries again; the live one goes on. */
static void a_rebuild_without_room_harms_nothing(void **state)
{
	wb_error err = WB_ERROR_INIT;
	char live[33], built[33];
	wb_projector_stat stat;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append_many(&r, 5000, 2000);
	rig_open(&r);
	rig_settle(&r);
	r.projector->options.map_bytes = 256 << 10; /* of those that are made */
	rig_rebuild(&r, true);
	for (int i = 0; i < 50; i++) {
		rig_append(&r, "k0", "later");
		r.projector->fill_retry_at_us = 0;
		r.projector->request_at_us = 0;
		assert_ok(wb_projector_step(r.projector, true, &err), err);
	}
	stat = wb_projector_get_stat(r.projector);
	assert_int_equal(stat.generation, 1);
	assert_int_equal(stat.state, WB_PROJECTOR_RUNNING);
	assert_true(stat.position == 5050);
	assert_true(stat.building == 2 && !stat.ready);
	assert_non_null(r.projector->fill.gen);
	assert_int_equal(rig_count(&r, "k0"), 53);
	/* With room it is built, and the same. */
	rig_ask(&r, WB_PROJECTION_DISCARD);
	rig_settle(&r);
	r.projector->options.map_bytes = 64 << 20;
	r.projector->fill_retry_at_us = 0;
	rig_rebuild(&r, false);
	rig_settle(&r);
	rig_digest(&r, 1, live);
	rig_digest(&r, wb_projector_get_stat(r.projector).building, built);
	assert_string_equal(live, built);
	rig_fini(&r);
}

static void a_new_version_is_built_and_promoted_by_itself(void **state)
{
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append_many(&r, 100, 10);
	rig_open(&r);
	rig_settle(&r);
	rig_close(&r);
	r.projection.version = 2;
	rig_open(&r);
	rig_settle(&r);
	assert_int_equal(wb_projector_get_stat(r.projector).generation, 2);
	assert_int_equal(rig_count(&r, "k0"), 10);
	/* Back to the old code's: this code leaves it alone, and says so. */
	rig_ask(&r, WB_PROJECTION_ROLLBACK);
	rig_until(&r, WB_PROJECTOR_STUCK);
	assert_int_equal(wb_projector_get_stat(r.projector).error.code,
			 WB_EVERSION);
	rig_rebuild(&r, true);
	rig_settle(&r);
	assert_int_equal(wb_projector_get_stat(r.projector).generation, 3);
	rig_fini(&r);
}

static void a_model_of_another_history_is_refused_and_rebuilt(void **state)
{
	test_place *place = *state;
	const char *elsewhere = test_path(place->dir, "models");
	wb_projector_stat stat;
	rig r;

	rig_init(&r, place, WB_ON_ERROR_STOP);
	assert_int_equal(mkdir(elsewhere, 0700), 0);
	r.options.dir = elsewhere;
	rig_append_many(&r, 100, 10);
	rig_open(&r);
	rig_settle(&r);
	rig_close(&r);
	wb_store_close(r.store);
	test_remove_tree(place->store);
	r.store = test_store_make(place->store);
	rig_append_many(&r, 200, 10);
	rig_open(&r);
	rig_until(&r, WB_PROJECTOR_STUCK);
	stat = wb_projector_get_stat(r.projector);
	assert_int_equal(stat.error.code, WB_EMISMATCH);
	assert_non_null(strstr(stat.error.text, "rebuild"));
	assert_int_equal(rig_count(&r, "k0"), 10);
	rig_rebuild(&r, true);
	rig_settle(&r);
	assert_int_equal(rig_count(&r, "k0"), 20);
	rig_fini(&r);
}

static void a_process_opens_a_model_once(void **state)
{
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_open(&r);
	rig_settle(&r);
	{
		wb_error err = WB_ERROR_INIT;
		wb_projector *second = NULL;

		/* In one process the model is open once. */
		assert_code(wb_projector_open(r.store, &r.projection,
					      &r.options, &second, &err),
			    WB_EBUSY, err);
	}
	rig_fini(&r);
}

static void a_paused_projector_stands_and_goes_on(void **state)
{
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_open(&r);
	rig_settle(&r);
	rig_ask(&r, WB_PROJECTION_PAUSE);
	rig_append(&r, "a", "1");
	rig_until(&r, WB_PROJECTOR_PAUSED);
	assert_int_equal(rig_count(&r, "a"), 0);
	rig_ask(&r, WB_PROJECTION_RESUME);
	rig_settle(&r);
	assert_int_equal(rig_count(&r, "a"), 1);
	rig_fini(&r);
}

int main(void)
{
#define T(name)                                                               \
	cmocka_unit_test_setup_teardown(name, test_place_setup,               \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(events_are_projected_once_each),
		T(a_declaration_without_an_error_policy_is_refused),
		T(a_rebuild_equals_the_live_model),
		T(a_promoted_generation_is_read_at_once_and_rolled_back),
		T(a_rebuild_without_room_harms_nothing),
		T(a_new_version_is_built_and_promoted_by_itself),
		T(a_model_of_another_history_is_refused_and_rebuilt),
		T(a_process_opens_a_model_once),
		T(a_paused_projector_stands_and_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
