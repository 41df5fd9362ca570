/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A service whose data is the state of each package of a Debian machine. It
 * reads dpkg's log from standard input; each line changes that table and
 * becomes one event, both in the same transaction, LINES_PER_COMMIT lines at a
 * time. The ordering key is the package: consumers see its history in order.
 *
 * Killed at any point, the lines of the open transaction are in neither the
 * table nor the outbox, and all earlier ones are in both.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <waybill/outbox.h>

enum { LINES_PER_COMMIT = 100, WORDS_MAX = 6, LINE_MAX_BYTES = 4096 };

typedef struct service {
	wb_store *store;
	wb_outbox *outbox;
	MDB_dbi packages; /* "name:arch" -> "state version" */
	uint64_t events, commits;
} service;

/* One line of dpkg's log (dpkg(1), --log):
 *   DATE TIME status STATE PACKAGE VERSION
 *   DATE TIME ACTION PACKAGE OLD-VERSION NEW-VERSION
 *   DATE TIME startup ACTION COMMAND, DATE TIME conffile FILE DECISION */
typedef struct entry {
	wb_str words[WORDS_MAX];
	wb_str package; /* empty where the line is about none */
	char type[64];
} entry;

static size_t entry_split(wb_str line, wb_str *words)
{
	size_t n = 0;

	for (const char *at = line.ptr, *end = at + line.len; at < end;) {
		const char *space = memchr(at, ' ', (size_t)(end - at));
		const char *stop = space ? space : end;

		if (n < WORDS_MAX)
			words[n++] = wb_str_n(at, (size_t)(stop - at));
		at = stop + 1;
	}
	return n;
}

static bool entry_parse(wb_str line, entry *e)
{
	size_t n = entry_split(line, e->words);
	wb_str action;

	if (n < 4)
		return false;
	action = e->words[2];
	e->package = WB_STR_NULL;
	if (wb_str_eq(action, wb_str_from("status")))
		e->package = n > 4 ? e->words[4] : WB_STR_NULL;
	else if (memchr(e->words[3].ptr, ':', e->words[3].len))
		e->package = e->words[3];
	snprintf(e->type, sizeof(e->type), "dpkg.%.*s",
		 (int)(action.len < 40 ? action.len : 40), action.ptr);
	return true;
}

/* The service's own data: what is known of the package now. */
static wb_code service_remember(service *s, MDB_txn *txn, const entry *e,
				wb_error *err)
{
	char state[256];
	MDB_val key = {e->package.len, (void *)e->package.ptr};
	MDB_val value = {0, state};
	int rc;

	if (!wb_str_eq(e->words[2], wb_str_from("status")))
		return WB_OK;
	value.mv_size = (size_t)snprintf(
		state, sizeof(state), "%.*s %.*s", (int)e->words[3].len,
		e->words[3].ptr, (int)e->words[5].len,
		e->words[5].ptr ? e->words[5].ptr : "");
	if (value.mv_size >= sizeof(state))
		value.mv_size = sizeof(state) - 1;
	rc = mdb_put(txn, s->packages, &key, &value, 0);
	return rc ? wb_error_set(err, WB_EIO, rc, __func__, "packages: %s",
				 mdb_strerror(rc))
		  : WB_OK;
}

static wb_code service_line(service *s, MDB_txn *txn, wb_str line,
			    wb_error *err)
{
	entry e = {0};
	wb_event event = {0};

	if (!entry_parse(line, &e))
		return WB_OK;
	if (e.package.len > 0 && service_remember(s, txn, &e, err))
		return err->code;
	event.type = wb_str_from(e.type);
	event.key = e.package;
	event.subject = e.package;
	event.content_type = wb_str_from("text/plain");
	event.data = line;
	s->events++;
	return wb_outbox_append(s->outbox, txn, &event, NULL, err);
}

/* Up to LINES_PER_COMMIT lines in one transaction; *ret_end at end of input. */
static wb_code service_commit(service *s, FILE *in, bool *ret_end,
			      wb_error *err)
{
	char buf[LINE_MAX_BYTES];
	MDB_txn *txn;

	if (wb_store_begin(s->store, &txn, err))
		return err->code;
	for (int i = 0; i < LINES_PER_COMMIT; i++) {
		if (!fgets(buf, sizeof(buf), in)) {
			*ret_end = true;
			break;
		}
		if (service_line(s, txn, wb_str_n(buf, strcspn(buf, "\n")),
				 err)) {
			wb_store_abort(txn);
			return err->code;
		}
	}
	s->commits++;
	return wb_store_commit(s->store, txn, err);
}

/* Every event is kept, so that the whole history can be compared later. */
static wb_code service_open(service *s, const char *dir, wb_error *err)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	MDB_txn *txn;

	options.service = "dpkg-history";
	options.keep_bytes = UINT64_MAX;
	if (wb_store_create(dir, &options, err) == WB_EEXISTS)
		wb_error_clear(err);
	if ((err->code || wb_store_open(dir, &options, &s->store, err)) ||
	    wb_outbox_open(s->store, NULL, &s->outbox, err) ||
	    wb_store_begin(s->store, &txn, err))
		return err->code;
	if (mdb_dbi_open(txn, "packages", MDB_CREATE, &s->packages)) {
		wb_store_abort(txn);
		return wb_error_set(err, WB_EIO, 0, __func__,
				    "packages: the table cannot be made");
	}
	return wb_store_commit(s->store, txn, err);
}

static size_t service_packages(service *s)
{
	MDB_txn *txn;
	MDB_stat stat = {0};

	if (mdb_txn_begin(wb_store_env(s->store), NULL, MDB_RDONLY, &txn) == 0) {
		mdb_stat(txn, s->packages, &stat);
		mdb_txn_abort(txn);
	}
	return stat.ms_entries;
}

int main(int argc, char **argv)
{
	wb_error err = WB_ERROR_INIT;
	service s = {0};
	bool end = false;

	if (argc != 2) {
		fprintf(stderr, "Usage: appender STORE < dpkg.log\n");
		return 2;
	}
	if (service_open(&s, argv[1], &err) == WB_OK)
		while (!end && service_commit(&s, stdin, &end, &err) == WB_OK)
			;
	if (err.code == WB_OK)
		printf("appended %" PRIu64 " events in %" PRIu64
		       " transactions, which keep the state of %zu packages\n",
		       s.events, s.commits, service_packages(&s));
	wb_outbox_close(s.outbox);
	wb_store_close(s.store);
	if (err.code)
		fprintf(stderr, "appender: %s\n", err.text);
	return err.code != WB_OK;
}
