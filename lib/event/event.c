/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an event must be to be accepted. Everything that could never be
 * published is found here, before it is in the store, since afterwards it
 * could only be parked. One table says for each attribute how long it may be;
 * a limit can be raised later, never lowered. Pure; any thread.
 */
#include "lib/event/attribute.h"

#include <stddef.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/envelope.h"

#define SHORT_STRING "an AMQP short string holds no more"
#define DEDUPE_KEY "it is part of the key by which repeats are known"

const wbi_attribute wbi_attributes[WBI_ATTRIBUTES] = {
	{"id", offsetof(wb_event, id), 255, SHORT_STRING},
	{"type", offsetof(wb_event, type), 255, SHORT_STRING},
	{"source", offsetof(wb_event, source), 255, DEDUPE_KEY},
	{"key", offsetof(wb_event, key), 255, "the limit for ordering keys"},
	{"subject", offsetof(wb_event, subject), 255,
	 "it names a stream in the store"},
	{"content_type", offsetof(wb_event, content_type), 255, SHORT_STRING},
	{"data_schema", offsetof(wb_event, data_schema), 1024,
	 "the limit for schema names"},
	{"correlation_id", offsetof(wb_event, correlation_id), 255,
	 SHORT_STRING},
	{"causation_id", offsetof(wb_event, causation_id), 255,
	 "it is the id of another event"},
	{"traceparent", offsetof(wb_event, traceparent), 255,
	 "the limit for it"},
	{"tracestate", offsetof(wb_event, tracestate), 512,
	 "W3C Trace Context, 3.3.1.5, promises no more"},
	{"reply_to", offsetof(wb_event, reply_to), 255, SHORT_STRING},
};

/* 0000-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z: RFC 3339. */
#define TIME_MIN_US (-62167219200 * INT64_C(1000000))
#define TIME_MAX_US (INT64_C(253402300799) * 1000000 + 999999)

static const char *const reserved_names[] = {
	"causationid",     "correlationid", "data",
	"datacontenttype", "dataschema",    "id",
	"partitionkey",    "sequence",      "source",
	"specversion",     "subject",       "time",
	"traceparent",     "tracestate",    "type",
};

static size_t limit_or(size_t value, size_t fallback, size_t hard)
{
	if (value == 0)
		value = fallback;
	return value < hard ? value : hard;
}

wb_limits wbi_limits_of(const wb_limits *limits)
{
	static const wb_limits standard = WB_LIMITS_DEFAULT;
	wb_limits ret = limits ? *limits : standard;

	ret.body_bytes =
		limit_or(ret.body_bytes, standard.body_bytes, WBI_DATA_MAX);
	ret.header_count = limit_or(ret.header_count, standard.header_count,
				    WBI_HEADERS_MAX);
	ret.header_bytes = limit_or(ret.header_bytes, standard.header_bytes,
				    WBI_HEADER_BYTES_MAX);
	ret.key_bytes =
		limit_or(ret.key_bytes, standard.key_bytes, standard.key_bytes);
	return ret;
}

bool wbi_attribute_is_reserved(wb_str name)
{
	for (size_t i = 0; i < WBI_COUNT(reserved_names); i++)
		if (wb_str_eq(name, wb_str_from(reserved_names[i])))
			return true;
	return false;
}

static wb_code check_text(wb_str text, const char *what, const char *name,
			  wb_error *err)
{
	size_t at;

	if (wbi_text_is_clean(text, &at))
		return WB_OK;
	return WBI_FAIL(err, WB_EINVAL,
			"%s %s: byte %zu (0x%02x) is not part of UTF-8 text "
			"without control characters (CloudEvents 1.0, String); "
			"put such bytes into data",
			what, name, at, (unsigned char)text.ptr[at]);
}

static wb_code check_attributes(const wb_event *event, size_t key_max,
				wb_error *err)
{
	for (size_t i = 0; i < WBI_ATTRIBUTES; i++) {
		const wbi_attribute *a = &wbi_attributes[i];
		wb_str value = wbi_attribute_get(event, i);
		size_t max = a->max_bytes;
		wb_code code;

		if (value.len == 0)
			continue;
		if (!value.ptr)
			return WBI_FAIL(err, WB_EINVAL,
					"attribute %s: length %zu but no bytes",
					a->name, value.len);
		if (a->offset == offsetof(wb_event, key))
			max = key_max;
		if (value.len > max)
			return WBI_FAIL(err, WB_ELIMIT,
					"attribute %s: %zu bytes, at most %zu "
					"are accepted (%s)",
					a->name, value.len, max, a->why);
		code = check_text(value, "attribute", a->name, err);
		if (code != WB_OK)
			return code;
	}
	return WB_OK;
}

static bool is_header_name(wb_str name)
{
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9'))
			return false;
	}
	return name.len > 0;
}

/* What sagas and their participants say to each other; open to all, so that a
 * participant may be written without waybill's. */
static bool is_saga_header(wb_str name)
{
	static const char *const names[] = {"wbsaga",  "wbstep",     "wbop",
					    "wbepoch", "wbdeadline", "wboutcome",
					    "wbreason"};

	for (size_t i = 0; i < WBI_COUNT(names); i++)
		if (wb_str_eq(name, wb_str_from(names[i])))
			return true;
	return false;
}

static wb_code check_header_name(wb_str name, size_t index, bool own,
				 wb_error *err)
{
	char shown[128];

	if (name.len > 0 && !name.ptr)
		return WBI_FAIL(err, WB_EINVAL,
				"header %zu: name of length %zu but no bytes",
				index, name.len);
	if (name.len > WBI_HEADER_NAME_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"header %zu: name of %zu bytes, at most %d "
				"are accepted",
				index, name.len, (int)WBI_HEADER_NAME_MAX);
	wbi_text_show(name, shown, sizeof(shown));
	if (!is_header_name(name))
		return WBI_FAIL(err, WB_EINVAL,
				"header %zu: name \"%s\" must be lower-case "
				"ASCII letters and digits (CloudEvents 1.0, "
				"Naming Conventions)",
				index, shown);
	if (wbi_attribute_is_reserved(name))
		return WBI_FAIL(err, WB_EINVAL,
				"header %zu: \"%s\" is an attribute of every "
				"event: set it there, or choose another name",
				index, shown);
	if (!own && name.len >= 2 && !memcmp(name.ptr, "wb", 2) &&
	    !is_saga_header(name))
		return WBI_FAIL(err, WB_EINVAL,
				"header %zu: \"%s\": names beginning with "
				"\"wb\" are waybill's own; choose another",
				index, shown);
	return WB_OK;
}

static wb_code check_header(const wb_header *header, size_t index, bool own,
			    wb_error *err)
{
	char name[WBI_HEADER_NAME_MAX + 1];
	wb_code code = check_header_name(header->name, index, own, err);

	if (code != WB_OK)
		return code;
	wbi_text_show(header->name, name, sizeof(name));
	if (header->value.len > 0 && !header->value.ptr)
		return WBI_FAIL(err, WB_EINVAL,
				"header %s: length %zu but no bytes", name,
				header->value.len);
	return check_text(header->value, "header", name, err);
}

/* Before any byte of them is looked at. */
static wb_code check_header_sizes(const wb_event *event,
				  const wb_limits *limits, wb_error *err)
{
	size_t left = limits->header_bytes;

	if (!event->headers)
		return WBI_FAIL(err, WB_EINVAL, "headers: %zu of them but NULL",
				event->header_count);
	if (event->header_count > limits->header_count)
		return WBI_FAIL(err, WB_ELIMIT,
				"headers: %zu of them, at most %zu are "
				"accepted",
				event->header_count, limits->header_count);
	for (size_t i = 0; i < event->header_count; i++) {
		const wb_header *h = &event->headers[i];

		if (h->name.len > left || h->value.len > left - h->name.len)
			return WBI_FAIL(err, WB_ELIMIT,
					"headers: names and values up to "
					"header %zu are over the %zu bytes "
					"accepted for all",
					i, limits->header_bytes);
		left -= h->name.len + h->value.len;
	}
	return WB_OK;
}

/* The quadratic look for repeats is over the names alone and bounded by
 * header_count, 64 unless configured. */
static wb_code check_headers(const wb_event *event, const wb_limits *limits,
			     bool own, wb_error *err)
{
	const wb_header *headers = event->headers;
	wb_code code;

	if (event->header_count == 0)
		return WB_OK;
	code = check_header_sizes(event, limits, err);
	for (size_t i = 0; code == WB_OK && i < event->header_count; i++) {
		code = check_header(&headers[i], i, own, err);
		for (size_t j = 0; code == WB_OK && j < i; j++)
			if (wb_str_eq(headers[i].name, headers[j].name))
				code = WBI_FAIL(err, WB_EINVAL,
						"headers %zu and %zu have the "
						"same name \"%.*s\"",
						j, i, (int)headers[i].name.len,
						headers[i].name.ptr);
	}
	return code;
}

/* Of one that came in structured mode it may be: `own`. */
static wb_code check_content_type(const wb_event *event, bool own,
				  wb_error *err)
{
	wb_str type = event->content_type;

	if (own || !wbi_content_type_is_structured(type))
		return WB_OK;
	return WBI_FAIL(err, WB_EINVAL,
			"attribute content_type: \"%.*s\" says that a message "
			"holds a whole event, and consumers would take the "
			"data for it: name what the data is, such as "
			"\"application/json\"",
			(int)type.len, type.ptr);
}

static wb_code check(const wb_event *event, const wb_limits *limits, bool own,
		     wb_error *err)
{
	wb_limits in_force = wbi_limits_of(limits);
	wb_code code;

	if (!event)
		return WBI_FAIL(err, WB_EINVAL, "event: NULL");
	if (event->type.len == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"attribute type: empty; every event needs one, "
				"such as \"order.placed\"");
	code = check_attributes(event, in_force.key_bytes, err);
	if (code == WB_OK)
		code = check_headers(event, &in_force, own, err);
	if (code != WB_OK)
		return code;
	if (event->time_us < TIME_MIN_US || event->time_us > TIME_MAX_US)
		return WBI_FAIL(err, WB_EINVAL,
				"attribute time: %lld us is outside the years "
				"0000 to 9999 (RFC 3339)",
				(long long)event->time_us);
	if (event->data.len > 0 && !event->data.ptr)
		return WBI_FAIL(err, WB_EINVAL, "data: length %zu but no bytes",
				event->data.len);
	if (event->data.len > in_force.body_bytes)
		return WBI_FAIL(err, WB_ELIMIT,
				"data: %zu bytes, at most %zu are accepted",
				event->data.len, in_force.body_bytes);
	return check_content_type(event, own, err);
}

wb_code wb_event_check(const wb_event *event, const wb_limits *limits,
		       wb_error *err)
{
	return check(event, limits, false, err);
}

wb_code wbi_event_check_own(const wb_event *event, const wb_limits *limits,
			    wb_error *err)
{
	return check(event, limits, true, err);
}
