/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From an event to a message. Binary mode is on the relay's hot path: it only
 * points at what is there and prints three numbers into the caller's scratch;
 * no allocation, nothing that can fail. Structured mode lets jansson print the
 * attributes and then puts the data bytes behind them as they are. Pure; any
 * thread; what the message borrows from is said in envelope.h.
 */
#include "lib/event/envelope.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/attribute.h"
#include "lib/event/json.h"

#define LITERAL(text)                                                          \
	{                                                                      \
		text, sizeof(text) - 1                                         \
	}

enum { SEQUENCE_DIGITS = 20 };

/* Decimal digits of `value`, at least `width`; returns how many. */
static size_t put_decimal(char *to, uint64_t value, size_t width)
{
	char digits[20];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + value % 10);
	while (value /= 10);
	while (n < width)
		digits[n++] = '0';
	for (size_t i = 0; i < n; i++)
		to[i] = digits[n - 1 - i];
	return n;
}

/* Everything but headers, body and what a route says. */
static void put_properties(const wb_event *event,
			   const wbi_envelope_context *context, wb_message *ret)
{
	*ret = (wb_message){
		.message_id = event->id,
		.type = event->type,
		.app_id = context->service,
		.content_type = event->content_type,
		.correlation_id = event->correlation_id,
		.reply_to = event->reply_to,
		.persistent = true,
	};
	if (event->time_us > 0)
		ret->timestamp_s = event->time_us / 1000000;
}

/* Numbers and times of an event as text, in `scratch`. */
struct printed {
	wb_str time, sequence, position;
};

static struct printed print_numbers(const wb_event *event, uint64_t position,
				    char scratch[WBI_ENVELOPE_SCRATCH])
{
	struct printed ret;
	char *p = scratch;

	ret.time = wb_str_n(p, wbi_time_format(event->time_us, p));
	p += WBI_TIME_TEXT_MAX;
	ret.sequence = WB_STR_NULL;
	if (event->sequence > 0)
		ret.sequence = wb_str_n(
			p, put_decimal(p, event->sequence, SEQUENCE_DIGITS));
	p += SEQUENCE_DIGITS;
	ret.position = WB_STR_NULL;
	if (position > 0)
		ret.position = wb_str_n(p, put_decimal(p, position, 1));
	return ret;
}

static wb_header *put_header(wb_header *to, wb_str name, wb_str value)
{
	if (value.len == 0)
		return to;
	to->name = name;
	to->value = value;
	return to + 1;
}

/* Extension attributes: the same with "ce-" before the name. */
static wb_header *put_extensions(wb_header *to, char *names,
				 const wb_event *event)
{
	for (size_t i = 0; i < event->header_count; i++, to++) {
		wb_str name = event->headers[i].name;

		memcpy(names, "ce-", 3);
		memcpy(names + 3, name.ptr, name.len);
		to->name = wb_str_n(names, name.len + 3);
		to->value = event->headers[i].value;
		names += name.len + 3;
	}
	return to;
}

void wbi_envelope_binary(const wb_event *event,
			 const wbi_envelope_context *context,
			 wb_header *headers, char *names,
			 char scratch[WBI_ENVELOPE_SCRATCH], wb_message *ret)
{
	static const wb_str version = LITERAL("1.0");
	struct printed text = print_numbers(event, context->position, scratch);
	const struct {
		wb_str name, value;
	} own[] = {
		{LITERAL("ce-specversion"), version},
		{LITERAL("ce-id"), event->id},
		{LITERAL("ce-type"), event->type},
		{LITERAL("ce-source"), event->source},
		{LITERAL("ce-subject"), event->subject},
		{LITERAL("ce-time"), text.time},
		{LITERAL("ce-dataschema"), event->data_schema},
		{LITERAL("ce-partitionkey"), event->key},
		{LITERAL("ce-sequence"), text.sequence},
		{LITERAL("ce-correlationid"), event->correlation_id},
		{LITERAL("ce-causationid"), event->causation_id},
		{LITERAL("traceparent"), event->traceparent},
		{LITERAL("tracestate"), event->tracestate},
		{LITERAL("ce-wborigin"), context->origin},
		{LITERAL("ce-wbposition"), text.position},
	};
	wb_header *end = headers;

	_Static_assert(WBI_COUNT(own) <= WBI_ENVELOPE_HEADERS,
		       "the caller's array holds our own");
	WB_ASSERT(event->header_count == 0 || event->headers);
	put_properties(event, context, ret);
	for (size_t i = 0; i < WBI_COUNT(own); i++)
		end = put_header(end, own[i].name, own[i].value);
	end = put_extensions(end, names, event);
	ret->headers = headers;
	ret->header_count = (size_t)(end - headers);
	ret->body = event->data;
}

/* `text` with every ASCII letter folded ends in `tail` (lower case). */
static bool ends_in(wb_str text, const char *tail)
{
	size_t len = strlen(tail);

	if (text.len < len)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = text.ptr[text.len - len + i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c + ('a' - 'A'));
		if (c != tail[i])
			return false;
	}
	return true;
}

bool wbi_content_type_is_json(wb_str content_type)
{
	wb_str media = content_type;

	for (size_t i = 0; i < media.len; i++)
		if (media.ptr[i] == ';')
			media.len = i;
	while (media.len > 0 && media.ptr[media.len - 1] == ' ')
		media.len--;
	return ends_in(media, "/json") || ends_in(media, "+json");
}

wb_code wbi_envelope_check_structured(const wb_event *event, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	json_t *root;
	wb_code code;

	if (event->data.len == 0 ||
	    !wbi_content_type_is_json(event->content_type))
		return WB_OK;
	code = wbi_json_parse(event->data, &root, &why);
	if (code == WB_OK)
		json_decref(root);
	else
		WBI_FAIL(err, code,
			 "data: cannot be sent in structured mode as \"%.*s\": "
			 "%.300s; mend it, or use a route in binary mode",
			 (int)event->content_type.len, event->content_type.ptr,
			 why.text);
	return code;
}

static bool set_member(json_t *object, wb_str name, wb_str value)
{
	json_t *text =
		json_stringn_nocheck(value.len ? value.ptr : "", value.len);

	return json_object_setn_new_nocheck(object, name.ptr, name.len, text) ==
	       0;
}

/* The attributes as a JSON object; NULL: out of memory. */
static json_t *attributes_object(const wb_event *event,
				 const wbi_envelope_context *context)
{
	char scratch[WBI_ENVELOPE_SCRATCH];
	struct printed text = print_numbers(event, context->position, scratch);
	const struct {
		wb_str name, value;
	} own[] = {
		{LITERAL("specversion"), LITERAL("1.0")},
		{LITERAL("id"), event->id},
		{LITERAL("type"), event->type},
		{LITERAL("source"), event->source},
		{LITERAL("subject"), event->subject},
		{LITERAL("time"), text.time},
		{LITERAL("datacontenttype"), event->content_type},
		{LITERAL("dataschema"), event->data_schema},
		{LITERAL("partitionkey"), event->key},
		{LITERAL("sequence"), text.sequence},
		{LITERAL("correlationid"), event->correlation_id},
		{LITERAL("causationid"), event->causation_id},
		{LITERAL("traceparent"), event->traceparent},
		{LITERAL("tracestate"), event->tracestate},
		{LITERAL("wborigin"), context->origin},
		{LITERAL("wbposition"), text.position},
	};
	json_t *object = json_object();
	bool good = object != NULL;

	for (size_t i = 0; good && i < WBI_COUNT(own); i++)
		if (own[i].value.len > 0)
			good = set_member(object, own[i].name, own[i].value);
	for (size_t i = 0; good && i < event->header_count; i++)
		good = set_member(object, event->headers[i].name,
				  event->headers[i].value);
	if (good)
		return object;
	json_decref(object);
	return NULL;
}

static char *put_base64(char *to, wb_str bytes)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *)bytes.ptr;

	for (size_t left = bytes.len; left > 0; to += 4) {
		size_t n = left < 3 ? left : 3;
		uint32_t v = (uint32_t)p[0] << 16;

		if (n > 1)
			v |= (uint32_t)p[1] << 8;
		if (n > 2)
			v |= p[2];
		to[0] = digits[v >> 18];
		to[1] = digits[v >> 12 & 63];
		to[2] = (char)(n > 1 ? digits[v >> 6 & 63] : '=');
		to[3] = (char)(n > 2 ? digits[v & 63] : '=');
		p += n;
		left -= n;
	}
	return to;
}

/* {"specversion":...} and the data, in one block; NULL: out of memory. */
static char *join_body(wb_str head, const wb_event *event, bool json,
		       size_t *ret_len)
{
	static const wb_str as_json = LITERAL(",\"data\":");
	static const wb_str as_bytes = LITERAL(",\"data_base64\":\"");
	wb_str name = json ? as_json : as_bytes;
	size_t room = head.len + name.len + 4 + event->data.len;
	char *body, *p;

	if (!json)
		room += event->data.len / 3 + 4;
	body = malloc(room);
	if (!body)
		return NULL;
	memcpy(body, head.ptr, head.len);
	p = body + head.len;
	if (event->data.len > 0) {
		p--; /* over the closing brace */
		memcpy(p, name.ptr, name.len);
		p += name.len;
		if (json) {
			memcpy(p, event->data.ptr, event->data.len);
			p += event->data.len;
		} else {
			p = put_base64(p, event->data);
			*p++ = '"';
		}
		*p++ = '}';
	}
	WB_ASSERT((size_t)(p - body) <= room);
	*ret_len = (size_t)(p - body);
	return body;
}

/* The whole object; NULL: out of memory. */
static char *whole_object(const wb_event *event,
			  const wbi_envelope_context *context, bool json,
			  size_t *ret_len)
{
	json_t *object = attributes_object(event, context);
	char *head = object ? json_dumps(object, JSON_COMPACT) : NULL;
	char *body = head ? join_body(wb_str_from(head), event, json, ret_len)
			  : NULL;

	free(head);
	json_decref(object);
	return body;
}

wb_code wbi_envelope_structured(const wb_event *event,
				const wbi_envelope_context *context,
				wb_message *ret, char **ret_body, wb_error *err)
{
	static const wb_str type = LITERAL("application/cloudevents+json");
	char *body;
	size_t len = 0;
	wb_code code;

	WB_ASSERT(event->header_count == 0 || event->headers);
	code = wbi_envelope_check_structured(event, err);
	if (code != WB_OK)
		return code;
	body = whole_object(event, context,
			    wbi_content_type_is_json(event->content_type),
			    &len);
	if (!body)
		return WBI_FAIL(err, WB_ENOMEM,
				"structured message: out of memory");
	put_properties(event, context, ret);
	ret->content_type = type;
	ret->body = wb_str_n(body, len);
	*ret_body = body;
	return WB_OK;
}

/* Would these bytes come back from a line as they are? White space around a
 * value would not, null is no data, a line end within would end the line. */
static bool line_can_hold(const wb_event *event)
{
	wb_str data = event->data;

	if (!wbi_content_type_is_json(event->content_type) || data.len == 0)
		return false;
	if (memchr(data.ptr, '\n', data.len) ||
	    memchr(data.ptr, '\r', data.len) ||
	    memchr(" \t", data.ptr[0], 2) ||
	    memchr(" \t", data.ptr[data.len - 1], 2) ||
	    wb_str_eq(data, wb_str_from("null")))
		return false;
	return wbi_envelope_check_structured(event, NULL) == WB_OK;
}

/* With reply_to as one more attribute: no CloudEvents name stands for it. */
static bool line_headers(const wb_event *event, wb_event *ret)
{
	wb_header *headers;

	*ret = *event;
	if (event->reply_to.len == 0)
		return true;
	headers = malloc((event->header_count + 1) * sizeof(*headers));
	if (!headers)
		return false;
	for (size_t i = 0; i < event->header_count; i++)
		headers[i] = event->headers[i];
	headers[event->header_count].name = wb_str_from(WBI_LINE_REPLY_TO);
	headers[event->header_count].value = event->reply_to;
	ret->headers = headers;
	ret->header_count = event->header_count + 1;
	return true;
}

wb_code wbi_envelope_line(const wb_event *event, char **ret_line,
			  size_t *ret_len, wb_error *err)
{
	static const wbi_envelope_context nowhere = {.position = 0};
	char *line = NULL;
	wb_event whole;

	WB_ASSERT(event->header_count == 0 || event->headers);
	if (line_headers(event, &whole))
		line = whole_object(&whole, &nowhere, line_can_hold(event),
				    ret_len);
	if (whole.headers != event->headers)
		free((void *)(uintptr_t)whole.headers);
	if (!line)
		return WBI_FAIL(err, WB_ENOMEM, "line: out of memory");
	*ret_line = line;
	return WB_OK;
}
