/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Killed at any call of LMDB or any change of a file, while it applies, sets
 * aside, rebuilds, flips, heals and rolls back, a model goes on to equal a fresh
 * rebuild, byte for byte.
 *
 * The same of a model of a stream queue, which is made of the same messages in
 * each process; some of them were published twice.
 *
 * This program runs itself as the one to be killed (tests/crash/killpoint.c).
 * `make check` tries points that are spread over its life; WAYBILL_KILL_ALL=1
 * tries every one.
 */
#include "tests/projections/queue_rig.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "projections/projector.h"
#include "tests/crash/child.h"

enum { KILL_POINTS = 15, KILL_TIMEOUT_MS = 20000 };

static const char *program;
static const char preload[] = "tests/crash/.libs/killpoint.so";

/* ---- the one that is killed ---------------------------------------------- */

static void life_open(rig *r, test_place *place, const char *dir)
{
	wb_error err = WB_ERROR_INIT;

	snprintf(place->dir, sizeof(place->dir), "%s", dir);
	snprintf(place->store, sizeof(place->store), "%s/store", dir);
	if (access(place->store, F_OK) != 0) {
		rig_init(r, place, WB_ON_ERROR_QUARANTINE_KEY);
		return;
	}
	/* As rig_init(), but the store is there. */
	snprintf(place->store, sizeof(place->store), "%s/unused", dir);
	test_remove_tree(place->store);
	rig_init(r, place, WB_ON_ERROR_QUARANTINE_KEY);
	wb_store_close(r->store);
	snprintf(place->store, sizeof(place->store), "%s/store", dir);
	assert_ok(wb_store_open(place->store, NULL, &r->store, &err), err);
}

static int life(const char *dir)
{
	test_place place;
	rig r;

	life_open(&r, &place, dir);
	rig_open(&r);
	rig_settle(&r);
	rig_rebuild(&r, true);
	rig_settle(&r);
	r.mended = true;
	rig_ask(&r, WB_PROJECTION_HEAL);
	rig_settle(&r);
	rig_rebuild(&r, false);
	rig_settle(&r);
	rig_ask(&r, WB_PROJECTION_ROLLBACK);
	rig_settle(&r);
	rig_ask(&r, WB_PROJECTION_PROMOTE);
	rig_settle(&r);
	rig_fini(&r);
	return 0;
}

/* ---- the same, of a stream queue ----------------------------------------- */

static void queue_life_open(queue_rig *q, test_place *place, const char *dir)
{
	memset(q, 0, sizeof(*q));
	life_open(&q->rig, place, dir);
	queue_rig_connect(q, place->store);
	q->rig.options.batch_max = 16;
	queue_rig_declare(q);
	queue_rig_publish_many(q, 1, 40);
	queue_rig_publish(q, 41, "k1", "poison");
	queue_rig_publish_many(q, 30, 60);
	queue_rig_publish(q, 61, "k2", "poison");
	queue_rig_publish_many(q, 62, 80);
}

static int queue_life(const char *dir)
{
	test_place place;
	queue_rig q;

	queue_life_open(&q, &place, dir);
	rig_open(&q.rig);
	queue_rig_settle(&q);
	rig_rebuild(&q.rig, true);
	queue_rig_settle(&q);
	q.rig.mended = true;
	rig_ask(&q.rig, WB_PROJECTION_HEAL);
	queue_rig_settle(&q);
	rig_rebuild(&q.rig, false);
	queue_rig_settle(&q);
	rig_ask(&q.rig, WB_PROJECTION_ROLLBACK);
	queue_rig_settle(&q);
	queue_rig_publish_many(&q, 70, 100);
	queue_rig_settle(&q);
	rig_ask(&q.rig, WB_PROJECTION_PROMOTE);
	queue_rig_settle(&q);
	queue_rig_fini(&q);
	return 0;
}

static void queue_look(const char *dir, unsigned long at, const char *when)
{
	char model[33], fresh[33];
	test_place place;
	queue_rig q;

	queue_life_open(&q, &place, dir);
	q.rig.mended = true;
	queue_rig_publish_many(&q, 70, 110);
	rig_open(&q.rig);
	queue_rig_settle(&q);
	rig_ask(&q.rig, WB_PROJECTION_HEAL);
	queue_rig_settle(&q);
	assert_true(queue_rig_stat(&q).position == 41 + 31 + 1 + 19 + 41);
	rig_digest(&q.rig, 0, model);
	queue_rig_fresh_digest(&q, fresh);
	if (strcmp(model, fresh) != 0)
		fail_msg("killed %s call %lu: the model of a stream differs "
			 "from a fresh one; see %s",
			 when, at, dir);
	queue_rig_fini(&q);
}

/* ---- the one that kills and looks ---------------------------------------- */

static void copy_store(const char *from, const char *to)
{
	test_remove_tree(to);
	assert_int_equal(mkdir(to, 0700), 0);
	assert_int_equal(mkdir(test_path(to, "store"), 0700), 0);
	assert_int_equal(mkdir(test_path(to, "store/relay"), 0700), 0);
	test_copy_file(test_path(from, "store/data.mdb"),
		       test_path(to, "store/data.mdb"));
	test_copy_file(test_path(from, "store/relay/data.mdb"),
		       test_path(to, "store/relay/data.mdb"));
}

static int live(const char *what, const char *dir, unsigned long at,
		const char *when, const char *log)
{
	const char *argv[] = {program, what, dir, NULL};
	char n[64], how[64], book[PATH_MAX + 32], load[128];
	const char *env[] = {n, how, book, load, NULL};

	snprintf(n, sizeof(n), "KILLPOINT_N=%lu", at);
	snprintf(how, sizeof(how), "KILLPOINT_WHEN=%s", when);
	snprintf(book, sizeof(book), "KILLPOINT_LOG=%s", log);
	snprintf(load, sizeof(load), "LD_PRELOAD=%s", preload);
	return child_run(argv, env, test_path(dir, "out"), KILL_TIMEOUT_MS);
}

static unsigned long lines_of(const char *path)
{
	FILE *file = fopen(path, "r");
	unsigned long lines = 0;
	int c;

	assert_non_null(file);
	while ((c = getc(file)) != EOF)
		lines += c == '\n';
	fclose(file);
	return lines;
}

/* Go on after the kill, with code that applies everything. */
static void look(const char *dir, unsigned long at, const char *when)
{
	char model[33], fresh[33];
	test_place place;
	rig r;

	life_open(&r, &place, dir);
	r.mended = true;
	rig_open(&r);
	rig_settle(&r);
	rig_ask(&r, WB_PROJECTION_HEAL);
	rig_settle(&r);
	rig_digest(&r, 0, model);
	rig_fresh_digest(&r, fresh);
	if (strcmp(model, fresh) != 0)
		fail_msg("killed %s call %lu: the model differs from a fresh "
			 "one; see %s",
			 when, at, dir);
	if (r.projector->building.generation > 0) {
		rig_digest(&r, r.projector->building.generation, model);
		if (strcmp(model, fresh) != 0)
			fail_msg("killed %s call %lu: what is built differs",
				 when, at);
	}
	rig_fini(&r);
}

/* Kill it at points that are spread over its life, and look each time. */
static void kill_all(const char *what, const char *from,
		     void (*look_at)(const char *dir, unsigned long at,
				     const char *when))
{
	static const char *const whens[] = {"before", "after", "partial"};
	char work[PATH_MAX], log[PATH_MAX];
	unsigned long calls, step, at;
	unsigned n = 0, unreached = 0;
	int status;

	snprintf(work, sizeof(work), "%s", test_path(from, "work"));
	snprintf(log, sizeof(log), "%s", test_path(from, "log"));
	copy_store(from, work);
	status = live(what, work, 0, "before", log);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	calls = lines_of(log);
	assert_true(calls > 500);
	look_at(work, 0, "after");
	step = getenv("WAYBILL_KILL_ALL") ? 1 : calls / KILL_POINTS;
	for (at = 1 + step / 2; at < calls; at += step) {
		const char *when = whens[n++ % 3];

		copy_store(from, work);
		status = live(what, work, at, when, "/dev/null");
		/* Transactions end by the clock: on a busy machine a life has
		 * more calls than on an idle one, and may end before this. */
		if (WIFEXITED(status)) {
			assert_int_equal(WEXITSTATUS(status), 0);
			unreached++;
		} else {
			assert_int_equal(WTERMSIG(status), SIGKILL);
		}
		look_at(work, at, when);
	}
	print_message("%u of %lu points, %u not reached\n", n, calls,
		      unreached);
	assert_true(unreached < n / 2);
}

static void killed_anywhere_the_model_equals_a_fresh_rebuild(void **state)
{
	test_place *place = *state;
	test_place first;
	rig r;

	life_open(&r, &first, place->dir);
	rig_append_many(&r, 20, 4);
	rig_append(&r, "k1", "poison");
	rig_append_many(&r, 20, 4);
	rig_append(&r, "k2", "poison");
	rig_append_many(&r, 10, 4);
	rig_fini(&r);
	kill_all("life", place->dir, look);
}

static void killed_anywhere_a_model_of_a_stream_equals_one_too(void **state)
{
	test_place *place = *state;
	test_place first;
	rig r;

	life_open(&r, &first, place->dir);
	rig_fini(&r);
	kill_all("queue-life", place->dir, queue_look);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			killed_anywhere_the_model_equals_a_fresh_rebuild,
			test_place_setup, test_place_teardown),
		cmocka_unit_test_setup_teardown(
			killed_anywhere_a_model_of_a_stream_equals_one_too,
			test_place_setup, test_place_teardown),
	};

	program = argv[0];
	if (argc == 3 && !strcmp(argv[1], "life"))
		return life(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "queue-life"))
		return queue_life(argv[2]);
	if (access(preload, R_OK) != 0) {
		fprintf(stderr, "SKIP: no %s here\n", preload);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
