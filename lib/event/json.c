/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * jansson parses recursively and builds a tree of about 130 bytes a value, so
 * a text is looked over first: nesting and number of values are counted
 * without memory of its own, and only then does jansson see it. Data bytes are
 * never printed back from the tree (0.1 would change): where they sit inside a
 * larger text, their slice of it is found instead. Pure; any thread.
 */
#include "lib/event/json.h"

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/envelope.h"

/* The offset behind the string that opens at `at`; text.len if it is open. */
static size_t skip_string(wb_str text, size_t at)
{
	for (at++; at < text.len && text.ptr[at] != '"'; at++)
		if (text.ptr[at] == '\\')
			at++;
	return at < text.len ? at + 1 : text.len;
}

static wb_code look_over(wb_str text, wb_error *err)
{
	size_t depth = 0, values = 0;

	for (size_t at = 0; at < text.len;) {
		char c = text.ptr[at];

		if (c == '"') {
			at = skip_string(text, at);
			continue;
		}
		/* jansson passes over one behind a number or a literal */
		if (c == '\0')
			return WBI_FAIL(err, WB_EINVAL,
					"JSON: a NUL at byte %zu", at);
		if ((c == ']' || c == '}') && depth > 0)
			depth--;
		if (c == '[' || c == '{')
			depth++;
		if (c == '[' || c == '{' || c == ',')
			values++;
		if (depth > WBI_JSON_DEPTH)
			return WBI_FAIL(err, WB_EINVAL,
					"JSON: nested deeper than %d at byte "
					"%zu",
					(int)WBI_JSON_DEPTH, at);
		if (values > WBI_JSON_VALUES)
			return WBI_FAIL(err, WB_ELIMIT,
					"JSON: more than %d values",
					(int)WBI_JSON_VALUES);
		at++;
	}
	return WB_OK;
}

wb_code wbi_json_parse(wb_str text, json_t **ret, wb_error *err)
{
	const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY |
			     JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;
	char shown[JSON_ERROR_TEXT_LENGTH];
	json_error_t error;
	json_t *root;
	wb_code code = look_over(text, err);

	if (code != WB_OK)
		return code;
	root = json_loadb(text.len ? text.ptr : "", text.len, flags, &error);
	if (!root && json_error_code(&error) == json_error_out_of_memory)
		return WBI_FAIL(err, WB_ENOMEM, "JSON: out of memory");
	if (root) {
		*ret = root;
		return WB_OK;
	}
	/* jansson quotes the text it stumbled over */
	wbi_text_show(wb_str_from(error.text), shown, sizeof(shown));
	return WBI_FAIL(err, WB_EINVAL,
			"JSON: %s, line %d, column %d (byte %d)", shown,
			error.line, error.column, error.position);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t skip_space(wb_str text, size_t at)
{
	while (at < text.len && is_space(text.ptr[at]))
		at++;
	return at;
}

/* The offset of the ',' or closing bracket behind the value at `at`. */
static size_t skip_value(wb_str text, size_t at)
{
	size_t depth = 0;

	while (at < text.len) {
		char c = text.ptr[at];

		if (c == '"') {
			at = skip_string(text, at);
			continue;
		}
		if (depth == 0 && (c == ',' || c == '}' || c == ']'))
			break;
		if (c == '[' || c == '{')
			depth++;
		if (c == ']' || c == '}')
			depth--;
		at++;
	}
	return at;
}

wb_str wbi_json_next_member(wb_str text, size_t *at)
{
	size_t start, end;

	if (*at == 0)
		*at = skip_space(text, 0);
	/* now on the '{', or on the ',' behind the member before */
	start = skip_space(text, *at + 1);
	WB_ASSERT(start < text.len && text.ptr[start] == '"');
	start = skip_space(text, skip_string(text, start));
	WB_ASSERT(start < text.len && text.ptr[start] == ':');
	start = skip_space(text, start + 1);
	end = skip_value(text, start);
	*at = end;
	while (end > start && is_space(text.ptr[end - 1]))
		end--;
	return wb_str_n(text.ptr + start, end - start);
}
