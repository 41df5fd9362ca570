/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of work in an open transaction of a new store, for handler "billing".
 * Everything fails the test by itself. */
#ifndef TESTS_WORK_RIG_H
#define TESTS_WORK_RIG_H

#include "inbox/work.h"
#include "tests/support/place.h"
#include "tests/support/testing.h"

#define H S("billing")

typedef struct fixture {
	wb_store *store;
	const wbi_store_tables *tables;
	MDB_txn *txn;
	wb_error err;
} fixture;

fixture begin(void **state);
void end(fixture *f);
void make_consumer(fixture *f, wb_str name);
wbi_consumer consumer(fixture *f);

/* An event with an ordering key. */
wbi_work_id keyed(const char *key, uint64_t position);
void add(fixture *f, wbi_work_id id, int64_t due_us);
wbi_work get(fixture *f, wbi_work_id id);
void assert_state(fixture *f, wbi_work_id id, uint8_t state);
void assert_gone(fixture *f, wbi_work_id id);

/* The position that is due first at `now`, 0: none. When there will be one. */
uint64_t due(fixture *f, int64_t now);
int64_t next_us(fixture *f, int64_t now);

void change(fixture *f, wbi_work_id id, uint8_t state, int64_t due_us,
	    int64_t now);
void done(fixture *f, wbi_work_id id, int64_t now);
uint64_t die(fixture *f, wbi_work_id id, bool blocks, int64_t now);

#endif
