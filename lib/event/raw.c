/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A message as bytes (docs/format.md, "Message"): a checksum, a version, what
 * has a fixed size, then strings behind their lengths. Reading believes no
 * length, not even under a right checksum. Pure; any thread; nothing is
 * allocated, so what is decoded lives as long as its bytes.
 */
#include "lib/event/raw.h"

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/base/error.h"

enum {
	RAW_VERSION = 1,
	RAW_PERSISTENT = 1,
	AT_CRC = 0,
	AT_VERSION = 4,
	AT_FLAGS = 5,
	AT_HEADERS = 6,
	AT_TIMESTAMP = 10,
	RAW_FIXED = 18,
	RAW_STRINGS = 9
};

/* The strings of a message in the order of its bytes. */
static wb_str *raw_string(wb_message *m, size_t i)
{
	wb_str *const strings[RAW_STRINGS] = {
		&m->exchange,       &m->routing_key, &m->message_id,
		&m->type,           &m->app_id,      &m->content_type,
		&m->correlation_id, &m->reply_to,    &m->body};

	return strings[i];
}

size_t wbi_raw_size(const wb_message *message)
{
	wb_message m = *message;
	size_t size = RAW_FIXED;

	for (size_t i = 0; i < RAW_STRINGS; i++)
		size += 4 + raw_string(&m, i)->len;
	for (size_t i = 0; i < m.header_count; i++)
		size += 8 + m.headers[i].name.len + m.headers[i].value.len;
	return size;
}

static uint8_t *raw_put(uint8_t *p, wb_str s)
{
	WB_ASSERT(s.len <= UINT32_MAX);
	wbi_put_le32(p, (uint32_t)s.len);
	if (s.len > 0)
		memcpy(p + 4, s.ptr, s.len);
	return p + 4 + s.len;
}

void wbi_raw_encode(const wb_message *message, uint8_t *ret, size_t size)
{
	wb_message m = *message;
	uint8_t *p = ret + RAW_FIXED;

	WB_ASSERT(size == wbi_raw_size(message));
	WB_ASSERT(m.header_count <= UINT32_MAX);
	ret[AT_VERSION] = RAW_VERSION;
	ret[AT_FLAGS] = m.persistent ? RAW_PERSISTENT : 0;
	wbi_put_le32(ret + AT_HEADERS, (uint32_t)m.header_count);
	wbi_put_le64(ret + AT_TIMESTAMP, (uint64_t)m.timestamp_s);
	for (size_t i = 0; i < RAW_STRINGS; i++)
		p = raw_put(p, *raw_string(&m, i));
	for (size_t i = 0; i < m.header_count; i++)
		p = raw_put(raw_put(p, m.headers[i].name), m.headers[i].value);
	WB_ASSERT(p == ret + size);
	wbi_put_le32(ret + AT_CRC,
		     wbi_crc32c(0, ret + AT_VERSION, size - AT_VERSION));
}

static wb_code raw_check(wb_str bytes, wb_error *err)
{
	const uint8_t *p = (const uint8_t *)bytes.ptr;

	if (bytes.len < RAW_FIXED)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a message: %zu bytes are too few", bytes.len);
	if (wbi_get_le32(p + AT_CRC) !=
	    wbi_crc32c(0, p + AT_VERSION, bytes.len - AT_VERSION))
		return WBI_FAIL(err, WB_ECORRUPT,
				"a message: the checksum is wrong");
	if (p[AT_VERSION] != RAW_VERSION)
		return WBI_FAIL(err, WB_EVERSION,
				"a message: version %u, this waybill reads %d "
				"only; use the waybill that wrote it",
				p[AT_VERSION], (int)RAW_VERSION);
	if (p[AT_FLAGS] & ~RAW_PERSISTENT)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a message: flags %02x, of which this waybill "
				"knows %02x",
				p[AT_FLAGS], (unsigned)RAW_PERSISTENT);
	return WB_OK;
}

/* False: there is no whole string at *at. */
static bool raw_get(const uint8_t **at, const uint8_t *end, wb_str *ret)
{
	size_t left = (size_t)(end - *at), len;

	if (left < 4)
		return false;
	len = wbi_get_le32(*at);
	if (len > left - 4)
		return false;
	*ret = wb_str_n(*at + 4, len);
	*at += 4 + len;
	return true;
}

wb_code wbi_raw_decode(wb_str bytes, wb_header *headers, size_t max,
		       wb_message *ret, wb_error *err)
{
	const uint8_t *p = (const uint8_t *)bytes.ptr, *end = p + bytes.len;
	const uint8_t *at = p + RAW_FIXED;
	wb_message m = {.headers = headers};
	bool whole = true;
	wb_code code = raw_check(bytes, err);

	if (code != WB_OK)
		return code;
	m.header_count = wbi_get_le32(p + AT_HEADERS);
	if (m.header_count > max)
		return WBI_FAIL(err, WB_ELIMIT,
				"a message: %zu headers, over the limit of "
				"%zu",
				m.header_count, max);
	m.persistent = p[AT_FLAGS] & RAW_PERSISTENT;
	m.timestamp_s = (int64_t)wbi_get_le64(p + AT_TIMESTAMP);
	for (size_t i = 0; whole && i < RAW_STRINGS; i++)
		whole = raw_get(&at, end, raw_string(&m, i));
	for (size_t i = 0; whole && i < m.header_count; i++)
		whole = raw_get(&at, end, &headers[i].name) &&
			raw_get(&at, end, &headers[i].value);
	if (!whole || at != end)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a message: its strings do not fill it");
	*ret = m;
	return WB_OK;
}
