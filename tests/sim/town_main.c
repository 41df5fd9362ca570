/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill-sim-orchestration: the town of examples/orchestration, a world per
 * seed. In each, customers book, persons approve and decline, slots are closed
 * and opened; meanwhile services die and stay away, refuse, have no time, fail
 * to take back; commits fail; the broker cuts, nacks, doubles; old commands and
 * answers come again under new ids; the wall's clock jumps. Then all is calm,
 * an operator retries what is parked (or leaves it), and the town is judged.
 *
 * One line at the end; a failure prints the seed that repeats it. Exit code 0:
 * all held; 1: a failure; 2: wrong arguments.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "saga/machine.h"
#include "tests/kit/scratch.h"
#include "tests/sim/arguments.h"
#include "tests/sim/town.h"

enum { MAIN_TURNS = 500, MAIN_ORDERS_MAX = 20 };

#define US_PER_S INT64_C(1000000)

typedef struct tally {
	uint64_t seeds, deaths, resent, orders, jumps;
	town_counts counts;
	wb_memory_stat broker;
} tally;

/* What a seed has chosen for its world, beside what the town keeps. */
typedef struct world {
	town t;
	uint16_t kill, book, resend, answer, door, busy, stubborn, jump;
	bool leave_parked;
	int64_t latest_us; /* that the wall's clock has shown */
	tally tally;
} world;

/* ---- the seed's choices -------------------------------------------------- */

static uint64_t draw(world *w, uint64_t below)
{
	return seeded_random_below(&w->t.random, below);
}

static bool chance(world *w, unsigned permille)
{
	return seeded_random_chance(&w->t.random, permille);
}

static uint16_t some(world *w, uint64_t most)
{
	return chance(w, 400) ? 0 : (uint16_t)draw(w, most + 1);
}

static void choose_definition(world *w)
{
	static const uint32_t undo_attempts[] = {2, 5, 1500};
	town *t = &w->t;
	uint32_t undo = undo_attempts[draw(w, 3)];

	for (int i = 0; i < BOOKING_STEPS; i++) {
		if (!t->steps[i].command)
			continue;
		t->steps[i].deadline_ms = 500 + (uint32_t)draw(w, 5000);
		t->steps[i].attempts_max = 1 + (uint32_t)draw(w, 3);
		t->steps[i].undo_attempts_max = undo;
		t->steps[i].backoff_min_ms = 50 + (uint32_t)draw(w, 500);
	}
	if (chance(w, 300))
		t->saga.deadline_ms = 600000;
}

static void choose_code(world *w)
{
	static const uint32_t few[] = {1, 2, 7, 50, 1000};

	for (int i = 0; i < TOWN_SERVICES; i++) {
		w->t.worker[i].prefetch = few[draw(w, 5)];
		w->t.worker[i].batch_max = few[draw(w, 4)];
		w->t.worker[i].backoff_min_ms = 5;
		w->t.worker[i].backoff_max_ms = 300;
		w->t.relay[i].window = few[draw(w, 5)];
		w->t.relay[i].probe_ms = 200;
		w->t.relay[i].backoff_min_ms = 5;
		w->t.relay[i].backoff_max_ms = 300;
	}
}

static void choose_troubles(world *w)
{
	wb_memory_chaos chaos = WB_MEMORY_CHAOS_INIT;
	town *t = &w->t;

	w->kill = some(w, 20);
	w->book = (uint16_t)(20 + draw(w, 100));
	w->resend = some(w, 150);
	w->answer = some(w, 300);
	w->door = some(w, 20);
	w->busy = some(w, 20);
	w->stubborn = some(w, 40);
	w->jump = some(w, 8);
	w->leave_parked = chance(w, 300);
	t->commit_trouble = some(w, 60);
	for (int i = TOWN_BILLING; i <= TOWN_PARKING; i++) {
		t->all[i].mood.refuse = some(w, 150);
		t->all[i].mood.crash = some(w, 15);
	}
	chaos.duplicate = some(w, 300);
	chaos.nack = some(w, 100);
	chaos.cut = some(w, 20);
	chaos.refuse = some(w, 200);
	chaos.hide_exchange = some(w, 5);
	chaos.freeze = some(w, 3);
	chaos.block = some(w, 3);
	chaos.misplace = some(w, 300);
	chaos.outage_max_us = 500000;
	if (wb_memory_set_chaos(t->memory, &chaos, &t->err) != WB_OK)
		town_fail(t, "chaos: %s", t->err.text);
}

static void furnish(world *w)
{
	uint64_t slots = 2 + draw(w, 40);

	for (uint64_t i = 0; i < slots; i++)
		town_slot(&w->t, "open");
	town_account(&w->t, 10000000, "at-once");
	town_account(&w->t, (int64_t)draw(w, 50000), "at-once");
	town_account(&w->t, 10000000, "ask");
}

/* ---- one turn ------------------------------------------------------------ */

static void people(world *w)
{
	town *t = &w->t;

	if (chance(w, w->book) && t->count < TOWN_SAGAS_MAX)
		town_book(t, (int)draw(w, (uint64_t)t->slots),
			  (int)draw(w, (uint64_t)t->accounts));
	if (t->count > 0 && chance(w, w->answer))
		(void)town_answer(t, draw(w, t->count), chance(w, 600));
	if (chance(w, w->door))
		town_door(t, (int)draw(w, (uint64_t)t->slots),
			  chance(w, 500) ? "open" : "closed");
	if (chance(w, w->resend))
		town_resend(t);
}

static void misfortune(world *w)
{
	town *t = &w->t;
	town_service *s = &t->all[draw(w, TOWN_SERVICES)];

	if (chance(w, w->kill)) {
		town_kill(s);
		s->die_at_call = chance(w, 500) ? 1 + draw(w, 300) : 0;
		s->away_us = chance(w, 300) ? (int64_t)draw(w, 20 * US_PER_S)
					    : 0;
	}
	if (chance(w, w->busy))
		s->mood.retry_until_us =
			t->clock.real_us + (int64_t)draw(w, 60 * US_PER_S);
	if (chance(w, w->stubborn))
		s->mood.refuse_undo_until_us =
			t->clock.real_us + (int64_t)draw(w, 300 * US_PER_S);
}

static void passing_time(world *w)
{
	town *t = &w->t;

	if (chance(w, w->jump)) {
		fake_clock_jump_us(&t->clock,
				   (int64_t)draw(w, 7200 * US_PER_S) -
					   3600 * US_PER_S);
		w->tally.jumps++;
		town_log(t, "the clock jumps");
	}
	fake_clock_advance_us(&t->clock, (int64_t)draw(w, 4000));
	if (chance(w, 20))
		fake_clock_advance_us(&t->clock, (int64_t)draw(w, US_PER_S));
	if (t->clock.real_us > w->latest_us)
		w->latest_us = t->clock.real_us;
}

/* ---- calm ---------------------------------------------------------------- */

static void calm_down(world *w)
{
	town *t = &w->t;

	town_log(t, "calm");
	t->commit_trouble = 0;
	if (wb_memory_set_chaos(t->memory, NULL, &t->err) != WB_OK)
		town_fail(t, "calm: %s", t->err.text);
	for (int i = 0; i < TOWN_SERVICES; i++) {
		/* Who is away for long comes back in time. */
		t->all[i].away_us = 0;
		t->all[i].die_at_call = 0;
		town_kill(&t->all[i]);
		memset(&t->all[i].mood, 0, sizeof(t->all[i].mood));
	}
	/* What waits for the clock may have been put off when it was ahead. */
	if (t->clock.real_us < w->latest_us)
		fake_clock_jump_us(&t->clock, w->latest_us - t->clock.real_us);
}

/* Everybody answers; what is parked is retried. False: nothing was left. */
static bool tidy_up(world *w)
{
	town *t = &w->t;
	char reason[256];
	bool moved = false;

	for (size_t i = 0; i < t->count && !t->failed; i++) {
		uint8_t status = town_status(t, i, reason);

		if (status == WB_SAGA_RUNNING)
			moved |= town_answer(t, i, chance(w, 700));
		if (status != WB_SAGA_PARKED || w->leave_parked)
			continue;
		w->tally.orders++;
		if (!town_order(t, i, WBI_VERB_RETRY))
			town_fail(t, "%s cannot be retried: %s",
				  t->started[i].ref, reason);
		moved = true;
	}
	return moved;
}

static void calm(world *w)
{
	town *t = &w->t;

	calm_down(w);
	town_rest(t);
	for (int i = 0; i < MAIN_ORDERS_MAX && !t->failed; i++) {
		if (!tidy_up(w))
			return;
		town_rest(t);
	}
	town_fail(t, "there is no end to what an operator has to do");
}

static void judge(world *w)
{
	town_counts *c = &w->tally.counts;

	if (w->t.failed)
		return;
	town_judge(&w->t, c);
	if (c->unended > 0 || (c->parked > 0 && !w->leave_parked))
		town_fail(&w->t,
			  "%" PRIu64 " sagas parked, %" PRIu64 " not ended",
			  c->parked, c->unended);
	for (int i = 0; i < TOWN_SERVICES; i++)
		w->tally.deaths += w->t.all[i].deaths;
	w->tally.resent = w->t.resent;
	w->tally.broker = wb_memory_get_stat(w->t.memory);
	w->tally.seeds = 1;
}

/* ---- seeds --------------------------------------------------------------- */

static void add(uint64_t *sum, const uint64_t *one, size_t bytes)
{
	for (size_t i = 0; i < bytes / sizeof(*sum); i++)
		sum[i] += one[i];
}

static bool run_seed(const sim_arguments *a, uint64_t seed, tally *sum)
{
	world *w = calloc(1, sizeof(*w));
	char dir[PATH_MAX];
	bool good;

	if (!w || !kit_scratch_make(a->dir, dir)) {
		free(w);
		return false;
	}
	if (town_init(&w->t, dir, seed)) {
		w->t.log = a->verbose ? stderr : NULL;
		choose_definition(w);
		choose_code(w);
		if (town_open(&w->t))
			furnish(w);
		choose_troubles(w);
	}
	for (int i = 0; i < MAIN_TURNS && !w->t.failed; i++) {
		people(w);
		misfortune(w);
		town_step(&w->t);
		passing_time(w);
	}
	if (!w->t.failed)
		calm(w);
	judge(w);
	good = !w->t.failed;
	if (!good)
		printf("FAILED seed %" PRIu64 ": %s: repeat it with: "
		       "waybill-sim-orchestration --seed %" PRIu64
		       " --verbose\n",
		       seed, w->t.why, seed);
	add((uint64_t *)sum, (const uint64_t *)&w->tally, sizeof(*sum));
	town_close(&w->t);
	kit_scratch_remove(dir);
	free(w);
	return good;
}

static void report(const tally *t)
{
	printf("orchestration: seeds=%" PRIu64 " sagas=%" PRIu64
	       " completed=%" PRIu64 " compensated=%" PRIu64 " parked=%" PRIu64
	       " refunded=%" PRIu64 " deaths=%" PRIu64 " resent=%" PRIu64
	       " doubled=%" PRIu64 " nacked=%" PRIu64 " cuts=%" PRIu64
	       " jumps=%" PRIu64 " orders=%" PRIu64 "\n",
	       t->seeds, t->counts.started, t->counts.completed,
	       t->counts.compensated, t->counts.parked, t->counts.refunded,
	       t->deaths, t->resent, t->broker.duplicates, t->broker.nacked,
	       t->broker.downs, t->jumps, t->orders);
}

/* Every jobs-th seed, from the job's own on. How many went wrong. */
static uint64_t run_job(const sim_arguments *a, uint64_t job)
{
	tally sum = {0}, one, again;
	uint64_t bad = 0;

	for (uint64_t i = job; i < a->count && bad < a->failures;
	     i += a->jobs) {
		memset(&one, 0, sizeof(one));
		bad += !run_seed(a, a->first + i, &one);
		add((uint64_t *)&sum, (const uint64_t *)&one, sizeof(one));
		memset(&again, 0, sizeof(again));
		if (!a->twice)
			continue;
		run_seed(a, a->first + i, &again);
		if (memcmp(&one, &again, sizeof(one)) != 0) {
			printf("FAILED seed %" PRIu64 " does not repeat\n",
			       a->first + i);
			bad++;
		}
	}
	report(&sum);
	fflush(stdout);
	return bad;
}

int main(int argc, char **argv)
{
	sim_arguments a;
	uint64_t bad = 0;
	int status;

	if (!sim_arguments_parse(argc, argv, &a)) {
		printf("Usage: waybill-sim-orchestration [OPTION...]\n"
		       "Run the town of orchestrated bookings, a world per "
		       "seed.\n\n%s",
		       sim_arguments_help);
		return 2;
	}
	for (uint64_t job = 1; job < a.jobs; job++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(run_job(&a, job) == 0 ? 0 : 1);
		bad += pid < 0;
	}
	bad += run_job(&a, 0);
	while (wait(&status) > 0)
		bad += status != 0;
	return bad == 0 ? 0 : 1;
}
