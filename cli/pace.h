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

/* How many at once: `most`, what is `left`, and so few that the rate is even
 * within a tenth of a second; at least 1. */
size_t cli_pace_batch(uint64_t rate, size_t most, size_t left);

/* Sleep between two transactions, until `done` since `start_us` (of the system's
 * monotonic clock) are no more than the rate allows. */
void cli_pace_wait(uint64_t rate, uint64_t done, int64_t start_us);

#endif
