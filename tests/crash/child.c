/* SPDX-License-Identifier: BSD-2-Clause */
/* See child.h. The descriptor of a process (pidfd_open(2)) is what makes a
 * wait with a deadline simple. Between fork and exec only what is safe beside
 * other threads is called. */
#include "tests/crash/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_ENV_MAX = 256 };

extern char **environ;

static void child_exec(const char *const argv[], char **env, int out)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (out >= 0) {
		dup2(out, STDOUT_FILENO);
		dup2(out, STDERR_FILENO);
	}
	execve(argv[0], (char *const *)argv, env);
	_exit(127);
}

pid_t child_start(const char *const argv[], const char *const env[],
		  const char *out)
{
	int fd = open(out ? out : "/dev/null",
		      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	char *all[CHILD_ENV_MAX + 1];
	size_t count = 0;
	pid_t pid;

	/* Ours come first: getenv(3) takes the first of two. */
	for (size_t i = 0; env && env[i] && count < CHILD_ENV_MAX; i++)
		all[count++] = (char *)env[i];
	for (size_t i = 0; environ[i] && count < CHILD_ENV_MAX; i++)
		all[count++] = environ[i];
	all[count] = NULL;
	pid = fork();
	if (pid == 0)
		child_exec(argv, all, fd);
	if (fd >= 0)
		close(fd);
	return pid;
}

static bool child_ended(pid_t pid, int timeout_ms)
{
	struct pollfd fd = {(int)syscall(SYS_pidfd_open, pid, 0), POLLIN, 0};
	int n;

	if (fd.fd < 0)
		return true;
	do
		n = poll(&fd, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	close(fd.fd);
	return n > 0;
}

bool child_alive(pid_t pid)
{
	return pid > 0 && !child_ended(pid, 0);
}

int child_wait(pid_t pid, int timeout_ms)
{
	bool ended;
	int status;

	if (pid <= 0)
		return CHILD_TIMEOUT;
	ended = child_ended(pid, timeout_ms);
	if (!ended)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return CHILD_TIMEOUT;
	return ended ? status : CHILD_TIMEOUT;
}

int child_run(const char *const argv[], const char *const env[],
	      const char *out, int timeout_ms)
{
	return child_wait(child_start(argv, env, out), timeout_ms);
}

void child_kill(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	child_wait(pid, 10000);
}
