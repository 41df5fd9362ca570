/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An operator's word on a saga: retry, skip, compensate, abandon, resume.
 *
 * It is judged on what is stored and becomes an *order*: a timer of the saga's
 * handler that is due at once, in one commit with its row in the audit. The
 * worker that fires it judges it again, by the same rules, and carries it out
 * in the commit that takes the timer away; what came of it is a row of the
 * audit in that commit. So an order is carried out once or says why not, and
 * whoever dies leaves it before or behind that. With no worker it waits.
 *
 * A choreographed saga has nobody who could retry or undo it; its part here can
 * be abandoned, nothing else.
 */
#ifndef WBI_OPERATOR_H
#define WBI_OPERATOR_H

#include "inbox/call.h"
#include "outbox/parked.h" /* wbi_actor */
#include "saga/definition.h"

enum {
	WBI_ORDER_WHO_MAX = 255,
	WBI_ORDER_WHY_MAX = 1000,
	WBI_ORDER_TEXT_MAX = 400
};

/* What the timer carries. Strings point into it. */
typedef struct wbi_order {
	uint8_t verb;    /* wbi_verb */
	uint64_t number; /* of its row in the audit */
	int64_t given_us;
	wb_str who, why;
} wbi_order;

wb_code wbi_order_decode(wb_str data, wbi_order *ret, wb_error *err);

/* The order that waits for a worker. Strings point into the map.
 * WB_ENOTFOUND (err untouched): there is none. */
wb_code wbi_order_get(MDB_txn *txn, const wbi_store_tables *tables,
		      const wbi_saga_id *id, wbi_order *ret, wb_error *err);

/* Where it waits: its handler (in `room`, 65 bytes) and the timer's name. */
wb_str wbi_order_handler(const wbi_saga_id *id, char room[128]);
wb_str wbi_order_timer(const wbi_saga_id *id, char room[256]);

const char *wbi_verb_name(uint8_t verb); /* static, "unknown" */

/* Those that are possible now: a bit (1 << verb) each. `saga` NULL: its
 * definition is not to be had. */
uint32_t wbi_verbs_possible(const wb_saga *saga, const wbi_machine *machine);
/* "retry, abandon"; "nothing". Returns ret. */
char *wbi_verbs_text(uint32_t verbs, char *ret, size_t size);

/* ---- giving orders ------------------------------------------------------- */

typedef struct wbi_order_item {
	wb_str key; /* wbi_saga_key() */
	bool done;
	wb_code code; /* not done, and why: WB_ENOTFOUND, WB_ESTATE */
	char text[WBI_ORDER_TEXT_MAX];
} wbi_order_item;

typedef struct wbi_order_how {
	wbi_verb verb;
	wbi_actor actor; /* `why` must be there */
	bool dry_run;    /* only judge */
	uint32_t txn_us; /* of work in the transaction; 0: 1,000 */
} wbi_order_how;

/*
 * One transaction over items[] from the first on, until it has worked long
 * enough: *ret_count of them were looked at (at least one); each is `done` or
 * says why not and what is possible. An error is the store's: nothing was done.
 */
wb_code wbi_order_give(wb_store *store, const wbi_order_how *how,
		       wbi_order_item *items, size_t count, size_t *ret_count,
		       wb_error *err);

/* ---- carrying them out --------------------------------------------------- */

/* The row of the audit about what came of it: `done`, or refused; `text` says
 * what changed, or why not. */
wb_code wbi_order_audit(wb_call *call, const wbi_saga_id *id,
			const wbi_order *order, bool done, const char *text,
			wb_error *err);

#endif
