/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A world in one process, run from one seed: an appender, up to two relays
 * (the shipped code), an operator who retries and discards what is parked, a
 * second service whose workers handle what arrives (service.h), a broker that misbehaves, exchanges that are deleted and made again, routes
 * that change, commits that fail, backups that are restored, a clock that
 * jumps and processes that die. Nothing in it waits.
 *
 * Two phases: trouble for a number of turns, then calm until all is at rest;
 * then each event's end is compared with what was committed.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <limits.h>
#include <stdio.h>

#include <waybill/memory.h>
#include <waybill/outbox.h>
#include <waybill/relay.h>
#include <waybill/stream.h>

#include "tests/kit/mortal.h"
#include "tests/sim/models.h"
#include "tests/sim/service.h"
#include "tests/sim/choreography.h"
#include "tests/support/checker.h"
#include "tests/support/fake_clock.h"
#include "tests/support/seeded_random.h"

enum {
	SIM_RELAYS = 2,
	SIM_EXCHANGES = 2,
	SIM_ROUTINGS = 2,
	SIM_TROUBLE_TURNS = 600,
	SIM_CALM_TURNS = 100000,
	SIM_REST_TURNS = 1000,
	SIM_CHECK_EVERY = 20, /* seeds: then the store is checked, too */
	SIM_CHECK_STREAMS_EVERY = 12 /* where it has streams */
};

/* Added to the positions of each life of the journal, so that later ones are
 * higher. */
#define SIM_ERA 1000000000u

typedef struct sim_relay {
	kit_mortal *mortal; /* owned; NULL: there is none */
	wb_relay *relay;
} sim_relay;

typedef struct sim_exchange {
	const char *name;
	bool missing;
	int64_t back_us; /* then it is made again; INT64_MAX: never */
} sim_exchange;

/* What happened, summed up over seeds for the report. */
typedef struct sim_tally {
	uint64_t seeds, turns, deaths, restarts, takeovers, retries;
	uint64_t simulated_us; /* on the worlds' clocks */
	uint64_t downs, channel_closes, nacks, returns, blocks;
	uint64_t commit_failures, commit_deaths, deleted, reroutes;
	uint64_t backups, restores, full, checked;
	uint64_t stream_events, truncated, over_quota;
	checker_counts counts;
	sim_service_tally service;
	sim_models_tally models;
	sim_choreography_tally town;
} sim_tally;

typedef struct sim_world {
	uint64_t seed;
	FILE *log; /* NULL: silent */
	fake_clock clock;
	seeded_random random;        /* of what happens */
	seeded_random broker_random; /* of the broker */
	seeded_random relay_random;  /* of the code under test */
	char dir[PATH_MAX];
	unsigned store_number; /* of DIR/storeN */
	wb_store *store;
	wb_outbox *outbox;
	wb_routes *routes[SIM_ROUTINGS];
	wb_memory *memory;
	wb_broker *admin;
	bool admin_up, admin_connecting;
	unsigned admin_declared;
	unsigned bound_queues; /* at each exchange */
	sim_exchange exchanges[SIM_EXCHANGES];
	sim_relay relays[SIM_RELAYS];
	sim_service service; /* the second one */
	sim_models models;
	sim_relay *stepping; /* its code is running */
	bool appending;      /* the appender's is, up to its commit */
	bool dying;          /* the service is dead: start it anew */
	bool durable;        /* what became of the appender's last commit */
	wb_relay_options options;
	wb_log relay_log;

	/* the seed's choices */
	uint16_t commit_trouble; /* permille of commits */
	uint16_t delete_exchange; /* permille of turns */
	bool reroutes, restores, streams;
	bool keeps_all; /* nothing is pruned from the journal */
	uint64_t quota_bytes; /* of the journal; 0: the default */
	bool leave_parked;  /* nothing is retried in the end */
	bool leave_missing; /* an exchange stays away in the end */

	bool calm;
	int64_t latest_us; /* that the wall clock has shown */
	uint64_t quiet_turns;
	checker *checker;
	uint64_t next_event;
	uint64_t era;         /* see SIM_ERA */
	uint64_t head;        /* the journal's */
	bool has_backup;      /* in DIR/backup */
	uint64_t backup_head; /* the journal's head in it */
	uint64_t repeats_max; /* what restores add to it */
	uint64_t digest;      /* of all arrivals, in order */
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
/* The whole service starts anew; perhaps from a backup, or with other routes. */
void sim_world_reopen(sim_world *w);
char *sim_world_path(const sim_world *w, const char *name, unsigned number,
		     char ret[PATH_MAX]);

void sim_relay_start(sim_world *w, sim_relay *r);
void sim_relay_step(sim_world *w, sim_relay *r);
void sim_relay_kill(sim_world *w, sim_relay *r);

/* topology.c: exchanges and their bindings. */
void sim_topology_make(sim_world *w);
/* The second service's queue is there: it is bound as the first one is. */
void sim_topology_bind(sim_world *w);
void sim_topology_delete(sim_world *w, size_t exchange, int64_t back_us);
void sim_topology_tend(sim_world *w); /* make again what is due */

/* append.c: one transaction of some events. */
void sim_append(sim_world *w);
/* Whatever it returns, w->durable says what was done. */
void sim_append_commit(sim_world *w, MDB_txn *txn);

/* streams.c: an event with a key, as the next version of its stream; false: it
 * could not. And an operator lets go of some versions. */
bool sim_stream_append(sim_world *w, MDB_txn *txn, const wb_event *event,
		       uint64_t *ret_position);
void sim_stream_truncate(sim_world *w);

/* life.c: run both phases and judge. False: failed, `why` says how. */
bool sim_world_run(sim_world *w);

/* judge.c: is a message as its event was appended (content.h), of the service
 * `app_id`? */
void sim_judge_whole(sim_world *w, const wb_message *message,
		     const char *app_id);
/* Everything has come to rest. Closes the store. */
void sim_world_judge(sim_world *w);

#endif
