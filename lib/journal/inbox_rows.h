/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of the inbox's tables in the store's own environment: who reads how
 * far, what did not end inside its call, what ended as a dead letter, and what
 * the worker last said of itself (which ids are known: seen.h). The worker
 * and the operator's verbs write them, `fsck` reads them all.
 *
 * Every row is sealed by a checksum over its key and itself (lib/store/row.h).
 * Strings of decoded rows point into the map: see table.h for how long; they
 * may be written back as they are. Each _decode() returns WB_ECORRUPT or WB_EVERSION, each _get() WB_ENOTFOUND with
 * *err untouched if there is no such row. Any thread, one transaction each.
 */
#ifndef WBI_INBOX_ROWS_H
#define WBI_INBOX_ROWS_H

#include "lib/store/store.h"

enum { WBI_CONSUMER_NAME_MAX = 64 };

/* Room for a key of any of these tables (LMDB: 511). */
typedef struct wbi_row_key {
	uint8_t bytes[511];
	uint16_t len;
} wbi_row_key;

static inline wb_str wbi_row_key_str(const wbi_row_key *key)
{
	return wb_str_n(key->bytes, key->len);
}

/* ---- consumers: who reads a journal, by journal and name ----------------- */

typedef enum wbi_consumer_kind {
	WBI_CONSUMER_HANDLER = 1,
	WBI_CONSUMER_PROJECTION = 2 /* its checkpoint is elsewhere; this row
				       only holds back retention */
} wbi_consumer_kind;

typedef struct wbi_consumer {
	uint8_t kind;
	char origin[WBI_ORIGIN_LEN + 1];
	uint64_t position; /* all up to here are handled, copied or passed by;
			      retention may remove them */
	int64_t created_us, updated_us;
	uint64_t handled, retries, dead, emitted; /* ever */
	uint64_t waiting; /* rows it has in `work`, timers apart; and timers: */
	uint64_t timers;  /* both are kept by inbox/work.c */
	wb_str error; /* why it stopped; "" while it runs */
} wbi_consumer;

/* `journal` is 'i' (inbox) or 'o' (outbox). */
wb_code wbi_consumer_put(MDB_txn *txn, wbi_table consumers, char journal,
			 wb_str name, const wbi_consumer *row, wb_error *err);
wb_code wbi_consumer_get(MDB_txn *txn, wbi_table consumers, char journal,
			 wb_str name, wbi_consumer *ret, wb_error *err);
wb_code wbi_consumer_del(MDB_txn *txn, wbi_table consumers, char journal,
			 wb_str name, wb_error *err);
wb_code wbi_consumer_decode(wb_str row_key, wb_str row, char *ret_journal,
			    wb_str *ret_name, wbi_consumer *ret, wb_error *err);
/* The lowest position of all consumers of a journal; UINT64_MAX if it has
 * none. WB_EMISMATCH: one of them is of another origin, named. */
wb_code wbi_consumer_floor(MDB_txn *txn, wbi_table consumers, char journal,
			   const char *origin, uint64_t *ret, wb_error *err);

/* Who that is; count 0: there is no consumer. */
typedef struct wbi_consumer_slowest {
	uint64_t count, position;
	char name[WBI_CONSUMER_NAME_MAX + 1];
} wbi_consumer_slowest;

wb_code wbi_consumer_find_slowest(MDB_txn *txn, wbi_table consumers,
				  char journal, const char *origin,
				  wbi_consumer_slowest *ret, wb_error *err);

/* ---- work: what did not end inside its call ------------------------------ */

/*
 * By consumer, lane, key and position, so that all rows of one (consumer, key)
 * are together and in order. Of a KEYED or TIMER group at most one is WAITING
 * or RUNNING, a WAITING one is the first. The first is QUEUED only while one
 * behind it is RUNNING (it was retried by the operator), DEAD ones stand
 * anywhere. inbox/work.h has the rules.
 */
typedef enum wbi_lane {
	WBI_LANE_KEYED = 'k',   /* events with an ordering key */
	WBI_LANE_UNKEYED = 'u', /* each for itself; key "" */
	WBI_LANE_TIMER = 't',   /* key: the timer's name; the position tells one
				   set while it fires from the firing one */
	WBI_LANE_CRASHED = 'c'  /* not reached by the cursor yet, but called and
				   crashed: attempts; key "", no record; QUEUED,
				   since nothing calls it */
} wbi_lane;

typedef struct wbi_work_id {
	wb_str consumer; /* 1..64 */
	uint8_t lane;
	wb_str key; /* 0..255 */
	uint64_t position;
} wbi_work_id;

typedef enum wbi_work_state {
	WBI_WORK_WAITING = 1, /* until due_us; it has a row in `due` */
	WBI_WORK_RUNNING = 2, /* an external call was begun; likewise in `due`,
				 with due_us 0: a restart finds it first */
	WBI_WORK_QUEUED = 3,  /* behind another of its group; not before due_us
				 when its turn comes */
	WBI_WORK_DEAD = 4     /* it is dead letter `dead`; what is behind it waits
				 for the operator; no record here */
} wbi_work_state;

typedef struct wbi_work {
	uint8_t state;
	uint32_t attempts; /* made so far */
	int64_t due_us;
	int64_t first_us, last_us; /* failures; 0: none yet */
	uint32_t code;             /* wb_code of the last one */
	uint64_t dead;             /* DEAD: its number */
	wb_str text;               /* of the last failure */
	wb_str record; /* the event as the inbox has it; of a timer what
			  inbox/timer.h packs */
} wbi_work;

wbi_row_key wbi_work_key(const wbi_work_id *id);
/* The part that all rows of a group (key), or of a lane (no key), begin with. */
wbi_row_key wbi_work_group_prefix(const wbi_work_id *id);
wbi_row_key wbi_work_lane_prefix(wb_str consumer, uint8_t lane);
wb_code wbi_work_key_parse(wb_str row_key, wbi_work_id *ret, wb_error *err);

wb_code wbi_work_put(MDB_txn *txn, wbi_table work, const wbi_work_id *id,
		     const wbi_work *row, wb_error *err);
wb_code wbi_work_get(MDB_txn *txn, wbi_table work, const wbi_work_id *id,
		     wbi_work *ret, wb_error *err);
wb_code wbi_work_del(MDB_txn *txn, wbi_table work, const wbi_work_id *id,
		     wb_error *err);
wb_code wbi_work_decode(wb_str row_key, wb_str row, wbi_work *ret,
			wb_error *err);

/* ---- due: by consumer, time, then lane, key and position of its row ------ */

/* By consumer first, so that the rows of one that is stopped or gone are in
 * nobody's way. Where to seek for the first row of a
 * consumer that is due at or after `due_us`: */
wbi_row_key wbi_due_from(wb_str consumer, int64_t due_us);

wb_code wbi_due_put(MDB_txn *txn, wbi_table due, int64_t due_us,
		    const wbi_work_id *id, wb_error *err);
wb_code wbi_due_del(MDB_txn *txn, wbi_table due, int64_t due_us,
		    const wbi_work_id *id, wb_error *err);
/* Is it there? */
wb_code wbi_due_check(MDB_txn *txn, wbi_table due, int64_t due_us,
		      const wbi_work_id *id, wb_error *err);
wb_code wbi_due_key_parse(wb_str row_key, int64_t *ret_due_us, wbi_work_id *ret,
			  wb_error *err);
/* From a cursor. */
wb_code wbi_due_decode(wb_str row_key, wb_str row, int64_t *ret_due_us,
		       wbi_work_id *ret, wb_error *err);

/* ---- dead: by number, from 1 --------------------------------------------- */

typedef enum wbi_dead_reason {
	WBI_DEAD_REJECTED = 1,  /* the handler said so */
	WBI_DEAD_EXHAUSTED = 2, /* attempts_max attempts failed */
	WBI_DEAD_CRASHED = 3,   /* the last of them by a crash */
	WBI_DEAD_HUNG = 4,      /* or past its deadline */
	WBI_DEAD_MALFORMED = 5, /* ingest: it is no event */
	WBI_DEAD_TOO_LARGE = 6, /* ingest: over a limit */
	WBI_DEAD_NO_HANDLER = 7 /* its consumer is not there any more */
} wbi_dead_reason;

/* "rejected", ...; static, "unknown" for another number. */
const char *wbi_dead_reason_name(uint8_t reason);
/* 0 if there is none of that name. */
uint8_t wbi_dead_reason_of(wb_str name);

typedef struct wbi_dead {
	uint8_t reason;
	uint8_t lane;    /* of its work row: KEYED, UNKEYED or TIMER; 0: ingest */
	bool blocks;     /* its group waits behind it */
	uint32_t attempts;
	uint32_t code;   /* wb_code of the last failure */
	int64_t first_us, last_us; /* first failure; when it died */
	uint64_t position; /* in the inbox; 0: never got there */
	wb_str consumer; /* "" : refused at ingest */
	wb_str key;      /* ordering key, or the timer's name */
	wb_str source, id, type; /* as far as they could be read */
	wb_str text;     /* the reason in words */
	wb_str bytes; /* the record of its `work` row; at ingest the
			 whole message (lib/event/raw.h) */
} wbi_dead;

/* The count in `status` of all there ever were: no number is given twice, so
 * that an operator who names one means that one. */
#define WBI_COUNT_DEAD "dead"

wb_code wbi_dead_add(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_dead *row, uint64_t *ret_number, wb_error *err);
wb_code wbi_dead_get(MDB_txn *txn, wbi_table dead, uint64_t number,
		     wbi_dead *ret, wb_error *err);
/* Write one again that is there. */
wb_code wbi_dead_put(MDB_txn *txn, wbi_table dead, uint64_t number,
		     const wbi_dead *row, wb_error *err);
wb_code wbi_dead_del(MDB_txn *txn, wbi_table dead, uint64_t number,
		     wb_error *err);
wb_code wbi_dead_decode(uint64_t number, wb_str row, wbi_dead *ret,
			wb_error *err);

/* ---- status: the worker's own row, and counts (lib/journal/parked.h) ----- */

/* "ingest": what the store's worker takes in and since when. */
typedef struct wbi_ingest_status {
	uint32_t pid; /* of the active worker; 0: none */
	uint8_t state; /* enum wb_worker_state */
	int64_t since_us, updated_us;
	uint64_t age_us; /* see `seen` */
	uint64_t received, duplicates, refused; /* ever */
	char owner[WBI_ORIGIN_LEN + 1]; /* who this store is to a queue; made
					   once, kept by restore */
	wb_str queue, vhost; /* "" before the first consume */
	wb_str error;
} wbi_ingest_status;

wb_code wbi_ingest_status_put(MDB_txn *txn, wbi_table status,
			      const wbi_ingest_status *row, wb_error *err);
wb_code wbi_ingest_status_get(MDB_txn *txn, wbi_table status,
			      wbi_ingest_status *ret, wb_error *err);
/* Any row of `status`, for fsck. */
wb_code wbi_inbox_status_check(wb_str row_key, wb_str row, wb_error *err);

#endif
