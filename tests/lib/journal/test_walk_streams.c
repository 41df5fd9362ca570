/* SPDX-License-Identifier: BSD-2-Clause */
/* fsck and streams: whatever does not fit is found and named; each damage is
 * made of rows that are whole in themselves. */
#include "tests/outbox/stream_rig.h"

#include <string.h>

#include "lib/base/assert.h"
#include "lib/event/record.h"
#include "lib/journal/maintain.h"
#include "lib/journal/stream_rows.h"
#include "tests/support/row_damage.h"

typedef struct findings {
	char text[8192];
	size_t len, count;
} findings;

static void take(void *ctx, const wbi_finding *finding)
{
	findings *f = ctx;
	int n = snprintf(f->text + f->len, sizeof(f->text) - f->len, "%s: %s\n",
			 finding->table, finding->text);

	f->count++;
	if (n > 0 && (size_t)n < sizeof(f->text) - f->len)
		f->len += (size_t)n;
}

typedef void damage(const wbi_store_tables *tables, MDB_txn *txn);

/* Two streams of one category and one of another, a floor, a snapshot. */
static void fill(stream_rig *rig)
{
	wb_snapshot snapshot = {.version = 18, .tag = S("t")};
	wb_stream_cut cut = {.stream = S("a/1"), .before = 3};
	wb_error err = WB_ERROR_INIT;
	uint64_t first, head;
	MDB_txn *txn;

	rig_grow(rig, "a/1", 18);
	rig_grow(rig, "a/2", 30);
	rig_grow(rig, "b", 2);
	test_range(rig->store, &first, &head);
	rig_settle(rig, head, head);
	txn = rig_begin(rig);
	assert_ok(
		wb_snapshot_save(rig->store, txn, S("a/1"), &snapshot, 2, &err),
		err);
	assert_ok(wb_stream_truncate(rig->store, txn, &cut, NULL, &err), err);
	rig_commit(rig, txn);
}

static wbi_stream_head stream_head(const wbi_store_tables *tables, MDB_txn *txn,
				   wb_str name)
{
	wb_error err = WB_ERROR_INIT;
	wbi_stream_head head;

	assert_ok(wbi_stream_head_get(txn, tables, name, &head, &err), err);
	return head;
}

static void put_head(const wbi_store_tables *tables, MDB_txn *txn, wb_str name,
		     const wbi_stream_head *head)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_stream_head_put(txn, tables, name, head, &err), err);
}

/* Put a record of "a/1" in place of another. */
static void put_record(const wbi_store_tables *tables, MDB_txn *txn,
		       uint64_t position, wb_str subject, uint64_t version,
		       uint8_t flags)
{
	wb_event event = {.id = S("i"),
			  .type = S("t"),
			  .source = S("/s"),
			  .subject = subject,
			  .sequence = version};
	size_t size = wbi_record_size(&event);
	wb_error err = WB_ERROR_INIT;
	uint8_t bytes[256];

	wbi_record_encode_as(&event, position, flags, bytes, size);
	assert_ok(wbi_put_at(txn, tables->outbox, position,
			     wb_str_n(bytes, size), &err),
		  err);
}

static void wrong_floor(const wbi_store_tables *tables, MDB_txn *txn)
{
	wbi_stream_head head = stream_head(tables, txn, S("a/1"));

	head.floor = 4;
	put_head(tables, txn, S("a/1"), &head);
}

static void short_head(const wbi_store_tables *tables, MDB_txn *txn)
{
	wbi_stream_head head = stream_head(tables, txn, S("a/1"));

	head.list.count--;
	put_head(tables, txn, S("a/1"), &head);
}

static void same_number(const wbi_store_tables *tables, MDB_txn *txn)
{
	wbi_stream_head head = stream_head(tables, txn, S("b"));

	head.list.number = 1;
	put_head(tables, txn, S("b"), &head);
}

static void moved_item(const wbi_store_tables *tables, MDB_txn *txn)
{
	wbi_stream_head head = stream_head(tables, txn, S("b"));

	head.list.tail[1] = head.list.tail[0];
	put_head(tables, txn, S("b"), &head);
}

static void lost_chunk(const wbi_store_tables *tables, MDB_txn *txn)
{
	wbi_cursor *cursor = NULL;
	wb_error err = WB_ERROR_INIT;
	wb_str key = WB_STR_NULL, row;

	assert_ok(wbi_cursor_open(txn, tables->stream_index, &cursor, &err),
		  err);
	assert_ok(wbi_cursor_move(cursor, WBI_FIRST, &key, &row, &err), err);
	assert_ok(wbi_cursor_del(cursor, &err), err);
	wbi_cursor_close(cursor);
}

static void extra_chunk(const wbi_store_tables *tables, MDB_txn *txn)
{
	wbi_list list = {.kind = WBI_LIST_CATEGORY, .number = 9, .count = 31};
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_list_push(txn, tables, &list, 7, &err), err);
}

static void another_version(const wbi_store_tables *tables, MDB_txn *txn)
{
	put_record(tables, txn, 5, S("a/1"), 6, WBI_RECORD_STREAM);
}

static void no_stream(const wbi_store_tables *tables, MDB_txn *txn)
{
	put_record(tables, txn, 5, S("a/1"), 5, 0);
}

static void early_stub(const wbi_store_tables *tables, MDB_txn *txn)
{
	put_record(tables, txn, 5, S("a/1"), 5,
		   WBI_RECORD_STREAM | WBI_RECORD_STUB);
}

static void unknown_record(const wbi_store_tables *tables, MDB_txn *txn)
{
	put_record(tables, txn, 51, S("a/9"), 1, WBI_RECORD_STREAM);
}

static void lost_category(const wbi_store_tables *tables, MDB_txn *txn)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_del(txn, tables->categories, S("b"), &err), err);
}

static void miscounted_category(const wbi_store_tables *tables, MDB_txn *txn)
{
	wb_error err = WB_ERROR_INIT;
	wbi_category_head head;

	assert_ok(wbi_category_head_get(txn, tables, S("a"), &head, &err), err);
	head.streams = 3;
	assert_ok(wbi_category_head_put(txn, tables, S("a"), &head, &err), err);
}

static void foreign_category(const wbi_store_tables *tables, MDB_txn *txn)
{
	wb_error err = WB_ERROR_INIT;
	wbi_category_head head;

	assert_ok(wbi_category_head_get(txn, tables, S("b"), &head, &err), err);
	head.list.tail[0] = 20;
	assert_ok(wbi_category_head_put(txn, tables, S("b"), &head, &err), err);
}

static void early_snapshot(const wbi_store_tables *tables, MDB_txn *txn)
{
	wbi_snapshot row = {.version = 19, .tag = S("t")};
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_snapshot_put(txn, tables, 1, &row, &err), err);
}

static void flipped_byte(const wbi_store_tables *tables, MDB_txn *txn)
{
	char copy[512];
	wb_error err = WB_ERROR_INIT;
	wb_str row;

	assert_ok(wbi_get(txn, tables->streams, S("b"), &row, &err), err);
	memcpy(copy, row.ptr, row.len);
	copy[20] ^= 1;
	assert_ok(wbi_put(txn, tables->streams, S("b"), wb_str_n(copy, row.len),
			  &err),
		  err);
}

static const struct {
	damage *make;
	const char *says;
} damages[] = {
	{wrong_floor, "stream \"a/1\": version 3 is whole, its floor is 4"},
	{short_head, "49 versions, and 50 records"},
	{same_number, "stream \"b\": number 1 of 3"},
	{moved_item, "stream \"b\": item 2 is position 49"},
	{lost_chunk, "stream \"a/1\": a piece of a stream's index"},
	{extra_chunk, "category_index: 2 chunks, where 1 belong"},
	{another_version, "version 5: position 5 holds version 6"},
	{no_stream, "item 5: position 5 is of no stream"},
	{early_stub, "version 5 is a stub, its floor is 3"},
	{unknown_record, "50 versions, and 51 records"},
	{lost_category, "categories: 48 events, and 50 versions"},
	{miscounted_category, "2 streams, where 3 are counted"},
	{foreign_category, "category \"b\": item 1: position 20 is of \"a/2\""},
	{early_snapshot, "version 19 of stream number 1"},
	{flipped_byte, "stream \"b\": the head of a stream: the checksum"},
};

static void every_damage_is_found_and_named(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	stream_rig rig;

	for (size_t i = 0; i < WBI_COUNT(damages); i++) {
		const char *dir = test_path(place->dir, "damaged");
		findings found = {.len = 0};
		wbi_check_report report = {.finding = take, .ctx = &found};
		wbi_check_result result;
		MDB_txn *txn;

		rig_make(&rig, dir);
		fill(&rig);
		test_append(rig.store, 1, damages[i].make == unknown_record);
		txn = rig_begin(&rig);
		damages[i].make(wbi_store_get_tables(rig.store), txn);
		rig_commit(&rig, txn);
		rig_close(&rig);
		assert_code(wbi_store_check(dir, &report, &result, &err),
			    WB_ECORRUPT, err);
		if (!strstr(found.text, damages[i].says))
			fail_msg("no \"%s\" in:\n%s", damages[i].says,
				 found.text);
		test_remove_tree(dir);
	}
}

static void a_sound_store_has_no_findings(void **state)
{
	test_place *place = *state;
	stream_rig rig;

	rig_make(&rig, place->store);
	fill(&rig);
	test_append(rig.store, 1, 3);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void whatever_a_row_says_fsck_comes_to_an_end(void **state)
{
	test_place *place = *state;
	stream_rig rig;

	rig_make(&rig, place->store);
	fill(&rig);
	rig_close(&rig);
	test_damage_rows(place->store, 23);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_sound_store_has_no_findings,
						test_place_setup,
						test_place_teardown),
		cmocka_unit_test_setup_teardown(every_damage_is_found_and_named,
						test_place_setup,
						test_place_teardown),
		cmocka_unit_test_setup_teardown(
			whatever_a_row_says_fsck_comes_to_an_end,
			test_place_setup, test_place_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
