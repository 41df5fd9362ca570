/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Declaring twice does nothing, so whatever went wrong is mended by doing it
 * again. One thread.
 */
#include "cli/declarer.h"

#include "lib/base/log.h"

enum { REDECLARE_MS = 5000, REDECLARE_EACH_US = 30 * 1000000 };

int cli_declarer_init(cli_declarer *declarer, cli_context *ctx,
		      const wb_routes *routes)
{
	wb_error err = WB_ERROR_INIT;
	int code = cli_open_broker(ctx, &declarer->broker);

	if (code != CLI_OK)
		return code;
	declarer->log = &ctx->log;
	declarer->stop_fd = -1;
	declarer->wanted = ctx->config.declare != WB_DECLARE_NEVER;
	declarer->creates = ctx->config.declare == WB_DECLARE_CREATE;
	if (cli_topology_new(&ctx->config, routes, &declarer->topology, &err) !=
	    WB_OK)
		return cli_fail(ctx, CLI_USAGE, "%s", err.text);
	return CLI_OK;
}

void cli_declarer_fini(cli_declarer *declarer)
{
	cli_topology_free(declarer->topology);
	wb_broker_free(declarer->broker);
	declarer->topology = NULL;
	declarer->broker = NULL;
}

static void log_refusals(const cli_declarer *declarer)
{
	for (size_t i = 0; i < cli_topology_count(declarer->topology); i++) {
		const cli_topology_row *row =
			cli_topology_at(declarer->topology, i);

		if (row->asked && !row->ok)
			wbi_log(declarer->log, WB_LOG_ERROR, "%s %s%s%s: %s",
				row->kind, row->name,
				row->detail[0] ? ", " : "", row->detail,
				row->problem.text);
	}
}

wb_code cli_declarer_apply(cli_declarer *declarer, uint32_t timeout_ms,
			   wb_error *err)
{
	size_t refused;
	wb_code rc;

	rc = cli_topology_apply(declarer->topology, declarer->broker,
				timeout_ms, declarer->stop_fd, &refused, err);
	if (rc != WB_OK)
		return rc;
	declarer->declared = true;
	if (refused > 0)
		log_refusals(declarer);
	return WB_OK;
}

void cli_declarer_held(cli_declarer *declarer, uint64_t held)
{
	wb_error err = WB_ERROR_INIT;

	if (held == 0)
		declarer->again_at_us = 0;
	if (held == 0 || !declarer->creates ||
	    cli_mono_us() < declarer->again_at_us)
		return;
	if (cli_declarer_apply(declarer, REDECLARE_MS, &err) != WB_OK)
		wbi_log(declarer->log, WB_LOG_WARN,
			"cannot declare the missing exchange: %s", err.text);
	declarer->again_at_us = cli_mono_us() + REDECLARE_EACH_US;
}
