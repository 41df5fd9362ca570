/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill saga graph: a flow or a saga of a module as a drawing; or a saga of a
 * store, with what it has done. One thread; only reads.
 */
#include <stdlib.h>

#include "cli/module.h"
#include "cli/command.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/store/store.h"
#include "saga/definition.h"
#include "saga/saga_graph.h"

typedef struct graph_options {
	int format; /* wb_graph_format */
} graph_options;

static const char *const graph_formats[] = {"mermaid", "dot", NULL};

static const cli_flag graph_flags[] = {
	{{.name = "format",
	  .kind = WBI_CONFIG_CHOICE,
	  .offset = offsetof(graph_options, format),
	  .choices = graph_formats,
	  .init = "mermaid",
	  .help = "For Mermaid, as in Markdown, or for Graphviz."},
	 'f'},
};

static wb_graph_format graph_format(const cli_context *ctx)
{
	const graph_options *o = ctx->options;

	return o->format == 0 ? WB_GRAPH_MERMAID : WB_GRAPH_DOT;
}

static int graph_print(cli_context *ctx, wb_code rc, char *text,
		       const wb_error *err)
{
	bool ok = rc == WB_OK && fputs(text, stdout) >= 0;

	if (rc == WB_OK)
		free(text);
	if (rc != WB_OK)
		return cli_fail_error(ctx, err);
	return cli_answered(ctx, ok);
}

/* ---- of a module -------------------------------------------------------- */

typedef struct graph_found {
	const wb_flow *flow;
	const wb_saga *saga;
	size_t count;
	char names[512]; /* of all, for who must choose */
} graph_found;

static void graph_see(graph_found *found, const char *name, const char *wanted,
		      const wb_flow *flow, const wb_saga *saga)
{
	size_t len = strlen(found->names);

	snprintf(found->names + len, sizeof(found->names) - len, " %s", name);
	if (wanted && strcmp(wanted, name) != 0)
		return;
	/* Of several versions of a saga the first one takes new ones. */
	if (saga && found->saga && !strcmp(found->saga->name, name))
		return;
	found->flow = flow;
	found->saga = saga;
	found->count++;
}

static int graph_module(cli_context *ctx)
{
	const char *wanted = ctx->arg_count > 1 ? ctx->args[1] : NULL;
	graph_found found = {.count = 0};
	const wb_flow_part *const *parts;
	const wb_saga *const *sagas;
	wb_error err = WB_ERROR_INIT;
	cli_modules *modules;
	char *text = NULL;
	wb_code rc = WB_OK;
	size_t count;
	int code;

	if (cli_modules_load_apart((const char *const *)ctx->args, 1, &modules,
				   &err) != WB_OK)
		return cli_fail(ctx, CLI_USAGE, "%s", err.text);
	parts = cli_modules_flow_parts(modules, &count);
	for (size_t i = 0; i < count; i++)
		graph_see(&found, parts[i]->flow->name, wanted, parts[i]->flow,
			  NULL);
	sagas = cli_modules_sagas(modules, &count);
	for (size_t i = 0; i < count; i++)
		graph_see(&found, sagas[i]->name, wanted, NULL, sagas[i]);
	if (found.count == 1 && found.flow)
		rc = wb_flow_graph(found.flow, graph_format(ctx), &text, &err);
	else if (found.count == 1)
		rc = wb_saga_graph(found.saga, graph_format(ctx), &text, &err);
	if (found.count == 1)
		code = graph_print(ctx, rc, text, &err);
	else
		code = cli_usage(ctx,
				 "%s: %s flow or saga \"%s\" in it; there is:"
				 "%s",
				 ctx->args[0],
				 found.count == 0 ? "no" : "which",
				 wanted ? wanted : "",
				 found.names[0] ? found.names : " none");
	cli_modules_free(modules);
	return code;
}

/* ---- of a store --------------------------------------------------------- */

static wb_code graph_of(wb_store *store, wb_str id, wb_graph_format format,
			char **ret, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	const wbi_saga_id key = {.kind = WBI_SAGA_ORCHESTRATED, .id = id};
	wbi_definition *definition = NULL;
	wbi_machine machine;
	wbi_saga_row row;
	wb_str bytes;
	MDB_txn *txn;
	wb_code rc = wbi_txn_begin(wb_store_env(store), false, &txn, err);

	if (rc != WB_OK)
		return rc;
	rc = wbi_saga_get(txn, tables, &key, &row, err);
	if (rc == WB_OK)
		rc = wbi_machine_decode(row.machine, &machine, err);
	if (rc == WB_OK)
		rc = wbi_saga_def_get(txn, tables, row.definition, &bytes, err);
	if (rc == WB_OK)
		rc = wbi_definition_decode(bytes, &definition, err);
	wbi_txn_abort(txn);
	if (rc == WB_OK)
		rc = wbi_saga_graph(&definition->saga, &machine, format, ret,
				    err);
	wbi_definition_free(definition);
	return rc;
}

static int graph_running(cli_context *ctx)
{
	wb_str id = wb_str_from(ctx->args[0]);
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	char *text = NULL;
	wb_code rc;
	int code;

	if (!ctx->config.store)
		return cli_usage(ctx,
				 "%s is no module (no '/' in it, no .so at its "
				 "end), and to find a saga of that id, --store "
				 "DIR is needed",
				 ctx->args[0]);
	if (ctx->arg_count > 1 || id.len > WBI_SAGA_ID_MAX)
		return cli_usage(ctx, "one saga's id, please");
	code = cli_open_store(ctx, &store);
	if (code != CLI_OK)
		return code;
	rc = graph_of(store, id, graph_format(ctx), &text, &err);
	wb_store_close(store);
	if (rc == WB_ENOTFOUND)
		return cli_fail(ctx, CLI_NOT_ALL,
				"no saga %s is orchestrated here; a flow is "
				"drawn from its module",
				ctx->args[0]);
	return graph_print(ctx, rc, text, &err);
}

static int saga_graph_run(cli_context *ctx)
{
	const char *what = ctx->args[0];
	size_t len = strlen(what);
	bool module = strchr(what, '/') ||
		      (len > 3 && !strcmp(what + len - 3, ".so"));

	return module ? graph_module(ctx) : graph_running(ctx);
}

const cli_command cli_command_saga_graph = {
	.name = "saga graph",
	.args = "MODULE [NAME] | ID",
	.summary = "Draw a flow or a saga, or one saga with what it has done",
	.help = "What has a '/' in it or ends in .so is a module, of which "
		"NAME is drawn; it is not\nneeded if there is one. Anything "
		"else is the id of a saga that is orchestrated in the\nstore: "
		"what is done, current, undone and remaining is marked.\n\n"
		"  waybill saga graph ./booking.so\n"
		"  waybill saga graph ./booking.so booking --format dot | dot "
		"-Tsvg >booking.svg\n"
		"  waybill saga graph 4711 --store shop\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = graph_flags,
	.flag_count = WBI_COUNT(graph_flags),
	.options_size = sizeof(graph_options),
	.args_min = 1,
	.args_max = 2,
	.run = saga_graph_run,
};
