/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading one saga: its row, its machine on the stored definition, its log, the
 * barriers of its steps here, its timers and an order that waits. All of it in
 * one read transaction, bounded by what a saga may have, and copied. No state.
 */
#include "cli/saga_show.h"

#include <stdlib.h>

#include <waybill/saga.h>

#include "cli/print.h"
#include "inbox/timer.h"
#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "saga/machine.h"
#include "saga/operator.h"
#include "saga/orchestrator.h"

enum { TIMERS_MAX = 300, BARRIERS_MAX = 1024 };

typedef struct reading {
	wb_store *store;
	const wbi_store_tables *tables;
	MDB_txn *txn;
	const wbi_saga_id *id;
	int64_t now_us;
	json_t *object;
} reading;

static json_t *put_array(json_t *object, const char *name)
{
	json_t *array = json_array();

	json_object_set_new(object, name, array);
	return array;
}

static void put_seconds(json_t *object, const char *name, int64_t us)
{
	json_object_set_new(object, name, json_real((double)us / 1e6));
}

/* ---- its machine --------------------------------------------------------- */

static const char *step_kind(const wb_step *step)
{
	static const char *const names[] = {"compensable", "pivot",
					    "retriable"};

	return names[(size_t)step->kind % WBI_COUNT(names)];
}

static void read_step(json_t *list, const wb_step *step,
		      const wbi_machine_step *at)
{
	json_t *object = json_object();

	cli_put_text(object, "step", wb_str_from(step->name));
	cli_put_text(object, "kind", wb_str_from(step_kind(step)));
	cli_put_text(object, "state", wb_str_from(wbi_at_name(at->at)));
	cli_put_number(object, "attempts", at->attempts);
	cli_put_number(object, "attempts_max",
		       wbi_step_attempts(step, WBI_OP_DO));
	cli_put_number(object, "undo_attempts", at->undo_attempts);
	if (wbi_step_has_undo(step))
		cli_put_number(object, "undo_attempts_max",
			       wbi_step_attempts(step, WBI_OP_UNDO));
	if (at->skipped)
		json_object_set_new(object, "skipped", json_true());
	cli_put_text(object, "command",
		     wb_str_from(step->run ? "here" : step->command));
	cli_put_text(object, "undo", wb_str_from(step->run_undo ? "here"
							: step->undo));
	cli_put_text(object, "probe", wb_str_from(step->probe));
	json_array_append_new(list, object);
}

static bool to_be_undone(const wb_step *step, uint8_t at)
{
	return wbi_step_has_undo(step) &&
	       (at == WBI_AT_DONE || at == WBI_AT_UNKNOWN ||
		at == WBI_AT_UNDOING || at == WBI_AT_UNDO_WAITING);
}

/* What is still to be done, in order. */
static void read_remaining(json_t *list, const wb_saga *saga,
			   const wbi_machine *m)
{
	uint8_t status = m->status == WB_SAGA_PARKED ? m->before : m->status;
	char text[128];

	if (wbi_saga_status_is_final(m->status))
		return;
	for (uint32_t i = m->current; status != WB_SAGA_COMPENSATING &&
				      i < m->count;
	     i++)
		if (m->steps[i].at != WBI_AT_DONE)
			json_array_append_new(
				list, json_string(saga->steps[i].name));
	for (uint32_t i = m->current + 1;
	     status == WB_SAGA_COMPENSATING && i-- > 0;) {
		if (!to_be_undone(&saga->steps[i], m->steps[i].at))
			continue;
		snprintf(text, sizeof(text), "undo %s", saga->steps[i].name);
		json_array_append_new(list, json_string(text));
	}
}

static void read_verbs(json_t *object, uint32_t verbs)
{
	json_t *list = put_array(object, "possible");

	for (unsigned verb = WBI_VERB_RETRY; verb <= WBI_VERB_RESUME; verb++)
		if (verbs & 1u << verb)
			json_array_append_new(
				list,
				json_string(wbi_verb_name((uint8_t)verb)));
}

static wb_code read_machine(reading *r, const wbi_saga_row *row, wb_error *err)
{
	wbi_definition *definition = NULL;
	wbi_machine m = {0};
	json_t *steps;
	wb_str bytes;
	wb_code code = wbi_machine_decode(row->machine, &m, err);

	if (code == WB_OK)
		code = wbi_saga_def_get(r->txn, r->tables, row->definition,
					&bytes, err);
	if (code == WB_OK)
		code = wbi_definition_decode(bytes, &definition, err);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	read_verbs(r->object, wbi_verbs_possible(
				      definition ? &definition->saga : NULL,
				      &m));
	cli_put_text(r->object, "parked",
		     wb_str_from(wbi_parking_name(m.parking)));
	cli_put_number(r->object, "epoch", m.epoch);
	if (m.overdue)
		json_object_set_new(r->object, "overdue", json_true());
	cli_put_text(r->object, "definition", row->definition);
	if (!definition || definition->saga.count != m.count) {
		wbi_definition_free(definition);
		return WB_OK;
	}
	read_remaining(put_array(r->object, "remaining"), &definition->saga,
		       &m);
	steps = put_array(r->object, "steps");
	for (uint32_t i = 0; i < m.count; i++)
		read_step(steps, &definition->steps[i], &m.steps[i]);
	wbi_definition_free(definition);
	return WB_OK;
}

/* ---- its row ------------------------------------------------------------- */

static wb_code read_row(reading *r, const wbi_saga_row *row, wb_error *err)
{
	json_t *o = r->object;
	bool final = wbi_saga_status_is_final(row->status), late;
	int64_t deadline_us;
	char from[700];
	wb_code code = cli_saga_deadline(r->txn, r->tables, r->id, row,
					 r->now_us, &deadline_us, &late, err);

	if (code != WB_OK)
		return code;
	cli_put_text(o, "id", r->id->id);
	cli_put_text(o, "kind", row->name);
	cli_put_text(o, "by", wb_str_from(cli_saga_way(r->id->kind)));
	cli_put_text(o, "state",
		     wb_str_from(wbi_saga_status_name(row->status)));
	cli_put_text(o, "reason", row->reason);
	cli_put_text(o, "step", row->step);
	cli_put_text(o, "awaits", row->awaits);
	cli_put_text(o, "from",
		     wb_str_from(cli_saga_from(r->id, row, from,
					       sizeof(from))));
	cli_put_time(o, "since", row->since_us);
	cli_put_time(o, "until", deadline_us);
	if (late)
		json_object_set_new(o, "late", json_true());
	cli_put_time(o, "started", row->started_us);
	cli_put_time(o, final ? "ended" : "changed", row->changed_us);
	put_seconds(o, final ? "took_seconds" : "age_seconds",
		    (final ? row->changed_us : r->now_us) - row->started_us);
	put_seconds(o, "since_seconds", r->now_us - row->since_us);
	cli_put_number(o, "entries", row->entries);
	cli_put_text(o, "content_type", row->content_type);
	cli_put_data(o, "data", row->data);
	if (r->id->kind == WBI_SAGA_ORCHESTRATED)
		return read_machine(r, row, err);
	read_verbs(o, final ? 0 : 1u << WBI_VERB_ABANDON);
	return WB_OK;
}

static wb_code read_order(reading *r, wb_error *err)
{
	json_t *object;
	wbi_order order;
	wb_code code =
		wbi_order_get(r->txn, r->tables, r->id, &order, err);

	if (code != WB_OK)
		return code == WB_ENOTFOUND ? WB_OK : code;
	object = json_object();
	cli_put_text(object, "verb", wb_str_from(wbi_verb_name(order.verb)));
	cli_put_text(object, "who", order.who);
	cli_put_text(object, "why", order.why);
	cli_put_time(object, "given", order.given_us);
	cli_put_number(object, "audit", order.number);
	json_object_set_new(r->object, "order", object);
	return WB_OK;
}

/* ---- its log ------------------------------------------------------------- */

static void read_out(json_t *object, wb_str out)
{
	json_t *list = put_array(object, "out");
	char text[1024];

	while (out.len > 0) {
		const char *comma = memchr(out.ptr, ',', out.len);
		size_t len = comma ? (size_t)(comma - out.ptr) : out.len;

		json_array_append_new(
			list, json_string(wbi_text_show(
				      wb_str_n(out.ptr, len), text,
				      sizeof(text))));
		len += comma ? 1 : 0;
		len += comma && len < out.len && out.ptr[len] == ' ' ? 1 : 0;
		out = wb_str_n(out.ptr + len, out.len - len);
	}
}

static void read_entry(json_t *list, uint64_t number, const wbi_saga_entry *e,
		       int64_t *last_us)
{
	json_t *object = json_object();

	cli_put_number(object, "number", number);
	cli_put_time(object, "time", e->time_us);
	put_seconds(object, "after_seconds",
		    *last_us ? e->time_us - *last_us : 0);
	*last_us = e->time_us;
	cli_put_text(object, "in", e->in);
	cli_put_text(object, "in_id", e->in_id);
	cli_put_text(object, "step", e->step);
	cli_put_text(object, "change", e->what);
	if (e->before)
		cli_put_text(object, "before",
			     wb_str_from(wbi_saga_status_name(e->before)));
	cli_put_text(object, "after",
		     wb_str_from(wbi_saga_status_name(e->after)));
	read_out(object, e->out);
	cli_put_text(object, "who", e->who);
	cli_put_text(object, "why", e->why);
	cli_put_text(object, "text", e->text);
	json_array_append_new(list, object);
}

static wb_code read_log(reading *r, wb_error *err)
{
	wbi_row_key prefix = wbi_saga_log_prefix(r->id);
	json_t *list = put_array(r->object, "timeline");
	wb_str key = wbi_row_key_str(&prefix), bytes;
	wbi_move move = WBI_SEEK;
	int64_t last_us = 0;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(r->txn, r->tables->saga_log, &cursor,
				       err);

	for (; code == WB_OK; move = WBI_NEXT) {
		wbi_saga_entry entry;
		uint64_t number;

		code = wbi_cursor_move(cursor, move, &key, &bytes, err);
		if (code != WB_OK || key.len != prefix.len + 8u ||
		    memcmp(key.ptr, prefix.bytes, prefix.len) != 0)
			break;
		code = wbi_saga_log_decode(key, bytes, &number, &entry, err);
		if (code == WB_OK)
			read_entry(list, number, &entry, &last_us);
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* ---- what was done here -------------------------------------------------- */

static const char *step_state(uint8_t state)
{
	static const char *const names[] = {"none", "pending", "done",
					    "refused", "undone"};

	return names[state < WBI_COUNT(names) ? state : 0];
}

static void read_barrier(json_t *list, wb_str step, const wbi_barrier_id *id,
			 const wbi_barrier *b, bool flow)
{
	json_t *object = json_object();

	cli_put_text(object, "step", step);
	cli_put_text(object, "operation",
		     wb_str_from(id->op == WBI_BARRIER_UNDO ? "undo" : "do"));
	cli_put_text(object, "state", wb_str_from(step_state(b->state)));
	if (b->tombstone)
		json_object_set_new(object, "undone_before_it_came",
				    json_true());
	cli_put_time(object, "first", b->first_us);
	cli_put_time(object, "last", b->last_us);
	cli_put_text(object, "text", b->text);
	cli_put_data(object, "undo", b->undo);
	cli_put_text(object, flow ? "awaits" : "reply_to", b->reply_to);
	cli_put_text(object, "command", b->reply_type);
	cli_put_data(object, "reply", b->reply);
	json_array_append_new(list, object);
}

/* "FLOW:STEP" of this flow; or, with `flow` empty, what has no flow. */
static bool is_step_of(wb_str step, wb_str flow, wb_str *ret)
{
	const char *colon = memchr(step.ptr, ':', step.len);
	size_t len = colon ? (size_t)(colon - step.ptr) : 0;

	*ret = step;
	if (!colon || flow.len == 0)
		return !colon && flow.len == 0;
	*ret = wb_str_n(colon + 1, step.len - len - 1);
	return wb_str_eq(wb_str_n(step.ptr, len), flow);
}

static wb_code read_barriers(reading *r, wb_str saga, wb_str flow, json_t *list,
			     wb_error *err)
{
	wbi_row_key prefix = wbi_barrier_saga_prefix(saga);
	wb_str key = wbi_row_key_str(&prefix), bytes, step;
	wbi_move move = WBI_SEEK;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(r->txn, r->tables->barriers, &cursor,
				       err);

	for (int i = 0; code == WB_OK && i < BARRIERS_MAX; move = WBI_NEXT) {
		wbi_barrier_id id;
		wbi_barrier row;

		code = wbi_cursor_move(cursor, move, &key, &bytes, err);
		if (code != WB_OK || key.len < prefix.len ||
		    memcmp(key.ptr, prefix.bytes, prefix.len) != 0)
			break;
		code = wbi_barrier_key_parse(key, &id, err);
		if (code == WB_OK)
			code = wbi_barrier_decode(key, bytes, &row, err);
		if (code == WB_OK && is_step_of(id.step, flow, &step)) {
			read_barrier(list, step, &id, &row, flow.len > 0);
			i++;
		}
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* ---- its timers ---------------------------------------------------------- */

static wb_code read_timer(reading *r, json_t *list, wb_str handler, wb_str name,
			  const char *what, wb_error *err)
{
	const wbi_work_id id = {handler, WBI_LANE_TIMER, name, 0};
	wbi_work_id found;
	json_t *object;
	wbi_work row;
	wb_code code = wbi_work_first(r->txn, r->tables, &id, &found, &row,
				      err);

	if (code != WB_OK)
		return code == WB_ENOTFOUND ? WB_OK : code;
	object = json_object();
	cli_put_text(object, "handler", handler);
	cli_put_text(object, "name", name);
	cli_put_text(object, "what", wb_str_from(what));
	cli_put_time(object, "due", row.due_us);
	cli_put_number(object, "attempts", row.attempts);
	cli_put_text(object, "text", row.text);
	json_array_append_new(list, object);
	return WB_OK;
}

static wb_code read_timers(reading *r, wb_error *err)
{
	const json_t *steps = json_object_get(r->object, "here");
	json_t *list = put_array(r->object, "timers");
	char handler[128], name[256];
	wb_str of = wbi_order_handler(r->id, handler);
	wb_code code = WB_OK;

	if (r->id->kind == WBI_SAGA_ORCHESTRATED) {
		wbi_saga_timer_name('s', r->id->id, name);
		code = read_timer(r, list, of, wb_str_from(name), "the step's",
				  err);
		wbi_saga_timer_name('d', r->id->id, name);
		return code == WB_OK ? read_timer(r, list, of,
						  wb_str_from(name),
						  "the saga's", err)
				     : code;
	}
	for (size_t i = 0; i < json_array_size(steps) && code == WB_OK; i++) {
		const json_t *step = json_array_get(steps, i);
		const char *of_step =
			json_string_value(json_object_get(step, "step"));

		if (strcmp(json_string_value(json_object_get(step,
							     "operation")),
			   "do") != 0)
			continue;
		snprintf(name, sizeof(name), "%.*s/%s", (int)r->id->id.len,
			 r->id->id.ptr, of_step);
		code = read_timer(r, list, of, wb_str_from(name), of_step,
				  err);
	}
	return code;
}

/* ---- all of it ----------------------------------------------------------- */

static wb_code read_all(reading *r, wb_error *err)
{
	wbi_saga_row row;
	wb_code code = wbi_saga_get(r->txn, r->tables, r->id, &row, err);

	if (code == WB_OK)
		code = read_row(r, &row, err);
	if (code == WB_OK)
		code = read_order(r, err);
	if (code == WB_OK)
		code = read_log(r, err);
	if (code == WB_OK)
		code = read_barriers(r, r->id->id, r->id->name,
				     put_array(r->object, "here"), err);
	return code == WB_OK ? read_timers(r, err) : code;
}

wb_code cli_saga_read(wb_store *store, const wbi_saga_id *id, int64_t now_us,
		      json_t **ret, wb_error *err)
{
	reading r = {.store = store,
		     .tables = wbi_store_get_tables(store),
		     .id = id,
		     .now_us = now_us,
		     .object = json_object()};
	wb_code code = wbi_txn_begin(wb_store_env(store), false, &r.txn, err);

	if (code == WB_OK) {
		code = read_all(&r, err);
		wbi_txn_abort(r.txn);
	}
	if (code == WB_OK)
		*ret = r.object;
	else
		json_decref(r.object);
	return code;
}

wb_code cli_saga_read_part(wb_store *store, wb_str id, json_t **ret,
			   wb_error *err)
{
	reading r = {.store = store,
		     .tables = wbi_store_get_tables(store),
		     .object = json_object()};
	json_t *here;
	wb_code code;

	*ret = NULL;
	if (id.len == 0 || id.len > WBI_SAGA_ID_MAX) {
		json_decref(r.object);
		return WB_OK;
	}
	cli_put_text(r.object, "id", id);
	cli_put_text(r.object, "by", wb_str_from("participant"));
	here = put_array(r.object, "here");
	code = wbi_txn_begin(wb_store_env(store), false, &r.txn, err);
	if (code == WB_OK) {
		code = read_barriers(&r, id, WB_STR_NULL, here, err);
		wbi_txn_abort(r.txn);
	}
	if (code == WB_OK && json_array_size(here) > 0)
		*ret = r.object;
	else
		json_decref(r.object);
	return code;
}
