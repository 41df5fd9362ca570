/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/broker-adapters/amqp/session_rig.h"

wbi_session_options rig_options(void)
{
	wbi_session_options options = {
		.user = "relay",
		.password = "s3cret",
		.vhost = "/",
		.connection_name = "waybill test",
		.heartbeat_s = 15,
		.frame_max_bytes = 131072,
		.body_max_bytes = 1024 * 1024,
		.unsettled_max = 4096,
		.buffer_max_bytes = 256 * 1024,
		.handshake_timeout_ms = 10000,
		.close_timeout_ms = 1000,
	};

	return options;
}

void rig_begin(session_rig *rig, const wbi_session_options *options,
	       const amqp_peer_options *peer)
{
	wbi_session_options defaults = rig_options();
	wb_error err = WB_ERROR_INIT;

	*rig = (session_rig){.now_us = 1000000,
			     .cut_to_peer = SIZE_MAX,
			     .cut_to_session = SIZE_MAX};
	wbi_buffer_init(&rig->heard, 64 * 1024 * 1024);
	rig->peer = amqp_peer_new(peer);
	assert_ok(wbi_session_new(options ? options : &defaults, rig->now_us,
				  &rig->session, &err),
		  err);
}

void rig_end(session_rig *rig)
{
	wbi_session_free(rig->session);
	amqp_peer_free(rig->peer);
	wbi_buffer_fini(&rig->heard);
}

/* How much of `len` goes through now. */
static size_t rig_share(const session_rig *rig, size_t len, size_t moved,
			size_t cut)
{
	if (rig->chunk > 0 && len > rig->chunk)
		len = rig->chunk;
	return len < cut - moved ? len : cut - moved;
}

static bool rig_move_to_peer(session_rig *rig)
{
	wbi_buffer *out = wbi_session_output(rig->session);
	size_t n = rig_share(rig, wbi_buffer_len(out), rig->to_peer,
			     rig->cut_to_peer);

	if (n == 0)
		return false;
	amqp_peer_feed(rig->peer, wbi_buffer_data(out), n);
	wbi_buffer_consume(out, n);
	rig->to_peer += n;
	return true;
}

static bool rig_move_to_session(session_rig *rig)
{
	wbi_buffer *out = amqp_peer_output(rig->peer);
	size_t n = rig_share(rig, wbi_buffer_len(out), rig->to_session,
			     rig->cut_to_session);
	uint8_t *exact;

	if (n == 0)
		return false;
	/* A block of its own size, so that a sanitizer sees each overrun. */
	exact = test_malloc(n);
	memcpy(exact, wbi_buffer_data(out), n);
	wbi_buffer_consume(out, n);
	assert_int_equal(wbi_buffer_append(&rig->heard, exact, n), WB_OK);
	wbi_session_feed(rig->session, exact, n, rig->now_us);
	test_free(exact);
	rig->to_session += n;
	return true;
}

void rig_pump(session_rig *rig)
{
	bool moved = true;

	while (moved) {
		moved = rig_move_to_peer(rig);
		if (!wbi_session_is_over(rig->session))
			moved = rig_move_to_session(rig) || moved;
	}
}

void rig_expect(session_rig *rig, wb_broker_event_kind kind,
		wb_broker_event *ret)
{
	wb_broker_event event;

	if (!ret)
		ret = &event;
	rig_pump(rig);
	wbi_session_next(rig->session, ret);
	if (ret->kind != kind)
		fail_msg("event %d instead of %d: %s", ret->kind, kind,
			 ret->error.text);
}

void rig_expect_nothing(session_rig *rig)
{
	rig_expect(rig, WB_BROKER_NONE, NULL);
}

void rig_up(session_rig *rig, const wbi_session_options *options,
	    const amqp_peer_options *peer)
{
	rig_begin(rig, options, peer);
	rig_expect(rig, WB_BROKER_UP, NULL);
	assert_true(amqp_peer_is_open(rig->peer));
}

wb_code rig_publish(session_rig *rig, const char *id, const char *body,
		    uint64_t token)
{
	wb_message message = {.exchange = S("events"),
			      .routing_key = S("k"),
			      .message_id = wb_str_from(id),
			      .type = S("t"),
			      .persistent = true,
			      .body = wb_str_from(body)};

	return wbi_session_publish(rig->session, &message, token, NULL);
}

amqp_peer_verdict rig_judge(void *ctx, const amqp_published *message)
{
	(void)ctx;
	switch (message->message_id.ptr[0]) {
	case 'n':
		return AMQP_PEER_NACK;
	case 'r':
		return AMQP_PEER_RETURN;
	case 'm':
		return AMQP_PEER_MISSING;
	default:
		return AMQP_PEER_ACK;
	}
}

wb_code rig_consume(wbi_session *session, wb_str queue, uint16_t prefetch,
		    uint64_t token, wb_error *err)
{
	const wb_consumption what = {.queue = queue, .prefetch = prefetch};

	return wbi_session_consume(session, &what, token, err);
}
