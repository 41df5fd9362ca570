/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What it costs to know an id. Two stores lie side by side, one that remembers
 * a few ids, the yardstick, and one that remembers many. Commits of both take
 * turns, each of --batch new ids added and as many of the oldest forgotten, as
 * in a worker's steady state, and every commit is synced.
 *
 * With --append 1 new ids are those of events of 256 bytes that are appended to
 * the inbox in the same commit, and a consumer that has passed all that came
 * before lets it be pruned: what the commit of an ingest does.
 *
 * Ids are UUIDs: "ordered" ones begin with their time, as waybill's own do;
 * "random" ones are those of others. --repeat permille of them were seen
 * before. A pair is --commits commits of each; the line says for each pair how
 * many ids a second went into each.
 *
 *   --dir D --ids ordered|random --many 10000000 --few 10000 --batch 250
 *   --commits N --pairs 7 --repeat 0 --append 0
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <waybill/store.h>

#include "bench/common.h"
#include "lib/journal/inbox_rows.h"
#include "lib/journal/journal.h"
#include "lib/journal/seen.h"
#include "lib/store/store.h"

enum {
	DEDUPE_FILL = 10000, /* ids of a commit while filling */
	DEDUPE_BATCH_MAX = 1000,
	DEDUPE_ID_US = 100000 /* ages: ten ids a second */
};

typedef struct dedupe {
	wb_store *store;
	const wbi_store_tables *tables;
	uint64_t next;     /* number of an id */
	uint64_t remember; /* that many */
} dedupe;

typedef struct settings {
	bool random, append;
	uint64_t batch, commits, repeat, few;
} settings;

static const wb_str source = {"/services/orders", 16};

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* Id number i, the same in every run. */
static wb_str id_of(const settings *s, uint64_t i, char buf[64])
{
	uint64_t high = mix(i * 2 + 1), low = mix(i * 2 + 2);

	/* RFC 9562: 48 bits of milliseconds, of which 20 ids share one */
	if (!s->random)
		high = (UINT64_C(1700000000000) + i / 20) << 16 |
		       (high & 0xfff) | 0x7000;
	snprintf(buf, 64,
		 "%08" PRIx64 "-%04" PRIx64 "-%04" PRIx64 "-%04" PRIx64
		 "-%012" PRIx64,
		 high >> 32, high >> 16 & 0xffff, high & 0xffff, low >> 48,
		 low & UINT64_C(0xffffffffffff));
	return wb_str_n(buf, WB_UUID_TEXT_LEN);
}

static void dedupe_open(dedupe *d, const char *dir, const char *name)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	options.service = "bench";
	if (wb_store_create(path, &options, &err) ||
	    wb_store_open(path, NULL, &d->store, &err))
		bench_die(path, err.text);
	d->tables = wbi_store_get_tables(d->store);
}

static void dedupe_add(wbi_seen *seen, const settings *s, uint64_t i,
		       bool is_known)
{
	wb_error err = WB_ERROR_INIT;
	uint64_t known = 0;
	char buf[64];
	wb_code code = wbi_seen_add(seen, source, id_of(s, i, buf), i + 1,
				    &known, &err);

	if (code != (is_known ? WB_EEXISTS : WB_OK) || known != i + 1)
		bench_die("add", err.code ? err.text : "known or not known");
}

/* Events of the ids from number `from` on, and the consumer behind them. */
static void dedupe_append(dedupe *d, MDB_txn *txn, const settings *s,
			  uint64_t from)
{
	wbi_journal inbox = wbi_journal_of(d->store, WBI_INBOX);
	wbi_consumer consumer = {.kind = WBI_CONSUMER_HANDLER};
	char body[256], key[BENCH_KEY_MAX], buf[64];
	bench_shape shape = {.keys = 1000, .body = sizeof(body)};
	wb_error err = WB_ERROR_INIT;
	wb_str name = wb_str_from("handler");
	uint64_t at = 0;

	bench_body(body, sizeof(body));
	for (uint64_t i = from; i < d->next; i++) {
		wb_str k = wb_str_n(key, bench_key(&shape, i, key));
		wb_event event = bench_event(k, wb_str_n(body, sizeof(body)));

		event.id = id_of(s, i, buf);
		event.source = source;
		if (wbi_journal_append(&inbox, txn, &event, 1, source, &at,
				       &err))
			bench_die("append", err.text);
	}
	memcpy(consumer.origin, inbox.origin, sizeof(consumer.origin));
	consumer.position = at;
	if (at > 0 && wbi_consumer_put(txn, d->tables->consumers, 'i', name,
				       &consumer, &err))
		bench_die("consumer", err.text);
}

/* Which ids a batch has: new ones, and some that were seen before. */
static void dedupe_draw(dedupe *d, const settings *s, bool repeats,
			uint64_t count, uint64_t ret[DEDUPE_BATCH_MAX])
{
	uint64_t last = d->next;

	for (uint64_t i = 0; i < count; i++) {
		if (repeats && mix(last + i) % 1000 < s->repeat)
			ret[i] = last - 1 - mix(i) % s->few;
		else
			ret[i] = d->next++;
	}
}

/* As ingest does it: first all of the batch are announced, then added. */
static void dedupe_batch(wbi_seen *seen, const settings *s, const uint64_t *ids,
			 uint64_t count, uint64_t old)
{
	wb_error err = WB_ERROR_INIT;
	char buf[64];

	for (uint64_t i = 0; i < count; i++)
		if (wbi_seen_expect(seen, source, id_of(s, ids[i], buf), &err))
			bench_die("expect", err.text);
	for (uint64_t i = 0; i < count; i++)
		dedupe_add(seen, s, ids[i], ids[i] < old);
}

/* `count` ids in batches, and `forget` as many of the oldest. The age of the
 * store is counted in ids. */
static void dedupe_commit(dedupe *d, const settings *s, uint64_t count,
			  bool forget)
{
	uint64_t ids[DEDUPE_BATCH_MAX], last = d->next, floor;
	wb_error err = WB_ERROR_INIT;
	wbi_seen *seen;
	MDB_txn *txn;

	if (wb_store_begin(d->store, &txn, &err) ||
	    wbi_seen_open(d->store, txn, &seen, &err))
		bench_die("begin", err.text);
	for (uint64_t done = 0; done < count; done += s->batch) {
		uint64_t n = count - done < s->batch ? count - done : s->batch;
		uint64_t old = d->next;

		dedupe_draw(d, s, forget && s->repeat > 0, n, ids);
		dedupe_batch(seen, s, ids, n, old);
	}
	if (forget &&
	    wbi_seen_forget(seen, (d->next - d->remember) * DEDUPE_ID_US,
			    &floor, &err))
		bench_die("forget", err.text);
	if (wbi_seen_finish(seen, last * DEDUPE_ID_US, &err))
		bench_die("finish", err.text);
	wbi_seen_close(seen);
	if (forget && s->append)
		dedupe_append(d, txn, s, last);
	if (wb_store_commit(d->store, txn, &err))
		bench_die("commit", err.text);
}

static void dedupe_fill(dedupe *d, const settings *s, uint64_t count)
{
	unsigned flags = MDB_NOSYNC;

	/* As fast as it goes; nothing of it is measured. */
	d->remember = count;
	mdb_env_set_flags(wb_store_env(d->store), flags, 1);
	while (d->next < count) {
		uint64_t left = count - d->next;

		dedupe_commit(d, s, left < DEDUPE_FILL ? left : DEDUPE_FILL,
			      false);
	}
	mdb_env_set_flags(wb_store_env(d->store), flags, 0);
	mdb_env_sync(wb_store_env(d->store), 1);
}

static void dedupe_pair(dedupe sides[2], const settings *s)
{
	uint64_t ns[2] = {0, 0}, cpu[2] = {0, 0};
	double ids = (double)(s->commits * s->batch);

	for (uint64_t i = 0; i < 2 * s->commits; i++) {
		size_t side = i % 2 == (i / 2) % 2; /* ab ba ab ba */
		uint64_t cpu_start = bench_cpu_us();
		uint64_t start = bench_now_ns();

		dedupe_commit(&sides[side], s, s->batch, true);
		ns[side] += bench_now_ns() - start;
		cpu[side] += bench_cpu_us() - cpu_start;
	}
	printf("ratio=%.3f many_rate=%.0f few_rate=%.0f many_cpu_us=%.3f "
	       "few_cpu_us=%.3f\n",
	       (double)ns[0] / (double)ns[1], ids * 1e9 / (double)ns[1],
	       ids * 1e9 / (double)ns[0], (double)cpu[1] / ids,
	       (double)cpu[0] / ids);
	fflush(stdout);
}

static void dedupe_report(const dedupe *d, const char *name)
{
	uint64_t seen, ages, rows;
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;

	if (wb_store_begin(d->store, &txn, &err) ||
	    wbi_table_size(txn, d->tables->seen, &seen, &rows, &err) ||
	    wbi_table_size(txn, d->tables->seen_age, &ages, &rows, &err))
		bench_die(name, err.text);
	wb_store_abort(txn);
	fprintf(stderr, "%s: %" PRIu64 " ids, %.1f bytes each\n", name,
		d->remember, (double)(seen + ages) / (double)d->remember);
}

int main(int argc, char **argv)
{
	settings s = {
		.random = !strcmp(bench_text(argc, argv, "--ids", "random"),
				  "random"),
		.batch = bench_number(argc, argv, "--batch", 250),
		.commits = bench_number(argc, argv, "--commits", 200),
		.repeat = bench_number(argc, argv, "--repeat", 0),
		.append = bench_number(argc, argv, "--append", 0) > 0,
		.few = bench_number(argc, argv, "--few", 10000),
	};
	uint64_t pairs = bench_number(argc, argv, "--pairs", 7);
	const char *dir = bench_text(argc, argv, "--dir", ".");
	dedupe sides[2] = {{.next = 0}, {.next = 0}};

	if (s.batch == 0 || s.batch > DEDUPE_BATCH_MAX)
		bench_die("--batch", "out of range");
	dedupe_open(&sides[0], dir, "few");
	dedupe_open(&sides[1], dir, "many");
	dedupe_fill(&sides[0], &s, s.few);
	dedupe_fill(&sides[1], &s,
		    bench_number(argc, argv, "--many", 10000000));
	dedupe_report(&sides[0], "few");
	dedupe_report(&sides[1], "many");
	for (uint64_t i = 0; i < pairs; i++)
		dedupe_pair(sides, &s);
	dedupe_report(&sides[0], "few");
	dedupe_report(&sides[1], "many");
	for (int i = 0; i < 2; i++)
		wb_store_close(sides[i].store);
	return 0;
}
