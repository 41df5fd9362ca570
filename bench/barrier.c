/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a barrier costs: steps of sagas, 250 a commit, each of which puts a row
 * of its service. Two sides take turns, each with a store of its own: with the
 * question whether it may and the row that says that it did, and without.
 * Every commit is synced; CPU is user and system.
 *
 *   --dir D --steps 50000 --pairs 7
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <waybill/choreography.h>

#include "bench/common.h"
#include "lib/store/store.h"
#include "saga/barrier.h"

enum { BARRIER_BATCH = 250, BARRIER_DAY_US = 1000000 };

typedef struct side {
	wb_store *store;
	MDB_dbi rows;
	uint64_t cpu_us;
} side;

static void side_open(side *s, const char *dir, const char *name)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	char path[4096];
	MDB_txn *txn;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	options.service = "bench";
	if (wb_store_create(path, &options, &err) ||
	    wb_store_open(path, NULL, &s->store, &err) ||
	    wb_store_begin(s->store, &txn, &err))
		bench_die(path, err.text);
	if (mdb_dbi_open(txn, "rows", MDB_CREATE, &s->rows) ||
	    wb_store_commit(s->store, txn, &err))
		bench_die(path, "no table");
}

static void barrier_step(side *s, MDB_txn *txn, wb_str saga, bool guarded)
{
	MDB_val key = {saga.len, (void *)(uintptr_t)saga.ptr},
		value = {7, (void *)(uintptr_t) "blocked"};
	const wb_clock *clock = wb_system_clock();
	const wbi_barrier_scope scope = {
		.txn = txn,
		.tables = wbi_store_get_tables(s->store),
		.now_us = clock->real_us(clock->ctx),
		.keep_us = INT64_C(30) * 86400 * BARRIER_DAY_US};
	const wbi_barrier_id id = {saga, wb_str_from("block"), WBI_BARRIER_DO};
	const wbi_barrier row = {.state = WB_STEP_DONE,
				 .epoch = 1,
				 .undo = wb_str_from("slot A7"),
				 .reply_type = wb_str_from("parking.block"),
				 .reply_to = wb_str_from("booking")};
	wbi_barrier_answer answer;
	wb_error err = WB_ERROR_INIT;
	wbi_barrier found;

	if (guarded && (wbi_barrier_ask(&scope, &id, 1, &answer, &found,
					&err) ||
			answer != WBI_BARRIER_GO))
		bench_die("ask", err.text);
	if (mdb_put(txn, s->rows, &key, &value, 0))
		bench_die("put", "failed");
	if (guarded && wbi_barrier_acted(&scope, &id, &row, &err))
		bench_die("acted", err.text);
}

static void barrier_side(side *s, uint64_t steps, bool guarded)
{
	uint64_t cpu = bench_cpu_us();
	wb_error err = WB_ERROR_INIT;
	char saga[WB_UUID_TEXT_LEN + 1];
	MDB_txn *txn;

	for (uint64_t i = 0; i < steps;) {
		if (wb_store_begin(s->store, &txn, &err))
			bench_die("begin", err.text);
		for (int n = 0; n < BARRIER_BATCH && i < steps; n++, i++) {
			wb_uuid7(wb_system_clock(), wb_system_random(), saga);
			barrier_step(s, txn, wb_str_n(saga, WB_UUID_TEXT_LEN),
				     guarded);
		}
		if (wb_store_commit(s->store, txn, &err))
			bench_die("commit", err.text);
	}
	s->cpu_us = bench_cpu_us() - cpu;
}

int main(int argc, char **argv)
{
	uint64_t steps = bench_number(argc, argv, "--steps", 50000);
	uint64_t pairs = bench_number(argc, argv, "--pairs", 7);
	const char *dir = bench_text(argc, argv, "--dir", ".");
	side sides[2] = {{.cpu_us = 0}};

	side_open(&sides[0], dir, "plain");
	side_open(&sides[1], dir, "guarded");
	for (uint64_t i = 0; i < pairs; i++) {
		double per[2];

		for (uint64_t k = 0; k < 2; k++) {
			uint64_t which = (i + k) % 2;

			barrier_side(&sides[which], steps, which == 1);
		}
		for (int k = 0; k < 2; k++)
			per[k] = (double)sides[k].cpu_us / (double)steps;
		printf("plain_cpu_us=%.3f guarded_cpu_us=%.3f above_us=%.3f\n",
		       per[0], per[1], per[1] - per[0]);
		fflush(stdout);
	}
	for (int i = 0; i < 2; i++)
		wb_store_close(sides[i].store);
	return 0;
}
