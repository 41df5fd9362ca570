/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pool of random bytes before another source. What is drawn is gone from the
 * pool. The pool belongs to one thread and keeps nothing on disk.
 */
#include "lib/base/randpool.h"

#include "lib/base/assert.h"

static void randpool_fill(void *ctx, void *buf, size_t len)
{
	wbi_randpool *pool = ctx;
	uint8_t *at;

	if (len > sizeof(pool->bytes)) {
		pool->inner->fill(pool->inner->ctx, buf, len);
		return;
	}
	if (len > pool->left) {
		pool->inner->fill(pool->inner->ctx, pool->bytes,
				  sizeof(pool->bytes));
		pool->left = sizeof(pool->bytes);
	}
	pool->left -= len;
	at = pool->bytes + pool->left;
	memcpy(buf, at, len);
	memset(at, 0, len);
}

void wbi_randpool_init(wbi_randpool *pool, const wb_random *inner)
{
	WB_ASSERT(inner != NULL);
	pool->random = (wb_random){randpool_fill, pool};
	pool->inner = inner;
	pool->left = 0;
}
