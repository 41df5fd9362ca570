/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Both processes are made by fork(2), before anything is open that must not
 * cross it (LMDB). They share the page of calls (inbox/calls.h), a file that is
 * mapped, and a socket on which the worker says how it is.
 *
 * A call is ended only after the worker has been stopped and the same call is
 * still there: no other one can be charged by mistake. What a killed worker had
 * not committed is as if it had not been, and its lock goes with it.
 *
 * If the supervisor dies, the worker is killed by the kernel. If the machine
 * does, neither was ever there.
 */
#include "cli/supervisor.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/notify.h"
#include "cli/signals.h"
#include "inbox/calls.h"
#include "lib/base/assert.h"
#include "lib/base/backoff.h"
#include "lib/base/log.h"

enum {
	LOOK_MS = 100,          /* at the calls in progress */
	IDLE_MS = 1000,
	FREEZE_MS = 1000,       /* a stopped process is seen as such by then */
	DRAIN_EXTRA_MS = 5000,  /* closing connections and the like */
	SECOND_MS = 1000,       /* after the second signal */
	WORD_MAX = 256
};

typedef struct supervisor {
	cli_context *ctx;
	const wb_log *log;
	pid_t parent, child; /* child 0: none now */
	int signal_fd, channel;
	wbi_calls *calls; /* NULL: not mapped yet */
	bool active;      /* the child is the store's worker */
	bool ready;       /* said once */
	int stops;
	bool killed;      /* by us, to end it all */
	int64_t kill_at_us, start_at_us, started_us;
	int64_t alive_us, told_alive_us;
	uint64_t watchdog_us;
	wbi_backoff backoff;
	int status; /* of waitpid */
} supervisor;

/* ---- words --------------------------------------------------------------- */

void cli_tell(int channel, cli_word word, const char *text)
{
	char message[WORD_MAX];
	int len;

	if (channel != CLI_NO_SUPERVISOR) {
		len = snprintf(message, sizeof(message), "%c%s", (char)word,
			       text ? text : "");
		if (len >= (int)sizeof(message))
			len = sizeof(message) - 1;
		(void)!send(channel, message, (size_t)len,
			    MSG_DONTWAIT | MSG_NOSIGNAL);
		return;
	}
	switch (word) {
	case CLI_WORD_READY:
		cli_notify_ready();
		break;
	case CLI_WORD_ALIVE:
		cli_notify_alive();
		break;
	case CLI_WORD_STOPPING:
		cli_notify_stopping();
		break;
	case CLI_WORD_STATUS:
		cli_notify_status(text);
		break;
	case CLI_WORD_ACTIVE:
		break;
	}
}

static void hear(supervisor *s)
{
	char message[WORD_MAX + 1];
	ssize_t len;

	while (s->channel >= 0 &&
	       (len = recv(s->channel, message, WORD_MAX, MSG_DONTWAIT)) > 0) {
		message[len] = '\0';
		s->alive_us = cli_mono_us();
		if (message[0] == CLI_WORD_ACTIVE)
			s->active = true;
		if (message[0] == CLI_WORD_STATUS)
			cli_notify_status(message + 1);
		if (message[0] == CLI_WORD_READY && !s->ready) {
			s->ready = true;
			cli_notify_ready();
		}
	}
}

/* ---- what is in the page ------------------------------------------------- */

/* The store's directory may not be there yet, or not be a store: that is the
 * worker's to say. */
static void map_calls(supervisor *s)
{
	if (!s->calls && s->active &&
	    wbi_calls_open(s->ctx->config.store, &s->calls, NULL) != WB_OK)
		s->calls = NULL;
}

static bool overdue(const wbi_call_noted *call, int64_t now_us)
{
	return call->deadline_ms > 0 &&
	       now_us - call->started_us > (int64_t)call->deadline_ms * 1000;
}

static const char *describe(const wbi_call_noted *call, char *ret, size_t size)
{
	if (call->id.lane == WBI_LANE_TIMER)
		snprintf(ret, size, "handler %.*s, timer %.*s",
			 (int)call->id.consumer.len, call->id.consumer.ptr,
			 (int)call->id.key.len, call->id.key.ptr);
	else
		snprintf(ret, size,
			 "handler %.*s, event %" PRIu64 " of the inbox",
			 (int)call->id.consumer.len, call->id.consumer.ptr,
			 call->id.position);
	return ret;
}

/* Which call the child died in, as far as is known. */
static const char *blame(const supervisor *s, char *ret, size_t size)
{
	wbi_call_noted call;
	size_t noted = 0;

	snprintf(ret, size, "no call was in progress");
	for (unsigned i = 0; s->calls && i < WBI_CALLS_MAX; i++) {
		if (!wbi_calls_get(s->calls, i, &call))
			continue;
		noted++;
		if (noted == 1 || call.end != WBI_CALL_UNKNOWN)
			describe(&call, ret, size);
		if (call.end != WBI_CALL_UNKNOWN)
			return ret;
	}
	if (noted > 1)
		snprintf(ret, size, "%zu calls were in progress", noted);
	return ret;
}

/* ---- ending a call that hangs -------------------------------------------- */

/* True: it stands still; false: it has ended (child is 0), or will not. */
static bool freeze(supervisor *s)
{
	int64_t until_us = cli_mono_us() + (int64_t)FREEZE_MS * 1000;

	if (kill(s->child, SIGSTOP) != 0)
		return false;
	while (cli_mono_us() < until_us) {
		pid_t pid = waitpid(s->child, &s->status, WUNTRACED | WNOHANG);

		if (pid == s->child && WIFSTOPPED(s->status))
			return true;
		if (pid == s->child) {
			s->child = 0;
			return false;
		}
		(void)poll(NULL, 0, 1);
	}
	return false;
}

static void end_call(supervisor *s, unsigned slot, const wbi_call_noted *seen)
{
	wbi_call_noted call;
	char text[400];

	if (freeze(s) && wbi_calls_get(s->calls, slot, &call) &&
	    call.started_us == seen->started_us &&
	    call.id.position == seen->id.position) {
		wbi_log(s->log, WB_LOG_ERROR,
			"%s is past its deadline of %u ms: ending the worker",
			describe(&call, text, sizeof(text)), call.deadline_ms);
		wbi_calls_mark(s->calls, slot, WBI_CALL_HUNG);
		kill(s->child, SIGKILL);
	}
	if (s->child > 0)
		kill(s->child, SIGCONT);
}

static void look_at_calls(supervisor *s)
{
	wbi_call_noted call;

	map_calls(s);
	for (unsigned i = 0; s->calls && s->active && i < WBI_CALLS_MAX; i++) {
		if (s->child <= 0 || !wbi_calls_get(s->calls, i, &call))
			continue;
		/* A worker in a call says nothing: it is alive all the same. */
		if (i == 0)
			s->alive_us = cli_mono_us();
		if (overdue(&call, cli_mono_us()))
			end_call(s, i, &call);
	}
}

/* ---- starting and ending the worker -------------------------------------- */

/* In the child. Signals of a terminal reach the supervisor alone. */
static void be_worker(const supervisor *s)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	(void)setpgid(0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != s->parent)
		_exit(CLI_FAILED);
	close(s->signal_fd);
	wbi_calls_close(s->calls);
	unsetenv("NOTIFY_SOCKET");
}

/* True in the child. */
static bool start(supervisor *s, int *ret_channel)
{
	int ends[2];
	pid_t pid = -1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0)
		pid = fork();
	if (pid == 0) {
		close(ends[0]);
		be_worker(s);
		*ret_channel = ends[1];
		return true;
	}
	if (pid < 0) {
		wbi_log(s->log, WB_LOG_ERROR, "cannot start a worker: %s",
			strerror(errno));
		s->start_at_us = cli_mono_us() + (int64_t)IDLE_MS * 1000;
		return false;
	}
	close(ends[1]);
	s->channel = ends[0];
	s->child = pid;
	s->active = false;
	s->started_us = s->alive_us = cli_mono_us();
	return false;
}

/* A process that was ended by a signal says so in its status: true. */
static bool crashed(supervisor *s)
{
	int signo = WTERMSIG(s->status);
	char text[400];

	if (!WIFSIGNALED(s->status))
		return false;
	if (s->killed)
		return true;
	wbi_log(s->log, WB_LOG_ERROR, "the worker was ended by %s%s; %s",
		strsignal(signo), WCOREDUMP(s->status) ? " (core dumped)" : "",
		blame(s, text, sizeof(text)));
	return true;
}

/* The child is gone. True: and all is over, with *ret_code. */
static bool bury(supervisor *s, int *ret_code)
{
	int64_t now_us = cli_mono_us();
	bool by_signal = crashed(s);

	hear(s);
	close(s->channel);
	s->channel = -1;
	s->child = 0;
	/* An end that the operator asked for is no event's fault. */
	if (s->killed && s->calls)
		wbi_calls_clear(s->calls);
	if (!by_signal)
		*ret_code = WEXITSTATUS(s->status);
	else if (s->stops > 0)
		*ret_code = s->killed ? CLI_NOT_ALL : CLI_FAILED;
	else
		*ret_code = CLI_OK;
	if (!by_signal || s->stops > 0)
		return true;
	if (now_us - s->started_us >
	    (int64_t)s->ctx->config.restart_max_ms * 1000)
		s->backoff.count = 0;
	s->start_at_us = now_us + wbi_backoff_next_us(&s->backoff,
						      wb_system_random());
	wbi_log(s->log, WB_LOG_WARN, "starting it again in %" PRId64 " ms",
		(s->start_at_us - now_us) / 1000);
	return false;
}

static bool child_ended(supervisor *s)
{
	if (s->child == 0 && s->channel >= 0)
		return true; /* seen while it was to be frozen */
	return s->child > 0 &&
	       waitpid(s->child, &s->status, WNOHANG) == s->child;
}

static void take_signals(supervisor *s)
{
	const wbi_config *config = &s->ctx->config;
	uint64_t wait_ms = config->calls_drain_ms + config->drain_ms +
			   DRAIN_EXTRA_MS;
	int signo;

	while ((signo = cli_signals_next(s->signal_fd))) {
		if (signo == SIGCHLD)
			continue;
		if (s->stops++ == 0)
			cli_notify_stopping();
		else
			wait_ms = SECOND_MS;
		cli_log_stop(s->log, signo, s->stops);
		s->kill_at_us = cli_mono_us() + (int64_t)wait_ms * 1000;
		if (s->child > 0)
			kill(s->child, signo);
	}
	if (s->stops > 0 && s->child > 0 && !s->killed &&
	    cli_mono_us() >= s->kill_at_us) {
		wbi_log(s->log, WB_LOG_WARN,
			"the worker does not end: killing it");
		s->killed = true;
		kill(s->child, SIGKILL);
	}
}

/* The watchdog hears of us what the worker says, or does; between two workers
 * we speak for ourselves. */
static void tell_alive(supervisor *s)
{
	int64_t now_us = cli_mono_us();

	if (s->watchdog_us == 0 ||
	    now_us - s->told_alive_us < (int64_t)s->watchdog_us)
		return;
	if (s->child > 0 && s->alive_us <= s->told_alive_us)
		return;
	cli_notify_alive();
	s->told_alive_us = now_us;
}

static int wait_ms(const supervisor *s)
{
	int64_t left_ms = (s->start_at_us - cli_mono_us()) / 1000 + 1;

	if (s->child > 0)
		return s->active || s->stops > 0 ? LOOK_MS : IDLE_MS;
	return left_ms < 1 ? 1 : left_ms < IDLE_MS ? (int)left_ms : IDLE_MS;
}

/* True in the child. */
static bool supervise(supervisor *s, int *ret_channel, int *ret_code)
{
	for (;;) {
		struct pollfd fds[2] = {{.fd = s->signal_fd, .events = POLLIN},
					{.fd = s->channel, .events = POLLIN}};

		take_signals(s);
		hear(s);
		look_at_calls(s);
		if (child_ended(s) && bury(s, ret_code))
			return false;
		if (s->child == 0 && s->stops > 0)
			return false;
		if (s->child == 0 && cli_mono_us() >= s->start_at_us &&
		    start(s, ret_channel))
			return true;
		tell_alive(s);
		(void)poll(fds, s->channel >= 0 ? 2 : 1, wait_ms(s));
	}
}

bool cli_supervise(cli_context *ctx, int *ret_channel, int *ret_code)
{
	supervisor s = {.ctx = ctx,
			.log = &ctx->log,
			.parent = getpid(),
			.signal_fd = -1,
			.channel = -1,
			.backoff = {(uint32_t)ctx->config.restart_min_ms,
				    (uint32_t)ctx->config.restart_max_ms, 0}};
	bool child;

	*ret_code = cli_signals_open(ctx, SIGCHLD, &s.signal_fd);
	if (*ret_code != CLI_OK)
		return false;
	s.watchdog_us = cli_notify_watchdog_us();
	child = supervise(&s, ret_channel, ret_code);
	if (child)
		return true; /* its copies are closed */
	wbi_calls_close(s.calls);
	close(s.signal_fd);
	return false;
}
