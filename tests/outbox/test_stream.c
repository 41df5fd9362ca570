/* SPDX-License-Identifier: BSD-2-Clause */
/* A stream's versions are 1, 2, 3, ... whoever writes and whatever is aborted;
 * what is refused is refused before anything is written, and says why. */
#include "tests/outbox/stream_rig.h"

#include "lib/base/assert.h"
#include "lib/event/record.h"

static wb_code append_some(stream_rig *rig, MDB_txn *txn, const char *stream,
			   uint64_t expected, const wb_event *events,
			   size_t count, wb_stream_written *ret, wb_error *err)
{
	wb_stream_write write = {.stream = wb_str_from(stream),
				 .expected = expected,
				 .events = events,
				 .count = count};

	return wb_stream_append(rig->outbox, txn, &write, ret, err);
}

static void versions_are_counted_per_stream_and_positions_in_all(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_stream_written written;
	wb_stream_info info;
	stream_rig rig;

	rig_make(&rig, place->store);
	assert_ok(rig_append(&rig, "a/1", WB_STREAM_NONE, 1, NULL, &written,
			     &err),
		  err);
	assert_int_equal(written.version, 1);
	assert_int_equal(written.position, 1);
	assert_ok(
		rig_append(&rig, "b/1", WB_STREAM_ANY, 1, NULL, &written, &err),
		err);
	assert_int_equal(written.version, 1);
	assert_int_equal(written.position, 2);
	assert_ok(rig_append(&rig, "a/1", WB_STREAM_EXISTS, 2, NULL, &written,
			     &err),
		  err);
	assert_int_equal(written.version, 2);
	assert_ok(wb_stream_stat(rig.store, NULL, S("a/1"), &info, &err), err);
	assert_int_equal(info.version, 2);
	assert_int_equal(info.position, 3);
	assert_int_equal(info.floor, 1);
	assert_int_equal(info.snapshot, 0);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void many_versions_are_read_both_ways_and_from_each(void **state)
{
	test_place *place = *state;
	stream_rig rig;

	rig_make(&rig, place->store);
	for (unsigned i = 0; i < 5; i++) {
		rig_grow(&rig, "a/1", 7);
		rig_grow(&rig, "a/2", 5);
		rig_grow(&rig, "plain", 3);
	}
	for (uint64_t from = 1; from <= 35; from++)
		rig_assert_stream(&rig, "a/1", from, 35);
	rig_assert_stream(&rig, "a/2", 1, 25);
	rig_assert_stream(&rig, "plain", 1, 15);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

struct conflict {
	uint64_t expected;
	const char *stream, *says;
};

static void a_conflict_names_what_was_expected_and_what_is(void **state)
{
	const struct conflict cases[] = {
		{1, "a/1", "expected at version 1, it is at version 3"},
		{4, "a/1", "expected at version 4, it is at version 3"},
		{WB_STREAM_NONE, "a/1",
		 "expected not to exist, it is at version 3"},
		{2, "a/2", "expected at version 2, it does not exist"},
		{WB_STREAM_EXISTS, "a/2", "expected to exist"},
	};
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	stream_rig rig;
	uint64_t first, head;

	rig_make(&rig, place->store);
	rig_grow(&rig, "a/1", 3);
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wb_code code =
			rig_append(&rig, cases[i].stream, cases[i].expected, 9,
				   NULL, NULL, &err);

		assert_int_equal(code, WB_ECONFLICT);
		assert_int_equal(err.class_, WB_CLASS_RETRY);
		assert_non_null(strstr(err.text, cases[i].says));
		assert_non_null(strstr(err.text, cases[i].stream));
		wb_error_clear(&err);
	}
	test_range(rig.store, &first, &head);
	assert_int_equal(head, 3);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void a_repeat_with_its_ids_is_answered_as_before(void **state)
{
	const wb_event both[] = {{.type = S("x"), .id = S("i1")},
				 {.type = S("x"), .id = S("i2")}};
	const wb_event other[] = {{.type = S("x"), .id = S("i1")},
				  {.type = S("x"), .id = S("i3")}};
	const wb_event nameless[] = {{.type = S("x")}};
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_stream_written once, again;
	stream_rig rig;
	MDB_txn *txn;

	rig_make(&rig, place->store);
	rig_grow(&rig, "a/1", 6);
	txn = rig_begin(&rig);
	assert_ok(append_some(&rig, txn, "a/1", 6, both, 2, &once, &err), err);
	assert_int_equal(once.version, 8);
	assert_ok(append_some(&rig, txn, "a/1", 6, both, 2, &again, &err), err);
	assert_true(again.repeated);
	assert_int_equal(again.version, once.version);
	assert_int_equal(again.position, once.position);
	rig_commit(&rig, txn);
	rig_grow(&rig, "a/1", 1);
	txn = rig_begin(&rig);
	assert_ok(append_some(&rig, txn, "a/1", 6, both, 2, &again, &err), err);
	assert_int_equal(again.position, once.position);
	/* The first half alone is part of it, too. */
	assert_ok(append_some(&rig, txn, "a/1", 6, both, 1, &again, &err), err);
	assert_int_equal(again.version, 7);
	assert_code(append_some(&rig, txn, "a/1", 6, other, 2, NULL, &err),
		    WB_ECONFLICT, err);
	assert_code(append_some(&rig, txn, "a/1", 7, both, 1, NULL, &err),
		    WB_ECONFLICT, err);
	assert_code(append_some(&rig, txn, "a/1", 6, nameless, 1, NULL, &err),
		    WB_ECONFLICT, err);
	/* No such promise with "any". */
	assert_ok(append_some(&rig, txn, "a/1", WB_STREAM_ANY, both, 1, &again,
			      &err),
		  err);
	assert_false(again.repeated);
	assert_int_equal(again.version, 10);
	rig_commit(&rig, txn);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void several_streams_are_one_transaction(void **state)
{
	const wb_event event = {.type = S("x")};
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_stream_info info;
	MDB_txn *txn, *child;
	stream_rig rig;

	rig_make(&rig, place->store);
	txn = rig_begin(&rig);
	assert_ok(append_some(&rig, txn, "a/1", 0, &event, 1, NULL, &err), err);
	assert_ok(append_some(&rig, txn, "b/1", 0, &event, 1, NULL, &err), err);
	wb_store_abort(txn);
	assert_code(wb_stream_stat(rig.store, NULL, S("a/1"), &info, &err),
		    WB_ENOTFOUND, err);
	txn = rig_begin(&rig);
	assert_ok(append_some(&rig, txn, "a/1", 0, &event, 1, NULL, &err), err);
	assert_int_equal(mdb_txn_begin(wb_store_env(rig.store), txn, 0, &child),
			 0);
	assert_ok(append_some(&rig, child, "a/1", 1, &event, 1, NULL, &err),
		  err);
	assert_ok(append_some(&rig, child, "b/1", 0, &event, 1, NULL, &err),
		  err);
	mdb_txn_abort(child);
	assert_ok(append_some(&rig, txn, "a/1", 1, &event, 1, NULL, &err), err);
	assert_ok(append_some(&rig, txn, "c/1", 0, &event, 1, NULL, &err), err);
	rig_commit(&rig, txn);
	assert_ok(wb_stream_stat(rig.store, NULL, S("a/1"), &info, &err), err);
	assert_int_equal(info.version, 2);
	assert_code(wb_stream_stat(rig.store, NULL, S("b/1"), &info, &err),
		    WB_ENOTFOUND, err);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void an_event_of_a_stream_has_its_subject_version_and_key(void **state)
{
	const wb_event events[] = {{.type = S("x")},
				   {.type = S("x"),
				    .key = S("mine"),
				    .subject = S("a/1"),
				    .sequence = 2}};
	const wb_event wrong[] = {{.type = S("x"), .subject = S("a/2")},
				  {.type = S("x"), .sequence = 7},
				  {.data = S("no type")}};
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_stream_reader *reader;
	wb_stream_event got;
	stream_rig rig;
	MDB_txn *txn;

	rig_make(&rig, place->store);
	txn = rig_begin(&rig);
	for (size_t i = 0; i < WBI_COUNT(wrong); i++)
		assert_code(append_some(&rig, txn, "a/1", 0, &wrong[i], 1, NULL,
					&err),
			    WB_EINVAL, err);
	assert_ok(append_some(&rig, txn, "a/1", 0, events, 2, NULL, &err), err);
	query.stream = S("a/1");
	assert_ok(wb_stream_open(rig.store, txn, &query, &reader, &err), err);
	assert_ok(wb_stream_next(reader, &got, &err), err);
	assert_true(wb_str_eq(got.event.key, S("a/1")));
	assert_true(wb_str_eq(got.event.subject, S("a/1")));
	assert_int_equal(got.event.sequence, 1);
	assert_ok(wb_stream_next(reader, &got, &err), err);
	assert_true(wb_str_eq(got.event.key, S("mine")));
	assert_int_equal(got.event.sequence, 2);
	assert_code(wb_stream_next(reader, &got, &err), WB_ENOTFOUND, err);
	/* A reader in a write transaction sees what is appended next. */
	assert_ok(append_some(&rig, txn, "a/1", 2, events, 1, NULL, &err), err);
	assert_ok(wb_stream_next(reader, &got, &err), err);
	assert_int_equal(got.event.sequence, 3);
	wb_stream_close(reader);
	rig_commit(&rig, txn);
	rig_close(&rig);
}

static void a_bad_name_is_refused_with_the_reason(void **state)
{
	static char long_name[257];
	const struct {
		const char *name, *says;
		wb_code code;
	} cases[] = {{"", "without a name", WB_EINVAL},
		     {"/x", "begins with '/'", WB_EINVAL},
		     {"a\nb", "byte 1", WB_EINVAL},
		     {long_name, "256 bytes", WB_ELIMIT}};
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	stream_rig rig;

	memset(long_name, 'x', 256);
	rig_make(&rig, place->store);
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		assert_int_equal(rig_append(&rig, cases[i].name, WB_STREAM_ANY,
					    1, NULL, NULL, &err),
				 cases[i].code);
		assert_non_null(strstr(err.text, cases[i].says));
		wb_error_clear(&err);
	}
	rig_close(&rig);
}

static void a_store_that_lets_events_go_takes_no_streams(void **state)
{
	const wb_event event = {.type = S("x")};
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	stream_rig rig;
	MDB_txn *txn;

	wb_store_close(test_store_make(place->store));
	rig_open(&rig, place->store);
	txn = rig_begin(&rig);
	assert_int_equal(
		append_some(&rig, txn, "a/1", 0, &event, 1, NULL, &err),
		WB_ESTATE);
	assert_non_null(strstr(err.text, "--keep-all"));
	wb_store_abort(txn);
	rig_close(&rig);
}

/* Interleaved streams of two categories and events of none. */
static void fill_mixed(stream_rig *rig, unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		rig_grow(rig, i % 3 ? "room/1" : "room/2", 1);
		test_append(rig->store, i, 1);
		rig_grow(rig, "slot/1", 1);
	}
}

static uint64_t count_read(stream_rig *rig, wb_stream_query *query,
			   uint64_t *ret_sum)
{
	wb_error err = WB_ERROR_INIT;
	wb_stream_reader *reader = NULL;
	uint64_t count = 0, last = query->after;
	wb_stream_event got;
	wb_code code;

	assert_ok(wb_stream_open(rig->store, NULL, query, &reader, &err), err);
	while ((code = wb_stream_next(reader, &got, &err)) == WB_OK) {
		assert_true(query->backwards ? last == 0 || got.position < last
					     : got.position > last);
		last = got.position;
		*ret_sum += got.position;
		count++;
		if (count % 4 == 0)
			wb_stream_pause(reader);
	}
	assert_int_equal(code, WB_ENOTFOUND);
	assert_int_equal(err.code, WB_OK);
	wb_stream_close(reader);
	return count;
}

static void a_category_and_all_are_read_in_commit_order(void **state)
{
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	test_place *place = *state;
	uint64_t there = 0, back = 0, half = 0;
	stream_rig rig;

	rig_make(&rig, place->store);
	assert_int_equal(count_read(&rig, &query, &there), 0);
	fill_mixed(&rig, 100);
	query.category = S("room");
	assert_int_equal(count_read(&rig, &query, &there), 100);
	query.after = 150; /* any position, not only one of the category */
	assert_int_equal(count_read(&rig, &query, &half), 50);
	query.after = 0;
	query.backwards = true;
	assert_int_equal(count_read(&rig, &query, &back), 100);
	assert_true(there == back && half < there);
	query.after = 151;
	assert_int_equal(count_read(&rig, &query, &back), 50);
	query.category = WB_STR_NULL;
	query.after = 0;
	there = back = 0;
	assert_int_equal(count_read(&rig, &query, &back), 200);
	query.backwards = false;
	assert_int_equal(count_read(&rig, &query, &there), 200);
	assert_true(there == back);
	query.after = 298;
	assert_int_equal(count_read(&rig, &query, &there), 1);
	query.category = S("nothing");
	assert_int_equal(count_read(&rig, &query, &there), 0);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void names_are_listed_in_order_page_by_page(void **state)
{
	char name[WB_STREAM_NAME_MAX + 1];
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	stream_rig rig;

	rig_make(&rig, place->store);
	assert_int_equal(
		wb_stream_next_name(rig.store, NULL, WB_STR_NULL, name, &err),
		WB_ENOTFOUND);
	rig_grow(&rig, "b/2", 1);
	rig_grow(&rig, "a/1", 1);
	rig_grow(&rig, "b/1", 1);
	assert_ok(wb_stream_next_name(rig.store, NULL, WB_STR_NULL, name, &err),
		  err);
	assert_string_equal(name, "a/1");
	assert_ok(wb_stream_next_name(rig.store, NULL, S("b/"), name, &err),
		  err);
	assert_string_equal(name, "b/1");
	assert_ok(wb_stream_next_name(rig.store, NULL, S("b/1"), name, &err),
		  err);
	assert_string_equal(name, "b/2");
	assert_int_equal(
		wb_stream_next_name(rig.store, NULL, S("b/2"), name, &err),
		WB_ENOTFOUND);
	assert_int_equal(err.code, WB_OK);
	rig_close(&rig);
}

/* A record of another version in its place, whole in itself. */
static void damage_version(stream_rig *rig, uint64_t position)
{
	wbi_journal outbox = wbi_journal_of(rig->store, WBI_OUTBOX);
	wb_event event = {.type = S("x"),
			  .id = S("i"),
			  .source = S("/test"),
			  .subject = S("a/1"),
			  .sequence = 99};
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = rig_begin(rig);
	uint8_t bytes[256];
	size_t size = wbi_record_size(&event);

	wbi_record_encode_as(&event, position, WBI_RECORD_STREAM, bytes, size);
	assert_ok(wbi_put_at(txn, outbox.table, position, wb_str_n(bytes, size),
			     &err),
		  err);
	rig_commit(rig, txn);
}

static void a_record_that_is_not_the_version_is_damage(void **state)
{
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_stream_reader *reader;
	wb_stream_event got;
	stream_rig rig;

	rig_make(&rig, place->store);
	rig_grow(&rig, "a/1", 3);
	damage_version(&rig, 2);
	query.stream = S("a/1");
	assert_ok(wb_stream_open(rig.store, NULL, &query, &reader, &err), err);
	assert_ok(wb_stream_next(reader, &got, &err), err);
	for (int i = 0; i < 2; i++)
		assert_code(wb_stream_next(reader, &got, &err), WB_ECORRUPT,
			    err);
	wb_stream_close(reader);
	rig_close(&rig);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		TEST(versions_are_counted_per_stream_and_positions_in_all),
		TEST(many_versions_are_read_both_ways_and_from_each),
		TEST(a_conflict_names_what_was_expected_and_what_is),
		TEST(a_repeat_with_its_ids_is_answered_as_before),
		TEST(several_streams_are_one_transaction),
		TEST(an_event_of_a_stream_has_its_subject_version_and_key),
		TEST(a_bad_name_is_refused_with_the_reason),
		TEST(a_store_that_lets_events_go_takes_no_streams),
		TEST(a_category_and_all_are_read_in_commit_order),
		TEST(names_are_listed_in_order_page_by_page),
		TEST(a_record_that_is_not_the_version_is_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
