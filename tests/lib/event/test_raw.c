/* SPDX-License-Identifier: BSD-2-Clause */
/* A message as bytes: it comes back as it went, or its damage is noticed. */
#include "tests/support/testing.h"

#include <stdlib.h>

#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/event/raw.h"

static const wb_header sample_headers[] = {
	{{"ce_id", 5}, {"1", 1}},
	{{"", 0}, {"\0\xff", 2}},
	{{"empty", 5}, {"", 0}},
};

static wb_message sample(void)
{
	return (wb_message){.exchange = S("events"),
			    .routing_key = S("order.placed"),
			    .message_id = S("m-1"),
			    .type = S("order.placed"),
			    .app_id = S("shop"),
			    .content_type = S("application/json"),
			    .correlation_id = S("c-1"),
			    .reply_to = S("answers"),
			    .timestamp_s = -5,
			    .persistent = true,
			    .headers = sample_headers,
			    .header_count = 3,
			    .body = S("{\"a\":\0 1}")};
}

static wb_str encode(const wb_message *message)
{
	size_t size = wbi_raw_size(message);
	uint8_t *bytes = malloc(size);

	assert_non_null(bytes);
	wbi_raw_encode(message, bytes, size);
	return wb_str_n(bytes, size);
}

static void assert_str(wb_str a, wb_str b)
{
	assert_true(wb_str_eq(a, b));
}

static void a_message_comes_back_as_it_went(void **state)
{
	wb_message in = sample(), out;
	wb_str bytes = encode(&in);
	wb_error err = WB_ERROR_INIT;
	wb_header headers[3];

	(void)state;
	assert_ok(wbi_raw_decode(bytes, headers, 3, &out, &err), err);
	assert_str(out.exchange, in.exchange);
	assert_str(out.routing_key, in.routing_key);
	assert_str(out.message_id, in.message_id);
	assert_str(out.type, in.type);
	assert_str(out.app_id, in.app_id);
	assert_str(out.content_type, in.content_type);
	assert_str(out.correlation_id, in.correlation_id);
	assert_str(out.reply_to, in.reply_to);
	assert_str(out.body, in.body);
	assert_int_equal(out.timestamp_s, -5);
	assert_true(out.persistent);
	assert_int_equal(out.header_count, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_str(out.headers[i].name, in.headers[i].name);
		assert_str(out.headers[i].value, in.headers[i].value);
	}
	free((void *)(uintptr_t)bytes.ptr);
}

static void an_empty_message_comes_back(void **state)
{
	wb_message in = {.persistent = false}, out;
	wb_str bytes = encode(&in);
	wb_error err = WB_ERROR_INIT;

	(void)state;
	assert_ok(wbi_raw_decode(bytes, NULL, 0, &out, &err), err);
	assert_int_equal(out.body.len, 0);
	assert_false(out.persistent);
	free((void *)(uintptr_t)bytes.ptr);
}

static void damage_at_any_byte_is_noticed(void **state)
{
	wb_message in = sample(), out;
	wb_str bytes = encode(&in);
	uint8_t *p = (uint8_t *)(uintptr_t)bytes.ptr;
	wb_header headers[3];

	(void)state;
	for (size_t i = 0; i < bytes.len; i++) {
		p[i] ^= 0x10;
		assert_int_equal(wbi_raw_decode(bytes, headers, 3, &out, NULL),
				 WB_ECORRUPT);
		p[i] ^= 0x10;
		assert_int_equal(
			wbi_raw_decode(wb_str_n(p, i), headers, 3, &out, NULL),
			WB_ECORRUPT);
	}
	free(p);
}

static void reseal(wb_str bytes)
{
	uint8_t *p = (uint8_t *)(uintptr_t)bytes.ptr;

	wbi_put_le32(p, wbi_crc32c(0, p + 4, bytes.len - 4));
}

static void lengths_are_not_believed(void **state)
{
	wb_message in = sample(), out;
	wb_str bytes = encode(&in);
	uint8_t *p = (uint8_t *)(uintptr_t)bytes.ptr;
	wb_error err = WB_ERROR_INIT;
	wb_header headers[4];

	(void)state;
	p[18]++; /* of the exchange's name */
	reseal(bytes);
	assert_code(wbi_raw_decode(bytes, headers, 4, &out, &err), WB_ECORRUPT,
		    err);
	p[18]--;
	wbi_put_le32(p + 18, UINT32_MAX);
	reseal(bytes);
	assert_code(wbi_raw_decode(bytes, headers, 4, &out, &err), WB_ECORRUPT,
		    err);
	wbi_put_le32(p + 18, 6);
	p[6]++; /* of headers */
	reseal(bytes);
	assert_code(wbi_raw_decode(bytes, headers, 4, &out, &err), WB_ECORRUPT,
		    err);
	assert_code(wbi_raw_decode(bytes, headers, 3, &out, &err), WB_ELIMIT,
		    err);
	p[6]--;
	p[4]++; /* the version */
	reseal(bytes);
	assert_code(wbi_raw_decode(bytes, headers, 4, &out, &err), WB_EVERSION,
		    err);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_comes_back_as_it_went),
		cmocka_unit_test(an_empty_message_comes_back),
		cmocka_unit_test(damage_at_any_byte_is_noticed),
		cmocka_unit_test(lengths_are_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
