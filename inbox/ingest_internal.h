/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of the ingest share.
 *
 *   ingest.c           the step: hear the broker, keep the connection, stop
 *   ingest_topology.c  what is declared, and a refusal in words that help
 *   ingest_message.c   a message as an event, or as a dead letter
 *   ingest_batch.c     what came and is not committed yet; the commit
 *   ingest_status.c    the row that says who this store is and how it does
 */
#ifndef WBI_INGEST_INTERNAL_H
#define WBI_INGEST_INTERNAL_H

#include "inbox/ingest.h"
#include "lib/base/backoff.h"
#include "lib/event/envelope.h"
#include "lib/journal/inbox_rows.h"
#include "lib/journal/journal.h"

enum {
	INGEST_QUEUE_MAX = 249,          /* with ".owner" behind it 255 */
	INGEST_ARGUMENTS_MAX = 5,        /* of one declaration */
	INGEST_BATCH_BYTES = 4 << 20,    /* kept before they are written ... */
	INGEST_BLOCK_BYTES = 1 << 20,     /* ... in this block, the rest apart */
	INGEST_MANY = 64,       /* deliveries of a step: there may be more */
	INGEST_HEAR_STEPS = 16, /* of the broker for a batch */
	INGEST_CLOCK_EVERY = 32,         /* events between two looks at it */
	INGEST_NO_ROOM_US = 1000000,     /* until it looks again */
	INGEST_PAUSE_MAX_US = 300000000, /* holding deliveries unacked: RabbitMQ
				      closes the channel after 30 minutes */
	INGEST_STATUS_US = 1000000,      /* between two writes of the row */
	INGEST_ACK_US = 10000,  /* an ack may wait so long for the next, ... */
	INGEST_ACK_MANY = 250,  /* ... not for more deliveries than these, ... */
	INGEST_YOUNG_US = 1000000, /* ... and not on a connection as young */
	INGEST_ACK_AGAIN_US = 5000,      /* the socket takes nothing just now */
	INGEST_CLOSE_US = 500000 /* the broker's goodbye is awaited so long */
};

typedef enum ingest_stage {
	INGEST_DOWN, /* until connect_at_us */
	INGEST_CONNECTING,
	INGEST_DECLARING, /* one after the other: `declared` are done */
	INGEST_ASKING,    /* to consume */
	INGEST_TAKING,
	INGEST_CLOSING /* what still comes is not ours any more */
} ingest_stage;

/* One delivery, copied: an event, or why it is none. */
typedef struct ingest_item {
	uint64_t delivery;
	bool redelivered;
	wbi_dead *dead; /* NULL: the event at the same index */
} ingest_item;

/* A copy that did not fit into the block. */
typedef struct ingest_big {
	struct ingest_big *next;
	_Alignas(max_align_t) char bytes[];
} ingest_big;

/*
 * What was delivered and is not committed, in order. The copies outlive the
 * connection that brought them: what cannot be committed now for want of room
 * is neither lost nor asked for again.
 */
typedef struct ingest_batch {
	wb_event *events;
	ingest_item *items;
	uint32_t capacity, count;
	uint32_t done; /* of them, from the front, committed */
	size_t bytes;
	char *block;
	size_t block_used;
	ingest_big *big;
} ingest_batch;

struct wbi_ingest {
	wb_store *store;
	wb_broker *broker;
	const wb_worker_options *options; /* the worker's */
	const wb_clock *clock;
	const wb_random *random;
	const wb_log *log;
	wbi_journal journal;
	char vhost[256];
	char dead[256], owner_exchange[256]; /* QUEUE.dead, QUEUE.owner */

	ingest_stage stage;
	wb_worker_state state;
	int64_t now_us; /* monotonic, at the start of this step */
	int64_t deadline_us;
	wbi_backoff backoff;
	int64_t connect_at_us;
	int64_t taking_since_us;
	uint32_t declared;
	bool stopping, closed_for_stop;
	int64_t stop_at_us; /* then without the broker's goodbye */

	ingest_batch batch;
	uint32_t take;     /* at most so many per commit: less, near the mark */
	uint64_t ack_due;  /* committed and not acked up to here; 0: nothing */
	uint64_t ack_count; /* deliveries that it acks */
	int64_t ack_at_us;  /* it waits no longer */
	uint32_t share_us; /* of work in a transaction */
	const wbi_ingest_join *join; /* in the commit of a batch; NULL */
	bool again;        /* there is more to do at once */
	bool paused;       /* there was no room ... */
	int64_t paused_us; /* ... since */
	int64_t room_at_us;

	/* the row, as it is durable; its strings are ours */
	wbi_ingest_status status;
	bool status_there; /* it was written before: `owner` may be shown */
	bool status_dirty;
	int64_t status_at_us;
	char queue_taken[256], vhost_taken[256];
	int64_t age_from_us; /* monotonic time at which age_us was as in row0 */
	uint64_t age0_us;

	wbi_ingest_stat stat;
};

/* ingest.c */
void wbi_ingest_trouble(wbi_ingest *ingest, wb_log_level level,
			const wb_error *why, const char *doing);

/* Deliveries up to this one are committed, `count` of them more than before. */
void wbi_ingest_owe_ack(wbi_ingest *ingest, uint64_t delivery, uint32_t count);

/* ingest_topology.c */

/* The index-th thing to declare under the policy; false: that was all.
 * `arguments` has room for INGEST_ARGUMENTS_MAX. */
bool wbi_ingest_declaration(const wbi_ingest *ingest, uint32_t index,
			    wb_argument *arguments, wb_declaration *ret);
/* Why the broker refused it. WB_EMISMATCH is returned for one thing only: the
 * queue belongs to another store. */
wb_code wbi_ingest_explain(const wbi_ingest *ingest, uint32_t index,
			   const wb_broker_event *event, wb_error *ret);

/* ingest_message.c */

/* An event that owns its bytes, in a block of wbi_ingest_event_size(). */
size_t wbi_ingest_event_size(const wbi_received *received);
void wbi_ingest_event_copy(const wbi_received *received, void *block,
			   wb_event *ret);
/* As wbi_envelope_read(), with an id from the body where it is wanted; `id` is
 * room for one and must live as long as *ret. */
wb_code wbi_ingest_read(const wb_message *message, bool id_from_body,
			const wb_limits *limits, char *id, wbi_received *ret,
			wb_error *err);
/* What is set aside, likewise in a block. */
size_t wbi_ingest_dead_size(const wb_message *message, const wb_error *why);
wbi_dead *wbi_ingest_dead_copy(const wb_message *message, const wb_error *why,
			       int64_t now_us, void *block);

/* ingest_batch.c */

/* A copy of the delivery at the end. WB_ENOMEM: it was not taken, and none
 * behind it may be. */
wb_code wbi_ingest_batch_add(wbi_ingest *ingest, const wb_broker_event *event,
			     wb_error *err);
bool wbi_ingest_batch_full(const wbi_ingest *ingest);
/* Commit the first of them, at most `take`. Nothing changes in memory unless it
 * returns WB_OK. */
wb_code wbi_ingest_batch_write(wbi_ingest *ingest, bool *ret_appended,
			       wb_error *err);
void wbi_ingest_batch_free(ingest_batch *batch);

/* ingest_status.c */

/* Read it, or make what a new one holds. WB_EMISMATCH: this store takes from
 * another queue. */
wb_code wbi_ingest_status_load(wbi_ingest *ingest, wb_error *err);
/* As it would be now, for the commit that it is part of. */
wbi_ingest_status wbi_ingest_status_now(const wbi_ingest *ingest);
wb_code wbi_ingest_status_write(wbi_ingest *ingest, wb_error *err);
/* It consumes: from now on this is the store's queue. */
void wbi_ingest_status_taking(wbi_ingest *ingest);

#endif
