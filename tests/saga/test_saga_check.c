/* SPDX-License-Identifier: BSD-2-Clause */
/* A sound definition, 200 and more that are not, and the reason of each. */
#include "tests/support/testing.h"

#include <stdio.h>
#include <stdlib.h>

#include <waybill/saga.h>

enum { STEPS = 5 };

static wb_code local(wb_call *call, wb_error *err)
{
	(void)call;
	(void)err;
	return WB_OK;
}

static const wb_step sound[STEPS] = {
	{"create", .run = local, .run_undo = local},
	{"block", .command = "parking.block", .undo = "parking.unblock"},
	{"pay", .command = "billing.authorize", .undo = "billing.refund",
	 .probe = "billing.status"},
	{"reserve", WB_PIVOT, .command = "parking.reserve",
	 .probe = "parking.status"},
	{"finish", WB_RETRIABLE, .run = local},
};

static const char *const commands[] = {"parking.block",     "parking.unblock",
				       "parking.reserve",   "parking.status",
				       "billing.authorize", "billing.refund",
				       "billing.status"};

typedef struct findings {
	unsigned errors;
	char rules[8][32];
} findings;

static void note(void *ctx, const wb_finding *finding)
{
	findings *f = ctx;

	assert_true(strlen(finding->text) > 20);
	if (finding->warning)
		return;
	if (f->errors < 8)
		snprintf(f->rules[f->errors], sizeof(f->rules[0]), "%s",
			 finding->rule);
	f->errors++;
}

static findings check(const wb_step *steps, size_t count, uint64_t deadline_ms)
{
	wb_saga saga = WB_SAGA_INIT;
	wb_error err = WB_ERROR_INIT;
	findings f = {0};
	wb_code code;

	saga.name = "booking";
	saga.steps = steps;
	saga.count = count;
	saga.deadline_ms = deadline_ms;
	code = wb_saga_check(&saga, commands,
			     sizeof(commands) / sizeof(commands[0]), note, &f,
			     &err);
	assert_int_equal(code, f.errors ? WB_EINVAL : WB_OK);
	assert_int_equal(err.code, code);
	return f;
}

static bool has(const findings *f, const char *rule)
{
	for (unsigned i = 0; i < f->errors && i < 8; i++)
		if (!strcmp(f->rules[i], rule))
			return true;
	return false;
}

static void a_sound_definition_has_no_findings(void **state)
{
	(void)state;
	assert_int_equal(check(sound, STEPS, 0).errors, 0);
}

/* Ways to break one step; `at` must be one of those it is meant for. */
typedef struct breakage {
	const char *rule;
	void (*apply)(wb_step *step);
	unsigned where; /* bit per step */
} breakage;

static void break_both(wb_step *s)
{
	s->command = "parking.block";
	s->run = local;
}
static void break_neither(wb_step *s)
{
	s->command = NULL;
	s->run = NULL;
	s->probe = NULL;
}
static void break_undos(wb_step *s)
{
	s->undo = "parking.unblock";
	s->run_undo = local;
}
static void break_no_undo(wb_step *s)
{
	s->undo = NULL;
	s->run_undo = NULL;
}
static void break_kept(wb_step *s)
{
	s->keeps = true;
}
static void break_probe(wb_step *s)
{
	s->probe = "billing.status";
}
static void break_type(wb_step *s)
{
	s->command = "parking.*";
}
static void break_unknown(wb_step *s)
{
	s->command = "parking.paint";
}
static void break_pivot(wb_step *s)
{
	s->kind = WB_PIVOT;
}
static void break_early(wb_step *s)
{
	s->kind = WB_RETRIABLE;
}
static void break_late(wb_step *s)
{
	s->kind = WB_COMPENSABLE;
}
static void break_name(wb_step *s)
{
	s->name = "pay";
}
static void break_backoff(wb_step *s)
{
	s->backoff_min_ms = 5;
	s->backoff_max_ms = 4;
}
static void break_time(wb_step *s)
{
	s->deadline_ms = 90000000;
}

static const breakage breakages[] = {
	{"two-actions", break_both, 0x1f},
	{"no-action", break_neither, 0x1f},
	{"two-undos", break_undos, 0x1f},
	{"no-undo", break_no_undo, 0x07},
	{"kept-undo", break_kept, 0x07},
	{"local-probe", break_probe, 0x11},
	{"bad-type", break_type, 0x0e},
	{"no-participant", break_unknown, 0x0e},
	{"two-pivots", break_pivot, 0x17},
	{"retriable-before-pivot", break_early, 0x07},
	{"refused-behind-pivot", break_late, 0x10},
	{"name-twice", break_name, 0x1b},
	{"backoff", break_backoff, 0x1f},
	{"deadlines", break_time, 0x0f},
};

enum { BREAKAGES = sizeof(breakages) / sizeof(breakages[0]) };

/* Each alone in each place, then every two of them in different steps. */
static void each_bad_definition_is_refused_with_its_reason(void **state)
{
	unsigned made = 0;

	(void)state;
	for (int a = 0; a < BREAKAGES * STEPS; a++) {
		const breakage *one = &breakages[a / STEPS];
		int at = a % STEPS;

		if (!(one->where & 1u << at))
			continue;
		for (int b = -1; b < BREAKAGES * STEPS; b++) {
			wb_step steps[STEPS];
			findings f;

			memcpy(steps, sound, sizeof(steps));
			one->apply(&steps[at]);
			if (b >= 0) {
				const breakage *two = &breakages[b / STEPS];

				if (b % STEPS == at ||
				    !(two->where & 1u << b % STEPS))
					continue;
				two->apply(&steps[b % STEPS]);
			}
			f = check(steps, STEPS, 0);
			assert_true(f.errors > 0);
			/* Another pivot may change what a place means. */
			if (b < 0)
				assert_true(has(&f, one->rule));
			made++;
		}
	}
	assert_true(made >= 200);
	print_message("%u bad definitions refused\n", made);
}

static void a_definition_without_a_frame_is_refused(void **state)
{
	wb_saga saga = WB_SAGA_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_step nameless = {NULL, .run = local, .keeps = true};

	(void)state;
	assert_int_equal(wb_saga_check(NULL, NULL, 0, NULL, NULL, NULL),
			 WB_EINVAL);
	saga.name = "Booking";
	assert_int_equal(wb_saga_check(&saga, NULL, 0, NULL, NULL, NULL),
			 WB_EINVAL);
	saga.name = "booking";
	assert_int_equal(wb_saga_check(&saga, NULL, 0, NULL, NULL, &err),
			 WB_EINVAL);
	assert_non_null(strstr(err.text, "0 steps"));
	saga.steps = &nameless;
	saga.count = 1;
	assert_int_equal(wb_saga_check(&saga, NULL, 0, NULL, NULL, NULL),
			 WB_EINVAL);
}

static void a_definition_is_drawn_in_both_languages(void **state)
{
	wb_saga saga = WB_SAGA_INIT;
	wb_error err = WB_ERROR_INIT;
	char *text = NULL;

	(void)state;
	saga.name = "booking";
	saga.steps = sound;
	saga.count = STEPS;
	assert_ok(wb_saga_graph(&saga, WB_GRAPH_MERMAID, &text, &err), err);
	assert_non_null(
		strstr(text, "s3[\"reserve (pivot)<br>parking.reserve"));
	assert_non_null(strstr(text, "  s2 -.-> u2\n"));
	free(text);
	assert_ok(wb_saga_graph(&saga, WB_GRAPH_DOT, &text, &err), err);
	assert_non_null(strstr(text, "\ts0 -> s1;\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sound_definition_has_no_findings),
		cmocka_unit_test(
			each_bad_definition_is_refused_with_its_reason),
		cmocka_unit_test(a_definition_without_a_frame_is_refused),
		cmocka_unit_test(a_definition_is_drawn_in_both_languages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
