/* SPDX-License-Identifier: BSD-2-Clause */
/* One adapter under a test against a real broker, driven as a host would: wait
 * for the descriptor or the deadline, step, take what happened. */
#ifndef TESTS_PEER_H
#define TESTS_PEER_H

#include <waybill/amqp.h>

enum { PEER_KINDS = WB_BROKER_DELIVERY + 1, PEER_TEXT_MAX = 256 };

typedef struct peer_event {
	wb_broker_event_kind kind;
	uint64_t token;
	uint16_t reply_code;
	uint64_t delivery;
	bool redelivered;
	wb_error error;
	char text[PEER_TEXT_MAX]; /* the broker's words, or a message id */
} peer_event;

typedef struct peer {
	wb_broker *broker;
	size_t count[PEER_KINDS];
} peer;

/* The options with the environment's URI; a test may change them. NULL uri:
 * skip. */
wb_amqp_options peer_options(void);

void peer_open(peer *l, const wb_amqp_options *options);
void peer_free(peer *l);

/* Connect and wait for UP; fails the test if it is DOWN instead. */
void peer_up(peer *l, const wb_amqp_options *options);

/* The next event, within 20 s; fails the test if none comes. */
peer_event peer_next(peer *l);

/* Skip to an event of this kind; DOWN or CHANNEL_CLOSED instead fail. */
peer_event peer_wait(peer *l, wb_broker_event_kind kind);

/* Step for so long and take nothing. */
void peer_idle(peer *l, int ms);

/* Declare and wait for the answer. */
peer_event peer_declare(peer *l, const wb_declaration *what);

#endif
