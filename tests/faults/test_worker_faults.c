/* SPDX-License-Identifier: BSD-2-Clause */
/* What brokers, disks, handlers and other workers do to a worker as it is
 * shipped, and what becomes of the events: see yard.h. Run by
 * tests/faults/run.sh. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* unshare */
#endif
#include "tests/support/testing.h"

#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/crash/child.h"
#include "tests/crash/work_of.h"
#include "tests/faults/yard.h"
#include "tests/integration/foreign_peer.h"

static const char *const healed[] = {WORK_HEALED "=1", NULL};

/* ---- the broker --------------------------------------------------------- */

/* RabbitMQ 3.10 writes down with delay that a quorum queue exists: see
 * a_killed_broker_with_a_quorum_queue_costs_only_time. */
static void settle_broker(void)
{
	const char *const argv[] = {getenv("WAYBILL_TEST_RABBITMQCTL"), "-q",
				    "eval",
				    "[dets:sync(T) || T <- dets:all()].", NULL};

	assert_int_equal(child_run(argv, NULL, NULL, YARD_WAIT_MS), 0);
}

static void a_killed_broker_costs_a_worker_only_time(void **state)
{
	const char *uri = getenv("WAYBILL_TEST_AMQP");
	yard *y = *state;

	yard_open(y, NULL, 0);
	y->worker = yard_worker(y, healed, NULL);
	yard_await_word(y, "takes from queue", 1);
	yard_feed(y, 10);
	yard_settle(y);
	settle_broker();
	for (int i = 0; i < 2; i++) {
		yard_feed(y, 300);
		yard_node("kill"); /* while it works */
		feeder_close(&y->feeder);
		yard_node("start");
		assert_true(feeder_open(&y->feeder, uri, y->exchange));
		yard_feed(y, 100);
		yard_settle(y);
	}
	yard_end(y);
}

/* Whether everything published is handled, within the usual patience. */
static bool all_handled(yard *y)
{
	bool all = false;

	for (int ms = 0; ms < YARD_WAIT_MS && !all; ms += 50) {
		assert_true(handled_look(&y->books, &all));
		yard_sleep_ms(50);
	}
	return all;
}

/* Its publisher is blocked; handlers go on. */
static void a_blocked_broker_holds_back_follow_ups_alone(void **state)
{
	yard *y = *state;

	yard_open(y, NULL, 0);
	y->worker = yard_worker(y, healed, NULL);
	yard_await_word(y, "takes from queue", 1);
	yard_drain(&y->worker);
	yard_feed(y, 500);
	yard_node("block");
	y->worker = yard_worker(y, healed, NULL);
	assert_true(all_handled(y));
	assert_true(checker_count(y->books.done).lost > 0);
	yard_node("unblock");
	yard_settle(y);
	yard_end(y);
}

/* Stopped, with its connections open. What was taken in before is handled all
 * the same; the rest comes when it goes on. */
static void a_frozen_broker_holds_up_no_handler(void **state)
{
	const char *const more[] = {"--heartbeat-s", "5",
				    "--connect-timeout-ms", "1000", NULL};
	char broken[PATH_MAX + 40];
	const char *const env[] = {WORK_HEALED "=1", broken, NULL};
	FILE *file;
	yard *y = *state;

	snprintf(broken, sizeof(broken), WORK_BROKEN "=%s/broken", y->dir);
	file = fopen(strchr(broken, '=') + 1, "w");
	assert_non_null(file);
	fclose(file);
	yard_open(y, NULL, 0);
	y->worker = yard_worker(y, env, more);
	yard_await_word(y, "takes from queue", 1);
	yard_feed(y, 200);
	yard_await_taken(y);
	yard_node("freeze");
	assert_int_equal(unlink(strchr(broken, '=') + 1), 0);
	assert_true(all_handled(y));
	assert_true(checker_count(y->books.done).lost > 0); /* follow-ups */
	yard_await_word(y, "no connection", 1);
	feeder_close(&y->feeder);
	yard_node("thaw");
	assert_true(feeder_open(&y->feeder, getenv("WAYBILL_TEST_AMQP"),
				y->exchange));
	yard_feed(y, 300);
	yard_settle(y);
	y->ends = 1; /* what was on its way goes again */
	yard_end(y);
}

/* ---- handlers ----------------------------------------------------------- */

/* Every call asks to be made again while a file is there: hundreds of attempts,
 * since the pauses are short. */
static void a_handler_that_fails_for_long_keeps_the_order(void **state)
{
	char broken[PATH_MAX + 40];
	const char *const env[] = {WORK_HEALED "=1", broken, NULL};
	const char *path;
	yard *y = *state;
	FILE *file;
	bool all;

	snprintf(broken, sizeof(broken), WORK_BROKEN "=%s/broken", y->dir);
	path = strchr(broken, '=') + 1;
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	yard_open(y, NULL, 0);
	y->worker = yard_worker(y, env, NULL);
	yard_await_word(y, "takes from queue", 1);
	for (int i = 0; i < 5; i++) {
		yard_feed(y, 60);
		yard_sleep_ms(500);
	}
	assert_true(handled_look(&y->books, &all));
	assert_int_equal(y->books.applied_head, 0);
	assert_int_equal(unlink(path), 0);
	yard_feed(y, 60);
	yard_settle(y);
	yard_end(y);
}

/* One of 250 ends the process each time it is handled. */
static void poison_among_good_ones_is_set_aside_alone(void **state)
{
	const char *const env[] = {WORK_HEALED "=1", WORK_POISON "=120",
				   WORK_ATTEMPTS "=4", NULL};
	const char *const more[] = {"--restart-min-ms", "1", "--restart-max-ms",
				    "20", NULL};
	yard *y = *state;

	yard_open(y, NULL, 0);
	y->worker = yard_worker(y, env, more);
	yard_await_word(y, "takes from queue", 1);
	yard_feed(y, 250);
	yard_await_dead(y, 1);
	yard_drain(&y->worker);
	y->ends = 4; /* it died so often, with calls of others in its batch */
	y->worker = yard_worker(y, healed, NULL);
	yard_feed(y, 20);
	yard_redrive(y);
	yard_settle(y);
	yard_end(y);
}

/* ---- no room ------------------------------------------------------------ */

static bool small_disk(const char *path)
{
	return mkdir(path, 0700) == 0 && unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", path, "tmpfs", 0, "size=12m,mode=0700") == 0;
}

static void put_ballast(const char *path)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	for (int i = 0; i < 11 << 20; i++)
		(void)fputc('b', file);
	(void)fclose(file); /* what fits */
}

/* It pauses, takes nothing more, and goes on when there is room again. */
static void a_full_disk_under_a_worker_loses_nothing(void **state)
{
	char disk[PATH_MAX + 8], ballast[PATH_MAX + 32];
	yard *y = *state;

	snprintf(disk, sizeof(disk), "%s/disk", y->dir);
	snprintf(ballast, sizeof(ballast), "%s/ballast", disk);
	if (!small_disk(disk)) {
		print_message("may not mount a small disk\n");
		skip();
	}
	yard_open(y, disk, 64 << 20);
	put_ballast(ballast);
	y->worker = yard_worker(y, healed, NULL);
	yard_await_word(y, "takes from queue", 1);
	yard_feed(y, 2500);
	yard_await_word(y, "room", 1);
	assert_int_equal(unlink(ballast), 0);
	yard_await_word(y, "room again", 1);
	yard_settle(y);
	yard_end(y);
	(void)umount2(disk, MNT_DETACH);
}

/* Another service's rows take the rest of the map, and later a part of the
 * larger one. */
static void hoard(wb_store *store, uint64_t from, uint64_t rows)
{
	static char bytes[8000]; /* two pages each */
	wb_error err = WB_ERROR_INIT;
	MDB_dbi table;
	MDB_txn *txn;

	assert_ok(wb_store_begin(store, &txn, &err), err);
	assert_int_equal(mdb_dbi_open(txn, "hoard",
				      MDB_CREATE | MDB_INTEGERKEY, &table),
			 0);
	for (uint64_t i = from; i < from + rows; i++) {
		MDB_val key = {sizeof(i), &i}, value = {sizeof(bytes), bytes};

		assert_int_equal(mdb_put(txn, table, &key, &value, 0), 0);
	}
	assert_ok(wb_store_commit(store, txn, &err), err);
}

/* It says what to do, takes nothing in, and goes on in a larger map, without a
 * restart. */
static void a_full_map_under_a_worker_loses_nothing(void **state)
{
	yard *y = *state;
	wb_error err = WB_ERROR_INIT;
	wb_store *store;

	yard_open(y, NULL, 4 << 20);
	assert_ok(wb_store_open(y->books.store, NULL, &store, &err), err);
	hoard(store, 0, 440);
	y->worker = yard_worker(y, healed, NULL);
	yard_await_word(y, "takes from queue", 1);
	yard_feed(y, 2500);
	yard_await_word(y, "enlarge the map", 1);
	yard_sleep_ms(1500); /* it looks again, in vain */
	assert_int_equal(mdb_env_set_mapsize(wb_store_env(store), 64 << 20),
			 0);
	hoard(store, 440, 1000);
	wb_store_close(store); /* the books open it */
	yard_await_word(y, "room again", 1);
	yard_settle(y);
	yard_end(y);
}

/* ---- two workers -------------------------------------------------------- */

static void a_second_worker_takes_over_when_the_first_is_killed(void **state)
{
	const char *const more[] = {"--no-supervisor", NULL};
	yard *y = *state;

	yard_open(y, NULL, 0);
	y->worker = yard_worker(y, healed, more);
	yard_await_word(y, "takes from queue", 1);
	y->second = yard_worker(y, healed, more);
	for (int i = 0; i < 5; i++) {
		yard_feed(y, 200);
		yard_kill(y, &y->worker);
		yard_feed(y, 50);
		y->worker = y->second;
		y->second = yard_worker(y, healed, more);
	}
	yard_settle(y);
	yard_end(y);
}

/* The queue is the first one's: the other is told so and takes nothing. */
static void another_store_on_the_queue_takes_nothing(void **state)
{
	char first[PATH_MAX];
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	yard *y = *state;

	yard_open(y, NULL, 0);
	y->worker = yard_worker(y, healed, NULL);
	yard_await_word(y, "takes from queue", 1);
	yard_feed(y, 200);
	snprintf(first, sizeof(first), "%s", y->books.store);
	snprintf(y->books.store, sizeof(y->books.store), "%.4000s/other",
		 y->dir);
	options.service = "other";
	assert_ok(wb_store_create(y->books.store, &options, &err), err);
	y->second = yard_worker(y, healed, NULL);
	snprintf(y->books.store, sizeof(y->books.store), "%s", first);
	yard_await_word(y, "belongs to another store", 1);
	yard_feed(y, 200);
	yard_settle(y);
	child_kill(y->second);
	y->second = 0;
	yard_end(y);
}

/* ---- whatever is published ---------------------------------------------- */

/* Two thousand broken messages among good ones: each is taken in, known or set
 * aside, and the worker lives. */
static void whatever_is_published_stops_no_good_event(void **state)
{
	enum { FOREIGN = 2000 };
	foreign_peer *producer = foreign_peer_open(getenv("WAYBILL_TEST_AMQP"));
	const char *const more[] = {"--no-supervisor", NULL};
	yard *y = *state;
	uint64_t dead = 0;

	assert_non_null(producer);
	yard_open(y, NULL, 0);
	y->worker = yard_worker(y, healed, more);
	yard_await_word(y, "takes from queue", 1);
	for (unsigned i = 0; i < FOREIGN; i++) {
		assert_true(foreign_peer_send(producer, y->exchange, i));
		if (i % 20 == 0)
			yard_feed(y, 3);
	}
	foreign_peer_close(producer);
	yard_settle(y);
	yard_drain(&y->worker); /* it did not die, and nothing comes again: */
	y->worker = yard_worker(y, healed, more);
	yard_await_word(y, "takes from queue", 2);
	yard_sleep_ms(1000);
	yard_drain(&y->worker);
	yard_await_word(y, "ended: 0 received", 1);
	assert_true(handled_dead(&y->books, &dead));
	printf("  %d sent: %" PRIu64 " taken in, %" PRIu64 " set aside\n",
	       FOREIGN, y->books.foreign, dead);
	assert_true(y->books.foreign > FOREIGN / 10 && dead > FOREIGN / 10);
	yard_end(y);
}

#define FAULT(test)                                                           \
	cmocka_unit_test_setup_teardown(test, yard_setup, yard_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		FAULT(a_second_worker_takes_over_when_the_first_is_killed),
		FAULT(another_store_on_the_queue_takes_nothing),
		FAULT(a_handler_that_fails_for_long_keeps_the_order),
		FAULT(poison_among_good_ones_is_set_aside_alone),
		FAULT(whatever_is_published_stops_no_good_event),
		FAULT(a_blocked_broker_holds_back_follow_ups_alone),
		FAULT(a_killed_broker_costs_a_worker_only_time),
		FAULT(a_frozen_broker_holds_up_no_handler),
		FAULT(a_full_disk_under_a_worker_loses_nothing),
		FAULT(a_full_map_under_a_worker_loses_nothing),
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
