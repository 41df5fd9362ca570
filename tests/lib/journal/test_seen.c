/* SPDX-License-Identifier: BSD-2-Clause */
/* Known ids: each is known once, whatever level it is in, until it is old. */
#include "tests/support/place.h"
#include "tests/support/testing.h"

#include <stdlib.h>

#include "lib/base/siphash.h"
#include "lib/journal/seen.h"
#include "lib/journal/seen_internal.h"

#define SECOND_US UINT64_C(1000000)

typedef struct fixture {
	wb_store *store;
	const wbi_store_tables *tables;
	MDB_txn *txn;
	wbi_seen *seen;
	wb_error err;
} fixture;

static void visit(fixture *f)
{
	assert_ok(wb_store_begin(f->store, &f->txn, &f->err), f->err);
	assert_ok(wbi_seen_open(f->store, f->txn, &f->seen, &f->err), f->err);
}

static fixture begin(void **state)
{
	test_place *place = *state;
	fixture f = {.err = WB_ERROR_INIT};

	f.store = test_store_make(place->store);
	f.tables = wbi_store_get_tables(f.store);
	visit(&f);
	return f;
}

/* Every visit must leave what fsck accepts. */
static void assert_sound(fixture *f)
{
	wb_str before = WB_STR_NULL, key = WB_STR_NULL, row;
	wbi_seen_sum sum = {.highest = 0};
	wbi_move move = WBI_FIRST;
	wbi_cursor *cursor;

	assert_ok(wbi_cursor_open(f->txn, f->tables->seen, &cursor, &f->err),
		  f->err);
	for (; wbi_cursor_move(cursor, move, &key, &row, &f->err) == WB_OK;
	     move = WBI_NEXT, before = key)
		assert_ok(wbi_seen_check(before, key, row, &sum, &f->err),
			  f->err);
	wbi_cursor_close(cursor);
	assert_ok(wbi_seen_check_sum(f->txn, f->tables, &sum, &f->err), f->err);
}

static void leave(fixture *f, uint64_t age_us)
{
	assert_ok(wbi_seen_finish(f->seen, age_us, &f->err), f->err);
	assert_sound(f);
	wbi_seen_close(f->seen);
	assert_ok(wb_store_commit(f->store, f->txn, &f->err), f->err);
}

static void next_visit(fixture *f, uint64_t age_us)
{
	leave(f, age_us);
	visit(f);
}

static void end(fixture *f)
{
	wbi_seen_close(f->seen);
	wb_store_abort(f->txn);
	wb_store_close(f->store);
}

static void add(fixture *f, wb_str source, wb_str id, uint64_t position)
{
	uint64_t ret = 0;

	assert_ok(wbi_seen_add(f->seen, source, id, position, &ret, &f->err),
		  f->err);
	assert_int_equal(ret, position);
}

static void assert_known(fixture *f, wb_str source, wb_str id,
			 uint64_t position)
{
	uint64_t ret = 0;

	assert_int_equal(wbi_seen_get(f->seen, source, id, &ret, &f->err),
			 position ? WB_OK : WB_ENOTFOUND);
	assert_int_equal(ret, position);
	if (position == 0)
		return;
	assert_int_equal(
		wbi_seen_add(f->seen, source, id, position + 1, &ret, &f->err),
		WB_EEXISTS);
	assert_int_equal(ret, position);
	assert_int_equal(f->err.code, WB_OK);
}

/* ---- ids ---------------------------------------------------------------- */

static void an_id_is_known_by_its_source(void **state)
{
	fixture f = begin(state);

	for (int i = 0; i < 2; i++, next_visit(&f, 1)) {
		if (i == 0) {
			add(&f, S("/a"), S("1"), 10);
			add(&f, S("/a"), S("11"), 11);
			add(&f, S("/a1"), S("1"), 12);
		}
		assert_known(&f, S("/a"), S("1"), 10);
		assert_known(&f, S("/a"), S("11"), 11);
		assert_known(&f, S("/a1"), S("1"), 12);
		assert_known(&f, S("/a1"), S("11"), 0);
		assert_known(&f, S("/"), S("a1"), 0);
	}
	end(&f);
}

#define UUID "018f0000-0000-7000-8000-00000000000a"

static void only_what_is_written_alike_is_the_same_id(void **state)
{
	fixture f = begin(state);

	add(&f, S("/a"), S(UUID), 1);
	assert_known(&f, S("/b"), S(UUID), 0);
	assert_known(&f, S("/a"), S("018F0000-0000-7000-8000-00000000000A"), 0);
	add(&f, S("/a"), S("018F0000-0000-7000-8000-00000000000A"), 2);
	add(&f, S("/a"), S("018f0000-0000-7000-8000-00000000000g"), 3);
	add(&f, S("/a"), S("018f0000_0000-7000-8000-00000000000a"), 4);
	add(&f, S("/a"), S("018f0000-0000-7000-8000-00000000000b"), 5);
	next_visit(&f, 1);
	assert_known(&f, S("/a"), S(UUID), 1);
	assert_known(&f, S("/b"), S(UUID), 0);
	assert_known(&f, S("/a"), S("018f0000-0000-7000-8000-00000000000b"), 5);
	end(&f);
}

static void the_longest_and_any_bytes_are_taken(void **state)
{
	fixture f = begin(state);
	char text[256];
	uint64_t ret;

	memset(text, 1, sizeof(text));
	add(&f, wb_str_n(text, 255), wb_str_n(text, 255), 1);
	add(&f, wb_str_n(text, 254), wb_str_n(text, 255), 2);
	add(&f, wb_str_n(text, 255), wb_str_n(text, 254), 3);
	assert_known(&f, wb_str_n(text, 255), wb_str_n(text, 254), 3);
	assert_code(wbi_seen_add(f.seen, S(""), S("1"), 1, &ret, &f.err),
		    WB_EINVAL, f.err);
	assert_code(wbi_seen_get(f.seen, S("/a"), wb_str_n(text, 256), &ret,
				 &f.err),
		    WB_EINVAL, f.err);
	end(&f);
}

/* ---- many --------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* Three kinds in turns: text, random UUIDs, UUIDs that begin with a time. */
static wb_str id_of(uint64_t i, char buf[64])
{
	uint64_t high = i % 3 == 1 ? mix(2 * i) : i << 16 | 0x7000;
	uint64_t low = mix(2 * i + 1);

	if (i % 3 == 0)
		return wb_str_n(buf, (size_t)snprintf(buf, 64, "id-%llu",
						      (unsigned long long)i));
	snprintf(buf, 64, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(high >> 32),
		 (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xffff),
		 (unsigned)(low >> 48),
		 (unsigned long long)(low & UINT64_C(0xffffffffffff)));
	return wb_str_n(buf, WB_UUID_TEXT_LEN);
}

/* Through three levels, in visits of all sizes, with repeats in between. */
static void many_are_each_known_once(void **state)
{
	enum { MANY = 90000 };
	fixture f = begin(state);
	uint64_t next = 1;
	char buf[64];

	for (uint64_t round = 0; next <= MANY; round++) {
		uint64_t size = mix(round) % 7 == 0 ? 3000 : mix(round) % 900;

		for (uint64_t i = 0; i < size && next <= MANY; i++, next++) {
			uint64_t old = 1 + mix(next) % next;

			add(&f, S("/a"), id_of(next, buf), next);
			if (i % 8 == 0)
				assert_known(&f, S("/a"), id_of(old, buf), old);
		}
		if (round % 16 == 0)
			next_visit(&f, round);
	}
	next_visit(&f, 1);
	assert_true(f.seen->state.counts[3] > 1000);
	assert_int_equal(f.seen->state.counts[1] + f.seen->state.counts[2] +
				 f.seen->state.counts[3],
			 MANY);
	for (uint64_t i = 1; i <= MANY; i += 7)
		assert_known(&f, S("/a"), id_of(i, buf), i);
	for (uint64_t i = MANY + 1; i < MANY + 1000; i++)
		assert_known(&f, S("/a"), id_of(i, buf), 0);
	end(&f);
}

/* In the order that was said, in another, some of them twice, and with more in
 * between than a visit holds. */
static void what_was_expected_is_answered_the_same(void **state)
{
	enum { MANY = 20000 };
	fixture f = begin(state);
	uint64_t next = 1;
	char buf[64];

	for (uint64_t round = 0; next <= MANY; round++) {
		uint64_t first = next, size = 1 + mix(round) % 700;

		for (uint64_t i = 0; i < size; i++)
			assert_ok(wbi_seen_expect(f.seen, S("/a"),
						  id_of(first + i, buf),
						  &f.err),
				  f.err);
		/* A batch that has its first one twice. */
		assert_ok(wbi_seen_expect(f.seen, S("/a"), id_of(first, buf),
					  &f.err),
			  f.err);
		for (uint64_t i = 0; i < size; i++, next++) {
			add(&f, S("/a"), id_of(next, buf), next);
			if (round % 2 && mix(next) % 50 == 0)
				assert_known(&f, S("/a"), id_of(next, buf),
					     next);
		}
		assert_known(&f, S("/a"), id_of(first, buf), first);
		for (uint64_t i = 0; i < size; i += 3)
			assert_ok(wbi_seen_expect(f.seen, S("/a"),
						  id_of(next - i - 1, buf),
						  &f.err),
				  f.err);
		for (uint64_t i = 0; i < size; i += 3)
			assert_known(&f, S("/a"), id_of(next - i - 1, buf),
				     next - i - 1);
		if (round % 5 == 0)
			next_visit(&f, round);
	}
	for (uint64_t i = 1; i < next; i += 7)
		assert_known(&f, S("/a"), id_of(i, buf), i);
	end(&f);
}

static void an_aborted_visit_leaves_nothing(void **state)
{
	fixture f = begin(state);
	char buf[64];

	add(&f, S("/a"), S("1"), 1);
	next_visit(&f, 1);
	for (uint64_t i = 2; i < 5000; i++)
		add(&f, S("/a"), id_of(i, buf), i);
	wbi_seen_close(f.seen);
	wb_store_abort(f.txn);
	visit(&f);
	assert_known(&f, S("/a"), S("1"), 1);
	for (uint64_t i = 2; i < 5000; i += 100)
		assert_known(&f, S("/a"), id_of(i, buf), 0);
	end(&f);
}

/* ---- forgetting --------------------------------------------------------- */

static void what_is_old_is_forgotten(void **state)
{
	fixture f = begin(state);
	uint64_t floor = 99, age;
	char buf[64];

	/* 100 ids each 20 seconds. */
	for (uint64_t i = 1; i <= 1000; i++) {
		add(&f, S("/a"), id_of(i, buf), i);
		if (i % 100 == 0)
			next_visit(&f, (i / 100) * 20 * SECOND_US);
	}
	assert_ok(wbi_seen_forget(f.seen, 20 * SECOND_US, &floor, &f.err),
		  f.err);
	assert_int_equal(floor, 0); /* what was added at that age stays */
	assert_ok(wbi_seen_forget(f.seen, 60 * SECOND_US, &floor, &f.err),
		  f.err);
	assert_int_equal(floor, 201);
	next_visit(&f, 200 * SECOND_US);
	assert_known(&f, S("/a"), id_of(200, buf), 0);
	assert_known(&f, S("/a"), id_of(201, buf), 201);
	/* It may come again, and is then known anew. */
	add(&f, S("/a"), id_of(7, buf), 1001);
	next_visit(&f, 220 * SECOND_US);
	assert_known(&f, S("/a"), id_of(7, buf), 1001);
	for (age = 240; age < 2000; age += 20) {
		assert_ok(wbi_seen_forget(f.seen, (age - 20) * SECOND_US,
					  &floor, &f.err),
			  f.err);
		for (uint64_t i = 0; i < 100; i++)
			add(&f, S("/b"), id_of(age * 5 + i, buf), age * 5 + i);
		next_visit(&f, age * SECOND_US);
	}
	assert_known(&f, S("/a"), id_of(7, buf), 0);
	assert_known(&f, S("/a"), id_of(1000, buf), 0);
	/* And what is forgotten does not stay. */
	assert_true(f.seen->state.counts[1] + f.seen->state.counts[2] < 600);
	end(&f);
}

static void what_was_forgotten_may_all_come_again(void **state)
{
	enum { MANY = 9000 };
	fixture f = begin(state);
	uint64_t floor = 0;
	char buf[64];

	for (uint64_t round = 0; round < 3; round++) {
		for (uint64_t i = 1; i <= MANY; i++)
			add(&f, S("/a"), id_of(i, buf), round * MANY + i);
		next_visit(&f, (round + 1) * 100 * SECOND_US);
		for (uint64_t i = 1; i <= MANY; i += 11)
			assert_known(&f, S("/a"), id_of(i, buf),
				     round * MANY + i);
		/* One more, so that it is known where those end. */
		add(&f, S("/b"), id_of(round, buf), (round + 1) * MANY + 1);
		next_visit(&f, (round + 1) * 100 * SECOND_US + 50 * SECOND_US);
		assert_ok(wbi_seen_forget(f.seen,
					  (round + 1) * 100 * SECOND_US +
						  20 * SECOND_US,
					  &floor, &f.err),
			  f.err);
		assert_int_equal(floor, (round + 1) * MANY + 1);
	}
	end(&f);
}

/* ---- rows --------------------------------------------------------------- */

static void damage_is_noticed(void **state)
{
	fixture f = begin(state);
	wb_str key = WB_STR_NULL, row;
	wbi_cursor *cursor;
	uint8_t bytes[4096];
	char buf[64];

	for (uint64_t i = 1; i < 20; i++)
		add(&f, S("/a"), id_of(i, buf), i);
	next_visit(&f, 1);
	assert_ok(wbi_cursor_open(f.txn, f.tables->seen, &cursor, &f.err),
		  f.err);
	for (int n = 0; n < 2; n++) { /* the state, a chunk */
		assert_ok(wbi_cursor_move(cursor, n ? WBI_NEXT : WBI_FIRST,
					  &key, &row, &f.err),
			  f.err);
		memcpy(bytes, row.ptr, row.len);
		for (size_t i = 0; i < 8 * row.len; i++) {
			wbi_seen_sum sum = {.highest = 0};

			bytes[i / 8] ^= (uint8_t)(1 << i % 8);
			assert_int_equal(
				wbi_seen_check(WB_STR_NULL, key,
					       wb_str_n(bytes, row.len), &sum,
					       NULL),
				WB_ECORRUPT);
			bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		}
	}
	wbi_cursor_close(cursor);
	end(&f);
}

/* A lookup does not check sums, so it must bear whatever it finds. */
static void a_row_that_is_no_chunk_is_an_error(void **state)
{
	fixture f = begin(state);
	seen_row_key key;
	uint8_t bytes[64] = {0};
	uint64_t position;
	wb_code code;
	char buf[64];

	for (uint64_t i = 1; i < 20; i++)
		add(&f, S("/a"), id_of(i, buf), i);
	next_visit(&f, 1);
	memset(&key, 0xff, sizeof(key));
	key.bytes[0] = 1;
	for (size_t len = 0; len < sizeof(bytes); len++) {
		wbi_seen_close(f.seen);
		assert_ok(wbi_put(f.txn, f.tables->seen, seen_row_key_str(&key),
				  wb_str_n(bytes, len), &f.err),
			  f.err);
		memset(bytes, 0xee, sizeof(bytes));
		assert_ok(wbi_seen_open(f.store, f.txn, &f.seen, &f.err),
			  f.err);
		code = wbi_seen_get(f.seen, S("/a"),
				    S("ffffffff-ffff-ffff-ffff-ffffffffffff"),
				    &position, &f.err);
		wb_error_clear(&f.err);
		/* It may have the size of a chunk. */
		assert_int_equal(code, (len == 34 || len == 58) ? WB_ENOTFOUND
								: WB_ECORRUPT);
	}
	end(&f);
}

static void siphash_knows_the_published_vectors(void **state)
{
	static const uint8_t none[] = {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25,
				       0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14,
				       0xc7, 0x55, 0x02, 0x93};
	static const uint8_t text[] = {0x2c, 0x9d, 0x3b, 0xec, 0x36, 0x78,
				       0x24, 0xfe, 0x53, 0x8e, 0xda, 0x85,
				       0xe1, 0xa0, 0x9c, 0xf4};
	uint8_t key[WBI_SIPHASH_KEY], hash[WBI_SIPHASH_LEN];

	(void)state;
	for (uint8_t i = 0; i < sizeof(key); i++)
		key[i] = i;
	wbi_siphash(key, "", 0, hash);
	assert_memory_equal(hash, none, sizeof(none));
	wbi_siphash(key, "the source of an event is here", 30, hash);
	assert_memory_equal(hash, text, sizeof(text));
}

/* ---- golden ------------------------------------------------------------- */

static void fill_counted(void *ctx, void *bytes, size_t len)
{
	(void)ctx;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)bytes)[i] = (uint8_t)i;
}

static void golden_row(fixture *f, wbi_table table, wbi_move move,
		       const char *name)
{
	const char *srcdir = getenv("srcdir"), *to = getenv("GOLDEN_WRITE");
	char dir[2048];
	uint8_t stored[4096];
	wb_str key = WB_STR_NULL, row;
	wbi_cursor *cursor;
	FILE *file;
	size_t len;

	snprintf(dir, sizeof(dir), "%s/tests/lib/journal/golden",
		 srcdir ? srcdir : ".");
	file = fopen(test_path(to ? to : dir, name), to ? "wb" : "rb");
	if (!file)
		fail_msg("cannot open %s", test_path(to ? to : dir, name));
	assert_ok(wbi_cursor_open(f->txn, table, &cursor, &f->err), f->err);
	assert_ok(wbi_cursor_move(cursor, move, &key, &row, &f->err), f->err);
	wbi_cursor_close(cursor);
	if (to) {
		fwrite(row.ptr, 1, row.len, file);
		fclose(file);
		return;
	}
	len = fread(stored, 1, sizeof(stored), file);
	fclose(file);
	assert_int_equal(len, row.len);
	assert_memory_equal(stored, row.ptr, len);
}

/* A promise to stores that exist; GOLDEN_WRITE=DIR writes new ones. */
static void golden_rows_are_written_unchanged(void **state)
{
	test_place *place = *state;
	const wb_random random = {fill_counted, NULL};
	wb_store_options options = test_store_options();
	fixture f = {.err = WB_ERROR_INIT};

	assert_ok(wb_store_create(place->store, &options, &f.err), f.err);
	options.random = &random;
	assert_ok(wb_store_open(place->store, &options, &f.store, &f.err),
		  f.err);
	f.tables = wbi_store_get_tables(f.store);
	visit(&f);
	add(&f, S("/a"), S(UUID), 258);
	add(&f, S("/a"), S("text"), 259);
	next_visit(&f, 1000);
	golden_row(&f, f.tables->seen, WBI_FIRST, "seen_state.row");
	golden_row(&f, f.tables->seen, WBI_LAST, "seen.row");
	golden_row(&f, f.tables->seen_age, WBI_FIRST, "seen_age.row");
	end(&f);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(an_id_is_known_by_its_source),
		T(only_what_is_written_alike_is_the_same_id),
		T(the_longest_and_any_bytes_are_taken),
		T(many_are_each_known_once),
		T(what_was_expected_is_answered_the_same),
		T(an_aborted_visit_leaves_nothing),
		T(what_is_old_is_forgotten),
		T(what_was_forgotten_may_all_come_again),
		T(damage_is_noticed),
		T(a_row_that_is_no_chunk_is_an_error),
		cmocka_unit_test(siphash_knows_the_published_vectors),
		T(golden_rows_are_written_unchanged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
