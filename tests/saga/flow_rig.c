/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/saga/flow_rig.h"

#include <waybill/choreography.h>
#include <waybill/participant.h>

#include "inbox/timer.h"
#include "lib/base/bytes.h"
#include "lib/journal/saga_rows.h"
#include "tests/support/place.h"
#include "tests/support/testing.h"

static const wb_reaction rows[] = {
	{"shop", "place", NULL, "order.placed", .awaits = "pay.done|pay.failed",
	 .within_ms = 3600000, .keeps = true},
	{"bank", "pay", "order.placed", "pay.done", .refuses = "pay.failed",
	 .keeps = true},
	{"shop", "pack", "pay.done", "order.packed|order.split",
	 .refuses = "pack.refused|pack.told"},
	{"shop", "weigh", "pay.done", .later = true, .within_ms = 3600000,
	 .keeps = true},
	{"ship", "ship", "order.packed", "ship.done", .refuses = "ship.failed",
	 .keeps = true},
	{"shop", "unpack", .on = "ship.failed", .undoes = "pack"},
	{"shop", "close", "ship.done", "order.closed", .later = true,
	 .within_ms = 3600000, .silence = "order.lapsed"},
	{"shop", "unpack-late", .on = "order.lapsed", .undoes = "pack"},
	{"shop", "reopen", .on = "close.failed", .undoes = "close"},
	{"bank", "count", "order.closed", "count.done",
	 .refuses = "close.failed", .keeps = true},
	{"bank", "end", .on = "count.done"},
	{"bank", "refused", .on = "pack.refused", .keeps = true},
	{"bank", "told", .on = "pack.told", .keeps = true},
	{"bank", "split", .on = "order.split", .keeps = true},
	{"shop", "unpack-last", .on = "close.failed", .undoes = "pack"},
};

static const wb_flow flow = {sizeof(flow), "order", rows,
			     sizeof(rows) / sizeof(rows[0]), 86400};

play *play_of(wb_call *call)
{
	return wb_call_handler(call)->ctx;
}

wb_code on_pack(wb_call *call, const wb_event *event, wb_error *err)
{
	play *p = play_of(call);

	(void)event;
	p->packed++;
	return p->pack ? p->pack(call, err) : WB_OK;
}

static wb_code on_unpack(wb_call *call, const wb_event *event, wb_error *err)
{
	play *p = play_of(call);
	wb_str kept = wb_flow_kept(call);

	(void)event;
	(void)err;
	p->unpacked++;
	p->undoing = wb_flow_undoing(call);
	snprintf(p->kept, sizeof(p->kept), "%.*s", (int)kept.len, kept.ptr);
	return WB_OK;
}

static wb_code on_weigh(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)event;
	return wb_flow_pending(call, err);
}

static wb_code on_close(wb_call *call, const wb_event *event, wb_error *err)
{
	play *p = play_of(call);

	(void)event;
	p->closed++;
	return p->close ? p->close(call, err) : wb_flow_pending(call, err);
}

wb_flow_binding bindings[] = {
	{"pack", on_pack, NULL},          {"weigh", on_weigh, NULL},
	{"unpack", on_unpack, NULL},      {"close", on_close, NULL},
	{"unpack-late", on_unpack, NULL}, {"reopen", on_unpack, NULL},
	{"unpack-last", on_unpack, NULL}};

enum { BINDINGS = sizeof(bindings) / sizeof(bindings[0]) };

/* ---- the bank: says what it is told to, and remembers what it hears ------ */

enum { HEARD_MAX = 64 };

static struct {
	char type[32], saga[32], data[32];
} heard[HEARD_MAX];
static size_t heard_count;

static wb_code on_heard(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_str saga = wb_event_header(event, "wbsaga");

	(void)call;
	(void)err;
	assert_true(heard_count < HEARD_MAX);
	snprintf(heard[heard_count].type, 32, "%.*s", (int)event->type.len,
		 event->type.ptr);
	snprintf(heard[heard_count].saga, 32, "%.*s", (int)saga.len, saga.ptr);
	snprintf(heard[heard_count++].data, 32, "%.*s", (int)event->data.len,
		 event->data.ptr);
	return WB_OK;
}

static const char *const heard_types[] = {"order.#", "pack.#", NULL};
static const wb_handler listener = {.size = sizeof(listener),
				    .name = "listener",
				    .types = heard_types,
				    .handle = on_heard};

const char *last_heard(void)
{
	assert_true(heard_count > 0);
	return heard[heard_count - 1].data;
}

size_t heard_of(const char *type, const char *saga)
{
	size_t count = 0;

	for (size_t i = 0; i < heard_count; i++)
		count += !strcmp(heard[i].type, type) &&
			 !strcmp(heard[i].saga, saga);
	return count;
}

/* ---- the rig ------------------------------------------------------------- */

play played;
wb_flow_part part;

static void shop_open(service *s)
{
	wb_error err = WB_ERROR_INIT;
	wb_choreography *c = NULL;

	assert_ok(wb_choreography_open(s->store, &part, &c, &err), err);
	s->part = c;
	s->handlers[0] = wb_choreography_handler(c);
	s->handler_count = 1;
}

static void shop_close(service *s)
{
	wb_choreography_close(s->part);
}

static void bank_open(service *s)
{
	s->handlers[0] = &listener;
	s->handler_count = 1;
}

static void bank_close(service *s)
{
	(void)s;
}

static const service_kind kinds[] = {{"shop", shop_open, shop_close},
				     {"bank", bank_open, bank_close}};

wb_flow_part part_of(play *p)
{
	wb_flow_part new = WB_FLOW_PART_INIT;

	new.flow = &flow;
	new.service = "shop";
	new.bindings = bindings;
	new.count = BINDINGS;
	new.ctx = p;
	return new;
}

services *rig_of(void **state)
{
	static services r;
	test_place *place = *state;

	memset(&played, 0, sizeof(played));
	heard_count = 0;
	part = part_of(&played);
	services_init(&r, place->dir, 1, kinds, 2, NULL);
	services_rest(&r);
	return &r;
}

void say_as(services *r, const char *type, const char *saga,
	    const char *correlation)
{
	service *s = &r->all[BANK];
	wb_header header = {S("wbsaga"), wb_str_from(saga)};
	wb_event e = {.type = wb_str_from(type),
		      .correlation_id = wb_str_from(correlation),
		      .headers = &header,
		      .header_count = saga[0] ? 1 : 0};
	wb_error err = WB_ERROR_INIT;
	wb_outbox *outbox;
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	assert_ok(wb_outbox_open(s->store, NULL, &outbox, &err), err);
	assert_ok(wb_outbox_append(outbox, txn, &e, NULL, &err), err);
	assert_ok(wb_store_commit(s->store, txn, &err), err);
	wb_outbox_close(outbox);
	services_rest(r);
}

void say(services *r, const char *type, const char *saga)
{
	say_as(r, type, saga, "");
}

/* Commits what was done, and lets it be carried out. */
static wb_code end_with(services *r, wb_code code, MDB_txn *txn)
{
	service *s = &r->all[SHOP];
	wb_error err = WB_ERROR_INIT;

	if (code == WB_OK)
		assert_ok(wb_store_commit(s->store, txn, &err), err);
	else
		wb_store_abort(txn);
	services_rest(r);
	return code;
}

wb_code begin(services *r, const char *step, wb_str saga, const wb_event *event,
	      wb_str undo, wb_error *err)
{
	service *s = &r->all[SHOP];
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	return end_with(
		r, wb_flow_begin(s->part, txn, step, saga, event, undo, err),
		txn);
}

wb_code complete(services *r, const char *step, const char *saga,
		 const wb_event *event, wb_str undo, wb_error *err)
{
	service *s = &r->all[SHOP];
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	return end_with(r,
			wb_flow_complete(s->part, txn, step, wb_str_from(saga),
					 event, undo, err),
			txn);
}

void assert_step(services *r, const char *step, const char *saga,
		 wb_step_state state)
{
	service *s = &r->all[SHOP];
	wb_step_state is = WB_STEP_NONE;
	wb_error err = WB_ERROR_INIT;
	wb_str undo;
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	assert_ok(wb_flow_state(s->part, txn, step, wb_str_from(saga), &is,
				&undo, &err),
		  err);
	assert_int_equal(is, state);
	assert_ok(wb_flow_state(s->part, txn, step, wb_str_from(saga), &is,
				NULL, &err),
		  err);
	wb_store_abort(txn);
}

/* Its row; *ret_txn, which it points into, is to be aborted. */
static wbi_saga_row saga_row(services *r, const char *saga, MDB_txn **ret_txn)
{
	service *s = &r->all[SHOP];
	wbi_saga_id id = {WBI_SAGA_FLOW, wb_str_from(saga), S("order")};
	wb_error err = WB_ERROR_INIT;
	wbi_saga_row row;
	MDB_dbi dbi;

	*ret_txn = service_begin(s, &dbi);
	assert_ok(wbi_saga_get(*ret_txn, wbi_store_get_tables(s->store), &id,
			       &row, &err),
		  err);
	return row;
}

void assert_saga(services *r, const char *saga, uint8_t status,
		 const char *reason)
{
	MDB_txn *txn;
	wbi_saga_row row = saga_row(r, saga, &txn);

	if (row.status != status || !wb_str_eq(row.reason, wb_str_from(reason)))
		fail_msg("%u (%.*s), not %u (%s)", row.status,
			 (int)row.reason.len, row.reason.ptr, status, reason);
	wb_store_abort(txn);
}

void assert_waits(services *r, const char *saga, const char *step)
{
	MDB_txn *txn;
	wbi_saga_row row = saga_row(r, saga, &txn);

	assert_true(wb_str_eq(row.step, wb_str_from(step)));
	wb_store_abort(txn);
}

void assert_log(services *r, const char *saga, uint64_t n, const char *step,
		const char *what, const char *out)
{
	service *s = &r->all[SHOP];
	wbi_saga_id id = {WBI_SAGA_FLOW, wb_str_from(saga), S("order")};
	wb_error err = WB_ERROR_INIT;
	wbi_row_key key = wbi_saga_log_prefix(&id);
	wbi_saga_entry e;
	wb_str row;
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	wbi_put_be64(key.bytes + key.len, n);
	key.len += 8;
	assert_ok(wbi_get(txn, wbi_store_get_tables(s->store)->saga_log,
			  wbi_row_key_str(&key), &row, &err),
		  err);
	assert_ok(wbi_saga_log_decode(wbi_row_key_str(&key), row, &n, &e, &err),
		  err);
	if (!wb_str_eq(e.step, wb_str_from(step)) ||
	    !wb_str_eq(e.what, wb_str_from(what)) ||
	    !wb_str_eq(e.out, wb_str_from(out)))
		fail_msg("%.*s: %.*s: %.*s", (int)e.step.len, e.step.ptr,
			 (int)e.what.len, e.what.ptr, (int)e.out.len,
			 e.out.ptr);
	wb_store_abort(txn);
}

unsigned dead_letters(services *r)
{
	return (unsigned)wb_worker_get_stat(r->all[SHOP].worker).dead;
}

/* ---- what a binding does ------------------------------------------------- */

wb_code packs(wb_call *call, wb_error *err)
{
	const wb_event packed = {.type = S("order.packed")};
	const wb_event split = {.type = S("order.split"), .data = S("2 boxes")};

	if (wb_flow_keep(call, S("a note"), err) != WB_OK ||
	    wb_flow_keep(call, S("shelf 7"), err) != WB_OK ||
	    wb_flow_emit(call, &packed, err) != WB_OK)
		return err->code;
	return wb_flow_emit(call, &split, err);
}

wb_code refuses(wb_call *call, wb_error *err)
{
	const wb_event packed = {.type = S("order.packed")};

	/* Taken back with the rest. */
	if (wb_flow_emit(call, &packed, err) != WB_OK ||
	    wb_flow_refusal(call, S("text/plain"), S("a first word"), err) !=
		    WB_OK ||
	    wb_flow_refusal(call, S("text/plain"), S("sold out"), err) != WB_OK)
		return err->code;
	return wb_reject(err, "nothing is left of it");
}

/* ---- what a test does often ---------------------------------------------- */

const wb_event placed = {.type = {"order.placed", 12}};
const wb_event closed = {.type = {"order.closed", 12}};

void place(services *r, const char *saga)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(begin(r, "place", wb_str_from(saga), &placed, WB_STR_NULL,
			&err),
		  err);
}

void wait_hours(services *r, int64_t hours)
{
	fake_clock_advance_us(&r->clock, hours * HOUR_US);
	services_rest(r);
}

void set_timer(services *r, const char *name, wb_str data)
{
	service *s = &r->all[SHOP];
	wb_error err = WB_ERROR_INIT;
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	assert_ok(wbi_timer_set(txn, wbi_store_get_tables(s->store),
				S("flow.order"), wb_str_from(name),
				r->clock.real_us, data, NULL, NULL, &err),
		  err);
	assert_ok(wb_store_commit(s->store, txn, &err), err);
	services_rest(r);
}
