/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libsmartcols draws the table (it knows the terminal's width and how wide a
 * character is); jansson writes the JSON, so that text is escaped by the book.
 * Cells are text that was made harmless before. One thread.
 */
#include "cli/table.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libsmartcols.h>

#include "lib/base/text.h"

struct cli_table {
	const cli_column *columns;
	size_t count;
	const char *name;
	json_t *rows;                 /* JSON */
	struct libscols_table *scols; /* or this */
};

static bool add_columns(cli_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		const cli_column *column = &table->columns[i];
		int flags = column->number ? SCOLS_FL_RIGHT : 0;
		char head[64];
		size_t len = 0;

		for (; column->name[len] && len + 1 < sizeof(head); len++)
			head[len] =
				(char)toupper((unsigned char)column->name[len]);
		head[len] = '\0';
		if (column->trunc)
			flags |= SCOLS_FL_TRUNC;
		if (!scols_table_new_column(table->scols, head,
					    column->trunc ? 0.2 : 1, flags))
			return false;
	}
	return true;
}

cli_table *cli_table_new(const char *name, const cli_column *columns,
			 size_t count, bool json)
{
	cli_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->columns = columns;
	table->count = count;
	table->name = name;
	if (json) {
		table->rows = json_array();
		if (table->rows)
			return table;
	} else {
		scols_init_debug(0);
		table->scols = scols_new_table();
		/* Into a pipe nothing is cut. */
		if (table->scols && !isatty(STDOUT_FILENO))
			scols_table_set_termforce(table->scols,
						  SCOLS_TERMFORCE_NEVER);
		if (table->scols && add_columns(table))
			return table;
		scols_unref_table(table->scols);
	}
	free(table);
	return NULL;
}

static json_t *json_cell(const cli_column *column, const char *text)
{
	if (!text)
		return json_null();
	if (column->number)
		return json_integer(strtoll(text, NULL, 10));
	return json_string(text);
}

bool cli_table_row(cli_table *table, const char *const *cells)
{
	struct libscols_line *line;
	json_t *row;

	if (table->rows) {
		row = json_object();
		for (size_t i = 0; i < table->count; i++)
			if (json_object_set_new(
				    row, table->columns[i].name,
				    json_cell(&table->columns[i], cells[i])))
				return false;
		return json_array_append_new(table->rows, row) == 0;
	}
	line = scols_table_new_line(table->scols, NULL);
	for (size_t i = 0; line && i < table->count; i++)
		if (scols_line_set_data(line, i, cells[i] ? cells[i] : ""))
			return false;
	return line != NULL;
}

json_t *cli_json_text(const char *text)
{
	char shown[4 * 4096 + 1];

	return json_string(
		wbi_text_show(wb_str_from(text), shown, sizeof(shown)));
}

bool cli_json_print(json_t *value)
{
	int rc = -1;

	if (value)
		rc = json_dumpf(value, stdout,
				isatty(STDOUT_FILENO) ? JSON_INDENT(2)
						      : JSON_COMPACT);
	json_decref(value);
	return rc == 0 && putchar('\n') != EOF && fflush(stdout) == 0;
}

bool cli_json_print_line(json_t *value)
{
	int rc = value ? json_dumpf(value, stdout, JSON_COMPACT) : -1;

	json_decref(value);
	return rc == 0 && putchar('\n') != EOF;
}

void cli_table_free(cli_table *table)
{
	if (!table)
		return;
	json_decref(table->rows);
	scols_unref_table(table->scols);
	free(table);
}

bool cli_table_print(cli_table *table)
{
	bool ok;

	if (table->rows)
		ok = cli_json_print(
			json_pack("{s:o}", table->name, table->rows));
	else
		ok = scols_print_table(table->scols) == 0;
	scols_unref_table(table->scols);
	free(table);
	return ok;
}

int cli_table_end(const cli_context *ctx, cli_table *table, int code,
		  const char *more)
{
	if (code != CLI_OK)
		cli_table_free(table);
	else
		code = cli_answered(ctx, cli_table_print(table));
	if (code == CLI_OK && more)
		fprintf(stderr, "(there are more: %s)\n", more);
	return code;
}
