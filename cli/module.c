/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A module is opened with all its symbols resolved at once (RTLD_NOW), so that
 * one that is missing is known here and not in the middle of a call, and with
 * its own symbols to itself (RTLD_LOCAL). What it says of itself is checked
 * before anything behind a pointer of it is read: ABI first, then size.
 *
 * One thread. The table of handlers is ours, what it points to the modules'.
 */
#include "cli/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/error.h"

/* What the first header of this ABI had; behind it come optional fields. */
enum { MODULE_SIZE_MIN = 32 };

_Static_assert(sizeof(void *) != 8 ||
		       offsetof(struct wb_module, handler_count) +
				       sizeof(size_t) ==
			       MODULE_SIZE_MIN,
	       "the fields of the first wb_module stay where they were");

struct cli_modules {
	const wb_handler *handlers[CLI_HANDLERS_MAX];
	const char *origins[CLI_HANDLERS_MAX]; /* paths, as they were given */
	size_t count;
	const wb_projection *projections[CLI_PROJECTIONS_MAX];
	size_t projection_count;
};

static wb_code module_open(const char *path, void **ret, wb_error *err)
{
	char local[PATH_MAX];
	const char *why;

	if (!strchr(path, '/')) {
		snprintf(local, sizeof(local), "./%s", path);
		*ret = dlopen(local, RTLD_NOW | RTLD_LOCAL);
	} else {
		*ret = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	}
	if (*ret)
		return WB_OK;
	why = dlerror();
	return WBI_FAIL(err, WB_EINVAL, "module %s cannot be loaded: %s", path,
			why ? why : "no reason is given");
}

/* Of another version of waybill: `wb_module` may have grown, never shrunk. */
static wb_code module_check(const char *path, const struct wb_module *module,
			    wb_error *err)
{
	if (module->abi != WB_MODULE_ABI)
		return WBI_FAIL(err, WB_EINVAL,
				"module %s is built for ABI %u, waybill-worker "
				"%s has ABI %d: %s",
				path, module->abi, wb_version(), WB_MODULE_ABI,
				module->abi > WB_MODULE_ABI
					? "use a newer waybill-worker"
					: "compile the module anew");
	if (module->size < MODULE_SIZE_MIN)
		return WBI_FAIL(err, WB_EINVAL,
				"module %s: wb_module.size is %u, at least %d "
				"is needed: set it to sizeof(struct wb_module)",
				path, module->size, MODULE_SIZE_MIN);
	if (module->size > sizeof(*module))
		return WBI_FAIL(err, WB_EINVAL,
				"module %s: wb_module.size is %u, this "
				"waybill-worker (%s) knows %zu: it is built for "
				"a newer one",
				path, module->size, wb_version(),
				sizeof(*module));
	return WB_OK;
}

static wb_code modules_add(cli_modules *modules, const char *path,
			   const wb_handler *handler, wb_error *err)
{
	if (!handler || !handler->name)
		return WBI_FAIL(err, WB_EINVAL,
				"module %s: a handler without a name", path);
	if (handler->size != sizeof(*handler))
		return WBI_FAIL(err, WB_EINVAL,
				"module %s, handler %.64s: its size is %zu, "
				"not %zu: begin it with WB_HANDLER_INIT, or "
				".size = sizeof(wb_handler)",
				path, handler->name, handler->size,
				sizeof(*handler));
	for (size_t i = 0; i < modules->count; i++)
		if (!strcmp(modules->handlers[i]->name, handler->name))
			return WBI_FAIL(err, WB_EINVAL,
					"two handlers are named %.64s, in "
					"module %s and in module %s: a name is "
					"a cursor's",
					handler->name, modules->origins[i],
					path);
	if (modules->count == CLI_HANDLERS_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"module %s: more than %d handlers in all", path,
				CLI_HANDLERS_MAX);
	modules->handlers[modules->count] = handler;
	modules->origins[modules->count++] = path;
	return WB_OK;
}

static wb_code modules_add_projection(cli_modules *modules, const char *path,
				      const wb_projection *projection,
				      wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;

	if (wb_projection_check(projection, &cause) != WB_OK)
		return WBI_FAIL(err, WB_EINVAL, "module %s: %.300s", path,
				cause.text);
	for (size_t i = 0; i < modules->projection_count; i++)
		if (!strcmp(modules->projections[i]->name, projection->name))
			return WBI_FAIL(err, WB_EINVAL,
					"module %s: another projection is "
					"named %s: a name is a directory's",
					path, projection->name);
	if (modules->projection_count == CLI_PROJECTIONS_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"module %s: more than %d projections in all",
				path, CLI_PROJECTIONS_MAX);
	modules->projections[modules->projection_count++] = projection;
	return WB_OK;
}

static wb_code modules_load(cli_modules *modules, const char *path,
			    wb_error *err)
{
	struct wb_module module = {.abi = 0};
	const struct wb_module *theirs;
	void *handle;
	wb_code rc = module_open(path, &handle, err);

	if (rc != WB_OK)
		return rc;
	theirs = dlsym(handle, "wb_module");
	if (!theirs)
		return WBI_FAIL(err, WB_EINVAL,
				"module %s has no symbol wb_module: define "
				"`WB_MODULE_EXPORT const struct wb_module "
				"wb_module`, see waybill/module.h",
				path);
	rc = module_check(path, theirs, err);
	if (rc != WB_OK)
		return rc;
	memcpy(&module, theirs, theirs->size);
	if ((module.handler_count == 0 || !module.handlers) &&
	    (module.projection_count == 0 || !module.projections))
		return WBI_FAIL(err, WB_EINVAL,
				"module %s has no handlers and no projections",
				path);
	for (size_t i = 0; i < module.projection_count && rc == WB_OK; i++)
		rc = modules_add_projection(modules, path,
					    module.projections[i], err);
	for (size_t i = 0; i < module.handler_count && rc == WB_OK; i++)
		rc = modules_add(modules, path, module.handlers[i], err);
	return rc;
}

wb_code cli_modules_load(const char *const *paths, size_t count,
			 cli_modules **ret, wb_error *err)
{
	cli_modules *modules = calloc(1, sizeof(*modules));
	wb_code rc = WB_OK;

	if (!modules)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	for (size_t i = 0; i < count && rc == WB_OK; i++)
		rc = modules_load(modules, paths[i], err);
	if (rc != WB_OK) {
		free(modules);
		return rc;
	}
	*ret = modules;
	return WB_OK;
}

void cli_modules_free(cli_modules *modules)
{
	free(modules);
}

const wb_handler *const *cli_modules_handlers(const cli_modules *modules,
					      size_t *ret_count)
{
	*ret_count = modules->count;
	return modules->handlers;
}

const wb_projection *const *
cli_modules_projections(const cli_modules *modules, size_t *ret_count)
{
	*ret_count = modules->projection_count;
	return modules->projections;
}

bool cli_modules_external(const cli_modules *modules)
{
	for (size_t i = 0; i < modules->count; i++)
		if (modules->handlers[i]->kind == WB_EXTERNAL)
			return true;
	return false;
}
