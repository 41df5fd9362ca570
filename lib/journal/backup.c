/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copies of a store. Everything is made in a directory beside the wanted one,
 * synced, and renamed last: whatever has the name is complete, and a crash
 * leaves a "NAME.part-XXXXXX" to delete. The source is only read.
 *
 * The store is copied before the relay's state. So the relay may know of
 * events that the copied journal does not have, and is made to forget them. The
 * other way round, every event settled in between would be sent again.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/error.h"
#include "lib/journal/maintain.h"
#include "lib/journal/restore.h"
#include "lib/store/copy.h"
#include "lib/store/place.h"

enum { BACKUP_SUFFIX = 16 };

typedef struct backup {
	char part[PATH_MAX - 64]; /* the directory that is being made */
	char relay[PATH_MAX];     /* its relay/ */
	const wbi_check_report *report;
	uint64_t done, total;
} backup;

static wb_code backup_free_name(const char *to, wb_error *err)
{
	struct stat st;

	if (lstat(to, &st) == 0)
		return WBI_FAIL(err, WB_EEXISTS,
				"\"%s\" is there already: name one that is not",
				to);
	if (errno != ENOENT)
		return wbi_fail_errno(err, errno, __func__, "\"%s\"", to);
	return WB_OK;
}

static wb_code backup_make_part(backup *b, const char *to, wb_error *err)
{
	size_t len = strlen(to);
	wb_code code = backup_free_name(to, err);

	if (code != WB_OK)
		return code;
	while (len > 1 && to[len - 1] == '/')
		len--;
	if (len == 0 || len + BACKUP_SUFFIX >= sizeof(b->part))
		return WBI_FAIL(err, WB_EINVAL,
				"the path to copy to is empty or too long");
	memcpy(b->part, to, len);
	memcpy(b->part + len, ".part-XXXXXX", sizeof(".part-XXXXXX"));
	if (!mkdtemp(b->part)) {
		code = wbi_fail_errno(err, errno, __func__,
				      "make a directory beside \"%s\"", to);
		b->part[0] = '\0';
		return code;
	}
	code = wbi_place_join(b->part, "relay", b->relay, sizeof(b->relay),
			      err);
	if (code == WB_OK)
		code = wbi_place_make_dir(b->relay, NULL, err);
	return code;
}

static void backup_unlink(const char *dir, const char *name)
{
	char path[PATH_MAX];

	if (wbi_place_join(dir, name, path, sizeof(path), NULL) == WB_OK)
		unlink(path);
}

/* Only files that we make ourselves are removed, and then the directories if
 * nothing else is in them. */
static void backup_remove_part(backup *b)
{
	static const char *const names[] = {"data.mdb", "lock.mdb",
					    "open.lock"};

	if (!b->part[0])
		return;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		backup_unlink(b->part, names[i]);
		backup_unlink(b->relay, names[i]);
	}
	rmdir(b->relay);
	rmdir(b->part);
}

static wb_code backup_copy_env(backup *b, const char *from, const char *to,
			       wb_error *err)
{
	uint64_t bytes = 0;
	MDB_env *env;
	wb_code code = wbi_env_open_readonly(from, &env, err);

	if (code != WB_OK)
		return code;
	code = wbi_env_copy(env, to, &bytes, err);
	wbi_env_close(env);
	b->done += bytes;
	if (code == WB_OK && b->report && b->report->progress)
		b->report->progress(b->report->ctx, b->done,
				    b->done > b->total ? b->done : b->total);
	return code;
}

static uint64_t backup_size(const char *dir)
{
	char path[PATH_MAX];
	struct stat st;

	if (wbi_place_join(dir, "data.mdb", path, sizeof(path), NULL) !=
		    WB_OK ||
	    stat(path, &st))
		return 0;
	return (uint64_t)st.st_size;
}

static wb_code backup_copy(backup *b, const char *from, wb_error *err)
{
	char relay[PATH_MAX];
	wb_code code = wbi_place_check_dir(from, NULL, err);

	if (code == WB_OK)
		code = wbi_store_check_unopened(from, err);
	if (code == WB_OK)
		code = wbi_place_join(from, "relay", relay, sizeof(relay), err);
	if (code != WB_OK)
		return code;
	b->total = backup_size(from) + backup_size(relay);
	code = backup_copy_env(b, from, b->part, err);
	if (code == WB_OK)
		code = backup_copy_env(b, relay, b->relay, err);
	return code;
}

/* What the directory holds is synced; now its entries, then its name. */
static wb_code backup_publish(backup *b, const char *to, wb_error *err)
{
	wb_code code = wbi_place_sync_dir(b->relay, err);

	if (code == WB_OK)
		code = wbi_place_sync_dir(b->part, err);
	if (code == WB_OK)
		code = backup_free_name(to, err);
	if (code != WB_OK)
		return code;
	if (rename(b->part, to))
		return wbi_fail_errno(err, errno, __func__,
				      "rename \"%s\" to \"%s\"", b->part, to);
	b->part[0] = '\0';
	return wbi_place_sync_parent(to, err);
}

/* A copy must not bring along the locks of its making. */
static void backup_drop_locks(backup *b)
{
	backup_unlink(b->part, "lock.mdb");
	backup_unlink(b->relay, "lock.mdb");
	backup_unlink(b->relay, "open.lock");
}

/* The copy, made aside and published whole; a restored one is a new history. */
static wb_code backup_make(const char *from, const char *to, bool restored,
			   const wbi_check_report *report, wb_error *err)
{
	backup b = {.report = report};
	wb_code code = backup_make_part(&b, to, err);

	if (code == WB_OK)
		code = backup_copy(&b, from, err);
	if (code == WB_OK)
		code = wbi_restore_rewrite(b.part, restored, err);
	if (code == WB_OK)
		backup_drop_locks(&b);
	if (code == WB_OK)
		code = backup_publish(&b, to, err);
	backup_remove_part(&b);
	return code;
}

wb_code wbi_store_backup(const char *dir, const char *to,
			 const wbi_check_report *report, wb_error *err)
{
	if (!dir || !to)
		return WBI_FAIL(err, WB_EINVAL, "dir, to: NULL");
	return backup_make(dir, to, false, report, err);
}

wb_code wbi_store_restore(const char *from, const char *to,
			  const wbi_check_report *report, wb_error *err)
{
	wbi_check_result result;
	wb_code code;

	if (!from || !to)
		return WBI_FAIL(err, WB_EINVAL, "from, to: NULL");
	code = backup_free_name(to, err);
	if (code == WB_OK)
		code = wbi_store_check(from, report, &result, err);
	if (code == WB_OK)
		code = backup_make(from, to, true, report, err);
	return code;
}
