/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parts that go on by themselves: a worker with a handler, a projector; a
 * saga that is started, a reader. In the end all is done, once.
 */
#include <openssl/err.h>
#include <stdlib.h>

#include <waybill/saga.h>

#include "tests/crash/fail_points.h"
#include "tests/crash/crash_points.h"
#include "tests/projections/rig.h"
#include "tests/saga/services.h"

enum { PARTS_TURNS = 400, PARTS_IDLE = 20, PARTS_EVENTS = 8 };

static void parts_sound(const char *dir, wb_code code)
{
	(void)code;
	crash_assert_sound(test_path(dir, "store"));
}

/* ---- a worker ----------------------------------------------------------- */

static wb_code count_call(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_event told = {.type = S("noted"), .data = event->id};
	char text[16];
	MDB_val key = {event->id.len, (void *)(uintptr_t)event->id.ptr}, value;
	unsigned long n = 0;
	wb_code code;
	int rc = mdb_get(wb_call_txn(call), state_of(call), &key, &value);

	if (rc == 0) {
		snprintf(text, sizeof(text), "%.*s", (int)value.mv_size,
			 (char *)value.mv_data);
		n = strtoul(text, NULL, 10);
	} else if (rc != MDB_NOTFOUND) {
		return wb_store_error(rc, err, "count");
	}
	snprintf(text, sizeof(text), "%lu", n + 1);
	code = state_put(wb_call_txn(call), state_of(call), event->id, text,
			 err);
	return code == WB_OK ? wb_emit(call, &told, err) : code;
}

static const char *const worker_types[] = {"placed", NULL};
static const wb_handler worker_handler = {.size = sizeof(wb_handler),
					  .name = "count",
					  .types = worker_types,
					  .handle = count_call,
					  .open = state_open,
					  .close = free};

static void worker_open(service *s)
{
	s->handlers[0] = &worker_handler;
	s->handler_count = 1;
}

static void worker_close(service *s)
{
	(void)s;
}

static const service_kind worker_kinds[] = {
	{"store", worker_open, worker_close}};

static void worker_put(services *r, int n)
{
	wb_message message = {.exchange = S("events"),
			      .routing_key = S("placed"),
			      .type = S("placed"),
			      .app_id = S("stranger"),
			      .body = S("x")};
	char id[16];

	snprintf(id, sizeof(id), "o%d", n);
	message.message_id = wb_str_from(id);
	assert_int_equal(wb_memory_put(r->memory, &message, NULL), WB_OK);
}

static wb_code worker_run(const char *dir, wb_error *err)
{
	char key[16];
	services r;

	(void)err;
	fail_hold(true);
	services_init(&r, dir, 1, worker_kinds, 1, NULL);
	services_rest(&r);
	for (int i = 1; i <= PARTS_EVENTS; i++)
		worker_put(&r, i);
	fail_hold(false);
	for (int i = 0, idle = 0; i < PARTS_TURNS && idle < PARTS_IDLE; i++) {
		wb_error why = WB_ERROR_INIT;
		wb_code code =
			wb_worker_step(r.all[0].worker, true, &why);

		if (!fail_goes_on(code, &why)) {
			service_kill(&r.all[0]);
			service_start(&r, 0);
		}
		idle = wb_worker_get_stat(r.all[0].worker).idle ? idle + 1 : 0;
		fake_clock_advance_us(&r.clock, 10000);
	}
	fail_hold(true);
	services_rest(&r);
	for (int i = 1; i <= PARTS_EVENTS; i++) {
		snprintf(key, sizeof(key), "o%d", i);
		assert_state(&r.all[0], key, "1");
	}
	services_fini(&r);
	return WB_OK;
}

const fail_work fail_worker = {"worker", NULL, worker_run, parts_sound};

/* ---- sagas -------------------------------------------------------------- */

static wb_code saga_step(wb_call *call, wb_error *err)
{
	return state_put(wb_call_txn(call), state_of(call), wb_saga_id(call),
			 "done", err);
}

static const wb_step saga_steps[] = {
	{"one", .run = saga_step, .keeps = true},
	{"two", WB_RETRIABLE, .run = saga_step}};
static const wb_saga saga = {sizeof(wb_saga), "trip",	  saga_steps, 2,
			     .open = state_open, .close = free};
static const wb_saga *const sagas[] = {&saga};

static void finding(void *ctx, const wb_finding *what)
{
	(void)ctx;
	(void)what;
}

static wb_code saga_begin(wb_store *store, wb_orchestrator *o, wb_error *err)
{
	MDB_txn *txn = NULL;
	wb_code code = wb_store_begin(store, &txn, err);

	if (code == WB_OK)
		code = wb_saga_start(o, txn, "trip", S("t1"), S("text/plain"),
				     S("x"), err);
	if (code == WB_OK)
		return wb_store_commit(store, txn, err);
	wb_store_abort(txn);
	return code;
}

/* libcrypto, which hashes definitions, does not survive that its very first call
 * finds no memory (3.0), and its first error takes memory for as long as the
 * thread lives: both are done with here. */
static void sagas_prepare(const char *dir)
{
	wb_orchestrator *o;
	wb_store *store;

	store = test_store_make(test_path(dir, "store"));
	assert_int_equal(wb_orchestrator_open(store, sagas, 1, NULL, &o, NULL),
			 WB_OK);
	wb_orchestrator_close(o);
	wb_store_close(store);
	ERR_raise(ERR_LIB_USER, ERR_R_MALLOC_FAILURE);
	ERR_clear_error();
}

static wb_code sagas_run(const char *dir, wb_error *err)
{
	wb_orchestrator *o = NULL;
	wb_store *store = NULL;
	char *graph = NULL;
	wb_code code;

	code = wb_store_open(test_path(dir, "store"), NULL, &store, err);
	if (code == WB_OK)
		code = wb_saga_check(&saga, NULL, 0, finding, NULL, err);
	if (code == WB_OK)
		code = wb_saga_graph(&saga, WB_GRAPH_DOT, &graph, err);
	free(graph);
	if (code == WB_OK)
		code = wb_orchestrator_open(store, sagas, 1, NULL, &o, err);
	if (code == WB_OK)
		code = saga_begin(store, o, err);
	wb_orchestrator_close(o);
	wb_store_close(store);
	return code;
}

const fail_work fail_sagas = {"sagas", sagas_prepare, sagas_run, parts_sound};

/* ---- a projector, and a reader ------------------------------------------ */

static void projection_init(rig *r, test_place *place, const char *dir)
{
	snprintf(place->dir, sizeof(place->dir), "%s", dir);
	snprintf(place->store, sizeof(place->store), "%s/store", dir);
	rig_init(r, place, WB_ON_ERROR_QUARANTINE_KEY);
	rig_append_many(r, 12, 3);
}

/* As an operator would, who has seen why it stands still. */
static void projection_resume(rig *r)
{
	wb_projector_stat stat = wb_projector_get_stat(r->projector);

	if (stat.state != WB_PROJECTOR_STUCK)
		return;
	fail_judge(stat.error.code, &stat.error);
	rig_ask(r, WB_PROJECTION_RESUME);
}

static void projection_steps(rig *r)
{
	for (int i = 0, idle = 0; i < PARTS_TURNS && idle < PARTS_IDLE; i++) {
		wb_error why = WB_ERROR_INIT;
		wb_code code = wb_projector_step(r->projector, true, &why);

		if (!fail_goes_on(code, &why)) {
			rig_close(r);
			rig_open(r);
		}
		projection_resume(r);
		idle = wb_projector_get_stat(r->projector).idle ? idle + 1 : 0;
	}
}

static wb_code projection_run(const char *dir, wb_error *err)
{
	char model[33], fresh[33];
	test_place place;
	wb_code code;
	rig r;

	fail_hold(true);
	projection_init(&r, &place, dir);
	fail_hold(false);
	code = wb_projector_open(r.store, &r.projection, &r.options,
				 &r.projector, err);
	if (code == WB_OK)
		projection_steps(&r);
	fail_hold(true);
	if (!r.projector)
		rig_open(&r);
	rig_settle(&r);
	rig_digest(&r, 0, model);
	rig_fresh_digest(&r, fresh);
	assert_string_equal(model, fresh);
	rig_fini(&r);
	return code;
}

const fail_work fail_projection = {"projection", NULL, projection_run,
				     parts_sound};

static void read_prepare(const char *dir)
{
	test_place place;
	rig r;

	projection_init(&r, &place, dir);
	rig_open(&r);
	rig_settle(&r);
	rig_fini(&r);
}

static wb_code read_rows(wb_read *read, wb_error *err)
{
	wb_read_query query = WB_READ_QUERY_INIT;
	wb_read_row row;
	wb_str value;
	wb_code code = wb_read_get(read, "counts", S("k1"), &value, err);

	query.table = "last";
	query.index = "by_word";
	if (code == WB_OK)
		code = wb_read_scan(read, &query, err);
	while (code == WB_OK)
		code = wb_read_next(read, &row, err);
	return code == WB_ENOTFOUND && err->code == WB_OK ? WB_OK : code;
}

static wb_code read_run(const char *dir, wb_error *err)
{
	wb_read *read = NULL;
	wb_code code;

	code = wb_read_open(test_path(dir, "store"), "things", NULL, &read,
			    err);
	if (code == WB_OK)
		code = wb_read_begin(read, err);
	if (code == WB_OK)
		code = read_rows(read, err);
	wb_read_close(read);
	return code;
}

const fail_work fail_read = {"read", read_prepare, read_run, parts_sound};
