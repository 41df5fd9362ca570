/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sealed rows (row.h). Pure: bytes in, bytes out, any thread; nothing but a
 * large row's room is allocated.
 * Reading trusts nothing, not even under a right checksum: a length past the
 * end makes the row torn and every further field zero.
 */
#include "lib/store/row.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/base/error.h"

enum { ROW_HEAD = 2, ROW_CRC = 4 };

void wbi_row_begin(wbi_row_out *row, uint8_t *bytes, size_t size,
		   enum wbi_row_kind kind, uint8_t version)
{
	WB_ASSERT(size >= WBI_ROW_EXTRA);
	row->start = bytes;
	row->at = bytes;
	row->end = bytes + size;
	wbi_row_put_u8(row, (uint8_t)kind);
	wbi_row_put_u8(row, version);
}

static uint8_t *row_take(wbi_row_out *row, size_t len)
{
	uint8_t *at = row->at;

	WB_ASSERT(len <= (size_t)(row->end - at));
	row->at += len;
	return at;
}

void wbi_row_put_u8(wbi_row_out *row, uint8_t v)
{
	*row_take(row, 1) = v;
}

void wbi_row_put_u16(wbi_row_out *row, uint16_t v)
{
	wbi_put_le16(row_take(row, 2), v);
}

void wbi_row_put_u32(wbi_row_out *row, uint32_t v)
{
	wbi_put_le32(row_take(row, 4), v);
}

void wbi_row_put_u64(wbi_row_out *row, uint64_t v)
{
	wbi_put_le64(row_take(row, 8), v);
}

void wbi_row_put_str(wbi_row_out *row, wb_str s)
{
	WB_ASSERT(s.len <= UINT32_MAX);
	wbi_row_put_u32(row, (uint32_t)s.len);
	if (s.len > 0)
		memcpy(row_take(row, s.len), s.ptr, s.len);
}

static uint32_t row_checksum(wb_str key, const uint8_t *bytes, size_t len)
{
	uint32_t crc = key.len > 0 ? wbi_crc32c(0, key.ptr, key.len) : 0;

	return wbi_crc32c(crc, bytes, len);
}

void wbi_row_seal(wbi_row_out *row, wb_str key)
{
	size_t len = (size_t)(row->at - row->start);
	uint32_t crc = row_checksum(key, row->start, len);

	wbi_row_put_u32(row, crc);
	WB_ASSERT(row->at == row->end);
}

wb_code wbi_row_room_init(wbi_row_room *room, size_t size, wb_error *err)
{
	room->size = size;
	room->bytes =
		size <= sizeof(room->inside) ? room->inside : malloc(size);
	if (!room->bytes)
		return WBI_FAIL(err, WB_ENOMEM, "a row of %zu bytes", size);
	return WB_OK;
}

void wbi_row_room_fini(wbi_row_room *room)
{
	if (room->bytes != room->inside)
		free(room->bytes);
}

wb_code wbi_row_open(wbi_row_in *row, wb_str key, wb_str bytes,
		     enum wbi_row_kind kind, uint8_t version, const char *what,
		     wb_error *err)
{
	const uint8_t *start = (const uint8_t *)bytes.ptr;
	size_t len;

	if (bytes.len < WBI_ROW_EXTRA)
		return WBI_FAIL(err, WB_ECORRUPT,
				"%s: a row of %zu bytes is too short", what,
				bytes.len);
	len = bytes.len - ROW_CRC;
	if (wbi_get_le32(start + len) != row_checksum(key, start, len))
		return WBI_FAIL(err, WB_ECORRUPT, "%s: the checksum is wrong",
				what);
	if (start[0] != kind)
		return WBI_FAIL(err, WB_ECORRUPT,
				"%s: a row of kind %u where %u belongs", what,
				start[0], (unsigned)kind);
	if (start[1] > version)
		return WBI_FAIL(err, WB_EVERSION,
				"%s: written in version %u by a newer waybill, "
				"this one reads up to %u: install the newer",
				what, start[1], version);
	row->at = start + ROW_HEAD;
	row->end = start + len;
	row->what = what;
	row->torn = false;
	return WB_OK;
}

static const uint8_t *row_read(wbi_row_in *row, size_t len)
{
	const uint8_t *at = row->at;

	if (row->torn || len > (size_t)(row->end - at)) {
		row->torn = true;
		return NULL;
	}
	row->at += len;
	return at;
}

uint8_t wbi_row_get_u8(wbi_row_in *row)
{
	const uint8_t *p = row_read(row, 1);

	return p ? *p : 0;
}

uint16_t wbi_row_get_u16(wbi_row_in *row)
{
	const uint8_t *p = row_read(row, 2);

	return p ? wbi_get_le16(p) : 0;
}

uint32_t wbi_row_get_u32(wbi_row_in *row)
{
	const uint8_t *p = row_read(row, 4);

	return p ? wbi_get_le32(p) : 0;
}

uint64_t wbi_row_get_u64(wbi_row_in *row)
{
	const uint8_t *p = row_read(row, 8);

	return p ? wbi_get_le64(p) : 0;
}

wb_str wbi_row_get_str(wbi_row_in *row)
{
	size_t len = wbi_row_get_u32(row);
	const uint8_t *p = row_read(row, len);

	return p ? wb_str_n(p, len) : WB_STR_NULL;
}

void wbi_row_get_text(wbi_row_in *row, char *ret, size_t size)
{
	wb_str s = wbi_row_get_str(row);

	WB_ASSERT(size > 0);
	if (s.len >= size || (s.len > 0 && memchr(s.ptr, 0, s.len))) {
		row->torn = true;
		s.len = 0;
	}
	if (s.len > 0)
		memcpy(ret, s.ptr, s.len);
	ret[s.len] = '\0';
}

wb_code wbi_row_done(const wbi_row_in *row, wb_error *err)
{
	if (row->torn || row->at != row->end)
		return WBI_FAIL(err, WB_ECORRUPT,
				"%s: a field reaches past its row", row->what);
	return WB_OK;
}
