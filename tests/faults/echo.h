/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An echo on a real broker: a queue of its own hears every event of the
 * exchange "events", and some time later each is put into the queues of those
 * who listen to it once more, in another order; every third under another id.
 */
#ifndef TESTS_ECHO_H
#define TESTS_ECHO_H

#include <waybill/broker.h>

enum { ECHO_KEPT_MAX = 100000, ECHO_TEXT_MAX = 2048 };

typedef struct echo_message echo_message;

typedef struct echo {
	wb_broker *broker;
	bool consuming;
	echo_message **kept;   /* all that was heard, in order */
	uint64_t heard, again; /* messages put, one for each listener */
	uint64_t next;         /* of kept: the next to come again */
	uint64_t token;
} echo;

/* Calls return false with a remark on standard error. */
bool echo_open(echo *e, const char *uri);
void echo_close(echo *e);
bool echo_step(echo *e);
bool echo_is_done(const echo *e);
/* All that was ever heard comes again. */
void echo_repeat_all(echo *e);

#endif
