/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dead letters for the operator: look, retry, discard; and how a consumer that
 * is gone is forgotten. Every act leaves a row in `audit`, in its own commit.
 *
 * In any process, beside a running worker: that sees a commit and looks at what
 * is due again. Transactions are short, with what a host's own appends need
 * between them left to the caller, who is the one that can wait.
 */
#ifndef WBI_DEAD_H
#define WBI_DEAD_H

#include <waybill/event.h>

#include "inbox/work.h"
#include "outbox/parked.h" /* wbi_actor */

/* ---- looking ------------------------------------------------------------ */

/* Zero and "": any. */
typedef struct wbi_dead_filter {
	uint8_t reason;      /* enum wbi_dead_reason */
	wb_str handler;      /* "-": refused at ingest, by no handler */
	wb_str key, id;      /* ordering key or timer's name; event id */
	int64_t after_us, before_us; /* died then or later; earlier than that */
} wbi_dead_filter;

bool wbi_dead_matches(const wbi_dead_filter *filter, const wbi_dead *row);

/*
 * Visit those that match, of at most `most` rows behind *number, in order, in
 * one read transaction; *number is then the last row that was looked at. `each`
 * returns false to stop; its arguments live until it returns. WB_ENOTFOUND (err
 * untouched): there are no more.
 */
typedef bool wbi_dead_visitor(void *ctx, uint64_t number, const wbi_dead *row);
wb_code wbi_dead_visit(wb_store *store, const wbi_dead_filter *filter,
		       uint64_t *number, size_t most, wbi_dead_visitor *each,
		       void *ctx, wb_error *err);

/* ---- acting ------------------------------------------------------------- */

typedef enum wbi_dead_verb { WBI_DEAD_RETRY, WBI_DEAD_DISCARD } wbi_dead_verb;

typedef struct wbi_dead_how {
	wbi_dead_verb verb;
	wbi_actor actor;
	uint32_t txn_us; /* of work in the transaction; 0: 1,000 */
	/* To retry what was refused at ingest: as ingest takes it. */
	bool id_from_body;
	const wb_limits *limits; /* NULL: the defaults */
} wbi_dead_how;

typedef struct wbi_dead_item {
	uint64_t number;
	bool done;
	wb_code code; /* not done, and why */
	char text[256];
} wbi_dead_item;

/*
 * One transaction over items[] from the first on, until it has worked long
 * enough: *ret_count of them were looked at (at least one), each is `done` or
 * says why not. An error is the store's (no room, damage): nothing was done.
 *
 * RETRY: of a handler, back to its place among its key's events, with no
 * attempts counted (wbi_work_revive); of ingest, taken in as if it came now.
 */
wb_code wbi_dead_act(wb_store *store, const wbi_dead_how *how,
		     wbi_dead_item *items, size_t count, size_t *ret_count,
		     wb_error *err);

/* ---- forgetting a consumer ---------------------------------------------- */

typedef struct wbi_forgotten {
	uint64_t behind;  /* events of the inbox that it had not reached */
	uint64_t letters; /* rows of `work` that became dead letters */
} wbi_forgotten;

/*
 * Remove a consumer of a journal ('i' inbox, 'o' outbox: a projection), so that
 * it holds back retention no more. What a handler had yet to do becomes dead
 * letters of reason `no-handler`: to be retried when one of that name is there
 * again, or discarded. A crash leaves some of that done; doing it again does
 * the rest. A projection that runs puts its row back.
 *
 * WB_ENOTFOUND. WB_EBUSY: a worker is active: stop it first.
 */
wb_code wbi_consumer_forget(wb_store *store, char journal, wb_str name,
			    const wbi_actor *actor, wbi_forgotten *ret,
			    wb_error *err);

/* Forget the queue that this store takes from, so that it may take from
 * another. WB_ENOTFOUND: it has none. WB_EBUSY as above. */
wb_code wbi_queue_forget(wb_store *store, const wbi_actor *actor,
			 wb_error *err);

#endif
