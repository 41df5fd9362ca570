/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is given, and the exchanges it goes to. A message is put at the broker
 * by another client that the broker's troubles do not touch, so it is in the
 * worker's queue when the call returns. What arrives meanwhile in the queue
 * where emitted events are looked for is the given one, and is noted as such.
 *
 * One thread; nothing of what is given is kept.
 */
#include "tests/kit/kit.h"

#include <stdlib.h>

#include "lib/base/error.h"
#include "lib/event/envelope.h"

enum { GIVEN_PUMPS_MAX = 1000 };

/* ---- exchanges ----------------------------------------------------------- */

/* One round with the broker; false: it has not said so yet, or, with an error,
 * something else. */
static bool given_hear(wb_test *t, wb_broker *admin,
		       wb_broker_event_kind wanted, wb_error *ret_why)
{
	wb_broker_event event = {.kind = WB_BROKER_NONE};
	bool heard = false;

	wb_broker_step(admin);
	while (wb_broker_next(admin, &event)) {
		heard = heard || event.kind == wanted;
		if (event.error.code != WB_OK)
			*ret_why = event.error;
	}
	if (!heard)
		fake_clock_advance_us(&t->clock, 1000);
	return heard;
}

static wb_code given_await(wb_test *t, wb_broker *admin,
			   wb_broker_event_kind wanted, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;

	for (int i = 0; i < GIVEN_PUMPS_MAX && why.code == WB_OK; i++)
		if (given_hear(t, admin, wanted, &why))
			return WB_OK;
	if (why.code != WB_OK)
		return WBI_FAIL(err, why.code, "%s", why.text);
	return WBI_FAIL(err, WB_ETIMEOUT, "the memory broker does not answer");
}

static wb_code given_declare(wb_test *t, wb_broker *admin,
			     wb_topology_kind kind, const char *exchange,
			     wb_error *err)
{
	wb_declaration what = {.kind = kind,
			       .name = wb_str_from(KIT_EMITTED_QUEUE),
			       .exchange = wb_str_from(exchange),
			       .binding_key = wb_str_from("#")};
	wb_code code;

	if (kind == WB_TOPOLOGY_EXCHANGE) {
		what.name = what.exchange;
		what.exchange_type = wb_str_from("topic");
	}
	code = wb_broker_declare(admin, &what, 1, err);
	return code == WB_OK ? given_await(t, admin, WB_BROKER_DECLARED, err)
			     : code;
}

/* An exchange, bound to the queue in which emitted events are looked for. The
 * default one leads to queues by their names, and needs neither. */
static wb_code given_exchange(wb_test *t, wb_broker *admin, const char *name,
			      wb_error *err)
{
	wb_code code;

	if (name[0] == '\0')
		return WB_OK;
	code = given_declare(t, admin, WB_TOPOLOGY_EXCHANGE, name, err);
	return code == WB_OK ? given_declare(t, admin, WB_TOPOLOGY_BINDING,
					     name, err)
			     : code;
}

static wb_code given_exchanges(wb_test *t, wb_broker *admin, wb_error *err)
{
	const wb_routes *routes = t->relay_options.routes;
	wb_code code = given_exchange(t, admin, t->options.exchange, err);

	if (code == WB_OK)
		code = given_exchange(t, admin, "events", err);
	for (size_t i = 0; code == WB_OK && routes &&
			   i < wb_routes_count(routes);
	     i++)
		code = given_exchange(t, admin,
				      wb_routes_at(routes, i)->exchange, err);
	return code;
}

wb_code kit_topology(wb_test *t, wb_error *err)
{
	wb_broker *admin;
	wb_code code = wb_memory_connect(t->memory, &admin, err);

	if (code != WB_OK)
		return code;
	code = wb_broker_connect(admin, err);
	if (code == WB_OK)
		code = given_await(t, admin, WB_BROKER_UP, err);
	if (code == WB_OK)
		code = given_declare(t, admin, WB_TOPOLOGY_QUEUE, "", err);
	if (code == WB_OK)
		code = given_exchanges(t, admin, err);
	wb_broker_free(admin);
	return code;
}

/* ---- messages ------------------------------------------------------------ */

static wb_code given_note(wb_test *t, uint64_t from, uint64_t to, wb_error *err)
{
	kit_given *g = &t->given;

	for (; from < to; from++) {
		if (g->count == g->room) {
			size_t room = g->room ? 2 * g->room : 64;
			uint64_t *more = realloc(g->arrivals,
						 room * sizeof(*more));

			if (!more)
				return WBI_FAIL(err, WB_ENOMEM, "a list");
			g->arrivals = more;
			g->room = room;
		}
		g->arrivals[g->count++] = from;
	}
	return WB_OK;
}

static uint64_t given_arrived(const wb_test *t, const char *queue)
{
	return wb_memory_get_queue_stat(t->memory, queue).arrived;
}

wb_code wb_test_given_message(wb_test *test, const wb_message *message,
			      wb_error *err)
{
	const char *queue = test->options.queue;
	uint64_t before = given_arrived(test, queue);
	uint64_t emitted = given_arrived(test, KIT_EMITTED_QUEUE);
	wb_message m = *message;
	wb_code code;

	if (m.exchange.len == 0)
		m.exchange = wb_str_from(test->options.exchange);
	code = wb_memory_put(test->memory, &m, err);
	if (code == WB_OK)
		code = given_note(test, emitted,
				  given_arrived(test, KIT_EMITTED_QUEUE), err);
	if (code != WB_OK || given_arrived(test, queue) > before)
		return code;
	return WBI_FAIL(err, WB_ENOTFOUND,
			"no handler takes '%.*s': queue '%s' is not bound for "
			"it at exchange '%.*s'",
			(int)m.routing_key.len, m.routing_key.ptr, queue,
			(int)m.exchange.len, m.exchange.ptr);
}

static wb_code given_publish(wb_test *t, const wb_event *event, wb_error *err)
{
	size_t names_len = 1, count = event->header_count;
	wbi_envelope_context context = {
		wb_str_from("given"),
		wb_str_from("01900000-0000-7000-8000-000000000000"),
		++t->given.position};
	char scratch[WBI_ENVELOPE_SCRATCH], *names;
	wb_header *headers;
	wb_message message = {.body = WB_STR_NULL};
	wb_code code;

	for (size_t i = 0; i < count; i++)
		names_len += event->headers[i].name.len + 3;
	headers = calloc(count + WBI_ENVELOPE_HEADERS, sizeof(*headers));
	names = malloc(names_len);
	if (headers && names) {
		wbi_envelope_binary(event, &context, headers, names, scratch,
				    &message);
		message.routing_key = event->type;
		code = wb_test_given_message(t, &message, err);
	} else {
		code = WBI_FAIL(err, WB_ENOMEM, "a message");
	}
	free(headers);
	free(names);
	return code;
}

wb_code wb_test_given(wb_test *test, const wb_event *event, wb_error *err)
{
	char id[WB_UUID_TEXT_LEN + 1];
	wb_event e = *event;
	wb_code code;

	if (e.id.len == 0) {
		wb_uuid7(&test->clock.clock, &test->random.random, id);
		e.id = wb_str_from(id);
	}
	if (e.source.len == 0)
		e.source = wb_str_from("/given");
	if (e.time_us == 0)
		e.time_us = test->clock.real_us;
	code = wb_event_check(&e, NULL, err);
	return code == WB_OK ? given_publish(test, &e, err) : code;
}
