/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All that a store knows of one saga, as JSON: what `saga show` prints, for
 * programs as it is, for people as tables.
 */
#ifndef CLI_SAGA_SHOW_H
#define CLI_SAGA_SHOW_H

#include "cli/saga.h"

/* *ret is a new object. WB_ENOTFOUND: it is gone meanwhile. */
wb_code cli_saga_read(wb_store *store, const wbi_saga_id *id, int64_t now_us,
		      json_t **ret, wb_error *err);

/* What was done here for a saga that another service orchestrates; NULL in
 * *ret: nothing. */
wb_code cli_saga_read_part(wb_store *store, wb_str id, json_t **ret,
			   wb_error *err);

#endif
