/* SPDX-License-Identifier: BSD-2-Clause */
/* What a broker is asked to have, and to deliver: declarations and consumers.
 * Plain descriptions; strings are borrowed. */
#ifndef WAYBILL_TOPOLOGY_H
#define WAYBILL_TOPOLOGY_H

#include <waybill/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum wb_declare_policy {
	WB_DECLARE_CREATE, /* create what is missing, check what is there */
	WB_DECLARE_CHECK,  /* only check (AMQP "passive") */
	WB_DECLARE_NEVER   /* ask nothing; for accounts without the right */
} wb_declare_policy;

typedef enum wb_topology_kind {
	WB_TOPOLOGY_EXCHANGE,
	WB_TOPOLOGY_QUEUE,
	WB_TOPOLOGY_BINDING
} wb_topology_kind;

/* One argument (x-...) of a declaration. */
typedef struct wb_argument {
	wb_str name;
	bool is_number;
	bool is_bool; /* then `number` is 0 or 1 */
	wb_str text;
	int64_t number;
} wb_argument;

/* One thing to declare. Everything is durable and never auto-deleted. */
typedef struct wb_declaration {
	wb_topology_kind kind;
	wb_str name;          /* of the exchange or queue; BINDING: the queue */
	wb_str exchange_type; /* EXCHANGE: "topic", "fanout", "direct", ... */
	wb_str exchange;      /* BINDING: the source exchange */
	wb_str binding_key;   /* BINDING */
	const wb_argument *arguments;
	size_t argument_count;
	bool check_only; /* passive; a BINDING cannot be checked: WB_EINVAL */
} wb_declaration;

/* What is consumed, and how. Arguments are of this consumer; a stream queue
 * wants "x-stream-offset": "first", "last", "next", or a number (RabbitMQ,
 * "Streams"). Its deliveries have a header of that name, may be more than
 * `prefetch` by what is left of a chunk, can only be acked, and come again to
 * whoever asks for their offset. */
typedef struct wb_consumption {
	wb_str queue;
	uint16_t prefetch; /* 1..65535 deliveries that are not acked */
	const wb_argument *arguments;
	size_t argument_count;
} wb_consumption;

#define WB_STREAM_OFFSET "x-stream-offset"

#ifdef __cplusplus
}
#endif
#endif
