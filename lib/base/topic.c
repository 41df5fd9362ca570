/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Matching word by word. Greedy with one step back: only the last # seen can
 * need to take more words, as what stands before it has matched already. So at
 * most words(pattern) x words(text) steps, whatever a peer sends. No state.
 */
#include "lib/base/topic.h"

/* The word at *at, and *at behind its dot. */
static bool topic_word(wb_str text, size_t *at, wb_str *ret_word)
{
	const char *dot;
	size_t end = text.len;

	if (text.len == 0 || *at > text.len)
		return false;
	dot = memchr(text.ptr + *at, '.', text.len - *at);
	if (dot)
		end = (size_t)(dot - text.ptr);
	*ret_word = wb_str_n(text.ptr + *at, end - *at);
	*at = end + 1;
	return true;
}

static bool topic_is(wb_str word, char sign)
{
	return word.len == 1 && word.ptr[0] == sign;
}

bool wbi_topic_match(wb_str pattern, wb_str text)
{
	size_t p = 0, t = 0, many_p = SIZE_MAX, many_t = 0;
	wb_str want = WB_STR_NULL, word;

	for (;;) {
		size_t next_p = p, next_t = t;
		bool more = topic_word(pattern, &next_p, &want);

		if (more && topic_is(want, '#')) {
			many_p = p = next_p;
			many_t = t;
			continue;
		}
		if (!topic_word(text, &next_t, &word))
			return !more;
		if (more && (topic_is(want, '*') || wb_str_eq(want, word))) {
			p = next_p;
			t = next_t;
			continue;
		}
		if (many_p == SIZE_MAX)
			return false;
		topic_word(text, &many_t, &word);
		t = many_t;
		p = many_p;
	}
}

static bool topic_has_sign(wb_str word)
{
	return word.len > 0 && (memchr(word.ptr, '*', word.len) ||
				memchr(word.ptr, '#', word.len));
}

bool wbi_topic_compile(wbi_topic *ret, wb_str pattern)
{
	wbi_topic topic = {.pattern = pattern, .exact = true};
	size_t at = 0, from = 0;
	wb_str word;

	while (topic_word(pattern, &at, &word)) {
		if (word.len > 1 && topic_has_sign(word))
			return false;
		/* "a.#" takes "a" too, so the dot is not part of it. */
		if (topic.exact && topic_has_sign(word)) {
			topic.exact = false;
			topic.literal = from > 0 ? from - 1 : 0;
		}
		from = at;
	}
	*ret = topic;
	return true;
}

bool wbi_topic_takes(const wbi_topic *topic, wb_str text)
{
	if (topic->exact)
		return wb_str_eq(topic->pattern, text);
	return text.len >= topic->literal &&
	       (topic->literal == 0 ||
		!memcmp(text.ptr, topic->pattern.ptr, topic->literal)) &&
	       wbi_topic_match(topic->pattern, text);
}
