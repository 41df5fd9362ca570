/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WBI_BACKOFF_H
#define WBI_BACKOFF_H

#include <waybill/base.h>

/* Exponential backoff with full jitter above half: the n-th delay is drawn
 * from [d/2, d], d = min(min_ms * 2^n, max_ms). */
typedef struct wbi_backoff {
	uint32_t min_ms, max_ms;
	uint32_t count; /* failures so far; set to 0 on success */
} wbi_backoff;

/* The next delay in microseconds; counts one failure more. */
int64_t wbi_backoff_next_us(wbi_backoff *backoff, const wb_random *random);

#endif
