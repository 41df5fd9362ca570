/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which events of which waybill journals a model has, when it reads them from a
 * stream: one bit per position. A relay may publish an event twice, and an event
 * that was parked comes long after its neighbours, so nothing less tells one
 * from the other. What is missing below the highest one is counted: not yet
 * there, of types that are not in the stream, or lost.
 *
 *   origins   origin, then u32 number of the chunk (big-endian): bits
 *             origin: highest position, events
 */
#ifndef WBI_ORIGINS_H
#define WBI_ORIGINS_H

#include "projections/generation.h"

enum {
	WBI_ORIGIN_CHUNK_BYTES = 1024,
	WBI_ORIGIN_CHUNK = WBI_ORIGIN_CHUNK_BYTES * 8,
	WBI_ORIGIN_CHUNKS = 4 /* in memory */
};

typedef struct wbi_origin_chunk {
	char origin[WBI_ORIGIN_LEN + 1]; /* "": free */
	uint32_t number;
	bool dirty;
	uint64_t used; /* when, for making room */
	uint64_t high, added; /* of what was added since the last flush */
	uint8_t bits[WBI_ORIGIN_CHUNK_BYTES];
} wbi_origin_chunk;

/* What an open transaction has changed of them. */
typedef struct wbi_origins {
	wbi_origin_chunk chunks[WBI_ORIGIN_CHUNKS];
	uint64_t clock;
} wbi_origins;

/* Is it there? Positions from 1. */
wb_code wbi_origins_have(wbi_origins *origins, MDB_txn *txn,
			 const wbi_generation *gen, const char *origin,
			 uint64_t position, bool *ret, wb_error *err);
wb_code wbi_origins_add(wbi_origins *origins, MDB_txn *txn,
			const wbi_generation *gen, const char *origin,
			uint64_t position, wb_error *err);
/* Write what has changed; before a commit. */
wb_code wbi_origins_flush(wbi_origins *origins, MDB_txn *txn,
			  const wbi_generation *gen, wb_error *err);
/* The transaction was aborted. */
void wbi_origins_forget(wbi_origins *origins);

typedef struct wbi_origin_sum {
	uint64_t high, events; /* high - events are missing */
} wbi_origin_sum;

wb_code wbi_origin_sum_get(MDB_txn *txn, const wbi_generation *gen,
			   const char *origin, wbi_origin_sum *ret,
			   wb_error *err);
/* The first position that is missing, and its origin; 0: none is. Reads all. */
wb_code wbi_origins_first_missing(MDB_txn *txn, const wbi_generation *gen,
				  char ret_origin[WBI_ORIGIN_LEN + 1],
				  uint64_t *ret, wb_error *err);
/* Positions below the highest that are missing, of all origins. */
wb_code wbi_origins_missing(MDB_txn *txn, const wbi_generation *gen,
			    uint64_t *ret, wb_error *err);

#endif
