/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kills a service and a relay at every store and broker call in turn, starts
 * them again, lets them finish, and counts what became of each event.
 *
 *   crash [KILLS]        WAYBILL_TEST_AMQP names the broker
 *
 * First each runs once undisturbed, to learn how many calls it makes. Then, in
 * each cycle: the service is killed at a call of it (in every fourth cycle
 * while a relay runs beside it), started again and finished; a relay, in every
 * third cycle the daemon as it is shipped, is killed at a call of it (in every
 * fourth cycle while a service appends beside it), started again and drained.
 * Then the books must balance. In every eighth cycle the relay dies while it
 * sends parked events that were released and are returned again. At the end a
 * queue is bound for those, so that they arrive, with new ones of their key
 * behind them, through more kills.
 */
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "outbox/parked.h"
#include "tests/crash/child.h"
#include "tests/crash/declare.h"
#include "tests/crash/ledger.h"
#include "tests/kit/scratch.h"

enum {
	CRASH_WINDOW = 8,
	CRASH_TURNS = 5, /* transactions of the service in one run */
	CRASH_EVENTS = 6, /* in each */
	CRASH_DEADLINE_MS = 30000,
	CRASH_FUNCTIONS = 64,
	CRASH_WHENS = 3,
	CRASH_PARKED = 3 /* exit status of the daemon: something is parked */
};

static const char *const whens[CRASH_WHENS] = {"before", "after", "partial"};

enum victim { SERVICE, RELAY, DAEMON, VICTIMS };

static const char *const victims[VICTIMS] = {"service", "relay", "daemon"};

/* Where kills fell, per victim and function. */
typedef struct function_row {
	enum victim victim;
	char name[40];
	unsigned kills, points, in_txn, unconfirmed;
} function_row;

typedef struct crash {
	char dir[PATH_MAX], bin[PATH_MAX], preload[PATH_MAX + 64];
	char point_log[PATH_MAX + 16], out[PATH_MAX + 16];
	char queue[64], exchange[64];
	const char *uri;
	ledger ledger;
	unsigned wanted, kills, missed, cycles;
	unsigned long calls[VICTIMS];
	function_row rows[CRASH_FUNCTIONS];
	size_t row_count;
	char (*points)[80]; /* distinct ones */
	size_t point_count;
	uint64_t repeats, repeats_most;
} crash;

/* ---- running the victims ------------------------------------------------- */

static const char *crash_bin(const crash *c, const char *name)
{
	static char paths[4][PATH_MAX + 32];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", c->bin, name);
	return path;
}

static pid_t crash_start_service(const crash *c, const char *const env[])
{
	char first[32], turns[16], events[16];
	const char *argv[] = {crash_bin(c, "appender"), c->ledger.store,
			      c->ledger.log, first, turns, events, NULL};

	snprintf(first, sizeof(first), "%" PRIu64, c->ledger.next);
	snprintf(turns, sizeof(turns), "%d", CRASH_TURNS);
	snprintf(events, sizeof(events), "%d", CRASH_EVENTS);
	return child_start(argv, env, c->out);
}

static pid_t crash_start_relay(const crash *c, const char *const env[])
{
	char window[24];
	const char *argv[] = {crash_bin(c, "relayer"), c->ledger.store, c->uri,
			      c->exchange, window, "until_empty=1",
			      "commit_ms=2", "backoff_min_ms=5",
			      "batch_bytes=1500", NULL};

	snprintf(window, sizeof(window), "window=%d", CRASH_WINDOW);
	return child_start(argv, env, c->out);
}

/* As it is shipped. */
static pid_t crash_start_daemon(const crash *c, const char *const env[])
{
	char window[16], route[100];
	const char *argv[] = {crash_bin(c, "../../waybill-relay"),
			      "--store", c->ledger.store,
			      "--amqp", c->uri,
			      "--route", route,
			      "--window", window,
			      "--until-empty", "--commit-ms", "2",
			      "--batch-bytes", "4096", NULL};

	snprintf(window, sizeof(window), "%d", CRASH_WINDOW);
	snprintf(route, sizeof(route), "exchange=%s", c->exchange);
	return child_start(argv, env, c->out);
}

/* The service, or a relay that runs until all is settled. */
static pid_t crash_start(const crash *c, enum victim victim,
			 const char *const env[])
{
	if (victim == SERVICE)
		return crash_start_service(c, env);
	return victim == RELAY ? crash_start_relay(c, env)
			       : crash_start_daemon(c, env);
}

/* An end as it should be: the daemon also says so if events are parked. */
static bool crash_ended_well(enum victim victim, int status)
{
	return status == 0 ||
	       (victim == DAEMON && status >= 0 && WIFEXITED(status) &&
		WEXITSTATUS(status) == CRASH_PARKED);
}

static bool crash_failed(const crash *c, const char *who, int status)
{
	fprintf(stderr, "crash: the %s %s (status %d); see %s\n", who,
		status == CHILD_TIMEOUT ? "did not end in time" : "failed",
		status, c->out);
	return false;
}

static bool crash_finish(const crash *c, enum victim victim, pid_t pid)
{
	int status = child_wait(pid, CRASH_DEADLINE_MS);

	return crash_ended_well(victim, status) ||
	       crash_failed(c, victims[victim], status);
}

static bool crash_run(const crash *c, enum victim victim)
{
	return crash_finish(c, victim, crash_start(c, victim, NULL));
}

/* ---- where it died ------------------------------------------------------- */

static function_row *crash_row(crash *c, enum victim victim, const char *name)
{
	for (size_t i = 0; i < c->row_count; i++)
		if (c->rows[i].victim == victim &&
		    !strcmp(c->rows[i].name, name))
			return &c->rows[i];
	if (c->row_count == CRASH_FUNCTIONS)
		return &c->rows[0];
	c->rows[c->row_count].victim = victim;
	snprintf(c->rows[c->row_count].name, sizeof(c->rows[0].name), "%s",
		 name);
	return &c->rows[c->row_count++];
}

static bool crash_is_new(crash *c, const char *point)
{
	for (size_t i = 0; i < c->point_count; i++)
		if (!strcmp(c->points[i], point))
			return false;
	snprintf(c->points[c->point_count++], sizeof(*c->points), "%s", point);
	return true;
}

/* The line that the victim left when it died. */
static bool crash_note_point(crash *c, enum victim victim, const char *when)
{
	unsigned long ordinal, nth;
	unsigned txns, unconfirmed;
	char name[40], point[80];
	function_row *row;
	FILE *log = fopen(c->point_log, "r");
	int n = log ? fscanf(log, "%lu %39s %lu %u %u", &ordinal, name, &nth,
			     &txns, &unconfirmed)
		    : 0;

	if (log)
		fclose(log);
	if (n != 5)
		return crash_failed(c, "dead victim's last line", n);
	snprintf(point, sizeof(point), "%c%s %s %lu", victims[victim][0], when,
		 name, nth);
	row = crash_row(c, victim, name);
	row->kills++;
	row->points += crash_is_new(c, point);
	row->in_txn += txns > 0;
	row->unconfirmed += unconfirmed > 0;
	c->kills++;
	return true;
}

/* ---- kills --------------------------------------------------------------- */

/* The i-th of n kills: spread over all calls and all three kinds. */
static pid_t crash_start_doomed(const crash *c, enum victim victim, unsigned i,
				unsigned n, const char **ret_when)
{
	unsigned long all = c->calls[victim] * CRASH_WHENS;
	unsigned long at = n < all ? (unsigned long)i * all / n : i % all;
	char preload[PATH_MAX + 80], number[40], when[40], log[PATH_MAX + 40];
	const char *const env[] = {preload, number, when, log, NULL};

	*ret_when = whens[at % CRASH_WHENS];
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", c->preload);
	snprintf(number, sizeof(number), "KILLPOINT_N=%lu",
		 at / CRASH_WHENS + 1);
	snprintf(when, sizeof(when), "KILLPOINT_WHEN=%s", *ret_when);
	snprintf(log, sizeof(log), "KILLPOINT_LOG=%s", c->point_log);
	unlink(c->point_log);
	return crash_start(c, victim, env);
}

/* It must die by its kill, or end well before it comes to that call. */
static bool crash_await_death(crash *c, enum victim victim, pid_t pid,
			      const char *when)
{
	int status = child_wait(pid, CRASH_DEADLINE_MS);

	if (crash_ended_well(victim, status)) {
		c->missed++;
		return true;
	}
	if (status == CHILD_TIMEOUT || !WIFSIGNALED(status) ||
	    WTERMSIG(status) != SIGKILL)
		return crash_failed(c, victims[victim], status);
	return crash_note_point(c, victim, when);
}

/* The relay inside a program of ours, or the daemon. */
static enum victim crash_relay(unsigned i)
{
	return i % 3 == 1 ? DAEMON : RELAY;
}

/* Kill `victim`; if `beside`, while the other one runs, which must end well. */
static bool crash_kill(crash *c, enum victim victim, unsigned i, unsigned n,
		       bool beside)
{
	enum victim other = victim == SERVICE ? crash_relay(i) : SERVICE;
	const char *when;
	pid_t bystander = 0, pid;

	if (beside)
		bystander = crash_start(c, other, NULL);
	pid = crash_start_doomed(c, victim, i, n, &when);
	return crash_await_death(c, victim, pid, when) &&
	       (!beside || crash_finish(c, other, bystander));
}

/* Settle, and see what came twice since the last time, through `kills`. */
static bool crash_settle(crash *c, unsigned kills)
{
	uint64_t before = c->repeats;

	if (!crash_run(c, RELAY) ||
	    !ledger_wait(&c->ledger, CRASH_DEADLINE_MS))
		return false;
	c->repeats = ledger_repeats(&c->ledger);
	if (kills == 1 && c->repeats - before > c->repeats_most)
		c->repeats_most = c->repeats - before;
	if (c->repeats - before <= CRASH_WINDOW * kills)
		return true;
	fprintf(stderr,
		"crash: %" PRIu64 " repeats after %u kills, the window is %d\n",
		c->repeats - before, kills, CRASH_WINDOW);
	return false;
}

/* What an operator does: send the parked events of the key again. */
static bool crash_release(const crash *c)
{
	const wbi_actor actor = {wb_str_from("crash"), wb_str_from("test")};
	wb_error err = WB_ERROR_INIT;
	wb_store *store;
	wb_code code = wb_store_open(c->ledger.store, NULL, &store, &err);

	if (code == WB_OK) {
		code = wbi_parked_retry(store, wb_str_from("astray"), 0, &actor,
					&err);
		wb_store_close(store);
	}
	if (code == WB_OK || code == WB_ENOTFOUND)
		return true;
	fprintf(stderr, "crash: retry: %s\n", err.text);
	return false;
}

static bool crash_cycle(crash *c, unsigned i, unsigned n)
{
	c->cycles++;
	return crash_kill(c, SERVICE, i, n, i % 4 == 3) &&
	       ledger_resolve(&c->ledger) && crash_run(c, SERVICE) &&
	       ledger_resolve(&c->ledger) &&
	       (i % 8 != 6 || crash_release(c)) &&
	       crash_kill(c, crash_relay(i), i, n, i % 4 == 1) &&
	       ledger_resolve(&c->ledger) && crash_settle(c, 1);
}

/* The parked events go out after all: nothing may stay parked. */
static bool crash_finale(crash *c)
{
	wb_declaration binding =
		declare_binding(c->queue, c->exchange, "astray.#");
	unsigned n = c->wanted / 20 + 3;
	uint64_t parked = 0;

	if (!declare_all(c->uri, &binding, 1))
		return false;
	for (unsigned i = 0; i < n; i++) {
		c->cycles++;
		if (!crash_run(c, SERVICE) || !ledger_resolve(&c->ledger) ||
		    !crash_release(c) ||
		    !crash_kill(c, crash_relay(i), i, n, i % 2 == 1) ||
		    !ledger_resolve(&c->ledger))
			return false;
		if (i % 4 == 3 && !crash_settle(c, 4))
			return false;
	}
	return crash_settle(c, n % 4) &&
	       ledger_parked_rows(&c->ledger, &parked) && parked == 0;
}

/* ---- measuring ----------------------------------------------------------- */

static bool crash_measure(crash *c, enum victim victim)
{
	char preload[PATH_MAX + 80], log[PATH_MAX + 40], line[200];
	const char *const env[] = {preload, log, NULL};
	FILE *file;
	int status;

	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", c->preload);
	snprintf(log, sizeof(log), "KILLPOINT_LOG=%s", c->point_log);
	unlink(c->point_log);
	status = child_wait(crash_start(c, victim, env), CRASH_DEADLINE_MS);
	file = fopen(c->point_log, "r");
	if (!crash_ended_well(victim, status) || !file)
		return crash_failed(c, victims[victim], status);
	while (fgets(line, sizeof(line), file))
		c->calls[victim]++;
	fclose(file);
	printf("the %s makes %lu calls in a run\n", victims[victim],
	       c->calls[victim]);
	return c->calls[victim] > 0;
}

/* ---- the whole ----------------------------------------------------------- */

static bool crash_open(crash *c, const char *self)
{
	wb_declaration what[4];
	char path[PATH_MAX], store[PATH_MAX + 16];
	const char *tmp = getenv("TMPDIR");

	if (!realpath(self, path))
		return false;
	snprintf(c->bin, sizeof(c->bin), "%s", dirname(path));
	snprintf(c->preload, sizeof(c->preload), "%s/.libs/killpoint.so",
		 c->bin);
	snprintf(c->dir, sizeof(c->dir), "%.4000s/waybill-crash-XXXXXX",
		 tmp && *tmp ? tmp : "/tmp");
	if (access(c->preload, R_OK) != 0 || !mkdtemp(c->dir)) {
		perror(c->preload);
		return false;
	}
	snprintf(store, sizeof(store), "%s/store", c->dir);
	snprintf(c->point_log, sizeof(c->point_log), "%s/points", c->dir);
	snprintf(c->out, sizeof(c->out), "%s/out", c->dir);
	snprintf(c->exchange, sizeof(c->exchange), "crash-%ld", (long)getpid());
	snprintf(c->queue, sizeof(c->queue), "%s", c->exchange);
	what[0] = declare_exchange(c->exchange);
	what[1] = declare_queue(c->queue);
	what[2] = declare_binding(c->queue, c->exchange, "order.#");
	c->points = calloc(2 * (size_t)c->wanted + 64, sizeof(*c->points));
	return c->points && ledger_init(&c->ledger, store, 256 << 20) &&
	       declare_all(c->uri, what, 3);
}

static bool crash_all(crash *c)
{
	unsigned n = (c->wanted + 1) / 2, from = 0;

	if (!crash_measure(c, SERVICE) || !ledger_resolve(&c->ledger) ||
	    !crash_measure(c, RELAY) || !crash_run(c, SERVICE) ||
	    !ledger_resolve(&c->ledger) || !crash_measure(c, DAEMON) ||
	    !crash_settle(c, 0))
		return false;
	for (unsigned i = 0; c->kills < c->wanted && i < 2 * n; i++) {
		if (!crash_cycle(c, i % n, n))
			return false;
		if (c->kills / 100 > from) {
			from = c->kills / 100;
			printf("%u kills\n", c->kills);
			fflush(stdout);
		}
	}
	return crash_finale(c);
}

static bool crash_report(crash *c)
{
	unsigned in_txn = 0, unconfirmed = 0;
	checker_counts counts;
	bool ok = ledger_close_books(&c->ledger, &counts);

	printf("%-8s %-16s %6s %8s %8s %12s\n", "victim", "function", "kills",
	       "points", "in txn", "unconfirmed");
	for (size_t i = 0; i < c->row_count; i++) {
		const function_row *r = &c->rows[i];

		printf("%-8s %-16s %6u %8u %8u %12u\n", victims[r->victim],
		       r->name, r->kills, r->points, r->in_txn,
		       r->unconfirmed);
		in_txn += r->in_txn;
		unconfirmed += r->unconfirmed;
	}
	if (!ok)
		return false;
	checker_print(&counts, stdout);
	printf("crash: %u kills in %u cycles at %zu distinct points, %u inside "
	       "a write transaction, %u between send and confirm, %u runs "
	       "ended before their kill; torn transactions %" PRIu64
	       ", repeats %" PRIu64 ", at most %" PRIu64
	       " after one kill (window %d)\n",
	       c->kills, c->cycles, c->point_count, in_txn, unconfirmed,
	       c->missed, c->ledger.torn, c->repeats, c->repeats_most,
	       CRASH_WINDOW);
	return checker_is_clean(&counts) && c->ledger.torn == 0 &&
	       c->kills >= c->wanted && in_txn > 0 && unconfirmed > 0 &&
	       counts.committed == counts.delivered + counts.parked;
}

int main(int argc, char **argv)
{
	static crash c;
	pid_t collector = 0;
	bool ok;

	c.uri = getenv("WAYBILL_TEST_AMQP");
	c.wanted = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 120;
	if (!c.uri) {
		fprintf(stderr, "crash: WAYBILL_TEST_AMQP names no broker\n");
		return 77;
	}
	ok = crash_open(&c, argv[0]);
	if (ok) {
		const char *consume[] = {crash_bin(&c, "collector"), c.uri,
					 c.queue, c.ledger.arrivals, NULL};

		collector = child_start(consume, NULL, c.out);
		ok = crash_all(&c);
		ok = crash_report(&c) && ok;
	}
	child_kill(collector);
	ledger_fini(&c.ledger);
	if (ok)
		kit_scratch_remove(c.dir);
	else
		fprintf(stderr, "crash: failed; files are in %s\n", c.dir);
	printf("%s\n", ok ? "crash: passed" : "crash: FAILED");
	return !ok;
}
