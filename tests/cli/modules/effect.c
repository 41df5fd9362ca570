/* SPDX-License-Identifier: BSD-2-Clause */
/* An external handler: on a thread of the pool, and poison there, too. */
#include <stdlib.h>
#include <unistd.h>

#include <waybill/module.h>

static wb_code effect(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_event done = {.type = wb_str_from("effect.done"),
			 .key = event->key,
			 .subject = event->id};

	if (wb_str_eq(event->type, wb_str_from("effect.abort")))
		abort();
	while (wb_str_eq(event->type, wb_str_from("effect.hang")))
		pause();
	usleep(1000);
	return wb_emit(call, &done, err);
}

static const wb_handler handler = {
	.size = sizeof(wb_handler),
	.name = "effect",
	.types = (const char *const[]){"effect.#", NULL},
	.kind = WB_EXTERNAL,
	.attempts_max = 2,
	.backoff_min_ms = 10,
	.backoff_max_ms = 20,
	.deadline_ms = 700,
	.handle = effect,
};

static const wb_handler *const handlers[] = {&handler};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "effect",
	.handlers = handlers,
	.handler_count = 1,
};
