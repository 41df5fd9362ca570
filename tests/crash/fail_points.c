/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Nth call of a kind fails, for every N: each work is run again and again,
 * in a process of its own, until an N is beyond its last call; and where a call
 * can fail in several ways, once with each. What must come of each: no crash;
 * WB_OK or an error that is called what it is, with a text; every block freed
 * that a run without a failure frees; the store sound, and what the work itself
 * checks.
 *
 * Usage: fail-points alloc|store|system [-n N] [-c CALL] [WORK...]: N: only
 * every Nth, with one of its ways (make check); CALL: only this one, which was
 * said to have FAILED. The last line is the figure; exit code 1: one was not
 * survived.
 */
#include "tests/crash/fail_points.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/store/table.h"
#include "tests/kit/scratch.h"

enum {
	FAILURES_SHOWN = 10,
	WORK_SECONDS = 60,
	END_UNREACHED = 10, /* exit codes of a child */
	END_WRONG_CODE = 11,
	END_LEAK = 12,
	END_NO_TEXT = 13,
	END_FILES = 14
};

static const fail_work *const works[] = {&fail_store,
					 &fail_host,
					 &fail_outbox,
					 &fail_stream,
					 &fail_aggregate,
					 &fail_upkeep,
					 &fail_routes,
					 &fail_brokers,
					 &fail_amqp,
					 &fail_relay, &fail_mend,
					 &fail_relay_loop,
					 &fail_worker,
					 &fail_worker_loop,
					 &fail_sagas,
					 &fail_town,
					 &fail_projection,
					 &fail_projection_loop,
					 &fail_read,
					 &fail_read_beside,
					 &fail_kit};

/* "2,909 allocations" */
static const char *const kind_names[FAIL_KINDS] = {"alloc", "store", "system"};
static const char *const kind_calls[FAIL_KINDS] = {
	"allocations", "calls of the store", "system calls"};

/* ---- which call fails ---------------------------------------------------- */

/* What a child tells. */
typedef struct told {
	unsigned long made; /* calls of the kind */
	long live;
	int files;
	wb_code code;
	bool fired;
	size_t ways; /* in which the call can fail that did */
	int with;    /* what it failed with */
	char call[32];
	char text[WB_ERROR_TEXT_MAX];
} told;

/* The calls that fail have no other place to look. One thread's: that of the
 * work; what other threads call is counted a little wrong, and does no harm. */
static struct {
	fail_kind kind;
	unsigned long at; /* 0: none fails */
	size_t way;
	bool counting, held;
	long slack;
	told *t; /* the parent sees it, too, whatever becomes of the child */
} now;

bool fail_now(fail_kind kind, const char *call, const int *codes, size_t count,
	      int *ret)
{
	if (!now.counting || now.held || kind != now.kind)
		return false;
	if (++now.t->made != now.at)
		return false;
	now.t->fired = true;
	now.t->ways = count;
	now.t->with = codes[now.way % count];
	strncpy(now.t->call, call, sizeof(now.t->call) - 1);
	*ret = now.t->with;
	return true;
}

bool fail_is_counting(void)
{
	return now.counting;
}

void fail_hold(bool hold)
{
	now.held = hold;
}

void fail_allow_blocks(long count)
{
	now.slack = count;
}

/* A thread without memory for its stack is EAGAIN, says pthread_create(3). */
static bool is_called_right(wb_code code)
{
	if (!now.t->fired)
		return false;
	if (now.kind == FAIL_ALLOC)
		return code == WB_ENOMEM || code == WB_EAGAIN;
	if (now.kind == FAIL_SYSTEM)
		return code == wbi_code_from_errno(now.t->with);
	/* A part that cannot take over the map says so in its own way. */
	return code == wbi_lmdb_code(now.t->with) ||
	       (code == WB_EMISMATCH && wbi_lmdb_is_resized(now.t->with));
}

bool fail_may_stop_one(void)
{
	if (!now.t->fired || now.kind == FAIL_ALLOC)
		return false;
	if (now.kind == FAIL_SYSTEM)
		return true;
	return wb_code_class(wbi_lmdb_code(now.t->with)) == WB_CLASS_STOP;
}

static void child_end(int end);

void fail_judge(wb_code code, const wb_error *err)
{
	now.t->code = code;
	snprintf(now.t->text, sizeof(now.t->text), "%s", err->text);
	if (!is_called_right(code))
		child_end(END_WRONG_CODE);
	if (err->code != code || err->text[0] == '\0')
		child_end(END_NO_TEXT);
}

bool fail_goes_on(wb_code code, const wb_error *err)
{
	if (code == WB_OK)
		return true;
	fail_judge(code, err);
	return false;
}

/* ---- one run, in a child ------------------------------------------------- */

/* Of gcc --coverage, where there is such a thing. */
void __gcov_dump(void) __attribute__((weak));
void __gcov_reset(void) __attribute__((weak));

static void child_end(int end)
{
	now.counting = false;
	if (__gcov_dump)
		__gcov_dump();
	_exit(end);
}

static int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

static int child_judge(const wb_error *err, const told *clean)
{
	wb_code code = now.t->code;

	if (now.at > 0 && !now.t->fired)
		return END_UNREACHED;
	if (code != WB_OK && !is_called_right(code))
		return END_WRONG_CODE;
	if (code != WB_OK && (err->code != code || err->text[0] == '\0'))
		return END_NO_TEXT;
	if (clean && now.t->live > clean->live + now.slack)
		return END_LEAK;
	return clean && now.t->files > clean->files ? END_FILES : 0;
}

static void child(const fail_work *work, const char *dir, const told *clean)
{
	wb_error err = WB_ERROR_INIT;
	int end;

	if (__gcov_reset)
		__gcov_reset();
	alarm(WORK_SECONDS);
	if (work->prepare)
		work->prepare(dir);
	now.counting = true;
	now.t->code = work->run(dir, &err);
	now.counting = false;
	now.t->live = fail_live_blocks();
	now.t->files = open_files();
	if (now.t->code != WB_OK)
		snprintf(now.t->text, sizeof(now.t->text), "%s", err.text);
	end = child_judge(&err, clean);
	if (work->check)
		work->check(dir, now.t->code);
	child_end(end);
}

static int run_once(const fail_work *work, const told *clean, told *ret)
{
	char dir[PATH_MAX];
	int status = -1;
	pid_t pid;

	WB_ASSERT(kit_scratch_make(kit_scratch_base(), dir));
	memset(now.t, 0, sizeof(*now.t));
	fflush(stdout);
	pid = fork();
	WB_ASSERT(pid >= 0);
	if (pid == 0)
		child(work, dir, clean);
	WB_ASSERT(waitpid(pid, &status, 0) == pid);
	*ret = *now.t;
	kit_scratch_remove(dir);
	return status;
}

/* ---- all of them --------------------------------------------------------- */

static void say(int status, const told *t, const told *clean)
{
	if (WIFSIGNALED(status))
		printf("signal %d\n", WTERMSIG(status));
	else if (WEXITSTATUS(status) == END_WRONG_CODE)
		printf("ended with %s: %s\n", wb_code_name(t->code), t->text);
	else if (WEXITSTATUS(status) == END_NO_TEXT)
		printf("%s does not say why\n", wb_code_name(t->code));
	else if (WEXITSTATUS(status) == END_LEAK)
		printf("%ld blocks left, %ld without a failure\n", t->live,
		       clean->live);
	else if (WEXITSTATUS(status) == END_FILES)
		printf("%d files left open, %d without a failure\n", t->files,
		       clean->files);
	else
		printf("exit code %d\n", WEXITSTATUS(status));
}

typedef struct counts {
	unsigned long each; /* only every so many */
	unsigned long only; /* or this one */
	unsigned long tried, failed;
} counts;

/* One call fails, in each way, or in one of them. */
static void run_call(const fail_work *work, const told *clean, counts *ret)
{
	size_t ways = 1;

	for (size_t i = 0; i < ways; i++) {
		told t;
		int status;

		now.way = ret->each == 1 ? i : now.at / ret->each;
		status = run_once(work, clean, &t);
		/* Two threads count a little differently each time. */
		if (WIFEXITED(status) && WEXITSTATUS(status) == END_UNREACHED)
			return;
		ret->tried++;
		if (ret->each == 1)
			ways = t.ways;
		if (status == 0 || ret->failed++ >= FAILURES_SHOWN)
			continue;
		printf("FAILED %s, call %lu, %s with %d: ", work->name, now.at,
		       t.call, t.with);
		say(status, &t, clean);
	}
}

static void run_work(const fail_work *work, counts *all)
{
	counts own = {.each = all->each};
	int status;
	told clean;

	now.at = 0;
	status = run_once(work, NULL, &clean);
	if (status != 0 || clean.code != WB_OK) {
		printf("FAILED %s by itself: ", work->name);
		say(status, &clean, &clean);
		all->failed++;
		return;
	}
	for (now.at = 1 + own.each / 2; now.at <= clean.made;
	     now.at += own.each)
		if (all->only == 0 || now.at == all->only)
			run_call(work, &clean, &own);
	printf("%-15s %6lu %s, %6lu failures, %lu not survived\n", work->name,
	       clean.made, kind_calls[now.kind], own.tried, own.failed);
	all->tried += own.tried;
	all->failed += own.failed;
}

static bool find_kind(const char *name)
{
	for (now.kind = 0; now.kind < FAIL_KINDS; now.kind++)
		if (!strcmp(name, kind_names[now.kind]))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	counts all = {.each = 1};
	int option;

	if (argc < 2 || !find_kind(argv[1]))
		return 2;
	optind = 2;
	while ((option = getopt(argc, argv, "n:c:")) == 'n' || option == 'c')
		*(option == 'n' ? &all.each : &all.only) =
			strtoul(optarg, NULL, 10);
	if (option != -1 || all.each == 0)
		return 2;
	now.t = mmap(NULL, sizeof(*now.t), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	WB_ASSERT(now.t != MAP_FAILED);
	/* cmocka keeps to itself else what failed outside of its tests. */
	setenv("CMOCKA_TEST_ABORT", "1", 1);
	for (size_t i = 0; i < WBI_COUNT(works); i++) {
		bool wanted = optind == argc;

		for (int j = optind; j < argc; j++)
			wanted |= !strcmp(argv[j], works[i]->name);
		if (wanted)
			run_work(works[i], &all);
	}
	printf("%s-points: %lu failures, %lu not survived\n",
	       kind_names[now.kind], all.tried, all.failed);
	return all.failed > 0;
}
