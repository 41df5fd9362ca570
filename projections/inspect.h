/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking at models without the code that makes them, and the operator's verbs
 * that need none. Behind `waybill projection` and what is served over HTTP.
 */
#ifndef WBI_INSPECT_H
#define WBI_INSPECT_H

#include "projections/request.h"

/* Call `see` with the name of each model in DIR/projections, in order, until
 * one does not return WB_OK. No such directory is no model. */
wb_code wbi_models_list(const char *dir,
			wb_code (*see)(void *ctx, const char *name,
				       wb_error *err),
			void *ctx, wb_error *err);

/* A generation, as it is on the disk. */
typedef struct wbi_generation_info {
	uint32_t number;
	wb_code code; /* why it cannot be read; the rest is 0 then */
	wbi_shape shape;
	wbi_checkpoint at;
	bool said;    /* its projector has said something: */
	wbi_projector_row row;
	uint64_t aside_keys, aside_events, skipped, rows, file_bytes;
} wbi_generation_info;

wb_code wbi_generation_look(wbi_home *home, uint32_t number,
			    wbi_generation_info *ret, wb_error *err);

typedef struct wbi_model_info {
	wbi_pointer pointer;
	wbi_building building;
	bool paused, asked; /* asked: a request waits */
	uint64_t pid;       /* of the active projector; 0: none runs */
	bool running;
} wbi_model_info;

wb_code wbi_model_look(wbi_home *home, wbi_model_info *ret, wb_error *err);

/* Of a model of a stream: the first event that has not come, if any is missing
 * (wbi_origins_first_missing). */
wb_code wbi_missing_look(wbi_home *home, uint32_t number,
			 char ret_origin[WBI_ORIGIN_LEN + 1], uint64_t *ret,
			 wb_error *err);

/* Each unit that is aside in a generation, at most `most`. */
wb_code wbi_aside_list(wbi_home *home, uint32_t number, uint64_t most,
		       wb_code (*see)(void *ctx, wb_str unit,
				      const wbi_aside_key *key, wb_error *err),
		       void *ctx, wb_error *err);

/* ---- differences --------------------------------------------------------- */

typedef enum wbi_difference_kind {
	WBI_ONLY_IN_A,
	WBI_ONLY_IN_B,
	WBI_DIFFERS
} wbi_difference_kind;

typedef struct wbi_difference {
	wbi_difference_kind kind;
	const char *table;
	wb_str key, a, b; /* values; empty where there is no row */
} wbi_difference;

typedef struct wbi_diff_result {
	uint64_t rows, differences; /* rows compared */
	uint64_t position;
} wbi_diff_result;

/*
 * Compare two generations, each in one snapshot, at the same position: waits
 * for the two to be at one, `timeout_ms` at most (WB_ETIMEOUT, saying where each
 * is). `see` may be NULL.
 */
wb_code wbi_generations_diff(wbi_home *home, uint32_t a, uint32_t b,
			     uint32_t timeout_ms,
			     wb_code (*see)(void *ctx,
					    const wbi_difference *difference,
					    wb_error *err),
			     void *ctx, wbi_diff_result *ret, wb_error *err);

/* ---- removal ------------------------------------------------------------- */

/* A generation that is neither live nor being filled (WB_ESTATE). */
wb_code wbi_generation_remove(wbi_home *home, uint32_t number, wb_error *err);
/* The model as a whole, and what the store keeps for it (`store` may be NULL).
 * WB_EBUSY: its projector is running. */
wb_code wbi_model_remove(wbi_home *home, wb_store *store, wb_error *err);

#endif
