/* SPDX-License-Identifier: BSD-2-Clause */
/* The journal: positions without gaps, whatever becomes of transactions. */
#include "tests/support/place.h"
#include "tests/support/testing.h"

#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/event/record.h"
#include "lib/journal/parked.h"

static void what_is_committed_reads_back_in_order(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);

	assert_int_equal(test_read_all(store, 1), 0);
	assert_int_equal(test_append(store, 1, 3), 1);
	assert_int_equal(test_append(store, 4, 100), 4);
	assert_int_equal(test_read_all(store, 1), 103);
	wb_store_close(store);
	store = test_store_open(place->store);
	assert_int_equal(test_append(store, 104, 1), 104);
	assert_int_equal(test_read_all(store, 1), 104);
	wb_store_close(store);
}

/* One event in a transaction of the caller's. */
static wb_code append_one(wb_store *store, MDB_txn *txn, size_t bytes,
			  uint64_t *ret, wb_error *err)
{
	static const char data[4096];
	wbi_journal outbox = wbi_journal_of(store, WBI_OUTBOX);
	wb_event event = {.type = S("t"), .data = wb_str_n(data, bytes)};

	return wbi_journal_append(&outbox, txn, &event, 1, S("/test"), ret,
				  err);
}

static void what_is_aborted_leaves_no_gap(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = NULL, *nested = NULL;
	uint64_t at, first, head;

	test_append(store, 1, 2);
	assert_ok(wb_store_begin(store, &txn, &err), err);
	assert_ok(append_one(store, txn, 10, &at, &err), err);
	assert_int_equal(at, 3);
	wb_store_abort(txn);
	assert_ok(wb_store_begin(store, &txn, &err), err);
	assert_ok(append_one(store, txn, 10, &at, &err), err);
	assert_int_equal(mdb_txn_begin(wb_store_env(store), txn, 0, &nested),
			 0);
	assert_ok(append_one(store, nested, 10, &at, &err), err);
	assert_int_equal(at, 4);
	mdb_txn_abort(nested);
	assert_int_equal(mdb_txn_begin(wb_store_env(store), txn, 0, &nested),
			 0);
	assert_ok(append_one(store, nested, 10, &at, &err), err);
	assert_int_equal(at, 4);
	assert_int_equal(mdb_txn_commit(nested), 0);
	assert_ok(append_one(store, txn, 10, &at, &err), err);
	assert_int_equal(at, 5);
	assert_ok(wb_store_commit(store, txn, &err), err);
	test_range(store, &first, &head);
	assert_int_equal(first, 1);
	assert_int_equal(head, 5);
	wb_store_close(store);
}

static void a_second_process_appends_while_the_first_reads(void **state)
{
	enum { ROUNDS = 50 };
	test_place *place = *state;
	wb_store *store;
	uint64_t seen = 0;
	int status;
	pid_t pid;

	wb_store_close(test_store_make(place->store));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		store = test_store_open(place->store);
		for (unsigned i = 0; i < ROUNDS; i++)
			test_append(store, 1 + i * 3, 3);
		wb_store_close(store);
		_exit(0);
	}
	store = test_store_open(place->store);
	for (int i = 0; i < 10000 && seen < ROUNDS * 3; i++) {
		uint64_t now = test_read_all(store, 1);

		assert_true(now >= seen && now % 3 == 0);
		seen = now;
		usleep(500);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(test_read_all(store, 1), ROUNDS * 3);
	wb_store_close(store);
}

static void a_gap_and_a_missing_beginning_are_corruption(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wbi_journal outbox = wbi_journal_of(store, WBI_OUTBOX);
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = NULL;
	wbi_reader reader;
	wb_event event;
	wb_str record;

	test_append(store, 1, 5);
	assert_ok(wb_store_begin(store, &txn, &err), err);
	assert_ok(wbi_del_at(txn, outbox.table, 1, &err), err);
	assert_ok(wbi_del_at(txn, outbox.table, 4, &err), err);
	assert_ok(wbi_reader_open(&reader, &outbox, txn, 0, &err), err);
	assert_int_equal(wbi_reader_next(&reader, &event, &record, &err),
			 WB_ECORRUPT);
	assert_non_null(strstr(err.text, "position 1 is wanted"));
	wb_error_clear(&err);
	wbi_reader_close(&reader);
	assert_ok(wbi_reader_open(&reader, &outbox, txn, 1, &err), err);
	assert_ok(wbi_reader_next(&reader, &event, &record, &err), err);
	assert_ok(wbi_reader_next(&reader, &event, &record, &err), err);
	assert_int_equal(wbi_reader_next(&reader, &event, &record, &err),
			 WB_ECORRUPT);
	assert_non_null(strstr(err.text, "position 3 is followed by 5"));
	wb_error_clear(&err);
	wbi_reader_close(&reader);
	assert_ok(wbi_reader_open(&reader, &outbox, txn, 5, &err), err);
	assert_int_equal(wbi_reader_next(&reader, &event, &record, &err),
			 WB_ENOTFOUND);
	wbi_reader_close(&reader);
	wb_store_abort(txn);
	wb_store_close(store);
}

typedef struct lines {
	int count;
	char last[1024];
} lines;

static void keep_line(void *ctx, wb_log_level level, const char *line)
{
	lines *l = ctx;

	if (level > WB_LOG_WARN)
		return;
	l->count++;
	snprintf(l->last, sizeof(l->last), "%s", line);
}

/* Fill until the quota says no, in small transactions; how many went in. */
static uint64_t fill_to_quota(wb_store *store, wb_error *err)
{
	uint64_t count = 0, at;
	wb_code code = WB_OK;

	while (code == WB_OK && count < 100000) {
		MDB_txn *txn = NULL;

		assert_ok(wb_store_begin(store, &txn, err), *err);
		for (int i = 0; i < 20 && code == WB_OK; i++) {
			code = append_one(store, txn, 500, &at, err);
			count += code == WB_OK;
		}
		/* A refusal leaves the transaction as it was. */
		assert_int_equal(wb_store_commit(store, txn, NULL), WB_OK);
	}
	assert_int_equal(code, WB_EQUOTA);
	return count;
}

static void a_full_quota_refuses_clearly_and_drains(void **state)
{
	test_place *place = *state;
	lines warned = {0};
	wb_log log = {keep_line, &warned, WB_LOG_WARN};
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	uint64_t count, first, head, at;
	wb_store *store = NULL;
	MDB_txn *txn = NULL;

	options.quota_bytes = 1 << 20;
	options.log = &log;
	assert_ok(wb_store_create(place->store, &options, &err), err);
	assert_ok(wb_store_open(place->store, &options, &store, &err), err);
	count = fill_to_quota(store, &err);
	assert_non_null(strstr(err.text, "1048576"));
	assert_non_null(strstr(err.text, "no relay has settled"));
	wb_error_clear(&err);
	assert_int_equal(warned.count, 1);
	assert_non_null(strstr(warned.last, "soft mark"));
	test_range(store, &first, &head);
	assert_int_equal(head, count);
	assert_int_equal(first, 1);
	/* All is delivered: what was refused goes in, though only appends
	 * remove anything. */
	test_set_cursor(store, head, head);
	assert_ok(wb_store_begin(store, &txn, &err), err);
	assert_ok(append_one(store, txn, 500, &at, &err), err);
	assert_int_equal(at, head + 1);
	assert_ok(wb_store_commit(store, txn, &err), err);
	wb_store_close(store);
}

static void pruning_respects_floor_cursor_and_head(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	uint64_t first, head;

	test_append(store, 1, 20);
	test_range(store, &first, &head);
	assert_int_equal(first, 1); /* no cursor yet */
	test_set_cursor(store, 15, 6);
	test_append(store, 21, 2);
	test_range(store, &first, &head);
	assert_int_equal(first, 5); /* two for each event appended */
	test_append(store, 23, 10);
	test_range(store, &first, &head);
	assert_int_equal(first, 7); /* never past the floor */
	test_set_cursor(store, 32, 32);
	test_append(store, 33, 50);
	test_range(store, &first, &head);
	assert_int_equal(first, 32); /* the cursor's own event stays */
	assert_int_equal(head, 82);
	assert_int_equal(test_read_all(store, 32), 51);
	wb_store_close(store);
}

static int64_t fake_now(void *ctx)
{
	return *(int64_t *)ctx;
}

static void pruning_keeps_what_age_or_bytes_ask_for(void **state)
{
	test_place *place = *state;
	int64_t now = INT64_C(1700000000000000);
	const wb_clock clock = {fake_now, fake_now, &now};
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	uint64_t first, head;

	options.clock = &clock;
	options.keep_age_s = 100;
	assert_ok(wb_store_create(place->store, &options, &err), err);
	assert_ok(wb_store_open(place->store, &options, &store, &err), err);
	test_append(store, 1, 10);
	test_set_cursor(store, 10, 10);
	now += 99 * 1000000;
	test_append(store, 11, 10);
	test_range(store, &first, &head);
	assert_int_equal(first, 1);
	now += 2 * 1000000;
	test_append(store, 21, 10);
	test_range(store, &first, &head);
	assert_int_equal(first, 10);
	wb_store_close(store);
	test_remove_tree(place->store);
	options.keep_age_s = 0;
	options.keep_bytes = UINT64_MAX;
	assert_ok(wb_store_create(place->store, &options, &err), err);
	assert_ok(wb_store_open(place->store, &options, &store, &err), err);
	test_append(store, 1, 10);
	test_set_cursor(store, 10, 10);
	test_append(store, 11, 10);
	test_range(store, &first, &head);
	assert_int_equal(first, 1);
	wb_store_close(store);
}

static void a_full_map_is_an_error_and_the_store_lives_on(void **state)
{
	test_place *place = *state;
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	uint64_t at = 0, first, head, before;
	wb_store *store = NULL;
	MDB_txn *txn = NULL;
	wb_code code = WB_OK;

	options.map_bytes = 1 << 20;
	options.quota_bytes = 1 << 20;
	assert_ok(wb_store_create(place->store, &options, &err), err);
	store = test_store_open(place->store);
	test_append(store, 1, 10);
	assert_ok(wb_store_begin(store, &txn, &err), err);
	while (code == WB_OK && at < 10000)
		code = append_one(store, txn, 3000, &at, &err);
	assert_int_equal(code, WB_EMAPFULL);
	assert_int_equal(err.class_, WB_CLASS_RETRY);
	wb_error_clear(&err);
	wb_store_abort(txn);
	test_range(store, &first, &before);
	assert_int_equal(before, 10);
	assert_int_equal(test_read_all(store, 1), 10);
	test_append(store, 11, 10);
	test_range(store, &first, &head);
	assert_int_equal(head, 20);
	wb_store_close(store);
}

/* A disk of 4 MiB, where we may make one: the map and the quota are larger, so
 * it is the disk that ends. */
static void a_full_disk_is_an_error_and_the_store_lives_on(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	uint64_t first, head, at;
	wb_code code = WB_OK;
	wb_store *store;

	if (mount("none", place->dir, "tmpfs", 0, "size=4m,mode=700")) {
		print_message("no tmpfs may be mounted here: skipped\n");
		skip();
	}
	store = test_store_make(place->store);
	test_append(store, 1, 10);
	for (int i = 0; i < 2000 && code == WB_OK; i++) {
		MDB_txn *txn = NULL;

		assert_ok(wb_store_begin(store, &txn, &err), err);
		code = append_one(store, txn, 4000, &at, &err);
		if (code == WB_OK)
			code = wb_store_commit(store, txn, &err);
		else
			wb_store_abort(txn);
	}
	assert_int_equal(code, WB_ENOSPC);
	assert_int_equal(err.class_, WB_CLASS_RETRY);
	wb_error_clear(&err);
	test_range(store, &first, &head);
	assert_int_equal(first, 1);
	assert_true(head >= 100);
	wb_store_close(store);
	store = test_store_open(place->store); /* as full as before */
	test_range(store, &first, &at);
	assert_int_equal(at, head);
	wb_store_close(store);
	assert_int_equal(umount(place->dir), 0);
}

int main(void)
{
#define T(name)                                                               \
	cmocka_unit_test_setup_teardown(name, test_place_setup,               \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(what_is_committed_reads_back_in_order),
		T(what_is_aborted_leaves_no_gap),
		T(a_second_process_appends_while_the_first_reads),
		T(a_gap_and_a_missing_beginning_are_corruption),
		T(a_full_quota_refuses_clearly_and_drains),
		T(pruning_respects_floor_cursor_and_head),
		T(pruning_keeps_what_age_or_bytes_ask_for),
		T(a_full_map_is_an_error_and_the_store_lives_on),
		T(a_full_disk_is_an_error_and_the_store_lives_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
