/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A broker that says anything at any time, against the shipped session: its
 * bytes come raw, as frames, as methods with arguments of its own making, or
 * well formed from the scripted peer, while the client publishes, declares,
 * consumes and settles. What must hold: each publish is settled at most once,
 * nothing is told after DOWN, and a delivery can be read as an event or not.
 */
#include "broker-adapters/amqp/session.h"
#include "lib/base/assert.h"
#include "lib/event/envelope.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/amqp_peer.h"

enum { OPS_MAX = 96, TOKENS = 64 };

typedef struct run {
	fuzz_in in;
	wbi_session *session;
	amqp_peer *peer;
	int64_t now_us;
	uint64_t token, delivery;
	bool outstanding[TOKENS + 1]; /* by token: published, not settled */
	bool over;
} run;

/* ---- what the session tells --------------------------------------------- */

static void settle(run *r, uint64_t token)
{
	FUZZ_HOLDS(token <= TOKENS && r->outstanding[token]);
	r->outstanding[token] = false;
}

static void read_delivery(run *r, const wb_broker_event *event)
{
	wbi_received received;

	FUZZ_HOLDS(event->delivery > r->delivery);
	r->delivery = event->delivery;
	if (wbi_envelope_read(&event->message, NULL, &received, NULL) == WB_OK)
		wbi_envelope_read_fini(&received);
}

static void hear(run *r)
{
	wb_broker_event event;

	while (wbi_session_next(r->session, &event)) {
		FUZZ_HOLDS(!r->over);
		switch (event.kind) {
		case WB_BROKER_ACKED:
		case WB_BROKER_NACKED:
		case WB_BROKER_RETURNED:
			settle(r, event.token);
			break;
		case WB_BROKER_CHANNEL_CLOSED:
			memset(r->outstanding, 0, sizeof(r->outstanding));
			break;
		case WB_BROKER_DELIVERY:
			read_delivery(r, &event);
			break;
		case WB_BROKER_DOWN:
			FUZZ_HOLDS(event.error.code != WB_OK);
			r->over = true;
			break;
		default:
			break;
		}
	}
}

/* ---- what the broker says ----------------------------------------------- */

static void feed(run *r, wb_str bytes)
{
	if (bytes.len > 0 && !wbi_session_is_over(r->session))
		wbi_session_feed(r->session, (const uint8_t *)bytes.ptr,
				 bytes.len, r->now_us);
	hear(r);
}

/* All that the scripted peer has to say, and it hears all there is. */
static void pump(run *r)
{
	for (int i = 0; i < 16; i++) {
		wbi_buffer *out = wbi_session_output(r->session);
		size_t len = wbi_buffer_len(out);

		amqp_peer_feed(r->peer, wbi_buffer_data(out), len);
		wbi_buffer_consume(out, len);
		out = amqp_peer_output(r->peer);
		len = wbi_buffer_len(out);
		if (len == 0)
			break;
		feed(r, wb_str_n(wbi_buffer_data(out), len));
		wbi_buffer_consume(out, len);
	}
	hear(r);
}

static void say_frame(run *r, uint8_t type, uint16_t channel, wb_str payload)
{
	uint8_t *frame = fuzz_block(&r->in, payload.len + 8);

	if (!frame)
		return;
	frame[0] = type;
	frame[1] = (uint8_t)(channel >> 8);
	frame[2] = (uint8_t)channel;
	frame[3] = (uint8_t)(payload.len >> 24);
	frame[4] = (uint8_t)(payload.len >> 16);
	frame[5] = (uint8_t)(payload.len >> 8);
	frame[6] = (uint8_t)payload.len;
	if (payload.len > 0)
		memcpy(frame + 7, payload.ptr, payload.len);
	frame[7 + payload.len] = 0xce;
	feed(r, wb_str_n(frame, payload.len + 8));
}

/* Methods that a broker sends: class and number. */
static const uint8_t methods[][2] = {
	{10, 10}, {10, 20}, {10, 30}, {10, 41}, {10, 50}, {10, 51}, {10, 60},
	{10, 61}, {20, 11}, {20, 20}, {20, 40}, {20, 41}, {40, 11}, {50, 11},
	{50, 21}, {60, 11}, {60, 21}, {60, 30}, {60, 31}, {60, 50}, {60, 60},
	{60, 80}, {60, 120}, {85, 11},
};

static void say_method(run *r)
{
	const uint8_t *m = methods[fuzz_u8(&r->in) % WBI_COUNT(methods)];
	uint16_t channel = fuzz_u8(&r->in) % 4;
	wb_str args = fuzz_short(&r->in);
	uint8_t *payload = fuzz_block(&r->in, args.len + 4);

	if (!payload)
		return;
	payload[0] = payload[2] = 0;
	payload[1] = m[0];
	payload[3] = m[1];
	if (args.len > 0)
		memcpy(payload + 4, args.ptr, args.len);
	say_frame(r, 1, channel, wb_str_n(payload, args.len + 4));
}

static void say_well(run *r)
{
	uint8_t what = fuzz_u8(&r->in), n = fuzz_u8(&r->in);
	wb_message message = {.exchange = fuzz_short(&r->in),
			      .routing_key = fuzz_short(&r->in),
			      .message_id = fuzz_short(&r->in),
			      .body = fuzz_short(&r->in)};

	if (!amqp_peer_is_open(r->peer) || amqp_peer_is_closed(r->peer))
		return;
	switch (what % 8) {
	case 0:
		amqp_peer_confirm(r->peer, n, what & 8, what & 16);
		break;
	case 1:
		if (n < amqp_peer_count(r->peer))
			amqp_peer_return(r->peer, n, 312, "NO_ROUTE");
		break;
	case 2:
		amqp_peer_close_channel(r->peer, 1 + n % 2, 404, "no such");
		break;
	case 3:
		amqp_peer_block(r->peer, "memory");
		break;
	case 4:
		amqp_peer_unblock(r->peer);
		break;
	case 5:
		amqp_peer_cancel(r->peer);
		break;
	default:
		amqp_peer_deliver(r->peer, &message, what & 8);
	}
	pump(r);
}

/* ---- what the client does ----------------------------------------------- */

static void publish(run *r)
{
	wb_message message = {.exchange = fuzz_short(&r->in),
			      .routing_key = fuzz_short(&r->in),
			      .message_id = wb_str_from("m"),
			      .body = fuzz_short(&r->in)};

	if (r->token == TOKENS)
		return;
	if (wbi_session_publish(r->session, &message, r->token + 1, NULL) ==
	    WB_OK)
		r->outstanding[++r->token] = true;
}

static void declare(run *r)
{
	uint8_t kind = fuzz_u8(&r->in);
	wb_declaration what = {.kind = kind % 3,
			       .name = fuzz_short(&r->in),
			       .exchange_type = wb_str_from("topic"),
			       .exchange = wb_str_from("events"),
			       .binding_key = fuzz_short(&r->in),
			       .check_only = kind & 4};

	wbi_session_declare(r->session, &what, 1000, NULL);
}

static void settle_delivery(run *r)
{
	uint8_t how = fuzz_u8(&r->in);

	if (how & 1)
		wbi_session_ack(r->session, r->delivery, how & 2, NULL);
	else
		wbi_session_reject(r->session, r->delivery, how & 2, NULL);
}

static void act(run *r, uint8_t what)
{
	static const wb_consumption queue = {.queue = {"q", 1}, .prefetch = 10};

	switch (what) {
	case 0:
		publish(r);
		break;
	case 1:
		declare(r);
		break;
	case 2:
		wbi_session_consume(r->session, &queue, 2000, NULL);
		break;
	case 3:
		settle_delivery(r);
		break;
	case 4:
		wbi_session_reopen(r->session, NULL);
		break;
	case 5:
		r->now_us += (int64_t)fuzz_u16(&r->in) * 1000;
		wbi_session_tick(r->session, r->now_us);
		break;
	case 6:
		wbi_session_close(r->session, r->now_us);
		break;
	default:
		pump(r);
	}
	hear(r);
}

static void one(run *r)
{
	uint8_t op = fuzz_u8(&r->in);
	uint8_t type, channel;

	switch (op % 16) {
	case 8:
	case 9:
		feed(r, fuzz_short(&r->in));
		break;
	case 10:
	case 11:
		type = fuzz_u8(&r->in) % 9;
		channel = fuzz_u8(&r->in) % 4;
		say_frame(r, type, channel, fuzz_long(&r->in));
		break;
	case 12:
	case 13:
		say_method(r);
		break;
	case 14:
	case 15:
		say_well(r);
		break;
	default:
		act(r, op % 16);
	}
}

static amqp_peer_verdict hold(void *ctx, const amqp_published *message)
{
	(void)ctx;
	(void)message;
	return AMQP_PEER_HOLD;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const wbi_session_options options = {
		.user = "u",
		.password = "p",
		.vhost = "/",
		.heartbeat_s = 10,
		.frame_max_bytes = 8192,
		.body_max_bytes = 65536,
		.unsettled_max = 32,
		.buffer_max_bytes = 65536,
		.handshake_timeout_ms = 10000,
		.close_timeout_ms = 1000,
	};
	const amqp_peer_options peer = {.judge = hold};
	run r = {.now_us = 1000000};
	uint8_t begin;

	fuzz_init(&r.in, data, size);
	if (wbi_session_new(&options, r.now_us, &r.session, NULL) != WB_OK)
		return 0;
	r.peer = amqp_peer_new(&peer);
	begin = fuzz_u8(&r.in);
	if (begin & 1)
		pump(&r); /* up */
	if ((begin & 3) == 3) {
		act(&r, 2);
		pump(&r);
	}
	for (int i = 0; i < OPS_MAX && r.in.left > 0; i++)
		one(&r);
	FUZZ_HOLDS(r.over == wbi_session_is_over(r.session));
	wbi_session_free(r.session);
	amqp_peer_free(r.peer);
	fuzz_fini(&r.in);
	return 0;
}
