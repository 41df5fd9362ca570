/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a store lies. A data file under somebody else's control is
 * memory-unsafe input (LMDB follows its page numbers blindly), and on a
 * network file system neither its locks nor its map hold; so both are refused
 * by name. Stateless; any thread; descriptors are closed before returning
 * except the lock's.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* F_OFD_SETLK */
#endif
#include "lib/store/place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

/* statfs(2), linux/magic.h; by number, since not every libc has all. */
static const struct {
	uint32_t magic;
	const char *name;
} place_network[] = {
	{0x00006969, "NFS"},    {0x0000517b, "SMB"},  {0xff534d42, "CIFS"},
	{0xfe534d42, "SMB2"},   {0x01021997, "9P"},   {0x00c36400, "Ceph"},
	{0x5346414f, "AFS"},    {0x6b414653, "AFS"},  {0x73757245, "Coda"},
	{0x0bd00bd0, "Lustre"}, {0x0000564c, "NCP"},  {0x47504653, "GPFS"},
	{0x7461636f, "OCFS2"},  {0x01161970, "GFS2"}, {0x19830326, "BeeGFS"},
};

enum { PLACE_FUSE = 0x65735546 };

wb_code wbi_place_check_fs(const char *dir, const wb_log *log, wb_error *err)
{
	struct statfs fs;
	uint32_t magic;

	if (statfs(dir, &fs))
		return wbi_fail_errno(err, errno, __func__, "\"%s\"", dir);
	magic = (uint32_t)fs.f_type;
	for (size_t i = 0; i < WBI_COUNT(place_network); i++) {
		if (place_network[i].magic != magic)
			continue;
		return WBI_FAIL(err, WB_EACCESS,
				"\"%s\" is on %s: locks and maps do not hold "
				"on a network file system; put the store on a "
				"local disk",
				dir, place_network[i].name);
	}
	if (magic == PLACE_FUSE)
		wbi_log(log, WB_LOG_WARN,
			"store %s is on FUSE: make sure that this is a local "
			"file system",
			dir);
	return WB_OK;
}

static wb_code place_check_owner(const char *path, const struct stat *st,
				 const char *mode, wb_error *err)
{
	if (st->st_uid != geteuid())
		return WBI_FAIL(err, WB_EACCESS,
				"\"%s\" belongs to user %lu and this process "
				"runs as %lu: run it as the store's owner",
				path, (unsigned long)st->st_uid,
				(unsigned long)geteuid());
	if (st->st_mode & 077)
		return WBI_FAIL(err, WB_EACCESS,
				"\"%s\" has mode %03o, which lets others in: "
				"chmod %s it",
				path, st->st_mode & 0777, mode);
	return WB_OK;
}

wb_code wbi_place_check_dir(const char *dir, const wb_log *log, wb_error *err)
{
	struct stat st;
	wb_code code;

	if (lstat(dir, &st))
		return wbi_fail_errno(err, errno, __func__, "\"%s\"", dir);
	if (S_ISLNK(st.st_mode))
		return WBI_FAIL(err, WB_EACCESS,
				"\"%s\" is a symbolic link: name the directory "
				"itself",
				dir);
	if (!S_ISDIR(st.st_mode))
		return WBI_FAIL(err, WB_EACCESS, "\"%s\" is not a directory",
				dir);
	code = place_check_owner(dir, &st, "700", err);
	if (code == WB_OK)
		code = wbi_place_check_fs(dir, log, err);
	return code;
}

wb_code wbi_place_check_file(const char *path, wb_error *err)
{
	struct stat st;

	if (lstat(path, &st)) {
		if (errno == ENOENT)
			return WB_OK;
		return wbi_fail_errno(err, errno, __func__, "\"%s\"", path);
	}
	if (!S_ISREG(st.st_mode))
		return WBI_FAIL(err, WB_EACCESS,
				"\"%s\" is %s, not a file of a store", path,
				S_ISLNK(st.st_mode) ? "a symbolic link"
						    : "not a regular file");
	return place_check_owner(path, &st, "600", err);
}

wb_code wbi_place_make_dir(const char *dir, bool *ret_made, wb_error *err)
{
	bool made = mkdir(dir, 0700) == 0;

	if (!made && errno != EEXIST)
		return wbi_fail_errno(err, errno, __func__, "make \"%s\"", dir);
	if (ret_made)
		*ret_made = made;
	return WB_OK;
}

wb_code wbi_place_sync_dir(const char *dir, wb_error *err)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int failed = fd < 0 ? errno : 0;

	if (fd >= 0 && fsync(fd))
		failed = errno;
	if (fd >= 0)
		close(fd);
	if (failed)
		return wbi_fail_errno(err, failed, __func__, "sync \"%s\"",
				      dir);
	return WB_OK;
}

wb_code wbi_place_sync_parent(const char *dir, wb_error *err)
{
	char path[PATH_MAX];
	size_t len = strlen(dir);

	while (len > 1 && dir[len - 1] == '/')
		len--;
	while (len > 0 && dir[len - 1] != '/')
		len--;
	if (len >= sizeof(path))
		return WBI_FAIL(err, WB_ELIMIT, "the path is too long");
	memcpy(path, dir, len);
	path[len] = '\0';
	return wbi_place_sync_dir(len > 0 ? path : ".", err);
}

static struct flock place_byte(void)
{
	return (struct flock){.l_type = F_WRLCK,
			      .l_whence = SEEK_SET,
			      .l_start = getpid(),
			      .l_len = 1};
}

static wb_code place_taken(wb_error *err)
{
	return WBI_FAIL(err, WB_EBUSY,
			"this process (%ld) has the store open already: use "
			"that one (or it is another's of the same number: "
			"containers that share a store must share a PID "
			"namespace)",
			(long)getpid());
}

wb_code wbi_place_lock(const char *path, int *ret_fd, wb_error *err)
{
	struct flock lock = place_byte();
	int fd, failed;

	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return wbi_fail_errno(err, errno, __func__, "\"%s\"", path);
	if (!fcntl(fd, F_OFD_SETLK, &lock)) {
		*ret_fd = fd;
		return WB_OK;
	}
	failed = errno;
	close(fd);
	if (failed == EAGAIN || failed == EACCES)
		return place_taken(err);
	return wbi_fail_errno(err, failed, __func__, "lock \"%s\"", path);
}

wb_code wbi_place_check_lock(const char *path, wb_error *err)
{
	struct flock lock = place_byte();
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), failed;

	if (fd < 0)
		return WB_OK;
	failed = fcntl(fd, F_OFD_GETLK, &lock) ? errno : 0;
	close(fd);
	if (failed)
		return wbi_fail_errno(err, failed, __func__, "ask for \"%s\"",
				      path);
	return lock.l_type == F_UNLCK ? WB_OK : place_taken(err);
}

wb_code wbi_place_join(const char *dir, const char *name, char *ret,
		       size_t size, wb_error *err)
{
	int n = snprintf(ret, size, "%s/%s", dir, name);

	if (n < 0 || (size_t)n >= size)
		return WBI_FAIL(err, WB_ELIMIT,
				"the path \"%.100s...\" is too "
				"long",
				dir);
	return WB_OK;
}
