/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The second service of a world: a store of its own, up to two workers on it
 * (the shipped code) with the handlers below, an operator for its dead
 * letters. It takes in what the first service's relay publishes and what a
 * stranger sends; what its handlers emit goes to exchange "results".
 *
 * It draws from randomness of its own. What it did is judged from its store
 * and from the broker's logs, never from what the worker says of itself.
 */
#ifndef TESTS_SIM_SERVICE_H
#define TESTS_SIM_SERVICE_H

#include <waybill/memory.h>
#include <waybill/worker.h>

#include "tests/kit/commits.h"
#include "tests/kit/mortal.h"
#include "tests/support/checker.h"
#include "tests/support/seeded_random.h"

struct sim_world;

enum { SIM_WORKERS = 2, SIM_EVENTS_MAX = 8192, SIM_ID_MAX = 32 };

#define SIM_QUEUE "consumer"    /* the worker's */
#define SIM_RESULTS "results"   /* exchange and queue */
#define SIM_INLET "inlet"       /* the worker's own exchange: rarely used */

/* The handlers, and what each is there for. */
typedef enum sim_handler {
	SIM_COUNT,   /* writes, emits one event; fails never */
	SIM_FLAKY,   /* writes, then asks to be called again, or stops */
	SIM_PICKY,   /* rejects some, of these some only for now */
	SIM_OUTSIDE, /* external; fails now and then; emits */
	SIM_TIMERS,  /* sets a timer, which writes */
	SIM_HANDLERS
} sim_handler;

extern const char *const sim_handler_names[SIM_HANDLERS];

typedef struct sim_worker {
	kit_mortal *consumer, *publisher; /* owned; NULL: there is none */
	wb_worker *worker;
} sim_worker;

/* What is known of an event beside the store: of its calls, and what the
 * operator did. Nothing of it is forgotten by a crash, so it only bounds. */
typedef struct sim_note {
	uint16_t failures; /* calls that failed, crashes in a call included */
	bool crashed; /* one of them */
	bool revived, buried;
	bool done_outside; /* an external call has ended well */
} sim_note;

typedef struct sim_service_tally {
	uint64_t worker_deaths, worker_restarts, crashes_in_calls, drains;
	uint64_t worker_commit_failures, worker_commit_deaths;
	uint64_t calls, failures, revived, buried, dead, malformed;
	uint64_t redelivered; /* by the broker, whatever the reason */
	uint64_t timers_fired, service_backups, service_restores;
	checker_counts applied; /* summed over handlers */
} sim_service_tally;

typedef struct sim_service {
	struct sim_world *world;
	seeded_random random;      /* of what happens */
	seeded_random code_random; /* of the code under test */
	unsigned store_number;
	wb_store *store;
	wb_worker_options options;
	wb_relay_options relay_options;
	wb_routes *routes;
	wb_handler handlers[SIM_HANDLERS];
	const wb_handler *handler_list[SIM_HANDLERS];
	MDB_dbi logs[SIM_HANDLERS]; /* number -> id, in order of effects */
	MDB_dbi fired;              /* number -> id, of timers */
	MDB_dbi counts;             /* key -> how many, of SIM_COUNT */
	sim_worker workers[SIM_WORKERS];
	sim_worker *stepping; /* its code is running */

	/* a crash in a call */
	bool crashed;
	uint8_t *page; /* DIR/calls as it was then */
	size_t page_len;

	/* the seed's choices */
	uint16_t commit_trouble, call_crash, fail, stop; /* permille */
	uint64_t quota_bytes;
	bool leave_dead; /* nothing is revived in the end */
	bool restores;   /* once: a backup, and later brought back from it */
	bool has_backup; /* in DIR/consumer-backup0 */

	bool misplaced;  /* requeued messages may lose their place */

	sim_note *notes[SIM_HANDLERS]; /* SIM_EVENTS_MAX each */
	sim_note *timer_notes;
	bool *forgotten; /* taken in before a restore, and not known after it */
	uint64_t excused; /* malformed messages that came before a restore */
	size_t *outside; /* numbers of events, in order of external effects */
	size_t outside_count, outside_room;
	uint64_t next_strange, strange_sent;
	sim_service_tally tally;
} sim_service;

/* The number of an event from its id, below SIM_EVENTS_MAX; that: none. */
size_t sim_event_number(wb_str id);
wb_str sim_event_source(size_t number);
bool sim_handler_wants(sim_handler h, wb_str type);

/* handlers.c */
void sim_handlers_init(sim_service *s);

/* service.c */
bool sim_service_init(sim_service *s, struct sim_world *w);
void sim_service_fini(sim_service *s);
void sim_service_close(sim_service *s); /* its workers and its store */
void sim_service_chaos(sim_service *s, wb_memory_chaos *chaos);
void sim_service_turn(sim_service *s);
void sim_service_calm(sim_service *s);
/* One turn of calm; true: it is at rest. */
bool sim_service_rest(sim_service *s);
void sim_service_say_restless(sim_service *s);
/* NULL: this environment is not the service's. */
bool sim_service_owns(const sim_service *s, MDB_env *env);
kit_commit_fate sim_service_judge_commit(sim_service *s, MDB_env *env);

/* service_operator.c: dead letters. */
void sim_service_operate(sim_service *s);
/* All of them back, also what the relay parked. *ret: how many there were. */
void sim_service_revive_all(sim_service *s, uint64_t *ret);

/* service_judge.c */
void sim_service_judge(sim_service *s);

#endif
