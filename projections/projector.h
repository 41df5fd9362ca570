/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The projector's parts share this. Two tracks: LIVE, which readers see, and
 * FILL, a generation that is built beside it; once that has caught up it is
 * ready, and goes along with the live one until it is promoted or discarded.
 */
#ifndef WBI_PROJECTOR_H
#define WBI_PROJECTOR_H

#include <stdatomic.h>

#include <waybill/projector.h>

#include "lib/base/loop.h"
#include "projections/home.h"
#include "projections/track.h"
#include "projections/request.h"

enum {
	PROJECTOR_OWN_RETRY_MS = 200,
	PROJECTOR_REQUEST_MS = 200,
	PROJECTOR_STATUS_MS = 500,
	PROJECTOR_RETRY_MS = 1000, /* when there was no room */
	PROJECTOR_READERS_MS = 60000,
	PROJECTOR_RATE_MS = 1000,
	PROJECTOR_MISSING_MS = 5000,
	PROJECTOR_GATHER_US = 5000, /* between commits, of a busy stream */
	PROJECTOR_FILL_EVENTS = 20000, /* per commit, while filling */
	PROJECTOR_FILL_MS = 1000,
	PROJECTOR_FILL_STEP_US = 5000,
	PROJECTOR_HEAL_EVENTS = 64
};

/* Events per second, over the last PROJECTOR_RATE_MS or so. */
typedef struct projector_rate {
	int64_t since_us;
	uint64_t since_position;
	double rate;
} projector_rate;

struct wb_projector {
	wb_store *store;
	const wb_projection *projection;
	wb_projector_options options;

	const wb_clock *clock;
	const wb_log *log;
	wbi_journal journal;
	/* Of a stream instead of a journal; they change places at a flip. */
	wbi_feed *live_feed, *fill_feed;
	const char *origin; /* of the journal; a stream has none */
	uint64_t missing, missing_at; /* as of that position */
	int64_t missing_at_us;        /* while it is not at the head */
	int64_t gathered_us;          /* the live track's last commit */
	wbi_types types;
	wbi_shape shape; /* of the declaration */
	wbi_home *home;

	/* ownership and state */
	char boot[40]; /* of the machine; "": it cannot be told */
	int owner_fd;
	int64_t own_at_us;
	bool told_waiting;
	wb_projector_state state;
	int64_t since_us; /* real time of its last change */
	wb_error error;
	atomic_int stop_asked;
	bool paused;
	int64_t now_us; /* monotonic, at the start of this step */
	int64_t request_at_us, retry_at_us, readers_at_us, status_at_us;
	bool status_dirty;

	wbi_pointer pointer;
	wbi_track live;
	bool live_fits; /* its shape is the declaration's: it can be applied */
	projector_rate live_rate;
	uint64_t applied, passed, skipped; /* committed since it was opened */
	uint64_t applied_ever, passed_ever, skipped_ever; /* by the row */
	wbi_heal heal;

	/* Is there anything new? */
	bool look;
	int64_t look_at_us[2]; /* after an empty wake */

	wbi_track fill;
	wbi_heal fill_heal;
	wbi_building building;
	bool ready;
	int64_t fill_commit_at_us, fill_retry_at_us;
	int64_t fill_owed_us; /* see projector_fill() */
	int64_t fill_begun_us; /* monotonic, and the position then */
	uint64_t fill_begun;
	projector_rate fill_rate;
	bool promote; /* as soon as it is ready and not behind */

	/* hold.c: what the store was told */
	uint64_t held;
	bool going_back; /* to a generation that is at: */
	uint64_t back_to;
	int64_t hold_at_us;

	/* projector_loop.c */
	wbi_loop loop;
	int store_watch;
	int64_t poll_at_us;
};

void wbi_projector_set_state(wb_projector *p, wb_projector_state state,
			     const wb_error *why);

/* projector_own.c: the lock, and what is there */
wb_code wbi_projector_own(wb_projector *p, wb_error *err);
void wbi_projector_disown(wb_projector *p);
/* Open the live generation that the pointer names, or make the first one. */
wb_code wbi_projector_open_live(wb_projector *p, wb_error *err);
void wbi_projector_close_track(wb_projector *p, wbi_track *track);
wb_code wbi_projector_open_track(wb_projector *p, wbi_track *track,
				 wbi_generation *gen, wb_error *err);
/* Is there anything that this track has not seen? */
bool wbi_projector_news(const wb_projector *p, const wbi_track *track);

/* projector_stream.c: what is different for a stream */
wb_code wbi_projector_open_feeds(wb_projector *p, wb_error *err);
void wbi_projector_close_feeds(wb_projector *p);
void wbi_projector_hear(wb_projector *p);
/* Count what is missing, now and then. */
void wbi_projector_count_missing(wb_projector *p);

/* Remove generations that nobody needs any more. */
wb_code wbi_projector_clean(wb_projector *p, wb_error *err);

/* fill.c: a generation beside the live one */
wb_code wbi_projector_fill_begin(wb_projector *p, bool promote, uint32_t rate,
				 wb_error *err);
/* Go on with what an earlier process has begun. */
wb_code wbi_projector_fill_resume(wb_projector *p, wb_error *err);
wb_code wbi_projector_fill_step(wb_projector *p, int64_t until_us,
				wb_error *err);
wb_code wbi_projector_fill_discard(wb_projector *p, wb_error *err);
int64_t wbi_projector_fill_deadline_us(const wb_projector *p);
/* Flip to the filled one if it is ready and has all that the live one has. */
wb_code wbi_projector_flip(wb_projector *p, wb_error *err);
wb_code wbi_projector_rollback(wb_projector *p, wb_error *err);

/* projector_request.c */
wb_code wbi_projector_requests(wb_projector *p, wb_error *err);

/* hold.c */
wb_code wbi_projector_hold(wb_projector *p, bool now, wb_error *err);

#endif
