/* SPDX-License-Identifier: BSD-2-Clause */
/* Raising errors inside the library. */
#ifndef WBI_ERROR_H
#define WBI_ERROR_H

#include <waybill/base.h>

/* Set *err (unless NULL or already set) and give back the code, which has to be
 * a plain value: it is taken twice, so that compilers and analyzers, which do
 * not look into wb_error_set(), see that a failure is never WB_OK. */
#define WBI_FAIL(err, code, ...) WBI_FAIL_FOREIGN(err, code, 0, __VA_ARGS__)
#define WBI_FAIL_FOREIGN(err, code, foreign, ...)                             \
	wbi_failed((code), wb_error_set((err), (code), (foreign), __func__,   \
					__VA_ARGS__))

static inline wb_code wbi_failed(wb_code code, wb_code same)
{
	(void)same;
	return code;
}

/* The code that stands for an errno: ENOSPC, EDQUOT, ENOMEM, ENOENT, EACCES,
 * EPERM, EEXIST, EBUSY, EAGAIN, ETIMEDOUT, ECONN*; else WB_EIO. */
wb_code wbi_code_from_errno(int errnum);

/* "what: text of errno", with the code that stands for it. */
wb_code wbi_fail_errno(wb_error *err, int errnum, const char *where,
		       const char *format, ...) WB_PRINTF(4, 5);

/* There was no room, in the store or in memory: it goes on when there is. */
bool wbi_wants_room(wb_code code);

/* What happened further down is what went wrong here: set *err (unless NULL or
 * already set) to a copy of *cause. */
void wbi_error_pass(wb_error *err, const wb_error *cause);

/* The class of `code`, unless what came with it says another. */
wb_class wbi_error_class(wb_code code, const wb_error *why);

#endif
