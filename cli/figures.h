/* SPDX-License-Identifier: BSD-2-Clause */
/* How a read model is: for the commands, and for who asks over HTTP. */
#ifndef CLI_FIGURES_H
#define CLI_FIGURES_H

#include <stdio.h>

#include "projections/inspect.h"

typedef struct cli_figures {
	const char *name;
	wbi_model_info model;
	wbi_generation_info live, building;
	uint64_t head;
	int64_t lag_us;
	char missing_origin[WBI_ORIGIN_LEN + 1]; /* of the first one missing */
	uint64_t missing_first;
} cli_figures;

/* `store` may be NULL: then the journal is as its projector last saw it. The
 * name is the home's. */
wb_code cli_figures_read(wbi_home *home, wb_store *store, cli_figures *f,
			 wb_error *err);
const char *cli_figures_state(const cli_figures *figures);
double cli_figures_rate(const cli_figures *figures); /* events/s */

void cli_figures_metrics(FILE *out, const cli_figures *all, size_t count);

#endif
