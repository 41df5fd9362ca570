/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of a service on threads of one process; see house.h. */
#include "tests/threads/house.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <waybill/relay.h>

#include "lib/base/assert.h"

/* ---- what is called ------------------------------------------------------ */

static wb_code house_count(wb_call *call, const wb_event *event, wb_error *err)
{
	house *h = wb_call_handler(call)->ctx;
	wb_event seen = {.type = S("order.seen"), .key = event->key};

	seen.data = event->data;
	atomic_fetch_add(&h->counted, 1);
	return wb_emit(call, &seen, err);
}

static wb_code house_call(wb_call *call, const wb_event *event, wb_error *err)
{
	house *h = wb_call_handler(call)->ctx;

	(void)event;
	(void)err;
	atomic_fetch_add(&h->called, 1);
	return WB_OK;
}

/* A model of counts: values are terminated, so that strtoul() may read them. */
static wb_code house_apply(wb_model *model, const wb_event *event,
			   wb_error *err)
{
	unsigned long count = 0;
	char text[24];
	wb_str old;
	wb_code code = wb_model_get(model, 0, event->key, &old, err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	if (code == WB_OK)
		count = strtoul(old.ptr, NULL, 10);
	snprintf(text, sizeof(text), "%lu", count + 1);
	return wb_model_put(model, 0, event->key,
			    wb_str_n(text, strlen(text) + 1), err);
}

static void house_write(void *ctx, wb_log_level level, const char *text)
{
	house *h = ctx;

	(void)level;
	(void)text;
	atomic_fetch_add(&h->lines, 1);
}

/* ---- open and close ------------------------------------------------------ */

static void house_topology(house *h)
{
	const wb_declaration what[] = {
		{.kind = WB_TOPOLOGY_QUEUE, .name = S("all")},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = S("all"),
		 .exchange = S("events"),
		 .binding_key = S("#")},
	};
	wb_error err = WB_ERROR_INIT;
	wb_broker_event event;
	size_t done = 0;

	assert_ok(wb_memory_create_exchange(h->out, "events", "topic", &err),
		  err);
	assert_ok(wb_memory_create_exchange(h->in, "events", "topic", &err),
		  err);
	assert_ok(wb_broker_connect(h->publisher, &err), err);
	for (int i = 0; i < 1000 && done < WBI_COUNT(what); i++) {
		wb_broker_step(h->publisher);
		while (wb_broker_next(h->publisher, &event)) {
			done += event.kind == WB_BROKER_DECLARED;
			if (event.kind != WB_BROKER_UP)
				continue;
			for (size_t d = 0; d < WBI_COUNT(what); d++)
				assert_ok(wb_broker_declare(h->publisher,
							    &what[d], 0, &err),
					  err);
		}
	}
	assert_int_equal(done, WBI_COUNT(what));
	wb_broker_free(h->publisher);
}

static void house_open_brokers(house *h)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_memory_new(NULL, NULL, &h->out, &err), err);
	assert_ok(wb_memory_new(NULL, NULL, &h->in, &err), err);
	assert_ok(wb_memory_connect(h->out, &h->publisher, &err), err);
	house_topology(h);
	assert_ok(wb_memory_connect(h->out, &h->publisher, &err), err);
	assert_ok(wb_memory_connect(h->in, &h->consumer, &err), err);
}

static void house_open_relay(house *h)
{
	wb_relay_options options = WB_RELAY_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	options.log = &h->log;
	assert_ok(wb_relay_open(h->store, h->publisher, &options, &h->relay,
				&err),
		  err);
}

/* Its queue is there when this returns. */
static void house_open_worker(house *h)
{
	static const char *const placed[] = {"order.placed", NULL};
	const wb_handler *handlers[] = {&h->counting, &h->calling};
	wb_worker_options options = WB_WORKER_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	h->counting = (wb_handler)WB_HANDLER_INIT;
	h->counting.name = "counting";
	h->counting.types = placed;
	h->counting.handle = house_count;
	h->counting.ctx = h;
	h->calling = h->counting;
	h->calling.name = "calling";
	h->calling.kind = WB_EXTERNAL;
	h->calling.handle = house_call;
	options.queue = "q";
	options.threads = HOUSE_POOL;
	options.log = &h->log;
	assert_ok(wb_worker_open(h->store, h->consumer, NULL, handlers, 2,
				 &options, &h->worker, &err),
		  err);
	for (int i = 0; i < 100000; i++) {
		if (wb_worker_get_stat(h->worker).state == WB_WORKER_RUNNING)
			return;
		assert_ok(wb_worker_step(h->worker, false, &err), err);
	}
	fail_msg("the worker does not run");
}

static void house_open_projector(house *h)
{
	static const char *const all[] = {"#", NULL};
	static const wb_model_table tables[] = {{"counts", NULL, NULL, 0}};
	wb_projector_options options = WB_PROJECTOR_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	h->projection = (wb_projection){.size = sizeof(h->projection),
					.name = "counts",
					.version = 1,
					.source = WB_PROJECTION_OUTBOX,
					.types = all,
					.tables = tables,
					.table_count = 1,
					.on_error = WB_ON_ERROR_STOP,
					.apply = house_apply};
	options.map_bytes = 64 << 20;
	options.log = &h->log;
	assert_ok(wb_projector_open(h->store, &h->projection, &options,
				    &h->projector, &err),
		  err);
	/* Its first step makes what readers open. */
	assert_ok(wb_projector_step(h->projector, true, &err), err);
}

void house_open(house *h, const char *dir)
{
	memset(h, 0, sizeof(*h));
	h->log = (wb_log){
		.ctx = h, .write = house_write, .max_level = WB_LOG_DEBUG};
	h->store = test_store_make(dir);
	house_open_brokers(h);
	house_open_relay(h);
	house_open_worker(h);
	house_open_projector(h);
}

void house_close(house *h)
{
	wb_projector_close(h->projector);
	wb_worker_close(h->worker);
	wb_relay_close(h->relay);
	wb_broker_free(h->consumer);
	wb_broker_free(h->publisher);
	wb_memory_free(h->in);
	wb_memory_free(h->out);
	wb_store_close(h->store);
}

void house_fill(house *h, unsigned count)
{
	wb_error err = WB_ERROR_INIT;

	for (unsigned i = 1; i <= count; i++) {
		char id[16], key[16];
		wb_header headers[] = {{S("ce-specversion"), S("1.0")},
				       {S("ce-id"), S("")},
				       {S("ce-source"), S("/shop")},
				       {S("ce-type"), S("order.placed")},
				       {S("ce-partitionkey"), S("")}};
		wb_message message = {.exchange = S("events"),
				      .routing_key = S("order.placed"),
				      .persistent = true,
				      .headers = headers,
				      .header_count = WBI_COUNT(headers)};

		snprintf(id, sizeof(id), "%u", i);
		snprintf(key, sizeof(key), "in-%u", i % 5);
		headers[1].value = message.message_id = wb_str_from(id);
		headers[4].value = wb_str_from(key);
		message.body = wb_str_from(id);
		assert_ok(wb_memory_put(h->in, &message, &err), err);
	}
}

/* ---- threads ------------------------------------------------------------- */

static wb_code house_run_relay(house *h, wb_error *err)
{
	return wb_relay_run(h->relay, false, err);
}

static wb_code house_run_worker(house *h, wb_error *err)
{
	return wb_worker_run(h->worker, false, err);
}

static wb_code house_run_projector(house *h, wb_error *err)
{
	return wb_projector_run(h->projector, false, err);
}

static void *part_main(void *arg)
{
	house_part *part = arg;

	part->code = part->run(part->house, &part->err);
	return NULL;
}

void house_start(house *h)
{
	wb_code (*const runs[HOUSE_PARTS])(house *, wb_error *) = {
		house_run_relay, house_run_worker, house_run_projector};

	for (size_t i = 0; i < HOUSE_PARTS; i++) {
		h->parts[i] = (house_part){
			.house = h, .run = runs[i], .err = WB_ERROR_INIT};
		assert_int_equal(pthread_create(&h->parts[i].thread, NULL,
						part_main, &h->parts[i]),
				 0);
	}
}

void house_join(house *h)
{
	for (size_t i = 0; i < HOUSE_PARTS; i++)
		pthread_join(h->parts[i].thread, NULL);
	for (size_t i = 0; i < HOUSE_PARTS; i++)
		assert_ok(h->parts[i].code, h->parts[i].err);
}

void house_stop(house *h)
{
	wb_worker_stop(h->worker);
	wb_relay_stop(h->relay);
	wb_projector_stop(h->projector);
}

void house_send_rest(house *h)
{
	wb_error err = WB_ERROR_INIT;

	wb_relay_close(h->relay);
	wb_broker_free(h->publisher);
	assert_ok(wb_memory_connect(h->out, &h->publisher, &err), err);
	house_open_relay(h);
	assert_ok(wb_relay_run(h->relay, true, &err), err);
}
