/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill saga start: a saga by hand. It is a row and a timer that is due, in
 * one commit; the store's worker takes it from there, now or when it starts.
 */
#include <stdlib.h>

#include "cli/module.h"
#include "cli/command.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/store/store.h"

typedef struct start_options {
	char *id, *content_type;
	bool dry_run;
} start_options;

#define AT(member) .offset = offsetof(start_options, member)

static const cli_flag start_flags[] = {
	{{.name = "id", .kind = WBI_CONFIG_TEXT, AT(id), .arg = "ID",
	  .help = "The saga's id, 1 to 180 bytes; the same one again is "
		  "refused. Default: one that is made up."}, 'i'},
	{{.name = "content-type", .kind = WBI_CONFIG_TEXT, AT(content_type),
	  .arg = "TYPE", .init = "application/json",
	  .help = "Of the data; any but a JSON one is not looked into."}, 0},
	{{.name = "dry-run", .kind = WBI_CONFIG_BOOL, AT(dry_run),
	  .help = "Look at everything, start nothing."}, 0},
};

static bool start_is_json(const char *type)
{
	size_t len = strcspn(type, "; ");

	return (len == 16 && !strncmp(type, "application/json", 16)) ||
	       (len > 5 && !strncmp(type + len - 5, "+json", 5));
}

static int start_check_data(cli_context *ctx)
{
	const start_options *o = ctx->options;
	json_error_t why;
	json_t *value;

	if (!start_is_json(o->content_type))
		return CLI_OK;
	value = json_loads(ctx->args[1], JSON_DECODE_ANY, &why);
	if (!value)
		return cli_fail(ctx, CLI_USAGE,
				"the data is no JSON: %s at byte %d; quote it "
				"for the shell, or say --content-type",
				why.text, why.position);
	json_decref(value);
	return CLI_OK;
}

static wb_code start_write(cli_context *ctx, wb_store *store,
			   wb_orchestrator *orchestrator, const char *id,
			   wb_error *err)
{
	const start_options *o = ctx->options;
	MDB_txn *txn;
	wb_code rc = wb_store_begin(store, &txn, err);

	if (rc != WB_OK)
		return rc;
	rc = wb_saga_start(orchestrator, txn, ctx->args[0], wb_str_from(id),
			   wb_str_from(o->content_type),
			   wb_str_from(ctx->args[1]), err);
	if (rc == WB_OK && !o->dry_run)
		return wb_store_commit(store, txn, err);
	wb_store_abort(txn);
	return rc;
}

static int start_say(cli_context *ctx, const char *id)
{
	const start_options *o = ctx->options;
	bool ok;

	if (ctx->json)
		ok = cli_json_print(json_pack(
			"{s:o, s:s, s:b}", "id", cli_json_text(id), "kind",
			ctx->args[0], "started", !o->dry_run));
	else
		ok = printf("%s%s\n", id, o->dry_run ? " would start" : "") > 0;
	return cli_answered(ctx, ok);
}

static int start_in(cli_context *ctx, const cli_modules *modules,
		    wb_store *store)
{
	const start_options *o = ctx->options;
	wb_orchestrator *orchestrator = NULL;
	wb_error err = WB_ERROR_INIT;
	char made[WB_UUID_TEXT_LEN + 1];
	const char *id = o->id;
	const wb_saga *const *sagas;
	size_t count;
	wb_code rc;

	sagas = cli_modules_sagas(modules, &count);
	if (count == 0)
		return cli_fail(ctx, CLI_USAGE,
				"there is no saga in the modules: participants "
				"and flows are not started here");
	if (!id) {
		wb_uuid7(wb_system_clock(), wb_system_random(), made);
		id = made;
	}
	rc = wb_orchestrator_open(store, sagas, count, NULL, &orchestrator,
				  &err);
	if (rc == WB_OK)
		rc = start_write(ctx, store, orchestrator, id, &err);
	wb_orchestrator_close(orchestrator);
	if (rc == WB_ENOTFOUND || rc == WB_EINVAL)
		return cli_fail(ctx, CLI_USAGE, "%s", err.text);
	return rc == WB_OK ? start_say(ctx, id) : cli_fail_error(ctx, &err);
}

static int saga_start_run(cli_context *ctx)
{
	const wbi_config_items *paths = &ctx->config.modules;
	wb_error err = WB_ERROR_INIT;
	cli_modules *modules = NULL;
	wb_store *store = NULL;
	int code = start_check_data(ctx);

	if (code != CLI_OK)
		return code;
	if (paths->count == 0)
		return cli_usage(ctx, "which definition? give --module FILE "
				      "or set WAYBILL_MODULES");
	if (cli_modules_load(paths->items, paths->count, &modules, &err) !=
	    WB_OK)
		return cli_fail(ctx, CLI_USAGE, "%s", err.text);
	code = cli_open_store(ctx, &store);
	if (code == CLI_OK)
		code = start_in(ctx, modules, store);
	wb_store_close(store);
	cli_modules_free(modules);
	return code;
}

const cli_command cli_command_saga_start = {
	.name = "saga start",
	.args = "KIND JSON",
	.summary = "Start a saga that this store orchestrates",
	.help = "KIND is the name of a saga of the modules, JSON what its "
		"first command carries. Its id\nis printed. The store's worker "
		"carries it out; without one it waits for that.\n\n"
		"  waybill saga start booking '{\"slot\":\"A7\"}' --store "
		"booking --module ./booking.so \\\n"
		"      --id 4711\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG | WBI_GROUP_MODULE,
	.flags = start_flags,
	.flag_count = WBI_COUNT(start_flags),
	.options_size = sizeof(start_options),
	.args_min = 2,
	.args_max = 2,
	.needs_store = true,
	.run = saga_start_run,
};
