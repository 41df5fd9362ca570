/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The RabbitMQ adapter over a socket, with a scripted peer in this very
 * process, for which nothing fails. A session has all that there is:
 * declarations, publishes that are confirmed and returned, deliveries, a closed
 * channel, a close. A failure is refused by the call, or costs the connection
 * and says why; the second session then goes through.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <waybill/amqp.h>

#include "lib/base/assert.h"
#include "tests/crash/fail_points.h"
#include "tests/support/amqp_peer.h"
#include "tests/support/testing.h"

enum { LINE_MESSAGES = 70, LINE_DELIVERIES = 3, LINE_TURNS = 5000 };

typedef struct line {
	wb_broker *broker;
	amqp_peer *peer;
	int listener, fd;                      /* -1: nobody is there */
	unsigned told[WB_BROKER_DELIVERY + 1]; /* in this session */
	uint64_t deliveries[LINE_DELIVERIES];
	wb_error why; /* of DOWN */
} line;

/* ---- the peer ------------------------------------------------------------ */

static void peer_listen(line *l, char uri[64])
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(at);

	l->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(l->listener >= 0);
	assert_int_equal(bind(l->listener, (void *)&at, size), 0);
	assert_int_equal(listen(l->listener, 4), 0);
	assert_int_equal(getsockname(l->listener, (void *)&at, &size), 0);
	snprintf(uri, 64, "amqp://ann:secret@127.0.0.1:%u", ntohs(at.sin_port));
}

static void peer_hear(line *l)
{
	uint8_t bytes[65536];
	ssize_t n;

	if (l->fd < 0) {
		l->fd = accept(l->listener, NULL, NULL);
		if (l->fd < 0)
			return;
		fcntl(l->fd, F_SETFL, O_NONBLOCK);
		amqp_peer_reconnect(l->peer);
	}
	n = recv(l->fd, bytes, sizeof(bytes), 0);
	if (n > 0)
		amqp_peer_feed(l->peer, bytes, (size_t)n);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		close(l->fd);
		l->fd = -1;
	}
}

static void peer_say(line *l)
{
	wbi_buffer *out = amqp_peer_output(l->peer);
	ssize_t n = 0;

	if (l->fd >= 0 && wbi_buffer_len(out) > 0)
		n = send(l->fd, wbi_buffer_data(out), wbi_buffer_len(out),
			 MSG_NOSIGNAL);
	if (n > 0)
		wbi_buffer_consume(out, (size_t)n);
}

static amqp_peer_verdict peer_judge(void *ctx, const amqp_published *message)
{
	(void)ctx;
	return wb_str_eq(message->message_id, S("m5")) ? AMQP_PEER_RETURN
						       : AMQP_PEER_ACK;
}

/* ---- one session --------------------------------------------------------- */

static void take_events(line *l)
{
	wb_broker_event event;

	while (wb_broker_next(l->broker, &event)) {
		unsigned *count = &l->told[event.kind];

		if (event.kind == WB_BROKER_DELIVERY &&
		    *count < LINE_DELIVERIES)
			l->deliveries[*count] = event.delivery;
		if (event.kind == WB_BROKER_DOWN)
			l->why = event.error;
		++*count;
	}
}

/* Until it was told so often; false: the connection is lost. */
static bool wait_for(line *l, wb_broker_event_kind kind, unsigned count)
{
	for (int i = 0; i < LINE_TURNS && l->told[kind] < count; i++) {
		struct pollfd nothing = {-1, 0, 0};

		if (l->told[WB_BROKER_DOWN] > 0)
			return false;
		fail_hold(true);
		peer_hear(l);
		peer_say(l);
		if (i > 20)
			poll(&nothing, 1, 1);
		fail_hold(false);
		wb_broker_step(l->broker);
		take_events(l);
	}
	assert_true(l->told[kind] >= count);
	return true;
}

static bool declare_all(line *l, wb_error *err)
{
	const wb_declaration all[] = {
		{.kind = WB_TOPOLOGY_EXCHANGE,
		 .name = S("e"),
		 .exchange_type = S("topic")},
		{.kind = WB_TOPOLOGY_QUEUE, .name = S("q")},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = S("q"),
		 .exchange = S("e"),
		 .binding_key = S("#")},
	};

	for (uint64_t i = 0; i < WBI_COUNT(all); i++)
		if (wb_broker_declare(l->broker, &all[i], i, err) != WB_OK)
			return false;
	return wait_for(l, WB_BROKER_DECLARED, WBI_COUNT(all));
}

static bool publish_all(line *l, wb_error *err)
{
	static const char body[5000];
	const wb_header headers[] = {{S("a"), S("b")}, {S("c"), S("")}};
	char id[16];
	wb_message message = {.exchange = S("e"),
			      .routing_key = S("k"),
			      .type = S("done"),
			      .content_type = S("text/plain"),
			      .persistent = true,
			      .headers = headers,
			      .header_count = 2};

	for (uint64_t i = 0; i < LINE_MESSAGES; i++) {
		int len = snprintf(id, sizeof(id), "m%u", (unsigned)i);

		message.message_id = wb_str_n(id, (size_t)len);
		message.body = wb_str_n(body, i % 7 * 700);
		if (wb_broker_publish(l->broker, &message, i, err) != WB_OK)
			return false;
	}
	wb_broker_flush(l->broker);
	return wait_for(l, WB_BROKER_RETURNED, 1) &&
	       wait_for(l, WB_BROKER_ACKED, LINE_MESSAGES - 1);
}

static bool consume_some(line *l, wb_error *err)
{
	const wb_header header = {S("x-a"), S("b")};
	const wb_message message = {.exchange = S("e"),
				    .routing_key = S("k"),
				    .message_id = S("d"),
				    .headers = &header,
				    .header_count = 1,
				    .body = S("body")};

	if (wb_broker_consume(l->broker, S("q"), 10, 7, err) != WB_OK ||
	    !wait_for(l, WB_BROKER_CONSUMING, 1))
		return false;
	fail_hold(true);
	for (int i = 0; i < LINE_DELIVERIES; i++)
		amqp_peer_deliver(l->peer, &message, false);
	fail_hold(false);
	if (!wait_for(l, WB_BROKER_DELIVERY, LINE_DELIVERIES))
		return false;
	return wb_broker_ack(l->broker, l->deliveries[0], false, err) ==
		       WB_OK &&
	       wb_broker_reject(l->broker, l->deliveries[1], true, err) ==
		       WB_OK &&
	       wb_broker_ack(l->broker, l->deliveries[2], true, err) == WB_OK;
}

static bool lose_the_channel(line *l, wb_error *err)
{
	fail_hold(true);
	amqp_peer_block(l->peer, "no memory");
	amqp_peer_unblock(l->peer);
	amqp_peer_close_channel(l->peer, 1, 404, "NOT_FOUND - no queue 'q'");
	fail_hold(false);
	return wait_for(l, WB_BROKER_BLOCKED, 1) &&
	       wait_for(l, WB_BROKER_CHANNEL_CLOSED, 1) &&
	       wb_broker_reopen(l->broker, err) == WB_OK &&
	       wait_for(l, WB_BROKER_CHANNEL_OPEN, 1);
}

/* All of it; false: it ended early, and *err or l->why says why. */
static bool session(line *l, wb_error *err)
{
	bool good;

	memset(l->told, 0, sizeof(l->told));
	if (wb_broker_connect(l->broker, err) != WB_OK)
		return false;
	good = wait_for(l, WB_BROKER_UP, 1) && declare_all(l, err) &&
	       publish_all(l, err) && consume_some(l, err) &&
	       lose_the_channel(l, err);
	if (l->told[WB_BROKER_DOWN] == 0)
		wb_broker_close(l->broker);
	wait_for(l, WB_BROKER_DOWN, 1);
	return good;
}

static wb_code line_run(const char *dir, wb_error *err)
{
	const amqp_peer_options how = {.judge = peer_judge};
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;
	line l = {.fd = -1};
	char uri[64];
	wb_code code;

	(void)dir;
	/* rabbitmq-c loses a block of a pool whose list cannot grow, libc
	 * keeps what it has made for a thread. */
	fail_allow_blocks(1);
	fail_hold(true);
	l.peer = amqp_peer_new(&how);
	peer_listen(&l, uri);
	fail_hold(false);
	options.uri = uri;
	code = wb_amqp_new(&options, &l.broker, err);
	if (code == WB_OK && !session(&l, err)) {
		wb_error again = WB_ERROR_INIT;

		assert_string_not_equal(err->code ? err->text : l.why.text, "");
		wb_error_clear(err);
		assert_true(session(&l, &again));
	}
	wb_broker_free(l.broker);
	fail_hold(true);
	amqp_peer_free(l.peer);
	if (l.fd >= 0)
		close(l.fd);
	close(l.listener);
	fail_hold(false);
	return code;
}

const fail_work fail_amqp = {"amqp", NULL, line_run, NULL};
