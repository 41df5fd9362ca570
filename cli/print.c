/* SPDX-License-Identifier: BSD-2-Clause */
/* Values of events, and of what is around them, for programs and for people.
 * Nothing is kept; one thread. */
#include "cli/print.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/text.h"

enum { DATA_SHOWN = 4096, HEX_SHOWN = 256, HEX_LINE = 16 };

/* ---- as JSON ------------------------------------------------------------ */

void cli_put_text(json_t *object, const char *name, wb_str text)
{
	char shown[4 * 1024 + 1];

	if (text.len == 0)
		return;
	if (wbi_text_is_utf8(text))
		json_object_set_new(object, name,
				    json_stringn(text.ptr, text.len));
	else
		json_object_set_new(
			object, name,
			json_string(wbi_text_show(text, shown, sizeof(shown))));
}

void cli_put_time(json_t *object, const char *name, int64_t time_us)
{
	char text[WBI_TIME_TEXT_MAX];

	if (time_us == 0)
		return;
	wbi_time_format(time_us, text);
	json_object_set_new(object, name, json_string(text));
}

void cli_put_number(json_t *object, const char *name, uint64_t number)
{
	json_object_set_new(object, name, json_integer((json_int_t)number));
}

static char *base64(wb_str bytes)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn"
				     "opqrstuvwxyz0123456789+/";
	const uint8_t *in = (const uint8_t *)bytes.ptr;
	char *text = malloc((bytes.len + 2) / 3 * 4 + 1), *out = text;

	for (size_t i = 0; text && i < bytes.len; i += 3) {
		size_t left = bytes.len - i;
		uint32_t v = (uint32_t)in[i] << 16 |
			     (uint32_t)(left > 1 ? in[i + 1] : 0) << 8 |
			     (left > 2 ? in[i + 2] : 0);

		*out++ = digits[v >> 18];
		*out++ = digits[v >> 12 & 63];
		*out++ = (char)(left > 1 ? digits[v >> 6 & 63] : '=');
		*out++ = (char)(left > 2 ? digits[v & 63] : '=');
	}
	if (text)
		*out = '\0';
	return text;
}

void cli_put_data(json_t *object, const char *name, wb_str data)
{
	char member[64], *text;

	if (wbi_text_is_utf8(data)) {
		cli_put_text(object, name, data);
		return;
	}
	snprintf(member, sizeof(member), "%s_base64", name);
	text = base64(data);
	if (text)
		json_object_set_new(object, member, json_string(text));
	free(text);
}

void cli_put_event(json_t *object, const wb_event *event)
{
	cli_put_text(object, "id", event->id);
	cli_put_text(object, "type", event->type);
	cli_put_text(object, "source", event->source);
	cli_put_text(object, "subject", event->subject);
	cli_put_text(object, "key", event->key);
	cli_put_time(object, "time", event->time_us);
	cli_put_text(object, "content_type", event->content_type);
	cli_put_text(object, "data_schema", event->data_schema);
	cli_put_text(object, "correlation_id", event->correlation_id);
	cli_put_text(object, "causation_id", event->causation_id);
	cli_put_text(object, "traceparent", event->traceparent);
	cli_put_text(object, "tracestate", event->tracestate);
	cli_put_text(object, "reply_to", event->reply_to);
	if (event->sequence > 0)
		cli_put_number(object, "sequence", event->sequence);
	cli_put_number(object, "data_bytes", event->data.len);
	cli_put_data(object, "data", event->data);
}

void cli_put_headers(json_t *object, const wb_header *headers, size_t count)
{
	json_t *members = json_object();

	for (size_t i = 0; i < count; i++) {
		char name[1024];

		wbi_text_show(headers[i].name, name, sizeof(name));
		cli_put_text(members, name, headers[i].value);
	}
	json_object_set_new(object, "headers", members);
}

/* ---- for people --------------------------------------------------------- */

void cli_print_line(const char *name, const char *format, ...)
{
	va_list args;

	printf("%-12s ", name);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

int cli_hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

void cli_print_text(const char *name, wb_str text)
{
	char shown[DATA_SHOWN + 1];

	if (text.len > 0)
		printf("%-16s %s\n", name,
		       wbi_text_show(text, shown, sizeof(shown)));
}

void cli_print_time(const char *name, int64_t time_us)
{
	char text[WBI_TIME_TEXT_MAX];

	if (time_us == 0)
		return;
	wbi_time_format(time_us, text);
	cli_print_text(name, wb_str_from(text));
}

void cli_print_number(const char *name, uint64_t number)
{
	printf("%-16s %" PRIu64 "\n", name, number);
}

void cli_print_event(const wb_event *event)
{
	cli_print_text("id", event->id);
	cli_print_text("type", event->type);
	cli_print_text("source", event->source);
	cli_print_text("subject", event->subject);
	cli_print_text("key", event->key);
	cli_print_time("time", event->time_us);
	cli_print_text("content type", event->content_type);
	cli_print_text("data schema", event->data_schema);
	cli_print_text("correlation id", event->correlation_id);
	cli_print_text("causation id", event->causation_id);
	cli_print_text("traceparent", event->traceparent);
	cli_print_text("tracestate", event->tracestate);
	cli_print_text("reply to", event->reply_to);
	if (event->sequence > 0)
		cli_print_number("sequence", event->sequence);
	cli_print_headers(event->headers, event->header_count);
}

void cli_print_headers(const wb_header *headers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char name[160];

		wbi_text_show(headers[i].name, name, sizeof(name));
		cli_print_text(name, headers[i].value);
	}
}

static void print_hex(wb_str data)
{
	size_t most = data.len < HEX_SHOWN ? data.len : HEX_SHOWN;

	for (size_t i = 0; i < most; i += HEX_LINE) {
		size_t n = most - i < HEX_LINE ? most - i : HEX_LINE;

		printf("%-16s %06zx ", "", i);
		for (size_t j = 0; j < HEX_LINE; j++)
			if (j < n)
				printf(" %02x", (uint8_t)data.ptr[i + j]);
			else
				printf("   ");
		printf("  ");
		for (size_t j = 0; j < n; j++)
			putchar(isprint((uint8_t)data.ptr[i + j])
					? data.ptr[i + j]
					: '.');
		putchar('\n');
	}
}

void cli_print_data(const char *name, wb_str data)
{
	bool is_text = wbi_text_is_utf8(data);

	if (data.len == 0)
		return;
	if (data.len <= DATA_SHOWN / 4 && is_text) {
		cli_print_text(name, data);
		return;
	}
	printf("%-16s %zu bytes; --data prints them\n", name, data.len);
	if (!is_text)
		print_hex(data);
}
