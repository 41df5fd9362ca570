/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of dispatch share: see dispatch.c for the whole. */
#ifndef WBI_DISPATCH_INTERNAL_H
#define WBI_DISPATCH_INTERNAL_H

#include "inbox/call.h"
#include "inbox/dispatch.h"
#include "inbox/gap.h"
#include "inbox/pool.h"
#include "inbox/work.h"
#include "lib/base/buffer.h"
#include "lib/base/topic.h"
#include "lib/event/record.h"
#include "lib/journal/journal.h"

enum {
	WBI_DISPATCH_INLINE = 16, /* external calls begun at once, threads=0 */
	WBI_DISPATCH_CAREFUL = 1024 /* calls made apart after a failed one */
};

/* What the open transaction would make of a consumer; counts are what it adds
 * to those of the row. */
typedef struct wbi_consumer_next {
	uint64_t position;
	uint64_t handled, retries, dead, emitted;
	uint32_t calls;
	bool changed; /* its row is to be written */
	bool halted;
	bool moved; /* the position is to be written, too */
	bool met;   /* the suspect has come */
	int64_t due_us;
	uint32_t crashed;
	char error[WB_ERROR_TEXT_MAX]; /* halted: why */
	char died[WB_ERROR_TEXT_MAX];  /* dead: of the last one */
} wbi_consumer_next;

/* One handler. */
typedef struct wbi_consumer_run {
	const wb_handler *handler;
	wb_str name;
	uint32_t attempts_max, backoff_min_ms, backoff_max_ms, deadline_ms;
	void *state;
	bool opened;
	wbi_topic *topics;
	size_t topic_count;

	/* As committed. */
	uint64_t position;
	uint64_t handled, retries, dead, emitted; /* since it was opened */
	uint64_t waiting, timers;
	bool halted;
	uint32_t crashed; /* CRASHED rows before its cursor */
	int64_t due_us;   /* its first row that waits; INT64_MAX: none */
	uint64_t suspect; /* an event that was called when the last process
			     ended, and not taken in; 0: none */
	wb_error suspect_why;

	uint32_t careful; /* so many calls more get a transaction of their own,
			     for one that had written has failed */
	int64_t held_us; /* no call of it before: the store had no room for what
			    one wanted to write; 0 */
	uint32_t limit;  /* its calls in a transaction: fewer after that */
	uint64_t turn;   /* when it was last served; the lowest is next */
	int64_t slow_said_us, died_said_us;
	uint64_t died_unsaid;
	bool has_group; /* may have waiting rows, in the open transaction */
	wbi_gap gap;    /* where none of them is, likewise */
	bool member;    /* of the batch */
	wbi_consumer_next next;
} wbi_consumer_run;

/* One external call from its row to its outcome. */
typedef struct wbi_job {
	wbi_task task; /* first */
	struct wbi_dispatch *dispatch;
	wbi_consumer_run *consumer;
	struct wbi_job *next; /* in one of dispatch's lists */
	wbi_row_key key;      /* of its row; call.id points in here */
	wbi_work row;         /* as it was begun; record is ours */
	uint8_t *record;
	wb_event event;
	wb_timer timer;
	struct wb_call call;
	wb_error error, trouble;
	wb_code code;
	bool made;    /* false: given back without a call */
	bool settled; /* its outcome is in the open transaction */
	bool late;    /* over its deadline, and said */
	int64_t begun_us;
	wb_header headers[];
} wbi_job;

typedef struct wbi_job_list {
	wbi_job *first;
	size_t count;
} wbi_job_list;

struct wbi_dispatch {
	wb_store *store;
	const wbi_store_tables *tables;
	wbi_journal inbox;
	wb_outbox *outbox;
	wb_worker_options options;
	const wb_clock *clock;
	const wb_random *random;
	const wb_log *log;
	wbi_calls *calls; /* borrowed; NULL */
	wbi_pool *pool;   /* NULL: external calls on this thread */
	wbi_consumer_run *consumers;
	size_t count;
	bool has_external;

	uint64_t head;     /* of the inbox, as last seen */
	uint64_t seen_txn; /* the last commit that was looked at */
	bool look;
	uint64_t turns;
	unsigned last_kind; /* of work that was done */
	uint32_t limit;  /* calls in a transaction; batch_max unless the store
			    had trouble with so many */
	int64_t next_us; /* monotonic: pause between transactions, or of
			    trouble */
	bool paused, stopping;
	wb_error trouble; /* why paused */
	uint32_t share_us; /* of work in a transaction */
	uint32_t apart;    /* so many calls more are made only behind the commit
			      that takes their events in: after a crash in one */

	/* The open transaction. */
	MDB_txn *txn;
	bool joined; /* it takes in the events, too */
	bool again;  /* abort it and do it once more, with more care */
	bool enough; /* a member of the batch has had its limit of calls */
	int64_t mono_us, begun_mono_us, begun_real_us;
	int64_t full_us; /* when its share of time is used up */
	uint32_t calls_made;
	struct wb_call call;
	wb_error call_error, call_trouble;
	wbi_buffer record; /* a due row's, while its call may change `work` */
	wb_header headers[WBI_RECORD_HEADERS_MAX];

	/* External calls: begun in the open transaction; on this thread's
	 * list; on the pool's; ended. */
	wbi_job_list starting, waiting, running, ended;
	uint32_t one_at_a_time; /* so many calls after a crash that could not
				   be blamed on one */
};

/* ---- dispatch.c -------------------------------------------------------- */

/* d->txn, and every consumer's `next`; the commit makes them true. After an
 * error of either d->txn is to be aborted, if it is still there. */
wb_code wbi_dispatch_begin(wbi_dispatch *d, wb_error *err);
/* In a transaction that has been begun, with so much of its time. */
void wbi_dispatch_begin_in(wbi_dispatch *d, MDB_txn *txn, uint32_t share_us);
/* Write the consumers' rows, as `next` has them. */
wb_code wbi_dispatch_put_rows(wbi_dispatch *d, wb_error *err);
/* What `next` says is durable. */
void wbi_dispatch_apply(wbi_dispatch *d);
wb_code wbi_dispatch_commit(wbi_dispatch *d, wb_error *err);

/* Now, UTC, on the monotonic clock's way from the transaction's begin. */
int64_t wbi_dispatch_now_us(const wbi_dispatch *d);
/* Is the transaction's share of time or calls used up? */
bool wbi_dispatch_is_full(const wbi_dispatch *d);
/* Must nothing be begun just now? It is stopping, or a call runs that must be
 * the only one. */
bool wbi_dispatch_is_held(const wbi_dispatch *d);
wbi_consumer_run *wbi_dispatch_find(wbi_dispatch *d, wb_str name);
/* May it be called now? Neither stopped nor held. */
bool wbi_dispatch_can(const wbi_dispatch *d, const wbi_consumer_run *c);
/* The store has no room for what a call of it wants to write: hold it, and do
 * the transaction again without it. */
void wbi_dispatch_hold(wbi_dispatch *d, wbi_consumer_run *c,
		       const wb_error *why);

/* ---- dispatch_open.c --------------------------------------------------- */

/* Check the declarations, make the table of consumers. */
wb_code wbi_dispatch_declare(wbi_dispatch *d, const wb_handler *const *handlers,
			     size_t count, wb_error *err);
/* Open each handler, find or make its cursor. */
wb_code wbi_dispatch_start(wbi_dispatch *d, wb_error *err);
void wbi_dispatch_end(wbi_dispatch *d);

/* ---- dispatch_join.c --------------------------------------------------- */

/* By what an event is known that has no position yet; never 0. */
uint64_t wbi_dispatch_identity(const wb_event *event);

/* ---- dispatch_recover.c ------------------------------------------------ */

/* Charge the call that a crash interrupted, give the others back. */
wb_code wbi_dispatch_recover(wbi_dispatch *d, wb_error *err);
/* What a crash of this event's call has cost so far; 0 attempts: none. The
 * text is copied to `text`. Takes the row away. */
wb_code wbi_dispatch_crashes(wbi_dispatch *d, wbi_consumer_run *c,
			     uint64_t position, wbi_work *ret,
			     char text[WB_ERROR_TEXT_MAX], wb_error *err);

/* ---- dispatch_call.c --------------------------------------------------- */

/* How a call ended. */
typedef enum wbi_end {
	WBI_END_OK,
	WBI_END_RETRY,
	WBI_END_REJECT,
	WBI_END_STOP,
	WBI_END_TROUBLE, /* of the store */
	WBI_END_AGAIN    /* abort, do it once more with more care */
} wbi_end;

/* What is called: an event (record: as the journal or its row has it) or a
 * timer. */
typedef struct wbi_subject {
	wbi_work_id id;
	const wb_event *event;
	const wb_timer *timer;
	wb_str record;
	bool due;     /* it has a row in `work` */
	wbi_work row; /* due, or CRASHED: what is known of it; else zeroes */
} wbi_subject;

/* Make one transactional call; with `apart` in a transaction of its own, which
 * `done` (a due row's end) shares. d->call_error says why it did not end well.
 * An error is the library's own. */
wb_code wbi_dispatch_call(wbi_dispatch *d, wbi_consumer_run *c,
			  const wbi_subject *subject, bool apart, wbi_end *ret,
			  wb_error *err);
/* From what a handler has returned, to how its call ended; *err is filled. */
wbi_end wbi_dispatch_judge(const wbi_dispatch *d, wb_code code, wb_error *err);
/* Write down RETRY, REJECT or STOP in d->txn. `why` as of a call. */
wb_code wbi_dispatch_outcome(wbi_dispatch *d, wbi_consumer_run *c,
			     const wbi_subject *subject, wbi_end end,
			     const wb_error *why, wb_error *err);
/* Into a dead letter. */
wb_code wbi_dispatch_die(wbi_dispatch *d, wbi_consumer_run *c,
			 const wbi_subject *subject, uint8_t reason,
			 const wb_error *why, wb_error *err);

/* ---- dispatch_batch.c, dispatch_due.c, dispatch_external.c ------------- */

/* Each in d->txn, about one transaction's share; `again` may be set. */
wb_code wbi_dispatch_batch(wbi_dispatch *d, wb_error *err);
wb_code wbi_dispatch_due(wbi_dispatch *d, wb_error *err);
wb_code wbi_dispatch_outcomes(wbi_dispatch *d, wb_error *err);

/* Is there anything of that kind to do? */
bool wbi_dispatch_has_outcomes(const wbi_dispatch *d);
bool wbi_dispatch_has_batch(const wbi_dispatch *d);
bool wbi_dispatch_has_due(const wbi_dispatch *d, int64_t real_us);

/* Room for one more external call? */
bool wbi_dispatch_can_start(const wbi_dispatch *d);
/* Begin one, in d->txn: it is made after the commit. */
wb_code wbi_dispatch_start_call(wbi_dispatch *d, wbi_consumer_run *c,
				const wbi_row_key *key, const wbi_work *row,
				wb_error *err);
void wbi_dispatch_started(wbi_dispatch *d, bool committed);
void wbi_dispatch_outcomes_done(wbi_dispatch *d);
/* Take what the pool has ended, make a call of this thread's, say what is
 * late. */
void wbi_dispatch_external(wbi_dispatch *d);
size_t wbi_dispatch_running(const wbi_dispatch *d);
void wbi_dispatch_drop_jobs(wbi_dispatch *d);

#endif
