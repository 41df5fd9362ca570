/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How fast an operator's command goes through many rows: in transactions of
 * about a millisecond, with a pause between them for other writers, and no more
 * of them in a second than --rate allows (0: as fast as it goes).
 */
#ifndef CLI_PACE_H
#define CLI_PACE_H

#include <stddef.h>
#include <stdint.h>

#include "cli/command.h"

/* Rows of a table of flags, where the options S of a command have `dry_run`,
 * `rate`, `limit` and `progress`. */
#define CLI_PACE_FLAGS(S)                                                     \
	{{.name = "dry-run", .kind = WBI_CONFIG_BOOL,                         \
	  .offset = offsetof(S, dry_run),                                     \
	  .help = "Show what would be done; do nothing."}, 0},                \
	{{.name = "rate", .kind = WBI_CONFIG_NUMBER,                          \
	  .offset = offsetof(S, rate), .max = 1000000, .init = "0",           \
	  .arg = "N", .help = "At most so many in a second; 0: as fast as it "\
			      "goes."}, 0},                                   \
	{{.name = "limit", .kind = WBI_CONFIG_NUMBER,                         \
	  .offset = offsetof(S, limit), .min = 1, .max = CLI_PACE_MOST,       \
	  .init = "1000000", .arg = "N",                                      \
	  .help = "Only the first so many of them."}, 'n'},                   \
	{{.name = "progress", .kind = WBI_CONFIG_BOOL,                        \
	  .offset = offsetof(S, progress),                                    \
	  .help = "Show progress even if stderr is not a terminal."}, 0}

enum { CLI_PACE_MOST = 1000000 };

/* How many at once: `most`, what is `left`, and so few that the rate is even
 * within a tenth of a second; at least 1. */
size_t cli_pace_batch(uint64_t rate, size_t most, size_t left);

/* Sleep between two transactions, until `done` since `start_us` (of the system's
 * monotonic clock) are no more than the rate allows. */
void cli_pace_wait(uint64_t rate, uint64_t done, int64_t start_us);

#endif
