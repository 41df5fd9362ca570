/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/inbox/worker_rig.h"

#include <stdlib.h>

#include "lib/journal/journal.h"
#include "tests/support/place.h"
#include "tests/support/testing.h"

/* ---- handlers ------------------------------------------------------------ */

/* Its effects are what it emits. */
static wb_code rig_count(wb_call *call, const wb_event *event, wb_error *err)
{
	worker_rig *r = wb_call_handler(call)->ctx;
	wb_event seen = {.type = S("order.seen"), .key = event->key};

	r->called++;
	return wb_emit(call, &seen, err);
}

static const char *const placed[] = {"order.placed", NULL};

wb_handler worker_rig_handler(worker_rig *r, const char *name)
{
	wb_handler h = WB_HANDLER_INIT;

	h.name = name;
	h.types = placed;
	h.handle = rig_count;
	h.ctx = r;
	return h;
}

/* ---- the rig ------------------------------------------------------------- */

static void rig_declare(worker_rig *r, const wb_declaration *what, size_t count)
{
	wb_error err = WB_ERROR_INIT;
	wb_broker_event event;
	wb_broker *admin;
	size_t done = 0;

	assert_ok(wb_memory_connect(r->memory, &admin, &err), err);
	assert_ok(wb_broker_connect(admin, &err), err);
	for (int i = 0; i < 1000 && done < count; i++) {
		wb_broker_step(admin);
		while (wb_broker_next(admin, &event)) {
			if (event.kind == WB_BROKER_UP)
				for (size_t d = 0; d < count; d++)
					assert_ok(wb_broker_declare(admin,
								    &what[d], 0,
								    &err),
						  err);
			done += event.kind == WB_BROKER_DECLARED;
		}
	}
	assert_int_equal(done, count);
	wb_broker_free(admin);
}

static void rig_topology(worker_rig *r)
{
	const wb_declaration what[] = {
		{.kind = WB_TOPOLOGY_EXCHANGE,
		 .name = S("events"),
		 .exchange_type = S("topic")},
		{.kind = WB_TOPOLOGY_QUEUE, .name = S("seen")},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = S("seen"),
		 .exchange = S("events"),
		 .binding_key = S("order.seen")},
	};

	rig_declare(r, what, 3);
}

void worker_rig_init(worker_rig *r, const char *dir, bool fake)
{
	wb_store_options options = test_store_options();
	const wb_clock *clock = fake ? &r->clock.clock : NULL;
	wb_error err = WB_ERROR_INIT;

	memset(r, 0, sizeof(*r));
	fake_clock_init(&r->clock);
	seeded_random_init(&r->random, 7);
	options.clock = clock;
	assert_ok(wb_store_create(dir, &options, &err), err);
	assert_ok(wb_store_open(dir, &options, &r->store, &err), err);
	assert_ok(wb_memory_new(clock, &r->random.random, &r->memory, &err),
		  err);
	assert_ok(wb_memory_connect(r->memory, &r->consumer, &err), err);
	assert_ok(wb_memory_connect(r->memory, &r->publisher, &err), err);
	rig_topology(r);
	r->options = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	r->relay = (wb_relay_options)WB_RELAY_OPTIONS_INIT;
	r->options.queue = "q";
	r->options.relay = &r->relay;
}

void worker_rig_fini(worker_rig *r)
{
	wb_worker_close(r->worker);
	wb_broker_free(r->consumer);
	wb_broker_free(r->publisher);
	wb_memory_free(r->memory);
	wb_store_close(r->store);
}

void worker_rig_start(worker_rig *r, const wb_handler *handler)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_worker_open(r->store, r->consumer, r->publisher, &handler,
				 1, &r->options, &r->worker, &err),
		  err);
}

void worker_rig_step(worker_rig *r)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_worker_step(r->worker, false, &err), err);
	fake_clock_advance_us(&r->clock, 100);
}

void worker_rig_until_state(worker_rig *r, wb_worker_state state)
{
	for (int i = 0; i < 100000; i++) {
		if (wb_worker_get_stat(r->worker).state == state)
			return;
		worker_rig_step(r);
	}
	fail_msg("it never is %s, but %s: %s", wbi_worker_state_name(state),
		 wbi_worker_state_name(wb_worker_get_stat(r->worker).state),
		 wb_worker_get_stat(r->worker).error.text);
}

wb_memory_queue_stat worker_rig_queue(const worker_rig *r, const char *name)
{
	return wb_memory_get_queue_stat(r->memory, name);
}

void worker_rig_run(worker_rig *r, wb_handler *h)
{
	*h = worker_rig_handler(r, "count");
	worker_rig_start(r, h);
	worker_rig_until_state(r, WB_WORKER_RUNNING);
}

void worker_rig_until_idle(worker_rig *r)
{
	for (int i = 0; i < 100000; i++) {
		wb_memory_queue_stat queue = worker_rig_queue(r, "q");

		if (wb_worker_get_stat(r->worker).idle && queue.ready == 0 &&
		    queue.unacked == 0)
			return;
		worker_rig_step(r);
	}
	fail_msg("it does not come to rest");
}

wb_code worker_rig_put(worker_rig *r, wb_str type, unsigned number,
		       wb_error *err)
{
	char id[32];
	const wb_header headers[] = {
		{S("ce-specversion"), S("1.0")},       {S("ce-id"), S("")},
		{S("ce-source"), S("/shop")},          {S("ce-type"), type},
		{S("ce-partitionkey"), S("order/42")},
	};
	wb_header own[5];
	wb_message message = {.exchange = S("events"),
			      .routing_key = type,
			      .persistent = true,
			      .headers = own,
			      .header_count = 5};

	snprintf(id, sizeof(id), "id-%u", number);
	memcpy(own, headers, sizeof(own));
	own[1].value = message.message_id = wb_str_from(id);
	return wb_memory_put(r->memory, &message, err);
}

void worker_rig_fill(worker_rig *r, unsigned first, unsigned count)
{
	wb_error err = WB_ERROR_INIT;

	for (unsigned i = first; i < first + count; i++)
		assert_ok(worker_rig_put(r, S("order.placed"), i, &err), err);
}

/* Each event had its effect once: as many are seen, all of another cause. */
void worker_rig_assert_seen(worker_rig *r, unsigned count)
{
	unsigned char *causes = calloc(count + 1, 1);

	assert_non_null(causes);
	assert_int_equal(worker_rig_queue(r, "seen").arrived, count);
	for (unsigned i = 0; i < count; i++) {
		const wb_message *m = wb_memory_arrival(r->memory, "seen", i);
		wb_str cause = wb_memory_header(m, "ce-causationid");
		unsigned long number;

		assert_true(cause.len > 3);
		number = strtoul(cause.ptr + 3, NULL, 10);
		assert_in_range(number, 1, count);
		assert_int_equal(causes[number]++, 0);
	}
	free(causes);
}

void worker_rig_append(worker_rig *r)
{
	wbi_journal inbox = wbi_journal_of(r->store, WBI_INBOX);
	wb_event event = {.id = S("id-1"),
			  .source = S("/test"),
			  .type = S("order.placed"),
			  .key = S("a")};
	wb_error err = WB_ERROR_INIT;
	uint64_t position;
	MDB_txn *txn;

	assert_ok(wb_store_begin(r->store, &txn, &err), err);
	assert_ok(wbi_journal_append(&inbox, txn, &event, 1, WB_STR_NULL,
				     &position, &err),
		  err);
	assert_ok(wb_store_commit(r->store, txn, &err), err);
}
