/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One of the two brokers that a script runs on: its connections, and all that
 * they were told. What is equal and what the protocol leaves open:
 *
 *   deliveries    equal one by one, in order, for each connection: message with
 *                 all its properties, headers and bytes, redelivered; not the
 *                 numbers that they are settled by
 *   publishes     each has the same outcome; the order of confirms is open, and
 *                 that of a batch that closed its channel is open where one
 *                 side was not told
 *   all the rest  the same events with the same tokens and reply codes; their
 *                 order among each other is open, and so are texts
 */
#ifndef TESTS_MODEL_SIDE_H
#define TESTS_MODEL_SIDE_H

#include "tests/conformance/conformance.h"

enum {
	SIDE_CONNECTIONS = 3,
	SIDE_DELIVERIES = 4096,
	SIDE_NOTES = 1024,
	SIDE_TOKENS = 2048
};

typedef struct side_delivery {
	uint64_t tag;
	bool redelivered;
	char what[160]; /* id, exchange, routing key; all the rest as a hash */
} side_delivery;

/* What is neither a delivery nor the outcome of a publish. */
typedef struct side_note {
	wb_broker_event_kind kind;
	uint64_t token;
	uint16_t reply_code;
} side_note;

typedef struct side_connection {
	wb_broker *broker;
	side_delivery deliveries[SIDE_DELIVERIES];
	size_t delivered;
	side_note notes[SIDE_NOTES];
	size_t noted;
	char down[256]; /* why it was lost the last time */
} side_connection;

typedef struct side {
	const conformance_fixture *fixture;
	side_connection connections[SIDE_CONNECTIONS];
	/* By token: WB_BROKER_ACKED, ...; NONE: not told, so far. */
	wb_broker_event_kind outcomes[SIDE_TOKENS];
	size_t events; /* ever */
} side;

/* All connections up. Fails the test by itself. */
void side_init(side *s, const conformance_fixture *fixture);
void side_fini(side *s);

/* The connection's process dies, and another one is there, up. */
void side_replace(side *s, size_t connection);
/* The same in good order. */
void side_reconnect(side *s, size_t connection);

/* Until nothing has happened for `quiet_us` of the fixture's time. */
void side_settle(side *s, int64_t quiet_us);
/* Until it was told at least as much as the other; false: it was not. */
bool side_reach(side *s, const side *other, const bool open[SIDE_TOKENS]);

/* False, and why not. `open`: tokens whose outcome one side may not know. */
bool side_same(const side *model, const side *real,
	       const bool open[SIDE_TOKENS], char *ret_why, size_t size);

#endif
