/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Handlers: what a service does with an event. Thirty lines make one:
 *
 *   static wb_code count(wb_call *call, const wb_event *event, wb_error *err)
 *   {
 *           struct tables *t = wb_call_state(call);
 *           int rc = mdb_put(wb_call_txn(call), t->seen, ...);
 *           return rc ? wb_store_error(rc, err, "counting") : WB_OK;
 *   }
 *
 * How a call ends is the error's class: WB_OK, or an error of class
 *   RETRY:  try again later, with backoff; later events of its key wait;
 *   REJECT: a dead letter at once;
 *   STOP:   this handler stops at this event until the worker is started anew;
 * wb_retry(), wb_reject() and wb_stop() make one. An error that says that the
 * store has no room (WB_EMAPFULL, WB_ENOSPC, WB_EQUOTA) or no memory is not
 * the event's fault: the call is made again when there is, without counting.
 */
#ifndef WAYBILL_HANDLER_H
#define WAYBILL_HANDLER_H

#include <waybill/event.h>
#include <waybill/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One call of a handler. Valid until the handler returns. */
typedef struct wb_call wb_call;

/* A timer that has come due: see wb_timer_set(). */
typedef struct wb_timer {
	wb_str name;
	int64_t due_us; /* UTC, since 1970: what it was set for */
	wb_str data;
} wb_timer;

typedef enum wb_handler_kind {
	/* Called inside the store's open write transaction: writes its own
	 * tables through wb_call_txn(), all or nothing with its emitted events
	 * and its cursor. The same event may be called again if the commit does
	 * not happen, so it must do nothing outside the store. */
	WB_TRANSACTIONAL,
	/* For effects elsewhere. No transaction is open; wb_call_txn() is NULL;
	 * one call per key at a time. At least once: offer the other side
	 * wb_call_idempotency_key(). Emitted events are appended when the call
	 * has ended well. May run on a thread of the worker's pool. */
	WB_EXTERNAL
} wb_handler_kind;

/* What later events of a key do when an earlier one is a dead letter. */
typedef enum wb_followers {
	WB_FOLLOWERS_WAIT,  /* until it is retried or discarded */
	WB_FOLLOWERS_GO_ON
} wb_followers;

/* Where a consumer that this store does not know yet begins. */
typedef enum wb_begin {
	WB_BEGIN_FIRST, /* the oldest event that the inbox still has */
	WB_BEGIN_NEXT   /* what comes from now on */
} wb_begin;

/* By which exchange what a handler names comes to its worker's queue. */
typedef enum wb_hears {
	WB_HEARS_EVENTS,   /* bound on wb_worker_options.exchange */
	WB_HEARS_COMMANDS, /* bound on wb_worker_options.commands */
	WB_HEARS_REPLIES   /* not bound: sent to the queue by its name */
} wb_hears;

/*
 * A handler is a consumer: it has a cursor of its own over the inbox journal,
 * under its name. Static data; zero in a numeric field means the default.
 */
typedef struct wb_handler {
	size_t size;
	const char *name; /* 1..64 of a-z 0-9 . _ -; the cursor's: never
			     change it, never use it for something else */
	const char *const *types; /* patterns as of a topic exchange ("order.*",
				     "#"), NULL behind the last; NULL: none,
				     for timers only */
	wb_handler_kind kind;
	wb_followers followers;
	wb_begin begin;
	uint32_t attempts_max;   /* 10; then a dead letter */
	uint32_t backoff_min_ms; /* 1,000 before the second attempt, doubling */
	uint32_t backoff_max_ms; /* 300,000 */
	uint32_t deadline_ms;    /* of one call: 30,000. A transactional call
				    over 10 ms is logged; one over its deadline
				    is ended, with its process, by the daemon's
				    supervisor */
	wb_hears hears;          /* events, unless waybill made the handler */
	wb_code (*handle)(wb_call *call, const wb_event *event, wb_error *err);
	/* A timer of this handler is due; NULL: it sets none. Same rules, same
	 * outcomes; attempts exhausted make a dead letter of it, too. */
	wb_code (*timer)(wb_call *call, const wb_timer *timer, wb_error *err);
	/* Once, before the first call: open tables in `txn` (it is committed
	 * right after), make what wb_call_state() returns. NULL: nothing. */
	wb_code (*open)(const struct wb_handler *self, wb_store *store,
			MDB_txn *txn, void **ret_state, wb_error *err);
	void (*close)(void *state); /* NULL: nothing to do */
	void *ctx; /* yours: wb_call_handler(call)->ctx */
} wb_handler;

#define WB_HANDLER_INIT WB_SIZED_INIT(wb_handler)

/* ---- in a call --------------------------------------------------------- */

/* The open write transaction, nested or not: never commit or abort it. */
WB_API MDB_txn *wb_call_txn(wb_call *call);
WB_API wb_store *wb_call_store(wb_call *call);
WB_API void *wb_call_state(wb_call *call);
WB_API const wb_handler *wb_call_handler(const wb_call *call);
/* 1 for the first attempt. Crashes and hangs count, unlucky neighbours not. */
WB_API uint32_t wb_call_attempt(const wb_call *call);
/* In the inbox journal; 0 for a timer. */
WB_API uint64_t wb_call_position(const wb_call *call);
/* UTC in microseconds; the same throughout the call. Use this, not time(2):
 * tests and replays depend on it. */
WB_API int64_t wb_call_now_us(const wb_call *call);
/* The same at each attempt of this event by this handler, and for no other:
 * "NAME:SOURCE:ID", or "NAME:timer:NAME:DUE". Terminated, at most 600 bytes. */
WB_API const char *wb_call_idempotency_key(const wb_call *call);

/*
 * Append an event to the outbox, in the same commit as the rest of the call.
 * Where `event` leaves them empty, causation id (the handled event's id),
 * correlation id (its correlation id, or else its id), traceparent and
 * tracestate are taken over from the event that is handled. Errors as of
 * wb_outbox_append(); after WB_EINVAL and WB_ELIMIT the call may go on.
 * Positions are known at commit only, so none is returned.
 */
WB_API wb_code wb_emit(wb_call *call, const wb_event *event, wb_error *err);

/*
 * Set the timer `name` (1..255 bytes; one of that name, of this handler, is
 * replaced) to come due at `due_us`, UTC. Durable with the rest of the call. At
 * most 64 KiB of data. Timers fire in order of time, never before it, and late
 * if the worker was down. WB_EINVAL, WB_ELIMIT; of the store.
 */
WB_API wb_code wb_timer_set(wb_call *call, wb_str name, int64_t due_us,
			    wb_str data, wb_error *err);
/* WB_ENOTFOUND, with *err untouched: there is none, or it is firing now. An
 * external call is not told: it is done when that has ended well. */
WB_API wb_code wb_timer_cancel(wb_call *call, wb_str name, wb_error *err);

/* The value of an extension attribute of the event; empty if it has none. */
WB_API wb_str wb_event_header(const wb_event *event, const char *name);

/* ---- how a call ends --------------------------------------------------- */

/* Set *err to an error of that class with this text, and return its code:
 * `return wb_retry(err, "bank answers %d", status);` */
WB_API wb_code wb_retry(wb_error *err, const char *format, ...) WB_PRINTF(2, 3);
WB_API wb_code wb_reject(wb_error *err, const char *format, ...)
	WB_PRINTF(2, 3);
WB_API wb_code wb_stop(wb_error *err, const char *format, ...) WB_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
