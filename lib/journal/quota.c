/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The quota: what waybill's tables may take of the store, so that the service's
 * own always have room. It is looked at before each append, from the sizes that
 * LMDB keeps; nothing is counted here, so nothing can be counted wrong. Ids
 * that are known are bounded by their age and do not count.
 *
 * Inside the caller's write transaction: a crash leaves nothing.
 */
#include <inttypes.h>
#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/journal/inbox_rows.h"
#include "lib/journal/retention.h"

enum { QUOTA_PRUNE = 256 /* at the hard mark: as if for so many events */ };

typedef enum quota_share {
	QUOTA_OUTBOX,
	QUOTA_INBOX,
	QUOTA_PARKED,
	QUOTA_DEAD,
	QUOTA_WORK,
	QUOTA_SHARES
} quota_share;

typedef struct quota {
	uint64_t shares[QUOTA_SHARES];
	wbi_quota marks;
} quota;

static void quota_marks(const wbi_journal *journal, wbi_quota *ret)
{
	const wbi_store_info *info = wbi_store_get_info(journal->store);

	ret->hard_bytes = info->quota_bytes;
	/* In this order there is no overflow; 99 bytes are lost. */
	ret->soft_bytes = info->quota_bytes / 100 * info->quota_soft_pct;
}

static wb_code quota_measure(const wbi_journal *journal, MDB_txn *txn,
			     uint64_t parked, quota *ret, wb_error *err)
{
	const wbi_store_tables *t = wbi_store_get_tables(journal->store);
	const struct {
		wbi_table table;
		quota_share share;
	} tables[] = {{t->outbox, QUOTA_OUTBOX},
		      {t->inbox, QUOTA_INBOX},
		      {t->dead, QUOTA_DEAD},
		      {t->work, QUOTA_WORK},
		      {t->due, QUOTA_WORK},
		      {t->streams, QUOTA_OUTBOX},
		      {t->stream_index, QUOTA_OUTBOX},
		      {t->categories, QUOTA_OUTBOX},
		      {t->category_index, QUOTA_OUTBOX},
		      {t->snapshots, QUOTA_OUTBOX}};
	quota q = {.shares = {[QUOTA_PARKED] = parked}};

	q.marks.used_bytes = parked;
	for (size_t i = 0; i < WBI_COUNT(tables); i++) {
		uint64_t bytes, rows;
		wb_code code = wbi_table_size(txn, tables[i].table, &bytes,
					      &rows, err);

		if (code != WB_OK)
			return code;
		q.shares[tables[i].share] += bytes;
		q.marks.used_bytes += bytes;
	}
	quota_marks(journal, &q.marks);
	*ret = q;
	return WB_OK;
}

/*
 * The same for the marks alone, as each append asks: of what is neither journal
 * it believes what the first one in this transaction has seen. A transaction
 * is short, and what it adds there is seen by the next.
 */
static wb_code quota_glance(const wbi_journal *journal, MDB_txn *txn,
			    quota *ret, wb_error *err)
{
	const wbi_store_tables *t = wbi_store_get_tables(journal->store);
	wbi_store_memo *memo = wbi_store_get_memo(journal->store);
	uint64_t outbox, inbox, rows;
	wb_code code = wbi_table_size(txn, t->outbox, &outbox, &rows, err);

	if (code == WB_OK)
		code = wbi_table_size(txn, t->inbox, &inbox, &rows, err);
	if (code != WB_OK)
		return code;
	if (memo->quota_txn != wbi_txn_id(txn)) {
		code = quota_measure(journal, txn, 0, ret, err);
		if (code != WB_OK)
			return code;
		memo->quota_rest = ret->marks.used_bytes - outbox - inbox;
		memo->quota_txn = wbi_txn_id(txn);
	}
	quota_marks(journal, &ret->marks);
	ret->marks.used_bytes =
		outbox + inbox + memo->quota_rest + memo->parked_bytes;
	return WB_OK;
}

wb_code wbi_journal_quota(const wbi_journal *journal, MDB_txn *txn,
			  wbi_quota *ret, wb_error *err)
{
	uint64_t floor, parked;
	quota q;
	wb_code code = wbi_retention_read(journal, &floor, &parked, err);

	if (code == WB_OK)
		code = quota_measure(journal, txn, parked, &q, err);
	if (code == WB_OK)
		*ret = q.marks;
	return code;
}

/* ---- why there is no room ----------------------------------------------- */

enum { QUOTA_WHY_MAX = 224 };

/* Whoever holds a journal back: text and cure. */
static void quota_why_consumer(const wbi_journal *journal, MDB_txn *txn,
			       char journal_name, char ret[QUOTA_WHY_MAX])
{
	const wbi_store_tables *tables = wbi_store_get_tables(journal->store);
	wbi_consumer_slowest slowest = {.count = 0};
	wb_error cause = WB_ERROR_INIT;

	if (wbi_consumer_find_slowest(txn, tables->consumers, journal_name,
				      journal->origin, &slowest,
				      &cause) != WB_OK)
		snprintf(ret, QUOTA_WHY_MAX, "%.200s", cause.text);
	else if (slowest.count == 0)
		snprintf(ret, QUOTA_WHY_MAX,
			 "no handler has read the inbox: start a worker "
			 "(waybill-worker)");
	else
		snprintf(ret, QUOTA_WHY_MAX,
			 "consumer %s has passed position %" PRIu64
			 " only: see that it runs (waybill inbox stat)",
			 slowest.name, slowest.position);
}

static void quota_why_outbox(const wbi_journal *journal, MDB_txn *txn,
			     char ret[QUOTA_WHY_MAX])
{
	const wbi_store_tables *tables = wbi_store_get_tables(journal->store);
	wbi_journal outbox = wbi_journal_of(journal->store, WBI_OUTBOX);
	const wbi_store_memo *memo = wbi_store_get_memo(journal->store);
	uint64_t first = 0, head = 0, floor = 0;

	if (wbi_store_get_info(journal->store)->keep_bytes == UINT64_MAX) {
		snprintf(ret, QUOTA_WHY_MAX,
			 "the store keeps all its events: truncate streams "
			 "(waybill stream truncate)");
		return;
	}
	if (memo->floor == 0) {
		snprintf(ret, QUOTA_WHY_MAX,
			 "no relay has settled an event: start one");
		return;
	}
	if (wbi_consumer_floor(txn, tables->consumers, 'o', outbox.origin,
			       &floor, NULL) != WB_OK ||
	    floor < memo->floor) {
		quota_why_consumer(&outbox, txn, 'o', ret);
		return;
	}
	if (wbi_journal_range(&outbox, txn, &first, &head, NULL) != WB_OK)
		head = 0;
	snprintf(ret, QUOTA_WHY_MAX,
		 "the relay has settled up to %" PRIu64 " of %" PRIu64
		 ": see that it runs",
		 memo->floor, head);
}

/* By whatever takes the most. */
static void quota_why(const wbi_journal *journal, MDB_txn *txn, const quota *q,
		      char ret[QUOTA_WHY_MAX])
{
	wbi_journal inbox = wbi_journal_of(journal->store, WBI_INBOX);
	int most = 0;

	for (int i = 1; i < QUOTA_SHARES; i++)
		if (q->shares[i] > q->shares[most])
			most = i;
	switch ((quota_share)most) {
	case QUOTA_PARKED:
		snprintf(ret, QUOTA_WHY_MAX,
			 "%" PRIu64 " of them are parked events: retry or "
			 "discard them (waybill outbox ls)",
			 q->shares[most]);
		break;
	case QUOTA_DEAD:
		snprintf(ret, QUOTA_WHY_MAX,
			 "%" PRIu64 " of them are dead letters: retry or "
			 "discard them (waybill dead ls)",
			 q->shares[most]);
		break;
	case QUOTA_WORK:
		snprintf(ret, QUOTA_WHY_MAX,
			 "%" PRIu64 " of them are events that wait for a retry "
			 "or behind a dead letter (waybill inbox stat, waybill "
			 "dead ls)",
			 q->shares[most]);
		break;
	case QUOTA_INBOX:
		quota_why_consumer(&inbox, txn, 'i', ret);
		break;
	default:
		quota_why_outbox(journal, txn, ret);
		break;
	}
}

static wb_code quota_refuse(const wbi_journal *journal, MDB_txn *txn,
			    const quota *q, uint64_t bytes, wb_error *err)
{
	char why[QUOTA_WHY_MAX];

	quota_why(journal, txn, q, why);
	return WBI_FAIL(err, WB_EQUOTA,
			"store %s: %" PRIu64 " of %" PRIu64 " bytes are used "
			"and %" PRIu64 " more do not fit; %s, or make the "
			"quota larger",
			wb_store_dir(journal->store), q->marks.used_bytes,
			q->marks.hard_bytes, bytes, why);
}

/* ---- before an append --------------------------------------------------- */

static void quota_soft(const wbi_journal *journal, const wbi_quota *marks)
{
	wbi_store_memo *memo = wbi_store_get_memo(journal->store);
	bool over = marks->used_bytes >= marks->soft_bytes;

	if (over ==
	    atomic_load_explicit(&memo->over_soft, memory_order_relaxed))
		return;
	atomic_store(&memo->over_soft, over);
	if (over)
		wbi_log(wbi_store_log(journal->store), WB_LOG_WARN,
			"store %s: %" PRIu64 " bytes used, over the soft mark "
			"of %" PRIu64 "; appends are refused at %" PRIu64,
			wb_store_dir(journal->store), marks->used_bytes,
			marks->soft_bytes, marks->hard_bytes);
}

static bool quota_fits(const wbi_quota *marks, uint64_t bytes)
{
	return marks->used_bytes < marks->hard_bytes &&
	       bytes <= marks->hard_bytes - marks->used_bytes;
}

/* Of both journals: one may be full of what has long been passed while only
 * the other one is appended to. */
static wb_code quota_prune(const wbi_journal *journal, MDB_txn *txn,
			   wb_error *err)
{
	wb_code code = WB_OK;

	for (int i = 0; i < 2 && code == WB_OK; i++) {
		wbi_journal each = wbi_journal_of(
			journal->store, i == 0 ? WBI_OUTBOX : WBI_INBOX);
		uint64_t first, head;

		code = wbi_journal_range(&each, txn, &first, &head, err);
		if (code == WB_OK)
			code = wbi_retention_prune(&each, txn, head,
						   QUOTA_PRUNE, err);
	}
	return code;
}

wb_code wbi_retention_admit(const wbi_journal *journal, MDB_txn *txn,
			    uint64_t bytes, bool *ret_pruned, wb_error *err)
{
	wbi_store_memo *memo = wbi_store_get_memo(journal->store);
	quota q;
	wb_code code;

	*ret_pruned = false;
	code = quota_glance(journal, txn, &q, err);
	if (code == WB_OK && quota_fits(&q.marks, bytes)) {
		quota_soft(journal, &q.marks);
		return WB_OK;
	}
	if (code == WB_OK)
		code = quota_measure(journal, txn, memo->parked_bytes, &q, err);
	if (code == WB_OK && !quota_fits(&q.marks, bytes)) {
		*ret_pruned = true;
		code = quota_prune(journal, txn, err);
		if (code == WB_OK)
			code = quota_measure(journal, txn, memo->parked_bytes,
					     &q, err);
	}
	if (code != WB_OK)
		return code;
	quota_soft(journal, &q.marks);
	if (!quota_fits(&q.marks, bytes))
		return quota_refuse(journal, txn, &q, bytes, err);
	return WB_OK;
}
