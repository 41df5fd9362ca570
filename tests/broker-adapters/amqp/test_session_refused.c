/* SPDX-License-Identifier: BSD-2-Clause */
/* What a session does not take: nothing of it is sent, and the session is as it
 * was. And what it takes at the edge. */
#include "tests/broker-adapters/amqp/session_rig.h"

#include <string.h>

#include "broker-adapters/amqp/session_internal.h"
#include "lib/base/assert.h"

static void options_that_cannot_work_are_refused(void **state)
{
	char long_vhost[257];
	wbi_session_options o[9];
	static const char *const words[] = {"vhost",
					    "vhost",
					    "user and a password",
					    "user and a password",
					    "frame_max_bytes",
					    "frame_max_bytes",
					    "must not be 0",
					    "must not be 0",
					    "must not be 0"};
	wbi_session *session = NULL;

	(void)state;
	memset(long_vhost, 'v', 256);
	long_vhost[256] = '\0';
	for (size_t i = 0; i < WBI_COUNT(o); i++)
		o[i] = rig_options();
	o[0].vhost = NULL;
	o[1].vhost = long_vhost;
	o[2].user = NULL;
	o[3].password = NULL;
	o[4].frame_max_bytes = 4095;
	o[5].frame_max_bytes = UINT32_MAX;
	o[6].unsettled_max = 0;
	o[7].buffer_max_bytes = 0;
	o[8].body_max_bytes = 0;
	for (size_t i = 0; i < WBI_COUNT(o); i++) {
		wb_error err = WB_ERROR_INIT;

		assert_int_equal(wbi_session_new(&o[i], 0, &session, &err),
				 WB_EINVAL);
		if (!strstr(err.text, words[i]))
			fail_msg("%s: no %s", err.text, words[i]);
	}
	assert_null(session);
	wbi_session_free(NULL);
}

static void the_least_options_are_enough(void **state)
{
	wbi_session_options o = rig_options();
	session_rig rig;

	(void)state;
	o.frame_max_bytes = 0; /* RabbitMQ's own */
	o.heartbeat_s = 0;     /* none */
	o.connection_name = NULL;
	rig_up(&rig, &o, NULL);
	assert_int_equal(amqp_peer_look(rig.peer)->frame_max, 131072);
	assert_int_equal(amqp_peer_look(rig.peer)->heartbeat_s, 0);
	assert_ok(rig_publish(&rig, "m", "x", 1), (wb_error){0});
	rig_expect(&rig, WB_BROKER_ACKED, NULL);
	rig.now_us += INT64_C(3600) * 1000000;
	wbi_session_tick(rig.session, rig.now_us);
	rig_expect_nothing(&rig);
	rig_end(&rig);
}

static void a_login_that_does_not_fit_ends_it(void **state)
{
	static char password[33000];
	wbi_session_options o = rig_options();
	wb_broker_event down;
	session_rig rig;

	(void)state;
	memset(password, 'p', sizeof(password) - 1);
	o.password = password;
	rig_begin(&rig, &o, NULL);
	rig_expect(&rig, WB_BROKER_DOWN, &down);
	assert_int_not_equal(down.error.code, WB_OK);
	assert_null(strstr(down.error.text, "ppp"));
	rig_end(&rig);
}

static void a_declaration_has_names_of_1_to_255_bytes(void **state)
{
	static char text[256];
	wb_str long_name = wb_str_n(text, 256);
	const struct {
		wb_declaration what;
		wb_code code;
	} cases[] = {
		{{.kind = WB_TOPOLOGY_QUEUE}, WB_ELIMIT},
		{{.kind = WB_TOPOLOGY_QUEUE, .name = long_name}, WB_ELIMIT},
		{{.kind = WB_TOPOLOGY_BINDING,
		  .name = S("q"),
		  .exchange = long_name},
		 WB_ELIMIT},
		{{.kind = WB_TOPOLOGY_BINDING,
		  .name = S("q"),
		  .exchange = S("e"),
		  .binding_key = long_name},
		 WB_ELIMIT},
		{{.kind = WB_TOPOLOGY_EXCHANGE,
		  .name = S("e"),
		  .exchange_type = long_name},
		 WB_ELIMIT},
		{{.kind = WB_TOPOLOGY_EXCHANGE, .name = S("e")}, WB_EINVAL},
		{{.kind = WB_TOPOLOGY_BINDING,
		  .name = S("q"),
		  .check_only = true},
		 WB_EINVAL},
	};
	session_rig rig;

	(void)state;
	memset(text, 'a', sizeof(text));
	rig_up(&rig, NULL, NULL);
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wb_error err = WB_ERROR_INIT;

		assert_int_equal(wbi_session_declare(rig.session,
						     &cases[i].what, 1, &err),
				 cases[i].code);
		assert_string_not_equal(err.text, "");
	}
	rig_expect_nothing(&rig);
	assert_int_equal(amqp_peer_look(rig.peer)->declares, 0);
	rig_end(&rig);
}

/* Passive ones want no type, and arguments are of three kinds. */
static void what_is_checked_needs_a_name_only(void **state)
{
	const wb_argument arguments[] = {
		{.name = S("a"), .is_bool = true, .number = 1},
		{.name = S("b"), .is_number = true, .number = -1},
		{.name = S("c"), .text = S("text")}};
	wb_declaration what = {.kind = WB_TOPOLOGY_EXCHANGE,
			       .name = S("e"),
			       .check_only = true,
			       .arguments = arguments,
			       .argument_count = 3};
	wb_argument many[SESSION_ARGUMENTS_MAX + 1];
	wb_error err = WB_ERROR_INIT;
	session_rig rig;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(many); i++)
		many[i] = arguments[0];
	rig_up(&rig, NULL, NULL);
	assert_ok(wbi_session_declare(rig.session, &what, 1, &err), err);
	rig_expect(&rig, WB_BROKER_DECLARED, NULL);
	assert_string_equal(amqp_peer_look(rig.peer)->last_declare,
			    "exchange.declare e passive");
	what.arguments = many;
	what.argument_count = WBI_COUNT(many);
	assert_code(wbi_session_declare(rig.session, &what, 1, &err), WB_ELIMIT,
		    err);
	rig_end(&rig);
}

static void a_consumer_needs_a_queue_and_a_prefetch(void **state)
{
	static char text[256];
	const wb_argument from = {.name = S(WB_STREAM_OFFSET),
				  .text = S("first")},
			  other = {.name = S("x-priority"),
				   .is_number = true,
				   .number = 3};
	const wb_argument both[] = {other, from};
	wb_consumption what = {.queue = S("q")};
	wb_error err = WB_ERROR_INIT;
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, NULL);
	assert_code(wbi_session_consume(rig.session, &what, 1, &err), WB_EINVAL,
		    err);
	what.prefetch = 7;
	what.queue = S("");
	assert_code(wbi_session_consume(rig.session, &what, 1, &err), WB_ELIMIT,
		    err);
	what.queue = wb_str_n(text, 256);
	assert_code(wbi_session_consume(rig.session, &what, 1, &err), WB_ELIMIT,
		    err);
	what = (wb_consumption){S("q"), 7, both, 2};
	assert_ok(wbi_session_consume(rig.session, &what, 1, &err), err);
	rig_expect(&rig, WB_BROKER_CONSUMING, NULL);
	assert_int_equal(amqp_peer_look(rig.peer)->prefetch, 7);
	assert_code(wbi_session_consume(rig.session, &what, 1, &err), WB_ESTATE,
		    err);
	rig_end(&rig);
}

static void a_message_has_only_so_many_headers(void **state)
{
	static wb_header headers[2000];
	wb_message message = {
		.exchange = S("e"), .message_id = S("m"), .headers = headers};
	wb_error err = WB_ERROR_INIT;
	session_rig rig;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(headers); i++)
		headers[i] = (wb_header){S("n"), S("v")};
	message.header_count = WBI_COUNT(headers);
	rig_up(&rig, NULL, NULL);
	assert_code(wbi_session_publish(rig.session, &message, 1, &err),
		    WB_ELIMIT, err);
	/* A name may be empty, whatever that is good for. */
	headers[0].name = WB_STR_NULL;
	message.header_count = 2;
	assert_ok(wbi_session_publish(rig.session, &message, 1, &err), err);
	rig_expect(&rig, WB_BROKER_ACKED, NULL);
	rig_end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_that_cannot_work_are_refused),
		cmocka_unit_test(the_least_options_are_enough),
		cmocka_unit_test(a_login_that_does_not_fit_ends_it),
		cmocka_unit_test(a_declaration_has_names_of_1_to_255_bytes),
		cmocka_unit_test(what_is_checked_needs_a_name_only),
		cmocka_unit_test(a_consumer_needs_a_queue_and_a_prefetch),
		cmocka_unit_test(a_message_has_only_so_many_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
