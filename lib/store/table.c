/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LMDB behind a wall. Thin on purpose: one LMDB call per function, its codes
 * mapped here and nowhere else. Nothing is kept between calls, so a crash at
 * any point leaves what LMDB leaves: the last committed transaction.
 *
 * A transaction belongs to the thread that uses it; an environment to all.
 * MDB_CURRENT and duplicate keys are not used (0.9.24 damages pages there).
 */
#include "lib/store/table.h"

#include <errno.h>
#include <stdio.h>
#include <sys/statvfs.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"

enum { TABLE_DISK_FULL = 1 << 20 /* less than this is left */ };

/* MDB_INTEGERKEY takes keys of size_t: positions are 64 bits everywhere. */
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "64-bit platforms only");

wb_code wbi_lmdb_code(int rc)
{
	if (rc > 0)
		return wbi_code_from_errno(rc);
	switch (rc) {
	case MDB_SUCCESS:
		return WB_OK;
	case MDB_KEYEXIST:
		return WB_EEXISTS;
	case MDB_NOTFOUND:
		return WB_ENOTFOUND;
	case MDB_MAP_FULL:
		return WB_EMAPFULL;
	case MDB_VERSION_MISMATCH:
		return WB_EVERSION;
	case MDB_INVALID:
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INCOMPATIBLE:
		return WB_ECORRUPT;
	case MDB_READERS_FULL:
	case MDB_MAP_RESIZED:
		return WB_EAGAIN;
	case MDB_DBS_FULL:
	case MDB_BAD_VALSIZE:
		return WB_EINVAL;
	case MDB_TXN_FULL: /* no WB_ELIMIT: the transaction is lost */
	case MDB_BAD_TXN:
	case MDB_BAD_DBI:
	case MDB_BAD_RSLOT:
		return WB_ESTATE;
	default:
		return WB_EIO; /* MDB_PANIC among them */
	}
}

/* What to do about the codes that have one cure. */
static const char *table_cure(int rc)
{
	switch (rc) {
	case MDB_PANIC:
	case EIO:
		return "; close the store and run waybill fsck";
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
		return "; run waybill fsck";
	case MDB_MAP_FULL:
		return "; nothing was written, enlarge the map or prune";
	case MDB_MAP_RESIZED:
		return "; another process enlarged the map: open the store "
		       "again";
	case MDB_READERS_FULL:
		return "; raise max_readers, or look for readers that hang";
	case MDB_DBS_FULL:
		return "; raise mdb_env_set_maxdbs() or max_dbs";
	case MDB_TXN_FULL:
		return "; abort, and do less in one transaction";
	case MDB_BAD_TXN:
		return "; abort the transaction";
	default:
		return "";
	}
}

bool wbi_lmdb_is_resized(int foreign)
{
	return foreign == MDB_MAP_RESIZED;
}

wb_code wbi_lmdb_fail(wb_error *err, int rc, const char *where,
		      const char *format, ...)
{
	char what[WB_ERROR_TEXT_MAX];
	va_list args;

	if (!err || err->code != WB_OK || rc == MDB_SUCCESS)
		return wbi_lmdb_code(rc);
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	return wb_error_set(err, wbi_lmdb_code(rc), rc, where, "%s: %s%s", what,
			    mdb_strerror(rc), table_cure(rc));
}

/* Absence is an answer: no text for it. */
static wb_code table_result(int rc, const char *where, wb_error *err)
{
	if (rc == MDB_SUCCESS)
		return WB_OK;
	if (rc == MDB_NOTFOUND)
		return WB_ENOTFOUND;
	return wbi_lmdb_fail(err, rc, where, "store");
}

static MDB_val table_val(wb_str s)
{
	MDB_val val = {s.len, (void *)(uintptr_t)s.ptr};

	return val;
}

static MDB_val table_val_at(const uint64_t *position)
{
	MDB_val val = {sizeof(*position), (void *)(uintptr_t)position};

	return val;
}

wb_code wbi_table_open(MDB_txn *txn, const char *name, enum wbi_table_kind kind,
		       bool create, wbi_table *ret, wb_error *err)
{
	unsigned want = kind == WBI_TABLE_POSITION ? MDB_INTEGERKEY : 0;
	unsigned have = 0;
	MDB_dbi dbi;
	int rc;

	rc = mdb_dbi_open(txn, name, want | (create ? MDB_CREATE : 0), &dbi);
	if (rc == MDB_NOTFOUND)
		return WBI_FAIL(err, WB_ENOTFOUND, "no table \"%s\"", name);
	if (rc != MDB_SUCCESS)
		return wbi_lmdb_fail(err, rc, __func__, "table \"%s\"", name);
	rc = mdb_dbi_flags(txn, dbi, &have);
	if (rc != MDB_SUCCESS)
		return wbi_lmdb_fail(err, rc, __func__, "table \"%s\"", name);
	if (have != want)
		return WBI_FAIL(err, WB_ECORRUPT,
				"table \"%s\" has flags 0x%x, not 0x%x: it is "
				"not waybill's, or damaged",
				name, have, want);
	*ret = dbi;
	return WB_OK;
}

wb_code wbi_txn_begin(MDB_env *env, bool write, MDB_txn **ret, wb_error *err)
{
	int rc = mdb_txn_begin(env, NULL, write ? 0 : MDB_RDONLY, ret);

	return wbi_lmdb_fail(err, rc, __func__, "begin a %s transaction",
			     write ? "write" : "read");
}

/*
 * LMDB 0.9.24 calls a short write EIO, and a short write is what the last free
 * blocks of a disk give. So look whether it is full. (Where the meta page could
 * not be written either, the next transaction says MDB_PANIC.)
 */
static int table_commit_error(MDB_env *env, int rc)
{
	struct statvfs fs;
	mdb_filehandle_t fd;

	if (rc != EIO || mdb_env_get_fd(env, &fd) != MDB_SUCCESS ||
	    fstatvfs(fd, &fs))
		return rc;
	return (uint64_t)fs.f_bavail * fs.f_frsize < TABLE_DISK_FULL ? ENOSPC
								     : rc;
}

wb_code wbi_txn_commit(MDB_txn *txn, wb_error *err)
{
	MDB_env *env = mdb_txn_env(txn);
	int rc = table_commit_error(env, mdb_txn_commit(txn));

	return wbi_lmdb_fail(err, rc, __func__, "commit");
}

void wbi_txn_abort(MDB_txn *txn)
{
	if (txn)
		mdb_txn_abort(txn);
}

wb_code wbi_txn_nest(MDB_txn *parent, MDB_txn **ret, wb_error *err)
{
	int rc = mdb_txn_begin(mdb_txn_env(parent), parent, 0, ret);

	return wbi_lmdb_fail(err, rc, __func__, "begin a nested transaction");
}

bool wbi_txn_is_sound(MDB_txn *txn, wbi_table table)
{
	MDB_stat stat;

	/* LMDB tells of the flag through the calls that it makes fail. */
	return mdb_stat(txn, table, &stat) == MDB_SUCCESS;
}

void wbi_txn_reset(MDB_txn *txn)
{
	mdb_txn_reset(txn);
}

wb_code wbi_txn_renew(MDB_txn *txn, wb_error *err)
{
	return wbi_lmdb_fail(err, mdb_txn_renew(txn), __func__,
			     "begin a read transaction");
}

bool wbi_txn_is_of(MDB_txn *txn, MDB_env *env)
{
	return mdb_txn_env(txn) == env;
}

uint64_t wbi_env_last_txn(MDB_env *env)
{
	MDB_envinfo info;

	WB_ASSERT(mdb_env_info(env, &info) == MDB_SUCCESS);
	return info.me_last_txnid;
}

uint64_t wbi_txn_id(MDB_txn *txn)
{
	return mdb_txn_id(txn);
}

static wb_code table_get(MDB_txn *txn, wbi_table table, MDB_val key,
			 wb_str *ret, wb_error *err)
{
	MDB_val value;
	wb_code code;

	code = table_result(mdb_get(txn, table, &key, &value), __func__, err);
	if (code == WB_OK)
		*ret = wb_str_n(value.mv_data, value.mv_size);
	return code;
}

wb_code wbi_get(MDB_txn *txn, wbi_table table, wb_str key, wb_str *ret,
		wb_error *err)
{
	return table_get(txn, table, table_val(key), ret, err);
}

wb_code wbi_get_at(MDB_txn *txn, wbi_table table, uint64_t position,
		   wb_str *ret, wb_error *err)
{
	return table_get(txn, table, table_val_at(&position), ret, err);
}

wb_code wbi_put(MDB_txn *txn, wbi_table table, wb_str key, wb_str value,
		wb_error *err)
{
	MDB_val k = table_val(key), v = table_val(value);

	return wbi_lmdb_fail(err, mdb_put(txn, table, &k, &v, 0), __func__,
			     "write a row");
}

wb_code wbi_put_at(MDB_txn *txn, wbi_table table, uint64_t position,
		   wb_str value, wb_error *err)
{
	MDB_val k = table_val_at(&position), v = table_val(value);

	return wbi_lmdb_fail(err, mdb_put(txn, table, &k, &v, 0), __func__,
			     "write row %llu", (unsigned long long)position);
}

wb_code wbi_put_new(MDB_txn *txn, wbi_table table, wb_str key, wb_str value,
		    wb_str *ret_old, wb_error *err)
{
	MDB_val k = table_val(key), v = table_val(value);
	int rc = mdb_put(txn, table, &k, &v, MDB_NOOVERWRITE);

	if (rc != MDB_KEYEXIST)
		return wbi_lmdb_fail(err, rc, __func__, "write a row");
	*ret_old = wb_str_n(v.mv_data, v.mv_size);
	return WB_EEXISTS;
}

static wb_code table_reserve(MDB_txn *txn, wbi_table table, MDB_val key,
			     size_t size, unsigned flags, uint8_t **ret,
			     wb_error *err)
{
	MDB_val value = {size, NULL};
	int rc = mdb_put(txn, table, &key, &value, MDB_RESERVE | flags);

	if (rc != MDB_SUCCESS)
		return wbi_lmdb_fail(err, rc, __func__, "write %zu bytes",
				     size);
	*ret = value.mv_data;
	return WB_OK;
}

wb_code wbi_append_at(MDB_txn *txn, wbi_table table, uint64_t position,
		      size_t size, uint8_t **ret, wb_error *err)
{
	return table_reserve(txn, table, table_val_at(&position), size,
			     MDB_APPEND, ret, err);
}

wb_code wbi_reserve(MDB_txn *txn, wbi_table table, wb_str key, size_t size,
		    uint8_t **ret, wb_error *err)
{
	return table_reserve(txn, table, table_val(key), size, 0, ret, err);
}

wb_code wbi_del(MDB_txn *txn, wbi_table table, wb_str key, wb_error *err)
{
	MDB_val k = table_val(key);

	return table_result(mdb_del(txn, table, &k, NULL), __func__, err);
}

wb_code wbi_del_at(MDB_txn *txn, wbi_table table, uint64_t position,
		   wb_error *err)
{
	MDB_val k = table_val_at(&position);

	return table_result(mdb_del(txn, table, &k, NULL), __func__, err);
}

wb_code wbi_table_size(MDB_txn *txn, wbi_table table, uint64_t *ret_bytes,
		       uint64_t *ret_rows, wb_error *err)
{
	MDB_stat stat;
	int rc = mdb_stat(txn, table, &stat);

	if (rc != MDB_SUCCESS)
		return wbi_lmdb_fail(err, rc, __func__, "size of a table");
	*ret_bytes = (uint64_t)stat.ms_psize *
		     (stat.ms_branch_pages + stat.ms_leaf_pages +
		      stat.ms_overflow_pages);
	*ret_rows = stat.ms_entries;
	return WB_OK;
}

wb_code wbi_cursor_open(MDB_txn *txn, wbi_table table, wbi_cursor **ret,
			wb_error *err)
{
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(txn, table, &cursor);

	if (rc != MDB_SUCCESS)
		return wbi_lmdb_fail(err, rc, __func__, "open a cursor");
	*ret = (wbi_cursor *)cursor;
	return WB_OK;
}

void wbi_cursor_close(wbi_cursor *cursor)
{
	if (cursor)
		mdb_cursor_close((MDB_cursor *)cursor);
}

static MDB_cursor_op table_op(wbi_move move)
{
	switch (move) {
	case WBI_FIRST:
		return MDB_FIRST;
	case WBI_LAST:
		return MDB_LAST;
	case WBI_NEXT:
		return MDB_NEXT;
	case WBI_PREV:
		return MDB_PREV;
	case WBI_SEEK:
		break;
	}
	return MDB_SET_RANGE;
}

wb_code wbi_cursor_move(wbi_cursor *cursor, wbi_move move, wb_str *key,
			wb_str *ret_value, wb_error *err)
{
	MDB_val k = table_val(*key), v;
	wb_code code;
	int rc;

	/* The empty key is below all others, and LMDB knows none. */
	if (move == WBI_SEEK && key->len == 0)
		move = WBI_FIRST;
	rc = mdb_cursor_get((MDB_cursor *)cursor, &k, &v, table_op(move));
	code = table_result(rc, __func__, err);
	if (code != WB_OK)
		return code;
	*key = wb_str_n(k.mv_data, k.mv_size);
	*ret_value = wb_str_n(v.mv_data, v.mv_size);
	return WB_OK;
}

wb_code wbi_cursor_move_at(wbi_cursor *cursor, wbi_move move,
			   uint64_t *position, wb_str *ret_value, wb_error *err)
{
	MDB_val k = table_val_at(position), v;
	wb_code code;
	int rc;

	rc = mdb_cursor_get((MDB_cursor *)cursor, &k, &v, table_op(move));
	code = table_result(rc, __func__, err);
	if (code != WB_OK)
		return code;
	if (k.mv_size != sizeof(*position))
		return WBI_FAIL(err, WB_ECORRUPT,
				"a position of %zu bytes; run waybill fsck",
				k.mv_size);
	memcpy(position, k.mv_data, sizeof(*position));
	*ret_value = wb_str_n(v.mv_data, v.mv_size);
	return WB_OK;
}

wb_code wbi_cursor_append(wbi_cursor *cursor, uint64_t position, size_t size,
			  uint8_t **ret, wb_error *err)
{
	MDB_val k = table_val_at(&position), v = {size, NULL};
	int rc = mdb_cursor_put((MDB_cursor *)cursor, &k, &v,
				MDB_APPEND | MDB_RESERVE);

	if (rc != MDB_SUCCESS)
		return wbi_lmdb_fail(err, rc, __func__, "write %zu bytes",
				     size);
	*ret = v.mv_data;
	return WB_OK;
}

wb_code wbi_cursor_del(wbi_cursor *cursor, wb_error *err)
{
	return wbi_lmdb_fail(err, mdb_cursor_del((MDB_cursor *)cursor, 0),
			     __func__, "delete a row");
}

wb_code wbi_last_at(MDB_txn *txn, wbi_table table, uint64_t *ret,
		    wb_error *err)
{
	wbi_cursor *cursor = NULL;
	uint64_t last = 0;
	wb_str row;
	wb_code code = wbi_cursor_open(txn, table, &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move_at(cursor, WBI_LAST, &last, &row, err);
	wbi_cursor_close(cursor);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	*ret = code == WB_OK ? last : 0;
	return WB_OK;
}
