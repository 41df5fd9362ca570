/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>

#include <waybill/amqp.h>
#include <waybill/memory.h>
#include <waybill/outbox.h>
#include <waybill/stream.h>

#include "lib/base/assert.h"
#include "lib/journal/maintain.h"
#include "tests/crash/fail_points.h"
#include "tests/crash/crash_points.h"
#include "tests/support/place.h"
#include "tests/support/testing.h"

static void store_make(const char *dir)
{
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;

	options.keep_bytes = UINT64_MAX;
	assert_ok(wb_store_create(test_path(dir, "store"), &options, &err), err);
}

static void store_check(const char *dir, wb_code code)
{
	(void)code;
	crash_assert_sound(test_path(dir, "store"));
}

/* ---- create and open ---------------------------------------------------- */

static wb_code store_run(const char *dir, wb_error *err)
{
	wb_store_options options = test_store_options();
	wb_store *store = NULL;
	wb_code code;

	code = wb_store_create(test_path(dir, "store"), &options, err);
	if (code == WB_OK)
		code = wb_store_open(test_path(dir, "store"), &options, &store,
				     err);
	wb_store_close(store);
	return code;
}

static void store_made(const char *dir, wb_code code)
{
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;

	if (code != WB_OK) {
		code = wb_store_create(test_path(dir, "store"), &options, &err);
		assert_true(code == WB_OK || code == WB_EEXISTS);
	}
	crash_assert_sound(test_path(dir, "store"));
}

const fail_work fail_store = {"store", NULL, store_run, store_made};

/* ---- append ------------------------------------------------------------- */

static wb_code append_all(wb_store *store, wb_outbox *outbox, wb_error *err)
{
	wb_header header = {S("colour"), S("red")};
	char data[6000];
	wb_event events[3] = {{.type = S("a")}, {.type = S("b")}, {.type = S("c")}};
	MDB_txn *txn = NULL;
	wb_code code = wb_store_begin(store, &txn, err);

	memset(data, 'x', sizeof(data));
	events[1].headers = &header;
	events[1].header_count = 1;
	events[2].data = wb_str_n(data, sizeof(data));
	if (code == WB_OK)
		code = wb_outbox_append(outbox, txn, &events[0], NULL, err);
	if (code == WB_OK)
		code = wb_outbox_append_batch(outbox, txn, events, 3, NULL,
					      NULL, err);
	if (code == WB_OK)
		return wb_store_commit(store, txn, err);
	wb_store_abort(txn);
	return code;
}

static wb_code outbox_run(const char *dir, wb_error *err)
{
	wb_outbox *outbox = NULL;
	wb_store *store = NULL;
	wb_code code;

	code = wb_store_open(test_path(dir, "store"), NULL, &store, err);
	if (code == WB_OK)
		code = wb_outbox_open(store, NULL, &outbox, err);
	for (int i = 0; code == WB_OK && i < 3; i++)
		code = append_all(store, outbox, err);
	if (outbox)
		wb_outbox_close(outbox);
	wb_store_close(store);
	return code;
}

const fail_work fail_outbox = {"outbox", store_make, outbox_run, store_check};

/* ---- streams ------------------------------------------------------------ */

static wb_code stream_write(wb_store *store, wb_outbox *outbox, wb_error *err)
{
	wb_event events[2] = {{.type = S("opened")}, {.type = S("paid")}};
	const wb_stream_write write = {S("order/1"), WB_STREAM_ANY, events, 2};
	const wb_snapshot snapshot = {
		.version = 2, .tag = S("t"), .data = S("state")};
	const wb_stream_cut cut = {.stream = S("order/1"), .before = 2,
				   .without_snapshot = true};
	uint64_t floor;
	MDB_txn *txn = NULL;
	wb_code code = wb_store_begin(store, &txn, err);

	if (code == WB_OK)
		code = wb_stream_append(outbox, txn, &write, NULL, err);
	if (code == WB_OK)
		code = wb_snapshot_save(store, txn, write.stream, &snapshot, 1,
					err);
	if (code == WB_OK)
		code = wb_stream_truncate(store, txn, &cut, &floor, err);
	if (code == WB_ESTATE) { /* no relay has delivered it */
		*err = (wb_error)WB_ERROR_INIT;
		code = WB_OK;
	}
	if (code == WB_OK)
		return wb_store_commit(store, txn, err);
	wb_store_abort(txn);
	return code;
}

static wb_code stream_read(wb_store *store, wb_error *err)
{
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	wb_stream_reader *reader = NULL;
	wb_stream_event event;
	wb_stream_info info;
	MDB_txn *txn = NULL;
	wb_code code;

	query.category = S("order");
	code = wb_stream_open(store, NULL, &query, &reader, err);
	while (code == WB_OK)
		code = wb_stream_next(reader, &event, err);
	wb_stream_close(reader);
	if (code != WB_ENOTFOUND || err->code != WB_OK)
		return code;
	code = wb_store_begin(store, &txn, err);
	if (code == WB_OK)
		code = wb_stream_stat(store, txn, S("order/1"), &info, err);
	wb_store_abort(txn);
	return code;
}

static wb_code stream_run(const char *dir, wb_error *err)
{
	wb_outbox *outbox = NULL;
	wb_store *store = NULL;
	wb_code code;

	code = wb_store_open(test_path(dir, "store"), NULL, &store, err);
	if (code == WB_OK)
		code = wb_outbox_open(store, NULL, &outbox, err);
	if (code == WB_OK)
		code = stream_write(store, outbox, err);
	if (code == WB_OK)
		code = stream_read(store, err);
	if (outbox)
		wb_outbox_close(outbox);
	wb_store_close(store);
	return code;
}

const fail_work fail_stream = {"stream", store_make, stream_run, store_check};

/* ---- routes ------------------------------------------------------------- */

static wb_code routes_run(const char *dir, wb_error *err)
{
	const wb_route routes[] = {
		{.type = "order.*", .exchange = "orders",
		 .routing_key = "{type}.{aggregateid}"},
		{.type = "#.noted", .mode = WB_MODE_STRUCTURED}};
	const wb_event event = {.type = S("order.placed"),
				.subject = S("order/1")};
	char key[WB_ROUTING_KEY_MAX + 1];
	wb_routes *table = NULL;
	size_t len;
	wb_code code = wb_routes_new(routes, 2, &table, err);

	(void)dir;
	if (code == WB_OK)
		code = wb_route_key(wb_routes_match(table, event.type), &event,
				    key, &len, err);
	wb_routes_free(table);
	return code;
}

const fail_work fail_routes = {"routes", NULL, routes_run, NULL};

/* ---- brokers ------------------------------------------------------------ */

static wb_code memory_run(wb_memory *memory, wb_broker *broker, wb_error *err)
{
	const wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE,
				      .name = S("q")};
	const wb_header header = {S("a"), S("b")};
	const wb_message message = {.routing_key = S("q"),
				    .message_id = S("m"),
				    .headers = &header,
				    .header_count = 1,
				    .body = S("body")};
	wb_broker_event event;
	wb_code code = wb_broker_connect(broker, err);

	wb_broker_step(broker);
	if (code == WB_OK)
		code = wb_broker_declare(broker, &queue, 1, err);
	wb_broker_step(broker);
	for (uint64_t i = 0; code == WB_OK && i < 70; i++)
		code = wb_broker_publish(broker, &message, i, err);
	wb_broker_flush(broker);
	if (code == WB_OK)
		code = wb_broker_consume(broker, S("q"), 10, 2, err);
	for (int i = 0; i < 5; i++)
		wb_broker_step(broker);
	while (wb_broker_next(broker, &event))
		;
	(void)memory;
	return code;
}

static wb_code brokers_run(const char *dir, wb_error *err)
{
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;
	wb_broker *rabbit = NULL, *broker = NULL;
	wb_memory *memory = NULL;
	wb_code code;

	(void)dir;
	options.uri = "amqp://user:secret@localhost:5672/%2f,amqp://[::1]/v";
	options.connection_name = "alloc";
	code = wb_amqp_new(&options, &rabbit, err);
	wb_broker_free(rabbit);
	if (code == WB_OK)
		code = wb_memory_new(NULL, NULL, &memory, err);
	if (code == WB_OK)
		code = wb_memory_connect(memory, &broker, err);
	if (code == WB_OK)
		code = memory_run(memory, broker, err);
	wb_broker_free(broker);
	wb_memory_free(memory);
	return code;
}

const fail_work fail_brokers = {"brokers", NULL, brokers_run, NULL};

/* ---- upkeep ------------------------------------------------------------- */

static void upkeep_prepare(const char *dir)
{
	wb_store *store;

	store_make(dir);
	store = test_store_open(test_path(dir, "store"));
	test_append(store, 1, 20);
	wb_store_close(store);
}

static wb_code upkeep_run(const char *dir, wb_error *err)
{
	const wbi_check_report quiet = {.finding = NULL};
	wb_code code;

	code = wbi_store_backup(test_path(dir, "store"),
				test_path(dir, "copy"), &quiet, err);
	if (code == WB_OK)
		code = wbi_store_restore(test_path(dir, "copy"),
					 test_path(dir, "back"), &quiet, err);
	return code;
}

const fail_work fail_upkeep = {"upkeep", upkeep_prepare, upkeep_run,
				 store_check};
