/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill, the operator's command: find the command's row, let it parse its
 * line, run it. Everything else is in cmd_*.c. One thread; nothing is kept.
 */
#include <locale.h>
#include <signal.h>
#include <stdio.h>

#include "cli/command.h"
#include "lib/base/assert.h"

static const cli_command *const commands[] = {
	&cli_command_init,         &cli_command_append,
	&cli_command_outbox_stat,  &cli_command_outbox_ls,
	&cli_command_outbox_show,  &cli_command_outbox_tail,
	&cli_command_outbox_retry, &cli_command_outbox_discard,
	&cli_command_outbox_audit, &cli_command_outbox_forget,
	&cli_command_stream_ls,    &cli_command_stream_show,
	&cli_command_stream_stat,  &cli_command_stream_append,
	&cli_command_stream_truncate,
	&cli_command_stream_export, &cli_command_stream_import,
	&cli_command_inbox_stat,   &cli_command_inbox_ls,
	&cli_command_inbox_show,   &cli_command_inbox_audit,
	&cli_command_inbox_forget, &cli_command_inbox_forget_queue,
	&cli_command_dead_ls,      &cli_command_dead_show,
	&cli_command_dead_retry,   &cli_command_dead_discard,
	&cli_command_timer_ls,     &cli_command_timer_move,
	&cli_command_timer_cancel,
	&cli_command_saga_ls,
	&cli_command_saga_show,
	&cli_command_saga_stat,
	&cli_command_saga_timers,
	&cli_command_saga_retry,
	&cli_command_saga_skip,
	&cli_command_saga_compensate,
	&cli_command_saga_abandon,
	&cli_command_saga_resume,
	&cli_command_saga_start,   &cli_command_saga_check,
	&cli_command_saga_graph,   &cli_command_setup,
	&cli_command_fsck,         &cli_command_backup,
	&cli_command_restore,
	&cli_command_projection_ls,
	&cli_command_projection_status,
	&cli_command_projection_get,
	&cli_command_projection_scan,
	&cli_command_projection_wait,
	&cli_command_projection_run,
	&cli_command_projection_rebuild,
	&cli_command_projection_promote,
	&cli_command_projection_rollback,
	&cli_command_projection_discard,
	&cli_command_projection_diff,
	&cli_command_projection_pause,
	&cli_command_projection_resume,
	&cli_command_projection_heal,
	&cli_command_projection_remove,
};

static void print_overview(FILE *out)
{
	fprintf(out,
		"Usage: waybill COMMAND [OPTION...] [ARGUMENT...]\n\n"
		"Append events to a store's outbox, and see what became of "
		"them.\n\n");
	for (size_t i = 0; i < WBI_COUNT(commands); i++)
		fprintf(out, "  %-20s %s\n", commands[i]->name,
			commands[i]->summary);
	fprintf(out,
		"\nA first event, from a new store to a broker:\n\n"
		"  waybill init --store shop --service shop\n"
		"  waybill append --store shop --type order.placed --key 42 "
		"--data '{\"n\":1}'\n"
		"  waybill outbox ls --store shop\n"
		"  waybill-relay --store shop --amqp amqp://localhost "
		"--until-empty\n"
		"  waybill outbox show --store shop 1\n\n"
		"'waybill help COMMAND' teaches one. Manuals: waybill(1), "
		"waybill-relay(8),\nwaybill-worker(8), waybill.conf(5).\n");
}

/* How many words of argv the name is; 0: it is another command. */
static int words_matched(const char *name, int argc, char **argv)
{
	const char *space = strchr(name, ' ');
	size_t first = space ? (size_t)(space - name) : strlen(name);

	if (argc < 1 || strlen(argv[0]) != first ||
	    strncmp(argv[0], name, first) != 0)
		return 0;
	if (!space)
		return 1;
	return argc > 1 && !strcmp(argv[1], space + 1) ? 2 : 0;
}

static const cli_command *find(int argc, char **argv, int *ret_words)
{
	for (size_t i = 0; i < WBI_COUNT(commands); i++) {
		*ret_words = words_matched(commands[i]->name, argc, argv);
		if (*ret_words > 0)
			return commands[i];
	}
	return NULL;
}

/* A word that begins commands of two words: say which there are. */
static int print_group(const char *word, FILE *out)
{
	size_t len = strlen(word), found = 0;

	for (size_t i = 0; i < WBI_COUNT(commands); i++)
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): none */
		if (!strncmp(commands[i]->name, word, len) &&
		    commands[i]->name[len] == ' ') {
			if (found++ == 0)
				fprintf(out, "Usage: waybill %s COMMAND\n\n",
					word);
			fprintf(out, "  %-20s %s\n", commands[i]->name,
				commands[i]->summary);
		}
	return found > 0;
}

static int no_such(const char *word)
{
	if (word[0] != '\0' && print_group(word, stderr))
		return CLI_USAGE;
	fprintf(stderr,
		"waybill: unknown command '%.40s'\nTry 'waybill --help'.\n",
		word);
	return CLI_USAGE;
}

/* What went to a full disk was not said. */
static int answered(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return CLI_OK;
	fprintf(stderr, "waybill: cannot write the answer\n");
	return CLI_FAILED;
}

static int help(int argc, char **argv)
{
	cli_context ctx = {.program = "waybill"};
	int words;

	if (argc == 0) {
		print_overview(stdout);
		return answered();
	}
	ctx.command = find(argc, argv, &words);
	if (ctx.command)
		cli_help(&ctx, stdout);
	else if (!print_group(argv[0], stdout))
		return no_such(argv[0]);
	return answered();
}

static int run(int argc, char **argv)
{
	cli_context ctx = {.program = "waybill"};
	bool done;
	int words, code;

	ctx.command = find(argc, argv, &words);
	if (!ctx.command)
		return no_such(argv[0]);
	code = cli_parse(&ctx, argc - words + 1, argv + words - 1, &done);
	if (code == CLI_OK && !done)
		code = ctx.command->run(&ctx);
	if (code == CLI_OK && (fflush(stdout) != 0 || ferror(stdout)))
		code = cli_fail(&ctx, CLI_FAILED, "cannot write the answer");
	cli_context_fini(&ctx);
	return code;
}

int main(int argc, char **argv)
{
	cli_std_open();
	setlocale(LC_CTYPE, ""); /* tables: the width of characters */
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		print_overview(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("waybill %s\n", wb_version());
		return answered();
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return help(0, NULL);
	if (!strcmp(argv[1], "help"))
		return help(argc - 2, argv + 2);
	return run(argc - 1, argv + 1);
}
