/* SPDX-License-Identifier: BSD-2-Clause */
/* Label values are made printable by the caller and escaped here. */
#include "cli/metrics.h"

#include <stdio.h>

/* Backslash, quote and line end are escaped. */
static void print_label(const char *value)
{
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			putchar('\\');
		putchar(*value == '\n' ? ' ' : *value);
	}
}

void cli_metric_head(const char *name, const char *type, const char *help)
{
	printf("# HELP waybill_%s %s\n# TYPE waybill_%s %s\n", name, help, name,
	       type);
}

void cli_metric_sample(const char *service, const char *name,
		       const cli_metric_label *labels, size_t count,
		       double value)
{
	printf("waybill_%s{service=\"", name);
	print_label(service);
	for (size_t i = 0; i < count; i++) {
		printf("\",%s=\"", labels[i].name);
		print_label(labels[i].of);
	}
	printf("\"} %.17g\n", value);
}

void cli_metric_value(const char *service, const char *name, const char *label,
		      const char *of, double value)
{
	const cli_metric_label one = {label, of};

	cli_metric_sample(service, name, &one, label ? 1 : 0, value);
}

void cli_metric_gauge(const char *service, const char *name, double value,
		      const char *help)
{
	cli_metric_head(name, "gauge", help);
	cli_metric_value(service, name, NULL, NULL, value);
}

void cli_metric_counter(const char *service, const char *name, double value,
			const char *help)
{
	cli_metric_head(name, "counter", help);
	cli_metric_value(service, name, NULL, NULL, value);
}
