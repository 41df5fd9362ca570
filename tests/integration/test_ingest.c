/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ingest from a real broker: it declares what it needs, takes ten thousand
 * events in once each though connections break and the broker dies, and keeps
 * to its own queue. WAYBILL_TEST_AMQP names the broker; for its death and for
 * the deletion of a queue also WAYBILL_TEST_NODE, WAYBILL_TEST_NODE_DIR and
 * WAYBILL_TEST_RABBITMQCTL.
 */
#include "tests/support/testing.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "inbox/ingest.h"
#include "lib/journal/inbox_rows.h"
#include "tests/integration/foreign_peer.h"
#include "tests/integration/peer.h"
#include "tests/support/cut_proxy.h"
#include "tests/support/place.h"

enum { MANY = 10000, PATIENCE_US = 60000000, WINDOW = 1000 };

static const char *const all[] = {"#", NULL};

typedef struct taker {
	wb_store *store;
	wb_broker *broker;
	wbi_ingest *ingest;
	wb_worker_options options;
	wb_amqp_options amqp;
	char uri[128], exchange[48], queue[48];
	wb_error err; /* of the step that failed */
} taker;

static int64_t now_us(void)
{
	return wb_system_clock()->mono_us(NULL);
}

/* ---- one that takes --------------------------------------------------- */

static void taker_names(taker *t)
{
	static int number;

	number++;
	snprintf(t->exchange, sizeof(t->exchange), "ingest-%d-%d",
		 (int)getpid(), number);
	snprintf(t->queue, sizeof(t->queue), "ingest-%d-%d", (int)getpid(),
		 number);
}

static void taker_options(taker *t)
{
	const wb_limits limits = WB_LIMITS_DEFAULT;
	wb_worker_options *o = &t->options;

	*o = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	o->queue = t->queue;
	o->exchange = t->exchange;
	o->bind = all;
	o->delivery_limit = 20;
	o->prefetch = 1000;
	o->limits = limits;
	o->dedupe_s = 7 * 86400;
	o->batch_max = 250;
	o->txn_us = 1000;
	o->pause_us = 50;
	o->backoff_min_ms = 20;
	o->backoff_max_ms = 500;
	t->amqp = peer_options();
}

static void taker_open(taker *t, const char *dir)
{
	memset(t, 0, sizeof(*t));
	taker_names(t);
	taker_options(t);
	t->store = test_store_make(dir);
}

static void taker_start(taker *t)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_amqp_new(&t->amqp, &t->broker, &err), err);
	assert_ok(wbi_ingest_open(t->store, t->broker, &t->options, &t->ingest,
				  &err),
		  err);
}

static void taker_kill(taker *t)
{
	wbi_ingest_close(t->ingest);
	wb_broker_free(t->broker);
	t->ingest = NULL;
	t->broker = NULL;
}

static void taker_close(taker *t)
{
	taker_kill(t);
	wb_store_close(t->store);
}

static void taker_wait(taker *t, int64_t most_us)
{
	struct pollfd fd = {wb_broker_fd(t->broker), POLLIN, 0};
	int64_t left = wbi_ingest_deadline_us(t->ingest) - now_us();

	left = left > most_us ? most_us : left;
	poll(&fd, 1, left <= 0 ? 0 : left < 1000 ? 1 : (int)(left / 1000));
}

/* One turn of a host's loop; false: the ingest has failed. */
static bool taker_turn(taker *t)
{
	bool committed;

	if (wbi_ingest_step(t->ingest, &committed, &t->err) != WB_OK)
		return false;
	taker_wait(t, 20000);
	return true;
}

static wbi_ingest_stat taker_stat(const taker *t)
{
	return wbi_ingest_get_stat(t->ingest);
}

static void taker_ready(taker *t)
{
	int64_t end_us = now_us() + PATIENCE_US;

	while (taker_stat(t).state != WB_WORKER_RUNNING) {
		if (!taker_turn(t) || now_us() > end_us)
			fail_msg("it does not consume: %s",
				 taker_stat(t).error.text);
	}
}

static uint64_t taker_count(taker *t)
{
	wbi_journal journal = wbi_journal_of(t->store, WBI_INBOX);
	wb_error err = WB_ERROR_INIT;
	uint64_t first, head;
	MDB_txn *txn;

	assert_ok(wbi_txn_begin(wb_store_env(t->store), false, &txn, &err),
		  err);
	assert_ok(wbi_journal_range(&journal, txn, &first, &head, &err), err);
	wbi_txn_abort(txn);
	return head;
}

/* Until the inbox has so many, and a little longer for what should not come. */
static void taker_until(taker *t, uint64_t count)
{
	int64_t end_us = now_us() + PATIENCE_US;

	while (taker_count(t) < count || !taker_stat(t).idle) {
		if (!taker_turn(t) || now_us() > end_us)
			fail_msg("%d of %d came: %s", (int)taker_count(t),
				 (int)count, taker_stat(t).error.text);
	}
	for (int i = 0; i < 10; i++)
		taker_turn(t);
	assert_int_equal(taker_count(t), count);
}

/* Is every one of e-1 .. e-COUNT there, and once? */
static void assert_each_once(taker *t, unsigned count)
{
	wbi_journal journal = wbi_journal_of(t->store, WBI_INBOX);
	unsigned char *seen = calloc(count + 1, 1);
	wb_error err = WB_ERROR_INIT;
	wbi_reader reader;
	wb_event event;
	wb_str record;
	MDB_txn *txn;

	assert_non_null(seen);
	assert_ok(wbi_txn_begin(wb_store_env(t->store), false, &txn, &err),
		  err);
	assert_ok(wbi_reader_open(&reader, &journal, txn, 0, &err), err);
	for (unsigned i = 0; i < count; i++) {
		unsigned long number;

		assert_ok(wbi_reader_next(&reader, &event, &record, &err), err);
		number = strtoul(event.id.ptr + 2, NULL, 10);
		assert_in_range(number, 1, count);
		assert_int_equal(seen[number]++, 0);
	}
	wbi_reader_close(&reader);
	wbi_txn_abort(txn);
	free(seen);
}

/* ---- one that publishes ----------------------------------------------- */

static void publish_one(peer *l, const taker *t, unsigned number)
{
	wb_error err = WB_ERROR_INIT;
	char id[32];
	int len = snprintf(id, sizeof(id), "e-%u", number);
	const wb_header headers[] = {
		{S("ce-specversion"), S("1.0")},
		{S("ce-id"), wb_str_n(id, (size_t)len)},
		{S("ce-source"), S("/shop")},
		{S("ce-type"), S("order.placed")},
		{S("ce-partitionkey"), S("order/1")},
	};
	const wb_message m = {.exchange = wb_str_from(t->exchange),
			      .routing_key = S("order.placed"),
			      .message_id = wb_str_n(id, (size_t)len),
			      .content_type = S("application/json"),
			      .persistent = true,
			      .headers = headers,
			      .header_count = 5,
			      .body = S("{\"amount\":7}")};

	assert_ok(wb_broker_publish(l->broker, &m, number, &err), err);
}

/* first..last, each acked by the broker. */
static void publish(const taker *t, unsigned first, unsigned last)
{
	wb_amqp_options amqp = peer_options();
	size_t sent = 0;
	peer l;

	peer_up(&l, &amqp);
	for (unsigned i = first; i <= last; i++) {
		publish_one(&l, t, i);
		sent++;
		wb_broker_flush(l.broker);
		while (sent - l.count[WB_BROKER_ACKED] >= WINDOW)
			assert_int_equal(peer_next(&l).kind, WB_BROKER_ACKED);
	}
	while (l.count[WB_BROKER_ACKED] < sent)
		assert_int_equal(peer_next(&l).kind, WB_BROKER_ACKED);
	peer_free(&l);
}

/* ---- the tests -------------------------------------------------------- */

static void ten_thousand_are_taken_in_once_each(void **state)
{
	test_place *place = *state;
	wbi_ingest_stat stat;
	taker t;

	taker_open(&t, place->store);
	taker_start(&t);
	taker_ready(&t);
	publish(&t, 1, MANY);
	taker_until(&t, MANY);
	stat = taker_stat(&t);
	assert_int_equal(stat.duplicates, 0);
	assert_int_equal(stat.acked, MANY);
	assert_each_once(&t, MANY);
	/* All were acked: another consumer of this store gets nothing. */
	taker_kill(&t);
	taker_start(&t);
	taker_ready(&t);
	for (int i = 0; i < 20; i++)
		taker_turn(&t);
	assert_int_equal(taker_stat(&t).received, 0);
	taker_close(&t);
}

static uint16_t broker_port(void)
{
	return (uint16_t)atoi(strrchr(getenv("WAYBILL_TEST_AMQP"), ':') + 1);
}

static void broken_connections_lose_and_double_nothing(void **state)
{
	test_place *place = *state;
	const cut_proxy_options how = {.broker_port = broker_port()};
	cut_proxy *proxy = cut_proxy_start(&how);
	uint64_t passed;
	unsigned cuts = 0;
	taker t;

	assert_non_null(proxy);
	taker_open(&t, place->store);
	snprintf(t.uri, sizeof(t.uri), "amqp://guest:guest@127.0.0.1:%u",
		 cut_proxy_port(proxy));
	t.amqp.uri = t.uri;
	t.options.batch_max = 100;
	taker_start(&t);
	taker_ready(&t);
	publish(&t, 1, MANY);
	passed = cut_proxy_passed(proxy, CUT_TO_CLIENT);
	for (; cuts < 12; cuts++) {
		int64_t end_us = now_us() + PATIENCE_US;
		bool early = cuts % 4 == 3; /* before it consumes */

		cut_proxy_cut_after(proxy,
				    early ? CUT_TO_BROKER : CUT_TO_CLIENT,
				    early ? 300 + cuts * 97
					  : passed + 20000 + cuts * 13331);
		passed = 0; /* the next connection begins anew */
		while (cut_proxy_cuts(proxy) == cuts) {
			assert_true(taker_turn(&t));
			assert_true(now_us() < end_us);
		}
	}
	cut_proxy_cut_after(proxy, CUT_TO_CLIENT, UINT64_MAX);
	taker_ready(&t);
	taker_until(&t, MANY);
	assert_each_once(&t, MANY);
	print_message("%u cuts, %d duplicates\n", cuts,
		      (int)taker_stat(&t).duplicates);
	assert_true(taker_stat(&t).connects >= 9);
	taker_close(&t);
	cut_proxy_stop(proxy);
}

static void stopping_makes_nothing_come_again(void **state)
{
	test_place *place = *state;
	int64_t end_us;
	taker t;

	taker_open(&t, place->store);
	t.options.batch_max = 50;
	taker_start(&t);
	taker_ready(&t);
	publish(&t, 1, 3000);
	while (taker_stat(&t).received < 300)
		assert_true(taker_turn(&t));
	wbi_ingest_stop(t.ingest);
	end_us = now_us() + 5000000;
	while (!wbi_ingest_stopped(t.ingest)) {
		assert_true(taker_turn(&t));
		assert_true(now_us() < end_us);
	}
	assert_true(taker_count(&t) < 3000);
	taker_kill(&t);
	taker_start(&t);
	taker_until(&t, 3000);
	assert_int_equal(taker_stat(&t).duplicates, 0);
	taker_close(&t);
}

/* Nested too deep, of wrong types, without an id, too large, cut off. */
static void whatever_is_published_is_taken_in_or_set_aside(void **state)
{
	enum { FOREIGN = 1000 };
	foreign_peer *producer = foreign_peer_open(getenv("WAYBILL_TEST_AMQP"));
	int64_t end_us = now_us() + PATIENCE_US;
	test_place *place = *state;
	wbi_ingest_stat stat;
	taker t;

	assert_non_null(producer);
	taker_open(&t, place->store);
	taker_start(&t);
	taker_ready(&t);
	for (unsigned i = 0; i < FOREIGN; i++)
		assert_true(foreign_peer_send(producer, t.exchange, i));
	while (taker_stat(&t).acked < FOREIGN) {
		if (!taker_turn(&t) || now_us() > end_us)
			fail_msg("%d of %d came: %s",
				 (int)taker_stat(&t).received, (int)FOREIGN,
				 taker_stat(&t).error.text);
	}
	stat = taker_stat(&t);
	print_message("%d taken in, %d set aside\n", (int)stat.appended,
		      (int)stat.refused);
	assert_int_equal(stat.received, FOREIGN);
	/* Ids that are equal tables are equal ids. */
	assert_in_range(stat.duplicates, 0, FOREIGN / 10);
	assert_int_equal(stat.appended + stat.refused + stat.duplicates,
			 FOREIGN);
	assert_int_equal(stat.connects, 1);
	assert_int_equal(taker_count(&t), stat.appended);
	assert_true(stat.appended > 200 && stat.refused > 300);
	taker_close(&t);
	foreign_peer_close(producer);
}

static bool run_node(const char *verb)
{
	char command[1024];

	snprintf(command, sizeof(command), "'%s' %s '%s' >/dev/null 2>&1",
		 getenv("WAYBILL_TEST_NODE"), verb,
		 getenv("WAYBILL_TEST_NODE_DIR"));
	return system(command) == 0;
}

static void a_broker_that_dies_and_comes_back_is_taken_from_again(void **state)
{
	test_place *place = *state;
	taker t;

	if (!getenv("WAYBILL_TEST_NODE") || !getenv("WAYBILL_TEST_NODE_DIR")) {
		print_message("no node to kill: nothing to do\n");
		return;
	}
	taker_open(&t, place->store);
	t.options.batch_max = 50;
	taker_start(&t);
	taker_ready(&t);
	/* RabbitMQ 3.10 forgets a quorum queue, with all that is in it, if it
	 * is killed within about three seconds after it was made. */
	for (int i = 0; i < 250; i++)
		assert_true(taker_turn(&t));
	publish(&t, 1, 3000);
	while (taker_stat(&t).received < 300)
		assert_true(taker_turn(&t));
	assert_true(run_node("kill"));
	for (int i = 0; i < 50; i++)
		assert_true(taker_turn(&t));
	assert_int_equal(taker_stat(&t).state, WB_WORKER_DOWN);
	assert_true(run_node("start"));
	taker_until(&t, 3000);
	assert_each_once(&t, 3000);
	taker_close(&t);
}

static void a_deleted_queue_is_made_again(void **state)
{
	const char *ctl = getenv("WAYBILL_TEST_RABBITMQCTL");
	test_place *place = *state;
	char command[1024];
	int64_t end_us;
	taker t;

	if (!ctl) {
		print_message("no rabbitmqctl: nothing to do\n");
		return;
	}
	taker_open(&t, place->store);
	taker_start(&t);
	taker_ready(&t);
	snprintf(command, sizeof(command),
		 "'%s' delete_queue '%s' >/dev/null 2>&1", ctl, t.queue);
	assert_int_equal(system(command), 0);
	end_us = now_us() + 10000000;
	while (taker_stat(&t).state == WB_WORKER_RUNNING) {
		assert_true(taker_turn(&t));
		assert_true(now_us() < end_us);
	}
	assert_non_null(strstr(taker_stat(&t).error.text, "cancelled"));
	taker_ready(&t);
	publish(&t, 1, 10);
	taker_until(&t, 10);
	taker_close(&t);
}

static void fails_with(taker *t, const char *what)
{
	int64_t end_us = now_us() + PATIENCE_US;

	while (taker_turn(t))
		assert_true(now_us() < end_us);
	assert_int_equal(t->err.code, WB_EMISMATCH);
	if (!strstr(t->err.text, what))
		fail_msg("%s", t->err.text);
}

static void a_second_store_is_refused_and_reads_whose_the_queue_is(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wbi_ingest_status first;
	MDB_txn *txn;
	taker t, u;

	taker_open(&t, place->store);
	taker_start(&t);
	taker_ready(&t);
	assert_ok(wbi_txn_begin(wb_store_env(t.store), false, &txn, &err), err);
	assert_ok(wbi_ingest_status_get(txn,
					wbi_store_get_tables(t.store)->status,
					&first, &err),
		  err);
	wbi_txn_abort(txn);
	taker_open(&u, test_path(place->dir, "second"));
	u.options.queue = t.queue;
	u.options.exchange = t.exchange;
	taker_start(&u);
	fails_with(&u, "belongs to another store");
	assert_non_null(strstr(u.err.text, first.owner));
	print_message("%s\n", u.err.text);
	taker_close(&u);
	taker_close(&t);
}

static void an_argument_that_differs_is_named(void **state)
{
	test_place *place = *state;
	int64_t end_us = now_us() + PATIENCE_US;
	taker t;

	taker_open(&t, place->store);
	taker_start(&t);
	taker_ready(&t);
	taker_kill(&t);
	t.options.delivery_limit = 7;
	taker_start(&t);
	while (!strstr(taker_stat(&t).error.text, "x-delivery-limit is 20 at "
						  "the broker and 7 here")) {
		assert_true(taker_turn(&t));
		if (now_us() > end_us)
			fail_msg("%s", taker_stat(&t).error.text);
	}
	print_message("%s\n", taker_stat(&t).error.text);
	taker_close(&t);
}

static void without_the_right_to_declare_it_says_what_is_missing(void **state)
{
	test_place *place = *state;
	int64_t end_us = now_us() + PATIENCE_US;
	taker t;

	taker_open(&t, place->store);
	t.options.declare = WB_DECLARE_NEVER;
	taker_start(&t);
	while (!strstr(taker_stat(&t).error.text, "queue")) {
		assert_true(taker_turn(&t));
		if (now_us() > end_us)
			fail_msg("%s", taker_stat(&t).error.text);
	}
	print_message("%s\n", taker_stat(&t).error.text);
	taker_close(&t);
}

#define CASE(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(ten_thousand_are_taken_in_once_each),
		CASE(broken_connections_lose_and_double_nothing),
		CASE(stopping_makes_nothing_come_again),
		CASE(whatever_is_published_is_taken_in_or_set_aside),
		CASE(a_deleted_queue_is_made_again),
		CASE(a_second_store_is_refused_and_reads_whose_the_queue_is),
		CASE(an_argument_that_differs_is_named),
		CASE(without_the_right_to_declare_it_says_what_is_missing),
		CASE(a_broker_that_dies_and_comes_back_is_taken_from_again),
	};

	if (!getenv("WAYBILL_TEST_AMQP")) {
		printf("skipped: WAYBILL_TEST_AMQP names no broker\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
