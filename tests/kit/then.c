/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is there in the end: rows of the store and messages at the exchange,
 * copied once after each run, so that a test reads them without a transaction.
 * Emitted events grow and stay; all other lists are made anew.
 *
 * Strings of rows live in `kept`; those of emitted events in the broker's log,
 * which is there as long as the broker.
 */
#include "tests/kit/kit.h"

#include <stdlib.h>

#include "inbox/timer.h"
#include "lib/base/error.h"
#include "lib/event/record.h"
#include "lib/store/table.h"

/* ---- memory -------------------------------------------------------------- */

static void *then_room(kit_lists *lists, size_t size, wb_error *err)
{
	kit_kept *kept = calloc(1, sizeof(*kept) + size);

	if (!kept) {
		WBI_FAIL(err, WB_ENOMEM, "a list");
		return NULL;
	}
	kept->next = lists->kept;
	lists->kept = kept;
	return kept->bytes;
}

/* A copy with a NUL behind it. */
static wb_code then_keep(kit_lists *lists, wb_str from, wb_str *ret,
			 wb_error *err)
{
	char *copy = then_room(lists, from.len + 1, err);

	if (!copy)
		return WB_ENOMEM;
	if (from.len > 0)
		memcpy(copy, from.ptr, from.len);
	*ret = wb_str_n(copy, from.len);
	return WB_OK;
}

static wb_code then_keep_text(kit_lists *lists, wb_str from, const char **ret,
			      wb_error *err)
{
	wb_str copy;
	wb_code code = then_keep(lists, from, &copy, err);

	if (code == WB_OK)
		*ret = copy.ptr;
	return code;
}

/* Room for one more, zeroed. It doubles when `count` is a power of two. */
static void *then_grow(void *array, size_t count, size_t size, wb_error *err)
{
	char *more = array;

	if ((count & (count - 1)) == 0)
		more = realloc(array, (count ? 2 * count : 1) * size);
	if (!more)
		WBI_FAIL(err, WB_ENOMEM, "a list");
	else
		memset(more + count * size, 0, size);
	return more;
}

static void then_clear(kit_lists *lists)
{
	while (lists->kept) {
		kit_kept *next = lists->kept->next;

		free(lists->kept);
		lists->kept = next;
	}
	free(lists->timers);
	free(lists->waiting);
	free(lists->dead);
	*lists = (kit_lists){.kept = NULL};
}

/* ---- rows ---------------------------------------------------------------- */

/* A record as an event whose strings are kept. */
static wb_code then_event(kit_lists *lists, wb_str record, wb_event *ret,
			  wb_error *err)
{
	wb_header *headers;
	uint64_t position;
	wb_str copy;
	wb_code code = then_keep(lists, record, &copy, err);

	if (code == WB_OK)
		code = wbi_record_decode(copy.ptr, copy.len, ret, &position,
					 err);
	if (code != WB_OK || ret->header_count == 0)
		return code;
	headers = then_room(lists, ret->header_count * sizeof(*headers), err);
	return headers ? wbi_record_headers(copy.ptr, copy.len, ret, headers,
					    err)
		       : WB_ENOMEM;
}

static wb_code then_add_timer(kit_lists *lists, const wbi_work_id *id,
			      const wbi_work *row, wb_error *err)
{
	wb_test_timer *more = then_grow(lists->timers, lists->timer_count,
					sizeof(*more), err);
	wb_test_timer *t;
	wb_code code;

	if (!more)
		return WB_ENOMEM;
	lists->timers = more;
	t = &more[lists->timer_count++];
	t->attempts = row->attempts;
	t->due_us = row->due_us;
	code = wbi_timer_unpack(id, row->record, &t->timer, err);
	if (code == WB_OK)
		code = then_keep_text(lists, id->consumer, &t->handler, err);
	if (code == WB_OK)
		code = then_keep(lists, t->timer.name, &t->timer.name, err);
	return code == WB_OK ? then_keep(lists, t->timer.data, &t->timer.data,
					 err)
			     : code;
}

static wb_code then_add_waiting(kit_lists *lists, const wbi_work_id *id,
				const wbi_work *row, wb_error *err)
{
	wb_test_waiting *more = then_grow(lists->waiting, lists->waiting_count,
					  sizeof(*more), err);
	wb_test_waiting *w;
	wb_code code;

	if (!more)
		return WB_ENOMEM;
	lists->waiting = more;
	w = &more[lists->waiting_count++];
	w->queued = row->state == WBI_WORK_QUEUED;
	w->attempts = row->attempts;
	w->due_us = w->queued ? 0 : row->due_us;
	w->code = (wb_code)row->code;
	code = then_keep_text(lists, id->consumer, &w->handler, err);
	if (code == WB_OK)
		code = then_keep_text(lists, row->text, &w->text, err);
	return code == WB_OK ? then_event(lists, row->record, &w->event, err)
			     : code;
}

static wb_code then_add_work(kit_lists *lists, wb_str key, wb_str value,
			     wb_error *err)
{
	wbi_work_id id;
	wbi_work row;
	wb_code code = wbi_work_key_parse(key, &id, err);

	if (code == WB_OK)
		code = wbi_work_decode(key, value, &row, err);
	if (code != WB_OK || row.state == WBI_WORK_DEAD)
		return code;
	if (id.lane == WBI_LANE_TIMER)
		return then_add_timer(lists, &id, &row, err);
	if (id.lane == WBI_LANE_CRASHED)
		return WB_OK;
	return then_add_waiting(lists, &id, &row, err);
}

static wb_code then_add_dead(kit_lists *lists, uint64_t number, wb_str value,
			     wb_error *err)
{
	wb_test_dead *more = then_grow(lists->dead, lists->dead_count,
				       sizeof(*more), err);
	wb_test_dead *d;
	wbi_dead row;
	wb_code code;

	if (!more)
		return WB_ENOMEM;
	lists->dead = more;
	code = wbi_dead_decode(number, value, &row, err);
	if (code != WB_OK)
		return code;
	d = &more[lists->dead_count++];
	d->number = number;
	d->attempts = row.attempts;
	d->reason = wbi_dead_reason_name(row.reason);
	code = then_keep_text(lists, row.consumer, &d->handler, err);
	if (code == WB_OK)
		code = then_keep_text(lists, row.text, &d->text, err);
	if (code != WB_OK)
		return code;
	if (row.lane == WBI_LANE_TIMER)
		return then_keep(lists, row.key, &d->timer, err);
	if (row.consumer.len > 0)
		return then_event(lists, row.bytes, &d->event, err);
	code = then_keep(lists, row.id, &d->event.id, err);
	if (code == WB_OK)
		code = then_keep(lists, row.source, &d->event.source, err);
	return code == WB_OK ? then_keep(lists, row.type, &d->event.type, err)
			     : code;
}

/* ---- tables -------------------------------------------------------------- */

static wb_code then_read_work(kit_lists *lists, MDB_txn *txn, wb_error *err)
{
	wbi_cursor *cursor = NULL;
	wb_str key, value;
	wbi_table work;
	wb_code code = wbi_table_open(txn, "waybill.work", WBI_TABLE_BYTES,
				      false, &work, err);

	if (code == WB_OK)
		code = wbi_cursor_open(txn, work, &cursor, err);
	while (code == WB_OK) {
		code = wbi_cursor_move(cursor, WBI_NEXT, &key, &value, err);
		if (code == WB_OK)
			code = then_add_work(lists, key, value, err);
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code then_read_dead(kit_lists *lists, MDB_txn *txn, wb_error *err)
{
	wbi_cursor *cursor = NULL;
	uint64_t number;
	wb_str value;
	wbi_table dead;
	wb_code code = wbi_table_open(txn, "waybill.dead", WBI_TABLE_POSITION,
				      false, &dead, err);

	if (code == WB_OK)
		code = wbi_cursor_open(txn, dead, &cursor, err);
	while (code == WB_OK) {
		code = wbi_cursor_move_at(cursor, WBI_NEXT, &number, &value,
					  err);
		if (code == WB_OK)
			code = then_add_dead(lists, number, value, err);
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static int then_by_time(const void *a, const void *b)
{
	const wb_test_timer *x = a, *y = b;

	return (x->due_us > y->due_us) - (x->due_us < y->due_us);
}

wb_code kit_next_due(wb_test *t, int64_t now_us, int64_t *ret, wb_error *err)
{
	wbi_cursor *cursor = NULL;
	wb_str key, value;
	MDB_txn *txn = NULL;
	wbi_work_id id;
	wbi_table due;
	int64_t at;
	wb_code code = wbi_txn_begin(wb_store_env(t->store), false, &txn, err);

	*ret = INT64_MAX;
	if (code == WB_OK)
		code = wbi_table_open(txn, "waybill.due", WBI_TABLE_BYTES,
				      false, &due, err);
	if (code == WB_OK)
		code = wbi_cursor_open(txn, due, &cursor, err);
	while (code == WB_OK) { /* they are by consumer first */
		code = wbi_cursor_move(cursor, WBI_NEXT, &key, &value, err);
		if (code == WB_OK)
			code = wbi_due_decode(key, value, &at, &id, err);
		if (code == WB_OK && at > now_us && at < *ret)
			*ret = at;
	}
	wbi_cursor_close(cursor);
	wbi_txn_abort(txn);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* ---- emitted ------------------------------------------------------------- */

static bool then_is_known(const kit_emitted *e, const wb_event *event)
{
	for (size_t i = 0; i < e->count; i++)
		if (wb_str_eq(e->events[i]->event.id, event->id) &&
		    wb_str_eq(e->events[i]->event.source, event->source))
			return true;
	return false;
}

static wb_code then_add_emitted(kit_emitted *e, const wb_message *m,
				wb_error *err)
{
	wbi_received *r = malloc(sizeof(*r));
	wbi_received **more;
	wb_code code;

	if (!r)
		return WBI_FAIL(err, WB_ENOMEM, "an event");
	code = wbi_envelope_read(m, NULL, r, err);
	if (code != WB_OK || then_is_known(e, &r->event)) {
		if (code == WB_OK)
			wbi_envelope_read_fini(r);
		free(r);
		return code;
	}
	more = then_grow(e->events, e->count, sizeof(*more), err);
	if (!more) {
		wbi_envelope_read_fini(r);
		free(r);
		return WB_ENOMEM;
	}
	e->events = more;
	e->events[e->count++] = r;
	return WB_OK;
}

static wb_code then_read_emitted(wb_test *t, wb_error *err)
{
	const kit_given *given = &t->given;
	kit_emitted *e = &t->emitted;
	const wb_message *m;
	wb_code code = WB_OK;

	while (code == WB_OK &&
	       (m = wb_memory_arrival(t->memory, KIT_EMITTED_QUEUE, e->seen))) {
		if (e->given_at < given->count &&
		    given->arrivals[e->given_at] == e->seen)
			e->given_at++;
		else
			code = then_add_emitted(e, m, err);
		e->seen++;
	}
	return code;
}

/* ---- the operator -------------------------------------------------------- */

static wb_code then_tables(MDB_txn *txn, wbi_store_tables *ret, wb_error *err)
{
	struct {
		const char *name;
		enum wbi_table_kind kind;
		wbi_table *ret;
	} const tables[] = {
		{"waybill.consumers", WBI_TABLE_BYTES, &ret->consumers},
		{"waybill.work", WBI_TABLE_BYTES, &ret->work},
		{"waybill.due", WBI_TABLE_BYTES, &ret->due},
		{"waybill.dead", WBI_TABLE_POSITION, &ret->dead},
		{"waybill.status", WBI_TABLE_BYTES, &ret->status},
	};
	wb_code code = WB_OK;

	for (size_t i = 0; code == WB_OK &&
			   i < sizeof(tables) / sizeof(tables[0]);
	     i++)
		code = wbi_table_open(txn, tables[i].name, tables[i].kind,
				      false, tables[i].ret, err);
	return code;
}

wb_code wb_test_retry_dead(wb_test *test, uint64_t number, wb_error *err)
{
	wbi_store_tables tables;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wb_store_env(test->store), true, &txn,
				     err);

	if (code != WB_OK)
		return code;
	code = then_tables(txn, &tables, err);
	if (code == WB_OK)
		code = wbi_work_revive(txn, &tables, number,
				       test->clock.real_us, err);
	if (code == WB_OK)
		return wbi_txn_commit(txn, err);
	wbi_txn_abort(txn);
	return code;
}

/* ---- all of it ----------------------------------------------------------- */

wb_code kit_lists_refresh(wb_test *t, wb_error *err)
{
	kit_lists *lists = &t->lists;
	MDB_txn *txn = NULL;
	wb_code code;

	then_clear(lists);
	code = wbi_txn_begin(wb_store_env(t->store), false, &txn, err);
	if (code == WB_OK)
		code = then_read_work(lists, txn, err);
	if (code == WB_OK)
		code = then_read_dead(lists, txn, err);
	wbi_txn_abort(txn);
	if (lists->timer_count > 0)
		qsort(lists->timers, lists->timer_count, sizeof(*lists->timers),
		      then_by_time);
	return code == WB_OK ? then_read_emitted(t, err) : code;
}

void kit_lists_free(wb_test *t)
{
	then_clear(&t->lists);
	for (size_t i = 0; i < t->emitted.count; i++) {
		wbi_envelope_read_fini(t->emitted.events[i]);
		free(t->emitted.events[i]);
	}
	free(t->emitted.events);
}

const wb_event *wb_test_emitted(wb_test *test, size_t index)
{
	return index < test->emitted.count ? &test->emitted.events[index]->event
					   : NULL;
}

const wb_test_timer *wb_test_timer_at(wb_test *test, size_t index)
{
	return index < test->lists.timer_count ? &test->lists.timers[index]
					       : NULL;
}

const wb_test_waiting *wb_test_waiting_at(wb_test *test, size_t index)
{
	return index < test->lists.waiting_count ? &test->lists.waiting[index]
						 : NULL;
}

const wb_test_dead *wb_test_dead_at(wb_test *test, size_t index)
{
	return index < test->lists.dead_count ? &test->lists.dead[index] : NULL;
}

/* ---- single values ------------------------------------------------------- */

/* A copy of `from` in *at, for as long as nothing else is copied there. */
static wb_code then_hold(char **at, wb_str from, wb_error *err)
{
	char *copy = malloc(from.len + 1);

	if (!copy)
		return WBI_FAIL(err, WB_ENOMEM, "a value");
	if (from.len > 0)
		memcpy(copy, from.ptr, from.len);
	copy[from.len] = '\0';
	free(*at);
	*at = copy;
	return WB_OK;
}

wb_code wb_test_get(wb_test *test, const char *table, wb_str key, wb_str *ret,
		    wb_error *err)
{
	MDB_val k = {key.len, (void *)(uintptr_t)key.ptr}, v;
	MDB_txn *txn = NULL;
	MDB_dbi dbi;
	wb_code code = wbi_txn_begin(wb_store_env(test->store), false, &txn,
				     err);
	int rc;

	if (code != WB_OK)
		return code;
	rc = mdb_dbi_open(txn, table, 0, &dbi);
	if (rc == 0)
		rc = mdb_get(txn, dbi, &k, &v);
	if (rc == MDB_NOTFOUND)
		code = WB_ENOTFOUND;
	else if (rc != 0)
		code = wb_store_error(rc, err, table);
	else
		code = then_hold(&test->value, wb_str_n(v.mv_data, v.mv_size),
				 err);
	if (code == WB_OK)
		*ret = wb_str_n(test->value, v.mv_size);
	wbi_txn_abort(txn);
	return code;
}

const char *wb_test_stopped(wb_test *test, const char *handler)
{
	wbi_consumer row;
	MDB_txn *txn = NULL;
	wbi_table consumers;
	bool stopped = false;
	wb_code code = wbi_txn_begin(wb_store_env(test->store), false, &txn,
				     NULL);

	if (code == WB_OK)
		code = wbi_table_open(txn, "waybill.consumers", WBI_TABLE_BYTES,
				      false, &consumers, NULL);
	if (code == WB_OK)
		code = wbi_consumer_get(txn, consumers, 'i',
					wb_str_from(handler), &row, NULL);
	if (code == WB_OK && row.error.len > 0)
		stopped = then_hold(&test->why, row.error, NULL) == WB_OK;
	wbi_txn_abort(txn);
	return stopped ? test->why : NULL;
}
