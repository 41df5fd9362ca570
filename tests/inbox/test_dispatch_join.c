/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Handlers in the very commit that takes their events in: the same as in two,
 * or, whatever is in the way, nothing at all and then two.
 */
#include "tests/inbox/dispatch_rig.h"

#include <stdlib.h>
#include <unistd.h>

#include "inbox/work.h"
#include "tests/support/testing.h"

enum { JOIN_EVENTS = 50 };

static uint64_t join_head(rig *r, uint64_t *ret_first)
{
	wbi_journal inbox = wbi_journal_of(r->store, WBI_INBOX);
	uint64_t head;
	MDB_txn *txn;

	assert_int_equal(
		mdb_txn_begin(wb_store_env(r->store), NULL, MDB_RDONLY, &txn),
		0);
	assert_ok(wbi_journal_range(&inbox, txn, ret_first, &head, &r->err),
		  r->err);
	mdb_txn_abort(txn);
	return head;
}

/* As the ingest does it: the events, the handlers, the commit (or an abort);
 * what the handlers did not want is committed without them. */
static wb_code join_take(rig *r, size_t count, bool commit)
{
	uint64_t first, before = join_head(r, &first);
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;
	wb_code code;

	assert_ok(wb_store_begin(r->store, &txn, &r->err), r->err);
	rig_append_in(r, txn, count, 7);
	code = wbi_dispatch_join(r->dispatch, txn, before, before + count,
				 &err);
	if (code != WB_OK && code != WB_EAGAIN) {
		mdb_txn_abort(txn);
		rig_append_many(r, count, 7);
		return code;
	}
	if (commit)
		assert_ok(wb_store_commit(r->store, txn, &r->err), r->err);
	else
		mdb_txn_abort(txn);
	if (code == WB_OK)
		wbi_dispatch_joined(r->dispatch, commit);
	return code;
}

/* ---- the usual case ------------------------------------------------------ */

static void taken_in_and_handled_in_one_commit(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	rig_probe *b = rig_add(r, "b", WB_TRANSACTIONAL);
	MDB_env *env = wb_store_env(r->store);
	uint64_t before, first;

	rig_open(r);
	for (unsigned i = 1; i <= 4; i++) {
		before = wbi_env_last_txn(env);
		assert_int_equal(join_take(r, JOIN_EVENTS, true), WB_OK);
		assert_int_equal(wbi_env_last_txn(env), before + 1);
		assert_int_equal(rig_effect_count(r, a), i * JOIN_EVENTS);
		assert_int_equal(rig_effect_count(r, b), i * JOIN_EVENTS);
		assert_int_equal(rig_consumer(r, "a").position,
				 i * JOIN_EVENTS);
		assert_int_equal(rig_consumer(r, "b").handled,
				 i * JOIN_EVENTS);
		/* All that is passed is gone, but for the head. */
		assert_int_equal(join_head(r, &first), i * JOIN_EVENTS);
		assert_int_equal(first, i * JOIN_EVENTS);
	}
	before = wbi_env_last_txn(env);
	rig_run(r);
	assert_int_equal(wbi_env_last_txn(env), before);
	assert_int_equal(a->calls, 4 * JOIN_EVENTS);
	assert_int_equal(wbi_dispatch_get_stat(r->dispatch).handled,
			 8 * JOIN_EVENTS);
	rig_end(r);
}

static wb_code retry_some(rig_probe *p, wb_call *call, const wb_event *event,
			  wb_error *err)
{
	(void)event;
	p->data[0]++;
	return wb_call_position(call) % 10 == 0 && wb_call_attempt(call) == 1
		       ? wb_retry(err, "not now")
		       : WB_OK;
}

static void what_does_not_end_in_its_call_is_in_the_commit_too(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	rig_probe *x = rig_add(r, "x", WB_EXTERNAL);

	a->behave = retry_some;
	a->quiet = true; /* so it asks for no transaction */
	rig_open(r);
	assert_int_equal(join_take(r, JOIN_EVENTS, true), WB_OK);
	assert_int_equal(rig_consumer(r, "a").position, JOIN_EVENTS);
	assert_int_equal(rig_consumer(r, "x").position, JOIN_EVENTS);
	assert_int_equal(rig_consumer(r, "x").waiting, JOIN_EVENTS);
	assert_in_range(rig_consumer(r, "a").waiting, 5, JOIN_EVENTS);
	rig_run_for(r, 60 * 1000000LL);
	assert_int_equal(rig_consumer(r, "a").handled, JOIN_EVENTS);
	assert_int_equal(rig_consumer(r, "x").handled, JOIN_EVENTS);
	assert_int_equal(x->calls, JOIN_EVENTS);
	assert_int_equal(a->data[0], JOIN_EVENTS + 5);
	rig_end(r);
}

/* ---- what is in the way -------------------------------------------------- */

static void a_commit_that_fails_has_handled_nothing(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);

	rig_open(r);
	assert_int_equal(join_take(r, JOIN_EVENTS, true), WB_OK);
	assert_int_equal(join_take(r, JOIN_EVENTS, false), WB_OK);
	assert_int_equal(wbi_dispatch_get_stat(r->dispatch).handled,
			 JOIN_EVENTS);
	rig_run(r);
	assert_int_equal(rig_effect_count(r, a), JOIN_EVENTS);
	assert_int_equal(wbi_dispatch_get_stat(r->dispatch).head, JOIN_EVENTS);
	/* The same positions, other events. */
	assert_int_equal(join_take(r, JOIN_EVENTS, true), WB_OK);
	assert_int_equal(rig_effect_count(r, a), 2 * JOIN_EVENTS);
	assert_int_equal(rig_consumer(r, "a").handled, 2 * JOIN_EVENTS);
	rig_end(r);
}

static wb_code fail_once(rig_probe *p, wb_call *call, const wb_event *event,
			 wb_error *err)
{
	(void)event;
	return wb_call_position(call) == (uint64_t)p->data[0] &&
			       wb_call_attempt(call) == 1
		       ? wb_retry(err, "not now")
		       : WB_OK;
}

static void a_call_that_fails_has_its_events_taken_in_without_it(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	rig_probe *b = rig_add(r, "b", WB_TRANSACTIONAL);

	a->behave = fail_once; /* behind its effects */
	a->data[0] = 20;
	rig_open(r);
	assert_int_equal(join_take(r, JOIN_EVENTS, true), WB_ESTATE);
	assert_int_equal(rig_effect_count(r, b), 0);
	rig_run_for(r, 60 * 1000000LL);
	assert_int_equal(rig_effect_count(r, a), JOIN_EVENTS);
	assert_int_equal(rig_effect_count(r, b), JOIN_EVENTS);
	assert_int_equal(rig_consumer(r, "a").retries, 1);
	/* It is called with care for a while, so not here. */
	assert_int_equal(join_take(r, JOIN_EVENTS, true), WB_EAGAIN);
	rig_run_for(r, 60 * 1000000LL);
	assert_int_equal(rig_effect_count(r, a), 2 * JOIN_EVENTS);
	rig_end(r);
}

static void one_that_is_behind_is_waited_for(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);

	rig_open(r);
	rig_append_many(r, 3, 3); /* not seen yet, nor handled */
	assert_int_equal(join_take(r, JOIN_EVENTS, true), WB_EAGAIN);
	assert_int_equal(a->calls, 0);
	rig_run(r);
	assert_int_equal(a->calls, 3 + JOIN_EVENTS);
	assert_int_equal(join_take(r, JOIN_EVENTS, true), WB_OK);
	assert_int_equal(a->calls, 3 + 2 * JOIN_EVENTS);
	rig_end(r);
}

static void a_stopped_handler_holds_up_no_other_and_keeps_its_events(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	rig_probe *b = rig_add(r, "b", WB_TRANSACTIONAL);
	uint64_t first;

	a->behave = rig_stop_at;
	a->quiet = true;
	a->data[0] = 5;
	rig_open(r);
	assert_int_equal(join_take(r, JOIN_EVENTS, true), WB_OK);
	assert_int_equal(join_take(r, JOIN_EVENTS, true), WB_OK);
	assert_int_equal(rig_effect_count(r, b), 2 * JOIN_EVENTS);
	assert_int_equal(rig_consumer(r, "a").position, 4);
	assert_int_equal(join_head(r, &first), 2 * JOIN_EVENTS);
	assert_in_range(first, 1, 5);
	rig_end(r);
}

static void one_that_stops_takes_no_part(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);

	rig_open(r);
	wbi_dispatch_stop(r->dispatch);
	assert_int_equal(join_take(r, JOIN_EVENTS, true), WB_EAGAIN);
	assert_int_equal(a->calls, 0);
	rig_end(r);
}

/* ---- crashes ------------------------------------------------------------- */

/* data[0]: the position at which the process ends; data[1]: its attempt. */
static wb_code end_at(rig_probe *p, wb_call *call, const wb_event *event,
		      wb_error *err)
{
	(void)event;
	(void)err;
	if (wb_call_position(call) == (uint64_t)p->data[0])
		_exit(wb_call_attempt(call) == (uint32_t)p->data[1] ? 7 : 8);
	if (wb_call_attempt(call) != 1)
		_exit(9);
	return WB_OK;
}

static void join_or_run(rig *r)
{
	if (join_take(r, JOIN_EVENTS, true) == WB_EAGAIN)
		rig_run_for(r, 3600 * 1000000LL);
}

static void a_crash_there_counts_when_the_event_comes_again(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	wbi_dead dead;

	a->behave = end_at;
	a->data[0] = 20;
	a->data[1] = 1;
	a->handler.attempts_max = 2;
	a->handler.followers = WB_FOLLOWERS_GO_ON;
	/* In the commit that takes it in: nothing of that is left. */
	assert_int_equal(rig_child(r, join_or_run), 7);
	/* It comes again, by the same id, and that is its second. */
	a->data[1] = 2;
	assert_int_equal(rig_child(r, join_or_run), 7);
	rig_begin_life(r);
	a->data[0] = 0;
	rig_run_for(r, 3600 * 1000000LL);
	assert_int_equal(rig_effect_count(r, a), JOIN_EVENTS - 1);
	assert_int_equal(rig_effects(r, a, 20), 0);
	assert_true(rig_dead(r, 1, &dead));
	assert_int_equal(dead.position, 20);
	assert_int_equal(dead.attempts, 2);
	assert_false(rig_dead(r, 2, &dead));
	rig_end(r);
}

static void behind_a_crash_calls_are_made_apart_for_a_while(void **state)
{
	rig *r = rig_begin(state);
	uint64_t other;
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);

	a->behave = end_at;
	a->data[0] = 20;
	a->data[1] = 1;
	r->options.prefetch = 100;
	assert_int_equal(rig_child(r, join_or_run), 7);
	a->data[0] = 0;
	/* Others come, and not that one. */
	r->random.random.fill(r->random.random.ctx, &other, sizeof(other));
	rig_begin_life(r);
	/* Twice of what the broker can have had on the way. */
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(join_take(r, JOIN_EVENTS, true), WB_EAGAIN);
		rig_run(r);
	}
	assert_int_equal(join_take(r, JOIN_EVENTS, true), WB_OK);
	assert_int_equal(rig_effect_count(r, a), 5 * JOIN_EVENTS);
	assert_int_equal(rig_rows(r, wbi_store_get_tables(r->store)->work), 0);
	rig_end(r);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(taken_in_and_handled_in_one_commit),
		TEST(what_does_not_end_in_its_call_is_in_the_commit_too),
		TEST(a_commit_that_fails_has_handled_nothing),
		TEST(a_call_that_fails_has_its_events_taken_in_without_it),
		TEST(one_that_is_behind_is_waited_for),
		TEST(a_stopped_handler_holds_up_no_other_and_keeps_its_events),
		TEST(one_that_stops_takes_no_part),
		TEST(a_crash_there_counts_when_the_event_comes_again),
		TEST(behind_a_crash_calls_are_made_apart_for_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
