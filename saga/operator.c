/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Orders as bytes, as timers and as rows of the audit (operator.h); and how
 * they are judged: by a copy of the machine on the stored definition.
 *
 * No state. A crash leaves the orders of whole commits, each with its row in
 * the audit. Any process, any thread.
 */
#include "saga/operator.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "inbox/timer.h"
#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "saga/orchestrator.h"

enum {
	ORDER_VERSION = 1,
	ORDER_HEAD = 1 + 1 + 8 + 8 + 1, /* before `who` */
	ORDER_TXN_US = 1000
};

static const char *const operator_verbs[] = {
	"unknown",           [WBI_VERB_RETRY] = "retry",
	[WBI_VERB_SKIP] = "skip",       [WBI_VERB_COMPENSATE] = "compensate",
	[WBI_VERB_ABANDON] = "abandon", [WBI_VERB_RESUME] = "resume"};

const char *wbi_verb_name(uint8_t verb)
{
	return operator_verbs[verb < WBI_COUNT(operator_verbs) ? verb : 0];
}

/* ---- where an order is --------------------------------------------------- */

wb_str wbi_order_handler(const wbi_saga_id *id, char room[128])
{
	if (id->kind == WBI_SAGA_ORCHESTRATED)
		return wb_str_from(WBI_SAGAS_HANDLER);
	snprintf(room, 128, "flow.%.*s", (int)id->name.len, id->name.ptr);
	return wb_str_from(room);
}

/* "v/ID"; of a flow "ID/!", where a step's name stands else. */
wb_str wbi_order_timer(const wbi_saga_id *id, char room[256])
{
	bool flow = id->kind == WBI_SAGA_FLOW;

	snprintf(room, 256, "%s%.*s%s", flow ? "" : "v/", (int)id->id.len,
		 id->id.ptr, flow ? "/!" : "");
	return wb_str_from(room);
}

/* ---- as bytes ------------------------------------------------------------ */

static size_t order_encode(const wbi_order *order, uint8_t *ret)
{
	uint8_t *at = ret;

	WB_ASSERT(order->who.len <= WBI_ORDER_WHO_MAX);
	WB_ASSERT(order->why.len <= WBI_ORDER_WHY_MAX);
	*at++ = ORDER_VERSION;
	*at++ = order->verb;
	wbi_put_le64(at, order->number);
	wbi_put_le64(at + 8, (uint64_t)order->given_us);
	at += 16;
	*at++ = (uint8_t)order->who.len;
	if (order->who.len > 0)
		memcpy(at, order->who.ptr, order->who.len);
	at += order->who.len;
	if (order->why.len > 0)
		memcpy(at, order->why.ptr, order->why.len);
	return (size_t)(at - ret) + order->why.len;
}

wb_code wbi_order_decode(wb_str data, wbi_order *ret, wb_error *err)
{
	const uint8_t *at = (const uint8_t *)data.ptr;
	size_t who;

	if (data.len < ORDER_HEAD || at[0] != ORDER_VERSION || at[1] == 0 ||
	    at[1] > WBI_VERB_RESUME ||
	    data.len - ORDER_HEAD < at[ORDER_HEAD - 1])
		return WBI_FAIL(err, WB_ECORRUPT,
				"an operator's order of %zu bytes is not one",
				data.len);
	who = at[ORDER_HEAD - 1];
	*ret = (wbi_order){
		.verb = at[1],
		.number = wbi_get_le64(at + 2),
		.given_us = (int64_t)wbi_get_le64(at + 10),
		.who = wb_str_n(data.ptr + ORDER_HEAD, who),
		.why = wb_str_n(data.ptr + ORDER_HEAD + who,
				data.len - ORDER_HEAD - who)};
	return WB_OK;
}

wb_code wbi_order_get(MDB_txn *txn, const wbi_store_tables *tables,
		      const wbi_saga_id *id, wbi_order *ret, wb_error *err)
{
	char handler[128], name[256];
	wbi_work_id at = {wbi_order_handler(id, handler), WBI_LANE_TIMER,
			  wbi_order_timer(id, name), 0},
		    found;
	wb_timer timer;
	wbi_work row;
	wb_code code = wbi_work_first(txn, tables, &at, &found, &row, err);

	if (code == WB_OK)
		code = wbi_timer_unpack(&found, row.record, &timer, err);
	return code == WB_OK ? wbi_order_decode(timer.data, ret, err) : code;
}

/* ---- what is possible ---------------------------------------------------- */

static bool verb_moves(const wb_saga *saga, const wbi_machine *machine,
		       uint8_t verb, const char **ret_why)
{
	const wbi_input input = {.kind = WBI_INPUT_VERB, .verb = verb};
	wbi_machine copy = *machine;
	wbi_actions actions;

	return wbi_machine_step_by(saga, &copy, &input, &actions, ret_why) ==
	       WBI_VERDICT_MOVED;
}

uint32_t wbi_verbs_possible(const wb_saga *saga, const wbi_machine *machine)
{
	const char *why;
	uint32_t verbs = 0;

	for (unsigned verb = WBI_VERB_RETRY; verb <= WBI_VERB_RESUME; verb++)
		if ((saga || verb == WBI_VERB_ABANDON) &&
		    verb_moves(saga, machine, (uint8_t)verb, &why))
			verbs |= 1u << verb;
	return verbs;
}

char *wbi_verbs_text(uint32_t verbs, char *ret, size_t size)
{
	size_t len = 0;

	snprintf(ret, size, "nothing");
	for (unsigned verb = WBI_VERB_RETRY; verb <= WBI_VERB_RESUME; verb++)
		if ((verbs & 1u << verb) && len < size)
			len += (size_t)snprintf(ret + len, size - len, "%s%s",
						len ? ", " : "",
						wbi_verb_name((uint8_t)verb));
	return ret;
}

/* ---- judging ------------------------------------------------------------- */

/* Of one transaction; the last definition is kept, most have the same. */
typedef struct judge {
	MDB_txn *txn;
	const wbi_store_tables *tables;
	char hash[WBI_SAGA_HASH_LEN + 1];
	wbi_definition *definition;
} judge;

static wb_code judge_refuse(wbi_order_item *item, wb_code code,
			    const char *format, ...) WB_PRINTF(3, 4);

static wb_code judge_refuse(wbi_order_item *item, wb_code code,
			    const char *format, ...)
{
	va_list args;

	item->code = code;
	va_start(args, format);
	vsnprintf(item->text, sizeof(item->text), format, args);
	va_end(args);
	return WB_OK;
}

/* NULL in *ret: it is not stored. */
static wb_code judge_definition(judge *j, wb_str hash, const wb_saga **ret,
				wb_error *err)
{
	wb_str bytes;
	wb_code code;

	*ret = NULL;
	if (hash.len != WBI_SAGA_HASH_LEN)
		return WB_OK;
	if (!j->definition || !wb_str_eq(hash, wb_str_from(j->hash))) {
		wbi_definition_free(j->definition);
		j->definition = NULL;
		code = wbi_saga_def_get(j->txn, j->tables, hash, &bytes, err);
		if (code == WB_OK)
			code = wbi_definition_decode(bytes, &j->definition,
						     err);
		if (code != WB_OK)
			return code == WB_ENOTFOUND ? WB_OK : code;
		memcpy(j->hash, hash.ptr, WBI_SAGA_HASH_LEN);
	}
	*ret = &j->definition->saga;
	return WB_OK;
}

static wb_code judge_orchestrated(judge *j, uint8_t verb,
				  const wbi_saga_row *row, wbi_order_item *item,
				  wb_error *err)
{
	const char *why = "it cannot be done now";
	const wb_saga *saga = NULL;
	wbi_machine machine = {0};
	char possible[64];
	wb_code code = wbi_machine_decode(row->machine, &machine, err);

	if (code == WB_OK)
		code = judge_definition(j, row->definition, &saga, err);
	if (code != WB_OK)
		return code;
	if (machine.status == 0)
		return judge_refuse(item, WB_ESTATE,
				    "it has not begun: no worker has taken it "
				    "up yet");
	if (!saga && verb != WBI_VERB_ABANDON)
		return judge_refuse(item, WB_ESTATE,
				    "its definition is not stored here; "
				    "possible now: abandon");
	if (verb_moves(saga, &machine, verb, &why))
		return WB_OK;
	if (wbi_saga_status_is_final(machine.status))
		return judge_refuse(item, WB_ESTATE, "it has ended: %s",
				    wbi_saga_status_name(machine.status));
	return judge_refuse(item, WB_ESTATE, "%s; possible now: %s", why,
			    wbi_verbs_text(wbi_verbs_possible(saga, &machine),
					   possible, sizeof(possible)));
}

static wb_code judge_flow(uint8_t verb, const wbi_saga_row *row,
			  wbi_order_item *item)
{
	if (wbi_saga_status_is_final(row->status))
		return judge_refuse(item, WB_ESTATE, "it has ended: %s",
				    wbi_saga_status_name(row->status));
	if (verb == WBI_VERB_ABANDON)
		return WB_OK;
	return judge_refuse(
		item, WB_ESTATE,
		"it is choreographed: nobody conducts it who could do that. "
		"See to it that the event it waits for comes (%.*s%s%.*s); "
		"possible now: abandon, which ends the wait here",
		(int)(row->awaits.len < 100 ? row->awaits.len : 100),
		row->awaits.ptr, row->from.len ? " from " : "",
		(int)(row->from.len < 60 ? row->from.len : 60), row->from.ptr);
}

static wb_code judge_pending(judge *j, const wbi_saga_id *id,
			     wbi_order_item *item, wb_error *err)
{
	char handler[128], name[256];
	wbi_order order;
	wb_code code = wbi_order_get(j->txn, j->tables, id, &order, err);

	if (code != WB_OK)
		return code == WB_ENOTFOUND ? WB_OK : code;
	return judge_refuse(
		item, WB_ESTATE,
		"%s, by %.*s, waits for a worker: start it; or take that back: "
		"waybill timer cancel --handler %s --name '%s'",
		wbi_verb_name(order.verb),
		(int)(order.who.len < 60 ? order.who.len : 60), order.who.ptr,
		wbi_order_handler(id, handler).ptr,
		wbi_order_timer(id, name).ptr);
}

/* item->code WB_OK: it may be done. */
static wb_code judge_item(judge *j, uint8_t verb, const wbi_saga_id *id,
			  wbi_order_item *item, wb_error *err)
{
	char name[256];
	wbi_saga_row row;
	wb_code code = wbi_saga_get(j->txn, j->tables, id, &row, err);

	item->done = false;
	item->code = WB_OK;
	item->text[0] = '\0';
	if (code == WB_ENOTFOUND)
		return judge_refuse(item, WB_ENOTFOUND,
				    "there is no such saga");
	if (code != WB_OK)
		return code;
	if (wbi_timer_check(wbi_order_timer(id, name), 1, 0, NULL) != WB_OK)
		return judge_refuse(item, WB_ESTATE,
				    "its id is no text: no order can name it");
	code = judge_pending(j, id, item, err);
	if (code != WB_OK || item->code != WB_OK)
		return code;
	return id->kind == WBI_SAGA_FLOW
		       ? judge_flow(verb, &row, item)
		       : judge_orchestrated(j, verb, &row, item, err);
}

/* ---- giving -------------------------------------------------------------- */

static wb_code audit_add(MDB_txn *txn, const wbi_store_tables *tables,
			 const wbi_saga_id *id, int64_t now_us, wb_str who,
			 const char *what, wb_str why, uint64_t *ret_number,
			 wb_error *err)
{
	char handler[128];
	const wbi_audit audit = {.time_us = now_us,
				 .who = who,
				 .what = wb_str_from(what),
				 .why = why,
				 .key = id->id,
				 .handler = wbi_order_handler(id, handler)};

	return wbi_audit_add(txn, tables->audit, &audit, ret_number, err);
}

static wb_code give_item(wb_store *store, judge *j, const wbi_order_how *how,
			 const wbi_saga_id *id, wb_error *err)
{
	const wb_clock *clock = wbi_store_clock(store);
	uint8_t bytes[ORDER_HEAD + WBI_ORDER_WHO_MAX + WBI_ORDER_WHY_MAX];
	wbi_order order = {.verb = (uint8_t)how->verb,
			   .given_us = clock->real_us(clock->ctx),
			   .who = how->actor.who,
			   .why = how->actor.why};
	char what[32], handler[128], name[256];
	wb_code code;

	snprintf(what, sizeof(what), "saga %s", wbi_verb_name(order.verb));
	code = audit_add(j->txn, j->tables, id, order.given_us, order.who, what,
			 order.why, &order.number, err);
	if (code != WB_OK)
		return code;
	return wbi_timer_set(j->txn, j->tables, wbi_order_handler(id, handler),
			     wbi_order_timer(id, name), order.given_us,
			     wb_str_n(bytes, order_encode(&order, bytes)), NULL,
			     NULL, err);
}

static wb_code give_some(wb_store *store, judge *j, const wbi_order_how *how,
			 wbi_order_item *items, size_t count, size_t *ret,
			 wb_error *err)
{
	const wb_clock *clock = wbi_store_clock(store);
	int64_t most_us = how->txn_us > 0 ? how->txn_us : ORDER_TXN_US;
	int64_t start_us = clock->mono_us(clock->ctx);
	wb_code code = WB_OK;
	size_t i = 0;

	while (code == WB_OK && i < count) {
		wbi_order_item *item = &items[i++];
		wbi_saga_id id;

		code = wbi_saga_key_parse(item->key, &id, err);
		if (code == WB_OK)
			code = judge_item(j, (uint8_t)how->verb, &id, item,
					  err);
		if (code == WB_OK && item->code == WB_OK && !how->dry_run)
			code = give_item(store, j, how, &id, err);
		item->done = code == WB_OK && item->code == WB_OK;
		if (clock->mono_us(clock->ctx) - start_us >= most_us)
			break;
	}
	*ret = i;
	return code;
}

wb_code wbi_order_give(wb_store *store, const wbi_order_how *how,
		       wbi_order_item *items, size_t count, size_t *ret_count,
		       wb_error *err)
{
	judge j = {.tables = wbi_store_get_tables(store)};
	size_t looked = 0;
	wb_code code;

	WB_ASSERT(count > 0);
	if (how->actor.who.len > WBI_ORDER_WHO_MAX ||
	    how->actor.why.len > WBI_ORDER_WHY_MAX || how->actor.why.len == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"an order needs a reason of 1 to %d bytes, and "
				"a name of at most %d",
				WBI_ORDER_WHY_MAX, WBI_ORDER_WHO_MAX);
	code = wbi_txn_begin(wb_store_env(store), !how->dry_run, &j.txn, err);
	if (code != WB_OK)
		return code;
	code = give_some(store, &j, how, items, count, &looked, err);
	if (code == WB_OK && !how->dry_run)
		code = wbi_txn_commit(j.txn, err);
	else
		wbi_txn_abort(j.txn);
	wbi_definition_free(j.definition);
	for (size_t i = 0; code != WB_OK && i < looked; i++)
		items[i].done = false;
	if (code == WB_OK)
		*ret_count = looked;
	return code;
}

/* ---- carrying out -------------------------------------------------------- */

wb_code wbi_order_audit(wb_call *call, const wbi_saga_id *id,
			const wbi_order *order, bool done, const char *text,
			wb_error *err)
{
	char what[48], why[WBI_ORDER_TEXT_MAX + 64];

	snprintf(what, sizeof(what), "saga %s %s", wbi_verb_name(order->verb),
		 done ? "done" : "refused");
	snprintf(why, sizeof(why), "%s (asked for in row %" PRIu64 ")", text,
		 order->number);
	return wbi_call_wrote(
		call,
		audit_add(wb_call_txn(call), call->tables, id, call->now_us,
			  order->who, what, wb_str_from(why), NULL, err),
		err);
}
