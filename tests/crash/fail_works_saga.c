/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sagas of both kinds in one service, which is orchestrator, participant and
 * all of a flow: one trip that is booked and paid, one that is refused and
 * taken back; a tour that is billed and guided, and one that is refused. If the
 * worker stops, a new one is opened; what an application's own transaction
 * could not do, it does again. In the end each has ended as it must.
 */
#include <openssl/err.h>
#include <stdlib.h>

#include <waybill/saga.h>

#include "lib/base/assert.h"
#include "tests/crash/crash_points.h"
#include "tests/crash/fail_points.h"
#include "tests/saga/services.h"
#include "tests/support/place.h"
#include "tests/support/testing.h"

enum { TOWN_TURNS = 3000, TOWN_TURN_US = 50000, TOWN_IDLE = 60 };

/* ---- the orchestrated kind ----------------------------------------------- */

static wb_code set(wb_call *call, const char *what, wb_str id, const char *text,
		   wb_error *err)
{
	char key[80];
	int n = snprintf(key, sizeof(key), "%s %.*s", what, (int)id.len,
			 id.ptr);

	return state_put(wb_call_txn(call), state_of(call),
			 wb_str_n(key, (size_t)n), text, err);
}

static wb_code trip_note(wb_call *call, wb_error *err)
{
	return set(call, "trip", wb_saga_id(call), "noted", err);
}

static wb_code trip_strike(wb_call *call, wb_error *err)
{
	return set(call, "trip", wb_saga_id(call), "struck", err);
}

static wb_code trip_end(wb_call *call, wb_error *err)
{
	return set(call, "trip", wb_saga_id(call), "made", err);
}

static wb_code trip_booked(wb_call *call, const wb_event *reply, wb_error *err)
{
	(void)reply;
	return wb_saga_set(call, S("room 7"), err);
}

static const wb_step trip_steps[] = {
	{"note", .run = trip_note, .run_undo = trip_strike},
	{"book", .command = "room.book", .undo = "room.cancel",
	 .reply = trip_booked},
	{"pay", .command = "bank.pay", .undo = "bank.refund"},
	{"end", WB_RETRIABLE, .run = trip_end}};
static const wb_saga trip = {sizeof(wb_saga),    "trip",       trip_steps, 4,
			     .open = state_open, .close = free};
static const wb_saga *const trips[] = {&trip};

static bool is_refused(wb_str saga)
{
	return saga.len > 0 && saga.ptr[0] == 'r';
}

static wb_code room_book(wb_call *call, const wb_event *command, wb_error *err)
{
	wb_code code = set(call, "room", wb_command_saga(call), "booked", err);

	(void)command;
	if (code == WB_OK)
		code = wb_command_keep(call, S("room 7"), err);
	if (code == WB_OK)
		code = wb_reply(call, S("text/plain"), S("room 7"), err);
	return code;
}

static wb_code room_cancel(wb_call *call, const wb_event *command,
			   wb_error *err)
{
	(void)command;
	return set(call, "room", wb_command_saga(call), "free", err);
}

/* The answer comes later, by a token that is kept beside the rest. */
static wb_code bank_pay(wb_call *call, const wb_event *command, wb_error *err)
{
	char token[WB_REPLY_TOKEN_MAX + 1];
	wb_code code;

	(void)command;
	if (is_refused(wb_command_saga(call)))
		return wb_reject(err, "no money");
	code = wb_reply_pending(call, token, err);
	return code == WB_OK
		       ? set(call, "token", wb_command_saga(call), token, err)
		       : code;
}

static wb_code bank_refund(wb_call *call, const wb_event *command,
			   wb_error *err)
{
	(void)command;
	return set(call, "token", wb_command_saga(call), "refunded", err);
}

static const wb_command commands[] = {
	{"room.book", "room.cancel", NULL, room_book, room_cancel},
	{"bank.pay", "bank.refund", NULL, bank_pay, bank_refund}};
static const wb_participant participant = {
	sizeof(wb_participant), "house",      commands, 2,
	.open = state_open,     .close = free};
static const wb_participant *const participants[] = {&participant};

/* ---- the choreographed kind ---------------------------------------------- */

static const wb_reaction rows[] = {
	{"town", "ask", NULL, "tour.asked", .awaits = "tour.done|tour.off",
	 .within_ms = 90000000},
	{"town", "bill", "tour.asked", "tour.paid", .later = true,
	 .within_ms = 86400000, .silence = "tour.off"},
	{"town", "guide", "tour.paid", "tour.done", .refuses = "tour.off"},
	{"town", "thank", .on = "tour.done"},
	{"town", "sorry", .on = "tour.off", .undoes = "ask"},
	{"town", "refund", .on = "tour.off", .undoes = "bill"}};
static const wb_flow flow = {sizeof(flow), "tour", rows, WBI_COUNT(rows), 0};

static wb_code tour_set(wb_call *call, const char *text, wb_error *err)
{
	return set(call, "tour", wb_flow_saga(call), text, err);
}

static wb_code on_bill(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_code code = wb_flow_pending(call, err);

	(void)event;
	return code == WB_OK ? tour_set(call, "billed", err) : code;
}

static wb_code on_guide(wb_call *call, const wb_event *event, wb_error *err)
{
	const wb_event done = {.type = S("tour.done")};
	wb_code code;

	(void)event;
	if (is_refused(wb_flow_saga(call))) {
		code = wb_flow_refusal(call, S("text/plain"), S("it rains"),
				       err);
		return code == WB_OK ? wb_reject(err, "it rains") : code;
	}
	code = wb_flow_keep(call, S("by bus"), err);
	return code == WB_OK ? wb_flow_emit(call, &done, err) : code;
}

static wb_code on_thank(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)event;
	return tour_set(call, "thanked", err);
}

static wb_code on_sorry(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)event;
	return set(call, "sorry", wb_flow_saga(call), "said", err);
}

static wb_code on_refund(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)event;
	return tour_set(call, "refunded", err);
}

static const wb_flow_binding bindings[] = {{"bill", on_bill, on_refund},
					   {"guide", on_guide, NULL},
					   {"thank", on_thank, NULL},
					   {"sorry", on_sorry, NULL},
					   {"refund", on_refund, NULL}};
static const wb_flow_part part = {
	sizeof(wb_flow_part), &flow,      "town", bindings,
	WBI_COUNT(bindings),  state_open, free,   NULL};

/* ---- declarations and starts --------------------------------------------- */

static void finding(void *ctx, const wb_finding *what)
{
	(void)ctx;
	(void)what;
}

static wb_code town_routes(wb_routes **ret, wb_error *err)
{
	wb_saga_routing routing = WB_SAGA_ROUTING_INIT;

	routing.sagas = trips;
	routing.saga_count = 1;
	routing.participants = participants;
	routing.participant_count = 1;
	return wb_saga_routes_new(&routing, ret, err);
}

static wb_code declare(wb_error *err)
{
	const wb_handler *handler = NULL;
	wb_routes *routes = NULL;
	char *graph = NULL, *drawing = NULL;
	wb_code code = wb_saga_check(&trip, NULL, 0, finding, NULL, err);

	if (code == WB_OK)
		code = wb_flow_check(&flow, finding, NULL, err);
	if (code == WB_OK)
		code = wb_saga_graph(&trip, WB_GRAPH_DOT, &graph, err);
	if (code == WB_OK)
		code = wb_flow_graph(&flow, WB_GRAPH_MERMAID, &drawing, err);
	if (code == WB_OK)
		code = wb_participant_handler(&participant, &handler, err);
	if (code == WB_OK)
		code = town_routes(&routes, err);
	wb_participant_handler_free(handler);
	wb_routes_free(routes);
	free(graph);
	free(drawing);
	return code;
}

/* What an application does in a transaction of its own. */
typedef struct town {
	wb_store *store;
	wb_orchestrator *o;
	wb_choreography *c;
	const wb_handler *house;
} town;

typedef wb_code town_act(const town *t, MDB_txn *txn, wb_error *err);

static wb_code town_do(const town *t, town_act *act, wb_error *err)
{
	MDB_txn *txn = NULL;
	wb_code code = wb_store_begin(t->store, &txn, err);

	if (code == WB_OK)
		code = act(t, txn, err);
	if (code == WB_OK)
		return wb_store_commit(t->store, txn, err);
	wb_store_abort(txn);
	return code;
}

static wb_code act_start(const town *t, MDB_txn *txn, wb_error *err)
{
	const wb_event asked = {.type = S("tour.asked")};
	wb_str ids[] = {S("t1"), S("r2")};
	wb_code code = WB_OK;

	for (size_t i = 0; i < 2 && code == WB_OK; i++) {
		code = wb_saga_start(t->o, txn, "trip", ids[i], S("text/plain"),
				     S("x"), err);
		if (code == WB_OK)
			code = wb_flow_begin(t->c, txn, "ask", ids[i], &asked,
					     WB_STR_NULL, err);
	}
	return code;
}

/* libcrypto, which hashes definitions, does not survive that its very first
 * call finds no memory (3.0), and its first error takes memory for as long as
 * the thread lives: both are done with here. */
static void sagas_prepare(const char *dir)
{
	wb_orchestrator *o;
	wb_store *store;

	store = test_store_make(test_path(dir, "town"));
	assert_int_equal(wb_orchestrator_open(store, trips, 1, NULL, &o, NULL),
			 WB_OK);
	wb_orchestrator_close(o);
	wb_store_close(store);
	test_remove_tree(test_path(dir, "town"));
	ERR_raise(ERR_LIB_USER, ERR_R_MALLOC_FAILURE);
	ERR_clear_error();
}

static void town_prepare(const char *dir)
{
	wb_store_options options = test_store_options();

	sagas_prepare(dir);
	options.service = "town";
	assert_int_equal(
		wb_store_create(test_path(dir, "town"), &options, NULL), WB_OK);
}

static wb_code sagas_run(const char *dir, wb_error *err)
{
	town t = {.store = NULL};
	wb_code code = declare(err);

	if (code == WB_OK)
		code = wb_store_open(test_path(dir, "town"), NULL, &t.store,
				     err);
	if (code == WB_OK)
		code = wb_orchestrator_open(t.store, trips, 1, NULL, &t.o, err);
	if (code == WB_OK)
		code = wb_choreography_open(t.store, &part, &t.c, err);
	if (code == WB_OK)
		code = town_do(&t, act_start, err);
	wb_choreography_close(t.c);
	wb_orchestrator_close(t.o);
	wb_store_close(t.store);
	return code;
}

static void town_sound(const char *dir, wb_code code)
{
	(void)code;
	crash_assert_sound(test_path(dir, "town"));
}

const fail_work fail_sagas = {"sagas", town_prepare, sagas_run, town_sound};

/* ---- until all have ended ------------------------------------------------ */

static void town_open(service *s)
{
	wb_error err = WB_ERROR_INIT;
	town *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->store = s->store;
	assert_ok(wb_orchestrator_open(s->store, trips, 1, NULL, &t->o, &err),
		  err);
	assert_ok(wb_choreography_open(s->store, &part, &t->c, &err), err);
	assert_ok(wb_participant_handler(&participant, &t->house, &err), err);
	s->part = t;
	s->handlers[0] = wb_orchestrator_handler(t->o);
	s->handlers[1] = wb_choreography_handler(t->c);
	s->handlers[2] = t->house;
	s->handler_count = 3;
}

static void town_close(service *s)
{
	town *t = s->part;

	wb_orchestrator_close(t->o);
	wb_choreography_close(t->c);
	wb_participant_handler_free(t->house);
	free(t);
}

static const service_kind kinds[] = {{"town", town_open, town_close}};

static void town_again(services *r)
{
	fail_hold(true);
	service_kill(&r->all[0]);
	service_start(r, 0);
	fail_hold(false);
}

static void town_turns(services *r)
{
	for (int i = 0, idle = 0; i < TOWN_TURNS && idle < TOWN_IDLE; i++) {
		wb_error why = WB_ERROR_INIT;
		wb_code code = wb_worker_step(r->all[0].worker, true, &why);

		if (!fail_goes_on(code, &why))
			town_again(r);
		idle = wb_worker_get_stat(r->all[0].worker).idle ? idle + 1 : 0;
		fake_clock_advance_us(&r->clock, TOWN_TURN_US);
	}
}

static void town_steps(services *r)
{
	town_turns(r);
	if (!fail_may_stop_one())
		return;
	town_again(r);
	town_turns(r);
}

/* Once more, if it fails: nothing of it is there. */
static void town_must(services *r, town_act *act)
{
	wb_error why = WB_ERROR_INIT;

	if (fail_goes_on(town_do(r->all[0].part, act, &why), &why))
		return;
	why = (wb_error)WB_ERROR_INIT;
	assert_ok(town_do(r->all[0].part, act, &why), why);
}

static wb_code act_pay(const town *t, MDB_txn *txn, wb_error *err)
{
	const wb_event paid = {.type = S("tour.paid")};
	char token[WB_REPLY_TOKEN_MAX + 1];
	MDB_val k = {8, (void *)(uintptr_t) "token t1"}, v = {0, NULL};
	wb_step_state state = WB_STEP_NONE;
	MDB_dbi dbi;
	wb_code code;
	int rc = mdb_dbi_open(txn, "state", 0, &dbi);

	if (rc == 0)
		rc = mdb_get(txn, dbi, &k, &v);
	code = wb_store_error(rc, err, "token");
	if (code != WB_OK)
		return code;
	snprintf(token, sizeof(token), "%.*s", (int)v.mv_size,
		 (char *)v.mv_data);
	code = wb_reply_later(t->store, txn, token, true, S("text/plain"),
			      S("paid"), err);
	if (code == WB_OK)
		code = wb_flow_state(t->c, txn, "bill", S("r2"), &state, NULL,
				     err);
	if (code == WB_OK)
		assert_int_equal(state, WB_STEP_PENDING);
	if (code == WB_OK)
		code = wb_flow_complete(t->c, txn, "bill", S("t1"), &paid,
					S("100.00"), err);
	if (code == WB_OK)
		code = wb_flow_complete(t->c, txn, "bill", S("r2"), &paid,
					S("100.00"), err);
	return code;
}

static void town_end(services *r)
{
	static const char *const ends[][2] = {
		{"trip t1", "made"},     {"room t1", "booked"},
		{"trip r2", "struck"},   {"room r2", "free"},
		{"tour t1", "thanked"},  {"sorry t1", ""},
		{"tour r2", "refunded"}, {"sorry r2", "said"}};

	fail_hold(true);
	services_rest(r);
	for (size_t i = 0; i < WBI_COUNT(ends); i++)
		assert_state(&r->all[0], ends[i][0], ends[i][1]);
	services_fini(r);
}

static wb_code town_run(const char *dir, wb_error *err)
{
	wb_routes *routes = NULL;
	services r;

	fail_hold(true);
	assert_ok(town_routes(&routes, err), *err);
	services_init(&r, dir, 1, kinds, 1, routes);
	services_rest(&r);
	fail_hold(false);
	town_must(&r, act_start);
	town_steps(&r);
	town_must(&r, act_pay);
	town_steps(&r);
	town_end(&r);
	wb_routes_free(routes);
	return WB_OK;
}

const fail_work fail_town = {"town", sagas_prepare, town_run, town_sound};
