/* SPDX-License-Identifier: BSD-2-Clause */
/* See declare.h. */
#include "tests/crash/declare.h"

#include <poll.h>
#include <stdio.h>

#include <waybill/amqp.h>

enum { DECLARE_PATIENCE_US = 20000000 };

wb_declaration declare_exchange(const char *name)
{
	return (wb_declaration){.kind = WB_TOPOLOGY_EXCHANGE,
				.name = wb_str_from(name),
				.exchange_type = wb_str_from("topic")};
}

wb_declaration declare_queue(const char *name)
{
	static const wb_argument quorum = {.name = {"x-queue-type", 12},
					   .text = {"quorum", 6}};

	return (wb_declaration){.kind = WB_TOPOLOGY_QUEUE,
				.name = wb_str_from(name),
				.arguments = &quorum,
				.argument_count = 1};
}

wb_declaration declare_binding(const char *queue, const char *exchange,
			       const char *key)
{
	return (wb_declaration){.kind = WB_TOPOLOGY_BINDING,
				.name = wb_str_from(queue),
				.exchange = wb_str_from(exchange),
				.binding_key = wb_str_from(key)};
}

/* Wait for one of the two; 0 for neither. */
static int declare_wait(wb_broker *broker, wb_broker_event_kind good,
			wb_broker_event_kind bad)
{
	const wb_clock *clock = wb_system_clock();
	int64_t until = clock->mono_us(clock->ctx) + DECLARE_PATIENCE_US;
	struct pollfd fd = {wb_broker_fd(broker), POLLIN, 0};
	wb_broker_event event;

	while (clock->mono_us(clock->ctx) < until) {
		wb_broker_step(broker);
		while (wb_broker_next(broker, &event)) {
			if (event.kind == good)
				return 1;
			if (event.kind == bad || event.kind == WB_BROKER_DOWN) {
				fprintf(stderr, "declare: %s\n",
					event.error.text);
				return -1;
			}
		}
		poll(&fd, 1, 20);
	}
	fprintf(stderr, "declare: no answer\n");
	return 0;
}

bool declare_all(const char *uri, const wb_declaration *what, size_t count)
{
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_broker *broker = NULL;
	bool ok;

	options.uri = uri;
	ok = wb_amqp_new(&options, &broker, &err) == WB_OK &&
	     wb_broker_connect(broker, &err) == WB_OK &&
	     declare_wait(broker, WB_BROKER_UP, WB_BROKER_DOWN) > 0;
	for (size_t i = 0; ok && i < count; i++)
		ok = wb_broker_declare(broker, &what[i], i, &err) == WB_OK &&
		     declare_wait(broker, WB_BROKER_DECLARED,
				  WB_BROKER_DECLARE_FAILED) > 0;
	if (err.code)
		fprintf(stderr, "declare: %s\n", err.text);
	wb_broker_free(broker);
	return ok;
}
