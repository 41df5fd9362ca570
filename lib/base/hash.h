/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WBI_HASH_H
#define WBI_HASH_H

#include <stddef.h>
#include <stdint.h>

/* A 64-bit hash for tables in memory, seeded so that a peer cannot choose
 * collisions. Never stored. Any thread. */
uint64_t wbi_hash(uint64_t seed, const void *bytes, size_t len);

#endif
