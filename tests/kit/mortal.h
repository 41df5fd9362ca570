/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A broker connection whose owner is about to die: it passes every call on,
 * until its life of so many calls is over. Then the connection is dropped in
 * the middle of whatever its owner was doing, and all later calls do nothing,
 * as nothing that a dead process does reaches anybody.
 */
#ifndef TESTS_KIT_MORTAL_H
#define TESTS_KIT_MORTAL_H

#include <waybill/broker.h>

typedef struct kit_mortal kit_mortal;

/* Owns `inner`. `calls` 0: it lives for ever. NULL: out of memory. */
kit_mortal *kit_mortal_new(wb_broker *inner, uint64_t calls);

/* To be given to the owner, freed by wb_broker_free(). */
wb_broker *kit_mortal_broker(kit_mortal *mortal);

bool kit_mortal_is_dead(const kit_mortal *mortal);

/* Two connections of one process: when one dies, so does the other. Both must
 * be freed together. */
void kit_mortal_pair(kit_mortal *a, kit_mortal *b);

/* It dies now. */
void kit_mortal_kill(kit_mortal *mortal);

#endif
