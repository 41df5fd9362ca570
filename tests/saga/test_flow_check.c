/* SPDX-License-Identifier: BSD-2-Clause */
/* A sound flow, and what is found when one thing in it is changed. */
#include "tests/support/testing.h"

#include <stdio.h>
#include <stdlib.h>

#include <waybill/choreography.h>

enum { ROWS = 7 };

/* The parking flow: create, bill, reserve; and what undoes them. */
static const wb_reaction sound[ROWS] = {
	{"booking", "create", NULL, "booking.created",
	 .awaits = "parking.reserved|parking.unavailable|bill.expired",
	 .within_ms = 90000000},
	{"billing", "bill", "booking.created", "bill.paid", .later = true,
	 .within_ms = 86400000, .silence = "bill.expired"},
	{"parking", "reserve", "bill.paid", "parking.reserved",
	 .refuses = "parking.unavailable"},
	{"booking", "finish", .on = "parking.reserved"},
	{"booking", "fail", "parking.unavailable", .undoes = "create"},
	{"billing", "refund", "parking.unavailable", .undoes = "bill"},
	{"booking", "lapse", "bill.expired", .undoes = "create"},
};

typedef struct findings {
	unsigned errors, warnings;
	char first_rule[32];
	char first_step[65];
} findings;

static void note(void *ctx, const wb_finding *finding)
{
	findings *f = ctx;

	if (finding->warning) {
		f->warnings++;
		return;
	}
	if (f->errors++ == 0) {
		snprintf(f->first_rule, sizeof(f->first_rule), "%s",
			 finding->rule);
		snprintf(f->first_step, sizeof(f->first_step), "%s",
			 finding->step ? finding->step : "");
	}
}

static findings check(const wb_reaction *rows, size_t count, wb_code expected)
{
	wb_flow flow = WB_FLOW_INIT;
	wb_error err = WB_ERROR_INIT;
	findings f = {0};

	flow.name = "parking";
	flow.reactions = rows;
	flow.count = count;
	assert_int_equal(wb_flow_check(&flow, note, &f, &err), expected);
	assert_int_equal(err.code, expected);
	return f;
}

static void a_sound_flow_has_no_findings(void **state)
{
	findings f = check(sound, ROWS, WB_OK);

	(void)state;
	assert_int_equal(f.errors, 0);
	assert_int_equal(f.warnings, 0);
}

/* Without row `missing`. */
static findings check_without(size_t missing)
{
	wb_reaction rows[ROWS];
	size_t count = 0;

	for (size_t i = 0; i < ROWS; i++)
		if (i != missing)
			rows[count++] = sound[i];
	return check(rows, count, WB_EINVAL);
}

static void each_missing_row_is_missed(void **state)
{
	static const struct {
		const char *rule, *step;
	} expected[ROWS] = {
		{"undoes-unknown", "fail"},   /* create */
		{"undoes-unknown", "refund"}, /* bill */
		{"no-emitter", "create"},     /* reserve */
		{NULL, NULL}, /* finish: create still awaits its event */
		{"not-undone", "create"}, /* fail */
		{"not-undone", "bill"},   /* refund */
		{"not-undone", "create"}, /* lapse */
	};

	(void)state;
	for (size_t i = 0; i < ROWS; i++) {
		findings f;

		if (!expected[i].rule)
			continue;
		f = check_without(i);
		assert_string_equal(f.first_rule, expected[i].rule);
		assert_string_equal(f.first_step, expected[i].step);
	}
}

static void assert_rule(const wb_reaction *rows, size_t count, const char *rule,
			const char *step)
{
	findings f = check(rows, count, WB_EINVAL);

	assert_string_equal(f.first_rule, rule);
	assert_string_equal(f.first_step, step);
}

static void each_rule_is_told_by_its_name(void **state)
{
	wb_reaction rows[ROWS];

	(void)state;
	memcpy(rows, sound, sizeof(rows));
	rows[0].within_ms = 0;
	assert_rule(rows, ROWS, "no-deadline", "create");
	memcpy(rows, sound, sizeof(rows));
	rows[1].within_ms = 0;
	assert_rule(rows, ROWS, "no-deadline", "bill");
	memcpy(rows, sound, sizeof(rows));
	rows[3].step = "create";
	assert_rule(rows, ROWS, "name-twice", "create");
	memcpy(rows, sound, sizeof(rows));
	rows[5].service = "parking";
	assert_rule(rows, ROWS, "undoes-foreign", "refund");
	memcpy(rows, sound, sizeof(rows));
	rows[2].emits = "parking.reserved|parking.painted";
	assert_rule(rows, ROWS, "no-listener", "reserve");
	memcpy(rows, sound, sizeof(rows));
	rows[3].on = "parking.painted";
	assert_rule(rows, ROWS, "no-emitter", "finish");
	memcpy(rows, sound, sizeof(rows));
	rows[3].within_ms = 10;
	assert_rule(rows, ROWS, "idle-deadline", "finish");
	memcpy(rows, sound, sizeof(rows));
	rows[6].undoes = "fail";
	assert_rule(rows, ROWS, "undoes-undo", "lapse");
}

static void a_cycle_needs_a_way_out(void **state)
{
	static const wb_reaction endless[] = {
		{"a", "begin", NULL, "ping", .awaits = "pong", .within_ms = 1},
		{"b", "answer", "ping", "pong", .keeps = true},
		{"a", "again", "pong", "ping", .keeps = true},
	};
	wb_reaction ending[4];

	(void)state;
	assert_rule(endless, 3, "endless", "answer");
	memcpy(ending, endless, sizeof(endless));
	ending[1].emits = "pong|enough";
	ending[3] = (wb_reaction){"a", "end", .on = "enough"};
	assert_int_equal(check(ending, 4, WB_OK).errors, 0);
}

static void a_step_beside_the_failing_one_is_undone_too(void **state)
{
	wb_reaction rows[] = {
		{"shop", "order", NULL, "ordered", .awaits = "packed|broke",
		 .within_ms = 1},
		{"mail", "thank", .on = "ordered"},
		{"depot", "pack", "ordered", "packed", .refuses = "broke"},
		{"shop", "fail", "broke", .undoes = "order"},
	};

	(void)state;
	assert_rule(rows, 4, "not-undone", "thank");
	rows[1].keeps = true;
	assert_int_equal(check(rows, 4, WB_OK).errors, 0);
}

static void what_is_no_graph_is_refused(void **state)
{
	wb_reaction rows[ROWS];
	wb_flow flow = WB_FLOW_INIT;
	wb_error err = WB_ERROR_INIT;

	(void)state;
	assert_int_equal(wb_flow_check(NULL, NULL, NULL, &err), WB_EINVAL);
	wb_error_clear(&err);
	flow.name = "Parking";
	flow.reactions = rows;
	flow.count = ROWS;
	memcpy(rows, sound, sizeof(rows));
	assert_int_equal(wb_flow_check(&flow, NULL, NULL, &err), WB_EINVAL);
	wb_error_clear(&err);
	flow.name = "parking";
	rows[2].emits = "parking.*";
	assert_int_equal(wb_flow_check(&flow, NULL, NULL, &err), WB_EINVAL);
	assert_non_null(strstr(err.text, "row 3 (step reserve)"));
	wb_error_clear(&err);
	rows[2].emits = "a||b";
	assert_int_equal(wb_flow_check(&flow, NULL, NULL, &err), WB_EINVAL);
	wb_error_clear(&err);
	flow.count = 0;
	assert_int_equal(wb_flow_check(&flow, NULL, NULL, &err), WB_EINVAL);
}

static void a_flow_is_drawn_in_both_languages(void **state)
{
	wb_flow flow = WB_FLOW_INIT;
	wb_error err = WB_ERROR_INIT;
	char *text = NULL;

	(void)state;
	flow.name = "parking";
	flow.reactions = sound;
	flow.count = ROWS;
	assert_int_equal(wb_flow_graph(&flow, WB_GRAPH_MERMAID, &text, &err),
			 WB_OK);
	assert_non_null(strstr(text, "flowchart LR\n"));
	assert_non_null(strstr(text, "r0 -- \"booking.created\" --> r1\n"));
	assert_non_null(strstr(text, "r2 -. \"parking.unavailable\" .-> r4\n"));
	assert_non_null(strstr(text, "r5 -. undoes .-> r1\n"));
	free(text);
	assert_int_equal(wb_flow_graph(&flow, WB_GRAPH_DOT, &text, &err),
			 WB_OK);
	assert_non_null(strstr(text, "digraph \"parking\" {\n"));
	assert_non_null(strstr(text, "r0 -> r1 [label=\"booking.created\"]"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sound_flow_has_no_findings),
		cmocka_unit_test(each_missing_row_is_missed),
		cmocka_unit_test(each_rule_is_told_by_its_name),
		cmocka_unit_test(a_cycle_needs_a_way_out),
		cmocka_unit_test(a_step_beside_the_failing_one_is_undone_too),
		cmocka_unit_test(what_is_no_graph_is_refused),
		cmocka_unit_test(a_flow_is_drawn_in_both_languages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
