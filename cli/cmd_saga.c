/* SPDX-License-Identifier: BSD-2-Clause */
/* waybill saga ls: sagas of a store, orchestrated and choreographed, by what
 * they wait for. Only reads. */
#include <stdlib.h>

#include "cli/saga.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"

static const cli_flag ls_flags[] = {
	CLI_SAGA_FILTERS,
	{{.name = "after", .kind = WBI_CONFIG_TEXT, CLI_SAGA_AT(after),
	  .arg = "PLACE", .help = "Go on where a list that was cut off has "
				  "ended: what it said."}, 0},
	{{.name = "limit", .kind = WBI_CONFIG_NUMBER, CLI_SAGA_AT(limit),
	  .min = 1, .max = 1000000, .init = "50", .arg = "N",
	  .help = "At most so many."}, 'n'},
};

typedef struct ls_run {
	cli_table *table;
	uint64_t count, limit;
	cli_saga_place last; /* of the last one listed */
	bool more, failed;
} ls_run;

static bool ls_see(void *ctx, const cli_saga_seen *seen)
{
	ls_run *run = ctx;

	run->more = run->count == run->limit;
	if (run->more)
		return false;
	run->failed = !cli_saga_table_row(run->table, seen, NULL);
	run->last = *seen->place;
	run->count++;
	return !run->failed;
}

static wb_code ls_scan(wb_store *store, const cli_saga_filter *filter,
		       cli_saga_place *place, ls_run *run, wb_error *err)
{
	wb_code rc = WB_OK;

	while (rc == WB_OK && !run->more && !run->failed)
		rc = cli_saga_visit(store, filter, place, ls_see, run, err);
	if (run->failed)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static int ls_print(cli_context *ctx, ls_run *run)
{
	char place[1024];

	if (!cli_table_print(run->table))
		return cli_fail(ctx, CLI_FAILED, "cannot write the answer");
	if (run->more)
		fprintf(stderr, "(there are more: --limit, --after %s)\n",
			cli_saga_place_text(&run->last, place));
	return CLI_OK;
}

static int saga_ls(cli_context *ctx)
{
	const cli_saga_options *o = ctx->options;
	ls_run run = {.limit = o->limit};
	cli_saga_place place = {.begun = false};
	wb_error err = WB_ERROR_INIT;
	cli_saga_filter filter;
	wb_store *store = NULL;
	int code = cli_saga_filter_of(ctx, o, &filter);

	if (code == CLI_OK && o->after &&
	    !cli_saga_place_parse(o->after, &place))
		code = cli_usage(ctx, "--after: '%s' is no place: take what a "
				      "list has said at its end",
				 o->after);
	if (code == CLI_OK)
		code = cli_open_store(ctx, &store);
	if (code != CLI_OK)
		return code;
	run.table = cli_saga_table(false, ctx->json);
	if (!run.table)
		code = cli_fail(ctx, CLI_FAILED, "out of memory");
	else if (ls_scan(store, &filter, &place, &run, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	wb_store_close(store);
	if (code == CLI_OK)
		return ls_print(ctx, &run);
	cli_table_free(run.table);
	return code;
}

const cli_command cli_command_saga_ls = {
	.name = "saga ls",
	.args = "",
	.summary = "List sagas: what they are at, what they wait for, from "
		   "whom, since when",
	.help = "Those that have not ended, unless told otherwise: parked "
		"ones first, then those that are\nbeing undone, then those "
		"that run, the longest in it first. Of a choreographed saga "
		"a\nservice sees its own part.\n\n"
		"  waybill saga ls --store shop --stuck\n"
		"  waybill saga ls --store shop --kind booking --step pay --age "
		"10m\n"
		"  waybill saga ls --store shop --state all --json\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = ls_flags,
	.flag_count = WBI_COUNT(ls_flags),
	.options_size = sizeof(cli_saga_options),
	.needs_store = true,
	.run = saga_ls,
};
