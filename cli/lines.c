/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A buffer that slides: whole lines are handed out in place, the rest moves to
 * the front before more is read. It grows to `max` and one line end, no
 * further, so input without line ends cannot use up memory. One thread.
 */
#include "cli/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/error.h"

enum { LINES_FIRST = 256 * 1024 };

void cli_lines_init(cli_lines *lines, int fd, size_t max)
{
	*lines = (cli_lines){.fd = fd, .max = max};
}

void cli_lines_fini(cli_lines *lines)
{
	free(lines->bytes);
}

static char *line_end(const cli_lines *lines)
{
	if (lines->end == lines->start)
		return NULL;
	return memchr(lines->bytes + lines->start, '\n',
		      lines->end - lines->start);
}

bool cli_lines_ready(const cli_lines *lines)
{
	return line_end(lines) != NULL;
}

static wb_code make_room(cli_lines *lines, wb_error *err)
{
	size_t len = lines->end - lines->start;
	size_t capacity = lines->capacity;
	char *grown;

	if (lines->start > 0)
		memmove(lines->bytes, lines->bytes + lines->start, len);
	lines->start = 0;
	lines->end = len;
	if (len > lines->max)
		return WBI_FAIL(err, WB_ELIMIT,
				"over %zu bytes without a line "
				"end",
				lines->max);
	if (len < capacity)
		return WB_OK;
	capacity = capacity ? capacity * 2 : LINES_FIRST;
	if (capacity > lines->max + 1)
		capacity = lines->max + 1;
	grown = realloc(lines->bytes, capacity);
	if (!grown)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	lines->bytes = grown;
	lines->capacity = capacity;
	return WB_OK;
}

static wb_code read_more(cli_lines *lines, wb_error *err)
{
	wb_code rc = make_room(lines, err);
	ssize_t n;

	if (rc != WB_OK)
		return rc;
	do {
		n = read(lines->fd, lines->bytes + lines->end,
			 lines->capacity - lines->end);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return wbi_fail_errno(err, errno, __func__, "standard input");
	lines->eof = n == 0;
	lines->end += (size_t)n;
	return WB_OK;
}

wb_code cli_lines_next(cli_lines *lines, wb_str *ret, wb_error *err)
{
	char *begin, *end;
	wb_code rc;

	while (!(end = line_end(lines)) && !lines->eof) {
		rc = read_more(lines, err);
		if (rc != WB_OK) {
			lines->number++; /* the one that it is about */
			return rc;
		}
	}
	begin = lines->bytes + lines->start;
	if (!end && lines->end == lines->start)
		return WB_ENOTFOUND;
	lines->number++;
	if (end) {
		*ret = wb_str_n(begin, (size_t)(end - begin));
		lines->start += ret->len + 1;
	} else {
		*ret = wb_str_n(begin, lines->end - lines->start);
		lines->start = lines->end;
	}
	if (ret->len > 0 && ret->ptr[ret->len - 1] == '\r')
		ret->len--;
	return WB_OK;
}
