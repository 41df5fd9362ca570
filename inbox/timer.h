/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timers are rows of `work` in the TIMER lane (work.h): durable, in order of
 * time, retried and dead-lettered like events. A name has one timer of its
 * handler; one that is set while that fires stands behind it and goes when it
 * has ended, however it ended.
 */
#ifndef WBI_TIMER_H
#define WBI_TIMER_H

#include <waybill/handler.h>

#include "inbox/work.h"
#include "outbox/parked.h" /* wbi_actor */

enum {
	WBI_TIMER_NAME_MAX = 255,
	WBI_TIMER_DATA_MAX = 64 * 1024,
	WBI_TIMER_HEAD = 8 /* of a record: le64, when it was set for */
};

/* A row's record: when it was set for (a retry changes the row's own due_us),
 * then its data. The strings of *ret live as long as id and record. */
wb_code wbi_timer_unpack(const wbi_work_id *id, wb_str record, wb_timer *ret,
			 wb_error *err);

/* WB_EINVAL, WB_ELIMIT: name, time or data cannot be. For what is set later. */
wb_code wbi_timer_check(wb_str name, int64_t due_us, size_t data_len,
			wb_error *err);

/*
 * Set or replace, in `txn`. `firing` (NULL: none) is the timer of the call that
 * wants it, if that is of the same name: its row is still there. *ret_replaced
 * (may be NULL): one that would still have come was replaced.
 */
wb_code wbi_timer_set(MDB_txn *txn, const wbi_store_tables *tables,
		      wb_str consumer, wb_str name, int64_t due_us, wb_str data,
		      const wbi_work_id *firing, bool *ret_replaced,
		      wb_error *err);
/* WB_ENOTFOUND (err untouched): there is none, or it is firing now. */
wb_code wbi_timer_cancel(MDB_txn *txn, const wbi_store_tables *tables,
			 wb_str consumer, wb_str name,
			 const wbi_work_id *firing, int64_t now_us,
			 wb_error *err);

/* ---- by the operator (timer_verbs.c) ------------------------------------ */

/* Arguments of the visitor live until it returns. */
typedef struct wbi_timer_seen {
	wb_str handler;
	wb_timer timer;  /* as it was set */
	int64_t next_us; /* when it is tried next; after a failure later */
	uint32_t attempts;
	bool firing;     /* its call is in progress */
	bool queued;     /* behind one that fires */
	wb_str text;     /* of the last failure */
} wbi_timer_seen;

/*
 * Visit the timers of a handler, by name, in one read transaction: of at most
 * `most`, from behind the one of the name *after on (0 bytes at first), which
 * is moved on. `each` returns false to stop. WB_ENOTFOUND (err untouched):
 * there are no more.
 */
typedef bool wbi_timer_visitor(void *ctx, const wbi_timer_seen *seen);
wb_code wbi_timer_visit(wb_store *store, wb_str handler, wbi_row_key *after,
			size_t most, wbi_timer_visitor *each, void *ctx,
			wb_error *err);

/*
 * Each a transaction of its own with its row in the audit. Moved, a timer is
 * due at `due_us`, attempts are forgotten, and that is what its handler is told
 * it was set for. WB_ENOTFOUND: there is no such timer, or it is firing now.
 */
wb_code wbi_timer_operator_move(wb_store *store, wb_str handler, wb_str name,
				int64_t due_us, const wbi_actor *actor,
				wb_error *err);
wb_code wbi_timer_operator_cancel(wb_store *store, wb_str handler, wb_str name,
				  const wbi_actor *actor, wb_error *err);

#endif
