/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A handler whose every call leaves one event behind, in the commit of the
 * call: so its effects are counted by counting those. Some events are poison.
 */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <waybill/module.h>

static wb_code tally(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_event done = {.type = wb_str_from("tally.done"),
			 .key = event->key,
			 .subject = event->id};
	volatile int *nowhere = NULL;

	if (wb_str_eq(event->type, wb_str_from("order.crash")))
		*nowhere = 1;
	while (wb_str_eq(event->type, wb_str_from("order.hang")))
		pause();
	if (wb_str_eq(event->type, wb_str_from("order.abort")))
		abort();
	if (wb_str_eq(event->type, wb_str_from("order.bad")))
		return wb_reject(err, "it is bad");
	if (wb_str_eq(event->type, wb_str_from("order.slow")))
		usleep(20 * 1000);
	return wb_emit(call, &done, err);
}

/* Longer than anybody waits. */
static wb_code stall(wb_call *call, const wb_event *event, wb_error *err)
{
	static const char word[] = "stalling\n";

	(void)call;
	(void)event;
	if (write(STDERR_FILENO, word, sizeof(word) - 1) < 0)
		return wb_reject(err, "nobody to tell");
	for (;;)
		pause();
}

static const wb_handler handler = {
	.size = sizeof(wb_handler),
	.name = "tally",
	.types = (const char *const[]){"order.#", NULL},
	.attempts_max = 3,
	.backoff_min_ms = 10,
	.backoff_max_ms = 20,
	.deadline_ms = 700,
	.handle = tally,
};

static const wb_handler stalling = {
	.size = sizeof(wb_handler),
	.name = "stall",
	.types = (const char *const[]){"stall.#", NULL},
	.attempts_max = 1,
	.deadline_ms = 600000,
	.handle = stall,
};

static const wb_handler *const handlers[] = {&handler, &stalling};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "tally",
	.handlers = handlers,
	.handler_count = 2,
};
