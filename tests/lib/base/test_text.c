/* SPDX-License-Identifier: BSD-2-Clause */
/* Text, times and topics that come from elsewhere: what is taken, what is not.
 */
#include "tests/support/testing.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/base/topic.h"

/* ---- times --------------------------------------------------------------- */

static void what_is_no_time_is_refused(void **state)
{
	static const char *const wrong[] = {
		"",
		"2024",
		"2024-1-01T00:00:00Z",
		"2024/01/01T00:00:00Z",
		"2024-01-01",
		"2024-01-01X00:00:00Z",
		"2024-01-01T00:00",
		"2024-01-01T00:00:00",
		"2024-01-01T00:00:00.Z",
		"2024-01-01T00:00:00.1234567890Z",
		"2024-01-01T00:00:00+1:00",
		"2024-01-01T00:00:00+01-00",
		"2024-01-01T00:00:00+01:0",
		"2024-01-01T00:00:00+24:00",
		"2024-01-01T00:00:00+01:60",
		"2024-01-01T00:00:00Z ",
		"2024-00-01T00:00:00Z",
		"2024-13-01T00:00:00Z",
		"2024-01-00T00:00:00Z",
		"2024-01-32T00:00:00Z",
		"2024-04-31T00:00:00Z",
		"2023-02-29T00:00:00Z",
		"1900-02-29T00:00:00Z",
		"2024-01-01T24:00:00Z",
		"2024-01-01T00:60:00Z",
		"2024-01-01T00:00:61Z",
	};
	int64_t us = 7;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(wrong); i++)
		if (wbi_time_parse(wb_str_from(wrong[i]), &us))
			fail_msg("%s was taken", wrong[i]);
	assert_false(
		wbi_time_parse(wb_str_n("2024-01-01T00:00:00\0", 20), &us));
	assert_int_equal(us, 7);
}

static void unusual_times_are_read(void **state)
{
	static const struct {
		const char *text, *same;
	} times[] = {
		{"2024-02-29T12:00:00+01:30", "2024-02-29T10:30:00.000000Z"},
		{"2000-02-29t12:00:00z", "2000-02-29T12:00:00.000000Z"},
		{"1999-12-31 23:59:60-00:00", "2000-01-01T00:00:00.000000Z"},
		{"2024-12-31T23:00:00-01:00", "2025-01-01T00:00:00.000000Z"},
		{"2024-01-01T00:00:00.123456789Z",
		 "2024-01-01T00:00:00.123456Z"},
		{"1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500000Z"},
	};
	char text[WBI_TIME_TEXT_MAX];
	int64_t us;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(times); i++) {
		assert_true(wbi_time_parse(wb_str_from(times[i].text), &us));
		wbi_time_format(us, text);
		assert_string_equal(text, times[i].same);
	}
}

static void times_beyond_four_digits_stop_at_the_last(void **state)
{
	char text[WBI_TIME_TEXT_MAX];

	(void)state;
	wbi_time_format(INT64_MAX, text);
	assert_string_equal(text, "9999-12-31T23:59:59.999999Z");
	wbi_time_format(INT64_MIN, text);
	assert_string_equal(text, "0000-01-01T00:00:00.000000Z");
}

/* ---- text ---------------------------------------------------------------- */

static void text_is_shown_as_far_as_there_is_room(void **state)
{
	char room[8];

	(void)state;
	assert_string_equal(wbi_text_show(S("abcdefghij"), room, sizeof(room)),
			    "abcdefg");
	/* Neither a sign nor an escape is shown by half. */
	assert_string_equal(
		wbi_text_show(S("abcdef\xc3\xa4"), room, sizeof(room)),
		"abcdef");
	assert_string_equal(wbi_text_show(S("abcd\n"), room, sizeof(room)),
			    "abcd");
	assert_string_equal(wbi_text_show(S("\xff"
					    "bc"),
					  room, sizeof(room)),
			    "\\xffbc");
}

static void utf8_is_told_from_other_bytes(void **state)
{
	(void)state;
	assert_true(wbi_text_is_utf8(S("")));
	assert_true(wbi_text_is_utf8(S("a\n\xe2\x82\xac")));
	assert_false(wbi_text_is_utf8(S("a\xe2\x82")));
}

static void a_copy_of_nothing_is_an_empty_text(void **state)
{
	char *copy = wbi_text_dup(WB_STR_NULL);

	(void)state;
	assert_non_null(copy);
	assert_string_equal(copy, "");
	free(copy);
}

/* ---- topics -------------------------------------------------------------- */

static void topics_match_word_by_word(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool takes;
	} cases[] = {
		{"a.b", "a.b", true},
		{"a.b", "a.c", false},
		{"a.*", "a.b", true},
		{"a.*", "a", false},
		{"a.*", "b.b", false},
		{"a.#", "a", true},
		{"a.#", "a.b.c", true},
		{"a.#", "", false},
		{"#", "", true},
		{"#", "a.b", true},
		{"*", "", false},
		{"*.#.z", "a.z", true},
		{"*.#.z", "a.b.z.z", true},
		{"#.b.#", "a.c", false},
		{"#.b.*", "b.b.b", true},
		{"a.*.c", "a.b", false},
		{"a.#.c.d", "a.c.c.d", true},
		{"ab.#", "a", false},
	};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wb_str text = wb_str_from(cases[i].text);
		wbi_topic topic;

		assert_true(wbi_topic_compile(&topic,
					      wb_str_from(cases[i].pattern)));
		if (wbi_topic_takes(&topic, text) != cases[i].takes)
			fail_msg("%s and %s", cases[i].pattern, cases[i].text);
	}
}

static void a_sign_within_a_word_is_refused(void **state)
{
	static const char *const wrong[] = {"a*", "#b", "a.b#c", "**", "x.##"};
	wbi_topic topic;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(wrong); i++)
		assert_false(wbi_topic_compile(&topic, wb_str_from(wrong[i])));
}

/* ---- errors -------------------------------------------------------------- */

static void each_errno_has_its_code(void **state)
{
	static const struct {
		int errnum;
		wb_code code;
	} cases[] = {
		{ENOSPC, WB_ENOSPC},
		{EDQUOT, WB_ENOSPC},
		{EFBIG, WB_ENOSPC},
		{ENOMEM, WB_ENOMEM},
		{ENOENT, WB_ENOTFOUND},
		{ENOTDIR, WB_ENOTFOUND},
		{EACCES, WB_EACCESS},
		{EPERM, WB_EACCESS},
		{EROFS, WB_EACCESS},
		{EEXIST, WB_EEXISTS},
		{EBUSY, WB_EBUSY},
		{ETXTBSY, WB_EBUSY},
		{EAGAIN, WB_EAGAIN},
		{EINTR, WB_EAGAIN},
		{ETIMEDOUT, WB_ETIMEOUT},
		{ECONNREFUSED, WB_EUNREACHABLE},
		{EHOSTUNREACH, WB_EUNREACHABLE},
		{ENETUNREACH, WB_EUNREACHABLE},
		{ECONNRESET, WB_ECLOSED},
		{EPIPE, WB_ECLOSED},
		{ECONNABORTED, WB_ECLOSED},
		{EINVAL, WB_EINVAL},
		{EIO, WB_EIO},
		{12345, WB_EIO},
	};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wb_error err = WB_ERROR_INIT;

		assert_int_equal(
			wbi_fail_errno(&err, cases[i].errnum, "here", "a file"),
			cases[i].code);
		assert_int_equal(err.foreign, cases[i].errnum);
		assert_memory_equal(err.text, "a file: ", 8);
	}
}

static void an_error_says_what_to_do(void **state)
{
	static const wb_code room[] = {WB_EMAPFULL, WB_ENOSPC, WB_EQUOTA,
				       WB_ENOMEM};
	wb_error err = WB_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(room); i++)
		assert_true(wbi_wants_room(room[i]));
	assert_false(wbi_wants_room(WB_EIO));
	assert_false(wbi_wants_room(WB_OK));
	/* The error's own word counts, else its code's. */
	assert_int_equal(wbi_error_class(WB_EUNREACHABLE, &err),
			 WB_CLASS_RETRY);
	err.class_ = WB_CLASS_STOP;
	assert_int_equal(wbi_error_class(WB_EUNREACHABLE, &err), WB_CLASS_STOP);
}

static void a_code_of_a_later_version_has_a_name(void **state)
{
	wb_error err = WB_ERROR_INIT;

	(void)state;
	assert_string_equal(wb_code_name((wb_code)9999), "WB_EINVAL");
	assert_non_null(wb_code_text((wb_code)9999));
	wb_error_clear(NULL);
	wb_error_set(&err, WB_EIO, 0, NULL, "no place");
	assert_string_equal(err.where, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_no_time_is_refused),
		cmocka_unit_test(unusual_times_are_read),
		cmocka_unit_test(times_beyond_four_digits_stop_at_the_last),
		cmocka_unit_test(text_is_shown_as_far_as_there_is_room),
		cmocka_unit_test(utf8_is_told_from_other_bytes),
		cmocka_unit_test(a_copy_of_nothing_is_an_empty_text),
		cmocka_unit_test(topics_match_word_by_word),
		cmocka_unit_test(a_sign_within_a_word_is_refused),
		cmocka_unit_test(each_errno_has_its_code),
		cmocka_unit_test(an_error_says_what_to_do),
		cmocka_unit_test(a_code_of_a_later_version_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
