/* SPDX-License-Identifier: BSD-2-Clause */
/* See arguments.h. */
#include "tests/sim/arguments.h"

#include <getopt.h>
#include <stdlib.h>

#include "tests/kit/scratch.h"

const char sim_arguments_help[] =
	"  --seeds N    how many worlds (100)\n"
	"  --first S    the first seed (1)\n"
	"  --seed X     this one only\n"
	"  --failures N end after so many (10)\n"
	"  --jobs N     in so many processes (1)\n"
	"  --twice      run each seed twice; both must be the same\n"
	"  --verbose    say what happens\n"
	"  --dir DIR    where the stores are (/dev/shm, else TMPDIR)\n";

static bool arguments_number(const char *text, uint64_t *ret)
{
	char *end;

	*ret = strtoull(text, &end, 0);
	return *text != '\0' && *end == '\0';
}

bool sim_arguments_parse(int argc, char **argv, sim_arguments *ret)
{
	static const struct option options[] = {
		{"seeds", required_argument, NULL, 'n'},
		{"first", required_argument, NULL, 'f'},
		{"seed", required_argument, NULL, 's'},
		{"failures", required_argument, NULL, 'x'},
		{"jobs", required_argument, NULL, 'j'},
		{"twice", no_argument, NULL, 't'},
		{"verbose", no_argument, NULL, 'v'},
		{"dir", required_argument, NULL, 'd'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	bool good = true;
	int option;

	*ret = (sim_arguments){.first = 1,
			       .count = 100,
			       .failures = 10,
			       .jobs = 1,
			       .dir = kit_scratch_base()};
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == 'n')
			good = good && arguments_number(optarg, &ret->count);
		else if (option == 'f')
			good = good && arguments_number(optarg, &ret->first);
		else if (option == 's')
			good = good && arguments_number(optarg, &ret->first) &&
			       (ret->count = 1);
		else if (option == 'x')
			good = good && arguments_number(optarg, &ret->failures);
		else if (option == 'j')
			good = good && arguments_number(optarg, &ret->jobs);
		else if (option == 't')
			ret->twice = true;
		else if (option == 'v')
			ret->verbose = true;
		else if (option == 'd')
			ret->dir = optarg;
		else
			good = false;
	}
	return good && optind == argc && ret->jobs > 0 &&
	       ret->jobs <= SIM_JOBS_MAX;
}
