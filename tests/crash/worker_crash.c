/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kills the worker as it is shipped, and `waybill dead retry`, at every store
 * and broker call in turn, starts them again, and counts what became of each
 * event. See handled.h for the books.
 *
 *   worker_crash [KILLS]        WAYBILL_TEST_AMQP names the broker
 *
 * In each cycle events are published, each two or three times; in every third
 * one another consumer then takes the first of them and gives them back in
 * another order. A worker is killed again and again, while more is published,
 * and then runs until it is idle. Some events were refused until then, and what
 * is of their keys waits behind them: they are redriven, by a process that is
 * killed, too, and handlers take them now. In every fourth cycle the external
 * handler is called on threads.
 */
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/crash/child.h"
#include "tests/crash/declare.h"
#include "tests/crash/doom.h"
#include "tests/crash/feeder.h"
#include "tests/crash/handled.h"
#include "tests/crash/work_of.h"
#include "tests/kit/scratch.h"
#include "tests/support/seeded_random.h"

enum {
	CYCLE_EVENTS = 24,
	CYCLE_MORE = 6, /* published while a worker is killed */
	CYCLE_KILLS = 8, /* of workers, before it may come to an end */
	CYCLE_SHUFFLED = 12,
	CYCLE_TRIES = 8, /* runs until all is handled */
	DEADLINE_MS = 60000,
	NOT_ALL = 3, /* exit status: dead letters, or nothing to retry */
	THREADS = 2,
	BATCH = 7 /* calls whose end is not committed, at most */
};

enum victim { WORKER, REDRIVE, VICTIMS };

static const char *const victims[VICTIMS] = {"worker", "redrive"};

typedef struct killing {
	char dir[PATH_MAX], bin[PATH_MAX], out[PATH_MAX + 16];
	char exchange[64], after[80]; /* follow-ups go to the second one */
	const char *uri;
	handled books;
	feeder feeder;
	seeded_random random;
	doom doom[VICTIMS];
	unsigned wanted, cycles;
} killing;

/* ---- running the victims ------------------------------------------------ */

static bool killing_failed(const killing *k, const char *who, int status)
{
	fprintf(stderr, "worker_crash: the %s %s (status %d); see %s\n", who,
		status == CHILD_TIMEOUT ? "did not end in time" : "failed",
		status, k->out);
	return false;
}

static bool killing_ended_well(int status)
{
	return status == 0 ||
	       (status >= 0 && WIFEXITED(status) &&
		WEXITSTATUS(status) == NOT_ALL);
}

static pid_t killing_start_worker(const killing *k, bool healed,
				  const char *const doomed[])
{
	char program[PATH_MAX + 32], module[PATH_MAX + 32], route[100];
	char effects[PATH_MAX + 40], threads[8], batch[8];
	const char *env[8] = {effects};
	const char *argv[] = {program, "--store", k->books.store,
			      "--amqp", k->uri, "--module", module,
			      "--queue", k->exchange, "--exchange", k->exchange,
			      "--route", route, "--threads", threads,
			      "--no-supervisor", "--until-idle",
			      "--delivery-limit", "1000000", "--batch-max",
			      batch, "--prefetch", "40", "--window", "8",
			      "--commit-ms", "2", "--backoff-min-ms", "5", NULL};
	size_t n = 1;

	snprintf(program, sizeof(program), "%s/../../waybill-worker", k->bin);
	snprintf(module, sizeof(module), "%s/.libs/handlers.so", k->bin);
	snprintf(route, sizeof(route), "exchange=%s", k->after);
	snprintf(effects, sizeof(effects), WORK_EFFECTS "=%s",
		 k->books.effects);
	snprintf(threads, sizeof(threads), "%d",
		 k->cycles % 4 == 3 ? THREADS : 0);
	snprintf(batch, sizeof(batch), "%d", BATCH);
	if (healed)
		env[n++] = WORK_HEALED "=1";
	for (size_t i = 0; doomed && doomed[i]; i++)
		env[n++] = doomed[i];
	return child_start(argv, env, k->out);
}

static pid_t killing_start_redrive(const killing *k, const char *const doomed[])
{
	char program[PATH_MAX + 32];
	const char *argv[] = {program, "dead", "retry", "--all",
			      "--why", "test", "--store", k->books.store, NULL};

	snprintf(program, sizeof(program), "%s/../../waybill", k->bin);
	return child_start(argv, doomed, k->out);
}

static pid_t killing_start(const killing *k, enum victim victim, bool healed,
			   const char *const doomed[])
{
	return victim == WORKER ? killing_start_worker(k, healed, doomed)
				: killing_start_redrive(k, doomed);
}

static bool killing_run(const killing *k, enum victim victim, bool healed)
{
	int status = child_wait(killing_start(k, victim, healed, NULL),
				DEADLINE_MS);

	return killing_ended_well(status) ||
	       killing_failed(k, victims[victim], status);
}

/* ---- publishing --------------------------------------------------------- */

static bool killing_publish(killing *k, unsigned count)
{
	uint64_t first = k->books.published + 1;

	k->books.published += count;
	return feeder_feed(&k->feeder, first, count, &k->random);
}

/* ---- kills -------------------------------------------------------------- */

/* It must die by its kill, or end well before it comes to that call. */
static bool killing_kill(killing *k, enum victim victim, bool healed,
			 unsigned more)
{
	doom *d = &k->doom[victim];
	const char *const *env = doom_next(d);
	pid_t pid = killing_start(k, victim, healed, env);
	bool published = more == 0 || killing_publish(k, more);
	int status = child_wait(pid, DEADLINE_MS);

	if (killing_ended_well(status)) {
		d->missed++;
		return published;
	}
	if (status == CHILD_TIMEOUT || !WIFSIGNALED(status) ||
	    WTERMSIG(status) != SIGKILL || !doom_note(d))
		return killing_failed(k, victims[victim], status);
	return published;
}

/* Redrive what is dead and run, until both handlers have done all. */
static bool killing_settle(killing *k)
{
	bool all = false;

	for (int i = 0; i < CYCLE_TRIES && !all; i++) {
		uint64_t dead = 0;

		if (!handled_dead(&k->books, &dead) ||
		    (dead > 0 && !killing_run(k, REDRIVE, true)) ||
		    !killing_run(k, WORKER, true) ||
		    !handled_look(&k->books, &all))
			return false;
	}
	if (!all)
		fprintf(stderr, "worker_crash: not all is handled\n");
	return handled_await_arrivals(&k->books, DEADLINE_MS) && all;
}

static bool killing_cycle(killing *k)
{
	uint64_t dead = 0;
	bool ok = killing_publish(k, CYCLE_EVENTS);

	if (ok && k->cycles % 3 == 2)
		ok = feeder_shuffle(k->uri, k->exchange, CYCLE_SHUFFLED,
				    k->cycles);
	for (int i = 0; ok && i < CYCLE_KILLS; i++)
		ok = killing_kill(k, WORKER, false, i % 2 ? CYCLE_MORE : 0);
	ok = ok && killing_run(k, WORKER, false) &&
	     handled_dead(&k->books, &dead);
	for (int i = 0; ok && i < 2 && dead > 0; i++)
		ok = killing_kill(k, REDRIVE, true, 0) &&
		     killing_kill(k, WORKER, i == 1, 0);
	ok = ok && killing_settle(k);
	k->cycles++;
	return ok;
}

static unsigned killing_kills(const killing *k)
{
	return k->doom[WORKER].kills + k->doom[REDRIVE].kills;
}

static bool killing_all(killing *k)
{
	unsigned cycles_max = k->wanted + 10;

	while (killing_kills(k) < k->wanted && k->cycles < cycles_max)
		if (!killing_cycle(k))
			return false;
	return true;
}

/* ---- the whole ---------------------------------------------------------- */

/* How many calls each makes when nobody kills it. */
static bool killing_measure(killing *k)
{
	uint64_t dead = 0;

	/* The first run makes the queue. */
	if (!killing_run(k, WORKER, false))
		return false;
	for (int i = 0; i < 3 && dead == 0; i++)
		if (!killing_publish(k, CYCLE_EVENTS) ||
		    !doom_measure(&k->doom[WORKER],
				  child_wait(killing_start(
						     k, WORKER, false,
						     doom_counted(
							     &k->doom[WORKER])),
					     DEADLINE_MS)) ||
		    !handled_dead(&k->books, &dead))
			return false;
	return doom_measure(&k->doom[REDRIVE],
			    child_wait(killing_start(k, REDRIVE, true,
						     doom_counted(
							     &k->doom[REDRIVE])),
				       DEADLINE_MS)) &&
	       killing_settle(k);
}

static bool killing_open(killing *k, const char *self)
{
	wb_declaration what[4];
	char path[PATH_MAX];
	const char *tmp = getenv("TMPDIR");

	if (!realpath(self, path))
		return false;
	snprintf(k->bin, sizeof(k->bin), "%s", dirname(path));
	snprintf(k->dir, sizeof(k->dir), "%.4000s/waybill-worker-crash-XXXXXX",
		 tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(k->dir))
		return false;
	snprintf(k->out, sizeof(k->out), "%s/out", k->dir);
	snprintf(k->exchange, sizeof(k->exchange), "worker-crash-%ld",
		 (long)getpid());
	snprintf(k->after, sizeof(k->after), "%s.after", k->exchange);
	seeded_random_init(&k->random, 1);
	what[0] = declare_exchange(k->exchange);
	what[1] = declare_exchange(k->after);
	what[2] = declare_queue(k->after);
	what[3] = declare_binding(k->after, k->after, "#");
	for (int v = 0; v < VICTIMS; v++)
		if (!doom_init(&k->doom[v], victims[v], k->bin, k->dir))
			return false;
	return handled_init(&k->books, k->dir, 0) &&
	       declare_all(k->uri, what, 4) &&
	       feeder_open(&k->feeder, k->uri, k->exchange);
}

static bool killing_report(killing *k)
{
	unsigned handling = 0, in_txn = 0, committing = 0, unacked = 0;
	unsigned missed = 0;
	size_t points = 0;
	bool ok;

	for (int v = 0; v < VICTIMS; v++) {
		const doom *d = &k->doom[v];

		doom_print(d);
		points += d->point_count;
		missed += d->missed;
		handling += d->moments[DOOM_HANDLING];
		in_txn += d->moments[DOOM_IN_TXN];
		committing += d->moments[DOOM_COMMITTING];
		unacked += d->moments[DOOM_UNACKED];
	}
	ok = handled_close_books(&k->books,
				 (uint64_t)killing_kills(k) * BATCH);
	printf("worker_crash: %u kills in %u cycles at %zu distinct points: %u "
	       "in a handler, %u before a commit, %u in one, %u after it and "
	       "before the ack, %u of a redrive; %u runs ended before their "
	       "kill; %" PRIu64 " events as %" PRIu64 " messages\n",
	       killing_kills(k), k->cycles, points, handling, in_txn,
	       committing, unacked, k->doom[REDRIVE].kills, missed,
	       k->books.published, k->feeder.sent);
	return ok && killing_kills(k) >= k->wanted && handling > 0 &&
	       in_txn > 0 && committing > 0 && unacked > 0 &&
	       k->doom[REDRIVE].kills > 0;
}

int main(int argc, char **argv)
{
	static killing k;
	pid_t collector = 0;
	bool ok;

	k.uri = getenv("WAYBILL_TEST_AMQP");
	k.wanted = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 60;
	if (!k.uri) {
		fprintf(stderr, "worker_crash: WAYBILL_TEST_AMQP names no "
				"broker\n");
		return 77;
	}
	ok = killing_open(&k, argv[0]);
	if (ok) {
		char program[PATH_MAX + 16];
		const char *consume[] = {program, k.uri, k.after,
					 k.books.arrivals, NULL};

		snprintf(program, sizeof(program), "%s/collector", k.bin);
		collector = child_start(consume, NULL, k.out);
		ok = killing_measure(&k) && killing_all(&k);
		ok = killing_report(&k) && ok;
	}
	child_kill(collector);
	feeder_close(&k.feeder);
	handled_fini(&k.books);
	for (int v = 0; v < VICTIMS; v++)
		doom_fini(&k.doom[v]);
	if (ok)
		kit_scratch_remove(k.dir);
	else
		fprintf(stderr, "worker_crash: failed; files are in %s\n",
			k.dir);
	printf("%s\n", ok ? "worker_crash: passed" : "worker_crash: FAILED");
	return !ok;
}
