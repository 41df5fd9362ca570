/* SPDX-License-Identifier: BSD-2-Clause */
/* What needs no store: routes, the RabbitMQ adapter before it connects, and the
 * broker in memory with all that its script can ask for. */
#include <waybill/amqp.h>
#include <waybill/memory.h>
#include <waybill/route.h>

#include "tests/crash/fail_points.h"
#include "tests/support/testing.h"

/* ---- routes -------------------------------------------------------------- */

static wb_code routes_run(const char *dir, wb_error *err)
{
	const wb_route routes[] = {
		{.type = "order.*",
		 .exchange = "orders",
		 .routing_key = "{type}.{aggregateid}"},
		{.type = "#.noted", .mode = WB_MODE_STRUCTURED}};
	const wb_event event = {.type = S("order.placed"),
				.subject = S("order/1")};
	char key[WB_ROUTING_KEY_MAX + 1];
	wb_routes *table = NULL;
	size_t len;
	wb_code code = wb_event_check(&event, NULL, err);

	(void)dir;
	if (code == WB_OK)
		code = wb_routes_new(routes, 2, &table, err);
	if (code == WB_OK)
		code = wb_route_key(wb_routes_match(table, event.type), &event,
				    key, &len, err);
	wb_routes_free(table);
	return code;
}

const fail_work fail_routes = {"routes", NULL, routes_run, NULL};

/* ---- brokers ------------------------------------------------------------- */

/* The first error that is told of in an event, if there is one. */
static wb_code broker_told(wb_broker *broker, wb_error *err)
{
	wb_broker_event event;

	while (wb_broker_next(broker, &event))
		if (event.error.code != WB_OK && err->code == WB_OK)
			*err = event.error;
	return err->code;
}

static wb_code broker_declare(wb_broker *broker, wb_error *err)
{
	const wb_argument type = {.name = S("x-queue-type"),
				  .text = S("stream")};
	const wb_declaration all[] = {
		{.kind = WB_TOPOLOGY_QUEUE, .name = S("q")},
		{.kind = WB_TOPOLOGY_QUEUE,
		 .name = S("log"),
		 .arguments = &type,
		 .argument_count = 1},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = S("q"),
		 .exchange = S("amq.topic"),
		 .binding_key = S("#")}};
	wb_code code = WB_OK;

	for (size_t i = 0; code == WB_OK && i < 3; i++)
		code = wb_broker_declare(broker, &all[i], i, err);
	wb_broker_step(broker);
	return code == WB_OK ? broker_told(broker, err) : code;
}

static wb_code broker_use(wb_broker *broker, wb_error *err)
{
	const wb_header header = {S("a"), S("b")};
	const wb_message message = {.routing_key = S("q"),
				    .message_id = S("m"),
				    .headers = &header,
				    .header_count = 1,
				    .body = S("body")};
	wb_code code = wb_broker_connect(broker, err);

	wb_broker_step(broker);
	if (code == WB_OK)
		code = broker_told(broker, err);
	if (code == WB_OK)
		code = broker_declare(broker, err);
	for (uint64_t i = 0; code == WB_OK && i < 70; i++)
		code = wb_broker_publish(broker, &message, i, err);
	wb_broker_flush(broker);
	if (code == WB_OK)
		code = wb_broker_consume(broker, S("q"), 10, 2, err);
	for (int i = 0; i < 5; i++)
		wb_broker_step(broker);
	return code == WB_OK ? broker_told(broker, err) : code;
}

static wb_code memory_things(wb_memory *memory, wb_error *err)
{
	const wb_message message = {.exchange = S("amq.topic"),
				    .routing_key = S("x"),
				    .body = S("by somebody")};
	wb_code code = wb_memory_create_exchange(memory, "e", "fanout", err);

	if (code == WB_OK)
		code = wb_memory_hide_exchange(memory, "e", 1000, err);
	if (code == WB_OK)
		code = wb_memory_delete_exchange(memory, "e", err);
	if (code == WB_OK)
		code = wb_memory_put(memory, &message, err);
	if (code == WB_OK)
		code = wb_memory_skip_offsets(memory, "log", 3, err);
	if (code == WB_OK)
		code = wb_memory_delete_queue(memory, "q", err);
	return code;
}

static wb_code memory_troubles(wb_memory *memory, wb_error *err)
{
	wb_memory_settings settings = WB_MEMORY_SETTINGS_INIT;
	wb_memory_chaos chaos = WB_MEMORY_CHAOS_INIT;
	wb_memory_cut_options cut = WB_MEMORY_CUT_INIT;
	wb_code code = wb_memory_set(memory, &settings, err);

	chaos.nack = 500;
	if (code == WB_OK)
		code = wb_memory_set_chaos(memory, &chaos, err);
	if (code == WB_OK)
		code = wb_memory_set_chaos(memory, NULL, err);
	if (code == WB_OK)
		code = wb_memory_cut(memory, &cut, err);
	return code;
}

static wb_code brokers_run(const char *dir, wb_error *err)
{
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;
	wb_broker *rabbit = NULL, *broker = NULL;
	wb_memory *memory = NULL;
	wb_code code;

	(void)dir;
	options.uri = "amqp://user:secret@localhost:5672/%2f,amqp://[::1]/v";
	options.connection_name = "fail";
	code = wb_amqp_new(&options, &rabbit, err);
	wb_broker_free(rabbit);
	if (code == WB_OK)
		code = wb_memory_new(NULL, NULL, &memory, err);
	if (code == WB_OK)
		code = wb_memory_connect(memory, &broker, err);
	if (code == WB_OK)
		code = broker_use(broker, err);
	if (code == WB_OK)
		code = memory_things(memory, err);
	if (code == WB_OK)
		code = memory_troubles(memory, err);
	wb_broker_free(broker);
	wb_memory_free(memory);
	return code;
}

const fail_work fail_brokers = {"brokers", NULL, brokers_run, NULL};
