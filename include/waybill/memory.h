/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A broker in memory, for tests: topic, direct and fanout exchanges, durable
 * queues, publisher confirms, returns, and every misbehaviour that AMQP 0-9-1
 * and RabbitMQ permit, on request or by seed. One wb_memory is one broker;
 * any number of connections (wb_memory_connect) share it. Everything belongs
 * to one thread; nothing happens except inside `step` of a connection.
 */
#ifndef WAYBILL_MEMORY_H
#define WAYBILL_MEMORY_H

#include <waybill/broker.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wb_memory wb_memory;

/* `clock` and `random` must outlive it; NULL: the system's. */
WB_API wb_code wb_memory_new(const wb_clock *clock, const wb_random *random,
			     wb_memory **ret, wb_error *err);

/* Every connection must have been freed before. NULL is allowed. */
WB_API void wb_memory_free(wb_memory *memory);

/* A new connection object, down at first; free with wb_broker_free(). */
WB_API wb_code wb_memory_connect(wb_memory *memory, wb_broker **ret,
				 wb_error *err);

#ifdef __cplusplus
}
#endif
#endif
