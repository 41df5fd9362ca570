/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bytes of one event in a journal (docs/format.md, "Record"): a fixed part
 * with every length, then strings, headers and data one behind the other.
 *
 * Decoding believes nothing: the lengths must add up to exactly the size that
 * was given, in 64 bits where no sum of them can overflow, and only then is
 * the checksum, which covers everything behind itself, compared. What it
 * returns points into the record and lives as long as it. Pure; any thread.
 */
#include "lib/event/record.h"

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/base/error.h"
#include "lib/event/attribute.h"

enum {
	AT_CRC = 0,
	AT_VERSION = 4,
	AT_FLAGS = 5,
	AT_STRINGS = 6,
	AT_ZERO = 7,
	AT_POSITION = 8,
	AT_TIME = 16,
	AT_SEQUENCE = 24,
	AT_DATA_LEN = 32,
	AT_HEADERS_LEN = 36,
	AT_HEADER_COUNT = 40,
	AT_LENGTHS = 42,
	AT_SUBJECT_LEN = AT_LENGTHS + 2 * 4,
	AT_PAD = AT_LENGTHS + 2 * WBI_ATTRIBUTES,
	HEADER_FIXED = 6 /* u16 name length, u32 value length */
};

_Static_assert(AT_PAD + 2 == WBI_RECORD_FIXED, "docs/format.md says 68");
_Static_assert((int)WBI_RECORD_HEADERS_MAX == (int)WBI_HEADERS_MAX,
	       "what is accepted can be stored");

static size_t headers_size(const wb_event *event)
{
	size_t size = 0;

	WB_ASSERT(event->header_count == 0 || event->headers);
	for (size_t i = 0; i < event->header_count; i++)
		size += HEADER_FIXED + event->headers[i].name.len +
			event->headers[i].value.len;
	return size;
}

size_t wbi_record_size(const wb_event *event)
{
	size_t size = WBI_RECORD_FIXED + event->data.len;

	for (size_t i = 0; i < WBI_ATTRIBUTES; i++)
		size += wbi_attribute_get(event, i).len;
	return size + headers_size(event);
}

static uint8_t *put(uint8_t *p, wb_str bytes)
{
	if (bytes.len > 0)
		memcpy(p, bytes.ptr, bytes.len);
	return p + bytes.len;
}

static uint8_t *put_headers(uint8_t *p, const wb_event *event)
{
	for (size_t i = 0; i < event->header_count; i++) {
		const wb_header *h = &event->headers[i];

		WB_ASSERT(h->name.len <= WBI_HEADER_NAME_MAX);
		WB_ASSERT(h->value.len <= WBI_HEADER_BYTES_MAX);
		wbi_put_le16(p, (uint16_t)h->name.len);
		wbi_put_le32(p + 2, (uint32_t)h->value.len);
		p = put(put(p + HEADER_FIXED, h->name), h->value);
	}
	return p;
}

static bool flags_are_known(uint8_t flags)
{
	return flags <= (WBI_RECORD_STREAM | WBI_RECORD_STUB) &&
	       flags != WBI_RECORD_STUB;
}

void wbi_record_encode(const wb_event *event, uint64_t position, uint8_t *ret,
		       size_t size)
{
	wbi_record_encode_as(event, position, 0, ret, size);
}

void wbi_record_encode_as(const wb_event *event, uint64_t position,
			  uint8_t flags, uint8_t *ret, size_t size)
{
	uint8_t *p = ret + WBI_RECORD_FIXED;
	uint8_t *headers;

	WB_ASSERT(size >= WBI_RECORD_FIXED && position > 0);
	WB_ASSERT(flags_are_known(flags));
	WB_ASSERT(flags == 0 ||
		  (event->sequence > 0 && event->subject.len > 0));
	WB_ASSERT(!(flags & WBI_RECORD_STUB) ||
		  (event->data.len == 0 && event->header_count == 0));
	WB_ASSERT(event->data.len <= WBI_DATA_MAX);
	WB_ASSERT(event->header_count <= WBI_RECORD_HEADERS_MAX);
	ret[AT_VERSION] = WBI_RECORD_VERSION;
	ret[AT_FLAGS] = flags;
	ret[AT_STRINGS] = WBI_ATTRIBUTES;
	ret[AT_ZERO] = 0;
	wbi_put_le64(ret + AT_POSITION, position);
	wbi_put_le64(ret + AT_TIME, (uint64_t)event->time_us);
	wbi_put_le64(ret + AT_SEQUENCE, event->sequence);
	wbi_put_le32(ret + AT_DATA_LEN, (uint32_t)event->data.len);
	wbi_put_le16(ret + AT_HEADER_COUNT, (uint16_t)event->header_count);
	wbi_put_le16(ret + AT_PAD, 0);
	for (size_t i = 0; i < WBI_ATTRIBUTES; i++) {
		wb_str value = wbi_attribute_get(event, i);

		WB_ASSERT(value.len <= wbi_attributes[i].max_bytes);
		WB_ASSERT(value.len <= size - (size_t)(p - ret));
		wbi_put_le16(ret + AT_LENGTHS + 2 * i, (uint16_t)value.len);
		p = put(p, value);
	}
	headers = p;
	p = put_headers(p, event);
	wbi_put_le32(ret + AT_HEADERS_LEN, (uint32_t)(p - headers));
	p = put(p, event->data);
	WB_ASSERT((size_t)(p - ret) == size);
	wbi_put_le32(ret, wbi_crc32c(0, ret + AT_VERSION, size - AT_VERSION));
}

/* Everything that can be wrong with the fixed part, and the checksum. */
static wb_code check_frame(const uint8_t *p, size_t size, wb_error *err)
{
	uint64_t sum = WBI_RECORD_FIXED;
	uint32_t headers, stored, found;

	if (size < WBI_RECORD_FIXED)
		return WBI_FAIL(err, WB_ECORRUPT,
				"record: %zu bytes, fewer than the %d of its "
				"fixed part",
				size, (int)WBI_RECORD_FIXED);
	if (p[AT_VERSION] != WBI_RECORD_VERSION)
		return WBI_FAIL(err, WB_EVERSION,
				"record: version %u, this waybill reads %d "
				"only; use the waybill that wrote it",
				p[AT_VERSION], (int)WBI_RECORD_VERSION);
	stored = wbi_get_le32(p);
	found = wbi_crc32c(0, p + AT_VERSION, size - AT_VERSION);
	if (stored != found)
		return WBI_FAIL(err, WB_ECORRUPT,
				"record: checksum %08x, its bytes give %08x",
				stored, found);
	for (size_t i = 0; i < WBI_ATTRIBUTES; i++)
		sum += wbi_get_le16(p + AT_LENGTHS + 2 * i);
	headers = wbi_get_le32(p + AT_HEADERS_LEN);
	sum += headers;
	sum += wbi_get_le32(p + AT_DATA_LEN);
	if (sum != size)
		return WBI_FAIL(err, WB_ECORRUPT,
				"record: its lengths add up to %llu bytes, it "
				"has %zu",
				(unsigned long long)sum, size);
	if (!flags_are_known(p[AT_FLAGS]) || p[AT_STRINGS] != WBI_ATTRIBUTES ||
	    p[AT_ZERO] != 0 || wbi_get_le16(p + AT_PAD) != 0 ||
	    wbi_get_le64(p + AT_POSITION) == 0)
		return WBI_FAIL(err, WB_ECORRUPT,
				"record: a fixed field has an unknown value");
	if (p[AT_FLAGS] != 0 && (wbi_get_le64(p + AT_SEQUENCE) == 0 ||
				 wbi_get_le16(p + AT_SUBJECT_LEN) == 0))
		return WBI_FAIL(err, WB_ECORRUPT,
				"record: of a stream, without its name or "
				"version");
	if (p[AT_FLAGS] & WBI_RECORD_STUB &&
	    (headers > 0 || wbi_get_le32(p + AT_DATA_LEN) > 0))
		return WBI_FAIL(err, WB_ECORRUPT,
				"record: a stub with headers or data");
	if (wbi_get_le16(p + AT_HEADER_COUNT) > WBI_RECORD_HEADERS_MAX ||
	    headers < (uint32_t)HEADER_FIXED *
			      wbi_get_le16(p + AT_HEADER_COUNT) ||
	    (headers > 0 && wbi_get_le16(p + AT_HEADER_COUNT) == 0))
		return WBI_FAIL(err, WB_ECORRUPT,
				"record: %u headers in %u bytes",
				wbi_get_le16(p + AT_HEADER_COUNT), headers);
	return WB_OK;
}

wb_code wbi_record_decode(const void *bytes, size_t size, wb_event *ret_event,
			  uint64_t *ret_position, wb_error *err)
{
	const uint8_t *p = bytes, *at = p + WBI_RECORD_FIXED;
	wb_code code = check_frame(p, size, err);

	if (code != WB_OK)
		return code;
	for (size_t i = 0; i < WBI_ATTRIBUTES; i++) {
		size_t len = wbi_get_le16(p + AT_LENGTHS + 2 * i);

		*wbi_attribute_of(ret_event, i) = wb_str_n(at, len);
		at += len;
	}
	at += wbi_get_le32(p + AT_HEADERS_LEN);
	ret_event->time_us = (int64_t)wbi_get_le64(p + AT_TIME);
	ret_event->sequence = wbi_get_le64(p + AT_SEQUENCE);
	ret_event->headers = NULL;
	ret_event->header_count = wbi_get_le16(p + AT_HEADER_COUNT);
	ret_event->data = wb_str_n(at, wbi_get_le32(p + AT_DATA_LEN));
	*ret_position = wbi_get_le64(p + AT_POSITION);
	WB_ASSERT(at + ret_event->data.len == p + size);
	return WB_OK;
}

uint8_t wbi_record_flags(wb_str record)
{
	WB_ASSERT(record.len >= WBI_RECORD_FIXED);
	return (uint8_t)record.ptr[AT_FLAGS];
}

wb_code wbi_record_headers(const void *bytes, size_t size, wb_event *event,
			   wb_header *ret, wb_error *err)
{
	const uint8_t *p = bytes;
	size_t left = wbi_get_le32(p + AT_HEADERS_LEN);
	const uint8_t *at = p + size - event->data.len - left;

	WB_ASSERT(event->header_count == wbi_get_le16(p + AT_HEADER_COUNT));
	for (size_t i = 0; i < event->header_count; i++) {
		size_t name, value;

		if (left < HEADER_FIXED)
			goto bad;
		left -= HEADER_FIXED;
		name = wbi_get_le16(at);
		value = wbi_get_le32(at + 2);
		at += HEADER_FIXED;
		if (name > left || value > left - name)
			goto bad;
		ret[i].name = wb_str_n(at, name);
		ret[i].value = wb_str_n(at + name, value);
		at += name + value;
		left -= name + value;
	}
	if (left > 0)
		goto bad;
	event->headers = ret;
	return WB_OK;
bad:
	return WBI_FAIL(err, WB_ECORRUPT,
			"record: its headers do not fill the %u bytes they "
			"should",
			wbi_get_le32(p + AT_HEADERS_LEN));
}
