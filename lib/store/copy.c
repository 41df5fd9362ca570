/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking at an environment without being one of its users, and copying it. A
 * copy is one read transaction's view; a crash leaves a file without a name
 * that anybody would open, since the caller renames its directory last.
 */
#include "lib/store/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/error.h"
#include "lib/store/place.h"
#include "lib/store/table.h"

enum { COPY_DBS = WB_STORE_TABLES };

wb_code wbi_env_open_readonly(const char *dir, MDB_env **ret, wb_error *err)
{
	unsigned flags = MDB_RDONLY | MDB_NOTLS;
	MDB_env *env = NULL;
	char path[PATH_MAX];
	wb_code code;
	int rc;

	code = wbi_place_join(dir, "lock.mdb", path, sizeof(path), err);
	if (code != WB_OK)
		return code;
	if (access(path, R_OK | W_OK))
		flags |= MDB_NOLOCK;
	rc = mdb_env_create(&env);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_set_maxdbs(env, COPY_DBS);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_open(env, dir, flags, 0600);
	if (rc == MDB_SUCCESS) {
		*ret = env;
		return WB_OK;
	}
	if (env)
		mdb_env_close(env);
	return wbi_lmdb_fail(err, rc, __func__, "open \"%s\"", dir);
}

wb_code wbi_store_check_unopened(const char *dir, wb_error *err)
{
	char path[PATH_MAX];
	wb_code code =
		wbi_place_join(dir, "relay/open.lock", path, sizeof(path), err);

	return code == WB_OK ? wbi_place_check_lock(path, err) : code;
}

void wbi_env_close(MDB_env *env)
{
	if (env)
		mdb_env_close(env);
}

static wb_code copy_sync(const char *dir, uint64_t *ret_bytes, wb_error *err)
{
	char path[PATH_MAX];
	struct stat st;
	int fd, failed = 0;
	wb_code code;

	code = wbi_place_join(dir, "data.mdb", path, sizeof(path), err);
	if (code != WB_OK)
		return code;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fchmod(fd, 0600) || fsync(fd) || fstat(fd, &st))
		failed = errno;
	if (fd >= 0)
		close(fd);
	if (failed)
		return wbi_fail_errno(err, failed, __func__, "sync \"%s\"",
				      path);
	*ret_bytes = (uint64_t)st.st_size;
	return wbi_place_sync_dir(dir, err);
}

wb_code wbi_env_copy(MDB_env *env, const char *to, uint64_t *ret_bytes,
		     wb_error *err)
{
	char path[PATH_MAX];
	wb_code code;
	int rc = mdb_env_copy2(env, to, MDB_CP_COMPACT);

	if (rc == MDB_INCOMPATIBLE) {
		/* Pages that nobody owns: LMDB cannot compact around them. */
		code = wbi_place_join(to, "data.mdb", path, sizeof(path), err);
		if (code != WB_OK)
			return code;
		unlink(path);
		rc = mdb_env_copy2(env, to, 0);
	}
	if (rc != MDB_SUCCESS)
		return wbi_lmdb_fail(err, rc, __func__, "copy to \"%s\"", to);
	return copy_sync(to, ret_bytes, err);
}
