/* SPDX-License-Identifier: BSD-2-Clause */
/* What is not even a table of a flow, said with its row; and names with marks
 * in them that a drawing must not take for its own. */
#include "tests/support/testing.h"

#include <stdlib.h>
#include <string.h>

#include <waybill/choreography.h>
#include <waybill/saga.h>

#include "saga/flow.h"

static void assert_refused(const wb_flow *flow, const char *text)
{
	wb_error err = WB_ERROR_INIT;

	assert_int_equal(wb_flow_check(flow, NULL, NULL, &err), WB_EINVAL);
	if (!strstr(err.text, text))
		fail_msg("not \"%s\", but \"%s\"", text, err.text);
}

static void a_table_says_what_is_wrong_with_it(void **state)
{
	static wb_reaction rows[] = {
		{.service = "a", .step = "one", .emits = "x"},
		{.service = "b", .step = "two", .on = "x"}};
	static wb_flow flow = {sizeof(flow), "f", rows, 2, 0};
	static const char *const names[] = {NULL, "", "One", "a b"};
	char longer[400];

	(void)state;
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_refused(NULL, "WB_FLOW_INIT");
	flow.size = 1;
	assert_refused(&flow, "WB_FLOW_INIT");
	flow.size = sizeof(flow);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		flow.name = names[i];
		assert_refused(&flow, "a name of 1 to 48");
		flow.name = "f";
		rows[1].step = names[i];
		assert_refused(&flow, "row 2: its step needs a name");
		rows[1].step = "two";
	}
	flow.name = rows[1].step = longer;
	assert_refused(&flow, "a name of 1 to 48");
	flow.name = "f";
	assert_refused(&flow, "row 2: its step needs a name");
	rows[1].step = "two";
	rows[1].service = NULL;
	assert_refused(&flow, "row 2 (step two): it names no service");
	rows[1].service = longer;
	assert_refused(&flow, "row 2 (step two): it names no service");
	rows[1].service = "b";
	flow.count = 0;
	assert_refused(&flow, "0 rows");
	flow.count = WBI_FLOW_ROWS_MAX + 1;
	assert_refused(&flow, "257 rows");
	flow.count = 2;
	flow.reactions = NULL;
	assert_refused(&flow, "2 rows");
}

static void a_type_says_what_is_wrong_with_it(void **state)
{
	static wb_reaction rows[] = {
		{.service = "a", .step = "one", .emits = "x"},
		{.service = "b", .step = "two", .on = "x"}};
	static const wb_flow flow = {sizeof(flow), "f", rows, 2, 0};
	char longer[400], many[(WBI_FLOW_EVENTS_MAX + 1) * 5 + 1] = "";
	const char *const bad[] = {"", "x.*", "#", longer};

	(void)state;
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		rows[0].emits = bad[i];
		assert_refused(&flow, "is no event type");
		rows[0].emits = "x";
		rows[1].silence = bad[i];
		assert_refused(&flow, "row 2 (step two)");
		rows[1].silence = NULL;
	}
	for (int i = 0; i <= WBI_FLOW_EVENTS_MAX; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many),
			 "%se%03d", i ? "|" : "", i);
	rows[0].emits = many;
	assert_refused(&flow, "more than 512 event types");
	wbi_flow_free(NULL);
}

static void a_drawing_takes_no_name_for_its_own_marks(void **state)
{
	static const wb_step steps[] = {
		{"s", .command = "a\"b\\c|d\ne", .undo = "u|v"}};
	static const wb_saga saga = {
		.size = sizeof(saga), .name = "s", .steps = steps, .count = 1};
	wb_error err = WB_ERROR_INIT;
	char *text = NULL;

	(void)state;
	assert_ok(wb_saga_graph(&saga, WB_GRAPH_DOT, &text, &err), err);
	assert_non_null(strstr(text, "a\\\"b\\\\c|de"));
	free(text);
	assert_ok(wb_saga_graph(&saga, WB_GRAPH_MERMAID, &text, &err), err);
	assert_non_null(strstr(text, "a#quot;b\\c#124;de"));
	assert_non_null(strstr(text, "u#124;v"));
	free(text);
	assert_code(wb_saga_graph(NULL, WB_GRAPH_DOT, &text, &err), WB_EINVAL,
		    err);
	assert_code(wb_flow_graph(NULL, WB_GRAPH_DOT, &text, &err), WB_EINVAL,
		    err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_says_what_is_wrong_with_it),
		cmocka_unit_test(a_type_says_what_is_wrong_with_it),
		cmocka_unit_test(a_drawing_takes_no_name_for_its_own_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
