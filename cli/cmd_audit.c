/* SPDX-License-Identifier: BSD-2-Clause */
/* waybill outbox audit and inbox audit: what operators did. Only reads. */
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

/* Of the outbox the columns "handler" and "number" stay away. */
static cli_table *audit_table(bool inbox, bool json)
{
	static const cli_column columns[] = {
		{.name = "number", .number = true},
		{.name = "time"},
		{.name = "who"},
		{.name = "what"},
		{.name = "position", .number = true},
		{.name = "key", .trunc = true},
		{.name = "id", .trunc = true},
		{.name = "why", .trunc = true},
		{.name = "handler", .trunc = true},
		{.name = "letter", .number = true}};

	return cli_table_new("audit", columns,
			     WBI_COUNT(columns) - (inbox ? 0 : 2), json);
}

static wb_code audit_see(void *ctx, uint64_t number, const wbi_audit *audit,
			 wb_error *err)
{
	char count[32], time[WBI_TIME_TEXT_MAX], position[32], letter[32];
	char who[512], what[64], key[512], id[512], why[1024], handler[300];
	const char *cells[] = {count,
			       time,
			       who,
			       what,
			       audit->position > 0 ? position : NULL,
			       audit->key.len > 0 ? key : NULL,
			       audit->id.len > 0 ? id : NULL,
			       audit->why.len > 0 ? why : NULL,
			       audit->handler.len > 0 ? handler : NULL,
			       audit->number > 0 ? letter : NULL};

	snprintf(count, sizeof(count), "%" PRIu64, number);
	snprintf(position, sizeof(position), "%" PRIu64, audit->position);
	snprintf(letter, sizeof(letter), "%" PRIu64, audit->number);
	wbi_time_format(audit->time_us, time);
	wbi_text_show(audit->who, who, sizeof(who));
	wbi_text_show(audit->what, what, sizeof(what));
	wbi_text_show(audit->key, key, sizeof(key));
	wbi_text_show(audit->id, id, sizeof(id));
	wbi_text_show(audit->why, why, sizeof(why));
	wbi_text_show(audit->handler, handler, sizeof(handler));
	if (!cli_table_row(ctx, cells))
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	return WB_OK;
}

static wb_code audit_scan(wb_store *store, bool inbox, uint64_t limit,
			  cli_table *table, uint64_t *ret_last, wb_error *err)
{
	if (inbox)
		return cli_audit_scan(wb_store_env(store),
				      wbi_store_get_tables(store)->audit, 0,
				      limit, audit_see, table, ret_last, err);
	return cli_audit_scan(wbi_store_relay_env(store),
			      wbi_store_relay_tables(store)->audit, 0, limit,
			      audit_see, table, ret_last, err);
}

static int audit_run(cli_context *ctx, bool inbox)
{
	const audit_options *o = ctx->options;
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	uint64_t last = 0;
	cli_table *table;
	int code = cli_open_store(ctx, &store);

	if (code != CLI_OK)
		return code;
	table = audit_table(inbox, ctx->json);
	if (!table)
		code = cli_fail(ctx, CLI_FAILED, "out of memory");
	else if (audit_scan(store, inbox, o->limit, table, &last, &err) !=
		 WB_OK)
		code = cli_fail_error(ctx, &err);
	wb_store_close(store);
	code = cli_table_end(ctx, table, code, NULL);
	if (code == CLI_OK && last > o->limit)
		fprintf(stderr, "(%" PRIu64 " older ones: --limit)\n",
			last - o->limit);
	return code;
}

static int outbox_audit_run(cli_context *ctx)
{
	return audit_run(ctx, false);
}

static int inbox_audit_run(cli_context *ctx)
{
	return audit_run(ctx, true);
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
	.run = outbox_audit_run,
};

const cli_command cli_command_inbox_audit = {
	.name = "inbox audit",
	.args = "",
	.summary = "List what operators did to dead letters, timers, handlers, streams",
	.help = "The newest comes last: who did what, to which dead letter or "
		"timer of which handler,\nand why. Nothing is ever taken out "
		"of the audit.\n\n"
		"  waybill inbox audit --store shop --limit 10\n"
		"  waybill inbox audit --store shop --json | jq '.audit[] | "
		"select(.what==\"dead discard\")'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = audit_flags,
	.flag_count = WBI_COUNT(audit_flags),
	.options_size = sizeof(audit_options),
	.needs_store = true,
	.run = inbox_audit_run,
};
