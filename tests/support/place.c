/* SPDX-License-Identifier: BSD-2-Clause */
/* Directories and small stores for tests; see place.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include "tests/support/place.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "tests/support/testing.h"

int test_places_in_memory(void **state)
{
	(void)state;
	if (!getenv("TMPDIR") && !access("/dev/shm", W_OK))
		return setenv("TMPDIR", "/dev/shm", 1);
	return 0;
}

int test_place_setup(void **state)
{
	test_place *place = calloc(1, sizeof(*place));
	const char *tmp = getenv("TMPDIR");

	assert_non_null(place);
	snprintf(place->dir, sizeof(place->dir), "%s/waybill-test-XXXXXX",
		 tmp && *tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(place->dir));
	assert_true((size_t)snprintf(place->store, sizeof(place->store),
				     "%.4000s/store",
				     place->dir) < sizeof(place->store));
	*state = place;
	return 0;
}

static int place_remove(const char *path, const struct stat *st, int type,
			struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void test_remove_tree(const char *dir)
{
	nftw(dir, place_remove, 16, FTW_DEPTH | FTW_PHYS);
}

int test_place_teardown(void **state)
{
	test_place *place = *state;

	test_remove_tree(place->dir);
	free(place);
	return 0;
}

const char *test_path(const char *dir, const char *name)
{
	static char ring[8][PATH_MAX];
	static unsigned next;
	char *ret = ring[next++ % 8];

	assert_true(snprintf(ret, PATH_MAX, "%s/%s", dir, name) < PATH_MAX);
	return ret;
}

void test_copy_file(const char *from, const char *to)
{
	char buf[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		assert_int_equal(write(out, buf, (size_t)n), n);
	assert_int_equal(n, 0);
	close(in);
	close(out);
}

long test_file_size(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (long)st.st_size;
}

wb_store_options test_store_options(void)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;

	options.service = "test";
	options.map_bytes = 64 << 20;
	return options;
}

wb_store *test_store_open(const char *dir)
{
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;

	assert_ok(wb_store_open(dir, NULL, &store, &err), err);
	return store;
}

wb_store *test_store_make(const char *dir)
{
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_store_create(dir, &options, &err), err);
	return test_store_open(dir);
}

void test_store_make_old(const char *dir)
{
	static const char *const names[] = {
		"waybill.consumers",  "waybill.seen",
		"waybill.seen_age",   "waybill.work",
		"waybill.due",        "waybill.dead",
		"waybill.audit",      "waybill.status",
		"waybill.streams",    "waybill.stream_index",
		"waybill.categories", "waybill.category_index",
		"waybill.snapshots"};
	static char row[] = "tables";
	MDB_val key = {sizeof(row) - 1, row};
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, WB_STORE_TABLES), 0);
	assert_int_equal(mdb_env_open(env, dir, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	for (size_t i = 0; i < WBI_COUNT(names); i++) {
		assert_int_equal(mdb_dbi_open(txn, names[i], 0, &dbi), 0);
		assert_int_equal(mdb_drop(txn, dbi, 1), 0);
	}
	assert_int_equal(mdb_dbi_open(txn, "waybill.meta", 0, &dbi), 0);
	assert_int_equal(mdb_del(txn, dbi, &key, NULL), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

enum { META_NUMBER_AT = 144 }; /* of a meta page; LMDB 0.9, 64 bits */

/* The older of the two gets the next number, or the newer its old one. */
static bool place_number_meta(const char *path, bool pending)
{
	off_t page = sysconf(_SC_PAGESIZE), at = META_NUMBER_AT;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	ssize_t size = sizeof(uint64_t);
	uint64_t number[2];
	bool second;

	if (pread(fd, &number[0], sizeof(*number), at) != size ||
	    pread(fd, &number[1], sizeof(*number), at + page) != size)
		return false;
	second = (number[1] > number[0]) != pending;
	number[second] += pending ? 2 : (uint64_t)-2;
	return pwrite(fd, &number[second], sizeof(*number),
		      second ? at + page : at) == size;
}

/* A process of its own: this one would lose LMDB's locks with the file. */
void test_store_commit_pending(const char *dir, bool pending)
{
	const char *path = test_path(dir, "data.mdb");
	int status = 1;
	pid_t child = fork();

	if (child == 0)
		_exit(!place_number_meta(path, pending));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static wb_str place_data(unsigned number, char buf[32])
{
	int n = snprintf(buf, 32, "event %u", number);

	return wb_str_n(buf, (size_t)n);
}

uint64_t test_append(wb_store *store, unsigned number, size_t count)
{
	wbi_journal outbox = wbi_journal_of(store, WBI_OUTBOX);
	wb_error err = WB_ERROR_INIT;
	uint64_t first = 0, at;
	MDB_txn *txn = NULL;
	char buf[32];

	assert_ok(wb_store_begin(store, &txn, &err), err);
	for (size_t i = 0; i < count; i++) {
		wb_event event = {.type = S("thing.done"), .key = S("k")};

		event.data = place_data(number + (unsigned)i, buf);
		assert_ok(wbi_journal_append(&outbox, txn, &event, 1,
					     S("/test"), &at, &err),
			  err);
		first = i == 0 ? at : first;
		assert_int_equal(at, first + i);
	}
	assert_ok(wb_store_commit(store, txn, &err), err);
	return first;
}

uint64_t test_read_all(wb_store *store, unsigned number)
{
	wbi_journal outbox = wbi_journal_of(store, WBI_OUTBOX);
	wb_error err = WB_ERROR_INIT;
	uint64_t first, head, count = 0;
	wbi_reader reader;
	wb_event event;
	wb_str record;
	MDB_txn *txn = NULL;
	char buf[32];
	wb_code code;

	assert_ok(wbi_txn_begin(wb_store_env(store), false, &txn, &err), err);
	assert_ok(wbi_journal_range(&outbox, txn, &first, &head, &err), err);
	assert_ok(wbi_reader_open(&reader, &outbox, txn, first ? first - 1 : 0,
				  &err),
		  err);
	while ((code = wbi_reader_next(&reader, &event, &record, &err)) ==
	       WB_OK) {
		assert_true(wb_str_eq(event.data, place_data(number++, buf)));
		assert_true(wb_str_eq(event.source, S("/test")));
		assert_int_equal(event.id.len, WB_UUID_TEXT_LEN);
		assert_true(event.time_us > 0);
		count++;
	}
	assert_int_equal(code, WB_ENOTFOUND);
	assert_int_equal(err.code, WB_OK);
	wbi_reader_close(&reader);
	wbi_txn_abort(txn);
	return count;
}

void test_range(wb_store *store, uint64_t *ret_first, uint64_t *ret_head)
{
	wbi_journal outbox = wbi_journal_of(store, WBI_OUTBOX);
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = NULL;

	assert_ok(wbi_txn_begin(wb_store_env(store), false, &txn, &err), err);
	assert_ok(wbi_journal_range(&outbox, txn, ret_first, ret_head, &err),
		  err);
	wbi_txn_abort(txn);
}

void test_set_cursor(wb_store *store, uint64_t position, uint64_t floor)
{
	wbi_journal outbox = wbi_journal_of(store, WBI_OUTBOX);
	wbi_relay_cursor cursor = {.position = position, .floor = floor};
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = NULL;

	memcpy(cursor.origin, outbox.origin, sizeof(cursor.origin));
	strcpy(cursor.event_id, "some-event");
	assert_ok(wbi_txn_begin(wbi_store_relay_env(store), true, &txn, &err),
		  err);
	assert_ok(wbi_relay_cursor_write(store, txn, &cursor, &err), err);
	assert_ok(wbi_txn_commit(txn, &err), err);
}
