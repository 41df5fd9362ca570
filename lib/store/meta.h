/* SPDX-License-Identifier: BSD-2-Clause */
/* The row that says what a store is, and the tables around it. */
#ifndef WBI_META_H
#define WBI_META_H

#include "lib/store/store.h"

enum { WBI_RELAY_TABLES = 6 };

/* What a new store is to be; every default filled in, checked. WB_EINVAL
 * names the option. */
wb_code wbi_meta_new(const wb_store_options *options, wbi_store_info *ret,
		     wb_error *err);

/* WB_ENOTFOUND (err untouched): no such row. */
wb_code wbi_meta_read(MDB_txn *txn, wbi_table meta, wbi_store_info *ret,
		      wb_error *err);
wb_code wbi_meta_write(MDB_txn *txn, wbi_table meta, const wbi_store_info *info,
		       wb_error *err);

/* Any row of the table, for fsck. */
wb_code wbi_meta_check(wb_str row_key, wb_str row, wb_error *err);

/* Only the table with that row: is there a store at all? */
wb_code wbi_meta_open_table(MDB_txn *txn, wbi_table *ret, wb_error *err);

/* How many of the store's tables there are: older stores have the first ones
 * only. New ones go to the end. */
enum {
	WBI_TABLES_JOURNALS = 3,
	WBI_TABLES_INBOX = 11,
	WBI_TABLES_STREAMS = 16,
	WBI_TABLES_ALL = 22
};

/*
 * A store that an older waybill made has the first tables of the list only; a
 * row says how many. WB_ENOTFOUND: the others must be made, in a write
 * transaction with `create`. WB_ECORRUPT: one that should be there is
 * not.
 */
wb_code wbi_meta_open_tables(MDB_txn *txn, bool create, wbi_store_tables *ret,
			     wb_error *err);
/* As many as there are; makes nothing. */
wb_code wbi_meta_open_present(MDB_txn *txn, wbi_store_tables *ret,
			      uint32_t *ret_count, wb_error *err);
wb_code wbi_meta_open_relay_tables(MDB_txn *txn, bool create,
				   wbi_relay_tables *ret, wb_error *err);

#endif
