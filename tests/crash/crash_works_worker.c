/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker takes in orders; its handler counts each, emits an event, which comes
 * back to it over the broker, and starts a saga of three local steps, each of
 * which counts. So the work has ingest, dispatch, emit, relay, timers and saga
 * steps in it. After the crash a new broker has what the old one had not heard
 * an ack of, and in the end everything was counted once.
 */
#include <stdlib.h>

#include <waybill/saga.h>

#include "lib/base/assert.h"
#include "tests/crash/crash_points.h"
#include "tests/crash/disk_trace.h"
#include "tests/saga/services.h"
#include "tests/support/place.h"
#include "tests/support/testing.h"

enum { WORKER_ORDERS = 3, WORKER_LATER_US = 60000000 };

/* What the broker of the recorded run was sent; the checks, which are children,
 * look into it. */
static services recorded;

typedef struct shop {
	wb_orchestrator *orchestrator;
	wb_handler handler;
} shop;

/* ---- counting in the table "state" -------------------------------------- */

static wb_code count_one(wb_call *call, const char *what, wb_str id,
			 wb_error *err)
{
	char key[80], text[16];
	MDB_val k, v;
	unsigned long n = 0;

	k.mv_size = (size_t)snprintf(key, sizeof(key), "%s %.*s", what,
				     (int)id.len, id.ptr);
	k.mv_data = key;
	if (mdb_get(wb_call_txn(call), state_of(call), &k, &v) == 0) {
		snprintf(text, sizeof(text), "%.*s", (int)v.mv_size,
			 (char *)v.mv_data);
		n = strtoul(text, NULL, 10);
	}
	snprintf(text, sizeof(text), "%lu", n + 1);
	return state_put(wb_call_txn(call), state_of(call),
			 wb_str_n(key, k.mv_size), text, err);
}

/* ---- the handler and the saga ------------------------------------------- */

static wb_code step_one(wb_call *call, wb_error *err)
{
	return count_one(call, "one", wb_saga_id(call), err);
}

static wb_code step_two(wb_call *call, wb_error *err)
{
	return count_one(call, "two", wb_saga_id(call), err);
}

static wb_code step_three(wb_call *call, wb_error *err)
{
	return count_one(call, "three", wb_saga_id(call), err);
}

static const wb_step steps[] = {{"one", .run = step_one, .keeps = true},
				{"two", WB_PIVOT, .run = step_two},
				{"three", WB_RETRIABLE, .run = step_three}};
static const wb_saga order_saga = {sizeof(wb_saga),
				   "order",
				   steps,
				   WBI_COUNT(steps),
				   .open = state_open,
				   .close = free};
static const wb_saga *const sagas[] = {&order_saga};

static wb_code note(wb_call *call, const wb_event *event, wb_error *err)
{
	shop *s = wb_call_handler(call)->ctx;
	char id[32];
	wb_event told = {.type = S("order.noted"), .key = event->key};
	wb_code code;

	if (!wb_str_eq(event->type, S("order.placed")))
		return count_one(call, "told", event->data, err);
	snprintf(id, sizeof(id), "told-%.*s", (int)event->id.len,
		 event->id.ptr);
	told.id = wb_str_from(id);
	told.data = event->id;
	told.content_type = S("text/plain");
	code = count_one(call, "noted", event->id, err);
	if (code == WB_OK)
		code = wb_emit(call, &told, err);
	if (code == WB_OK)
		code = wb_saga_start(s->orchestrator, wb_call_txn(call),
				     "order", event->id, S("text/plain"),
				     S("x"), err);
	return code;
}

static const char *const note_types[] = {"order.placed", "order.noted", NULL};

static void shop_open(service *s)
{
	wb_error err = WB_ERROR_INIT;
	shop *part = calloc(1, sizeof(*part));

	assert_non_null(part);
	assert_ok(wb_orchestrator_open(s->store, sagas, 1, NULL,
				       &part->orchestrator, &err),
		  err);
	part->handler = (wb_handler)WB_HANDLER_INIT;
	part->handler.name = "note";
	part->handler.types = note_types;
	part->handler.handle = note;
	part->handler.open = state_open;
	part->handler.close = free;
	part->handler.ctx = part;
	s->part = part;
	s->handlers[0] = &part->handler;
	s->handlers[1] = wb_orchestrator_handler(part->orchestrator);
	s->handler_count = 2;
}

static void shop_close(service *s)
{
	shop *part = s->part;

	wb_orchestrator_close(part->orchestrator);
	free(part);
}

static const service_kind kinds[] = {{"shop", shop_open, shop_close}};

/* ---- the work ----------------------------------------------------------- */

static void worker_prepare(const char *dir)
{
	services r;

	services_init(&r, dir, 1, kinds, 1, NULL);
	services_rest(&r);
	services_fini(&r);
}

static void put_order(services *r, unsigned n)
{
	wb_message message = {.exchange = S("events"),
			      .routing_key = S("order.placed"),
			      .type = S("order.placed"),
			      .app_id = S("stranger"),
			      .content_type = S("text/plain"),
			      .body = S("x")};
	char id[16];

	snprintf(id, sizeof(id), "o%u", n);
	message.message_id = wb_str_from(id);
	assert_int_equal(wb_memory_put(r->memory, &message, NULL), WB_OK);
}

static void worker_run(const char *dir)
{
	services *r = &recorded;

	services_init(r, dir, 1, kinds, 1, NULL);
	services_rest(r);
	for (unsigned i = 1; i <= WORKER_ORDERS; i++)
		put_order(r, i);
	for (int turn = 0; turn < 300; turn++) {
		services_step(r);
		disk_trace_mark(
			wb_memory_get_queue_stat(r->memory, "shop").acked);
	}
	service_kill(&r->all[0]); /* its broker's log is looked at later */
}

static void counted_once(services *r, unsigned n)
{
	static const char *const whats[] = {"noted", "told", "one", "two",
					    "three"};
	char key[32];

	for (size_t i = 0; i < WBI_COUNT(whats); i++) {
		snprintf(key, sizeof(key), "%s o%u", whats[i], n);
		assert_state(&r->all[0], key, "1");
	}
}

static void worker_check(const char *dir, uint64_t marked)
{
	const wb_message *m;
	services r;

	crash_assert_sound(test_path(dir, "shop"));
	services_init(&r, dir, 2, kinds, 1, NULL);
	fake_clock_advance_us(&r.clock, WORKER_LATER_US);
	services_rest(&r);
	for (uint64_t i = marked;
	     (m = wb_memory_arrival(recorded.memory, "shop", i)) != NULL; i++)
		assert_int_equal(wb_memory_put(r.memory, m, NULL), WB_OK);
	services_rest(&r);
	for (unsigned i = 1; i <= WORKER_ORDERS; i++)
		counted_once(&r, i);
	services_fini(&r);
	crash_assert_sound(test_path(dir, "shop"));
}

const crash_work crash_worker = {"worker", worker_prepare, worker_run,
				 worker_check};
