/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A signal handler is given nothing, so what it needs is static: the page, and
 * a stack of its own, since the main thread may have none left. It only stores
 * a word in mapped memory and raises the signal again.
 *
 * A thread of the pool has no such second stack: if it overflows its own, the
 * page still says that the call was in progress, but not that it was to blame.
 */
#include "cli/crash.h"

#include <signal.h>
#include <stdatomic.h>

#include "lib/base/assert.h"

static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
static _Atomic(wbi_calls *) crash_calls;
static _Alignas(16) char crash_stack[64 * 1024];

static void crash_handle(int signo)
{
	wbi_calls *calls = atomic_load(&crash_calls);

	if (calls)
		(void)wbi_calls_mark_self(calls, WBI_CALL_CRASHED);
	raise(signo); /* by default now (SA_RESETHAND), when we return */
}

void cli_crash_install(void)
{
	const stack_t stack = {.ss_sp = crash_stack,
			       .ss_size = sizeof(crash_stack)};
	struct sigaction action = {.sa_handler = crash_handle,
				   .sa_flags = (int)SA_RESETHAND};

	if (sigaltstack(&stack, NULL) == 0)
		action.sa_flags |= SA_ONSTACK;
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < WBI_COUNT(crash_signals); i++)
		(void)sigaction(crash_signals[i], &action, NULL);
}

void cli_crash_watch(wbi_calls *calls)
{
	atomic_store(&crash_calls, calls);
}
