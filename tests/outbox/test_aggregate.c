/* SPDX-License-Identifier: BSD-2-Clause */
/* A state is what its events amount to, however it was come by: folded from
 * the first, from a snapshot, on from what was loaded before. */
#include "tests/outbox/stream_rig.h"

#include <stdlib.h>
#include <string.h>

#include <waybill/aggregate.h>

/* Its state depends on the order of its events. */
typedef struct account {
	int64_t balance;
	uint64_t digest, events;
} account;

static wb_code account_apply(void *state, const wb_stream_event *event,
			     void *ctx, wb_error *err)
{
	unsigned *applied = ctx;
	account *a = state;
	char text[32] = "";

	if (wb_str_eq(event->event.type, S("poison")))
		return wb_error_set(err, WB_EINVAL, 0, __func__,
				    "what is a %s?", "poison");
	memcpy(text, event->event.data.ptr, event->event.data.len);
	a->balance += strtol(text, NULL, 10);
	a->digest = a->digest * 31 + (uint64_t)a->balance;
	a->events++;
	(*applied)++;
	return WB_OK;
}

static wb_aggregate_def account_def(unsigned *applied)
{
	wb_aggregate_def def = WB_AGGREGATE_DEF_INIT;

	def.category = "account";
	def.state_bytes = sizeof(account);
	def.apply = account_apply;
	def.tag = "account.1";
	def.ctx = applied;
	return def;
}

static wb_aggregate *open_account(stream_rig *rig, const wb_aggregate_def *def)
{
	wb_error err = WB_ERROR_INIT;
	wb_aggregate *a = NULL;

	assert_ok(wb_aggregate_open(rig->outbox, def, &a, &err), err);
	return a;
}

/* A command: change by *arg, but not below zero. */
static wb_code change(wb_decision *d, const void *state, void *arg,
		      wb_error *err)
{
	const account *a = state;
	int by = *(int *)arg;
	wb_event event = {.type = S("changed")};
	char text[32];

	if (a->balance + by < 0)
		return wb_error_set(err, WB_EREJECTED, 0, __func__,
				    "only %d are left", (int)a->balance);
	snprintf(text, sizeof(text), "%d", by);
	event.data = wb_str_from(text);
	return by == 0 ? WB_OK : wb_decide(d, &event, err);
}

static wb_code execute(wb_aggregate *a, MDB_txn *txn, int by,
		       wb_stream_written *ret, wb_error *err)
{
	wb_aggregate_command command = WB_AGGREGATE_COMMAND_INIT;

	command.decide = change;
	command.arg = &by;
	return wb_aggregate_execute(a, txn, S("7"), &command, ret, err);
}

static void must_change(wb_aggregate *a, int by)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(execute(a, NULL, by, NULL, &err), err);
}

static account load_fresh(stream_rig *rig, const wb_aggregate_def *def,
			  uint64_t at)
{
	wb_aggregate *a = open_account(rig, def);
	wb_error err = WB_ERROR_INIT;
	account got;

	assert_ok(wb_aggregate_load(a, NULL, S("7"), at, &err), err);
	memcpy(&got, wb_aggregate_state(a), sizeof(got));
	wb_aggregate_close(a);
	return got;
}

static void a_command_decides_appends_and_folds(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_stream_written written;
	unsigned applied = 0;
	wb_aggregate_def def = account_def(&applied);
	wb_aggregate *a;
	const account *now;
	stream_rig rig;

	rig_make(&rig, place->store);
	a = open_account(&rig, &def);
	assert_null(wb_aggregate_state(a));
	assert_ok(wb_aggregate_load(a, NULL, S("7"), WB_STREAM_ANY, &err), err);
	assert_int_equal(wb_aggregate_version(a), 0);
	assert_ok(execute(a, NULL, 10, &written, &err), err);
	assert_int_equal(written.version, 1);
	assert_ok(execute(a, NULL, -3, &written, &err), err);
	now = wb_aggregate_state(a);
	assert_int_equal(now->balance, 7);
	assert_int_equal(wb_aggregate_version(a), 2);
	assert_int_equal(execute(a, NULL, -8, NULL, &err), WB_EREJECTED);
	assert_string_equal(err.text, "only 7 are left");
	wb_error_clear(&err);
	assert_ok(execute(a, NULL, 0, &written, &err), err);
	assert_int_equal(written.version, 2);
	assert_int_equal(written.position, 0);
	/* Each event was applied once: loads go on from what is there. */
	assert_int_equal(applied, 2);
	assert_int_equal(load_fresh(&rig, &def, 1).balance, 10);
	assert_int_equal(wb_aggregate_load(a, NULL, S("7"), 3, &err),
			 WB_ENOTFOUND);
	assert_non_null(strstr(err.text, "version 3 is not there"));
	wb_aggregate_close(a);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void snapshots_change_how_much_is_folded_and_nothing_else(void **state)
{
	test_place *place = *state;
	unsigned applied = 0, plain_applied = 0;
	wb_aggregate_def def = account_def(&applied);
	wb_aggregate_def plain = account_def(&plain_applied);
	wb_error err = WB_ERROR_INIT;
	wb_stream_info info;
	wb_aggregate *a;
	stream_rig rig;

	plain.tag = NULL;
	def.snapshot_every = 10;
	def.snapshot_keep = 100;
	rig_make(&rig, place->store);
	a = open_account(&rig, &def);
	for (int i = 1; i <= 57; i++)
		must_change(a, i % 5 + 1);
	wb_aggregate_close(a);
	assert_ok(wb_stream_stat(rig.store, NULL, S("account/7"), &info, &err),
		  err);
	assert_int_equal(info.snapshot, 50);
	for (uint64_t at = 1; at <= 57; at++) {
		account with, without;

		applied = plain_applied = 0;
		with = load_fresh(&rig, &def, at);
		without = load_fresh(&rig, &plain, at);
		assert_memory_equal(&with, &without, sizeof(with));
		assert_int_equal(plain_applied, at);
		assert_int_equal(applied, at % 10);
	}
	/* One of another layout is not found, one that is torn passed by. */
	def.tag = "account.2";
	applied = 0;
	assert_int_equal(load_fresh(&rig, &def, WB_STREAM_ANY).events, 57);
	assert_int_equal(applied, 57);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static wb_code save_balance(const void *state, wb_str *ret, void *ctx,
			    wb_error *err)
{
	(void)ctx;
	(void)err;
	*ret = wb_str_n(state, sizeof(account));
	return WB_OK;
}

static wb_code restore_never(void *state, wb_str data, void *ctx, wb_error *err)
{
	(void)data;
	(void)ctx;
	memset(state, 0xff, sizeof(account));
	return wb_error_set(err, WB_EVERSION, 0, __func__, "not mine");
}

static void a_snapshot_that_cannot_be_restored_is_passed_by(void **state)
{
	test_place *place = *state;
	unsigned applied = 0;
	wb_aggregate_def def = account_def(&applied);
	stream_rig rig;
	wb_aggregate *a;

	def.save = save_balance;
	def.restore = restore_never;
	def.snapshot_every = 2;
	rig_make(&rig, place->store);
	a = open_account(&rig, &def);
	for (int i = 0; i < 5; i++)
		must_change(a, 1);
	wb_aggregate_close(a);
	applied = 0;
	assert_int_equal(load_fresh(&rig, &def, WB_STREAM_ANY).balance, 5);
	assert_int_equal(applied, 5);
	rig_close(&rig);
}

/* Decides, but first lets others be quicker, a given number of times. */
typedef struct rival {
	stream_rig *rig;
	int times;
	unsigned calls;
} rival;

static wb_code overtaken(wb_decision *d, const void *state, void *arg,
			 wb_error *err)
{
	wb_event event = {.type = S("changed"), .data = S("1")};
	rival *r = arg;

	(void)state;
	r->calls++;
	if (r->times-- > 0) {
		wb_error own = WB_ERROR_INIT;
		wb_stream_write write = {.stream = S("account/7"),
					 .expected = wb_decision_version(d),
					 .events = &event,
					 .count = 1};
		MDB_txn *txn = rig_begin(r->rig);

		assert_ok(wb_stream_append(r->rig->outbox, txn, &write, NULL,
					   &own),
			  own);
		rig_commit(r->rig, txn);
	}
	event.data = S("100");
	return wb_decide(d, &event, err);
}

static void a_command_that_was_overtaken_is_decided_anew(void **state)
{
	test_place *place = *state;
	unsigned applied = 0;
	wb_aggregate_def def = account_def(&applied);
	wb_aggregate_command command = WB_AGGREGATE_COMMAND_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_stream_written written;
	uint64_t seen = 3;
	stream_rig rig;
	wb_aggregate *a;
	rival r = {.rig = &rig, .times = 2};

	rig_make(&rig, place->store);
	a = open_account(&rig, &def);
	command.decide = overtaken;
	command.arg = &r;
	assert_ok(
		wb_aggregate_execute(a, NULL, S("7"), &command, &written, &err),
		err);
	assert_int_equal(r.calls, 3);
	assert_int_equal(written.version, 3);
	assert_int_equal(load_fresh(&rig, &def, WB_STREAM_ANY).balance, 102);
	/* Not for ever, ... */
	r.times = 100;
	r.calls = 0;
	command.attempts = 4;
	assert_code(wb_aggregate_execute(a, NULL, S("7"), &command, NULL, &err),
		    WB_ECONFLICT, err);
	assert_int_equal(r.calls, 4);
	/* ... and not at all if somebody has decided on what he saw. */
	command.expected = &seen;
	r.calls = 0;
	assert_int_equal(
		wb_aggregate_execute(a, NULL, S("7"), &command, NULL, &err),
		WB_ECONFLICT);
	assert_non_null(
		strstr(err.text, "expected at version 3, it is at version 7"));
	assert_int_equal(r.calls, 0);
	wb_aggregate_close(a);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void in_the_callers_transaction_it_is_the_callers_to_commit(void **state)
{
	test_place *place = *state;
	unsigned applied = 0;
	wb_aggregate_def def = account_def(&applied);
	wb_error err = WB_ERROR_INIT;
	stream_rig rig;
	wb_aggregate *a;
	MDB_txn *txn;

	def.snapshot_every = 2;
	rig_make(&rig, place->store);
	a = open_account(&rig, &def);
	must_change(a, 1);
	txn = rig_begin(&rig);
	assert_ok(execute(a, txn, 10, NULL, &err), err);
	assert_ok(execute(a, txn, 10, NULL, &err), err);
	assert_int_equal(((const account *)wb_aggregate_state(a))->balance, 21);
	assert_code(execute(a, txn, -100, NULL, &err), WB_EREJECTED, err);
	wb_store_abort(txn);
	/* What was aborted is not remembered, nor its snapshot. */
	assert_ok(wb_aggregate_load(a, NULL, S("7"), WB_STREAM_ANY, &err), err);
	assert_int_equal(((const account *)wb_aggregate_state(a))->balance, 1);
	txn = rig_begin(&rig);
	assert_ok(execute(a, txn, 5, NULL, &err), err);
	rig_commit(&rig, txn);
	assert_int_equal(load_fresh(&rig, &def, WB_STREAM_ANY).balance, 6);
	wb_aggregate_close(a);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static void a_truncated_stream_is_loaded_from_its_snapshot(void **state)
{
	test_place *place = *state;
	unsigned applied = 0;
	wb_aggregate_def def = account_def(&applied);
	wb_stream_cut cut = {.stream = S("account/7"), .before = 7};
	wb_error err = WB_ERROR_INIT;
	uint64_t first, head;
	stream_rig rig;
	wb_aggregate *a;
	MDB_txn *txn;

	rig_make(&rig, place->store);
	a = open_account(&rig, &def);
	for (int i = 0; i < 6; i++)
		must_change(a, 2);
	txn = rig_begin(&rig);
	assert_ok(wb_aggregate_snapshot(a, txn, S("7"), &err), err);
	assert_ok(wb_aggregate_snapshot(a, txn, S("8"), &err), err);
	rig_commit(&rig, txn);
	must_change(a, 3);
	test_range(rig.store, &first, &head);
	rig_settle(&rig, head, head);
	txn = rig_begin(&rig);
	assert_ok(wb_stream_truncate(rig.store, txn, &cut, NULL, &err), err);
	rig_commit(&rig, txn);
	assert_int_equal(load_fresh(&rig, &def, WB_STREAM_ANY).balance, 15);
	assert_int_equal(load_fresh(&rig, &def, 6).balance, 12);
	wb_aggregate_close(a);
	a = open_account(&rig, &def);
	assert_int_equal(wb_aggregate_load(a, NULL, S("7"), 5, &err),
			 WB_ETRUNCATED);
	assert_non_null(strstr(err.text, "its floor is 7"));
	wb_aggregate_close(a);
	rig_close(&rig);
	rig_assert_sound(place->store);
}

static wb_code poison(wb_decision *d, const void *state, void *arg,
		      wb_error *err)
{
	wb_event event = {.type = S("poison")};

	(void)state;
	(void)arg;
	return wb_decide(d, &event, err);
}

static void an_event_that_does_not_apply_is_not_committed(void **state)
{
	test_place *place = *state;
	unsigned applied = 0;
	wb_aggregate_def def = account_def(&applied);
	wb_aggregate_command command = WB_AGGREGATE_COMMAND_INIT;
	wb_error err = WB_ERROR_INIT;
	stream_rig rig;
	wb_aggregate *a;

	rig_make(&rig, place->store);
	a = open_account(&rig, &def);
	must_change(a, 2);
	command.decide = poison;
	assert_int_equal(
		wb_aggregate_execute(a, NULL, S("7"), &command, NULL, &err),
		WB_EINVAL);
	assert_string_equal(err.text, "what is a poison?");
	assert_null(wb_aggregate_state(a));
	must_change(a, 2);
	assert_int_equal(wb_aggregate_version(a), 2);
	wb_aggregate_close(a);
	rig_close(&rig);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_command_decides_appends_and_folds),
		TEST(snapshots_change_how_much_is_folded_and_nothing_else),
		TEST(a_snapshot_that_cannot_be_restored_is_passed_by),
		TEST(a_command_that_was_overtaken_is_decided_anew),
		TEST(in_the_callers_transaction_it_is_the_callers_to_commit),
		TEST(a_truncated_stream_is_loaded_from_its_snapshot),
		TEST(an_event_that_does_not_apply_is_not_committed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
