/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill saga retry, skip, compensate, abandon and resume: an operator's word.
 * What is meant is collected first, so --dry-run shows exactly that; then
 * orders are given (saga/operator.h) in transactions of about a millisecond,
 * with a pause between them for everybody else. A crash leaves some given and
 * some not; one that is given already is refused the second time.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/actor.h"
#include "cli/pace.h"
#include "cli/saga.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "saga/operator.h"

enum {
	BATCH = 64,     /* sagas in a transaction at most */
	SAID_MAX = 20   /* refusals that are told one by one */
};

static const cli_flag do_flags[] = {
	CLI_SAGA_FILTERS,
	{{.name = "all", .kind = WBI_CONFIG_BOOL, CLI_SAGA_AT(all),
	  .help = "All sagas that have not ended."}, 0},
	{{.name = "why", .kind = WBI_CONFIG_TEXT, CLI_SAGA_AT(why),
	  .arg = "TEXT", .help = "Why you do it; kept in the audit. "
				 "Required."}, 'r'},
	CLI_FLAG_WHO(cli_saga_options),
	CLI_PACE_FLAGS(cli_saga_options),
};

typedef struct do_run {
	cli_context *ctx;
	const cli_saga_options *o;
	wb_store *store;
	wbi_order_how how;
	cli_saga_filter filter;
	char **keys; /* a length, then so many bytes */
	size_t count, capacity;
	uint64_t done, refused;
	cli_table *table; /* --dry-run */
	wb_error err;
	bool full;
} do_run;

/* ---- collecting --------------------------------------------------------- */

static wb_str target_key(const do_run *run, size_t i)
{
	uint16_t len;

	memcpy(&len, run->keys[i], sizeof(len));
	return wb_str_n(run->keys[i] + sizeof(len), len);
}

static bool target_add(do_run *run, const wbi_row_key *key)
{
	char *copy;

	if (run->count == run->capacity) {
		size_t capacity = run->capacity ? run->capacity * 2 : 64;
		char **grown = realloc(run->keys, capacity * sizeof(*grown));

		if (!grown)
			return false;
		run->keys = grown;
		run->capacity = capacity;
	}
	copy = malloc(sizeof(key->len) + key->len);
	if (!copy)
		return false;
	memcpy(copy, &key->len, sizeof(key->len));
	memcpy(copy + sizeof(key->len), key->bytes, key->len);
	run->keys[run->count++] = copy;
	return true;
}

static bool collect(void *ctx, const cli_saga_seen *seen)
{
	do_run *run = ctx;
	wbi_row_key key = wbi_saga_key(&seen->id);

	run->full = run->count == run->o->limit;
	if (run->full)
		return false;
	if (target_add(run, &key))
		return true;
	WBI_FAIL(&run->err, WB_ENOMEM, "out of memory");
	return false;
}

static int collect_filtered(do_run *run)
{
	cli_saga_place place = {.begun = false};
	wb_code rc = WB_OK;

	while (rc == WB_OK && !run->full && run->err.code == WB_OK)
		rc = cli_saga_visit(run->store, &run->filter, &place, collect,
				    run, &run->err);
	return run->err.code == WB_OK ? CLI_OK
				      : cli_fail_error(run->ctx, &run->err);
}

/* An id that two sagas have is not enough to say which one is meant. */
static int collect_named(do_run *run, const char *id)
{
	cli_saga_found found;
	char shown[400];

	wbi_text_show(wb_str_from(id), shown, sizeof(shown));
	if (cli_saga_find(run->store, wb_str_from(id), &run->filter, &found,
			  &run->err) != WB_OK)
		return cli_fail_error(run->ctx, &run->err);
	if (found.count == 0)
		return cli_fail(run->ctx, CLI_NOT_ALL,
				"no saga %s: see waybill saga ls --state all",
				shown);
	if (found.count > 1)
		return cli_fail(run->ctx, CLI_USAGE,
				"%zu sagas have the id %s: say which one with "
				"--kind or --by",
				found.count, shown);
	if (!target_add(run, &found.keys[0]))
		return cli_fail(run->ctx, CLI_FAILED, "out of memory");
	return CLI_OK;
}

static int collect_all(do_run *run)
{
	int code = CLI_OK;

	if (run->ctx->arg_count == 0)
		return collect_filtered(run);
	if (run->o->state == 0)
		run->filter.statuses = UINT32_MAX; /* it is named */
	for (int i = 0; i < run->ctx->arg_count && code == CLI_OK; i++)
		code = collect_named(run, run->ctx->args[i]);
	return code;
}

/* ---- doing -------------------------------------------------------------- */

static wb_code read_row(do_run *run, const wbi_order_item *item,
			const char *outcome, MDB_txn *txn)
{
	const wbi_store_tables *tables = wbi_store_get_tables(run->store);
	cli_saga_seen seen = {.row = NULL};
	wbi_saga_row row;
	wb_code rc = wbi_saga_key_parse(item->key, &seen.id, &run->err);

	if (rc == WB_OK)
		rc = wbi_saga_get(txn, tables, &seen.id, &row, &run->err);
	if (rc == WB_ENOTFOUND)
		return WB_OK; /* it has been forgotten meanwhile */
	seen.row = &row;
	if (rc == WB_OK)
		rc = cli_saga_deadline(txn, tables, &seen.id, &row,
				       run->filter.now_us, &seen.deadline_us,
				       &seen.late, &run->err);
	if (rc == WB_OK && !cli_saga_table_row(run->table, &seen, outcome))
		rc = WBI_FAIL(&run->err, WB_ENOMEM, "out of memory");
	return rc;
}

static wb_code show_items(do_run *run, const wbi_order_item *items,
			  size_t count)
{
	const char *verb = wbi_verb_name((uint8_t)run->how.verb);
	MDB_txn *txn;
	wb_code rc = wbi_txn_begin(wb_store_env(run->store), false, &txn,
				   &run->err);

	if (rc != WB_OK)
		return rc;
	for (size_t i = 0; i < count && rc == WB_OK; i++) {
		char outcome[WBI_ORDER_TEXT_MAX + 32], text[1200];

		wbi_text_show(wb_str_from(items[i].text), text, sizeof(text));
		snprintf(outcome, sizeof(outcome), "%s%s%.390s",
			 items[i].done ? "would be told to " : "refused: ",
			 items[i].done ? verb : "", text);
		rc = read_row(run, &items[i], outcome, txn);
	}
	wbi_txn_abort(txn);
	return rc;
}

static void tell(do_run *run, const wbi_order_item *items, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char id[400], text[1200];
		wbi_saga_id saga;

		if (items[i].done) {
			run->done++;
			continue;
		}
		if (run->refused++ >= SAID_MAX || run->table)
			continue;
		if (wbi_saga_key_parse(items[i].key, &saga, NULL) != WB_OK)
			continue;
		wbi_text_show(saga.id, id, sizeof(id));
		wbi_text_show(wb_str_from(items[i].text), text, sizeof(text));
		cli_fail(run->ctx, CLI_FAILED, "saga %s: %s", id, text);
	}
}

static int do_all(do_run *run)
{
	wbi_order_item *items = calloc(BATCH, sizeof(*items));
	int64_t start_us = cli_mono_us();
	size_t at = 0, looked = 0;
	cli_progress progress = {0};
	wb_code rc = WB_OK;

	if (!items)
		return cli_fail(run->ctx, CLI_FAILED, "out of memory");
	cli_progress_start(&progress, "ordered", run->o->progress);
	while (rc == WB_OK && at < run->count) {
		size_t count = cli_pace_batch(run->o->rate, BATCH,
					      run->count - at);

		for (size_t i = 0; i < count; i++)
			items[i].key = target_key(run, at + i);
		rc = wbi_order_give(run->store, &run->how, items, count,
				    &looked, &run->err);
		if (rc == WB_OK && run->table)
			rc = show_items(run, items, looked);
		if (rc != WB_OK)
			break;
		at += looked;
		tell(run, items, looked);
		cli_progress_show(&progress, at, run->count);
		if (at < run->count && !run->table)
			cli_pace_wait(run->o->rate, at, start_us);
	}
	cli_progress_end(&progress, run->done);
	free(items);
	return rc == WB_OK ? CLI_OK : cli_fail_error(run->ctx, &run->err);
}

/* ---- saying ------------------------------------------------------------- */

static int say(do_run *run)
{
	const char *verb = wbi_verb_name((uint8_t)run->how.verb);
	bool ok;

	if (run->ctx->json)
		ok = cli_json_print(json_pack(
			"{s:s, s:I, s:I, s:I}", "verb", verb, "meant",
			(json_int_t)run->count, "ordered",
			(json_int_t)run->done, "refused",
			(json_int_t)run->refused));
	else
		ok = printf("%s: ordered for %" PRIu64 " of %zu sagas\n", verb,
			    run->done, run->count) > 0;
	if (!ok)
		return cli_fail(run->ctx, CLI_FAILED,
				"cannot write the answer");
	if (run->refused > SAID_MAX)
		cli_fail(run->ctx, CLI_FAILED, "%" PRIu64 " more refused",
			 run->refused - SAID_MAX);
	if (run->refused == 0)
		return CLI_OK;
	return run->done > 0 ? CLI_NOT_ALL : CLI_FAILED;
}

static int do_meant(do_run *run)
{
	cli_table *table;
	int code = collect_all(run);

	if (code != CLI_OK)
		return code;
	if (run->count == 0)
		return cli_fail(run->ctx, CLI_NOT_ALL,
				"no saga is meant by this: see waybill saga "
				"ls");
	if (run->o->dry_run) {
		run->table = cli_saga_table(true, run->ctx->json);
		if (!run->table)
			return cli_fail(run->ctx, CLI_FAILED, "out of memory");
	}
	code = do_all(run);
	if (code != CLI_OK || !run->table)
		return code == CLI_OK ? say(run) : code;
	table = run->table;
	run->table = NULL;
	return cli_answered(run->ctx, cli_table_print(table));
}

static int check_meaning(do_run *run)
{
	const cli_saga_options *o = run->o;
	size_t why = o->why ? strlen(o->why) : 0;

	if (run->ctx->arg_count == 0 && !cli_saga_is_filtered(o) && !o->all)
		return cli_usage(run->ctx, "which ones? give ids, --state, "
					   "--kind, --step, --age, --stuck or "
					   "--all");
	if (why == 0 && !o->dry_run)
		return cli_usage(run->ctx, "this is for ever in the audit: say "
					   "why with --why TEXT");
	if (why > WBI_ORDER_WHY_MAX)
		return cli_usage(run->ctx, "--why: at most %d bytes",
				 WBI_ORDER_WHY_MAX);
	if (o->who && strlen(o->who) > WBI_ORDER_WHO_MAX)
		return cli_usage(run->ctx, "--who: at most %d bytes",
				 WBI_ORDER_WHO_MAX);
	return CLI_OK;
}

static int saga_do(cli_context *ctx, wbi_verb verb)
{
	do_run run = {.ctx = ctx, .o = ctx->options, .err = WB_ERROR_INIT};
	const char *why = run.o->why ? run.o->why : "a dry run";
	char name[CLI_ACTOR_NAME];
	int code = check_meaning(&run);

	run.how = (wbi_order_how){.verb = verb, .dry_run = run.o->dry_run};
	run.how.actor = cli_actor(run.o->who, why, name);
	if (code == CLI_OK)
		code = cli_saga_filter_of(ctx, run.o, &run.filter);
	if (code == CLI_OK)
		code = cli_open_store(ctx, &run.store);
	if (code == CLI_OK)
		code = do_meant(&run);
	cli_table_free(run.table);
	for (size_t i = 0; i < run.count; i++)
		free(run.keys[i]);
	free(run.keys);
	wb_store_close(run.store);
	return code;
}

static int saga_retry(cli_context *ctx)
{
	return saga_do(ctx, WBI_VERB_RETRY);
}

static int saga_skip(cli_context *ctx)
{
	return saga_do(ctx, WBI_VERB_SKIP);
}

static int saga_compensate(cli_context *ctx)
{
	return saga_do(ctx, WBI_VERB_COMPENSATE);
}

static int saga_abandon(cli_context *ctx)
{
	return saga_do(ctx, WBI_VERB_ABANDON);
}

static int saga_resume(cli_context *ctx)
{
	return saga_do(ctx, WBI_VERB_RESUME);
}

#define ORDER_HELP                                                            \
	"The order and who gave it, and why, are one commit; the worker that " \
	"has the saga carries it\nout once, at once if it runs, and puts what " \
	"came of it into the audit. Until then it is\npending: saga show says " \
	"so. What is not possible now is refused, with what is.\n\n"

#define ORDER_COMMAND                                                         \
	.args = "[ID]...", .groups = WBI_GROUP_STORE | WBI_GROUP_LOG,         \
	.flags = do_flags, .flag_count = WBI_COUNT(do_flags),                 \
	.options_size = sizeof(cli_saga_options), .args_max = -1,             \
	.needs_store = true

const cli_command cli_command_saga_retry = {
	ORDER_COMMAND,
	.name = "saga retry",
	.summary = "Try the step that a saga is at again, its attempts "
		   "forgotten",
	.help = "For one that is parked because a step, or an undo, kept "
		"failing: once that is mended.\n" ORDER_HELP
		"  waybill saga retry --store shop booking-42 --why 'bank is "
		"back'\n"
		"  waybill saga retry --store shop --state parked --step pay "
		"--rate 50 --why 'bank is back'\n",
	.run = saga_retry,
};

const cli_command cli_command_saga_skip = {
	ORDER_COMMAND,
	.name = "saga skip",
	.summary = "Take the step that a saga is parked at for done, or for "
		   "undone",
	.help = "For what was done, or undone, by hand: the saga goes on "
		"behind it.\n" ORDER_HELP
		"  waybill saga skip --store shop booking-42 --why 'refunded "
		"by hand, ticket 7'\n",
	.run = saga_skip,
};

const cli_command cli_command_saga_compensate = {
	ORDER_COMMAND,
	.name = "saga compensate",
	.summary = "Undo a saga that runs, as far as it has come",
	.help = "Not past its pivot: from there it only goes "
		"forward.\n" ORDER_HELP
		"  waybill saga compensate --store shop booking-42 --why "
		"'customer cancelled'\n",
	.run = saga_compensate,
};

const cli_command cli_command_saga_abandon = {
	ORDER_COMMAND,
	.name = "saga abandon",
	.summary = "End a saga as it stands: nothing more is done or undone",
	.help = "The last resort. What took effect stays, here and at the "
		"participants: put it right by\nhand. Of a choreographed "
		"saga this service stops waiting; it is the only order that "
		"one\ntakes.\n" ORDER_HELP
		"  waybill saga abandon --store shop booking-42 --why 'settled "
		"by phone, ticket 8'\n",
	.run = saga_abandon,
};

const cli_command cli_command_saga_resume = {
	ORDER_COMMAND,
	.name = "saga resume",
	.summary = "Let a saga go on whose definition is there again",
	.help = "For one that is parked because no module brought the "
		"definition that it began with.\n" ORDER_HELP
		"  waybill saga resume --store shop --state parked --kind "
		"booking --why 'old module is back'\n",
	.run = saga_resume,
};
