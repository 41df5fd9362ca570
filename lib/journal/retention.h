/* SPDX-License-Identifier: BSD-2-Clause */
/* What an append may add and what it removes: quota and retention. */
#ifndef WBI_RETENTION_H
#define WBI_RETENTION_H

#include "lib/journal/journal.h"

/* Bring the store's memo up to the relay's last commit. Inside a write
 * transaction of the store, since that is the memo's lock. */
wb_code wbi_retention_refresh(const wbi_journal *journal, wb_error *err);

/* What the relay has committed: prune the outbox up to *ret_floor, 0: nothing;
 * bytes of parked events. */
wb_code wbi_retention_read(const wbi_journal *journal, uint64_t *ret_floor,
			   uint64_t *ret_parked, wb_error *err);

/*
 * WB_EQUOTA, saying why and what helps, if `bytes` more would pass the hard
 * mark; one line of log at each crossing of the soft one. Records are removed
 * by appends only, so at the hard mark it first removes a batch of those whose
 * retention has passed, of both journals: else a full store would stay full when all of it is
 * delivered. *ret_pruned: it did, and cursors on the table are to be reopened.
 */
wb_code wbi_retention_admit(const wbi_journal *journal, MDB_txn *txn,
			    uint64_t bytes, bool *ret_pruned, wb_error *err);

/* Remove at most 2 * `appended` of the oldest records, those whose retention
 * has passed; `head` is as before the append. */
wb_code wbi_retention_prune(const wbi_journal *journal, MDB_txn *txn,
			    uint64_t head, size_t appended, wb_error *err);

#endif
