/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A store: one directory, one LMDB environment, one shard of a service. It
 * holds the service's own tables, the outbox journal and, beside it in
 * DIR/relay/, the relay's state.
 *
 * This is the one public header that includes <lmdb.h>: waybill writes inside
 * the caller's own transaction, and the caller's tables are plain LMDB.
 *
 * LMDB's rules are the caller's too: one environment handle per process, none
 * across fork(), one write transaction at a time per thread, keys of at most
 * 511 bytes (liblmdb, lmdb.h, "Caveats").
 */
#ifndef WAYBILL_STORE_H
#define WAYBILL_STORE_H

#include <lmdb.h>
#include <waybill/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wb_store wb_store;

/* Zero in any field means the default. Strings are copied. */
typedef struct wb_store_options {
	size_t size;
	/* Used when the store is created, and stored in it: */
	const char *service;     /* name of the service; 1..255 bytes */
	uint64_t map_bytes;      /* 32 GiB; sparse, a bound and no allocation */
	uint64_t quota_bytes;    /* hard mark of waybill's data; 16 GiB, or
				    half the map if that is less */
	uint32_t quota_soft_pct; /* soft mark, in percent of it; 80 */
	uint64_t keep_age_s;     /* keep delivered events this long; 0: no */
	uint64_t keep_bytes;     /* keep this much of them; 0: nothing;
				    UINT64_MAX: keep all, for ever */
	/* Used at each open: */
	uint32_t max_readers;    /* 126 */
	uint32_t max_dbs;        /* tables the service opens itself; 32 */
	const wb_clock *clock;
	const wb_random *random;
	const wb_log *log;
} wb_store_options;

#define WB_STORE_OPTIONS_INIT WB_SIZED_INIT(wb_store_options)

/*
 * Create the directory `dir` (mode 0700) and an empty store in it. `service`
 * is required. WB_EEXISTS: there is a store already. WB_EINVAL, WB_EACCESS,
 * WB_ENOSPC, WB_EIO.
 */
WB_API wb_code wb_store_create(const char *dir,
			       const wb_store_options *options, wb_error *err);

/*
 * Open the store in `dir`. The map size is the one stored. `options` may be
 * NULL; *ret is freed by wb_store_close().
 *
 * WB_ENOTFOUND: no store there. WB_EACCESS: another owner, a symlink, a mode
 * that lets others in, or a network file system. WB_EVERSION: written by a
 * newer waybill. WB_ECORRUPT: not a store, or damaged: run `waybill fsck`.
 */
WB_API wb_code wb_store_open(const char *dir, const wb_store_options *options,
			     wb_store **ret, wb_error *err);

/*
 * Use an environment that the host service has opened itself. waybill's
 * tables are named "waybill.*"; they are created if they are missing, in a
 * transaction of this call, so the calling thread must have none open. The
 * environment must stay open until after wb_store_close().
 *
 * WB_EINVAL, with the cure, if it was opened with MDB_RDONLY, MDB_WRITEMAP,
 * MDB_NOSYNC, MDB_NOMETASYNC, MDB_MAPASYNC, MDB_NOLOCK or MDB_NOSUBDIR,
 * without MDB_NOTLS, or if mdb_env_set_maxdbs() leaves too few tables
 * (WB_STORE_TABLES are needed).
 */
WB_API wb_code wb_store_attach(MDB_env *env, const wb_store_options *options,
			       wb_store **ret, wb_error *err);

enum { WB_STORE_TABLES = 24 };

/* NULL is allowed. No transaction may be open. */
WB_API void wb_store_close(wb_store *store);

/* The environment; borrowed, lives as long as the store. */
WB_API MDB_env *wb_store_env(wb_store *store);
/* The directory and the service's name; borrowed, live as long as it. */
WB_API const char *wb_store_dir(const wb_store *store);
WB_API const char *wb_store_service(const wb_store *store);

/*
 * A write transaction on the store, for services without an environment of
 * their own. Waits for LMDB's writer lock. Short is polite: about 1 ms of
 * work, then commit. Commit and abort both end it, whatever they return.
 * WB_ENOSPC and WB_EMAPFULL at commit: nothing was written; try again later.
 */
WB_API wb_code wb_store_begin(wb_store *store, MDB_txn **ret, wb_error *err);
WB_API wb_code wb_store_commit(wb_store *store, MDB_txn *txn, wb_error *err);
WB_API void wb_store_abort(MDB_txn *txn);

/*
 * What LMDB returned (0, MDB_* or an errno) as an error: "what: reason". For
 * code that writes its own tables; MDB_SUCCESS gives WB_OK.
 */
WB_API wb_code wb_store_error(int rc, wb_error *err, const char *what);

/*
 * Housekeeping: clear the reader slots of dead processes. Called at open and
 * by the relay once a minute; a service without a relay may call it itself.
 */
WB_API wb_code wb_store_check_readers(wb_store *store, int *ret_cleared,
				      wb_error *err);

#ifdef __cplusplus
}
#endif
#endif
