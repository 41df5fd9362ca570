/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The choreography example under the simulator: its three services as they are
 * shipped, their customers and a postman (tests/examples/choreography/town.h),
 * with what goes wrong drawn from the seed: services die at commits, at calls
 * of the broker and between steps, commits find no room, events come late,
 * twice and under other ids, the broker cuts and refuses, the clock jumps. Then
 * calm, until all is at rest, and the count, which is exact.
 */
#include "tests/sim/choreography.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/hash.h"
#include "tests/examples/choreography/town.h"

/* Up to `most`, and often none. */
static uint16_t town_some(seeded_random *random, uint64_t most)
{
	return seeded_random_chance(random, 300)
		       ? 0
		       : (uint16_t)seeded_random_below(random, most + 1);
}

static void town_choose(seeded_random *random, uint64_t seed, FILE *log,
			town_plan *ret)
{
	static const uint32_t batch[] = {1, 2, 10, 250};

	*ret = (town_plan){
		.seed = seed,
		.slots = 1 + seeded_random_below(random, 4),
		.death = town_some(random, 4),
		.commit_trouble = town_some(random, 80),
		.duplicate = town_some(random, 400),
		.alias = town_some(random, 400),
		.jump = town_some(random, 4),
		.delay_us = (int64_t)town_some(random, 60000) * 10,
		.chaos = seeded_random_chance(random, 600),
		.batch = batch[seeded_random_below(random, 4)],
		.log = log,
	};
}

static void town_populate(seeded_random *random, town *t)
{
	uint64_t count = 3 + seeded_random_below(random, 10);

	for (uint64_t i = 0; i < count; i++)
		town_add_customer(
			t, seeded_random_below(random, t->plan.slots),
			seeded_random_chance(random, 400)
				? TOWN_PAYS
				: (town_habit)seeded_random_below(random, 5));
}

static void town_say(const town *t, char *why, size_t size)
{
	FILE *to = fmemopen(why, size, "w");

	if (!to)
		return;
	if (t->failed)
		fprintf(to, "in a town: %s", t->why);
	else
		town_count_print(&t->count, "a town's count", to);
	fclose(to);
	why[size - 1] = '\0';
	why[strcspn(why, "\n")] = '\0';
}

bool sim_choreography_run(uint64_t seed, const char *base, FILE *log,
			  sim_choreography_tally *tally, uint64_t *digest,
			  char *why, size_t size)
{
	town *t = malloc(sizeof(*t));
	seeded_random random;
	town_plan plan;
	bool good;

	if (!t)
		return false;
	seeded_random_init(&random, seed ^ 0x63686f72656f);
	town_choose(&random, seed, log, &plan);
	good = town_init(t, &plan, base);
	if (good) {
		town_populate(&random, t);
		good = town_run(t) && town_count_is_good(&t->count);
	}
	if (!good)
		town_say(t, why, size);
	if (log)
		town_count_print(&t->count, "town", log);
	tally->towns++;
	tally->bookings += t->count.bookings;
	tally->done += t->count.done;
	tally->refunded += t->count.refunded;
	tally->expired += t->count.expired;
	tally->deaths += t->count.deaths;
	tally->deliveries += t->count.deliveries;
	*digest ^= wbi_hash(seed, &t->count, sizeof(t->count));
	town_fini(t);
	free(t);
	return good;
}
