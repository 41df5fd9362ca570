/* SPDX-License-Identifier: BSD-2-Clause */
/* What comes twice, too early, too late, or for nothing. */
#include "tests/support/testing.h"

#include <waybill/choreography.h>
#include <waybill/saga.h>

#include "saga/barrier.h"
#include "tests/support/place.h"

static const int64_t day_us = INT64_C(86400) * 1000000;

typedef struct rig {
	wb_store *store;
	wbi_barrier_scope scope;
} rig;

static wbi_barrier_id id_of(const char *saga, uint8_t op)
{
	return (wbi_barrier_id){wb_str_from(saga), wb_str_from("pay"), op};
}

static void rig_begin(rig *r, test_place *place)
{
	wb_error err = WB_ERROR_INIT;

	r->store = test_store_make(place->store);
	r->scope = (wbi_barrier_scope){.tables = wbi_store_get_tables(r->store),
				       .now_us = 100 * day_us,
				       .keep_us = 30 * day_us};
	assert_ok(wb_store_begin(r->store, &r->scope.txn, &err), err);
}

static void rig_end(rig *r)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_store_commit(r->store, r->scope.txn, &err), err);
	wb_store_close(r->store);
}

static wbi_barrier_answer ask(rig *r, const char *saga, uint8_t op,
			      uint32_t epoch, wbi_barrier *ret)
{
	wbi_barrier_id id = id_of(saga, op);
	wbi_barrier_answer answer = WBI_BARRIER_GO;
	wb_error err = WB_ERROR_INIT;
	wbi_barrier row;

	assert_ok(wbi_barrier_ask(&r->scope, &id, epoch, &answer,
				  ret ? ret : &row, &err),
		  err);
	return answer;
}

static void act(rig *r, const char *saga, uint8_t state, uint32_t epoch)
{
	wbi_barrier_id id = id_of(saga, WBI_BARRIER_DO);
	wbi_barrier row = {.state = state,
			   .epoch = epoch,
			   .undo = wb_str_from("receipt 7"),
			   .reply = wb_str_from("paid")};
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_barrier_acted(&r->scope, &id, &row, &err), err);
}

static void undo(rig *r, const char *saga, uint32_t epoch)
{
	wbi_barrier_id id = id_of(saga, WBI_BARRIER_UNDO);
	wbi_barrier row = {.state = WB_STEP_DONE, .epoch = epoch};
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_barrier_undone(&r->scope, &id, &row, &err), err);
}

static void a_duplicate_finds_what_was_answered(void **state)
{
	wbi_barrier row;
	rig r;

	rig_begin(&r, *state);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_DO, 1, NULL), WBI_BARRIER_GO);
	act(&r, "s", WB_STEP_DONE, 1);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_DO, 1, &row),
			 WBI_BARRIER_DUPLICATE);
	assert_true(wb_str_eq(row.reply, wb_str_from("paid")));
	/* Another saga is another matter. */
	assert_int_equal(ask(&r, "t", WBI_BARRIER_DO, 1, NULL), WBI_BARRIER_GO);
	rig_end(&r);
}

static void an_undo_gets_what_the_action_kept_and_goes_once(void **state)
{
	wbi_barrier row;
	rig r;

	rig_begin(&r, *state);
	act(&r, "s", WB_STEP_DONE, 1);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_UNDO, 2, &row),
			 WBI_BARRIER_GO);
	assert_true(wb_str_eq(row.undo, wb_str_from("receipt 7")));
	undo(&r, "s", 2);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_UNDO, 2, NULL),
			 WBI_BARRIER_DUPLICATE);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_DO, 1, &row),
			 WBI_BARRIER_STALE);
	assert_int_equal(row.state, WB_STEP_UNDONE);
	rig_end(&r);
}

static void an_undo_that_comes_first_forbids_its_action(void **state)
{
	wbi_barrier row;
	rig r;

	rig_begin(&r, *state);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_UNDO, 2, NULL),
			 WBI_BARRIER_NOTHING);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_DO, 1, &row),
			 WBI_BARRIER_REFUSED);
	assert_true(row.tombstone);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_UNDO, 2, NULL),
			 WBI_BARRIER_DUPLICATE);
	rig_end(&r);
}

static void a_refused_action_leaves_nothing_to_undo(void **state)
{
	wbi_barrier row;
	rig r;

	rig_begin(&r, *state);
	act(&r, "s", WB_STEP_REFUSED, 1);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_UNDO, 2, NULL),
			 WBI_BARRIER_NOTHING);
	/* Its answer stands. */
	assert_int_equal(ask(&r, "s", WBI_BARRIER_DO, 1, &row),
			 WBI_BARRIER_DUPLICATE);
	assert_int_equal(row.state, WB_STEP_REFUSED);
	assert_false(row.tombstone);
	rig_end(&r);
}

static void what_is_pending_can_be_undone(void **state)
{
	rig r;

	rig_begin(&r, *state);
	act(&r, "s", WB_STEP_PENDING, 1);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_UNDO, 2, NULL),
			 WBI_BARRIER_GO);
	undo(&r, "s", 2);
	rig_end(&r);
}

static void an_older_epoch_is_stale(void **state)
{
	rig r;

	rig_begin(&r, *state);
	act(&r, "s", WB_STEP_DONE, 3);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_DO, 2, NULL),
			 WBI_BARRIER_STALE);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_UNDO, 2, NULL),
			 WBI_BARRIER_STALE);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_UNDO, 3, NULL),
			 WBI_BARRIER_GO);
	rig_end(&r);
}

static void a_probe_of_nothing_forbids_the_action(void **state)
{
	wbi_barrier_id id = id_of("s", WBI_BARRIER_DO);
	wb_error err = WB_ERROR_INIT;
	rig r;

	rig_begin(&r, *state);
	assert_ok(wbi_barrier_forbid(&r.scope, &id, 1, &err), err);
	assert_int_equal(ask(&r, "s", WBI_BARRIER_DO, 1, NULL),
			 WBI_BARRIER_REFUSED);
	assert_int_equal(wbi_barrier_forbid(&r.scope, &id, 1, &err),
			 WB_EEXISTS);
	rig_end(&r);
}

static uint64_t rows(rig *r, wbi_table table)
{
	wb_error err = WB_ERROR_INIT;
	uint64_t bytes, count;

	assert_ok(wbi_table_size(r->scope.txn, table, &bytes, &count, &err),
		  err);
	return count;
}

static void prune(rig *r, int64_t days)
{
	wb_error err = WB_ERROR_INIT;

	r->scope.now_us = (100 + days) * day_us;
	assert_ok(wbi_barrier_prune(&r->scope, 100, &err), err);
}

static void
rows_are_forgotten_when_unused_for_as_long_as_they_are_kept(void **state)
{
	const wbi_store_tables *tables;
	rig r;

	rig_begin(&r, *state);
	tables = r.scope.tables;
	act(&r, "old", WB_STEP_DONE, 1);
	act(&r, "open", WB_STEP_PENDING, 1);
	act(&r, "used", WB_STEP_DONE, 1);
	prune(&r, 20);
	assert_int_equal(rows(&r, tables->barriers), 3);
	undo(&r, "used", 2); /* on day 20: two rows now */
	prune(&r, 31);
	assert_int_equal(rows(&r, tables->barriers), 3);
	assert_int_equal(ask(&r, "old", WBI_BARRIER_DO, 1, NULL),
			 WBI_BARRIER_GO);
	prune(&r, 51);
	assert_int_equal(rows(&r, tables->barriers), 1);
	assert_int_equal(rows(&r, tables->saga_expiry), 1);
	assert_int_equal(ask(&r, "open", WBI_BARRIER_DO, 1, NULL),
			 WBI_BARRIER_DUPLICATE);
	rig_end(&r);
}

static void a_saga_that_has_ended_is_forgotten_with_its_log(void **state)
{
	wbi_saga_id id = {WBI_SAGA_FLOW, wb_str_from("slot:1"),
			  wb_str_from("parking")};
	wbi_saga_row row = {.status = WB_SAGA_RUNNING,
			    .changed_us = 100 * day_us,
			    .since_us = 100 * day_us,
			    .name = wb_str_from("parking")};
	wbi_saga_row ended;
	wbi_saga_entry entry = {.time_us = 1, .in = wb_str_from("bill.paid")};
	const wbi_store_tables *tables;
	wb_error err = WB_ERROR_INIT;
	rig r;

	rig_begin(&r, *state);
	tables = r.scope.tables;
	assert_ok(wbi_saga_put(r.scope.txn, tables, &id, NULL, &row, &err),
		  err);
	for (uint64_t n = 1; n <= 3; n++)
		assert_ok(wbi_saga_log_add(r.scope.txn, tables, &id, n, &entry,
					   &err),
			  err);
	assert_int_equal(rows(&r, tables->saga_index), 1);
	ended = row;
	ended.status = WB_SAGA_COMPLETED;
	assert_ok(wbi_saga_put(r.scope.txn, tables, &id, &row, &ended, &err),
		  err);
	assert_ok(wbi_barrier_saga_ended(&r.scope, &id, &err), err);
	assert_int_equal(rows(&r, tables->saga_index), 0);
	prune(&r, 29);
	assert_int_equal(rows(&r, tables->saga_log), 3);
	prune(&r, 30);
	assert_int_equal(rows(&r, tables->sagas), 0);
	assert_int_equal(rows(&r, tables->saga_log), 0);
	assert_int_equal(rows(&r, tables->saga_expiry), 0);
	rig_end(&r);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_duplicate_finds_what_was_answered),
		TEST(an_undo_gets_what_the_action_kept_and_goes_once),
		TEST(an_undo_that_comes_first_forbids_its_action),
		TEST(a_refused_action_leaves_nothing_to_undo),
		TEST(what_is_pending_can_be_undone),
		TEST(an_older_epoch_is_stale),
		TEST(a_probe_of_nothing_forbids_the_action),
		TEST(rows_are_forgotten_when_unused_for_as_long_as_they_are_kept),
		TEST(a_saga_that_has_ended_is_forgotten_with_its_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
