/* SPDX-License-Identifier: BSD-2-Clause */
/* waybill outbox audit: what operators did to this outbox. Only reads. */
#include <inttypes.h>

#include "cli/table.h"
#include "cli/view.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

typedef struct audit_options {
	uint64_t limit;
} audit_options;

static const cli_flag audit_flags[] = {
	{{.name = "limit",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(audit_options, limit),
	  .min = 1,
	  .max = 1000000,
	  .init = "50",
	  .arg = "N",
	  .help = "The last N at most."},
	 'n'},
};

static wb_code audit_see(void *ctx, uint64_t number, const wbi_audit *audit,
			 wb_error *err)
{
	char count[32], time[WBI_TIME_TEXT_MAX], position[32];
	char who[512], what[64], key[512], id[512], why[1024];
	const char *cells[] = {count,
			       time,
			       who,
			       what,
			       audit->position > 0 ? position : NULL,
			       audit->key.len > 0 ? key : NULL,
			       audit->id.len > 0 ? id : NULL,
			       audit->why.len > 0 ? why : NULL};

	snprintf(count, sizeof(count), "%" PRIu64, number);
	snprintf(position, sizeof(position), "%" PRIu64, audit->position);
	wbi_time_format(audit->time_us, time);
	wbi_text_show(audit->who, who, sizeof(who));
	wbi_text_show(audit->what, what, sizeof(what));
	wbi_text_show(audit->key, key, sizeof(key));
	wbi_text_show(audit->id, id, sizeof(id));
	wbi_text_show(audit->why, why, sizeof(why));
	if (!cli_table_row(ctx, cells))
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	return WB_OK;
}

static int audit_run(cli_context *ctx)
{
	static const cli_column columns[] = {
		{.name = "number", .number = true},
		{.name = "time"},
		{.name = "who"},
		{.name = "what"},
		{.name = "position", .number = true},
		{.name = "key", .trunc = true},
		{.name = "id", .trunc = true},
		{.name = "why", .trunc = true}};
	const audit_options *o = ctx->options;
	wb_error err = WB_ERROR_INIT;
	uint64_t last = 0;
	cli_table *table;
	cli_view view;
	int code;

	code = cli_view_open(ctx, &view);
	table = cli_table_new("audit", columns, WBI_COUNT(columns), ctx->json);
	if (code == CLI_OK && !table)
		code = cli_fail(ctx, CLI_FAILED, "out of memory");
	if (code == CLI_OK && cli_view_scan_audit(&view, 0, o->limit, audit_see,
						  table, &last, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	cli_view_fini(&view);
	if (code != CLI_OK) {
		cli_table_free(table);
		return code;
	}
	if (!cli_table_print(table))
		return cli_fail(ctx, CLI_FAILED, "cannot write the answer");
	if (last > o->limit)
		fprintf(stderr, "(%" PRIu64 " older ones: --limit)\n",
			last - o->limit);
	return CLI_OK;
}

const cli_command cli_command_outbox_audit = {
	.name = "outbox audit",
	.args = "",
	.summary = "List what operators did: retries, discards, restores",
	.help = "The newest comes last: who did what, to which event or key, "
		"and why. A retry of a key\nnames the key, since all of its "
		"parked events were meant. Nothing is ever taken out\nof the "
		"audit.\n\n"
		"  waybill outbox audit --store shop --limit 10\n"
		"  waybill outbox audit --store shop --json | jq '.audit[] | "
		"select(.what==\"discard\")'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = audit_flags,
	.flag_count = WBI_COUNT(audit_flags),
	.options_size = sizeof(audit_options),
	.needs_store = true,
	.run = audit_run,
};
