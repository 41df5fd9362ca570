/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What it costs to know an id. Two stores lie side by side, one that remembers
 * a few ids, the yardstick, and one that remembers many. Commits of both take
 * turns, each of --batch new ids added and as many of the oldest forgotten, as
 * in a worker's steady state, and every commit is synced.
 *
 * Ids are UUIDs: "ordered" ones begin with their time, as waybill's own do;
 * "random" ones are those of others. --repeat permille of them were seen
 * before. A pair is --commits commits of each; the line says for each pair how
 * many ids a second went into each.
 *
 *   --dir D --ids ordered|random --many 10000000 --few 10000 --batch 250
 *   --commits N --pairs 7 --repeat 0
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <waybill/store.h>

#include "bench/common.h"
#include "lib/journal/inbox_rows.h"

enum { DEDUPE_FILL = 200000 /* ids of a commit while filling */ };

typedef struct dedupe {
	wb_store *store;
	const wbi_store_tables *tables;
	uint64_t next, oldest; /* numbers of ids */
} dedupe;

typedef struct settings {
	bool random;
	uint64_t batch, commits, repeat;
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

static void dedupe_add(dedupe *d, MDB_txn *txn, const settings *s, uint64_t i)
{
	wb_error err = WB_ERROR_INIT;
	uint64_t known = 0;
	char buf[64];
	wb_code code = wbi_seen_add(txn, d->tables, source, id_of(s, i, buf),
				    i + 1, i, &known, &err);

	if (code != (i < d->next ? WB_EEXISTS : WB_OK) || known != i + 1)
		bench_die("add", err.code ? err.text : "known or not known");
}

/* `count` of which some were seen before, and `forget` of the oldest go. */
static void dedupe_commit(dedupe *d, const settings *s, uint64_t count,
			  bool forget)
{
	uint64_t last = d->next, gone = 0;
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;

	if (wb_store_begin(d->store, &txn, &err))
		bench_die("begin", err.text);
	for (uint64_t i = 0; i < count; i++) {
		if (s->repeat > 0 && forget &&
		    mix(last + i) % 1000 < s->repeat) {
			dedupe_add(d, txn, s,
				   d->oldest + mix(i) % (last - d->oldest));
			continue;
		}
		dedupe_add(d, txn, s, d->next);
		d->next++;
	}
	if (forget &&
	    wbi_seen_prune(txn, d->tables, d->oldest + (d->next - last),
			   d->next - last, &gone, &err))
		bench_die("prune", err.text);
	if (forget && gone != d->next - last)
		bench_die("prune", "too few");
	d->oldest += gone;
	if (wb_store_commit(d->store, txn, &err))
		bench_die("commit", err.text);
}

static void dedupe_fill(dedupe *d, const settings *s, uint64_t count)
{
	unsigned flags = MDB_NOSYNC;

	/* As fast as it goes; nothing of it is measured. */
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
	fprintf(stderr, "%s: %" PRIu64 " ids, %.1f + %.1f bytes each\n", name,
		rows, (double)seen / (double)rows, (double)ages / (double)rows);
}

int main(int argc, char **argv)
{
	settings s = {
		.random = !strcmp(bench_text(argc, argv, "--ids", "random"),
				  "random"),
		.batch = bench_number(argc, argv, "--batch", 250),
		.commits = bench_number(argc, argv, "--commits", 200),
		.repeat = bench_number(argc, argv, "--repeat", 0),
	};
	uint64_t pairs = bench_number(argc, argv, "--pairs", 7);
	const char *dir = bench_text(argc, argv, "--dir", ".");
	dedupe sides[2] = {{.next = 0}, {.next = 0}};

	dedupe_open(&sides[0], dir, "few");
	dedupe_open(&sides[1], dir, "many");
	dedupe_fill(&sides[0], &s, bench_number(argc, argv, "--few", 10000));
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
