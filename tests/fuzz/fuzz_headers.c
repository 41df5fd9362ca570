/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Content headers: the properties and the header table of a message that is
 * delivered, tables and arrays in it as deep as they like. The session must
 * hand over a delivery or end, and what it hands over is read as an event.
 */
#include "broker-adapters/amqp/codec.h"
#include "broker-adapters/amqp/session.h"
#include "lib/event/envelope.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/amqp_peer.h"

typedef struct pair {
	wbi_session *session;
	amqp_peer *peer;
	bool over;
	unsigned deliveries;
} pair;

static void hear(pair *p)
{
	wb_broker_event event;
	wbi_received received;

	while (wbi_session_next(p->session, &event)) {
		p->over |= event.kind == WB_BROKER_DOWN;
		if (event.kind != WB_BROKER_DELIVERY)
			continue;
		p->deliveries++;
		for (size_t i = 0; i < event.message.header_count; i++)
			FUZZ_HOLDS(event.message.headers[i].name.len <= 255);
		if (wbi_envelope_read(&event.message, NULL, &received, NULL) ==
		    WB_OK)
			wbi_envelope_read_fini(&received);
	}
}

static void pump(pair *p)
{
	for (int i = 0; i < 32; i++) {
		wbi_buffer *out = wbi_session_output(p->session);
		size_t len = wbi_buffer_len(out);

		amqp_peer_feed(p->peer, wbi_buffer_data(out), len);
		wbi_buffer_consume(out, len);
		out = amqp_peer_output(p->peer);
		len = wbi_buffer_len(out);
		if (len == 0)
			break;
		if (!p->over)
			wbi_session_feed(p->session, wbi_buffer_data(out), len,
					 1000000);
		wbi_buffer_consume(out, len);
		hear(p);
	}
}

/* The walk alone, and what it says of what the library does with the rest. */
static void scan(wb_str properties)
{
	amqp_basic_properties_t scanned;

	wbi_scan_properties((const uint8_t *)properties.ptr, properties.len,
			    &scanned);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const wbi_session_options options = {
		.user = "u",
		.password = "p",
		.vhost = "/",
		.frame_max_bytes = 131072,
		.body_max_bytes = 65536,
		.unsettled_max = 4,
		.buffer_max_bytes = 65536,
		.handshake_timeout_ms = 10000,
		.close_timeout_ms = 1000,
	};
	const wb_consumption queue = {.queue = {"q", 1}, .prefetch = 10};
	pair p = {.over = false};
	wb_str body, properties;
	uint8_t lie;
	fuzz_in in;

	if (wbi_session_new(&options, 1000000, &p.session, NULL) != WB_OK)
		return 0;
	p.peer = amqp_peer_new(NULL);
	pump(&p);
	wbi_session_consume(p.session, &queue, 1, NULL);
	pump(&p);
	fuzz_init(&in, data, size);
	lie = fuzz_u8(&in);
	body = fuzz_short(&in);
	properties = fuzz_rest(&in);
	scan(properties);
	amqp_peer_deliver_raw(p.peer, properties,
			      lie < 250 ? body.len : fuzz_u64(&in), body);
	pump(&p);
	FUZZ_HOLDS(p.deliveries <= 1);
	wbi_session_free(p.session);
	amqp_peer_free(p.peer);
	fuzz_fini(&in);
	return 0;
}
