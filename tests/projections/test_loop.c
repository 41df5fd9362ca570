/* SPDX-License-Identifier: BSD-2-Clause */
/* A projector that runs by itself: until all is done, until it is told to stop,
 * until somebody has to look; or in a loop of its host. Times are real. */
#include "tests/projections/rig.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "projections/projector.h"

static void a_projector_runs_until_nothing_is_left(void **state)
{
	wb_error err = WB_ERROR_INIT;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append_many(&r, 100, 10);
	rig_open(&r);
	assert_ok(wb_projector_run(r.projector, true, &err), err);
	assert_int_equal(rig_count(&r, "k0"), 10);
	rig_append(&r, "k0", "one more");
	rig_rebuild(&r, true);
	r.projector->request_at_us = 0;
	assert_ok(wb_projector_run(r.projector, true, &err), err);
	assert_int_equal(wb_projector_get_stat(r.projector).generation, 2);
	assert_int_equal(rig_count(&r, "k0"), 11);
	rig_fini(&r);
}

static void who_is_stuck_says_why(void **state)
{
	wb_error err = WB_ERROR_INIT;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append(&r, "a", "fine");
	rig_append(&r, "a", "poison");
	rig_open(&r);
	assert_int_equal(wb_projector_run(r.projector, true, &err),
			 WB_EREJECTED);
	assert_non_null(strstr(err.text, "poison"));
	rig_fini(&r);
}

/* What is filled is stuck; what is read goes on. */
static void a_rebuild_that_is_stuck_says_why(void **state)
{
	wb_error err = WB_ERROR_INIT;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	r.mended = true;
	rig_append(&r, "a", "poison");
	rig_open(&r);
	assert_ok(wb_projector_run(r.projector, true, &err), err);
	r.mended = false;
	rig_rebuild(&r, true);
	r.projector->request_at_us = 0;
	assert_int_equal(wb_projector_run(r.projector, true, &err),
			 WB_EREJECTED);
	assert_int_equal(rig_count(&r, "a"), 1);
	assert_int_equal(wb_projector_get_stat(r.projector).generation, 1);
	rig_fini(&r);
}

static void *run(void *arg)
{
	rig *r = arg;
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_projector_run(r->projector, false, &err), err);
	return NULL;
}

static void it_runs_on_until_it_is_stopped(void **state)
{
	wb_error err = WB_ERROR_INIT;
	pthread_t thread;
	wb_read *read;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append(&r, "a", "1");
	rig_open(&r);
	assert_ok(wb_projector_run(r.projector, true, &err), err);
	read = rig_read(&r);
	assert_int_equal(pthread_create(&thread, NULL, run, &r), 0);
	assert_ok(wb_read_wait(read, rig_append(&r, "a", "2"), 5000, &err),
		  err);
	wb_projector_stop(r.projector);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(wb_projector_get_stat(r.projector).state,
			 WB_PROJECTOR_STOPPED);
	wb_read_close(read);
	rig_fini(&r);
}

static void a_host_waits_for_it_with_its_own(void **state)
{
	struct pollfd fd = {.events = POLLIN};
	wb_error err = WB_ERROR_INIT;
	uint64_t position;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_open(&r);
	assert_ok(wb_projector_fd(r.projector, &fd.fd, &err), err);
	position = rig_append(&r, "a", "1");
	for (int i = 0; i < 1000; i++) {
		if (wb_projector_get_stat(r.projector).position >= position)
			break;
		assert_true(poll(&fd, 1, 1000) >= 0);
		assert_ok(wb_projector_dispatch(r.projector, &err), err);
	}
	assert_int_equal(rig_count(&r, "a"), 1);
	rig_fini(&r);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_projector_runs_until_nothing_is_left),
		T(who_is_stuck_says_why),
		T(a_rebuild_that_is_stuck_says_why),
		T(it_runs_on_until_it_is_stopped),
		T(a_host_waits_for_it_with_its_own),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
