/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the three kinds of calls in saga/ add to a wb_call begins with a word
 * that says whose it is: a function that is asked in a call of another kind, by
 * a module that has more than one of them, says no instead of reading what is
 * not there.
 */
#ifndef WBI_EXTRA_H
#define WBI_EXTRA_H

#include "inbox/call.h"

typedef enum wbi_extra {
	WBI_EXTRA_COMMAND = 1, /* participant.c: a command */
	WBI_EXTRA_SAGA,        /* run.c: a step that runs here, or a reply */
	WBI_EXTRA_FLOW         /* react.c: a binding of a flow */
} wbi_extra;

/* wb_call.extra, if it is of that kind; else NULL. `call` may be NULL. */
static inline void *wbi_extra_of(const wb_call *call, wbi_extra kind)
{
	const wbi_extra *extra = call ? call->extra : NULL;

	return extra && *extra == kind ? call->extra : NULL;
}

#endif
