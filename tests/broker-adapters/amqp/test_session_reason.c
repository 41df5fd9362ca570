/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A broker's refusal becomes an error that names the thing, the cause and the
 * cure, and a class that says what to do; RabbitMQ's own words are in it.
 */
#include <string.h>

#include "broker-adapters/amqp/session_internal.h"
#include "lib/base/assert.h"
#include "tests/support/testing.h"

static wbi_session session_at(session_stage stage)
{
	return (wbi_session){.user = (char *)"ann",
			     .vhost = (char *)"/shop",
			     .stage = stage};
}

static void assert_told(const wb_error *err, wb_code code, const char *words)
{
	assert_string_equal(wb_code_name(err->code), wb_code_name(code));
	if (!strstr(err->text, words))
		fail_msg("%s: no %s", err->text, words);
}

static void a_closed_connection_says_why_and_what_to_do(void **state)
{
	static const struct {
		session_stage stage;
		uint16_t reply;
		const char *text;
		wb_code code;
		wb_class class_;
		const char *words;
	} cases[] = {
		{SESSION_TUNE, 403, "ACCESS_REFUSED", WB_EACCESS, WB_CLASS_STOP,
		 "login refused: user 'ann' (PLAIN), vhost '/shop'"},
		{SESSION_OPEN, 530, "vhost '/shop': connection limit reached",
		 WB_EACCESS, WB_CLASS_RETRY, "as many connections"},
		{SESSION_OPEN, 530, "NOT_ALLOWED - vhost /shop not found",
		 WB_ENOTFOUND, WB_CLASS_STOP, "rabbitmqctl add_vhost"},
		{SESSION_OPEN, 402, "no such path", WB_EACCESS, WB_CLASS_STOP,
		 "may not use vhost '/shop'"},
		{SESSION_UP, 403, "ACCESS_REFUSED", WB_EACCESS, WB_CLASS_STOP,
		 "the broker closed the connection: ACCESS_REFUSED"},
		{SESSION_UP, 530, "NOT_ALLOWED", WB_EACCESS, WB_CLASS_STOP,
		 "the broker closed the connection: NOT_ALLOWED"},
		{SESSION_UP, 501, "FRAME_ERROR", WB_EPROTO, WB_CLASS_STOP,
		 "we broke the protocol (501)"},
		{SESSION_UP, 505, "UNEXPECTED_FRAME", WB_EPROTO, WB_CLASS_STOP,
		 "we broke the protocol (505)"},
		{SESSION_UP, 506, "RESOURCE_ERROR", WB_ECLOSED, WB_CLASS_RETRY,
		 "(506): RESOURCE_ERROR"},
		{SESSION_UP, 320, "CONNECTION_FORCED", WB_ECLOSED,
		 WB_CLASS_RETRY, "(320): CONNECTION_FORCED"},
	};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wbi_session s = session_at(cases[i].stage);
		wb_error err = WB_ERROR_INIT;

		wbi_reason_connection(&s, cases[i].reply,
				      wb_str_from(cases[i].text), &err);
		assert_told(&err, cases[i].code, cases[i].words);
		assert_int_equal(err.class_, cases[i].class_);
		assert_int_equal(err.foreign, cases[i].reply);
	}
}

static void a_refused_certificate_is_called_a_login_by_external(void **state)
{
	wbi_session s = session_at(SESSION_TUNE);
	wb_error err = WB_ERROR_INIT;

	(void)state;
	s.options.external_auth = true;
	wbi_reason_connection(&s, 403, S("no\n\x01way"), &err);
	assert_told(&err, WB_EACCESS, "(EXTERNAL)");
	assert_null(strchr(err.text, '\n'));
}

static void a_closed_channel_says_why_and_what_to_do(void **state)
{
	static const struct {
		bool consumes;
		uint16_t reply;
		const char *text;
		wb_code code;
		const char *words;
	} cases[] = {
		{false, 404, "NOT_FOUND - no exchange 'e' in vhost '/shop'",
		 WB_ENOTFOUND, "exchange 'e' does not exist on vhost '/shop'"},
		{true, 404, "NOT_FOUND - no queue 'q' in vhost '/shop'",
		 WB_ENOTFOUND, "queue 'q' does not exist on vhost '/shop'"},
		{false, 404, "NOT_FOUND - nothing", WB_ENOTFOUND,
		 "something is missing"},
		{false, 404, "NOT_FOUND - no queue '", WB_ENOTFOUND,
		 "something is missing"},
		{false, 406, "message size 9 is larger than configured max 8",
		 WB_ELIMIT, "max_message_size"},
		{true, 406, "delivery acknowledgement on channel 1 timed out",
		 WB_ETIMEOUT, "consumer_timeout"},
		{true, 406, "unknown delivery tag 7", WB_ECLOSED,
		 "closed the channel (406): unknown delivery tag 7"},
		{false, 403, "ACCESS_REFUSED", WB_EACCESS,
		 "user 'ann' lacks the write permission"},
		{true, 403, "ACCESS_REFUSED", WB_EACCESS,
		 "user 'ann' lacks the read permission"},
		{false, 311, "CONTENT_TOO_LARGE", WB_ECLOSED,
		 "(311): CONTENT_TOO_LARGE"},
	};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wbi_session s = session_at(SESSION_UP);
		wb_error err = WB_ERROR_INIT;

		s.consumer.state =
			cases[i].consumes ? CONSUMER_NONE + 1 : CONSUMER_NONE;
		wbi_reason_channel(&s, cases[i].reply,
				   wb_str_from(cases[i].text), &err);
		assert_told(&err, cases[i].code, cases[i].words);
	}
}

static void a_refused_declaration_names_the_thing(void **state)
{
	static const struct {
		wb_topology_kind kind;
		uint16_t reply;
		const char *text;
		wb_code code;
		const char *words;
	} cases[] = {
		{WB_TOPOLOGY_EXCHANGE, 404, "NOT_FOUND", WB_ENOTFOUND,
		 "exchange 'thing' does not exist on vhost '/shop'"},
		{WB_TOPOLOGY_QUEUE, 404, "NOT_FOUND", WB_ENOTFOUND,
		 "queue 'thing' does not exist on vhost '/shop'"},
		{WB_TOPOLOGY_BINDING, 404,
		 "NOT_FOUND - no exchange 'e' in vhost '/shop'", WB_ENOTFOUND,
		 "exchange 'e' does not exist"},
		{WB_TOPOLOGY_QUEUE, 406, "inequivalent arg 'x'", WB_EMISMATCH,
		 "exists with other properties"},
		{WB_TOPOLOGY_QUEUE, 403, "ACCESS_REFUSED", WB_EACCESS,
		 "lacks the configure permission"},
		{WB_TOPOLOGY_BINDING, 403, "ACCESS_REFUSED", WB_EACCESS,
		 "write (queue) or read (exchange)"},
		{WB_TOPOLOGY_BINDING, 540, "NOT_IMPLEMENTED", WB_EPROTO,
		 "the broker refuses binding of queue 'thing' (540)"},
	};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		const declare what = {.kind = cases[i].kind,
				      .name = (char *)"thing"};
		wbi_session s = session_at(SESSION_UP);
		wb_error err = WB_ERROR_INIT;

		wbi_reason_declare(&s, &what, cases[i].reply,
				   wb_str_from(cases[i].text), &err);
		assert_told(&err, cases[i].code, cases[i].words);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_closed_connection_says_why_and_what_to_do),
		cmocka_unit_test(
			a_refused_certificate_is_called_a_login_by_external),
		cmocka_unit_test(a_closed_channel_says_why_and_what_to_do),
		cmocka_unit_test(a_refused_declaration_names_the_thing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
