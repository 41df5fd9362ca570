/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The read models of a world (the shipped projector): one of the first
 * service's journal, one of a stream queue that its relay publishes to. Both run
 * in one process, which dies in commits, between files and when the power
 * fails; an operator pauses, rebuilds, promotes, goes back, heals.
 *
 * Whenever it is looked, a model holds as many events as lie before its
 * position. In the end each is, byte for byte, what one made anew is.
 */
#ifndef TESTS_SIM_MODELS_H
#define TESTS_SIM_MODELS_H

#include <limits.h>
#include <waybill/projector.h>

#include "tests/kit/commits.h"
#include "tests/kit/mortal.h"
#include "tests/support/seeded_random.h"

struct sim_world;

#define SIM_HISTORY "history" /* the stream queue */

enum { SIM_MODELS = 2, SIM_MODEL_KEY_MAX = 16 };

typedef enum sim_model_kind { SIM_LOCAL, SIM_REMOTE } sim_model_kind;

/* A committed event of the first service, as a model needs it. */
typedef struct sim_fact {
	uint64_t number; /* of its id */
	uint32_t size;
	bool taken; /* by the models' types */
	char key[SIM_MODEL_KEY_MAX];
} sim_fact;

typedef struct sim_models_tally {
	uint64_t deaths, deaths_in_commit, deaths_at_files, power_cuts, torn;
	uint64_t requests, flips, looks, compared, snapshots, mismatches;
} sim_models_tally;

typedef struct sim_model {
	wb_projection projection; /* ctx: sim_models */
	wb_projector_options options;
	wb_projector *projector; /* NULL: it does not run */
	uint32_t generation;     /* as last seen */
	uint32_t newest;         /* the newest that was live */
	bool may_go_back;        /* asked to; no flip was seen since */
	uint64_t position;       /* what readers may have seen; 0: anything */
} sim_model;

typedef struct sim_models {
	struct sim_world *world;
	seeded_random random;
	sim_model each[SIM_MODELS];
	kit_mortal *live, *rebuild; /* the process's connections */
	bool absent; /* a world without them, where truncation waits for none */
	bool running, dead, stepping;
	bool calm;
	bool mended; /* `apply` as it was meant */
	unsigned boot;
	char dir[PATH_MAX]; /* of the models */
	uint16_t commit_trouble; /* permille */
	sim_fact *facts; /* of position 1, 2, ... */
	size_t fact_count, fact_room;
	sim_models_tally tally;
} sim_models;

bool sim_models_init(sim_models *m, struct sim_world *w);
void sim_models_fini(sim_models *m);
/* An event was committed at the end of the journal; or the journal was brought
 * back to `head`. */
void sim_models_note(sim_models *m, const char *id, wb_str type,
		     const char *key, size_t size);
void sim_models_restored(sim_models *m, uint64_t head);

void sim_models_turn(sim_models *m);
/* The process dies, as when the service starts anew. */
void sim_models_bury(sim_models *m);
/* Go on until all is at rest, and compare. */
void sim_models_judge(sim_models *m);

kit_commit_fate sim_models_judge_commit(sim_models *m);

#endif
