/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/support/testing.h"

#include "lib/base/assert.h"
#include "lib/base/backoff.h"
#include "lib/base/buffer.h"
#include "lib/base/crc32c.h"
#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "lib/base/log.h"
#include "lib/base/text.h"

static void the_first_error_wins(void **state)
{
	wb_error err = WB_ERROR_INIT;

	(void)state;
	assert_int_equal(WBI_FAIL(&err, WB_ENOTFOUND, "first %d", 1),
			 WB_ENOTFOUND);
	assert_int_equal(WBI_FAIL(&err, WB_EIO, "second"), WB_EIO);
	assert_int_equal(err.code, WB_ENOTFOUND);
	assert_int_equal(err.class_, WB_CLASS_REJECT);
	assert_string_equal(err.text, "first 1");
	assert_string_equal(wb_code_name(WB_ENOTFOUND), "WB_ENOTFOUND");
	assert_int_equal(WBI_FAIL(NULL, WB_EIO, "nobody listens"), WB_EIO);
}

static void crc32c_knows_the_published_vectors(void **state)
{
	uint8_t bytes[32];

	(void)state;
	assert_int_equal(wbi_crc32c(0, "123456789", 9), 0xe3069283u);
	memset(bytes, 0, sizeof(bytes)); /* RFC 3720, B.4 */
	assert_int_equal(wbi_crc32c(0, bytes, 32), 0x8a9136aau);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(wbi_crc32c(0, bytes, 32), 0x62a8ab43u);
	for (int i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(wbi_crc32c(0, bytes, 32), 0x46dd794eu);
	for (size_t cut = 0; cut <= 32; cut++)
		assert_int_equal(wbi_crc32c(wbi_crc32c_table(0, bytes, cut),
					    bytes + cut, 32 - cut),
				 0x46dd794eu);
}

static void buffer_keeps_order_and_its_maximum(void **state)
{
	wbi_buffer buffer;
	uint8_t wrote = 0, read = 0;

	(void)state;
	wbi_buffer_init(&buffer, 10000);
	for (int round = 0; round < 1000; round++) {
		for (int i = 0; i < 37; i++, wrote++)
			assert_int_equal(wbi_buffer_append(&buffer, &wrote, 1),
					 WB_OK);
		for (int i = 0; i < 29; i++, read++) {
			assert_int_equal(wbi_buffer_data(&buffer)[0], read);
			wbi_buffer_consume(&buffer, 1);
		}
	}
	assert_int_equal(wbi_buffer_len(&buffer), 8000);
	assert_int_equal(wbi_buffer_append(&buffer, "", 0), WB_OK);
	assert_null(wbi_buffer_room(&buffer, 2001, NULL));
	assert_non_null(wbi_buffer_room(&buffer, 2000, NULL));
	wbi_buffer_fini(&buffer);
}

static void only_clean_utf8_is_clean(void **state)
{
	static const char *good[] = {"", "a", "\xc3\xa9", "\xe2\x82\xac",
				     "\xf0\x9f\x98\x80"};
	static const char *bad[] = {
		"\x01",		 "\x7f",	 "\xc2\x80",
		"\xc0\xaf",	 "\xed\xa0\x80", "\xf4\x90\x80\x80",
		"\xe2\x82",	 "\xff",	 "a\xef\xbf\xbe",
		"\xef\xb7\x90", "\xf0\x80\x80\x80"};
	size_t at = 99;
	char shown[32];

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(good); i++)
		assert_true(wbi_text_is_clean(wb_str_from(good[i]), NULL));
	for (size_t i = 0; i < WBI_COUNT(bad); i++)
		assert_false(wbi_text_is_clean(wb_str_from(bad[i]), NULL));
	assert_false(wbi_text_is_clean(S("ab\ncd"), &at));
	assert_int_equal(at, 2);
	assert_string_equal(wbi_text_show(S("a\x1b[m\xff"), shown, 32),
			    "a\\x1b[m\\xff");
	assert_string_equal(wbi_text_show(S("a\nb"), shown, 5), "a");
}

static void a_single_bad_byte_is_found_wherever_it_stands(void **state)
{
	char text[25];
	size_t at;

	(void)state;
	for (size_t i = 0; i < 24; i++) {
		for (int c = 0; c < 256; c++) {
			bool good = c >= 0x20 && c < 0x7f;

			memset(text, 'x', sizeof(text));
			text[i] = (char)c;
			assert_int_equal(
				wbi_text_is_clean(wb_str_n(text, 24), &at),
				good);
			assert_true(good || at == i);
		}
	}
}

static void times_go_both_ways(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} cases[] = {
		{"1970-01-01T00:00:00.000000Z", 0},
		{"2026-11-22T01:23:45.678901Z", 1795310625678901},
		{"1969-12-31T23:59:59.999999Z", -1},
		{"2000-02-29T12:00:00.000000Z", 951825600000000},
		{"9999-12-31T23:59:59.999999Z", 253402300799999999},
		{"0000-01-01T00:00:00.000000Z", -62167219200000000},
	};
	static const char *bad[] = {"",
				    "2026-13-01T00:00:00Z",
				    "2026-02-29T00:00:00Z",
				    "2026-01-01T24:00:00Z",
				    "2026-01-01T00:00:00",
				    "2026-01-01T00:00:00.Z",
				    "2026-01-01T00:00:00+1:00",
				    "2026-01-01T00:00:00Zx"};
	char text[WBI_TIME_TEXT_MAX];
	int64_t us;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wbi_time_format(cases[i].us, text);
		assert_string_equal(text, cases[i].text);
		assert_true(wbi_time_parse(wb_str_from(text), &us));
		assert_true(us == cases[i].us);
	}
	for (size_t i = 0; i < WBI_COUNT(bad); i++)
		assert_false(wbi_time_parse(wb_str_from(bad[i]), &us));
	assert_true(wbi_time_parse(S("2011-10-11T13:45:40.276+02:00"), &us));
	assert_true(us == 1318333540276000);
}

static int64_t fixed_real_us(void *ctx)
{
	return *(int64_t *)ctx;
}

static void ones_fill(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	memset(buf, 0xff, len);
}

static void uuid7_has_time_version_and_variant(void **state)
{
	int64_t now_us = 0x0123456789abLL * 1000;
	wb_clock clock = {fixed_real_us, fixed_real_us, &now_us};
	wb_random random = {ones_fill, NULL};
	char id[WB_UUID_TEXT_LEN + 1];

	(void)state;
	wb_uuid7(&clock, &random, id);
	assert_string_equal(id, "01234567-89ab-7fff-bfff-ffffffffffff");
	wb_uuid7(wb_system_clock(), wb_system_random(), id);
	assert_int_equal(id[14], '7');
}

static void backoff_doubles_within_its_bounds(void **state)
{
	wbi_backoff backoff = {100, 1000, 0};
	int64_t cap = 100000;

	(void)state;
	for (int i = 0; i < 100; i++) {
		int64_t us = wbi_backoff_next_us(&backoff, wb_system_random());

		assert_in_range(us, cap / 2, cap);
		cap = cap * 2 > 1000000 ? 1000000 : cap * 2;
	}
}

static void collect(void *ctx, wb_log_level level, const char *line)
{
	(void)level;
	snprintf(ctx, 64, "%s", line);
}

static void log_lines_are_harmless(void **state)
{
	char got[64] = "";
	wb_log log = {collect, got, WB_LOG_WARN};

	(void)state;
	wbi_log(&log, WB_LOG_INFO, "too chatty");
	assert_string_equal(got, "");
	wbi_log(&log, WB_LOG_WARN, "a\n%s", "\x1b");
	assert_string_equal(got, "a\\x0a\\x1b");
	wbi_log(NULL, WB_LOG_ERROR, "nobody");
}

static void hash_depends_on_seed_and_every_byte(void **state)
{
	char text[40] = "0123456789012345678901234567890123456789";
	uint64_t base = wbi_hash(1, text, 40);

	(void)state;
	assert_true(wbi_hash(2, text, 40) != base);
	for (int i = 0; i < 40; i++) {
		text[i] ^= 1;
		assert_true(wbi_hash(1, text, 40) != base);
		text[i] ^= 1;
	}
	assert_true(wbi_hash(1, text, 40) == base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_error_wins),
		cmocka_unit_test(crc32c_knows_the_published_vectors),
		cmocka_unit_test(buffer_keeps_order_and_its_maximum),
		cmocka_unit_test(only_clean_utf8_is_clean),
		cmocka_unit_test(a_single_bad_byte_is_found_wherever_it_stands),
		cmocka_unit_test(times_go_both_ways),
		cmocka_unit_test(uuid7_has_time_version_and_variant),
		cmocka_unit_test(backoff_doubles_within_its_bounds),
		cmocka_unit_test(log_lines_are_harmless),
		cmocka_unit_test(hash_depends_on_seed_and_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
