/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading the figures of inbox stat: short read transactions, nothing is
 * locked, so they are of about the same moment, not of exactly one. What has to
 * be counted row by row is counted up to a bound and says so.
 */
#include <limits.h>
#include <stdlib.h>

#include "cli/inbox_stat.h"
#include "inbox/dead.h"
#include "inbox/worker_internal.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/record.h"

enum { SLICE = 256 };

/* ---- a consumer's rows of `work` ---------------------------------------- */

typedef struct row_walk {
	inbox_consumer *to;
	uint64_t seen;
} row_walk;

/* Events have a time of their own, timers none that matters here. */
static void see_oldest(inbox_consumer *to, int64_t time_us)
{
	if (time_us > 0 && (to->oldest_us == 0 || time_us < to->oldest_us))
		to->oldest_us = time_us;
}

static wb_code see_row(void *ctx, const wbi_work_id *id, const wbi_work *row,
		       wb_error *err)
{
	row_walk *walk = ctx;
	inbox_consumer *to = walk->to;
	wb_event event;
	uint64_t position;

	(void)err;
	to->at_least = walk->seen++ == INBOX_EXACT;
	if (to->at_least)
		return WB_ENOTFOUND;
	to->crashed += id->lane == WBI_LANE_CRASHED;
	if (id->lane == WBI_LANE_CRASHED || id->lane == WBI_LANE_TIMER)
		return WB_OK; /* the consumer's row counts timers */
	to->waiting += row->state == WBI_WORK_WAITING;
	to->running += row->state == WBI_WORK_RUNNING;
	to->queued += row->state == WBI_WORK_QUEUED;
	to->stuck += row->state == WBI_WORK_DEAD;
	if (row->record.len > 0 &&
	    wbi_record_decode(row->record.ptr, row->record.len, &event,
			      &position, NULL) == WB_OK)
		see_oldest(to, event.time_us);
	return WB_OK;
}

/* ---- a consumer --------------------------------------------------------- */

static wb_code read_next_due(inbox_figures *f, MDB_txn *txn, wb_str name,
			     inbox_consumer *to, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(f->store);
	wbi_row_key key;
	wbi_work_id id;
	wbi_work row;
	wb_code rc = wbi_work_first_due(txn, tables, name, INT64_MIN, &key, &id,
					&row, &to->next_us, err);

	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static wb_code read_backlog(inbox_figures *f, MDB_txn *txn,
			    const wbi_consumer *row, inbox_consumer *to,
			    wb_error *err)
{
	uint64_t next = row->position + 1, position;
	wb_event event;
	wb_str record;
	wb_code rc;

	if (row->position >= f->head)
		return WB_OK;
	to->backlog = f->head - row->position;
	if (next < f->first)
		next = f->first;
	rc = wbi_journal_get(&f->journal, txn, next, &record, err);
	if (rc == WB_OK)
		rc = wbi_record_decode(record.ptr, record.len, &event,
				       &position, err);
	if (rc == WB_OK)
		see_oldest(to, event.time_us);
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static wb_code read_consumer(inbox_figures *f, size_t i, wb_error *err)
{
	const cli_consumer *consumer = &f->list.items[i];
	inbox_consumer *to = &f->more[i];
	row_walk walk = {.to = to};
	MDB_txn *txn;
	wb_code rc = wbi_txn_begin(wb_store_env(f->store), false, &txn, err);

	if (rc != WB_OK)
		return rc;
	rc = read_backlog(f, txn, &consumer->row, to, err);
	if (rc == WB_OK)
		rc = read_next_due(f, txn, wb_str_from(consumer->name), to,
				   err);
	wbi_txn_abort(txn);
	return rc == WB_OK ? cli_work_scan(f->store, consumer->name, see_row,
					   &walk, err)
			   : rc;
}

/* ---- dead letters ------------------------------------------------------- */

static bool see_letter(void *ctx, uint64_t number, const wbi_dead *row)
{
	inbox_figures *f = ctx;

	(void)number;
	if (row->reason < INBOX_REASONS)
		f->by_reason[row->reason]++;
	f->refused_letters += row->lane == 0;
	if (f->letters_since_us == 0 || row->last_us < f->letters_since_us)
		f->letters_since_us = row->last_us;
	for (size_t i = 0; i < f->list.count; i++)
		f->more[i].dead += wb_str_eq(
			row->consumer, wb_str_from(f->list.items[i].name));
	return true;
}

static wb_code read_letters(inbox_figures *f, wb_error *err)
{
	const wbi_dead_filter all = {0};
	uint64_t number = 0, looked = 0;
	wb_code rc = WB_OK;

	while (rc == WB_OK && looked < INBOX_EXACT) {
		rc = wbi_dead_visit(f->store, &all, &number, SLICE, see_letter,
				    f, err);
		looked += SLICE;
	}
	f->letters_at_least = rc == WB_OK && f->letters > looked;
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

/* ---- all of it ---------------------------------------------------------- */

static wb_code read_status(inbox_figures *f, MDB_txn *txn, wb_error *err)
{
	wbi_table table = wbi_store_get_tables(f->store)->status;
	wb_code rc = wbi_ingest_status_get(txn, table, &f->status, err);

	if (rc != WB_OK)
		return rc == WB_ENOTFOUND ? WB_OK : rc;
	f->has_status = true;
	wbi_text_show(f->status.queue, f->queue, sizeof(f->queue));
	wbi_text_show(f->status.vhost, f->vhost, sizeof(f->vhost));
	wbi_text_show(f->status.error, f->error, sizeof(f->error));
	return WB_OK;
}

static wb_code read_store(inbox_figures *f, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(f->store);
	uint64_t bytes;
	MDB_txn *txn;
	wb_code rc = wbi_txn_begin(wb_store_env(f->store), false, &txn, err);

	if (rc != WB_OK)
		return rc;
	rc = wbi_journal_range(&f->journal, txn, &f->first, &f->head, err);
	if (rc == WB_OK)
		rc = wbi_journal_quota(&f->journal, txn, &f->quota, err);
	if (rc == WB_OK)
		rc = wbi_table_size(txn, tables->dead, &bytes, &f->letters,
				    err);
	if (rc == WB_OK)
		rc = read_status(f, txn, err);
	wbi_txn_abort(txn);
	return rc;
}

wb_code inbox_figures_read(inbox_figures *f, wb_error *err)
{
	char path[PATH_MAX];
	wb_code rc;

	f->now_us = cli_real_us();
	f->journal = wbi_journal_of(f->store, WBI_INBOX);
	snprintf(path, sizeof(path), "%s/worker", wb_store_dir(f->store));
	f->active = cli_is_owned(path);
	/* The consumers first: no cursor is then past the head we read. */
	rc = cli_consumers_read(f->store, &f->list, err);
	if (rc == WB_OK)
		rc = read_store(f, err);
	if (rc != WB_OK)
		return rc;
	f->more = calloc(f->list.count + 1, sizeof(*f->more));
	if (!f->more)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	for (size_t i = 0; i < f->list.count && rc == WB_OK; i++)
		rc = read_consumer(f, i, err);
	return rc == WB_OK ? read_letters(f, err) : rc;
}

void inbox_figures_fini(inbox_figures *f)
{
	cli_consumers_fini(&f->list);
	free(f->more);
	wb_store_close(f->store);
}

int64_t inbox_age_us(const inbox_figures *f, int64_t since_us)
{
	return since_us > 0 && since_us < f->now_us ? f->now_us - since_us : 0;
}

int64_t inbox_oldest_age_us(const inbox_figures *f)
{
	int64_t oldest = 0;

	for (size_t i = 0; i < f->list.count; i++) {
		int64_t age = inbox_age_us(f, f->more[i].oldest_us);

		if (age > oldest)
			oldest = age;
	}
	return oldest;
}

const char *inbox_said_state(const inbox_figures *f)
{
	return f->status.state <= WB_WORKER_FAILED
		       ? wbi_worker_state_name((wb_worker_state)f->status.state)
		       : "unknown";
}

const char *inbox_worker_state(const inbox_figures *f)
{
	if (!f->active)
		return f->has_status ? "not running" : "never ran";
	if (!f->has_status || f->status.pid == 0)
		return "running";
	return inbox_said_state(f);
}
