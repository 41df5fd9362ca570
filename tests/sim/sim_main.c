/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill-sim: run worlds from seeds. Prints one line at the end; a failure
 * prints the seed that repeats it and the command to do so. Exit code 0: all
 * held; 1: a failure; 2: wrong arguments.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/kit/scratch.h"
#include "tests/sim/world.h"

typedef struct sim_arguments {
	uint64_t first, count;
	uint64_t failures; /* end after so many */
	bool verbose;
	bool twice; /* every seed again: it must repeat itself */
	const char *dir;
} sim_arguments;

static void main_help(void)
{
	puts("Usage: waybill-sim [OPTION...]\n"
	     "Run the relay in a simulated world per seed.\n\n"
	     "  --seeds N    how many worlds (100)\n"
	     "  --first S    the first seed (1)\n"
	     "  --seed X     this one only\n"
	     "  --failures N end after so many (10)\n"
	     "  --twice      run each seed twice; both must be the same\n"
	     "  --verbose    say what happens\n"
	     "  --dir DIR    where the stores are (/dev/shm, else TMPDIR)");
}

static bool main_number(const char *text, uint64_t *ret)
{
	char *end;

	*ret = strtoull(text, &end, 0);
	return *text != '\0' && *end == '\0';
}

static bool main_parse(int argc, char **argv, sim_arguments *a)
{
	static const struct option options[] = {
		{"seeds", required_argument, NULL, 'n'},
		{"first", required_argument, NULL, 'f'},
		{"seed", required_argument, NULL, 's'},
		{"failures", required_argument, NULL, 'x'},
		{"twice", no_argument, NULL, 't'},
		{"verbose", no_argument, NULL, 'v'},
		{"dir", required_argument, NULL, 'd'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	bool good = true;
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == 'n')
			good = good && main_number(optarg, &a->count);
		else if (option == 'f')
			good = good && main_number(optarg, &a->first);
		else if (option == 's')
			good = good && main_number(optarg, &a->first) &&
			       (a->count = 1);
		else if (option == 'x')
			good = good && main_number(optarg, &a->failures);
		else if (option == 't')
			a->twice = true;
		else if (option == 'v')
			a->verbose = true;
		else if (option == 'd')
			a->dir = optarg;
		else
			good = false;
	}
	return good && optind == argc;
}

/* The counters of a tally, in the order of the report. */
static const struct {
	const char *name;
	size_t offset;
} main_counters[] = {
	{"seeds", offsetof(sim_tally, seeds)},
	{"turns", offsetof(sim_tally, turns)},
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
	if (!good) {
		printf("FAILED seed %" PRIu64 ": %s: repeat it with: "
		       "waybill-sim --seed %" PRIu64 " --verbose\n",
		       seed, w->why, seed);
		if (w->checker)
			checker_explain(w->checker, stdout, 5);
	}
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
	putchar('\n');
	checker_print(&t->counts, stdout);
}

int main(int argc, char **argv)
{
	sim_arguments a = {.first = 1,
			   .count = 100,
			   .failures = 10,
			   .dir = kit_scratch_base()};
	sim_tally sum = {0}, ignored = {0};
	uint64_t digest, again, bad = 0;

	if (!main_parse(argc, argv, &a)) {
		main_help();
		return 2;
	}
	(void)signal(SIGABRT, main_on_abort);
	(void)signal(SIGSEGV, main_on_abort);
	for (uint64_t i = 0; i < a.count && bad < a.failures; i++) {
		bad += !main_run_seed(&a, a.first + i, &sum, &digest);
		if (!a.twice)
			continue;
		main_run_seed(&a, a.first + i, &ignored, &again);
		if (digest != again) {
			printf("FAILED seed %" PRIu64 " does not repeat\n",
			       a.first + i);
			bad++;
		}
	}
	main_report(&sum);
	return bad == 0 ? 0 : 1;
}
