/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interface between waybill and a message broker. An adapter
 * (broker-adapters/) implements `wb_broker_ops`; the relay and the workers
 * know nothing else of it.
 *
 * The shape is a non-blocking connection that is driven from outside: whoever
 * owns it waits until `fd` is readable or `deadline_us` has come, calls
 * `step`, and takes what happened from `next` until there is nothing more. No
 * call waits for the peer, for a name server or for a lock. An adapter sleeps
 * on nothing, so the same code runs under a simulator.
 *
 *   DOWN --connect()--> CONNECTING --UP event--> UP --DOWN event--> DOWN
 *
 * `connect` may be called again after each DOWN; when and how often is the
 * owner's business (back off!). While UP, a broken request may close only the
 * publishing channel: CHANNEL_CLOSED; `reopen`, then wait for CHANNEL_OPEN.
 *
 * An adapter object belongs to one thread at a time.
 */
#ifndef WAYBILL_BROKER_H
#define WAYBILL_BROKER_H

#include <waybill/event.h>
#include <waybill/topology.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wb_broker wb_broker;

/*
 * A message on its way to or from an exchange. All strings are borrowed: at
 * publish they need to live only until the call returns; in a delivery they
 * live until the next call on the broker.
 */
typedef struct wb_message {
	wb_str exchange;
	wb_str routing_key;
	wb_str message_id; /* required at publish: a return is matched by it */
	wb_str type;
	wb_str app_id;
	wb_str content_type;
	wb_str correlation_id;
	wb_str reply_to;
	int64_t timestamp_s;      /* UTC, since 1970; 0: none */
	bool persistent;          /* delivery mode 2 */
	const wb_header *headers; /* values are text: scalars are printed */
	size_t header_count;
	wb_str body;
} wb_message;

typedef enum wb_broker_event_kind {
	WB_BROKER_NONE = 0,
	WB_BROKER_UP,             /* ready: publishing channel is open */
	WB_BROKER_DOWN,           /* error: every unsettled publish is unknown,
				     every unacked delivery will come again */
	WB_BROKER_BLOCKED,        /* text: stop publishing, keep reading */
	WB_BROKER_UNBLOCKED,
	WB_BROKER_CHANNEL_CLOSED, /* error, reply_code: every unsettled publish
				     is unknown, a consumer CANCELLED; reopen */
	WB_BROKER_CHANNEL_OPEN,   /* answer to reopen */
	WB_BROKER_ACKED,          /* token: taken by the broker and not returned
				     before (see RETURNED) */
	WB_BROKER_NACKED,         /* token: refused for now */
	WB_BROKER_RETURNED,       /* token, reply_code, text: not routed. Comes
				     before, and instead of, ACKED or NACKED:
				     the token is settled by it */
	WB_BROKER_DECLARED,       /* token: declare or check succeeded */
	WB_BROKER_DECLARE_FAILED, /* token, reply_code, error */
	WB_BROKER_CONSUMING,      /* token: consume succeeded */
	WB_BROKER_CANCELLED,      /* token, error: the consumer is gone */
	WB_BROKER_DELIVERY        /* token of consume, delivery, message */
} wb_broker_event_kind;

typedef struct wb_broker_event {
	wb_broker_event_kind kind;
	uint64_t token;      /* as given to publish, declare or consume */
	uint16_t reply_code; /* AMQP reply code, e.g. 312, 404, 406; or 0 */
	wb_str text;         /* the broker's own words; live like a delivery */
	wb_error error;      /* set where the list above says "error" */
	/* WB_BROKER_DELIVERY only */
	uint64_t delivery; /* for ack and reject; never repeats in the adapter's
			      life: one that comes too late is refused */
	bool redelivered;
	wb_message message;
} wb_broker_event;

/*
 * What an adapter implements. `self` is the adapter's object; every slot is
 * required. "Any state" means that a call in the wrong state does no harm and
 * returns WB_ESTATE.
 */
typedef struct wb_broker_ops {
	const char *name; /* "rabbitmq", "memory" */

	/* The virtual host that it connects to; borrowed, never changes. */
	const char *(*vhost)(void *self);

	/* Begin to connect; the answer is UP or DOWN through `next`. Never
	 * blocks. WB_ESTATE unless down. */
	wb_code (*connect)(void *self, wb_error *err);

	/*
	 * One descriptor to poll for reading that stands for everything the
	 * adapter waits for, time included; -1 where there is none (then call
	 * `step` at `deadline_us`). Constant over the adapter's life.
	 */
	int (*fd)(void *self);

	/* When `step` must be called though `fd` stays quiet, in monotonic
	 * microseconds; INT64_MAX: not before fd is readable. */
	int64_t (*deadline_us)(void *self);

	/* Do what can be done without blocking: read, write, time out; bounded
	 * work. Failures of the connection are events, not errors. */
	void (*step)(void *self);

	/* Take the next thing that happened; false (and kind NONE) when there
	 * is none. Borrowed pointers in *ret live until the next call on self. */
	bool (*next)(void *self, wb_broker_event *ret);

	/*
	 * Hand over one message, mandatory and with publisher confirm. It may
	 * wait in the adapter's bounded buffer until `flush` or a full buffer
	 * sends it. `token` comes back in exactly one of ACKED, NACKED,
	 * RETURNED, unless CHANNEL_CLOSED or DOWN comes first, which settle
	 * every outstanding token as unknown.
	 *
	 * WB_EAGAIN: the buffer or the limit of unsettled publishes is full;
	 *   step and try again. WB_ESTATE: not UP, blocked, or channel closed.
	 * WB_ELIMIT, WB_EINVAL: this message can never be encoded; nothing was
	 *   sent and the token is free.
	 */
	wb_code (*publish)(void *self, const wb_message *message,
			   uint64_t token, wb_error *err);

	/* Write out what publish has gathered, as far as the socket takes it. */
	void (*flush)(void *self);

	/* After CHANNEL_CLOSED. */
	wb_code (*reopen)(void *self, wb_error *err);

	/*
	 * Declare or check one thing, on a channel apart from the publishing
	 * one, so that a refusal disturbs no publish. Answer: DECLARED or
	 * DECLARE_FAILED with this token; after DOWN, none. Several may be
	 * outstanding; they are answered in order. WB_EAGAIN: too many.
	 */
	wb_code (*declare)(void *self, const wb_declaration *declaration,
			   uint64_t token, wb_error *err);

	/* Start a consumer. One per broker object. Answer: CONSUMING, or
	 * CANCELLED with the reason. */
	wb_code (*consume)(void *self, const wb_consumption *what,
			   uint64_t token, wb_error *err);

	/* Settle `delivery`, and with `multiple` every earlier one too.
	 * WB_EINVAL: it is not outstanding. WB_ESTATE, WB_EAGAIN. */
	wb_code (*ack)(void *self, uint64_t delivery, bool multiple,
		       wb_error *err);
	wb_code (*reject)(void *self, uint64_t delivery, bool requeue,
			  wb_error *err);

	/* Close in good order: DOWN follows, at the latest after the adapter's
	 * close timeout (default 1 s). Any state. */
	void (*close)(void *self);

	/* Drop everything at once, without goodbye, and free the adapter. */
	void (*free)(void *self);
} wb_broker_ops;

/* An adapter and its object; callers use the calls below. Open, so that an
 * adapter outside the library can be written; `ops` must outlive it. */
struct wb_broker {
	const wb_broker_ops *ops;
	void *self;
};

static inline wb_code wb_broker_connect(wb_broker *b, wb_error *err)
{
	return b->ops->connect(b->self, err);
}

static inline const char *wb_broker_vhost(wb_broker *b)
{
	return b->ops->vhost(b->self);
}

static inline int wb_broker_fd(wb_broker *b)
{
	return b->ops->fd(b->self);
}

static inline int64_t wb_broker_deadline_us(wb_broker *b)
{
	return b->ops->deadline_us(b->self);
}

static inline void wb_broker_step(wb_broker *b)
{
	b->ops->step(b->self);
}

static inline bool wb_broker_next(wb_broker *b, wb_broker_event *ret)
{
	return b->ops->next(b->self, ret);
}

static inline wb_code wb_broker_publish(wb_broker *b, const wb_message *m,
					uint64_t token, wb_error *err)
{
	return b->ops->publish(b->self, m, token, err);
}

static inline void wb_broker_flush(wb_broker *b)
{
	b->ops->flush(b->self);
}

static inline wb_code wb_broker_reopen(wb_broker *b, wb_error *err)
{
	return b->ops->reopen(b->self, err);
}

static inline wb_code wb_broker_declare(wb_broker *b, const wb_declaration *d,
					uint64_t token, wb_error *err)
{
	return b->ops->declare(b->self, d, token, err);
}

static inline wb_code wb_broker_consume(wb_broker *b, wb_str queue,
					uint16_t prefetch, uint64_t token,
					wb_error *err)
{
	wb_consumption what = {queue, prefetch, NULL, 0};

	return b->ops->consume(b->self, &what, token, err);
}

static inline wb_code wb_broker_consume_as(wb_broker *b,
					   const wb_consumption *what,
					   uint64_t token, wb_error *err)
{
	return b->ops->consume(b->self, what, token, err);
}

static inline wb_code wb_broker_ack(wb_broker *b, uint64_t delivery,
				    bool multiple, wb_error *err)
{
	return b->ops->ack(b->self, delivery, multiple, err);
}

static inline wb_code wb_broker_reject(wb_broker *b, uint64_t delivery,
				       bool requeue, wb_error *err)
{
	return b->ops->reject(b->self, delivery, requeue, err);
}

static inline void wb_broker_close(wb_broker *b)
{
	b->ops->close(b->self);
}

/* `b` itself included; NULL is allowed. */
static inline void wb_broker_free(wb_broker *b)
{
	if (b)
		b->ops->free(b->self);
}

#ifdef __cplusplus
}
#endif
#endif
