/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The projector: keeps one projection's read model up to date. It reads the
 * store's journal and writes DIR/projections/NAME/; the store may belong to
 * another process, too.
 *
 * Three ways to run it: wb_projector_run() on a thread of yours;
 * wb_projector_fd() and wb_projector_dispatch() inside your own event loop;
 * wb_projector_step() under a simulator. Or the daemon waybill-worker, for
 * projections of its modules.
 *
 * A rebuild fills a new generation beside the live one, which is kept up to date
 * and read meanwhile; promoting it is one rename of a small file, and so is
 * going back. Readers follow at their next snapshot.
 */
#ifndef WAYBILL_PROJECTOR_H
#define WAYBILL_PROJECTOR_H

#include <waybill/broker.h>
#include <waybill/projection.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wb_projector wb_projector;

/* Zero in any numeric field means the default. Strings are copied. */
typedef struct wb_projector_options {
	size_t size;
	const char *dir;       /* the model is DIR/projections/NAME/; NULL: the
				  store's. It must be there */
	uint64_t map_bytes;    /* of a generation, when it is made: 16 GiB,
				  sparse: a bound and no allocation */
	uint32_t batch_max;    /* events per commit; 2,000 */
	uint32_t txn_us;       /* work per commit; 2,000 */
	uint32_t poll_ms;      /* look at the store at least; 50 */
	uint32_t hold_ms;      /* tell the store how far it is, so that its */
	uint32_t hold_events;  /* retention goes on: each 5,000 ms of progress,
				  or 10,000 events */
	uint64_t aside_max_bytes; /* of events kept aside or recorded as
				     skipped; then it stops. 1 GiB */
	uint32_t rebuild_rate; /* events/s at most while filling; 0: no bound */
	uint32_t keep_generations; /* live and former ones; older are removed
				      at a promotion; 2 */
	/* Of a WB_PROJECTION_STREAM only. The brokers are used, not owned, and
	 * must outlive it; nobody else may use them. */
	const char *queue;  /* the stream queue */
	wb_broker *broker;
	wb_broker *rebuild_broker; /* another connection, to read from the
				      beginning; NULL: no rebuilds */
	uint32_t prefetch;  /* unacked deliveries; 2,000 */
	wb_limits limits;   /* larger messages count as failed */
	bool sole_user; /* nobody else in this process uses the store: then a
			   map that another process has enlarged is taken over;
			   else it is BLOCKED until somebody does */
	const wb_clock *clock;
	const wb_log *log;
} wb_projector_options;

#define WB_PROJECTOR_OPTIONS_INIT WB_SIZED_INIT(wb_projector_options)

typedef enum wb_projector_state {
	WB_PROJECTOR_WAITING, /* another projector has this model */
	WB_PROJECTOR_RUNNING,
	WB_PROJECTOR_PAUSED,  /* by an operator; rebuilds go on */
	WB_PROJECTOR_BLOCKED, /* no room; tries again by itself; `error` */
	WB_PROJECTOR_STUCK,   /* an operator is needed: `error`. A rebuild may
				 still be made */
	WB_PROJECTOR_STOPPED
} wb_projector_state;

/* "running", ...; static. */
WB_API const char *wb_projector_state_name(wb_projector_state state);

typedef struct wb_projector_stat {
	wb_projector_state state;
	uint32_t generation;  /* the live one; 0: none yet */
	uint64_t position;    /* committed: all up to here are in the model, or
				 aside */
	uint64_t head;        /* of the journal */
	int64_t lag_us;       /* age of the oldest event that is not; 0: none */
	uint64_t applied, passed, skipped; /* events, since it was opened */
	double rate;          /* events/s of late */
	uint64_t quarantined_keys, quarantined_events; /* in the live one */
	uint32_t building;    /* generation being filled, or ready; 0: none */
	bool ready;           /* ... and it follows the journal */
	uint64_t building_position;
	double building_rate;
	int64_t building_eta_us; /* until it is ready; -1: cannot be said */
	uint64_t missing; /* of a stream: events below the highest of their
			     journal that have not come: on their way, of types
			     that are not in the stream, or lost */
	bool idle; /* at the head; nothing to fill, to heal or to flip */
	wb_error error;
} wb_projector_stat;

/*
 * Open a projector of `projection`, which must outlive it, as must the store
 * (NULL for one of a stream; then options->dir is needed).
 * At most one per model is active: a second one stays WAITING, and takes over
 * when the first is gone.
 *
 * With no model there yet, generation 1 is made and is live from the start.
 * With a model of another version a rebuild begins, and its end is promoted;
 * the old one is read until then, but stands still.
 *
 * WB_EINVAL: an option or the declaration, named. WB_EBUSY: this process has
 * the model open already, for reading: close it, or read through
 * wb_read_open_projector(). WB_ENOTFOUND, WB_EACCESS, WB_EIO, WB_ENOMEM.
 */
WB_API wb_code wb_projector_open(wb_store *store,
				 const wb_projection *projection,
				 const wb_projector_options *options,
				 wb_projector **ret, wb_error *err);
/* NULL is allowed. What is not committed is applied again by the next one. */
WB_API void wb_projector_close(wb_projector *projector);

/*
 * One bounded step: requests, a batch for the live generation, a share of work
 * for the one that is being filled. Blocks for the fsync of its commits.
 * `wake`: the journal may have grown (true is always safe). What stops a
 * projection is in its stat; an error returned is of the machine: WB_EIO,
 * WB_ECORRUPT, WB_ENOMEM.
 */
WB_API wb_code wb_projector_step(wb_projector *projector, bool wake,
				 wb_error *err);

/* When wb_projector_step must be called next, in monotonic microseconds; 0: at
 * once; INT64_MAX: not before the store wakes it. */
WB_API int64_t wb_projector_deadline_us(const wb_projector *projector);

/* For a host's own event loop, as wb_relay_fd() and wb_relay_dispatch(). */
WB_API wb_code wb_projector_fd(wb_projector *projector, int *ret_fd,
			       wb_error *err);
WB_API wb_code wb_projector_dispatch(wb_projector *projector, wb_error *err);

/* Run until wb_projector_stop(), or with `until_idle` until its stat says idle
 * or STUCK (then its error is returned). For a thread of its own. */
WB_API wb_code wb_projector_run(wb_projector *projector, bool until_idle,
				wb_error *err);
/* End wb_projector_run. Any thread, and a signal handler. */
WB_API void wb_projector_stop(wb_projector *projector);

WB_API wb_projector_stat wb_projector_get_stat(const wb_projector *projector);

/* ---- what an operator asks for ------------------------------------------ */

typedef enum wb_projection_verb {
	WB_PROJECTION_REBUILD,  /* fill a new generation beside the live one */
	WB_PROJECTION_PROMOTE,  /* make the filled one the live one */
	WB_PROJECTION_ROLLBACK, /* make the former one the live one again */
	WB_PROJECTION_DISCARD,  /* remove the one being filled, or filled */
	WB_PROJECTION_PAUSE,
	WB_PROJECTION_RESUME,   /* also: look again at what it is STUCK at */
	WB_PROJECTION_HEAL      /* apply what is kept aside, of `key` or all */
} wb_projection_verb;

typedef struct wb_projection_request {
	size_t size;
	wb_projection_verb verb;
	bool promote;   /* REBUILD: and promote it when it is filled */
	uint32_t rate;  /* REBUILD: events/s at most; 0: as the projector says */
	wb_str key;     /* HEAL: this key only; empty: all */
} wb_projection_request;

#define WB_PROJECTION_REQUEST_INIT WB_SIZED_INIT(wb_projection_request)

/*
 * Ask whoever projects `name` in `dir` for something: durable when it returns,
 * done by the next steps of the projector, in this process or another, now or
 * when there is one. Progress is in its stat and in `waybill projection
 * status`. WB_ENOTFOUND: no such model. WB_EBUSY: another request of this kind
 * has not been taken up yet; or this process has the model open, see below.
 */
WB_API wb_code wb_projection_ask(const char *dir, const char *name,
				 const wb_projection_request *request,
				 wb_error *err);
/* The same of a projector of this process; on its thread. */
WB_API wb_code wb_projector_ask(wb_projector *projector,
				const wb_projection_request *request,
				wb_error *err);

#ifdef __cplusplus
}
#endif
#endif
