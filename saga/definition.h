/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A saga's definition as bytes: what is stored by its hash, so that a running
 * saga is pinned to the one it began with, and can be shown without the module
 * that it came from. Functions are stored as "there is one here".
 *
 * Each step says which step it comes after. Today that is the one before it;
 * in the stored form it is a graph.
 */
#ifndef WBI_DEFINITION_H
#define WBI_DEFINITION_H

#include "lib/journal/saga_rows.h"
#include "saga/machine.h"

enum { WBI_DEFINITION_MAX = 64 * (1024 + 64) + 128 };

/* *ret is the caller's to free(); the hash covers all of it. The definition
 * must be sound. WB_ENOMEM. */
wb_code wbi_definition_encode(const wb_saga *saga, uint8_t **ret,
			      size_t *ret_len,
			      char ret_hash[WBI_SAGA_HASH_LEN + 1],
			      wb_error *err);

/* As it was stored. Strings belong to it; a local step has a function that must
 * not be called. Free with wbi_definition_free(). WB_ECORRUPT, WB_EVERSION. */
typedef struct wbi_definition {
	wb_saga saga;
	wb_step steps[WBI_SAGA_STEPS_MAX];
	char *texts;
} wbi_definition;

wb_code wbi_definition_decode(wb_str bytes, wbi_definition **ret,
			      wb_error *err);
void wbi_definition_free(wbi_definition *definition);

/* A machine as bytes, for the saga's row. */
enum { WBI_MACHINE_BYTES_MAX = 24 + WBI_SAGA_STEPS_MAX * 10 };

size_t wbi_machine_encode(const wbi_machine *machine,
			  uint8_t ret[WBI_MACHINE_BYTES_MAX]);
wb_code wbi_machine_decode(wb_str bytes, wbi_machine *ret, wb_error *err);

#endif
