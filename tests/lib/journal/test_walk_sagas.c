/* SPDX-License-Identifier: BSD-2-Clause */
/* fsck and sagas: whatever does not fit is found and named; each damage is made
 * of rows that are whole in themselves. */
#include "tests/support/place.h"

#include <string.h>

#include <waybill/saga.h>

#include "inbox/timer.h"
#include "lib/base/assert.h"
#include "lib/journal/maintain.h"
#include "lib/journal/saga_rows.h"
#include "tests/support/row_damage.h"
#include "tests/support/testing.h"

#define HASH                                                                  \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const wbi_saga_id one = {WBI_SAGA_ORCHESTRATED, {"one", 3}, {"", 0}},
			 two = {WBI_SAGA_ORCHESTRATED, {"two", 3}, {"", 0}},
			 three = {WBI_SAGA_FLOW, {"three", 5}, {"f", 1}};
static const wbi_barrier_id pay = {{"one", 3}, {"pay", 3}, WBI_BARRIER_DO},
			    unpay = {{"one", 3}, {"pay", 3}, WBI_BARRIER_UNDO},
			    wait = {{"three", 5}, {"f:wait", 6},
				    WBI_BARRIER_DO};

typedef struct findings {
	char text[8192];
	size_t len;
} findings;

static void take(void *ctx, const wbi_finding *finding)
{
	findings *f = ctx;
	int n = snprintf(f->text + f->len, sizeof(f->text) - f->len, "%s: %s\n",
			 finding->table, finding->text);

	if (n > 0 && (size_t)n < sizeof(f->text) - f->len)
		f->len += (size_t)n;
}

/* ---- a sound store ------------------------------------------------------- */

typedef struct place {
	const wbi_store_tables *tables;
	MDB_txn *txn;
} place;

static void saga(const place *p, const wbi_saga_id *id, uint8_t status,
		 uint64_t entries)
{
	wbi_saga_row row = {.status = status,
			    .started_us = 100,
			    .changed_us = 200,
			    .since_us = 200,
			    .entries = entries,
			    .name = id->name,
			    .step = S("wait")};
	wb_error err = WB_ERROR_INIT;

	if (id->kind == WBI_SAGA_ORCHESTRATED) {
		row.name = S("trip");
		row.definition = S(HASH);
		row.machine = S("machine");
		row.deadline_us = 300;
	}
	assert_ok(wbi_saga_put(p->txn, p->tables, id, NULL, &row, &err), err);
}

static void entries(const place *p, const wbi_saga_id *id, uint64_t from,
		    uint64_t to)
{
	const wbi_saga_entry entry = {.time_us = 1, .in = {"timer", 5}};
	wb_error err = WB_ERROR_INIT;

	for (uint64_t n = from; n <= to; n++)
		assert_ok(wbi_saga_log_add(p->txn, p->tables, id, n, &entry,
					   &err),
			  err);
}

static void expiry(const place *p, uint8_t what, wbi_row_key key)
{
	const wbi_expiry row = {1000, what, wbi_row_key_str(&key)};
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_expiry_put(p->txn, p->tables, &row, &err), err);
}

static void barrier(const place *p, const wbi_barrier_id *id, uint8_t state)
{
	const wbi_barrier row = {.state = state, .first_us = 1, .last_us = 2};
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_barrier_put(p->txn, p->tables, id, &row, &err), err);
}

static void timer(const place *p, wb_str handler, wb_str name)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_timer_set(p->txn, p->tables, handler, name, 300,
				S("12345678"), NULL, NULL, &err),
		  err);
}

/* One that runs, one that has ended, one in a flow; a step that was undone. */
static void fill(const place *p)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_saga_def_put(p->txn, p->tables, S(HASH), S("steps"),
				   &err),
		  err);
	saga(p, &one, WB_SAGA_RUNNING, 2);
	entries(p, &one, 1, 2);
	timer(p, S("sagas"), S("s/one"));
	saga(p, &two, WB_SAGA_COMPLETED, 1);
	entries(p, &two, 1, 1);
	expiry(p, 's', wbi_saga_key(&two));
	saga(p, &three, WB_SAGA_RUNNING, 0);
	timer(p, S("flow.f"), S("three/wait"));
	timer(p, S("flow.f"), S("a timer of a binding"));
	barrier(p, &pay, WB_STEP_UNDONE);
	expiry(p, 'b', wbi_barrier_key(&pay));
	barrier(p, &unpay, WB_STEP_DONE);
	expiry(p, 'b', wbi_barrier_key(&unpay));
	barrier(p, &wait, WB_STEP_DONE);
	expiry(p, 'b', wbi_barrier_key(&wait));
}

/* ---- damages ------------------------------------------------------------- */

static void del(const place *p, wbi_table table, wb_str key)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_del(p->txn, table, key, &err), err);
}

static void del_row(const place *p, wbi_table table, wbi_row_key key)
{
	del(p, table, wbi_row_key_str(&key));
}

/* The first row of a table. */
static void del_first(const place *p, wbi_table table)
{
	wb_str key = WB_STR_NULL, row;
	wb_error err = WB_ERROR_INIT;
	wbi_cursor *cursor;

	assert_ok(wbi_cursor_open(p->txn, table, &cursor, &err), err);
	assert_ok(wbi_cursor_move(cursor, WBI_FIRST, &key, &row, &err), err);
	assert_ok(wbi_cursor_del(cursor, &err), err);
	wbi_cursor_close(cursor);
}

static void no_timer(const place *p)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_timer_cancel(p->txn, p->tables, S("sagas"), S("s/one"),
				   NULL, 0, &err),
		  err);
}

static void no_flow_timer(const place *p)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_timer_cancel(p->txn, p->tables, S("flow.f"),
				   S("three/wait"), NULL, 0, &err),
		  err);
}

static void stray_timer(const place *p)
{
	timer(p, S("sagas"), S("d/nine"));
}

static void stray_flow_timer(const place *p)
{
	timer(p, S("flow.f"), S("nine/wait"));
}

static void no_index(const place *p)
{
	del_first(p, p->tables->saga_index);
}

static void stray_index(const place *p)
{
	saga(p, &two, WB_SAGA_PARKED, 1);
	saga(p, &two, WB_SAGA_COMPLETED, 1);
}

static void lost_saga(const place *p)
{
	del_row(p, p->tables->sagas, wbi_saga_key(&three));
}

static void lost_saga_of_a_log(const place *p)
{
	del_row(p, p->tables->sagas, wbi_saga_key(&two));
}

static void no_definition(const place *p)
{
	del(p, p->tables->saga_defs, S(HASH));
}

static void no_last_entry(const place *p)
{
	saga(p, &two, WB_SAGA_COMPLETED, 2);
}

static void entry_too_many(const place *p)
{
	entries(p, &two, 2, 2);
}

static void gap_in_log(const place *p)
{
	del_first(p, p->tables->saga_log);
}

static void other_flow(const place *p)
{
	wbi_saga_id id = three;
	wbi_row_key key, other;
	wb_error err = WB_ERROR_INIT;
	wb_str row;

	id.name = S("g");
	key = wbi_saga_key(&three);
	other = wbi_saga_key(&id);
	assert_ok(wbi_get(p->txn, p->tables->sagas, wbi_row_key_str(&key),
			  &row, &err),
		  err);
	assert_ok(wbi_put(p->txn, p->tables->sagas, wbi_row_key_str(&other),
			  row, &err),
		  err);
}

static void done_and_undone(const place *p)
{
	barrier(p, &pay, WB_STEP_DONE);
}

static void half_undone(const place *p)
{
	barrier(p, &unpay, WB_STEP_PENDING);
}

static void living_tombstone(const place *p)
{
	const wbi_barrier row = {.state = WB_STEP_DONE, .tombstone = true};
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_barrier_put(p->txn, p->tables, &wait, &row, &err), err);
}

static void backwards(const place *p)
{
	const wbi_barrier row = {.state = WB_STEP_DONE, .first_us = 3};
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_barrier_put(p->txn, p->tables, &wait, &row, &err), err);
}

static void lost_barrier(const place *p)
{
	del_row(p, p->tables->barriers, wbi_barrier_key(&wait));
}

static void kept_for_ever(const place *p)
{
	del_first(p, p->tables->saga_expiry);
}

static void ended_for_ever(const place *p)
{
	wbi_row_key key = wbi_saga_key(&two);
	const wbi_expiry row = {1000, 's', wbi_row_key_str(&key)};
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_expiry_del(p->txn, p->tables, &row, &err), err);
}

static void other_expiry(const place *p)
{
	const wbi_barrier_id other = {{"one", 3}, {"pay", 3}, WBI_BARRIER_DO};
	wbi_row_key key = wbi_barrier_key(&wait);
	const wbi_expiry row = {1000, 'b', wbi_row_key_str(&key)};
	wb_error err = WB_ERROR_INIT;
	wbi_expiry again;

	assert_ok(wbi_expiry_del(p->txn, p->tables, &row, &err), err);
	key = wbi_barrier_key(&other);
	again = (wbi_expiry){2000, 'b', wbi_row_key_str(&key)};
	assert_ok(wbi_expiry_put(p->txn, p->tables, &again, &err), err);
}

static void flipped_byte(const place *p)
{
	wbi_row_key key = wbi_saga_key(&one);
	wb_error err = WB_ERROR_INIT;
	char copy[512];
	wb_str row;

	assert_ok(wbi_get(p->txn, p->tables->sagas, wbi_row_key_str(&key), &row,
			  &err),
		  err);
	memcpy(copy, row.ptr, row.len);
	copy[12] ^= 1;
	assert_ok(wbi_put(p->txn, p->tables->sagas, wbi_row_key_str(&key),
			  wb_str_n(copy, row.len), &err),
		  err);
}

static const struct {
	void (*make)(const place *p);
	const char *says;
} damages[] = {
	{no_timer, "sagas: saga one: nothing moves it on: timer s/one"},
	{no_flow_timer, "saga three of flow f: nothing moves it on"},
	{stray_timer, "\"d/nine\", position 0: a timer of a saga that is not"},
	{stray_flow_timer, "\"nine/wait\", position 0: a timer of a saga that"},
	{no_index, "it has not ended and is not in the index"},
	{stray_index, "the index has it in status 5 since 200, its row in"},
	{lost_saga, "saga_index: saga three of flow f: the index has a saga"},
	{lost_saga_of_a_log, "saga_log: saga two: its log is there, and it"},
	{no_definition, "saga one: its definition 0123456789ab... is not"},
	{no_last_entry, "saga two: it says that its log has 2 entries"},
	{entry_too_many, "saga two: its log has entry 2, it says only 1"},
	{gap_in_log, "a gap in its log: entry 2 comes behind 0"},
	{other_flow, "sagas: saga three of flow g: "},
	{done_and_undone, "undo of step pay of saga one: it is done, and"},
	{half_undone, "undo of step pay of saga one: an undo of state 1"},
	{living_tombstone, "action of step f:wait of saga three: it is a tomb"},
	{backwards, "it was last used before it was made"},
	{lost_barrier, "saga_expiry: it is for a barrier that is not there"},
	{kept_for_ever, "3 barriers, and times to forget 2 of them"},
	{other_expiry, "3 barriers, and times to forget 3 of them"},
	{ended_for_ever, "1 sagas have ended, and there are times to forget 0"},
	{flipped_byte, "saga one: a saga: the checksum"},
};

/* ---- the tests ----------------------------------------------------------- */

/* What fsck has to say of a store with this damage; NULL: none. */
static wb_code check(const char *dir, void (*make)(const place *p),
		     findings *found)
{
	wbi_check_report report = {.finding = take, .ctx = found};
	wb_store *store = test_store_make(dir);
	wb_error err = WB_ERROR_INIT;
	wbi_check_result result;
	place p;

	p.tables = wbi_store_get_tables(store);
	assert_ok(wb_store_begin(store, &p.txn, &err), err);
	fill(&p);
	if (make)
		make(&p);
	assert_ok(wb_store_commit(store, p.txn, &err), err);
	wb_store_close(store);
	return wbi_store_check(dir, &report, &result, &err);
}

static void a_sound_store_has_no_findings(void **state)
{
	findings found = {.len = 0};
	test_place *at = *state;

	if (check(at->store, NULL, &found) != WB_OK)
		fail_msg("%s", found.text);
}

static void every_damage_is_found_and_named(void **state)
{
	test_place *at = *state;

	for (size_t i = 0; i < WBI_COUNT(damages); i++) {
		const char *dir = test_path(at->dir, "damaged");
		findings found = {.len = 0};

		assert_int_equal(check(dir, damages[i].make, &found),
				 WB_ECORRUPT);
		if (!strstr(found.text, damages[i].says))
			fail_msg("no \"%s\" in:\n%s", damages[i].says,
				 found.text);
		test_remove_tree(dir);
	}
}

static void a_timer_that_an_operator_took_is_not_missed(void **state)
{
	const wbi_actor actor = {S("ann"), S("it is settled by hand")};
	findings found = {.len = 0};
	wbi_check_report report = {.finding = take, .ctx = &found};
	test_place *at = *state;
	wb_error err = WB_ERROR_INIT;
	wbi_check_result result;
	wb_store *store;

	assert_int_equal(check(at->store, NULL, &found), WB_OK);
	store = test_store_open(at->store);
	assert_ok(wbi_timer_operator_cancel(store, S("sagas"), S("s/one"),
					    &actor, &err),
		  err);
	wb_store_close(store);
	if (wbi_store_check(at->store, &report, &result, &err) != WB_OK)
		fail_msg("%s", found.text);
}

static void whatever_a_row_says_fsck_comes_to_an_end(void **state)
{
	test_place *at = *state;
	findings found = {.len = 0};

	assert_int_equal(check(at->store, NULL, &found), WB_OK);
	test_damage_rows(at->store, 23);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_sound_store_has_no_findings,
						test_place_setup,
						test_place_teardown),
		cmocka_unit_test_setup_teardown(every_damage_is_found_and_named,
						test_place_setup,
						test_place_teardown),
		cmocka_unit_test_setup_teardown(
			a_timer_that_an_operator_took_is_not_missed,
			test_place_setup, test_place_teardown),
		cmocka_unit_test_setup_teardown(
			whatever_a_row_says_fsck_comes_to_an_end,
			test_place_setup, test_place_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
