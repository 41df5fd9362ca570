/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A transport in memory: it joins the RabbitMQ adapter to scripted peers, one
 * for each host, without a socket or a descriptor. For the adapter's tests and
 * the simulator. Everything is public, so that a test can set it and look. One
 * thread.
 */
#ifndef TESTS_AMQP_PIPE_H
#define TESTS_AMQP_PIPE_H

#include "broker-adapters/amqp/transport.h"
#include "tests/support/amqp_peer.h"

typedef enum amqp_pipe_fate {
	AMQP_PIPE_OPENS,
	AMQP_PIPE_REFUSES_AT_ONCE, /* open() fails */
	AMQP_PIPE_REFUSES,         /* advance() fails */
	AMQP_PIPE_IS_SILENT        /* advance() fails at the deadline */
} amqp_pipe_fate;

enum { AMQP_PIPE_HOSTS_MAX = 4 };

typedef struct amqp_pipe {
	/* By the port of the host, from 1: how it answers, and who is there. */
	amqp_pipe_fate fate[AMQP_PIPE_HOSTS_MAX + 1];
	amqp_peer *peer[AMQP_PIPE_HOSTS_MAX + 1]; /* borrowed */
	size_t chunk;       /* bytes per read or write; 0: all */
	size_t room;        /* bytes that may still be written */
	size_t cut_to_peer; /* the connection breaks after so many */
	size_t cut_to_adapter;
	size_t stall_to_peer; /* after so many nothing comes through any more */
	size_t stall_to_adapter;
	/* What happened. */
	unsigned opens, writes, reads, shuts;
	size_t to_peer, to_adapter; /* bytes of this connection */
	uint16_t port;              /* connected or connecting to; 0: none */
	int64_t deadline_us, wake_at_us;
	bool freed;
} amqp_pipe;

/* Everything opens, nothing is limited. */
void amqp_pipe_init(amqp_pipe *pipe);

/* `pipe` must outlive the transport. */
wbi_transport amqp_pipe_transport(amqp_pipe *pipe);

#endif
