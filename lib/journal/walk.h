/* SPDX-License-Identifier: BSD-2-Clause */
/* What the child of a check does: open, look at everything, tell. */
#ifndef WBI_WALK_H
#define WBI_WALK_H

#include "lib/journal/maintain.h"

typedef struct wbi_walk_output {
	void (*finding)(void *ctx, const wbi_finding *finding);
	void (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
} wbi_walk_output;

/*
 * Check the store in `dir` in this process: what is damaged may end it. Must
 * not have the store open. WB_OK if the check was made, whatever it found.
 */
wb_code wbi_walk_store(const char *dir, const wbi_walk_output *output,
		       wbi_check_result *ret, wb_error *err);

#endif
