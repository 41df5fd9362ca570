/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill outbox retry and discard: the only ways out for a parked event. What
 * is meant is collected first, so --dry-run shows exactly that; then each key
 * or event is done in a transaction of its own with its audit row. A crash
 * leaves some done and some not; doing it again does the rest.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cli/actor.h"
#include "cli/table.h"
#include "cli/view.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "outbox/parked.h"

enum {
	TARGETS_MAX = 1000000,
	BUSY_TRIES = 40, /* of 50 ms: the relay commits every commit_ms */
	BUSY_MS = 50
};

static const char *const reasons[] = {"any",	  "unroutable", "oversize",
				      "encoding", "refused",	"follower",
				      "corrupt",  NULL};

typedef struct release_options {
	char *key, *why, *who;
	int parked_for; /* index into reasons = enum wbi_park_reason */
	bool all, dry_run;
} release_options;

#define AT(member) .offset = offsetof(release_options, member)

static const cli_flag release_flags[] = {
	{{.name = "key", .kind = WBI_CONFIG_TEXT, AT(key), .arg = "KEY",
	  .help = "The events of this ordering key."}, 'k'},
	{{.name = "parked-for", .kind = WBI_CONFIG_CHOICE, AT(parked_for),
	  .choices = reasons, .init = "any",
	  .help = "Only what is parked for this reason."}, 0},
	{{.name = "all", .kind = WBI_CONFIG_BOOL, AT(all),
	  .help = "All parked events."}, 0},
	CLI_FLAG_WHY(release_options, "reason"),
	CLI_FLAG_WHO(release_options),
	{{.name = "dry-run", .kind = WBI_CONFIG_BOOL, AT(dry_run),
	  .help = "Show what would be done; do nothing."}, 0},
};

typedef struct release_target {
	char *key; /* may have any byte but is shown escaped */
	size_t key_len;
	uint64_t position;
	char id[256];
	uint8_t reason;
	bool failed;
} release_target;

typedef struct release_run {
	cli_context *ctx;
	const release_options *o;
	cli_view view;
	bool discard;
	release_target *targets;
	size_t count, capacity;
	uint64_t done, failed;
} release_run;

/* ---- collecting -------------------------------------------------------- */

static bool named(const release_run *run, const cli_seen *seen)
{
	char position[32];

	snprintf(position, sizeof(position), "%" PRIu64, seen->position);
	for (int i = 0; i < run->ctx->arg_count; i++)
		if (!strcmp(run->ctx->args[i], position) ||
		    wb_str_eq(seen->event.id, wb_str_from(run->ctx->args[i])))
			return true;
	return false;
}

static bool meant(const release_run *run, const cli_seen *seen)
{
	const release_options *o = run->o;

	if (seen->state != CLI_STATE_PARKED)
		return false; /* on its way out already */
	if (o->parked_for && seen->parked->reason != o->parked_for)
		return false;
	if (o->key && !wb_str_eq(seen->event.key, wb_str_from(o->key)))
		return false;
	return run->ctx->arg_count == 0 || named(run, seen);
}

static wb_code collect(void *ctx, const cli_seen *seen, wb_error *err)
{
	release_run *run = ctx;
	release_target *target;

	if (!meant(run, seen))
		return WB_OK;
	if (run->count == TARGETS_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"over %d events at once: narrow it by --key or "
				"--parked-for",
				TARGETS_MAX);
	if (run->count == run->capacity) {
		size_t capacity = run->capacity ? run->capacity * 2 : 64;
		void *grown = realloc(run->targets,
				      capacity * sizeof(*run->targets));

		if (!grown)
			return WBI_FAIL(err, WB_ENOMEM, "out of memory");
		run->targets = grown;
		run->capacity = capacity;
	}
	target = &run->targets[run->count];
	*target = (release_target){.position = seen->position,
				   .reason = seen->parked->reason,
				   .key_len = seen->row_key.len};
	target->key = wbi_text_dup(seen->row_key);
	if (!target->key)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	wbi_text_show(seen->event.id, target->id, sizeof(target->id));
	run->count++;
	return WB_OK;
}

/* ---- doing ------------------------------------------------------------- */

static wb_str key_of(const release_target *target)
{
	return wb_str_n(target->key, target->key_len);
}

/* A key is retried as a whole, once: its targets stand side by side. */
static bool is_repeat(const release_run *run, size_t i)
{
	return !run->discard && i > 0 && run->targets[i].key_len > 0 &&
	       wb_str_eq(key_of(&run->targets[i]),
			 key_of(&run->targets[i - 1]));
}

static wb_code do_one(const release_run *run, const release_target *target,
		      const wbi_actor *actor, wb_error *err)
{
	const struct timespec nap = {0, BUSY_MS * 1000000L};
	wb_store *store = run->view.store;
	wb_code rc = WB_EAGAIN;

	if (!run->discard)
		return wbi_parked_retry(store, key_of(target), target->position,
					actor, err);
	for (int i = 0; i < BUSY_TRIES && rc == WB_EAGAIN; i++) {
		if (i > 0)
			nanosleep(&nap, NULL);
		wb_error_clear(err);
		rc = wbi_parked_discard(store, key_of(target), target->position,
					actor, err);
	}
	return rc;
}

static void do_all(release_run *run, const wbi_actor *actor)
{
	for (size_t i = 0; i < run->count; i++) {
		release_target *target = &run->targets[i];
		wb_error err = WB_ERROR_INIT;
		wb_code rc;

		if (is_repeat(run, i)) {
			target->failed = run->targets[i - 1].failed;
			run->done += !target->failed;
			continue;
		}
		rc = do_one(run, target, actor, &err);
		target->failed = rc != WB_OK;
		if (rc == WB_OK) {
			run->done++;
			continue;
		}
		run->failed++;
		cli_fail(run->ctx, CLI_FAILED, "position %" PRIu64 ": %s",
			 target->position,
			 err.text[0] ? err.text : "not parked any more");
	}
}

/* ---- saying ------------------------------------------------------------ */

static bool print_targets(const release_run *run)
{
	static const cli_column columns[] = {
		{.name = "position", .number = true},
		{.name = "key", .trunc = true},
		{.name = "id", .trunc = true},
		{.name = "reason"},
		{.name = "outcome"}};
	const char *done = run->o->dry_run ? "would be " : "";
	const char *verb = run->discard ? "discarded" : "released";
	cli_table *table = cli_table_new("events", columns, WBI_COUNT(columns),
					 run->ctx->json);
	bool ok = table != NULL;

	for (size_t i = 0; ok && i < run->count; i++) {
		const release_target *target = &run->targets[i];
		char position[32], key[512], outcome[64];
		const char *cells[] = {position, key, target->id,
				       wbi_park_reason_name(target->reason),
				       outcome};

		snprintf(position, sizeof(position), "%" PRIu64,
			 target->position);
		wbi_text_show(key_of(target), key, sizeof(key));
		snprintf(outcome, sizeof(outcome), "%s%s",
			 target->failed ? "not " : done, verb);
		ok = cli_table_row(table, cells);
	}
	return ok && cli_table_print(table);
}

static int finish(release_run *run)
{
	if (run->count == 0) {
		print_targets(run);
		return cli_fail(run->ctx, CLI_NOT_ALL,
				"nothing that is parked is meant by this");
	}
	if (!print_targets(run))
		return cli_fail(run->ctx, CLI_FAILED,
				"cannot write the answer");
	return run->failed > 0 ? CLI_FAILED : CLI_OK;
}

static int check_meaning(const cli_context *ctx, bool discard)
{
	const release_options *o = ctx->options;
	bool some = ctx->arg_count > 0 || o->key || o->parked_for;

	if (!some && !o->all)
		return cli_usage(ctx, "which events? give ids, positions, "
				      "--key, --parked-for or --all");
	if (discard && !o->dry_run && !o->why)
		return cli_usage(ctx, "discarding loses events: say why with "
				      "--reason TEXT");
	return CLI_OK;
}

static int release(cli_context *ctx, bool discard)
{
	release_run run = {.ctx = ctx, .o = ctx->options, .discard = discard};
	wb_error err = WB_ERROR_INIT;
	wbi_actor actor;
	char name[CLI_ACTOR_NAME];
	int code;

	code = check_meaning(ctx, discard);
	if (code != CLI_OK)
		return code;
	actor = cli_actor(run.o->who, run.o->why, name);
	code = cli_view_open(ctx, &run.view);
	if (code == CLI_OK && cli_view_scan_parked(&run.view, collect, &run,
						   &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	if (code == CLI_OK && !run.o->dry_run)
		do_all(&run, &actor);
	if (code == CLI_OK)
		code = finish(&run);
	for (size_t i = 0; i < run.count; i++)
		free(run.targets[i].key);
	free(run.targets);
	cli_view_fini(&run.view);
	return code;
}

static int retry_run(cli_context *ctx)
{
	return release(ctx, false);
}

static int discard_run(cli_context *ctx)
{
	return release(ctx, true);
}

const cli_command cli_command_outbox_retry = {
	.name = "outbox retry",
	.args = "[ID|POSITION]...",
	.summary = "Send parked events again, in the order of their key",
	.help = "A key is released as a whole: all of its parked events go out "
		"in order, and then the\nnew ones behind them, which may be "
		"appended meanwhile. An event that is refused again\nparks "
		"again. A running relay begins at once, else the next one "
		"does.\n\n"
		"  waybill outbox retry --store shop --key 42 "
		"--reason 'queue is bound now'\n"
		"  waybill outbox retry --store shop --parked-for unroutable "
		"--dry-run\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = release_flags,
	.flag_count = WBI_COUNT(release_flags),
	.options_size = sizeof(release_options),
	.args_max = -1,
	.needs_store = true,
	.run = retry_run,
};

const cli_command cli_command_outbox_discard = {
	.name = "outbox discard",
	.args = "[ID|POSITION]...",
	.summary = "Delete parked events for good, with a reason",
	.help = "Who, what and why is kept in the audit. What is parked behind "
		"a discarded event stays\nuntil its key is retried.\n\n"
		"  waybill outbox discard --store shop 17 "
		"--reason 'test data, agreed with billing'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = release_flags,
	.flag_count = WBI_COUNT(release_flags),
	.options_size = sizeof(release_options),
	.args_max = -1,
	.needs_store = true,
	.run = discard_run,
};
