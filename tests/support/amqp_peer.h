/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The broker's side of one AMQP 0-9-1 connection, scripted and without a
 * socket: bytes in, bytes out. It keeps what was published, confirms as its
 * judge says (acks by default), and sends whatever a test wants sent. It has
 * no queues: what is delivered, a test delivers.
 *
 * It is made to be cut: amqp_peer_reconnect() forgets the connection and keeps
 * the messages that had come whole, as a broker does. One thread; asserts on
 * lack of memory.
 */
#ifndef TESTS_AMQP_PEER_H
#define TESTS_AMQP_PEER_H

#include <waybill/broker.h>

#include "lib/base/buffer.h"

typedef struct amqp_peer amqp_peer;

/* One message that came whole. Borrowed; lives as long as the peer. */
typedef struct amqp_published {
	wb_str exchange;
	wb_str routing_key;
	wb_str message_id;
	wb_str type;
	wb_str body;
	size_t header_count;
	bool mandatory;
	bool persistent;
	uint64_t tag;	     /* of its channel */
	unsigned connection; /* counted from 1 */
} amqp_published;

typedef enum amqp_peer_verdict {
	AMQP_PEER_ACK,
	AMQP_PEER_NACK,
	AMQP_PEER_RETURN, /* 312 NO_ROUTE, then an ack */
	AMQP_PEER_HOLD,	  /* no answer: the test confirms by hand */
	AMQP_PEER_MISSING /* not kept; the channel is closed with 404 */
} amqp_peer_verdict;

typedef struct amqp_peer_options {
	const char *mechanisms; /* default "PLAIN AMQPLAIN EXTERNAL" */
	const char *password;	/* NULL: any; else another is refused (403) */
	const char *vhost;	/* NULL: any; else another is missing (530) */
	uint16_t channel_max;	/* 0: as RabbitMQ, 2,047 */
	uint32_t frame_max;	/* 0: as RabbitMQ, 131,072 */
	uint16_t heartbeat_s;
	/* What to do with a message; NULL: ack. */
	amqp_peer_verdict (*judge)(void *ctx, const amqp_published *message);
	/* Refuse a declaration: its reply code, or 0 (also if NULL) to agree.
	 * `what` is "exchange.declare NAME", "queue.declare NAME" or
	 * "queue.bind NAME"; " passive" may follow. */
	uint16_t (*refuse)(void *ctx, const char *what);
	void *ctx;
} amqp_peer_options;

/* What the client has done so far, for tests to look at. */
typedef struct amqp_peer_seen {
	char mechanism[32];
	char login[256]; /* SASL response, NUL bytes as spaces */
	char vhost[256];
	char connection_name[256];
	int capabilities; /* how many it announced as true */
	uint16_t channel_max, heartbeat_s;
	uint32_t frame_max;
	unsigned heartbeats, declares, channel_opens, acks, rejects;
	uint64_t last_ack; /* delivery tag of the last basic.ack or reject */
	bool last_multiple, last_requeue;
	uint16_t prefetch;
	bool consuming;
	char last_declare[300];
	char error[512]; /* the client broke the protocol */
} amqp_peer_seen;

amqp_peer *amqp_peer_new(const amqp_peer_options *options);
void amqp_peer_free(amqp_peer *peer);

/* A new connection of the same broker: state and output are forgotten, the
 * published messages are not. */
void amqp_peer_reconnect(amqp_peer *peer);

void amqp_peer_feed(amqp_peer *peer, const uint8_t *bytes, size_t len);
wbi_buffer *amqp_peer_output(amqp_peer *peer);
const amqp_peer_seen *amqp_peer_look(const amqp_peer *peer);
/* Closed in good order, by either side, or because of an error. */
bool amqp_peer_is_closed(const amqp_peer *peer);
bool amqp_peer_is_open(const amqp_peer *peer); /* channel 1 confirms */

size_t amqp_peer_count(const amqp_peer *peer);
const amqp_published *amqp_peer_message(const amqp_peer *peer, size_t i);

void amqp_peer_confirm(amqp_peer *peer, uint64_t tag, bool multiple, bool ack);
/* basic.return of the i-th message, body and all; no ack. */
void amqp_peer_return(amqp_peer *peer, size_t i, uint16_t code,
		      const char *text);
void amqp_peer_close_channel(amqp_peer *peer, uint16_t channel, uint16_t code,
			     const char *text);
void amqp_peer_close(amqp_peer *peer, uint16_t code, const char *text);
void amqp_peer_block(amqp_peer *peer, const char *reason);
void amqp_peer_unblock(amqp_peer *peer);
void amqp_peer_heartbeat(amqp_peer *peer);
void amqp_peer_cancel(amqp_peer *peer);
/* Deliver with the next tag, which is returned. */
uint64_t amqp_peer_deliver(amqp_peer *peer, const wb_message *message,
			   bool redelivered);
/* The same with a content header of the test's own making (from the property
 * flags on) and a body size that may be a lie. */
uint64_t amqp_peer_deliver_raw(amqp_peer *peer, wb_str properties,
			       uint64_t body_size, wb_str body);
/* Any bytes at all. */
void amqp_peer_raw(amqp_peer *peer, const void *bytes, size_t len);

#endif
