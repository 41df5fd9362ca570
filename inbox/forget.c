/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forgetting a consumer: its rows of `work` go one by one, in transactions of
 * about a millisecond, its own row in the last of them, with the audit. Until
 * then it is there and can be forgotten again. No worker is active meanwhile,
 * since its lock is held here.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "inbox/dead.h"
#include "lib/base/error.h"
#include "lib/base/owner.h"
#include "lib/event/record.h"
#include "lib/journal/journal.h"

enum { FORGET_TXN_US = 1000, FORGET_PAUSE_US = 50 };

typedef struct forget_run {
	wb_store *store;
	const wbi_store_tables *tables;
	char journal;
	wb_str name;
	const wbi_actor *actor;
	int64_t now_us;
	wbi_forgotten *ret;
} forget_run;

/* The consumer's first row; WB_ENOTFOUND: it has none. */
static wb_code forget_first(const forget_run *run, MDB_txn *txn,
			    wbi_row_key *ret_key, wbi_work_id *ret_id,
			    wbi_work *ret, wb_error *err)
{
	wbi_row_key from = wbi_work_lane_prefix(run->name, WBI_LANE_CRASHED);
	wb_str at, row;
	wbi_cursor *cursor;
	wb_code code;

	if (run->journal != 'i')
		return WB_ENOTFOUND; /* a handler may have the same name */
	code = wbi_cursor_open(txn, run->tables->work, &cursor, err);
	if (code != WB_OK)
		return code;
	from.len--; /* the lane: any */
	at = wbi_row_key_str(&from);
	code = wbi_cursor_move(cursor, WBI_SEEK, &at, &row, err);
	if (code == WB_OK && at.len > sizeof(ret_key->bytes))
		code = WBI_FAIL(err, WB_ECORRUPT, "a key of %zu bytes", at.len);
	if (code == WB_OK) {
		ret_key->len = (uint16_t)at.len;
		memcpy(ret_key->bytes, at.ptr, at.len);
		at = wbi_row_key_str(ret_key);
		code = wbi_work_key_parse(at, ret_id, err);
	}
	if (code == WB_OK && !wb_str_eq(ret_id->consumer, run->name))
		code = WB_ENOTFOUND;
	if (code == WB_OK)
		code = wbi_work_decode(at, row, ret, err);
	wbi_cursor_close(cursor);
	return code;
}

/* It held up its key: now it only lies there. */
static wb_code forget_dead(const forget_run *run, MDB_txn *txn,
			   const wbi_work_id *id, uint64_t number,
			   wb_error *err)
{
	wbi_dead dead;
	wb_code code = wbi_dead_get(txn, run->tables->dead, number, &dead, err);

	if (code == WB_OK) {
		dead.blocks = false;
		code = wbi_dead_put(txn, run->tables->dead, number, &dead, err);
	}
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	return wbi_work_done(txn, run->tables, id, run->now_us, err);
}

static wb_code forget_row(const forget_run *run, MDB_txn *txn,
			  const wbi_work_id *id, const wbi_work *row,
			  wb_error *err)
{
	wbi_dead dead = {.reason = WBI_DEAD_NO_HANDLER,
			 .attempts = row->attempts,
			 .code = row->code,
			 .first_us = row->first_us,
			 .last_us = run->now_us,
			 .text = wb_str_from("its handler was forgotten"),
			 .bytes = row->record};
	wb_event event;
	uint64_t position;

	if (row->state == WBI_WORK_DEAD)
		return forget_dead(run, txn, id, row->dead, err);
	if (id->lane == WBI_LANE_CRASHED)
		return wbi_work_done(txn, run->tables, id, run->now_us, err);
	if (id->lane != WBI_LANE_TIMER &&
	    wbi_record_decode(row->record.ptr, row->record.len, &event,
			      &position, NULL) == WB_OK) {
		dead.source = event.source;
		dead.id = event.id;
		dead.type = event.type;
	}
	run->ret->letters++;
	return wbi_work_die(txn, run->tables, id, &dead, run->now_us, NULL,
			    err);
}

/* Nothing is left but its own row. */
static wb_code forget_consumer(const forget_run *run, MDB_txn *txn,
			       wb_error *err)
{
	wbi_journal journal = wbi_journal_of(
		run->store, run->journal == 'i' ? WBI_INBOX : WBI_OUTBOX);
	const wbi_audit audit = {.time_us = run->now_us,
				 .who = run->actor->who,
				 .what = wb_str_from(run->journal == 'i'
							     ? "forget"
							     : "outbox forget"),
				 .why = run->actor->why,
				 .handler = run->name};
	uint64_t first, head;
	wbi_consumer row;
	wb_code code = wbi_consumer_get(txn, run->tables->consumers,
					run->journal, run->name, &row, err);

	if (code == WB_OK)
		code = wbi_journal_range(&journal, txn, &first, &head, err);
	if (code != WB_OK)
		return code;
	run->ret->behind = head > row.position ? head - row.position : 0;
	code = wbi_consumer_del(txn, run->tables->consumers, run->journal,
				run->name, err);
	if (code == WB_OK)
		code = wbi_audit_add(txn, run->tables->audit, &audit, NULL,
				     err);
	return code;
}

/* One transaction; *ret_ended: it was the last. */
static wb_code forget_some(forget_run *run, bool *ret_ended, wb_error *err)
{
	const wb_clock *clock = wbi_store_clock(run->store);
	uint64_t letters = run->ret->letters;
	wbi_row_key key;
	wbi_work_id id;
	wbi_work row;
	int64_t start_us;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wb_store_env(run->store), true, &txn, err);

	if (code != WB_OK)
		return code;
	start_us = clock->mono_us(clock->ctx);
	run->now_us = clock->real_us(clock->ctx);
	do {
		code = forget_first(run, txn, &key, &id, &row, err);
		if (code == WB_OK)
			code = forget_row(run, txn, &id, &row, err);
	} while (code == WB_OK &&
		 clock->mono_us(clock->ctx) - start_us < FORGET_TXN_US);
	*ret_ended = code == WB_ENOTFOUND;
	if (code == WB_ENOTFOUND)
		code = forget_consumer(run, txn, err);
	if (code == WB_OK)
		return wbi_txn_commit(txn, err);
	wbi_txn_abort(txn);
	run->ret->letters = letters;
	return code;
}

static wb_code forget_unknown(const forget_run *run, wb_error *err)
{
	return WBI_FAIL(err, WB_ENOTFOUND,
			"the %s knows no consumer '%.*s'",
			run->journal == 'i' ? "inbox" : "outbox",
			(int)run->name.len, run->name.ptr);
}

static wb_code forget_all(forget_run *run, wb_error *err)
{
	const struct timespec pause = {0, FORGET_PAUSE_US * 1000L};
	bool ended = false;
	wb_code code = WB_OK;

	while (code == WB_OK && !ended) {
		code = forget_some(run, &ended, err);
		if (!ended)
			nanosleep(&pause, NULL);
	}
	return code == WB_ENOTFOUND ? forget_unknown(run, err) : code;
}

/* Be the store's worker for a while. */
static wb_code forget_own(wb_store *store, int *ret_fd, wb_error *err)
{
	char path[PATH_MAX];
	int64_t pid = 0;
	wb_code code;

	if ((size_t)snprintf(path, sizeof(path), "%s/worker",
			     wb_store_dir(store)) >= sizeof(path))
		return WBI_FAIL(err, WB_EINVAL, "the store's path is too long");
	code = wbi_owner_take(path, ret_fd, &pid, err);
	if (code == WB_EBUSY)
		return WBI_FAIL(err, WB_EBUSY,
				"worker %" PRId64 " is active on this store: "
				"stop it first",
				pid);
	return code;
}

wb_code wbi_consumer_forget(wb_store *store, char journal, wb_str name,
			    const wbi_actor *actor, wbi_forgotten *ret,
			    wb_error *err)
{
	wbi_forgotten forgotten = {0};
	forget_run run = {.store = store,
			  .tables = wbi_store_get_tables(store),
			  .journal = journal,
			  .name = name,
			  .actor = actor,
			  .ret = &forgotten};
	wb_code code;
	int fd;

	if (name.len == 0 || name.len > WBI_CONSUMER_NAME_MAX)
		return forget_unknown(&run, err);
	code = forget_own(store, &fd, err);
	if (code != WB_OK)
		return code;
	code = forget_all(&run, err);
	close(fd);
	if (code == WB_OK)
		*ret = forgotten;
	return code;
}

/* ---- the queue ---------------------------------------------------------- */

static wb_code forget_queue(wb_store *store, MDB_txn *txn,
			    const wbi_actor *actor, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	const wb_clock *clock = wbi_store_clock(store);
	wbi_audit audit = {.time_us = clock->real_us(clock->ctx),
			   .who = actor->who,
			   .what = wb_str_from("forget queue"),
			   .why = actor->why};
	wbi_ingest_status row;
	char queue[256];
	wb_code code = wbi_ingest_status_get(txn, tables->status, &row, err);

	if (code == WB_ENOTFOUND || (code == WB_OK && row.queue.len == 0))
		return WBI_FAIL(err, WB_ENOTFOUND,
				"this store takes from no queue yet");
	if (code != WB_OK)
		return code;
	if (row.queue.len > sizeof(queue))
		row.queue.len = sizeof(queue);
	memcpy(queue, row.queue.ptr, row.queue.len);
	audit.key = wb_str_n(queue, row.queue.len);
	row.queue = row.vhost = WB_STR_NULL;
	code = wbi_ingest_status_put(txn, tables->status, &row, err);
	return code == WB_OK ? wbi_audit_add(txn, tables->audit, &audit, NULL,
					     err)
			     : code;
}

wb_code wbi_queue_forget(wb_store *store, const wbi_actor *actor, wb_error *err)
{
	MDB_txn *txn;
	wb_code code;
	int fd;

	code = forget_own(store, &fd, err);
	if (code != WB_OK)
		return code;
	code = wbi_txn_begin(wb_store_env(store), true, &txn, err);
	if (code == WB_OK) {
		code = forget_queue(store, txn, actor, err);
		if (code == WB_OK)
			code = wbi_txn_commit(txn, err);
		else
			wbi_txn_abort(txn);
	}
	close(fd);
	return code;
}
