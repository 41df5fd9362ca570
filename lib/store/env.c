/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening an LMDB environment. LMDB trusts its file with the process's memory,
 * so whose it is and what it says of itself is looked at before. Nothing is
 * kept here; any thread.
 */
#include "lib/store/env.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "lib/base/error.h"
#include "lib/store/copy.h"
#include "lib/store/pages.h"
#include "lib/store/place.h"

wb_code wbi_env_check_files(const char *dir, bool *ret_exists, wb_error *err)
{
	char path[PATH_MAX];
	wb_code code;

	code = wbi_place_join(dir, "lock.mdb", path, sizeof(path), err);
	if (code == WB_OK)
		code = wbi_place_check_file(path, err);
	if (code == WB_OK)
		code = wbi_place_join(dir, "data.mdb", path, sizeof(path), err);
	if (code == WB_OK)
		code = wbi_place_check_file(path, err);
	if (code == WB_OK)
		*ret_exists = access(path, F_OK) == 0;
	return code;
}

wb_code wbi_env_open(const char *dir, const wbi_env_options *o, MDB_env **ret,
		     wb_error *err)
{
	unsigned flags = MDB_NOTLS | (o->no_sync ? MDB_NOSYNC : 0);
	MDB_env *env = NULL;
	int rc;

	rc = mdb_env_create(&env);
	if (rc == MDB_SUCCESS && o->map_bytes > 0)
		rc = mdb_env_set_mapsize(env, o->map_bytes);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_set_maxdbs(env, o->max_dbs);
	if (rc == MDB_SUCCESS && o->max_readers > 0)
		rc = mdb_env_set_maxreaders(env, o->max_readers);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_open(env, dir, flags, 0600);
	if (rc == MDB_SUCCESS) {
		*ret = env;
		return WB_OK;
	}
	wbi_env_close(env);
	if (rc == ENOMEM)
		return WBI_FAIL_FOREIGN(err, WB_ENOMEM, rc,
					"open \"%s\": no address space for its "
					"map (ulimit -v, overcommit?)",
					dir);
	return wbi_lmdb_fail(err, rc, __func__, "open \"%s\"", dir);
}

/*
 * A file that ends before its last page may be one whose last pages are free:
 * LMDB does not write those. Else reading on would be SIGBUS, so look which of
 * the two it is.
 */
static wb_code env_check_length(MDB_env *env, const char *path,
				const wbi_pages_header *header, wb_error *err)
{
	wbi_pages_result pages;
	MDB_txn *txn;
	wb_code code;

	if (header->file_bytes / header->page_bytes > header->last_page)
		return WB_OK;
	code = wbi_txn_begin(env, false, &txn, err);
	if (code != WB_OK)
		return code;
	code = wbi_pages_check(path, txn, NULL, &pages, err);
	wbi_txn_abort(txn);
	return code;
}

wb_code wbi_env_open_checked(const char *dir, const wbi_env_options *o,
			     MDB_env **ret, wb_error *err)
{
	wbi_pages_header header;
	wb_error cause = WB_ERROR_INIT;
	char path[PATH_MAX];
	wb_code code = wbi_place_join(dir, "data.mdb", path, sizeof(path), err);

	if (code != WB_OK)
		return code;
	code = wbi_pages_header_read(path, &header, &cause);
	if (code == WB_OK)
		code = wbi_env_open(dir, o, ret, err);
	if (code == WB_OK)
		code = env_check_length(*ret, path, &header, &cause);
	if (cause.code == WB_OK)
		return code;
	return WBI_FAIL_FOREIGN(err, code, cause.foreign, "\"%s\": %.300s%s",
				path, cause.text,
				code == WB_ECORRUPT ? "; run waybill fsck"
						    : "");
}

wb_code wbi_env_make_safe(MDB_env *env, wb_error *err)
{
	int rc = mdb_env_set_flags(env, MDB_NOSYNC, 0);

	if (rc == MDB_SUCCESS)
		rc = mdb_env_sync(env, 1);
	return wbi_lmdb_fail(err, rc, __func__, "sync");
}

wb_code wbi_env_check_readers(MDB_env *env, int *ret_cleared, wb_error *err)
{
	return wbi_lmdb_fail(err, mdb_reader_check(env, ret_cleared), __func__,
			     "look for dead readers");
}
