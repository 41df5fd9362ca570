/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The test kit: your handlers in the shipped worker, with a store in a
 * temporary directory, a broker in memory, a clock that stands still until you
 * move it and randomness from a seed. Everything runs in the calls below, on
 * your thread; nothing waits, so thirty days take milliseconds.
 *
 *   wb_test *t;
 *   wb_test_new(handlers, 1, NULL, &t, &err);
 *   wb_test_given(t, &order_placed, &err);            given an event
 *   wb_test_run(t, &err);                             when it is handled
 *   assert(wb_test_get(t, "orders", key, &v, &err) == WB_OK);   then
 *   assert(wb_test_emitted(t, 0) != NULL);
 *   wb_test_free(t);
 *
 *   cc test.c $(pkg-config --cflags --libs waybill-test)
 *
 * It goes with any test framework: a call that fails returns a code and sets
 * the error, and nothing is printed.
 */
#ifndef WAYBILL_TEST_H
#define WAYBILL_TEST_H

#include <waybill/memory.h>
#include <waybill/worker.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wb_test wb_test;

/* Zero in any field means the default. What it points to must outlive the
 * kit. */
typedef struct wb_test_options {
	size_t size;
	uint64_t seed;     /* of ids, backoff jitter and the broker; 1 */
	int64_t start_us;  /* UTC; 2026-01-01 00:00:00 */
	uint32_t steps_max; /* then a run gives up; 100,000 */
	/* As in your service, but for clock, randomness, log and threads (0:
	 * external handlers are called on this thread), which are the kit's.
	 * With `relay` left NULL the outbox is relayed with the defaults. */
	const wb_worker_options *worker;
	const wb_store_options *store; /* likewise; service "test" */
	const wb_log *log;
} wb_test_options;

#define WB_TEST_OPTIONS_INIT WB_SIZED_INIT(wb_test_options)

/*
 * A store, a broker, and a worker on them that is connected and consuming.
 * `handlers` as for wb_worker_open(), or a module's: wb_module.handlers and
 * wb_module.handler_count; `options` may be NULL. WB_EINVAL, with
 * the reason, as of wb_worker_open(); WB_EACCES, WB_ENOSPC, WB_EIO: no directory
 * can be made in /dev/shm or TMPDIR. WB_ENOMEM.
 */
WB_API wb_code wb_test_new(const wb_handler *const *handlers, size_t count,
			   const wb_test_options *options, wb_test **ret,
			   wb_error *err);
/* Removes the directory, too. NULL is allowed. */
WB_API void wb_test_free(wb_test *test);

/* ---- given --------------------------------------------------------------- */

/*
 * Publish an event as another service with waybill would. Where it leaves
 * them empty: a new id, the source "/given", the time of the kit's clock. The
 * same id and source twice is one event, delivered twice. WB_ENOTFOUND: no
 * handler takes its type. WB_EINVAL, WB_ELIMIT: as wb_event_check().
 */
WB_API wb_code wb_test_given(wb_test *test, const wb_event *event,
			     wb_error *err);

/*
 * Publish a message just as it is: what a foreign producer sends, malformed
 * ones included. An empty exchange is the worker's. WB_ENOTFOUND: as above.
 */
WB_API wb_code wb_test_given_message(wb_test *test, const wb_message *message,
				     wb_error *err);

/* ---- when ---------------------------------------------------------------- */

/*
 * Run until all is at rest: everything delivered is handled, what is due is
 * called, what was emitted has reached its exchange. Retries and timers that
 * are due later wait (wb_test_advance). The clock goes on only as far as
 * connection and relay ask for, milliseconds.
 *
 * WB_ETIMEOUT: it does not come to rest in steps_max steps, or nothing is left
 * that could move it (the broker is blocked, say); the error says what it
 * waits for. Else as of wb_worker_step().
 */
WB_API wb_code wb_test_run(wb_test *test, wb_error *err);

/*
 * Let `us` microseconds go by, from one retry or timer to the next, each at
 * its own time, and run as above after each. A handler that fails for thirty
 * days is tested by one call. Errors as above.
 */
WB_API wb_code wb_test_advance(wb_test *test, uint64_t us, wb_error *err);

/* The wall clock is set, forwards or backwards; no time goes by. */
WB_API void wb_test_jump(wb_test *test, int64_t us);

/* What the handlers see as now: UTC, microseconds. */
WB_API int64_t wb_test_now_us(const wb_test *test);

/* ---- trouble ------------------------------------------------------------- */

typedef enum wb_test_trouble {
	WB_TEST_CRASH_BEFORE_COMMIT, /* nothing of it is there */
	WB_TEST_CRASH_AFTER_COMMIT,  /* it is durable; no ack was sent */
	WB_TEST_DISK_FULL            /* it fails; the worker lives on */
} wb_test_trouble;

/*
 * What becomes of the worker's nth commit from now on (1: the next), of those
 * in the store: effects, emitted events and cursor, or what was taken in. A
 * worker that has crashed is started anew within the same run. Replaces what
 * was asked for before and has not come yet; nth 0: only that.
 *
 * WB_ESTATE: commits cannot be seen here, since liblmdb stands before
 * libwaybill-test in the link order.
 */
WB_API wb_code wb_test_trouble_at(wb_test *test, wb_test_trouble what,
				  uint32_t nth, wb_error *err);

/* It has come. A loop over nth until it does not any more tries a crash at
 * every commit that there is. */
WB_API bool wb_test_trouble_came(const wb_test *test);

/* The worker dies between two steps: what it was sent and has not acked comes
 * again. A new one is there when it returns, and has not run yet. */
WB_API wb_code wb_test_crash(wb_test *test, wb_error *err);

/* As `waybill dead retry`: a dead letter (wb_test_dead.number) goes back to its
 * handler, in the next run. WB_ENOTFOUND, WB_EINVAL (it was refused before any
 * handler), WB_EEXISTS (a timer of its name was set since). */
WB_API wb_code wb_test_retry_dead(wb_test *test, uint64_t number,
				  wb_error *err);

/* The broker, for its own troubles: duplicates, cuts, refusals, a blocked or
 * frozen broker, nacks, chaos by seed (waybill/memory.h). */
WB_API wb_memory *wb_test_broker(wb_test *test);

/* ---- then ---------------------------------------------------------------- */

/* The store, for transactions of your own: state before, state after. */
WB_API wb_store *wb_test_store(wb_test *test);

/* Counters: handled, retries, duplicates, ... Of the present worker: a crash
 * begins them anew. */
WB_API wb_worker_stat wb_test_stat(const wb_test *test);

/*
 * One value of a table in the store, by its key's bytes; *ret lives until the
 * next call on the kit. WB_ENOTFOUND, with *err untouched: no such key, or no
 * such table.
 */
WB_API wb_code wb_test_get(wb_test *test, const char *table, wb_str key,
			   wb_str *ret, wb_error *err);

/*
 * The lists below are as of the end of the last run; `index` counts from 0,
 * and NULL is past the end. What they return lives until the next call that
 * runs, crashes or frees the kit.
 */

/* The index-th event that reached an exchange, in the order in which they did.
 * One that came again after a crash counts once. */
WB_API const wb_event *wb_test_emitted(wb_test *test, size_t index);

typedef struct wb_test_timer {
	const char *handler;
	wb_timer timer;
	uint32_t attempts; /* made so far, if it has fired and failed */
	int64_t due_us;    /* the next one; UTC */
} wb_test_timer;

/* In order of time. */
WB_API const wb_test_timer *wb_test_timer_at(wb_test *test, size_t index);

/* An event that waits: for its next attempt, or behind its key. */
typedef struct wb_test_waiting {
	const char *handler;
	wb_event event;
	bool queued;        /* behind an earlier one of its key */
	uint32_t attempts;  /* made so far */
	int64_t due_us;     /* UTC; not for one that is queued */
	wb_code code;       /* of the last failure */
	const char *text;
} wb_test_waiting;

/* By handler, key and order of arrival. */
WB_API const wb_test_waiting *wb_test_waiting_at(wb_test *test, size_t index);

typedef struct wb_test_dead {
	const char *handler; /* "": refused before any handler saw it */
	const char *reason;  /* "rejected", "exhausted", "malformed", ... */
	const char *text;    /* the last failure, in words */
	wb_event event;      /* of a refused message only id, source and type,
				as far as they could be read */
	wb_str timer;        /* its name, if it was a timer that died */
	uint32_t attempts;
	uint64_t number;     /* as `waybill dead` has it */
} wb_test_dead;

/* In the order in which they died. */
WB_API const wb_test_dead *wb_test_dead_at(wb_test *test, size_t index);

/* Why this handler has stopped; NULL: it runs. */
WB_API const char *wb_test_stopped(wb_test *test, const char *handler);

#ifdef __cplusplus
}
#endif
#endif
