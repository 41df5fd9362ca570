/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A handler that says again what it was told: the event that it emits has the
 * same key, content type and data, and as extension attributes what else was
 * read from the message. Trace context is taken over by wb_emit() itself.
 */
#include <waybill/module.h>

static wb_code echo(wb_call *call, const wb_event *event, wb_error *err)
{
	const wb_header seen[] = {
		{wb_str_from("gotid"), event->id},
		{wb_str_from("gotsource"), event->source},
		{wb_str_from("gottype"), event->type},
		{wb_str_from("gotsubject"), event->subject},
		{wb_str_from("gotcolor"), wb_event_header(event, "color")},
	};
	wb_event again = {.type = wb_str_from("interop.echoed"),
			  .key = event->key,
			  .content_type = event->content_type,
			  .data = event->data,
			  .headers = seen,
			  .header_count = sizeof(seen) / sizeof(seen[0])};

	return wb_emit(call, &again, err);
}

static const wb_handler handler = {
	.size = sizeof(wb_handler),
	.name = "echo",
	.types = (const char *const[]){"interop.said", NULL},
	.handle = echo,
};

static const wb_handler *const handlers[] = {&handler};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "interop",
	.handlers = handlers,
	.handler_count = 1,
};
