/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One service's part in a flow, alone with the worker: what it is given comes
 * in any order, twice, or never; what it calls may be called wrongly.
 */
#include "tests/support/testing.h"

#include <stdlib.h>

#include <waybill/choreography.h>
#include <waybill/participant.h>
#include <waybill/saga.h>

#include "inbox/timer.h"
#include "lib/base/bytes.h"
#include "lib/journal/saga_rows.h"
#include "saga/operator.h"
#include "tests/saga/services.h"
#include "tests/support/place.h"

#define HOUR_US (INT64_C(3600) * 1000000)

enum { KEEP_MAX = 64 * 1024, MANY_HEADERS = 1100 };

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

/* What the next call of a binding does, and how often each was called. */
typedef struct play {
	wb_code (*pack)(wb_call *call, wb_error *err);
	wb_code (*close)(wb_call *call, wb_error *err);
	unsigned packed, unpacked, closed;
	char kept[32]; /* what the last undo saw */
	wb_step_state undoing;
} play;

static play *play_of(wb_call *call)
{
	return wb_call_handler(call)->ctx;
}

static wb_code on_pack(wb_call *call, const wb_event *event, wb_error *err)
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

static wb_flow_binding bindings[] = {
	{"pack", on_pack, NULL},          {"weigh", on_weigh, NULL},
	{"unpack", on_unpack, NULL},      {"close", on_close, NULL},
	{"unpack-late", on_unpack, NULL}, {"reopen", on_unpack, NULL},
	{"unpack-last", on_unpack, NULL}};

enum { BINDINGS = sizeof(bindings) / sizeof(bindings[0]) };

/* ---- the bank: says what it is told to, and remembers what it hears --------
 */

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

static size_t heard_of(const char *type, const char *saga)
{
	size_t count = 0;

	for (size_t i = 0; i < heard_count; i++)
		count += !strcmp(heard[i].type, type) &&
			 !strcmp(heard[i].saga, saga);
	return count;
}

/* ---- the rig ------------------------------------------------------------- */

enum { SHOP, BANK };

static play played;
static wb_flow_part part;

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

static wb_flow_part part_of(play *p)
{
	wb_flow_part new = WB_FLOW_PART_INIT;

	new.flow = &flow;
	new.service = "shop";
	new.bindings = bindings;
	new.count = BINDINGS;
	new.ctx = p;
	return new;
}

static services *rig_of(void **state)
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

/* The bank says it, of a saga ("": of none, by `correlation` perhaps). */
static void say_as(services *r, const char *type, const char *saga,
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

static void say(services *r, const char *type, const char *saga)
{
	say_as(r, type, saga, "");
}

static wb_code begin(services *r, const char *step, wb_str saga,
		     const wb_event *event, wb_str undo, wb_error *err)
{
	service *s = &r->all[SHOP];
	wb_error own = WB_ERROR_INIT;
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);
	wb_code code =
		wb_flow_begin(s->part, txn, step, saga, event, undo, err);

	if (code == WB_OK)
		assert_ok(wb_store_commit(s->store, txn, &own), own);
	else
		wb_store_abort(txn);
	services_rest(r);
	return code;
}

static wb_code complete(services *r, const char *step, const char *saga,
			const wb_event *event, wb_str undo, wb_error *err)
{
	service *s = &r->all[SHOP];
	wb_error own = WB_ERROR_INIT;
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);
	wb_code code = wb_flow_complete(s->part, txn, step, wb_str_from(saga),
					event, undo, err);

	if (code == WB_OK)
		assert_ok(wb_store_commit(s->store, txn, &own), own);
	else
		wb_store_abort(txn);
	services_rest(r);
	return code;
}

static void assert_step(services *r, const char *step, const char *saga,
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

/* What the saga is at, and what is said of it. */
static void assert_saga(services *r, const char *saga, uint8_t status,
			const char *reason)
{
	MDB_txn *txn;
	wbi_saga_row row = saga_row(r, saga, &txn);

	if (row.status != status || !wb_str_eq(row.reason, wb_str_from(reason)))
		fail_msg("%u (%.*s), not %u (%s)", row.status,
			 (int)row.reason.len, row.reason.ptr, status, reason);
	wb_store_abort(txn);
}

static void assert_waits(services *r, const char *saga, const char *step)
{
	MDB_txn *txn;
	wbi_saga_row row = saga_row(r, saga, &txn);

	assert_true(wb_str_eq(row.step, wb_str_from(step)));
	wb_store_abort(txn);
}

/* The nth entry of its log says this. */
static void assert_log(services *r, const char *saga, uint64_t n,
		       const char *step, const char *what, const char *out)
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

static unsigned dead_letters(services *r)
{
	return (unsigned)wb_worker_get_stat(r->all[SHOP].worker).dead;
}

/* ---- what a binding does ------------------------------------------------- */

static wb_code packs(wb_call *call, wb_error *err)
{
	const wb_event packed = {.type = S("order.packed")};
	const wb_event split = {.type = S("order.split"), .data = S("2 boxes")};

	if (wb_flow_keep(call, S("a note"), err) != WB_OK ||
	    wb_flow_keep(call, S("shelf 7"), err) != WB_OK ||
	    wb_flow_emit(call, &packed, err) != WB_OK)
		return err->code;
	return wb_flow_emit(call, &split, err);
}

static wb_code refuses(wb_call *call, wb_error *err)
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

static wb_code retries(wb_call *call, wb_error *err)
{
	return play_of(call)->packed < 3 ? wb_retry(err, "the shelf is busy")
					 : packs(call, err);
}

static wb_code rejects(wb_call *call, wb_error *err)
{
	(void)call;
	return wb_reject(err, "it cannot be closed");
}

static wb_code closes_with_a_note(wb_call *call, wb_error *err)
{
	wb_code code = wb_flow_keep(call, S("box 3"), err);

	return code == WB_OK ? wb_flow_pending(call, err) : code;
}

/* All that a binding must not do; it is told, and goes on. */
static wb_code misbehaves(wb_call *call, wb_error *err)
{
	static wb_header many[MANY_HEADERS];
	static const char bytes[1024 * 1024 + 1];
	const wb_str large = wb_str_n(bytes, sizeof(bytes));
	const wb_event foreign = {.type = S("pay.done")};
	const wb_event unknown = {.type = S("order.unheard-of")};
	const wb_event heavy = {.type = S("order.packed"),
				.headers = many,
				.header_count = MANY_HEADERS};

	assert_code(wb_flow_emit(call, NULL, err), WB_EINVAL, *err);
	assert_code(wb_flow_emit(call, &heavy, err), WB_EINVAL, *err);
	assert_code(wb_flow_emit(call, &unknown, err), WB_EINVAL, *err);
	assert_int_equal(wb_flow_emit(call, &foreign, err), WB_EINVAL);
	assert_non_null(strstr(err->text, "declares order.packed|order.split"));
	wb_error_clear(err);
	assert_code(wb_flow_pending(call, err), WB_EINVAL, *err);
	assert_code(wb_flow_refusal(call, S("a"), large, err), WB_ELIMIT, *err);
	assert_code(wb_flow_refusal(call, wb_str_n(bytes, 256), S("b"), err),
		    WB_ELIMIT, *err);
	assert_code(wb_flow_keep(call, wb_str_n(bytes, KEEP_MAX + 1), err),
		    WB_ELIMIT, *err);
	/* Nor is it a command, or a step of a saga that is conducted. */
	assert_code(wb_reply(call, S("a"), S("b"), err), WB_EINVAL, *err);
	assert_int_equal(wb_saga_data(call).len, 0);
	return WB_OK;
}

/* ---- tests: what comes --------------------------------------------------- */

static const wb_event placed = {.type = {"order.placed", 12}};
static const wb_event closed = {.type = {"order.closed", 12}};

static void place(services *r, const char *saga)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(begin(r, "place", wb_str_from(saga), &placed, WB_STR_NULL,
			&err),
		  err);
}

static void a_step_runs_once_and_says_what_it_declares(void **state)
{
	services *r = rig_of(state);

	played.pack = packs;
	place(r, "a");
	say(r, "pay.done", "a");
	say(r, "pay.done", "a");
	assert_int_equal(played.packed, 1);
	assert_int_equal(heard_of("order.packed", "a"), 1);
	assert_int_equal(heard_of("order.split", "a"), 1);
	assert_log(r, "a", 3, "pack", "none -> done",
		   "order.packed, order.split");
	assert_log(r, "a", 5, "pack", "done -> the same", "");
	say(r, "ship.failed", "a");
	say(r, "ship.failed", "a");
	assert_int_equal(played.unpacked, 1);
	assert_string_equal(played.kept, "shelf 7");
	assert_int_equal(played.undoing, WB_STEP_DONE);
	assert_step(r, "pack", "a", WB_STEP_UNDONE);
	say(r, "pay.done", "a");
	assert_int_equal(played.packed, 1);
	services_fini(r);
}

static void a_refusal_is_told_in_all_its_words_and_leaves_nothing(void **state)
{
	services *r = rig_of(state);

	played.pack = refuses;
	place(r, "a");
	say(r, "pay.done", "a");
	assert_int_equal(heard_of("pack.refused", "a"), 1);
	assert_int_equal(heard_of("pack.told", "a"), 1);
	assert_int_equal(heard_of("order.packed", "a"), 0);
	assert_string_equal(heard[heard_count - 1].data, "sold out");
	assert_log(r, "a", 3, "pack", "none -> refused",
		   "pack.refused, pack.told");
	assert_step(r, "pack", "a", WB_STEP_REFUSED);
	/* There is nothing to be undone of it. */
	say(r, "ship.failed", "a");
	assert_int_equal(played.unpacked, 0);
	assert_step(r, "pack", "a", WB_STEP_REFUSED);
	services_fini(r);
}

static void an_undo_that_comes_first_forbids_its_step(void **state)
{
	services *r = rig_of(state);

	say(r, "ship.failed", "a");
	say(r, "pay.done", "a");
	assert_int_equal(played.packed, 0);
	assert_int_equal(played.unpacked, 0);
	assert_log(r, "a", 1, "unpack",
		   "nothing to undo -> its action is "
		   "forbidden",
		   "");
	assert_log(r, "a", 2, "pack", "undone before it came -> refused", "");
	say(r, "ship.failed", "a");
	assert_log(r, "a", 4, "unpack", "nothing to undo -> the same", "");
	services_fini(r);
}

static void a_step_that_wants_it_is_tried_again(void **state)
{
	services *r = rig_of(state);

	played.pack = retries;
	place(r, "a");
	say(r, "pay.done", "a");
	for (int i = 0; i < 10; i++) {
		fake_clock_advance_us(&r->clock, 10 * INT64_C(1000000));
		services_rest(r);
	}
	assert_int_equal(heard_of("order.packed", "a"), 1);
	assert_int_equal(dead_letters(r), 0);
	services_fini(r);
}

static void who_may_not_refuse_and_does_is_a_dead_letter(void **state)
{
	services *r = rig_of(state);

	played.close = rejects;
	say(r, "ship.done", "a");
	assert_int_equal(dead_letters(r), 1);
	assert_step(r, "close", "a", WB_STEP_NONE);
	services_fini(r);
}

static void an_event_belongs_to_the_saga_that_it_names(void **state)
{
	char saga[182];
	services *r = rig_of(state);

	memset(saga, 's', sizeof(saga));
	saga[sizeof(saga) - 1] = '\0';
	say_as(r, "pay.done", "", "b");
	assert_step(r, "pack", "b", WB_STEP_DONE);
	say_as(r, "pay.done", "c", "d");
	assert_step(r, "pack", "c", WB_STEP_DONE);
	assert_step(r, "pack", "d", WB_STEP_NONE);
	assert_int_equal(dead_letters(r), 0);
	say_as(r, "pay.done", "", saga);
	assert_int_equal(dead_letters(r), 1);
	services_fini(r);
}

static void what_a_binding_must_not_do_it_is_told(void **state)
{
	services *r = rig_of(state);

	played.pack = misbehaves;
	place(r, "a");
	say(r, "pay.done", "a");
	assert_step(r, "pack", "a", WB_STEP_DONE);
	assert_int_equal(heard_of("order.packed", "a"), 0);
	services_fini(r);
}

/* ---- tests: time --------------------------------------------------------- */

static void wait_hours(services *r, int64_t hours)
{
	fake_clock_advance_us(&r->clock, hours * HOUR_US);
	services_rest(r);
}

static void what_is_not_completed_in_time_is_seen(void **state)
{
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	say(r, "pay.done", "a");
	assert_step(r, "weigh", "a", WB_STEP_PENDING);
	wait_hours(r, 2);
	assert_saga(r, "a", WB_SAGA_PARKED,
		    "weigh was not completed by service shop");
	/* What else comes changes nothing about that. */
	say(r, "pay.done", "a");
	assert_saga(r, "a", WB_SAGA_PARKED,
		    "weigh was not completed by service shop");
	assert_ok(complete(r, "weigh", "a", NULL, WB_STR_NULL, &err), err);
	assert_saga(r, "a", WB_SAGA_COMPLETED, "");
	services_fini(r);
}

static void of_two_waits_the_nearer_one_is_shown(void **state)
{
	services *r = rig_of(state);

	say(r, "ship.done", "a");
	place(r, "b");
	fake_clock_advance_us(&r->clock, HOUR_US / 2);
	place(r, "a");
	say(r, "ship.done", "b");
	assert_waits(r, "a", "close");
	assert_waits(r, "b", "place");
	fake_clock_advance_us(&r->clock, HOUR_US / 4 * 3);
	services_rest(r);
	assert_waits(r, "a", "place");
	assert_saga(r, "a", WB_SAGA_RUNNING, "");
	assert_saga(r, "b", WB_SAGA_PARKED,
		    "place waits for pay.done|pay.failed from service bank");
	services_fini(r);
}

static void who_stays_silent_is_spoken_for(void **state)
{
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	played.pack = packs;
	played.close = closes_with_a_note;
	say(r, "pay.done", "a");
	assert_ok(complete(r, "weigh", "a", NULL, WB_STR_NULL, &err), err);
	say(r, "ship.done", "a");
	wait_hours(r, 2);
	assert_int_equal(heard_of("order.lapsed", "a"), 1);
	assert_step(r, "close", "a", WB_STEP_UNDONE);
	assert_step(r, "pack", "a", WB_STEP_UNDONE);
	assert_string_equal(played.kept, "shelf 7");
	assert_saga(r, "a", WB_SAGA_COMPENSATED, "");
	assert_int_equal(complete(r, "close", "a", &closed, WB_STR_NULL, &err),
			 WB_ESTATE);
	assert_non_null(strstr(err.text, "is undone, not pending"));
	services_fini(r);
}

static wb_code on_expire(wb_call *call, const wb_event *event, wb_error *err)
{
	assert_null(event);
	assert_int_equal(wb_flow_undoing(call), WB_STEP_PENDING);
	assert_true(wb_str_eq(wb_flow_kept(call), S("box 3")));
	return wb_flow_refusal(call, WB_STR_NULL, S("too late"), err);
}

static void who_expires_may_say_more_of_it(void **state)
{
	services *r;

	bindings[3].expire = on_expire;
	r = rig_of(state);
	played.close = closes_with_a_note;
	say(r, "ship.done", "a");
	wait_hours(r, 2);
	bindings[3].expire = NULL;
	assert_int_equal(heard_of("order.lapsed", "a"), 1);
	assert_string_equal(heard[heard_count - 1].data, "too late");
	services_fini(r);
}

static void a_wait_that_was_over_before_its_time_is_no_more(void **state)
{
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	say(r, "ship.done", "a");
	assert_step(r, "close", "a", WB_STEP_PENDING);
	assert_ok(complete(r, "close", "a", &closed, S("box 4"), &err), err);
	assert_int_equal(heard_of("order.closed", "a"), 1);
	wait_hours(r, 1);
	assert_int_equal(heard_of("order.lapsed", "a"), 0);
	assert_step(r, "close", "a", WB_STEP_DONE);
	say(r, "close.failed", "a");
	assert_string_equal(played.kept, "box 4");
	assert_step(r, "close", "a", WB_STEP_UNDONE);
	services_fini(r);
}

static void what_has_ended_is_forgotten_in_time(void **state)
{
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	assert_ok(begin(r, "place", S("a"), &placed, S("an undo"), &err), err);
	say(r, "pay.failed", "a");
	place(r, "open");
	wait_hours(r, 25);
	say(r, "pay.failed", "b");
	say(r, "pay.failed", "c");
	assert_step(r, "place", "a", WB_STEP_NONE);
	place(r, "a");
	services_fini(r);
}

/* By hand, as from another version of the flow, or a damaged tool. */
static void set_timer(services *r, const char *name, wb_str data)
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

static void a_timer_that_fits_nothing_does_nothing(void **state)
{
	static const char *const names[] = {"a/weighed", "a/pay", "a/pack",
					    "b/weigh",   "weigh", "/weigh",
					    "a/weigh"};
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	say(r, "pay.done", "a");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		set_timer(r, names[i], S("12345678")); /* of another wait */
		set_timer(r, names[i], S("1234"));
	}
	assert_step(r, "weigh", "a", WB_STEP_PENDING);
	assert_saga(r, "a", WB_SAGA_RUNNING, "");
	assert_int_equal(dead_letters(r), 0);
	assert_ok(complete(r, "weigh", "a", NULL, WB_STR_NULL, &err), err);
	services_fini(r);
}

/* ---- tests: operators ---------------------------------------------------- */

static void order(services *r, const char *saga, const char *refusal)
{
	const wbi_saga_id id = {WBI_SAGA_FLOW, wb_str_from(saga), S("order")};

	service_order(&r->all[SHOP], &id, WBI_VERB_ABANDON, refusal);
}

static void a_step_that_is_pending_is_abandoned_and_may_yet_end(void **state)
{
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	played.pack = refuses;
	say(r, "pay.done", "a");
	order(r, "a", NULL);
	services_rest(r);
	assert_saga(r, "a", WB_SAGA_ABANDONED, "abandoned by kim: a test");
	wait_hours(r, 1);
	assert_saga(r, "a", WB_SAGA_ABANDONED, "abandoned by kim: a test");
	assert_ok(complete(r, "weigh", "a", NULL, WB_STR_NULL, &err), err);
	assert_saga(r, "a", WB_SAGA_ABANDONED, "abandoned by kim: a test");
	order(r, "none", "there is no such saga");
	services_fini(r);
}

/* Given, and put off, while the saga ends. */
static void an_order_that_comes_too_late_is_refused(void **state)
{
	const wbi_actor actor = {S("kim"), S("a test")};
	services *r = rig_of(state);
	service *s = &r->all[SHOP];
	wb_error err = WB_ERROR_INIT;

	say(r, "pay.done", "a");
	order(r, "a", NULL);
	assert_ok(wbi_timer_operator_move(s->store, S("flow.order"), S("a/!"),
					  r->clock.real_us + HOUR_US / 2,
					  &actor, &err),
		  err);
	assert_ok(complete(r, "weigh", "a", NULL, WB_STR_NULL, &err), err);
	wait_hours(r, 1);
	assert_saga(r, "a", WB_SAGA_COMPLETED, "");
	assert_int_equal(service_audited(s, "saga abandon refused"), 1);
	services_fini(r);
}

static void what_is_no_order_is_a_dead_letter(void **state)
{
	/* Version, verb, number, time, length of who; who, why. */
	static const char retry[] =
		"\1\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3kimx";
	static const char gone[] = "\1\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3kimx";
	char name[190];
	services *r = rig_of(state);
	service *s = &r->all[SHOP];

	snprintf(name, sizeof(name), "%0181d/!", 1);
	say(r, "pay.done", "a");
	set_timer(r, "a/!", S("what?"));
	set_timer(r, name, wb_str_n(gone, sizeof(gone) - 1));
	assert_int_equal(dead_letters(r), 2);
	set_timer(r, "b/!", wb_str_n(gone, sizeof(gone) - 1));
	assert_int_equal(service_audited(s, "saga abandon refused"), 1);
	set_timer(r, "a/!", wb_str_n(retry, sizeof(retry) - 1));
	assert_int_equal(service_audited(s, "saga retry refused"), 1);
	assert_int_equal(dead_letters(r), 2);
	services_fini(r);
}

/* ---- tests: the service's own transactions ------------------------------- */

static void a_beginning_says_what_is_wrong_with_it(void **state)
{
	static wb_header many[MANY_HEADERS];
	static char bytes[KEEP_MAX + 1];
	const wb_event wrong_type = {.type = S("order.closed")};
	const wb_event heavy = {.type = S("order.placed"),
				.headers = many,
				.header_count = MANY_HEADERS};
	const wb_str large = wb_str_n(bytes, sizeof(bytes));
	const struct {
		const char *step;
		wb_str saga;
		const wb_event *event;
		wb_str undo;
		wb_code code;
		const char *text;
	} wrong[] = {
		{"place", WB_STR_NULL, &placed, WB_STR_NULL, WB_EINVAL,
		 "1 to 180 bytes"},
		{"place", wb_str_n(bytes, 181), &placed, WB_STR_NULL, WB_EINVAL,
		 "1 to 180 bytes"},
		{NULL, S("a"), &placed, WB_STR_NULL, WB_EINVAL, "no step of"},
		{"plaice", S("a"), &placed, WB_STR_NULL, WB_EINVAL,
		 "no step of"},
		{"pay", S("a"), &placed, WB_STR_NULL, WB_EINVAL, "no step of"},
		{"pack", S("a"), &placed, WB_STR_NULL, WB_EINVAL,
		 "cannot begin a saga"},
		{"place", S("a"), NULL, WB_STR_NULL, WB_EINVAL,
		 "the event is NULL"},
		{"place", S("a"), &placed, large, WB_EINVAL, "64 KiB"},
		{"place", S("a"), &wrong_type, WB_STR_NULL, WB_EINVAL,
		 "may not emit \"order.closed\""},
		{"place", S("a"), &heavy, WB_STR_NULL, WB_ELIMIT,
		 "1100 headers"}};
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(begin(r, wrong[i].step, wrong[i].saga,
				       wrong[i].event, wrong[i].undo, &err),
				 wrong[i].code);
		if (!strstr(err.text, wrong[i].text))
			fail_msg("not \"%s\", but \"%s\"", wrong[i].text,
				 err.text);
		wb_error_clear(&err);
	}
	assert_code(wb_flow_begin(NULL, NULL, "place", S("a"), &placed,
				  WB_STR_NULL, &err),
		    WB_EINVAL, err);
	assert_code(wb_flow_begin(r->all[SHOP].part, NULL, "place", S("a"),
				  &placed, WB_STR_NULL, &err),
		    WB_EINVAL, err);
	place(r, "a");
	assert_int_equal(begin(r, "place", S("a"), &placed, WB_STR_NULL, &err),
			 WB_EEXISTS);
	assert_int_equal(heard_of("order.placed", "a"), 1);
	services_fini(r);
}

static void a_completion_says_what_is_wrong_with_it(void **state)
{
	static char bytes[KEEP_MAX + 1];
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;
	wb_step_state is;
	MDB_dbi dbi;
	MDB_txn *txn;

	say(r, "pay.done", "a");
	assert_code(complete(r, "weigh", "a", NULL,
			     wb_str_n(bytes, sizeof(bytes)), &err),
		    WB_ELIMIT, err);
	assert_code(complete(r, "weight", "a", NULL, WB_STR_NULL, &err),
		    WB_EINVAL, err);
	assert_code(complete(r, "weigh", "b", NULL, WB_STR_NULL, &err),
		    WB_ENOTFOUND, err);
	/* It declares nothing that it may emit. */
	assert_int_equal(complete(r, "weigh", "a", &closed, WB_STR_NULL, &err),
			 WB_EINVAL);
	assert_non_null(strstr(err.text, "its row declares nothing"));
	wb_error_clear(&err);
	assert_int_equal(complete(r, "pack", "a", NULL, WB_STR_NULL, &err),
			 WB_ESTATE);
	assert_non_null(strstr(err.text, "is done, not pending"));
	wb_error_clear(&err);
	txn = service_begin(&r->all[SHOP], &dbi);
	assert_code(wb_flow_state(r->all[SHOP].part, txn, "pay", S("a"), &is,
				  NULL, &err),
		    WB_EINVAL, err);
	wb_store_abort(txn);
	assert_code(wb_flow_state(r->all[SHOP].part, NULL, "pack", S("a"), &is,
				  NULL, &err),
		    WB_EINVAL, err);
	services_fini(r);
}

/* Its own key and correlation stay; what it says of a saga does not. */
static void what_begins_a_saga_may_have_attributes_of_its_own(void **state)
{
	const wb_header headers[] = {{S("tenant"), S("t1")},
				     {S("wbsaga"), S("another")}};
	const wb_event e = {.type = S("order.placed"),
			    .key = S("customer 3"),
			    .correlation_id = S("web 17"),
			    .headers = headers,
			    .header_count = 2};
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	assert_ok(begin(r, "place", S("a"), &e, S("an undo"), &err), err);
	assert_int_equal(heard_of("order.placed", "a"), 1);
	assert_int_equal(heard_of("order.placed", "another"), 0);
	say(r, "pay.failed", "a");
	assert_saga(r, "a", WB_SAGA_COMPLETED, "");
	services_fini(r);
}

/* ---- tests: declarations ------------------------------------------------- */

static void a_part_that_is_wrong_is_refused(void **state)
{
	const wb_flow_binding other[][2] = {
		{{"packs", on_pack, NULL}},
		{{NULL, on_pack, NULL}},
		{{"pay", on_pack, NULL}},
		{{"pack", on_pack, NULL}, {"pack", on_pack, NULL}},
		{{"pack", on_pack, NULL}},
		{{"pack", NULL, NULL}}};
	static const char *const texts[] = {
		"is no step of service",  "is no step of service",
		"is no step of service",  "bound twice",
		"has no function to run", "has no function to run"};
	const wb_flow_part good = part_of(&played);
	wb_flow_part wrong[] = {good, good, good, good, good};
	test_place *place = *state;
	wb_store_options so = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wb_choreography *c = NULL;
	wb_store *store;

	so.service = "shop";
	assert_ok(wb_store_create(place->store, &so, &err), err);
	assert_ok(wb_store_open(place->store, &so, &store, &err), err);
	wrong[0].size = 0;
	wrong[1].service = NULL;
	wrong[2].bindings = NULL;
	wrong[3].flow = NULL;
	wrong[4].service = "nobody";
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_code(wb_choreography_open(store, &wrong[i], &c, &err),
			    WB_EINVAL, err);
	assert_code(wb_choreography_open(store, NULL, &c, &err), WB_EINVAL,
		    err);
	assert_code(wb_choreography_open(NULL, &good, &c, &err), WB_EINVAL,
		    err);
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		wb_flow_part p = good;

		p.bindings = other[i];
		p.count = i == 3 ? 2 : 1;
		assert_int_equal(wb_choreography_open(store, &p, &c, &err),
				 WB_EINVAL);
		if (!strstr(err.text, texts[i]))
			fail_msg("not \"%s\", but \"%s\"", texts[i], err.text);
		wb_error_clear(&err);
	}
	assert_null(c);
	assert_ok(wb_choreography_open(store, &good, &c, &err), err);
	wb_choreography_close(c);
	wb_choreography_close(NULL);
	wb_store_close(store);
}

/* ---- a flow that was changed --------------------------------------------- */

static wb_code is_busy(wb_call *call, wb_error *err)
{
	(void)call;
	return wb_retry(err, "the shelf is busy");
}

/* It waits to be tried again under the former flow. */
static void an_event_that_the_flow_no_longer_names_is_passed_by(void **state)
{
	static const wb_reaction fewer[] = {
		{"shop", "place", NULL, "order.placed", .keeps = true},
		{"bank", "pay", "order.placed", .keeps = true}};
	static const wb_flow later = {sizeof(later), "order", fewer,
				      sizeof(fewer) / sizeof(fewer[0]), 86400};
	services *r = rig_of(state);
	service *s = &r->all[SHOP];
	unsigned before;

	played.pack = is_busy;
	say(r, "pay.done", "s-1");
	before = played.packed;
	assert_true(before > 0);
	assert_int_equal(wb_worker_get_stat(s->worker).waiting, 1);
	service_kill(s);
	part.flow = &later;
	part.count = 0;
	service_start(r, SHOP);
	fake_clock_advance_us(&r->clock, HOUR_US);
	services_rest(r);
	assert_int_equal(wb_worker_get_stat(s->worker).waiting, 0);
	assert_int_equal(wb_worker_get_stat(s->worker).dead, 0);
	assert_int_equal(played.packed, before);
	services_fini(r);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_step_runs_once_and_says_what_it_declares),
		T(a_refusal_is_told_in_all_its_words_and_leaves_nothing),
		T(an_event_that_the_flow_no_longer_names_is_passed_by),
		T(an_undo_that_comes_first_forbids_its_step),
		T(a_step_that_wants_it_is_tried_again),
		T(who_may_not_refuse_and_does_is_a_dead_letter),
		T(an_event_belongs_to_the_saga_that_it_names),
		T(what_a_binding_must_not_do_it_is_told),
		T(what_is_not_completed_in_time_is_seen),
		T(of_two_waits_the_nearer_one_is_shown),
		T(who_stays_silent_is_spoken_for),
		T(who_expires_may_say_more_of_it),
		T(a_wait_that_was_over_before_its_time_is_no_more),
		T(what_has_ended_is_forgotten_in_time),
		T(a_timer_that_fits_nothing_does_nothing),
		T(a_step_that_is_pending_is_abandoned_and_may_yet_end),
		T(an_order_that_comes_too_late_is_refused),
		T(what_is_no_order_is_a_dead_letter),
		T(a_beginning_says_what_is_wrong_with_it),
		T(a_completion_says_what_is_wrong_with_it),
		T(what_begins_a_saga_may_have_attributes_of_its_own),
		T(a_part_that_is_wrong_is_refused),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
