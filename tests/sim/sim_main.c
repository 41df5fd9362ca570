/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill-sim: run worlds from seeds. Prints one line at the end; a failure
 * prints the seed that repeats it and the command to do so. Exit code 0: all
 * held; 1: a failure; 2: wrong arguments.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>

#include "tests/sim/scratch.h"
#include "tests/sim/world.h"

typedef struct sim_arguments {
	uint64_t first, count;
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

static void main_add(sim_tally *sum, const sim_tally *one)
{
	sum->seeds++;
	sum->turns += one->turns;
	sum->deaths += one->deaths;
	sum->restarts += one->restarts;
	sum->takeovers += one->takeovers;
	sum->retries += one->retries;
	sum->downs += one->downs;
	sum->channel_closes += one->channel_closes;
	sum->nacks += one->nacks;
	sum->returns += one->returns;
	sum->blocks += one->blocks;
	sum->unrouted += one->unrouted;
	sum->counts.attempted += one->counts.attempted;
	sum->counts.committed += one->counts.committed;
	sum->counts.delivered += one->counts.delivered;
	sum->counts.parked += one->counts.parked;
	sum->counts.lost += one->counts.lost;
	sum->counts.phantom += one->counts.phantom;
	sum->counts.duplicate += one->counts.duplicate;
	sum->counts.reordered += one->counts.reordered;
}

static bool main_run_seed(const sim_arguments *a, uint64_t seed, sim_tally *sum,
			  uint64_t *ret_digest)
{
	sim_world *w = malloc(sizeof(*w));
	bool good;

	if (!w)
		return false;
	good = sim_world_init(w, seed, a->dir, a->verbose ? stderr : NULL) &&
	       sim_world_run(w);
	if (!good) {
		printf("FAILED seed %" PRIu64 ": %s\n", seed, w->why);
		if (w->checker)
			checker_explain(w->checker, stdout, 5);
		printf("repeat it with: waybill-sim --seed %" PRIu64
		       " --verbose\n",
		       seed);
	}
	main_add(sum, &w->tally);
	*ret_digest = w->digest;
	sim_world_fini(w);
	free(w);
	return good;
}

static void main_report(const sim_tally *t)
{
	printf("seeds=%" PRIu64 " turns=%" PRIu64 " deaths=%" PRIu64
	       " restarts=%" PRIu64 " takeovers=%" PRIu64 " retries=%" PRIu64
	       " downs=%" PRIu64 " channel-closes=%" PRIu64 " nacks=%" PRIu64
	       " returns=%" PRIu64 " blocks=%" PRIu64 " unrouted=%" PRIu64 "\n",
	       t->seeds, t->turns, t->deaths, t->restarts, t->takeovers,
	       t->retries, t->downs, t->channel_closes, t->nacks, t->returns,
	       t->blocks, t->unrouted);
	checker_print(&t->counts, stdout);
}

int main(int argc, char **argv)
{
	sim_arguments a = {.first = 1, .count = 100, .dir = sim_scratch_base()};
	sim_tally sum = {0}, ignored = {0};
	uint64_t digest, again, bad = 0;

	if (!main_parse(argc, argv, &a)) {
		main_help();
		return 2;
	}
	for (uint64_t i = 0; i < a.count && bad < 10; i++) {
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
