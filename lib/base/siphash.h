/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WBI_SIPHASH_H
#define WBI_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

enum { WBI_SIPHASH_KEY = 16, WBI_SIPHASH_LEN = 16 };

/* SipHash-2-4 with 128 bits of result (Aumasson and Bernstein, 2012): short
 * texts to numbers that may be stored, and that nobody without the key can
 * make collide. Any thread. */
void wbi_siphash(const uint8_t key[WBI_SIPHASH_KEY], const void *bytes,
		 size_t len, uint8_t ret[WBI_SIPHASH_LEN]);

#endif
