/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Field values as text, since a wb_header holds text. Long strings and byte
 * arrays are their bytes; numbers, booleans and timestamps (seconds) are
 * printed; tables and arrays come as compact JSON of at most NESTED_MAX bytes,
 * cut with "..." beyond that, so that x-death and its like can be read by
 * people; nothing in waybill parses them back.
 *
 * Pure. The depth was bounded when the frame was scanned.
 */
#include <inttypes.h>
#include <stdio.h>

#include "broker-adapters/amqp/session_internal.h"
#include "lib/base/assert.h"

enum { NESTED_MAX = 8192, NUMBER_MAX = 64 };

/* JSON being written; stops silently at its limit. */
typedef struct json {
	wbi_buffer *out;
	size_t left;
	bool cut;
	wb_code code;
} json;

static void json_put(json *j, const char *bytes, size_t len)
{
	if (j->cut || j->code != WB_OK)
		return;
	if (len > j->left) {
		j->cut = true;
		bytes = "...";
		len = 3;
		j->left = 3;
	}
	j->left -= len;
	j->code = wbi_buffer_append(j->out, bytes, len);
}

static void json_put_string(json *j, amqp_bytes_t s)
{
	const unsigned char *p = s.bytes;
	char escape[8];

	json_put(j, "\"", 1);
	for (size_t i = 0; i < s.len && !j->cut; i++) {
		if (p[i] == '"' || p[i] == '\\') {
			escape[0] = '\\';
			escape[1] = (char)p[i];
			json_put(j, escape, 2);
		} else if (p[i] < 0x20 || p[i] == 0x7f) {
			snprintf(escape, sizeof(escape), "\\u%04x", p[i]);
			json_put(j, escape, 6);
		} else {
			json_put(j, (const char *)p + i, 1);
		}
	}
	json_put(j, "\"", 1);
}

/* printf follows the process's locale for the decimal point; this does not. */
static int headers_float(char *to, int digits, double value)
{
	int len = snprintf(to, NUMBER_MAX, "%.*g", digits, value);
	char *comma = strchr(to, ',');

	if (comma)
		*comma = '.';
	return len;
}

static int headers_decimal(char *to, amqp_decimal_t d)
{
	char digits[16];
	int len = snprintf(digits, sizeof(digits), "%" PRIu32, d.value);
	int point;

	if (d.decimals == 0)
		return snprintf(to, NUMBER_MAX, "%s", digits);
	if (d.decimals > 20)
		return snprintf(to, NUMBER_MAX, "%se-%u", digits, d.decimals);
	point = len - d.decimals;
	if (point <= 0)
		return snprintf(to, NUMBER_MAX, "0.%.*s%s", -point,
				"00000000000000000000", digits);
	return snprintf(to, NUMBER_MAX, "%.*s.%s", point, digits,
			digits + point);
}

/* A scalar's digits; 0 if it is not a scalar. */
static int headers_scalar(char *to, const amqp_field_value_t *v)
{
	switch (v->kind) {
	case AMQP_FIELD_KIND_VOID:
		return snprintf(to, NUMBER_MAX, "null");
	case AMQP_FIELD_KIND_BOOLEAN:
		return snprintf(to, NUMBER_MAX,
				v->value.boolean ? "true" : "false");
	case AMQP_FIELD_KIND_I8:
		return snprintf(to, NUMBER_MAX, "%d", v->value.i8);
	case AMQP_FIELD_KIND_U8:
		return snprintf(to, NUMBER_MAX, "%u", v->value.u8);
	case AMQP_FIELD_KIND_I16:
		return snprintf(to, NUMBER_MAX, "%d", v->value.i16);
	case AMQP_FIELD_KIND_U16:
		return snprintf(to, NUMBER_MAX, "%u", v->value.u16);
	case AMQP_FIELD_KIND_I32:
		return snprintf(to, NUMBER_MAX, "%" PRId32, v->value.i32);
	case AMQP_FIELD_KIND_U32:
		return snprintf(to, NUMBER_MAX, "%" PRIu32, v->value.u32);
	case AMQP_FIELD_KIND_I64:
		return snprintf(to, NUMBER_MAX, "%" PRId64, v->value.i64);
	case AMQP_FIELD_KIND_U64:
	case AMQP_FIELD_KIND_TIMESTAMP:
		return snprintf(to, NUMBER_MAX, "%" PRIu64, v->value.u64);
	case AMQP_FIELD_KIND_F32:
		return headers_float(to, 9, (double)v->value.f32);
	case AMQP_FIELD_KIND_F64:
		return headers_float(to, 17, v->value.f64);
	case AMQP_FIELD_KIND_DECIMAL:
		return headers_decimal(to, v->value.decimal);
	default:
		return 0;
	}
}

static void json_put_value(json *j, const amqp_field_value_t *v, int depth);

static void json_put_table(json *j, const amqp_table_t *t, int depth)
{
	json_put(j, "{", 1);
	for (int i = 0; i < t->num_entries && !j->cut; i++) {
		if (i > 0)
			json_put(j, ",", 1);
		json_put_string(j, t->entries[i].key);
		json_put(j, ":", 1);
		json_put_value(j, &t->entries[i].value, depth);
	}
	json_put(j, "}", 1);
}

static void json_put_array(json *j, const amqp_array_t *a, int depth)
{
	json_put(j, "[", 1);
	for (int i = 0; i < a->num_entries && !j->cut; i++) {
		if (i > 0)
			json_put(j, ",", 1);
		json_put_value(j, &a->entries[i], depth);
	}
	json_put(j, "]", 1);
}

static void json_put_value(json *j, const amqp_field_value_t *v, int depth)
{
	char number[NUMBER_MAX];
	int len = headers_scalar(number, v);

	WB_ASSERT(depth <= WBI_TABLE_DEPTH_MAX);
	if (len > 0)
		json_put(j, number, (size_t)len);
	else if (v->kind == AMQP_FIELD_KIND_TABLE)
		json_put_table(j, &v->value.table, depth + 1);
	else if (v->kind == AMQP_FIELD_KIND_ARRAY)
		json_put_array(j, &v->value.array, depth + 1);
	else
		json_put_string(j, v->value.bytes);
}

wb_code wbi_field_text(wbi_buffer *out, const amqp_field_value_t *value)
{
	json j = {.out = out, .left = NESTED_MAX};
	char number[NUMBER_MAX];
	int len;

	if (value->kind == AMQP_FIELD_KIND_UTF8 ||
	    value->kind == AMQP_FIELD_KIND_BYTES)
		return wbi_buffer_append(out, value->value.bytes.bytes,
					 value->value.bytes.len);
	len = headers_scalar(number, value);
	if (len > 0)
		return wbi_buffer_append(out, number, (size_t)len);
	json_put_value(&j, value, 1);
	return j.code;
}
