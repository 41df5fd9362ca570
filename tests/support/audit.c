/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The account: what the consumer logged against a fresh read of the store.
 * Nothing here was counted while the events moved. The store's side is the
 * journal, every record with its checksum; the consumer's side is its log.
 *
 *   audit STORE LOG    prints the account; 0 if nothing is lost, made up or
 *                      out of order
 *   audit STORE        prints how many events wait for the relay, and no more
 *
 * Everything is held in memory at once: for demonstrations and tests, not for
 * stores of any size.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/journal/journal.h"

enum { AUDIT_EVENTS_MAX = 20000000, AUDIT_LINE_MAX = 2048 };

typedef struct event_row {
	char *id, *key;
	uint64_t arrivals;
} event_row;

typedef struct audit {
	event_row *events; /* by position - first */
	uint64_t first, head, appended;
	uint64_t cursor, parked; /* as the relay has committed them */
	uint64_t received, distinct, repeats, phantom, reordered;
	uint64_t first_ms, last_ms;
} audit;

/* Of each key, the last position that arrived for the first time. */
typedef struct key_row {
	const char *key;
	uint64_t last;
} key_row;

static wb_code audit_read_journal(audit *a, wb_store *store, MDB_txn *txn,
				  wb_error *err)
{
	wbi_journal journal = wbi_journal_of(store, WBI_OUTBOX);
	wbi_reader reader;
	wb_event event;
	wb_str record;

	if (wbi_journal_range(&journal, txn, &a->first, &a->head, err))
		return err->code;
	if (a->head == 0)
		return WB_OK;
	if (a->head - a->first >= AUDIT_EVENTS_MAX)
		return wb_error_set(err, WB_ELIMIT, 0, __func__,
				    "more than %d events", AUDIT_EVENTS_MAX);
	a->events = calloc(a->head - a->first + 1, sizeof(*a->events));
	if (!a->events)
		return wb_error_set(err, WB_ENOMEM, 0, __func__, "no memory");
	if (wbi_reader_open(&reader, &journal, txn, a->first - 1, err))
		return err->code;
	while (wbi_reader_next(&reader, &event, &record, err) == WB_OK) {
		event_row *row = &a->events[reader.position - a->first];

		row->id = strndup(event.id.ptr, event.id.len);
		row->key = event.key.len
				   ? strndup(event.key.ptr, event.key.len)
				   : NULL;
		a->appended++;
	}
	wbi_reader_close(&reader);
	return err->code;
}

static wb_code audit_read_relay(audit *a, wb_store *store, wb_error *err)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(store);
	wbi_relay_cursor cursor;
	uint64_t bytes;
	MDB_txn *txn;

	if (wbi_txn_begin(wbi_store_relay_env(store), false, &txn, err))
		return err->code;
	if (wbi_relay_cursor_read(store, txn, &cursor, err) == WB_OK)
		a->cursor = cursor.position;
	if (err->code == WB_OK)
		wbi_table_size(txn, tables->parked, &bytes, &a->parked, err);
	wbi_txn_abort(txn);
	return err->code;
}

static wb_code audit_read_store(audit *a, const char *dir, wb_error *err)
{
	wb_store *store = NULL;
	MDB_txn *txn = NULL;

	if (wb_store_open(dir, NULL, &store, err))
		return err->code;
	if (wbi_txn_begin(wb_store_env(store), false, &txn, err) == WB_OK) {
		audit_read_journal(a, store, txn, err);
		wbi_txn_abort(txn);
	}
	if (err->code == WB_OK)
		audit_read_relay(a, store, err);
	wb_store_close(store);
	return err->code;
}

/* An open table of keys, big enough never to fill up. */
static key_row *audit_key(key_row *keys, uint64_t size, const char *key)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */

	for (const char *c = key; *c; c++)
		h = (h ^ (unsigned char)*c) * UINT64_C(1099511628211);
	for (h %= size; keys[h].key && strcmp(keys[h].key, key);)
		h = (h + 1) % size;
	keys[h].key = key;
	return &keys[h];
}

static void audit_arrival(audit *a, key_row *keys, uint64_t position,
			  const char *id)
{
	event_row *row;
	key_row *key;

	a->received++;
	if (position < a->first || position > a->head ||
	    strcmp(a->events[position - a->first].id, id)) {
		a->phantom++;
		return;
	}
	row = &a->events[position - a->first];
	if (row->arrivals++ > 0) {
		a->repeats++;
		return;
	}
	a->distinct++;
	if (!row->key)
		return;
	key = audit_key(keys, 2 * (a->head - a->first + 1), row->key);
	if (position < key->last)
		a->reordered++;
	else
		key->last = position;
}

static wb_code audit_read_log(audit *a, const char *path, wb_error *err)
{
	key_row *keys = calloc(2 * (a->head - a->first + 1), sizeof(*keys));
	FILE *log = fopen(path, "r");
	char line[AUDIT_LINE_MAX], id[300], again[8];
	uint64_t ms, position;

	while (keys && log && fgets(line, sizeof(line), log)) {
		if (sscanf(line, "%" SCNu64 "\t%" SCNu64 "\t%7s\t%299[^\t]", &ms,
			   &position, again, id) != 4) {
			wb_error_set(err, WB_EINVAL, 0, __func__,
				     "%s: not a line of the consumer's: %s",
				     path, line);
			break;
		}
		a->first_ms = a->received ? a->first_ms : ms;
		a->last_ms = ms;
		audit_arrival(a, keys, position, id);
	}
	if (!log || !keys)
		wb_error_set(err, WB_ENOTFOUND, 0, __func__, "%s: no such log",
			     path);
	if (log)
		fclose(log);
	free(keys);
	return err->code;
}

static int audit_print(const audit *a)
{
	uint64_t settled = a->cursor < a->parked ? 0 : a->cursor - a->parked;
	uint64_t lost = a->appended - a->distinct - a->parked;
	uint64_t ms = a->last_ms - a->first_ms;

	printf("  appended              %8" PRIu64 "\n", a->appended);
	printf("  confirmed and routed  %8" PRIu64 "\n", settled);
	printf("  parked                %8" PRIu64 "\n", a->parked);
	printf("  received              %8" PRIu64 "   (%" PRIu64
	       " of them again)\n",
	       a->received, a->repeats);
	printf("  in order per key      %8s", a->reordered ? "NO" : "yes");
	printf("   (%" PRIu64 " out of order)\n", a->reordered);
	printf("  lost                  %8" PRIu64 "\n", lost);
	printf("  never appended        %8" PRIu64 "\n", a->phantom);
	printf("  rate                  %8.0f   events a second, first to "
	       "last arrival\n",
	       ms ? (double)a->received * 1000 / (double)ms : 0.0);
	return lost || a->phantom || a->reordered ||
	       settled + a->parked != a->appended;
}

static void audit_free(audit *a)
{
	for (uint64_t i = 0; a->events && i <= a->head - a->first; i++) {
		free(a->events[i].id);
		free(a->events[i].key);
	}
	free(a->events);
}

int main(int argc, char **argv)
{
	wb_error err = WB_ERROR_INIT;
	audit a = {0};
	int status = 1;

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "Usage: audit STORE [LOG]\n");
		return 2;
	}
	if (audit_read_store(&a, argv[1], &err) == WB_OK && argc == 2)
		status = printf("%" PRIu64 "\n", a.head - a.cursor) < 0;
	else if (err.code == WB_OK && audit_read_log(&a, argv[2], &err) == WB_OK)
		status = audit_print(&a);
	audit_free(&a);
	if (err.code)
		fprintf(stderr, "audit: %s\n", err.text);
	return status;
}
