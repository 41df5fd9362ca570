/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A store: two LMDB environments, DIR with the journals (and the service's own
 * tables) and DIR/relay with the relay's state. All of a store's tables and
 * the row that says what it is are made in one transaction of DIR, so a crash
 * while creating leaves either a store or a directory in which it is created
 * anew; DIR/relay is made by whoever finds it missing.
 *
 * The struct is written while opening only, so a store may be used by any
 * number of threads; what changes later (the memo) says how. It owns the
 * relay's environment, its lock and, unless attached, the store's environment.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/store/env.h"
#include "lib/store/meta.h"
#include "lib/store/place.h"

#define STORE_MAP_DEFAULT (UINT64_C(32) << 30)
#define STORE_RELAY_MAP (UINT64_C(8) << 30)
enum {
	STORE_READERS_DEFAULT = 126, /* LMDB's own */
	STORE_DBS_DEFAULT = 32,
	STORE_DBS_MAX = 4096 /* LMDB looks through them one by one */
};

struct wb_store {
	MDB_env *env;
	MDB_env *relay_env;
	bool attached; /* env is the host's */
	int lock_fd;
	char dir[PATH_MAX];
	wbi_store_info info;
	wbi_store_tables tables;
	wbi_relay_tables relay_tables;
	wbi_store_memo memo;
	const wb_clock *clock;
	const wb_random *random;
	const wb_log *log;
};

/* ---- options ------------------------------------------------------------ */

static wb_code store_options(const wb_store_options *options,
			     wb_store_options *ret, wb_error *err)
{
	wb_store_options o = WB_STORE_OPTIONS_INIT;

	if (options) {
		if (options->size < sizeof(options->size) ||
		    options->size > sizeof(o))
			return WBI_FAIL(err, WB_EINVAL,
					"options: size %zu: start from "
					"WB_STORE_OPTIONS_INIT, and not from a "
					"newer waybill's",
					options->size);
		memcpy(&o, options, options->size);
	}
	if (!o.max_dbs)
		o.max_dbs = STORE_DBS_DEFAULT;
	if (o.max_dbs > STORE_DBS_MAX)
		return WBI_FAIL(err, WB_EINVAL, "max_dbs: %u is more than %d",
				o.max_dbs, STORE_DBS_MAX);
	if (!o.max_readers)
		o.max_readers = STORE_READERS_DEFAULT;
	if (!o.map_bytes)
		o.map_bytes = STORE_MAP_DEFAULT;
	if (!o.clock)
		o.clock = wb_system_clock();
	if (!o.random)
		o.random = wb_system_random();
	*ret = o;
	return WB_OK;
}

static wb_code store_new(const wb_store_options *options, wb_store **ret,
			 wb_error *err)
{
	wb_store *store = calloc(1, sizeof(*store));

	if (!store)
		return WBI_FAIL(err, WB_ENOMEM, "open a store");
	store->lock_fd = -1;
	store->clock = options->clock;
	store->random = options->random;
	store->log = options->log;
	*ret = store;
	return WB_OK;
}

/* ---- environments ------------------------------------------------------- */

/* Open DIR/relay, making it where it is missing. Two processes may do this at
 * once: LMDB's writer lock puts them in order. */
static wb_code store_open_relay(wb_store *store, unsigned max_readers,
				wb_error *err)
{
	wbi_env_options o = {.max_dbs = WBI_RELAY_TABLES,
			       .max_readers = max_readers};
	char dir[PATH_MAX];
	MDB_txn *txn = NULL;
	bool exists;
	wb_code code;

	wbi_store_relay_path(store, "", dir, sizeof(dir));
	code = wbi_env_check_files(dir, &exists, err);
	if (code != WB_OK)
		return code;
	if (!exists)
		o.map_bytes = STORE_RELAY_MAP;
	code = wbi_env_open(dir, &o, &store->relay_env, err);
	if (code == WB_OK)
		code = wbi_txn_begin(store->relay_env, false, &txn, err);
	if (code != WB_OK)
		return code;
	code = wbi_meta_open_relay_tables(txn, false, &store->relay_tables,
					  NULL);
	if (code == WB_OK)
		return wbi_txn_commit(txn, err);
	wbi_txn_abort(txn);
	code = wbi_txn_begin(store->relay_env, true, &txn, err);
	if (code != WB_OK)
		return code;
	code = wbi_meta_open_relay_tables(txn, true, &store->relay_tables, err);
	if (code != WB_OK) {
		wbi_txn_abort(txn);
		return code;
	}
	return wbi_txn_commit(txn, err);
}

/* DIR/relay is there, closed to others, and not open in this process. */
static wb_code store_lock(wb_store *store, wb_error *err)
{
	char path[PATH_MAX];
	bool made;
	wb_code code;

	wbi_store_relay_path(store, "", path, sizeof(path));
	code = wbi_place_make_dir(path, &made, err);
	if (code == WB_OK && made)
		code = wbi_place_sync_dir(store->dir, err);
	if (code == WB_OK)
		code = wbi_place_check_dir(path, NULL, err);
	if (code != WB_OK)
		return code;
	wbi_store_relay_path(store, "open.lock", path, sizeof(path));
	return wbi_place_lock(path, &store->lock_fd, err);
}

/* The directory as an absolute path, so that a service may change its own; a
 * symbolic link as its last part is not followed. */
static wb_code store_set_dir(wb_store *store, const char *dir, wb_error *err)
{
	size_t len = strlen(dir);
	char plain[PATH_MAX];

	while (len > 1 && dir[len - 1] == '/')
		len--;
	/* Room for "/relay/" and a name. */
	if (len == 0 || len + 32 > sizeof(plain))
		return WBI_FAIL(err, WB_EINVAL,
				"the store's path is empty or over %zu bytes",
				sizeof(plain) - 32);
	memcpy(plain, dir, len);
	plain[len] = '\0';
	/* Symbolic links are looked for by those who own the directory. */
	if (!store->attached) {
		wb_code code = wbi_place_check_dir(plain, store->log, err);

		if (code != WB_OK)
			return code;
	}
	if (!realpath(plain, store->dir))
		return wbi_fail_errno(err, errno, __func__, "\"%s\"", plain);
	if (strlen(store->dir) + 32 > sizeof(store->dir))
		return WBI_FAIL(err, WB_EINVAL, "the store's path is too long");
	return WB_OK;
}

/* ---- what the store is -------------------------------------------------- */

static wb_code store_check_service(const wb_store *store,
				   const wb_store_options *o, wb_error *err)
{
	if (!o->service || !strcmp(o->service, store->info.service))
		return WB_OK;
	return WBI_FAIL(err, WB_EMISMATCH,
			"the store \"%s\" belongs to service \"%s\", not to "
			"\"%.255s\"",
			store->dir, store->info.service, o->service);
}

/* WB_ENOTFOUND (err untouched): a table or the row is not there. */
static wb_code store_read(wb_store *store, wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	MDB_txn *txn;
	wb_code code;

	code = wbi_txn_begin(store->env, false, &txn, err);
	if (code != WB_OK)
		return code;
	code = wbi_meta_open_tables(txn, false, &store->tables, &cause);
	if (code == WB_OK)
		code = wbi_meta_read(txn, store->tables.meta, &store->info,
				     &cause);
	if (code == WB_OK)
		return wbi_txn_commit(txn, err); /* keeps the table handles */
	wbi_txn_abort(txn);
	if (code != WB_ENOTFOUND)
		wbi_error_pass(err, &cause);
	return code;
}

/* Make the tables that a store of an older waybill lacks. WB_ENOTFOUND (err
 * untouched): there is no store to begin with. */
static wb_code store_complete(wb_store *store, wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	wbi_table meta;
	MDB_txn *txn;
	wb_code code;

	code = wbi_txn_begin(store->env, true, &txn, err);
	if (code != WB_OK)
		return code;
	code = wbi_meta_open_table(txn, &meta, &cause);
	if (code == WB_OK)
		code = wbi_meta_open_tables(txn, true, &store->tables, &cause);
	if (code == WB_OK)
		return wbi_txn_commit(txn, err);
	wbi_txn_abort(txn);
	if (code != WB_ENOTFOUND)
		wbi_error_pass(err, &cause);
	return code;
}

/* Read what the store is. WB_ENOTFOUND (err untouched): no store here. */
static wb_code store_load(wb_store *store, wb_error *err)
{
	wb_code code = store_read(store, err);

	if (code != WB_ENOTFOUND)
		return code;
	code = store_complete(store, err);
	return code == WB_OK ? store_read(store, err) : code;
}

/* Make the tables and say what the store is; WB_EEXISTS if somebody did. */
static wb_code store_init(wb_store *store, const wb_store_options *o,
			  wb_error *err)
{
	wbi_store_info old;
	MDB_txn *txn;
	wb_code code;

	code = wbi_meta_new(o, &store->info, err);
	if (code == WB_OK)
		code = wbi_txn_begin(store->env, true, &txn, err);
	if (code != WB_OK)
		return code;
	code = wbi_meta_open_tables(txn, true, &store->tables, err);
	if (code == WB_OK) {
		code = wbi_meta_read(txn, store->tables.meta, &old, err);
		if (code == WB_OK)
			code = WB_EEXISTS;
		else if (code == WB_ENOTFOUND)
			code = wbi_meta_write(txn, store->tables.meta,
					      &store->info, err);
	}
	if (code == WB_OK)
		return wbi_txn_commit(txn, err);
	wbi_txn_abort(txn);
	return code;
}

/* ---- create, open, attach, close ---------------------------------------- */

/* A file from an interrupted creation has no tables at all. */
static wb_code store_check_empty(wb_store *store, wb_error *err)
{
	MDB_stat stat;
	int rc = mdb_env_stat(store->env, &stat);

	if (rc != MDB_SUCCESS)
		return wbi_lmdb_fail(err, rc, __func__, "\"%s\"", store->dir);
	if (stat.ms_entries > 0)
		return WBI_FAIL(err, WB_EEXISTS,
				"\"%s\" holds an LMDB environment already",
				store->dir);
	return WB_OK;
}

static wb_code store_build(wb_store *store, const wb_store_options *o,
			   wb_error *err)
{
	wbi_env_options eo = {.map_bytes = o->map_bytes,
				.max_dbs = WB_STORE_TABLES + o->max_dbs,
				.max_readers = o->max_readers};
	bool exists;
	wb_code code;

	code = wbi_env_check_files(store->dir, &exists, err);
	if (code == WB_OK)
		code = store_lock(store, err);
	if (code == WB_OK)
		code = wbi_env_open(store->dir, &eo, &store->env, err);
	if (code == WB_OK)
		code = store_check_empty(store, err);
	if (code == WB_OK)
		code = store_open_relay(store, o->max_readers, err);
	if (code == WB_OK)
		code = store_init(store, o, err);
	if (code == WB_OK)
		code = wbi_place_sync_dir(store->dir, err);
	return code;
}

/* LMDB's very first write can be torn: its two pages leave in one. */
static void store_say_interrupted(const char *dir, wb_error *err)
{
	const wb_error cause = *err;

	*err = (wb_error)WB_ERROR_INIT;
	WBI_FAIL_FOREIGN(err, cause.code, cause.foreign,
			 "%.300s; if an interrupted creation has left it, "
			 "remove \"%s\" and create it again",
			 cause.text, dir);
}

wb_code wb_store_create(const char *dir, const wb_store_options *options,
			wb_error *err)
{
	wb_store_options o;
	wbi_store_info unused;
	wb_store *store = NULL;
	bool made = false;
	wb_code code;

	if (!dir)
		return WBI_FAIL(err, WB_EINVAL, "dir: NULL");
	code = store_options(options, &o, err);
	if (code == WB_OK)
		code = wbi_meta_new(&o, &unused, err);
	if (code == WB_OK)
		code = store_new(&o, &store, err);
	if (code != WB_OK)
		return code;
	code = wbi_place_make_dir(dir, &made, err);
	if (code == WB_OK)
		code = store_set_dir(store, dir, err);
	if (code == WB_OK)
		code = store_build(store, &o, err);
	if (code == WB_OK && made)
		code = wbi_place_sync_parent(store->dir, err);
	if (code == WB_EEXISTS || code == WB_EBUSY)
		code = WBI_FAIL(err, WB_EEXISTS, "\"%s\" is a store already",
				dir);
	if (code == WB_ECORRUPT && err && err->code == code)
		store_say_interrupted(dir, err);
	wb_store_close(store);
	return code;
}

static wb_code store_open(wb_store *store, const wb_store_options *o,
			  wb_error *err)
{
	wbi_env_options eo = {.max_dbs = WB_STORE_TABLES + o->max_dbs,
				.max_readers = o->max_readers};
	bool exists;
	wb_code code;

	code = wbi_env_check_files(store->dir, &exists, err);
	if (code == WB_OK && !exists)
		code = WBI_FAIL(err, WB_ENOTFOUND,
				"no store in \"%s\": make one with waybill "
				"init",
				store->dir);
	if (code == WB_OK)
		code = store_lock(store, err);
	if (code == WB_OK)
		code = wbi_env_open_checked(store->dir, &eo, &store->env,
					      err);
	if (code == WB_OK) {
		code = store_load(store, err);
		if (code == WB_ENOTFOUND)
			code = WBI_FAIL(err, WB_ECORRUPT,
					"\"%s\" holds no waybill store",
					store->dir);
	}
	if (code == WB_OK)
		code = store_check_service(store, o, err);
	if (code == WB_OK)
		code = store_open_relay(store, o->max_readers, err);
	return code;
}

/* Hand out a store that is open, or take down one that is not. */
static wb_code store_finish(wb_store *store, wb_code code, wb_store **ret,
			    wb_error *err)
{
	int cleared;

	if (code == WB_OK)
		code = wb_store_check_readers(store, &cleared, err);
	if (code != WB_OK) {
		wb_store_close(store);
		return code;
	}
	*ret = store;
	return WB_OK;
}

wb_code wb_store_open(const char *dir, const wb_store_options *options,
		      wb_store **ret, wb_error *err)
{
	wb_store_options o;
	wb_store *store = NULL;
	wb_code code;

	if (!dir || !ret)
		return WBI_FAIL(err, WB_EINVAL, "dir, ret: NULL");
	code = store_options(options, &o, err);
	if (code == WB_OK)
		code = store_new(&o, &store, err);
	if (code != WB_OK)
		return code;
	code = store_set_dir(store, dir, err);
	if (code == WB_OK)
		code = store_open(store, &o, err);
	return store_finish(store, code, ret, err);
}

static wb_code store_check_flags(MDB_env *env, wb_error *err)
{
	static const struct {
		unsigned flag;
		const char *text;
	} refused[] = {
		{MDB_RDONLY, "MDB_RDONLY: an outbox writes"},
		{MDB_WRITEMAP, "MDB_WRITEMAP: a full disk is then SIGBUS, and "
			       "no commit wakes the relay"},
		{MDB_NOSYNC, "MDB_NOSYNC: a crash loses committed events"},
		{MDB_NOMETASYNC, "MDB_NOMETASYNC: a crash loses committed "
				 "events"},
		{MDB_MAPASYNC, "MDB_MAPASYNC: a crash loses committed events"},
		{MDB_NOLOCK, "MDB_NOLOCK: the relay is a second user"},
		{MDB_NOSUBDIR, "MDB_NOSUBDIR: the relay's state goes into the "
			       "environment's directory"},
	};
	unsigned flags;
	int rc = mdb_env_get_flags(env, &flags);

	if (rc != MDB_SUCCESS)
		return wbi_lmdb_fail(err, rc, __func__, "the environment");
	for (size_t i = 0; i < WBI_COUNT(refused); i++)
		if (flags & refused[i].flag)
			return WBI_FAIL(err, WB_EINVAL,
					"the environment was opened with %s: "
					"open it without",
					refused[i].text);
	if (!(flags & MDB_NOTLS))
		return WBI_FAIL(err, WB_EINVAL,
				"the environment was opened without MDB_NOTLS: "
				"open it with, since waybill reads on threads "
				"that may be reading");
	return WB_OK;
}

static wb_code store_attach(wb_store *store, const wb_store_options *o,
			    wb_error *err)
{
	wb_store_options with_map = *o;
	MDB_envinfo env_info;
	const char *path = NULL;
	wb_code code = store_check_flags(store->env, err);

	if (code != WB_OK)
		return code;
	if (mdb_env_get_path(store->env, &path) != MDB_SUCCESS || !path)
		return WBI_FAIL(err, WB_EINVAL,
				"the environment has not been opened");
	if (mdb_env_info(store->env, &env_info) != MDB_SUCCESS)
		return WBI_FAIL(err, WB_EINVAL,
				"the environment has not been opened");
	with_map.map_bytes = env_info.me_mapsize;
	o = &with_map;
	code = store_set_dir(store, path, err);
	if (code == WB_OK)
		code = wbi_place_check_fs(store->dir, store->log, err);
	if (code == WB_OK)
		code = store_lock(store, err);
	if (code != WB_OK)
		return code;
	code = store_load(store, err);
	if (code == WB_ENOTFOUND) {
		code = store_init(store, o, err);
		if (code == WB_EEXISTS)
			code = store_load(store, err);
	}
	if (code == WB_OK)
		code = store_check_service(store, o, err);
	if (code == WB_OK)
		code = store_open_relay(store, o->max_readers, err);
	return code;
}

wb_code wb_store_attach(MDB_env *env, const wb_store_options *options,
			wb_store **ret, wb_error *err)
{
	wb_store_options o;
	wb_store *store = NULL;
	wb_code code;

	if (!env || !ret)
		return WBI_FAIL(err, WB_EINVAL, "env, ret: NULL");
	code = store_options(options, &o, err);
	if (code == WB_OK)
		code = store_new(&o, &store, err);
	if (code != WB_OK)
		return code;
	store->env = env;
	store->attached = true;
	return store_finish(store, store_attach(store, &o, err), ret, err);
}

void wb_store_close(wb_store *store)
{
	if (!store)
		return;
	if (store->relay_env)
		mdb_env_close(store->relay_env);
	if (store->env && !store->attached)
		mdb_env_close(store->env);
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	free(store);
}

/* ---- use ---------------------------------------------------------------- */

wb_code wb_store_begin(wb_store *store, MDB_txn **ret, wb_error *err)
{
	if (!store || !ret)
		return WBI_FAIL(err, WB_EINVAL, "store, ret: NULL");
	return wbi_txn_begin(store->env, true, ret, err);
}

wb_code wb_store_commit(wb_store *store, MDB_txn *txn, wb_error *err)
{
	if (!store || !txn)
		return WBI_FAIL(err, WB_EINVAL, "store, txn: NULL");
	return wbi_txn_commit(txn, err);
}

void wb_store_abort(MDB_txn *txn)
{
	wbi_txn_abort(txn);
}

wb_code wb_store_error(int rc, wb_error *err, const char *what)
{
	return wbi_lmdb_fail(err, rc, __func__, "%s", what ? what : "lmdb");
}

wb_code wb_store_check_readers(wb_store *store, int *ret_cleared, wb_error *err)
{
	int dead = 0, relay_dead = 0;
	int rc;

	if (!store)
		return WBI_FAIL(err, WB_EINVAL, "store: NULL");
	rc = mdb_reader_check(store->env, &dead);
	if (rc == MDB_SUCCESS)
		rc = mdb_reader_check(store->relay_env, &relay_dead);
	if (rc != MDB_SUCCESS)
		return wbi_lmdb_fail(err, rc, __func__, "\"%s\"", store->dir);
	if (dead + relay_dead > 0)
		wbi_log(store->log, WB_LOG_INFO,
			"store %s: cleared %d readers of dead processes",
			store->dir, dead + relay_dead);
	if (ret_cleared)
		*ret_cleared = dead + relay_dead;
	return WB_OK;
}

wb_code wbi_store_adopt_map(wb_store *store, wb_error *err)
{
	int rc;

	if (store->attached)
		return WBI_FAIL(err, WB_ESTATE,
				"the environment is the host's: it calls "
				"mdb_env_set_mapsize(env, 0)");
	rc = mdb_env_set_mapsize(store->env, 0);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_set_mapsize(store->relay_env, 0);
	return wbi_lmdb_fail(err, rc, __func__, "take over the map's size");
}

MDB_env *wb_store_env(wb_store *store)
{
	return store->env;
}

const char *wb_store_dir(const wb_store *store)
{
	return store->dir;
}

const char *wb_store_service(const wb_store *store)
{
	return store->info.service;
}

const wbi_store_info *wbi_store_get_info(const wb_store *store)
{
	return &store->info;
}

const wbi_store_tables *wbi_store_get_tables(const wb_store *store)
{
	return &store->tables;
}

wbi_store_memo *wbi_store_get_memo(wb_store *store)
{
	return &store->memo;
}

const wb_clock *wbi_store_clock(const wb_store *store)
{
	return store->clock;
}

const wb_random *wbi_store_random(const wb_store *store)
{
	return store->random;
}

const wb_log *wbi_store_log(const wb_store *store)
{
	return store->log;
}

MDB_env *wbi_store_relay_env(wb_store *store)
{
	return store->relay_env;
}

const wbi_relay_tables *wbi_store_relay_tables(const wb_store *store)
{
	return &store->relay_tables;
}

char *wbi_store_relay_path(const wb_store *store, const char *name, char *ret,
			   size_t size)
{
	int n = snprintf(ret, size, "%s/relay%s%s", store->dir,
			 *name ? "/" : "", name);

	WB_ASSERT(n > 0 && (size_t)n < size);
	return ret;
}

char *wbi_store_data_path(const wb_store *store, char *ret, size_t size)
{
	int n = snprintf(ret, size, "%s/data.mdb", store->dir);

	WB_ASSERT(n > 0 && (size_t)n < size);
	return ret;
}
