/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One flipped bit at a time in the files of a small store: whatever it hits,
 * either the check finds it or everything still reads back as it was. Each
 * flip is walked in a child, since LMDB may crash on it; that counts as found,
 * as it does for `waybill fsck`.
 */
#include "tests/support/inbox_rows.h"
#include "tests/support/place.h"
#include "tests/support/testing.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/crc32c.h"
#include "lib/journal/parked.h"
#include "lib/journal/walk.h"

enum { ZEROS_STRIDE = 61 }; /* of the bytes that are 0, look at a few */

/* Shared between the walking child and the test. */
typedef struct flips {
	size_t at;        /* the byte that is flipped now */
	bool reading;     /* past the check, reading back */
	size_t found, harmless, crashed, silent;
	size_t first_silent;
} flips;

static void ignore_finding(void *ctx, const wbi_finding *finding)
{
	(void)ctx;
	(void)finding;
}

static void ignore_progress(void *ctx, uint64_t done, uint64_t total)
{
	(void)ctx;
	(void)done;
	(void)total;
}

static bool check_finds(const char *dir)
{
	const wbi_walk_output output = {ignore_finding, ignore_progress, NULL};
	wb_error err = WB_ERROR_INIT;
	wbi_check_result result = {0};

	return wbi_walk_store(dir, &output, &result, &err) != WB_OK ||
	       result.findings > 0;
}

/* A digest of every row of a table, both in order and by key. */
static uint32_t digest_table(MDB_txn *txn, MDB_dbi dbi, uint32_t digest)
{
	MDB_cursor *cursor;
	MDB_val key, value, again;

	if (mdb_cursor_open(txn, dbi, &cursor))
		return digest + 1;
	while (!mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		digest = wbi_crc32c(digest, key.mv_data, key.mv_size);
		digest = wbi_crc32c(digest, value.mv_data, value.mv_size);
		if (mdb_get(txn, dbi, &key, &again) ||
		    again.mv_data != value.mv_data)
			digest++;
	}
	mdb_cursor_close(cursor);
	return digest;
}

static uint32_t digest_env(const char *dir, const char *const *names)
{
	uint32_t digest = 0;
	MDB_env *env;
	MDB_txn *txn;

	if (mdb_env_create(&env))
		return 1;
	mdb_env_set_maxdbs(env, WB_STORE_TABLES);
	if (mdb_env_open(env, dir, MDB_RDONLY | MDB_NOTLS, 0600) ||
	    mdb_txn_begin(env, NULL, MDB_RDONLY, &txn)) {
		mdb_env_close(env);
		return 2;
	}
	for (; *names; names++) {
		MDB_dbi dbi;

		digest = mdb_dbi_open(txn, *names, 0, &dbi)
				 ? digest + 3
				 : digest_table(txn, dbi, digest);
	}
	mdb_txn_abort(txn);
	mdb_env_close(env);
	return digest;
}

static uint32_t digest_store(const char *dir)
{
	static const char *const names[] = {
		"waybill.meta",      "waybill.outbox", "waybill.inbox",
		"waybill.consumers", "waybill.seen",   "waybill.seen_age",
		"waybill.work",      "waybill.due",    "waybill.dead",
		"waybill.audit",     "waybill.status", NULL};
	static const char *const relay[] = {
		"relay.cursor", "relay.parked", "relay.keys", "relay.held",
		"relay.audit",  "relay.status", NULL};

	return digest_env(dir, names) * 31 +
	       digest_env(test_path(dir, "relay"), relay);
}

static void flip(int fd, size_t at)
{
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= (uint8_t)(1u << (at % 8));
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
}

static bool worth_a_flip(int fd, size_t at)
{
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	return byte != 0 || at % ZEROS_STRIDE == 0;
}

static void flip_on(const char *dir, int fd, size_t size, uint32_t digest,
		    flips *f)
{
	for (; f->at < size; f->at++) {
		if (!worth_a_flip(fd, f->at))
			continue;
		flip(fd, f->at);
		f->reading = false;
		if (check_finds(dir)) {
			f->found++;
		} else {
			f->reading = true;
			if (digest_store(dir) == digest)
				f->harmless++;
			else if (f->silent++ == 0)
				f->first_silent = f->at;
		}
		flip(fd, f->at);
	}
}

/* cmocka would go on with its next test after a crash. What LMDB asserts says
 * on standard error is of no interest here. */
static void die_quietly(void)
{
	static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};

	for (size_t i = 0; i < WBI_COUNT(deadly); i++)
		signal(deadly[i], SIG_DFL);
	alarm(30);
	if (!freopen("/dev/null", "w", stderr))
		_exit(1);
}

/* Walk on in a child for as long as none of them crashes. */
static void flip_all(const char *dir, const char *file, flips *f)
{
	uint32_t digest = digest_store(dir);
	size_t size = (size_t)test_file_size(file);
	int fd = open(file, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_false(check_finds(dir));
	while (f->at < size) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			die_quietly();
			flip_on(dir, fd, size, digest, f);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			break;
		flip(fd, f->at);
		if (f->reading && f->silent++ == 0)
			f->first_silent = f->at;
		f->crashed += !f->reading;
		f->at++;
	}
	close(fd);
	assert_false(check_finds(dir));
	assert_int_equal(digest_store(dir), digest);
}

static void make_small(const char *dir)
{
	wb_store *store = test_store_make(dir);
	const wbi_relay_tables *t = wbi_store_relay_tables(store);
	wbi_relay_status status = {.pid = 1, .connected = S("somewhere")};
	wbi_parked parked = {.reason = WBI_PARK_CORRUPT, .record = S("x")};
	wbi_parked_key key = {.count = 3, .bytes = 3, .first_position = 1};
	MDB_txn *txn = NULL;
	wb_error err = WB_ERROR_INIT;

	/* Two commits at least, and a tree of more than one page. */
	for (unsigned i = 0; i < 4; i++)
		test_append(store, i * 10, 10);
	test_inbox_fill(store);
	assert_ok(wbi_txn_begin(wbi_store_relay_env(store), true, &txn, &err),
		  err);
	for (uint64_t i = 1; i < 4; i++)
		assert_ok(wbi_parked_put(txn, t->parked, S("k"), i, &parked,
					 &err),
			  err);
	assert_ok(wbi_parked_key_put(txn, t->keys, S("k"), &key, &err), err);
	assert_ok(wbi_relay_status_put(txn, t->status, &status, &err), err);
	assert_ok(wbi_txn_commit(txn, &err), err);
	wb_store_close(store);
}

static void try_file(test_place *place, const char *name)
{
	flips *f = mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(f != MAP_FAILED);
	make_small(place->store);
	flip_all(place->store, test_path(place->store, name), f);
	print_message("%s: of %zu flips the check found %zu, %zu crashed it, "
		      "%zu were harmless, %zu silent\n",
		      name, f->found + f->crashed + f->harmless + f->silent,
		      f->found, f->crashed, f->harmless, f->silent);
	if (f->silent > 0)
		fail_msg("%s: a flip at byte %zu goes unnoticed", name,
			 f->first_silent);
	assert_true(f->found > 200);
	munmap(f, sizeof(*f));
}

static void no_flipped_bit_of_the_store_goes_unnoticed(void **state)
{
	try_file(*state, "data.mdb");
}

static void no_flipped_bit_of_the_relays_state_goes_unnoticed(void **state)
{
	try_file(*state, "relay/data.mdb");
}

int main(void)
{
#define T(name)                                                               \
	cmocka_unit_test_setup_teardown(name, test_place_setup,               \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(no_flipped_bit_of_the_store_goes_unnoticed),
		T(no_flipped_bit_of_the_relays_state_goes_unnoticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
