/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill-sim: run worlds from seeds. Prints one line at the end; a failure
 * prints the seed that repeats it and the command to do so. Exit code 0: all
 * held; 1: a failure; 2: wrong arguments.
 */
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/arguments.h"
#include "tests/sim/world.h"

/* The counters of a tally, in the order of the report. */
static const struct {
	const char *name;
	size_t offset;
} main_counters[] = {
	{"seeds", offsetof(sim_tally, seeds)},
	{"turns", offsetof(sim_tally, turns)},
	{"simulated-us", offsetof(sim_tally, simulated_us)},
	{"deaths", offsetof(sim_tally, deaths)},
	{"restarts", offsetof(sim_tally, restarts)},
	{"takeovers", offsetof(sim_tally, takeovers)},
	{"commit-failures", offsetof(sim_tally, commit_failures)},
	{"deaths-in-commit", offsetof(sim_tally, commit_deaths)},
	{"downs", offsetof(sim_tally, downs)},
	{"channel-closes", offsetof(sim_tally, channel_closes)},
	{"exchanges-deleted", offsetof(sim_tally, deleted)},
	{"reroutes", offsetof(sim_tally, reroutes)},
	{"nacks", offsetof(sim_tally, nacks)},
	{"returns", offsetof(sim_tally, returns)},
	{"blocks", offsetof(sim_tally, blocks)},
	{"retries", offsetof(sim_tally, retries)},
	{"backups", offsetof(sim_tally, backups)},
	{"restores", offsetof(sim_tally, restores)},
	{"stores-checked", offsetof(sim_tally, checked)},
	{"stream-events", offsetof(sim_tally, stream_events)},
	{"truncated", offsetof(sim_tally, truncated)},
	{"over-quota", offsetof(sim_tally, over_quota)},
#define MAIN_SERVICE(field) offsetof(sim_tally, service.field)
	{"workers", MAIN_SERVICE(worker_restarts)},
	{"worker-deaths", MAIN_SERVICE(worker_deaths)},
	{"worker-drains", MAIN_SERVICE(drains)},
	{"worker-commit-failures", MAIN_SERVICE(worker_commit_failures)},
	{"worker-deaths-in-commit", MAIN_SERVICE(worker_commit_deaths)},
	{"crashes-in-calls", MAIN_SERVICE(crashes_in_calls)},
	{"calls", MAIN_SERVICE(calls)},
	{"calls-failed", MAIN_SERVICE(failures)},
	{"timers-fired", MAIN_SERVICE(timers_fired)},
	{"dead-letters", MAIN_SERVICE(dead)},
	{"dead-retried", MAIN_SERVICE(revived)},
	{"dead-discarded", MAIN_SERVICE(buried)},
	{"malformed", MAIN_SERVICE(malformed)},
	{"worker-backups", MAIN_SERVICE(service_backups)},
	{"worker-restores", MAIN_SERVICE(service_restores)},
#undef MAIN_SERVICE
#define MAIN_MODELS(field) offsetof(sim_tally, models.field)
	{"model-deaths", MAIN_MODELS(deaths)},
	{"model-deaths-in-commit", MAIN_MODELS(deaths_in_commit)},
	{"model-deaths-at-files", MAIN_MODELS(deaths_at_files)},
	{"power-cuts", MAIN_MODELS(power_cuts)},
	{"files-torn", MAIN_MODELS(torn)},
	{"model-requests", MAIN_MODELS(requests)},
	{"flips", MAIN_MODELS(flips)},
	{"model-looks", MAIN_MODELS(looks)},
	{"models-compared", MAIN_MODELS(compared)},
	{"from-snapshot", MAIN_MODELS(snapshots)},
	{"model-mismatches", MAIN_MODELS(mismatches)},
#undef MAIN_MODELS
#define MAIN_TOWN(field) offsetof(sim_tally, town.field)
	{"towns", MAIN_TOWN(towns)},
	{"town-bookings", MAIN_TOWN(bookings)},
	{"town-done", MAIN_TOWN(done)},
	{"town-refunded", MAIN_TOWN(refunded)},
	{"town-expired", MAIN_TOWN(expired)},
	{"town-deaths", MAIN_TOWN(deaths)},
	{"town-deliveries", MAIN_TOWN(deliveries)},
#undef MAIN_TOWN
};

enum { MAIN_COUNTERS = sizeof(main_counters) / sizeof(main_counters[0]) };

static void main_add(sim_tally *sum, const sim_tally *one)
{
	for (size_t i = 0; i < MAIN_COUNTERS; i++) {
		size_t at = main_counters[i].offset;

		*(uint64_t *)((char *)sum + at) +=
			*(const uint64_t *)((const char *)one + at);
	}
	sum->seeds++;
	checker_add(&sum->counts, &one->counts);
	checker_add(&sum->service.applied, &one->service.applied);
}

/* An assertion of the code under test ends the program: say where. */
static char main_last_words[128];

static void main_on_abort(int signal)
{
	ssize_t len = (ssize_t)strlen(main_last_words);

	if (write(STDOUT_FILENO, main_last_words, (size_t)len) == len)
		_exit(128 + signal);
	_exit(127);
}

static void main_prepare_last_words(uint64_t seed)
{
	snprintf(main_last_words, sizeof(main_last_words),
		 "FAILED seed %" PRIu64 ": it crashed: repeat it with: "
		 "waybill-sim --seed %" PRIu64 " --verbose\n",
		 seed, seed);
}

static bool main_run_seed(const sim_arguments *a, uint64_t seed, sim_tally *sum,
			  uint64_t *ret_digest)
{
	sim_world *w = malloc(sizeof(*w));
	bool good;

	if (!w)
		return false;
	main_prepare_last_words(seed);
	good = sim_world_init(w, seed, a->dir, a->verbose ? stderr : NULL) &&
	       sim_world_run(w);
	if (good && seed % SIM_CHOREOGRAPHY_EVERY == 0)
		good = sim_choreography_run(seed, a->dir, a->verbose ? stderr : NULL,
				    &w->tally.town, &w->digest, w->why,
				    sizeof(w->why));
	if (!good) {
		printf("FAILED seed %" PRIu64 ": %s: repeat it with: "
		       "waybill-sim --seed %" PRIu64 " --verbose\n",
		       seed, w->why, seed);
		if (w->checker)
			checker_explain(w->checker, stdout, 5);
	}
	w->tally.simulated_us = (uint64_t)w->clock.mono_us;
	main_add(sum, &w->tally);
	*ret_digest = w->digest;
	sim_world_fini(w);
	free(w);
	return good;
}

static void main_report(const sim_tally *t)
{
	for (size_t i = 0; i < MAIN_COUNTERS; i++)
		printf("%s%s=%" PRIu64, i ? " " : "", main_counters[i].name,
		       *(const uint64_t *)((const char *)t +
					   main_counters[i].offset));
	fputs("\nrelayed: ", stdout);
	checker_print(&t->counts, stdout);
	fputs("applied: ", stdout);
	checker_print(&t->service.applied, stdout);
}

/* Of this process and its children that have ended, in seconds. */
static double main_cpu(void)
{
	struct tms t;

	times(&t);
	return (double)(t.tms_utime + t.tms_stime + t.tms_cutime +
			t.tms_cstime) /
	       (double)sysconf(_SC_CLK_TCK);
}

/* The figure: how much faster than the worlds' own time. */
static void main_report_speed(const sim_tally *t, int64_t since_us)
{
	const wb_clock *clock = wb_system_clock();
	double took = (double)(clock->mono_us(clock->ctx) - since_us) / 1e6;
	double simulated = (double)t->simulated_us / 1e6;

	printf("sim: %" PRIu64 " worlds, %.0f simulated seconds in %.0f: %.0f "
	       "times real time, %.0f times a processor's\n",
	       t->seeds, simulated, took, took > 0 ? simulated / took : 0,
	       simulated / (main_cpu() + 1e-3));
}

/* Every jobs-th seed, from the job's own on. Returns how many went wrong. */
static uint64_t main_run(const sim_arguments *a, uint64_t job, sim_tally *sum)
{
	sim_tally ignored = {0};
	uint64_t digest, again, bad = 0;

	for (uint64_t i = job; i < a->count && bad < a->failures;
	     i += a->jobs) {
		bad += !main_run_seed(a, a->first + i, sum, &digest);
		if (!a->twice)
			continue;
		main_run_seed(a, a->first + i, &ignored, &again);
		if (digest != again) {
			printf("FAILED seed %" PRIu64 " does not repeat\n",
			       a->first + i);
			bad++;
		}
	}
	return bad;
}

typedef struct main_result {
	sim_tally sum;
	uint64_t bad;
} main_result;

/* A process for each job but the first, whose result comes over a pipe; -1:
 * there is none, and the job is done here. */
static int main_fork(const sim_arguments *a, uint64_t job)
{
	main_result r = {.bad = 0};
	int fds[2];
	pid_t pid;

	fflush(stdout);
	if (pipe(fds) != 0)
		return -1;
	pid = fork();
	if (pid > 0)
		close(fds[1]);
	if (pid > 0)
		return fds[0];
	close(fds[0]);
	if (pid < 0) {
		close(fds[1]);
		return -1;
	}
	r.bad = main_run(a, job, &r.sum);
	fflush(stdout);
	_exit(write(fds[1], &r, sizeof(r)) == (ssize_t)sizeof(r) ? 0 : 1);
}

/* What a job has found; one that has crashed has said so, and is one failure. */
static uint64_t main_collect(int fd, sim_tally *sum)
{
	uint64_t seeds = sum->seeds;
	main_result r;
	size_t got = 0;
	ssize_t n = 1;

	while (got < sizeof(r) && n > 0) {
		n = read(fd, (char *)&r + got, sizeof(r) - got);
		got += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	if (got < sizeof(r))
		return 1;
	main_add(sum, &r.sum);
	sum->seeds = seeds + r.sum.seeds;
	return r.bad;
}

int main(int argc, char **argv)
{
	sim_arguments a;
	const wb_clock *clock = wb_system_clock();
	int64_t since_us = clock->mono_us(clock->ctx);
	int fds[SIM_JOBS_MAX] = {0};
	sim_tally sum = {0};
	uint64_t bad;

	if (!sim_arguments_parse(argc, argv, &a)) {
		printf("Usage: waybill-sim [OPTION...]\n"
		       "Run relay and worker in a simulated world per seed.\n\n"
		       "%s",
		       sim_arguments_help);
		return 2;
	}
	(void)signal(SIGABRT, main_on_abort);
	(void)signal(SIGSEGV, main_on_abort);
	for (uint64_t job = 1; job < a.jobs; job++)
		fds[job] = main_fork(&a, job);
	bad = main_run(&a, 0, &sum);
	for (uint64_t job = 1; job < a.jobs; job++)
		bad += fds[job] >= 0 ? main_collect(fds[job], &sum)
				     : main_run(&a, job, &sum);
	while (wait(NULL) > 0)
		;
	main_report(&sum);
	main_report_speed(&sum, since_us);
	return bad == 0 ? 0 : 1;
}
