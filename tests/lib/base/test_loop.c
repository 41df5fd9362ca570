/* SPDX-License-Identifier: BSD-2-Clause */
/* What wakes a part that lives in an event loop, and what does not. */
#include "tests/support/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/loop.h"
#include "lib/base/owner.h"
#include "tests/kit/scratch.h"

enum { MOST_MS = 2000 };

typedef struct scene {
	wbi_loop loop;
	int pipe[2];
	char dir[PATH_MAX], file[PATH_MAX + 8];
} scene;

static int set_up(void **state)
{
	scene *s = calloc(1, sizeof(*s));
	wb_error err = WB_ERROR_INIT;

	if (!s || pipe(s->pipe) ||
	    !kit_scratch_make(kit_scratch_base(), s->dir))
		return -1;
	snprintf(s->file, sizeof(s->file), "%s/file", s->dir);
	wbi_loop_init(&s->loop);
	*state = s;
	return wbi_loop_hang_bell(&s->loop, &err) ||
	       wbi_loop_open(&s->loop, s->pipe[0], &err);
}

static int tear_down(void **state)
{
	scene *s = *state;

	wbi_loop_fini(&s->loop);
	close(s->pipe[0]);
	close(s->pipe[1]);
	kit_scratch_remove(s->dir);
	free(s);
	return 0;
}

static wbi_woken wait_woken(scene *s, int watch)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_loop_wait(&s->loop, MOST_MS, &err), err);
	return wbi_loop_woken(&s->loop, watch);
}

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void it_sleeps_while_nothing_happens(void **state)
{
	scene *s = *state;
	wb_error err = WB_ERROR_INIT;
	wbi_woken woken;

	assert_ok(wbi_loop_wait(&s->loop, 0, &err), err);
	woken = wbi_loop_woken(&s->loop, -1);
	assert_int_equal(woken.count, 0);
	assert_false(woken.file);
}

static void a_descriptor_wakes_it_and_is_named(void **state)
{
	scene *s = *state;
	wbi_woken woken;

	assert_int_equal(write(s->pipe[1], "x", 1), 1);
	woken = wait_woken(s, -1);
	assert_int_equal(woken.count, 1);
	assert_int_equal(woken.fds[0], s->pipe[0]);
}

static void the_bell_wakes_it_once_and_keeps_errno(void **state)
{
	scene *s = *state;

	errno = EDOM;
	wbi_loop_ring(&s->loop);
	wbi_loop_ring(&s->loop);
	assert_int_equal(errno, EDOM);
	assert_int_equal(wait_woken(s, -1).count, 0);
	it_sleeps_while_nothing_happens(state);
}

/* A bell that nobody has answered for ever is full, and rings all the same. */
static void a_bell_that_is_full_keeps_errno_too(void **state)
{
	scene *s = *state;
	uint64_t full = UINT64_MAX - 1;

	assert_int_equal(write(s->loop.bell_fd, &full, sizeof(full)), 8);
	errno = EDOM;
	wbi_loop_ring(&s->loop);
	assert_int_equal(errno, EDOM);
	wait_woken(s, -1);
}

static void a_timer_wakes_at_the_earliest_of_its_times(void **state)
{
	scene *s = *state;
	int64_t from = now_us();

	wbi_loop_arm(&s->loop, INT64_MAX);
	wbi_loop_arm(&s->loop, from + 20000);
	wbi_loop_arm(&s->loop, from + 3600000000); /* later: the first stays */
	assert_int_equal(s->loop.timer_us, from + 20000);
	wait_woken(s, -1);
	assert_true(now_us() >= from + 20000);
	assert_int_equal(s->loop.timer_us, INT64_MAX);
	/* A time that is long over wakes at once. */
	wbi_loop_arm(&s->loop, -5);
	wait_woken(s, -1);
	assert_int_equal(s->loop.timer_us, INT64_MAX);
}

static void while_it_ticks_the_descriptor_rests(void **state)
{
	scene *s = *state;

	assert_int_equal(write(s->pipe[1], "x", 1), 1);
	wbi_loop_tick(&s->loop, -1, 1000);
	assert_false(s->loop.ticking);
	wbi_loop_tick(&s->loop, s->pipe[0], 1000);
	wbi_loop_tick(&s->loop, s->pipe[0], 1000);
	assert_true(s->loop.ticking);
	wbi_loop_arm(&s->loop, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(wait_woken(s, -1).count, 0);
	wbi_loop_tick(&s->loop, s->pipe[0], 0);
	assert_false(s->loop.ticking);
	while (wait_woken(s, -1).count == 0)
		;
	/* What was never added cannot rest. */
	wbi_loop_tick(&s->loop, s->pipe[1], 1000);
	assert_false(s->loop.ticking);
	wbi_loop_tick(&s->loop, s->pipe[0], UINT32_MAX);
	assert_true(s->loop.ticking);
}

static void a_file_that_is_written_wakes_its_watch_only(void **state)
{
	scene *s = *state;
	char other[sizeof(s->file) + 2];
	int fd = open(s->file, O_CREAT | O_WRONLY, 0600), other_fd, watch;

	snprintf(other, sizeof(other), "%s2", s->file);
	other_fd = open(other, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0 && other_fd >= 0);
	watch = wbi_loop_watch(&s->loop, s->file);
	assert_true(watch >= 0);
	assert_true(wbi_loop_watch(&s->loop, other) >= 0);
	assert_int_equal(wbi_loop_watch(&s->loop, "/nowhere/at/all"), -1);
	assert_int_equal(write(other_fd, "x", 1), 1);
	assert_false(wait_woken(s, watch).file);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_true(wait_woken(s, watch).file);
	close(fd);
	close(other_fd);
}

static void without_a_loop_nothing_can_be_watched(void **state)
{
	wbi_loop loop;

	(void)state;
	wbi_loop_init(&loop);
	assert_int_equal(wbi_loop_watch(&loop, "/tmp"), -1);
	wbi_loop_fini(&loop);
}

/* The loop is shut then, and can be opened again; the bell stays. */
static void a_descriptor_that_cannot_be_polled_is_an_error(void **state)
{
	scene *s = *state;
	wb_error err = WB_ERROR_INIT;
	int fd = open(s->file, O_CREAT | O_RDWR, 0600);
	wbi_loop loop;

	wbi_loop_init(&loop);
	assert_ok(wbi_loop_hang_bell(&loop, &err), err);
	assert_code(wbi_loop_open(&loop, fd, &err), WB_EACCESS, err);
	assert_int_equal(loop.epoll_fd, -1);
	assert_true(loop.bell_fd >= 0);
	assert_code(wbi_loop_wait(&loop, 0, &err), WB_EIO, err);
	assert_ok(wbi_loop_open(&loop, -1, &err), err);
	wbi_loop_fini(&loop);
	close(fd);
}

static void a_second_owner_learns_who_the_first_is(void **state)
{
	scene *s = *state;
	wb_error err = WB_ERROR_INIT;
	int fd = -1, second = -1;
	int64_t pid = -1;

	assert_ok(wbi_owner_take(s->file, &fd, &pid, &err), err);
	assert_int_equal(pid, -1);
	assert_code(wbi_owner_take(s->file, &second, &pid, &err), WB_EBUSY,
		    err);
	assert_int_equal(pid, getpid());
	assert_int_equal(second, -1);
	/* One that has not said who it is yet. */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_code(wbi_owner_take(s->file, &second, &pid, &err), WB_EBUSY,
		    err);
	assert_int_equal(pid, 0);
	close(fd);
	assert_code(wbi_owner_take(s->dir, &fd, &pid, &err), WB_EIO, err);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH(it_sleeps_while_nothing_happens),
		WITH(a_descriptor_wakes_it_and_is_named),
		WITH(the_bell_wakes_it_once_and_keeps_errno),
		WITH(a_bell_that_is_full_keeps_errno_too),
		WITH(a_timer_wakes_at_the_earliest_of_its_times),
		WITH(while_it_ticks_the_descriptor_rests),
		WITH(a_file_that_is_written_wakes_its_watch_only),
		cmocka_unit_test(without_a_loop_nothing_can_be_watched),
		WITH(a_descriptor_that_cannot_be_polled_is_an_error),
		WITH(a_second_owner_learns_who_the_first_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
