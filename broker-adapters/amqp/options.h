/* SPDX-License-Identifier: BSD-2-Clause */
/* wb_amqp_options, checked, copied and spread over the hosts. */
#ifndef WBI_AMQP_OPTIONS_H
#define WBI_AMQP_OPTIONS_H

#include <waybill/amqp.h>

#include "broker-adapters/amqp/uri.h"

typedef struct wbi_amqp_config {
	/* Owned; each with user, password (unless external), heartbeat and
	 * connect timeout filled in. */
	wbi_amqp_host *hosts;
	size_t host_count;
	char *connection_name; /* owned; may be NULL */
	uint32_t close_timeout_ms;
	uint32_t frame_max_bytes;
	uint32_t body_max_bytes;
	uint32_t unsettled_max;
	uint32_t buffer_max_bytes;
	wb_clock clock;
	wb_log log; /* log.write may be NULL */
} wbi_amqp_config;

/* Errors as wb_amqp_new. *ret needs wbi_amqp_config_fini after success only. */
wb_code wbi_amqp_config_init(const wb_amqp_options *options,
			     wbi_amqp_config *ret, wb_error *err);
void wbi_amqp_config_fini(wbi_amqp_config *config);

#endif
