/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One call of a handler, from the inside: what wb_call_*(), wb_emit() and
 * wb_timer_*() work on. Dispatch fills it in before the call and looks at it
 * behind the call.
 */
#ifndef WBI_CALL_H
#define WBI_CALL_H

#include <waybill/handler.h>
#include <waybill/outbox.h>

#include "inbox/later.h"
#include "lib/journal/inbox_rows.h"

enum { WBI_CALL_KEY_MAX = 600 }; /* bytes of an idempotency key */

struct wb_call {
	wb_store *store;
	const wbi_store_tables *tables;
	const wb_handler *handler;
	void *state;       /* the handler's */
	wb_outbox *outbox; /* for wb_emit */
	MDB_txn *txn;      /* NULL: an external call */
	wbi_later *later;  /* an external call's wishes; else NULL */
	wbi_work_id id;    /* consumer, lane, key, position; of a timer: lane
			      TIMER, key its name, position 0 */
	const wb_event *event; /* NULL: a timer's call */
	const wb_timer *timer; /* NULL: an event's */
	uint32_t attempt;
	int64_t now_us;
	bool alone; /* no other call has written in this transaction */
	/* What became of it. */
	bool touched;    /* it may have written in txn: set by whatever hands
			    txn out or writes in it */
	wb_code trouble; /* the store failed under wb_emit or wb_timer_*: the
			    transaction must be aborted, whatever the handler
			    returns; the first one */
	wb_error *trouble_error; /* where its text goes; may be NULL */
	uint64_t emitted;
	uint64_t timers_set;
	uint64_t timers_gone;           /* cancelled, or replaced */
	void *extra; /* what a layer above adds to its calls: saga/ */
	char key[WBI_CALL_KEY_MAX + 1]; /* "" until it was asked for */
};

/* `code` came from writing in call->txn: note it if the transaction can no
 * longer be trusted or has no room. Returns it. */
wb_code wbi_call_wrote(wb_call *call, wb_code code, const wb_error *err);

/* A part of a call that can be taken back without the rest. */
typedef struct wbi_call_nest {
	MDB_txn *parent;
	uint64_t emitted, timers_set, timers_gone;
} wbi_call_nest;

/* From here on the call writes in a nested transaction ... */
wb_code wbi_call_nest_begin(wb_call *call, wbi_call_nest *ret, wb_error *err);
/* ... until the part has ended with `code`: what it wrote is kept if that is
 * WB_OK and no writing failed, else taken back. Returns what it came to. That a
 * transaction has had too much (WB_ESTATE) is no part's fault but the store's,
 * unless it was in there alone. */
wb_code wbi_call_nest_end(wb_call *call, const wbi_call_nest *nest,
			  wb_code code, wb_error *err);

#endif
