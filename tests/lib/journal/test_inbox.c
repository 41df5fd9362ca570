/* SPDX-License-Identifier: BSD-2-Clause */
/* The inbox journal: foreign events as they came, kept until all consumers
 * have passed them; and who is named when there is no room. */
#include "tests/support/place.h"
#include "tests/support/testing.h"

#include "lib/event/record.h"
#include "lib/journal/inbox_rows.h"

static MDB_txn *begin(wb_store *store)
{
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = NULL;

	assert_ok(wb_store_begin(store, &txn, &err), err);
	return txn;
}

static void commit(wb_store *store, MDB_txn *txn)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_store_commit(store, txn, &err), err);
}

static wb_code receive(wb_store *store, size_t count, size_t bytes,
		       wb_error *err)
{
	static const char data[4096];
	wbi_journal inbox = wbi_journal_of(store, WBI_INBOX);
	wb_event event = {.id = S("1"),
			  .source = S("/other"),
			  .type = S("t"),
			  .data = {data, bytes}};
	MDB_txn *txn = begin(store);
	wb_code code = WB_OK;
	uint64_t at;

	for (size_t i = 0; i < count && code == WB_OK; i++)
		code = wbi_journal_append(&inbox, txn, &event, 1, WB_STR_NULL,
					  &at, err);
	commit(store, txn);
	return code;
}

static void must_receive(wb_store *store, size_t count)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(receive(store, count, 10, &err), err);
}

static void put_consumer(wb_store *store, char journal, const char *name,
			 const char *origin, uint64_t position)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	wbi_consumer row = {.kind = journal == 'i' ? WBI_CONSUMER_HANDLER
						   : WBI_CONSUMER_PROJECTION,
			    .position = position};
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = begin(store);

	if (!origin)
		origin = wbi_journal_of(store,
					journal == 'i' ? WBI_INBOX : WBI_OUTBOX)
				 .origin;
	strcpy(row.origin, origin);
	assert_ok(wbi_consumer_put(txn, tables->consumers, journal,
				   wb_str_from(name), &row, &err),
		  err);
	commit(store, txn);
}

static void assert_range(wb_store *store, wbi_journal_kind kind, uint64_t first,
			 uint64_t head)
{
	wbi_journal journal = wbi_journal_of(store, kind);
	wb_error err = WB_ERROR_INIT;
	uint64_t at_first, at_head;
	MDB_txn *txn = begin(store);

	assert_ok(wbi_journal_range(&journal, txn, &at_first, &at_head, &err),
		  err);
	wb_store_abort(txn);
	assert_int_equal(at_first, first);
	assert_int_equal(at_head, head);
}

static void an_event_of_others_is_kept_as_it_came(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wbi_journal inbox = wbi_journal_of(store, WBI_INBOX);
	wb_event event = {.id = S("no uuid"),
			  .source = S("urn:other"),
			  .type = S("t"),
			  .sequence = 7};
	wb_event dated = event, out;
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = begin(store);
	uint64_t at, inside;
	wb_str record;

	dated.time_us = -62167219200 * INT64_C(1000000);
	assert_ok(wbi_journal_append(&inbox, txn, &event, 1, WB_STR_NULL, &at,
				     &err),
		  err);
	assert_ok(
		wbi_journal_append(&inbox, txn, &dated, 1, S("/us"), &at, &err),
		err);
	assert_int_equal(at, 2);
	assert_ok(wbi_journal_get(&inbox, txn, 1, &record, &err), err);
	assert_ok(
		wbi_record_decode(record.ptr, record.len, &out, &inside, &err),
		err);
	assert_true(wb_str_eq(out.id, event.id));
	assert_true(wb_str_eq(out.source, event.source));
	assert_true(out.time_us == 0);
	assert_int_equal(out.sequence, 7);
	assert_ok(wbi_journal_get(&inbox, txn, 2, &record, &err), err);
	assert_ok(
		wbi_record_decode(record.ptr, record.len, &out, &inside, &err),
		err);
	assert_true(out.time_us == dated.time_us);
	wb_store_abort(txn);
	wb_store_close(store);
}

static void the_inbox_keeps_what_the_slowest_has_not_passed(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);

	must_receive(store, 20);
	assert_range(store, WBI_INBOX, 1, 20); /* nobody reads it yet */
	put_consumer(store, 'i', "fast", NULL, 20);
	put_consumer(store, 'i', "slow", NULL, 4);
	must_receive(store, 20);
	assert_range(store, WBI_INBOX, 5, 40);
	put_consumer(store, 'i', "slow", NULL, 10);
	must_receive(store, 1);
	assert_range(store, WBI_INBOX, 7, 41); /* two for each appended */
	must_receive(store, 9);
	assert_range(store, WBI_INBOX, 11, 50);
	put_consumer(store, 'i', "fast", NULL, 50);
	put_consumer(store, 'i', "slow", NULL, 50);
	must_receive(store, 100);
	assert_range(store, WBI_INBOX, 51, 150);
	put_consumer(store, 'i', "slow", NULL, 151); /* nobody can be there */
	put_consumer(store, 'i', "fast", NULL, 151);
	assert_range(store, WBI_INBOX, 51, 150);
	wb_store_close(store);
}

static void retention_options_are_for_the_outbox(void **state)
{
	test_place *place = *state;
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wb_store *store;

	options.keep_bytes = UINT64_MAX;
	options.keep_age_s = 1000;
	assert_ok(wb_store_create(place->store, &options, &err), err);
	store = test_store_open(place->store);
	must_receive(store, 10);
	put_consumer(store, 'i', "a", NULL, 10);
	must_receive(store, 10);
	assert_range(store, WBI_INBOX, 11, 20);
	test_append(store, 1, 10);
	test_set_cursor(store, 10, 10);
	test_append(store, 11, 10);
	assert_range(store, WBI_OUTBOX, 1, 20);
	wb_store_close(store);
}

static void the_outbox_keeps_what_a_projection_has_not_read(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);

	test_append(store, 1, 20);
	test_set_cursor(store, 20, 20);
	put_consumer(store, 'o', "model", NULL, 5);
	test_append(store, 21, 20);
	assert_range(store, WBI_OUTBOX, 6, 40);
	put_consumer(store, 'o', "model", NULL, 30);
	test_append(store, 41, 20);
	assert_range(store, WBI_OUTBOX, 20, 60); /* now the relay */
	wb_store_close(store);
}

/* ---- another history ---------------------------------------------------- */

typedef struct lines {
	int count;
	char last[256];
} lines;

static void keep_line(void *ctx, wb_log_level level, const char *line)
{
	lines *l = ctx;

	if (level > WB_LOG_ERROR)
		return;
	l->count++;
	snprintf(l->last, sizeof(l->last), "%s", line);
}

static void a_consumer_of_another_history_stops_pruning_only(void **state)
{
	static const char other[] = "018f0000-0000-7000-8000-000000000001";
	test_place *place = *state;
	lines said = {0};
	wb_log log = {keep_line, &said, WB_LOG_ERROR};
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;

	options.log = &log;
	assert_ok(wb_store_create(place->store, &options, &err), err);
	assert_ok(wb_store_open(place->store, &options, &store, &err), err);
	test_append(store, 1, 20);
	test_set_cursor(store, 20, 20);
	put_consumer(store, 'o', "model", other, 20);
	test_append(store, 21, 20);
	assert_range(store, WBI_OUTBOX, 1, 40);
	assert_int_equal(said.count, 1);
	assert_non_null(strstr(said.last, "consumer model"));
	wb_store_close(store);
}

/* ---- no room ------------------------------------------------------------ */

static wb_store *small_store(test_place *place)
{
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;

	options.quota_bytes = 1 << 20;
	assert_ok(wb_store_create(place->store, &options, &err), err);
	return test_store_open(place->store);
}

static void fill(wb_store *store, wb_error *err)
{
	wb_code code = WB_OK;

	for (int i = 0; i < 1000 && code == WB_OK; i++)
		code = receive(store, 20, 500, err);
	assert_int_equal(code, WB_EQUOTA);
}

static void a_full_inbox_names_the_consumer_that_is_behind(void **state)
{
	wb_store *store = small_store(*state);
	wb_error err = WB_ERROR_INIT;

	fill(store, &err);
	assert_non_null(strstr(err.text, "start a worker"));
	wb_error_clear(&err);
	put_consumer(store, 'i', "quick", NULL, 9);
	put_consumer(store, 'i', "slow", NULL, 7);
	fill(store, &err);
	assert_non_null(strstr(err.text, "consumer slow has passed position 7 "
					 "only"));
	wb_error_clear(&err);
	put_consumer(store, 'i', "quick", NULL, 500);
	put_consumer(store, 'i', "slow", NULL, 400);
	assert_ok(receive(store, 20, 500, &err), err);
	wb_store_close(store);
}

static void what_the_inbox_has_passed_makes_room_for_the_outbox(void **state)
{
	wb_store *store = small_store(*state);
	wbi_journal inbox = wbi_journal_of(store, WBI_INBOX);
	wb_error err = WB_ERROR_INIT;
	uint64_t first, head;
	MDB_txn *txn;

	fill(store, &err);
	wb_error_clear(&err);
	txn = begin(store);
	assert_ok(wbi_journal_range(&inbox, txn, &first, &head, &err), err);
	wb_store_abort(txn);
	put_consumer(store, 'i', "a", NULL, head);
	for (unsigned i = 0; i < 10; i++)
		test_append(store, 1 + i * 40, 40);
	assert_int_equal(test_read_all(store, 1), 400);
	wb_store_close(store);
}

static void dead_letters_that_fill_the_store_are_named(void **state)
{
	static const char data[4000];
	wb_store *store = small_store(*state);
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	wbi_dead dead = {.reason = WBI_DEAD_REJECTED, .bytes = {data, 4000}};
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = begin(store);
	uint64_t number;

	for (int i = 0; i < 200; i++)
		assert_ok(wbi_dead_add(txn, tables, &dead, &number, &err), err);
	commit(store, txn);
	fill(store, &err);
	assert_non_null(strstr(err.text, "dead letters"));
	wb_store_close(store);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(an_event_of_others_is_kept_as_it_came),
		T(the_inbox_keeps_what_the_slowest_has_not_passed),
		T(retention_options_are_for_the_outbox),
		T(the_outbox_keeps_what_a_projection_has_not_read),
		T(a_consumer_of_another_history_stops_pruning_only),
		T(a_full_inbox_names_the_consumer_that_is_behind),
		T(what_the_inbox_has_passed_makes_room_for_the_outbox),
		T(dead_letters_that_fill_the_store_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
