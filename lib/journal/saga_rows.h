/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of the sagas' tables in the store's own environment: what a saga is
 * at, what happened to it, the barriers of steps that were done here, and when
 * all of that may be forgotten. saga/ and the operator's verbs write them,
 * `fsck` reads them all.
 *
 * Sealed, decoded and borrowed as the rows of the inbox (inbox_rows.h).
 */
#ifndef WBI_SAGA_ROWS_H
#define WBI_SAGA_ROWS_H

#include "lib/journal/inbox_rows.h"

enum {
	WBI_SAGA_ID_MAX = 180,
	WBI_SAGA_NAME_MAX = 48,
	WBI_SAGA_STEP_MAX = 64,
	WBI_SAGA_DATA_MAX = 64 * 1024,
	WBI_SAGA_HASH_LEN = 64 /* SHA-256 as text */
};

/* ---- sagas: by kind, id and name ----------------------------------------- */

typedef enum wbi_saga_kind {
	WBI_SAGA_ORCHESTRATED = 'o', /* one row, where it is orchestrated */
	WBI_SAGA_FLOW = 'f'          /* a row in each service that takes part */
} wbi_saga_kind;

typedef struct wbi_saga_id {
	uint8_t kind;
	wb_str id;   /* 1..180 */
	wb_str name; /* a flow's, 1..48; of an orchestrated saga: "" */
} wbi_saga_id;

typedef struct wbi_saga_row {
	uint8_t status; /* wb_saga_status */
	int64_t started_us, changed_us;
	int64_t since_us;    /* in what it is at now */
	int64_t deadline_us; /* of what it waits for; 0: it does not */
	uint64_t entries;    /* of its log, ever */
	wb_str name;         /* its kind or its flow */
	wb_str step;         /* what it is at */
	wb_str awaits;       /* which events or answer; "" if none */
	wb_str from;         /* FLOW: which services may emit them */
	wb_str reason;       /* PARKED: why; how a step was refused */
	wb_str definition;   /* ORCHESTRATED: its hash */
	wb_str machine;      /* ORCHESTRATED: saga/machine.h as bytes */
	wb_str content_type, data;
} wbi_saga_row;

wbi_row_key wbi_saga_key(const wbi_saga_id *id);
/* What the keys of all sagas of this kind and id begin with. */
wbi_row_key wbi_saga_id_prefix(uint8_t kind, wb_str id);
wb_code wbi_saga_key_parse(wb_str row_key, wbi_saga_id *ret, wb_error *err);

/*
 * Write the row, and move its entry in the index of sagas that have not ended.
 * `old` is the row as it was read (NULL: a new saga).
 */
wb_code wbi_saga_put(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_saga_id *id, const wbi_saga_row *old,
		     const wbi_saga_row *row, wb_error *err);
wb_code wbi_saga_get(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_saga_id *id, wbi_saga_row *ret, wb_error *err);
wb_code wbi_saga_decode(wb_str row_key, wb_str row, wbi_saga_row *ret,
			wb_error *err);
/* Row, index and log are gone. For a saga that has ended. */
wb_code wbi_saga_del(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_saga_id *id, wb_error *err);

/* Has it ended: COMPLETED, COMPENSATED or ABANDONED? */
bool wbi_saga_status_is_final(uint8_t status);

/* ---- saga_index: by status, then since when; only those not ended -------- */

/* From a cursor. */
wb_code wbi_saga_index_decode(wb_str row_key, wb_str row, uint8_t *ret_status,
			      int64_t *ret_since_us, wbi_saga_id *ret,
			      wb_error *err);

/* ---- saga_log: by saga, then number from 1 ------------------------------- */

typedef struct wbi_saga_entry {
	int64_t time_us;
	uint8_t before, after; /* wb_saga_status of the saga */
	wb_str step;
	wb_str in;       /* what came: an event's type, "timer", "operator" */
	wb_str in_id;    /* its id; "" of those that have none */
	wb_str what;     /* the change in words: "block asked -> done" */
	wb_str out;      /* types of what was emitted, with ", " between them */
	wb_str who, why; /* an operator's verb; else "" */
	wb_str text;     /* the reason of a refusal or a failure */
} wbi_saga_entry;

wb_code wbi_saga_log_add(MDB_txn *txn, const wbi_store_tables *tables,
			 const wbi_saga_id *id, uint64_t number,
			 const wbi_saga_entry *entry, wb_error *err);
/* What the keys of a saga's log begin with; a number in big-endian follows. */
wbi_row_key wbi_saga_log_prefix(const wbi_saga_id *id);
wb_code wbi_saga_log_decode(wb_str row_key, wb_str row, uint64_t *ret_number,
			    wbi_saga_entry *ret, wb_error *err);

/* ---- saga_defs: by hash -------------------------------------------------- */

wb_code wbi_saga_def_put(MDB_txn *txn, const wbi_store_tables *tables,
			 wb_str hash, wb_str definition, wb_error *err);
wb_code wbi_saga_def_get(MDB_txn *txn, const wbi_store_tables *tables,
			 wb_str hash, wb_str *ret, wb_error *err);
wb_code wbi_saga_def_decode(wb_str row_key, wb_str row, wb_str *ret,
			    wb_error *err);

/* ---- barriers: by saga, step and operation ------------------------------- */

typedef enum wbi_barrier_op {
	WBI_BARRIER_DO = 'd',
	WBI_BARRIER_UNDO = 'u'
} wbi_barrier_op;

typedef struct wbi_barrier_id {
	wb_str saga; /* 1..180 */
	wb_str step; /* 1..64; of a flow "FLOW:STEP" (up to 113) */
	uint8_t op;  /* enum wbi_barrier_op */
} wbi_barrier_id;

enum { WBI_BARRIER_STEP_MAX = WBI_SAGA_NAME_MAX + 1 + WBI_SAGA_STEP_MAX };

/* `state` of an action: PENDING, DONE, REFUSED (by itself, or by its undo that
 * came first: `tombstone`), UNDONE. Of an undo: DONE. */
typedef struct wbi_barrier {
	uint8_t state; /* wb_step_state */
	bool tombstone;
	uint32_t epoch;
	int64_t first_us, last_us;
	wb_str undo; /* what the undo will need */
	wb_str reply_type, reply_content_type, reply; /* what was answered */
	wb_str reply_to;
	wb_str text; /* the reason of a refusal */
} wbi_barrier;

wbi_row_key wbi_barrier_key(const wbi_barrier_id *id);
/* What the keys of all barriers of a saga begin with. */
wbi_row_key wbi_barrier_saga_prefix(wb_str saga);
wb_code wbi_barrier_key_parse(wb_str row_key, wbi_barrier_id *ret,
			      wb_error *err);
wb_code wbi_barrier_put(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_barrier_id *id, const wbi_barrier *row,
			wb_error *err);
wb_code wbi_barrier_get(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_barrier_id *id, wbi_barrier *ret,
			wb_error *err);
wb_code wbi_barrier_decode(wb_str row_key, wb_str row, wbi_barrier *ret,
			   wb_error *err);
wb_code wbi_barrier_del(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_barrier_id *id, wb_error *err);

/* ---- saga_expiry: by time, then what ------------------------------------- */

/*
 * When to look whether something may be forgotten: a barrier ('b') or a saga
 * that has ended ('s'), by its key. An entry that comes up for a row that was
 * used since is put off, so that using a row costs nothing here.
 */
typedef struct wbi_expiry {
	int64_t at_us;
	uint8_t what;
	wb_str key;
} wbi_expiry;

wb_code wbi_expiry_put(MDB_txn *txn, const wbi_store_tables *tables,
		       const wbi_expiry *expiry, wb_error *err);
wb_code wbi_expiry_del(MDB_txn *txn, const wbi_store_tables *tables,
		       const wbi_expiry *expiry, wb_error *err);
wb_code wbi_expiry_decode(wb_str row_key, wb_str row, wbi_expiry *ret,
			  wb_error *err);
/* The first one at or before `now_us`, its key copied; WB_ENOTFOUND: none. */
wb_code wbi_expiry_first(MDB_txn *txn, const wbi_store_tables *tables,
			 int64_t now_us, wbi_row_key *ret_key, wbi_expiry *ret,
			 wb_error *err);

#endif
