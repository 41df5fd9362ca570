/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_WHEN_H
#define CLI_WHEN_H

#include <stdbool.h>
#include <stdint.h>

/* What --after, --before and --to take, for their help and for refusals. */
#define CLI_WHEN_HELP                                                         \
	"2026-01-31T12:00:00Z, 2026-01-31 (UTC), 90m (ago) or +2d (from now)"

/* Microseconds since 1970, UTC. Units: s, m, h, d. False: none of these. */
bool cli_when_parse(const char *text, int64_t now_us, int64_t *ret_us);

#endif
