/* SPDX-License-Identifier: BSD-2-Clause */
/* The worker in an event loop, on real time: what wakes it, when it ends by
 * itself; and a store that others fill or enlarge under it. */
#include "tests/support/testing.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/inbox/worker_rig.h"
#include "tests/support/place.h"

enum { EVENTS = 400, PATIENCE_MS = 10000 };

/* ---- loops --------------------------------------------------------------- */

static int64_t now_ms(void)
{
	const wb_clock *clock = wb_system_clock();

	return clock->mono_us(clock->ctx) / 1000;
}

static void a_host_loop_drives_it_by_one_descriptor(void **state)
{
	test_place *place = *state;
	int64_t end_ms = now_ms() + PATIENCE_MS;
	wb_error err = WB_ERROR_INIT;
	struct pollfd fds[1];
	unsigned filled = 0;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, false);
	h = worker_rig_handler(&r, "count");
	worker_rig_start(&r, &h);
	assert_ok(wb_worker_fd(r.worker, &fds[0].fd, &err), err);
	fds[0].events = POLLIN;
	while (worker_rig_queue(&r, "seen").arrived < EVENTS) {
		assert_true(now_ms() < end_ms);
		if (filled < EVENTS &&
		    wb_worker_get_stat(r.worker).state == WB_WORKER_RUNNING) {
			worker_rig_fill(&r, filled + 1, 20);
			filled += 20;
		}
		if (poll(fds, 1, 20) > 0)
			assert_ok(wb_worker_dispatch(r.worker, &err), err);
	}
	worker_rig_assert_seen(&r, EVENTS);
	worker_rig_fini(&r);
}

static void it_runs_until_it_is_idle(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, false);
	h = worker_rig_handler(&r, "count");
	worker_rig_start(&r, &h);
	assert_ok(wb_worker_run(r.worker, true, &err), err);
	assert_int_equal(wb_worker_get_stat(r.worker).state, WB_WORKER_STOPPED);
	wb_worker_close(r.worker);
	worker_rig_fill(&r, 1, EVENTS);
	worker_rig_start(&r, &h);
	assert_ok(wb_worker_run(r.worker, true, &err), err);
	assert_int_equal(r.called, EVENTS);
	worker_rig_assert_seen(&r, EVENTS);
	worker_rig_fini(&r);
}

/* Nobody tells it, and it polls far less often than the test has patience. */
static void a_commit_of_others_wakes_it(void **state)
{
	test_place *place = *state;
	int64_t end_ms;
	wb_error err = WB_ERROR_INIT;
	struct pollfd fds[1];
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, false);
	wb_broker_free(r.consumer);
	r.consumer = NULL;
	r.options.relay = NULL;
	r.options.poll_ms = 3600000;
	h = worker_rig_handler(&r, "count");
	worker_rig_start(&r, &h);
	assert_ok(wb_worker_fd(r.worker, &fds[0].fd, &err), err);
	fds[0].events = POLLIN;
	while (poll(fds, 1, 100) > 0)
		assert_ok(wb_worker_dispatch(r.worker, &err), err);
	assert_true(wb_worker_get_stat(r.worker).idle);
	worker_rig_append(&r);
	assert_false(wb_worker_get_stat(r.worker).idle);
	end_ms = now_ms() + PATIENCE_MS;
	while (r.called == 0) {
		assert_true(now_ms() < end_ms);
		if (poll(fds, 1, 1000) > 0)
			assert_ok(wb_worker_dispatch(r.worker, &err), err);
	}
	worker_rig_fini(&r);
}

/* ---- room ---------------------------------------------------------------- */

/* Waiting for it to be idle would be waiting for ever. */
static wb_code no_room(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)call;
	(void)event;
	return wb_error_set(err, WB_ENOSPC, 0, __func__, "the disk is full");
}

static void without_room_it_runs_until_it_says_so(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, false);
	h = worker_rig_handler(&r, "count");
	h.handle = no_room;
	worker_rig_start(&r, &h);
	worker_rig_append(&r);
	assert_int_equal(wb_worker_run(r.worker, true, &err), WB_ENOSPC);
	assert_non_null(strstr(err.text, "the disk is full"));
	assert_int_equal(wb_worker_get_stat(r.worker).dead, 0);
	worker_rig_fini(&r);
}

/* A clock at which something happens when it is looked at. */
typedef struct busy_clock {
	wb_clock clock;
	fake_clock *fake;
	const char *dir;
	int looks; /* so many more until it happens; 0: it has */
} busy_clock;

/* Another process enlarges the map and fills it. */
static void enlarge(const char *dir)
{
	static char large[3 << 20];
	MDB_val key = {1, (void *)(uintptr_t) "k"};
	MDB_val value = {sizeof(large), large};
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	int status = 1;
	pid_t child = fork();

	if (child == 0)
		_exit(mdb_env_create(&env) || mdb_env_set_maxdbs(env, 4) ||
		      mdb_env_set_mapsize(env, 64 << 20) ||
		      mdb_env_open(env, dir, MDB_NOTLS, 0600) ||
		      mdb_txn_begin(env, NULL, 0, &txn) ||
		      mdb_dbi_open(txn, "own", MDB_CREATE, &dbi) ||
		      mdb_put(txn, dbi, &key, &value, 0) ||
		      mdb_txn_commit(txn));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static int64_t busy_mono(void *ctx)
{
	busy_clock *busy = ctx;

	if (busy->looks > 0 && --busy->looks == 0)
		enlarge(busy->dir);
	return busy->fake->clock.mono_us(busy->fake->clock.ctx);
}

static int64_t busy_real(void *ctx)
{
	busy_clock *busy = ctx;

	return busy->fake->clock.real_us(busy->fake->clock.ctx);
}

/* Between its look at the store and its write, too. */
static void check_enlarged(test_place *place, int looks)
{
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	busy_clock busy = {.dir = place->store};
	wb_handler h;
	worker_rig r;

	worker_rig_init(&r, place->store, true);
	wb_store_close(r.store);
	test_remove_tree(place->store);
	options.map_bytes = 2 << 20;
	assert_ok(wb_store_create(place->store, &options, &err), err);
	assert_ok(wb_store_open(place->store, &options, &r.store, &err), err);
	wb_broker_free(r.consumer);
	r.consumer = NULL;
	r.options.relay = NULL;
	r.options.sole_user = true;
	busy.fake = &r.clock;
	busy.clock = (wb_clock){busy_real, busy_mono, &busy};
	r.options.clock = &busy.clock;
	h = worker_rig_handler(&r, "count");
	worker_rig_start(&r, &h);
	worker_rig_append(&r);
	busy.looks = looks;
	for (int i = 0; i < 1000 && r.called == 0; i++)
		worker_rig_step(&r);
	assert_int_equal(busy.looks, 0);
	assert_int_equal(r.called, 1);
	assert_int_equal(wb_worker_get_stat(r.worker).error.code, WB_OK);
	worker_rig_fini(&r);
	test_remove_tree(place->store);
}

static void a_map_enlarged_at_any_moment_is_taken_over(void **state)
{
	for (int looks = 1; looks <= 2; looks++)
		check_enlarged(*state, looks);
}

#define T(test)                                                                \
	cmocka_unit_test_setup_teardown(test, test_place_setup,                \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_host_loop_drives_it_by_one_descriptor),
		T(it_runs_until_it_is_idle),
		T(a_commit_of_others_wakes_it),
		T(without_room_it_runs_until_it_says_so),
		T(a_map_enlarged_at_any_moment_is_taken_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
