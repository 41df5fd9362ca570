/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walk of an LMDB file's pages: whatever LMDB itself writes is sound, in
 * tables of every kind that it has; and what no longer fits is named, although
 * each number that the page says of itself could be one.
 */
#include "tests/support/place.h"
#include "tests/support/seeded_random.h"
#include "tests/support/testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/store/pages.h"

enum { PAGE = 4096, ROUNDS = 200, KEYS = 40 };

typedef struct kind {
	const char *name;
	unsigned flags;
	size_t value_max, value; /* `value`: all are as long */
} kind;

static const kind kinds[] = {
	{"plain", 0, 9000, 0},
	{"numbers", MDB_INTEGERKEY, 3000, 0},
	{"reverse", MDB_REVERSEKEY, 300, 0},
	{"words", MDB_DUPSORT, 500, 0},
	{"numbered words", MDB_DUPSORT | MDB_INTEGERKEY, 60, 0},
	{"sized", MDB_DUPSORT | MDB_DUPFIXED, 0, 24},
	{"bytes", MDB_DUPSORT | MDB_DUPFIXED, 0, 1},
	{"odd", MDB_DUPSORT | MDB_DUPFIXED, 0, 7},
	{"ids", MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP, 0, 8},
};

typedef struct file {
	MDB_env *env;
	MDB_dbi tables[WBI_COUNT(kinds)];
	const char *path;
	seeded_random random;
} file;

static void file_open(file *f, const char *dir, uint64_t seed)
{
	MDB_txn *txn;

	f->path = test_path(dir, "pages");
	seeded_random_init(&f->random, seed);
	assert_int_equal(mdb_env_create(&f->env), 0);
	assert_int_equal(mdb_env_set_maxdbs(f->env, WBI_COUNT(kinds)), 0);
	assert_int_equal(mdb_env_set_mapsize(f->env, 64 << 20), 0);
	assert_int_equal(
		mdb_env_open(f->env, f->path, MDB_NOSUBDIR | MDB_NOSYNC, 0600),
		0);
	assert_int_equal(mdb_txn_begin(f->env, NULL, 0, &txn), 0);
	for (size_t i = 0; i < WBI_COUNT(kinds); i++)
		assert_int_equal(mdb_dbi_open(txn, kinds[i].name,
					      MDB_CREATE | kinds[i].flags,
					      &f->tables[i]),
				 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
}

static wb_code file_check(file *f, wb_error *err)
{
	wbi_pages_result result;
	MDB_txn *txn;
	wb_code code;

	assert_int_equal(mdb_txn_begin(f->env, NULL, MDB_RDONLY, &txn), 0);
	code = wbi_pages_check(f->path, txn, NULL, &result, err);
	mdb_txn_abort(txn);
	return code;
}

/* One of a few keys, so that rows are replaced, grow and shrink. */
static MDB_val some_key(file *f, const kind *k, char buf[600])
{
	uint64_t n = seeded_random_below(&f->random, KEYS);
	MDB_val ret = {sizeof(n), buf};

	memcpy(buf, &n, sizeof(n));
	if (!(k->flags & MDB_INTEGERKEY)) {
		ret.mv_size = 1 + n * n % 500;
		memset(buf, 'a' + (int)n % 26, ret.mv_size);
		buf[ret.mv_size - 1] = (char)n;
	}
	return ret;
}

static MDB_val some_value(file *f, const kind *k, char buf[9000])
{
	uint64_t n = seeded_random_below(&f->random, 2000);
	size_t size =
		k->value ? k->value
			 : 1 + seeded_random_below(&f->random, k->value_max);

	memset(buf, (int)n, size);
	memcpy(buf, &n, size < sizeof(n) ? size : sizeof(n));
	return (MDB_val){size, buf};
}

static void change(file *f, MDB_txn *txn)
{
	static char key_bytes[600], value_bytes[9000];
	size_t table = seeded_random_below(&f->random, WBI_COUNT(kinds));
	const kind *k = &kinds[table];
	MDB_dbi dbi = f->tables[table];
	MDB_val key = some_key(f, k, key_bytes);
	MDB_val value = some_value(f, k, value_bytes), at;
	MDB_cursor *cursor;
	int rc = 0;

	switch (seeded_random_below(&f->random, 8)) {
	case 0:
		rc = mdb_del(txn, dbi, &key, NULL);
		break;
	case 1:
		rc = mdb_cursor_open(txn, dbi, &cursor);
		assert_int_equal(rc, 0);
		rc = mdb_cursor_get(cursor, &key, &at, MDB_SET_RANGE);
		if (rc == 0)
			rc = mdb_cursor_del(cursor, 0);
		mdb_cursor_close(cursor);
		break;
	case 2:
		if (seeded_random_chance(&f->random, 3))
			rc = mdb_drop(txn, dbi, 0);
		break;
	default:
		rc = mdb_put(txn, dbi, &key, &value, 0);
	}
	if (rc != 0 && rc != MDB_NOTFOUND)
		fail_msg("%s: %s", k->name, mdb_strerror(rc));
}

static void commit_changes(file *f, uint64_t count)
{
	MDB_txn *txn;

	assert_int_equal(mdb_txn_begin(f->env, NULL, 0, &txn), 0);
	for (uint64_t i = 0; i < count; i++)
		change(f, txn);
	assert_int_equal(mdb_txn_commit(txn), 0);
}

static void what_lmdb_writes_is_sound(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	file f;

	file_open(&f, place->dir, 1);
	for (int i = 0; i < ROUNDS; i++) {
		commit_changes(&f, seeded_random_below(&f.random, 200));
		assert_ok(file_check(&f, &err), err);
	}
	mdb_env_close(f.env);
}

/* ---- damage ------------------------------------------------------------- */

enum { LEAF = 2, BRANCH = 1, FLAGS = 10, UPPER = 14, SLOT = 16 };
enum { ROW_SIZE = -4, ROW_FLAGS = 0, ROW_KEY = 2 };
enum { PLAIN = 0, TABLE = 2, DUPLICATES = 4, ANY = 99 };

/* Bits to be turned in a page of this kind: in its header at `at`, or with
 * `row` beside the flags of its first row of that kind. */
typedef struct damage {
	uint16_t page, row;
	int at;
	uint16_t bits;
} damage;

static const damage damages[] = {
	{LEAF, ANY, FLAGS, 0x20}, /* values of one size */
	{LEAF, ANY, FLAGS, 0x40}, /* embedded */
	{BRANCH, ANY, FLAGS, 0x03},
	{LEAF, ANY, UPPER, 4},
	{BRANCH, ANY, UPPER, 4},
	{LEAF, ANY, SLOT, 8},
	{BRANCH, ANY, SLOT, 8},
	{LEAF, PLAIN, ROW_FLAGS, 1}, /* lies elsewhere */
	{LEAF, PLAIN, ROW_FLAGS, 2}, /* is a table */
	{LEAF, PLAIN, ROW_FLAGS, 4}, /* has duplicates */
	{LEAF, PLAIN, ROW_FLAGS, 8},
	{LEAF, PLAIN, ROW_SIZE, 2},
	{LEAF, PLAIN, ROW_KEY, 2},
	{LEAF, TABLE, ROW_FLAGS, 4},
	{LEAF, TABLE, ROW_SIZE, 1},
	{LEAF, DUPLICATES, ROW_FLAGS, 1},
	{LEAF, DUPLICATES, ROW_FLAGS, 2},
	{LEAF, DUPLICATES, ROW_SIZE, 4},
};

/* Where in the page to turn bits; 0: it is of another kind. */
static size_t damage_at(const damage *d, const uint8_t *page)
{
	uint16_t page_flags, lower, at, flags;

	memcpy(&page_flags, page + FLAGS, sizeof(page_flags));
	memcpy(&lower, page + 12, sizeof(lower));
	if (page_flags != d->page)
		return 0;
	if (d->row == ANY)
		return (size_t)d->at;
	for (size_t slot = SLOT; slot < lower; slot += 2) {
		memcpy(&at, page + slot, sizeof(at));
		memcpy(&flags, page + at + 4, sizeof(flags));
		if (flags == d->row)
			return (size_t)(at + 4 + d->at);
	}
	return 0;
}

static void turn_bits(int fd, uint64_t at, uint16_t bits)
{
	uint16_t word;

	assert_int_equal(pread(fd, &word, 2, (off_t)at), 2);
	word ^= bits;
	assert_int_equal(pwrite(fd, &word, 2, (off_t)at), 2);
}

static bool is_noticed(file *f, int fd, uint64_t at, uint16_t bits)
{
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	turn_bits(fd, at, bits);
	code = file_check(f, &err);
	turn_bits(fd, at, bits);
	assert_true(code == WB_OK || code == WB_ECORRUPT);
	return code != WB_OK;
}

/* In one page after another of those in use, whose number is looked at. */
static void damage_pages(file *f, int fd, size_t index)
{
	const damage *d = &damages[index];
	uint8_t page[PAGE];
	unsigned tried = 0;

	for (uint64_t at = 2 * PAGE; pread(fd, page, PAGE, (off_t)at) == PAGE;
	     at += PAGE) {
		size_t where = damage_at(d, page);

		if (where == 0 || !is_noticed(f, fd, at, 1))
			continue;
		tried++;
		if (!is_noticed(f, fd, at + where, d->bits))
			fail_msg("damage %zu at byte %zu of page %u", index,
				 where, (unsigned)(at / PAGE));
	}
	if (tried == 0)
		fail_msg("damage %zu: no such page", index);
}

static void what_would_lead_lmdb_out_of_a_page_is_found(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	file f;
	int fd;

	file_open(&f, place->dir, 2);
	for (int i = 0; i < 10; i++)
		commit_changes(&f, 100);
	fd = open(f.path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	for (size_t i = 0; i < WBI_COUNT(damages); i++)
		damage_pages(&f, fd, i);
	close(fd);
	assert_ok(file_check(&f, &err), err);
	mdb_env_close(f.env);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(what_lmdb_writes_is_sound),
		T(what_would_lead_lmdb_out_of_a_page_is_found),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
