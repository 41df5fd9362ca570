/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every crash of the machine that some work could meet: it runs once, what it
 * does to files is recorded (disk_trace.h), and each state that a disk may be in
 * after a crash at any of these calls is made, opened, checked and gone on with
 * in a process of its own:
 *
 *   all      everything up to the call is there, durable or not
 *   none     nothing is there of what is not durable
 *   without  one of what is not durable is not there, all else is
 *   only     one of what is not durable is there, nothing else of it
 *   torn     the call itself is there in part: its beginning or its end, by
 *            512 bytes, with all else that is not durable, and with nothing; or
 *            an earlier one that is not durable is, with all behind it
 *
 * Usage: crash-points [-n N] [WORK...]: N: only every Nth state (make check);
 * the last line is the figure. Exit code 1: a state was not survived.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "tests/crash/crash_points.h"
#include "tests/crash/disk_trace.h"
#include "tests/kit/scratch.h"

enum {
	FAILURES_SHOWN = 10,
	CHECK_SECONDS = 60,
	EACH_MAX = 8 /* of what is not durable, the last ones: "without", "only" */
};

typedef struct points {
	const crash_work *work;
	disk_trace *trace;
	bool *skip;
	unsigned long seen, tried, failed; /* states */
	unsigned long each; /* only every so many-th is tried */
} points;

static const crash_work *const works[] = {&crash_creation, &crash_append,
					  &crash_relay, &crash_worker,
					  &crash_projection};

/* ---- one state ---------------------------------------------------------- */

static void say_state(const points *p, const disk_state *s, const char *what,
		      int status)
{
	const disk_op *op = s->count ? disk_trace_op(p->trace, s->count - 1)
				     : NULL;

	printf("FAILED %s: behind call %zu (kind %d, %s at %llu, %zu bytes), "
	       "%s %zu..%zu: ended with %d\n",
	       p->work->name, s->count, op ? (int)op->kind : -1,
	       op ? op->path : "", op ? (unsigned long long)op->at : 0,
	       op ? op->len : 0, what, s->from, s->to, status);
}

static void try_state(points *p, const disk_state *s, const char *what)
{
	char dir[PATH_MAX];
	int status = -1;
	pid_t pid;

	if (p->seen++ % p->each != 0)
		return;
	p->tried++;
	WB_ASSERT(kit_scratch_make(kit_scratch_base(), dir));
	disk_trace_write(p->trace, s, dir);
	fflush(stdout);
	pid = fork();
	WB_ASSERT(pid >= 0);
	if (pid == 0) {
		alarm(CHECK_SECONDS);
		p->work->check(dir, disk_trace_marked(p->trace, s->count));
		_exit(0);
	}
	WB_ASSERT(waitpid(pid, &status, 0) == pid);
	if (status != 0 && p->failed++ < FAILURES_SHOWN)
		say_state(p, s, what, status);
	kit_scratch_remove(dir);
}

/* ---- all of them -------------------------------------------------------- */

/* Fills p->skip with what is not durable; how many that are. */
static size_t skip_all(points *p, size_t count)
{
	size_t open = 0;

	for (size_t i = 0; i < count; i++) {
		p->skip[i] = !disk_trace_is_durable(p->trace, i, count);
		open += p->skip[i];
	}
	return open;
}

static void try_each(points *p, disk_state *s)
{
	size_t open = skip_all(p, s->count);

	if (open < 2)
		return; /* then these are "all" and "none" */
	for (size_t i = s->count, n = 0; i-- > 0 && n < EACH_MAX;) {
		if (!p->skip[i])
			continue;
		n++;
		p->skip[i] = false;
		try_state(p, s, "only");
		p->skip[i] = true;
	}
	memset(p->skip, 0, s->count * sizeof(*p->skip));
	for (size_t i = s->count, n = 0; i-- > 0 && n < EACH_MAX;) {
		if (disk_trace_is_durable(p->trace, i, s->count))
			continue;
		n++;
		p->skip[i] = true;
		try_state(p, s, "without");
		p->skip[i] = false;
	}
}

/* One write cut at each sector. */
static void try_cuts(points *p, disk_state *s, size_t torn, const char *what)
{
	const disk_op *op = disk_trace_op(p->trace, torn);

	s->torn = torn;
	for (size_t cut = DISK_SECTOR; cut < op->len; cut += DISK_SECTOR) {
		s->from = 0;
		s->to = cut;
		try_state(p, s, what);
		s->from = cut;
		s->to = op->len;
		try_state(p, s, what);
	}
	s->torn = SIZE_MAX;
	s->from = s->to = 0;
}

static void try_torn(points *p, disk_state *s)
{
	size_t last = s->count - 1;

	if (disk_trace_op(p->trace, last)->kind == DISK_WRITE) {
		skip_all(p, s->count);
		try_cuts(p, s, last, "torn, alone");
		memset(p->skip, 0, s->count * sizeof(*p->skip));
		try_cuts(p, s, last, "torn");
	}
	memset(p->skip, 0, s->count * sizeof(*p->skip));
	for (size_t i = last, n = 1; i-- > 0 && n < EACH_MAX;) {
		if (disk_trace_is_durable(p->trace, i, s->count))
			continue;
		n++;
		if (disk_trace_op(p->trace, i)->kind == DISK_WRITE)
			try_cuts(p, s, i, "torn, before others");
	}
}

static void try_prefix(points *p, size_t count)
{
	disk_state s = {.count = count, .skip = p->skip, .torn = SIZE_MAX};

	memset(p->skip, 0, (count + 1) * sizeof(*p->skip));
	try_state(p, &s, "all");
	if (count == 0)
		return;
	if (skip_all(p, count) > 0)
		try_state(p, &s, "none");
	try_each(p, &s);
	try_torn(p, &s);
}

static void record(points *p, const char *dir)
{
	if (p->work->prepare)
		p->work->prepare(dir);
	p->trace = disk_trace_begin(dir);
	p->work->run(dir);
	disk_trace_end(p->trace);
}

/* LMDB has closed everything when the first state is tried: no child has an
 * environment of its parent. */
static unsigned long run_work(const crash_work *work, unsigned long each,
			      unsigned long *ret_failed)
{
	points p = {.work = work, .each = each};
	char dir[PATH_MAX];
	size_t count;

	WB_ASSERT(kit_scratch_make(kit_scratch_base(), dir));
	record(&p, dir);
	kit_scratch_remove(dir);
	count = disk_trace_count(p.trace);
	p.skip = calloc(count + 1, sizeof(*p.skip));
	WB_ASSERT(p.skip);
	for (size_t i = 0; i <= count; i++)
		try_prefix(&p, i);
	printf("%-12s %5zu calls, %6lu states, %lu not survived\n", work->name,
	       count, p.tried, p.failed);
	fflush(stdout);
	disk_trace_free(p.trace);
	free(p.skip);
	*ret_failed += p.failed;
	return p.tried;
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
	printf("crash-points: %lu states of the disk, %lu not survived\n",
	       tried, failed);
	return failed > 0;
}
