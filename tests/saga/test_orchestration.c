/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A booking service that orchestrates two participants, each with its own
 * store and worker, on a memory broker: whatever is refused, lost, late or
 * doubled, nothing stays blocked or charged that should not be.
 */
#include "tests/support/testing.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <waybill/participant.h>
#include <waybill/saga.h>

#include "inbox/timer.h"
#include "lib/journal/maintain.h"
#include "lib/journal/saga_rows.h"
#include "tests/saga/services.h"
#include "tests/support/place.h"

enum { BOOKING, BILLING, PARKING, SERVICES };

/* What the next command of a kind does; tests set it. */
static struct trouble {
	bool refuse_payment, refuse_reserve, payment_later;
	unsigned undo_fails; /* so many times */
	char token[WB_REPLY_TOKEN_MAX + 1];
} trouble;

/* ---- parking ------------------------------------------------------------- */

/* The slot is in the saga's id before the colon. */
static wb_str slot_of(wb_call *call)
{
	wb_str saga = wb_command_saga(call);

	saga.len = (size_t)((const char *)memchr(saga.ptr, ':', saga.len) -
			    saga.ptr);
	return saga;
}

static wb_code on_block(wb_call *call, const wb_event *command, wb_error *err)
{
	(void)command;
	if (!state_is(wb_call_txn(call), state_of(call), slot_of(call), "") &&
	    !state_is(wb_call_txn(call), state_of(call), slot_of(call), "free"))
		return wb_reject(err, "the slot is taken");
	return state_put(wb_call_txn(call), state_of(call), slot_of(call),
			 "blocked", err);
}

static wb_code on_unblock(wb_call *call, const wb_event *command, wb_error *err)
{
	(void)command;
	if (trouble.undo_fails > 0) {
		trouble.undo_fails--;
		return wb_reject(err, "the barrier arm is stuck");
	}
	return state_put(wb_call_txn(call), state_of(call), slot_of(call),
			 "free", err);
}

static wb_code on_reserve(wb_call *call, const wb_event *command, wb_error *err)
{
	(void)command;
	if (trouble.refuse_reserve)
		return wb_reject(err, "closed today");
	return state_put(wb_call_txn(call), state_of(call), slot_of(call),
			 "reserved", err);
}

static const wb_command parking_commands[] = {
	{"parking.block", "parking.unblock", NULL, on_block, on_unblock},
	{"parking.reserve", NULL, "parking.status", on_reserve, NULL}};

/* ---- billing ------------------------------------------------------------- */

static wb_code on_pay(wb_call *call, const wb_event *command, wb_error *err)
{
	assert_true(wb_str_eq(command->data, S("100.00")));
	if (trouble.refuse_payment)
		return wb_reject(err, "no money");
	if (trouble.payment_later)
		return wb_reply_pending(call, trouble.token, err);
	if (wb_command_keep(call, S("receipt 7"), err) != WB_OK ||
	    wb_reply(call, S("text/plain"), S("receipt 7"), err) != WB_OK)
		return err->code;
	return state_put(wb_call_txn(call), state_of(call),
			 wb_command_saga(call), "paid", err);
}

static wb_code on_refund(wb_call *call, const wb_event *command, wb_error *err)
{
	(void)command;
	return state_put(wb_call_txn(call), state_of(call),
			 wb_command_saga(call), "refunded", err);
}

static const wb_command billing_commands[] = {
	{"billing.pay", "billing.refund", "billing.status", on_pay, on_refund}};

static const wb_participant participants[SERVICES] = {
	[BILLING] = {sizeof(wb_participant), "billing", billing_commands, 1,
		     .open = state_open, .close = free},
	[PARKING] = {sizeof(wb_participant), "parking", parking_commands, 2,
		     .open = state_open, .close = free}};

/* ---- booking ------------------------------------------------------------- */

static wb_code booking_set(wb_call *call, const char *text, wb_error *err)
{
	return state_put(wb_call_txn(call), state_of(call), wb_saga_id(call),
			 text, err);
}

static wb_code create(wb_call *call, wb_error *err)
{
	return booking_set(call, "pending", err);
}

static wb_code give_up(wb_call *call, wb_error *err)
{
	return booking_set(call, "failed", err);
}

static wb_code complete(wb_call *call, wb_error *err)
{
	return booking_set(call, "completed", err);
}

static wb_code note_receipt(wb_call *call, const wb_event *reply, wb_error *err)
{
	(void)call;
	(void)err;
	if (reply->data.len > 0)
		assert_true(wb_str_eq(reply->data, S("receipt 7")));
	return WB_OK;
}

static const wb_step steps[] = {
	{"create", .run = create, .run_undo = give_up},
	{"block", .command = "parking.block", .undo = "parking.unblock"},
	{"pay", .command = "billing.pay", .undo = "billing.refund",
	 .probe = "billing.status", .reply = note_receipt},
	{"reserve", WB_PIVOT, .command = "parking.reserve",
	 .probe = "parking.status"},
	{"finish", WB_RETRIABLE, .run = complete}};

static const wb_saga booking = {sizeof(wb_saga),
				"booking",
				steps,
				sizeof(steps) / sizeof(steps[0]),
				.open = state_open,
				.close = free};
static const wb_saga *const sagas[] = {&booking};

/* ---- the rig ------------------------------------------------------------- */

static void orchestrator_open(service *s)
{
	service_orchestrate(s, sagas, 1);
}

static void participant_open(service *s)
{
	wb_error err = WB_ERROR_INIT;
	int i = !strcmp(s->kind->name, "billing") ? BILLING : PARKING;

	assert_ok(
		wb_participant_handler(&participants[i], &s->handlers[0], &err),
		err);
	s->handler_count = 1;
}

static void participant_close(service *s)
{
	wb_participant_handler_free(s->handlers[0]);
}

static const service_kind kinds[SERVICES] = {
	{"booking", orchestrator_open, service_orchestrate_end},
	{"billing", participant_open, participant_close},
	{"parking", participant_open, participant_close}};

typedef struct rig {
	services s;
	wb_routes *routes;
} rig;

/* Replies go straight to the queue that asked; commands by their name. */
static rig *rig_of(void **state, uint64_t seed)
{
	const wb_participant *const them[] = {&participants[BILLING],
					      &participants[PARKING]};
	wb_saga_routing routing = WB_SAGA_ROUTING_INIT;
	static rig r;
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;

	memset(&trouble, 0, sizeof(trouble));
	routing.sagas = sagas;
	routing.saga_count = 1;
	routing.participants = them;
	routing.participant_count = 2;
	assert_ok(wb_saga_routes_new(&routing, &r.routes, &err), err);
	services_init(&r.s, place->dir, seed, kinds, SERVICES, r.routes);
	services_rest(&r.s);
	return &r;
}

static void rig_fini(rig *r)
{
	services_fini(&r->s);
	wb_routes_free(r->routes);
}

static void start(rig *r, const char *id)
{
	service *s = &r->s.all[BOOKING];
	wb_error err = WB_ERROR_INIT;
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	assert_ok(wb_saga_start(s->part, txn, "booking", wb_str_from(id),
				S("text/plain"), S("100.00"), &err),
		  err);
	assert_code(wb_saga_start(s->part, txn, "booking", wb_str_from(id),
				  WB_STR_NULL, WB_STR_NULL, &err),
		    WB_EEXISTS, err);
	assert_ok(wb_store_commit(s->store, txn, &err), err);
}

static void assert_status(rig *r, const char *id, uint8_t status)
{
	service *s = &r->s.all[BOOKING];
	wbi_saga_id key = {.kind = WBI_SAGA_ORCHESTRATED,
			   .id = wb_str_from(id)};
	wbi_saga_row row;
	MDB_txn *txn = service_saga(s, &key, &row);

	if (row.status != status)
		fail_msg("saga %s is %u, not %u: %.*s", id, row.status, status,
			 (int)row.reason.len, row.reason.ptr);
	wb_store_abort(txn);
}

static void assert_ends(rig *r, const char *id, uint8_t status,
			const char *at_booking, const char *at_billing,
			const char *slot, const char *at_parking)
{
	assert_status(r, id, status);
	assert_state(&r->s.all[BOOKING], id, at_booking);
	assert_state(&r->s.all[BILLING], id, at_billing);
	assert_state(&r->s.all[PARKING], slot, at_parking);
}

/* ---- tests --------------------------------------------------------------- */

static void a_saga_runs_to_its_end(void **state)
{
	rig *r = rig_of(state, 1);

	start(r, "a:1");
	services_rest(&r->s);
	assert_ends(r, "a:1", WB_SAGA_COMPLETED, "completed", "paid", "a",
		    "reserved");
	rig_fini(r);
}

static void who_finds_the_slot_taken_leaves_it_to_its_holder(void **state)
{
	rig *r = rig_of(state, 2);

	start(r, "a:1");
	services_rest(&r->s);
	start(r, "a:2");
	services_rest(&r->s);
	assert_ends(r, "a:2", WB_SAGA_COMPENSATED, "failed", "", "a",
		    "reserved");
	rig_fini(r);
}

static void a_refused_payment_frees_the_slot(void **state)
{
	rig *r = rig_of(state, 3);

	trouble.refuse_payment = true;
	start(r, "a:1");
	services_rest(&r->s);
	assert_ends(r, "a:1", WB_SAGA_COMPENSATED, "failed", "", "a", "free");
	rig_fini(r);
}

static void a_refused_pivot_takes_all_back(void **state)
{
	rig *r = rig_of(state, 4);

	trouble.refuse_reserve = true;
	start(r, "a:1");
	services_rest(&r->s);
	assert_ends(r, "a:1", WB_SAGA_COMPENSATED, "failed", "refunded", "a",
		    "free");
	rig_fini(r);
}

static void a_participant_that_is_down_past_its_deadline_is_undone(void **state)
{
	rig *r = rig_of(state, 5);

	service_kill(&r->s.all[BILLING]);
	r->s.count = BILLING; /* the others run on ... */
	start(r, "a:1");
	for (int i = 0; i < 400; i++) {
		wb_error err = WB_ERROR_INIT;

		assert_ok(wb_worker_step(r->s.all[PARKING].worker, true, &err),
			  err);
		services_step(&r->s);
		fake_clock_advance_us(&r->s.clock, 1000000);
	}
	r->s.count = SERVICES; /* ... and it comes back too late */
	service_start(&r->s, BILLING);
	services_wait_s(&r->s, 300);
	assert_ends(r, "a:1", WB_SAGA_COMPENSATED, "failed", "", "a", "free");
	rig_fini(r);
}

static void an_answer_may_take_hours(void **state)
{
	rig *r = rig_of(state, 6);
	service *s = &r->s.all[BILLING];
	wb_error err = WB_ERROR_INIT;
	MDB_dbi dbi;
	MDB_txn *txn;

	trouble.payment_later = true;
	start(r, "a:1");
	services_rest(&r->s);
	services_wait_s(&r->s, 200);
	assert_status(r, "a:1", WB_SAGA_RUNNING);
	txn = service_begin(s, &dbi);
	assert_ok(wb_reply_later(s->store, txn, trouble.token, true,
				 WB_STR_NULL, WB_STR_NULL, &err),
		  err);
	assert_code(wb_reply_later(s->store, txn, trouble.token, true,
				   WB_STR_NULL, WB_STR_NULL, &err),
		    WB_ESTATE, err);
	assert_ok(wb_store_commit(s->store, txn, &err), err);
	services_rest(&r->s);
	assert_ends(r, "a:1", WB_SAGA_COMPLETED, "completed", "", "a",
		    "reserved");
	rig_fini(r);
}

static void an_undo_that_fails_is_tried_again_and_then_parks(void **state)
{
	rig *r = rig_of(state, 7);

	trouble.refuse_payment = true;
	trouble.undo_fails = 3;
	start(r, "a:1");
	services_wait_s(&r->s, 60);
	assert_ends(r, "a:1", WB_SAGA_COMPENSATED, "failed", "", "a", "free");
	trouble.undo_fails = 1000;
	start(r, "b:1");
	services_wait_s(&r->s, 700);
	assert_ends(r, "b:1", WB_SAGA_PARKED, "pending", "", "b", "blocked");
	rig_fini(r);
}

static void order(rig *r, const char *id, wbi_verb verb, const char *refusal)
{
	const wbi_saga_id key = {.kind = WBI_SAGA_ORCHESTRATED,
				 .id = wb_str_from(id)};

	service_order(&r->s.all[BOOKING], &key, verb, refusal);
}

static void who_is_parked_goes_on_by_an_order(void **state)
{
	rig *r = rig_of(state, 9);

	trouble.refuse_payment = true;
	trouble.undo_fails = 1000;
	start(r, "a:1");
	start(r, "b:1");
	services_wait_s(&r->s, 700);
	assert_status(r, "a:1", WB_SAGA_PARKED);
	order(r, "a:1", WBI_VERB_COMPENSATE, "retry, skip, abandon");
	order(r, "a:1", WBI_VERB_RESUME, "retry, skip, abandon");
	trouble.undo_fails = 0;
	order(r, "a:1", WBI_VERB_RETRY, NULL);
	order(r, "a:1", WBI_VERB_SKIP, "retry, by kim, waits for a worker");
	order(r, "b:1", WBI_VERB_SKIP, NULL);
	services_rest(&r->s);
	/* Of the one that was skipped the slot stays as it was. */
	assert_ends(r, "a:1", WB_SAGA_COMPENSATED, "failed", "", "a", "free");
	assert_ends(r, "b:1", WB_SAGA_COMPENSATED, "failed", "", "b",
		    "blocked");
	order(r, "a:1", WBI_VERB_RETRY, "it has ended: compensated");
	assert_int_equal(service_audited(&r->s.all[BOOKING], "saga retry"), 1);
	assert_int_equal(service_audited(&r->s.all[BOOKING], "saga retry done"),
			 1);
	assert_int_equal(service_audited(&r->s.all[BOOKING], "saga skip done"),
			 1);
	rig_fini(r);
}

/* Between the order and the worker that carries it out, the saga moves. */
static void an_order_that_comes_too_late_is_refused_in_the_audit(void **state)
{
	rig *r = rig_of(state, 10);
	service *s = &r->s.all[BOOKING], *billing = &r->s.all[BILLING];
	const wbi_actor actor = {S("kim"), S("a test")};
	wb_error err = WB_ERROR_INIT;
	MDB_dbi dbi;
	MDB_txn *txn;

	trouble.payment_later = true;
	start(r, "a:1");
	services_rest(&r->s);
	order(r, "a:1", WBI_VERB_RETRY, "nothing to retry");
	order(r, "a:1", WBI_VERB_COMPENSATE, NULL);
	assert_ok(wbi_timer_operator_move(s->store, S("sagas"), S("v/a:1"),
					  r->s.clock.real_us + 60000000, &actor,
					  &err),
		  err);
	txn = service_begin(billing, &dbi);
	assert_ok(wb_reply_later(billing->store, txn, trouble.token, true,
				 WB_STR_NULL, WB_STR_NULL, &err),
		  err);
	assert_ok(wb_store_commit(billing->store, txn, &err), err);
	services_rest(&r->s);
	assert_status(r, "a:1", WB_SAGA_COMPLETED);
	services_wait_s(&r->s, 61);
	assert_ends(r, "a:1", WB_SAGA_COMPLETED, "completed", "", "a",
		    "reserved");
	assert_int_equal(service_audited(s, "saga compensate refused"), 1);
	assert_int_equal(service_audited(s, "saga compensate done"), 0);
	rig_fini(r);
}

static void who_is_abandoned_is_left_as_it_stands(void **state)
{
	rig *r = rig_of(state, 11);

	trouble.payment_later = true;
	start(r, "a:1");
	services_rest(&r->s);
	order(r, "a:1", WBI_VERB_ABANDON, NULL);
	service_kill(&r->s.all[BOOKING]);
	service_start(&r->s, BOOKING);
	services_wait_s(&r->s, 100);
	assert_ends(r, "a:1", WB_SAGA_ABANDONED, "pending", "", "a", "blocked");
	assert_int_equal(
		service_audited(&r->s.all[BOOKING], "saga abandon done"), 1);
	rig_fini(r);
}

/* Everything twice, connections cut, services killed at any step. */
static void whatever_happens_each_saga_ends_whole(void **state)
{
	enum { SAGAS = 40, SLOTS = 10 };
	wb_memory_chaos chaos = WB_MEMORY_CHAOS_INIT;
	rig *r = rig_of(state, 8);
	wb_error err = WB_ERROR_INIT;
	unsigned completed = 0, failed = 0;

	chaos.duplicate = 300;
	chaos.cut = 10;
	chaos.nack = 20;
	assert_ok(wb_memory_set_chaos(r->s.memory, &chaos, &err), err);
	for (int i = 0; i < SAGAS; i++) {
		char id[32];

		snprintf(id, sizeof(id), "s%d:%d", i % SLOTS, i);
		start(r, id);
		for (int n = 0; n < 15; n++)
			services_step(&r->s);
		if (i % 5 == 0) {
			service_kill(&r->s.all[i % SERVICES]);
			service_start(&r->s, i % SERVICES);
		}
	}
	assert_ok(wb_memory_set_chaos(r->s.memory, NULL, &err), err);
	services_wait_s(&r->s, 200);
	for (int i = 0; i < SAGAS; i++) {
		service *s = &r->s.all[BOOKING];
		char id[32];
		MDB_dbi dbi;
		MDB_txn *txn = service_begin(s, &dbi);

		snprintf(id, sizeof(id), "s%d:%d", i % SLOTS, i);
		completed += state_is(txn, dbi, wb_str_from(id), "completed");
		failed += state_is(txn, dbi, wb_str_from(id), "failed");
		wb_store_abort(txn);
	}
	assert_int_equal(completed, SLOTS);
	assert_int_equal(failed, SAGAS - SLOTS);
	rig_fini(r);
}

static void until_paid(rig *r, const char *id)
{
	bool paid = false;

	for (int i = 0; i < 10000 && !paid; i++) {
		MDB_dbi dbi;
		MDB_txn *txn = service_begin(&r->s.all[BILLING], &dbi);

		paid = state_is(txn, dbi, wb_str_from(id), "paid");
		wb_store_abort(txn);
		if (!paid)
			services_step(&r->s);
	}
	assert_true(paid);
}

/* As it was at the backup, while the others have lived on. */
static void booking_goes_back(rig *r, test_place *place)
{
	const char *copy = test_path(place->dir, "copy");
	wb_error err = WB_ERROR_INIT;
	service *s = &r->s.all[BOOKING];

	service_kill(s);
	test_remove_tree(s->dir);
	assert_ok(wbi_store_restore(copy, s->dir, NULL, &err), err);
	service_start(&r->s, BOOKING);
}

/* By another process, as the command does: this one has the store open. */
static void booking_is_saved(rig *r, test_place *place)
{
	const char *dir = r->s.all[BOOKING].dir;
	const char *copy = test_path(place->dir, "copy");
	wb_error err = WB_ERROR_INIT;
	int status = -1;
	pid_t pid;

	assert_code(wbi_store_backup(dir, copy, NULL, &err), WB_EBUSY, err);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(wbi_store_backup(dir, copy, NULL, &err) == WB_OK ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* It asks again, and is told again what was done: nothing is done twice. */
static void a_restored_orchestrator_comes_to_the_same_end(void **state)
{
	rig *r = rig_of(state, 9);

	start(r, "a:1");
	until_paid(r, "a:1");
	assert_status(r, "a:1", WB_SAGA_RUNNING);
	booking_is_saved(r, *state);
	services_rest(&r->s);
	assert_status(r, "a:1", WB_SAGA_COMPLETED);
	booking_goes_back(r, *state);
	assert_status(r, "a:1", WB_SAGA_RUNNING);
	services_wait_s(&r->s, 60);
	assert_ends(r, "a:1", WB_SAGA_COMPLETED, "completed", "paid", "a",
		    "reserved");
	rig_fini(r);
}

/* What was undone stays undone: its commands of then are too old. */
static void a_restored_orchestrator_brings_nothing_back(void **state)
{
	rig *r = rig_of(state, 10);

	trouble.refuse_reserve = true;
	start(r, "a:1");
	until_paid(r, "a:1");
	assert_status(r, "a:1", WB_SAGA_RUNNING);
	booking_is_saved(r, *state);
	services_rest(&r->s);
	assert_status(r, "a:1", WB_SAGA_COMPENSATED);
	booking_goes_back(r, *state);
	trouble.refuse_reserve = false;
	services_wait_s(&r->s, 600);
	assert_ends(r, "a:1", WB_SAGA_COMPENSATED, "failed", "refunded", "a",
		    "free");
	rig_fini(r);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_saga_runs_to_its_end),
		TEST(who_finds_the_slot_taken_leaves_it_to_its_holder),
		TEST(a_refused_payment_frees_the_slot),
		TEST(a_refused_pivot_takes_all_back),
		TEST(a_participant_that_is_down_past_its_deadline_is_undone),
		TEST(an_answer_may_take_hours),
		TEST(an_undo_that_fails_is_tried_again_and_then_parks),
		TEST(who_is_parked_goes_on_by_an_order),
		TEST(an_order_that_comes_too_late_is_refused_in_the_audit),
		TEST(who_is_abandoned_is_left_as_it_stands),
		TEST(whatever_happens_each_saga_ends_whole),
		TEST(a_restored_orchestrator_comes_to_the_same_end),
		TEST(a_restored_orchestrator_brings_nothing_back),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
