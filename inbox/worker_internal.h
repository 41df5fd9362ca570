/* SPDX-License-Identifier: BSD-2-Clause */
/* The worker's parts share this; the daemon asks for its page of calls. */
#ifndef WBI_WORKER_INTERNAL_H
#define WBI_WORKER_INTERNAL_H

#include <stdatomic.h>

#include <waybill/worker.h>

#include "inbox/calls.h"
#include "inbox/dispatch.h"
#include "inbox/ingest.h"
#include "lib/base/loop.h"
#include "lib/base/standstill.h"

enum {
	WORKER_OWN_RETRY_MS = 200,
	WORKER_READERS_MS = 60000,
	WORKER_CLOSE_US = 2000000, /* a broker's goodbye is awaited so long */
	WORKER_LOOK_MIN_US = 50,   /* to see a commit that is on its way ... */
	WORKER_LOOK_MAX_US = 1000, /* ... twice as long each time */
	WORKER_QUIET_US = 300000,  /* until idle: nothing came for so long */
	WORKER_STUCK_US = 3000000, /* until idle: without room for so long */
	WORKER_NAP_US = 1000,      /* of a pause slept within a dispatch */
	WORKER_ALONE_US = 10000000 /* without a commit of another writer */
};

/* Who may open the next write transaction. */
typedef enum worker_turn { WORKER_INGEST, WORKER_DISPATCH } worker_turn;

struct wb_worker {
	wb_store *store;
	wb_broker *consumer, *publisher;
	const wb_handler **handlers; /* ours; what they point to is not */
	size_t handler_count;
	wb_worker_options options; /* defaults filled in, strings ours */
	wb_relay_options relay_options;
	char *queue, *exchange, *commands;
	char **bind, **bind_commands; /* NULL behind the last */
	const wb_clock *clock;
	const wb_log *log;

	/* active: */
	int owner_fd;
	wbi_calls *calls;
	wbi_dispatch *dispatch;
	wbi_ingest *ingest; /* NULL without a consumer */
	wbi_ingest_join join; /* of dispatch in its commits */
	wb_relay *relay;    /* NULL without options.relay */

	wb_worker_state state;
	atomic_int stop_asked;
	int64_t stop_deadline_us;
	bool parts_stopping, relay_stopping;
	wb_error why;        /* of WAITING, and of what is tried again */
	bool told_waiting;
	int64_t now_us;      /* monotonic, at the start of this step */
	int64_t own_at_us;
	int64_t readers_at_us;
	int64_t deadline_us; /* of our own; those of the parts are asked for */

	/* what is known of the store */
	uint64_t seen_txn;   /* the last commit that was looked at */
	uint64_t own_txn;    /* the last of our own; 0: none yet */
	int64_t alone_at_us; /* no other writer was seen for so long then */
	int64_t look_at_us;  /* one is on its way; INT64_MAX: none */
	int64_t look_pause_us;
	bool wake_dispatch, wake_relay;
	worker_turn turn;
	int64_t pause_until_us; /* no write transaction of ours before */

	/* in an event loop: see worker_loop.c */
	wbi_loop loop;
	int store_watch;
	int relay_fd; /* -1: the relay is stepped with the rest */
	bool parts_added; /* what only an active worker has is in it */
};

/* "waiting", "down", ...; static. */
const char *wbi_worker_state_name(wb_worker_state state);

/* worker_options.c: check and copy; on failure wb_worker_close() frees. */
wb_code wbi_worker_take_handlers(wb_worker *worker,
				 const wb_handler *const *handlers,
				 size_t count, wb_error *err);
wb_code wbi_worker_take_options(wb_worker *worker,
				const wb_worker_options *options,
				wb_error *err);
void wbi_worker_free_options(wb_worker *worker);

/* worker_start.c */
wb_code wbi_worker_own(wb_worker *worker, wb_error *err);
void wbi_worker_disown(wb_worker *worker);

/* worker.c */
wb_code wbi_worker_step_relay(wb_worker *worker, wb_error *err);

/* Has it been PAUSED for WORKER_STUCK_US? `since_us` is the caller's, 0 at
 * first. Who waits until it is idle may wait for ever. */
bool wbi_worker_is_stuck(const wb_worker_stat *stat, int64_t now_us,
			 int64_t *since_us);

/* As wbi_relay_gets_on(). `more` is what else gets done and is waited for. */
wb_code wbi_worker_gets_on(const wb_worker *worker, wbi_standstill *still,
			   uint64_t more, int64_t most_us, wb_error *err);

/* The page in which its calls are noted; NULL while it waits. */
static inline wbi_calls *wbi_worker_calls(const wb_worker *worker)
{
	return worker->calls;
}

#endif
