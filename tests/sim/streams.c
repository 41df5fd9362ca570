/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * In a third of the worlds the appender sources its events: those with a key go
 * to a stream of that key, at the version that it reads, now and then at a
 * wrong one first, which must be refused. An operator truncates streams at any
 * moment; whatever the relay has yet to deliver must be there still, which its
 * arrival shows, and fsck compares every version with its record in the end.
 */
#include <inttypes.h>

#include "tests/sim/world.h"

enum { STREAM_KEYS = 6, STREAM_CUT_MAX = 3 };

static void stream_name(char kind, uint64_t key, char ret[24])
{
	snprintf(ret, 24, "x%c/%c%" PRIu64, kind, kind, key);
}

static bool stream_refused(sim_world *w, MDB_txn *txn, wb_stream_write *write,
			   uint64_t version)
{
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	write->expected = version + 1 + seeded_random_below(&w->random, 3);
	code = wb_stream_append(w->outbox, txn, write, NULL, &err);
	if (code == WB_ECONFLICT)
		return true;
	sim_fail(w, "a wrong version was taken: %s", wb_code_name(code));
	return false;
}

bool sim_stream_append(sim_world *w, MDB_txn *txn, const wb_event *event,
		       uint64_t *ret_position)
{
	wb_event own = *event;
	wb_stream_write write = {.events = &own, .count = 1};
	wb_stream_info info = {.version = 0};
	wb_stream_written written;
	char name[24];
	wb_code code;

	snprintf(name, sizeof(name), "x%c/%.*s", event->key.ptr[0],
		 (int)event->key.len, event->key.ptr);
	own.subject = WB_STR_NULL; /* the stream's name */
	write.stream = wb_str_from(name);
	code = wb_stream_stat(w->store, txn, write.stream, &info, NULL);
	if (code != WB_OK && code != WB_ENOTFOUND) {
		sim_fail(w, "stream %s: %s", name, wb_code_name(code));
		return false;
	}
	if (seeded_random_chance(&w->random, 100) &&
	    !stream_refused(w, txn, &write, info.version))
		return false;
	write.expected = info.version;
	code = wb_stream_append(w->outbox, txn, &write, &written, &w->err);
	if (code == WB_OK && written.version != info.version + 1)
		sim_fail(w, "stream %s: version %" PRIu64 " behind %" PRIu64,
			 name, written.version, info.version);
	if (code != WB_OK)
		return false;
	*ret_position = written.position;
	w->tally.stream_events++;
	return true;
}

void sim_stream_truncate(sim_world *w)
{
	wb_stream_cut cut = {.max = STREAM_CUT_MAX, .without_snapshot = true};
	wb_error err = WB_ERROR_INIT;
	wb_stream_info info;
	uint64_t floor;
	char name[24];
	MDB_txn *txn;
	wb_code code;

	stream_name(seeded_random_chance(&w->random, 500) ? 'o' : 's',
		    1 + seeded_random_below(&w->random, STREAM_KEYS), name);
	cut.stream = wb_str_from(name);
	if (wb_stream_stat(w->store, NULL, cut.stream, &info, NULL) != WB_OK)
		return;
	cut.before = info.floor + seeded_random_below(
					  &w->random,
					  info.version + 2 - info.floor);
	if (wb_store_begin(w->store, &txn, &w->err) != WB_OK) {
		sim_fail(w, "begin: %s", w->err.text);
		return;
	}
	code = wb_stream_truncate(w->store, txn, &cut, &floor, &err);
	if (code == WB_OK) {
		sim_append_commit(w, txn);
		if (w->durable)
			w->tally.truncated += floor - info.floor;
		return;
	}
	wb_store_abort(txn);
	/* The relay, or a model, has not come that far; or a model has not been
	 * built anew since a restore. */
	if (code != WB_ESTATE && code != WB_EMISMATCH)
		sim_fail(w, "truncate: %s", err.text);
}
