/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Nth allocation fails, for every N: each work is run again and again, in a
 * process of its own, until an N is beyond its last allocation. What must come
 * of each: no crash; WB_OK or WB_ENOMEM (WB_EAGAIN of a thread) and no other error; every block freed
 * that a run without a failure frees; and the store sound.
 *
 * malloc() and its like are this program's own, so LMDB, jansson, rabbitmq-c and
 * libc itself run out of memory in the same way.
 *
 * Usage: alloc-points [-n N] [WORK...]: N: only every Nth (make check). The last
 * line is the figure; exit code 1: one was not survived.
 */
#include "tests/crash/alloc_points.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "tests/kit/scratch.h"

enum {
	FAILURES_SHOWN = 10,
	WORK_SECONDS = 60,
	END_UNREACHED = 10, /* exit codes of a child */
	END_WRONG_CODE = 11,
	END_LEAK = 12
};

/* ---- the allocator ------------------------------------------------------ */

/* libc knows of no other place to keep them. */
static unsigned long fail_at; /* counts down to the one that fails; 0: none */
static bool counting, fired, held;
static unsigned long made;
static long live;

/* What the functions below stand before. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *block);

static bool fails(void)
{
	if (!counting || held)
		return false;
	made++;
	if (fail_at == 0 || --fail_at > 0)
		return false;
	fired = true;
	errno = ENOMEM;
	return true;
}

static void *count(void *block)
{
	live += counting && block;
	return block;
}

#pragma GCC visibility push(default)

void *malloc(size_t size)
{
	return fails() ? NULL : count(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : count(__libc_calloc(n, size));
}

void *realloc(void *block, size_t size)
{
	void *moved;

	if (fails())
		return NULL;
	moved = __libc_realloc(block, size);
	live += counting && moved && !block;
	return moved;
}

int posix_memalign(void **ret, size_t align, size_t size)
{
	void *block = fails() ? NULL : count(__libc_memalign(align, size));

	if (!block)
		return ENOMEM;
	*ret = block;
	return 0;
}

void free(void *block)
{
	live -= counting && block;
	__libc_free(block);
}

#pragma GCC visibility pop

void alloc_hold(bool hold)
{
	held = hold;
}

/* ---- one run, in a child ------------------------------------------------ */

static const alloc_work *const works[] = {
	&alloc_store,   &alloc_outbox, &alloc_stream,
	&alloc_routes,  &alloc_brokers, &alloc_relay, &alloc_worker,
	&alloc_sagas,	&alloc_projection, &alloc_read, &alloc_upkeep};

typedef struct told {
	unsigned long made;
	long live;
	wb_code code;
} told;

/* A thread without memory for its stack is EAGAIN, says pthread_create(3). */
static bool is_allowed(wb_code code)
{
	return code == WB_OK ||
	       (fired && (code == WB_ENOMEM || code == WB_EAGAIN));
}

static void child(const alloc_work *work, const char *dir, unsigned long n,
		  const told *clean, int out)
{
	told t;
	int end = 0;

	alarm(WORK_SECONDS);
	if (work->prepare)
		work->prepare(dir);
	fail_at = n;
	counting = true;
	t.code = work->run(dir);
	counting = false;
	t.made = made;
	t.live = live;
	if (work->check)
		work->check(dir, t.code);
	if (n > 0 && !fired)
		end = END_UNREACHED;
	else if (!is_allowed(t.code))
		end = END_WRONG_CODE;
	else if (clean && t.live > clean->live)
		end = END_LEAK;
	if (write(out, &t, sizeof(t)) != sizeof(t))
		end = 1;
	_exit(end);
}

static int run_once(const alloc_work *work, unsigned long n, const told *clean,
		    told *ret)
{
	char dir[PATH_MAX];
	int pipes[2], status = -1;
	pid_t pid;

	WB_ASSERT(kit_scratch_make(kit_scratch_base(), dir));
	WB_ASSERT(pipe(pipes) == 0);
	memset(ret, 0, sizeof(*ret));
	fflush(stdout);
	pid = fork();
	WB_ASSERT(pid >= 0);
	if (pid == 0)
		child(work, dir, n, clean, pipes[1]);
	close(pipes[1]);
	if (read(pipes[0], ret, sizeof(*ret)) != sizeof(*ret))
		ret->code = WB_ESTATE;
	close(pipes[0]);
	WB_ASSERT(waitpid(pid, &status, 0) == pid);
	kit_scratch_remove(dir);
	return status;
}

/* ---- all of them -------------------------------------------------------- */

static void say(const alloc_work *work, unsigned long n, int status,
		const told *t, const told *clean)
{
	printf("FAILED %s, allocation %lu: ", work->name, n);
	if (WIFSIGNALED(status))
		printf("signal %d\n", WTERMSIG(status));
	else if (WEXITSTATUS(status) == END_WRONG_CODE)
		printf("ended with %s\n", wb_code_name(t->code));
	else if (WEXITSTATUS(status) == END_LEAK)
		printf("%ld blocks left, %ld without a failure\n", t->live,
		       clean->live);
	else
		printf("exit code %d\n", WEXITSTATUS(status));
}

static unsigned long run_work(const alloc_work *work, unsigned long each,
			      unsigned long *ret_failed)
{
	unsigned long tried = 0, failed = 0;
	told clean, t;

	if (run_once(work, 0, NULL, &clean) != 0 || clean.code != WB_OK) {
		printf("FAILED %s: fails by itself: %s\n", work->name,
		       wb_code_name(clean.code));
		++*ret_failed;
		return 0;
	}
	for (unsigned long n = 1 + each / 2; n <= clean.made; n += each) {
		int status = run_once(work, n, &clean, &t);

		/* Two threads count a little differently each time. */
		if (WIFEXITED(status) && WEXITSTATUS(status) == END_UNREACHED)
			continue;
		tried++;
		if (status != 0 && failed++ < FAILURES_SHOWN)
			say(work, n, status, &t, &clean);
	}
	printf("%-12s %6lu allocations, %6lu failed in turn, %lu not survived\n",
	       work->name, clean.made, tried, failed);
	*ret_failed += failed;
	return tried;
}

int main(int argc, char **argv)
{
	unsigned long tried = 0, failed = 0, each = 1;
	int option;

	while ((option = getopt(argc, argv, "n:")) == 'n')
		each = strtoul(optarg, NULL, 10);
	if (option != -1 || each == 0)
		return 2;
	for (size_t i = 0; i < WBI_COUNT(works); i++) {
		bool wanted = optind == argc;

		for (int j = optind; j < argc; j++)
			wanted |= !strcmp(argv[j], works[i]->name);
		if (wanted)
			tried += run_work(works[i], each, &failed);
	}
	printf("alloc-points: %lu allocations failed, %lu not survived\n",
	       tried, failed);
	return failed > 0;
}
