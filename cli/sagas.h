/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parts that modules have in sagas, as handlers of one worker beside the
 * plain ones; and the routes that follow from them.
 */
#ifndef CLI_SAGAS_H
#define CLI_SAGAS_H

#include "cli/command.h"
#include "cli/module.h"

typedef struct cli_sagas {
	wb_choreography *parts[CLI_FLOW_PARTS_MAX];
	size_t part_count;
	wb_orchestrator *orchestrator; /* NULL: no sagas */
	const wb_handler *participants[CLI_PARTICIPANTS_MAX];
	size_t participant_count;
	/* All, plain ones first, for wb_worker_open(). */
	const wb_handler *handlers[CLI_HANDLERS_MAX];
	size_t handler_count;
} cli_sagas;

/* Is everything as it must be? CLI_OK, or CLI_USAGE with the reason said. With
 * `tell` each part is told on stdout, and each warning on stderr. Opens
 * nothing. */
int cli_sagas_check(cli_context *ctx, const cli_modules *modules, bool tell);

/* The routes of the configuration and of the modules. As cli_open_routes(). */
int cli_sagas_routes(cli_context *ctx, const cli_modules *modules,
		     wb_routes **ret);

/* Into zeroed *ret; close it after the worker, and in each case. `reply_to` is
 * the worker's queue. WB_EMISMATCH: the store is of another service. */
wb_code cli_sagas_open(cli_sagas *ret, wb_store *store,
		       const cli_modules *modules, const char *reply_to,
		       wb_error *err);
void cli_sagas_close(cli_sagas *sagas);

#endif
