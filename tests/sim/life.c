/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens in a world, turn by turn, and the judgement at its end. Every
 * choice is drawn from the world's own randomness, so the seed repeats it.
 */
#include <stdlib.h>

#include "lib/store/store.h"
#include "lib/store/table.h"
#include "lib/journal/parked.h"
#include "tests/sim/operator.h"
#include "tests/sim/world.h"

enum { LIFE_KEYS = 6, LIFE_BATCH_MAX = 4  };

/* ---- the appender ------------------------------------------------------ */

typedef struct life_event {
	char id[32], key[16];
	uint64_t position;
	bool accepted; /* it may end unrouted, and then is counted */
} life_event;

static bool life_append_one(sim_world *w, MDB_txn *txn, life_event *e)
{
	static const char *const types[] = {"order.placed", "order.paid",
					    "stock.moved", SIM_ACCEPTED_TYPE};
	static const char data[300];
	uint64_t key = seeded_random_below(&w->random, LIFE_KEYS + 1);
	size_t type = seeded_random_below(&w->random, 4);
	wb_event event = {
		.type = wb_str_from(types[type]),
		.data = wb_str_n(data, seeded_random_below(&w->random, 300)),
	};

	snprintf(e->id, sizeof(e->id), "e%llu",
		 (unsigned long long)++w->next_event);
	/* A key stays with one exchange: while an exchange is held, a key's
	 * events for another one go on. And what may end unrouted has none: a
	 * repeat of it after a crash may be routed, for the first time. */
	e->accepted = type == 3;
	if (e->accepted)
		key = 0;
	e->key[0] = '\0';
	if (key)
		snprintf(e->key, sizeof(e->key), "%c%d", types[type][0],
			 (int)key);
	event.id = wb_str_from(e->id);
	event.key = wb_str_from(e->key);
	return wb_outbox_append(w->outbox, txn, &event, &e->position,
				&w->err) == WB_OK;
}

static bool life_note(sim_world *w, const life_event *e, bool aborted)
{
	checker_fate fate = aborted       ? CHECKER_ABORTED
			    : e->accepted ? CHECKER_UNKNOWN
					  : CHECKER_COMMITTED;

	w->accepted += e->accepted && !aborted;
	return checker_appended(w->checker, wb_str_from(e->id),
				wb_str_from(e->key), e->position, fate);
}

static void life_append(sim_world *w)
{
	size_t count = 1 + seeded_random_below(&w->random, LIFE_BATCH_MAX);
	bool abort = seeded_random_chance(&w->random, 60);
	life_event events[LIFE_BATCH_MAX];
	MDB_txn *txn;
	bool ok = wb_store_begin(w->store, &txn, &w->err) == WB_OK;

	if (!ok) {
		sim_fail(w, "begin: %s", w->err.text);
		return;
	}
	for (size_t i = 0; i < count; i++)
		ok = ok && life_append_one(w, txn, &events[i]);
	if (abort || !ok)
		wb_store_abort(txn);
	else
		ok = wb_store_commit(w->store, txn, &w->err) == WB_OK;
	for (size_t i = 0; ok && i < count; i++)
		ok = life_note(w, &events[i], abort);
	if (!ok)
		sim_fail(w, "append: %s", w->err.text);
}

/* ---- the operator ------------------------------------------------------ */

static void life_list_parked(sim_world *w, sim_parked_list *list)
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

static void life_retry_some(sim_world *w)
{
	sim_parked_list list;

	life_list_parked(w, &list);
	if (list.count > 0)
		life_retry(w, &list.rows[seeded_random_below(&w->random,
							     list.count)]);
}

/* ---- one turn ---------------------------------------------------------- */

static void life_step_relay(sim_world *w, sim_relay *r)
{
	bool wake = seeded_random_chance(&w->random, w->calm ? 50 : 700);

	if (!r->mortal)
		return;
	if (wb_relay_step(r->relay, wake, &w->err) != WB_OK)
		sim_fail(w, "relay: %s", w->err.text);
	if (!sim_mortal_is_dead(r->mortal))
		return;
	w->tally.deaths++;
	sim_relay_kill(w, r);
}

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

static void life_trouble(sim_world *w)
{
	seeded_random *random = &w->random;

	if (seeded_random_chance(random, 350))
		life_append(w);
	if (seeded_random_chance(random, 20))
		life_retry_some(w);
	if (seeded_random_chance(random, 2))
		sim_world_reopen(w);
	if (seeded_random_chance(random, 5))
		fake_clock_jump_us(&w->clock, (int64_t)seeded_random_below(
						      random, 7200000000u) -
						      3600000000);
	life_care_for_relays(w);
	for (size_t i = 0; i < SIM_RELAYS; i++)
		life_step_relay(w, &w->relays[i]);
	fake_clock_advance_us(&w->clock,
			      (int64_t)seeded_random_below(random, 4000));
	if (seeded_random_chance(random, 20))
		fake_clock_advance_us(&w->clock, 200000);
}

/* ---- calm -------------------------------------------------------------- */

static uint64_t life_held(sim_world *w)
{
	uint64_t held = 0;

	if (sim_operator_held(w->store, &held, &w->err) != WB_OK)
		sim_fail(w, "held: %s", w->err.text);
	return held;
}

/* True: everything has come to rest, nothing is parked and nothing held. */
static bool life_rest(sim_world *w)
{
	sim_relay *r = &w->relays[0];
	sim_parked_list list;

	life_step_relay(w, r);
	if (w->failed || !wb_relay_get_stat(r->relay).idle ||
	    life_held(w) > 0) {
		fake_clock_advance_us(&w->clock, 1000);
		return false;
	}
	life_list_parked(w, &list);
	for (size_t i = 0; i < list.count && !w->failed; i++)
		life_retry(w, &list.rows[i]);
	return list.total == 0;
}

static void life_say_restless(sim_world *w)
{
	wb_relay_stat stat;

	if (w->failed)
		return;
	stat = wb_relay_get_stat(w->relays[0].relay);
	sim_fail(w,
		 "no rest: state %d head %llu cursor %llu unconfirmed %llu "
		 "parked %llu nacks %llu connects %llu closes %llu",
		 (int)stat.state, (unsigned long long)stat.head,
		 (unsigned long long)stat.cursor,
		 (unsigned long long)stat.unconfirmed,
		 (unsigned long long)stat.parked,
		 (unsigned long long)stat.nacks,
		 (unsigned long long)stat.connects,
		 (unsigned long long)stat.channel_closes);
}

static void life_calm(sim_world *w)
{
	bool rest = false;

	sim_log(w, "calm");
	w->calm = true;
	for (size_t i = 0; i < SIM_RELAYS; i++)
		sim_relay_kill(w, &w->relays[i]);
	if (wb_memory_set_chaos(w->memory, NULL, &w->err) != WB_OK)
		sim_fail(w, "calm: %s", w->err.text);
	sim_relay_start(w, &w->relays[0]);
	for (int i = 0; i < SIM_CALM_TURNS && !w->failed && !rest;
	     i++, w->tally.turns++)
		rest = life_rest(w);
	if (!rest)
		life_say_restless(w);
	/* What was in flight at the last cut still arrives. */
	fake_clock_advance_us(&w->clock, 10000000);
	wb_broker_step(w->admin);
}

/* ---- the judgement ----------------------------------------------------- */

static void life_read_queue(sim_world *w)
{
	const wb_message *m;

	for (uint64_t i = 0; (m = wb_memory_arrival(w->memory, "all", i));
	     i++) {
		if (!checker_arrived(w->checker, m->message_id))
			sim_fail(w, "out of memory");
		for (size_t j = 0; j < m->message_id.len; j++)
			w->digest = w->digest * 1099511628211u +
				    (unsigned char)m->message_id.ptr[j];
	}
}

/* Every loss of a connection or channel may repeat a window, a nack or a
 * straggler one event; nothing else repeats anything. */
static uint64_t life_repeats_max(const sim_world *w)
{
	wb_memory_stat stat = wb_memory_get_stat(w->memory);
	uint64_t losses = stat.downs + stat.channel_closes + w->tally.deaths +
			  w->tally.restarts * SIM_RELAYS + SIM_RELAYS;

	return losses * w->options.window + stat.nacked + stat.stragglers;
}

static uint64_t life_unrouted(sim_world *w)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(w->store);
	uint64_t count = 0;
	MDB_txn *txn;
	wb_code code;

	if (mdb_txn_begin(wbi_store_relay_env(w->store), NULL, MDB_RDONLY,
			  &txn) != 0) {
		sim_fail(w, "cannot read the relay's environment");
		return 0;
	}
	code = wbi_count_get(txn, tables->status,
			     wb_str_from("unrouted/" SIM_ACCEPTED_TYPE), &count,
			     &w->err);
	mdb_txn_abort(txn);
	if (code != WB_OK)
		sim_fail(w, "unrouted: %s", w->err.text);
	return count;
}

/* Those that may end unrouted have all arrived, but for as many as were
 * counted. One that was counted may have arrived too: a copy of it, sent on a
 * connection that was lost, was routed. */
static void life_judge_accepted(sim_world *w)
{
	uint64_t arrived;
	const wb_message *m;
	checker *seen = checker_new();
	checker_counts n = {0};

	for (uint64_t i = 0; (m = wb_memory_arrival(w->memory, "all", i)); i++)
		if (wb_str_eq(m->type, wb_str_from(SIM_ACCEPTED_TYPE)) &&
		    (!seen || !checker_arrived(seen, m->message_id)))
			sim_fail(w, "out of memory");
	if (seen)
		n = checker_count(seen);
	arrived = n.phantom; /* distinct ids: nothing was appended to it */
	checker_free(seen);
	w->tally.unrouted = life_unrouted(w);
	if (arrived + w->tally.unrouted < w->accepted)
		sim_fail(w, "%llu of %llu arrived, %llu counted as unrouted",
			 (unsigned long long)arrived,
			 (unsigned long long)w->accepted,
			 (unsigned long long)w->tally.unrouted);
}

static void life_judge(sim_world *w)
{
	wb_memory_stat stat = wb_memory_get_stat(w->memory);
	checker_counts *n = &w->tally.counts;

	life_read_queue(w);
	life_judge_accepted(w);
	*n = checker_count(w->checker);
	w->tally.downs = stat.downs;
	w->tally.channel_closes = stat.channel_closes;
	w->tally.nacks = stat.nacked;
	w->tally.returns = stat.returned;
	w->tally.blocks = stat.blocks;
	if (!checker_is_clean(n) || n->parked > 0)
		sim_fail(w,
			 "lost %llu, phantom %llu, reordered %llu, still "
			 "parked %llu",
			 (unsigned long long)n->lost,
			 (unsigned long long)n->phantom,
			 (unsigned long long)n->reordered,
			 (unsigned long long)n->parked);
	if (n->duplicate > life_repeats_max(w))
		sim_fail(w, "%llu repeats, %llu at most can be explained",
			 (unsigned long long)n->duplicate,
			 (unsigned long long)life_repeats_max(w));
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
		life_judge(w);
	return !w->failed;
}
