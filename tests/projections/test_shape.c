/* SPDX-License-Identifier: BSD-2-Clause */
/* What is no declaration of a projection, and what makes two of them differ. */
#include "tests/support/testing.h"

#include <string.h>

#include <waybill/projection.h>

#include "projections/shape.h"

static wb_code apply(wb_model *model, const wb_event *event, wb_error *err)
{
	(void)model;
	(void)event;
	(void)err;
	return WB_OK;
}

static wb_code keys(wb_index_keys *ret, wb_str key, wb_str value, wb_error *err)
{
	(void)value;
	return wb_index_key_add(ret, key, err);
}

static const char *const types[] = {"thing.*", NULL};
static const wb_model_index indexes[] = {{"by_name", keys}, {"by_day", keys}};
static const wb_model_table tables[] = {{"things", "text/plain", indexes, 2},
					{"days", NULL, NULL, 0}};
static const wb_projection good = {.size = sizeof(good),
				   .name = "things",
				   .version = 1,
				   .source = WB_PROJECTION_OUTBOX,
				   .types = types,
				   .tables = tables,
				   .table_count = 2,
				   .on_error = WB_ON_ERROR_STOP,
				   .apply = apply};

static void assert_refused(const wb_projection *p, const char *text)
{
	wb_error err = WB_ERROR_INIT;

	assert_code(wb_projection_check(p, NULL), WB_EINVAL, err);
	assert_int_equal(wb_projection_check(p, &err), WB_EINVAL);
	if (!strstr(err.text, text))
		fail_msg("not \"%s\", but \"%s\"", text, err.text);
}

static char longer[130]; /* than any name, or a content type */

static int setup(void **state)
{
	(void)state;
	memset(longer, 'a', sizeof(longer) - 1);
	return 0;
}

static void a_declaration_says_what_is_wrong_with_it(void **state)
{
	static const char *const bad[] = {NULL, "", ".a", "A", "a/b", longer};
	wb_projection p = good;
	wb_error err = WB_ERROR_INIT;

	(void)state;
	assert_ok(wb_projection_check(&good, &err), err);
	assert_refused(NULL, "size is 0");
	p.size = 1;
	assert_refused(&p, "size is 1");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		p = good;
		p.name = bad[i];
		assert_refused(&p, "1 to 64 of a-z");
	}
	p = good;
	p.version = 0;
	assert_refused(&p, "version is 0");
	p = good;
	p.source = (wb_projection_source)0;
	assert_refused(&p, "source is 0");
	p.source = (wb_projection_source)4;
	assert_refused(&p, "source is 4");
	p = good;
	p.apply = NULL;
	assert_refused(&p, "apply is NULL");
	p = good;
	p.on_error = (wb_on_error)0;
	assert_refused(&p, "there is no default");
}

static void types_say_what_is_wrong_with_them(void **state)
{
	static const char *const bad[] = {"thing.*", "th#ing", NULL};
	static const char *const none[] = {NULL};
	const char *many[WBI_MODEL_TYPES_MAX + 2] = {NULL};
	wb_error err = WB_ERROR_INIT;
	wb_projection p = good;

	(void)state;
	p.types = NULL;
	assert_refused(&p, "types is empty");
	p.types = none;
	assert_refused(&p, "types is empty");
	p.types = bad;
	assert_refused(&p, "type \"th#ing\"");
	p.types = many;
	for (size_t i = 0; i < WBI_MODEL_TYPES_MAX; i++)
		many[i] = "thing.seen";
	assert_ok(wb_projection_check(&p, &err), err);
	many[WBI_MODEL_TYPES_MAX] = "thing.gone";
	assert_refused(&p, "over 64 types");
}

static void tables_say_what_is_wrong_with_them(void **state)
{
	wb_model_table wrong[3] = {tables[0], tables[1], tables[1]};
	wb_projection p = good;

	(void)state;
	p.table_count = 0;
	assert_refused(&p, "0 tables");
	p.table_count = WB_MODEL_TABLES_MAX + 1;
	assert_refused(&p, "17 tables");
	p.tables = wrong;
	p.table_count = 3;
	assert_refused(&p, "two tables days");
	wrong[2].name = "No";
	assert_refused(&p, "table \"No\"");
	wrong[2] = (wb_model_table){"more", longer, NULL, 0};
	assert_refused(&p, "content_type is over 127");
}

static void indexes_say_what_is_wrong_with_them(void **state)
{
	wb_model_index wrong[2] = {indexes[0], indexes[0]};
	const wb_model_table table = {"things", NULL, wrong, 2};
	wb_model_table many = {"things", NULL, wrong, WB_MODEL_INDEXES_MAX + 1};
	wb_projection p = good;

	(void)state;
	p.tables = &table;
	p.table_count = 1;
	assert_refused(&p, "two indexes by_name");
	wrong[1].name = NULL;
	assert_refused(&p, "index \"(NULL)\"");
	wrong[1] = (wb_model_index){"by_day", NULL};
	assert_refused(&p, "index by_day of table things: keys is NULL");
	p.tables = &many;
	assert_refused(&p, "9 indexes");
}

static void what_two_declarations_differ_in_is_named(void **state)
{
	static const wb_model_table other[] = {
		{"things", "text/plain", indexes, 1}, {"days", NULL, NULL, 0}};
	wb_projection p = good;
	wbi_shape a, b;

	(void)state;
	wbi_shape_of(&good, &a);
	wbi_shape_of(&p, &b);
	assert_null(wbi_shape_differs(&a, &b));
	p.tables = other;
	wbi_shape_of(&p, &b);
	assert_string_equal(wbi_shape_differs(&a, &b),
			    "its tables or their indexes");
	p.table_count = 1;
	wbi_shape_of(&p, &b);
	assert_string_equal(wbi_shape_differs(&a, &b),
			    "the number of its tables");
	p.source = WB_PROJECTION_INBOX;
	wbi_shape_of(&p, &b);
	assert_string_equal(wbi_shape_differs(&a, &b), "its source");
	p.version = 2;
	wbi_shape_of(&p, &b);
	assert_string_equal(wbi_shape_differs(&a, &b), "its version");
	p.name = "others";
	wbi_shape_of(&p, &b);
	assert_string_equal(wbi_shape_differs(&a, &b), "its name");
	/* Without a name the only table is meant. */
	assert_int_equal(wbi_shape_table_of(&a, NULL), SIZE_MAX);
	assert_int_equal(wbi_shape_table_of(&b, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_declaration_says_what_is_wrong_with_it),
		cmocka_unit_test(types_say_what_is_wrong_with_them),
		cmocka_unit_test(tables_say_what_is_wrong_with_them),
		cmocka_unit_test(indexes_say_what_is_wrong_with_them),
		cmocka_unit_test(what_two_declarations_differ_in_is_named),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
