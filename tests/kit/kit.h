/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the test kit share; waybill/test.h is what users see. */
#ifndef TESTS_KIT_H
#define TESTS_KIT_H

#include <limits.h>
#include <waybill/test.h>

#include "lib/event/envelope.h"
#include "tests/kit/commits.h"
#include "tests/kit/mortal.h"
#include "tests/support/fake_clock.h"
#include "tests/support/seeded_random.h"

/* Bound to every exchange that the worker's events may go to. */
#define KIT_EMITTED_QUEUE "waybill-test"

/* What a list's strings are kept in, all freed at once. */
typedef struct kit_kept {
	struct kit_kept *next;
	char bytes[];
} kit_kept;

/* The lists of "then", as of the end of the last run. */
typedef struct kit_lists {
	kit_kept *kept;
	wb_test_timer *timers;
	wb_test_waiting *waiting;
	wb_test_dead *dead;
	size_t timer_count, waiting_count, dead_count;
} kit_lists;

/* Given messages as numbers of the arrivals in KIT_EMITTED_QUEUE. */
typedef struct kit_given {
	uint64_t *arrivals;
	size_t count, room;
	uint64_t position; /* as of a journal, for the next event */
} kit_given;

typedef struct kit_emitted {
	wbi_received **events;
	size_t count, room;
	uint64_t seen;  /* arrivals looked at */
	size_t given_at; /* in `given`: the first not yet seen */
} kit_emitted;

typedef struct kit_trouble {
	wb_test_trouble what;
	uint32_t nth; /* commits from now on; 0: none */
	bool came;
	bool crashed; /* the worker is dead, and not started anew yet */
	bool visible; /* commits pass by here */
} kit_trouble;

struct wb_test {
	fake_clock clock;
	seeded_random random;
	uint32_t steps_max;
	char dir[PATH_MAX];
	wb_store *store;
	wb_memory *memory;

	const wb_handler *const *handlers;
	size_t handler_count;
	wb_worker_options options;
	wb_relay_options relay_options;
	kit_mortal *consumer, *publisher;
	wb_worker *worker;

	kit_trouble trouble;
	kit_given given;
	kit_emitted emitted;
	kit_lists lists;
	char *value; /* of the last wb_test_get() */
	char *why;   /* of the last wb_test_stopped() */
};

/* `from` becomes *err, unless that is set. */
wb_code kit_pass(wb_error *err, const wb_error *from);

/* kit.c: the worker, its commits judged. */
wb_code kit_worker_start(wb_test *t, wb_error *err);
void kit_worker_drop(wb_test *t);
kit_commit_fate kit_judge_commit(void *ctx, MDB_env *env);

/* given.c: exchanges, and the queue in which emitted events are looked for. */
wb_code kit_topology(wb_test *t, wb_error *err);

/* then.c: look again. */
wb_code kit_lists_refresh(wb_test *t, wb_error *err);
void kit_lists_free(wb_test *t);
/* The first due row later than `now_us`; INT64_MAX: none. */
wb_code kit_next_due(wb_test *t, int64_t now_us, int64_t *ret, wb_error *err);

#endif
