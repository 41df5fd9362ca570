/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an operator sees of models beside whoever makes them: which there are,
 * what they are at, what two generations differ in; and what may be asked for
 * and taken away.
 */
#include "tests/projections/rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/journal/inbox_rows.h"
#include "projections/inspect.h"
#include "projections/projector.h"

/* ---- which there are ----------------------------------------------------- */

typedef struct names {
	char text[256];
	int most;
} names;

static wb_code see_name(void *ctx, const char *name, wb_error *err)
{
	names *n = ctx;

	if (n->most-- == 0)
		return wb_error_set(err, WB_ELIMIT, 0, __func__, "enough");
	snprintf(n->text + strlen(n->text), sizeof(n->text) - strlen(n->text),
		 "%s ", name);
	return WB_OK;
}

static void models_are_listed_by_their_names(void **state)
{
	test_place *place = *state;
	const char *parent = test_path(place->dir, "projections");
	names n = {.most = -1};
	wb_error err = WB_ERROR_INIT;

	/* Where none was ever made there is none. */
	assert_ok(wbi_models_list(place->dir, see_name, &n, &err), err);
	assert_string_equal(n.text, "");
	assert_int_equal(mkdir(parent, 0700), 0);
	assert_int_equal(mkdir(test_path(parent, "things"), 0700), 0);
	assert_int_equal(mkdir(test_path(parent, "days"), 0700), 0);
	assert_int_equal(mkdir(test_path(parent, ".hidden"), 0700), 0);
	assert_int_equal(mkdir(test_path(parent, "No Model"), 0700), 0);
	assert_ok(wbi_models_list(place->dir, see_name, &n, &err), err);
	assert_string_equal(n.text, "days things ");
	n = (names){.most = 1};
	assert_code(wbi_models_list(place->dir, see_name, &n, &err), WB_ELIMIT,
		    err);
	assert_string_equal(n.text, "days ");
	test_remove_tree(parent);
	fclose(fopen(parent, "w"));
	assert_code(wbi_models_list(place->dir, see_name, &n, &err),
		    WB_ENOTFOUND, err);
}

/* ---- two versions of a model --------------------------------------------- */

/* As before, but for "gone", which is not counted; "k1", whose value is another
 * one; and a key that was not there. */
static wb_code apply_2(wb_model *model, const wb_event *event, wb_error *err)
{
	wb_code code = WB_OK;

	if (wb_str_eq(event->key, S("gone")))
		return WB_OK;
	if (wb_str_eq(event->key, S("k1")))
		return wb_model_put(model, RIG_LAST, S("k1"), S("other 9"),
				    err);
	if (wb_str_eq(event->key, S("k2")))
		code = wb_model_put(model, RIG_LAST, S("k22"), S("new 1"), err);
	return code == WB_OK ? wb_model_put(model, RIG_LAST, event->key,
					    event->data, err)
			     : code;
}

/* Generation 1 is of the first version, 2 of the second, at one position. */
static void two_versions(rig *r, test_place *place)
{
	rig_init(r, place, WB_ON_ERROR_STOP);
	rig_append(r, "gone", "old 1");
	rig_append(r, "k1", "w 1");
	rig_append(r, "k2", "w 2");
	rig_append(r, "k3", "w 3");
	rig_open(r);
	rig_settle(r);
	rig_close(r);
	r->projection.version = 2;
	r->projection.apply = apply_2;
	rig_open(r);
	rig_settle(r);
	assert_int_equal(wb_projector_get_stat(r->projector).generation, 2);
}

typedef struct seen {
	char text[512];
	bool stops;
} seen;

static wb_code see_difference(void *ctx, const wbi_difference *d, wb_error *err)
{
	static const char *const kinds[] = {"only in a", "only in b",
					    "differs"};
	seen *s = ctx;

	if (s->stops)
		return wb_error_set(err, WB_ELIMIT, 0, __func__, "enough");
	if (strcmp(d->table, "t.last") != 0)
		return WB_OK;
	snprintf(s->text + strlen(s->text), sizeof(s->text) - strlen(s->text),
		 "%.*s %s: %.*s|%.*s; ", (int)d->key.len, d->key.ptr,
		 kinds[d->kind], (int)d->a.len, d->a.len ? d->a.ptr : "",
		 (int)d->b.len, d->b.len ? d->b.ptr : "");
	return WB_OK;
}

static void what_two_generations_differ_in_is_told_row_by_row(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_diff_result result, quiet;
	seen s = {.text = ""};
	wbi_home *home;
	rig r;

	two_versions(&r, *state);
	home = r.projector->home;
	assert_ok(wbi_generations_diff(home, 1, 2, 100, see_difference, &s,
				       &result, &err),
		  err);
	assert_string_equal(s.text, "gone only in a: old 1|; "
				    "k1 differs: w 1|other 9; "
				    "k22 only in b: |new 1; ");
	assert_true(result.position == 4);
	assert_true(result.differences > 3 && result.rows > 5);
	assert_ok(
		wbi_generations_diff(home, 1, 2, 100, NULL, NULL, &quiet, &err),
		err);
	assert_true(quiet.differences == result.differences);
	s.stops = true;
	assert_code(wbi_generations_diff(home, 1, 2, 100, see_difference, &s,
					 &result, &err),
		    WB_ELIMIT, err);
	assert_code(
		wbi_generations_diff(home, 1, 7, 100, NULL, NULL, &quiet, &err),
		WB_ENOTFOUND, err);
	assert_code(
		wbi_generations_diff(home, 7, 1, 100, NULL, NULL, &quiet, &err),
		WB_ENOTFOUND, err);
	/* Nobody takes the first one along any more. */
	rig_append(&r, "k3", "w 4");
	rig_settle(&r);
	assert_int_equal(
		wbi_generations_diff(home, 1, 2, 20, NULL, NULL, &quiet, &err),
		WB_ETIMEOUT);
	assert_non_null(strstr(err.text, "generation 1 is at 4, generation 2 "
					 "at 5"));
	rig_fini(&r);
}

static void a_generation_is_removed_that_nobody_needs(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_generation_info info;
	wbi_home *home;
	rig r;

	two_versions(&r, *state);
	home = r.projector->home;
	assert_code(wbi_generation_remove(home, 9, &err), WB_ENOTFOUND, err);
	assert_int_equal(wbi_generation_remove(home, 2, &err), WB_ESTATE);
	assert_non_null(strstr(err.text, "generation 2 is the live one"));
	wb_error_clear(&err);
	rig_rebuild(&r, false);
	rig_settle(&r);
	assert_int_equal(wbi_generation_remove(home, 3, &err), WB_ESTATE);
	assert_non_null(strstr(err.text, "discard it instead"));
	wb_error_clear(&err);
	assert_ok(wbi_generation_look(home, 1, &info, &err), err);
	assert_true(info.rows > 0 && info.at.position == 4);
	assert_ok(wbi_generation_remove(home, 1, &err), err);
	assert_code(wbi_generation_look(home, 1, &info, &err), WB_ENOTFOUND,
		    err);
	rig_fini(&r);
}

/* ---- the model as a whole ------------------------------------------------ */

static wb_code held(rig *r)
{
	wb_error err = WB_ERROR_INIT;
	wbi_consumer row;
	wb_code code;
	MDB_txn *txn;

	assert_ok(wb_store_begin(r->store, &txn, &err), err);
	code = wbi_consumer_get(txn, wbi_store_get_tables(r->store)->consumers,
				'o', S("things"), &row, &err);
	wb_store_abort(txn);
	return code;
}

static void a_model_is_removed_when_nobody_runs_it(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wbi_model_info info;
	wbi_home *home;
	wb_read *read;
	rig r;

	rig_init(&r, place, WB_ON_ERROR_STOP);
	rig_append_many(&r, 10, 3);
	rig_open(&r);
	rig_settle(&r);
	assert_ok(wbi_model_look(r.projector->home, &info, &err), err);
	assert_true(info.running && info.pid == (uint64_t)getpid());
	assert_int_equal(wbi_model_remove(r.projector->home, r.store, &err),
			 WB_EBUSY);
	assert_non_null(strstr(err.text, "stop that first"));
	wb_error_clear(&err);
	rig_close(&r);
	assert_int_equal(held(&r), WB_OK);
	assert_ok(wbi_home_open(place->store, "things", false, &home, &err),
		  err);
	assert_ok(wbi_model_look(home, &info, &err), err);
	assert_false(info.running || info.paused || info.asked);
	assert_ok(wbi_model_remove(home, r.store, &err), err);
	wbi_home_unref(home);
	assert_int_equal(held(&r), WB_ENOTFOUND);
	assert_code(wb_read_open(place->store, "things", NULL, &read, &err),
		    WB_ENOTFOUND, err);
	/* Whoever runs it next makes it anew. */
	rig_open(&r);
	rig_settle(&r);
	assert_int_equal(rig_count(&r, "k0"), 3);
	rig_close(&r);
	/* Of one that is elsewhere the store need not be there; what else lies
	 * in its directory is left. */
	assert_ok(wbi_home_open(place->store, "things", false, &home, &err),
		  err);
	fclose(fopen(test_path(place->store, "projections/things/notes"), "w"));
	assert_code(wbi_model_remove(home, NULL, &err), WB_EIO, err);
	wbi_home_unref(home);
	rig_fini(&r);
}

/* A handler's cursor of the same name is its own. */
static void a_handler_of_the_name_is_left(void **state)
{
	wbi_consumer row = {.kind = WBI_CONSUMER_HANDLER};
	const wbi_store_tables *tables;
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wbi_consumer found;
	wbi_home *home;
	MDB_txn *txn;
	rig r;

	rig_init(&r, place, WB_ON_ERROR_STOP);
	rig_open(&r);
	rig_settle(&r);
	rig_close(&r);
	tables = wbi_store_get_tables(r.store);
	memcpy(row.origin, wbi_store_get_info(r.store)->inbox_origin,
	       sizeof(row.origin));
	assert_ok(wb_store_begin(r.store, &txn, &err), err);
	assert_ok(wbi_consumer_put(txn, tables->consumers, 'i', S("things"),
				   &row, &err),
		  err);
	assert_ok(wb_store_commit(r.store, txn, &err), err);
	assert_ok(wbi_home_open(place->store, "things", false, &home, &err),
		  err);
	assert_ok(wbi_model_remove(home, r.store, &err), err);
	wbi_home_unref(home);
	assert_int_equal(held(&r), WB_ENOTFOUND);
	assert_ok(wb_store_begin(r.store, &txn, &err), err);
	assert_ok(wbi_consumer_get(txn, tables->consumers, 'i', S("things"),
				   &found, &err),
		  err);
	wb_store_abort(txn);
	rig_fini(&r);
}

static wb_code see_unit(void *ctx, wb_str unit, const wbi_aside_key *key,
			wb_error *err)
{
	names *n = ctx;

	if (n->most-- == 0)
		return wb_error_set(err, WB_ELIMIT, 0, __func__, "enough");
	snprintf(n->text + strlen(n->text), sizeof(n->text) - strlen(n->text),
		 "%.*s:%u ", (int)unit.len, unit.ptr, (unsigned)key->count);
	return WB_OK;
}

static void what_is_aside_is_listed(void **state)
{
	char origin[WBI_ORIGIN_LEN + 1];
	names n = {.most = -1};
	wb_error err = WB_ERROR_INIT;
	uint64_t missing = 7;
	wbi_home *home;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_QUARANTINE_KEY);
	for (int i = 0; i < 3; i++) {
		rig_append(&r, "a", "poison");
		rig_append(&r, "b", i ? "fine" : "poison");
		rig_append(&r, "c", "fine");
	}
	rig_open(&r);
	rig_settle(&r);
	home = r.projector->home;
	assert_ok(wbi_aside_list(home, 1, 10, see_unit, &n, &err), err);
	assert_string_equal(n.text, "a:3 b:3 ");
	n = (names){.most = -1};
	assert_ok(wbi_aside_list(home, 1, 1, see_unit, &n, &err), err);
	assert_string_equal(n.text, "a:3 ");
	n = (names){.most = 1};
	assert_code(wbi_aside_list(home, 1, 10, see_unit, &n, &err), WB_ELIMIT,
		    err);
	assert_code(wbi_aside_list(home, 9, 10, see_unit, &n, &err),
		    WB_ENOTFOUND, err);
	/* In a journal nothing can be missing. */
	assert_ok(wbi_missing_look(home, 1, origin, &missing, &err), err);
	assert_true(missing == 0);
	assert_code(wbi_missing_look(home, 9, origin, &missing, &err),
		    WB_ENOTFOUND, err);
	rig_fini(&r);
}

/* ---- requests ------------------------------------------------------------ */

static void what_cannot_be_asked_for_is_said(void **state)
{
	static const char key[256];
	wb_projection_request q = WB_PROJECTION_REQUEST_INIT;
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	rig r;

	rig_init(&r, place, WB_ON_ERROR_STOP);
	rig_open(&r);
	rig_settle(&r);
	rig_close(&r);
	assert_code(wb_projection_ask(place->store, "things", NULL, &err),
		    WB_EINVAL, err);
	q.verb = (wb_projection_verb)99;
	assert_code(wb_projection_ask(place->store, "things", &q, &err),
		    WB_EINVAL, err);
	q.verb = WB_PROJECTION_HEAL;
	q.key = wb_str_n(key, sizeof(key));
	assert_code(wb_projection_ask(place->store, "things", &q, &err),
		    WB_EINVAL, err);
	q.key = WB_STR_NULL;
	assert_code(wb_projection_ask(place->store, "Things", &q, &err),
		    WB_EINVAL, err);
	assert_code(wb_projection_ask(NULL, "things", &q, &err), WB_EINVAL,
		    err);
	assert_code(wb_projection_ask(place->store, "others", &q, &err),
		    WB_ENOTFOUND, err);
	/* One of a kind waits; to go on may be said twice. */
	assert_ok(wb_projection_ask(place->store, "things", &q, &err), err);
	assert_code(wb_projection_ask(place->store, "things", &q, &err),
		    WB_EBUSY, err);
	q.verb = WB_PROJECTION_PAUSE;
	assert_ok(wb_projection_ask(place->store, "things", &q, &err), err);
	q.verb = WB_PROJECTION_RESUME;
	assert_ok(wb_projection_ask(place->store, "things", &q, &err), err);
	assert_ok(wb_projection_ask(place->store, "things", &q, &err), err);
	q.size = 0;
	assert_code(wb_projection_ask(place->store, "things", &q, &err),
		    WB_EINVAL, err);
	rig_open(&r);
	rig_settle(&r);
	rig_fini(&r);
}

static void write_file(const char *dir, const char *name, const char *text)
{
	FILE *f = fopen(test_path(dir, name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* By a hand, or a disk. A request or a note that is damaged counts as none; the
 * pointer is what all depends on. */
static void files_that_are_damaged_are_none(void **state)
{
	static const char head[] = "waybill read model 1\n";
	static const char *const pointers[] = {
		"",
		"live 1\n",
		"live 1\nformer 0\nnext 1\nrolled-back 0\n",
		"live 1\nformer 3\nnext 3\nrolled-back 0\n",
		"live 1\nformer 0\nnext 2\nrolled-back 2\n",
		"live  1\nformer 0\nnext 2\nrolled-back 0\n"};
	test_place *place = *state;
	char dir[PATH_MAX], key[600], text[700];
	wb_error err = WB_ERROR_INIT;
	wbi_pointer pointer;
	wbi_home *home;
	rig r;

	rig_init(&r, place, WB_ON_ERROR_STOP);
	rig_append_many(&r, 10, 3);
	rig_open(&r);
	rig_settle(&r);
	rig_close(&r);
	snprintf(dir, sizeof(dir), "%.4000s/projections/things", place->store);
	memset(key, 'f', 512);
	key[512] = '\0';
	write_file(dir, "building", "waybill building 1\ngeneration x\n");
	write_file(dir, "request.rebuild", "as soon as you can\n");
	snprintf(text, sizeof(text), "promote 0\nrate 0\nkey %s\n", key);
	write_file(dir, "request.heal", text);
	rig_open(&r);
	rig_settle(&r);
	rig_close(&r);
	for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++) {
		snprintf(text, sizeof(text), "%s%s", head, pointers[i]);
		write_file(dir, "current", text);
		assert_ok(wbi_home_open(place->store, "things", false, &home,
					&err),
			  err);
		assert_code(wbi_home_pointer(home, &pointer, &err), WB_ECORRUPT,
			    err);
		wbi_home_unref(home);
	}
	wb_store_close(r.store);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(models_are_listed_by_their_names),
		T(what_two_generations_differ_in_is_told_row_by_row),
		T(a_generation_is_removed_that_nobody_needs),
		T(a_model_is_removed_when_nobody_runs_it),
		T(a_handler_of_the_name_is_left),
		T(what_is_aside_is_listed),
		T(what_cannot_be_asked_for_is_said),
		T(files_that_are_damaged_are_none),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
