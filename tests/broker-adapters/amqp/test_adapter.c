/* SPDX-License-Identifier: BSD-2-Clause */
/* The adapter over pipes in memory, on a clock that the test moves. */
#include "tests/support/testing.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker-adapters/amqp/adapter.h"
#include "lib/base/assert.h"
#include "tests/support/amqp_pipe.h"
#include "tests/support/fake_clock.h"

typedef struct rig {
	fake_clock clock;
	amqp_pipe pipe;
	amqp_peer *peer[AMQP_PIPE_HOSTS_MAX + 1];
	wb_broker *broker;
	size_t count[WB_BROKER_DELIVERY + 1];
	wb_broker_event last_down;
} rig;

/* ---- helpers ----------------------------------------------------------- */

static void rig_begin(rig *r, const char *uri, const amqp_peer_options *peers)
{
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;
	const amqp_peer_options plain = {.password = "guest"};
	wb_error err = WB_ERROR_INIT;

	memset(r, 0, sizeof(*r));
	fake_clock_init(&r->clock);
	amqp_pipe_init(&r->pipe);
	for (int i = 1; i <= AMQP_PIPE_HOSTS_MAX; i++) {
		r->peer[i] = amqp_peer_new(peers ? peers : &plain);
		r->pipe.peer[i] = r->peer[i];
	}
	options.uri = uri;
	options.clock = &r->clock.clock;
	assert_ok(wbi_amqp_new_with_transport(&options,
					      amqp_pipe_transport(&r->pipe),
					      &r->broker, &err),
		  err);
}

static void rig_end(rig *r)
{
	wb_broker_free(r->broker);
	assert_true(r->pipe.freed);
	for (int i = 1; i <= AMQP_PIPE_HOSTS_MAX; i++)
		amqp_peer_free(r->peer[i]);
}

static void rig_take(rig *r)
{
	wb_broker_event event;

	while (wb_broker_next(r->broker, &event)) {
		r->count[event.kind]++;
		if (event.kind == WB_BROKER_DOWN)
			r->last_down = event;
	}
}

/* Step until nothing is due at this moment. */
static void rig_pump(rig *r)
{
	for (int i = 0; i < 200; i++) {
		wb_broker_step(r->broker);
		rig_take(r);
	}
}

static void rig_connect(rig *r)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_broker_connect(r->broker, &err), err);
	rig_pump(r);
}

static wb_code rig_publish(rig *r, size_t body, uint64_t token)
{
	static char bytes[100000];
	const wb_message m = {.exchange = S("events"),
			      .routing_key = S("k"),
			      .message_id = S("m"),
			      .body = {bytes, body}};

	return wb_broker_publish(r->broker, &m, token, NULL);
}

/* ---- hosts ------------------------------------------------------------- */

static void hosts_are_tried_in_order_until_one_works(void **state)
{
	rig r;

	(void)state;
	rig_begin(&r, "amqp://a:1,amqp://b:2,amqp://c:3", NULL);
	r.pipe.fate[1] = AMQP_PIPE_REFUSES_AT_ONCE;
	r.pipe.fate[2] = AMQP_PIPE_REFUSES;
	rig_connect(&r);
	assert_int_equal(r.count[WB_BROKER_UP], 1);
	assert_int_equal(r.count[WB_BROKER_DOWN], 0);
	assert_int_equal(r.pipe.port, 3);
	assert_int_equal(r.pipe.opens, 3);
	rig_end(&r);
}

static void one_down_names_every_failure(void **state)
{
	rig r;

	(void)state;
	rig_begin(&r, "amqp://a:1,amqp://b:2", NULL);
	r.pipe.fate[1] = AMQP_PIPE_REFUSES_AT_ONCE;
	r.pipe.fate[2] = AMQP_PIPE_IS_SILENT;
	rig_connect(&r);
	assert_int_equal(r.count[WB_BROKER_DOWN], 0);
	assert_true(wb_broker_deadline_us(r.broker) ==
		    r.clock.mono_us + 10000000);
	fake_clock_advance_us(&r.clock, 10000000);
	rig_pump(&r);
	assert_int_equal(r.count[WB_BROKER_DOWN], 1);
	assert_non_null(strstr(r.last_down.error.text, "a: refused at once"));
	assert_non_null(strstr(r.last_down.error.text, "b: timed out"));
	assert_int_equal(r.last_down.error.class_, WB_CLASS_RETRY);
	assert_true(wb_broker_deadline_us(r.broker) == INT64_MAX);
	rig_end(&r);
}

static void every_host_refusing_at_once_is_still_one_down(void **state)
{
	rig r;

	(void)state;
	rig_begin(&r, "amqp://a:1,amqp://b:2", NULL);
	r.pipe.fate[1] = r.pipe.fate[2] = AMQP_PIPE_REFUSES_AT_ONCE;
	for (size_t i = 1; i <= 3; i++) {
		wb_error err = WB_ERROR_INIT;

		assert_ok(wb_broker_connect(r.broker, &err), err);
		/* The host must be woken for it. */
		assert_true(r.pipe.wake_at_us <= r.clock.mono_us);
		rig_pump(&r);
		assert_int_equal(r.count[WB_BROKER_DOWN], i);
	}
	rig_end(&r);
}

static void a_refused_login_tries_the_next_host_and_decides_alone(void **state)
{
	rig r;

	(void)state;
	rig_begin(&r, "amqp://u:bad@a:1,amqp://b:2", NULL);
	rig_connect(&r);
	assert_int_equal(r.count[WB_BROKER_UP], 1);
	assert_int_equal(r.pipe.port, 2);
	rig_end(&r);

	rig_begin(&r, "amqp://u:bad@a:1,amqp://u:bad@b:2", NULL);
	rig_connect(&r);
	assert_int_equal(r.count[WB_BROKER_DOWN], 1);
	assert_int_equal(r.last_down.error.code, WB_EACCESS);
	assert_null(strstr(r.last_down.error.text, "bad"));
	rig_end(&r);

	/* One of them may yet come back: worth a retry. */
	rig_begin(&r, "amqp://u:bad@a:1,amqp://b:2", NULL);
	r.pipe.fate[2] = AMQP_PIPE_REFUSES;
	rig_connect(&r);
	assert_int_equal(r.last_down.error.class_, WB_CLASS_RETRY);
	assert_int_equal(r.last_down.error.code, WB_EUNREACHABLE);
	rig_end(&r);
}

static void the_next_connect_begins_behind_the_last_host(void **state)
{
	rig r;

	(void)state;
	rig_begin(&r, "amqp://a:1,amqp://b:2,amqp://c:3", NULL);
	for (uint16_t i = 0; i < 7; i++) {
		rig_connect(&r);
		assert_int_equal(r.pipe.port, i % 3 + 1);
		amqp_peer_close(r.peer[r.pipe.port], 320, "going down");
		rig_pump(&r);
		assert_int_equal(r.count[WB_BROKER_DOWN], i + 1);
		assert_int_equal(r.pipe.port, 0);
	}
	assert_non_null(strstr(r.last_down.error.text, "going down"));
	rig_end(&r);
}

/* ---- closing ----------------------------------------------------------- */

static void close_answers_in_every_phase_with_one_down(void **state)
{
	rig r;

	(void)state;
	rig_begin(&r, "amqp://a:1,amqp://b:2", NULL);
	wb_broker_close(r.broker); /* down: nothing */
	rig_pump(&r);
	assert_int_equal(r.count[WB_BROKER_DOWN], 0);
	r.pipe.fate[1] = AMQP_PIPE_IS_SILENT;
	rig_connect(&r); /* opening */
	wb_broker_close(r.broker);
	rig_pump(&r);
	assert_int_equal(r.count[WB_BROKER_DOWN], 1);
	assert_int_equal(r.pipe.opens, 1); /* not the second host */
	rig_connect(&r);                   /* up, to the second */
	assert_int_equal(r.count[WB_BROKER_UP], 1);
	wb_broker_close(r.broker);
	wb_broker_close(r.broker);
	rig_pump(&r);
	assert_int_equal(r.count[WB_BROKER_DOWN], 2);
	assert_true(amqp_peer_is_closed(r.peer[2]));
	rig_end(&r);
}

static void calls_in_the_wrong_state_do_no_harm(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wb_declaration d = {.name = S("x"), .exchange_type = S("topic")};
	rig r;

	(void)state;
	rig_begin(&r, "amqp://a:1", NULL);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(rig_publish(&r, 1, 1), WB_ESTATE);
		assert_code(wb_broker_reopen(r.broker, &err), WB_ESTATE, err);
		assert_code(wb_broker_declare(r.broker, &d, 1, &err), WB_ESTATE,
			    err);
		assert_code(wb_broker_consume(r.broker, S("q"), 1, 1, &err),
			    WB_ESTATE, err);
		assert_code(wb_broker_ack(r.broker, 1, false, &err), WB_ESTATE,
			    err);
		assert_code(wb_broker_reject(r.broker, 1, true, &err),
			    WB_ESTATE, err);
		wb_broker_flush(r.broker);
		wb_broker_close(r.broker);
		wb_broker_step(r.broker);
		/* and again after a connection that went away */
		rig_connect(&r);
		assert_code(wb_broker_connect(r.broker, &err), WB_ESTATE, err);
		r.pipe.cut_to_adapter = 0;
		rig_pump(&r);
		r.pipe.cut_to_adapter = SIZE_MAX;
		assert_int_equal(r.count[WB_BROKER_DOWN], round + 1);
	}
	rig_end(&r);
}

/* ---- writing ----------------------------------------------------------- */

static void many_publishes_leave_in_one_write(void **state)
{
	rig r;
	unsigned writes;

	(void)state;
	rig_begin(&r, "amqp://a:1", NULL);
	rig_connect(&r);
	writes = r.pipe.writes;
	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(rig_publish(&r, 100, i), WB_OK);
	assert_int_equal(r.pipe.writes, writes);
	wb_broker_flush(r.broker);
	assert_int_equal(r.pipe.writes, writes + 1);
	rig_pump(&r);
	assert_int_equal(amqp_peer_count(r.peer[1]), 200);
	assert_int_equal(r.count[WB_BROKER_ACKED], 200);
	wb_broker_flush(r.broker); /* nothing to write: no call */
	assert_int_equal(r.pipe.writes, writes + 1);
	rig_end(&r);
}

static void a_slow_reader_bounds_the_buffer_and_costs_no_calls(void **state)
{
	uint64_t sent = 0;
	unsigned writes;
	rig r;

	(void)state;
	rig_begin(&r, "amqp://a:1", NULL);
	rig_connect(&r);
	r.pipe.room = 0;
	writes = r.pipe.writes;
	while (rig_publish(&r, 1000, sent) == WB_OK)
		sent++;
	assert_int_equal(rig_publish(&r, 1000, sent), WB_EAGAIN);
	wb_broker_flush(r.broker);
	assert_int_equal(r.pipe.writes, writes + 1);
	assert_in_range(sent, 3000, 4100); /* 4 MiB of 1,000 bytes and frames */
	r.pipe.room = SIZE_MAX;
	rig_pump(&r);
	assert_int_equal(r.count[WB_BROKER_ACKED], sent);
	rig_end(&r);
}

/* Bounded work per call must not leave bytes behind that nobody sends. */
static void a_long_write_goes_on_in_the_next_step(void **state)
{
	rig r;

	(void)state;
	rig_begin(&r, "amqp://a:1", NULL);
	rig_connect(&r);
	r.pipe.chunk = 100;
	assert_int_equal(rig_publish(&r, 60000, 1), WB_OK);
	wb_broker_flush(r.broker);
	assert_in_range(r.pipe.to_peer, 6000, 10000);
	while (r.count[WB_BROKER_ACKED] == 0) {
		/* Ready to be woken at once, until all is written. */
		if (amqp_peer_count(r.peer[1]) == 0)
			assert_true(r.pipe.wake_at_us <= r.clock.mono_us);
		wb_broker_step(r.broker);
		rig_take(&r);
	}
	assert_true(r.pipe.wake_at_us > r.clock.mono_us);
	rig_end(&r);
}

static void what_the_broker_said_last_outlives_a_broken_pipe(void **state)
{
	rig r;

	(void)state;
	rig_begin(&r, "amqp://a:1", NULL);
	rig_connect(&r);
	/* Its close is on the way when our write fails. */
	amqp_peer_close(r.peer[1], 320, "shutting down for upgrade");
	r.pipe.cut_to_peer = r.pipe.to_peer;
	assert_int_equal(rig_publish(&r, 10, 1), WB_OK);
	wb_broker_flush(r.broker);
	assert_true(r.pipe.wake_at_us <= r.clock.mono_us);
	rig_take(&r);
	assert_int_equal(r.count[WB_BROKER_DOWN], 1);
	assert_non_null(strstr(r.last_down.error.text, "upgrade"));
	rig_end(&r);
}

static void a_cut_at_any_byte_ends_in_one_down(void **state)
{
	size_t to_peer, to_adapter;
	rig r;

	(void)state;
	rig_begin(&r, "amqp://a:1", NULL);
	rig_connect(&r);
	to_peer = r.pipe.to_peer;
	to_adapter = r.pipe.to_adapter;
	for (size_t cut = 0; cut < to_peer + to_adapter; cut++) {
		wb_broker_close(r.broker);
		rig_pump(&r);
		memset(r.count, 0, sizeof(r.count));
		r.pipe.cut_to_peer = cut < to_peer ? cut : SIZE_MAX;
		r.pipe.cut_to_adapter =
			cut < to_peer ? SIZE_MAX : cut - to_peer;
		rig_connect(&r);
		assert_int_equal(r.count[WB_BROKER_UP], 0);
		assert_int_equal(r.count[WB_BROKER_DOWN], 1);
		assert_int_equal(r.last_down.error.class_, WB_CLASS_RETRY);
	}
	rig_end(&r);
}

/* ---- options ----------------------------------------------------------- */

static void wrong_options_are_refused_before_connecting(void **state)
{
	static const struct {
		wb_amqp_options options;
		const char *word;
	} cases[] = {
		{{.size = 1}, "size"},
		{{.uri = "amqp://"}, "size"},
		{{.size = sizeof(wb_amqp_options)}, "none given"},
		{{.size = sizeof(wb_amqp_options), .uri = "amqp://u@h"},
		 "no password for user u"},
		{{.size = sizeof(wb_amqp_options),
		  .uri = "amqp://",
		  .user = "x"},
		 "no password for user x"},
		{{.size = sizeof(wb_amqp_options),
		  .uri = "amqp://",
		  .heartbeat_s = 4},
		 "heartbeat_s"},
		{{.size = sizeof(wb_amqp_options),
		  .uri = "amqp://",
		  .frame_max_bytes = 4095},
		 "frame_max_bytes"},
		{{.size = sizeof(wb_amqp_options),
		  .uri = "amqp://",
		  .tls_insecure = true},
		 "amqps://"},
		{{.size = sizeof(wb_amqp_options),
		  .uri = "amqps://",
		  .tls_cert_file = "c"},
		 "together"},
		{{.size = sizeof(wb_amqp_options),
		  .uri = "amqp://",
		  .password = "a",
		  .password_file = "b"},
		 "drop one"},
	};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wb_error err = WB_ERROR_INIT;
		wb_broker *broker = NULL;

		assert_int_equal(wb_amqp_new(&cases[i].options, &broker, &err),
				 WB_EINVAL);
		if (!strstr(err.text, cases[i].word))
			fail_msg("%zu: %s", i, err.text);
		assert_null(broker);
	}
}

static void the_password_file_is_used(void **state)
{
	char path[] = "/tmp/waybill-password-XXXXXX";
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_broker *broker = NULL;
	int fd = mkstemp(path);

	(void)state;
	options.uri = "amqp://u@h";
	options.password_file = path;
	assert_int_equal(write(fd, "sesame\n", 7), 7);
	close(fd);
	assert_ok(wb_amqp_new(&options, &broker, &err), err);
	wb_broker_free(broker);
	chmod(path, 0644);
	assert_code(wb_amqp_new(&options, &broker, &err), WB_EACCESS, err);
	unlink(path);
	assert_code(wb_amqp_new(&options, &broker, &err), WB_ENOTFOUND, err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_are_tried_in_order_until_one_works),
		cmocka_unit_test(one_down_names_every_failure),
		cmocka_unit_test(every_host_refusing_at_once_is_still_one_down),
		cmocka_unit_test(
			a_refused_login_tries_the_next_host_and_decides_alone),
		cmocka_unit_test(the_next_connect_begins_behind_the_last_host),
		cmocka_unit_test(close_answers_in_every_phase_with_one_down),
		cmocka_unit_test(calls_in_the_wrong_state_do_no_harm),
		cmocka_unit_test(many_publishes_leave_in_one_write),
		cmocka_unit_test(
			a_slow_reader_bounds_the_buffer_and_costs_no_calls),
		cmocka_unit_test(a_long_write_goes_on_in_the_next_step),
		cmocka_unit_test(
			what_the_broker_said_last_outlives_a_broken_pipe),
		cmocka_unit_test(a_cut_at_any_byte_ends_in_one_down),
		cmocka_unit_test(wrong_options_are_refused_before_connecting),
		cmocka_unit_test(the_password_file_is_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
