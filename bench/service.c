/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a service feels: one transaction after the other at a fixed pace, each
 * with a row of the service's own and one event, and how long each took from
 * begin to durable commit. A transaction that starts late counts from when it
 * should have started, so that a stall is not hidden.
 *
 *   --store D --rate R --count N
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <waybill/outbox.h>

#include "bench/common.h"

typedef struct service {
	wb_store *store;
	wb_outbox *outbox;
	MDB_dbi orders;
	bench_shape shape;
	char body[BENCH_BODY_MAX];
} service;

static void service_open(service *s, const char *dir)
{
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;

	if (wb_store_open(dir, NULL, &s->store, &err) ||
	    wb_outbox_open(s->store, NULL, &s->outbox, &err) ||
	    wb_store_begin(s->store, &txn, &err))
		bench_die(dir, err.text);
	if (mdb_dbi_open(txn, "orders", MDB_CREATE, &s->orders))
		bench_die("orders", "cannot make the table");
	if (wb_store_commit(s->store, txn, &err))
		bench_die("commit", err.text);
	bench_body(s->body, s->shape.body);
}

static void service_order(service *s, uint64_t i)
{
	wb_error err = WB_ERROR_INIT;
	char name[BENCH_KEY_MAX];
	size_t len = bench_key(&s->shape, i, name);
	wb_event event = bench_event(wb_str_n(name, len),
				     wb_str_n(s->body, s->shape.body));
	MDB_val key = {len, name}, value = {sizeof(i), &i};
	MDB_txn *txn;

	if (wb_store_begin(s->store, &txn, &err))
		bench_die("begin", err.text);
	if (mdb_put(txn, s->orders, &key, &value, 0) ||
	    wb_outbox_append(s->outbox, txn, &event, NULL, &err) ||
	    wb_store_commit(s->store, txn, &err))
		bench_die("order", err.text);
}

int main(int argc, char **argv)
{
	uint64_t rate = bench_number(argc, argv, "--rate", 200);
	service *s = calloc(1, sizeof(*s));
	uint64_t *took;
	uint64_t next;

	if (!s)
		bench_die("service", "no memory");
	s->shape = bench_shape_from(argc, argv);
	took = calloc(s->shape.count, sizeof(*took));
	if (!took || rate == 0)
		bench_die("service", "no memory, or no rate");
	service_open(s, bench_text(argc, argv, "--store", "store"));
	next = bench_now_ns();
	for (uint64_t i = 0; i < s->shape.count; i++) {
		bench_sleep_until_ns(next);
		service_order(s, i);
		took[i] = bench_now_ns() - next;
		next += 1000000000 / rate;
	}
	printf("events=%" PRIu64 " p50_us=%.0f p99_us=%.0f\n", s->shape.count,
	       (double)bench_percentile(took, s->shape.count, .5) / 1e3,
	       (double)bench_percentile(took, s->shape.count, .99) / 1e3);
	wb_outbox_close(s->outbox);
	wb_store_close(s->store);
	free(took);
	free(s);
	return 0;
}
