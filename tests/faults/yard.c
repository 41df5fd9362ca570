/* SPDX-License-Identifier: BSD-2-Clause */
/* See yard.h. The programs are found beside this one. */
#include "tests/faults/yard.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/crash/child.h"
#include "tests/crash/declare.h"
#include "tests/crash/work_of.h"
#include "tests/kit/scratch.h"
#include "tests/support/testing.h"

enum { YARD_POLL_MS = 30, YARD_TERM_MS = 8000, YARD_BATCH = 7 };

void yard_sleep_ms(int ms)
{
	const struct timespec pause = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&pause, NULL);
}

/* A path from the build's top. */
static void yard_bin(const char *name, char ret[PATH_MAX + 64])
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(len > 0);
	self[len] = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(ret, PATH_MAX + 64, "%s/../../%s", self, name);
}

int yard_setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	static unsigned number;
	yard *y = calloc(1, sizeof(*y));

	assert_non_null(y);
	alarm(YARD_TEST_S);
	snprintf(y->dir, sizeof(y->dir), "%.4000s/waybill-yard-XXXXXX",
		 tmp && *tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(y->dir));
	snprintf(y->out, sizeof(y->out), "%s/out", y->dir);
	snprintf(y->exchange, sizeof(y->exchange), "yard-%ld-%u",
		 (long)getpid(), ++number);
	snprintf(y->after, sizeof(y->after), "%s.after", y->exchange);
	seeded_random_init(&y->random, number);
	*state = y;
	return 0;
}

int yard_teardown(void **state)
{
	yard *y = *state;

	child_kill(y->worker);
	child_kill(y->second);
	child_kill(y->collector);
	feeder_close(&y->feeder);
	handled_fini(&y->books);
	if (!getenv("WAYBILL_TEST_KEEP"))
		kit_scratch_remove(y->dir);
	alarm(0);
	free(y);
	return 0;
}

void yard_open(yard *y, const char *disk, uint64_t map_bytes)
{
	const char *uri = getenv("WAYBILL_TEST_AMQP");
	wb_declaration what[] = {declare_exchange(y->exchange),
				 declare_exchange(y->after),
				 declare_queue(y->after),
				 declare_binding(y->after, y->after, "#")};
	char program[PATH_MAX + 64];
	const char *argv[] = {program, uri, y->after, y->books.arrivals, NULL};

	assert_true(handled_init(&y->books, disk ? disk : y->dir, map_bytes));
	snprintf(y->books.effects, sizeof(y->books.effects), "%.4000s/effects",
		 y->dir);
	snprintf(y->books.arrivals, sizeof(y->books.arrivals),
		 "%.4000s/arrivals", y->dir);
	assert_true(declare_all(uri, what, 4));
	yard_bin("tests/crash/collector", program);
	y->collector = child_start(argv, NULL, y->out);
	assert_true(feeder_open(&y->feeder, uri, y->exchange));
}

/* ---- workers ------------------------------------------------------------ */

pid_t yard_worker(yard *y, const char *const env[], const char *const more[])
{
	char program[PATH_MAX + 64], module[PATH_MAX + 64], route[100];
	char effects[PATH_MAX + 40];
	const char *all[8] = {effects};
	const char *argv[CHILD_ARGS_MAX] = {
		program, "--store", y->books.store, "--amqp",
		getenv("WAYBILL_TEST_AMQP"), "--module", module, "--queue",
		y->exchange, "--exchange", y->exchange, "--route", route,
		"--backoff-max-ms", "300", "--probe-ms", "200", "--threads",
		"0", "--delivery-limit", "1000000"};
	size_t args = 21, envs = 1;
	pid_t pid;

	yard_bin("waybill-worker", program);
	yard_bin("tests/crash/.libs/handlers.so", module);
	snprintf(route, sizeof(route), "exchange=%s", y->after);
	snprintf(effects, sizeof(effects), WORK_EFFECTS "=%s",
		 y->books.effects);
	for (size_t i = 0; env && env[i]; i++)
		all[envs++] = env[i];
	for (size_t i = 0; more && more[i]; i++)
		argv[args++] = more[i];
	assert_true(envs < 8 && args < CHILD_ARGS_MAX);
	pid = child_start(argv, all, y->out);
	assert_true(pid > 0);
	return pid;
}

static unsigned yard_words(const yard *y, const char *word)
{
	FILE *file = fopen(y->out, "r");
	char line[2000];
	unsigned n = 0;

	while (file && fgets(line, sizeof(line), file))
		n += strstr(line, word) != NULL;
	if (file)
		fclose(file);
	return n;
}

void yard_await_word(yard *y, const char *word, unsigned times)
{
	for (int ms = 0; ms < YARD_WAIT_MS; ms += YARD_POLL_MS) {
		if (yard_words(y, word) >= times)
			return;
		yard_sleep_ms(YARD_POLL_MS);
	}
	fail_msg("nobody said %s", word);
}

void yard_drain(pid_t *pid)
{
	int status;

	if (*pid <= 0)
		return;
	kill(*pid, SIGTERM);
	status = child_wait(*pid, YARD_TERM_MS);
	*pid = 0;
	if (status != 0)
		fail_msg("the worker did not end well: status %d", status);
}

void yard_kill(yard *y, pid_t *pid)
{
	child_kill(*pid);
	*pid = 0;
	y->ends++;
}

void yard_redrive(yard *y)
{
	char program[PATH_MAX + 64];
	const char *argv[] = {program, "dead", "retry", "--all", "--store",
			      y->books.store, NULL};

	yard_bin("waybill", program);
	assert_int_equal(child_run(argv, NULL, y->out, YARD_WAIT_MS), 0);
}

void yard_node(const char *command)
{
	const char *argv[] = {getenv("WAYBILL_TEST_NODE"), command,
			      getenv("WAYBILL_TEST_NODE_DIR"), NULL};

	assert_int_equal(child_run(argv, NULL, NULL, YARD_WAIT_MS), 0);
}

/* ---- events ------------------------------------------------------------- */

void yard_feed(yard *y, unsigned count)
{
	assert_true(feeder_feed(&y->feeder, y->books.published + 1, count,
				&y->random));
	y->books.published += count;
}

void yard_settle(yard *y)
{
	bool all = false;

	for (int ms = 0; ms < YARD_WAIT_MS && !all; ms += YARD_POLL_MS) {
		assert_true(handled_look(&y->books, &all));
		yard_sleep_ms(YARD_POLL_MS);
	}
	if (!all)
		fail_msg("not all is handled: see %s", y->out);
	assert_true(handled_await_arrivals(&y->books, YARD_WAIT_MS));
}

void yard_await_taken(yard *y)
{
	bool all;

	for (int ms = 0; ms < YARD_WAIT_MS; ms += YARD_POLL_MS) {
		assert_true(handled_look(&y->books, &all));
		if (y->books.taken == y->books.published)
			return;
		yard_sleep_ms(YARD_POLL_MS);
	}
	fail_msg("not all is taken in: see %s", y->out);
}

void yard_await_dead(yard *y, uint64_t rows)
{
	uint64_t now = 0;

	for (int ms = 0; ms < YARD_WAIT_MS; ms += YARD_POLL_MS) {
		assert_true(handled_dead(&y->books, &now));
		if (now == rows)
			return;
		yard_sleep_ms(YARD_POLL_MS);
	}
	fail_msg("%" PRIu64 " dead letters, not %" PRIu64, now, rows);
}

void yard_end(yard *y)
{
	bool all;

	yard_drain(&y->worker);
	yard_drain(&y->second);
	assert_true(handled_look(&y->books, &all));
	assert_true(handled_close_books(&y->books,
					(uint64_t)y->ends * YARD_BATCH * 40));
	fflush(stdout);
}
