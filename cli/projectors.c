/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The projectors of a daemon's modules, beside whatever else it loops on. One
 * that is stuck stops no other: its state says why, and so does the log.
 */
#include "cli/projection.h"
#include "lib/base/error.h"

wb_code cli_projectors_open(cli_projectors *ret, const cli_modules *modules,
			    wb_store *store, const char *dir, const char *only,
			    bool sole_user, const wb_log *log, wb_error *err)
{
	const wb_projection *const *projections;
	wb_projector_options o = WB_PROJECTOR_OPTIONS_INIT;
	wb_code code = WB_OK;
	size_t count;

	projections = cli_modules_projections(modules, &count);
	*ret = (cli_projectors){.log = log};
	o.dir = dir;
	o.sole_user = sole_user;
	o.log = log;
	for (size_t i = 0; i < count && code == WB_OK; i++) {
		size_t at = ret->count;

		if (only && strcmp(only, projections[i]->name) != 0)
			continue;
		code = wb_projector_open(store, projections[i], &o,
					 &ret->projectors[at], err);
		if (code != WB_OK)
			break;
		ret->names[at] = projections[i]->name;
		ret->count++;
		code = wb_projector_fd(ret->projectors[at], &ret->fds[at], err);
	}
	if (code == WB_OK && only && ret->count == 0)
		code = WBI_FAIL(err, WB_ENOTFOUND,
				"no module has a projection %s", only);
	if (code != WB_OK)
		cli_projectors_close(ret);
	return code;
}

void cli_projectors_close(cli_projectors *p)
{
	for (size_t i = 0; i < p->count; i++)
		wb_projector_close(p->projectors[i]);
	p->count = 0;
}

wb_code cli_projectors_dispatch(cli_projectors *p, wb_error *err)
{
	wb_code code = WB_OK;

	for (size_t i = 0; i < p->count && code == WB_OK; i++)
		code = wb_projector_dispatch(p->projectors[i], err);
	return code;
}

bool cli_projectors_quiet(const cli_projectors *p)
{
	for (size_t i = 0; i < p->count; i++) {
		wb_projector_stat stat = wb_projector_get_stat(p->projectors[i]);

		if (!stat.idle && stat.state != WB_PROJECTOR_STUCK &&
		    stat.state != WB_PROJECTOR_PAUSED &&
		    stat.state != WB_PROJECTOR_WAITING)
			return false;
	}
	return true;
}

size_t cli_projectors_stuck(const cli_projectors *p)
{
	size_t stuck = 0;

	for (size_t i = 0; i < p->count; i++)
		stuck += wb_projector_get_stat(p->projectors[i]).state ==
			 WB_PROJECTOR_STUCK;
	return stuck;
}
