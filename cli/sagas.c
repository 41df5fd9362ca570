/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flows, sagas and participants of modules become handlers, which need the
 * store; what is wrong with them is found before, without one. One thread; the
 * declarations are the modules', what is made of them is ours.
 */
#include "cli/sagas.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "saga/react.h"

/* ---- checking ---------------------------------------------------------- */

typedef struct sagas_telling {
	const cli_context *ctx;
	const char *what, *name;
} sagas_telling;

static void sagas_warn(void *ctx, const wb_finding *finding)
{
	const sagas_telling *t = ctx;

	if (finding->warning)
		fprintf(stderr, "%s: warning: %s %s: %s: %s\n",
			t->ctx->program, t->what, t->name, finding->rule,
			finding->text);
}

static int sagas_check_part(cli_context *ctx, const wb_flow_part *part,
			    bool tell)
{
	sagas_telling t = {ctx, "flow", part->flow->name};
	wb_error err = WB_ERROR_INIT;
	size_t own = 0;

	if (wb_flow_check(part->flow, tell ? sagas_warn : NULL, &t, &err) !=
		    WB_OK ||
	    wbi_flow_part_check(part, &err) != WB_OK)
		return cli_fail(ctx, CLI_USAGE, "%s", err.text);
	for (size_t i = 0; i < part->flow->count; i++)
		own += !strcmp(part->flow->reactions[i].service, part->service);
	if (tell)
		printf("flow %s: service %s has %zu of its %zu rows\n",
		       part->flow->name, part->service, own,
		       part->flow->count);
	return CLI_OK;
}

static int sagas_check_saga(cli_context *ctx, const wb_saga *saga, bool tell)
{
	sagas_telling t = {ctx, "saga", saga->name};
	wb_error err = WB_ERROR_INIT;

	if (wb_saga_check(saga, NULL, 0, tell ? sagas_warn : NULL, &t, &err) !=
	    WB_OK)
		return cli_fail(ctx, CLI_USAGE, "%s", err.text);
	if (!tell)
		return CLI_OK;
	printf("saga %s: %zu steps:", saga->name, saga->count);
	for (size_t i = 0; i < saga->count; i++)
		printf(" %s", saga->steps[i].name);
	printf("\n");
	return CLI_OK;
}

static int sagas_check_participant(cli_context *ctx, const wb_participant *p,
				   bool tell)
{
	wb_error err = WB_ERROR_INIT;
	const wb_handler *handler;

	if (wb_participant_handler(p, &handler, &err) != WB_OK)
		return cli_fail(ctx, CLI_USAGE, "%s", err.text);
	if (tell) {
		printf("participant %s:", p->name);
		for (size_t i = 0; handler->types[i]; i++)
			printf(" %s", handler->types[i]);
		printf("\n");
	}
	wb_participant_handler_free(handler);
	return CLI_OK;
}

int cli_sagas_check(cli_context *ctx, const cli_modules *modules, bool tell)
{
	const wb_participant *const *participants;
	const wb_flow_part *const *parts;
	const wb_saga *const *sagas;
	size_t count;
	int code = CLI_OK;

	parts = cli_modules_flow_parts(modules, &count);
	for (size_t i = 0; i < count && code == CLI_OK; i++)
		code = sagas_check_part(ctx, parts[i], tell);
	sagas = cli_modules_sagas(modules, &count);
	for (size_t i = 0; i < count && code == CLI_OK; i++)
		code = sagas_check_saga(ctx, sagas[i], tell);
	participants = cli_modules_participants(modules, &count);
	for (size_t i = 0; i < count && code == CLI_OK; i++)
		code = sagas_check_participant(ctx, participants[i], tell);
	return code;
}

/* ---- routes ------------------------------------------------------------ */

int cli_sagas_routes(cli_context *ctx, const cli_modules *modules,
		     wb_routes **ret)
{
	wb_saga_routing routing = WB_SAGA_ROUTING_INIT;
	wb_error err = WB_ERROR_INIT;

	routing.own = ctx->config.routes.items;
	routing.own_count = ctx->config.routes.count;
	routing.sagas = cli_modules_sagas(modules, &routing.saga_count);
	routing.participants =
		cli_modules_participants(modules, &routing.participant_count);
	routing.commands = ctx->config.commands;
	if (wb_saga_routes_new(&routing, ret, &err) != WB_OK)
		return cli_fail(ctx, CLI_USAGE, "routes: %s", err.text);
	return CLI_OK;
}

/* ---- opening ----------------------------------------------------------- */

static void sagas_add(cli_sagas *sagas, const wb_handler *handler)
{
	/* Modules hold no more names than this. */
	sagas->handlers[sagas->handler_count++] = handler;
}

static wb_code sagas_open_parts(cli_sagas *s, wb_store *store,
				const cli_modules *modules, wb_error *err)
{
	const wb_flow_part *const *parts;
	wb_code rc = WB_OK;
	size_t count;

	parts = cli_modules_flow_parts(modules, &count);
	for (size_t i = 0; i < count && rc == WB_OK; i++) {
		rc = wb_choreography_open(store, parts[i],
					  &s->parts[s->part_count], err);
		if (rc == WB_OK)
			sagas_add(s, wb_choreography_handler(
					     s->parts[s->part_count++]));
	}
	return rc;
}

static wb_code sagas_open_participants(cli_sagas *s, const cli_modules *modules,
				       wb_error *err)
{
	const wb_participant *const *participants;
	wb_code rc = WB_OK;
	size_t count;

	participants = cli_modules_participants(modules, &count);
	for (size_t i = 0; i < count && rc == WB_OK; i++) {
		rc = wb_participant_handler(
			participants[i], &s->participants[s->participant_count],
			err);
		if (rc == WB_OK)
			sagas_add(s, s->participants[s->participant_count++]);
	}
	return rc;
}

wb_code cli_sagas_open(cli_sagas *ret, wb_store *store,
		       const cli_modules *modules, const char *reply_to,
		       wb_error *err)
{
	const wb_handler *const *handlers;
	const wb_saga *const *sagas;
	size_t count;
	wb_code rc;

	handlers = cli_modules_handlers(modules, &count);
	for (size_t i = 0; i < count; i++)
		sagas_add(ret, handlers[i]);
	rc = sagas_open_parts(ret, store, modules, err);
	sagas = cli_modules_sagas(modules, &count);
	if (rc == WB_OK && count > 0) {
		rc = wb_orchestrator_open(store, sagas, count, reply_to,
					  &ret->orchestrator, err);
		if (rc == WB_OK)
			sagas_add(ret,
				  wb_orchestrator_handler(ret->orchestrator));
	}
	if (rc == WB_OK)
		rc = sagas_open_participants(ret, modules, err);
	return rc;
}

void cli_sagas_close(cli_sagas *sagas)
{
	for (size_t i = 0; i < sagas->part_count; i++)
		wb_choreography_close(sagas->parts[i]);
	for (size_t i = 0; i < sagas->participant_count; i++)
		wb_participant_handler_free(sagas->participants[i]);
	wb_orchestrator_close(sagas->orchestrator);
	memset(sagas, 0, sizeof(*sagas));
}
