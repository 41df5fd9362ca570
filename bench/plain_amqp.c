/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocking calls, as in the examples of rabbitmq-c; a failure ends the run. */
#include "config.h"

#include <stdlib.h>

#include "bench/common.h"
#include "bench/plain_amqp.h"

void plain_must(amqp_connection_state_t conn, const char *what)
{
	amqp_rpc_reply_t r = amqp_get_rpc_reply(conn);

	if (r.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
		bench_die(what, amqp_error_string2(r.library_error));
	if (r.reply_type != AMQP_RESPONSE_NORMAL)
		bench_die(what, "refused by the broker");
}

amqp_connection_state_t plain_connect(const char *uri)
{
	struct amqp_connection_info info;
	char *copy = strdup(uri);
	amqp_connection_state_t conn = amqp_new_connection();
	amqp_socket_t *socket;

	if (!copy || !conn || amqp_parse_url(copy, &info) != AMQP_STATUS_OK)
		bench_die("--uri", "not a URI of an AMQP broker");
	socket = amqp_tcp_socket_new(conn);
	if (!socket || amqp_socket_open(socket, info.host, info.port))
		bench_die(uri, "cannot connect");
	if (amqp_login(conn, info.vhost, 0, 131072, 0, AMQP_SASL_METHOD_PLAIN,
		       info.user, info.password)
		    .reply_type != AMQP_RESPONSE_NORMAL)
		bench_die("login", "refused");
	amqp_channel_open(conn, 1);
	plain_must(conn, "channel");
	free(copy);
	return conn;
}
