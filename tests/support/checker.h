/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A total-queue checker: what was appended against what arrived. It is told
 * everything that happened, in any order of the three kinds, and then counts.
 * Ids tell events apart; positions, which events of one key came first.
 *
 * One thread. Strings are copied.
 */
#ifndef TESTS_CHECKER_H
#define TESTS_CHECKER_H

#include <stdio.h>

#include <waybill/base.h>

typedef struct checker checker;

/*
 * attempted: append calls noted. committed: of them, those whose transaction
 * is known to have been committed. delivered: committed events that arrived at
 * least once. parked: committed events in the parked list that did not arrive.
 * lost: committed events that are neither. phantom: arrived or parked, but
 * never attempted, or attempted and known not to be committed. duplicate:
 * arrivals beyond the first of an event. reordered: first arrivals of an event
 * after the first arrival of a later event of its key.
 *
 * A committed event is delivered, parked or lost, and only one of them.
 */
typedef struct checker_counts {
	uint64_t attempted, committed, delivered, parked, lost, phantom;
	uint64_t duplicate, reordered;
} checker_counts;

typedef enum checker_fate {
	CHECKER_COMMITTED,
	CHECKER_ABORTED, /* must never arrive */
	CHECKER_UNKNOWN  /* killed inside commit: may arrive, need not */
} checker_fate;

/* NULL: out of memory. */
checker *checker_new(void);
void checker_free(checker *c); /* NULL allowed */

/*
 * An event was appended at this position (1, 2, ...; any number, if it was
 * aborted). An empty key: unordered. All calls return false when they are out
 * of memory, and checker_appended also for an id that it has already.
 */
bool checker_appended(checker *c, wb_str id, wb_str key, uint64_t position,
		      checker_fate fate);

/* A message arrived, in order of the calls. */
bool checker_arrived(checker *c, wb_str id);

/* The event is in the parked list. */
bool checker_parked(checker *c, wb_str id);

/* Counts; may be called again after more was told. */
checker_counts checker_count(checker *c);

/* Nothing lost, nothing phantom, nothing reordered. */
bool checker_is_clean(const checker_counts *counts);

/* One line, "attempted=... committed=... ...", with a line end. */
void checker_print(const checker_counts *counts, FILE *out);

/* The ids (and keys) of what is wrong, `max` of each kind at most. */
void checker_explain(checker *c, FILE *out, size_t max);

#endif
