/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See disk.h. A file is unsynced from a write until the next sync of it; what
 * goes through a descriptor that syncs by itself (LMDB's own for its meta pages)
 * does not count. A cut leaves the two meta pages and zeros behind them: the
 * worst that a file system may make of pages it had not written.
 *
 * State is the thread's: there is one, and no other way for libc's calls to
 * find it.
 */
#include "config.h" /* first: it asks for RTLD_NEXT */

#include "tests/sim/disk.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/assert.h"

enum { DISK_FILES = 64, DISK_META_BYTES = 2 * 4096 };

#define DISK_EXPORT __attribute__((visibility("default")))

typedef struct disk_file {
	dev_t dev;
	ino_t ino; /* 0: free */
} disk_file;

typedef struct disk_state {
	sim_disk_judge *judge; /* NULL: nobody watches */
	void *ctx;
	disk_file unsynced[DISK_FILES];
} disk_state;

static _Thread_local disk_state disk;

void sim_disk_watch(sim_disk_judge *judge, void *ctx)
{
	disk.judge = judge;
	disk.ctx = ctx;
}

void sim_disk_forget(void)
{
	memset(disk.unsynced, 0, sizeof(disk.unsynced));
}

static disk_file *disk_find(dev_t dev, ino_t ino)
{
	for (size_t i = 0; i < DISK_FILES; i++)
		if (disk.unsynced[i].ino == ino && disk.unsynced[i].dev == dev)
			return &disk.unsynced[i];
	return NULL;
}

static void disk_wrote(int fd)
{
	disk_file *free_one;
	struct stat st;

	if (!disk.judge || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
	    disk_find(st.st_dev, st.st_ino) ||
	    (fcntl(fd, F_GETFL) & O_DSYNC) != 0)
		return;
	free_one = disk_find(0, 0);
	WB_ASSERT(free_one);
	*free_one = (disk_file){st.st_dev, st.st_ino};
}

static void disk_synced(int fd)
{
	disk_file *file;
	struct stat st;

	if (!disk.judge || fstat(fd, &st) != 0)
		return;
	file = disk_find(st.st_dev, st.st_ino);
	if (file)
		*file = (disk_file){0, 0};
}

bool sim_disk_cut(const char *path)
{
	disk_file *file;
	struct stat st;

	if (stat(path, &st) != 0)
		return false;
	file = disk_find(st.st_dev, st.st_ino);
	if (!file)
		return false;
	*file = (disk_file){0, 0};
	return truncate(path, DISK_META_BYTES) == 0 &&
	       truncate(path, st.st_size) == 0;
}

/* ---- libc's ------------------------------------------------------------ */

static void disk_next(const char *name, void *ret)
{
	void *symbol = dlsym(RTLD_NEXT, name);

	WB_ASSERT(symbol);
	memcpy(ret, &symbol, sizeof(symbol));
}

DISK_EXPORT ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
	static ssize_t (*next)(int, const void *, size_t, off_t);

	if (!next)
		disk_next("pwrite", &next);
	disk_wrote(fd);
	return next(fd, bytes, size, at);
}

DISK_EXPORT ssize_t writev(int fd, const struct iovec *parts, int count)
{
	static ssize_t (*next)(int, const struct iovec *, int);

	if (!next)
		disk_next("writev", &next);
	disk_wrote(fd);
	return next(fd, parts, count);
}

DISK_EXPORT int fdatasync(int fd)
{
	static int (*next)(int);

	if (!next)
		disk_next("fdatasync", &next);
	disk_synced(fd);
	return next(fd);
}

DISK_EXPORT int fsync(int fd)
{
	static int (*next)(int);

	if (!next)
		disk_next("fsync", &next);
	disk_synced(fd);
	return next(fd);
}

DISK_EXPORT int rename(const char *from, const char *to)
{
	static int (*next)(const char *, const char *);

	if (!next)
		disk_next("rename", &next);
	if (disk.judge && !disk.judge(disk.ctx, to)) {
		errno = ENOSPC;
		return -1;
	}
	return next(from, to);
}

DISK_EXPORT int unlink(const char *path)
{
	static int (*next)(const char *);

	if (!next)
		disk_next("unlink", &next);
	if (disk.judge && !disk.judge(disk.ctx, path)) {
		errno = ENOSPC;
		return -1;
	}
	return next(path);
}
