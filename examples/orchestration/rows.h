/* SPDX-License-Identifier: BSD-2-Clause */
/* A service's own tables, in its waybill store: a line of text per key. What is
 * written here and what waybill writes for the same call are one commit. */
#ifndef ORCHESTRATION_ROWS_H
#define ORCHESTRATION_ROWS_H

#include <waybill/store.h>

enum { ROW_MAX = 400 };

/* *ret is "" if there is none. */
wb_code row_get(MDB_txn *txn, MDB_dbi table, wb_str key, char ret[ROW_MAX],
		wb_error *err);
wb_code row_put(MDB_txn *txn, MDB_dbi table, wb_str key, wb_error *err,
		const char *format, ...) WB_PRINTF(5, 6);
/* All of them, "KEY  ROW" each, to standard output. */
wb_code rows_print(MDB_txn *txn, MDB_dbi table, wb_error *err);

#endif
