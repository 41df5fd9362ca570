/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What cannot work in a saga's definition, found before one runs. Each rule
 * explains what it finds: what is wrong, why it matters, the cure.
 *
 * Pure: reads static data, keeps nothing, any thread.
 */
#include <inttypes.h>

#include "lib/base/error.h"
#include "saga/finding.h"
#include "saga/machine.h"

enum { CHECK_NAME_MAX = 48, CHECK_STEP_MAX = 64 };

#define CHECK_DAY_MS UINT64_C(86400000)

typedef struct saga_check {
	const wb_saga *saga;
	const char *const *commands;
	size_t command_count;
	int pivot; /* -1: none */
	wbi_findings findings;
} saga_check;

static bool check_name(const char *name, size_t max)
{
	size_t len = name ? strlen(name) : 0;

	return len > 0 && len <= max &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static bool check_type(const char *type)
{
	size_t len = strlen(type);

	return len > 0 && len <= WBI_COMMAND_TYPE_MAX && !strpbrk(type, "*#");
}

static void check_types(saga_check *c, const wb_step *step)
{
	const char *const types[] = {step->command, step->undo, step->probe};

	for (size_t i = 0; i < 3; i++) {
		bool known = c->command_count == 0;

		if (!types[i])
			continue;
		if (!check_type(types[i])) {
			wbi_found(&c->findings, "bad-type", step->name,
				  "%s: \"%.64s\" is no command: 1 to %d bytes, "
				  "no pattern",
				  step->name, types[i], WBI_COMMAND_TYPE_MAX);
			continue;
		}
		for (size_t n = 0; n < c->command_count && !known; n++)
			known = !strcmp(c->commands[n], types[i]);
		if (!known)
			wbi_found(
				&c->findings, "no-participant", step->name,
				"%s sends %s, which no participant of the "
				"given modules answers: it would wait for its "
				"deadline each time",
				step->name, types[i]);
	}
}

static void check_shape(saga_check *c, const wb_step *step)
{
	if (!step->command == !step->run)
		wbi_found(&c->findings, step->run ? "two-actions" : "no-action",
			  step->name,
			  "%s needs either a command or a function to run, and "
			  "has %s",
			  step->name, step->run ? "both" : "neither");
	if (step->undo && step->run_undo)
		wbi_found(&c->findings, "two-undos", step->name,
			  "%s has a command and a function to undo it: one of "
			  "them",
			  step->name);
	if (step->keeps && wbi_step_has_undo(step))
		wbi_found(&c->findings, "kept-undo", step->name,
			  "%s keeps its effect and has an undo: one of them",
			  step->name);
	if (step->probe && !step->command)
		wbi_found(
			&c->findings, "local-probe", step->name,
			"%s runs here, so what became of it is known: no probe",
			step->name);
	if (step->backoff_min_ms && step->backoff_max_ms &&
	    step->backoff_min_ms > step->backoff_max_ms)
		wbi_found(
			&c->findings, "backoff", step->name,
			"%s: backoff_min_ms %u is more than backoff_max_ms %u",
			step->name, step->backoff_min_ms, step->backoff_max_ms);
}

static void check_kind(saga_check *c, int at)
{
	const wb_step *step = &c->saga->steps[at];
	bool behind = c->pivot >= 0 && at > c->pivot;

	if ((unsigned)step->kind > WB_RETRIABLE)
		wbi_found(&c->findings, "bad-kind", step->name,
			  "%s: %d is no kind of step", step->name,
			  (int)step->kind);
	else if (step->kind == WB_PIVOT && at != c->pivot)
		wbi_found(&c->findings, "two-pivots", step->name,
			  "%s and %s are both the pivot: behind the first one "
			  "nothing may be refused any more",
			  c->saga->steps[c->pivot].name, step->name);
	else if (behind && step->kind == WB_COMPENSABLE)
		wbi_found(
			&c->findings, "refused-behind-pivot", step->name,
			"%s stands behind the pivot %s and may be refused: "
			"there is no way back then; make it RETRIABLE, or put "
			"it before the pivot",
			step->name, c->saga->steps[c->pivot].name);
	else if (!behind && c->pivot >= 0 && step->kind == WB_RETRIABLE)
		wbi_found(&c->findings, "retriable-before-pivot", step->name,
			  "%s is RETRIABLE and stands before the pivot %s: if "
			  "that is refused, %s must be undone; make it "
			  "COMPENSABLE",
			  step->name, c->saga->steps[c->pivot].name,
			  step->name);
	else if (step->kind == WB_COMPENSABLE && !step->keeps &&
		 !wbi_step_has_undo(step))
		wbi_found(&c->findings, "no-undo", step->name,
			  "%s has no undo: if a later step is refused, its "
			  "effect stays; give it one, or declare that it keeps",
			  step->name);
	else if (step->kind == WB_RETRIABLE && wbi_step_has_undo(step))
		wbi_warn(&c->findings, "idle-undo", step->name,
			 "%s is RETRIABLE: its undo is never used", step->name);
	else if (step->kind == WB_PIVOT && step->command && !step->probe &&
		 !wbi_step_has_undo(step))
		wbi_warn(&c->findings, "unprobed-pivot", step->name,
			 "%s is the pivot without a probe or an undo: if its "
			 "answer never comes, the saga parks for an operator",
			 step->name);
}

static void check_twice(saga_check *c, int at)
{
	for (int i = 0; i < at; i++)
		if (!strcmp(c->saga->steps[i].name, c->saga->steps[at].name))
			wbi_found(
				&c->findings, "name-twice",
				c->saga->steps[at].name,
				"steps %d and %d are both called %s; replies "
				"and barriers tell them apart by name: rename "
				"one",
				i + 1, at + 1, c->saga->steps[at].name);
}

/* The longest that an action may take: all attempts, and the pauses between
 * them. */
static uint64_t check_longest_ms(const wb_step *step)
{
	uint64_t deadline = step->deadline_ms ? step->deadline_ms : 30000;
	uint64_t pause = step->backoff_min_ms ? step->backoff_min_ms : 1000;
	uint64_t most = step->backoff_max_ms ? step->backoff_max_ms : 60000;
	uint32_t attempts = wbi_step_attempts(step, WBI_OP_DO);
	uint64_t sum = deadline * attempts;

	for (uint32_t i = 1; i < attempts && i < 1000; i++) {
		sum += pause < most ? pause : most;
		if (pause < most)
			pause *= 2;
	}
	return sum;
}

static void check_deadlines(saga_check *c)
{
	const wb_saga *saga = c->saga;
	uint64_t whole = saga->deadline_ms ? saga->deadline_ms : CHECK_DAY_MS;
	uint64_t sum = 0;

	for (size_t i = 0; i < saga->count; i++) {
		if (saga->steps[i].kind == WB_RETRIABLE)
			continue; /* behind the pivot it no longer counts */
		sum += check_longest_ms(&saga->steps[i]);
		if (sum > whole) {
			wbi_found(
				&c->findings, "deadlines", saga->steps[i].name,
				"up to %s the steps may take %" PRIu64
				" ms with all their attempts, the saga only "
				"%" PRIu64 ": it would be undone while a step "
				"is still within its rights",
				saga->steps[i].name, sum, whole);
			return;
		}
	}
}

static wb_code check_frame(const wb_saga *saga, wb_error *err)
{
	if (!saga || saga->size != sizeof(*saga))
		return WBI_FAIL(err, WB_EINVAL,
				"saga: start from WB_SAGA_INIT");
	if (!check_name(saga->name, CHECK_NAME_MAX))
		return WBI_FAIL(err, WB_EINVAL,
				"saga: it needs a name of 1 to %d of a-z 0-9 "
				". _ -",
				CHECK_NAME_MAX);
	if (!saga->steps || saga->count == 0 ||
	    saga->count > WBI_SAGA_STEPS_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"saga %s: %zu steps; 1 to %d are possible",
				saga->name, saga->count, WBI_SAGA_STEPS_MAX);
	for (size_t i = 0; i < saga->count; i++)
		if (!check_name(saga->steps[i].name, CHECK_STEP_MAX))
			return WBI_FAIL(
				err, WB_EINVAL,
				"saga %s: step %zu needs a name of 1 to "
				"%d of a-z 0-9 . _ -",
				saga->name, i + 1, CHECK_STEP_MAX);
	return WB_OK;
}

wb_code wb_saga_check(const wb_saga *saga, const char *const *commands,
		      size_t count, wb_finding_fn found, void *ctx,
		      wb_error *err)
{
	saga_check c = {.saga = saga,
			.commands = commands,
			.command_count = commands ? count : 0,
			.pivot = -1};
	wb_code code = check_frame(saga, err);

	if (code != WB_OK)
		return code;
	wbi_findings_init(&c.findings, "saga", found, ctx, err);
	c.findings.name = saga->name;
	for (int i = (int)saga->count - 1; i >= 0; i--)
		if (saga->steps[i].kind == WB_PIVOT)
			c.pivot = i;
	for (int i = 0; i < (int)saga->count; i++) {
		check_twice(&c, i);
		check_shape(&c, &saga->steps[i]);
		check_types(&c, &saga->steps[i]);
		check_kind(&c, i);
	}
	check_deadlines(&c);
	return wbi_findings_result(&c.findings);
}
