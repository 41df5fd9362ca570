/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Descriptors of the kernel's, no thread and no lock. Deadlines mostly move
 * on: a timer that is set for an earlier time stays, and once it has fired for
 * nothing it is set anew, which saves most of the calls.
 *
 * The thread that steps the part owns it; wbi_loop_ring() alone may come from
 * elsewhere.
 */
#include "lib/base/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lib/base/error.h"

void wbi_loop_init(wbi_loop *loop)
{
	*loop = (wbi_loop){.epoll_fd = -1,
			   .timer_fd = -1,
			   .inotify_fd = -1,
			   .bell_fd = -1,
			   .timer_us = INT64_MAX};
}

static void loop_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* All but the bell, which may be rung at any time. */
static void loop_shut(wbi_loop *loop)
{
	int bell_fd = loop->bell_fd;

	loop_close(loop->inotify_fd);
	loop_close(loop->timer_fd);
	loop_close(loop->epoll_fd);
	wbi_loop_init(loop);
	loop->bell_fd = bell_fd;
}

void wbi_loop_fini(wbi_loop *loop)
{
	loop_shut(loop);
	loop_close(loop->bell_fd);
	loop->bell_fd = -1;
}

wb_code wbi_loop_hang_bell(wbi_loop *loop, wb_error *err)
{
	loop->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (loop->bell_fd < 0)
		return wbi_fail_errno(err, errno, __func__, "an eventfd");
	return WB_OK;
}

void wbi_loop_ring(wbi_loop *loop)
{
	int interrupted = errno; /* by the signal whose handler calls */
	uint64_t one = 1;

	if (write(loop->bell_fd, &one, sizeof(one)) < 0)
		errno = 0; /* the counter is full: it is readable anyway */
	errno = interrupted;
}

wb_code wbi_loop_add(wbi_loop *loop, int fd, wb_error *err)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (fd >= 0 &&
	    epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		return wbi_fail_errno(err, errno, __func__, "epoll");
	return WB_OK;
}

static wb_code loop_open(wbi_loop *loop, wb_error *err)
{
	wb_code code;

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->timer_fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (loop->epoll_fd < 0 || loop->timer_fd < 0)
		return wbi_fail_errno(err, errno, __func__,
				      "descriptors for an event loop");
	loop->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	code = wbi_loop_add(loop, loop->inotify_fd, err);
	if (code == WB_OK)
		code = wbi_loop_add(loop, loop->timer_fd, err);
	if (code == WB_OK)
		code = wbi_loop_add(loop, loop->bell_fd, err);
	return code;
}

wb_code wbi_loop_open(wbi_loop *loop, int fd, wb_error *err)
{
	wb_code code = loop_open(loop, err);

	if (code == WB_OK)
		code = wbi_loop_add(loop, fd, err);
	if (code != WB_OK)
		loop_shut(loop);
	return code;
}

int wbi_loop_watch(wbi_loop *loop, const char *path)
{
	if (loop->inotify_fd < 0)
		return -1;
	return inotify_add_watch(loop->inotify_fd, path, IN_MODIFY);
}

void wbi_loop_arm(wbi_loop *loop, int64_t at_us)
{
	struct itimerspec when = {.it_value = {0, 0}};

	if (loop->ticking || loop->timer_us <= at_us)
		return;
	if (at_us < 1)
		at_us = 1;
	when.it_value.tv_sec = at_us / 1000000;
	when.it_value.tv_nsec = at_us % 1000000 * 1000;
	if (timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) ==
	    0)
		loop->timer_us = at_us;
}

void wbi_loop_tick(wbi_loop *loop, int fd, uint32_t tick_us)
{
	struct epoll_event event = {.events = tick_us ? 0 : EPOLLIN,
				    .data.fd = fd};
	const struct timespec tick = {.tv_sec = tick_us / 1000000,
				      .tv_nsec = tick_us % 1000000 * 1000L};
	const struct itimerspec ticks = {tick, tick};

	if ((tick_us > 0) == loop->ticking || fd < 0)
		return;
	if (tick_us > 0 && timerfd_settime(loop->timer_fd, 0, &ticks, NULL))
		return;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0)
		loop->ticking = tick_us > 0;
	loop->timer_us = INT64_MAX;
}

static void loop_clear(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return; /* nothing in it: that is what is wanted */
}

/* One read: if there is more, the descriptor stays readable. */
static bool loop_file_changed(const wbi_loop *loop, int watch)
{
	_Alignas(struct inotify_event) char bytes[4096];
	ssize_t len = read(loop->inotify_fd, bytes, sizeof(bytes));
	bool changed = false;

	for (ssize_t at = 0; at < len;) {
		const struct inotify_event *event =
			(const void *)(bytes + at);

		if (event->wd == watch || (event->mask & IN_Q_OVERFLOW))
			changed = true;
		at += (ssize_t)(sizeof(*event) + event->len);
	}
	return changed;
}

wbi_woken wbi_loop_woken(wbi_loop *loop, int watch)
{
	struct epoll_event events[WBI_LOOP_EVENTS];
	int count = epoll_wait(loop->epoll_fd, events, WBI_LOOP_EVENTS, 0);
	wbi_woken woken = {.count = 0};

	for (int i = 0; i < count; i++) {
		int fd = events[i].data.fd;

		if (fd == loop->inotify_fd)
			woken.file = loop_file_changed(loop, watch);
		else if (fd == loop->timer_fd || fd == loop->bell_fd)
			loop_clear(fd);
		else
			woken.fds[woken.count++] = fd;
		if (fd == loop->timer_fd)
			loop->timer_us = INT64_MAX;
	}
	return woken;
}

wb_code wbi_loop_wait(const wbi_loop *loop, int most_ms, wb_error *err)
{
	struct epoll_event event;

	if (epoll_wait(loop->epoll_fd, &event, 1, most_ms) < 0 &&
	    errno != EINTR)
		return wbi_fail_errno(err, errno, __func__, "epoll");
	return WB_OK;
}
