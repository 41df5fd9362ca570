/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill-sim-bytes: break a session at each of its bytes, each time in a new
 * world, and let it go on. Exit code 0: all held; 1: a failure, with the line
 * that repeats it; 2: wrong arguments.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/bytes.h"
#include "tests/kit/scratch.h"

typedef struct main_arguments {
	size_t every;  /* byte to be broken at */
	size_t stalls; /* and to stall at: every so many */
	bool single;
	bytes_trouble one; /* this only */
} main_arguments;

typedef struct main_sum {
	uint64_t runs, bad;
	int64_t longest_us;
	checker_counts counts;
} main_sum;

static const struct {
	bytes_kind kind;
	const char *name;
} main_kinds[] = {{BYTES_CUT, "cut"},
		  {BYTES_DEATH, "death"},
		  {BYTES_STALL, "stall"},
		  {BYTES_SILENCE, "silence"}};

enum { MAIN_KINDS = sizeof(main_kinds) / sizeof(main_kinds[0]) };

static int main_usage(void)
{
	puts("Usage: waybill-sim-bytes [EVERY [STALLS]]\n"
	     "       waybill-sim-bytes KIND to-broker|to-client BYTE\n"
	     "Break a session of relay and broker after each EVERY-th byte (1), "
	     "stall it after\neach STALLS-th (16); or break it once: KIND is "
	     "cut, death, stall or silence.");
	return 2;
}

static bool main_number(const char *text, size_t *ret)
{
	char *end;

	*ret = strtoull(text, &end, 10);
	return *text != '\0' && *end == '\0';
}

static bool main_parse(int argc, char **argv, main_arguments *a)
{
	if (argc <= 3)
		return (argc < 2 || main_number(argv[1], &a->every)) &&
		       (argc < 3 || main_number(argv[2], &a->stalls)) &&
		       a->every > 0 && a->stalls > 0;
	for (size_t i = 0; i < MAIN_KINDS; i++)
		if (!strcmp(argv[1], main_kinds[i].name))
			a->one.kind = main_kinds[i].kind;
	a->single = true;
	a->one.to_broker = !strcmp(argv[2], "to-broker");
	return argc == 4 && a->one.kind != BYTES_NOTHING &&
	       (a->one.to_broker || !strcmp(argv[2], "to-client")) &&
	       main_number(argv[3], &a->one.at);
}

static const char *main_name(bytes_kind kind)
{
	for (size_t i = 0; i < MAIN_KINDS; i++)
		if (main_kinds[i].kind == kind)
			return main_kinds[i].name;
	return "undisturbed";
}

static void main_one(const bytes_trouble *t, bytes_result *r, main_sum *sum)
{
	bool good = bytes_run(kit_scratch_base(), t, r);

	if (!good) {
		sum->bad++;
		printf("FAILED %s: repeat it with: waybill-sim-bytes %s %s "
		       "%zu\n",
		       r->why, main_name(t->kind),
		       t->to_broker ? "to-broker" : "to-client", t->at);
		checker_print(&r->counts, stdout);
	}
	sum->runs++;
	if (r->took_us > sum->longest_us)
		sum->longest_us = r->took_us;
	checker_add(&sum->counts, &r->counts);
}

static uint64_t main_sweep(bytes_trouble t, size_t every, size_t end)
{
	main_sum sum = {0};
	bytes_result result;

	for (t.at = 0; t.at <= end && sum.bad < 5; t.at += every)
		main_one(&t, &result, &sum);
	printf("%-7s %s 0..%zu: offsets=%" PRIu64 " longest=%.1fs ",
	       main_name(t.kind), t.to_broker ? "to-broker" : "to-client", end,
	       sum.runs, (double)sum.longest_us / 1e6);
	checker_print(&sum.counts, stdout);
	return sum.bad;
}

int main(int argc, char **argv)
{
	main_arguments a = {.every = 1, .stalls = 16};
	main_sum sum = {0};
	bytes_result whole;
	uint64_t bad;

	if (!main_parse(argc, argv, &a))
		return main_usage();
	main_one(&a.one, &whole, &sum);
	if (a.single || sum.bad > 0) {
		checker_print(&whole.counts, stdout);
		return sum.bad > 0;
	}
	bad = 0;
	for (size_t i = 0; i < MAIN_KINDS * 2; i++) {
		bytes_trouble t = {.kind = main_kinds[i / 2].kind,
				   .to_broker = i % 2 == 0};
		bool waits = t.kind == BYTES_STALL || t.kind == BYTES_SILENCE;

		bad += main_sweep(t, waits ? a.stalls : a.every,
				  t.to_broker ? whole.to_broker
					      : whole.to_client);
	}
	return bad > 0;
}
