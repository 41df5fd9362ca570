/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts above the store need of it. */
#ifndef WBI_STORE_H
#define WBI_STORE_H

#include <stdatomic.h>
#include <waybill/store.h>

#include "lib/store/table.h"

enum {
	WBI_STORE_FORMAT = 1,
	WBI_ORIGIN_LEN = WB_UUID_TEXT_LEN
};

/*
 * Tables of the store's environment ("waybill." before each name) and of the
 * relay's environment in DIR/relay/.
 *
 *   meta     what the store is: format, service, origins, marks
 *   outbox   the outbox journal, by position
 *   inbox    the inbox journal, by position
 *   consumers, seen, seen_age, work, due, dead, status: lib/journal/inbox_rows.h
 *   sagas, saga_index, saga_log, saga_defs, barriers, saga_expiry:
 *            lib/journal/saga_rows.h
 *   audit    what operators did to dead letters and timers, by number
 *   streams, stream_index, categories, category_index, snapshots:
 *            lib/journal/stream_rows.h
 *
 *   relay.cursor    one row "outbox": see lib/journal
 *   relay.parked    events set aside, by ordering key and position
 *   relay.keys      what is known of each key that has parked events
 *   relay.held      exchanges that are missing, by name
 *   relay.audit     what operators did, by number
 *   relay.status    what the relay last said of itself
 */
typedef struct wbi_store_tables {
	wbi_table meta, outbox, inbox;
	wbi_table consumers, seen, seen_age, work, due, dead, audit, status;
	wbi_table streams, stream_index, categories, category_index, snapshots;
	wbi_table sagas, saga_index, saga_log, saga_defs, barriers, saga_expiry;
} wbi_store_tables;

typedef struct wbi_relay_tables {
	wbi_table cursor, parked, keys, held, audit, status;
} wbi_relay_tables;

/* What `meta` says; set at creation, changed by restore only. */
typedef struct wbi_store_info {
	uint32_t format;
	char service[256];
	char outbox_origin[WBI_ORIGIN_LEN + 1];
	char inbox_origin[WBI_ORIGIN_LEN + 1];
	uint64_t quota_bytes;
	uint32_t quota_soft_pct;
	uint64_t keep_age_s;
	uint64_t keep_bytes;
} wbi_store_info;

/*
 * What an append remembers between calls. Used inside write transactions of
 * the store only: LMDB's writer lock is its lock. `over_soft` may be looked
 * at from anywhere.
 */
typedef struct wbi_store_memo {
	uint64_t relay_txn; /* what follows was read at this commit; 0: never */
	uint64_t floor;     /* prune up to here, 0: nothing */
	uint64_t parked_bytes;
	uint64_t quota_txn;  /* in this transaction, ... */
	uint64_t quota_rest; /* ... the tables that are no journal took this */
	/* Randomness for ids, fetched in one call for many: a system call each
	 * would cost as much as the rest of an append. */
	uint8_t random[1024];
	size_t random_left;
	atomic_bool over_soft;   /* the soft mark's crossing was logged */
	atomic_bool prune_stuck; /* and so was a record that cannot be read */
} wbi_store_memo;

wbi_store_memo *wbi_store_get_memo(wb_store *store);

const wbi_store_info *wbi_store_get_info(const wb_store *store);
const wbi_store_tables *wbi_store_get_tables(const wb_store *store);
const wb_clock *wbi_store_clock(const wb_store *store);
const wb_random *wbi_store_random(const wb_store *store);
const wb_log *wbi_store_log(const wb_store *store);

/*
 * The relay's environment. It is created with the store and opened with it,
 * once per process, since LMDB forbids more: the appender reads the relay's
 * durable cursor there, the relay and the operator's verbs write.
 */
MDB_env *wbi_store_relay_env(wb_store *store);
const wbi_relay_tables *wbi_store_relay_tables(const wb_store *store);

/*
 * Take over the size of a map that another process has enlarged (an error
 * with `foreign` MDB_MAP_RESIZED). Only where no transaction of this process
 * is open on the store, on any thread: the map moves. So for a daemon with one
 * thread; a service closes the store and opens it again. WB_ESTATE for an
 * environment that the host opened: that is the host's to do.
 */
wb_code wbi_store_adopt_map(wb_store *store, wb_error *err);

/* Path of a file in the store's relay directory; into ret, returns ret.
 * PATH_MAX is enough. */
char *wbi_store_relay_path(const wb_store *store, const char *name, char *ret,
			   size_t size);

/* Files that change when the store or the relay's state is committed to: for
 * inotify. Never open() them oneself (lmdb.h, "Caveats"). */
char *wbi_store_data_path(const wb_store *store, char *ret, size_t size);

#endif
