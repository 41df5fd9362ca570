/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Randomness bought in bulk: a call to getrandom(2) costs as much as the rest
 * of an id, so one call fetches the bytes of a hundred. Bytes are handed out
 * once and wiped. One thread, never across fork(): the child would hand out
 * the same bytes again.
 */
#ifndef WBI_RANDPOOL_H
#define WBI_RANDPOOL_H

#include <waybill/base.h>

enum { WBI_RANDPOOL_BYTES = 1024 };

typedef struct wbi_randpool {
	wb_random random; /* what to hand on; its ctx is the pool */
	const wb_random *inner;
	size_t left;
	uint8_t bytes[WBI_RANDPOOL_BYTES];
} wbi_randpool;

/* `inner` must outlive the pool; the pool may not be moved afterwards. */
void wbi_randpool_init(wbi_randpool *pool, const wb_random *inner);

#endif
