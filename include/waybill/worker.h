/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The worker: takes in a queue's messages, each (source, id) once, and hands
 * them to handlers, each of which changes this store exactly once per event.
 *
 *   queue ──ingest: commit, then ack──▶ INBOX journal ──dispatch──▶ handlers
 *                        effects + emitted events + cursor, one commit ──▶ OUTBOX
 *
 * Three ways to run it: wb_worker_run() on a thread of yours; wb_worker_fd()
 * and wb_worker_dispatch() inside your own event loop; wb_worker_step() under a
 * simulator. Or the daemon waybill-worker, which loads handlers from modules.
 */
#ifndef WAYBILL_WORKER_H
#define WAYBILL_WORKER_H

#include <waybill/broker.h>
#include <waybill/handler.h>
#include <waybill/relay.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wb_worker wb_worker;

/* Zero in any numeric field means the default. Strings are copied. */
typedef struct wb_worker_options {
	size_t size;
	/* What is taken in. No consumer broker: nothing is, and the worker
	 * handles what the inbox holds and its timers. */
	const char *queue;        /* the consumer group's; the service's name */
	const char *exchange;     /* bound to it; "events" */
	const char *const *bind;  /* patterns, NULL behind the last; NULL: all
				     types of handlers that hear events */
	const char *commands;     /* bound to it, too; "commands" */
	const char *const *bind_commands; /* NULL: all types of handlers that
				     hear commands: participants. None: the
				     exchange is not asked for either */
	wb_declare_policy declare;
	uint32_t delivery_limit;  /* 20 deliveries, then QUEUE.dead */
	uint32_t prefetch;        /* 3,000 unacked deliveries */
	bool id_from_body;        /* a message without any id gets the SHA-256
				     of its body for one; else it is set aside */
	wb_limits limits;         /* larger messages are set aside */
	uint64_t dedupe_s;        /* remember (source, id) this long: 7 days of
				     the worker's own running time */
	/* How work is cut up. */
	uint32_t batch_max;       /* deliveries, or calls, per commit; 1,000 */
	uint32_t txn_us;          /* work in a transaction; 1,000 */
	uint32_t txn_alone_us;    /* the same while nobody else has written to
				     the store for ten seconds; 10,000 */
	uint32_t pause_us;        /* between two, for other writers; 50 */
	uint32_t threads;         /* for external handlers; 0: they are called
				     on the thread of the worker */
	uint32_t poll_ms;         /* look at the store at least; 50 */
	uint32_t backoff_min_ms;  /* between connects; 100 */
	uint32_t backoff_max_ms;  /* 10,000 */
	uint32_t drain_ms;        /* wb_worker_stop waits for calls; 5,000 */
	/* Not NULL: relay the store's outbox, too, over the publisher. */
	const wb_relay_options *relay;
	bool sole_user; /* as in wb_relay_options; of no effect with threads,
			   whose transactions it would move */
	const wb_clock *clock;
	const wb_random *random;
	const wb_log *log;
} wb_worker_options;

#define WB_WORKER_OPTIONS_INIT WB_SIZED_INIT(wb_worker_options)

typedef enum wb_worker_state {
	WB_WORKER_WAITING,  /* another worker has this store */
	WB_WORKER_DOWN,     /* not connected; trying; handlers run all the same */
	WB_WORKER_RUNNING,
	WB_WORKER_PAUSED,   /* quota, disk or map: no room for more; `error` */
	WB_WORKER_DRAINING,
	WB_WORKER_STOPPED,
	WB_WORKER_FAILED    /* wb_worker_step returned a STOP error */
} wb_worker_state;

/* Counters are since the worker was opened. */
typedef struct wb_worker_stat {
	wb_worker_state state;
	uint64_t received;   /* deliveries */
	uint64_t duplicates; /* of them: (source, id) was known */
	uint64_t refused;    /* of them: set aside as dead letters */
	uint64_t head;       /* of the inbox journal */
	uint64_t handled;    /* calls that ended well and are committed */
	uint64_t retries;    /* calls that asked to be made again */
	uint64_t dead;       /* events that became dead letters */
	uint64_t emitted;    /* events appended to the outbox by calls */
	uint64_t waiting;    /* rows that wait: retries, followers, externals */
	uint64_t timers;     /* that are set */
	uint64_t connects;
	bool idle; /* nothing to take in that was delivered, nothing due now,
		      every cursor at the head; the relay, if any, idle too */
	wb_error error; /* why PAUSED, DOWN or WAITING */
} wb_worker_stat;

/*
 * Open a worker on `store`. `handlers` (an array of `count` pointers) and what
 * they point to must outlive it, as must the brokers, which it uses and does
 * not own: `consumer` and `publisher` are two connections (NULL: none). At most
 * one worker of a store is active: a second one stays WAITING, says who is
 * active, and takes over when the first is gone.
 *
 * Each handler's `open` is called when the worker becomes active, within a
 * write transaction of its own.
 *
 * WB_EINVAL: an option, or a handler's declaration, named; two handlers with
 * one name. WB_EMISMATCH: a handler's cursor is of another journal. WB_ENOMEM,
 * WB_ECORRUPT, WB_EIO.
 */
WB_API wb_code wb_worker_open(wb_store *store, wb_broker *consumer,
			      wb_broker *publisher,
			      const wb_handler *const *handlers, size_t count,
			      const wb_worker_options *options, wb_worker **ret,
			      wb_error *err);

/* What was not acked comes again; what was committed is known then. */
WB_API void wb_worker_close(wb_worker *worker);

/*
 * One bounded step: take in what was delivered, call handlers, make calls that
 * are due. Blocks for the writer lock, the fsync of its commits, and as long
 * as handlers take. `wake`: the store may have changed (true is always safe).
 */
WB_API wb_code wb_worker_step(wb_worker *worker, bool wake, wb_error *err);

/* When wb_worker_step must be called next, in monotonic microseconds; 0: at
 * once; INT64_MAX: not before a broker or the store wakes it. */
WB_API int64_t wb_worker_deadline_us(const wb_worker *worker);

/* For a host's own event loop, as wb_relay_fd() and wb_relay_dispatch(). */
WB_API wb_code wb_worker_fd(wb_worker *worker, int *ret_fd, wb_error *err);
WB_API wb_code wb_worker_dispatch(wb_worker *worker, wb_error *err);

/* Run until wb_worker_stop() has drained it, or with `until_idle` until its
 * stat says idle; WB_EMAPFULL, WB_ENOSPC, WB_EQUOTA: it has been PAUSED for
 * three seconds then; WB_ETIMEOUT: nothing has got further for a minute, with
 * the reason, such as no connection. For a thread of its own. */
WB_API wb_code wb_worker_run(wb_worker *worker, bool until_idle, wb_error *err);

/*
 * Ask it to drain and stop: nothing more is taken in, what is in a transaction
 * is committed, what was committed is acked, calls on threads are awaited for
 * at most drain_ms. The only call that any thread, and a signal handler, may
 * make. A second call skips the waiting.
 */
WB_API void wb_worker_stop(wb_worker *worker);

WB_API wb_worker_stat wb_worker_get_stat(const wb_worker *worker);

#ifdef __cplusplus
}
#endif
#endif
