/* SPDX-License-Identifier: BSD-2-Clause */
/* See echo.h. What is put goes to the queues themselves, so an echo is not
 * heard again. One thread; messages are copied, since a delivery lives until
 * the next call. */
#include "tests/faults/echo.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <waybill/amqp.h>

#include "examples/choreography/flow.h"

enum { ECHO_TURNS = 1000, ECHO_BEHIND = 12, ECHO_HEADERS = 40, ECHO_QUEUE = 1 };

struct echo_message {
	wb_message m;
	wb_header headers[ECHO_HEADERS];
	char text[ECHO_TEXT_MAX];
	size_t len;
	char id[40]; /* another one */
};

static bool echo_say(const char *what, const char *why)
{
	fprintf(stderr, "echo: %s: %s\n", what, why);
	return false;
}

static wb_str echo_copy(echo_message *to, wb_str s)
{
	char *at = to->text + to->len;

	if (s.len > sizeof(to->text) - to->len)
		return WB_STR_NULL;
	if (s.len > 0)
		memcpy(at, s.ptr, s.len);
	to->len += s.len;
	return wb_str_n(at, s.len);
}

static bool echo_keep(echo *e, const wb_message *m)
{
	echo_message *kept = calloc(1, sizeof(*kept));

	if (!kept || e->heard == ECHO_KEPT_MAX ||
	    m->header_count > ECHO_HEADERS) {
		free(kept);
		return echo_say("keeping", "too much");
	}
	kept->m = *m;
	kept->m.exchange = WB_STR_NULL;
	kept->m.message_id = echo_copy(kept, m->message_id);
	kept->m.type = echo_copy(kept, m->type);
	kept->m.app_id = echo_copy(kept, m->app_id);
	kept->m.content_type = echo_copy(kept, m->content_type);
	kept->m.correlation_id = echo_copy(kept, m->correlation_id);
	kept->m.reply_to = WB_STR_NULL;
	kept->m.body = echo_copy(kept, m->body);
	kept->m.headers = kept->headers;
	snprintf(kept->id, sizeof(kept->id), "again-%llu",
		 (unsigned long long)e->heard);
	for (size_t i = 0; i < m->header_count; i++) {
		kept->headers[i].name = echo_copy(kept, m->headers[i].name);
		kept->headers[i].value = echo_copy(kept, m->headers[i].value);
	}
	e->kept[e->heard++] = kept;
	return true;
}

/* ---- saying it again ----------------------------------------------------- */

static bool echo_is_in(const char *list, wb_str type)
{
	while (list && *list) {
		size_t len = strcspn(list, "|");

		if (wb_str_eq(wb_str_n(list, len), type))
			return true;
		list += len + (list[len] == '|');
	}
	return false;
}

static bool echo_listens(const char *service, wb_str type)
{
	for (size_t i = 0; i < flow.count; i++)
		if (!strcmp(flow.reactions[i].service, service) &&
		    (echo_is_in(flow.reactions[i].on, type) ||
		     echo_is_in(flow.reactions[i].awaits, type)))
			return true;
	return false;
}

static bool echo_put(echo *e, echo_message *kept, bool renamed)
{
	static const char *const services[] = {"booking", "billing", "parking"};
	wb_error err = WB_ERROR_INIT;
	wb_header headers[ECHO_HEADERS];
	wb_message m = kept->m;

	memcpy(headers, kept->headers, sizeof(headers));
	m.headers = headers;
	for (size_t i = 0; renamed && i < m.header_count; i++)
		if (wb_str_eq(headers[i].name, wb_str_from("ce-id")))
			headers[i].value = wb_str_from(kept->id);
	if (renamed)
		m.message_id = wb_str_from(kept->id);
	for (size_t i = 0; i < 3; i++) {
		if (!echo_listens(services[i], m.type))
			continue;
		m.routing_key = wb_str_from(services[i]);
		if (wb_broker_publish(e->broker, &m, ++e->token, &err) != WB_OK)
			return echo_say("publishing", err.text);
		e->again++;
	}
	wb_broker_flush(e->broker);
	return true;
}

/* The older half of what waits, the last first. */
static bool echo_return(echo *e, uint64_t until)
{
	bool good = true;

	for (uint64_t i = until; good && i-- > e->next;)
		good = echo_put(e, e->kept[i], i % 3 == 0);
	e->next = until;
	return good;
}

/* ---- the broker ---------------------------------------------------------- */

static void echo_declare(echo *e)
{
	const wb_str name = wb_str_from("echo"), events = wb_str_from("events");
	const wb_declaration what[] = {
		{.kind = WB_TOPOLOGY_EXCHANGE,
		 .name = events,
		 .exchange_type = wb_str_from("topic")},
		{.kind = WB_TOPOLOGY_QUEUE, .name = name},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = name,
		 .exchange = events,
		 .binding_key = wb_str_from("#")},
	};

	for (size_t i = 0; i < 3; i++)
		(void)wb_broker_declare(e->broker, &what[i], i, NULL);
	wb_broker_flush(e->broker);
}

static bool echo_hear(echo *e)
{
	wb_broker_event event;

	wb_broker_step(e->broker);
	while (wb_broker_next(e->broker, &event)) {
		switch (event.kind) {
		case WB_BROKER_UP:
			echo_declare(e);
			break;
		case WB_BROKER_DECLARED:
			if (event.token == 2) /* the last of them */
				(void)wb_broker_consume(e->broker,
							wb_str_from("echo"),
							1000, 99, NULL);
			break;
		case WB_BROKER_CONSUMING:
			e->consuming = true;
			break;
		case WB_BROKER_DELIVERY:
			if (!echo_keep(e, &event.message))
				return false;
			(void)wb_broker_ack(e->broker, event.delivery, false,
					    NULL);
			break;
		case WB_BROKER_DOWN:
		case WB_BROKER_CANCELLED:
		case WB_BROKER_DECLARE_FAILED:
		case WB_BROKER_CHANNEL_CLOSED:
		case WB_BROKER_RETURNED:
			return echo_say("the broker", event.error.text);
		default:
			break;
		}
	}
	wb_broker_flush(e->broker);
	return true;
}

bool echo_open(echo *e, const char *uri)
{
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	*e = (echo){.kept = calloc(ECHO_KEPT_MAX, sizeof(echo_message *))};
	options.uri = uri;
	options.connection_name = "echo";
	if (!e->kept || wb_amqp_new(&options, &e->broker, &err) != WB_OK ||
	    wb_broker_connect(e->broker, &err) != WB_OK)
		return echo_say("connecting", err.text);
	for (int i = 0; i < ECHO_TURNS && !e->consuming; i++) {
		struct pollfd fd = {wb_broker_fd(e->broker), POLLIN, 0};

		poll(&fd, 1, 20);
		if (!echo_hear(e))
			return false;
	}
	return e->consuming || echo_say("consuming", "no answer");
}

bool echo_step(echo *e)
{
	if (!echo_hear(e))
		return false;
	return e->heard - e->next < ECHO_BEHIND ||
	       echo_return(e, e->next + ECHO_BEHIND / 2);
}

bool echo_is_done(const echo *e)
{
	return e->heard - e->next < ECHO_BEHIND;
}

void echo_repeat_all(echo *e)
{
	e->next = 0;
	(void)echo_return(e, e->heard);
}

void echo_close(echo *e)
{
	wb_broker_free(e->broker);
	for (uint64_t i = 0; e->kept && i < e->heard; i++)
		free(e->kept[i]);
	free(e->kept);
}
