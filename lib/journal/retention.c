/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Quota and retention. Both need to know what the relay has committed; that is
 * read when the relay's environment has a new commit and remembered in the
 * store's memo, so most appends pay one look at a number in the map.
 *
 * Pruning takes the oldest records, two per appended event at most, so no
 * append stalls: only of the outbox, only up to the relay's floor, never the
 * record at the relay's cursor (by its id the relay knows that the journal is
 * still the same) and never the last one. Inside the caller's transaction: a
 * crash undoes it with the append.
 */
#include "lib/journal/retention.h"

#include <inttypes.h>
#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/event/record.h"

enum {
	PRUNE_PER_EVENT = 2,
	PRUNE_AT_HARD = 256 /* as if for so many events */
};

/* What may be pruned by what the relay says: 0 for nothing. */
static uint64_t retention_floor(const wbi_journal *journal,
				const wbi_relay_cursor *cursor)
{
	/* A cursor of another history says nothing of this journal. */
	if (strcmp(cursor->origin, journal->origin) || cursor->position == 0)
		return 0;
	return cursor->floor < cursor->position ? cursor->floor
						: cursor->position - 1;
}

static wb_code retention_read(const wbi_journal *journal, uint64_t *ret_floor,
			      uint64_t *ret_parked, wb_error *err)
{
	wb_store *store = journal->store;
	wbi_journal outbox = wbi_journal_of(store, WBI_OUTBOX);
	uint64_t floor = 0, parked, rows;
	wbi_relay_cursor cursor;
	MDB_txn *txn;
	wb_code code;

	code = wbi_txn_begin(wbi_store_relay_env(store), false, &txn, err);
	if (code != WB_OK)
		return code;
	code = wbi_table_size(txn, wbi_store_relay_tables(store)->parked,
			      &parked, &rows, err);
	if (code == WB_OK) {
		code = wbi_relay_cursor_read(store, txn, &cursor, NULL);
		/* None, or none that can be read: nothing is pruned, the relay
		 * says why, appends go on. */
		if (code == WB_OK)
			floor = retention_floor(&outbox, &cursor);
		code = WB_OK;
	}
	wbi_txn_abort(txn);
	if (code != WB_OK)
		return code;
	*ret_floor = floor;
	*ret_parked = parked;
	return WB_OK;
}

wb_code wbi_retention_refresh(const wbi_journal *journal, wb_error *err)
{
	wbi_store_memo *memo = wbi_store_get_memo(journal->store);
	/* Before reading: a commit in between is then read again. */
	uint64_t now = wbi_env_last_txn(wbi_store_relay_env(journal->store));
	wb_code code;

	if (memo->relay_txn == now && now != 0)
		return WB_OK;
	code = retention_read(journal, &memo->floor, &memo->parked_bytes, err);
	if (code == WB_OK)
		memo->relay_txn = now;
	return code;
}

static wb_code retention_quota(const wbi_journal *journal, MDB_txn *txn,
			       uint64_t parked, wbi_quota *ret, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(journal->store);
	const wbi_store_info *info = wbi_store_get_info(journal->store);
	uint64_t outbox, inbox, rows;
	wb_code code;

	code = wbi_table_size(txn, tables->outbox, &outbox, &rows, err);
	if (code == WB_OK)
		code = wbi_table_size(txn, tables->inbox, &inbox, &rows, err);
	if (code != WB_OK)
		return code;
	ret->used_bytes = outbox + inbox + parked;
	ret->hard_bytes = info->quota_bytes;
	/* In this order there is no overflow; 99 bytes are lost. */
	ret->soft_bytes = info->quota_bytes / 100 * info->quota_soft_pct;
	return WB_OK;
}

wb_code wbi_journal_quota(const wbi_journal *journal, MDB_txn *txn,
			  wbi_quota *ret, wb_error *err)
{
	uint64_t floor, parked;
	wb_code code = retention_read(journal, &floor, &parked, err);

	if (code != WB_OK)
		return code;
	return retention_quota(journal, txn, parked, ret, err);
}

static wb_code retention_refuse(const wbi_journal *journal,
				const wbi_quota *quota, uint64_t bytes,
				uint64_t head, wb_error *err)
{
	const wbi_store_memo *memo = wbi_store_get_memo(journal->store);
	char why[128];

	if (memo->parked_bytes > quota->hard_bytes / 2)
		snprintf(why, sizeof(why), "%" PRIu64 " of them are parked "
					   "events: retry or discard them",
			 memo->parked_bytes);
	else if (memo->floor == 0)
		snprintf(why, sizeof(why),
			 "no relay has settled an event: start one");
	else
		snprintf(why, sizeof(why), "the relay has settled up to %" PRIu64
					   " of %" PRIu64 ": see that it runs",
			 memo->floor, head);
	return WBI_FAIL(err, WB_EQUOTA,
			"store %s: %" PRIu64 " of %" PRIu64 " bytes are used "
			"and %" PRIu64 " more do not fit; %s, or make the "
			"quota larger (waybill outbox stat)",
			wb_store_dir(journal->store), quota->used_bytes,
			quota->hard_bytes, bytes, why);
}

static void retention_soft(const wbi_journal *journal, const wbi_quota *quota)
{
	wbi_store_memo *memo = wbi_store_get_memo(journal->store);
	bool over = quota->used_bytes >= quota->soft_bytes;

	if (over == atomic_load_explicit(&memo->over_soft,
					 memory_order_relaxed))
		return;
	atomic_store(&memo->over_soft, over);
	if (over)
		wbi_log(wbi_store_log(journal->store), WB_LOG_WARN,
			"store %s: %" PRIu64 " bytes used, over the soft mark "
			"of %" PRIu64 "; appends are refused at %" PRIu64,
			wb_store_dir(journal->store), quota->used_bytes,
			quota->soft_bytes, quota->hard_bytes);
}

static bool retention_fits(const wbi_quota *quota, uint64_t bytes)
{
	return quota->used_bytes < quota->hard_bytes &&
	       bytes <= quota->hard_bytes - quota->used_bytes;
}

wb_code wbi_retention_admit(const wbi_journal *journal, MDB_txn *txn,
			    uint64_t head, uint64_t bytes, bool *ret_pruned,
			    wb_error *err)
{
	wbi_store_memo *memo = wbi_store_get_memo(journal->store);
	wbi_quota quota;
	wb_code code;

	*ret_pruned = false;
	code = retention_quota(journal, txn, memo->parked_bytes, &quota, err);
	if (code == WB_OK && !retention_fits(&quota, bytes)) {
		*ret_pruned = true;
		code = wbi_retention_prune(journal, txn, head, PRUNE_AT_HARD,
					   err);
		if (code == WB_OK)
			code = retention_quota(journal, txn,
					       memo->parked_bytes, &quota, err);
	}
	if (code != WB_OK)
		return code;
	retention_soft(journal, &quota);
	if (!retention_fits(&quota, bytes))
		return retention_refuse(journal, &quota, bytes, head, err);
	return WB_OK;
}

/* ---- pruning ------------------------------------------------------------ */

typedef struct prune {
	const wbi_journal *journal;
	uint64_t last;       /* never beyond this */
	uint64_t keep_bytes; /* of what is passed, by estimate ... */
	uint64_t row_bytes;  /* ... from the mean size of a row */
	uint64_t keep_age_us;
	int64_t now_us;
} prune;

/*
 * Is the record old enough? By the event's own time, so one that its producer
 * dated far into the future counts as old as one equally far back: it would
 * hold up all others otherwise.
 */
static wb_code prune_is_old(const prune *p, wb_str record, bool *ret,
			    wb_error *err)
{
	uint64_t position, age;
	wb_event event;
	wb_code code;

	*ret = true;
	if (p->keep_age_us == 0)
		return WB_OK;
	code = wbi_record_decode(record.ptr, record.len, &event, &position,
				 err);
	if (code != WB_OK)
		return code;
	age = event.time_us > p->now_us
		      ? (uint64_t)event.time_us - (uint64_t)p->now_us
		      : (uint64_t)p->now_us - (uint64_t)event.time_us;
	*ret = age > p->keep_age_us;
	return WB_OK;
}

/* Everything an append need not know unless something can be pruned. */
static wb_code prune_init(prune *p, const wbi_journal *journal, MDB_txn *txn,
			  wb_error *err)
{
	const wbi_store_info *info = wbi_store_get_info(journal->store);
	const wb_clock *clock = wbi_store_clock(journal->store);
	uint64_t bytes, rows;
	wb_code code = wbi_table_size(txn, journal->table, &bytes, &rows, err);

	if (code != WB_OK)
		return code;
	p->keep_bytes = info->keep_bytes;
	p->row_bytes = rows > 0 ? bytes / rows : 0;
	p->keep_age_us = info->keep_age_s < UINT64_MAX / 1000000
				 ? info->keep_age_s * 1000000
				 : UINT64_MAX;
	p->now_us = clock->real_us(clock->ctx);
	return WB_OK;
}

static wb_code prune_run(const prune *p, MDB_txn *txn, uint64_t most,
			 wb_error *err)
{
	wbi_cursor *cursor;
	uint64_t at = 0;
	bool old;
	wb_str record;
	wb_code code = wbi_cursor_open(txn, p->journal->table, &cursor, err);

	if (code != WB_OK)
		return code;
	for (uint64_t n = 0; n < most; n++) {
		code = wbi_cursor_move_at(cursor, WBI_FIRST, &at, &record, err);
		if (code != WB_OK || at > p->last ||
		    (p->last - at + 1) * p->row_bytes <= p->keep_bytes)
			break;
		code = prune_is_old(p, record, &old, err);
		if (code != WB_OK || !old)
			break;
		code = wbi_cursor_del(cursor, err);
		if (code != WB_OK)
			break;
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

wb_code wbi_retention_prune(const wbi_journal *journal, MDB_txn *txn,
			    uint64_t head, size_t appended, wb_error *err)
{
	wbi_store_memo *memo = wbi_store_get_memo(journal->store);
	wb_error cause = WB_ERROR_INIT;
	prune p = {.journal = journal, .last = memo->floor};
	wb_code code;

	/* The inbox has no relay; its readers will bring their own floor. */
	if (journal->kind != WBI_OUTBOX || memo->floor == 0 ||
	    wbi_store_get_info(journal->store)->keep_bytes == UINT64_MAX)
		return WB_OK;
	/* A floor past the head belongs to another history. */
	if (memo->floor > head)
		return WB_OK;
	code = prune_init(&p, journal, txn, err);
	if (code != WB_OK)
		return code;
	code = prune_run(&p, txn, PRUNE_PER_EVENT * (uint64_t)appended, &cause);
	if (code != WB_ECORRUPT && code != WB_EVERSION) {
		if (code != WB_OK && err && err->code == WB_OK)
			*err = cause;
		return code;
	}
	/* An old record that cannot be read stays for fsck to find; that is no
	 * reason to refuse new ones. */
	if (!atomic_exchange(&memo->prune_stuck, true))
		wbi_log(wbi_store_log(journal->store), WB_LOG_ERROR,
			"store %s: nothing is pruned any more: %s; run waybill "
			"fsck",
			wb_store_dir(journal->store), cause.text);
	return WB_OK;
}
