/* SPDX-License-Identifier: BSD-2-Clause */
/* The user's name comes from the system; nothing is kept. */
#include "cli/actor.h"

#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

static const char *actor_user(char buf[CLI_ACTOR_NAME])
{
	const struct passwd *entry = getpwuid(getuid());

	if (entry)
		snprintf(buf, CLI_ACTOR_NAME, "%s", entry->pw_name);
	else
		snprintf(buf, CLI_ACTOR_NAME, "uid %u", (unsigned)getuid());
	return buf;
}

wbi_actor cli_actor(const char *who, const char *why, char buf[CLI_ACTOR_NAME])
{
	return (wbi_actor){.who = wb_str_from(who ? who : actor_user(buf)),
			   .why = wb_str_from(why)};
}
