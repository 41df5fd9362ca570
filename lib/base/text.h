/* SPDX-License-Identifier: BSD-2-Clause */
/* Text that came from outside: is it UTF-8, how is it shown, what time is it. */
#ifndef WBI_TEXT_H
#define WBI_TEXT_H

#include <waybill/base.h>

/* RFC 3629, no control characters (U+0000-1F, U+7F-9F) and no noncharacters:
 * what CloudEvents 1.0 allows in a String. *ret_at (may be NULL) is the offset
 * of the first offending byte. */
bool wbi_text_is_clean(wb_str text, size_t *ret_at);

/* RFC 3629 alone; control characters allowed. */
bool wbi_text_is_utf8(wb_str text);

/* Copy with control characters and bad UTF-8 as \xNN, cut to fit, terminated.
 * Returns ret. */
char *wbi_text_show(wb_str text, char *ret, size_t size);

/* A copy with a terminating NUL; NULL if out of memory. Caller frees. */
char *wbi_text_dup(wb_str text);

enum { WBI_TIME_TEXT_MAX = 32 };

/* RFC 3339 in UTC with microseconds, "2026-01-02T03:04:05.000006Z"; returns
 * its length. Years 0000 to 9999; outside, the nearest of them. */
size_t wbi_time_format(int64_t time_us, char ret[WBI_TIME_TEXT_MAX]);

/* RFC 3339 with any offset and 0..9 digits of fraction (cut to microseconds);
 * false if it is not one. */
bool wbi_time_parse(wb_str text, int64_t *ret_us);

#endif
