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
 * discarded: committed events that an operator deleted, held: that wait for an
 * exchange; neither arrived nor parked. A committed event is delivered, parked,
 * discarded, held or lost, and only one of them, the first that fits. What was
 * discarded or forgotten may come late, by a copy that was under way: it is no
 * part of the order. unseen: of those whose fate is unknown, those that are
 * none of all this.
 */
typedef struct checker_counts {
	uint64_t attempted, committed, delivered, parked, lost, phantom;
	uint64_t duplicate, reordered;
	uint64_t discarded, held, unseen;
} checker_counts;

typedef enum checker_fate {
	CHECKER_COMMITTED,
	CHECKER_ABORTED, /* must never arrive */
	CHECKER_UNKNOWN, /* killed inside commit: may arrive, need not */
	CHECKER_FORGOTTEN /* was committed, then undone by a restore: likewise,
			     and counted nowhere but as attempted */
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

/* The event was discarded; it waits for an exchange. */
bool checker_discarded(checker *c, wb_str id);
bool checker_held(checker *c, wb_str id);

/* Everything appended so far at or behind `position` is forgotten. */
void checker_forget_from(checker *c, uint64_t position);

/* Has it arrived? */
bool checker_has_arrived(checker *c, wb_str id);

/* Counts; may be called again after more was told. */
checker_counts checker_count(checker *c);

/* For totals over several runs. */
void checker_add(checker_counts *sum, const checker_counts *one);

/* Nothing lost, nothing phantom, nothing reordered. */
bool checker_is_clean(const checker_counts *counts);

/* One line, "attempted=... committed=... ...", with a line end. */
void checker_print(const checker_counts *counts, FILE *out);

/* The ids (and keys) of what is wrong, `max` of each kind at most. */
void checker_explain(checker *c, FILE *out, size_t max);

#endif
