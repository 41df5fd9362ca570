/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See ledger.h. The log is written by a process that may be killed at any
 * call, so an event that it tried is committed or not as the journal says, and
 * wrong only where the log says "committed" and the journal does not have it,
 * where it was taken back and is there all the same, or where the service's
 * own row and the events of one transaction are not both there.
 */
#include "tests/crash/ledger.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/event/record.h"
#include "lib/journal/journal.h"
#include "outbox/parked.h"
#include "tests/crash/stream.h"

enum { LEDGER_LINE_MAX = 700, LEDGER_SHOWN = 10 };

typedef struct attempt {
	uint64_t txn, position; /* position 0: not in the journal */
	bool known, kept, committed;
} attempt;

/* What one run of the service tried: numbers first .. first + count - 1. */
typedef struct attempts {
	attempt *at;
	uint64_t first, count, capacity;
} attempts;

static bool ledger_say(const char *what, const char *why)
{
	fprintf(stderr, "ledger: %s: %s\n", what, why);
	return false;
}

bool ledger_init(ledger *l, const char *store, uint64_t map_bytes)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	memset(l, 0, sizeof(*l));
	snprintf(l->store, sizeof(l->store), "%s", store);
	snprintf(l->log, sizeof(l->log), "%.4000s.log", store);
	snprintf(l->arrivals, sizeof(l->arrivals), "%.4000s.arrivals", store);
	l->next = 1;
	options.service = "crash";
	options.map_bytes = map_bytes;
	options.keep_bytes = 256 << 10;
	l->checker = checker_new();
	if (!l->checker)
		return ledger_say(store, "out of memory");
	if (wb_store_create(store, &options, &err))
		return ledger_say(store, err.text);
	return true;
}

void ledger_fini(ledger *l)
{
	checker_free(l->checker);
}

/* LMDB forbids to open a store twice in one process. */
static wb_code ledger_open_store(const ledger *l, wb_store **ret,
				 wb_error *err)
{
	*ret = l->open;
	return l->open ? WB_OK : wb_store_open(l->store, NULL, ret, err);
}

static void ledger_close_store(const ledger *l, wb_store *store)
{
	if (store != l->open)
		wb_store_close(store);
}

/* ---- the service's log --------------------------------------------------- */

static attempt *attempts_at(attempts *a, uint64_t number)
{
	uint64_t index = number - a->first;
	uint64_t capacity = a->capacity ? a->capacity : 64;
	attempt *grown;

	if (number < a->first)
		return NULL;
	while (index >= capacity)
		capacity *= 2;
	if (capacity > a->capacity) {
		grown = realloc(a->at, capacity * sizeof(*grown));
		if (!grown)
			return NULL;
		memset(grown + a->capacity, 0,
		       (capacity - a->capacity) * sizeof(*grown));
		a->at = grown;
		a->capacity = capacity;
	}
	if (index >= a->count)
		a->count = index + 1;
	return &a->at[index];
}

static bool attempts_line(attempts *a, const char *line)
{
	uint64_t number, txn;
	attempt *at;

	if (line[0] == 'c') {
		txn = strtoull(line + 2, NULL, 10);
		for (uint64_t i = 0; i < a->count; i++)
			if (a->at[i].known && a->at[i].txn == txn)
				a->at[i].committed = true;
		return true;
	}
	if (sscanf(line + 1, "%" SCNu64 "%" SCNu64, &number, &txn) != 2)
		return ledger_say("log", line);
	at = attempts_at(a, number);
	if (!at || at->known)
		return ledger_say("log", line);
	at->known = true;
	at->kept = line[0] == 'k';
	at->txn = txn;
	return true;
}

/* Whole lines of a file from *at on. */
static bool ledger_lines(const char *path, long *at,
			 bool (*take)(void *ctx, const char *line), void *ctx)
{
	FILE *file = fopen(path, "r");
	char line[LEDGER_LINE_MAX];
	bool ok = true;

	if (!file)
		return true; /* nothing was logged yet */
	fseek(file, *at, SEEK_SET);
	while (ok && fgets(line, sizeof(line), file) && strchr(line, '\n')) {
		*at = ftell(file);
		ok = take(ctx, line);
	}
	fclose(file);
	return ok;
}

static bool ledger_attempt(void *ctx, const char *line)
{
	return attempts_line(ctx, line);
}

/* ---- the store ----------------------------------------------------------- */

static wb_code ledger_read_journal(ledger *l, wb_store *store, MDB_txn *txn,
				   attempts *a, wb_error *err)
{
	wbi_journal journal = wbi_journal_of(store, WBI_OUTBOX);
	uint64_t first, head;
	wbi_reader reader;
	wb_event event;
	wb_str record;

	if (wbi_journal_range(&journal, txn, &first, &head, err))
		return err->code;
	if (head <= l->head)
		return WB_OK;
	if (wbi_reader_open(&reader, &journal, txn, l->head, err))
		return err->code;
	while (wbi_reader_next(&reader, &event, &record, err) == WB_OK) {
		uint64_t n = strtoull(event.id.ptr + 2, NULL, 10);

		l->head = reader.position;
		if (n >= a->first && n < a->first + a->count &&
		    a->at[n - a->first].known)
			a->at[n - a->first].position = reader.position;
		else
			l->torn += !ledger_say("journal", "never attempted");
	}
	wbi_reader_close(&reader);
	return err->code;
}

/* The service's row of one transaction: 0 if there is none. */
static uint64_t ledger_row(MDB_txn *txn, MDB_dbi table, uint64_t number)
{
	MDB_val key = {sizeof(number), &number}, value;
	uint64_t count = 0;

	if (mdb_get(txn, table, &key, &value) == 0 &&
	    value.mv_size == sizeof(count))
		memcpy(&count, value.mv_data, sizeof(count));
	return count;
}

/* One transaction, from its first event on: all or nothing. */
static void ledger_compare(ledger *l, const attempts *a, uint64_t from,
			   uint64_t row)
{
	uint64_t txn = a->at[from].txn, kept = 0, there = 0;
	bool committed = a->at[from].committed;

	for (uint64_t i = from; i < a->count && a->at[i].txn == txn; i++) {
		kept += a->at[i].kept;
		there += a->at[i].position != 0;
		if (!a->at[i].kept && a->at[i].position)
			l->torn += !ledger_say("journal", "was taken back");
	}
	if (there != row || (there > 0 && there != kept) ||
	    (committed && there != kept)) {
		fprintf(stderr,
			"ledger: transaction %" PRIu64 ": tried %" PRIu64
			", %" PRIu64 " in the journal, own row says %" PRIu64
			", %s\n",
			txn, kept, there, row,
			committed ? "committed" : "not known to be committed");
		l->torn++;
	}
}

static wb_code ledger_read_store(ledger *l, attempts *a, wb_error *err)
{
	wb_store *store = NULL;
	MDB_txn *txn = NULL;
	MDB_dbi table;
	bool table_there;

	if (ledger_open_store(l, &store, err) == WB_OK &&
	    wbi_txn_begin(wb_store_env(store), false, &txn, err) == WB_OK &&
	    ledger_read_journal(l, store, txn, a, err) == WB_OK) {
		table_there = mdb_dbi_open(txn, STREAM_TABLE, MDB_INTEGERKEY,
					   &table) == 0;
		for (uint64_t i = 0; i < a->count; i++)
			if (i == 0 || a->at[i].txn != a->at[i - 1].txn)
				ledger_compare(l, a, i,
					       table_there
						       ? ledger_row(txn, table,
								    a->at[i].txn)
						       : 0);
	}
	wbi_txn_abort(txn);
	ledger_close_store(l, store);
	return err->code;
}

static bool ledger_note(ledger *l, const attempts *a)
{
	for (uint64_t i = 0; i < a->count; i++) {
		const attempt *at = &a->at[i];
		bool there = at->position != 0 || (at->committed && at->kept);
		char id[32];

		if (!at->known)
			continue;
		snprintf(id, sizeof(id), "e-%" PRIu64, a->first + i);
		if (!checker_appended(
			    l->checker, wb_str_from(id),
			    wb_str_from(stream_key_of(a->first + i)),
			    at->position,
			    there && at->kept ? CHECKER_COMMITTED
					      : CHECKER_ABORTED))
			return ledger_say(id, "out of memory, or twice");
	}
	return true;
}

bool ledger_resolve(ledger *l)
{
	attempts a = {.first = l->next};
	wb_error err = WB_ERROR_INIT;
	bool ok = ledger_lines(l->log, &l->log_at, ledger_attempt, &a);

	if (ok && ledger_read_store(l, &a, &err) != WB_OK)
		ok = ledger_say(l->store, err.text);
	ok = ok && ledger_note(l, &a);
	l->next += a.count;
	free(a.at);
	return ok;
}

/* ---- arrivals and parked events ------------------------------------------ */

static bool ledger_arrival(void *ctx, const char *line)
{
	const char *end = strchr(line, ' ');
	ledger *l = ctx;

	if (!end)
		return ledger_say("arrivals", line);
	if (strstr(end, " again"))
		l->again++;
	return checker_arrived(l->checker, wb_str_n(line, (size_t)(end - line)));
}

bool ledger_collect(ledger *l)
{
	return ledger_lines(l->arrivals, &l->arrivals_at, ledger_arrival, l);
}

/* Visits the parked rows; NULL checker: only counts. */
typedef struct parked_visit {
	checker *checker;
	uint64_t rows;
	bool failed;
} parked_visit;

static bool ledger_parked_row(void *ctx, wb_str key, uint64_t position,
			      const wbi_parked *row)
{
	parked_visit *visit = ctx;
	uint64_t stored;
	wb_event event;

	(void)key;
	(void)position;
	if (row->state == WBI_PARKED_DISCARDED)
		return true;
	visit->rows++;
	if (!visit->checker)
		return true;
	visit->failed = wbi_record_decode(row->record.ptr, row->record.len,
					  &event, &stored, NULL) != WB_OK ||
			!checker_parked(visit->checker, event.id);
	return !visit->failed;
}

static bool ledger_visit_parked(const ledger *l, parked_visit *visit)
{
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	MDB_txn *txn = NULL;

	if (ledger_open_store(l, &store, &err) == WB_OK &&
	    wbi_txn_begin(wbi_store_relay_env(store), false, &txn, &err) ==
		    WB_OK)
		wbi_parked_each(store, txn, NULL, ledger_parked_row, visit,
				&err);
	wbi_txn_abort(txn);
	ledger_close_store(l, store);
	if (err.code || visit->failed)
		return ledger_say(l->store, err.text);
	return true;
}

bool ledger_parked_rows(const ledger *l, uint64_t *ret)
{
	parked_visit visit = {.checker = NULL};

	if (!ledger_visit_parked(l, &visit))
		return false;
	*ret = visit.rows;
	return true;
}

bool ledger_wait(ledger *l, int timeout_ms)
{
	const struct timespec pause = {0, 2000000};
	uint64_t parked = 0;

	for (int ms = 0; ledger_collect(l); ms += 2) {
		checker_counts counts = checker_count(l->checker);

		/* Rows are few and each look reads all of them. */
		if (ms % 50 == 0 && !ledger_parked_rows(l, &parked))
			return false;
		if (counts.lost == parked)
			return true;
		if (ms > timeout_ms) {
			fprintf(stderr,
				"ledger: %" PRIu64 " events have not arrived, "
				"%" PRIu64 " are parked\n",
				counts.lost, parked);
			return false;
		}
		nanosleep(&pause, NULL);
	}
	return false;
}

bool ledger_close_books(ledger *l, checker_counts *ret)
{
	parked_visit visit = {.checker = l->checker};

	if (!ledger_collect(l) || !ledger_visit_parked(l, &visit))
		return false;
	*ret = checker_count(l->checker);
	if (!checker_is_clean(ret))
		checker_explain(l->checker, stderr, LEDGER_SHOWN);
	return true;
}

uint64_t ledger_repeats(ledger *l)
{
	uint64_t duplicate = checker_count(l->checker).duplicate;

	return duplicate > l->again ? duplicate - l->again : 0;
}
