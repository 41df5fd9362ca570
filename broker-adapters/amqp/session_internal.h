/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the session share. Nobody else includes it.
 *
 *   session.c            life, feeding, time, the end
 *   session_event.c      the queue of events and `next`
 *   session_handshake.c  start to tune-ok, open, channel 1, reopen, blocked
 *   session_publish.c    one message into frames
 *   session_confirm.c    which publish is settled how
 *   session_consume.c    consume, ack, reject
 *   session_content.c    deliveries and returns, frame by frame
 *   session_headers.c    field values as text
 *   session_declare.c    channel 2
 *   session_reason.c     the broker's reasons as errors
 *
 * What bounds the memory: the output buffer (buffer_max_bytes, or one message,
 * plus a reserve for control frames), the ring of unsettled publishes
 * (unsettled_max), one body being received (body_max_bytes), the deliveries
 * that nobody has taken yet (prefetch; an owner that takes all events after
 * each feed never holds more of them than came in that feed), 64 waiting
 * declarations and EVENTS_EXTRA other events.
 */
#ifndef WBI_AMQP_SESSION_INTERNAL_H
#define WBI_AMQP_SESSION_INTERNAL_H

#include "broker-adapters/amqp/codec.h"
#include "broker-adapters/amqp/session.h"

enum {
	SESSION_CHANNEL = 1, /* publishes and consumes */
	SESSION_CHANNEL_DECLARE = 2,
	SESSION_SHORT_MAX = 255, /* AMQP short string */
	SESSION_DECLARES_MAX = 64,
	SESSION_EVENTS_EXTRA = 4096, /* see session_event.c */
	SESSION_CONTROL_RESERVE = 65536
};

/* Where a connection is. Up to SESSION_CHANNEL_1 it is the handshake. */
typedef enum session_stage {
	SESSION_START, /* header sent; connection.start must come */
	SESSION_TUNE,
	SESSION_OPEN,
	SESSION_CHANNEL_1, /* channel 1 and its confirm mode */
	SESSION_UP,
	SESSION_CLOSING, /* close sent, close-ok must come */
	SESSION_OVER
} session_stage;

typedef enum session_channel_state {
	CHANNEL_CLOSED,
	CHANNEL_OPENING,
	CHANNEL_CONFIRMING, /* channel 1 only */
	CHANNEL_OPEN
} session_channel_state;

/* One thing that happened. `memory` is freed when it has been taken and
 * everything it borrows lies in there. */
typedef struct session_event {
	wb_broker_event_kind kind; /* ACKED: `token` settled publishes, which
				      the ring knows, acked or nacked */
	uint16_t reply_code;
	bool redelivered;
	uint64_t token;
	uint64_t delivery;
	wb_str text;
	const wb_error *error;
	const wb_message *message;
	void *memory;
} session_event;

typedef struct session_events {
	session_event *ring;
	uint32_t capacity; /* a power of two, or 0 */
	uint32_t head;
	uint32_t count;
	void *taken; /* memory of the event that was taken last */
	wb_error down; /* DOWN needs no memory: it comes after all others */
	bool has_down;
} session_events;

typedef enum confirm_state {
	CONFIRM_DONE, /* taken, or forgotten with its channel */
	CONFIRM_OUT,
	CONFIRM_RETURNED, /* settled; its ack is still to come */
	CONFIRM_ACKED,	  /* settled; to be taken from the events */
	CONFIRM_NACKED
} confirm_state;

typedef struct confirm {
	uint64_t token;
	uint64_t link; /* OUT: hash of the message id; then: the next settled */
	confirm_state state;
} confirm;

/*
 * Publishes by serial number, which never starts again; the broker's tag is
 * serial - base, and base moves when a channel is opened. Everything below
 * `head` is done. The settled ones are chained in the order of settling.
 */
typedef struct session_confirms {
	confirm *ring;
	uint64_t capacity; /* a power of two, or 0 */
	uint64_t head;
	uint64_t next;
	uint64_t base;
	uint64_t covered; /* a `multiple` has settled all below this */
	uint64_t settled_first;
	uint64_t settled_last;
	uint64_t settled_count;
	uint64_t seed;
} session_confirms;

typedef enum consumer_state {
	CONSUMER_NONE,
	CONSUMER_QOS, /* qos and consume sent */
	CONSUMER_CONSUME,
	CONSUMER_ACTIVE
} consumer_state;

/* Unacked deliveries in order: unacked[first..first + count). */
enum {
	SESSION_ARGUMENTS_MAX = 64,
	/* The broker sends a stream's chunk as a whole, whatever the prefetch. */
	SESSION_CHUNK_MAX = 65536
};

typedef struct session_consumer {
	consumer_state state;
	uint64_t token;
	uint32_t unacked_max; /* prefetch, and what an older one left */
	uint64_t base; /* delivery - base = the broker's tag */
	uint64_t last; /* highest delivery so far */
	uint64_t *unacked;
	uint32_t capacity;
	uint32_t first;
	uint32_t count;
} session_consumer;

typedef enum content_kind {
	CONTENT_NONE,
	CONTENT_RETURN,
	CONTENT_DELIVERY
} content_kind;

typedef struct session_short {
	char bytes[SESSION_SHORT_MAX];
	uint8_t len;
} session_short;

/* The message that is coming in on channel 1. */
typedef struct session_content {
	content_kind kind;
	bool has_header;
	bool drop_body;
	bool redelivered;
	uint16_t reply_code;
	uint64_t token; /* RETURN: known once the header is there */
	uint64_t delivery;
	session_short exchange;
	session_short routing_key;
	session_short text;
	uint64_t body_left;
	char *body_to;
	wb_message *message; /* DELIVERY: one block with all it borrows */
} session_content;

typedef struct declare {
	uint64_t token;
	wb_topology_kind kind;
	bool check_only;
	amqp_method_number_t answer;
	char *name;
	char *exchange; /* BINDING */
	wbi_buffer frame;
} declare;

typedef struct session_declares {
	session_channel_state channel;
	declare ring[SESSION_DECLARES_MAX];
	uint32_t head;
	uint32_t count;
	bool sent; /* the first one is with the broker */
} session_declares;

struct wbi_session {
	wbi_session_options options;
	char *user;
	char *vhost;
	char *connection_name;
	wbi_codec codec;
	wbi_buffer output;
	wbi_buffer scratch; /* header texts of one delivery */
	session_stage stage;
	session_channel_state channel;
	bool blocked;
	bool flow_stopped;
	bool login_sent;
	uint32_t frame_max;
	int64_t now_us; /* of the last call that told the time */
	int64_t stage_deadline_us;
	int64_t heartbeat_us; /* 0: none */
	int64_t sent_us;
	int64_t heard_us;
	int64_t asked_us; /* the last thing that the broker owes an answer to */
	session_events events;
	session_confirms confirms;
	session_consumer consumer;
	session_content content;
	session_declares declares;
};

/* session.c */
/* End it: DOWN with *reason, which is copied. No effect once it is over. */
void wbi_session_end(wbi_session *session, const wb_error *reason);
void wbi_session_violation(wbi_session *session, const char *format, ...)
	WB_PRINTF(2, 3);
void wbi_session_no_memory(wbi_session *session);
/* Send one method; a failure ends the session. */
bool wbi_session_send(wbi_session *session, uint16_t channel,
		      amqp_method_number_t id, void *method);
/* The same for a method that has an answer, which must come in time. */
bool wbi_session_ask(wbi_session *session, uint16_t channel,
		     amqp_method_number_t id, void *method);

/* session_event.c */
/* Takes over event->memory in any case; out of memory ends the session. */
void wbi_session_push(wbi_session *session, const session_event *event);
void wbi_session_push_kind(wbi_session *session, wb_broker_event_kind kind,
			   uint64_t token);
/* With a copy of `text` and, unless it is unset, of *error. */
void wbi_session_push_reason(wbi_session *session, session_event *event,
			     wb_str text, const wb_error *error);
void wbi_session_push_settled(wbi_session *session);
void wbi_session_events_fini(wbi_session *session);

/* session_handshake.c */
void wbi_session_on_handshake(wbi_session *session, const wbi_frame *frame);
void wbi_session_on_connection(wbi_session *session, const wbi_frame *frame);
void wbi_session_on_channel(wbi_session *session, const wbi_frame *frame);
const char *wbi_session_stage_text(const wbi_session *session);

/* session_confirm.c */
wb_code wbi_confirms_room(wbi_session *session, wb_error *err);
void wbi_confirms_add(session_confirms *confirms, uint64_t token,
		      wb_str message_id);
void wbi_session_on_confirm(wbi_session *session, uint64_t tag, bool multiple,
			    confirm_state how);
bool wbi_confirms_return(session_confirms *confirms, wb_str message_id,
			 uint64_t *ret_token);
confirm_state wbi_confirms_take(session_confirms *confirms,
				uint64_t *ret_token);
void wbi_confirms_forget(session_confirms *confirms);
void wbi_confirms_fini(session_confirms *confirms);

/* session_consume.c */
void wbi_session_on_consumer(wbi_session *session, const wbi_frame *frame);
/* A new delivery: false if it is one more than prefetch (ends the session). */
bool wbi_session_count_delivery(wbi_session *session, uint64_t tag,
				uint64_t *ret_delivery);
/* The consumer is gone with its channel; `text`, *error: the reason. */
/* A table of arguments, of a declaration or a consumer; borrows their bytes. */
wb_code wbi_session_arguments(wb_str name, const wb_argument *arguments,
			      size_t count,
			      amqp_table_entry_t entries[SESSION_ARGUMENTS_MAX],
			      amqp_table_t *ret, wb_error *err);
void wbi_session_consumer_lost(wbi_session *session, uint16_t reply_code,
			       wb_str text, const wb_error *error);
void wbi_session_consumer_reset(wbi_session *session);

/* session_content.c */
void wbi_session_on_deliver(wbi_session *session, const wbi_frame *frame);
void wbi_session_on_return(wbi_session *session, const wbi_frame *frame);
void wbi_session_on_content(wbi_session *session, const wbi_frame *frame);
void wbi_session_content_reset(wbi_session *session);

/* session_headers.c */
/* Append the value's text to `out`. WB_EAGAIN, WB_ENOMEM. */
wb_code wbi_field_text(wbi_buffer *out, const amqp_field_value_t *value);

/* session_declare.c */
void wbi_session_on_declare(wbi_session *session, const wbi_frame *frame);
void wbi_session_declares_fini(wbi_session *session);

/* session_reason.c */
/* connection.close, channel.close: what they mean, and what cures it. */
void wbi_reason_connection(const wbi_session *session, uint16_t code,
			   wb_str text, wb_error *ret);
void wbi_reason_channel(const wbi_session *session, uint16_t code, wb_str text,
			wb_error *ret);
void wbi_reason_declare(const wbi_session *session, const declare *what,
			uint16_t code, wb_str text, wb_error *ret);

#endif
