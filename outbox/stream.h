/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of streams share. */
#ifndef WBI_STREAM_H
#define WBI_STREAM_H

#include <waybill/stream.h>

#include "lib/journal/stream_rows.h"

/* WB_EINVAL, WB_ELIMIT, saying what is wrong with it. */
wb_code wbi_stream_check_name(wb_str name, wb_error *err);
/* WB_ENOTFOUND: there is no such stream. */
wb_code wbi_stream_unknown(wb_str stream, wb_error *err);

/*
 * The transaction that a call reads in: the caller's, or if that is NULL one
 * of its own, to be ended by wbi_stream_txn_end(). WB_EINVAL: the caller's is
 * of another environment.
 */
typedef struct wbi_stream_txn {
	MDB_txn *txn, *own;
} wbi_stream_txn;

wb_code wbi_stream_txn_begin(wb_store *store, MDB_txn *txn, wbi_stream_txn *ret,
			     wb_error *err);
void wbi_stream_txn_end(wbi_stream_txn *txn);

#endif
