/* SPDX-License-Identifier: BSD-2-Clause */
/* The files are kept in memory and put back after each change. */
#include "tests/support/row_damage.h"

#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <waybill/store.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/journal/restore.h"
#include "lib/journal/walk.h"
#include "tests/kit/scratch.h"
#include "tests/support/place.h"
#include "tests/support/testing.h"

enum { ROWS_MAX = 1000, TABLE_MAX = 32, CRC = 4, KEY_MAX = 512 };

typedef struct row {
	char table[TABLE_MAX];
	MDB_val key, value; /* own memory */
} row;

typedef struct half { /* the store's environment, the relay's */
	char dir[PATH_MAX], file[PATH_MAX + 16];
	uint8_t *bytes;
	size_t size;
	row rows[ROWS_MAX];
	size_t count;
} half;

typedef struct damage {
	const char *dir;
	half *halves[2], *now;
	unsigned each, turn;
	unsigned tried, found; /* changes */
	unsigned findings;     /* of this change */
} damage;

/* ---- files --------------------------------------------------------------- */

static void load_file(half *h)
{
	struct stat st;
	int fd = open(h->file, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	h->size = (size_t)st.st_size;
	h->bytes = malloc(h->size);
	assert_non_null(h->bytes);
	assert_true(read(fd, h->bytes, h->size) == (ssize_t)h->size);
	close(fd);
}

static void put_back(const half *h)
{
	int fd = open(h->file, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)h->size), 0);
	assert_true(pwrite(fd, h->bytes, h->size, 0) == (ssize_t)h->size);
	close(fd);
}

/* ---- rows ---------------------------------------------------------------- */

static MDB_env *env_open(const half *h)
{
	MDB_env *env;

	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 64), 0);
	assert_int_equal(
		mdb_env_open(env, h->dir, MDB_NOSYNC | MDB_NOLOCK, 0600), 0);
	return env;
}

static MDB_val copy_of(MDB_val from)
{
	MDB_val to = {from.mv_size, malloc(from.mv_size + 1)};

	assert_non_null(to.mv_data);
	memcpy(to.mv_data, from.mv_data, from.mv_size);
	return to;
}

static void load_table(half *h, MDB_txn *txn, const char *name)
{
	MDB_val key, value;
	MDB_cursor *cursor;
	MDB_dbi dbi;

	assert_int_equal(mdb_dbi_open(txn, name, 0, &dbi), 0);
	assert_int_equal(mdb_cursor_open(txn, dbi, &cursor), 0);
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		row *r = &h->rows[h->count++];

		assert_true(h->count <= ROWS_MAX);
		snprintf(r->table, sizeof(r->table), "%s", name);
		r->key = copy_of(key);
		r->value = copy_of(value);
	}
	mdb_cursor_close(cursor);
}

static void load_rows(half *h)
{
	MDB_env *env = env_open(h);
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn;
	MDB_dbi names;

	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, NULL, 0, &names), 0);
	assert_int_equal(mdb_cursor_open(txn, names, &cursor), 0);
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		char name[TABLE_MAX];

		snprintf(name, sizeof(name), "%.*s", (int)key.mv_size,
			 (const char *)key.mv_data);
		load_table(h, txn, name);
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	mdb_env_close(env);
}

/* Records have their checksum in front, rows behind. */
static bool is_record(const row *r)
{
	return !strcmp(r->table, "outbox") || !strcmp(r->table, "inbox");
}

static void seal(const row *r, MDB_val key, MDB_val value)
{
	uint8_t *bytes = value.mv_data;
	size_t len = value.mv_size - CRC;

	if (is_record(r))
		wbi_put_le32(bytes, wbi_crc32c(0, bytes + CRC, len));
	else
		wbi_put_le32(bytes + len,
			     wbi_crc32c(wbi_crc32c(0, key.mv_data, key.mv_size),
					bytes, len));
}

/* ---- one change ---------------------------------------------------------- */

static void count_finding(void *ctx, const wbi_finding *finding)
{
	damage *d = ctx;

	assert_int_not_equal(finding->code, WB_OK);
	assert_string_not_equal(finding->text, "");
	d->findings++;
}

static void ignore(void *ctx, uint64_t done, uint64_t total)
{
	(void)ctx, (void)done, (void)total;
}

static unsigned walk(damage *d)
{
	const wbi_walk_output output = {count_finding, ignore, d};
	wbi_check_result result;
	wb_error err = WB_ERROR_INIT;

	d->findings = 0;
	assert_ok(wbi_walk_store(d->dir, &output, &result, &err), err);
	return d->findings;
}

/* What a backup does behind its copying, and a restore with what is sound. */
static void judge(damage *d, const row *r)
{
	wb_error err = WB_ERROR_INIT;
	bool sound = walk(d) == 0;
	wb_code code = wbi_restore_rewrite(d->dir, sound, &err);

	d->tried++;
	d->found += !sound;
	if (!sound)
		return;
	if (code != WB_OK)
		fail_msg("called sound, table %s: %s", r->table, err.text);
	if (walk(d) > 0)
		fail_msg("not sound once restored, table %s", r->table);
}

/* Instead of `r`, this row; without data: nothing. */
static void change(damage *d, const row *r, MDB_val key, MDB_val value)
{
	MDB_env *env = env_open(d->now);
	MDB_val old = r->key;
	MDB_txn *txn;
	MDB_dbi dbi;

	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, r->table, 0, &dbi), 0);
	assert_int_equal(mdb_del(txn, dbi, &old, NULL), 0);
	if (value.mv_data)
		assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	judge(d, r);
	put_back(d->halves[0]);
	put_back(d->halves[1]);
}

static bool is_due(damage *d)
{
	return d->turn++ % d->each == 0;
}

static void change_row(damage *d, const row *r)
{
	static const uint8_t with[] = {0x00, 0x01, 0x02, 0x7f, 0xff};
	uint8_t key_bytes[KEY_MAX];
	MDB_val key = {r->key.mv_size, key_bytes}, value = copy_of(r->value);

	memcpy(key_bytes, r->key.mv_data, r->key.mv_size);
	for (size_t i = 0; i < key.mv_size; i++) {
		key_bytes[i] ^= 1;
		seal(r, key, value);
		if (is_due(d))
			change(d, r, key, value);
		key_bytes[i] ^= 1;
	}
	for (size_t i = 0; i < value.mv_size * WBI_COUNT(with); i++) {
		uint8_t *byte = (uint8_t *)value.mv_data + i / WBI_COUNT(with);
		uint8_t was = *byte;

		*byte = was == with[i % WBI_COUNT(with)]
				? was ^ 0x40
				: with[i % WBI_COUNT(with)];
		seal(r, key, value);
		if (is_due(d))
			change(d, r, key, value);
		*byte = was;
	}
	free(value.mv_data);
	change(d, r, r->key, (MDB_val){0, NULL});
}

/* ---- all of them --------------------------------------------------------- */

static half *half_load(const char *dir, const char *below)
{
	half *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	snprintf(h->dir, sizeof(h->dir), "%s%s", dir, below);
	snprintf(h->file, sizeof(h->file), "%.4000s/data.mdb", h->dir);
	load_file(h);
	load_rows(h);
	return h;
}

static void half_free(half *h)
{
	for (size_t i = 0; i < h->count; i++) {
		free(h->rows[i].key.mv_data);
		free(h->rows[i].value.mv_data);
	}
	free(h->bytes);
	free(h);
}

/* Where memory is a file system: it is synced often. */
static void copy_store(const char *from, const char *to)
{
	static const char *const files[] = {"data.mdb", "relay/data.mdb"};
	char old[PATH_MAX + 16], new[PATH_MAX + 16];

	snprintf(new, sizeof(new), "%s/relay", to);
	assert_int_equal(mkdir(new, 0700), 0);
	for (size_t i = 0; i < WBI_COUNT(files); i++) {
		snprintf(old, sizeof(old), "%s/%s", from, files[i]);
		snprintf(new, sizeof(new), "%s/%s", to, files[i]);
		test_copy_file(old, new);
		assert_int_equal(chmod(new, 0600), 0);
	}
}

void test_damage_rows(const char *dir, unsigned each)
{
	const char *wanted = getenv("WAYBILL_DAMAGE_EACH");
	char copy[PATH_MAX];
	damage d = {.dir = copy,
		    .each = wanted ? (unsigned)strtoul(wanted, NULL, 10)
				   : each};

	assert_true(d.each > 0);
	assert_true(kit_scratch_make(kit_scratch_base(), copy));
	copy_store(dir, copy);
	d.halves[0] = half_load(copy, "");
	d.halves[1] = half_load(copy, "/relay");
	for (size_t i = 0; i < WBI_COUNT(d.halves); i++) {
		d.now = d.halves[i];
		for (size_t at = 0; at < d.now->count; at++)
			change_row(&d, &d.now->rows[at]);
	}
	half_free(d.halves[0]);
	half_free(d.halves[1]);
	kit_scratch_remove(copy);
	print_message("%u changes, %u found\n", d.tried, d.found);
	assert_true(d.found > 0);
}
