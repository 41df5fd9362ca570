/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay in an event loop (lib/base/loop.h): the broker's descriptor, the
 * two data files, a timer and the stop bell behind one descriptor. The host
 * polls that one and calls dispatch; wb_relay_run is that loop, ready made.
 * The relay's own commits wake it once more by inotify: an empty look is cheap.
 */
#include "outbox/relay_internal.h"

#include <limits.h>

#include "lib/base/error.h"

enum {
	LOOP_GATHER_US = 5000,
	LOOP_GATHER_SENT = 256,
	LOOP_STEPS = 16,
	LOOP_WAIT_MS = 1000
};

/* What the relay's own environment tells is seen by its transaction number;
 * most of it is our own commits. It need only wake. */
static void loop_watch(wb_relay *relay)
{
	char path[PATH_MAX];

	wbi_store_data_path(relay->store, path, sizeof(path));
	relay->store_watch = wbi_loop_watch(&relay->loop, path);
	if (relay->store_watch < 0)
		wbi_relay_trouble(relay, WB_LOG_WARN,
				  "cannot watch %s: looking every %u ms", path,
				  relay->options.poll_ms);
	wbi_store_relay_path(relay->store, "data.mdb", path, sizeof(path));
	(void)wbi_loop_watch(&relay->loop, path);
}

wb_code wb_relay_fd(wb_relay *relay, int *ret_fd, wb_error *err)
{
	wbi_loop *loop = &relay->loop;
	wb_code code = WB_OK;

	if (loop->epoll_fd < 0) {
		code = wbi_loop_open(loop, wb_broker_fd(relay->broker), err);
		if (code != WB_OK)
			return code;
		loop_watch(relay);
		wbi_loop_arm(loop, 1); /* readable at once: the first step */
	}
	*ret_fd = loop->epoll_fd;
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

	wbi_loop_tick(&relay->loop, wb_broker_fd(relay->broker),
		      gather ? LOOP_GATHER_US : 0);
}

wb_code wb_relay_dispatch(wb_relay *relay, wb_error *err)
{
	int64_t poll_us = (int64_t)relay->options.poll_ms * 1000;
	int64_t now_us = relay->clock->mono_us(relay->clock->ctx);
	bool wake = wbi_loop_woken(&relay->loop, relay->store_watch).file;
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
	wbi_loop_arm(&relay->loop, at_us);
	return WB_OK;
}

wb_code wbi_relay_gets_on(const wb_relay *relay, wbi_standstill *still,
			  int64_t most_us, wb_error *err)
{
	wb_relay_stat stat = wb_relay_get_stat(relay);
	uint64_t done = stat.cursor + stat.delivered + stat.unrouted +
			stat.parked;

	if (!wbi_stands_still(still, done,
			      relay->clock->mono_us(relay->clock->ctx),
			      most_us))
		return WB_OK;
	return WBI_FAIL(err, WB_ETIMEOUT,
			"nothing was delivered for %lld s, %s%s%.200s",
			(long long)(most_us / 1000000),
			wbi_relay_state_name(stat.state),
			*relay->why ? ": " : "", relay->why);
}

wb_code wb_relay_run(wb_relay *relay, bool until_empty, wb_error *err)
{
	wbi_standstill still = {.done = 0};
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
		if (until_empty && atomic_load(&relay->stop_asked) == 0)
			code = wbi_relay_gets_on(relay, &still,
						 WBI_STANDSTILL_US, err);
		if (code == WB_OK)
			code = wbi_loop_wait(&relay->loop, LOOP_WAIT_MS, err);
	}
	return code;
}
