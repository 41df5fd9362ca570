/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Format, make harmless, hand over. Nothing is kept; the sink belongs to the
 * caller and is called on the caller's thread.
 */
#include "lib/base/log.h"

#include <stdio.h>

#include "lib/base/text.h"

void wbi_log(const wb_log *log, wb_log_level level, const char *format, ...)
{
	char raw[WBI_LOG_LINE_MAX];
	char line[WBI_LOG_LINE_MAX];
	va_list args;

	if (!log || !log->write || level > log->max_level)
		return;
	va_start(args, format);
	vsnprintf(raw, sizeof(raw), format, args);
	va_end(args);
	log->write(log->ctx, level,
		   wbi_text_show(wb_str_from(raw), line, sizeof(line)));
}
