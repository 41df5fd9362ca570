/* SPDX-License-Identifier: BSD-2-Clause */
/* Integers in bytes: little-endian for our files, big-endian for the wire and
 * for keys that must sort by number. No alignment is needed. */
#ifndef WBI_BYTES_H
#define WBI_BYTES_H

#include <stdint.h>

static inline void wbi_put_le16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void wbi_put_le32(uint8_t *p, uint32_t v)
{
	wbi_put_le16(p, (uint16_t)v);
	wbi_put_le16(p + 2, (uint16_t)(v >> 16));
}

static inline void wbi_put_le64(uint8_t *p, uint64_t v)
{
	wbi_put_le32(p, (uint32_t)v);
	wbi_put_le32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t wbi_get_le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t wbi_get_le32(const uint8_t *p)
{
	return (uint32_t)wbi_get_le16(p) | (uint32_t)wbi_get_le16(p + 2) << 16;
}

static inline uint64_t wbi_get_le64(const uint8_t *p)
{
	return (uint64_t)wbi_get_le32(p) | (uint64_t)wbi_get_le32(p + 4) << 32;
}

static inline void wbi_put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void wbi_put_be32(uint8_t *p, uint32_t v)
{
	wbi_put_be16(p, (uint16_t)(v >> 16));
	wbi_put_be16(p + 2, (uint16_t)v);
}

static inline void wbi_put_be64(uint8_t *p, uint64_t v)
{
	wbi_put_be32(p, (uint32_t)(v >> 32));
	wbi_put_be32(p + 4, (uint32_t)v);
}

static inline uint16_t wbi_get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t wbi_get_be32(const uint8_t *p)
{
	return (uint32_t)wbi_get_be16(p) << 16 | wbi_get_be16(p + 2);
}

static inline uint64_t wbi_get_be64(const uint8_t *p)
{
	return (uint64_t)wbi_get_be32(p) << 32 | wbi_get_be32(p + 4);
}

#endif
