/* SPDX-License-Identifier: BSD-2-Clause */
/* Prometheus text exposition format 0.0.4, to stdout. Each family has its head
 * once, before its samples, which stand together. */
#ifndef CLI_METRICS_H
#define CLI_METRICS_H

#include "cli/command.h"

/* A row of a table of flags, where the options S have `prometheus`. */
#define CLI_FLAG_PROMETHEUS(S)                                                \
	{{.name = "prometheus", .kind = WBI_CONFIG_BOOL,                      \
	  .offset = offsetof(S, prometheus),                                  \
	  .help = "As metrics text, for a scraper or a textfile "             \
		  "collector."}, 0}

/* `name` without "waybill_"; type "gauge" or "counter". */
void cli_metric_head(const char *name, const char *type, const char *help);
typedef struct cli_metric_label {
	const char *name, *of; /* printable text */
} cli_metric_label;

/* A sample with labels beside the service's. */
void cli_metric_sample(const char *service, const char *name,
		       const cli_metric_label *labels, size_t count,
		       double value);
/* A sample; `label` (NULL: none) has the value `of`, printable text. */
void cli_metric_value(const char *service, const char *name, const char *label,
		      const char *of, double value);
/* Both, for a family of one. */
void cli_metric_gauge(const char *service, const char *name, double value,
		      const char *help);
void cli_metric_counter(const char *service, const char *name, double value,
			const char *help);

#endif
