/* SPDX-License-Identifier: BSD-2-Clause */
/* What `waybill dead ls` and its verbs share: which letters are meant. */
#ifndef CLI_DEAD_H
#define CLI_DEAD_H

#include "cli/command.h"
#include "cli/table.h"
#include "inbox/dead.h"

typedef struct cli_dead_options {
	int reason; /* enum wbi_dead_reason; 0: any */
	char *handler, *key, *id, *after, *before;
	uint64_t limit, since, rate;
	char *why, *who;
	bool all, dry_run, id_from_body, progress;
} cli_dead_options;

extern const char *const cli_dead_reasons[];

#define CLI_DEAD_AT(member) .offset = offsetof(cli_dead_options, member)

/* Rows of a table of flags. */
#define CLI_DEAD_FILTERS                                                      \
	{{.name = "reason", .kind = WBI_CONFIG_CHOICE, CLI_DEAD_AT(reason),   \
	  .choices = cli_dead_reasons, .init = "any",                         \
	  .help = "Only those that died for this reason."}, 0},               \
	{{.name = "handler", .kind = WBI_CONFIG_TEXT, CLI_DEAD_AT(handler),   \
	  .arg = "NAME", .help = "Only those of this handler; - for what "    \
				 "was refused at ingest."}, 0},               \
	{{.name = "key", .kind = WBI_CONFIG_TEXT, CLI_DEAD_AT(key),           \
	  .arg = "KEY", .help = "Only events of this ordering key."}, 'k'},   \
	{{.name = "id", .kind = WBI_CONFIG_TEXT, CLI_DEAD_AT(id),             \
	  .arg = "ID", .help = "Only the event of this id."}, 0},             \
	{{.name = "after", .kind = WBI_CONFIG_TEXT, CLI_DEAD_AT(after),       \
	  .arg = "TIME", .help = "Only what died then or later: "             \
				 CLI_WHEN_HELP "."}, 0},                      \
	{{.name = "before", .kind = WBI_CONFIG_TEXT, CLI_DEAD_AT(before),     \
	  .arg = "TIME", .help = "Only what died earlier than that."}, 0}

/* The filter that the options make; its strings are theirs. CLI_OK, or
 * CLI_USAGE with the reason printed. */
int cli_dead_filter(cli_context *ctx, wbi_dead_filter *ret);
/* Do they name anything? */
bool cli_dead_is_filtered(const cli_dead_options *o);

/* A table of dead letters, and a row of it: "number", "reason", "handler", ...
 * `outcome` (NULL: no such column). */
cli_table *cli_dead_table(bool outcome, bool json);
bool cli_dead_row(cli_table *table, uint64_t number, const wbi_dead *row,
		  const char *outcome);

#endif
