/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The RabbitMQ adapter against a real broker:
 *   WAYBILL_TEST_AMQP          its URI; skipped without
 *   WAYBILL_TEST_RABBITMQCTL   a rabbitmqctl for it: the memory alarm
 *   WAYBILL_TEST_AMQPS, WAYBILL_TEST_TLS_DIR   its TLS side and ca.pem
 * Names of what is declared end in a number drawn at the start.
 */
#include "tests/support/testing.h"

#include <stdlib.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "tests/integration/peer.h"
#include "tests/support/cut_proxy.h"

enum { MANY = 10000, WINDOW = 2000 };

static char exchange[40], queue[40], full_queue[40];

/* ---- helpers ----------------------------------------------------------- */

static wb_argument text_argument(const char *name, const char *text)
{
	return (wb_argument){.name = wb_str_from(name),
			     .text = wb_str_from(text)};
}

static void must_declare(peer *l, wb_declaration what)
{
	peer_event event = peer_declare(l, &what);

	if (event.kind != WB_BROKER_DECLARED)
		fail_msg("%s", event.error.text);
}

static wb_declaration the_exchange(void)
{
	return (wb_declaration){.kind = WB_TOPOLOGY_EXCHANGE,
				.name = wb_str_from(exchange),
				.exchange_type = S("topic")};
}

static wb_declaration quorum_queue(const char *name)
{
	static wb_argument quorum;

	quorum = text_argument("x-queue-type", "quorum");
	return (wb_declaration){.kind = WB_TOPOLOGY_QUEUE,
				.name = wb_str_from(name),
				.arguments = &quorum,
				.argument_count = 1};
}

static wb_declaration binding(const char *to, const char *key)
{
	return (wb_declaration){.kind = WB_TOPOLOGY_BINDING,
				.name = wb_str_from(to),
				.exchange = wb_str_from(exchange),
				.binding_key = wb_str_from(key)};
}

static wb_message message(const char *to, const char *key, const char *id)
{
	return (wb_message){.exchange = wb_str_from(to),
			    .routing_key = wb_str_from(key),
			    .message_id = wb_str_from(id),
			    .type = S("test"),
			    .content_type = S("text/plain"),
			    .persistent = true,
			    .body = S("0123456789")};
}

static void must_publish(peer *l, const char *to, const char *key,
			 uint64_t token)
{
	wb_error err = WB_ERROR_INIT;
	wb_message m;
	char id[32];

	snprintf(id, sizeof(id), "m-%llu", (unsigned long long)token);
	m = message(to, key, id);
	assert_ok(wb_broker_publish(l->broker, &m, token, &err), err);
}

static void close_in_good_order(peer *l)
{
	wb_broker_close(l->broker);
	peer_wait(l, WB_BROKER_DOWN);
	assert_int_equal(l->count[WB_BROKER_DOWN], 1);
	peer_free(l);
}

/* ---- the connection ---------------------------------------------------- */

static void it_connects_closes_and_connects_again(void **state)
{
	wb_amqp_options options = peer_options();
	wb_error err = WB_ERROR_INIT;
	peer l;
	int fd;

	(void)state;
	peer_open(&l, &options);
	fd = wb_broker_fd(l.broker);
	for (int i = 0; i < 3; i++) {
		assert_ok(wb_broker_connect(l.broker, &err), err);
		assert_code(wb_broker_connect(l.broker, &err), WB_ESTATE, err);
		peer_wait(&l, WB_BROKER_UP);
		assert_int_equal(wb_broker_fd(l.broker), fd);
		wb_broker_close(l.broker);
		peer_wait(&l, WB_BROKER_DOWN);
	}
	assert_int_equal(l.count[WB_BROKER_DOWN], 3);
	assert_ok(wb_broker_connect(l.broker, &err), err);
	wb_broker_close(l.broker); /* before it is up */
	peer_wait(&l, WB_BROKER_DOWN);
	assert_ok(wb_broker_connect(l.broker, &err), err);
	peer_wait(&l, WB_BROKER_UP);
	peer_free(&l); /* while it is up */
}

static peer_event fail_to_connect(const wb_amqp_options *options)
{
	wb_error err = WB_ERROR_INIT;
	peer_event event;
	peer l;

	peer_open(&l, options);
	assert_ok(wb_broker_connect(l.broker, &err), err);
	event = peer_next(&l);
	assert_int_equal(event.kind, WB_BROKER_DOWN);
	peer_free(&l);
	return event;
}

static void a_wrong_password_is_refused_and_not_shown(void **state)
{
	wb_amqp_options options = peer_options();
	peer_event event;

	(void)state;
	options.password = "open sesame";
	event = fail_to_connect(&options);
	assert_string_equal(wb_code_name(event.error.code), "WB_EACCESS");
	assert_null(strstr(event.error.text, "sesame"));
	assert_null(strstr(event.text, "sesame"));
}

static void a_wrong_vhost_is_named(void **state)
{
	wb_amqp_options options = peer_options();
	peer_event event;
	char uri[300];

	(void)state;
	snprintf(uri, sizeof(uri), "%s/nowhere", options.uri);
	options.uri = uri;
	event = fail_to_connect(&options);
	assert_non_null(strstr(event.error.text, "nowhere"));
}

static void hosts_are_tried_in_turn(void **state)
{
	wb_amqp_options options = peer_options();
	peer_event event;
	char uris[600];
	peer l;

	(void)state;
	snprintf(uris, sizeof(uris), "amqp://127.0.0.1:1,%s", options.uri);
	options.uri = uris;
	peer_up(&l, &options);
	close_in_good_order(&l);
	options.uri = "amqp://127.0.0.1:1,amqp://127.0.0.2:1";
	event = fail_to_connect(&options);
	assert_int_equal(event.error.code, WB_EUNREACHABLE);
	assert_non_null(strstr(event.error.text, "127.0.0.1"));
	assert_non_null(strstr(event.error.text, "127.0.0.2"));
	snprintf(uris, sizeof(uris), "%s/nowhere,amqp://127.0.0.1:1",
		 peer_options().uri);
	options.uri = uris;
	event = fail_to_connect(&options);
	assert_int_equal(event.error.class_, WB_CLASS_RETRY);
	assert_non_null(strstr(event.error.text, "nowhere"));
}

static void tls_works_and_its_certificate_is_verified(void **state)
{
	wb_amqp_options options = peer_options();
	const char *directory = getenv("WAYBILL_TEST_TLS_DIR");
	peer_event event;
	char ca[512];
	peer l;

	(void)state;
	options.uri = getenv("WAYBILL_TEST_AMQPS");
	if (!options.uri || !directory)
		skip();
	event = fail_to_connect(&options);
	assert_int_equal(event.error.code, WB_EACCESS);
	assert_non_null(strstr(event.error.text, "tls_ca_file"));
	snprintf(ca, sizeof(ca), "%s/ca.pem", directory);
	options.tls_ca_file = ca;
	peer_up(&l, &options);
	for (uint64_t i = 0; i < 500; i++)
		must_publish(&l, "", queue, i);
	wb_broker_flush(l.broker);
	while (l.count[WB_BROKER_ACKED] < 500)
		peer_wait(&l, WB_BROKER_ACKED);
	close_in_good_order(&l);
}

/* ---- topology ---------------------------------------------------------- */

static void topology_is_created_and_checked(void **state)
{
	wb_amqp_options options = peer_options();
	wb_declaration e = the_exchange(), q = quorum_queue(queue);
	peer_event event;
	peer l;

	(void)state;
	peer_up(&l, &options);
	e.check_only = q.check_only = true;
	event = peer_declare(&l, &e);
	assert_int_equal(event.kind, WB_BROKER_DECLARE_FAILED);
	assert_int_equal(event.reply_code, 404);
	assert_non_null(strstr(event.error.text, exchange));
	event = peer_declare(&l, &q);
	assert_int_equal(event.reply_code, 404);
	e.check_only = q.check_only = false;
	must_declare(&l, e);
	must_declare(&l, q);
	must_declare(&l, binding(queue, "good.#"));
	must_declare(&l, e); /* again: no harm */
	e.check_only = q.check_only = true;
	must_declare(&l, e);
	must_declare(&l, q);
	e.check_only = q.check_only = false;
	e.exchange_type = S("fanout");
	event = peer_declare(&l, &e);
	assert_int_equal(event.reply_code, 406);
	assert_int_equal(event.error.code, WB_EMISMATCH);
	q.argument_count = 0; /* classic instead of quorum */
	event = peer_declare(&l, &q);
	assert_int_equal(event.reply_code, 406);
	close_in_good_order(&l);
}

/* ---- publishing and consuming ------------------------------------------ */

static void publish_many(peer *l)
{
	uint64_t sent = 0;

	while (l->count[WB_BROKER_ACKED] < MANY) {
		while (sent < MANY && sent - l->count[WB_BROKER_ACKED] < WINDOW)
			must_publish(l, exchange, "good.one", sent++);
		wb_broker_flush(l->broker);
		peer_wait(l, WB_BROKER_ACKED);
	}
	assert_int_equal(l->count[WB_BROKER_NACKED], 0);
	assert_int_equal(l->count[WB_BROKER_RETURNED], 0);
}

/* Each once, in the order they were published. */
static void consume_many(peer *l, const char *from, uint64_t count)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(
		wb_broker_consume(l->broker, wb_str_from(from), 1000, 7, &err),
		err);
	peer_wait(l, WB_BROKER_CONSUMING);
	for (uint64_t i = 0; i < count; i++) {
		peer_event event = peer_wait(l, WB_BROKER_DELIVERY);
		char id[32];

		snprintf(id, sizeof(id), "m-%llu", (unsigned long long)i);
		assert_string_equal(event.text, id);
		assert_int_equal(event.token, 7);
		if (i % 500 == 499 || i == count - 1)
			assert_ok(wb_broker_ack(l->broker, event.delivery, true,
						&err),
				  err);
	}
}

static void ten_thousand_go_through_a_quorum_queue(void **state)
{
	wb_amqp_options options = peer_options();
	peer publisher, consumer;

	(void)state;
	peer_up(&publisher, &options);
	must_declare(&publisher, quorum_queue(queue));
	publish_many(&publisher);
	peer_up(&consumer, &options);
	consume_many(&consumer, queue, MANY);
	peer_idle(&consumer, 50);
	assert_int_equal(consumer.count[WB_BROKER_DELIVERY], MANY);
	close_in_good_order(&consumer);
	/* All were acked: a second consumer gets nothing. */
	peer_up(&consumer, &options);
	consume_many(&consumer, queue, 0);
	peer_idle(&consumer, 100);
	assert_int_equal(consumer.count[WB_BROKER_DELIVERY], 0);
	close_in_good_order(&consumer);
	close_in_good_order(&publisher);
}

static void an_unroutable_message_is_returned_not_acked(void **state)
{
	wb_amqp_options options = peer_options();
	peer_event event;
	peer l;

	(void)state;
	peer_up(&l, &options);
	must_publish(&l, exchange, "bad.key", 31);
	must_publish(&l, exchange, "good.key", 32);
	wb_broker_flush(l.broker);
	event = peer_wait(&l, WB_BROKER_RETURNED);
	assert_int_equal(event.token, 31);
	assert_int_equal(event.reply_code, 312);
	event = peer_wait(&l, WB_BROKER_ACKED);
	assert_int_equal(event.token, 32);
	close_in_good_order(&l);
	assert_int_equal(l.count[WB_BROKER_ACKED], 1);
}

static void a_missing_exchange_closes_only_the_channel(void **state)
{
	wb_amqp_options options = peer_options();
	wb_error err = WB_ERROR_INIT;
	wb_message m = message("no-such-exchange", "k", "m-1");
	peer_event event;
	peer l;

	(void)state;
	peer_up(&l, &options);
	assert_ok(wb_broker_publish(l.broker, &m, 1, &err), err);
	wb_broker_flush(l.broker);
	do
		event = peer_next(&l);
	while (event.kind == WB_BROKER_ACKED);
	assert_int_equal(event.kind, WB_BROKER_CHANNEL_CLOSED);
	assert_int_equal(event.reply_code, 404);
	assert_code(wb_broker_publish(l.broker, &m, 2, &err), WB_ESTATE, err);
	assert_ok(wb_broker_reopen(l.broker, &err), err);
	peer_wait(&l, WB_BROKER_CHANNEL_OPEN);
	must_publish(&l, exchange, "good.again", 3);
	wb_broker_flush(l.broker);
	assert_int_equal(peer_wait(&l, WB_BROKER_ACKED).token, 3);
	close_in_good_order(&l);
}

static void a_full_queue_nacks(void **state)
{
	wb_amqp_options options = peer_options();
	const wb_argument arguments[] = {
		{.name = S("x-max-length"), .is_number = true, .number = 5},
		text_argument("x-overflow", "reject-publish")};
	peer l;

	(void)state;
	peer_up(&l, &options);
	must_declare(&l, (wb_declaration){.kind = WB_TOPOLOGY_QUEUE,
					  .name = wb_str_from(full_queue),
					  .arguments = arguments,
					  .argument_count = 2});
	for (uint64_t i = 0; i < 20; i++) {
		must_publish(&l, "", full_queue, i);
		wb_broker_flush(l.broker);
		while (l.count[WB_BROKER_ACKED] + l.count[WB_BROKER_NACKED] <=
		       i)
			peer_next(&l);
	}
	assert_int_equal(l.count[WB_BROKER_ACKED], 5);
	assert_int_equal(l.count[WB_BROKER_NACKED], 15);
	assert_int_equal(l.count[WB_BROKER_DOWN], 0);
	close_in_good_order(&l);
}

/* ---- trouble ----------------------------------------------------------- */

static void set_watermark(const char *mark)
{
	char command[600];

	snprintf(command, sizeof(command),
		 "%s -q set_vm_memory_high_watermark %s >/dev/null",
		 getenv("WAYBILL_TEST_RABBITMQCTL"), mark);
	assert_int_equal(system(command), 0);
}

static void a_memory_alarm_blocks_and_ends(void **state)
{
	wb_amqp_options options = peer_options();
	wb_error err = WB_ERROR_INIT;
	wb_message m = message("", queue, "m-1");
	peer_event event;
	peer l;

	(void)state;
	if (!getenv("WAYBILL_TEST_RABBITMQCTL"))
		skip();
	peer_up(&l, &options);
	set_watermark("0.0001");
	must_publish(&l, "", queue, 0);
	wb_broker_flush(l.broker);
	do
		event = peer_next(&l);
	while (event.kind == WB_BROKER_ACKED);
	assert_int_equal(event.kind, WB_BROKER_BLOCKED);
	assert_code(wb_broker_publish(l.broker, &m, 1, &err), WB_ESTATE, err);
	set_watermark("0.6");
	peer_wait(&l, WB_BROKER_UNBLOCKED);
	must_publish(&l, "", queue, 2);
	wb_broker_flush(l.broker);
	while (l.count[WB_BROKER_ACKED] < 2)
		peer_wait(&l, WB_BROKER_ACKED);
	close_in_good_order(&l);
}

static uint16_t broker_port(void)
{
	const char *colon = strrchr(peer_options().uri, ':');

	return (uint16_t)atoi(colon + 1);
}

/* Through the proxy: connect, publish one, see it acked, close. */
static peer_event small_session(peer *l, const wb_amqp_options *options)
{
	wb_error err = WB_ERROR_INIT;
	peer_event event;

	peer_open(l, options);
	assert_ok(wb_broker_connect(l->broker, &err), err);
	do {
		event = peer_next(l);
		if (event.kind == WB_BROKER_UP) {
			must_publish(l, exchange, "good.cut", 1);
			wb_broker_flush(l->broker);
		}
		if (event.kind == WB_BROKER_ACKED)
			wb_broker_close(l->broker);
	} while (event.kind != WB_BROKER_DOWN);
	return event;
}

static void a_dribbling_connection_works(void **state)
{
	wb_amqp_options options = peer_options();
	const cut_proxy_options dribble = {.broker_port = broker_port(),
					   .chunk_max = 1};
	cut_proxy *proxy = cut_proxy_start(&dribble);
	char uri[64];
	peer l;

	(void)state;
	assert_non_null(proxy);
	snprintf(uri, sizeof(uri), "amqp://127.0.0.1:%u",
		 cut_proxy_port(proxy));
	options.uri = uri;
	small_session(&l, &options);
	assert_int_equal(l.count[WB_BROKER_ACKED], 1);
	peer_free(&l);
	cut_proxy_stop(proxy);
}

static void cut_small_session(cut_proxy *proxy, const wb_amqp_options *options,
			      cut_direction direction, uint64_t at)
{
	unsigned cuts = cut_proxy_cuts(proxy);
	peer l;

	cut_proxy_cut_after(proxy, direction, at);
	small_session(&l, options);
	assert_int_equal(l.count[WB_BROKER_DOWN], 1);
	assert_true(l.count[WB_BROKER_UP] >= l.count[WB_BROKER_ACKED]);
	assert_int_equal(cut_proxy_cuts(proxy), cuts + 1);
	peer_free(&l);
}

/* At each end of a frame and one byte before and behind it: whatever is cut,
 * there is exactly one DOWN, and never an ack without UP. */
static void cut_everywhere(bool reset)
{
	wb_amqp_options options = peer_options();
	const cut_proxy_options how = {.broker_port = broker_port(),
				       .reset = reset};
	cut_proxy *proxy = cut_proxy_start(&how);
	uint64_t ends[CUT_DIRECTIONS][64];
	size_t count[CUT_DIRECTIONS];
	char uri[64];
	peer l;

	assert_non_null(proxy);
	snprintf(uri, sizeof(uri), "amqp://127.0.0.1:%u",
		 cut_proxy_port(proxy));
	options.uri = uri;
	small_session(&l, &options);
	peer_free(&l);
	for (int d = 0; d < CUT_DIRECTIONS; d++)
		count[d] = cut_proxy_frame_ends(proxy, (cut_direction)d,
						ends[d], 64);
	assert_true(count[CUT_TO_BROKER] >= 8);
	assert_true(count[CUT_TO_CLIENT] >= 7);
	/* Not behind the last frame: that is the end anyway. */
	for (int d = 0; d < CUT_DIRECTIONS; d++)
		for (size_t i = 0; i < 3 * (count[d] - 1); i++)
			cut_small_session(proxy, &options, (cut_direction)d,
					  ends[d][i / 3] + i % 3 - 1);
	cut_proxy_stop(proxy);
}

static void a_cut_anywhere_ends_in_one_down(void **state)
{
	(void)state;
	cut_everywhere(false);
}

static void a_reset_anywhere_ends_in_one_down(void **state)
{
	(void)state;
	cut_everywhere(true);
}

static void remove_what_was_declared(void)
{
	/* A queue left behind on somebody's broker would be a nuisance; without
	 * rabbitmqctl that is for them to clear. */
	const char *ctl = getenv("WAYBILL_TEST_RABBITMQCTL");
	char command[600];

	for (int i = 0; ctl && i < 2; i++) {
		snprintf(command, sizeof(command),
			 "%s -q delete_queue %s >/dev/null", ctl,
			 i ? full_queue : queue);
		if (system(command))
			printf("could not delete a queue\n");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_connects_closes_and_connects_again),
		cmocka_unit_test(a_wrong_password_is_refused_and_not_shown),
		cmocka_unit_test(a_wrong_vhost_is_named),
		cmocka_unit_test(hosts_are_tried_in_turn),
		cmocka_unit_test(topology_is_created_and_checked),
		cmocka_unit_test(ten_thousand_go_through_a_quorum_queue),
		cmocka_unit_test(tls_works_and_its_certificate_is_verified),
		cmocka_unit_test(an_unroutable_message_is_returned_not_acked),
		cmocka_unit_test(a_missing_exchange_closes_only_the_channel),
		cmocka_unit_test(a_full_queue_nacks),
		cmocka_unit_test(a_memory_alarm_blocks_and_ends),
		cmocka_unit_test(a_dribbling_connection_works),
		cmocka_unit_test(a_cut_anywhere_ends_in_one_down),
		cmocka_unit_test(a_reset_anywhere_ends_in_one_down),
	};
	int failed;

	if (!peer_options().uri) {
		printf("skipped: WAYBILL_TEST_AMQP names no broker\n");
		return 77;
	}
	alarm(240); /* no wait without an end */
	snprintf(exchange, sizeof(exchange), "test-events-%d", getpid());
	snprintf(queue, sizeof(queue), "test-queue-%d", getpid());
	snprintf(full_queue, sizeof(full_queue), "test-full-%d", getpid());
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	remove_what_was_declared();
	return failed;
}
