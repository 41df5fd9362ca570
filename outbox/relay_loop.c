/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay in an event loop: one epoll descriptor stands for the broker's
 * descriptor, inotify on the two data files, a timer and the stop signal. The
 * host polls that one and calls dispatch; wb_relay_run is that loop, ready
 * made. The relay's own commits wake it once more by inotify: an empty look is
 * cheap.
 */
#include "outbox/relay_internal.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lib/base/error.h"

enum {
	LOOP_GATHER_US = 5000, LOOP_GATHER_SENT = 256,
	LOOP_STEPS = 16,
	LOOP_EVENTS = 8,
	LOOP_WAIT_MS = 1000
};

static wb_code loop_add(wb_relay *relay, int fd, wb_error *err)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(relay->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		return wbi_fail_errno(err, errno, __func__, "epoll");
	return WB_OK;
}

/* Without inotify (its limits are per user) the poll interval is left. */
static void loop_watch(wb_relay *relay)
{
	char path[PATH_MAX];

	relay->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (relay->inotify_fd < 0)
		return;
	wbi_store_data_path(relay->store, path, sizeof(path));
	relay->store_watch =
		inotify_add_watch(relay->inotify_fd, path, IN_MODIFY);
	if (relay->store_watch < 0)
		wbi_relay_trouble(relay, WB_LOG_WARN,
				  "cannot watch %s: looking every %u ms", path,
				  relay->options.poll_ms);
	wbi_store_relay_path(relay->store, "data.mdb", path, sizeof(path));
	(void)inotify_add_watch(relay->inotify_fd, path, IN_MODIFY);
}

static wb_code loop_open(wb_relay *relay, wb_error *err)
{
	int broker_fd = wb_broker_fd(relay->broker);
	wb_code code = WB_OK;

	relay->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	relay->timer_fd = timerfd_create(CLOCK_MONOTONIC,
					 TFD_NONBLOCK | TFD_CLOEXEC);
	if (relay->epoll_fd < 0 || relay->timer_fd < 0)
		return wbi_fail_errno(err, errno, __func__,
				      "descriptors for the relay's loop");
	loop_watch(relay);
	if (relay->inotify_fd >= 0)
		code = loop_add(relay, relay->inotify_fd, err);
	if (code == WB_OK && broker_fd >= 0)
		code = loop_add(relay, broker_fd, err);
	if (code == WB_OK)
		code = loop_add(relay, relay->timer_fd, err);
	if (code == WB_OK)
		code = loop_add(relay, relay->stop_fd, err);
	return code;
}

/* Deadlines mostly move on: a timer that is set for an earlier time stays, and
 * once it has fired for nothing it is set anew. That saves most of the calls. */
static void loop_arm(wb_relay *relay, int64_t at_us)
{
	struct itimerspec when = {.it_value = {0, 0}};

	if (relay->timer_us <= at_us)
		return;
	if (at_us < 1)
		at_us = 1;
	when.it_value.tv_sec = at_us / 1000000;
	when.it_value.tv_nsec = at_us % 1000000 * 1000;
	if (timerfd_settime(relay->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) ==
	    0)
		relay->timer_us = at_us;
}

wb_code wb_relay_fd(wb_relay *relay, int *ret_fd, wb_error *err)
{
	wb_code code = WB_OK;

	if (relay->epoll_fd < 0) {
		code = loop_open(relay, err);
		if (code != WB_OK)
			return code;
		loop_arm(relay, 1); /* readable at once: the first step */
	}
	*ret_fd = relay->epoll_fd;
	return WB_OK;
}

/*
 * With a good part of the window on its way the broker has work for longer than
 * LOOP_GATHER_US, and a wake-up costs as much as a dozen events: let its
 * descriptor rest and let the timer tick that often, so that one step settles
 * and sends many. What is urgent is never on its way in such numbers; a deadline
 * may be met that much later.
 */
static void loop_gather(wb_relay *relay)
{
	uint32_t sent = wbi_relay_sent(relay);
	bool gather = sent >= LOOP_GATHER_SENT &&
		      sent >= relay->options.window / 4 &&
		      relay->state == WB_RELAY_RUNNING;
	struct epoll_event event = {.events = gather ? 0 : EPOLLIN};
	const struct timespec tick = {.tv_nsec = LOOP_GATHER_US * 1000};
	const struct itimerspec ticks = {tick, tick};

	event.data.fd = wb_broker_fd(relay->broker);
	if (gather == relay->gathering || event.data.fd < 0 ||
	    epoll_ctl(relay->epoll_fd, EPOLL_CTL_MOD, event.data.fd, &event))
		return;
	relay->gathering = gather;
	relay->timer_us = INT64_MAX;
	/* If it cannot be set, the timer that loop_arm() sets is left. */
	if (gather && timerfd_settime(relay->timer_fd, 0, &ticks, NULL) == 0)
		relay->timer_us = 0;
}

static void loop_clear(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return; /* nothing in it: that is what is wanted */
}

/* True if the store was written to. What the relay's own environment tells is
 * seen by its transaction number; most of it is our own commits. One read: if
 * there is more, the descriptor stays readable. */
static bool loop_store_changed(const wb_relay *relay)
{
	_Alignas(struct inotify_event) char bytes[4096];
	ssize_t len = read(relay->inotify_fd, bytes, sizeof(bytes));
	bool changed = false;

	for (ssize_t at = 0; at < len;) {
		const struct inotify_event *event =
			(const void *)(bytes + at);

		if (event->wd == relay->store_watch ||
		    (event->mask & IN_Q_OVERFLOW))
			changed = true;
		at += (ssize_t)(sizeof(*event) + event->len);
	}
	return changed;
}

static bool loop_woken(wb_relay *relay)
{
	struct epoll_event events[LOOP_EVENTS];
	int count = epoll_wait(relay->epoll_fd, events, LOOP_EVENTS, 0);
	bool wake = false;

	for (int i = 0; i < count; i++) {
		int fd = events[i].data.fd;

		if (fd == relay->inotify_fd)
			wake = loop_store_changed(relay);
		else if (fd == relay->timer_fd || fd == relay->stop_fd)
			loop_clear(fd);
		if (fd == relay->timer_fd && !relay->gathering)
			relay->timer_us = INT64_MAX;
	}
	return wake;
}

wb_code wb_relay_dispatch(wb_relay *relay, wb_error *err)
{
	int64_t poll_us = (int64_t)relay->options.poll_ms * 1000;
	int64_t now_us = relay->clock->mono_us(relay->clock->ctx);
	bool wake = loop_woken(relay);
	int64_t at_us;

	/* inotify is a hint: look every poll_ms whatever it says. */
	if (now_us >= relay->poll_at_us) {
		relay->poll_at_us = now_us + poll_us;
		relay->look = true;
	}
	for (int i = 0; i < LOOP_STEPS; i++) {
		wb_code code = wb_relay_step(relay, wake, err);

		if (code != WB_OK)
			return code;
		wake = false;
		at_us = wb_relay_deadline_us(relay);
		now_us = relay->clock->mono_us(relay->clock->ctx);
		if (at_us > now_us)
			break;
	}
	loop_gather(relay);
	loop_arm(relay, at_us);
	return WB_OK;
}

wb_code wb_relay_run(wb_relay *relay, bool until_empty, wb_error *err)
{
	struct epoll_event event;
	wb_code code;
	int fd;

	code = wb_relay_fd(relay, &fd, err);
	while (code == WB_OK) {
		code = wb_relay_dispatch(relay, err);
		if (code != WB_OK || relay->state == WB_RELAY_STOPPED)
			break;
		if (until_empty && wb_relay_get_stat(relay).idle &&
		    atomic_load(&relay->stop_asked) == 0)
			wb_relay_stop(relay);
		if (epoll_wait(fd, &event, 1, LOOP_WAIT_MS) < 0 &&
		    errno != EINTR)
			return wbi_fail_errno(err, errno, __func__, "epoll");
	}
	return code;
}
