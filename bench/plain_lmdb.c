/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The append's yardstick: mdb_put with MDB_APPEND under an integer key, in the
 * environment flags that waybill uses itself. One environment per process and
 * directory; the caller keeps the records.
 */
#include "bench/plain_lmdb.h"

#include <sys/stat.h>

#include "bench/common.h"

static void lmdb_must(int rc, const char *what)
{
	if (rc != 0)
		bench_die(what, mdb_strerror(rc));
}

void plain_lmdb_open(plain_lmdb *plain, const char *dir, size_t map_bytes)
{
	MDB_txn *txn;

	*plain = (plain_lmdb){0};
	if (mkdir(dir, 0700))
		bench_die(dir, "cannot make it");
	lmdb_must(mdb_env_create(&plain->env), "mdb_env_create");
	lmdb_must(mdb_env_set_mapsize(plain->env, map_bytes), "map size");
	lmdb_must(mdb_env_set_maxdbs(plain->env, 4), "tables");
	lmdb_must(mdb_env_open(plain->env, dir, MDB_NOTLS, 0600), dir);
	lmdb_must(mdb_txn_begin(plain->env, NULL, 0, &txn), "begin");
	lmdb_must(mdb_dbi_open(txn, "journal", MDB_CREATE | MDB_INTEGERKEY,
			       &plain->dbi),
		  "table");
	lmdb_must(mdb_txn_commit(txn), "commit");
}

void plain_lmdb_close(plain_lmdb *plain)
{
	mdb_env_close(plain->env);
}

void plain_lmdb_commit(plain_lmdb *plain, const uint8_t *records, size_t size,
		       size_t count)
{
	MDB_txn *txn;

	lmdb_must(mdb_txn_begin(plain->env, NULL, 0, &txn), "begin");
	for (size_t i = 0; i < count; i++) {
		MDB_val key = {sizeof(plain->position), &plain->position};
		MDB_val value = {size, (void *)(records + i * size)};

		plain->position++;
		lmdb_must(mdb_put(txn, plain->dbi, &key, &value, MDB_APPEND),
			  "put");
	}
	lmdb_must(mdb_txn_commit(txn), "commit");
}
