/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Errors are plain values in the caller's memory. The first writer wins, so a
 * low-level cause is never painted over by the layers above it; nothing is
 * allocated and nothing is kept, so every call here is safe on any thread.
 */
#include "lib/base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/assert.h"

static const struct {
	const char *name;
	const char *text;
	wb_class class_;
} code_table[] = {
	{"WB_OK", "no error", WB_CLASS_NONE},
#define X(code, class_, text) {#code, text, WB_CLASS_##class_},
	WB_ERROR_LIST(X)
#undef X
};

static size_t code_index(wb_code code)
{
	size_t i = (size_t)code;

	return i < WBI_COUNT(code_table) ? i : (size_t)WB_EINVAL;
}

const char *wb_code_name(wb_code code)
{
	return code_table[code_index(code)].name;
}

const char *wb_code_text(wb_code code)
{
	return code_table[code_index(code)].text;
}

wb_class wb_code_class(wb_code code)
{
	return code_table[code_index(code)].class_;
}

void wb_error_clear(wb_error *err)
{
	if (err)
		*err = (wb_error)WB_ERROR_INIT;
}

WB_PRINTF(5, 0)
static wb_code error_vset(wb_error *err, wb_code code, int foreign,
			  const char *where, const char *format, va_list args)
{
	if (!err || err->code != WB_OK)
		return code;
	err->code = code;
	err->class_ = wb_code_class(code);
	err->foreign = foreign;
	err->where = where ? where : "";
	vsnprintf(err->text, sizeof(err->text), format, args);
	return code;
}

wb_code wb_error_set(wb_error *err, wb_code code, int foreign,
		     const char *where, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_vset(err, code, foreign, where, format, args);
	va_end(args);
	return code;
}

wb_code wbi_code_from_errno(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return WB_ENOSPC;
	case ENOMEM:
		return WB_ENOMEM;
	case ENOENT:
	case ENOTDIR:
		return WB_ENOTFOUND;
	case EACCES:
	case EPERM:
	case EROFS:
		return WB_EACCESS;
	case EEXIST:
		return WB_EEXISTS;
	case EBUSY:
	case ETXTBSY:
		return WB_EBUSY;
	case EAGAIN:
	case EINTR:
		return WB_EAGAIN;
	case ETIMEDOUT:
		return WB_ETIMEOUT;
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return WB_EUNREACHABLE;
	case ECONNRESET:
	case EPIPE:
	case ECONNABORTED:
		return WB_ECLOSED;
	case EINVAL:
		return WB_EINVAL;
	default:
		return WB_EIO;
	}
}

wb_code wbi_fail_errno(wb_error *err, int errnum, const char *where,
		       const char *format, ...)
{
	wb_code code = wbi_code_from_errno(errnum);
	char what[WB_ERROR_TEXT_MAX];
	char reason[128];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (strerror_r(errnum, reason, sizeof(reason)))
		snprintf(reason, sizeof(reason), "error %d", errnum);
	return wb_error_set(err, code, errnum, where, "%s: %s", what, reason);
}

bool wbi_wants_room(wb_code code)
{
	return code == WB_EMAPFULL || code == WB_ENOSPC || code == WB_EQUOTA ||
	       code == WB_ENOMEM;
}

void wbi_error_pass(wb_error *err, const wb_error *cause)
{
	if (err && err->code == WB_OK)
		*err = *cause;
}

wb_class wbi_error_class(wb_code code, const wb_error *why)
{
	return why->class_ != WB_CLASS_NONE ? why->class_ : wb_code_class(code);
}

_Noreturn void wbi_assert_failed(const char *expr, const char *file, int line)
{
	char text[256];
	int n = snprintf(text, sizeof(text),
			 "waybill: internal error: %s (%s:%d)\n", expr, file,
			 line);

	if (n > 0 && write(STDERR_FILENO, text, strlen(text)) < 0)
		_exit(134);
	abort();
}
