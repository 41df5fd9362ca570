/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens in a world, turn by turn. Every choice is drawn from the
 * world's own randomness, so the seed repeats it.
 */
#include "tests/sim/operator.h"
#include "tests/sim/world.h"

/* ---- the operator ------------------------------------------------------ */

static void life_list(sim_world *w, sim_parked_list *list)
{
	if (sim_operator_list(w->store, list, &w->err) != WB_OK)
		sim_fail(w, "parked: %s", w->err.text);
}

static void life_retry(sim_world *w, const sim_parked_row *row)
{
	if (sim_operator_retry(w->store, row, &w->err) != WB_OK)
		sim_fail(w, "retry: %s", w->err.text);
	w->tally.retries++;
	sim_log(w, "retry key '%s' from %llu", row->key,
		(unsigned long long)row->position);
}

static void life_discard(sim_world *w, const sim_parked_row *row)
{
	bool gone;

	if (sim_operator_discard(w->store, row, &gone, &w->err) != WB_OK)
		sim_fail(w, "discard: %s", w->err.text);
	else if (gone && !checker_discarded(w->checker, wb_str_from(row->id)))
		sim_fail(w, "out of memory");
	if (gone)
		sim_log(w, "discard %s", row->id);
}

static void life_operate(sim_world *w)
{
	bool discard = seeded_random_chance(&w->random, 250);
	sim_parked_list list;
	uint64_t at;

	life_list(w, &list);
	at = seeded_random_below(&w->random, list.count);
	if (list.count == 0)
		return;
	if (discard)
		life_discard(w, &list.rows[at]);
	else
		life_retry(w, &list.rows[at]);
}

/* ---- one turn ---------------------------------------------------------- */

static size_t life_relays(const sim_world *w)
{
	size_t count = 0;

	for (size_t i = 0; i < SIM_RELAYS; i++)
		count += w->relays[i].mortal != NULL;
	return count;
}

static void life_care_for_relays(sim_world *w)
{
	for (size_t i = 0; i < SIM_RELAYS; i++) {
		sim_relay *r = &w->relays[i];
		bool spare = life_relays(w) > 0;

		if (!r->mortal &&
		    seeded_random_chance(&w->random, spare ? 5 : 150)) {
			w->tally.takeovers += spare;
			sim_relay_start(w, r);
		} else if (r->mortal && seeded_random_chance(&w->random, 3)) {
			w->tally.deaths++;
			sim_relay_kill(w, r);
		}
	}
}

static void life_topology(sim_world *w)
{
	uint64_t which;

	if (seeded_random_chance(&w->random, w->delete_exchange)) {
		which = seeded_random_below(&w->random, SIM_EXCHANGES);
		sim_topology_delete(w, which,
				    w->clock.mono_us +
					    (int64_t)seeded_random_below(
						    &w->random, 400000));
	}
	sim_topology_tend(w);
}

static void life_time(sim_world *w)
{
	seeded_random *random = &w->random;

	if (seeded_random_chance(random, 5))
		fake_clock_jump_us(&w->clock, (int64_t)seeded_random_below(
						      random, 7200000000u) -
						      3600000000);
	fake_clock_advance_us(&w->clock,
			      (int64_t)seeded_random_below(random, 4000));
	if (seeded_random_chance(random, 20))
		fake_clock_advance_us(&w->clock, 200000);
	if (seeded_random_chance(random, w->commit_trouble / 10))
		fake_clock_advance_us(&w->clock, 1000000);
	if (w->clock.real_us > w->latest_us)
		w->latest_us = w->clock.real_us;
}

static void life_trouble(sim_world *w)
{
	if (seeded_random_chance(&w->random, 350))
		sim_append(w);
	if (seeded_random_chance(&w->random, 30))
		life_operate(w);
	if (w->streams && !w->dying && seeded_random_chance(&w->random, 40))
		sim_stream_truncate(w);
	if (w->dying || seeded_random_chance(&w->random, 2))
		sim_world_reopen(w);
	if (w->failed)
		return;
	life_topology(w);
	life_care_for_relays(w);
	for (size_t i = 0; i < SIM_RELAYS && !w->failed; i++) {
		sim_relay *r = &w->relays[i];

		sim_relay_step(w, r);
	}
	if (!w->failed)
		sim_service_turn(&w->service);
	sim_models_turn(&w->models);
	life_time(w);
}

/* ---- calm -------------------------------------------------------------- */

/*
 * Nothing is left to do. While an exchange stays away, what is released for it
 * is not at rest: then it is enough that no other is held, which a drain may
 * take its time for, and that nothing moves for long.
 */
static bool life_is_quiet(sim_world *w, const wb_relay_stat *stat)
{
	uint64_t held = 0;
	bool still;

	if (sim_operator_held(w->store, &held, &w->err) != WB_OK)
		sim_fail(w, "held: %s", w->err.text);
	still = stat->cursor == w->head && stat->unconfirmed == 0 && held <= 1;
	w->quiet_turns = still ? w->quiet_turns + 1 : 0;
	if (w->leave_missing)
		return w->quiet_turns > SIM_REST_TURNS;
	return stat->idle && held == 0;
}

/* True: everything has come to rest. What is parked is retried, also when it
 * has used up its room: then nothing else can move. */
static bool life_rest(sim_world *w)
{
	sim_relay *r = &w->relays[0];
	wb_relay_stat stat;
	sim_parked_list list;
	bool quiet;

	sim_topology_tend(w);
	sim_relay_step(w, r);
	if (w->failed)
		return true;
	stat = wb_relay_get_stat(r->relay);
	quiet = life_is_quiet(w, &stat);
	if (w->leave_parked && quiet)
		return true;
	fake_clock_advance_us(&w->clock, 1000);
	if (w->leave_parked || (!quiet && w->tally.turns % 64 > 0))
		return false;
	life_list(w, &list);
	if (quiet && (w->leave_missing || list.total == 0))
		return true;
	for (size_t i = 0; i < list.count && !w->failed; i++)
		if (list.rows[i].behind == 0)
			life_retry(w, &list.rows[i]);
	return false;
}

static void life_say_restless(sim_world *w)
{
	sim_parked_list list;
	wb_relay_stat stat;
	uint64_t held = 0;

	if (w->failed)
		return;
	life_list(w, &list);
	(void)sim_operator_held(w->store, &held, NULL);
	stat = wb_relay_get_stat(w->relays[0].relay);
	sim_fail(w,
		 "no rest: state %d head %llu of %llu cursor %llu unconfirmed "
		 "%llu idle %d parked %llu held %llu window %u room %llu",
		 (int)stat.state, (unsigned long long)stat.head,
		 (unsigned long long)w->head, (unsigned long long)stat.cursor,
		 (unsigned long long)stat.unconfirmed, stat.idle,
		 (unsigned long long)list.total, (unsigned long long)held,
		 w->options.window,
		 (unsigned long long)w->options.parked_max_bytes);
}

static void life_calm_down(sim_world *w)
{
	sim_log(w, "calm");
	w->calm = true;
	for (size_t i = 0; i < SIM_RELAYS; i++)
		sim_relay_kill(w, &w->relays[i]);
	if (w->dying)
		sim_world_reopen(w);
	if (wb_memory_set_chaos(w->memory, NULL, &w->err) != WB_OK)
		sim_fail(w, "calm: %s", w->err.text);
	for (size_t i = 0; i < SIM_EXCHANGES; i++)
		w->exchanges[i].back_us = 0;
	if (w->leave_missing)
		sim_topology_delete(w, w->seed % SIM_EXCHANGES, INT64_MAX);
	w->options.limits.body_bytes = 0;
	sim_relay_start(w, &w->relays[0]);
}

static void life_calm(sim_world *w)
{
	bool rest = false;

	life_calm_down(w);
	for (int i = 0; i < SIM_CALM_TURNS && !w->failed && !rest;
	     i++, w->tally.turns++)
		rest = life_rest(w);
	if (!rest)
		life_say_restless(w);
	/* What was in flight at the last cut still arrives. */
	fake_clock_advance_us(&w->clock, 10000000);
	wb_broker_step(w->admin);
}

/* The second service has all that it will ever get. What waits for the wall
 * clock may have been put off when that was up to an hour ahead. */
static void life_calm_service(sim_world *w)
{
	sim_service *s = &w->service;
	bool rest = false;

	if (w->clock.real_us < w->latest_us)
		fake_clock_jump_us(&w->clock,
				   w->latest_us - w->clock.real_us);
	sim_service_calm(s);
	for (int i = 0; i < SIM_CALM_TURNS && !w->failed && !rest;
	     i++, w->tally.turns++) {
		rest = sim_service_rest(s);
		fake_clock_advance_us(&w->clock, 2000);
	}
	if (!rest && !w->failed)
		sim_service_say_restless(s);
}

bool sim_world_run(sim_world *w)
{
	for (int i = 0; i < SIM_TROUBLE_TURNS && !w->failed; i++) {
		life_trouble(w);
		w->tally.turns++;
	}
	if (!w->failed)
		life_calm(w);
	if (!w->failed)
		life_calm_service(w);
	if (!w->failed)
		sim_models_judge(&w->models);
	if (!w->failed)
		sim_service_judge(&w->service);
	if (!w->failed)
		sim_world_judge(w);
	w->tally.service = w->service.tally;
	w->tally.models = w->models.tally;
	return !w->failed;
}
