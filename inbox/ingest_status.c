/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The row "ingest" in `status`: who this store is to a queue, which queue that
 * is, how long the worker has run in all, what it has counted. It is written
 * with every batch, in its transaction, and by itself when the state changes.
 *
 * `owner` is made once, and shown to a broker only when it is durable: a crash
 * in between would leave a queue that belongs to nobody.
 */
#include <stdio.h>
#include <unistd.h>

#include "inbox/ingest_internal.h"
#include "lib/base/error.h"

static void status_text(char *to, size_t size, wb_str from)
{
	snprintf(to, size, "%.*s", (int)from.len, from.ptr ? from.ptr : "");
}

/* Two queues would be two stores' worth of order and of repeats; and the first
 * one would fill up, unseen. */
static wb_code status_check(const wbi_ingest *ingest, wb_error *err)
{
	const wbi_ingest_status *row = &ingest->status;
	const char *queue = ingest->options->queue;

	if (row->received == 0 || ingest->queue_taken[0] == '\0')
		return WB_OK;
	if (!strcmp(ingest->queue_taken, queue) &&
	    !strcmp(ingest->vhost_taken, ingest->vhost))
		return WB_OK;
	return WBI_FAIL(err, WB_EMISMATCH,
			"store %.128s takes from queue '%s' of vhost '%s', and "
			"is told to take from '%s' of '%s': give that queue a "
			"store of its own; or, if this store is to move, "
			"empty the old queue and delete it first, then run "
			"`waybill inbox forget-queue`",
			wb_store_dir(ingest->store), ingest->queue_taken,
			ingest->vhost_taken, queue, ingest->vhost);
}

static void status_take_over(wbi_ingest *ingest, const wbi_ingest_status *row)
{
	status_text(ingest->queue_taken, sizeof(ingest->queue_taken),
		    row->queue);
	status_text(ingest->vhost_taken, sizeof(ingest->vhost_taken),
		    row->vhost);
	ingest->status = *row;
	ingest->status_there = row->owner[0] != '\0';
}

wb_code wbi_ingest_status_load(wbi_ingest *ingest, wb_error *err)
{
	wbi_ingest_status row = {0};
	MDB_txn *txn;
	wb_code code =
		wbi_txn_begin(wb_store_env(ingest->store), false, &txn, err);

	if (code != WB_OK)
		return code;
	code = wbi_ingest_status_get(
		txn, wbi_store_get_tables(ingest->store)->status, &row, err);
	if (code == WB_OK)
		status_take_over(ingest, &row);
	wbi_txn_abort(txn);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	if (ingest->status.owner[0] == '\0')
		wb_uuid7(ingest->clock, ingest->random, ingest->status.owner);
	ingest->age0_us = ingest->status.age_us;
	ingest->age_from_us = ingest->now_us;
	return status_check(ingest, err);
}

wbi_ingest_status wbi_ingest_status_now(const wbi_ingest *ingest)
{
	const wb_clock *clock = ingest->clock;
	wbi_ingest_status row = ingest->status;
	bool active = ingest->state != WB_WORKER_STOPPED;

	row.pid = active ? (uint32_t)getpid() : 0;
	row.updated_us = clock->real_us(clock->ctx);
	if (row.state != (uint8_t)ingest->state || row.since_us == 0)
		row.since_us = row.updated_us;
	row.state = (uint8_t)ingest->state;
	row.age_us = ingest->age0_us + (uint64_t)(clock->mono_us(clock->ctx) -
						  ingest->age_from_us);
	row.queue = wb_str_from(ingest->queue_taken);
	row.vhost = wb_str_from(ingest->vhost_taken);
	row.error = wb_str_from(ingest->stat.error.text);
	return row;
}

wb_code wbi_ingest_status_write(wbi_ingest *ingest, wb_error *err)
{
	wbi_ingest_status row = wbi_ingest_status_now(ingest);
	MDB_txn *txn;
	wb_code code =
		wbi_txn_begin(wb_store_env(ingest->store), true, &txn, err);

	if (code != WB_OK)
		return code;
	code = wbi_ingest_status_put(
		txn, wbi_store_get_tables(ingest->store)->status, &row, err);
	if (code != WB_OK) {
		wbi_txn_abort(txn);
		return code;
	}
	code = wbi_txn_commit(txn, err);
	if (code != WB_OK)
		return code;
	ingest->status = row;
	ingest->status_there = true;
	ingest->status_dirty = false;
	ingest->status_at_us = ingest->now_us + INGEST_STATUS_US;
	return WB_OK;
}

void wbi_ingest_status_taking(wbi_ingest *ingest)
{
	snprintf(ingest->queue_taken, sizeof(ingest->queue_taken), "%s",
		 ingest->options->queue);
	snprintf(ingest->vhost_taken, sizeof(ingest->vhost_taken), "%s",
		 ingest->vhost);
	ingest->status_dirty = true;
	ingest->status_at_us = ingest->now_us;
}
