/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a projection costs over LMDB itself.
 *
 *   --what apply    events/s of a counter per key, from the journal, synced,
 *                   against a bare read + put loop of the same rows
 *   --what read     reads by key, in one snapshot and one snapshot each,
 *                   against mdb_get
 *   --what rebuild  events/s of a rebuild of --count events, and the live apply
 *                   rate meanwhile against that without a rebuild
 *
 *   --what fill     no measurement: a store in D/store whose model has --keys
 *                   keys, for others to read
 *
 * The two sides take turns; a line for each pair says the ratio of their rates.
 *
 *   --dir D --pairs 7 --count N --keys K --batch 2000
 */
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <waybill/outbox.h>
#include <waybill/read.h>

#include "bench/common.h"
#include "bench/count.h"

enum { APPEND_EACH = 1000 };

typedef struct projection_bench {
	bench_shape shape;
	uint64_t batch, appended;
	wb_store *store;
	wb_outbox *outbox;
	wb_projector *projector;
	MDB_env *plain;
	MDB_dbi dbi;
	char body[BENCH_BODY_MAX];
} projection_bench;

static const wb_projection counts = BENCH_COUNTS(WB_PROJECTION_OUTBOX);

static void check(int rc, const char *what)
{
	if (rc)
		bench_die(what, mdb_strerror(rc));
}

static void prepare(projection_bench *b, const char *dir)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	char path[4096];
	MDB_txn *txn;

	snprintf(path, sizeof(path), "%s/store", dir);
	options.service = "bench";
	options.keep_bytes = UINT64_MAX;
	if (wb_store_create(path, &options, &err) ||
	    wb_store_open(path, NULL, &b->store, &err) ||
	    wb_outbox_open(b->store, NULL, &b->outbox, &err) ||
	    wb_projector_open(b->store, &counts, NULL, &b->projector, &err))
		bench_die(path, err.text);
	snprintf(path, sizeof(path), "%s/plain", dir);
	if (mkdir(path, 0700))
		bench_die(path, "cannot be made");
	check(mdb_env_create(&b->plain), "plain");
	check(mdb_env_set_mapsize(b->plain, (size_t)16 << 30), "plain");
	check(mdb_env_set_maxdbs(b->plain, 4), "plain");
	check(mdb_env_open(b->plain, path, MDB_NOTLS, 0600), "plain");
	check(mdb_txn_begin(b->plain, NULL, 0, &txn), "plain");
	check(mdb_dbi_open(txn, "counts", MDB_CREATE, &b->dbi), "plain");
	check(mdb_txn_commit(txn), "plain");
	bench_body(b->body, b->shape.body);
}

static void append(projection_bench *b, uint64_t events)
{
	wb_error err = WB_ERROR_INIT;
	char key[BENCH_KEY_MAX];
	MDB_txn *txn;

	for (uint64_t i = 0; i < events;) {
		if (wb_store_begin(b->store, &txn, &err))
			bench_die("begin", err.text);
		for (int j = 0; j < APPEND_EACH && i < events; j++, i++) {
			size_t len = bench_key(&b->shape, b->appended++, key);
			wb_event event =
				bench_event(wb_str_n(key, len),
					    wb_str_n(b->body, b->shape.body));

			if (wb_outbox_append(b->outbox, txn, &event, NULL,
					     &err))
				bench_die("append", err.text);
		}
		if (wb_store_commit(b->store, txn, &err))
			bench_die("commit", err.text);
	}
}

static void project(projection_bench *b)
{
	wb_error err = WB_ERROR_INIT;

	if (wb_projector_run(b->projector, true, &err))
		bench_die("project", err.text);
}

/* The same rows by LMDB alone: numbers of events from..to. */
static void plain_apply(projection_bench *b, uint64_t from, uint64_t to)
{
	char key[BENCH_KEY_MAX];
	MDB_txn *txn;

	while (from < to) {
		check(mdb_txn_begin(b->plain, NULL, 0, &txn), "plain");
		for (uint64_t j = 0; j < b->batch && from < to; j++, from++) {
			MDB_val k = {bench_key(&b->shape, from, key), key}, v;
			uint64_t n = 0;

			if (mdb_get(txn, b->dbi, &k, &v) == 0)
				memcpy(&n, v.mv_data, sizeof(n));
			n++;
			v = (MDB_val){sizeof(n), &n};
			check(mdb_put(txn, b->dbi, &k, &v, 0), "plain put");
		}
		check(mdb_txn_commit(txn), "plain commit");
	}
}

static double rate_of(uint64_t events, uint64_t ns)
{
	return (double)events * 1e9 / (double)ns;
}

static void bench_apply(projection_bench *b, uint64_t pairs, uint64_t events)
{
	for (uint64_t i = 0; i < pairs; i++) {
		uint64_t from = b->appended, start, ours = 0, plain = 0;

		append(b, events);
		for (uint64_t side = 0; side < 2; side++) {
			start = bench_now_ns();
			if (side == i % 2) {
				project(b);
				ours = bench_now_ns() - start;
			} else {
				plain_apply(b, from, b->appended);
				plain = bench_now_ns() - start;
			}
		}
		printf("ratio=%.3f ours=%.0f plain=%.0f\n",
		       (double)plain / (double)ours, rate_of(events, ours),
		       rate_of(events, plain));
	}
}

/* ---- reading ------------------------------------------------------------- */

static uint64_t read_ours(projection_bench *b, wb_read *read, uint64_t reads,
			  bool each)
{
	wb_error err = WB_ERROR_INIT;
	uint64_t start = bench_now_ns(), sum = 0;
	char key[BENCH_KEY_MAX];
	wb_str value;

	if (wb_read_begin(read, &err))
		bench_die("read", err.text);
	for (uint64_t i = 0; i < reads; i++) {
		size_t len = bench_key(&b->shape, i * 7919, key);

		if (each && wb_read_begin(read, &err))
			bench_die("read", err.text);
		if (wb_read_get(read, "counts", wb_str_n(key, len), &value,
				&err) == WB_OK)
			sum += (uint8_t)value.ptr[0];
	}
	wb_read_end(read);
	if (sum == 0)
		bench_die("read", "nothing was found");
	return bench_now_ns() - start;
}

static uint64_t read_plain(projection_bench *b, uint64_t reads, bool each)
{
	uint64_t start = bench_now_ns(), sum = 0;
	char key[BENCH_KEY_MAX];
	MDB_txn *txn;

	check(mdb_txn_begin(b->plain, NULL, MDB_RDONLY, &txn), "plain");
	for (uint64_t i = 0; i < reads; i++) {
		MDB_val k = {bench_key(&b->shape, i * 7919, key), key}, v;

		if (each) {
			mdb_txn_reset(txn);
			check(mdb_txn_renew(txn), "plain");
		}
		if (mdb_get(txn, b->dbi, &k, &v) == 0)
			sum += *(uint8_t *)v.mv_data;
	}
	mdb_txn_abort(txn);
	if (sum == 0)
		bench_die("plain", "nothing was found");
	return bench_now_ns() - start;
}

static void bench_read(projection_bench *b, uint64_t pairs, uint64_t reads)
{
	wb_error err = WB_ERROR_INIT;
	wb_read *read;

	append(b, 4 * b->shape.keys);
	project(b);
	plain_apply(b, 0, b->appended);
	if (wb_read_open_projector(b->projector, NULL, &read, &err))
		bench_die("read", err.text);
	for (uint64_t i = 0; i < 2 * pairs; i++) {
		bool each = i % 2 == 1;
		uint64_t ours, plain;

		plain = read_plain(b, reads, each);
		ours = read_ours(b, read, reads, each);
		printf("%s=%.3f ours=%.0f plain=%.0f\n",
		       each ? "each" : "one", (double)plain / (double)ours,
		       rate_of(reads, ours), rate_of(reads, plain));
	}
	wb_read_close(read);
}

/* ---- a rebuild beside the live one --------------------------------------- */

/* Until the live generation has all there is. */
static uint64_t live_catch_up(projection_bench *b)
{
	uint64_t start = bench_now_ns();
	wb_error err = WB_ERROR_INIT;

	do {
		if (wb_projector_step(b->projector, true, &err))
			bench_die("step", err.text);
	} while (wb_projector_get_stat(b->projector).position < b->appended);
	return bench_now_ns() - start;
}

static void rebuild_ask(projection_bench *b)
{
	wb_projection_request request = WB_PROJECTION_REQUEST_INIT;
	wb_error err = WB_ERROR_INIT;

	request.verb = WB_PROJECTION_REBUILD;
	request.promote = true;
	if (wb_projector_ask(b->projector, &request, &err))
		bench_die("rebuild", err.text);
}

static void bench_rebuild(projection_bench *b, uint64_t pairs, uint64_t events)
{
	uint64_t slice = 50000, start, alone, beside;

	append(b, events);
	project(b);
	for (uint64_t i = 0; i < pairs; i++) {
		append(b, slice);
		alone = live_catch_up(b);
		rebuild_ask(b);
		start = bench_now_ns();
		while (wb_projector_get_stat(b->projector).building == 0 &&
		       bench_now_ns() - start < 5000000000u)
			live_catch_up(b);
		append(b, slice);
		beside = live_catch_up(b);
		if (wb_projector_get_stat(b->projector).building == 0)
			bench_die("rebuild", "it ended before the measurement");
		start = bench_now_ns();
		project(b);
		printf("ratio=%.3f alone=%.0f beside=%.0f rebuild=%.0f "
		       "seconds=%.1f\n",
		       (double)alone / (double)beside, rate_of(slice, alone),
		       rate_of(slice, beside),
		       rate_of(b->appended, bench_now_ns() - start),
		       (double)(bench_now_ns() - start) / 1e9);
	}
}

static void bench_fill(projection_bench *b)
{
	append(b, 12 * b->shape.keys); /* all but surely each key */
	project(b);
}

int main(int argc, char **argv)
{
	const char *what = bench_text(argc, argv, "--what", "apply");
	uint64_t pairs = bench_number(argc, argv, "--pairs", 7);
	projection_bench *b = calloc(1, sizeof(*b));

	if (!b)
		bench_die("projection", "no memory");
	b->shape = bench_shape_from(argc, argv);
	b->batch = bench_number(argc, argv, "--batch", 2000);
	prepare(b, bench_text(argc, argv, "--dir", "."));
	if (!strcmp(what, "apply"))
		bench_apply(b, pairs, b->shape.count);
	else if (!strcmp(what, "read"))
		bench_read(b, pairs, b->shape.count);
	else if (!strcmp(what, "rebuild"))
		bench_rebuild(b, pairs, b->shape.count);
	else if (!strcmp(what, "fill"))
		bench_fill(b);
	else
		bench_die("--what", "apply, read, rebuild or fill");
	wb_projector_close(b->projector);
	wb_outbox_close(b->outbox);
	wb_store_close(b->store);
	mdb_env_close(b->plain);
	free(b);
	return 0;
}
