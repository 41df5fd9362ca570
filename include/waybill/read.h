/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading a read model (<waybill/projection.h>) in-process, beside whoever
 * keeps it up to date:
 *
 *   wb_read_open("shop", "slots", NULL, &read, &err);
 *   wb_read_wait(read, position, 2000, &err);      // what I wrote is in it
 *   wb_read_begin(read, &err);                     // one snapshot
 *   wb_read_get(read, "slots", key, &value, &err); // points into it
 *   wb_read_end(read);
 *
 * A snapshot is consistent and never waits, nor does it hold up the projector.
 * But while it is open the file cannot reuse the pages it sees, so it has a
 * deadline.
 */
#ifndef WAYBILL_READ_H
#define WAYBILL_READ_H

#include <waybill/projector.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One thread each, any number of them. */
typedef struct wb_read wb_read;

typedef struct wb_read_options {
	size_t size;
	uint32_t snapshot_ms; /* a snapshot may be held so long; 5,000 */
	uint32_t generation;  /* this one, not the live one; 0: the live one,
				 following its changes */
	const wb_clock *clock;
} wb_read_options;

#define WB_READ_OPTIONS_INIT WB_SIZED_INIT(wb_read_options)

/*
 * Open the model DIR/projections/NAME. `options` may be NULL; *ret is freed by
 * wb_read_close(). WB_ENOTFOUND: no such projection, or none that has begun.
 * WB_EBUSY: this process has it open already: use wb_read_open_projector(), or
 * wb_read_open_beside(). WB_EACCESS, WB_ECORRUPT, WB_EVERSION, WB_EIO.
 */
WB_API wb_code wb_read_open(const char *dir, const char *name,
			    const wb_read_options *options, wb_read **ret,
			    wb_error *err);
/* The model that a projector, or another reader, of this process has open;
 * LMDB must not open a file twice. For another thread than that one's. They may
 * be closed in any order, but not before this call has returned. */
WB_API wb_code wb_read_open_projector(wb_projector *projector,
				      const wb_read_options *options,
				      wb_read **ret, wb_error *err);
WB_API wb_code wb_read_open_beside(wb_read *read,
				   const wb_read_options *options,
				   wb_read **ret, wb_error *err);
WB_API void wb_read_close(wb_read *read); /* NULL allowed; ends the snapshot */

/* Take a snapshot of the live generation; one that is open is given back.
 * A flip is followed from the first snapshot a millisecond after it. */
WB_API wb_code wb_read_begin(wb_read *read, wb_error *err);
/* Give it back; with none it does nothing. */
WB_API void wb_read_end(wb_read *read);

/* All events up to here are in the snapshot (or aside: see below), and none
 * after. Its generation, and the origin of the journal that positions count
 * in: 36 characters. 0 and "" without a snapshot. */
WB_API uint64_t wb_read_position(const wb_read *read);
WB_API uint32_t wb_read_generation(const wb_read *read);
WB_API const char *wb_read_origin(const wb_read *read);

/* How far behind the journal the projector was when it last said so, which it
 * does at least each second while it has work; `updated_us` is when, UTC. */
typedef struct wb_read_lag {
	uint64_t head;
	int64_t lag_us;
	int64_t updated_us;
} wb_read_lag;
WB_API wb_code wb_read_get_lag(wb_read *read, wb_read_lag *ret, wb_error *err);

/*
 * The value of a row; lives until the snapshot ends. A model with one table
 * may be read with `table` NULL.
 *
 * WB_ENOTFOUND, with *err untouched: no such row. WB_ESTATE: no snapshot.
 * WB_EINVAL: no such table. WB_ETIMEOUT: the snapshot was held for longer than
 * its deadline and has been given back, with all that points into it.
 */
WB_API wb_code wb_read_get(wb_read *read, const char *table, wb_str key,
			   wb_str *ret_value, wb_error *err);

/* Is `key`, the unit of quarantine, kept aside? Then what is read of it is as
 * of before the event that failed. *ret_events: how many wait. */
WB_API wb_code wb_read_is_aside(wb_read *read, wb_str key, bool *ret,
				uint64_t *ret_events, wb_error *err);

/* ---- many rows ---------------------------------------------------------- */

/*
 * Which rows: by their own keys, or with `index` by the keys of that index. All
 * bounds that are given hold. Strings are borrowed until wb_read_scan returns.
 */
typedef struct wb_read_query {
	size_t size;
	const char *table;  /* as in wb_read_get */
	const char *index;  /* NULL: by the rows' own keys */
	wb_str equal;       /* exactly this key; empty: any */
	wb_str prefix;      /* empty: any */
	wb_str from;        /* inclusive; empty: from the first */
	wb_str to;          /* exclusive; empty: to the last */
	bool reverse;
	wb_str cursor;      /* of an earlier scan with the same query: go on
			       behind it; empty: from the start */
} wb_read_query;

#define WB_READ_QUERY_INIT WB_SIZED_INIT(wb_read_query)

typedef struct wb_read_row {
	wb_str key;
	wb_str value;
	wb_str index_key; /* empty without `index`; lives until the next row */
} wb_read_row;

enum { WB_READ_CURSOR_MAX = 1100 };

/*
 * Begin a scan in the open snapshot; one at a time. WB_EINVAL: no such table or
 * index; a cursor of another query, or damaged. WB_ESTATE, WB_ETIMEOUT.
 */
WB_API wb_code wb_read_scan(wb_read *read, const wb_read_query *query,
			    wb_error *err);
/* The next row; lives until the snapshot ends. WB_ENOTFOUND, with *err
 * untouched: that was the last. */
WB_API wb_code wb_read_next(wb_read *read, wb_read_row *ret, wb_error *err);
/*
 * A token that stands for the last row returned, for wb_read_query.cursor in a
 * later snapshot, of whatever generation: no row is seen twice, and none is left
 * out that was there all the time. Letters and digits, terminated; "" if no row
 * was returned.
 */
WB_API void wb_read_cursor(const wb_read *read,
			   char ret[WB_READ_CURSOR_MAX + 1]);

/* ---- read your own writes ------------------------------------------------ */

/*
 * Wait until every event up to `position` (which an append returned) is in the
 * live generation, or aside. Exact: positions have no gaps. Sleeps meanwhile.
 * Ends the snapshot; the next one has it. WB_ETIMEOUT: not within `timeout_ms`,
 * with how far it has come; WB_EIO, WB_ECORRUPT.
 */
WB_API wb_code wb_read_wait(wb_read *read, uint64_t position,
			    uint32_t timeout_ms, wb_error *err);

#ifdef __cplusplus
}
#endif
#endif
