/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a part that is stepped needs to live in an event loop: one epoll
 * descriptor for its descriptors, files that others write, one timer, and a
 * bell that any thread and any signal handler may ring. The host polls that
 * one descriptor.
 */
#ifndef WBI_LOOP_H
#define WBI_LOOP_H

#include <waybill/base.h>

enum { WBI_LOOP_EVENTS = 8 };

typedef struct wbi_loop {
	int epoll_fd, timer_fd, inotify_fd, bell_fd; /* -1: not there */
	int64_t timer_us; /* what the timer is set to; INT64_MAX: not */
	bool ticking;     /* it ticks: see wbi_loop_tick */
} wbi_loop;

/* Nothing open yet. fini closes what is. */
void wbi_loop_init(wbi_loop *loop);
void wbi_loop_fini(wbi_loop *loop);

/* Hang up the bell: before the loop is open, so that it can be rung early. */
wb_code wbi_loop_hang_bell(wbi_loop *loop, wb_error *err);
/* Any thread, any signal handler; errno is kept. */
void wbi_loop_ring(wbi_loop *loop);

/* For the bell, a timer and `fd`, as of wbi_loop_add(). After that epoll_fd is
 * what the host polls. */
wb_code wbi_loop_open(wbi_loop *loop, int fd, wb_error *err);
/* One more descriptor to wait for; stays the caller's. -1 is none. */
wb_code wbi_loop_add(wbi_loop *loop, int fd, wb_error *err);
/* A file whose changes wake; its number for wbi_loop_woken(). -1: it cannot be
 * watched (inotify's limits are per user), so look from time to time. */
int wbi_loop_watch(wbi_loop *loop, const char *path);

/* Wake at `at_us` (monotonic, of the system's clock); INT64_MAX: no matter.
 * Waking earlier, for an old deadline, is possible. */
void wbi_loop_arm(wbi_loop *loop, int64_t at_us);

/*
 * Let `fd` rest and wake every `tick_us` instead, so that much can be done at
 * once; 0 ends it. While it ticks wbi_loop_arm() does nothing. If it cannot be
 * done things stay as they are.
 */
void wbi_loop_tick(wbi_loop *loop, int fd, uint32_t tick_us);

/* What woke it; never blocks. */
typedef struct wbi_woken {
	bool file; /* `watch` was written, or it cannot be told */
	int fds[WBI_LOOP_EVENTS]; /* of those added */
	size_t count;
} wbi_woken;

wbi_woken wbi_loop_woken(wbi_loop *loop, int watch);

/* Block until there is something, `most_ms` at most; a signal ends it, too. */
wb_code wbi_loop_wait(const wbi_loop *loop, int most_ms, wb_error *err);

#endif
