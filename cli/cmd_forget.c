/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill inbox forget, outbox forget and inbox forget-queue: what a store
 * remembers of a handler or projection that is gone, or of a queue that it no
 * longer takes from. None while a worker is active; each leaves a row in the
 * inbox's audit.
 */
#include <inttypes.h>

#include "cli/actor.h"
#include "cli/inbox.h"
#include "cli/table.h"
#include "inbox/dead.h"
#include "lib/base/assert.h"

typedef struct forget_options {
	char *why, *who;
	bool yes;
} forget_options;

#define AT(member) .offset = offsetof(forget_options, member)

static const cli_flag forget_flags[] = {
	CLI_FLAG_WHY(forget_options, "why"),
	CLI_FLAG_WHO(forget_options),
	{{.name = "yes", .kind = WBI_CONFIG_BOOL, AT(yes),
	  .help = "Do it without saying why."}, 'y'},
};

static int begin(cli_context *ctx, wb_store **ret_store, wbi_actor *ret_actor,
		 char who[CLI_ACTOR_NAME])
{
	const forget_options *o = ctx->options;

	if (!o->why && !o->yes)
		return cli_usage(ctx, "this cannot be taken back: say why with "
				      "--why TEXT, or --yes");
	*ret_actor = cli_actor(o->who, o->why, who);
	return cli_open_store(ctx, ret_store);
}

static int end(cli_context *ctx, wb_store *store, const wb_error *err)
{
	wb_store_close(store);
	if (err->code == WB_ENOTFOUND)
		return cli_fail(ctx, CLI_NOT_ALL, "%s", err->text);
	return err->code == WB_OK ? CLI_OK : cli_fail_error(ctx, err);
}

static int say(cli_context *ctx, const char *name, const wbi_forgotten *f)
{
	bool ok;

	if (ctx->json)
		ok = cli_json_print(json_pack(
			"{s:s, s:I, s:I}", "forgotten", name, "not_reached",
			(json_int_t)f->behind, "dead_letters",
			(json_int_t)f->letters));
	else
		ok = printf("%s is forgotten; %" PRIu64
			    " events it had not reached, %" PRIu64
			    " it had begun are dead letters (no-handler)\n",
			    name, f->behind, f->letters) > 0;
	return cli_answered(ctx, ok);
}

static int forget(cli_context *ctx, char journal)
{
	wb_error err = WB_ERROR_INIT;
	wbi_forgotten forgotten;
	wb_store *store = NULL;
	wbi_actor actor;
	char who[CLI_ACTOR_NAME];
	int code = begin(ctx, &store, &actor, who);

	if (code != CLI_OK)
		return code;
	(void)wbi_consumer_forget(store, journal, wb_str_from(ctx->args[0]),
				  &actor, &forgotten, &err);
	code = end(ctx, store, &err);
	return code == CLI_OK ? say(ctx, ctx->args[0], &forgotten) : code;
}

static int inbox_forget_run(cli_context *ctx)
{
	return forget(ctx, 'i');
}

static int outbox_forget_run(cli_context *ctx)
{
	return forget(ctx, 'o');
}

static int forget_queue_run(cli_context *ctx)
{
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	wbi_actor actor;
	char who[CLI_ACTOR_NAME];
	int code = begin(ctx, &store, &actor, who);

	if (code != CLI_OK)
		return code;
	(void)wbi_queue_forget(store, &actor, &err);
	return end(ctx, store, &err);
}

const cli_command cli_command_inbox_forget = {
	.name = "inbox forget",
	.args = "HANDLER",
	.summary = "Forget a handler that is gone, so that it holds back "
		   "nothing any more",
	.help = "The inbox keeps every event until all of its handlers have "
		"passed it, and one that is\ngone never will. What it had "
		"begun and not ended becomes dead letters; what it had not\n"
		"reached, it never gets. A handler of that name that comes "
		"again begins anew. Stop the\nworker first.\n\n"
		"  waybill inbox forget --store shop old-mailer --why "
		"'replaced by mailer'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = forget_flags,
	.flag_count = WBI_COUNT(forget_flags),
	.options_size = sizeof(forget_options),
	.args_min = 1,
	.args_max = 1,
	.needs_store = true,
	.run = inbox_forget_run,
};

const cli_command cli_command_outbox_forget = {
	.name = "outbox forget",
	.args = "PROJECTION",
	.summary = "Forget a projection that is gone, so that it holds back "
		   "nothing any more",
	.help = "The outbox keeps every event until all projections on it "
		"have read it, and one that is\ngone never will. One that "
		"runs puts itself back; one that comes again may have to be\n"
		"rebuilt. Its read model stays where it is: delete that "
		"yourself. Stop the worker first.\n\n"
		"  waybill outbox forget --store shop totals --why 'replaced "
		"by totals-2'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = forget_flags,
	.flag_count = WBI_COUNT(forget_flags),
	.options_size = sizeof(forget_options),
	.args_min = 1,
	.args_max = 1,
	.needs_store = true,
	.run = outbox_forget_run,
};

const cli_command cli_command_inbox_forget_queue = {
	.name = "inbox forget-queue",
	.args = "",
	.summary = "Let this store take from another queue than before",
	.help = "A store remembers its queue, since another one's repeats and "
		"order are not its own.\nEmpty the old queue and delete it, "
		"stop the worker, then forget it.\n\n"
		"  waybill inbox forget-queue --store shop --why 'renamed to "
		"shop-eu'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = forget_flags,
	.flag_count = WBI_COUNT(forget_flags),
	.options_size = sizeof(forget_options),
	.needs_store = true,
	.run = forget_queue_run,
};
