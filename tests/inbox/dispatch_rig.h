/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A store, a clock that stands still, and handlers whose every call leaves two
 * rows in tables of their own: one per event with how often it took effect, one
 * per key with the last position that did. A second effect of an event, or one
 * that is out of its key's order, fails the test where it happens.
 */
#ifndef TESTS_DISPATCH_RIG_H
#define TESTS_DISPATCH_RIG_H

#include "inbox/dispatch.h"
#include "lib/journal/journal.h"
#include "tests/support/fake_clock.h"
#include "tests/support/place.h"
#include "tests/support/seeded_random.h"

enum { RIG_PROBES_MAX = 8, RIG_SEEN_MAX = 100000 };

typedef struct rig rig;

/* A handler of a test. */
typedef struct rig_probe {
	wb_handler handler;
	rig *rig;
	/* What it does behind its effects; NULL: it is content. */
	wb_code (*behave)(struct rig_probe *probe, wb_call *call,
			  const wb_event *event, wb_error *err);
	wb_code (*on_timer)(struct rig_probe *probe, wb_call *call,
			    const wb_timer *timer, wb_error *err);
	bool quiet; /* no rows of its own: for external ones */
	MDB_dbi effects, last;
	unsigned calls, timers;
	bool closed;
	/* Positions of its calls, in order, also those that were undone. */
	uint64_t seen[RIG_SEEN_MAX];
	size_t seen_count;
	int data[8]; /* the test's */
} rig_probe;

struct rig {
	char dir[PATH_MAX];
	wb_store *store;
	wbi_dispatch *dispatch;
	wbi_calls *calls; /* NULL unless the test sets it */
	fake_clock clock;
	seeded_random random;
	wb_worker_options options;
	wb_log log;
	char last_log[1024];
	unsigned log_lines;
	rig_probe *probes[RIG_PROBES_MAX];
	size_t probe_count;
	wb_error err;
};

/* A new store in `place`. Static memory: one rig at a time. */
rig *rig_begin(void **state);
void rig_end(rig *r);

/* One more handler, of all types and of a kind; change it before rig_open. */
rig_probe *rig_add(rig *r, const char *name, wb_handler_kind kind);

void rig_open(rig *r);
void rig_close(rig *r);
/* Close and open again, store and all. */
void rig_reopen(rig *r);

/* What a process does first and last: store, calls in progress and dispatch are
 * opened, and closed. */
void rig_begin_life(rig *r);
void rig_end_life(rig *r);
/* A process of its own that does `body` in a life; returns its exit code, or
 * minus its signal. The store is closed here meanwhile, and stays so. */
int rig_child(rig *r, void (*body)(rig *r));

/* To behave so: stop at the event of position data[0]. */
wb_code rig_stop_at(rig_probe *probe, wb_call *call, const wb_event *event,
		    wb_error *err);

/* To the inbox, in a commit of its own; returns its position. */
uint64_t rig_append(rig *r, const char *type, const char *key);
/* `count` of them, with keys k0 to k(keys - 1) in turn. */
void rig_append_many(rig *r, size_t count, unsigned keys);
/* The same in a transaction of the caller's. */
void rig_append_in(rig *r, MDB_txn *txn, size_t count, unsigned keys);

/* Step until nothing is left to do now; fails after very many steps. */
void rig_run(rig *r);
void rig_step(rig *r);
/* The clock goes on, with a run at each time that something is due. */
void rig_run_for(rig *r, int64_t us);

/* How often an event took effect: 0 or 1. */
unsigned rig_effects(rig *r, const rig_probe *probe, uint64_t position);
size_t rig_effect_count(rig *r, const rig_probe *probe);
uint64_t rig_rows(rig *r, wbi_table table);
/* The consumer's row as it is committed; its error is copied. */
wbi_consumer rig_consumer(rig *r, const char *name);
/* The n-th dead letter; strings are static. WB_ENOTFOUND: false. */
bool rig_dead(rig *r, uint64_t number, wbi_dead *ret);
/* Events in the outbox; the last one's data, static. */
uint64_t rig_outbox(rig *r, wb_event *ret_last);

#endif
