/* SPDX-License-Identifier: BSD-2-Clause */
/* Events that the tests of lib/event/ share: the least one, one with
 * everything, one with bytes that are not text, and a stub. The golden files hold
 * them, so they never change; add another instead. */
#ifndef TESTS_EVENT_SAMPLE_H
#define TESTS_EVENT_SAMPLE_H

#include "tests/support/testing.h"

#include <waybill/event.h>

static const wb_header sample_headers[] = {
	{{"tenant", 6}, {"blue", 4}},
	{{"empty", 5}, {"", 0}},
	{{"region2", 7}, {"\xc3\x85land", 6}},
};

static inline wb_event sample_minimal(void)
{
	return (wb_event){
		.id = S("0190aaaa-bbbb-7ccc-8ddd-eeeeffff0001"),
		.type = S("order.placed"),
		.source = S("/shop"),
		.time_us = 1795310625678901,
	};
}

static inline wb_event sample_full(void)
{
	return (wb_event){
		.id = S("0190aaaa-bbbb-7ccc-8ddd-eeeeffff0002"),
		.type = S("order.placed"),
		.source = S("/shop"),
		.subject = S("order/42"),
		.key = S("order-42"),
		.content_type = S("application/json"),
		.data_schema = S("https://example.org/order.json"),
		.correlation_id = S("corr-1"),
		.causation_id = S("cause-1"),
		.traceparent = S("00-0af7651916cd43dd8448eb211c80319c-"
				 "b7ad6b7169203331-01"),
		.tracestate = S("vendor=1,other=2"),
		.reply_to = S("replies"),
		.time_us = 951825600000001,
		.sequence = 7,
		.headers = sample_headers,
		.header_count = 3,
		.data = S("{\"total\": 0.10, \"who\": \"\xc3\x85sa\"}"),
	};
}

static inline wb_event sample_binary(void)
{
	static const char bytes[] = "\x00\x01\xfe\xff\r\n\x00{]";

	return (wb_event){
		.id = S("b"),
		.type = S("blob"),
		.source = S("/shop"),
		.key = S("\xe2\x82\xac"),
		.content_type = S("application/octet-stream"),
		.time_us = -1,
		.sequence = UINT64_MAX,
		.data = {bytes, sizeof(bytes) - 1},
	};
}

/* What truncation leaves of sample_full(). */
static inline wb_event sample_stub(void)
{
	return (wb_event){
		.id = S("0190aaaa-bbbb-7ccc-8ddd-eeeeffff0002"),
		.type = S("order.placed"),
		.subject = S("order/42"),
		.time_us = 951825600000001,
		.sequence = 7,
	};
}

static inline void assert_str(wb_str got, wb_str expected)
{
	assert_int_equal(got.len, expected.len);
	if (got.len > 0)
		assert_memory_equal(got.ptr, expected.ptr, got.len);
}

/* `got` must have its headers unpacked. */
static inline void assert_same_event(const wb_event *got, const wb_event *want)
{
	assert_str(got->id, want->id);
	assert_str(got->type, want->type);
	assert_str(got->source, want->source);
	assert_str(got->subject, want->subject);
	assert_str(got->key, want->key);
	assert_str(got->content_type, want->content_type);
	assert_str(got->data_schema, want->data_schema);
	assert_str(got->correlation_id, want->correlation_id);
	assert_str(got->causation_id, want->causation_id);
	assert_str(got->traceparent, want->traceparent);
	assert_str(got->tracestate, want->tracestate);
	assert_str(got->reply_to, want->reply_to);
	assert_str(got->data, want->data);
	assert_true(got->time_us == want->time_us);
	assert_true(got->sequence == want->sequence);
	assert_int_equal(got->header_count, want->header_count);
	for (size_t i = 0; i < want->header_count; i++) {
		assert_str(got->headers[i].name, want->headers[i].name);
		assert_str(got->headers[i].value, want->headers[i].value);
	}
}

#endif
