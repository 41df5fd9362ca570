/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a message to an event, whoever sent it. Five forms are tried in a fixed
 * order; each only says under which names the attributes are found. What an
 * event cannot hold (a header name with a hyphen, a sequence that is no
 * number, what a broker added) is kept apart, never dropped and never refused:
 * the sender cannot be asked to send again. The result must in the end pass
 * the same check as an event of our own.
 *
 * The event borrows from the message; only structured mode owns something, the
 * JSON tree and decoded data. Pure; any thread.
 */
#include "lib/event/envelope.h"

#include <stddef.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/attribute.h"
#include "lib/event/json.h"

enum { ATTRIBUTES_MAX = 32 }; /* beside extensions; more than there are */

/* What is being put together. */
struct reading {
	const wb_message *message;
	wbi_received *out;
	size_t header_max; /* room in out->headers */
	size_t kept;       /* attributes of the event, from the front */
	size_t apart;      /* others, from the back */
};

/* A word to compare with, in lower case. */
#define WORD(literal)                                                          \
	{                                                                      \
		"" literal, sizeof(literal) - 1                                \
	}
#define W(literal) ((wb_str)WORD(literal))

static char fold(char c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

/* The first word.len bytes; ASCII letters of any case, most often lower. */
static bool same(const char *text, wb_str word)
{
	if (!memcmp(text, word.ptr, word.len))
		return true;
	for (size_t i = 0; i < word.len; i++)
		if (fold(text[i]) != word.ptr[i])
			return false;
	return true;
}

static inline bool begins(wb_str text, wb_str prefix)
{
	return text.len >= prefix.len && same(text.ptr, prefix);
}

/* Most are told apart by their length alone. */
static inline bool is(wb_str text, wb_str word)
{
	return text.len == word.len && same(text.ptr, word);
}

/* CloudEvents names of the text attributes. */
static wb_str *find_text(wb_event *event, wb_str name)
{
	static const struct {
		wb_str name;
		size_t offset;
	} table[] = {
		{WORD("id"), offsetof(wb_event, id)},
		{WORD("type"), offsetof(wb_event, type)},
		{WORD("source"), offsetof(wb_event, source)},
		{WORD("subject"), offsetof(wb_event, subject)},
		{WORD("partitionkey"), offsetof(wb_event, key)},
		{WORD("datacontenttype"), offsetof(wb_event, content_type)},
		{WORD("dataschema"), offsetof(wb_event, data_schema)},
		{WORD("correlationid"), offsetof(wb_event, correlation_id)},
		{WORD("causationid"), offsetof(wb_event, causation_id)},
		{WORD("traceparent"), offsetof(wb_event, traceparent)},
		{WORD("tracestate"), offsetof(wb_event, tracestate)},
	};

	for (size_t i = 0; i < WBI_COUNT(table); i++)
		if (is(name, table[i].name))
			return (wb_str *)(void *)((char *)event +
						  table[i].offset);
	return NULL;
}

static bool parse_u64(wb_str text, uint64_t *ret)
{
	uint64_t value = 0;

	for (size_t i = 0; i < text.len; i++) {
		unsigned digit = (unsigned)(unsigned char)text.ptr[i] - '0';

		if (digit > 9 || value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*ret = value;
	return text.len > 0;
}

/* Attributes that are numbers, and those that only waybill sets; false: none
 * of them, or not a value that it can have. */
static bool take_special(wbi_received *out, wb_str name, wb_str value)
{
	if (is(name, W("time")))
		return wbi_time_parse(value, &out->event.time_us);
	if (is(name, W("sequence")))
		return parse_u64(value, &out->event.sequence);
	if (is(name, W("wbposition")))
		return parse_u64(value, &out->position);
	if (is(name, W("wborigin"))) {
		out->origin = value;
		return true;
	}
	return is(name, W("specversion"));
}

static void keep_apart(struct reading *r, wb_str name, wb_str value)
{
	wb_header *to;

	WB_ASSERT(r->kept + r->apart < r->header_max);
	r->apart++;
	to = &r->out->headers[r->header_max - r->apart];
	to->name = name;
	to->value = value;
}

/* Could this be an extension attribute? Names are as wb_event_check() wants
 * them, and not there yet. */
static bool is_extension(const struct reading *r, wb_str name, wb_str value)
{
	if (name.len == 0 || name.len > WBI_HEADER_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (!(name.ptr[i] >= 'a' && name.ptr[i] <= 'z') &&
		    !(name.ptr[i] >= '0' && name.ptr[i] <= '9'))
			return false;
	for (size_t i = 0; i < r->kept; i++)
		if (wb_str_eq(r->out->headers[i].name, name))
			return false;
	/* Where in a journal it lay is waybill's to say, and in due form. */
	return !wbi_attribute_is_reserved(name) && !is(name, W("wborigin")) &&
	       !is(name, W("wbposition")) && wbi_text_is_clean(value, NULL);
}

static void take_extension(struct reading *r, wb_str name, wb_str shown,
			   wb_str value)
{
	if (!is_extension(r, name, value)) {
		keep_apart(r, shown, value);
		return;
	}
	WB_ASSERT(r->kept + r->apart < r->header_max);
	r->out->headers[r->kept].name = name;
	r->out->headers[r->kept].value = value;
	r->kept++;
}

/* One attribute, its prefix gone; `shown` is its name before that. The first
 * of two with one name counts. */
static void take_attribute(struct reading *r, wb_str name, wb_str shown,
			   wb_str value)
{
	wb_str *text = find_text(&r->out->event, name);

	if (text && text->len == 0)
		*text = value;
	else if (text)
		keep_apart(r, shown, value);
	else if (!take_special(r->out, name, value))
		take_extension(r, name, shown, value);
}

static wb_str without(wb_str text, size_t len)
{
	return wb_str_n(text.ptr + len, text.len - len);
}

static bool is_trace(wb_str name)
{
	return is(name, W("traceparent")) || is(name, W("tracestate"));
}

/* Length of the prefix that CloudEvents attributes have in `form`; SIZE_MAX if
 * this header is not one of them. */
static size_t prefix_of(wbi_form form, wb_str name)
{
	if (is_trace(name))
		return 0;
	if (form == WBI_FORM_BINARY && begins(name, W("ce-")))
		return strlen("ce-");
	if (form == WBI_FORM_AMQP && (begins(name, W("cloudevents:")) ||
				      begins(name, W("cloudevents_"))))
		return strlen("cloudevents:");
	if (form == WBI_FORM_BARE || form == WBI_FORM_RAW)
		return begins(name, W("x-")) ? SIZE_MAX : 0;
	return SIZE_MAX;
}

static void take_headers(struct reading *r)
{
	const wb_message *m = r->message;
	wbi_form form = r->out->form;

	for (size_t i = 0; i < m->header_count; i++) {
		wb_str name = m->headers[i].name, value = m->headers[i].value;
		size_t prefix = prefix_of(form, name);

		if (prefix == SIZE_MAX)
			keep_apart(r, name, value);
		else if (form == WBI_FORM_RAW && !is_trace(name))
			take_extension(r, name, name, value);
		else
			take_attribute(r, without(name, prefix), name, value);
	}
}

/* Which headers say "CloudEvents", and how; RAW if none. */
static wbi_form headers_form(const wb_message *m)
{
	bool amqp = false;
	unsigned bare = 0;

	for (size_t i = 0; i < m->header_count; i++) {
		wb_str name = m->headers[i].name;

		if (is(name, W("ce-specversion")))
			return WBI_FORM_BINARY;
		amqp |= is(name, W("cloudevents:specversion")) ||
			is(name, W("cloudevents_specversion"));
		bare |= is(name, W("specversion")) ? 1u : 0u;
		bare |= is(name, W("id")) ? 2u : 0u;
		bare |= is(name, W("type")) ? 4u : 0u;
	}
	if (amqp)
		return WBI_FORM_AMQP;
	return bare == 7 ? WBI_FORM_BARE : WBI_FORM_RAW;
}

/* ---- structured mode -------------------------------------------------- */

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648, section 4, with padding. `to` has room for 3/4 of the text. */
static bool base64_decode(wb_str text, char *to, size_t *ret_len)
{
	size_t out = 0, len = text.len;
	uint32_t bits = 0;

	if (len % 4 != 0)
		return false;
	for (int pad = 0; pad < 2 && len > 0 && text.ptr[len - 1] == '='; pad++)
		len--;
	for (size_t i = 0; i < len; i++) {
		int digit = base64_digit(text.ptr[i]);

		if (digit < 0)
			return false;
		bits = bits << 6 | (uint32_t)digit;
		if (i % 4 != 0)
			to[out++] = (char)(bits >> (6 - 2 * (i % 4)));
	}
	*ret_len = out;
	return true;
}

static wb_str json_text(const json_t *value)
{
	return wb_str_n(json_string_value(value), json_string_length(value));
}

static wb_code take_base64(struct reading *r, const json_t *value, char *room,
			   wb_error *err)
{
	size_t len;

	if (!json_is_string(value) ||
	    !base64_decode(json_text(value), room, &len))
		return WBI_FAIL(err, WB_EINVAL,
				"structured event: data_base64 is not base64");
	r->out->event.data = wb_str_n(room, len);
	return WB_OK;
}

/* A member that is an attribute: text, a number (as it is written), true or
 * false. */
static wb_code take_member(struct reading *r, wb_str name, const json_t *value,
			   wb_str slice, wb_error *err)
{
	char shown[64];

	if (json_is_null(value))
		return WB_OK;
	wbi_text_show(name, shown, sizeof(shown));
	if (json_is_object(value) || json_is_array(value))
		return WBI_FAIL(err, WB_EINVAL,
				"structured event: attribute \"%s\" must be "
				"text, a number or a boolean",
				shown);
	if (json_is_string(value))
		slice = json_text(value);
	take_attribute(r, name, name, slice);
	return WB_OK;
}

/* `data`: the text of a JSON string where the content type says it is not
 * JSON (CloudEvents JSON format, 3.1.1); else the bytes as they stand. */
static void take_data(struct reading *r, const json_t *value, wb_str slice)
{
	wb_event *event = &r->out->event;
	bool json = event->content_type.len == 0 ||
		    wbi_content_type_is_json(event->content_type);

	if (!value || json_is_null(value))
		return;
	if (event->content_type.len == 0)
		event->content_type = wb_str_from("application/json");
	event->data = slice;
	if (!json && json_is_string(value))
		event->data = json_text(value);
}

static wb_code take_object(struct reading *r, json_t *object, char *room,
			   wb_error *err)
{
	const json_t *data = json_object_get(object, "data");
	const json_t *base64 = json_object_get(object, "data_base64");
	wb_str data_slice = WB_STR_NULL;
	size_t in_text = 0;

	for (void *at = json_object_iter(object); at;
	     at = json_object_iter_next(object, at)) {
		wb_str name = wb_str_n(json_object_iter_key(at),
				       json_object_iter_key_len(at));
		wb_str slice = wbi_json_next_member(r->message->body, &in_text);
		const json_t *value = json_object_iter_value(at);
		wb_code code = WB_OK;

		/* by name: jansson has only one true, one false, one null */
		if (wb_str_eq(name, wb_str_from("data")))
			data_slice = slice;
		else if (!wb_str_eq(name, wb_str_from("data_base64")))
			code = take_member(r, name, value, slice, err);
		if (code != WB_OK)
			return code;
	}
	if (base64 && data)
		return WBI_FAIL(err, WB_EINVAL,
				"structured event: both data and data_base64");
	if (base64)
		return take_base64(r, base64, room, err);
	take_data(r, data, data_slice);
	return WB_OK;
}

static wb_code read_structured(struct reading *r, const wb_limits *limits,
			       wb_error *err)
{
	wbi_received *out = r->out;
	wb_error why = WB_ERROR_INIT;
	json_t *object;
	size_t members;
	wb_code code;

	code = wbi_json_parse(r->message->body, &object, &why);
	if (code != WB_OK)
		return WBI_FAIL(err, code, "structured event: %.400s",
				why.text);
	out->json = object;
	if (!json_is_object(object))
		return WBI_FAIL(err, WB_EINVAL,
				"structured event: not a JSON object");
	members = json_object_size(object);
	if (members > limits->header_count + ATTRIBUTES_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"structured event: %zu members, at most %zu "
				"headers are accepted",
				members, limits->header_count);
	r->header_max = members + r->message->header_count;
	out->headers = calloc(r->header_max + 1, sizeof(*out->headers));
	out->bytes = malloc(r->message->body.len + 1);
	if (!out->headers || !out->bytes)
		return WBI_FAIL(err, WB_ENOMEM,
				"structured event: out of memory");
	code = take_object(r, object, out->bytes, err);
	if (code == WB_OK)
		take_headers(r);
	return code;
}

/* ---- all forms -------------------------------------------------------- */

static wb_code read_headers(struct reading *r, wb_error *err)
{
	const wb_message *m = r->message;
	wbi_received *out = r->out;

	r->header_max = m->header_count;
	out->headers = calloc(r->header_max + 1, sizeof(*out->headers));
	if (!out->headers)
		return WBI_FAIL(err, WB_ENOMEM, "message: out of memory");
	out->form = headers_form(m);
	out->event.data = m->body;
	if (m->content_type.len > 0)
		out->event.content_type = m->content_type;
	take_headers(r);
	return WB_OK;
}

static void stand_in(wb_str *to, wb_str first, wb_str second)
{
	if (to->len == 0)
		*to = first.len > 0 ? first : second;
}

static wb_code finish(struct reading *r, const wb_limits *limits, wb_error *err)
{
	const wb_message *m = r->message;
	wb_event *event = &r->out->event;

	stand_in(&event->id, m->message_id, WB_STR_NULL);
	stand_in(&event->type, m->type, m->routing_key);
	stand_in(&event->source, m->app_id, m->exchange);
	stand_in(&event->correlation_id, m->correlation_id, WB_STR_NULL);
	event->reply_to = m->reply_to;
	if (event->time_us == 0 && m->timestamp_s > 0 &&
	    m->timestamp_s < INT64_MAX / 1000000)
		event->time_us = m->timestamp_s * 1000000;
	event->headers = r->out->headers;
	event->header_count = r->kept;
	r->out->others = r->out->headers + r->header_max - r->apart;
	r->out->other_count = r->apart;
	if (event->id.len == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"message without an id: neither a CloudEvents "
				"id nor the property message_id; without one "
				"a repeat cannot be told from a new event");
	return wbi_event_check_own(event, limits, err);
}

bool wbi_content_type_is_structured(wb_str content_type)
{
	return begins(content_type, W("application/cloudevents"));
}

/* application/cloudevents...: is it the one format we read? */
static wb_code check_format(wb_str content_type, wb_error *err)
{
	wb_str media = content_type;
	char shown[80];

	for (size_t i = 0; i < media.len; i++)
		if (media.ptr[i] == ';' || media.ptr[i] == ' ')
			media.len = i;
	if (is(media, W("application/cloudevents+json")) ||
	    is(media, W("application/cloudevents")))
		return WB_OK;
	wbi_text_show(media, shown, sizeof(shown));
	return WBI_FAIL(err, WB_EINVAL,
			"content type \"%s\": of the structured formats only "
			"application/cloudevents+json is read",
			shown);
}

wb_code wbi_envelope_read(const wb_message *message, const wb_limits *limits,
			  wbi_received *ret, wb_error *err)
{
	wb_limits in_force = wbi_limits_of(limits);
	wbi_received out = {.form = WBI_FORM_STRUCTURED};
	struct reading r = {.message = message, .out = &out};
	wb_code code = WB_OK;

	if (message->header_count > in_force.header_count + ATTRIBUTES_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"message: %zu headers, at most %zu are "
				"accepted",
				message->header_count, in_force.header_count);
	if (message->body.len / 2 > in_force.body_bytes)
		return WBI_FAIL(err, WB_ELIMIT,
				"message: body of %zu bytes, data may have %zu",
				message->body.len, in_force.body_bytes);
	if (wbi_content_type_is_structured(message->content_type)) {
		code = check_format(message->content_type, err);
		if (code == WB_OK)
			code = read_structured(&r, &in_force, err);
	} else {
		code = read_headers(&r, err);
	}
	if (code == WB_OK)
		code = finish(&r, &in_force, err);
	if (code == WB_OK)
		*ret = out;
	else
		wbi_envelope_read_fini(&out);
	return code;
}

void wbi_envelope_read_fini(wbi_received *received)
{
	json_decref(received->json);
	free(received->headers);
	free(received->bytes);
	*received = (wbi_received){.form = WBI_FORM_RAW};
}
