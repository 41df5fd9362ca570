/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WBI_AMQP_ADAPTER_H
#define WBI_AMQP_ADAPTER_H

#include <waybill/amqp.h>

#include "broker-adapters/amqp/transport.h"

/*
 * wb_amqp_new() on another transport than a socket: for tests and the
 * simulator. On success the adapter owns `transport` and frees it; on failure
 * it stays the caller's.
 */
wb_code wbi_amqp_new_with_transport(const wb_amqp_options *options,
				    wbi_transport transport, wb_broker **ret,
				    wb_error *err);

#endif
