/* SPDX-License-Identifier: BSD-2-Clause */
/* Entries of an index sort by index key, then by row key, whatever bytes are in
 * them, and come apart again as they were put together. */
#include "tests/support/testing.h"

#include "projections/index.h"

static wbi_index_entry entry(wb_str index_key, wb_str row_key)
{
	wbi_index_entry made;

	assert_true(wbi_index_entry_make(index_key, row_key, &made));
	return made;
}

static int compare(const wbi_index_entry *a, const wbi_index_entry *b)
{
	size_t common = a->len < b->len ? a->len : b->len;
	int order = memcmp(a->bytes, b->bytes, common);

	return order ? order : (a->len > b->len) - (a->len < b->len);
}

static void entries_sort_as_their_parts(void **state)
{
	/* In order; each index key with each row key. */
	const wb_str keys[] = {S(""),	  S("\0"),   S("\0\0"), S("\0\1"),
			       S("\0\xff"), S("\1"), S("a"),	S("a\0"),
			       S("a\0b"), S("a\1"),  S("ab"),	S("\xff"),
			       S("\xff\0"), S("\xff\xff")};
	const wb_str rows[] = {S("\0"), S("\1"), S("r"), S("\xff")};
	size_t count = sizeof(keys) / sizeof(keys[0]);
	wbi_index_entry last = {.len = 0};

	(void)state;
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < 4; j++) {
			wbi_index_entry now = entry(keys[i], rows[j]);

			assert_true(compare(&last, &now) < 0);
			last = now;
		}
	}
}

static void entries_come_apart_again(void **state)
{
	const wb_str key = S("a\0b\xff\0\1"), row = S("\0\1\0\xff r");
	wbi_index_entry made = entry(key, row);
	uint8_t buf[WBI_INDEX_ENTRY_MAX];
	char longer[WBI_INDEX_ENTRY_MAX + 1];
	wb_error err = WB_ERROR_INIT;
	wb_str k, r;

	(void)state;
	assert_ok(wbi_index_entry_parse(wb_str_n(made.bytes, made.len), buf, &k,
					&r, &err),
		  err);
	assert_true(wb_str_eq(k, key) && wb_str_eq(r, row));
	assert_code(wbi_index_entry_parse(S("no end"), buf, &k, &r, &err),
		    WB_ECORRUPT, err);
	assert_code(wbi_index_entry_parse(S("a\0\2"), buf, &k, &r, &err),
		    WB_ECORRUPT, err);
	memset(longer, 'x', sizeof(longer));
	assert_code(wbi_index_entry_parse(wb_str_n(longer, sizeof(longer)), buf,
					  &k, &r, &err),
		    WB_ECORRUPT, err);
	assert_code(wbi_index_entry_parse(S(""), buf, &k, &r, &err),
		    WB_ECORRUPT, err);
}

static void what_does_not_fit_is_refused(void **state)
{
	static char zeros[WB_MODEL_INDEX_KEY_MAX + 1], text[255];
	static char longer[WBI_INDEX_ENTRY_MAX + 1];
	static wb_index_keys keys;
	wb_error err = WB_ERROR_INIT;
	wbi_index_entry made;

	(void)state;
	memset(text, 'x', sizeof(text));
	memset(longer, 'x', sizeof(longer));
	assert_true(wbi_index_entry_make(wb_str_n(text, 200),
					 wb_str_n(text, 255), &made));
	assert_false(wbi_index_entry_make(wb_str_n(zeros, 200),
					  wb_str_n(text, 255), &made));
	/* Up to the very end, where not even what ends the key has room. */
	for (size_t len = WBI_INDEX_ENTRY_MAX - 2;
	     len <= WBI_INDEX_ENTRY_MAX + 1; len++)
		assert_int_equal(wbi_index_entry_make(wb_str_n(longer, len),
						      S(""), &made),
				 len == WBI_INDEX_ENTRY_MAX - 2);
	assert_code(wb_index_key_add(&keys, wb_str_n(zeros, sizeof(zeros)),
				     &err),
		    WB_ELIMIT, err);
	for (size_t i = 0; i < WB_MODEL_INDEX_KEYS_MAX; i++) {
		assert_ok(wb_index_key_add(&keys, wb_str_n(text, i), &err),
			  err);
		assert_ok(wb_index_key_add(&keys, wb_str_n(text, i), &err),
			  err);
	}
	assert_int_equal(keys.count, WB_MODEL_INDEX_KEYS_MAX);
	assert_code(wb_index_key_add(&keys, S("one more"), &err), WB_ELIMIT,
		    err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_sort_as_their_parts),
		cmocka_unit_test(entries_come_apart_again),
		cmocka_unit_test(what_does_not_fit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
