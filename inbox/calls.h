/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls in progress, in a small file that is mapped shared (DIR/calls): a
 * transaction that a crash aborts cannot say whose crash it was, this page can.
 * Written with plain stores around each call, so it costs no system call; it
 * survives the process, not the machine, which is when it is not needed.
 *
 * The supervisor maps the same file and looks at how long each call has run.
 */
#ifndef WBI_CALLS_H
#define WBI_CALLS_H

#include "lib/journal/inbox_rows.h"

typedef struct wbi_calls wbi_calls;

enum { WBI_CALLS_MAX = 65 }; /* the worker's thread, and 64 of its pool */

/* How the last process that had the page ended, as far as it says. */
typedef enum wbi_call_end {
	WBI_CALL_UNKNOWN = 0, /* it just ended in the call */
	WBI_CALL_CRASHED = 1, /* a fatal signal, on this call's own thread */
	WBI_CALL_HUNG = 2     /* past its deadline: the supervisor ended it */
} wbi_call_end;

typedef struct wbi_call_noted {
	wbi_work_id id; /* points into `strings`: do not copy this struct */
	bool due; /* a row of `work`; else an event before the cursor's step */
	uint8_t end;    /* enum wbi_call_end */
	int64_t started_us; /* monotonic */
	uint32_t deadline_ms;
	uint64_t identity; /* as wbi_calls_identify() had it; else stale */
	char strings[WBI_CONSUMER_NAME_MAX + 255];
} wbi_call_noted;

/* Map DIR/calls, made if it is not there. A page of another version, of before
 * the machine's last start, or one that is damaged counts as empty. WB_EACCESS,
 * WB_EIO, WB_ENOSPC. */
wb_code wbi_calls_open(const char *dir, wbi_calls **ret, wb_error *err);
void wbi_calls_close(wbi_calls *calls);

/* Around a call; `slot` 0 is the worker's thread. One thread per slot. */
void wbi_calls_enter(wbi_calls *calls, unsigned slot, const wbi_work_id *id,
		     bool due, uint32_t deadline_ms, int64_t now_us);
void wbi_calls_leave(wbi_calls *calls, unsigned slot);
/* Right before it: which event, for one whose position may be another's. */
void wbi_calls_identify(wbi_calls *calls, unsigned slot, uint64_t identity);

/* False: no call in this slot, or just changing. Any process, any thread. */
bool wbi_calls_get(const wbi_calls *calls, unsigned slot, wbi_call_noted *ret);
/* Note how it ended, by the supervisor. */
void wbi_calls_mark(wbi_calls *calls, unsigned slot, wbi_call_end end);
/* The same for the call that this thread is in; false: in none. For a signal
 * handler (async-signal-safe). */
bool wbi_calls_mark_self(wbi_calls *calls, wbi_call_end end);
/* After recovery: every slot is empty. While no call is in progress. */
void wbi_calls_clear(wbi_calls *calls);

#endif
