/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LMDB behind a wall: the calls that waybill's parts make on tables, with
 * MDB_* codes mapped here and nowhere else (liblmdb 0.9.24).
 *
 * Keys are either a position (uint64_t; table made with WBI_TABLE_POSITION) or
 * bytes. Values that are handed out point into the map and live until the
 * transaction ends or, in a write transaction, until its next change.
 */
#ifndef WBI_TABLE_H
#define WBI_TABLE_H

#include <waybill/store.h>

typedef unsigned wbi_table; /* an MDB_dbi */

enum wbi_table_kind { WBI_TABLE_BYTES, WBI_TABLE_POSITION };

/* The code that stands for what LMDB returned, and the same as an error:
 * "what: reason". 0 gives WB_OK. */
wb_code wbi_lmdb_code(int rc);
wb_code wbi_lmdb_fail(wb_error *err, int rc, const char *where,
		      const char *format, ...) WB_PRINTF(4, 5);

/* Is `foreign` of an error MDB_MAP_RESIZED? */
bool wbi_lmdb_is_resized(int foreign);

/* Open (or, in a write transaction with `create`, make) a named table. */
wb_code wbi_table_open(MDB_txn *txn, const char *name, enum wbi_table_kind kind,
		       bool create, wbi_table *ret, wb_error *err);

/* Transactions of an environment. A read transaction never waits, a write
 * transaction waits for LMDB's writer lock. If another process has enlarged
 * the map, *err has `foreign` MDB_MAP_RESIZED: see wbi_store_adopt_map(). */
wb_code wbi_txn_begin(MDB_env *env, bool write, MDB_txn **ret, wb_error *err);
wb_code wbi_txn_commit(MDB_txn *txn, wb_error *err);
void wbi_txn_abort(MDB_txn *txn); /* NULL allowed */

/* A write transaction inside another, which must not be used until this one
 * has ended. */
wb_code wbi_txn_nest(MDB_txn *parent, MDB_txn **ret, wb_error *err);
/* False: an error in it, which somebody else may have kept to himself, has
 * spoilt it: it can only be aborted. `table` is any. */
bool wbi_txn_is_sound(MDB_txn *txn, wbi_table table);

/* Give a read transaction's snapshot back, its slot not; take a new one. */
void wbi_txn_reset(MDB_txn *txn);
wb_code wbi_txn_renew(MDB_txn *txn, wb_error *err);

bool wbi_txn_is_of(MDB_txn *txn, MDB_env *env);

/*
 * The id of the last committed transaction: unequal numbers mean that
 * something was committed in between. Needs no transaction. It is ahead of
 * what a new reader sees while a commit waits for the disk, so remember
 * wbi_txn_id() of what was read, never this.
 */
uint64_t wbi_env_last_txn(MDB_env *env);
/* The id of the transaction that a read transaction sees as the last one. */
uint64_t wbi_txn_id(MDB_txn *txn);

/* Get by key. WB_ENOTFOUND leaves *err alone: absence is an answer. */
wb_code wbi_get(MDB_txn *txn, wbi_table table, wb_str key, wb_str *ret,
		wb_error *err);
wb_code wbi_get_at(MDB_txn *txn, wbi_table table, uint64_t position,
		   wb_str *ret, wb_error *err);

/* The last position that the table has; 0: it is empty. */
wb_code wbi_last_at(MDB_txn *txn, wbi_table table, uint64_t *ret,
		    wb_error *err);

wb_code wbi_put(MDB_txn *txn, wbi_table table, wb_str key, wb_str value,
		wb_error *err);
wb_code wbi_put_at(MDB_txn *txn, wbi_table table, uint64_t position,
		   wb_str value, wb_error *err);

/* Only if the key is new: one search of the tree. WB_EEXISTS leaves *err alone
 * and gives what is there. */
wb_code wbi_put_new(MDB_txn *txn, wbi_table table, wb_str key, wb_str value,
		    wb_str *ret_old, wb_error *err);

/* Room for `size` bytes at a position after every other one (MDB_APPEND |
 * MDB_RESERVE): *ret is to be filled before the next call on the txn. */
wb_code wbi_append_at(MDB_txn *txn, wbi_table table, uint64_t position,
		      size_t size, uint8_t **ret, wb_error *err);

/* Room for `size` bytes under a key, replacing what is there (MDB_RESERVE):
 * *ret is to be filled before the next call on the txn. */
wb_code wbi_reserve(MDB_txn *txn, wbi_table table, wb_str key, size_t size,
		    uint8_t **ret, wb_error *err);

/* Delete by key; WB_ENOTFOUND leaves *err alone. */
wb_code wbi_del(MDB_txn *txn, wbi_table table, wb_str key, wb_error *err);
wb_code wbi_del_at(MDB_txn *txn, wbi_table table, uint64_t position,
		   wb_error *err);

/* Bytes that a table occupies in the file: whole pages, O(1). And rows. */
wb_code wbi_table_size(MDB_txn *txn, wbi_table table, uint64_t *ret_bytes,
		       uint64_t *ret_rows, wb_error *err);

/*
 * A cursor lives inside one transaction; close it before the transaction ends.
 * Every move returns WB_ENOTFOUND past the end, leaving *err alone.
 */
typedef struct wbi_cursor wbi_cursor; /* an MDB_cursor */

typedef enum wbi_move {
	WBI_FIRST,
	WBI_LAST,
	WBI_NEXT,
	WBI_PREV,
	WBI_SEEK /* first key >= the one given in *key / *position */
} wbi_move;

wb_code wbi_cursor_open(MDB_txn *txn, wbi_table table, wbi_cursor **ret,
			wb_error *err);
void wbi_cursor_close(wbi_cursor *cursor); /* NULL allowed */
wb_code wbi_cursor_move(wbi_cursor *cursor, wbi_move move, wb_str *key,
			wb_str *ret_value, wb_error *err);
wb_code wbi_cursor_move_at(wbi_cursor *cursor, wbi_move move,
			   uint64_t *position, wb_str *ret_value,
			   wb_error *err);
/* As wbi_append_at(); after WBI_LAST without another search of the tree. */
wb_code wbi_cursor_append(wbi_cursor *cursor, uint64_t position, size_t size,
			  uint8_t **ret, wb_error *err);
/* Delete the entry the cursor stands on; it then stands before the next. */
wb_code wbi_cursor_del(wbi_cursor *cursor, wb_error *err);

#endif
