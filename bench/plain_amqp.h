/* SPDX-License-Identifier: BSD-2-Clause */
/* What the yardsticks that speak to the broker share; config.h comes first. */
#ifndef BENCH_PLAIN_AMQP_H
#define BENCH_PLAIN_AMQP_H

#ifdef HAVE_RABBITMQ_C_AMQP_H
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif

/* Connected and logged in, with channel 1 open. */
amqp_connection_state_t plain_connect(const char *uri);

/* The last call on `conn` went well, or the run is over. */
void plain_must(amqp_connection_state_t conn, const char *what);

#endif
