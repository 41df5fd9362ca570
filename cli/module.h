/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Modules: shared objects with handlers, projections and parts in sagas
 * (waybill/module.h), as waybill-worker and waybill load them.
 */
#ifndef CLI_MODULE_H
#define CLI_MODULE_H

#include <waybill/module.h>

enum {
	CLI_HANDLERS_MAX = 256,
	CLI_PROJECTIONS_MAX = 64,
	CLI_FLOW_PARTS_MAX = 64,
	CLI_SAGAS_MAX = 256,
	CLI_PARTICIPANTS_MAX = 64
};

typedef struct cli_modules cli_modules;

/*
 * Load them all, in their order. A path without a '/' is one of this directory.
 * WB_EINVAL: what is wrong with which module. The code stays loaded until the
 * process ends, whatever is done with *ret: threads, destructors and handlers'
 * static data may be in it.
 */
wb_code cli_modules_load(const char *const *paths, size_t count,
			 cli_modules **ret, wb_error *err);
/* The same of several services', which are not to run together: two handlers
 * may have one name. */
wb_code cli_modules_load_apart(const char *const *paths, size_t count,
			       cli_modules **ret, wb_error *err);
void cli_modules_free(cli_modules *modules);

/* Every handler of every module, perhaps none; lives as long as `modules`. */
const wb_handler *const *cli_modules_handlers(const cli_modules *modules,
					      size_t *ret_count);
/* And every projection, checked. */
const wb_projection *const *
cli_modules_projections(const cli_modules *modules, size_t *ret_count);
/* What sagas are made of, not checked but for sizes and names: see
 * cli/sagas.h. */
const wb_flow_part *const *cli_modules_flow_parts(const cli_modules *modules,
						  size_t *ret_count);
const wb_saga *const *cli_modules_sagas(const cli_modules *modules,
					size_t *ret_count);
const wb_participant *const *
cli_modules_participants(const cli_modules *modules, size_t *ret_count);
/* Is any handler WB_EXTERNAL? */
bool cli_modules_external(const cli_modules *modules);

#endif
