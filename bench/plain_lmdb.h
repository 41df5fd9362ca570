/* SPDX-License-Identifier: BSD-2-Clause */
/* The yardstick of an append: LMDB alone, writing the same bytes. */
#ifndef BENCH_PLAIN_LMDB_H
#define BENCH_PLAIN_LMDB_H

#include <lmdb.h>
#include <stddef.h>
#include <stdint.h>

typedef struct plain_lmdb {
	MDB_env *env;
	MDB_dbi dbi;
	uint64_t position;
} plain_lmdb;

/* A fresh environment in the new directory `dir`, synced as ours is. */
void plain_lmdb_open(plain_lmdb *plain, const char *dir, size_t map_bytes);
void plain_lmdb_close(plain_lmdb *plain);

/* One transaction: `count` records of `size` bytes, back to back in `records`,
 * each put with MDB_APPEND. Returns when it is durable. */
void plain_lmdb_commit(plain_lmdb *plain, const uint8_t *records, size_t size,
		       size_t count);

#endif
