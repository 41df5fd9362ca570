/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Allocations that fail. malloc() and its like are this program's own, so LMDB,
 * jansson, rabbitmq-c and libc itself run out of memory in the same way. A
 * sanitizer would not stand that: there this is empty.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/crash/fail_points.h"

/* libc knows of no other place to keep it. */
static long live;

long fail_live_blocks(void)
{
	return live;
}

#ifndef FAIL_WITHOUT_ALLOC

/* What the functions below stand before. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *block);

static bool fails(const char *call)
{
	static const int codes[] = {ENOMEM};

	return fail_now(FAIL_ALLOC, call, codes, 1, &errno);
}

static void *count(void *block)
{
	live += fail_is_counting() && block;
	return block;
}

#pragma GCC visibility push(default)

void *malloc(size_t size)
{
	return fails("malloc") ? NULL : count(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
	return fails("calloc") ? NULL : count(__libc_calloc(n, size));
}

void *realloc(void *block, size_t size)
{
	void *moved;

	if (fails("realloc"))
		return NULL;
	moved = __libc_realloc(block, size);
	live += fail_is_counting() && moved && !block;
	return moved;
}

int posix_memalign(void **ret, size_t align, size_t size)
{
	void *block = fails("posix_memalign")
			      ? NULL
			      : count(__libc_memalign(align, size));

	if (!block)
		return ENOMEM;
	*ret = block;
	return 0;
}

void free(void *block)
{
	live -= fail_is_counting() && block;
	__libc_free(block);
}

#pragma GCC visibility pop

#endif
