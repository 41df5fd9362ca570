/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See handled.h. First arrival is the place in the inbox journal: the order in
 * which the worker took events in, however often the broker gave them back. An
 * event that was applied twice has two rows in the handler's own table, and is
 * a duplicate in that handler's checker.
 */
#include "tests/crash/handled.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/journal/inbox_rows.h"
#include "lib/journal/journal.h"
#include "lib/store/table.h"
#include "tests/crash/work_of.h"

enum { HANDLED_LINE_MAX = 800, HANDLED_SHOWN = 10, HANDLED_MAP = 1 << 30 };

static bool handled_say(const char *what, const char *why)
{
	fprintf(stderr, "handled: %s: %s\n", what, why);
	return false;
}

/* A consumer that never moves: the inbox keeps what all others have passed. */
static wb_code handled_hold(const char *path, wb_error *err)
{
	wbi_consumer row = {.kind = WBI_CONSUMER_HANDLER};
	wb_store *store;
	MDB_txn *txn;
	wb_code code = wb_store_open(path, NULL, &store, err);

	if (code != WB_OK)
		return code;
	snprintf(row.origin, sizeof(row.origin), "%s",
		 wbi_journal_of(store, WBI_INBOX).origin);
	code = wb_store_begin(store, &txn, err);
	if (code == WB_OK) {
		code = wbi_consumer_put(
			txn, wbi_store_get_tables(store)->consumers, 'i',
			wb_str_from("checker"), &row, err);
		if (code == WB_OK)
			code = wb_store_commit(store, txn, err);
		else
			wb_store_abort(txn);
	}
	wb_store_close(store);
	return code;
}

bool handled_init(handled *h, const char *dir, uint64_t map_bytes)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	memset(h, 0, sizeof(*h));
	snprintf(h->store, sizeof(h->store), "%.4000s/store", dir);
	snprintf(h->effects, sizeof(h->effects), "%.4000s/effects", dir);
	snprintf(h->arrivals, sizeof(h->arrivals), "%.4000s/arrivals", dir);
	options.service = "crash";
	options.map_bytes = map_bytes ? map_bytes : HANDLED_MAP;
	options.quota_bytes = options.map_bytes;
	options.keep_bytes = UINT64_MAX;
	h->count = checker_new();
	h->call = checker_new();
	h->done = checker_new();
	if (!h->count || !h->call || !h->done)
		return handled_say(dir, "out of memory");
	if (wb_store_create(h->store, &options, &err) != WB_OK ||
	    handled_hold(h->store, &err) != WB_OK)
		return handled_say(h->store, err.text);
	return true;
}

void handled_fini(handled *h)
{
	checker_free(h->count);
	checker_free(h->call);
	checker_free(h->done);
}

/* ---- the store ---------------------------------------------------------- */

/* The number in "e-N" or "f-N"; 0: none. */
static uint64_t handled_number(wb_str id, char kind)
{
	char text[32];

	if (id.len < 3 || id.len >= sizeof(text) || id.ptr[0] != kind)
		return 0;
	snprintf(text, sizeof(text), "%.*s", (int)id.len, id.ptr);
	return strtoull(text + 2, NULL, 10);
}

static size_t handled_key(handled *h, wb_str key)
{
	size_t i = 0;

	while (i < h->key_count && !wb_str_eq(key, wb_str_from(h->keys[i].key)))
		i++;
	if (i == h->key_count && h->key_count < HANDLED_KEYS)
		snprintf(h->keys[h->key_count++].key, sizeof(h->keys[0].key),
			 "%.*s", (int)key.len, key.ptr);
	return i < HANDLED_KEYS ? i : 0;
}

static void handled_taken(handled *h, const wb_event *event, uint64_t position)
{
	uint64_t number = handled_number(event->id, 'e');
	size_t key;

	if (!wb_str_eq(event->source, wb_str_from("/feeder"))) {
		h->foreign++;
		return;
	}
	key = handled_key(h, event->key);
	if (number == 0 || number > h->published ||
	    !wb_str_eq(event->key, wb_str_from(stream_key_of(number))) ||
	    !checker_appended(h->count, event->id, event->key, position,
			      CHECKER_COMMITTED) ||
	    !checker_appended(h->call, event->id, event->key, position,
			      CHECKER_COMMITTED)) {
		h->strange += !handled_say("inbox", "not published, or twice");
		return;
	}
	h->taken++;
	h->late += event->key.len > 0 && number < h->keys[key].highest;
	if (number > h->keys[key].highest)
		h->keys[key].highest = number;
}

static void handled_emitted(handled *h, const wb_event *event,
			    uint64_t position)
{
	if (handled_number(event->id, 'f') == 0 ||
	    !checker_appended(h->done, event->id, event->key, position,
			      CHECKER_COMMITTED))
		h->torn += !handled_say("outbox", "a second follow-up");
}

static wb_code handled_journal(handled *h, wb_store *store, MDB_txn *txn,
			       wbi_journal_kind kind, uint64_t *at,
			       wb_error *err)
{
	wbi_journal journal = wbi_journal_of(store, kind);
	uint64_t first, head;
	wbi_reader reader;
	wb_event event;
	wb_str record;

	if (wbi_journal_range(&journal, txn, &first, &head, err) != WB_OK ||
	    head <= *at ||
	    wbi_reader_open(&reader, &journal, txn, *at, err) != WB_OK)
		return err->code;
	while (wbi_reader_next(&reader, &event, &record, err) == WB_OK) {
		*at = reader.position;
		if (kind == WBI_INBOX)
			handled_taken(h, &event, reader.position);
		else
			handled_emitted(h, &event, reader.position);
	}
	wbi_reader_close(&reader);
	return err->code;
}

static uint64_t handled_row(MDB_txn *txn, MDB_dbi table, wb_str name)
{
	MDB_val key = {name.len, (void *)name.ptr}, value;
	uint64_t count = 0;

	if (mdb_get(txn, table, &key, &value) == 0 &&
	    value.mv_size == sizeof(count))
		memcpy(&count, value.mv_data, sizeof(count));
	return count;
}

/* The handler's own tables: each application a row, and the counts agree. */
static bool handled_tables(handled *h, MDB_txn *txn)
{
	MDB_dbi applied, counts;
	MDB_val key, value;

	if (mdb_dbi_open(txn, WORK_APPLIED, MDB_INTEGERKEY, &applied) != 0 ||
	    mdb_dbi_open(txn, WORK_COUNTS, 0, &counts) != 0)
		return true; /* no worker has been active yet */
	for (;;) {
		uint64_t next = h->applied_head + 1;
		wb_str id;

		key = (MDB_val){sizeof(next), &next};
		if (mdb_get(txn, applied, &key, &value) != 0)
			break;
		id = wb_str_n(value.mv_data, value.mv_size);
		h->applied_head = next;
		if (!checker_arrived(h->count, id))
			return handled_say("count", "out of memory");
		h->keys[handled_key(h, wb_str_from(stream_key_of(
					       handled_number(id, 'e'))))]
			.applied++;
	}
	if (handled_row(txn, counts, wb_str_from(WORK_TOTAL)) !=
		    h->applied_head ||
	    h->outbox_head != h->applied_head)
		h->torn += !handled_say("count", "its tables or its follow-ups "
						 "do not agree");
	for (size_t i = 0; i < h->key_count; i++)
		if (h->keys[i].key[0] &&
		    handled_row(txn, counts, wb_str_from(h->keys[i].key)) !=
			    h->keys[i].applied)
			h->torn += !handled_say(h->keys[i].key, "miscounted");
	return true;
}

static bool handled_read_store(handled *h)
{
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	MDB_txn *txn = NULL;
	bool ok = true;

	if (wb_store_open(h->store, NULL, &store, &err) == WB_OK &&
	    wbi_txn_begin(wb_store_env(store), false, &txn, &err) == WB_OK &&
	    handled_journal(h, store, txn, WBI_INBOX, &h->inbox_head, &err) ==
		    WB_OK &&
	    handled_journal(h, store, txn, WBI_OUTBOX, &h->outbox_head,
			    &err) == WB_OK)
		ok = handled_tables(h, txn);
	wbi_txn_abort(txn);
	wb_store_close(store);
	return err.code ? handled_say(h->store, err.text) : ok;
}

bool handled_dead(const handled *h, uint64_t *ret)
{
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	MDB_txn *txn = NULL;
	uint64_t bytes;

	if (wb_store_open(h->store, NULL, &store, &err) == WB_OK &&
	    wbi_txn_begin(wb_store_env(store), false, &txn, &err) == WB_OK)
		wbi_table_size(txn, wbi_store_get_tables(store)->dead, &bytes,
			       ret, &err);
	wbi_txn_abort(txn);
	wb_store_close(store);
	return err.code ? handled_say(h->store, err.text) : true;
}

/* ---- files -------------------------------------------------------------- */

/* The first words of whole lines of a file, from *at on. */
static bool handled_file(handled *h, const char *path, long *at, bool effects)
{
	checker *books = effects ? h->call : h->done;
	char line[HANDLED_LINE_MAX], wanted[HANDLED_LINE_MAX];
	FILE *file = fopen(path, "r");
	bool ok = true;

	if (!file)
		return true; /* nothing has come yet */
	fseek(file, *at, SEEK_SET);
	while (ok && fgets(line, sizeof(line), file) && strchr(line, '\n')) {
		size_t len = strcspn(line, " ");

		*at = ftell(file);
		snprintf(wanted, sizeof(wanted), " call:/feeder:%.*s\n",
			 (int)len, line);
		if (effects && !strstr(line, wanted))
			h->unstable += !handled_say("call", line);
		ok = checker_arrived(books, wb_str_n(line, len));
	}
	fclose(file);
	return ok;
}

bool handled_look(handled *h, bool *ret_all)
{
	if (!handled_read_store(h) ||
	    !handled_file(h, h->effects, &h->effects_at, true) ||
	    !handled_file(h, h->arrivals, &h->arrivals_at, false))
		return false;
	*ret_all = h->taken == h->published &&
		   checker_count(h->count).lost == 0 &&
		   checker_count(h->call).lost == 0;
	return true;
}

bool handled_await_arrivals(handled *h, int timeout_ms)
{
	const struct timespec pause = {0, 5000000};

	for (int ms = 0; ms < timeout_ms; ms += 5) {
		if (!handled_file(h, h->arrivals, &h->arrivals_at, false))
			return false;
		if (checker_count(h->done).lost == 0)
			return true;
		nanosleep(&pause, NULL);
	}
	return handled_say("follow-ups", "not all have arrived");
}

/* ---- the end ------------------------------------------------------------ */

static bool handled_one(checker *c, const char *name, uint64_t doubles_max)
{
	checker_counts n = checker_count(c);

	printf("%s: ", name);
	checker_print(&n, stdout);
	if (checker_is_clean(&n) && n.duplicate <= doubles_max)
		return true;
	checker_explain(c, stderr, HANDLED_SHOWN);
	return false;
}

bool handled_close_books(handled *h, uint64_t kills)
{
	checker_counts count = checker_count(h->count);
	checker_counts call = checker_count(h->call);
	bool ok = handled_one(h->count, "count", 0);

	ok = handled_one(h->call, "call", kills) && ok;
	ok = handled_one(h->done, "follow-ups", UINT64_MAX) && ok;
	printf("handled: attempted=%" PRIu64 " acked=%" PRIu64 " lost=%" PRIu64
	       " phantom=%" PRIu64 " reordered=%" PRIu64
	       " double-applied=%" PRIu64 " torn=%" PRIu64
	       "; late at the worker=%" PRIu64 ", calls repeated=%" PRIu64
	       ", follow-ups repeated=%" PRIu64 "\n",
	       h->published, h->taken,
	       h->published - h->taken + count.lost + call.lost,
	       h->strange + count.phantom + call.phantom,
	       count.reordered + call.reordered, count.duplicate, h->torn,
	       h->late, call.duplicate, checker_count(h->done).duplicate);
	return ok && h->taken == h->published && h->strange == 0 &&
	       h->torn == 0 && h->unstable == 0;
}
