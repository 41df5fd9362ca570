/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_WHEN_H
#define CLI_WHEN_H

#include "cli/command.h"

/* What --after, --before and --to take, for their help and for refusals. */
#define CLI_WHEN_HELP                                                         \
	"2026-01-31T12:00:00Z, 2026-01-31 (UTC), 90m (ago) or +2d (from now)"

/*
 * What stands behind --FLAG: microseconds since 1970, UTC. Units: s, m, h, d.
 * NULL: the flag was not given, and *ret_us stays. CLI_OK, or CLI_USAGE with the
 * reason printed.
 */
int cli_when_flag(const cli_context *ctx, const char *flag, const char *text,
		  int64_t *ret_us);

#endif
