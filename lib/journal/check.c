/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A check in a child process: LMDB follows what is in its file, so a damaged
 * one may crash or hang whoever reads it. The child walks (walk.c) and writes
 * messages of one size into a pipe; the parent passes them on, and takes the
 * child's death, or a minute of silence, for a finding of its own. The parent
 * opens nothing of the store, and nobody writes to it.
 *
 * Not for a process whose other threads hold locks: the child allocates.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/journal/walk.h"
#include "lib/store/place.h"

enum {
	CHECK_SILENCE_MS = 60000,
	CHECK_FINDINGS_MAX = 1000 /* passed on; all are counted */
};

enum check_kind { CHECK_FINDING, CHECK_PROGRESS, CHECK_RESULT, CHECK_ERROR };

/* Child and parent are one program: the struct itself is the format. */
typedef struct check_message {
	enum check_kind kind;
	uint64_t done, total, position;
	wbi_check_result result;
	wb_error error;
	char file[32], table[32];
} check_message;

_Static_assert(sizeof(check_message) <= 4096, "written in one piece");

/* ---- the child ---------------------------------------------------------- */

typedef struct check_child {
	int fd;
	uint64_t findings;
} check_child;

static void check_send(int fd, const check_message *m)
{
	const char *at = (const char *)m;
	size_t len = sizeof(*m);

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno != EINTR)
			_exit(1); /* nobody listens any more */
		at += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
}

static void check_send_finding(void *ctx, const wbi_finding *finding)
{
	check_child *child = ctx;
	check_message m = {.kind = CHECK_FINDING};

	if (child->findings++ >= CHECK_FINDINGS_MAX)
		return;
	m.position = finding->position;
	wb_error_set(&m.error, finding->code, 0, "", "%s", finding->text);
	snprintf(m.file, sizeof(m.file), "%s", finding->file);
	snprintf(m.table, sizeof(m.table), "%s", finding->table);
	check_send(child->fd, &m);
}

static void check_send_progress(void *ctx, uint64_t done, uint64_t total)
{
	check_child *child = ctx;
	check_message m = {
		.kind = CHECK_PROGRESS, .done = done, .total = total};

	check_send(child->fd, &m);
}

/* Die of a crash at once and quietly: no handler of the host's, no core, and
 * LMDB's own last words unheard. */
static void check_child_init(void)
{
	static const int deadly[] = {SIGSEGV, SIGBUS,  SIGABRT,
				     SIGFPE,  SIGILL, SIGPIPE};
	const struct rlimit none = {0, 0};
	int null;

	for (size_t i = 0; i < WBI_COUNT(deadly); i++)
		signal(deadly[i], SIG_DFL);
	setrlimit(RLIMIT_CORE, &none);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0)
		dup2(null, STDERR_FILENO);
}

static _Noreturn void check_child_run(const char *dir, int fd)
{
	check_child child = {.fd = fd};
	wbi_walk_output output = {check_send_finding, check_send_progress,
				  &child};
	check_message m = {.kind = CHECK_RESULT};
	wb_code code;

	check_child_init();
	code = wbi_walk_store(dir, &output, &m.result, &m.error);
	if (code != WB_OK)
		m.kind = CHECK_ERROR;
	m.error.where = ""; /* a pointer means nothing over there */
	check_send(fd, &m);
	_exit(0);
}

/* ---- the parent --------------------------------------------------------- */

typedef struct check_parent {
	const wbi_check_report *report;
	wbi_check_result result;
	bool finished; /* the child has said its last word */
	wb_code worst; /* of the findings */
	wb_code code;  /* of the check itself */
	wb_error *err;
} check_parent;

static void check_found(check_parent *p, const wbi_finding *finding)
{
	p->result.findings++;
	if (p->worst != WB_ECORRUPT)
		p->worst = finding->code;
	if (p->report && p->report->finding)
		p->report->finding(p->report->ctx, finding);
}

static void check_take(check_parent *p, const check_message *m)
{
	wbi_finding finding = {.code = m->error.code,
			       .file = m->file,
			       .table = m->table,
			       .position = m->position,
			       .text = m->error.text};

	switch (m->kind) {
	case CHECK_FINDING:
		check_found(p, &finding);
		break;
	case CHECK_PROGRESS:
		if (p->report && p->report->progress)
			p->report->progress(p->report->ctx, m->done, m->total);
		break;
	case CHECK_RESULT:
		p->finished = true;
		p->result = m->result;
		break;
	case CHECK_ERROR:
		p->finished = true;
		p->code = wb_error_set(p->err, m->error.code, m->error.foreign,
				       __func__, "%s", m->error.text);
		break;
	}
}

/* One message, or part of one. False: the child is done, or silent. */
static bool check_receive(int fd, check_message *m, size_t *have)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	ssize_t n;
	int ready;

	do
		ready = poll(&wait, 1, CHECK_SILENCE_MS);
	while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		return false;
	n = read(fd, (char *)m + *have, sizeof(*m) - *have);
	if (n < 0)
		return errno == EINTR;
	*have += (size_t)n;
	return n > 0;
}

static void check_died(check_parent *p, int status, bool silent)
{
	char text[WB_ERROR_TEXT_MAX];
	wbi_finding finding = {.code = WB_ECORRUPT,
			       .file = "data.mdb",
			       .table = "",
			       .text = text};

	if (silent)
		snprintf(text, sizeof(text),
			 "the page structure is damaged: reading it took over "
			 "%d s without getting on",
			 CHECK_SILENCE_MS / 1000);
	else if (WIFSIGNALED(status))
		snprintf(text, sizeof(text),
			 "the page structure is damaged: reading it ended in "
			 "signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(text, sizeof(text),
			 "the page structure is damaged: reading it ended with "
			 "status %d",
			 WEXITSTATUS(status));
	check_found(p, &finding);
}

static void check_listen(check_parent *p, int fd, pid_t pid)
{
	check_message m;
	size_t have = 0;
	bool silent = false;
	int status = 0;

	while (!p->finished && check_receive(fd, &m, &have)) {
		if (have < sizeof(m))
			continue;
		have = 0;
		check_take(p, &m);
	}
	if (!p->finished) {
		/* At the pipe's end it is dying already; else it hangs. */
		struct pollfd gone = {.fd = fd, .events = POLLIN};

		silent = poll(&gone, 1, 0) == 0;
		if (silent)
			kill(pid, SIGKILL);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!p->finished)
		check_died(p, status, silent);
}

static wb_code check_run(check_parent *p, const char *dir)
{
	int pipes[2];
	pid_t pid;

	if (pipe(pipes))
		return wbi_fail_errno(p->err, errno, __func__, "pipe");
	pid = fork();
	if (pid == 0) {
		close(pipes[0]);
		check_child_run(dir, pipes[1]);
	}
	close(pipes[1]);
	if (pid < 0) {
		wb_code code = wbi_fail_errno(p->err, errno, __func__, "fork");

		close(pipes[0]);
		return code;
	}
	check_listen(p, pipes[0], pid);
	close(pipes[0]);
	return p->code;
}

wb_code wbi_store_check(const char *dir, const wbi_check_report *report,
			wbi_check_result *ret, wb_error *err)
{
	check_parent p = {.report = report, .err = err};
	char path[PATH_MAX];
	struct stat st;
	wb_code code;

	if (!dir || !ret)
		return WBI_FAIL(err, WB_EINVAL, "dir, ret: NULL");
	if (stat(dir, &st))
		return wbi_fail_errno(err, errno, __func__, "\"%s\"", dir);
	if (!S_ISDIR(st.st_mode))
		return WBI_FAIL(err, WB_EACCESS, "\"%s\" is not a directory",
				dir);
	code = wbi_place_join(dir, "data.mdb", path, sizeof(path), err);
	if (code == WB_OK && lstat(path, &st))
		code = wbi_fail_errno(err, errno, __func__,
				      "no store in \"%s\"", dir);
	if (code == WB_OK)
		code = wbi_place_check_fs(dir, NULL, err);
	if (code == WB_OK)
		code = check_run(&p, dir);
	if (code != WB_OK)
		return code;
	*ret = p.result;
	if (p.result.findings == 0)
		return WB_OK;
	return WBI_FAIL(err, p.worst == WB_OK ? WB_ECORRUPT : p.worst,
			"store \"%s\": %" PRIu64 " findings", dir,
			p.result.findings);
}
