/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An orchestrator alone with a stranger who says what he likes: replies that
 * are none, timers that fit nothing, orders for nobody, steps that fail here;
 * and what is refused at once.
 */
#include "tests/support/testing.h"

#include <stdlib.h>

#include <waybill/participant.h>
#include <waybill/saga.h>

#include "inbox/timer.h"
#include "lib/journal/saga_rows.h"
#include "saga/operator.h"
#include "tests/saga/services.h"
#include "tests/support/place.h"

enum { DATA_MAX = 64 * 1024, KINDS = 257 };

/* ---- the saga ------------------------------------------------------------ */

/* What the next step that runs here does, and how often one did. */
static struct {
	wb_code (*note)(wb_call *call, wb_error *err);
	wb_code (*hear)(wb_call *call, wb_error *err);
	unsigned noted, struck, opened, closed;
} play;

static wb_code note(wb_call *call, wb_error *err)
{
	play.noted++;
	return play.note ? play.note(call, err) : WB_OK;
}

static wb_code strike(wb_call *call, wb_error *err)
{
	(void)call;
	(void)err;
	play.struck++;
	return WB_OK;
}

static wb_code hear(wb_call *call, const wb_event *reply, wb_error *err)
{
	(void)reply;
	return play.hear ? play.hear(call, err) : WB_OK;
}

static const wb_step steps[] = {
	{"note", .run = note, .run_undo = strike, .attempts_max = 2},
	{"book", .command = "room.book", .undo = "room.cancel", .reply = hear}};
static const wb_step one_step[] = {{"only", WB_RETRIABLE, .run = note}};

static wb_code trip_open(const wb_handler *self, wb_store *store, MDB_txn *txn,
			 void **ret_state, wb_error *err)
{
	(void)self;
	(void)store;
	(void)txn;
	(void)err;
	play.opened++;
	*ret_state = &play;
	return WB_OK;
}

static void trip_close(void *state)
{
	assert_ptr_equal(state, &play);
	play.closed++;
}

static const wb_saga trip = {
	sizeof(trip),       "trip", steps, 2, .keep_s = 3600, .open = trip_open,
	.close = trip_close};
static const wb_saga short_trip = {sizeof(trip), "short", one_step, 1,
				   .keep_s = 0};
static const wb_saga *const sagas[] = {&trip, &short_trip};

/* ---- the rig ------------------------------------------------------------- */

enum { TRIPS, STRANGER };

static char heard[512]; /* types and data of commands */

static wb_code on_command(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)call;
	(void)err;
	snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard),
		 "%.*s(%.*s) ", (int)event->type.len, event->type.ptr,
		 (int)(event->data.len < 20 ? event->data.len : 20),
		 event->data.len ? event->data.ptr : "");
	return WB_OK;
}

static const char *const command_types[] = {"room.*", NULL};
static const wb_handler listener = {.size = sizeof(listener),
				    .name = "listener",
				    .types = command_types,
				    .handle = on_command};

static void trips_open(service *s)
{
	service_orchestrate(s, sagas, 2);
}

static void stranger_open(service *s)
{
	s->handlers[0] = &listener;
	s->handler_count = 1;
}

static void stranger_close(service *s)
{
	(void)s;
}

static const service_kind kinds[] = {
	{"trips", trips_open, service_orchestrate_end},
	{"stranger", stranger_open, stranger_close}};

typedef struct rig {
	services s;
	wb_routes *routes;
} rig;

static rig *rig_of(void **state)
{
	static const wb_route own[] = {{.type = "#.reply",
					.exchange = "",
					.routing_key = "{reply_to}"},
				       {.type = "#", .exchange = "events"}};
	static rig r;
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;

	memset(&play, 0, sizeof(play));
	heard[0] = '\0';
	assert_ok(wb_routes_new(own, 2, &r.routes, &err), err);
	services_init(&r.s, place->dir, 1, kinds, 2, r.routes);
	services_rest(&r.s);
	return &r;
}

static void rig_fini(rig *r)
{
	services_fini(&r->s);
	wb_routes_free(r->routes);
}

static void start(rig *r, const char *kind, const char *id)
{
	service *s = &r->s.all[TRIPS];
	wb_error err = WB_ERROR_INIT;
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	assert_ok(wb_saga_start(s->part, txn, kind, wb_str_from(id),
				S("text/plain"), S("for two"), &err),
		  err);
	assert_ok(wb_store_commit(s->store, txn, &err), err);
	services_rest(&r->s);
}

/* Attributes that are NULL are not there. */
typedef struct said {
	const char *saga, *step, *op, *epoch, *outcome;
} said;

static void say(rig *r, const char *type, const said *what)
{
	const char *const names[] = {"wbsaga", "wbstep", "wbop", "wbepoch",
				     "wboutcome"};
	const char *const values[] = {what->saga, what->step, what->op,
				      what->epoch, what->outcome};
	service *s = &r->s.all[STRANGER];
	wb_header headers[5];
	wb_event e = {.type = wb_str_from(type),
		      .reply_to = S("trips"),
		      .headers = headers};
	wb_error err = WB_ERROR_INIT;
	wb_outbox *outbox;
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	for (size_t i = 0; i < 5; i++)
		if (values[i])
			headers[e.header_count++] = (wb_header){
				wb_str_from(names[i]), wb_str_from(values[i])};
	assert_ok(wb_outbox_open(s->store, NULL, &outbox, &err), err);
	assert_ok(wb_outbox_append(outbox, txn, &e, NULL, &err), err);
	assert_ok(wb_store_commit(s->store, txn, &err), err);
	wb_outbox_close(outbox);
	services_rest(&r->s);
}

static void assert_saga(rig *r, const char *id, uint8_t status,
			const char *reason)
{
	service *s = &r->s.all[TRIPS];
	wbi_saga_id key = {.kind = WBI_SAGA_ORCHESTRATED,
			   .id = wb_str_from(id)};
	wbi_saga_row row;
	MDB_txn *txn = service_saga(s, &key, &row);

	if (row.status != status || !wb_str_eq(row.reason, wb_str_from(reason)))
		fail_msg("%u (%.*s), not %u (%s)", row.status,
			 (int)row.reason.len, row.reason.ptr, status, reason);
	wb_store_abort(txn);
}

static unsigned dead_letters(rig *r)
{
	return (unsigned)wb_worker_get_stat(r->s.all[TRIPS].worker).dead;
}

/* ---- steps that run here ------------------------------------------------- */

static wb_code notes_data(wb_call *call, wb_error *err)
{
	static const char bytes[DATA_MAX + 1];

	assert_true(wb_str_eq(wb_saga_data(call), S("for two")));
	assert_code(wb_saga_set(call, wb_str_n(bytes, sizeof(bytes)), err),
		    WB_ELIMIT, *err);
	/* It is no command, and no binding of a flow. */
	assert_int_equal(wb_command_saga(call).len, 0);
	assert_code(wb_reply(call, S("a"), S("b"), err), WB_EINVAL, *err);
	assert_int_equal(wb_flow_saga(call).len, 0);
	return wb_saga_set(call, S("for three"), err);
}

static wb_code notes_nothing(wb_call *call, wb_error *err)
{
	return wb_saga_set(call, WB_STR_NULL, err);
}

static wb_code retries(wb_call *call, wb_error *err)
{
	(void)call;
	return wb_retry(err, "no pen");
}

static wb_code stops(wb_call *call, wb_error *err)
{
	(void)call;
	return wb_stop(err, "no desk");
}

static wb_code rejects(wb_call *call, wb_error *err)
{
	(void)call;
	return wb_reject(err, "not today");
}

static void what_a_step_sets_the_next_one_is_told(void **state)
{
	rig *r = rig_of(state);

	play.note = notes_data;
	start(r, "trip", "a");
	assert_string_equal(heard, "room.book(for three) ");
	play.note = notes_nothing;
	start(r, "trip", "b");
	assert_string_equal(heard, "room.book(for three) room.book() ");
	assert_int_equal(play.opened, 1);
	rig_fini(r);
	assert_int_equal(play.closed, 1);
}

static void a_step_that_fails_here_is_tried_again_then_refused(void **state)
{
	rig *r = rig_of(state);

	play.note = retries;
	start(r, "trip", "a");
	assert_saga(r, "a", WB_SAGA_RUNNING, "no pen");
	services_wait_s(&r->s, 5);
	assert_int_equal(play.noted, 2);
	assert_saga(r, "a", WB_SAGA_COMPENSATED, "no pen");
	assert_int_equal(play.struck, 0);
	play.note = rejects;
	start(r, "trip", "b");
	assert_saga(r, "b", WB_SAGA_COMPENSATED, "not today");
	rig_fini(r);
}

static void a_step_that_stops_here_stops_the_handler(void **state)
{
	rig *r = rig_of(state);
	service *s = &r->s.all[TRIPS];

	play.note = stops;
	start(r, "trip", "a");
	service_kill(s);
	play.note = NULL;
	service_start(&r->s, TRIPS);
	services_rest(&r->s);
	assert_string_equal(heard, "room.book(for two) ");
	rig_fini(r);
}

/* ---- replies ------------------------------------------------------------- */

static void a_reply_that_is_none_is_a_dead_letter(void **state)
{
	char saga[182];
	const said wrong[] = {{NULL, "book", "do", "1", "done"},
			      {saga, "book", "do", "1", "done"},
			      {"a", NULL, "do", "1", "done"},
			      {"a", "book", NULL, "1", "done"},
			      {"a", "book", "dodo", "1", "done"},
			      {"a", "book", "do", NULL, "done"},
			      {"a", "book", "do", "x", "done"},
			      {"a", "book", "do", "/", "done"},
			      {"a", "book", "do", "99999999999", "done"},
			      {"a", "book", "do", "4294967296", "done"},
			      {"a", "book", "do", "1", NULL}};
	enum { COUNT = sizeof(wrong) / sizeof(wrong[0]) };
	rig *r = rig_of(state);

	memset(saga, 's', sizeof(saga));
	saga[sizeof(saga) - 1] = '\0';
	start(r, "trip", "a");
	for (unsigned i = 0; i < COUNT; i++) {
		say(r, "room.book.reply", &wrong[i]);
		assert_int_equal(dead_letters(r), i + 1);
	}
	assert_saga(r, "a", WB_SAGA_RUNNING, "");
	rig_fini(r);
}

static void a_reply_that_fits_nothing_changes_nothing(void **state)
{
	const said idle[] = {{NULL, NULL, NULL, NULL, NULL},
			     {"nobody", "book", "do", "1", "done"},
			     {"a", "booked", "do", "1", "done"},
			     {"a", "note", "do", "1", "done"},
			     {"a", "book", "do", "1", "late"},
			     {"a", "book", "do", "1", "whatever"},
			     {"a", "book", "do", "7", "done"},
			     {"a", "book", "probe", "1", "done"},
			     {"a", "book", "undo", "1", "done"}};
	const said done = {"a", "book", "do", "1", "done"};
	rig *r = rig_of(state);

	start(r, "trip", "a");
	for (size_t i = 0; i < sizeof(idle) / sizeof(idle[0]); i++)
		say(r, "room.book.reply", &idle[i]);
	assert_saga(r, "a", WB_SAGA_RUNNING, "");
	assert_int_equal(dead_letters(r), 0);
	say(r, "room.book.reply", &done);
	assert_saga(r, "a", WB_SAGA_COMPLETED, "");
	say(r, "room.book.reply", &done);
	assert_int_equal(dead_letters(r), 0);
	rig_fini(r);
}

/* What it does with the reply is part of the step. */
static void who_does_not_want_a_reply_has_a_dead_letter(void **state)
{
	const said done = {"a", "book", "do", "1", "done"};
	rig *r = rig_of(state);

	play.hear = rejects;
	start(r, "trip", "a");
	say(r, "room.book.reply", &done);
	assert_int_equal(dead_letters(r), 1);
	assert_saga(r, "a", WB_SAGA_RUNNING, "");
	rig_fini(r);
}

static void what_has_ended_is_forgotten_in_time(void **state)
{
	const said done = {"a", "book", "do", "1", "done"};
	wbi_saga_id id = {.kind = WBI_SAGA_ORCHESTRATED, .id = S("a")};
	rig *r = rig_of(state);

	start(r, "trip", "a");
	say(r, "room.book.reply", &done);
	fake_clock_advance_us(&r->s.clock, INT64_C(7200) * 1000000);
	start(r, "trip", "b");
	start(r, "trip", "c");
	service_order(&r->s.all[TRIPS], &id, WBI_VERB_ABANDON,
		      "there is no such saga");
	start(r, "trip", "a");
	assert_saga(r, "a", WB_SAGA_RUNNING, "");
	rig_fini(r);
}

/* ---- timers and orders --------------------------------------------------- */

static void set_timer(rig *r, const char *name, wb_str data)
{
	service *s = &r->s.all[TRIPS];
	wb_error err = WB_ERROR_INIT;
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	assert_ok(wbi_timer_set(txn, wbi_store_get_tables(s->store), S("sagas"),
				wb_str_from(name), r->s.clock.real_us, data,
				NULL, NULL, &err),
		  err);
	assert_ok(wb_store_commit(s->store, txn, &err), err);
	services_rest(&r->s);
}

static void a_timer_that_fits_nothing_does_nothing(void **state)
{
	/* Version, verb, number, time, length of who; who, why. */
	static const char gone[] = "\1\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3kimx";
	rig *r = rig_of(state);

	start(r, "trip", "a");
	set_timer(r, "s", S("1234"));
	set_timer(r, "s-a", S("1234"));
	set_timer(r, "s/b", S("1234"));
	set_timer(r, "s/b", S("12"));
	set_timer(r, "d/b", S("1234"));
	assert_int_equal(dead_letters(r), 0);
	set_timer(r, "v/a", S("what?"));
	assert_int_equal(dead_letters(r), 1);
	set_timer(r, "v/b", wb_str_n(gone, sizeof(gone) - 1));
	assert_int_equal(
		service_audited(&r->s.all[TRIPS], "saga abandon refused"), 1);
	assert_saga(r, "a", WB_SAGA_RUNNING, "");
	rig_fini(r);
}

static wb_code give(rig *r, const wbi_order_how *how, wbi_order_item *item,
		    wb_error *err)
{
	size_t count;

	return wbi_order_give(r->s.all[TRIPS].store, how, item, 1, &count, err);
}

static void an_order_says_what_is_wrong_with_it(void **state)
{
	static const char bytes[1200];
	wbi_order_how how = {.verb = WBI_VERB_COMPENSATE,
			     .actor = {S("kim"), WB_STR_NULL}};
	wbi_saga_id id = {.kind = WBI_SAGA_ORCHESTRATED, .id = S("a")};
	wbi_row_key key = wbi_saga_key(&id);
	wbi_order_item item = {.key = wbi_row_key_str(&key)};
	rig *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	start(r, "trip", "a");
	assert_code(give(r, &how, &item, &err), WB_EINVAL, err);
	how.actor.why = wb_str_n(bytes, sizeof(bytes));
	assert_code(give(r, &how, &item, &err), WB_EINVAL, err);
	how.actor = (wbi_actor){wb_str_n(bytes, sizeof(bytes)), S("a test")};
	assert_code(give(r, &how, &item, &err), WB_EINVAL, err);
	how.actor.who = S("kim");
	how.dry_run = true;
	how.txn_us = 1;
	assert_ok(give(r, &how, &item, &err), err);
	assert_true(item.done);
	services_rest(&r->s);
	assert_saga(r, "a", WB_SAGA_RUNNING, "");
	assert_int_equal(service_audited(&r->s.all[TRIPS], "saga compensate"),
			 0);
	item.key = S("x"); /* is the key of none */
	assert_int_not_equal(give(r, &how, &item, &err), WB_OK);
	assert_false(item.done);
	rig_fini(r);
}

/* ---- what is refused at once --------------------------------------------- */

static void a_start_says_what_is_wrong_with_it(void **state)
{
	static const char bytes[DATA_MAX + 1];
	const struct {
		const char *name;
		wb_str id, type, data;
		wb_code code;
	} wrong[] = {
		{"trip", WB_STR_NULL, WB_STR_NULL, WB_STR_NULL, WB_EINVAL},
		{"trip", wb_str_n(bytes, 181), WB_STR_NULL, WB_STR_NULL,
		 WB_EINVAL},
		{"trip", S("a"), wb_str_n(bytes, 256), WB_STR_NULL, WB_EINVAL},
		{"trip", S("a"), WB_STR_NULL, wb_str_n(bytes, sizeof(bytes)),
		 WB_EINVAL},
		{"tripe", S("a"), WB_STR_NULL, WB_STR_NULL, WB_ENOTFOUND},
		{NULL, S("a"), WB_STR_NULL, WB_STR_NULL, WB_ENOTFOUND}};
	rig *r = rig_of(state);
	service *s = &r->s.all[TRIPS];
	wb_error err = WB_ERROR_INIT;
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_code(wb_saga_start(s->part, txn, wrong[i].name,
					  wrong[i].id, wrong[i].type,
					  wrong[i].data, &err),
			    wrong[i].code, err);
	assert_code(wb_saga_start(NULL, txn, "trip", S("a"), WB_STR_NULL,
				  WB_STR_NULL, &err),
		    WB_EINVAL, err);
	assert_code(wb_saga_start(s->part, NULL, "trip", S("a"), WB_STR_NULL,
				  WB_STR_NULL, &err),
		    WB_EINVAL, err);
	wb_store_abort(txn);
	assert_int_equal(wb_saga_id(NULL).len, 0);
	assert_int_equal(wb_saga_data(NULL).len, 0);
	assert_int_equal(wb_saga_reason(NULL).len, 0);
	assert_code(wb_saga_set(NULL, S("x"), &err), WB_EINVAL, err);
	rig_fini(r);
}

static void an_orchestrator_says_what_is_wrong_with_it(void **state)
{
	static const wb_saga none = {.size = sizeof(none), .name = "none"};
	static const wb_saga *const bad[] = {&none};
	static const wb_saga *const twice[] = {&trip, &trip};
	static const wb_saga *many[KINDS];
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_error err = WB_ERROR_INIT;
	wb_orchestrator *o = NULL;

	assert_code(wb_orchestrator_open(NULL, sagas, 1, NULL, &o, &err),
		    WB_EINVAL, err);
	assert_code(wb_orchestrator_open(store, NULL, 1, NULL, &o, &err),
		    WB_EINVAL, err);
	assert_code(wb_orchestrator_open(store, sagas, 0, NULL, &o, &err),
		    WB_EINVAL, err);
	assert_code(wb_orchestrator_open(store, many, KINDS, NULL, &o, &err),
		    WB_EINVAL, err);
	assert_code(wb_orchestrator_open(store, bad, 1, NULL, &o, &err),
		    WB_EINVAL, err);
	assert_int_equal(wb_orchestrator_open(store, twice, 2, NULL, &o, &err),
			 WB_EINVAL);
	assert_non_null(strstr(err.text, "the same definition twice"));
	wb_error_clear(&err);
	assert_null(o);
	assert_ok(wb_orchestrator_open(store, sagas, 2, "elsewhere", &o, &err),
		  err);
	wb_orchestrator_close(o);
	wb_orchestrator_close(NULL);
	wb_store_close(store);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(what_a_step_sets_the_next_one_is_told),
		T(a_step_that_fails_here_is_tried_again_then_refused),
		T(a_step_that_stops_here_stops_the_handler),
		T(a_reply_that_is_none_is_a_dead_letter),
		T(a_reply_that_fits_nothing_changes_nothing),
		T(who_does_not_want_a_reply_has_a_dead_letter),
		T(what_has_ended_is_forgotten_in_time),
		T(a_timer_that_fits_nothing_does_nothing),
		T(an_order_says_what_is_wrong_with_it),
		T(a_start_says_what_is_wrong_with_it),
		T(an_orchestrator_says_what_is_wrong_with_it),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
