/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Three services of one flow, each with its own store and worker, on a memory
 * broker: a slot is booked, billed and reserved. What comes out is counted,
 * whatever comes twice, late, or not at all.
 */
#include "tests/support/testing.h"

#include <stdlib.h>

#include <waybill/choreography.h>
#include <waybill/saga.h>
#include <waybill/worker.h>

#include "inbox/timer.h"
#include "lib/journal/saga_rows.h"
#include "tests/saga/services.h"
#include "tests/support/place.h"

enum { BOOKING, BILLING, PARKING, SERVICES };

static const wb_reaction rows[] = {
	{"booking", "create", NULL, "booking.created",
	 .awaits = "parking.reserved|parking.unavailable|bill.expired",
	 .within_ms = 90000000},
	{"billing", "bill", "booking.created", "bill.paid", .later = true,
	 .within_ms = 86400000, .silence = "bill.expired"},
	{"parking", "reserve", "bill.paid", "parking.reserved",
	 .refuses = "parking.unavailable"},
	{"booking", "finish", .on = "parking.reserved"},
	{"booking", "fail", .on = "parking.unavailable", .undoes = "create"},
	{"billing", "refund", .on = "parking.unavailable", .undoes = "bill"},
	{"booking", "lapse", .on = "bill.expired", .undoes = "create"},
};

static const wb_flow flow = {sizeof(flow), "parking", rows,
			     sizeof(rows) / sizeof(rows[0]), 0};

/* ---- what the services do: a row per saga, or per slot ------------------- */

static wb_code set(wb_call *call, const char *text, wb_error *err)
{
	return state_put(wb_call_txn(call), state_of(call), wb_flow_saga(call),
			 text, err);
}

static wb_code on_bill(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_code code = wb_flow_pending(call, err);

	(void)event;
	return code == WB_OK ? set(call, "pending", err) : code;
}

static wb_code on_bill_expire(wb_call *call, const wb_event *event,
			      wb_error *err)
{
	assert_null(event);
	assert_int_equal(wb_flow_undoing(call), WB_STEP_PENDING);
	return set(call, "expired", err);
}

static wb_code on_refund(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)event;
	assert_int_equal(wb_flow_undoing(call), WB_STEP_DONE);
	assert_true(wb_str_eq(wb_flow_kept(call), S("100.00")));
	return set(call, "refunded", err);
}

/* The slot is in the saga's id before the colon. */
static wb_code on_reserve(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_event reserved = {.type = S("parking.reserved")};
	wb_str slot = wb_flow_saga(call);

	(void)event;
	slot.len = (size_t)((const char *)memchr(slot.ptr, ':', slot.len) -
			    slot.ptr);
	/* Written before it refuses, to see that it is taken back. */
	if (set(call, "tried", err) != WB_OK)
		return err->code;
	if (!state_is(wb_call_txn(call), state_of(call), slot, ""))
		return wb_reject(err, "slot %.*s is taken", (int)slot.len,
				 slot.ptr);
	if (state_put(wb_call_txn(call), state_of(call), slot, "reserved",
		      err) != WB_OK)
		return err->code;
	return wb_flow_emit(call, &reserved, err);
}

static wb_code on_finish(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)event;
	return set(call, "done", err);
}

static wb_code on_fail(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)event;
	return set(call, "failed", err);
}

static const wb_flow_binding booking_bindings[] = {{"finish", on_finish, NULL},
						   {"fail", on_fail, NULL},
						   {"lapse", on_fail, NULL}};
static const wb_flow_binding billing_bindings[] = {
	{"bill", on_bill, on_bill_expire}, {"refund", on_refund, NULL}};
static const wb_flow_binding parking_bindings[] = {
	{"reserve", on_reserve, NULL}};

static const wb_flow_part parts[SERVICES] = {
	{sizeof(wb_flow_part), &flow, "booking", booking_bindings, 3,
	 state_open, free, NULL},
	{sizeof(wb_flow_part), &flow, "billing", billing_bindings, 2,
	 state_open, free, NULL},
	{sizeof(wb_flow_part), &flow, "parking", parking_bindings, 1,
	 state_open, free, NULL}};

/* ---- the rig ------------------------------------------------------- */

static void part_open(service *s)
{
	wb_error err = WB_ERROR_INIT;
	wb_choreography *c = NULL;

	for (int i = 0; i < SERVICES; i++)
		if (!strcmp(parts[i].service, s->kind->name))
			assert_ok(wb_choreography_open(s->store, &parts[i], &c,
						       &err),
				  err);
	s->part = c;
	s->handlers[0] = wb_choreography_handler(c);
	s->handler_count = 1;
}

static void part_close(service *s)
{
	wb_choreography_close(s->part);
}

static const service_kind kinds[SERVICES] = {
	{"booking", part_open, part_close},
	{"billing", part_open, part_close},
	{"parking", part_open, part_close}};

static void book(services *r, const char *saga)
{
	service *s = &r->all[BOOKING];
	wb_event created = {.type = S("booking.created")};
	wb_error err = WB_ERROR_INIT;
	MDB_dbi state;
	MDB_txn *txn = service_begin(s, &state);

	assert_ok(state_put(txn, state, wb_str_from(saga), "pending", &err),
		  err);
	assert_ok(wb_flow_begin(s->part, txn, "create", wb_str_from(saga),
				&created, WB_STR_NULL, &err),
		  err);
	assert_ok(wb_store_commit(s->store, txn, &err), err);
}

static wb_code pay(services *r, const char *saga)
{
	service *s = &r->all[BILLING];
	wb_event paid = {.type = S("bill.paid")};
	wb_error err = WB_ERROR_INIT;
	MDB_dbi state;
	MDB_txn *txn = service_begin(s, &state);
	wb_code code = wb_flow_complete(s->part, txn, "bill", wb_str_from(saga),
					&paid, S("100.00"), &err);

	if (code == WB_OK)
		assert_ok(
			state_put(txn, state, wb_str_from(saga), "paid", &err),
			err);
	assert_ok(wb_store_commit(s->store, txn, &err), err);
	return code;
}

/* Of the service's own row of the saga. */
static void assert_status(services *r, int service_at, const char *saga,
			  uint8_t status)
{
	service *s = &r->all[service_at];
	wbi_saga_id id = {WBI_SAGA_FLOW, wb_str_from(saga), S("parking")};
	wbi_saga_row row;
	MDB_txn *txn = service_saga(s, &id, &row);

	assert_int_equal(row.status, status);
	wb_store_abort(txn);
}

static services *rig_of(void **state, uint64_t seed)
{
	static services r;
	test_place *place = *state;

	services_init(&r, place->dir, seed, kinds, SERVICES, NULL);
	return &r;
}

/* ---- tests --------------------------------------------------------- */

static void a_booking_is_billed_reserved_and_done(void **state)
{
	services *r = rig_of(state, 1);

	services_rest(r);
	book(r, "a:1");
	services_rest(r);
	assert_state(&r->all[BILLING], "a:1", "pending");
	assert_status(r, BOOKING, "a:1", WB_SAGA_RUNNING);
	assert_int_equal(pay(r, "a:1"), WB_OK);
	assert_int_equal(pay(r, "a:1"), WB_ESTATE);
	services_rest(r);
	assert_state(&r->all[BOOKING], "a:1", "done");
	assert_state(&r->all[PARKING], "a", "reserved");
	assert_status(r, BOOKING, "a:1", WB_SAGA_COMPLETED);
	assert_status(r, BILLING, "a:1", WB_SAGA_COMPLETED);
	assert_status(r, PARKING, "a:1", WB_SAGA_COMPLETED);
	services_fini(r);
}

static void of_two_bookings_of_a_slot_one_wins_and_one_is_refunded(void **state)
{
	services *r = rig_of(state, 2);

	services_rest(r);
	book(r, "a:1");
	book(r, "a:2");
	services_rest(r);
	assert_int_equal(pay(r, "a:1"), WB_OK);
	assert_int_equal(pay(r, "a:2"), WB_OK);
	services_rest(r);
	assert_state(&r->all[BOOKING], "a:1", "done");
	assert_state(&r->all[BILLING], "a:1", "paid");
	assert_state(&r->all[BOOKING], "a:2", "failed");
	assert_state(&r->all[BILLING], "a:2", "refunded");
	/* What the refusing call wrote was taken back. */
	assert_state(&r->all[PARKING], "a:2", "");
	assert_status(r, BILLING, "a:2", WB_SAGA_COMPENSATED);
	assert_status(r, PARKING, "a:2", WB_SAGA_COMPLETED);
	services_fini(r);
}

static void a_bill_that_nobody_pays_lapses(void **state)
{
	services *r = rig_of(state, 3);

	services_rest(r);
	book(r, "a:1");
	services_rest(r);
	fake_clock_advance_us(&r->clock, INT64_C(86401) * 1000000);
	services_rest(r);
	assert_state(&r->all[BILLING], "a:1", "expired");
	assert_state(&r->all[BOOKING], "a:1", "failed");
	assert_int_equal(pay(r, "a:1"), WB_ESTATE);
	assert_status(r, BOOKING, "a:1", WB_SAGA_COMPENSATED);
	services_fini(r);
}

static void a_silent_choreography_is_seen(void **state)
{
	services *r = rig_of(state, 4);
	wbi_saga_id id = {WBI_SAGA_FLOW, S("a:1"), S("parking")};
	service *s = &r->all[BOOKING];
	wb_error err = WB_ERROR_INIT;
	wbi_saga_row row;
	MDB_txn *txn;

	services_rest(r);
	service_kill(&r->all[BILLING]);
	book(r, "a:1");
	fake_clock_advance_us(&r->clock, INT64_C(90001) * 1000000);
	for (int i = 0; i < 2000; i++) {
		assert_ok(wb_worker_step(s->worker, true, &err), err);
		fake_clock_advance_us(&r->clock, 500);
	}
	txn = service_saga(s, &id, &row);
	assert_int_equal(row.status, WB_SAGA_PARKED);
	assert_non_null(strstr(row.reason.ptr, "create waits for"));
	wb_store_abort(txn);
	/* Once it comes all the same, the flow goes on. */
	service_start(r, BILLING);
	services_rest(r);
	assert_int_equal(pay(r, "a:1"), WB_OK);
	services_rest(r);
	assert_state(&r->all[BOOKING], "a:1", "done");
	assert_status(r, BOOKING, "a:1", WB_SAGA_COMPLETED);
	services_fini(r);
}

/* What waits here waits no more; what comes after all is reacted to. */
static void a_silent_choreography_can_be_abandoned(void **state)
{
	services *r = rig_of(state, 6);
	const wbi_saga_id id = {WBI_SAGA_FLOW, S("a:1"), S("parking")};
	const wbi_actor actor = {S("kim"), S("a test")};
	service *s = &r->all[BOOKING];
	wb_error err = WB_ERROR_INIT;
	wbi_saga_row row;
	MDB_txn *txn;

	services_rest(r);
	book(r, "a:1");
	services_rest(r);
	service_order(s, &id, WBI_VERB_RETRY, "possible now: abandon");
	service_order(s, &id, WBI_VERB_ABANDON, NULL);
	services_rest(r);
	assert_status(r, BOOKING, "a:1", WB_SAGA_ABANDONED);
	assert_int_equal(service_audited(s, "saga abandon done"), 1);
	service_order(s, &id, WBI_VERB_ABANDON, "it has ended: abandoned");
	assert_code(wbi_timer_operator_cancel(s->store, S("flow.parking"),
					      S("a:1/create"), &actor, &err),
		    WB_ENOTFOUND, err);
	assert_int_equal(pay(r, "a:1"), WB_OK);
	services_rest(r);
	assert_state(&r->all[BOOKING], "a:1", "done");
	assert_status(r, BOOKING, "a:1", WB_SAGA_ABANDONED);
	txn = service_saga(s, &id, &row);
	assert_true(wb_str_eq(row.reason, S("abandoned by kim: a test")));
	wb_store_abort(txn);
	services_fini(r);
}

/* Everything twice, connections cut, services killed at any step. */
static void nothing_is_half_done_whatever_happens(void **state)
{
	enum { SAGAS = 60, SLOTS = 20 };
	wb_memory_chaos chaos = WB_MEMORY_CHAOS_INIT;
	services *r = rig_of(state, 5);
	wb_error err = WB_ERROR_INIT;
	unsigned done = 0, failed = 0;

	services_rest(r);
	chaos.duplicate = 300;
	chaos.cut = 10;
	chaos.nack = 20;
	assert_ok(wb_memory_set_chaos(r->memory, &chaos, &err), err);
	for (int i = 0; i < SAGAS; i++) {
		char saga[32];

		snprintf(saga, sizeof(saga), "s%d:%d", i % SLOTS, i);
		book(r, saga);
		for (int n = 0; n < 15; n++)
			services_step(r);
		if (i % 7 == 0) {
			service_kill(&r->all[i % SERVICES]);
			service_start(r, i % SERVICES);
		}
	}
	assert_ok(wb_memory_set_chaos(r->memory, NULL, &err), err);
	services_rest(r);
	for (int i = 0; i < SAGAS; i++) {
		char saga[32];

		snprintf(saga, sizeof(saga), "s%d:%d", i % SLOTS, i);
		assert_int_equal(pay(r, saga), WB_OK);
	}
	services_rest(r);
	for (int i = 0; i < SAGAS; i++) {
		MDB_dbi dbi;
		MDB_txn *txn = service_begin(&r->all[BOOKING], &dbi);
		char saga[32];

		snprintf(saga, sizeof(saga), "s%d:%d", i % SLOTS, i);
		done += state_is(txn, dbi, wb_str_from(saga), "done");
		failed += state_is(txn, dbi, wb_str_from(saga), "failed");
		wb_store_abort(txn);
	}
	assert_int_equal(done, SLOTS);
	assert_int_equal(failed, SAGAS - SLOTS);
	services_fini(r);
}

static void a_part_that_does_not_fit_is_refused(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_error err = WB_ERROR_INIT;
	wb_choreography *c = NULL;
	wb_flow_part part = parts[BILLING];

	assert_code(wb_choreography_open(store, &part, &c, &err), WB_EMISMATCH,
		    err);
	part.count = 1;
	assert_code(wb_choreography_open(store, &part, &c, &err), WB_EMISMATCH,
		    err);
	part.service = "nobody";
	assert_code(wb_choreography_open(store, &part, &c, &err), WB_EINVAL,
		    err);
	wb_store_close(store);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_booking_is_billed_reserved_and_done),
		TEST(of_two_bookings_of_a_slot_one_wins_and_one_is_refunded),
		TEST(a_bill_that_nobody_pays_lapses),
		TEST(a_silent_choreography_is_seen),
		TEST(a_silent_choreography_can_be_abandoned),
		TEST(nothing_is_half_done_whatever_happens),
		TEST(a_part_that_does_not_fit_is_refused),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
