/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A consumer that knows nothing of the store: it makes its queue, prints and
 * logs what arrives, and acknowledges after the log is written.
 *
 * A line of the log: milliseconds since its start, position, "again" or "new",
 * id, key, type; tabs between them. It ends by SIGTERM.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <waybill/amqp.h>

enum { PREFETCH = 500, SHOWN_FIRST = 8, SHOWN_EVERY = 500, SHOWN_BYTES = 72 };

enum declare_step { DECLARE_EXCHANGE, DECLARE_QUEUE, DECLARE_BINDING, READY };

typedef struct consumer {
	wb_broker *broker;
	const char *queue;
	FILE *log;
	enum declare_step step;
	uint64_t received, unacked; /* unacked: tag of the last one, or 0 */
	int64_t start_us;
	bool failed;
} consumer;

static int64_t consumer_now_us(void)
{
	const wb_clock *clock = wb_system_clock();

	return clock->mono_us(clock->ctx);
}

static wb_str consumer_header(const wb_message *m, const char *name)
{
	for (size_t i = 0; i < m->header_count; i++)
		if (wb_str_eq(m->headers[i].name, wb_str_from(name)))
			return m->headers[i].value;
	return wb_str_from("");
}

/* Make the next of exchange, queue and binding, or start to consume. */
static wb_code consumer_set_up(consumer *c, wb_error *err)
{
	static const wb_argument quorum = {
		.name = {"x-queue-type", 12}, .text = {"quorum", 6}};
	wb_declaration d = {.name = wb_str_from(c->queue)};

	switch (c->step) {
	case DECLARE_EXCHANGE:
		d.kind = WB_TOPOLOGY_EXCHANGE;
		d.name = wb_str_from("events");
		d.exchange_type = wb_str_from("topic");
		break;
	case DECLARE_QUEUE:
		d.kind = WB_TOPOLOGY_QUEUE;
		d.arguments = &quorum;
		d.argument_count = 1;
		break;
	case DECLARE_BINDING:
		d.kind = WB_TOPOLOGY_BINDING;
		d.exchange = wb_str_from("events");
		d.binding_key = wb_str_from("#");
		break;
	case READY:
		return wb_broker_consume(c->broker, wb_str_from(c->queue),
					 PREFETCH, 0, err);
	}
	return wb_broker_declare(c->broker, &d, c->step, err);
}

/* What others sent is no command to our terminal. */
static const char *consumer_plain(wb_str text, char ret[SHOWN_BYTES + 1])
{
	size_t n = text.len < SHOWN_BYTES ? text.len : SHOWN_BYTES;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		ret[i] = c < 0x20 || c == 0x7f ? '.' : text.ptr[i];
	}
	ret[n] = '\0';
	return ret;
}

static void consumer_show(const consumer *c, const wb_message *m, wb_str key)
{
	char type[SHOWN_BYTES + 1], name[SHOWN_BYTES + 1];
	char body[SHOWN_BYTES + 1];

	if (c->received > SHOWN_FIRST && c->received % SHOWN_EVERY)
		return;
	printf("  %6" PRIu64 "  %-15s %-26s %s\n", c->received,
	       consumer_plain(m->type, type), consumer_plain(key, name),
	       consumer_plain(m->body, body));
	if (c->received == SHOWN_FIRST)
		printf("     ...  and from here one in %d\n", SHOWN_EVERY);
	fflush(stdout);
}

static void consumer_take(consumer *c, const wb_broker_event *e)
{
	const wb_message *m = &e->message;
	wb_str key = consumer_header(m, "ce-partitionkey");
	wb_str position = consumer_header(m, "ce-wbposition");

	c->received++;
	fprintf(c->log, "%" PRId64 "\t%.*s\t%s\t%.*s\t%.*s\t%.*s\n",
		(consumer_now_us() - c->start_us) / 1000, (int)position.len,
		position.ptr, e->redelivered ? "again" : "new",
		(int)m->message_id.len, m->message_id.ptr, (int)key.len,
		key.ptr, (int)m->type.len, m->type.ptr);
	consumer_show(c, m, key);
	c->unacked = e->delivery;
}

/* What is in the log is safe from this process's end: then acknowledge. */
static wb_code consumer_ack(consumer *c, wb_error *err)
{
	uint64_t last = c->unacked;

	if (last == 0)
		return WB_OK;
	c->unacked = 0;
	if (fflush(c->log) != 0)
		return wb_error_set(err, WB_EIO, errno, __func__,
				    "the log cannot be written");
	return wb_broker_ack(c->broker, last, true, err);
}

static wb_code consumer_handle(consumer *c, const wb_broker_event *e,
			       wb_error *err)
{
	switch (e->kind) {
	case WB_BROKER_DECLARED:
		c->step++;
		return consumer_set_up(c, err);
	case WB_BROKER_UP:
		c->step = DECLARE_EXCHANGE;
		return consumer_set_up(c, err);
	case WB_BROKER_CONSUMING:
		printf("  (the consumer waits at queue \"%s\")\n", c->queue);
		fflush(stdout);
		break;
	case WB_BROKER_DELIVERY:
		consumer_take(c, e);
		break;
	case WB_BROKER_DOWN:
	case WB_BROKER_DECLARE_FAILED:
	case WB_BROKER_CANCELLED:
		*err = e->error;
		return err->code ? err->code : WB_ECLOSED;
	default:
		break;
	}
	return WB_OK;
}

static wb_code consumer_loop(consumer *c, int signals, wb_error *err)
{
	struct pollfd fds[2] = {{wb_broker_fd(c->broker), POLLIN, 0},
				{signals, POLLIN, 0}};
	wb_broker_event e;

	if (wb_broker_connect(c->broker, err))
		return err->code;
	for (;;) {
		wb_broker_step(c->broker);
		while (wb_broker_next(c->broker, &e))
			if (consumer_handle(c, &e, err))
				return err->code;
		if (consumer_ack(c, err))
			return err->code;
		wb_broker_flush(c->broker);
		if (poll(fds, 2, 50) > 0 && fds[1].revents)
			return WB_OK;
	}
}

static int consumer_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
	wb_error err = WB_ERROR_INIT;
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;
	consumer c = {.start_us = consumer_now_us()};

	if (argc != 4) {
		fprintf(stderr, "Usage: consumer URI QUEUE LOG\n");
		return 2;
	}
	options.uri = argv[1];
	options.connection_name = "dpkg-history consumer";
	c.queue = argv[2];
	c.log = fopen(argv[3], "w");
	if (!c.log)
		wb_error_set(&err, WB_EIO, errno, __func__,
			     "cannot write the log %s", argv[3]);
	else if (wb_amqp_new(&options, &c.broker, &err) == WB_OK)
		consumer_loop(&c, consumer_signals(), &err);
	wb_broker_free(c.broker);
	if (c.log)
		fclose(c.log);
	if (err.code)
		fprintf(stderr, "consumer: %s\n", err.text);
	return err.code != WB_OK;
}
