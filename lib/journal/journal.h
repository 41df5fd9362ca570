/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A journal: an append-only log with positions 1, 2, 3, ... per origin, and
 * cursors over it. LMDB has one writer, so the order of positions is the order
 * of commits and there is never a gap.
 */
#ifndef WBI_JOURNAL_H
#define WBI_JOURNAL_H

#include <waybill/event.h>

#include "lib/store/store.h"

typedef enum wbi_journal_kind { WBI_OUTBOX, WBI_INBOX } wbi_journal_kind;

/* A view of one journal of a store; a plain value, valid with the store. */
typedef struct wbi_journal {
	wb_store *store;
	wbi_journal_kind kind;
	wbi_table table;
	const char *origin; /* 36 characters, lives as long as the store */
} wbi_journal;

wbi_journal wbi_journal_of(wb_store *store, wbi_journal_kind kind);

/*
 * First and last position present; 0 and 0 in a journal that never had an
 * event. The last record is never pruned, so that the head is not lost.
 */
wb_code wbi_journal_range(const wbi_journal *journal, MDB_txn *txn,
			  uint64_t *ret_first, uint64_t *ret_head,
			  wb_error *err);

/*
 * Append `count` checked events behind the head. Of the outbox, filling in id,
 * source (`source` if empty) and time where they are missing; events of the
 * inbox are others' and kept as they came: id and source they must have, a time
 * they may lack. Prunes at most two records per event whose retention has
 * passed. WB_EQUOTA before anything is written.
 */
wb_code wbi_journal_append(const wbi_journal *journal, MDB_txn *txn,
			   const wb_event *events, size_t count, wb_str source,
			   uint64_t *ret_first, wb_error *err);

/* The same for events of streams, which have subject and sequence; the caller
 * enters them into the streams' index (lib/journal/stream_rows.h). */
wb_code wbi_journal_append_stream(const wbi_journal *journal, MDB_txn *txn,
				  const wb_event *events, size_t count,
				  wb_str source, uint64_t *ret_first,
				  wb_error *err);

/* One record as stored; points into the map. WB_ENOTFOUND leaves *err. */
wb_code wbi_journal_get(const wbi_journal *journal, MDB_txn *txn,
			uint64_t position, wb_str *ret_record, wb_error *err);

/*
 * Reading on: open at the first record after `after`, then next() until
 * WB_ENOTFOUND. next() decodes, checks the checksum and that each position
 * follows on the one before: a gap is WB_ECORRUPT, naming both sides. Starting
 * below the first record present is WB_ECORRUPT as well.
 */
typedef struct wbi_reader {
	const wbi_journal *journal;
	wbi_cursor *cursor;
	uint64_t position; /* of the last record returned */
	bool started;
} wbi_reader;

wb_code wbi_reader_open(wbi_reader *reader, const wbi_journal *journal,
			MDB_txn *txn, uint64_t after, wb_error *err);
wb_code wbi_reader_next(wbi_reader *reader, wb_event *ret_event,
			wb_str *ret_record, wb_error *err);
void wbi_reader_close(wbi_reader *reader);

/* Room left under the marks, for append and for `stat`. */
typedef struct wbi_quota {
	uint64_t used_bytes; /* journals, parked events, work, dead letters */
	uint64_t soft_bytes, hard_bytes;
} wbi_quota;

wb_code wbi_journal_quota(const wbi_journal *journal, MDB_txn *txn,
			  wbi_quota *ret, wb_error *err);

/*
 * The relay's cursor, a row of relay.cursor in the relay's environment: all
 * positions up to `position` are settled; `floor` is what retention may
 * delete up to, never past `position` (held exchanges keep it back). The record
 * at `position` itself is not pruned before the cursor moves on. `event_id` is the id of the
 * event at `position`, so that a cursor of another history is recognised.
 */
typedef struct wbi_relay_cursor {
	char origin[WBI_ORIGIN_LEN + 1];
	uint64_t position;
	uint64_t floor;
	char event_id[256];
} wbi_relay_cursor;

/* WB_ENOTFOUND (err untouched): none yet, start at position 0. */
wb_code wbi_relay_cursor_read(wb_store *store, MDB_txn *relay_txn,
			      wbi_relay_cursor *ret, wb_error *err);
/* The bytes of that row, wherever they were read. */
wb_code wbi_relay_cursor_decode(wb_str row, wbi_relay_cursor *ret,
				wb_error *err);
wb_code wbi_relay_cursor_write(wb_store *store, MDB_txn *relay_txn,
			       const wbi_relay_cursor *cursor, wb_error *err);

#endif
