/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill saga timers: what sagas wait with: the deadlines of their steps, their
 * own, and orders that wait for a worker. They are the timers of the handlers
 * "sagas" and "flow.NAME"; moved and cancelled as any other, with a row in the
 * audit. Whoever fires one late or twice does no harm: a saga knows the last
 * one that it set.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/actor.h"
#include "cli/inbox.h"
#include "cli/saga.h"
#include "cli/when.h"
#include "inbox/timer.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "saga/orchestrator.h"

enum { SLICE = 256 };

typedef struct timers_options {
	char *kind, *timer, *to, *why, *who, *before;
	bool cancel;
	uint64_t limit;
} timers_options;

#define AT(member) .offset = offsetof(timers_options, member)

static const cli_flag timers_flags[] = {
	{{.name = "kind", .kind = WBI_CONFIG_TEXT, AT(kind), .arg = "FLOW",
	  .help = "Only the timers of this flow; - for those of orchestrated "
		  "sagas."}, 'k'},
	{{.name = "timer", .kind = WBI_CONFIG_TEXT, AT(timer), .arg = "WHICH",
	  .help = "Only this one of a saga: step, saga or order; of a flow "
		  "the step's name."}, 't'},
	{{.name = "before", .kind = WBI_CONFIG_TEXT, AT(before), .arg = "TIME",
	  .help = "Only what comes due before: " CLI_WHEN_HELP "."}, 0},
	{{.name = "limit", .kind = WBI_CONFIG_NUMBER, AT(limit), .min = 1,
	  .max = 1000000, .init = "50", .arg = "N",
	  .help = "At most so many."}, 'n'},
	{{.name = "to", .kind = WBI_CONFIG_TEXT, AT(to), .arg = "TIME",
	  .help = "Let it come due then, instead of listing it."}, 0},
	{{.name = "cancel", .kind = WBI_CONFIG_BOOL, AT(cancel),
	  .help = "Remove it, instead of listing it: it will not fire."}, 0},
	{{.name = "why", .kind = WBI_CONFIG_TEXT, AT(why), .arg = "TEXT",
	  .help = "Why you move or cancel it; kept in the audit."}, 'r'},
	CLI_FLAG_WHO(timers_options),
};

/* A timer of a saga, taken apart. Strings point into it. */
typedef struct saga_timer {
	wb_str handler, name;
	wb_str saga, which;
} saga_timer;

static bool is_flow(wb_str handler)
{
	return handler.len > 5 && !memcmp(handler.ptr, "flow.", 5);
}

/* "s/ID", or of a flow "ID/STEP". */
static bool timer_parse(wb_str handler, wb_str name, saga_timer *ret)
{
	bool flow = is_flow(handler);
	size_t at = name.len;

	*ret = (saga_timer){.handler = handler, .name = name};
	if (!flow && name.len > 2 && name.ptr[1] == '/') {
		ret->saga = wb_str_n(name.ptr + 2, name.len - 2);
		ret->which = wb_str_from(name.ptr[0] == 's'   ? "step"
					 : name.ptr[0] == 'd' ? "saga"
							      : "order");
		return true;
	}
	while (flow && at > 0 && name.ptr[at - 1] != '/')
		at--;
	if (at < 2)
		return false;
	ret->saga = wb_str_n(name.ptr, at - 1);
	ret->which = wb_str_n(name.ptr + at, name.len - at);
	if (wb_str_eq(ret->which, wb_str_from("!")))
		ret->which = wb_str_from("order");
	return true;
}

/* ---- listing ------------------------------------------------------------- */

typedef struct timers_run {
	cli_context *ctx;
	const timers_options *o;
	wb_store *store;
	wb_str saga; /* "": all */
	int64_t before_us;
	cli_table *table;
	uint64_t count;
	bool more, failed;
	wb_str begins;   /* what names begin with; "": all are looked at */
	size_t name_len; /* ... and how long they are */
	bool past;       /* behind the last of them */
	/* --to, --cancel: the one that is meant */
	char handler[128], name[256];
} timers_run;

static bool is_meant(const timers_run *run, const saga_timer *t,
		     const wbi_timer_seen *seen)
{
	const timers_options *o = run->o;

	return (run->saga.len == 0 || wb_str_eq(t->saga, run->saga)) &&
	       (!o->timer || wb_str_eq(t->which, wb_str_from(o->timer))) &&
	       (run->before_us == 0 || seen->timer.due_us < run->before_us);
}

static bool row_add(timers_run *run, const saga_timer *t,
		    const wbi_timer_seen *seen)
{
	char saga[800], kind[300], which[300], due[WBI_TIME_TEXT_MAX];
	char handler[300], name[1100], attempts[32], text[1100];
	const char *cells[] = {
		due,
		saga,
		is_flow(t->handler) ? kind : NULL,
		which,
		seen->firing ? "firing" : seen->attempts > 0 ? "failed" : "set",
		seen->attempts > 0 ? attempts : NULL,
		handler,
		name,
		seen->text.len > 0 ? text : NULL};

	wbi_time_format(seen->next_us > seen->timer.due_us
				? seen->next_us
				: seen->timer.due_us,
			due);
	wbi_text_show(t->saga, saga, sizeof(saga));
	if (is_flow(t->handler))
		wbi_text_show(wb_str_n(t->handler.ptr + 5, t->handler.len - 5),
			      kind, sizeof(kind));
	wbi_text_show(t->which, which, sizeof(which));
	wbi_text_show(t->handler, handler, sizeof(handler));
	wbi_text_show(t->name, name, sizeof(name));
	wbi_text_show(seen->text, text, sizeof(text));
	snprintf(attempts, sizeof(attempts), "%" PRIu32, seen->attempts);
	return cli_table_row(run->table, cells);
}

static bool timers_see(void *ctx, const wbi_timer_seen *seen)
{
	timers_run *run = ctx;
	wb_str name = seen->timer.name;
	saga_timer t;

	run->past = run->begins.len > 0 &&
		    (name.len != run->name_len ||
		     memcmp(name.ptr, run->begins.ptr, run->begins.len) != 0);
	if (run->past)
		return false;
	if (!timer_parse(seen->handler, name, &t))
		return true;
	if (!is_meant(run, &t, seen))
		return true;
	run->more = run->count == run->o->limit;
	if (run->more)
		return false;
	run->count++;
	if (run->table) {
		run->failed = !row_add(run, &t, seen);
		return !run->failed;
	}
	snprintf(run->handler, sizeof(run->handler), "%.*s", (int)t.handler.len,
		 t.handler.ptr);
	snprintf(run->name, sizeof(run->name), "%.*s", (int)t.name.len,
		 t.name.ptr);
	return true;
}

static wb_code timers_walk(timers_run *run, const char *handler,
			   wbi_row_key *after, wb_error *err)
{
	wb_code rc = WB_OK;

	run->past = false;
	while (rc == WB_OK && !run->more && !run->failed && !run->past)
		rc = wbi_timer_visit(run->store, wb_str_from(handler), after,
				     SLICE, timers_see, run, err);
	if (run->failed)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

/* Names stand in order of their length first: only those of `len` bytes that
 * begin with `text` are looked at. */
static wb_code timers_near(timers_run *run, const char *handler,
			   const char *text, size_t len, wb_error *err)
{
	wbi_row_key after = wbi_work_lane_prefix(wb_str_from(handler),
						 WBI_LANE_TIMER);

	WB_ASSERT(len <= WBI_TIMER_NAME_MAX && strlen(text) <= len);
	run->begins = wb_str_from(text);
	run->name_len = len;
	after.bytes[after.len++] = (uint8_t)len;
	memcpy(after.bytes + after.len, text, strlen(text));
	after.len = (uint16_t)(after.len + strlen(text));
	return timers_walk(run, handler, &after, err);
}

static wb_code timers_orchestrated(timers_run *run, wb_error *err)
{
	static const char which[] = {'d', 's', 'v'};
	wbi_row_key after = {.len = 0};
	wb_code rc = WB_OK;
	char name[256];

	if (run->saga.len == 0)
		return timers_walk(run, WBI_SAGAS_HANDLER, &after, err);
	for (size_t i = 0; i < sizeof(which) && rc == WB_OK; i++) {
		wbi_saga_timer_name(which[i], run->saga, name);
		rc = timers_near(run, WBI_SAGAS_HANDLER, name, strlen(name),
				 err);
	}
	return rc;
}

static wb_code timers_flow(timers_run *run, const char *handler, wb_error *err)
{
	wbi_row_key after = {.len = 0};
	wb_code rc = WB_OK;
	char text[256];

	if (run->saga.len == 0)
		return timers_walk(run, handler, &after, err);
	snprintf(text, sizeof(text), "%.*s/", (int)run->saga.len,
		 run->saga.ptr);
	for (size_t step = 1; step <= WBI_SAGA_STEP_MAX && rc == WB_OK; step++)
		rc = timers_near(run, handler, text, strlen(text) + step, err);
	return rc;
}

static bool is_kind_meant(const timers_options *o, const char *handler)
{
	bool flow = is_flow(wb_str_from(handler));

	if (!flow)
		return !strcmp(handler, WBI_SAGAS_HANDLER) &&
		       (!o->kind || !strcmp(o->kind, "-"));
	return !o->kind || !strcmp(o->kind, handler + 5);
}

static wb_code timers_scan(timers_run *run, wb_error *err)
{
	cli_consumers list = {0};
	bool seen_sagas = false;
	wb_code rc = cli_consumers_read(run->store, &list, err);

	for (size_t i = 0; i < list.count && rc == WB_OK; i++) {
		const char *handler = list.items[i].name;

		if (!is_kind_meant(run->o, handler))
			continue;
		if (is_flow(wb_str_from(handler))) {
			rc = timers_flow(run, handler, err);
			continue;
		}
		seen_sagas = true;
		rc = timers_orchestrated(run, err);
	}
	/* Sagas may have been started before a worker ever ran. */
	if (rc == WB_OK && !seen_sagas &&
	    is_kind_meant(run->o, WBI_SAGAS_HANDLER))
		rc = timers_orchestrated(run, err);
	cli_consumers_fini(&list);
	return rc;
}

static int timers_list(timers_run *run)
{
	static const cli_column columns[] = {
		{.name = "due"},
		{.name = "saga", .trunc = true},
		{.name = "flow"},
		{.name = "timer"},
		{.name = "state"},
		{.name = "attempts", .number = true},
		{.name = "handler", .trunc = true},
		{.name = "name", .trunc = true},
		{.name = "text", .trunc = true}};
	wb_error err = WB_ERROR_INIT;
	int code = CLI_OK;

	run->table = cli_table_new("timers", columns, WBI_COUNT(columns),
				   run->ctx->json);
	if (!run->table)
		return cli_fail(run->ctx, CLI_FAILED, "out of memory");
	if (timers_scan(run, &err) != WB_OK)
		code = cli_fail_error(run->ctx, &err);
	return cli_table_end(run->ctx, run->table, code,
			     run->more ? "--limit" : NULL);
}

/* ---- moving and cancelling ----------------------------------------------- */

static int timers_act(timers_run *run, int64_t due_us)
{
	const timers_options *o = run->o;
	wb_error err = WB_ERROR_INIT;
	wbi_actor actor;
	char who[CLI_ACTOR_NAME];
	wb_code rc;

	if (timers_scan(run, &err) != WB_OK)
		return cli_fail_error(run->ctx, &err);
	if (run->count == 0)
		return cli_fail(run->ctx, CLI_NOT_ALL,
				"that saga has no such timer: see waybill saga "
				"timers");
	if (run->count > 1 || run->more)
		return cli_usage(run->ctx, "that saga has several timers: say "
					   "which one with --timer, and "
					   "--kind");
	actor = cli_actor(o->who, o->why, who);
	rc = o->cancel ? wbi_timer_operator_cancel(run->store,
						   wb_str_from(run->handler),
						   wb_str_from(run->name),
						   &actor, &err)
		       : wbi_timer_operator_move(run->store,
						 wb_str_from(run->handler),
						 wb_str_from(run->name), due_us,
						 &actor, &err);
	if (rc == WB_ENOTFOUND)
		return cli_fail(run->ctx, CLI_NOT_ALL, "%s", err.text);
	return rc == WB_OK ? CLI_OK : cli_fail_error(run->ctx, &err);
}

static int saga_timers(cli_context *ctx)
{
	const timers_options *o = ctx->options;
	timers_run run = {.ctx = ctx, .o = o};
	bool act = o->to || o->cancel;
	int64_t due_us = 0;
	int code;

	if (o->to && o->cancel)
		return cli_usage(ctx, "--to or --cancel, not both");
	if (act && ctx->arg_count == 0)
		return cli_usage(ctx, "whose timer? give the saga's id");
	if (act && !o->why)
		return cli_usage(ctx, "this goes into the audit: say why with "
				      "--why TEXT");
	if (ctx->arg_count > 0)
		run.saga = wb_str_from(ctx->args[0]);
	if (run.saga.len > WBI_SAGA_ID_MAX)
		return cli_usage(ctx, "a saga's id has at most %d bytes",
				 WBI_SAGA_ID_MAX);
	code = cli_when_flag(ctx, "to", o->to, &due_us);
	if (code == CLI_OK)
		code = cli_when_flag(ctx, "before", o->before, &run.before_us);
	if (code == CLI_OK)
		code = cli_open_store(ctx, &run.store);
	if (code == CLI_OK)
		code = act ? timers_act(&run, due_us) : timers_list(&run);
	wb_store_close(run.store);
	return code;
}

const cli_command cli_command_saga_timers = {
	.name = "saga timers",
	.args = "[ID]",
	.summary = "List the timers of sagas; move or cancel one",
	.help = "step is the deadline of a step, or the wait before it is "
		"tried again; saga the saga's own\ndeadline; order what an "
		"operator has ordered and no worker has done. In a flow a "
		"timer\nis named as its step. A step whose timer is cancelled "
		"waits without end.\n\n"
		"  waybill saga timers --store shop --before +1h\n"
		"  waybill saga timers --store shop booking-42 --timer step "
		"--to +2h --why 'bank is slow'\n"
		"  waybill saga timers --store shop booking-42 --timer order "
		"--cancel --why 'wrong one'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = timers_flags,
	.flag_count = WBI_COUNT(timers_flags),
	.options_size = sizeof(timers_options),
	.args_max = 1,
	.needs_store = true,
	.run = saga_timers,
};
