/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots of streams: rows beside the events, each at a version. None is
 * needed for anything but speed, unless a stream was truncated; so a save that
 * fails loses nothing. They count towards the quota. A save and the removal of
 * what is beyond `keep` happen in the caller's transaction: a crash leaves both
 * or neither.
 */
#include <inttypes.h>

#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/journal/journal.h"
#include "outbox/stream.h"

enum { SNAPSHOT_TAG_MAX = 64, SNAPSHOT_KEEP = 2 };

static wb_code snapshot_check(wb_store *store, MDB_txn *txn,
			      const wb_snapshot *snapshot, wb_error *err)
{
	if (!store || !txn || !snapshot)
		return WBI_FAIL(err, WB_EINVAL, "snapshot: %s is NULL",
				!store ? "store"
				: !txn ? "txn"
				       : "snapshot");
	if (!wbi_txn_is_of(txn, wb_store_env(store)))
		return WBI_FAIL(err, WB_EINVAL,
				"snapshot: the transaction is of another "
				"environment than the store");
	if (snapshot->tag.len == 0 || snapshot->tag.len > SNAPSHOT_TAG_MAX ||
	    !wbi_text_is_clean(snapshot->tag, NULL))
		return WBI_FAIL(err, WB_EINVAL,
				"snapshot: its tag must be 1 to %d bytes of "
				"clean UTF-8",
				SNAPSHOT_TAG_MAX);
	if (snapshot->data.len > WB_SNAPSHOT_BYTES_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"snapshot: %zu bytes, at most %d are kept",
				snapshot->data.len, (int)WB_SNAPSHOT_BYTES_MAX);
	return WB_OK;
}

static wb_code snapshot_admit(wb_store *store, MDB_txn *txn, size_t bytes,
			      wb_error *err)
{
	wbi_journal outbox = wbi_journal_of(store, WBI_OUTBOX);
	wbi_quota quota;
	wb_code code = wbi_journal_quota(&outbox, txn, &quota, err);

	if (code != WB_OK)
		return code;
	if (quota.used_bytes + bytes <= quota.hard_bytes)
		return WB_OK;
	return WBI_FAIL(err, WB_EQUOTA,
			"snapshot: %zu bytes do not fit into the quota of "
			"store %s",
			bytes, wb_store_dir(store));
}

wb_code wb_snapshot_save(wb_store *store, MDB_txn *txn, wb_str stream,
			 const wb_snapshot *snapshot, uint32_t keep,
			 wb_error *err)
{
	const wbi_store_tables *tables;
	const wb_clock *clock;
	wbi_stream_head head;
	wbi_snapshot row;
	wb_code code = snapshot_check(store, txn, snapshot, err);

	if (code == WB_OK)
		code = wbi_stream_check_name(stream, err);
	if (code != WB_OK)
		return code;
	tables = wbi_store_get_tables(store);
	code = wbi_stream_head_get(txn, tables, stream, &head, err);
	if (code == WB_ENOTFOUND)
		return wbi_stream_unknown(stream, err);
	if (code == WB_OK &&
	    (snapshot->version == 0 || snapshot->version > head.list.count))
		code = WBI_FAIL(err, WB_EINVAL,
				"snapshot: of version %" PRIu64
				", its stream is at %" PRIu64,
				snapshot->version, head.list.count);
	if (code == WB_OK)
		code = snapshot_admit(store, txn, snapshot->data.len, err);
	if (code != WB_OK)
		return code;
	clock = wbi_store_clock(store);
	row.version = snapshot->version;
	row.time_us = clock->real_us(clock->ctx);
	row.tag = snapshot->tag;
	row.data = snapshot->data;
	code = wbi_snapshot_put(txn, tables, head.list.number, &row, err);
	if (code == WB_OK)
		code = wbi_snapshot_thin(txn, tables, head.list.number,
					 keep > 0 ? keep : SNAPSHOT_KEEP, err);
	return code;
}

wb_code wb_snapshot_find(wb_store *store, MDB_txn *txn, wb_str stream,
			 wb_str tag, uint64_t at, wb_snapshot *ret,
			 wb_error *err)
{
	const wbi_store_tables *tables;
	wbi_stream_head head;
	wbi_snapshot row;
	wb_code code;

	if (!store || !txn || !ret)
		return WBI_FAIL(err, WB_EINVAL, "snapshot: %s is NULL",
				!store ? "store"
				: !txn ? "txn"
				       : "ret");
	if (!wbi_txn_is_of(txn, wb_store_env(store)))
		return WBI_FAIL(err, WB_EINVAL,
				"snapshot: the transaction is of another "
				"environment than the store");
	code = wbi_stream_check_name(stream, err);
	if (code != WB_OK)
		return code;
	tables = wbi_store_get_tables(store);
	code = wbi_stream_head_get(txn, tables, stream, &head, err);
	while (code == WB_OK) {
		code = wbi_snapshot_get(txn, tables, head.list.number, at, &row,
					err);
		if (code != WB_OK || tag.len == 0 || wb_str_eq(row.tag, tag))
			break;
		if (row.version == 0)
			return WB_ENOTFOUND;
		at = row.version - 1;
	}
	if (code != WB_OK)
		return code;
	ret->version = row.version;
	ret->tag = row.tag;
	ret->data = row.data;
	ret->time_us = row.time_us;
	return WB_OK;
}
