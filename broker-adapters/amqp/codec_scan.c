/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What stands between a peer's bytes and rabbitmq-c's decoder. The library of
 * Debian 12 follows nested tables without a depth limit (one header of 100 KB
 * overflows a thread's stack) and does not check that a method frame is long
 * enough to hold its own number. So every method and every content header is
 * walked here first: known to its receiver, each field inside the frame, tables
 * within limits. What passes is at least as strict as the library.
 *
 * Pure; any thread. The recursion is WBI_TABLE_DEPTH_MAX deep at most.
 */
#include <string.h>

#include "broker-adapters/amqp/codec.h"
#include "lib/base/assert.h"
#include "lib/base/bytes.h"

typedef struct scan {
	const uint8_t *at;
	const uint8_t *end;
	uint32_t fields; /* keys and array elements so far */
	const char *why; /* first thing wrong */
} scan;

static bool scan_fail(scan *s, const char *why)
{
	if (!s->why)
		s->why = why;
	return false;
}

static bool scan_skip(scan *s, size_t len)
{
	if ((size_t)(s->end - s->at) < len)
		return scan_fail(s, "a field runs over the end of its frame");
	s->at += len;
	return true;
}

static bool scan_short(scan *s, amqp_bytes_t *ret)
{
	const uint8_t *p = s->at;

	if (!scan_skip(s, 1) || !scan_skip(s, p[0]))
		return false;
	if (ret)
		*ret = wbi_amqp_bytes(wb_str_n(p + 1, p[0]));
	return true;
}

/* The 32-bit length in front of a long string, a table or an array. */
static bool scan_long_len(scan *s, size_t *ret_len)
{
	const uint8_t *p = s->at;

	if (!scan_skip(s, 4))
		return false;
	*ret_len = wbi_get_be32(p);
	if ((size_t)(s->end - s->at) < *ret_len)
		return scan_fail(s, "a field runs over the end of its frame");
	return true;
}

static bool scan_long(scan *s)
{
	size_t len;

	return scan_long_len(s, &len) && scan_skip(s, len);
}

static bool scan_nested(scan *s, bool is_table, uint32_t keys_max, int depth);

/* A field value: its kind and what follows it (the kinds of RabbitMQ's own
 * table, which differs from the specification's). */
static bool scan_value(scan *s, int depth)
{
	const uint8_t *kind = s->at;

	if (!scan_skip(s, 1))
		return false;
	switch (*kind) {
	case AMQP_FIELD_KIND_VOID:
		return true;
	case AMQP_FIELD_KIND_BOOLEAN:
	case AMQP_FIELD_KIND_I8:
	case AMQP_FIELD_KIND_U8:
		return scan_skip(s, 1);
	case AMQP_FIELD_KIND_I16:
	case AMQP_FIELD_KIND_U16:
		return scan_skip(s, 2);
	case AMQP_FIELD_KIND_I32:
	case AMQP_FIELD_KIND_U32:
	case AMQP_FIELD_KIND_F32:
		return scan_skip(s, 4);
	case AMQP_FIELD_KIND_DECIMAL:
		return scan_skip(s, 5);
	case AMQP_FIELD_KIND_I64:
	case AMQP_FIELD_KIND_U64:
	case AMQP_FIELD_KIND_F64:
	case AMQP_FIELD_KIND_TIMESTAMP:
		return scan_skip(s, 8);
	case AMQP_FIELD_KIND_UTF8:
	case AMQP_FIELD_KIND_BYTES:
		return scan_long(s);
	case AMQP_FIELD_KIND_TABLE:
		return scan_nested(s, true, WBI_TABLE_KEYS_MAX, depth + 1);
	case AMQP_FIELD_KIND_ARRAY:
		return scan_nested(s, false, WBI_TABLE_FIELDS_MAX, depth + 1);
	default:
		return scan_fail(s, "a table field of unknown type");
	}
}

/* A table or an array, whose fields must end exactly where it ends. */
static bool scan_nested(scan *s, bool is_table, uint32_t keys_max, int depth)
{
	const uint8_t *outer_end = s->end;
	uint32_t keys = 0;
	size_t len;

	if (depth > WBI_TABLE_DEPTH_MAX)
		return scan_fail(s, "a table nested deeper than 8 levels");
	if (!scan_long_len(s, &len))
		return false;
	s->end = s->at + len;
	while (s->at < s->end) {
		if (++keys > keys_max)
			return scan_fail(s, "a table with too many keys");
		if (++s->fields > WBI_TABLE_FIELDS_MAX)
			return scan_fail(s, "tables with over 1024 fields");
		if (is_table && !scan_short(s, NULL))
			return false;
		if (!scan_value(s, depth))
			return false;
	}
	s->end = outer_end;
	return true;
}

static bool scan_table(scan *s)
{
	return scan_nested(s, true, WBI_TABLE_TOP_KEYS_MAX, 1);
}

/* Arguments: o octet or bits, s short, l long, L long long, S short string,
 * X long string, T table. */
static bool scan_argument(scan *s, char type)
{
	switch (type) {
	case 'o':
		return scan_skip(s, 1);
	case 's':
		return scan_skip(s, 2);
	case 'l':
		return scan_skip(s, 4);
	case 'L':
		return scan_skip(s, 8);
	case 'S':
		return scan_short(s, NULL);
	case 'X':
		return scan_long(s);
	default:
		WB_ASSERT(type == 'T');
		return scan_table(s);
	}
}

enum { BROKER = WBI_CODEC_CLIENT, CLIENT = WBI_CODEC_SERVER };

static const struct {
	amqp_method_number_t id;
	int from; /* who may send it */
	const char *arguments;
} scan_methods[] = {
	{AMQP_BASIC_ACK_METHOD, BROKER | CLIENT, "Lo"},
	{AMQP_BASIC_DELIVER_METHOD, BROKER, "SLoSS"},
	{AMQP_BASIC_PUBLISH_METHOD, CLIENT, "sSSo"},
	{AMQP_BASIC_NACK_METHOD, BROKER | CLIENT, "Lo"},
	{AMQP_BASIC_RETURN_METHOD, BROKER, "sSSS"},
	{AMQP_BASIC_REJECT_METHOD, CLIENT, "Lo"},
	{AMQP_BASIC_QOS_METHOD, CLIENT, "lso"},
	{AMQP_BASIC_QOS_OK_METHOD, BROKER, ""},
	{AMQP_BASIC_CONSUME_METHOD, CLIENT, "sSSoT"},
	{AMQP_BASIC_CONSUME_OK_METHOD, BROKER, "S"},
	{AMQP_BASIC_CANCEL_METHOD, BROKER, "So"},
	{AMQP_BASIC_CANCEL_OK_METHOD, CLIENT, "S"},
	{AMQP_CONFIRM_SELECT_METHOD, CLIENT, "o"},
	{AMQP_CONFIRM_SELECT_OK_METHOD, BROKER, ""},
	{AMQP_CONNECTION_START_METHOD, BROKER, "ooTXX"},
	{AMQP_CONNECTION_START_OK_METHOD, CLIENT, "TSXS"},
	{AMQP_CONNECTION_SECURE_METHOD, BROKER, "X"},
	{AMQP_CONNECTION_TUNE_METHOD, BROKER, "sls"},
	{AMQP_CONNECTION_TUNE_OK_METHOD, CLIENT, "sls"},
	{AMQP_CONNECTION_OPEN_METHOD, CLIENT, "SSo"},
	{AMQP_CONNECTION_OPEN_OK_METHOD, BROKER, "S"},
	{AMQP_CONNECTION_CLOSE_METHOD, BROKER | CLIENT, "sSss"},
	{AMQP_CONNECTION_CLOSE_OK_METHOD, BROKER | CLIENT, ""},
	{AMQP_CONNECTION_BLOCKED_METHOD, BROKER, "S"},
	{AMQP_CONNECTION_UNBLOCKED_METHOD, BROKER, ""},
	{AMQP_CHANNEL_OPEN_METHOD, CLIENT, "S"},
	{AMQP_CHANNEL_OPEN_OK_METHOD, BROKER, "X"},
	{AMQP_CHANNEL_FLOW_METHOD, BROKER, "o"},
	{AMQP_CHANNEL_FLOW_OK_METHOD, CLIENT, "o"},
	{AMQP_CHANNEL_CLOSE_METHOD, BROKER | CLIENT, "sSss"},
	{AMQP_CHANNEL_CLOSE_OK_METHOD, BROKER | CLIENT, ""},
	{AMQP_EXCHANGE_DECLARE_METHOD, CLIENT, "sSSoT"},
	{AMQP_EXCHANGE_DECLARE_OK_METHOD, BROKER, ""},
	{AMQP_QUEUE_DECLARE_METHOD, CLIENT, "sSoT"},
	{AMQP_QUEUE_DECLARE_OK_METHOD, BROKER, "Sll"},
	{AMQP_QUEUE_BIND_METHOD, CLIENT, "sSSSoT"},
	{AMQP_QUEUE_BIND_OK_METHOD, BROKER, ""},
};

const char *wbi_scan_method(wbi_codec_role role, amqp_method_number_t id,
			    const uint8_t *args, size_t len)
{
	scan s = {.at = args, .end = args + len};
	size_t i = 0;

	while (i < WBI_COUNT(scan_methods) && scan_methods[i].id != id)
		i++;
	if (i == WBI_COUNT(scan_methods) || !(scan_methods[i].from & (int)role))
		return "a method that does not belong here";
	for (const char *type = scan_methods[i].arguments; *type; type++)
		if (!scan_argument(&s, *type))
			return s.why;
	return s.at == s.end ? NULL : "bytes behind the end of a method";
}

/* The header table: what is wrong in it is remembered in s->why, and the scan
 * goes on behind it, if its own length can be believed. */
static bool scan_header_table(scan *s)
{
	const uint8_t *begin = s->at;
	const uint8_t *end = s->end;
	size_t len;

	if (scan_table(s))
		return true;
	s->at = begin;
	s->end = end;
	return scan_long_len(s, &len) && scan_skip(s, len);
}

/* One property, if its flag is set. `into` NULL: not wanted. */
static bool scan_string_property(scan *s, amqp_basic_properties_t *ret,
				 unsigned flags, unsigned flag,
				 amqp_bytes_t *into)
{
	if (!(flags & flag))
		return true;
	if (!scan_short(s, into))
		return false;
	if (into)
		ret->_flags |= flag;
	return true;
}

static bool scan_octet_property(scan *s, amqp_basic_properties_t *ret,
				unsigned flags, unsigned flag, uint8_t *into)
{
	const uint8_t *p = s->at;

	if (!(flags & flag))
		return true;
	if (!scan_skip(s, 1))
		return false;
	*into = p[0];
	ret->_flags |= flag;
	return true;
}

static bool scan_timestamp(scan *s, amqp_basic_properties_t *ret,
			   unsigned flags)
{
	const uint8_t *p = s->at;

	if (!(flags & AMQP_BASIC_TIMESTAMP_FLAG))
		return true;
	if (!scan_skip(s, 8))
		return false;
	ret->timestamp = wbi_get_be64(p);
	ret->_flags |= AMQP_BASIC_TIMESTAMP_FLAG;
	return true;
}

const char *wbi_scan_properties(const uint8_t *bytes, size_t len,
				amqp_basic_properties_t *ret)
{
	scan s = {.at = bytes, .end = bytes + len};
	amqp_basic_properties_t *p = ret;
	unsigned f;

	memset(ret, 0, sizeof(*ret));
	if (!scan_skip(&s, 2))
		return s.why;
	f = wbi_get_be16(bytes);
	if (f & 3)
		return "properties that AMQP 0-9-1 does not know";
	if (scan_string_property(&s, p, f, AMQP_BASIC_CONTENT_TYPE_FLAG,
				 &p->content_type) &&
	    scan_string_property(&s, p, f, AMQP_BASIC_CONTENT_ENCODING_FLAG,
				 NULL) &&
	    (!(f & AMQP_BASIC_HEADERS_FLAG) || scan_header_table(&s)) &&
	    scan_octet_property(&s, p, f, AMQP_BASIC_DELIVERY_MODE_FLAG,
				&p->delivery_mode) &&
	    scan_octet_property(&s, p, f, AMQP_BASIC_PRIORITY_FLAG,
				&p->priority) &&
	    scan_string_property(&s, p, f, AMQP_BASIC_CORRELATION_ID_FLAG,
				 &p->correlation_id) &&
	    scan_string_property(&s, p, f, AMQP_BASIC_REPLY_TO_FLAG,
				 &p->reply_to) &&
	    scan_string_property(&s, p, f, AMQP_BASIC_EXPIRATION_FLAG, NULL) &&
	    scan_string_property(&s, p, f, AMQP_BASIC_MESSAGE_ID_FLAG,
				 &p->message_id) &&
	    scan_timestamp(&s, p, f) &&
	    scan_string_property(&s, p, f, AMQP_BASIC_TYPE_FLAG, &p->type) &&
	    scan_string_property(&s, p, f, AMQP_BASIC_USER_ID_FLAG, NULL) &&
	    scan_string_property(&s, p, f, AMQP_BASIC_APP_ID_FLAG,
				 &p->app_id) &&
	    scan_string_property(&s, p, f, AMQP_BASIC_CLUSTER_ID_FLAG, NULL) &&
	    s.at != s.end)
		scan_fail(&s, "bytes behind the end of the properties");
	return s.why;
}
