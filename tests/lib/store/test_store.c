/* SPDX-License-Identifier: BSD-2-Clause */
/* Creating, opening and attaching stores, and what is refused. */
#include "tests/support/place.h"
#include "tests/support/testing.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"

static void a_store_is_created_once_and_opened_again(void **state)
{
	test_place *place = *state;
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	char origin[WBI_ORIGIN_LEN + 1];

	assert_code(wb_store_open(place->store, NULL, &store, &err),
		    WB_ENOTFOUND, err);
	assert_ok(wb_store_create(place->store, &options, &err), err);
	assert_code(wb_store_create(place->store, &options, &err), WB_EEXISTS,
		    err);
	store = test_store_open(place->store);
	assert_code(wb_store_create(place->store, &options, &err), WB_EEXISTS,
		    err);
	assert_string_equal(wb_store_service(store), "test");
	assert_string_equal(wb_store_dir(store), place->store);
	memcpy(origin, wbi_store_get_info(store)->outbox_origin,
	       sizeof(origin));
	assert_int_equal(strlen(origin), WBI_ORIGIN_LEN);
	wb_store_close(store);
	store = test_store_open(place->store);
	assert_string_equal(wbi_store_get_info(store)->outbox_origin, origin);
	wb_store_close(store);
}

/* wb_store_open must refuse with `code`, and say `words`. */
static void assert_refused(const char *dir, wb_code code, const char *words)
{
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;

	assert_string_equal(
		wb_code_name(wb_store_open(dir, NULL, &store, &err)),
		wb_code_name(code));
	assert_null(store);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" is not in \"%s\"", words, err.text);
}

static void a_place_that_is_not_ours_alone_is_refused(void **state)
{
	test_place *place = *state;
	const char *link = test_path(place->dir, "link");
	const char *data = test_path(place->store, "data.mdb");
	const char *relay = test_path(place->store, "relay");

	wb_store_close(test_store_make(place->store));
	assert_int_equal(chmod(place->store, 0750), 0);
	assert_refused(place->store, WB_EACCESS, "chmod 700");
	assert_int_equal(chmod(place->store, 0700), 0);
	assert_int_equal(chmod(data, 0640), 0);
	assert_refused(place->store, WB_EACCESS, "chmod 600");
	assert_int_equal(chmod(data, 0600), 0);
	assert_int_equal(chmod(relay, 0701), 0);
	assert_refused(place->store, WB_EACCESS, "chmod 700");
	assert_int_equal(chmod(relay, 0700), 0);
	assert_int_equal(symlink(place->store, link), 0);
	assert_refused(link, WB_EACCESS, "symbolic link");
	assert_refused(test_path(place->dir, "link/"), WB_EACCESS,
		       "symbolic link");
	assert_int_equal(rename(data, test_path(place->dir, "away")), 0);
	assert_int_equal(symlink(test_path(place->dir, "away"), data), 0);
	assert_refused(place->store, WB_EACCESS, "symbolic link");
	assert_int_equal(unlink(data), 0);
	assert_refused(place->store, WB_ENOTFOUND, "no store");
	if (geteuid() == 0) {
		assert_int_equal(chown(place->store, 12345, 12345), 0);
		assert_refused(place->store, WB_EACCESS, "user 12345");
	}
}

static void a_store_is_opened_once_by_a_process(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	pid_t pid;
	int status;

	assert_refused(place->store, WB_EBUSY, "already");
	wb_store_close(store);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		wb_error err = WB_ERROR_INIT;
		wb_store *mine = NULL;

		_exit(wb_store_open(place->store, NULL, &mine, &err));
	}
	store = test_store_open(place->store); /* both have it */
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), WB_OK);
	wb_store_close(store);
}

static MDB_env *host_open(const char *dir, unsigned flags, unsigned dbs)
{
	MDB_env *env = NULL;

	mkdir(dir, 0700);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, dbs), 0);
	assert_int_equal(mdb_env_set_mapsize(env, 16 << 20), 0);
	assert_int_equal(mdb_env_open(env, dir, flags, 0600), 0);
	return env;
}

static void a_foreign_environment_is_not_a_store(void **state)
{
	test_place *place = *state;
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	MDB_env *env = host_open(place->store, MDB_NOTLS, 4);
	MDB_txn *txn;
	MDB_dbi dbi;

	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "orders", MDB_CREATE, &dbi), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	assert_refused(place->store, WB_ECORRUPT, "no waybill store");
	assert_code(wb_store_create(place->store, &options, &err), WB_EEXISTS,
		    err);
}

static void a_file_that_is_not_lmdbs_is_refused(void **state)
{
	test_place *place = *state;
	const char *data = test_path(place->store, "data.mdb");
	FILE *file;

	wb_store_close(test_store_make(place->store));
	file = fopen(data, "w");
	assert_non_null(file);
	for (int i = 0; i < 9000; i++)
		fputs("not a store ", file);
	fclose(file);
	assert_refused(place->store, WB_ECORRUPT, "data.mdb");
}

static void a_file_that_is_cut_off_is_refused_before_it_is_read(void **state)
{
	test_place *place = *state;
	const char *data = test_path(place->store, "data.mdb");
	wb_store *store = test_store_make(place->store);
	long size;

	test_append(store, 1, 2000);
	wb_store_close(store);
	size = test_file_size(data);
	assert_int_equal(truncate(data, size / 2 / 4096 * 4096), 0);
	assert_refused(place->store, WB_ECORRUPT, "cut off");
	assert_int_equal(truncate(data, 5000), 0);
	assert_refused(place->store, WB_ECORRUPT, "data.mdb");
}

/* Change the meta row by plain LMDB, as another version or a fault would. */
static void change_meta(const char *dir, size_t at, uint8_t value, bool reseal)
{
	MDB_env *env = host_open(dir, MDB_NOTLS, 4);
	char name[] = "store";
	MDB_val key = {5, name}, row;
	uint8_t bytes[1024];
	MDB_txn *txn;
	MDB_dbi dbi;
	uint32_t crc;

	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "waybill.meta", 0, &dbi), 0);
	assert_int_equal(mdb_get(txn, dbi, &key, &row), 0);
	assert_true(row.mv_size <= sizeof(bytes));
	memcpy(bytes, row.mv_data, row.mv_size);
	bytes[at] = value;
	crc = wbi_crc32c(wbi_crc32c(0, "store", 5), bytes, row.mv_size - 4);
	if (reseal)
		wbi_put_le32(bytes + row.mv_size - 4, crc);
	row.mv_data = bytes;
	assert_int_equal(mdb_put(txn, dbi, &key, &row, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void a_newer_format_and_a_damaged_one_are_told_apart(void **state)
{
	test_place *place = *state;

	wb_store_close(test_store_make(place->store));
	change_meta(place->store, 1, WBI_STORE_FORMAT + 1, true);
	assert_refused(place->store, WB_EVERSION, "newer waybill");
	change_meta(place->store, 1, WBI_STORE_FORMAT, false);
	assert_refused(place->store, WB_ECORRUPT, "checksum");
}

static void options_that_make_no_sense_are_named(void **state)
{
	test_place *place = *state;
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;

	options.service = NULL;
	assert_int_equal(wb_store_create(place->store, &options, &err),
			 WB_EINVAL);
	assert_non_null(strstr(err.text, "service"));
	wb_error_clear(&err);
	options.service = "test";
	options.quota_soft_pct = 101;
	assert_int_equal(wb_store_create(place->store, &options, &err),
			 WB_EINVAL);
	assert_non_null(strstr(err.text, "quota_soft_pct"));
	wb_error_clear(&err);
	options.quota_soft_pct = 0;
	options.size = sizeof(options) + 8;
	assert_code(wb_store_create(place->store, &options, &err), WB_EINVAL,
		    err);
	/* Nothing was made by any of them. */
	assert_int_equal(access(place->store, F_OK), -1);
}

static void assert_attach_refused(const char *dir, unsigned flags,
				  const char *words)
{
	wb_store_options options = test_store_options();
	MDB_env *env = host_open(dir, flags, 8);
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;

	assert_int_equal(wb_store_attach(env, &options, &store, &err),
			 WB_EINVAL);
	assert_null(store);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" is not in \"%s\"", words, err.text);
	mdb_env_close(env);
}

static void an_environment_that_would_lose_events_is_refused(void **state)
{
	test_place *place = *state;
	const unsigned ok = MDB_NOTLS;
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	MDB_env *env;

	mdb_env_close(host_open(place->store, ok, 8)); /* for MDB_RDONLY */
	assert_attach_refused(place->store, 0, "MDB_NOTLS");
	assert_attach_refused(place->store, ok | MDB_RDONLY, "MDB_RDONLY");
	assert_attach_refused(place->store, ok | MDB_WRITEMAP, "MDB_WRITEMAP");
	assert_attach_refused(place->store, ok | MDB_NOSYNC, "MDB_NOSYNC");
	assert_attach_refused(place->store, ok | MDB_NOMETASYNC,
			      "MDB_NOMETASYNC");
	assert_attach_refused(place->store, ok | MDB_MAPASYNC, "MDB_MAPASYNC");
	assert_attach_refused(place->store, ok | MDB_NOLOCK, "MDB_NOLOCK");
	env = host_open(place->store, ok, 2);
	assert_int_equal(wb_store_attach(env, &options, &store, &err),
			 WB_EINVAL);
	assert_non_null(strstr(err.text, "maxdbs"));
	mdb_env_close(env);
}

static void a_hosts_environment_takes_a_store_in(void **state)
{
	test_place *place = *state;
	wb_store_options options = test_store_options();
	MDB_env *env = host_open(place->store, MDB_NOTLS, WB_STORE_TABLES);
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL, *again = NULL;

	assert_ok(wb_store_attach(env, &options, &store, &err), err);
	assert_ptr_equal(wb_store_env(store), env);
	assert_code(wb_store_attach(env, &options, &again, &err), WB_EBUSY,
		    err);
	assert_int_equal(test_append(store, 1, 5), 1);
	wb_store_close(store);
	options.service = NULL; /* it is known now */
	assert_ok(wb_store_attach(env, &options, &store, &err), err);
	assert_string_equal(wb_store_service(store), "test");
	assert_int_equal(test_append(store, 6, 5), 6);
	wb_store_close(store);
	options.service = "another";
	assert_code(wb_store_attach(env, &options, &store, &err), WB_EMISMATCH,
		    err);
	mdb_env_close(env);
	store = test_store_open(place->store);
	assert_int_equal(test_read_all(store, 1), 10);
	wb_store_close(store);
}

static void a_store_of_before_the_inbox_gets_its_tables(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_store *store = test_store_make(place->store);
	uint64_t bytes, rows;
	MDB_txn *txn = NULL;

	test_append(store, 1, 5);
	wb_store_close(store);
	test_store_make_old(place->store);
	store = test_store_open(place->store);
	assert_int_equal(test_read_all(store, 1), 5);
	assert_ok(wb_store_begin(store, &txn, &err), err);
	assert_ok(wbi_table_size(txn, wbi_store_get_tables(store)->status,
				 &bytes, &rows, &err),
		  err);
	wb_store_abort(txn);
	wb_store_close(store);
	wb_store_close(test_store_open(place->store));
}

static void a_table_that_is_gone_is_damage(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = NULL;

	assert_ok(wb_store_begin(store, &txn, &err), err);
	assert_int_equal(mdb_drop(txn, wbi_store_get_tables(store)->work, 1),
			 0);
	assert_ok(wb_store_commit(store, txn, &err), err);
	wb_store_close(store);
	assert_int_equal(wb_store_open(place->store, NULL, &store, &err),
			 WB_ECORRUPT);
	assert_non_null(strstr(err.text, "waybill.work"));
}

static void the_map_size_is_the_one_stored(void **state)
{
	test_place *place = *state;
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	MDB_envinfo info;

	wb_store_close(test_store_make(place->store));
	options.map_bytes = 256 << 20;
	assert_ok(wb_store_open(place->store, &options, &store, &err), err);
	assert_int_equal(mdb_env_info(wb_store_env(store), &info), 0);
	assert_int_equal(info.me_mapsize, 64 << 20);
	wb_store_close(store);
}

static void readers_of_dead_processes_are_cleared(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_error err = WB_ERROR_INIT;
	int cleared = -1, status, pipes[2];
	char byte;
	pid_t pid;

	wb_store_close(store);
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		MDB_txn *txn = NULL;

		store = NULL;
		if (wb_store_open(place->store, NULL, &store, NULL) ||
		    wbi_txn_begin(wb_store_env(store), false, &txn, NULL) ||
		    write(pipes[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	store = test_store_open(place->store);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_ok(wb_store_check_readers(store, &cleared, &err), err);
	assert_true(cleared >= 1);
	wb_store_close(store);
	close(pipes[0]);
	close(pipes[1]);
}

int main(void)
{
#define T(name)                                                               \
	cmocka_unit_test_setup_teardown(name, test_place_setup,               \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_store_is_created_once_and_opened_again),
		T(a_place_that_is_not_ours_alone_is_refused),
		T(a_store_is_opened_once_by_a_process),
		T(a_foreign_environment_is_not_a_store),
		T(a_file_that_is_not_lmdbs_is_refused),
		T(a_file_that_is_cut_off_is_refused_before_it_is_read),
		T(a_newer_format_and_a_damaged_one_are_told_apart),
		T(options_that_make_no_sense_are_named),
		T(an_environment_that_would_lose_events_is_refused),
		T(a_hosts_environment_takes_a_store_in),
		T(a_store_of_before_the_inbox_gets_its_tables),
		T(a_table_that_is_gone_is_damage),
		T(the_map_size_is_the_one_stored),
		T(readers_of_dead_processes_are_cleared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
