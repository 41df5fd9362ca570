/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One contiguous block. Consumed bytes at the front are reclaimed by moving
 * the rest down before the block would have to grow, so a buffer that is
 * drained regularly settles at one size.
 */
#include "lib/base/buffer.h"

#include <stdlib.h>

#include "lib/base/assert.h"

enum { BUFFER_FIRST = 4096 };

void wbi_buffer_init(wbi_buffer *buffer, size_t max)
{
	*buffer = (wbi_buffer){.max = max};
}

void wbi_buffer_fini(wbi_buffer *buffer)
{
	free(buffer->bytes);
	wbi_buffer_init(buffer, buffer->max);
}

static bool buffer_grow(wbi_buffer *buffer, size_t need)
{
	size_t capacity = buffer->capacity ? buffer->capacity : BUFFER_FIRST;
	uint8_t *bytes;

	while (capacity < need)
		capacity *= 2;
	bytes = realloc(buffer->bytes, capacity);
	if (!bytes)
		return false;
	buffer->bytes = bytes;
	buffer->capacity = capacity;
	return true;
}

uint8_t *wbi_buffer_room(wbi_buffer *buffer, size_t len, wb_code *ret_code)
{
	size_t held = wbi_buffer_len(buffer);
	wb_code code = WB_OK;

	if (len > buffer->max || held > buffer->max - len)
		code = WB_EAGAIN;
	else if (buffer->capacity - buffer->end < len) {
		if (buffer->start > 0) {
			memmove(buffer->bytes, buffer->bytes + buffer->start,
				held);
			buffer->start = 0;
			buffer->end = held;
		}
		if (buffer->capacity - held < len &&
		    !buffer_grow(buffer, held + len))
			code = WB_ENOMEM;
	}
	if (ret_code)
		*ret_code = code;
	return code == WB_OK ? buffer->bytes + buffer->end : NULL;
}

void wbi_buffer_added(wbi_buffer *buffer, size_t len)
{
	WB_ASSERT(len <= buffer->capacity - buffer->end);
	buffer->end += len;
}

wb_code wbi_buffer_append(wbi_buffer *buffer, const void *bytes, size_t len)
{
	wb_code code = WB_OK;
	uint8_t *to;

	if (len == 0)
		return WB_OK;
	to = wbi_buffer_room(buffer, len, &code);
	if (!to)
		return code;
	memcpy(to, bytes, len);
	wbi_buffer_added(buffer, len);
	return WB_OK;
}

void wbi_buffer_consume(wbi_buffer *buffer, size_t len)
{
	WB_ASSERT(len <= wbi_buffer_len(buffer));
	buffer->start += len;
	if (buffer->start == buffer->end)
		buffer->start = buffer->end = 0;
}

void wbi_buffer_clear(wbi_buffer *buffer)
{
	buffer->start = buffer->end = 0;
}
