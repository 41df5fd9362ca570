/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls of LMDB that fail before they do anything. They are ours, put in by the
 * linker (--wrap), so that what LMDB does inside is not counted. Each fails
 * with what it can fail with, by LMDB's manual and source (0.9.24).
 *
 * As in LMDB a transaction in which a write has failed is spoilt: it can
 * neither be used nor committed any more, nor can the one around it, once it
 * has been committed all the same.
 */
#include <errno.h>
#include <lmdb.h>

#include "lib/base/assert.h"
#include "tests/crash/fail_points.h"

enum { OPEN_MAX = 64 };

/* Transactions that are open; LMDB does not tell of a transaction what kind it
 * is. libc's allocator is no place to keep them, see fail_alloc.c. */
static struct {
	const MDB_txn *txn, *parent;
	bool reads, spoilt;
} open_txns[OPEN_MAX];

#define FAILS(call, codes, ret)                                                \
	fail_now(FAIL_STORE, call, codes, WBI_COUNT(codes), ret)

static const int of_begin[] = {MDB_MAP_RESIZED, EIO, MDB_PANIC, ENOMEM};
static const int of_begin_read[] = {MDB_READERS_FULL, MDB_MAP_RESIZED, EIO,
				    ENOMEM};
static const int of_renew[] = {MDB_READERS_FULL, MDB_MAP_RESIZED, EIO};
static const int of_commit[] = {ENOSPC, EIO, MDB_MAP_FULL};
static const int of_write[] = {MDB_MAP_FULL, MDB_TXN_FULL, MDB_CORRUPTED,
			       ENOSPC, EIO};
static const int of_read[] = {MDB_CORRUPTED, MDB_PAGE_NOTFOUND};
static const int of_table[] = {MDB_DBS_FULL, MDB_CORRUPTED, ENOMEM};
static const int of_memory[] = {ENOMEM};
static const int of_open[] = {EIO,    ENOSPC,      EACCES,
			      EAGAIN, MDB_INVALID, MDB_VERSION_MISMATCH};
static const int of_disk[] = {EIO, ENOSPC};
static const int of_lock[] = {EIO};

/* ---- which transaction -------------------------------------------------- */

static size_t find(const MDB_txn *txn)
{
	size_t i = 0;

	while (i < OPEN_MAX && open_txns[i].txn != txn)
		i++;
	return i;
}

/* Any but NULL is there: its begin came by here. */
static void note(const MDB_txn *txn, const MDB_txn *parent, bool reads)
{
	size_t i = find(NULL);

	WB_ASSERT(i < OPEN_MAX);
	open_txns[i].txn = txn;
	open_txns[i].parent = parent;
	open_txns[i].reads = reads;
	open_txns[i].spoilt = false;
}

static void forget(const MDB_txn *txn)
{
	size_t i = find(txn);

	if (i < OPEN_MAX)
		open_txns[i].txn = NULL;
}

static bool is_spoilt(const MDB_txn *txn)
{
	size_t i = find(txn);

	return i < OPEN_MAX && open_txns[i].spoilt;
}

static void spoil(const MDB_txn *txn)
{
	size_t i = txn ? find(txn) : OPEN_MAX;

	if (i < OPEN_MAX)
		open_txns[i].spoilt = true;
}

static bool fails_reading(const MDB_txn *txn, const char *call, int *ret)
{
	if (!is_spoilt(txn))
		return FAILS(call, of_read, ret);
	*ret = MDB_BAD_TXN;
	return true;
}

static bool fails_writing(const MDB_txn *txn, const char *call, int *ret)
{
	if (is_spoilt(txn)) {
		*ret = MDB_BAD_TXN;
		return true;
	}
	if (!FAILS(call, of_write, ret))
		return false;
	spoil(txn);
	return true;
}

/* ---- transactions ------------------------------------------------------- */

int __real_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags,
			 MDB_txn **ret);
int __wrap_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags,
			 MDB_txn **ret);
int __real_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn);
void __real_mdb_txn_abort(MDB_txn *txn);
void __wrap_mdb_txn_abort(MDB_txn *txn);
int __real_mdb_txn_renew(MDB_txn *txn);
int __wrap_mdb_txn_renew(MDB_txn *txn);

static bool fails_beginning(const MDB_txn *parent, unsigned flags, int *ret)
{
	if (parent && is_spoilt(parent)) {
		*ret = MDB_BAD_TXN;
		return true;
	}
	if (parent)
		return FAILS("mdb_txn_begin (nested)", of_memory, ret);
	if (flags & MDB_RDONLY)
		return FAILS("mdb_txn_begin (read)", of_begin_read, ret);
	return FAILS("mdb_txn_begin (write)", of_begin, ret);
}

int __wrap_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags,
			 MDB_txn **ret)
{
	int rc;

	if (fails_beginning(parent, flags, &rc))
		return rc;
	rc = __real_mdb_txn_begin(env, parent, flags, ret);
	if (rc == 0)
		note(*ret, parent, flags & MDB_RDONLY);
	return rc;
}

int __wrap_mdb_txn_commit(MDB_txn *txn)
{
	size_t i = find(txn);
	const MDB_txn *parent = i < OPEN_MAX ? open_txns[i].parent : NULL;
	bool fails = i < OPEN_MAX && open_txns[i].spoilt;
	int rc = MDB_BAD_TXN;

	if (fails)
		spoil(parent);
	else if (i == OPEN_MAX || !open_txns[i].reads)
		fails = parent ? FAILS("mdb_txn_commit (nested)", of_memory,
				       &rc)
			       : FAILS("mdb_txn_commit", of_commit, &rc);
	forget(txn);
	if (!fails)
		return __real_mdb_txn_commit(txn);
	__real_mdb_txn_abort(txn);
	return rc;
}

void __wrap_mdb_txn_abort(MDB_txn *txn)
{
	forget(txn);
	__real_mdb_txn_abort(txn);
}

int __wrap_mdb_txn_renew(MDB_txn *txn)
{
	int rc;

	if (FAILS("mdb_txn_renew", of_renew, &rc))
		return rc;
	return __real_mdb_txn_renew(txn);
}

/* ---- rows --------------------------------------------------------------- */

int __real_mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data);
int __wrap_mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data);
int __real_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data,
		   unsigned flags);
int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data,
		   unsigned flags);
int __real_mdb_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data);
int __wrap_mdb_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data);
int __real_mdb_stat(MDB_txn *txn, MDB_dbi dbi, MDB_stat *ret);
int __wrap_mdb_stat(MDB_txn *txn, MDB_dbi dbi, MDB_stat *ret);
int __real_mdb_dbi_open(MDB_txn *txn, const char *name, unsigned flags,
			MDB_dbi *ret);
int __wrap_mdb_dbi_open(MDB_txn *txn, const char *name, unsigned flags,
			MDB_dbi *ret);

int __wrap_mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data)
{
	int rc;

	if (fails_reading(txn, "mdb_get", &rc))
		return rc;
	return __real_mdb_get(txn, dbi, key, data);
}

int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data,
		   unsigned flags)
{
	int rc;

	if (fails_writing(txn, "mdb_put", &rc))
		return rc;
	return __real_mdb_put(txn, dbi, key, data, flags);
}

int __wrap_mdb_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data)
{
	int rc;

	if (fails_writing(txn, "mdb_del", &rc))
		return rc;
	return __real_mdb_del(txn, dbi, key, data);
}

int __wrap_mdb_stat(MDB_txn *txn, MDB_dbi dbi, MDB_stat *ret)
{
	int rc;

	if (fails_reading(txn, "mdb_stat", &rc))
		return rc;
	return __real_mdb_stat(txn, dbi, ret);
}

int __wrap_mdb_dbi_open(MDB_txn *txn, const char *name, unsigned flags,
			MDB_dbi *ret)
{
	int rc;

	if (flags & MDB_CREATE) {
		if (fails_writing(txn, "mdb_dbi_open (create)", &rc))
			return rc;
	} else if (FAILS("mdb_dbi_open", of_table, &rc)) {
		return rc;
	}
	return __real_mdb_dbi_open(txn, name, flags, ret);
}

/* ---- cursors ------------------------------------------------------------ */

int __real_mdb_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **ret);
int __wrap_mdb_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **ret);
int __real_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
			  MDB_cursor_op op);
int __wrap_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
			  MDB_cursor_op op);
int __real_mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
			  unsigned flags);
int __wrap_mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
			  unsigned flags);
int __real_mdb_cursor_del(MDB_cursor *cursor, unsigned flags);
int __wrap_mdb_cursor_del(MDB_cursor *cursor, unsigned flags);

int __wrap_mdb_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **ret)
{
	int rc;

	if (is_spoilt(txn))
		return MDB_BAD_TXN;
	if (FAILS("mdb_cursor_open", of_memory, &rc))
		return rc;
	return __real_mdb_cursor_open(txn, dbi, ret);
}

int __wrap_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
			  MDB_cursor_op op)
{
	int rc;

	if (fails_reading(mdb_cursor_txn(cursor), "mdb_cursor_get", &rc))
		return rc;
	return __real_mdb_cursor_get(cursor, key, data, op);
}

int __wrap_mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
			  unsigned flags)
{
	int rc;

	if (fails_writing(mdb_cursor_txn(cursor), "mdb_cursor_put", &rc))
		return rc;
	return __real_mdb_cursor_put(cursor, key, data, flags);
}

int __wrap_mdb_cursor_del(MDB_cursor *cursor, unsigned flags)
{
	int rc;

	if (fails_writing(mdb_cursor_txn(cursor), "mdb_cursor_del", &rc))
		return rc;
	return __real_mdb_cursor_del(cursor, flags);
}

/* ---- environments ------------------------------------------------------- */

int __real_mdb_env_create(MDB_env **ret);
int __wrap_mdb_env_create(MDB_env **ret);
int __real_mdb_env_open(MDB_env *env, const char *path, unsigned flags,
			mdb_mode_t mode);
int __wrap_mdb_env_open(MDB_env *env, const char *path, unsigned flags,
			mdb_mode_t mode);
int __real_mdb_env_sync(MDB_env *env, int force);
int __wrap_mdb_env_sync(MDB_env *env, int force);
int __real_mdb_env_copy2(MDB_env *env, const char *path, unsigned flags);
int __wrap_mdb_env_copy2(MDB_env *env, const char *path, unsigned flags);
int __real_mdb_reader_check(MDB_env *env, int *ret);
int __wrap_mdb_reader_check(MDB_env *env, int *ret);

int __wrap_mdb_env_create(MDB_env **ret)
{
	int rc;

	if (FAILS("mdb_env_create", of_memory, &rc))
		return rc;
	return __real_mdb_env_create(ret);
}

int __wrap_mdb_env_open(MDB_env *env, const char *path, unsigned flags,
			mdb_mode_t mode)
{
	int rc;

	if (FAILS("mdb_env_open", of_open, &rc))
		return rc;
	return __real_mdb_env_open(env, path, flags, mode);
}

int __wrap_mdb_env_sync(MDB_env *env, int force)
{
	int rc;

	if (FAILS("mdb_env_sync", of_disk, &rc))
		return rc;
	return __real_mdb_env_sync(env, force);
}

int __wrap_mdb_env_copy2(MDB_env *env, const char *path, unsigned flags)
{
	int rc;

	if (FAILS("mdb_env_copy2", of_disk, &rc))
		return rc;
	return __real_mdb_env_copy2(env, path, flags);
}

int __wrap_mdb_reader_check(MDB_env *env, int *ret)
{
	int rc;

	if (FAILS("mdb_reader_check", of_lock, &rc))
		return rc;
	return __real_mdb_reader_check(env, ret);
}
