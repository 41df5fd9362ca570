/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Findings of a check: each goes to the caller's function, the first that is
 * no warning into its error as well. Keeps nothing of its own.
 */
#include "saga/finding.h"

#include <stdio.h>

#include "lib/base/error.h"

void wbi_findings_init(wbi_findings *findings, const char *what,
		       wb_finding_fn found, void *ctx, wb_error *err)
{
	*findings = (wbi_findings){
		.what = what, .found = found, .ctx = ctx, .err = err};
}

WB_PRINTF(5, 0)
static void finding_tell(wbi_findings *f, bool warning, const char *rule,
			 const char *step, const char *format, va_list args)
{
	wb_finding finding = {.warning = warning, .rule = rule, .step = step};

	vsnprintf(finding.text, sizeof(finding.text), format, args);
	if (warning)
		f->warnings++;
	else
		f->errors++;
	if (f->found)
		f->found(f->ctx, &finding);
	if (!warning)
		WBI_FAIL(f->err, WB_EINVAL, "%s %s: %s: %.400s", f->what,
			 f->name ? f->name : "?", rule, finding.text);
}

void wbi_found(wbi_findings *findings, const char *rule, const char *step,
	       const char *format, ...)
{
	va_list args;

	va_start(args, format);
	finding_tell(findings, false, rule, step, format, args);
	va_end(args);
}

void wbi_warn(wbi_findings *findings, const char *rule, const char *step,
	      const char *format, ...)
{
	va_list args;

	va_start(args, format);
	finding_tell(findings, true, rule, step, format, args);
	va_end(args);
}

wb_code wbi_findings_result(const wbi_findings *findings)
{
	return findings->errors > 0 ? WB_EINVAL : WB_OK;
}
