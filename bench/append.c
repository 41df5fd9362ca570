/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much an append costs over LMDB itself. Two environments lie side by
 * side; commits of one and of the other take turns, so that the disk treats
 * both alike. The same encoded records go into both: waybill encodes them
 * inside the measured time, the yardstick is handed them ready-made.
 *
 * A pair is --commits commits of each; the line says for each pair how long
 * the appends took in units of the yardstick.
 *
 *   --dir D --batch 100|1000 --commits N --pairs 7 --body 256
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <waybill/outbox.h>

#include "bench/common.h"
#include "bench/plain_lmdb.h"
#include "lib/event/record.h"

enum { APPEND_BATCH_MAX = 10000 };

typedef struct append {
	size_t batch;
	bench_shape shape;
	wb_store *store;
	wb_outbox *outbox;
	plain_lmdb plain;
	wb_event *events; /* one batch, as a service would append it */
	char (*keys)[BENCH_KEY_MAX];
	uint8_t *records; /* the same, encoded */
	size_t record_size;
	char body[BENCH_BODY_MAX];
} append;

static void append_prepare(append *a, const char *dir)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	char path[4096], id[WB_UUID_TEXT_LEN + 1];

	snprintf(path, sizeof(path), "%s/plain", dir);
	plain_lmdb_open(&a->plain, path, (size_t)32 << 30);
	snprintf(path, sizeof(path), "%s/waybill", dir);
	options.service = "bench";
	if (wb_store_create(path, &options, &err) ||
	    wb_store_open(path, NULL, &a->store, &err) ||
	    wb_outbox_open(a->store, NULL, &a->outbox, &err))
		bench_die(path, err.text);
	a->events = calloc(a->batch, sizeof(*a->events));
	a->keys = calloc(a->batch, sizeof(*a->keys));
	bench_body(a->body, a->shape.body);
	for (size_t i = 0; i < a->batch; i++) {
		size_t len = bench_key(&a->shape, i, a->keys[i]);

		a->events[i] = bench_event(wb_str_n(a->keys[i], len),
					   wb_str_n(a->body, a->shape.body));
	}
	for (size_t i = 0; i < a->batch; i++) {
		wb_event event = a->events[i];

		wb_uuid7(wb_system_clock(), wb_system_random(), id);
		event.id = wb_str_from(id);
		event.time_us = 1;
		a->record_size = wbi_record_size(&event);
		if (!a->records)
			a->records = calloc(a->batch, a->record_size);
		wbi_record_encode(&event, i + 1,
				  a->records + i * a->record_size,
				  a->record_size);
	}
}

/* Event by event, as a service does; not through the batch call. */
static void append_commit(append *a)
{
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;

	if (wb_store_begin(a->store, &txn, &err))
		bench_die("begin", err.text);
	for (size_t i = 0; i < a->batch; i++)
		if (wb_outbox_append(a->outbox, txn, &a->events[i], NULL,
				     &err))
			bench_die("append", err.text);
	if (wb_store_commit(a->store, txn, &err))
		bench_die("commit", err.text);
}

static void append_pair(append *a, uint64_t commits)
{
	uint64_t ours = 0, plain = 0, cpu_ours = 0, cpu_plain = 0;

	for (uint64_t i = 0; i < 2 * commits; i++) {
		bool first = i % 2 == (i / 2) % 2; /* ab ba ab ba */
		uint64_t cpu = bench_cpu_us();
		uint64_t start = bench_now_ns();

		if (first) {
			append_commit(a);
			ours += bench_now_ns() - start;
			cpu_ours += bench_cpu_us() - cpu;
		} else {
			plain_lmdb_commit(&a->plain, a->records,
					  a->record_size, a->batch);
			plain += bench_now_ns() - start;
			cpu_plain += bench_cpu_us() - cpu;
		}
	}
	double events = (double)(commits * a->batch);

	printf("ratio=%.3f ours_us=%.3f plain_us=%.3f ours_cpu_us=%.3f "
	       "plain_cpu_us=%.3f record_bytes=%zu\n",
	       (double)ours / (double)plain, (double)ours / 1e3 / events,
	       (double)plain / 1e3 / events, (double)cpu_ours / events,
	       (double)cpu_plain / events, a->record_size);
}

int main(int argc, char **argv)
{
	uint64_t pairs = bench_number(argc, argv, "--pairs", 7);
	uint64_t commits = bench_number(argc, argv, "--commits", 100);
	append *a = calloc(1, sizeof(*a));

	if (!a)
		bench_die("append", "no memory");
	a->shape = bench_shape_from(argc, argv);
	a->batch = bench_number(argc, argv, "--batch", 1000);
	if (a->batch == 0 || a->batch > APPEND_BATCH_MAX)
		bench_die("--batch", "out of range");
	append_prepare(a, bench_text(argc, argv, "--dir", "."));
	for (uint64_t i = 0; i < pairs; i++)
		append_pair(a, commits);
	wb_outbox_close(a->outbox);
	wb_store_close(a->store);
	plain_lmdb_close(&a->plain);
	free(a->events);
	free(a->keys);
	free(a->records);
	free(a);
	return 0;
}
