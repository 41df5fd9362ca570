/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill dead retry and discard: the only ways out for a dead letter. What is
 * meant is collected first, so --dry-run shows exactly that and what dies again
 * meanwhile is not done twice; then it is done in transactions of about a
 * millisecond, with a pause between them for everybody else. A crash leaves
 * some done and some not; doing it again does the rest.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/actor.h"
#include "cli/dead.h"
#include "cli/pace.h"
#include "cli/when.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

enum {
	SLICE = 256,
	BATCH = 256,   /* letters in a transaction at most */
	SAID_MAX = 20  /* failures that are told one by one */
};

static const cli_flag redrive_flags[] = {
	CLI_DEAD_FILTERS,
	{{.name = "all", .kind = WBI_CONFIG_BOOL, CLI_DEAD_AT(all),
	  .help = "All dead letters."}, 0},
	CLI_FLAG_WHY(cli_dead_options, "why"),
	CLI_FLAG_WHO(cli_dead_options),
	CLI_PACE_FLAGS(cli_dead_options),
	/* The last: of retry only. */
	{{.name = "id-from-body", .kind = WBI_CONFIG_BOOL,
	  CLI_DEAD_AT(id_from_body),
	  .help = "Give a message without any id, which ingest refused, one "
		  "made of its body."}, 0},
};

typedef struct redrive_run {
	cli_context *ctx;
	const cli_dead_options *o;
	wb_store *store;
	bool discard;
	uint64_t named[64]; /* numbers that the command line gives */
	uint64_t *targets;
	size_t count, capacity;
	uint64_t done, failed;
	cli_table *table; /* --dry-run */
	wb_error err;
	bool full;
} redrive_run;

/* ---- collecting --------------------------------------------------------- */

static bool is_named(const redrive_run *run, uint64_t number)
{
	for (int i = 0; i < run->ctx->arg_count; i++)
		if (run->named[i] == number)
			return true;
	return run->ctx->arg_count == 0;
}

static bool collect(void *ctx, uint64_t number, const wbi_dead *row)
{
	redrive_run *run = ctx;

	if (!is_named(run, number))
		return true;
	run->full = run->count == run->o->limit;
	if (run->full)
		return false;
	if (run->count == run->capacity) {
		size_t capacity = run->capacity ? run->capacity * 2 : 64;
		uint64_t *grown = realloc(run->targets,
					  capacity * sizeof(*run->targets));

		if (!grown) {
			WBI_FAIL(&run->err, WB_ENOMEM, "out of memory");
			return false;
		}
		run->targets = grown;
		run->capacity = capacity;
	}
	run->targets[run->count++] = number;
	if (run->table &&
	    !cli_dead_row(run->table, number, row,
			  run->discard ? "would be discarded"
				       : "would be retried")) {
		WBI_FAIL(&run->err, WB_ENOMEM, "out of memory");
		return false;
	}
	return true;
}

static int collect_all(redrive_run *run, const wbi_dead_filter *filter)
{
	uint64_t number = 0, last = UINT64_MAX;
	wb_code rc = WB_OK;

	if (run->ctx->arg_count > 0) { /* nothing else has to be looked at */
		number = UINT64_MAX;
		last = 0;
		for (int i = 0; i < run->ctx->arg_count; i++) {
			if (run->named[i] <= number)
				number = run->named[i] - 1;
			if (run->named[i] > last)
				last = run->named[i];
		}
	}
	while (rc == WB_OK && !run->full && run->err.code == WB_OK &&
	       number < last)
		rc = wbi_dead_visit(run->store, filter, &number, SLICE, collect,
				    run, &run->err);
	return run->err.code == WB_OK ? CLI_OK
				      : cli_fail_error(run->ctx, &run->err);
}

/* ---- doing -------------------------------------------------------------- */

static void tell(redrive_run *run, const wbi_dead_item *items, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (items[i].done) {
			run->done++;
			continue;
		}
		if (run->failed++ < SAID_MAX)
			cli_fail(run->ctx, CLI_FAILED,
				 "dead letter %" PRIu64 ": %s", items[i].number,
				 items[i].text);
	}
}

static int do_all(redrive_run *run, const wbi_dead_how *how)
{
	wbi_dead_item *items = calloc(BATCH, sizeof(*items));
	int64_t start_us = cli_mono_us();
	size_t at = 0, looked = 0;
	cli_progress progress = {0};
	wb_code rc = WB_OK;

	if (!items)
		return cli_fail(run->ctx, CLI_FAILED, "out of memory");
	cli_progress_start(&progress, run->discard ? "discarded" : "retried",
			   run->o->progress);
	while (rc == WB_OK && at < run->count) {
		size_t count = cli_pace_batch(run->o->rate, BATCH,
					      run->count - at);

		for (size_t i = 0; i < count; i++)
			items[i].number = run->targets[at + i];
		rc = wbi_dead_act(run->store, how, items, count, &looked,
				  &run->err);
		if (rc != WB_OK)
			break;
		at += looked;
		tell(run, items, looked);
		cli_progress_show(&progress, at, run->count);
		if (at < run->count)
			cli_pace_wait(run->o->rate, at, start_us);
	}
	cli_progress_end(&progress, run->done);
	free(items);
	return rc == WB_OK ? CLI_OK : cli_fail_error(run->ctx, &run->err);
}

static int act(redrive_run *run)
{
	const cli_dead_options *o = run->o;
	const wb_limits limits = cli_limits(&run->ctx->config);
	char name[CLI_ACTOR_NAME];
	const wbi_dead_how how = {
		.verb = run->discard ? WBI_DEAD_DISCARD : WBI_DEAD_RETRY,
		.actor = cli_actor(o->who, o->why, name),
		.id_from_body = o->id_from_body ||
				run->ctx->config.id_from_body,
		.limits = &limits};

	return do_all(run, &how);
}

/* ---- saying ------------------------------------------------------------- */

static int say(redrive_run *run)
{
	const char *verb = run->discard ? "discarded" : "retried";
	bool ok;

	if (run->ctx->json) {
		ok = cli_json_print(json_pack(
			"{s:I, s:I, s:I}", "meant", (json_int_t)run->count,
			verb, (json_int_t)run->done, "failed",
			(json_int_t)run->failed));
	} else {
		ok = printf("%s %" PRIu64 " of %zu dead letters\n", verb,
			    run->done, run->count) > 0;
	}
	if (!ok)
		return cli_fail(run->ctx, CLI_FAILED,
				"cannot write the answer");
	if (run->failed > SAID_MAX)
		cli_fail(run->ctx, CLI_FAILED, "%" PRIu64 " more failed",
			 run->failed - SAID_MAX);
	return run->failed > 0 ? CLI_FAILED : CLI_OK;
}

static int dry_run(redrive_run *run)
{
	cli_table *table = run->table;

	run->table = NULL;
	return cli_answered(run->ctx, cli_table_print(table));
}

static int check_meaning(redrive_run *run)
{
	const cli_context *ctx = run->ctx;
	const cli_dead_options *o = run->o;

	if (ctx->arg_count > (int)WBI_COUNT(run->named))
		return cli_usage(ctx, "over %zu numbers: use --handler, "
				      "--reason, --key or a time",
				 WBI_COUNT(run->named));
	for (int i = 0; i < ctx->arg_count; i++) {
		char *end;

		run->named[i] = strtoull(ctx->args[i], &end, 10);
		if (*end != '\0' || run->named[i] == 0 ||
		    ctx->args[i][0] == '-')
			return cli_usage(ctx, "'%s' is no number of a dead "
					      "letter; an event's id goes "
					      "behind --id",
					 ctx->args[i]);
	}
	if (ctx->arg_count == 0 && !cli_dead_is_filtered(o) && !o->all)
		return cli_usage(ctx, "which ones? give numbers, --handler, "
				      "--reason, --key, --id, a time, or "
				      "--all");
	if (run->discard && !o->dry_run && !o->why)
		return cli_usage(ctx, "discarding loses events: say why with "
				      "--why TEXT");
	return CLI_OK;
}

static int redrive(redrive_run *run, const wbi_dead_filter *filter)
{
	int code;

	if (run->o->dry_run) {
		run->table = cli_dead_table(true, run->ctx->json);
		if (!run->table)
			return cli_fail(run->ctx, CLI_FAILED, "out of memory");
	}
	code = collect_all(run, filter);
	if (code != CLI_OK)
		return code;
	if (run->o->dry_run)
		code = dry_run(run);
	else if (run->count > 0)
		code = act(run);
	if (code == CLI_OK && run->count == 0)
		return cli_fail(run->ctx, CLI_NOT_ALL,
				"no dead letter is meant by this: see waybill "
				"dead ls");
	return code == CLI_OK && !run->o->dry_run ? say(run) : code;
}

static int redrive_run_(cli_context *ctx, bool discard)
{
	redrive_run run = {.ctx = ctx,
			   .o = ctx->options,
			   .discard = discard,
			   .err = WB_ERROR_INIT};
	wbi_dead_filter filter;
	int code = check_meaning(&run);

	if (code == CLI_OK)
		code = cli_dead_filter(ctx, &filter);
	if (code == CLI_OK)
		code = cli_open_store(ctx, &run.store);
	if (code == CLI_OK)
		code = redrive(&run, &filter);
	cli_table_free(run.table);
	free(run.targets);
	wb_store_close(run.store);
	return code;
}

static int retry_run(cli_context *ctx)
{
	return redrive_run_(ctx, false);
}

static int discard_run(cli_context *ctx)
{
	return redrive_run_(ctx, true);
}

const cli_command cli_command_dead_retry = {
	.name = "dead retry",
	.args = "[NUMBER]...",
	.summary = "Hand dead letters to their handlers again, with no "
		   "attempts counted",
	.help = "A letter goes back to its place among the events of its key: "
		"before those that wait\nbehind it; before those that have "
		"gone on meanwhile, but never beside a call that is\nrunning. "
		"One that ingest refused is taken in as it would be now. A "
		"running worker begins\nat once, else the next one does.\n\n"
		"  waybill dead retry --store shop --handler billing --after "
		"2h --dry-run\n"
		"  waybill dead retry --store shop --handler billing --after "
		"2h --rate 100 --why 'bank is back'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LIMITS | WBI_GROUP_LOG,
	.flags = redrive_flags,
	.flag_count = WBI_COUNT(redrive_flags),
	.options_size = sizeof(cli_dead_options),
	.args_max = -1,
	.needs_store = true,
	.run = retry_run,
};

const cli_command cli_command_dead_discard = {
	.name = "dead discard",
	.args = "[NUMBER]...",
	.summary = "Delete dead letters for good, with a reason",
	.help = "Who, what and why is kept in the audit. What waits behind a "
		"discarded letter is handled\nfrom then on.\n\n"
		"  waybill dead discard --store shop 17 18 "
		"--why 'test data, agreed with billing'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = redrive_flags,
	.flag_count = WBI_COUNT(redrive_flags) - 1,
	.options_size = sizeof(cli_dead_options),
	.args_max = -1,
	.needs_store = true,
	.run = discard_run,
};
