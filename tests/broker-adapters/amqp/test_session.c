/* SPDX-License-Identifier: BSD-2-Clause */
/* The session against a scripted broker: handshake, publish, confirms. */
#include "broker-adapters/amqp/codec.h"
#include "lib/base/bytes.h"
#include "tests/broker-adapters/amqp/session_rig.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- handshake --------------------------------------------------------- */

static void the_handshake_goes_through_one_byte_at_a_time(void **state)
{
	session_rig rig;
	const amqp_peer_seen *seen;

	(void)state;
	rig_begin(&rig, NULL, NULL);
	rig.chunk = 1;
	rig_expect(&rig, WB_BROKER_UP, NULL);
	seen = amqp_peer_look(rig.peer);
	assert_string_equal(seen->mechanism, "PLAIN");
	assert_string_equal(seen->login, " relay s3cret");
	assert_string_equal(seen->vhost, "/");
	assert_string_equal(seen->connection_name, "waybill test");
	assert_int_equal(seen->capabilities, 6);
	assert_int_equal(seen->channel_max, 2);
	assert_int_equal(seen->frame_max, 131072);
	assert_int_equal(seen->heartbeat_s, 15);
	assert_string_equal(seen->error, "");
	rig_expect_nothing(&rig);
	rig_end(&rig);
}

static void external_login_sends_no_password(void **state)
{
	wbi_session_options options = rig_options();
	session_rig rig;

	(void)state;
	options.external_auth = true;
	options.user = options.password = NULL;
	rig_up(&rig, &options, NULL);
	assert_string_equal(amqp_peer_look(rig.peer)->mechanism, "EXTERNAL");
	assert_string_equal(amqp_peer_look(rig.peer)->login, "");
	rig_end(&rig);
}

static void a_mechanism_that_is_not_offered_is_named(void **state)
{
	amqp_peer_options peer = {.mechanisms = "AMQPLAIN PLAINER"};
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_begin(&rig, NULL, &peer);
	rig_expect(&rig, WB_BROKER_DOWN, &event);
	assert_int_equal(event.error.code, WB_EACCESS);
	assert_non_null(strstr(event.error.text, "PLAIN, only: AMQPLAIN"));
	assert_string_equal(amqp_peer_look(rig.peer)->login, "");
	rig_end(&rig);
}

static void a_refused_login_names_user_and_vhost_and_no_password(void **state)
{
	amqp_peer_options peer = {.password = "another"};
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_begin(&rig, NULL, &peer);
	rig_expect(&rig, WB_BROKER_DOWN, &event);
	assert_int_equal(event.error.code, WB_EACCESS);
	assert_int_equal(event.error.class_, WB_CLASS_STOP);
	assert_int_equal(event.reply_code, 403);
	assert_non_null(strstr(event.error.text, "'relay'"));
	assert_non_null(strstr(event.error.text, "vhost '/'"));
	assert_null(strstr(event.error.text, "s3cret"));
	rig_expect_nothing(&rig);
	rig_end(&rig);
}

static void a_missing_vhost_comes_with_its_cure(void **state)
{
	amqp_peer_options peer = {.vhost = "other"};
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_begin(&rig, NULL, &peer);
	rig_expect(&rig, WB_BROKER_DOWN, &event);
	assert_int_equal(event.error.code, WB_ENOTFOUND);
	assert_int_equal(event.reply_code, 530);
	assert_non_null(strstr(event.error.text, "add_vhost"));
	rig_end(&rig);
}

static void tune_takes_the_lesser_of_both_sides(void **state)
{
	amqp_peer_options peer = {.frame_max = 8192, .heartbeat_s = 7};
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, &peer);
	assert_int_equal(amqp_peer_look(rig.peer)->frame_max, 8192);
	assert_int_equal(amqp_peer_look(rig.peer)->heartbeat_s, 7);
	rig_end(&rig);
}

static void one_channel_is_too_few_and_it_says_so(void **state)
{
	amqp_peer_options peer = {.channel_max = 1};
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_begin(&rig, NULL, &peer);
	rig_expect(&rig, WB_BROKER_DOWN, &event);
	assert_non_null(strstr(event.error.text, "channel_max"));
	rig_end(&rig);
}

static void a_stuck_handshake_times_out_and_names_its_stage(void **state)
{
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_begin(&rig, NULL, NULL);
	assert_int_equal(wbi_session_deadline_us(rig.session),
			 rig.now_us + 10000000);
	wbi_session_tick(rig.session, rig.now_us + 9999999);
	assert_false(wbi_session_is_over(rig.session));
	rig.cut_to_session = 20;
	rig_pump(&rig);
	wbi_session_tick(rig.session, rig.now_us + 10000000);
	assert_true(wbi_session_next(rig.session, &event));
	assert_int_equal(event.kind, WB_BROKER_DOWN);
	assert_int_equal(event.error.code, WB_ETIMEOUT);
	assert_non_null(strstr(event.error.text, "connection.start"));
	assert_true(wbi_session_deadline_us(rig.session) == INT64_MAX);
	rig_end(&rig);
}

static void a_hang_up_right_after_the_login_hints_at_it(void **state)
{
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_begin(&rig, NULL, NULL);
	rig.cut_to_peer = 8;
	rig_pump(&rig);
	wbi_session_fail(rig.session, WB_ECLOSED, "connection reset");
	assert_true(wbi_session_next(rig.session, &event));
	assert_int_equal(event.kind, WB_BROKER_DOWN);
	assert_int_equal(event.error.code, WB_ECLOSED);
	assert_non_null(strstr(event.error.text, "name and the password"));
	rig_end(&rig);
}

static void a_peer_that_is_no_broker_is_recognised(void **state)
{
	static const struct {
		const char *bytes, *hint;
	} peers[] = {{"HTTP/1.1 400 Bad Request", "15672"},
		     {"\x15\x03\x01\x00\x02\x02\x50\x00", "amqps"},
		     {"AMQP\x03\x01\x00\x00 ", "AMQP 0-9-1"},
		     {"SSH-2.0-OpenSSH", "unknown type"}};
	wb_broker_event event;
	session_rig rig;

	(void)state;
	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		rig_begin(&rig, NULL, NULL);
		wbi_session_feed(rig.session, (const uint8_t *)peers[i].bytes,
				 8, rig.now_us);
		assert_true(wbi_session_next(rig.session, &event));
		assert_int_equal(event.error.code, WB_EPROTO);
		assert_non_null(strstr(event.error.text, peers[i].hint));
		rig_end(&rig);
	}
}

/* ---- publish and confirms ---------------------------------------------- */

static amqp_peer_verdict hold(void *ctx, const amqp_published *message)
{
	(void)ctx;
	(void)message;
	return AMQP_PEER_HOLD;
}

static void what_is_published_arrives_whole(void **state)
{
	amqp_peer_options peer = {.frame_max = 4096};
	wb_header headers[] = {{S("ce-id"), S("1")}, {S("ce-type"), S("x")}};
	wb_error err = WB_ERROR_INIT;
	wb_broker_event event;
	const amqp_published *m;
	session_rig rig;
	char body[10000];
	wb_message message = {.exchange = S("events"),
			      .routing_key = S("order.placed"),
			      .message_id = S("id-1"),
			      .type = S("order.placed"),
			      .timestamp_s = 1700000000,
			      .persistent = true,
			      .headers = headers,
			      .header_count = 2,
			      .body = {body, sizeof(body)}};

	(void)state;
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (char)(i * 7);
	rig_up(&rig, NULL, &peer);
	assert_ok(wbi_session_publish(rig.session, &message, 42, &err), err);
	rig_expect(&rig, WB_BROKER_ACKED, &event);
	assert_int_equal(event.token, 42);
	assert_int_equal(amqp_peer_count(rig.peer), 1);
	m = amqp_peer_message(rig.peer, 0);
	assert_true(wb_str_eq(m->exchange, message.exchange));
	assert_true(wb_str_eq(m->routing_key, message.routing_key));
	assert_true(wb_str_eq(m->message_id, message.message_id));
	assert_true(wb_str_eq(m->body, message.body));
	assert_int_equal(m->header_count, 2);
	assert_true(m->mandatory && m->persistent);
	message.body.len = 0;
	assert_ok(wbi_session_publish(rig.session, &message, 43, &err), err);
	rig_expect(&rig, WB_BROKER_ACKED, &event);
	rig_end(&rig);
}

/* Publish n messages "0".."n-1" with their numbers as tokens; none answered. */
/* What the library makes of the same message: flags and property list. */
static int library_properties(const wb_message *m, uint8_t *to, size_t size)
{
	amqp_table_entry_t entries[4];
	amqp_basic_properties_t p = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG};
	amqp_bytes_t space = {size, to};

#define SET(field, FLAG)                                                      \
	if (m->field.len > 0) {                                               \
		p.field = wbi_amqp_bytes(m->field);                           \
		p._flags |= AMQP_BASIC_##FLAG##_FLAG;                         \
	}
	SET(message_id, MESSAGE_ID)
	SET(type, TYPE)
	SET(app_id, APP_ID)
	SET(content_type, CONTENT_TYPE)
	SET(correlation_id, CORRELATION_ID)
	SET(reply_to, REPLY_TO)
#undef SET
	p.delivery_mode = m->persistent ? 2 : 1;
	if (m->timestamp_s != 0) {
		p.timestamp = (uint64_t)m->timestamp_s;
		p._flags |= AMQP_BASIC_TIMESTAMP_FLAG;
	}
	for (size_t i = 0; i < m->header_count; i++) {
		entries[i].key = wbi_amqp_bytes(m->headers[i].name);
		entries[i].value.kind = AMQP_FIELD_KIND_UTF8;
		entries[i].value.value.bytes =
			wbi_amqp_bytes(m->headers[i].value);
	}
	p.headers.entries = entries;
	p.headers.num_entries = (int)m->header_count;
	if (m->header_count > 0)
		p._flags |= AMQP_BASIC_HEADERS_FLAG;
	return amqp_encode_properties(AMQP_BASIC_CLASS, &p, space);
}

/* Every combination of properties: byte for byte what rabbitmq-c writes. */
static void properties_are_what_the_library_would_write(void **state)
{
	const wb_header headers[] = {{S("ce-id"), S("7")},
				     {S("x"), S("")},
				     {S("ce-partitionkey"), S("caf\xc3\xa9")}};
	wb_error err = WB_ERROR_INIT;
	uint8_t want[1024];
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, NULL);
	for (unsigned bits = 0; bits < 1024; bits++) {
		wb_message m = {.exchange = S("e"), .message_id = S("id-1")};
		const uint8_t *sent;
		size_t at;
		int len;

		m.type = bits & 1 ? S("order.placed") : WB_STR_NULL;
		m.app_id = bits & 2 ? S("shop") : WB_STR_NULL;
		m.content_type = bits & 4 ? S("text/plain") : WB_STR_NULL;
		m.correlation_id = bits & 8 ? S("c-9") : WB_STR_NULL;
		m.reply_to = bits & 16 ? S("answers") : WB_STR_NULL;
		m.timestamp_s = bits & 32 ? 1795310625 : 0;
		m.persistent = bits & 64;
		m.headers = headers;
		m.header_count = bits >> 7 & 3;
		m.routing_key = bits & 512 ? S("key") : WB_STR_NULL;
		wbi_buffer_clear(wbi_session_output(rig.session));
		assert_ok(wbi_session_publish(rig.session, &m, bits, &err),
			  err);
		len = library_properties(&m, want, sizeof(want));
		assert_true(len > 0);
		sent = wbi_buffer_data(wbi_session_output(rig.session));
		at = 8 + wbi_get_be32(sent + 3); /* behind the method frame */
		assert_int_equal(wbi_get_be32(sent + at + 3), 12 + len);
		assert_memory_equal(sent + at + 7 + 12, want, (size_t)len);
		assert_int_equal(sent[at + 7 + 12 + len], 0xce);
	}
	rig_end(&rig);
}

static void publish_many(session_rig *rig, unsigned n)
{
	char id[16];

	for (unsigned i = 1; i <= n; i++) {
		snprintf(id, sizeof(id), "%u", i);
		assert_int_equal(rig_publish(rig, id, "body", i), WB_OK);
	}
	rig_pump(rig);
}

static void expect_settled(session_rig *rig, wb_broker_event_kind kind,
			   uint64_t token)
{
	wb_broker_event event;

	rig_expect(rig, kind, &event);
	assert_int_equal(event.token, token);
}

static void confirms_come_in_any_order(void **state)
{
	amqp_peer_options peer = {.judge = hold};
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, &peer);
	publish_many(&rig, 6);
	amqp_peer_confirm(rig.peer, 2, false, true);
	amqp_peer_confirm(rig.peer, 4, false, false);
	expect_settled(&rig, WB_BROKER_ACKED, 2);
	amqp_peer_confirm(rig.peer, 3, true, true); /* 1 and 3 only */
	expect_settled(&rig, WB_BROKER_NACKED, 4);
	expect_settled(&rig, WB_BROKER_ACKED, 1);
	amqp_peer_confirm(rig.peer, 0, true, false); /* all that are left */
	expect_settled(&rig, WB_BROKER_ACKED, 3);
	expect_settled(&rig, WB_BROKER_NACKED, 5);
	expect_settled(&rig, WB_BROKER_NACKED, 6);
	amqp_peer_confirm(rig.peer, 6, true, true); /* nothing left to settle */
	amqp_peer_confirm(rig.peer, 6, false, true);
	rig_expect_nothing(&rig);
	rig_end(&rig);
}

static void thousands_of_confirms_settle_each_token_once(void **state)
{
	enum { ROUNDS = 40, PER_ROUND = 150 };
	amqp_peer_options peer = {.judge = hold};
	unsigned char settled[ROUNDS * PER_ROUND] = {0};
	unsigned random = 1, sent = 0;
	wb_broker_event event;
	session_rig rig;
	char id[16];

	(void)state;
	rig_up(&rig, NULL, &peer);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < PER_ROUND; i++, sent++) {
			snprintf(id, sizeof(id), "%u", sent);
			assert_int_equal(rig_publish(&rig, id, "x", sent),
					 WB_OK);
		}
		rig_pump(&rig);
		for (unsigned i = 0; i < 100; i++) {
			random = random * 1103515245u + 12345u;
			amqp_peer_confirm(rig.peer,
					  1 + (random >> 8) % sent,
					  (random >> 4) % 16 == 0,
					  random >> 30);
		}
		rig_pump(&rig);
		while (wbi_session_next(rig.session, &event))
			settled[event.token]++;
	}
	amqp_peer_confirm(rig.peer, sent, true, true);
	rig_pump(&rig);
	while (wbi_session_next(rig.session, &event))
		settled[event.token]++;
	for (unsigned i = 0; i < sent; i++)
		assert_int_equal(settled[i], 1);
	rig_end(&rig);
}

static void a_return_settles_its_token_and_swallows_the_ack(void **state)
{
	amqp_peer_options peer = {.judge = rig_judge};
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, &peer);
	assert_int_equal(rig_publish(&rig, "a", "1", 1), WB_OK);
	assert_int_equal(rig_publish(&rig, "r", "2", 2), WB_OK);
	assert_int_equal(rig_publish(&rig, "n", "3", 3), WB_OK);
	assert_int_equal(rig_publish(&rig, "r", "4", 4), WB_OK);
	expect_settled(&rig, WB_BROKER_ACKED, 1);
	rig_expect(&rig, WB_BROKER_RETURNED, &event);
	assert_int_equal(event.token, 2);
	assert_int_equal(event.reply_code, 312);
	assert_true(wb_str_eq(event.text, S("NO_ROUTE")));
	expect_settled(&rig, WB_BROKER_NACKED, 3);
	expect_settled(&rig, WB_BROKER_RETURNED, 4);
	rig_expect_nothing(&rig);
	rig_end(&rig);
}

static void equal_ids_are_returned_from_the_oldest_on(void **state)
{
	amqp_peer_options peer = {.judge = hold};
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, &peer);
	assert_int_equal(rig_publish(&rig, "same", "1", 1), WB_OK);
	assert_int_equal(rig_publish(&rig, "same", "2", 2), WB_OK);
	assert_int_equal(rig_publish(&rig, "same", "3", 3), WB_OK);
	rig_pump(&rig);
	amqp_peer_return(rig.peer, 0, 312, "NO_ROUTE");
	amqp_peer_return(rig.peer, 1, 312, "NO_ROUTE");
	amqp_peer_confirm(rig.peer, 3, true, false);
	expect_settled(&rig, WB_BROKER_RETURNED, 1);
	expect_settled(&rig, WB_BROKER_RETURNED, 2);
	expect_settled(&rig, WB_BROKER_NACKED, 3);
	rig_expect_nothing(&rig);
	rig_end(&rig);
}

static void a_return_that_matches_nothing_ends_the_session(void **state)
{
	amqp_peer_options peer = {.judge = hold};
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, &peer);
	publish_many(&rig, 2);
	amqp_peer_confirm(rig.peer, 1, false, true);
	amqp_peer_return(rig.peer, 0, 312, "NO_ROUTE"); /* after its ack */
	expect_settled(&rig, WB_BROKER_ACKED, 1);
	rig_expect(&rig, WB_BROKER_DOWN, &event);
	assert_int_equal(event.error.code, WB_EPROTO);
	rig_end(&rig);
}

static void the_limit_of_unsettled_publishes_holds(void **state)
{
	wbi_session_options options = rig_options();
	amqp_peer_options peer = {.judge = hold};
	session_rig rig;

	(void)state;
	options.unsettled_max = 3;
	rig_up(&rig, &options, &peer);
	publish_many(&rig, 3);
	assert_int_equal(rig_publish(&rig, "4", "x", 4), WB_EAGAIN);
	amqp_peer_confirm(rig.peer, 1, false, true);
	expect_settled(&rig, WB_BROKER_ACKED, 1);
	assert_int_equal(rig_publish(&rig, "4", "x", 4), WB_OK);
	rig_end(&rig);
}

static void a_full_buffer_asks_to_come_again(void **state)
{
	wbi_session_options options = rig_options();
	static char body[5000];
	session_rig rig;
	unsigned taken = 0;

	(void)state;
	memset(body, 'x', sizeof(body) - 1);
	options.buffer_max_bytes = 12000;
	rig_up(&rig, &options, NULL);
	while (rig_publish(&rig, "id", body, taken) == WB_OK)
		taken++;
	assert_int_equal(taken, 2);
	assert_int_equal(rig_publish(&rig, "id", body, taken), WB_EAGAIN);
	assert_true(wbi_buffer_len(wbi_session_output(rig.session)) <= 12000);
	rig_pump(&rig);
	assert_int_equal(amqp_peer_count(rig.peer), 2);
	assert_int_equal(rig_publish(&rig, "id", body, 2), WB_OK);
	/* One message over the bound goes through an empty buffer alone. */
	rig_pump(&rig);
	options.buffer_max_bytes = 100;
	rig_end(&rig);
	rig_up(&rig, &options, NULL);
	assert_int_equal(rig_publish(&rig, "id", body, 1), WB_OK);
	assert_int_equal(rig_publish(&rig, "id", "x", 2), WB_EAGAIN);
	rig_expect(&rig, WB_BROKER_ACKED, NULL);
	rig_end(&rig);
}

static void each_short_string_over_255_bytes_is_named(void **state)
{
	static char text[256];
	wb_error err = WB_ERROR_INIT;
	session_rig rig;
	wb_message good = {.exchange = S("e"),
			   .routing_key = S("k"),
			   .message_id = S("i")};
	wb_header header = {{text, 256}, S("v")};
	wb_message m[8];
	const char *names[] = {"exchange", "routing key",  "message id",
			       "type",	   "app id",	   "content type",
			       "reply_to", "header's name"};

	(void)state;
	memset(text, 'a', sizeof(text));
	for (int i = 0; i < 8; i++)
		m[i] = good;
	m[0].exchange = m[1].routing_key = m[2].message_id = m[3].type =
		m[4].app_id = m[5].content_type = m[6].reply_to =
			wb_str_n(text, 256);
	m[7].headers = &header;
	m[7].header_count = 1;
	rig_up(&rig, NULL, NULL);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(
			wbi_session_publish(rig.session, &m[i], 1, &err),
			WB_ELIMIT);
		assert_non_null(strstr(err.text, names[i]));
		wb_error_clear(&err);
	}
	assert_int_equal(wbi_buffer_len(wbi_session_output(rig.session)), 0);
	good.exchange = good.routing_key = good.type = wb_str_n(text, 255);
	assert_ok(wbi_session_publish(rig.session, &good, 1, &err), err);
	rig_expect(&rig, WB_BROKER_ACKED, NULL);
	good.message_id.len = 0;
	assert_code(wbi_session_publish(rig.session, &good, 1, &err), WB_EINVAL,
		    err);
	good.message_id = S("i");
	good.body = wb_str_n(text, 1024 * 1024 + 1);
	assert_code(wbi_session_publish(rig.session, &good, 1, &err), WB_ELIMIT,
		    err);
	rig_end(&rig);
}

static void headers_over_one_frame_are_refused(void **state)
{
	amqp_peer_options peer = {.frame_max = 4096};
	static char text[4096];
	wb_error err = WB_ERROR_INIT;
	wb_header header = {S("big"), {text, sizeof(text)}};
	wb_message m = {.exchange = S("e"),
			.message_id = S("i"),
			.headers = &header,
			.header_count = 1};
	session_rig rig;

	(void)state;
	memset(text, 'x', sizeof(text));
	rig_up(&rig, NULL, &peer);
	assert_int_equal(wbi_session_publish(rig.session, &m, 1, &err),
			 WB_ELIMIT);
	assert_non_null(strstr(err.text, "frame"));
	wb_error_clear(&err);
	header.value.len = 4000;
	assert_ok(wbi_session_publish(rig.session, &m, 1, &err), err);
	rig_expect(&rig, WB_BROKER_ACKED, NULL);
	assert_string_equal(amqp_peer_look(rig.peer)->error, "");
	rig_end(&rig);
}

static void a_missing_exchange_closes_only_the_channel(void **state)
{
	amqp_peer_options peer = {.judge = rig_judge};
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, &peer);
	assert_int_equal(rig_publish(&rig, "a", "1", 1), WB_OK);
	assert_int_equal(rig_publish(&rig, "m", "2", 2), WB_OK);
	assert_int_equal(rig_publish(&rig, "a", "3", 3), WB_OK);
	expect_settled(&rig, WB_BROKER_ACKED, 1);
	rig_expect(&rig, WB_BROKER_CHANNEL_CLOSED, &event);
	assert_int_equal(event.reply_code, 404);
	assert_int_equal(event.error.code, WB_ENOTFOUND);
	assert_string_equal(event.error.text,
			    "exchange 'events' does not exist on vhost '/': "
			    "create it with `waybill setup` or set declare: "
			    "create");
	assert_int_equal(amqp_peer_count(rig.peer), 1);
	assert_int_equal(rig_publish(&rig, "a", "x", 4), WB_ESTATE);
	assert_int_equal(wbi_session_reopen(rig.session, NULL), WB_OK);
	assert_int_equal(wbi_session_reopen(rig.session, NULL), WB_ESTATE);
	rig_expect(&rig, WB_BROKER_CHANNEL_OPEN, NULL);
	assert_int_equal(rig_publish(&rig, "a", "x", 5), WB_OK);
	assert_int_equal(rig_publish(&rig, "r", "x", 6), WB_OK);
	expect_settled(&rig, WB_BROKER_ACKED, 5);
	expect_settled(&rig, WB_BROKER_RETURNED, 6);
	rig_expect_nothing(&rig);
	assert_string_equal(amqp_peer_look(rig.peer)->error, "");
	rig_end(&rig);
}

static void blocked_and_unblocked_are_told_once_each(void **state)
{
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, NULL);
	amqp_peer_block(rig.peer, "low on memory");
	amqp_peer_block(rig.peer, "low on disk");
	rig_expect(&rig, WB_BROKER_BLOCKED, &event);
	assert_true(wb_str_eq(event.text, S("low on memory")));
	rig_expect_nothing(&rig);
	assert_int_equal(rig_publish(&rig, "a", "x", 1), WB_ESTATE);
	amqp_peer_unblock(rig.peer);
	amqp_peer_unblock(rig.peer);
	rig_expect(&rig, WB_BROKER_UNBLOCKED, NULL);
	rig_expect_nothing(&rig);
	assert_int_equal(rig_publish(&rig, "a", "x", 1), WB_OK);
	rig_end(&rig);
}

/* ---- time and the end -------------------------------------------------- */

static void an_idle_session_sends_a_heartbeat_at_half_the_interval(void **state)
{
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, NULL);
	for (unsigned i = 1; i <= 8; i++) {
		rig.now_us = wbi_session_deadline_us(rig.session);
		assert_int_equal(rig.now_us, 1000000 + i * 7500000);
		wbi_session_tick(rig.session, rig.now_us);
		amqp_peer_heartbeat(rig.peer);
		rig_expect_nothing(&rig);
		assert_int_equal(amqp_peer_look(rig.peer)->heartbeats, i);
	}
	rig_end(&rig);
}

static void two_silent_intervals_mean_a_dead_broker(void **state)
{
	int64_t begin, now;
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, NULL);
	rig.now_us += 10000000;
	amqp_peer_raw(rig.peer, "\10", 1); /* any byte is a sign of life */
	rig_expect_nothing(&rig);
	begin = now = rig.now_us;
	while (!wbi_session_is_over(rig.session)) {
		now = wbi_session_deadline_us(rig.session);
		assert_true(now <= begin + 30000000);
		wbi_session_tick(rig.session, now);
	}
	assert_int_equal(now, begin + 30000000);
	assert_true(wbi_session_next(rig.session, &event));
	assert_int_equal(event.error.code, WB_ETIMEOUT);
	rig_end(&rig);
}

static void closing_waits_for_late_confirms_and_then_for_close_ok(void **state)
{
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, NULL);
	assert_int_equal(rig_publish(&rig, "a", "x", 1), WB_OK);
	wbi_session_close(rig.session, rig.now_us);
	assert_int_equal(rig_publish(&rig, "b", "x", 2), WB_ESTATE);
	expect_settled(&rig, WB_BROKER_ACKED, 1);
	rig_expect(&rig, WB_BROKER_DOWN, &event);
	assert_int_equal(event.error.code, WB_ECLOSED);
	assert_true(amqp_peer_is_closed(rig.peer));
	rig_end(&rig);

	rig_up(&rig, NULL, NULL);
	rig.cut_to_peer = rig.to_peer;
	wbi_session_close(rig.session, rig.now_us);
	assert_int_equal(wbi_session_deadline_us(rig.session),
			 rig.now_us + 1000000);
	wbi_session_tick(rig.session, rig.now_us + 1000000);
	rig_expect(&rig, WB_BROKER_DOWN, &event);
	assert_int_equal(event.error.code, WB_ECLOSED);
	rig_end(&rig);
}

static void a_forced_close_is_answered_and_may_be_retried(void **state)
{
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, NULL);
	assert_int_equal(rig_publish(&rig, "a", "x", 1), WB_OK);
	rig_pump(&rig);
	amqp_peer_close(rig.peer, 320,
			"CONNECTION_FORCED - broker forced connection closure "
			"with reason 'shutdown'");
	rig_expect(&rig, WB_BROKER_ACKED, NULL);
	rig_expect(&rig, WB_BROKER_DOWN, &event);
	assert_int_equal(event.error.class_, WB_CLASS_RETRY);
	assert_int_equal(event.reply_code, 320);
	assert_non_null(strstr(event.error.text, "shutdown"));
	assert_true(amqp_peer_is_closed(rig.peer));
	rig_end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_handshake_goes_through_one_byte_at_a_time),
		cmocka_unit_test(external_login_sends_no_password),
		cmocka_unit_test(a_mechanism_that_is_not_offered_is_named),
		cmocka_unit_test(
			a_refused_login_names_user_and_vhost_and_no_password),
		cmocka_unit_test(a_missing_vhost_comes_with_its_cure),
		cmocka_unit_test(tune_takes_the_lesser_of_both_sides),
		cmocka_unit_test(one_channel_is_too_few_and_it_says_so),
		cmocka_unit_test(
			a_stuck_handshake_times_out_and_names_its_stage),
		cmocka_unit_test(a_hang_up_right_after_the_login_hints_at_it),
		cmocka_unit_test(a_peer_that_is_no_broker_is_recognised),
		cmocka_unit_test(what_is_published_arrives_whole),
		cmocka_unit_test(properties_are_what_the_library_would_write),
		cmocka_unit_test(confirms_come_in_any_order),
		cmocka_unit_test(thousands_of_confirms_settle_each_token_once),
		cmocka_unit_test(
			a_return_settles_its_token_and_swallows_the_ack),
		cmocka_unit_test(equal_ids_are_returned_from_the_oldest_on),
		cmocka_unit_test(
			a_return_that_matches_nothing_ends_the_session),
		cmocka_unit_test(the_limit_of_unsettled_publishes_holds),
		cmocka_unit_test(a_full_buffer_asks_to_come_again),
		cmocka_unit_test(each_short_string_over_255_bytes_is_named),
		cmocka_unit_test(headers_over_one_frame_are_refused),
		cmocka_unit_test(a_missing_exchange_closes_only_the_channel),
		cmocka_unit_test(blocked_and_unblocked_are_told_once_each),
		cmocka_unit_test(
			an_idle_session_sends_a_heartbeat_at_half_the_interval),
		cmocka_unit_test(two_silent_intervals_mean_a_dead_broker),
		cmocka_unit_test(
			closing_waits_for_late_confirms_and_then_for_close_ok),
		cmocka_unit_test(a_forced_close_is_answered_and_may_be_retried),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
