/* SPDX-License-Identifier: BSD-2-Clause */
/* The test kit itself, used as a service would use it: a bank that pays what is
 * ordered, asks a slow partner, and reminds. */
#include <stdlib.h>

#include <waybill/test.h>

#include "tests/support/testing.h"

#define DAY_US (INT64_C(24) * 3600 * 1000000)

/* ---- handlers ------------------------------------------------------------ */

typedef struct bank {
	MDB_dbi paid; /* order -> how often */
	int calls;
	int64_t heals_us; /* before this, the partner says try again */
	wb_code ends;     /* how the partner's calls end; WB_OK */
	int64_t fired_us;
} bank;

static wb_code bank_add(MDB_txn *txn, MDB_dbi table, wb_str key, wb_error *err)
{
	MDB_val k = {key.len, (void *)(uintptr_t)key.ptr}, v;
	char text[16] = "1";
	int rc = mdb_get(txn, table, &k, &v);

	if (rc == 0)
		snprintf(text, sizeof(text), "%d", atoi(v.mv_data) + 1);
	v = (MDB_val){strlen(text) + 1, text};
	if (rc == 0 || rc == MDB_NOTFOUND)
		rc = mdb_put(txn, table, &k, &v, 0);
	return wb_store_error(rc, err, "paid");
}

static wb_code bank_pay(wb_call *call, const wb_event *event, wb_error *err)
{
	bank *b = wb_call_state(call);
	wb_event paid = {.type = S("order.paid"), .key = event->key};
	wb_code code;

	b->calls++;
	if (event->data.len == 0)
		return wb_reject(err, "an order of nothing");
	code = bank_add(wb_call_txn(call), b->paid,
			event->key.len ? event->key : event->id, err);
	return code == WB_OK ? wb_emit(call, &paid, err) : code;
}

static wb_code bank_ask(wb_call *call, const wb_event *event, wb_error *err)
{
	bank *b = wb_call_handler(call)->ctx;
	wb_event answer = {.type = S("partner.answered"), .key = event->key};

	b->calls++;
	assert_null(wb_call_txn(call));
	if (wb_call_now_us(call) < b->heals_us)
		return wb_retry(err, "the partner is down");
	if (b->ends == WB_ESTOPPED)
		return wb_stop(err, "the partner is gone");
	return wb_emit(call, &answer, err);
}

static wb_code bank_remember(wb_call *call, const wb_event *event,
			     wb_error *err)
{
	return wb_timer_set(call, event->key, wb_call_now_us(call) + 3 * DAY_US,
			    S("be kind"), err);
}

static wb_code bank_remind(wb_call *call, const wb_timer *timer, wb_error *err)
{
	bank *b = wb_call_handler(call)->ctx;
	wb_event event = {.type = S("reminder.sent"), .key = timer->name};

	assert_true(wb_str_eq(timer->data, S("be kind")));
	b->fired_us = wb_call_now_us(call);
	return wb_emit(call, &event, err);
}

static wb_code bank_open(const wb_handler *self, wb_store *store, MDB_txn *txn,
			 void **ret_state, wb_error *err)
{
	bank *b = self->ctx;

	(void)store;
	*ret_state = b;
	return wb_store_error(mdb_dbi_open(txn, "paid", MDB_CREATE, &b->paid),
			      err, "paid");
}

static const char *const placed[] = {"order.placed", NULL};

typedef struct rig {
	bank bank;
	wb_handler pay, ask, remind;
	const wb_handler *list[3];
	wb_test *test;
	wb_error err;
} rig;

static rig *rig_new(size_t handlers)
{
	rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->pay = (wb_handler){.size = sizeof(wb_handler),
			      .name = "pay",
			      .types = placed,
			      .handle = bank_pay,
			      .open = bank_open,
			      .ctx = &r->bank};
	r->ask = (wb_handler){.size = sizeof(wb_handler),
			      .name = "ask",
			      .types = placed,
			      .kind = WB_EXTERNAL,
			      .attempts_max = 100000,
			      .handle = bank_ask,
			      .ctx = &r->bank};
	r->remind = (wb_handler){.size = sizeof(wb_handler),
				 .name = "remind",
				 .types = placed,
				 .handle = bank_remember,
				 .timer = bank_remind,
				 .ctx = &r->bank};
	r->list[0] = &r->pay;
	r->list[1] = &r->ask;
	r->list[2] = &r->remind;
	assert_ok(wb_test_new(r->list, handlers, NULL, &r->test, &r->err),
		  r->err);
	return r;
}

static rig *rig_of(const wb_handler *(*choose)(rig *))
{
	rig *r = rig_new(1);

	wb_test_free(r->test);
	r->list[0] = choose(r);
	assert_ok(wb_test_new(r->list, 1, NULL, &r->test, &r->err), r->err);
	return r;
}

static void rig_free(rig *r)
{
	wb_test_free(r->test);
	free(r);
}

static const wb_handler *rig_ask(rig *r)
{
	return &r->ask;
}

static const wb_handler *rig_remind(rig *r)
{
	return &r->remind;
}

static void rig_given(rig *r, const char *id, const char *key)
{
	wb_event event = {.id = wb_str_from(id),
			  .type = S("order.placed"),
			  .key = wb_str_from(key),
			  .data = S("12.50")};

	assert_ok(wb_test_given(r->test, &event, &r->err), r->err);
}

static void rig_run(rig *r)
{
	assert_ok(wb_test_run(r->test, &r->err), r->err);
}

static int rig_paid(rig *r, const char *key)
{
	wb_str value;
	wb_code code = wb_test_get(r->test, "paid", wb_str_from(key), &value,
				   &r->err);

	if (code == WB_ENOTFOUND)
		return 0;
	assert_ok(code, r->err);
	return atoi(value.ptr);
}

static size_t rig_emitted(rig *r)
{
	size_t count = 0;

	while (wb_test_emitted(r->test, count))
		count++;
	return count;
}

/* ---- tests --------------------------------------------------------------- */

static void a_given_event_is_handled_and_tells_of_it(void **state)
{
	rig *r = rig_new(1);
	const wb_event *e;

	(void)state;
	rig_given(r, "o1", "order/1");
	rig_given(r, "o2", "order/2");
	rig_run(r);
	assert_int_equal(rig_paid(r, "order/1"), 1);
	assert_int_equal(rig_paid(r, "order/2"), 1);
	assert_int_equal(rig_paid(r, "order/3"), 0);
	assert_int_equal(rig_emitted(r), 2);
	e = wb_test_emitted(r->test, 0);
	assert_true(wb_str_eq(e->type, S("order.paid")));
	assert_true(wb_str_eq(e->causation_id, S("o1")));
	assert_true(wb_str_eq(e->source, S("/test")));
	assert_int_equal(wb_test_stat(r->test).handled, 2);
	rig_free(r);
}

static void an_event_that_comes_again_is_handled_once(void **state)
{
	rig *r = rig_new(1);

	(void)state;
	wb_memory_duplicate_next(wb_test_broker(r->test), 1);
	rig_given(r, "o1", "order/1");
	rig_run(r);
	rig_given(r, "o1", "order/1");
	rig_run(r);
	assert_int_equal(rig_paid(r, "order/1"), 1);
	assert_int_equal(rig_emitted(r), 1);
	assert_int_equal(wb_test_stat(r->test).duplicates, 2);
	rig_free(r);
}

static void a_type_that_nobody_takes_is_said(void **state)
{
	wb_event event = {.type = S("order.plaecd")};
	rig *r = rig_new(1);

	(void)state;
	assert_code(wb_test_given(r->test, &event, &r->err), WB_ENOTFOUND,
		    r->err);
	event.type = WB_STR_NULL;
	assert_code(wb_test_given(r->test, &event, &r->err), WB_EINVAL, r->err);
	rig_free(r);
}

static void a_rejected_event_is_a_dead_letter_until_it_is_retried(void **state)
{
	wb_event event = {.type = S("order.placed"), .key = S("order/1")};
	const wb_test_dead *dead;
	rig *r = rig_new(1);

	(void)state;
	assert_ok(wb_test_given(r->test, &event, &r->err), r->err);
	rig_run(r);
	dead = wb_test_dead_at(r->test, 0);
	assert_non_null(dead);
	assert_string_equal(dead->handler, "pay");
	assert_string_equal(dead->reason, "rejected");
	assert_string_equal(dead->text, "an order of nothing");
	assert_true(wb_str_eq(dead->event.key, S("order/1")));
	assert_int_equal(dead->attempts, 1);
	assert_null(wb_test_dead_at(r->test, 1));
	assert_int_equal(r->bank.calls, 1);
	assert_ok(wb_test_retry_dead(r->test, dead->number, &r->err), r->err);
	rig_run(r);
	assert_int_equal(r->bank.calls, 2);
	assert_non_null(wb_test_dead_at(r->test, 0));
	assert_code(wb_test_retry_dead(r->test, 99, &r->err), WB_ENOTFOUND,
		    r->err);
	rig_free(r);
}

static void thirty_days_of_retries_take_no_time(void **state)
{
	rig *r = rig_of(rig_ask);
	const wb_test_waiting *w;
	int64_t start = wb_test_now_us(r->test);

	(void)state;
	r->bank.heals_us = start + 30 * DAY_US;
	rig_given(r, "o1", "order/1");
	rig_given(r, "o2", "order/1");
	rig_run(r);
	w = wb_test_waiting_at(r->test, 0);
	assert_non_null(w);
	assert_string_equal(w->handler, "ask");
	assert_int_equal(w->attempts, 1);
	assert_string_equal(w->text, "the partner is down");
	assert_true(w->due_us > start);
	assert_true(wb_str_eq(w->event.id, S("o1")));
	w = wb_test_waiting_at(r->test, 1);
	assert_true(w && w->queued && wb_str_eq(w->event.id, S("o2")));
	assert_ok(wb_test_advance(r->test, 29 * DAY_US, &r->err), r->err);
	assert_int_equal(rig_emitted(r), 0);
	assert_in_range(wb_test_waiting_at(r->test, 0)->attempts, 8000, 20000);
	assert_ok(wb_test_advance(r->test, 2 * DAY_US, &r->err), r->err);
	assert_int_equal(rig_emitted(r), 2);
	assert_null(wb_test_waiting_at(r->test, 0));
	assert_null(wb_test_dead_at(r->test, 0));
	rig_free(r);
}

static void a_timer_is_listed_and_fires_at_its_time(void **state)
{
	rig *r = rig_of(rig_remind);
	const wb_test_timer *t;
	int64_t due;

	(void)state;
	rig_given(r, "o1", "order/1");
	rig_run(r);
	t = wb_test_timer_at(r->test, 0);
	assert_non_null(t);
	assert_string_equal(t->handler, "remind");
	assert_true(wb_str_eq(t->timer.name, S("order/1")));
	assert_true(wb_str_eq(t->timer.data, S("be kind")));
	due = t->timer.due_us;
	assert_ok(wb_test_advance(r->test, 2 * DAY_US, &r->err), r->err);
	assert_int_equal(r->bank.fired_us, 0);
	assert_ok(wb_test_advance(r->test, 2 * DAY_US, &r->err), r->err);
	assert_int_equal(r->bank.fired_us, due);
	assert_null(wb_test_timer_at(r->test, 0));
	assert_int_equal(rig_emitted(r), 1);
	rig_free(r);
}

/* The idiom for every handler: die at each commit there is, both sides of it,
 * and have one effect. */
static void a_crash_at_every_commit_leaves_one_effect(void **state)
{
	uint32_t nth = 1;
	bool came = true;

	(void)state;
	for (; came; nth++) {
		for (int i = WB_TEST_CRASH_BEFORE_COMMIT;
		     i <= WB_TEST_DISK_FULL; i++) {
			rig *r = rig_new(3);

			assert_ok(wb_test_trouble_at(r->test,
						     (wb_test_trouble)i, nth,
						     &r->err),
				  r->err);
			rig_given(r, "o1", "order/1");
			assert_ok(wb_test_advance(r->test, 5 * DAY_US, &r->err),
				  r->err);
			assert_int_equal(rig_paid(r, "order/1"), 1);
			assert_true(r->bank.fired_us > 0);
			assert_int_equal(rig_emitted(r), 3);
			assert_null(wb_test_dead_at(r->test, 0));
			assert_null(wb_test_waiting_at(r->test, 0));
			came = wb_test_trouble_came(r->test);
			rig_free(r);
		}
	}
	assert_true(nth > 4);
}

static void a_crash_between_steps_loses_nothing(void **state)
{
	rig *r = rig_new(1);

	(void)state;
	rig_given(r, "o1", "order/1");
	assert_ok(wb_test_crash(r->test, &r->err), r->err);
	rig_run(r);
	assert_ok(wb_test_crash(r->test, &r->err), r->err);
	rig_given(r, "o2", "order/2");
	rig_run(r);
	assert_int_equal(rig_paid(r, "order/1"), 1);
	assert_int_equal(rig_paid(r, "order/2"), 1);
	assert_int_equal(rig_emitted(r), 2);
	rig_free(r);
}

static void a_message_that_is_no_event_is_set_aside(void **state)
{
	wb_message m = {.routing_key = S("order.placed"), .body = S("hello")};
	const wb_test_dead *dead;
	rig *r = rig_new(1);

	(void)state;
	assert_ok(wb_test_given_message(r->test, &m, &r->err), r->err);
	m.message_id = S("bare");
	m.app_id = S("old-system");
	assert_ok(wb_test_given_message(r->test, &m, &r->err), r->err);
	rig_run(r);
	dead = wb_test_dead_at(r->test, 0);
	assert_non_null(dead);
	assert_string_equal(dead->handler, "");
	assert_string_equal(dead->reason, "malformed");
	assert_int_equal(r->bank.calls, 1);
	assert_int_equal(rig_paid(r, "bare"), 1);
	assert_int_equal(wb_test_stat(r->test).refused, 1);
	rig_free(r);
}

static void a_handler_that_stops_says_why(void **state)
{
	rig *r = rig_of(rig_ask);

	(void)state;
	assert_null(wb_test_stopped(r->test, "ask"));
	r->bank.ends = WB_ESTOPPED;
	rig_given(r, "o1", "order/1");
	rig_run(r);
	assert_non_null(wb_test_stopped(r->test, "ask"));
	assert_non_null(strstr(wb_test_stopped(r->test, "ask"),
			       "the partner is gone"));
	r->bank.ends = WB_OK;
	assert_ok(wb_test_crash(r->test, &r->err), r->err);
	rig_run(r);
	assert_null(wb_test_stopped(r->test, "ask"));
	assert_int_equal(rig_emitted(r), 1);
	rig_free(r);
}

static void what_does_not_come_to_rest_is_said(void **state)
{
	rig *r = rig_new(1);

	(void)state;
	wb_memory_block(wb_test_broker(r->test), true);
	rig_given(r, "o1", "order/1");
	assert_int_equal(wb_test_run(r->test, &r->err), WB_ETIMEOUT);
	assert_non_null(strstr(r->err.text, "not at rest"));
	wb_error_clear(&r->err);
	wb_memory_block(wb_test_broker(r->test), false);
	rig_run(r);
	assert_int_equal(rig_emitted(r), 1);
	rig_free(r);
}

static void a_broker_that_goes_and_comes_costs_nothing(void **state)
{
	wb_memory_cut_options cut = WB_MEMORY_CUT_INIT;
	rig *r = rig_new(1);

	(void)state;
	rig_given(r, "o1", "order/1");
	assert_ok(wb_memory_cut(wb_test_broker(r->test), &cut, &r->err),
		  r->err);
	wb_memory_refuse_next(wb_test_broker(r->test), 5);
	rig_run(r);
	assert_int_equal(rig_paid(r, "order/1"), 1);
	assert_int_equal(rig_emitted(r), 1);
	rig_free(r);
}

static void a_seed_repeats_itself(void **state)
{
	char ids[2][64];

	(void)state;
	for (int i = 0; i < 2; i++) {
		rig *r = rig_new(1);
		const wb_event *e;

		rig_given(r, "", "order/1");
		rig_run(r);
		e = wb_test_emitted(r->test, 0);
		snprintf(ids[i], sizeof(ids[i]), "%.*s", (int)e->id.len,
			 e->id.ptr);
		rig_free(r);
	}
	assert_string_equal(ids[0], ids[1]);
}

static void what_handlers_declare_wrongly_is_said(void **state)
{
	wb_handler twice = {.size = sizeof(wb_handler),
			    .name = "pay",
			    .types = placed,
			    .handle = bank_pay};
	const wb_handler *list[] = {&twice, &twice};
	wb_error err = WB_ERROR_INIT;
	wb_test *test = NULL;

	(void)state;
	assert_code(wb_test_new(list, 2, NULL, &test, &err), WB_EINVAL, err);
	assert_null(test);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_given_event_is_handled_and_tells_of_it),
		cmocka_unit_test(an_event_that_comes_again_is_handled_once),
		cmocka_unit_test(a_type_that_nobody_takes_is_said),
		cmocka_unit_test(
			a_rejected_event_is_a_dead_letter_until_it_is_retried),
		cmocka_unit_test(thirty_days_of_retries_take_no_time),
		cmocka_unit_test(a_timer_is_listed_and_fires_at_its_time),
		cmocka_unit_test(a_crash_at_every_commit_leaves_one_effect),
		cmocka_unit_test(a_crash_between_steps_loses_nothing),
		cmocka_unit_test(a_message_that_is_no_event_is_set_aside),
		cmocka_unit_test(a_handler_that_stops_says_why),
		cmocka_unit_test(what_does_not_come_to_rest_is_said),
		cmocka_unit_test(a_broker_that_goes_and_comes_costs_nothing),
		cmocka_unit_test(a_seed_repeats_itself),
		cmocka_unit_test(what_handlers_declare_wrongly_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
