/* SPDX-License-Identifier: BSD-2-Clause */
/* waybill fsck, backup, restore: on top of lib/journal/maintain.h. */
#include <inttypes.h>

#include "cli/command.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/journal/maintain.h"

typedef struct maintain_options {
	bool progress;
} maintain_options;

static const cli_flag maintain_flags[] = {
	{{.name = "progress", .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(maintain_options, progress),
	  .help = "Show progress even if stderr is not a terminal."}, 0},
};

typedef struct maintain_run {
	cli_context *ctx;
	cli_progress progress;
	uint64_t done; /* as last told */
	json_t *findings;
} maintain_run;

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
	maintain_run *run = ctx;

	run->done = done;
	cli_progress_show(&run->progress, done, total);
}

static void on_finding(void *ctx, const wbi_finding *finding)
{
	maintain_run *run = ctx;

	if (run->ctx->json) {
		json_array_append_new(
			run->findings,
			json_pack("{s:s, s:s, s:s, s:I, s:o}", "code",
				  wb_code_name(finding->code), "file",
				  finding->file, "table", finding->table,
				  "position", (json_int_t)finding->position,
				  "text", cli_json_text(finding->text)));
		return;
	}
	printf("%s", finding->file);
	if (finding->table[0])
		printf(", table %s", finding->table);
	if (finding->position > 0)
		printf(", position %" PRIu64, finding->position);
	printf(": %s\n", finding->text);
}

static wbi_check_report report_of(maintain_run *run, const char *what,
				  bool bytes)
{
	const maintain_options *o = run->ctx->options;

	run->progress.bytes = bytes;
	cli_progress_start(&run->progress, what, o->progress);
	return (wbi_check_report){on_finding, on_progress, run};
}

static void print_check(const maintain_run *run, const wbi_check_result *r)
{
	if (run->ctx->json) {
		cli_json_print(json_pack(
			"{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:O}",
			"sound", r->findings == 0, "records",
			(json_int_t)r->records, "bytes", (json_int_t)r->bytes,
			"parked", (json_int_t)r->parked, "first",
			(json_int_t)r->first, "head", (json_int_t)r->head,
			"cursor", (json_int_t)r->cursor, "origin", r->origin,
			"findings", run->findings));
		return;
	}
	if (r->findings > 0)
		printf("%" PRIu64 " findings\n", r->findings);
	else
		printf("sound: %" PRIu64 " events, positions %" PRIu64
		       " to %" PRIu64 ", cursor %" PRIu64 ", %" PRIu64
		       " parked\n",
		       r->records, r->first, r->head, r->cursor, r->parked);
}

static int fsck_run(cli_context *ctx)
{
	maintain_run run = {.ctx = ctx, .findings = json_array()};
	wbi_check_result result = {0};
	wb_error err = WB_ERROR_INIT;
	const char *dir = ctx->arg_count > 0 ? ctx->args[0] : ctx->config.store;
	wbi_check_report report;
	wb_code rc;

	if (!dir)
		return cli_usage(ctx, "which store? give DIR or --store DIR");
	report = report_of(&run, "checked", false);
	rc = wbi_store_check(dir, &report, &result, &err);
	cli_progress_end(&run.progress, result.records);
	if (rc == WB_OK || result.findings > 0)
		print_check(&run, &result);
	json_decref(run.findings);
	if (rc == WB_OK)
		return CLI_OK;
	if (result.findings > 0)
		return CLI_NOT_ALL;
	return cli_fail_error(ctx, &err);
}

static int backup_run(cli_context *ctx)
{
	maintain_run run = {.ctx = ctx};
	wb_error err = WB_ERROR_INIT;
	wbi_check_report report = report_of(&run, "copied", true);

	if (wbi_store_backup(ctx->config.store, ctx->args[0], &report, &err))
		return cli_fail_error(ctx, &err);
	cli_progress_end(&run.progress, run.done);
	if (ctx->json)
		cli_json_print(json_pack("{s:s, s:o}", "store",
					 ctx->config.store, "backup",
					 cli_json_text(ctx->args[0])));
	else
		printf("copied %s to %s\n", ctx->config.store, ctx->args[0]);
	return CLI_OK;
}

static int restore_run(cli_context *ctx)
{
	maintain_run run = {.ctx = ctx, .findings = json_array()};
	wb_error err = WB_ERROR_INIT;
	wbi_check_report report = report_of(&run, "restored", true);
	wb_code rc;

	rc = wbi_store_restore(ctx->args[0], ctx->args[1], &report, &err);
	json_decref(run.findings);
	if (rc != WB_OK)
		return cli_fail_error(ctx, &err);
	cli_progress_end(&run.progress, run.done);
	if (ctx->json)
		cli_json_print(json_pack("{s:o, s:o}", "backup",
					 cli_json_text(ctx->args[0]), "store",
					 cli_json_text(ctx->args[1])));
	else
		printf("made store %s from %s, with a new origin\n",
		       ctx->args[1], ctx->args[0]);
	return CLI_OK;
}

const cli_command cli_command_fsck = {
	.name = "fsck",
	.args = "[DIR]",
	.summary = "Check a store: every record, every position, every row",
	.help = "Reads only, and may run beside the service and the relay. "
		"What is damaged is\nnamed with its place, and the exit status "
		"is 3. The cure for damage is `waybill\nrestore` from a "
		"backup: nothing is ever mended by guessing.\n\n"
		"  waybill fsck /var/lib/shop/store\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = maintain_flags,
	.flag_count = WBI_COUNT(maintain_flags),
	.options_size = sizeof(maintain_options),
	.args_max = 1,
	.run = fsck_run,
};

const cli_command cli_command_backup = {
	.name = "backup",
	.args = "TO",
	.summary = "Copy a store while it is in use",
	.help = "TO is a new directory: a consistent, compacted copy of the "
		"store and of the\nrelay's state. Do not open the copy as a "
		"store: `waybill restore` makes one of it.\n\n"
		"  waybill backup --store /var/lib/shop/store "
		"/backup/shop-monday\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = maintain_flags,
	.flag_count = WBI_COUNT(maintain_flags),
	.options_size = sizeof(maintain_options),
	.args_min = 1,
	.args_max = 1,
	.needs_store = true,
	.run = backup_run,
};

const cli_command cli_command_restore = {
	.name = "restore",
	.args = "FROM TO",
	.summary = "Make a store from a backup",
	.help = "FROM is checked first; TO is a new directory. The store gets "
		"a new origin, since\npositions after the copy may have been "
		"used before. Events that were delivered\nafter the copy was "
		"made are delivered again, with their old ids, so consumers\n"
		"that drop what they know see nothing of it.\n\n"
		"  waybill restore /backup/shop-monday /var/lib/shop/store\n",
	.groups = WBI_GROUP_LOG,
	.flags = maintain_flags,
	.flag_count = WBI_COUNT(maintain_flags),
	.options_size = sizeof(maintain_options),
	.args_min = 2,
	.args_max = 2,
	.run = restore_run,
};
