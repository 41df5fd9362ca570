/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read models over HTTP, for reading only, on a thread of its own:
 *
 *   GET /projections                    which there are
 *   GET /projections/NAME/KEY           a value, as it is
 *   GET /projections/NAME?index=...     rows, as JSON
 *   GET /metrics, /healthz
 *
 * Their parameters and headers are in waybill(1).
 */
#ifndef CLI_HTTP_H
#define CLI_HTTP_H

#include "cli/projection.h"

typedef struct cli_http cli_http;

typedef struct cli_http_options {
	const char *dir;     /* of the models */
	const char *address; /* NULL: 127.0.0.1 */
	uint16_t port;       /* 0: any that is free */
	const char *token_file; /* its first line; NULL: no token is asked for,
				   which only the loopback may have */
	const cli_projectors *projectors; /* of this process; may have none */
	const wb_log *log;
} cli_http_options;

/* Listen and serve until it is closed; the projectors must outlive it.
 * WB_EINVAL, WB_EBUSY (the port is taken), WB_EACCESS, WB_EIO; WB_ESTATE: built
 * without libmicrohttpd. */
wb_code cli_http_open(const cli_http_options *options, cli_http **ret,
		      wb_error *err);
void cli_http_close(cli_http *http); /* NULL allowed */
/* That it listens on. */
uint16_t cli_http_port(const cli_http *http);

#endif
