/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a store is not made of: calls that lack something, places that are none,
 * file systems that only look like a disk; and what LMDB's errors become. The
 * file system is this program's own word: statfs() below.
 */
#include "tests/support/place.h"
#include "tests/support/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/store/place.h"
#include "lib/store/store.h"
#include "lib/store/table.h"

enum { EXT4 = 0xef53, FUSE = 0x65735546 };

/* What every path is on. */
static uint32_t file_system = EXT4;

#pragma GCC visibility push(default)
int statfs(const char *path, struct statfs *ret)
{
	(void)path;
	memset(ret, 0, sizeof(*ret));
	ret->f_type = file_system;
	return 0;
}
#pragma GCC visibility pop

static void assert_says(const wb_error *err, const char *words)
{
	if (!strstr(err->text, words))
		fail_msg("%s: no %s", err->text, words);
}

/* ---- calls --------------------------------------------------------------- */

static void a_call_that_lacks_something_is_refused(void **state)
{
	test_place *place = *state;
	wb_store_options o = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	MDB_txn *txn = NULL;
	int cleared = 7;

	assert_code(wb_store_create(NULL, &o, &err), WB_EINVAL, err);
	assert_code(wb_store_create("", &o, &err), WB_ENOTFOUND, err);
	assert_ok(wb_store_create(place->store, &o, &err), err);
	assert_code(wb_store_open(NULL, &o, &store, &err), WB_EINVAL, err);
	assert_code(wb_store_open(place->store, &o, NULL, &err), WB_EINVAL,
		    err);
	assert_code(wb_store_open("", &o, &store, &err), WB_EINVAL, err);
	assert_code(wb_store_attach(NULL, &o, &store, &err), WB_EINVAL, err);
	assert_null(store);
	store = test_store_open(place->store);
	assert_code(wb_store_begin(NULL, &txn, &err), WB_EINVAL, err);
	assert_code(wb_store_begin(store, NULL, &err), WB_EINVAL, err);
	assert_code(wb_store_commit(store, NULL, &err), WB_EINVAL, err);
	assert_code(wb_store_commit(NULL, NULL, &err), WB_EINVAL, err);
	assert_code(wb_store_check_readers(NULL, &cleared, &err), WB_EINVAL,
		    err);
	assert_int_equal(cleared, 7);
	assert_ok(wb_store_check_readers(store, NULL, &err), err);
	assert_ok(wbi_store_adopt_map(store, &err), err);
	wb_store_abort(NULL);
	wb_store_close(store);
	wb_store_close(NULL);
}

static void options_of_another_library_are_refused(void **state)
{
	test_place *place = *state;
	wb_store_options o = test_store_options();
	char service[300];
	wb_error err = WB_ERROR_INIT;

	o.size = 1;
	assert_code(wb_store_create(place->store, &o, &err), WB_EINVAL, err);
	o.size = sizeof(o) + 1;
	assert_code(wb_store_create(place->store, &o, &err), WB_EINVAL, err);
	o = test_store_options();
	o.max_dbs = 1000000;
	assert_code(wb_store_create(place->store, &o, &err), WB_EINVAL, err);
	o = test_store_options();
	memset(service, 's', sizeof(service) - 1);
	service[sizeof(service) - 1] = '\0';
	o.service = service;
	assert_code(wb_store_create(place->store, &o, &err), WB_EINVAL, err);
	o.service = "a\nb";
	assert_code(wb_store_create(place->store, &o, &err), WB_EINVAL, err);
	/* An older one's are shorter, and what they lack is as always. */
	o = test_store_options();
	o.size = offsetof(wb_store_options, max_dbs);
	assert_int_not_equal(wb_store_open(place->store, &o, NULL, &err),
			     WB_OK);
}

/* The standard sizes, of the store and of its quota. */
static void what_is_not_said_has_a_default(void **state)
{
	test_place *place = *state;
	wb_store_options o = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_store *store;

	o.service = "test";
	o.max_dbs = 0;
	o.max_readers = 0;
	o.map_bytes = 0;
	o.quota_soft_pct = 55;
	assert_ok(wb_store_create(place->store, &o, &err), err);
	assert_ok(wb_store_open(place->store, NULL, &store, &err), err);
	assert_int_equal(wbi_store_get_info(store)->quota_soft_pct, 55);
	assert_true(wbi_store_get_info(store)->quota_bytes > 0);
	wb_store_close(store);
}

/* ---- places -------------------------------------------------------------- */

static void a_path_may_end_in_slashes_and_be_relative(void **state)
{
	test_place *place = *state;
	wb_store_options o = test_store_options();
	char here[PATH_MAX], *before = getcwd(here, sizeof(here));
	wb_error err = WB_ERROR_INIT;
	wb_store *store;

	assert_non_null(before);
	assert_int_equal(chdir(place->dir), 0);
	assert_ok(wb_store_create("store//", &o, &err), err);
	assert_ok(wb_store_open("./store/", NULL, &store, &err), err);
	assert_int_equal(chdir(before), 0);
	assert_string_equal(wb_store_dir(store), place->store);
	wb_store_close(store);
	assert_ok(wbi_place_sync_parent("/tmp/", &err), err);
	assert_ok(wbi_place_sync_parent("tmp", &err), err);
}

static void a_path_is_only_so_long(void **state)
{
	char path[PATH_MAX + 100], joined[64];
	wb_store_options o = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(wb_store_open(path, &o, &store, &err), WB_EINVAL);
	assert_says(&err, "over");
	wb_error_clear(&err);
	assert_int_not_equal(wb_store_create(path, &o, &err), WB_OK);
	wb_error_clear(&err);
	path[sizeof(path) - 2] = '/';
	path[PATH_MAX + 50] = '/';
	path[sizeof(path) - 3] = 'x';
	assert_code(wbi_place_sync_parent(path, &err), WB_ELIMIT, err);
	path[100] = '\0';
	assert_code(wbi_place_join(path, "x", joined, sizeof(joined), &err),
		    WB_ELIMIT, err);
}

static void a_file_is_no_directory_and_the_other_way_round(void **state)
{
	test_place *place = *state;
	const char *file = test_path(place->dir, "file");
	wb_store_options o = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	int fd = open(file, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(wb_store_open(file, &o, &store, &err), WB_EACCESS);
	assert_says(&err, "is not a directory");
	wb_error_clear(&err);
	assert_int_equal(wbi_place_check_file(place->dir, &err), WB_EACCESS);
	assert_says(&err, "not a regular file");
	wb_error_clear(&err);
	assert_ok(wbi_place_check_file(test_path(place->dir, "none"), &err),
		  err);
	assert_code(wbi_place_check_file(test_path(file, "below"), &err),
		    WB_ENOTFOUND, err);
}

static void count_warning(void *ctx, wb_log_level level, const char *line)
{
	*(unsigned *)ctx += level == WB_LOG_WARN && strstr(line, "FUSE");
}

static void a_network_is_no_place_for_a_store(void **state)
{
	static const struct {
		uint32_t magic;
		const char *name;
	} networks[] = {
		{0x6969, "NFS"}, {0xfe534d42, "SMB2"}, {0x19830326, "BeeGFS"}};
	unsigned warned = 0;
	const wb_log log = {count_warning, &warned, WB_LOG_DEBUG};
	test_place *place = *state;
	wb_store_options o = test_store_options();
	wb_error err = WB_ERROR_INIT;

	for (size_t i = 0; i < WBI_COUNT(networks); i++) {
		file_system = networks[i].magic;
		assert_int_equal(wb_store_create(place->store, &o, &err),
				 WB_EACCESS);
		assert_says(&err, networks[i].name);
		wb_error_clear(&err);
	}
	file_system = FUSE;
	assert_ok(wbi_place_check_fs(place->dir, &log, &err), err);
	assert_int_equal(warned, 1);
	file_system = EXT4;
}

/* ---- LMDB's errors ------------------------------------------------------- */

static void each_error_of_lmdb_has_its_code_and_cure(void **state)
{
	static const struct {
		int rc;
		wb_code code;
		const char *cure;
	} cases[] = {
		{MDB_KEYEXIST, WB_EEXISTS, ""},
		{MDB_NOTFOUND, WB_ENOTFOUND, ""},
		{MDB_MAP_FULL, WB_EMAPFULL, "enlarge the map"},
		{MDB_VERSION_MISMATCH, WB_EVERSION, ""},
		{MDB_INVALID, WB_ECORRUPT, "waybill fsck"},
		{MDB_CORRUPTED, WB_ECORRUPT, "waybill fsck"},
		{MDB_PAGE_NOTFOUND, WB_ECORRUPT, "waybill fsck"},
		{MDB_INCOMPATIBLE, WB_ECORRUPT, ""},
		{MDB_READERS_FULL, WB_EAGAIN, "max_readers"},
		{MDB_MAP_RESIZED, WB_EAGAIN, "open the store again"},
		{MDB_DBS_FULL, WB_EINVAL, "max_dbs"},
		{MDB_BAD_VALSIZE, WB_EINVAL, ""},
		{MDB_TXN_FULL, WB_ESTATE, "less in one transaction"},
		{MDB_BAD_TXN, WB_ESTATE, "abort the transaction"},
		{MDB_BAD_DBI, WB_ESTATE, ""},
		{MDB_BAD_RSLOT, WB_ESTATE, ""},
		{MDB_PANIC, WB_EIO, "waybill fsck"},
		{EIO, WB_EIO, "waybill fsck"},
		{ENOSPC, WB_ENOSPC, ""},
	};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wb_error err = WB_ERROR_INIT;

		assert_int_equal(wb_store_error(cases[i].rc, &err, "a row"),
				 cases[i].code);
		assert_int_equal(err.foreign, cases[i].rc);
		assert_says(&err, "a row: ");
		assert_says(&err, cases[i].cure);
		/* The first word stands. */
		assert_int_equal(wb_store_error(cases[i].rc, &err, NULL),
				 cases[i].code);
		assert_says(&err, "a row: ");
		assert_int_equal(wb_store_error(cases[i].rc, NULL, NULL),
				 cases[i].code);
	}
	assert_int_equal(wb_store_error(MDB_SUCCESS, NULL, NULL), WB_OK);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_call_that_lacks_something_is_refused),
		T(options_of_another_library_are_refused),
		T(what_is_not_said_has_a_default),
		T(a_path_may_end_in_slashes_and_be_relative),
		T(a_path_is_only_so_long),
		T(a_file_is_no_directory_and_the_other_way_round),
		T(a_network_is_no_place_for_a_store),
		T(each_error_of_lmdb_has_its_code_and_cure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
