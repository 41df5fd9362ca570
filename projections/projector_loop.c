/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The projector in an event loop (lib/base/loop.h): the store's data file, a
 * timer and the stop bell behind one descriptor.
 */
#include <limits.h>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "projections/projector.h"

enum { LOOP_STEPS = 16, LOOP_WAIT_MS = 1000 };

static wb_code loop_feeds(wb_projector *p, wb_error *err)
{
	wb_code code = WB_OK;

	if (p->live_feed)
		code = wbi_loop_add(&p->loop, wbi_feed_fd(p->live_feed), err);
	if (code == WB_OK && p->fill_feed)
		code = wbi_loop_add(&p->loop, wbi_feed_fd(p->fill_feed), err);
	return code;
}

wb_code wb_projector_fd(wb_projector *p, int *ret_fd, wb_error *err)
{
	char path[PATH_MAX];
	wb_code code;

	if (p->loop.epoll_fd < 0) {
		code = wbi_loop_open(&p->loop, -1, err);
		if (code != WB_OK)
			return code;
		code = loop_feeds(p, err);
		if (code != WB_OK)
			return code;
		if (p->store && !p->live_feed) {
			wbi_store_data_path(p->store, path, sizeof(path));
			p->store_watch = wbi_loop_watch(&p->loop, path);
		}
		if (p->store_watch < 0 && !p->live_feed)
			wbi_log(p->log, WB_LOG_WARN,
				"projection %s: cannot watch %s: looking every "
				"%u ms",
				p->projection->name, path, p->options.poll_ms);
		wbi_loop_arm(&p->loop, 1); /* the first step */
	}
	*ret_fd = p->loop.epoll_fd;
	return WB_OK;
}

wb_code wb_projector_dispatch(wb_projector *p, wb_error *err)
{
	int64_t now_us = p->clock->mono_us(p->clock->ctx);
	bool wake = wbi_loop_woken(&p->loop, p->store_watch).file;
	int64_t at_us = 0;

	/* inotify is a hint: look every poll_ms whatever it says. */
	if (now_us >= p->poll_at_us) {
		p->poll_at_us = now_us + (int64_t)p->options.poll_ms * 1000;
		p->look = true;
	}
	for (int i = 0; i < LOOP_STEPS; i++) {
		wb_code code = wb_projector_step(p, wake, err);

		if (code != WB_OK)
			return code;
		wake = false;
		at_us = wb_projector_deadline_us(p);
		if (at_us > p->clock->mono_us(p->clock->ctx))
			break;
	}
	wbi_loop_arm(&p->loop, at_us < p->poll_at_us ? at_us : p->poll_at_us);
	return WB_OK;
}

/* Does an operator have to look? Then *err is why. */
static wb_code loop_stuck(const wb_projector *p, wb_error *err)
{
	const wb_error *why = NULL;

	if (p->fill.gen && p->fill.stuck.code != WB_OK)
		why = &p->fill.stuck;
	else if (p->state == WB_PROJECTOR_STUCK && !p->fill.gen)
		why = &p->error;
	if (!why)
		return WB_OK;
	wbi_error_pass(err, why);
	return why->code;
}

wb_code wb_projector_run(wb_projector *p, bool until_idle, wb_error *err)
{
	wb_code code;
	int fd;

	code = wb_projector_fd(p, &fd, err);
	while (code == WB_OK) {
		code = wb_projector_dispatch(p, err);
		if (code != WB_OK || p->state == WB_PROJECTOR_STOPPED)
			break;
		if (until_idle)
			code = loop_stuck(p, err);
		if (until_idle && wb_projector_get_stat(p).idle)
			break;
		if (code == WB_OK)
			code = wbi_loop_wait(&p->loop, LOOP_WAIT_MS, err);
	}
	return code;
}

void wb_projector_stop(wb_projector *p)
{
	atomic_fetch_add(&p->stop_asked, 1);
	wbi_loop_ring(&p->loop);
}
