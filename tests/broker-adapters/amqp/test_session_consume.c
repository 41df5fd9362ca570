/* SPDX-License-Identifier: BSD-2-Clause */
/* Declarations, the consumer, deliveries and what lies beyond their limits. */
#include "tests/broker-adapters/amqp/session_rig.h"

#include <stdlib.h>

/* ---- declare ----------------------------------------------------------- */

static uint16_t refuse_by_name(void *ctx, const char *what)
{
	(void)ctx;
	if (strstr(what, "missing"))
		return 404;
	if (strstr(what, "different"))
		return 406;
	return strstr(what, "forbidden") ? 403 : 0;
}

static void declare(session_rig *rig, wb_topology_kind kind, const char *name,
		    bool check_only, uint64_t token)
{
	wb_argument arguments[] = {
		{.name = S("x-queue-type"), .text = S("quorum")},
		{.name = S("x-delivery-limit"),
		 .is_number = true,
		 .number = 20},
		{.name = S("x-single-active-consumer"),
		 .is_bool = true,
		 .number = 1}};
	wb_declaration what = {.kind = kind,
			       .name = wb_str_from(name),
			       .exchange_type = S("topic"),
			       .exchange = S("events"),
			       .binding_key = S("#"),
			       .check_only = check_only,
			       .arguments = arguments,
			       .argument_count =
				       kind == WB_TOPOLOGY_QUEUE ? 3 : 0};
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_session_declare(rig->session, &what, token, &err), err);
}

static void expect_refused(session_rig *rig, uint64_t token, wb_code code,
			   const char *hint)
{
	wb_broker_event event;

	rig_expect(rig, WB_BROKER_DECLARE_FAILED, &event);
	assert_int_equal(event.token, token);
	assert_string_equal(wb_code_name(event.error.code),
			    wb_code_name(code));
	assert_non_null(strstr(event.error.text, hint));
}

static void declarations_are_answered_in_order_through_refusals(void **state)
{
	amqp_peer_options peer = {.refuse = refuse_by_name};
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, &peer);
	assert_int_equal(rig_publish(&rig, "a", "x", 100), WB_OK);
	declare(&rig, WB_TOPOLOGY_EXCHANGE, "events", false, 1);
	declare(&rig, WB_TOPOLOGY_QUEUE, "missing", true, 2);
	declare(&rig, WB_TOPOLOGY_QUEUE, "different", false, 3);
	declare(&rig, WB_TOPOLOGY_BINDING, "orders", false, 4);
	declare(&rig, WB_TOPOLOGY_EXCHANGE, "forbidden", false, 5);
	declare(&rig, WB_TOPOLOGY_QUEUE, "orders", false, 6);
	rig_expect(&rig, WB_BROKER_ACKED, &event);
	rig_expect(&rig, WB_BROKER_DECLARED, &event);
	assert_int_equal(event.token, 1);
	expect_refused(&rig, 2, WB_ENOTFOUND, "queue 'missing' does not exist");
	expect_refused(&rig, 3, WB_EMISMATCH, "delete it");
	rig_expect(&rig, WB_BROKER_DECLARED, &event);
	assert_int_equal(event.token, 4);
	expect_refused(&rig, 5, WB_EACCESS, "configure permission");
	rig_expect(&rig, WB_BROKER_DECLARED, &event);
	assert_int_equal(event.token, 6);
	rig_expect_nothing(&rig);
	assert_int_equal(amqp_peer_look(rig.peer)->declares, 6);
	assert_int_equal(amqp_peer_look(rig.peer)->channel_opens, 5);
	assert_string_equal(amqp_peer_look(rig.peer)->error, "");
	rig_end(&rig);
}

static void at_most_64_declarations_wait(void **state)
{
	wb_declaration what = {.kind = WB_TOPOLOGY_QUEUE,
			       .name = S("q"),
			       .check_only = true};
	wb_broker_event event;
	wb_error err = WB_ERROR_INIT;
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, NULL);
	for (uint64_t i = 0; i < 64; i++)
		declare(&rig, WB_TOPOLOGY_QUEUE, "q", true, i);
	assert_code(wbi_session_declare(rig.session, &what, 64, &err),
		    WB_EAGAIN, err);
	for (uint64_t i = 0; i < 64; i++) {
		rig_expect(&rig, WB_BROKER_DECLARED, &event);
		assert_int_equal(event.token, i);
	}
	assert_string_equal(amqp_peer_look(rig.peer)->last_declare,
			    "queue.declare q passive");
	what.kind = WB_TOPOLOGY_BINDING;
	assert_code(wbi_session_declare(rig.session, &what, 64, &err),
		    WB_EINVAL, err);
	rig_end(&rig);
}

/* ---- consume ----------------------------------------------------------- */

static void rig_consuming(session_rig *rig, const wbi_session_options *options,
			  uint16_t prefetch)
{
	wb_error err = WB_ERROR_INIT;
	wb_broker_event event;

	rig_up(rig, options, NULL);
	assert_ok(rig_consume(rig->session, S("orders"), prefetch, 7, &err),
		  err);
	rig_expect(rig, WB_BROKER_CONSUMING, &event);
	assert_int_equal(event.token, 7);
	assert_int_equal(amqp_peer_look(rig->peer)->prefetch, prefetch);
}

static wb_str header(const wb_message *m, const char *name)
{
	for (size_t i = 0; i < m->header_count; i++)
		if (wb_str_eq(m->headers[i].name, wb_str_from(name)))
			return m->headers[i].value;
	return WB_STR_NULL;
}

static void a_delivery_comes_with_all_its_fields(void **state)
{
	static char body[300000];
	wb_header headers[] = {{S("ce-id"), S("1")}, {S("empty"), S("")}};
	wb_message sent = {.exchange = S("events"),
			   .routing_key = S("order.placed"),
			   .message_id = S("id-1"),
			   .type = S("order.placed"),
			   .app_id = S("shop"),
			   .content_type = S("application/json"),
			   .correlation_id = S("c"),
			   .reply_to = S("r"),
			   .timestamp_s = 1700000000,
			   .persistent = true,
			   .headers = headers,
			   .header_count = 2,
			   .body = {body, sizeof(body)}};
	wb_broker_event event;
	session_rig rig;

	(void)state;
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (char)(i * 11);
	rig_consuming(&rig, NULL, 10);
	amqp_peer_deliver(rig.peer, &sent, true);
	rig.chunk = 1009;
	rig_expect(&rig, WB_BROKER_DELIVERY, &event);
	assert_int_equal(event.token, 7);
	assert_true(event.redelivered);
	assert_true(wb_str_eq(event.message.exchange, sent.exchange));
	assert_true(wb_str_eq(event.message.routing_key, sent.routing_key));
	assert_true(wb_str_eq(event.message.message_id, sent.message_id));
	assert_true(wb_str_eq(event.message.type, sent.type));
	assert_true(wb_str_eq(event.message.app_id, sent.app_id));
	assert_true(wb_str_eq(event.message.content_type, sent.content_type));
	assert_true(wb_str_eq(event.message.correlation_id, S("c")));
	assert_true(wb_str_eq(event.message.reply_to, S("r")));
	assert_true(wb_str_eq(event.message.body, sent.body));
	assert_int_equal(event.message.timestamp_s, sent.timestamp_s);
	assert_true(event.message.persistent);
	assert_int_equal(event.message.header_count, 2);
	assert_true(wb_str_eq(header(&event.message, "ce-id"), S("1")));
	rig_end(&rig);
}

static void deliver(session_rig *rig, uint64_t *ret_delivery)
{
	wb_message message = {.exchange = S("events"), .body = S("body")};
	wb_broker_event event;

	amqp_peer_deliver(rig->peer, &message, false);
	rig_expect(rig, WB_BROKER_DELIVERY, &event);
	*ret_delivery = event.delivery;
}

static void only_outstanding_deliveries_can_be_settled(void **state)
{
	wb_error err = WB_ERROR_INIT;
	uint64_t delivery[5];
	session_rig rig;
	const amqp_peer_seen *seen;

	(void)state;
	rig_consuming(&rig, NULL, 5);
	seen = amqp_peer_look(rig.peer);
	for (int i = 0; i < 5; i++)
		deliver(&rig, &delivery[i]);
	assert_ok(wbi_session_ack(rig.session, delivery[1], false, &err), err);
	assert_code(wbi_session_ack(rig.session, delivery[1], true, &err),
		    WB_EINVAL, err);
	assert_ok(wbi_session_ack(rig.session, delivery[2], true, &err), err);
	rig_pump(&rig);
	assert_int_equal(seen->last_ack, 3);
	assert_true(seen->last_multiple);
	assert_code(wbi_session_ack(rig.session, delivery[0], false, &err),
		    WB_EINVAL, err);
	assert_ok(wbi_session_reject(rig.session, delivery[4], true, &err),
		  err);
	rig_pump(&rig);
	assert_int_equal(seen->last_ack, 5);
	assert_true(seen->last_requeue);
	assert_ok(wbi_session_ack(rig.session, delivery[3], false, &err), err);
	assert_code(wbi_session_ack(rig.session, 99, false, &err), WB_EINVAL,
		    err);
	rig_pump(&rig);
	assert_int_equal(seen->acks, 3);
	rig_end(&rig);
}

static void a_broker_that_ignores_prefetch_is_left(void **state)
{
	wb_message message = {.exchange = S("events")};
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_consuming(&rig, NULL, 2);
	for (int i = 0; i < 3; i++)
		amqp_peer_deliver(rig.peer, &message, false);
	rig_expect(&rig, WB_BROKER_DELIVERY, NULL);
	rig_expect(&rig, WB_BROKER_DELIVERY, NULL);
	rig_expect(&rig, WB_BROKER_DOWN, &event);
	assert_int_equal(event.error.code, WB_EPROTO);
	rig_end(&rig);
}

static void a_closed_channel_voids_its_deliveries_and_the_consumer(void **state)
{
	wb_error err = WB_ERROR_INIT;
	uint64_t old, new;
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_consuming(&rig, NULL, 5);
	deliver(&rig, &old);
	amqp_peer_close_channel(rig.peer, 1, 406,
				"PRECONDITION_FAILED - delivery "
				"acknowledgement on channel 1 timed out");
	rig_expect(&rig, WB_BROKER_CANCELLED, &event);
	assert_int_equal(event.token, 7);
	assert_int_equal(event.error.code, WB_ETIMEOUT);
	rig_expect(&rig, WB_BROKER_CHANNEL_CLOSED, &event);
	assert_non_null(strstr(event.error.text, "consumer_timeout"));
	assert_code(wbi_session_ack(rig.session, old, false, &err), WB_ESTATE,
		    err);
	assert_ok(wbi_session_reopen(rig.session, &err), err);
	rig_expect(&rig, WB_BROKER_CHANNEL_OPEN, NULL);
	assert_ok(rig_consume(rig.session, S("orders"), 5, 8, &err),
		  err);
	rig_expect(&rig, WB_BROKER_CONSUMING, NULL);
	deliver(&rig, &new);
	assert_true(new > old);
	assert_code(wbi_session_ack(rig.session, old, true, &err), WB_EINVAL,
		    err);
	assert_ok(wbi_session_ack(rig.session, new, true, &err), err);
	rig_pump(&rig);
	assert_int_equal(amqp_peer_look(rig.peer)->last_ack, 1);
	rig_end(&rig);
}

static void what_comes_late_of_a_closed_channel_is_dropped(void **state)
{
	wb_message message = {.exchange = S("events"), .body = S("late")};
	wb_error err = WB_ERROR_INIT;
	session_rig rig;

	(void)state;
	rig_consuming(&rig, NULL, 5);
	amqp_peer_close_channel(rig.peer, 1, 404, "NOT_FOUND");
	amqp_peer_deliver(rig.peer, &message, false);
	amqp_peer_confirm(rig.peer, 1, false, true);
	rig_expect(&rig, WB_BROKER_CANCELLED, NULL);
	rig_expect(&rig, WB_BROKER_CHANNEL_CLOSED, NULL);
	rig_expect_nothing(&rig);
	assert_ok(wbi_session_reopen(rig.session, &err), err);
	amqp_peer_deliver(rig.peer, &message, false);
	rig_expect(&rig, WB_BROKER_CHANNEL_OPEN, NULL);
	rig_expect_nothing(&rig);
	rig_end(&rig);
}

static void a_cancelled_consumer_is_told_with_its_token(void **state)
{
	wb_error err = WB_ERROR_INIT;
	uint64_t delivery;
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_consuming(&rig, NULL, 5);
	assert_code(rig_consume(rig.session, S("q"), 5, 9, &err),
		    WB_ESTATE, err);
	deliver(&rig, &delivery);
	amqp_peer_cancel(rig.peer);
	rig_expect(&rig, WB_BROKER_CANCELLED, &event);
	assert_int_equal(event.token, 7);
	assert_int_equal(event.error.class_, WB_CLASS_RETRY);
	assert_ok(wbi_session_ack(rig.session, delivery, false, &err), err);
	assert_ok(rig_consume(rig.session, S("q"), 5, 9, &err), err);
	rig_expect(&rig, WB_BROKER_CONSUMING, &event);
	assert_int_equal(event.token, 9);
	rig_end(&rig);
}

/* ---- beyond the limits ------------------------------------------------- */

static void put(wbi_buffer *to, const char *bytes, size_t len)
{
	assert_int_equal(wbi_buffer_append(to, bytes, len), WB_OK);
}

static void put_len(wbi_buffer *to, size_t len)
{
	char be[4] = {(char)(len >> 24), (char)(len >> 16), (char)(len >> 8),
		      (char)len};

	put(to, be, 4);
}

/* Property flags: headers, and perhaps message_id behind them. */
static void put_headers(wbi_buffer *to, const char *table, size_t len,
			bool with_id)
{
	put(to, with_id ? "\x20\x80" : "\x20\x00", 2);
	put_len(to, len);
	put(to, table, len);
	if (with_id)
		put(to, "\4id-9", 5);
}

/* Deliver a table; the event must come, and the session must live on. */
static void deliver_table(session_rig *rig, const char *table, size_t len,
			  wb_broker_event *ret)
{
	wbi_buffer properties;

	wbi_buffer_init(&properties, 1024 * 1024);
	put_headers(&properties, table, len, true);
	amqp_peer_deliver_raw(rig->peer,
			      wb_str_n(wbi_buffer_data(&properties),
				       wbi_buffer_len(&properties)),
			      4, S("data"));
	rig_expect(rig, WB_BROKER_DELIVERY, ret);
	wbi_buffer_fini(&properties);
	assert_true(wb_str_eq(ret->message.body, S("data")));
	assert_true(wb_str_eq(ret->message.message_id, S("id-9")));
}

static void deep_headers_are_delivered_marked_and_undecoded(void **state)
{
	enum { LEVELS = 8000 };
	wbi_session_options options = rig_options();
	wbi_buffer table;
	wb_broker_event event;
	session_rig rig;
	wb_str why;

	(void)state;
	wbi_buffer_init(&table, 1024 * 1024);
	put(&table, "\1x", 2);
	for (size_t i = 0; i < LEVELS; i++) {
		put(&table, "A", 1);
		put_len(&table, (LEVELS - 1 - i) * 5);
	}
	rig_consuming(&rig, &options, 10);
	deliver_table(&rig, (const char *)wbi_buffer_data(&table),
		      wbi_buffer_len(&table), &event);
	assert_int_equal(event.message.header_count, 1);
	why = header(&event.message, "waybill-undecoded");
	assert_true(wb_str_eq(why, S("a table nested deeper than 8 levels")));
	assert_false(wbi_session_is_over(rig.session));
	wbi_buffer_fini(&table);
	rig_end(&rig);
}

static void broken_tables_are_delivered_marked_too(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} tables[] = {
		{"\1x?", 3},			   /* unknown type */
		{"\1xS\0\0\0\7abc", 10},	   /* string too long */
		{"\1xF\xff\xff\xff\xff", 7},	   /* table too long */
		{"\5x", 2},			   /* key too long */
		{"\1x", 2},			   /* no value */
		{"\1xl\0\0", 5},		   /* short integer */
		{"\1xF\0\0\0\3\1aI\0\0\0\0", 14}, /* inner over its end */
	};
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_consuming(&rig, NULL, 50);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		deliver_table(&rig, tables[i].bytes, tables[i].len, &event);
		assert_int_equal(event.message.header_count, 1);
		assert_true(
			header(&event.message, "waybill-undecoded").len > 0);
	}
	rig_end(&rig);
}

static void too_many_keys_are_delivered_marked(void **state)
{
	wb_broker_event event;
	wbi_buffer table;
	session_rig rig;

	(void)state;
	wbi_buffer_init(&table, 1024 * 1024);
	rig_consuming(&rig, NULL, 10);
	for (int i = 0; i < 128; i++)
		put(&table, "\1kt\1", 4);
	deliver_table(&rig, (const char *)wbi_buffer_data(&table),
		      wbi_buffer_len(&table), &event);
	assert_int_equal(event.message.header_count, 128);
	put(&table, "\1kt\1", 4);
	deliver_table(&rig, (const char *)wbi_buffer_data(&table),
		      wbi_buffer_len(&table), &event);
	assert_int_equal(event.message.header_count, 1);
	wbi_buffer_fini(&table);
	rig_end(&rig);
}

static void a_body_over_the_limit_is_dropped_and_marked(void **state)
{
	wbi_session_options options = rig_options();
	wb_header headers[] = {{S("ce-id"), S("1")}};
	wb_message sent = {.message_id = S("big"),
			   .headers = headers,
			   .header_count = 1,
			   .body = S("0123456789")};
	wb_broker_event event;
	uint64_t delivery;
	session_rig rig;

	(void)state;
	options.body_max_bytes = 9;
	rig_consuming(&rig, &options, 10);
	amqp_peer_deliver(rig.peer, &sent, false);
	rig_expect(&rig, WB_BROKER_DELIVERY, &event);
	assert_int_equal(event.message.body.len, 0);
	assert_true(wb_str_eq(event.message.message_id, S("big")));
	assert_true(wb_str_eq(header(&event.message, "ce-id"), S("1")));
	assert_true(wb_str_eq(
		header(&event.message, "waybill-undecoded"),
		S("a body of 10 bytes, more than body_max_bytes, 9")));
	deliver(&rig, &delivery);
	/* A size that is a lie costs nothing but waiting. */
	amqp_peer_deliver_raw(rig.peer, wb_str_n("\0\0", 2), UINT64_MAX,
			      S("x"));
	rig_expect_nothing(&rig);
	rig_end(&rig);
}

static void header_values_of_every_type_become_text(void **state)
{
	static const char table[] =
		"\4boolt\1"
		"\2i1b\xff"
		"\2u1B\xff"
		"\2i2s\xff\xfe"
		"\2i4I\xff\xff\xff\xfd"
		"\2i8l\xff\xff\xff\xff\xff\xff\xff\xfc"
		"\2f4f\x3f\xc0\0\0"
		"\2f8d\x40\x04\0\0\0\0\0\0"
		"\3decD\2\0\0\0\7"
		"\4timeT\0\0\0\0\x65\x53\xf1\0"
		"\4nullV"
		"\3strS\0\0\0\3a\0b"
		"\3binx\0\0\0\2\xff\0"
		"\3tabF\0\0\0\21\1aI\0\0\0\1\1bS\0\0\0\3\"q\n"
		"\3arrA\0\0\0\4t\0V"
		"V";
	static const struct {
		const char *name, *text;
		size_t len;
	} want[] = {{"bool", "true", 4},
		    {"i1", "-1", 2},
		    {"u1", "255", 3},
		    {"i2", "-2", 2},
		    {"i4", "-3", 2},
		    {"i8", "-4", 2},
		    {"f4", "1.5", 3},
		    {"f8", "2.5", 3},
		    {"dec", "0.07", 4},
		    {"time", "1700000000", 10},
		    {"null", "null", 4},
		    {"str", "a\0b", 3},
		    {"bin", "\xff\0", 2},
		    {"tab", "{\"a\":1,\"b\":\"\\\"q\\u000a\"}", 23},
		    {"arr", "[false,null,null]", 17}};
	wb_broker_event event;
	session_rig rig;

	(void)state;
	rig_consuming(&rig, NULL, 10);
	deliver_table(&rig, table, sizeof(table) - 1, &event);
	assert_int_equal(event.message.header_count, 15);
	for (size_t i = 0; i < 15; i++) {
		wb_str got = header(&event.message, want[i].name);

		if (!wb_str_eq(got, wb_str_n(want[i].text, want[i].len)))
			fail_msg("%s: '%.*s'", want[i].name, (int)got.len,
				 got.ptr);
	}
	rig_end(&rig);
}

static void a_huge_nested_header_is_cut(void **state)
{
	wb_broker_event event;
	wbi_buffer table;
	session_rig rig;
	wb_str text;

	(void)state;
	wbi_buffer_init(&table, 1024 * 1024);
	put(&table, "\1xA", 3);
	put_len(&table, 20005);
	put(&table, "S", 1);
	put_len(&table, 20000);
	for (int i = 0; i < 20000; i++)
		put(&table, "\1", 1);
	rig_consuming(&rig, NULL, 10);
	deliver_table(&rig, (const char *)wbi_buffer_data(&table),
		      wbi_buffer_len(&table), &event);
	text = header(&event.message, "x");
	assert_true(text.len > 8000 && text.len <= 8192 + 3);
	assert_memory_equal(text.ptr + text.len - 3, "...", 3);
	wbi_buffer_fini(&table);
	rig_end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			declarations_are_answered_in_order_through_refusals),
		cmocka_unit_test(at_most_64_declarations_wait),
		cmocka_unit_test(a_delivery_comes_with_all_its_fields),
		cmocka_unit_test(only_outstanding_deliveries_can_be_settled),
		cmocka_unit_test(a_broker_that_ignores_prefetch_is_left),
		cmocka_unit_test(
			a_closed_channel_voids_its_deliveries_and_the_consumer),
		cmocka_unit_test(
			what_comes_late_of_a_closed_channel_is_dropped),
		cmocka_unit_test(a_cancelled_consumer_is_told_with_its_token),
		cmocka_unit_test(
			deep_headers_are_delivered_marked_and_undecoded),
		cmocka_unit_test(broken_tables_are_delivered_marked_too),
		cmocka_unit_test(too_many_keys_are_delivered_marked),
		cmocka_unit_test(a_body_over_the_limit_is_dropped_and_marked),
		cmocka_unit_test(header_values_of_every_type_become_text),
		cmocka_unit_test(a_huge_nested_header_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
