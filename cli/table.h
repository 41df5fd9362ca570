/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows for people as a table, the same for programs as JSON. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "cli/command.h"

typedef struct cli_table cli_table;

typedef struct cli_column {
	const char *name; /* in JSON; upper case of it is the heading */
	bool number;      /* right-aligned; JSON number */
	bool trunc;       /* may be cut to the terminal's width */
} cli_column;

/* `name` is the member that holds the array. NULL: out of memory. */
cli_table *cli_table_new(const char *name, const cli_column *columns,
			 size_t count, bool json);
void cli_table_free(cli_table *table); /* NULL allowed */
/* One row; `cells` are `count` texts, NULL for none. Copied. */
bool cli_table_row(cli_table *table, const char *const *cells);
/* To stdout; frees it. False: could not. */
bool cli_table_print(cli_table *table);
/* The end of a list. With CLI_OK it is printed, and if `more` is not NULL, that
 * flags of this text show more; else it is freed (NULL allowed). Returns
 * `code`, or that the answer could not be written. */
int cli_table_end(const cli_context *ctx, cli_table *table, int code,
		  const char *more);

/* Print one JSON value and a line end; takes over `value` (NULL: false). */
bool cli_json_print(json_t *value);
/* A string, whatever its bytes: those that are not UTF-8 come as \xNN. */
json_t *cli_json_text(const char *text);
/* The same on one line in any case, not flushed: for one of many. */
bool cli_json_print_line(json_t *value);

#endif
