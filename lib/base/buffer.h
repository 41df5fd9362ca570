/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A byte buffer with a hard maximum: append at the end, consume at the front.
 * Memory grows by doubling up to `max` and is kept until fini.
 */
#ifndef WBI_BUFFER_H
#define WBI_BUFFER_H

#include <waybill/base.h>

typedef struct wbi_buffer {
	uint8_t *bytes;
	size_t start; /* first unconsumed byte */
	size_t end;   /* one past the last byte */
	size_t capacity;
	size_t max;
} wbi_buffer;

/* `max` is the most unconsumed bytes it will ever hold. Allocates nothing. */
void wbi_buffer_init(wbi_buffer *buffer, size_t max);
void wbi_buffer_fini(wbi_buffer *buffer);

/*
 * Make room for `len` more bytes and return where they go; call
 * wbi_buffer_added() with how many were written. NULL: over `max`, or out of
 * memory (*ret_code, which may be NULL, is WB_EAGAIN or WB_ENOMEM).
 */
uint8_t *wbi_buffer_room(wbi_buffer *buffer, size_t len, wb_code *ret_code);
void wbi_buffer_added(wbi_buffer *buffer, size_t len);

/* WB_OK, WB_EAGAIN (over `max`) or WB_ENOMEM; all or nothing. */
wb_code wbi_buffer_append(wbi_buffer *buffer, const void *bytes, size_t len);

/* Drop `len` bytes at the front; at most wbi_buffer_len(). */
void wbi_buffer_consume(wbi_buffer *buffer, size_t len);
void wbi_buffer_clear(wbi_buffer *buffer);

static inline size_t wbi_buffer_len(const wbi_buffer *buffer)
{
	return buffer->end - buffer->start;
}

static inline const uint8_t *wbi_buffer_data(const wbi_buffer *buffer)
{
	return buffer->bytes + buffer->start;
}

#endif
