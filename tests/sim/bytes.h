/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One session of the shipped relay over the shipped RabbitMQ adapter with a
 * broker on the other side of a pipe, all in one process, broken at one byte.
 *
 * The session has what a session may have: a handshake, publishes over two
 * exchanges, confirms, a nack, a return that parks a key and its follower, a
 * channel closed because an exchange is missing, its passive declaration, a
 * drained hold, an operator's retry, appends meanwhile, a second batch, and a
 * close in good order.
 */
#ifndef TESTS_SIM_BYTES_H
#define TESTS_SIM_BYTES_H

#include <stddef.h>

#include "tests/support/checker.h"

typedef enum bytes_kind {
	BYTES_NOTHING, /* undisturbed */
	BYTES_CUT,     /* the connection breaks; the relay connects again */
	BYTES_DEATH,   /* the relay's process dies there; another one starts */
	BYTES_STALL,   /* nothing comes through any more, this way */
	BYTES_SILENCE  /* nor the other */
} bytes_kind;

typedef struct bytes_trouble {
	bytes_kind kind;
	bool to_broker; /* the direction in which bytes are counted */
	size_t at;
} bytes_trouble;

typedef struct bytes_result {
	checker_counts counts;
	size_t to_broker, to_client; /* bytes of the last connection */
	int64_t took_us; /* simulated */
	char why[512];   /* "": it held */
} bytes_result;

/* Run it in a new store below `base`. False: it did not hold, see `why`. */
bool bytes_run(const char *base, const bytes_trouble *trouble,
	       bytes_result *ret);

#endif
