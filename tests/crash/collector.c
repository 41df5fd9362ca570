/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A consumer that shares nothing with the store: what arrives at a queue goes
 * to a log, in the order of arrival, and is acknowledged after that.
 *
 *   collector URI QUEUE LOG
 *
 * A line is "id position new|again", the last one as the broker flags it. It
 * connects again for as long as it lives, and is ended by a signal.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <waybill/amqp.h>

enum { PREFETCH = 200, PAUSE_MS = 100, PATIENCE_US = 3000000 };

typedef struct collector {
	wb_broker *broker;
	wb_str queue;
	int log;
	uint64_t last; /* delivery to acknowledge, 0: none */
	int64_t asked_us; /* to consume, and no answer yet; 0: none */
	bool down;
} collector;

static int64_t collector_now_us(void)
{
	return wb_system_clock()->mono_us(NULL);
}

static wb_str collector_header(const wb_message *m, const char *name)
{
	for (size_t i = 0; i < m->header_count; i++)
		if (wb_str_eq(m->headers[i].name, wb_str_from(name)))
			return m->headers[i].value;
	return wb_str_from("0");
}

static void collector_take(collector *c, const wb_broker_event *event)
{
	const wb_message *m = &event->message;
	wb_str at = collector_header(m, "ce-wbposition");
	char line[600];
	int len = snprintf(line, sizeof(line), "%.*s %.*s %s\n",
			   (int)m->message_id.len, m->message_id.ptr,
			   (int)at.len, at.ptr,
			   event->redelivered ? "again" : "new");

	if (write(c->log, line, (size_t)len) != len)
		abort();
	c->last = event->delivery;
}

static void collector_hear(collector *c)
{
	wb_error err = WB_ERROR_INIT;
	wb_broker_event event;

	while (wb_broker_next(c->broker, &event)) {
		switch (event.kind) {
		case WB_BROKER_UP:
			c->asked_us = collector_now_us();
			(void)wb_broker_consume(c->broker, c->queue, PREFETCH,
						1, &err);
			break;
		case WB_BROKER_CONSUMING:
			c->asked_us = 0;
			break;
		case WB_BROKER_DELIVERY:
			collector_take(c, &event);
			break;
		case WB_BROKER_CANCELLED:
			fprintf(stderr, "cancelled: %s\n", event.error.text);
			wb_broker_close(c->broker);
			break;
		case WB_BROKER_DOWN:
			fprintf(stderr, "down: %s\n", event.error.text);
			c->down = true;
			c->last = 0;
			c->asked_us = 0;
			break;
		default:
			break;
		}
	}
	if (c->last && wb_broker_ack(c->broker, c->last, true, &err) == WB_OK)
		wb_broker_flush(c->broker);
	c->last = 0;
}

/* A queue that was killed with its broker may take a minute to answer, or
 * until it is asked again. */
static void collector_insist(collector *c)
{
	if (c->asked_us == 0 || collector_now_us() - c->asked_us < PATIENCE_US)
		return;
	fprintf(stderr, "no answer to consume\n");
	c->asked_us = 0;
	wb_broker_close(c->broker);
}

static void collector_wait(collector *c)
{
	struct pollfd fd = {wb_broker_fd(c->broker), POLLIN, 0};
	int64_t left = wb_broker_deadline_us(c->broker) - collector_now_us();

	if (left > 100000)
		left = 100000;
	poll(&fd, 1, left > 0 ? (int)(left / 1000) + 1 : 0);
}

int main(int argc, char **argv)
{
	const struct timespec pause = {0, PAUSE_MS * 1000000};
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	collector c = {.down = true};

	if (argc != 4) {
		fprintf(stderr, "Usage: collector URI QUEUE LOG\n");
		return 2;
	}
	options.uri = argv[1];
	options.connection_name = "collector";
	options.heartbeat_s = 5;
	c.queue = wb_str_from(argv[2]);
	c.log = open(argv[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (c.log < 0 || wb_amqp_new(&options, &c.broker, &err)) {
		fprintf(stderr, "collector: %s\n", err.text);
		return 1;
	}
	for (;;) {
		if (c.down) {
			nanosleep(&pause, NULL);
			wb_error_clear(&err);
			c.down = wb_broker_connect(c.broker, &err) != WB_OK;
		}
		wb_broker_step(c.broker);
		collector_hear(&c);
		collector_insist(&c);
		collector_wait(&c);
	}
}
