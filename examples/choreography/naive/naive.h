/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The same three services as one writes them without waybill: the same tables
 * and rules, but a message is acknowledged when it comes, the change is
 * committed, and then the next event is published. There is no inbox, no outbox
 * and no barrier. It works, until something goes wrong: see README.md.
 */
#ifndef NAIVE_H
#define NAIVE_H

#include <waybill/broker.h>

#include "examples/choreography/flow.h"

typedef struct naive naive;

typedef struct naive_options {
	const char *service; /* booking, billing or parking; its queue, too */
	wb_store *store; /* borrowed, as are the others; only for its tables */
	wb_broker *broker;
	const char *exchange; /* a topic exchange, declared here */
	const char *to;       /* where it publishes; NULL: there, too */
	bool deaf;            /* it only says; it takes nothing in */
	const wb_clock *clock;
	const wb_random *random;
} naive_options;

wb_code naive_open(const naive_options *options, naive **ret, wb_error *err);
void naive_close(naive *n);

/* Connect, take what was delivered, and handle it. */
wb_code naive_step(naive *n, wb_error *err);
/* It consumes; or, if it is deaf, it is connected. */
bool naive_is_up(const naive *n);

/* For booking and billing: commit, then publish. */
wb_code naive_create_booking(naive *n, wb_str ref, wb_error *err);
wb_code naive_pay_bill(naive *n, wb_str ref, int64_t amount, wb_error *err);

#endif
