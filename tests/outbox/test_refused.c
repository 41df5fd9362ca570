/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a caller gets wrong about streams, snapshots and aggregates is refused,
 * the error names it, and the store stays as it was.
 */
#include "tests/outbox/stream_rig.h"

#include <stdlib.h>
#include <string.h>

#include <waybill/aggregate.h>

#include "lib/base/assert.h"
#include "lib/event/attribute.h"

typedef struct scene {
	test_place *place;
	stream_rig rig, other; /* two stores */
	MDB_txn *txn, *foreign;
	char long_name[WB_STREAM_NAME_MAX + 2];
	wb_error err;
} scene;

static int set_up(void **state)
{
	scene *s = calloc(1, sizeof(*s));
	void *made = NULL;

	if (!s || test_place_setup(&made))
		return -1;
	s->place = made;
	rig_make(&s->rig, s->place->store);
	rig_make(&s->other, test_path(s->place->dir, "other"));
	rig_grow(&s->rig, "account/7", 3);
	s->txn = rig_begin(&s->rig);
	s->foreign = rig_begin(&s->other);
	memset(s->long_name, 'x', sizeof(s->long_name) - 1);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	scene *s = *state;
	void *made = s->place;

	wb_store_abort(s->txn);
	wb_store_abort(s->foreign);
	rig_assert_stream(&s->rig, "account/7", 1, 3);
	rig_close(&s->rig);
	rig_close(&s->other);
	rig_assert_sound(s->place->store);
	free(s);
	return test_place_teardown(&made);
}

/* A call was refused with this code, and says so with this word. */
static void assert_refused(scene *s, wb_code code, wb_code expected,
			   const char *word)
{
	assert_string_equal(wb_code_name(code), wb_code_name(expected));
	if (!strstr(s->err.text, word))
		fail_msg("%s: no %s", s->err.text, word);
	wb_error_clear(&s->err);
}

/* ---- streams ------------------------------------------------------------- */

static void an_append_that_is_not_one_is_refused(void **state)
{
	scene *s = *state;
	wb_outbox *outbox = s->rig.outbox;
	const wb_event event = {.type = S("done")};
	const wb_stream_write good = {.stream = S("a/1"),
				      .expected = 0,
				      .events = &event,
				      .count = 1};
	wb_stream_write none = good, empty = good, many = good;

	none.events = NULL;
	empty.count = 0;
	many.count = 100001;
	assert_refused(s, wb_stream_append(NULL, s->txn, &good, NULL, &s->err),
		       WB_EINVAL, "outbox is NULL");
	assert_refused(s, wb_stream_append(outbox, NULL, &good, NULL, &s->err),
		       WB_EINVAL, "transaction is NULL");
	assert_refused(s, wb_stream_append(outbox, s->txn, NULL, NULL, &s->err),
		       WB_EINVAL, "write is NULL");
	assert_refused(s,
		       wb_stream_append(outbox, s->txn, &none, NULL, &s->err),
		       WB_EINVAL, "events is NULL");
	assert_refused(s,
		       wb_stream_append(outbox, s->txn, &empty, NULL, &s->err),
		       WB_EINVAL, "no events");
	assert_refused(s,
		       wb_stream_append(outbox, s->txn, &many, NULL, &s->err),
		       WB_ELIMIT, "at most");
	assert_refused(
		s, wb_stream_append(outbox, s->foreign, &good, NULL, &s->err),
		WB_EINVAL, "another environment");
}

/* Two events: the one that is wrong is named. Repeats that go beyond what is
 * there, in part or as a whole, are conflicts. */
static void a_write_of_two_says_which_is_wrong(void **state)
{
	scene *s = *state;
	const wb_event events[] = {{.type = S("done")},
				   {.type = S("done"), .sequence = 9}};
	wb_stream_write write = {.stream = S("a/1"),
				 .expected = 0,
				 .events = events,
				 .count = 2};

	assert_refused(
		s,
		wb_stream_append(s->rig.outbox, s->txn, &write, NULL, &s->err),
		WB_EINVAL, "event 2 of 2: sequence 9");
	write.stream = S("account/7");
	write.expected = 2;
	assert_refused(
		s,
		wb_stream_append(s->rig.outbox, s->txn, &write, NULL, &s->err),
		WB_ECONFLICT, "version 3");
	write.expected = 7;
	assert_refused(
		s,
		wb_stream_append(s->rig.outbox, s->txn, &write, NULL, &s->err),
		WB_ECONFLICT, "version 3");
}

static void a_query_that_is_not_one_is_refused(void **state)
{
	scene *s = *state;
	wb_stream_query query = WB_STREAM_QUERY_INIT, bad = query;
	wb_stream_reader *r = NULL;
	wb_stream_event event;

	assert_refused(s, wb_stream_open(NULL, NULL, &query, &r, &s->err),
		       WB_EINVAL, "store is NULL");
	assert_refused(s, wb_stream_open(s->rig.store, NULL, NULL, &r, &s->err),
		       WB_EINVAL, "query is NULL");
	bad.size = 1;
	assert_refused(s, wb_stream_open(s->rig.store, NULL, &bad, &r, &s->err),
		       WB_EINVAL, "WB_STREAM_QUERY_INIT");
	bad = query;
	bad.stream = S("a/1");
	bad.category = S("a");
	assert_refused(s, wb_stream_open(s->rig.store, NULL, &bad, &r, &s->err),
		       WB_EINVAL, "not both");
	bad = query;
	bad.stream = wb_str_from(s->long_name);
	assert_refused(s, wb_stream_open(s->rig.store, NULL, &bad, &r, &s->err),
		       WB_ELIMIT, "a name over 255 bytes");
	bad = query;
	bad.category = wb_str_from(s->long_name);
	assert_refused(s, wb_stream_open(s->rig.store, NULL, &bad, &r, &s->err),
		       WB_ELIMIT, "a name over 255 bytes");
	assert_refused(
		s,
		wb_stream_open(s->rig.store, s->foreign, &query, &r, &s->err),
		WB_EINVAL, "another environment");
	assert_null(r);
	assert_refused(s, wb_stream_next(NULL, &event, &s->err), WB_EINVAL,
		       "reader is NULL");
	wb_stream_pause(NULL);
	wb_stream_close(NULL);
}

/* A reader in the caller's transaction is not paused; one that reads a version
 * beyond the last, or backwards from none, finds nothing. */
static void a_reader_at_its_end_finds_nothing(void **state)
{
	static const struct {
		bool backwards, all;
		uint64_t after;
	} ends[] = {{false, false, 3}, {false, false, UINT64_MAX},
		    {true, false, 1},  {true, false, 0},
		    {true, true, 0},   {true, true, 1},
		    {false, true, 3},  {false, true, UINT64_MAX}};
	scene *s = *state;

	for (size_t i = 0; i < WBI_COUNT(ends); i++) {
		wb_stream_query query = WB_STREAM_QUERY_INIT;
		wb_error err = WB_ERROR_INIT;
		wb_stream_reader *r = NULL;
		wb_stream_event event;

		if (!ends[i].all)
			query.stream = S("account/7");
		query.after = ends[i].after;
		query.backwards = ends[i].backwards;
		assert_ok(
			wb_stream_open(s->rig.store, s->txn, &query, &r, &err),
			err);
		if (ends[i].backwards && ends[i].after == 0) {
			/* From the last one. */
			assert_ok(wb_stream_next(r, &event, &err), err);
			assert_int_equal(event.event.sequence, 3);
		} else {
			assert_int_equal(wb_stream_next(r, &event, &err),
					 WB_ENOTFOUND);
		}
		assert_refused(s, wb_stream_next(r, NULL, &s->err), WB_EINVAL,
			       "ret is NULL");
		wb_stream_pause(r);
		wb_stream_close(r);
	}
}

static void a_question_that_is_not_one_is_refused(void **state)
{
	scene *s = *state;
	wb_store *store = s->rig.store;
	wb_str name = S("account/7"), too_long = wb_str_from(s->long_name);
	char next[WB_STREAM_NAME_MAX + 1] = "as it was";
	wb_stream_info info = {.version = 77};

	assert_refused(s, wb_stream_stat(NULL, NULL, name, &info, &s->err),
		       WB_EINVAL, "store is NULL");
	assert_refused(s, wb_stream_stat(store, NULL, name, NULL, &s->err),
		       WB_EINVAL, "ret is NULL");
	assert_refused(s,
		       wb_stream_stat(store, s->foreign, name, &info, &s->err),
		       WB_EINVAL, "another environment");
	assert_refused(s, wb_stream_stat(store, NULL, S(""), &info, &s->err),
		       WB_EINVAL, "");
	assert_refused(s, wb_stream_stat(store, NULL, S("b"), &info, &s->err),
		       WB_ENOTFOUND, "there is none");
	assert_int_equal(info.version, 77);
	assert_refused(s, wb_stream_next_name(NULL, NULL, name, next, &s->err),
		       WB_EINVAL, "store is NULL");
	assert_refused(s, wb_stream_next_name(store, NULL, name, NULL, &s->err),
		       WB_EINVAL, "ret_name is NULL");
	assert_refused(
		s, wb_stream_next_name(store, NULL, too_long, next, &s->err),
		WB_EINVAL, "too long");
	assert_refused(
		s, wb_stream_next_name(store, s->foreign, name, next, &s->err),
		WB_EINVAL, "another environment");
	assert_string_equal(next, "as it was");
}

static void a_cut_that_is_not_one_is_refused(void **state)
{
	scene *s = *state;
	wb_store *store = s->rig.store;
	wb_stream_cut cut = {.stream = S("account/7"),
			     .before = 2,
			     .without_snapshot = true},
		      bad = cut;
	uint64_t floor = 77;

	assert_refused(s,
		       wb_stream_truncate(NULL, s->txn, &cut, &floor, &s->err),
		       WB_EINVAL, "store is NULL");
	assert_refused(s,
		       wb_stream_truncate(store, NULL, &cut, &floor, &s->err),
		       WB_EINVAL, "txn is NULL");
	assert_refused(s,
		       wb_stream_truncate(store, s->txn, NULL, &floor, &s->err),
		       WB_EINVAL, "cut is NULL");
	bad.max = 100001;
	assert_refused(s,
		       wb_stream_truncate(store, s->txn, &bad, &floor, &s->err),
		       WB_EINVAL, "max is over 100000");
	assert_refused(
		s, wb_stream_truncate(store, s->foreign, &cut, &floor, &s->err),
		WB_EINVAL, "another environment");
	bad = cut;
	bad.stream = S("");
	assert_refused(s,
		       wb_stream_truncate(store, s->txn, &bad, &floor, &s->err),
		       WB_EINVAL, "");
	bad.stream = S("nobody");
	assert_refused(s,
		       wb_stream_truncate(store, s->txn, &bad, &floor, &s->err),
		       WB_ENOTFOUND, "there is none");
	bad = cut;
	bad.before = 0;
	assert_refused(s,
		       wb_stream_truncate(store, s->txn, &bad, &floor, &s->err),
		       WB_EINVAL, "give 1 to 4");
	bad.before = 5;
	assert_refused(s,
		       wb_stream_truncate(store, s->txn, &bad, &floor, &s->err),
		       WB_EINVAL, "give 1 to 4");
	assert_refused(s,
		       wb_stream_truncate(store, s->txn, &cut, &floor, &s->err),
		       WB_ESTATE, "not delivered yet");
	assert_int_equal(floor, 77);
}

/* ---- snapshots ----------------------------------------------------------- */

static void a_snapshot_that_is_not_one_is_refused(void **state)
{
	scene *s = *state;
	wb_store *store = s->rig.store;
	wb_str name = S("account/7");
	const wb_snapshot good = {.version = 3, .tag = S("a.1")};
	wb_snapshot bad = good, got = {.version = 77};

	assert_refused(s,
		       wb_snapshot_save(NULL, s->txn, name, &good, 0, &s->err),
		       WB_EINVAL, "store is NULL");
	assert_refused(s,
		       wb_snapshot_save(store, NULL, name, &good, 0, &s->err),
		       WB_EINVAL, "txn is NULL");
	assert_refused(s,
		       wb_snapshot_save(store, s->txn, name, NULL, 0, &s->err),
		       WB_EINVAL, "snapshot is NULL");
	assert_refused(
		s, wb_snapshot_save(store, s->foreign, name, &good, 0, &s->err),
		WB_EINVAL, "another environment");
	bad.tag = S("a\n1");
	assert_refused(s,
		       wb_snapshot_save(store, s->txn, name, &bad, 0, &s->err),
		       WB_EINVAL, "its tag");
	assert_refused(
		s, wb_snapshot_save(store, s->txn, S("b"), &good, 0, &s->err),
		WB_ENOTFOUND, "there is none");
	assert_refused(s,
		       wb_snapshot_find(NULL, s->txn, name, good.tag, 3, &got,
					&s->err),
		       WB_EINVAL, "store is NULL");
	assert_refused(
		s,
		wb_snapshot_find(store, NULL, name, good.tag, 3, &got, &s->err),
		WB_EINVAL, "txn is NULL");
	assert_refused(s,
		       wb_snapshot_find(store, s->txn, name, good.tag, 3, NULL,
					&s->err),
		       WB_EINVAL, "ret is NULL");
	assert_refused(s,
		       wb_snapshot_find(store, s->foreign, name, good.tag, 3,
					&got, &s->err),
		       WB_EINVAL, "another environment");
	assert_refused(s,
		       wb_snapshot_find(store, s->txn, S(""), good.tag, 3, &got,
					&s->err),
		       WB_EINVAL, "");
	assert_int_equal(got.version, 77);
}

/* ---- aggregates ---------------------------------------------------------- */

static wb_code apply(void *sum, const wb_stream_event *event, void *ctx,
		     wb_error *err)
{
	(void)event, (void)ctx, (void)err;
	++*(int *)sum;
	return WB_OK;
}

static wb_code save(const void *sum, wb_str *ret, void *ctx, wb_error *err)
{
	(void)ctx, (void)err;
	*ret = wb_str_n(sum, sizeof(int));
	return WB_OK;
}

static wb_aggregate_def sum_def(void)
{
	wb_aggregate_def def = WB_AGGREGATE_DEF_INIT;

	def.category = "account";
	def.state_bytes = sizeof(int);
	def.apply = apply;
	return def;
}

static wb_aggregate *sum_open(scene *s, const wb_aggregate_def *def)
{
	wb_error err = WB_ERROR_INIT;
	wb_aggregate *a = NULL;

	assert_ok(wb_aggregate_open(s->rig.outbox, def, &a, &err), err);
	return a;
}

static void a_definition_that_lacks_something_is_refused(void **state)
{
	scene *s = *state;
	wb_aggregate_def def = sum_def(), bad[9];
	static const char *const words[] = {"WB_AGGREGATE_DEF_INIT",
					    "category",
					    "category",
					    "category",
					    "category",
					    "apply",
					    "state_bytes",
					    "save",
					    "tag"};
	wb_aggregate *a = NULL;

	for (size_t i = 0; i < WBI_COUNT(bad); i++)
		bad[i] = def;
	bad[0].size = 8;
	bad[1].category = NULL;
	bad[2].category = "";
	bad[3].category = "a/b";
	bad[4].category = s->long_name;
	bad[5].apply = NULL;
	bad[6].state_bytes = 0;
	bad[7].save = save;
	bad[8].snapshot_every = 5;
	for (size_t i = 0; i < WBI_COUNT(bad); i++)
		assert_refused(
			s,
			wb_aggregate_open(s->rig.outbox, &bad[i], &a, &s->err),
			WB_EINVAL, words[i]);
	assert_refused(s, wb_aggregate_open(NULL, &def, &a, &s->err), WB_EINVAL,
		       "outbox is NULL");
	assert_refused(s, wb_aggregate_open(s->rig.outbox, NULL, &a, &s->err),
		       WB_EINVAL, "def is NULL");
	assert_null(a);
	wb_aggregate_close(NULL);
}

static void an_aggregate_is_loaded_by_a_good_id_only(void **state)
{
	scene *s = *state;
	wb_aggregate_def def = sum_def();
	wb_aggregate *a = sum_open(s, &def);

	assert_refused(
		s,
		wb_aggregate_load(NULL, NULL, S("7"), WB_STREAM_ANY, &s->err),
		WB_EINVAL, "NULL");
	assert_refused(
		s, wb_aggregate_load(a, NULL, S(""), WB_STREAM_ANY, &s->err),
		WB_EINVAL, "an id of 0 bytes");
	assert_refused(s,
		       wb_aggregate_load(a, NULL, wb_str_from(s->long_name),
					 WB_STREAM_ANY, &s->err),
		       WB_ELIMIT, "1 to 247");
	assert_refused(
		s,
		wb_aggregate_load(a, NULL, S("a\x01"), WB_STREAM_ANY, &s->err),
		WB_EINVAL, "");
	assert_int_equal(wb_aggregate_version(a), 0);
	assert_null(wb_aggregate_state(a));
	assert_refused(s, wb_aggregate_snapshot(NULL, s->txn, S("7"), &s->err),
		       WB_EINVAL, "aggregate is NULL");
	assert_refused(s, wb_aggregate_snapshot(a, NULL, S("7"), &s->err),
		       WB_EINVAL, "txn is NULL");
	assert_refused(s, wb_aggregate_snapshot(a, s->txn, S("7"), &s->err),
		       WB_ESTATE, "no tag");
	wb_aggregate_close(a);
}

/* ---- commands ------------------------------------------------------------ */

/* What a command's function is to do. */
typedef struct wish {
	wb_event event;
	size_t count;
	bool silent;   /* what wb_decide() says is not passed on */
	wb_code plain; /* a code, and no word about it */
	char text[WB_ERROR_TEXT_MAX]; /* what wb_decide() said */
} wish;

static wb_code decide(wb_decision *d, const void *sum, void *arg, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wish *w = arg;
	wb_code code = w->plain;

	(void)sum;
	for (size_t i = 0; i < w->count && code == WB_OK; i++)
		code = wb_decide(d, &w->event, &why);
	snprintf(w->text, sizeof(w->text), "%s", why.text);
	if (w->silent)
		return WB_OK;
	if (code != WB_OK && why.code != WB_OK)
		*err = why;
	return code;
}

static wb_code carry_out(scene *s, wb_aggregate *a, wish *w, wb_error *err)
{
	wb_aggregate_command command = WB_AGGREGATE_COMMAND_INIT;

	command.decide = decide;
	command.arg = w;
	return wb_aggregate_execute(a, s->txn, S("7"), &command, NULL, err);
}

static void a_command_that_is_not_one_is_refused(void **state)
{
	scene *s = *state;
	wb_aggregate_def def = sum_def();
	wb_aggregate *a = sum_open(s, &def);
	wb_aggregate_command good = WB_AGGREGATE_COMMAND_INIT, none = good;

	none.size = 0;
	good.decide = decide;
	none.decide = decide;
	assert_refused(
		s,
		wb_aggregate_execute(NULL, NULL, S("7"), &good, NULL, &s->err),
		WB_EINVAL, "aggregate is NULL");
	assert_refused(
		s, wb_aggregate_execute(a, NULL, S("7"), NULL, NULL, &s->err),
		WB_EINVAL, "command is NULL");
	assert_refused(
		s, wb_aggregate_execute(a, NULL, S("7"), &none, NULL, &s->err),
		WB_EINVAL, "WB_AGGREGATE_COMMAND_INIT");
	good.decide = NULL;
	assert_refused(
		s, wb_aggregate_execute(a, NULL, S("7"), &good, NULL, &s->err),
		WB_EINVAL, "decide is NULL");
	good.decide = decide;
	assert_refused(
		s, wb_aggregate_execute(a, NULL, S(""), &good, NULL, &s->err),
		WB_EINVAL, "an id of 0 bytes");
	wb_aggregate_close(a);
}

/* Whether its function passes the refusal on or not. */
static void a_decision_that_is_too_large_decides_nothing(void **state)
{
	wb_header header = {S("a"), S("b")};
	scene *s = *state;
	wb_aggregate_def def = sum_def();
	wb_aggregate *a = sum_open(s, &def);
	wb_event event = {.type = S("done")}, big = event, headed = event,
		 unheaded = event;
	wish wishes[] = {{.event = event, .count = WB_DECISION_EVENTS_MAX + 1},
			 {.event = big, .count = 1},
			 {.event = headed, .count = 1},
			 {.event = unheaded, .count = 1}};
	static const char *const words[] = {"over 1000 events", "an event over",
					    "an event of",
					    "an event of 1 headers"};

	/* Nobody looks that far. */
	wishes[1].event.data = wb_str_n("x", WBI_DATA_MAX + 1);
	wishes[2].event.headers = &header;
	wishes[2].event.header_count = WBI_HEADERS_MAX + 1;
	wishes[3].event.header_count = 1;
	for (size_t i = 0; i < WBI_COUNT(wishes); i++) {
		wb_error err = WB_ERROR_INIT;
		wb_code code = carry_out(s, a, &wishes[i], &err);

		assert_true(code == WB_ELIMIT || code == WB_EINVAL);
		if (!strstr(err.text, words[i]))
			fail_msg("%s: no %s", err.text, words[i]);
		wishes[i].silent = true;
		assert_refused(s, carry_out(s, a, &wishes[i], &s->err), code,
			       "was refused");
	}
	assert_refused(s, wb_decide(NULL, &event, &s->err), WB_EINVAL,
		       "decision is NULL");
	wb_aggregate_close(a);
}

static void a_refusal_without_a_word_has_one(void **state)
{
	scene *s = *state;
	wb_aggregate_def def = sum_def();
	wb_aggregate *a = sum_open(s, &def);
	wish w = {.plain = WB_EREJECTED};

	assert_refused(s, carry_out(s, a, &w, &s->err), WB_EREJECTED,
		       "the command was refused");
	assert_int_equal(carry_out(s, a, &w, NULL), WB_EREJECTED);
	wb_aggregate_close(a);
}

/* Headers and all; the caller's memory is free again at once. */
static void what_is_decided_is_copied(void **state)
{
	scene *s = *state;
	wb_aggregate_def def = sum_def();
	wb_aggregate *a = sum_open(s, &def);
	wb_header header = {S("shelf"), S("value")};
	wish w = {.event = {.type = S("done"),
			    .headers = &header,
			    .header_count = 1},
		  .count = 40};
	wb_error err = WB_ERROR_INIT;

	assert_ok(carry_out(s, a, &w, &err), err);
	assert_int_equal(wb_aggregate_version(a), 43);
	assert_int_equal(*(const int *)wb_aggregate_state(a), 43);
	wb_aggregate_close(a);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH(an_append_that_is_not_one_is_refused),
		WITH(a_write_of_two_says_which_is_wrong),
		WITH(a_query_that_is_not_one_is_refused),
		WITH(a_reader_at_its_end_finds_nothing),
		WITH(a_question_that_is_not_one_is_refused),
		WITH(a_cut_that_is_not_one_is_refused),
		WITH(a_snapshot_that_is_not_one_is_refused),
		WITH(a_definition_that_lacks_something_is_refused),
		WITH(an_aggregate_is_loaded_by_a_good_id_only),
		WITH(a_command_that_is_not_one_is_refused),
		WITH(a_decision_that_is_too_large_decides_nothing),
		WITH(a_refusal_without_a_word_has_one),
		WITH(what_is_decided_is_copied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
