/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read your own writes: sleep until a position is in the live generation. The
 * checkpoint in its file is what decides; inotify on that file is a hint, which
 * may come just before the commit can be seen, so after one that brought
 * nothing it looks again at 1 and 5 ms; and every 50 ms without any.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "lib/base/error.h"
#include "projections/projector.h"
#include "projections/read.h"

enum { WAIT_POLL_MS = 50 };

void wbi_read_wait_end(wb_read *read)
{
	if (read->inotify_fd >= 0)
		close(read->inotify_fd);
	read->inotify_fd = -1;
}

/* Without inotify (its limits are per user) the poll is left. */
static void wait_watch(wb_read *read)
{
	const char *dir = wbi_home_dir(read->home);
	char path[PATH_MAX + 64];

	if (read->inotify_fd >= 0 || !read->gen)
		return;
	read->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (read->inotify_fd < 0)
		return;
	snprintf(path, sizeof(path), "%s/gen-%" PRIu32 "/data.mdb", dir,
		 read->gen->number);
	(void)inotify_add_watch(read->inotify_fd, path, IN_MODIFY);
	/* A flip is a rename in the directory. */
	(void)inotify_add_watch(read->inotify_fd, dir, IN_MOVED_TO);
}

/* Sleep; true: woken by a change. */
static bool wait_sleep(const wb_read *reader, int64_t most_us)
{
	struct pollfd fd = {.fd = reader->inotify_fd, .events = POLLIN};
	_Alignas(struct inotify_event) char bytes[4096];

	/* What it says does not matter. */
	return poll(&fd, 1, (int)((most_us + 999) / 1000)) > 0 &&
	       read(fd.fd, bytes, sizeof(bytes)) > 0;
}

static wb_code wait_timeout(const wb_read *read, uint64_t position,
			    uint64_t have, uint32_t timeout_ms, wb_error *err)
{
	return WBI_FAIL(err, WB_ETIMEOUT,
			"projection %s: position %" PRIu64
			" was not projected within %u ms; it is at %" PRIu64
			": is its projector running?",
			wbi_home_name(read->home), position, timeout_ms, have);
}

wb_code wb_read_wait(wb_read *read, uint64_t position, uint32_t timeout_ms,
		     wb_error *err)
{
	const wb_clock *clock = wb_system_clock();
	int64_t now_us = clock->mono_us(clock->ctx);
	int64_t until_us = now_us + (int64_t)timeout_ms * 1000;
	int64_t nap_us = 0;
	uint64_t have;
	wb_code code;

	for (;;) {
		read->stamp_at_us = INT64_MIN / 2; /* look at the pointer */
		code = wb_read_begin(read, err);
		if (code != WB_OK)
			return code;
		have = wb_read_position(read);
		wb_read_end(read);
		if (have >= position)
			return WB_OK;
		now_us = clock->mono_us(clock->ctx);
		if (now_us >= until_us)
			return wait_timeout(read, position, have, timeout_ms,
					    err);
		wait_watch(read);
		if (nap_us == 0)
			nap_us = WAIT_POLL_MS * 1000L;
		if (nap_us > until_us - now_us)
			nap_us = until_us - now_us;
		nap_us = wait_sleep(read, nap_us) ? 1000
			 : nap_us == 1000	  ? 4000
						  : 0;
	}
}

wb_code wb_read_open_projector(wb_projector *projector,
			       const wb_read_options *options, wb_read **ret,
			       wb_error *err)
{
	if (!projector)
		return WBI_FAIL(err, WB_EINVAL, "projector: NULL");
	return wbi_read_open_home(projector->home, options, ret, err);
}
