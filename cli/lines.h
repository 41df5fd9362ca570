/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines from a descriptor, each of bounded length. */
#ifndef CLI_LINES_H
#define CLI_LINES_H

#include <waybill/base.h>

typedef struct cli_lines {
	int fd;
	char *bytes;
	size_t start, end, capacity, max;
	uint64_t number; /* of the line returned last, from 1 */
	bool eof;
} cli_lines;

/* `max`: the longest line. free_ with cli_lines_fini(). */
void cli_lines_init(cli_lines *lines, int fd, size_t max);
void cli_lines_fini(cli_lines *lines);

/* Is a whole line there without reading? */
bool cli_lines_ready(const cli_lines *lines);

/*
 * The next line without its end; may wait for input unless ready. It lives
 * until the next call. The last one needs no line end. WB_ENOTFOUND: no more
 * (*err untouched). WB_ELIMIT: over `max`. WB_EIO, WB_ENOMEM.
 */
wb_code cli_lines_next(cli_lines *lines, wb_str *ret, wb_error *err);

#endif
