/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/lib/event/sample.h"

#include "lib/base/assert.h"
#include "lib/event/attribute.h"

static char long_text[2048];

static int fill_long_text(void **state)
{
	(void)state;
	memset(long_text, 'x', sizeof(long_text));
	return 0;
}

/* The event must be refused with `code`, and the error must name `what`. */
static void refused(const wb_event *event, wb_code code, const char *what)
{
	wb_error err = WB_ERROR_INIT;

	assert_string_equal(wb_code_name(wb_event_check(event, NULL, &err)),
			    wb_code_name(code));
	assert_int_equal(err.code, code);
	assert_int_equal(err.class_, WB_CLASS_REJECT);
	if (!strstr(err.text, what))
		fail_msg("\"%s\" does not name \"%s\"", err.text, what);
	assert_int_equal(wb_event_check(event, NULL, NULL), code);
}

static void only_the_type_is_required(void **state)
{
	wb_event event = {.type = S("a")};
	wb_event full = sample_full(), binary = sample_binary();
	wb_error err = WB_ERROR_INIT;

	(void)state;
	assert_ok(wb_event_check(&event, NULL, &err), err);
	assert_ok(wb_event_check(&full, NULL, &err), err);
	assert_ok(wb_event_check(&binary, NULL, &err), err);
	event.type = WB_STR_NULL;
	refused(&event, WB_EINVAL, "attribute type");
	refused(NULL, WB_EINVAL, "NULL");
}

/* Or a consumer would take its data for the event. */
static void no_content_type_is_that_of_a_whole_event(void **state)
{
	static const char *const bad[] = {
		"application/cloudevents+json", "application/cloudevents",
		"Application/CloudEvents-batch+json; charset=utf-8"};
	wb_event event = {.type = S("a"), .data = S("{}")};
	wb_error err = WB_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(bad); i++) {
		event.content_type = wb_str_from(bad[i]);
		refused(&event, WB_EINVAL, "content_type");
		/* Of one that came in structured mode it may be. */
		assert_ok(wbi_event_check_own(&event, NULL, &err), err);
	}
	event.content_type = S("application/cloud+json");
	assert_ok(wb_event_check(&event, NULL, &err), err);
}

static void every_attribute_has_its_maximum(void **state)
{
	wb_error err = WB_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < WBI_ATTRIBUTES; i++) {
		const wbi_attribute *a = &wbi_attributes[i];
		size_t max = !strcmp(a->name, "data_schema")  ? 1024
			     : !strcmp(a->name, "tracestate") ? 512
							      : 255;
		wb_event event = {.type = S("a")};

		*wbi_attribute_of(&event, i) = wb_str_n(long_text, max);
		assert_ok(wb_event_check(&event, NULL, &err), err);
		*wbi_attribute_of(&event, i) = wb_str_n(long_text, max + 1);
		refused(&event, WB_ELIMIT, a->name);
		*wbi_attribute_of(&event, i) = wb_str_n(NULL, 1);
		refused(&event, WB_EINVAL, a->name);
	}
}

static void every_attribute_is_clean_utf8(void **state)
{
	static const char *bad[] = {"a\xff", "a\nb", "\xed\xa0\x80", "\x7f"};

	(void)state;
	for (size_t i = 0; i < WBI_ATTRIBUTES; i++) {
		for (size_t j = 0; j < WBI_COUNT(bad); j++) {
			wb_event event = {.type = S("a")};

			*wbi_attribute_of(&event, i) = wb_str_from(bad[j]);
			refused(&event, WB_EINVAL, wbi_attributes[i].name);
		}
	}
}

static void header_names_are_cloudevents_names(void **state)
{
	static const char *bad[] = {"",
				    "Tenant",
				    "a-b",
				    "a_b",
				    "ce-x",
				    "\xc3\xa9",
				    "id",
				    "type",
				    "source",
				    "subject",
				    "time",
				    "specversion",
				    "dataschema",
				    "sequence",
				    "data",
				    "datacontenttype",
				    "traceparent",
				    "tracestate",
				    "partitionkey",
				    "correlationid",
				    "causationid",
				    "wborigin",
				    "wbposition",
				    "wbfuture",
				    "wb"};
	wb_header header = {.value = S("v")};
	wb_event event = {
		.type = S("a"), .headers = &header, .header_count = 1};
	wb_error err = WB_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(bad); i++) {
		header.name = wb_str_from(bad[i]);
		refused(&event, WB_EINVAL, "header 0");
	}
	header.name = S("wborigin");
	assert_ok(wbi_event_check_own(&event, NULL, &err), err);
	header.name = S("wbsaga");
	assert_ok(wb_event_check(&event, NULL, &err), err);
	header.name = wb_str_n(long_text, 125);
	assert_ok(wb_event_check(&event, NULL, &err), err);
	header.name = wb_str_n(long_text, 126);
	refused(&event, WB_ELIMIT, "header 0");
	header.name = S("w");
	header.value = S("a\tb");
	refused(&event, WB_EINVAL, "header w");
	header.value = wb_str_n(NULL, 3);
	refused(&event, WB_EINVAL, "header w");
	event.headers = NULL;
	refused(&event, WB_EINVAL, "headers");
}

static void a_header_comes_once(void **state)
{
	wb_header headers[] = {
		{S("a"), S("1")}, {S("b"), S("1")}, {S("a"), S("2")}};
	wb_event event = {
		.type = S("a"), .headers = headers, .header_count = 3};

	(void)state;
	refused(&event, WB_EINVAL, "headers 0 and 2");
}

static void limits_are_inclusive_and_go_both_ways(void **state)
{
	wb_header headers[] = {{S("a"), S("12345")}, {S("b"), S("123")}};
	wb_event event = {.type = S("a"),
			  .key = S("1234"),
			  .headers = headers,
			  .header_count = 2,
			  .data = S("12345678")};
	wb_limits limits = {8, 2, 10, 4};
	wb_error err = WB_ERROR_INIT;
	size_t *fields[] = {&limits.body_bytes, &limits.header_count,
			    &limits.header_bytes, &limits.key_bytes};

	(void)state;
	assert_ok(wb_event_check(&event, &limits, &err), err);
	for (size_t i = 0; i < WBI_COUNT(fields); i++) {
		--*fields[i];
		assert_code(wb_event_check(&event, &limits, &err), WB_ELIMIT,
			    err);
		++*fields[i];
	}
	limits = (wb_limits){SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};
	event.key = wb_str_n(long_text, 256);
	assert_code(wb_event_check(&event, &limits, &err), WB_ELIMIT, err);
	event.key = wb_str_n(long_text, 255);
	event.data = wb_str_n(long_text, (size_t)512 * 1024 * 1024 + 1);
	assert_code(wb_event_check(&event, &limits, &err), WB_ELIMIT, err);
}

static void a_huge_header_does_not_wrap_the_sum(void **state)
{
	wb_header headers[] = {{S("a"), {long_text, 2000}},
			       {S("b"), {"", SIZE_MAX - 1000}}};
	wb_event event = {
		.type = S("a"), .headers = headers, .header_count = 2};

	(void)state;
	refused(&event, WB_ELIMIT, "header 1");
}

static void the_time_can_be_written(void **state)
{
	wb_event event = {.type = S("a"), .time_us = INT64_MAX};
	wb_error err = WB_ERROR_INIT;

	(void)state;
	refused(&event, WB_EINVAL, "time");
	event.time_us = 253402300799999999;
	assert_ok(wb_event_check(&event, NULL, &err), err);
	event.time_us = -62167219200000001;
	refused(&event, WB_EINVAL, "time");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_type_is_required),
		cmocka_unit_test(no_content_type_is_that_of_a_whole_event),
		cmocka_unit_test(every_attribute_has_its_maximum),
		cmocka_unit_test(every_attribute_is_clean_utf8),
		cmocka_unit_test(header_names_are_cloudevents_names),
		cmocka_unit_test(a_header_comes_once),
		cmocka_unit_test(limits_are_inclusive_and_go_both_ways),
		cmocka_unit_test(a_huge_header_does_not_wrap_the_sum),
		cmocka_unit_test(the_time_can_be_written),
	};

	return cmocka_run_group_tests(tests, fill_long_text, NULL);
}
