/* SPDX-License-Identifier: BSD-2-Clause */
/* How a daemon keeps the topology declared, over a connection of its own. */
#ifndef CLI_DECLARER_H
#define CLI_DECLARER_H

#include "cli/command.h"
#include "cli/topology.h"

typedef struct cli_declarer {
	cli_topology *topology;
	wb_broker *broker;
	const wb_log *log;
	int stop_fd;      /* readable: give up; -1: none */
	bool wanted;      /* the configuration does not say `declare: never` */
	bool creates;     /* it says `create` */
	bool declared;    /* once, at least */
	int64_t again_at_us; /* not before, for what is held */
} cli_declarer;

/* From the configuration and `routes`, which must outlive it. CLI_OK, or an
 * exit code with the reason said; fini frees what there is. */
int cli_declarer_init(cli_declarer *declarer, cli_context *ctx,
		      const wb_routes *routes);
void cli_declarer_fini(cli_declarer *declarer);

/*
 * Declare or check all of it now. What the broker refuses is said, loudly, and
 * no error: events for an exchange that is missing are held, others must not
 * wait for a queue's wrong argument. An error: it could not be asked.
 */
wb_code cli_declarer_apply(cli_declarer *declarer, uint32_t timeout_ms,
			   wb_error *err);

/* An exchange that went away under a connection (`held` of them) is declared
 * anew now and then; the relay finds it at its next probe. */
void cli_declarer_held(cli_declarer *declarer, uint64_t held);

#endif
