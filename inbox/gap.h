/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Does anything wait under this key? Asked for each event of a handler that has
 * rows that wait, mostly in vain. So a search that finds nothing remembers
 * between which two rows it was: the next key that would be there, too, needs
 * no search of the tree.
 */
#ifndef WBI_GAP_H
#define WBI_GAP_H

#include "lib/journal/inbox_rows.h"

/* Zeroed: nothing is known. Good within one transaction, and only until a row
 * is added in the KEYED lane of that consumer. */
typedef struct wbi_gap {
	bool known;
	bool first, last; /* no row before it, or none behind it */
	wbi_row_key after, before;
} wbi_gap;

/* As wbi_work_has_group(), of an id in the KEYED lane. */
wb_code wbi_gap_has_group(MDB_txn *txn, const wbi_store_tables *tables,
			  const wbi_work_id *id, wbi_gap *gap, bool *ret,
			  wb_error *err);

#endif
