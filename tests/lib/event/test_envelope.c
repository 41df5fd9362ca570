/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/lib/event/sample.h"

#include <stdlib.h>
#include <time.h>

#include "lib/base/assert.h"
#include "lib/base/text.h"
#include "lib/event/envelope.h"

enum { HEADERS = 96 };

/* What a caller has to bring for one binary message. */
struct sent {
	wb_header headers[HEADERS];
	char names[4096];
	char scratch[WBI_ENVELOPE_SCRATCH];
	wb_message message;
};

static const wbi_envelope_context context = {
	{"shop", 4}, {"0190aaaa-0000-7000-8000-000000000001", 36}, 42};

static void send_binary(const wb_event *event, struct sent *sent)
{
	wbi_envelope_binary(event, &context, sent->headers, sent->names,
			    sent->scratch, &sent->message);
	assert_true(sent->message.header_count <=
		    event->header_count + WBI_ENVELOPE_HEADERS);
}

static wb_str header(const wb_message *m, const char *name)
{
	for (size_t i = 0; i < m->header_count; i++)
		if (wb_str_eq(m->headers[i].name, wb_str_from(name)))
			return m->headers[i].value;
	fail_msg("no header %s", name);
	return WB_STR_NULL;
}

static void assert_properties(const wb_message *m, const wb_event *event)
{
	assert_str(m->message_id, event->id);
	assert_str(m->type, event->type);
	assert_str(m->app_id, S("shop"));
	assert_str(m->correlation_id, event->correlation_id);
	assert_str(m->reply_to, event->reply_to);
	assert_true(m->persistent);
}

static void binary_mode_fills_every_header_and_property(void **state)
{
	static const char *const expected[][2] = {
		{"ce-specversion", "1.0"},
		{"ce-id", "0190aaaa-bbbb-7ccc-8ddd-eeeeffff0002"},
		{"ce-type", "order.placed"},
		{"ce-source", "/shop"},
		{"ce-subject", "order/42"},
		{"ce-time", "2000-02-29T12:00:00.000001Z"},
		{"ce-dataschema", "https://example.org/order.json"},
		{"ce-partitionkey", "order-42"},
		{"ce-sequence", "00000000000000000007"},
		{"ce-correlationid", "corr-1"},
		{"ce-causationid", "cause-1"},
		{"traceparent",
		 "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{"tracestate", "vendor=1,other=2"},
		{"ce-wborigin", "0190aaaa-0000-7000-8000-000000000001"},
		{"ce-wbposition", "42"},
		{"ce-tenant", "blue"},
		{"ce-empty", ""},
		{"ce-region2", "\xc3\x85land"},
	};
	wb_event event = sample_full();
	struct sent sent;

	(void)state;
	send_binary(&event, &sent);
	assert_int_equal(sent.message.header_count, WBI_COUNT(expected));
	for (size_t i = 0; i < WBI_COUNT(expected); i++)
		assert_str(header(&sent.message, expected[i][0]),
			   wb_str_from(expected[i][1]));
	assert_properties(&sent.message, &event);
	assert_str(sent.message.content_type, event.content_type);
	assert_true(sent.message.timestamp_s == 951825600);
	assert_ptr_equal(sent.message.body.ptr, event.data.ptr);
	assert_str(sent.message.body, event.data);
}

static void binary_mode_leaves_out_what_is_not_there(void **state)
{
	wb_event event = sample_minimal();
	struct sent sent;

	(void)state;
	send_binary(&event, &sent);
	assert_int_equal(sent.message.header_count, 7);
	assert_int_equal(sent.message.content_type.len, 0);
	event = sample_binary();
	send_binary(&event, &sent);
	assert_str(header(&sent.message, "ce-sequence"),
		   S("18446744073709551615"));
	assert_str(header(&sent.message, "ce-time"),
		   S("1969-12-31T23:59:59.999999Z"));
	assert_true(sent.message.timestamp_s == 0);
}

static void structured_mode_puts_json_in_as_it_stands(void **state)
{
	static const char expected[] =
		"{\"specversion\":\"1.0\","
		"\"id\":\"0190aaaa-bbbb-7ccc-8ddd-eeeeffff0002\","
		"\"type\":\"order.placed\",\"source\":\"/shop\","
		"\"subject\":\"order/42\","
		"\"time\":\"2000-02-29T12:00:00.000001Z\","
		"\"datacontenttype\":\"application/json\","
		"\"dataschema\":\"https://example.org/order.json\","
		"\"partitionkey\":\"order-42\","
		"\"sequence\":\"00000000000000000007\","
		"\"correlationid\":\"corr-1\",\"causationid\":\"cause-1\","
		"\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-"
		"b7ad6b7169203331-01\","
		"\"tracestate\":\"vendor=1,other=2\","
		"\"wborigin\":\"0190aaaa-0000-7000-8000-000000000001\","
		"\"wbposition\":\"42\",\"tenant\":\"blue\",\"empty\":\"\","
		"\"region2\":\"\xc3\x85land\","
		"\"data\":{\"total\": 0.10, \"who\": \"\xc3\x85sa\"}}";
	wb_event event = sample_full();
	wb_error err = WB_ERROR_INIT;
	wb_message m;
	char *body;

	(void)state;
	assert_ok(wbi_envelope_structured(&event, &context, &m, &body, &err),
		  err);
	assert_str(m.body, wb_str_from(expected));
	assert_str(m.content_type, S("application/cloudevents+json"));
	assert_int_equal(m.header_count, 0);
	assert_properties(&m, &event);
	free(body);
}

static void structured_mode_refuses_json_that_is_none(void **state)
{
	static const char *const bad[] = {"{",   "{\"a\":1,\"a\":2}", "[1,]",
					  "1 2", "\"\xff\"",          "'a'"};
	char deep[100];
	wb_event event = sample_full();
	wb_error err = WB_ERROR_INIT;
	wb_message m;
	char *body;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(bad); i++) {
		event.data = wb_str_from(bad[i]);
		assert_code(wbi_envelope_structured(&event, &context, &m, &body,
						    &err),
			    WB_EINVAL, err);
	}
	/* As from sizeof of a literal; jansson alone would let it pass. */
	event.data = wb_str_n("1", 2);
	assert_code(wbi_envelope_check_structured(&event, &err), WB_EINVAL,
		    err);
	memset(deep, '[', 33);
	memset(deep + 33, ']', 33);
	event.data = wb_str_n(deep, 66);
	assert_code(wbi_envelope_check_structured(&event, &err), WB_EINVAL,
		    err);
	event.data = wb_str_n(deep + 1, 64);
	assert_ok(wbi_envelope_check_structured(&event, &err), err);
	event.data = S("[123456789012345678901234567890, 0.1, \"\\u0000\"]");
	assert_ok(wbi_envelope_check_structured(&event, &err), err);
	event.content_type = S("text/plain");
	event.data = S("{");
	assert_ok(wbi_envelope_check_structured(&event, &err), err);
}

static void structured_mode_bounds_the_memory_of_the_check(void **state)
{
	size_t len = WBI_JSON_VALUES * 3;
	char *text = malloc(len + 1);
	wb_event event = sample_full();
	wb_error err = WB_ERROR_INIT;

	(void)state;
	assert_non_null(text);
	text[0] = '[';
	for (size_t i = 1; i + 2 < len; i += 2)
		memcpy(text + i, "1,", 2);
	memcpy(text + len - 2, "1]", 2);
	event.data = wb_str_n(text, len);
	assert_code(wbi_envelope_check_structured(&event, &err), WB_ELIMIT,
		    err);
	free(text);
}

static void json_content_types_are_known(void **state)
{
	(void)state;
	assert_true(wbi_content_type_is_json(S("application/json")));
	assert_true(wbi_content_type_is_json(S("Text/JSON; charset=utf-8")));
	assert_true(wbi_content_type_is_json(S("application/x+json ;a=b")));
	assert_false(wbi_content_type_is_json(S("application/jsonl")));
	assert_false(wbi_content_type_is_json(S("json")));
	assert_false(wbi_content_type_is_json(WB_STR_NULL));
}

static void what_is_sent_is_read_back(void **state)
{
	const wb_event events[] = {sample_minimal(), sample_full(),
				   sample_binary()};
	wb_error err = WB_ERROR_INIT;
	wbi_received got;
	wb_message m;
	char *body;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(events); i++) {
		struct sent sent;

		send_binary(&events[i], &sent);
		assert_ok(wbi_envelope_read(&sent.message, NULL, &got, &err),
			  err);
		assert_int_equal(got.form, WBI_FORM_BINARY);
		assert_same_event(&got.event, &events[i]);
		assert_str(got.origin, context.origin);
		assert_true(got.position == 42);
		assert_int_equal(got.other_count, 0);
		wbi_envelope_read_fini(&got);

		assert_ok(wbi_envelope_structured(&events[i], &context, &m,
						  &body, &err),
			  err);
		assert_ok(wbi_envelope_read(&m, NULL, &got, &err), err);
		assert_int_equal(got.form, WBI_FORM_STRUCTURED);
		assert_same_event(&got.event, &events[i]);
		assert_true(got.position == 42);
		wbi_envelope_read_fini(&got);
		free(body);
	}
}

/* Read one message that must be an event of `form`. */
static wbi_received read_as(const wb_message *m, wbi_form form)
{
	wb_error err = WB_ERROR_INIT;
	wbi_received got;

	assert_ok(wbi_envelope_read(m, NULL, &got, &err), err);
	assert_int_equal(got.form, form);
	return got;
}

/* Data that a line cannot hold as it stands, and data that it can. */
static void a_line_gives_back_the_event_byte_for_byte(void **state)
{
	static const char *const datas[] = {
		"{\"a\":1.10}",
		"{\"a\": [1 ,2]}",
		" {}",
		"{} ",
		"{\n}",
		"{\r\n}",
		"\"text\"",
		"not json",
		"{\"a\":1,\"a\":2}",
		"null",
		"",
		"\t1",
	};
	wb_error err = WB_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(datas) + 2; i++) {
		wb_event event = i == 0 ? sample_binary() : sample_full();
		wb_message m = {.content_type =
					S("application/cloudevents+json")};
		char *line = NULL;
		wbi_received got;

		if (i > 1)
			event.data = wb_str_from(datas[i - 2]);
		event.reply_to = WB_STR_NULL;
		assert_ok(wbi_envelope_line(&event, &line, &m.body.len, &err),
			  err);
		m.body.ptr = line;
		assert_null(memchr(line, '\n', m.body.len));
		assert_ok(wbi_envelope_read(&m, NULL, &got, &err), err);
		assert_same_event(&got.event, &event);
		assert_int_equal(got.origin.len + got.position, 0);
		wbi_envelope_read_fini(&got);
		free(line);
	}
}

static void a_line_has_reply_to_under_a_name_of_its_own(void **state)
{
	wb_event event = sample_full();
	wb_error err = WB_ERROR_INIT;
	char *line = NULL, *end;
	size_t len;

	(void)state;
	assert_ok(wbi_envelope_line(&event, &line, &len, &err), err);
	end = realloc(line, len + 1);
	assert_non_null(end);
	end[len] = '\0';
	assert_non_null(strstr(end, "\"" WBI_LINE_REPLY_TO "\":\"replies\""));
	assert_non_null(strstr(end, "\"tenant\":\"blue\""));
	free(end);
}

/* Else the relay would send the name twice, once as its own. */
static void a_place_that_a_stranger_names_is_no_extension(void **state)
{
	wb_header headers[] = {{S("wborigin"), S("mine")},
			       {S("wbposition"), S("12")},
			       {S("tenant"), S("x")}};
	wb_header bad[] = {{S("ce-specversion"), S("1.0")},
			   {S("ce-id"), S("7")},
			   {S("ce-type"), S("t")},
			   {S("ce-source"), S("s")},
			   {S("ce-wbposition"), S("twelve")}};
	wb_message raw = {.headers = headers,
			  .header_count = WBI_COUNT(headers),
			  .message_id = S("7"),
			  .type = S("t"),
			  .body = S("b")};
	wb_message binary = {.headers = bad, .header_count = WBI_COUNT(bad)};
	wbi_received got = read_as(&raw, WBI_FORM_RAW);

	(void)state;
	assert_int_equal(got.event.header_count, 1);
	assert_str(got.event.headers[0].name, S("tenant"));
	assert_int_equal(got.other_count, 2);
	assert_int_equal(got.origin.len, 0);
	wbi_envelope_read_fini(&got);
	got = read_as(&binary, WBI_FORM_BINARY);
	assert_int_equal(got.event.header_count, 0);
	assert_int_equal(got.other_count, 1);
	wbi_envelope_read_fini(&got);
}

static void every_form_of_others_is_understood(void **state)
{
	static const char *const prefixes[] = {"cloudEvents_",
					       "cloudEvents:", "CE-", ""};
	static const wbi_form forms[] = {WBI_FORM_AMQP, WBI_FORM_AMQP,
					 WBI_FORM_BINARY, WBI_FORM_BARE};
	static const char *const pairs[][2] = {
		{"specversion", "1.0"}, {"id", "7"},          {"type", "t"},
		{"source", "s"},        {"time", "nonsense"}, {"tenant", "x"},
		{"sequence", "a-b"}};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(prefixes); i++) {
		char names[8][40];
		wb_header headers[8] = {{S("x-death"), S("broker's")}};
		wb_message m = {.headers = headers,
				.header_count = 8,
				.message_id = S("other"),
				.timestamp_s = 5,
				.body = S("b"),
				.content_type = S("a/b")};
		wbi_received got;

		for (size_t j = 0; j < WBI_COUNT(pairs); j++) {
			snprintf(names[j], sizeof(names[j]), "%s%s",
				 prefixes[i], pairs[j][0]);
			headers[j + 1].name = wb_str_from(names[j]);
			headers[j + 1].value = wb_str_from(pairs[j][1]);
		}
		got = read_as(&m, forms[i]);
		assert_str(got.event.id, S("7"));
		assert_str(got.event.type, S("t"));
		assert_str(got.event.source, S("s"));
		assert_str(got.event.content_type, S("a/b"));
		assert_str(got.event.data, S("b"));
		assert_true(got.event.time_us == 5000000);
		assert_true(got.event.sequence == 0);
		assert_int_equal(got.event.header_count, 1);
		assert_str(got.event.headers[0].name, S("tenant"));
		assert_int_equal(got.other_count, 3); /* x-death, time, seq. */
		wbi_envelope_read_fini(&got);
	}
}

static void a_raw_message_is_read_by_its_properties(void **state)
{
	wb_header headers[] = {
		{S("tenant"), S("x")},     {S("Bad-Name"), S("y")},
		{S("x-death"), S("z")},    {S("id"), S("mine")},
		{S("tenant"), S("again")}, {S("traceparent"), S("00-1")}};
	wb_message m = {.headers = headers,
			.header_count = 6,
			.message_id = S("m1"),
			.routing_key = S("a.b"),
			.exchange = S("events"),
			.body = S("raw")};
	wbi_received got;

	(void)state;
	got = read_as(&m, WBI_FORM_RAW);
	assert_str(got.event.id, S("m1"));
	assert_str(got.event.type, S("a.b"));
	assert_str(got.event.source, S("events"));
	assert_str(got.event.traceparent, S("00-1"));
	assert_int_equal(got.event.header_count, 1);
	assert_int_equal(got.other_count, 4);
	wbi_envelope_read_fini(&got);
	m.type = S("t");
	m.app_id = S("app");
	got = read_as(&m, WBI_FORM_RAW);
	assert_str(got.event.type, S("t"));
	assert_str(got.event.source, S("app"));
	wbi_envelope_read_fini(&got);
}

static void the_first_of_two_counts(void **state)
{
	wb_header headers[] = {
		{S("ce-specversion"), S("1.0")},
		{S("ce-id"), S("1")},
		{S("ce-id"), S("2")},
		{S("ce-type"), S("t")},
		{S("ce-source"), S("s")},
		{S("ce-x"), S("a")},
		{S("ce-x"), S("b")},
	};
	wb_message m = {.headers = headers, .header_count = 7};
	wbi_received got = read_as(&m, WBI_FORM_BINARY);

	(void)state;
	assert_str(got.event.id, S("1"));
	assert_str(got.event.headers[0].value, S("a"));
	assert_int_equal(got.event.header_count, 1);
	assert_int_equal(got.other_count, 2);
	assert_str(got.others[0].name, S("ce-x"));
	assert_str(got.others[1].value, S("2"));
	wbi_envelope_read_fini(&got);
}

static void no_id_is_refused_with_the_reason(void **state)
{
	wb_message m = {.routing_key = S("a.b"), .exchange = S("events")};
	wb_error err = WB_ERROR_INIT;
	wbi_received got;

	(void)state;
	assert_int_equal(wbi_envelope_read(&m, NULL, &got, &err), WB_EINVAL);
	assert_non_null(strstr(err.text, "without an id"));
}

static void structured_data_keeps_its_bytes(void **state)
{
	static const struct {
		const char *body, *type, *data;
	} cases[] = {
		{" { \"id\" : \"1\", \"data\" : [ 0.10 , {\"}\":1e2} ] , "
		 "\"n\":7,\"flag\":true,\"type\":\"t\",\"source\":\"s\"} ",
		 "application/json", "[ 0.10 , {\"}\":1e2} ]"},
		{"{\"id\":\"1\",\"d\\u0061ta\":true,\"n\":7,\"flag\":true,"
		 "\"type\":\"t\",\"source\":\"s\",\"no\":null}",
		 "application/json", "true"},
		{"{\"id\":\"1\",\"data\":\"a\\u00e9\",\"n\":7,\"flag\":true,"
		 "\"datacontenttype\":\"text/plain\",\"type\":\"t\","
		 "\"source\":\"s\"}",
		 "text/plain", "a\xc3\xa9"},
		{"{\"id\":\"1\",\"data\":\"q\",\"n\":7,\"flag\":true,"
		 "\"datacontenttype\":\"a/b+json\",\"type\":\"t\","
		 "\"source\":\"s\"}",
		 "a/b+json", "\"q\""},
		{"{\"id\":\"1\",\"data_base64\":\"AP8=\",\"n\":7,\"flag\":true"
		 ",\"type\":\"t\",\"source\":\"s\"}",
		 "", "\0\xff"},
		{"{\"id\":\"1\",\"n\":7,\"flag\":true,\"type\":\"t\","
		 "\"source\":\"s\"}",
		 "", ""},
	};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wb_message m = {
			.content_type =
				S("Application/CloudEvents+JSON; charset=x"),
			.body = wb_str_from(cases[i].body)};
		wbi_received got = read_as(&m, WBI_FORM_STRUCTURED);
		size_t len = i == 4 ? 2 : strlen(cases[i].data);

		assert_str(got.event.data, wb_str_n(cases[i].data, len));
		assert_str(got.event.content_type, wb_str_from(cases[i].type));
		assert_int_equal(got.event.header_count, 2);
		assert_str(got.event.headers[0].value, S("7"));
		assert_str(got.event.headers[1].value, S("true"));
		wbi_envelope_read_fini(&got);
	}
}

static void bad_structured_bodies_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{",
		"{\"id\":\"1\",\"id\":\"2\"}",
		"{\"id\":\"1\",\"type\":\"t\",\"data\":1,\"data_base64\":\"\"}",
		"{\"id\":\"1\",\"type\":\"t\",\"data_base64\":\"A\"}",
		"{\"id\":\"1\",\"type\":\"t\",\"data_base64\":\"A===\"}",
		"{\"id\":\"1\",\"type\":\"t\",\"data_base64\":7}",
		"{\"id\":\"1\",\"type\":\"t\",\"x\":{}}",
		"{\"id\":\"1\",\"type\":\"t\\u0000\"}",
		"{\"type\":\"t\"}",
		"{\"id\":\"1\"}",
		"{\"a\":\x1b[31m",
		"{\"a\\n\":[]}"};
	wb_error err = WB_ERROR_INIT;
	wbi_received got;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(bad); i++) {
		wb_message m = {.content_type =
					S("application/cloudevents+json"),
				.body = wb_str_from(bad[i])};

		assert_int_equal(wbi_envelope_read(&m, NULL, &got, &err),
				 WB_EINVAL);
		/* what a stranger wrote is not shown to a terminal as it is */
		assert_true(wbi_text_is_clean(wb_str_from(err.text), NULL));
		wb_error_clear(&err);
	}
	assert_code(
		wbi_envelope_read(
			&(wb_message){.message_id = S("1"),
				      .content_type = S(
					      "application/cloudevents-batch")},
			NULL, &got, &err),
		WB_EINVAL, err);
}

static void too_many_headers_are_refused_before_they_are_kept(void **state)
{
	static wb_header many[200];
	wb_message m = {.message_id = S("1"),
			.type = S("t"),
			.headers = many,
			.header_count = 200};
	wb_error err = WB_ERROR_INIT;
	wbi_received got;

	(void)state;
	assert_code(wbi_envelope_read(&m, NULL, &got, &err), WB_ELIMIT, err);
}

/* Every cut and every changed byte of a structured event: read or refused,
 * and never past its end (a sanitizer sees to that). */
static void damaged_structured_bodies_do_no_harm(void **state)
{
	wb_event event = sample_full();
	wb_error err = WB_ERROR_INIT;
	wb_message m;
	char *body;
	size_t len;

	(void)state;
	assert_ok(wbi_envelope_structured(&event, &context, &m, &body, &err),
		  err);
	len = m.body.len;
	for (size_t i = 0; i < len * 8; i++) {
		bool cut = i % 8 == 0;
		char *copy = malloc(cut ? i / 8 + 1 : len);
		wbi_received got;

		assert_non_null(copy);
		memcpy(copy, body, cut ? i / 8 : len);
		if (!cut)
			copy[i / 8] = "\"{}[],\\:"[i % 8];
		m.body = wb_str_n(copy, cut ? i / 8 : len);
		if (wbi_envelope_read(&m, NULL, &got, NULL) == WB_OK)
			wbi_envelope_read_fini(&got);
		free(copy);
	}
	free(body);
}

/* `test_envelope time`: ns per binary message. */
static int measure(void)
{
	enum { ROUNDS = 1000000 };
	wb_event event = sample_full();
	struct timespec a, b;
	struct sent sent;
	size_t sum = 0;

	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < ROUNDS; i++) {
		event.time_us++;
		send_binary(&event, &sent);
		sum += sent.message.header_count;
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("binary message: %.1f ns (%zu)\n",
	       ((double)(b.tv_sec - a.tv_sec) * 1e9 +
		(double)(b.tv_nsec - a.tv_nsec)) /
		       ROUNDS,
	       sum);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(binary_mode_fills_every_header_and_property),
		cmocka_unit_test(binary_mode_leaves_out_what_is_not_there),
		cmocka_unit_test(structured_mode_puts_json_in_as_it_stands),
		cmocka_unit_test(structured_mode_refuses_json_that_is_none),
		cmocka_unit_test(
			structured_mode_bounds_the_memory_of_the_check),
		cmocka_unit_test(json_content_types_are_known),
		cmocka_unit_test(what_is_sent_is_read_back),
		cmocka_unit_test(a_line_gives_back_the_event_byte_for_byte),
		cmocka_unit_test(a_line_has_reply_to_under_a_name_of_its_own),
		cmocka_unit_test(a_place_that_a_stranger_names_is_no_extension),
		cmocka_unit_test(every_form_of_others_is_understood),
		cmocka_unit_test(a_raw_message_is_read_by_its_properties),
		cmocka_unit_test(the_first_of_two_counts),
		cmocka_unit_test(no_id_is_refused_with_the_reason),
		cmocka_unit_test(structured_data_keeps_its_bytes),
		cmocka_unit_test(bad_structured_bodies_are_refused),
		cmocka_unit_test(
			too_many_headers_are_refused_before_they_are_kept),
		cmocka_unit_test(damaged_structured_bodies_do_no_harm),
	};

	if (argc == 2 && !strcmp(argv[1], "time"))
		return measure();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
