/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the commands share: a command is a row (cli_command) with its flags, its
 * help and a function; the frame parses, opens and prints.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stdio.h>

#include <waybill/outbox.h>
#include <waybill/relay.h>
#include <waybill/store.h>

#include "lib/config/config.h"

/* Exit codes, the same for every command; in the manual of each. */
enum {
	CLI_OK = 0,
	CLI_FAILED = 1, /* could not be done; the reason is on stderr */
	CLI_USAGE = 2,  /* wrong flags or configuration; nothing was done */
	CLI_NOT_ALL = 3 /* done, but something is left over: events parked or
			   held, a line refused, damage found, nothing found */
};

typedef struct cli_context cli_context;

/* A flag of one command; parsed like a key of the configuration, into the
 * command's own options (cli_command.options_size bytes, zeroed at first). */
typedef struct cli_flag {
	wbi_config_field field; /* name with '-' */
	char letter;            /* or 0 */
} cli_flag;

typedef struct cli_command {
	const char *name;    /* "append", "outbox stat" */
	const char *args;    /* "[ID | POSITION]" or "" */
	const char *summary; /* one line */
	const char *help;    /* what it does, for help: ends with a newline */
	unsigned groups;     /* of configuration that it takes */
	const cli_flag *flags;
	size_t flag_count;
	size_t options_size;
	int args_min, args_max; /* -1: any number */
	bool needs_store;       /* --store must be given */
	int (*run)(cli_context *ctx);
} cli_command;

struct cli_context {
	const char *program; /* "waybill" */
	const cli_command *command;
	wbi_config config;
	void *options; /* of the command */
	char **args;   /* what is left of the command line */
	int arg_count;
	const char *config_path; /* or NULL */
	bool json;               /* --json */
	uint32_t max_dbs;        /* of the store, for handlers; 0: the default */
	wb_log log;              /* to stderr, as configured */
};

/* ---- options.c --------------------------------------------------------- */

/*
 * Parse `argv` (argv[0] is the command's last word) for ctx->command, read the
 * environment and the file, check. Passwords in argv are overwritten. CLI_OK,
 * or an exit code with the reason printed; *ret_done if nothing is left to do
 * (--help). cli_context_fini() afterwards in each case.
 */
int cli_parse(cli_context *ctx, int argc, char **argv, bool *ret_done);
void cli_context_fini(cli_context *ctx);
/* All of a daemon's main(): its program has one command. */
int cli_daemon(cli_context *ctx, int argc, char **argv);

/* The help of ctx->command. */
void cli_help(const cli_context *ctx, FILE *out);

/* Every password inside "scheme://user:password@..." becomes '*'s. */
void cli_scrub_uri(char *uri);

/* ---- say.c ------------------------------------------------------------- */

/* First of all in main(): standard streams that are closed are made to fail,
 * lest a file of the store gets such a number and is written into. */
void cli_std_open(void);

/* "waybill append: text" on stderr; returns `code`, to be returned on. */
int cli_fail(const cli_context *ctx, int code, const char *format, ...)
	WB_PRINTF(3, 4);
/* The same for an error of the library: its text. CLI_FAILED. */
int cli_fail_error(const cli_context *ctx, const wb_error *err);
/* The end of an answer: CLI_OK, or the word that it could not be written. */
int cli_answered(const cli_context *ctx, bool ok);
/* A hint on how to call it right, after cli_fail(CLI_USAGE). */
int cli_usage(const cli_context *ctx, const char *format, ...) WB_PRINTF(2, 3);

/* A sink for lines on stderr, as text or as one JSON object a line. Static
 * state only: `format` is what `ctx` of the sink points to and must live. */
wb_log cli_log(const int *format, wb_log_level level);

/* "1.5 MiB", "2 h 03 min"; return ret. */
char *cli_bytes_text(uint64_t bytes, char *ret, size_t size);
char *cli_age_text(int64_t age_us, char *ret, size_t size);

/* The system's clocks: microseconds since 1970, UTC, and monotonic ones. */
int64_t cli_real_us(void);
int64_t cli_mono_us(void);

/* Progress with rate on stderr, when that is a terminal or it was asked for:
 * call show as often as you like, it draws ten times a second at most. */
typedef struct cli_progress {
	const char *what; /* "appended" */
	bool asked, wanted, drawn, bytes;
	int64_t start_us, last_us;
} cli_progress;

void cli_progress_start(cli_progress *progress, const char *what, bool asked);
/* `total` 0: not known. end draws the sum, if anything was drawn or asked. */
void cli_progress_show(cli_progress *progress, uint64_t done, uint64_t total);
void cli_progress_end(cli_progress *progress, uint64_t done);

/* ---- open.c ------------------------------------------------------------ */

/* The store that the configuration names. CLI_OK, or as cli_fail_error(). */
int cli_open_store(cli_context *ctx, wb_store **ret);
/* The routes of the configuration; free with wb_routes_free(). */
int cli_open_routes(cli_context *ctx, wb_routes **ret);
/* What events may be, by the configuration; key_bytes is left 0. */
wb_limits cli_limits(const wbi_config *config);
/* A relay as it is configured: without routes, log and all that a daemon has
 * of its own. */
wb_relay_options cli_relay_options(const wbi_config *config);
/* An outbox on the store of the configuration, with its limits and routes. */
typedef struct cli_outbox {
	wb_store *store;
	wb_routes *routes;
	wb_limits limits;
	wb_outbox *outbox;
} cli_outbox;

/* CLI_OK, or an exit code with the reason printed; close in each case. */
int cli_open_outbox(cli_context *ctx, cli_outbox *ret);
void cli_close_outbox(cli_outbox *outbox);

/* The AMQP adapter, not connected yet; free with wb_broker_free(). */
int cli_open_broker(cli_context *ctx, wb_broker **ret);

/*
 * Does a process own this file (lib/base/owner.h)? It holds its lock as long as
 * it lives, and the kernel drops that with the process. To try costs one that
 * starts in the same moment one more try. Where we may not look: true.
 */
bool cli_is_owned(const char *path);

/* ---- the commands ------------------------------------------------------ */

extern const cli_command cli_command_init;
extern const cli_command cli_command_append;
extern const cli_command cli_command_outbox_stat;
extern const cli_command cli_command_outbox_ls;
extern const cli_command cli_command_outbox_show;
extern const cli_command cli_command_outbox_tail;
extern const cli_command cli_command_outbox_retry;
extern const cli_command cli_command_outbox_discard;
extern const cli_command cli_command_outbox_audit;
extern const cli_command cli_command_outbox_forget;
extern const cli_command cli_command_stream_ls;
extern const cli_command cli_command_stream_show;
extern const cli_command cli_command_stream_stat;
extern const cli_command cli_command_stream_append;
extern const cli_command cli_command_stream_truncate;
extern const cli_command cli_command_stream_export;
extern const cli_command cli_command_stream_import;
extern const cli_command cli_command_dead_ls;
extern const cli_command cli_command_dead_show;
extern const cli_command cli_command_dead_retry;
extern const cli_command cli_command_dead_discard;
extern const cli_command cli_command_inbox_stat;
extern const cli_command cli_command_inbox_ls;
extern const cli_command cli_command_inbox_show;
extern const cli_command cli_command_inbox_audit;
extern const cli_command cli_command_inbox_forget;
extern const cli_command cli_command_inbox_forget_queue;
extern const cli_command cli_command_timer_ls;
extern const cli_command cli_command_timer_move;
extern const cli_command cli_command_timer_cancel;
extern const cli_command cli_command_saga_ls;
extern const cli_command cli_command_saga_show;
extern const cli_command cli_command_saga_stat;
extern const cli_command cli_command_saga_timers;
extern const cli_command cli_command_saga_retry;
extern const cli_command cli_command_saga_skip;
extern const cli_command cli_command_saga_compensate;
extern const cli_command cli_command_saga_abandon;
extern const cli_command cli_command_saga_resume;
extern const cli_command cli_command_saga_check;
extern const cli_command cli_command_saga_graph;
extern const cli_command cli_command_saga_start;
extern const cli_command cli_command_setup;
extern const cli_command cli_command_fsck;
extern const cli_command cli_command_backup;
extern const cli_command cli_command_restore;
extern const cli_command cli_command_projection_ls;
extern const cli_command cli_command_projection_status;
extern const cli_command cli_command_projection_get;
extern const cli_command cli_command_projection_scan;
extern const cli_command cli_command_projection_wait;
extern const cli_command cli_command_projection_run;
extern const cli_command cli_command_projection_rebuild;
extern const cli_command cli_command_projection_promote;
extern const cli_command cli_command_projection_rollback;
extern const cli_command cli_command_projection_discard;
extern const cli_command cli_command_projection_diff;
extern const cli_command cli_command_projection_pause;
extern const cli_command cli_command_projection_resume;
extern const cli_command cli_command_projection_heal;
extern const cli_command cli_command_projection_remove;

#endif
