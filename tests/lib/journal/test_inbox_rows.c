/* SPDX-License-Identifier: BSD-2-Clause */
/* The inbox's rows: what is written comes back, in the order that is promised,
 * and no damaged byte passes. */
#include "tests/support/place.h"
#include "tests/support/testing.h"

#include <stdlib.h>

#include "lib/base/bytes.h"
#include "lib/journal/inbox_rows.h"
#include "lib/journal/parked.h"

#define ORIGIN "018f0000-0000-7000-8000-000000000001"
#define OTHER "018f0000-0000-7000-8000-000000000002"

typedef struct fixture {
	test_place *place;
	wb_store *store;
	const wbi_store_tables *tables;
	MDB_txn *txn;
	wb_error err;
} fixture;

static fixture begin(void **state)
{
	fixture f = {.place = *state, .err = WB_ERROR_INIT};

	f.store = test_store_make(f.place->store);
	f.tables = wbi_store_get_tables(f.store);
	assert_ok(wb_store_begin(f.store, &f.txn, &f.err), f.err);
	return f;
}

static void end(fixture *f)
{
	wb_store_abort(f->txn);
	wb_store_close(f->store);
}

static void assert_str(wb_str a, wb_str b)
{
	assert_true(wb_str_eq(a, b));
}

/* ---- damage ------------------------------------------------------------- */

typedef wb_code decode(wb_str key, wb_str row, wb_error *err);

static uint8_t *copy_of(wb_str s)
{
	uint8_t *copy = malloc(s.len);

	assert_non_null(copy);
	memcpy(copy, s.ptr, s.len);
	return copy;
}

/* Every row of a table: each bit of row and key, and each shorter row. */
static void assert_damage_noticed(fixture *f, wbi_table table, decode *call)
{
	wb_str key = WB_STR_NULL, row;
	wbi_cursor *cursor;
	uint8_t *k, *r;

	assert_ok(wbi_cursor_open(f->txn, table, &cursor, &f->err), f->err);
	assert_ok(wbi_cursor_move(cursor, WBI_FIRST, &key, &row, &f->err),
		  f->err);
	k = copy_of(key);
	r = copy_of(row);
	key = wb_str_n(k, key.len);
	row = wb_str_n(r, row.len);
	assert_ok(call(key, row, &f->err), f->err);
	for (size_t i = 0; i < 8 * (key.len + row.len); i++) {
		uint8_t *at = i / 8 < key.len ? k + i / 8 : r + i / 8 - key.len;

		*at ^= (uint8_t)(1 << i % 8);
		assert_int_equal(call(key, row, NULL), WB_ECORRUPT);
		*at ^= (uint8_t)(1 << i % 8);
	}
	for (size_t i = 0; i < row.len; i++)
		assert_int_equal(call(key, wb_str_n(r, i), NULL), WB_ECORRUPT);
	wbi_cursor_close(cursor);
	free(k);
	free(r);
}

static wb_code decode_consumer(wb_str key, wb_str row, wb_error *err)
{
	wbi_consumer consumer;
	wb_str name;
	char journal;

	return wbi_consumer_decode(key, row, &journal, &name, &consumer, err);
}

static wb_code decode_work(wb_str key, wb_str row, wb_error *err)
{
	wbi_work_id id;
	wbi_work work;
	wb_code code = wbi_work_decode(key, row, &work, err);

	return code == WB_OK ? wbi_work_key_parse(key, &id, err) : code;
}

static wb_code decode_due(wb_str key, wb_str row, wb_error *err)
{
	wbi_work_id id;
	int64_t due;

	return wbi_due_decode(key, row, &due, &id, err);
}

static wb_code decode_dead(wb_str key, wb_str row, wb_error *err)
{
	wbi_dead dead;
	uint64_t number;

	memcpy(&number, key.ptr, sizeof(number));
	return wbi_dead_decode(number, row, &dead, err);
}

/* ---- consumers ---------------------------------------------------------- */

static wbi_consumer sample_consumer(uint64_t position)
{
	return (wbi_consumer){.kind = WBI_CONSUMER_HANDLER,
			      .origin = ORIGIN,
			      .position = position,
			      .created_us = 1,
			      .updated_us = 2,
			      .handled = 3,
			      .retries = 4,
			      .dead = 5,
			      .emitted = 6,
			      .waiting = 7,
			      .timers = 8,
			      .error = S("why")};
}

static void put_consumer(fixture *f, char journal, wb_str name,
			 uint64_t position)
{
	wbi_consumer row = sample_consumer(position);

	assert_ok(wbi_consumer_put(f->txn, f->tables->consumers, journal, name,
				   &row, &f->err),
		  f->err);
}

static void a_consumer_reads_back(void **state)
{
	fixture f = begin(state);
	wbi_table table = f.tables->consumers;
	wbi_consumer c;

	put_consumer(&f, 'i', S("billing"), 42);
	assert_int_equal(
		wbi_consumer_get(f.txn, table, 'o', S("billing"), &c, &f.err),
		WB_ENOTFOUND);
	assert_ok(wbi_consumer_get(f.txn, table, 'i', S("billing"), &c, &f.err),
		  f.err);
	assert_int_equal(c.kind, WBI_CONSUMER_HANDLER);
	assert_string_equal(c.origin, ORIGIN);
	assert_int_equal(c.position, 42);
	assert_int_equal(c.created_us, 1);
	assert_int_equal(c.updated_us, 2);
	assert_int_equal(c.handled, 3);
	assert_int_equal(c.retries, 4);
	assert_int_equal(c.dead, 5);
	assert_int_equal(c.emitted, 6);
	assert_int_equal(c.waiting, 7);
	assert_str(c.error, S("why"));
	assert_damage_noticed(&f, table, decode_consumer);
	assert_ok(wbi_consumer_del(f.txn, table, 'i', S("billing"), &f.err),
		  f.err);
	assert_int_equal(
		wbi_consumer_get(f.txn, table, 'i', S("billing"), &c, &f.err),
		WB_ENOTFOUND);
	end(&f);
}

static void the_floor_is_the_lowest_position_of_a_journal(void **state)
{
	fixture f = begin(state);
	wbi_table table = f.tables->consumers;
	uint64_t floor = 0;

	put_consumer(&f, 'o', S("read-model"), 3);
	assert_ok(wbi_consumer_floor(f.txn, table, 'i', ORIGIN, &floor, &f.err),
		  f.err);
	assert_true(floor == UINT64_MAX);
	put_consumer(&f, 'i', S("a"), 9);
	put_consumer(&f, 'i', S("b"), 7);
	put_consumer(&f, 'i', S("c"), 8);
	assert_ok(wbi_consumer_floor(f.txn, table, 'i', ORIGIN, &floor, &f.err),
		  f.err);
	assert_int_equal(floor, 7);
	assert_ok(wbi_consumer_floor(f.txn, table, 'o', ORIGIN, &floor, &f.err),
		  f.err);
	assert_int_equal(floor, 3);
	assert_int_equal(
		wbi_consumer_floor(f.txn, table, 'o', OTHER, &floor, &f.err),
		WB_EMISMATCH);
	assert_non_null(strstr(f.err.text, "read-model"));
	assert_non_null(strstr(f.err.text, OTHER));
	end(&f);
}

/* ---- work and due ------------------------------------------------------- */

static wbi_work sample_work(void)
{
	return (wbi_work){.state = WBI_WORK_WAITING,
			  .attempts = 3,
			  .due_us = 1000,
			  .first_us = 10,
			  .last_us = 20,
			  .code = WB_EFAILED,
			  .dead = 99,
			  .text = S("no answer"),
			  .record = S("the record")};
}

static void a_row_of_work_reads_back(void **state)
{
	fixture f = begin(state);
	wbi_work_id id = {S("billing"), WBI_LANE_KEYED, S("order-1"), 12};
	wbi_table table = f.tables->work;
	wbi_work in = sample_work(), out;

	assert_ok(wbi_work_put(f.txn, table, &id, &in, &f.err), f.err);
	assert_ok(wbi_work_get(f.txn, table, &id, &out, &f.err), f.err);
	assert_int_equal(out.state, WBI_WORK_WAITING);
	assert_int_equal(out.attempts, 3);
	assert_int_equal(out.due_us, 1000);
	assert_int_equal(out.first_us, 10);
	assert_int_equal(out.last_us, 20);
	assert_int_equal(out.code, WB_EFAILED);
	assert_int_equal(out.dead, 99);
	assert_str(out.text, in.text);
	assert_str(out.record, in.record);
	assert_damage_noticed(&f, table, decode_work);
	assert_ok(wbi_work_del(f.txn, table, &id, &f.err), f.err);
	assert_int_equal(wbi_work_get(f.txn, table, &id, &out, &f.err),
			 WB_ENOTFOUND);
	end(&f);
}

/* Its strings point into the map, where writing it moves them. */
static void a_row_is_written_back_as_it_was_read(void **state)
{
	fixture f = begin(state);
	wbi_work_id id = {S("billing"), WBI_LANE_UNKEYED, S(""), 12};
	wbi_table table = f.tables->work;
	wbi_work work = sample_work();

	for (int i = 0; i < 20; i++) {
		id.position = (uint64_t)i;
		assert_ok(wbi_work_put(f.txn, table, &id, &work, &f.err),
			  f.err);
	}
	id.position = 7;
	assert_ok(wbi_work_get(f.txn, table, &id, &work, &f.err), f.err);
	work.attempts++;
	work.text = S("a longer text than the one before it, by far");
	assert_ok(wbi_work_put(f.txn, table, &id, &work, &f.err), f.err);
	assert_ok(wbi_work_get(f.txn, table, &id, &work, &f.err), f.err);
	assert_str(work.record, S("the record"));
	work.text = wb_str_n(work.text.ptr + 2, 6);
	assert_ok(wbi_work_put(f.txn, table, &id, &work, &f.err), f.err);
	assert_ok(wbi_work_get(f.txn, table, &id, &work, &f.err), f.err);
	assert_str(work.text, S("longer"));
	assert_str(work.record, S("the record"));
	end(&f);
}

static void put_work(fixture *f, wb_str consumer, wbi_lane lane, wb_str key,
		     uint64_t position)
{
	wbi_work_id id = {consumer, (uint8_t)lane, key, position};
	wbi_work work = sample_work();

	assert_ok(wbi_work_put(f->txn, f->tables->work, &id, &work, &f->err),
		  f->err);
}

static void assert_next_work(wbi_cursor *cursor, wbi_move move, wb_str consumer,
			     wbi_lane lane, wb_str key, uint64_t position)
{
	wb_error err = WB_ERROR_INIT;
	wb_str row_key = WB_STR_NULL, row;
	wbi_work_id id;

	assert_ok(wbi_cursor_move(cursor, move, &row_key, &row, &err), err);
	assert_ok(wbi_work_key_parse(row_key, &id, &err), err);
	assert_str(id.consumer, consumer);
	assert_int_equal(id.lane, lane);
	assert_str(id.key, key);
	assert_int_equal(id.position, position);
}

static void a_group_is_together_and_in_order(void **state)
{
	fixture f = begin(state);
	wbi_cursor *cursor;

	put_work(&f, S("a"), WBI_LANE_KEYED, S("k"), 300);
	put_work(&f, S("ab"), WBI_LANE_KEYED, S("k"), 1);
	put_work(&f, S("a"), WBI_LANE_KEYED, S("k"), 2);
	put_work(&f, S("a"), WBI_LANE_KEYED, S("kk"), 5);
	put_work(&f, S("a"), WBI_LANE_UNKEYED, S(""), 4);
	put_work(&f, S("a"), WBI_LANE_CRASHED, S(""), 256);
	put_work(&f, S("a"), WBI_LANE_KEYED, S("k"), 256);
	assert_ok(wbi_cursor_open(f.txn, f.tables->work, &cursor, &f.err),
		  f.err);
	assert_next_work(cursor, WBI_FIRST, S("a"), WBI_LANE_CRASHED, S(""),
			 256);
	assert_next_work(cursor, WBI_NEXT, S("a"), WBI_LANE_KEYED, S("k"), 2);
	assert_next_work(cursor, WBI_NEXT, S("a"), WBI_LANE_KEYED, S("k"), 256);
	assert_next_work(cursor, WBI_NEXT, S("a"), WBI_LANE_KEYED, S("k"), 300);
	assert_next_work(cursor, WBI_NEXT, S("a"), WBI_LANE_KEYED, S("kk"), 5);
	assert_next_work(cursor, WBI_NEXT, S("a"), WBI_LANE_UNKEYED, S(""), 4);
	assert_next_work(cursor, WBI_NEXT, S("ab"), WBI_LANE_KEYED, S("k"), 1);
	wbi_cursor_close(cursor);
	end(&f);
}

static void a_prefix_finds_the_head_of_its_group(void **state)
{
	fixture f = begin(state);
	wbi_work_id id = {S("a"), WBI_LANE_KEYED, S("k"), 0};
	wbi_row_key prefix = wbi_work_group_prefix(&id);
	wb_str key = wbi_row_key_str(&prefix), row;
	wbi_cursor *cursor;
	wbi_work_id found;

	put_work(&f, S("a"), WBI_LANE_KEYED, S("j"), 1);
	put_work(&f, S("a"), WBI_LANE_KEYED, S("k"), 9);
	put_work(&f, S("a"), WBI_LANE_KEYED, S("k"), 3);
	put_work(&f, S("a"), WBI_LANE_KEYED, S("l"), 2);
	assert_ok(wbi_cursor_open(f.txn, f.tables->work, &cursor, &f.err),
		  f.err);
	assert_ok(wbi_cursor_move(cursor, WBI_SEEK, &key, &row, &f.err), f.err);
	assert_true(key.len > prefix.len);
	assert_memory_equal(key.ptr, prefix.bytes, prefix.len);
	assert_ok(wbi_work_key_parse(key, &found, &f.err), f.err);
	assert_int_equal(found.position, 3);
	prefix = wbi_work_lane_prefix(S("a"), WBI_LANE_KEYED);
	key = wbi_row_key_str(&prefix);
	assert_ok(wbi_cursor_move(cursor, WBI_SEEK, &key, &row, &f.err), f.err);
	assert_ok(wbi_work_key_parse(key, &found, &f.err), f.err);
	assert_str(found.key, S("j"));
	wbi_cursor_close(cursor);
	end(&f);
}

static void what_is_no_key_of_work_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"\1ak\0\0\0\0\0\0\0\0",     /* too short */
		"\1ak\1\0\0\0\0\0\0\0\0",   /* a key that is not there */
		"\0k\0\0\0\0\0\0\0\0\0\0",  /* no consumer */
		"\1ax\0\0\0\0\0\0\0\0\0",   /* no such lane */
		"\100ak\0\0\0\0\0\0\0\0\0", /* longer than its row */
	};
	static const size_t sizes[] = {0, 11, 12, 13, 12, 13};
	wbi_work_id id;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(wbi_work_key_parse(wb_str_n(bad[i], sizes[i]),
						    &id, NULL),
				 WB_ECORRUPT);
}

static void due_rows_sort_by_time(void **state)
{
	static const int64_t times[] = {INT64_MAX, 5, -1, 256, INT64_MIN, 0};
	static const int64_t sorted[] = {INT64_MIN, -1, 0, 5, 256, INT64_MAX};
	fixture f = begin(state);
	wbi_work_id id = {S("a"), WBI_LANE_TIMER, S("remind"), 0}, out;
	wbi_move move = WBI_FIRST;
	wb_str key = WB_STR_NULL, row;
	wbi_cursor *cursor;
	int64_t due;

	for (size_t i = 0; i < 6; i++)
		assert_ok(wbi_due_put(f.txn, f.tables->due, times[i], &id,
				      &f.err),
			  f.err);
	assert_damage_noticed(&f, f.tables->due, decode_due);
	assert_ok(wbi_cursor_open(f.txn, f.tables->due, &cursor, &f.err),
		  f.err);
	for (size_t i = 0; i < 6; i++, move = WBI_NEXT) {
		assert_ok(wbi_cursor_move(cursor, move, &key, &row, &f.err),
			  f.err);
		assert_ok(wbi_due_decode(key, row, &due, &out, &f.err), f.err);
		assert_true(due == sorted[i]);
		assert_str(out.key, S("remind"));
	}
	wbi_cursor_close(cursor);
	assert_ok(wbi_due_del(f.txn, f.tables->due, 5, &id, &f.err), f.err);
	assert_int_equal(wbi_due_del(f.txn, f.tables->due, 5, &id, &f.err),
			 WB_ENOTFOUND);
	end(&f);
}

static void due_rows_of_a_consumer_are_together(void **state)
{
	static const char *const names[] = {"b", "a", "aa"};
	fixture f = begin(state);
	wbi_work_id id = {S("a"), WBI_LANE_KEYED, S("k"), 7}, out;
	wbi_row_key from = wbi_due_from(S("a"), 5);
	wb_str key = wbi_row_key_str(&from), row;
	wbi_cursor *cursor;
	int64_t due;

	for (size_t i = 0; i < 3; i++)
		for (due = 3; due < 6; due++) {
			id.consumer = wb_str_from(names[i]);
			assert_ok(wbi_due_put(f.txn, f.tables->due, due, &id,
					      &f.err),
				  f.err);
		}
	assert_ok(wbi_cursor_open(f.txn, f.tables->due, &cursor, &f.err),
		  f.err);
	assert_ok(wbi_cursor_move(cursor, WBI_SEEK, &key, &row, &f.err), f.err);
	assert_ok(wbi_due_decode(key, row, &due, &out, &f.err), f.err);
	assert_str(out.consumer, S("a"));
	assert_str(out.key, S("k"));
	assert_int_equal(out.position, 7);
	assert_true(due == 5);
	assert_ok(wbi_cursor_move(cursor, WBI_NEXT, &key, &row, &f.err), f.err);
	assert_ok(wbi_due_decode(key, row, &due, &out, &f.err), f.err);
	assert_false(wb_str_eq(out.consumer, S("a")));
	wbi_cursor_close(cursor);
	end(&f);
}

static void the_longest_names_fit(void **state)
{
	fixture f = begin(state);
	char text[256];
	wbi_work_id id = {wb_str_n(text, 64), WBI_LANE_KEYED,
			  wb_str_n(text, 255), UINT64_MAX};
	wbi_work work = sample_work();

	memset(text, 'x', sizeof(text));
	assert_ok(wbi_work_put(f.txn, f.tables->work, &id, &work, &f.err),
		  f.err);
	assert_ok(wbi_work_get(f.txn, f.tables->work, &id, &work, &f.err),
		  f.err);
	assert_ok(wbi_due_put(f.txn, f.tables->due, 1, &id, &f.err), f.err);
	put_consumer(&f, 'i', wb_str_n(text, 64), 1);
	end(&f);
}

/* ---- dead --------------------------------------------------------------- */

static wbi_dead sample_dead(void)
{
	return (wbi_dead){.reason = WBI_DEAD_EXHAUSTED,
			  .lane = WBI_LANE_KEYED,
			  .blocks = true,
			  .attempts = 10,
			  .code = WB_EFAILED,
			  .first_us = 1,
			  .last_us = 2,
			  .position = 3,
			  .consumer = S("billing"),
			  .key = S("order-1"),
			  .source = S("/shop"),
			  .id = S("id-1"),
			  .type = S("order.placed"),
			  .text = S("no answer"),
			  .bytes = S("the record")};
}

static void a_dead_letter_reads_back(void **state)
{
	fixture f = begin(state);
	wbi_dead in = sample_dead(), out;
	uint64_t number = 0;

	assert_ok(wbi_dead_add(f.txn, f.tables, &in, &number, &f.err), f.err);
	assert_int_equal(number, 1);
	assert_ok(wbi_dead_get(f.txn, f.tables->dead, 1, &out, &f.err), f.err);
	assert_int_equal(out.reason, in.reason);
	assert_int_equal(out.lane, in.lane);
	assert_true(out.blocks);
	assert_int_equal(out.attempts, 10);
	assert_int_equal(out.code, WB_EFAILED);
	assert_int_equal(out.first_us, 1);
	assert_int_equal(out.last_us, 2);
	assert_int_equal(out.position, 3);
	assert_str(out.consumer, in.consumer);
	assert_str(out.key, in.key);
	assert_str(out.source, in.source);
	assert_str(out.id, in.id);
	assert_str(out.type, in.type);
	assert_str(out.text, in.text);
	assert_str(out.bytes, in.bytes);
	assert_damage_noticed(&f, f.tables->dead, decode_dead);
	end(&f);
}

static void no_number_of_a_dead_letter_is_given_twice(void **state)
{
	fixture f = begin(state);
	wbi_dead dead = sample_dead();
	uint64_t number = 0;

	for (uint64_t i = 1; i <= 5; i++) {
		assert_ok(wbi_dead_add(f.txn, f.tables, &dead, &number, &f.err),
			  f.err);
		assert_int_equal(number, i);
		assert_ok(wbi_dead_del(f.txn, f.tables->dead, number, &f.err),
			  f.err);
	}
	assert_int_equal(wbi_dead_get(f.txn, f.tables->dead, 5, &dead, &f.err),
			 WB_ENOTFOUND);
	end(&f);
}

static void reasons_have_names(void **state)
{
	(void)state;
	for (uint8_t i = WBI_DEAD_REJECTED; i <= WBI_DEAD_NO_HANDLER; i++)
		assert_int_equal(wbi_dead_reason_of(
					 wb_str_from(wbi_dead_reason_name(i))),
				 i);
	assert_string_equal(wbi_dead_reason_name(200), "unknown");
	assert_int_equal(wbi_dead_reason_of(S("unknown")), 0);
}

/* ---- status ------------------------------------------------------------- */

static void the_status_reads_back(void **state)
{
	fixture f = begin(state);
	wbi_table table = f.tables->status;
	wbi_ingest_status in = {.pid = 1,
				.state = 2,
				.since_us = 3,
				.updated_us = 4,
				.age_us = 5,
				.received = 6,
				.duplicates = 7,
				.refused = 8,
				.owner = ORIGIN,
				.queue = S("orders"),
				.vhost = S("/"),
				.error = S("none")};
	wbi_ingest_status out;

	assert_int_equal(wbi_ingest_status_get(f.txn, table, &out, &f.err),
			 WB_ENOTFOUND);
	assert_ok(wbi_ingest_status_put(f.txn, table, &in, &f.err), f.err);
	assert_ok(wbi_ingest_status_get(f.txn, table, &out, &f.err), f.err);
	assert_int_equal(out.pid, 1);
	assert_int_equal(out.state, 2);
	assert_int_equal(out.since_us, 3);
	assert_int_equal(out.updated_us, 4);
	assert_int_equal(out.age_us, 5);
	assert_int_equal(out.received, 6);
	assert_int_equal(out.duplicates, 7);
	assert_int_equal(out.refused, 8);
	assert_string_equal(out.owner, ORIGIN);
	assert_str(out.queue, S("orders"));
	assert_str(out.vhost, S("/"));
	assert_str(out.error, S("none"));
	assert_damage_noticed(&f, table, wbi_inbox_status_check);
	end(&f);
}

static void counts_stand_beside_the_status(void **state)
{
	fixture f = begin(state);
	wbi_table table = f.tables->status;

	assert_ok(wbi_count_add(f.txn, table, S("x"), 3, &f.err), f.err);
	assert_damage_noticed(&f, table, wbi_inbox_status_check);
	assert_int_equal(wbi_inbox_status_check(S("else"), S("x"), NULL),
			 WB_ECORRUPT);
	end(&f);
}

/* ---- golden ------------------------------------------------------------- */

static const char *golden_dir(void)
{
	static char dir[2048];
	const char *srcdir = getenv("srcdir");

	snprintf(dir, sizeof(dir), "%s/tests/lib/journal/golden",
		 srcdir ? srcdir : ".");
	return dir;
}

static size_t golden_put(uint8_t *at, wb_str s)
{
	wbi_put_le32(at, (uint32_t)s.len);
	memcpy(at + 4, s.ptr, s.len);
	return 4 + s.len;
}

/* The one row of a table as a golden file has it. */
static void assert_golden(fixture *f, wbi_table table, const char *name,
			  const char *write_to)
{
	const char *path = test_path(write_to ? write_to : golden_dir(), name);
	uint8_t bytes[2048], stored[2048];
	wb_str key = WB_STR_NULL, row;
	wbi_cursor *cursor;
	FILE *file = fopen(path, write_to ? "wb" : "rb");
	size_t size, len;

	if (!file)
		fail_msg("cannot open %s", path);
	assert_ok(wbi_cursor_open(f->txn, table, &cursor, &f->err), f->err);
	assert_ok(wbi_cursor_move(cursor, WBI_FIRST, &key, &row, &f->err),
		  f->err);
	size = golden_put(bytes, key);
	size += golden_put(bytes + size, row);
	wbi_cursor_close(cursor);
	if (write_to) {
		assert_int_equal(fwrite(bytes, 1, size, file), size);
		fclose(file);
		return;
	}
	len = fread(stored, 1, sizeof(stored), file);
	fclose(file);
	assert_int_equal(len, size);
	assert_memory_equal(bytes, stored, size);
}

/* They are a promise to stores that exist. GOLDEN_WRITE=DIR writes them anew:
 * for new rows. */
static void golden_rows_are_written_unchanged(void **state)
{
	const char *to = getenv("GOLDEN_WRITE");
	fixture f = begin(state);
	wbi_work_id id = {S("billing"), WBI_LANE_KEYED, S("order-1"), 258};
	wbi_work work = sample_work();
	wbi_dead dead = sample_dead();

	assert_ok(wbi_work_put(f.txn, f.tables->work, &id, &work, &f.err),
		  f.err);
	assert_ok(wbi_due_put(f.txn, f.tables->due, 1000, &id, &f.err), f.err);
	assert_ok(wbi_dead_add(f.txn, f.tables, &dead, NULL, &f.err), f.err);
	put_consumer(&f, 'i', S("billing"), 42);
	assert_golden(&f, f.tables->work, "work.row", to);
	assert_golden(&f, f.tables->due, "due.row", to);
	assert_golden(&f, f.tables->dead, "dead.row", to);
	assert_golden(&f, f.tables->consumers, "consumer.row", to);
	end(&f);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_consumer_reads_back),
		TEST(the_floor_is_the_lowest_position_of_a_journal),
		TEST(a_row_of_work_reads_back),
		TEST(a_row_is_written_back_as_it_was_read),
		TEST(a_group_is_together_and_in_order),
		TEST(a_prefix_finds_the_head_of_its_group),
		cmocka_unit_test(what_is_no_key_of_work_is_refused),
		TEST(due_rows_sort_by_time),
		TEST(due_rows_of_a_consumer_are_together),
		TEST(the_longest_names_fit),
		TEST(a_dead_letter_reads_back),
		TEST(no_number_of_a_dead_letter_is_given_twice),
		cmocka_unit_test(reasons_have_names),
		TEST(the_status_reads_back),
		TEST(counts_stand_beside_the_status),
		TEST(golden_rows_are_written_unchanged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
