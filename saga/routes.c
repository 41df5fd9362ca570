/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the commands and replies of a service go, as routes for its relay. They
 * follow from what its sagas send and its participants answer, so nobody needs
 * to write them down; whoever does is followed. Each is exact: a type that
 * merely looks like a reply is left alone.
 *
 * Nothing is kept: wb_routes_new() copies. Any thread.
 */
#include <waybill/saga.h>

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/base/topic.h"
#include "saga/machine.h"

typedef struct routing {
	const wb_saga_routing *from;
	const char *commands;
	wb_route routes[WB_ROUTES_MAX];
	size_t count;
	char *texts[WB_ROUTES_MAX]; /* types of replies, ours */
	size_t text_count;
} routing;

static bool routing_is_last(const wb_route *route)
{
	return !route->type || !strcmp(route->type, "#");
}

/* Does a route that is there already name this type? */
static bool routing_knows(const routing *r, const char *type)
{
	for (size_t i = 0; i < r->count; i++)
		if (wbi_topic_match(wb_str_from(r->routes[i].type),
				    wb_str_from(type)))
			return true;
	return false;
}

static wb_code routing_add(routing *r, const wb_route *route, wb_error *err)
{
	if (r->count == WB_ROUTES_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"routes: more than %d with those of the sagas' "
				"commands and replies; give one of your own "
				"for many of them, as type \"billing.#\", "
				"exchange \"%s\"",
				(int)WB_ROUTES_MAX, r->commands);
	r->routes[r->count++] = *route;
	return WB_OK;
}

static wb_code routing_own(routing *r, bool last, wb_error *err)
{
	wb_code code = WB_OK;

	for (size_t i = 0; i < r->from->own_count && code == WB_OK; i++)
		if (routing_is_last(&r->from->own[i]) == last)
			code = routing_add(r, &r->from->own[i], err);
	return code;
}

static wb_code routing_command(routing *r, const char *type, wb_error *err)
{
	const wb_route route = {.type = type, .exchange = r->commands};

	return !type || routing_knows(r, type) ? WB_OK
					       : routing_add(r, &route, err);
}

static wb_code routing_reply(routing *r, const char *command, wb_error *err)
{
	wb_route route = {.exchange = "", .routing_key = "{reply_to}"};
	char type[WBI_REPLY_TYPE_MAX + 1];
	wb_code code;

	if (!command)
		return WB_OK;
	if (!wbi_command_fits(command))
		return WBI_FAIL(err, WB_EINVAL,
				"routes: command \"%.64s...\" is longer than "
				"%d bytes: its reply's type has %d at most",
				command, WBI_COMMAND_TYPE_MAX,
				WBI_REPLY_TYPE_MAX);
	wbi_reply_type(command, type);
	if (routing_knows(r, type))
		return WB_OK;
	route.type = wbi_text_dup(wb_str_from(type));
	if (!route.type)
		return WBI_FAIL(err, WB_ENOMEM, "routes: out of memory");
	code = routing_add(r, &route, err);
	if (code == WB_OK)
		r->texts[r->text_count++] = (char *)(uintptr_t)route.type;
	else
		free((char *)(uintptr_t)route.type);
	return code;
}

static wb_code routing_saga(routing *r, const wb_saga *saga, wb_error *err)
{
	wb_code code = wb_saga_check(saga, NULL, 0, NULL, NULL, err);

	for (size_t i = 0; code == WB_OK && i < saga->count; i++) {
		code = routing_command(r, saga->steps[i].command, err);
		if (code == WB_OK)
			code = routing_command(r, saga->steps[i].undo, err);
		if (code == WB_OK)
			code = routing_command(r, saga->steps[i].probe, err);
	}
	return code;
}

static wb_code routing_participant(routing *r, const wb_participant *p,
				   wb_error *err)
{
	wb_code code = WB_OK;

	for (size_t i = 0; p && i < p->count && code == WB_OK; i++) {
		code = routing_reply(r, p->commands[i].type, err);
		if (code == WB_OK)
			code = routing_reply(r, p->commands[i].undo, err);
		if (code == WB_OK)
			code = routing_reply(r, p->commands[i].probe, err);
	}
	return code;
}

wb_code wb_saga_routes_new(const wb_saga_routing *from, wb_routes **ret,
			   wb_error *err)
{
	wb_routes *own;
	routing *r;
	wb_code code;

	if (!from || from->size != sizeof(*from) || !ret ||
	    (from->own_count > 0 && !from->own) ||
	    (from->saga_count > 0 && !from->sagas) ||
	    (from->participant_count > 0 && !from->participants))
		return WBI_FAIL(err, WB_EINVAL,
				"routes: start from WB_SAGA_ROUTING_INIT; a "
				"list is NULL");
	/* What is wrong in them is said with their own numbers. */
	code = wb_routes_new(from->own, from->own_count, &own, err);
	if (code != WB_OK)
		return code;
	wb_routes_free(own);
	r = calloc(1, sizeof(*r));
	if (!r)
		return WBI_FAIL(err, WB_ENOMEM, "routes: out of memory");
	r->from = from;
	r->commands = from->commands && from->commands[0] ? from->commands
							  : "commands";
	code = routing_own(r, false, err);
	for (size_t i = 0; i < from->saga_count && code == WB_OK; i++)
		code = routing_saga(r, from->sagas[i], err);
	for (size_t i = 0; i < from->participant_count && code == WB_OK; i++)
		code = routing_participant(r, from->participants[i], err);
	if (code == WB_OK)
		code = routing_own(r, true, err);
	if (code == WB_OK)
		code = wb_routes_new(r->routes, r->count, ret, err);
	for (size_t i = 0; i < r->text_count; i++)
		free(r->texts[i]);
	free(r);
	return code;
}
