/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every adapter must show its client, as tests that know nothing of the
 * adapter but include/waybill/broker.h. An adapter takes part by a fixture;
 * what its fixture cannot do is skipped.
 */
#ifndef TESTS_CONFORMANCE_H
#define TESTS_CONFORMANCE_H

#include <waybill/broker.h>

#include "tests/support/testing.h"
#include "tests/support/witness.h"

/* All connections of one fixture lead to one broker. `ctx` is handed on. */
typedef struct conformance_fixture {
	const char *name;
	void *ctx;
	/* A new adapter, not connected. */
	wb_code (*make)(void *ctx, wb_broker **ret, wb_error *err);
	/* Let some milliseconds pass, or less if the adapter has news. */
	void (*wait)(void *ctx, wb_broker *broker);
	/* The time that `wait` lets pass. */
	int64_t (*now_us)(void *ctx);
	/* Each of these behind the adapter's back; false: not possible. */
	bool (*delete_exchange)(void *ctx, const char *name);
	bool (*delete_queue)(void *ctx, const char *name);
	bool (*block)(void *ctx, bool blocked);
	/* For channels opened from now on; 0: the broker's own limit. */
	bool (*limit_body)(void *ctx, size_t bytes);
} conformance_fixture;

/* Runs all tests on it; the number of those that failed. */
int conformance_run(const conformance_fixture *fixture);

/* ---- for the tests themselves ------------------------------------------ */

enum { STAGE_TIMEOUT_US = 10000000, STAGE_QUIET_US = 200000 };

/* A publisher that is up, and names that no other test uses. `exchange` is a
 * topic exchange and `queue` is bound to it by "#". */
typedef struct stage {
	const conformance_fixture *fixture;
	witness publisher;
	witness consumer; /* .broker is NULL until stage_consume */
	char exchange[48];
	char queue[48];
	char stream[56]; /* a stream queue beside it; "": none */
	wb_error err;
} stage;

typedef struct conformance_case {
	const char *name;
	void (*run)(void **state); /* *state is a stage */
} conformance_case;

/* Each ends with a NULL name. */
extern const conformance_case conformance_publishing[];
extern const conformance_case conformance_declaring[];
extern const conformance_case conformance_consuming[];
extern const conformance_case conformance_streams[];

/* Step until there were `count` events of this kind, or fail. */
void stage_await(stage *s, witness *w, wb_broker_event_kind kind, size_t count);

/* Step for a while in which nothing is expected to happen. */
void stage_quiet(stage *s, witness *w);

/* A further connection, up. */
void stage_connect(stage *s, witness *w);

/* Declare one thing with the publisher; returns the reply code, 0: declared. */
uint16_t stage_declare(stage *s, const wb_declaration *what);

/* Declare, and it must succeed. */
void stage_exchange(stage *s, const char *name, const char *type);
void stage_queue(stage *s, const char *name, const wb_argument *arguments,
		 size_t count);
void stage_bind(stage *s, const char *queue, const char *exchange,
		const char *key);

/* Publish with this token, message id "m<token>". */
wb_code stage_publish(stage *s, const char *exchange, const char *key,
		      uint64_t token);

/* Publish first..last to the stage's exchange, flush, await their outcome. */
void stage_fill(stage *s, uint64_t first, uint64_t last);

/* Settled in any way, and how often. */
size_t stage_outcomes(const witness *w, uint64_t token);
size_t stage_settled(const witness *w);

/* Connect the consumer, if need be, and consume the stage's queue. */
void stage_consume(stage *s, uint16_t prefetch);

/* The index-th delivery is the message with this token. */
void stage_assert_delivery(const witness *w, size_t index, uint64_t token,
			   bool redelivered);

#endif
