/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a model begins: events that are gone are never passed over in silence,
 * and what it still needs is kept. Truncated streams: test_truncated.c. */
#include "tests/projections/rig.h"

#include <waybill/outbox.h>

#include "projections/projector.h"

static wb_projector_stat stat_of(const rig *r)
{
	return wb_projector_get_stat(r->projector);
}

/* ---- a journal that is pruned -------------------------------------------- */

static wb_code snapshot_at_90(wb_model *model, wb_store *store,
			      uint64_t position, wb_error *err)
{
	uint64_t first, head;

	/* It may read the store meanwhile. */
	test_range(store, &first, &head);
	assert_true(first == position + 1);
	return wb_model_put(model, RIG_COUNTS, S("k0"), S("1000\0"), err);
}

static void a_pruned_journal_needs_a_snapshot(void **state)
{
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_SKIP);
	rig_append_many(&r, 100, 10);
	test_set_cursor(r.store, 90, 90);
	for (int i = 0; i < 50; i++)
		rig_append(&r, "k0", "x");
	rig_open(&r);
	rig_until(&r, WB_PROJECTOR_STUCK);
	assert_int_equal(stat_of(&r).error.code, WB_EMISMATCH);
	assert_non_null(strstr(stat_of(&r).error.text, "from_snapshot"));
	rig_close(&r);
	r.projection.from_snapshot = snapshot_at_90;
	rig_open(&r);
	rig_settle(&r);
	assert_true(stat_of(&r).position == 150);
	assert_int_equal(rig_count(&r, "k0"), 1000 + 1 + 50);
	rig_fini(&r);
}

/* What it still needs is not pruned: the store was told. */
static void a_projection_holds_back_what_it_has_not_read(void **state)
{
	uint64_t first, head;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append_many(&r, 10, 10);
	rig_open(&r);
	rig_settle(&r);
	rig_close(&r); /* it says how far it is */
	rig_append_many(&r, 10, 10);
	test_set_cursor(r.store, 20, 20);
	for (int i = 0; i < 30; i++)
		rig_append(&r, "a", "x");
	test_range(r.store, &first, &head);
	assert_true(first >= 2 && first <= 11 && head == 50);
	rig_open(&r);
	rig_settle(&r);
	rig_close(&r);
	test_set_cursor(r.store, 50, 50);
	for (int i = 0; i < 30; i++)
		rig_append(&r, "a", "x");
	test_range(r.store, &first, &head);
	assert_true(first > 40 && first <= 51);
	rig_fini(&r);
}

/* Nor what a rebuild has not read, from its first step on. */
static void a_rebuild_holds_back_all_that_it_will_read(void **state)
{
	char live[33], built[33];
	uint64_t first, head;
	wb_error err = WB_ERROR_INIT;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	r.options.batch_max = 5;
	rig_append_many(&r, 100, 10);
	rig_open(&r);
	rig_settle(&r);
	rig_rebuild(&r, false);
	while (wb_projector_get_stat(r.projector).building == 0)
		assert_ok(wb_projector_step(r.projector, true, &err), err);
	test_set_cursor(r.store, 100, 100);
	for (int i = 0; i < 200; i++)
		rig_append(&r, "a", "x");
	test_range(r.store, &first, &head);
	assert_int_equal(first, 1);
	assert_int_equal(head, 300);
	rig_settle(&r);
	rig_digest(&r, 1, live);
	rig_digest(&r, 2, built);
	assert_string_equal(live, built);
	rig_fini(&r);
}

int main(void)
{
#define T(name)                                                               \
	cmocka_unit_test_setup_teardown(name, test_place_setup,               \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_pruned_journal_needs_a_snapshot),
		T(a_projection_holds_back_what_it_has_not_read),
		T(a_rebuild_holds_back_all_that_it_will_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
