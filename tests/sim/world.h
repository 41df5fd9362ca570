/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A world in one process, run from one seed: an appender, up to two relays
 * (the shipped code), an operator who retries what is parked, a broker that
 * misbehaves, a clock that jumps and processes that die. Nothing in it waits.
 *
 * Two phases: trouble for a number of turns, then calm until all is delivered;
 * then the checker compares what was committed with what arrived.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <limits.h>
#include <stdio.h>

#include <waybill/memory.h>
#include <waybill/outbox.h>
#include <waybill/relay.h>

#include "tests/sim/mortal.h"
#include "tests/support/checker.h"
#include "tests/support/fake_clock.h"
#include "tests/support/seeded_random.h"

/* Events of this type are accepted where they are not routed. */
#define SIM_ACCEPTED_TYPE "audit.noted"

enum { SIM_RELAYS = 2, SIM_TROUBLE_TURNS = 400, SIM_CALM_TURNS = 100000 };

typedef struct sim_relay {
	sim_mortal *mortal; /* owned; NULL: there is none */
	wb_relay *relay;
} sim_relay;

/* What happened, summed up over seeds for the report. */
typedef struct sim_tally {
	uint64_t seeds, turns, deaths, restarts, takeovers, retries;
	uint64_t downs, channel_closes, nacks, returns, blocks, unrouted;
	checker_counts counts;
} sim_tally;

typedef struct sim_world {
	uint64_t seed;
	FILE *log; /* NULL: silent */
	fake_clock clock;
	seeded_random random;        /* of what happens */
	seeded_random broker_random; /* of the broker */
	seeded_random relay_random;  /* of the code under test */
	char dir[PATH_MAX];
	wb_store *store;
	wb_outbox *outbox;
	wb_routes *routes;
	wb_memory *memory;
	wb_broker *admin;
	sim_relay relays[SIM_RELAYS];
	wb_relay_options options;
	bool calm;
	checker *checker;
	uint64_t next_event;
	uint64_t accepted; /* committed events of SIM_ACCEPTED_TYPE */
	uint64_t digest;   /* of all arrivals, in order */
	sim_tally tally;
	wb_error err;
	bool failed;
	char why[1024];
} sim_world;

/* Note the first failure; the run ends. */
void sim_fail(sim_world *w, const char *format, ...) WB_PRINTF(2, 3);
void sim_log(sim_world *w, const char *format, ...) WB_PRINTF(2, 3);

/* world.c: build it in a new directory below `base`, tear it down. */
bool sim_world_init(sim_world *w, uint64_t seed, const char *base, FILE *log);
void sim_world_fini(sim_world *w);
void sim_world_reopen(sim_world *w); /* the whole service starts anew */

void sim_relay_start(sim_world *w, sim_relay *r);
void sim_relay_kill(sim_world *w, sim_relay *r);

/* life.c: run both phases and judge. False: failed, `why` says how. */
bool sim_world_run(sim_world *w);

#endif
