/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A handler that rejects everything while the file "closed" is there, and
 * otherwise leaves one event behind for each. "order.placed" of key b also sets
 * a timer for an hour later, which leaves one too.
 */
#include <unistd.h>

#include <waybill/module.h>

static wb_code done(wb_call *call, wb_str key, wb_str what, wb_error *err)
{
	const wb_event event = {.type = wb_str_from("gate.done"),
				.key = key,
				.subject = what};

	return wb_emit(call, &event, err);
}

static wb_code gate(wb_call *call, const wb_event *event, wb_error *err)
{
	const int64_t hour_us = 3600 * INT64_C(1000000);
	wb_code code = WB_OK;

	if (access("closed", F_OK) == 0)
		return wb_reject(err, "the gate is closed");
	if (wb_str_eq(event->key, wb_str_from("b")))
		code = wb_timer_set(call, wb_str_from("later"),
				    wb_call_now_us(call) + hour_us, event->id,
				    err);
	return code == WB_OK ? done(call, event->key, event->id, err) : code;
}

static wb_code later(wb_call *call, const wb_timer *timer, wb_error *err)
{
	return done(call, wb_str_from("timer"), timer->data, err);
}

static const wb_handler handler = {
	.size = sizeof(wb_handler),
	.name = "gate",
	.types = (const char *const[]){"order.#", NULL},
	.handle = gate,
	.timer = later,
};

static const wb_handler *const handlers[] = {&handler};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "gate",
	.handlers = handlers,
	.handler_count = 1,
};
