/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See disk_trace.h. The calls below are this program's own definitions of libc's
 * functions: the linker takes them for everything in it, shared libraries
 * included. They do what libc's do, by the system call itself, and write down
 * what was done to files below the directory that is recorded.
 *
 * The one recording is static, since libc's functions know of no other place.
 */
#include "config.h" /* first: it asks for pwritev and nftw */

#include "tests/crash/disk_trace.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/assert.h"

enum { DISK_FILES_MAX = 256 };

typedef struct disk_file {
	char path[DISK_PATH_MAX];
	bool is_dir;
	uint8_t *bytes;
	size_t size;
} disk_file;

/* A tree of files in memory. */
typedef struct disk_image {
	disk_file files[DISK_FILES_MAX];
	size_t count;
} disk_image;

struct disk_trace {
	char dir[PATH_MAX];
	disk_image base;
	disk_op *ops;
	size_t count, capacity;
};

static disk_trace *recording;

/* ---- images ------------------------------------------------------------- */

static disk_file *image_find(disk_image *image, const char *path)
{
	for (size_t i = 0; i < image->count; i++)
		if (!strcmp(image->files[i].path, path))
			return &image->files[i];
	return NULL;
}

static disk_file *image_add(disk_image *image, const char *path, bool is_dir)
{
	disk_file *file = image_find(image, path);

	if (file)
		return file;
	WB_ASSERT(image->count < DISK_FILES_MAX);
	file = &image->files[image->count++];
	*file = (disk_file){.is_dir = is_dir};
	snprintf(file->path, sizeof(file->path), "%s", path);
	return file;
}

static void image_remove(disk_image *image, const char *path)
{
	disk_file *file = image_find(image, path);

	if (!file)
		return;
	free(file->bytes);
	*file = image->files[--image->count];
}

static void image_resize(disk_file *file, size_t size)
{
	uint8_t *bytes = realloc(file->bytes, size + (size == 0));

	WB_ASSERT(bytes);
	if (size > file->size)
		memset(bytes + file->size, 0, size - file->size);
	file->bytes = bytes;
	file->size = size;
}

static void image_put(disk_file *file, uint64_t at, const uint8_t *bytes,
		      size_t len)
{
	if (len == 0)
		return;
	if (at + len > file->size)
		image_resize(file, at + len);
	memcpy(file->bytes + at, bytes, len);
}

static void image_free(disk_image *image)
{
	for (size_t i = 0; i < image->count; i++)
		free(image->files[i].bytes);
}

static bool is_lock_file(const char *path)
{
	const char *name = strrchr(path, '/');

	return !strcmp(name ? name + 1 : path, "lock.mdb");
}

/* What is in the directory, at the beginning. nftw() has no context. */
static int image_load_one(const char *path, const struct stat *st, int kind,
			  struct FTW *ftw)
{
	const char *below = path + strlen(recording->dir);
	disk_file *file;
	int fd;

	(void)ftw;
	if (*below++ != '/' || is_lock_file(below))
		return 0;
	file = image_add(&recording->base, below, kind == FTW_D);
	if (kind != FTW_F || st->st_size == 0)
		return 0;
	image_resize(file, (size_t)st->st_size);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	WB_ASSERT(fd >= 0);
	WB_ASSERT(read(fd, file->bytes, file->size) == st->st_size);
	close(fd);
	return 0;
}

/* ---- the recording ------------------------------------------------------ */

disk_trace *disk_trace_begin(const char *dir)
{
	disk_trace *trace = calloc(1, sizeof(*trace));

	WB_ASSERT(trace && !recording);
	WB_ASSERT(realpath(dir, trace->dir));
	recording = trace;
	WB_ASSERT(nftw(trace->dir, image_load_one, 16, FTW_PHYS) == 0);
	return trace;
}

void disk_trace_end(disk_trace *trace)
{
	WB_ASSERT(recording == trace);
	recording = NULL;
}

void disk_trace_free(disk_trace *trace)
{
	image_free(&trace->base);
	for (size_t i = 0; i < trace->count; i++)
		free(trace->ops[i].bytes);
	free(trace->ops);
	free(trace);
}

static disk_op *trace_add(disk_op_kind kind, const char *path)
{
	disk_trace *t = recording;
	size_t capacity = t->capacity ? t->capacity * 2 : 256;
	disk_op *op;

	if (t->count == t->capacity) {
		t->ops = realloc(t->ops, capacity * sizeof(*t->ops));
		WB_ASSERT(t->ops);
		t->capacity = capacity;
	}
	op = &t->ops[t->count++];
	*op = (disk_op){.kind = kind};
	WB_ASSERT(strlen(path) < sizeof(op->path));
	strcpy(op->path, path);
	return op;
}

void disk_trace_mark(uint64_t number)
{
	if (recording)
		trace_add(DISK_MARK, "")->at = number;
}

/* The part of a path below the directory; NULL: it is not there, or of no
 * interest. The directory itself is "". */
static const char *trace_below(const char *path)
{
	size_t len;

	if (!recording || !path)
		return NULL;
	len = strlen(recording->dir);
	if (strncmp(path, recording->dir, len) != 0 ||
	    (path[len] != '/' && path[len] != '\0') || is_lock_file(path))
		return NULL;
	return path[len] == '/' ? path + len + 1 : "";
}

static const char *trace_of_fd(int fd, char buf[PATH_MAX])
{
	char link[64];
	ssize_t len;

	if (!recording)
		return NULL;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, buf, PATH_MAX - 1);
	if (len < 0)
		return NULL;
	buf[len] = '\0';
	return trace_below(buf);
}

static void trace_write(int fd, const void *bytes, size_t len, uint64_t at)
{
	char buf[PATH_MAX];
	const char *path = trace_of_fd(fd, buf);
	disk_op *op;

	if (!path)
		return;
	op = trace_add(DISK_WRITE, path);
	op->durable = fcntl(fd, F_GETFL) & O_DSYNC;
	op->at = at;
	op->len = len;
	op->bytes = malloc(len + (len == 0));
	WB_ASSERT(op->bytes);
	memcpy(op->bytes, bytes, len);
}

static void trace_vector(int fd, const struct iovec *parts, int count,
			 uint64_t at, ssize_t done)
{
	size_t left = done > 0 ? (size_t)done : 0, len = 0;
	uint8_t *bytes = malloc(left + 1);

	WB_ASSERT(bytes);
	for (int i = 0; i < count && left > 0; i++) {
		size_t n = parts[i].iov_len < left ? parts[i].iov_len : left;

		memcpy(bytes + len, parts[i].iov_base, n);
		len += n;
		left -= n;
	}
	if (len > 0)
		trace_write(fd, bytes, len, at);
	free(bytes);
}

static void trace_fd(disk_op_kind kind, int fd, uint64_t at)
{
	char buf[PATH_MAX];
	const char *path = trace_of_fd(fd, buf);

	if (path)
		trace_add(kind, path)->at = at;
}

/* ---- libc's calls ------------------------------------------------------- */

/* For the shared libraries to find. */
#pragma GCC visibility push(default)

ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
	ssize_t done = syscall(SYS_pwrite64, fd, buf, n, at);

	if (done > 0)
		trace_write(fd, buf, (size_t)done, (uint64_t)at);
	return done;
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t at)
{
	return pwrite(fd, buf, n, at);
}

ssize_t write(int fd, const void *buf, size_t n)
{
	off_t at = recording ? lseek(fd, 0, SEEK_CUR) : 0;
	ssize_t done = syscall(SYS_write, fd, buf, n);

	if (done > 0 && recording)
		trace_write(fd, buf, (size_t)done, (uint64_t)at);
	return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	off_t at = recording ? lseek(fd, 0, SEEK_CUR) : 0;
	ssize_t done = syscall(SYS_writev, fd, parts, count);

	if (recording)
		trace_vector(fd, parts, count, (uint64_t)at, done);
	return done;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
	ssize_t done = syscall(SYS_pwritev, fd, parts, count, at, 0);

	if (recording)
		trace_vector(fd, parts, count, (uint64_t)at, done);
	return done;
}

int fsync(int fd)
{
	int rc = (int)syscall(SYS_fsync, fd);

	if (rc == 0)
		trace_fd(DISK_SYNC, fd, 0);
	return rc;
}

int fdatasync(int fd)
{
	int rc = (int)syscall(SYS_fdatasync, fd);

	if (rc == 0)
		trace_fd(DISK_SYNC, fd, 0);
	return rc;
}

int ftruncate(int fd, off_t size)
{
	int rc = (int)syscall(SYS_ftruncate, fd, size);

	if (rc == 0)
		trace_fd(DISK_TRUNCATE, fd, (uint64_t)size);
	return rc;
}

int ftruncate64(int fd, off64_t size)
{
	return ftruncate(fd, size);
}

int mkdir(const char *path, mode_t mode)
{
	int rc = (int)syscall(SYS_mkdir, path, mode);
	const char *below = rc == 0 ? trace_below(path) : NULL;

	if (below)
		trace_add(DISK_MKDIR, below);
	return rc;
}

int unlink(const char *path)
{
	const char *below = trace_below(path);
	int rc = (int)syscall(SYS_unlink, path);

	if (rc == 0 && below)
		trace_add(DISK_UNLINK, below);
	return rc;
}

int rename(const char *from, const char *to)
{
	const char *below = trace_below(from), *target = trace_below(to);
	int rc = (int)syscall(SYS_rename, from, to);

	if (rc == 0 && below && target)
		strcpy(trace_add(DISK_RENAME, below)->to, target);
	return rc;
}

static int trace_open(int at, const char *path, int flags, mode_t mode)
{
	char buf[PATH_MAX];
	struct stat st;
	bool was = !(flags & O_CREAT) || !recording ||
		   fstatat(at, path, &st, 0) == 0;
	int fd = (int)syscall(SYS_openat, at, path, flags, mode);
	const char *below = fd >= 0 ? trace_of_fd(fd, buf) : NULL;

	if (below && !was)
		trace_add(DISK_CREATE, below);
	if (below && was && (flags & O_TRUNC))
		trace_add(DISK_TRUNCATE, below);
	return fd;
}

static mode_t trace_mode(int flags, va_list args)
{
	return flags & O_CREAT ? (mode_t)va_arg(args, int) : 0;
}

int open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = trace_mode(flags, args);
	va_end(args);
	return trace_open(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = trace_mode(flags, args);
	va_end(args);
	return trace_open(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = trace_mode(flags, args);
	va_end(args);
	return trace_open(at, path, flags, mode);
}

#pragma GCC visibility pop

/* ---- what the disk may hold --------------------------------------------- */

size_t disk_trace_count(const disk_trace *trace)
{
	return trace->count;
}

const disk_op *disk_trace_op(const disk_trace *trace, size_t i)
{
	return &trace->ops[i];
}

/* Is `dir` the directory that `path` is in? */
static bool disk_is_parent(const char *dir, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	return strlen(dir) == len && !strncmp(dir, path, len);
}

bool disk_trace_is_durable(const disk_trace *trace, size_t i, size_t count)
{
	const disk_op *op = &trace->ops[i];
	bool content = op->kind == DISK_WRITE || op->kind == DISK_TRUNCATE;

	if (op->durable || op->kind == DISK_SYNC || op->kind == DISK_MARK)
		return true;
	for (size_t j = i + 1; j < count; j++) {
		const disk_op *sync = &trace->ops[j];

		if (sync->kind != DISK_SYNC)
			continue;
		if (content ? !strcmp(sync->path, op->path)
			    : disk_is_parent(sync->path, op->path))
			return true;
	}
	return false;
}

uint64_t disk_trace_marked(const disk_trace *trace, size_t count)
{
	while (count-- > 0)
		if (trace->ops[count].kind == DISK_MARK)
			return trace->ops[count].at;
	return 0;
}

static void disk_rename(disk_image *image, const disk_op *op)
{
	disk_file *file = image_find(image, op->path);

	if (!file)
		return;
	image_remove(image, op->to);
	file = image_find(image, op->path);
	snprintf(file->path, sizeof(file->path), "%s", op->to);
}

/* A write to a file whose creation is lost is lost with it. */
static void disk_apply(disk_image *image, const disk_op *op, size_t from,
		       size_t to)
{
	disk_file *file;

	switch (op->kind) {
	case DISK_CREATE:
		image_add(image, op->path, false);
		return;
	case DISK_MKDIR:
		image_add(image, op->path, true);
		return;
	case DISK_UNLINK:
		image_remove(image, op->path);
		return;
	case DISK_RENAME:
		disk_rename(image, op);
		return;
	case DISK_SYNC:
	case DISK_MARK:
		return;
	case DISK_WRITE:
	case DISK_TRUNCATE:
		break;
	}
	file = image_find(image, op->path);
	if (file && op->kind == DISK_TRUNCATE)
		image_resize(file, op->at);
	else if (file)
		image_put(file, op->at + from, op->bytes + from, to - from);
}

/* The directories above it, too; false: one of them is not there. */
static bool disk_parent_is_there(disk_image *image, const char *path)
{
	char parent[DISK_PATH_MAX];
	char *slash;

	snprintf(parent, sizeof(parent), "%s", path);
	while ((slash = strrchr(parent, '/')) != NULL) {
		*slash = '\0';
		if (!image_find(image, parent))
			return false;
	}
	return true;
}

static void disk_write_one(disk_image *image, const disk_file *file,
			   const char *dir)
{
	char path[PATH_MAX];
	int fd;

	if (!disk_parent_is_there(image, file->path))
		return;
	WB_ASSERT(snprintf(path, sizeof(path), "%s/%s", dir, file->path) <
		  (int)sizeof(path));
	if (file->is_dir) {
		WB_ASSERT(mkdir(path, 0700) == 0);
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	WB_ASSERT(fd >= 0);
	WB_ASSERT(write(fd, file->bytes, file->size) == (ssize_t)file->size);
	close(fd);
}

/* Directories first, each behind its own parent. */
static void disk_write_all(disk_image *image, const char *dir)
{
	for (size_t depth = 0; depth < 8; depth++)
		for (size_t i = 0; i < image->count; i++) {
			const disk_file *file = &image->files[i];
			size_t slashes = 0;

			for (const char *p = file->path; *p; p++)
				slashes += *p == '/';
			if (slashes == depth)
				disk_write_one(image, file, dir);
		}
}

void disk_trace_write(const disk_trace *trace, const disk_state *state,
		      const char *dir)
{
	disk_image *image = calloc(1, sizeof(*image));

	WB_ASSERT(image && !recording);
	for (size_t i = 0; i < trace->base.count; i++) {
		const disk_file *file = &trace->base.files[i];

		image_put(image_add(image, file->path, file->is_dir), 0,
			  file->bytes, file->size);
	}
	for (size_t i = 0; i < state->count; i++) {
		const disk_op *op = &trace->ops[i];

		if (i == state->torn)
			disk_apply(image, op, state->from, state->to);
		else if (!state->skip || !state->skip[i])
			disk_apply(image, op, 0, op->len);
	}
	disk_write_all(image, dir);
	image_free(image);
	free(image);
}
