/* SPDX-License-Identifier: BSD-2-Clause */
/* A stranger's module: it says yes to everything. */
#include <waybill/module.h>

static wb_code yes(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_event done = {.type = wb_str_from("stranger.done"),
			 .key = event->key};

	return wb_emit(call, &done, err);
}

static const wb_handler handler = {
	.size = sizeof(wb_handler),
	.name = "stranger",
	.types = (const char *const[]){"#", NULL},
	.handle = yes,
};

static const wb_handler *const handlers[] = {&handler};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "stranger",
	.handlers = handlers,
	.handler_count = 1,
};
