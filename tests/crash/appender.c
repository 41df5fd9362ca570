/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A service, for tests that kill it: appends numbered events in transactions
 * that also write a row of a table of its own, and tells a log what it tried
 * and what was committed.
 *
 *   appender STORE LOG FIRST TRANSACTIONS EVENTS
 *
 * Events are called e-N, N from FIRST on. Lines of the log, each written by
 * one system call before (k, x) or after (c) what it tells of:
 *
 *   k N T KEY   event N is about to be appended in transaction T
 *   x N T KEY   the same, in a part that will be aborted: must never be seen
 *   c T         transaction T is committed
 *
 * The row of transaction T in table "service" says how many events it has. T
 * is the number of its first event. Some transactions append in a batch, some
 * abort a nested one, every fifth is aborted as a whole.
 */
#include <inttypes.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <waybill/outbox.h>

#include "tests/crash/stream.h"

enum { BATCH_MAX = 64 };

typedef struct service {
	wb_store *store;
	wb_outbox *outbox;
	MDB_dbi table;
	int log;
	uint64_t next;
} service;

/* Past a preloaded library, so that the log is no point to die at. */
static void service_say(const service *s, const char *line, int len)
{
	if (syscall(SYS_write, s->log, line, (size_t)len) != len)
		abort();
}

static void service_attempt(const service *s, uint64_t number, uint64_t txn,
			    bool kept)
{
	char line[128];

	service_say(s, line,
		    snprintf(line, sizeof(line),
			     "%c %" PRIu64 " %" PRIu64 " %s\n", kept ? 'k' : 'x',
			     number, txn, stream_key_of(number)));
}

static wb_code service_append(service *s, MDB_txn *txn, uint64_t number,
			      wb_error *err)
{
	stream_event e;

	stream_event_of(number, &e);
	return wb_outbox_append(s->outbox, txn, &e.event, NULL, err);
}

/* One event in a nested transaction that is taken back. */
static wb_code service_waver(service *s, MDB_txn *txn, uint64_t first,
			     wb_error *err)
{
	MDB_txn *nested;
	wb_code code;

	if (mdb_txn_begin(wb_store_env(s->store), txn, 0, &nested) != 0)
		return wb_error_set(err, WB_EIO, 0, __func__, "nested");
	service_attempt(s, s->next, first, false);
	code = service_append(s, nested, s->next++, err);
	mdb_txn_abort(nested);
	return code;
}

static wb_code service_batch(service *s, MDB_txn *txn, uint64_t first,
			     uint64_t count, wb_error *err)
{
	static stream_event e[BATCH_MAX];
	wb_event events[BATCH_MAX];

	for (uint64_t i = 0; i < count; i++) {
		service_attempt(s, s->next, first, true);
		stream_event_of(s->next++, &e[i]);
		events[i] = e[i].event;
	}
	return wb_outbox_append_batch(s->outbox, txn, events, count, NULL,
				      NULL, err);
}

static wb_code service_row(service *s, MDB_txn *txn, uint64_t first,
			   uint64_t count, wb_error *err)
{
	MDB_val key = {sizeof(first), &first}, value = {sizeof(count), &count};
	int rc = mdb_put(txn, s->table, &key, &value, 0);

	return rc ? wb_error_set(err, WB_EIO, rc, __func__, "own table: %s",
				 mdb_strerror(rc))
		  : WB_OK;
}

/* All but the commit. The row stands between the events. */
static wb_code service_fill(service *s, MDB_txn *txn, unsigned turn,
			    uint64_t count, wb_error *err)
{
	bool kept = turn % 5 != 4;
	uint64_t first = s->next;
	wb_code code = WB_OK;

	if (turn % 5 == 1)
		code = service_batch(s, txn, first, count / 2, err);
	else
		for (uint64_t i = 0; i < count / 2 && code == WB_OK; i++) {
			service_attempt(s, s->next, first, kept);
			code = service_append(s, txn, s->next++, err);
		}
	if (code == WB_OK)
		code = service_row(s, txn, first, count, err);
	if (code == WB_OK && turn % 5 == 2)
		code = service_waver(s, txn, first, err);
	for (uint64_t i = count / 2; i < count && code == WB_OK; i++) {
		service_attempt(s, s->next, first, kept);
		code = service_append(s, txn, s->next++, err);
	}
	return code;
}

static wb_code service_transaction(service *s, unsigned turn, uint64_t count,
				   wb_error *err)
{
	uint64_t first = s->next;
	char line[64];
	MDB_txn *txn;
	wb_code code = wb_store_begin(s->store, &txn, err);

	if (code != WB_OK)
		return code;
	code = service_fill(s, txn, turn, count, err);
	if (code != WB_OK || turn % 5 == 4) {
		wb_store_abort(txn);
		return code;
	}
	code = wb_store_commit(s->store, txn, err);
	if (code == WB_OK)
		service_say(s, line,
			    snprintf(line, sizeof(line), "c %" PRIu64 "\n",
				     first));
	return code;
}

static wb_code service_open(service *s, const char *dir, const char *log,
			    wb_error *err)
{
	MDB_txn *txn;
	int rc = 0;

	s->log = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (s->log < 0)
		return wb_error_set(err, WB_EIO, 0, __func__, "%s", log);
	if (wb_store_open(dir, NULL, &s->store, err) ||
	    wb_outbox_open(s->store, NULL, &s->outbox, err) ||
	    wb_store_begin(s->store, &txn, err))
		return err->code;
	rc = mdb_dbi_open(txn, STREAM_TABLE, MDB_CREATE | MDB_INTEGERKEY,
			  &s->table);
	if (rc == 0)
		return wb_store_commit(s->store, txn, err);
	wb_store_abort(txn);
	return wb_error_set(err, WB_EIO, rc, __func__, "own table");
}

int main(int argc, char **argv)
{
	wb_error err = WB_ERROR_INIT;
	service s = {.store = NULL};
	unsigned turns;
	uint64_t count;

	if (argc != 6) {
		fprintf(stderr, "Usage: appender STORE LOG FIRST TRANSACTIONS "
				"EVENTS\n");
		return 2;
	}
	s.next = strtoull(argv[3], NULL, 10);
	turns = (unsigned)strtoul(argv[4], NULL, 10);
	count = strtoull(argv[5], NULL, 10);
	if (service_open(&s, argv[1], argv[2], &err) == WB_OK)
		for (unsigned i = 0; i < turns && err.code == WB_OK; i++)
			service_transaction(&s, i, count, &err);
	wb_outbox_close(s.outbox);
	wb_store_close(s.store);
	if (err.code)
		fprintf(stderr, "appender: %s: %s\n", wb_code_name(err.code),
			err.text);
	return err.code != WB_OK;
}
