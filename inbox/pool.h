/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A few threads that run what they are given: the external calls of handlers.
 * They know nothing of stores and rows.
 */
#ifndef WBI_POOL_H
#define WBI_POOL_H

#include <waybill/base.h>

enum { WBI_POOL_MAX = 64 };

typedef struct wbi_pool wbi_pool;

/* Embedded in what is to be done; owned by whoever gives it. */
typedef struct wbi_task {
	/* `slot` is the number of the thread, from 1. */
	void (*run)(struct wbi_task *task, unsigned slot);
	struct wbi_task *next;
} wbi_task;

/* 1..WBI_POOL_MAX threads; all signals but
 * their own faults are blocked in them. WB_ENOMEM,
 * WB_EAGAIN (no more threads), WB_EIO. */
wb_code wbi_pool_open(unsigned threads, wbi_pool **ret, wb_error *err);
/* Waits for what runs; what no thread has begun is dropped, unrun. NULL
 * allowed. */
void wbi_pool_close(wbi_pool *pool);

/* At most as many at a time as there are threads, by the caller's count. */
void wbi_pool_give(wbi_pool *pool, wbi_task *task);
/* One that has been run, in the order of their ends; NULL: none now. */
wbi_task *wbi_pool_take(wbi_pool *pool);
/* Readable while there is one to take. */
int wbi_pool_fd(const wbi_pool *pool);

#endif
