/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes that die in a call, before a commit and behind one: what they leave
 * is charged to the event that was called, and to no other.
 */
#include "tests/inbox/dispatch_rig.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "inbox/work.h"
#include "tests/kit/commits.h"
#include "tests/support/testing.h"

enum { CHILD_IN_COMMIT = 8, CHILD_OTHER_ATTEMPT = 9, CHILD_LIVES_MAX = 60 };

static void run_an_hour(rig *r)
{
	rig_run_for(r, 3600 * 1000000LL);
}

/* data[0]: the position that crashes; data[1]: how it is marked. */
static wb_code crash_at(rig_probe *p, wb_call *call, const wb_event *event,
			wb_error *err)
{
	(void)event;
	(void)err;
	if (wb_call_position(call) == (uint64_t)p->data[0]) {
		if (p->data[1] != WBI_CALL_UNKNOWN)
			wbi_calls_mark(p->rig->calls, 0,
				       (wbi_call_end)p->data[1]);
		_exit(7);
	}
	if (wb_call_attempt(call) != 1)
		_exit(CHILD_OTHER_ATTEMPT);
	return WB_OK;
}

static void check_one_of_250(void **state, wbi_call_end end, uint8_t reason)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	unsigned crashes = 0;
	wbi_dead dead;
	int rc;

	a->behave = crash_at;
	a->data[0] = 100;
	a->data[1] = (int)end;
	a->handler.attempts_max = 3;
	rig_append_many(r, 250, 250);
	while ((rc = rig_child(r, run_an_hour)) != 0) {
		assert_int_equal(rc, 7);
		crashes++;
		assert_true(crashes <= 3);
	}
	assert_int_equal(crashes, 3);
	rig_begin_life(r);
	assert_int_equal(rig_effect_count(r, a), 249);
	assert_int_equal(rig_effects(r, a, 100), 0);
	assert_int_equal(rig_consumer(r, "a").handled, 249);
	assert_int_equal(rig_consumer(r, "a").dead, 1);
	assert_true(rig_dead(r, 1, &dead));
	assert_int_equal(dead.position, 100);
	assert_int_equal(dead.reason, reason);
	assert_int_equal(dead.attempts, 3);
	rig_end(r);
}

static void of_250_one_that_crashes_costs_only_itself(void **state)
{
	check_one_of_250(state, WBI_CALL_CRASHED, WBI_DEAD_CRASHED);
}

static void of_250_one_that_hangs_costs_only_itself(void **state)
{
	check_one_of_250(state, WBI_CALL_HUNG, WBI_DEAD_HUNG);
}

static void one_that_ends_its_process_costs_only_itself(void **state)
{
	check_one_of_250(state, WBI_CALL_UNKNOWN, WBI_DEAD_CRASHED);
}

static void a_single_attempt_may_be_the_last(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	wbi_dead dead;

	a->behave = crash_at;
	a->data[0] = 2;
	a->handler.attempts_max = 1;
	rig_append_many(r, 4, 2); /* 2 and 4 are of one key */
	assert_int_equal(rig_child(r, run_an_hour), 7);
	assert_int_equal(rig_child(r, run_an_hour), 0);
	rig_begin_life(r);
	assert_true(rig_dead(r, 1, &dead));
	assert_int_equal(dead.attempts, 1);
	assert_int_equal(rig_effect_count(r, a), 2);
	assert_int_equal(rig_consumer(r, "a").waiting, 2); /* it, and 4 */
	rig_end(r);
}

/* The page says the same again to the next process. */
static void dying_before_the_page_is_clear_keeps_the_dead_letter(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	const wbi_work_id id = {S("a"), WBI_LANE_KEYED, S("k1"), 2};
	wbi_dead dead;

	a->behave = crash_at;
	a->data[0] = 2;
	a->handler.attempts_max = 1;
	rig_append_many(r, 4, 2);
	assert_int_equal(rig_child(r, run_an_hour), 7);
	assert_int_equal(rig_child(r, run_an_hour), 0);
	for (int i = 0; i < 2; i++) {
		rig_begin_life(r);
		assert_true(rig_dead(r, 1, &dead));
		assert_int_equal(dead.attempts, 1);
		assert_false(rig_dead(r, 2, &dead));
		assert_int_equal(rig_consumer(r, "a").waiting, 2);
		wbi_calls_enter(r->calls, 0, &id, true, 1000,
				r->clock.mono_us);
		rig_end_life(r);
	}
	rig_begin_life(r);
	assert_true(rig_dead(r, 1, &dead));
	rig_end(r);
}

static kit_commit_fate die_in_commit(void *ctx, MDB_env *env)
{
	int *left = ctx;

	(void)env;
	if (--*left == 0)
		_exit(CHILD_IN_COMMIT);
	return (kit_commit_fate){.durable = true};
}

/* Whoever is to count an attempt may die before that is durable: then the next
 * one does, and the event is not called meanwhile. */
static void dying_before_the_attempt_is_counted_leaves_it_to_the_next(
	void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	int rc = CHILD_IN_COMMIT;
	wbi_dead dead;

	a->behave = crash_at;
	a->data[0] = 2;
	a->handler.attempts_max = 1;
	rig_append_many(r, 4, 2);
	assert_int_equal(rig_child(r, run_an_hour), 7);
	for (int commit = 1; rc == CHILD_IN_COMMIT; commit++) {
		int left = commit;

		kit_commits_judge(die_in_commit, &left);
		rc = rig_child(r, run_an_hour);
		kit_commits_judge(NULL, NULL);
		assert_in_range(commit, 1, CHILD_LIVES_MAX);
	}
	assert_int_equal(rc, 0); /* and never the 7 of another call */
	rig_begin_life(r);
	assert_true(rig_dead(r, 1, &dead));
	assert_int_equal(dead.attempts, 1);
	assert_false(rig_dead(r, 2, &dead));
	assert_int_equal(rig_effects(r, a, 2), 0);
	rig_end(r);
}

/* ---- killed anywhere ----------------------------------------------------- */

/* Emits, then fails each third position twice; dies at the data[0]-th call. */
static wb_code die_at_call(rig_probe *p, wb_call *call, const wb_event *event,
			   wb_error *err)
{
	wb_event out = {.type = S("done"), .key = event->key};

	if (p->data[0] > 0 && p->calls == (unsigned)p->data[0])
		_exit(7);
	assert_ok(wb_emit(call, &out, err), *err);
	if (wb_call_position(call) % 3 == 0 && wb_call_attempt(call) < 3)
		return wb_retry(err, "not now");
	return WB_OK;
}

static void die_at_step(rig *r)
{
	for (int i = 0; i < r->probes[0]->data[1]; i++) {
		fake_clock_advance_us(&r->clock, 400000);
		rig_step(r);
	}
	_exit(7);
}

static void check_done(rig *r, rig_probe *a, unsigned count)
{
	wbi_store_tables tables;

	a->data[0] = 0;
	rig_begin_life(r);
	tables = *wbi_store_get_tables(r->store);
	run_an_hour(r);
	assert_int_equal(rig_effect_count(r, a), count);
	assert_int_equal(rig_outbox(r, NULL), count);
	assert_int_equal(rig_consumer(r, "a").emitted, count);
	assert_int_equal(rig_consumer(r, "a").dead, 0);
	assert_int_equal(rig_consumer(r, "a").waiting, 0);
	assert_int_equal(rig_rows(r, tables.work), 0);
	assert_int_equal(rig_rows(r, tables.due), 0);
}

static void killed_in_any_call_effects_and_emits_come_once(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);

	a->behave = die_at_call;
	a->handler.attempts_max = 1000;
	r->options.batch_max = 10;
	rig_append_many(r, 60, 5);
	for (int life = 1; life <= CHILD_LIVES_MAX; life++) {
		int rc;

		a->data[0] = life;
		rc = rig_child(r, run_an_hour);
		if (rc == 0)
			break;
		assert_int_equal(rc, 7);
	}
	check_done(r, a, 60);
	rig_end(r);
}

static void killed_behind_any_commit_effects_and_emits_come_once(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);

	a->behave = die_at_call;
	r->options.batch_max = 10;
	rig_append_many(r, 60, 5);
	for (int steps = 0; steps < 20; steps++) {
		a->data[1] = steps % 4;
		assert_int_equal(rig_child(r, die_at_step), 7);
	}
	check_done(r, a, 60);
	rig_end(r);
}

/* ---- external calls ------------------------------------------------------ */

static void of_external_calls_the_one_that_was_made_is_charged(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_EXTERNAL);
	unsigned crashes = 0;
	wbi_dead dead;
	int rc;

	a->behave = crash_at;
	a->data[0] = 5;
	a->handler.attempts_max = 2;
	rig_append_many(r, 12, 12); /* all are begun at once */
	while ((rc = rig_child(r, run_an_hour)) != 0) {
		assert_int_equal(rc, 7);
		crashes++;
		assert_true(crashes <= 2);
	}
	rig_begin_life(r);
	assert_true(rig_dead(r, 1, &dead));
	assert_int_equal(dead.position, 5);
	assert_int_equal(dead.attempts, 2);
	assert_int_equal(dead.reason, WBI_DEAD_CRASHED);
	assert_int_equal(rig_consumer(r, "a").handled, 11);
	rig_end(r);
}

typedef struct crowd {
	pthread_mutex_t lock;
	pthread_cond_t more;
	unsigned in;   /* calls in progress */
	unsigned most; /* there ever were */
	unsigned want; /* before anything dies */
} crowd;

static crowd together = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0,
			 0, 0};

/* Position 1 ends the process when `want` calls are in progress; the others
 * wait for that. */
static wb_code crowd_call(wb_call *call, const wb_event *event, wb_error *err)
{
	crowd *c = &together;

	(void)event;
	(void)err;
	pthread_mutex_lock(&c->lock);
	c->in++;
	c->most = c->in > c->most ? c->in : c->most;
	pthread_cond_broadcast(&c->more);
	while (c->want > 0 && c->in < c->want)
		pthread_cond_wait(&c->more, &c->lock);
	if (c->want == 1) { /* whoever is beside it is seen to be */
		pthread_mutex_unlock(&c->lock);
		usleep(wb_call_position(call) == 1 ? 20000 : 40000);
		pthread_mutex_lock(&c->lock);
	}
	if (c->want > 0 && wb_call_position(call) == 1)
		_exit(7);
	if (c->want > 1)
		pthread_cond_wait(&c->more, &c->lock); /* for the end */
	if (wb_call_attempt(call) != 1)
		_exit(CHILD_OTHER_ATTEMPT);
	c->in--;
	pthread_mutex_unlock(&c->lock);
	return WB_OK;
}

static void run_on_threads(rig *r)
{
	for (;;) {
		wbi_dispatch_stat stat;

		rig_step(r);
		stat = wbi_dispatch_get_stat(r->dispatch);
		if (stat.idle)
			break;
		usleep(200);
	}
	if (together.most > 1)
		_exit(CHILD_OTHER_ATTEMPT + 1);
}

static void of_several_in_progress_none_is_charged(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_EXTERNAL);
	wbi_dead dead;

	a->handler.handle = crowd_call;
	a->handler.attempts_max = 1;
	r->options.clock = NULL;
	r->options.threads = 4;
	rig_append_many(r, 4, 4);
	together.want = 4;
	assert_int_equal(rig_child(r, run_on_threads), 7);
	together.want = 1; /* it dies alone now */
	assert_int_equal(rig_child(r, run_on_threads), 7);
	together.want = 0;
	assert_int_equal(rig_child(r, run_on_threads), 0);
	rig_begin_life(r);
	assert_true(rig_dead(r, 1, &dead));
	assert_int_equal(dead.position, 1);
	assert_int_equal(rig_consumer(r, "a").handled, 3);
	assert_int_equal(rig_consumer(r, "a").dead, 1);
	rig_end(r);
}

static wb_code fail_twice(rig_probe *p, wb_call *call, const wb_event *event,
			  wb_error *err)
{
	(void)p;
	(void)event;
	return wb_call_attempt(call) < 3 ? wb_retry(err, "later") : WB_OK;
}

static void note(rig *r, unsigned slot, wb_str consumer, bool due,
		 uint64_t position)
{
	const wbi_work_id id = {consumer,
				due ? WBI_LANE_KEYED : WBI_LANE_UNKEYED,
				due ? S("k0") : S(""), position};

	wbi_calls_enter(r->calls, slot, &id, due, 1000, 1);
	wbi_calls_mark(r->calls, slot, WBI_CALL_CRASHED);
}

/* Calls that were committed after all, and those of handlers that are not there
 * any more, blame nobody; a row that waits for its handler counts it. */
static void what_nobody_can_be_blamed_for_is_passed_over(void **state)
{
	rig *r = rig_begin(state);
	rig_probe *a = rig_add(r, "a", WB_TRANSACTIONAL);
	rig_probe *b = rig_add(r, "b", WB_TRANSACTIONAL);

	b->behave = fail_twice;
	rig_append_many(r, 2, 1);
	rig_open(r);
	rig_run(r);
	rig_end_life(r);
	r->probe_count = 1; /* without b */
	r->store = test_store_open(r->dir);
	assert_ok(wbi_calls_open(r->dir, &r->calls, &r->err), r->err);
	note(r, 0, S("gone"), false, 1);
	note(r, 1, S("a"), false, 1); /* its cursor is past that */
	note(r, 2, S("b"), true, 1);
	note(r, 3, S("a"), true, 1); /* there is no such row */
	note(r, 4, S("gone"), false, 99); /* was not taken in */
	rig_open(r);
	rig_run_for(r, 60 * 1000000LL);
	assert_int_equal(rig_effect_count(r, a), 2);
	assert_false(rig_dead(r, 1, &(wbi_dead){0}));
	assert_int_equal(rig_consumer(r, "b").waiting, 2);
	/* Of three attempts the crash was the second. */
	rig_end_life(r);
	r->probe_count = 2;
	rig_begin_life(r);
	rig_run_for(r, 3600 * 1000000LL);
	assert_int_equal(rig_effect_count(r, b), 2);
	assert_int_equal(rig_consumer(r, "b").dead, 0);
	rig_end(r);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(of_250_one_that_crashes_costs_only_itself),
		TEST(of_250_one_that_hangs_costs_only_itself),
		TEST(one_that_ends_its_process_costs_only_itself),
		TEST(a_single_attempt_may_be_the_last),
		TEST(killed_in_any_call_effects_and_emits_come_once),
		TEST(killed_behind_any_commit_effects_and_emits_come_once),
		TEST(dying_before_the_page_is_clear_keeps_the_dead_letter),
		TEST(dying_before_the_attempt_is_counted_leaves_it_to_the_next),
		TEST(of_external_calls_the_one_that_was_made_is_charged),
		TEST(of_several_in_progress_none_is_charged),
		TEST(what_nobody_can_be_blamed_for_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
