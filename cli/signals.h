/* SPDX-License-Identifier: BSD-2-Clause */
/* Signals read from a descriptor, so that nothing is interrupted. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include "cli/command.h"

/* Block SIGTERM, SIGINT, SIGHUP and `also` (0: no other), ignore SIGPIPE. Before
 * any thread is made. CLI_OK, or the exit code with the reason said. */
int cli_signals_open(const cli_context *ctx, int also, int *ret_fd);
/* The next one; 0: none. */
int cli_signals_next(int fd);
/* Say what a daemon does about its `stops`-th one. */
void cli_log_stop(const wb_log *log, int signo, int stops);

#endif
