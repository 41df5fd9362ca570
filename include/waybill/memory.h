/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A broker inside the process, for tests and the simulator: exchanges, queues,
 * publisher confirms, returns, consumers, and every misbehaviour that AMQP
 * 0-9-1 and RabbitMQ permit, on request or by seed. One wb_memory is one
 * broker; any number of connections (wb_memory_connect) share it.
 *
 * Everything belongs to one thread. Nothing happens except inside `step` of a
 * connection: publish, ack and declare only hand over, and what a script call
 * below asks for takes effect in the next step of the connection concerned.
 * A message that was published but not flushed is not sent. Given the same
 * calls, the same clock and the same randomness, it does the same things.
 *
 * What it keeps to, because RabbitMQ does: a message is routed when it is read;
 * what stands before a message that closes the channel is routed, what stands
 * behind it is dropped; a blocked broker stops reading a connection when that
 * connection publishes, and tells it then; one rejecting queue makes a nack
 * although other queues took the message; unacked deliveries go back to their
 * old place when their connection ends.
 *
 * `fd` of a connection is an eventfd, made at its first use: readable when
 * `step` or `next` has something to do now. What is due later shows only in
 * `deadline_us`.
 */
#ifndef WAYBILL_MEMORY_H
#define WAYBILL_MEMORY_H

#include <waybill/broker.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wb_memory wb_memory;

enum {
	WB_MEMORY_CONNECTIONS_MAX = 64,
	WB_MEMORY_EXCHANGES_MAX = 256,
	WB_MEMORY_QUEUES_MAX = 256,
	WB_MEMORY_BINDINGS_MAX = 4096,
	WB_MEMORY_CUTS_MAX = 16 /* cuts that are asked for and still to come */
};

/* `clock` and `random` must outlive it; NULL: the system's. The exchanges "",
 * amq.direct, amq.fanout and amq.topic exist from the start. */
WB_API wb_code wb_memory_new(const wb_clock *clock, const wb_random *random,
			     wb_memory **ret, wb_error *err);

/* Every connection must have been freed before. NULL is allowed. */
WB_API void wb_memory_free(wb_memory *memory);

/*
 * A new connection object, down at first; free with wb_broker_free(). Freeing
 * one that is up is what the death of its process looks like: the messages it
 * had flushed are still read (some of them, under chaos), its unacked
 * deliveries come again. WB_ELIMIT: too many connections.
 */
WB_API wb_code wb_memory_connect(wb_memory *memory, wb_broker **ret,
				 wb_error *err);

/* ---- settings ---------------------------------------------------------- */

typedef enum wb_memory_order {
	WB_MEMORY_IN_ORDER,
	WB_MEMORY_RANDOM,  /* as the drawn delays fall; ties at random */
	WB_MEMORY_REVERSED /* what one step has read settles last first */
} wb_memory_order;

/* Zero in a numeric field means the default. */
typedef struct wb_memory_settings {
	size_t size;
	uint32_t confirm_min_us; /* read to confirm, drawn from min..max; 0: */
	uint32_t confirm_max_us; /* in the step that reads the message */
	wb_memory_order confirm_order;
	uint32_t heartbeat_ms;     /* a frozen broker is down then; 30,000 */
	uint32_t close_timeout_ms; /* 1,000 */
	uint32_t read_max;         /* messages read per step; 1,024 */
	uint32_t unsettled_max;    /* then publish is WB_EAGAIN; 65,536 */
	size_t buffer_max_bytes;   /* unread bodies, likewise; 4 MiB */
	size_t body_max_bytes;     /* larger closes the channel; 128 MiB */
	uint64_t log_max;          /* arrivals kept per queue; 1,000,000 */
	bool no_log;               /* keep none: memory stays flat */
} wb_memory_settings;

#define WB_MEMORY_SETTINGS_INIT WB_SIZED_INIT(wb_memory_settings)

/* Replace all settings, from the next step on. WB_EINVAL. */
WB_API wb_code wb_memory_set(wb_memory *memory,
			     const wb_memory_settings *settings, wb_error *err);

/* ---- script: one misbehaviour at a time -------------------------------- */

/* The next `count` messages that could be routed are nacked and reach no
 * queue; or returned as unroutable (312). Replaces what was left of the last
 * such call. Nacks are used up first. */
WB_API void wb_memory_nack_next(wb_memory *memory, uint32_t count);
WB_API void wb_memory_return_next(wb_memory *memory, uint32_t count);

/*
 * A message from some other client, routed at once and just as it is: without
 * an id, with headers that no event has. WB_ENOTFOUND: there is no such
 * exchange, or it is for no queue. WB_EAGAIN: a queue is full. WB_ENOMEM.
 */
WB_API wb_code wb_memory_put(wb_memory *memory, const wb_message *message,
			     wb_error *err);

/* The next `count` attempts to connect are answered by DOWN. */
WB_API void wb_memory_refuse_next(wb_memory *memory, uint32_t count);

/* The next `count` deliveries come twice, the second one as redelivered; both
 * have to be acked. */
WB_API void wb_memory_duplicate_next(wb_memory *memory, uint32_t count);

/*
 * The broker hangs: no step does anything, connects included, until it is
 * thawed. A connection that hangs longer than the heartbeat goes DOWN by
 * itself; what it had sent is read at the thaw, as RabbitMQ does.
 */
WB_API void wb_memory_freeze(wb_memory *memory, bool frozen);

/* A memory alarm: connections that publish get BLOCKED. */
WB_API void wb_memory_block(wb_memory *memory, bool blocked);

/* How a connection is lost; see wb_memory_cut. */
typedef struct wb_memory_cut_options {
	size_t size;
	const wb_broker *connection; /* NULL: whichever it hits; by time: all */
	uint64_t after_publishes; /* when this many more were read; 0: not by */
	uint64_t after_us;        /* and 0 here: at the next step */
	uint32_t take_max;    /* of the messages in flight (flushed, unread)
				 this many are routed all the same ... */
	uint32_t take_late_us; /* ... this much later, though another
				  connection may be up by then; 0: at once */
	uint32_t confirm_max; /* of the outcomes not yet told, this many come
				 before DOWN, in their order */
} wb_memory_cut_options;

#define WB_MEMORY_CUT_INIT WB_SIZED_INIT(wb_memory_cut_options)

/* Lose connections. WB_ELIMIT: WB_MEMORY_CUTS_MAX are still to come. */
WB_API wb_code wb_memory_cut(wb_memory *memory,
			     const wb_memory_cut_options *options,
			     wb_error *err);

/* Close the publishing channel of `connection` (NULL: of all that are up) with
 * this AMQP reply code. Outcomes not yet told never are. */
WB_API void wb_memory_close_channel(wb_memory *memory,
				    const wb_broker *connection,
				    uint16_t reply_code);

/*
 * What another client might do to the topology. Deleting an exchange deletes
 * its bindings, deleting a queue its messages (not its log) and consumers.
 * Hiding makes an exchange missing for `hidden_us`, bindings kept; a create
 * declaration ends it early. WB_ENOTFOUND, WB_ENOMEM, WB_ELIMIT; creating what
 * is there already with another type: WB_EMISMATCH.
 */
WB_API wb_code wb_memory_create_exchange(wb_memory *memory, const char *name,
					 const char *type, wb_error *err);
WB_API wb_code wb_memory_delete_exchange(wb_memory *memory, const char *name,
					 wb_error *err);
WB_API wb_code wb_memory_hide_exchange(wb_memory *memory, const char *name,
				       uint64_t hidden_us, wb_error *err);
WB_API wb_code wb_memory_delete_queue(wb_memory *memory, const char *name,
				      wb_error *err);

/* The next message of a stream queue comes `count` offsets later, as where a
 * broker has written entries of its own. WB_ENOTFOUND: no such stream. */
WB_API wb_code wb_memory_skip_offsets(wb_memory *memory, const char *name,
				      uint64_t count, wb_error *err);

/* ---- chaos: all of them, by seed --------------------------------------- */

/* Chances are per mille, drawn from the broker's randomness. Start from
 * WB_MEMORY_CHAOS_INIT (all zero: no chaos). */
typedef struct wb_memory_chaos {
	size_t size;
	/* for each message read: */
	uint16_t nack;          /* half of them reach their queues anyway */
	uint16_t return_;       /* as unroutable */
	uint16_t cut;           /* with random take, lateness and confirms */
	uint16_t channel_close; /* 504; or 506, a resource error */
	uint16_t hide_exchange; /* for up to outage_max_us */
	uint16_t freeze;        /* likewise */
	uint16_t block;         /* likewise */
	/* for each connect and each delivery: */
	uint16_t refuse;
	uint16_t duplicate;
	uint16_t misplace; /* for each requeue: it goes to the queue's end */
	uint32_t outage_max_us; /* 0: one second */
	uint32_t read_max;      /* messages read per step: 1 to this many; 0:
				   as the settings say */
} wb_memory_chaos;

#define WB_MEMORY_CHAOS_INIT WB_SIZED_INIT(wb_memory_chaos)

/* NULL: no more chaos; outages that it began end at the next step. */
WB_API wb_code wb_memory_set_chaos(wb_memory *memory,
				   const wb_memory_chaos *chaos, wb_error *err);

/* ---- inspection: what a checker needs ---------------------------------- */

typedef struct wb_memory_stat {
	uint64_t connects, refused, downs, channel_closes, blocks;
	uint64_t published; /* accepted by publish */
	uint64_t read;      /* read by the broker, stragglers included */
	uint64_t stragglers; /* read after their connection was gone */
	uint64_t routed, returned, nacked; /* outcomes as decided ... */
	uint64_t confirms_told; /* ... and how many the client was told */
	uint64_t deliveries, duplicates;
} wb_memory_stat;

WB_API wb_memory_stat wb_memory_get_stat(const wb_memory *memory);

typedef struct wb_memory_queue_stat {
	uint64_t arrived;  /* put into the queue, ever */
	uint64_t ready;    /* waiting for a consumer */
	uint64_t unacked;  /* delivered */
	uint64_t acked;
	uint64_t rejected; /* by consumers, without requeue */
	uint64_t dropped;  /* by overflow drop-head, from the front */
	uint32_t consumers;
} wb_memory_queue_stat;

/* All zero for a queue that never was. */
WB_API wb_memory_queue_stat wb_memory_get_queue_stat(const wb_memory *memory,
						     const char *queue);

/*
 * The index-th message (from 0) that `queue` ever received, in order of
 * arrival; NULL past the end of the log. Also after the queue was deleted, and
 * across its being declared again. Borrowed until wb_memory_free.
 */
WB_API const wb_message *wb_memory_arrival(const wb_memory *memory,
					   const char *queue, uint64_t index);

/* The value of a header, e.g. "ce-wbposition"; empty if it is not there. */
WB_API wb_str wb_memory_header(const wb_message *message, const char *name);

#ifdef __cplusplus
}
#endif
#endif
