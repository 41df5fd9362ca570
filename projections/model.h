/* SPDX-License-Identifier: BSD-2-Clause */
/* A model that is being written: what `apply` works on. */
#ifndef WBI_MODEL_H
#define WBI_MODEL_H

#include "projections/generation.h"
#include "projections/index.h"

struct wb_model {
	const wb_projection *projection;
	wbi_generation *gen;
	MDB_txn *txn; /* a write transaction of it; nested or not */
	uint64_t position;
	/* What the environment said to a put or del, if it was no word on the
	 * call: then what the call did cannot stay, whatever it returns. */
	wb_error broken;
	/* Scratch of a put or del, by index. */
	wb_index_keys before[WB_MODEL_INDEXES_MAX];
	wb_index_keys after[WB_MODEL_INDEXES_MAX];
};

#endif
