/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The topology that the configuration describes, declared or checked on a
 * broker: exchanges, then queues with their dead letters, then bindings. Used
 * by `waybill setup` and by the relay before it starts.
 */
#ifndef CLI_TOPOLOGY_H
#define CLI_TOPOLOGY_H

#include <waybill/broker.h>

#include "lib/config/config.h"

typedef struct cli_topology cli_topology;

/* What became of one thing; the strings live as long as the topology. */
typedef struct cli_topology_row {
	const char *kind; /* "exchange", "queue", "binding" */
	const char *name;
	const char *detail; /* "topic"; "events:order.# " of a binding */
	bool asked, ok;
	bool skipped;     /* a binding, when only checking */
	wb_error problem; /* !ok: what is wrong and the cure */
} cli_topology_row;

/* `routes`, whose exchanges are needed, must outlive it, too. WB_EINVAL: an
 * argument or a name is wrong, named. Free with _free. */
wb_code cli_topology_new(const wbi_config *config, const wb_routes *routes,
			 cli_topology **ret, wb_error *err);
void cli_topology_free(cli_topology *topology);

size_t cli_topology_count(const cli_topology *topology);
const cli_topology_row *cli_topology_at(const cli_topology *topology, size_t i);

/*
 * Connect, ask for one thing after the other, close. Refusals are in the rows;
 * *ret_refused counts them. `stop_fd` (-1: none) readable ends it early:
 * WB_ECLOSED. An error is a connection that was not had or was lost; then the
 * broker is down and this may be called again. Never waits past `timeout_ms`.
 */
wb_code cli_topology_apply(cli_topology *topology, wb_broker *broker,
			   uint32_t timeout_ms, int stop_fd,
			   size_t *ret_refused, wb_error *err);

#endif
