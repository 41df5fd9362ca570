/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line. Flags come from two tables: the configuration's keys of
 * the groups that a command takes, and the command's own. Both are parsed by
 * the parser of the configuration, so a number is a number everywhere.
 *
 * getopt_long keeps its place in globals of the C library; this is called once
 * per process, before any thread.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "cli/command.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"

enum {
	OPT_BASE = 256, /* above every letter */
	OPT_KEYS = OPT_BASE,
	OPT_FLAGS = OPT_KEYS + WBI_CONFIG_KEYS,
	OPT_HELP = OPT_FLAGS + 64,
	OPT_CONFIG,
	OPT_JSON,
	OPT_MAX = 128
};

typedef struct option_table {
	struct option options[OPT_MAX];
	char letters[64];
	size_t count;
} option_table;

static void table_add(option_table *table, const char *name, int how, int value,
		      char letter)
{
	size_t len = strlen(table->letters);

	WB_ASSERT(table->count + 1 < OPT_MAX);
	table->options[table->count++] =
		(struct option){name, how, NULL, value};
	if (letter)
		snprintf(table->letters + len, sizeof(table->letters) - len,
			 "%c%s", letter, how == required_argument ? ":" : "");
}

static int how_of(const wbi_config_field *field)
{
	return field->kind == WBI_CONFIG_BOOL ? optional_argument
					      : required_argument;
}

static void table_make(const cli_command *command, option_table *table)
{
	const wbi_config_key *key;

	memset(table, 0, sizeof(*table));
	snprintf(table->letters, sizeof(table->letters), ":");
	table_add(table, "help", no_argument, OPT_HELP, 'h');
	table_add(table, "json", no_argument, OPT_JSON, 0);
	table_add(table, "config", required_argument, OPT_CONFIG, 'c');
	for (size_t i = 0; (key = wbi_config_key_at(i)); i++)
		if (key->flag && (key->group & command->groups))
			table_add(table, key->flag, how_of(&key->field),
				  OPT_KEYS + (int)i, 0);
	for (size_t i = 0; i < command->flag_count; i++)
		table_add(table, command->flags[i].field.name,
			  how_of(&command->flags[i].field), OPT_FLAGS + (int)i,
			  command->flags[i].letter);
}

/* ---- secrets ----------------------------------------------------------- */

/* Generous on purpose: a password with a bare '/' or '@' in it is no URI, and
 * still a password. */
void cli_scrub_uri(char *uri)
{
	for (char *p = strstr(uri, "://"), *next; p; p = next) {
		char *colon = NULL, *at = NULL, *end;

		p += 3;
		next = strstr(p, "://");
		end = next ? next : p + strlen(p);
		for (char *c = p; c < end; c++) {
			if (*c == ':' && !colon && !at)
				colon = c;
			if (*c == '@')
				at = c;
		}
		for (char *c = colon ? colon + 1 : at; at && c < at; c++)
			*c = '*';
	}
}

/* ---- parsing ----------------------------------------------------------- */

static int set_key(cli_context *ctx, int i, char *text)
{
	const wbi_config_key *key = wbi_config_key_at((size_t)i);
	wb_error err = WB_ERROR_INIT;
	wb_code rc;

	rc = wbi_config_set(&ctx->config, i, text ? text : "true",
			    WBI_CONFIG_FLAG, &err);
	if (text && key->field.offset == offsetof(wbi_config, amqp))
		cli_scrub_uri(text);
	if (rc != WB_OK)
		return cli_usage(ctx, "--%s: %s", key->flag, err.text);
	return CLI_OK;
}

static int set_flag(cli_context *ctx, const cli_flag *flag, const char *text)
{
	wb_error err = WB_ERROR_INIT;

	if (wbi_config_parse(&flag->field, text ? text : "true", ctx->options,
			     &err) != WB_OK)
		return cli_usage(ctx, "--%s: %s", flag->field.name, err.text);
	return CLI_OK;
}

static const cli_flag *flag_of_letter(const cli_command *command, int letter)
{
	for (size_t i = 0; i < command->flag_count; i++)
		if (command->flags[i].letter == letter)
			return &command->flags[i];
	return NULL;
}

/* What getopt_long calls '?' or ':'; `word` is the argument as it stands. */
static int bad_option(const cli_context *ctx, int c, const char *word)
{
	if (c == ':')
		return cli_usage(ctx, "'%s' needs a value", word);
	if (optopt && optopt < OPT_BASE)
		return cli_usage(ctx, "unknown option '-%c'", optopt);
	return cli_usage(ctx, "unknown option '%s'", word);
}

static int take_option(cli_context *ctx, int c, bool *ret_help)
{
	const cli_command *command = ctx->command;
	const cli_flag *flag;

	if (c == 'h' || c == OPT_HELP) {
		*ret_help = true;
		return CLI_OK;
	}
	if (c == 'c' || c == OPT_CONFIG) {
		ctx->config_path = optarg;
		return CLI_OK;
	}
	if (c == OPT_JSON) {
		ctx->json = true;
		return CLI_OK;
	}
	if (c >= OPT_KEYS && c < OPT_FLAGS)
		return set_key(ctx, c - OPT_KEYS, optarg);
	flag = c >= OPT_FLAGS ? &command->flags[c - OPT_FLAGS]
			      : flag_of_letter(command, c);
	WB_ASSERT(flag);
	return set_flag(ctx, flag, optarg);
}

static int parse_argv(cli_context *ctx, int argc, char **argv, bool *ret_help)
{
	option_table table;
	int code = CLI_OK, c;

	table_make(ctx->command, &table);
	opterr = 0;
	optind = 0; /* GNU: start over, whatever was parsed before */
	while (code == CLI_OK && !*ret_help) {
		c = getopt_long(argc, argv, table.letters, table.options, NULL);
		if (c == -1)
			break;
		code = c == '?' || c == ':'
			       ? bad_option(ctx, c, argv[optind - 1])
			       : take_option(ctx, c, ret_help);
	}
	ctx->args = argv + optind;
	ctx->arg_count = argc - optind;
	return code;
}

/* A password that the service manager put into a file for us alone. Its mode
 * may show an ACL, so this is not amqp_password_file, which is strict. */
static wb_code read_credential(wbi_config *config, wb_error *err)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	int key = wbi_config_find(wb_str_from("amqp_password"));
	char path[4096], line[WBI_CONFIG_TEXT_MAX];
	wb_code rc = WB_OK;
	FILE *file;

	if (!dir || config->amqp_password || config->amqp_password_file)
		return WB_OK;
	snprintf(path, sizeof(path), "%s/amqp-password", dir);
	file = fopen(path, "re");
	if (!file)
		return WB_OK; /* no such credential was given */
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);
	line[strcspn(line, "\r\n")] = '\0';
	if (line[0] == '\0')
		rc = WBI_FAIL(err, WB_EINVAL, "%s: the first line is empty",
			      path);
	else
		rc = wbi_config_set(config, key, line, WBI_CONFIG_ENV, err);
	explicit_bzero(line, sizeof(line));
	return rc;
}

/* The weaker sources, and what all of them make together. */
static int read_rest(cli_context *ctx)
{
	wb_error err = WB_ERROR_INIT;
	wb_code rc;

	if (!ctx->config_path)
		ctx->config_path = getenv("WAYBILL_CONFIG");
	rc = wbi_config_read_env(&ctx->config, &err);
	if (rc == WB_OK && ctx->config_path && ctx->config_path[0])
		rc = wbi_config_read_file(&ctx->config, ctx->config_path, &err);
	if (rc == WB_OK)
		rc = read_credential(&ctx->config, &err);
	if (rc == WB_OK)
		rc = wbi_config_check(&ctx->config, &err);
	if (rc != WB_OK)
		return cli_fail(ctx, CLI_USAGE, "%s", err.text);
	return CLI_OK;
}

static int check_args(const cli_context *ctx)
{
	const cli_command *command = ctx->command;

	if (ctx->arg_count < command->args_min)
		return cli_usage(ctx, "%s is missing", command->args);
	if (command->args_max >= 0 && ctx->arg_count > command->args_max)
		return cli_usage(ctx, "unexpected argument '%s'",
				 ctx->args[command->args_max]);
	if (command->needs_store && !ctx->config.store)
		return cli_usage(ctx, "which store? give --store DIR or set "
				      "WAYBILL_STORE");
	return CLI_OK;
}

int cli_parse(cli_context *ctx, int argc, char **argv, bool *ret_done)
{
	wb_error err = WB_ERROR_INIT;
	int code;

	*ret_done = false;
	if (wbi_config_init(&ctx->config, &err) != WB_OK)
		return cli_fail_error(ctx, &err);
	ctx->options = calloc(1, ctx->command->options_size + 1);
	if (!ctx->options)
		return cli_fail(ctx, CLI_FAILED, "out of memory");
	for (size_t i = 0; i < ctx->command->flag_count; i++) {
		const cli_flag *flag = &ctx->command->flags[i];

		if (flag->field.init)
			set_flag(ctx, flag, flag->field.init);
	}
	/* Known first, for what the parser itself has to say. */
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		ctx->json = ctx->json || !strcmp(argv[i], "--json");
	code = parse_argv(ctx, argc, argv, ret_done);
	if (code == CLI_OK && *ret_done)
		cli_help(ctx, stdout);
	if (code != CLI_OK || *ret_done)
		return code;
	code = read_rest(ctx);
	if (code == CLI_OK)
		code = check_args(ctx);
	ctx->log = cli_log(&ctx->config.log_format,
			   (wb_log_level)ctx->config.log_level);
	return code;
}

int cli_daemon(cli_context *ctx, int argc, char **argv)
{
	bool done;
	int code;

	cli_std_open();
	if (argc == 2 && !strcmp(argv[1], "--version")) {
		printf("%s %s\n", ctx->program, wb_version());
		return CLI_OK;
	}
	code = cli_parse(ctx, argc, argv, &done);
	if (code == CLI_OK && !done)
		code = ctx->command->run(ctx);
	cli_context_fini(ctx);
	return code;
}

void cli_context_fini(cli_context *ctx)
{
	for (size_t i = 0; ctx->options && i < ctx->command->flag_count; i++)
		wbi_config_field_fini(&ctx->command->flags[i].field,
				      ctx->options);
	free(ctx->options);
	ctx->options = NULL;
	wbi_config_fini(&ctx->config);
}
