/* SPDX-License-Identifier: BSD-2-Clause */
/* Check, backup, restore: what is found, what is copied, what goes on. */
#include "tests/support/place.h"
#include "tests/support/row_damage.h"
#include "tests/support/testing.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/journal/maintain.h"
#include "lib/journal/parked.h"
#include "lib/journal/restore.h"

typedef struct findings {
	uint64_t count;
	wbi_finding first;
	char file[32], table[32], text[WB_ERROR_TEXT_MAX];
} findings;

static void keep_finding(void *ctx, const wbi_finding *finding)
{
	findings *f = ctx;

	if (f->count++ > 0)
		return;
	f->first = *finding;
	snprintf(f->file, sizeof(f->file), "%s", finding->file);
	snprintf(f->table, sizeof(f->table), "%s", finding->table);
	snprintf(f->text, sizeof(f->text), "%s", finding->text);
}

static wb_code check(const char *dir, findings *ret, wbi_check_result *result)
{
	wbi_check_report report = {.finding = keep_finding, .ctx = ret};
	wbi_check_result unused;
	wb_error err = WB_ERROR_INIT;

	memset(ret, 0, sizeof(*ret));
	return wbi_store_check(dir, &report, result ? result : &unused, &err);
}

static void assert_sound(const char *dir)
{
	findings found;
	wb_code code = check(dir, &found, NULL);

	if (code != WB_OK)
		fail_msg("%s: %s: %s %s %llu: %s", dir, wb_code_name(code),
			 found.file, found.table,
			 (unsigned long long)found.first.position, found.text);
}

static void assert_found(const char *dir, const char *words)
{
	findings found;

	assert_int_equal(check(dir, &found, NULL), WB_ECORRUPT);
	if (!strstr(found.text, words))
		fail_msg("\"%s\" is not in \"%s\"", words, found.text);
}

/* One of everything in the relay's environment; of key "k" one more. */
static void fill_relay(wb_store *store, uint64_t position)
{
	const wbi_relay_tables *t = wbi_store_relay_tables(store);
	wbi_journal outbox = wbi_journal_of(store, WBI_OUTBOX);
	wbi_parked_key key = {.first_position = position};
	wbi_relay_status status = {.pid = 1, .connected = S("somewhere")};
	wbi_audit audit = {.who = S("me"), .what = S("retry"), .why = S("x")};
	wbi_held held = {.first_position = position, .text = S("no exchange")};
	wbi_parked parked = {.reason = WBI_PARK_UNROUTABLE,
			     .exchange = S("events"),
			     .text = S("returned")};
	MDB_txn *txn = NULL, *read = NULL;
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_txn_begin(wb_store_env(store), false, &read, &err), err);
	assert_ok(
		wbi_journal_get(&outbox, read, position, &parked.record, &err),
		err);
	assert_ok(wbi_txn_begin(wbi_store_relay_env(store), true, &txn, &err),
		  err);
	if (wbi_parked_key_get(txn, t->keys, S("k"), &key, &err) != WB_OK)
		wb_error_clear(&err);
	key.count++;
	key.bytes += parked.record.len;
	assert_ok(
		wbi_parked_put(txn, t->parked, S("k"), position, &parked, &err),
		err);
	assert_ok(wbi_parked_key_put(txn, t->keys, S("k"), &key, &err), err);
	assert_ok(wbi_held_put(txn, t->held, S("events"), &held, &err), err);
	assert_ok(wbi_audit_add(txn, t->audit, &audit, NULL, &err), err);
	assert_ok(wbi_relay_status_put(txn, t->status, &status, &err), err);
	assert_ok(wbi_count_add(txn, t->status, S("unrouted/a"), 7, &err), err);
	assert_ok(wbi_txn_commit(txn, &err), err);
	wbi_txn_abort(read);
}

/* The id of the event at a position, as the relay would note it. */
static void set_true_cursor(wb_store *store, uint64_t position, uint64_t floor)
{
	wbi_journal outbox = wbi_journal_of(store, WBI_OUTBOX);
	wbi_relay_cursor cursor = {.position = position, .floor = floor};
	MDB_txn *txn = NULL;
	wb_error err = WB_ERROR_INIT;
	wbi_reader reader;
	wb_event event;
	wb_str record;

	memcpy(cursor.origin, outbox.origin, sizeof(cursor.origin));
	assert_ok(wbi_txn_begin(wb_store_env(store), false, &txn, &err), err);
	assert_ok(wbi_reader_open(&reader, &outbox, txn, position - 1, &err),
		  err);
	assert_ok(wbi_reader_next(&reader, &event, &record, &err), err);
	memcpy(cursor.event_id, event.id.ptr, event.id.len);
	wbi_reader_close(&reader);
	wbi_txn_abort(txn);
	assert_ok(wbi_txn_begin(wbi_store_relay_env(store), true, &txn, &err),
		  err);
	assert_ok(wbi_relay_cursor_write(store, txn, &cursor, &err), err);
	assert_ok(wbi_txn_commit(txn, &err), err);
}

static void make_filled(const char *dir, size_t events)
{
	wb_store *store = test_store_make(dir);

	test_append(store, 1, events);
	fill_relay(store, 2);
	set_true_cursor(store, 3, 0);
	wb_store_close(store);
}

static void a_sound_store_has_no_findings(void **state)
{
	test_place *place = *state;
	wbi_check_result result;
	findings found;

	wb_store_close(test_store_make(place->store));
	assert_sound(place->store);
	test_remove_tree(place->store);
	make_filled(place->store, 500);
	assert_int_equal(check(place->store, &found, &result), WB_OK);
	assert_int_equal(result.records, 500);
	assert_int_equal(result.first, 1);
	assert_int_equal(result.head, 500);
	assert_int_equal(result.cursor, 3);
	assert_int_equal(result.parked, 1);
	assert_int_equal(strlen(result.origin), WBI_ORIGIN_LEN);
}

/* LMDB's every kind of table and row, as a host service may have them. */
static void put_hosts_tables(MDB_txn *txn, uint64_t round)
{
	static char large[20000];
	MDB_dbi dup, fixed, plain;

	assert_int_equal(
		mdb_dbi_open(txn, "dup", MDB_CREATE | MDB_DUPSORT, &dup), 0);
	assert_int_equal(mdb_dbi_open(txn, "fixed",
				      MDB_CREATE | MDB_DUPSORT | MDB_DUPFIXED,
				      &fixed),
			 0);
	assert_int_equal(mdb_dbi_open(txn, "plain", MDB_CREATE, &plain), 0);
	for (uint64_t i = 0; i < 400; i++) {
		uint64_t n = i % 7, id = round * 400 + i;
		MDB_val key = {sizeof(n), &n}, value = {sizeof(id), &id};
		MDB_val text = {1 + (size_t)(i * 37 % 300), large};
		MDB_val twice[] = {{sizeof(large), large}, {5000, large}};

		memcpy(large, &id, sizeof(id));
		assert_int_equal(mdb_put(txn, fixed, &key, &value, 0), 0);
		mdb_put(txn, dup, &key, &text, 0); /* or is there already */
		n = i % 50;
		assert_int_equal(mdb_put(txn, plain, &key, &twice[0], 0), 0);
		/* in the same transaction: keeps the pages of the larger */
		assert_int_equal(mdb_put(txn, plain, &key, &twice[i % 2], 0),
				 0);
		if (i % 60 == 0)
			assert_int_equal(mdb_del(txn, plain, &key, NULL), 0);
	}
}

static void what_a_host_keeps_beside_it_is_no_finding(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	const char *copy = test_path(place->dir, "copy");
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;

	for (uint64_t round = 0; round < 4; round++) {
		assert_ok(wb_store_begin(store, &txn, &err), err);
		put_hosts_tables(txn, round);
		assert_ok(wb_store_commit(store, txn, &err), err);
	}
	wb_store_close(store);
	assert_sound(place->store);
	assert_ok(wbi_store_backup(place->store, copy, NULL, &err), err);
	assert_sound(copy);
}

static void a_check_writes_nothing_and_runs_beside_the_service(void **state)
{
	test_place *place = *state;
	const char *data = test_path(place->store, "data.mdb");
	wb_store *store;
	struct stat before, after;

	make_filled(place->store, 100);
	assert_int_equal(stat(data, &before), 0);
	assert_sound(place->store);
	assert_int_equal(stat(data, &after), 0);
	assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	assert_int_equal(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	store = test_store_open(place->store);
	test_append(store, 101, 100);
	assert_sound(place->store); /* its child is another process */
	test_append(store, 201, 100);
	assert_int_equal(test_read_all(store, 1), 300);
	wb_store_close(store);
}

static void yesterdays_copy_goes_on(void **state)
{
	test_place *place = *state;
	const char *copy = test_path(place->dir, "copy");
	const char *back = test_path(place->dir, "back");
	char old_origin[WBI_ORIGIN_LEN + 1];
	wb_error err = WB_ERROR_INIT;
	wbi_relay_cursor cursor;
	MDB_txn *txn = NULL;
	wb_store *store;

	make_filled(place->store, 50);
	assert_ok(wbi_store_backup(place->store, copy, NULL, &err), err);
	assert_code(wbi_store_backup(place->store, copy, NULL, &err),
		    WB_EEXISTS, err);
	assert_sound(copy);
	assert_ok(wbi_store_restore(copy, back, NULL, &err), err);
	assert_sound(back);
	store = test_store_open(place->store);
	memcpy(old_origin, wbi_store_get_info(store)->outbox_origin,
	       sizeof(old_origin));
	wb_store_close(store);
	store = test_store_open(back);
	assert_string_not_equal(wbi_store_get_info(store)->outbox_origin,
				old_origin);
	assert_string_equal(wb_store_service(store), "test");
	assert_ok(wbi_txn_begin(wbi_store_relay_env(store), false, &txn, &err),
		  err);
	assert_ok(wbi_relay_cursor_read(store, txn, &cursor, &err), err);
	wbi_txn_abort(txn);
	assert_string_equal(cursor.origin,
			    wbi_store_get_info(store)->outbox_origin);
	assert_int_equal(cursor.position, 3);
	assert_int_equal(test_append(store, 51, 10), 51);
	assert_int_equal(test_read_all(store, 1), 60);
	wb_store_close(store);
	assert_sound(back);
}

static void a_missing_record_is_found_with_both_sides(void **state)
{
	test_place *place = *state;
	wbi_journal outbox;
	MDB_txn *txn = NULL;
	wb_error err = WB_ERROR_INIT;
	wb_store *store;

	make_filled(place->store, 100);
	store = test_store_open(place->store);
	outbox = wbi_journal_of(store, WBI_OUTBOX);
	assert_ok(wb_store_begin(store, &txn, &err), err);
	assert_ok(wbi_del_at(txn, outbox.table, 50, &err), err);
	assert_ok(wb_store_commit(store, txn, &err), err);
	wb_store_close(store);
	assert_found(place->store, "position 49 is followed by 51");
}

static void files_that_are_cut_off_or_foreign_are_found(void **state)
{
	test_place *place = *state;
	const char *data = test_path(place->store, "data.mdb");
	const char *keep = test_path(place->dir, "keep");
	wbi_check_result result;
	findings found;
	long size;
	FILE *file;

	make_filled(place->store, 500);
	test_copy_file(data, keep);
	size = test_file_size(data);
	for (long cut = 1; cut < size; cut = cut * 3 + 4096) {
		assert_int_equal(truncate(data, size - cut), 0);
		assert_int_equal(check(place->store, &found, &result),
				 WB_ECORRUPT);
		assert_string_equal(found.file, "data.mdb");
		test_copy_file(keep, data);
	}
	assert_sound(place->store);
	file = fopen(data, "w");
	assert_non_null(file);
	for (int i = 0; i < 1000; i++)
		fputs("hello, this is no store ", file);
	fclose(file);
	assert_found(place->store, "not an LMDB file");
	assert_int_equal(unlink(data), 0);
	assert_int_equal(check(place->store, &found, NULL), WB_ENOTFOUND);
}

static void a_cursor_that_does_not_fit_is_found(void **state)
{
	test_place *place = *state;
	wb_store *store;

	make_filled(place->store, 10);
	store = test_store_open(place->store);
	test_set_cursor(store, 5, 5); /* names some other event */
	wb_store_close(store);
	assert_found(place->store, "different histories");
	store = test_store_open(place->store);
	test_set_cursor(store, 11, 5);
	wb_store_close(store);
	assert_found(place->store, "past the journal's head 10");
}

/* Events that are parked under `key`, and no row of the key unless `row`. */
static void park(const char *dir, const char *key, unsigned count,
		 const wbi_parked_key *row)
{
	wb_store *store = test_store_open(dir);
	const wbi_relay_tables *t = wbi_store_relay_tables(store);
	wbi_parked parked = {.reason = WBI_PARK_CORRUPT, .record = S("xyz")};
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = NULL;

	assert_ok(wbi_txn_begin(wbi_store_relay_env(store), true, &txn, &err),
		  err);
	for (unsigned i = 0; i < count; i++)
		assert_ok(wbi_parked_put(txn, t->parked, wb_str_from(key),
					 5 + i, &parked, &err),
			  err);
	if (row)
		assert_ok(wbi_parked_key_put(txn, t->keys, wb_str_from(key),
					     row, &err),
			  err);
	assert_ok(wbi_txn_commit(txn, &err), err);
	wb_store_close(store);
}

static void parked_events_and_their_keys_must_agree(void **state)
{
	static const wbi_parked_key good = {.count = 2,
					    .bytes = 6,
					    .first_position = 5};
	static const struct {
		const char *key, *words;
		wbi_parked_key row;
	} wrong[] = {
		{"a", "'a': 2 parked events of 6 bytes from position 5 on, but "
		      "relay.keys says 1 of 6 bytes from 5 on", {0, 1, 6, 5, 0}},
		{"a", "says 2 of 7 bytes", {0, 2, 7, 5, 0}},
		{"a", "bytes from 6 on", {0, 2, 6, 6, 0}},
		{"zz", "says 3 of 6 bytes", {0, 3, 6, 5, 0}}, /* the last */
		{"", "key '': 2 parked", {0, 3, 6, 5, 0}},
	};
	test_place *place = *state;

	make_filled(place->store, 10);
	park(place->store, "none", 0, &good);
	assert_found(place->store, "key 'none' has no parked event");
	park(place->store, "none", 2, NULL);
	assert_sound(place->store);
	for (size_t i = 0; i < WBI_COUNT(wrong); i++) {
		park(place->store, wrong[i].key, 2, &wrong[i].row);
		assert_found(place->store, wrong[i].words);
		park(place->store, wrong[i].key, 2, &good);
		assert_sound(place->store);
	}
	park(place->store, "lost", 2, NULL);
	assert_found(place->store, "says 0 of 0 bytes from 0 on");
}

enum { WRITES_MAX = 2000 }; /* a snapshot may keep every page of all of them */

static void a_backup_is_whole_while_another_process_writes(void **state)
{
	test_place *place = *state;
	const char *copy = test_path(place->dir, "copy");
	wb_error err = WB_ERROR_INIT;
	uint64_t first, head;
	wb_store *store;
	int status;
	pid_t pid;

	make_filled(place->store, 1000);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(30);
		store = test_store_open(place->store);
		/* No more than there is room for. */
		for (unsigned i = 0; i < WRITES_MAX; i++)
			test_append(store, 1001 + i * 5, 5);
		for (;;)
			pause();
	}
	for (int i = 0; i < 5; i++) {
		usleep(20000);
		assert_ok(wbi_store_backup(place->store, copy, NULL, &err),
			  err);
		assert_sound(copy);
		assert_sound(place->store);
		store = test_store_open(copy);
		test_range(store, &first, &head);
		assert_int_equal(head % 5, 0); /* whole transactions only */
		assert_int_equal(test_read_all(store, 1), head);
		wb_store_close(store);
		test_remove_tree(copy);
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_sound(place->store);
}

/* The relay's state of today beside the journal of yesterday: what a backup
 * of a busy store can look like at its worst. */
static void a_restore_forgets_what_the_copy_does_not_have(void **state)
{
	test_place *place = *state;
	const char *old = test_path(place->dir, "old");
	const char *back = test_path(place->dir, "back");
	const wbi_relay_tables *tables;
	wb_error err = WB_ERROR_INIT;
	wbi_relay_cursor cursor;
	wbi_parked_key key;
	wbi_parked parked;
	size_t parked_bytes;
	MDB_txn *txn = NULL;
	wb_store *store;

	make_filled(place->store, 50);
	assert_ok(wbi_store_backup(place->store, old, NULL, &err), err);
	store = test_store_open(place->store);
	test_append(store, 51, 50);
	set_true_cursor(store, 90, 0);
	fill_relay(store, 80);
	wb_store_close(store);
	test_copy_file(test_path(place->store, "relay/data.mdb"),
		       test_path(old, "relay/data.mdb"));
	assert_found(old, "past the journal's head 50");
	/* This is what a backup does behind its copying. */
	assert_ok(wbi_restore_rewrite(old, false, &err), err);
	assert_sound(old);
	assert_ok(wbi_store_restore(old, back, NULL, &err), err);
	store = test_store_open(back);
	tables = wbi_store_relay_tables(store);
	assert_ok(wbi_txn_begin(wbi_store_relay_env(store), false, &txn, &err),
		  err);
	assert_ok(wbi_relay_cursor_read(store, txn, &cursor, &err), err);
	assert_int_equal(cursor.position, 50);
	assert_ok(wbi_parked_get(txn, tables->parked, S("k"), 2, &parked, &err),
		  err);
	parked_bytes = parked.record.len;
	assert_int_equal(
		wbi_parked_get(txn, tables->parked, S("k"), 80, &parked, &err),
		WB_ENOTFOUND);
	assert_ok(wbi_parked_key_get(txn, tables->keys, S("k"), &key, &err),
		  err);
	assert_int_equal(key.count, 1);
	assert_int_equal(key.first_position, 2);
	assert_int_equal(key.bytes, parked_bytes);
	wbi_txn_abort(txn);
	wb_store_close(store);
}

static void whatever_a_row_says_fsck_comes_to_an_end(void **state)
{
	test_place *place = *state;

	make_filled(place->store, 10);
	test_damage_rows(place->store, 23);
}

static void what_is_no_place_is_refused(void **state)
{
	test_place *place = *state;
	const char *file = test_path(place->dir, "file");
	const char *copy = test_path(place->dir, "copy");
	char long_path[5000], slashes[PATH_MAX + 2];
	wbi_check_result result;
	wb_error err = WB_ERROR_INIT;
	FILE *made;

	make_filled(place->store, 3);
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	made = fopen(file, "w");
	assert_non_null(made);
	fclose(made);
	assert_code(wbi_store_check(NULL, NULL, &result, &err), WB_EINVAL, err);
	assert_code(wbi_store_check(place->store, NULL, NULL, &err), WB_EINVAL,
		    err);
	assert_code(wbi_store_check(file, NULL, &result, &err), WB_EACCESS,
		    err);
	assert_code(wbi_store_check(place->dir, NULL, &result, &err),
		    WB_ENOTFOUND, err);
	assert_code(wbi_store_backup(NULL, copy, NULL, &err), WB_EINVAL, err);
	assert_code(wbi_store_backup(place->store, NULL, NULL, &err), WB_EINVAL,
		    err);
	assert_code(wbi_store_restore(NULL, copy, NULL, &err), WB_EINVAL, err);
	assert_code(wbi_store_restore(place->store, NULL, NULL, &err),
		    WB_EINVAL, err);
	assert_code(wbi_store_backup(place->store, file, NULL, &err),
		    WB_EEXISTS, err);
	assert_code(wbi_store_backup(place->store, "", NULL, &err), WB_EINVAL,
		    err);
	assert_code(wbi_store_backup(place->store, long_path, NULL, &err),
		    WB_EIO, err);
	assert_code(wbi_store_backup(place->store, test_path(file, "below"),
				     NULL, &err),
		    WB_ENOTFOUND, err);
	assert_code(wbi_store_backup(place->store,
				     test_path(place->dir, "none/copy"), NULL,
				     &err),
		    WB_ENOTFOUND, err);
	assert_code(wbi_store_backup(test_path(place->dir, "none"), copy, NULL,
				     &err),
		    WB_ENOTFOUND, err);
	/* A name with slashes behind it is the same name. */
	snprintf(slashes, sizeof(slashes), "%.4000s//", copy);
	assert_ok(wbi_store_backup(place->store, slashes, NULL, &err), err);
	assert_sound(copy);
}

/* LMDB must not be opened twice by a process, not even to be read. */
static void what_this_process_has_open_is_not_copied(void **state)
{
	test_place *place = *state;
	const char *copy = test_path(place->dir, "copy");
	wb_store *store = test_store_make(place->store);
	wb_error err = WB_ERROR_INIT;

	assert_code(wbi_store_backup(place->store, copy, NULL, &err), WB_EBUSY,
		    err);
	assert_int_not_equal(access(copy, F_OK), 0);
	wb_store_close(store);
	assert_ok(wbi_store_backup(place->store, copy, NULL, &err), err);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_sound_store_has_no_findings),
		T(what_a_host_keeps_beside_it_is_no_finding),
		T(a_check_writes_nothing_and_runs_beside_the_service),
		T(yesterdays_copy_goes_on),
		T(a_missing_record_is_found_with_both_sides),
		T(files_that_are_cut_off_or_foreign_are_found),
		T(a_cursor_that_does_not_fit_is_found),
		T(parked_events_and_their_keys_must_agree),
		T(a_backup_is_whole_while_another_process_writes),
		T(a_restore_forgets_what_the_copy_does_not_have),
		T(whatever_a_row_says_fsck_comes_to_an_end),
		T(what_is_no_place_is_refused),
		T(what_this_process_has_open_is_not_copied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
