/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much an append to a stream costs over LMDB itself. Two environments lie
 * side by side; commits of one and of the other take turns, so that the disk
 * treats both alike. The yardstick puts the same rows, of the same size and
 * under the same keys, into the same tables: the record, the stream's head, the
 * category's head, and a chunk of either index when one is full. It is handed
 * them ready-made and keeps the versions in memory; waybill reads the head,
 * compares the version, encodes, and seals.
 *
 * A pair is --commits commits of each; the line says for each pair how fast
 * the appends were in units of the yardstick.
 *
 *   --dir D --streams 10000 --batch 1000 --commits N --pairs 7 --body 256
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <waybill/stream.h>

#include "bench/common.h"
#include "lib/base/bytes.h"
#include "lib/event/record.h"
#include "lib/journal/stream_rows.h"
#include "lib/store/row.h"

enum {
	NAME_MAX_ = 32,
	KEY_LEN = 16,
	HEAD_BYTES = WBI_ROW_EXTRA + 24,
	STREAM_HEAD = HEAD_BYTES + 8 * (WBI_STREAM_CHUNK - 1),
	CATEGORY_HEAD = HEAD_BYTES + 8 * (WBI_CATEGORY_CHUNK - 1),
	STREAM_CHUNK_ROW = WBI_ROW_EXTRA + 8 * WBI_STREAM_CHUNK,
	CATEGORY_CHUNK_ROW = WBI_ROW_EXTRA + 8 * WBI_CATEGORY_CHUNK
};

typedef struct plain {
	MDB_env *env;
	MDB_dbi journal, streams, stream_index, categories, category_index;
	uint64_t position;
	uint64_t *versions;
	uint8_t rows[1024]; /* what a row's bytes are does not matter */
	uint8_t *record;
	size_t record_size;
} plain;

typedef struct bench {
	size_t streams, batch;
	uint32_t seed;
	char (*names)[NAME_MAX_];
	uint64_t *versions;
	char body[BENCH_BODY_MAX];
	size_t body_bytes;
	uint32_t *order; /* of one batch: the same for both sides */
	wb_store *store;
	wb_outbox *outbox;
	plain plain;
} bench;

/* ---- the yardstick ------------------------------------------------------ */

static void must(int rc, const char *what)
{
	if (rc != 0)
		bench_die(what, mdb_strerror(rc));
}

static void plain_open(plain *p, const char *dir)
{
	MDB_txn *txn;

	if (mkdir(dir, 0700))
		bench_die(dir, "cannot make it");
	must(mdb_env_create(&p->env), "mdb_env_create");
	must(mdb_env_set_mapsize(p->env, (size_t)32 << 30), "map size");
	must(mdb_env_set_maxdbs(p->env, 8), "tables");
	must(mdb_env_open(p->env, dir, MDB_NOTLS, 0600), dir);
	must(mdb_txn_begin(p->env, NULL, 0, &txn), "begin");
	must(mdb_dbi_open(txn, "journal", MDB_CREATE | MDB_INTEGERKEY,
			  &p->journal),
	     "table");
	must(mdb_dbi_open(txn, "streams", MDB_CREATE, &p->streams), "table");
	must(mdb_dbi_open(txn, "si", MDB_CREATE, &p->stream_index), "table");
	must(mdb_dbi_open(txn, "categories", MDB_CREATE, &p->categories),
	     "table");
	must(mdb_dbi_open(txn, "ci", MDB_CREATE, &p->category_index), "table");
	must(mdb_txn_commit(txn), "commit");
}

static void plain_put(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t len,
		      const void *value, size_t size, unsigned flags)
{
	MDB_val k = {len, (void *)(uintptr_t)key};
	MDB_val v = {size, (void *)(uintptr_t)value};

	must(mdb_put(txn, dbi, &k, &v, flags), "put");
}

static void plain_chunk(plain *p, MDB_txn *txn, MDB_dbi dbi, uint64_t number,
			uint64_t ordinal, size_t size)
{
	uint8_t key[KEY_LEN];

	wbi_put_be64(key, number);
	wbi_put_be64(key + 8, ordinal);
	plain_put(txn, dbi, key, sizeof(key), p->rows, size, 0);
}

static void plain_event(bench *b, MDB_txn *txn, uint32_t stream)
{
	plain *p = &b->plain;
	const char *name = b->names[stream];
	uint64_t version = ++p->versions[stream];

	p->position++;
	plain_put(txn, p->journal, &p->position, sizeof(p->position), p->record,
		  p->record_size, MDB_APPEND);
	plain_put(txn, p->streams, name, strlen(name), p->rows, STREAM_HEAD, 0);
	plain_put(txn, p->categories, "booking", 7, p->rows, CATEGORY_HEAD, 0);
	if (version % WBI_STREAM_CHUNK == 0)
		plain_chunk(p, txn, p->stream_index, stream + 1,
			    version / WBI_STREAM_CHUNK - 1, STREAM_CHUNK_ROW);
	if (p->position % WBI_CATEGORY_CHUNK == 0)
		plain_chunk(p, txn, p->category_index, 1,
			    p->position / WBI_CATEGORY_CHUNK - 1,
			    CATEGORY_CHUNK_ROW);
}

static void plain_commit(bench *b)
{
	MDB_txn *txn;

	must(mdb_txn_begin(b->plain.env, NULL, 0, &txn), "begin");
	for (size_t i = 0; i < b->batch; i++)
		plain_event(b, txn, b->order[i]);
	must(mdb_txn_commit(txn), "commit");
}

/* ---- ours --------------------------------------------------------------- */

static void our_event(bench *b, MDB_txn *txn, uint32_t stream)
{
	wb_event event = {.type = wb_str_from("booking.changed"),
			  .content_type = wb_str_from("application/json"),
			  .data = wb_str_n(b->body, b->body_bytes)};
	wb_stream_write write = {.stream = wb_str_from(b->names[stream]),
				 .expected = b->versions[stream],
				 .events = &event,
				 .count = 1};
	wb_error err = WB_ERROR_INIT;

	if (wb_stream_append(b->outbox, txn, &write, NULL, &err))
		bench_die("append", err.text);
	b->versions[stream]++;
}

static void our_commit(bench *b)
{
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;

	if (wb_store_begin(b->store, &txn, &err))
		bench_die("begin", err.text);
	for (size_t i = 0; i < b->batch; i++)
		our_event(b, txn, b->order[i]);
	if (wb_store_commit(b->store, txn, &err))
		bench_die("commit", err.text);
}

/* ---- both --------------------------------------------------------------- */

/* A record as ours will be. */
static void prepare_record(bench *b)
{
	wb_event event = {.id = wb_str_from("0190aaaa-bbbb-7ccc-8ddd-"
					    "eeeeffff0001"),
			  .type = wb_str_from("booking.changed"),
			  .source = wb_str_from("/bench"),
			  .subject = wb_str_from(b->names[0]),
			  .key = wb_str_from(b->names[0]),
			  .sequence = 1,
			  .time_us = 1,
			  .content_type = wb_str_from("application/json"),
			  .data = wb_str_n(b->body, b->body_bytes)};

	b->plain.record_size = wbi_record_size(&event);
	b->plain.record = calloc(1, b->plain.record_size);
	if (!b->plain.record)
		bench_die("stream", "no memory");
	wbi_record_encode(&event, 1, b->plain.record, b->plain.record_size);
}

static void prepare(bench *b, const char *dir)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	char path[4096];

	b->names = calloc(b->streams, sizeof(*b->names));
	b->versions = calloc(b->streams, sizeof(*b->versions));
	b->plain.versions = calloc(b->streams, sizeof(*b->versions));
	b->order = calloc(b->batch, sizeof(*b->order));
	if (!b->names || !b->versions || !b->plain.versions || !b->order)
		bench_die("stream", "no memory");
	for (size_t i = 0; i < b->streams; i++)
		snprintf(b->names[i], NAME_MAX_, "booking/%08zu",
			 i * 2654435761u % 100000000);
	bench_body(b->body, b->body_bytes);
	prepare_record(b);
	snprintf(path, sizeof(path), "%s/plain", dir);
	plain_open(&b->plain, path);
	snprintf(path, sizeof(path), "%s/waybill", dir);
	options.service = "bench";
	options.keep_bytes = UINT64_MAX;
	if (wb_store_create(path, &options, &err) ||
	    wb_store_open(path, NULL, &b->store, &err) ||
	    wb_outbox_open(b->store, NULL, &b->outbox, &err))
		bench_die(path, err.text);
}

static void draw(bench *b)
{
	for (size_t i = 0; i < b->batch; i++) {
		b->seed = b->seed * 1664525 + 1013904223;
		b->order[i] = (uint32_t)((uint64_t)b->seed * b->streams >> 32);
	}
}

static void pair(bench *b, uint64_t commits, bool say)
{
	uint64_t ours = 0, bare = 0, cpu_ours = 0, cpu_bare = 0;
	double events = (double)(commits * b->batch);

	for (uint64_t i = 0; i < 2 * commits; i++) {
		bool first = i % 2 == (i / 2) % 2; /* ab ba ab ba */
		uint64_t cpu, start;

		if (i % 2 == 0)
			draw(b);
		cpu = bench_cpu_us();
		start = bench_now_ns();
		if (first) {
			our_commit(b);
			ours += bench_now_ns() - start;
			cpu_ours += bench_cpu_us() - cpu;
		} else {
			plain_commit(b);
			bare += bench_now_ns() - start;
			cpu_bare += bench_cpu_us() - cpu;
		}
	}
	if (say)
		printf("ratio=%.3f ours_rate=%.0f plain_rate=%.0f "
		       "ours_us=%.3f plain_us=%.3f ours_cpu_us=%.3f "
		       "plain_cpu_us=%.3f record_bytes=%zu\n",
		       (double)bare / (double)ours, events / (double)ours * 1e9,
		       events / (double)bare * 1e9, (double)ours / 1e3 / events,
		       (double)bare / 1e3 / events, (double)cpu_ours / events,
		       (double)cpu_bare / events, b->plain.record_size);
}

int main(int argc, char **argv)
{
	uint64_t pairs = bench_number(argc, argv, "--pairs", 7);
	uint64_t commits = bench_number(argc, argv, "--commits", 100);
	bench *b = calloc(1, sizeof(*b));

	if (!b)
		bench_die("stream", "no memory");
	b->streams = bench_number(argc, argv, "--streams", 10000);
	b->batch = bench_number(argc, argv, "--batch", 1000);
	b->body_bytes = bench_number(argc, argv, "--body", 256);
	b->seed = 42;
	if (b->batch == 0 || b->streams == 0 || b->streams > 10000000 ||
	    b->body_bytes > BENCH_BODY_MAX)
		bench_die("stream", "a number is out of range");
	prepare(b, bench_text(argc, argv, "--dir", "."));
	/* Every stream has a few versions before anything is measured. */
	pair(b, 4 * b->streams / b->batch + 1, false);
	for (uint64_t i = 0; i < pairs; i++)
		pair(b, commits, true);
	wb_outbox_close(b->outbox);
	wb_store_close(b->store);
	mdb_env_close(b->plain.env);
	free(b->names);
	free(b->versions);
	free(b->plain.versions);
	free(b->plain.record);
	free(b->order);
	free(b);
	return 0;
}
