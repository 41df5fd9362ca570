/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What it costs to have an event handled. The handler counts per key, one get
 * and one put. Three sides take turns, each with a store of its own:
 *
 *   plain     the same gets and puts, 250 a commit, and nothing else
 *   free      dispatch calls the handler, from a filled inbox
 *   waiting   likewise, while one key waits for a retry with --followers
 *             events behind it (which are not counted)
 *
 * CPU is user and system, time is the clock's; every commit is synced. The
 * pauses that dispatch leaves for other writers are slept.
 *
 *   --dir D --events 50000 --keys 1000 --body 256 --followers 100000 --pairs 7
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/common.h"
#include "inbox/dispatch.h"
#include "lib/journal/journal.h"

enum { DISPATCH_PLAIN, DISPATCH_FREE, DISPATCH_WAITING, DISPATCH_SIDES };

typedef struct side {
	wb_store *store;
	wbi_calls *calls;
	wbi_dispatch *dispatch;
	MDB_dbi counters;
	wb_handler handler;
	uint64_t ns, cpu_us;
} side;

typedef struct settings {
	uint64_t events, keys, body, followers, batch;
	char *data;
} settings;

/* ---- the handler ------------------------------------------------------- */

static int dispatch_count(MDB_txn *txn, MDB_dbi counters, wb_str key)
{
	MDB_val k = {key.len, (void *)(uintptr_t)key.ptr}, v;
	uint64_t n = 0;

	if (mdb_get(txn, counters, &k, &v) == MDB_SUCCESS)
		memcpy(&n, v.mv_data, sizeof(n));
	n++;
	v = (MDB_val){sizeof(n), &n};
	return mdb_put(txn, counters, &k, &v, 0);
}

static wb_code dispatch_handle(wb_call *call, const wb_event *event,
			       wb_error *err)
{
	const side *s = wb_call_handler(call)->ctx;
	int rc;

	if (event->key.ptr[0] == 'w')
		return wb_retry(err, "not today");
	rc = dispatch_count(wb_call_txn(call), s->counters, event->key);
	return rc ? wb_store_error(rc, err, "count") : WB_OK;
}

static wb_code dispatch_open(const wb_handler *self, wb_store *store,
			     MDB_txn *txn, void **ret_state, wb_error *err)
{
	side *s = self->ctx;
	int rc = mdb_dbi_open(txn, "counters", MDB_CREATE, &s->counters);

	(void)store;
	*ret_state = s;
	return wb_store_error(rc, err, "counters");
}

/* ---- stores -------------------------------------------------------------- */

static void side_open(side *s, const char *dir, const char *name,
		      uint64_t batch)
{
	static const char *const types[] = {"order.*", NULL};
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_worker_options worker = WB_WORKER_OPTIONS_INIT;
	const wb_handler *handlers[] = {&s->handler};
	wb_error err = WB_ERROR_INIT;
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	options.service = "bench";
	worker.batch_max = (uint32_t)batch;
	if (wb_store_create(path, &options, &err) ||
	    wb_store_open(path, NULL, &s->store, &err) ||
	    wbi_calls_open(path, &s->calls, &err))
		bench_die(path, err.text);
	s->handler = (wb_handler)WB_HANDLER_INIT;
	s->handler.name = "counter";
	s->handler.types = types;
	s->handler.handle = dispatch_handle;
	s->handler.open = dispatch_open;
	s->handler.attempts_max = 1000000;
	s->handler.backoff_min_ms = s->handler.backoff_max_ms = 300000;
	s->handler.ctx = s;
	if (wbi_dispatch_open(s->store, handlers, 1, &worker, s->calls,
			      &s->dispatch, &err))
		bench_die(path, err.text);
}

static void side_close(side *s)
{
	wbi_dispatch_close(s->dispatch);
	wbi_calls_close(s->calls);
	wb_store_close(s->store);
}

static wb_str key_of(const settings *set, uint64_t i, char buf[32])
{
	int len = snprintf(buf, 32, "k%" PRIu64, i % set->keys);

	return wb_str_n(buf, (size_t)len);
}

/* `key` NULL: those of the settings, in turn. */
static void side_fill(side *s, const settings *set, uint64_t count,
		      const char *key)
{
	wbi_journal inbox = wbi_journal_of(s->store, WBI_INBOX);
	char id[WB_UUID_TEXT_LEN + 1], buf[32];
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = NULL;
	uint64_t at;

	for (uint64_t i = 0; i < count; i++) {
		wb_event event = {.type = wb_str_from("order.placed"),
				  .source = wb_str_from("/orders"),
				  .time_us = 1,
				  .data = wb_str_n(set->data, set->body)};

		event.key = key ? wb_str_from(key) : key_of(set, i, buf);
		wb_uuid7(wb_system_clock(), wb_system_random(), id);
		event.id = wb_str_from(id);
		if ((!txn && wb_store_begin(s->store, &txn, &err)) ||
		    wbi_journal_append(&inbox, txn, &event, 1,
				       wb_str_from("/orders"), &at, &err))
			bench_die("fill", err.text);
		if (i % 1000 != 999 && i + 1 < count)
			continue;
		if (wb_store_commit(s->store, txn, &err))
			bench_die("fill", err.text);
		txn = NULL;
	}
}

/* ---- the sides ----------------------------------------------------------- */

static void side_plain(side *s, const settings *set)
{
	wb_error err = WB_ERROR_INIT;
	char buf[32];
	MDB_txn *txn;

	for (uint64_t i = 0; i < set->events;) {
		if (wb_store_begin(s->store, &txn, &err))
			bench_die("begin", err.text);
		for (uint64_t n = 0; n < set->batch && i < set->events;
		     n++, i++)
			if (dispatch_count(txn, s->counters,
					   key_of(set, i, buf)))
				bench_die("count", "failed");
		if (wb_store_commit(s->store, txn, &err))
			bench_die("commit", err.text);
	}
}

static void side_dispatch(side *s)
{
	wb_error err = WB_ERROR_INIT;

	for (;;) {
		int64_t at;

		if (wbi_dispatch_step(s->dispatch, true, &err))
			bench_die("step", err.text);
		if (wbi_dispatch_get_stat(s->dispatch).idle)
			return;
		at = wbi_dispatch_deadline_us(s->dispatch);
		if (at != INT64_MAX)
			bench_sleep_until_ns((uint64_t)at * 1000);
	}
}

static void side_measure(side *s, const settings *set, bool plain)
{
	uint64_t cpu, ns;

	if (!plain)
		side_fill(s, set, set->events, NULL);
	cpu = bench_cpu_us();
	ns = bench_now_ns();
	if (plain)
		side_plain(s, set);
	else
		side_dispatch(s);
	s->ns = bench_now_ns() - ns;
	s->cpu_us = bench_cpu_us() - cpu;
}

static void dispatch_pair(side sides[DISPATCH_SIDES], const settings *set,
			  uint64_t turn)
{
	double n = (double)set->events, per[DISPATCH_SIDES];

	for (unsigned i = 0; i < DISPATCH_SIDES; i++) {
		unsigned which = (unsigned)((turn + i) % DISPATCH_SIDES);

		side_measure(&sides[which], set, which == DISPATCH_PLAIN);
	}
	for (unsigned i = 0; i < DISPATCH_SIDES; i++)
		per[i] = (double)sides[i].cpu_us / n;
	printf("plain_cpu_us=%.3f free_cpu_us=%.3f above_us=%.3f "
	       "waiting_cpu_us=%.3f free_rate=%.0f waiting_rate=%.0f "
	       "waiting_ratio=%.3f\n",
	       per[0], per[1], per[1] - per[0], per[2],
	       n * 1e9 / (double)sides[DISPATCH_FREE].ns,
	       n * 1e9 / (double)sides[DISPATCH_WAITING].ns,
	       (double)sides[DISPATCH_FREE].ns /
		       (double)sides[DISPATCH_WAITING].ns);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"plain", "free", "waiting"};
	settings set = {
		.events = bench_number(argc, argv, "--events", 50000),
		.keys = bench_number(argc, argv, "--keys", 1000),
		.body = bench_number(argc, argv, "--body", 256),
		.followers = bench_number(argc, argv, "--followers", 100000),
		.batch = bench_number(argc, argv, "--batch", 250),
	};
	uint64_t pairs = bench_number(argc, argv, "--pairs", 7);
	const char *dir = bench_text(argc, argv, "--dir", ".");
	side sides[DISPATCH_SIDES] = {{.ns = 0}};

	set.data = calloc(1, set.body + 1);
	if (!set.data || set.keys == 0 || set.batch == 0)
		bench_die("settings", "no memory, or zero");
	for (int i = 0; i < DISPATCH_SIDES; i++)
		side_open(&sides[i], dir, names[i], set.batch);
	side_fill(&sides[DISPATCH_WAITING], &set, set.followers, "waits");
	side_dispatch(&sides[DISPATCH_WAITING]);
	for (uint64_t i = 0; i < pairs; i++)
		dispatch_pair(sides, &set, i);
	for (int i = 0; i < DISPATCH_SIDES; i++)
		side_close(&sides[i]);
	free(set.data);
	return 0;
}
