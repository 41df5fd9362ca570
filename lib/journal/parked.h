/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of the relay's environment, beside its cursor (journal.h): events
 * set aside, keys that have some, exchanges that are missing, what operators
 * did, and what the relay last said of itself. The relay and the operator's
 * verbs write them, `fsck` reads them all.
 *
 * Every row is sealed by a checksum over its key and itself (lib/store/row.h).
 * Strings of decoded rows point into the map: see table.h for how long. Each
 * _decode() returns WB_ECORRUPT or WB_EVERSION, each _get() WB_ENOTFOUND with
 * *err untouched if there is no such row. Any thread, one transaction each.
 */
#ifndef WBI_PARKED_H
#define WBI_PARKED_H

#include "lib/store/store.h"

/* ---- relay.parked: by ordering key, then position ----------------------- */

enum wbi_parked_state {
	WBI_PARKED = 0,
	WBI_PARKED_RELEASED = 1, /* by `retry`: to be sent again, in order */
	WBI_PARKED_DISCARDED = 2 /* by `discard`: kept until swept */
};

enum wbi_park_reason {
	WBI_PARK_UNROUTABLE = 1, /* returned: no queue is bound */
	WBI_PARK_OVERSIZE = 2,
	WBI_PARK_ENCODING = 3,
	WBI_PARK_REFUSED = 4,  /* the broker refused it for another reason */
	WBI_PARK_FOLLOWER = 5, /* an earlier event of its key is parked */
	WBI_PARK_CORRUPT = 6,  /* its record cannot be read */
	WBI_PARK_REROUTED = 7  /* held for an exchange until routes changed */
};

/* "unroutable", ...; static, "unknown" for another number. */
const char *wbi_park_reason_name(uint8_t reason);
const char *wbi_parked_state_name(uint8_t state);

typedef struct wbi_parked {
	uint8_t state;  /* enum wbi_parked_state */
	uint8_t reason; /* enum wbi_park_reason */
	uint16_t reply_code; /* the broker's, or 0 */
	uint32_t attempts;
	int64_t first_us, last_us; /* real time: parked; last change */
	wb_str exchange, routing_key;
	wb_str text;   /* the reason in words */
	wb_str record; /* the event, as the journal has it */
} wbi_parked;

/*
 * Row keys: one byte length, the ordering key (may be empty), the position in
 * big-endian order: all rows of a key are together, in order of position. The
 * same without the position is the key of relay.keys, and where to seek for
 * the first row of a key.
 */
enum { WBI_PARKED_ROW_KEY_MAX = 1 + 255 + 8 };

typedef struct wbi_parked_row_key {
	char bytes[WBI_PARKED_ROW_KEY_MAX];
	size_t len;
} wbi_parked_row_key;

/* `key` is at most 255 bytes. */
wbi_parked_row_key wbi_parked_row_key_of(wb_str key, uint64_t position);
/* The part that all rows of a key begin with. */
wbi_parked_row_key wbi_parked_row_prefix_of(wb_str key);
wb_code wbi_parked_row_key_parse(wb_str row_key, wb_str *ret_key,
				 uint64_t *ret_position, wb_error *err);

wb_code wbi_parked_put(MDB_txn *txn, wbi_table parked, wb_str key,
		       uint64_t position, const wbi_parked *row, wb_error *err);
wb_code wbi_parked_get(MDB_txn *txn, wbi_table parked, wb_str key,
		       uint64_t position, wbi_parked *ret, wb_error *err);
wb_code wbi_parked_del(MDB_txn *txn, wbi_table parked, wb_str key,
		       uint64_t position, wb_error *err);
/* The position of a key's first row; WB_ENOTFOUND: it has none. */
wb_code wbi_parked_first(MDB_txn *txn, wbi_table parked, wb_str key,
			 uint64_t *ret, wb_error *err);
wb_code wbi_parked_decode(wb_str row_key, wb_str row, wbi_parked *ret,
			  wb_error *err);

/* ---- relay.keys: by ordering key ---------------------------------------- */

typedef struct wbi_parked_key {
	uint8_t state; /* enum wbi_parked_state: being released or not */
	uint64_t count, bytes;
	uint64_t first_position;
	int64_t since_us;
} wbi_parked_key;

wb_code wbi_parked_key_put(MDB_txn *txn, wbi_table keys, wb_str key,
			   const wbi_parked_key *row, wb_error *err);
wb_code wbi_parked_key_get(MDB_txn *txn, wbi_table keys, wb_str key,
			   wbi_parked_key *ret, wb_error *err);
wb_code wbi_parked_key_del(MDB_txn *txn, wbi_table keys, wb_str key,
			   wb_error *err);
/* From a cursor; *ret_key is the ordering key. */
wb_code wbi_parked_key_decode(wb_str row_key, wb_str row, wb_str *ret_key,
			      wbi_parked_key *ret, wb_error *err);

/* ---- relay.held: by exchange -------------------------------------------- */

typedef struct wbi_held {
	uint64_t first_position; /* the next to drain; retention stops here */
	int64_t since_us;
	wb_str text;
	wb_str routes; /* which types led there: the relay's own notation */
} wbi_held;

/* `exchange` is at most 255 bytes. */
wb_code wbi_held_put(MDB_txn *txn, wbi_table held, wb_str exchange,
		     const wbi_held *row, wb_error *err);
wb_code wbi_held_get(MDB_txn *txn, wbi_table held, wb_str exchange,
		     wbi_held *ret, wb_error *err);
wb_code wbi_held_del(MDB_txn *txn, wbi_table held, wb_str exchange,
		     wb_error *err);
wb_code wbi_held_decode(wb_str row_key, wb_str row, wb_str *ret_exchange,
			wbi_held *ret, wb_error *err);

/* ---- relay.audit, and the inbox's audit: by number ----------------------- */

typedef struct wbi_audit {
	int64_t time_us;
	uint64_t position; /* of the one event that was meant; 0: several */
	wb_str who, what, why;
	wb_str key; /* whose events were meant; "" if none or without key */
	wb_str id;  /* of the one event, as far as it could be read */
	/* Of the inbox only; else "" and 0, and the row is as it always was. */
	wb_str handler;  /* whose dead letter, timer or cursor it was */
	uint64_t number; /* of the dead letter */
} wbi_audit;

/* Behind the last one; *ret_number may be NULL. */
wb_code wbi_audit_add(MDB_txn *txn, wbi_table audit, const wbi_audit *row,
		      uint64_t *ret_number, wb_error *err);
wb_code wbi_audit_decode(uint64_t number, wb_str row, wbi_audit *ret,
			 wb_error *err);

/* ---- relay.status: "status", and counts by name ------------------------- */

enum { WBI_STATUS_COUNTERS = 16 };

/* What the relay last said; the meaning of `state` and of each counter is the
 * relay's. */
typedef struct wbi_relay_status {
	uint32_t pid;
	uint8_t state;
	int64_t since_us, updated_us; /* in this state; written */
	uint64_t counters[WBI_STATUS_COUNTERS];
	wb_str connected; /* to what; "" if not */
	wb_str blocked;   /* why; "" if not */
	wb_str error;     /* the last one; "" if none */
} wbi_relay_status;

wb_code wbi_relay_status_put(MDB_txn *txn, wbi_table status,
			     const wbi_relay_status *row, wb_error *err);
wb_code wbi_relay_status_get(MDB_txn *txn, wbi_table status,
			     wbi_relay_status *ret, wb_error *err);

/* Durable totals, e.g. "unrouted/order.placed"; `name` is 1..300 bytes. Rows
 * stand under "count/" + name. get: no row is 0. */
enum { WBI_COUNT_NAME_MAX = 300 };

wb_code wbi_count_add(MDB_txn *txn, wbi_table status, wb_str name,
		      uint64_t more, wb_error *err);
wb_code wbi_count_get(MDB_txn *txn, wbi_table status, wb_str name,
		      uint64_t *ret, wb_error *err);
/* From a cursor; WB_ENOTFOUND: this row is not a count. */
wb_code wbi_count_decode(wb_str row_key, wb_str row, wb_str *ret_name,
			 uint64_t *ret, wb_error *err);

/* One that is no status must be a count, for fsck. */
wb_code wbi_count_check(wb_str row_key, wb_str row, wb_error *err);
/* Any row of relay.status, for fsck. */
wb_code wbi_status_row_check(wb_str row_key, wb_str row, wb_error *err);

#endif
