/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Up to three services on a memory broker, each with its store, its worker and a
 * table "state" of its own; a clock that stands still until it is moved. All
 * fails the test by itself.
 */
#ifndef TESTS_SERVICES_H
#define TESTS_SERVICES_H

#include <limits.h>

#include <waybill/memory.h>
#include <waybill/saga.h>
#include <waybill/worker.h>

#include "saga/operator.h"
#include "tests/support/fake_clock.h"
#include "tests/support/seeded_random.h"

enum { SERVICES_MAX = 3 };

typedef struct service service;

/* What a service is made of, beside its store. */
typedef struct service_kind {
	const char *name;
	/* Fill in handlers and handler_count; and take them down again. */
	void (*open)(service *s);
	void (*close)(service *s);
} service_kind;

struct service {
	const service_kind *kind;
	char dir[PATH_MAX];
	wb_store *store;
	wb_broker *consumer, *publisher;
	wb_worker *worker;
	const wb_handler *handlers[4];
	size_t handler_count;
	void *part; /* the kind's */
};

typedef struct services {
	fake_clock clock;
	seeded_random random;
	wb_memory *memory;
	wb_relay_options relay;
	wb_worker_options worker;
	service all[SERVICES_MAX];
	int count;
} services;

void services_init(services *r, const char *dir, uint64_t seed,
		   const service_kind *kinds, int count,
		   const wb_routes *routes);
void services_fini(services *r);

void service_start(services *r, int i);
/* As by kill -9: nothing is said to anybody. */
void service_kill(service *s);

void services_step(services *r);
/* Until none of them has anything left to do. */
void services_rest(services *r);

/* The clock goes on, and they with it; then until they rest. */
void services_wait_s(services *r, int64_t seconds);

/* For a kind that orchestrates: its `open` with what it does, its `close`. */
void service_orchestrate(service *s, const wb_saga *const *sagas,
			 size_t count);
void service_orchestrate_end(service *s);
/* A saga's row, in a transaction to be ended with wb_store_abort(). */
MDB_txn *service_saga(service *s, const wbi_saga_id *id, wbi_saga_row *ret);

/* The table "state" of a service; for a handler's `open` and in a test. */
wb_code state_open(const wb_handler *self, wb_store *store, MDB_txn *txn,
		   void **ret, wb_error *err);
wb_code state_put(MDB_txn *txn, MDB_dbi dbi, wb_str key, const char *text,
		  wb_error *err);
/* Is it that? "": there is none. */
bool state_is(MDB_txn *txn, MDB_dbi dbi, wb_str key, const char *text);
MDB_dbi state_of(wb_call *call);

MDB_txn *service_begin(service *s, MDB_dbi *ret_state);

/* An operator's order to a saga; fails the test unless it is taken, or refused
 * with this in its text. */
void service_order(service *s, const wbi_saga_id *id, wbi_verb verb,
		   const char *refusal);
/* How many rows of the audit say this. */
unsigned service_audited(service *s, const char *what);

void assert_state(service *s, const char *key, const char *text);

#endif
