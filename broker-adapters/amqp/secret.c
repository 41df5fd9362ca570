/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A secret lives in exactly one heap block and is overwritten before that
 * block is given back; what passes over the stack is overwritten too. The
 * permissions are checked on the open descriptor, so what was checked is what
 * is read. Keeps no state; any thread.
 */
#include "broker-adapters/amqp/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/error.h"

void wbi_secret_free(char *secret)
{
	if (!secret)
		return;
	explicit_bzero(secret, strlen(secret));
	free(secret);
}

char *wbi_secret_dup(const char *secret)
{
	return strdup(secret);
}

static wb_code secret_check(const char *path, int fd, wb_error *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return wbi_fail_errno(err, errno, __func__, "cannot examine %s",
				      path);
	if (!S_ISREG(st.st_mode))
		return WBI_FAIL(err, WB_EINVAL,
				"%s is not a regular file; give the path of a "
				"file that holds the password",
				path);
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return WBI_FAIL(err, WB_EACCESS,
				"%s can be opened by others (mode %04o); run: "
				"chmod 600 %s",
				path, (unsigned)st.st_mode & 07777, path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return WBI_FAIL(err, WB_EACCESS,
				"%s belongs to user %u, who could change it; "
				"make it your own or root's",
				path, (unsigned)st.st_uid);
	return WB_OK;
}

/* As much as fits; the rest is not our business. */
static wb_code secret_fill(const char *path, int fd, char *to, size_t size,
			   size_t *ret_len, wb_error *err)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = read(fd, to + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return wbi_fail_errno(err, errno, __func__,
					      "cannot read %s", path);
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret_len = len;
	return WB_OK;
}

/* Cut to the first line in place; `text` has a byte to spare at `len`. */
static wb_code secret_first_line(const char *path, char *text, size_t len,
				 wb_error *err)
{
	char *end = memchr(text, '\n', len);
	size_t line = end ? (size_t)(end - text) : len;

	if (line > 0 && end && text[line - 1] == '\r')
		line--;
	if (line > WBI_SECRET_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"the first line of %s is over %d bytes: is it "
				"the right file?",
				path, WBI_SECRET_MAX);
	if (line == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"the first line of %s is empty; put the "
				"password there",
				path);
	if (memchr(text, '\0', line))
		return WBI_FAIL(err, WB_EINVAL,
				"the first line of %s holds a NUL byte", path);
	text[line] = '\0';
	return WB_OK;
}

wb_code wbi_secret_read(const char *path, char **ret, wb_error *err)
{
	/* The line, "\r\n", and the terminator. */
	char text[WBI_SECRET_MAX + 3];
	size_t len = 0;
	wb_code code;
	char *secret;
	/* Non-blocking, so that a FIFO cannot hang us before it is refused. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return wbi_fail_errno(err, errno, __func__,
				      "cannot open the password file %s", path);
	code = secret_check(path, fd, err);
	if (code == WB_OK)
		code = secret_fill(path, fd, text, sizeof(text) - 1, &len, err);
	if (code == WB_OK)
		code = secret_first_line(path, text, len, err);
	if (code == WB_OK) {
		secret = wbi_secret_dup(text);
		if (secret)
			*ret = secret;
		else
			code = WBI_FAIL(err, WB_ENOMEM, "out of memory");
	}
	explicit_bzero(text, sizeof(text));
	close(fd);
	return code;
}
