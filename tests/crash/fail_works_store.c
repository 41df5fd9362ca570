/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <waybill/aggregate.h>

#include "lib/base/assert.h"
#include "lib/journal/maintain.h"
#include "tests/crash/fail_points.h"
#include "tests/crash/crash_points.h"
#include "tests/support/place.h"
#include "tests/support/testing.h"

static void store_make(const char *dir)
{
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;

	options.keep_bytes = UINT64_MAX;
	assert_ok(wb_store_create(test_path(dir, "store"), &options, &err),
		  err);
}

static void store_check(const char *dir, wb_code code)
{
	(void)code;
	crash_assert_sound(test_path(dir, "store"));
}

/* ---- create and open ---------------------------------------------------- */

static wb_code store_run(const char *dir, wb_error *err)
{
	wb_store_options options = test_store_options();
	wb_store *store = NULL;
	wb_code code;

	code = wb_store_create(test_path(dir, "store"), &options, err);
	if (code == WB_OK)
		code = wb_store_open(test_path(dir, "store"), &options, &store,
				     err);
	wb_store_close(store);
	return code;
}

static void store_made(const char *dir, wb_code code)
{
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;

	if (code != WB_OK) {
		code = wb_store_create(test_path(dir, "store"), &options, &err);
		assert_true(code == WB_OK || code == WB_EEXISTS);
	}
	crash_assert_sound(test_path(dir, "store"));
}

const fail_work fail_store = {"store", NULL, store_run, store_made};

/* ---- append ------------------------------------------------------------- */

static wb_code append_all(wb_store *store, wb_outbox *outbox, wb_error *err)
{
	wb_header header = {S("colour"), S("red")};
	char data[6000];
	wb_event events[3] = {
		{.type = S("a")}, {.type = S("b")}, {.type = S("c")}};
	MDB_txn *txn = NULL;
	wb_code code = wb_store_begin(store, &txn, err);

	memset(data, 'x', sizeof(data));
	events[1].headers = &header;
	events[1].header_count = 1;
	events[2].data = wb_str_n(data, sizeof(data));
	if (code == WB_OK)
		code = wb_outbox_append(outbox, txn, &events[0], NULL, err);
	if (code == WB_OK)
		code = wb_outbox_append_batch(outbox, txn, events, 3, NULL,
					      NULL, err);
	if (code == WB_OK)
		return wb_store_commit(store, txn, err);
	wb_store_abort(txn);
	return code;
}

static wb_code outbox_run(const char *dir, wb_error *err)
{
	wb_outbox *outbox = NULL;
	wb_store *store = NULL;
	wb_code code;

	code = wb_store_open(test_path(dir, "store"), NULL, &store, err);
	if (code == WB_OK)
		code = wb_outbox_open(store, NULL, &outbox, err);
	for (int i = 0; code == WB_OK && i < 3; i++)
		code = append_all(store, outbox, err);
	if (outbox)
		wb_outbox_close(outbox);
	wb_store_close(store);
	return code;
}

/* A commit is there as a whole: four events, or none. */
static void outbox_check(const char *dir, wb_code code)
{
	wb_store *store = test_store_open(test_path(dir, "store"));
	uint64_t first, head;

	test_range(store, &first, &head);
	wb_store_close(store);
	assert_int_equal(head % 4, 0);
	if (code == WB_OK)
		assert_int_equal(head, 12);
	store_check(dir, code);
}

const fail_work fail_outbox = {"outbox", store_make, outbox_run, outbox_check};

/* ---- streams ------------------------------------------------------------ */

static wb_code stream_write(wb_store *store, wb_outbox *outbox, wb_error *err)
{
	wb_event events[2] = {{.type = S("opened")}, {.type = S("paid")}};
	const wb_stream_write write = {S("order/1"), WB_STREAM_ANY, events, 2};
	const wb_snapshot snapshot = {
		.version = 2, .tag = S("t"), .data = S("state")};
	const wb_stream_cut cut = {
		.stream = S("order/1"), .before = 2, .without_snapshot = true};
	uint64_t floor;
	MDB_txn *txn = NULL;
	wb_code code = wb_store_begin(store, &txn, err);

	if (code == WB_OK)
		code = wb_stream_append(outbox, txn, &write, NULL, err);
	if (code == WB_OK)
		code = wb_snapshot_save(store, txn, write.stream, &snapshot, 1,
					err);
	if (code == WB_OK)
		code = wb_stream_truncate(store, txn, &cut, &floor, err);
	if (code == WB_ESTATE) { /* no relay has delivered it */
		*err = (wb_error)WB_ERROR_INIT;
		code = WB_OK;
	}
	if (code == WB_OK)
		return wb_store_commit(store, txn, err);
	wb_store_abort(txn);
	return code;
}

static wb_code stream_read(wb_store *store, wb_error *err)
{
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	wb_stream_reader *reader = NULL;
	wb_stream_event event;
	wb_stream_info info;
	MDB_txn *txn = NULL;
	wb_code code;

	query.category = S("order");
	code = wb_stream_open(store, NULL, &query, &reader, err);
	while (code == WB_OK)
		code = wb_stream_next(reader, &event, err);
	wb_stream_close(reader);
	if (code != WB_ENOTFOUND || err->code != WB_OK)
		return code;
	code = wb_store_begin(store, &txn, err);
	if (code == WB_OK)
		code = wb_stream_stat(store, txn, S("order/1"), &info, err);
	wb_store_abort(txn);
	return code;
}

static wb_code stream_run(const char *dir, wb_error *err)
{
	wb_outbox *outbox = NULL;
	wb_store *store = NULL;
	wb_code code;

	code = wb_store_open(test_path(dir, "store"), NULL, &store, err);
	if (code == WB_OK)
		code = wb_outbox_open(store, NULL, &outbox, err);
	if (code == WB_OK)
		code = stream_write(store, outbox, err);
	if (code == WB_OK)
		code = stream_read(store, err);
	if (outbox)
		wb_outbox_close(outbox);
	wb_store_close(store);
	return code;
}

const fail_work fail_stream = {"stream", store_make, stream_run, store_check};

/* ---- aggregates ---------------------------------------------------------- */

static wb_code sum_apply(void *state, const wb_stream_event *event, void *ctx,
			 wb_error *err)
{
	unsigned *sum = state;

	(void)event;
	(void)ctx;
	(void)err;
	++*sum;
	return WB_OK;
}

static wb_code sum_decide(wb_decision *decision, const void *state, void *arg,
			  wb_error *err)
{
	const wb_event event = {.type = S("added"), .data = S("1")};
	wb_code code = wb_decide(decision, &event, err);

	(void)state;
	(void)arg;
	return code == WB_OK ? wb_decide(decision, &event, err) : code;
}

static const wb_aggregate_def sum_def = {.size = sizeof(wb_aggregate_def),
					 .category = "sum",
					 .state_bytes = sizeof(unsigned),
					 .apply = sum_apply,
					 .tag = "sum.1",
					 .snapshot_every = 2};

static wb_code sum_inside(wb_store *store, wb_aggregate *a,
			  const wb_aggregate_command *command, wb_error *err)
{
	MDB_txn *txn = NULL;
	wb_code code = wb_store_begin(store, &txn, err);

	if (code == WB_OK)
		code = wb_aggregate_load(a, txn, S("1"), WB_STREAM_ANY, err);
	if (code == WB_OK)
		code = wb_aggregate_execute(a, txn, S("1"), command, NULL, err);
	if (code == WB_OK)
		code = wb_aggregate_snapshot(a, txn, S("1"), err);
	if (code == WB_OK)
		return wb_store_commit(store, txn, err);
	wb_store_abort(txn);
	return code;
}

/* What the commands have left, as a reader would look for it. */
static wb_code sum_look(wb_store *store, wb_error *err)
{
	char name[WB_STREAM_NAME_MAX + 1];
	wb_snapshot snapshot;
	MDB_txn *txn = NULL;
	wb_code code = wb_stream_next_name(store, NULL, S("sum/"), name, err);

	if (code == WB_OK)
		code = wb_store_begin(store, &txn, err);
	if (code == WB_OK)
		code = wb_snapshot_find(store, txn, wb_str_from(name),
					S("sum.1"), UINT64_MAX, &snapshot, err);
	wb_store_abort(txn);
	return code;
}

static wb_code aggregate_run(const char *dir, wb_error *err)
{
	wb_aggregate_command command = WB_AGGREGATE_COMMAND_INIT;
	wb_aggregate *a = NULL;
	wb_outbox *outbox = NULL;
	wb_store *store = NULL;
	wb_code code;

	command.decide = sum_decide;
	code = wb_store_open(test_path(dir, "store"), NULL, &store, err);
	if (code == WB_OK)
		code = wb_outbox_open(store, NULL, &outbox, err);
	if (code == WB_OK)
		code = wb_aggregate_open(outbox, &sum_def, &a, err);
	for (int i = 0; code == WB_OK && i < 2; i++)
		code = wb_aggregate_execute(a, NULL, S("1"), &command, NULL,
					    err);
	if (code == WB_OK)
		code = sum_inside(store, a, &command, err);
	if (code == WB_OK)
		code = wb_aggregate_load(a, NULL, S("1"), 3, err);
	if (code == WB_OK)
		code = sum_look(store, err);
	wb_aggregate_close(a);
	if (outbox)
		wb_outbox_close(outbox);
	wb_store_close(store);
	return code;
}

/* A decision is there as a whole: two events, or none. */
static void aggregate_check(const char *dir, wb_code code)
{
	wb_stream_info info = {0};
	wb_error err = WB_ERROR_INIT;
	wb_store *store = test_store_open(test_path(dir, "store"));
	wb_code stat = wb_stream_stat(store, NULL, S("sum/1"), &info, &err);

	wb_store_close(store);
	assert_true(stat == WB_OK || stat == WB_ENOTFOUND);
	assert_int_equal(info.version % 2, 0);
	if (code == WB_OK)
		assert_int_equal(info.version, 6);
	store_check(dir, code);
}

const fail_work fail_aggregate = {"aggregate", store_make, aggregate_run,
				  aggregate_check};

/* ---- a store in the host's environment ----------------------------------- */

static MDB_env *host_open(const char *path)
{
	MDB_env *env;

	fail_hold(true);
	assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, WB_STORE_TABLES + 1), 0);
	assert_int_equal(mdb_env_set_mapsize(env, 64 << 20), 0);
	assert_int_equal(mdb_env_open(env, path, MDB_NOTLS, 0600), 0);
	fail_hold(false);
	return env;
}

static wb_code host_run(const char *dir, wb_error *err)
{
	wb_store_options options = test_store_options();
	MDB_env *env = host_open(test_path(dir, "store"));
	wb_outbox *outbox = NULL;
	wb_store *store = NULL;
	wb_code code;

	options.keep_bytes = UINT64_MAX;
	code = wb_store_attach(env, &options, &store, err);
	if (code == WB_OK)
		code = wb_store_check_readers(store, NULL, err);
	if (code == WB_OK)
		code = wb_outbox_open(store, NULL, &outbox, err);
	if (code == WB_OK)
		code = append_all(store, outbox, err);
	if (outbox)
		wb_outbox_close(outbox);
	wb_store_close(store);
	mdb_env_close(env);
	return code;
}

/* Whatever has failed, it can be attached to afterwards. */
static void host_check(const char *dir, wb_code code)
{
	wb_error err = WB_ERROR_INIT;

	(void)code;
	assert_ok(host_run(dir, &err), err);
	store_check(dir, WB_OK);
}

const fail_work fail_host = {"host", NULL, host_run, host_check};

/* ---- upkeep ------------------------------------------------------------- */

static void upkeep_prepare(const char *dir)
{
	wb_store *store;

	store_make(dir);
	store = test_store_open(test_path(dir, "store"));
	test_append(store, 1, 20);
	wb_store_close(store);
}

static wb_code upkeep_run(const char *dir, wb_error *err)
{
	const wbi_check_report quiet = {.finding = NULL};
	wb_code code;

	code = wbi_store_backup(test_path(dir, "store"), test_path(dir, "copy"),
				&quiet, err);
	if (code == WB_OK)
		code = wbi_store_restore(test_path(dir, "copy"),
					 test_path(dir, "back"), &quiet, err);
	return code;
}

/* What has a name is whole, and what has none can be made again. */
static void upkeep_check(const char *dir, wb_code code)
{
	wb_error err = WB_ERROR_INIT;

	store_check(dir, code);
	if (access(test_path(dir, "copy"), F_OK) == 0)
		crash_assert_sound(test_path(dir, "copy"));
	if (access(test_path(dir, "back"), F_OK) == 0) {
		crash_assert_sound(test_path(dir, "back"));
		return;
	}
	test_remove_tree(test_path(dir, "copy"));
	assert_ok(upkeep_run(dir, &err), err);
	crash_assert_sound(test_path(dir, "back"));
}

const fail_work fail_upkeep = {"upkeep", upkeep_prepare, upkeep_run,
			       upkeep_check};
