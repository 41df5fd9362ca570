/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The permit log as a journal, and a read model of it: events per activity,
 * the state of each case, and cases by the people who worked on them. Its
 * answers against figures that are counted from the rows by plain loops.
 * Nothing to do where the log is not there.
 */
#include "tests/support/place.h"
#include "tests/support/testing.h"

#include <stdlib.h>

#include <waybill/outbox.h>
#include <waybill/read.h>

#include "tests/integration/event_log.h"

enum { ACTIVITIES, CASES, PEOPLE };

static event_log rows;

/* ---- the model ----------------------------------------------------------- */

/* Field number `at` of a value whose fields end with tabs. */
static wb_str field(wb_str value, unsigned at)
{
	const char *p = value.ptr, *end, *tab;

	if (!p)
		return value;
	end = p + value.len;
	for (;;) {
		tab = memchr(p, '\t', (size_t)(end - p));
		if (!tab || at-- == 0)
			break;
		p = tab + 1;
	}
	return wb_str_n(p, (size_t)((tab ? tab : end) - p));
}

/* A case's value: events, last activity, last resource. */
static wb_code by_resource(wb_index_keys *ret, wb_str key, wb_str value,
			   wb_error *err)
{
	(void)key;
	return wb_index_key_add(ret, field(value, 2), err);
}

/* Each of the people of a case. */
static wb_code by_person(wb_index_keys *ret, wb_str key, wb_str value,
			 wb_error *err)
{
	wb_code code = WB_OK;

	(void)key;
	for (unsigned i = 0; code == WB_OK && field(value, i).len > 0; i++)
		code = wb_index_key_add(ret, field(value, i), err);
	return code;
}

static const char *const types[] = {"permit.#", NULL};
static const wb_model_index case_indexes[] = {{"by_resource", by_resource}};
static const wb_model_index people_indexes[] = {{"by_person", by_person}};
static const wb_model_table tables[] = {{"activities", NULL, NULL, 0},
					{"cases", NULL, case_indexes, 1},
					{"people", NULL, people_indexes, 1}};

static wb_code put_activity(wb_model *model, const wb_event *event,
			    wb_error *err)
{
	uint32_t count = 0;
	wb_str old;
	wb_code code = wb_model_get(model, ACTIVITIES, event->subject, &old,
				    err);

	if (code == WB_OK)
		memcpy(&count, old.ptr, sizeof(count));
	else if (code != WB_ENOTFOUND)
		return code;
	count++;
	return wb_model_put(model, ACTIVITIES, event->subject,
			    wb_str_n(&count, sizeof(count)), err);
}

static wb_code put_case(wb_model *model, const wb_event *event, wb_error *err)
{
	unsigned events = 0;
	char text[512];
	wb_str old;
	int len;
	wb_code code = wb_model_get(model, CASES, event->key, &old, err);

	if (code == WB_OK)
		events = (unsigned)strtoul(field(old, 0).ptr, NULL, 10);
	else if (code != WB_ENOTFOUND)
		return code;
	len = snprintf(text, sizeof(text), "%u\t%.*s\t%.*s\t", events + 1,
		       (int)event->subject.len, event->subject.ptr,
		       (int)event->data.len, event->data.ptr);
	return wb_model_put(model, CASES, event->key,
			    wb_str_n(text, (size_t)len), err);
}

static wb_code put_people(wb_model *model, const wb_event *event, wb_error *err)
{
	wb_str old = WB_STR_NULL;
	char text[1024];
	int len;
	wb_code code = wb_model_get(model, PEOPLE, event->key, &old, err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	for (unsigned i = 0; field(old, i).len > 0; i++)
		if (wb_str_eq(field(old, i), event->data))
			return WB_OK;
	len = snprintf(text, sizeof(text), "%.*s%.*s\t", (int)old.len,
		       old.ptr ? old.ptr : "", (int)event->data.len,
		       event->data.ptr);
	return wb_model_put(model, PEOPLE, event->key,
			    wb_str_n(text, (size_t)len), err);
}

static wb_code apply(wb_model *model, const wb_event *event, wb_error *err)
{
	wb_code code = put_activity(model, event, err);

	if (code == WB_OK)
		code = put_case(model, event, err);
	return code == WB_OK ? put_people(model, event, err) : code;
}

static const wb_projection permits = {
	.size = sizeof(permits),
	.name = "permits",
	.version = 1,
	.source = WB_PROJECTION_OUTBOX,
	.types = types,
	.tables = tables,
	.table_count = 3,
	.on_error = WB_ON_ERROR_STOP,
	.apply = apply,
};

/* ---- the journal --------------------------------------------------------- */

static void append_all(wb_store *store)
{
	wb_error err = WB_ERROR_INIT;
	wb_outbox *outbox;
	MDB_txn *txn;

	assert_ok(wb_outbox_open(store, NULL, &outbox, &err), err);
	assert_ok(wb_store_begin(store, &txn, &err), err);
	for (size_t i = 0; i < rows.count; i++) {
		const event_log_row *row = &rows.rows[i];
		wb_event event = {.type = wb_str_from(row->type),
				  .key = wb_str_from(row->key),
				  .subject = wb_str_from(row->activity),
				  .data = wb_str_from(row->resource)};

		assert_ok(wb_outbox_append(outbox, txn, &event, NULL, &err),
			  err);
	}
	assert_ok(wb_store_commit(store, txn, &err), err);
	wb_outbox_close(outbox);
}

/* ---- against plain loops ------------------------------------------------- */

static bool is_last_of_case(size_t at)
{
	for (size_t i = at + 1; i < rows.count; i++)
		if (!strcmp(rows.rows[i].key, rows.rows[at].key))
			return false;
	return true;
}

static unsigned count_where(size_t at, bool activity)
{
	unsigned count = 0;

	for (size_t i = 0; i < rows.count; i++)
		count += activity ? !strcmp(rows.rows[i].activity,
					    rows.rows[at].activity)
				  : !strcmp(rows.rows[i].key,
					    rows.rows[at].key);
	return count;
}

static void check_row(wb_read *read, size_t at)
{
	const event_log_row *row = &rows.rows[at];
	wb_error err = WB_ERROR_INIT;
	uint32_t count;
	wb_str value;

	assert_ok(wb_read_get(read, "activities", wb_str_from(row->activity),
			      &value, &err),
		  err);
	memcpy(&count, value.ptr, sizeof(count));
	assert_int_equal(count, count_where(at, true));
	if (!is_last_of_case(at))
		return;
	assert_ok(wb_read_get(read, "cases", wb_str_from(row->key), &value,
			      &err),
		  err);
	assert_int_equal(strtoul(value.ptr, NULL, 10), count_where(at, false));
	assert_true(wb_str_eq(field(value, 1), wb_str_from(row->activity)));
	assert_true(wb_str_eq(field(value, 2), wb_str_from(row->resource)));
}

static unsigned rows_of(wb_read *read, const char *table, const char *index,
			const char *resource)
{
	wb_read_query q = WB_READ_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	unsigned count = 0;
	wb_read_row row;

	q.table = table;
	q.index = index;
	q.equal = wb_str_from(resource);
	assert_ok(wb_read_scan(read, &q, &err), err);
	while (wb_read_next(read, &row, &err) == WB_OK)
		count++;
	assert_int_equal(err.code, WB_OK);
	return count;
}

static bool is_first_of(size_t at, bool also_case)
{
	for (size_t i = 0; i < at; i++)
		if (!strcmp(rows.rows[i].resource, rows.rows[at].resource) &&
		    (!also_case || !strcmp(rows.rows[i].key, rows.rows[at].key)))
			return false;
	return true;
}

/* Cases whose last event is by this one's resource; and all it worked on. */
static void check_resource(wb_read *read, size_t at)
{
	const char *resource = rows.rows[at].resource;
	unsigned last = 0, ever = 0;

	for (size_t i = 0; i < rows.count; i++) {
		if (strcmp(rows.rows[i].resource, resource) != 0)
			continue;
		last += is_last_of_case(i);
		ever += is_first_of(i, true);
	}
	assert_int_equal(rows_of(read, "cases", "by_resource", resource), last);
	assert_int_equal(rows_of(read, "people", "by_person", resource), ever);
}

static void the_model_of_a_real_log_is_what_loops_count(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_error err = WB_ERROR_INIT;
	wb_projector *projector;
	unsigned people = 0;
	wb_read *read;

	append_all(store);
	assert_ok(wb_projector_open(store, &permits, NULL, &projector, &err),
		  err);
	assert_ok(wb_projector_run(projector, true, &err), err);
	assert_ok(wb_read_open_projector(projector, NULL, &read, &err), err);
	assert_ok(wb_read_begin(read, &err), err);
	assert_true(wb_read_position(read) == rows.count);
	/* Loops within loops: each seventh row is enough. */
	for (size_t i = 0; i < rows.count; i += 7)
		check_row(read, i);
	for (size_t i = 0; i < rows.count; i++) {
		if (!is_first_of(i, false))
			continue;
		people++;
		check_resource(read, i);
	}
	assert_true(people > 10);
	wb_read_close(read);
	wb_projector_close(projector);
	wb_store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(
		the_model_of_a_real_log_is_what_loops_count, test_place_setup,
		test_place_teardown)};
	int failed;

	if (!event_log_load(&rows)) {
		printf("the event log is not there: nothing to do\n");
		return 0;
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	event_log_free(&rows);
	return failed;
}
