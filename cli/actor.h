/* SPDX-License-Identifier: BSD-2-Clause */
/* Who does what an operator's command does, and why: for the audit. */
#ifndef CLI_ACTOR_H
#define CLI_ACTOR_H

#include "cli/command.h"
#include "outbox/parked.h" /* wbi_actor */

enum { CLI_ACTOR_NAME = 256 };

/* Rows of a table of flags, where the options S of a command have `who` and
 * `why`. */
#define CLI_FLAG_WHO(S)                                                       \
	{{.name = "who", .kind = WBI_CONFIG_TEXT, .offset = offsetof(S, who), \
	  .arg = "NAME", .help = "Who you are, for the audit; default: the "  \
				 "user's name."}, 0}
#define CLI_FLAG_WHY(S, flag)                                                 \
	{{.name = flag, .kind = WBI_CONFIG_TEXT, .offset = offsetof(S, why),  \
	  .arg = "TEXT", .help = "Why you do it; kept in the audit."}, 'r'}

/* Who has not said a name has that of the user; it is put into `buf`. The
 * strings are borrowed. */
wbi_actor cli_actor(const char *who, const char *why, char buf[CLI_ACTOR_NAME]);

#endif
