/* SPDX-License-Identifier: BSD-2-Clause */
/* Snapshots, which change nothing but speed, and truncation, which lets go of
 * what events said and of nothing else. */
#include "tests/outbox/relay_rig.h"
#include "tests/outbox/stream_rig.h"

#include <string.h>

#include "lib/base/assert.h"
#include "lib/event/record.h"
#include "lib/journal/inbox_rows.h"
#include "lib/journal/maintain.h"

static void save(stream_rig *rig, const char *stream, uint64_t version,
		 const char *tag, const char *data, uint32_t keep)
{
	wb_snapshot snapshot = {.version = version,
				.tag = wb_str_from(tag),
				.data = wb_str_from(data)};
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = rig_begin(rig);

	assert_ok(wb_snapshot_save(rig->store, txn, wb_str_from(stream),
				   &snapshot, keep, &err),
		  err);
	rig_commit(rig, txn);
}

/* The version of the snapshot that is found; 0: none. */
static uint64_t find(stream_rig *rig, const char *stream, const char *tag,
		     uint64_t at, const char *data)
{
	wb_error err = WB_ERROR_INIT;
	wb_snapshot got = {0};
	MDB_txn *txn = rig_begin(rig);
	wb_code code = wb_snapshot_find(rig->store, txn, wb_str_from(stream),
					wb_str_from(tag), at, &got, &err);

	if (code == WB_OK)
		assert_true(wb_str_eq(got.data, wb_str_from(data)));
	else
		assert_int_equal(code, WB_ENOTFOUND);
	assert_int_equal(err.code, WB_OK);
	wb_store_abort(txn);
	return code == WB_OK ? got.version : 0;
}

static wb_code cut(stream_rig *rig, const char *stream, uint64_t before,
		   bool without_snapshot, wb_error *err)
{
	wb_stream_cut what = {.stream = wb_str_from(stream),
			      .before = before,
			      .max = 2,
			      .without_snapshot = without_snapshot};
	uint64_t floor = 0, was = 0;
	wb_code code;

	do {
		MDB_txn *txn = rig_begin(rig);

		was = floor;
		code = wb_stream_truncate(rig->store, txn, &what, &floor, err);
		rig_commit(rig, txn);
		assert_true(code != WB_OK || floor > was || floor >= before);
	} while (code == WB_OK && floor < before);
	return code;
}

static void settle_all(stream_rig *rig)
{
	uint64_t first, head;

	test_range(rig->store, &first, &head);
	rig_settle(rig, head, head);
}

static void the_newest_snapshot_of_a_tag_at_a_version_is_found(void **state)
{
	test_place *place = *state;
	wb_stream_info info;
	wb_error err = WB_ERROR_INIT;
	stream_rig rig;

	rig_make(&rig, place->store);
	assert_int_equal(find(&rig, "a/1", "t", 9, ""), 0);
	rig_grow(&rig, "a/1", 9);
	rig_grow(&rig, "a/2", 9);
	save(&rig, "a/1", 2, "t", "two", 9);
	save(&rig, "a/1", 4, "t", "four", 9);
	save(&rig, "a/1", 6, "other", "six", 9);
	save(&rig, "a/2", 1, "t", "not yours", 9);
	assert_int_equal(find(&rig, "a/1", "t", UINT64_MAX, "four"), 4);
	assert_int_equal(find(&rig, "a/1", "t", 4, "four"), 4);
	assert_int_equal(find(&rig, "a/1", "t", 3, "two"), 2);
	assert_int_equal(find(&rig, "a/1", "t", 1, ""), 0);
	assert_int_equal(find(&rig, "a/1", "", 8, "six"), 6);
	assert_int_equal(find(&rig, "a/1", "none", 8, ""), 0);
	save(&rig, "a/1", 4, "t", "four again", 9);
	assert_int_equal(find(&rig, "a/1", "t", 4, "four again"), 4);
	assert_ok(wb_stream_stat(rig.store, NULL, S("a/1"), &info, &err), err);
	assert_int_equal(info.snapshot, 6);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void only_the_last_few_snapshots_are_kept(void **state)
{
	test_place *place = *state;
	stream_rig rig;

	rig_make(&rig, place->store);
	rig_grow(&rig, "a/1", 9);
	for (uint64_t v = 1; v <= 9; v++)
		save(&rig, "a/1", v, "t", "x", 3);
	assert_int_equal(find(&rig, "a/1", "t", 7, "x"), 7);
	assert_int_equal(find(&rig, "a/1", "t", 6, "x"), 0);
	save(&rig, "a/1", 9, "t", "x", 0);
	assert_int_equal(find(&rig, "a/1", "t", 8, "x"), 8);
	assert_int_equal(find(&rig, "a/1", "t", 7, "x"), 0);
	rig_close(&rig);
}

static void a_snapshot_of_what_is_not_is_refused(void **state)
{
	static const char tag[65] = "0123456789012345678901234567890123456789"
				    "012345678901234567890123";
	const struct {
		wb_snapshot snapshot;
		wb_code code;
	} cases[] = {{{.version = 4, .tag = S("t")}, WB_EINVAL},
		     {{.version = 0, .tag = S("t")}, WB_EINVAL},
		     {{.version = 1}, WB_EINVAL},
		     {{.version = 1, .tag = {tag, 65}}, WB_EINVAL},
		     {{.version = 1,
		       .tag = S("t"),
		       .data = {tag, WB_SNAPSHOT_BYTES_MAX + 1}},
		      WB_ELIMIT}};
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	stream_rig rig;
	MDB_txn *txn;

	rig_make(&rig, place->store);
	rig_grow(&rig, "a/1", 3);
	txn = rig_begin(&rig);
	for (size_t i = 0; i < WBI_COUNT(cases); i++)
		assert_code(wb_snapshot_save(rig.store, txn, S("a/1"),
					     &cases[i].snapshot, 0, &err),
			    cases[i].code, err);
	assert_code(wb_snapshot_save(rig.store, txn, S("b"), &cases[0].snapshot,
				     0, &err),
		    WB_ENOTFOUND, err);
	wb_store_abort(txn);
	rig_close(&rig);
}

static void reading_below_the_floor_says_where_it_is(void **state)
{
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_stream_reader *reader;
	wb_stream_event got;
	wb_stream_info info;
	stream_rig rig;

	rig_make(&rig, place->store);
	rig_grow(&rig, "a/1", 20);
	rig_grow(&rig, "a/2", 2);
	settle_all(&rig);
	assert_ok(cut(&rig, "a/1", 12, true, &err), err);
	assert_ok(cut(&rig, "a/1", 5, true, &err), err); /* done already */
	assert_ok(wb_stream_stat(rig.store, NULL, S("a/1"), &info, &err), err);
	assert_int_equal(info.floor, 12);
	assert_int_equal(info.version, 20);
	rig_assert_stream(&rig, "a/1", 12, 20);
	query.stream = S("a/1");
	assert_ok(wb_stream_open(rig.store, NULL, &query, &reader, &err), err);
	assert_int_equal(wb_stream_next(reader, &got, &err), WB_ETRUNCATED);
	assert_non_null(strstr(err.text, "its floor is 12"));
	assert_non_null(strstr(err.text, "a/1"));
	wb_error_clear(&err);
	wb_stream_close(reader);
	/* Backwards the end is reached the same way. */
	query.backwards = true;
	query.after = 13;
	assert_ok(wb_stream_open(rig.store, NULL, &query, &reader, &err), err);
	assert_ok(wb_stream_next(reader, &got, &err), err);
	assert_code(wb_stream_next(reader, &got, &err), WB_ETRUNCATED, err);
	wb_stream_close(reader);
	/* So do a category and all that come across a stub. */
	query = (wb_stream_query)WB_STREAM_QUERY_INIT;
	assert_ok(wb_stream_open(rig.store, NULL, &query, &reader, &err), err);
	assert_code(wb_stream_next(reader, &got, &err), WB_ETRUNCATED, err);
	wb_stream_close(reader);
	query.category = S("a");
	assert_ok(wb_stream_open(rig.store, NULL, &query, &reader, &err), err);
	assert_code(wb_stream_next(reader, &got, &err), WB_ETRUNCATED, err);
	wb_stream_close(reader);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void a_stub_says_what_stood_there_and_no_more(void **state)
{
	const wb_header header = {S("who"), S("me")};
	const wb_event event = {.id = S("the-id"),
				.type = S("thing.done"),
				.correlation_id = S("c"),
				.headers = &header,
				.header_count = 1,
				.data = S("secret")};
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	wb_stream_write write = {
		.stream = S("a/1"), .events = &event, .count = 1};
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_stream_written again;
	wb_stream_reader *reader;
	wb_stream_event got;
	stream_rig rig;
	MDB_txn *txn;

	rig_make(&rig, place->store);
	txn = rig_begin(&rig);
	assert_ok(wb_stream_append(rig.outbox, txn, &write, NULL, &err), err);
	rig_commit(&rig, txn);
	settle_all(&rig);
	assert_ok(cut(&rig, "a/1", 2, true, &err), err);
	query.stubs = true;
	query.category = S("a");
	assert_ok(wb_stream_open(rig.store, NULL, &query, &reader, &err), err);
	assert_ok(wb_stream_next(reader, &got, &err), err);
	assert_true(got.truncated);
	assert_true(wb_str_eq(got.event.id, S("the-id")));
	assert_true(wb_str_eq(got.event.type, S("thing.done")));
	assert_int_equal(got.event.sequence, 1);
	assert_int_equal(got.position, 1);
	assert_int_equal(got.event.header_count, 0);
	assert_int_equal(got.event.data.len + got.event.correlation_id.len, 0);
	wb_stream_close(reader);
	/* A repeat is known all the same, and the stream goes on. */
	txn = rig_begin(&rig);
	assert_ok(wb_stream_append(rig.outbox, txn, &write, &again, &err), err);
	assert_true(again.repeated);
	rig_commit(&rig, txn);
	rig_grow(&rig, "a/1", 1);
	rig_assert_stream(&rig, "a/1", 2, 2);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void assert_refused(stream_rig *rig, uint64_t before, bool without,
			   wb_code code, const char *says)
{
	wb_error err = WB_ERROR_INIT;

	assert_int_equal(cut(rig, "a/1", before, without, &err), code);
	if (!strstr(err.text, says))
		fail_msg("no \"%s\" in: %s", says, err.text);
}

static void what_somebody_still_needs_is_not_truncated(void **state)
{
	wbi_consumer consumer = {
		.kind = WBI_CONSUMER_PROJECTION, .position = 4, .error = S("")};
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_stream_info info;
	stream_rig rig;
	MDB_txn *txn;

	rig_make(&rig, place->store);
	rig_grow(&rig, "a/1", 9);
	assert_refused(&rig, 5, true, WB_ESTATE, "not delivered yet");
	rig_settle(&rig, 6, 3); /* an exchange is held from 4 on */
	assert_refused(&rig, 5, true, WB_ESTATE, "settled up to 3");
	rig_settle(&rig, 8, 8);
	assert_refused(&rig, 10, true, WB_ESTATE, "position 9");
	assert_refused(&rig, 11, true, WB_EINVAL, "give 1 to 10");
	assert_refused(&rig, 5, false, WB_ESTATE, "no snapshot at version 4");
	save(&rig, "a/1", 3, "t", "x", 2);
	assert_refused(&rig, 5, false, WB_ESTATE, "newest: 3");
	strcpy(consumer.origin, wbi_store_get_info(rig.store)->outbox_origin);
	txn = rig_begin(&rig);
	assert_ok(wbi_consumer_put(txn,
				   wbi_store_get_tables(rig.store)->consumers,
				   'o', S("reader"), &consumer, &err),
		  err);
	rig_commit(&rig, txn);
	assert_refused(&rig, 6, true, WB_ESTATE, "still to be read by reader");
	assert_ok(cut(&rig, "a/1", 4, false, &err), err);
	save(&rig, "a/1", 4, "t", "x", 2);
	assert_ok(cut(&rig, "a/1", 5, false, &err), err);
	assert_ok(wb_stream_stat(rig.store, NULL, S("a/1"), &info, &err), err);
	assert_int_equal(info.floor, 5);
	assert_code(cut(&rig, "b", 5, false, &err), WB_ENOTFOUND, err);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void a_whole_stream_can_go_and_come_on(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_stream_written written;
	stream_rig rig;

	rig_make(&rig, place->store);
	rig_grow(&rig, "a/1", 17);
	settle_all(&rig);
	assert_ok(cut(&rig, "a/1", 18, true, &err), err);
	assert_code(
		rig_append(&rig, "a/1", WB_STREAM_NONE, 1, NULL, NULL, &err),
		WB_ECONFLICT, err);
	assert_ok(rig_append(&rig, "a/1", 17, 18, NULL, &written, &err), err);
	assert_int_equal(written.version, 18);
	rig_assert_stream(&rig, "a/1", 18, 18);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void a_restored_store_has_its_streams(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	const char *copy = test_path(place->dir, "copy");
	const char *back = test_path(place->dir, "back");
	stream_rig rig;

	rig_make(&rig, place->store);
	rig_grow(&rig, "a/1", 20);
	settle_all(&rig);
	save(&rig, "a/1", 12, "t", "twelve", 2);
	assert_ok(cut(&rig, "a/1", 6, false, &err), err);
	rig_close(&rig);
	assert_ok(wbi_store_backup(place->store, copy, NULL, &err), err);
	assert_ok(wbi_store_restore(copy, back, NULL, &err), err);
	rig_assert_sound(back);
	rig_open(&rig, back);
	rig_assert_stream(&rig, "a/1", 6, 20);
	assert_int_equal(find(&rig, "a/1", "t", 20, "twelve"), 12);
	rig_grow(&rig, "a/1", 2);
	rig_close(&rig);
	rig_assert_sound(back);
}

/* ---- the relay ----------------------------------------------------------- */

/* Its state is lost, and it begins anew: stubs were delivered once. */
static void a_relay_sends_no_stub(void **state)
{
	static relay_rig rig;
	test_place *place = *state;
	wb_event stub = {.id = S("i"),
			 .type = S("a"),
			 .subject = S("s/1"),
			 .sequence = 1,
			 .time_us = 1};
	size_t size = wbi_record_size(&stub);
	wb_error err = WB_ERROR_INIT;
	uint8_t bytes[256];
	MDB_txn *txn = NULL;

	relay_rig_init(&rig, place->store, 1);
	for (int i = 0; i < 3; i++)
		relay_rig_append(&rig, "a", "k");
	wbi_record_encode_as(&stub, 2, WBI_RECORD_STREAM | WBI_RECORD_STUB,
			     bytes, size);
	assert_ok(wb_store_begin(rig.store, &txn, &err), err);
	assert_ok(wbi_put_at(txn, wbi_store_get_tables(rig.store)->outbox, 2,
			     wb_str_n(bytes, size), &err),
		  err);
	assert_ok(wb_store_commit(rig.store, txn, &err), err);
	relay_rig_start(&rig);
	relay_rig_settle(&rig);
	assert_string_equal(relay_rig_arrived(&rig), "1 3");
	assert_int_equal(wb_relay_get_stat(rig.relay).cursor, 3);
	relay_rig_fini(&rig);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_newest_snapshot_of_a_tag_at_a_version_is_found),
		TEST(only_the_last_few_snapshots_are_kept),
		TEST(a_snapshot_of_what_is_not_is_refused),
		TEST(reading_below_the_floor_says_where_it_is),
		TEST(a_stub_says_what_stood_there_and_no_more),
		TEST(what_somebody_still_needs_is_not_truncated),
		TEST(a_whole_stream_can_go_and_come_on),
		TEST(a_restored_store_has_its_streams),
		TEST(a_relay_sends_no_stub),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
