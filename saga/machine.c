/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rules of an orchestrated saga.
 *
 * Forward: steps in order, each told, answered, and on its deadline told again
 * until its attempts are used up; then its outcome is not known, it is probed,
 * or counts as one that may have happened. Backward: what took effect or may
 * have is undone, last first; what was rejected, or never told, is not. Behind
 * the pivot there is no way back: what fails there parks.
 *
 * An answer counts if it is of the present epoch and of the step that is being
 * waited for, also when it comes during a backoff: it tells the truth about
 * the same operation. A timer counts if it is the last one that was set.
 *
 * Pure functions over plain values; any thread.
 */
#include "saga/machine.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/assert.h"

/* ---- the lists ----------------------------------------------------------- */

#define BIT(x) (1u << (x))

static const uint32_t machine_status_to[] = {
	[0] = BIT(WB_SAGA_RUNNING),
	[WB_SAGA_RUNNING] = BIT(WB_SAGA_COMPENSATING) | BIT(WB_SAGA_COMPLETED) |
			    BIT(WB_SAGA_PARKED) | BIT(WB_SAGA_ABANDONED),
	[WB_SAGA_COMPENSATING] = BIT(WB_SAGA_COMPENSATED) |
				 BIT(WB_SAGA_PARKED) | BIT(WB_SAGA_ABANDONED),
	[WB_SAGA_PARKED] = BIT(WB_SAGA_RUNNING) | BIT(WB_SAGA_COMPENSATING) |
			   BIT(WB_SAGA_ABANDONED),
	[WB_SAGA_COMPLETED] = 0,
	[WB_SAGA_COMPENSATED] = 0,
	[WB_SAGA_ABANDONED] = 0,
};

static const uint32_t machine_at_to[WBI_AT_END] = {
	[WBI_AT_NONE] = BIT(WBI_AT_ASKED),
	[WBI_AT_ASKED] = BIT(WBI_AT_ASKED) | BIT(WBI_AT_PENDING) |
			 BIT(WBI_AT_WAITING) | BIT(WBI_AT_DONE) |
			 BIT(WBI_AT_REJECTED) | BIT(WBI_AT_UNKNOWN) |
			 BIT(WBI_AT_NONE),
	[WBI_AT_PENDING] = BIT(WBI_AT_ASKED) | BIT(WBI_AT_DONE) |
			   BIT(WBI_AT_REJECTED) | BIT(WBI_AT_UNKNOWN),
	[WBI_AT_WAITING] = BIT(WBI_AT_ASKED) | BIT(WBI_AT_PENDING) |
			   BIT(WBI_AT_DONE) | BIT(WBI_AT_REJECTED) |
			   BIT(WBI_AT_UNKNOWN) | BIT(WBI_AT_NONE),
	[WBI_AT_PROBING] = BIT(WBI_AT_PENDING) | BIT(WBI_AT_DONE) |
			   BIT(WBI_AT_REJECTED) | BIT(WBI_AT_UNKNOWN),
	[WBI_AT_DONE] = BIT(WBI_AT_UNDOING),
	[WBI_AT_REJECTED] = 0,
	[WBI_AT_UNKNOWN] = BIT(WBI_AT_PROBING) | BIT(WBI_AT_UNDOING) |
			   BIT(WBI_AT_ASKED) | BIT(WBI_AT_DONE),
	[WBI_AT_UNDOING] = BIT(WBI_AT_UNDOING) | BIT(WBI_AT_UNDO_WAITING) |
			   BIT(WBI_AT_UNDONE),
	[WBI_AT_UNDO_WAITING] = BIT(WBI_AT_UNDOING) | BIT(WBI_AT_UNDONE),
	[WBI_AT_UNDONE] = 0,
};

bool wbi_machine_status_may(uint8_t from, uint8_t to)
{
	return from < WBI_COUNT(machine_status_to) &&
	       (machine_status_to[from] & BIT(to));
}

bool wbi_machine_at_may(uint8_t from, uint8_t to)
{
	return from < WBI_AT_END && (machine_at_to[from] & BIT(to));
}

static void machine_set_status(wbi_machine *m, uint8_t to)
{
	WB_ASSERT(wbi_machine_status_may(m->status, to));
	m->status = to;
}

static void machine_set_at(wbi_machine *m, uint32_t step, uint8_t to)
{
	WB_ASSERT(step < m->count);
	WB_ASSERT(wbi_machine_at_may(m->steps[step].at, to));
	m->steps[step].at = to;
}

/* ---- of a step's declaration --------------------------------------------- */

uint32_t wbi_step_attempts(const wb_step *step, wbi_op op)
{
	if (op == WBI_OP_UNDO)
		return step->undo_attempts_max ? step->undo_attempts_max
					       : WBI_ATTEMPTS_UNDO;
	if (step->attempts_max)
		return step->attempts_max;
	return step->kind == WB_RETRIABLE ? WBI_ATTEMPTS_RETRIABLE
					  : WBI_ATTEMPTS_DO;
}

bool wbi_step_is_local(const wb_step *step, wbi_op op)
{
	return op == WBI_OP_UNDO ? step->run_undo != NULL : step->run != NULL;
}

bool wbi_step_has_undo(const wb_step *step)
{
	return step->undo || step->run_undo;
}

/* ---- moving -------------------------------------------------------------- */

typedef struct mover {
	const wb_saga *saga;
	wbi_machine *m;
	wbi_actions *actions;
} mover;

static void move_act(mover *v, wbi_action_kind kind, uint32_t step, wbi_op op,
		     uint32_t attempts)
{
	WB_ASSERT(v->actions->count < WBI_MACHINE_ACTIONS);
	if (kind == WBI_ACTION_DEADLINE || kind == WBI_ACTION_BACKOFF)
		v->m->serial++;
	v->actions->items[v->actions->count++] = (wbi_action){
		.kind = kind, .step = step, .op = op, .attempts = attempts};
}

static void move_end(mover *v, uint8_t status)
{
	machine_set_status(v->m, status);
	v->m->serial++;
	move_act(v, WBI_ACTION_END, v->m->current, 0, 0);
}

static void move_park(mover *v, wbi_parking why)
{
	v->m->before = v->m->status;
	v->m->parking = why;
	machine_set_status(v->m, WB_SAGA_PARKED);
	v->m->serial++;
	move_act(v, WBI_ACTION_NO_TIMER, v->m->current, 0, 0);
}

static void move_tell(mover *v, wbi_op op)
{
	uint32_t i = v->m->current;
	wbi_machine_step *s = &v->m->steps[i];
	uint32_t n = op == WBI_OP_UNDO ? ++s->undo_attempts : ++s->attempts;

	move_act(v, WBI_ACTION_TELL, i, op, n);
	move_act(v, WBI_ACTION_DEADLINE, i, op, n);
}

/* The next step that has not begun; or the end. */
static void move_on(mover *v)
{
	wbi_machine *m = v->m;

	for (uint32_t i = m->current; i < m->count; i++) {
		if (m->steps[i].at != WBI_AT_NONE)
			continue;
		m->current = i;
		machine_set_at(m, i, WBI_AT_ASKED);
		move_tell(v, WBI_OP_DO);
		return;
	}
	move_end(v, WB_SAGA_COMPLETED);
}

static bool move_took_effect(const wbi_machine_step *step)
{
	return step->at == WBI_AT_DONE || step->at == WBI_AT_UNKNOWN;
}

/* Backwards to the next one that took effect, or may have; or the end. */
static void move_back(mover *v)
{
	wbi_machine *m = v->m;

	for (uint32_t i = m->current + 1; i-- > 0;) {
		if (!move_took_effect(&m->steps[i]) ||
		    !wbi_step_has_undo(&v->saga->steps[i]))
			continue;
		m->current = i;
		machine_set_at(m, i, WBI_AT_UNDOING);
		move_tell(v, WBI_OP_UNDO);
		return;
	}
	m->current = 0;
	move_end(v, WB_SAGA_COMPENSATED);
}

static void move_compensate(mover *v)
{
	machine_set_status(v->m, WB_SAGA_COMPENSATING);
	v->m->epoch++;
	move_back(v);
}

/* Its outcome will not be known any more: where does that leave the saga? */
static void move_unknown(mover *v)
{
	const wb_step *step = &v->saga->steps[v->m->current];

	if (step->kind == WB_RETRIABLE)
		move_park(v, WBI_PARKING_ACTION);
	else if (step->kind == WB_PIVOT && !wbi_step_has_undo(step))
		move_park(v, WBI_PARKING_UNKNOWN);
	else
		move_compensate(v);
}

static void move_probe(mover *v)
{
	wbi_machine_step *s = &v->m->steps[v->m->current];

	if (!v->saga->steps[v->m->current].probe) {
		move_unknown(v);
		return;
	}
	machine_set_at(v->m, v->m->current, WBI_AT_PROBING);
	s->attempts = 0;
	move_tell(v, WBI_OP_PROBE);
}

static bool machine_past_pivot(const mover *v)
{
	for (uint32_t i = 0; i < v->m->count; i++)
		if (v->saga->steps[i].kind == WB_PIVOT)
			return v->m->steps[i].at == WBI_AT_DONE;
	return false;
}

/* ---- answers ------------------------------------------------------------- */

static void answer_rejected(mover *v)
{
	wbi_machine *m = v->m;

	if (v->saga->steps[m->current].kind == WB_RETRIABLE &&
	    m->steps[m->current].at != WBI_AT_PROBING) {
		/* It must not say no: try again, then ask somebody. */
		if (m->steps[m->current].attempts <
		    wbi_step_attempts(&v->saga->steps[m->current], WBI_OP_DO)) {
			if (m->steps[m->current].at == WBI_AT_PENDING)
				machine_set_at(m, m->current, WBI_AT_ASKED);
			if (m->steps[m->current].at != WBI_AT_WAITING)
				machine_set_at(m, m->current, WBI_AT_WAITING);
			move_act(v, WBI_ACTION_BACKOFF, m->current, WBI_OP_DO,
				 m->steps[m->current].attempts);
			return;
		}
		move_park(v, WBI_PARKING_ACTION);
		return;
	}
	machine_set_at(m, m->current, WBI_AT_REJECTED);
	move_compensate(v);
}

/* A local step did nothing and wants to be tried again. */
static void answer_retry(mover *v)
{
	wbi_machine *m = v->m;
	const wb_step *step = &v->saga->steps[m->current];

	if (m->steps[m->current].attempts <
	    wbi_step_attempts(step, WBI_OP_DO)) {
		machine_set_at(m, m->current, WBI_AT_WAITING);
		move_act(v, WBI_ACTION_BACKOFF, m->current, WBI_OP_DO,
			 m->steps[m->current].attempts);
	} else if (step->kind == WB_RETRIABLE) {
		move_park(v, WBI_PARKING_ACTION);
	} else {
		machine_set_at(m, m->current, WBI_AT_REJECTED);
		move_compensate(v);
	}
}

static wbi_verdict answer_do(mover *v, const wbi_input *in)
{
	wbi_machine *m = v->m;
	uint8_t at = m->steps[m->current].at;
	bool local = wbi_step_is_local(&v->saga->steps[m->current], WBI_OP_DO);

	if (m->status != WB_SAGA_RUNNING)
		return WBI_VERDICT_STALE;
	/* Only a participant can answer later, only we can have done nothing.
	 */
	if (in->outcome == (local ? WBI_OUTCOME_PENDING : WBI_OUTCOME_RETRY))
		return WBI_VERDICT_STALE;
	if (at != WBI_AT_ASKED && at != WBI_AT_PENDING &&
	    at != WBI_AT_WAITING && at != WBI_AT_PROBING)
		return WBI_VERDICT_STALE;
	switch (in->outcome) {
	case WBI_OUTCOME_DONE:
		machine_set_at(m, m->current, WBI_AT_DONE);
		if (m->overdue && !machine_past_pivot(v))
			move_compensate(v);
		else
			move_on(v);
		return WBI_VERDICT_MOVED;
	case WBI_OUTCOME_REJECTED:
		answer_rejected(v);
		return WBI_VERDICT_MOVED;
	case WBI_OUTCOME_PENDING:
		if (at == WBI_AT_PENDING)
			return WBI_VERDICT_STALE;
		if (m->overdue && !machine_past_pivot(v)) {
			machine_set_at(m, m->current, WBI_AT_UNKNOWN);
			move_unknown(v);
			return WBI_VERDICT_MOVED;
		}
		machine_set_at(m, m->current, WBI_AT_PENDING);
		m->serial++;
		move_act(v, WBI_ACTION_NO_TIMER, m->current, WBI_OP_DO, 0);
		return WBI_VERDICT_MOVED;
	case WBI_OUTCOME_RETRY:
		if (at != WBI_AT_ASKED)
			return WBI_VERDICT_STALE;
		answer_retry(v);
		return WBI_VERDICT_MOVED;
	}
	return WBI_VERDICT_STALE;
}

static void undo_again(mover *v)
{
	wbi_machine *m = v->m;

	if (m->steps[m->current].undo_attempts >=
	    wbi_step_attempts(&v->saga->steps[m->current], WBI_OP_UNDO)) {
		move_park(v, WBI_PARKING_UNDO);
		return;
	}
	if (m->steps[m->current].at == WBI_AT_UNDOING)
		machine_set_at(m, m->current, WBI_AT_UNDO_WAITING);
	move_act(v, WBI_ACTION_BACKOFF, m->current, WBI_OP_UNDO,
		 m->steps[m->current].undo_attempts);
}

static wbi_verdict answer_undo(mover *v, const wbi_input *in)
{
	wbi_machine *m = v->m;
	uint8_t at = m->steps[m->current].at;

	if (m->status != WB_SAGA_COMPENSATING)
		return WBI_VERDICT_STALE;
	if (at != WBI_AT_UNDOING && at != WBI_AT_UNDO_WAITING)
		return WBI_VERDICT_STALE;
	if (in->outcome == WBI_OUTCOME_DONE) {
		machine_set_at(m, m->current, WBI_AT_UNDONE);
		move_back(v);
		return WBI_VERDICT_MOVED;
	}
	if (at == WBI_AT_UNDO_WAITING)
		return WBI_VERDICT_STALE;
	undo_again(v);
	return WBI_VERDICT_MOVED;
}

static wbi_verdict machine_answer(mover *v, const wbi_input *in)
{
	wbi_machine *m = v->m;

	if (in->epoch != m->epoch || in->step != m->current)
		return WBI_VERDICT_STALE;
	if (in->op == WBI_OP_UNDO)
		return answer_undo(v, in);
	if (in->op == WBI_OP_PROBE && m->steps[m->current].at != WBI_AT_PROBING)
		return WBI_VERDICT_STALE;
	return answer_do(v, in);
}

/* ---- time ---------------------------------------------------------------- */

/* No answer within the deadline. */
static void timer_asked(mover *v)
{
	wbi_machine *m = v->m;
	wbi_machine_step *s = &m->steps[m->current];

	if (s->attempts <
	    wbi_step_attempts(&v->saga->steps[m->current], WBI_OP_DO)) {
		machine_set_at(m, m->current, WBI_AT_WAITING);
		move_act(v, WBI_ACTION_BACKOFF, m->current, WBI_OP_DO,
			 s->attempts);
		return;
	}
	if (v->saga->steps[m->current].kind == WB_RETRIABLE) {
		move_park(v, WBI_PARKING_ACTION);
		return;
	}
	machine_set_at(m, m->current, WBI_AT_UNKNOWN);
	move_probe(v);
}

static void timer_probing(mover *v)
{
	wbi_machine *m = v->m;

	if (m->steps[m->current].attempts < WBI_ATTEMPTS_DO) {
		move_tell(v, WBI_OP_PROBE);
		return;
	}
	machine_set_at(m, m->current, WBI_AT_UNKNOWN);
	move_unknown(v);
}

static wbi_verdict machine_timer(mover *v, const wbi_input *in)
{
	wbi_machine *m = v->m;

	if (in->serial != m->serial || m->status == WB_SAGA_PARKED)
		return WBI_VERDICT_STALE;
	switch (m->steps[m->current].at) {
	case WBI_AT_ASKED:
		timer_asked(v);
		return WBI_VERDICT_MOVED;
	case WBI_AT_WAITING:
		machine_set_at(m, m->current, WBI_AT_ASKED);
		move_tell(v, WBI_OP_DO);
		return WBI_VERDICT_MOVED;
	case WBI_AT_PROBING:
		timer_probing(v);
		return WBI_VERDICT_MOVED;
	case WBI_AT_UNDOING:
		undo_again(v);
		return WBI_VERDICT_MOVED;
	case WBI_AT_UNDO_WAITING:
		machine_set_at(m, m->current, WBI_AT_UNDOING);
		move_tell(v, WBI_OP_UNDO);
		return WBI_VERDICT_MOVED;
	default:
		return WBI_VERDICT_STALE;
	}
}

/* Leave the present step as it is known to be, to go back. A command that was
 * told may have taken effect; a local step that is not done has not. */
static void machine_give_up_step(mover *v)
{
	wbi_machine *m = v->m;
	wbi_machine_step *s = &m->steps[m->current];

	if (s->at != WBI_AT_ASKED && s->at != WBI_AT_PENDING &&
	    s->at != WBI_AT_WAITING && s->at != WBI_AT_PROBING)
		return;
	if (wbi_step_is_local(&v->saga->steps[m->current], WBI_OP_DO))
		machine_set_at(m, m->current, WBI_AT_NONE);
	else
		machine_set_at(m, m->current, WBI_AT_UNKNOWN);
}

static wbi_verdict machine_deadline(mover *v)
{
	if (v->m->status != WB_SAGA_RUNNING || machine_past_pivot(v))
		return WBI_VERDICT_STALE;
	if (v->m->overdue)
		return WBI_VERDICT_STALE;
	v->m->overdue = true;
	if (v->m->steps[v->m->current].at == WBI_AT_PROBING)
		return WBI_VERDICT_MOVED; /* it is being found out */
	machine_give_up_step(v);
	if (v->m->steps[v->m->current].at == WBI_AT_UNKNOWN)
		move_probe(v);
	else
		move_compensate(v);
	return WBI_VERDICT_MOVED;
}

/* ---- an operator's word -------------------------------------------------- */

static void verb_unpark(mover *v)
{
	if (v->m->status != WB_SAGA_PARKED)
		return;
	machine_set_status(v->m, v->m->before);
	v->m->parking = WBI_PARKING_NONE;
}

/* While it was parked its own deadline may have come and gone; one that goes
 * forward again has it anew. */
static void verb_deadline(mover *v)
{
	if (v->m->status == WB_SAGA_RUNNING && !v->m->overdue &&
	    !machine_past_pivot(v))
		move_act(v, WBI_ACTION_SAGA_DEADLINE, 0, 0, 0);
}

/* Tell it again, whichever way it goes. */
static void verb_again(mover *v)
{
	wbi_machine *m = v->m;
	wbi_machine_step *s = &m->steps[m->current];

	s->attempts = s->undo_attempts = 0;
	if (m->status == WB_SAGA_COMPENSATING) {
		machine_set_at(m, m->current, WBI_AT_UNDOING);
		move_tell(v, WBI_OP_UNDO);
		return;
	}
	if (s->at != WBI_AT_PROBING)
		machine_set_at(m, m->current, WBI_AT_ASKED);
	move_tell(v, s->at == WBI_AT_PROBING ? WBI_OP_PROBE : WBI_OP_DO);
}

static wbi_verdict verb_skip(mover *v, const char **ret_why)
{
	wbi_machine *m = v->m;

	if (m->status != WB_SAGA_PARKED ||
	    m->parking == WBI_PARKING_DEFINITION) {
		*ret_why = "only the step that a saga is parked at can be "
			   "skipped";
		return WBI_VERDICT_ILLEGAL;
	}
	verb_unpark(v);
	m->steps[m->current].skipped = true;
	if (m->status == WB_SAGA_COMPENSATING) {
		machine_set_at(m, m->current, WBI_AT_UNDONE);
		move_back(v);
	} else {
		machine_set_at(m, m->current, WBI_AT_DONE);
		move_on(v);
	}
	return WBI_VERDICT_MOVED;
}

static wbi_verdict verb_compensate(mover *v, const char **ret_why)
{
	wbi_machine *m = v->m;
	bool forward =
		m->status == WB_SAGA_RUNNING ||
		(m->status == WB_SAGA_PARKED && m->before == WB_SAGA_RUNNING);

	if (!forward) {
		*ret_why = "it is being undone already";
		return WBI_VERDICT_ILLEGAL;
	}
	if (machine_past_pivot(v)) {
		*ret_why = "it is past its pivot: there is no way back; retry "
			   "or skip its step, or abandon it";
		return WBI_VERDICT_ILLEGAL;
	}
	verb_unpark(v);
	machine_give_up_step(v);
	move_compensate(v);
	return WBI_VERDICT_MOVED;
}

static wbi_verdict verb_retry(mover *v, const char **ret_why)
{
	wbi_machine *m = v->m;
	uint8_t at = m->steps[m->current].at;
	bool parked = m->status == WB_SAGA_PARKED;

	if (parked && m->parking == WBI_PARKING_DEFINITION) {
		*ret_why = "no module brings its definition: start the worker "
			   "with one that does, then resume it";
		return WBI_VERDICT_ILLEGAL;
	}
	if (m->status == WB_SAGA_RUNNING && at == WBI_AT_PENDING) {
		*ret_why = "its participant has answered: later; nothing to "
			   "retry";
		return WBI_VERDICT_ILLEGAL;
	}
	verb_unpark(v);
	if (parked)
		verb_deadline(v);
	verb_again(v);
	return WBI_VERDICT_MOVED;
}

static wbi_verdict verb_resume(mover *v, const char **ret_why)
{
	wbi_machine *m = v->m;

	if (m->status != WB_SAGA_PARKED ||
	    m->parking != WBI_PARKING_DEFINITION) {
		*ret_why = "only a saga that is parked for want of its "
			   "definition is resumed; retry or skip its step";
		return WBI_VERDICT_ILLEGAL;
	}
	verb_unpark(v);
	verb_deadline(v);
	/* Told again, also if the answer was "later": that which came while it
	 * was parked was not heard, and will be given again. */
	verb_again(v);
	return WBI_VERDICT_MOVED;
}

static wbi_verdict machine_verb(mover *v, const wbi_input *in,
				const char **ret_why)
{
	uint8_t status = v->m->status;

	if (status != WB_SAGA_RUNNING && status != WB_SAGA_COMPENSATING &&
	    status != WB_SAGA_PARKED) {
		*ret_why = "it has ended";
		return WBI_VERDICT_ILLEGAL;
	}
	switch (in->verb) {
	case WBI_VERB_RETRY:
		return verb_retry(v, ret_why);
	case WBI_VERB_SKIP:
		return verb_skip(v, ret_why);
	case WBI_VERB_COMPENSATE:
		return verb_compensate(v, ret_why);
	case WBI_VERB_RESUME:
		return verb_resume(v, ret_why);
	case WBI_VERB_ABANDON:
		move_end(v, WB_SAGA_ABANDONED);
		return WBI_VERDICT_MOVED;
	}
	*ret_why = "no such verb";
	return WBI_VERDICT_ILLEGAL;
}

/* ---- all of it ----------------------------------------------------------- */

static wbi_verdict machine_move(mover *v, const wbi_input *in,
				const char **ret_why)
{
	wbi_machine *m = v->m;

	if (in->kind != WBI_INPUT_START &&
	    in->kind != WBI_INPUT_NO_DEFINITION && m->status == 0)
		return WBI_VERDICT_STALE;
	switch (in->kind) {
	case WBI_INPUT_START:
		if (m->status != 0)
			return WBI_VERDICT_STALE;
		m->count = (uint32_t)v->saga->count;
		m->epoch = 1;
		machine_set_status(m, WB_SAGA_RUNNING);
		move_act(v, WBI_ACTION_SAGA_DEADLINE, 0, 0, 0);
		move_on(v);
		return WBI_VERDICT_MOVED;
	case WBI_INPUT_ANSWER:
		return machine_answer(v, in);
	case WBI_INPUT_TIMER:
		return machine_timer(v, in);
	case WBI_INPUT_DEADLINE:
		return machine_deadline(v);
	case WBI_INPUT_VERB:
		return machine_verb(v, in, ret_why);
	case WBI_INPUT_NO_DEFINITION:
		if (m->status == 0 && m->count > 0) {
			m->epoch = 1;
			machine_set_status(m, WB_SAGA_RUNNING);
		}
		if (m->status != WB_SAGA_RUNNING &&
		    m->status != WB_SAGA_COMPENSATING)
			return WBI_VERDICT_STALE;
		move_park(v, WBI_PARKING_DEFINITION);
		return WBI_VERDICT_MOVED;
	}
	return WBI_VERDICT_STALE;
}

wbi_verdict wbi_machine_step_by(const wb_saga *saga, wbi_machine *machine,
				const wbi_input *input, wbi_actions *ret,
				const char **ret_why)
{
	wbi_machine next = *machine;
	wbi_actions actions = {.count = 0};
	mover v = {.saga = saga, .m = &next, .actions = &actions};
	wbi_verdict verdict;

	/* What ends or abandons a saga needs no definition. */
	WB_ASSERT(saga || input->kind == WBI_INPUT_NO_DEFINITION ||
		  (input->kind == WBI_INPUT_VERB &&
		   input->verb == WBI_VERB_ABANDON));
	verdict = machine_move(&v, input, ret_why);
	if (verdict != WBI_VERDICT_MOVED)
		return verdict;
	WB_ASSERT(next.current < next.count && next.epoch >= machine->epoch);
	*machine = next;
	*ret = actions;
	return verdict;
}

/* ---- names --------------------------------------------------------------- */

const char *wbi_at_name(uint8_t at)
{
	static const char *const names[WBI_AT_END] = {
		"none",    "asked",        "pending",  "waiting",
		"probing", "done",         "rejected", "unknown",
		"undoing", "undo-waiting", "undone"};

	return at < WBI_AT_END ? names[at] : "unknown";
}

const char *wbi_saga_status_name(uint8_t status)
{
	static const char *const names[] = {
		"new",         "running", "compensating", "completed",
		"compensated", "parked",  "abandoned"};

	return status < WBI_COUNT(names) ? names[status] : "unknown";
}

const char *wbi_parking_name(uint8_t parking)
{
	static const char *const names[] = {"", "action", "undo", "unknown",
					    "definition"};

	return parking < WBI_COUNT(names) ? names[parking] : "unknown";
}

/* ---- the types of commands and of their replies -------------------------- */

bool wbi_command_fits(const char *type)
{
	return !type || strlen(type) <= WBI_COMMAND_TYPE_MAX;
}

void wbi_reply_type(const char *command, char ret[WBI_REPLY_TYPE_MAX + 1])
{
	snprintf(ret, WBI_REPLY_TYPE_MAX + 1, "%.*s.reply",
		 WBI_COMMAND_TYPE_MAX, command);
}
