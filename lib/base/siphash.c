/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SipHash-2-4-128: four words of state, two rounds for each eight bytes, four
 * for each half of the result. Pure; any thread.
 */
#include "lib/base/siphash.h"

#include "lib/base/bytes.h"

typedef struct sip {
	uint64_t v0, v1, v2, v3;
} sip;

static uint64_t sip_rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void sip_rounds(sip *s, int rounds)
{
	while (rounds-- > 0) {
		s->v0 += s->v1;
		s->v2 += s->v3;
		s->v1 = sip_rotate(s->v1, 13) ^ s->v0;
		s->v3 = sip_rotate(s->v3, 16) ^ s->v2;
		s->v0 = sip_rotate(s->v0, 32) + s->v3;
		s->v2 += s->v1;
		s->v3 = sip_rotate(s->v3, 21) ^ s->v0;
		s->v1 = sip_rotate(s->v1, 17) ^ s->v2;
		s->v2 = sip_rotate(s->v2, 32);
	}
}

static void sip_word(sip *s, uint64_t word)
{
	s->v3 ^= word;
	sip_rounds(s, 2);
	s->v0 ^= word;
}

static uint64_t sip_half(sip *s)
{
	sip_rounds(s, 4);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

void wbi_siphash(const uint8_t key[WBI_SIPHASH_KEY], const void *bytes,
		 size_t len, uint8_t ret[WBI_SIPHASH_LEN])
{
	uint64_t k0 = wbi_get_le64(key), k1 = wbi_get_le64(key + 8);
	const uint8_t *at = bytes;
	uint64_t last = (uint64_t)len << 56;
	sip s = {UINT64_C(0x736f6d6570736575) ^ k0,
		 UINT64_C(0x646f72616e646f6d) ^ k1 ^ 0xee,
		 UINT64_C(0x6c7967656e657261) ^ k0,
		 UINT64_C(0x7465646279746573) ^ k1};

	for (; len >= 8; len -= 8, at += 8)
		sip_word(&s, wbi_get_le64(at));
	while (len > 0) {
		len--;
		last |= (uint64_t)at[len] << 8 * len;
	}
	sip_word(&s, last);
	s.v2 ^= 0xee;
	wbi_put_le64(ret, sip_half(&s));
	s.v1 ^= 0xdd;
	wbi_put_le64(ret + 8, sip_half(&s));
}
