/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See rabbit_fixture.h. A second, plain connection of rabbitmq-c plays the
 * other client that deletes what is in use. It waits, but never without a limit.
 */
#include <poll.h>
#include <stdlib.h>

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#ifdef HAVE_RABBITMQ_C_AMQP_H
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif

#include <waybill/amqp.h>

#include "tests/conformance/rabbit_fixture.h"

enum { FIXTURE_TIMEOUT_S = 10 };

static wb_code fixture_make(void *ctx, wb_broker **ret, wb_error *err)
{
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;

	options.uri = ((rabbit_fixture *)ctx)->uri;
	options.connection_name = "waybill conformance";
	return wb_amqp_new(&options, ret, err);
}

static int64_t fixture_now_us(void *ctx)
{
	const wb_clock *clock = wb_system_clock();

	(void)ctx;
	return clock->mono_us(clock->ctx);
}

static void fixture_wait(void *ctx, wb_broker *broker)
{
	struct pollfd p = {wb_broker_fd(broker), POLLIN, 0};
	int64_t left_us = wb_broker_deadline_us(broker) - fixture_now_us(ctx);

	poll(&p, 1, left_us > 10000 ? 10 : left_us > 0 ? 1 : 0);
}

static bool fixture_delete_exchange(void *ctx, const char *name)
{
	rabbit_fixture *r = ctx;

	amqp_exchange_delete(r->admin, 1, amqp_cstring_bytes(name), 0);
	return amqp_get_rpc_reply(r->admin).reply_type == AMQP_RESPONSE_NORMAL;
}

static bool fixture_delete_queue(void *ctx, const char *name)
{
	rabbit_fixture *r = ctx;

	amqp_queue_delete(r->admin, 1, amqp_cstring_bytes(name), 0, 0);
	return amqp_get_rpc_reply(r->admin).reply_type == AMQP_RESPONSE_NORMAL;
}

static bool fixture_run(const char *command)
{
	return system(command) == 0;
}

static bool fixture_block(void *ctx, bool blocked)
{
	const char *node = getenv("WAYBILL_TEST_NODE");
	const char *dir = getenv("WAYBILL_TEST_NODE_DIR");
	char command[1024];

	(void)ctx;
	if (!node || !dir)
		return false;
	snprintf(command, sizeof(command), "'%s' %s '%s' >/dev/null", node,
		 blocked ? "block" : "unblock", dir);
	return fixture_run(command);
}

static bool fixture_limit_body(void *ctx, size_t bytes)
{
	const char *ctl = getenv("WAYBILL_TEST_RABBITMQCTL");
	size_t limit = bytes ? bytes : (size_t)128 << 20;
	char command[1024];

	(void)ctx;
	if (!ctl)
		return false;
	/* RabbitMQ 3 looks it up at each channel, 4 at its own start. */
	snprintf(command, sizeof(command),
		 "'%s' eval 'application:set_env(rabbit, max_message_size, "
		 "%zu), persistent_term:put(max_message_size, %zu).' "
		 ">/dev/null",
		 ctl, limit, limit);
	return fixture_run(command);
}

static bool fixture_open_admin(rabbit_fixture *r)
{
	struct timeval limit = {FIXTURE_TIMEOUT_S, 0};
	struct amqp_connection_info info;
	amqp_socket_t *socket;
	char *uri = strdup(r->uri);
	bool up;

	amqp_default_connection_info(&info);
	r->admin = amqp_new_connection();
	up = uri && r->admin && amqp_parse_url(uri, &info) == AMQP_STATUS_OK &&
	     amqp_set_rpc_timeout(r->admin, &limit) == AMQP_STATUS_OK;
	socket = up ? amqp_tcp_socket_new(r->admin) : NULL;
	up = socket &&
	     amqp_socket_open_noblock(socket, info.host, info.port, &limit) ==
		     AMQP_STATUS_OK &&
	     amqp_login(r->admin, info.vhost, 0, AMQP_DEFAULT_FRAME_SIZE, 0,
			AMQP_SASL_METHOD_PLAIN, info.user, info.password)
			     .reply_type == AMQP_RESPONSE_NORMAL &&
	     amqp_channel_open(r->admin, 1) != NULL;
	free(uri);
	return up;
}

int rabbit_fixture_init(rabbit_fixture *r, conformance_fixture *ret)
{
	*ret = (conformance_fixture){
		.name = "conformance: rabbitmq",
		.ctx = r,
		.make = fixture_make,
		.wait = fixture_wait,
		.now_us = fixture_now_us,
		.delete_exchange = fixture_delete_exchange,
		.delete_queue = fixture_delete_queue,
		.block = fixture_block,
		.limit_body = fixture_limit_body,
	};
	r->uri = getenv("WAYBILL_TEST_AMQP");
	if (!r->uri) {
		puts("skipped: WAYBILL_TEST_AMQP is not set (see "
		     "tests/support/rabbitmq-node)");
		return FIXTURE_SKIP;
	}
	if (fixture_open_admin(r))
		return 0;
	printf("cannot reach the broker of WAYBILL_TEST_AMQP\n");
	return 1;
}

void rabbit_fixture_fini(rabbit_fixture *r)
{
	amqp_destroy_connection(r->admin);
}
