/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a service tried (its log), what its store holds (read afresh), and what
 * a collector logged: brought together in one checker. Nothing here is told by
 * the relay about itself, but for the list of parked events in its store.
 */
#ifndef TESTS_LEDGER_H
#define TESTS_LEDGER_H

#include <limits.h>

#include <waybill/store.h>

#include "tests/support/checker.h"

typedef struct ledger {
	checker *checker;
	wb_store *open; /* by the test itself, borrowed; else opened each time */
	char store[PATH_MAX], log[PATH_MAX], arrivals[PATH_MAX];
	long log_at, arrivals_at; /* read up to here */
	uint64_t next;	/* number for the next event */
	uint64_t head;	/* journal read up to here */
	uint64_t torn;	/* own table, log and journal contradict each other */
	uint64_t again; /* arrivals that the broker flagged as redelivered */
} ledger;

/*
 * Files STORE.log and STORE.arrivals beside the store, which is made with
 * `map_bytes`; it keeps a little of what is delivered. False, with a remark on
 * standard error, like all calls below.
 */
bool ledger_init(ledger *l, const char *store, uint64_t map_bytes);
void ledger_fini(ledger *l);

/* The service has ended: settle the fate of what it logged since last time. */
bool ledger_resolve(ledger *l);

/* Take what has arrived since last time. */
bool ledger_collect(ledger *l);

/* Collect until all that is committed has arrived but for what is parked. */
bool ledger_wait(ledger *l, int timeout_ms);

/* How many parked rows the relay's environment holds now. */
bool ledger_parked_rows(const ledger *l, uint64_t *ret);

/* The end: take the list of parked events, then count. */
bool ledger_close_books(ledger *l, checker_counts *ret);

/* Arrivals beyond the first that were not the broker's own doing. */
uint64_t ledger_repeats(ledger *l);

#endif
