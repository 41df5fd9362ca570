/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Help, made from the tables: what a flag is called, what it may be and what
 * it is when nobody says it cannot differ from what the parser does.
 */
#include <stdio.h>

#include "cli/command.h"

enum { HELP_WIDTH = 79, HELP_INDENT = 8 };

/* `text` broken at spaces, each line behind `indent` spaces. */
static void print_wrapped(FILE *out, const char *text, int indent)
{
	size_t width = (size_t)(HELP_WIDTH - indent);

	while (*text) {
		size_t len = strlen(text), cut = len;

		if (len > width) {
			cut = width;
			while (cut > 0 && text[cut] != ' ')
				cut--;
			cut = cut > 0 ? cut : width;
		}
		fprintf(out, "%*s%.*s\n", indent, "", (int)cut, text);
		text += cut;
		while (*text == ' ')
			text++;
	}
}

/* Paragraphs, empty lines between them; one that begins with a space is an
 * example and stays as it is, others flow. */
static void print_prose(FILE *out, const char *text)
{
	char paragraph[2048];

	while (*text) {
		const char *end = strstr(text, "\n\n");
		size_t len = end ? (size_t)(end - text) : strlen(text);

		snprintf(paragraph, sizeof(paragraph), "%.*s", (int)len, text);
		if (paragraph[0] == ' ') {
			fprintf(out, "%s\n", paragraph);
		} else {
			for (char *p = paragraph; *p; p++)
				*p = (char)(*p == '\n' ? ' ' : *p);
			print_wrapped(out, paragraph, 0);
		}
		if (end)
			fputc('\n', out);
		text += end ? len + 2 : len;
	}
}

static void print_field(FILE *out, const wbi_config_field *field,
			const char *flag, char letter, bool with_default)
{
	char range[128], text[1024];
	bool arg = field->kind != WBI_CONFIG_BOOL;
	bool numeric = field->kind == WBI_CONFIG_NUMBER ||
		       field->kind == WBI_CONFIG_SIZE;

	wbi_config_range_text(field, range, sizeof(range));
	fprintf(out, "  ");
	if (letter)
		fprintf(out, "-%c, ", letter);
	fprintf(out, "--%s%s%s\n", flag, arg ? " " : "",
		!arg             ? ""
		: field->choices ? range
				 : field->arg);
	snprintf(text, sizeof(text), "%s%s%s%s%s%s%s", field->help,
		 numeric && field->max < UINT64_MAX ? " " : "",
		 numeric && field->max < UINT64_MAX ? range : "",
		 with_default && field->init && arg ? " Default: " : "",
		 with_default && field->init && arg ? field->init : "",
		 with_default && field->init && arg ? "." : "", "");
	print_wrapped(out, text, HELP_INDENT);
}

static void print_list(FILE *out, const wbi_config_list *list)
{
	for (size_t i = 0; i < list->field_count; i++) {
		const wbi_config_field *field = &list->fields[i];
		char range[128], text[1024];

		wbi_config_range_text(field, range, sizeof(range));
		snprintf(text, sizeof(text), "%s=%s: %s%s%s%s", field->name,
			 field->arg && !field->choices ? field->arg : range,
			 field->help, field->init ? " Default: " : "",
			 field->init ? field->init : "",
			 field->init ? "." : "");
		print_wrapped(out, text, HELP_INDENT + 4);
	}
}

static void print_keys(const cli_context *ctx, FILE *out)
{
	const wbi_config_key *key;
	char env[64];

	for (size_t i = 0; (key = wbi_config_key_at(i)); i++) {
		if (!(key->group & ctx->command->groups))
			continue;
		if (!key->flag) {
			fprintf(out, "  %s (environment only)\n",
				wbi_config_env_name(key, env, sizeof(env)));
			print_wrapped(out, key->field.help, HELP_INDENT);
			continue;
		}
		print_field(out, &key->field, key->flag, 0, true);
		if (key->list && !key->list->plain)
			print_list(out, key->list);
	}
}

void cli_help(const cli_context *ctx, FILE *out)
{
	const cli_command *command = ctx->command;

	fprintf(out, "Usage: %s%s%s [OPTION...]%s%s\n\n%s.\n\n",
		ctx->program, command->name[0] ? " " : "", command->name,
		command->args[0] ? " " : "", command->args, command->summary);
	print_prose(out, command->help);
	fprintf(out, "Options:\n");
	for (size_t i = 0; i < command->flag_count; i++)
		print_field(out, &command->flags[i].field,
			    command->flags[i].field.name,
			    command->flags[i].letter, true);
	print_keys(ctx, out);
	fprintf(out,
		"  -c, --config FILE\n"
		"        YAML file with keys named as these flags, '_' for "
		"'-': waybill.conf(5).\n"
		"  --json\n"
		"        Answer as JSON, for programs.\n"
		"  -h, --help\n"
		"        This text.\n\n"
		"Keys may also be set in the environment: --heartbeat-s is "
		"WAYBILL_HEARTBEAT_S.\n"
		"A flag is stronger than that, and that is stronger than the "
		"file.\n\n"
		"Exit status: 0 done; 1 failed; 2 wrong usage or "
		"configuration; 3 done, but\n"
		"something is left over, as said above.\n");
}
