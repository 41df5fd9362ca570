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

/* A consumer's name, and who has it: one name is one cursor. */
typedef struct module_name {
	char name[80];
	const char *origin; /* a path, as it was given */
} module_name;

struct cli_modules {
	const wb_handler *handlers[CLI_HANDLERS_MAX];
	size_t count;
	const wb_projection *projections[CLI_PROJECTIONS_MAX];
	size_t projection_count;
	const wb_flow_part *parts[CLI_FLOW_PARTS_MAX];
	size_t part_count;
	const wb_saga *sagas[CLI_SAGAS_MAX];
	size_t saga_count;
	const wb_participant *participants[CLI_PARTICIPANTS_MAX];
	size_t participant_count;
	module_name names[CLI_HANDLERS_MAX];
	size_t name_count;
	bool apart; /* of several services: a name may come again */
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

/* ---- what is in one ----------------------------------------------------- */

/* `what` is "handler", as its maker knows it. */
static wb_code modules_name(cli_modules *modules, const char *path,
			    const char *what, const char *name, wb_error *err)
{
	module_name *n = &modules->names[modules->name_count];

	if (modules->apart)
		return WB_OK;
	for (size_t i = 0; i < modules->name_count; i++)
		if (!strcmp(modules->names[i].name, name))
			return WBI_FAIL(err, WB_EINVAL,
					"two handlers are named %.64s, in "
					"module %s and in module %s (a %s): a "
					"name is a cursor's",
					name, modules->names[i].origin, path,
					what);
	if (modules->name_count == CLI_HANDLERS_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"module %s: more than %d handlers in all, "
				"those of flows, sagas and participants with "
				"them",
				path, CLI_HANDLERS_MAX);
	snprintf(n->name, sizeof(n->name), "%.79s", name);
	n->origin = path;
	modules->name_count++;
	return WB_OK;
}

static wb_code modules_size(const char *path, const char *what,
			    const char *name, size_t size, size_t wanted,
			    wb_error *err)
{
	if (size == wanted)
		return WB_OK;
	return WBI_FAIL(err, WB_EINVAL,
			"module %s, %s %.64s: its size is %zu, not %zu: begin "
			"it with .size = sizeof(wb_...), and compile it with "
			"the headers of this waybill",
			path, what, name, size, wanted);
}

static wb_code modules_nameless(const char *path, const char *what,
				wb_error *err)
{
	return WBI_FAIL(err, WB_EINVAL, "module %s: a %s without a name", path,
			what);
}

static wb_code modules_full(const char *path, const char *what, int max,
			    wb_error *err)
{
	return WBI_FAIL(err, WB_ELIMIT, "module %s: more than %d %s in all",
			path, max, what);
}

static wb_code modules_add(cli_modules *modules, const char *path,
			   const wb_handler *handler, wb_error *err)
{
	wb_code rc;

	if (!handler || !handler->name)
		return modules_nameless(path, "handler", err);
	rc = modules_size(path, "handler", handler->name, handler->size,
			  sizeof(*handler), err);
	if (rc == WB_OK)
		rc = modules_name(modules, path, "handler", handler->name, err);
	if (rc == WB_OK && modules->count == CLI_HANDLERS_MAX)
		rc = modules_full(path, "handlers", CLI_HANDLERS_MAX, err);
	if (rc == WB_OK)
		modules->handlers[modules->count++] = handler;
	return rc;
}

static wb_code modules_add_part(cli_modules *modules, const char *path,
				const wb_flow_part *part, wb_error *err)
{
	char name[80];
	wb_code rc;

	if (!part || !part->flow || !part->flow->name)
		return modules_nameless(path, "flow", err);
	rc = modules_size(path, "flow part of", part->flow->name, part->size,
			  sizeof(*part), err);
	if (rc == WB_OK)
		rc = modules_size(path, "flow", part->flow->name,
				  part->flow->size, sizeof(*part->flow), err);
	snprintf(name, sizeof(name), "flow.%.64s", part->flow->name);
	if (rc == WB_OK)
		rc = modules_name(modules, path, "flow", name, err);
	if (rc == WB_OK && modules->part_count == CLI_FLOW_PARTS_MAX)
		rc = modules_full(path, "flows", CLI_FLOW_PARTS_MAX, err);
	if (rc == WB_OK)
		modules->parts[modules->part_count++] = part;
	return rc;
}

/* Several may have one name: versions, of which the first takes new ones. All
 * of them are one handler's. */
static wb_code modules_add_saga(cli_modules *modules, const char *path,
				const wb_saga *saga, wb_error *err)
{
	wb_code rc;

	if (!saga || !saga->name)
		return modules_nameless(path, "saga", err);
	rc = modules_size(path, "saga", saga->name, saga->size, sizeof(*saga),
			  err);
	if (rc == WB_OK && modules->saga_count == 0)
		rc = modules_name(modules, path, "saga", "sagas", err);
	if (rc == WB_OK && modules->saga_count == CLI_SAGAS_MAX)
		rc = modules_full(path, "sagas", CLI_SAGAS_MAX, err);
	if (rc == WB_OK)
		modules->sagas[modules->saga_count++] = saga;
	return rc;
}

static wb_code modules_add_participant(cli_modules *modules, const char *path,
				       const wb_participant *participant,
				       wb_error *err)
{
	wb_code rc;

	if (!participant || !participant->name)
		return modules_nameless(path, "participant", err);
	rc = modules_size(path, "participant", participant->name,
			  participant->size, sizeof(*participant), err);
	if (rc == WB_OK)
		rc = modules_name(modules, path, "participant",
				  participant->name, err);
	if (rc == WB_OK && modules->participant_count == CLI_PARTICIPANTS_MAX)
		rc = modules_full(path, "participants", CLI_PARTICIPANTS_MAX,
				  err);
	if (rc == WB_OK)
		modules->participants[modules->participant_count++] =
			participant;
	return rc;
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
		if (!modules->apart &&
		    !strcmp(modules->projections[i]->name, projection->name))
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

static wb_code modules_take(cli_modules *modules, const char *path,
			    const struct wb_module *m, wb_error *err)
{
	wb_code rc = WB_OK;

	for (size_t i = 0; i < m->projection_count && rc == WB_OK; i++)
		rc = modules_add_projection(modules, path, m->projections[i],
					    err);
	for (size_t i = 0; i < m->handler_count && rc == WB_OK; i++)
		rc = modules_add(modules, path, m->handlers[i], err);
	for (size_t i = 0; i < m->flow_part_count && rc == WB_OK; i++)
		rc = modules_add_part(modules, path, m->flow_parts[i], err);
	for (size_t i = 0; i < m->saga_count && rc == WB_OK; i++)
		rc = modules_add_saga(modules, path, m->sagas[i], err);
	for (size_t i = 0; i < m->participant_count && rc == WB_OK; i++)
		rc = modules_add_participant(modules, path, m->participants[i],
					     err);
	return rc;
}

/* A list that is NULL is none, whatever its count says. */
static bool module_is_empty(struct wb_module *m)
{
	m->handler_count = m->handlers ? m->handler_count : 0;
	m->projection_count = m->projections ? m->projection_count : 0;
	m->flow_part_count = m->flow_parts ? m->flow_part_count : 0;
	m->saga_count = m->sagas ? m->saga_count : 0;
	m->participant_count = m->participants ? m->participant_count : 0;
	return m->handler_count + m->projection_count + m->flow_part_count +
		       m->saga_count + m->participant_count ==
	       0;
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
	if (module_is_empty(&module))
		return WBI_FAIL(err, WB_EINVAL,
				"module %s has no handlers, projections, "
				"flows, sagas or participants",
				path);
	return modules_take(modules, path, &module, err);
}

static wb_code modules_new(const char *const *paths, size_t count, bool apart,
			   cli_modules **ret, wb_error *err)
{
	cli_modules *modules = calloc(1, sizeof(*modules));
	wb_code rc = WB_OK;

	if (!modules)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	modules->apart = apart;
	for (size_t i = 0; i < count && rc == WB_OK; i++)
		rc = modules_load(modules, paths[i], err);
	if (rc != WB_OK) {
		free(modules);
		return rc;
	}
	*ret = modules;
	return WB_OK;
}

wb_code cli_modules_load(const char *const *paths, size_t count,
			 cli_modules **ret, wb_error *err)
{
	return modules_new(paths, count, false, ret, err);
}

wb_code cli_modules_load_apart(const char *const *paths, size_t count,
			       cli_modules **ret, wb_error *err)
{
	return modules_new(paths, count, true, ret, err);
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

const wb_flow_part *const *cli_modules_flow_parts(const cli_modules *modules,
						  size_t *ret_count)
{
	*ret_count = modules->part_count;
	return modules->parts;
}

const wb_saga *const *cli_modules_sagas(const cli_modules *modules,
					size_t *ret_count)
{
	*ret_count = modules->saga_count;
	return modules->sagas;
}

const wb_participant *const *
cli_modules_participants(const cli_modules *modules, size_t *ret_count)
{
	*ret_count = modules->participant_count;
	return modules->participants;
}

bool cli_modules_external(const cli_modules *modules)
{
	for (size_t i = 0; i < modules->count; i++)
		if (modules->handlers[i]->kind == WB_EXTERNAL)
			return true;
	return false;
}
