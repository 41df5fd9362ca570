/* SPDX-License-Identifier: BSD-2-Clause */
/* See peer.h. */
#include "tests/integration/peer.h"

#include <poll.h>
#include <stdlib.h>

#include "tests/support/testing.h"

enum { PEER_PATIENCE_US = 20000000 };

static int64_t peer_now_us(void)
{
	return wb_system_clock()->mono_us(NULL);
}

wb_amqp_options peer_options(void)
{
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;

	options.uri = getenv("WAYBILL_TEST_AMQP");
	options.connection_name = "waybill test";
	return options;
}

void peer_open(peer *l, const wb_amqp_options *options)
{
	wb_error err = WB_ERROR_INIT;

	memset(l, 0, sizeof(*l));
	assert_ok(wb_amqp_new(options, &l->broker, &err), err);
}

void peer_free(peer *l)
{
	wb_broker_free(l->broker);
}

static bool peer_take(peer *l, peer_event *ret)
{
	wb_broker_event event;
	wb_str text;

	if (!wb_broker_next(l->broker, &event))
		return false;
	l->count[event.kind]++;
	text = event.kind == WB_BROKER_DELIVERY ? event.message.message_id
						: event.text;
	if (text.len >= sizeof(ret->text))
		text.len = sizeof(ret->text) - 1;
	*ret = (peer_event){.kind = event.kind,
			    .token = event.token,
			    .reply_code = event.reply_code,
			    .delivery = event.delivery,
			    .redelivered = event.redelivered,
			    .error = event.error};
	if (text.len > 0)
		memcpy(ret->text, text.ptr, text.len);
	return true;
}

static void peer_poll(peer *l, int64_t until_us)
{
	struct pollfd fd = {wb_broker_fd(l->broker), POLLIN, 0};
	int64_t deadline = wb_broker_deadline_us(l->broker);
	int64_t left =
		(deadline < until_us ? deadline : until_us) - peer_now_us();

	poll(&fd, 1, left > 0 ? (int)(left / 1000 + 1) : 0);
}

peer_event peer_next(peer *l)
{
	int64_t until_us = peer_now_us() + PEER_PATIENCE_US;
	peer_event event;

	while (!peer_take(l, &event)) {
		if (peer_now_us() > until_us)
			fail_msg("nothing happened for 20 s");
		peer_poll(l, until_us);
		wb_broker_step(l->broker);
	}
	return event;
}

peer_event peer_wait(peer *l, wb_broker_event_kind kind)
{
	for (;;) {
		peer_event event = peer_next(l);

		if (event.kind == kind)
			return event;
		if (event.kind == WB_BROKER_DOWN ||
		    event.kind == WB_BROKER_CHANNEL_CLOSED ||
		    event.kind == WB_BROKER_DECLARE_FAILED ||
		    event.kind == WB_BROKER_CANCELLED)
			fail_msg("waited for %d, got %d: %s", kind, event.kind,
				 event.error.text);
	}
}

void peer_idle(peer *l, int ms)
{
	int64_t until_us = peer_now_us() + (int64_t)ms * 1000;

	while (peer_now_us() < until_us) {
		peer_poll(l, until_us);
		wb_broker_step(l->broker);
	}
}

void peer_up(peer *l, const wb_amqp_options *options)
{
	wb_error err = WB_ERROR_INIT;

	peer_open(l, options);
	assert_ok(wb_broker_connect(l->broker, &err), err);
	peer_wait(l, WB_BROKER_UP);
}

peer_event peer_declare(peer *l, const wb_declaration *what)
{
	wb_error err = WB_ERROR_INIT;
	peer_event event;

	assert_ok(wb_broker_declare(l->broker, what, 4711, &err), err);
	do
		event = peer_next(l);
	while (event.kind != WB_BROKER_DECLARED &&
	       event.kind != WB_BROKER_DECLARE_FAILED &&
	       event.kind != WB_BROKER_DOWN);
	assert_int_not_equal(event.kind, WB_BROKER_DOWN);
	assert_int_equal(event.token, 4711);
	return event;
}
