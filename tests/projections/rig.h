/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A projection for tests: how many events each key has had, and the last data
 * of each, with an index by that count. An event whose data is "poison" cannot
 * be applied until `mended` is set. Everything fails the test by itself.
 */
#ifndef TESTS_PROJECTIONS_RIG_H
#define TESTS_PROJECTIONS_RIG_H

#include <waybill/projector.h>
#include <waybill/read.h>

#include "tests/support/place.h"
#include "tests/support/testing.h"

enum { RIG_COUNTS, RIG_LAST };

typedef struct rig {
	test_place *place;
	wb_store *store;
	wb_projection projection; /* ctx: this rig */
	wb_projector *projector;
	wb_projector_options options;
	bool mended;
	unsigned calls; /* of apply */
} rig;

/* A store with nothing in it, and no projector yet. */
void rig_init(rig *rig, test_place *place, wb_on_error on_error);
void rig_fini(rig *rig);
void rig_open(rig *rig);
void rig_close(rig *rig);
/* Step until it is idle. */
void rig_settle(rig *rig);
/* Until its state is this. */
void rig_until(rig *rig, wb_projector_state state);

/* One committed event each. */
uint64_t rig_append(rig *rig, const char *key, const char *data);
/* `count` of them, over `keys` keys "k0", "k1", ..., in one commit. */
void rig_append_many(rig *rig, unsigned count, unsigned keys);

void rig_ask(rig *rig, wb_projection_verb verb);
void rig_rebuild(rig *rig, bool promote);

/* A reader of the rig's projector. */
wb_read *rig_read(rig *rig);
/* The count of a key in a new snapshot; 0: no row. */
unsigned rig_count(rig *rig, const char *key);
/* The digest of a generation of the rig's; 0: of the live one. */
void rig_digest(rig *rig, uint32_t generation, char ret[33]);
/* The same of a model built anew, in another directory, from the same store. */
void rig_fresh_digest(rig *rig, char ret[33]);

#endif
