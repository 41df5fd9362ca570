/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables of structs in a service's own store, and amounts of money. A struct is
 * stored as it lies in memory, so zero it before it is filled. */
#ifndef ROWS_H
#define ROWS_H

#include <waybill/store.h>

/* Made if it is not there. */
wb_code rows_open(MDB_txn *txn, const char *table, MDB_dbi *ret, wb_error *err);

/* WB_ENOTFOUND, with *err untouched: there is none. */
wb_code rows_get(MDB_txn *txn, MDB_dbi table, wb_str key, void *row,
		 size_t size, wb_error *err);
wb_code rows_put(MDB_txn *txn, MDB_dbi table, wb_str key, const void *row,
		 size_t size, wb_error *err);

/* Each row whose key begins with `prefix`, in order; `row` lives as long as the
 * call. */
typedef wb_code rows_fn(void *ctx, wb_str key, const void *row, wb_error *err);
wb_code rows_each(MDB_txn *txn, MDB_dbi table, wb_str prefix, size_t size,
		  rows_fn *fn, void *ctx, wb_error *err);

/* Into a field of a struct; what does not fit is cut off. */
void rows_text(char *field, size_t size, wb_str text);

/* Money is in minor units: 100.00 is 10000. Exact, never floating point. */
enum { MONEY_TEXT_MAX = 24 };

/* "12", "12.5" or "12.50"; false: it is no amount above 0, or too large. */
bool money_read(wb_str text, int64_t *ret);
const char *money_text(int64_t minor, char ret[MONEY_TEXT_MAX]);

#endif
