/* SPDX-License-Identifier: BSD-2-Clause */
/* waybill setup: declare or check exchanges, queues and bindings. */
#include "cli/command.h"
#include "cli/table.h"
#include "cli/topology.h"
#include "lib/base/assert.h"

typedef struct setup_options {
	uint64_t timeout_ms;
	bool dry_run;
} setup_options;

static const cli_flag setup_flags[] = {
	{{.name = "timeout-ms", .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(setup_options, timeout_ms), .min = 100,
	  .max = 3600000, .init = "30000", .arg = "N",
	  .help = "Give up after so long."}, 0},
	{{.name = "dry-run", .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(setup_options, dry_run),
	  .help = "Show what would be asked for; connect to nothing."}, 0},
};

static const char *outcome(const cli_topology_row *row, bool check)
{
	if (row->skipped)
		return "cannot be checked";
	if (!row->asked)
		return "not asked";
	if (!row->ok)
		return row->problem.text;
	return check ? "there" : "declared";
}

static int print_rows(const cli_context *ctx, const cli_topology *topology)
{
	static const cli_column columns[] = {{.name = "kind"},
					     {.name = "name"},
					     {.name = "detail"},
					     {.name = "outcome"}};
	bool check = ctx->config.declare != WB_DECLARE_CREATE;
	cli_table *table = cli_table_new("topology", columns,
					 WBI_COUNT(columns), ctx->json);
	bool ok = table != NULL;

	for (size_t i = 0; ok && i < cli_topology_count(topology); i++) {
		const cli_topology_row *row = cli_topology_at(topology, i);
		const char *cells[] = {row->kind, row->name, row->detail,
				       outcome(row, check)};

		ok = cli_table_row(table, cells);
	}
	return cli_answered(ctx, ok && cli_table_print(table));
}

static int ask_broker(cli_context *ctx, cli_topology *topology)
{
	const setup_options *o = ctx->options;
	wb_error err = WB_ERROR_INIT;
	wb_broker *broker;
	size_t refused = 0;
	wb_code rc;
	int code;

	code = cli_open_broker(ctx, &broker);
	if (code != CLI_OK)
		return code;
	rc = cli_topology_apply(topology, broker, (uint32_t)o->timeout_ms, -1,
				&refused, &err);
	wb_broker_free(broker);
	if (rc != WB_OK)
		return cli_fail_error(ctx, &err);
	code = print_rows(ctx, topology);
	if (code == CLI_OK && refused > 0)
		return cli_fail(ctx, CLI_FAILED, "%zu of %zu are not as they "
						 "should be",
				refused, cli_topology_count(topology));
	return code;
}

static int setup_run(cli_context *ctx)
{
	const setup_options *o = ctx->options;
	wb_error err = WB_ERROR_INIT;
	cli_topology *topology;
	wb_routes *routes;
	int code;

	if (ctx->config.declare == WB_DECLARE_NEVER)
		return cli_usage(ctx, "declare is 'never': give --declare "
				      "create or --declare check");
	code = cli_open_routes(ctx, &routes);
	if (code != CLI_OK)
		return code;
	if (cli_topology_new(&ctx->config, routes, &topology, &err) == WB_OK) {
		code = o->dry_run ? print_rows(ctx, topology)
				  : ask_broker(ctx, topology);
		cli_topology_free(topology);
	} else {
		code = cli_fail(ctx, CLI_USAGE, "%s", err.text);
	}
	wb_routes_free(routes);
	return code;
}

const cli_command cli_command_setup = {
	.name = "setup",
	.args = "",
	.summary = "Declare or check exchanges, queues and bindings",
	.help = "Everything is durable. Declaring again what is there does "
		"nothing, so this may be\nrun at any time; what is there with "
		"other settings is named, and never changed.\nEach queue is a "
		"quorum queue with a single active consumer, a delivery limit "
		"and\na dead letter exchange and queue of its own.\n\n"
		"  waybill setup --amqp amqp://localhost \\\n"
		"      --queue name=billing,bind=events:order.#\n"
		"  waybill setup --config relay.yaml --declare check\n",
	.groups = WBI_GROUP_BROKER | WBI_GROUP_ROUTES | WBI_GROUP_TOPOLOGY |
		  WBI_GROUP_LOG,
	.flags = setup_flags,
	.flag_count = WBI_COUNT(setup_flags),
	.options_size = sizeof(setup_options),
	.run = setup_run,
};
