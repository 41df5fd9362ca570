/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * make_saga DIR: put sagas into the new store DIR (service booking) as a worker
 * leaves them on a bad night: orchestrated ones that wait, have ended, are
 * parked for each reason; choreographed ones that wait and are stuck; a command
 * of somebody else's saga.
 *
 * make_saga DIR --work [S]: run the worker of that store, as it would be in S
 * seconds, until it has nothing left to do. Steps that $MAKE_SAGA_FAILS names fail; "old" is a kind that it does
 * not bring, unless $MAKE_SAGA_OLD is set.
 *
 * make_saga DIR --effects SAGA: how often its step "tell" took effect.
 *
 * make_saga DIR --many N: N more that wait.
 */
#include <stdio.h>
#include <stdlib.h>

#include <lmdb.h>

#include <waybill/participant.h>
#include <waybill/saga.h>
#include <waybill/worker.h>

#include "lib/journal/journal.h"

#define S(literal) wb_str_n("" literal, sizeof(literal) - 1)

enum { HOUR_S = 3600, QUIET = 100 };

typedef struct maker {
	wb_store *store;
	wb_orchestrator *orchestrator;
	wb_choreography *flow;
	wb_error err;
} maker;

static void must(const maker *m, wb_code code)
{
	if (code == WB_OK)
		return;
	fprintf(stderr, "make_saga: %s: %s\n", wb_code_name(code),
		m->err.text);
	exit(1);
}

/* ---- a clock that is behind -------------------------------------------- */

static int64_t real_us(void *ctx)
{
	const wb_clock *clock = wb_system_clock();

	return clock->real_us(clock->ctx) - *(int64_t *)ctx;
}

static int64_t mono_us(void *ctx)
{
	const wb_clock *clock = wb_system_clock();

	(void)ctx;
	return clock->mono_us(clock->ctx);
}

/* ---- kinds of sagas ------------------------------------------------------ */

static bool fails(const char *step)
{
	const char *list = getenv("MAKE_SAGA_FAILS");

	return list && strstr(list, step);
}

static wb_code note(wb_call *call, wb_error *err)
{
	(void)call;
	return fails("note") ? wb_reject(err, "no paper") : WB_OK;
}

static wb_code hold(wb_call *call, wb_error *err)
{
	(void)call;
	(void)err;
	return WB_OK;
}

static wb_code let_go(wb_call *call, wb_error *err)
{
	(void)call;
	return fails("let_go") ? wb_retry(err, "the latch is stuck") : WB_OK;
}

static wb_code go(wb_call *call, wb_error *err)
{
	(void)call;
	return fails("go") ? wb_reject(err, "the road is closed") : WB_OK;
}

static MDB_dbi effects;

static wb_code tell(wb_call *call, wb_error *err)
{
	wb_str id = wb_saga_id(call);
	MDB_val key = {id.len, (void *)(uintptr_t)id.ptr}, old;
	uint64_t count = 0;
	MDB_val value = {sizeof(count), &count};

	if (fails("tell"))
		return wb_reject(err, "nobody picks up");
	if (mdb_get(wb_call_txn(call), effects, &key, &old) == 0)
		memcpy(&count, old.mv_data, sizeof(count));
	count++;
	return wb_store_error(mdb_put(wb_call_txn(call), effects, &key, &value,
				      0),
			      err, "tell");
}

static wb_code open_effects(const wb_handler *self, wb_store *store,
			    MDB_txn *txn, void **ret, wb_error *err)
{
	(void)self;
	(void)store;
	(void)ret;
	return wb_store_error(
		mdb_dbi_open(txn, "effects", MDB_CREATE, &effects), err,
		"effects");
}

static const wb_step booking_steps[] = {
	{"create", .run = note, .run_undo = note},
	{"pay", .command = "billing.pay", .undo = "billing.refund",
	 .probe = "billing.status", .deadline_ms = 86400000},
	{"reserve", WB_PIVOT, .command = "parking.reserve"},
	{"finish", WB_RETRIABLE, .run = note}};
static const wb_step order_steps[] = {
	{"note", .run = note, .run_undo = note},
	{"ship", WB_PIVOT, .run = note},
	{"tell", WB_RETRIABLE, .run = tell, .attempts_max = 1}};
static const wb_step trip_steps[] = {
	{"hold", .run = hold, .run_undo = let_go, .undo_attempts_max = 1},
	{"go", WB_PIVOT, .run = go}};
static const wb_step old_steps[] = {
	{"ask", .command = "museum.ask", .keeps = true, .deadline_ms = 1,
	 .attempts_max = 100}};
static const wb_step slow_steps[] = {
	{"ask", .command = "museum.ask", .keeps = true, .deadline_ms = 1000}};

#define KIND(name, steps)                                                     \
	{sizeof(wb_saga), name, steps, sizeof(steps) / sizeof(steps[0]),      \
	 .deadline_ms = UINT64_C(30) * 86400000, .open = open_effects}
static const wb_saga booking = KIND("booking", booking_steps);
static const wb_saga order = KIND("order", order_steps);
static const wb_saga trip = KIND("trip", trip_steps);
static const wb_saga slow = KIND("slow", slow_steps);
static const wb_saga old = KIND("old", old_steps);

/* ---- a flow -------------------------------------------------------------- */

static const wb_reaction reactions[] = {
	{"booking", "create", NULL, "booking.created",
	 .awaits = "parking.reserved|parking.unavailable",
	 .within_ms = HOUR_S * 1000},
	{"parking", "reserve", "booking.created", "parking.reserved",
	 .refuses = "parking.unavailable"},
	{"booking", "finish", .on = "parking.reserved"},
	{"booking", "fail", "parking.unavailable", .undoes = "create"}};
static const wb_flow flow = {sizeof(wb_flow), "parking", reactions,
			     sizeof(reactions) / sizeof(reactions[0]), 0};

static wb_code react(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)call;
	(void)event;
	(void)err;
	return WB_OK;
}

static const wb_flow_binding bindings[] = {{"finish", react, NULL},
					   {"fail", react, NULL}};
static const wb_flow_part part = {.size = sizeof(wb_flow_part),
				  .flow = &flow,
				  .service = "booking",
				  .bindings = bindings,
				  .count = 2};

/* ---- a part in somebody else's saga -------------------------------------- */

static wb_code on_block(wb_call *call, const wb_event *command, wb_error *err)
{
	(void)command;
	return wb_command_keep(call, S("slot 9 was free"), err);
}

static const wb_command commands[] = {
	{.type = "parking.block", .undo = "parking.unblock", .run = on_block,
	 .run_undo = on_block}};
static const wb_participant participant = {.size = sizeof(wb_participant),
					   .name = "lot",
					   .commands = commands,
					   .count = 1};

/* As ingest would have taken it in. */
static void be_asked(maker *m, const char *saga)
{
	const wb_header headers[] = {
		{S("wbsaga"), wb_str_from(saga)},
		{S("wbstep"), S("block")},
		{S("wbop"), S("do")},
		{S("wbepoch"), S("1")},
		{S("wbdeadline"), S("2999-01-01T00:00:00Z")}};
	const wb_event event = {.type = S("parking.block"),
				.source = S("/elsewhere"),
				.id = S("c-1"),
				.reply_to = S("elsewhere"),
				.headers = headers,
				.header_count = 5};
	wbi_journal inbox = wbi_journal_of(m->store, WBI_INBOX);
	uint64_t first;
	MDB_txn *txn;

	must(m, wb_store_begin(m->store, &txn, &m->err));
	must(m, wbi_journal_append(&inbox, txn, &event, 1, S(""), &first,
				   &m->err));
	must(m, wb_store_commit(m->store, txn, &m->err));
}

/* ---- what is done -------------------------------------------------------- */

static void maker_open(maker *m, const char *dir, const wb_clock *clock,
		       bool with_old)
{
	static const wb_saga *const sagas[] = {&booking, &order, &trip, &slow,
					       &old};
	wb_store_options options = WB_STORE_OPTIONS_INIT;

	options.clock = clock;
	must(m, wb_store_open(dir, &options, &m->store, &m->err));
	must(m, wb_orchestrator_open(m->store, sagas, with_old ? 5 : 4, NULL,
				     &m->orchestrator, &m->err));
	must(m, wb_choreography_open(m->store, &part, &m->flow, &m->err));
}

static void maker_close(maker *m)
{
	wb_choreography_close(m->flow);
	wb_orchestrator_close(m->orchestrator);
	wb_store_close(m->store);
}

static void work(maker *m, const wb_clock *clock)
{
	const wb_handler *handlers[] = {
		wb_orchestrator_handler(m->orchestrator),
		wb_choreography_handler(m->flow), NULL};
	wb_worker_options options = WB_WORKER_OPTIONS_INIT;
	wb_worker *worker;

	options.clock = clock;
	must(m, wb_participant_handler(&participant, &handlers[2], &m->err));
	must(m, wb_worker_open(m->store, NULL, NULL, handlers, 3, &options,
			       &worker, &m->err));
	for (int quiet = 0; quiet < QUIET;) {
		must(m, wb_worker_step(worker, true, &m->err));
		quiet = wb_worker_get_stat(worker).idle ? quiet + 1 : 0;
	}
	wb_worker_close(worker);
	wb_participant_handler_free(handlers[2]);
}

static void start(maker *m, const char *kind, const char *id)
{
	MDB_txn *txn;

	must(m, wb_store_begin(m->store, &txn, &m->err));
	must(m, wb_saga_start(m->orchestrator, txn, kind, wb_str_from(id),
			      S("application/json"), S("{\"n\":1}"), &m->err));
	must(m, wb_store_commit(m->store, txn, &m->err));
}

static void begin(maker *m, const char *saga)
{
	const wb_event event = {.type = S("booking.created")};
	MDB_txn *txn;

	must(m, wb_store_begin(m->store, &txn, &m->err));
	must(m, wb_flow_begin(m->flow, txn, "create", wb_str_from(saga),
			      &event, S("slot 7"), &m->err));
	must(m, wb_store_commit(m->store, txn, &m->err));
}

static void make(maker *m, const char *dir)
{
	const int64_t hour_us = HOUR_S * INT64_C(1000000);
	int64_t behind_us = 2 * hour_us;
	const wb_clock clock = {real_us, mono_us, &behind_us};

	maker_open(m, dir, &clock, true);
	start(m, "old", "o-lost");
	work(m, &clock);
	maker_close(m);
	maker_open(m, dir, &clock, false);
	setenv("MAKE_SAGA_FAILS", "tell let_go go", 1);
	start(m, "booking", "o-wait");
	start(m, "order", "o-tell");
	start(m, "trip", "o-undo");
	start(m, "booking", "both");
	be_asked(m, "elsewhere-1");
	begin(m, "f-stuck");
	begin(m, "both");
	work(m, &clock);
	unsetenv("MAKE_SAGA_FAILS");
	start(m, "order", "o-done");
	behind_us = hour_us / 2; /* the flow's waits are over */
	work(m, &clock);
	behind_us = 2 * hour_us;
	start(m, "slow", "o-late");
	work(m, &clock);
	behind_us = hour_us / 6;
	begin(m, "f-wait");
	start(m, "order", "o-new");
	maker_close(m);
}

static void make_many(maker *m, const char *dir, unsigned long count)
{
	MDB_txn *txn;

	maker_open(m, dir, NULL, false);
	must(m, wb_store_begin(m->store, &txn, &m->err));
	for (unsigned long i = 1; i <= count; i++) {
		char id[32];

		snprintf(id, sizeof(id), "m-%07lu", i);
		must(m, wb_saga_start(m->orchestrator, txn, "booking",
				      wb_str_from(id), S("text/plain"), S("x"),
				      &m->err));
		if (i % 1000 != 0)
			continue;
		must(m, wb_store_commit(m->store, txn, &m->err));
		must(m, wb_store_begin(m->store, &txn, &m->err));
	}
	must(m, wb_store_commit(m->store, txn, &m->err));
	maker_close(m);
}

static void print_effects(maker *m, const char *dir, const char *id)
{
	MDB_val key = {strlen(id), (void *)(uintptr_t)id}, value;
	uint64_t count = 0;
	MDB_txn *txn;

	maker_open(m, dir, NULL, true);
	must(m, wb_store_begin(m->store, &txn, &m->err));
	must(m, wb_store_error(mdb_dbi_open(txn, "effects", MDB_CREATE,
					    &effects),
			       &m->err, "effects"));
	if (mdb_get(txn, effects, &key, &value) == 0)
		memcpy(&count, value.mv_data, sizeof(count));
	wb_store_abort(txn);
	maker_close(m);
	printf("%u\n", (unsigned)count);
}

int main(int argc, char **argv)
{
	maker m = {.err = WB_ERROR_INIT};
	const char *what = argc > 2 ? argv[2] : "";
	int64_t behind_us = 0;
	const wb_clock clock = {real_us, mono_us, &behind_us};

	if (argc < 2)
		return 2;
	if (argc == 2) {
		make(&m, argv[1]);
	} else if (!strcmp(what, "--work")) {
		behind_us = argc > 3 ? -atol(argv[3]) * INT64_C(1000000) : 0;
		maker_open(&m, argv[1], &clock,
			   getenv("MAKE_SAGA_OLD") != NULL);
		work(&m, &clock);
		maker_close(&m);
	} else if (argc > 3 && !strcmp(what, "--many")) {
		make_many(&m, argv[1], strtoul(argv[3], NULL, 10));
	} else if (argc > 3 && !strcmp(what, "--effects")) {
		print_effects(&m, argv[1], argv[3]);
	} else {
		return 2;
	}
	return 0;
}
