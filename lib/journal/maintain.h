/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking after a store from outside: check it, copy it, bring a copy back.
 * Behind `waybill fsck`, `backup` and `restore`.
 */
#ifndef WBI_MAINTAIN_H
#define WBI_MAINTAIN_H

#include <waybill/store.h>

/* One finding of a check: what is wrong, where, and what to do. */
typedef struct wbi_finding {
	wb_code code;        /* WB_ECORRUPT, WB_EVERSION, ... */
	const char *file;    /* "data.mdb", "relay/data.mdb" */
	const char *table;   /* "outbox", or "" */
	uint64_t position;   /* or 0 */
	const char *text;
} wbi_finding;

typedef struct wbi_check_result {
	uint64_t records, bytes, parked, findings;
	uint64_t first, head, cursor;
	char origin[WB_UUID_TEXT_LEN + 1];
} wbi_check_result;

typedef struct wbi_check_report {
	void (*finding)(void *ctx, const wbi_finding *finding);
	/* Called at most every 100 ms or so; may be NULL. */
	void (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
} wbi_check_report;

/*
 * Read-only check of the store in `dir`: file headers and sizes before
 * anything is mapped, then in a child process (LMDB trusts its pages: a
 * damaged one may crash the reader, and that too is a finding) every record of
 * every table. Safe beside a running service. Not from a process with threads
 * that hold locks: it forks.
 *
 * WB_OK: sound. WB_ECORRUPT, WB_EVERSION: findings were reported. Others: the
 * check could not be made.
 */
wb_code wbi_store_check(const char *dir, const wbi_check_report *report,
			wbi_check_result *ret, wb_error *err);

/*
 * Hot copy of `dir` to the new directory `to` (compacted): first the store,
 * then the relay's state, each a consistent snapshot. Removes `to` again if it
 * fails. `progress` gets bytes; may be NULL.
 */
wb_code wbi_store_backup(const char *dir, const char *to,
			 const wbi_check_report *report, wb_error *err);

/*
 * Make the store `to` from the backup `from`, checked first: new origins for
 * its journals, since positions after the copy may have been used before, and
 * the relay's cursor brought back to the copy's head if it is past it. Events
 * that were delivered after the copy was made are delivered again, with their
 * old ids. WB_EEXISTS if `to` is there.
 */
wb_code wbi_store_restore(const char *from, const char *to,
			  const wbi_check_report *report, wb_error *err);

#endif
