/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every state that a saga can get into, by every input in every order, walked
 * from the start: what holds in all of them, and what must be reachable.
 */
#include "tests/support/testing.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/hash.h"
#include "saga/machine.h"

enum { STATES_MAX = 1 << 20 };

static wb_code local(wb_call *call, wb_error *err)
{
	(void)call;
	(void)err;
	return WB_OK;
}

/* create (local), block, pay (probed), reserve (pivot), finish (local). */
static const wb_step booking_steps[] = {
	{"create", .run = local, .run_undo = local, .attempts_max = 2,
	 .undo_attempts_max = 2},
	{"block", .command = "block", .undo = "unblock", .attempts_max = 2,
	 .undo_attempts_max = 2},
	{"pay", .command = "pay", .undo = "refund", .probe = "paid",
	 .attempts_max = 2, .undo_attempts_max = 2},
	{"reserve", WB_PIVOT, .command = "reserve", .attempts_max = 2,
	 .undo_attempts_max = 2},
	{"finish", WB_RETRIABLE, .run = local, .attempts_max = 2,
	 .undo_attempts_max = 2},
};

/* No pivot, and a step that leaves nothing to undo. */
static const wb_step plain_steps[] = {
	{"look", .command = "look", .keeps = true, .attempts_max = 2,
	 .undo_attempts_max = 2},
	{"take", .command = "take", .undo = "give", .attempts_max = 2,
	 .undo_attempts_max = 2},
	{"tell", WB_RETRIABLE, .command = "tell", .probe = "told",
	 .attempts_max = 2, .undo_attempts_max = 2},
};

typedef struct walked {
	wbi_machine m;
	bool timer;                         /* the step's timer is set */
	bool told_done[WBI_SAGA_STEPS_MAX]; /* a participant said done */
} walked;

typedef struct walk {
	const wb_saga *saga;
	walked *states;
	uint32_t *slots; /* index + 1, by hash */
	size_t count;
	uint64_t moves;
	uint64_t ends[WB_SAGA_ABANDONED + 1];
} walk;

static void walk_add(walk *w, const walked *state)
{
	walked key = *state;
	uint64_t at;

	key.m.serial = 0; /* any number will do: the walk knows it */
	at = wbi_hash(1, &key, sizeof(key)) % (2 * STATES_MAX);
	while (w->slots[at]) {
		if (!memcmp(&w->states[w->slots[at] - 1], &key, sizeof(key)))
			return;
		at = (at + 1) % (2 * STATES_MAX);
	}
	assert_true(w->count < STATES_MAX);
	w->states[w->count++] = key;
	w->slots[at] = (uint32_t)w->count;
}

static bool is_final(const wbi_machine *m)
{
	return m->status == WB_SAGA_COMPLETED ||
	       m->status == WB_SAGA_COMPENSATED ||
	       m->status == WB_SAGA_ABANDONED;
}

static void check_state(const walk *w, const walked *s)
{
	const wbi_machine *m = &s->m;
	bool waits_for_reply = m->steps[m->current].at == WBI_AT_PENDING;

	/* Nothing hangs: what goes on by itself has a timer. */
	if (m->status == WB_SAGA_RUNNING || m->status == WB_SAGA_COMPENSATING)
		assert_true(s->timer || waits_for_reply);
	else
		assert_false(s->timer);
	if (m->status == WB_SAGA_PARKED)
		assert_int_not_equal(m->parking, WBI_PARKING_NONE);
	for (uint32_t i = 0; i < m->count; i++) {
		const wb_step *step = &w->saga->steps[i];
		uint8_t at = m->steps[i].at;

		if (m->status == WB_SAGA_COMPLETED)
			assert_int_equal(at, WBI_AT_DONE);
		/* What took effect is undone, if it can be. */
		if (m->status == WB_SAGA_COMPENSATED &&
		    wbi_step_has_undo(step)) {
			assert_int_not_equal(at, WBI_AT_DONE);
			assert_int_not_equal(at, WBI_AT_UNKNOWN);
			if (s->told_done[i] && !m->steps[i].skipped)
				assert_int_equal(at, WBI_AT_UNDONE);
		}
		/* One thing at a time. */
		if (i > m->current && m->status == WB_SAGA_RUNNING)
			assert_int_equal(at, WBI_AT_NONE);
	}
}

static bool is_past_pivot(const walk *w, const wbi_machine *m)
{
	for (uint32_t i = 0; i < m->count; i++)
		if (w->saga->steps[i].kind == WB_PIVOT)
			return m->steps[i].at == WBI_AT_DONE;
	return false;
}

/* From `from`, by what `actions` do. */
static void check_move(const walk *w, const wbi_machine *from,
		       const wbi_machine *to, const wbi_actions *actions)
{
	/* Behind the pivot nobody goes back. */
	if (is_past_pivot(w, from) && from->status != WB_SAGA_COMPENSATING &&
	    from->before != WB_SAGA_COMPENSATING) {
		assert_int_not_equal(to->status, WB_SAGA_COMPENSATING);
		assert_int_not_equal(to->status, WB_SAGA_COMPENSATED);
	}
	for (size_t i = 0; i < actions->count; i++) {
		const wbi_action *a = &actions->items[i];

		if (a->kind != WBI_ACTION_TELL || a->op != WBI_OP_UNDO)
			continue;
		/* The last that took effect is undone first. */
		for (uint32_t j = a->step + 1; j < to->count; j++)
			if (wbi_step_has_undo(&w->saga->steps[j])) {
				assert_int_not_equal(to->steps[j].at,
						     WBI_AT_DONE);
				assert_int_not_equal(to->steps[j].at,
						     WBI_AT_UNKNOWN);
			}
	}
}

static void walk_try(walk *w, const walked *from, const wbi_input *in)
{
	walked to = *from;
	wbi_actions actions;
	const char *why = NULL;
	wbi_verdict verdict =
		wbi_machine_step_by(w->saga, &to.m, in, &actions, &why);

	if (verdict != WBI_VERDICT_MOVED) {
		assert_memory_equal(&to.m, &from->m, sizeof(to.m));
		assert_int_equal(why != NULL, verdict == WBI_VERDICT_ILLEGAL);
		return;
	}
	assert_false(is_final(&from->m));
	check_move(w, &from->m, &to.m, &actions);
	w->moves++;
	for (size_t i = 0; i < actions.count; i++) {
		wbi_action_kind kind = actions.items[i].kind;

		if (kind == WBI_ACTION_DEADLINE || kind == WBI_ACTION_BACKOFF)
			to.timer = true;
		if (kind == WBI_ACTION_NO_TIMER || kind == WBI_ACTION_END)
			to.timer = false;
	}
	if (in->kind == WBI_INPUT_TIMER && actions.count == 0)
		to.timer = false;
	if (in->kind == WBI_INPUT_ANSWER && in->op == WBI_OP_DO &&
	    in->outcome == WBI_OUTCOME_DONE)
		to.told_done[in->step] = true;
	if (to.m.status <= WB_SAGA_ABANDONED && is_final(&to.m))
		w->ends[to.m.status]++;
	walk_add(w, &to);
}

static void walk_answers(walk *w, const walked *from)
{
	for (uint32_t step = 0; step < w->saga->count; step++)
		for (int op = WBI_OP_DO; op <= WBI_OP_PROBE; op++)
			for (int o = WBI_OUTCOME_DONE; o <= WBI_OUTCOME_RETRY;
			     o++)
				for (uint32_t old = 0; old < 2; old++) {
					wbi_input in = {
						.kind = WBI_INPUT_ANSWER,
						.step = step,
						.op = (wbi_op)op,
						.outcome = (wbi_outcome)o,
						.epoch = from->m.epoch - old};

					walk_try(w, from, &in);
				}
}

static void walk_from(walk *w, const walked *from, bool verbs)
{
	wbi_input in = {.kind = WBI_INPUT_TIMER, .serial = from->m.serial};

	if (from->timer)
		walk_try(w, from, &in);
	in.serial = from->m.serial + 7;
	walk_try(w, from, &in);
	in.kind = WBI_INPUT_DEADLINE;
	walk_try(w, from, &in);
	in.kind = WBI_INPUT_START;
	if (from->m.status != 0)
		walk_try(w, from, &in);
	walk_answers(w, from);
	if (!verbs)
		return;
	in.kind = WBI_INPUT_NO_DEFINITION;
	walk_try(w, from, &in);
	in.kind = WBI_INPUT_VERB;
	for (int verb = WBI_VERB_RETRY; verb <= WBI_VERB_RESUME; verb++) {
		in.verb = (wbi_verb)verb;
		walk_try(w, from, &in);
	}
}

static void walk_all(const wb_step *steps, size_t count, bool verbs)
{
	wb_saga saga = WB_SAGA_INIT;
	wbi_input start = {.kind = WBI_INPUT_START};
	walk w = {.saga = &saga};
	walked first;

	saga.name = "walk";
	saga.steps = steps;
	saga.count = count;
	memset(&first, 0, sizeof(first));
	w.states = calloc(STATES_MAX, sizeof(*w.states));
	w.slots = calloc(2 * STATES_MAX, sizeof(*w.slots));
	assert_true(w.states && w.slots);
	walk_try(&w, &first, &start);
	for (size_t i = 0; i < w.count; i++) {
		walked from = w.states[i];

		check_state(&w, &from);
		walk_from(&w, &from, verbs);
	}
	print_message("%zu states, %llu moves\n", w.count,
		      (unsigned long long)w.moves);
	assert_true(w.ends[WB_SAGA_COMPLETED] > 0);
	assert_true(w.ends[WB_SAGA_COMPENSATED] > 0);
	assert_int_equal(w.ends[WB_SAGA_ABANDONED] > 0, verbs);
	free(w.states);
	free(w.slots);
}

static void every_state_of_a_booking_is_sound(void **state)
{
	(void)state;
	walk_all(booking_steps, WBI_COUNT(booking_steps), false);
}

static void every_state_is_sound_with_an_operator_in_it(void **state)
{
	(void)state;
	walk_all(plain_steps, WBI_COUNT(plain_steps), true);
}

static void final_states_stay_and_nothing_unlisted_is_legal(void **state)
{
	(void)state;
	for (uint8_t to = 0; to <= WB_SAGA_ABANDONED; to++) {
		assert_false(wbi_machine_status_may(WB_SAGA_COMPLETED, to));
		assert_false(wbi_machine_status_may(WB_SAGA_COMPENSATED, to));
		assert_false(wbi_machine_status_may(WB_SAGA_ABANDONED, to));
	}
	assert_false(
		wbi_machine_status_may(WB_SAGA_COMPENSATING, WB_SAGA_RUNNING));
	for (uint8_t to = 0; to < WBI_AT_END; to++) {
		assert_false(wbi_machine_at_may(WBI_AT_REJECTED, to));
		assert_false(wbi_machine_at_may(WBI_AT_UNDONE, to));
	}
}

/* Also what another version has written. */
static void every_number_has_a_name(void **state)
{
	(void)state;
	assert_string_equal(wbi_at_name(WBI_AT_UNDONE), "undone");
	assert_string_equal(wbi_at_name(WBI_AT_END), "unknown");
	assert_string_equal(wbi_saga_status_name(WB_SAGA_PARKED), "parked");
	assert_string_equal(wbi_saga_status_name(99), "unknown");
	assert_string_equal(wbi_parking_name(WBI_PARKING_UNDO), "undo");
	assert_string_equal(wbi_parking_name(99), "unknown");
	assert_false(wbi_machine_status_may(99, WB_SAGA_RUNNING));
	assert_false(wbi_machine_at_may(WBI_AT_END, WBI_AT_ASKED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_number_has_a_name),
		cmocka_unit_test(every_state_of_a_booking_is_sound),
		cmocka_unit_test(every_state_is_sound_with_an_operator_in_it),
		cmocka_unit_test(
			final_states_stay_and_nothing_unlisted_is_legal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
