/* SPDX-License-Identifier: BSD-2-Clause */
/* What a check has found, told one by one; the first error is kept. */
#ifndef WBI_FINDING_H
#define WBI_FINDING_H

#include <waybill/choreography.h>

typedef struct wbi_findings {
	const char *what; /* "flow", "saga" */
	const char *name; /* of it; NULL while unknown */
	wb_finding_fn found;
	void *ctx;
	wb_error *err; /* may be NULL */
	uint64_t errors, warnings;
} wbi_findings;

void wbi_findings_init(wbi_findings *findings, const char *what,
		       wb_finding_fn found, void *ctx, wb_error *err);
void wbi_found(wbi_findings *findings, const char *rule, const char *step,
	       const char *format, ...) WB_PRINTF(4, 5);
void wbi_warn(wbi_findings *findings, const char *rule, const char *step,
	      const char *format, ...) WB_PRINTF(4, 5);
/* WB_EINVAL if there was an error. */
wb_code wbi_findings_result(const wbi_findings *findings);

#endif
