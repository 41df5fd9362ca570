/* SPDX-License-Identifier: BSD-2-Clause */
/* What a projection may do to its rows, and what it is told when it may not:
 * limits, index functions that fail or lie, rows that are not there. */
#include "tests/projections/rig.h"

#include <stdlib.h>
#include <string.h>

#include <waybill/handler.h>

enum { PLAIN, INDEXED };

static bool lies;

/* By the first letter of the value; what it says otherwise makes trouble. */
static wb_code by_letter(wb_index_keys *ret, wb_str key, wb_str value,
			 wb_error *err)
{
	static const char zeros[WB_MODEL_INDEX_KEY_MAX + 1];

	(void)key;
	if (wb_str_eq(value, S("mute")))
		return WB_EREJECTED;
	if (wb_str_eq(value, S("angry")))
		return wb_reject(err, "a value to be angry about");
	if (wb_str_eq(value, S("too long")))
		return wb_index_key_add(ret, wb_str_n(zeros, sizeof(zeros)),
					err);
	if (wb_str_eq(value, S("long")))
		return wb_index_key_add(ret, wb_str_n(zeros, sizeof(zeros) - 1),
					err);
	if (wb_str_eq(value, S("liar"))) /* not one of the row alone */
		return wb_index_key_add(ret, lies ? S("n") : S("y"), err);
	if (wb_str_eq(value, S("many"))) {
		wb_code code = WB_OK;

		for (char c = 'a'; code == WB_OK && c < 'a' + 17; c++)
			code = wb_index_key_add(ret, wb_str_n(&c, 1), err);
		return code;
	}
	if (value.len == 0)
		return WB_OK;
	return wb_index_key_add(ret, wb_str_n(value.ptr, 1), err);
}

static const wb_model_index indexes[] = {{"by_letter", by_letter}};
static const wb_model_table tables[] = {{"plain", NULL, NULL, 0},
					{"indexed", NULL, indexes, 1}};
static const char *const types[] = {"thing.seen", NULL};

/* What the next event does. */
static wb_code (*does)(wb_model *model, const wb_event *event, wb_error *err);

static wb_code apply(wb_model *model, const wb_event *event, wb_error *err)
{
	return does(model, event, err);
}

static void model_init(rig *r, test_place *place)
{
	rig_init(r, place, WB_ON_ERROR_STOP);
	r->projection.types = types;
	r->projection.tables = tables;
	r->projection.apply = apply;
	rig_open(r);
	rig_settle(r);
}

static void
model_does(rig *r, wb_code (*what)(wb_model *, const wb_event *, wb_error *),
	   const char *key, const char *value)
{
	does = what;
	rig_append(r, key, value);
	rig_settle(r);
}

/* Is the row there, and does the index lead to it? */
static void assert_row(rig *r, const char *key, const char *value,
		       const char *letter)
{
	wb_read_query q = WB_READ_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_read *read = rig_read(r);
	wb_read_row row;
	wb_str is;

	assert_ok(wb_read_begin(read, &err), err);
	if (value) {
		assert_ok(wb_read_get(read, "indexed", wb_str_from(key), &is,
				      &err),
			  err);
		assert_true(wb_str_eq(is, wb_str_from(value)));
	} else {
		assert_code(wb_read_get(read, "indexed", wb_str_from(key), &is,
					&err),
			    WB_ENOTFOUND, err);
	}
	q.table = "indexed";
	q.index = "by_letter";
	q.equal = wb_str_from(letter);
	assert_ok(wb_read_scan(read, &q, &err), err);
	if (value)
		assert_ok(wb_read_next(read, &row, &err), err);
	else
		assert_code(wb_read_next(read, &row, &err), WB_ENOTFOUND, err);
	wb_read_close(read);
}

/* ---- what it does -------------------------------------------------------- */

static wb_code puts_both(wb_model *model, const wb_event *event, wb_error *err)
{
	wb_code code = wb_model_put(model, PLAIN, event->key, event->data, err);

	return code == WB_OK ? wb_model_put(model, INDEXED, event->key,
					    event->data, err)
			     : code;
}

static wb_code deletes_both(wb_model *model, const wb_event *event,
			    wb_error *err)
{
	wb_str value;

	assert_ok(wb_model_del(model, PLAIN, event->key, err), *err);
	assert_ok(wb_model_del(model, INDEXED, event->key, err), *err);
	/* Now there is none, and that is an answer. */
	for (size_t table = PLAIN; table <= INDEXED; table++) {
		assert_int_equal(wb_model_del(model, table, event->key, err),
				 WB_ENOTFOUND);
		assert_int_equal(
			wb_model_get(model, table, event->key, &value, err),
			WB_ENOTFOUND);
		assert_int_equal(err->code, WB_OK);
	}
	return WB_OK;
}

/* Everything that is refused; it goes on, and puts its row. */
static wb_code misbehaves(wb_model *model, const wb_event *event, wb_error *err)
{
	static const char bytes[WB_MODEL_KEY_MAX + 1];
	const wb_str keys[] = {WB_STR_NULL, wb_str_n(bytes, sizeof(bytes))};
	const wb_str wide = wb_str_n(bytes, WB_MODEL_KEY_MAX);
	const wb_str huge = wb_str_n(bytes, (size_t)WB_MODEL_VALUE_MAX + 1);
	wb_str value;

	for (size_t i = 0; i < 2; i++) {
		assert_code(wb_model_get(model, PLAIN, keys[i], &value, err),
			    WB_EINVAL, *err);
		assert_code(wb_model_put(model, PLAIN, keys[i], S("x"), err),
			    WB_EINVAL, *err);
		assert_code(wb_model_del(model, PLAIN, keys[i], err), WB_EINVAL,
			    *err);
	}
	assert_code(wb_model_put(model, 2, event->key, S("x"), err), WB_EINVAL,
		    *err);
	/* Never looked into. */
	assert_code(wb_model_put(model, PLAIN, event->key, huge, err),
		    WB_ELIMIT, *err);
	assert_code(
		wb_model_put(model, INDEXED, event->key, S("too long"), err),
		WB_ELIMIT, *err);
	assert_code(wb_model_put(model, INDEXED, wide, S("long"), err),
		    WB_ELIMIT, *err);
	assert_code(wb_model_put(model, INDEXED, event->key, S("many"), err),
		    WB_ELIMIT, *err);
	return puts_both(model, event, err);
}

/* ---- tests --------------------------------------------------------------- */

static void a_row_that_is_deleted_leaves_no_entry(void **state)
{
	rig r;

	model_init(&r, *state);
	model_does(&r, puts_both, "a", "red");
	assert_row(&r, "a", "red", "r");
	model_does(&r, puts_both, "a", "blue");
	assert_row(&r, "a", "blue", "b");
	model_does(&r, puts_both, "a", "bright");
	assert_row(&r, "a", "bright", "b");
	model_does(&r, deletes_both, "a", "");
	assert_row(&r, "a", NULL, "b");
	rig_fini(&r);
}

static void what_is_refused_leaves_the_rest(void **state)
{
	rig r;

	model_init(&r, *state);
	model_does(&r, misbehaves, "a", "red");
	assert_row(&r, "a", "red", "r");
	assert_row(&r, "b", NULL, "b");
	rig_fini(&r);
}

static void an_index_that_fails_says_so_in_its_name(void **state)
{
	static const struct {
		const char *value, *text;
	} ways[] = {{"angry", "index by_letter: a value to be angry about"},
		    {"mute", "index by_letter: "}};

	for (size_t i = 0; i < 2; i++) {
		wb_projector_stat stat;
		rig r;

		model_init(&r, *state);
		does = puts_both;
		rig_append(&r, "a", ways[i].value);
		rig_until(&r, WB_PROJECTOR_STUCK);
		stat = wb_projector_get_stat(r.projector);
		assert_non_null(strstr(stat.error.text, ways[i].text));
		assert_row(&r, "a", NULL, "a");
		rig_fini(&r);
		test_place_teardown(state);
		test_place_setup(state);
	}
}

/* Its answer for the old row is another one now: the entry to be taken away is
 * not there. Nothing of it is kept. */
static void an_index_that_lies_is_found_out(void **state)
{
	wb_projector_stat stat;
	rig r;

	model_init(&r, *state);
	lies = false;
	model_does(&r, puts_both, "a", "liar");
	lies = true;
	rig_append(&r, "a", "red");
	rig_until(&r, WB_PROJECTOR_STUCK);
	stat = wb_projector_get_stat(r.projector);
	assert_non_null(strstr(stat.error.text, "raise the projection's "
						"version"));
	assert_row(&r, "a", "liar", "y");
	rig_fini(&r);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_row_that_is_deleted_leaves_no_entry),
		T(what_is_refused_leaves_the_rest),
		T(an_index_that_fails_says_so_in_its_name),
		T(an_index_that_lies_is_found_out),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
