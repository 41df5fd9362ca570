/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * WB_ASSERT checks for our own mistakes, never for input; it stays on in
 * release builds and ends the process, since going on with a broken invariant
 * is how events get lost.
 */
#ifndef WBI_ASSERT_H
#define WBI_ASSERT_H

_Noreturn void wbi_assert_failed(const char *expr, const char *file, int line);

#define WB_ASSERT(expr)                                                       \
	((expr) ? (void)0 : wbi_assert_failed(#expr, __FILE__, __LINE__))

#define WBI_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
