/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A track: one generation on its way along the journal. It reads events in a
 * short read transaction of the store, applies them in a write transaction of
 * the generation, and commits both their effects and the checkpoint.
 *
 * Applying runs without a nested transaction per event, which would cost more
 * than the rest. When an event fails, all since the last commit is taken back
 * and done again with care: each in a transaction of its own, so that the one
 * that fails leaves nothing.
 */
#ifndef WBI_TRACK_H
#define WBI_TRACK_H

#include "lib/journal/parked.h"
#include "projections/feed.h"
#include "projections/model.h"
#include "projections/origins.h"

typedef struct wbi_track {
	/* set by whoever opens it */
	const wb_projection *projection;
	const wbi_types *types;
	wbi_journal journal; /* or, if that is a stream: */
	wbi_feed *feed;
	const wb_clock *clock;
	uint64_t aside_max;

	wbi_generation *gen; /* NULL: there is no such track */
	wb_model *model;
	wb_header *headers;
	wbi_origins *origins; /* with a feed */
	wbi_checkpoint at; /* committed */

	MDB_txn *txn;        /* open write transaction, or NULL */
	uint64_t position;   /* in it */
	char event_id[256];
	uint32_t print;
	uint64_t applied, passed, skipped; /* by it */
	bool dirty;       /* it has more than was committed */
	bool commit_soon; /* an event in it failed: what is behind it should not
			     have to be done again */

	uint64_t careful_until; /* with care up to this position */
	wb_error stuck;         /* why the next event cannot be passed */

	/* What is aside, as of the last commit or change. */
	uint64_t aside_keys, aside_events;

	/* What the journal was when it was last looked at. */
	uint64_t head, first;
	int64_t oldest_us; /* time of the first event not applied; 0: none */
	bool at_head;
	uint64_t seen_txn; /* of the store, when that was */

	/* Of a stream nobody knows the end. Nothing having come for a while is
	 * the head; to a track that only has to keep up with another one, so is
	 * having all that came, be it as far as that one or fresh. */
	bool keeps_up;
	uint64_t goal; /* 0: the other one stands still */
} wbi_track;

/* Take over `gen` (the caller gives it back after fini). */
wb_code wbi_track_init(wbi_track *track, wbi_generation *gen, wb_error *err);
void wbi_track_fini(wbi_track *track); /* aborts what is open */

/*
 * Does the checkpoint belong to this journal? WB_EMISMATCH, with the cure:
 * another origin, another event at its position, beyond the head, or the
 * journal begins behind it.
 */
wb_code wbi_track_verify(wbi_track *track, wb_error *err);

/*
 * Apply at most `events` more, until `until_us` (monotonic). On WB_OK what was
 * done is in the open transaction, and track->stuck may say why there is no going
 * on. On an error all since the last commit was taken back: want of room, or of
 * the machine.
 */
wb_code wbi_track_work(wbi_track *track, uint64_t events, int64_t until_us,
		      wb_error *err);

/* Commit, with the status if there is one. On an error all is as after the last
 * commit. Nothing to commit is fine. */
wb_code wbi_track_commit(wbi_track *track, const wbi_projector_row *status,
			wb_error *err);
/* Take back what is open; and forget count what is aside anew. */
void wbi_track_abort(wbi_track *track);
void wbi_track_forget(wbi_track *track);

/* ---- aside.c ------------------------------------------------------------- */

/* The event's unit of quarantine; `buf` has 256 bytes. */
wb_code wbi_track_unit(const wbi_track *track, const wb_event *event, char *buf,
		      wb_str *ret, wb_error *err);
/* Is this unit aside? */
wb_code wbi_track_is_aside(wbi_track *track, wb_str unit, bool *ret,
			  wb_error *err);
/* The event failed and its policy is to quarantine, or it comes behind one that
 * did (`cause` NULL). WB_EQUOTA: aside_max is reached. */
wb_code wbi_track_set_aside(wbi_track *track, wb_str unit, uint64_t position,
			   wb_str record, const wb_error *cause, wb_error *err);
wb_code wbi_track_skip(wbi_track *track, wb_str unit, uint64_t position,
		      wb_str record, const wb_error *cause, wb_error *err);
/* Rows aside, counted anew; `txn` NULL: in a read transaction of its own. */
wb_code wbi_track_count_aside(wbi_track *track, MDB_txn *txn, wb_error *err);

/* Where healing stands: the unit and position to go on from. */
typedef struct wbi_heal {
	bool active, one; /* `one`: of this unit only */
	char unit[255];
	size_t unit_len;
	uint8_t from[WBI_PARKED_ROW_KEY_MAX]; /* the row to begin with */
	size_t from_len;                      /* 0: the first */
	uint64_t healed;
	wb_error failed; /* the last event that failed again */
} wbi_heal;

/* Apply at most `events` of what is aside, in order; heal->active is false when
 * it is through. In the open transaction; errors as of wbi_track_work(). */
wb_code wbi_track_heal(wbi_track *track, wbi_heal *heal, unsigned events,
		      wb_error *err);

/* Apply one event with care, in a transaction within the open one. *ret_failed
 * has what it said, WB_OK if it went well; an error is of the machine. */
wb_code wbi_track_apply_alone(wbi_track *track, wb_str record, uint64_t position,
			     wb_error *ret_failed, wb_error *err);

#endif
