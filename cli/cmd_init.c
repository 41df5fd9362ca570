/* SPDX-License-Identifier: BSD-2-Clause */
/* waybill init: a new, empty store. */
#include "cli/command.h"
#include "cli/table.h"
#include "lib/base/assert.h"

typedef struct init_options {
	char *service;
	uint64_t map, quota, keep_age, keep_bytes, quota_soft;
	bool keep_all;
} init_options;

#define AT(member) .offset = offsetof(init_options, member)

static const cli_flag init_flags[] = {
	{{.name = "service", .kind = WBI_CONFIG_TEXT, AT(service),
	  .arg = "NAME",
	  .help = "Name of the service that owns the store; the default "
		  "source of its events is /NAME."}, 0},
	{{.name = "map", .kind = WBI_CONFIG_SIZE, AT(map), .min = 1 << 20,
	  .max = 1ull << 46, .init = "32G", .arg = "SIZE",
	  .help = "Most the data file can ever grow to, your own tables "
		  "included. A bound: nothing is allocated."}, 0},
	{{.name = "quota", .kind = WBI_CONFIG_SIZE, AT(quota), .min = 1 << 16,
	  .max = 1ull << 46, .init = "16G", .arg = "SIZE",
	  .help = "Bytes of events, parked ones included; then append is "
		  "refused until the relay has caught up."}, 0},
	{{.name = "quota-soft", .kind = WBI_CONFIG_NUMBER, AT(quota_soft),
	  .min = 1, .max = 100, .init = "80", .arg = "PERCENT",
	  .help = "Of the quota: from here on it is warned about."}, 0},
	{{.name = "keep-age", .kind = WBI_CONFIG_NUMBER, AT(keep_age),
	  .max = 3153600000u, .init = "0", .arg = "SECONDS",
	  .help = "Keep delivered events at least so long."}, 0},
	{{.name = "keep-bytes", .kind = WBI_CONFIG_SIZE, AT(keep_bytes),
	  .max = 1ull << 46, .init = "0", .arg = "SIZE",
	  .help = "Keep so much of them."}, 0},
	{{.name = "keep-all", .kind = WBI_CONFIG_BOOL, AT(keep_all),
	  .help = "Keep all of them, for ever: an event store."}, 0},
};

static int init_run(cli_context *ctx)
{
	const init_options *o = ctx->options;
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	if (!o->service)
		return cli_usage(ctx, "--service NAME is missing");
	options.service = o->service;
	options.map_bytes = o->map;
	options.quota_bytes = o->quota;
	options.quota_soft_pct = (uint32_t)o->quota_soft;
	options.keep_age_s = o->keep_age;
	options.keep_bytes = o->keep_all ? UINT64_MAX : o->keep_bytes;
	options.log = &ctx->log;
	if (o->quota > o->map)
		return cli_usage(ctx, "--quota is over --map: the file would "
				      "be full before the quota is reached");
	if (wb_store_create(ctx->config.store, &options, &err) != WB_OK)
		return cli_fail_error(ctx, &err);
	if (ctx->json)
		cli_json_print(json_pack("{s:s, s:s}", "store",
					 ctx->config.store, "service",
					 o->service));
	else
		printf("created store %s for service %s\n", ctx->config.store,
		       o->service);
	return CLI_OK;
}

const cli_command cli_command_init = {
	.name = "init",
	.args = "",
	.summary = "Create an empty store",
	.help = "The directory is made with mode 0700 and must not hold a "
		"store yet. A service\nmay do the same by itself: "
		"wb_store_create().\n\n"
		"  waybill init --store /var/lib/shop/store --service shop\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = init_flags,
	.flag_count = WBI_COUNT(init_flags),
	.options_size = sizeof(init_options),
	.needs_store = true,
	.run = init_run,
};
