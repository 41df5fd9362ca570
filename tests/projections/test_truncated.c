/* SPDX-License-Identifier: BSD-2-Clause */
/* A model cannot be built from what a stream has let go, and says so; unless
 * it knows how to begin behind it. */
#include "tests/outbox/stream_rig.h"

#include <inttypes.h>
#include <string.h>

#include <waybill/projector.h>
#include <waybill/read.h>

enum { STEPS_MAX = 1000 };

/* STREAM → how many of its events were applied. */
static wb_code count_apply(wb_model *model, const wb_event *event,
			   wb_error *err)
{
	uint64_t n = 0;
	wb_str old;
	wb_code code = wb_model_get(model, 0, event->subject, &old, err);

	if (code == WB_OK)
		memcpy(&n, old.ptr, sizeof(n));
	else if (code != WB_ENOTFOUND)
		return code;
	if (event->data.len == 0)
		return wb_error_set(err, WB_EINVAL, 0, __func__, "no data");
	n++;
	return wb_model_put(model, 0, event->subject, wb_str_n(&n, sizeof(n)),
			    err);
}

/* Whatever the streams were at `position`, by their versions. */
static wb_code count_begin(wb_model *model, wb_store *store, uint64_t position,
			   wb_error *err)
{
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	wb_stream_reader *reader;
	wb_stream_event event;
	wb_code code;

	query.stubs = true;
	code = wb_stream_open(store, NULL, &query, &reader, err);
	while (code == WB_OK) {
		code = wb_stream_next(reader, &event, err);
		if (code != WB_OK || event.position > position)
			break;
		code = wb_model_put(
			model, 0, event.event.subject,
			wb_str_n(&event.event.sequence, sizeof(uint64_t)), err);
	}
	wb_stream_close(reader);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_projection count_projection(void)
{
	static const wb_model_table tables[] = {{.name = "counts"}};
	static const char *const types[] = {"thing.#", NULL};
	wb_projection p = WB_PROJECTION_INIT;

	p.name = "counts";
	p.version = 1;
	p.source = WB_PROJECTION_OUTBOX;
	p.types = types;
	p.tables = tables;
	p.table_count = 1;
	p.on_error = WB_ON_ERROR_SKIP;
	p.apply = count_apply;
	return p;
}

static void fill(stream_rig *rig)
{
	wb_stream_cut cut = {
		.stream = S("a/1"), .before = 4, .without_snapshot = true};
	wb_error err = WB_ERROR_INIT;
	uint64_t first, head;
	MDB_txn *txn;

	rig_grow(rig, "a/1", 2);
	rig_grow(rig, "a/2", 3);
	rig_grow(rig, "a/1", 3);
	test_range(rig->store, &first, &head);
	rig_settle(rig, head, head);
	txn = rig_begin(rig);
	assert_ok(wb_stream_truncate(rig->store, txn, &cut, NULL, &err), err);
	rig_commit(rig, txn);
}

static wb_projector_stat run(wb_projector *projector)
{
	wb_error err = WB_ERROR_INIT;

	for (int i = 0; i < STEPS_MAX; i++) {
		wb_projector_stat stat = wb_projector_get_stat(projector);

		if (stat.idle || stat.state == WB_PROJECTOR_STUCK)
			return stat;
		assert_ok(wb_projector_step(projector, true, &err), err);
	}
	fail_msg("no end of steps");
	return (wb_projector_stat){.idle = false};
}

static void a_truncated_event_is_not_applied_and_not_passed_by(void **state)
{
	test_place *place = *state;
	wb_projection projection = count_projection();
	wb_error err = WB_ERROR_INIT;
	wb_projector *projector = NULL;
	wb_projector_stat stat;
	stream_rig rig;

	rig_make(&rig, place->store);
	fill(&rig);
	assert_ok(wb_projector_open(rig.store, &projection, NULL, &projector,
				    &err),
		  err);
	stat = run(projector);
	assert_int_equal(stat.state, WB_PROJECTOR_STUCK);
	assert_int_equal(stat.error.code, WB_ETRUNCATED);
	assert_non_null(strstr(stat.error.text, "version 1 of stream \"a/1\""));
	assert_int_equal(stat.applied, 0);
	wb_projector_close(projector);
	rig_close(&rig);
}

static uint64_t count_of(wb_read *read, const char *stream)
{
	wb_error err = WB_ERROR_INIT;
	uint64_t n = 0;
	wb_str row;

	assert_ok(wb_read_get(read, "counts", wb_str_from(stream), &row, &err),
		  err);
	memcpy(&n, row.ptr, sizeof(n));
	return n;
}

static void a_model_may_begin_behind_what_was_truncated(void **state)
{
	test_place *place = *state;
	wb_projection projection = count_projection();
	wb_error err = WB_ERROR_INIT;
	wb_projector *projector = NULL;
	wb_read *read = NULL;
	stream_rig rig;

	projection.from_snapshot = count_begin;
	rig_make(&rig, place->store);
	fill(&rig);
	assert_ok(wb_projector_open(rig.store, &projection, NULL, &projector,
				    &err),
		  err);
	assert_true(run(projector).idle);
	rig_grow(&rig, "a/2", 1);
	assert_ok(wb_projector_step(projector, true, &err), err);
	assert_true(run(projector).idle);
	assert_ok(wb_read_open_projector(projector, NULL, &read, &err), err);
	assert_ok(wb_read_begin(read, &err), err);
	assert_int_equal(count_of(read, "a/1"), 5);
	assert_int_equal(count_of(read, "a/2"), 4);
	/* Version 3 of a/1, the last one gone, is position 6. */
	assert_int_equal(wb_projector_get_stat(projector).applied, 3);
	wb_read_close(read);
	wb_projector_close(projector);
	rig_close(&rig);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_truncated_event_is_not_applied_and_not_passed_by),
		TEST(a_model_may_begin_behind_what_was_truncated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
