/* SPDX-License-Identifier: BSD-2-Clause */
/* What a reader is told that asks wrongly, too late, or for what is not there;
 * and bounds at the ends of what a key can be. */
#include "tests/projections/rig.h"

#include <string.h>
#include <unistd.h>

#include "projections/projector.h"
#include "tests/support/fake_clock.h"

static void what_cannot_be_opened_is_said(void **state)
{
	wb_read_options o = WB_READ_OPTIONS_INIT;
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_read *read = NULL;
	wbi_home *home;
	rig r;

	rig_init(&r, place, WB_ON_ERROR_STOP);
	assert_code(wb_read_open(place->store, "things", NULL, &read, &err),
		    WB_ENOTFOUND, err);
	/* Somebody has begun, and has not got far. */
	assert_ok(wbi_home_open(place->store, "things", true, &home, &err),
		  err);
	wbi_home_unref(home);
	assert_int_equal(
		wb_read_open(place->store, "things", NULL, &read, &err),
		WB_ENOTFOUND);
	assert_non_null(strstr(err.text, "has not begun yet"));
	wb_error_clear(&err);
	rig_open(&r);
	rig_settle(&r);
	assert_code(wb_read_open_projector(r.projector, NULL, NULL, &err),
		    WB_EINVAL, err);
	o.size = 3;
	assert_code(wb_read_open_projector(r.projector, &o, &read, &err),
		    WB_EINVAL, err);
	assert_code(wb_read_open_beside(NULL, NULL, &read, &err), WB_EINVAL,
		    err);
	o = (wb_read_options)WB_READ_OPTIONS_INIT;
	o.generation = 9;
	assert_ok(wb_read_open_projector(r.projector, &o, &read, &err), err);
	assert_code(wb_read_begin(read, &err), WB_ENOTFOUND, err);
	wb_read_close(read);
	wb_read_close(NULL);
	rig_fini(&r);
}

static void who_reads_one_generation_stays_in_it(void **state)
{
	wb_read_options o = WB_READ_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_read *one, *live;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append(&r, "a", "1");
	rig_open(&r);
	rig_settle(&r);
	o.generation = 1;
	assert_ok(wb_read_open_projector(r.projector, &o, &one, &err), err);
	assert_ok(wb_read_open_beside(one, NULL, &live, &err), err);
	assert_int_equal(wb_read_generation(one), 0);
	assert_ok(wb_read_begin(one, &err), err);
	assert_int_equal(wb_read_generation(one), 1);
	rig_rebuild(&r, true);
	rig_settle(&r);
	assert_ok(wb_read_begin(one, &err), err);
	assert_int_equal(wb_read_generation(one), 1);
	assert_ok(wb_read_begin(live, &err), err);
	assert_int_equal(wb_read_generation(live), 2);
	wb_read_close(one);
	wb_read_close(live);
	rig_fini(&r);
}

static void without_a_snapshot_there_is_nothing_to_read(void **state)
{
	wb_read_query q = WB_READ_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_read_lag lag;
	wb_read_row row;
	wb_str value;
	wb_read *read;
	bool aside;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_open(&r);
	rig_settle(&r);
	read = rig_read(&r);
	q.table = "counts";
	assert_true(wb_read_position(read) == 0);
	assert_string_equal(wb_read_origin(read), "");
	assert_code(wb_read_get(read, "counts", S("a"), &value, &err),
		    WB_ESTATE, err);
	assert_code(wb_read_is_aside(read, S("a"), &aside, NULL, &err),
		    WB_ESTATE, err);
	assert_code(wb_read_get_lag(read, &lag, &err), WB_ESTATE, err);
	assert_code(wb_read_scan(read, &q, &err), WB_ESTATE, err);
	assert_code(wb_read_next(read, &row, &err), WB_ESTATE, err);
	assert_ok(wb_read_begin(read, &err), err);
	assert_code(wb_read_next(read, &row, &err), WB_ESTATE, err);
	assert_code(wb_read_scan(read, NULL, &err), WB_EINVAL, err);
	q.size = 1;
	assert_code(wb_read_scan(read, &q, &err), WB_EINVAL, err);
	wb_read_close(read);
	rig_fini(&r);
}

static void a_snapshot_that_is_held_too_long_is_given_back(void **state)
{
	wb_read_options o = WB_READ_OPTIONS_INIT;
	wb_read_query q = WB_READ_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	fake_clock clock;
	wb_read_row row;
	wb_read *read;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append(&r, "a", "1");
	rig_append(&r, "b", "1");
	rig_open(&r);
	rig_settle(&r);
	fake_clock_init(&clock);
	o.clock = &clock.clock;
	o.snapshot_ms = 100;
	assert_ok(wb_read_open_projector(r.projector, &o, &read, &err), err);
	assert_ok(wb_read_begin(read, &err), err);
	q.table = "counts";
	assert_ok(wb_read_scan(read, &q, &err), err);
	assert_ok(wb_read_next(read, &row, &err), err);
	fake_clock_advance_us(&clock, 100001);
	assert_int_equal(wb_read_next(read, &row, &err), WB_ETIMEOUT);
	assert_non_null(strstr(err.text, "held for over 100 ms"));
	wb_error_clear(&err);
	assert_code(wb_read_next(read, &row, &err), WB_ESTATE, err);
	wb_read_close(read);
	rig_fini(&r);
}

static void a_key_that_no_row_can_have_is_not_there(void **state)
{
	static const char bytes[WB_MODEL_KEY_MAX + 1];
	const wb_str keys[] = {WB_STR_NULL, wb_str_n(bytes, sizeof(bytes))};
	wb_error err = WB_ERROR_INIT;
	uint64_t events = 7;
	bool aside = true;
	wb_str value;
	wb_read *read;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_QUARANTINE_KEY);
	rig_append(&r, "a", "poison");
	rig_open(&r);
	rig_settle(&r);
	read = rig_read(&r);
	assert_ok(wb_read_begin(read, &err), err);
	for (int i = 0; i < 2; i++) {
		assert_code(wb_read_get(read, "counts", keys[i], &value, &err),
			    WB_ENOTFOUND, err);
		assert_ok(
			wb_read_is_aside(read, keys[i], &aside, &events, &err),
			err);
		assert_true(!aside && events == 0);
	}
	assert_ok(wb_read_is_aside(read, S("a"), &aside, NULL, &err), err);
	assert_true(aside);
	assert_ok(wb_read_is_aside(read, S("b"), &aside, NULL, &err), err);
	assert_false(aside);
	wb_read_close(read);
	rig_fini(&r);
}

/* How many rows a query finds. */
static unsigned found(wb_read *read, const wb_read_query *q)
{
	wb_error err = WB_ERROR_INIT;
	unsigned count = 0;
	wb_read_row row;

	assert_ok(wb_read_scan(read, q, &err), err);
	while (wb_read_next(read, &row, &err) == WB_OK)
		count++;
	assert_int_equal(err.code, WB_OK);
	/* At its end it stays there. */
	assert_int_equal(wb_read_next(read, &row, &err), WB_ENOTFOUND);
	return count;
}

static void bounds_hold_at_the_ends_of_what_a_key_can_be(void **state)
{
	char most[WB_MODEL_KEY_MAX + 1], over[600];
	wb_read_query q = WB_READ_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_read *read;
	rig r;

	memset(most, 'm', sizeof(most) - 1);
	most[sizeof(most) - 1] = '\0';
	memset(over, 'm', sizeof(over));
	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append(&r, most, "x");
	rig_append(&r, "a", "red 1");
	rig_append(&r, "z", "red 2");
	rig_open(&r);
	rig_settle(&r);
	read = rig_read(&r);
	assert_ok(wb_read_begin(read, &err), err);
	q.table = "counts";
	for (int way = 0; way < 2; way++) {
		q.reverse = way == 1;
		q.equal = wb_str_from(most);
		assert_int_equal(found(read, &q), 1);
		q.equal = wb_str_n(over, sizeof(over));
		assert_int_equal(found(read, &q), 0);
		q.equal = WB_STR_NULL;
		q.prefix = S("\xff\xff");
		assert_int_equal(found(read, &q), 0);
		q.prefix = S("m");
		q.from = S("z");
		assert_int_equal(found(read, &q), 0);
		q.prefix = WB_STR_NULL;
		assert_int_equal(found(read, &q), 1);
		q.to = S("a");
		assert_int_equal(found(read, &q), 0);
		q.from = WB_STR_NULL;
		assert_int_equal(found(read, &q), 0);
		q.to = S("zz");
		assert_int_equal(found(read, &q), 3);
		q.prefix = S("z");
		assert_int_equal(found(read, &q), 1);
		q.to = q.prefix = WB_STR_NULL;
	}
	q = (wb_read_query)WB_READ_QUERY_INIT;
	q.table = "last";
	q.index = "by_word";
	q.equal = wb_str_n(over, sizeof(over));
	assert_int_equal(found(read, &q), 0);
	q.equal = S("red");
	q.reverse = true;
	assert_int_equal(found(read, &q), 2);
	wb_read_close(read);
	rig_fini(&r);
}

static void a_token_is_of_its_query_or_none(void **state)
{
	char token[WB_READ_CURSOR_MAX + 1], over[WB_READ_CURSOR_MAX + 3];
	const char *wrong[] = {"abcdef01",   "abcdef012",  "ABCDEF0161",
			       "abcdef01.1", "abcdef016g", over};
	wb_read_query q = WB_READ_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_read_row row;
	wb_read *read;
	rig r;

	memset(over, 'a', sizeof(over) - 1);
	over[sizeof(over) - 1] = '\0';
	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append(&r, "\xc3\xaf", "x");
	rig_append(&r, "a", "x");
	rig_append(&r, "b", "x");
	rig_open(&r);
	rig_settle(&r);
	read = rig_read(&r);
	assert_ok(wb_read_begin(read, &err), err);
	q.table = "counts";
	wb_read_cursor(read, token);
	assert_string_equal(token, "");
	assert_ok(wb_read_scan(read, &q, &err), err);
	wb_read_cursor(read, token); /* nothing read yet */
	assert_string_equal(token, "");
	assert_ok(wb_read_next(read, &row, &err), err);
	wb_read_cursor(read, token);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		q.cursor = wb_str_from(wrong[i]);
		assert_code(wb_read_scan(read, &q, &err), WB_EINVAL, err);
	}
	q.cursor = wb_str_from(token);
	q.reverse = true; /* another query */
	assert_code(wb_read_scan(read, &q, &err), WB_EINVAL, err);
	q.reverse = false;
	assert_int_equal(found(read, &q), 2);
	/* From behind what it is at, and from what is there no more. */
	q.from = S("b");
	assert_int_equal(found(read, &q), 2);
	q.to = S("a");
	assert_int_equal(found(read, &q), 0);
	wb_read_close(read);
	rig_fini(&r);
}

static void a_reader_of_no_projector_is_refused(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wb_read *read;

	(void)state;
	assert_code(wb_read_open_projector(NULL, NULL, &read, &err), WB_EINVAL,
		    err);
	assert_int_equal(wb_read_open_projector(NULL, NULL, &read, NULL),
			 WB_EINVAL);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(what_cannot_be_opened_is_said),
		T(who_reads_one_generation_stays_in_it),
		T(without_a_snapshot_there_is_nothing_to_read),
		T(a_snapshot_that_is_held_too_long_is_given_back),
		T(a_key_that_no_row_can_have_is_not_there),
		T(bounds_hold_at_the_ends_of_what_a_key_can_be),
		T(a_token_is_of_its_query_or_none),
		T(a_reader_of_no_projector_is_refused),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
