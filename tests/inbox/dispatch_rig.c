/* SPDX-License-Identifier: BSD-2-Clause */
/* See dispatch_rig.h. */
#include "tests/inbox/dispatch_rig.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inbox/work.h"
#include "lib/event/record.h"
#include "tests/support/testing.h"

enum { RIG_STEPS_MAX = 200000 };

/* ---- handlers ---------------------------------------------------------- */

static void rig_count_effect(rig_probe *p, MDB_txn *txn, uint64_t position)
{
	MDB_val k = {sizeof(position), &position}, v;
	unsigned count = 0;

	if (mdb_get(txn, p->effects, &k, &v) == MDB_SUCCESS)
		memcpy(&count, v.mv_data, sizeof(count));
	assert_int_equal(count, 0); /* no second effect */
	count++;
	v = (MDB_val){sizeof(count), &count};
	assert_int_equal(mdb_put(txn, p->effects, &k, &v, 0), 0);
}

static void rig_check_order(rig_probe *p, MDB_txn *txn, uint64_t position,
			    wb_str key)
{
	MDB_val k = {key.len, (void *)(uintptr_t)key.ptr}, v;
	uint64_t last = 0;

	if (key.len == 0)
		return;
	if (mdb_get(txn, p->last, &k, &v) == MDB_SUCCESS)
		memcpy(&last, v.mv_data, sizeof(last));
	if (last >= position)
		fail_msg("position %llu of key %.*s after %llu",
			 (unsigned long long)position, (int)key.len, key.ptr,
			 (unsigned long long)last);
	v = (MDB_val){sizeof(position), &position};
	assert_int_equal(mdb_put(txn, p->last, &k, &v, 0), 0);
}

static wb_code rig_handle(wb_call *call, const wb_event *event, wb_error *err)
{
	rig_probe *p = wb_call_handler(call)->ctx;
	uint64_t position = wb_call_position(call);

	assert_ptr_equal(wb_call_state(call), p);
	p->calls++;
	if (p->seen_count < RIG_SEEN_MAX)
		p->seen[p->seen_count++] = position;
	if (!p->quiet) {
		rig_count_effect(p, wb_call_txn(call), position);
		rig_check_order(p, wb_call_txn(call), position, event->key);
	}
	return p->behave ? p->behave(p, call, event, err) : WB_OK;
}

static wb_code rig_timer(wb_call *call, const wb_timer *timer, wb_error *err)
{
	rig_probe *p = wb_call_handler(call)->ctx;

	p->timers++;
	return p->on_timer ? p->on_timer(p, call, timer, err) : WB_OK;
}

static MDB_dbi rig_table(MDB_txn *txn, const char *name, const char *suffix,
			 unsigned flags)
{
	char text[128];
	MDB_dbi dbi;

	snprintf(text, sizeof(text), "%s.%s", name, suffix);
	assert_int_equal(mdb_dbi_open(txn, text, MDB_CREATE | flags, &dbi), 0);
	return dbi;
}

static wb_code rig_open_probe(const wb_handler *self, wb_store *store,
			      MDB_txn *txn, void **ret_state, wb_error *err)
{
	rig_probe *p = self->ctx;

	(void)store;
	(void)err;
	p->effects = rig_table(txn, self->name, "effects", MDB_INTEGERKEY);
	p->last = rig_table(txn, self->name, "last", 0);
	*ret_state = p;
	return WB_OK;
}

static void rig_close_probe(void *state)
{
	((rig_probe *)state)->closed = true;
}

rig_probe *rig_add(rig *r, const char *name, wb_handler_kind kind)
{
	static const char *const all[] = {"#", NULL};
	rig_probe *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	assert_true(r->probe_count < RIG_PROBES_MAX);
	p->rig = r;
	p->quiet = kind == WB_EXTERNAL;
	p->handler = (wb_handler)WB_HANDLER_INIT;
	p->handler.name = name;
	p->handler.types = all;
	p->handler.kind = kind;
	p->handler.handle = rig_handle;
	p->handler.timer = rig_timer;
	p->handler.open = rig_open_probe;
	p->handler.close = rig_close_probe;
	p->handler.ctx = p;
	r->probes[r->probe_count++] = p;
	return p;
}

wb_code rig_stop_at(rig_probe *probe, wb_call *call, const wb_event *event,
		    wb_error *err)
{
	(void)event;
	return wb_call_position(call) == (uint64_t)probe->data[0]
		       ? wb_stop(err, "cannot go on")
		       : WB_OK;
}

/* ---- the rig ----------------------------------------------------------- */

static void rig_log(void *ctx, wb_log_level level, const char *line)
{
	rig *r = ctx;

	(void)level;
	r->log_lines++;
	snprintf(r->last_log, sizeof(r->last_log), "%s", line);
}

rig *rig_begin(void **state)
{
	static rig fresh;
	const test_place *place = *state;
	rig *r = &fresh;

	*r = (rig){.err = WB_ERROR_INIT};
	snprintf(r->dir, sizeof(r->dir), "%s", place->store);
	r->store = test_store_make(place->store);
	fake_clock_init(&r->clock);
	seeded_random_init(&r->random, 7);
	r->log = (wb_log){rig_log, r, WB_LOG_INFO};
	r->options = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	r->options.clock = &r->clock.clock;
	r->options.random = &r->random.random;
	r->options.log = &r->log;
	return r;
}

void rig_open(rig *r)
{
	const wb_handler *handlers[RIG_PROBES_MAX];

	for (size_t i = 0; i < r->probe_count; i++)
		handlers[i] = &r->probes[i]->handler;
	assert_ok(wbi_dispatch_open(r->store, handlers, r->probe_count,
				    &r->options, r->calls, &r->dispatch,
				    &r->err),
		  r->err);
}

void rig_close(rig *r)
{
	wbi_dispatch_close(r->dispatch);
	r->dispatch = NULL;
}

void rig_reopen(rig *r)
{
	rig_close(r);
	wb_store_close(r->store);
	r->store = test_store_open(r->dir);
	rig_open(r);
}

void rig_begin_life(rig *r)
{
	r->store = test_store_open(r->dir);
	assert_ok(wbi_calls_open(r->dir, &r->calls, &r->err), r->err);
	rig_open(r);
}

void rig_end_life(rig *r)
{
	rig_close(r);
	wbi_calls_close(r->calls);
	r->calls = NULL;
	wb_store_close(r->store);
	r->store = NULL;
}

int rig_child(rig *r, void (*body)(rig *r))
{
	int status;
	pid_t pid;

	if (r->store)
		rig_end_life(r);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		rig_begin_life(r);
		body(r);
		rig_end_life(r);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void rig_end(rig *r)
{
	rig_close(r);
	for (size_t i = 0; i < r->probe_count; i++)
		free(r->probes[i]);
	wbi_calls_close(r->calls);
	wb_store_close(r->store);
}

static uint64_t rig_append_one(rig *r, MDB_txn *txn, const char *type,
			       const char *key)
{
	wbi_journal inbox = wbi_journal_of(r->store, WBI_INBOX);
	wb_event event = {.type = wb_str_from(type),
			  .key = wb_str_from(key),
			  .traceparent = S("00-trace"),
			  .data = S("payload")};
	char id[WB_UUID_TEXT_LEN + 1];
	uint64_t position = 0;

	wb_uuid7(&r->clock.clock, &r->random.random, id);
	event.id = wb_str_from(id);
	event.source = S("/there");
	assert_ok(wbi_journal_append(&inbox, txn, &event, 1, S("/there"),
				     &position, &r->err),
		  r->err);
	return position;
}

uint64_t rig_append(rig *r, const char *type, const char *key)
{
	uint64_t position;
	MDB_txn *txn;

	assert_ok(wb_store_begin(r->store, &txn, &r->err), r->err);
	position = rig_append_one(r, txn, type, key);
	assert_ok(wb_store_commit(r->store, txn, &r->err), r->err);
	return position;
}

void rig_append_in(rig *r, MDB_txn *txn, size_t count, unsigned keys)
{
	char key[32];

	for (size_t i = 0; i < count; i++) {
		snprintf(key, sizeof(key), "k%u", (unsigned)(i % keys));
		rig_append_one(r, txn, "order.placed", key);
	}
}

void rig_append_many(rig *r, size_t count, unsigned keys)
{
	MDB_txn *txn;

	assert_ok(wb_store_begin(r->store, &txn, &r->err), r->err);
	rig_append_in(r, txn, count, keys);
	assert_ok(wb_store_commit(r->store, txn, &r->err), r->err);
}

void rig_step(rig *r)
{
	assert_ok(wbi_dispatch_step(r->dispatch, true, &r->err), r->err);
}

void rig_run(rig *r)
{
	for (unsigned i = 0; i < RIG_STEPS_MAX; i++) {
		int64_t at;

		rig_step(r);
		if (wbi_dispatch_get_stat(r->dispatch).idle)
			return;
		at = wbi_dispatch_deadline_us(r->dispatch);
		if (at != INT64_MAX)
			fake_clock_advance_to_us(&r->clock, at);
	}
	fail_msg("still not idle");
}

void rig_run_for(rig *r, int64_t us)
{
	int64_t end = r->clock.mono_us + us;

	for (;;) {
		int64_t at;

		rig_run(r);
		at = wbi_dispatch_deadline_us(r->dispatch);
		if (at > end)
			break;
		fake_clock_advance_to_us(&r->clock, at);
	}
	fake_clock_advance_to_us(&r->clock, end);
	rig_run(r);
}

/* ---- looking ----------------------------------------------------------- */

static MDB_txn *rig_read(rig *r)
{
	MDB_txn *txn;

	assert_int_equal(
		mdb_txn_begin(wb_store_env(r->store), NULL, MDB_RDONLY, &txn),
		0);
	return txn;
}

unsigned rig_effects(rig *r, const rig_probe *probe, uint64_t position)
{
	MDB_val k = {sizeof(position), &position}, v;
	MDB_txn *txn = rig_read(r);
	unsigned count = 0;

	if (mdb_get(txn, probe->effects, &k, &v) == MDB_SUCCESS)
		memcpy(&count, v.mv_data, sizeof(count));
	mdb_txn_abort(txn);
	return count;
}

uint64_t rig_rows(rig *r, wbi_table table)
{
	MDB_txn *txn = rig_read(r);
	MDB_stat stat;

	assert_int_equal(mdb_stat(txn, table, &stat), 0);
	mdb_txn_abort(txn);
	return stat.ms_entries;
}

size_t rig_effect_count(rig *r, const rig_probe *probe)
{
	return rig_rows(r, probe->effects);
}

wbi_consumer rig_consumer(rig *r, const char *name)
{
	static char text[WB_ERROR_TEXT_MAX];
	MDB_txn *txn = rig_read(r);
	wbi_consumer row;

	assert_ok(wbi_consumer_get(txn,
				   wbi_store_get_tables(r->store)->consumers,
				   'i', wb_str_from(name), &row, &r->err),
		  r->err);
	snprintf(text, sizeof(text), "%.*s", (int)row.error.len,
		 row.error.len > 0 ? row.error.ptr : "");
	row.error = wb_str_from(text);
	mdb_txn_abort(txn);
	return row;
}

bool rig_dead(rig *r, uint64_t number, wbi_dead *ret)
{
	static char text[WB_ERROR_TEXT_MAX], key[256];
	MDB_txn *txn = rig_read(r);
	wb_code code = wbi_dead_get(txn, wbi_store_get_tables(r->store)->dead,
				    number, ret, &r->err);

	if (code == WB_OK) {
		snprintf(text, sizeof(text), "%.*s", (int)ret->text.len,
			 ret->text.ptr);
		snprintf(key, sizeof(key), "%.*s", (int)ret->key.len,
			 ret->key.len > 0 ? ret->key.ptr : "");
		ret->text = wb_str_from(text);
		ret->key = wb_str_from(key);
	}
	mdb_txn_abort(txn);
	return code == WB_OK;
}

uint64_t rig_outbox(rig *r, wb_event *ret_last)
{
	static uint8_t copy[4096];
	wbi_journal outbox = wbi_journal_of(r->store, WBI_OUTBOX);
	uint64_t first, head, position;
	MDB_txn *txn = rig_read(r);
	wb_str record;

	assert_ok(wbi_journal_range(&outbox, txn, &first, &head, &r->err),
		  r->err);
	if (ret_last && head > 0) {
		assert_ok(wbi_journal_get(&outbox, txn, head, &record, &r->err),
			  r->err);
		assert_true(record.len <= sizeof(copy));
		memcpy(copy, record.ptr, record.len);
		assert_ok(wbi_record_decode(copy, record.len, ret_last,
					    &position, &r->err),
			  r->err);
	}
	mdb_txn_abort(txn);
	return head;
}
