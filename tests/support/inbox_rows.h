/* SPDX-License-Identifier: BSD-2-Clause */
/* A store as a worker leaves it: one of everything that the inbox keeps. */
#ifndef TESTS_INBOX_ROWS_H
#define TESTS_INBOX_ROWS_H

#include <waybill/store.h>

#define TEST_INBOX_OWNER "018f0000-0000-7000-8000-00000000abcd"

enum {
	TEST_INBOX_HEAD = 20,       /* events received, none of them pruned */
	TEST_INBOX_HEAD_OF_KEY = 2, /* of key "k": waits, 3 is behind it */
	TEST_INBOX_DEAD = 2,        /* a dead letter that blocks key "d" ... */
	TEST_INBOX_DEAD_AT = 6      /* ... by this event, 7 is behind it */
};

/* In a new store: consumers "billing" (up to 10) and "mail" (up to the head)
 * of the inbox, "model" of the outbox (at 0); all of them sound. */
void test_inbox_fill(wb_store *store);

#endif
