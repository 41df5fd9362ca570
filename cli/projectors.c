/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The projectors of a daemon's modules, beside whatever else it loops on. One
 * that is stuck stops no other: its state says why, and so does the log.
 */
#include "cli/projection.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"

/* One connection to read on, one for rebuilds. */
static int projectors_connect(cli_projectors *p, cli_context *ctx,
			      const wb_projection *projection,
			      const cli_projectors_options *options,
			      wb_projector_options *ret)
{
	wb_broker **brokers = &p->brokers[2 * p->count];
	int code;

	if (projection->source != WB_PROJECTION_STREAM)
		return options->store
			       ? CLI_OK
			       : cli_usage(ctx, "projection %s follows a "
						"store: give --store DIR",
					   projection->name);
	if (!options->stream)
		return cli_usage(ctx, "projection %s reads a stream queue: "
				      "waybill projection run --stream QUEUE",
				 projection->name);
	code = cli_open_broker(ctx, &brokers[0]);
	if (code == CLI_OK)
		code = cli_open_broker(ctx, &brokers[1]);
	ret->queue = options->stream;
	ret->broker = brokers[0];
	ret->rebuild_broker = brokers[1];
	ret->limits = cli_limits(&ctx->config);
	return code;
}

static int projectors_add(cli_projectors *p, cli_context *ctx,
			  const wb_projection *projection,
			  const cli_projectors_options *options)
{
	wb_projector_options o = WB_PROJECTOR_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	size_t at = p->count;
	int code;

	o.dir = options->dir;
	o.sole_user = options->sole_user;
	o.log = &ctx->log;
	code = projectors_connect(p, ctx, projection, options, &o);
	if (code != CLI_OK)
		return code;
	if (wb_projector_open(options->store, projection, &o,
			      &p->projectors[at], &err) != WB_OK)
		return cli_fail_error(ctx, &err);
	p->names[at] = projection->name;
	p->count++;
	if (wb_projector_fd(p->projectors[at], &p->fds[at], &err) != WB_OK)
		return cli_fail_error(ctx, &err);
	return CLI_OK;
}

int cli_projectors_open(cli_projectors *ret, cli_context *ctx,
			const cli_modules *modules,
			const cli_projectors_options *options)
{
	const wb_projection *const *projections;
	const char *only = options->only;
	int code = CLI_OK;
	size_t count;

	projections = cli_modules_projections(modules, &count);
	*ret = (cli_projectors){.count = 0};
	for (size_t i = 0; i < count && code == CLI_OK; i++)
		if (!only || !strcmp(only, projections[i]->name))
			code = projectors_add(ret, ctx, projections[i],
					      options);
	if (code == CLI_OK && only && ret->count == 0)
		code = cli_fail(ctx, CLI_FAILED,
				"no module has a projection %s", only);
	if (code != CLI_OK)
		cli_projectors_close(ret);
	return code;
}

void cli_projectors_close(cli_projectors *p)
{
	for (size_t i = 0; i < p->count; i++)
		wb_projector_close(p->projectors[i]);
	for (size_t i = 0; i < WBI_COUNT(p->brokers); i++)
		wb_broker_free(p->brokers[i]);
	*p = (cli_projectors){.count = 0};
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

uint64_t cli_projectors_done(const cli_projectors *p)
{
	uint64_t done = 0;

	for (size_t i = 0; i < p->count; i++) {
		wb_projector_stat stat = wb_projector_get_stat(p->projectors[i]);

		done += stat.position + stat.building_position + stat.applied +
			stat.passed + stat.skipped;
	}
	return done;
}

size_t cli_projectors_stuck(const cli_projectors *p)
{
	size_t stuck = 0;

	for (size_t i = 0; i < p->count; i++)
		stuck += wb_projector_get_stat(p->projectors[i]).state ==
			 WB_PROJECTOR_STUCK;
	return stuck;
}
