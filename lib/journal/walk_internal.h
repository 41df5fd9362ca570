/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the walk share: walk.c has the environments and journals,
 * walk_relay.c, walk_inbox.c, walk_streams.c and walk_sagas.c the tables around
 * them. */
#ifndef WBI_WALK_INTERNAL_H
#define WBI_WALK_INTERNAL_H

#include <waybill/event.h>

#include "lib/journal/inbox_rows.h"
#include "lib/journal/seen.h"
#include "lib/journal/walk.h"
#include "lib/store/meta.h"
#include "lib/store/store.h"

#define WBI_WALK_MAIN "data.mdb"
#define WBI_WALK_RELAY "relay/data.mdb"

typedef struct wbi_walk_journal {
	wbi_table table;
	const char *name;
	uint64_t first, head, rows;
} wbi_walk_journal;

/* What was seen of the sagas' tables; the sum is of hashes of keys. */
typedef struct wbi_walk_sums {
	uint64_t open, ended, indexed, expiries;
	uint64_t barriers, barrier_expiries, barrier_sum;
} wbi_walk_sums;

/* The parked events of the key that the walk is at, which its row must match. */
typedef struct wbi_walk_parked {
	wb_str key; /* in the map */
	uint64_t count, bytes, first;
} wbi_walk_parked;

typedef struct wbi_walk {
	const wbi_walk_output *output;
	const char *dir;
	MDB_env *env, *relay_env;
	MDB_txn *txn, *relay_txn;
	wbi_store_tables tables;
	wbi_relay_tables relay_tables;
	uint32_t present; /* tables of the store; an older one has fewer */
	wbi_store_info info;
	wbi_walk_journal outbox, inbox; /* as far as they were walked */
	uint64_t stream_records;        /* of the outbox */
	struct wbi_walk_streams *streams;
	wbi_seen_sum seen;
	wbi_walk_sums sagas;
	wbi_walk_parked parked;
	wbi_check_result result;
	uint64_t total;
	int64_t told_us;
	/* Where the walk is, for findings, and the key of the row before. */
	const char *file, *table;
	wb_str before;
} wbi_walk;

void wbi_walk_tick(void *ctx);
void wbi_walk_finding(wbi_walk *w, wb_code code, uint64_t position,
		      const char *format, ...) WB_PRINTF(4, 5);
/* An error becomes a finding if it is about the data. */
wb_code wbi_walk_found(wbi_walk *w, wb_code code, uint64_t position,
		       const wb_error *cause, wb_error *err);
/* A whole record, its headers too. */
wb_code wbi_walk_record(wb_str record, wb_event *ret, uint64_t *ret_position,
			wb_error *err);

/* One table, row by row: what each must be, and how it is named. */
typedef struct wbi_walk_rows {
	const char *name;
	wbi_table table;
	bool numbered; /* keys are positions */
	wb_code (*check)(wbi_walk *w, wb_str key, wb_str row, wb_error *err);
	void (*describe)(wb_str key, char *ret, size_t size); /* or NULL */
} wbi_walk_rows;

wb_code wbi_walk_table(wbi_walk *w, MDB_txn *txn, const wbi_walk_rows *rows,
		       wb_error *err);
/* Of a table whose keys are positions. */
wb_code wbi_walk_number(wb_str key, uint64_t *ret, wb_error *err);
wb_code wbi_walk_audit(wbi_walk *w, wb_str key, wb_str row, wb_error *err);

/* All of the relay's tables; then its cursor against the outbox. */
wb_code wbi_walk_relay(wbi_walk *w, wb_error *err);
wb_code wbi_walk_relay_cursor(wbi_walk *w, wb_error *err);
/* All of the inbox's, once the journals were walked. */
wb_code wbi_walk_inbox(wbi_walk *w, wb_error *err);
/* All of the streams', once the outbox was walked. */
wb_code wbi_walk_streams(wbi_walk *w, wb_error *err);
/* All of the sagas'; and, on the way through the inbox's, a timer. */
wb_code wbi_walk_sagas(wbi_walk *w, wb_error *err);
wb_code wbi_walk_saga_timer(const wbi_walk *w, const wbi_work_id *id,
			    const wbi_work *work, wb_error *err);

#endif
