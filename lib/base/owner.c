/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lock by flock(2) on a file of its own. A crash at any point leaves the
 * file, which says nothing without its lock. Any thread.
 */
#include "lib/base/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/base/error.h"

static int64_t owner_read(int fd)
{
	char text[32];
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

	if (len <= 0)
		return 0;
	text[len] = '\0';
	return strtoll(text, NULL, 10);
}

/* Only for people: one that cannot be written is empty. */
static void owner_write(int fd)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%" PRId64 "\n",
			   (int64_t)getpid());

	if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)len, 0) != len)
		(void)!ftruncate(fd, 0);
}

wb_code wbi_owner_take(const char *path, int *ret_fd, int64_t *ret_pid,
		       wb_error *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	wb_code code = WB_EBUSY;

	if (fd < 0)
		return wbi_fail_errno(err, errno, __func__, "%s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		owner_write(fd);
		*ret_fd = fd;
		return WB_OK;
	}
	if (errno == EWOULDBLOCK)
		*ret_pid = owner_read(fd);
	else
		code = wbi_fail_errno(err, errno, __func__, "%s", path);
	close(fd);
	return code;
}
