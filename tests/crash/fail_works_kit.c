/* SPDX-License-Identifier: BSD-2-Clause */
/* The test kit, as a service's own test would use it: one that gives up at the
 * first error, and then frees the kit. */
#include <waybill/test.h>

#include "tests/crash/fail_points.h"
#include "tests/support/testing.h"

#define KIT_LATER_US INT64_C(3600000000)

static wb_code bank_pay(wb_call *call, const wb_event *event, wb_error *err)
{
	MDB_dbi *dbi = wb_call_handler(call)->ctx;
	MDB_val k = {event->id.len, (void *)(uintptr_t)event->id.ptr};
	MDB_val v = {4, (void *)(uintptr_t) "paid"};
	wb_event paid = {.type = S("order.paid"), .key = event->key};
	wb_code code;

	if (event->data.len == 0)
		return wb_reject(err, "an order of nothing");
	code = wb_store_error(mdb_put(wb_call_txn(call), *dbi, &k, &v, 0), err,
			      "paid");
	if (code == WB_OK)
		code = wb_timer_set(call, S("remind"),
				    wb_call_now_us(call) + KIT_LATER_US,
				    S("be kind"), err);
	return code == WB_OK ? wb_emit(call, &paid, err) : code;
}

static wb_code bank_remind(wb_call *call, const wb_timer *timer, wb_error *err)
{
	wb_event sent = {.type = S("reminder.sent"), .key = timer->name};

	return wb_emit(call, &sent, err);
}

static wb_code bank_open(const wb_handler *self, wb_store *store, MDB_txn *txn,
			 void **ret_state, wb_error *err)
{
	(void)store;
	*ret_state = NULL;
	return wb_store_error(mdb_dbi_open(txn, "paid", MDB_CREATE, self->ctx),
			      err, "paid");
}

static wb_code kit_given(wb_test *test, wb_error *err)
{
	const wb_event order = {.type = S("order.placed"),
				.id = S("o1"),
				.key = S("k"),
				.data = S("x")};
	const wb_message foreign = {.routing_key = S("order.placed"),
				    .type = S("order.placed"),
				    .message_id = S("o2"),
				    .app_id = S("else")};
	wb_code code = wb_test_given(test, &order, err);

	return code == WB_OK ? wb_test_given_message(test, &foreign, err)
			     : code;
}

static wb_code kit_then(wb_test *test, wb_error *err)
{
	wb_str value;
	wb_code code = wb_test_get(test, "paid", S("o1"), &value, err);

	if (code != WB_OK)
		return code;
	assert_non_null(wb_test_emitted(test, 0));
	assert_non_null(wb_test_timer_at(test, 0));
	assert_null(wb_test_waiting_at(test, 0));
	assert_non_null(wb_test_dead_at(test, 0));
	return wb_test_retry_dead(test, wb_test_dead_at(test, 0)->number, err);
}

static wb_code kit_trouble(wb_test *test, wb_error *err)
{
	const wb_event order = {.type = S("order.placed"), .data = S("x")};
	wb_code code =
		wb_test_trouble_at(test, WB_TEST_CRASH_AFTER_COMMIT, 1, err);

	if (code == WB_OK)
		code = wb_test_given(test, &order, err);
	if (code == WB_OK)
		code = wb_test_run(test, err);
	return code == WB_OK ? wb_test_crash(test, err) : code;
}

static wb_code kit_run(const char *dir, wb_error *err)
{
	static const char *const types[] = {"order.placed", NULL};
	MDB_dbi dbi = 0;
	const wb_handler pay = {.size = sizeof(wb_handler),
				.name = "pay",
				.types = types,
				.handle = bank_pay,
				.timer = bank_remind,
				.open = bank_open,
				.ctx = &dbi};
	const wb_handler *const handlers[] = {&pay};
	wb_test *test = NULL;
	wb_code code = wb_test_new(handlers, 1, NULL, &test, err);

	(void)dir;
	if (code == WB_OK)
		code = kit_given(test, err);
	if (code == WB_OK)
		code = wb_test_run(test, err);
	if (code == WB_OK)
		code = kit_then(test, err);
	if (code == WB_OK)
		code = wb_test_advance(test, 2 * KIT_LATER_US, err);
	if (code == WB_OK)
		code = kit_trouble(test, err);
	if (code == WB_OK)
		code = wb_test_run(test, err);
	wb_test_free(test);
	return code;
}

const fail_work fail_kit = {"kit", NULL, kit_run, NULL};
