/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an operator does to a read model. Most of it is asked of its projector
 * by a small file that stays until it is done (<waybill/projector.h>); what
 * needs no code of the projection is done here.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "cli/projection.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

enum { DO_WAIT_MS = 5000, DO_NAP_MS = 20 };

typedef struct do_options {
	char *dir, *stream;
	bool promote, all;
	uint64_t rate, a, b, timeout, limit, generation;
} do_options;

#define DIR_FLAG                                                              \
	{                                                                     \
		{.name = "dir", .kind = WBI_CONFIG_TEXT,                      \
		 .offset = offsetof(do_options, dir), .arg = "DIR",           \
		 .help = "The model is in DIR/projections, not in the "       \
			 "store's."},                                         \
			0                                                     \
	}
#define NUMBER(flag, member, most, other, what, text)                         \
	{                                                                     \
		{.name = flag, .kind = WBI_CONFIG_NUMBER,                     \
		 .offset = offsetof(do_options, member), .max = most,         \
		 .init = other, .arg = what, .help = text},                   \
			0                                                     \
	}

static const cli_flag plain_flags[] = {DIR_FLAG};

/* ---- asking -------------------------------------------------------------- */

/* The projector takes a request's file away when it has done it; a pause stays,
 * and it says that it stands. */
static bool asked_done(wbi_home *home, wb_projection_verb verb)
{
	const struct timespec nap = {0, DO_NAP_MS * 1000000L};
	wbi_generation_info live;
	wbi_model_info info;

	for (int ms = 0; ms < DO_WAIT_MS; ms += DO_NAP_MS) {
		if (wbi_model_look(home, &info, NULL) != WB_OK)
			return false;
		if (verb != WB_PROJECTION_PAUSE && !info.asked)
			return true;
		if (verb == WB_PROJECTION_PAUSE &&
		    wbi_generation_look(home, info.pointer.live, &live, NULL) ==
			    WB_OK &&
		    live.row.state == WB_PROJECTOR_PAUSED)
			return true;
		nanosleep(&nap, NULL);
	}
	return false;
}

static int ask(cli_context *ctx, const char *dir,
	       wb_projection_request *request, const char *what)
{
	wbi_model_info info = {.running = false};
	wb_error err = WB_ERROR_INIT;
	wbi_home *home;
	bool done;
	int code = cli_open_model(ctx, dir, &home);

	if (code != CLI_OK)
		return code;
	if (wbi_home_ask(home, request, &err) != WB_OK ||
	    wbi_model_look(home, &info, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	done = code == CLI_OK && info.running && asked_done(home, request->verb);
	wbi_home_unref(home);
	if (code != CLI_OK)
		return code;
	if (ctx->json)
		cli_json_print(json_pack("{s:s, s:s, s:b}", "projection",
					 ctx->args[0], "asked", what, "taken",
					 done));
	else if (done)
		printf("%s: its projector has taken it up; see waybill "
		       "projection status\n",
		       what);
	else
		printf("%s: asked; %s\n", what,
		       info.running ? "its projector has not answered yet"
				    : "it is done when a projector runs");
	return CLI_OK;
}

static int ask_verb(cli_context *ctx, wb_projection_verb verb,
		    const char *what)
{
	wb_projection_request request = WB_PROJECTION_REQUEST_INIT;
	const do_options *o = ctx->options;

	request.verb = verb;
	return ask(ctx, o->dir, &request, what);
}

static int promote_run(cli_context *ctx)
{
	return ask_verb(ctx, WB_PROJECTION_PROMOTE, "promote");
}

static int rollback_run(cli_context *ctx)
{
	return ask_verb(ctx, WB_PROJECTION_ROLLBACK, "rollback");
}

static int discard_run(cli_context *ctx)
{
	return ask_verb(ctx, WB_PROJECTION_DISCARD, "discard");
}

static int pause_run(cli_context *ctx)
{
	return ask_verb(ctx, WB_PROJECTION_PAUSE, "pause");
}

static int resume_run(cli_context *ctx)
{
	return ask_verb(ctx, WB_PROJECTION_RESUME, "resume");
}

static int heal_run(cli_context *ctx)
{
	wb_projection_request request = WB_PROJECTION_REQUEST_INIT;
	const do_options *o = ctx->options;

	request.verb = WB_PROJECTION_HEAL;
	if (ctx->arg_count > 1)
		request.key = wb_str_from(ctx->args[1]);
	return ask(ctx, o->dir, &request, "heal");
}

/* ---- rebuild ------------------------------------------------------------- */

static const cli_flag rebuild_flags[] = {
	DIR_FLAG,
	{{.name = "promote",
	  .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(do_options, promote),
	  .help = "Make it the live one when it is filled."},
	 0},
	NUMBER("rate", rate, UINT32_MAX, "0", "N",
	       "Fill in N events a second at most; 0 is no bound."),
	{{.name = "stream",
	  .kind = WBI_CONFIG_TEXT,
	  .offset = offsetof(do_options, stream),
	  .arg = "QUEUE",
	  .help = "The stream queue, for a projection of one; with --module."},
	 0},
};

typedef struct rebuild {
	cli_context *ctx;
	wb_store *store;
	cli_modules *modules;
	cli_projectors projectors;
	cli_progress progress;
} rebuild;

/* Done when what is built is ready, or is live. */
static int rebuild_watch(rebuild *r, wb_projector *p, wb_error *err)
{
	struct pollfd fd = {.fd = r->projectors.fds[0], .events = POLLIN};
	wb_projector_stat stat;

	cli_progress_start(&r->progress, "filled", false);
	for (;;) {
		if (wb_projector_dispatch(p, err) != WB_OK)
			return cli_fail_error(r->ctx, err);
		stat = wb_projector_get_stat(p);
		if (stat.building > 0)
			cli_progress_show(&r->progress, stat.building_position,
					  stat.head);
		if (stat.state == WB_PROJECTOR_WAITING)
			return CLI_NOT_ALL; /* somebody else's */
		if (stat.state == WB_PROJECTOR_STUCK && stat.building == 0)
			return cli_fail_error(r->ctx, &stat.error);
		if (stat.idle)
			break;
		(void)poll(&fd, 1, 100);
	}
	cli_progress_end(&r->progress, stat.building_position
					       ? stat.building_position
					       : stat.position);
	if (r->ctx->json)
		cli_json_print(json_pack("{s:s, s:i, s:i, s:I}", "projection",
					 r->ctx->args[0], "live",
					 stat.generation, "ready",
					 stat.building, "position",
					 (json_int_t)stat.position));
	else if (stat.building > 0)
		printf("generation %" PRIu32 " is ready: waybill projection "
		       "diff, promote, discard\n",
		       stat.building);
	else
		printf("generation %" PRIu32 " is live\n", stat.generation);
	return CLI_OK;
}

/* No projector runs, and we have the code: do it here. */
static int rebuild_here(cli_context *ctx, const char *dir,
			const wb_projection_request *request)
{
	const wbi_config_items *files = &ctx->config.modules;
	const do_options *o = ctx->options;
	cli_projectors_options options = {.dir = dir,
					  .only = ctx->args[0],
					  .stream = o->stream,
					  .sole_user = true};
	rebuild r = {.ctx = ctx};
	wb_error err = WB_ERROR_INIT;
	int code = CLI_OK;

	if (cli_modules_load(files->items, files->count, &r.modules, &err) !=
	    WB_OK)
		return cli_fail(ctx, CLI_USAGE, "%s", err.text);
	if (ctx->config.store)
		code = cli_open_store(ctx, &r.store);
	options.store = r.store;
	if (code == CLI_OK)
		code = cli_projectors_open(&r.projectors, ctx, r.modules,
					   &options);
	if (code == CLI_OK &&
	    (wb_projector_step(r.projectors.projectors[0], true, &err) !=
		     WB_OK ||
	     wb_projector_ask(r.projectors.projectors[0], request, &err) !=
		     WB_OK))
		code = cli_fail_error(ctx, &err);
	if (code == CLI_OK)
		code = rebuild_watch(&r, r.projectors.projectors[0], &err);
	cli_projectors_close(&r.projectors);
	wb_store_close(r.store);
	cli_modules_free(r.modules);
	if (code == CLI_NOT_ALL) {
		printf("rebuild: asked of the projector that runs\n");
		return CLI_OK;
	}
	return code;
}

static int rebuild_run(cli_context *ctx)
{
	wb_projection_request request = WB_PROJECTION_REQUEST_INIT;
	const do_options *o = ctx->options;

	request.verb = WB_PROJECTION_REBUILD;
	request.promote = o->promote;
	request.rate = (uint32_t)o->rate;
	if (ctx->config.modules.count > 0)
		return rebuild_here(ctx, o->dir, &request);
	return ask(ctx, o->dir, &request, "rebuild");
}

/* ---- diff ---------------------------------------------------------------- */

static const cli_flag diff_flags[] = {
	DIR_FLAG,
	NUMBER("a", a, UINT32_MAX, "0", "N", "One; the live one if not said."),
	NUMBER("b", b, UINT32_MAX, "0", "N",
	       "The other; the one being built if not said, or the former "
	       "one."),
	NUMBER("limit", limit, 1000000, "20", "N",
	       "Print so many differences at most; all are counted."),
	NUMBER("timeout", timeout, 86400000, "10000", "MS",
	       "Wait so long for both to be at one position."),
};

typedef struct diff_run {
	cli_context *ctx;
	uint64_t left;
	json_t *list;
} diff_run;

static wb_code diff_see(void *ctx, const wbi_difference *d, wb_error *err)
{
	static const char *const kinds[] = {"only in a", "only in b",
					    "differs"};
	diff_run *run = ctx;
	char *key, *a, *b;
	bool ok;

	if (run->left == 0)
		return WB_OK;
	run->left--;
	key = cli_show_bytes(d->key, false);
	a = cli_show_bytes(d->a, false);
	b = cli_show_bytes(d->b, false);
	ok = key && a && b;
	if (ok && run->list)
		ok = json_array_append_new(
			     run->list,
			     json_pack("{s:s, s:s, s:s, s:s, s:s}", "table",
				       d->table, "kind", kinds[d->kind], "key",
				       key, "a", a, "b", b)) == 0;
	else if (ok)
		ok = printf("%s %s: %s\n  a %s\n  b %s\n", d->table, key,
			    kinds[d->kind], a, b) > 0;
	free(key);
	free(a);
	free(b);
	return ok ? WB_OK : WBI_FAIL(err, WB_ENOMEM, "out of memory");
}

static int diff_two(cli_context *ctx, wbi_home *home, uint32_t a, uint32_t b)
{
	const do_options *o = ctx->options;
	diff_run run = {ctx, o->limit, ctx->json ? json_array() : NULL};
	wbi_diff_result result = {.rows = 0};
	wb_error err = WB_ERROR_INIT;

	if (wbi_generations_diff(home, a, b, (uint32_t)o->timeout, diff_see,
				 &run, &result, &err) != WB_OK) {
		json_decref(run.list);
		return cli_fail_error(ctx, &err);
	}
	if (ctx->json)
		cli_json_print(json_pack(
			"{s:i, s:i, s:I, s:I, s:I, s:o}", "a", a, "b", b,
			"position", (json_int_t)result.position, "rows",
			(json_int_t)result.rows, "differences",
			(json_int_t)result.differences, "shown", run.list));
	else
		printf("generations %" PRIu32 " and %" PRIu32
		       " at position %" PRIu64 ": %" PRIu64
		       " rows compared, %" PRIu64 " differ\n",
		       a, b, result.position, result.rows, result.differences);
	return result.differences == 0 ? CLI_OK : CLI_NOT_ALL;
}

static int diff_run_(cli_context *ctx)
{
	const do_options *o = ctx->options;
	wb_error err = WB_ERROR_INIT;
	wbi_model_info info;
	wbi_home *home;
	uint32_t a, b;
	int code = cli_open_model(ctx, o->dir, &home);

	if (code != CLI_OK)
		return code;
	if (wbi_model_look(home, &info, &err) != WB_OK) {
		wbi_home_unref(home);
		return cli_fail_error(ctx, &err);
	}
	a = o->a ? (uint32_t)o->a : info.pointer.live;
	b = o->b			   ? (uint32_t)o->b
	    : info.building.generation > 0 ? info.building.generation
					   : info.pointer.former;
	if (a == 0 || b == 0)
		code = cli_fail(ctx, CLI_FAILED,
				"there is one generation only: waybill "
				"projection rebuild makes another");
	else
		code = diff_two(ctx, home, a, b);
	wbi_home_unref(home);
	return code;
}

/* ---- remove -------------------------------------------------------------- */

static const cli_flag remove_flags[] = {
	DIR_FLAG,
	NUMBER("generation", generation, UINT32_MAX, "0", "N",
	       "Only this generation, which must not be live."),
	{{.name = "all",
	  .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(do_options, all),
	  .help = "The model as a whole; the store keeps no events for it any "
		  "more."},
	 0},
};

static int remove_run(cli_context *ctx)
{
	const do_options *o = ctx->options;
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	wbi_home *home;
	wb_code rc;
	int code;

	if (o->all == (o->generation > 0))
		return cli_usage(ctx, "say what: --generation N or --all");
	code = cli_open_model(ctx, o->dir, &home);
	if (code != CLI_OK)
		return code;
	if (o->all && ctx->config.store)
		code = cli_open_store(ctx, &store);
	if (code == CLI_OK) {
		rc = o->all ? wbi_model_remove(home, store, &err)
			    : wbi_generation_remove(
				      home, (uint32_t)o->generation, &err);
		if (rc != WB_OK)
			code = cli_fail_error(ctx, &err);
	}
	wbi_home_unref(home);
	wb_store_close(store);
	if (code != CLI_OK)
		return code;
	if (ctx->json)
		cli_json_print(json_pack("{s:s}", "removed", ctx->args[0]));
	else
		printf("removed\n");
	return CLI_OK;
}

/* ---- the rows ------------------------------------------------------------ */

#define VERB(verb, title, text)                                               \
	const cli_command cli_command_projection_##verb = {                   \
		.name = "projection " #verb,                                  \
		.args = "NAME",                                               \
		.summary = title,                                             \
		.help = text,                                                 \
		.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,                    \
		.flags = plain_flags,                                         \
		.flag_count = WBI_COUNT(plain_flags),                         \
		.options_size = sizeof(do_options),                           \
		.args_min = 1,                                                \
		.args_max = 1,                                                \
		.run = verb##_run,                                            \
	}

VERB(promote, "Make the generation that was built the live one",
     "Readers follow at their next snapshot. One that is still being filled is "
     "promoted when\nit has all that the live one has.\n");
VERB(rollback, "Go back to the generation that was live before",
     "It goes on from where it stood. Done twice, all is as before.\n");
VERB(discard, "Remove the generation that is being built",
     "The live one is not touched.\n");
VERB(pause, "Let a read model stand still",
     "It is read as before; a rebuild goes on. Lasts until resume, also over "
     "restarts.\n");
VERB(resume, "Let a read model go on",
     "Ends a pause; and lets one that is stuck look again at what it is stuck "
     "at.\n");

const cli_command cli_command_projection_heal = {
	.name = "projection heal",
	.args = "NAME [KEY]",
	.summary = "Apply what is quarantined, in order",
	.help = "Of one key, or of all. An event that fails again stays, and "
		"what is behind it in its\nkey, with the new reason. New code "
		"heals by itself when it is started.\n\n"
		"  waybill projection heal slots A-17 --store shop\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = plain_flags,
	.flag_count = WBI_COUNT(plain_flags),
	.options_size = sizeof(do_options),
	.args_min = 1,
	.args_max = 2,
	.run = heal_run,
};

const cli_command cli_command_projection_rebuild = {
	.name = "projection rebuild",
	.args = "NAME",
	.summary = "Build a read model anew beside the live one",
	.help = "A projector that runs does it, and keeps the live one up to "
		"date meanwhile; waybill\nprojection status says how far it "
		"is. If none runs, give --module: then it is done here.\n\n"
		"  waybill projection rebuild slots --store shop --promote\n"
		"  waybill projection rebuild slots --store shop --module "
		"./slots.so\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG | WBI_GROUP_MODULE |
		  WBI_GROUP_BROKER | WBI_GROUP_LIMITS,
	.flags = rebuild_flags,
	.flag_count = WBI_COUNT(rebuild_flags),
	.options_size = sizeof(do_options),
	.args_min = 1,
	.args_max = 1,
	.run = rebuild_run,
};

const cli_command cli_command_projection_diff = {
	.name = "projection diff",
	.args = "NAME",
	.summary = "Compare two generations of a read model",
	.help = "Row by row, at the same position: the live one and the one "
		"that was built, or the\nformer one. The exit status is 3 if "
		"they differ.\n\n"
		"  waybill projection diff slots --store shop\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = diff_flags,
	.flag_count = WBI_COUNT(diff_flags),
	.options_size = sizeof(do_options),
	.args_min = 1,
	.args_max = 1,
	.run = diff_run_,
};

const cli_command cli_command_projection_remove = {
	.name = "projection remove",
	.args = "NAME",
	.summary = "Remove an old generation, or the model",
	.help = "Whoever reads what is removed may finish. A model that is "
		"removed is made anew by\nwhoever projects it next.\n\n"
		"  waybill projection remove slots --store shop --generation "
		"3\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = remove_flags,
	.flag_count = WBI_COUNT(remove_flags),
	.options_size = sizeof(do_options),
	.args_min = 1,
	.args_max = 1,
	.run = remove_run,
};
