/* SPDX-License-Identifier: BSD-2-Clause */
/* A check of the inbox's tables: what a worker leaves is sound, and each row
 * that contradicts another is found and named. And what a restore makes of
 * them. */
#include "tests/support/inbox_rows.h"
#include "tests/support/place.h"
#include "tests/support/row_damage.h"
#include "tests/support/testing.h"

#include "lib/journal/inbox_rows.h"
#include "lib/journal/maintain.h"
#include "lib/journal/seen.h"
#include "lib/journal/walk.h"

/* ---- what was found ----------------------------------------------------- */

typedef struct findings {
	unsigned count;
	char table[32], text[WB_ERROR_TEXT_MAX];
} findings;

static void keep_finding(void *ctx, const wbi_finding *finding)
{
	findings *f = ctx;

	if (f->count++ > 0)
		return;
	snprintf(f->table, sizeof(f->table), "%s", finding->table);
	snprintf(f->text, sizeof(f->text), "%s", finding->text);
}

static void ignore_progress(void *ctx, uint64_t done, uint64_t total)
{
	(void)ctx;
	(void)done;
	(void)total;
}

static findings check(const char *dir)
{
	findings found = {0};
	const wbi_walk_output output = {keep_finding, ignore_progress, &found};
	wb_error err = WB_ERROR_INIT;
	wbi_check_result result;

	assert_ok(wbi_walk_store(dir, &output, &result, &err), err);
	assert_int_equal(result.findings, found.count);
	return found;
}

static void assert_sound(const char *dir)
{
	findings found = check(dir);

	if (found.count > 0)
		fail_msg("%s: %s", found.table, found.text);
}

/* ---- one thing changed in a sound store --------------------------------- */

typedef struct change {
	wb_store *store;
	const wbi_store_tables *tables;
	MDB_txn *txn;
	wb_error err;
} change;

typedef void edit(change *c);

static void assert_found(test_place *place, edit *call, const char *table,
			 const char *words)
{
	wb_store *store = test_store_make(place->store);
	change c = {.err = WB_ERROR_INIT};
	findings found;

	test_inbox_fill(store);
	wb_store_close(store);
	assert_sound(place->store);
	store = test_store_open(place->store);
	c.store = store;
	c.tables = wbi_store_get_tables(store);
	assert_ok(wb_store_begin(store, &c.txn, &c.err), c.err);
	call(&c);
	assert_ok(wb_store_commit(store, c.txn, &c.err), c.err);
	wb_store_close(store);
	found = check(place->store);
	assert_true(found.count > 0);
	assert_string_equal(found.table, table);
	if (!strstr(found.text, words))
		fail_msg("\"%s\" is not in \"%s\"", words, found.text);
	test_remove_tree(place->store);
}

static wbi_consumer get_consumer(change *c, char journal, wb_str name)
{
	wbi_consumer row;

	assert_ok(wbi_consumer_get(c->txn, c->tables->consumers, journal, name,
				   &row, &c->err),
		  c->err);
	return row;
}

static void put_consumer(change *c, char journal, wb_str name,
			 const wbi_consumer *row)
{
	assert_ok(wbi_consumer_put(c->txn, c->tables->consumers, journal, name,
				   row, &c->err),
		  c->err);
}

static void consumer_past_head(change *c)
{
	wbi_consumer row = get_consumer(c, 'i', S("billing"));

	row.position = TEST_INBOX_HEAD + 1;
	put_consumer(c, 'i', S("billing"), &row);
}

static void consumer_of_another_origin(change *c)
{
	wbi_consumer row = get_consumer(c, 'i', S("billing"));

	row.origin[0] ^= 1;
	put_consumer(c, 'i', S("billing"), &row);
}

static void counts_that_are_wrong(change *c)
{
	wbi_consumer row = get_consumer(c, 'i', S("billing"));

	row.timers++;
	put_consumer(c, 'i', S("billing"), &row);
}

static void records_removed_too_early(change *c)
{
	for (uint64_t i = 1; i <= TEST_INBOX_HEAD - 1; i++)
		assert_ok(wbi_del_at(c->txn, c->tables->inbox, i, &c->err),
			  c->err);
}

static void a_consumer_that_does_not_fit_its_journal_is_found(void **state)
{
	assert_found(*state, consumer_past_head, "consumers",
		     "consumer billing of the inbox: its position 21 is past");
	assert_found(*state, consumer_of_another_origin, "consumers",
		     "consumer billing of the inbox: its position is of "
		     "origin");
	assert_found(*state, counts_that_are_wrong, "consumers",
		     "it has 5 rows and 1 timers in work, and says 5 and 2");
	assert_found(*state, records_removed_too_early, "consumers",
		     "begins at 20, its position is");
}

static wbi_work_id keyed(uint64_t position)
{
	return (wbi_work_id){S("billing"), WBI_LANE_KEYED, S("k"), position};
}

static wbi_work get_work(change *c, const wbi_work_id *id)
{
	wbi_work row;

	assert_ok(wbi_work_get(c->txn, c->tables->work, id, &row, &c->err),
		  c->err);
	return row;
}

static void put_work(change *c, const wbi_work_id *id, const wbi_work *row)
{
	assert_ok(wbi_work_put(c->txn, c->tables->work, id, row, &c->err),
		  c->err);
}

static void head_without_due(change *c)
{
	wbi_work_id id = keyed(TEST_INBOX_HEAD_OF_KEY);
	wbi_work row = get_work(c, &id);

	assert_ok(wbi_due_del(c->txn, c->tables->due, row.due_us, &id, &c->err),
		  c->err);
}

static void due_for_nothing(change *c)
{
	wbi_work_id id = keyed(99);

	assert_ok(wbi_due_put(c->txn, c->tables->due, 5, &id, &c->err), c->err);
}

static void due_at_another_time(change *c)
{
	wbi_work_id id = keyed(TEST_INBOX_HEAD_OF_KEY);

	assert_ok(wbi_due_put(c->txn, c->tables->due, 6, &id, &c->err), c->err);
}

static void due_and_work_that_disagree_are_found(void **state)
{
	assert_found(*state, head_without_due, "work",
		     "consumer billing, lane k, key \"k\", position 2: it "
		     "waits for a time");
	assert_found(*state, due_for_nothing, "due",
		     "position 99: a time for what is not in work");
	assert_found(*state, due_at_another_time, "due", "due at 6, but");
}

/* As an operator's retry leaves it while the call of a later one runs. */
static void revived_in_front_of_a_call(change *c)
{
	wbi_work_id id = keyed(TEST_INBOX_HEAD_OF_KEY);
	wbi_work row = get_work(c, &id);

	assert_ok(wbi_due_del(c->txn, c->tables->due, row.due_us, &id, &c->err),
		  c->err);
	row.state = WBI_WORK_QUEUED;
	put_work(c, &id, &row);
	id.position++;
	row = get_work(c, &id);
	row.state = WBI_WORK_RUNNING;
	put_work(c, &id, &row);
	assert_ok(wbi_due_put(c->txn, c->tables->due, 0, &id, &c->err), c->err);
}

static void headless(change *c)
{
	wbi_work_id id = keyed(TEST_INBOX_HEAD_OF_KEY);
	wbi_work row = get_work(c, &id);

	assert_ok(wbi_due_del(c->txn, c->tables->due, row.due_us, &id, &c->err),
		  c->err);
	row.state = WBI_WORK_QUEUED;
	put_work(c, &id, &row);
}

static void wrong_head(change *c)
{
	wbi_work_id id = keyed(TEST_INBOX_HEAD_OF_KEY + 1);
	wbi_work row = get_work(c, &id);

	headless(c);
	row.state = WBI_WORK_WAITING;
	put_work(c, &id, &row);
	assert_ok(wbi_due_put(c->txn, c->tables->due, row.due_us, &id, &c->err),
		  c->err);
}

static void lone_row_waits(change *c)
{
	wbi_work_id id = {S("mail"), WBI_LANE_UNKEYED, S(""), 4};
	wbi_work row = get_work(c, &id);

	assert_ok(wbi_due_del(c->txn, c->tables->due, 0, &id, &c->err), c->err);
	row.state = WBI_WORK_QUEUED;
	put_work(c, &id, &row);
}

static void two_heads(change *c)
{
	wbi_work_id id = keyed(TEST_INBOX_HEAD_OF_KEY + 1);
	wbi_work row = get_work(c, &id);

	row.state = WBI_WORK_WAITING;
	put_work(c, &id, &row);
	assert_ok(wbi_due_put(c->txn, c->tables->due, row.due_us, &id, &c->err),
		  c->err);
}

static void another_event(change *c)
{
	wbi_work_id id = keyed(TEST_INBOX_HEAD_OF_KEY + 1);
	wbi_work_id other = keyed(TEST_INBOX_HEAD_OF_KEY);
	wbi_work row = get_work(c, &id);

	row.record = get_work(c, &other).record;
	put_work(c, &id, &row);
}

static void a_group_has_one_head(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	change c = {.tables = wbi_store_get_tables(store),
		    .err = WB_ERROR_INIT};

	test_inbox_fill(store);
	assert_ok(wb_store_begin(store, &c.txn, &c.err), c.err);
	revived_in_front_of_a_call(&c);
	assert_ok(wb_store_commit(store, c.txn, &c.err), c.err);
	wb_store_close(store);
	assert_sound(place->store);
	test_remove_tree(place->store);
	assert_found(*state, headless, "work", "it waits behind nothing");
	assert_found(*state, two_heads, "work",
		     "position 2: 2 rows of its key are to be called");
	assert_found(*state, wrong_head, "work",
		     "position 2: it is the first of its key, yet a later");
	assert_found(*state, lone_row_waits, "work", "waits for no other");
	assert_found(*state, another_event, "work", "the event of position 2");
}

static void letter_gone(change *c)
{
	assert_ok(
		wbi_dead_del(c->txn, c->tables->dead, TEST_INBOX_DEAD, &c->err),
		c->err);
}

static void nobody_waits(change *c)
{
	wbi_consumer billing = get_consumer(c, 'i', S("billing"));
	wbi_work_id id = {S("billing"), WBI_LANE_KEYED, S("d"),
			  TEST_INBOX_DEAD_AT};

	billing.waiting -= 2;
	put_consumer(c, 'i', S("billing"), &billing);
	assert_ok(wbi_work_del(c->txn, c->tables->work, &id, &c->err), c->err);
	id.position++; /* and its follower, so that only the letter speaks */
	assert_ok(wbi_work_del(c->txn, c->tables->work, &id, &c->err), c->err);
}

static void a_dead_letter_and_who_waits_for_it_agree(void **state)
{
	assert_found(*state, letter_gone, "work",
		     "it waits for dead letter 2, which is not there");
	assert_found(*state, nobody_waits, "dead",
		     "it blocks position 6 of consumer billing, which does "
		     "not wait");
}

static void chunk_gone(change *c)
{
	wb_str key = WB_STR_NULL, row;
	wbi_cursor *cursor;

	assert_ok(wbi_cursor_open(c->txn, c->tables->seen, &cursor, &c->err),
		  c->err);
	assert_ok(wbi_cursor_move(cursor, WBI_LAST, &key, &row, &c->err),
		  c->err);
	assert_ok(wbi_cursor_del(cursor, &c->err), c->err);
	wbi_cursor_close(cursor);
}

static void known_past_head(change *c)
{
	wbi_seen *seen = NULL;
	uint64_t position;

	assert_ok(wbi_seen_open(c->store, c->txn, &seen, &c->err), c->err);
	assert_ok(wbi_seen_add(seen, S("/b"), S("x"), 500, &position, &c->err),
		  c->err);
	assert_ok(wbi_seen_finish(seen, 1, &c->err), c->err);
	wbi_seen_close(seen);
}

static void known_ids_are_counted(void **state)
{
	assert_found(*state, chunk_gone, "seen",
		     "level 1 of the known ids has 0, and says 20");
	assert_found(*state, known_past_head, "seen",
		     "an id is known as position 500");
}

/* ---- old stores, copies ------------------------------------------------- */

static void a_store_of_before_the_inbox_is_sound(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);

	test_append(store, 1, 5);
	wb_store_close(store);
	test_store_make_old(place->store);
	assert_sound(place->store);
	wb_store_close(test_store_open(place->store));
	assert_sound(place->store);
}

static wbi_consumer read_consumer(wb_store *store, char journal, wb_str name)
{
	change c = {.tables = wbi_store_get_tables(store),
		    .err = WB_ERROR_INIT};
	wbi_consumer row;

	assert_ok(wb_store_begin(store, &c.txn, &c.err), c.err);
	row = get_consumer(&c, journal, name);
	row.error = WB_STR_NULL;
	wb_store_abort(c.txn);
	return row;
}

static void a_restore_takes_handlers_along_and_tells_projections(void **state)
{
	test_place *place = *state;
	const char *copy = test_path(place->dir, "copy");
	const char *back = test_path(place->dir, "back");
	char owner[WBI_ORIGIN_LEN + 1], old[WBI_ORIGIN_LEN + 1];
	wb_error err = WB_ERROR_INIT;
	wbi_ingest_status status;
	wb_store *store = test_store_make(place->store);
	const wbi_store_info *info = wbi_store_get_info(store);
	MDB_txn *txn = NULL;

	test_inbox_fill(store);
	memcpy(owner, TEST_INBOX_OWNER, sizeof(owner));
	memcpy(old, info->outbox_origin, sizeof(old));
	wb_store_close(store);
	assert_ok(wbi_store_backup(place->store, copy, NULL, &err), err);
	assert_sound(copy);
	assert_ok(wbi_store_restore(copy, back, NULL, &err), err);
	assert_sound(back);
	store = test_store_open(back);
	info = wbi_store_get_info(store);
	assert_string_equal(read_consumer(store, 'i', S("billing")).origin,
			    info->inbox_origin);
	assert_string_equal(read_consumer(store, 'i', S("mail")).origin,
			    info->inbox_origin);
	assert_int_equal(read_consumer(store, 'i', S("mail")).position,
			 TEST_INBOX_HEAD);
	assert_string_equal(read_consumer(store, 'o', S("model")).origin, old);
	assert_string_not_equal(info->outbox_origin, old);
	assert_ok(wb_store_begin(store, &txn, &err), err);
	assert_ok(wbi_ingest_status_get(txn,
					wbi_store_get_tables(store)->status,
					&status, &err),
		  err);
	assert_string_equal(status.owner, owner);
	wb_store_abort(txn);
	wb_store_close(store);
}

static void whatever_a_row_says_fsck_comes_to_an_end(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);

	test_inbox_fill(store);
	wb_store_close(store);
	test_damage_rows(place->store, 23);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_consumer_that_does_not_fit_its_journal_is_found),
		T(due_and_work_that_disagree_are_found),
		T(a_group_has_one_head),
		T(a_dead_letter_and_who_waits_for_it_agree),
		T(known_ids_are_counted),
		T(a_store_of_before_the_inbox_is_sound),
		T(a_restore_takes_handlers_along_and_tells_projections),
		T(whatever_a_row_says_fsck_comes_to_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
