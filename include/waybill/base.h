/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every waybill call shares: errors, borrowed strings, the clock, the
 * randomness and the log sink that a caller may replace.
 *
 * Nothing here keeps global state. The library prints nothing: it reports
 * through wb_error and, where one is given, through a wb_log.
 */
#ifndef WAYBILL_BASE_H
#define WAYBILL_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && __GNUC__ >= 4
#define WB_API __attribute__((visibility("default")))
#define WB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define WB_API
#define WB_PRINTF(fmt, args)
#endif

/* How options begin: their size, and 0 in all else. */
#ifdef __cplusplus
#define WB_SIZED_INIT(type) {sizeof(type)} /* no designators before C++20 */
#else
#define WB_SIZED_INIT(type) {.size = sizeof(type)}
#endif

/* ---- errors ------------------------------------------------------------ */

/*
 * What a caller should do about an error.
 *
 * RETRY: nothing is wrong with the request; the same call may succeed later.
 * REJECT: this request can never succeed; other requests are unaffected.
 * STOP: the object can no longer be trusted; close it and look.
 */
typedef enum wb_class {
	WB_CLASS_NONE = 0,
	WB_CLASS_RETRY,
	WB_CLASS_REJECT,
	WB_CLASS_STOP
} wb_class;

/*
 * Every code, the class it has unless the error says otherwise, and its
 * meaning. This list is the only place where a code is defined.
 */
#define WB_ERROR_LIST(X)                                                       \
	X(WB_EINVAL, REJECT, "invalid argument")                               \
	X(WB_ELIMIT, REJECT, "over a configured limit")                        \
	X(WB_ENOTFOUND, REJECT, "not found")                                   \
	X(WB_EEXISTS, REJECT, "already exists")                                \
	X(WB_ESTATE, REJECT, "not possible in the present state")              \
	X(WB_ETRUNCATED, REJECT, "removed by truncation")                      \
	X(WB_EREJECTED, REJECT, "refused by a handler")                        \
	X(WB_EMISMATCH, STOP, "does not match what is expected")               \
	X(WB_EACCESS, STOP, "access refused")                                  \
	X(WB_ECORRUPT, STOP, "damaged or foreign data")                        \
	X(WB_EVERSION, STOP, "written by another version")                     \
	X(WB_EIO, STOP, "input/output error")                                  \
	X(WB_EPROTO, STOP, "protocol violation")                               \
	X(WB_ESTOPPED, STOP, "stopped by a handler")                           \
	X(WB_ENOMEM, RETRY, "out of memory")                                   \
	X(WB_ENOSPC, RETRY, "no space left on the device")                     \
	X(WB_EMAPFULL, RETRY, "the store's map is full")                       \
	X(WB_EQUOTA, RETRY, "the store's quota is used up")                    \
	X(WB_ECONFLICT, RETRY, "changed by another writer; load it again")     \
	X(WB_EBUSY, RETRY, "in use by another process")                        \
	X(WB_EAGAIN, RETRY, "no room or nothing to do just now")               \
	X(WB_ETIMEOUT, RETRY, "deadline passed")                               \
	X(WB_ECLOSED, RETRY, "connection or channel closed")                   \
	X(WB_EUNREACHABLE, RETRY, "cannot be reached")                         \
	X(WB_EFAILED, RETRY, "failed for now, says a handler")

typedef enum wb_code {
	WB_OK = 0,
#define WB_X(code, class_, text) code,
	WB_ERROR_LIST(WB_X)
#undef WB_X
	WB_CODE_END
} wb_code;

enum { WB_ERROR_TEXT_MAX = 512 };

/*
 * One error, owned by the caller, set by the call that failed. Every call that
 * takes a `wb_error *` accepts NULL. The first writer wins: a call never
 * overwrites an error that is already set, so an error must be cleared
 * (WB_ERROR_INIT or wb_error_clear) before it is passed to an unrelated call.
 */
typedef struct wb_error {
	wb_code code;      /* WB_OK while unset */
	wb_class class_;   /* what to do about it */
	int foreign;       /* errno, MDB_* or AMQP reply code beneath it, or 0 */
	const char *where; /* static: the function that raised it */
	char text[WB_ERROR_TEXT_MAX]; /* the thing, the cause and the cure */
} wb_error;

#define WB_ERROR_INIT {WB_OK, WB_CLASS_NONE, 0, "", {0}}

WB_API void wb_error_clear(wb_error *err);

/* "WB_EINVAL" and "invalid argument"; static strings, never NULL. */
WB_API const char *wb_code_name(wb_code code);
WB_API const char *wb_code_text(wb_code code);
WB_API wb_class wb_code_class(wb_code code);

/*
 * Set *err unless it is NULL or already set, and return `code`. `where` must
 * be static. For handlers and adapters outside the library as well.
 */
WB_API wb_code wb_error_set(wb_error *err, wb_code code, int foreign,
			    const char *where, const char *format, ...)
	WB_PRINTF(5, 6);

/* ---- borrowed bytes ---------------------------------------------------- */

/*
 * Bytes that somebody else owns; not terminated. `ptr` may be NULL only when
 * `len` is 0. An absent attribute and an empty one are the same thing.
 */
typedef struct wb_str {
	const char *ptr;
	size_t len;
} wb_str;

#ifdef __cplusplus
#define WB_STR_NULL (wb_str{NULL, 0})
#else
#define WB_STR_NULL ((wb_str){NULL, 0})
#endif

static inline wb_str wb_str_from(const char *text)
{
	wb_str s = {text, text ? strlen(text) : 0};
	return s;
}

static inline wb_str wb_str_n(const void *ptr, size_t len)
{
	wb_str s = {(const char *)ptr, len};
	return s;
}

static inline bool wb_str_eq(wb_str a, wb_str b)
{
	return a.len == b.len && (a.len == 0 || !memcmp(a.ptr, b.ptr, a.len));
}

/* ---- clock, randomness, log -------------------------------------------- */

/*
 * Where a part takes its time from. Both calls must not block. `real_us` is
 * microseconds since 1970-01-01 UTC and may jump either way; `mono_us` has an
 * arbitrary zero and never goes back. Order and deduplication never depend on
 * `real_us`.
 */
typedef struct wb_clock {
	int64_t (*real_us)(void *ctx);
	int64_t (*mono_us)(void *ctx);
	void *ctx;
} wb_clock;

/* Where a part takes its randomness from; must fill all `len` bytes. */
typedef struct wb_random {
	void (*fill)(void *ctx, void *buf, size_t len);
	void *ctx;
} wb_random;

typedef enum wb_log_level {
	WB_LOG_ERROR,
	WB_LOG_WARN,
	WB_LOG_INFO,
	WB_LOG_DEBUG
} wb_log_level;

/*
 * Where a part's remarks go. `write` gets one line without a line end; control
 * characters in it are escaped already. Called on the thread that calls the
 * part; must not call back into it.
 */
typedef struct wb_log {
	void (*write)(void *ctx, wb_log_level level, const char *line);
	void *ctx;
	wb_log_level max_level; /* lines above it are not even formatted */
} wb_log;

/* The system's clock (CLOCK_REALTIME, CLOCK_MONOTONIC) and getrandom(2).
 * Static, any thread. */
WB_API const wb_clock *wb_system_clock(void);
WB_API const wb_random *wb_system_random(void);

enum { WB_UUID_TEXT_LEN = 36 };

/*
 * A UUID version 7 (RFC 9562, section 5.7) in its 36-character text form plus
 * a terminating NUL: 48 bits of `clock`'s real time in milliseconds, then 74
 * random bits. Ids made in one millisecond are not ordered among themselves.
 */
WB_API void wb_uuid7(const wb_clock *clock, const wb_random *random,
		     char ret_text[WB_UUID_TEXT_LEN + 1]);

/* "1.2.3" of the library that is loaded; static. */
WB_API const char *wb_version(void);

#ifdef __cplusplus
}
#endif
#endif
