/* SPDX-License-Identifier: BSD-2-Clause */
/* See signals.h. One thread; the descriptor is the caller's. */
#include "cli/signals.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/base/log.h"

int cli_signals_open(const cli_context *ctx, int also, int *ret_fd)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (also)
		sigaddset(&set, also);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return cli_fail(ctx, CLI_FAILED, "sigprocmask: %s",
				strerror(errno));
	*ret_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (*ret_fd < 0)
		return cli_fail(ctx, CLI_FAILED, "signalfd: %s",
				strerror(errno));
	return CLI_OK;
}

int cli_signals_next(int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	return (int)info.ssi_signo;
}

void cli_log_stop(const wb_log *log, int signo, int stops)
{
	wbi_log(log, WB_LOG_INFO, "%s: %s", strsignal(signo),
		stops == 1 ? "draining, a second one ends at once"
			   : "ending at once");
}
