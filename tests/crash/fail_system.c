/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System calls that fail before they do anything. They are ours, put in by the
 * linker (--wrap), so that what LMDB and libc call themselves is not counted.
 * Each fails with what its manual says it can; EINTR where a signal may come.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "tests/crash/fail_points.h"

static const int of_open[] = {EMFILE, EACCES, EIO};
static const int of_read[] = {EIO, EINTR};
static const int of_write[] = {ENOSPC, EIO, EINTR};
static const int of_file[] = {EIO};
static const int of_lock[] = {ENOLCK};
static const int of_name[] = {ENOSPC, EACCES};
static const int of_descriptor[] = {EMFILE};
static const int of_room[] = {ENOSPC};
static const int of_memory[] = {ENOMEM};
static const int of_process[] = {EAGAIN};
static const int of_wait[] = {EINTR};
static const int of_connect[] = {ENETUNREACH, ETIMEDOUT, ECONNREFUSED};
static const int of_send[] = {EPIPE, ECONNRESET, EAGAIN, EINTR};
static const int of_recv[] = {ECONNRESET, ETIMEDOUT, EAGAIN, EINTR};

#define FAILS(call, codes)                                                     \
	fail_now(FAIL_SYSTEM, call, codes, WBI_COUNT(codes), &errno)

/* NAME fails with one of these, as a call that gives -1 then. */
#define FAILING(name, codes, type, declared, passed)                           \
	type __real_##name declared;                                           \
	type __wrap_##name declared;                                           \
	type __wrap_##name declared                                            \
	{                                                                      \
		return FAILS(#name, codes) ? (type)-1 : __real_##name passed;  \
	}

/* ---- files --------------------------------------------------------------- */

int __real_open(const char *path, int flags, mode_t mode);
int __wrap_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if (flags & O_CREAT)
		mode = va_arg(args, mode_t);
	va_end(args);
	return FAILS("open", of_open) ? -1 : __real_open(path, flags, mode);
}

int __real_fcntl(int fd, int command, void *arg);
int __wrap_fcntl(int fd, int command, ...);

int __wrap_fcntl(int fd, int command, ...)
{
	va_list args;
	void *arg;

	va_start(args, command);
	arg = va_arg(args, void *);
	va_end(args);
	return FAILS("fcntl", of_lock) ? -1 : __real_fcntl(fd, command, arg);
}

FAILING(fstat, of_file, int, (int fd, struct stat *ret), (fd, ret))

/* A pipe has neither a disk nor an end to its room. */
static bool is_file(int fd)
{
	struct stat st;

	return __real_fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* What does not wait is not interrupted. */
static bool waits(int fd)
{
	return !((unsigned)__real_fcntl(fd, F_GETFL, NULL) & O_NONBLOCK);
}

ssize_t __real_read(int fd, void *to, size_t size);
ssize_t __wrap_read(int fd, void *to, size_t size);

ssize_t __wrap_read(int fd, void *to, size_t size)
{
	if (is_file(fd) ? FAILS("read", of_read)
			: waits(fd) && FAILS("read", of_wait))
		return -1;
	return __real_read(fd, to, size);
}

ssize_t __real_write(int fd, const void *from, size_t size);
ssize_t __wrap_write(int fd, const void *from, size_t size);

ssize_t __wrap_write(int fd, const void *from, size_t size)
{
	if (is_file(fd) ? FAILS("write", of_write)
			: waits(fd) && FAILS("write", of_wait))
		return -1;
	return __real_write(fd, from, size);
}

FAILING(pread, of_read, ssize_t, (int fd, void *to, size_t size, off_t at),
	(fd, to, size, at))
FAILING(pwrite, of_write, ssize_t,
	(int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
FAILING(stat, of_file, int, (const char *path, struct stat *ret), (path, ret))
FAILING(lstat, of_file, int, (const char *path, struct stat *ret), (path, ret))
FAILING(statfs, of_file, int, (const char *path, struct statfs *ret),
	(path, ret))
FAILING(fsync, of_file, int, (int fd), (fd))
FAILING(ftruncate, of_file, int, (int fd, off_t size), (fd, size))
FAILING(fchmod, of_file, int, (int fd, mode_t mode), (fd, mode))
FAILING(flock, of_lock, int, (int fd, int what), (fd, what))
FAILING(mkdir, of_name, int, (const char *path, mode_t mode), (path, mode))
FAILING(rename, of_name, int, (const char *from, const char *to), (from, to))
FAILING(unlink, of_name, int, (const char *path), (path))
FAILING(rmdir, of_name, int, (const char *path), (path))

/* Those that give NULL, or the error itself. */
#define FAILING_PTR(name, codes, type, declared, passed)                       \
	type __real_##name declared;                                           \
	type __wrap_##name declared;                                           \
	type __wrap_##name declared                                            \
	{                                                                      \
		return FAILS(#name, codes) ? NULL : __real_##name passed;      \
	}

FAILING_PTR(realpath, of_file, char *, (const char *path, char *ret),
	    (path, ret))
FAILING_PTR(mkdtemp, of_name, char *, (char *name), (name))
FAILING_PTR(opendir, of_descriptor, DIR *, (const char *path), (path))

void *__real_mmap(void *at, size_t size, int prot, int flags, int fd,
		  off_t from);
void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd,
		  off_t from);

void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd,
		  off_t from)
{
	return FAILS("mmap", of_memory)
		       ? MAP_FAILED
		       : __real_mmap(at, size, prot, flags, fd, from);
}

int __real_posix_fallocate(int fd, off_t from, off_t size);
int __wrap_posix_fallocate(int fd, off_t from, off_t size);

int __wrap_posix_fallocate(int fd, off_t from, off_t size)
{
	return FAILS("posix_fallocate", of_room)
		       ? errno
		       : __real_posix_fallocate(fd, from, size);
}

/* ---- what wakes, and what runs ------------------------------------------- */

FAILING(epoll_create1, of_descriptor, int, (int flags), (flags))
int __real_epoll_ctl(int epoll, int what, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int what, int fd, struct epoll_event *event);

/* What is in the set needs no room to be changed. */
int __wrap_epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
	return what == EPOLL_CTL_ADD && FAILS("epoll_ctl", of_room)
		       ? -1
		       : __real_epoll_ctl(epoll, what, fd, event);
}

FAILING(epoll_wait, of_wait, int,
	(int epoll, struct epoll_event *events, int max, int timeout_ms),
	(epoll, events, max, timeout_ms))
FAILING(eventfd, of_descriptor, int, (unsigned from, int flags), (from, flags))
FAILING(timerfd_create, of_descriptor, int, (int clock, int flags),
	(clock, flags))
FAILING(inotify_init1, of_descriptor, int, (int flags), (flags))
FAILING(inotify_add_watch, of_room, int,
	(int fd, const char *path, uint32_t what), (fd, path, what))
FAILING(poll, of_wait, int, (struct pollfd * fds, nfds_t count, int timeout_ms),
	(fds, count, timeout_ms))
FAILING(pipe, of_descriptor, int, (int ret[2]), (ret))
FAILING(fork, of_process, pid_t, (void), ())
FAILING(waitpid, of_wait, pid_t, (pid_t pid, int *ret, int flags),
	(pid, ret, flags))

FAILING(socket, of_descriptor, int, (int family, int type, int protocol),
	(family, type, protocol))
FAILING(connect, of_connect, int,
	(int fd, const struct sockaddr *to, socklen_t size), (fd, to, size))
FAILING(getsockopt, of_memory, int,
	(int fd, int level, int name, void *ret, socklen_t *size),
	(fd, level, name, ret, size))
FAILING(send, of_send, ssize_t,
	(int fd, const void *from, size_t size, int flags),
	(fd, from, size, flags))
FAILING(recv, of_recv, ssize_t, (int fd, void *to, size_t size, int flags),
	(fd, to, size, flags))

int __real_pthread_create(pthread_t *ret, const pthread_attr_t *attributes,
			  void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attributes,
			  void *(*run)(void *), void *arg);

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attributes,
			  void *(*run)(void *), void *arg)
{
	return FAILS("pthread_create", of_process)
		       ? errno
		       : __real_pthread_create(ret, attributes, run, arg);
}
