/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill saga check: what cannot work in the flows, sagas and participants of
 * modules, each alone and all together: those of all services may be given. No
 * store, no broker. One thread; keeps nothing.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "cli/sagas.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "saga/react.h"

enum { CHECK_COMMANDS_MAX = 4096 };

typedef struct check_run {
	cli_context *ctx;
	cli_modules *modules;
	const wb_participant *const *participants;
	size_t participant_count;
	const char **commands; /* that participants answer */
	size_t command_count;
	json_t *list;   /* --json */
	json_t *findings; /* of what is looked at */
	const char *what, *name;
	uint64_t errors, warnings, all_errors, all_warnings;
	bool failed;
} check_run;

/* ---- telling ------------------------------------------------------------ */

static void check_found(void *ctx, const wb_finding *finding)
{
	check_run *r = ctx;
	const char *kind = finding->warning ? "warning" : "error";
	json_t *object;

	if (finding->warning)
		r->warnings++;
	else
		r->errors++;
	if (!r->ctx->json) {
		printf("%s %s: %s: %s: %s\n", r->what, r->name, kind,
		       finding->rule, finding->text);
		return;
	}
	object = json_pack("{s:s, s:s, s:o}", "severity", kind, "rule",
			   finding->rule, "text", cli_json_text(finding->text));
	if (object && finding->step)
		json_object_set_new(object, "step",
				    cli_json_text(finding->step));
	r->failed |= json_array_append_new(r->findings, object) != 0;
}

static void check_say(check_run *r, bool warning, const char *rule,
		      const char *step, const char *format, ...)
	WB_PRINTF(5, 6);

static void check_say(check_run *r, bool warning, const char *rule,
		      const char *step, const char *format, ...)
{
	wb_finding finding = {.warning = warning, .rule = rule, .step = step};
	va_list args;

	va_start(args, format);
	vsnprintf(finding.text, sizeof(finding.text), format, args);
	va_end(args);
	check_found(r, &finding);
}

static void check_begin(check_run *r, const char *what, const char *name)
{
	r->what = what;
	r->name = name;
	r->errors = r->warnings = 0;
	if (r->ctx->json)
		r->findings = json_array();
}

/* `detail` is what there is of it, in a word or two. */
static void check_end(check_run *r, const char *detail, size_t count)
{
	json_t *object;

	r->all_errors += r->errors;
	r->all_warnings += r->warnings;
	if (!r->ctx->json) {
		printf("%s %s: %zu %s, %s", r->what, r->name, count, detail,
		       r->errors ? "cannot work" : "sound");
		if (r->warnings)
			printf("; %" PRIu64 " warning%s", r->warnings,
			       r->warnings > 1 ? "s" : "");
		printf("\n");
		return;
	}
	object = json_pack("{s:s, s:o, s:I, s:b, s:o}", "kind", r->what, "name",
			   cli_json_text(r->name), detail, (json_int_t)count,
			   "sound", r->errors == 0, "findings", r->findings);
	r->failed |= json_array_append_new(r->list, object) != 0;
}

/* A check that only says the first thing that is wrong. */
static void check_plain(check_run *r, wb_code code, const char *rule,
			const wb_error *err)
{
	if (code != WB_OK && r->errors == 0)
		check_say(r, false, rule, NULL, "%s", err->text);
}

/* ---- flows -------------------------------------------------------------- */

static bool check_same_text(const char *a, const char *b)
{
	return !a == !b && (!a || !strcmp(a, b));
}

static bool check_same_row(const wb_reaction *a, const wb_reaction *b)
{
	return check_same_text(a->service, b->service) &&
	       check_same_text(a->step, b->step) &&
	       check_same_text(a->on, b->on) &&
	       check_same_text(a->emits, b->emits) &&
	       check_same_text(a->refuses, b->refuses) &&
	       check_same_text(a->undoes, b->undoes) &&
	       check_same_text(a->awaits, b->awaits) &&
	       check_same_text(a->silence, b->silence) &&
	       a->later == b->later && a->within_ms == b->within_ms &&
	       a->keeps == b->keeps;
}

/* All services must have compiled the same table. */
static void check_same_flow(check_run *r, const wb_flow_part *a,
			    const wb_flow_part *b)
{
	size_t i = 0;

	while (i < a->flow->count && i < b->flow->count &&
	       check_same_row(&a->flow->reactions[i], &b->flow->reactions[i]))
		i++;
	if (i < a->flow->count || i < b->flow->count)
		check_say(r, false, "two-tables", NULL,
			  "the modules of %s and %s have different tables of "
			  "it, from row %zu on: compile both from one",
			  a->service ? a->service : "?",
			  b->service ? b->service : "?", i + 1);
	else if (check_same_text(a->service, b->service))
		check_say(r, false, "two-parts", NULL,
			  "two modules have the part of service %s: each event "
			  "has one consumer there",
			  a->service ? a->service : "?");
}

static void check_flow(check_run *r, const wb_flow_part *const *parts,
		       size_t count, size_t at)
{
	const wb_flow *flow = parts[at]->flow;
	wb_error err = WB_ERROR_INIT;

	check_begin(r, "flow", flow->name);
	check_plain(r, wb_flow_check(flow, check_found, r, &err), "no-flow",
		    &err);
	for (size_t i = at; i < count; i++) {
		if (strcmp(parts[i]->flow->name, flow->name) != 0)
			continue;
		for (size_t n = i + 1; n < count; n++)
			if (!strcmp(parts[n]->flow->name, flow->name))
				check_same_flow(r, parts[i], parts[n]);
		wb_error_clear(&err);
		check_plain(r, wbi_flow_part_check(parts[i], &err), "part",
			    &err);
	}
	check_end(r, "rows", flow->count);
}

static void check_flows(check_run *r)
{
	size_t count;
	const wb_flow_part *const *parts =
		cli_modules_flow_parts(r->modules, &count);

	for (size_t i = 0; i < count; i++) {
		bool seen = false;

		for (size_t n = 0; n < i && !seen; n++)
			seen = !strcmp(parts[n]->flow->name,
				       parts[i]->flow->name);
		if (!seen)
			check_flow(r, parts, count, i);
	}
}

/* ---- sagas and participants --------------------------------------------- */

static const wb_command *check_command(const check_run *r, const char *type,
				       const char **ret_name)
{
	for (size_t i = 0; i < r->participant_count; i++)
		for (size_t n = 0; n < r->participants[i]->count; n++) {
			const wb_command *c = &r->participants[i]->commands[n];

			*ret_name = r->participants[i]->name;
			if (c->type && !strcmp(c->type, type))
				return c;
		}
	return NULL;
}

/* Does the participant take it back by the command that the saga sends? */
static void check_step(check_run *r, const wb_step *step)
{
	const char *name;
	const wb_command *c =
		step->command ? check_command(r, step->command, &name) : NULL;

	if (!c)
		return;
	if (step->undo && !check_same_text(step->undo, c->undo))
		check_say(r, false, "other-undo", step->name,
			  "%s undoes %s by %s, participant %s by %s: what was "
			  "done would not be found",
			  step->name, step->command, step->undo, name,
			  c->undo ? c->undo : "nothing");
	if (step->probe && !check_same_text(step->probe, c->probe))
		check_say(r, false, "other-probe", step->name,
			  "%s asks what became of %s by %s, participant %s "
			  "tells by %s",
			  step->name, step->command, step->probe, name,
			  c->probe ? c->probe : "nothing");
}

static void check_saga(check_run *r, const wb_saga *saga)
{
	wb_error err = WB_ERROR_INIT;
	bool commands = false;

	check_begin(r, "saga", saga->name);
	check_plain(r,
		    wb_saga_check(saga, r->commands, r->command_count,
				  check_found, r, &err),
		    "no-saga", &err);
	for (size_t i = 0; r->errors == 0 && i < saga->count; i++) {
		check_step(r, &saga->steps[i]);
		commands |= saga->steps[i].command != NULL;
	}
	if (commands && r->participant_count == 0)
		check_say(r, true, "no-participants", NULL,
			  "whether its commands are answered was not looked "
			  "at: give the participants' modules too");
	check_end(r, "steps", saga->count);
}

/* By two queues each would come to both. */
static void check_shared(check_run *r, size_t at, const char *type)
{
	for (size_t i = 0; type && i < at; i++)
		for (size_t n = 0; n < r->participants[i]->count; n++) {
			const wb_command *c = &r->participants[i]->commands[n];

			if (check_same_text(type, c->type) ||
			    check_same_text(type, c->undo) ||
			    check_same_text(type, c->probe))
				check_say(r, false, "two-participants", NULL,
					  "%s is answered by %s too: each would "
					  "carry it out",
					  type, r->participants[i]->name);
		}
}

static void check_participant(check_run *r, size_t at)
{
	const wb_participant *p = r->participants[at];
	const wb_handler *handler = NULL;
	wb_error err = WB_ERROR_INIT;

	check_begin(r, "participant", p->name);
	check_plain(r, wb_participant_handler(p, &handler, &err), "participant",
		    &err);
	for (size_t i = 0; handler && handler->types[i]; i++)
		check_shared(r, at, handler->types[i]);
	wb_participant_handler_free(handler);
	check_end(r, "commands", p->count);
}

static void check_gather(check_run *r)
{
	for (size_t i = 0; i < r->participant_count; i++)
		for (size_t n = 0; n < r->participants[i]->count; n++) {
			const wb_command *c = &r->participants[i]->commands[n];
			const char *const types[] = {c->type, c->undo,
						     c->probe};

			for (int t = 0; t < 3; t++)
				if (types[t] &&
				    r->command_count < CHECK_COMMANDS_MAX)
					r->commands[r->command_count++] =
						types[t];
		}
}

/* ---- the command -------------------------------------------------------- */

static int check_all(check_run *r)
{
	const wb_saga *const *sagas;
	size_t count;

	r->participants = cli_modules_participants(r->modules,
						   &r->participant_count);
	check_gather(r);
	check_flows(r);
	sagas = cli_modules_sagas(r->modules, &count);
	for (size_t i = 0; i < count; i++)
		check_saga(r, sagas[i]);
	for (size_t i = 0; i < r->participant_count; i++)
		check_participant(r, i);
	if (r->ctx->json)
		r->failed |= !cli_json_print(json_pack(
			"{s:b, s:I, s:I, s:o}", "sound", r->all_errors == 0,
			"errors", (json_int_t)r->all_errors, "warnings",
			(json_int_t)r->all_warnings, "checked", r->list));
	if (r->failed)
		return cli_fail(r->ctx, CLI_FAILED, "cannot write the answer");
	return r->all_errors ? CLI_NOT_ALL : CLI_OK;
}

static int saga_check_run(cli_context *ctx)
{
	check_run r = {.ctx = ctx};
	wb_error err = WB_ERROR_INIT;
	int code;

	if (cli_modules_load_apart((const char *const *)ctx->args,
				   (size_t)ctx->arg_count, &r.modules,
				   &err) != WB_OK)
		return cli_fail(ctx, CLI_USAGE, "%s", err.text);
	r.commands = calloc(CHECK_COMMANDS_MAX, sizeof(*r.commands));
	r.list = ctx->json ? json_array() : NULL;
	code = r.commands ? check_all(&r)
			  : cli_fail(ctx, CLI_FAILED, "out of memory");
	free(r.commands);
	cli_modules_free(r.modules);
	return code;
}

const cli_command cli_command_saga_check = {
	.name = "saga check",
	.args = "MODULE...",
	.summary = "Look for what cannot work in flows, sagas, participants",
	.help = "Loads the modules and explains each finding: what is wrong, "
		"why it matters, the cure.\nGive the modules of all services "
		"at once: then each command must have one participant,\nwhich "
		"undoes it as the saga says, and each service the same table "
		"of a flow. The\nexit status is 3 if there is an error; "
		"warnings are only said.\n\n"
		"  waybill saga check ./booking.so ./billing.so "
		"./parking.so\n"
		"  waybill saga check ./*.so --json\n",
	.groups = WBI_GROUP_LOG,
	.args_min = 1,
	.args_max = -1,
	.run = saga_check_run,
};
