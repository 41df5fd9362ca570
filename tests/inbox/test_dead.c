/* SPDX-License-Identifier: BSD-2-Clause */
/* What an operator does with dead letters, timers and consumers: all of it, or
 * nothing, and never without a row in the audit. */
#include "tests/support/place.h"
#include "tests/support/testing.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "inbox/dead.h"
#include "inbox/timer.h"
#include "lib/base/owner.h"
#include "lib/event/raw.h"
#include "lib/event/record.h"
#include "lib/journal/journal.h"

#define H S("billing")

static const wbi_actor kim = {{"kim", 3}, {"fixed", 5}};

typedef struct fixture {
	wb_store *store;
	const wbi_store_tables *tables;
	MDB_txn *txn;
	wb_error err;
} fixture;

static void begin_txn(fixture *f)
{
	assert_ok(wb_store_begin(f->store, &f->txn, &f->err), f->err);
}

static void commit(fixture *f)
{
	assert_ok(wb_store_commit(f->store, f->txn, &f->err), f->err);
	f->txn = NULL;
}

static void make_consumer(fixture *f, wb_str name)
{
	const wbi_store_info *info = wbi_store_get_info(f->store);
	wbi_consumer row = {.kind = WBI_CONSUMER_HANDLER};

	memcpy(row.origin, info->inbox_origin, sizeof(row.origin));
	assert_ok(wbi_consumer_put(f->txn, f->tables->consumers, 'i', name,
				   &row, &f->err),
		  f->err);
}

static fixture begin(void **state)
{
	test_place *place = *state;
	fixture f = {.store = test_store_make(place->store),
		     .err = WB_ERROR_INIT};

	f.tables = wbi_store_get_tables(f.store);
	begin_txn(&f);
	make_consumer(&f, H);
	commit(&f);
	return f;
}

static void end(fixture *f)
{
	wb_store_abort(f->txn);
	wb_store_close(f->store);
}

/* The record of event `n`, in a static buffer. */
static wb_str record(unsigned n)
{
	static uint8_t bytes[512];
	char id[16];
	wb_event event = {.type = S("order.placed"),
			  .source = S("/shop"),
			  .time_us = 1};

	snprintf(id, sizeof(id), "id-%u", n);
	event.id = wb_str_from(id);
	wbi_record_encode(&event, n, bytes, wbi_record_size(&event));
	return wb_str_n(bytes, wbi_record_size(&event));
}

static uint64_t die(fixture *f, const char *key, unsigned n, uint8_t reason)
{
	const wbi_work_id id = {H, WBI_LANE_KEYED, wb_str_from(key), n};
	char text[16];
	wbi_dead dead = {.reason = reason,
			 .blocks = true,
			 .attempts = 3,
			 .first_us = 100 + n,
			 .last_us = 1000 + n,
			 .text = S("no"),
			 .bytes = record(n)};
	uint64_t number;

	snprintf(text, sizeof(text), "id-%u", n);
	dead.id = wb_str_from(text);
	assert_ok(wbi_work_die(f->txn, f->tables, &id, &dead, 1000, &number,
			       &f->err),
		  f->err);
	return number;
}

static void follow(fixture *f, const char *key, unsigned n)
{
	const wbi_work_id id = {H, WBI_LANE_KEYED, wb_str_from(key), n};
	const wbi_work row = {.due_us = 1, .record = record(n)};

	assert_ok(wbi_work_add(f->txn, f->tables, &id, &row, &f->err), f->err);
}

/* A message that ingest refused, body "{}". */
static uint64_t refuse(fixture *f, wb_str message_id)
{
	wb_header header = {S("ce-specversion"), S("1.0")};
	const wb_message message = {.routing_key = S("order.placed"),
				    .exchange = S("events"),
				    .message_id = message_id,
				    .type = S("order.placed"),
				    .app_id = S("/shop"),
				    .body = S("{}"),
				    .headers = &header,
				    .header_count = 0};
	size_t size = wbi_raw_size(&message);
	uint8_t *bytes = malloc(size);
	wbi_dead dead = {.reason = WBI_DEAD_MALFORMED,
			 .last_us = 2000,
			 .text = S("no id")};
	uint64_t number;

	wbi_raw_encode(&message, bytes, size);
	dead.bytes = wb_str_n(bytes, size);
	assert_ok(wbi_dead_add(f->txn, f->tables, &dead, &number, &f->err),
		  f->err);
	free(bytes);
	return number;
}

/* ---- looking ------------------------------------------------------------ */

static bool collect(void *ctx, uint64_t number, const wbi_dead *row)
{
	char *text = ctx;

	(void)row;
	snprintf(text + strlen(text), 8, "%d ", (int)number);
	return strlen(text) < 200;
}

static void assert_found(fixture *f, const wbi_dead_filter *filter,
			 const char *wanted)
{
	char found[256] = "";
	uint64_t number = 0;
	wb_code code = WB_OK;

	while (code == WB_OK)
		code = wbi_dead_visit(f->store, filter, &number, 2, collect,
				      found, &f->err);
	assert_int_equal(code, WB_ENOTFOUND);
	assert_string_equal(found, wanted);
}

static void filters_find_what_is_meant(void **state)
{
	fixture f = begin(state);

	begin_txn(&f);
	die(&f, "a", 1, WBI_DEAD_REJECTED);
	die(&f, "b", 2, WBI_DEAD_EXHAUSTED);
	refuse(&f, S(""));
	die(&f, "c", 4, WBI_DEAD_REJECTED);
	commit(&f);
	assert_found(&f, &(wbi_dead_filter){0}, "1 2 3 4 ");
	assert_found(&f, &(wbi_dead_filter){.reason = WBI_DEAD_REJECTED},
		     "1 4 ");
	assert_found(&f, &(wbi_dead_filter){.handler = H}, "1 2 4 ");
	assert_found(&f, &(wbi_dead_filter){.handler = S("-")}, "3 ");
	assert_found(&f, &(wbi_dead_filter){.handler = S("other")}, "");
	assert_found(&f, &(wbi_dead_filter){.key = S("b")}, "2 ");
	assert_found(&f, &(wbi_dead_filter){.id = S("id-4")}, "4 ");
	assert_found(&f, &(wbi_dead_filter){.after_us = 1002}, "2 3 4 ");
	assert_found(&f, &(wbi_dead_filter){.before_us = 1002}, "1 ");
	assert_found(&f,
		     &(wbi_dead_filter){.after_us = 1002, .before_us = 1004},
		     "2 ");
	end(&f);
}

/* ---- acting ------------------------------------------------------------- */

static void act_on(fixture *f, const wbi_dead_how *how, wbi_dead_item *items,
		   size_t count)
{
	size_t done = 0;

	for (size_t i = 0; i < count; i += done)
		assert_ok(wbi_dead_act(f->store, how, items + i, count - i,
				       &done, &f->err),
			  f->err);
}

static wbi_audit audit_row(fixture *f, uint64_t number)
{
	wbi_audit audit;
	wb_str row;

	assert_ok(wbi_get_at(f->txn, f->tables->audit, number, &row, &f->err),
		  f->err);
	assert_ok(wbi_audit_decode(number, row, &audit, &f->err), f->err);
	return audit;
}

static void each_act_leaves_its_row_in_the_audit(void **state)
{
	fixture f = begin(state);
	wbi_dead_how how = {.verb = WBI_DEAD_RETRY, .actor = kim};
	wbi_dead_item items[3] = {{.number = 1}, {.number = 77}, {.number = 2}};
	wbi_work_id id = {H, WBI_LANE_KEYED, S("a"), 1};
	wbi_audit audit;
	wbi_work row;

	begin_txn(&f);
	die(&f, "a", 1, WBI_DEAD_REJECTED);
	die(&f, "b", 2, WBI_DEAD_REJECTED);
	commit(&f);
	act_on(&f, &how, items, 3);
	assert_true(items[0].done);
	assert_false(items[1].done);
	assert_int_equal(items[1].code, WB_ENOTFOUND);
	assert_true(items[2].done);
	begin_txn(&f);
	assert_ok(wbi_work_get(f.txn, f.tables->work, &id, &row, &f.err),
		  f.err);
	assert_int_equal(row.state, WBI_WORK_WAITING);
	audit = audit_row(&f, 1);
	assert_true(wb_str_eq(audit.who, S("kim")));
	assert_true(wb_str_eq(audit.what, S("dead retry")));
	assert_true(wb_str_eq(audit.why, S("fixed")));
	assert_true(wb_str_eq(audit.handler, H));
	assert_true(wb_str_eq(audit.key, S("a")));
	assert_true(wb_str_eq(audit.id, S("id-1")));
	assert_int_equal(audit.position, 1);
	assert_int_equal(audit.number, 1);
	assert_int_equal(audit_row(&f, 2).number, 2);
	end(&f);
}

static void discarding_lets_the_followers_go(void **state)
{
	fixture f = begin(state);
	wbi_dead_how how = {.verb = WBI_DEAD_DISCARD, .actor = kim};
	wbi_dead_item item = {.number = 1};
	wbi_work_id id = {H, WBI_LANE_KEYED, S("a"), 2};
	wbi_dead dead;
	wbi_work row;

	begin_txn(&f);
	die(&f, "a", 1, WBI_DEAD_REJECTED);
	follow(&f, "a", 2);
	commit(&f);
	act_on(&f, &how, &item, 1);
	begin_txn(&f);
	assert_int_equal(wbi_dead_get(f.txn, f.tables->dead, 1, &dead, &f.err),
			 WB_ENOTFOUND);
	assert_ok(wbi_work_get(f.txn, f.tables->work, &id, &row, &f.err),
		  f.err);
	assert_int_equal(row.state, WBI_WORK_WAITING);
	assert_true(wb_str_eq(audit_row(&f, 1).what, S("dead discard")));
	end(&f);
}

static void a_transaction_ends_when_it_has_worked_enough(void **state)
{
	enum { MANY = 2000 };
	fixture f = begin(state);
	wbi_dead_how how = {.verb = WBI_DEAD_RETRY, .actor = kim, .txn_us = 1};
	wbi_dead_item *items = calloc(MANY, sizeof(*items));
	size_t done = 0;

	assert_non_null(items);
	begin_txn(&f);
	for (unsigned i = 0; i < MANY; i++) {
		char key[8];

		snprintf(key, sizeof(key), "%u", i);
		items[i].number = die(&f, key, i + 1, WBI_DEAD_REJECTED);
	}
	commit(&f);
	assert_ok(wbi_dead_act(f.store, &how, items, MANY, &done, &f.err),
		  f.err);
	assert_in_range(done, 1, 50);
	how.txn_us = 0; /* a millisecond */
	assert_ok(wbi_dead_act(f.store, &how, items + done, MANY - done, &done,
			       &f.err),
		  f.err);
	assert_in_range(done, 1, MANY - 60);
	free(items);
	end(&f);
}

static uint64_t inbox_head(fixture *f)
{
	wbi_journal inbox = wbi_journal_of(f->store, WBI_INBOX);
	uint64_t first, head;

	assert_ok(wbi_journal_range(&inbox, f->txn, &first, &head, &f->err),
		  f->err);
	return head;
}

static void what_ingest_refused_is_taken_in_once_it_can_be(void **state)
{
	fixture f = begin(state);
	wbi_dead_how how = {.verb = WBI_DEAD_RETRY, .actor = kim};
	wbi_dead_item items[2] = {{.number = 1}, {.number = 2}};

	begin_txn(&f);
	refuse(&f, S(""));
	refuse(&f, S("m-2"));
	commit(&f);
	act_on(&f, &how, items, 2);
	assert_false(items[0].done); /* it has no id at all */
	assert_non_null(strstr(items[0].text, "id"));
	assert_true(items[1].done);
	begin_txn(&f);
	assert_int_equal(inbox_head(&f), 1);
	wb_store_abort(f.txn);
	how.id_from_body = true;
	act_on(&f, &how, items, 1);
	assert_true(items[0].done);
	begin_txn(&f);
	assert_int_equal(inbox_head(&f), 2);
	/* The same message again is known. */
	refuse(&f, S("m-2"));
	commit(&f);
	items[0].number = 3;
	act_on(&f, &how, items, 1);
	assert_true(items[0].done);
	begin_txn(&f);
	assert_int_equal(inbox_head(&f), 2);
	assert_int_equal(audit_row(&f, 3).number, 3);
	end(&f);
}

/* ---- timers ------------------------------------------------------------- */

static bool collect_timer(void *ctx, const wbi_timer_seen *seen)
{
	char *text = ctx;

	snprintf(text + strlen(text), 64, "%.*s@%d/%d%s%s ",
		 (int)seen->timer.name.len, seen->timer.name.ptr,
		 (int)seen->timer.due_us, (int)seen->next_us,
		 seen->firing ? "!" : "", seen->queued ? "+" : "");
	return true;
}

static void assert_timers(fixture *f, const char *wanted)
{
	wbi_row_key after = {.len = 0};
	char found[256] = "";
	wb_code code = WB_OK;

	while (code == WB_OK)
		code = wbi_timer_visit(f->store, H, &after, 1, collect_timer,
				       found, &f->err);
	assert_int_equal(code, WB_ENOTFOUND);
	assert_string_equal(found, wanted);
}

static void timers_are_listed_moved_and_cancelled(void **state)
{
	fixture f = begin(state);
	wbi_work_id b = {H, WBI_LANE_TIMER, S("b"), 0};
	wbi_work row = {.state = WBI_WORK_RUNNING};

	begin_txn(&f);
	for (const char *name = "abc"; *name; name++)
		assert_ok(wbi_timer_set(f.txn, f.tables, H, wb_str_n(name, 1),
					100, S("data"), NULL, NULL, &f.err),
			  f.err);
	follow(&f, "a", 2); /* no timer */
	commit(&f);
	assert_timers(&f, "a@100/100 b@100/100 c@100/100 ");
	assert_ok(wbi_timer_operator_move(f.store, H, S("a"), 500, &kim,
					  &f.err),
		  f.err);
	assert_ok(wbi_timer_operator_cancel(f.store, H, S("c"), &kim, &f.err),
		  f.err);
	assert_timers(&f, "a@500/500 b@100/100 ");
	begin_txn(&f);
	assert_true(wb_str_eq(audit_row(&f, 1).what, S("timer move")));
	assert_true(wb_str_eq(audit_row(&f, 2).what, S("timer cancel")));
	assert_true(wb_str_eq(audit_row(&f, 2).key, S("c")));
	/* One that fires is the worker's. */
	assert_ok(wbi_work_get(f.txn, f.tables->work, &b, &row, &f.err), f.err);
	row.state = WBI_WORK_RUNNING;
	assert_ok(wbi_work_change(f.txn, f.tables, &b, &row, 100, &f.err),
		  f.err);
	commit(&f);
	assert_int_equal(wbi_timer_operator_move(f.store, H, S("b"), 500, &kim,
						 &f.err),
			 WB_ENOTFOUND);
	assert_non_null(strstr(f.err.text, "no timer 'b'"));
	wb_error_clear(&f.err);
	assert_code(wbi_timer_operator_cancel(f.store, H, S("b"), &kim, &f.err),
		    WB_ENOTFOUND, f.err);
	assert_timers(&f, "a@500/500 b@100/0! ");
	begin_txn(&f);
	assert_ok(wbi_timer_set(f.txn, f.tables, H, S("b"), 700, S(""), NULL,
				NULL, &f.err),
		  f.err);
	commit(&f);
	assert_ok(wbi_timer_operator_move(f.store, H, S("b"), 900, &kim,
					  &f.err),
		  f.err);
	assert_timers(&f, "a@500/500 b@100/0! b@900/900+ ");
	end(&f);
}

/* ---- forgetting --------------------------------------------------------- */

static void what_a_forgotten_handler_had_to_do_is_kept(void **state)
{
	enum { MANY = 300 };
	fixture f = begin(state);
	wbi_work_id crashed = {H, WBI_LANE_CRASHED, S(""), 9};
	wbi_forgotten forgotten;
	uint64_t bytes, rows;
	wbi_consumer row;
	wbi_dead dead;

	begin_txn(&f);
	make_consumer(&f, S("bill"));
	die(&f, "a", 1, WBI_DEAD_REJECTED);
	for (unsigned i = 2; i <= MANY; i++)
		follow(&f, i % 2 ? "a" : "b", i);
	assert_ok(wbi_timer_set(f.txn, f.tables, H, S("t"), 100, S("data"),
				NULL, NULL, &f.err),
		  f.err);
	assert_ok(wbi_work_add(f.txn, f.tables, &crashed, &(wbi_work){0},
			       &f.err),
		  f.err);
	commit(&f);
	assert_ok(wbi_consumer_forget(f.store, 'i', H, &kim, &forgotten,
				      &f.err),
		  f.err);
	assert_int_equal(forgotten.letters, MANY - 1 + 1);
	begin_txn(&f);
	assert_int_equal(wbi_consumer_get(f.txn, f.tables->consumers, 'i', H,
					  &row, &f.err),
			 WB_ENOTFOUND);
	assert_ok(wbi_consumer_get(f.txn, f.tables->consumers, 'i', S("bill"),
				   &row, &f.err),
		  f.err);
	assert_ok(wbi_table_size(f.txn, f.tables->work, &bytes, &rows, &f.err),
		  f.err);
	assert_int_equal(rows, 0);
	assert_ok(wbi_table_size(f.txn, f.tables->due, &bytes, &rows, &f.err),
		  f.err);
	assert_int_equal(rows, 0);
	assert_ok(wbi_dead_get(f.txn, f.tables->dead, 1, &dead, &f.err), f.err);
	assert_false(dead.blocks); /* there is nothing left to hold up */
	assert_ok(wbi_dead_get(f.txn, f.tables->dead, 2, &dead, &f.err), f.err);
	assert_int_equal(dead.reason, WBI_DEAD_NO_HANDLER);
	assert_true(wb_str_eq(dead.source, S("/shop")));
	assert_true(wb_str_eq(audit_row(&f, 1).what, S("forget")));
	assert_true(wb_str_eq(audit_row(&f, 1).handler, H));
	/* And comes back when the handler does. */
	make_consumer(&f, H);
	for (uint64_t n = 1; n <= MANY + 1; n++)
		assert_ok(wbi_work_revive(f.txn, f.tables, n, 500, &f.err),
			  f.err);
	assert_ok(wbi_table_size(f.txn, f.tables->due, &bytes, &rows, &f.err),
		  f.err);
	assert_int_equal(rows, 3); /* the heads of two keys, and the timer */
	end(&f);
}

/* The same name in the other journal is another one. */
static void a_projection_of_the_outbox_is_forgotten_alone(void **state)
{
	fixture f = begin(state);
	const wbi_store_info *info = wbi_store_get_info(f.store);
	wbi_consumer row = {.kind = WBI_CONSUMER_PROJECTION};
	wbi_forgotten forgotten;

	begin_txn(&f);
	memcpy(row.origin, info->outbox_origin, sizeof(row.origin));
	assert_ok(wbi_consumer_put(f.txn, f.tables->consumers, 'o', H, &row,
				   &f.err),
		  f.err);
	follow(&f, "a", 1);
	commit(&f);
	assert_ok(wbi_consumer_forget(f.store, 'o', H, &kim, &forgotten,
				      &f.err),
		  f.err);
	assert_int_equal(forgotten.letters, 0);
	begin_txn(&f);
	assert_int_equal(wbi_consumer_get(f.txn, f.tables->consumers, 'o', H,
					  &row, &f.err),
			 WB_ENOTFOUND);
	assert_ok(wbi_consumer_get(f.txn, f.tables->consumers, 'i', H, &row,
				   &f.err),
		  f.err);
	assert_int_equal(row.waiting, 1);
	assert_true(wb_str_eq(audit_row(&f, 1).what, S("outbox forget")));
	end(&f);
}

static void names_that_cannot_be_are_nobody_to_forget(void **state)
{
	fixture f = begin(state);
	wbi_forgotten forgotten;
	char over[200];

	memset(over, 'n', sizeof(over));
	assert_code(wbi_consumer_forget(f.store, 'i', WB_STR_NULL, &kim,
					&forgotten, &f.err),
		    WB_ENOTFOUND, f.err);
	assert_int_equal(wbi_consumer_forget(f.store, 'o',
					     wb_str_n(over, sizeof(over)), &kim,
					     &forgotten, &f.err),
			 WB_ENOTFOUND);
	assert_non_null(strstr(f.err.text, "the outbox knows no consumer"));
	end(&f);
}

static void a_queue_is_forgotten_once(void **state)
{
	wbi_ingest_status row = {.queue = S("q"), .vhost = S("/")};
	test_place *place = *state;
	fixture f = begin(state);
	int64_t pid;
	int fd;

	assert_code(wbi_queue_forget(f.store, &kim, &f.err), WB_ENOTFOUND,
		    f.err);
	begin_txn(&f);
	assert_ok(wbi_ingest_status_put(f.txn, f.tables->status, &row, &f.err),
		  f.err);
	commit(&f);
	assert_ok(wbi_owner_take(test_path(place->store, "worker"), &fd, &pid,
				 &f.err),
		  f.err);
	assert_code(wbi_queue_forget(f.store, &kim, &f.err), WB_EBUSY, f.err);
	close(fd);
	assert_ok(wbi_queue_forget(f.store, &kim, &f.err), f.err);
	assert_code(wbi_queue_forget(f.store, &kim, &f.err), WB_ENOTFOUND,
		    f.err);
	begin_txn(&f);
	assert_true(wb_str_eq(audit_row(&f, 1).key, S("q")));
	end(&f);
}

/* An event whose record cannot be read comes to lie among the others. */
static void what_cannot_be_read_is_forgotten_all_the_same(void **state)
{
	const wbi_work_id id = {H, WBI_LANE_KEYED, S("a"), 1};
	const wbi_work row = {.state = WBI_WORK_WAITING, .record = S("junk")};
	fixture f = begin(state);
	wbi_forgotten forgotten;
	wbi_dead dead;

	begin_txn(&f);
	assert_ok(wbi_work_add(f.txn, f.tables, &id, &row, &f.err), f.err);
	commit(&f);
	assert_ok(wbi_consumer_forget(f.store, 'i', H, &kim, &forgotten,
				      &f.err),
		  f.err);
	assert_int_equal(forgotten.letters, 1);
	begin_txn(&f);
	assert_ok(wbi_dead_get(f.txn, f.tables->dead, 1, &dead, &f.err), f.err);
	assert_int_equal(dead.id.len, 0);
	end(&f);
}

static void nobody_is_forgotten_while_a_worker_is_active(void **state)
{
	test_place *place = *state;
	fixture f = begin(state);
	wbi_forgotten forgotten;
	int64_t pid;
	int fd;

	assert_code(wbi_consumer_forget(f.store, 'i', S("nobody"), &kim,
					&forgotten, &f.err),
		    WB_ENOTFOUND, f.err);
	assert_ok(wbi_owner_take(test_path(place->store, "worker"), &fd, &pid,
				 &f.err),
		  f.err);
	assert_int_equal(wbi_consumer_forget(f.store, 'i', H, &kim, &forgotten,
					     &f.err),
			 WB_EBUSY);
	assert_non_null(strstr(f.err.text, "stop it first"));
	wb_error_clear(&f.err);
	close(fd);
	assert_ok(wbi_consumer_forget(f.store, 'i', H, &kim, &forgotten,
				      &f.err),
		  f.err);
	end(&f);
}

#define TEST(f)                                                               \
	cmocka_unit_test_setup_teardown(f, test_place_setup,                  \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(filters_find_what_is_meant),
		TEST(each_act_leaves_its_row_in_the_audit),
		TEST(discarding_lets_the_followers_go),
		TEST(a_transaction_ends_when_it_has_worked_enough),
		TEST(what_ingest_refused_is_taken_in_once_it_can_be),
		TEST(timers_are_listed_moved_and_cancelled),
		TEST(what_a_forgotten_handler_had_to_do_is_kept),
		TEST(a_projection_of_the_outbox_is_forgotten_alone),
		TEST(names_that_cannot_be_are_nobody_to_forget),
		TEST(a_queue_is_forgotten_once),
		TEST(what_cannot_be_read_is_forgotten_all_the_same),
		TEST(nobody_is_forgotten_while_a_worker_is_active),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
