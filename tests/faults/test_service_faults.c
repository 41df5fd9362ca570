/* SPDX-License-Identifier: BSD-2-Clause */
/* What a full disk, a full map, a clock and a second relay do, on a real
 * broker. Run by tests/faults/run.sh. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* unshare */
#endif
#include "tests/support/testing.h"

#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/faults/scene.h"

/* ---- no room ------------------------------------------------------------- */

/* A file system of a few MiB in a mount namespace of this process: for root. */
static bool small_disk(const char *path)
{
	return mkdir(path, 0700) == 0 && unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", path, "tmpfs", 0, "size=3m,mode=0700") == 0;
}

/* Or else, while it appends, no file of this process may grow beyond that: the
 * same error, from the same call. What it starts meanwhile would inherit it. */
static void small_files(bool small)
{
	const struct rlimit limit = {small ? 2 << 20 : RLIM_INFINITY,
				     RLIM_INFINITY};

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Append until it is refused with this code; how many went in. */
static unsigned fill_up(scene *s, wb_code expected)
{
	wb_error err = WB_ERROR_INIT;
	unsigned count = 0;

	while (scene_try(s, "order.placed", count % 2 ? "a" : "b", 3000,
			 &err) == WB_OK)
		assert_true(++count < 100000);
	printf("  %u events, then: %s\n", count, err.text);
	assert_string_equal(wb_code_name(err.code), wb_code_name(expected));
	assert_int_equal(err.class_, WB_CLASS_RETRY);
	return count;
}

/* Refused for want of room, again and again. */
static void fill_and_insist(scene *s, wb_code expected)
{
	wb_error err = WB_ERROR_INIT;

	assert_true(fill_up(s, expected) > 20);
	for (int i = 0; i < 20; i++) {
		assert_string_equal(
			wb_code_name(scene_try(s, "order.placed", "a", 3000,
					       &err)),
			wb_code_name(expected));
		wb_error_clear(&err);
	}
}

/* A small disk, or small files, with a store on it; `ballast_bytes` of the disk
 * are taken. */
static bool cramped(scene *s, size_t ballast_bytes, char disk[PATH_MAX + 8],
		    char ballast[PATH_MAX + 32])
{
	bool mounted;
	FILE *file;

	snprintf(disk, PATH_MAX + 8, "%s/disk", s->dir);
	snprintf(ballast, PATH_MAX + 32, "%s/ballast", disk);
	mounted = small_disk(disk);
	if (!mounted)
		(void)mkdir(disk, 0700);
	file = fopen(ballast, "w");
	assert_non_null(file);
	for (size_t i = 0; i < ballast_bytes; i++)
		assert_int_not_equal(fputc('b', file), EOF);
	assert_int_equal(fclose(file), 0);
	scene_store(s, disk, 64 << 20, NULL);
	scene_broker(s, "#", NULL, 0);
	scene_collect(s);
	return mounted;
}

/* Append until there is no room, and on. */
static void fill_disk(scene *s, bool mounted)
{
	if (!mounted)
		small_files(true);
	fill_and_insist(s, WB_ENOSPC);
	if (!mounted)
		small_files(false);
}

static void leave(scene *s, const char *disk)
{
	wb_outbox_close(s->outbox);
	wb_store_close(s->store);
	s->store = NULL;
	s->outbox = NULL;
	(void)umount2(disk, MNT_DETACH); /* if it is one */
}

/*
 * A relay that has run before writes its cursor into pages that it has: what
 * is committed drains although nothing can grow. For appends there must be
 * some room again, since a record is pruned in the transaction of a new one.
 */
static void a_full_disk_refuses_appends_and_loses_nothing(void **state)
{
	char disk[PATH_MAX + 8], ballast[PATH_MAX + 32];
	scene *s = *state;
	bool mounted = cramped(s, 100000, disk, ballast);

	s->relay = scene_relay(s, NULL, NULL);
	for (int i = 0; i < 50; i++) { /* commits, until its file is as large
					* as it needs to be */
		scene_append(s, 5);
		scene_sleep_ms(20);
	}
	scene_settle(s);
	child_kill(s->relay);
	s->relay = 0;
	fill_disk(s, mounted);
	s->relay = scene_relay(s, NULL, NULL);
	scene_settle(s);
	assert_int_equal(unlink(ballast), 0); /* somebody makes room */
	scene_append(s, 500);
	scene_settle(s);
	scene_end(s, 1);
	leave(s, disk);
}

/* A new relay on a full disk cannot write down what is settled: it stops at
 * its window, says so, and goes on by itself when there is room. */
static void a_relay_without_room_waits_for_it(void **state)
{
	char disk[PATH_MAX + 8], ballast[PATH_MAX + 32];
	scene *s = *state;
	bool mounted = cramped(s, 300000, disk, ballast);

	fill_disk(s, mounted);
	s->relay = scene_relay(s, NULL, NULL);
	if (mounted) {
		scene_sleep_ms(2500);
		assert_true(ledger_collect(&s->ledger));
		assert_in_range(checker_count(s->ledger.checker).delivered, 1,
				SCENE_WINDOW);
	}
	assert_int_equal(unlink(ballast), 0); /* somebody makes room */
	scene_settle(s);
	scene_append(s, 100);
	scene_settle(s);
	scene_end(s, 0);
	leave(s, disk);
}

static void a_reached_quota_refuses_appends_and_drains(void **state)
{
	scene *s = *state;

	scene_store(s, NULL, 4 << 20, NULL); /* quota: half of the map */
	scene_broker(s, "#", NULL, 0);
	scene_collect(s);
	fill_and_insist(s, WB_EQUOTA);
	s->relay = scene_relay(s, NULL, NULL);
	scene_settle(s);
	scene_append(s, 100);
	scene_settle(s);
	scene_end(s, 0);
}

/* The service's own table takes most of the map. */
static void hoard(scene *s)
{
	enum { ROWS = 250 }; /* three pages each */
	static char bytes[8192];
	wb_error err = WB_ERROR_INIT;
	MDB_dbi table;
	MDB_txn *txn;

	assert_ok(wb_store_begin(s->store, &txn, &err), err);
	assert_int_equal(mdb_dbi_open(txn, "hoard",
				      MDB_CREATE | MDB_INTEGERKEY, &table),
			 0);
	for (uint64_t i = 0; i < ROWS; i++) {
		MDB_val key = {sizeof(i), &i}, value = {sizeof(bytes), bytes};

		assert_int_equal(mdb_put(txn, table, &key, &value, 0), 0);
	}
	assert_ok(wb_store_commit(s->store, txn, &err), err);
}

/* The cure is a larger map: a relay that runs takes it over by itself. */
static void a_full_map_refuses_appends_and_loses_nothing(void **state)
{
	scene *s = *state;

	scene_store(s, NULL, 4 << 20, NULL);
	scene_broker(s, "#", NULL, 0);
	scene_collect(s);
	hoard(s);
	fill_and_insist(s, WB_EMAPFULL);
	s->relay = scene_relay(s, NULL, NULL);
	scene_settle(s); /* what was committed drains all the same */
	assert_int_equal(mdb_env_set_mapsize(wb_store_env(s->store), 8 << 20),
			 0);
	scene_append(s, 200);
	scene_settle(s);
	scene_end(s, 0);
}

/* ---- two relays ---------------------------------------------------------- */

static void a_second_relay_takes_over_when_the_first_is_killed(void **state)
{
	scene *s = *state;

	scene_usual(s, "#");
	s->relay = scene_relay(s, NULL, NULL);
	scene_append(s, 100);
	scene_settle(s); /* the first one has the store */
	s->second = scene_relay(s, NULL, NULL);
	for (int i = 0; i < 5; i++) {
		scene_append(s, 200);
		child_kill(s->relay);
		scene_append(s, 50);
		s->relay = s->second;
		s->second = scene_relay(s, NULL, NULL);
	}
	scene_settle(s);
	scene_end(s, 5);
}

/* Stopped, it keeps the lock and its place: the second must not begin, for the
 * first would go on where it was. */
static void a_second_relay_waits_while_the_first_is_stopped(void **state)
{
	uint64_t delivered;
	scene *s = *state;

	scene_usual(s, "#");
	s->relay = scene_relay(s, NULL, NULL);
	scene_append(s, 100);
	scene_settle(s);
	s->second = scene_relay(s, NULL, NULL);
	for (int i = 0; i < 3; i++) {
		scene_append(s, 100); /* stopped in the middle of these */
		kill(s->relay, SIGSTOP);
		scene_append(s, 100);
		scene_sleep_ms(700); /* three looks of the second */
		assert_true(ledger_collect(&s->ledger));
		delivered = checker_count(s->ledger.checker).delivered;
		scene_sleep_ms(500);
		assert_true(ledger_collect(&s->ledger));
		assert_int_equal(checker_count(s->ledger.checker).delivered,
				 delivered);
		kill(s->relay, SIGCONT);
		scene_settle(s);
	}
	assert_true(child_alive(s->second));
	scene_end(s, 0);
}

/* ---- the clock ----------------------------------------------------------- */

/* Goes back by an hour every hundred looks. */
static int64_t backward_real_us(void *ctx)
{
	int64_t *looks = ctx;

	return wb_system_clock()->real_us(NULL) -
	       ++*looks / 100 * INT64_C(3600000000);
}

static int64_t plain_mono_us(void *ctx)
{
	(void)ctx;
	return scene_now_us();
}

static void a_clock_set_back_changes_nothing(void **state)
{
	static int64_t looks;
	static const wb_clock clock = {backward_real_us, plain_mono_us,
				       &looks};
	char preload[PATH_MAX + 32], self[PATH_MAX];
	const char *const env[] = {preload, NULL};
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	scene *s = *state;

	assert_true(len > 0);
	self[len] = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%.4000s/.libs/setback.so",
		 self);
	scene_store(s, NULL, 64 << 20, &clock);
	scene_broker(s, "order.#", NULL, 0);
	scene_collect(s);
	s->relay = scene_relay(s, env, NULL);
	scene_append(s, 1000);
	scene_settle(s);
	child_kill(s->relay);
	s->relay = scene_relay(s, env, NULL);
	scene_bind(s, s->exchange, "#");
	scene_retry(s, "astray");
	scene_append(s, 1000);
	scene_await_parked(s, 0);
	scene_settle(s);
	scene_end(s, 1);
}

#define FAULT(test)                                                           \
	cmocka_unit_test_setup_teardown(test, scene_setup, scene_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		FAULT(a_reached_quota_refuses_appends_and_drains),
		FAULT(a_full_map_refuses_appends_and_loses_nothing),
		FAULT(a_second_relay_takes_over_when_the_first_is_killed),
		FAULT(a_second_relay_waits_while_the_first_is_stopped),
		FAULT(a_clock_set_back_changes_nothing),
		FAULT(a_full_disk_refuses_appends_and_loses_nothing),
		FAULT(a_relay_without_room_waits_for_it),
	};

	if (!getenv("WAYBILL_TEST_AMQP") || !getenv("WAYBILL_TEST_NODE")) {
		fprintf(stderr, "no broker of its own: see "
				"tests/faults/run.sh\n");
		return 77;
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
