/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/saga/services.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/journal/maintain.h"
#include "tests/support/place.h"
#include "tests/support/testing.h"

enum { REST_TURNS = 200000, REST_QUIET = 50, TURN_US = 500, WAIT_STEPS = 20 };

void service_start(services *r, int i)
{
	service *s = &r->all[i];
	wb_store_options so = test_store_options();
	wb_error err = WB_ERROR_INIT;

	so.clock = &r->clock.clock;
	so.random = &r->random.random;
	so.service = s->kind->name;
	assert_ok(wb_store_open(s->dir, &so, &s->store, &err), err);
	s->kind->open(s);
	assert_ok(wb_memory_connect(r->memory, &s->consumer, &err), err);
	assert_ok(wb_memory_connect(r->memory, &s->publisher, &err), err);
	assert_ok(wb_worker_open(s->store, s->consumer, s->publisher,
				 s->handlers, s->handler_count, &r->worker,
				 &s->worker, &err),
		  err);
}

void service_kill(service *s)
{
	wb_worker_close(s->worker);
	wb_broker_free(s->consumer);
	wb_broker_free(s->publisher);
	s->kind->close(s);
	wb_store_close(s->store);
}

void services_init(services *r, const char *dir, uint64_t seed,
		   const service_kind *kinds, int count,
		   const wb_routes *routes)
{
	wb_error err = WB_ERROR_INIT;

	memset(r, 0, sizeof(*r));
	fake_clock_init(&r->clock);
	seeded_random_init(&r->random, seed);
	assert_ok(wb_memory_new(&r->clock.clock, &r->random.random, &r->memory,
				&err),
		  err);
	r->relay = (wb_relay_options)WB_RELAY_OPTIONS_INIT;
	r->relay.clock = &r->clock.clock;
	r->relay.random = &r->random.random;
	r->relay.routes = routes;
	r->worker = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	r->worker.clock = &r->clock.clock;
	r->worker.random = &r->random.random;
	r->worker.relay = &r->relay;
	r->count = count;
	for (int i = 0; i < count; i++) {
		service *s = &r->all[i];
		wb_store_options so = test_store_options();

		s->kind = &kinds[i];
		so.service = s->kind->name;
		so.clock = &r->clock.clock;
		snprintf(s->dir, sizeof(s->dir), "%s/%s", dir, s->kind->name);
		if (access(s->dir, F_OK) != 0) /* one from before a crash */
			assert_ok(wb_store_create(s->dir, &so, &err), err);
		service_start(r, i);
	}
}

static void service_finding(void *ctx, const wbi_finding *finding)
{
	const service *s = ctx;

	print_error("%s: %s: %s\n", s->kind->name, finding->table,
		    finding->text);
}

/* In whatever state a test leaves it, it is sound. */
static void service_check(service *s)
{
	const wbi_check_report report = {.finding = service_finding, .ctx = s};
	wb_error err = WB_ERROR_INIT;
	wbi_check_result result;

	assert_ok(wbi_store_check(s->dir, &report, &result, &err), err);
}

void services_fini(services *r)
{
	for (int i = 0; i < r->count; i++)
		service_kill(&r->all[i]);
	for (int i = 0; i < r->count; i++)
		service_check(&r->all[i]);
	wb_memory_free(r->memory);
}

void services_step(services *r)
{
	wb_error err = WB_ERROR_INIT;

	for (int i = 0; i < r->count; i++)
		assert_ok(wb_worker_step(r->all[i].worker, true, &err), err);
	fake_clock_advance_us(&r->clock, TURN_US);
}

static bool services_are_idle(const services *r)
{
	for (int i = 0; i < r->count; i++) {
		wb_worker_stat stat = wb_worker_get_stat(r->all[i].worker);

		if (!stat.idle || stat.state != WB_WORKER_RUNNING)
			return false;
	}
	return true;
}

void services_rest(services *r)
{
	unsigned quiet = 0;

	for (unsigned i = 0; i < REST_TURNS; i++) {
		services_step(r);
		quiet = services_are_idle(r) ? quiet + 1 : 0;
		if (quiet > REST_QUIET)
			return;
	}
	fail_msg("the services do not come to rest");
}

/* ---- state --------------------------------------------------------------- */

wb_code state_open(const wb_handler *self, wb_store *store, MDB_txn *txn,
		   void **ret, wb_error *err)
{
	MDB_dbi *dbi = calloc(1, sizeof(*dbi));
	int rc = dbi ? mdb_dbi_open(txn, "state", MDB_CREATE, dbi) : ENOMEM;

	(void)self;
	(void)store;
	if (rc != 0) {
		free(dbi);
		dbi = NULL;
	}
	*ret = dbi;
	return wb_store_error(rc, err, "state");
}

MDB_dbi state_of(wb_call *call)
{
	return *(MDB_dbi *)wb_call_state(call);
}

wb_code state_put(MDB_txn *txn, MDB_dbi dbi, wb_str key, const char *text,
		  wb_error *err)
{
	MDB_val k = {key.len, (void *)(uintptr_t)key.ptr};
	MDB_val v = {strlen(text), (void *)(uintptr_t)text};

	return wb_store_error(mdb_put(txn, dbi, &k, &v, 0), err, "state");
}

bool state_is(MDB_txn *txn, MDB_dbi dbi, wb_str key, const char *text)
{
	MDB_val k = {key.len, (void *)(uintptr_t)key.ptr}, v;

	if (mdb_get(txn, dbi, &k, &v))
		return text[0] == '\0';
	return wb_str_eq(wb_str_n(v.mv_data, v.mv_size), wb_str_from(text));
}

MDB_txn *service_begin(service *s, MDB_dbi *ret_state)
{
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;

	assert_ok(wb_store_begin(s->store, &txn, &err), err);
	assert_int_equal(mdb_dbi_open(txn, "state", MDB_CREATE, ret_state), 0);
	return txn;
}

void assert_state(service *s, const char *key, const char *text)
{
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	if (!state_is(txn, dbi, wb_str_from(key), text))
		fail_msg("%s: %s is not \"%s\"", s->kind->name, key, text);
	wb_store_abort(txn);
}

/* ---- operators ----------------------------------------------------------- */

void services_wait_s(services *r, int64_t seconds)
{
	for (int64_t i = 0; i < seconds; i++) {
		fake_clock_advance_us(&r->clock, 1000000);
		for (int n = 0; n < WAIT_STEPS; n++)
			services_step(r);
	}
	services_rest(r);
}

void service_orchestrate(service *s, const wb_saga *const *sagas,
			 size_t count)
{
	wb_error err = WB_ERROR_INIT;
	wb_orchestrator *o = NULL;

	assert_ok(wb_orchestrator_open(s->store, sagas, count, NULL, &o, &err),
		  err);
	s->part = o;
	s->handlers[0] = wb_orchestrator_handler(o);
	s->handler_count = 1;
}

void service_orchestrate_end(service *s)
{
	wb_orchestrator_close(s->part);
}

MDB_txn *service_saga(service *s, const wbi_saga_id *id, wbi_saga_row *ret)
{
	wb_error err = WB_ERROR_INIT;
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	assert_ok(wbi_saga_get(txn, wbi_store_get_tables(s->store), id, ret,
			       &err),
		  err);
	return txn;
}

void service_order(service *s, const wbi_saga_id *id, wbi_verb verb,
		   const char *refusal)
{
	const wbi_order_how how = {
		.verb = verb,
		.actor = {wb_str_from("kim"), wb_str_from("a test")}};
	wbi_row_key key = wbi_saga_key(id);
	wbi_order_item item = {.key = wbi_row_key_str(&key)};
	wb_error err = WB_ERROR_INIT;
	size_t count = 0;

	assert_ok(wbi_order_give(s->store, &how, &item, 1, &count, &err), err);
	assert_int_equal(count, 1);
	if (!refusal && !item.done)
		fail_msg("refused: %s", item.text);
	if (refusal && (item.done || !strstr(item.text, refusal)))
		fail_msg("not refused with \"%s\", but \"%s\"", refusal,
			 item.text);
}

unsigned service_audited(service *s, const char *what)
{
	const wbi_store_tables *tables = wbi_store_get_tables(s->store);
	wb_error err = WB_ERROR_INIT;
	unsigned count = 0;
	wbi_audit audit;
	wb_str row;
	MDB_dbi dbi;
	MDB_txn *txn = service_begin(s, &dbi);

	for (uint64_t number = 1;
	     wbi_get_at(txn, tables->audit, number, &row, &err) == WB_OK;
	     number++) {
		assert_ok(wbi_audit_decode(number, row, &audit, &err), err);
		count += wb_str_eq(audit.what, wb_str_from(what));
	}
	wb_store_abort(txn);
	return count;
}
