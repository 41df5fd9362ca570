/* SPDX-License-Identifier: BSD-2-Clause */
/* What the commands about projections share. */
#ifndef CLI_PROJECTION_H
#define CLI_PROJECTION_H

#include <waybill/read.h>

#include "cli/command.h"
#include "cli/module.h"
#include "projections/inspect.h"

/* The directory of the models: --dir of the command, or else the store. NULL
 * with the reason printed. */
const char *cli_models_dir(cli_context *ctx, const char *dir);

/* The home of the model that is the first argument. CLI_OK, or as
 * cli_fail_error(). wbi_home_unref() it. */
int cli_open_model(cli_context *ctx, const char *dir, wbi_home **ret);

/* Text of the command line, or hex of it with `hex`. `buf` has 512 bytes. */
bool cli_bytes_of(const char *text, bool hex, uint8_t *buf, wb_str *ret);
/* Bytes for people: as they are if they are text, else \xNN; in hex with
 * `hex`. Caller frees; NULL: out of memory. */
char *cli_show_bytes(wb_str bytes, bool hex);

/* Projectors of every projection of some modules, for a loop. */
typedef struct cli_projectors {
	wb_projector *projectors[CLI_PROJECTIONS_MAX];
	int fds[CLI_PROJECTIONS_MAX];
	const char *names[CLI_PROJECTIONS_MAX];
	wb_broker *brokers[2 * CLI_PROJECTIONS_MAX]; /* NULL: none */
	size_t count;
} cli_projectors;

typedef struct cli_projectors_options {
	wb_store *store;    /* NULL: of streams only */
	const char *dir;    /* of the models; NULL: the store's */
	const char *only;   /* the projection of this name; NULL: all */
	const char *stream; /* the stream queue; NULL: none */
	bool sole_user;     /* as of wb_projector_options */
} cli_projectors_options;

/* Connections for streams are made of ctx's configuration. CLI_OK, or the exit
 * code with the reason printed. */
int cli_projectors_open(cli_projectors *ret, cli_context *ctx,
			const cli_modules *modules,
			const cli_projectors_options *options);
void cli_projectors_close(cli_projectors *projectors);
/* Each does a bounded amount. */
wb_code cli_projectors_dispatch(cli_projectors *projectors, wb_error *err);
/* Idle, or stuck: nothing more will happen by itself. */
bool cli_projectors_quiet(const cli_projectors *projectors);
/* A number that is another one as long as anything gets done. */
uint64_t cli_projectors_done(const cli_projectors *projectors);
/* How many are STUCK. */
size_t cli_projectors_stuck(const cli_projectors *projectors);

#endif
