/* SPDX-License-Identifier: BSD-2-Clause */
/* When a handler takes the whole process with it: leave word whose call it
 * was, for the next one and for the supervisor. */
#ifndef CLI_CRASH_H
#define CLI_CRASH_H

#include "inbox/calls.h"

/* Handle SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT: mark the call that the
 * thread is in, then let the signal do what it would have done. */
void cli_crash_install(void);
/* The page in which to mark; NULL: none (any more). */
void cli_crash_watch(wbi_calls *calls);

#endif
