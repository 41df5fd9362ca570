/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/outbox/stream_rig.h"

#include <inttypes.h>

#include "lib/journal/maintain.h"

void rig_open(stream_rig *rig, const char *dir)
{
	wb_error err = WB_ERROR_INIT;

	rig->store = test_store_open(dir);
	assert_ok(wb_outbox_open(rig->store, NULL, &rig->outbox, &err), err);
}

void rig_make(stream_rig *rig, const char *dir)
{
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;

	options.keep_bytes = UINT64_MAX;
	assert_ok(wb_store_create(dir, &options, &err), err);
	rig_open(rig, dir);
}

void rig_close(stream_rig *rig)
{
	wb_outbox_close(rig->outbox);
	wb_store_close(rig->store);
	rig->outbox = NULL;
	rig->store = NULL;
}

MDB_txn *rig_begin(stream_rig *rig)
{
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = NULL;

	assert_ok(wb_store_begin(rig->store, &txn, &err), err);
	return txn;
}

void rig_commit(stream_rig *rig, MDB_txn *txn)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_store_commit(rig->store, txn, &err), err);
}

static wb_str rig_data(const char *stream, unsigned number, char buf[300])
{
	int n = snprintf(buf, 300, "%s %u", stream, number);

	return wb_str_n(buf, (size_t)n);
}

static wb_code rig_append_in(stream_rig *rig, MDB_txn *txn, const char *stream,
			     uint64_t expected, unsigned number, const char *id,
			     wb_stream_written *ret, wb_error *err)
{
	char buf[300];
	wb_event event = {.type = S("thing.done"), .id = wb_str_from(id)};
	wb_stream_write write = {.stream = wb_str_from(stream),
				 .expected = expected,
				 .events = &event,
				 .count = 1};

	event.data = rig_data(stream, number, buf);
	return wb_stream_append(rig->outbox, txn, &write, ret, err);
}

wb_code rig_append(stream_rig *rig, const char *stream, uint64_t expected,
		   unsigned number, const char *id, wb_stream_written *ret,
		   wb_error *err)
{
	MDB_txn *txn = rig_begin(rig);
	wb_code code =
		rig_append_in(rig, txn, stream, expected, number, id, ret, err);

	/* A refusal leaves it usable, so it must be possible to commit. */
	rig_commit(rig, txn);
	return code;
}

void rig_grow(stream_rig *rig, const char *stream, unsigned count)
{
	wb_error err = WB_ERROR_INIT;
	wb_stream_info info = {0};
	MDB_txn *txn = rig_begin(rig);
	wb_code code = wb_stream_stat(rig->store, txn, wb_str_from(stream),
				      &info, &err);

	assert_true(code == WB_OK || code == WB_ENOTFOUND);
	wb_error_clear(&err);
	for (unsigned i = 0; i < count; i++) {
		wb_stream_written written = {0};

		assert_ok(rig_append_in(rig, txn, stream, info.version + i,
					(unsigned)info.version + 1 + i, NULL,
					&written, &err),
			  err);
		assert_int_equal(written.version, info.version + 1 + i);
		assert_false(written.repeated);
	}
	rig_commit(rig, txn);
}

static void rig_read(stream_rig *rig, const char *stream, uint64_t from,
		     uint64_t to, bool backwards)
{
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_stream_reader *reader = NULL;
	uint64_t version = backwards ? to : from;
	wb_stream_event got;
	char buf[300];

	query.stream = wb_str_from(stream);
	query.after = backwards ? to + 1 : from - 1;
	query.backwards = backwards;
	query.batch = 3;
	assert_ok(wb_stream_open(rig->store, NULL, &query, &reader, &err), err);
	for (uint64_t n = from; n <= to; n++) {
		assert_ok(wb_stream_next(reader, &got, &err), err);
		assert_int_equal(got.event.sequence, version);
		assert_true(wb_str_eq(got.event.subject, query.stream));
		assert_true(
			wb_str_eq(got.event.data,
				  rig_data(stream, (unsigned)version, buf)));
		assert_false(got.truncated);
		version = backwards ? version - 1 : version + 1;
	}
	wb_stream_close(reader);
}

void rig_assert_stream(stream_rig *rig, const char *stream, uint64_t from,
		       uint64_t to)
{
	rig_read(rig, stream, from, to, false);
	rig_read(rig, stream, from, to, true);
}

/* With the id of the event there, as fsck compares it. */
void rig_settle(stream_rig *rig, uint64_t position, uint64_t floor)
{
	wbi_journal outbox = wbi_journal_of(rig->store, WBI_OUTBOX);
	wbi_relay_cursor cursor = {.position = position, .floor = floor};
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = rig_begin(rig), *relay_txn = NULL;
	wbi_reader reader;
	wb_event event;
	wb_str record;

	assert_ok(wbi_reader_open(&reader, &outbox, txn, position - 1, &err),
		  err);
	assert_ok(wbi_reader_next(&reader, &event, &record, &err), err);
	memcpy(cursor.origin, outbox.origin, sizeof(cursor.origin));
	memcpy(cursor.event_id, event.id.ptr, event.id.len);
	wbi_reader_close(&reader);
	wb_store_abort(txn);
	assert_ok(wbi_txn_begin(wbi_store_relay_env(rig->store), true,
				&relay_txn, &err),
		  err);
	assert_ok(wbi_relay_cursor_write(rig->store, relay_txn, &cursor, &err),
		  err);
	assert_ok(wbi_txn_commit(relay_txn, &err), err);
}

static void rig_finding(void *ctx, const wbi_finding *finding)
{
	(void)ctx;
	fprintf(stderr, "%s %s %" PRIu64 ": %s\n", finding->file,
		finding->table, finding->position, finding->text);
}

void rig_assert_sound(const char *dir)
{
	wbi_check_report report = {.finding = rig_finding};
	wb_error err = WB_ERROR_INIT;
	wbi_check_result result;

	assert_ok(wbi_store_check(dir, &report, &result, &err), err);
	assert_int_equal(result.findings, 0);
}
