/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WBI_LOG_H
#define WBI_LOG_H

#include <waybill/base.h>

enum { WBI_LOG_LINE_MAX = 1024 };

/* One line to `log`, which may be NULL. Control characters and bytes that are
 * not UTF-8 come out as \xNN; longer lines are cut. */
void wbi_log(const wb_log *log, wb_log_level level, const char *format, ...)
	WB_PRINTF(3, 4);

#endif
