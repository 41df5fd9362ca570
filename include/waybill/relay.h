/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay: carries committed events of one store to a broker, in order per
 * key, and knows for each that the broker has taken and routed it.
 *
 * It only reads the store; its own state is DIR/relay/. Three ways to run it:
 * wb_relay_run() on a thread of yours; wb_relay_fd() and wb_relay_dispatch()
 * inside your own event loop; wb_relay_step() under a simulator.
 */
#ifndef WAYBILL_RELAY_H
#define WAYBILL_RELAY_H

#include <waybill/broker.h>
#include <waybill/route.h>
#include <waybill/store.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wb_relay wb_relay;

/* Zero in any numeric field means the default. */
typedef struct wb_relay_options {
	size_t size;
	const wb_routes *routes;     /* borrowed; NULL: the implicit route */
	uint32_t window;             /* 2,000 positions, 65,536 at most */
	uint32_t commit_ms;          /* cursor at least this often; 100 */
	uint32_t batch_bytes;        /* sent per step at most; 48 KiB */
	uint32_t poll_ms;            /* look at the store at least; 50 */
	uint32_t backoff_min_ms;     /* between connects; 100 */
	uint32_t backoff_max_ms;     /* 10,000 */
	uint32_t confirm_timeout_ms; /* no confirm this long: new connection;
					120,000 */
	uint32_t probe_ms;           /* look for a missing exchange; 5,000 */
	uint32_t drain_ms;           /* wb_relay_stop waits for confirms; 800 */
	uint64_t parked_max_bytes;   /* then the relay halts; 1 GiB */
	wb_limits limits;            /* larger events park */
	bool sole_user; /* nobody else in this process uses the store: then a
			   map that another process has enlarged is taken over;
			   else that is an error, and the store to be reopened */
	const wb_clock *clock;
	const wb_random *random;
	const wb_log *log;
	/* Called before each attempt to connect, from within a step, to see
	 * that what the events need is there, such as exchanges and queues.
	 * NULL: nothing to do. An error is an attempt that failed: said as
	 * such, and tried again later. The step takes as long as this. */
	wb_code (*prepare)(void *ctx, wb_error *err);
	void *prepare_ctx;
} wb_relay_options;

#define WB_RELAY_OPTIONS_INIT WB_SIZED_INIT(wb_relay_options)

typedef enum wb_relay_state {
	WB_RELAY_WAITING,  /* another relay has this store */
	WB_RELAY_DOWN,     /* not connected; trying */
	WB_RELAY_RUNNING,
	WB_RELAY_BLOCKED,  /* the broker asked publishers to stop */
	WB_RELAY_DRAINING, /* asked to stop, waiting for confirms */
	WB_RELAY_STOPPED,
	WB_RELAY_FAILED    /* wb_relay_step returned a STOP error */
} wb_relay_state;

/* Counters are since the relay was opened unless "total" is said. */
typedef struct wb_relay_stat {
	wb_relay_state state;
	uint64_t head;        /* last committed position */
	uint64_t cursor;      /* durable: all up to here are settled */
	uint64_t unconfirmed; /* sent, not settled */
	uint64_t delivered;   /* acked and not returned */
	uint64_t unrouted;    /* accepted unrouted */
	uint64_t parked;      /* events copied to the parked table */
	uint64_t nacks, returns, repeats, connects, channel_closes;
	uint64_t held; /* exchanges that are missing: their events wait */
	bool idle; /* nothing that could be sent now, nothing unconfirmed,
		      cursor durable; events may be parked or held. With a
		      cursor before `head`: parked_max_bytes is reached and
		      all else is done, which only an operator can change */
} wb_relay_stat;

/*
 * Open a relay on `store` with `broker`, which it uses but does not own. Both
 * must outlive it. At most one relay of a store is active: a second one stays
 * WAITING and takes over when the first is gone.
 *
 * WB_EMISMATCH: the relay's cursor does not belong to this journal (another
 *   origin, a position past its head, another event at it), with the cure.
 * WB_ECORRUPT, WB_EVERSION, WB_EACCESS, WB_EIO, WB_ENOMEM.
 */
WB_API wb_code wb_relay_open(wb_store *store, wb_broker *broker,
			     const wb_relay_options *options, wb_relay **ret,
			     wb_error *err);

/* What is not confirmed yet is sent again by the next relay. NULL allowed. */
WB_API void wb_relay_close(wb_relay *relay);

/*
 * One bounded step: take what the broker said, send what may be sent, commit
 * the cursor when it is time. Never blocks but for the fsync of that commit.
 * `wake` says that the store may have changed since the last step (true is
 * always safe). WB_OK, or an error after which the relay is FAILED.
 */
WB_API wb_code wb_relay_step(wb_relay *relay, bool wake, wb_error *err);

/* When wb_relay_step must be called next, in monotonic microseconds; 0: at
 * once; INT64_MAX: not before the broker or the store wakes it. */
WB_API int64_t wb_relay_deadline_us(const wb_relay *relay);

/*
 * For a host's own event loop: one descriptor that is readable whenever
 * wb_relay_dispatch() has something to do; constant, owned by the relay.
 * dispatch never blocks (but for that fsync) and does a bounded amount.
 */
WB_API wb_code wb_relay_fd(wb_relay *relay, int *ret_fd, wb_error *err);
WB_API wb_code wb_relay_dispatch(wb_relay *relay, wb_error *err);

/*
 * Run until wb_relay_stop() has drained it, or with `until_empty` until every
 * event is delivered, accepted unrouted, parked, or held for an exchange that is
 * missing; then WB_ETIMEOUT means that nothing was for a minute, with the reason:
 * no connection, or another relay is active. For a thread of its own.
 */
WB_API wb_code wb_relay_run(wb_relay *relay, bool until_empty, wb_error *err);

/*
 * Ask it to drain and stop: no new event is sent, confirms are awaited for at
 * most drain_ms, the cursor is committed, the broker closed. The only call
 * that any thread, and a signal handler, may make. A second call skips the
 * waiting.
 */
WB_API void wb_relay_stop(wb_relay *relay);

WB_API wb_relay_stat wb_relay_get_stat(const wb_relay *relay);

#ifdef __cplusplus
}
#endif
#endif
