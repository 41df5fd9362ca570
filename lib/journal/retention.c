/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Retention. It needs to know what the relay has committed; that is read when
 * the relay's environment has a new commit and remembered in the store's memo,
 * so most appends pay one look at a number in the map. Where the consumers are
 * is read from their rows, few and in the same environment.
 *
 * Pruning takes the oldest records, two per appended event at most, so no
 * append stalls. Of the outbox, only up to the relay's floor and what each
 * projection has read, never the record at the relay's cursor (by its id the
 * relay knows that the journal is still the same). Of the inbox, only what all
 * consumers have passed, and nothing while there are none. Never the last one.
 * Inside the caller's transaction: a crash undoes it with the append.
 */
#include "lib/journal/retention.h"

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/event/record.h"
#include "lib/journal/inbox_rows.h"

enum { PRUNE_PER_EVENT = 2 };

/* What may be pruned by what the relay says: 0 for nothing. */
static uint64_t retention_floor(const wbi_journal *journal,
				const wbi_relay_cursor *cursor)
{
	/* A cursor of another history says nothing of this journal. */
	if (strcmp(cursor->origin, journal->origin) != 0 ||
	    cursor->position == 0)
		return 0;
	return cursor->floor < cursor->position ? cursor->floor
						: cursor->position - 1;
}

wb_code wbi_retention_read(const wbi_journal *journal, uint64_t *ret_floor,
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
	code = wbi_retention_read(journal, &memo->floor, &memo->parked_bytes,
				  err);
	if (code == WB_OK)
		memo->relay_txn = now;
	return code;
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
	p->row_bytes = rows > 0 ? bytes / rows : 0;
	/* What is kept is for those who read the outbox; the inbox's events
	 * are with the broker's other consumers. */
	if (journal->kind == WBI_INBOX)
		return WB_OK;
	p->keep_bytes = info->keep_bytes;
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

/* The last record that may go; 0: none. */
static wb_code prune_last(const wbi_journal *journal, MDB_txn *txn,
			  uint64_t head, uint64_t *ret, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(journal->store);
	wbi_store_memo *memo = wbi_store_get_memo(journal->store);
	bool outbox = journal->kind == WBI_OUTBOX;
	uint64_t last = outbox ? memo->floor : UINT64_MAX, floor;
	wb_code code;

	*ret = 0;
	if (last == 0 || head == 0 ||
	    (outbox &&
	     wbi_store_get_info(journal->store)->keep_bytes == UINT64_MAX))
		return WB_OK;
	code = wbi_consumer_floor(txn, tables->consumers, outbox ? 'o' : 'i',
				  journal->origin, &floor, err);
	if (code != WB_OK)
		return code;
	if (floor < last)
		last = floor;
	/* A floor past the head belongs to another history. */
	if (last <= head)
		*ret = last < head ? last : head - 1;
	return WB_OK;
}

wb_code wbi_retention_prune(const wbi_journal *journal, MDB_txn *txn,
			    uint64_t head, size_t appended, wb_error *err)
{
	wbi_store_memo *memo = wbi_store_get_memo(journal->store);
	wb_error cause = WB_ERROR_INIT;
	prune p = {.journal = journal};
	wb_code code = prune_last(journal, txn, head, &p.last, &cause);

	if (code == WB_OK && p.last == 0)
		return WB_OK;
	if (code == WB_OK)
		code = prune_init(&p, journal, txn, &cause);
	if (code == WB_OK)
		code = prune_run(&p, txn, PRUNE_PER_EVENT * (uint64_t)appended,
				 &cause);
	if ((code != WB_ECORRUPT && code != WB_EVERSION &&
	     code != WB_EMISMATCH) ||
	    !wbi_txn_is_sound(txn, journal->table)) {
		if (code != WB_OK)
			wbi_error_pass(err, &cause);
		return code;
	}
	/* A row that cannot be read stays for fsck to find, a consumer of
	 * another history for the operator; that is no reason to refuse new
	 * events, as long as the transaction can be committed. */
	if (!atomic_exchange(&memo->prune_stuck, true))
		wbi_log(wbi_store_log(journal->store), WB_LOG_ERROR,
			"store %s: nothing is pruned any more: %s; run waybill "
			"fsck",
			wb_store_dir(journal->store), cause.text);
	return WB_OK;
}
