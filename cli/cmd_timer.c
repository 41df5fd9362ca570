/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill timer ls, move and cancel: what handlers have set for later. A list
 * is of about one moment, read some hundreds at a time; each act is a commit of
 * its own with its row in the audit.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/actor.h"
#include "cli/inbox.h"
#include "cli/table.h"
#include "cli/when.h"
#include "inbox/timer.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

enum { SLICE = 256 };

typedef struct timer_options {
	char *handler, *name, *to, *why, *who;
	uint64_t limit;
} timer_options;

#define AT(member) .offset = offsetof(timer_options, member)

static const cli_flag ls_flags[] = {
	{{.name = "handler", .kind = WBI_CONFIG_TEXT, AT(handler),
	  .arg = "NAME", .help = "Only the timers of this handler."}, 0},
	{{.name = "name", .kind = WBI_CONFIG_TEXT, AT(name), .arg = "NAME",
	  .help = "Only timers of this name."}, 0},
	{{.name = "limit", .kind = WBI_CONFIG_NUMBER, AT(limit), .min = 1,
	  .max = 1000000, .init = "50", .arg = "N",
	  .help = "At most so many."}, 'n'},
};

static const cli_flag act_flags[] = {
	{{.name = "handler", .kind = WBI_CONFIG_TEXT, AT(handler),
	  .arg = "NAME", .help = "The handler that set it."}, 0},
	{{.name = "name", .kind = WBI_CONFIG_TEXT, AT(name), .arg = "NAME",
	  .help = "Its name."}, 0},
	CLI_FLAG_WHY(timer_options, "why"),
	CLI_FLAG_WHO(timer_options),
	/* The last: of move only. */
	{{.name = "to", .kind = WBI_CONFIG_TEXT, AT(to), .arg = "TIME",
	  .help = "When it is to come due: " CLI_WHEN_HELP "."}, 0},
};

/* ---- ls ----------------------------------------------------------------- */

typedef struct ls_run {
	const timer_options *o;
	cli_table *table;
	uint64_t count;
	bool more, failed;
} ls_run;

static bool ls_see(void *ctx, const wbi_timer_seen *seen)
{
	ls_run *run = ctx;
	char handler[300], name[1100], due[WBI_TIME_TEXT_MAX];
	char next[WBI_TIME_TEXT_MAX], attempts[32], bytes[32], text[1100];
	const char *cells[] = {due,
			       handler,
			       name,
			       seen->firing   ? "firing"
			       : seen->queued ? "behind a firing one"
			       : seen->attempts > 0 ? "failed"
						    : "set",
			       seen->attempts > 0 ? attempts : NULL,
			       seen->attempts > 0 && !seen->firing ? next
								   : NULL,
			       bytes,
			       seen->text.len > 0 ? text : NULL};

	if (run->o->name &&
	    !wb_str_eq(seen->timer.name, wb_str_from(run->o->name)))
		return true;
	run->more = run->count == run->o->limit;
	if (run->more)
		return false;
	wbi_text_show(seen->handler, handler, sizeof(handler));
	wbi_text_show(seen->timer.name, name, sizeof(name));
	wbi_text_show(seen->text, text, sizeof(text));
	wbi_time_format(seen->timer.due_us, due);
	wbi_time_format(seen->next_us, next);
	snprintf(attempts, sizeof(attempts), "%" PRIu32, seen->attempts);
	snprintf(bytes, sizeof(bytes), "%zu", seen->timer.data.len);
	run->count++;
	run->failed = !cli_table_row(run->table, cells);
	return !run->failed;
}

static wb_code ls_handler(void *ctx, wb_store *store, const cli_consumer *c,
			  wb_error *err)
{
	ls_run *run = ctx;
	wb_str handler = wb_str_from(c->name);
	wbi_row_key after = {.len = 0};
	wb_code rc = WB_OK;

	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): an array */
	if (run->o->handler && strcmp(run->o->handler, c->name) != 0)
		return WB_OK;
	while (rc == WB_OK && !run->more && !run->failed)
		rc = wbi_timer_visit(store, handler, &after, SLICE, ls_see, run,
				     err);
	if (run->failed)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static int timer_ls(cli_context *ctx)
{
	static const cli_column columns[] = {
		{.name = "due"},
		{.name = "handler", .trunc = true},
		{.name = "name", .trunc = true},
		{.name = "state"},
		{.name = "attempts", .number = true},
		{.name = "next_try"},
		{.name = "bytes", .number = true},
		{.name = "text", .trunc = true}};
	ls_run run = {.o = ctx->options};
	wb_error err = WB_ERROR_INIT;
	cli_consumers list = {0};
	wb_store *store = NULL;
	int code = cli_open_store(ctx, &store);

	if (code != CLI_OK)
		return code;
	run.table = cli_table_new("timers", columns, WBI_COUNT(columns),
				  ctx->json);
	if (!run.table)
		code = cli_fail(ctx, CLI_FAILED, "out of memory");
	else if (cli_consumers_read(store, &list, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	for (size_t i = 0; code == CLI_OK && i < list.count; i++)
		if (ls_handler(&run, store, &list.items[i], &err) != WB_OK)
			code = cli_fail_error(ctx, &err);
	cli_consumers_fini(&list);
	wb_store_close(store);
	return cli_table_end(ctx, run.table, code, run.more ? "--limit" : NULL);
}

/* ---- move and cancel ---------------------------------------------------- */

static int timer_act(cli_context *ctx, bool move)
{
	const timer_options *o = ctx->options;
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	int64_t due_us = 0;
	wbi_actor actor;
	char who[CLI_ACTOR_NAME];
	wb_code rc;
	int code;

	if (!o->handler || !o->name)
		return cli_usage(ctx, "which timer? give --handler and --name");
	if (move && !o->to)
		return cli_usage(ctx, "to when? give --to TIME");
	code = move ? cli_when_flag(ctx, "to", o->to, &due_us) : CLI_OK;
	if (code != CLI_OK)
		return code;
	actor = cli_actor(o->who, o->why, who);
	code = cli_open_store(ctx, &store);
	if (code != CLI_OK)
		return code;
	rc = move ? wbi_timer_operator_move(store, wb_str_from(o->handler),
					    wb_str_from(o->name), due_us,
					    &actor, &err)
		  : wbi_timer_operator_cancel(store, wb_str_from(o->handler),
					      wb_str_from(o->name), &actor,
					      &err);
	wb_store_close(store);
	if (rc == WB_ENOTFOUND)
		return cli_fail(ctx, CLI_NOT_ALL, "%s", err.text);
	return rc == WB_OK ? CLI_OK : cli_fail_error(ctx, &err);
}

static int timer_move(cli_context *ctx)
{
	return timer_act(ctx, true);
}

static int timer_cancel(cli_context *ctx)
{
	return timer_act(ctx, false);
}

const cli_command cli_command_timer_ls = {
	.name = "timer ls",
	.args = "",
	.summary = "List the timers that handlers have set",
	.help = "By handler and name. Due is what a timer was set for; one "
		"whose call has failed is tried\nagain at another time.\n\n"
		"  waybill timer ls --store shop --handler billing\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = ls_flags,
	.flag_count = WBI_COUNT(ls_flags),
	.options_size = sizeof(timer_options),
	.needs_store = true,
	.run = timer_ls,
};

const cli_command cli_command_timer_move = {
	.name = "timer move",
	.args = "",
	.summary = "Let a timer come due at another time",
	.help = "As if its handler had set it for then: attempts are "
		"forgotten. A timer that is firing now\ncannot be moved. The "
		"exit status is 3 if there is no such timer.\n\n"
		"  waybill timer move --store shop --handler billing --name "
		"remind-42 --to +2h --why 'holiday'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = act_flags,
	.flag_count = WBI_COUNT(act_flags),
	.options_size = sizeof(timer_options),
	.needs_store = true,
	.run = timer_move,
};

const cli_command cli_command_timer_cancel = {
	.name = "timer cancel",
	.args = "",
	.summary = "Remove a timer: it will not fire",
	.help = "The audit keeps who did it and why. The exit status is 3 if "
		"there is no such timer,\nor if it is firing now.\n\n"
		"  waybill timer cancel --store shop --handler billing --name "
		"remind-42 --why 'order withdrawn'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = act_flags,
	.flag_count = WBI_COUNT(act_flags) - 1,
	.options_size = sizeof(timer_options),
	.needs_store = true,
	.run = timer_cancel,
};
