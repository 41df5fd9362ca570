/* SPDX-License-Identifier: BSD-2-Clause */
/* Where something stands: as near as can be told. */
#include "tests/support/testing.h"

#include <string.h>

#include "lib/base/assert.h"
#include "lib/config/where.h"

/* Steps: a word is a key, a digit an index. */
static wbi_yaml_path path_of(const char *steps)
{
	wbi_yaml_path path = {.count = 0};
	char text[64], *rest = text, *step;

	snprintf(text, sizeof(text), "%s", steps);
	while ((step = strsep(&rest, " ")) && *step) {
		if (*step >= '0' && *step <= '9')
			wbi_yaml_path_index(&path, (size_t)(*step - '0'));
		else
			wbi_yaml_path_key(&path, step);
	}
	return path;
}

static void what_is_not_there_is_the_nearest_thing_above(void **state)
{
	static const char yaml[] = "store: /x\n"
				   "queues:\n"
				   "  - name: a\n"
				   "    bind: [e, f]\n"
				   "  - name: b\n"
				   "    name: c\n"
				   "? [odd]\n"
				   ": key\n";
	static const struct {
		const char *steps;
		size_t line, column;
	} cases[] = {
		{"", 1, 1},
		{"store", 1, 1},
		{"none", 1, 1},
		{"0", 1, 1}, /* a mapping has no numbers */
		{"queues", 2, 1},
		{"queues 0", 3, 5},
		{"queues 0 name", 3, 5},
		{"queues 0 bind 1", 4, 15},
		{"queues 0 bind 9", 4, 5},
		{"queues 0 bind word", 4, 5}, /* a sequence has no keys */
		{"queues 1 name", 6, 5},      /* the last of them */
		{"queues 7", 2, 1},
		{"store deeper still", 1, 1},
		{"queues 0 name 0 0 0 0 0 0 0 0", 3, 5},
		{"queues 0 name a b c d e f g h", 3, 5},
	};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wbi_yaml_path path = path_of(cases[i].steps);
		const char *problem = "?";
		size_t line = 0, column = 0;

		assert_in_range(path.count, 0, WBI_YAML_PATH_MAX);
		wbi_yaml_where(wb_str_from(yaml), &path, &line, &column,
			       &problem);
		if (line != cases[i].line || column != cases[i].column)
			fail_msg("\"%s\": %zu:%zu", cases[i].steps, line,
				 column);
		assert_null(problem);
	}
}

static void a_text_that_is_no_yaml_says_so(void **state)
{
	wbi_yaml_path path = path_of("store");
	const char *problem = NULL;
	size_t line, column;

	(void)state;
	wbi_yaml_where(S("store: /x\nqueues: [\n"), &path, &line, &column,
		       &problem);
	assert_non_null(problem);
	assert_int_equal(line, 3);
	wbi_yaml_where(S("a: \xff\n"), &path, &line, &column, &problem);
	assert_non_null(problem);
	wbi_yaml_where(S(""), &path, &line, &column, &problem);
	assert_null(problem);
	assert_int_equal(line, 1);
	assert_int_equal(column, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_there_is_the_nearest_thing_above),
		cmocka_unit_test(a_text_that_is_no_yaml_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
