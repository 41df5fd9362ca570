/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Streams: the history of one thing, such as "booking/42", as events with
 * versions 1, 2, 3, ... without gaps. A stream append is an outbox append: the
 * same record, in the caller's transaction, is history and is published. What
 * comes before the first '/' of a stream's name is its category.
 *
 *   wb_stream_write write = {.stream = S("booking/42"), .expected = 3,
 *                            .events = &event, .count = 1};
 *   code = wb_stream_append(outbox, txn, &write, NULL, &err);
 *   if (code == WB_ECONFLICT)  ... load it again, decide anew ...
 *
 * History must not go away when it has been delivered: a store with streams is
 * made to keep all (wb_store_options.keep_bytes = UINT64_MAX). Old versions
 * are let go of stream by stream: wb_stream_truncate().
 */
#ifndef WAYBILL_STREAM_H
#define WAYBILL_STREAM_H

#include <waybill/event.h>
#include <waybill/outbox.h>
#include <waybill/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- append ------------------------------------------------------------ */

/* What an append expects of its stream, besides an exact version, from 1. */
#define WB_STREAM_NONE UINT64_C(0)        /* it must not exist */
#define WB_STREAM_ANY UINT64_MAX          /* whatever it is */
#define WB_STREAM_EXISTS (UINT64_MAX - 1) /* any version, but one */

typedef struct wb_stream_write {
	wb_str stream;          /* 1..255 bytes of clean UTF-8, no '/' first */
	uint64_t expected;      /* its version, or one of the above */
	const wb_event *events; /* all of them or none are appended */
	size_t count;           /* at least 1 */
} wb_stream_write;

typedef struct wb_stream_written {
	uint64_t version;  /* of the last of the events */
	uint64_t position; /* of it, in the journal: wait for this one */
	bool repeated;     /* they were there already; nothing was written */
} wb_stream_written;

/*
 * Append inside `txn`, a write transaction of the store, as
 * wb_outbox_append_batch() does, with these differences: `subject` of each
 * event is the stream, `sequence` its version, `key` the stream's name where
 * the event has none; subject and sequence may be left empty, or be what they
 * become. Several streams may be written in one transaction. *ret may be NULL.
 *
 * Repeating an append is safe with an exact version (WB_STREAM_NONE is one)
 * and ids of your own: if the events that follow it in the stream have these
 * ids already, nothing is written and their place is returned. With
 * WB_STREAM_ANY and WB_STREAM_EXISTS there is no such promise.
 *
 * WB_ECONFLICT: the stream is at another version; the text names both. Class
 *   RETRY: load it again and decide anew; the very same call fails again.
 * WB_ESTATE: the store does not keep its events for ever.
 * WB_EINVAL, WB_ELIMIT, WB_EQUOTA: as wb_outbox_append_batch().
 * After these the transaction is as before. After any other error it must be
 * aborted.
 */
WB_API wb_code wb_stream_append(wb_outbox *outbox, MDB_txn *txn,
				const wb_stream_write *write,
				wb_stream_written *ret, wb_error *err);

/* ---- what there is ----------------------------------------------------- */

typedef struct wb_stream_info {
	uint64_t version;  /* of its last event */
	uint64_t position; /* of that event in the journal */
	uint64_t floor;    /* the lowest version that can be read: 1, unless it
			      was truncated; version + 1 if none can */
	uint64_t snapshot; /* version of the newest snapshot; 0: none */
} wb_stream_info;

/* `txn` is a transaction of the store, or NULL for a short one of its own.
 * WB_ENOTFOUND: no such stream (*err says so). */
WB_API wb_code wb_stream_stat(wb_store *store, MDB_txn *txn, wb_str stream,
			      wb_stream_info *ret, wb_error *err);

enum { WB_STREAM_NAME_MAX = 255 };

/*
 * The first stream whose name sorts, byte by byte, behind `after`; "booking/"
 * stands before all streams of the category booking. Its name is copied to
 * ret_name, with a terminating NUL. `txn` may be NULL. WB_ENOTFOUND, *err
 * untouched: there is none.
 */
WB_API wb_code wb_stream_next_name(wb_store *store, MDB_txn *txn, wb_str after,
				   char ret_name[WB_STREAM_NAME_MAX + 1],
				   wb_error *err);

/* ---- read -------------------------------------------------------------- */

/*
 * What to read: one stream, one category, or (both empty) all events of
 * streams, in the order in which they were committed. Where a reader is, is a
 * version in a stream and a journal position else: an event's own place is the
 * token to go on from it later.
 */
typedef struct wb_stream_query {
	size_t size;
	wb_str stream;
	wb_str category;
	uint64_t after; /* begin behind this place, in the direction of
			   reading; 0: at the beginning, backwards: the end */
	bool backwards;
	bool stubs;     /* truncated events come too, as what is left of them,
			   instead of WB_ETRUNCATED */
	uint32_t batch; /* events per read transaction, if the reader has its
			   own; 0: 256 */
} wb_stream_query;

#define WB_STREAM_QUERY_INIT WB_SIZED_INIT(wb_stream_query)

typedef struct wb_stream_event {
	wb_event event;    /* subject: the stream; sequence: the version */
	uint64_t position; /* in the journal */
	bool truncated;    /* only id, type, time and place are left */
} wb_stream_event;

typedef struct wb_stream_reader wb_stream_reader;

/*
 * A reader in `txn`, which must outlive it; of a write transaction it sees
 * the appends. With `txn` NULL it begins short read transactions itself, one
 * after the other, and goes on to what was committed since; call
 * wb_stream_pause() before doing something else for long. One thread. Strings
 * of the query are copied. WB_EINVAL, WB_ENOMEM.
 */
WB_API wb_code wb_stream_open(wb_store *store, MDB_txn *txn,
			      const wb_stream_query *query,
			      wb_stream_reader **ret, wb_error *err);
WB_API void wb_stream_close(wb_stream_reader *reader); /* NULL allowed */

/*
 * The next event. It points into the store: until the next call on the
 * reader, and in a write transaction until its next change.
 *
 * WB_ENOTFOUND (*err untouched): no more for now; call again later.
 * WB_ETRUNCATED: the versions that come next were truncated; the text names
 *   the floor. WB_ECORRUPT: a gap, or a record that is not what the stream's
 *   index says. Both come again until the reader is closed.
 */
WB_API wb_code wb_stream_next(wb_stream_reader *reader, wb_stream_event *ret,
			      wb_error *err);

/* Give the reader's own transaction back; the next call begins another. */
WB_API void wb_stream_pause(wb_stream_reader *reader);

/* ---- snapshots --------------------------------------------------------- */

/*
 * What a stream's events up to a version amount to, so that they need not be
 * folded again. A snapshot changes the speed of loading and nothing else:
 * whoever keeps one must be able to do without, unless the stream was
 * truncated below it. `tag` says what the bytes are; change it with their
 * layout, and older ones are not found any more.
 */
typedef struct wb_snapshot {
	uint64_t version; /* in the stream, from 1 */
	wb_str tag;       /* 1..64 bytes, such as "booking.1" */
	wb_str data;      /* at most WB_SNAPSHOT_BYTES_MAX */
	int64_t time_us;  /* when it was made; set by wb_snapshot_save() */
} wb_snapshot;

enum { WB_SNAPSHOT_BYTES_MAX = 16 * 1024 * 1024 };

/*
 * Keep a snapshot, and of older ones so many that there are `keep` (0: 2). In
 * `txn`, a write transaction. WB_EINVAL: the stream is not at that version
 * yet, or a bad tag. WB_ELIMIT. WB_ENOTFOUND: no such stream. WB_EQUOTA: no
 * room; nothing is lost by that. After these the transaction is as before.
 */
WB_API wb_code wb_snapshot_save(wb_store *store, MDB_txn *txn, wb_str stream,
				const wb_snapshot *snapshot, uint32_t keep,
				wb_error *err);

/*
 * The newest snapshot with this tag (empty: any) at or below version `at`;
 * its strings point into the store, as those of an event. WB_ENOTFOUND (*err
 * untouched): none.
 */
WB_API wb_code wb_snapshot_find(wb_store *store, MDB_txn *txn, wb_str stream,
				wb_str tag, uint64_t at, wb_snapshot *ret,
				wb_error *err);

/* ---- truncate ---------------------------------------------------------- */

typedef struct wb_stream_cut {
	wb_str stream;
	uint64_t before; /* the lowest version to stay; version + 1 at most */
	uint64_t max;    /* events in this call; 0: 100 */
	bool without_snapshot; /* even if no snapshot holds what they did */
} wb_stream_cut;

/*
 * Let go of the versions below `before`, oldest first, at most `max` of them
 * in this call: what they said is removed from the journal, their id, type,
 * time and place stay, so that the journal has no gap and a repeat is still
 * known. *ret_floor is how far it is: call again, in another transaction,
 * until it is `before`. What a crash leaves is truncated up to the floor it
 * recorded. Copies elsewhere (parked events, backups, the broker) stay.
 *
 * WB_ENOTFOUND: no such stream. WB_EINVAL: `before` is beyond its end.
 * WB_ESTATE: one of the events is not delivered yet, or a consumer of this
 * journal has not read it, or no snapshot at `before` - 1 or later holds
 * their sum. After these the transaction is as before.
 */
WB_API wb_code wb_stream_truncate(wb_store *store, MDB_txn *txn,
				  const wb_stream_cut *cut, uint64_t *ret_floor,
				  wb_error *err);

#ifdef __cplusplus
}
#endif
#endif
