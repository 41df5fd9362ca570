/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pages of an LMDB 0.9 data file, read with pread(2) and believed in
 * nothing: what LMDB itself never checks. Mapping a file that passed cannot
 * lead LMDB outside of it.
 */
#ifndef WBI_PAGES_H
#define WBI_PAGES_H

#include <waybill/store.h>

/* What the two meta pages say, after they were compared. */
typedef struct wbi_pages_header {
	uint32_t page_bytes;
	uint64_t txn;       /* of the newer one */
	uint64_t last_page; /* in use by it */
	uint64_t map_bytes;
	uint64_t file_bytes;
} wbi_pages_header;

/*
 * Is `path` an LMDB data file whose meta pages agree with each other? WB_OK,
 * WB_ECORRUPT, WB_EVERSION; WB_ENOTFOUND, WB_EACCESS, WB_EIO. A file shorter
 * than last_page says is not refused here: LMDB does not write a free last
 * page. Tries again while a live writer is changing the pages.
 */
wb_code wbi_pages_header_read(const char *path, wbi_pages_header *ret,
			      wb_error *err);

typedef struct wbi_pages_tick {
	void (*call)(void *ctx); /* now and then; NULL: never */
	void *ctx;
} wbi_pages_tick;

typedef struct wbi_pages_result {
	uint64_t used, free, total; /* pages */
} wbi_pages_result;

/*
 * Walk every page that the read transaction `txn` can reach, and the list of
 * free ones: each is inside the file, is what its parent says, and belongs to
 * one owner; its rows fill it from the end on, and have only the flags that
 * they can have there; the number of rows and pages of each table is what it
 * says.
 * Memory: one bit per page, and 32 pages. WB_ECORRUPT names the page.
 */
wb_code wbi_pages_check(const char *path, MDB_txn *txn,
			const wbi_pages_tick *tick, wbi_pages_result *ret,
			wb_error *err);

#endif
